package organizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"forg/journal"
)

// workshop is a folder, a trash and a journal, for runs of single steps.
type workshop struct {
	t       testing.TB
	dir     string
	can     string // the trash
	j       *journal.Journal
	folders map[string]*journal.Folder
	opt     RunOptions
	unit    int64
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	return openWorkshop(t, fastFolder(t))
}

// fastFolder is a temporary folder in memory, where there is such a thing: a hundred thousand files need not wait for a disk.
func fastFolder(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "forg-test-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	_, path := tempFolder(t)
	return path
}

// openWorkshop makes a workshop in base, or finds it there again.
func openWorkshop(t testing.TB, base string) *workshop {
	t.Helper()
	w := &workshop{t: t, dir: filepath.Join(base, "desk"), can: filepath.Join(base, "can", "files")}
	if runtime.GOOS == "windows" {
		w.can = filepath.Join(base, "$Recycle.Bin", "S-1-5-21-1")
	}
	for _, dir := range []string{w.dir, w.can} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.opt.Trash = func(*Dir) (TrashDir, error) {
		if noteName("x") == "x.trashinfo" {
			return TrashDir{Files: w.can, Info: filepath.Join(base, "can", "info")}, nil
		}
		return TrashDir{Files: w.can}, nil
	}
	w.open(filepath.Join(base, "state", "journal.db"))
	t.Cleanup(func() { w.j.Close() })
	w.fresh()
	return w
}

func (w *workshop) open(path string) {
	w.t.Helper()
	var err error
	if w.j, err = journal.Open(context.Background(), path, journal.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// fresh begins another operation, for which folders are looked at anew.
func (w *workshop) fresh() { w.folders = map[string]*journal.Folder{} }

func (w *workshop) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *workshop) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// file makes a file that is a while old.
func (w *workshop) file(name, content string) string {
	w.t.Helper()
	path := w.path(name)
	w.must(os.MkdirAll(filepath.Dir(path), 0o755))
	w.must(os.WriteFile(path, []byte(content), 0o640))
	at := time.Date(2021, 2, 3, 4, 5, 6, 123456700, time.UTC)
	w.must(os.Chtimes(path, at, at))
	return path
}

func (w *workshop) folder(path string) *journal.Folder {
	w.t.Helper()
	if f := w.folders[path]; f != nil {
		return f
	}
	f := &journal.Folder{Path: path}
	if id, _, err := statDir(path); err == nil {
		*f = id
	}
	w.folders[path] = f
	return f
}

// step is a step from one name of the desk to another; both may be absolute.
func (w *workshop) step(a journal.Action, from, to string, meta []byte) journal.Step {
	w.t.Helper()
	abs := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return w.path(name)
	}
	s := journal.Step{Action: a, Meta: meta}
	if from != "" {
		s.FromDir, s.From = w.folder(filepath.Dir(abs(from))), filepath.Base(from)
		if m, err := lstat(abs(from)); err == nil {
			s.File = m.Identity
		}
	}
	s.ToDir, s.To = w.folder(filepath.Dir(abs(to))), filepath.Base(to)
	return s
}

// rewrite is the pair of steps that write a file that is there, and the mode and the text.
func (w *workshop) rewrite(name, mode, text string) []journal.Step {
	w.t.Helper()
	f, err := os.Open(w.path(name))
	w.must(err)
	defer f.Close()
	meta, err := writeMetaOf(mode, []byte(text), f)
	w.must(err)
	w.unit++
	to, in, _, err := findTrash(w.path(name), w.opt.Trash, nameTaken)
	w.must(err)
	old := w.step(journal.Trash, name, filepath.Join(to.Path, in), nil)
	now := w.step(journal.Write, "", name, meta)
	now.FromDir, now.From, now.File = old.ToDir, old.To, old.File
	old.Unit, now.Unit = w.unit, w.unit
	return []journal.Step{old, now}
}

func (w *workshop) run(steps ...journal.Step) *Result {
	w.t.Helper()
	res, err := w.runCtx(context.Background(), steps...)
	w.must(err)
	w.fresh()
	return res
}

func (w *workshop) runCtx(ctx context.Context, steps ...journal.Step) (*Result, error) {
	r, err := newRunner(ctx, w.j, "organize", w.dir, int64(len(steps)), w.opt)
	if err != nil {
		return nil, err
	}
	return r.run(ctx, slices.Values(steps), nil)
}

