package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Pushed is the answer to a push: how far the server's history of the device goes now.
type Pushed struct {
	api.LogHead
	Head     int64 // server sequence number of the user's newest entry
	Commands int64 // open commands that wait for the device
}

// Push adds the entries of a valid request to the log, brings operations up to date, and answers when that is on disk.
// Entries that are there already are compared; the same push again is answered as before. maxBytes is what all bodies of
// the user may take, 0 for no limit. *api.GapError, *api.ForkError, ErrEpochRetired, ErrQuota, ErrRevoked, ErrNotFound (no
// such device); *api.Problem: the account is encrypted, and an entry is not sealed with a key of it.
func (s *Store) Push(ctx context.Context, user uuid.UUID, req *api.PushRequest, maxBytes int64) (Pushed, error) {
	var out Pushed
	var events []Event
	err := s.as(ctx, user, func(t tx) (err error) {
		out, events, err = s.push(ctx, t, user, req, maxBytes)
		return err
	})
	if err != nil {
		return Pushed{}, fmt.Errorf("push: %w", err)
	}
	s.tell(events...)
	return out, nil
}

func (s *Store) push(ctx context.Context, t tx, user uuid.UUID, req *api.PushRequest, maxBytes int64) (out Pushed, events []Event, err error) {
	now := s.now()
	// All pushes of a user wait here for each other. That is what lets a reader who has seen entry n rely on having seen all
	// before it: numbers are given in the order of commits.
	var bytes int64
	var keys string // of an account that is encrypted
	if err := one(ctx, t, "select head, bytes, key_ids from heads where user_id = $1"+t.dialect().forUpdate, []any{user}, &out.Head, &bytes, &keys); err != nil {
		return out, nil, err
	}
	var revoked, seen, retired time.Time
	var acked int64
	var chain []byte
	var kind string
	if err := one(ctx, t, `select d.revoked_at, d.last_seen_at, d.kind, coalesce(s.acked_seq, 0), s.chain, s.retired_at,
			(select count(*) from commands c where c.user_id = $1 and c.device_id = $2 and c.finished_at is null)
		from devices d left join device_state s on s.user_id = d.user_id and s.device_id = d.id and s.epoch = $3
		where d.user_id = $1 and d.id = $2`, []any{user, req.DeviceID, req.Epoch}, &revoked, &seen, &kind, &acked, &chain, &retired, &out.Commands); err != nil {
		return out, nil, err
	}
	out.LogHead = api.LogHead{AckedSeq: acked, Chain: api.Genesis(req.DeviceID, req.Epoch)}
	begun := chain != nil
	switch {
	case !revoked.IsZero():
		return out, nil, ErrRevoked
	case !retired.IsZero():
		return out, nil, ErrEpochRetired
	case begun:
		copy(out.Chain[:], chain)
	}

	known := map[int64]api.Hash{}
	if n := len(req.Entries); n > 0 && req.Entries[0].Seq <= acked {
		err := t.query(ctx, "select seq, sha from sync_log where user_id = $1 and device_id = $2 and epoch = $3 and seq between $4 and $5",
			[]any{user, req.DeviceID, req.Epoch, req.Entries[0].Seq, min(acked, req.Entries[n-1].Seq)}, func(r rows) error {
				var seq int64
				var sha [32]byte
				err := r.scan(&seq, &sha)
				known[seq] = sha
				return err
			})
		if err != nil {
			return out, nil, err
		}
	}
	fresh, next, err := out.LogHead.Extend(req, func(seq int64) (api.Hash, bool) {
		h, ok := known[seq]
		return h, ok
	})
	if err != nil || len(fresh) == 0 {
		return out, nil, err
	}
	// Of a storage location the server has read everything: it has organized it.
	if keys != "" && kind != string(api.DeviceLocation) {
		if err := api.MustBeSealed(fresh, len(req.Entries)-len(fresh), strings.Fields(keys)); err != nil {
			return out, nil, err
		}
	}
	var added int64
	for i := range fresh {
		added += int64(len(fresh[i].Body))
	}
	if maxBytes > 0 && bytes+added > maxBytes {
		return out, nil, ErrQuota
	}

	if now.Sub(seen) > time.Minute {
		if _, err := t.exec(ctx, "update devices set last_seen_at = $3 where user_id = $1 and id = $2", user, req.DeviceID, now); err != nil {
			return out, nil, err
		}
	}
	if err := t.insertLog(ctx, user, out.Head, req, fresh, now); err != nil {
		return out, nil, err
	}
	p := projection{tx: t, user: user, device: req.DeviceID, now: now}
	if err := p.expect(ctx, fresh); err != nil {
		return out, nil, err
	}
	for i := range fresh {
		if err := p.add(ctx, &fresh[i], now); err != nil {
			return out, nil, err
		}
	}
	out.LogHead = next
	out.Head += int64(len(fresh))
	last := p.writes()
	if !begun {
		last = append(last, statement{"update device_state set retired_at = $3 where user_id = $1 and device_id = $2 and retired_at is null",
			[]any{user, req.DeviceID, now}})
	}
	last = append(last,
		statement{"update heads set head = $2, bytes = bytes + $3 where user_id = $1", []any{user, out.Head, added - p.erased}},
		statement{`insert into device_state (user_id, device_id, epoch, acked_seq, chain, updated_at) values ($1, $2, $3, $4, $5, $6)
			on conflict (user_id, device_id, epoch) do update set acked_seq = excluded.acked_seq, chain = excluded.chain, updated_at = excluded.updated_at`,
			[]any{user, req.DeviceID, req.Epoch, next.AckedSeq, [32]byte(next.Chain), now}})
	if err := t.execAll(ctx, last...); err != nil {
		return out, nil, err
	}
	return out, append(p.events(), Event{User: user, Kind: EventLog, ID: req.DeviceID, Seq: out.Head}), nil
}

const entryColumns = "server_seq, device_id, epoch, received_at, seq, id, op_id, kind, schema, ts_client, key_id, sha, codec, body"

func scanEntry(r rows, e *api.PullEntry) error {
	var sha [32]byte
	var schema int64
	err := r.scan(&e.ServerSeq, &e.DeviceID, &e.Epoch, &e.ReceivedAt, &e.Seq, &e.ID, &e.OpID, &e.Kind, &schema, &e.TSClient, &e.KeyID, &sha,
		&e.Codec, &e.Body)
	e.SHA256, e.Schema = sha, int(schema)
	if e.Body == nil { // redacted, or removed with age: for who reads it is the same
		e.Redacted, e.Codec = true, api.CodecPlain
	}
	return err
}

// PullFrom says what to pull.
type PullFrom struct {
	After  int64     // server sequence number of the last entry that the puller has
	Limit  int       // entries at most; 0: all
	Except uuid.UUID // the puller's own device; uuid.Nil: nothing is left out
}

var errFull = errors.New("the page is full")

// What one page of a pull holds at most. A body has at most 1 MiB on the wire, so a page stays below 5 MiB.
const (
	pullEntries = 500
	pullBytes   = 4 << 20
)

// Pull hands out entries in the order of the server. It reads pages of at most 500 entries and 4 MiB, and holds no
// connection while each works: a slow puller costs nobody anything. What was removed with age comes without its body, as
// what was redacted does. next is the cursor to go on from, head the newest entry there is. ErrCursorExpired: there never
// was such an entry, so this is not the database that the puller knows; an error of each ends it.
func (s *Store) Pull(ctx context.Context, user uuid.UUID, p PullFrom, each func(*api.PullEntry) error) (next, head int64, err error) {
	if err := s.view(ctx, scope{user: user}, "select head from heads where user_id = $1", []any{user}, &head); err != nil {
		return 0, 0, fmt.Errorf("pull: %w", err)
	}
	if p.After > head {
		return 0, head, fmt.Errorf("pull: %w", ErrCursorExpired)
	}
	next = p.After
	for given := 0; next < head; {
		limit := pullEntries
		if p.Limit > 0 {
			limit = min(limit, p.Limit-given)
		}
		var page []api.PullEntry
		bytes := 0
		err := s.db.read(ctx, scope{user: user}, fmt.Sprintf(s.db.dialect().pull, entryColumns), []any{user, next, head, orMax(p.Except), limit, pullBytes},
			func(r rows) error {
				if bytes >= pullBytes {
					return errFull
				}
				var e api.PullEntry
				err := scanEntry(r, &e)
				page = append(page, e)
				bytes += len(e.Body)
				return err
			})
		if errors.Is(err, errFull) {
			err = nil
		}
		if err != nil {
			return next, head, fmt.Errorf("pull: %w", err)
		}
		if len(page) == 0 {
			return head, head, nil // what is left is the puller's own
		}
		for i := range page {
			if err := each(&page[i]); err != nil {
				return next, head, err
			}
			next = page[i].ServerSeq
		}
		if given += len(page); given == p.Limit {
			break
		}
	}
	return next, head, nil
}

// orMax is an id that nothing has, where none is meant: NULL would compare with nothing.
func orMax(id uuid.UUID) uuid.UUID {
	if id == uuid.Nil {
		return uuid.Max
	}
	return id
}

// DeviceState is how far a device's history has come in and how far the device has pulled.
type DeviceState struct {
	Device     uuid.UUID
	Epoch      uuid.UUID
	Log        api.LogHead
	PullCursor int64
	RetiredAt  time.Time // zero: the current epoch
	UpdatedAt  time.Time
}

