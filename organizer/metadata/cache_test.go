package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openCache(t *testing.T, path string) *Cache {
	t.Helper()
	c, err := OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func closeCache(t *testing.T, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// idOf is a file that was changed long ago.
func idOf(n int) identity { return identity{dev: 1 << 63, ino: uint64(n), size: 1, mtime: 2, ctime: 3} }

func textAnswer(s string) answer { return answer{facts: facts{"text": s}} }

func TestCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a #b?c.db")
	c := openCache(t, path)
	answers := map[string]answer{
		"exif":    {facts: facts{"exif": map[string]string{"image.model": "X <1>", "b": "ü"}}},
		"image":   {facts: facts{"image.width": int64(1<<62 + 1), "image.height": int64(2), "image.orientation": "portrait"}},
		"audio":   {facts: facts{"audio.duration": 2.5, "audio.year": int64(2003), "audio.title": "Song"}},
		"archive": {facts: facts{"archive": []string{"a", "b/c"}}},
		"text":    textAnswer("all\nof it \u2028"),
		"video":   {},
	}
	for group, a := range answers {
		c.put(idOf(1), group, a)
	}
	c.put(idOf(2), "text", answer{err: fmt.Errorf("%w: no sound PDF", ErrDamaged)})
	closeCache(t, c)
	if runtime.GOOS != "windows" {
		for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", p, st.Mode(), err)
			}
		}
	}
	c = openCache(t, path)
	for group, want := range answers {
		got, ok := c.get(idOf(1), group)
		if diff := cmp.Diff(want.facts, got.facts); !ok || got.err != nil || diff != "" {
			t.Errorf("%s: %v, %v %s", group, ok, got.err, diff)
		}
	}
	if got, ok := c.get(idOf(2), "text"); !ok || !errors.Is(got.err, ErrDamaged) || !strings.Contains(got.err.Error(), "no sound PDF") {
		t.Errorf("%v, %v", got, ok)
	}
	for name, other := range map[string]identity{
		"dev": {1, 1, 1, 2, 3}, "ino": {1 << 63, 9, 1, 2, 3}, "size": {1 << 63, 1, 9, 2, 3}, "mtime": {1 << 63, 1, 1, 9, 3}, "ctime": {1 << 63, 1, 1, 2, 9},
	} {
		if _, ok := c.get(other, "text"); ok {
			t.Errorf("another %s, and the same answer", name)
		}
	}
	if _, ok := c.get(idOf(1), "origin"); ok {
		t.Error("an answer that nobody gave")
	}
	// What is not kept.
	c.put(idOf(3), "text", textAnswer("no \xff UTF-8"))
	c.put(idOf(4), "text", textAnswer(strings.Repeat("long", cacheValueBytes)))
	c.put(idOf(5), "text", answer{err: ErrLimit})
	racy := idOf(6)
	racy.ctime = time.Now().Add(-time.Second).UnixNano()
	c.put(racy, "text", textAnswer("racy"))
	c.put(identity{ino: 7, ctime: time.Now().Add(time.Hour).UnixNano()}, "text", textAnswer("of tomorrow"))
	if len(c.pending) != 0 {
		t.Error(c.pending)
	}
	// A file has one row for each fact.
	changed := idOf(1)
	changed.mtime++
	c.put(changed, "text", textAnswer("new"))
	closeCache(t, c)
	c = openCache(t, path)
	if _, ok := c.get(idOf(1), "text"); ok {
		t.Error("the old answer is still there")
	}
	if got, ok := c.get(changed, "text"); !ok || got.facts["text"] != "new" {
		t.Error(got, ok)
	}
}

func TestNoCache(t *testing.T) {
	var c *Cache
	c.put(idOf(1), "text", textAnswer("x"))
	if _, ok := c.get(idOf(1), "text"); ok {
		t.Error("found")
	}
	closeCache(t, c)
	c = openCache(t, filepath.Join(t.TempDir(), "c"))
	closeCache(t, c)
	closeCache(t, c)
	c.put(idOf(1), "text", textAnswer("x"))
	if _, ok := c.get(idOf(1), "text"); ok {
		t.Error("found in a closed cache")
	}
}

