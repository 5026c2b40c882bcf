package rules

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An optionKind says what can stand under the key of an option.
type optionKind uint8

const (
	textOption  optionKind = iota
	textsOption            // a text or a list of texts
	boolOption
	countOption  // a whole number
	choiceOption // one of values
	numberOption // "> 1, < 2", in the units of scale
	dateOption
	keepOption // duplicate alone
)

// An option is a key of a filter or of an action.
type option struct {
	name   string
	text   string // for the reference
	kind   optionKind
	values []string
	scale  *scale
}

// A filter is one of the filters of the language. The parser, the schema and the reference are made from these.
type filter struct {
	name    string
	text    string // for the reference
	short   string // the option that is meant by a value without a key
	options []*option
	bare    string   // what the filter says without a value; "" if it needs one
	tags    bool     // keys are globs of tags, as of exif
	gives   []string // placeholders that only this filter gives, or that it is about
	build   func(u *use) *condition
}

func (f *filter) option(name string) *option {
	for _, o := range f.options {
		if o.name == name {
			return o
		}
	}
	return nil
}

func (f *filter) optionNames() []string { return optionNames(f.options) }

func optionNames(options []*option) []string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.name
	}
	return names
}

// A use is a filter as it stands in a rule, its options read but not understood.
type use struct {
	r     *reader
	f     *filter
	at    *yaml.Node // the value, or the key if there is none
	set   map[string]*setting
	pairs []pair // of a filter with tags
}

type setting struct {
	at    *yaml.Node
	words []word
	flag  bool
	count int64
	span  span
	date  moment
}

// A word is a text and where it stands.
type word struct {
	at   *yaml.Node
	text string
}

// words returns the words of an option, or none.
func (u *use) words(name string) []word {
	if s := u.set[name]; s != nil {
		return s.words
	}
	return nil
}

func (u *use) choice(name, otherwise string) string {
	if w := u.words(name); len(w) > 0 {
		return w[0].text
	}
	return otherwise
}

func (u *use) flag(name string, otherwise bool) bool {
	if s := u.set[name]; s != nil {
		return s.flag
	}
	return otherwise
}

// setting reads the value of an option. It returns nil if something is wrong with it.
func (r *reader) setting(o *option, n *yaml.Node, what string) *setting {
	at := r.follow(n)
	if at == nil {
		return nil
	}
	s := &setting{at: at}
	ok := true
	switch o.kind {
	case textOption:
		var text string
		text, ok = r.text(at, what)
		s.words = []word{{at, text}}
	case textsOption:
		if null(at) || at.Kind == yaml.SequenceNode && len(at.Content) == 0 {
			r.fail(at, "%s is empty", what)
			return nil
		}
		for _, item := range r.list(at) {
			text, fine := r.text(item, what)
			ok = ok && fine
			s.words = append(s.words, word{item, text})
		}
	case boolOption:
		s.flag, ok = r.boolean(at, what)
	case countOption:
		s.count, ok = r.count(at, what, 1_000_000)
	case choiceOption:
		var text string
		text, ok = r.choice(at, what, o.values)
		s.words = []word{{at, text}}
	case numberOption:
		var text string
		if text, ok = r.text(at, what); ok {
			var err error
			if s.span, err = o.scale.span(text); err != nil {
				r.failUnit(at, what, err)
				return nil
			}
		}
	case dateOption:
		var text string
		if text, ok = r.text(at, what); ok {
			var err error
			if s.date, err = parseMoment(text); err != nil {
				r.failUnit(at, what, err)
				return nil
			}
		}
	case keepOption:
		s.words, ok = r.keep(at, what, o.values)
	}
	if !ok {
		return nil
	}
	return s
}

// failUnit records an error of units.go or globs.go about the text of n.
func (r *reader) failUnit(n *yaml.Node, what string, err error) {
	u := err.(*unitError)
	r.failIn(n, u.at, "%s: %s", what, u.text).Hint = u.hint
}

// keep reads which of several equal files is no duplicate: a word, or {priority: [folders]}, whose words come after it.
func (r *reader) keep(n *yaml.Node, what string, values []string) ([]word, bool) {
	if n.Kind != yaml.MappingNode {
		text, ok := r.choice(n, what, values)
		if ok && text == "priority" {
			r.fail(n, "%s: priority needs folders", what).Hint = "write keep: {priority: [~/Photos, ~/Backup]}"
			return nil, false
		}
		return []word{{n, text}}, ok
	}
	out := []word{{n, "priority"}}
	for _, p := range r.mapping(n, what) {
		if p.name != "priority" {
			r.unknownKey(p, what, []string{"priority"})
			return nil, false
		}
		for _, item := range r.list(p.value) {
			folder, ok := r.folder(item, "a folder of priority")
			if !ok {
				return nil, false
			}
			out = append(out, word{item, folder})
		}
	}
	if len(out) == 1 {
		r.fail(n, "%s: priority needs folders", what).Hint = "write keep: {priority: [~/Photos, ~/Backup]}"
		return nil, false
	}
	return out, true
}