// ok is run for steps that must all be carried out.
func (w *workshop) ok(steps ...journal.Step) *Result {
	w.t.Helper()
	res := w.run(steps...)
	if len(res.Problems) > 0 || res.Status != journal.Completed {
		w.t.Fatalf("%s, %v", res.Status, res.Problems)
	}
	return res
}

// first is the operation that undos and redos are about.
func (w *workshop) first() journal.Operation {
	w.t.Helper()
	o, err := w.j.Operation(context.Background(), "1")
	w.must(err)
	return o
}

func (w *workshop) undo(only ...string) *Result {
	w.t.Helper()
	res, err := Undo(context.Background(), w.j, w.first(), UndoOptions{RunOptions: w.opt, Only: only})
	w.must(err)
	return res
}

func (w *workshop) redo() *Result {
	w.t.Helper()
	res, err := Redo(context.Background(), w.j, w.first(), UndoOptions{RunOptions: w.opt})
	w.must(err)
	return res
}

func (w *workshop) clean(res *Result) {
	w.t.Helper()
	if len(res.Problems) > 0 {
		w.t.Fatalf("%s of operation 1: %v", res.Kind, res.Problems)
	}
}

// there describes the desk.
func (w *workshop) there() []string {
	w.t.Helper()
	all := snapshotOf(w.t, w.dir)
	for _, line := range all {
		if strings.Contains(line, tempPrefix) {
			w.t.Errorf("left: %s", line)
		}
	}
	return all
}

// cycle runs steps, undoes, redoes and undoes them, and makes sure that each leaves what it should.
func (w *workshop) cycle(steps ...journal.Step) {
	w.t.Helper()
	before := w.there()
	w.ok(steps...)
	after := w.there()
	if slices.Equal(before, after) {
		w.t.Error("nothing has changed")
	}
	for range 2 {
		w.clean(w.undo())
		sameLines(w.t, "undo", before, w.there())
		if got := w.first().Status; got != journal.Undone {
			w.t.Errorf("after the undo it is %s", got)
		}
		w.clean(w.redo())
		sameLines(w.t, "redo", after, w.there())
		if got := w.first().Status; got != journal.Completed {
			w.t.Errorf("after the redo it is %s", got)
		}
	}
	w.sound()
}

func (w *workshop) sound() {
	w.t.Helper()
	troubles, err := w.j.Check(context.Background(), false)
	w.must(err)
	for _, t := range troubles {
		w.t.Errorf("journal: %s", t.What)
	}
}

func sameLines(t testing.TB, what string, want, got []string) {
	t.Helper()
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("after %s there is no %.300s", what, l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("after %s there is %.300s", what, l)
		}
	}
}

