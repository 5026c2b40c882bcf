//go:build darwin || freebsd

package watch

import (
	"errors"

	"golang.org/x/sys/unix"
)

// networkFS names the file system that path lies on if others can change it without this system knowing, or returns "".
func networkFS(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || uint64(st.Flags)&unix.MNT_LOCAL != 0 {
		return ""
	}
	return unix.ByteSliceToString(st.Fstypename[:])
}

// isLimit reports whether the system refuses to watch any more: kqueue needs an open file for each.
func isLimit(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }
