package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// An action is one of the actions of the language. The parser, the schema and the reference are made from these.
type action struct {
	name    string
	kind    ActionKind
	text    string // for the reference
	short   string // the option that is meant by a value without a key
	options []*option
	bare    string // what it does without a value; "" if it needs one
	build   func(u *actionUse, a *Action)
}

func (a *action) option(name string) *option {
	for _, o := range a.options {
		if o.name == name {
			return o
		}
	}
	return nil
}

// An actionUse is an action as it stands in a rule, its options read but not understood.
type actionUse struct {
	use
	a *action
}

// Words for Step.Conflict and Step.Mode.
var (
	conflicts = []string{"rename", "skip", "overwrite", "newer", "fail"}
	modes     = []string{"append", "prepend", "overwrite"}
)

// actions are all actions of the language, in the order of the reference.
var actions = []*action{
	placing("move", Move, "moves the file"),
	placing("copy", Copy, "makes a copy"),
	{name: "rename", kind: Rename, text: "gives the file another name in its folder", short: "name", build: buildRename,
		options: append([]*option{{name: "name", text: "the whole new name, as a template", kind: textOption}},
			conflictOptions...)},
	{name: "trash", kind: Trash, text: "puts the file into the trash", bare: "always",
		build: func(*actionUse, *Action) {}},
	placing("hardlink", Hardlink, "gives the file a second name"),
	placing("symlink", Symlink, "makes a symbolic link that leads to the file"),
	placing("reflink", Reflink, "makes a copy that shares its blocks with the file, where the file system can"),
	{name: "extract", kind: Extract,
		text: "unpacks an archive; no name in it leads out of the folder, and bombs are capped", short: "dest",
		bare: "into a folder with the name of the archive, as {name}/", build: buildPlacing,
		options: append([]*option{{name: "dest", text: "the folder for what is in it, as a template",
			kind: textOption}}, conflictOptions...)},
	{name: "tag", kind: Tag, text: "changes the tags of the file", short: "add", build: buildTag, options: []*option{
		{name: "add", text: "tags to add, as templates", kind: textsOption},
		{name: "remove", text: "tags to remove", kind: textsOption},
		{name: "set", text: "tags to have instead of all others", kind: textsOption},
	}},
	{name: "write", kind: Write, text: "writes a text to another file", build: buildWrite, options: []*option{
		{name: "file", text: "the file to write to, as a template", kind: textOption},
		{name: "text", text: "the text, as a template", kind: textOption},
		{name: "mode", text: "append, if not given", kind: choiceOption, values: modes},
		{name: "newline", text: "whether a line break is put behind the text; true, if not given", kind: boolOption},
	}},
	{name: "echo", kind: Echo, text: "shows a text", short: "text", build: buildText,
		options: []*option{{name: "text", text: "the text, as a template", kind: textOption}}},
	{name: "confirm", kind: Confirm, text: "asks before the actions that follow; without a terminal they are skipped",
		short: "text",
		bare:  "asks whether to go on", build: buildText,
		options: []*option{{name: "text", text: "the question, as a template", kind: textOption}}},
	{name: "exec", kind: Exec,
		text: "runs a program, never a shell; the file arrives in FORG_PATH and in the arguments", short: "argv",
		build: buildExec, options: []*option{{name: "argv", text: "a list: the program, and its arguments as templates",
			kind: textsOption}}},
}

var conflictOptions = []*option{
	{name: "on_conflict", text: "what to do if the name is taken", kind: choiceOption, values: conflicts},
	{name: "rename_template", text: "how another name is made: \"{name} ({counter})\", if not given", kind: textOption},
}

func placing(name string, kind ActionKind, text string) *action {
	return &action{name: name, kind: kind, text: text, short: "dest", build: buildPlacing, options: append([]*option{
		{name: "dest", text: "where to, as a template; a folder if it ends in /", kind: textOption}},
		conflictOptions...)}
}

func actionNamed(name string) *action {
	for _, a := range actions {
		if a.name == name {
			return a
		}
	}
	return nil
}

func (k ActionKind) String() string {
	for _, a := range actions {
		if a.kind == k {
			return a.name
		}
	}
	return "nothing"
}

