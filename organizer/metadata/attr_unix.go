//go:build linux || darwin || freebsd || netbsd

package metadata

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const maxAttribute = 1 << 20

// attribute reads an extended attribute. Nothing is read of one that is not there, or of a file system without any.
func attribute(f *os.File, name string) ([]byte, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var value []byte
	var failed error
	err = raw.Control(func(fd uintptr) { value, failed = fgetxattr(int(fd), name) })
	if err != nil {
		return nil, err
	}
	for _, none := range []error{errNoAttribute, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS} {
		if errors.Is(failed, none) {
			return nil, nil
		}
	}
	return value, failed
}

func fgetxattr(fd int, name string) ([]byte, error) {
	buf := make([]byte, 512)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		// FreeBSD cuts a value short without a word, so a full buffer may be less than it has.
		if err == nil && n < len(buf) {
			return buf[:n], nil
		}
		if err != nil && err != unix.ERANGE {
			return nil, err
		}
		if len(buf) >= maxAttribute {
			return nil, unix.E2BIG
		}
		buf = make([]byte, 8*len(buf))
	}
}

// zoneIdentifier reads what Windows noted of a file on a disk of it: Linux's drivers of NTFS show streams as attributes.
func zoneIdentifier(f *os.File) ([]byte, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	return attribute(f, "user."+zoneStream)
}