// filter reads one filter with the value that stands under its key; value is nil if there is none.
func (r *reader) filter(f *filter, key, value *yaml.Node) *condition {
	u := &use{r: r, f: f, at: key, set: map[string]*setting{}}
	before := len(r.errs)
	if value != nil {
		if value = r.follow(value); value == nil {
			return nil
		}
		if null(value) {
			value = nil
		}
	}
	switch {
	case value == nil:
		if f.bare == "" {
			r.fail(key, "%s needs a value", f.name).Hint = "it has " + allOfThem(f.optionNames())
			return nil
		}
	case f.tags && value.Kind == yaml.MappingNode:
		u.at = value
		if u.pairs = r.mapping(value, f.name); len(u.pairs) == 0 && len(r.errs) == before {
			r.fail(value, "%s names no tags", f.name)
		}
	case value.Kind == yaml.MappingNode:
		u.at = value
		for _, p := range r.mapping(value, f.name) {
			o := f.option(p.name)
			if o == nil {
				if len(f.options) == 0 {
					r.fail(p.key, "%s has no options", f.name)
				} else {
					r.unknownKey(p, f.name, f.optionNames())
				}
				continue
			}
			if s := r.setting(o, p.value, f.name+"."+o.name); s != nil {
				u.set[o.name] = s
			}
		}
		if len(u.set) == 0 && len(r.errs) == before {
			r.fail(value, "%s has no options here", f.name).Hint = "it has " + allOfThem(f.optionNames())
		}
	case f.short == "":
		r.fail(value, "%s is a mapping (key: value), not %s", f.name, kindOf(value)).Hint =
			"it has " + allOfThem(f.optionNames())
	default:
		u.at = value
		if s := r.setting(f.option(f.short), value, f.name); s != nil {
			u.set[f.short] = s
		}
	}
	if len(r.errs) > before {
		return nil
	}
	c := f.build(u)
	if c == nil || len(r.errs) > before {
		return nil
	}
	c.at, c.line = key, key.Line
	c.text, c.key = f.name, f.name
	if r.negated == 0 {
		r.given = append(r.given, f.gives...)
	}
	if value != nil {
		c.text += ": " + inlineValue(value)
		c.key = f.name + ": " + identity(value)
	}
	return c
}

// identity returns a text that is equal only for nodes that say the same. That it may differ for some that do is harmless.
func identity(n *yaml.Node) string {
	var b strings.Builder
	writeInline(&b, n, 1)
	if b.Len() > 900 { // it may be cut
		return fmt.Sprintf("line %d, column %d", n.Line, n.Column)
	}
	return b.String()
}

// inlineValue is inline for what stands behind a key.
func inlineValue(n *yaml.Node) string {
	s := inline(n)
	if n.Kind == yaml.MappingNode {
		return "{" + s + "}"
	}
	return s
}

// fact returns the index of a fact, and notes that the rule at hand may ask for it.
func (r *reader) fact(name string) int {
	r.asked[name] = true
	i, ok := r.facts[name]
	if !ok {
		i = len(r.rules.facts)
		r.facts[name] = i
		r.rules.facts = append(r.rules.facts, name)
	}
	return i
}

// give notes that the filter at hand gives a value for a placeholder.
func (r *reader) give(name string, kind valueKind, find func(l *look) (Value, error)) {
	if r.negated > 0 {
		r.hidden[name] = true
		return
	}
	r.gives[name] = append(r.gives[name], &capture{kind, find})
}

// A capture finds the value of a placeholder for a filter that gives it. It is asked only when a template wants it, and
// does not depend on which conditions were evaluated before.
type capture struct {
	kind valueKind
	find func(l *look) (Value, error)
}

// firstCapture returns the value that the first filter gives, in the order of the file.
func firstCapture(l *look, captures []*capture) (Value, error) {
	var first error
	for _, c := range captures {
		v, err := c.find(l)
		if err != nil && first == nil {
			first = err
		}
		if v != nil {
			return v, nil
		}
	}
	return nil, first
}

// A filterTest is a part of a filter.
type filterTest func(l *look) (Verdict, error)

// allTests joins the parts of one filter, all of which must hold.
func allTests(tests []filterTest) filterTest {
	if len(tests) == 1 {
		return tests[0]
	}
	return func(l *look) (Verdict, error) {
		out := Yes
		var cause error
		for _, test := range tests {
			v, err := test(l)
			if v == No {
				return No, nil
			}
			if v == Unsure && cause == nil {
				cause = err
			}
			out = min(out, v)
		}
		return out, cause
	}
}

