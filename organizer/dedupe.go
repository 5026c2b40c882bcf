package organizer

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"forg/journal"
	"forg/organizer/dupes"
)

// Which files of a plan equal each other is what package dupes finds. Nothing is done to one before its bytes were compared
// again, by the runner.

// duplicates finds files of the plan that equal another, or one that lies at the destination already, and does with them
// what the options say. What is only to be reported is not worth a look at the destination.
func (p *planner) duplicates(ctx context.Context) error {
	if p.opt.Duplicates != DuplicatesReport && p.opt.Duplicates != "" && len(p.Moves) > 0 {
		if err := p.addResidents(ctx); err != nil {
			return err
		}
	}
	all := make([]Ref, 0, len(p.Moves))
	for i := range p.Moves {
		if isRegular(uint32(p.Tree.File(p.Moves[i].File).Mode)) {
			all = append(all, p.Moves[i].File)
		}
	}
	equal, err := p.equals(ctx, append(all, p.residents()...))
	if err != nil {
		return err
	}
	for _, g := range equal {
		p.settle(g)
	}
	p.dealWithDuplicates()
	return nil
}

// equals finds the groups of files that have the same content. Empty files are in none.
func (p *planner) equals(ctx context.Context, all []Ref) ([][]Ref, error) {
	sizes := map[int64]int{}
	for _, r := range all {
		if f := p.Tree.File(r); f.Size > 0 {
			sizes[f.Size]++
		}
	}
	some := slices.DeleteFunc(all, func(r Ref) bool { return sizes[p.Tree.File(r).Size] < 2 })
	found, err := findEqual(ctx, p.Tree, some, dupes.Options{Cache: p.opt.Hashes,
		Unread: func(i int32, err error) {
			if p.opt.Duplicates == DuplicatesReport || p.opt.Duplicates == "" {
				return // nothing would have been done about it
			}
			path := p.Tree.Path(some[i])
			p.Problems = append(p.Problems, Problem{path, fmt.Errorf("read %s to tell whether it is a duplicate: %w", path, cause(err))})
		},
		Progress: func(files, _, allFiles, _ int64) {
			if p.opt.Progress != nil {
				p.opt.Progress(files, allFiles)
			}
		}})
	if err != nil {
		return nil, err
	}
	equal := make([][]Ref, len(found))
	for i, g := range found {
		equal[i] = make([]Ref, len(g.Files))
		for k, at := range g.Files {
			equal[i][k] = some[at]
		}
	}
	return equal, nil
}

// settle chooses which file of a group of equals is the original: one at the destination, then the oldest, then the one
// with the shortest path, then the first by name. Names of one inode are one file: all of them are duplicates, or none.
func (p *planner) settle(g []Ref) {
	last := func(r Ref) int {
		if p.IsResident(r) {
			return 0
		}
		return 1
	}
	slices.SortFunc(g, func(a, b Ref) int {
		fa, fb := p.Tree.File(a), p.Tree.File(b)
		pa, pb := p.Tree.Path(a), p.Tree.Path(b)
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(fa.Mtime, fb.Mtime), cmp.Compare(len(pa), len(pb)), cmp.Compare(pa, pb))
	})
	id := func(r Ref) identityOn { return identityOn{p.Tree.Dirs[p.Tree.DirOf(r)].Dev, p.Tree.File(r).Ino} }
	original, seen := id(g[0]), map[identityOn]bool{}
	for _, r := range g[1:] {
		f := p.Tree.File(r)
		if id(r) == original || p.IsResident(r) {
			continue
		}
		p.SameAs[r] = g[0]
		if !seen[id(r)] {
			seen[id(r)] = true
			p.DupBytes += f.Size
		}
	}
}

// dealWithDuplicates carries the option out in the plan. Bundles are not torn apart for it: a duplicate in a bundle is
// only reported.
func (p *planner) dealWithDuplicates() {
	if p.opt.Duplicates == DuplicatesReport || p.opt.Duplicates == "" || len(p.SameAs) == 0 {
		return
	}
	keep := p.Moves[:0]
	var last []Move // after the originals are in their places
	for _, m := range p.Moves {
		original, dup := p.SameAs[m.File]
		if !dup || m.Unit != 0 {
			keep = append(keep, m)
			continue
		}
		if p.opt.Copy && p.IsResident(original) { // its content is where it should be, perhaps from an earlier run
			p.leave(m.File, LeftDuplicate)
			continue
		}
		switch p.opt.Duplicates {
		case DuplicatesSkip:
			p.leave(m.File, LeftDuplicate)
		case DuplicatesFolder:
			m.To = p.folder(filepath.Join(p.Tree.Dirs[p.Tree.DirOf(m.File)].Into, DuplicatesDir))
			m.Label = p.label(DuplicatesDir)
			last = append(last, m)
		case DuplicatesTrash, DuplicatesHardlink:
			if p.opt.Copy { // the duplicate stays where it is, so there is nothing to be rid of
				p.leave(m.File, LeftDuplicate)
				continue
			}
			trash, err := p.toTrash(m.File)
			if err != nil {
				p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), err})
				continue
			}
			there := p.IsResident(original) && p.Folders[m.To].Path == p.Tree.Dirs[p.Tree.DirOf(original)].Path && p.Name(&m) == p.Tree.Name(original)
			if p.opt.Duplicates == DuplicatesHardlink && !there { // else the link would be the original itself
				p.unit++
				link := m
				link.Action, link.Unit, trash.Unit = journal.Link, p.unit, p.unit
				link.File = original
				if link.Name == 0 {
					p.rename(&link, p.Tree.Name(m.File))
				}
				last = append(last, link)
			}
			last = append(last, trash)
		}
	}
	p.Moves = append(keep, last...)
}
