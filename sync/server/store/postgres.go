package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"forg/sync/api"
)

// pg is a store on PostgreSQL. Its connections have the role forg_app, which owns nothing and is held to one user by
// row-level security; a transaction that may see everything takes on forg_system, which owns nothing either.
type pg struct {
	pool     *pgxpool.Pool
	url      string
	ownerURL string
	insert   *river.Client[pgx.Tx]
	deliver  func(Event)
	node     string // tells this process's announcements from others'
	pending  chan string
	stop     context.CancelFunc
	ctx      context.Context
	once     sync.Once
	wg       sync.WaitGroup
}

func openPostgres(ctx context.Context, url string, opt Options, deliver func(Event)) (*pg, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, c.ConnConfig.Copy()) // a wrong address or password is told now
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	conn.Close(ctx)
	if opt.MaxConns > 0 {
		c.MaxConns = int32(opt.MaxConns)
	} else if c.MaxConns < 16 {
		c.MaxConns = 16
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "set role forg_app")
		return err
	}
	db := &pg{url: url, ownerURL: opt.OwnerURL, deliver: deliver, node: newID().String(), pending: make(chan string, 4096)}
	if db.ownerURL == "" {
		db.ownerURL = url
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if db.insert, err = river.NewClient(riverpgxv5.New(db.pool), &river.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		db.pool.Close()
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	db.ctx, db.stop = context.WithCancel(context.Background())
	db.wg.Go(db.notify)
	return db, nil
}

func (db *pg) dialect() *dialect { return &pgDialect }

// settle leaves it to autovacuum, which only the owner of a table could do without.
func (db *pg) settle(context.Context) error { return nil }

func (db *pg) close() {
	db.stop()
	db.wg.Wait()
	db.pool.Close()
}

var pgDialect = dialect{
	forUpdate:  " for update",
	forShare:   " for key share",
	skipLocked: " for update skip locked",
	within:     "strpos(lower(%s), lower(%s))",
	openGate:   "select set_config('app.shorten', 'on', true)",
	shutGate:   "select set_config('app.shorten', '', true)",
	deleteJobs: "delete from river_job where strpos(args::text, $1) > 0",
	jobState:   "state::text",
	counts: `(select greatest(reltuples, 0)::bigint from pg_class where oid = 'operations'::regclass),
		(select greatest(reltuples, 0)::bigint from pg_class where oid = 'sync_log'::regclass)`,
	// The server sends all that was asked for, whether it is read or not: so no more is asked for than fits.
	pull: `select %s from (
			select l.*, sum(coalesce(length(body), 0)) over (order by server_seq) - coalesce(length(body), 0) as ahead from sync_log l
			where user_id = $1 and server_seq > $2 and server_seq <= $3 and device_id <> $4 order by server_seq limit $5) p
		where ahead < $6 order by server_seq`,
}

// begin starts a transaction and says on whose behalf it is, in one round trip. A user's id is not text from outside:
// it has 36 hexadecimal digits and dashes.
func (who scope) begin(readOnly bool) string {
	b := "begin"
	if readOnly {
		b = "begin isolation level repeatable read read only"
	}
	switch {
	case who.system:
		return b + "; set local role forg_system"
	case who.user != uuid.Nil:
		return b + "; set local app.user_id = '" + who.user.String() + "'"
	}
	return b
}

func (db *pg) run(ctx context.Context, who scope, readOnly bool, fn func(tx) error) error {
	return pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{BeginQuery: who.begin(readOnly)}, func(t pgx.Tx) error {
		return fn(pgTx{t, db})
	})
}

