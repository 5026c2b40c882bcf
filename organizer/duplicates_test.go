package organizer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"forg/journal"
	"forg/rules"
)

// lay makes a tree of lines: "path=content@day" is a file that was last changed on that day of January 2020, "path->other"
// another name of one that is there.
func lay(t interface{ Fatal(...any) }, dir string, lines ...string) {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range lines {
		if name, of, ok := strings.Cut(line, "->"); ok {
			must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			must(os.Link(filepath.Join(dir, of), filepath.Join(dir, name)))
			continue
		}
		name, rest, _ := strings.Cut(line, "=")
		text, day, dated := strings.Cut(rest, "@")
		path := filepath.Join(dir, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, []byte(text), 0o644))
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		if dated {
			var n int
			_, err := fmt.Sscan(day, &n)
			must(err)
			at = at.AddDate(0, 0, n)
		}
		must(os.Chtimes(path, at, at))
	}
}

// findIn scans folders below dir as forg dupes does, and finds duplicates in them. Paths of opt are below dir too.
func findIn(t interface{ Fatal(...any) }, dir string, opt DuplicateOptions, roots ...string) *Duplicates {
	abs := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, p := range paths {
			out[i] = filepath.Join(dir, p)
		}
		return out
	}
	opt.Priority, opt.Reference, roots = abs(opt.Priority), abs(opt.Reference), abs(roots)
	var trees []*Tree
	for _, r := range roots {
		tree, err := Scan(context.Background(), r, rules.Builtin(), ScanOptions{Recursive: true, Projects: true, VersionControl: true, Changed: true})
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
	}
	tree := Join(trees)
	tree.Roots = roots
	d, err := FindDuplicates(context.Background(), tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rolesIn is each group in a line: "role path" of its files, and why the first stays.
func rolesIn(d *Duplicates, dir string) []string {
	out := []string{}
	for _, g := range d.Groups {
		var parts []string
		for _, c := range g.Files {
			rel, _ := filepath.Rel(dir, d.Tree.Path(c.File))
			parts = append(parts, c.Role.String()+" "+filepath.ToSlash(rel))
		}
		out = append(out, strings.Join(parts, ", ")+" ("+g.Why+")")
	}
	return out
}

// TestKeep is the policy, case by case.
func TestKeep(t *testing.T) {
	three := []string{"a/long/name=x@3", "b/old=x@1", "c/new=x@5"}
	for _, c := range []struct {
		name  string
		files []string
		roots []string // "." if there are none
		opt   DuplicateOptions
		want  []string
	}{
		{"oldest", three, nil, DuplicateOptions{}, []string{"kept b/old, superfluous a/long/name, superfluous c/new (oldest)"}},
		{"newest", three, nil, DuplicateOptions{Keep: KeepNewest}, []string{"kept c/new, superfluous a/long/name, superfluous b/old (newest)"}},
		{"shortest", three, nil, DuplicateOptions{Keep: KeepShortest}, []string{"kept b/old, superfluous c/new, superfluous a/long/name (first by name)"}},
		{"longest", three, nil, DuplicateOptions{Keep: KeepLongest}, []string{"kept a/long/name, superfluous b/old, superfluous c/new (longest path)"}},
		{"first", three, []string{"c", "a", "b"}, DuplicateOptions{Keep: KeepFirst}, []string{"kept c/new, superfluous a/long/name, superfluous b/old (first folder given)"}},
		{"priority", three, nil, DuplicateOptions{Priority: []string{"nowhere", "c", "a"}}, []string{"kept c/new, superfluous a/long/name, superfluous b/old (priority)"}},
		{"priority alone", three, nil, DuplicateOptions{Keep: KeepPriority, Priority: []string{"a"}}, []string{"kept a/long/name, superfluous b/old, superfluous c/new (priority)"}},
		{"reference before priority", three, nil, DuplicateOptions{Priority: []string{"b"}, Reference: []string{"c"}},
			[]string{"kept c/new, superfluous b/old, superfluous a/long/name (reference)"}},
		{"of references none goes", three, nil, DuplicateOptions{Reference: []string{"c", "a"}}, []string{"kept a/long/name, reference c/new, superfluous b/old (reference)"}},
		{"with a reference only its contents count", append(slices.Clone(three), "a/y=y", "b/y=y"), nil, DuplicateOptions{Reference: []string{"c"}},
			[]string{"kept c/new, superfluous b/old, superfluous a/long/name (reference)"}},
		{"a reference alone", []string{"ref/a=x", "ref/b=x"}, nil, DuplicateOptions{Reference: []string{"ref"}}, []string{}},
		{"copies", three, nil, DuplicateOptions{MinCopies: 2}, []string{"kept b/old, kept a/long/name, superfluous c/new (oldest)"}},
		{"enough copies", three, nil, DuplicateOptions{MinCopies: 3}, []string{}},
		{"references are copies", three, nil, DuplicateOptions{MinCopies: 2, Reference: []string{"c", "a"}}, []string{"kept a/long/name, reference c/new, superfluous b/old (reference)"}},
		{"isolated", []string{"a/1=x@1", "a/2=x@2", "b/1=x@3", "b/2=x@4"}, []string{"a", "b"}, DuplicateOptions{Isolate: true},
			[]string{"kept a/1, isolated a/2, superfluous b/1, superfluous b/2 (in the folder that stays)"}},
		{"isolated in one", []string{"a/1=x@1", "a/2=x@2"}, []string{"a", "."}, DuplicateOptions{Isolate: true}, []string{}},
		{"hard links are one file", []string{"a/1=x@1", "a/2->a/1"}, nil, DuplicateOptions{}, []string{}},
		{"all names of a file go", []string{"a/1=x@1", "b/1=x@2", "c/2->b/1"}, nil, DuplicateOptions{}, []string{"kept a/1, superfluous b/1, superfluous c/2 (oldest)"}},
		{"all names of a file stay", []string{"a/1=x@1", "b/1=x@2", "c/2->a/1"}, nil, DuplicateOptions{}, []string{"kept a/1, linked c/2, superfluous b/1 (oldest)"}},
		{"a name in a reference holds the others", []string{"a/1=x@1", "ref/1=x@2", "b/1->ref/1"}, nil, DuplicateOptions{Reference: []string{"ref"}},
			[]string{"kept ref/1, superfluous a/1, linked b/1 (reference)"}},
		{"a project stays", []string{"repo/.git/x=", "repo/1=x@1", "b/1=x@2", "c/1=x@3"}, nil, DuplicateOptions{}, []string{"kept b/1, superfluous c/1, protected repo/1 (oldest)"}},
		{"and does not count", []string{"repo/.git/x=", "repo/1=x@1", "b/1=x@2"}, nil, DuplicateOptions{}, []string{}},
		{"a project like any other", []string{"repo/.git/x=", "repo/1=x@1", "b/1=x@2"}, nil, DuplicateOptions{Projects: true}, []string{"kept repo/1, superfluous b/1 (oldest)"}},
		{"a name in a project holds the others", []string{"repo/.git/x=", "repo/1=x@3", "b/1=x@2", "c/1->repo/1", "d/1=x@4"}, nil, DuplicateOptions{},
			[]string{"kept b/1, linked c/1, superfluous d/1, protected repo/1 (oldest)"}},
		{"empty files", []string{"a/1=", "b/1="}, nil, DuplicateOptions{}, []string{}},
		{"empty files as well", []string{"a/1=", "b/1="}, nil, DuplicateOptions{Empty: true}, []string{"kept a/1, superfluous b/1 (first by name)"}},
		{"too small", []string{"a/1=xx", "b/1=xx", "a/2=yyy", "b/2=yyy"}, nil, DuplicateOptions{MinSize: 3}, []string{"kept a/2, superfluous b/2 (first by name)"}},
		{"too large", []string{"a/1=xx", "b/1=xx", "a/2=yyy", "b/2=yyy"}, nil, DuplicateOptions{MaxSize: 2}, []string{"kept a/1, superfluous b/1 (first by name)"}},
		{"a folder given twice", []string{"a/1=x", "b/1=y"}, []string{"a", "a", "b", "."}, DuplicateOptions{}, []string{}},
		{"a folder in another", []string{"a/1=x@2", "a/b/1=x@1"}, []string{"a", "a/b"}, DuplicateOptions{}, []string{"kept a/b/1, superfluous a/1 (oldest)"}},
		{"most first", []string{"a/1=x", "b/1=x", "a/2=yyyy", "b/2=yyyy", "a/3=zz", "b/3=zz", "c/3=zz"}, nil, DuplicateOptions{Keep: KeepOldest},
			[]string{"kept a/2, superfluous b/2 (first by name)", "kept a/3, superfluous b/3, superfluous c/3 (first by name)", "kept a/1, superfluous b/1 (first by name)"}},
		{"a whole folder stays", []string{"a/1=x@1", "a/2=y@5", "b/1=x@3", "b/2=y@4", "b.also=y@0"}, nil, DuplicateOptions{},
			[]string{"kept b.also, superfluous a/2, superfluous b/2 (oldest)", "kept a/1, superfluous b/1 (in the folder that stays)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			lay(t, dir, c.files...)
			if c.roots == nil {
				c.roots = []string{"."}
			}
			d := findIn(t, dir, c.opt, c.roots...)
			if diff := cmp.Diff(c.want, rolesIn(d, dir)); diff != "" {
				t.Error(diff)
			}
			if len(d.Problems) > 0 {
				t.Error(d.Problems)
			}
		})
	}
}

// TestFolderCopies shows which folders are told of, and which are not.
func TestFolderCopies(t *testing.T) {
	year := func(at string) []string { return []string{at + "/1=one", at + "/2=two", at + "/sub/3=three"} }
	for _, c := range []struct {
		name  string
		files []string
		opt   DuplicateOptions
		want  []string
	}{
		{"twins", slices.Concat(year("Pictures/2019"), year("Backup/2019"), []string{"Pictures/x=x"}), DuplicateOptions{}, []string{"Pictures/2019 = Backup/2019, 3 files, 11 B, 0 left"}},
		{"only the topmost", slices.Concat(year("a/x/y"), year("b/x/y"), []string{"a/x/z=z", "b/x/z=z", "a/more=more"}), DuplicateOptions{}, []string{"b/x = a/x, 4 files, 12 B, 0 left"}},
		{"of three", slices.Concat(year("a"), year("b"), year("c")), DuplicateOptions{}, []string{"b = a, 3 files, 11 B, 0 left", "c = a, 3 files, 11 B, 0 left"}},
		{"all is there, elsewhere", []string{"new/1=one", "new/2=two", "old/a/1=one", "old/b/c=two", "old/d=three"}, DuplicateOptions{}, []string{"new in old, 2 files, 6 B, 0 left"}},
		{"one is missing", []string{"new/1=one", "new/2=two", "new/3=3333", "old/a/1=one", "old/b/c=two", "old/d=three"}, DuplicateOptions{}, nil},
		{"other names", []string{"a/1=one", "a/2=two", "b/1=one", "b/3=two"}, DuplicateOptions{}, []string{"b in a, 2 files, 6 B, 0 left"}},
		{"a hidden file besides", slices.Concat(year("a"), year("b"), []string{"b/.hidden=h"}), DuplicateOptions{}, []string{"b in a, 3 files, 11 B, 1 left"}},
		{"a link besides", slices.Concat(year("a"), year("b"), []string{"a/.git2=h"}), DuplicateOptions{}, []string{"b in a, 3 files, 11 B, 0 left"}},
		{"an empty file besides", slices.Concat(year("a"), year("b"), []string{"b/empty="}), DuplicateOptions{}, []string{"a in b, 3 files, 11 B, 0 left"}},
		{"hard links take no room", []string{"a/1=one", "a/2=two", "b/1->a/1", "b/2->a/2"}, DuplicateOptions{}, nil},
		{"a folder is no copy of its own subfolder", []string{"a/1=one", "a/2=two", "a/b/1=one", "a/b/2=two"}, DuplicateOptions{}, nil},
		{"reference", slices.Concat(year("a"), year("b")), DuplicateOptions{Reference: []string{"b"}}, []string{"a = b, 3 files, 11 B, 0 left"}},
		{"priority", slices.Concat(year("a"), year("b")), DuplicateOptions{Priority: []string{"b"}}, []string{"a = b, 3 files, 11 B, 0 left"}},
		{"a project is no copy, and has none", slices.Concat(year("a"), year("b"), []string{"b/.git/x=x"}), DuplicateOptions{}, nil},
		{"one file is no folder", []string{"a/1=one", "b/1=one"}, DuplicateOptions{}, nil},
		{"enough copies", slices.Concat(year("a"), year("b")), DuplicateOptions{MinCopies: 2}, nil},
		{"the folder in a folder", slices.Concat(year("a/only"), year("b"), []string{"b/more=more"}), DuplicateOptions{}, []string{"a/only in b, 3 files, 11 B, 0 left"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			lay(t, dir, c.files...)
			if diff := cmp.Diff(c.want, foldersIn(findIn(t, dir, c.opt, "."), dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func foldersIn(d *Duplicates, dir string) []string {
	var out []string
	for _, c := range d.Folders {
		is := "in"
		if c.Exact {
			is = "="
		}
		out = append(out, fmt.Sprintf("%s %s %s, %d files, %d B, %d left", relativeTo(dir, d.Tree.Dirs[c.Folder].Path), is, relativeTo(dir, d.Tree.Dirs[c.Of].Path),
			c.Files, c.Bytes, c.LeftOut))
	}
	return out
}

func relativeTo(dir, path string) string {
	rel, _ := filepath.Rel(dir, path)
	return filepath.ToSlash(rel)
}

// checkTrees gives property a fresh folder, many times.
func checkTrees(t *testing.T, property func(rt *rapid.T, dir string)) {
	t.Parallel()
	base := fastFolder(t)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		property(rt, dir)
	})
}

// drawTree draws files of few contents in few folders, so that many are equal, and makes them.
func drawTree(rt *rapid.T, dir string, links bool) {
	folder := rapid.SampledFrom([]string{"a", "a/x", "a/x/y", "b", "b/x", "b/x/y", "c", "c/repo", "c/repo/in", "d/d/d"})
	var lines, names []string
	for i := range rapid.IntRange(0, 16).Draw(rt, "files") {
		name := folder.Draw(rt, "folder") + "/" + rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(rt, "name")
		if slices.Contains(names, name) {
			continue
		}
		if links && i > 0 && len(names) > 0 && rapid.IntRange(0, 3).Draw(rt, "link") == 0 {
			lines = append(lines, name+"->"+rapid.SampledFrom(names).Draw(rt, "of"))
		} else {
			lines = append(lines, fmt.Sprintf("%s=%s@%d", name, rapid.SampledFrom([]string{"", "x", "y", "zz", "ww"}).Draw(rt, "text"), rapid.IntRange(0, 2).Draw(rt, "day")))
		}
		names = append(names, name)
	}
	if rapid.Bool().Draw(rt, "repository") {
		lines = append(lines, "c/repo/.git/HEAD=")
	}
	lay(rt, dir, append(lines, "a/.keep=", "b/.keep=", "c/.keep=")...)
}

// TestDuplicatesPolicy draws trees and options, and makes sure that nobody loses the last copy or what is to be left alone.
func TestDuplicatesPolicy(t *testing.T) {
	checkTrees(t, func(rt *rapid.T, dir string) {
		drawTree(rt, dir, true)
		some := func(what string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "a/x", "b", "c"}), 0, 2, rapid.ID).Draw(rt, what)
		}
		opt := DuplicateOptions{
			Keep:     rapid.SampledFrom([]Keep{"", KeepAuto, KeepOldest, KeepNewest, KeepShortest, KeepLongest, KeepFirst, KeepPriority}).Draw(rt, "keep"),
			Priority: some("priority"), Isolate: rapid.Bool().Draw(rt, "isolate"), Empty: rapid.Bool().Draw(rt, "empty"),
			MinCopies: rapid.IntRange(0, 3).Draw(rt, "copies"), Projects: rapid.Bool().Draw(rt, "projects"),
		}
		if rapid.Bool().Draw(rt, "references") {
			opt.Reference = some("reference")
		}
		roots := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", ".", "a/x"}), 1, 4, rapid.ID).Filter(func(roots []string) bool {
			for _, r := range roots {
				if _, err := os.Stat(filepath.Join(dir, r)); err != nil {
					return false
				}
			}
			return true
		}).Draw(rt, "roots")
		d := findIn(rt, dir, opt, roots...)
		again := findIn(rt, dir, opt, roots...)
		if diff := cmp.Diff(rolesIn(d, dir), rolesIn(again, dir)); diff != "" {
			rt.Fatal("two looks, two answers:", diff)
		}
		checkRoles(rt, dir, d, opt)
		checkDuplicatePlan(rt, dir, d)
	})
}

