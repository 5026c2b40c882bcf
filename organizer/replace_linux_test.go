package organizer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"forg/journal"
)

// dup is the step that deals with dup as a duplicate of keep: by a Replace with a hard link or a symbolic link, a Trash, a
// Share, or a Rename to the folder "dups".
func (w *workshop) dup(act, dup, keep string) journal.Step {
	w.t.Helper()
	id, err := lstat(w.path(keep))
	w.must(err)
	var s journal.Step
	switch act {
	case "share":
		s = w.step(journal.Share, dup, dup, mustMarshal(newKeeperMeta(w.path(keep), id.Identity)))
	case "folder":
		s = w.step(journal.Rename, dup, "dups/"+filepath.Base(dup), mustMarshal(newKeeperMeta(w.path(keep), id.Identity)))
	default:
		w.unit++
		to := filepath.Join(w.can, fmt.Sprintf("%d %s", w.unit, filepath.Base(dup)))
		if act == "trash" {
			s = w.step(journal.Trash, dup, to, mustMarshal(newKeeperMeta(w.path(keep), id.Identity)))
			break
		}
		s = w.step(journal.Replace, dup, to, replaceMetaOf(act, filepath.Dir(w.path(dup)), newKeeperMeta(w.path(keep), id.Identity)))
	}
	return s
}

// replacing are the ways to deal with a duplicate that take it from its place.
var replacing = []string{replaceHardlink, replaceSymlink, "trash", "folder"}

