package watch

import "golang.org/x/sys/unix"

// identity tells a folder from every other that may come to bear its name.
type identity struct {
	dev, ino uint64
	born     unix.StatxTimestamp
	volume   unix.Fsid
	loose    uint32 // type of a file system whose inode numbers do not last, else 0
}

// identify looks at the folder at path, which must not be a link.
func identify(path string) (identity, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil {
		return identity{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return identity{}, unix.ENOTDIR
	}
	id := identity{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.born = st.Btime
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil {
		id.volume = fs.Fsid
		switch t := uint32(fs.Type); t {
		case unix.FUSE_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, 0xff534d42, 0xfe534d42, unix.V9FS_MAGIC, unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC:
			id.loose = t
		}
	}
	return id, nil
}

// same reports whether both are one folder. A disk that was unmounted may come back under another device number, but it
// keeps its id; an inode number may be given to another folder, but not with the same time of birth. Where inode numbers
// change by themselves, after a remount or when the system forgets them, a folder is the same if it has not turned up on
// a file system of another kind, as the place does where a disk was mounted.
func (a identity) same(b identity) bool {
	if a.loose != 0 || b.loose != 0 {
		return a.loose == b.loose && a.born == b.born
	}
	return a.ino == b.ino && a.born == b.born && (a.dev == b.dev || a.volume == b.volume && a.volume != unix.Fsid{})
}
