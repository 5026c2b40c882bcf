package organizer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"forg/journal"
	"forg/organizer/archive"
)

var archived = time.Date(2019, 3, 4, 5, 6, 7, 0, time.UTC)

// file, folder, symbolic and hard are entries of a tar.
func tarFile(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Size: int64(len(content)), ModTime: archived}, content}
}

func tarFolder(name string) tarEntry {
	return tarEntry{tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o750, ModTime: archived.Add(time.Hour)}, ""}
}

func tarLink(kind byte, name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777, ModTime: archived}, ""}
}

type tarEntry struct {
	tar.Header
	content string
}

func tarOf(t testing.TB, entries ...tarEntry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// extractTest extracts an archive of the desk and returns what is in the new folder.
func extractTest(t *testing.T, w *workshop, content string) (*Result, map[string]string) {
	t.Helper()
	w.file("a.tar", content)
	res := w.run(w.step(journal.Extract, "a.tar", "a", nil))
	return res, treeOf(t, w.path("a"))
}

// treeOf are the contents of files, the texts of links and "folder", by path. It is nil if there is no such folder.
func treeOf(t testing.TB, path string) map[string]string {
	t.Helper()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all := map[string]string{}
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == path {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			all[rel] = "folder"
		case d.Type()&fs.ModeSymlink != 0:
			text, err := os.Readlink(p)
			if err != nil {
				return err
			}
			all[rel] = "-> " + text
		case d.Type().IsRegular():
			all[rel] = content(t, p)
		default:
			all[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t testing.TB, want, got map[string]string) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%q is %.100q, not %.100q", k, g, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%q is there: %.100q", k, v)
		}
	}
}

func TestExtract(t *testing.T) {
	w := newWorkshop(t)
	entries := []tarEntry{tarFolder("in"), tarFile("in/a.txt", "first"), tarFile("top.txt", "second"), tarFile("made/b", ""), tarFile("./c.txt", "third"),
		tarFile("ünï – 漢字.txt", "fourth")}
	if runtime.GOOS != "windows" {
		entries = append(entries, tarLink(tar.TypeSymlink, "made/link", "../in/a.txt"), tarLink(tar.TypeLink, "hard.txt", "in/a.txt"))
	}
	w.file("a.tar.gz", gzipped(t, tarOf(t, entries...)))
	w.cycle(w.step(journal.Extract, "a.tar.gz", "a", nil))
	want := map[string]string{"in": "folder", "in/a.txt": "first", "top.txt": "second", "made": "folder", "made/b": "", "c.txt": "third", "ünï – 漢字.txt": "fourth"}
	if runtime.GOOS != "windows" {
		want["made/link"], want["hard.txt"] = "-> ../in/a.txt", "first"
	}
	sameTree(t, want, treeOf(t, w.path("a")))
	info, err := os.Stat(w.path("a/in/a.txt"))
	w.must(err)
	dir, err := os.Stat(w.path("a/in"))
	w.must(err)
	if !info.ModTime().Equal(archived) || !dir.ModTime().Equal(archived.Add(time.Hour)) {
		t.Errorf("%v and %v", info.ModTime(), dir.ModTime())
	}
	if runtime.GOOS != "windows" {
		if info.Mode() != 0o640 || dir.Mode() != fs.ModeDir|0o750 {
			t.Errorf("%v and %v", info.Mode(), dir.Mode())
		}
		if hard, err := os.Stat(w.path("a/hard.txt")); err != nil || !os.SameFile(hard, info) {
			t.Errorf("no hard link: %v", err)
		}
	}
}

// An archive goes to the trash with what is extracted of it standing, and comes back when that has gone.
func TestExtractAndTrash(t *testing.T) {
	w := newWorkshop(t)
	w.file("a.tar", tarOf(t, tarFile("x", "content")))
	extract, trash := w.step(journal.Extract, "a.tar", "a", nil), w.step(journal.Trash, "a.tar", filepath.Join(w.can, trashName(w.path("a.tar"))), nil)
	extract.Unit, trash.Unit = 1, 1
	w.cycle(extract, trash)
}

func TestExtractSingleFolder(t *testing.T) {
	for _, c := range []struct {
		entries []tarEntry
		want    map[string]string
	}{
		{[]tarEntry{tarFolder("a"), tarFile("a/x", "x"), tarFile("a/in/y", "y")}, map[string]string{"x": "x", "in": "folder", "in/y": "y"}},
		{[]tarEntry{tarFile("a/x", "x")}, map[string]string{"x": "x"}},
		{[]tarEntry{tarFolder("a")}, map[string]string{}},
		{[]tarEntry{tarFile("a/a/x", "x")}, map[string]string{"a": "folder", "a/x": "x"}},
		{[]tarEntry{tarFile("b/x", "x")}, map[string]string{"b": "folder", "b/x": "x"}},
		{[]tarEntry{tarFile("a/x", "x"), tarFile("y", "y")}, map[string]string{"a": "folder", "a/x": "x", "y": "y"}},
		{[]tarEntry{tarFile("a", "a file")}, map[string]string{"a": "a file"}},
	} {
		w := newWorkshop(t)
		w.file("a.tar", tarOf(t, c.entries...))
		w.cycle(w.step(journal.Extract, "a.tar", "a", nil))
		sameTree(t, c.want, treeOf(t, w.path("a")))
	}
	w := newWorkshop(t)
	_, _ = extractTest(t, w, tarOf(t, tarFolder("a"), tarFile("a/x", "x")))
	if info, err := os.Stat(w.path("a")); err != nil || !info.ModTime().Equal(archived.Add(time.Hour)) {
		t.Errorf("%v, %v", info.ModTime(), err)
	}
}

// What archives made to do harm ask for.
func TestExtractHostile(t *testing.T) {
	long := strings.Repeat("n", 300)
	numbered := func(n int) string { return fmt.Sprintf("same (%d).txt", n) }
	same := []tarEntry{}
	sameWant := map[string]string{"same.txt": "0"}
	for i := range 500 {
		same = append(same, tarFile("same.txt", fmt.Sprint(i)))
		if i > 0 {
			sameWant[numbered(i+1)] = fmt.Sprint(i)
		}
	}
	cases := map[string]struct {
		entries  []tarEntry
		want     map[string]string
		problems int
		unix     bool // is about links
	}{
		"above":    {[]tarEntry{tarFile("../evil", "x"), tarFile("in/../../evil", "x"), tarFile("ok", "y")}, map[string]string{"ok": "y"}, 2, false},
		"absolute": {[]tarEntry{tarFile("/evil", "x"), tarFile(`\evil`, "x"), tarFile("C:/evil", "x"), tarFile("ok", "y")}, map[string]string{"ok": "y"}, 3, false},
		"nothing":  {[]tarEntry{tarFile("../evil", "x")}, nil, 1, false},
		"empty":    {nil, nil, 1, false},
		"itself":   {[]tarEntry{tarFolder("."), tarFile("./ok", "y")}, map[string]string{"ok": "y"}, 0, false},
		"through a link": {[]tarEntry{tarLink(tar.TypeSymlink, "link", ".."), tarFile("link/evil", "x"), tarFile("ok", "y")},
			map[string]string{"link": "folder", "link/evil": "x", "ok": "y"}, 1, true},
		"through a good link": {[]tarEntry{tarFile("dir/ok", "y"), tarLink(tar.TypeSymlink, "link", "dir"), tarFile("link/new", "x")},
			map[string]string{"dir": "folder", "dir/ok": "y", "link": "folder", "link/new": "x", "link (2)": "-> dir"}, 0, true},
		"over a link": {[]tarEntry{tarLink(tar.TypeSymlink, "link", "ok"), tarFile("link", "x"), tarFile("ok", "y")},
			map[string]string{"link": "x", "link (2)": "-> ok", "ok": "y"}, 0, true},
		"links that lead outside": {[]tarEntry{tarLink(tar.TypeSymlink, "a", "/etc/passwd"), tarLink(tar.TypeSymlink, "in/b", "../../x"), tarLink(tar.TypeSymlink, "c", "in/.."),
			tarLink(tar.TypeSymlink, "d", ""), tarFile("ok", "y"), tarLink(tar.TypeSymlink, "in/e", "../ok"), tarLink(tar.TypeSymlink, "in/f", ".//./g"), tarLink(tar.TypeSymlink, "h", ".")},
			map[string]string{"ok": "y", "in": "folder", "in/e": "-> ../ok", "in/f": "-> .//./g", "h": "-> ."}, 4, true},
		"a link that leads outside without its folder": {[]tarEntry{tarFile("a/ok", "y"), tarLink(tar.TypeSymlink, "a/link", "../x")},
			map[string]string{"ok": "y"}, 1, true},
		"hard links": {[]tarEntry{tarFile("ok", "y"), tarLink(tar.TypeLink, "good", "./ok"), tarLink(tar.TypeLink, "outside", "/etc/passwd"), tarLink(tar.TypeLink, "above", "../../x"),
			tarLink(tar.TypeLink, "missing", "nothing"), tarLink(tar.TypeSymlink, "link", "ok"), tarLink(tar.TypeLink, "of a link", "link")},
			map[string]string{"ok": "y", "good": "y", "link": "-> ok"}, 4, true},
		"devices": {[]tarEntry{{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""}, {tar.Header{Name: "fifo", Typeflag: tar.TypeFifo}, ""},
			{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}, tarFile("ok", "y")}, map[string]string{"ok": "y"}, 3, false},
		"one name for many": {same, sameWant, 0, false},
		"a file that is a folder": {[]tarEntry{tarFile("a", "x"), tarFile("a/b", "y"), tarFile("c/d", "z"), tarFile("c", "w")},
			map[string]string{"a": "x", "a (2)": "folder", "a (2)/b": "y", "c": "folder", "c/d": "z", "c (2)": "w"}, 0, false},
		"long names": {[]tarEntry{tarFile(long+".txt", "x"), tarFile(long+"2.txt", "y"), tarFile(long+"/"+long, "z")},
			map[string]string{strings.Repeat("n", 251) + ".txt": "x", strings.Repeat("n", 247) + " (2).txt": "y", strings.Repeat("n", 255): "folder",
				strings.Repeat("n", 255) + "/" + strings.Repeat("n", 255): "z"}, 0, false},
		"deep": {[]tarEntry{tarFile(strings.Repeat("d/", 5000)+"x", "x"), tarFile(strings.Repeat("e/", 128)+"x", "x"), tarFile("ok", "y")}, map[string]string{"ok": "y"}, 2, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.unix && runtime.GOOS == "windows" {
				t.Skip("no links")
			}
			w := newWorkshop(t)
			outside := w.file("keep", "mine")
			res, got := extractTest(t, w, tarOf(t, c.entries...))
			if len(res.Problems) != c.problems {
				t.Errorf("%d problems: %v", len(res.Problems), res.Problems)
			}
			sameTree(t, c.want, got)
			if content(t, outside) != "mine" {
				t.Error("a file outside was changed")
			}
			desk := []string{"a", "a.tar", "keep"}
			if c.want == nil {
				desk = desk[1:]
			}
			names := namesIn(t, w.dir)
			slices.Sort(names)
			if !slices.Equal(names, desk) {
				t.Errorf("%q", names)
			}
			above := namesIn(t, filepath.Dir(w.dir))
			slices.Sort(above)
			if len(above) != 3 {
				t.Errorf("beside the desk: %q", above)
			}
			if c.want != nil {
				w.clean(w.undo())
				if names := namesIn(t, w.dir); len(names) != 2 {
					t.Errorf("after the undo: %q", names)
				}
			}
		})
	}
}

func TestExtractModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	w := newWorkshop(t)
	odd := func(e tarEntry, mode int64) tarEntry { e.Mode = mode; return e }
	res, _ := extractTest(t, w, tarOf(t, odd(tarFile("setuid", "x"), 0o6755), odd(tarFile("none", "x"), 0), odd(tarFile("secret", "x"), 0o400),
		odd(tarFolder("sticky"), 0o3755), odd(tarFolder("closed"), 0o555), tarFile("closed/in", "x")))
	w.clean(res)
	for name, want := range map[string]fs.FileMode{"setuid": 0o755, "secret": 0o400, "sticky": fs.ModeDir | 0o755, "closed": fs.ModeDir | 0o755} {
		if info, err := os.Stat(w.path("a/" + name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	w.clean(w.undo())
}

func TestExtractTimes(t *testing.T) {
	w := newWorkshop(t)
	e := tarFile("x", "x")
	for i, at := range []time.Time{{}, time.Unix(-1<<40, 0), time.Unix(1<<40, 0), time.Unix(1, 999)} {
		e.ModTime, e.Format = at, tar.FormatPAX
		w.file("a.tar", tarOf(t, e))
		w.clean(w.run(w.step(journal.Extract, "a.tar", fmt.Sprint("a", i), nil)))
	}
	w.clean(w.undo())
}

func TestExtractLimits(t *testing.T) {
	bomb := gzipped(t, tarOf(t, tarFile("ok", "y"), tarFile("zeros", strings.Repeat("\x00", 50<<20))))
	w := newWorkshop(t)
	w.opt.Archives = archive.Limits{Ratio: 100}
	before := append(w.there(), "")
	res, got := extractTest(t, w, bomb)
	w.problem(res, archive.ErrLimit.Error())
	if got != nil {
		t.Errorf("%d entries", len(got))
	}
	if names := namesIn(t, w.dir); len(names) != 1 {
		t.Errorf("%q of %q", names, before)
	}
	w.opt.Archives = archive.Limits{Entries: 3}
	res, _ = extractTest(t, w, tarOf(t, tarFile("1", ""), tarFile("2", ""), tarFile("3", ""), tarFile("4", "")))
	w.problem(res, archive.ErrLimit.Error())
	w.opt.Archives = archive.Limits{}
	res, _ = extractTest(t, w, tarOf(t, tarFile("1", strings.Repeat("x", 1000)))[:900])
	w.problem(res, archive.ErrDamaged.Error())
	res, _ = extractTest(t, w, "plain text")
	w.problem(res, archive.ErrFormat.Error())
	if names := namesIn(t, w.dir); len(names) != 1 {
		t.Errorf("%q", names)
	}
}

func TestExtractMany(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	w := newWorkshop(t)
	var entries []tarEntry
	for i := range 100_000 {
		entries = append(entries, tarFile(fmt.Sprintf("%d/%d/%d", i%7, i%100, i), "x"))
	}
	w.file("a.tar", tarOf(t, entries...))
	start := time.Now()
	w.ok(w.step(journal.Extract, "a.tar", "a", nil))
	t.Logf("100,000 entries extracted in %v", time.Since(start))
	start = time.Now()
	w.clean(w.undo())
	t.Logf("and taken back in %v", time.Since(start))
}

// Names that are one where case does not count get a number there; elsewhere all keep theirs.
func TestExtractCase(t *testing.T) {
	w := newWorkshop(t)
	res, got := extractTest(t, w, tarOf(t, tarFile("Read.txt", "1"), tarFile("READ.TXT", "2"), tarFile("Dir/x", "3"), tarFile("dir/x", "4")))
	w.clean(res)
	want := map[string]string{"Read.txt": "1", "READ.TXT": "2", "Dir": "folder", "Dir/x": "3", "dir": "folder", "dir/x": "4"}
	if foldsNames(w.dir) != nil && foldsNames(w.dir)("A") == foldsNames(w.dir)("a") {
		want = map[string]string{"Read.txt": "1", "READ (2).TXT": "2", "Dir": "folder", "Dir/x": "3", "dir (2)": "folder", "dir (2)/x": "4"}
	}
	sameTree(t, want, got)
}

func TestExtractZip(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"a/", `a\b.txt`, "a/b.txt", "c.txt"} {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Modified: archived, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			fmt.Fprint(f, name)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorkshop(t)
	res, got := extractTest(t, w, b.String())
	w.clean(res)
	sameTree(t, map[string]string{"a": "folder", "a/b.txt": `a\b.txt`, "a/b (2).txt": "a/b.txt", "c.txt": "c.txt"}, got)
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0].Err.Error(), "b (2).txt") {
		t.Errorf("%v", res.Notes)
	}
}

