package rules

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// testKeys are the keys of a test, but for facts.
var testKeys = []keySpec{
	{"name", "shown in the result"},
	{"file", "the name of the file that the test is about"},
	{"in", "the subfolder of the location in which it lies"},
	{"location", "the location; that of each rule, if not given"},
	{"now", "the date at which the test takes place; that of the run, if not given"},
	{"unknown", "facts that cannot be told, as those of a file that cannot be read"},
	{"to", "where the file must go, as a plan shows it; null if no rule may match"},
	{"rule", "the rule that must match; of several, the first"},
	{"actions", "the names of the actions that must be done, in order"},
}

// A factKind says how a test writes a fact.
type factKind uint8

const (
	textFact factKind = iota
	sizeFact
	boolFact
	dateFact
	listFact
	intFact
	secondsFact
	exifFact
)

// testFacts are the facts that a test may give. A dotted name may also be written as a mapping.
var testFacts = []struct {
	name string
	kind factKind
}{
	{FactDir, boolFact}, {FactSize, sizeFact}, {FactCreated, dateFact}, {FactModified, dateFact}, {FactAccessed,
		dateFact},
	{FactDateAdded, dateFact}, {FactTaken, dateFact}, {FactEmpty, boolFact}, {FactCategory, textFact}, {FactType,
		textFact},
	{FactMIME, textFact}, {FactContentCategory, textFact}, {FactContentType, textFact}, {FactContentMIME, textFact},
	{FactMismatch, boolFact}, {FactExif, exifFact}, {FactImageWidth, intFact}, {FactImageHeight, intFact},
	{FactImageOrientation, textFact}, {FactVideoWidth, intFact}, {FactVideoHeight, intFact}, {FactVideoDuration,
		secondsFact},
	{FactVideoOrientation, textFact}, {FactAudioArtist, textFact}, {FactAudioAlbumArtist, textFact}, {FactAudioAlbum,
		textFact},
	{FactAudioTitle, textFact}, {FactAudioGenre, textFact}, {FactAudioComposer, textFact}, {FactAudioYear, intFact},
	{FactAudioTrack, intFact}, {FactAudioDisc, intFact}, {FactAudioDuration, secondsFact}, {FactText, textFact},
	{FactHashBLAKE3, textFact}, {FactHashSHA256, textFact}, {FactHashSHA1, textFact}, {FactHashMD5, textFact},
	{FactOrigin, listFact}, {FactTags, listFact}, {FactArchive, listFact}, {"duplicate", textFact},
}

func factKindOf(name string) (factKind, bool) {
	for _, f := range testFacts {
		if f.name == name {
			return f.kind, true
		}
	}
	return 0, false
}

// testWords are all keys of a test.
func testWords() []string {
	words := keyNames(testKeys)
	for _, f := range testFacts {
		family, _, _ := strings.Cut(f.name, ".")
		if !slices.Contains(words, family) {
			words = append(words, family)
		}
	}
	return words
}

// A testCase is one of the tests beside the rules. It is the file that it is about.
type testCase struct {
	line          int
	name          string
	file, in      string
	location, dir string
	facts         map[string]Value
	unknown       []string
	now           time.Time
	placed        bool // to was given
	to            string
	rule          string
	actions       []string
	checksActions bool
	set           *Set
}

func (t *testCase) Dir() string  { return t.dir }
func (t *testCase) Name() string { return t.file }

var errTestUnknown = errors.New("the test says that it is unknown")

func (t *testCase) Fact(name string) (Value, error) {
	for _, u := range t.unknown {
		if u == name || strings.HasPrefix(name, u+".") || strings.HasPrefix(name, u+":") {
			return nil, errTestUnknown
		}
	}
	if v, ok := t.facts[name]; ok {
		return v, nil
	}
	if strings.HasPrefix(name, "duplicate:") {
		return t.facts["duplicate"], nil
	}
	if plain, ok := strings.CutSuffix(name, ":content"); ok {
		return t.facts[plain], nil
	}
	if name == FactCategory || name == FactType {
		// What the name says for sure need not be written down.
		if _, ext := t.set.Split(t.file); t.facts[FactDir] != true {
			if k, sure := t.set.ByExtension(ext); sure && k != nil {
				return map[string]string{FactCategory: k.Category, FactType: k.Type}[name], nil
			}
		}
	}
	return nil, nil
}

