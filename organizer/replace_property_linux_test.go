package organizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"forg/journal"
	"forg/rules"
)

// What is done about duplicates must be true to every tree, every choice, and whatever a person does meanwhile: no content
// is lost, and an undo brings back exactly what nobody has edited.

// pile is a person's files, many of them alike.
func (d *desk) pile() {
	d.must(os.MkdirAll(d.root, 0o755))
	for i := range rapid.IntRange(2, 10).Draw(d.rt, "files") {
		path := filepath.Join(d.root, rapid.SampledFrom([]string{"a", "b", "b/c"}).Draw(d.rt, "folder"), fmt.Sprintf("f%d", i))
		d.must(os.MkdirAll(filepath.Dir(path), 0o755))
		content := rapid.SampledFrom([]string{"", "one", "two", "a longer content of which there is more than one\n"}).Draw(d.rt, "content")
		d.must(os.WriteFile(path, []byte(content), 0o600))
		d.must(os.Chmod(path, rapid.SampledFrom([]os.FileMode{0o644, 0o600, 0o400, 0o4755}).Draw(d.rt, "mode")))
		at := time.Unix(rapid.Int64Range(1e9, 1e9+3).Draw(d.rt, "mtime"), rapid.Int64Range(0, 2).Draw(d.rt, "ns"))
		d.must(os.Chtimes(path, at, at))
		if rapid.IntRange(0, 4).Draw(d.rt, "linked") == 0 {
			d.must(os.Link(path, path+" too"))
		}
	}
	d.must(os.MkdirAll(filepath.Join(d.root, "dups"), 0o755))
}

// duplicatesPlan plans something for every duplicate, and now and then something that nobody should have planned.
func (d *desk) duplicatesPlan() *Plan {
	tree := d.scanAll()
	p := newPlanner(tree, rules.Builtin(), Options{Trash: d.trash, Now: time.Now()})
	p.Kind = KindDupes
	groups := map[string][]Ref{}
	for i := range tree.Dirs {
		for r, f := range tree.InDir(uint32(i)) {
			if isRegular(uint32(f.Mode)) {
				data, err := readNoTrace(tree.Path(r))
				d.must(err)
				groups[data] = append(groups[data], r)
			}
		}
	}
	for _, data := range slices.Sorted(maps.Keys(groups)) {
		g := groups[data]
		slices.SortFunc(g, compareRefs)
		keep := g[0]
		for _, r := range g[1:] {
			mad := rapid.IntRange(0, 9).Draw(d.rt, "mad") == 0
			if tree.File(r).Ino == tree.File(keep).Ino && !mad {
				continue
			}
			p.SameAs[r] = keep
			if mad { // another group, another copy, itself
				all := slices.Concat(slices.Collect(maps.Values(groups))...)
				slices.SortFunc(all, compareRefs)
				p.SameAs[r] = rapid.SampledFrom(all).Draw(d.rt, "keeper")
			}
			var m Move
			var err error
			switch act := rapid.SampledFrom(append([]string{"share"}, replacing...)).Draw(d.rt, "action"); act {
			case "share":
				m = p.shareMove(r)
			case "trash":
				m, err = p.toTrash(r)
			case "folder":
				m = Move{File: r, To: p.folder(filepath.Join(d.root, "dups")), Action: journal.Rename, Label: p.label("x")}
				p.rename(&m, fmt.Sprintf("%d", len(p.Moves)))
			default:
				m, err = p.replaceMove(r, act)
			}
			d.must(err)
			p.Moves = append(p.Moves, m)
		}
	}
	plan, err := p.resolve()
	d.must(err)
	return plan
}

func (d *desk) scanAll() *Tree {
	tree, err := Scan(context.Background(), d.root, rules.Builtin(), ScanOptions{Recursive: true, Hidden: true, Now: time.Now().Add(time.Hour)})
	d.must(err)
	return tree
}

// readNoTrace is the content of a file, whose time of access stays.
func readNoTrace(path string) (string, error) {
	f, err := openPath(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return string(data), err
}

// interfere does what a person or a program may do at any moment.
func (d *desk) interfere() {
	for range rapid.IntRange(0, 3).Draw(d.rt, "edits") {
		var files []string
		for path := range d.snapshot() {
			if m, err := lstat(path); err == nil && isRegular(m.Mode) {
				files = append(files, path)
			}
		}
		if len(files) == 0 {
			return
		}
		slices.Sort(files)
		path := rapid.SampledFrom(files).Draw(d.rt, "file")
		was, err := lstat(path)
		d.must(err)
		old, err := readNoTrace(path)
		d.must(err)
		restore := func() { d.must(os.Chtimes(path, time.Unix(0, was.Atime), time.Unix(0, was.Mtime))) }
		switch rapid.SampledFrom([]string{"edit", "sly", "anew", "remove", "rename", "touch", "link", "chmod"}).Draw(d.rt, "edit") {
		case "edit":
			d.must(os.Chmod(path, 0o644))
			d.must(os.WriteFile(path, []byte(old+"more"), 0o644))
		case "sly": // the same size, at the same time
			d.must(os.Chmod(path, 0o644))
			d.must(os.WriteFile(path, slices.Repeat([]byte("X"), len(old)), 0o644))
			restore()
		case "anew":
			d.must(os.Remove(path))
			d.must(os.WriteFile(path, []byte(old), 0o644))
			restore()
		case "remove":
			d.must(os.Remove(path))
		case "rename":
			if _, err := os.Lstat(path + " renamed"); err != nil {
				d.must(os.Rename(path, path+" renamed"))
			}
		case "touch":
			d.must(os.Chtimes(path, time.Now(), time.Now()))
		case "link":
			os.Link(path, path+" linked")
		case "chmod":
			d.must(os.Chmod(path, 0o640))
		}
	}
}

// allContents are the contents in the tree and the trash.
func (d *desk) allContents() map[string]bool {
	all := map[string]bool{}
	for _, top := range []string{d.root, filepath.Join(d.dir, "Trash", "files")} {
		filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				data, err := readNoTrace(path)
				d.must(err)
				all[data] = true
			}
			return nil
		})
	}
	return all
}

func (d *desk) keptAll(when string, before, now map[string]bool) {
	d.rt.Helper()
	for data := range before {
		if !now[data] {
			d.rt.Fatalf("LOST %s: %q", when, data)
		}
	}
}

func TestDuplicatesUndone(t *testing.T) {
	checkDesks(t, (*desk).pile, func(rt *rapid.T, d *desk) {
		before, contents := d.snapshot(), d.allContents()
		res, err := Apply(context.Background(), d.j, d.duplicatesPlan(), RunOptions{Trash: d.trash})
		d.must(err)
		d.keptAll("by the run", contents, d.allContents())
		if res.ID == 0 {
			return
		}
		if o := d.operation(res.ID); o.Kind != KindDupes {
			rt.Errorf("it is called %s", o.Kind)
		}
		d.atLeastOne(contents)
		d.undoAll()
		d.same("undo", before, d.snapshot())
		d.emptyTrash()
	})
}

func TestDuplicatesEdited(t *testing.T) {
	checkDesks(t, (*desk).pile, func(rt *rapid.T, d *desk) {
		p := d.duplicatesPlan()
		d.interfere()
		before, contents := d.snapshot(), d.allContents()
		res, err := Apply(context.Background(), d.j, p, RunOptions{Trash: d.trash})
		d.must(err)
		d.keptAll("by the run", contents, d.allContents())
		d.atLeastOne(contents)
		if res.ID == 0 {
			return
		}
		if rapid.Bool().Draw(rt, "undo at once") {
			d.undoAll()
			after := d.snapshot()
			for _, all := range []map[string]string{before, after} { // folders have their times of when the plan was made
				maps.DeleteFunc(all, func(_, what string) bool { return what[0] == '4' })
			}
			d.same("undo", before, after)
			d.emptyTrash()
			return
		}
		d.interfere()
		contents = d.allContents()
		o := d.operation(res.ID)
		for _, f := range []func(context.Context, *journal.Journal, journal.Operation, UndoOptions) (*Result, error){Undo, Redo, Undo} {
			_, err := f(context.Background(), d.j, o, UndoOptions{RunOptions: RunOptions{Trash: d.trash}})
			d.must(err)
			d.keptAll("by an undo or redo", contents, d.allContents())
			o = d.operation(res.ID)
		}
	})
}

// TestDuplicatesCut ends a run at some step and undoes what was done.
func TestDuplicatesCut(t *testing.T) {
	checkDesks(t, (*desk).pile, func(rt *rapid.T, d *desk) {
		before, contents := d.snapshot(), d.allContents()
		var opt RunOptions
		opt.Trash = d.trash
		ctx := cut(rapid.IntRange(0, 8).Draw(rt, "after"), &opt, func() {})
		if _, err := Apply(ctx, d.j, d.duplicatesPlan(), opt); err != nil && !errors.Is(err, context.Canceled) {
			rt.Fatal(err)
		}
		d.keptAll("by the run", contents, d.allContents())
		d.undoAll()
		d.same("undo", before, d.snapshot())
		d.emptyTrash()
	})
}

// atLeastOne makes sure that every content is still in the tree, where people look for it.
func (d *desk) atLeastOne(contents map[string]bool) {
	d.rt.Helper()
	in := map[string]bool{}
	for path := range d.snapshot() {
		if m, err := lstat(path); err == nil && isRegular(m.Mode) {
			data, err := readNoTrace(path)
			d.must(err)
			in[data] = true
		}
	}
	d.keptAll("from the tree", contents, in)
}

func (d *desk) emptyTrash() {
	d.rt.Helper()
	for _, dir := range []string{"files", "info"} {
		names, err := os.ReadDir(filepath.Join(d.dir, "Trash", dir))
		if err == nil && len(names) > 0 {
			d.rt.Errorf("left in the trash: %v", names)
		}
	}
}
