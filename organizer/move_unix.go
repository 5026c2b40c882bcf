//go:build unix

package organizer

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

type folder struct {
	fd   int
	path string
}

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openEach opens a path one component at a time, refusing symbolic links.
func openEach(path string) (int, error) {
	fd, err := unix.Open("/", openDirFlags, 0)
	if err != nil {
		return -1, err
	}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		next, err := retry(func() (int, error) { return unix.Openat(fd, part, openDirFlags, 0) })
		unix.Close(fd)
		if err != nil {
			// A link gives ELOOP or, with O_DIRECTORY, ENOTDIR; a plain file gives ENOTDIR as well.
			if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) {
				err = errLinkInPath
			}
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if err != unix.EINTR {
			return v, err
		}
	}
}

func retryErr(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func mapErr(err error) error {
	switch err {
	case nil:
		return nil
	case unix.EXDEV:
		return errCrossDevice
	case unix.EEXIST:
		return errExists
	}
	return err
}

func (f *folder) close() { unix.Close(f.fd) }

func (f *folder) mkdir(name string, perm uint32) error {
	return mapErr(retryErr(func() error { return unix.Mkdirat(f.fd, name, perm) }))
}

func (f *folder) rmdir(name string) error {
	err := retryErr(func() error { return unix.Unlinkat(f.fd, name, unix.AT_REMOVEDIR) })
	if err == unix.EEXIST { // what some systems say of a folder that is not empty
		return unix.ENOTEMPTY
	}
	return err
}

func (f *folder) unlink(name string) error {
	return retryErr(func() error { return unix.Unlinkat(f.fd, name, 0) })
}

func link(from *folder, name string, to *folder, newName string) error {
	return mapErr(retryErr(func() error { return unix.Linkat(from.fd, name, to.fd, newName, 0) }))
}

// linkThenUnlink renames a file without replacing where the kernel or the file system has no call for it. Between the
// two steps the file has both names; recovery takes the new one away.
func linkThenUnlink(from *folder, name string, to *folder, newName string) error {
	if err := link(from, name, to, newName); err != nil {
		return err
	}
	return from.unlink(name)
}

func (f *folder) sync() error {
	return retryErr(func() error { return unix.Fsync(f.fd) })
}

// open opens a file of the folder for reading, without waiting for a FIFO that may have come in its place.
func (f *folder) open(name string) (*os.File, error) { return openRead(f.fd, name) }

func openRead(dir int, name string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := retry(func() (int, error) { return unix.Openat(dir, name, flags|noAtime, 0) })
	if err == unix.EPERM && noAtime != 0 { // only a file's owner may read it without leaving a trace
		fd, err = retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (f *folder) create(name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return nil, mapErr(err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (f *folder) touch(atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	return retryErr(func() error { return unix.UtimesNanoAt(f.fd, ".", ts, 0) })
}
