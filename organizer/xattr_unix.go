//go:build linux || darwin || freebsd || netbsd

package organizer

import "golang.org/x/sys/unix"

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

func setXattr(fd int, name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }
