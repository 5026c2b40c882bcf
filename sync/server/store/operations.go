package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"forg/sync/api"
)

// Operation is one run of forg, on a device or on a storage location.
type Operation struct {
	ID              uuid.UUID // UUIDv7, made by whoever starts it; unique for a user only
	UserID          uuid.UUID
	DeviceID        uuid.UUID
	Kind            string // organize, undo, redo, ...; "" of one whose start is sealed
	Status          api.OperationStatus
	Root            string
	Options         json.RawMessage // as they came
	FilesTotal      int64
	FilesProcessed  int64
	FilesFailed     int64
	DuplicatesFound int64
	BytesMoved      int64
	Error           string
	CreatedAt       time.Time // by the clock of the device, but never later than when it was heard of
	StartedAt       time.Time
	CompletedAt     time.Time
	RollbackOf      uuid.UUID
	Stop            bool  // somebody wants the worker that is at it to stop
	Version         int64 // 1, 2, 3, ...: one more with every change
}

const operationColumns = `user_id, id, device_id, kind, status, root, options, files_total, files_processed, files_failed, duplicates_found,
	bytes_moved, error, created_at, started_at, completed_at, rollback_of, stop, version`

func (o *Operation) fields() []any {
	return []any{&o.UserID, &o.ID, &o.DeviceID, &o.Kind, (*string)(&o.Status), &o.Root, &o.Options, &o.FilesTotal, &o.FilesProcessed,
		&o.FilesFailed, &o.DuplicatesFound, &o.BytesMoved, &o.Error, &o.CreatedAt, &o.StartedAt, &o.CompletedAt, &o.RollbackOf,
		&o.Stop, &o.Version}
}

func (o *Operation) values() []any {
	return []any{o.UserID, o.ID, o.DeviceID, o.Kind, string(o.Status), o.Root, o.Options, o.FilesTotal, o.FilesProcessed,
		o.FilesFailed, o.DuplicatesFound, o.BytesMoved, o.Error, o.CreatedAt, o.StartedAt, o.CompletedAt, o.RollbackOf,
		o.Stop, o.Version}
}

// same leaves the version out.
func (o Operation) same(b Operation) bool {
	if !bytes.Equal(o.Options, b.Options) {
		return false
	}
	o.Options, b.Options, o.Version, b.Version = nil, nil, 0, 0
	return reflect.DeepEqual(o, b)
}

