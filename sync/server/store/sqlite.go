package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"forg/sync/api"
)

// lite is a store on SQLite: one connection that writes, shared with the job queue so that a job is enqueued in the
// transaction of what it is for, and a pool of connections that only read and wait for nobody. Ids are 16 bytes, times
// microseconds since 1970.
type lite struct {
	write, ro       *sql.DB
	toWrite, toRead *prepared
	insert          *river.Client[*sql.Tx]
}

// prepared are the statements of a pool of connections by their text, of which SQLite would make a program anew each time.
// Texts are few but for those with lists in them; what comes when it is full is not kept.
type prepared struct {
	pool *sql.DB
	mu   sync.RWMutex
	all  map[string]*sql.Stmt
}

const maxPrepared = 200

func newPrepared(pool *sql.DB) *prepared { return &prepared{pool: pool, all: map[string]*sql.Stmt{}} }

// get is the statement; nil if it is not there.
func (p *prepared) get(query string) *sql.Stmt {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.all[query]
}

// add prepares a statement unless it is there. It needs a connection of the pool.
func (p *prepared) add(ctx context.Context, query string) error {
	p.mu.RLock()
	enough := p.all[query] != nil || len(p.all) >= maxPrepared
	p.mu.RUnlock()
	if enough {
		return nil
	}
	stmt, err := p.pool.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[query] != nil {
		return stmt.Close()
	}
	p.all[query] = stmt
	return nil
}

func (p *prepared) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stmt := range p.all {
		stmt.Close()
	}
	p.all = map[string]*sql.Stmt{}
}

func openSQLite(ctx context.Context, path string, opt Options) (*lite, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives its other files the mode of this one
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	f.Close()
	db := &lite{}
	// What was erased must not linger in free pages: secure_delete.
	db.write, err = sql.Open("sqlite", fileURL(path, "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"+
		"&_pragma=foreign_keys(1)&_pragma=secure_delete(1)&_txlock=immediate"))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.write.SetMaxOpenConns(1)
	for range 50 { // the busy timeout does not cover SQLITE_BUSY_RECOVERY
		if err = db.write.PingContext(ctx); err == nil || liteCode(err)&0xff != sqlite3.SQLITE_BUSY {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		db.write.Close()
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	if db.ro, err = sql.Open("sqlite", fileURL(path, "mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(1)")); err != nil {
		db.write.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	readers := opt.MaxConns
	if readers <= 0 {
		readers = max(4, runtime.GOMAXPROCS(0))
	}
	db.ro.SetMaxOpenConns(readers)
	db.ro.SetMaxIdleConns(readers)
	db.toWrite, db.toRead = newPrepared(db.write), newPrepared(db.ro)
	if db.insert, err = river.NewClient(riversqlite.New(db.write), &river.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		db.close()
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	return db, nil
}

// fileURL is the address of an SQLite file, whatever its name has of #, ? and spaces.
func fileURL(path, query string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query}
	if !strings.HasPrefix(u.Path, "/") { // C:/...
		u.Path = "/" + u.Path
	}
	return u.String()
}

func liteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// taken reports whether err says that a value is there already which must be unique, and column is a part of the name of
// its column.
func taken(err error, column string) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505" && strings.Contains(e.ConstraintName, column)
	}
	switch liteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return strings.Contains(err.Error(), column)
	}
	return false
}

// orphan reports whether err says that what a row refers to does not exist.
func orphan(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503"
	}
	return liteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

func (db *lite) dialect() *dialect { return &liteDialect }
func (db *lite) announce(Event)    {} // there is no other process
func (db *lite) listen()           {}

// settle empties the WAL, where pages stay as they were before something was erased from them.
func (db *lite) settle(ctx context.Context) error {
	if _, err := db.write.ExecContext(ctx, "pragma wal_checkpoint(truncate)"); err != nil {
		return fmt.Errorf("empty the WAL: %w", err)
	}
	return nil
}

func (db *lite) close() {
	db.toRead.close()
	db.toWrite.close()
	db.ro.Close()
	db.write.Close()
}

