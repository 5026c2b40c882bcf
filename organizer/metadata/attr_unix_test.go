//go:build linux || darwin || freebsd || netbsd

package metadata

import (
	"os"

	"golang.org/x/sys/unix"
)

func setAttribute(f *os.File, name string, value []byte) error {
	return unix.Fsetxattr(int(f.Fd()), name, value, 0)
}
