package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"forg/journal"
	"forg/organizer"
	"forg/sync/api"
	"forg/sync/feed"
	"forg/sync/server/store"
)

// task is one operation in one location.
type task struct {
	*places
	place     place
	journal   *journal.Journal
	location  store.Location
	operation store.Operation
	runs      []journal.Operation // of the journal that belong to it, oldest first: one, and more if a worker died

	total      atomic.Int64 // files, planned and done so far, by all runs
	files      atomic.Int64
	bytes      atomic.Int64
	failed     atomic.Int64
	duplicates atomic.Int64
	problems   int64

	mu      sync.Mutex
	records []api.FileRecord // that nobody was told of yet
	base    int64            // number of the last step of earlier runs
}

// command is how the journal names the operation of the service: several operations of a journal can belong to one.
func command(operation uuid.UUID) string { return "forg serve: operation " + operation.String() }

// runsOf finds the operations of the journal that an operation of the service has made, oldest first.
func (t *task) runsOf(ctx context.Context, operation uuid.UUID, since time.Time) ([]journal.Operation, error) {
	var runs []journal.Operation
	for r, err := range t.journal.Operations(ctx) {
		if err != nil {
			return nil, err
		}
		if r.Command == command(operation) {
			runs = append(runs, r)
		} else if r.StartedAt.Before(since.Add(-time.Hour)) { // clocks may be set back a little
			break
		}
	}
	slices.Reverse(runs)
	return runs, nil
}

// earlier counts what earlier attempts have done.
func (t *task) earlier(ctx context.Context) (err error) {
	if t.runs, err = t.runsOf(ctx, t.operation.ID, t.operation.CreatedAt); err != nil {
		return err
	}
	t.base = 0
	var files, bytes, failed int64
	for _, r := range t.runs {
		t.base += r.Planned
		files, bytes, failed = files+r.Moved, bytes+r.Bytes, failed+r.Failed
	}
	t.files.Store(files)
	t.bytes.Store(bytes)
	t.failed.Store(failed)
	t.total.Store(files)
	return nil
}

// errStopped is why a run ends that somebody has asked to stop.
var errStopped = errors.New("it was stopped")

// run does what there is to do, and tells of it. A refusal says why not all of it was done.
func (t *task) run(ctx context.Context) error {
	until, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if t.operation.Stop {
		stop(errStopped)
	}
	end := t.report(ctx, func() { stop(errStopped) })
	var err error
	if t.operation.Kind == "undo" {
		err = t.undo(until)
	} else {
		err = t.organize(until)
	}
	end()
	if ctx.Err() == nil && errors.Is(err, context.Canceled) && context.Cause(until) == errStopped {
		if err := t.place.settle(ctx, t.journal); err != nil {
			return err
		}
		return refusal{errStopped}
	}
	return err
}

