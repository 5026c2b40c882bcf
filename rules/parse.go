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

// A keySpec is a key of a part of a rules file, for the parser's messages, the schema and the reference.
type keySpec struct {
	name, text string
}

var (
	fileKeys = []keySpec{
		{"rules", "the list of rules"},
		{"tests", "a list of files and where they must go, for forg rules test"},
		{"x-*", "is not read: a place for anchors"},
	}
	ruleKeys = []keySpec{
		{"name", "a name of its own, shown in plans, history and explain; rule 1 and so on, if not given"},
		{"locations", "a folder, or a list of folders and of mappings; where forg is told to look, if not given"},
		{"subfolders", "whether subfolders are looked at too; false, if not given"},
		{"targets", "files or dirs; files, if not given"},
		{"filters", "a list of filters; every file, if not given"},
		{"filter_mode", "all, any or none of the filters must hold; all, if not given"},
		{"actions", "a list of actions, done in this order"},
		{"continue", "whether later rules have their say about a file that this one matched; false, if not given"},
		{"tags", "a word or a list, for --tags and --skip-tags; always: unless skipped, never: only when asked for"},
		{"enabled", "false leaves the rule out; true, if not given"},
	}
	locationKeys = []keySpec{
		{"path", "the folder"},
		{"max_depth", "how many levels of subfolders are looked at; 0 is the folder alone"},
		{"exclude_files", "globs of names of files, or with a / in them of paths below the location"},
		{"exclude_dirs", "globs of names of folders, or with a / in them of paths below the location"},
	}
)

func keyNames(keys []keySpec) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// Parse reads a rules file strictly. The error is an Errors with every problem, each with its place. name is what
// messages call the file. Parse does not look at the disk, but for opt.ReadFile.
func Parse(name string, source []byte, opt Options) (*Rules, error) {
	if opt.Set == nil {
		opt.Set = Builtin()
	}
	opt.Home = cleanHome(opt.Home)
	r := &reader{name: name, opt: opt, set: opt.Set, facts: map[string]int{}, asked: map[string]bool{}}
	r.rules = &Rules{opt: opt, plans: &planCache{}}
	r.fact(FactDir)
	if doc := r.document(source); doc != nil {
		r.file(doc)
	}
	if len(r.errs) > 0 {
		return nil, r.errs.sorted()
	}
	r.rules.count()
	return r.rules, nil
}

func cleanHome(home string) string {
	if home == "" {
		return ""
	}
	return path.Clean(home)
}

// values reads a mapping with known keys.
func (r *reader) values(n *yaml.Node, what string, keys []keySpec) (values map[string]pair, ok bool) {
	target := r.follow(n)
	if target == nil || target.Kind != yaml.MappingNode {
		if target != nil {
			r.mapping(target, what) // says what is wrong
		}
		return nil, false
	}
	values = map[string]pair{}
	for _, p := range r.mapping(target, what) {
		known := slices.ContainsFunc(keys, func(k keySpec) bool {
			family, star := strings.CutSuffix(k.name, "*")
			return k.name == p.name || star && strings.HasPrefix(p.name, family)
		})
		if !known {
			r.unknownKey(p, what, keyNames(keys))
			continue
		}
		values[p.name] = p
	}
	return values, true
}

func (r *reader) file(doc *yaml.Node) {
	if doc.Kind == yaml.SequenceNode {
		r.fail(doc, "the file is a mapping, not a list").Hint = "start it with a line \"rules:\""
		return
	}
	values, ok := r.values(doc, "a rules file", fileKeys)
	if !ok {
		return
	}
	list, ok := values["rules"]
	if !ok {
		r.fail(doc, "the file holds no rules").Hint = "start with a line \"rules:\""
		return
	}
	items := r.sequence(list.value, "rules")
	if n := r.follow(list.value); n != nil && n.Kind == yaml.SequenceNode && len(items) == 0 && !r.full {
		r.fail(list.key, "the file holds no rules")
	}
	lines := map[string]int{}
	before := len(r.errs)
	for i, item := range items {
		rule := r.rule(item, i+1)
		if rule == nil {
			continue
		}
		if line, twice := lines[rule.Name]; twice {
			at := item
			if p, ok := find(item, "name"); ok {
				at = p
			}
			r.fail(at, "the rule %q is here twice; it was already in line %d", rule.Name, line)
			continue
		}
		lines[rule.Name] = rule.Line
		r.rules.rules = append(r.rules.rules, rule)
	}
	if len(r.errs) == before {
		r.unreachable()
	}
	if p, ok := values["tests"]; ok {
		for _, item := range r.sequence(p.value, "tests") {
			if t := r.test(item, lines); t != nil {
				r.rules.tests = append(r.rules.tests, t)
			}
		}
	}
}

// find returns the value of a key that is written in n itself.
func find(n *yaml.Node, key string) (*yaml.Node, bool) {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1], true
			}
		}
	}
	return nil, false
}

// rule reads a rule. It returns nil if it is not even a mapping.
func (r *reader) rule(n *yaml.Node, number int) *Rule {
	values, ok := r.values(n, "a rule", ruleKeys)
	if !ok {
		return nil
	}
	n = r.follow(n)
	if n == nil {
		return nil
	}
	r.asked, r.gives, r.hidden, r.given = map[string]bool{}, map[string][]*capture{}, map[string]bool{}, nil
	before := len(r.errs)
	rule := &Rule{Name: fmt.Sprintf("rule %d", number), Line: n.Line, Enabled: true, at: n}
	if p, ok := values["name"]; ok {
		if name, ok := r.text(p.value, "name"); ok {
			if strings.TrimSpace(name) == "" || strings.ContainsFunc(name, unicode.IsControl) {
				r.fail(p.value, "name is a line of text, not %q", shorten(name, 40))
			}
			rule.Name = name
		}
	}
	flag := func(key string, value *bool) {
		if p, ok := values[key]; ok {
			if v, ok := r.boolean(p.value, key); ok {
				*value = v
			}
		}
	}
	flag("continue", &rule.Continue)
	flag("enabled", &rule.Enabled)
	flag("subfolders", &rule.deep)
	if p, ok := values["targets"]; ok {
		if v, _ := r.choice(p.value, "targets", []string{"files", "dirs"}); v == "dirs" {
			rule.Targets = Dirs
		}
	}
	if p, ok := values["tags"]; ok {
		rule.Tags = r.ruleTags(p.value)
	}
	p, located := values["locations"]
	rule.anywhere = !located
	if located {
		_, said := values["subfolders"]
		rule.locations = r.locations(p.value, rule.deep, said)
	}
	r.ruleFilters(rule, values)
	r.broken = len(r.errs) > before
	r.ruleActions(rule, n, values)
	r.broken = false
	rule.asks = sortedKeys(r.asked)
	rule.env = r.environment()
	if len(r.errs) == before {
		r.contradictions(rule)
		r.nesting(rule)
	}
	return rule
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// between reports whether c stands between words.
func between(c rune) bool { return c == ',' || unicode.IsSpace(c) || unicode.IsControl(c) }

func (r *reader) ruleTags(n *yaml.Node) []string {
	var tags []string
	for _, item := range r.list(n) {
		tag, ok := r.text(item, "a tag")
		switch {
		case !ok:
		case tag == "" || strings.ContainsFunc(tag, between):
			r.fail(item, "a tag is a word, not %q", shorten(tag, 40)).Hint = "write a list: [one, two]"
		case slices.Contains(tags, tag):
			r.fail(item, "the tag %q is here twice", tag)
		default:
			tags = append(tags, tag)
		}
	}
	return tags
}

func (r *reader) ruleFilters(rule *Rule, values map[string]pair) {
	op := allOf
	if p, ok := values["filter_mode"]; ok {
		mode, _ := r.choice(p.value, "filter_mode", []string{"all", "any", "none"})
		if op = operators[mode]; op == leaf {
			op = allOf
		}
		if _, ok := values["filters"]; !ok {
			r.fail(p.key, "filter_mode without filters")
		}
	}
	p, ok := values["filters"]
	if !ok {
		return
	}
	if op == noneOf {
		r.negated++
		defer func() { r.negated-- }()
	}
	rule.where = wrap(op, p.key, r.conditions(p.value, "filters")...)
	if op != allOf || rule.Targets == Dirs {
		return
	}
	for _, c := range rule.where.kids {
		if c.exts != nil {
			rule.exts = c.exts
			return
		}
	}
}

func (r *reader) ruleActions(rule *Rule, n *yaml.Node, values map[string]pair) {
	p, ok := values["actions"]
	if !ok {
		r.fail(n, "a rule needs actions")
		return
	}
	items := r.sequence(p.value, "actions")
	if list := r.follow(p.value); list != nil && list.Kind == yaml.SequenceNode && len(items) == 0 && !r.full {
		r.fail(p.key, "a rule needs actions")
	}
	gone := 0
	for _, item := range items {
		a := r.action(item)
		if a == nil {
			continue
		}
		if gone > 0 && a.Kind != Echo && a.Kind != Write {
			r.fail(item, "%s comes after the file went to the trash in line %d", a.Kind, gone)
		}
		if a.Kind == Trash {
			gone = a.Line
		}
		rule.Actions = append(rule.Actions, *a)
	}
}

// environment returns what exec hands on of what the filters of the rule gave.
func (r *reader) environment() []giving {
	var all []giving
	seen := map[string]bool{}
	add := func(name string, get func(l *look) (Value, error)) {
		variable := "FORG_" + strings.Map(func(c rune) rune {
			if c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
				return unicode.ToUpper(c)
			}
			return '_'
		}, name)
		if !seen[variable] {
			seen[variable] = true
			all = append(all, giving{variable, get})
		}
	}
	captured := make([]string, 0, len(r.gives))
	for name := range r.gives {
		captured = append(captured, name)
	}
	slices.Sort(captured)
	for _, name := range captured {
		captures := r.gives[name]
		add(name, func(l *look) (Value, error) { return firstCapture(l, captures) })
	}
	for _, name := range r.given {
		known := findPlaceholder(name)
		if known == nil || known.fact == "" || known.get == nil || !r.asked[known.fact] {
			continue // what a file is called is always handed on; what nobody asked for is not worth reading
		}
		fact, get := r.facts[known.fact], known.get
		add(name, func(l *look) (Value, error) { return get(l, fact) })
	}
	return all
}