// action reads one action. It returns nil if something is wrong with it.
func (r *reader) action(n *yaml.Node) *Action {
	if n = r.follow(n); n == nil {
		return nil
	}
	var key, value *yaml.Node
	switch {
	case n.Kind == yaml.ScalarNode && !null(n):
		key = n
	case n.Kind == yaml.MappingNode:
		pairs := r.mapping(n, "an action")
		if len(pairs) == 0 {
			return nil
		}
		if len(pairs) > 1 {
			hint := fmt.Sprintf("put a - before %q", shorten(pairs[1].name, 40))
			if actionNamed(pairs[1].name) == nil {
				hint = "are the options of " + pairs[0].name + " indented less than its name?"
			}
			r.fail(pairs[1].key, "an action is one key; this is a second one").Hint = hint
		}
		key, value = pairs[0].key, pairs[0].value
	default:
		r.fail(n, "an action is a word, or a word and its value, not %s", kindOf(n))
		return nil
	}
	spec := actionNamed(key.Value)
	if spec == nil {
		r.unknownAction(key)
		return nil
	}
	before := len(r.errs)
	u := &actionUse{use{r: r, at: key, set: map[string]*setting{}}, spec}
	if value != nil {
		if value = r.follow(value); value == nil {
			return nil
		}
		if null(value) {
			value = nil
		}
	}
	switch {
	case value == nil && spec.bare == "":
		r.fail(key, "%s needs a value", spec.name)
	case value == nil:
	case len(spec.options) == 0:
		r.fail(value, "%s has no options", spec.name)
	case unquoted(value):
		r.text(value, spec.name) // says what is wrong
	case value.Kind == yaml.MappingNode:
		for _, p := range r.mapping(value, spec.name) {
			o := spec.option(p.name)
			if o == nil {
				if p.name == "autodetect_folder" {
					r.fail(p.key, "%s has no \"autodetect_folder\"", spec.name).Hint =
						"a / at its end makes a destination a folder"
				} else {
					r.unknownKey(p, spec.name, optionNames(spec.options))
				}
			} else if s := r.setting(o, p.value, spec.name+"."+o.name); s != nil {
				u.set[o.name] = s
			}
		}
	case spec.short == "":
		r.fail(value, "%s is a mapping (key: value), not %s", spec.name, kindOf(value)).Hint =
			"it has " + allOfThem(optionNames(spec.options))
	case spec.kind == Exec && value.Kind != yaml.SequenceNode:
		r.fail(value, "exec takes a list, since no shell takes a line apart").Hint =
			"write [program, argument, \"{path}\"]"
	default:
		if s := r.setting(spec.option(spec.short), value, spec.name); s != nil {
			u.set[spec.short] = s
		}
	}
	if len(r.errs) > before {
		return nil
	}
	a := &Action{Kind: spec.kind, Line: key.Line, column: key.Column, Text: spec.name}
	if value != nil {
		a.Text += ": " + inlineValue(value)
	}
	u.at = key
	if value != nil {
		u.at = value
	}
	spec.build(u, a)
	if len(r.errs) > before {
		return nil
	}
	return a
}

func (r *reader) unknownAction(key *yaml.Node) {
	name := key.Value
	var all []string
	for _, a := range actions {
		all = append(all, a.name)
	}
	e := r.fail(key, "there is no action %q", shorten(name, 40))
	switch other := elsewhere[name]; {
	case name == "delete" || name == "remove":
		e.Hint = "nothing is ever deleted; use \"trash\""
	case name == "shell" || name == "python":
		e.Hint = "use \"exec\", which runs a program without a shell: exec: [program, argument]"
	case filterNamed(name) != nil && name != "tags":
		e.Hint = name + " is a filter; it belongs under filters:"
	case name == "macos_tags" || name == "tags":
		e.Hint = "did you mean \"tag\"?"
	case slices.Contains(all, other):
		e.Hint = fmt.Sprintf("did you mean %q?", other)
	default:
		if e.Hint = didYouMean(name, all); e.Hint == "" {
			e.Hint = "there are " + allOfThem(all)
		}
	}
}

