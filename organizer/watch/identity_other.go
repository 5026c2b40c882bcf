//go:build !linux

package watch

import (
	"os"
	"syscall"
)

// identity tells a folder from every other that may come to bear its name.
type identity struct{ info os.FileInfo }

// identify looks at the folder at path, which must not be a link.
func identify(path string) (identity, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return identity{}, err
	}
	if !info.IsDir() {
		return identity{}, syscall.ENOTDIR
	}
	os.SameFile(info, info) // on Windows it reads the numbers only when asked, by name: later that may be another folder
	return identity{info}, nil
}

// same reports whether both are one folder.
func (a identity) same(b identity) bool { return os.SameFile(a.info, b.info) }
