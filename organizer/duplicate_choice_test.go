package organizer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"forg/rules"
)

// TestRevised draws what a person may want of groups: no last copy goes, nothing that is not to be touched, and nothing
// changes that was not asked for.
func TestRevised(t *testing.T) {
	checkTrees(t, func(rt *rapid.T, dir string) {
		drawTree(rt, dir, true)
		opt := DuplicateOptions{Keep: KeepOldest, Empty: true, Isolate: rapid.Bool().Draw(rt, "isolate"), MinCopies: rapid.IntRange(1, 2).Draw(rt, "copies"),
			Reference: rapid.SampledFrom([][]string{nil, {"a/x"}, {"b"}}).Draw(rt, "reference")}
		d := findIn(rt, dir, opt, "a", "b", "c")
		asFound := rolesIn(d, dir)
		groups := slices.Clone(d.Groups)
		for i := range groups {
			g := &groups[i]
			same := d.Revised(g, 0, func(k int) bool { return g.Files[k].Role != Superfluous })
			if diff := cmp.Diff(rolesIn(d.With([]DuplicateGroup{*g}), dir), rolesIn(d.With([]DuplicateGroup{same}), dir)); diff != "" || same.Wasted != g.Wasted {
				rt.Fatalf("what nobody has changed is not the same, %d bytes instead of %d:\n%s", same.Wasted, g.Wasted, diff)
			}
			all := d.Revised(g, 0, func(int) bool { return true })
			if all.Superfluous() != 0 || all.Wasted != 0 {
				rt.Fatalf("all are to stay, and %d go", all.Superfluous())
			}
			for range rapid.IntRange(0, 3).Draw(rt, "times") {
				first := rapid.IntRange(-1, len(g.Files)).Draw(rt, "first")
				wish := rapid.SliceOfN(rapid.Bool(), len(g.Files), len(g.Files)).Draw(rt, "stay")
				next := d.Revised(g, first, func(k int) bool { return wish[k] })
				if d.CanLead(g, first) && next.Files[0].File != g.Files[first].File {
					rt.Fatalf("%d was to be the first of %s", first, rolesIn(d.With([]DuplicateGroup{next}), dir))
				}
				for k, c := range g.Files {
					at := slices.IndexFunc(next.Files, func(o Copy) bool { return o.File == c.File })
					if wish[k] && next.Files[at].Role == Superfluous {
						rt.Fatalf("%s was to stay", d.Tree.Path(c.File))
					}
				}
				*g = next
			}
		}
		with := d.With(groups)
		for _, g := range with.Groups {
			for _, c := range g.Files {
				if path := d.Tree.Path(c.File); c.Role == Superfluous && rank(absAll(dir, opt.Reference), path) < len(opt.Reference) {
					rt.Fatalf("%s is a reference", path)
				}
			}
		}
		opt.Isolate, opt.MinCopies, opt.Reference = true, 1, nil // a person may have kept more, fewer and others
		checkRoles(rt, dir, with, opt)
		checkDuplicatePlan(rt, dir, with)
		if diff := cmp.Diff(asFound, rolesIn(d, dir)); diff != "" {
			rt.Fatal("what was found has changed:", diff)
		}
	})
}

// without is d without its problems.
func (d *Duplicates) without() *Duplicates {
	bare := *d
	bare.Problems = nil
	return &bare
}

// TestListed draws reports, true ones and others: only files of one group of the report are taken for duplicates, those
// that it lets stay do, and what equals nothing any more is told.
func TestListed(t *testing.T) {
	checkTrees(t, func(rt *rapid.T, dir string) {
		drawTree(rt, dir, true)
		var names []string
		filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				names = append(names, path)
			}
			return err
		})
		listed := map[string]Listing{}
		for _, name := range names {
			listed[name] = Listing{Group: rapid.Int32Range(0, 2).Draw(rt, "group"), Stays: rapid.Int32Range(0, 2).Draw(rt, "stays")}
		}
		tree, err := Scan(context.Background(), dir, rules.Builtin(), ScanOptions{Only: names, LookAbove: true, Projects: true, VersionControl: true, Hidden: true, Changed: true})
		if err != nil {
			rt.Fatal(err)
		}
		opt := DuplicateOptions{Empty: true, Keep: rapid.SampledFrom([]Keep{KeepAuto, KeepNewest}).Draw(rt, "keep")}
		opt.Listed = func(r Ref) Listing { return listed[tree.Path(r)] }
		d, err := FindDuplicates(context.Background(), tree, opt)
		if err != nil {
			rt.Fatal(err)
		}
		check := opt
		check.Isolate = true
		checkRoles(rt, dir, d, check)
		checkDuplicatePlan(rt, dir, d.without())
		if len(d.Folders) > 0 {
			rt.Fatal("a list knows nothing of folders")
		}
		inGroup := map[string]bool{}
		for _, g := range d.Groups {
			for _, c := range g.Files {
				path := tree.Path(c.File)
				inGroup[path] = true
				if listed[path].Group != listed[tree.Path(g.Files[0].File)].Group {
					rt.Fatalf("%s is of another group of the report", path)
				}
				if c.Role == Superfluous && listed[path].Stays > 0 {
					rt.Fatalf("%s is to stay, as the report has it", path)
				}
			}
		}
		// Told are those that no other file of their group equals, unless they are alone in it.
		contents, files := map[string]int{}, map[int32]int{}
		for r, f := range tree.All() {
			if text, err := os.ReadFile(tree.Path(r)); err == nil && f.Left == NotLeft {
				contents[fmt.Sprint(listed[tree.Path(r)].Group, string(text))]++
				files[listed[tree.Path(r)].Group]++
			}
		}
		want, got := []string{}, []string{}
		for r, f := range tree.All() {
			path := tree.Path(r)
			text, _ := os.ReadFile(path)
			if group := listed[path].Group; f.Left == NotLeft && files[group] > 1 && contents[fmt.Sprint(group, string(text))] < 2 {
				want = append(want, path)
			}
		}
		for _, p := range d.Problems {
			got = append(got, p.Path)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// What a list names is looked at where it is, and only what lies above tells whether it is in a project.
func TestListedLookAbove(t *testing.T) {
	dir, err := ResolveDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lay(t, dir, "plain/a=1", "proj/go.mod=m", "proj/deep/er/b=1", "Photos.photoslibrary/c=1", "proj/.git/objects/d=1")
	if err := os.Symlink("plain", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	only := []string{"plain/a", "plain/../plain/a", "link/a", "proj/deep/er/b", "Photos.photoslibrary/c", "proj/.git/objects/d", "gone/x", "plain/gone", "plain"}
	for i := range only {
		only[i] = filepath.Join(dir, only[i])
	}
	for _, above := range []bool{true, false} {
		tree, err := Scan(context.Background(), dir, rules.Builtin(), ScanOptions{Only: only, LookAbove: above, Projects: true, VersionControl: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for r := range tree.All() {
			got = append(got, fmt.Sprint(relativeTo(dir, tree.Path(r)), " ", tree.Dirs[tree.DirOf(r)].Project))
		}
		want := []string{"Photos.photoslibrary/c true", "plain/a false", "proj/deep/er/b true"}
		if !above {
			want = []string{"Photos.photoslibrary/c false", "plain/a false", "proj/.git/objects/d false", "proj/deep/er/b false"}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if len(tree.Problems) != 3 || !strings.Contains(fmt.Sprint(tree.Problems), "is a folder") {
			t.Errorf("%v", tree.Problems)
		}
	}
}
