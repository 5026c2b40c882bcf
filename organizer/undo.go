package organizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/zeebo/blake3"

	"forg/journal"
)

// UndoOptions say what of an operation to take back.
type UndoOptions struct {
	RunOptions
	Only []string // globs, of names or (with a slash) of old paths below the operation's root; empty takes all
}

// Undo takes operation o back, file by file and last first, as a new operation. Files that were moved on by later
// operations, are gone, or are not the ones that were moved are reported and left alone.
func Undo(ctx context.Context, j *journal.Journal, o journal.Operation, opt UndoOptions) (*Result, error) {
	return reverse(ctx, j, o, true, opt)
}

// Redo carries out again what an undo of operation o took back.
func Redo(ctx context.Context, j *journal.Journal, o journal.Operation, opt UndoOptions) (*Result, error) {
	return reverse(ctx, j, o, false, opt)
}

// Preview returns the steps that Undo or Redo would carry out, what would go wrong, and what would be worth a note. Files
// that lie at the paths in placed are taken to be there: undoing other operations first will bring them.
func Preview(ctx context.Context, j *journal.Journal, o journal.Operation, undo bool, placed map[string]bool, opt UndoOptions) (steps []journal.Step, problems, notes []Problem, err error) {
	v, err := newReversal(ctx, j, o, undo, opt)
	if err != nil {
		return nil, nil, nil, err
	}
	r := &runner{undo: true, cache: newFolderCache(), res: &Result{}, seen: map[*journal.Folder]seenFolder{}}
	defer r.cache.close()
	v.cannot = r.tell
	moved := map[string]bool{} // what steps before bring to a path, and (false) what they take away
	for s := range v.steps(ctx) {
		if s.Action == journal.Mkdir || s.Action == journal.Rmdir || s.Action == journal.Link {
			steps = append(steps, s)
			continue
		}
		var err error
		if !placed[s.FromPath()] && !moved[s.FromPath()] {
			err = r.check(&s)
			if free, ok := moved[s.ToPath()]; err == nil && s.Action.Places() && !(ok && !free) && nameTaken(s.ToDir.Path, s.To) && !r.standsIn(&s) {
				err = errExists
			}
		}
		if err != nil {
			r.tell(&s, err)
			continue
		}
		if s.Action.Takes() {
			moved[s.FromPath()] = false
			moved[s.ToPath()] = true
		}
		steps = append(steps, s)
	}
	return steps, r.res.Problems, v.notes, v.err
}

// reversal is what is known of an operation's files after all undos and redos of it so far.
type reversal struct {
	j     *journal.Journal
	o     journal.Operation
	undo  bool
	opt   UndoOptions
	moved map[int64]latest    // by step of o
	later []journal.Operation // undos and redos of o, oldest first
	left  int64               // files that could be reversed but were not asked for
	err   error
	// halfMade are folders that an undo made again before it was cut short or failed, with the attributes that they
	// should have.
	halfMade map[string][]byte
	remade   map[string]journal.Identity
	became   map[inode]journal.Identity // what files are now that were copied since
	unmade   map[string]journal.Step    // folders to make again only if need be
	brought  map[inode][]*journal.StepResult
	binned   map[place]bool // names in the trash that this run will give
	pair     int64          // the unit of a Write, and of the version before that went to the trash
	notes    []Problem      // what cannot be reversed, and is not meant to
	cannot   func(s *journal.Step, err error)
}

func newReversal(ctx context.Context, j *journal.Journal, o journal.Operation, undo bool, opt UndoOptions) (*reversal, error) {
	for _, g := range opt.Only {
		if !doublestar.ValidatePattern(g) {
			return nil, fmt.Errorf("glob %q: %w", g, ErrPattern)
		}
	}
	v := &reversal{j: j, o: o, undo: undo, opt: opt, halfMade: map[string][]byte{}, unmade: map[string]journal.Step{}, binned: map[place]bool{}}
	var err error
	if v.moved, v.later, err = movedSince(ctx, j, o); err != nil {
		return nil, err
	}
	return v, v.since(ctx)
}

// since finds out what operations after o have made of its files and folders: a folder that was removed and made
// again, or a file whose content went to another disk and back, is another one on the disk.
func (v *reversal) since(ctx context.Context) error {
	v.remade, v.became = map[string]journal.Identity{}, map[inode]journal.Identity{}
	ops, err := v.j.Since(ctx, v.o.ID)
	if err != nil {
		return err
	}
	for _, l := range ops {
		for s, err := range v.j.Steps(ctx, l, false) {
			if err != nil {
				return err
			}
			if s.State != journal.Done || s.Ino == 0 {
				continue
			}
			now := journal.Identity{Ino: s.Ino, Born: s.Born}
			switch s.Action {
			case journal.Mkdir:
				if l.Undoes != 0 {
					v.remade[s.ToPath()] = now
				}
			case journal.Rename, journal.Move: // copied, and the original removed
				v.became[inode{s.File.Ino, s.File.Born}] = now
			}
		}
	}
	return nil
}

