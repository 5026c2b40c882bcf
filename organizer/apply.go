package organizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"forg/journal"
	"forg/organizer/archive"
)

// Result is what a run did.
type Result struct {
	ID       int64 // of the operation; 0 when nothing was to do
	UUID     string
	Kind     string
	Status   journal.Status
	Moved    int64
	Skipped  int64
	Failed   int64
	Bytes    int64 // of the files moved
	Problems []Problem
	Notes    []Problem // done, but worth telling: edited since, attributes that could not be kept
}

// RunOptions say how to carry out steps.
type RunOptions struct {
	Command  string   // as the person typed it, for the history
	Conflict Conflict // for names that are taken by the time their move comes
	Verify   bool     // read copies back from the disk and compare, before the original goes
	Trash    func(dir *Dir) (TrashDir, error)
	Undoes   int64         // the operation that the run is about, for undo and redo
	Asked    journal.Asked // by a server; zero if a person has typed it
	// Exec runs a program in the folder dir and waits for its end: argv as it is, env (NAME=value) added to the environment.
	// Without it steps that run a program are refused.
	Exec func(ctx context.Context, argv, env []string, dir string) error
	// Archives bound what may be extracted of one archive.
	Archives archive.Limits
	// Step is told of every step that placed a file or failed to.
	Step func(s *journal.Step, err error)
	// Progress is told of files and bytes done.
	Progress func(files, bytes int64)
}

// runner carries out steps. It is the only code that changes a user's files, in this order: a batch of intents is made
// durable, then its steps are carried out while the intents of the next are written; what did not go as intended is
// written with the batch after. At the end the folders are made durable, and only then the operation is finished.
type runner struct {
	j     *journal.Journal
	w     *journal.Writer
	opt   RunOptions
	undo  bool // files may have been edited since; taken names are conflicts to report
	cache *folderCache
	res   *Result

	no      int64
	outs    []journal.Outcome
	last    journal.Step // last step that was carried out
	seen    map[*journal.Folder]seenFolder
	filled  map[string]*journal.Folder
	emptied map[string]*journal.Folder
	tagged  map[string]bool  // folders in which files got other tags
	tail    []journal.Step   // folders to remove, when all else is done
	retry   [][]journal.Step // steps that need a second try under other conditions
	numbers map[place]int    // last number tried for a name that was taken
	remade  map[string]folderAttributes
	unmade  map[string]journal.Step // folders that could not be made
	made    bool                    // a folder was
	notMade map[string]error        // folders that could not be made, and why
	dropped map[int64]bool          // units of which a member failed
	unit    []journal.Step          // members of the current unit that were carried out
	removed map[inode]bool          // duplicates that were dealt with: none of them may be the one that stays
	noted   map[string]bool         // folders of the trash's notes on files of this run
	chunks  [2][]byte               // of two files that are compared

	toldUnshare bool
	fatal       error // no further step may be carried out
}

// seenFolder is a folder that was found to be the right one.
type seenFolder struct {
	open *folder
	ino  uint64
}

func newRunner(ctx context.Context, j *journal.Journal, kind, root string, planned int64, opt RunOptions) (*runner, error) {
	w, err := j.Begin(ctx, kind, root, opt.Command, planned, opt.Undoes)
	if err != nil {
		return nil, err
	}
	if opt.Asked != (journal.Asked{}) {
		w.For(opt.Asked)
	}
	return &runner{
		j: j, w: w, opt: opt, undo: opt.Undoes != 0, cache: newFolderCache(), res: &Result{UUID: w.UUID().String(), Kind: kind},
		seen: map[*journal.Folder]seenFolder{}, filled: map[string]*journal.Folder{}, emptied: map[string]*journal.Folder{}, tagged: map[string]bool{},
		numbers: map[place]int{}, dropped: map[int64]bool{}, remade: map[string]folderAttributes{}, unmade: map[string]journal.Step{}, notMade: map[string]error{},
		removed: map[inode]bool{}, noted: map[string]bool{},
	}, nil
}

