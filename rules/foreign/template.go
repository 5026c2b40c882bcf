package foreign

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A usage says what a template is for.
type usage uint8

const (
	forText usage = iota // texts, questions, arguments and tags, where values are taken as they are
	forPlace
	forName
	forShell // a text in which the shell's variables are left as they are
)

// A part is a piece of one of forg's templates: literal text, or a placeholder with its braces.
type part struct {
	text   string
	value  bool
	dotted bool // a placeholder whose value has a dot in it, usually
	where  bool // it depends on where the file lies
	own    bool // it depends on the path of the file, which earlier actions change
}

// Parts that stand for folders until it is known what is around them.
const (
	folderOfFile   = "\x00folder"   // path.parent
	folderRelative = "\x00relative" // relative_path.parent
)

// partsOf turns a template of organize into one of forg. Placeholders that have no like are noted and, in a text, left
// readable; in a place or a name they cost the rule.
func (r *rule) partsOf(n *node, use usage) []part {
	var out []part
	literal := func(s string) {
		if s == "" {
			return
		}
		for _, p := range r.variables(s, use) {
			if !p.value && len(out) > 0 && !out[len(out)-1].value {
				out[len(out)-1].text += p.text
				continue
			}
			out = append(out, p)
		}
	}
	s := n.value
	jinja := r.c.kind != Organize1
	if jinja {
		s = strings.TrimSuffix(s, "\n")
	}
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			literal(s)
			break
		}
		literal(s[:i])
		s = s[i:]
		double := strings.HasPrefix(s, "{{") || strings.HasPrefix(s, "}}")
		switch {
		case double && !jinja:
			literal(s[:1])
			s = s[2:]
			continue
		case s[0] == '}':
			literal("}")
			s = s[1:]
			continue
		case jinja && strings.HasPrefix(s, "{#"):
			_, rest, ok := strings.Cut(s, "#}")
			if !ok {
				rest = ""
			}
			s = rest
			continue
		}
		end := placeholderEnd("{ "+s[1:], 0) - 1 // {{ is no brace of Jinja's
		if end < 0 {
			r.unable(n, s, use, errors.New("a brace is never closed"))
			literal(s)
			break
		}
		source := s[1 : end-1]
		s = s[end:]
		if jinja && strings.HasPrefix(source, "%") {
			r.unable(n, "{"+source+"}", use, errors.New("statements have no like in forg's templates"))
			literal("{" + source + "}")
			continue
		}
		parts, err := r.placeholder(n, strings.TrimSpace(strings.Trim(source, "-")), use)
		if err != nil {
			r.unable(n, "{"+source+"}", use, err)
			literal("{" + source + "}")
			continue
		}
		for _, p := range parts {
			if p.value {
				out = append(out, p)
			} else {
				literal(p.text)
			}
		}
	}
	return r.settled(n, out, use)
}

// unable notes that a part of a template cannot be carried over.
func (r *rule) unable(n *node, source string, use usage, err error) {
	if use == forText {
		r.missing(n.line, "%s stays as it is: %v", shorten(source, 60), err)
	} else {
		r.lost(n.line, "%s: %v", shorten(source, 60), err)
	}
}

// settled replaces the stand-ins for folders in texts and names.
func (r *rule) settled(n *node, parts []part, use usage) []part {
	if use == forPlace {
		return parts
	}
	for i := range parts {
		p := &parts[i]
		switch p.text {
		case folderOfFile, folderRelative:
			switch {
			case p.text == folderOfFile && r.flat:
				p.text = "{location}"
			case r.flat:
				*p = part{text: "."}
			default:
				name := map[string]string{folderOfFile: "path.parent", folderRelative: "relative_path.parent"}[p.text]
				*p = part{text: "{" + name + "}"}
				r.unable(n, "{"+name+"}", use, errors.New("forg's placeholders know the name of that folder alone, {parent}"))
			}
		}
	}
	return parts
}

