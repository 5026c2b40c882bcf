package rules

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// Select returns the rules that run when some tags are asked for, or some are to be skipped. Without tags all rules run
// but those tagged never; with tags, those that have one of them. A rule tagged always runs in any case. A rule with a
// tag in skip does not run.
func (r *Rules) Select(tags, skip []string) *Rules {
	other := *r
	other.plans = &planCache{}
	other.rules = nil
	has := func(rule *Rule, list []string) bool {
		return slices.ContainsFunc(rule.Tags, func(tag string) bool { return slices.Contains(list, tag) })
	}
	for _, rule := range r.rules {
		always, never := slices.Contains(rule.Tags, "always"), slices.Contains(rule.Tags, "never")
		run := has(rule, tags) || always || len(tags) == 0 && !never
		if run && !has(rule, skip) {
			other.rules = append(other.rules, rule)
		}
	}
	return &other
}

// Tags returns all tags of the rules, sorted.
func (r *Rules) Tags() []string {
	all := map[string]bool{}
	for _, rule := range r.rules {
		for _, tag := range rule.Tags {
			all[tag] = true
		}
	}
	return sortedKeys(all)
}

// enabled calls f for every rule that takes part.
func (r *Rules) enabled(f func(*Rule)) {
	for _, rule := range r.rules {
		if rule.Enabled {
			f(rule)
		}
	}
}

// Needs returns the facts that the enabled rules may ask for, sorted. FactDir is always asked for and not among them.
func (r *Rules) Needs() []string {
	all := map[string]bool{}
	r.enabled(func(rule *Rule) {
		for _, fact := range rule.asks {
			all[fact] = true
		}
	})
	return sortedKeys(all)
}

// Needs returns the facts that the rule may ask for, sorted.
func (r *Rule) Needs() []string { return slices.Clone(r.asks) }

// Duplicates returns which duplicates the enabled rules ask for, each once.
func (r *Rules) Duplicates() []Duplicates {
	var all []Duplicates
	for _, fact := range r.Needs() {
		if d, ok := parseDuplicates(fact); ok {
			all = append(all, d)
		}
	}
	return all
}

// Locations returns the locations of the enabled rules in the order of the file, each path once, with the widest depth.
func (r *Rules) Locations() []Location {
	var all []Location
	r.enabled(func(rule *Rule) {
		for _, l := range rule.locations {
			if l.lost {
				continue
			}
			i := slices.IndexFunc(all, func(o Location) bool { return o.Path == l.path })
			switch {
			case i < 0:
				all = append(all, Location{l.path, l.maxDepth})
			case l.maxDepth < 0:
				all[i].MaxDepth = -1
			case all[i].MaxDepth >= 0:
				all[i].MaxDepth = max(all[i].MaxDepth, l.maxDepth)
			}
		}
	})
	return all
}

// Resolve replaces the path of every location by what absolute returns for it: an absolute path without links, with /
// between names. A rule does not look at a location for which absolute returns an error; Resolve returns these errors,
// one for each path. It must be called before Scope, and not while other methods run.
func (r *Rules) Resolve(absolute func(path string) (string, error)) []error {
	type result struct {
		path string
		err  error
	}
	seen := map[string]result{}
	var errs []error
	for _, rule := range r.rules {
		for i := range rule.locations {
			l := &rule.locations[i]
			res, ok := seen[l.path]
			if !ok {
				res.path, res.err = absolute(l.path)
				seen[l.path] = res
				if res.err != nil && rule.Enabled {
					errs = append(errs, res.err)
				}
			}
			if l.lost = res.err != nil; !l.lost {
				l.path = path.Clean(res.path)
			}
		}
	}
	return errs
}

// Inside returns the folders below root to which destinations of enabled rules lead, as far as they are written out, for
// the scan to leave alone: with "Sorted/{ext}/" that is Sorted. Relative destinations are below into, or below each
// rule's own location if into is empty. The paths are absolute and sorted.
func (r *Rules) Inside(root, into string) []string {
	all := map[string]bool{}
	r.enabled(func(rule *Rule) {
		bases := []string{root}
		if into != "" {
			bases = []string{into}
		}
		locations := []string{root}
		if !rule.anywhere {
			locations = nil
			for _, l := range rule.locations {
				if !l.lost {
					locations = append(locations, l.path)
				}
			}
			if into == "" {
				bases = locations
			}
		}
		for _, a := range rule.Actions {
			if a.to == nil || a.Kind == Rename || a.Kind == Write {
				continue
			}
			if relative := a.to.root == "" || a.to.located; relative && a.to.static == "" {
				continue
			}
			from := bases
			switch {
			case a.to.located:
				from = locations
			case a.to.root != "":
				from = []string{a.to.root}
			}
			for _, base := range from {
				folder := join(base, a.to.static)
				if below, ok := inside(root, folder); ok && below != "" {
					all[folder] = true
				}
			}
		}
	})
	return sortedKeys(all)
}

