// Package replica keeps what syncing knows, in one SQLite file beside the journal: how far this device's log is at the
// server, the push that waits for its answer, and what the user's other devices have done. It reads the journal and never
// writes it, carries out nothing that another device did, and knows no HTTP.
//
// The file may be deleted at any time: everything in it is learned again from the server and the journal.
package replica

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
)

// Server is what the replica asks of the hosted API: *client.Client, and in tests one behind a network that fails.
type Server interface {
	State(ctx context.Context, device uuid.UUID) (api.SyncState, error)
	Push(ctx context.Context, req *api.PushRequest) (api.PushResponse, error)
	Pull(ctx context.Context, q client.PullQuery, each func(api.PullEntry) error) (api.PullEnd, error)
	Ack(ctx context.Context, device uuid.UUID, cursor int64) (api.AckResponse, error)
	Capabilities(ctx context.Context) (api.Capabilities, error)
	Devices(ctx context.Context) ([]api.Device, error)
}

// Sealer makes bodies unreadable for the server, and readable again. Both give back an entry with another body, KeyID and
// SHA256. What Open gives back where there is nothing to open is the entry itself.
type Sealer interface {
	Seal(device, epoch uuid.UUID, e api.Entry) (api.Entry, error)
	// Open gives back the entry as its device made it. ErrNoKey: it cannot be opened here, or not yet.
	Open(device, epoch uuid.UUID, e api.Entry) (api.Entry, error)
}

// Errors that callers tell apart.
var (
	ErrNoKey   = errors.New("the key of this entry is not on this device")
	ErrNewer   = errors.New("it was written by a newer forg")
	ErrStopped = errors.New("syncing has stopped") // a *Stop says why
)

// Options says how a replica works. Path is all that reading needs.
type Options struct {
	Path    string // of the SQLite file
	Account string // names server and user: what is known of another account is dropped
	Seal    Sealer // nil: bodies travel readable
	Version string // of this program: a new one tries again where an older one had to stop
	// NewEpoch begins a new epoch in the journal; events up to sent of the one before are at the server. It may answer
	// journal.ErrLocked.
	NewEpoch func(ctx context.Context, sent int64) error
	// Patience is how long failures that may pass are borne in all; 0 reports the first.
	Patience time.Duration
	Note     func(Progress) // is told how far it is, from the goroutine that asked
	Now      func() time.Time
	Sleep    func(ctx context.Context, d time.Duration) error
}

// Progress is how far a push or pull is.
type Progress struct {
	Pushed, ToPush int64         // events of this device; ToPush includes those pushed
	Pulled, ToPull int64         // position in the account's log
	Waiting        time.Duration // until the next try, after Err
	Err            error
}

// Replica is an open file. One that was opened for writing holds its lock until Close.
type Replica struct {
	db      *sql.DB
	opt     Options
	lock    *os.File
	damaged bool // it showed after the file was opened
}

const (
	applicationID = 0x666f7273 // "fors"
	schemaVersion = 1
)

const schema = `
CREATE TABLE facts (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
-- How far the epochs of this device's journal are at the server. An epoch that is sent once more goes under another name.
CREATE TABLE outbox (
  n       INTEGER PRIMARY KEY,
  device  BLOB NOT NULL,
  journal BLOB NOT NULL,            -- the epoch in the journal
  epoch   BLOB NOT NULL UNIQUE,     -- its name at the server
  acked   INTEGER NOT NULL,
  chain   BLOB NOT NULL,            -- after acked
  id      BLOB                      -- of event acked: it tells this journal from a copy that went another way
) STRICT;
-- Where pushes ended: a server that was restored goes on from one of these.
CREATE TABLE acks (outbox INTEGER NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL, PRIMARY KEY (outbox, seq)) STRICT, WITHOUT ROWID;
-- Entries that were made and not acknowledged: they are sent again exactly as they are. Written before they are sent.
CREATE TABLE pending (outbox INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
CREATE TABLE devices (id BLOB PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, revoked INTEGER NOT NULL) STRICT;
-- The logs of other devices, as far as they were pulled.
CREATE TABLE logs (
  n      INTEGER PRIMARY KEY,
  device BLOB NOT NULL,
  epoch  BLOB NOT NULL,
  seq    INTEGER NOT NULL,
  chain  BLOB,                      -- NULL where the log was not there from its beginning
  sealed INTEGER NOT NULL DEFAULT 0, -- from some entry on all are
  UNIQUE (device, epoch)
) STRICT;
CREATE TABLE entries (
  n      INTEGER PRIMARY KEY,       -- server_seq
  log    INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  op     BLOB,
  kind   TEXT NOT NULL,
  schema INTEGER NOT NULL,
  at     INTEGER NOT NULL,          -- microseconds since 1970, by the clock of the device
  key_id TEXT NOT NULL,             -- not empty: sealed still
  id     BLOB,                      -- of what is sealed: opening needs them
  sha    BLOB,
  codec  TEXT NOT NULL,
  body   BLOB                       -- NULL: erased
) STRICT;
CREATE INDEX entries_of_op ON entries (op) WHERE op IS NOT NULL;
CREATE INDEX entries_told ON entries (n) WHERE kind IN ('op.started', 'op.finished', 'rollback.result', 'redact');
CREATE INDEX entries_files ON entries (n) WHERE kind = 'files';
CREATE INDEX entries_sealed ON entries (n) WHERE key_id <> '' AND body IS NOT NULL;
`