var liteDialect = dialect{
	within:     "instr(lower(%s), lower(%s))",
	openGate:   "update audit_gate set open = 1",
	shutGate:   "update audit_gate set open = 0",
	deleteJobs: "delete from river_job where instr(json(args), $1) > 0",
	jobState:   "state",
	counts:     "(select count(*) from operations), (select count(*) from sync_log)",
	// A row that is not read is not made.
	pull: `select %s from sync_log where user_id = $1 and server_seq > $2 and server_seq <= $3 and device_id <> $4 and $6 > 0
		order by server_seq limit $5`,
}

func (db *lite) run(ctx context.Context, _ scope, readOnly bool, fn func(tx) error) error {
	pool, known := db.write, db.toWrite
	if readOnly {
		pool, known = db.ro, db.toRead
	}
	t, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback()
	x := &liteTx{t: t, db: db, known: known, mine: map[string]*sql.Stmt{}}
	if err := fn(x); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	for _, query := range x.fresh { // the only connection that writes was busy until now
		_ = known.add(ctx, query) // it can be prepared anew the next time as well
	}
	return nil
}

func (db *lite) read(ctx context.Context, _ scope, query string, args []any, each func(rows) error) (err error) {
	if err := db.toRead.add(ctx, query); err != nil {
		return err
	}
	var r *sql.Rows
	if stmt := db.toRead.get(query); stmt != nil {
		r, err = stmt.QueryContext(ctx, liteArgs(args)...)
	} else {
		r, err = db.ro.QueryContext(ctx, query, liteArgs(args)...)
	}
	if err != nil {
		return err
	}
	return eachLite(r, each)
}

func eachLite(r *sql.Rows, each func(rows) error) error {
	defer r.Close()
	for r.Next() {
		if err := each(liteRows{r}); err != nil {
			return err
		}
	}
	return r.Err()
}

type liteTx struct {
	t     *sql.Tx
	db    *lite
	known *prepared
	mine  map[string]*sql.Stmt // of this transaction
	fresh []string             // texts of those that were not known before
}

func (t *liteTx) dialect() *dialect { return &liteDialect }

// stmt is a statement for this transaction. There is one of a text: no query is carried out while rows of the same query are read.
func (t *liteTx) stmt(ctx context.Context, query string) (s *sql.Stmt, err error) {
	if s = t.mine[query]; s != nil {
		return s, nil
	}
	if known := t.known.get(query); known != nil {
		s = t.t.StmtContext(ctx, known)
	} else if s, err = t.t.PrepareContext(ctx, query); err != nil {
		return nil, err
	} else {
		t.fresh = append(t.fresh, query)
	}
	t.mine[query] = s
	return s, nil
}

func (t *liteTx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := t.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, liteArgs(args)...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t *liteTx) query(ctx context.Context, query string, args []any, each func(rows) error) error {
	s, err := t.stmt(ctx, query)
	if err != nil {
		return err
	}
	r, err := s.QueryContext(ctx, liteArgs(args)...)
	if err != nil {
		return err
	}
	return eachLite(r, each)
}

func (t *liteTx) enqueue(ctx context.Context, job *Job) error {
	_, err := t.db.insert.InsertTx(ctx, t.t, job.Args, job.Opts)
	return err
}

func (t *liteTx) execAll(ctx context.Context, all ...statement) error {
	for _, x := range all {
		if _, err := t.exec(ctx, x.query, x.args...); err != nil {
			return err
		}
	}
	return nil
}

func (t *liteTx) queryAfter(ctx context.Context, all []statement, query string, args []any, each func(rows) error) error {
	if err := t.execAll(ctx, all...); err != nil {
		return err
	}
	return t.query(ctx, query, args, each)
}

