package rules

import "strings"

// Locations returns the folders that the rule looks at, as they are written until Resolve has replaced their paths. It
// returns none for a rule that holds wherever forg is told to look.
func (r *Rule) Locations() []Location {
	all := make([]Location, len(r.locations))
	for i, l := range r.locations {
		all[i] = Location{l.path, l.maxDepth}
	}
	return all
}

// Subfolders reports whether the rule looks into subfolders where forg is told to look.
func (r *Rule) Subfolders() bool { return r.deep }

// Filters returns what must hold for a file, each condition as it is written, on one line. All of them must hold.
func (r *Rule) Filters() []string {
	if r.where == nil {
		return nil
	}
	if r.where.op != allOf {
		return []string{r.where.describe()}
	}
	all := make([]string, len(r.where.kids))
	for i, c := range r.where.kids {
		all[i] = c.describe()
	}
	return all
}

func (c *condition) describe() string {
	if c.op == leaf {
		return c.text
	}
	kids := make([]string, len(c.kids))
	for i, kid := range c.kids {
		kids[i] = kid.describe()
	}
	return c.op.String() + " (" + strings.Join(kids, "; ") + ")"
}
