package dupes

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// pairs is a tree of pairs of equal files, small and large.
func pairs(t testing.TB) (root string) {
	root = t.TempDir()
	for n := range 40 {
		write(t, filepath.Join(root, fmt.Sprint(n%4), fmt.Sprint("small", n)), noise(uint64(n/2), 5000))
	}
	for n := range 6 {
		write(t, filepath.Join(root, fmt.Sprint(n%4), fmt.Sprint("large", n)), noise(uint64(n/2), wholeBelow+5000))
	}
	return root
}

func TestCacheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a #b?c.db")
	c := openCache(t, path)
	root := pairs(t)
	folders, files := scan(t, root)
	find(t, folders, files, Options{Cache: c})
	closeCache(t, c)
	closeCache(t, c)
	if runtime.GOOS != "windows" {
		for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", p, st.Mode(), err)
			}
		}
	}
	// Closed, it is of no use and in nobody's way; so is none.
	for _, c := range []*Cache{c, nil} {
		if f, _ := inspect(t, folders, files, Options{Cache: c, Hash: true}); !isRead(f) {
			t.Error("not read")
		}
	}
	if err := (*Cache)(nil).Close(); err != nil {
		t.Error(err)
	}
	one, two := openCache(t, path), openCache(t, filepath.Join(t.TempDir(), "c"))
	if one.seed == two.seed || one.seed != c.seed {
		t.Error("a secret is of one cache, and stays")
	}
	if f, _ := inspect(t, folders, files, Options{Cache: one}); isRead(f) {
		t.Error("read again")
	}
	if _, err := OpenCache(t.TempDir()); err == nil {
		t.Error("a folder is no cache")
	}
}

func isRead(f *finder) bool {
	files, compared := f.wasRead()
	return files+compared > 0
}

// What changed just before it was read could have changed once more in the same moment.
func TestCacheRacy(t *testing.T) {
	root := pairs(t)
	folders, files := scan(t, root)
	c := openCache(t, filepath.Join(t.TempDir(), "c"))
	c.now = time.Now
	find(t, folders, files, Options{Cache: c})
	if f, _ := inspect(t, folders, files, Options{Cache: c}); !isRead(f) {
		t.Error("what is read of young files does not hold")
	}
	c.now = func() time.Time { return time.Now().Add(-time.Hour) } // files of tomorrow
	find(t, folders, files, Options{Cache: c})
	if f, _ := inspect(t, folders, files, Options{Cache: c}); !isRead(f) {
		t.Error("what is read of files of tomorrow does not hold")
	}
	for i := range files {
		files[i].Changed = 0
	}
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	find(t, folders, files, Options{Cache: c})
	if f, _ := inspect(t, folders, files, Options{Cache: c}); !isRead(f) {
		t.Error("without the time of change nothing holds")
	}
}

func TestCacheDamaged(t *testing.T) {
	root := pairs(t)
	folders, files := scan(t, root)
	want := naive(folders, files)
	sqlOf := func(statement string, args ...any) func(string) error {
		return func(path string) error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.Exec(statement, args...)
			return err
		}
	}
	for name, damage := range map[string]struct {
		do    func(path string) error
		aside bool
	}{
		"noise":           {func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("noise", 1000)), 0o600) }, true},
		"newer":           {sqlOf("PRAGMA user_version = 99"), true},
		"another program": {sqlOf("PRAGMA application_id = 7"), true},
		"pages": {func(path string) error {
			b, err := os.ReadFile(path)
			for i := 20000; i < len(b); i++ {
				b[i] ^= byte(i >> 8)
			}
			if err != nil {
				return err
			}
			return os.WriteFile(path, b, 0o600)
		}, false},
		"cut off": {func(path string) error { return os.Truncate(path, 17000) }, false},
		"blobs of others": {sqlOf(`UPDATE folders SET files = (SELECT files FROM folders AS other WHERE other.ino != folders.ino);
			UPDATE hashes SET pairs = (SELECT pairs FROM hashes AS other WHERE other.bucket != hashes.bucket)`), false},
		"short blobs":     {sqlOf(`UPDATE folders SET files = substr(files, 1, 200); UPDATE hashes SET pairs = substr(pairs, 1, 20)`), false},
		"empty blobs":     {sqlOf(`UPDATE folders SET files = x''; UPDATE hashes SET pairs = x''`), false},
		"texts":           {sqlOf(`UPDATE folders SET files = 'text', seen = 'yes'; UPDATE hashes SET pairs = 'text'`), false},
		"another secret":  {sqlOf(`UPDATE secret SET seed = x'0102030405060708'`), false},
		"a short secret":  {sqlOf(`UPDATE secret SET seed = x'01'`), false},
		"no secret":       {sqlOf(`DELETE FROM secret`), false},
		"a missing table": {sqlOf(`DROP TABLE folders`), false},
		"deleted":         {os.Remove, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c")
			c := openCache(t, path)
			find(t, folders, files, Options{Cache: c, Hash: true})
			closeCache(t, c)
			if err := damage.do(path); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				c, err := OpenCache(path)
				if err == nil {
					c.now = func() time.Time { return time.Now().Add(time.Hour) }
				} else if n == 2 {
					t.Error(err)
				}
				if diff := cmp.Diff(want, find(t, folders, files, Options{Cache: c, Hash: true})); diff != "" {
					t.Error(diff)
				}
				c.Close()
			}
			if _, err := os.Stat(path + ".old"); damage.aside && err != nil {
				t.Error(err)
			}
		})
	}
}

