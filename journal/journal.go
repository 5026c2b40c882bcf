// Package journal keeps the history of every change forg makes, in one SQLite file. It never touches a user's file.
//
// The order of writes is what makes a move survive a crash: the intents of a batch are committed with full
// synchronisation before the first of its moves, and only what did not go as planned is written afterwards. Whether a
// step of an interrupted run was carried out is not read from the journal but from the disk (see organizer.Recover).
package journal

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Test builds set these with the linker to show that the crash tests can fail: they are no user's business.
var (
	synchronous = "FULL"
	batch       = "4096"
)

// BatchSize is how many steps one event holds: large enough that its commit costs nothing beside the moves, small
// enough that it fits the sync protocol's chunk of 5000.
func BatchSize() int {
	n, err := strconv.Atoi(batch)
	if err != nil || n < 1 {
		return 4096
	}
	return n
}

const applicationID = 0x666f7267 // "forg"

// Errors a caller can tell apart.
var (
	ErrLocked  = errors.New("another forg is using this journal")
	ErrNewer   = errors.New("the journal was written by a newer forg")
	ErrCorrupt = errors.New("the journal is damaged")
	ErrNone    = errors.New("no such operation")
)

// Journal is an open journal. One that was opened for writing holds the journal's lock until Close.
type Journal struct {
	db    *sql.DB
	path  string
	lock  *lock
	now   func() time.Time
	mu    sync.Mutex // guards the position below
	epoch int64      // row of the current epoch; 0 when read-only
	seq   int64
	chain [32]byte
}

// Options says how to open a journal.
type Options struct {
	ReadOnly bool             // never writes, never waits for a lock
	Wait     time.Duration    // how long to wait for another forg to finish
	Now      func() time.Time // the clock
}

// Open opens the journal at path, creating it (mode 0600, folders 0700) unless opt.ReadOnly. A read-only open of a
// journal that does not exist gives an error that is fs.ErrNotExist. Other errors: ErrLocked, ErrNewer, ErrCorrupt
// (the damaged file was set aside under the name in the message, unless opt.ReadOnly).
func Open(ctx context.Context, path string, opt Options) (*Journal, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: path, now: opt.Now}
	if opt.ReadOnly {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
		err := j.openReadOnly(ctx)
		if code(err) == sqlite3.SQLITE_READONLY { // a crash has left something that only a writer can clean up
			if w, werr := Open(ctx, path, Options{Now: opt.Now}); werr == nil {
				w.Close()
				err = j.openReadOnly(ctx)
			}
		}
		if err != nil {
			return nil, err
		}
		return j, nil
	}
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	if name := networkFS(path); name != "" {
		return nil, fmt.Errorf("open journal %s: it lies on a network file system (%s), where SQLite's locks cannot be trusted; give a local one with --journal", path, name)
	}
	if j.lock, err = acquire(ctx, path+".lock", opt.Wait); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	err = j.openWrite(ctx)
	if errors.Is(err, ErrCorrupt) { // a disk that failed to read once looks like damage, and a journal is not given up for that
		j.db.Close()
		err = j.openWrite(ctx)
	}
	if err != nil {
		if j.db != nil {
			j.db.Close()
		}
		if errors.Is(err, ErrCorrupt) {
			if aside, serr := setAside(path, opt.Now()); serr == nil {
				err = fmt.Errorf("%w; it was set aside as %s and the next run starts a new one", err, aside)
			}
		}
		j.lock.release()
		return nil, err
	}
	return j, nil
}

// Close releases the lock and closes the file. Everything reported as committed is on disk already.
func (j *Journal) Close() error {
	err := j.db.Close()
	if j.lock != nil {
		j.lock.release()
	}
	return err
}

// Path is the journal's file.
func (j *Journal) Path() string { return j.path }

// Now is the journal's clock.
func (j *Journal) Now() time.Time { return j.now() }

func dsn(path, query string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query}
	if !strings.HasPrefix(u.Path, "/") { // C:/...
		u.Path = "/" + u.Path
	}
	return u.String()
}

func (j *Journal) openWrite(ctx context.Context) error {
	q := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + synchronous +
		")&_pragma=foreign_keys(1)&_txlock=immediate"
	db, err := sql.Open("sqlite", dsn(j.path, q))
	if err != nil {
		return fmt.Errorf("open journal %s: %w", j.path, err)
	}
	db.SetMaxOpenConns(1)
	j.db = db
	if _, err := j.check(ctx); err != nil {
		return err
	}
	if err := j.migrate(ctx); err != nil {
		return j.explain(err)
	}
	return j.explain(j.enterEpoch(ctx))
}

func (j *Journal) openReadOnly(ctx context.Context) error {
	q := "mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(1)"
	// In a folder that cannot be written SQLite cannot make the index of a WAL; with nothing in the WAL the file alone
	// is the journal.
	if st, err := os.Stat(j.path + "-wal"); (err != nil || st.Size() == 0) && !writable(filepath.Dir(j.path)) {
		q += "&immutable=1"
	}
	db, err := sql.Open("sqlite", dsn(j.path, q))
	if err != nil {
		return fmt.Errorf("open journal %s: %w", j.path, err)
	}
	j.db = db
	empty, err := j.check(ctx)
	if err == nil && empty { // made by a forg that was cut short before it wrote anything
		err = fmt.Errorf("open journal %s: it is empty: %w", j.path, fs.ErrNotExist)
	}
	if err != nil {
		db.Close()
	}
	return err
}

