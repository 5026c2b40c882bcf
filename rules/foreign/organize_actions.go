package foreign

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// organizeActions reads the actions of a rule. stays says that the file is still in its folder when they are done, so that
// the rules that follow have their say about it.
func (r *rule) organizeActions(n *node, places []*place) (actions []*yaml.Node, stays bool) {
	a := &actionReader{rule: r, places: places, stays: true}
	for _, item := range n.flat() {
		name, value, line, ok := r.word(item, "an action", "action")
		if !ok {
			continue
		}
		a.action(r.c.actionName(name), name, value, line)
	}
	return a.out, a.stays
}

// word reads one item of a list of filters or actions, a name alone or with its value, which is nil if there is none. It
// reports false for what is neither, which is lost then.
func (r *rule) word(item *node, one, kind string) (name string, value *node, line int, ok bool) {
	line = item.line
	switch {
	case item.kind == scalar:
		name = item.value
	case item.kind == mapping && len(item.pairs) > 0:
		name, value = item.pairs[0].key, item.pairs[0].value
		line = item.pairs[0].line
		if len(item.pairs) > 1 {
			r.lost(item.pairs[1].line, "%s is one key; %q is a second one", one, shorten(item.pairs[1].key, 40))
		}
	default:
		r.lost(line, "this is no %s", kind)
		return "", nil, line, false
	}
	if value != nil && value.kind == empty {
		value = nil
	}
	return name, value, line, true
}

func (c *converter) actionName(name string) string {
	name = strings.ToLower(name)
	if c.kind == Organize1 && strings.ReplaceAll(name, "_", "") == "macostags" {
		return "macos_tags"
	}
	return name
}

type actionReader struct {
	*rule
	places []*place
	out    []*yaml.Node
	stays  bool
	gone   bool
	copied *yaml.Node // the copy that the following actions are about, as organize has it
}

func (a *actionReader) emit(n *yaml.Node) { a.out = append(a.out, n) }

func (a *actionReader) action(name, written string, v *node, line int) {
	if a.gone && name != "echo" && name != "write" && name != "python" && name != "shell" {
		a.lost(line, "%s comes after the file has gone", shorten(written, 40))
		return
	}
	if a.copied != nil {
		switch name {
		case "delete", "trash", "macos_tags", "shell", "symlink", "hardlink":
			a.lost(line, "%s: organize does it with the copy that was made before, forg with the file itself", name)
			return
		}
	}
	switch name {
	case "copy", "move", "hardlink", "symlink":
		a.placing(name, v, line)
	case "rename":
		a.rename(v, line)
	case "delete", "trash":
		if name == "delete" {
			a.differs(line, "delete has become trash: forg deletes no file")
		}
		a.emit(text("trash"))
		a.gone, a.stays = true, false
	case "echo":
		o := a.options("echo", v, line, "msg")
		if s := o["msg"]; s != nil && s.value != "" {
			a.emit(object("echo", text(a.template(s, forText))))
			break
		}
		a.differs(line, "an echo of nothing is left out")
	case "confirm":
		a.confirm(v, line)
	case "macos_tags":
		a.tag(v, line)
	case "write":
		a.write(v, line)
	case "shell":
		a.shell(v, line)
	case "python":
		a.lost(line, "python: forg runs programs, but no code within rules")
	default:
		a.lost(line, "organize has no action %q", shorten(written, 40))
	}
}

// conflictOptions say what happens to a name that is taken, the last three in version 1. One page of its documentation has
// the name of the last one otherwise than the program.
var conflictOptions = []string{"on_conflict", "rename_template", "overwrite", "counter_separator", "counter_seperator"}