// checkRoles makes sure of what holds of all groups.
func checkRoles(rt *rapid.T, dir string, d *Duplicates, opt DuplicateOptions) {
	inode := func(c Copy) uint64 { return d.Tree.File(c.File).Ino }
	var files, wasted int64
	for i, g := range d.Groups {
		staying, going, rootsStaying := map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
		want, err := os.ReadFile(d.Tree.Path(g.Files[0].File))
		if err != nil {
			rt.Fatal(err)
		}
		for _, c := range g.Files {
			path := d.Tree.Path(c.File)
			if text, err := os.ReadFile(path); err != nil || string(text) != string(want) {
				rt.Fatalf("%s and %s are no duplicates", path, d.Tree.Path(g.Files[0].File))
			}
			if c.Role != Superfluous {
				staying[inode(c)] = true
				if c.Role != Protected {
					rootsStaying[inode(c)] = true
				}
				continue
			}
			going[inode(c)] = true
			if rank(absAll(dir, opt.Reference), path) < len(opt.Reference) {
				rt.Fatalf("%s is a reference", path)
			}
			if !opt.Projects && d.Tree.Dirs[d.Tree.DirOf(c.File)].Project {
				rt.Fatalf("%s is in a project", path)
			}
		}
		for ino := range going {
			if staying[ino] {
				rt.Fatalf("one name of a file goes and another stays: %s", rolesIn(d, dir)[i])
			}
		}
		if len(going) == 0 || g.Files[0].Role == Superfluous || len(rootsStaying) < max(opt.MinCopies, 1) && !opt.Isolate {
			rt.Fatalf("not so: %s", rolesIn(d, dir)[i])
		}
		if len(opt.Reference) > 0 && rank(absAll(dir, opt.Reference), d.Tree.Path(g.Files[0].File)) == len(opt.Reference) {
			rt.Fatalf("no reference stays: %s", rolesIn(d, dir)[i])
		}
		if int64(len(going)) != g.Superfluous() || g.Wasted > g.Size*g.Superfluous() {
			rt.Fatalf("%d files, %d bytes: %s", g.Superfluous(), g.Wasted, rolesIn(d, dir)[i])
		}
		files, wasted = files+g.Superfluous(), wasted+g.Wasted
	}
	if files != d.Files || wasted != d.Wasted {
		rt.Fatalf("%d files, %d bytes; want %d, %d", d.Files, d.Wasted, files, wasted)
	}
	if opt.Isolate || len(opt.Reference) > 0 {
		return
	}
	// Nothing is overlooked: of each content as many files go as there are, but for those that stay.
	inodes := map[string]map[uint64]bool{}
	held := map[uint64]bool{} // by a project
	for r, f := range d.Tree.All() {
		text, _ := os.ReadFile(d.Tree.Path(r))
		if f.Left != NotLeft || len(text) == 0 && !opt.Empty {
			continue
		}
		if !opt.Projects && d.Tree.Dirs[d.Tree.DirOf(r)].Project {
			held[f.Ino] = true
			continue
		}
		if inodes[string(text)] == nil {
			inodes[string(text)] = map[uint64]bool{}
		}
		inodes[string(text)][f.Ino] = true
	}
	var all int64
	for _, of := range inodes {
		free := int64(0)
		for ino := range of {
			if !held[ino] {
				free++
			}
		}
		all += max(min(free, int64(len(of)-max(opt.MinCopies, 1))), 0)
	}
	if all < d.Files || len(held) == 0 && all != d.Files {
		rt.Fatalf("%d files are superfluous, %d were found: %q", all, d.Files, rolesIn(d, dir))
	}
}

func absAll(dir string, paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = filepath.Join(dir, p)
	}
	return out
}

// checkDuplicatePlan makes sure that plans deal with all that is superfluous and with nothing else.
func checkDuplicatePlan(rt *rapid.T, dir string, d *Duplicates) {
	want := map[Ref]Ref{}
	for _, g := range d.Groups {
		for _, c := range g.Files {
			if c.Role == Superfluous {
				want[c.File] = g.Files[0].File
			}
		}
	}
	opt := DuplicatePlanOptions{
		Action: rapid.SampledFrom([]DuplicateAction{DuplicatesTrash, DuplicatesHardlink, DuplicatesSymlink, DuplicatesReflink, DuplicatesFolder, DuplicatesExec}).Draw(rt, "action"),
		Into:   filepath.Join(dir, "into"), Argv: []string{"true", "{path}", "{keep}"},
		Trash: func(*Dir) (TrashDir, error) { return TrashDir{Files: filepath.Join(dir, "trash")}, nil },
	}
	p, err := PlanDuplicates(context.Background(), d, rules.Builtin(), opt)
	if err != nil {
		rt.Fatal(err)
	}
	got := map[Ref]Ref{}
	names := map[string]bool{}
	for i := range p.Moves {
		m := &p.Moves[i]
		if _, twice := got[m.File]; twice {
			rt.Fatalf("%s is dealt with twice", p.Tree.Path(m.File))
		}
		got[m.File] = p.SameAs[m.File]
		if names[p.Target(m)] {
			rt.Fatalf("two files come to %s", p.Target(m))
		}
		names[p.Target(m)] = true
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Ref{})); diff != "" || len(p.Problems) > 0 {
		rt.Fatal(diff, p.Problems)
	}
}

