package rules

import (
	"fmt"
	"slices"
	"strings"
)

// contradictions records filters that no file can satisfy together.
func (r *reader) contradictions(rule *Rule) {
	if rule.where == nil || rule.where.op != allOf {
		return
	}
	sizes := everything()
	var exts []string
	var firstSize, firstExt *condition
	for _, c := range rule.where.kids {
		if c.size != nil {
			sizes.meet(*c.size)
			if firstSize == nil {
				firstSize = c
			} else if sizes.empty() {
				r.fail(c.at, "the rule can never match: no size fits this and line %d", firstSize.line)
				return
			}
		}
		if c.exts == nil {
			continue
		}
		if firstExt == nil {
			firstExt, exts = c, c.exts
			continue
		}
		if !anyPair(c.exts, exts, func(a, b string) bool { return endsIn(a, b) || endsIn(b, a) }) {
			r.fail(c.at, "the rule can never match: no extension fits this and line %d", firstExt.line).Hint =
				"put both into one list, or under any:"
			return
		}
	}
}

func anyPair(a, b []string, f func(a, b string) bool) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return f(x, y) })
	})
}

// endsIn reports whether a file with the extension ext has the extension tail too, as a.tar.gz has gz.
func endsIn(ext, tail string) bool {
	return ext == tail || strings.HasSuffix(ext, "."+tail)
}

// unreachable records rules that never get to see a file, because an earlier rule takes all that they could match.
func (r *reader) unreachable() {
	rules := r.rules.rules
	for i, rule := range rules {
		if !rule.Enabled {
			continue
		}
		for _, before := range rules[:i] {
			if before.takesAllOf(rule) {
				r.fail(rule.at, "the rule %q can never be reached: %q in line %d takes all that it could match",
					rule.Name, before.Name, before.Line).
					Hint = fmt.Sprintf("put it before that rule, or add continue: true to %q", before.Name)
				break
			}
		}
	}
}

// takesAllOf reports whether r certainly matches every file that other could match. It sees what can be seen from the
// text: a true answer is sure, a false one is not.
func (r *Rule) takesAllOf(other *Rule) bool {
	if !r.Enabled || r.Continue || r.Targets != other.Targets || !r.widerThan(other) || !sameSet(r.Tags, other.Tags) ||
		!r.covers(other) {
		return false
	}
	// A placeholder without a value makes the rule unknown, and other gets its turn.
	return !slices.ContainsFunc(r.Actions, func(a Action) bool { return !a.total() })
}

// widerThan reports whether the filters of r surely hold where those of other do.
func (r *Rule) widerThan(other *Rule) bool {
	switch {
	case r.where == nil:
		return true
	case other.where == nil:
		return false
	case r.where.key == other.where.key:
		return true
	case r.where.op != allOf:
		return false
	}
	theirs := []*condition{other.where}
	if other.where.op == allOf {
		theirs = other.where.kids
	}
	for _, c := range r.where.kids {
		if !slices.ContainsFunc(theirs, func(o *condition) bool { return o.implies(c) }) {
			return false
		}
	}
	return true
}

// implies reports whether c cannot hold without other.
func (c *condition) implies(other *condition) bool {
	switch {
	case c.key == other.key:
		return true
	case c.exts != nil && other.exts != nil:
		return !slices.ContainsFunc(c.exts, func(ext string) bool {
			return !slices.ContainsFunc(other.exts, func(tail string) bool { return endsIn(ext, tail) })
		})
	case c.size != nil && other.size != nil:
		return c.size.within(other.size)
	}
	return false
}

// total reports whether the action can be filled in for every file.
func (a *Action) total() bool {
	all := append(append(append([]*template{a.text}, a.argv...), a.add...), a.remove...)
	if a.to != nil {
		all = append(all, a.to.template)
	}
	return !slices.ContainsFunc(all, func(t *template) bool { return t != nil && !t.total })
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// covers reports whether r looks at every folder that other looks at.
func (r *Rule) covers(other *Rule) bool {
	if r.anywhere || other.anywhere {
		return r.anywhere && other.anywhere && (r.deep || !other.deep)
	}
	for _, theirs := range other.locations {
		if !slices.ContainsFunc(r.locations, func(l location) bool {
			below, ok := inside(l.path, theirs.path)
			if !ok || l.excludeDirs != nil || l.excludeFiles != nil {
				return false
			}
			if l.maxDepth < 0 {
				return true
			}
			down := 0
			if below != "" {
				down = strings.Count(below, "/") + 1
			}
			return theirs.maxDepth >= 0 && down+theirs.maxDepth <= l.maxDepth
		}) {
			return false
		}
	}
	return true
}

// nesting records destinations that lie where the rule itself looks and that depend on where a file lies, so that every
// run would put files a level deeper. Other destinations are found again: the scan leaves the folders alone that are
// written out in them, and what a file says of itself does not change.
func (r *reader) nesting(rule *Rule) {
	for i := range rule.Actions {
		a := &rule.Actions[i]
		if a.to == nil || a.Kind == Rename || a.Kind == Write || !a.to.template.where {
			continue
		}
		hint, nests := rule.nests(a.to)
		if !nests {
			continue
		}
		e := r.failAt(a.Line, a.column,
			"%s leads into the location and depends on where the file lies: every run would nest it deeper", a.Kind)
		e.Hint = hint
	}
}

func (rule *Rule) nests(to *target) (hint string, nests bool) {
	first, _, _ := strings.Cut(to.static, "/")
	hint = "name a folder outside of the location"
	if first != "" {
		hint = fmt.Sprintf("add the filter: not: {path: \"%s/**\"}", to.static)
	}
	if rule.where != nil && rule.where.op == allOf && to.static != "" && to.root == "" {
		for _, c := range rule.where.kids {
			if c.keepsOut(to.static) {
				return "", false
			}
		}
	}
	if rule.anywhere {
		return hint, rule.deep && to.root == ""
	}
	for i := range rule.locations {
		l := &rule.locations[i]
		if l.maxDepth == 0 {
			continue
		}
		below := to.static
		if to.root != "" {
			var ok bool
			if below, ok = inside(l.path, join(to.root, to.static)); !ok {
				continue
			}
			first, _, _ = strings.Cut(below, "/")
		}
		if below != "" && l.excluded(below) {
			continue
		}
		if first != "" {
			hint = fmt.Sprintf("add to the location: exclude_dirs: [%s]", first)
		}
		return hint, true
	}
	return "", false
}

// keepsOut reports whether c is a filter on the path that no file below dir passes.
func (c *condition) keepsOut(dir string) bool {
	inner, want := c, true
	if c.op == notOne || c.op == noneOf && len(c.kids) == 1 {
		inner, want = c.kids[0], false
	}
	if inner.guard == nil {
		return false
	}
	for _, file := range []string{dir + "/x", dir + "/x.y", dir + "/x/y.z", dir + "/x/y/z"} {
		if inner.guard(file) == want {
			return false
		}
	}
	return true
}