// Apply carries out a plan, as one operation of the journal. When ctx ends it finishes the move in hand. The error is of
// the journal or of ctx; what went wrong with single files is in Result.Problems.
func Apply(ctx context.Context, j *journal.Journal, p *Plan, opt RunOptions) (*Result, error) {
	r, err := newRunner(ctx, j, cmp.Or(p.Kind, "organize"), p.Root, int64(len(p.Moves)), opt)
	if err != nil {
		return nil, err
	}
	return r.run(ctx, p.steps(), nil)
}

// run carries out the steps and then finish, which may make last changes before the operation gets its last word.
func (r *runner) run(ctx context.Context, steps func(func(journal.Step) bool), finish func(*journal.Finish) error) (*Result, error) {
	defer r.cache.close()
	// One thread makes all changes, so that a test can stop it at its n-th system call (strace counts by thread).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.stream(ctx, steps)
	for round := 0; len(r.retry) > 0 && round < 100 && r.fatal == nil && ctx.Err() == nil; round++ {
		again := r.retry
		r.retry = nil
		r.stream(ctx, slices.Values(slices.Concat(again...)))
	}
	for _, steps := range r.retry { // given up
		for i := range steps {
			r.problem(&steps[i], errExists)
		}
	}
	if r.fatal == nil && ctx.Err() == nil && len(r.tail) > 0 {
		tail := r.tail
		r.tail = nil
		r.batch(ctx, tail)
	}
	if r.w.ID() == 0 {
		return r.res, errors.Join(r.fatal, ctx.Err())
	}
	return r.res, r.finish(ctx, finish)
}

// stream carries out steps batch by batch; the next batch is committed while the current one is carried out.
func (r *runner) stream(ctx context.Context, steps func(func(journal.Step) bool)) {
	type committed struct {
		steps []journal.Step
		err   error
	}
	var flight chan committed
	size := journal.BatchSize()
	batch := make([]journal.Step, 0, size)
	spare := make([]journal.Step, 0, size)
	commit := func() {
		// The first batch is durable before anything moves; after it one batch is always ahead.
		if len(batch) == 0 {
			return
		}
		outs := r.outs
		r.outs = nil
		c := make(chan committed, 1)
		b := batch
		go func() { c <- committed{b, r.w.Commit(context.WithoutCancel(ctx), b, outs)} }()
		flight, batch = c, spare[:0]
	}
	land := func() []journal.Step {
		if flight == nil {
			return nil
		}
		c := <-flight
		flight = nil
		if c.err != nil {
			r.fatal = c.err
			return nil
		}
		return c.steps
	}
	for s := range steps {
		if s.Action == journal.Rmdir {
			r.tail = append(r.tail, s)
			continue
		}
		r.number(&s)
		batch = append(batch, s)
		if len(batch) == size {
			ready := land()
			commit()
			r.carryOut(ctx, ready)
			spare = ready
			if r.fatal != nil || ctx.Err() != nil {
				break
			}
		}
	}
	ready := land()
	if r.fatal == nil && ctx.Err() == nil {
		commit()
	}
	r.carryOut(ctx, ready)
	r.carryOut(ctx, land())
}

func (r *runner) number(s *journal.Step) {
	r.no++
	s.No = r.no
}

// batch commits and carries out a few steps.
func (r *runner) batch(ctx context.Context, steps []journal.Step) {
	for len(steps) > 0 && r.fatal == nil && ctx.Err() == nil {
		part := steps[:min(len(steps), journal.BatchSize())]
		steps = steps[len(part):]
		for i := range part {
			r.number(&part[i])
		}
		outs := r.outs
		r.outs = nil
		if err := r.w.Commit(context.WithoutCancel(ctx), part, outs); err != nil {
			r.fatal = err
			return
		}
		r.carryOut(ctx, part)
	}
}