func TestExtractUndo(t *testing.T) {
	for name, change := range map[string]func(w *workshop){
		"edited":   func(w *workshop) { w.must(os.WriteFile(w.path("a/in/x"), []byte("edited"), 0o640)) },
		"added":    func(w *workshop) { w.file("a/in/new", "mine") },
		"removed":  func(w *workshop) { w.must(os.Remove(w.path("a/in/x"))) },
		"renamed":  func(w *workshop) { w.must(os.Rename(w.path("a/in/x"), w.path("a/in/y"))) },
		"folder":   func(w *workshop) { w.must(os.Mkdir(w.path("a/new"), 0o755)) },
		"replaced": func(w *workshop) { w.must(os.RemoveAll(w.path("a"))); w.file("a/in/x", "x") },
		"a file":   func(w *workshop) { w.must(os.RemoveAll(w.path("a"))); w.file("a", "mine") },
		"gone":     func(w *workshop) { w.must(os.RemoveAll(w.path("a"))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t)
			w.file("a.tar", tarOf(t, tarFile("in/x", "x")))
			w.ok(w.step(journal.Extract, "a.tar", "a", nil))
			change(w)
			before := w.there()
			if res := w.undo(); len(res.Problems) != 1 || res.Skipped != 1 || res.Failed != 0 {
				t.Errorf("%+v", res)
			}
			sameLines(t, "undo", before, w.there())
		})
	}
	t.Run("read", func(t *testing.T) { // that somebody looked into it is no change
		w := newWorkshop(t)
		w.file("a.tar", tarOf(t, tarFile("in/x", "x")))
		w.ok(w.step(journal.Extract, "a.tar", "a", nil))
		treeOf(t, w.path("a"))
		w.clean(w.undo())
	})
	t.Run("again", func(t *testing.T) { // its name is taken when it is to come back
		w := newWorkshop(t)
		w.file("a.tar", tarOf(t, tarFile("in/x", "x")))
		w.ok(w.step(journal.Extract, "a.tar", "a", nil))
		w.clean(w.undo())
		w.file("a", "mine")
		if res := w.redo(); res.Skipped != 1 || content(t, w.path("a")) != "mine" {
			t.Errorf("%+v", res)
		}
	})
}