// A location is one of the folders of a rule.
type location struct {
	path         string
	at           *yaml.Node
	maxDepth     int // -1 for all
	excludeFiles []exclusion
	excludeDirs  []exclusion
	lost         bool // Resolve could not find it
}

// An exclusion is a glob of names, or of paths below the location.
type exclusion struct {
	*pattern
	whole bool // of paths
}

func (r *reader) locations(n *yaml.Node, deep, said bool) []location {
	items := r.list(n)
	if len(items) == 0 && !r.full {
		r.fail(n, "locations is empty").Hint = "without the key, the rule holds wherever forg is told to look"
	}
	var all []location
	for _, item := range items {
		l := location{at: item}
		if deep {
			l.maxDepth = -1
		}
		ok := false
		if item.Kind == yaml.MappingNode && !unquoted(item) {
			ok = r.locationMapping(item, &l, deep, said)
		} else {
			l.path, ok = r.folder(item, "a location")
		}
		if !ok {
			continue
		}
		if slices.ContainsFunc(all, func(o location) bool { return o.path == l.path }) {
			r.fail(item, "the location %s is here twice", l.path)
		}
		all = append(all, l)
	}
	return all
}

func (r *reader) locationMapping(n *yaml.Node, l *location, deep, said bool) bool {
	values, ok := r.values(n, "a location", locationKeys)
	if !ok {
		return false
	}
	p, ok := values["path"]
	if !ok {
		r.fail(n, "a location has no path")
		return false
	}
	if l.path, ok = r.folder(p.value, "a location"); !ok {
		return false
	}
	if p, ok := values["max_depth"]; ok {
		depth, ok := r.count(p.value, "max_depth", 1000)
		if ok && depth > 0 && said && !deep {
			r.fail(p.key, "max_depth: %d, but subfolders: false", depth).Hint = "take one of them away"
		}
		l.maxDepth = int(depth)
	}
	l.excludeFiles = r.exclusions(values["exclude_files"].value, "exclude_files")
	l.excludeDirs = r.exclusions(values["exclude_dirs"].value, "exclude_dirs")
	return true
}

