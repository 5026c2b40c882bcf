package organizer

import (
	"context"
	"fmt"

	"forg/rules"
)

// What lies at a destination already: a file that is moved there may equal one of it.

// identityOn is a file on the machine.
type identityOn struct {
	dev, ino uint64
}

// addResidents makes files part of the tree that lie in the folders that the plan moves files to, if one of those has
// their size. Nothing is done to them.
func (p *planner) addResidents(ctx context.Context) error {
	sizes, moved, into := map[int64]bool{}, map[identityOn]bool{}, map[uint32]bool{}
	for i := range p.Moves {
		m := &p.Moves[i]
		f := p.Tree.File(m.File)
		if !m.Action.Places() || m.Action.Trashes() || !isRegular(uint32(f.Mode)) || f.Size == 0 {
			continue
		}
		sizes[f.Size], into[m.To] = true, true
		moved[identityOn{p.Tree.Dirs[p.Tree.DirOf(m.File)].Dev, f.Ino}] = true
	}
	p.resident = uint32(len(p.Tree.chunks))
	for to := range p.Folders {
		if f := &p.Folders[to]; into[uint32(to)] && f.Exists && f.blocked == nil {
			there, err := Scan(ctx, f.Path, rules.Builtin(), ScanOptions{Hidden: true, Changed: true, Now: p.opt.Now})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // the move itself will tell whether that matters
				p.Problems = append(p.Problems, Problem{f.Path, fmt.Errorf("look for duplicates in %s: %w", f.Path, cause(err))})
				continue
			}
			p.Tree.adopt(there, func(f *File) bool {
				return sizes[f.Size] && isRegular(uint32(f.Mode)) && !moved[identityOn{there.Dirs[0].Dev, f.Ino}]
			})
		}
	}
	p.growKinds()
	return nil
}

// IsResident reports whether a file lies at the destination already, and was only looked at to be compared.
func (p *Plan) IsResident(r Ref) bool { return p.resident > 0 && r.chunk >= p.resident }

// residents yields the files that came with addResidents.
func (p *planner) residents() []Ref {
	var all []Ref
	if p.resident > 0 {
		for r := range p.Tree.files(int(p.resident), len(p.Tree.chunks)) {
			all = append(all, r)
		}
	}
	return all
}
