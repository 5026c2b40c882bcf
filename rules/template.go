package rules

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A template is text with placeholders in braces.
type template struct {
	parts []templatePart
	where bool // depends on where below the location a file lies
	file  bool // depends on the file at all
	total bool // every file has a value for every placeholder
}

// A templatePart is literal text, or else alternatives, the first of which that has a value counts.
type templatePart struct {
	text   string
	at     int    // where it starts, in bytes
	source string // as written, without braces
	choice []*alternative
}

// An alternative is a placeholder with all that follows it, or a text in quotes.
type alternative struct {
	name    string // "" for a text in quotes
	kind    valueKind
	literal string // the text, or the value of a variable of the environment
	fixed   bool   // literal is the value
	get     func(l *look) (Value, error)
	date    dateFormat
	number  *numberFormat
	cut     int // characters; 0 for all
	filters []filterCall
	folders bool // slashes in the value part folders
	always  bool
}

type filterCall struct {
	*textFilter
	args []string
}

// A numberFormat is what stands after the colon of a number: 03, 6.2 or .1.
type numberFormat struct {
	zero          bool
	width, digits int // digits is -1 if no fraction was asked for
}

// parseNumberFormat returns nil for what is no format.
func parseNumberFormat(s string) *numberFormat {
	f := &numberFormat{digits: -1}
	width, digits, dotted := strings.Cut(s, ".")
	width, f.zero = strings.CutPrefix(width, "0")
	if width != "" || f.zero {
		n, err := strconv.ParseUint(width, 10, 8)
		if err != nil || n == 0 || n > 99 {
			return nil
		}
		f.width = int(n)
	}
	if dotted {
		if len(digits) != 1 || digits[0] < '0' || digits[0] > '9' {
			return nil
		}
		f.digits = int(digits[0] - '0')
	}
	if s == "" {
		return nil
	}
	return f
}

// A templateParser reads one template.
type templateParser struct {
	r    *reader
	n    *yaml.Node
	text string
	at   int
	what string   // for messages
	only []string // if not nil, all placeholders there are
	bad  bool
}

// template reads the template in the scalar n. It returns nil if something is wrong with it, and has said what.
func (r *reader) template(n *yaml.Node, what string) *template {
	text, ok := r.text(n, what)
	if !ok {
		return nil
	}
	p := &templateParser{r: r, n: r.follow(n), text: text, what: what}
	return p.parse()
}

func (p *templateParser) fail(at int, hint, format string, values ...any) {
	p.bad = true
	p.r.failIn(p.n, at, format, values...).Hint = hint
}

func (p *templateParser) parse() *template {
	t := &template{total: true}
	var literal strings.Builder
	from := 0
	flush := func() {
		if literal.Len() > 0 {
			t.parts = append(t.parts, templatePart{text: literal.String(), at: from})
			literal.Reset()
		}
	}
	for p.at < len(p.text) {
		c := p.text[p.at]
		double := strings.HasPrefix(p.text[p.at+1:], string(c))
		switch {
		case (c == '{' || c == '}') && double:
			literal.WriteByte(c)
			p.at += 2
		case c == '}':
			p.fail(p.at, "a brace itself is written }}", "a } without a {")
			return nil
		case c == '{':
			flush()
			start := p.at + 1
			part, ok := p.placeholder()
			if !ok {
				return nil
			}
			part.at = start - 1
			from = p.at
			part.source = strings.TrimSpace(p.text[start : p.at-1])
			always := false
			for _, a := range part.choice {
				always = always || a.always
				t.file = t.file || !a.fixed && a.name != "now" && a.name != "rule" && a.name != "location"
				if known := findPlaceholder(a.name); known != nil && known.where {
					t.where = true
				}
			}
			t.total = t.total && always
			t.parts = append(t.parts, part)
		default:
			literal.WriteByte(c)
			p.at++
		}
	}
	flush()
	if p.bad {
		return nil
	}
	return t
}

func (p *templateParser) blanks() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// placeholder reads from an opening brace to behind the closing one.
func (p *templateParser) placeholder() (part templatePart, ok bool) {
	open := p.at
	p.at++
	for {
		a, ok := p.alternative(open)
		if !ok {
			return part, false
		}
		part.choice = append(part.choice, a)
		p.blanks()
		rest := p.text[p.at:]
		switch {
		case strings.HasPrefix(rest, "}"):
			p.at++
			return part, true
		case strings.HasPrefix(rest, "??"):
			p.at += 2
		case rest == "":
			p.fail(open, "a brace itself is written {{", "a { that is never closed")
			return part, false
		default:
			hint := "after the name come :format, |filter or ?? and what to use instead"
			p.fail(p.at, hint, "%q is not expected here", shorten(rest, 10))
			return part, false
		}
	}
}

// word reads up to one of the ends of a format or an argument.
func (p *templateParser) word(ends string) string {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(ends, p.text[p.at]) < 0 && !strings.HasPrefix(p.text[p.at:], "??") {
		p.at++
	}
	return strings.TrimRight(p.text[start:p.at], " ")
}

