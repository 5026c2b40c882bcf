package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/google/uuid"
)

// Epoch is a stretch of the log that one machine has written.
type Epoch struct {
	ID     uuid.UUID
	Device uuid.UUID
	Last   int64 // number of its last event, 0 if there is none
}

// Epochs are the epochs of the journal, the current one last.
func (j *Journal) Epochs(ctx context.Context) ([]Epoch, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT epoch, device, (SELECT coalesce(max(seq), 0) FROM events WHERE events.epoch = epochs.n)
		FROM epochs ORDER BY n`)
	if err != nil {
		return nil, j.explain(err)
	}
	defer rows.Close()
	var all []Epoch
	for rows.Next() {
		var id, device []byte
		var e Epoch
		if err := rows.Scan(&id, &device, &e.Last); err != nil {
			return nil, j.explain(err)
		}
		if len(id) != 16 || len(device) != 16 {
			return nil, j.explain(fmt.Errorf("%w: an epoch is malformed", ErrCorrupt))
		}
		e.ID, e.Device = uuid.UUID(id), uuid.UUID(device)
		all = append(all, e)
	}
	return all, j.explain(rows.Err())
}

// Moved reports whether the current epoch was written on another machine: whoever opens the journal for writing begins a new
// epoch then, and until that nothing may be said in the name of the old one.
func (j *Journal) Moved(ctx context.Context) (bool, error) {
	var was []byte
	err := j.db.QueryRowContext(ctx, "SELECT machine FROM epochs ORDER BY n DESC LIMIT 1").Scan(&was)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && moved(was, machineHash()), j.explain(err)
}

// NewEpoch begins a new epoch of the same device: another has written numbers of the current one (a clone, or this journal
// before a backup of it was restored), and two histories must not share one log. What the old epoch
// says is to be erased elsewhere, after event number sent, is said once more: nobody will be told what the old epoch says. The
// journal is open for writing.
func (j *Journal) NewEpoch(ctx context.Context, sent int64) error {
	var device []byte
	if err := j.db.QueryRowContext(ctx, "SELECT device FROM epochs ORDER BY n DESC LIMIT 1").Scan(&device); err != nil {
		return j.explain(err)
	}
	return j.newEpoch(ctx, device, sent)
}

// NewDevice begins an epoch of a new device: nobody is to know the journal by its old name any more. The journal is open for
// writing.
func (j *Journal) NewDevice(ctx context.Context) error {
	d := uuid.New()
	return j.newEpoch(ctx, d[:], math.MaxInt64) // it has told nobody anything that could be erased
}

func (j *Journal) newEpoch(ctx context.Context, device []byte, sent int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.beginEpoch(ctx, device, machineHash(), sent); err != nil {
		return j.explain(err)
	}
	// Whoever copies the file without its WAL, while somebody reads it, is not to copy the epoch before.
	_, err := j.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return j.explain(err)
}

// Event is one event of the log, for those who carry the log elsewhere.
type Event struct {
	Seq  int64 // 1, 2, 3, ... within the epoch
	ID   uuid.UUID
	Op   uuid.UUID // the operation that it is about
	At   time.Time
	kind string
	body []byte
}

// Start is what an event tells of the beginning of an operation.
type Start struct {
	Kind    string
	Root    string
	Command string
	Planned int64
	Undoes  uuid.UUID // the operation that an undo or redo is about, or zero
	// Asked is the command by which a server has asked for it, or zero.
	Asked uuid.UUID
}

// Pruned is what an event tells of an operation that was forgotten.
type Pruned struct{}

// Recalled is what an event tells of an operation that others are to erase (see Recall).
type Recalled struct{}

// Forgotten is what remains of an event once its operation was pruned.
type Forgotten struct{}

// Read is what the event says: Start, []Step, []Outcome, []FolderTime, Finish, Answer, Pruned, Recalled or Forgotten.
func (e *Event) Read() (any, error) {
	switch e.kind {
	case evPruned:
		return Pruned{}, nil
	case evRecalled:
		return Recalled{}, nil
	}
	if e.body == nil {
		return Forgotten{}, nil
	}
	var v any
	var err error
	switch e.kind {
	case evStarted:
		var s started
		if err = json.Unmarshal(e.body, &s); err != nil {
			break
		}
		out := Start{Kind: s.Kind, Root: s.Root, Command: s.Command, Planned: s.Planned}
		if s.Undoes != "" {
			out.Undoes, err = uuid.Parse(s.Undoes)
		}
		if s.CommandID != "" && err == nil {
			out.Asked, err = uuid.Parse(s.CommandID)
		}
		v = out
	case evFiles:
		v, err = decodeSteps(e.body)
	case evOutcomes:
		v, err = decodeOutcomes(e.body)
	case evFolders:
		v, err = decodeFolderTimes(e.body)
	case evFinished:
		var f Finish
		err = json.Unmarshal(e.body, &f)
		v = f
	case evAnswered:
		var a Answer
		err = json.Unmarshal(e.body, &a)
		v = a
	default:
		err = fmt.Errorf("kind %q is unknown", e.kind)
	}
	if err != nil {
		return nil, fmt.Errorf("read event %d: %w", e.Seq, err)
	}
	return v, nil
}

// Events yields the events of an epoch that follow number after, in order. Nothing stays open while the caller works.
func (j *Journal) Events(ctx context.Context, epoch uuid.UUID, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			page, err := j.events(ctx, epoch, after)
			if err != nil {
				yield(Event{}, j.explain(err))
				return
			}
			if len(page) == 0 {
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
		}
	}
}

func (j *Journal) events(ctx context.Context, epoch uuid.UUID, after int64) (page []Event, err error) {
	rows, err := j.db.QueryContext(ctx, `SELECT seq, id, op, kind, at, body FROM events
		WHERE epoch = (SELECT n FROM epochs WHERE epoch = ?) AND seq > ? ORDER BY seq LIMIT 8`, epoch[:], after)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e Event
		var id, op []byte
		var at int64
		if err := rows.Scan(&e.Seq, &id, &op, &e.kind, &at, &e.body); err != nil {
			return nil, err
		}
		if len(id) != 16 || len(op) != 16 {
			return nil, fmt.Errorf("%w: event %d is malformed", ErrCorrupt, e.Seq)
		}
		e.ID, e.Op, e.At = uuid.UUID(id), uuid.UUID(op), time.Unix(0, at)
		page = append(page, e)
	}
	return page, rows.Err()
}

// RecalledOfOthers is how many operations the current epoch says are to be erased that were recorded as another device: nobody
// takes this one's word on them.
func (j *Journal) RecalledOfOthers(ctx context.Context) (n int, err error) {
	err = j.db.QueryRowContext(ctx, `WITH current AS (SELECT n, device FROM epochs ORDER BY n DESC LIMIT 1)
		SELECT count(DISTINCT r.op) FROM current, events r JOIN events e ON e.op = r.op JOIN epochs x ON x.n = e.epoch
		WHERE r.epoch = current.n AND r.kind = ? AND e.kind = ? AND x.device <> current.device`, evRecalled, evStarted).Scan(&n)
	return n, j.explain(err)
}

// RecalledOperations are those that others are to erase, with the undo and redo of them.
func (j *Journal) RecalledOperations(ctx context.Context) (map[uuid.UUID]bool, error) {
	rows, err := j.db.QueryContext(ctx, `WITH recalled AS (SELECT op FROM events WHERE kind = ?)
		SELECT op FROM recalled UNION
		SELECT o.uuid FROM operations o JOIN operations r ON r.id = o.undoes WHERE o.undoes <> 0 AND r.uuid IN (SELECT op FROM recalled)`, evRecalled)
	if err != nil {
		return nil, j.explain(err)
	}
	defer rows.Close()
	all := map[uuid.UUID]bool{}
	for rows.Next() {
		var op []byte
		if err := rows.Scan(&op); err != nil {
			return nil, j.explain(err)
		}
		if len(op) != 16 {
			return nil, j.explain(fmt.Errorf("%w: an operation is malformed", ErrCorrupt))
		}
		all[uuid.UUID(op)] = true
	}
	return all, j.explain(rows.Err())
}
