package organizer

import (
	"cmp"
	"fmt"
	"slices"
)

// What a person or a saved report says of who stays overrules what was found, within bounds: a copy always stays, and
// what may not be touched is not touched.

// Listing is where a saved report has a file.
type Listing struct {
	Group int32 // of the report; files of different ones are not compared
	Stays int32 // its place among the files of the group that the report lets stay, from 1; 0 if it does not
}

// listedParts parts the files of a content by the groups that a report has them in. Parts of one file are no duplicates.
func (f *duplicateFinder) listedParts(c equalFiles) []equalFiles {
	if f.opt.Listed == nil {
		return []equalFiles{c}
	}
	at := map[int32]int{}
	var parts []equalFiles
	place := make([]int32, len(c.refs)) // of each file in its part
	first := map[[2]int32]int32{}       // by part and what files share: the first of them
	for i, r := range c.refs {
		group := f.opt.Listed(r).Group
		k, ok := at[group]
		if !ok {
			k = len(parts)
			at[group] = k
			parts = append(parts, equalFiles{size: c.size, hash: c.hash})
		}
		p := &parts[k]
		place[i] = int32(len(p.refs))
		share, ok := first[[2]int32{int32(k), c.same[i]}]
		if !ok {
			share = place[i]
			first[[2]int32{int32(k), c.same[i]}] = share
		}
		p.refs, p.same = append(p.refs, r), append(p.same, share)
	}
	return slices.DeleteFunc(parts, func(p equalFiles) bool { return len(p.refs) < 2 })
}

// takeParts notes a content, or what a report has of it.
func (f *duplicateFinder) takeParts(c equalFiles) {
	for _, part := range f.listedParts(c) {
		f.take(part)
		if f.opt.Listed != nil && f.class(part.refs[0]) == 0 { // of no interest, but equal
			for _, r := range part.refs {
				f.setClass(r, -1)
			}
		}
	}
}

// compareListed lets those stay that a report lets stay, in its order.
func (f *duplicateFinder) compareListed(a, b Ref) int {
	if f.opt.Listed == nil {
		return 0
	}
	x, y := f.opt.Listed(a).Stays, f.opt.Listed(b).Stays
	return cmp.Or(compareBool(x == 0, y == 0), cmp.Compare(x, y))
}

// changedSinceListed tells of the files that equal no other file of their group in the report.
func (f *duplicateFinder) changedSinceListed() {
	if f.opt.Listed == nil {
		return
	}
	there := map[int32]int32{} // files of each group of the report
	for r, file := range f.Tree.All() {
		if f.candidate(r, file) {
			there[f.opt.Listed(r).Group]++
		}
	}
	told := map[string]bool{}
	for _, p := range f.Problems {
		told[p.Path] = true
	}
	for r, file := range f.Tree.All() {
		if !f.candidate(r, file) || f.class(r) != 0 || there[f.opt.Listed(r).Group] < 2 {
			continue // of a group that shrank to one file, the others were told of
		}
		if path := f.Tree.Path(r); !told[path] {
			f.Problems = append(f.Problems, Problem{path, fmt.Errorf("%s: it equals no other file of its group in the report", path)})
		}
	}
}

// Revised is group as it is when its file at first becomes the one that the others are compared with, and of the others those
// stay for which stays is true, and those that may not be touched. All names of a file stay or go together. With a first
// that cannot be it, as CanLead tells, Files[0] remains it. The group itself is not changed.
func (d *Duplicates) Revised(group *DuplicateGroup, first int, stays func(i int) bool) DuplicateGroup {
	if !d.CanLead(group, first) {
		first = 0
	}
	g := *group
	n := len(g.Files)
	order := make([]int, 0, n) // indices in group.Files
	order = append(order, first)
	for i := range n {
		if i != first {
			order = append(order, i)
		}
	}
	stay, pinned, names := make([]bool, n), make([]bool, n), make([]int, n) // by the first name of a file
	for i, c := range group.Files {
		pinned[c.Same] = pinned[c.Same] || c.pinned != Kept
		stay[c.Same] = stay[c.Same] || stays(i) || c.pinned != Kept || i == first
		names[c.Same]++
	}
	g.Files, g.Wasted = make([]Copy, n), 0
	now := make(map[int32]int32, n) // first names, by their old index
	for k, i := range order {
		c := group.Files[i]
		same, again := now[c.Same]
		if !again {
			same = int32(k)
			now[c.Same] = same
		}
		switch {
		case !stay[c.Same]:
			c.Role = Superfluous
		case k == 0:
			c.Role = Kept
		case c.pinned != Kept:
			c.Role = c.pinned
		case again || pinned[c.Same]: // another of its names is why it stays
			c.Role = Linked
		case c.Role == Superfluous || c.Role == Linked:
			c.Role = Kept
		}
		c.Same = same
		g.Files[k] = c
	}
	blocks := map[int32]bool{}
	for _, c := range g.Files {
		if c.Role != Superfluous {
			blocks[c.share] = true
		}
	}
	for i, c := range group.Files {
		if int(c.Same) == i && !stay[i] && !blocks[c.share] && names[i] >= int(d.Tree.File(c.File).Nlink) {
			blocks[c.share] = true
			g.Wasted += g.Size
		}
	}
	if first != 0 {
		g.Why = "chosen"
	}
	return g
}

// CanLead reports whether the others may be compared with file i of a group, so that it is the copy that stays: one in a
// project does not count as that.
func (d *Duplicates) CanLead(group *DuplicateGroup, i int) bool {
	return i >= 0 && i < len(group.Files) && group.Files[i].pinned != Protected
}

// CanGo reports whether file i of a group may be superfluous, if another one stays: none of its names lies where nothing may
// be touched.
func (d *Duplicates) CanGo(group *DuplicateGroup, i int) bool {
	return !slices.ContainsFunc(group.Files, func(c Copy) bool { return c.Same == group.Files[i].Same && c.pinned != Kept })
}

// With is d with other groups, such as those that Revised has made of its own. Groups without superfluous files are left out.
func (d *Duplicates) With(groups []DuplicateGroup) *Duplicates {
	with := *d
	with.Groups, with.Files, with.Wasted = nil, 0, 0
	for _, g := range groups {
		if n := g.Superfluous(); n > 0 {
			with.Groups = append(with.Groups, g)
			with.Files += n
			with.Wasted += g.Wasted
		}
	}
	return &with
}
