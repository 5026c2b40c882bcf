package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Operation is one run of forg that changed something.
type Operation struct {
	ID         int64
	UUID       uuid.UUID
	Kind       string
	Status     Status
	Root       string
	Command    string
	StartedAt  time.Time
	FinishedAt time.Time // zero while running
	Planned    int64     // steps
	Moved      int64     // files
	Skipped    int64
	Failed     int64
	Bytes      int64
	Undoes     int64 // the operation an undo or redo is about, or 0
	UndoneBy   int64
	Pruned     bool
}

const columns = "id, uuid, kind, status, root, command, started_at, finished_at, planned, moved, skipped, failed, bytes, undoes, undone_by, pruned"

func scanOperation(row interface{ Scan(...any) error }) (Operation, error) {
	var o Operation
	var id []byte
	var start, end int64
	err := row.Scan(&o.ID, &id, &o.Kind, &o.Status, &o.Root, &o.Command, &start, &end, &o.Planned, &o.Moved, &o.Skipped,
		&o.Failed, &o.Bytes, &o.Undoes, &o.UndoneBy, &o.Pruned)
	if err != nil {
		return o, err
	}
	if o.UUID, err = uuid.FromBytes(id); err != nil {
		return o, err
	}
	o.StartedAt = time.Unix(0, start)
	if end != 0 {
		o.FinishedAt = time.Unix(0, end)
	}
	return o, nil
}

// Operations yields operations, newest first, that are not pruned.
func (j *Journal) Operations(ctx context.Context) iter.Seq2[Operation, error] {
	return j.operations(ctx, "SELECT "+columns+" FROM operations WHERE pruned = 0 ORDER BY id DESC")
}

// RunningOperations are those without a last word: of a forg at work, or of one that was killed.
func (j *Journal) RunningOperations(ctx context.Context) ([]Operation, error) {
	return collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE status = 'running' ORDER BY id"))
}

// About are the undo and redo operations about operation id, oldest first.
func (j *Journal) About(ctx context.Context, id int64) ([]Operation, error) {
	return collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE undoes = ? ORDER BY id", id))
}

// UndoneOperations are those that were taken back, wholly or in part.
func (j *Journal) UndoneOperations(ctx context.Context) ([]Operation, error) {
	return collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE pruned = 0 AND undoes = 0 AND status IN ('undone', 'partially_undone') ORDER BY id"))
}

// Since are the operations after id that are not pruned, oldest first.
func (j *Journal) Since(ctx context.Context, id int64) ([]Operation, error) {
	return collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE pruned = 0 AND id > ? ORDER BY id", id))
}

