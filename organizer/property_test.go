//go:build linux

package organizer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"forg/journal"
	"forg/organizer/metadata"
	"forg/rules"
)

// What must be true of every tree and every choice of options. The trees have names in every script and in none, names
// as long as they may be, equal names, hard links, links, sparse files, odd modes, empty folders and companions.

// desk is a person's tree with a journal.
type desk struct {
	rt   *rapid.T
	dir  string
	root string
	j    *journal.Journal
}

func checkProperty(t *testing.T, property func(rt *rapid.T, d *desk)) {
	t.Helper()
	checkDesks(t, (*desk).grow, property)
}

// checkDesks makes desks anew with fill.
func checkDesks(t *testing.T, fill func(*desk), property func(rt *rapid.T, d *desk)) {
	t.Parallel()
	base := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "forg-property-"); err == nil { // thousands of syncs need not wait for a disk
		base = dir
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		d := &desk{rt: rt, dir: dir, root: filepath.Join(dir, "tree")}
		d.open()
		defer func() { d.j.Close() }()
		fill(d)
		property(rt, d)
		d.sound()
	})
}

func (d *desk) must(err error) {
	d.rt.Helper()
	if err != nil {
		d.rt.Fatal(err)
	}
}

func (d *desk) open() {
	var err error
	d.j, err = journal.Open(context.Background(), filepath.Join(d.dir, "state", "journal.db"), journal.Options{})
	d.must(err)
}

// sound makes sure that the journal is without fault and that nothing of ours is left.
func (d *desk) sound() {
	d.rt.Helper()
	troubles, err := d.j.Check(context.Background(), false)
	d.must(err)
	for _, t := range troubles {
		d.rt.Errorf("journal: %s", t.What)
	}
	for path := range d.snapshot() {
		if strings.HasPrefix(filepath.Base(path), tempPrefix) {
			d.rt.Errorf("left: %q", path)
		}
	}
}

var (
	stems = rapid.OneOf(
		rapid.SampledFrom([]string{"a", "A", "film", "IMG_0001", "page", "x (2)", "x", "été", "e\u0301te\u0301", "漢字", "שלום", "😀", "$(touch PWNED)", "-rf", "a b", "%s", "con", "~draft", "new\nline"}),
		rapid.StringOfN(rapid.Rune(), 1, 20, 60),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 12), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.IntRange(200, 251), func(n int) string { return strings.Repeat("n", n) }),
		rapid.Map(rapid.IntRange(60, 80), func(n int) string { return strings.Repeat("漢", n) }),
	)
	endings = rapid.SampledFrom([]string{"", ".txt", ".txt", ".TXT", ".pdf", ".jpg", ".JPG", ".CR2", ".xmp", ".mkv", ".srt", ".en.srt", ".tar.gz", ".html",
		".xyzzy", ".", ".mp3", ".zip", ".verylongextension", ".go", ".nii.gz"})
	names = rapid.Map(rapid.Custom(func(t *rapid.T) string { return stems.Draw(t, "stem") + endings.Draw(t, "ending") }), func(s string) string {
		s = strings.NewReplacer("/", "_", "\x00", "0").Replace(s)
		s = s[:min(len(s), 255)]
		if s == "" || s == "." || s == ".." || strings.HasPrefix(s, tempPrefix) {
			return "plain"
		}
		return s
	})
	places = rapid.SampledFrom([]string{".", ".", ".", "sub", "sub/deep", "sub/deep/er", "Documents", "Images", "2019", "Dossier été", "pdf", "repo", "Thing.app"})
)

// grow fills the tree.
func (d *desk) grow() {
	d.must(os.MkdirAll(d.root, 0o755))
	var files []string
	for range rapid.IntRange(0, 14).Draw(d.rt, "files") {
		if path := d.addFile(); path != "" {
			files = append(files, path)
		}
	}
	for range rapid.IntRange(0, 3).Draw(d.rt, "links") {
		path := filepath.Join(d.root, places.Draw(d.rt, "place"), names.Draw(d.rt, "name"))
		os.MkdirAll(filepath.Dir(path), 0o755)
		if len(files) > 0 && rapid.Bool().Draw(d.rt, "hard") {
			os.Link(rapid.SampledFrom(files).Draw(d.rt, "of"), path) // the name may be taken
		} else {
			os.Symlink("somewhere/else", path)
		}
	}
	for range rapid.IntRange(0, 2).Draw(d.rt, "empty folders") {
		os.MkdirAll(filepath.Join(d.root, places.Draw(d.rt, "place"), "empty"), 0o711)
	}
	n := int64(0)
	d.must(filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		n++
		if n%3 == 0 {
			unix.Setxattr(path, "user.forg.test", []byte{byte(n)}, 0)
		}
		at := time.Unix(1400000000+n, n)
		return os.Chtimes(path, at, at)
	}))
}

