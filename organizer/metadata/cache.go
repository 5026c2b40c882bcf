package metadata

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"forg/organizer/cachedb"
)

// Cache keeps what was read of files, in one SQLite file that may be deleted at any time. It holds texts of documents, so
// nobody but its owner may read it. It is safe for concurrent use, by other processes as well: who finds it busy goes on
// without it. A nil *Cache works and keeps nothing.
type Cache struct {
	now func() time.Time
	max int64 // bytes of content

	mu      sync.Mutex
	db      *cachedb.DB // nil once it has failed
	lookup  *sql.Stmt
	pending []cacheEntry
	bytes   int     // of pending values
	used    []int64 // rows that answered, and were not used for a day
}

// identity tells one state of a file from all others.
type identity struct {
	dev, ino           uint64
	size, mtime, ctime int64 // times in ns
}

type cacheEntry struct {
	id    identity
	fact  string
	value []byte
}

const (
	// cacheReaders is part of every key. It must grow with each change that makes a reader answer otherwise.
	cacheReaders = 1

	cacheMax        = 256 << 20
	cacheValueBytes = 1 << 20 // larger ones are not worth their room
	cacheBatch      = 256     // entries in a transaction
	cacheBatchBytes = 4 << 20
	// A file could change again within the resolution of its times, and look the same.
	cacheRacy = 2 * time.Second
)