// variables parts a literal text at variables of the environment. Those that are not set stay, as in organize.
func (r *rule) variables(s string, use usage) []part {
	if use == forShell {
		return []part{{text: s}}
	}
	var out []part
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, part{text: b.String()})
			b.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		name, length := "", 0
		switch {
		case s[i] == '$':
			name, length = variableAt(s[i:])
		case s[i] == '%' && r.c.opt.Windows:
			if end := strings.IndexByte(s[i+1:], '%'); end > 0 && identifier().MatchString(s[i+1:i+1+end]) {
				name, length = s[i+1:i+1+end], end+2
			}
		}
		if name == "" || !r.c.isSet(name) {
			b.WriteByte(s[i])
			continue
		}
		flush()
		out = append(out, part{text: "{env." + name + "}", value: true})
		i += length - 1
	}
	flush()
	return out
}

func (c *converter) isSet(variable string) bool {
	if c.opt.Env == nil {
		return false
	}
	v, ok := c.opt.Env(variable)
	return ok && v != ""
}

// joinParts writes a template: the braces of literal text are doubled.
func joinParts(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.value {
			b.WriteString(p.text)
		} else {
			b.WriteString(strings.NewReplacer("{", "{{", "}", "}}").Replace(p.text))
		}
	}
	return b.String()
}

// template turns a template for a text into forg's.
func (r *rule) template(n *node, use usage) string {
	parts := r.partsOf(n, use)
	r.afterwards(n, parts, use)
	return joinParts(parts)
}

// afterwards notes what a template sees differently behind an action that changed the path of the file.
func (r *rule) afterwards(n *node, parts []part, use usage) {
	seen := func(p part) bool { return p.own && (r.changed || p.where && r.moved) }
	if !slices.ContainsFunc(parts, seen) {
		return
	}
	if use == forText || use == forShell {
		r.differs(n.line,
			"the placeholders speak of the file as it was before the rule touched it; in organize, of what the action before made of it")
	} else {
		r.lost(n.line,
			"the placeholders of forg speak of the file as it was before the rule touched it, these of what the action before made of it")
	}
}

// placeholder turns one expression into parts.
func (r *rule) placeholder(n *node, source string, use usage) ([]part, error) {
	e, format, err := parseExpr(source)
	if err != nil {
		return nil, err
	}
	return r.expression(n, e, format, use)
}

func (r *rule) expression(n *node, e *expr, format string, use usage) ([]part, error) {
	var out []part
	if e.join != nil {
		if format != "" || e.or != nil {
			return nil, errExpression
		}
		for _, one := range e.join {
			parts, err := r.expression(n, one, "", use)
			if err != nil {
				return nil, err
			}
			out = append(out, parts...)
		}
		return out, nil
	}
	if e.lit != nil {
		return r.literalExpr(n, e, use)
	}
	if e.or != nil {
		main := *e
		main.or = nil
		first, err := r.expression(n, &main, format, use)
		if err != nil {
			return nil, err
		}
		second, err := r.expression(n, e.or, "", use)
		if err != nil {
			return nil, err
		}
		if len(first) != 1 || len(second) != 1 || !first[0].value || strings.HasPrefix(first[0].text, "\x00") {
			return nil, errExpression
		}
		other := quote(second[0].text)
		if second[0].value {
			other = unbrace(second[0].text)
		}
		first[0].text = "{" + unbrace(first[0].text) + " ?? " + other + "}"
		return first, nil
	}
	return r.chain(n, e, format, use)
}

func unbrace(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}") }

// quote writes a text in quotes, as an argument in one of forg's templates.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// literalExpr is a text in quotes, perhaps one that a value is put into.
func (r *rule) literalExpr(n *node, e *expr, use usage) ([]part, error) {
	s := *e.lit
	if len(e.ops) == 0 {
		return []part{{text: s}}, nil
	}
	o := e.ops[0]
	if len(e.ops) > 1 || o.kind != attribute || len(o.args) != 1 || o.name != "%" && o.name != "format" {
		return nil, errExpression
	}
	before, spec, after, err := printf(s, o.name == "format")
	if err != nil {
		return nil, err
	}
	value, err := r.expression(n, o.args[0], spec, use)
	if err != nil {
		return nil, err
	}
	text := func(s string) []part { return []part{{text: strings.ReplaceAll(s, "%%", "%")}} }
	return slices.Concat(text(before), value, text(after)), nil
}

// A value is what a chain has come to so far.
type value struct {
	name    string // of forg's placeholder
	format  string
	filters []string
	date    bool
	number  bool
	part    part // flags alone
	special string
}

func (v *value) parts() []part {
	if v.special != "" {
		p := v.part
		p.text, p.value = v.special, true
		return []part{p}
	}
	s := v.name
	if v.format != "" {
		s += ":" + v.format
	}
	for _, f := range v.filters {
		s += "|" + f
	}
	p := v.part
	p.text, p.value = "{"+s+"}", true
	return []part{p}
}

// dates are the placeholders of organize that are dates, with forg's.
var dates = map[string]string{"created": "created", "lastmodified": "modified", "date_added": "date_added", "date_lastused": "accessed",
	"now": "now", "utcnow": "now", "today": "now"}

func (r *rule) chain(n *node, e *expr, format string, use usage) ([]part, error) {
	ops := e.ops
	next := func() (op, bool) {
		if len(ops) == 0 {
			return op{}, false
		}
		return ops[0], true
	}
	take := func(name string) bool {
		if o, ok := next(); ok && o.kind == attribute && strings.EqualFold(o.name, name) && !o.call {
			ops = ops[1:]
			return true
		}
		return false
	}
	// key takes the name of a part, of what a regular expression has found, say.
	key := func() (string, bool) {
		if o, ok := next(); ok && o.kind == attribute && !o.call && identifier().MatchString(o.name) {
			ops = ops[1:]
			return o.name, true
		}
		return "", false
	}
	v := &value{}
	name := e.name
	if date, ok := dates[name]; ok {
		v.name, v.date = date, true
		if o, ok := next(); ok && o.name == "()" {
			ops = ops[1:]
		}
		switch name {
		case "utcnow":
			r.differs(n.line, "{utcnow} is the time in UTC; forg's {now} is that of the place")
		case "today":
			v.format = "%Y-%m-%d"
		}
		return r.dateChain(n, v, ops, format, use)
	}
	switch name {
	case "path":
		v.part.own = true
		switch {
		case take("name"):
			v.name, v.part.dotted = "filename", true
		case take("stem"):
			v.name = "name"
		case take("suffix"):
			v.name, v.part.dotted = "ext", true
			r.differs(n.line,
				"{path.suffix} of a file without an extension is nothing; forg leaves such a file alone, since it has no {ext}")
			parts, err := r.textOps(n, v, ops, format)
			if err != nil {
				return nil, err
			}
			return append([]part{{text: ".", own: true}}, parts...), nil
		case take("parent"):
			v.part.where = true
			switch {
			case take("name"), take("stem"):
				v.name = "parent"
			case len(ops) == 0 && format == "":
				v.special = folderOfFile
				return v.parts(), nil
			default:
				return nil, errors.New("forg's placeholders know the name of the next folder alone, {parent}")
			}
		case len(ops) > 0 && ops[0].kind == attribute && ops[0].name == "parts":
			if len(ops) < 2 || ops[1].kind != index || ops[1].from != -1 && ops[1].from != -2 {
				return nil, errors.New("forg's placeholders know the name of the next folder alone, {parent}")
			}
			v.name, v.part.dotted = "filename", true
			if ops[1].from == -2 {
				v.name, v.part.dotted, v.part.where = "parent", false, true
			}
			ops = ops[2:]
		default:
			if o, ok := next(); ok && o.call && (o.name == "as_posix" || o.name == "resolve" || o.name == "absolute") {
				ops = ops[1:]
			} else if ok && o.kind == attribute {
				return nil, fmt.Errorf("forg has no like of path.%s", shorten(o.name, 20))
			}
			if use == forPlace || use == forName {
				return nil, errors.New("in forg a whole path cannot be a part of another one")
			}
			v.name, v.part.dotted, v.part.where = "path", true, true
		}
	case "relative_path", "fs_path":
		v.part.own, v.part.where = true, true
		switch {
		case take("name"):
			v.name, v.part.dotted, v.part.where = "filename", true, false
		case take("stem"):
			v.name, v.part.where = "name", false
		case take("suffix"):
			v.name, v.part.dotted, v.part.where = "ext", true, false
			parts, err := r.textOps(n, v, ops, format)
			if err != nil {
				return nil, err
			}
			return append([]part{{text: ".", own: true}}, parts...), nil
		case take("parent"):
			if take("name") && !r.flat {
				v.name = "parent"
				break
			}
			if len(ops) > 0 || format != "" {
				return nil, errors.New("forg's placeholders know the name of the next folder alone, {parent}")
			}
			v.special = folderRelative
			return v.parts(), nil
		default:
			v.name, v.part.dotted = "relative_path", true
			if use == forPlace && len(ops) == 0 {
				v.filters = append(v.filters, "folders")
				return v.parts(), nil
			}
		}
	case "basedir", "location":
		v.name = "location"
		if o, ok := next(); ok && o.kind == attribute {
			return nil, fmt.Errorf("forg has no like of %s.%s", name, shorten(o.name, 20))
		}
	case "env":
		variable := ""
		if o, ok := next(); ok && o.kind == attribute && !o.call {
			variable, ops = o.name, ops[1:]
		}
		if variable == "" {
			return nil, errors.New("the name of the variable is missing")
		}
		if !r.c.isSet(variable) && !hasDefault(ops) {
			return nil, fmt.Errorf("the environment has no %s here", shorten(variable, 40))
		}
		v.name = "env." + variable
	case "extension":
		v.name = "ext"
		if take("lower") {
			v.filters = append(v.filters, "lower")
		} else if take("upper") {
			v.filters = append(v.filters, "upper")
		}
	case "name", "filename":
		if word, ok := key(); ok {
			v.name = r.nameGroup(word)
			return r.textOps(n, v, ops, format)
		}
		v.name = "name"
	case "regex":
		word, ok := key()
		if !ok {
			return nil, errors.New("which of the groups is meant?")
		}
		v.name = "regex." + word
	case "filecontent":
		word, ok := key()
		if !ok {
			word = "all"
		}
		v.name = "content." + word
	case "exif":
		return r.exif(n, v, ops, format, use)
	case "hash":
		v.name = "hash"
	case "size", "filesize":
		v.number = true
		v.name = "size"
		switch {
		case take("bytes"):
		case take("traditional"), take("binary"), take("decimal"), len(ops) == 0:
			r.missing(n.line, "sizes with a unit: forg's {size} is a number of bytes")
		}
	case "mimetype":
		v.name = "mime"
	case "macos_tags":
		v.name = "tags"
	case "duplicate":
		if !take("original") && r.c.kind != Organize1 {
			return nil, errors.New("forg knows the original alone, {duplicate.of}")
		}
		v.name = "duplicate.of"
		if use == forPlace || use == forName {
			return nil, errors.New("in forg a whole path cannot be a part of another one")
		}
	case "rule":
		v.name = "rule"
		take("name")
	case "counter":
		v.name, v.number = "counter", true
	case "python", "shell":
		return nil, fmt.Errorf("forg takes no values from programs, as %s gives them", name)
	default:
		return nil, fmt.Errorf("there is no placeholder {%s} in forg", shorten(name, 40))
	}
	return r.textOps(n, v, ops, format)
}

