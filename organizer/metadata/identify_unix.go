//go:build unix

package metadata

import (
	"io/fs"
	"os"
	"syscall"
)

func identify(_ *os.File, info fs.FileInfo) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Ino == 0 {
		return identity{}, false
	}
	return identity{
		dev: uint64(st.Dev), ino: uint64(st.Ino), size: info.Size(), mtime: info.ModTime().UnixNano(), ctime: changed(st),
	}, true
}