// snapshotOf is snapshot with the texts of links and the tags of files.
func snapshotOf(t testing.TB, path string) []string {
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
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			text, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + text
		case d.Type().IsRegular() || d.IsDir():
			if d.Type().IsRegular() {
				line += " " + info.ModTime().UTC().String() + " " + content(t, p)
			}
			line += tagsOf(t, p)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tagsOf is the raw value of a file's tags, for people.
func tagsOf(t testing.TB, path string) string {
	t.Helper()
	if tagsAttribute == "" {
		return ""
	}
	f, err := openPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := attribute(f, tagsAttribute)
	if errors.Is(err, errNoTags) || v == nil {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(" tags %q", v)
}

// hasTags skips the test where files have no tags.
func (w *workshop) hasTags(t *testing.T) {
	t.Helper()
	if _, err := tagChange(w.file("probe", ""), false, []string{"x"}, nil); err != nil {
		t.Skip("no tags here:", err)
	}
	w.must(os.Remove(w.path("probe")))
}

func (w *workshop) hasLinks(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("forg makes no symbolic links on Windows")
	}
}

// problem makes sure that a run reported just one, which says text, and did nothing.
func (w *workshop) problem(res *Result, text string) {
	w.t.Helper()
	if len(res.Problems) != 1 || !strings.Contains(res.Problems[0].Err.Error(), text) {
		w.t.Errorf("the problems are %v, not %q", res.Problems, text)
	}
}

func TestSymlink(t *testing.T) {
	t.Run("cycle", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasLinks(t)
		w.file("a.txt", "content")
		w.must(os.MkdirAll(w.path("links/folder"), 0o755))
		w.cycle(w.step(journal.Symlink, "a.txt", "links/a.txt", []byte("../a.txt")),
			w.step(journal.Symlink, "links/folder", "to folder", []byte(w.path("links/folder"))))
		if res := w.undo(); res.Moved != 2 {
			t.Errorf("%d moved", res.Moved)
		}
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasLinks(t)
		w.file("a.txt", "content")
		w.file("taken", "mine")
		s := w.step(journal.Symlink, "a.txt", "taken", []byte("a.txt"))
		w.problem(w.run(s), "taken exists")
		s = w.step(journal.Symlink, "a.txt", "b", []byte("a.txt"))
		w.must(os.Remove(w.path("a.txt")))
		w.problem(w.run(s), errGone.Error())
		w.file("a.txt", "another file, edited")
		w.problem(w.run(s), errChanged.Error())
		w.problem(w.run(w.step(journal.Symlink, "a.txt", "b", nil)), errMeta.Error())
		sameLines(t, "refusals", []string{"taken", "a.txt"}, namesIn(t, w.dir))
	})
	t.Run("another name", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasLinks(t)
		w.file("a.txt", "content")
		w.file("taken", "mine")
		w.opt.Conflict = ConflictRename
		w.cycle(w.step(journal.Symlink, "a.txt", "taken", []byte("a.txt")))
		if text, err := os.Readlink(w.path("taken (2)")); err != nil || text != "a.txt" {
			t.Errorf("%q, %v", text, err)
		}
	})
	t.Run("undo", func(t *testing.T) {
		// Whatever has become of the link is not ours to remove, whatever has become of its file does not matter.
		for name, change := range map[string]func(w *workshop){
			"file":    func(w *workshop) { w.file("link", "a file of mine") },
			"text":    func(w *workshop) { w.must(os.Symlink("elsewhere", w.path("link"))) },
			"folder":  func(w *workshop) { w.must(os.Mkdir(w.path("link"), 0o755)) },
			"nothing": func(w *workshop) {},
		} {
			w := newWorkshop(t)
			w.hasLinks(t)
			w.file("a.txt", "content")
			w.ok(w.step(journal.Symlink, "a.txt", "link", []byte("a.txt")))
			w.must(os.Remove(w.path("link")))
			change(w)
			before := w.there()
			if res := w.undo(); len(res.Problems) != 1 || res.Skipped != 1 {
				t.Errorf("%s: %+v", name, res)
			}
			sameLines(t, name, before, w.there())
		}
		w := newWorkshop(t)
		w.hasLinks(t)
		w.file("a.txt", "content")
		w.ok(w.step(journal.Symlink, "a.txt", "link", []byte("a.txt")))
		w.must(os.Remove(w.path("a.txt")))
		w.clean(w.undo())
		if got := namesIn(t, w.dir); len(got) > 0 {
			t.Errorf("left: %q", got)
		}
		w.problem(w.redo(), errGone.Error())
	})
	t.Run("unit", func(t *testing.T) { // one that fails takes those before it along
		w := newWorkshop(t)
		w.hasLinks(t)
		w.file("a.txt", "content")
		link, gone := w.step(journal.Symlink, "a.txt", "link", []byte("a.txt")), w.step(journal.Rename, "nothing", "b", nil)
		link.Unit, gone.Unit = 1, 1
		before := w.there()
		if res := w.run(link, gone); res.Moved != 0 || len(res.Problems) != 2 {
			t.Errorf("%+v", res)
		}
		sameLines(t, "a unit", before, w.there())
	})
}

