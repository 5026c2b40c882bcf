package organizer

import "golang.org/x/sys/unix"

const (
	walk      = unix.O_SEARCH
	keptFlags = 0x1 | 0x8000 // UF_NODUMP, UF_HIDDEN
	seekData  = unix.SEEK_DATA
	seekHole  = unix.SEEK_HOLE
)

func born(st *unix.Stat_t) int64 { return max(st.Btim.Nano(), 0) } // -1 where there is none

func fsID(fd int) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1]))
}

func fsType(fd int) string {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return ""
	}
	return unix.ByteSliceToString(st.Fstypename[:])
}