// placing reads move, copy and the links.
func (a *actionReader) placing(name string, v *node, line int) {
	o := a.options(name, v, line, append([]string{"dest", "autodetect_folder", "continue_with", "filesystem"}, conflictOptions...)...)
	dest := o["dest"]
	if dest == nil || dest.kind != scalar || strings.TrimSpace(dest.value) == "" {
		a.lost(line, "%s has no dest", name)
		return
	}
	if a.elsewhere(name, dest, o["filesystem"]) {
		return
	}
	detect := a.c.kind == Organize3
	if n := o["autodetect_folder"]; n != nil {
		if on, ok := n.boolean(); ok {
			detect = on
		}
	}
	to, ok := a.destination(name, dest, detect)
	if !ok {
		return
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	put(out, "dest", text(to))
	a.conflict(out, o)
	var value *yaml.Node = out
	if len(out.Content) == 2 {
		value = out.Content[1]
	}
	n := object(name, value)
	if a.copied != nil {
		switch name {
		case "move": // the copy goes to another place; it may as well be made there
			a.copied.Content[1] = value
			return
		case "copy":
			if c := copyName(a.copied); c != "" && strings.HasSuffix(to, "/") { // it has a name of its own
				setDest(n, to+c)
			}
		}
	}
	a.emit(n)
	switch name {
	case "move":
		a.stays, a.moved = false, true
		if !strings.HasSuffix(to, "/") {
			a.changed = true
		}
	case "copy":
		with := "copy"
		if w := o["continue_with"]; w != nil && w.value != "" {
			with = w.value
		}
		a.copied = nil
		if with == "copy" && a.c.kind != Organize1 {
			a.copied = n
		}
	}
}

// elsewhere reports, and notes, that a destination is not among the folders of this computer.
func (a *actionReader) elsewhere(what string, dest, filesystem *node) bool {
	if filesystem != nil && filesystem.kind != empty {
		dest = filesystem
	} else if !strings.Contains(dest.value, "://") {
		return false
	}
	a.lost(dest.line,
		"%s: forg puts files into folders of this computer alone, not into %s", what, shorten(dest.value, 60))
	return true
}

// copyName is the name that a copy gets, "" if it keeps that of the file.
func copyName(n *yaml.Node) string {
	_, name := path.Split(destOf(n))
	return name
}

func destOf(n *yaml.Node) string {
	v := n.Content[1]
	if v.Kind == yaml.MappingNode {
		v = child(v, "dest")
	}
	return v.Value
}

func setDest(n *yaml.Node, to string) {
	v := n.Content[1]
	if v.Kind == yaml.MappingNode {
		v = child(v, "dest")
	}
	v.SetString(to)
}

// conflict writes what happens to a name that is taken.
func (a *actionReader) conflict(out *yaml.Node, o map[string]*node) {
	mode := ""
	if n := o["on_conflict"]; n != nil && n.kind == scalar {
		switch strings.ToLower(n.value) {
		case "skip":
			mode = "skip"
		case "overwrite":
			mode = "overwrite"
			a.differs(n.line, "overwrite: in forg what is overwritten goes to the trash")
		case "trash":
			mode = "overwrite"
		case "rename_new":
			mode = "rename"
		case "rename_existing":
			mode = "rename"
			a.missing(n.line,
				"rename_existing: forg gives the other name to the file that comes, never to the one that is there")
		case "deduplicate":
			mode = "rename"
			a.missing(n.line,
				"deduplicate: a file that equals the one in its place gets another name, as others do; forg's --duplicates deals with equal files")
		default:
			a.lost(n.line, "on_conflict: organize has no %q", shorten(n.value, 40))
		}
	}
	if n := o["overwrite"]; n != nil {
		if on, _ := n.boolean(); on {
			mode = "overwrite" // version 1 puts it into the trash as well
		}
	}
	template := ""
	separator := o["counter_separator"]
	if separator == nil {
		separator = o["counter_seperator"]
	}
	if n := separator; n != nil && n.kind == scalar && mode != "overwrite" {
		mode, template = "rename", "{name}"+strings.NewReplacer("{", "{{", "}", "}}").Replace(n.value)+"{counter}"
		if strings.ContainsAny(n.value, `/\`) {
			a.missing(n.line, "counter_separator: a name has no / in it")
			template = ""
		}
	}
	if n := o["rename_template"]; n != nil && n.kind == scalar && (mode == "" || mode == "rename") {
		mode = "rename"
		template = a.renameTemplate(n)
	}
	if mode != "" {
		put(out, "on_conflict", text(mode))
	}
	if template != "" {
		put(out, "rename_template", text(template))
	}
}

// renameTemplate turns a template of organize's, whose extension has its dot, into forg's, which puts the extension behind.
func (a *actionReader) renameTemplate(n *node) string {
	var b strings.Builder
	counted, extended := false, false
	for s := n.value; s != ""; {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			b.WriteString(strings.ReplaceAll(s, "}", "}}"))
			break
		}
		b.WriteString(strings.ReplaceAll(s[:i], "}", "}}"))
		end := placeholderEnd("{ "+s[i+1:], 0) - 1
		if end < 0 {
			a.missing(n.line, "rename_template: a brace is never closed")
			return ""
		}
		source := strings.TrimSpace(s[i+1 : i+end-1])
		s = s[i+end:]
		parts, err := a.placeholder(n, source, forName)
		if err != nil {
			a.missing(n.line, "rename_template: {%s}: %v", shorten(source, 40), err)
			return ""
		}
		for _, p := range parts {
			switch name := strings.TrimLeft(unbrace(p.text), " "); {
			case !p.value:
				b.WriteString(strings.NewReplacer("{", "{{", "}", "}}").Replace(p.text))
			case strings.HasPrefix(name, "counter"):
				counted = true
				b.WriteString(p.text)
			case p.text == "{ext}" && s == "":
			case strings.HasPrefix(name, "ext"):
				extended = true
				b.WriteString("." + p.text)
			case strings.HasPrefix(name, "name"):
				b.WriteString(p.text)
			default:
				a.missing(n.line, "rename_template has {name}, {counter} and {extension} alone")
				return ""
			}
		}
	}
	switch out := b.String(); {
	case !counted:
		a.missing(n.line, "rename_template without {counter} finds no second name")
	case strings.ContainsAny(out, `/\`):
		a.missing(n.line, "rename_template: a name has no / in it")
	default:
		if extended {
			a.differs(n.line, "rename_template: a name without an extension gets a number in parentheses")
		}
		return out
	}
	return ""
}

// destination turns a destination into forg's: a folder ends in /.
func (a *actionReader) destination(what string, n *node, detect bool) (string, bool) {
	before := a.disabled
	a.disabled = false
	parts := a.partsOf(n, forPlace)
	bad := a.disabled
	a.disabled = a.disabled || before
	if bad {
		return "", false // partsOf has said why
	}
	for i := range parts {
		if !parts[i].value {
			parts[i].text = strings.ReplaceAll(parts[i].text, `\`, "/")
		}
	}
	parts = dropEmpty(parts)
	if len(parts) == 0 {
		a.lost(n.line, "%s: the destination is empty", what)
		return "", false
	}
	last := &parts[len(parts)-1]
	folder := !last.value && strings.HasSuffix(last.text, "/")
	if !folder && detect {
		folder = a.detected(n, parts)
		if folder {
			parts = append(parts, part{text: "/"})
		}
	} else if !folder && !endsInName(parts) && !(last.value && strings.HasPrefix(last.text, "\x00")) {
		a.differs(n.line,
			"%s: without a / at its end, %s is the name of a file; if it is a folder, put a / there", what, shorten(n.value, 60))
	}
	parts, ok := a.kept(n, parts)
	if !ok {
		return "", false
	}
	a.afterwards(n, parts, forPlace)
	to := cleanPlace(joinParts(parts))
	if !rooted(to) && !(a.c.opt.Windows && len(to) > 1 && to[1] == ':') {
		a.differs(n.line,
			"%s: %s is below the location in forg, or below --into; organize takes it from the folder in which it is started", what, shorten(n.value, 60))
	}
	a.guard(n, to, parts)
	return to, true
}

func dropEmpty(parts []part) []part {
	return slices.DeleteFunc(parts, func(p part) bool { return p.text == "" })
}

// rooted reports whether a destination says itself where it begins.
func rooted(to string) bool {
	return to == "~" || slices.ContainsFunc([]string{"~/", "/", "{env.", "{location}"}, func(start string) bool {
		return strings.HasPrefix(to, start)
	})
}

// lastName returns the parts behind the last /.
func lastName(parts []part) []part {
	for i := len(parts) - 1; i >= 0; i-- {
		if at := strings.LastIndexByte(parts[i].text, '/'); at >= 0 && !parts[i].value {
			return append([]part{{text: parts[i].text[at+1:]}}, parts[i+1:]...)
		}
	}
	return parts
}

// endsInName reports whether the last part of a destination surely names a file.
func endsInName(parts []part) bool {
	return slices.ContainsFunc(lastName(parts), func(p part) bool { return p.dotted || !p.value && strings.Contains(p.text, ".") })
}

// extensionAtEnd finds what is meant for an extension, and not for a number as in v1.2.
var extensionAtEnd = lazily(`\.[A-Za-z][A-Za-z0-9]{0,4}$`)

// withoutDot finds placeholders whose values have no dots.
var withoutDot = lazily(`^\{(created|modified|accessed|date_added|taken|now)(:[^.]*)?\}$|` +
	`^\{ext(\|(lower|upper))?\}$|^\{(size|counter|depth)\}$`)

// detected tells whether organize takes a destination without a / at its end for a folder, as it does if there is no dot
// in its last name.
func (a *actionReader) detected(n *node, parts []part) bool {
	last := lastName(parts)
	if endsInName(parts) {
		if !slices.ContainsFunc(last, func(p part) bool { return p.dotted }) && !extensionAtEnd().MatchString(last[len(last)-1].text) {
			a.differs(n.line,
				"%s is the name of a file, for it has a dot, unless there is a folder of that name: if it is a folder, put a / at its end", shorten(n.value, 60))
		}
		return false
	}
	if slices.ContainsFunc(last, func(p part) bool {
		return p.value && !strings.HasPrefix(p.text, "\x00") && !withoutDot().MatchString(p.text)
	}) {
		a.differs(n.line,
			"%s is a folder, for it does not end in an extension. organize decides for each file whether there is a dot in it", shorten(n.value, 60))
	}
	return true
}

// kept fills in the folders in which the file lies: forg has the whole path below the location, with the name.
func (a *actionReader) kept(n *node, parts []part) ([]part, bool) {
	for i := 0; i < len(parts); i++ {
		p := &parts[i]
		rest := parts[i+1:]
		ends := len(rest) == 1 && !rest[0].value && rest[0].text == "/"
		named := len(rest) == 2 && !rest[0].value && rest[0].text == "/" && rest[1].text == "{filename}"
		whole := part{text: "{relative_path|folders}", value: true, where: true, own: true, dotted: true}
		switch {
		case !p.value:
		case p.text == "{relative_path|folders}" && ends && i > 0:
			// The documentation means the folders; the program makes one more with the name of the file.
			a.differs(n.line,
				"%s: organize makes a folder with the name of each file; here the file keeps its folders below the location", shorten(n.value, 60))
			return parts[:i+1], true
		case p.text == folderRelative && a.flat:
			*p = part{text: "."}
		case p.text == folderRelative && (ends || named || len(rest) == 0):
			return append(parts[:i], whole), true
		case p.text == folderOfFile && a.flat:
			p.text, p.where = "{location}", false
		case p.text == folderOfFile && i == 0 && (ends || named):
			return []part{{text: "{location}/", value: true}, whole}, true
		case p.text == folderRelative, p.text == folderOfFile:
			a.lost(n.line,
				"%s: in subfolders forg has the whole path below the location alone, {relative_path|folders}", shorten(n.value, 60))
			return nil, false
		}
	}
	return parts, true
}

// cleanPlace takes out of a destination what means nothing, and .. where it is plain which folder that leaves.
func cleanPlace(to string) string {
	folder := strings.HasSuffix(to, "/") || strings.HasSuffix(to, "/.") || strings.HasSuffix(to, "/..")
	var out []string
	pieces := splitPlace(to)
	for i, p := range pieces {
		switch {
		case p == "" && i > 0 || p == "." && len(pieces) > 1:
		case p == ".." && len(out) > 0 && !slices.Contains([]string{"", "..", "~"}, out[len(out)-1]) &&
			!strings.Contains(out[len(out)-1], "{"):
			out = out[:len(out)-1]
		default:
			out = append(out, p)
		}
	}
	s := strings.Join(out, "/")
	switch {
	case s == "" && strings.HasPrefix(to, "/"):
		return "/"
	case s == "":
		return "./"
	case folder && !strings.HasSuffix(s, "/"):
		s += "/"
	}
	return s
}

// splitPlace cuts a template at the slashes that are not within braces.
func splitPlace(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			if end := placeholderEnd(s, i); end > 0 {
				i = end - 1
			}
		case '/':
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// guard keeps a rule that looks into subfolders out of its own destination, where every run would put files deeper.
func (a *actionReader) guard(n *node, to string, parts []part) {
	if !slices.ContainsFunc(parts, func(p part) bool { return p.where }) {
		return
	}
	for _, p := range a.places {
		if p.depth == 0 {
			continue
		}
		below := to
		switch {
		case strings.HasPrefix(to, "{location}/"):
			below = strings.TrimPrefix(to, "{location}/")
		case rooted(to):
			var ok bool
			if below, ok = strings.CutPrefix(to, strings.TrimSuffix(p.path, "/")+"/"); !ok {
				continue
			}
		}
		pieces := splitPlace(below)
		at := slices.IndexFunc(pieces[:len(pieces)-1], func(s string) bool { return strings.Contains(s, "{") })
		if at < 0 {
			at = len(pieces) - 1
		}
		if dir := strings.Join(pieces[:at], "/"); dir != "" && !slices.Contains(p.excludeDirs, literalGlob(dir)) {
			p.excludeDirs = append(p.excludeDirs, literalGlob(dir))
			a.differs(n.line,
				"the rule leaves the folder %s alone, into which it puts files: organize puts them deeper with every run", dir)
		}
	}
}

func (a *actionReader) rename(v *node, line int) {
	o := a.options("rename", v, line, append([]string{"new_name", "name"}, conflictOptions...)...)
	n := o["new_name"]
	if n == nil {
		n = o["name"]
	}
	if n == nil || n.kind != scalar || strings.TrimSpace(n.value) == "" {
		a.lost(line, "rename has no name")
		return
	}
	before := a.disabled
	a.disabled = false
	parts := dropEmpty(a.partsOf(n, forName))
	bad := a.disabled
	a.disabled = a.disabled || before
	if bad {
		return
	}
	if slices.ContainsFunc(parts, func(p part) bool { return !p.value && strings.ContainsAny(p.text, `/\`) }) {
		a.lost(n.line, "rename: a name has no / in it")
		return
	}
	a.afterwards(n, parts, forName)
	to := joinParts(parts)
	if a.copied != nil { // the copy gets the name
		dir, _ := path.Split(destOf(a.copied))
		setDest(a.copied, dir+to)
		return
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	put(out, "name", text(to))
	a.conflict(out, o)
	value := out
	if len(out.Content) == 2 {
		value = out.Content[1]
	}
	a.emit(object("rename", value))
	a.changed = true
}

func (a *actionReader) confirm(v *node, line int) {
	o := a.options("confirm", v, line, "msg", "default")
	if d := o["default"]; d != nil {
		a.differs(d.line, "confirm.default: forg takes no answer for no")
	}
	if s := o["msg"]; s != nil && s.value != "" {
		a.emit(object("confirm", text(a.template(s, forText))))
		return
	}
	a.emit(text("confirm"))
}

func (a *actionReader) tag(v *node, line int) {
	o := a.options("macos_tags", v, line, "tags")
	var all []string
	for _, item := range o["tags"].flat() {
		s := a.template(item, forText)
		if m := tagColor().FindStringSubmatch(s); m != nil {
			s = m[1]
			if m[2] != "none" {
				a.missing(item.line, "macos_tags: forg gives tags, but no colours: %s", shorten(item.value, 60))
			}
		}
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		a.lost(line, "macos_tags names no tag")
		return
	}
	a.emit(object("tag", texts(all)))
}

func (a *actionReader) write(v *node, line int) {
	o := a.options("write", v, line, "text", "outfile", "path", "mode", "encoding", "newline", "clear_before_first_write",
		"filesystem")
	file := o["outfile"]
	if file == nil {
		file = o["path"]
	}
	if file == nil || file.value == "" || o["text"] == nil || o["text"].kind != scalar {
		a.lost(line, "write needs a file and a text")
		return
	}
	if a.elsewhere("write", file, o["filesystem"]) {
		return
	}
	to, ok := a.destination("write", file, false)
	if !ok {
		return
	}
	out := object("file", text(to), "text", text(a.template(o["text"], forText)))
	if m := o["mode"]; m != nil && m.value != "append" {
		if m.value != "prepend" && m.value != "overwrite" {
			a.lost(m.line, "write.mode: organize has no %q", shorten(m.value, 40))
			return
		}
		put(out, "mode", text(m.value))
	}
	if b, ok := o["newline"].boolean(); ok && !b {
		put(out, "newline", plain("false"))
	}
	if e := o["encoding"]; e != nil && !strings.EqualFold(strings.ReplaceAll(e.value, "-", ""), "utf8") {
		a.missing(e.line, "write.encoding: forg writes UTF-8")
	}
	if b, _ := o["clear_before_first_write"].boolean(); b {
		a.missing(o["clear_before_first_write"].line, "clear_before_first_write: in forg what earlier runs have written stays")
	}
	a.emit(object("write", out))
}

func (a *actionReader) shell(v *node, line int) {
	o := a.options("shell", v, line, "cmd", "run_in_simulation", "ignore_errors", "simulation_output", "simulation_returncode")
	cmd := o["cmd"]
	if cmd == nil || cmd.kind != scalar {
		a.lost(line, "shell has no command")
		return
	}
	if b, _ := o["run_in_simulation"].boolean(); b {
		a.missing(o["run_in_simulation"].line, "run_in_simulation: forg runs no program in a dry run")
	}
	if b, _ := o["ignore_errors"].boolean(); b {
		a.missing(o["ignore_errors"].line, "ignore_errors: forg reports that a program has failed")
	}
	before := a.disabled
	a.disabled = false
	parts := a.partsOf(cmd, forShell)
	bad := a.disabled
	a.disabled = a.disabled || before
	if bad {
		return
	}
	a.afterwards(cmd, parts, forShell)
	unset := ""
	args, err := argv(joinParts(parts), func(name string) string {
		if !a.c.isSet(name) {
			unset = name
		}
		return "{env." + name + "}"
	})
	switch {
	case err != nil:
		a.lost(cmd.line,
			"shell: %v; forg runs a program and its arguments, never a shell: %s", err, shorten(cmd.value, 60))
	case unset != "":
		a.lost(cmd.line, "shell: the environment has no %s here", shorten(unset, 40))
	default:
		a.differs(cmd.line,
			"shell has become exec, which hands each word to the program as one argument, whatever is in it")
		a.emit(object("exec", inlineTexts(args)))
	}
}
