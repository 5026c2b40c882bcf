package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// projection brings operations to where the entries of the log say they are. Push feeds it what is new, Rebuild all there
// is; both must come to the same, so it looks at nothing else.
type projection struct {
	tx      tx
	user    uuid.UUID
	device  uuid.UUID
	now     time.Time
	rebuild bool
	ops     map[uuid.UUID]*projected
	erased  int64 // bytes of bodies
}

type projected struct {
	op   Operation
	was  Operation
	has  bool // there is such an operation
	had  bool // and a row for it
	kept bool // what made it is no longer in the log: the row is all there is
}

// get is the operation as it is now.
func (p *projection) get(ctx context.Context, id uuid.UUID) (*projected, error) {
	if p.ops[id] == nil {
		if err := p.load(ctx, []uuid.UUID{id}); err != nil {
			return nil, err
		}
	}
	return p.ops[id], nil
}

// expect loads the operations that the entries are about, in one go.
func (p *projection) expect(ctx context.Context, entries []api.Entry) error {
	var ids []uuid.UUID
	for i := range entries {
		if e := &entries[i]; projects(e.Kind) && e.OpID != uuid.Nil {
			ids = append(ids, e.OpID)
		}
	}
	slices.SortFunc(ids, compareID)
	ids = slices.Compact(ids)
	for some := range slices.Chunk(ids, 256) {
		if err := p.load(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) load(ctx context.Context, ids []uuid.UUID) error {
	if p.ops == nil {
		p.ops = map[uuid.UUID]*projected{}
	}
	args := []any{p.user}
	var in strings.Builder
	for i, id := range ids {
		p.ops[id] = &projected{}
		args = append(args, id)
		fmt.Fprintf(&in, ", $%d", i+2)
	}
	for n := len(ids); n&(n-1) != 0; n++ { // a few statements to prepare, not one for each number
		args = append(args, uuid.Max)
		fmt.Fprintf(&in, ", $%d", n+2)
	}
	return p.tx.query(ctx, "select "+operationColumns+" from operations where user_id = $1 and id in ("+in.String()[2:]+") order by id"+
		p.tx.dialect().forUpdate, args, func(r rows) error {
		o := projected{has: true, had: true}
		err := r.scan(o.op.fields()...)
		o.was = o.op
		p.ops[o.op.ID] = &o
		return err
	})
}

// projects reports whether entries of a kind say something of operations as a whole.
func projects(kind string) bool {
	switch kind {
	case api.KindStarted, api.KindFinished, api.KindRollback, api.KindRedact:
		return true
	}
	return false
}

// add takes in an entry of the log that came in at the time given.
func (p *projection) add(ctx context.Context, e *api.Entry, received time.Time) error {
	if !projects(e.Kind) && e.Kind != api.KindRenamed {
		return nil
	}
	body, err := e.Decode()
	if err != nil {
		return err
	}
	if b, ok := body.(*api.DeviceRenamed); ok {
		if p.rebuild {
			return nil // devices are no projection: the person may have renamed it here since
		}
		_, err := p.tx.exec(ctx, "update devices set name = $3 where user_id = $1 and id = $2", p.user, p.device, b.Name)
		return err
	}
	if e.OpID == uuid.Nil || e.Kind == api.KindRenamed {
		return nil
	}
	o, err := p.get(ctx, e.OpID)
	if err != nil {
		return err
	}
	// A clock that is ahead must not put an operation on top of every list for ever.
	at := time.UnixMicro(e.TSClient).UTC()
	if at.After(received) {
		at = received
	}
	op := &o.op
	switch e.Kind {
	case api.KindStarted:
		if o.kept {
			return nil
		}
		if !o.has {
			o.has = true
			*op = Operation{ID: e.OpID, UserID: p.user, DeviceID: p.device, CreatedAt: at, Version: 1}
		}
		if op.Status == "" || op.Status.CanBecome(api.OpRunning) {
			op.Status = api.OpRunning
		}
		op.StartedAt = at
		if b, ok := body.(*api.Started); ok { // sealed, it says only that there is one
			op.Kind, op.Root, op.FilesTotal, op.RollbackOf = b.Kind, text(b.Root), b.Planned, b.RollbackOf
			if len(b.Options) > 0 {
				if op.Options, err = json.Marshal(b.Options); err != nil {
					return fmt.Errorf("keep the options of %s: %w", e.OpID, err)
				}
			}
		}
	case api.KindFinished:
		if o.kept && op.RollbackOf != uuid.Nil { // what it made of the other is no longer in the log either
			of, err := p.get(ctx, op.RollbackOf)
			if err == nil && of.had {
				of.op.Status = of.was.Status
			}
			return err
		}
		if !o.has || o.kept {
			return nil
		}
		b, ok := body.(*api.Finished)
		if !ok {
			b = &api.Finished{Status: api.OpCompleted}
		}
		if !b.Status.Known() || !b.Status.Finished() || !op.Status.CanBecome(b.Status) {
			return nil
		}
		op.Status, op.CompletedAt, op.Error = b.Status, at, text(b.Error)
		op.FilesProcessed, op.FilesFailed, op.DuplicatesFound, op.BytesMoved = b.Processed, b.Failed, b.Duplicates, b.Bytes
		if op.RollbackOf == uuid.Nil || b.RootStatus == "" {
			return nil
		}
		of, err := p.get(ctx, op.RollbackOf)
		if err != nil {
			return err
		}
		if of.has && !of.kept && b.RootStatus.Known() && b.RootStatus.Finished() && of.op.Status.CanBecome(b.RootStatus) {
			of.op.Status = b.RootStatus
		}
	case api.KindRollback:
		b, ok := body.(*api.RollbackResult)
		if !ok || !o.has || o.kept || op.Status.Finished() {
			return nil // the operation has spoken for itself
		}
		op.Status, op.CompletedAt, op.Error = afterCommand(b.State), at, text(b.Error)
		op.FilesProcessed, op.FilesFailed = b.Restored, b.Failed
	case api.KindRedact:
		if o.has && !o.kept {
			op.Root, op.Options, op.Error = "", nil, ""
		}
		if p.rebuild {
			return nil
		}
		// The entry itself has nothing to hide and says that the others are gone.
		var bytes int64
		const which = "from sync_log where user_id = $1 and device_id = $2 and op_id = $3 and kind <> $4 and body is not null"
		args := []any{p.user, p.device, e.OpID, api.KindRedact}
		if err := one(ctx, p.tx, "select coalesce(sum(length(body)), 0) "+which, args, &bytes); err != nil {
			return err
		}
		p.erased += bytes
		_, err := p.tx.exec(ctx, "update sync_log set body = null "+which[len("from sync_log "):], args...)
		return err
	}
	return nil
}

// afterCommand is what an operation has become when the command that asked for it ended in a state.
func afterCommand(s api.CommandState) api.OperationStatus {
	switch s {
	case api.CommandSucceeded:
		return api.OpCompleted
	case api.CommandPartial:
		return api.OpPartial
	case api.CommandExpired:
		return api.OpExpired
	case api.CommandCancelled:
		return api.OpCancelled
	}
	return api.OpFailed
}

// changed are the operations that are no longer what their rows say.
func (p *projection) changed() []*projected {
	var all []*projected
	for _, o := range p.ops {
		if o.has && (!o.had || !o.op.same(o.was)) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *projected) int { return compareID(a.op.ID, b.op.ID) })
	return all
}

// writes make the rows what the operations are now, and count for the user.
func (p *projection) writes() []statement {
	var all []statement
	var made, bytes int64
	for _, o := range p.changed() {
		bytes += o.op.BytesMoved - o.was.BytesMoved
		if !o.had {
			made++
			all = append(all, insertOperation(&o.op, false))
			continue
		}
		if o.op.Version = o.was.Version; !p.rebuild {
			o.op.Version++
		}
		all = append(all, writeOperation(&o.op))
	}
	if p.rebuild {
		made = 0
	}
	return append(all, countFor(p.user, p.now, made, bytes)...)
}

// countFor adds to what is counted for a user.
func countFor(user uuid.UUID, now time.Time, operations, bytes int64) []statement {
	if operations == 0 && bytes == 0 {
		return nil
	}
	// What devices say they have moved is anybody's word: the sum stops at the largest number there is.
	return []statement{{`update users set operations_this_month = case when operations_month = $2 then operations_this_month + $3 else $3 end,
		operations_month = $2, storage_bytes_managed = case when storage_bytes_managed > $5 then 9223372036854775807 else storage_bytes_managed + $4 end
		where id = $1`, []any{user, month(now), operations, bytes, math.MaxInt64 - max(0, bytes)}}}
}

func (p *projection) events() []Event {
	var all []Event
	for _, o := range p.changed() {
		all = append(all, Event{User: p.user, Kind: EventOperation, ID: o.op.ID, Seq: o.op.Version})
	}
	return all
}

// Rebuild makes the operations of a user anew from the log, in one transaction. What was asked for here and has not
// begun is not in the log and stays, and so do operations whose history was removed.
func (s *Store) Rebuild(ctx context.Context, user uuid.UUID) error {
	err := s.as(ctx, user, func(t tx) error {
		var head int64
		if err := one(ctx, t, "select head from heads where user_id = $1"+t.dialect().forUpdate, []any{user}, &head); err != nil {
			return err
		}
		p := projection{tx: t, user: user, now: s.now(), rebuild: true, ops: map[uuid.UUID]*projected{}}
		asked := map[uuid.UUID]bool{}
		err := t.query(ctx, "select "+operationColumns+", asked from operations where user_id = $1"+t.dialect().forUpdate, []any{user}, func(r rows) error {
			o := &projected{has: true, had: true}
			var a bool
			err := r.scan(append(o.op.fields(), &a)...)
			o.was, o.kept = o.op, a
			p.ops[o.op.ID], asked[o.op.ID] = o, a
			return err
		})
		if err != nil {
			return err
		}
		// Back to before the log spoke of them, unless it no longer says all that it said. Of what was asked for here it
		// knows all only once it has the last word.
		const told = "('" + api.KindStarted + "', '" + api.KindFinished + "', '" + api.KindRollback + "')"
		err = t.query(ctx, "select op_id, max(case when kind = '"+api.KindFinished+"' then 1 else 0 end), max(case when body is null then 1 else 0 end) "+
			"from sync_log where user_id = $1 and op_id is not null and kind in "+told+" group by op_id", []any{user}, func(r rows) error {
			var id uuid.UUID
			var finished, removed int64
			if err := r.scan(&id, &finished, &removed); err != nil {
				return err
			}
			switch o := p.ops[id]; {
			case o == nil:
			case removed > 0, asked[id] && finished == 0:
				o.kept = true
			case !asked[id]:
				o.has, o.op = false, Operation{}
			default:
				o.kept = false
				o.op.Status, o.op.CompletedAt, o.op.Error = api.OpPending, time.Time{}, ""
			}
			return nil
		})
		if err != nil {
			return err
		}
		for after := int64(0); after < head; {
			var page []api.PullEntry
			err := t.query(ctx, "select "+entryColumns+` from sync_log where user_id = $1 and server_seq > $2 and kind in
				('op.started', 'op.finished', 'rollback.result', 'redact') order by server_seq limit $3`, []any{user, after, pullEntries}, func(r rows) error {
				var e api.PullEntry
				err := scanEntry(r, &e)
				page = append(page, e)
				return err
			})
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for i := range page {
				e := &page[i]
				p.device, after = e.DeviceID, e.ServerSeq
				if err := p.add(ctx, &e.Entry, e.ReceivedAt); err != nil {
					return err
				}
			}
		}
		return t.execAll(ctx, p.writes()...)
	})
	if err != nil {
		return fmt.Errorf("rebuild operations: %w", err)
	}
	return nil
}