// carryOut makes the changes of a batch whose intents are durable.
func (r *runner) carryOut(ctx context.Context, steps []journal.Step) {
	var planned, surprised []journal.Step // to copy: known before, or found out by the kernel's refusal
	flush := func() {
		if len(planned) > 0 {
			r.copyAll(ctx, planned, false)
			planned = planned[:0]
		}
	}
	var bytes int64
	for i := range steps {
		s := &steps[i]
		if ctx.Err() != nil || r.fatal != nil {
			flush()
			r.outs = append(r.outs, journal.Outcome{No: s.No, Count: int64(len(steps) - i), State: journal.NotDone})
			r.copyAll(ctx, surprised, true)
			return
		}
		if s.Unit != 0 && r.dropped[s.Unit] {
			r.skip(s, errCompanion)
			continue
		}
		if s.Action == journal.Move || s.Action == journal.Copy {
			if r.conflict(s, r.checkCopy(ctx, s)) {
				continue
			}
			planned = append(planned, *s)
			bytes += s.File.Size
			apart := s.Unit == 0 || i+1 == len(steps) || steps[i+1].Unit != s.Unit // a unit stays or goes as one
			if bytes > copyBatchBytes && apart {
				flush()
				bytes = 0
			}
			continue
		}
		flush()
		k, _ := keeperOf(s)
		if len(surprised) > 0 && (k != nil || s.Action == journal.Exec || s.Action == journal.Extract || s.Action == journal.Symlink || s.Action == journal.Tag || s.Action == journal.Write) {
			r.copyAll(ctx, surprised, true) // it may be about a file that is yet to be copied
			surprised = surprised[:0]
			if s.Unit != 0 && r.dropped[s.Unit] {
				r.skip(s, errCompanion)
				continue
			}
		}
		err := r.carryOne(ctx, s)
		if errors.Is(err, errCrossDevice) && s.Action == journal.Rename && !isDir(s.File.Mode) {
			surprised = append(surprised, *s)
			continue
		}
		if errors.Is(err, errExists) && len(surprised) > 0 { // it may wait for the place of one that is yet to be copied
			r.copyAll(ctx, surprised, true)
			surprised = surprised[:0]
			err = r.carryOne(ctx, s)
		}
		r.settleStep(s, err)
	}
	flush()
	r.copyAll(ctx, surprised, true)
}

var (
	errCompanion = errors.New("a file that belongs to it could not be moved, so all of them stay")
	errChanged   = errors.New("it was changed while forg was working")
	errReplaced  = errors.New("another file has taken its place; it was not touched")
	errGone      = errors.New("it is not there any more")
	errDirMoved  = errors.New("its folder is not the one that was scanned")
	errKept      = errors.New("it was not removed")
	errDiffers   = errors.New("its content differs from the file it was taken for a duplicate of")
)

// carryOne makes one change that takes no files together.
func (r *runner) carryOne(ctx context.Context, s *journal.Step) error {
	switch s.Action {
	case journal.Mkdir:
		return r.mkdir(s)
	case journal.Rmdir:
		return r.rmdir(s)
	case journal.Write:
		return r.write(s)
	}
	k, err := keeperOf(s)
	if err != nil {
		return err
	}
	if k == nil || r.undo { // else verify does all of it
		if err := r.check(s); err != nil {
			return err
		}
	}
	var g *guard
	if k != nil {
		if g, err = r.verify(ctx, s, k, s.Action != journal.Share); err != nil {
			return err
		}
		defer g.release()
	}
	from, err := r.dir(s.FromDir)
	if err != nil {
		return err
	}
	switch s.Action {
	case journal.Share:
		return r.share(ctx, s, g)
	case journal.Unshare:
		return r.unshare(s, from)
	case journal.Uncopy, journal.Unlink:
		return r.removeTwin(s, from)
	case journal.Unsymlink:
		return r.unsymlink(s, from)
	case journal.Tag:
		return r.tag(s, from)
	case journal.Extract:
		return r.extract(ctx, s, from)
	case journal.Exec:
		if g != nil {
			g.release() // the program is to open it
		}
		return r.exec(ctx, s)
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	r.changed(s)
	switch s.Action {
	case journal.Rename:
		if err := renameNoReplace(from, s.From, to, s.To); err != nil {
			return err
		}
		return g.trashed(s, from, to)
	case journal.Trash, journal.Unwrite, journal.Unextract:
		return r.trash(s, from, to, g)
	case journal.Replace:
		return r.replace(s, from, to, g)
	case journal.Restore:
		kept, err := r.restore(s, from, to)
		if err != nil || kept {
			return err
		}
		if err := r.removeNote(s.FromDir, s.From); err != nil { // the file is back all the same
			r.res.Problems = append(r.res.Problems, Problem{s.ToPath(), err})
		}
		return nil
	case journal.Symlink:
		return r.symlink(s, to)
	case journal.Untrash:
		if err := renameNoReplace(from, s.From, to, s.To); err != nil {
			return err
		}
		if err := r.removeNote(s.FromDir, s.From); err != nil { // the file is back all the same
			r.res.Problems = append(r.res.Problems, Problem{s.FromPath(), err})
		}
		return nil
	case journal.Link:
		if err := link(from, s.From, to, s.To); err != nil {
			return err
		}
		if m, err := to.stat(s.To); err == nil { // a file that came from another disk is not the one of the plan
			r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Done, Ino: m.Ino, Born: m.Born})
		}
		return nil
	}
	return fmt.Errorf("%s: forg does not know this action", s.Action)
}

