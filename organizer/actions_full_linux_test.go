package organizer

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"forg/journal"
)

// On a disk that is full a step fails whole: nothing half made stays, and the version before comes back.
func TestActionsFullDisk(t *testing.T) {
	w := newWorkshop(t)
	small := w.path("small")
	w.must(os.Mkdir(small, 0o755))
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("FULL DISK NOT TESTED: a file system of its own takes root:", err)
	}
	t.Cleanup(func() { syscall.Unmount(small, syscall.MNT_DETACH) })
	w.can = filepath.Join(small, "can", "files")
	w.opt.Trash = func(*Dir) (TrashDir, error) {
		return TrashDir{Files: w.can, Info: filepath.Join(small, "can", "info")}, nil
	}
	w.must(os.MkdirAll(w.can, 0o700))
	w.must(os.MkdirAll(filepath.Join(small, "can", "info"), 0o700))
	w.file("a.tar", tarOf(t, tarFile("in/x", "x"), tarFile("big", strings.Repeat("x", 1<<20))))
	w.file("small/log.txt", "old;")
	before := w.there()
	w.problem(w.run(w.step(journal.Extract, "a.tar", "small/a", nil)), "no space left")
	sameLines(t, "a full disk", before, w.there())
	if res := w.run(w.rewrite("small/log.txt", writeAppend, strings.Repeat("x", 1<<20))...); len(res.Problems) != 2 || res.Moved != 0 {
		t.Errorf("%+v", res)
	}
	sameLines(t, "a full disk", before, w.there())
	w.ok(w.rewrite("small/log.txt", writeAppend, "new;")...) // which there is room for
}
