package organizer

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"forg/journal"
	"forg/rules"
)

// DuplicatePlanOptions say what to do with superfluous files.
type DuplicatePlanOptions struct {
	Action DuplicateAction                  // anything but DuplicatesReport and DuplicatesSkip
	Into   string                           // DuplicatesFolder: where they go, links resolved
	Argv   []string                         // DuplicatesExec: program and arguments; {path} and {keep} stand for the files
	Trash  func(dir *Dir) (TrashDir, error) // DuplicatesTrash, DuplicatesHardlink, DuplicatesSymlink
	Now    time.Time
}

// PlanDuplicates says what is done with each superfluous file of d. All names of a file are one unit: with the others each
// goes, or stays. Files that stay are in no move, so whoever carries the plan out finds them where they are and can
// compare. It reads the disk and changes nothing. The error is that of ctx.
func PlanDuplicates(ctx context.Context, d *Duplicates, set *rules.Set, opt DuplicatePlanOptions) (*Plan, error) {
	p := newPlanner(d.Tree, set, Options{Conflict: ConflictRename, Trash: opt.Trash, Now: opt.Now})
	p.Kind, p.Problems = KindDupes, slices.Clone(d.Problems)
	p.growKinds()
	for i := range d.Groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		g := &d.Groups[i]
		near := opt.Action == DuplicatesHardlink || opt.Action == DuplicatesReflink
		for k, c := range g.Files {
			if c.Role != Superfluous || int(c.Same) != k {
				continue
			}
			keeper := g.Files[0].File
			if near {
				// One file of each file system stays, since those of others cannot be linked to it.
				if keeper = p.nearest(g, c.File); keeper == c.File {
					p.leave(c.File, LeftElsewhere)
					continue
				}
			}
			var names []Ref
			for _, other := range g.Files[k:] {
				if int(other.Same) == k {
					names = append(names, other.File)
				}
			}
			p.planDuplicate(names, keeper, opt)
		}
	}
	return p.resolve()
}

// nearest is the file of the file system of r that the others there are linked to: one that stays or, if there is none, the
// first.
func (p *planner) nearest(g *DuplicateGroup, r Ref) Ref {
	dev := func(r Ref) uint64 { return p.Tree.Dirs[p.Tree.DirOf(r)].Dev }
	near, found := r, false
	for _, c := range g.Files {
		switch {
		case dev(c.File) != dev(r):
		case c.Role == Kept || c.Role == Reference:
			return c.File
		case c.Role == Superfluous && !found:
			near, found = c.File, true
		}
	}
	return near
}

// planDuplicate plans what becomes of a file, which has these names, or tells why it must stay.
func (p *planner) planDuplicate(names []Ref, keeper Ref, opt DuplicatePlanOptions) {
	unit := uint32(0)
	if len(names) > 1 {
		p.unit++
		unit = p.unit
	}
	moves := make([]Move, 0, len(names))
	for _, r := range names {
		m, err := p.duplicateMove(r, keeper, opt)
		if err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(r), err})
			return
		}
		m.Unit = unit
		moves = append(moves, m)
	}
	p.Moves = append(p.Moves, moves...)
	for _, r := range names {
		p.SameAs[r] = keeper
	}
	p.DupBytes += p.Tree.File(names[0]).Size
}

func (p *planner) duplicateMove(r, keeper Ref, opt DuplicatePlanOptions) (Move, error) {
	dir := &p.Tree.Dirs[p.Tree.DirOf(r)]
	switch opt.Action {
	case DuplicatesTrash:
		return p.toTrash(r)
	case DuplicatesHardlink:
		return p.replaceMove(r, replaceHardlink)
	case DuplicatesSymlink:
		return p.replaceMove(r, replaceSymlink)
	case DuplicatesReflink:
		return p.shareMove(r), nil
	case DuplicatesFolder:
		below, err := filepath.Rel(p.rootOf(dir), dir.Path)
		if err != nil {
			return Move{}, fmt.Errorf("move %s to %s: %w", p.Tree.Path(r), opt.Into, err)
		}
		return Move{File: r, To: p.folder(filepath.Join(opt.Into, below)), Label: p.label(DuplicatesDir), Action: journal.Rename}, nil
	case DuplicatesExec:
		argv := make([]string, len(opt.Argv))
		replace := strings.NewReplacer("{path}", p.Tree.Path(r), "{keep}", p.Tree.Path(keeper))
		for i, arg := range opt.Argv {
			argv[i] = replace.Replace(arg)
		}
		return p.move(r, 0, planned{dir: dir.Path, name: p.Tree.Name(r), action: journal.Exec, label: p.label("Program"),
			extra: &extra{argv: argv, env: []string{"FORG_KEEP=" + p.Tree.Path(keeper)}}}), nil
	}
	return Move{}, fmt.Errorf("%s %s: duplicates are not dealt with in this way", opt.Action, p.Tree.Path(r))
}
