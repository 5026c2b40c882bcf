package organizer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"forg/journal"
)

// copyBatchBytes bounds how much is copied before the originals of a batch go: the disk holds both until then.
const copyBatchBytes = 256 << 20

// tempName is the hidden name of a step's unfinished copy. It tells whose it is after a crash.
func tempName(op string, no int64) string {
	return fmt.Sprintf("%s%s-%d", tempPrefix, op[len(op)-12:], no)
}

// copying is a file on its way to another file system (or, to be copied, anywhere).
type copying struct {
	step *journal.Step
	temp string
	was  meta // of the source, when it was opened
	made meta // of the copy
	hash []byte
	lost []string // attributes that the copy could not keep
	err  error

	src, dst *os.File // while it is being copied
}

// Below largeFile a copy takes longer to make and to describe than to fill, so some are filled while others are made.
// Larger ones are copied one after the other, or a disk with moving heads would go to and fro between them.
const (
	largeFile = 4 << 20
	copiers   = 4 // that fill at once ...
	copyShare = 8 // ... this many files each, all of them open
)

// copyAll carries content over: copies under hidden names, makes them durable together (a sync for each would cost five
// times as much), records which files they are, renames them into place, and only then removes the originals.
// unforeseen says that the steps' intents were those of renames, so that recovery must be told of the hidden names.
func (r *runner) copyAll(ctx context.Context, steps []journal.Step, unforeseen bool) {
	if len(steps) == 0 {
		return
	}
	if unforeseen {
		outs := make([]journal.Outcome, len(steps))
		for i := range steps {
			outs[i] = journal.Outcome{No: steps[i].No, Count: 1, State: journal.Copying}
		}
		if err := r.w.Commit(context.WithoutCancel(ctx), nil, outs); err != nil {
			r.fatal = err
			return
		}
	}
	ready := r.fillCopies(ctx, steps)
	if len(ready) == 0 {
		return
	}
	if err := r.syncCopies(ready); err != nil {
		r.fatal = err // what a sync could not write is unknown, so nothing more is done: the originals are all there
		return
	}
	outs := make([]journal.Outcome, len(ready))
	for i, c := range ready {
		outs[i] = journal.Outcome{No: c.step.No, Count: 1, State: journal.Copied, Ino: c.made.Ino, Born: c.made.Born, Hash: c.hash}
	}
	if err := r.w.Commit(context.WithoutCancel(ctx), nil, outs); err != nil {
		r.fatal = err
		return
	}
	r.placeCopies(ready)
	if !r.syncTargets(ready) {
		return
	}
	for _, c := range ready {
		if c.err == nil {
			r.removeOriginal(c)
		}
	}
}

// fillCopies makes the hidden copies, small files several at a time, and returns those that are whole. Of a unit all are, or
// none.
func (r *runner) fillCopies(ctx context.Context, steps []journal.Step) []*copying {
	all := make([]*copying, 0, len(steps))
	var filling errgroup.Group
	filling.SetLimit(copiers)
	var share []*copying
	fill := func() {
		files := share
		share = nil
		filling.Go(func() error {
			for _, c := range files {
				c.err = c.fill(ctx)
			}
			return nil // what went wrong with one file keeps no other back
		})
	}
	for i := range steps {
		c := &copying{step: &steps[i]}
		if c.step.Unit != 0 && r.dropped[c.step.Unit] {
			r.skip(c.step, errCompanion)
			continue
		}
		all = append(all, c)
		if c.err = ctx.Err(); c.err == nil {
			c.err = r.createCopy(c)
		}
		switch {
		case c.err != nil && c.step.Unit != 0:
			r.dropped[c.step.Unit] = true
		case c.err != nil:
		case c.was.Size < largeFile:
			if share = append(share, c); len(share) == copyShare {
				fill()
			}
		default:
			fill()
			filling.Wait()
			c.err = c.fill(ctx)
		}
	}
	fill()
	filling.Wait()
	for _, c := range all {
		if c.err != nil && c.step.Unit != 0 {
			r.dropped[c.step.Unit] = true
		}
		if len(c.lost) > 0 && c.err == nil {
			r.res.Notes = append(r.res.Notes, Problem{c.step.ToPath(), fmt.Errorf("copy %s: the file system there cannot keep %v", c.step.ToPath(), c.lost)})
		}
	}
	for _, c := range all {
		if c.err == nil && c.step.Unit != 0 && r.dropped[c.step.Unit] {
			c.err = errCompanion
		}
		if c.err != nil {
			r.giveUp(c)
		}
	}
	return slices.DeleteFunc(all, func(c *copying) bool { return c.err != nil })
}

