package organizer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"forg/journal"
	"forg/organizer/images"
	"forg/organizer/metadata"
	"forg/rules"
)

// writeScene writes a picture of coloured boxes. Its size does not change what is to be seen.
func writeScene(t interface{ Fatal(...any) }, path string, scene uint64, w, h int) {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Rect, image.NewUniform(color.Gray{120}), image.Point{}, draw.Src)
	r := rand.New(rand.NewPCG(scene, 5))
	for range 50 {
		c := image.NewUniform(color.RGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255})
		x, y, bw, bh := r.Float64(), r.Float64(), r.Float64()/3, r.Float64()/3
		draw.Draw(m, image.Rect(int(x*float64(w)), int(y*float64(h)), int((x+bw)*float64(w)), int((y+bh)*float64(h))), c, image.Point{}, draw.Src)
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func findSimilarIn(t interface{ Fatal(...any) }, dir string, opt SimilarOptions) *Similar {
	tree, err := Scan(context.Background(), dir, rules.Builtin(), ScanOptions{Recursive: true, Projects: true, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if opt.Threshold == 0 {
		opt.Threshold = images.DefaultThreshold
	}
	opt.Metadata = metadata.NewReader(metadata.Limits{}, nil)
	s, err := FindSimilar(context.Background(), tree, rules.Builtin(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Similar) inWords(dir string) string {
	var all []string
	for _, g := range s.Groups {
		var names []string
		for _, f := range g.Files {
			name := relativeTo(dir, s.Tree.Path(f.File))
			for _, r := range f.With {
				name += "+" + s.Tree.Name(r)
			}
			if f.Role != Kept {
				name += ":" + f.Role.String()
			}
			names = append(names, name)
		}
		all = append(all, strings.Join(names, " "))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func TestFindSimilar(t *testing.T) {
	dir := t.TempDir()
	writeScene(t, filepath.Join(dir, "a/big.png"), 1, 400, 300)
	writeScene(t, filepath.Join(dir, "a/small.png"), 1, 200, 150)
	writeScene(t, filepath.Join(dir, "a/other.png"), 2, 400, 300)
	writeScene(t, filepath.Join(dir, "b/IMG_1.png"), 1, 320, 240)
	writeScene(t, filepath.Join(dir, "p/shot.png"), 1, 100, 75)
	for _, name := range []string{"b/IMG_1.xmp", "p/go.mod", "a/broken.jpg", "a/film.heic"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\xff\xd8\xff it is broken"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a/small.png"), filepath.Join(dir, "a/zweit.png")); err != nil {
		t.Fatal(err)
	}
	s := findSimilarIn(t, dir, SimilarOptions{Reference: []string{filepath.Join(dir, "b")}})
	want := "a/big.png b/IMG_1.png+IMG_1.xmp:reference a/small.png+zweit.png p/shot.png:protected"
	if got := s.inWords(dir); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(s.Problems) != 2 || s.Pictures != 5 { // film.heic is a JPEG by its content
		t.Errorf("%d pictures, problems %v", s.Pictures, s.Problems)
	}
	if s.Groups[0].Bytes <= 0 || s.Groups[0].Bytes >= s.Tree.Bytes {
		t.Errorf("%d bytes", s.Groups[0].Bytes)
	}
}

// choose is a selection of s: of each group the files for which goes is true.
func choose(s *Similar, goes func(group, i int) bool) *Selection {
	out := &Selection{Similar: true, Reviewed: true}
	for g := range s.Groups {
		group := s.Selection(g)
		for i := range group.Files {
			keep := !goes(g, i)
			group.Files[i].Keep = &keep
		}
		out.Groups = append(out.Groups, group)
	}
	return out
}

func planSelectionIn(t interface{ Fatal(...any) }, dir string, s *Selection, opt SelectionOptions) *Plan {
	paths := s.Paths()
	tree, err := Scan(context.Background(), dir, rules.Builtin(), ScanOptions{Only: paths, LookAbove: true, Hidden: true, Projects: true, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	opt.Trash, opt.Now = FindTrash(filepath.Join(filepath.Dir(dir), "data"), os.Getuid()), time.Now()
	p, err := PlanSelection(context.Background(), s, tree, rules.Builtin(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlanSelection: what goes, and what keeps a file from going.
func TestPlanSelection(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(dir string, s *Selection)
		opt      func(dir string) SelectionOptions
		moves    string
		problems string // of the first
	}{
		"as reviewed": {moves: "small.png+small.xmp tiny.png"},
		"one has changed": {change: func(dir string, s *Selection) { writeScene(t, filepath.Join(dir, "tiny.png"), 1, 110, 75) },
			moves: "small.png+small.xmp", problems: "it has changed since the review"},
		"one is another file of the same size and time": {change: func(dir string, s *Selection) {
			old, err := os.Stat(filepath.Join(dir, "tiny.png"))
			b, err2 := os.ReadFile(filepath.Join(dir, "tiny.png"))
			err3 := os.WriteFile(filepath.Join(dir, "new"), b, 0o644)
			err4 := os.Chtimes(filepath.Join(dir, "new"), old.ModTime(), old.ModTime())
			if err := errors.Join(err, err2, err3, err4, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "tiny.png"))); err != nil {
				t.Fatal(err)
			}
		}, moves: "small.png+small.xmp", problems: "it has changed since the review"},
		"what belongs to it has changed": {change: func(dir string, s *Selection) {
			if err := os.WriteFile(filepath.Join(dir, "small.xmp"), []byte("edited"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, moves: "tiny.png", problems: "it has changed since the review"},
		"the best is gone": {change: func(dir string, s *Selection) { os.Remove(filepath.Join(dir, "big.png")) }, problems: "which was to stay: it is not there any more"},
		"the best is a link now": {change: func(dir string, s *Selection) {
			os.Rename(filepath.Join(dir, "big.png"), filepath.Join(dir, "moved.png"))
			os.Symlink("tiny.png", filepath.Join(dir, "big.png"))
		}, problems: "which was to stay: it is not there any more"},
		"the same picture in two groups, once to stay": {change: func(dir string, s *Selection) {
			keep := true
			again := s.Groups[0].Files[2]
			again.Keep = &keep
			s.Groups = append(s.Groups, SelectionGroup{Files: []SelectionFile{again}})
		}, moves: "small.png+small.xmp", problems: "is to stay"},
		"the best goes in another group": {change: func(dir string, s *Selection) {
			keep, go1 := true, false
			best, other := s.Groups[0].Files[0], s.Groups[0].Files[1]
			best.Keep, other.Keep = &go1, &keep
			s.Groups = append(s.Groups, SelectionGroup{Files: []SelectionFile{other, best}})
		}, moves: "tiny.png", problems: "is to stay"},
		"it lies in a folder of which nothing is touched": {opt: func(dir string) SelectionOptions { return SelectionOptions{Reference: []string{dir}} },
			problems: "of which nothing is touched"},
		"it lies in a project": {change: func(dir string, s *Selection) {
			if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, problems: "lies in a project"},
		"another file is slipped in": {change: func(dir string, s *Selection) {
			s.Groups[0].Files[1].With = append(s.Groups[0].Files[1].With, SelectionFile{Path: filepath.Join(dir, "precious.txt")})
		}, moves: "tiny.png", problems: "it has changed since the review"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir = filepath.Join(dir, "album")
			writeScene(t, filepath.Join(dir, "big.png"), 1, 400, 300)
			writeScene(t, filepath.Join(dir, "small.png"), 1, 200, 150)
			writeScene(t, filepath.Join(dir, "tiny.png"), 1, 100, 75)
			for _, name := range []string{"small.xmp", "precious.txt"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := choose(findSimilarIn(t, dir, SimilarOptions{}), func(_, i int) bool { return i > 0 })
			if c.change != nil {
				c.change(dir, s)
			}
			opt := SelectionOptions{}
			if c.opt != nil {
				opt = c.opt(dir)
			}
			p := planSelectionIn(t, dir, s, opt)
			var moves []string
			units := map[uint32]int{}
			for _, m := range p.Moves {
				if m.Action != journal.Trash {
					t.Errorf("%s %s", m.Action, p.Tree.Path(m.File))
				}
				name := p.Tree.Name(m.File)
				if at, ok := units[m.Unit]; ok && m.Unit != 0 {
					moves[at] += "+" + name
					continue
				}
				units[m.Unit] = len(moves)
				moves = append(moves, name)
			}
			slices.Sort(moves)
			if got := strings.Join(moves, " "); got != c.moves {
				t.Errorf("goes: %s, want %s", got, c.moves)
			}
			if (len(p.Problems) > 0) != (c.problems != "") || c.problems != "" && !strings.Contains(fmt.Sprint(p.Problems), c.problems) {
				t.Errorf("problems: %v, want %s", p.Problems, c.problems)
			}
		})
	}
}

// TestSelectionKeeperGoes: the picture that stays goes away between plan and run: then nothing of the group goes.
func TestSelectionKeeperGoes(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "album")
	writeScene(t, filepath.Join(dir, "big.png"), 1, 400, 300)
	writeScene(t, filepath.Join(dir, "small.png"), 1, 200, 150)
	if err := os.WriteFile(filepath.Join(dir, "small.xmp"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := choose(findSimilarIn(t, dir, SimilarOptions{}), func(_, i int) bool { return i > 0 })
	p := planSelectionIn(t, dir, s, SelectionOptions{})
	if len(p.Moves) != 2 {
		t.Fatalf("%d moves", len(p.Moves))
	}
	if err := os.Rename(filepath.Join(dir, "big.png"), filepath.Join(base, "elsewhere.png")); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), filepath.Join(base, "journal.db"), journal.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	res, err := Apply(t.Context(), j, p, RunOptions{Conflict: ConflictRename})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"small.png", "small.xmp"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if res.Moved != 0 || len(res.Problems) == 0 {
		t.Errorf("%d moved, problems %v", res.Moved, res.Problems)
	}
}

// TestReadSelection: whatever a selection says, it names absolute paths, lets something stay, and was reviewed.
func TestReadSelection(t *testing.T) {
	for text, want := range map[string]error{
		``: ErrSelection, `[]`: ErrSelection, `{}`: ErrSelection, `{"similar":true}`: ErrNotReviewed, `{"reviewed":true}`: ErrSelection,
		`{"similar":true,"reviewed":true}`:                                                                     nil,
		`{"similar":true,"reviewed":true} {}`:                                                                  ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a/b","keep":false}]}]}`:                 ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"a"}]}]}`:                                 ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a/../b"}]}]}`:                           ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/"}]}]}`:                                 ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a\u0000b"}]}]}`:                         ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a/b","with":[{"path":""}]}]}]}`:         ErrSelection,
		`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a/b"},{"path":"/a/c","keep":false}]}]}`: nil,
	} {
		if _, err := ReadSelection(strings.NewReader(text)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

// TestSelectionProperty: a plan of any selection leaves of each group a picture that was to stay, takes only files that were
// chosen or belong to those, and reading what was written gives the same plan.
func TestSelectionProperty(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "album")
	for scene := range uint64(3) {
		for i := range 3 {
			writeScene(t, filepath.Join(dir, fmt.Sprintf("%d_%d.png", scene, i)), scene, 240-60*i, 180-45*i)
		}
	}
	found := findSimilarIn(t, dir, SimilarOptions{})
	if len(found.Groups) != 3 {
		t.Fatal(found.inWords(dir))
	}
	rapid.Check(t, func(t *rapid.T) {
		chosen := map[string]bool{}
		s := choose(found, func(g, i int) bool {
			goes := rapid.Bool().Draw(t, "goes")
			if goes {
				chosen[found.Tree.Path(found.Groups[g].Files[i].File)] = true
			}
			return goes
		})
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		nothing := slices.ContainsFunc(s.Groups, func(g SelectionGroup) bool {
			return !slices.ContainsFunc(g.Files, func(f SelectionFile) bool { return f.stays() })
		})
		read, err := ReadSelection(bytes.NewReader(text))
		if (err != nil) != nothing {
			t.Fatalf("a group of which nothing stays: %t, and it says %v", nothing, err)
		}
		if err != nil {
			return
		}
		p := planSelectionIn(t, dir, read, SelectionOptions{})
		if len(p.Problems) > 0 || len(p.Moves) != len(chosen) {
			t.Fatalf("%d moves for %d chosen, problems %v", len(p.Moves), len(chosen), p.Problems)
		}
		for _, m := range p.Moves {
			if !chosen[p.Tree.Path(m.File)] || chosen[p.Tree.Path(p.SameAs[m.File])] {
				t.Fatalf("%s goes, for %s", p.Tree.Path(m.File), p.Tree.Path(p.SameAs[m.File]))
			}
		}
	})
}

func FuzzReadSelection(f *testing.F) {
	f.Add([]byte(`{"similar":true,"reviewed":true,"groups":[{"files":[{"path":"/a/b","inode":"1","bytes":1,"modified":"2024-05-01T10:00:00Z"},{"path":"/a/c","keep":false}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadSelection(bytes.NewReader(b))
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil {
			return
		}
		for _, p := range s.Paths() {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p {
				t.Fatalf("it names %q", p)
			}
		}
	})
}
