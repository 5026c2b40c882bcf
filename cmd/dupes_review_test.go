package cmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"forg/organizer"
	"forg/rules"
)

// dupesTree makes files of these contents and finds the duplicates among them. The first named are the oldest; a content
// that begins with -> is a hard link.
func dupesTree(t testing.TB, opt organizer.DuplicateOptions, files ...[2]string) *organizer.Duplicates {
	t.Helper()
	dir, err := organizer.ResolveDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f[0]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(f[1], "->"); ok {
			err = os.Link(filepath.Join(dir, filepath.FromSlash(to)), path)
		} else if err = os.WriteFile(path, []byte(f[1]), 0o644); err == nil {
			at := time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC)
			err = os.Chtimes(path, at, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range opt.Reference {
		opt.Reference[i] = filepath.Join(dir, opt.Reference[i])
	}
	tree, err := organizer.Scan(context.Background(), dir, rules.Builtin(), organizer.ScanOptions{Recursive: true, Projects: true})
	if err != nil {
		t.Fatal(err)
	}
	found, err := organizer.FindDuplicates(context.Background(), tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (m *dupesReview) press(keys ...string) bool { return pressKeys(m, keys...) }

// screen is what the review shows, without colours and without what lies above the root.
func (m *dupesReview) screen() string { return ansi.Strip(m.View().Content) }

func newTestReview(found *organizer.Duplicates) *dupesReview {
	root := found.Tree.Roots[0]
	return newDupesReview(found, organizer.DuplicatesTrash, func(path string) string { return show(relative(root, path)) }, false)
}

// state is a line a group: the file that stays, then the others, those that go with a minus.
func (m *dupesReview) state() string {
	var lines []string
	for i := range m.groups {
		var words []string
		for _, c := range m.groups[i].Files {
			word := m.tilde(m.found.Tree.Path(c.File))
			if c.Role == organizer.Superfluous {
				word = "-" + word
			} else if c.Role != organizer.Kept {
				word = c.Role.String() + ":" + word
			}
			words = append(words, word)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

func TestDupesReview(t *testing.T) {
	m := newTestReview(dupesTree(t, organizer.DuplicateOptions{Keep: organizer.KeepOldest, Reference: []string{"ref"}},
		[2]string{"a", "bigger"}, [2]string{"b", "bigger"}, [2]string{"c", "bigger"}, [2]string{"ref/x", "bigger"},
		[2]string{"p", "two"}, [2]string{"q", "two"}, [2]string{"q2", "->q"}, [2]string{"ref/y", "two"}, [2]string{"proj/go.mod", "m"}, [2]string{"proj/z", "two"}))
	check := func(want string, freed int64) {
		t.Helper()
		if diff := cmp.Diff(want, m.state()); diff != "" {
			t.Fatal(diff)
		}
		if m.bytes != freed {
			t.Fatalf("%d bytes to be freed, want %d", m.bytes, freed)
		}
		if again := m.found.With(m.groups); again.Wasted != m.bytes || again.Files != m.files {
			t.Fatalf("%d files, %d bytes, counted anew %d, %d", m.files, m.bytes, again.Files, again.Wasted)
		}
	}
	const second = "ref/y -p -q -q2 protected:proj/z"
	check("ref/x -a -b -c\n"+second, 18+6)
	m.press("down", "space") // the reference cannot go
	if check("ref/x -a -b -c\n"+second, 24); !m.failed || !strings.Contains(m.screen(), "one copy stays") && !strings.Contains(m.screen(), "nothing is touched") {
		t.Fatalf("%s", m.screen())
	}
	m.press("down", "space")
	check("ref/x a -b -c\n"+second, 18)
	m.press("down", "enter")
	check("b reference:ref/x a -c\n"+second, 12)
	m.press("up", "k") // rows stay where they were
	check("a -b reference:ref/x -c\n"+second, 18)
	m.press("x")
	check("a b reference:ref/x c\n"+second, 6)
	m.press("x")
	check("ref/x -a -b -c\n"+second, 24)
	m.press("tab", "down", "down", "down", "space") // q, and so q2
	check("ref/x -a -b -c\nref/y -p q linked:q2 protected:proj/z", 18+3)
	m.press("down", "space")
	check("ref/x -a -b -c\n"+second, 24)
	m.press("down", "enter") // a project
	if check("ref/x -a -b -c\n"+second, 24); !m.failed {
		t.Fatalf("%s", m.screen())
	}
	m.press("space")
	if check("ref/x -a -b -c\n"+second, 24); !strings.Contains(m.screen(), "project") {
		t.Fatalf("%s", m.screen())
	}
	m.press("/", "q2", "enter", "n", "esc")
	check("ref/x -a -b -c\nref/y p q linked:q2 protected:proj/z", 18)
	m.press("n")
	if check("ref/x a b c\nref/y p q linked:q2 protected:proj/z", 0); len(m.found.With(m.groups).Groups) != 0 {
		t.Fatal("groups without superfluous files are left")
	}
	m.press("a")
	check("ref/x -a -b -c\n"+second, 24)
	if m.press("q") || !m.press("q") || m.applied {
		t.Fatal("it was not asked again before changes were dropped")
	}
}

// One copy stays, whichever keys are pressed.
func TestDupesReviewOneStays(t *testing.T) {
	m := newTestReview(dupesTree(t, organizer.DuplicateOptions{Keep: organizer.KeepOldest}, [2]string{"a", "x"}, [2]string{"b", "x"}, [2]string{"c", "x"}))
	m.press("down", "space")
	if m.state() != "a -b -c" || !strings.Contains(m.screen(), "error: one copy stays") {
		t.Fatalf("%s\n%s", m.state(), m.screen())
	}
	m.press("down", "space", "up", "space") // b stays, so a may go
	if m.state() != "b -a -c" {
		t.Fatal(m.state())
	}
}

func TestDupesReviewFolders(t *testing.T) {
	m := newTestReview(dupesTree(t, organizer.DuplicateOptions{},
		[2]string{"Pictures/1", "one"}, [2]string{"Pictures/2", "two"}, [2]string{"Backup/1", "one"}, [2]string{"Backup/2", "two"}, [2]string{"other", "one"}))
	if len(m.found.Folders) != 1 {
		t.Fatalf("%d folders", len(m.found.Folders))
	}
	start := m.state()
	want := "Backup/1\nBackup/2\nPictures/1\nPictures/2\nother"
	kept := func() string { return fmt.Sprint(m.state()) }
	if !strings.Contains(m.screen(), "Backup/ is a copy of Pictures/") || m.goes[0] != 2 {
		t.Fatalf("%s\n%s", want, m.screen())
	}
	m.press("home", "space")
	if m.goes[0] != 0 || strings.Contains(kept(), "-Backup") {
		t.Fatalf("%s\n%s", kept(), m.screen())
	}
	m.press("space")
	if kept() != start {
		t.Fatalf("%s, was %s", kept(), start)
	}
	m.press("enter")
	if m.goes[0] != 0 || !strings.Contains(kept(), "-Pictures/1") || !strings.Contains(kept(), "-Pictures/2") || !strings.Contains(kept(), "-other") {
		t.Fatal(kept())
	}
	m.press("space")
	if m.goes[0] != 2 || !strings.Contains(kept(), "Pictures/2 -Backup/2") {
		t.Fatal(kept())
	}
}

func TestDupesReviewGolden(t *testing.T) {
	m := newTestReview(dupesTree(t, organizer.DuplicateOptions{},
		[2]string{"Pictures/2019/beach.jpg", strings.Repeat("b", 2500)}, [2]string{"Pictures/2019/sea.jpg", strings.Repeat("s", 1500)},
		[2]string{"Backup/2019/beach.jpg", strings.Repeat("b", 2500)}, [2]string{"Backup/2019/sea.jpg", strings.Repeat("s", 1500)},
		[2]string{"a\x1b[2J\n\xff", "evil"}, [2]string{"写真のとても長い名前のファイルです🎉写真のとても長い名前のファイルです🎉.png", "evil"}))
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 16})
	m.press("down", "down")
	const want = `forg dupes: 3 groups    3 files to trash, 4.0 kB to be freed
[x]   4.0 kB  Backup/ is a copy of Pictures/
[x]   2.5 kB  2 copies of 2.5 kB
      keep  Pictures/2019/beach.jpg  in the fold… that stays
      trash Backup/2019/beach.jpg
[x]   1.5 kB  2 copies of 1.5 kB
      keep  Pictures/2019/sea.jpg  in the folder that stays
      trash Backup/2019/sea.jpg
[x]      4 B  2 copies of 4 B
      keep  a\x1b[2J\n\xff  oldest
      trash 写真のとても長い名前のフ…前のファイルです🎉.png

2.5 kB, modified DATE
Pictures/2019/beach.jpg

y do it  q cancel  ? help  space stays/goes  enter keep this`
	when := time.Unix(0, m.found.Tree.File(m.found.Groups[0].Files[0].File).Mtime).Format("2006-01-02 15:04:05")
	if diff := cmp.Diff(want, strings.ReplaceAll(m.screen(), when, "DATE")); diff != "" {
		t.Error(diff)
	}
	m.press("o")
	if got := m.screen(); !strings.Contains(got, "\n  beach.jpg\n") || !strings.Contains(got, "stays: in the folder that stays") {
		t.Errorf("details:\n%s", got)
	}
}

// A hundred thousand groups are drawn, filtered and counted without waiting for it.
func BenchmarkDupesReview(b *testing.B) {
	var files [][2]string
	for i := range 2000 {
		files = append(files, [2]string{fmt.Sprintf("a/%d", i), fmt.Sprint(i)}, [2]string{fmt.Sprintf("b/%d", i), fmt.Sprint(i)})
	}
	found := dupesTree(b, organizer.DuplicateOptions{}, files...)
	for range 49 {
		found.Groups = append(found.Groups, found.Groups[:2000]...)
	}
	m := newTestReview(found)
	b.Run("draw", func(b *testing.B) {
		for b.Loop() {
			m.press("pgdown")
			m.View()
		}
	})
	b.Run("filter", func(b *testing.B) {
		for b.Loop() {
			m.setFilter("a/19")
			m.setFilter("")
		}
	})
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
			m.press("n", "a")
		}
	})
}

// Whatever is pressed at whatever size, no line is wider than the screen, there are no more lines than it has, one copy of
// each content stays, and what is counted is what is there.
func TestDupesReviewRandom(t *testing.T) {
	files := [][2]string{{"proj/go.mod", "m"}, {"ref/1", "1"}, {"d/1", "1"}, {"e/1", "1"}, {"proj/1", "1"}, {"d/2", "22"}, {"e/2", "22"}, {"e/2b", "->e/2"},
		{"f/2", "22"}, {"f/3", "333"}, {"f/3b", "->f/3"}, {"g/3", "333"}, {"ref/3", "->f/3"}, {"写真/🎉\x1b", "4444"}, {"h/4", "4444"}}
	keys := []string{"up", "down", "space", "enter", "k", "x", "a", "n", "o", "/", "?", "esc", "tab", "left", "pgdown", "home", "end", "e", "1", "backspace"}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		opt := organizer.DuplicateOptions{Isolate: seed%5 == 4, MinCopies: int(seed % 3)}
		if seed%2 == 0 {
			opt.Reference = []string{"ref"}
		}
		m := newTestReview(dupesTree(t, opt, files...))
		for range 300 {
			if r.IntN(20) == 0 {
				m.Update(tea.WindowSizeMsg{Width: 1 + r.IntN(90), Height: 1 + r.IntN(30)})
			}
			key := keys[r.IntN(len(keys))]
			m.press(key)
			if m.finished {
				m.finished = false
			}
			lines := strings.Split(m.View().Content, "\n")
			if len(lines) > m.height {
				t.Fatalf("seed %d, %s: %d lines of %d", seed, key, len(lines), m.height)
			}
			for _, line := range lines {
				if w := ansi.StringWidth(line); w > m.width {
					t.Fatalf("seed %d, %s: %d cells of %d: %q", seed, key, w, m.width, line)
				}
			}
			for i := range m.groups {
				g := &m.groups[i]
				if g.Files[0].Role != organizer.Kept || !m.found.CanLead(g, 0) {
					t.Fatalf("seed %d, %s: the first is %s", seed, key, g.Files[0].Role)
				}
				for k, c := range g.Files {
					if c.Role == organizer.Superfluous && !m.found.CanGo(g, k) || (c.Role == organizer.Superfluous) != (g.Files[c.Same].Role == organizer.Superfluous) {
						t.Fatalf("seed %d, %s: %s", seed, key, m.state())
					}
				}
			}
			if with := m.found.With(m.groups); with.Files != m.files || with.Wasted != m.bytes {
				t.Fatalf("seed %d, %s: %d files, %d bytes; counted anew %d, %d", seed, key, m.files, m.bytes, with.Files, with.Wasted)
			}
		}
	}
}