// TestFolderCopiesOracle compares with what a look at all pairs of folders finds.
func TestFolderCopiesOracle(t *testing.T) {
	checkTrees(t, func(rt *rapid.T, dir string) {
		drawTree(rt, dir, false)
		opt := DuplicateOptions{Keep: rapid.SampledFrom([]Keep{KeepAuto, KeepNewest}).Draw(rt, "keep"), Projects: true, Empty: true}
		d := findIn(rt, dir, opt, ".")
		type folder struct {
			texts        map[string]bool
			names        map[string]string
			files, bytes int
			inner, left  int
		}
		look := func(path string) folder {
			f := folder{texts: map[string]bool{}, names: map[string]string{}}
			err := filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
				switch {
				case err != nil || p == path:
				case strings.HasPrefix(e.Name(), "."):
					f.left++
					if e.IsDir() {
						return filepath.SkipDir
					}
				case e.IsDir():
					f.names[relativeTo(path, p)] = "folder"
					if filepath.Dir(p) == path {
						f.inner++
					}
				default:
					text, err := os.ReadFile(p)
					if err != nil {
						return err
					}
					f.texts[string(text)] = true
					f.names[relativeTo(path, p)] = "text " + string(text)
					f.files++
					f.bytes += len(text)
					if filepath.Dir(p) == path {
						f.inner = 9 // more than a single folder
					}
				}
				return err
			})
			if err != nil {
				rt.Fatal(err)
			}
			return f
		}
		holdsAll := func(a, b folder) bool { // b holds all of a
			for text := range a.texts {
				if !b.texts[text] {
					return false
				}
			}
			return true
		}
		all := map[string]folder{}
		var paths []string
		for _, e := range d.Tree.Dirs {
			all[e.Path] = look(e.Path)
			paths = append(paths, e.Path)
		}
		told := func(path string) bool {
			return slices.ContainsFunc(d.Folders, func(c FolderCopies) bool {
				f := d.Tree.Dirs[c.Folder].Path
				return Within(path, f)
			})
		}
		// Who removes all the copies that are told of loses nothing.
		var after folder
		for _, c := range d.Folders {
			if err := os.RemoveAll(d.Tree.Dirs[c.Folder].Path); err != nil {
				rt.Fatal(err)
			}
		}
		if after = look(dir); !holdsAll(all[d.Tree.Dirs[0].Path], after) {
			rt.Fatalf("contents are gone with %q", foldersIn(d, dir))
		}
		for i, c := range d.Folders {
			p, q := d.Tree.Dirs[c.Folder].Path, d.Tree.Dirs[c.Of].Path
			a, b := all[p], all[q]
			exact := a.left == 0 && b.left == 0 && cmp.Equal(a.names, b.names)
			if !holdsAll(a, b) || exact != c.Exact || int64(a.files) != c.Files || int64(a.left) != c.LeftOut || Within(p, q) || Within(q, p) {
				rt.Fatalf("not so: %s", foldersIn(d, dir)[i])
			}
			for k, other := range d.Folders {
				if k != i && Within(p, d.Tree.Dirs[other.Folder].Path) {
					rt.Fatalf("one in the other: %q", foldersIn(d, dir))
				}
			}
		}
		for _, p := range paths {
			for _, q := range paths {
				a, b := all[p], all[q]
				if a.files < 2 || a.inner == 1 || a.bytes == 0 || Within(p, q) || Within(q, p) || !holdsAll(a, b) || told(p) || told(q) {
					continue
				}
				smaller := func(path string) bool { return path != q && Within(path, q) && holdsAll(a, all[path]) }
				if slices.ContainsFunc(paths, smaller) {
					continue // told of that one
				}
				inner := func(c FolderCopies) bool { f := d.Tree.Dirs[c.Folder].Path; return Within(f, p) || Within(f, q) }
				if slices.ContainsFunc(d.Folders, inner) {
					continue // part of one of them goes
				}
				if holdsAll(b, a) && (b.files < 2 || b.inner == 1) {
					continue // b would be the copy, but is not worth a word
				}
				rt.Fatalf("%s is all in %s, and nobody says so: %q", relativeTo(dir, p), relativeTo(dir, q), foldersIn(d, dir))
			}
		}
	})
}