func namesIn(t testing.TB, path string) []string {
	t.Helper()
	names, err := listNames(path)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTag(t *testing.T) {
	tag := func(w *workshop, name string, set bool, add, remove []string) journal.Step {
		w.t.Helper()
		meta, err := tagChange(w.path(name), set, add, remove)
		w.must(err)
		if meta == nil {
			w.t.Fatal("nothing to change")
		}
		return w.step(journal.Tag, name, name, meta)
	}
	t.Run("cycle", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasTags(t)
		w.file("a.txt", "content")
		w.must(os.Mkdir(w.path("folder"), 0o755))
		w.cycle(tag(w, "a.txt", false, []string{"invoice", "2024"}, nil), tag(w, "folder", false, []string{"ünï 漢字"}, nil))
		w.fresh()
		if got := w.there(); !slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "invoice") }) {
			t.Errorf("%q", got)
		}
	})
	t.Run("all taken", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasTags(t)
		w.file("a.txt", "content")
		w.ok(tag(w, "a.txt", false, []string{"x", "y"}, nil))
		w.ok(tag(w, "a.txt", false, nil, []string{"x", "y"}))
		if got := tagsOf(t, w.path("a.txt")); got != "" {
			t.Errorf("%s", got)
		}
		if meta, err := tagChange(w.path("a.txt"), true, nil, []string{"z"}); err != nil || meta != nil {
			t.Errorf("%s, %v", meta, err)
		}
	})
	t.Run("moved on", func(t *testing.T) { // it is tagged where it came to, twice, and moved away
		w := newWorkshop(t)
		w.hasTags(t)
		w.file("a.txt", "content")
		w.must(os.Mkdir(w.path("to"), 0o755))
		one := tagMetaOf(nil, []byte("one"))
		id := w.step(journal.Rename, "a.txt", "to/a.txt", nil)
		steps := []journal.Step{w.step(journal.Tag, "a.txt", "a.txt", one), id,
			w.step(journal.Tag, "to/a.txt", "to/a.txt", tagMetaOf([]byte("one"), []byte("one,two"))), w.step(journal.Rename, "to/a.txt", "b.txt", nil)}
		steps[2].File, steps[3].File = id.File, id.File
		w.cycle(steps...)
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasTags(t)
		w.file("a.txt", "content")
		s := tag(w, "a.txt", false, []string{"ours"}, nil)
		w.ok(tag(w, "a.txt", false, []string{"theirs"}, nil))
		before := w.there()
		w.problem(w.run(s), errTagsChanged.Error())
		w.problem(w.run(w.step(journal.Tag, "a.txt", "a.txt", []byte("{"))), errMeta.Error())
		sameLines(t, "refusals", before, w.there())
		w.file("a.txt", "edited meanwhile")
		w.problem(w.run(s), errChanged.Error())
		w.must(os.Remove(w.path("a.txt")))
		w.problem(w.run(s), errGone.Error())
	})
	t.Run("undo", func(t *testing.T) {
		w := newWorkshop(t)
		w.hasTags(t)
		path := w.file("a.txt", "content")
		w.ok(tag(w, "a.txt", false, []string{"ours"}, nil))
		w.must(os.WriteFile(path, []byte("edited since, which does not matter"), 0o640))
		w.clean(w.undo())
		w.clean(w.redo())
		w.run(tag(w, "a.txt", false, []string{"theirs"}, nil))
		if res := w.undo(); len(res.Problems) != 1 || res.Skipped != 1 {
			t.Errorf("%+v", res)
		}
		if got := tagsOf(t, path); !strings.Contains(got, "ours") || !strings.Contains(got, "theirs") {
			t.Error(got)
		}
	})
}

func TestTagValues(t *testing.T) {
	for name, c := range map[string]struct {
		encode func([]string) ([]byte, error)
		decode func([]byte) ([]string, error)
	}{"names": {encodeTags, decodeTags}, "list": {encodeTagList, decodeTagList}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				text := rapid.Map(rapid.StringN(1, 40, -1), func(s string) string {
					return "t" + strings.NewReplacer(",", ";", "\x00", "0").Replace(strings.TrimSpace(s))
				})
				tags := rapid.SliceOfN(text, 0, 30).Draw(rt, "tags")
				for i, s := range tags {
					tags[i] = strings.ToValidUTF8(strings.TrimSpace(s), "?")
				}
				b, err := c.encode(tags)
				if err != nil {
					rt.Fatal(err)
				}
				got, err := c.decode(b)
				if err != nil || !slices.Equal(got, tags) {
					rt.Errorf("%q became %q, %v", tags, got, err)
				}
			})
			for _, b := range []string{"bplist00", "bplist00" + strings.Repeat("\xff", 40), strings.Repeat("\x00", 50)} {
				c.decode([]byte(b)) // must come to an end
			}
		})
	}
	if _, err := encodeTags([]string{"a,b"}); err == nil {
		t.Error("a comma parts tags")
	}
	for _, c := range []struct {
		set                     bool
		have, add, remove, want string
	}{
		{false, "a b", "b c", "", "a b c"},
		{false, "a b c", "", "b", "a c"},
		{true, "a b c", "x b", "", "b x"},
		{true, "a", "", "", ""},
		{false, "a\n6 b", "a", "b", "a\n6"},
	} {
		got := changeTags(strings.Split(c.have, " "), c.set, strings.Fields(c.add), strings.Fields(c.remove))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v gives %q", c, got)
		}
	}
}

