package metadata

import (
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

func identify(f *os.File, info fs.FileInfo) (identity, bool) {
	var id windows.ByHandleFileInformation
	h := windows.Handle(f.Fd())
	if windows.GetFileInformationByHandle(h, &id) != nil {
		return identity{}, false
	}
	// FILE_BASIC_INFO; only it has the time of the last change of anything.
	var times struct {
		created, accessed, written, changed int64 // 100 ns since 1601
		attributes                          uint32
		_                                   uint32
	}
	err := windows.GetFileInformationByHandleEx(h, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&times)), uint32(unsafe.Sizeof(times)))
	if err != nil || times.changed == 0 {
		return identity{}, false
	}
	since1970 := windows.Filetime{LowDateTime: uint32(times.changed), HighDateTime: uint32(times.changed >> 32)}
	return identity{
		dev: uint64(id.VolumeSerialNumber), ino: uint64(id.FileIndexHigh)<<32 | uint64(id.FileIndexLow), size: info.Size(),
		mtime: info.ModTime().UnixNano(), ctime: since1970.Nanoseconds(),
	}, true
}