func (r *reader) exclusions(n *yaml.Node, what string) []exclusion {
	if n == nil {
		return nil
	}
	var all []exclusion
	for _, item := range r.list(n) {
		text, ok := r.text(item, what)
		if !ok {
			continue
		}
		style := wordGlob
		if strings.Contains(strings.TrimSuffix(text, "/"), "/") {
			style = pathGlob
		}
		p, err := compileGlob(strings.TrimSuffix(text, "/"), style, false)
		if err != nil {
			r.failUnit(item, what, err)
			continue
		}
		all = append(all, exclusion{p, style == pathGlob})
	}
	return all
}

// excluded reports whether some folder on the way down to dir, which is below the location, is left out.
func (l *location) excluded(dir string) bool {
	for end := 0; end < len(dir) && len(l.excludeDirs) > 0; end++ {
		i := strings.IndexByte(dir[end:], '/')
		if i < 0 {
			i = len(dir) - end
		}
		name := composed(dir[end : end+i])
		end += i
		for _, e := range l.excludeDirs {
			if e.whole && e.match(composed(dir[:end])) || !e.whole && e.match(name) {
				return true
			}
		}
	}
	return false
}

// leavesOut reports whether the name of a file, or its path below the location, is left out.
func (l *location) leavesOut(name, relative string) bool {
	for _, e := range l.excludeFiles {
		s := name
		if e.whole {
			s = relative
		}
		if e.match(composed(s)) {
			return true
		}
	}
	return false
}

// folder reads a path that may start with ~/ or hold variables of the environment.
func (r *reader) folder(n *yaml.Node, what string) (string, bool) {
	t := r.template(n, what)
	if t == nil {
		return "", false
	}
	n = r.follow(n)
	var b strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		b.WriteString(p.text)
		if p.choice == nil {
			continue
		}
		for _, c := range p.choice {
			if !c.fixed {
				r.failIn(n, p.at, "%s cannot hold {%s}", what, shorten(p.source, 40)).Hint =
					"only variables of the environment: {env.NAME}"
				return "", false
			}
		}
		s, _, err := p.value(nil) // what is fixed does not look at a file
		if err != nil {
			r.failIn(n, p.at, "%s: there is no value for {%s}", what, shorten(p.source, 40))
			return "", false
		}
		b.WriteString(s)
	}
	s := b.String()
	if r.opt.Windows {
		s = strings.ReplaceAll(s, `\`, "/")
	}
	switch {
	case s == "":
		r.fail(n, "%s is empty", what)
		return "", false
	case strings.ContainsFunc(s, unicode.IsControl):
		r.fail(n, "%s has a control character in it", what)
		return "", false
	case strings.Contains(s, "*"):
		r.fail(n, "%s is one folder; it has no *", what).Hint = "subfolders: true looks at what is below"
		return "", false
	case s == "~" || strings.HasPrefix(s, "~/"):
		if r.opt.Home == "" {
			r.fail(n, "%s: there is no home folder that ~ could stand for", what)
			return "", false
		}
		s = r.opt.Home + s[1:]
	case strings.HasPrefix(s, "~"):
		r.fail(n, "%s: only ~/ is known, the home folder", what)
		return "", false
	}
	return path.Clean(s), true
}

// count sets the moments that ages stand for.
func (r *Rules) count() {
	r.cutoffs = make([]time.Time, len(r.ages))
	for i, a := range r.ages {
		r.cutoffs[i] = a.before(r.opt.Now)
	}
}

// At returns the rules as of another moment: ages are counted from now, and {now} is it, in the zone of Options.Now.
func (r *Rules) At(now time.Time) *Rules {
	other := *r
	other.opt.Now = now.In(r.zone())
	other.count()
	return &other
}
