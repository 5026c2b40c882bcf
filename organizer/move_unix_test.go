//go:build linux || darwin || freebsd || netbsd || openbsd

package organizer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// otherRenames are the ways that renameNoReplace falls back to on other file systems than this one.
var otherRenames = map[string]func(*folder, string, *folder, string) error{
	"in steps": renameInSteps,
	"onto own": func(from *folder, name string, to *folder, newName string) error {
		m, err := from.stat(name)
		if err != nil {
			return err
		}
		return renameOntoOwn(from, name, to, newName, isDir(m.Mode))
	},
}

func makeSparse(*os.File) {}

// openEach is what openFolder falls back to, and on some systems all there is.
func TestOpenEach(t *testing.T) {
	_, path := tempFolder(t)
	mkdir(t, filepath.Join(path, "d"))
	if err := os.Symlink("d", filepath.Join(path, "l")); err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Join(path, "d", "e"))
	write(t, filepath.Join(path, "f"), "")
	for _, c := range []struct {
		path string
		err  error
	}{{"d", nil}, {"d/e", nil}, {"l", errLinkInPath}, {"l/e", errLinkInPath}, {"f", unix.ENOTDIR}, {"f/x", unix.ENOTDIR}, {"n/x", unix.ENOENT}} {
		fd, err := openEach(filepath.Join(path, c.path))
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.path, err, c.err)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
	fd, err := openEach("/")
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestCopyKeepsXattrs(t *testing.T) {
	dir, path := tempFolder(t)
	p := filepath.Join(path, "x")
	write(t, p, "x")
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := setXattr(int(f.Fd()), "user.forg.test", []byte("value\x00more")); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	if err := setXattr(int(f.Fd()), "user.forg.empty", nil); err != nil {
		t.Fatal(err)
	}
	copyTest(t, dir, path, "x")
	c, err := os.Open(p + " copy")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := xattr(int(c.Fd()), "user.forg.test"); err != nil || string(v) != "value\x00more" {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := xattr(int(c.Fd()), "user.forg.empty"); err != nil || len(v) != 0 {
		t.Errorf("%q, %v", v, err)
	}
}
