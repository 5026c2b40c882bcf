package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Command is something a device is asked to do.
type Command struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	DeviceID   uuid.UUID
	Kind       api.CommandKind
	Operation  uuid.UUID       // that carries it out
	RollbackOf uuid.UUID       // the operation that it takes back
	Params     json.RawMessage // what the device is to know, as its maker wrote it
	MAC        []byte
	State      api.CommandState
	CreatedBy  string // who asked: a session, an API key
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Lease      uuid.UUID // of the device that has it
	LeaseUntil time.Time
	Attempts   int64 // how often it was handed out
	Result     json.RawMessage
	Error      string
	Stop       bool // somebody wants it stopped
	FinishedAt time.Time
}

const commandColumns = `user_id, id, device_id, kind, operation_id, target_id, params, mac, state, created_by, created_at, expires_at, lease, lease_until,
	attempts, result, error, stop, finished_at`

func (c *Command) fields() []any {
	return []any{&c.UserID, &c.ID, &c.DeviceID, (*string)(&c.Kind), &c.Operation, &c.RollbackOf, &c.Params, &c.MAC, (*string)(&c.State), &c.CreatedBy,
		&c.CreatedAt, &c.ExpiresAt, &c.Lease, &c.LeaseUntil, &c.Attempts, &c.Result, &c.Error, &c.Stop, &c.FinishedAt}
}

