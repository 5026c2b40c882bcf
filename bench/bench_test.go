//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		xs   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(c.xs); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.xs, got, c.want)
		}
	}
}

// The machine was ten times slower in the second round, for both: the ratio must not move.
func TestRatioIsRoundByRound(t *testing.T) {
	s := Section{Runs: map[string][]Sample{
		"a": {{Wall: 2 * time.Second}, {Wall: 20 * time.Second}, {Wall: 2 * time.Second}},
		"b": {{Wall: time.Second}, {Wall: 10 * time.Second}, {Wall: time.Second}},
	}}
	s.ratio("a", "b", 1.5)
	s.ratio("a", "not installed", 1)
	if len(s.Goals) != 1 || median(s.Goals[0].Values) != 2 {
		t.Errorf("goals %+v, want one with ratio 2", s.Goals)
	}
}

func TestMarkdown(t *testing.T) {
	s := Section{
		Title: "10 files", Order: []string{"a", "skipped"},
		Runs:  map[string][]Sample{"a": {{Wall: 1500 * time.Millisecond, CPU: 20 * time.Millisecond, RSS: 5e6}}},
		Goals: []Goal{{"a / b", []float64{2}, 1.5, "x"}, {"size", []float64{10}, 28, "MB"}, {"c / d", []float64{0.02}, 0, "x"}},
		Notes: []string{"A note."},
	}
	want := `**10 files**

| command | wall, median | min | max | user+sys | max RSS |
| --- | --- | --- | --- | --- | --- |
| a | 1.50 s | 1.50 s | 1.50 s | 20.0 ms | 5.0 MB |

| goal | measured | limit | measured / limit | met |
| --- | --- | --- | --- | --- |
| a / b | 2.00x | <= 1.50x | 1.33 | **no** |
| size | 10.0 MB | <= 28.0 MB | 0.36 | yes |
| c / d | 0.0200x | - | - | - |

A note.
`
	if got := s.Markdown(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestReplaceBlock(t *testing.T) {
	doc := replaceBlock("# Head\n", "a", "one\n")
	doc = replaceBlock(doc, "b", "two\n")
	doc = replaceBlock(doc, "a", "three\n")
	want := "# Head\n\n<!-- begin a -->\nthree\n<!-- end a -->\n\n<!-- begin b -->\ntwo\n<!-- end b -->\n"
	if doc != want {
		t.Errorf("got:\n%s\nwant:\n%s", doc, want)
	}
}

// digest covers every name, kind, size, modification time and content below dir.
func digest(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			fmt.Fprintf(h, "%s/\n", rel)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d %d\n", rel, info.Size(), info.ModTime().UnixNano())
		if info.Size() <= 1<<20 {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h.Write(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// Figures measured on different days are comparable only while the trees are these; a change here makes the old
// ones in RESULTS.md worthless.
func TestTreesNeverChange(t *testing.T) {
	want := map[string]string{
		"flat":     "756886e58b4733a4",
		"same":     "25ae39952cdaa457",
		"part":     "d006e7d5a0ec664f",
		"nested":   "8af305d577617d3e",
		"onename":  "ed899ca8dc422b04",
		"ownnames": "898687d05b258494",
		"content":  "0c9e6d248f63501c",
		"mebi":     "e3fc3614d14b0712",
		"big":      "c14560d022447bbd",

		"dupes-small": "f8737383f3668032",
		"dupes-big":   "449ce25519892186",
	}
	for kind := range treeKinds {
		n := 210
		switch kind {
		case "mebi", "big", "dupes-big":
			n = 2
		case "dupes-mixed":
			continue // what the machine holds
		}
		var got []string
		for _, sub := range []string{"a", "b"} {
			dir := filepath.Join(t.TempDir(), sub)
			if err := (Tree{Kind: kind, N: n, Seed: 1}).Build(dir); err != nil {
				t.Fatal(err)
			}
			got = append(got, digest(t, dir))
		}
		if got[0] != got[1] {
			t.Errorf("%s: two builds differ", kind)
		}
		if got[0] != want[kind] {
			t.Errorf("%s: digest %s, want %s", kind, got[0], want[kind])
		}
		other := filepath.Join(t.TempDir(), "c")
		if err := (Tree{Kind: kind, N: n, Seed: 2}).Build(other); err != nil {
			t.Fatal(err)
		}
		if digest(t, other) == got[0] {
			t.Errorf("%s: the seed changes nothing", kind)
		}
	}
}

func TestSizesAndStemsAreDistinct(t *testing.T) {
	tree := Tree{Kind: "flat", N: 100_000, Seed: 1}
	sizes, stems := map[int64]bool{}, map[string]bool{}
	used := map[string]bool{}
	for i := range tree.N {
		name := tree.name(i)
		ext := filepath.Ext(name)
		sizes[tree.size(i)], stems[strings.TrimSuffix(name, ext)], used[ext] = true, true, true
	}
	if len(sizes) != tree.N || len(stems) != tree.N || len(used) != len(extensions) {
		t.Errorf("%d sizes, %d stems, %d extensions of %d files", len(sizes), len(stems), len(used), tree.N)
	}
}

// standIn plays forg with the C baseline: enough for a run of the whole program.
const standIn = `#!/bin/sh
for last; do :; done
case $1 in
organize)
	into=
	[ "$5" = --into ] && into=$6
	if [ -n "$into" ]; then cp -a "$last"/* "$into" && rm "$last"/*; exit; fi
	echo "$last" > "$XDG_STATE_HOME/root"
	case $5 in -r) exit;; esac
	exec "$BASELINE" organize "$last";;
undo) exec "$BASELINE" back "$(cat "$XDG_STATE_HOME/root")";;
scan) exec "$BASELINE" scan "$last";;
esac
`

func TestRunEndToEnd(t *testing.T) {
	for _, tool := range []string{"cc", "find", "sync"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: the benchmark needs %s", tool)
		}
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "baseline")
	if out, err := exec.Command("cc", "-O2", "-o", bin, "peers/baseline.c").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	forg := filepath.Join(dir, "forg")
	if err := os.WriteFile(forg, []byte(strings.ReplaceAll(standIn, `"$BASELINE"`, bin)), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FORG", forg)
	t.Setenv("ORGANIZE", "/nonexistent") // only the suites named below
	results := filepath.Join(dir, "RESULTS.md")
	args := []string{"run", "-quick", "-n", "40", "-work", filepath.Join(dir, "work"), "-tmpfs", filepath.Join(dir, "other"),
		"-results", results, "scan", "organize", "undo", "cross", "journal"}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	if err := run(append(args[:8:8], "-results", results, "journal")); err != nil { // replaces its table
		t.Fatal(err)
	}
	doc, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| forg organize / C loop | ", "| forg undo / C renames back | ", "| forg scan / find -printf | ",
		"| bytes a move, without its name", "| forg organize --into / cp -a && sync -f | "} {
		if !strings.Contains(string(doc), row) {
			t.Errorf("no row %q in:\n%s", row, doc)
		}
	}
	if n := strings.Count(string(doc), "<!-- begin journal -->"); n != 1 {
		t.Errorf("%d sections named journal, want 1", n)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*", "run-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What is fast because it did nothing must not get into a table.
func TestLazyForgFails(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("SKIPPED: the benchmark needs cc")
	}
	dir := t.TempDir()
	t.Setenv("FORG", "true")
	err := run([]string{"run", "-quick", "-n", "50", "-work", filepath.Join(dir, "a"), "-tmpfs", filepath.Join(dir, "b"), "organize"})
	if err == nil || !strings.Contains(err.Error(), "after forg organize") {
		t.Errorf("a forg that moves nothing: error %v", err)
	}
}
