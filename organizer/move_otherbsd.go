//go:build freebsd || netbsd || openbsd

package organizer

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const hiddenFlag = 0

func openFolder(path string) (*folder, error) {
	fd, err := retry(func() (int, error) { return openEach(path) })
	if err != nil {
		return nil, err
	}
	return &folder{fd, path}, nil
}

// renameNoReplace goes in steps: these systems have no rename that refuses to replace.
func renameNoReplace(from *folder, name string, to *folder, newName string) error {
	return renameInSteps(from, name, to, newName)
}

func (f *folder) sync() error { return retryErr(func() error { return unix.Fsync(f.fd) }) }

func (f *folder) syncAll() error { return f.sync() }

func syncContent(f *os.File) error { return retryErr(func() error { return unix.Fsync(int(f.Fd())) }) }

// foldsNames returns what names of the folder at path have in common that are one name there although they differ in
// case, nil if every byte counts. ZFS can be made to fold names and does not tell; there, as everywhere, the rename
// itself is refused when the name is taken.
func foldsNames(path string) func(string) string {
	f, err := openFolder(path)
	if err != nil {
		return nil
	}
	defer f.close()
	t := fsType(f.fd)
	for _, folding := range []string{"msdos", "exfat", "ntfs", "smb", "fusefs"} {
		if strings.HasPrefix(t, folding) {
			return foldCase
		}
	}
	return nil
}

// reflink does nothing: these systems share blocks only through copy_file_range(2), which does not say whether it did.
func exchange(*folder, string, *folder, string) error { return errNoExchange }

func reflink(dst, src *os.File) bool { return false }

// clone is refused: see reflink.
func clone(*os.File, *folder, string) (*os.File, error) { return nil, errNoReflink }

// dropCache does nothing: nothing here makes the next read come from the disk. What is read back is what the kernel has.
func dropCache(*os.File) {}
