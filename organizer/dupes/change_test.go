package dupes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func openCache(t testing.TB, path string) *Cache {
	t.Helper()
	c, err := OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// Files that a test has just made are as good as old: each change comes after a pause.
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	return c
}

func closeCache(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// pause lets the clock of the file system go on.
func pause() { time.Sleep(12 * time.Millisecond) }

// inspect is Find with a look inside.
func inspect(t testing.TB, folders []Folder, files []File, opt Options) (*finder, []Group) {
	t.Helper()
	f := newFinder(context.Background(), folders, files, opt)
	groups, err := f.find()
	if err != nil {
		t.Fatal(err)
	}
	return f, groups
}

// wasRead counts the candidates whose content was read, and the groups of large ones that were compared.
func (f *finder) wasRead() (files, compared int) {
	for _, s := range f.states {
		if s == read {
			files++
		}
	}
	return files, int(f.session.number)
}

// However a tree changes, what is found is what is there, with a cache and without.
func TestAfterChanges(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(err)
		defer os.RemoveAll(dir)
		cachePath := filepath.Join(dir, "cache.db")
		tree := filepath.Join(dir, "tree")
		for n := range 3 {
			must(os.MkdirAll(filepath.Join(tree, fmt.Sprint("d", n)), 0o755))
		}
		path := rapid.Custom(func(rt *rapid.T) string {
			return filepath.Join(tree, fmt.Sprint("d", rapid.IntRange(0, 2).Draw(rt, "d")), rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "name"))
		})
		content := rapid.Custom(func(rt *rapid.T) []byte {
			size := rapid.SampledFrom([]int{0, 1, 100, wholeBelow, wholeBelow + 1, wholeBelow + firstChunk + 1, chunk + firstChunk + 1}).Draw(rt, "size")
			b := noise(1, size)
			if size > 0 && rapid.Bool().Draw(rt, "other") {
				b[rapid.SampledFrom([]int{0, size / 2, size - 1}).Draw(rt, "at")] ^= 1
			}
			return b
		})
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 12).Draw(rt, "changes") {
				to := path.Draw(rt, "to")
				switch rapid.SampledFrom([]string{"write", "write", "write", "edit", "rename", "link", "copy", "remove"}).Draw(rt, "what") {
				case "write":
					os.Remove(to)
					must(os.WriteFile(to, content.Draw(rt, "content"), 0o644))
				case "edit": // without its size or its time telling
					st, err := os.Stat(to)
					if err != nil || st.Size() == 0 {
						continue
					}
					f, err := os.OpenFile(to, os.O_RDWR, 0)
					must(err)
					b := []byte{0}
					at := rapid.SampledFrom([]int64{0, st.Size() / 2, st.Size() - 1}).Draw(rt, "at")
					_, err = f.ReadAt(b, at)
					must(err)
					b[0] ^= 1
					_, err = f.WriteAt(b, at)
					must(errors.Join(err, f.Close(), os.Chtimes(to, st.ModTime(), st.ModTime())))
				case "rename":
					os.Rename(path.Draw(rt, "from"), to) // it may not be there
				case "link":
					os.Link(path.Draw(rt, "from"), to)
				case "copy": // as cp -p
					from := path.Draw(rt, "from")
					b, err := os.ReadFile(from)
					st, serr := os.Stat(from)
					if err == nil && serr == nil && from != to {
						must(errors.Join(os.WriteFile(to, b, 0o644), os.Chtimes(to, st.ModTime(), st.ModTime())))
					}
				case "remove":
					os.Remove(to)
				}
			}
			folders, files := scan(t, tree)
			want := naive(folders, files)
			cache := openCache(t, cachePath)
			hash := rapid.Bool().Draw(rt, "hash")
			ignore := cmp.Options{}
			if !hash {
				ignore = cmp.Options{cmpopts.IgnoreFields(Group{}, "Hash")}
			}
			var told [4]int64
			opt := Options{Hash: hash, Unread: func(i int32, err error) { t.Error(files[i].Name, err) },
				Progress: func(files, bytes, allFiles, allBytes int64) { told = [4]int64{files, bytes, allFiles, allBytes} }}
			for n, c := range []*Cache{nil, cache, cache} {
				opt.Cache = c
				f, got := inspect(t, folders, files, opt)
				if diff := cmp.Diff(want, got, ignore, cmpopts.EquateEmpty()); diff != "" {
					rt.Fatalf("time %d: %s", n, diff)
				}
				if told[0] != told[2] || told[1] != told[3] {
					rt.Fatalf("time %d: progress ends at %v", n, told)
				}
				if files, compared := f.wasRead(); n == 2 && files+compared > 0 {
					rt.Fatalf("%d files read and %d contents compared although nothing changed", files, compared)
				}
			}
			closeCache(t, cache)
			pause()
		}
	})
}

