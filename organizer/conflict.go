package organizer

import (
	"cmp"
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
		if steps := missingFolders(s.ToDir.Path, r.unmade); steps != nil {
			r.replaced(s)
			r.retry = append(r.retry, append(steps, again(*s)))
			return true
		}
	case errors.Is(err, errExists) && s.Unit == 0 && s.Action.Places() && s.Action != journal.Write: // which is of one version
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

// missingFolders are the steps that make the folders that lead to path; those in unmade come back with the attributes that
// they should have.
func missingFolders(path string, unmade map[string]journal.Step) []journal.Step {
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
		if s, ok := unmade[path]; ok {
			steps = append(steps, again(s))
			continue
		}
		steps = append(steps, journal.Step{Action: journal.Mkdir, ToDir: up, To: filepath.Base(path)})
	}
	slices.Reverse(steps)
	return steps
}

// findTrash finds a free place in the trash for what is at path, and the steps that make the folders for it. A place for
// which taken says so is not free, nor is one of whose note that holds.
func findTrash(path string, find func(*Dir) (TrashDir, error), taken func(dir, name string) bool) (to *journal.Folder, name string, folders []journal.Step, err error) {
	if find == nil {
		return nil, "", nil, errNoTrash
	}
	dir := filepath.Dir(path)
	id, dev, err := statDir(dir)
	if err != nil {
		return nil, "", nil, err
	}
	t, err := find(&Dir{Path: dir, ID: id, Dev: dev})
	if err != nil {
		return nil, "", nil, err
	}
	for _, dir := range []string{t.Files, t.Info} {
		if dir != "" {
			for _, m := range missingFolders(dir, nil) {
				m.File.Mode = 0o700
				folders = append(folders, m)
			}
		}
	}
	name = trashName(path)
	stem, ext := splitName(name)
	for n := 2; ; n++ {
		if !taken(t.Files, name) && !taken(cmp.Or(t.Info, t.Files), noteName(name)) {
			return &journal.Folder{Path: t.Files}, name, folders, nil
		}
		name = numberedName(stem, ext, n)
	}
}

var errNoTrash = errors.New("there is no trash for it")

// giveWay finds steps that bring a file to its folder although its name is taken, if the options allow it.
func (r *runner) giveWay(s *journal.Step) ([]journal.Step, bool) {
	there, err := lstat(s.ToPath())
	inTrash := s.Action.Trashes() // where nobody minds what it is called; and the name may be taken by a note alone
	if err != nil && !inTrash {
		return []journal.Step{again(*s)}, errors.Is(err, fs.ErrNotExist) // free again
	}
	switch {
	case r.opt.Conflict == ConflictRename, inTrash:
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
		if !r.undo || !isRegular(there.Mode) {
			return nil, false
		}
		trash, name, steps, err := findTrash(s.ToPath(), r.opt.Trash, nameTaken)
		if err != nil {
			return nil, false
		}
		away := journal.Step{Action: journal.Trash, FromDir: s.ToDir, From: s.To, ToDir: trash, To: name, File: there.Identity}
		return append(steps, away, again(*s)), true
	}
	return nil, false
}

// nameTaken reports whether something bears a name.
func nameTaken(dir, name string) bool {
	_, err := lstat(filepath.Join(dir, name))
	return err == nil // where one may not look, the kernel still refuses to replace
}

func (r *runner) skip(s *journal.Step, err error) {
	r.res.Skipped++
	r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: err.Error()})
	r.tell(s, err)
}

func (r *runner) fail(s *journal.Step, err error) {
	if errors.Is(err, errReplaced) || errors.Is(err, errBusy) || errors.Is(err, errKept) || errors.Is(err, errGone) && r.undo || errors.Is(err, errExists) && r.undo || errors.Is(err, errTagsChanged) && r.undo {
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
	if path == "" || s.Action == journal.Write {
		path = s.ToPath()
	}
	r.res.Problems = append(r.res.Problems, Problem{path, fmt.Errorf("%s %s: %w", verb(s), path, withTarget(err, s))})
	if r.opt.Step != nil && s.Counts() {
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
	case journal.Trash, journal.Unwrite, journal.Unextract:
		return "move to the trash"
	case journal.Uncopy:
		return "remove the copy"
	case journal.Unlink:
		return "remove the hard link"
	case journal.Symlink:
		return "make a symbolic link to"
	case journal.Unsymlink:
		return "remove the symbolic link"
	case journal.Exec:
		return "run a program for"
	case journal.Replace:
		return "replace by a link"
	case journal.Restore:
		return "take out of the trash"
	case journal.Share:
		return "share the blocks of"
	case journal.Unshare:
		return "part the blocks of"
	}
	return s.Action.String()
}

func withTarget(err error, s *journal.Step) error {
	if errors.Is(err, errExists) {
		return fmt.Errorf("%s exists: %w", s.ToPath(), err)
	}
	return cause(err)
}

// dropUnit takes the members of a unit that were moved back to where they were, since another could not follow. What was
// copied, written, extracted or run stays: it was added to what there was.
func (r *runner) dropUnit(unit int64) {
	r.dropped[unit] = true
	for i := len(r.unit) - 1; i >= 0; i-- {
		s := r.unit[i]
		if s.Unit != unit || !canDrop(s.Action) {
			continue
		}
		if err := r.drop(&s); err != nil {
			r.res.Notes = append(r.res.Notes, Problem{s.ToPath(), fmt.Errorf("take %s back to its companions: %w", s.ToPath(), err)})
			continue
		}
		if s.Action == journal.Link {
			r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: errCompanion.Error()})
			continue
		}
		r.res.Moved--
		r.res.Bytes -= movedBytes(&s)
		r.skip(&s, errCompanion)
	}
	r.unit = r.unit[:0]
}

func canDrop(a journal.Action) bool {
	switch a {
	case journal.Rename, journal.Link, journal.Trash, journal.Unwrite, journal.Symlink, journal.Tag, journal.Replace:
		return true
	}
	return false
}

// drop takes back a step that was carried out a moment ago.
func (r *runner) drop(s *journal.Step) error {
	from, err := r.dir(s.FromDir)
	if err != nil {
		return err
	}
	if s.Action == journal.Tag {
		back := *s
		back.Meta = swapTags(s.Meta)
		return r.tag(&back, from)
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	switch s.Action {
	case journal.Link:
		return to.unlink(s.To)
	case journal.Symlink:
		return removeLink(to, s.To, tempName(r.res.UUID, s.No)+oldSuffix, string(s.Meta))
	case journal.Replace:
		back := *s
		back.FromDir, back.From, back.ToDir, back.To = s.ToDir, s.To, s.FromDir, s.From
		if kept, err := r.restore(&back, to, from); err != nil || kept {
			return err
		}
		return r.removeNote(s.ToDir, s.To)
	}
	if err := renameNoReplace(to, s.To, from, s.From); err != nil {
		return err
	}
	if s.Action.Trashes() {
		return r.removeNote(s.ToDir, s.To)
	}
	return nil
}
