package organizer

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"forg/journal"
)

// shareRange lets dup share up to n bytes at an offset with keep, if they are the same there, and returns how many it does
// (ioctl_fideduperange(2)).
func shareRange(dup, keep *os.File, at, n int64) (int64, error) {
	v := unix.FileDedupeRange{Src_offset: uint64(at), Src_length: uint64(n), Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(dup.Fd()), Dest_offset: uint64(at)}}}
	if err := retryErr(func() error { return unix.IoctlFileDedupeRange(int(keep.Fd()), &v) }); err != nil {
		return 0, noReflink(err)
	}
	switch info := v.Info[0]; {
	case info.Status == unix.FILE_DEDUPE_RANGE_SAME:
		return int64(info.Bytes_deduped), nil
	case info.Status < 0:
		return 0, noReflink(unix.Errno(-info.Status))
	default:
		return 0, errDiffers
	}
}

// extent is struct fiemap_extent of linux/fiemap.h.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

const (
	fiemap        = 0xc020660b // FS_IOC_FIEMAP
	fiemapSync    = 1
	extentLast    = 0x1
	extentUnknown = 0x2 | 0x4     // no place on the disk yet
	extentInline  = 0x200 | 0x400 // beside other data, where nothing can be shared
	extents       = 64            // of one call
)

// extentsOf calls each for every extent of a file, until it reports false.
func extentsOf(f *os.File, size int64, each func(extent) bool) error {
	for at := uint64(0); at < uint64(size); {
		var m struct {
			start, length                  uint64
			flags, mapped, count, reserved uint32
			extents                        [extents]extent
		}
		m.start, m.length, m.flags, m.count = at, uint64(size)-at, fiemapSync, extents
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
			return errno
		}
		if m.mapped == 0 {
			return nil
		}
		for _, e := range m.extents[:m.mapped] {
			if !each(e) || e.flags&extentLast != 0 {
				return nil
			}
			at = e.logical + e.length
		}
	}
	return nil
}

// sharesBlocks reports whether two files of a size have all of their content at the same places of the disk, or are so small
// that they have no blocks which they could share.
func sharesBlocks(a, b *os.File, size int64) (bool, error) {
	// Extents may be cut otherwise in one than in the other, so neighbours are joined.
	inline := false
	list := func(f *os.File) (all []extent, known bool, err error) {
		known = true
		err = extentsOf(f, size, func(e extent) bool {
			known = known && e.flags&extentUnknown == 0
			inline = inline || e.flags&extentInline != 0
			if n := len(all); n > 0 && all[n-1].logical+all[n-1].length == e.logical && all[n-1].physical+all[n-1].length == e.physical {
				all[n-1].length += e.length
			} else {
				all = append(all, e)
			}
			return known
		})
		return all, known, err
	}
	x, knownA, err := list(a)
	if err != nil || !knownA || len(x) == 0 {
		return false, err
	}
	y, knownB, err := list(b)
	if inline && err == nil {
		return true, nil
	}
	if err != nil || !knownB || len(x) != len(y) {
		return false, err
	}
	for i := range x {
		if x[i].logical != y[i].logical || x[i].physical != y[i].physical || x[i].length != y[i].length {
			return false, nil
		}
	}
	return true, nil
}

// ownBlocks gives a file blocks of its own and its times back; nothing if it is not the file, or was edited since.
func ownBlocks(dir *folder, name string, id journal.Identity) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir.fd, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err == unix.EACCES || err == unix.EPERM || err == unix.EROFS {
		return fmt.Errorf("%w: %w", errNoUnshare, err)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	was, err := statFile(f)
	if err != nil {
		return err
	}
	if !was.SameFile(id) || was.Size != id.Size || was.Mtime != id.Mtime || was.Size == 0 {
		return nil
	}
	err = retryErr(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_UNSHARE_RANGE, 0, was.Size) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL {
		return errNoUnshare
	}
	if e := setTimes(f, was.Atime, was.Mtime); err == nil && e != nil {
		err = fmt.Errorf("give it back its times: %w", e)
	}
	return err
}