// check tells a journal from another program's database, from a newer one and from an empty file.
func (j *Journal) check(ctx context.Context) (empty bool, err error) {
	var app, version, tables int
	for range 50 { // SQLITE_BUSY_RECOVERY is not covered by the busy timeout
		err = j.db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
			(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
		if code(err) != sqlite3.SQLITE_BUSY {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	switch {
	case err != nil:
		return false, j.explain(err)
	case tables > 0 && app != applicationID:
		return false, fmt.Errorf("open journal %s: this SQLite file is not a forg journal; give another with --journal", j.path)
	case version > len(migrationFiles()):
		return false, fmt.Errorf("open journal %s: %w (schema %d, this forg knows %d); it was left untouched, use that forg", j.path, ErrNewer, version, len(migrationFiles()))
	}
	return tables == 0, nil
}

func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func (j *Journal) explain(err error) error {
	if err == nil || errors.Is(err, ErrNewer) {
		return err
	}
	switch code(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("open journal %s: %w (%v)", j.path, ErrCorrupt, err)
	}
	return fmt.Errorf("journal %s: %w", j.path, err)
}

func migrationFiles() []string {
	names, _ := fs.Glob(migrations, "migrations/*.sql")
	return names // Glob sorts
}

func (j *Journal) migrate(ctx context.Context) error {
	return j.tx(ctx, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		names := migrationFiles()
		if version == len(names) {
			return nil
		}
		for _, name := range names[version:] {
			text, err := migrations.ReadFile(name)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return fmt.Errorf("migrate with %s: %w", name, err)
			}
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(names)))
		return err
	})
}

// enterEpoch continues the current epoch, or begins one when the journal is new or was carried to another machine:
// two machines must never write the same numbers of one epoch.
func (j *Journal) enterEpoch(ctx context.Context) error {
	machine := machineHash()
	var epoch, device, was []byte
	err := j.db.QueryRowContext(ctx, "SELECT n, epoch, device, machine FROM epochs ORDER BY n DESC LIMIT 1").Scan(&j.epoch, &epoch, &device, &was)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && !moved(was, machine) {
		var chain []byte
		err := j.db.QueryRowContext(ctx, "SELECT seq, chain FROM events WHERE epoch = ? ORDER BY seq DESC LIMIT 1", j.epoch).Scan(&j.seq, &chain)
		if errors.Is(err, sql.ErrNoRows) {
			j.chain = genesis(device, epoch)
			return nil
		}
		if err == nil && len(chain) != 32 {
			return fmt.Errorf("%w: event %d has no chain", ErrCorrupt, j.seq)
		}
		copy(j.chain[:], chain)
		return err
	}
	d := uuid.New()
	return j.beginEpoch(ctx, d[:], machine, math.MaxInt64)
}

// moved reports whether a journal that one machine has written lies on another one now. Machines without an id are the same.
func moved(was, machine []byte) bool {
	return len(was) > 0 && len(machine) > 0 && string(was) != string(machine)
}

// beginEpoch begins an epoch, by repeating what the epoch before says is to be erased after event number sent.
func (j *Journal) beginEpoch(ctx context.Context, device, machine []byte, sent int64) error {
	e := uuid.New()
	a := &appender{j: j, chain: genesis(device, e[:])}
	err := j.tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO epochs (epoch, device, machine, started_at) VALUES (?, ?, ?, ?)",
			e[:], device, machine, j.now().UnixNano())
		if err != nil {
			return err
		}
		if a.epoch, err = res.LastInsertId(); err != nil || sent == math.MaxInt64 {
			return err
		}
		a.tx = tx
		return a.eraseAgain(ctx, j.epoch, sent)
	})
	if err != nil {
		return err
	}
	j.epoch, j.seq, j.chain = a.epoch, a.seq, a.chain
	return nil
}

// eraseAgain says once more of which operations an epoch has said, after event number sent, that others are to erase them.
func (a *appender) eraseAgain(ctx context.Context, epoch, sent int64) error {
	rows, err := a.tx.QueryContext(ctx, "SELECT op, kind FROM events WHERE epoch = ? AND seq > ? AND kind IN (?, ?) GROUP BY op, kind ORDER BY min(n)",
		epoch, sent, evPruned, evRecalled)
	if err != nil {
		return err
	}
	type word struct {
		op   uuid.UUID
		kind string
	}
	var all []word
	for rows.Next() {
		var op []byte
		var w word
		if err := rows.Scan(&op, &w.kind); err != nil {
			return errors.Join(err, rows.Close())
		}
		copy(w.op[:], op)
		all = append(all, w)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, w := range all {
		if err := a.add(ctx, w.op, w.kind, nil); err != nil {
			return err
		}
	}
	return nil
}

func genesis(device, epoch []byte) [32]byte {
	return sha256.Sum256(append(append([]byte{}, device...), epoch...))
}

func (j *Journal) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// makeFile creates an empty journal that only its owner can read, and makes its folders durable: SQLite syncs the
// folder of its WAL but not the folders above it.
func makeFile(path string) error {
	if st, err := os.Stat(path); err == nil {
		switch {
		case st.IsDir():
			return errors.New("it is a folder")
		case !st.Mode().IsRegular(): // a device would be spoiled for everybody
			return errors.New("it is not a regular file")
		}
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for {
		if d, err := os.Open(dir); err == nil {
			d.Sync() // best effort: not every platform can sync a folder, and those that cannot need not
			d.Close()
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

// setAside renames a damaged journal, with its WAL, to a free name beside it.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	for _, ext := range []string{"-wal", "-shm"} {
		if err := os.Rename(path+ext, aside+ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, os.Rename(path, aside)
}