// dir opens a folder and makes sure, whenever it is opened anew, that it is the one the plan was made for or, when the
// run has made it, the one it was at first. The folder is good for the change at hand: a later call may close it.
func (r *runner) dir(f *journal.Folder) (*folder, error) {
	h, err := r.cache.get(f.Path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if why := r.notMade[f.Path]; why != nil {
				return nil, fmt.Errorf("make folder %s: %w", f.Path, why)
			}
			return nil, fmt.Errorf("open folder %s: %w", f.Path, errNoFolder)
		}
		return nil, fmt.Errorf("open folder %s: %w", f.Path, err)
	}
	if was := r.seen[f]; was.open != h && !r.undo {
		m, err := h.self()
		if ino := cmp.Or(f.Ino, was.ino); err != nil || ino != 0 && m.Ino != ino {
			return nil, fmt.Errorf("open folder %s: %w", f.Path, errDirMoved)
		}
		r.seen[f] = seenFolder{h, m.Ino}
	}
	return h, nil
}

var errNoFolder = errors.New("it does not exist")

func (r *runner) changed(s *journal.Step) {
	if s.ToDir != nil && (r.last.ToDir != s.ToDir || r.filled[s.ToDir.Path] == nil) {
		r.filled[s.ToDir.Path] = s.ToDir
	}
	stays := s.Action.Places() && !s.Action.Takes() || s.Action == journal.Link
	if s.FromDir != nil && !stays && (r.last.FromDir != s.FromDir || r.emptied[s.FromDir.Path] == nil) {
		r.emptied[s.FromDir.Path] = s.FromDir
	}
	r.last = *s
}

// check makes sure that the file in question is still the one the step was intended for.
func (r *runner) check(s *journal.Step) error {
	from, err := r.dir(s.FromDir)
	if r.undo && errors.Is(err, errNoFolder) {
		return errGone
	}
	if err != nil {
		return err
	}
	now, err := from.stat(s.From)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errGone
	case err != nil:
		return err
	case s.Action == journal.Link:
		// Which file it is does not matter here: before the duplicate goes it is compared with it byte by byte.
		if !isRegular(now.Mode) {
			return errReplaced
		}
		return nil
	case s.Action == journal.Symlink && r.undo:
		return nil // whatever has become of the file, the link leads to it
	case s.Action == journal.Unsymlink:
		return checkLink(from, s.From, string(s.Meta))
	case s.Action == journal.Unwrite:
		return checkWritten(s, from, now)
	case s.Action == journal.Unextract:
		return checkExtracted(s, from, now)
	case r.undo:
		return r.checkUndo(s, from, now)
	case s.Action == journal.Symlink, s.Action == journal.Tag, s.Action == journal.Write, s.Action == journal.Extract, s.Action == journal.Exec:
		return checkSource(s, now)
	case isDir(s.File.Mode):
		if !now.SameFile(s.File) || !isDir(now.Mode) {
			return errChanged
		}
		return nil
	case !now.SameFile(s.File) || now.Size != s.File.Size || now.Mtime != s.File.Mtime || !isRegular(now.Mode):
		return errChanged
	}
	return nil
}

