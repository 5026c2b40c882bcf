package organizer

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"forg/journal"
)

// What the journal tells of files: where they went, and which of them a person has taken back.

// UndoneFiles remembers which files an undo has put back, and from which folder. What a person took back is not moved
// there again by itself.
func UndoneFiles(ctx context.Context, j *journal.Journal, roots []string) (func(dir, name string, f journal.Identity) (string, bool), error) {
	ops, err := j.UndoneOperations(ctx)
	if err != nil {
		return nil, err
	}
	type back struct {
		id   journal.Identity
		from string
	}
	files := map[place][]back{}
	for _, o := range ops {
		near := func(root string) bool {
			return slices.ContainsFunc(filepath.SplitList(o.Root), func(r string) bool { return Within(r, root) || Within(root, r) })
		}
		if !slices.ContainsFunc(roots, near) {
			continue
		}
		moved, _, err := movedSince(ctx, j, o)
		if err != nil {
			return nil, err
		}
		for s, err := range j.Steps(ctx, o, false) {
			if err != nil {
				return nil, err
			}
			m, ok := moved[s.No]
			if !ok || !m.undone || !s.Action.Takes() {
				continue
			}
			id := m.File
			if m.Ino != 0 {
				id.Ino, id.Born = m.Ino, m.Born
			}
			key := place{m.ToDir.Path, m.To}
			files[key] = append(files[key], back{id, s.ToDir.Path})
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	return func(dir, name string, f journal.Identity) (string, bool) {
		all := files[place{dir, name}]
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].id.SameFile(f) || all[i].id.Size == f.Size && all[i].id.Mtime == f.Mtime {
				return all[i].from, true
			}
		}
		return "", false
	}, nil
}

// latest is the last step of an undo or redo about a step of the operation.
type latest struct {
	journal.StepResult
	undone bool
	cut    bool // that undo or redo did not come to a good end
}

// movedSince is where undos and redos of o have left its files, by step of o.
func movedSince(ctx context.Context, j *journal.Journal, o journal.Operation) (map[int64]latest, []journal.Operation, error) {
	later, err := j.About(ctx, o.ID)
	if err != nil {
		return nil, nil, err
	}
	moved := map[int64]latest{}
	for _, l := range later {
		if l.Pruned {
			continue
		}
		for s, err := range j.Steps(ctx, l, false) {
			if err != nil {
				return nil, nil, err
			}
			if s.Ref == 0 || s.State != journal.Done {
				continue
			}
			// A copy that goes back is a new file again; a rename keeps what the step before knew.
			if was, ok := moved[s.Ref]; ok && len(s.Hash) == 0 {
				s.Hash = was.Hash
			}
			moved[s.Ref] = latest{s, l.Kind == "undo", l.Status != journal.Completed}
		}
	}
	return moved, later, nil
}

// Later finds operations after o that moved its files on and are not undone themselves, oldest first.
func Later(ctx context.Context, j *journal.Journal, o journal.Operation) ([]journal.Operation, error) {
	since, err := j.Since(ctx, o.ID)
	if err != nil || len(since) == 0 {
		return nil, err
	}
	since = slices.DeleteFunc(since, func(l journal.Operation) bool {
		return l.Undoes != 0 || l.Status == journal.Undone || l.Moved == 0
	})
	if len(since) == 0 {
		return nil, nil
	}
	at := map[place]journal.Identity{}
	for s, err := range j.Steps(ctx, o, false) {
		if err != nil {
			return nil, err
		}
		if k, err := keeperOf(&s.Step); err == nil && k != nil && s.State == journal.Done && s.Action == journal.Replace { // the link
			at[place{s.FromDir.Path, s.From}] = journal.Identity{Ino: k.Ino, Born: k.Born}
		}
		if s.State == journal.Done && (s.Action.Places() || s.Action == journal.Tag || s.Action == journal.Share) {
			id := s.File
			if s.Ino != 0 {
				id.Ino, id.Born = s.Ino, s.Born
			}
			at[place{s.ToDir.Path, s.To}] = id
		}
	}
	var out []journal.Operation
	for _, l := range since {
		moved, _, err := movedSince(ctx, j, l)
		if err != nil {
			return nil, err
		}
		touches := false
		for s, err := range j.Steps(ctx, l, false) {
			if err != nil {
				return nil, err
			}
			if s.State != journal.Done || !s.Action.Takes() {
				continue
			}
			key := place{s.FromDir.Path, s.From}
			if id, ok := at[key]; ok && id.SameFile(s.File) {
				if m, ok := moved[s.No]; ok && m.undone {
					continue
				}
				delete(at, key)
				at[place{s.ToDir.Path, s.To}] = s.File // and on from there
				touches = true
			}
		}
		if touches {
			out = append(out, l)
		}
	}
	return out, nil
}

