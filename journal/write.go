package journal

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// The kinds of events.
const (
	evStarted  = "op.started"
	evFiles    = "op.files"    // intents
	evOutcomes = "op.outcomes" // what went otherwise
	evFolders  = "op.folders"  // when folders were last changed
	evFinished = "op.finished"
	evPruned   = "op.pruned"
	evAnswered = "op.answered"  // what was told of a command that asked for an undo
	evRecalled = "op.forgotten" // is to be erased wherever the log was carried to; this journal keeps it
)

// Status of an operation.
type Status string

// The statuses of contract and JSON.
const (
	Running         Status = "running"
	Completed       Status = "completed"
	Partial         Status = "partial"
	FailedOp        Status = "failed"
	Interrupted     Status = "interrupted"
	Undone          Status = "undone"
	PartiallyUndone Status = "partially_undone"
)

type started struct {
	Kind    string `json:"kind"`
	Root    string `json:"root"`
	Command string `json:"command"`
	Planned int64  `json:"planned"`
	Undoes  string `json:"undoes,omitempty"` // UUID
	// CommandID is the UUID of the command by which a server has asked for it.
	CommandID string `json:"command_id,omitempty"`
}

// Asked is who has asked for an operation, if it was a server: its UUID of the operation, and the command.
type Asked struct {
	Operation uuid.UUID
	Command   uuid.UUID
}

// Answer is what was told of a command that asked for an undo. It names no file.
type Answer struct {
	Command  uuid.UUID `json:"command"`
	Undid    uuid.UUID `json:"undid"` // the operation that was to be taken back
	State    string    `json:"state"` // as the sync protocol calls it
	Restored int64     `json:"restored"`
	Skipped  int64     `json:"skipped"`
	Failed   int64     `json:"failed"`
	Error    string    `json:"error,omitempty"`
}

// Finish is the last word on an operation.
type Finish struct {
	Status  Status `json:"status"`
	Moved   int64  `json:"moved"`
	Skipped int64  `json:"skipped"`
	Failed  int64  `json:"failed"`
	Bytes   int64  `json:"bytes"`
	// RootStatus is, of an undo or redo, what the operation it is about has become.
	RootStatus Status `json:"root_status,omitempty"`
	// Folders is when the folders it changed were last changed by it.
	Folders []FolderTime `json:"-"`
}

// Writer records one operation.
type Writer struct {
	j      *Journal
	id     int64
	uuid   uuid.UUID
	start  started
	undoes int64
	at     time.Time
	begun  bool
}

// Begin prepares an operation. Nothing is written before its first Commit, so an operation without a step leaves no
// trace. undoes is the operation that an undo or redo is about, or 0.
func (j *Journal) Begin(ctx context.Context, kind, root, command string, planned, undoes int64) (*Writer, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("begin operation: %w", err)
	}
	w := &Writer{j: j, uuid: id, undoes: undoes, at: j.now(),
		start: started{Kind: kind, Root: root, Command: command, Planned: planned}}
	if undoes != 0 {
		o, err := j.Operation(ctx, fmt.Sprint(undoes))
		if err != nil {
			return nil, err
		}
		w.start.Undoes = o.UUID.String()
	}
	return w, nil
}

// Resume continues the record of an operation that was cut short, so that it can be settled.
func (j *Journal) Resume(o Operation) *Writer {
	return &Writer{j: j, id: o.ID, uuid: o.UUID, undoes: o.Undoes, at: o.StartedAt, begun: true}
}

// For makes the operation the one that a server has asked for. It comes before the first Commit, which fails if the
// journal has that operation already: nothing is carried out twice.
func (w *Writer) For(a Asked) { w.uuid, w.start.CommandID = a.Operation, a.Command.String() }

// ID is the operation's number, 0 before the first Commit.
func (w *Writer) ID() int64 { return w.id }

// UUID names the operation everywhere.
func (w *Writer) UUID() uuid.UUID { return w.uuid }

// Commit makes the intents of steps durable, with what became of earlier ones. When it returns without an error the
// steps may be carried out.
func (w *Writer) Commit(ctx context.Context, steps []Step, outs []Outcome) error {
	err := w.j.append(ctx, func(a *appender) error { return w.commit(ctx, a, steps, outs) })
	if err != nil {
		return fmt.Errorf("journal %s: commit %d steps: %w", w.j.path, len(steps), err)
	}
	return nil
}

