package organizer

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lease takes a lease of a duplicate, which is granted only if nobody else has it open, and one of the file that stays,
// granted only if nobody has it open for writing; a file that was closed and is still mapped writable counts as open. With
// both (fcntl(2), F_SETLEASE) who opens one of them so waits until they are closed. It reports false where there are no
// leases: on some file systems, and of other people's files.
func lease(dup, keep *os.File) (bool, error) {
	for _, l := range []struct {
		f    *os.File
		kind int
	}{{keep, unix.F_RDLCK}, {dup, unix.F_WRLCK}} {
		_, err := unix.FcntlInt(l.f.Fd(), unix.F_SETLEASE, l.kind)
		switch {
		case err == nil:
		case err != unix.EAGAIN || remote(l.f):
			return false, nil
		case l.f == keep:
			return false, fmt.Errorf("the file that it equals is being written: %w", errBusy)
		default:
			return false, errBusy
		}
	}
	return true, nil
}

// remote reports whether a file is on a file system whose leases are the server's, which refuses them for reasons of its own.
func remote(f *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return true
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, 0xff534d42 /* cifs */, 0xfe534d42 /* smb2 */, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC,
		unix.AFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC:
		return true
	}
	return false
}

// leaseHolds reports whether a lease is as it was taken: not run out, and with nobody waiting for its end.
func leaseHolds(f *os.File, write bool) bool {
	kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0)
	want := unix.F_RDLCK
	if write {
		want = unix.F_WRLCK
	}
	return err == nil && kind == want
}