// exact describes everything of a folder but for times of access: mode, owner, times to the nanosecond, content, extended
// attributes, holes, which names are one file.
func exact(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch {
		case d.Type().IsRegular():
			f, err := openPath(path) // which leaves no trace
			if err != nil {
				return err
			}
			data, err := io.ReadAll(f)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			line += fmt.Sprintf(" %d.%09d %d %x = %s", st.Mtim.Sec, st.Mtim.Nsec, st.Size, sha256.Sum256(data), first[st.Ino])
		case d.Type()&fs.ModeSymlink != 0:
			text, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + text
		}
		buf := make([]byte, 1024)
		if n, err := unix.Llistxattr(path, buf); err == nil {
			for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
				if v, err := unix.Lgetxattr(path, name, buf[512:]); name != "" && err == nil {
					line += fmt.Sprintf(" %s=%q", name, buf[512:512+v])
				}
			}
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// twins makes a file that stays and one that equals it in everything but its metadata.
func (w *workshop) twins() {
	w.t.Helper()
	text := strings.Repeat("the same content\n", 100)
	w.file("keep/k.txt", text)
	w.file("in/d.txt", text)
	w.must(errors.Join(os.MkdirAll(w.path("dups"), 0o755), os.MkdirAll(filepath.Join(filepath.Dir(w.can), "info"), 0o700)))
	w.must(os.Chmod(w.path("in/d.txt"), 0o604))
	w.must(unix.Setxattr(w.path("in/d.txt"), "user.forg.test", []byte("mine"), 0))
	if os.Geteuid() == 0 {
		w.must(os.Chown(w.path("in/d.txt"), 12, 34))
	}
	at := time.Unix(1500000000, 987654321)
	w.must(os.Chtimes(w.path("in/d.txt"), at, at))
}

// times are those of a file, with that of access.
func times(t testing.TB, path string) [2]int64 {
	t.Helper()
	m, err := lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return [2]int64{m.Atime, m.Mtime}
}

func TestReplaceAndBack(t *testing.T) {
	for _, act := range replacing {
		t.Run(act, func(t *testing.T) {
			w := newWorkshop(t)
			w.twins()
			w.must(os.Link(w.path("in/d.txt"), w.path("in/d too.txt"))) // all names of a file go together
			before := exact(t, w.dir)
			keep, dup := times(t, w.path("keep/k.txt")), times(t, w.path("in/d.txt"))
			steps := []journal.Step{w.dup(act, "in/d.txt", "keep/k.txt"), w.dup(act, "in/d too.txt", "keep/k.txt")}
			steps[0].Unit, steps[1].Unit = 7, 7
			w.ok(steps...)
			after := exact(t, w.dir)
			for _, name := range []string{"in/d.txt", "in/d too.txt"} {
				m, err := lstat(w.path(name))
				switch act {
				case replaceHardlink:
					if k, _ := lstat(w.path("keep/k.txt")); err != nil || !m.SameFile(k.Identity) || k.Nlink != 3 {
						t.Errorf("%s: %+v, %v", name, m, err)
					}
				case replaceSymlink:
					if text, _ := os.Readlink(w.path(name)); text != "../keep/k.txt" {
						t.Errorf("%s leads to %q", name, text)
					}
				default:
					if err == nil {
						t.Errorf("%s is still there", name)
					}
				}
			}
			if got := times(t, w.path("keep/k.txt")); got != keep {
				t.Errorf("the times of the file that stays: %v, were %v", got, keep)
			}
			for range 2 {
				w.clean(w.undo())
				sameLines(t, "undo", before, exact(t, w.dir))
				if names := append(namesIn(t, w.can), namesIn(t, filepath.Join(filepath.Dir(w.can), "info"))...); len(names) > 0 {
					t.Errorf("left in the trash: %q", names)
				}
				if got := times(t, w.path("in/d.txt")); got != dup {
					t.Errorf("the times of the duplicate: %v, were %v", got, dup)
				}
				w.clean(w.redo())
				sameLines(t, "redo", after, exact(t, w.dir))
			}
			w.sound()
		})
	}
}

// Whatever was done to one of the files between finding and acting, nothing is done.
func TestDuplicateChanged(t *testing.T) {
	// again writes a file so that size and times tell nothing of it.
	again := func(w *workshop, name, text string) {
		at := times(w.t, w.path(name))
		f, err := os.OpenFile(w.path(name), os.O_WRONLY, 0)
		w.must(err)
		_, err = f.WriteString(text)
		w.must(errors.Join(err, f.Close()))
		w.must(os.Chtimes(w.path(name), time.Unix(0, at[0]), time.Unix(0, at[1])))
	}
	for _, c := range []struct {
		name, text string
		change     func(w *workshop)
	}{
		// fclones #84, and failure 6
		{"the duplicate, with its time restored", errDiffers.Error(), func(w *workshop) { again(w, "in/d.txt", "THE same") }},
		{"the file that stays, with its time restored", errDiffers.Error(), func(w *workshop) { again(w, "keep/k.txt", "THE same") }},
		{"the duplicate, longer", errChanged.Error(), func(w *workshop) { w.file("in/d.txt", "another content") }},
		{"the file that stays, longer", errDiffers.Error(), func(w *workshop) { w.file("keep/k.txt", content(w.t, w.path("in/d.txt"))+"more") }},
		{"the file that stays, at another time", errKeeper.Error(), func(w *workshop) { w.must(os.Chtimes(w.path("keep/k.txt"), time.Now(), time.Now())) }},
		{"the duplicate is gone", errGone.Error(), func(w *workshop) { w.must(os.Remove(w.path("in/d.txt"))) }},
		{"the file that stays is gone", errKeeper.Error(), func(w *workshop) { w.must(os.Remove(w.path("keep/k.txt"))) }},
		{"the folder of the file that stays is a link", errKeeper.Error(), func(w *workshop) {
			w.must(os.Rename(w.path("keep"), w.path("kept")))
			w.must(os.Symlink("kept", w.path("keep")))
		}},
		{"the file that stays is a link", errKeeper.Error(), func(w *workshop) {
			w.must(os.Rename(w.path("keep/k.txt"), w.path("k")))
			w.must(os.Symlink("../k", w.path("keep/k.txt")))
		}},
		{"the duplicate is a link to the file that stays", errChanged.Error(), func(w *workshop) {
			w.must(os.Remove(w.path("in/d.txt")))
			w.must(os.Symlink("../keep/k.txt", w.path("in/d.txt")))
		}},
		{"the file that stays was saved anew", errKeeper.Error(), func(w *workshop) {
			text := content(t, w.path("keep/k.txt"))
			w.must(os.Rename(w.path("keep/k.txt"), w.path("old")))
			w.file("keep/k.txt", text)
		}},
		// failure 36
		{"they are one file", errOneFile.Error(), func(w *workshop) {
			w.must(os.Remove(w.path("in/d.txt")))
			w.must(os.Link(w.path("keep/k.txt"), w.path("in/d.txt")))
		}},
		{"a FIFO", errChanged.Error(), func(w *workshop) {
			w.must(os.Remove(w.path("in/d.txt")))
			w.must(syscall.Mkfifo(w.path("in/d.txt"), 0o644))
		}},
	} {
		for _, act := range append([]string{"share"}, replacing...) {
			t.Run(c.name+"/"+act, func(t *testing.T) {
				w := newWorkshop(t)
				w.twins()
				s := w.dup(act, "in/d.txt", "keep/k.txt")
				c.change(w)
				before := exact(t, w.dir)
				text := c.text
				if act == "share" && c.text == errDiffers.Error() { // it is the kernel that says so, and on tmpfs that it cannot
					text = ""
				}
				w.problem(w.run(s), text)
				sameLines(t, "a refusal", before, exact(t, w.dir))
				w.emptyCan()
			})
		}
	}
}

// emptyCan makes sure that nothing is in the trash, not even a note.
func (w *workshop) emptyCan() {
	w.t.Helper()
	for _, dir := range []string{w.can, filepath.Join(filepath.Dir(w.can), "info")} {
		if _, err := os.Stat(dir); err == nil && len(namesIn(w.t, dir)) > 0 {
			w.t.Errorf("in the trash: %q", namesIn(w.t, dir))
		}
	}
}

// rmlint #672: names of one file, or files of other sizes, that are said to be duplicates.
func TestDuplicateIsNone(t *testing.T) {
	for _, act := range append([]string{"share"}, replacing...) {
		w := newWorkshop(t)
		w.twins()
		w.file("one", "one")
		w.file("two", "another size")
		w.must(os.Link(w.path("two"), w.path("two_l")))
		before := exact(t, w.dir)
		w.problem(w.run(w.dup(act, "two", "one")), errDiffers.Error())
		w.problem(w.run(w.dup(act, "two_l", "one")), errDiffers.Error())
		w.problem(w.run(w.dup(act, "two_l", "two")), errOneFile.Error())
		w.problem(w.run(w.dup(act, "one", "one")), errOneFile.Error())
		sameLines(t, act, before, exact(t, w.dir))
		w.emptyCan()
	}
}

// Whatever a plan says, one copy stays.
func TestDuplicateLastCopy(t *testing.T) {
	for _, act := range replacing {
		w := newWorkshop(t)
		w.twins()
		w.file("third", content(t, w.path("keep/k.txt")))
		steps := []journal.Step{w.dup(act, "in/d.txt", "keep/k.txt"), w.dup(act, "keep/k.txt", "third"), w.dup(act, "third", "in/d.txt")}
		res := w.run(steps...)
		if len(res.Problems) != 1 || res.Moved != 2 {
			t.Errorf("%s: %v", act, res.Problems)
		}
		if m, err := lstat(w.path("third")); err != nil || !isRegular(m.Mode) {
			t.Errorf("%s: %v", act, err)
		}
		w.undo()
		w = newWorkshop(t)
		w.twins()
		w.must(os.Link(w.path("in/d.txt"), w.path("in/d too.txt")))
		w.file("third", content(t, w.path("keep/k.txt")))
		w.problem(w.run(w.dup(act, "in/d.txt", "keep/k.txt"), w.dup(act, "third", "in/d too.txt")), errLast.Error())
	}
}

// What a program has open is left alone: rather a duplicate too many than an edit in the trash.
func TestDuplicateOpen(t *testing.T) {
	if probe := newWorkshop(t); !leases(probe) {
		t.Skip("OPEN FILES NOT TESTED: there are no leases here")
	}
	mapped := func(w *workshop, name string) func() {
		fd, err := unix.Open(w.path(name), unix.O_RDWR, 0)
		w.must(err)
		b, err := unix.Mmap(fd, 0, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		w.must(errors.Join(err, unix.Close(fd)))
		return func() { unix.Munmap(b) }
	}
	open := func(flags int) func(w *workshop, name string) func() {
		return func(w *workshop, name string) func() {
			fd, err := unix.Open(w.path(name), flags, 0)
			w.must(err)
			return func() { unix.Close(fd) }
		}
	}
	for _, c := range []struct {
		what string
		name string
		open func(w *workshop, name string) func()
		busy bool
	}{
		{"written", "in/d.txt", open(unix.O_WRONLY), true},
		{"read", "in/d.txt", open(unix.O_RDONLY), true},
		{"mapped writable and closed", "in/d.txt", mapped, true},
		{"the file that stays is written", "keep/k.txt", open(unix.O_RDWR), true},
		{"the file that stays is mapped writable", "keep/k.txt", mapped, true},
		{"the file that stays is read", "keep/k.txt", open(unix.O_RDONLY), false},
	} {
		for _, act := range replacing {
			t.Run(c.what+"/"+act, func(t *testing.T) {
				w := newWorkshop(t)
				w.twins()
				done := c.open(w, c.name)
				s := w.dup(act, "in/d.txt", "keep/k.txt")
				before := exact(t, w.dir)
				res := w.run(s)
				done()
				if !c.busy {
					w.clean(res)
					return
				}
				w.problem(res, errBusy.Error())
				if res.Skipped != 1 || res.Failed != 0 {
					t.Errorf("%+v", res)
				}
				sameLines(t, "a refusal", before, exact(t, w.dir))
				w.emptyCan()
				w.clean(w.run(w.dup(act, "in/d.txt", "keep/k.txt"))) // closed
			})
		}
	}
}

func leases(w *workshop) bool {
	w.file("a", "a")
	w.file("b", "b")
	dir, err := openFolder(w.dir)
	w.must(err)
	defer dir.close()
	a, err := dir.open("a")
	w.must(err)
	defer a.Close()
	b, err := dir.open("b")
	w.must(err)
	defer b.Close()
	ok, err := lease(a, b)
	w.must(err)
	return ok
}

// Who opens a file that is being compared makes forg give way, and is not killed by it, nor is forg.
func TestDuplicateOpenedMeanwhile(t *testing.T) {
	w := newWorkshop(t)
	if !leases(w) {
		t.Skip("OPEN FILES NOT TESTED: there are no leases here")
	}
	w.twins()
	s := w.dup(replaceHardlink, "in/d.txt", "keep/k.txt")
	r, err := newRunner(context.Background(), w.j, "dupes", w.dir, 1, w.opt)
	w.must(err)
	defer r.cache.close()
	k, err := keeperOf(&s)
	w.must(err)
	for name, flags := range map[string]string{"in/d.txt": "<", "keep/k.txt": ">>"} {
		g, err := r.verify(context.Background(), &s, k, true)
		w.must(err)
		other := exec.Command("sh", "-c", "echo ready; exec 3"+flags+"\"$0\"; echo opened", w.path(name))
		out, err := other.StdoutPipe()
		w.must(errors.Join(err, other.Start()))
		buf := make([]byte, 100)
		_, err = out.Read(buf)
		w.must(err)
		for end := time.Now().Add(10 * time.Second); g.unchanged() == nil && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if err := g.unchanged(); !errors.Is(err, errBusy) {
			t.Errorf("%s: %v", name, err)
		}
		g.release()
		n, err := out.Read(buf)
		if string(buf[:n]) != "opened\n" {
			t.Errorf("%s: %q, %v", name, buf[:n], err)
		}
		w.must(other.Wait())
	}
}

// An undo of a hard link gives two files again, whatever was done to the one that they were.
func TestReplaceUndoEdited(t *testing.T) {
	text := strings.Repeat("the same content\n", 100)
	edit := func(name string) func(w *workshop) {
		return func(w *workshop) { w.file(name, "edited") }
	}
	for _, c := range []struct {
		name      string
		change    func(w *workshop)
		keep, dup string // contents after the undo; "" for none
		note      string
		problem   string
		can       int // files in the trash
	}{
		{"by the duplicate's name", edit("in/d.txt"), "edited", text, "the edit stays in", "", 0},
		{"by the name of the file that stays", edit("keep/k.txt"), "edited", text, "the edit stays in", "", 0},
		{"the file that stays is removed", func(w *workshop) { w.must(os.Remove(w.path("keep/k.txt"))) }, "", text, "", "", 0},
		{"edited, and the file that stays is removed", func(w *workshop) {
			w.file("in/d.txt", "edited")
			w.must(os.Remove(w.path("keep/k.txt")))
		}, "", text, "is in the trash", "", 1},
		{"the link is saved anew", func(w *workshop) {
			w.must(os.Remove(w.path("in/d.txt")))
			w.file("in/d.txt", "saved anew")
		}, text, "saved anew", "", errExists.Error(), 1},
		{"the link is removed", func(w *workshop) { w.must(os.Remove(w.path("in/d.txt"))) }, text, text, "", "", 0},
		{"the trash is emptied", func(w *workshop) { w.must(os.RemoveAll(w.can)) }, text, text, "", errGone.Error(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			w.twins()
			w.ok(w.dup(replaceHardlink, "in/d.txt", "keep/k.txt"))
			c.change(w)
			res := w.undo()
			if c.problem == "" {
				w.clean(res)
			} else {
				w.problem(res, c.problem)
			}
			if got := fmt.Sprint(res.Notes); (c.note == "") != (len(res.Notes) == 0) || !strings.Contains(got, c.note) {
				t.Errorf("notes: %s", got)
			}
			for name, want := range map[string]string{"keep/k.txt": c.keep, "in/d.txt": c.dup} {
				if got, err := os.ReadFile(w.path(name)); string(got) != want || (err != nil) != (want == "") {
					t.Errorf("%s is %.40q, %v", name, got, err)
				}
			}
			if c.problem == "" {
				a, _ := lstat(w.path("in/d.txt"))
				b, err := lstat(w.path("keep/k.txt"))
				if err == nil && a.Ino == b.Ino {
					t.Error("they are still one file")
				}
			}
			os.MkdirAll(w.can, 0o700)
			if got := namesIn(t, w.can); len(got) != c.can {
				t.Errorf("in the trash: %q", got)
			}
		})
	}
}

// rdfind #5, czkawka #1498: a link that cannot be made costs nobody a file.
func TestReplaceRefused(t *testing.T) {
	w := newWorkshop(t)
	other := t.TempDir()
	if a, b := deviceOf(other), deviceOf(w.dir); a == b {
		t.Skip("ANOTHER FILE SYSTEM NOT TESTED: there is none")
	}
	w.twins()
	far := filepath.Join(other, "far.txt")
	w.must(os.WriteFile(far, []byte(content(t, w.path("in/d.txt"))), 0o644))
	m, err := lstat(far)
	w.must(err)
	step := func(with, to string) journal.Step {
		return w.step(journal.Replace, "in/d.txt", to, replaceMetaOf(with, w.path("in"), newKeeperMeta(far, m.Identity)))
	}
	before := exact(t, w.dir)
	w.problem(w.run(step(replaceHardlink, filepath.Join(w.can, "d"))), errNoHardLink.Error())
	w.problem(w.run(step(replaceSymlink, filepath.Join(other, "d"))), errTrashBeyond.Error())
	s := w.dup(replaceHardlink, "in/d.txt", "keep/k.txt")
	s.ToDir, s.To = w.folder(other), "d"
	w.problem(w.run(s), errNoHardLink.Error())
	s = w.dup("trash", "in/d.txt", "keep/k.txt")
	s.ToDir, s.To = w.folder(other), "d"
	w.problem(w.run(s), errCrossDevice.Error())
	sameLines(t, "refusals", before, exact(t, w.dir))
	w.emptyCan()
	if names := namesIn(t, other); !slices.Equal(names, []string{"far.txt"}) {
		t.Errorf("%q", names)
	}
	w.ok(step(replaceSymlink, filepath.Join(w.can, "d"))) // which a symbolic link can
	if got := content(t, w.path("in/d.txt")); got != content(t, far) {
		t.Errorf("%q", got)
	}
}

// sharing is a workshop on a disk that shares blocks, of each kind that can be made here.
func sharing(t *testing.T, test func(t *testing.T, w *workshop)) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) { test(t, openWorkshop(t, loopDisk(t, kind))) })
	}
}