func (u *actionUse) conflict(a *Action) {
	a.conflict = u.choice("on_conflict", "")
	w := u.words("rename_template")
	if len(w) == 0 {
		return
	}
	if a.conflict != "" && a.conflict != "rename" {
		u.r.fail(w[0].at, "rename_template makes a difference only with on_conflict: rename")
		return
	}
	p := &templateParser{r: u.r, n: w[0].at, text: w[0].text, what: "rename_template",
		only: []string{"name", "counter", "ext"}}
	t := p.parse()
	if t == nil {
		return
	}
	out := &RenameTemplate{template: t, set: u.r.set, windows: u.r.opt.Windows}
	counted := false
	for i := range t.parts {
		if strings.ContainsAny(t.parts[i].text, `/\`) {
			p.fail(t.parts[i].at, "", "rename_template makes a name, which has no / or \\ in it")
			return
		}
		for _, choice := range t.parts[i].choice {
			counted = counted || choice.name == "counter"
			out.ext = out.ext || choice.name == "ext"
		}
	}
	if !counted {
		p.fail(0, "write \"{name} ({counter})\"", "rename_template without {counter} makes the same name again")
		return
	}
	a.rename = out
}

func buildPlacing(u *actionUse, a *Action) {
	u.conflict(a)
	w := u.words("dest")
	if len(w) == 0 {
		if a.Kind != Extract {
			u.r.fail(u.at, "%s has no dest", u.a.name)
			return
		}
		// Written as a rule would: the name of the archive, as a folder below the destination root.
		name := &alternative{name: "name", always: true, get: func(l *look) (Value, error) { return l.stem, nil }}
		a.to = &target{folder: true, template: &template{file: true, total: true,
			parts: []templatePart{{source: "name", choice: []*alternative{name}}, {text: "/"}}}}
		return
	}
	a.to = u.r.target(w[0], u.a.name)
	if a.to != nil && a.Kind == Extract && !a.to.folder {
		u.r.fail(w[0].at, "extract wants a folder").Hint = "end it with a /"
	}
}

func buildRename(u *actionUse, a *Action) {
	u.conflict(a)
	w := u.words("name")
	if len(w) == 0 {
		u.r.fail(u.at, "rename has no name")
		return
	}
	t := u.r.target(w[0], "rename")
	if t == nil {
		return
	}
	for i := range t.template.parts {
		p := &t.template.parts[i]
		slash := strings.Contains(p.text, "/")
		for _, c := range p.choice {
			quoted := c.name == "" && strings.Contains(c.literal, "/")
			slash = slash || quoted || c.name != "" && c.folders && (c.date == nil || c.date.slashed())
		}
		if slash || t.root != "" || t.located {
			u.r.failIn(w[0].at, p.at, "rename makes a name in the same folder, which has no / in it").Hint =
				"use move for another folder"
			return
		}
	}
	if t.root != "" || t.located {
		u.r.fail(w[0].at, "rename makes a name in the same folder, which has no / in it").Hint =
			"use move for another folder"
		return
	}
	if name := w[0].text; name == "." || name == ".." {
		u.r.fail(w[0].at, "%q is no name", name)
	}
	a.to = t
}

func (f dateFormat) slashed() bool {
	return slices.ContainsFunc(f, func(p datePart) bool { return strings.Contains(p.text, "/") })
}

func (u *actionUse) templates(option string) []*template {
	var all []*template
	for _, w := range u.words(option) {
		if w.text == "" {
			u.r.fail(w.at, "%s.%s holds an empty text", u.a.name, option)
		}
		all = append(all, u.r.template(w.at, u.a.name))
	}
	return all
}

func buildTag(u *actionUse, a *Action) {
	a.add, a.remove = u.templates("add"), u.templates("remove")
	if s := u.set["set"]; s != nil {
		if a.add != nil || a.remove != nil {
			u.r.fail(s.at, "set replaces all tags; add and remove do not go with it")
			return
		}
		a.add, a.set = u.templates("set"), true
	}
	if a.add == nil && a.remove == nil {
		u.r.fail(u.at, "tag says nothing").Hint = "it has add, remove and set"
	}
}

func buildText(u *actionUse, a *Action) {
	if w := u.words("text"); len(w) > 0 {
		a.text = u.r.template(w[0].at, u.a.name)
	}
}

func buildWrite(u *actionUse, a *Action) {
	file, text := u.words("file"), u.words("text")
	if len(file) == 0 || len(text) == 0 {
		u.r.fail(u.at, "write needs file and text")
		return
	}
	a.to = u.r.target(file[0], "write.file")
	a.text = u.r.template(text[0].at, "write.text")
	a.mode = u.choice("mode", "append")
	a.newline = u.flag("newline", true)
	if a.to != nil && a.to.folder {
		u.r.fail(file[0].at, "write.file is a folder").Hint = "take away the / at its end"
	}
}

func buildExec(u *actionUse, a *Action) {
	a.argv = u.templates("argv")
	if len(a.argv) == 0 {
		u.r.fail(u.at, "exec has no argv")
		return
	}
	if t := a.argv[0]; t != nil && t.file {
		u.r.fail(u.words("argv")[0].at, "which program exec runs must not depend on the file")
	}
	if u.words("argv")[0].text != "" && len(a.argv) == 1 && strings.Contains(u.words("argv")[0].text, " ") {
		u.r.fail(u.words("argv")[0].at, "exec takes a list, since no shell takes a line apart").Hint =
			"write [program, argument, \"{path}\"]"
	}
}

// target reads a template for a place.
func (r *reader) target(w word, what string) *target {
	if w.text == "" {
		r.fail(w.at, "%s is empty", what)
		return nil
	}
	t := r.template(w.at, what)
	if t == nil {
		return nil
	}
	// "." is the folder itself, however it is written.
	folder := strings.HasSuffix(w.text, "/") || w.text == "." || strings.HasSuffix(w.text, "/.")
	to := &target{template: t, folder: folder}
	if !r.root(w, what, to) || !r.staysInside(w, what, t) {
		return nil
	}
	to.static = t.static(to.folder)
	if len(to.template.parts) == 0 {
		to.folder = true
	}
	return to
}

// root takes off the start of a destination what makes it absolute.
func (r *reader) root(w word, what string, to *target) bool {
	t := to.template
	first := &t.parts[0]
	cut := func(n int) {
		first.text, first.at = strings.TrimLeft(first.text[n:], "/"), first.at+n
		if first.text == "" {
			t.parts = t.parts[1:]
		}
	}
	if first.choice == nil {
		text := first.text
		switch {
		case text == "~" && len(t.parts) == 1 || strings.HasPrefix(text, "~/"):
			if r.opt.Home == "" {
				r.fail(w.at, "%s: there is no home folder that ~ could stand for", what)
				return false
			}
			to.root = r.opt.Home
			cut(1)
		case strings.HasPrefix(text, "~"):
			r.fail(w.at, "%s: only ~/ is known, the home folder", what).Hint =
				"a folder whose name starts with ~ is written ./~"
			return false
		case strings.HasPrefix(text, "/"):
			to.root = "/"
			cut(1)
		case r.opt.Windows && drive(text):
			to.root = text[:3]
			cut(3)
		}
		return true
	}
	alone := len(t.parts) == 1 || t.parts[1].choice == nil && strings.HasPrefix(t.parts[1].text, "/")
	if !alone || len(first.choice) != 1 {
		return true
	}
	c := first.choice[0]
	if c.filters != nil || c.cut > 0 {
		return true
	}
	switch value := strings.ReplaceAll(c.literal, `\`, "/"); {
	case c.name == "location":
		to.located = true
	case !strings.HasPrefix(c.name, "env."):
		return true
	case r.opt.Windows && drive(value):
		to.root = path.Clean(value)
	case strings.HasPrefix(c.literal, "/"):
		to.root = path.Clean(c.literal)
	default:
		return true // a name, or a part of one
	}
	t.parts = t.parts[1:]
	if len(t.parts) > 0 {
		first = &t.parts[0]
		cut(0)
	}
	return true
}

// staysInside reports whether what is written out in a destination is made of names that can be.
func (r *reader) staysInside(w word, what string, t *template) bool {
	fine := true
	fail := func(p *templatePart, i int, hint, format string, values ...any) {
		fine = false
		r.failIn(w.at, min(p.at+i, len(w.text)), format, values...).Hint = hint
	}
	for i := range t.parts {
		p := &t.parts[i]
		for j, c := range p.text {
			switch {
			case c == '\\':
				fail(p, j, "folders are parted by /", "%s has a \\ in it", what)
				return false
			case unicode.IsControl(c):
				fail(p, j, "", "%s has a control character in it", what)
				return false
			case r.opt.Windows && strings.ContainsRune(`:*?"<>|`, c):
				fail(p, j, "", "%s has a %c in it, which Windows refuses", what, c)
				return false
			}
		}
		// The first and the last piece may be a part of a name whose rest comes from a value.
		pieces := strings.Split(p.text, "/")
		offset := 0
		for j, piece := range pieces {
			whole := (j > 0 || i == 0) && (j < len(pieces)-1 || i == len(t.parts)-1)
			if whole && piece == ".." {
				fail(p, offset, "write the folder itself", "%s leads out of its folder by ..", what)
			}
			if len(piece) > maxComponent {
				fail(p, offset, "", "%s has a name of %d bytes; file systems take %d", what, len(piece), maxComponent)
			}
			offset += len(piece) + 1
		}
	}
	return fine
}