func (t *liteTx) insertLog(ctx context.Context, user uuid.UUID, after int64, req *api.PushRequest, entries []api.Entry, at time.Time) error {
	for i := range entries {
		e := &entries[i]
		if _, err := t.exec(ctx, insertEntry, user, req.DeviceID, req.Epoch, at, after+1+int64(i), e.Seq, e.ID, e.OpID, e.Kind,
			int64(e.Schema), e.TSClient, e.KeyID, [32]byte(e.SHA256), e.Codec, bodyOf(e)); err != nil {
			return err
		}
	}
	return nil
}

const insertEntry = `insert into sync_log
	(user_id, device_id, epoch, received_at, server_seq, seq, id, op_id, kind, schema, ts_client, key_id, sha, codec, body)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`

func liteArgs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case uuid.UUID:
			if a != uuid.Nil {
				out[i] = a[:]
			}
		case time.Time:
			if !a.IsZero() {
				out[i] = a.UnixMicro()
			}
		case string:
			out[i] = text(a)
		case [32]byte:
			out[i] = a[:]
		case []byte:
			if a != nil {
				out[i] = a
			}
		case json.RawMessage:
			if a != nil {
				out[i] = string(a)
			}
		default:
			out[i] = a
		}
	}
	return out
}

type liteRows struct{ r *sql.Rows }

func (r liteRows) scan(into ...any) error {
	for i, p := range into {
		switch p := p.(type) {
		case *uuid.UUID:
			into[i] = (*liteUUID)(p)
		case *time.Time:
			into[i] = (*liteTime)(p)
		case *json.RawMessage:
			into[i] = (*[]byte)(p)
		case *[32]byte:
			into[i] = (*hash)(p)
		}
	}
	return r.r.Scan(into...)
}

type liteUUID uuid.UUID

func (p *liteUUID) Scan(v any) error {
	*p = liteUUID{}
	b, ok := v.([]byte)
	if v != nil && (!ok || len(b) != len(p)) {
		return fmt.Errorf("%T is no id", v)
	}
	copy(p[:], b)
	return nil
}

type liteTime time.Time

func (p *liteTime) Scan(v any) error {
	*p = liteTime{}
	switch v := v.(type) {
	case nil:
	case int64:
		*p = liteTime(time.UnixMicro(v).UTC())
	default:
		return fmt.Errorf("%T is no time", v)
	}
	return nil
}

// Scan is for SQLite what ScanBytes is for PostgreSQL.
func (p *hash) Scan(v any) error {
	b, _ := v.([]byte)
	return p.ScanBytes(b)
}

func (db *lite) migrate(ctx context.Context, target int64) error {
	sub, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db.write, sub)
	if err != nil {
		return err
	}
	jobs, err := rivermigrate.New(riversqlite.New(db.write), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return migrateBoth(ctx, p, target, func(up bool) error {
		direction, opts := rivermigrate.DirectionUp, (*rivermigrate.MigrateOpts)(nil)
		if !up {
			direction, opts = rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{TargetVersion: -1}
		}
		_, err := jobs.Migrate(ctx, direction, opts)
		return err
	})
}

func (db *lite) schema(ctx context.Context) (have, want int64, err error) {
	if want, err = latest("sqlite"); err != nil {
		return 0, 0, err
	}
	err = db.ro.QueryRowContext(ctx, schemaQuery).Scan(&have)
	if err != nil && strings.Contains(err.Error(), "no such table") {
		err = nil
	}
	return have, want, err
}

func (db *lite) queue(c *river.Config) (*Queue, error) {
	c.ReindexerSchedule = river.NeverSchedule()
	client, err := river.NewClient(riversqlite.New(db.write), c)
	if err != nil {
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	start := func(ctx context.Context) error {
		// There is one process, and it has just begun: what seems to be at work was cut short, and goes on at once
		// instead of when the queue's rescuer notices.
		if _, err := db.write.ExecContext(ctx, "update river_job set state = 'available' where state = 'running'"); err != nil {
			return fmt.Errorf("take up jobs again: %w", err)
		}
		return client.Start(ctx)
	}
	return &Queue{start: start, stop: client.Stop, cancel: client.StopAndCancel}, nil
}