func FuzzTagList(f *testing.F) {
	for _, tags := range [][]string{nil, {"a"}, {"Red\n6", "ünï"}, {strings.Repeat("long", 100)}} {
		b, err := encodeTagList(tags)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if tags, err := decodeTagList(b); err == nil && len(tags) > len(b) {
			t.Errorf("%d tags in %d bytes", len(tags), len(b))
		}
	})
}

func TestWrite(t *testing.T) {
	write := func(w *workshop, name, text string) journal.Step {
		meta, err := writeMetaOf(writeAppend, []byte(text), nil)
		w.must(err)
		return w.step(journal.Write, "", name, meta)
	}
	for mode, want := range map[string]string{writeAppend: "old\nnew\n", writePrepend: "new\nold\n", writeOverwrite: "new\n"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorkshop(t)
			path := w.file("log.txt", "old\n")
			w.cycle(w.rewrite("log.txt", mode, "new\n")...)
			if got := content(t, path); got != want {
				t.Errorf("%q", got)
			}
			if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o640 || time.Since(info.ModTime()) > time.Hour {
				t.Errorf("%v %v, %v", info.Mode(), info.ModTime(), err)
			}
		})
	}
	t.Run("new", func(t *testing.T) {
		w := newWorkshop(t)
		w.cycle(write(w, "a.txt", "text that is \xff no UTF-8"), write(w, "empty", ""))
	})
	t.Run("taken", func(t *testing.T) {
		for _, conflict := range []Conflict{"", ConflictRename} { // what is to be appended to another file is of no use alone
			w := newWorkshop(t)
			w.opt.Conflict = conflict
			s := write(w, "a.txt", "text")
			w.file("a.txt", "mine")
			before := w.there()
			w.problem(w.run(s), "a.txt exists")
			sameLines(t, "a refusal", before, w.there())
		}
	})
	t.Run("changed before", func(t *testing.T) { // what was planned for another version is not written, and the file stays
		w := newWorkshop(t)
		w.file("log.txt", "old\n")
		steps := w.rewrite("log.txt", writeAppend, "new\n")
		m := w.step(journal.Write, "log.txt", "log.txt", nil)
		w.must(os.WriteFile(w.path("log.txt"), []byte("OLD\n"), 0o640))
		w.must(os.Chtimes(w.path("log.txt"), time.Unix(0, m.File.Mtime), time.Unix(0, m.File.Mtime))) // unseen
		before := w.there()
		if res := w.run(steps...); len(res.Problems) != 2 || res.Moved != 0 {
			t.Errorf("%+v", res)
		}
		sameLines(t, "a refusal", before, w.there())
		if got := namesIn(t, w.can); len(got) > 0 {
			t.Errorf("in the trash: %q", got)
		}
	})
	t.Run("edited since", func(t *testing.T) {
		w := newWorkshop(t)
		path := w.file("log.txt", "old\n")
		w.ok(w.rewrite("log.txt", writeAppend, "new\n")...)
		w.must(os.WriteFile(path, []byte("old\nnew\nmine\n"), 0o640))
		if res := w.undo(); res.Skipped != 2 || res.Failed != 0 {
			t.Errorf("%+v", res)
		}
		if got := content(t, path); got != "old\nnew\nmine\n" {
			t.Errorf("%q", got)
		}
		w.must(os.WriteFile(path, []byte("old\nnew\n"), 0o640)) // put right again
		w.clean(w.undo())
		if got := content(t, path); got != "old\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("trash emptied", func(t *testing.T) { // then a file rather stays than leaves its name to nothing
		w := newWorkshop(t)
		path := w.file("log.txt", "old\n")
		w.ok(w.rewrite("log.txt", writeAppend, "new\n")...)
		for _, name := range namesIn(t, w.can) {
			w.must(os.Remove(filepath.Join(w.can, name)))
		}
		if res := w.undo(); res.Skipped != 2 {
			t.Errorf("%+v", res)
		}
		if got := content(t, path); got != "old\nnew\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("trash emptied after undo", func(t *testing.T) {
		w := newWorkshop(t)
		path := w.file("log.txt", "old\n")
		w.ok(w.rewrite("log.txt", writeAppend, "new\n")...)
		w.clean(w.undo())
		for _, name := range namesIn(t, w.can) {
			w.must(os.Remove(filepath.Join(w.can, name)))
		}
		if res := w.redo(); res.Skipped != 2 {
			t.Errorf("%+v", res)
		}
		if got := content(t, path); got != "old\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("no trash", func(t *testing.T) {
		w := newWorkshop(t)
		w.ok(write(w, "a.txt", "text"))
		w.opt.Trash = nil
		w.problem(w.undo(), errNoTrash.Error())
		if got := content(t, w.path("a.txt")); got != "text" {
			t.Errorf("%q", got)
		}
	})
	t.Run("only", func(t *testing.T) {
		w := newWorkshop(t)
		w.file("log.txt", "old\n")
		steps := append(w.rewrite("log.txt", writeAppend, "new\n"), write(w, "other.txt", "text"))
		before := w.there()
		w.ok(steps...)
		w.clean(w.undo("other.txt"))
		if got := content(t, w.path("log.txt")); got != "old\nnew\n" {
			t.Errorf("%q", got)
		}
		w.clean(w.undo("log.txt"))
		sameLines(t, "undo in parts", before, w.there())
	})
	t.Run("preview", func(t *testing.T) {
		w := newWorkshop(t)
		w.file("log.txt", "old\n")
		w.ok(w.rewrite("log.txt", writeAppend, "new\n")...)
		steps, problems, notes, err := Preview(t.Context(), w.j, w.first(), true, nil, UndoOptions{RunOptions: w.opt})
		if len(steps) != 2 || len(problems) > 0 || len(notes) > 0 || err != nil {
			t.Errorf("%v, %v, %v, %v", steps, problems, notes, err)
		}
	})
	if _, err := writeMetaOf("append ", nil, nil); err == nil {
		t.Error("an unknown mode")
	}
}

