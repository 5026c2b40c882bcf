package dupes

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// volume is what there is to know of a file system.
type volume struct {
	local   bool // it does not wait for a network, so that a call is over soon unless it must wait for a disk
	nowait  bool // a read can be told not to wait for the disk
	reflink bool // files may share blocks
}

func newVolume(path string) *volume {
	v := &volume{}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return v
	}
	switch uint32(fs.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC:
		v.local, v.nowait = true, true
	}
	switch uint32(fs.Type) {
	case unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		v.reflink = true
	}
	return v
}

// folder is a folder, open or not, whose files one goroutine reads. Whether a file is the one that the scan saw, wherever
// the path leads by now, its identity tells.
type folder struct {
	fd     int
	vol    *volume
	atime  int    // O_NOATIME, until it is not allowed
	name   []byte // of the file to open, with a NUL
	prefix int    // how much of name is the path of the folder, because that is not open
}

// openFolder prepares d to open so many files of a folder. The folder itself is opened if that pays.
func openFolder(at *Folder, vol *volume, d *folder, files int) error {
	*d = folder{fd: unix.AT_FDCWD, vol: vol, atime: unix.O_NOATIME, name: append(d.name[:0], at.Path...)}
	if files < 3 && len(at.Path)+256 < unix.PathMax {
		d.name = append(d.name, '/')
		d.prefix = len(d.name)
		return nil
	}
	d.name = append(d.name, 0)
	var err error
	// O_NOATIME keeps the times of access as they are; only owners may ask for it.
	d.fd, err = d.openName(unix.O_DIRECTORY)
	return err
}

func (d *folder) close() {
	if d.prefix == 0 {
		file{d.fd, d.vol}.close()
	}
}

func retry(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}

// file is an open file.
type file struct {
	fd  int
	vol *volume
}

// open never waits, nor follows: what was a file may be a FIFO or a link by now.
func (d *folder) open(name string) (file, error) {
	d.name = append(append(d.name[:d.prefix], name...), 0)
	fd, err := d.openName(unix.O_NONBLOCK)
	return file{fd, d.vol}, err
}

func (d *folder) openName(more int) (int, error) {
	for {
		flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_LARGEFILE | d.atime | more
		name := unsafe.Pointer(&d.name[0])
		var fd uintptr
		var errno syscall.Errno
		if d.vol.local { // to tell Go's scheduler of a call that is over soon costs a sixth of all that is done here
			fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, uintptr(d.fd), uintptr(name), uintptr(flags), 0, 0, 0)
		} else {
			fd, _, errno = unix.Syscall6(unix.SYS_OPENAT, uintptr(d.fd), uintptr(name), uintptr(flags), 0, 0, 0)
		}
		switch {
		case errno == 0:
			return int(fd), nil
		case errno == unix.EPERM && d.atime != 0:
			d.atime = 0
		case errno == unix.ELOOP, errno == unix.ENOTDIR && more&unix.O_DIRECTORY != 0: // a link by now
			return -1, errChanged
		case errno != unix.EINTR:
			return -1, errno
		}
	}
}

func (f file) close() {
	if f.vol.local {
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(f.fd), 0, 0)
		return
	}
	unix.Close(f.fd)
}

// identity is asked of the open file.
func (f file) identity() (identity, error) {
	var st unix.Statx_t
	var errno syscall.Errno
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_SIZE | unix.STATX_MTIME | unix.STATX_CTIME
	if f.vol.local {
		_, _, errno = unix.RawSyscall6(unix.SYS_STATX, uintptr(f.fd), uintptr(unsafe.Pointer(&empty[0])), unix.AT_EMPTY_PATH, mask, uintptr(unsafe.Pointer(&st)), 0)
	} else {
		_, _, errno = unix.Syscall6(unix.SYS_STATX, uintptr(f.fd), uintptr(unsafe.Pointer(&empty[0])), unix.AT_EMPTY_PATH, mask, uintptr(unsafe.Pointer(&st)), 0)
	}
	if errno != 0 {
		return identity{}, errno
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, errChanged
	}
	return identity{st.Ino, int64(st.Size), ns(st.Mtime), ns(st.Ctime)}, nil
}

var empty [1]byte

func ns(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// tryRead reads up to the length of buf at off, as far as that needs no waiting for the disk. If it does, all is false.
func (f file) tryRead(buf []byte, off int64) (n int, all bool, err error) {
	if !f.vol.nowait {
		n, err = f.readAt(buf, off)
		return n, true, err
	}
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	for {
		var r uintptr
		var errno syscall.Errno
		if len(buf) <= 2*wholeBelow {
			r, _, errno = unix.RawSyscall6(unix.SYS_PREADV2, uintptr(f.fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), uintptr(off>>32), unix.RWF_NOWAIT)
		} else {
			r, _, errno = unix.Syscall6(unix.SYS_PREADV2, uintptr(f.fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), uintptr(off>>32), unix.RWF_NOWAIT)
		}
		switch errno {
		case 0:
			return int(r), int(r) == len(buf), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, false, nil
		case unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL:
			n, err = f.readAt(buf, off)
			return n, true, err
		default:
			return 0, false, errno
		}
	}
}

// readAt reads until buf is full or the file ends.
func (f file) readAt(buf []byte, off int64) (int, error) {
	done := 0
	for done < len(buf) {
		n, err := retry(func() (int, error) { return unix.Pread(f.fd, buf[done:], off+int64(done)) })
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// data is where after off there may be something else than zeros, if the file says so without being read.
func (f file) data(off, size int64) int64 {
	at, err := unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return size
	case err != nil || at < off:
		return off
	}
	return at
}

// sparse reports whether it has holes.
func (f file) sparse(size int64) bool {
	at, err := unix.Seek(f.fd, 0, unix.SEEK_HOLE)
	return err == nil && at < size
}

// prefetch asks the disk for what will be read soon.
func (f file) prefetch(off, n int64) { unix.Fadvise(f.fd, off, n, unix.FADV_WILLNEED) }