// addFile makes one file, and returns "" when its name is taken.
func (d *desk) addFile() string {
	path := filepath.Join(d.root, places.Draw(d.rt, "place"), names.Draw(d.rt, "name"))
	d.must(os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ""
	}
	d.must(err)
	defer f.Close()
	content := rapid.SampledFrom([]string{"", "the same", "the same", "%PDF-1.4", "\xff\xd8\xff\xe0", "unique"}).Draw(d.rt, "content")
	if content == "unique" {
		content = path
	}
	if rapid.IntRange(0, 9).Draw(d.rt, "sparse") == 0 {
		d.must(f.Truncate(1 << 20))
	}
	_, err = f.WriteString(content)
	d.must(err)
	d.must(f.Chmod(rapid.SampledFrom([]fs.FileMode{0o644, 0o600, 0o755, 0o444, 0o400, 0o777 | fs.ModeSetuid}).Draw(d.rt, "mode")))
	at := time.Unix(rapid.Int64Range(0, 1700000000).Draw(d.rt, "mtime"), rapid.Int64Range(0, 999999999).Draw(d.rt, "ns"))
	d.must(os.Chtimes(path, at, at))
	return path
}

// snapshot describes everything, by path below the desk's tree and its destination.
func (d *desk) snapshot() map[string]string {
	d.rt.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	for _, top := range []string{d.root, d.into()} {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == d.into() {
				return nil
			}
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			what := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
			if e.Type().IsRegular() {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				what += fmt.Sprintf(" %d blocks %d %x", st.Size, st.Blocks, sha256.Sum256(data))
				if st.Nlink > 1 {
					if first[st.Ino] == "" {
						first[st.Ino] = path
					}
					what += " = " + first[st.Ino]
				}
			}
			buf := make([]byte, 1024)
			if n, err := unix.Llistxattr(path, buf); err == nil && n > 0 {
				v := make([]byte, 64)
				m, _ := unix.Lgetxattr(path, "user.forg.test", v)
				what += fmt.Sprintf(" %s%q", buf[:n], v[:m])
			}
			all[path] = what
			return nil
		})
		d.must(err)
	}
	return all
}

// shape is where which content lies.
func (d *desk) shape() map[string]string {
	out := map[string]string{}
	for path, what := range d.snapshot() {
		if i := strings.Index(what, " blocks "); i >= 0 {
			out[path] = strings.Fields(what[i:])[2]
		} else {
			out[path] = "folder or link"
		}
	}
	return out
}

// contents counts the files with each content, in the tree and in the trash. Hard links are one file.
func (d *desk) contents() map[[32]byte]int {
	d.rt.Helper()
	n := map[[32]byte]int{}
	seen := map[uint64]bool{}
	for _, top := range []string{d.root, d.into(), filepath.Join(d.dir, "Trash", "files")} {
		filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				st, err := lstat(path)
				d.must(err)
				if seen[st.Ino] {
					return nil
				}
				seen[st.Ino] = true
				data, err := os.ReadFile(path)
				d.must(err)
				n[sha256.Sum256(data)]++
			}
			return nil
		})
	}
	return n
}

func (d *desk) noneLost(before map[[32]byte]int) {
	d.rt.Helper()
	now := d.contents()
	for hash, n := range before {
		if now[hash] < n {
			d.rt.Fatalf("LOST: a content that was there %d times is there %d times", n, now[hash])
		}
	}
}

func (d *desk) same(what string, want, got map[string]string) {
	d.rt.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			d.rt.Errorf("%s: %q is\n\t%q, was\n\t%q", what, path, got[path], want[path])
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			d.rt.Errorf("%s: %q is new", what, path)
		}
	}
	if d.rt.Failed() {
		d.rt.FailNow()
	}
}

func (d *desk) into() string { return filepath.Join(d.dir, "into") }

func (d *desk) trash(*Dir) (TrashDir, error) {
	return TrashDir{filepath.Join(d.dir, "Trash", "files"), filepath.Join(d.dir, "Trash", "info")}, nil
}

// choice is a random way to organize.
type choice struct {
	Options
	recursive bool
	into      string
	rules     string // a rules file instead of By
}