func TestExec(t *testing.T) {
	w := newWorkshop(t)
	w.file("a.txt", "content")
	argv, env := []string{"convert", "bad \xff name", "$(x)"}, []string{"FORG_NAME=a b"}
	s := w.step(journal.Exec, "a.txt", "a.txt", execMetaOf(argv, env, nil))
	w.problem(w.run(s), errNoExec.Error())
	var states []journal.State
	w.opt.Exec = func(ctx context.Context, a, e []string, dir string) error {
		if !slices.Equal(a, argv) || !slices.Equal(e, env) || dir != w.dir {
			t.Errorf("%q %q in %s", a, e, dir)
		}
		running, err := w.j.RunningOperations(ctx)
		w.must(err)
		for r, err := range w.j.Steps(ctx, running[0], false) {
			w.must(err)
			states = append(states, r.State)
		}
		return nil
	}
	res := w.ok(w.step(journal.Rename, "a.txt", "b.txt", nil), journal.Step{Action: journal.Exec, FromDir: s.FromDir, From: "b.txt", ToDir: s.ToDir, To: "b.txt", Meta: s.Meta, File: s.File})
	if !slices.Equal(states, []journal.State{journal.Unknown, journal.Started}) || res.Moved != 2 {
		t.Errorf("while it ran: %v; %+v", states, res)
	}
	o, err := w.j.Operation(t.Context(), fmt.Sprint(res.ID))
	w.must(err)
	_, problems, notes, err := Preview(t.Context(), w.j, o, true, nil, UndoOptions{RunOptions: w.opt})
	if len(problems) != 0 || len(notes) != 1 || err != nil {
		t.Errorf("%v, %v, %v", problems, notes, err)
	}
	undone, err := Undo(t.Context(), w.j, o, UndoOptions{RunOptions: w.opt})
	w.must(err)
	w.clean(undone)
	if len(undone.Notes) != 1 || !strings.Contains(undone.Notes[0].Err.Error(), "cannot be undone") {
		t.Errorf("%v", undone.Notes)
	}
	if o, err = w.j.Operation(t.Context(), fmt.Sprint(res.ID)); err != nil || o.Status != journal.Undone {
		t.Errorf("%s, %v", o.Status, err)
	}
	redone, err := Redo(t.Context(), w.j, o, UndoOptions{RunOptions: w.opt})
	w.must(err)
	if len(redone.Notes) != 1 || len(states) != 2 {
		t.Errorf("%v, %d", redone.Notes, len(states))
	}
	w.opt.Exec = func(context.Context, []string, []string, string) error { return errors.New("exit status 7") }
	w.fresh()
	w.problem(w.run(w.step(journal.Exec, "b.txt", "b.txt", s.Meta)), "exit status 7")
	w.problem(w.run(w.step(journal.Exec, "b.txt", "b.txt", execMetaOf(nil, nil, nil))), errMeta.Error())
	alone := w.step(journal.Exec, "b.txt", "b.txt", s.Meta)
	w.must(os.Remove(w.path("b.txt")))
	w.problem(w.run(alone), errGone.Error())
	w.sound()
}