// checkCopy is check for a step that copies content; a duplicate is compared with the file that stays. It is copied whole or
// not at all, so it need not be held.
func (r *runner) checkCopy(ctx context.Context, s *journal.Step) error {
	if err := r.check(s); err != nil {
		return err
	}
	k, err := keeperOf(s)
	if err != nil || k == nil {
		return err
	}
	g, err := r.verify(ctx, s, k, true)
	if err == nil {
		g.release()
	}
	return err
}

// checkSource makes sure that what a step is about is still the file or folder that it was intended for. A step may follow
// others on the same file, so one that was copied from another disk meanwhile is known by its size and time; and by its
// place alone if the step does not say which it is, since a step before makes it.
func checkSource(s *journal.Step, now meta) error {
	content := s.Action == journal.Write || s.Action == journal.Extract
	same := now.Size == s.File.Size && (now.Mtime == s.File.Mtime || now.Mtime%1e9 == 0 && sameTime(now.Mtime, s.File.Mtime))
	switch {
	case !isRegular(now.Mode) && (content || !isDir(now.Mode)):
		return errChanged
	case s.File.Ino == 0:
		return nil
	case isDir(now.Mode) && isDir(s.File.Mode) && now.SameFile(s.File):
		return nil
	case isRegular(now.Mode) && isRegular(s.File.Mode) && same:
		return nil
	}
	return errChanged
}

func (r *runner) mkdir(s *journal.Step) error {
	r.unmade[s.ToPath()] = *s
	up, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	perm := s.File.Mode & 0o7777
	if perm == 0 {
		perm = 0o777
	}
	r.changed(s)
	if err := up.mkdir(s.To, perm); err != nil {
		if errors.Is(err, errExists) {
			if m, serr := up.stat(s.To); serr == nil && isDir(m.Mode) {
				// Somebody else made it, so it is not ours to remove.
				r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped})
				return errSettled
			}
		}
		return err
	}
	delete(r.unmade, s.ToPath())
	r.made = true
	if len(s.Meta) > 0 {
		r.notKept(s.ToPath(), r.remake(s.ToPath(), s.Meta))
	}
	if m, err := up.stat(s.To); err == nil {
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Done, Ino: m.Ino, Born: m.Born})
	}
	return nil
}

// errSettled says that what became of a step is already noted.
var errSettled = errors.New("settled")

// rmdir removes a folder if, and only if, it is empty and the one that was meant.
func (r *runner) rmdir(s *journal.Step) error {
	up, err := r.dir(s.FromDir)
	if err == nil {
		var m meta
		if m, err = up.stat(s.From); err == nil && s.File.Ino != 0 && m.Ino != s.File.Ino {
			err = errReplaced
		}
	}
	if err == nil {
		r.cache.forget(s.FromPath())
		r.changed(s)
		err = up.rmdir(s.From)
	}
	if err != nil && !isNotEmpty(err) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoFolder) && !errors.Is(err, errReplaced) {
		return err
	}
	if err != nil { // not empty, or no longer there: no file is concerned, so nobody needs to hear of it
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Skipped, Err: err.Error()})
		return errSettled
	}
	delete(r.filled, s.FromPath())
	delete(r.emptied, s.FromPath())
	return nil
}

