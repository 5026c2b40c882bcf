//go:build linux || darwin || freebsd || netbsd

package organizer

import (
	"os"

	"golang.org/x/sys/unix"
)

// maxXattr bounds what is carried over: Linux allows 64 KiB, but a resource fork of macOS is an attribute as well.
const maxXattr = 64 << 20

func xattr(fd int, name string) ([]byte, error) {
	for {
		n, err := unix.Fgetxattr(fd, name, nil)
		if err != nil {
			return nil, err
		}
		if n > maxXattr {
			return nil, unix.E2BIG
		}
		// One byte more than it has: FreeBSD cuts a value short without a word, so a full buffer means that it grew.
		buf := make([]byte, n+1)
		n, err = unix.Fgetxattr(fd, name, buf)
		if err == unix.ERANGE || err == nil && n == len(buf) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// attribute is the value of an extended attribute, nil if there is none.
func attribute(f *os.File, name string) ([]byte, error) {
	v, err := xattr(int(f.Fd()), name)
	switch {
	case err == errNoXattr:
		return nil, nil
	case err == unix.ENOTSUP || err == unix.EOPNOTSUPP:
		return nil, errNoTags
	case v == nil && err == nil:
		v = []byte{} // there is one, and it is empty
	}
	return v, err
}

// changeAttribute turns the value old of an extended attribute into new; nil is none. That one is there, or none, the
// system makes sure of; that its value is old is for the caller to look at before.
func changeAttribute(f *os.File, name string, old, new []byte) error {
	err := retryErr(func() error {
		switch {
		case new == nil:
			return unix.Fremovexattr(int(f.Fd()), name)
		case old == nil:
			return unix.Fsetxattr(int(f.Fd()), name, new, xattrCreate)
		}
		return unix.Fsetxattr(int(f.Fd()), name, new, xattrReplace)
	})
	switch {
	case err == errNoXattr, err == unix.EEXIST:
		return errTagsChanged
	case err == unix.ENOTSUP || err == unix.EOPNOTSUPP:
		return errNoTags
	}
	return err
}

func setXattr(fd int, name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }
