package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// AuditEvent is who did what, when, from where. It names no path.
type AuditEvent struct {
	N       int64     // 1, 2, 3, ... of the trail
	UserID  uuid.UUID // whose trail it is in; uuid.Nil: the service's own, for what has no user
	At      time.Time
	Actor   string // session:..., key:..., operator
	Action  string // auth.login, device.revoke, ...
	Target  string // id of what it was done to
	Address string // of the client
	Request string // id of the request
	Detail  json.RawMessage
	Chain   [32]byte // SHA-256 of the chain before and the event
}

// trail is the user under whom the trail is kept, and on whose behalf it is.
func trail(user uuid.UUID) (uuid.UUID, scope) {
	if user == uuid.Nil {
		return uuid.Max, scope{system: true}
	}
	return user, scope{user: user}
}

// after is the chain once the event has been added to it. All parts are led by their length, so that none can be taken
// for a part of another.
func (e *AuditEvent) after(chain [32]byte) [32]byte {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.N)))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.At.UnixMicro())))
	for _, part := range []string{e.Actor, e.Action, e.Target, e.Address, e.Request, string(e.Detail)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return [32]byte(h.Sum(nil))
}

// Audit appends an event to the trail of e.UserID; number, time and chain are the store's. ErrNotFound: no such user.
func (s *Store) Audit(ctx context.Context, e AuditEvent) error {
	user, who := trail(e.UserID)
	err := s.db.run(ctx, who, false, func(t tx) error {
		if e.UserID != uuid.Nil { // an erased user gets no trail any more
			if err := one(ctx, t, "select id from users where id = $1"+t.dialect().forShare, []any{user}, new(uuid.UUID)); err != nil {
				return err
			}
		}
		return s.audit(ctx, t, e, nil)
	})
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// audit carries out what is to be done before, and appends an event, within a transaction. By then that holds on to the user's
// row: whoever takes both that and the trail takes them in this order.
func (s *Store) audit(ctx context.Context, t tx, e AuditEvent, before []statement) error {
	user, _ := trail(e.UserID)
	e.Actor, e.Action, e.Target, e.Address, e.Request = text(e.Actor), text(e.Action), text(e.Target), text(e.Address), text(e.Request)
	var chain [32]byte
	head := func() error {
		found := false
		err := t.queryAfter(ctx, before, "select n, chain from audit_heads where user_id = $1"+t.dialect().forUpdate, []any{user}, func(r rows) error {
			found = true
			return r.scan(&e.N, &chain)
		})
		if err == nil && !found {
			err = ErrNotFound
		}
		before = nil
		return err
	}
	err := head()
	if errors.Is(err, ErrNotFound) { // the first event of the trail
		if _, err = t.exec(ctx, "insert into audit_heads (user_id, n, chain, base_chain) values ($1, 0, $2, $2) on conflict (user_id) do nothing",
			user, [32]byte{}); err == nil {
			err = head()
		}
	}
	if err != nil {
		return err
	}
	e.N++
	e.At = s.now()
	e.Chain = e.after(chain)
	return t.execAll(ctx,
		statement{"insert into audit_log (" + auditColumns + ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
			[]any{user, e.N, e.At, e.Actor, e.Action, e.Target, e.Address, e.Request, e.Detail, e.Chain}},
		statement{"update audit_heads set n = $2, chain = $3 where user_id = $1", []any{user, e.N, e.Chain}})
}

const auditColumns = "user_id, n, at, actor, action, target, address, request, detail, chain"

func (e *AuditEvent) scan(r rows) error {
	err := r.scan(&e.UserID, &e.N, &e.At, &e.Actor, &e.Action, &e.Target, &e.Address, &e.Request, &e.Detail, &e.Chain)
	if e.UserID == uuid.Max {
		e.UserID = uuid.Nil
	}
	return err
}

// AuditTrail lists events of a user (uuid.Nil: of the service), newest first. api.ErrCursor.
func (s *Store) AuditTrail(ctx context.Context, user uuid.UUID, p Page) (events []AuditEvent, next string, err error) {
	const list = "audit"
	before := int64(1) << 62
	if p.Cursor != "" {
		c, err := api.ParseCursor(p.Cursor, list)
		if err != nil {
			return nil, "", err
		}
		before = c.Seq
	}
	id, who := trail(user)
	err = s.db.read(ctx, who, "select "+auditColumns+" from audit_log where user_id = $1 and n < $2 order by n desc limit $3",
		[]any{id, before, p.limit() + 1}, func(r rows) error {
			var e AuditEvent
			err := e.scan(r)
			events = append(events, e)
			return err
		})
	if err != nil {
		return nil, "", fmt.Errorf("read the audit log: %w", err)
	}
	events, next = cut(events, p, list, func(e AuditEvent) api.Cursor { return api.Cursor{Seq: e.N} })
	return events, next, nil
}

// VerifyAudit computes the chain of a trail anew; an error names the first event that is not what was written.
func (s *Store) VerifyAudit(ctx context.Context, user uuid.UUID) error {
	id, who := trail(user)
	err := s.db.run(ctx, who, true, func(t tx) error {
		var n, last int64
		var chain, end [32]byte
		if err := one(ctx, t, "select base_n, base_chain, n, chain from audit_heads where user_id = $1", []any{id}, &n, &chain, &last, &end); err != nil {
			return known(err) // nothing was ever written
		}
		err := t.query(ctx, "select "+auditColumns+" from audit_log where user_id = $1 order by n", []any{id}, func(r rows) error {
			var e AuditEvent
			if err := e.scan(r); err != nil {
				return err
			}
			n++
			if e.N != n || e.after(chain) != e.Chain {
				return fmt.Errorf("event %d is not the one that was written", n)
			}
			chain = e.Chain
			return nil
		})
		if err == nil && (n != last || chain != end) {
			err = fmt.Errorf("events after %d are missing", n)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("verify the audit log: %w", err)
	}
	return nil
}

// Counts is how much there is. On PostgreSQL, operations and entries are what the planner last estimated.
type Counts struct {
	Users, Devices, Operations, Entries, OpenCommands int64
	Jobs                                              map[string]int64 // by state
}

// Count counts.
func (s *Store) Count(ctx context.Context) (Counts, error) {
	c := Counts{Jobs: map[string]int64{}}
	who := scope{system: true}
	err := s.view(ctx, who, "select (select count(*) from users), (select count(*) from devices), "+s.db.dialect().counts+
		", (select count(*) from commands where finished_at is null)", nil, &c.Users, &c.Devices, &c.Operations, &c.Entries, &c.OpenCommands)
	if err == nil {
		err = s.db.read(ctx, who, "select "+s.db.dialect().jobState+", count(*) from river_job group by state", nil, func(r rows) error {
			var state string
			var n int64
			err := r.scan(&state, &n)
			c.Jobs[state] = n
			return err
		})
	}
	if err != nil {
		return Counts{}, fmt.Errorf("count: %w", err)
	}
	return c, nil
}

// Retention is how long things are kept; 0 keeps them for ever.
type Retention struct {
	Entries     time.Duration // bodies of the log, but never what a device that is not idle has yet to pull
	Audit       time.Duration
	Commands    time.Duration // that have ended
	Sessions    time.Duration // after their end
	Idempotency time.Duration
	Idle        time.Duration // a device that was not seen for so long keeps nothing back
}

const day = 24 * time.Hour

// DefaultRetention is 400 days of history and audit trail, 90 of commands, 30 of ended sessions, 1 of idempotency keys;
// a device that was away for 90 days keeps nothing back.
func DefaultRetention() Retention {
	return Retention{Entries: 400 * day, Audit: 400 * day, Commands: 90 * day, Sessions: 30 * day, Idempotency: day, Idle: 90 * day}
}

// Removed is what Housekeep took away.
type Removed struct{ Entries, Audit, Commands, Sessions, Keys int64 }

// Housekeep removes what is older than r says, a user or some thousand rows at a time, and expires commands.
func (s *Store) Housekeep(ctx context.Context, r Retention) (Removed, error) {
	var out Removed
	now := s.now()
	if _, err := s.ExpireCommands(ctx); err != nil {
		return out, err
	}
	for _, job := range []struct {
		keep  time.Duration
		count *int64
		query string
	}{
		{r.Commands, &out.Commands, "delete from commands where (user_id, id) in (select user_id, id from commands where finished_at < $1 limit 5000)"},
		{r.Idempotency, &out.Keys, `delete from idempotency_keys where (user_id, key) in
			(select user_id, key from idempotency_keys where created_at < $1 limit 5000)`},
		{r.Sessions, &out.Sessions, `delete from sessions where id in
			(select id from sessions where expires_at < $1 or revoked_at < $1 limit 5000)`},
		{r.Sessions, new(int64), `delete from refresh_tokens where hash in (select hash from refresh_tokens where expires_at < $1 limit 5000)`},
	} {
		for n := int64(1); n > 0 && job.keep > 0; {
			err := s.system(ctx, func(t tx) (err error) {
				n, err = t.exec(ctx, job.query, now.Add(-job.keep))
				return err
			})
			if err != nil {
				return out, fmt.Errorf("remove what is old: %w", err)
			}
			*job.count += n
		}
	}
	if r.Audit > 0 {
		n, err := s.shortenAudit(ctx, now.Add(-r.Audit))
		out.Audit = n
		if err != nil {
			return out, fmt.Errorf("shorten the audit log: %w", err)
		}
	}
	if r.Entries > 0 {
		n, err := s.shortenLog(ctx, now.Add(-r.Entries), now.Add(-r.Idle), r.Idle > 0)
		out.Entries = n
		if err != nil {
			return out, fmt.Errorf("shorten the sync log: %w", err)
		}
	}
	return out, s.db.settle(ctx)
}

// shortenAudit takes the oldest events from every trail and keeps the chain that the rest goes on from.
func (s *Store) shortenAudit(ctx context.Context, before time.Time) (removed int64, err error) {
	var users []uuid.UUID
	err = s.db.read(ctx, scope{system: true}, "select distinct user_id from audit_log where at < $1", []any{before}, func(r rows) error {
		var id uuid.UUID
		err := r.scan(&id)
		users = append(users, id)
		return err
	})
	for _, id := range users {
		if err != nil {
			break
		}
		err = s.system(ctx, func(t tx) error {
			// Until the first event that stays: a clock that went back must not tear a hole.
			var n int64
			var chain [32]byte
			err := one(ctx, t, `select n, chain from audit_log where user_id = $1 and n <
				coalesce((select min(n) from audit_log where user_id = $1 and at >= $2), 9000000000000000000) order by n desc limit 1`,
				[]any{id, before}, &n, &chain)
			if err != nil {
				return known(err)
			}
			if _, err := t.exec(ctx, t.dialect().openGate); err != nil {
				return err
			}
			gone, err := t.exec(ctx, "delete from audit_log where user_id = $1 and n <= $2", id, n)
			if err != nil {
				return err
			}
			removed += gone
			if _, err := t.exec(ctx, "update audit_heads set base_n = $2, base_chain = $3 where user_id = $1", id, n, chain); err != nil {
				return err
			}
			_, err = t.exec(ctx, t.dialect().shutGate)
			return err
		})
	}
	return removed, err
}

// shortenLog removes bodies from the log of every user, up to the first entry that is young or that a device has yet to
// pull. Hashes stay, so that a device that pushes again is still told where its history differs.
func (s *Store) shortenLog(ctx context.Context, before, seen time.Time, idle bool) (removed int64, err error) {
	type end struct {
		user uuid.UUID
		seq  int64
	}
	var ends []end
	err = s.db.read(ctx, scope{system: true}, `select h.user_id, coalesce((select min(server_seq) - 1 from sync_log l
				where l.user_id = h.user_id and l.server_seq > h.removed and l.received_at >= $1), h.head) as upto
			from heads h where exists (select 1 from sync_log l where l.user_id = h.user_id and l.server_seq = h.removed + 1 and l.received_at < $1)`,
		[]any{before}, func(r rows) error {
			var e end
			err := r.scan(&e.user, &e.seq)
			ends = append(ends, e)
			return err
		})
	for _, e := range ends {
		if err != nil {
			break
		}
		err = s.system(ctx, func(t tx) error {
			var from int64
			if err := one(ctx, t, "select removed from heads where user_id = $1"+t.dialect().forUpdate, []any{e.user}, &from); err != nil {
				return known(err)
			}
			// A device that has only ever pushed waits for nothing.
			var slowest int64
			if err := one(ctx, t, `select coalesce(min(s.pull_cursor), $2) from device_state s
				join devices d on d.user_id = s.user_id and d.id = s.device_id
				where s.user_id = $1 and s.retired_at is null and s.pull_cursor > 0 and d.revoked_at is null and (not $3 or d.last_seen_at >= $4)`,
				[]any{e.user, e.seq, idle, seen}, &slowest); err != nil {
				return err
			}
			upto := min(e.seq, slowest)
			if upto <= from {
				return nil
			}
			var bytes int64
			const which = "from sync_log where user_id = $1 and server_seq > $2 and server_seq <= $3 and body is not null"
			args := []any{e.user, from, upto}
			if err := one(ctx, t, "select coalesce(sum(length(body)), 0) "+which, args, &bytes); err != nil {
				return err
			}
			n, err := t.exec(ctx, "update sync_log set body = null "+which[len("from sync_log "):], args...)
			if err != nil {
				return err
			}
			removed += n
			_, err = t.exec(ctx, "update heads set removed = $2, bytes = bytes - $3 where user_id = $1", e.user, upto, bytes)
			return err
		})
	}
	return removed, err
}

// Kinds of events.
const (
	EventOperation = "operation"
	EventLog       = "log"
	EventCommand   = "command"
)

// Event says that something has changed. It is a hint, and may get lost: what is true is in the database.
type Event struct {
	User uuid.UUID
	Kind string
	ID   uuid.UUID // of the operation; of the device for log and command
	Seq  int64     // the operation's version; the log's head
}

// Subscribe calls fn with every event of this process and, on PostgreSQL, of all others, until stop is called. fn must not
// block.
func (s *Store) Subscribe(fn func(Event)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	id := s.nextID
	s.subscribers[id] = fn
	s.db.listen()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, id)
	}
}

// Tell sends an event to all who have subscribed, here and in other processes.
func (s *Store) Tell(e Event) { s.tell(e) }

func (s *Store) tell(events ...Event) {
	for _, e := range events {
		s.deliver(e)
		s.db.announce(e)
	}
}

func (s *Store) deliver(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fn := range s.subscribers {
		fn(e)
	}
}