// It may go while it is used, and another process may hold it for long: whoever waited for that would wait for ever here.
func TestCacheInUse(t *testing.T) {
	root := pairs(t)
	folders, files := scan(t, root)
	dir := t.TempDir()
	path := filepath.Join(dir, "c")
	c := openCache(t, path)
	find(t, folders, files, Options{Cache: c})
	other := openCache(t, path)
	other.db.SetMaxOpenConns(1)
	if _, err := other.db.Exec(`BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	if f, _ := inspect(t, folders, files, Options{Cache: c, Hash: true}); !isRead(f) {
		t.Error("read what nobody may read")
	}
	if _, err := other.db.Exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if f, _ := inspect(t, folders, files, Options{Cache: c}); isRead(f) {
		t.Error("it is not used any more after it was busy")
	}
	// Many at once.
	done := make(chan error, 4)
	for range cap(done) {
		cache := openCache(t, path)
		go func() {
			for range 5 {
				if _, err := Find(context.Background(), folders, files, Options{Cache: cache, Hash: true}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if runtime.GOOS == "windows" {
		return // no file goes while it is open
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	want := naive(folders, files)
	for range 2 {
		if diff := cmp.Diff(want, find(t, folders, files, Options{Cache: c}), cmpopts.IgnoreFields(Group{}, "Hash")); diff != "" {
			t.Error(diff)
		}
	}
}

// What was not seen for longest goes when there is no room.
func TestCacheBound(t *testing.T) {
	root := pairs(t)
	folders, files := scan(t, root)
	path := filepath.Join(t.TempDir(), "c")
	c := openCache(t, path)
	find(t, folders, files, Options{Cache: c})
	day := time.Now()
	c.now = func() time.Time { return day }
	c.max = 4 << 20
	blob := make([]byte, 20_000)
	for n := range 500 {
		day = day.Add(24 * time.Hour)
		if n%31 == 0 {
			find(t, folders, files, Options{Cache: c})
		}
		tx, err := c.db.Begin()
		if err == nil {
			_, err = tx.Exec(`INSERT INTO folders VALUES (7, ?, ?, ?)`, n, day.Unix()/86400, blob)
		}
		if err == nil {
			err = evict(tx, c.max)
		}
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var first, last int
	if err := c.db.QueryRow(`SELECT min(ino), max(ino) FROM folders WHERE dev = 7`).Scan(&first, &last); err != nil || first == 0 || last != 499 {
		t.Error(first, last, err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > c.max+1<<20 {
		t.Error(st.Size(), err)
	}
	if f, _ := inspect(t, folders, files, Options{Cache: c}); isRead(f) {
		t.Error("what is seen often is gone")
	}
}

// Runs that look at other sizes do not forget what the ones before knew.
func TestCacheOfParts(t *testing.T) {
	root := pairs(t)
	folders, files := scan(t, root)
	var large, small []File
	for _, f := range files {
		if f.Size > wholeBelow {
			large = append(large, f)
		} else {
			small = append(small, f)
		}
	}
	c := openCache(t, filepath.Join(t.TempDir(), "c"))
	find(t, folders, large, Options{Cache: c})
	find(t, folders, small, Options{Cache: c})
	if f, _ := inspect(t, folders, files, Options{Cache: c}); isRead(f) {
		t.Error("forgotten")
	}
	// One folder of many that the cache knows.
	for n := range 1000 {
		if _, err := c.db.Exec(`INSERT INTO folders VALUES (?, ?, 1, x'00')`, int64(folders[0].Dev), -1-n); err != nil {
			t.Fatal(err)
		}
	}
	if f, _ := inspect(t, folders, files, Options{Cache: c}); isRead(f) {
		t.Error("not asked for")
	}
}

func FuzzRecords(f *testing.F) {
	r := record{identity{1, 5000, 3, 4}, fingerprint{5, 6}, class{7, 8}}
	blob := r.encode(make([]byte, sumBytes))
	seal(blob, 1, 2, 3)
	f.Add(blob, true)
	f.Add(blob[:70], true)
	f.Add([]byte{}, false)
	folders := []Folder{{Path: "nowhere", Dev: 1, Ino: 2}}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed && len(b) >= sumBytes {
			seal(b, 1, 2, 3)
		}
		if records := unseal(b, 1, 2, 3); sealed && len(b) >= sumBytes && (len(b)-sumBytes)%recordBytes == 0 && len(records) != len(b)-sumBytes {
			t.Error("what was sealed is not taken")
		}
		if len(b) > sumBytes && len(unseal(b, 1, 9, 3)) > 0 {
			t.Error("what is another folder's is taken")
		}
		files := []File{{"a", 0, 1, 5000, 3, 4}, {"b", 0, 2, 5000, 3, 4}, {"c", 0, 3, 70000, 3, 4}, {"d", 0, 4, 70000, 3, 4}}
		find := newFinder(context.Background(), folders, files, Options{})
		find.seed = 3
		find.candidates()
		find.memory = &memory{stored: make([]bool, len(files))}
		p := place{run{0, 4}, 0, true, 0, nil}
		find.recall(&p, unseal(b, 1, 2, 3))
		for k, s := range find.states {
			if s == cached && !sealed && len(b) == 0 {
				t.Error(k, "is known from nothing")
			}
		}
		unsealHashes(b, 5, 3)
	})
}
