package dupes

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extent is blocks of a file, as FIEMAP tells of them (linux/fiemap.h).
type extent struct {
	logical, physical, length uint64 // bytes
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

const (
	fsIocFiemap    = 0xc020660b
	fiemapExtents  = 128 // in one answer
	extentsAtMost  = 1 << 20
	extentLast     = 0x1
	extentUnknown  = 0x2 | 0x4     // its place is not known, or not yet chosen
	extentInside   = 0x100 | 0x200 // it is not at the beginning of a block, or lies beside the file's metadata
	extentsCompare = ^uint32(extentLast | 0x2000 /* shared */ | 0x1000 /* merged */)
)

// shared notes of files of one content which share all their blocks on the disk.
func (f *finder) shared(groups []Group, members [][]int32) {
	c := &comparer{f: f}
	for g := range groups {
		if !f.volume(f.file(members[g][0]).Folder).reflink || f.ctx.Err() != nil || f.file(members[g][0]).Size == 0 {
			continue
		}
		maps := map[uint64][]int32{} // places in the group, by where the first block lies
		kept := map[int32][]extent{}
		for at, k := range members[g] {
			if int(groups[g].Same[at]) != at || f.folders[f.file(k).Folder].Dev != f.folders[f.file(members[g][0]).Folder].Dev {
				continue
			}
			file, err := c.open(k)
			if err != nil {
				continue // as far as is known, it shares with none
			}
			extents := file.extents()
			file.close()
			if len(extents) == 0 {
				continue
			}
			kept[int32(at)] = extents
			first := extents[0].physical
			for _, other := range maps[first] {
				if slices.Equal(extents, kept[other]) {
					groups[g].Same[at] = other
					break
				}
			}
			maps[first] = append(maps[first], int32(at))
		}
		// Other names of such a file share as well.
		for at, same := range groups[g].Same {
			groups[g].Same[at] = groups[g].Same[same]
		}
	}
}

// extents is where the blocks of a file lie; none, if that cannot be told.
func (f file) extents() (all []extent) {
	var q struct {
		start, length                  uint64
		flags, mapped, count, reserved uint32
		extents                        [fiemapExtents]extent
	}
	for {
		q.start, q.length, q.count, q.mapped = 0, ^uint64(0), fiemapExtents, 0
		if len(all) > 0 {
			last := all[len(all)-1]
			q.start = last.logical + last.length
			q.length -= q.start
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.fd), fsIocFiemap, uintptr(unsafe.Pointer(&q))); errno != 0 || q.mapped == 0 || len(all) > extentsAtMost {
			return nil
		}
		for _, e := range q.extents[:q.mapped] {
			if e.flags&(extentUnknown|extentInside) != 0 {
				return nil
			}
			last := e.flags&extentLast != 0
			e.flags &= extentsCompare
			all = append(all, e)
			if last {
				return all
			}
		}
	}
}
