package organizer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

var otherRenames map[string]func(*folder, string, *folder, string) error

func makeSparse(f *os.File) {
	var n uint32
	windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
}

func TestLongPathsAndOddNames(t *testing.T) {
	dir, path := tempFolder(t)
	for range 30 {
		name := strings.Repeat("long", 10)
		if err := dir.mkdir(name, 0); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(path, name)
		dir = openTest(t, path)
	}
	f, err := dir.create("x.txt")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := renameNoReplace(dir, "x.txt", dir, "y.txt"); err != nil {
		t.Error(err)
	}
	if _, err := lstat(filepath.Join(path, "y.txt")); err != nil {
		t.Error(err)
	}
	if err := renameNoReplace(dir, "y.txt", dir, "y.txt:stream"); !errors.Is(err, errBadName) {
		t.Errorf("rename to a stream: %v", err)
	}
	if _, err := dir.create(`..\z`); !errors.Is(err, errBadName) {
		t.Errorf("create outside: %v", err)
	}
}

func TestHiddenAttribute(t *testing.T) {
	_, path := tempFolder(t)
	p := filepath.Join(path, "h.txt")
	write(t, p, "x")
	u, _ := windows.UTF16PtrFromString(p)
	if err := windows.SetFileAttributes(u, windows.FILE_ATTRIBUTE_HIDDEN); err != nil {
		t.Fatal(err)
	}
	h, err := openScan(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if !h.hidden("h.txt") {
		t.Error("not hidden when asked alone")
	}
	if err := h.read(&worker{}, func([]entry) {
		if !h.hidden("h.txt") {
			t.Error("not hidden when listed")
		}
	}); err != nil {
		t.Error(err)
	}
}

func TestStreamsAreCopied(t *testing.T) {
	dir, path := tempFolder(t)
	p := filepath.Join(path, "x")
	write(t, p, "x")
	if err := os.WriteFile(p+":Zone.Identifier", []byte("[ZoneTransfer]"), 0o644); err != nil {
		t.Skipf("no streams here: %v", err)
	}
	f, err := dir.open("x")
	if err != nil {
		t.Fatal(err)
	}
	n := len(streams(windows.Handle(f.Fd())))
	f.Close()
	if n == 0 {
		t.Skip("streams are not told here")
	}
	copyTest(t, dir, path, "x")
	if got := content(t, p+" copy:Zone.Identifier"); got != "[ZoneTransfer]" {
		t.Errorf("%q", got)
	}
}