func (d *desk) choose() choice {
	c := choice{recursive: rapid.Bool().Draw(d.rt, "recursive")}
	c.By = rapid.SliceOfNDistinct(rapid.SampledFrom(Keys), 1, 2, rapid.ID).Draw(d.rt, "by")
	c.Conflict = rapid.SampledFrom([]Conflict{ConflictRename, ConflictSkip, ConflictOverwrite, ConflictNewer}).Draw(d.rt, "conflict")
	c.Duplicates = rapid.SampledFrom([]DuplicateAction{DuplicatesReport, DuplicatesSkip, DuplicatesTrash, DuplicatesHardlink, DuplicatesFolder}).Draw(d.rt, "duplicates")
	c.Detect = rapid.SampledFrom([]Detect{DetectAuto, DetectContent, DetectExtension}).Draw(d.rt, "detect")
	c.Copy = rapid.IntRange(0, 4).Draw(d.rt, "copy") == 0
	c.Hidden = rapid.Bool().Draw(d.rt, "hidden")
	c.PruneEmpty = rapid.Bool().Draw(d.rt, "prune")
	if rapid.IntRange(0, 2).Draw(d.rt, "into") == 0 {
		c.into = d.into()
	}
	return c
}

func (d *desk) plan(c choice) *Plan {
	d.rt.Helper()
	set := rules.Builtin()
	scan := ScanOptions{Recursive: c.recursive, Hidden: c.Hidden, Into: c.into, Now: time.Now()}
	if c.rules == "" {
		scan.Destination = Destination(set, c.By)
	} else {
		r, err := rules.Parse("rules", []byte(c.rules), rules.Options{Home: d.dir, Now: time.Now()})
		if err != nil {
			d.rt.Skipf("a rule that the language refuses: %v", err)
		}
		c.Rules, c.Recursive, c.Options.Into, c.Metadata = r, c.recursive, c.into, metadata.NewReader(metadata.Limits{}, nil)
		inside := r.Inside(d.root, c.into)
		scan.Leave = func(path string) bool { return slices.Contains(inside, path) }
	}
	tree, err := Scan(context.Background(), d.root, set, scan)
	d.must(err)
	c.Trash, c.Now = d.trash, time.Now()
	p, err := MakePlan(context.Background(), tree, set, c.Options)
	d.must(err)
	return p
}

func (d *desk) runOptions(c choice) RunOptions {
	return RunOptions{Conflict: c.Conflict, Trash: d.trash}
}

// organize carries out a choice, with nothing in its way.
func (d *desk) organize(c choice) (*Plan, *Result) {
	d.rt.Helper()
	p := d.plan(c)
	res, err := Apply(context.Background(), d.j, p, d.runOptions(c))
	d.must(err)
	for _, q := range res.Problems {
		d.rt.Fatalf("organize: %v", q.Err)
	}
	return p, res
}

func (d *desk) operation(id int64) journal.Operation {
	d.rt.Helper()
	o, err := d.j.Operation(context.Background(), fmt.Sprint(id))
	d.must(err)
	return o
}

// undoAll takes back what can be, as `forg undo` again and again does.
func (d *desk) undoAll() {
	d.rt.Helper()
	for n := 0; ; n++ {
		o, err := d.j.LastNotUndone(context.Background())
		if errors.Is(err, journal.ErrNone) {
			return
		}
		d.must(err)
		if n == 20 {
			d.rt.Fatalf("operation %d, %s, never gets undone", o.ID, o.Status)
		}
		d.reverse(o, true)
	}
}

func (d *desk) reverse(o journal.Operation, undo bool, only ...string) *Result {
	d.rt.Helper()
	f := Undo
	if !undo {
		f = Redo
	}
	res, err := f(context.Background(), d.j, o, UndoOptions{Only: only, RunOptions: RunOptions{Trash: d.trash}})
	d.must(err)
	for _, q := range res.Problems {
		d.rt.Fatalf("reverse: %v", q.Err)
	}
	for _, q := range res.Notes {
		d.rt.Fatalf("reverse: %v", q.Err)
	}
	return res
}