// read sends the name of the user and the query as one batch: the server takes it as one transaction.
func (db *pg) read(ctx context.Context, who scope, query string, args []any, each func(rows) error) error {
	b := &pgx.Batch{}
	switch {
	case who.system:
		b.Queue("select set_config('role', 'forg_system', true)")
	case who.user != uuid.Nil:
		b.Queue("select set_config('app.user_id', $1, true)", who.user.String())
	}
	b.Queue(query, pgArgs(args)...)
	results := db.pool.SendBatch(ctx, b)
	defer results.Close()
	if b.Len() > 1 {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	r, err := results.Query()
	if err != nil {
		return err
	}
	return eachRow(r, each)
}

func eachRow(r pgx.Rows, each func(rows) error) error {
	defer r.Close()
	for r.Next() {
		if err := each(pgRows{r}); err != nil {
			return err
		}
	}
	return r.Err()
}

type pgTx struct {
	t  pgx.Tx
	db *pg
}

func (t pgTx) dialect() *dialect { return &pgDialect }

func (t pgTx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := t.t.Exec(ctx, query, pgArgs(args)...)
	return tag.RowsAffected(), err
}

func (t pgTx) query(ctx context.Context, query string, args []any, each func(rows) error) error {
	r, err := t.t.Query(ctx, query, pgArgs(args)...)
	if err != nil {
		return err
	}
	return eachRow(r, each)
}

func (t pgTx) enqueue(ctx context.Context, job *Job) error {
	_, err := t.db.insert.InsertTx(ctx, t.t, job.Args, job.Opts)
	return err
}

func (t pgTx) execAll(ctx context.Context, all ...statement) error {
	b := &pgx.Batch{}
	for _, x := range all {
		b.Queue(x.query, pgArgs(x.args)...)
	}
	return t.t.SendBatch(ctx, b).Close()
}

func (t pgTx) queryAfter(ctx context.Context, all []statement, query string, args []any, each func(rows) error) error {
	b := &pgx.Batch{}
	for _, x := range all {
		b.Queue(x.query, pgArgs(x.args)...)
	}
	b.Queue(query, pgArgs(args)...)
	results := t.t.SendBatch(ctx, b)
	defer results.Close()
	for range all {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	r, err := results.Query()
	if err != nil {
		return err
	}
	return eachRow(r, each)
}

// insertLog adds the entries in one statement: one round trip and one plan for a whole push.
func (t pgTx) insertLog(ctx context.Context, user uuid.UUID, after int64, req *api.PushRequest, entries []api.Entry, at time.Time) error {
	n := len(entries)
	var (
		serverSeq, seq, schema, clientAt = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		id, op                           = make([]pgtype.UUID, n), make([]pgtype.UUID, n)
		kind, keyID, codec               = make([]string, n), make([]string, n), make([]string, n)
		sha, body                        = make([][]byte, n), make([][]byte, n)
	)
	for i := range entries {
		e := &entries[i]
		serverSeq[i], seq[i], schema[i], clientAt[i] = after+1+int64(i), e.Seq, int64(e.Schema), e.TSClient
		id[i], op[i] = pgID(e.ID), pgID(e.OpID)
		kind[i], keyID[i], codec[i] = text(e.Kind), text(e.KeyID), text(e.Codec)
		sha[i], body[i] = e.SHA256[:], bodyOf(e)
	}
	_, err := t.t.Exec(ctx, `
		insert into sync_log (user_id, device_id, epoch, received_at, server_seq, seq, id, op_id, kind, schema, ts_client, key_id, sha, codec, body)
		select $1, $2, $3, $4, * from unnest($5::bigint[], $6::bigint[], $7::uuid[], $8::uuid[], $9::text[], $10::bigint[],
			$11::bigint[], $12::text[], $13::bytea[], $14::text[], $15::bytea[])`,
		pgID(user), pgID(req.DeviceID), pgID(req.Epoch), at, serverSeq, seq, id, op, kind, schema, clientAt, keyID, sha, codec, body)
	return err
}

// bodyOf is the body as it is kept: nil is one that was redacted.
func bodyOf(e *api.Entry) []byte {
	switch {
	case e.Redacted:
		return nil
	case e.Body == nil:
		return []byte{}
	}
	return e.Body
}

func pgID(id uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: id != uuid.Nil} }

func pgArgs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case uuid.UUID:
			out[i] = pgID(a)
		case time.Time:
			out[i] = pgtype.Timestamptz{Time: a, Valid: !a.IsZero()}
		case string:
			out[i] = text(a)
		case [32]byte:
			out[i] = a[:]
		case json.RawMessage:
			out[i] = []byte(a)
		default:
			out[i] = a
		}
	}
	return out
}

type pgRows struct{ r pgx.Rows }

func (r pgRows) scan(into ...any) error {
	for i, p := range into {
		switch p := p.(type) {
		case *uuid.UUID:
			into[i] = (*pgUUID)(p)
		case *time.Time:
			into[i] = (*pgTime)(p)
		case *json.RawMessage:
			into[i] = (*[]byte)(p)
		case *[32]byte:
			into[i] = (*hash)(p)
		}
	}
	return r.r.Scan(into...)
}

type pgUUID uuid.UUID

func (p *pgUUID) ScanUUID(v pgtype.UUID) error {
	*p = v.Bytes // zero for NULL
	return nil
}

type pgTime time.Time

func (p *pgTime) ScanTimestamptz(v pgtype.Timestamptz) error {
	*p = pgTime{}
	if v.Valid {
		*p = pgTime(v.Time.UTC())
	}
	return nil
}

type hash [32]byte

func (p *hash) ScanBytes(v []byte) error {
	if len(v) != len(p) {
		return fmt.Errorf("a hash has %d bytes", len(v))
	}
	copy(p[:], v)
	return nil
}

// migrateLock is the advisory lock of whoever migrates, so that processes that start together do not do it twice.
const migrateLock = 0x666f7267

