package organizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"forg/journal"
	"forg/rules"
)

// These tests hold on every system: they are what the rest of the package relies on.

func tempFolder(t *testing.T) (*folder, string) {
	t.Helper()
	temp, err := os.MkdirTemp("", "forg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) }) // whether that works is not what is tested
	path, err := ResolveDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	return openTest(t, path), path
}

func openTest(t *testing.T, path string) *folder {
	t.Helper()
	f, err := openFolder(path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(f.close)
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// symlink reports whether there are symbolic links here, and people may make them.
func symlink(target, path string) bool {
	if os.Symlink(target, path) != nil {
		return false
	}
	_, err := os.Lstat(path)
	return err == nil
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// renames are all the ways there are to rename on this system.
func renames() map[string]func(from *folder, name string, to *folder, newName string) error {
	all := map[string]func(*folder, string, *folder, string) error{"": renameNoReplace}
	for name, f := range otherRenames {
		all[name] = f
	}
	return all
}

func TestRenameNoReplace(t *testing.T) {
	for way, rename := range renames() {
		t.Run(way, func(t *testing.T) {
			dir, path := tempFolder(t)
			sub := openTest(t, mkdir(t, filepath.Join(path, "sub")))
			write(t, filepath.Join(path, "a"), "a")
			write(t, filepath.Join(path, "sub", "taken"), "b")
			mkdir(t, filepath.Join(path, "sub", "folder"))
			mkdir(t, filepath.Join(path, "sub", "full"))
			write(t, filepath.Join(path, "sub", "full", "x"), "x")
			mkdir(t, filepath.Join(path, "d"))
			write(t, filepath.Join(path, "d", "in"), "in")
			taken := []string{"taken", "folder", "full"}
			if symlink("nowhere", filepath.Join(path, "sub", "dangling")) {
				taken = append(taken, "dangling")
			} else {
				t.Log("no symbolic links here")
			}
			for _, name := range taken {
				for _, what := range []string{"a", "d"} {
					before, err := sub.stat(name)
					if err != nil {
						t.Fatal(err)
					}
					if err := rename(dir, what, sub, name); !errors.Is(err, errExists) {
						t.Errorf("rename %s onto %s: %v, want errExists", what, name, err)
					}
					if after, err := sub.stat(name); err != nil || !after.SameFile(before.Identity) {
						t.Errorf("%s is another after the refusal: %v", name, err)
					}
					if _, err := dir.stat(what); err != nil {
						t.Errorf("%s is gone after the refusal: %v", what, err)
					}
				}
			}
			if content(t, filepath.Join(path, "sub", "taken")) != "b" || content(t, filepath.Join(path, "sub", "full", "x")) != "x" {
				t.Error("content changed")
			}
			for _, what := range []string{"a", "d"} {
				before, err := dir.stat(what)
				if err != nil {
					t.Fatal(err)
				}
				if err := rename(dir, what, sub, what+" new"); err != nil {
					t.Fatalf("rename %s: %v", what, err)
				}
				after, err := sub.stat(what + " new")
				if err != nil || !after.SameFile(before.Identity) || after.Size != before.Size || after.Mtime != before.Mtime {
					t.Errorf("%s: %+v became %+v, %v", what, before, after, err)
				}
				if _, err := dir.stat(what); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s has its old name still: %v", what, err)
				}
			}
			if content(t, filepath.Join(path, "sub", "a new")) != "a" || content(t, filepath.Join(path, "sub", "d new", "in")) != "in" {
				t.Error("content changed")
			}
			if err := rename(dir, "missing", sub, "m"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("rename what is not there: %v", err)
			}
			if _, err := sub.stat("m"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("renaming what is not there has left something: %v", err)
			}
		})
	}
}

// A name that comes free and is taken at once must not hand its birth time on.
func TestRenameSwapsIdentities(t *testing.T) {
	dir, path := tempFolder(t)
	write(t, filepath.Join(path, "a"), "a")
	time.Sleep(20 * time.Millisecond)
	write(t, filepath.Join(path, "b"), "b")
	a, _ := dir.stat("a")
	b, _ := dir.stat("b")
	for _, m := range [][2]string{{"a", "t"}, {"b", "a"}, {"t", "b"}} {
		if err := renameNoReplace(dir, m[0], dir, m[1]); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := dir.stat("a"); !m.SameFile(b.Identity) {
		t.Errorf("a is %+v, want %+v", m, b)
	}
	if m, _ := dir.stat("b"); !m.SameFile(a.Identity) {
		t.Errorf("b is %+v, want %+v", m, a)
	}
}

func TestOpenFolderRefusesLinks(t *testing.T) {
	_, path := tempFolder(t)
	mkdir(t, filepath.Join(path, "real"))
	mkdir(t, filepath.Join(path, "real", "in"))
	write(t, filepath.Join(path, "file"), "x")
	if _, err := openFolder(filepath.Join(path, "nothing", "here")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	if f, err := openFolder(filepath.Join(path, "file")); err == nil {
		f.close()
		t.Error("a file was opened as a folder")
	}
	if !symlink(filepath.Join(path, "real"), filepath.Join(path, "link")) {
		t.Skip("no symbolic links here")
	}
	for _, p := range []string{"link", filepath.Join("link", "in")} {
		f, err := openFolder(filepath.Join(path, p))
		if err == nil {
			f.close()
		}
		if err == nil || p != "link" && !errors.Is(err, errLinkInPath) {
			t.Errorf("open %s: %v, want errLinkInPath", p, err)
		}
	}
	if got, err := ResolveDir(filepath.Join(path, "link", "in")); err != nil || got != filepath.Join(path, "real", "in") {
		t.Errorf("ResolveDir through a link: %s, %v", got, err)
	}
	if _, err := openPath(filepath.Join(path, "link")); err == nil {
		t.Error("a link was opened as a file")
	}
}

func TestNames(t *testing.T) {
	dir, path := tempFolder(t)
	if err := dir.mkdir("d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := dir.mkdir("d", 0o755); !errors.Is(err, errExists) {
		t.Errorf("mkdir again: %v", err)
	}
	write(t, filepath.Join(path, "d", "x"), "x")
	if err := dir.rmdir("d"); !isNotEmpty(err) {
		t.Errorf("rmdir of a folder with a file in it: %v", err)
	}
	if err := dir.unlink("d"); err == nil {
		t.Error("unlink removed a folder")
	}
	if content(t, filepath.Join(path, "d", "x")) != "x" {
		t.Error("the file in it has changed")
	}
	d := openTest(t, filepath.Join(path, "d"))
	if err := d.unlink("x"); err != nil {
		t.Errorf("unlink: %v", err)
	}
	if err := d.unlink("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unlink again: %v", err)
	}
	d.close()
	if err := dir.rmdir("d"); err != nil {
		t.Errorf("rmdir: %v", err)
	}
	if _, err := lstat(filepath.Join(path, "d", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("look into a folder that is gone: %v", err)
	}

	// What is read-only can be removed: a copy of it is complete and its original goes.
	write(t, filepath.Join(path, "ro"), "x")
	if err := os.Chmod(filepath.Join(path, "ro"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := dir.unlink("ro"); err != nil {
		t.Errorf("unlink a read-only file: %v", err)
	}
}

func TestLink(t *testing.T) {
	dir, path := tempFolder(t)
	write(t, filepath.Join(path, "a"), "a")
	write(t, filepath.Join(path, "b"), "b")
	if err := link(dir, "a", dir, "c"); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	a, _ := dir.stat("a")
	if c, err := dir.stat("c"); err != nil || !c.SameFile(a.Identity) || c.Nlink != 2 {
		t.Errorf("the link is %+v, %v; want %+v", c, err, a)
	}
	if err := link(dir, "a", dir, "b"); !errors.Is(err, errExists) || content(t, filepath.Join(path, "b")) != "b" {
		t.Errorf("link onto a taken name: %v", err)
	}
}

func TestCreateIsExclusive(t *testing.T) {
	dir, path := tempFolder(t)
	write(t, filepath.Join(path, "a"), "a")
	names := []string{"a"}
	if symlink("target", filepath.Join(path, "l")) {
		names = append(names, "l")
	}
	for _, name := range names {
		if f, err := dir.create(name); !errors.Is(err, errExists) {
			if err == nil {
				f.Close()
			}
			t.Errorf("create %s: %v, want errExists", name, err)
		}
	}
	if _, err := dir.stat("target"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("created through a link: %v", err)
	}
	f, err := dir.create("n")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := statFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if by, err := dir.stat("n"); err != nil || !by.SameFile(m.Identity) || m.Ino == 0 {
		t.Errorf("by name %+v, %v; by file %+v", by, err, m)
	}
}

// copyTest copies a file as a step would and returns the copy's path.
func copyTest(t *testing.T, dir *folder, path, name string) (was, made meta) {
	t.Helper()
	src, err := dir.open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if was, err = statFile(src); err != nil {
		t.Fatal(err)
	}
	dst, err := dir.create(name + " copy")
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if _, err := copyContent(t.Context(), dst, src, was.Size); err != nil {
		t.Fatal(err)
	}
	if lost, err := copyAttributes(dst, src, was); err != nil || len(lost) > 0 {
		t.Logf("lost: %v", lost)
	}
	if err := syncContent(dst); err != nil {
		t.Error(err)
	}
	if made, err = statFile(dst); err != nil {
		t.Fatal(err)
	}
	return was, made
}

func TestCopy(t *testing.T) {
	dir, path := tempFolder(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	for name, data := range map[string][]byte{"empty": nil, "small": []byte("x"), "big": big} {
		p := filepath.Join(path, name)
		if err := os.WriteFile(p, data, 0o640); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2019, 3, 4, 5, 6, 7, 123456700, time.UTC)
		if err := os.Chtimes(p, at.Add(time.Hour), at); err != nil {
			t.Fatal(err)
		}
		was, made := copyTest(t, dir, path, name)
		if got := content(t, p+" copy"); got != string(data) {
			t.Errorf("%s: the copy differs", name)
		}
		if made.Mtime != was.Mtime || made.Mode != was.Mode || made.UID != was.UID || made.GID != was.GID {
			t.Errorf("%s: %+v, copied %+v", name, was, made)
		}
		if after, err := dir.stat(name + " copy"); err != nil || after.Mtime != was.Mtime || !after.SameFile(made.Identity) {
			t.Errorf("%s: once closed, the copy is %+v, %v; was %+v", name, after, err, made)
		}
	}
}

func TestCopyKeepsReadOnly(t *testing.T) {
	dir, path := tempFolder(t)
	p := filepath.Join(path, "ro")
	write(t, p, "x")
	if err := os.Chmod(p, 0o444); err != nil {
		t.Fatal(err)
	}
	if was, made := copyTest(t, dir, path, "ro"); was.Mode != made.Mode {
		t.Errorf("mode %o became %o", was.Mode, made.Mode)
	}
	if err := renameNoReplace(dir, "ro copy", dir, "ro new"); err != nil {
		t.Errorf("rename a read-only copy: %v", err)
	}
	if err := errors.Join(dir.unlink("ro"), dir.unlink("ro new")); err != nil {
		t.Error(err)
	}
}

func TestCopyHoles(t *testing.T) {
	dir, path := tempFolder(t)
	p := filepath.Join(path, "holes")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	makeSparse(f)
	const size = 20 << 20
	if _, err := f.WriteAt([]byte("middle"), 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	was, made := copyTest(t, dir, path, "holes")
	if was.Size != size || made.Size != size {
		t.Fatalf("%d bytes became %d", was.Size, made.Size)
	}
	if same, err := sameBytes(p, p+" copy"); err != nil || !same {
		t.Errorf("the copy differs: %v", err)
	}
	data := func(p string) (n int64) {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := dataRanges(f, size, func(from, to int64) error { n += to - from; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if data(p) == size {
		t.Skip("holes are not told here")
	}
	if a, b := data(p), data(p+" copy"); a != b {
		t.Errorf("%d bytes of data became %d", a, b)
	}
}

func TestTouch(t *testing.T) {
	_, path := tempFolder(t)
	d := openTest(t, mkdir(t, filepath.Join(path, "d")))
	at := time.Date(2021, 2, 3, 4, 5, 6, 0, time.UTC).UnixNano()
	if err := d.touch(at+2e9, at); err != nil {
		t.Fatal(err)
	}
	if m, err := d.self(); err != nil || m.Mtime != at || !isDir(m.Mode) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := errors.Join(d.sync(), d.syncAll()); err != nil {
		t.Error(err)
	}
	a, err := d.self()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := lstat(filepath.Join(path, "d")); err != nil || a.Ino != b.Ino || a.Dev != b.Dev {
		t.Errorf("by handle %+v, by name %+v, %v", a, b, err)
	}
}

func TestFoldsNames(t *testing.T) {
	dir, path := tempFolder(t)
	write(t, filepath.Join(path, "Case"), "x")
	_, err := dir.stat("cASE")
	fold := foldsNames(path)
	folds := fold != nil && fold("Case") == fold("cASE")
	if one := err == nil; one && !folds {
		t.Error("names that differ in case are one here, and foldsNames does not know it")
	} else if folds && !one {
		t.Log("foldsNames is more careful than this disk needs")
	}
}

func TestListNames(t *testing.T) {
	_, path := tempFolder(t)
	want := []string{".dot", "a", "sub", "ä"}
	for _, name := range []string{".dot", "a", "ä"} {
		write(t, filepath.Join(path, name), name)
	}
	mkdir(t, filepath.Join(path, "sub"))
	got, err := listNames(path)
	slices.Sort(got)
	for i := range got {
		got[i] = composed(got[i])
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	h, err := openScan(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if !h.hidden(".dot") || h.hidden("a") {
		t.Error("hidden")
	}
	buf := make([]byte, 10)
	if n, err := h.head([]byte("a\x00"), buf); err != nil || string(buf[:n]) != "a" {
		t.Errorf("head: %q, %v", buf[:n], err)
	}
	var f File
	if kind, err := h.stat([]byte("sub\x00"), &f, nil); err != nil || kind != fs.ModeDir || f.Ino == 0 {
		t.Errorf("stat: %v, %v", kind, err)
	}
	if _, err := h.stat([]byte("none\x00"), &f, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of nothing: %v", err)
	}
}

// Organize and undo on the real disk: everything is back, byte for byte and with its times.
func TestOrganizeAndBack(t *testing.T) {
	for _, action := range []string{"move", "copy"} {
		t.Run(action, func(t *testing.T) {
			_, path := tempFolder(t)
			_, state := tempFolder(t)
			j, err := journal.Open(t.Context(), filepath.Join(state, "state", "journal.db"), journal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
			for _, name := range []string{"a.pdf", "b.jpg", "c.mp3", "d.txt"} {
				write(t, filepath.Join(path, name), "content of "+name)
				if err := os.Chtimes(filepath.Join(path, name), at, at); err != nil {
					t.Fatal(err)
				}
			}
			before := snapshot(t, path)
			set := rules.Builtin()
			tree, err := Scan(t.Context(), path, set, ScanOptions{Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := MakePlan(t.Context(), tree, set, Options{By: []Key{ByCategory}, Conflict: ConflictRename, Copy: action == "copy", Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			res, err := Apply(t.Context(), j, plan, RunOptions{Verify: true})
			if err != nil || res.Moved != 4 || len(res.Problems) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if action == "move" {
				if _, err := lstat(filepath.Join(path, "a.pdf")); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a.pdf: %v", err)
				}
			}
			o, err := j.Operation(context.Background(), "last")
			if err != nil {
				t.Fatal(err)
			}
			res, err = Undo(t.Context(), j, o, UndoOptions{})
			if err != nil || len(res.Problems) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if after := snapshot(t, path); !slices.Equal(before, after) {
				t.Errorf("before %q\nafter %q", before, after)
			}
		})
	}
}

func snapshot(t *testing.T, path string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		line := rel + " " + info.Mode().String()
		if d.Type().IsRegular() {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			line += " " + info.ModTime().String() + " " + string(b)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTrash(t *testing.T) {
	_, path := tempFolder(t)
	name := "files"
	if runtime.GOOS == "windows" {
		name = "$Recycle.Bin"
	}
	can := mkdir(t, filepath.Join(path, name))
	if runtime.GOOS == "windows" {
		can = mkdir(t, filepath.Join(can, "S-1-5-21-1"))
	}
	write(t, filepath.Join(path, "a b.txt"), "rubbish")
	from, to := openTest(t, path), openTest(t, can)
	m, err := from.stat("a b.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := journal.Step{Action: journal.Trash, FromDir: &journal.Folder{Path: path}, From: "a b.txt", ToDir: &journal.Folder{Path: can},
		To: trashName(filepath.Join(path, "a b.txt")), File: m.Identity}
	if err := trash(time.Now(), &s, from, to); err != nil {
		t.Fatal(err)
	}
	if content(t, s.ToPath()) != "rubbish" {
		t.Error("not in the trash")
	}
	info, err := openInfo(s.ToDir)
	if err != nil {
		t.Fatal(err)
	}
	if info != nil {
		defer info.close()
		f, err := info.open(noteName(s.To))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil || len(b) < 28 {
			t.Errorf("the note is %q, %v", b, err)
		}
	}
	back := journal.Step{Action: journal.Untrash, FromDir: s.ToDir, From: s.To, ToDir: s.FromDir, To: s.From}
	if err := errors.Join(renameNoReplace(to, back.From, from, back.To), removeNote(back.FromDir, back.From)); err != nil {
		t.Fatal(err)
	}
	if content(t, s.FromPath()) != "rubbish" {
		t.Error("not back")
	}
	if info != nil {
		if _, err := info.stat(noteName(s.To)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the note is there still: %v", err)
		}
	}
}

// A run may touch more folders than it keeps open: none may be used after it was closed.
func TestManyFolders(t *testing.T) {
	for _, action := range []string{"move", "copy"} {
		t.Run(action, func(t *testing.T) {
			_, path := tempFolder(t)
			_, into := tempFolder(t)
			_, state := tempFolder(t)
			j, err := journal.Open(t.Context(), filepath.Join(state, "state", "journal.db"), journal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			const n = 600
			for i := range n {
				mkdir(t, filepath.Join(path, fmt.Sprintf("folder%03d", i)))
				write(t, filepath.Join(path, fmt.Sprintf("folder%03d", i), fmt.Sprintf("%03d.txt", i)), fmt.Sprint(i))
			}
			before := snapshot(t, path)
			set := rules.Builtin()
			tree, err := Scan(t.Context(), path, set, ScanOptions{Now: time.Now(), Recursive: true, Into: into})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := MakePlan(t.Context(), tree, set, Options{By: []Key{ByCategory}, Conflict: ConflictRename, Copy: action == "copy", Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			for i := range plan.Moves {
				if action == "move" && i%2 == 0 { // as between file systems
					plan.Moves[i].Action = journal.Move
				}
			}
			res, err := Apply(t.Context(), j, plan, RunOptions{})
			if err != nil || res.Moved != n || len(res.Problems) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if files := len(snapshot(t, into)); files != n+2 {
				t.Errorf("%d names in the destination", files)
			}
			o, err := j.Operation(t.Context(), "last")
			if err != nil {
				t.Fatal(err)
			}
			if res, err = Undo(t.Context(), j, o, UndoOptions{}); err != nil || len(res.Problems) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if after := snapshot(t, path); !slices.Equal(before, after) {
				t.Errorf("before %q\nafter %q", before, after)
			}
		})
	}
}

func TestFolderCache(t *testing.T) {
	_, path := tempFolder(t)
	c := newFolderCache()
	defer c.close()
	first, err := c.get(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * c.limit {
		if _, err := c.get(mkdir(t, filepath.Join(path, fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
		again, err := c.get(path) // asked for all the time, so it stays open
		if err != nil || again != first {
			t.Fatalf("after %d folders: %v, opened again: %v", i, err, again != first)
		}
		if len(c.open) > c.limit {
			t.Fatalf("%d folders are open", len(c.open))
		}
	}
}