func compareID(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

func insertOperation(o *Operation, asked bool) statement {
	return statement{"insert into operations (" + operationColumns + `, asked)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`, append(o.values(), asked)}
}

func writeOperation(o *Operation) statement {
	return statement{`update operations set device_id = $3, kind = $4, status = $5, root = $6, options = $7, files_total = $8,
		files_processed = $9, files_failed = $10, duplicates_found = $11, bytes_moved = $12, error = $13, created_at = $14, started_at = $15,
		completed_at = $16, rollback_of = $17, stop = $18, version = $19 where user_id = $1 and id = $2`, o.values()}
}

// Job is something for the queue, enqueued in the transaction of what it is for. Arguments hold ids only, that of the user
// among them, so that erasing the user finds it.
type Job struct {
	Args river.JobArgs
	Opts *river.InsertOpts
}

// NewOperation is an operation that somebody asks for.
type NewOperation struct {
	ID         uuid.UUID // uuid.Nil: the store makes one
	DeviceID   uuid.UUID
	Kind       string
	Root       string
	Options    json.RawMessage
	Params     json.RawMessage // of the command of a device: what it is to know
	MAC        []byte          // of the command
	CreatedBy  string          // of the command: who asks
	Expires    time.Duration   // of the command; 0: 7 days
	Job        *Job            // what a worker is to do, if the device is a location
	Key        string          // Idempotency-Key; "": none
	RequestSHA [32]byte        // of the request that came with the key
	Audit      AuditEvent      // is added to the trail of the user in the same transaction, unless it has no Action
}

// CreateOperation adds a pending operation and, in the same transaction, what gets it done: the job where the device is a
// location, else a command for the device. replayed: the key was used for the same request, and this is its operation.
// ErrNotFound: no such device; ErrRevoked, ErrKeyReused, ErrExists.
func (s *Store) CreateOperation(ctx context.Context, user uuid.UUID, n NewOperation) (op Operation, replayed bool, err error) {
	return s.create(ctx, user, &n, uuid.Nil, nil)
}

// RollbackError says why an operation cannot be taken back.
type RollbackError struct {
	Reason string    // one of the reasons below
	Other  uuid.UUID // the operation that is in the way, if one is
}

// Reasons against a rollback.
const (
	NotFinished   = "not_finished"   // it is still pending or running
	NothingMoved  = "nothing_moved"  // it changed nothing
	RolledBack    = "rolled_back"    // it was taken back, by Other
	RollbackOpen  = "rollback_open"  // Other is about to take it back
	DeviceRevoked = "device_revoked" // its device was shut out
)

func (e *RollbackError) Error() string { return "it cannot be rolled back: " + e.Reason }

// Rollback adds an operation of kind undo that takes back operation of, as CreateOperation does; n gives no device, kind
// or root. ErrNotFound, ErrKeyReused, ErrExists, *RollbackError.
func (s *Store) Rollback(ctx context.Context, user, of uuid.UUID, n NewOperation) (op Operation, replayed bool, err error) {
	return s.create(ctx, user, &n, of, func(t tx) error {
		o, err := operation(ctx, t, user, of, t.dialect().forUpdate)
		if err != nil {
			return err
		}
		n.DeviceID, n.Kind, n.Root = o.DeviceID, "undo", o.Root
		var open, last Operation
		err = t.query(ctx, "select "+operationColumns+" from operations where user_id = $1 and rollback_of = $2 order by created_at, id",
			[]any{user, of}, func(r rows) error {
				var u Operation
				err := r.scan(u.fields()...)
				if !u.Status.Finished() {
					open = u
				}
				last = u
				return err
			})
		switch {
		case err != nil:
			return err
		case open.ID != uuid.Nil:
			return &RollbackError{Reason: RollbackOpen, Other: open.ID}
		case o.Status == api.OpUndone:
			return &RollbackError{Reason: RolledBack, Other: last.ID}
		case !o.Status.Finished():
			return &RollbackError{Reason: NotFinished}
		case o.Status == api.OpCancelled, o.Status == api.OpExpired, o.FilesProcessed == 0 && o.Status != api.OpInterrupted:
			return &RollbackError{Reason: NothingMoved}
		}
		return nil
	})
}

// create is both; check may refuse, and completes n.
func (s *Store) create(ctx context.Context, user uuid.UUID, n *NewOperation, of uuid.UUID, check func(tx) error) (op Operation, replayed bool, err error) {
	if n.ID == uuid.Nil {
		n.ID = newID()
	}
	err = s.as(ctx, user, func(t tx) error {
		now := s.now()
		if n.Key != "" {
			// On PostgreSQL this waits for another request with the key that is under way.
			first, err := t.exec(ctx, `insert into idempotency_keys (user_id, key, request_sha, operation_id, created_at) values ($1, $2, $3, $4, $5)
				on conflict (user_id, key) do nothing`, user, n.Key, n.RequestSHA, n.ID, now)
			if err != nil {
				return err
			}
			if first == 0 {
				var sha [32]byte
				var id uuid.UUID
				if err := one(ctx, t, "select request_sha, operation_id from idempotency_keys where user_id = $1 and key = $2",
					[]any{user, n.Key}, &sha, &id); err != nil {
					return err
				}
				if sha != n.RequestSHA {
					return ErrKeyReused
				}
				replayed = true
				op, err = operation(ctx, t, user, id, "")
				return err
			}
		}
		if check != nil {
			if err := check(t); err != nil {
				return err
			}
		}
		d, err := device(ctx, t, user, n.DeviceID, "")
		if err != nil {
			return err
		}
		if !d.RevokedAt.IsZero() {
			if check != nil {
				return &RollbackError{Reason: DeviceRevoked}
			}
			return ErrRevoked
		}
		op = Operation{ID: n.ID, UserID: user, DeviceID: n.DeviceID, Kind: n.Kind, Status: api.OpPending, Root: text(n.Root), Options: n.Options,
			CreatedAt: now, RollbackOf: of, Version: 1}
		add := append(countFor(user, now, 1, 0), insertOperation(&op, true))
		if d.Kind == string(api.DeviceLocation) {
			if n.Job != nil {
				if err := t.enqueue(ctx, n.Job); err != nil {
					return err
				}
			}
		} else {
			kind := api.CommandOrganize
			if of != uuid.Nil {
				kind = api.CommandRollback
			}
			add = append(add, insertCommand(&Command{ID: newID(), UserID: user, DeviceID: n.DeviceID, Kind: kind, Operation: n.ID,
				RollbackOf: of, Params: n.Params, MAC: n.MAC, State: api.CommandQueued, CreatedBy: n.CreatedBy, CreatedAt: now,
				ExpiresAt: now.Add(cmp.Or(n.Expires, 7*day))}))
		}
		if n.Audit.Action == "" {
			return t.execAll(ctx, add...)
		}
		n.Audit.UserID = user
		return s.audit(ctx, t, n.Audit, add)
	})
	switch {
	case taken(err, "operations"):
		err = ErrExists
	case orphan(err):
		err = ErrNotFound
	}
	if err != nil {
		return Operation{}, false, fmt.Errorf("create operation: %w", err)
	}
	if !replayed {
		s.tell(Event{User: user, Kind: EventOperation, ID: op.ID, Seq: op.Version}, Event{User: user, Kind: EventCommand, ID: op.DeviceID})
	}
	return op, replayed, nil
}

// operation reads one; more goes on from the WHERE.
func operation(ctx context.Context, t tx, user, id uuid.UUID, more string) (o Operation, err error) {
	err = one(ctx, t, "select "+operationColumns+" from operations where user_id = $1 and id = $2"+more, []any{user, id}, o.fields()...)
	return o, err
}

// OperationFilter says which operations to list. Zero values ask for all.
type OperationFilter struct {
	Status []api.OperationStatus
	Kind   []string
	Device uuid.UUID
	From   time.Time // created at or after
	Until  time.Time // created before
	Path   string    // text within the root; ASCII letters count in either case
}

// Operations lists, newest first; next is the cursor of the next page, "" at the end. api.ErrCursor.
func (s *Store) Operations(ctx context.Context, user uuid.UUID, f OperationFilter, p Page) (ops []Operation, next string, err error) {
	q, args, err := f.query(s.db.dialect(), user, p)
	if err != nil {
		return nil, "", err
	}
	err = s.db.read(ctx, scope{user: user}, q, args, func(r rows) error {
		var o Operation
		err := r.scan(o.fields()...)
		ops = append(ops, o)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list operations: %w", err)
	}
	ops, next = cut(ops, p, f.list(), func(o Operation) api.Cursor { return api.Cursor{Micros: o.CreatedAt.UnixMicro(), ID: o.ID} })
	return ops, next, nil
}

func (f OperationFilter) list() string { return fmt.Sprintf("operations %v", f) }

func (f OperationFilter) query(d *dialect, user uuid.UUID, p Page) (string, []any, error) {
	at, id, err := p.before(f.list())
	if err != nil {
		return "", nil, err
	}
	args := []any{user}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	var q strings.Builder
	q.WriteString("select " + operationColumns + " from operations where user_id = $1")
	among := func(column string, n int, value func(int) string) {
		if n == 0 {
			return
		}
		q.WriteString(" and " + column + " in (")
		for i := range n {
			if i > 0 {
				q.WriteString(", ")
			}
			q.WriteString(arg(value(i)))
		}
		q.WriteString(")")
	}
	among("status", len(f.Status), func(i int) string { return string(f.Status[i]) })
	among("kind", len(f.Kind), func(i int) string { return f.Kind[i] })
	if f.Device != uuid.Nil {
		q.WriteString(" and device_id = " + arg(f.Device))
	}
	if !f.From.IsZero() {
		q.WriteString(" and created_at >= " + arg(f.From))
	}
	if !f.Until.IsZero() {
		q.WriteString(" and created_at < " + arg(f.Until))
	}
	if f.Path != "" {
		q.WriteString(" and " + fmt.Sprintf(d.within, "root", arg(f.Path)) + " > 0")
	}
	if p.Cursor != "" {
		q.WriteString(" and (created_at, id) < (" + arg(at) + ", " + arg(id) + ")")
	}
	q.WriteString(" order by created_at desc, id desc limit " + arg(p.limit()+1))
	return q.String(), args, nil
}

// OperationByID is one of the user's. ErrNotFound.
func (s *Store) OperationByID(ctx context.Context, user, id uuid.UUID) (o Operation, err error) {
	err = s.view(ctx, scope{user: user}, "select "+operationColumns+" from operations where user_id = $1 and id = $2", []any{user, id}, o.fields()...)
	if err != nil {
		return Operation{}, fmt.Errorf("read operation: %w", err)
	}
	return o, nil
}

// openOperation holds for operations that have not ended: the condition, word for word, of the index operations_open.
const openOperation = "status in ('pending', 'running')"

// NextOperation is the one of a device that was asked for first and has not ended. ErrNotFound: there is none.
func (s *Store) NextOperation(ctx context.Context, user, device uuid.UUID) (o Operation, err error) {
	err = s.view(ctx, scope{user: user}, "select "+operationColumns+" from operations where user_id = $1 and device_id = $2 and "+openOperation+
		" order by created_at, id limit 1", []any{user, device}, o.fields()...)
	if err != nil {
		return Operation{}, fmt.Errorf("read next operation: %w", err)
	}
	return o, nil
}

// Progress is what a worker tells of an operation it carries out: a status and counts so far.
type Progress struct {
	Status          api.OperationStatus
	FilesTotal      int64
	FilesProcessed  int64
	FilesFailed     int64
	DuplicatesFound int64
	BytesMoved      int64
	Error           string
}

// UpdateOperation sets status and counts of an operation that was asked for here, and the time of start or end that goes
// with the status; of all others only the log speaks. ErrNotFound; ErrFinal: it cannot become that any more.
func (s *Store) UpdateOperation(ctx context.Context, user, id uuid.UUID, p Progress) (Operation, error) {
	var o Operation
	err := s.as(ctx, user, func(t tx) (err error) {
		if o, err = operation(ctx, t, user, id, " and asked"+t.dialect().forUpdate); err != nil {
			return err
		}
		return s.progress(ctx, t, &o, p)
	})
	if err != nil {
		return Operation{}, fmt.Errorf("update operation: %w", err)
	}
	s.tell(Event{User: user, Kind: EventOperation, ID: id, Seq: o.Version})
	return o, nil
}

// StopOperation takes back an operation that nobody has begun: it is cancelled. Who is at work on one already is asked to stop,
// a worker by Operation.Stop, a device by its command's. ErrNotFound; ErrFinal: it has ended, or its device began it unasked.
func (s *Store) StopOperation(ctx context.Context, user, id uuid.UUID) (Operation, error) {
	var o Operation
	var told []Event
	err := s.as(ctx, user, func(t tx) (err error) {
		// The command before its operation, as everywhere.
		c, err := commandWhere(ctx, t, user, "operation_id", id)
		if err == nil {
			if _, told, err = s.cancelCommand(ctx, t, c); err == nil {
				o, err = operation(ctx, t, user, id, "")
			}
			return err
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		if o, err = operation(ctx, t, user, id, t.dialect().forUpdate); err != nil {
			return err
		}
		var asked bool
		if err := one(ctx, t, "select asked from operations where user_id = $1 and id = $2", []any{user, id}, &asked); err != nil {
			return err
		}
		if !asked || o.Status.Finished() {
			return ErrFinal
		}
		told = []Event{{User: user, Kind: EventOperation, ID: id}}
		if o.Status == api.OpPending {
			err = s.progress(ctx, t, &o, Progress{Status: api.OpCancelled})
		} else {
			o.Stop = true
			o.Version++
			err = t.execAll(ctx, writeOperation(&o))
		}
		told[0].Seq = o.Version
		return err
	})
	if err != nil {
		return Operation{}, fmt.Errorf("stop operation: %w", err)
	}
	s.tell(told...)
	return o, nil
}

func (s *Store) progress(ctx context.Context, t tx, o *Operation, p Progress) error {
	if !o.Status.CanBecome(p.Status) || o.Status.Finished() {
		return ErrFinal
	}
	now := s.now()
	if o.StartedAt.IsZero() && p.Status != api.OpPending && p.Status != api.OpCancelled && p.Status != api.OpExpired {
		o.StartedAt = now
	}
	if p.Status.Finished() {
		o.CompletedAt = now
	}
	bytes := p.BytesMoved - o.BytesMoved
	o.Status, o.FilesTotal, o.FilesProcessed, o.FilesFailed = p.Status, p.FilesTotal, p.FilesProcessed, p.FilesFailed
	o.DuplicatesFound, o.BytesMoved, o.Error = p.DuplicatesFound, p.BytesMoved, text(p.Error)
	o.Version++
	return t.execAll(ctx, append(countFor(o.UserID, now, 0, bytes), writeOperation(o))...)
}
