//go:build unix

package dupes

import (
	"golang.org/x/sys/unix"
)

type status struct {
	dev uint64
	id  identity
}

func statOf(t interface{ Fatal(...any) }, path string) status {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return status{uint64(st.Dev), identity{uint64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()}}
}