// A Scope is what of the rules holds for the files directly in one folder. It is safe for concurrent use.
type Scope struct {
	rules     *Rules
	root, dir string
	recursive bool
	held      []held
	below     bool
	plan      *plan
}

// A held rule is one that holds in a folder.
type held struct {
	rule     *Rule
	at       *location // nil for a rule without locations
	location string
	below    string // the folder, below location
	dir      string // where it is, if it is not that of the file; only in tests of rules
}

// Scope returns what holds in dir, which was reached from root: a location, or a path that the user gave. Both are
// absolute, without links, with / between names. A rule with locations holds where they say. One without holds in root,
// and below it if it says `subfolders: true` or recursive is set.
func (r *Rules) Scope(root, dir string, recursive bool) *Scope {
	s := &Scope{rules: r, root: root, dir: dir, recursive: recursive}
	var indices []byte
	for i, rule := range r.rules {
		h, below, _ := rule.holds(root, dir, recursive)
		s.below = s.below || below
		if h.rule != nil {
			s.held = append(s.held, h)
			indices = append(indices, byte(i), byte(i>>8), byte(i>>16))
		}
	}
	s.plan = r.plans.plan(string(indices), s.held)
	return s
}

// Empty reports whether no rule holds in the folder.
func (s *Scope) Empty() bool { return len(s.held) == 0 }

// Below reports whether some rule may hold in a subfolder. Where it is false, the scan need not go on.
func (s *Scope) Below() bool { return s.below }

// holds returns how the rule holds in dir, whether it may hold further below, and why it does not hold.
func (rule *Rule) holds(root, dir string, recursive bool) (h held, further bool, why string) {
	if !rule.Enabled {
		return held{}, false, "the rule is not enabled"
	}
	if rule.anywhere {
		below, ok := inside(root, dir)
		switch {
		case !ok:
			return held{}, false, "the folder is not below " + root
		case below != "" && !rule.deep && !recursive:
			return held{}, false, "the rule does not look at subfolders"
		}
		return held{rule: rule, location: root, below: below}, rule.deep || recursive, ""
	}
	why = "the folder is in none of its locations"
	best := -1
	for i := range rule.locations {
		l := &rule.locations[i]
		if l.lost {
			continue
		}
		if _, ok := inside(dir, l.path); ok && l.path != dir {
			further = true
		}
		below, ok := inside(l.path, dir)
		if !ok {
			continue
		}
		depth := 0
		if below != "" {
			depth = strings.Count(below, "/") + 1
		}
		if l.maxDepth >= 0 && depth > l.maxDepth {
			why = fmt.Sprintf("the folder is deeper below %s than the rule looks", l.path)
			continue
		}
		if l.excluded(below) {
			why = "exclude_dirs leaves the folder out"
			continue
		}
		further = further || l.maxDepth < 0 || depth < l.maxDepth
		// Of several locations the nearest counts.
		if best < 0 || len(l.path) > len(rule.locations[best].path) {
			best = i
			h = held{rule: rule, at: l, location: l.path, below: below}
		}
	}
	return h, further, why
}

// A plan says which of the held rules of a scope could match a file with some extension, so that most are passed over
// without a look at them.
type plan struct {
	words int
	rest  []uint64            // rules that do not ask for an extension
	exts  map[string][]uint64 // those that ask for this one
}

// A planCache keeps plans by the rules that they are for: most folders share a few.
type planCache struct {
	mu    sync.Mutex
	plans map[string]*plan
}

func (c *planCache) plan(key string, rules []held) *plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.plans[key]
	if p == nil {
		if p = newPlan(rules); c.plans == nil {
			c.plans = map[string]*plan{}
		}
		c.plans[key] = p
	}
	return p
}

func newPlan(rules []held) *plan {
	p := &plan{words: (len(rules) + 63) / 64, exts: map[string][]uint64{}}
	p.rest = make([]uint64, p.words)
	for i, h := range rules {
		if h.rule.exts == nil {
			p.rest[i/64] |= 1 << (i % 64)
		}
		for _, ext := range h.rule.exts {
			if p.exts[ext] == nil {
				p.exts[ext] = make([]uint64, p.words)
			}
			p.exts[ext][i/64] |= 1 << (i % 64)
		}
	}
	return p
}

// candidates returns the rules that could match a file, as a set of bits, in space if it is large enough.
func (p *plan) candidates(l *look, space []uint64) []uint64 {
	set := append(space[:0], p.rest...)
	if l.ext == "" || len(p.exts) == 0 {
		return set
	}
	for ext, more := l.lowerExt(), true; more; _, ext, more = strings.Cut(ext, ".") {
		for i, word := range p.exts[ext] {
			set[i] |= word
		}
	}
	return set
}