// Ack writes down that the device has everything up to cursor, which is the newest entry at most. A cursor never goes
// back; the answer is the one that is kept. ErrNotFound: no such device.
func (s *Store) Ack(ctx context.Context, user, device, epoch uuid.UUID, cursor int64) (kept, head int64, err error) {
	err = s.as(ctx, user, func(t tx) error {
		if err := one(ctx, t, "select head from heads where user_id = $1", []any{user}, &head); err != nil {
			return err
		}
		cursor = max(0, min(cursor, head))
		return one(ctx, t, `insert into device_state (user_id, device_id, epoch, acked_seq, chain, pull_cursor, updated_at)
			values ($1, $2, $3, 0, $4, $5, $6)
			on conflict (user_id, device_id, epoch) do update set updated_at = excluded.updated_at,
				pull_cursor = case when excluded.pull_cursor > device_state.pull_cursor then excluded.pull_cursor else device_state.pull_cursor end
			returning pull_cursor`,
			[]any{user, device, epoch, [32]byte(api.Genesis(device, epoch)), cursor, s.now()}, &kept)
	})
	if orphan(err) {
		err = ErrNotFound
	}
	if err != nil {
		return 0, 0, fmt.Errorf("acknowledge: %w", err)
	}
	return kept, head, nil
}

// SyncState is how far each log of the user is there, and the newest entry.
func (s *Store) SyncState(ctx context.Context, user uuid.UUID) (states []DeviceState, head int64, err error) {
	err = s.view(ctx, scope{user: user}, "select head from heads where user_id = $1", []any{user}, &head)
	if err == nil {
		err = s.db.read(ctx, scope{user: user}, `select device_id, epoch, acked_seq, chain, pull_cursor, retired_at, updated_at from device_state
			where user_id = $1 order by updated_at desc, device_id, epoch`, []any{user}, func(r rows) error {
			var d DeviceState
			var chain [32]byte
			err := r.scan(&d.Device, &d.Epoch, &d.Log.AckedSeq, &chain, &d.PullCursor, &d.RetiredAt, &d.UpdatedAt)
			d.Log.Chain = chain
			states = append(states, d)
			return err
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read sync state: %w", err)
	}
	return states, head, nil
}

// Files lists the file records of an operation in the order in which they were pushed, decoded from the chunks of the log,
// with the last word on each. Records of chunks that are sealed or were removed are left out. ErrNotFound.
func (s *Store) Files(ctx context.Context, user, op uuid.UUID, p Page) (files []api.FileRecord, next string, err error) {
	list := "files " + op.String()
	var c api.Cursor // Micros is where the chunk stands in the log, Seq the last record of the page before
	if p.Cursor != "" {
		if c, err = api.ParseCursor(p.Cursor, list); err != nil {
			return nil, "", err
		}
	}
	o, err := s.OperationByID(ctx, user, op)
	if err != nil {
		return nil, "", err
	}
	who := scope{user: user}
	var last api.OutcomeSet
	decode := func(r rows) (at int64, b api.Body, err error) {
		var e api.PullEntry
		if err := scanEntry(r, &e); err != nil {
			return 0, nil, err
		}
		b, err = e.Decode()
		return e.ServerSeq, b, err
	}
	err = s.db.read(ctx, who, "select "+entryColumns+" from sync_log where user_id = $1 and op_id = $2 and kind = $3 order by server_seq",
		[]any{user, op, api.KindOutcomes}, func(r rows) error {
			_, b, err := decode(r)
			if o, ok := b.(*api.Outcomes); ok {
				last.Add(o.Outcomes)
			}
			return err
		})
	from := c.Micros
	for err == nil {
		var chunk api.Files
		at := int64(0)
		err = s.db.read(ctx, who, "select "+entryColumns+` from sync_log where user_id = $1 and op_id = $2 and kind = $3 and server_seq >= $4
			order by server_seq limit 1`, []any{user, op, api.KindFiles, from}, func(r rows) error {
			var b api.Body
			at, b, err = decode(r)
			chunk, _ = b.(api.Files)
			return err
		})
		if err != nil || at == 0 {
			break
		}
		for i := range chunk {
			r := &chunk[i]
			if at == c.Micros && r.Seq <= c.Seq {
				continue
			}
			if len(files) == p.limit() {
				return files, c.Encode(list), nil
			}
			last.Apply(r, o.Status)
			files = append(files, *r)
			c = api.Cursor{Micros: at, Seq: r.Seq}
		}
		from = at + 1
	}
	if err != nil {
		return nil, "", fmt.Errorf("read file records: %w", err)
	}
	return files, "", nil
}
