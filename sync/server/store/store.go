// Package store keeps everything that the hosted API knows, on PostgreSQL or on SQLite: users and their keys, devices,
// operations, the sync log, commands, the audit log. It knows no HTTP, and no password, token or key in the clear.
//
// What belongs to a user goes through Store.as, which names the user to the database: on PostgreSQL row-level security
// then lets nothing else be seen, whatever the query says; on SQLite the same `user_id = $1` of every query is all there
// is, and the same tests hold both to it. The few functions that must look across users (login by e-mail, a refresh token, an
// API key, housekeeping) go through Store.system.
//
// History gets in by Push alone and only grows. `operations` is a projection of it that Rebuild makes anew; file records
// are never rows but chunks of the log, decoded when they are read.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"forg/sync/api"
)

//go:embed migrations
var migrations embed.FS

// Errors that callers tell apart. Not found and another user's are the same error, so that nobody learns what exists.
var (
	ErrNotFound      = errors.New("not found")
	ErrEmailTaken    = errors.New("the e-mail address is taken")
	ErrRootTaken     = errors.New("the folder is registered already")
	ErrEpochRetired  = errors.New("the device has begun a newer epoch")
	ErrQuota         = errors.New("the quota is used up")
	ErrCursorExpired = errors.New("the cursor points to history that is not there")
	ErrKeyReused     = errors.New("the idempotency key was used for another request")
	ErrRevoked       = errors.New("the device was revoked")
	ErrFinal         = errors.New("it has reached its final state")
	ErrLeaseLost     = errors.New("the lease is another's")
	ErrExists        = errors.New("it exists already")
)

// Options says how to open a store.
type Options struct {
	// OwnerURL is what Migrate connects with on PostgreSQL; "" is the URL of Open. The service itself never works as the
	// owner of the tables: it takes on the role forg_app on every connection.
	OwnerURL string
	MaxConns int              // connections to PostgreSQL, or readers of SQLite; 0 is a default
	Now      func() time.Time // the clock
}

// Store is an open database. Its methods may be called from many goroutines.
type Store struct {
	db  database
	now func() time.Time

	mu          sync.Mutex // guards what follows
	subscribers map[int]func(Event)
	nextID      int
}

