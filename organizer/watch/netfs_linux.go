package watch

import (
	"errors"

	"golang.org/x/sys/unix"
)

// networkFS names the file system that path lies on if others can change it without this system knowing, or returns "".
func networkFS(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, 0xff534d42, 0xfe534d42:
		return "SMB"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC:
		return "AFS"
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph"
	case unix.FUSE_SUPER_MAGIC: // sshfs, rclone, shared folders of virtual machines, but also local ones
		return "FUSE"
	}
	return ""
}

// isLimit reports whether the system refuses to watch any more: ENOSPC is fs.inotify.max_user_watches, EMFILE
// fs.inotify.max_user_instances.
func isLimit(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EMFILE) }
