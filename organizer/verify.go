package organizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"forg/journal"
)

var (
	errBusy    = errors.New("it is open in another program")
	errKeeper  = errors.New("the file that was to stay is gone or was changed")
	errLast    = errors.New("the file that was to stay was itself dealt with as a duplicate, so this is the last one")
	errOneFile = errors.New("it and the file that stays are one file")
)

// guard holds a duplicate and the file that it equals open while a step acts on the one. Where the system has leases,
// who opens the duplicate, or the other for writing, waits until the guard is released.
type guard struct {
	dup, keep  *os.File
	was, stays meta
	leased     bool // both are
	keepDir    string
	keepName   string
}

func (g *guard) release() {
	for _, f := range []*os.File{g.dup, g.keep} {
		if f != nil {
			f.Close() // with its lease
		}
	}
	g.dup, g.keep = nil, nil
}

// verify makes sure, right before a step acts on a duplicate, that it and the file that stays are the ones that were found
// and, if bytes says so, that they are the same byte by byte; who else may do so compares them itself. Of pictures that a
// person has found to look the same, the bytes are not compared. What is closed, gone or replaced since the plan was made is
// an error, and nothing was changed.
func (r *runner) verify(ctx context.Context, s *journal.Step, k *keeperMeta, bytes bool) (_ *guard, err error) {
	if k.Ino != 0 && r.removed[inode{k.Ino, k.Born}] {
		return nil, fmt.Errorf("%w: %s", errLast, k.path())
	}
	lost := func(err error) error { return fmt.Errorf("%w: %s: %w", errKeeper, k.path(), cause(err)) }
	from, err := r.dir(s.FromDir)
	if err != nil {
		return nil, err
	}
	g := &guard{}
	defer func() {
		if err != nil {
			g.release()
		}
	}()
	if g.dup, err = from.open(s.From); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errGone
		}
		if m, e := from.stat(s.From); e == nil && !isRegular(m.Mode) { // a link, which is not followed
			return nil, errChanged
		}
		return nil, cause(err)
	}
	dir, name := filepath.Split(k.path())
	g.keepDir, g.keepName = filepath.Clean(dir), name
	at, err := r.cache.get(g.keepDir)
	if err != nil {
		return nil, lost(err)
	}
	if g.keep, err = at.open(name); err != nil {
		return nil, lost(err)
	}
	if g.leased, err = lease(g.dup, g.keep); err != nil {
		if a, b := fileOf(g.dup), fileOf(g.keep); a.Ino != 0 && a == b { // which forg itself has open twice
			return nil, errOneFile
		}
		return nil, err
	}
	if g.was, err = statFile(g.dup); err != nil {
		return nil, err
	}
	if g.stays, err = statFile(g.keep); err != nil {
		return nil, lost(err)
	}
	switch {
	case !isRegular(g.was.Mode):
		return nil, errChanged
	case !r.undo && (!g.was.SameFile(s.File) || g.was.Size != s.File.Size || g.was.Mtime != s.File.Mtime):
		return nil, errChanged
	case !isRegular(g.stays.Mode), k.Ino != 0 && (g.stays.Ino != k.Ino || g.stays.Born != k.Born || !r.undo && g.stays.Mtime != k.Mtime):
		return nil, fmt.Errorf("%w: %s", errKeeper, k.path())
	case g.was.Ino == g.stays.Ino && g.was.Dev == g.stays.Dev:
		return nil, errOneFile
	case k.Similar:
		return g, nil
	case g.was.Size != g.stays.Size:
		return nil, errDiffers
	}
	if !bytes {
		return g, nil
	}
	return g, r.sameOpen(ctx, g)
}

// fileOf is which file of which file system an open one is.
func fileOf(f *os.File) (id struct{ Dev, Ino uint64 }) {
	if m, err := statFile(f); err == nil {
		id.Dev, id.Ino = m.Dev, m.Ino
	}
	return id
}

// unchanged makes sure that neither file was written to since they were looked at. With leases it is certain; without,
// it is what the times say.
func (g *guard) unchanged() error {
	if g.leased {
		if !leaseHolds(g.dup, true) || !leaseHolds(g.keep, false) {
			return errBusy
		}
		return nil
	}
	for f, was := range map[*os.File]meta{g.dup: g.was, g.keep: g.stays} {
		now, err := statFile(f)
		if err != nil {
			return err
		}
		if now.Size != was.Size || now.Mtime != was.Mtime || now.Ctime != was.Ctime {
			return errChanged
		}
	}
	return nil
}

// sameOpen compares the files of a guard, which have one size, byte by byte.
func (r *runner) sameOpen(ctx context.Context, g *guard) error {
	if r.chunks[0] == nil {
		r.chunks = [2][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}
	}
	same, err := sameStreams(ctx, io.NewSectionReader(g.dup, 0, g.was.Size), io.NewSectionReader(g.keep, 0, g.was.Size), r.chunks[0], r.chunks[1])
	if err != nil {
		return cause(err)
	}
	if err := g.unchanged(); err != nil || same { // files that are being written to need not differ when that is done
		return err
	}
	return errDiffers
}

// sameStreams compares what two readers have left, as much at once as the buffers hold, which have one size.
func sameStreams(ctx context.Context, a, b io.Reader, bufA, bufB []byte) (bool, error) {
	end := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		switch {
		case errA != nil && !end(errA):
			return false, errA
		case errB != nil && !end(errB):
			return false, errB
		case !bytes.Equal(bufA[:n], bufB[:m]):
			return false, nil
		case errA != nil || errB != nil:
			return true, nil // one is at its end, and so the other, having as many bytes left
		}
	}
}

// sameBytes compares two files byte by byte.
func sameBytes(a, b string) (bool, error) {
	fa, err := openPath(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := openPath(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	return sameStreams(context.Background(), fa, fb, make([]byte, 256<<10), make([]byte, 256<<10))
}

// isStill makes sure that a name holds the duplicate that was compared: between the last look at a name and a change of it
// another program may have put another file there, which the change then was about.
func (g *guard) isStill(dir *folder, name string) error {
	m, err := dir.stat(name)
	if err == nil && !m.SameFile(g.was.Identity) {
		err = errChanged
	}
	return err
}

// trashed is the end of a step that took a duplicate away by a rename: if it was another file by then, it goes back.
func (g *guard) trashed(s *journal.Step, from, to *folder) error {
	if g == nil {
		return nil
	}
	err := g.isStill(to, s.To)
	if err == nil {
		return nil
	}
	if e := renameNoReplace(to, s.To, from, s.From); e != nil {
		return errors.Join(err, fmt.Errorf("what has taken its place is at %s now: %w", s.ToPath(), e))
	}
	return err
}