// inode is what a file is on its file system.
type inode struct {
	ino  uint64
	born int64
}

// opposite is the action that takes another back.
func opposite(a journal.Action) journal.Action {
	switch a {
	case journal.Mkdir:
		return journal.Rmdir
	case journal.Rmdir:
		return journal.Mkdir
	case journal.Copy:
		return journal.Uncopy
	case journal.Uncopy:
		return journal.Copy
	case journal.Trash:
		return journal.Untrash
	case journal.Untrash:
		return journal.Trash
	case journal.Link:
		return journal.Unlink
	case journal.Unlink:
		return journal.Link
	case journal.Symlink:
		return journal.Unsymlink
	case journal.Unsymlink:
		return journal.Symlink
	case journal.Replace:
		return journal.Restore
	case journal.Restore:
		return journal.Replace
	case journal.Share:
		return journal.Unshare
	case journal.Unshare:
		return journal.Share
	case journal.Write:
		return journal.Unwrite
	case journal.Extract:
		return journal.Unextract
	case journal.Unwrite, journal.Unextract:
		return journal.Untrash
	}
	return a
}

// steps yields what is to be done, in order.
func (v *reversal) steps(ctx context.Context) func(func(journal.Step) bool) {
	return func(yield func(journal.Step) bool) {
		folders := map[string]*journal.Folder{} // one value a folder
		one := func(f *journal.Folder) *journal.Folder {
			if f == nil {
				return nil
			}
			g, ok := folders[f.Path]
			if !ok {
				g = &journal.Folder{Path: f.Path, Volume: f.Volume}
				if id, _, err := statDir(f.Path); err == nil {
					*g = id
					if f.Volume != 0 {
						g.Volume = f.Volume // if it is another now, so are the inodes (see checkUndo)
					}
				}
				folders[f.Path] = g
			}
			return g
		}
		for s, err := range v.j.Steps(ctx, v.o, v.undo) {
			if err != nil {
				v.err = err
				return
			}
			if s.Action == journal.Exec && (s.State == journal.Done || s.State == journal.Failed || s.State == journal.Lost) && v.wanted(&s) {
				v.notes = append(v.notes, notUndone(&s, v.undo))
			}
			if s.State != journal.Done || s.Action == 0 || s.Action == journal.Exec {
				continue
			}
			m, ok := v.moved[s.No]
			if undone := ok && m.undone; undone == v.undo {
				if id, ok := v.remade[s.ToPath()]; ok && v.undo && s.Action == journal.Mkdir {
					// Another undo has made the folder again for a file that passed through it.
					if !yield(journal.Step{Action: journal.Rmdir, Ref: s.No, Label: s.Label, File: id, FromDir: one(s.ToDir), From: s.To}) {
						return
					}
				}
				if n := len(v.later); v.undo && s.Action == journal.Rmdir && m.cut && v.later[n-1].Status != journal.Completed {
					v.halfMade[s.FromPath()] = s.Meta
				}
				continue
			}
			last := s // the step that brought the file to where it is: its opposite leads back
			if ok {
				last = m.StepResult
			}
			t := journal.Step{Action: opposite(last.Action), Ref: s.No, Label: s.Label, File: last.File,
				FromDir: one(last.ToDir), From: last.To, ToDir: one(last.FromDir), To: last.From}
			if t.Action == journal.Mkdir && s.Action == journal.Rmdir {
				t.Meta = s.Meta
			}
			if ok && t.Action.Places() { // where it belongs, not where a conflict once sent it
				if t.ToDir, t.To = one(s.ToDir), s.To; v.undo {
					t.ToDir, t.To = one(s.FromDir), s.From
				}
			}
			if !v.wanted(&s) {
				if s.Counts() {
					v.left++
				}
				if t.Action == journal.Mkdir { // unless a file that is wanted needs it
					v.unmade[t.ToPath()] = t
				}
				continue
			}
			if last.Ino != 0 { // content was copied: the file there is the copy
				t.File.Ino, t.File.Born = last.Ino, last.Born
			}
			for range v.became { // at most as many times as there are copies
				id, ok := v.became[inode{t.File.Ino, t.File.Born}]
				if !ok {
					break
				}
				t.File.Ino, t.File.Born = id.Ino, id.Born
			}
			if id, ok := v.remade[t.FromPath()]; ok && t.Action == journal.Rmdir {
				t.File.Ino, t.File.Born = id.Ino, id.Born
			}
			if t.Action.Places() {
				t.Meta = last.Hash // the last resort to know the file by
			}
			before, err := v.particular(&t, &s, &last)
			if err != nil {
				v.cannot(&t, err)
				continue
			}
			for _, f := range append(before, t) {
				f.FromDir, f.ToDir = one(f.FromDir), one(f.ToDir)
				if !yield(f) {
					return
				}
			}
		}
	}
}

