package organizer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"forg/journal"
	"forg/rules"
)

// organizeTest organizes root by category and returns what was left alone because a person had moved it.
func organizeTest(t *testing.T, j *journal.Journal, root string, p *Placed) int64 {
	t.Helper()
	set := rules.Builtin()
	tree, err := Scan(t.Context(), root, set, ScanOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{By: []Key{ByCategory}, Conflict: ConflictRename, Now: time.Now()}
	if p != nil {
		if err := p.Update(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		opt.ByHand = p.MovedByHand
	}
	plan, err := MakePlan(t.Context(), tree, set, opt)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Apply(t.Context(), j, plan, RunOptions{Conflict: ConflictRename})
	if err != nil || len(res.Problems) > 0 {
		t.Fatal(err, res.Problems)
	}
	return plan.Left[LeftByHand]
}

func TestMovedByHand(t *testing.T) {
	_, root := tempFolder(t)
	_, state := tempFolder(t)
	_, elsewhere := tempFolder(t)
	j, err := journal.Open(t.Context(), filepath.Join(state, "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	at := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(path string) {
		t.Helper()
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	p := NewPlaced([]string{root})
	write(t, at("a.txt"), "a")
	write(t, at("b.txt"), "b")
	if n := organizeTest(t, j, root, p); n != 0 {
		t.Errorf("%d new files were left alone", n)
	}
	exists(at("Documents", "a.txt"))

	move(at("Documents", "a.txt"), at("mine.txt")) // back, under another name
	write(t, at("b.txt"), "another b")             // new, not the one that forg has placed
	if n := organizeTest(t, j, root, p); n != 1 {
		t.Errorf("%d files moved by hand were left alone, want 1", n)
	}
	exists(at("mine.txt"))
	exists(at("Documents", "b (2).txt"))

	write(t, at("mine.txt"), "a, edited") // in place
	if n := organizeTest(t, j, root, NewPlaced([]string{root})); n != 1 {
		t.Errorf("%d were left alone after a restart, want 1", n)
	}
	if n := organizeTest(t, j, root, NewPlaced([]string{elsewhere})); n != 0 {
		t.Errorf("%d were left alone for what was done elsewhere, want 0", n)
	}
	exists(at("Documents", "mine.txt"))
	if n := organizeTest(t, j, root, p); n != 0 {
		t.Errorf("%d of nothing were left alone", n)
	}
	move(at("Documents", "mine.txt"), at("mine.txt")) // from where another run has put it
	if n := organizeTest(t, j, root, p); n != 1 {
		t.Errorf("%d files were left alone after another run, want 1", n)
	}
	exists(at("mine.txt"))
}

// What an undo has put back is where forg has placed it last; only if it was moved since is it moved by hand.
func TestMovedByHandAfterUndo(t *testing.T) {
	_, root := tempFolder(t)
	_, state := tempFolder(t)
	j, err := journal.Open(t.Context(), filepath.Join(state, "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	p := NewPlaced([]string{root})
	write(t, filepath.Join(root, "a.txt"), "a")
	organizeTest(t, j, root, p)
	o, err := j.LastNotUndone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Undo(t.Context(), j, o, UndoOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := organizeTest(t, j, root, p); n != 0 {
		t.Errorf("%d files count as moved by hand that an undo has moved", n)
	}
}

// Without a time of birth a number alone does not make a file the one that was placed.
func TestMovedByHandWithoutBirth(t *testing.T) {
	p := NewPlaced([]string{"/d"})
	p.files[fileKey{1, inode{7, 0}}] = placement{p.hash("/d/Documents", "a"), 3, 4}
	dir := &Dir{Path: "/d", ID: journal.Folder{Volume: 1}}
	if !p.MovedByHand(dir, "a", journal.Identity{Ino: 7, Size: 3, Mtime: 4}) {
		t.Error("the very file is not known")
	}
	if p.MovedByHand(dir, "a", journal.Identity{Ino: 7, Size: 3, Mtime: 5}) {
		t.Error("a new file that got the number is taken for the old one")
	}
	dir.ID.Volume = 2
	if p.MovedByHand(dir, "a", journal.Identity{Ino: 7, Size: 3, Mtime: 4}) {
		t.Error("a file of another file system is taken for it")
	}
}

// Who waits for files must wait for all that a scan takes, and look into all folders that it looks into.
func TestArrivals(t *testing.T) {
	_, root := tempFolder(t)
	set := rules.Builtin()
	opt := ScanOptions{Recursive: true, Exclude: []string{"*.iso", "keep"}, Destination: Destination(set, []Key{ByCategory}), Now: time.Now()}
	for _, name := range []string{"a.txt", "b.txt.part", ".hidden", "Thumbs.db", "c.iso", "d/e.txt", "keep/f", "Documents/g.txt", "Stuff.app/h",
		"project/go.mod", "project/sub/i", ".secret/j", "d/deep/k.pdf", "d/Documents/l"} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, "x")
	}
	tree, err := Scan(t.Context(), root, set, opt)
	if err != nil {
		t.Fatal(err)
	}
	taken, looked := map[string]bool{}, map[string]bool{}
	for r, f := range tree.All() {
		taken[tree.Path(r)] = f.Left == NotLeft
	}
	for _, d := range tree.Dirs {
		looked[d.Path] = d.Left == NotLeft
	}
	a := NewArrivals(set, func(string) ScanOptions { return opt })
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !e.IsDir() {
				if got := a.Count(root, path); got != taken[path] {
					t.Errorf("%s counts: %t, a scan takes it: %t", path, got, taken[path])
				}
				continue
			}
			if got := a.Enter(root, path); got != looked[path] {
				t.Errorf("%s is entered: %t, a scan looks into it: %t", path, got, looked[path])
			} else if got {
				walk(path)
			}
		}
	}
	walk(root)
	if len(looked) < 4 {
		t.Error(looked)
	}
	opt.Recursive = false
	if a.Enter(root, filepath.Join(root, "d")) {
		t.Error("a folder is entered without -r")
	}
}