// report tells of progress a few times a second until end is called, and calls stop once somebody wants that.
func (t *task) report(ctx context.Context, stop func()) (end func()) {
	const lookEvery = 8 // ticks without anything to tell
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var last store.Progress
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		idle := 0
		for ended := false; !ended; {
			select {
			case <-tick.C:
			case <-done:
				ended = true
			}
			now := store.Progress{Status: api.OpRunning, FilesTotal: t.total.Load(), FilesProcessed: t.files.Load(), FilesFailed: t.failed.Load(),
				DuplicatesFound: t.duplicates.Load(), BytesMoved: t.bytes.Load()}
			var o store.Operation
			var err error
			if idle++; now != last {
				o, err = t.store.UpdateOperation(ctx, t.operation.UserID, t.operation.ID, now)
				last, idle = now, 0
			} else if idle%lookEvery == 0 {
				o, err = t.store.OperationByID(ctx, t.operation.UserID, t.operation.ID)
			}
			if err != nil && ctx.Err() == nil {
				t.log.Warn("tell of progress", "operation", t.operation.ID.String(), "error", err)
			}
			if o.Stop {
				stop()
			}
			t.mu.Lock()
			records := t.records
			t.records = nil
			t.mu.Unlock()
			for part := range slices.Chunk(records, liveFiles) {
				t.hub.files(t.operation.UserID, t.operation.ID, part)
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// runOptions are those of one run; files and bytes are counted on from what earlier runs did.
func (t *task) runOptions() organizer.RunOptions {
	files, bytes := t.files.Load(), t.bytes.Load()
	return organizer.RunOptions{
		Command: command(t.operation.ID),
		Progress: func(n, b int64) {
			t.files.Store(files + n)
			t.bytes.Store(bytes + b)
		},
		Step: func(s *journal.Step, err error) {
			r := journal.StepResult{Step: *s, State: journal.Done}
			if err != nil {
				r.State, r.Err = journal.Failed, err.Error()
				t.failed.Add(1)
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			if len(t.records) < 10*liveFiles { // who watches sees the rest when it is over
				t.records = append(t.records, recordOf(&r, t.operation.ID, t.base, t.cfg.Now()))
			}
		},
	}
}

func (t *task) organize(ctx context.Context) error {
	var raw map[string]any
	if err := json.Unmarshal(t.operation.Options, &raw); err != nil && len(t.operation.Options) > 0 {
		return refuse("the options cannot be read")
	}
	f, err := readOptions(raw)
	if err != nil {
		return refusal{err}
	}
	if f.Rules != "" {
		r, err := t.store.RuleSetByName(ctx, t.operation.UserID, t.location.ID, f.Rules)
		if errors.Is(err, store.ErrNotFound) {
			return refuse("the storage location has no rules %q any more", f.Rules)
		}
		if err != nil {
			return err
		}
		if f.rules, err = ReadRules(r.Name, []byte(r.Source), t.cfg.Now()); err != nil {
			return refuse("the rules %q cannot be read any more", f.Rules)
		}
	}
	planned := func(files, duplicates, problems int64) {
		t.total.Add(files)
		t.duplicates.Store(duplicates)
		t.problems += problems
	}
	return t.place.organize(ctx, t.journal, t.operation.Root, &f, planned, t.runOptions())
}

func (t *task) undo(ctx context.Context) error {
	var what commandParams
	if err := json.Unmarshal(t.operation.Options, &what); err != nil && len(t.operation.Options) > 0 {
		return refuse("the options cannot be read")
	}
	runs, err := t.runsOf(ctx, t.operation.RollbackOf, time.Time{})
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return refuse("what the operation did is not in the journal any more")
	}
	var only []string
	if what.Only != "" {
		only = []string{what.Only}
	}
	for _, r := range runs {
		t.total.Add(r.Moved)
	}
	for _, r := range slices.Backward(runs) {
		if r.Status == journal.Undone {
			continue // an earlier attempt got that far
		}
		problems, err := t.place.undo(ctx, t.journal, t.operation.Root, r, organizer.UndoOptions{RunOptions: t.runOptions(), Only: only})
		if errors.Is(err, organizer.ErrPattern) {
			return refuse("the glob %q is malformed", what.Only)
		}
		if err != nil {
			return err
		}
		t.problems += problems
		t.base += r.Planned
	}
	return nil
}

// finish gives the operation its last word: what the journal says of its runs goes into the log, as a device's history
// would, and the log makes the operation what it is. All of it is one push, so it is there whole or not at all.
func (t *task) finish(ctx context.Context, why string) error {
	o := &t.operation
	if err := t.earlier(ctx); err != nil {
		return err
	}
	end := api.Finished{Status: api.OpCompleted, Processed: t.files.Load(), Failed: t.failed.Load(), Bytes: t.bytes.Load(),
		Duplicates: t.duplicates.Load(), Error: why}
	for _, r := range t.runs {
		end.Skipped += r.Skipped
	}
	switch {
	case why != "" && end.Processed == 0, end.Processed == 0 && end.Failed > 0:
		end.Status = api.OpFailed
	case why != "" || end.Failed+end.Skipped > 0 || t.problems > 0:
		end.Status = api.OpPartial
	}
	if len(t.runs) == 0 { // nothing was moved, so there is no history
		if end.Status == api.OpPartial && why == "" {
			end.Error = fmt.Sprintf("%d files could not be looked at or moved", t.problems)
		}
		_, err := t.store.UpdateOperation(ctx, o.UserID, o.ID, store.Progress{Status: end.Status, DuplicatesFound: end.Duplicates, Error: end.Error})
		return final(err)
	}
	if o.RollbackOf != uuid.Nil {
		if err := t.whatItUndid(ctx, &end); err != nil {
			return err
		}
	}
	entries, err := t.history(ctx, end)
	if err != nil {
		return err
	}
	return t.push(ctx, entries)
}

// whatItUndid says what the operation that was rolled back has become.
func (t *task) whatItUndid(ctx context.Context, end *api.Finished) error {
	runs, err := t.runsOf(ctx, t.operation.RollbackOf, time.Time{})
	if err != nil {
		return err
	}
	all, some := true, false
	for _, r := range runs {
		all = all && r.Status == journal.Undone
		some = some || r.Status == journal.Undone || r.Status == journal.PartiallyUndone
	}
	switch {
	case all:
		end.RootStatus = api.OpUndone
	case some:
		end.RootStatus = api.OpPartiallyUndone
	}
	return nil
}

// chunk is how many file records go into one entry of the log.
const chunk = 2000

// history is the operation as entries of a log, not numbered yet.
func (t *task) history(ctx context.Context, end api.Finished) ([]api.Body, error) {
	o := &t.operation
	begin := &api.Started{Kind: o.Kind, Root: o.Root, RollbackOf: o.RollbackOf}
	if err := json.Unmarshal(o.Options, &begin.Options); err != nil && len(o.Options) > 0 {
		return nil, fmt.Errorf("read options of operation %s: %w", o.ID, err)
	}
	bodies := []api.Body{begin}
	var files api.Files
	base := int64(0)
	for i, r := range t.runs {
		for s, err := range t.journal.Steps(ctx, r, false) {
			if err != nil {
				return nil, err
			}
			// What one run did not reach, the next one did.
			if !s.Counts() || s.State == journal.NotDone && i < len(t.runs)-1 {
				continue
			}
			if files = append(files, recordOf(&s, o.ID, base, r.FinishedAt)); len(files) == chunk {
				bodies, files = append(bodies, files), nil
			}
			begin.Planned++
		}
		base += r.Planned
	}
	if len(files) > 0 {
		bodies = append(bodies, files)
	}
	return append(bodies, &end), nil
}

// recordOf is a step of the journal as a file record, with what became of it at the time given; base is added to its number.
func recordOf(s *journal.StepResult, operation uuid.UUID, base int64, at time.Time) api.FileRecord {
	r := feed.Record(&s.Step, operation, at.UTC().Truncate(time.Microsecond))
	r.Seq += base
	o := feed.Outcome(&journal.Outcome{State: s.State, Err: s.Err, Hash: s.Hash})
	if r.Status, r.Error, r.ContentHash = o.Status, o.Error, o.ContentHash; r.Status != api.FileDone {
		r.MovedAt = time.Time{}
	}
	r.MarkBytes()
	return r
}

// push adds the history to the log of the location. Its numbers go on from what the log has: if this was pushed before and
// the answer got lost, the operation has its last word and nobody comes here again.
func (t *task) push(ctx context.Context, bodies []api.Body) error {
	o := &t.operation
	req := &api.PushRequest{Protocol: api.Protocol, DeviceID: t.location.ID, Epoch: uuid.NewSHA1(t.location.ID, []byte("epoch"))}
	head, err := t.store.Push(ctx, o.UserID, req, 0)
	if err != nil {
		return final(err)
	}
	req.PrevChain = head.Chain
	for i, b := range bodies {
		e, err := api.NewEntry(head.AckedSeq+int64(i)+1, uuid.Must(uuid.NewV7()), o.ID, t.cfg.Now().UnixMicro(), b)
		if err != nil {
			return err
		}
		req.Entries = append(req.Entries, e)
	}
	_, err = t.store.Push(ctx, o.UserID, req, 0)
	if errors.Is(err, store.ErrRevoked) { // the location was removed while it was organized
		_, err = t.store.UpdateOperation(ctx, o.UserID, o.ID, store.Progress{Status: api.OpFailed, FilesProcessed: t.files.Load(), BytesMoved: t.bytes.Load(),
			Error: "the storage location was removed"})
	}
	t.log.Info("operation ends", "operation", o.ID.String(), "entries", len(bodies), "error", err)
	return final(err)
}