func (w *Writer) commit(ctx context.Context, a *appender, steps []Step, outs []Outcome) error {
	tx := a.tx
	if !w.begun {
		body, err := json.Marshal(w.start)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO operations (uuid, kind, status, root, command, started_at, planned, undoes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, w.uuid[:], w.start.Kind, Running, w.start.Root, w.start.Command, w.at.UnixNano(), w.start.Planned, w.undoes)
		if err != nil {
			return err
		}
		id, err := res.LastInsertId()
		if err != nil {
			return err
		}
		if err := a.add(ctx, w.uuid, evStarted, body); err != nil {
			return err
		}
		w.id, w.begun = id, true
	}
	if len(outs) > 0 {
		if err := a.add(ctx, w.uuid, evOutcomes, encodeOutcomes(outs)); err != nil {
			return err
		}
	}
	if len(steps) > 0 {
		if err := a.add(ctx, w.uuid, evFiles, encodeSteps(steps)); err != nil {
			return err
		}
	}
	return nil
}

// Finish records what became of the remaining steps and the operation's last word. The caller has made the changes
// durable before: finished means on disk.
func (w *Writer) Finish(ctx context.Context, outs []Outcome, f Finish) error {
	if !w.begun {
		return nil
	}
	err := w.j.append(ctx, func(a *appender) error {
		if err := w.commit(ctx, a, nil, outs); err != nil {
			return err
		}
		if len(f.Folders) > 0 {
			if err := a.add(ctx, w.uuid, evFolders, encodeFolderTimes(f.Folders)); err != nil {
				return err
			}
		}
		body, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if err := a.add(ctx, w.uuid, evFinished, body); err != nil {
			return err
		}
		return project(ctx, a.tx, w.id, w.undoes, w.j.now().UnixNano(), f)
	})
	if err != nil {
		return fmt.Errorf("journal %s: finish operation %d: %w", w.j.path, w.id, err)
	}
	return nil
}

// project brings the operations table up to date with a finished event.
func project(ctx context.Context, tx *sql.Tx, id, undoes, at int64, f Finish) error {
	_, err := tx.ExecContext(ctx, `UPDATE operations SET status = ?, finished_at = ?, moved = ?, skipped = ?, failed = ?, bytes = ? WHERE id = ?`,
		f.Status, at, f.Moved, f.Skipped, f.Failed, f.Bytes, id)
	if err != nil || undoes == 0 || f.RootStatus == "" {
		return err
	}
	by := id
	if f.RootStatus != Undone && f.RootStatus != PartiallyUndone {
		by = 0
	}
	_, err = tx.ExecContext(ctx, "UPDATE operations SET status = ?, undone_by = ? WHERE id = ?", f.RootStatus, by, undoes)
	return err
}

// Answer records what was told of the command that asked for operation op, an undo.
func (j *Journal) Answer(ctx context.Context, op uuid.UUID, a Answer) error {
	body, err := json.Marshal(a)
	if err == nil {
		err = j.append(ctx, func(to *appender) error { return to.add(ctx, op, evAnswered, body) })
	}
	if err != nil {
		return fmt.Errorf("journal %s: record the answer to command %s: %w", j.path, a.Command, err)
	}
	return nil
}

// appender adds events to the log within one transaction.
type appender struct {
	j     *Journal
	tx    *sql.Tx
	epoch int64
	seq   int64
	chain [32]byte
}

// append runs f in a transaction; when it is committed the journal's position follows.
func (j *Journal) append(ctx context.Context, f func(*appender) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := &appender{j: j, epoch: j.epoch, seq: j.seq, chain: j.chain}
	if err := j.tx(ctx, func(tx *sql.Tx) error {
		a.tx = tx
		return f(a)
	}); err != nil {
		return err
	}
	j.seq, j.chain = a.seq, a.chain
	return nil
}

