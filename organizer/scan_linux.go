package organizer

import (
	"io/fs"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"forg/journal"
)

// scanHandle is an open folder, shared by the workers that look at its files.
type scanHandle struct {
	fd    int
	refs  atomic.Int32
	local bool // its file system does not wait for a network, so that a look at a file is over soon
}

func openScan(path string) (*scanHandle, error) {
	// O_NOATIME keeps the folder's time of access, which undo gives back; only owners may ask for it.
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	h := &scanHandle{fd: fd}
	h.refs.Store(1)
	return h, nil
}

func (h *scanHandle) retain() { h.refs.Add(1) }

func (h *scanHandle) close() {
	if h.refs.Add(-1) == 0 {
		unix.Close(h.fd)
	}
}

// folder looks at the folder itself. What there is to know of its file system is asked once while the folders that w
// reads lie on one.
func (h *scanHandle) folder(w *worker, path string) (journal.Folder, uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(h.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return journal.Folder{}, 0, err
	}
	dev := unix.Mkdev(st.Dev_major, st.Dev_minor)
	if w.volume.dev != dev || dev == 0 {
		w.volume = volume{dev: dev}
		var fs unix.Statfs_t
		if unix.Fstatfs(h.fd, &fs) == nil {
			w.volume.id = fsidOf(&fs)
			switch uint32(fs.Type) {
			case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC:
				w.volume.local = true
			}
		}
	}
	h.local = w.volume.local
	return journal.Folder{Path: path, Volume: w.volume.id, Ino: st.Ino, Mtime: ns(st.Mtime), Atime: ns(st.Atime)}, dev, nil
}

func ns(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// fsID is the file system's id, which for ext4, xfs and btrfs comes from its UUID and so outlives a reboot.
func fsID(fd int) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return fsidOf(&st)
}

func fsidOf(st *unix.Statfs_t) uint64 {
	return uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1]))
}

// read calls f with the folder's entries, a few thousand at a time; the slice and the names are reused.
func (h *scanHandle) read(w *worker, f func([]entry)) error {
	if w.buf == nil {
		w.buf = make([]byte, 128<<10)
	}
	names := w.names[:0]
	defer func() { w.names = names }()
	for {
		n, err := h.getdents(w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		names = names[:0]
		for b := w.buf[:n]; len(b) > 0; {
			d := (*unix.Dirent)(unsafe.Pointer(&b[0]))
			name := b[unsafe.Offsetof(d.Name):d.Reclen]
			end := 0
			for name[end] != 0 {
				end++
			}
			kind, none := direntKind(d.Type)
			b = b[d.Reclen:]
			name = name[:end]
			if string(name) == "." || string(name) == ".." {
				continue
			}
			names = append(names, entry{name, kind, none})
			if len(names) == chunkFiles {
				f(names)
				names = names[:0]
			}
		}
		if len(names) > 0 {
			f(names)
		}
	}
}

// getdents is unix.Getdents, but for local file systems without a word to Go's scheduler, as in stat.
func (h *scanHandle) getdents(buf []byte) (int, error) {
	if !h.local {
		return unix.Getdents(h.fd, buf)
	}
	n, _, errno := unix.RawSyscall(unix.SYS_GETDENTS64, uintptr(h.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func direntKind(t uint8) (fs.FileMode, bool) {
	switch t {
	case unix.DT_REG:
		return 0, false
	case unix.DT_DIR:
		return fs.ModeDir, false
	case unix.DT_LNK:
		return fs.ModeSymlink, false
	case unix.DT_UNKNOWN:
		return 0, true
	}
	return fs.ModeIrregular, false
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
	var st unix.Statx_t
	if err := unix.Statx(h.fd, string(name), unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st); err != nil {
		return 0, err
	}
	return modeKind(st.Mode), nil
}

func (h *scanHandle) hidden(name string) bool { return name[0] == '.' }

// stat fills f and, unless it is nil, changed (see Tree.Changed). name ends in NUL, so the call needs no copy of it.
func (h *scanHandle) stat(name []byte, f *File, changed *int64) (fs.FileMode, error) {
	var st unix.Statx_t
	var errno syscall.Errno
	const flags, mask = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if h.local { // to tell Go's scheduler of a call that is over soon would cost a tenth of all that a scan does
		_, _, errno = unix.RawSyscall6(unix.SYS_STATX, uintptr(h.fd), uintptr(unsafe.Pointer(&name[0])), flags, mask, uintptr(unsafe.Pointer(&st)), 0)
	} else {
		_, _, errno = unix.Syscall6(unix.SYS_STATX, uintptr(h.fd), uintptr(unsafe.Pointer(&name[0])), flags, mask, uintptr(unsafe.Pointer(&st)), 0)
	}
	if errno != 0 {
		return 0, errno
	}
	f.Ino, f.Size, f.Mtime, f.Mode = st.Ino, int64(st.Size), ns(st.Mtime), st.Mode
	f.Nlink = uint16(min(st.Nlink, 0xffff))
	if st.Mask&unix.STATX_BTIME != 0 {
		f.Born = ns(st.Btime)
	}
	if changed != nil {
		*changed = ns(st.Ctime)
	}
	return modeKind(st.Mode), nil
}