// An operation that only ran programs is undone by saying so.
func TestExecAlone(t *testing.T) {
	w := newWorkshop(t)
	w.file("a.txt", "content")
	w.opt.Exec = func(context.Context, []string, []string, string) error { return nil }
	w.ok(w.step(journal.Exec, "a.txt", "a.txt", execMetaOf([]string{"true"}, nil, nil)))
	if o, err := w.j.LastNotUndone(t.Context()); err != nil || o.ID != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	res := w.undo()
	w.clean(res)
	if len(res.Notes) != 1 || w.first().Status != journal.Undone {
		t.Errorf("%v, %s", res.Notes, w.first().Status)
	}
}

func TestReflink(t *testing.T) {
	testReflink(t, newWorkshop(t), false)
}

// Where the usual file systems share nothing, a disk of btrfs in a file does.
func TestReflinkShares(t *testing.T) {
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("REFLINKS NOT TESTED: %v needs root and btrfs-progs: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	testReflink(t, openWorkshop(t, at), true)
}

func testReflink(t *testing.T, w *workshop, must bool) {
	path := w.file("a.bin", strings.Repeat("content ", 10_000))
	w.file("empty", "")
	src, err := os.Open(path)
	w.must(err)
	defer src.Close()
	dir := openTest(t, w.dir)
	probe, err := clone(src, dir, "probe")
	if err != nil {
		if must || !errors.Is(err, errNoReflink) {
			t.Fatal(err)
		}
		before := w.there()
		w.problem(w.run(w.step(journal.Copy, "a.bin", "b.bin", []byte(reflinkMeta))), errNoReflink.Error())
		sameLines(t, "a refusal", before, w.there())
		return // TestReflinkShares has the rest
	}
	w.must(errors.Join(probe.Close(), dir.unlink("probe")))
	w.cycle(w.step(journal.Copy, "a.bin", "b.bin", []byte(reflinkMeta)), w.step(journal.Copy, "empty", "empty too", []byte(reflinkMeta)))
}

func TestWriteMeta(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text, before := rapid.SliceOf(rapid.Byte()).Draw(rt, "text"), rapid.SliceOf(rapid.Byte()).Draw(rt, "before")
		mode := rapid.SampledFrom([]string{writeAppend, writePrepend, writeOverwrite}).Draw(rt, "mode")
		b, err := writeMetaOf(mode, text, bytes.NewReader(before))
		if err != nil {
			rt.Fatal(err)
		}
		var m writeMeta
		if err := unmarshalMeta(b, &m); err != nil {
			rt.Fatal(err)
		}
		want := map[string][]byte{writeAppend: slices.Concat(before, text), writePrepend: slices.Concat(text, before), writeOverwrite: text}[mode]
		var got bytes.Buffer
		if n, err := m.compose(&got, io.Reader(bytes.NewReader(before))); err != nil || n != m.Size || !bytes.Equal(got.Bytes(), want) {
			rt.Errorf("%q, %v", got.Bytes(), err)
		}
	})
}
