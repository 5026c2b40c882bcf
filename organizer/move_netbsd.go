package organizer

import "golang.org/x/sys/unix"

const (
	walk      = 0x00800000 // O_SEARCH
	keptFlags = 0x1        // UF_NODUMP
	seekData  = 0          // holes are not told
	seekHole  = 0
)

func born(st *unix.Stat_t) int64 { return max(st.Btim.Nano(), 0) }

func fsID(fd int) uint64 {
	var st unix.Statvfs_t
	if unix.Fstatvfs(fd, &st) != nil {
		return 0
	}
	return st.Fsid
}

func fsType(fd int) string {
	var st unix.Statvfs_t
	if unix.Fstatvfs(fd, &st) != nil {
		return ""
	}
	return unix.ByteSliceToString(st.Fstypename[:])
}