// placeCopies gives copies their names. One that cannot get its name has an error then, and its companions have gone, or stay
// because they were edited.
func (r *runner) placeCopies(ready []*copying) {
	for _, c := range ready {
		to, err := r.dir(c.step.ToDir)
		if err == nil {
			err = renameNoReplace(to, c.temp, to, c.step.To)
		}
		if c.err = err; err != nil {
			r.giveUp(c)
			continue
		}
		r.changed(c.step)
	}
	for _, c := range ready { // one that could not get its name keeps its companions back
		if c.err != nil && c.step.Unit != 0 {
			r.dropped[c.step.Unit] = true
		}
	}
	for _, c := range ready {
		if c.err == nil && c.step.Unit != 0 && r.dropped[c.step.Unit] {
			if c.err = errCompanion; r.removeCopy(c) != nil {
				c.err = nil // somebody has edited it by now: then it stays, and its original goes or is reported
				continue
			}
			r.skip(c.step, errCompanion)
		}
	}
}

// createCopy opens the original and creates the hidden file that is to become its copy.
func (r *runner) createCopy(c *copying) (err error) {
	s := c.step
	from, err := r.dir(s.FromDir)
	if err != nil {
		return err
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	if c.src, err = from.open(s.From); err != nil {
		return cause(err)
	}
	defer func() {
		if err != nil {
			c.src.Close()
		}
	}()
	if c.was, err = statFile(c.src); err != nil {
		return err
	}
	if !isRegular(c.was.Mode) || !r.undo && (!c.was.SameFile(s.File) || c.was.Size != s.File.Size || c.was.Mtime != s.File.Mtime) {
		return errChanged
	}
	if c.was.Nlink > 1 && s.Action != journal.Copy {
		return errLinked
	}
	temp := tempName(r.res.UUID, s.No)
	if c.shared() && c.was.Size > 0 {
		c.dst, err = clone(c.src, to, temp)
	} else {
		c.dst, err = to.create(temp)
	}
	if err != nil {
		if errors.Is(err, errExists) {
			err = fmt.Errorf("create %s: %w", temp, err)
		}
		return err
	}
	c.temp = temp
	r.filled[s.ToDir.Path] = s.ToDir
	return nil
}

// shared reports whether the copy must be a reflink. It has its content from the moment it is created.
func (c *copying) shared() bool {
	return c.step.Action == journal.Copy && string(c.step.Meta) == reflinkMeta
}

// fill gives the copy its content and attributes. It touches nothing else, so several may be filled at once.
func (c *copying) fill(ctx context.Context) (err error) {
	defer c.src.Close()
	defer func() { err = cmp.Or(err, c.dst.Close()) }()
	if !c.shared() {
		if c.hash, err = copyContent(ctx, c.dst, c.src, c.was.Size); err != nil {
			return err
		}
	}
	if c.lost, err = copyAttributes(c.dst, c.src, c.was); err != nil {
		return err
	}
	if err := syncContent(c.dst); err != nil {
		return cause(err)
	}
	if c.made, err = statFile(c.dst); err != nil {
		return err
	}
	if c.made.Size != c.was.Size {
		return fmt.Errorf("the copy has %d bytes of %d", c.made.Size, c.was.Size)
	}
	return nil
}

var errNoReflink = errors.New("the file system cannot share content between files (reflink)")

var errLinked = errors.New("it has other hard links, from which a copy would part it")

// copyBuffers are what content passes through.
var copyBuffers = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// copyContent copies src into the empty file dst: as a shared extent where the file system can, else hashing what is
// read; holes stay holes. It returns the BLAKE3 of the content, nil when it was shared and not read.
func copyContent(ctx context.Context, dst, src *os.File, size int64) ([]byte, error) {
	if size > 0 && reflink(dst, src) {
		return nil, nil
	}
	if err := dst.Truncate(size); err != nil {
		return nil, err
	}
	write := func(b []byte, at int64) error {
		_, err := dst.WriteAt(b, at)
		return cause(err)
	}
	if size < largeFile {
		buf := copyBuffers.Get().(*[1 << 20]byte)
		defer copyBuffers.Put(buf)
		return readHashing(ctx, src, size, func() []byte { return buf[:] }, write)
	}
	// One goroutine reads and hashes while this one writes.
	type piece struct {
		b  []byte
		at int64
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, full := make(chan []byte, 3), make(chan piece, 3)
	for range cap(free) {
		buf := copyBuffers.Get().(*[1 << 20]byte)
		defer copyBuffers.Put(buf)
		free <- buf[:]
	}
	var hash []byte
	var failed error
	go func() {
		defer close(full)
		hash, failed = readHashing(ctx, src, size, func() []byte { return <-free }, func(b []byte, at int64) error {
			full <- piece{b, at}
			return nil
		})
	}()
	var err error
	for p := range full {
		if err == nil {
			if err = write(p.b, p.at); err != nil {
				cancel()
			}
		}
		free <- p.b[:cap(p.b)]
	}
	return hash, cmp.Or(err, failed)
}

// readHashing reads the parts of src that are not holes into the buffers that next gives, hands them to use, and returns
// the BLAKE3 of the whole content.
func readHashing(ctx context.Context, src *os.File, size int64, next func() []byte, use func(b []byte, at int64) error) ([]byte, error) {
	hash := blake3.New()
	at := int64(0)
	err := dataRanges(src, size, func(from, to int64) error {
		if err := hashZeros(hash, from-at); err != nil {
			return err
		}
		for at = from; at < to; {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf := next()
			n, err := src.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			if n == 0 && err == io.EOF {
				return errChanged // it has become shorter
			}
			if n == 0 && err != nil {
				return cause(err)
			}
			hash.Write(buf[:n])
			if err := use(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := hashZeros(hash, size-at); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}

var zeros [64 << 10]byte

func hashZeros(h *blake3.Hasher, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if _, err := h.Write(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// syncCopies makes the hidden copies durable and, if asked to, reads them back.
func (r *runner) syncCopies(ready []*copying) error {
	synced := map[uint64]bool{}
	looked := map[string]bool{}
	for _, c := range ready {
		if looked[c.step.ToDir.Path] {
			continue
		}
		looked[c.step.ToDir.Path] = true
		to, err := r.dir(c.step.ToDir)
		if err != nil {
			return err
		}
		m, err := to.self()
		if err != nil {
			return fmt.Errorf("look at %s: %w", to.path, err)
		}
		if synced[m.Dev] {
			continue
		}
		synced[m.Dev] = true
		if err := to.syncAll(); err != nil {
			return fmt.Errorf("sync %s: %w", to.path, err)
		}
	}
	if !r.opt.Verify {
		return nil
	}
	for _, c := range ready {
		if c.hash == nil {
			continue
		}
		to, err := r.dir(c.step.ToDir)
		if err != nil {
			return err
		}
		hash, err := hashUncached(to, c.temp)
		if err == nil && !bytes.Equal(hash, c.hash) {
			err = errors.New("what was read back is not what was written; the disk may be failing")
		}
		if err != nil {
			return fmt.Errorf("verify the copy of %s: %w", c.step.FromPath(), err)
		}
	}
	return nil
}

func (r *runner) syncTargets(ready []*copying) bool {
	synced := map[string]bool{}
	for _, c := range ready {
		if c.err != nil || synced[c.step.ToDir.Path] {
			continue
		}
		synced[c.step.ToDir.Path] = true
		to, err := r.dir(c.step.ToDir)
		if err == nil {
			err = to.sync()
		}
		if err != nil {
			r.fatal = fmt.Errorf("sync folder %s: %w", c.step.ToDir.Path, err)
			return false
		}
	}
	return true
}

// removeOriginal removes the source of a copy that is in its place and on disk, unless it was changed meanwhile.
func (r *runner) removeOriginal(c *copying) {
	s := c.step
	if s.Action == journal.Copy {
		r.placed(s)
		return
	}
	var now meta
	from, err := r.dir(s.FromDir)
	if err == nil {
		now, err = from.stat(s.From)
	}
	there := err == nil
	if there && (!sameContent(now, c.was) || now.Ctime != c.was.Ctime) {
		err = errChanged
	}
	if err == nil {
		err = unlinkAside(from, s.From, c.temp+oldSuffix, c.was)
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoFolder): // gone already: then ours is the last one
		r.placed(s)
	case !there: // it may be gone as well
		r.fail(s, fmt.Errorf("%w; the copy %s is kept", err, s.ToPath()))
	default:
		if e := r.removeCopy(c); e != nil {
			err = errors.Join(err, fmt.Errorf("remove the copy %s again: %w", s.ToPath(), e))
		}
		r.fail(s, err)
	}
}

// oldSuffix ends the hidden name of an original that is about to be removed.
const oldSuffix = "-old"

func sameContent(a, b meta) bool {
	return a.SameFile(b.Identity) && a.Size == b.Size && a.Mtime == b.Mtime
}

// unlinkAside removes the file that was, and no other.
func unlinkAside(dir *folder, name, aside string, was meta) error {
	return removeAside(dir, name, aside, func(name string) error {
		now, err := dir.stat(name)
		if err == nil && !sameContent(now, was) {
			err = errChanged
		}
		return err
	})
}

// removeAside removes a file that passes a check, and no other: between a look at a name and its removal another program
// may put another file there. So the file steps aside first, and what stepped aside is looked at again.
func removeAside(dir *folder, name, aside string, check func(name string) error) error {
	if err := renameNoReplace(dir, name, dir, aside); err != nil {
		return err
	}
	err := check(aside)
	if err == nil {
		err = dir.unlink(aside)
	}
	if err != nil {
		if e := renameNoReplace(dir, aside, dir, name); e != nil {
			return errors.Join(err, fmt.Errorf("it is at %s now: %w", filepath.Join(dir.path, aside), e))
		}
	}
	return err
}

// removeCopy removes a copy that is in its place already, unless somebody has edited or replaced it.
func (r *runner) removeCopy(c *copying) error {
	to, err := r.dir(c.step.ToDir)
	if err != nil {
		return err
	}
	now, err := to.stat(c.step.To)
	if err != nil {
		return err
	}
	if !now.SameFile(c.made.Identity) || now.Size != c.made.Size || now.Mtime != c.made.Mtime {
		return errChanged
	}
	return to.unlink(c.step.To)
}

// giveUp removes the unfinished copy of a step that failed.
func (r *runner) giveUp(c *copying) {
	if c.temp != "" {
		to, err := r.dir(c.step.ToDir)
		if err == nil {
			err = to.unlink(c.temp)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.err = errors.Join(c.err, fmt.Errorf("remove %s: %w", c.temp, err))
		}
	}
	switch {
	case errors.Is(c.err, context.Canceled):
		r.outs = append(r.outs, journal.Outcome{No: c.step.No, Count: 1, State: journal.NotDone})
	case errors.Is(c.err, errCompanion):
		r.skip(c.step, c.err)
	default:
		r.conflict(c.step, c.err)
	}
}

// removeTwin removes a copy or a hard link that forg made, provided that what it was made from is still there and,
// unless both are one file, has the same bytes.
func (r *runner) removeTwin(s *journal.Step, from *folder) error {
	now, err := from.stat(s.From)
	if err != nil {
		return err
	}
	_, err = lstat(s.ToPath())
	switch {
	case s.Action == journal.Unlink && now.Nlink > 1: // wherever its other name is by now
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is gone, so this is the last one and stays", errKept, s.ToPath())
	case err != nil:
		return err
	case s.Action == journal.Unlink:
		return fmt.Errorf("%w: %s is another file by now, so this one stays", errKept, s.ToPath())
	}
	if s.Action == journal.Uncopy {
		same, err := sameBytes(s.FromPath(), s.ToPath())
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%w: it or %s was edited since, so both stay", errKept, s.ToPath())
		}
	}
	r.changed(s)
	if err := from.unlink(s.From); err != nil {
		return err
	}
	r.res.Moved++
	r.res.Bytes += now.Size
	return nil
}