// A file that changes while others are compared is in no group with them.
func TestChangesMeanwhile(t *testing.T) {
	root := t.TempDir()
	for _, size := range []int{3000, wholeBelow + 5, 2*chunk + 77} {
		for n := range 6 {
			write(t, filepath.Join(root, fmt.Sprintf("stable%d-%d", size, n)), noise(uint64(n/2), size))
			write(t, filepath.Join(root, fmt.Sprintf("moving%d-%d", size, n)), noise(uint64(n/2), size))
		}
	}
	folders, files := scan(t, root)
	pause()
	moving := func(i int32) bool { return files[i].Name[0] == 'm' }
	var rewritten atomic.Int64
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(0); !stop.Load(); n++ {
			if f := files[n*7%uint64(len(files))]; f.Name[0] == 'm' { // 7 divides no number of files of ours: each has its turn
				os.WriteFile(filepath.Join(root, f.Name), noise(100+n%3, int(f.Size)), 0o644)
			}
			rewritten.Store(int64(n))
		}
	}()
	for rewritten.Load() < int64(len(files)) {
		time.Sleep(time.Millisecond)
	}
	cache := openCache(t, filepath.Join(t.TempDir(), "c"))
	cache.now = time.Now
	for n := range 20 {
		files := files
		if n%2 == 1 { // as they are now, or were a moment ago
			_, files = scan(t, root)
		}
		unread := map[int32]bool{}
		opt := Options{Unread: func(i int32, err error) {
			unread[i] = true
			if !moving(i) {
				t.Errorf("%s: %v", files[i].Name, err)
			}
		}}
		if n%4 < 2 {
			opt.Cache = cache
		}
		pairs := 0
		for _, g := range find(t, folders, files, opt) {
			for _, i := range g.Files {
				if unread[i] {
					t.Errorf("%s could not be read and is in a group", files[i].Name)
				}
				if moving(i) != moving(g.Files[0]) {
					t.Errorf("%s is in a group with %s", files[i].Name, files[g.Files[0]].Name)
				}
			}
			if !moving(g.Files[0]) {
				pairs++
			} else if n%2 == 0 {
				t.Errorf("%s is not what the scan saw", files[g.Files[0]].Name)
			}
		}
		if pairs != 9 {
			t.Errorf("%d groups of files that do not change", pairs)
		}
	}
	stop.Store(true)
	<-done
	folders, files = scan(t, root)
	if diff := cmp.Diff(naive(folders, files), find(t, folders, files, Options{Cache: cache}), cmpopts.IgnoreFields(Group{}, "Hash")); diff != "" {
		t.Error(diff)
	}
}

func TestContextEnds(t *testing.T) {
	root := t.TempDir()
	for n := range 600 {
		write(t, filepath.Join(root, fmt.Sprint(n)), noise(uint64(n/2), 2000))
	}
	for n := range 4 {
		write(t, filepath.Join(root, fmt.Sprint("large", n)), noise(1, 5*chunk))
	}
	folders, files := scan(t, root)
	for _, after := range []int{0, 1, 3, 8} {
		ctx, cancel := context.WithCancel(context.Background())
		calls := 0
		groups, err := Find(ctx, folders, files, Options{Cache: openCache(t, filepath.Join(t.TempDir(), "c")), Progress: func(int64, int64, int64, int64) {
			if calls++; calls > after {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) || groups != nil {
			t.Errorf("after %d calls: %d groups, %v", after, len(groups), err)
		}
	}
}

// More files than may be open at a time.
func TestManyAlike(t *testing.T) {
	root := t.TempDir()
	for _, size := range []int{wholeBelow + 9, chunk + 9} {
		for n := range openTogether + 20 {
			b := noise(1, size)
			switch {
			case n%10 == 3:
				b[size-1] ^= byte(n / 10)
			case n%10 == 4:
				b[beginning+1] ^= byte(n / 20)
			}
			write(t, filepath.Join(root, fmt.Sprint(size, "-", n)), b)
		}
	}
	folders, files := scan(t, root)
	want := naive(folders, files)
	cache := openCache(t, filepath.Join(t.TempDir(), "c"))
	for range 2 {
		if diff := cmp.Diff(want, find(t, folders, files, Options{Cache: cache, Hash: true})); diff != "" {
			t.Error(diff)
		}
	}
	// A new one is compared with one of each class.
	write(t, filepath.Join(root, "new"), noise(1, chunk+9))
	folders, files = scan(t, root)
	f, got := inspect(t, folders, files, Options{Cache: cache, Hash: true})
	if diff := cmp.Diff(naive(folders, files), got); diff != "" {
		t.Error(diff)
	}
	if n, _ := f.wasRead(); n != 1 {
		t.Errorf("%d files read for one new one", n)
	}
}

// A class outlives the file that was read first of it.
func TestClassWithoutItsFirst(t *testing.T) {
	root := t.TempDir()
	size := wholeBelow * 3
	for n := range 4 {
		write(t, filepath.Join(root, fmt.Sprint(n)), noise(1, size))
	}
	cache := openCache(t, filepath.Join(t.TempDir(), "c"))
	folders, files := scan(t, root)
	find(t, folders, files, Options{Cache: cache})
	pause()
	write(t, filepath.Join(root, "new"), noise(1, size))
	folders, files = scan(t, root)
	if err := errors.Join(os.Remove(filepath.Join(root, "0")), os.Remove(filepath.Join(root, "1"))); err != nil {
		t.Fatal(err)
	}
	var unread []string
	groups := find(t, folders, files, Options{Cache: cache, Unread: func(i int32, _ error) { unread = append(unread, files[i].Name) }})
	slices.Sort(unread)
	if diff := cmp.Diff([]string{"2=0 3=1 new=2"}, show(files, groups)); diff != "" || !slices.Equal(unread, []string{"0", "1"}) {
		t.Error(unread, diff)
	}
}
