package dupes

import (
	"cmp"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"forg/organizer/cachedb"
)

// Cache keeps what is known of contents from run to run, in one SQLite file that may be deleted at any time. It is safe for
// concurrent use, by other processes as well: who finds it busy goes on without it. A nil *Cache works and keeps nothing.
type Cache struct {
	now func() time.Time
	max int64 // bytes of content

	mu   sync.Mutex
	db   *cachedb.DB // nil once it has failed
	seed uint64
}

const (
	cacheMax = 512 << 20 // bytes, of eight million files
	// cacheRacy is how long ago a file must have changed for what is read of it to hold: it could change again within the
	// resolution of its times, and look the same.
	cacheRacy = 2 * time.Second
	// cacheSeen is how often it is noted that a folder is still there.
	cacheSeen = 30 // days
	// cacheUnasked is how many folders must be known besides those asked for, for each of those, to ask for them one by one.
	cacheUnasked = 4
	cacheAsked   = 250 // folders in one question
)

// A folder's files are one blob: a row for each would take ten times as long.
var cacheFormat = cachedb.Format{Application: 0x666f7264 /* "ford" */, Version: 1, Wait: time.Second, Careless: true, PageBytes: 16 << 10, Schema: `
	CREATE TABLE folders (
		dev INTEGER NOT NULL, ino INTEGER NOT NULL, seen INTEGER NOT NULL, files BLOB NOT NULL,
		PRIMARY KEY (dev, ino)
	);
	CREATE INDEX folders_seen ON folders (seen);
	CREATE TABLE hashes (bucket INTEGER PRIMARY KEY, pairs BLOB NOT NULL);
	CREATE TABLE secret (only INTEGER PRIMARY KEY CHECK (only = 1), seed BLOB NOT NULL)`}