// TestPlanDuplicatesUnits shows that all names of a file are one unit, and where files go below --into.
func TestPlanDuplicatesUnits(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lay(t, dir, "a/1=x@1", "b/in/1=x@2", "b/in/2->b/in/1", "c/in/1=x@3")
	d := findIn(t, dir, DuplicateOptions{}, "a", "b", "c")
	p, err := PlanDuplicates(context.Background(), d, rules.Builtin(), DuplicatePlanOptions{Action: DuplicatesFolder, Into: filepath.Join(dir, "into")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range p.Moves {
		m := &p.Moves[i]
		got = append(got, fmt.Sprintf("%s %s %s unit %d", m.Action, relativeTo(dir, p.Tree.Path(m.File)), relativeTo(dir, p.Target(m)), m.Unit))
	}
	want := []string{"rename b/in/1 into/in/1 unit 1", "rename b/in/2 into/in/2 unit 1", "rename c/in/1 into/in/1 (2) unit 0"}
	if diff := cmp.Diff(want, got); diff != "" || p.Kind != KindDupes {
		t.Error(diff, p.Kind)
	}
	p, err = PlanDuplicates(context.Background(), d, rules.Builtin(), DuplicatePlanOptions{Action: DuplicatesExec, Argv: []string{"p", "--", "{keep}:{path}", "{other}"}})
	if err != nil {
		t.Fatal(err)
	}
	if x := p.extraOf(&p.Moves[0]); !slices.Equal(x.argv, []string{"p", "--", filepath.Join(dir, "a/1") + ":" + filepath.Join(dir, "b/in/1"), "{other}"}) || p.Moves[0].Action != journal.Exec {
		t.Errorf("%q", x.argv)
	}
	if p, err = PlanDuplicates(context.Background(), d, rules.Builtin(), DuplicatePlanOptions{Action: DuplicatesSkip}); err != nil || len(p.Moves) > 0 || len(p.Problems) != 2 {
		t.Error(err, p.Moves, p.Problems)
	}
}