func (db *pg) migrate(ctx context.Context, target int64) error {
	c, err := pgxpool.ParseConfig(db.ownerURL)
	if err != nil {
		return err
	}
	c.MaxConns = 4
	owner, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return err
	}
	defer owner.Close()
	locked, err := owner.Acquire(ctx)
	if err != nil {
		return err
	}
	defer locked.Release()
	if _, err := locked.Exec(ctx, "select pg_advisory_lock($1)", migrateLock); err != nil {
		return err
	}
	defer locked.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", migrateLock)

	sub, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		return err
	}
	sqlDB := stdlib.OpenDBFromPool(owner)
	defer sqlDB.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, sqlDB, sub)
	if err != nil {
		return err
	}
	jobs, err := rivermigrate.New(riverpgxv5.New(owner), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := migrateBoth(ctx, p, target, func(up bool) error {
		if !up {
			_, err := jobs.Migrate(ctx, rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{TargetVersion: -1})
			return err
		}
		if _, err := jobs.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return err
		}
		_, err := owner.Exec(ctx, `
			do $$
			declare t regclass;
			begin
				for t in select oid from pg_class where relkind = 'r' and relname like 'river\_%' and relnamespace = current_schema()::regnamespace loop
					execute format('grant select, insert, update, delete on %s to forg_app', t);
				end loop;
				execute format('grant usage, select on all sequences in schema %I to forg_app', current_schema());
			end $$;
			grant select on goose_db_version to forg_app;
			grant select, delete on river_job to forg_system;`)
		return err
	}); err != nil {
		return err
	}
	db.pool.Reset() // what was prepared may not fit any more
	return nil
}

// migrateBoth brings our schema and that of the job queue to where target says; the queue is there whenever ours is.
func migrateBoth(ctx context.Context, p *goose.Provider, target int64, queue func(up bool) error) error {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("it has schema %d, made by a newer program; this one knows %d", have, want)
	}
	if target == Latest {
		target = want
	}
	if target < 0 || target > want {
		return fmt.Errorf("there is no schema %d", target)
	}
	if target == 0 && have > 0 {
		if err := queue(false); err != nil {
			return fmt.Errorf("job queue: %w", err)
		}
	}
	if target < have {
		_, err = p.DownTo(ctx, target)
	} else {
		_, err = p.UpTo(ctx, target)
	}
	if err != nil {
		return err
	}
	if target > 0 {
		if err := queue(true); err != nil {
			return fmt.Errorf("job queue: %w", err)
		}
	}
	return nil
}

// latest is the number of the newest migration in folder.
func latest(folder string) (int64, error) {
	entries, err := migrations.ReadDir("migrations/" + folder)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		digits, _, _ := strings.Cut(e.Name(), "_")
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s has no number", e.Name())
		}
		n = max(n, v)
	}
	return n, nil
}

const schemaQuery = "select coalesce(max(version_id), 0) from goose_db_version where is_applied"

func (db *pg) schema(ctx context.Context) (have, want int64, err error) {
	if want, err = latest("postgres"); err != nil {
		return 0, 0, err
	}
	err = db.pool.QueryRow(ctx, schemaQuery).Scan(&have)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && (pgErr.Code == "42P01" || pgErr.Code == "22023") { // no such table, no such role yet
		err = nil
	}
	return have, want, err
}

func (db *pg) queue(c *river.Config) (*Queue, error) {
	c.ReindexerSchedule = river.NeverSchedule() // takes the owner of the tables
	client, err := river.NewClient(riverpgxv5.New(db.pool), c)
	if err != nil {
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	return &Queue{start: client.Start, stop: client.Stop, cancel: client.StopAndCancel}, nil
}

// channel is where processes on one database tell each other of events.
const channel = "forg_events"

func (db *pg) announce(e Event) {
	select {
	case db.pending <- fmt.Sprintf("%s %s %s %s %d", db.node, e.User, e.Kind, e.ID, e.Seq):
	default: // an event is a hint: better lost than waited for
	}
}

// notify sends what is pending, many at a time. It does so outside of the transactions that the events are about: a
// NOTIFY in a transaction that writes makes all such commits wait for each other's disk writes.
func (db *pg) notify() {
	for {
		var batch []string
		select {
		case <-db.ctx.Done():
			return
		case first := <-db.pending:
			batch = append(batch, first)
		}
		for len(batch) < 500 && len(db.pending) > 0 {
			batch = append(batch, <-db.pending)
		}
		_, _ = db.pool.Exec(db.ctx, "select pg_notify('"+channel+"', e) from unnest($1::text[]) e", batch)
	}
}

func (db *pg) listen() {
	db.once.Do(func() { db.wg.Go(db.hear) })
}

func (db *pg) hear() {
	for db.ctx.Err() == nil {
		_ = db.hearOn()
		select { // the connection broke, or there was none
		case <-db.ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (db *pg) hearOn() error {
	conn, err := pgx.Connect(db.ctx, db.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(db.ctx))
	if _, err := conn.Exec(db.ctx, "listen "+channel); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(db.ctx)
		if err != nil {
			return err
		}
		var node, user, id string
		var e Event
		if _, err := fmt.Sscan(n.Payload, &node, &user, &e.Kind, &id, &e.Seq); err != nil || node == db.node {
			continue
		}
		if e.User, err = uuid.Parse(user); err != nil {
			continue
		}
		if e.ID, err = uuid.Parse(id); err != nil {
			continue
		}
		db.deliver(e)
	}
}