// Open opens the database at url: "postgres://..." or the path of an SQLite file, which is made (mode 0600) if it is
// not there. The schema is left alone: see Migrate.
func Open(ctx context.Context, url string, opt Options) (*Store, error) {
	now := opt.Now
	if now == nil {
		now = time.Now
	}
	s := &Store{now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }, subscribers: map[int]func(Event){}}
	var err error
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		s.db, err = openPostgres(ctx, url, opt, s.deliver)
	} else {
		s.db, err = openSQLite(ctx, url, opt)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close waits for what is running and closes the connections.
func (s *Store) Close() { s.db.close() }

// Postgres reports whether the store is on PostgreSQL.
func (s *Store) Postgres() bool { return s.db.dialect() == &pgDialect }

// Latest is the target of Migrate that means the newest schema this program knows.
const Latest = -1

// Migrate brings the schema, and that of the job queue, to version target, up or down; 0 is an empty database. Several
// processes may call it at once. A database of a newer program is left alone, with an error.
func (s *Store) Migrate(ctx context.Context, target int64) error {
	if err := s.db.migrate(ctx, target); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// Ready is nil when the database answers, has the schema of this program and its job queue.
func (s *Store) Ready(ctx context.Context) error {
	have, want, err := s.db.schema(ctx)
	if err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	if have != want {
		return fmt.Errorf("the database has schema %d, this program needs %d", have, want)
	}
	return s.db.read(ctx, nobody, "select count(*) from river_queue", nil, func(r rows) error { return r.scan(new(int64)) })
}

// database is PostgreSQL or SQLite.
type database interface {
	// run carries out fn in one transaction on behalf of who; readOnly, it waits for no writer.
	run(ctx context.Context, who scope, readOnly bool, fn func(tx) error) error
	// read answers one query on behalf of who in one round trip.
	read(ctx context.Context, who scope, query string, args []any, each func(rows) error) error
	migrate(ctx context.Context, target int64) error
	schema(ctx context.Context) (have, want int64, err error)
	queue(c *river.Config) (*Queue, error)
	announce(Event) // to other processes
	listen()        // to what they announce
	// settle lets nothing that was erased linger in what the database keeps beside its tables.
	settle(ctx context.Context) error
	dialect() *dialect
	close()
}

// tx is an open transaction. Queries are written once for both databases, with $1 placeholders. In arguments uuid.Nil,
// the zero time and nil bytes are NULL, and NULL is read as these.
type tx interface {
	exec(ctx context.Context, query string, args ...any) (changed int64, err error)
	query(ctx context.Context, query string, args []any, each func(rows) error) error
	// execAll is exec of one after another, in one round trip where there are any.
	execAll(ctx context.Context, all ...statement) error
	// queryAfter is execAll and then query, in one round trip where there are any: locks that the first took are not held for
	// a second one.
	queryAfter(ctx context.Context, all []statement, query string, args []any, each func(rows) error) error
	// insertLog adds entries of req to the log, numbered from after+1.
	insertLog(ctx context.Context, user uuid.UUID, after int64, req *api.PushRequest, entries []api.Entry, at time.Time) error
	enqueue(ctx context.Context, job *Job) error
	dialect() *dialect
}

// dialect is where the two databases need different words.
type dialect struct {
	forUpdate  string // keeps the rows of a SELECT until the end of the transaction
	forShare   string // keeps them from being deleted
	skipLocked string // the same, passing over rows that another transaction keeps
	within     string // the position of text $2 in $1, as a format
	openGate   string // lets the audit log be shortened until the end of the transaction
	shutGate   string
	deleteJobs string // those that name the id $1
	jobState   string // of a job, as text
	counts     string // of operations and of entries
	pull       string // a page of the log; %s is its columns
}

type statement struct {
	query string
	args  []any
}

type rows interface{ scan(into ...any) error }

// scope is on whose behalf the database is asked: a user, the service itself, or nobody.
type scope struct {
	user   uuid.UUID
	system bool
}

var nobody = scope{}

// as runs fn in a transaction that sees what belongs to the user and nothing else.
func (s *Store) as(ctx context.Context, user uuid.UUID, fn func(tx) error) error {
	return s.db.run(ctx, scope{user: user}, false, fn)
}

// system runs fn in a transaction that sees everything.
func (s *Store) system(ctx context.Context, fn func(tx) error) error {
	return s.db.run(ctx, scope{system: true}, false, fn)
}

// one reads one row; no row is ErrNotFound.
func one(ctx context.Context, t tx, query string, args []any, into ...any) error {
	found := false
	err := t.query(ctx, query, args, func(r rows) error {
		found = true
		return r.scan(into...)
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return err
}

// view reads one row on behalf of who, in one round trip; no row is ErrNotFound.
func (s *Store) view(ctx context.Context, who scope, query string, args []any, into ...any) error {
	found := false
	err := s.db.read(ctx, who, query, args, func(r rows) error {
		found = true
		return r.scan(into...)
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return err
}

// changed makes ErrNotFound of a change that touched no row.
func changed(n int64, err error) error {
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// Page asks for a part of a list: at most Limit items (0: 50; never more than 500), after the cursor that the page before
// came with; "" is the beginning.
type Page struct {
	Cursor string
	Limit  int
}

const maxPage = 500

func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, maxPage)
}

// before is where a list, ordered by time and id, newest first, goes on.
func (p Page) before(list string) (at time.Time, id uuid.UUID, err error) {
	if p.Cursor == "" {
		return time.Time{}, uuid.Nil, nil
	}
	c, err := api.ParseCursor(p.Cursor, list)
	return time.UnixMicro(c.Micros).UTC(), c.ID, err
}

// cut makes a page of a list that was read with one item more than the page has, to see whether there are more.
func cut[T any](all []T, p Page, list string, key func(T) api.Cursor) (page []T, next string) {
	if len(all) <= p.limit() {
		return all, ""
	}
	all = all[:p.limit()]
	return all, key(all[len(all)-1]).Encode(list)
}

// text is what both databases can keep as text: UTF-8 without NUL. Names that are something else travel in the bodies of
// the log, exactly.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Queue is the job queue at work.
type Queue struct {
	start        func(context.Context) error
	stop, cancel func(context.Context) error
}

// Queue makes a job queue of c, which gives workers, queues and what else the server wants; jobs are enqueued by the
// functions that create what they are for.
func (s *Store) Queue(c *river.Config) (*Queue, error) { return s.db.queue(c) }

// Start begins to work off jobs, until ctx ends or Stop is called.
func (q *Queue) Start(ctx context.Context) error { return q.start(ctx) }

// Stop takes no new jobs and waits for those at work, until ctx ends.
func (q *Queue) Stop(ctx context.Context) error { return q.stop(ctx) }

// StopAndCancel is Stop, and cancels the contexts of the jobs at work.
func (q *Queue) StopAndCancel(ctx context.Context) error { return q.cancel(ctx) }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