// test reads a test. rules are the names of rules.
func (r *reader) test(n *yaml.Node, rules map[string]int) *testCase {
	n = r.follow(n)
	if n == nil {
		return nil
	}
	t := &testCase{line: n.Line, facts: map[string]Value{}, set: r.set}
	before := len(r.errs)
	said := map[string]*yaml.Node{}
	for _, p := range r.mapping(n, "a test") {
		said[p.name] = p.value
		if slices.Contains(keyNames(testKeys), p.name) {
			r.testKey(t, p, rules)
		} else {
			r.testFact(t, p, p.name)
		}
	}
	if len(r.errs) > before {
		return nil
	}
	switch {
	case t.file == "":
		r.fail(n, "a test needs a file")
	case said["to"] == nil && said["rule"] == nil && said["actions"] == nil:
		r.fail(n, "the test expects nothing").Hint = "add to:, the place where the file must go, or to: null"
	case t.placed && t.to == "" && (t.rule != "" || len(t.actions) > 0):
		r.fail(said["to"], "to: null says that no rule matches, and so do rule and actions not")
	}
	t.name = cmp.Or(t.name, t.file)
	return t
}

func (r *reader) testKey(t *testCase, p pair, rules map[string]int) {
	if p.name == "to" {
		t.placed = true
		if n := r.follow(p.value); n == nil || null(n) {
			return
		}
	}
	if p.name == "actions" || p.name == "unknown" {
		r.testList(t, p)
		return
	}
	text, ok := r.text(p.value, p.name)
	if !ok {
		return
	}
	n := r.follow(p.value)
	if text == "" {
		r.fail(n, "%s is empty", p.name)
		return
	}
	switch p.name {
	case "name":
		t.name = text
	case "file":
		if strings.Contains(text, "/") || text == "." || text == ".." {
			r.fail(n, "file is a name, without folders").Hint = "in: says where it lies"
		}
		t.file = text
	case "in":
		t.in = strings.Trim(path.Clean("/"+text), "/")
	case "location":
		t.location, _ = r.folder(n, "location")
	case "now":
		m, err := parseMoment(text)
		if err != nil {
			r.failUnit(n, "now", err)
		}
		t.now = m.in(r.rules.zone())
	case "to":
		t.to = text
		if strings.HasPrefix(text, "~/") {
			t.to, _ = r.folder(n, "to")
			if strings.HasSuffix(text, "/") {
				t.to += "/"
			}
		}
	case "rule":
		t.rule = text
		if _, ok := rules[text]; !ok {
			var names []string
			for name := range rules {
				names = append(names, name)
			}
			slices.Sort(names)
			r.fail(n, "there is no rule %q", shorten(text, 40)).Hint = didYouMean(text, names)
		}
	}
}

func (r *reader) testList(t *testCase, p pair) {
	t.checksActions = t.checksActions || p.name == "actions"
	for _, item := range r.list(p.value) {
		text, ok := r.text(item, p.name)
		switch {
		case !ok:
		case p.name == "actions":
			if actionNamed(text) == nil {
				r.unknownAction(item)
			}
			t.actions = append(t.actions, text)
		case !slices.ContainsFunc(testFacts, func(f struct {
			name string
			kind factKind
		}) bool {
			return f.name == text || strings.HasPrefix(f.name, text+".")
		}):
			r.fail(item, "there is no fact %q", shorten(text, 40)).Hint = didYouMean(text, testWords())
		default:
			t.unknown = append(t.unknown, text)
		}
	}
}

// testFact reads a fact, or a mapping of those that begin alike.
func (r *reader) testFact(t *testCase, p pair, name string) {
	kind, ok := factKindOf(name)
	n := r.follow(p.value)
	if n == nil {
		return
	}
	if !ok {
		var parts []string
		for _, f := range testFacts {
			if part, below := strings.CutPrefix(f.name, name+"."); below {
				parts = append(parts, part)
			}
		}
		if parts == nil {
			r.unknownKey(p, "a test", testWords())
			return
		}
		for _, part := range r.mapping(n, name) {
			if !slices.Contains(parts, part.name) {
				r.unknownKey(part, name, parts)
				continue
			}
			r.testFact(t, part, name+"."+part.name)
		}
		return
	}
	if null(n) {
		return // the file does not have it
	}
	var v Value
	switch kind {
	case boolFact:
		v, ok = r.boolean(n, name)
	case listFact:
		list := []string{}
		for _, item := range r.list(n) {
			s, fine := r.text(item, name)
			ok = ok && fine
			list = append(list, s)
		}
		v = list
	case exifFact:
		tags := map[string]string{}
		for _, tag := range r.mapping(n, name) {
			s, fine := r.text(tag.value, name+"."+tag.name)
			ok = ok && fine
			tags[strings.ToLower(tag.name)] = s
		}
		v = tags
	default:
		v, ok = r.testScalar(n, name, kind)
	}
	if ok {
		t.facts[name] = v
	}
}