func TestCacheOfFiles(t *testing.T) {
	c := openCache(t, filepath.Join(t.TempDir(), "c"))
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	r := NewReader(Limits{}, c)
	f := write(t, "a.txt", []byte("first"))
	read := func() any {
		t.Helper()
		v, err := r.File(f).Fact(context.Background(), "text")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if read() != "first" || len(c.pending) != 1 {
		t.Fatal(c.pending)
	}
	c.flush()
	// Even one that is wrong is believed, so it is the cache that answers.
	if _, err := c.db.Exec(`UPDATE facts SET value = ?`, []byte(`{"text":"kept"}`)); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "kept" {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(f.Name(), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "other" {
		t.Errorf("%q after a change", got)
	}
	c.flush()
	for _, value := range []string{"", "null", "[]", `{"text":1}`, `{"text":`} {
		if _, err := c.db.Exec(`UPDATE facts SET value = ?`, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != "other" && value != "null" {
			t.Errorf("%q after %q", got, value)
		}
	}
}

func TestCacheSetAside(t *testing.T) {
	other := func(statement string) func(string) error {
		return func(path string) error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.Exec(statement)
			return err
		}
	}
	for name, spoil := range map[string]func(path string) error{
		"noise":           func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("noise", 1000)), 0o600) },
		"newer":           other("PRAGMA user_version = 99"),
		"another program": other("PRAGMA application_id = 7"),
		"damaged": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i := 100; i < len(b); i++ {
				b[i] = 0xaa
			}
			return os.WriteFile(path, b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c")
			c := openCache(t, path)
			c.put(idOf(1), "text", textAnswer("x"))
			closeCache(t, c)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			c = openCache(t, path)
			if _, ok := c.get(idOf(1), "text"); ok {
				t.Error("found in what is spoiled")
			}
			closeCache(t, c) // what is found to be damaged later is set aside here
			c = openCache(t, path)
			c.put(idOf(2), "text", textAnswer("y"))
			closeCache(t, c)
			c = openCache(t, path)
			if _, ok := c.get(idOf(2), "text"); !ok {
				t.Error("the new one keeps nothing")
			}
			if _, err := os.Stat(path + ".old"); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := OpenCache(t.TempDir()); err == nil {
		t.Error("a folder is no cache")
	}
	// It may go at any time.
	path := filepath.Join(t.TempDir(), "c")
	c := openCache(t, path)
	if runtime.GOOS != "windows" {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 2 * cacheBatch {
		c.put(idOf(n), "text", textAnswer("x"))
		c.get(idOf(n), "text")
	}
	c.Close()
	closeCache(t, openCache(t, path))
}

// Another process may write for long; this one goes on: were it to wait, it would wait for ever here.
func TestCacheBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	c := openCache(t, path)
	c.put(idOf(1), "text", textAnswer("x"))
	c.flush()
	other := openCache(t, path)
	tx, err := other.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`UPDATE facts SET used = 1`); err != nil {
		t.Fatal(err)
	}
	c.put(idOf(2), "text", textAnswer("y"))
	c.flush()
	if _, ok := c.get(idOf(1), "text"); !ok {
		t.Error("a reader does not mind a writer that has not committed")
	}
	third, err := OpenCache(path)
	if err == nil {
		third.Close()
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.flush() // what was not written then is written now
	if _, ok := other.get(idOf(2), "text"); !ok {
		t.Error("lost")
	}
	// Many at once, with as many goroutines each.
	var g sync.WaitGroup
	for n := range 4 {
		cache := openCache(t, path)
		for range 2 {
			g.Go(func() {
				for i := range 300 {
					cache.put(idOf(n*1000+i), "text", textAnswer("z"))
					cache.get(idOf(i), "text")
				}
			})
		}
	}
	g.Wait()
}

func TestCacheBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	c := openCache(t, path)
	c.max = 8 << 20
	now := time.Now()
	c.now = func() time.Time { return now }
	long := strings.Repeat("x", 10<<10)
	c.put(idOf(1_000_000), "text", textAnswer("used often"))
	for n := range 3000 {
		if n%100 == 0 { // each hundred on another day
			now = now.Add(48 * time.Hour)
			c.get(idOf(1_000_000), "text")
		}
		c.put(idOf(n), "text", textAnswer(long))
	}
	c.flush()
	if st, err := os.Stat(path); err != nil || st.Size() > c.max+8<<20 { // a batch comes on top
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	if _, ok := c.get(idOf(2999), "text"); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := c.get(idOf(0), "text"); ok {
		t.Error("the oldest is there")
	}
	if _, ok := c.get(idOf(1_000_000), "text"); !ok {
		t.Error("what is used often is gone")
	}
}

func BenchmarkCache(b *testing.B) {
	c, err := OpenCache(filepath.Join(b.TempDir(), "c"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	a := answer{facts: facts{"audio.artist": "somebody", "audio.title": "something", "audio.duration": 1.5, "audio.year": int64(2003)}}
	n := 0
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			c.put(idOf(n), "audio", a)
			n++
		}
	})
	b.Run("get", func(b *testing.B) {
		i := 0
		for b.Loop() {
			c.get(idOf(i%n), "audio")
			i++
		}
	})
}