// settleStep notes what became of a step.
func (r *runner) settleStep(s *journal.Step, err error) {
	if errors.Is(err, errSettled) {
		return
	}
	if errors.Is(err, context.Canceled) && (s.Action == journal.Extract || s.Action == journal.Share || s.Action.Trashes()) { // nothing is left of it
		r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.NotDone})
		if s.Unit != 0 {
			r.dropUnit(s.Unit)
		}
		return
	}
	if err == nil {
		if s.Unit != 0 {
			if len(r.unit) > 0 && r.unit[0].Unit != s.Unit {
				r.unit = r.unit[:0]
			}
			r.unit = append(r.unit, *s)
		}
		r.placed(s)
		return
	}
	if r.conflict(s, err) {
		return
	}
	r.fail(s, err)
}

func (r *runner) placed(s *journal.Step) {
	if k, _ := keeperOf(s); k != nil && s.Action.Takes() {
		r.removed[inode{s.File.Ino, s.File.Born}] = true
	}
	if !s.Counts() || IsAside(s.To) {
		return
	}
	r.res.Moved++
	r.res.Bytes += movedBytes(s)
	if r.opt.Step != nil {
		r.opt.Step(s, nil)
	}
	if r.opt.Progress != nil {
		r.opt.Progress(r.res.Moved, r.res.Bytes)
	}
}

// movedBytes are the bytes that a step counts for: none if it leaves the content where it is.
func movedBytes(s *journal.Step) int64 {
	switch s.Action {
	case journal.Link, journal.Symlink, journal.Tag, journal.Exec:
		return 0
	}
	return s.File.Size
}

// finish makes everything durable and gives the operation its last word.
func (r *runner) finish(ctx context.Context, last func(*journal.Finish) error) error {
	f := journal.Finish{Moved: r.res.Moved, Skipped: r.res.Skipped, Failed: r.res.Failed, Bytes: r.res.Bytes}
	switch {
	case r.fatal != nil || ctx.Err() != nil:
		f.Status = journal.Interrupted
	case r.res.Failed > 0 && r.res.Moved == 0 && !r.made:
		f.Status = journal.FailedOp
	case len(r.res.Problems) > 0:
		f.Status = journal.Partial
	default:
		f.Status = journal.Completed
	}
	r.res.ID, r.res.Status = r.w.ID(), f.Status
	var err error
	if last != nil {
		err = last(&f)
	}
	err = errors.Join(err, r.syncFolders())
	for _, set := range []map[string]*journal.Folder{r.filled, r.emptied} {
		for path := range set {
			if h, err := r.cache.get(path); err == nil {
				if m, err := h.self(); err == nil {
					f.Folders = append(f.Folders, journal.FolderTime{Path: path, Mtime: m.Mtime})
					if id, _, err := statDir(path); err != nil || id.Ino != m.Ino {
						r.res.Notes = append(r.res.Notes, Problem{path, fmt.Errorf("folder %s was moved away while forg worked in it; undo finds its files when it is back", path)})
					}
				}
			}
		}
	}
	if err == nil && r.fatal == nil {
		err = r.w.Finish(context.WithoutCancel(ctx), r.outs, f)
	}
	return errors.Join(r.fatal, err, ctx.Err())
}

// fewFolders is up to how many folders are synced one by one; beyond it the whole file system is.
const fewFolders = 64

// syncFolders makes the names in every folder durable: first where files came to, then where they left, so that a power
// cut can leave a file under both names but never under none.
func (r *runner) syncFolders() error {
	if err := errors.Join(r.syncTags(), r.syncNotes()); err != nil {
		return err
	}
	for _, set := range []map[string]*journal.Folder{r.filled, r.emptied} {
		synced := map[uint64]bool{}
		for path := range set {
			h, err := r.cache.get(path)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLinkInPath) {
				continue // removed since, by its owner
			}
			if err != nil {
				return fmt.Errorf("sync folder %s: %w", path, err)
			}
			if !syncsVolumes || len(set) <= fewFolders {
				err = h.sync()
			} else if m, serr := h.self(); serr != nil {
				err = serr
			} else if !synced[m.Dev] {
				synced[m.Dev] = true
				err = h.syncAll()
			}
			if err != nil {
				return fmt.Errorf("sync folder %s: %w", path, err)
			}
		}
	}
	return nil
}
