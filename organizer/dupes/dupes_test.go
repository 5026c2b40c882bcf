package dupes

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

// naive is Find without any of its means: it hashes every file of a size that another has.
func naive(folders []Folder, files []File) []Group {
	type content struct {
		size int64
		hash [32]byte
	}
	var groups []Group
	index := map[content]int{}
	for i, f := range files {
		c := content{size: f.Size}
		r, err := os.Open(filepath.Join(folders[f.Folder].Path, f.Name))
		if err != nil {
			continue
		}
		h := blake3.New()
		n, err := io.Copy(h, r)
		r.Close()
		if err != nil || n != f.Size {
			continue
		}
		h.Sum(c.hash[:0])
		g, ok := index[c]
		if !ok {
			g = len(groups)
			index[c] = g
			groups = append(groups, Group{Hash: c.hash})
		}
		same := int32(len(groups[g].Files))
		for k, other := range groups[g].Files {
			if o := &files[other]; o.Ino == f.Ino && folders[o.Folder].Dev == folders[f.Folder].Dev {
				same = groups[g].Same[k]
				break
			}
		}
		groups[g].Files, groups[g].Same = append(groups[g].Files, int32(i)), append(groups[g].Same, same)
	}
	return slices.DeleteFunc(groups, func(g Group) bool { return len(g.Files) < 2 })
}

// scan is what a scan says of the tree below root.
func scan(t testing.TB, root string) (folders []Folder, files []File) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st := statOf(t, path)
		switch {
		case d.IsDir():
			folders = append(folders, Folder{Path: path, Dev: st.dev, Ino: st.id.ino})
		case d.Type().IsRegular():
			in := slices.IndexFunc(folders, func(f Folder) bool { return f.Path == filepath.Dir(path) })
			files = append(files, File{d.Name(), uint32(in), st.id.ino, st.id.size, st.id.mtime, st.id.ctime})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders, files
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that depend on seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(mix(seed<<32+uint64(i/8)) >> (i % 8 * 8))
	}
	return b
}

func find(t testing.TB, folders []Folder, files []File, opt Options) []Group {
	t.Helper()
	groups, err := Find(context.Background(), folders, files, opt)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// show names the files of groups, with = between names of one file.
func show(files []File, groups []Group) []string {
	all := []string{}
	for _, g := range groups {
		line := ""
		for n, i := range g.Files {
			line += fmt.Sprintf(" %s=%d", files[i].Name, g.Same[n])
		}
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

// The edges are those of what is read at once, of beginnings and of chunks.
var edges = []int64{0, 1, 2, beginning, wholeBelow, wholeBelow + firstChunk, chunk, chunk + firstChunk, 2 * chunk}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for n, edge := range edges {
		for _, size := range slices.Compact([]int64{max(edge-1, 0), edge, edge + 1}) {
			content := noise(uint64(size), int(size))
			name := func(what string) string {
				return filepath.Join(root, fmt.Sprint(n%3), fmt.Sprint(edge), fmt.Sprint(size, what))
			}
			write(t, name("a"), content)
			write(t, name("b"), content)
			if err := os.Link(name("b"), name("c")); err != nil {
				t.Fatal(err)
			}
			write(t, name("other"), noise(1e9+uint64(size), int(size)))
		}
	}
	folders, files := scan(t, root)
	unread := Options{Unread: func(i int32, err error) { t.Error(files[i].Name, err) }}
	if diff := cmp.Diff(naive(folders, files), find(t, folders, files, unread), cmpopts.IgnoreFields(Group{}, "Hash")); diff != "" {
		t.Error(diff)
	}
}

// Two files that differ in one byte, wherever that is, are never equal.
func TestNearMiss(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := max(1, rapid.SampledFrom(edges).Draw(t, "edge")+rapid.Int64Range(-2, 2).Draw(t, "and"))
		at := rapid.OneOf(rapid.Int64Range(0, size-1), rapid.Custom(func(t *rapid.T) int64 {
			return min(size-1, max(0, rapid.SampledFrom(edges).Draw(t, "near")+rapid.Int64Range(-2, 2).Draw(t, "by")))
		})).Draw(t, "at")
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		content := noise(7, int(size))
		for _, name := range []string{"a", "b", "c"} {
			if name == "c" {
				content[at] ^= bit
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		folders, files := scanOf(t, dir)
		groups, err := Find(context.Background(), folders, files, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a=0 b=1"}, show(files, groups)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// scanOf scans one folder.
func scanOf(t interface{ Fatal(...any) }, dir string) ([]Folder, []File) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	st := statOf(t, dir)
	folders := []Folder{{dir, st.dev, st.id.ino}}
	var files []File
	for _, e := range entries {
		if e.Type().IsRegular() {
			st := statOf(t, filepath.Join(dir, e.Name()))
			files = append(files, File{e.Name(), 0, st.id.ino, st.id.size, st.id.mtime, st.id.ctime})
		}
	}
	return folders, files
}
