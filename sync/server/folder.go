package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"forg/journal"
	"forg/organizer"
	"forg/organizer/metadata"
	"forg/rules"
)

// place is where the files of a storage location are: a folder of this machine, and later a bucket. What a place must be able
// to do is this, and not to list, stat, read, write, move without replacing and put aside: a bucket is made of these, but a
// folder is organized by package organizer, whose promises come from names that it holds open and from what the kernel
// refuses, and would be lost in calls that take a path each. What they have in common lies above: the journal that every
// change is in before it is made, the planner's options and its counts, and that all of it can be put back.
//
// Errors that are a refusal are for the user of the location to read; after any other the operation is tried again. When ctx
// ends, what is being done to a file is finished, and the error is that of ctx.
type place interface {
	// settle brings the journal to what has become of the files since a worker died.
	settle(ctx context.Context, j *journal.Journal) error
	// organize carries out what the options ask for in root, and calls planned once before the first change.
	organize(ctx context.Context, j *journal.Journal, root string, f *organizeOptions, planned func(files, duplicates, problems int64),
		run organizer.RunOptions) error
	// undo takes back an operation of the journal in root, and counts what could not be put back.
	undo(ctx context.Context, j *journal.Journal, root string, o journal.Operation, opt organizer.UndoOptions) (problems int64, err error)
}

// folder is a place on this machine.
type folder struct {
	top  string // what it may not leave
	data string // where its trash is, if that is on the same file system
	set  *rules.Set
	now  func() time.Time
}

func (*folder) settle(ctx context.Context, j *journal.Journal) error {
	_, err := organizer.Recover(ctx, j)
	return err
}

// resolve is root, and the top of the location, as they are called without links. It refuses a root that leads out of the
// location, whatever links have been made since it was asked for.
func (p *folder) resolve(root string) (real, top string, err error) {
	if top, err = organizer.ResolveDir(p.top); err != nil {
		return "", "", refuse("the storage location cannot be read")
	}
	if real, err = organizer.ResolveDir(root); err != nil {
		return "", "", refuse("the folder does not exist in the storage location")
	}
	if !organizer.Within(real, top) {
		return "", "", refuse("the folder leads out of the storage location")
	}
	return real, top, nil
}

func (p *folder) trash() func(*organizer.Dir) (organizer.TrashDir, error) {
	return organizer.FindTrash(p.data, os.Getuid())
}

func (p *folder) organize(ctx context.Context, j *journal.Journal, root string, f *organizeOptions, planned func(files, duplicates, problems int64),
	run organizer.RunOptions) error {
	root, top, err := p.resolve(root)
	if err != nil {
		return err
	}
	lock, err := os.Open(root)
	if err != nil {
		return refuse("the folder cannot be read")
	}
	defer lock.Close()
	if err := journal.LockFile(ctx, lock, 0); errors.Is(err, journal.ErrLocked) {
		return err // somebody organizes it by hand
	}
	now := p.now()
	scan := organizer.ScanOptions{Recursive: f.Recursive, Hidden: f.Hidden, Include: f.Include, Exclude: f.Exclude, MinAge: f.age, Now: now}
	opt := organizer.Options{By: f.By, Conflict: f.OnConflict, Duplicates: f.Duplicates, Detect: f.Detect, PruneEmpty: f.PruneEmpty,
		MaxFiles: f.MaxFiles, Hidden: f.Hidden, Trash: p.trash(), Now: now}
	if f.rules == nil {
		scan.Destination = organizer.Destination(p.set, f.By)
	} else {
		opt.Rules, opt.Recursive, opt.Metadata = f.rules, f.Recursive, metadata.NewReader(metadata.Limits{}, nil)
		scan.ByRules(f.rules, root, []string{root})
	}
	tree, err := organizer.Scan(ctx, root, p.set, scan)
	if err != nil {
		return refuseUnless(ctx, err)
	}
	opt.Busy = organizer.Busy(tree.Roots)
	if !f.Again {
		if opt.Undone, err = organizer.UndoneFiles(ctx, j, tree.Roots); err != nil {
			return err
		}
	}
	plan, err := organizer.MakePlan(ctx, tree, p.set, opt)
	if many, ok := errors.AsType[*organizer.TooMany](err); ok {
		return refuse("the plan moves %d files, the limit is %d", many.Plan, many.Limit)
	}
	if err != nil {
		return refuseUnless(ctx, err)
	}
	if err := staysInside(plan, top); err != nil {
		return err
	}
	planned(plan.Files(), int64(len(plan.SameAs)), int64(len(tree.Problems)+len(plan.Problems)))
	run.Trash, run.Conflict = opt.Trash, opt.Conflict
	_, err = organizer.Apply(ctx, j, plan, run)
	return err
}

// refuseUnless makes an error of looking at files a refusal: trying again would not help. That ctx has ended is none.
func refuseUnless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return refusal{err}
}

// staysInside refuses a plan that would put anything out of the location. Rules can name any folder, and a folder in the
// location can have become a link.
func staysInside(p *organizer.Plan, top string) error {
	checked := make([]bool, len(p.Folders))
	for i := range p.Moves {
		m := &p.Moves[i]
		switch m.Action {
		case journal.Exec:
			return refuse("a rule runs a program, which none may here")
		case journal.Trash, journal.Replace, journal.Share: // to the trash of the location, or nowhere
			continue
		}
		if checked[m.To] {
			continue
		}
		checked[m.To] = true
		real, err := organizer.ResolveMissing(p.Folders[m.To].Path)
		if err != nil {
			continue // nothing can be put there, as whoever carries out the plan will say
		}
		if !organizer.Within(real, top) {
			return refuse("files would leave the storage location: a rule, or a link in it, leads elsewhere")
		}
	}
	return nil
}

func (p *folder) undo(ctx context.Context, j *journal.Journal, root string, o journal.Operation, opt organizer.UndoOptions) (problems int64, err error) {
	if _, _, err := p.resolve(root); err != nil {
		return 0, err
	}
	opt.Trash = p.trash()
	res, err := organizer.Undo(ctx, j, o, opt)
	if err != nil {
		return 0, err
	}
	return int64(len(res.Problems)), nil
}

// ReadRules reads the rules of a storage location: relative to it, and without what could reach out of it. The error says
// what is wrong with them, to the operator.
func ReadRules(name string, source []byte, now time.Time) (*rules.Rules, error) {
	r, err := rules.Parse(name, source, rules.Options{Now: now})
	if err != nil {
		return nil, err
	}
	for _, rule := range r.All() {
		for _, a := range rule.Actions {
			if a.Kind == rules.Exec {
				return nil, fmt.Errorf("%s:%d: rule %q runs a program, which rules of storage locations may not", name, a.Line, rule.Name)
			}
		}
	}
	if len(r.Locations()) > 0 {
		return nil, fmt.Errorf("%s: a rule has locations, but rules of a storage location hold in it and nowhere else", name)
	}
	return r, nil
}
