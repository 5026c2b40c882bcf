package organizer

import "golang.org/x/sys/unix"

const (
	walk      = 0   // no O_SEARCH: folders on the way must be readable
	keptFlags = 0x1 // UF_NODUMP
	seekData  = 0   // holes are not told
	seekHole  = 0
)

func born(*unix.Stat_t) int64 { return 0 } // not told

func fsID(fd int) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return uint64(uint32(st.F_fsid.Val[0]))<<32 | uint64(uint32(st.F_fsid.Val[1]))
}

func fsType(fd int) string {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return ""
	}
	return unix.ByteSliceToString(st.F_fstypename[:])
}