func (a *appender) add(ctx context.Context, op uuid.UUID, kind string, body []byte) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	seq, at := a.seq+1, a.j.now().UnixNano()
	sha := eventHash(seq, id, op, kind, at, body)
	chain := link(a.chain, sha)
	if _, err := a.tx.ExecContext(ctx, "INSERT INTO events (epoch, seq, id, op, kind, at, sha, chain, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		a.epoch, seq, id[:], op[:], kind, at, sha[:], chain[:], body); err != nil {
		return err
	}
	a.seq, a.chain = seq, chain
	return nil
}

// eventHash is SHA-256 over: seq, id, op, kind, at, body; numbers big-endian in 8 bytes, kind and body led by their
// length.
func eventHash(seq int64, id, op uuid.UUID, kind string, at int64, body []byte) [32]byte {
	h := sha256.New()
	var n [8]byte
	num := func(v int64) {
		binary.BigEndian.PutUint64(n[:], uint64(v))
		h.Write(n[:])
	}
	num(seq)
	h.Write(id[:])
	h.Write(op[:])
	num(int64(len(kind)))
	h.Write([]byte(kind))
	num(at)
	num(int64(len(body)))
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

func link(chain, sha [32]byte) [32]byte {
	return sha256.Sum256(append(chain[:], sha[:]...))
}

// Prune forgets the steps of operations that finished before t: they stay in the log as hashes, cannot be undone any
// more and are no longer listed. It returns how many. Operations that an undo which stays refers to stay too.
func (j *Journal) Prune(ctx context.Context, before time.Time, dryRun bool) (int64, error) {
	var n int64
	const old = `status <> 'running' AND pruned = 0 AND finished_at < ?1 AND id NOT IN
		(SELECT undoes FROM operations WHERE undoes <> 0 AND (finished_at >= ?1 OR status = 'running'))`
	err := j.append(ctx, func(a *appender) error {
		tx, at := a.tx, before.UnixNano()
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM operations WHERE "+old, at).Scan(&n); err != nil || n == 0 || dryRun {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT uuid FROM operations WHERE "+old, at)
		if err != nil {
			return err
		}
		var ops []uuid.UUID
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				return err
			}
			ops = append(ops, uuid.UUID(b))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, op := range ops {
			if _, err := tx.ExecContext(ctx, "UPDATE events SET body = NULL WHERE op = ?", op[:]); err != nil {
				return err
			}
			if err := a.add(ctx, op, evPruned, nil); err != nil {
				return err
			}
			// What was where is private: the row keeps what undo numbers need and nothing that names a file.
			if _, err := tx.ExecContext(ctx, "UPDATE operations SET pruned = 1, root = '', command = '' WHERE uuid = ?", op[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune journal %s: %w", j.path, err)
	}
	if n > 0 && !dryRun {
		for _, q := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} { // so that the bytes are really gone
			if _, err := j.db.ExecContext(ctx, q); err != nil {
				return n, fmt.Errorf("prune journal %s: %w", j.path, err)
			}
		}
	}
	return n, nil
}

// Recall asks whoever the log was carried to that they erase operations; this journal keeps them, and they can be undone as
// before. An operation and those that undid or redid it name the same files and go together. all means every operation that was not recalled yet.
// It returns how many were recalled now.
func (j *Journal) Recall(ctx context.Context, ops []Operation, all bool) (int, error) {
	n := 0
	err := j.append(ctx, func(a *appender) error {
		ids := map[int64]bool{}
		for _, o := range ops {
			ids[o.ID] = true
			if o.Undoes != 0 {
				ids[o.Undoes] = true
			}
		}
		rows, err := a.tx.QueryContext(ctx, "SELECT id, uuid, undoes FROM operations WHERE uuid NOT IN (SELECT op FROM events WHERE kind = ?) ORDER BY id", evRecalled)
		if err != nil {
			return err
		}
		var chosen []uuid.UUID
		for rows.Next() {
			var id, undoes int64
			var b []byte
			if err := rows.Scan(&id, &b, &undoes); err != nil {
				return errors.Join(err, rows.Close())
			}
			if all || ids[id] || ids[undoes] {
				chosen = append(chosen, uuid.UUID(b))
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, op := range chosen {
			if err := a.add(ctx, op, evRecalled, nil); err != nil {
				return err
			}
		}
		n = len(chosen)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("journal %s: recall operations: %w", j.path, err)
	}
	return n, nil
}