// Place is one stop on a file's way.
type Place struct {
	Operation journal.Operation
	Step      journal.StepResult
}

// Where follows files through the journal that are found by name or glob (of names, or with a slash of paths): the
// stops of each, oldest first, and the files in the order of their last stops.
func Where(ctx context.Context, j *journal.Journal, patterns []string) ([][]Place, error) {
	for _, g := range patterns {
		if !doublestar.ValidatePattern(g) {
			return nil, fmt.Errorf("glob %q: %w", g, ErrPattern)
		}
	}
	all, err := j.Since(ctx, 0)
	if err != nil {
		return nil, err
	}
	var ways [][]Place
	at := map[place]int{} // which file is where by now
	for _, o := range all {
		aside := map[place]journal.StepResult{} // swapped files on their way
		for s, err := range j.Steps(ctx, o, false) {
			if err != nil {
				return nil, err
			}
			if !s.Action.Places() || s.State != journal.Done {
				continue
			}
			var from place
			if s.FromDir != nil {
				from = place{s.FromDir.Path, s.From}
			}
			to := place{s.ToDir.Path, s.To}
			if IsAside(s.To) {
				aside[to] = s
				continue
			}
			if first, ok := aside[from]; ok {
				from = place{first.FromDir.Path, first.From}
				s.FromDir, s.From = first.FromDir, first.From
			}
			i, ok := at[from]
			switch {
			case ok && s.Action.Takes():
				delete(at, from)
				ways[i] = append(ways[i], Place{o, s})
			case ok || MatchName(patterns, s.FromPath(), s.From) || MatchName(patterns, s.ToPath(), s.To):
				i = len(ways)
				ways = append(ways, []Place{{o, s}})
			default:
				continue
			}
			at[to] = i
		}
	}
	slices.SortStableFunc(ways, func(a, b []Place) int {
		return cmp.Compare(a[len(a)-1].Operation.ID, b[len(b)-1].Operation.ID)
	})
	return ways, nil
}

// IsAside reports whether a name is one that a file bears only while it makes room for another in a swap.
func IsAside(name string) bool { return strings.HasPrefix(name, asidePrefix) }

// MatchName reports whether a file of that path and name is meant by one of the patterns, names or globs as Where takes them.
func MatchName(patterns []string, path, name string) bool {
	for _, g := range patterns {
		target := name
		if filepath.IsAbs(g) {
			target = path
		} else if filepath.Base(g) != g {
			g, target = "/**/"+g, filepath.ToSlash(path)
		}
		if target == g {
			return true
		}
		if ok, _ := doublestar.Match(g, target); ok {
			return true
		}
	}
	return false
}

// Exists reports whether the file that a step placed is still there.
func (p Place) Exists() bool {
	m, err := lstat(p.Step.ToPath())
	if err != nil {
		return false
	}
	id := p.Step.File
	if p.Step.Ino != 0 {
		id.Ino, id.Born = p.Step.Ino, p.Step.Born
	}
	return m.SameFile(id) || m.Size == id.Size && m.Mtime == id.Mtime
}