// quoted reads a text in quotes, if there is one.
func (p *templateParser) quoted() (text string, is, ok bool) {
	if p.at >= len(p.text) || p.text[p.at] != '"' && p.text[p.at] != '\'' {
		return "", false, true
	}
	start, quote := p.at, p.text[p.at]
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == quote:
			p.at++
			return b.String(), true, true
		case c == '\\' && p.at+1 < len(p.text) && (p.text[p.at+1] == quote || p.text[p.at+1] == '\\'):
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	p.fail(start, "", "the quotes that start here are never closed")
	return "", true, false
}

func (p *templateParser) alternative(open int) (*alternative, bool) {
	p.blanks()
	a := &alternative{}
	text, is, ok := p.quoted()
	if !ok {
		return nil, false
	}
	start := p.at
	if is {
		a.literal, a.fixed, a.always, a.folders = text, true, text != "", true
	} else {
		if a.name = p.word(`:|}"' `); a.name == "" {
			hint := "a brace itself is written {{"
			if p.at == len(p.text) {
				p.fail(open, hint, "a { that is never closed")
			} else {
				p.fail(start, hint, "the name of a placeholder is missing")
			}
			return nil, false
		}
		p.resolve(a, start)
	}
	p.blanks()
	if p.at < len(p.text) && p.text[p.at] == ':' {
		p.at++
		p.blanks()
		start := p.at
		format, is, ok := p.quoted()
		if !ok {
			return nil, false
		}
		if !is {
			format = p.word("|}")
		}
		p.format(a, format, start)
	}
	for p.blanks(); p.at < len(p.text) && p.text[p.at] == '|'; p.blanks() {
		p.at++
		if !p.filter(a) {
			return nil, false
		}
	}
	return a, true
}

// resolve finds out what a name in braces means in this rule.
func (p *templateParser) resolve(a *alternative, at int) {
	name := a.name
	if p.only != nil {
		if !slices.Contains(p.only, name) {
			p.fail(at, "it has "+allOfThem(p.only), "%s has no {%s}", p.what, shorten(name, 40))
			return
		}
	} else if captures := p.r.gives[name]; captures != nil {
		a.kind = captures[0].kind
		a.get = func(l *look) (Value, error) { return firstCapture(l, captures) }
		return
	}
	if variable, ok := strings.CutPrefix(name, "env."); ok {
		p.variable(a, variable, at)
		return
	}
	known := findPlaceholder(name)
	if known == nil || known.get == nil && known.fact != FactExif {
		p.unknown(name, at)
		return
	}
	a.kind, a.always = known.kind, known.always
	if known.fact == "" {
		get := known.get
		a.get = func(l *look) (Value, error) { return get(l, 0) }
		return
	}
	fact := p.r.fact(known.fact)
	if known.fact == FactExif {
		key := strings.TrimPrefix(name, "exif.")
		if key != strings.ToLower(key) {
			p.fail(at, "write {"+strings.ToLower(name)+"}", "tags are written in lower case")
		}
		a.get = func(l *look) (Value, error) {
			tags, err := l.exif(fact)
			return optional(tags[key]), err
		}
		return
	}
	get := known.get
	a.get = func(l *look) (Value, error) { return get(l, fact) }
}

// findPlaceholder returns the placeholder of that name that every rule has, or nil.
func findPlaceholder(name string) *placeholder {
	for _, known := range placeholders {
		family, star := strings.CutSuffix(known.name, "*")
		if known.name == name || star && strings.HasPrefix(name, family) && len(name) > len(family) {
			return known
		}
	}
	return nil
}

func (p *templateParser) unknown(name string, at int) {
	family, _, _ := strings.Cut(name, ".")
	switch {
	case p.r.broken && slices.Contains([]string{"regex", "content", "name", "hash", "duplicate"}, family):
		p.bad = true // perhaps a filter gives it that has an error itself
	case family == "regex" || family == "content" || family == "name" && name != "name":
		hint := map[string]string{
			"regex":   "add a regex filter with a group (?P<word>...)",
			"content": "add a content filter with a group (?P<word>...)",
			"name":    "add a name filter whose match has a {word}",
		}[family]
		if near := nearest(name, p.names()); near != "" {
			hint = "did you mean {" + near + "}?"
		} else if p.r.hidden[name] {
			hint = "a filter under not or none gives nothing"
		}
		p.fail(at, hint, "no filter of this rule gives {%s}", shorten(name, 40))
	case name == "hash":
		p.fail(at, "add a hash filter, or write {hash.blake3}", "no filter of this rule gives {hash}")
	case name == "duplicate.of":
		p.fail(at, "add a duplicate filter", "no filter of this rule gives {duplicate.of}")
	default:
		hint := ""
		if other := misnamed[name]; other != "" {
			hint = "did you mean {" + other + "}?"
		} else if near := nearest(name, p.names()); near != "" {
			hint = "did you mean {" + near + "}?"
		}
		p.fail(at, hint, "there is no placeholder {%s}", shorten(name, 40))
	}
}

