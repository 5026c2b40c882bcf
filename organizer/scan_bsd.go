//go:build darwin || freebsd || netbsd || openbsd

package organizer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"forg/journal"
)

// scanHandle is an open folder, shared by the workers that look at its files.
type scanHandle struct {
	dir  *os.File
	fd   int
	refs atomic.Int32
}

func openScan(path string) (*scanHandle, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, openDirFlags, 0) })
	if err != nil {
		return nil, err
	}
	h := &scanHandle{dir: os.NewFile(uintptr(fd), path), fd: fd}
	h.refs.Store(1)
	return h, nil
}

func (h *scanHandle) retain() { h.refs.Add(1) }

func (h *scanHandle) close() {
	if h.refs.Add(-1) == 0 {
		h.dir.Close()
	}
}

func (h *scanHandle) folder(_ *worker, path string) (journal.Folder, uint64, error) {
	m, err := fstat(h.fd)
	if err != nil {
		return journal.Folder{}, 0, err
	}
	return journal.Folder{Path: path, Volume: fsID(h.fd), Ino: m.Ino, Mtime: m.Mtime, Atime: m.Atime}, m.Dev, nil
}

func (f *folder) volume() uint64 { return fsID(f.fd) }

// read calls f with the folder's entries, a few thousand at a time.
func (h *scanHandle) read(_ *worker, f func([]entry)) error {
	for {
		all, err := h.dir.ReadDir(chunkFiles)
		if len(all) > 0 {
			names := make([]entry, len(all))
			for i, e := range all {
				kind := e.Type()
				if kind&^(fs.ModeDir|fs.ModeSymlink) != 0 {
					kind = fs.ModeIrregular
				}
				names[i] = entry{name: []byte(e.Name()), kind: kind}
			}
			f(names)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// kind asks the disk for a type that the folder does not tell.
func (h *scanHandle) kind(name []byte) fs.FileMode {
	k, err := h.lstatKind(name)
	if err != nil {
		return 0 // stat reports it
	}
	return k
}

func (h *scanHandle) lstatKind(name []byte) (fs.FileMode, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(h.fd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, err
	}
	return modeKind(st.Mode), nil
}

// hidden is true for dot files and, on macOS, for what Finder hides.
func (h *scanHandle) hidden(name string) bool {
	if name[0] == '.' {
		return true
	}
	if hiddenFlag == 0 {
		return false
	}
	var st unix.Stat_t
	return unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Flags&hiddenFlag != 0
}

// stat fills f and, unless it is nil, changed (see Tree.Changed). name ends in NUL.
func (h *scanHandle) stat(name []byte, f *File, changed *int64) (fs.FileMode, error) {
	var st unix.Stat_t
	err := retryErr(func() error {
		return unix.Fstatat(h.fd, unsafeString(name[:len(name)-1]), &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return 0, err
	}
	m := metaOf(&st)
	f.Ino, f.Size, f.Mtime, f.Born, f.Mode = m.Ino, m.Size, m.Mtime, m.Born, uint16(m.Mode)
	f.Nlink = uint16(min(m.Nlink, 0xffff))
	if changed != nil {
		*changed = st.Ctim.Nano()
	}
	return modeKind(st.Mode), nil
}