func TestOrganizeUndoRedo(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		c := d.choose()
		before, contents := d.snapshot(), d.contents()
		p, res := d.organize(c)
		d.noneLost(contents)
		after := d.shape()
		for i := range p.Moves {
			m := &p.Moves[i]
			if i+1 < len(p.Moves) && strings.HasPrefix(p.Name(m), tempPrefix) {
				continue // steps aside
			}
			now, err := lstat(p.Target(m))
			if err != nil {
				rt.Fatalf("planned %q -> %q: %v", p.Tree.Path(m.File), p.Target(m), err)
			}
			if f := p.Tree.File(m.File); m.Action != journal.Copy && (now.Ino != f.Ino || now.Mtime != f.Mtime) {
				rt.Fatalf("planned %q -> %q: another file is there", p.Tree.Path(m.File), p.Target(m))
			}
		}
		// What --duplicates skip has left is compared with the folder that it would go to; its original may be in another one.
		if again := d.plan(c); len(again.Moves) > 0 && c.Duplicates != DuplicatesSkip {
			m := &again.Moves[0]
			rt.Fatalf("run twice with %+v: %q would move to %q", c, again.Tree.Path(m.File), again.Target(m))
		}
		if res.ID == 0 {
			d.same("nothing to do", before, d.snapshot())
			return
		}
		d.reverse(d.operation(res.ID), true)
		d.same("undo", before, d.snapshot())
		d.noneLost(contents)
		if o := d.operation(res.ID); o.Status != journal.Undone {
			rt.Fatalf("undone, but its status is %s", o.Status)
		}
		d.reverse(d.operation(res.ID), false)
		d.noneLost(contents)
		d.same("redo", after, d.shape())
		d.undoAll()
		d.same("undo of the redo", before, d.snapshot())
	})
}

// cut runs f until it has told of n files, and ends it then.
func cut(n int, opt *RunOptions, at func()) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	opt.Step = func(*journal.Step, error) {
		if n--; n == 0 {
			at()
			cancel()
		}
	}
	if n == 0 {
		at()
		cancel()
	}
	return ctx
}

func TestStopAnywhere(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		c := d.choose()
		before, contents := d.snapshot(), d.contents()
		opt := d.runOptions(c)
		ctx := cut(rapid.IntRange(0, 30).Draw(rt, "stop after"), &opt, func() {})
		if _, err := Apply(ctx, d.j, d.plan(c), opt); err != nil && !errors.Is(err, context.Canceled) {
			rt.Fatal(err)
		}
		d.noneLost(contents)
		if o, err := d.j.LastNotUndone(context.Background()); err == nil && rapid.Bool().Draw(rt, "stop the undo too") {
			u := UndoOptions{RunOptions: RunOptions{Trash: d.trash}}
			ctx := cut(rapid.IntRange(0, 10).Draw(rt, "stop undo after"), &u.RunOptions, func() {})
			if _, err := Undo(ctx, d.j, o, u); err != nil && !errors.Is(err, context.Canceled) {
				rt.Fatal(err)
			}
			d.noneLost(contents)
		}
		d.undoAll()
		d.same("undo", before, d.snapshot())
	})
}

// TestJournalCut takes the journal as it is at some moment of a run, which is what a crash then would leave.
func TestJournalCut(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		crash := func(n int, run func(context.Context, *RunOptions) error) {
			db := filepath.Join(d.dir, "state", "journal.db")
			saved := map[string][]byte{}
			var opt RunOptions
			ctx := cut(n, &opt, func() {
				for _, ext := range []string{"", "-wal"} {
					data, err := os.ReadFile(db + ext)
					d.must(err)
					saved[ext] = data
				}
			})
			if err := run(ctx, &opt); err != nil && !errors.Is(err, context.Canceled) {
				rt.Fatal(err)
			}
			if len(saved) == 0 {
				return // it was through before
			}
			d.must(d.j.Close())
			d.must(os.RemoveAll(db + "-shm"))
			for ext, data := range saved {
				d.must(os.WriteFile(db+ext, data, 0o600))
			}
			d.open()
			_, err := Recover(context.Background(), d.j)
			d.must(err)
		}
		c := d.choose()
		before, contents := d.snapshot(), d.contents()
		crash(rapid.IntRange(0, 30).Draw(rt, "crash after"), func(ctx context.Context, opt *RunOptions) error {
			opt.Conflict, opt.Trash = c.Conflict, d.trash
			_, err := Apply(ctx, d.j, d.plan(c), *opt)
			return err
		})
		d.noneLost(contents)
		o, err := d.j.LastNotUndone(context.Background())
		if err == nil && rapid.Bool().Draw(rt, "crash the undo too") {
			crash(rapid.IntRange(0, 10).Draw(rt, "crash undo after"), func(ctx context.Context, opt *RunOptions) error {
				opt.Trash = d.trash
				_, err := Undo(ctx, d.j, o, UndoOptions{RunOptions: *opt})
				return err
			})
			d.noneLost(contents)
		}
		d.undoAll()
		d.same("undo", before, d.snapshot())
	})
}

