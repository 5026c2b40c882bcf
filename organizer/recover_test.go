package organizer

import (
	"path/filepath"
	"strings"
	"testing"

	"forg/journal"
)

// A crash between a copy's arrival and its original's departure leaves both. Recovery takes the copy away, but not what
// somebody has written into it since.
func TestRecoverKeepsEditedCopy(t *testing.T) {
	for _, edited := range []bool{false, true} {
		_, path := tempFolder(t)
		_, state := tempFolder(t)
		j, err := journal.Open(t.Context(), filepath.Join(state, "journal.db"), journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		from, to := mkdir(t, filepath.Join(path, "from")), mkdir(t, filepath.Join(path, "to"))
		original, copied := filepath.Join(from, "a.txt"), filepath.Join(to, "a.txt")
		write(t, original, "content")
		dir := openTest(t, from)
		was, made := copyTest(t, dir, original, "a.txt")
		if err := renameNoReplace(dir, "a.txt copy", openTest(t, to), "a.txt"); err != nil {
			t.Fatal(err)
		}
		w, err := j.Begin(t.Context(), "organize", path, "", 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		steps := []journal.Step{{No: 1, Action: journal.Move, FromDir: &journal.Folder{Path: from}, From: "a.txt", ToDir: &journal.Folder{Path: to}, To: "a.txt", File: was.Identity}}
		outs := []journal.Outcome{{No: 1, Count: 1, State: journal.Copied, Ino: made.Ino, Born: made.Born}}
		if err := w.Commit(t.Context(), steps, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), nil, outs); err != nil {
			t.Fatal(err)
		}
		if edited {
			write(t, copied, "content, edited")
		}
		if _, err := Recover(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if got := content(t, original); got != "content" {
			t.Errorf("edited %v: the original is %q", edited, got)
		}
		if _, err := lstat(copied); (err == nil) != edited {
			t.Errorf("edited %v: the copy: %v", edited, err)
		}
		if !edited {
			continue
		}
		if got := content(t, copied); got != "content, edited" {
			t.Errorf("the copy is %q", got)
		}
		o, err := j.Operation(t.Context(), "last")
		if err != nil {
			t.Fatal(err)
		}
		for s, err := range j.Steps(t.Context(), o, false) {
			if err != nil || s.State != journal.Lost || !strings.Contains(s.Err, "both are kept") {
				t.Errorf("%v %q, %v", s.State, s.Err, err)
			}
		}
	}
}

// Where inodes are not stable, size and time are all there is to know a file by; two files of the same size and time
// are two files all the same.
func TestRecoverKeepsTwins(t *testing.T) {
	_, path := tempFolder(t)
	_, state := tempFolder(t)
	j, err := journal.Open(t.Context(), filepath.Join(state, "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	from, to := mkdir(t, filepath.Join(path, "from")), mkdir(t, filepath.Join(path, "to"))
	write(t, filepath.Join(from, "a.txt"), "first")
	write(t, filepath.Join(to, "a.txt"), "other")
	m, err := lstat(filepath.Join(from, "a.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m.Ino, m.Born = m.Ino+1e6, 0 // as after a FAT disk was put in again
	w, err := j.Begin(t.Context(), "organize", path, "", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	step := journal.Step{No: 1, Action: journal.Rename, FromDir: &journal.Folder{Path: from}, From: "a.txt", ToDir: &journal.Folder{Path: to}, To: "a.txt", File: m.Identity}
	if err := w.Commit(t.Context(), []journal.Step{step}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if a, b := content(t, filepath.Join(from, "a.txt")), content(t, filepath.Join(to, "a.txt")); a != "first" || b != "other" {
		t.Errorf("%q and %q", a, b)
	}
}

// A hard link of a file that came from another disk is known by the inode it has here: undo has no other way to tell.
func TestRecoverKnowsLinks(t *testing.T) {
	_, path := tempFolder(t)
	_, state := tempFolder(t)
	j, err := journal.Open(t.Context(), filepath.Join(state, "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	write(t, filepath.Join(path, "a.txt"), "content")
	dir := openTest(t, path)
	if err := link(dir, "a.txt", dir, "b.txt"); err != nil {
		t.Skip("no hard links here:", err)
	}
	m, err := dir.stat("b.txt")
	if err != nil {
		t.Fatal(err)
	}
	w, err := j.Begin(t.Context(), "organize", path, "", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, elsewhere := &journal.Folder{Path: path}, journal.Identity{Ino: m.Ino + 1e6, Born: 1, Size: m.Size, Mtime: m.Mtime, Mode: m.Mode}
	step := journal.Step{No: 1, Action: journal.Link, FromDir: here, From: "a.txt", ToDir: here, To: "b.txt", File: elsewhere}
	if err := w.Commit(t.Context(), []journal.Step{step}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	o, err := j.Operation(t.Context(), "last")
	if err != nil {
		t.Fatal(err)
	}
	if res, err := Undo(t.Context(), j, o, UndoOptions{}); err != nil || len(res.Problems) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := dir.stat("b.txt"); err == nil {
		t.Error("the link is still there")
	}
	if got := content(t, filepath.Join(path, "a.txt")); got != "content" {
		t.Errorf("%q", got)
	}
}
