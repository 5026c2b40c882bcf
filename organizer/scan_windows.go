package organizer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/windows"

	"forg/journal"
)

// scanHandle is an open folder, shared by the workers that look at its files.
type scanHandle struct {
	at   folder
	dir  *os.File
	refs atomic.Int32
	hide map[string]bool // names that are hidden, once the folder is being read
}

func openScan(path string) (*scanHandle, error) {
	fd, err := openEach(path, shareAll)
	if err != nil {
		return nil, err
	}
	h := &scanHandle{at: folder{fd, path}, dir: os.NewFile(uintptr(fd), path)}
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
	m, err := h.at.self()
	if err != nil {
		return journal.Folder{}, 0, err
	}
	return journal.Folder{Path: path, Volume: m.Dev, Ino: m.Ino, Mtime: m.Mtime, Atime: m.Atime}, m.Dev, nil
}

// read calls f with the folder's entries, a few thousand at a time.
func (h *scanHandle) read(_ *worker, f func([]entry)) error {
	for {
		all, err := h.dir.ReadDir(chunkFiles)
		if len(all) > 0 {
			h.hide = map[string]bool{}
			names := make([]entry, len(all))
			for i, e := range all {
				kind := e.Type()
				// Junctions, and what is packed or in a cloud, are all irregular to the library.
				names[i] = entry{name: []byte(e.Name()), kind: kind & (fs.ModeDir | fs.ModeSymlink), none: kind&^(fs.ModeDir|fs.ModeSymlink) != 0}
				if info, err := e.Info(); err == nil {
					if d, ok := info.Sys().(*syscall.Win32FileAttributeData); ok && d.FileAttributes&windows.FILE_ATTRIBUTE_HIDDEN != 0 {
						h.hide[e.Name()] = true
					}
				}
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
	m, err := h.at.stat(string(name))
	if err != nil {
		return 0, err
	}
	return modeKind(m.Mode), nil
}

func modeKind(mode uint32) fs.FileMode {
	switch mode & modeType {
	case modeRegular:
		return 0
	case modeDir:
		return fs.ModeDir
	case modeLink:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

// hidden is true for what Explorer hides, and for dot files, which programs from other systems mean to be.
func (h *scanHandle) hidden(name string) bool {
	if name[0] == '.' || h.hide[name] {
		return true
	}
	if h.hide != nil {
		return false
	}
	m, err := h.at.stat(name)
	return err == nil && m.Flags&windows.FILE_ATTRIBUTE_HIDDEN != 0
}

// stat fills f. name ends in NUL.
func (h *scanHandle) stat(name []byte, f *File, changed *int64) (fs.FileMode, error) {
	m, err := h.at.stat(string(name[:len(name)-1]))
	if err != nil {
		return 0, err
	}
	f.Ino, f.Size, f.Mtime, f.Born, f.Mode = m.Ino, m.Size, m.Mtime, m.Born, uint16(m.Mode)
	f.Nlink = uint16(min(m.Nlink, 0xffff))
	if changed != nil {
		*changed = 0 // would take another opening of the file
	}
	return modeKind(m.Mode), nil
}

func (h *scanHandle) open(name string) (*os.File, error) { return h.at.open(name) }
