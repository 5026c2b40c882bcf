package organizer

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"forg/journal"
)

// What is done when a step does not go as intended: another step under other conditions, or a report.

// conflict deals with errors that a second step under other conditions may overcome, and with those that are no
// failure. It reports whether it did.
func (r *runner) conflict(s *journal.Step, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errNoFolder) && r.undo && s.ToDir != nil && s.Action.Places():
		if steps := r.missingFolders(s.ToDir.Path); steps != nil {
			r.replaced(s)
			r.retry = append(r.retry, append(steps, again(*s)))
			return true
		}
	case errors.Is(err, errExists) && s.Unit == 0 && s.Action.Places():
		if steps, ok := r.giveWay(s); ok {
			r.replaced(s)
			r.retry = append(r.retry, steps)
			return true
		}
	}
	if err != nil {
		r.fail(s, err)
	}
	return true
}

func again(s journal.Step) journal.Step { s.No = 0; return s }

// replaced notes that a step was not done because another does its work.
func (r *runner) replaced(s *journal.Step) {
	r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: "tried again"})
}

// missingFolders are the steps that make the folders that lead to path.
func (r *runner) missingFolders(path string) []journal.Step {
	var steps []journal.Step
	for ; ; path = filepath.Dir(path) {
		if _, err := lstat(path); err == nil || filepath.Dir(path) == path {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		up := &journal.Folder{Path: filepath.Dir(path)}
		if id, _, err := statDir(up.Path); err == nil {
			*up = id
		}
		if s, ok := r.unmade[path]; ok { // a second try, with the attributes that it should have
			steps = append(steps, again(s))
			continue
		}
		steps = append(steps, journal.Step{Action: journal.Mkdir, ToDir: up, To: filepath.Base(path)})
	}
	slices.Reverse(steps)
	return steps
}

// giveWay finds steps that bring a file to its folder although its name is taken, if the options allow it.
func (r *runner) giveWay(s *journal.Step) ([]journal.Step, bool) {
	there, err := lstat(s.ToPath())
	if err != nil {
		return []journal.Step{again(*s)}, errors.Is(err, fs.ErrNotExist) // free again
	}
	switch {
	case r.opt.Conflict == ConflictRename:
		key := place{s.ToDir.Path, s.To}
		n := max(r.numbers[key]+1, 2)
		stem, ext := splitName(s.To)
		t := again(*s)
		for ; ; n++ {
			t.To = numberedName(stem, ext, n)
			if _, err := lstat(t.ToPath()); errors.Is(err, fs.ErrNotExist) {
				break
			} else if err != nil {
				return nil, false
			}
		}
		r.numbers[key] = n
		return []journal.Step{t}, true
	case r.opt.Conflict == ConflictOverwrite, r.opt.Conflict == ConflictNewer && s.File.Mtime > there.Mtime:
		if !r.undo || r.opt.Trash == nil || !isRegular(there.Mode) {
			return nil, false
		}
		id, dev, err := statDir(s.ToDir.Path)
		if err != nil {
			return nil, false
		}
		t, err := r.opt.Trash(&Dir{Path: s.ToDir.Path, ID: id, Dev: dev})
		if err != nil {
			return nil, false
		}
		var steps []journal.Step
		for _, dir := range []string{t.Files, t.Info} {
			if dir != "" {
				for _, m := range r.missingFolders(dir) {
					m.File.Mode = 0o700
					steps = append(steps, m)
				}
			}
		}
		away := journal.Step{Action: journal.Trash, FromDir: s.ToDir, From: s.To, ToDir: &journal.Folder{Path: t.Files}, To: trashName(s.ToPath()), File: there.Identity}
		stem, ext := splitName(away.To)
		for n := 2; ; n++ {
			if _, err := lstat(away.ToPath()); errors.Is(err, fs.ErrNotExist) {
				break
			}
			away.To = numberedName(stem, ext, n)
		}
		return append(steps, away, again(*s)), true
	}
	return nil, false
}

func (r *runner) skip(s *journal.Step, err error) {
	r.res.Skipped++
	r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: err.Error()})
	r.tell(s, err)
}

func (r *runner) fail(s *journal.Step, err error) {
	if errors.Is(err, errReplaced) || errors.Is(err, errKept) || errors.Is(err, errGone) && r.undo || errors.Is(err, errExists) && r.undo {
		r.res.Skipped++
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: err.Error()})
	} else {
		r.res.Failed++
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Failed, Err: err.Error()})
	}
	if s.Action == journal.Mkdir {
		r.notMade[s.ToPath()] = err
	}
	r.tell(s, err)
	if s.Unit != 0 {
		r.dropUnit(s.Unit)
	}
}

// problem is fail for a step that was never tried under its own number.
func (r *runner) problem(s *journal.Step, err error) {
	if s.Action == journal.Mkdir {
		return
	}
	r.res.Failed++
	r.tell(s, err)
}

func (r *runner) tell(s *journal.Step, err error) {
	path := s.FromPath()
	if path == "" {
		path = s.ToPath()
	}
	r.res.Problems = append(r.res.Problems, Problem{path, fmt.Errorf("%s %s: %w", verb(s), path, withTarget(err, s))})
	if r.opt.Step != nil && s.Action.Places() {
		r.opt.Step(s, err)
	}
}

// verb is what a person would call a step.
func verb(s *journal.Step) string {
	switch s.Action {
	case journal.Rename, journal.Move:
		return "move"
	case journal.Mkdir:
		return "make folder"
	case journal.Rmdir:
		return "remove folder"
	case journal.Untrash:
		return "take out of the trash"
	case journal.Trash:
		return "move to the trash"
	case journal.Uncopy:
		return "remove the copy"
	case journal.Unlink:
		return "remove the hard link"
	}
	return s.Action.String()
}

func withTarget(err error, s *journal.Step) error {
	if errors.Is(err, errExists) {
		return fmt.Errorf("%s exists: %w", s.ToPath(), err)
	}
	return cause(err)
}

// dropUnit takes the members of a unit that were moved back to where they were, since another could not follow.
func (r *runner) dropUnit(unit int64) {
	r.dropped[unit] = true
	for i := len(r.unit) - 1; i >= 0; i-- {
		s := r.unit[i]
		if s.Unit != unit || s.Action != journal.Rename && s.Action != journal.Link {
			continue
		}
		from, err := r.dir(s.FromDir)
		if err == nil {
			var to *folder
			if to, err = r.dir(s.ToDir); err == nil && s.Action == journal.Link {
				if err = to.unlink(s.To); err == nil {
					r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: errCompanion.Error()})
					continue
				}
			} else if err == nil {
				err = renameNoReplace(to, s.To, from, s.From)
			}
		}
		if err != nil {
			r.res.Notes = append(r.res.Notes, Problem{s.ToPath(), fmt.Errorf("take %s back to its companions: %w", s.ToPath(), err)})
			continue
		}
		r.res.Moved--
		r.res.Bytes -= s.File.Size
		r.skip(&s, errCompanion)
	}
	r.unit = r.unit[:0]
}