// OpenCache opens the cache at path, creating it (mode 0600, folders 0700). One that is damaged or was made by a newer forg
// is set aside with .old behind its name. After an error one goes on with a nil *Cache.
func OpenCache(path string) (*Cache, error) {
	c := &Cache{now: time.Now, max: cacheMax}
	var err error
	c.db, err = cachedb.Open(path, cacheFormat, func(db *cachedb.DB) (err error) {
		c.seed, err = secret(db)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// secret is what the fingerprints of this cache depend on. Who does not know it cannot make files that agree in theirs.
func secret(db *cachedb.DB) (uint64, error) {
	ask := func() (seed []byte, err error) {
		err = db.QueryRow(`SELECT seed FROM secret`).Scan(&seed)
		return seed, err
	}
	seed, err := ask()
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(seed) != 8 {
		fresh := make([]byte, 8)
		rand.Read(fresh) // never fails
		// Another process may have been faster: then that one's holds.
		if _, err := db.Exec(`INSERT INTO secret (only, seed) VALUES (1, ?)
			ON CONFLICT (only) DO UPDATE SET seed = excluded.seed WHERE length(secret.seed) <> 8`, fresh); err != nil {
			return 0, err
		}
		seed, err = ask()
	}
	if err == nil && len(seed) != 8 {
		err = errors.New("its secret is damaged")
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(seed), nil
}

// Close closes it. Of a nil *Cache it does nothing.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.db.Close()
	c.db = nil
	return err
}

// record is what is known of a file.
type record struct {
	identity
	print fingerprint
	class class
}

const (
	recordBytes = 64
	sumBytes    = 8
)

// encode appends the record as it is in a blob.
func (r *record) encode(b []byte) []byte {
	for _, n := range [...]uint64{r.ino, uint64(r.size), uint64(r.mtime), uint64(r.ctime), r.print[0], r.print[1], r.class.session, r.class.number} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func (r *record) decode(b []byte) {
	at := func(n int) uint64 { return binary.LittleEndian.Uint64(b[8*n:]) }
	r.identity = identity{at(0), int64(at(1)), int64(at(2)), int64(at(3))}
	r.print, r.class = fingerprint{at(4), at(5)}, class{at(6), at(7)}
}

// seal puts in front of the records of a folder what tells whether they are what was written for it.
func seal(b []byte, dev, ino, seed uint64) {
	binary.LittleEndian.PutUint64(b, xxh3.HashSeed(b[sumBytes:], mix(seed^mix(dev^mix(ino)))))
}

// unseal returns the records of a sealed blob; none, if anything is wrong with it.
func unseal(b []byte, dev, ino, seed uint64) []byte {
	if len(b) < sumBytes || (len(b)-sumBytes)%recordBytes != 0 ||
		binary.LittleEndian.Uint64(b) != xxh3.HashSeed(b[sumBytes:], mix(seed^mix(dev^mix(ino)))) {
		return nil
	}
	return b[sumBytes:]
}

// place is the candidates of a folder, and what the cache has of it.
type place struct {
	run
	folder uint32
	there  bool   // the cache knows it
	seen   int64  // days since 1970
	more   []byte // records of files that are no candidates now
}

// memory is what one run has to do with its cache.
type memory struct {
	places []place
	stored []bool // by candidate: the cache has all that is known of it
	began  int64  // ns since 1970, before the first file was read
	saved  time.Time
}

// load takes from the cache what is still true of the candidates.
func (f *finder) load() {
	c := f.opt.Cache
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return
	}
	f.seed = c.seed
	m := &memory{began: c.now().UnixNano(), saved: c.now(), stored: make([]bool, len(f.cands))}
	for k := int32(0); int(k) < len(f.cands); {
		p := place{run{k, k}, f.file(k).Folder, false, 0, nil}
		for int(p.to) < len(f.cands) && f.file(p.to).Folder == p.folder {
			p.to++
		}
		k = p.to
		if f.folders[p.folder].Ino != 0 {
			m.places = append(m.places, p)
		}
	}
	f.memory = m
	// In the order of the file, so that its pages are read one after the other.
	order := func(a, b *Folder) int {
		return cmp.Or(cmp.Compare(int64(a.Dev), int64(b.Dev)), cmp.Compare(int64(a.Ino), int64(b.Ino)))
	}
	slices.SortFunc(m.places, func(a, b place) int { return order(&f.folders[a.folder], &f.folders[b.folder]) })
	for at := 0; at < len(m.places); {
		to := at
		for to < len(m.places) && f.folders[m.places[to].folder].Dev == f.folders[m.places[at].folder].Dev {
			to++
		}
		if err := f.loadDevice(c.db, m.places[at:to]); err != nil {
			c.db = c.db.After(err)
			return
		}
		at = to
	}
}

// loadDevice loads what the cache has of folders of one device.
func (f *finder) loadDevice(db *cachedb.DB, places []place) error {
	dev := f.folders[places[0].folder].Dev
	var known int
	if err := db.QueryRow(`SELECT count(*) FROM folders WHERE dev = ?`, int64(dev)).Scan(&known); err != nil || known == 0 {
		return err
	}
	if known <= cacheUnasked*len(places)+100 {
		return f.loadRows(db, places, `SELECT ino, seen, files FROM folders WHERE dev = ? ORDER BY ino`, int64(dev))
	}
	for len(places) > 0 {
		n := min(len(places), cacheAsked)
		args := []any{int64(dev)}
		for _, p := range places[:n] {
			args = append(args, int64(f.folders[p.folder].Ino))
		}
		query := `SELECT ino, seen, files FROM folders WHERE dev = ? AND ino IN (?` + strings.Repeat(", ?", n-1) + `) ORDER BY ino`
		if err := f.loadRows(db, places[:n], query, args...); err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

// loadRows walks through places and rows, which are in one order.
func (f *finder) loadRows(db *cachedb.DB, places []place, query string, args ...any) error {
	rows, err := db.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() && len(places) > 0 {
		var ino, seen int64
		var files sql.RawBytes
		if err := rows.Scan(&ino, &seen, &files); err != nil {
			return err
		}
		for len(places) > 0 && int64(f.folders[places[0].folder].Ino) < ino {
			places = places[1:]
		}
		if len(places) > 0 && int64(f.folders[places[0].folder].Ino) == ino {
			p := &places[0]
			p.there, p.seen = true, seen
			folder := &f.folders[p.folder]
			f.recall(p, unseal(files, folder.Dev, folder.Ino, f.seed))
		}
	}
	return rows.Err()
}

// recall takes what the records of a folder say of its candidates.
func (f *finder) recall(p *place, records []byte) {
	var index map[uint64]int32 // made when the records are not in the order of the candidates
	k := p.from
	for ; len(records) > 0; records = records[recordBytes:] {
		var r record
		r.decode(records)
		// Files that have come or gone since are skipped.
		at := k
		for n := 0; at < p.to && n < 4 && f.file(at).Ino != r.ino; n++ {
			at++
		}
		if at >= p.to || f.file(at).Ino != r.ino {
			if index == nil {
				index = make(map[uint64]int32, p.to-p.from)
				for k := p.from; k < p.to; k++ {
					index[f.file(k).Ino] = k
				}
			}
			var ok bool
			if at, ok = index[r.ino]; !ok {
				p.more = append(p.more, records[:recordBytes]...)
				continue
			}
		}
		k = at + 1
		file := f.file(at)
		if file.Changed == 0 || r.ctime != file.Changed || r.mtime != file.Mtime || r.size != file.Size || f.states[at] != unknown {
			continue
		}
		f.states[at] = cached
		f.prints[at] = r.print
		f.memory.stored[at] = true
		if r.class.session != 0 && r.size > wholeBelow {
			if f.classes == nil {
				f.classes = make([]class, len(f.cands))
			}
			f.classes[at] = r.class
		}
	}
}

// save writes down what is known and not yet stored. Nobody may be reading or comparing meanwhile.
func (f *finder) save() {
	c, m := f.opt.Cache, f.memory
	if m == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return
	}
	m.saved = c.now()
	if err := f.write(c); err != nil {
		clear(m.stored) // the next one writes it all
		c.db = c.db.After(err)
	}
}

func (f *finder) write(c *Cache) error {
	m := f.memory
	today := c.now().Unix() / (24 * 60 * 60)
	var insert, touch *sql.Stmt
	var tx *sql.Tx
	begin := func() (err error) {
		if tx != nil {
			return nil
		}
		if tx, err = c.db.Begin(); err != nil {
			return err
		}
		if insert, err = tx.Prepare(`INSERT INTO folders (dev, ino, seen, files) VALUES (?, ?, ?, ?)
			ON CONFLICT (dev, ino) DO UPDATE SET seen = excluded.seen, files = excluded.files`); err != nil {
			return err
		}
		touch, err = tx.Prepare(`UPDATE folders SET seen = ? WHERE dev = ? AND ino = ?`)
		return err
	}
	defer func() {
		if tx != nil {
			tx.Rollback()
		}
	}()
	var blob []byte
	for i := range m.places {
		p := &m.places[i]
		fresh := false
		for k := p.from; k < p.to && !fresh; k++ {
			fresh = !m.stored[k] && f.storable(k)
		}
		folder := &f.folders[p.folder]
		switch {
		case fresh:
			if err := begin(); err != nil {
				return err
			}
			blob = append(blob[:0], make([]byte, sumBytes)...)
			for k := p.from; k < p.to; k++ {
				if !f.storable(k) {
					continue
				}
				file := f.file(k)
				r := record{identity{file.Ino, file.Size, file.Mtime, file.Changed}, f.prints[k], class{}}
				if f.classes != nil {
					r.class = f.classes[k]
				}
				blob = r.encode(blob)
				m.stored[k] = true
			}
			// What was known of files that are no candidates now may be of use again, but must not pile up.
			blob = append(blob, p.more[:min(len(p.more), len(blob)/recordBytes*recordBytes+64*recordBytes)]...)
			seal(blob, folder.Dev, folder.Ino, f.seed)
			if _, err := insert.Exec(int64(folder.Dev), int64(folder.Ino), today, blob); err != nil {
				return err
			}
		case p.there && today-p.seen >= cacheSeen:
			if err := begin(); err != nil {
				return err
			}
			if _, err := touch.Exec(today, int64(folder.Dev), int64(folder.Ino)); err != nil {
				return err
			}
		default:
			continue
		}
		p.there, p.seen = true, today
	}
	if tx == nil {
		return nil
	}
	if err := evict(tx, c.max); err != nil {
		return err
	}
	err := tx.Commit()
	if err == nil {
		tx = nil
	}
	return err
}

// storable reports whether what is known of a candidate will be of use to another run.
func (f *finder) storable(k int32) bool {
	file := f.file(k)
	switch f.states[k] {
	case cached:
		return true
	case read:
		return file.Changed != 0 && file.Ino != 0 && f.memory.began-file.Changed > int64(cacheRacy)
	}
	return false
}

// evict deletes what was not seen for longest.
func evict(tx *sql.Tx, limit int64) error {
	return cachedb.Evict(tx, limit, `DELETE FROM folders WHERE rowid IN (SELECT rowid FROM folders ORDER BY seen, rowid LIMIT 100)`)
}