// nameGroup is where the part of a name is found: what has a type is asked of a regular expression.
func (r *rule) nameGroup(word string) string {
	if slices.Contains(r.typed, word) {
		return "regex." + word
	}
	return "name." + word
}

func hasDefault(ops []op) bool {
	return slices.ContainsFunc(ops, func(o op) bool { return o.kind == filtered && (o.name == "default" || o.name == "d") })
}

// takenTags are the tags that say when a picture was taken, which forg reads together.
var takenTags = []string{"exif.datetimeoriginal", "exif.datetimedigitized", "image.datetime", "exif.createdate", "exif.datetime"}

func (r *rule) exif(n *node, v *value, ops []op, format string, use usage) ([]part, error) {
	var names []string
	for len(ops) > 0 && len(names) < 2 && ops[0].kind == attribute && !ops[0].call {
		names = append(names, strings.ToLower(ops[0].name))
		ops = ops[1:]
	}
	if len(names) < 2 {
		return nil, errors.New("forg has no placeholder for all tags together")
	}
	tag := strings.Join(names, ".")
	if strings.Contains(tag, "date") && (len(ops) > 0 && ops[0].kind == attribute || strings.Contains(format, "%")) {
		if !slices.Contains(takenTags, tag) {
			return nil, fmt.Errorf("forg takes {exif.%s} for a text, not for a date", tag)
		}
		r.differs(n.line,
			"{taken} stands for the date in {exif.%s}: forg looks for the moment that a picture was taken in all tags, and in its name", tag)
		v.name, v.date = "taken", true
		return r.dateChain(n, v, ops, format, use)
	}
	if other := exifNames[tag]; other != "" {
		tag = other
	}
	v.name = "exif." + tag
	if strings.ContainsAny(v.name, ":|}\"' ") {
		return nil, fmt.Errorf("forg has no tag %s", shorten(tag, 40))
	}
	return r.textOps(n, v, ops, format)
}