// particular gives a step what the action of the step s that it reverses asks for, last being the latest about it. It
// returns steps that must come before.
func (v *reversal) particular(t *journal.Step, s, last *journal.StepResult) (before []journal.Step, err error) {
	switch s.Action {
	case journal.Copy:
		if t.Action == journal.Copy { // of the original, not of the copy that was removed
			t.File, t.Meta = s.File, s.Hash
			if string(s.Meta) == reflinkMeta {
				t.Meta = s.Meta
			}
		}
	case journal.Trash: // the version before comes back only if what was written went, and the other way round
		if s.Unit != 0 && (v.undo && v.pair == s.Unit || !v.undo && v.moved[s.No+1].Action == journal.Unwrite) {
			t.Unit = s.Unit
		}
		if k, err := keeperOf(&s.Step); err == nil && k != nil && t.Action == journal.Trash { // it is compared again
			t.Meta = s.Meta
		}
	case journal.Replace:
		t.Meta = s.Meta
	case journal.Share:
		t.Meta = s.Meta
		v.follow(t)
	case journal.Symlink:
		t.Meta = s.Meta
	case journal.Tag:
		t.Meta = swapTags(last.Meta)
		v.follow(t)
	case journal.Write, journal.Extract:
		t.Meta = s.Hash // what it must be, to be moved to the trash
		if s.Action == journal.Extract {
			t.File.Mode = modeDir
		} else {
			t.Unit, v.pair = s.Unit, s.Unit
		}
		if m, err := lstat(t.FromPath()); err == nil && m.SameFile(t.File) {
			t.File = m.Identity
		}
		if !v.undo { // out of the trash again, which opposite knows
			return nil, nil
		}
		if t.Action = opposite(s.Action); t.FromDir.Ino == 0 {
			return nil, errGone
		}
		t.ToDir, t.To, before, err = findTrash(t.FromPath(), v.opt.Trash, func(dir, name string) bool {
			return v.binned[place{dir, name}] || nameTaken(dir, name)
		})
		if err != nil {
			return nil, err
		}
		v.binned[place{t.ToDir.Path, t.To}] = true
		before = slices.DeleteFunc(before, func(m journal.Step) bool { // but once
			made := v.binned[place{m.ToDir.Path, m.To}]
			v.binned[place{m.ToDir.Path, m.To}] = true
			return made
		})
	}
	return before, nil
}

// follow lets a step be about its file where it is now, if that is where another undo or redo of the operation has
// brought it while the step itself failed.
func (v *reversal) follow(t *journal.Step) {
	if m, err := lstat(t.FromPath()); err == nil && m.SameFile(t.File) {
		return
	}
	if v.brought == nil {
		v.brought = map[inode][]*journal.StepResult{}
		for _, m := range v.moved {
			if m.Action.Takes() && m.undone == v.undo { // else this run moves the file on, before the step or after it
				key := inode{m.File.Ino, m.File.Born}
				v.brought[key] = append(v.brought[key], &m.StepResult)
			}
		}
	}
	for _, m := range v.brought[inode{t.File.Ino, t.File.Born}] {
		if now, err := lstat(m.ToPath()); err == nil && now.SameFile(t.File) {
			t.FromDir, t.From, t.ToDir, t.To = m.ToDir, m.To, m.ToDir, m.To
			return
		}
	}
}

func (v *reversal) wanted(s *journal.StepResult) bool {
	if len(v.opt.Only) == 0 {
		return true
	}
	if !s.Counts() && s.Action != journal.Link {
		return s.Action == journal.Mkdir // goes only if it is empty
	}
	return slices.ContainsFunc(filepath.SplitList(v.o.Root), func(root string) bool {
		from := s.Action != journal.Write && matchAny(v.opt.Only, root, s.FromPath(), s.From) // of a Write it is in the trash
		return from || matchAny(v.opt.Only, root, s.ToPath(), s.To)
	})
}