// static returns the folders at the start of t that are the same for every file.
func (t *template) static(folder bool) string {
	if len(t.parts) == 0 || t.parts[0].choice != nil {
		return ""
	}
	text := t.parts[0].text
	if len(t.parts) > 1 || !folder {
		i := strings.LastIndexByte(text, '/')
		if i < 0 {
			return ""
		}
		text = text[:i]
	}
	return strings.Trim(path.Clean("/"+text), "/")
}

// step fills in an action for a file.
func (a *Action) step(l *look) (Step, error) {
	l.counted = false
	s := Step{Rule: l.rule, Kind: a.Kind, Location: l.location, Conflict: a.conflict, RenameTemplate: a.rename,
		Mode: a.mode, Set: a.set}
	var err error
	if a.to != nil {
		if s.To, err = a.to.expand(l); err != nil {
			return s, err
		}
		s.Folder = a.to.folder
		switch {
		case a.to.located:
			s.Root = join(l.location, a.to.static)
		case a.to.root != "":
			s.Root = join(a.to.root, a.to.static)
		}
	}
	if s.Text, err = a.text.expand(l); err != nil {
		return s, err
	}
	if a.newline && !strings.HasSuffix(s.Text, "\n") {
		s.Text += "\n"
	}
	for _, part := range []struct {
		from []*template
		to   *[]string
	}{{a.argv, &s.Argv}, {a.add, &s.Add}, {a.remove, &s.Remove}} {
		for _, t := range part.from {
			text, err := t.expand(l)
			if err != nil {
				return s, err
			}
			*part.to = append(*part.to, strings.ReplaceAll(text, "\x00", "")) // no argument or tag can hold one
		}
	}
	if a.Kind == Exec {
		s.Env = l.environment()
	}
	if l.counted {
		s.Counted = true
		kept := *l // its facts are those of this file, whatever l is used for next
		kept.facts = slices.Clone(l.facts)
		s.again = func(n int64) Step {
			own := kept
			own.counter = n
			again, err := a.step(&own)
			if err != nil {
				return s // it had all values when the step was made
			}
			return again
		}
	}
	return s, nil
}

// A giving is a variable for the environment of programs.
type giving struct {
	variable string
	get      func(l *look) (Value, error)
}

// environment returns what exec hands on: the file, and what the filters of the rule gave.
func (l *look) environment() []string {
	env := []string{
		"FORG_PATH=" + join(l.dir, l.name), "FORG_DIR=" + l.dir, "FORG_FILENAME=" + l.name, "FORG_NAME=" + l.stem,
		"FORG_EXT=" + l.ext,
		"FORG_LOCATION=" + l.location, "FORG_RELATIVE_PATH=" + l.relative(), "FORG_RULE=" + l.rule.Name,
	}
	for _, g := range l.rule.env {
		v, err := g.get(l)
		if err != nil || v == nil {
			continue // the program sees that there is none
		}
		if t, ok := v.(time.Time); ok {
			v = t.Format(time.RFC3339)
		}
		if s, err := show(v); err == nil {
			env = append(env, g.variable+"="+s)
		}
	}
	for i := range env {
		env[i] = strings.ReplaceAll(env[i], "\x00", "")
	}
	return env
}