// names are all placeholders that could stand here.
func (p *templateParser) names() []string {
	var all []string
	for _, known := range placeholders {
		if !strings.HasSuffix(known.name, "*") {
			all = append(all, known.name)
		}
	}
	for name := range p.r.gives {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// variable fills in a variable of the environment, which does not change while forg runs.
func (p *templateParser) variable(a *alternative, name string, at int) {
	value, ok := "", false
	if name == "" {
		p.fail(at, "{env.HOME}, say", "the name of the variable is missing")
		return
	}
	if p.r.opt.Env != nil {
		value, ok = p.r.opt.Env(name)
	}
	a.fixed, a.literal, a.always = true, value, ok && value != ""
	if !a.always {
		// What comes after it decides whether that matters.
		a.literal = ""
		rest := p.text[p.at:]
		end := strings.IndexByte(rest, '}')
		if end < 0 || !strings.Contains(rest[:end], "??") && !strings.Contains(rest[:end], "default") {
			p.fail(at, "give another with ?? \"...\"", "the environment has no %s", shorten(name, 40))
		}
	}
}

func (p *templateParser) format(a *alternative, format string, at int) {
	switch {
	case a.fixed:
		if a.name == "" {
			p.fail(at, "", "a text in quotes has no format")
			return
		}
		fallthrough
	case a.kind == textValue || a.kind == hashValue:
		digits, dot := strings.CutPrefix(format, ".")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 1000 || !dot && a.kind != hashValue {
			hint := "a text is cut to 40 characters by :.40"
			if err == nil && n > 0 {
				hint = "to cut it, write :." + digits
			} else if strings.Contains(format, "%") {
				hint = "formats with % are for dates"
			}
			p.fail(at, hint, "%q is no format for a text", shorten(format, 20))
			return
		}
		a.cut = n
	case a.kind == dateValue:
		f, err := parseDateFormat(format)
		if err != nil {
			p.fail(at, err.(*unitError).hint, "%s", err)
			return
		}
		if !slices.ContainsFunc(f, func(part datePart) bool { return part.verb != 0 }) {
			p.fail(at, "write for example %Y-%m-%d", "%q is no format for a date", shorten(format, 20))
			return
		}
		a.date, a.folders = f, true
	case a.kind == numberValue:
		if a.number = parseNumberFormat(format); a.number == nil {
			p.fail(at, "03 fills up with zeros, .1 asks for one decimal", "%q is no format for a number",
				shorten(format, 20))
		}
	}
}

// filter reads a text filter after its bar.
func (p *templateParser) filter(a *alternative) bool {
	p.blanks()
	start := p.at
	name := p.word(`:|}"' `)
	f := textFilterNamed(name)
	if f == nil {
		var all []string
		for _, known := range textFilters {
			all = append(all, known.name)
		}
		hint := didYouMean(name, all)
		if other := otherFilters[name]; other != "" {
			hint = "did you mean \"" + other + "\"?"
		}
		if hint == "" {
			hint = "there are " + allOfThem(all)
		}
		p.fail(start, hint, "there is no text filter %q", shorten(name, 40))
		f = &textFilter{max: 100} // to go on behind its arguments
	}
	call := filterCall{textFilter: f}
	for p.blanks(); p.at < len(p.text) && p.text[p.at] == ':'; p.blanks() {
		p.at++
		p.blanks()
		at := p.at
		arg, is, ok := p.quoted()
		if !ok {
			return false
		}
		if !is {
			arg = p.word(":|}")
		}
		if n, err := strconv.Atoi(arg); f.number && (err != nil || n < 1 || n > maxValue) {
			p.fail(at, "", "%s wants a number of characters, not %q", name, shorten(arg, 20))
		}
		call.args = append(call.args, arg)
	}
	if f.name == "" {
		return true
	}
	if len(call.args) < f.min || len(call.args) > f.max {
		p.fail(start, "as in "+name+strings.Repeat(":\"...\"", f.min), "%s takes %s, not %d", name, arguments(f),
			len(call.args))
		return true
	}
	if f.name == "folders" {
		if a.name != "relative_path" || len(a.filters) > 0 || a.cut > 0 {
			p.fail(start, "{relative_path|folders}", "folders is for {relative_path} alone")
			return true
		}
		a.folders = true
		return true
	}
	if a.folders && a.name != "" && a.date == nil {
		p.fail(start, "", "nothing can follow folders")
		return true
	}
	a.folders = a.folders && a.name == "" // what a filter made is a value like any other
	if f.name == "default" && call.args[0] != "" {
		a.always = true
	} else if f.lossy {
		a.always = false
	}
	a.filters = append(a.filters, call)
	return true
}

func arguments(f *textFilter) string {
	switch {
	case f.max == 0:
		return "no argument"
	case f.min == f.max && f.max == 1:
		return "one argument"
	case f.min == f.max:
		return strconv.Itoa(f.max) + " arguments"
	}
	return "at most " + strconv.Itoa(f.max) + " argument"
}