// conditions reads the items of a list of filters.
func (r *reader) conditions(n *yaml.Node, what string) []*condition {
	if r.nested++; r.nested > maxNested {
		r.nested--
		r.fail(n, "filters are nested more than %d deep", maxNested)
		return nil
	}
	defer func() { r.nested-- }()
	var all []*condition
	items := r.sequence(n, what)
	if n := r.follow(n); n != nil && n.Kind == yaml.SequenceNode && len(items) == 0 && !r.full {
		r.fail(n, "%s is empty", what)
	}
	for _, item := range items {
		if c := r.condition(item); c != nil {
			all = append(all, c)
		}
	}
	return all
}

var operators = map[string]operator{"all": allOf, "any": anyOf, "none": noneOf, "not": notOne}

// condition reads one filter, or one of all, any, none and not.
func (r *reader) condition(n *yaml.Node) *condition {
	if n = r.follow(n); n == nil {
		return nil
	}
	var key, value *yaml.Node
	switch n.Kind {
	case yaml.ScalarNode:
		if null(n) {
			r.fail(n, "a filter is missing here")
			return nil
		}
		key = n
	case yaml.MappingNode:
		pairs := r.mapping(n, "a filter")
		if len(pairs) == 0 {
			return nil
		}
		if len(pairs) > 1 {
			hint := fmt.Sprintf("put a - before %q", shorten(pairs[1].name, 40))
			if filterNamed(pairs[1].name) == nil && operators[pairs[1].name] == leaf {
				hint = "are the options of " + pairs[0].name + " indented less than its name?"
			}
			r.fail(pairs[1].key, "a filter is one key; this is a second one").Hint = hint
		}
		key, value = pairs[0].key, pairs[0].value
	default:
		r.fail(n, "a filter is a word, or a word and its value, not %s", kindOf(n))
		return nil
	}
	name := key.Value
	if rest, ok := strings.CutPrefix(name, "not "); ok {
		name = strings.TrimSpace(rest)
		r.negated++
		defer func() { r.negated-- }()
		c := r.named(name, key, value)
		if c == nil {
			return nil
		}
		return wrap(notOne, key, c)
	}
	return r.named(name, key, value)
}

func (r *reader) named(name string, key, value *yaml.Node) *condition {
	if op, ok := operators[name]; ok {
		return r.group(op, key, value)
	}
	f := filterNamed(name)
	if f == nil {
		r.unknownFilter(name, key)
		return nil
	}
	return r.filter(f, key, value)
}

func (r *reader) group(op operator, key, value *yaml.Node) *condition {
	if value == nil {
		r.fail(key, "%s needs filters", op)
		return nil
	}
	if op == noneOf || op == notOne {
		r.negated++
		defer func() { r.negated-- }()
	}
	if op != notOne {
		return wrap(op, key, r.conditions(value, op.String())...)
	}
	if r.nested++; r.nested > maxNested {
		r.nested--
		r.fail(value, "filters are nested more than %d deep", maxNested)
		return nil
	}
	defer func() { r.nested-- }()
	target := r.follow(value)
	if target != nil && target.Kind == yaml.SequenceNode {
		r.fail(target, "not is about one filter, not a list").Hint = "none: says that none of several filters may hold"
		return nil
	}
	c := r.condition(value)
	if c == nil {
		return nil
	}
	return wrap(op, key, c)
}

func wrap(op operator, key *yaml.Node, kids ...*condition) *condition {
	c := &condition{op: op, at: key, line: key.Line, kids: kids, text: op.String()}
	c.arrange()
	return c
}

func (r *reader) unknownFilter(name string, key *yaml.Node) {
	var all []string
	for _, f := range filters() {
		all = append(all, f.name)
	}
	known := append(slices.Clone(all), "all", "any", "none", "not")
	e := r.fail(key, "there is no filter %q", shorten(name, 40))
	switch {
	case name == "python" || name == "shell":
		e.Hint = "filters that run programs are not part of the language; an exec action runs one"
	case slices.Contains(all, elsewhere[name]):
		e.Hint = fmt.Sprintf("did you mean %q?", elsewhere[name])
	case actionNamed(name) != nil:
		e.Hint = name + " is an action; it belongs under actions:"
	default:
		if e.Hint = didYouMean(name, known); e.Hint == "" {
			e.Hint = "there are " + allOfThem(all)
		}
	}
}

func filterNamed(name string) *filter {
	for _, f := range filters() {
		if f.name == name {
			return f
		}
	}
	return nil
}