func (r *reader) testScalar(n *yaml.Node, name string, kind factKind) (Value, bool) {
	text, ok := r.text(n, name)
	if !ok {
		return nil, false
	}
	if kind == textFact {
		return text, true
	}
	if kind == dateFact {
		m, err := parseMoment(text)
		if err != nil {
			r.failUnit(n, name, err)
			return nil, false
		}
		return m.in(r.rules.zone()), true
	}
	scale := map[factKind]*scale{sizeFact: sizeScale, intFact: plainScale, secondsFact: durationScale}[kind]
	number, rest, err := scale.number(text)
	if err == nil && rest != "" {
		err = &unitError{len(text) - len(rest), fmt.Sprintf("%q is too much here", shorten(rest, 20)), ""}
	}
	if err != nil {
		r.failUnit(n, name, err)
		return nil, false
	}
	if kind == secondsFact {
		return number, true
	}
	if number != float64(int64(number)) {
		r.fail(n, "%s is a whole number, not %s", name, text)
		return nil, false
	}
	return int64(number), true
}

// A TestResult is the outcome of one of the tests beside the rules.
type TestResult struct {
	Name  string
	File  string // the name of the file that the test is about
	Line  int    // where the test stands, from 1
	Pass  bool
	Want  string // what the test expects, in words
	Got   string // what the rules say, in words
	Trace []Trace
}

// RunTests runs the tests beside the rules, in their order. Nothing is read from the disk.
func (r *Rules) RunTests() []TestResult {
	results := make([]TestResult, len(r.tests))
	for i, t := range r.tests {
		results[i] = t.run(r)
	}
	return results
}

func (t *testCase) run(r *Rules) TestResult {
	if !t.now.IsZero() {
		r = r.At(t.now)
	}
	f := *t
	s := f.scope(r)
	d := s.Decide(&f)
	got := outcome{}
	for _, step := range d.Steps {
		got.actions = append(got.actions, step.Kind.String())
		if got.to == "" {
			got.to = placeOf(step, f.file)
		}
	}
	if len(d.Steps) > 0 {
		got.rule = d.Steps[0].Rule.Name
	}
	want := outcome{to: t.to, rule: t.rule, actions: t.actions}
	pass := (t.rule == "" || t.rule == got.rule) && (!t.checksActions || slices.Equal(t.actions, got.actions))
	if t.placed {
		to := t.to
		if strings.HasSuffix(to, "/") && !strings.HasSuffix(got.to, "/") {
			to += f.file
		}
		pass = pass && (to == got.to || to == "" && len(d.Steps) == 0)
		if to == "" {
			pass = pass && len(d.Steps) == 0
			want.nothing = true
		}
	}
	result := TestResult{Name: t.name, File: t.file, Line: t.line, Pass: pass, Want: want.String(), Got: got.String()}
	if len(d.Steps) == 0 {
		for _, u := range d.Unknown {
			result.Got += fmt.Sprintf("; %q is unknown: %s: %s", u.Rule.Name, u.Condition, u.Err)
		}
	}
	if !pass {
		result.Trace = s.Explain(&f)
	}
	return result
}

// scope puts the file where the test says, or for each rule below the location of that rule.
func (t *testCase) scope(r *Rules) *Scope {
	root := cmp.Or(t.location, "/location")
	t.dir = join(root, t.in)
	if t.location != "" {
		return r.Scope(root, t.dir, false)
	}
	s := &Scope{rules: r, root: root, dir: t.dir}
	for _, rule := range r.rules {
		at := root
		if len(rule.locations) > 0 {
			at = rule.locations[0].path
		}
		if h, _, _ := rule.holds(at, join(at, t.in), false); h.rule != nil {
			h.dir = join(at, t.in)
			s.held = append(s.held, h)
		}
	}
	s.plan = newPlan(s.held)
	return s
}

// placeOf returns where a step puts a file, or "".
func placeOf(s Step, file string) string {
	switch {
	case s.Kind == Write:
		return ""
	case s.Kind == Extract:
		return strings.TrimSuffix(s.To, "/") + "/"
	case s.Folder:
		return join(s.To, file)
	}
	return s.To
}

// An outcome is what comes of a file, or what should.
type outcome struct {
	to, rule string
	actions  []string
	nothing  bool
}

func (o outcome) String() string {
	var parts []string
	if o.to != "" {
		parts = append(parts, o.to)
	}
	if len(o.actions) > 0 {
		parts = append(parts, "by "+strings.Join(o.actions, ", "))
	}
	if o.rule != "" {
		parts = append(parts, fmt.Sprintf("by the rule %q", o.rule))
	}
	if len(parts) == 0 {
		return "no rule matches"
	}
	return strings.Join(parts, " ")
}