// OpenCache opens the cache at path, creating it (mode 0600, folders 0700). One that is damaged or was made by a newer forg
// is set aside with .old behind its name. After an error, one goes on with a nil *Cache.
func OpenCache(path string) (*Cache, error) {
	c := &Cache{now: time.Now, max: cacheMax}
	var err error
	c.db, err = cachedb.Open(path, cacheFormat, func(db *cachedb.DB) (err error) {
		// Kept prepared, it takes half the time.
		c.lookup, err = db.Prepare(`SELECT rowid, used, value FROM facts WHERE dev = ? AND ino = ? AND fact = ? AND size = ? AND mtime = ? AND ctime = ?`)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// A file has one row for each fact: what it said before it changed is of no use.
var cacheFormat = cachedb.Format{Application: 0x666f7263 /* "forc" */, Version: 1, Wait: 50 * time.Millisecond, Schema: `
	CREATE TABLE IF NOT EXISTS facts (
		dev INTEGER NOT NULL, ino INTEGER NOT NULL, fact TEXT NOT NULL,
		size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
		used INTEGER NOT NULL, value BLOB NOT NULL,
		PRIMARY KEY (dev, ino, fact)
	);
	CREATE INDEX IF NOT EXISTS facts_used ON facts (used)`}

// Close writes what is not yet written, if the file is not busy, and closes it.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	err := c.db.Close()
	c.db = nil
	return err
}

// failed notes an error of the file.
func (c *Cache) failed(err error) {
	if c.db = c.db.After(err); c.db == nil {
		c.pending, c.used, c.bytes = nil, nil, 0
	}
}

func cacheKey(group string) string { return fmt.Sprintf("%s/%d", group, cacheReaders) }

// get returns what was read of a file, if that is known.
func (c *Cache) get(id identity, group string) (answer, bool) {
	if c == nil {
		return answer{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return answer{}, false
	}
	var row, used int64
	var value []byte
	err := c.lookup.QueryRow(int64(id.dev), int64(id.ino), cacheKey(group), id.size, id.mtime, id.ctime).Scan(&row, &used, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return answer{}, false
	}
	if err != nil {
		c.failed(err)
		return answer{}, false
	}
	a, err := decodeAnswer(value)
	if err != nil {
		return answer{}, false
	}
	const day = 24 * 60 * 60
	if c.now().Unix()-used > day {
		if c.used = append(c.used, row); len(c.used) >= 4*cacheBatch {
			c.flush()
		}
	}
	return a, true
}

// put notes what was read of a file.
func (c *Cache) put(id identity, group string, a answer) {
	if c == nil || c.now().Sub(time.Unix(0, id.ctime)) < cacheRacy {
		return
	}
	value, ok := encodeAnswer(a)
	if !ok || len(value) > cacheValueBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return
	}
	c.pending = append(c.pending, cacheEntry{id, cacheKey(group), value})
	if c.bytes += len(value); len(c.pending)%cacheBatch == 0 || c.bytes >= cacheBatchBytes {
		c.flush()
	}
}

// flush writes what is pending. If the file stays busy, that is tried again with the next batch, and given up then.
func (c *Cache) flush() {
	if c.db == nil || len(c.pending) == 0 && len(c.used) == 0 {
		return
	}
	err := c.write()
	if err == nil || len(c.pending) >= 2*cacheBatch || c.bytes >= 2*cacheBatchBytes || len(c.used) >= 8*cacheBatch {
		c.pending, c.used, c.bytes = nil, nil, 0
	}
	c.failed(err)
}

func (c *Cache) write() error {
	tx, err := c.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert, err := tx.Prepare(`INSERT OR REPLACE INTO facts (dev, ino, fact, size, mtime, ctime, used, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	now := c.now().Unix()
	for _, e := range c.pending {
		id := e.id
		if _, err := insert.Exec(int64(id.dev), int64(id.ino), e.fact, id.size, id.mtime, id.ctime, now, e.value); err != nil {
			return err
		}
	}
	for _, row := range c.used {
		if _, err := tx.Exec(`UPDATE facts SET used = ? WHERE rowid = ?`, now, row); err != nil {
			return err
		}
	}
	// What was not used for longest goes.
	if err := cachedb.Evict(tx, c.max, `DELETE FROM facts WHERE rowid IN (SELECT rowid FROM facts ORDER BY used, rowid LIMIT 50)`); err != nil {
		return err
	}
	return tx.Commit()
}

const cacheError = "error"

// encodeAnswer reports false for what JSON would not give back as it was.
func encodeAnswer(a answer) ([]byte, bool) {
	all := map[string]any{}
	if a.err != nil {
		if !errors.Is(a.err, ErrDamaged) {
			return nil, false
		}
		all[cacheError] = a.err.Error()
	}
	for name, v := range a.facts {
		switch v := v.(type) {
		case error:
			return nil, false
		case string:
			if !utf8.ValidString(v) {
				return nil, false
			}
		case []string:
			for _, s := range v {
				if !utf8.ValidString(s) {
					return nil, false
				}
			}
		case map[string]string:
			for key, s := range v {
				if !utf8.ValidString(key) || !utf8.ValidString(s) {
					return nil, false
				}
			}
		}
		all[name] = v
	}
	b, err := json.Marshal(all)
	return b, err == nil
}

func decodeAnswer(b []byte) (answer, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return answer{}, err
	}
	a := answer{}
	for name, raw := range all {
		var err error
		var v any
		switch {
		case name == cacheError:
			var message string
			if err = json.Unmarshal(raw, &message); err == nil {
				a.err = cachedError(message)
			}
		case name == "exif":
			v, err = decodeAs[map[string]string](raw)
		case name == "archive":
			v, err = decodeAs[[]string](raw)
		case strings.HasSuffix(name, ".duration"):
			v, err = decodeAs[float64](raw)
		case strings.HasSuffix(name, ".width"), strings.HasSuffix(name, ".height"), strings.HasSuffix(name, ".year"),
			strings.HasSuffix(name, ".track"), strings.HasSuffix(name, ".disc"):
			v, err = decodeAs[int64](raw)
		default:
			v, err = decodeAs[string](raw)
		}
		if err != nil {
			return answer{}, err
		}
		if v != nil {
			if a.facts == nil {
				a.facts = facts{}
			}
			a.facts[name] = v
		}
	}
	return a, nil
}

func decodeAs[T any](raw []byte) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}

// cachedError is damage that was found before.
type cachedError string

func (e cachedError) Error() string        { return string(e) }
func (e cachedError) Is(target error) bool { return target == ErrDamaged }