func TestExtractRefused(t *testing.T) {
	w := newWorkshop(t)
	content := tarOf(t, tarFile("x", "x"))
	w.file("a.tar", content)
	s := w.step(journal.Extract, "a.tar", "a", nil)
	w.file("a", "mine")
	w.problem(w.run(s), "a exists")
	w.opt.Conflict = ConflictRename
	w.cycleFrom(2, s)
	sameTree(t, map[string]string{"x": "x"}, treeOf(t, w.path("a (2)")))
	w.must(os.Remove(w.path("a.tar")))
	w.problem(w.run(s), errGone.Error())
	w.file("a.tar", content+"more")
	w.problem(w.run(s), errChanged.Error())
	// What could not be taken out of an archive keeps it where it is.
	w.file("b.tar", tarOf(t, tarFile("../x", "x"), tarFile("y", "y")))
	extract, trash := w.step(journal.Extract, "b.tar", "b", nil), w.step(journal.Trash, "b.tar", filepath.Join(w.can, trashName(w.path("b.tar"))), nil)
	extract.Unit, trash.Unit = 1, 1
	if res := w.run(extract, trash); len(res.Problems) != 2 || res.Moved != 1 {
		t.Errorf("%+v", res)
	}
	if _, err := os.Stat(w.path("b.tar")); err != nil {
		t.Error(err)
	}
}

// cycleFrom is cycle for steps that are another operation than the first.
func (w *workshop) cycleFrom(id int64, steps ...journal.Step) {
	w.t.Helper()
	before := w.there()
	res := w.ok(steps...)
	if res.ID != id {
		w.t.Fatalf("operation %d", res.ID)
	}
	o, err := w.j.Operation(context.Background(), fmt.Sprint(id))
	w.must(err)
	after := w.there()
	undone, err := Undo(context.Background(), w.j, o, UndoOptions{RunOptions: w.opt})
	w.must(err)
	w.clean(undone)
	sameLines(w.t, "undo", before, w.there())
	if o, err = w.j.Operation(context.Background(), fmt.Sprint(id)); err != nil {
		w.t.Fatal(err)
	}
	redone, err := Redo(context.Background(), w.j, o, UndoOptions{RunOptions: w.opt})
	w.must(err)
	w.clean(redone)
	sameLines(w.t, "redo", after, w.there())
}