func (j *Journal) operations(ctx context.Context, query string, args ...any) iter.Seq2[Operation, error] {
	return func(yield func(Operation, error) bool) {
		rows, err := j.db.QueryContext(ctx, query, args...)
		if err != nil {
			yield(Operation{}, j.explain(err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			o, err := scanOperation(rows)
			if !yield(o, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Operation{}, j.explain(err))
		}
	}
}

func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// Operation finds one by number, by UUID or a unique prefix of it (four characters at least), or by "last" (the newest
// that did not take another back). It returns ErrNone when there is none.
func (j *Journal) Operation(ctx context.Context, ref string) (Operation, error) {
	var row *sql.Row
	if ref == "last" {
		row = j.db.QueryRowContext(ctx, "SELECT "+columns+" FROM operations WHERE pruned = 0 ORDER BY id DESC LIMIT 1")
	} else if id, err := strconv.ParseInt(ref, 10, 64); err == nil && id > 0 && len(ref) < 12 {
		row = j.db.QueryRowContext(ctx, "SELECT "+columns+" FROM operations WHERE id = ?", id)
	}
	if row != nil {
		o, err := scanOperation(row)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return o, j.explain(err)
		}
	}
	hex := strings.ToLower(strings.ReplaceAll(ref, "-", ""))
	if len(hex) < 4 || len(hex) > 32 || strings.Trim(hex, "0123456789abcdef") != "" {
		return Operation{}, fmt.Errorf("operation %q: %w", ref, ErrNone)
	}
	found, err := collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE substr(lower(hex(uuid)), 1, ?) = ? LIMIT 2", len(hex), hex))
	switch {
	case err != nil:
		return Operation{}, err
	case len(found) == 0:
		return Operation{}, fmt.Errorf("operation %q: %w", ref, ErrNone)
	case len(found) > 1:
		return Operation{}, fmt.Errorf("operation %q: more than one begins so; give more of its UUID", ref)
	}
	return found[0], nil
}

// AskedBy is the command by which a server has asked for operation o; zero if a person has, or if that was pruned.
func (j *Journal) AskedBy(ctx context.Context, o Operation) (uuid.UUID, error) {
	var s started
	err := j.bodies(ctx, o, evStarted, func(body []byte) error {
		if body == nil {
			return nil
		}
		return json.Unmarshal(body, &s)
	})
	var command uuid.UUID
	if err == nil && s.CommandID != "" {
		command, err = uuid.Parse(s.CommandID)
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("journal %s: read operation %d: %w", j.path, o.ID, err)
	}
	return command, nil
}

// Answered is what was told of the command that asked for operation op, which may have found nothing to do and so be in
// the journal by its answer alone.
func (j *Journal) Answered(ctx context.Context, op uuid.UUID) (a Answer, ok bool, err error) {
	err = j.bodies(ctx, Operation{UUID: op}, evAnswered, func(body []byte) error {
		if ok = body != nil; !ok {
			return nil
		}
		return json.Unmarshal(body, &a)
	})
	if err != nil {
		return Answer{}, false, fmt.Errorf("journal %s: read the answer about operation %s: %w", j.path, op, err)
	}
	return a, ok, nil
}

// LastNotUndone is the newest operation that undo would take back: neither an undo nor undone. It returns ErrNone when
// there is none.
func (j *Journal) LastNotUndone(ctx context.Context) (Operation, error) {
	return j.one(ctx, "SELECT "+columns+" FROM operations WHERE undoes = 0 AND pruned = 0 AND status NOT IN ('undone', 'running') AND (moved > 0 OR status IN ('interrupted', 'partial', 'partially_undone')) ORDER BY id DESC LIMIT 1")
}

// LastUndo is the newest undo whose operation is still undone, at least in part. It returns ErrNone when there is none.
func (j *Journal) LastUndo(ctx context.Context) (Operation, error) {
	return j.one(ctx, "SELECT "+columns+" FROM operations WHERE kind = 'undo' AND pruned = 0 AND undoes IN (SELECT id FROM operations WHERE status IN ('undone', 'partially_undone')) ORDER BY id DESC LIMIT 1")
}

func (j *Journal) one(ctx context.Context, query string) (Operation, error) {
	o, err := scanOperation(j.db.QueryRowContext(ctx, query))
	if errors.Is(err, sql.ErrNoRows) {
		return o, ErrNone
	}
	return o, j.explain(err)
}

// StepResult is a step with what became of it.
type StepResult struct {
	Step
	State State
	Err   string
	Ino   uint64 // of the file at To, when its content was copied
	Born  int64
	Hash  []byte
}

// Steps yields an operation's steps in order or backwards, with what became of each. Steps of an operation that is running, or that
// nobody has settled since it was cut short, are Unknown unless something was recorded for them.
func (j *Journal) Steps(ctx context.Context, o Operation, backwards bool) iter.Seq2[StepResult, error] {
	return func(yield func(StepResult, error) bool) {
		fail := func(err error) {
			yield(StepResult{}, fmt.Errorf("journal %s: read operation %d: %w", j.path, o.ID, err))
		}
		if o.Pruned {
			fail(errors.New("its steps were pruned"))
			return
		}
		outs, err := j.outcomes(ctx, o)
		if err != nil {
			fail(err)
			return
		}
		ids, err := j.eventIDs(ctx, o, evFiles)
		if err != nil {
			fail(err)
			return
		}
		usual := Done
		if o.Status == Running {
			usual = Unknown
		}
		if backwards {
			slices.Reverse(ids)
		}
		for _, id := range ids { // one event at a time: no cursor stays open while the caller works
			var body []byte
			if err := j.db.QueryRowContext(ctx, "SELECT body FROM events WHERE n = ?", id).Scan(&body); err != nil {
				fail(err)
				return
			}
			steps, err := decodeSteps(body)
			if err != nil {
				fail(err)
				return
			}
			if backwards {
				slices.Reverse(steps)
			}
			for _, s := range steps {
				r := StepResult{Step: s, State: usual}
				if out, ok := outs.find(s.No); ok {
					r.Err, r.Ino, r.Born, r.Hash = out.Err, out.Ino, out.Born, out.Hash
					if r.State = out.State; o.Status != Running && (r.State == Copied || r.State == Copying) {
						r.State = Done
					}
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// results answers what became of a step: single ones by number, long runs by range, later word over earlier, but a
// later word without a hash does not forget the hash of the copy.
type results struct {
	one    map[int64]Outcome
	ranges []Outcome
}

func (r *results) find(no int64) (Outcome, bool) {
	if o, ok := r.one[no]; ok {
		return o, true
	}
	for i := len(r.ranges) - 1; i >= 0; i-- {
		if o := r.ranges[i]; o.No <= no && no < o.No+o.Count {
			return o, true
		}
	}
	return Outcome{}, false
}

func (r *results) add(o Outcome) {
	if o.Count > 1 {
		for no := range r.one {
			if o.No <= no && no < o.No+o.Count {
				delete(r.one, no)
			}
		}
		r.ranges = append(r.ranges, o)
		return
	}
	if was, ok := r.one[o.No]; ok && len(o.Hash) == 0 {
		o.Hash, o.Ino, o.Born = was.Hash, was.Ino, was.Born
	}
	r.one[o.No] = o
}

func (j *Journal) outcomes(ctx context.Context, o Operation) (*results, error) {
	r := &results{one: map[int64]Outcome{}}
	err := j.bodies(ctx, o, evOutcomes, func(body []byte) error {
		outs, err := decodeOutcomes(body)
		for _, out := range outs {
			r.add(out)
		}
		return err
	})
	return r, err
}

func (j *Journal) bodies(ctx context.Context, o Operation, kind string, f func([]byte) error) error {
	rows, err := j.db.QueryContext(ctx, "SELECT body FROM events WHERE op = ? AND kind = ? ORDER BY n", o.UUID[:], kind)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var body sql.RawBytes
		if err := rows.Scan(&body); err != nil {
			return err
		}
		if err := f(body); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (j *Journal) eventIDs(ctx context.Context, o Operation, kind string) ([]int64, error) {
	rows, err := j.db.QueryContext(ctx, "SELECT n FROM events WHERE op = ? AND kind = ? ORDER BY n", o.UUID[:], kind)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// FolderTimes is when the folders that o changed were last changed by it.
func (j *Journal) FolderTimes(ctx context.Context, o Operation) (map[string]int64, error) {
	times := map[string]int64{}
	err := j.bodies(ctx, o, evFolders, func(body []byte) error {
		list, err := decodeFolderTimes(body)
		for _, t := range list {
			times[t.Path] = t.Mtime
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("journal %s: read operation %d: %w", j.path, o.ID, err)
	}
	return times, nil
}

// Trouble is something wrong with a journal.
type Trouble struct {
	What  string
	Fixed bool
}

// Check reads the whole journal: SQLite's own check, the numbering and the hash chain of the events, that every event
// can be decoded, and that the operations are what the events add up to. With fix it rebuilds the latter.
func (j *Journal) Check(ctx context.Context, fix bool) ([]Trouble, error) {
	var troubles []Trouble
	say := func(format string, args ...any) {
		troubles = append(troubles, Trouble{What: fmt.Sprintf(format, args...)})
	}
	rows, err := j.db.QueryContext(ctx, "PRAGMA integrity_check(10)")
	if err != nil {
		return nil, j.explain(err)
	}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		if line != "ok" {
			say("SQLite: %s", line)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, j.explain(err)
	}
	if err := j.checkChain(ctx, say); err != nil {
		return nil, j.explain(err)
	}
	wrong, err := j.checkOperations(ctx, fix)
	return append(troubles, wrong...), j.explain(err)
}

func (j *Journal) checkChain(ctx context.Context, say func(string, ...any)) error {
	rows, err := j.db.QueryContext(ctx, `SELECT e.epoch, p.device, p.epoch, e.seq, e.id, e.op, e.kind, e.at, e.sha, e.chain, e.body
		FROM events e JOIN epochs p ON p.n = e.epoch ORDER BY e.epoch, e.seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var epoch, seq int64
	var chain [32]byte
	for rows.Next() {
		var ep, s, at int64
		var device, epochID, id, op, sha, ch, body []byte
		var kind string
		if err := rows.Scan(&ep, &device, &epochID, &s, &id, &op, &kind, &at, &sha, &ch, &body); err != nil {
			return err
		}
		if ep != epoch {
			epoch, seq, chain = ep, 0, genesis(device, epochID)
		}
		if s != seq+1 {
			say("event %d of epoch %d follows event %d", s, ep, seq)
		}
		if len(id) != 16 || len(op) != 16 || len(sha) != 32 || len(ch) != 32 {
			say("event %d of epoch %d is malformed", s, ep)
			seq = s
			continue
		}
		if body != nil || kind == evPruned || kind == evRecalled {
			if h := eventHash(s, uuid.UUID(id), uuid.UUID(op), kind, at, body); h != [32]byte(sha) {
				say("event %d of epoch %d is not what was written", s, ep)
			}
			if err := decodable(kind, body); err != nil {
				say("event %d of epoch %d: %v", s, ep, err)
			}
		}
		if chain = link(chain, [32]byte(sha)); chain != [32]byte(ch) {
			say("the hash chain breaks at event %d of epoch %d", s, ep)
			chain = [32]byte(ch)
		}
		seq = s
	}
	return rows.Err()
}

func decodable(kind string, body []byte) error {
	var err error
	switch kind {
	case evFiles:
		_, err = decodeSteps(body)
	case evOutcomes:
		_, err = decodeOutcomes(body)
	case evFolders:
		_, err = decodeFolderTimes(body)
	case evStarted:
		err = json.Unmarshal(body, new(started))
	case evFinished:
		err = json.Unmarshal(body, new(Finish))
	case evAnswered:
		err = json.Unmarshal(body, new(Answer))
	}
	return err
}

// checkOperations compares the operations table with the last word of each operation's events.
func (j *Journal) checkOperations(ctx context.Context, fix bool) ([]Trouble, error) {
	all, err := collect(j.operations(ctx, "SELECT "+columns+" FROM operations WHERE pruned = 0 ORDER BY id"))
	if err != nil {
		return nil, err
	}
	type word struct {
		Finish
		has bool
	}
	last := map[int64]*word{}
	want := map[int64]Status{}
	for _, o := range all {
		w := &word{}
		err := j.bodies(ctx, o, evFinished, func(body []byte) error {
			w.Finish = Finish{}
			w.has = true
			return json.Unmarshal(body, &w.Finish)
		})
		if err != nil {
			return nil, err
		}
		last[o.ID] = w
		want[o.ID] = Running
		if w.has {
			want[o.ID] = w.Status
			if o.Undoes != 0 && w.RootStatus != "" {
				want[o.Undoes] = w.RootStatus
			}
		}
	}
	var troubles []Trouble
	for _, o := range all {
		w := last[o.ID]
		if o.Status == want[o.ID] && (!w.has || o.Moved == w.Moved && o.Bytes == w.Bytes && o.Failed == w.Failed) {
			continue
		}
		t := Trouble{What: fmt.Sprintf("operation %d is listed as %s, its events say %s", o.ID, o.Status, want[o.ID])}
		if fix {
			_, err := j.db.ExecContext(ctx, "UPDATE operations SET status = ?, moved = ?, skipped = ?, failed = ?, bytes = ? WHERE id = ?",
				want[o.ID], w.Moved, w.Skipped, w.Failed, w.Bytes, o.ID)
			if err != nil {
				return troubles, err
			}
			t.Fixed = true
		}
		troubles = append(troubles, t)
	}
	return troubles, nil
}