func insertCommand(c *Command) statement {
	return statement{"insert into commands (" + commandColumns + `)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		[]any{c.UserID, c.ID, c.DeviceID, string(c.Kind), c.Operation, c.RollbackOf, c.Params, c.MAC, string(c.State), c.CreatedBy,
			c.CreatedAt, c.ExpiresAt, c.Lease, c.LeaseUntil, c.Attempts, c.Result, c.Error, c.Stop, c.FinishedAt}}
}

// command reads one, for it to be changed.
func command(ctx context.Context, t tx, user, id uuid.UUID) (Command, error) {
	return commandWhere(ctx, t, user, "id", id)
}

func commandWhere(ctx context.Context, t tx, user uuid.UUID, column string, id uuid.UUID) (c Command, err error) {
	err = one(ctx, t, "select "+commandColumns+" from commands where user_id = $1 and "+column+" = $2"+t.dialect().forUpdate, []any{user, id}, c.fields()...)
	return c, err
}

// LeaseCommands hands out up to max open commands for the device, oldest first, for the time given; one whose lease ran
// out is handed out again, and stays running if it was: files may have moved. No two callers get the same.
func (s *Store) LeaseCommands(ctx context.Context, user, device uuid.UUID, max int, lease time.Duration) ([]Command, error) {
	var all []Command
	err := s.as(ctx, user, func(t tx) error {
		now := s.now()
		// Materialized: a limit with locks that is computed for each row anew would be none.
		return t.query(ctx, `with open as materialized (select id from commands where user_id = $1 and device_id = $2 and finished_at is null
				and (state = 'queued' or lease_until <= $5) and (state = 'running' or expires_at > $5) order by created_at, id limit $6`+
			t.dialect().skipLocked+`)
			update commands set state = case when state = 'running' then state else 'leased' end, lease = $3, lease_until = $4, attempts = attempts + 1
			where user_id = $1 and id in (select id from open) returning `+commandColumns,
			[]any{user, device, newID(), now.Add(lease), now, max}, func(r rows) error {
				var c Command
				err := r.scan(c.fields()...)
				all = append(all, c)
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("lease commands: %w", err)
	}
	slices.SortFunc(all, func(a, b Command) int {
		if d := a.CreatedAt.Compare(b.CreatedAt); d != 0 {
			return d
		}
		return compareID(a.ID, b.ID)
	})
	return all, nil
}

// RenewCommand says that the device is at work, and how far it is (nil: no word of that): the state is running and the
// lease lasts that long from now. ErrNotFound, ErrFinal, ErrLeaseLost.
func (s *Store) RenewCommand(ctx context.Context, user, id, lease uuid.UUID, last time.Duration, p *api.Progress) (Command, error) {
	var c Command
	var told []Event
	err := s.as(ctx, user, func(t tx) (err error) {
		if c, err = held(ctx, t, user, id, lease); err != nil {
			return err
		}
		c.State, c.LeaseUntil = api.CommandRunning, s.now().Add(last)
		if _, err := t.exec(ctx, "update commands set state = 'running', lease_until = $3 where user_id = $1 and id = $2", user, id, c.LeaseUntil); err != nil {
			return err
		}
		o, err := operation(ctx, t, user, c.Operation, t.dialect().forUpdate)
		if err != nil || o.Status.Finished() {
			return known(err)
		}
		now := Progress{Status: api.OpRunning, FilesTotal: o.FilesTotal, FilesProcessed: o.FilesProcessed, FilesFailed: o.FilesFailed,
			DuplicatesFound: o.DuplicatesFound, BytesMoved: o.BytesMoved, Error: o.Error}
		if p != nil {
			now.FilesTotal, now.FilesProcessed, now.FilesFailed, now.BytesMoved = p.FilesTotal, p.FilesProcessed, p.FilesFailed, p.BytesMoved
		} else if o.Status == api.OpRunning {
			return nil
		}
		if err := s.progress(ctx, t, &o, now); err != nil {
			return err
		}
		told = append(told, Event{User: user, Kind: EventOperation, ID: o.ID, Seq: o.Version})
		return nil
	})
	if err != nil {
		return Command{}, fmt.Errorf("renew command: %w", err)
	}
	s.tell(told...)
	return c, nil
}

// held is the command, if it is open and lease is the one by which it is held.
func held(ctx context.Context, t tx, user, id, lease uuid.UUID) (Command, error) {
	c, err := command(ctx, t, user, id)
	switch {
	case err != nil:
		return c, err
	case c.State.Final():
		return c, ErrFinal
	case c.Lease != lease || c.State == api.CommandQueued:
		return c, ErrLeaseLost
	}
	return c, nil
}

// known leaves nothing of an error that says that an operation is not there: its history may be gone already.
func known(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// FinishCommand gives a command its final state and result and, if the log has brought no word of it, its operation the
// status that follows. The same state again is answered as before. ErrNotFound, ErrFinal, ErrLeaseLost.
func (s *Store) FinishCommand(ctx context.Context, user, id, lease uuid.UUID, state api.CommandState, result *api.CommandResult) (Command, error) {
	if !state.Final() {
		return Command{}, fmt.Errorf("finish command: %q is no final state", state)
	}
	var c Command
	var told []Event
	err := s.as(ctx, user, func(t tx) (err error) {
		c, err = held(ctx, t, user, id, lease)
		if errors.Is(err, ErrFinal) && c.State == state && c.Lease == lease {
			return nil // the answer got lost
		}
		if err != nil {
			return err
		}
		if !c.State.CanBecome(state) && c.State != state {
			return ErrFinal
		}
		var r api.CommandResult
		if result != nil {
			r = *result
		}
		if c.Result, err = json.Marshal(r); err != nil {
			return err
		}
		c.State, c.Error, c.FinishedAt = state, text(r.Error), s.now()
		if _, err := t.exec(ctx, "update commands set state = $3, result = $4, error = $5, finished_at = $6 where user_id = $1 and id = $2",
			user, id, string(state), c.Result, c.Error, c.FinishedAt); err != nil {
			return err
		}
		o, err := operation(ctx, t, user, c.Operation, t.dialect().forUpdate)
		if err != nil || o.Status.Finished() {
			return known(err)
		}
		if err := s.progress(ctx, t, &o, Progress{Status: afterCommand(state), FilesTotal: o.FilesTotal, FilesProcessed: r.Processed,
			FilesFailed: r.Failed, DuplicatesFound: o.DuplicatesFound, BytesMoved: r.Bytes, Error: r.Error}); err != nil {
			return err
		}
		told = append(told, Event{User: user, Kind: EventOperation, ID: o.ID, Seq: o.Version})
		return nil
	})
	if err != nil {
		return Command{}, fmt.Errorf("finish command: %w", err)
	}
	s.tell(told...)
	return c, nil
}

// CancelCommand takes back a command; one that a device is at work on is only asked to stop. ErrNotFound, ErrFinal.
func (s *Store) CancelCommand(ctx context.Context, user, id uuid.UUID) (Command, error) {
	var c Command
	var told []Event
	err := s.as(ctx, user, func(t tx) (err error) {
		if c, err = command(ctx, t, user, id); err == nil {
			c, told, err = s.cancelCommand(ctx, t, c)
		}
		return err
	})
	if err != nil {
		return Command{}, fmt.Errorf("cancel command: %w", err)
	}
	s.tell(told...)
	return c, nil
}

func (s *Store) cancelCommand(ctx context.Context, t tx, c Command) (_ Command, told []Event, err error) {
	switch {
	case c.State.Final():
		return c, nil, ErrFinal
	case c.State == api.CommandRunning:
		_, err = t.exec(ctx, "update commands set stop = $3 where user_id = $1 and id = $2", c.UserID, c.ID, true)
	default:
		told, err = s.endCommands(ctx, t, api.CommandCancelled, "user_id = $3 and id = $4", c.UserID, c.ID)
	}
	if err == nil {
		c, err = command(ctx, t, c.UserID, c.ID)
	}
	return c, told, err
}

// endCommands gives the open commands of a condition, whose arguments begin with $3, a final state that no device has asked
// for, and their operations what follows.
func (s *Store) endCommands(ctx context.Context, t tx, state api.CommandState, where string, args ...any) ([]Event, error) {
	now := s.now()
	var ended []Command
	err := t.query(ctx, "update commands set state = $1, finished_at = $2 where finished_at is null and "+where+" returning "+commandColumns,
		append([]any{string(state), now}, args...), func(r rows) error {
			var c Command
			err := r.scan(c.fields()...)
			ended = append(ended, c)
			return err
		})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ended, func(a, b Command) int { return compareID(a.Operation, b.Operation) })
	var told []Event
	for _, c := range ended {
		o, err := operation(ctx, t, c.UserID, c.Operation, t.dialect().forUpdate)
		if err != nil || o.Status.Finished() {
			if err = known(err); err != nil {
				return nil, err
			}
			continue
		}
		status := afterCommand(state)
		if !o.Status.CanBecome(status) {
			status = api.OpFailed // it was at work
		}
		if err := s.progress(ctx, t, &o, Progress{Status: status, FilesTotal: o.FilesTotal, FilesProcessed: o.FilesProcessed,
			FilesFailed: o.FilesFailed, DuplicatesFound: o.DuplicatesFound, BytesMoved: o.BytesMoved, Error: "the command was " + string(state)}); err != nil {
			return nil, err
		}
		told = append(told, Event{User: c.UserID, Kind: EventOperation, ID: o.ID, Seq: o.Version})
	}
	return told, nil
}

// ExpireCommands gives those past their time, of all users, the state expired, unless a device is at work on them.
func (s *Store) ExpireCommands(ctx context.Context) (int64, error) {
	var told []Event
	err := s.system(ctx, func(t tx) (err error) {
		told, err = s.endCommands(ctx, t, api.CommandExpired, "state <> 'running' and expires_at <= $3", s.now())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("expire commands: %w", err)
	}
	s.tell(told...)
	return int64(len(told)), nil
}

// CommandByID is one of the user's. ErrNotFound.
func (s *Store) CommandByID(ctx context.Context, user, id uuid.UUID) (Command, error) {
	return s.oneCommand(ctx, user, "id = $2", id)
}

// CommandOf is the command that asked for an operation. ErrNotFound.
func (s *Store) CommandOf(ctx context.Context, user, operation uuid.UUID) (Command, error) {
	return s.oneCommand(ctx, user, "operation_id = $2", operation)
}

func (s *Store) oneCommand(ctx context.Context, user uuid.UUID, where string, id uuid.UUID) (c Command, err error) {
	err = s.view(ctx, scope{user: user}, "select "+commandColumns+" from commands where user_id = $1 and "+where, []any{user, id}, c.fields()...)
	if err != nil {
		return Command{}, fmt.Errorf("read command: %w", err)
	}
	return c, nil
}

// Commands lists the user's, newest first. api.ErrCursor.
func (s *Store) Commands(ctx context.Context, user uuid.UUID, p Page) (all []Command, next string, err error) {
	const list = "commands"
	at, id, err := p.before(list)
	if err != nil {
		return nil, "", err
	}
	err = s.db.read(ctx, scope{user: user}, "select "+commandColumns+` from commands where user_id = $1 and ($2 or (created_at, id) < ($3, $4))
		order by created_at desc, id desc limit $5`, []any{user, p.Cursor == "", at, id, p.limit() + 1}, func(r rows) error {
		var c Command
		err := r.scan(c.fields()...)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list commands: %w", err)
	}
	all, next = cut(all, p, list, func(c Command) api.Cursor { return api.Cursor{Micros: c.CreatedAt.UnixMicro(), ID: c.ID} })
	return all, next, nil
}

// PendingCommands is how many open commands wait for the device.
func (s *Store) PendingCommands(ctx context.Context, user, device uuid.UUID) (n int64, err error) {
	err = s.view(ctx, scope{user: user}, "select count(*) from commands where user_id = $1 and device_id = $2 and finished_at is null",
		[]any{user, device}, &n)
	if err != nil {
		return 0, fmt.Errorf("count commands: %w", err)
	}
	return n, nil
}