func loopDisk(t *testing.T, kind string) string {
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 512<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs." + kind, "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("REFLINKS NOT TESTED: %v needs root and the tools for %s: %v: %s", argv, kind, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	return at
}

func (w *workshop) shared(a, b string) bool {
	w.t.Helper()
	fa, err := os.Open(w.path(a))
	w.must(err)
	defer fa.Close()
	fb, err := os.Open(w.path(b))
	w.must(err)
	defer fb.Close()
	m, err := statFile(fa)
	w.must(err)
	ok, err := sharesBlocks(fa, fb, m.Size)
	w.must(err)
	return ok
}

func TestShare(t *testing.T) {
	sharing(t, func(t *testing.T, w *workshop) {
		w.twins()
		big := strings.Repeat("0123456789abcde\n", 40<<20/16) + "and an odd end"
		w.file("big", big)
		w.file("big too", big)
		w.file("keep/k.txt", big[:100<<10]) // smaller ones btrfs keeps elsewhere
		w.file("in/d.txt", big[:100<<10])
		w.file("differs", big[:20<<20]+"X"+big[20<<20+1:])
		syscall.Sync()
		before := exact(t, w.dir)
		at := map[string][2]int64{}
		for _, name := range []string{"big", "big too", "keep/k.txt", "in/d.txt"} {
			at[name] = times(t, w.path(name))
		}
		res := w.run(w.dup("share", "in/d.txt", "keep/k.txt"), w.dup("share", "big too", "big"), w.dup("share", "differs", "big"))
		w.problem(res, errDiffers.Error())
		if !strings.Contains(res.Problems[0].Err.Error(), fmt.Sprintf("the first %d of %d bytes are shared", 16<<20, len(big))) || res.Moved != 2 {
			t.Errorf("%+v", res)
		}
		same := func(what string, shared bool) {
			t.Helper()
			sameLines(t, what, before, exact(t, w.dir))
			for name, was := range at {
				if got := times(t, w.path(name)); got != was {
					t.Errorf("%s: times of %s: %v, were %v", what, name, got, was)
				}
			}
			if w.shared("big too", "big") != shared || w.shared("in/d.txt", "keep/k.txt") != shared {
				t.Errorf("%s: shared is not %v", what, shared)
			}
		}
		same("share", true)
		if res := w.run(w.dup("share", "big too", "big")); res.Moved != 0 || len(res.Problems) > 0 {
			t.Errorf("shared again: %+v", res)
		}
		res = w.undo()
		w.clean(res)
		same("undo", len(res.Notes) > 0) // btrfs cannot part them
		res = w.redo()
		w.clean(res)
		same("redo", true)
		w.file("in/d.txt", "edited")
		w.clean(w.undo())
		if got := content(t, w.path("in/d.txt")); got != "edited" {
			t.Errorf("%q", got)
		}
		w.sound()
	})
}

// Where blocks cannot be shared it is said, and nothing is done.
func TestShareRefused(t *testing.T) {
	w := newWorkshop(t)
	w.twins()
	before := exact(t, w.dir)
	w.problem(w.run(w.dup("share", "in/d.txt", "keep/k.txt")), errNoReflink.Error())
	sameLines(t, "a refusal", before, exact(t, w.dir))
}

// A program that is run for a duplicate may open it.
func TestExecDuplicate(t *testing.T) {
	w := newWorkshop(t)
	w.twins()
	ran := 0
	w.opt.Exec = func(_ context.Context, argv, _ []string, _ string) error {
		ran++
		f, err := os.OpenFile(argv[1], os.O_RDWR|unix.O_NONBLOCK, 0)
		return cmp.Or(err, f.Close())
	}
	step := func() journal.Step {
		id, err := lstat(w.path("keep/k.txt"))
		w.must(err)
		k := newKeeperMeta(w.path("keep/k.txt"), id.Identity)
		return w.step(journal.Exec, "in/d.txt", "in/d.txt", execMetaOf([]string{"open", w.path("in/d.txt")}, nil, &k))
	}
	w.ok(step())
	w.file("keep/k.txt", strings.ToUpper(content(t, w.path("in/d.txt"))))
	w.problem(w.run(step()), errDiffers.Error())
	if ran != 1 {
		t.Errorf("it ran %d times", ran)
	}
}