func reverse(ctx context.Context, j *journal.Journal, o journal.Operation, undo bool, opt UndoOptions) (*Result, error) {
	v, err := newReversal(ctx, j, o, undo, opt)
	if err != nil {
		return nil, err
	}
	kind := "undo"
	if !undo {
		kind = "redo"
	}
	opt.Undoes = o.ID
	r, err := newRunner(ctx, j, kind, o.Root, o.Moved, opt.RunOptions)
	if err != nil {
		return nil, err
	}
	r.unmade = v.unmade
	v.cannot = func(s *journal.Step, err error) {
		r.res.Skipped++
		r.tell(s, err)
	}
	before, after, err := v.folderTimes(ctx)
	if err != nil {
		return nil, err
	}
	now := map[string]int64{} // when folders were last changed before this run
	for path := range before {
		if id, _, err := statDir(path); err == nil {
			now[path] = id.Mtime
		}
	}
	last := func(f *journal.Finish) error {
		f.RootStatus = v.status(r, f.Status)
		if f.Status == journal.Interrupted {
			return nil
		}
		for path, meta := range v.halfMade {
			r.notKept(path, r.remake(path, meta))
		}
		r.restoreTimes(before, after, now)
		f.Failed, f.RootStatus = r.res.Failed, v.status(r, f.Status)
		if len(r.res.Problems) > 0 && f.Status == journal.Completed {
			f.Status = journal.Partial
		}
		return nil
	}
	steps := v.steps(ctx)
	if o.Status == journal.PartiallyUndone {
		steps = r.without(steps) // what could not go back before is no reason for another operation
	}
	res, err := r.run(ctx, steps, last)
	res.Notes = append(res.Notes, v.notes...)
	if err == nil && v.err != nil {
		err = v.err
	}
	whole := v.left == 0 && len(res.Problems) == 0
	if err == nil && res.ID == 0 && whole && (undo && o.Status != journal.Undone || !undo && o.Status == journal.PartiallyUndone) {
		// Everything was carried out before a crash, which kept it from saying so.
		if err = r.w.Commit(ctx, nil, nil); err == nil {
			err = r.finish(ctx, last)
		}
	}
	return res, err
}

// without leaves out, and reports, the steps whose files are gone or were replaced.
func (r *runner) without(steps func(func(journal.Step) bool)) func(func(journal.Step) bool) {
	return func(yield func(journal.Step) bool) {
		for s := range steps {
			if s.Action.Places() {
				notes := len(r.res.Notes)
				err := r.check(&s)
				r.res.Notes = r.res.Notes[:notes] // they come again when the step is carried out
				if errors.Is(err, errGone) || errors.Is(err, errReplaced) {
					r.res.Skipped++
					r.tell(&s, err)
					continue
				}
			}
			if !yield(s) {
				return
			}
		}
	}
}

// status is what the operation has become.
func (v *reversal) status(r *runner, s journal.Status) journal.Status {
	clean := s != journal.Interrupted && v.left == 0 && r.res.Failed == 0 && r.res.Skipped == 0
	switch {
	case v.undo && clean:
		return journal.Undone
	case v.undo && r.res.Moved == 0 && len(v.later) == 0:
		return v.o.Status
	case !v.undo && clean:
		return journal.Completed
	}
	return journal.PartiallyUndone
}

// checkUndo makes sure that what lies at a file's place is the file that was moved there, edited or not.
func (r *runner) checkUndo(s *journal.Step, from *folder, now meta) error {
	if isDir(s.File.Mode) != isDir(now.Mode) {
		return errReplaced
	}
	if now.SameFile(s.File) {
		if !isDir(now.Mode) && (now.Size != s.File.Size || now.Mtime != s.File.Mtime) && s.Action.Places() {
			r.res.Notes = append(r.res.Notes, Problem{s.FromPath(), fmt.Errorf("%s was edited since; it goes back as it is now", s.FromPath())})
		}
		return nil
	}
	// A file that came back from another disk is a new one. Its tags tell for themselves whether they are those to be undone.
	if s.Action == journal.Tag && now.Size == s.File.Size && now.Mtime == s.File.Mtime {
		return nil
	}
	if now.Size == s.File.Size && len(s.Meta) == 32 && isRegular(now.Mode) {
		if hash, err := hashUncached(from, s.From); err == nil && bytes.Equal(hash, s.Meta) {
			return nil
		}
	}
	// A disk that was restored or copied gives new inodes: there, size and time to the nanosecond must do.
	if v := from.volume(); s.FromDir.Volume != 0 && v != s.FromDir.Volume && now.Size == s.File.Size && now.Mtime == s.File.Mtime && now.Mtime%1e9 != 0 {
		return nil
	}
	return errReplaced
}

// hashUncached is the BLAKE3 of a file.
func hashUncached(dir *folder, name string) ([]byte, error) {
	f, err := dir.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dropCache(f)
	h := blake3.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