func TestExtractStopped(t *testing.T) {
	w := newWorkshop(t)
	var entries []tarEntry
	for i := range 1000 {
		entries = append(entries, tarFile(fmt.Sprint(i), "x"))
	}
	w.file("a.tar", tarOf(t, entries...))
	s := w.step(journal.Extract, "a.tar", "a", nil)
	ctx, cancel := context.WithCancel(t.Context())
	w.opt.Step = func(*journal.Step, error) { cancel() }
	w.file("b.txt", "x")
	res, err := w.runCtx(ctx, w.step(journal.Rename, "b.txt", "c.txt", nil), s)
	if !errors.Is(err, context.Canceled) || res.Status != journal.Interrupted || len(res.Problems) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if names := namesIn(t, w.dir); len(names) != 2 {
		t.Errorf("%q", names)
	}
	// The same in the middle of it.
	w.fresh()
	x := &extraction{ctx: ctx, top: &extracted{}, files: map[string]spot{}}
	src, err := os.Open(w.path("a.tar"))
	w.must(err)
	defer src.Close()
	dir := openTest(t, w.dir)
	w.must(dir.mkdir(tempPrefix+"x", 0o700))
	if _, _, err := x.run(dir, tempPrefix+"x", "a", src, 1<<20, "a.tar", archive.Limits{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.must(removeHidden(dir, tempPrefix+"x"))
}

// No text of a link that is let through leads outside, however links lead through each other.
func TestLinksStayInside(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no links")
	}
	base := fastFolder(t)
	rapid.Check(t, func(rt *rapid.T) {
		top, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(top)
		dirs := []string{".", "a", "a/b", "a/b/c", "d"}
		for _, d := range dirs {
			if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
				rt.Fatal(err)
			}
		}
		part := rapid.SampledFrom([]string{"..", "..", ".", "", "a", "b", "c", "d", "l0", "l1", "l2", "l3"})
		for i := range rapid.IntRange(1, 4).Draw(rt, "links") {
			dir := rapid.SampledFrom(dirs).Draw(rt, "dir")
			target := strings.Join(rapid.SliceOfN(part, 1, 6).Draw(rt, "target"), "/")
			depth := 0
			if dir != "." {
				depth = 1 + strings.Count(dir, "/")
			}
			if staysInside(target, depth) == nil {
				os.Symlink(target, filepath.Join(top, dir, fmt.Sprint("l", i)))
			}
		}
		for _, d := range dirs {
			for i := range 4 {
				end, err := filepath.EvalSymlinks(filepath.Join(top, d, fmt.Sprint("l", i)))
				if err == nil && !Within(end, top) {
					rt.Errorf("%s/l%d leads to %s", d, i, end)
				}
			}
		}
	})
}

// Whatever names an archive has, all is made inside, nothing is lost of what is good, and undo takes all back.
func TestExtractAnyNames(t *testing.T) {
	all := fastFolder(t)
	rapid.Check(t, func(rt *rapid.T) {
		base, err := os.MkdirTemp(all, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(base)
		w := openWorkshop(t, base)
		part := rapid.OneOf(rapid.SampledFrom([]string{"a", "A", "b", "..", ".", "", "a", "x.txt", "a (2)", "con", "ünï", "$(x)", "x\n"}), rapid.StringN(1, 10, 40))
		var entries []tarEntry
		kinds := rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo})
		names := rapid.Map(rapid.SliceOfN(part, 1, 4), func(p []string) string { return strings.ReplaceAll(strings.Join(p, "/"), "\x00", "0") })
		for i := range rapid.IntRange(1, 12).Draw(rt, "entries") {
			name, kind := names.Draw(rt, "name"), kinds.Draw(rt, "kind")
			e := tarEntry{tar.Header{Name: name, Typeflag: kind, Mode: 0o755, ModTime: archived, Format: tar.FormatPAX}, ""}
			switch kind {
			case tar.TypeReg:
				e.content = fmt.Sprint("content ", i)
				e.Size = int64(len(e.content))
				e.Name = strings.TrimRight(name, "/") + "f" // or the reader takes it for a folder
			case tar.TypeSymlink, tar.TypeLink:
				e.Linkname = names.Draw(rt, "target")
				e.Name = strings.TrimRight(name, "/") + "l"
			case tar.TypeFifo:
				e.Name = strings.TrimRight(name, "/") + "p"
			}
			entries = append(entries, e)
		}
		w.file("a.tar", tarOf(t, entries...))
		before := w.there()
		res := w.run(w.step(journal.Extract, "a.tar", "a", nil))
		if above := namesIn(t, base); len(above) != 3 {
			rt.Errorf("beside the desk: %q", above)
		}
		if len(namesIn(t, w.dir)) > 2 {
			rt.Errorf("on the desk: %q", namesIn(t, w.dir))
		}
		good := 0
		for _, e := range entries {
			if _, err := archive.Clean(e.Name); err == nil && e.Typeflag == tar.TypeReg {
				good++
			}
		}
		found := 0
		for _, c := range treeOf(t, w.path("a")) {
			if strings.HasPrefix(c, "content ") {
				found++
			}
		}
		if runtime.GOOS == "linux" && found < good {
			rt.Errorf("%d of %d files: %v", found, good, res.Problems)
		}
		if res.Moved > 0 {
			w.clean(w.undo())
		}
		sameLines(rt2{t, rt}, "undo", before, w.there())
		w.j.Close()
	})
}

// rt2 lets a check inside a property fail it.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Errorf(format string, args ...any) { r.rt.Errorf(format, args...) }
func (r rt2) Helper()                           {}