func TestUndoInParts(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		before, contents := d.snapshot(), d.contents()
		_, res := d.organize(d.choose())
		if res.ID == 0 {
			return
		}
		for range rapid.IntRange(1, 3).Draw(rt, "parts") {
			d.reverse(d.operation(res.ID), true, rapid.SampledFrom([]string{"*.txt", "*a*", "[!a]*", "*.{jpg,pdf}", "**/sub/**", "nothing"}).Draw(rt, "only"))
			d.noneLost(contents)
		}
		d.undoAll()
		d.same("undo", before, d.snapshot())
	})
}

func TestUndoSeveral(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		var states []map[string]string
		var ids []int64
		contents := d.contents()
		for range 3 {
			c := d.choose()
			states = append(states, d.snapshot())
			_, res := d.organize(c)
			ids = append(ids, res.ID)
			d.noneLost(contents)
		}
		for i := len(ids) - 1; i >= 0; i-- {
			if ids[i] != 0 {
				d.reverse(d.operation(ids[i]), true)
			}
			d.same(fmt.Sprintf("undo %d", i+1), states[i], d.snapshot())
			d.noneLost(contents)
		}
	})
}

// TestForeignFiles lets a person work on the tree between operations. What the person made is never lost, and an undo
// or redo never moves a file that its operation did not.
func TestForeignFiles(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		files := func() []string {
			var all []string
			filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					all = append(all, path)
				}
				return nil
			})
			return all
		}
		pick := func() string {
			all := files()
			if len(all) == 0 {
				return ""
			}
			return rapid.SampledFrom(all).Draw(rt, "file")
		}
		serial := 0
		write := func(path string, flags int) {
			serial++
			f, err := os.OpenFile(path, flags|os.O_WRONLY, 0o644)
			d.must(err)
			_, err = fmt.Fprintf(f, "written by hand %d", serial)
			d.must(errors.Join(err, f.Close()))
		}
		inodes := func() map[uint64]string {
			m := map[uint64]string{}
			for _, path := range files() {
				st, err := lstat(path)
				d.must(err)
				if st.Nlink == 1 {
					m[st.Ino] = path
				}
			}
			return m
		}
		turn := func(undo bool) {
			contents, was := d.contents(), inodes()
			var o journal.Operation
			var err error
			if undo {
				o, err = d.j.LastNotUndone(context.Background())
			} else if o, err = d.j.LastUndo(context.Background()); err == nil {
				o = d.operation(o.Undoes)
			}
			if errors.Is(err, journal.ErrNone) {
				return
			}
			d.must(err)
			mine := map[uint64]bool{}
			for s, err := range d.j.Steps(context.Background(), o, false) {
				d.must(err)
				mine[s.File.Ino] = true
				mine[s.Ino] = true
			}
			conflict := rapid.SampledFrom([]Conflict{"", ConflictRename, ConflictSkip}).Draw(rt, "undo conflict")
			opt := UndoOptions{RunOptions: RunOptions{Trash: d.trash, Conflict: conflict}}
			if undo {
				_, err = Undo(context.Background(), d.j, o, opt)
			} else {
				_, err = Redo(context.Background(), d.j, o, opt)
			}
			d.must(err)
			d.noneLost(contents)
			for ino, path := range inodes() {
				if from, ok := was[ino]; ok && from != path && !mine[ino] {
					rt.Fatalf("a foreign file went from %q to %q", from, path)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"organize": func(*rapid.T) {
				c := d.choose()
				c.Copy, c.into = false, ""
				contents := d.contents()
				_, err := Apply(context.Background(), d.j, d.plan(c), d.runOptions(c))
				d.must(err)
				d.noneLost(contents)
			},
			"undo": func(*rapid.T) { turn(true) },
			"redo": func(*rapid.T) { turn(false) },
			"add":  func(*rapid.T) { d.addFile() },
			"edit": func(*rapid.T) {
				if path := pick(); path != "" {
					d.must(os.Chmod(path, 0o644))
					write(path, os.O_APPEND)
				}
			},
			"replace": func(*rapid.T) {
				if path := pick(); path != "" {
					fresh := filepath.Join(d.dir, "fresh")
					write(fresh, os.O_CREATE|os.O_EXCL)
					d.must(os.Rename(fresh, path))
				}
			},
			"delete": func(*rapid.T) {
				if path := pick(); path != "" {
					d.must(os.Remove(path))
				}
			},
			"rename": func(*rapid.T) {
				if path := pick(); path != "" {
					to := filepath.Join(filepath.Dir(path), names.Draw(rt, "to"))
					if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
						d.must(os.Rename(path, to))
					}
				}
			},
		})
	})
}
