//go:build !linux

package dupes

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// volume is what there is to know of a file system: here nothing.
type volume struct {
	local, reflink bool
	turning        *sync.Mutex
}

func newVolume(string) *volume { return &volume{} }

// folder is a folder whose files are opened by their paths: its descriptor is of no use to what os offers.
type folder struct{ path string }

func openFolder(at *Folder, _ *volume, d *folder, _ int) error {
	d.path = at.Path
	return nil
}

func (d *folder) close() {}

// file is an open file. What the system knows of its identity besides size and time is not asked: who acts on a duplicate
// compares the bytes once more.
type file struct{ *os.File }

func (d *folder) open(name string) (file, error) {
	path := filepath.Join(d.path, name)
	before, err := os.Lstat(path)
	if err != nil {
		return file{}, err
	}
	if !before.Mode().IsRegular() {
		return file{}, errChanged
	}
	f, err := openNoWait(path)
	if err != nil {
		return file{}, err
	}
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		f.Close()
		return file{}, errors.Join(errChanged, err)
	}
	return file{f}, nil
}

func (f file) close() { f.Close() }

func (f file) identity() (identity, error) {
	st, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	if !st.Mode().IsRegular() {
		return identity{}, errChanged
	}
	return identity{size: st.Size(), mtime: st.ModTime().UnixNano()}, nil
}

func (f file) tryRead(buf []byte, off int64) (n int, all bool, err error) {
	n, err = f.readAt(buf, off)
	return n, true, err
}

// readAt reads until buf is full or the file ends.
func (f file) readAt(buf []byte, off int64) (int, error) {
	n, err := f.ReadAt(buf, off)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (f file) data(off, _ int64) int64 { return off }

func (f file) sparse(int64) bool { return false }

func (f file) prefetch(off, n int64) {}
