//go:build darwin || freebsd || netbsd || openbsd

package organizer

import (
	"os"

	"golang.org/x/sys/unix"
)

const noAtime = 0 // no call reads without leaving a trace here

// None of these systems lets a program wait until one whole file system is on disk: sync(2) returns before it is.
const syncsVolumes = false

func (f *folder) stat(name string) (meta, error) {
	var st unix.Stat_t
	err := retryErr(func() error { return unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return meta{}, err
	}
	return metaOf(&st), nil
}

func (f *folder) self() (meta, error) { return fstat(f.fd) }

func statFile(f *os.File) (meta, error) { return fstat(int(f.Fd())) }

func fstat(fd int) (meta, error) {
	var st unix.Stat_t
	if err := retryErr(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return meta{}, err
	}
	return metaOf(&st), nil
}

// metaOf reads a stat. Where the file system has birth times, setting a time of modification before it moves it back
// (utimes(2)), so a file whose times somebody else has set that way counts as another one: then undo goes by content.
func metaOf(st *unix.Stat_t) meta {
	m := meta{Atime: st.Atim.Nano(), Ctime: st.Ctim.Nano(), Nlink: uint32(min(uint64(st.Nlink), 1<<32-1)), Dev: uint64(st.Dev), UID: st.Uid, GID: st.Gid, Flags: st.Flags}
	m.Ino, m.Size, m.Mtime, m.Mode, m.Born = st.Ino, st.Size, st.Mtim.Nano(), uint32(st.Mode), born(st)
	return m
}

// copyFlags carries over the flags of chflags(2) that say how a file is shown and backed up. Those that lock it are not:
// a file that is locked cannot be moved away either.
func copyFlags(dst *os.File, m meta) bool {
	if m.Flags&keptFlags == 0 {
		return true
	}
	return unix.Fchflags(int(dst.Fd()), int(m.Flags&keptFlags)) == nil
}

// setTimes sets the times of a file that forg has made: futimens(2) is not to be had through the system's library from
// Go, and futimes(2) knows microseconds only. So it goes by the name, and makes sure that it was this file's.
func setTimes(f *os.File, atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, f.Name(), ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	m, err := statFile(f)
	if err != nil {
		return err
	}
	if d := m.Mtime - mtime; d < -2e9 || d > 2e9 { // FAT counts in two seconds
		return errChanged
	}
	return nil
}