// dateParts are the attributes of a date, unpadded. With two digits they are the same without the hyphen.
var dateParts = map[string]string{"year": "%Y", "month": "%-m", "day": "%-d", "hour": "%-H", "minute": "%-M", "second": "%-S",
	"microsecond": "%f", "quarter": "%q", "week_of_year": "%-V", "day_of_year": "%-j"}

func (r *rule) dateChain(n *node, v *value, ops []op, format string, use usage) ([]part, error) {
	if len(ops) == 0 {
		switch {
		case strings.Contains(format, "%"):
			v.format = dateFormat(format)
			return v.parts(), checkDateFormat(format)
		case format != "":
			return nil, errExpression
		case v.format == "":
			r.differs(n.line, "a date without a format is written without its zone")
			v.format = `"%Y-%m-%d %H:%M:%S"`
			if use == forPlace || use == forName {
				v.format = `"%Y-%m-%d %H.%M.%S"`
			}
		}
		return v.parts(), nil
	}
	o := ops[0]
	ops = ops[1:]
	if o.kind != attribute {
		return nil, errExpression
	}
	if verb, ok := dateParts[o.name]; ok && !o.call {
		for _, f := range ops { // | int, | string and the like change nothing
			if f.kind != filtered || f.name != "int" && f.name != "string" {
				return nil, errExpression
			}
		}
		zeros, ok := parseSpec(format)
		switch {
		case !ok:
			return nil, errExpression
		case zeros == 2 && strings.HasPrefix(verb, "%-") && o.name != "day_of_year":
			verb = "%" + verb[2:]
		case zeros == 4 && o.name == "year", zeros == 2 && o.name == "year":
		case zeros != 0:
			return nil, errExpression
		}
		v.format = verb
		return v.parts(), nil
	}
	if format != "" {
		return nil, errExpression
	}
	arg := ""
	if len(o.args) > 0 {
		arg, _ = o.args[0].literal()
	}
	switch {
	case o.name == "strftime" && o.call && len(o.args) == 1 && arg != "":
		if err := checkDateFormat(arg); err != nil {
			return nil, err
		}
		if !strings.Contains(strings.ReplaceAll(arg, "%%", ""), "%") {
			return []part{{text: strings.ReplaceAll(arg, "%%", "%")}}, nil
		}
		v.format = dateFormat(arg)
	case (o.name == "date" || o.name == "to_date_string") && o.call && len(o.args) == 0:
		v.format = "%Y-%m-%d"
	case o.name == "time" && o.call:
		v.format = `"%H:%M:%S"`
	case o.name == "isoformat" && o.call && len(o.args) == 0:
		v.format = `"%Y-%m-%dT%H:%M:%S"`
		r.differs(n.line, "a date is written without its zone")
	case o.name == "timestamp" && o.call:
		v.format = "%s"
	case o.name == "isoweekday" && o.call:
		v.format = "%u"
	default:
		return nil, fmt.Errorf("forg's dates have no %s", shorten(o.name, 30))
	}
	return r.textOps(n, v, ops, "")
}