// Open opens the file for syncing, makes it (mode 0600) where it is not there, and takes its lock: journal.ErrLocked if
// another process syncs. What cannot be used is replaced: it is a copy of what others have. ErrNewer.
func Open(ctx context.Context, opt Options) (*Replica, error) {
	path, err := filepath.Abs(opt.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", opt.Path, err)
	}
	opt.Path = path
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	if opt.Note == nil {
		opt.Note = func(Progress) {}
	}
	if err := os.MkdirAll(filepath.Dir(opt.Path), 0o700); err != nil {
		return nil, fmt.Errorf("open %s: %w", opt.Path, err)
	}
	lock, err := os.OpenFile(opt.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", opt.Path, err)
	}
	if err := journal.LockFile(ctx, lock, 0); err != nil {
		lock.Close()
		return nil, err
	}
	r, err := openWrite(ctx, opt)
	switch code(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		if err = remove(opt.Path); err == nil {
			r, err = openWrite(ctx, opt)
		}
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open %s: %w", opt.Path, err)
	}
	r.lock = lock
	return r, nil
}

func remove(path string) error {
	var all error
	for _, ext := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

func openWrite(ctx context.Context, opt Options) (*Replica, error) {
	if st, err := os.Lstat(opt.Path); err == nil && !st.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := os.OpenFile(opt.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// secure_delete: what another device has erased must not linger in free pages.
	db, err := sql.Open("sqlite", dsn(opt.Path, "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(1)&_txlock=immediate"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4) // whoever looks at one thing may look at another meanwhile; nothing here writes side by side
	r := &Replica{db: db, opt: opt}
	if err := r.enter(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

// enter brings the file to this schema and this account.
func (r *Replica) enter(ctx context.Context) error {
	version, tables, err := r.check(ctx)
	switch {
	case err != nil:
		return err
	case version > schemaVersion:
		return ErrNewer
	}
	return r.tx(ctx, func(tx *sql.Tx) error {
		if tables == 0 {
			if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion)); err != nil {
				return err
			}
		}
		var was string
		if err := fact(ctx, tx, "account", &was); err != nil || was == r.opt.Account {
			return err
		}
		if was != "" {
			for _, table := range []string{"facts", "outbox", "acks", "pending", "devices", "logs", "entries"} {
				if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
					return err
				}
			}
		}
		return setFact(ctx, tx, "account", r.opt.Account)
	})
}

// check tells the file from another program's database.
func (r *Replica) check(ctx context.Context) (version, tables int, err error) {
	var app int
	for range 50 { // SQLITE_BUSY_RECOVERY is not covered by the busy timeout
		err = r.db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
			(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
		if code(err) != sqlite3.SQLITE_BUSY {
			break
		}
		if err := r.opt.Sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	if err == nil && tables > 0 && app != applicationID {
		err = errors.New("this SQLite file is not forg's")
	}
	return version, tables, err
}

// OpenReadOnly opens the file to look at it: it takes no lock and waits for nobody. fs.ErrNotExist: nothing was synced here.
func OpenReadOnly(ctx context.Context, path string) (*Replica, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	r, err := openRead(ctx, path, "")
	if c := code(err); c == sqlite3.SQLITE_READONLY || c == sqlite3.SQLITE_CANTOPEN {
		// In a folder that cannot be written SQLite cannot make the index of a WAL; with nothing in the WAL the file alone is all.
		if st, serr := os.Stat(path + "-wal"); serr != nil || st.Size() == 0 {
			r, err = openRead(ctx, path, "&immutable=1")
		}
	}
	return r, err
}

func openRead(ctx context.Context, path, how string) (*Replica, error) {
	db, err := sql.Open("sqlite", dsn(path, "mode=ro&_pragma=busy_timeout(2000)&_pragma=query_only(1)"+how))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	r := &Replica{db: db, opt: Options{Path: path, Now: time.Now, Sleep: sleep}}
	version, tables, err := r.check(ctx)
	switch {
	case err == nil && tables == 0:
		err = fs.ErrNotExist
	case err == nil && version > schemaVersion:
		err = ErrNewer
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return r, nil
}

// examine looks at an error for damage of the file.
func (r *Replica) examine(err error) {
	switch code(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		r.damaged = true
	}
}

// Close closes the file and gives its lock back. A damaged file is removed, so that the next sync learns everything again.
func (r *Replica) Close() error {
	err := r.db.Close()
	if r.lock != nil {
		if r.damaged {
			err = errors.Join(err, remove(r.opt.Path))
		}
		err = errors.Join(err, r.lock.Close())
	}
	return err
}

func dsn(path, query string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query}
	if !strings.HasPrefix(u.Path, "/") { // C:/...
		u.Path = "/" + u.Path
	}
	return u.String()
}

func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (r *Replica) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// fact reads a fact; one that is not there leaves into as it is.
func fact(ctx context.Context, q querier, name string, into any) error {
	err := q.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = ?", name).Scan(into)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

func setFact(ctx context.Context, tx *sql.Tx, name string, value any) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

// The facts.
const (
	factCursor  = "cursor"    // server_seq up to which all is here
	factHead    = "head"      // the newest server_seq that was heard of
	factPulled  = "pulled_at" // Unix seconds of the last complete pull
	factPushed  = "pushed_at"
	factStop    = "stop" // JSON of Stop
	factLimits  = "limits"
	factAsked   = "asked_at" // when the limits were asked for
	factTrouble = "trouble"  // JSON: what is wrong with the logs of others
	factForm    = "form"     // in which bodies leave the device: what pending holds
	factDevice  = "device"   // as which was pulled
)