// dateFormat writes a strftime format behind the colon of a placeholder.
func dateFormat(s string) string {
	if strings.ContainsAny(s, `:|}{"'\`) || strings.Contains(s, "??") || strings.TrimSpace(s) != s {
		return quote(s)
	}
	return s
}

// checkDateFormat tells whether forg's dates know all conversions of a strftime format.
func checkDateFormat(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i++; i < len(s) && s[i] == '-' {
			i++
		}
		if i >= len(s) || strings.IndexByte("YymdHIMSfpbBaAuwjVGgUWqCeFTRszZ%", s[i]) < 0 {
			return fmt.Errorf("forg's dates do not know all of %q", shorten(s, 40))
		}
	}
	return nil
}

// textOps applies methods of Python's texts and filters of Jinja.
func (r *rule) textOps(n *node, v *value, ops []op, format string) ([]part, error) {
	for len(ops) > 0 {
		o := ops[0]
		ops = ops[1:]
		arg := func(i int) (string, bool) {
			if i >= len(o.args) {
				return "", false
			}
			return o.args[i].literal()
		}
		first, hasFirst := arg(0)
		second, hasSecond := arg(1)
		switch {
		case o.kind == slice && (!o.ends[0] || o.from == 0) && o.ends[1] && o.to > 0:
			v.filters = append(v.filters, "first:"+strconv.Itoa(o.to))
		case o.kind == slice && o.ends[0] && !o.ends[1] && o.from < 0:
			v.filters = append(v.filters, "last:"+strconv.Itoa(-o.from))
		case o.kind == index && o.from == 0:
			v.filters = append(v.filters, "first:1")
		case o.kind == index && o.from == -1:
			v.filters = append(v.filters, "last:1")
		case o.kind == slice || o.kind == index:
			return nil, errors.New("forg cuts texts from the front or from the end alone")
		case o.kind == attribute && !o.call:
			return nil, fmt.Errorf("forg has no like of .%s", shorten(o.name, 30))
		case o.name == "split" && o.kind == attribute && hasFirst && first != "" && len(o.args) == 1:
			if len(ops) == 0 || ops[0].kind != index || ops[0].from < 0 || ops[0].from > 3 {
				return nil, errors.New("forg takes one of the first pieces of a text alone")
			}
			for range ops[0].from {
				v.filters = append(v.filters, "after:"+quote(first))
			}
			v.filters = append(v.filters, "before:"+quote(first))
			ops = ops[1:]
		case len(o.args) == 0 && (o.name == "lower" || o.name == "upper"):
			v.filters = append(v.filters, o.name)
		case len(o.args) == 0 && o.name == "title":
			v.filters = append(v.filters, "lower", "title")
		case len(o.args) == 0 && (o.name == "strip" || o.name == "trim"):
			v.filters = append(v.filters, "trim")
		case len(o.args) == 1 && hasFirst && first != "" && (o.name == "strip" || o.name == "trim"):
			v.filters = append(v.filters, "trim:"+quote(first))
		case len(o.args) == 2 && hasFirst && hasSecond && first != "" && o.name == "replace":
			v.filters = append(v.filters, "replace:"+quote(first)+":"+quote(second))
		case o.kind == filtered && hasFirst && first != "" && (o.name == "default" || o.name == "d"):
			v.filters = append(v.filters, "default:"+quote(first))
		case o.kind == filtered && len(o.args) == 0 && (o.name == "string" || o.name == "int"):
		case o.kind == filtered && len(o.args) == 0 && (o.name == "first" || o.name == "last"):
			v.filters = append(v.filters, o.name+":1")
		default:
			return nil, fmt.Errorf("forg's templates have no %s like that", shorten(o.name, 30))
		}
	}
	if format != "" {
		zeros, ok := parseSpec(format)
		if !ok || zeros > 0 && !v.number || len(v.filters) > 0 {
			return nil, errExpression
		}
		if zeros > 0 {
			v.format = fmt.Sprintf("0%d", zeros)
		}
	}
	return v.parts(), nil
}
