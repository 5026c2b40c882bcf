package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"forg/journal"
	"forg/organizer"
	"forg/rules"
	"forg/sync/api"
	"forg/sync/server/store"
)

// places organizes storage locations: folders of this machine that the operator has registered. Each has a journal of its
// own, as a person's computer has, and its lock is what keeps two workers out of one location. When a worker dies the
// kernel lets go of the lock, so whoever looks next takes the operation up again: it settles what was done from the disk
// and goes on. A job of the queue is therefore only a hint that there is something to do, and may come twice or late.
type places struct {
	*server
	set   *rules.Set
	slots chan struct{} // one for each location that is organized at once

	mu   sync.Mutex
	busy map[uuid.UUID]bool
}

func newPlaces(s *server) *places {
	n := s.cfg.Workers
	if n <= 0 {
		n = 2
	}
	return &places{server: s, set: rules.Builtin(), slots: make(chan struct{}, n), busy: map[uuid.UUID]bool{}}
}

// placeDir is where the journal and the trash of a location are.
func placeDir(dataDir string, location uuid.UUID) string {
	return filepath.Join(dataDir, "locations", location.String())
}

// placeArgs are the arguments of a job: ids only, since jobs are kept for a while after their end.
type placeArgs struct {
	User      uuid.UUID `json:"user"`
	Location  uuid.UUID `json:"location"`
	Operation uuid.UUID `json:"operation"`
}

// Kind is the job's name in the queue.
func (placeArgs) Kind() string { return "organize_location" }

func placeJob(user, location, operation uuid.UUID) *store.Job {
	return &store.Job{Args: placeArgs{user, location, operation}}
}

type placeWorker struct {
	river.WorkerDefaults[placeArgs]
	places *places
}

// Timeout is none: a large folder takes its time, and the end of the process ends the job.
func (*placeWorker) Timeout(*river.Job[placeArgs]) time.Duration { return -1 }

// Work does what there is to do in the job's location.
func (w *placeWorker) Work(ctx context.Context, job *river.Job[placeArgs]) error {
	err := w.places.work(ctx, job.Args.User, job.Args.Location)
	switch {
	case errors.Is(err, journal.ErrLocked), ctx.Err() != nil:
		return river.JobSnooze(2 * time.Second) // whoever is at work there does this one as well, most likely
	case err != nil:
		w.places.metrics.add("forg_jobs_total", `result="failed"`, 1)
		w.places.log.Error("job", "location", job.Args.Location.String(), "error", err)
		return errors.New("see the log") // the queue keeps errors, and must not keep paths
	}
	w.places.metrics.add("forg_jobs_total", `result="done"`, 1)
	return nil
}

func (p *places) queueConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &placeWorker{places: p})
	c := &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2 * cap(p.slots)}},
		Logger: slog.New(levelHandler{p.log.Handler()}), JobTimeout: -1, FetchPollInterval: time.Second,
		// What a job needs to go on is in its location's journal. What the queue keeps is for the operator to look at.
		CompletedJobRetentionPeriod: time.Hour,
	}
	if !p.store.Postgres() {
		// Asking for notifications, or often for jobs, costs an idle server 2 % of a processor on SQLite. There is one
		// process, so watch hears of what there is to do without asking.
		c.PollOnly, c.FetchPollInterval = true, 2*time.Second
	}
	return c
}

// levelHandler leaves out of a library's log what is no trouble.
type levelHandler struct{ slog.Handler }

// Enabled reports whether the level is one of trouble.
func (h levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

// watch takes up what a worker that died has left, and what the queue has lost; on SQLite also what has just been asked for.
func (p *places) watch(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	news := make(chan struct{}, 1)
	soon := time.Second // that a job of PostgreSQL's queue takes to arrive
	if !p.store.Postgres() {
		soon = 0
		defer p.store.Subscribe(func(e store.Event) {
			if e.Kind == store.EventOperation && e.Seq == 1 {
				wake(news)
			}
		})()
	}
	for {
		all, err := p.store.AllLocations(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("look for locations with something to do", "error", err)
		}
		for _, l := range all {
			if o, err := p.oldest(ctx, l.UserID, l.ID); err != nil || o == nil || time.Since(o.CreatedAt) < soon {
				continue // nothing to do, or a job is on its way
			}
			running.Go(func() {
				if err := p.work(ctx, l.UserID, l.ID); err != nil && !errors.Is(err, journal.ErrLocked) && ctx.Err() == nil {
					p.log.Error("location", "location", l.ID.String(), "error", err)
				}
			})
		}
		if err == nil {
			p.forgetErased(all)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Second):
		case <-news:
			time.Sleep(20 * time.Millisecond) // several may come at once
		}
	}
}

// forgetErased removes the journals of locations that are not registered any more.
func (p *places) forgetErased(all []store.Location) {
	dirs, err := os.ReadDir(filepath.Join(p.cfg.DataDir, "locations"))
	if err != nil {
		return // there were never any
	}
	for _, d := range dirs {
		id, err := uuid.Parse(d.Name())
		if err != nil || slices.ContainsFunc(all, func(l store.Location) bool { return l.ID == id }) {
			continue
		}
		p.mu.Lock()
		busy := p.busy[id]
		p.mu.Unlock()
		// The trash stays: what is in it is somebody's files.
		if dir := placeDir(p.cfg.DataDir, id); !busy {
			for _, name := range []string{"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"} {
				_ = os.Remove(filepath.Join(dir, name)) // another worker may have been quicker
			}
			_ = os.Remove(dir) // if it is empty now
		}
	}
}

// oldest is the operation of a location that is to be carried out next, or nil.
func (p *places) oldest(ctx context.Context, user, location uuid.UUID) (*store.Operation, error) {
	f := store.OperationFilter{Device: location, Status: []api.OperationStatus{api.OpPending, api.OpRunning}}
	var last *store.Operation
	for page := (store.Page{Limit: 500}); ; {
		all, next, err := p.store.Operations(ctx, user, f, page)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			last = &all[len(all)-1]
		}
		if page.Cursor = next; next == "" {
			return last, nil
		}
	}
}

// work carries out the open operations of a location, one after another. It returns journal.ErrLocked while somebody else
// does.
func (p *places) work(ctx context.Context, user, location uuid.UUID) error {
	p.mu.Lock()
	if p.busy[location] {
		p.mu.Unlock()
		return journal.ErrLocked
	}
	p.busy[location] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.busy, location)
		p.mu.Unlock()
	}()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		o, err := p.oldest(ctx, user, location)
		if err != nil || o == nil {
			return err
		}
		if err := p.carryOut(ctx, o); err != nil {
			return err
		}
	}
}

// refusal is why an operation failed, in words for its user. Everything else that goes wrong is tried again.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// carryOut does one operation to its end, from wherever an earlier attempt has left it.
func (p *places) carryOut(ctx context.Context, o *store.Operation) error {
	l, err := p.location(ctx, o.UserID, o.DeviceID)
	if errors.Is(err, store.ErrNotFound) {
		_, err := p.store.UpdateOperation(ctx, o.UserID, o.ID, store.Progress{Status: api.OpFailed, Error: "the storage location was removed"})
		return final(err)
	}
	if err != nil {
		return err
	}
	j, err := journal.Open(ctx, filepath.Join(placeDir(p.cfg.DataDir, l.ID), "journal.db"), journal.Options{Now: p.cfg.Now})
	if err != nil {
		return err
	}
	defer j.Close()
	if _, err := organizer.Recover(ctx, j); err != nil {
		return err
	}
	t := &task{places: p, journal: j, location: l, operation: *o}
	// Under the lock: somebody may have cancelled it, or another worker have finished it.
	if t.operation, err = p.store.UpdateOperation(ctx, o.UserID, o.ID, store.Progress{Status: api.OpRunning, FilesTotal: o.FilesTotal,
		FilesProcessed: o.FilesProcessed, FilesFailed: o.FilesFailed, DuplicatesFound: o.DuplicatesFound, BytesMoved: o.BytesMoved}); err != nil {
		return final(err)
	}
	if err := t.earlier(ctx); err != nil {
		return err
	}
	p.log.Info("operation begins", "operation", o.ID.String(), "kind", o.Kind, "location", l.ID.String(), "again", len(t.runs) > 0)
	stop := t.report(ctx)
	if o.Kind == "undo" {
		err = t.undo(ctx)
	} else {
		err = t.organize(ctx)
	}
	stop()
	if ctx.Err() != nil {
		return ctx.Err() // it goes on with the next worker
	}
	why := ""
	if no, ok := errors.AsType[refusal](err); ok {
		why, err = no.Error(), nil
	}
	if err != nil {
		return err
	}
	return t.finish(ctx, why)
}

// final leaves nothing of an error that says that an operation has ended: then there is nothing to do.
func final(err error) error {
	if errors.Is(err, store.ErrFinal) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// task is one operation in one location.
type task struct {
	*places
	journal   *journal.Journal
	location  store.Location
	operation store.Operation
	runs      []journal.Operation // of the journal that belong to it, oldest first: one, and more if a worker died

	total      atomic.Int64 // files, planned and done so far, by all runs
	files      atomic.Int64
	bytes      atomic.Int64
	failed     atomic.Int64
	duplicates atomic.Int64
	problems   int

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

// report tells of progress a few times a second, until stop is called.
func (t *task) report(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var last store.Progress
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for ended := false; !ended; {
			select {
			case <-tick.C:
			case <-done:
				ended = true
			}
			now := store.Progress{Status: api.OpRunning, FilesTotal: t.total.Load(), FilesProcessed: t.files.Load(), FilesFailed: t.failed.Load(),
				DuplicatesFound: t.duplicates.Load(), BytesMoved: t.bytes.Load()}
			if now != last && ctx.Err() == nil {
				if _, err := t.store.UpdateOperation(ctx, t.operation.UserID, t.operation.ID, now); err != nil && ctx.Err() == nil {
					t.log.Warn("tell of progress", "operation", t.operation.ID.String(), "error", err)
				}
				last = now
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

// runOptions are those of Apply and Undo; files and bytes are counted on from what earlier runs did.
func (t *task) runOptions(trash func(*organizer.Dir) (organizer.TrashDir, error)) organizer.RunOptions {
	files, bytes := t.files.Load(), t.bytes.Load()
	return organizer.RunOptions{
		Command: command(t.operation.ID), Trash: trash,
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

func (t *task) trash() func(*organizer.Dir) (organizer.TrashDir, error) {
	return organizer.FindTrash(placeDir(t.cfg.DataDir, t.location.ID), os.Getuid())
}

// folder is the folder of the operation, if it is inside the location, whatever links have been made since.
func (t *task) folder() (string, error) {
	top, err := organizer.ResolveDir(t.location.Root)
	if err != nil {
		return "", refuse("the storage location cannot be read")
	}
	root, err := organizer.ResolveDir(t.operation.Root)
	if err != nil {
		return "", refuse("the folder does not exist in the storage location")
	}
	if !organizer.Within(root, top) {
		return "", refuse("the folder leads out of the storage location")
	}
	return root, nil
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
	root, err := t.folder()
	if err != nil {
		return err
	}
	lock, err := os.Open(root)
	if err != nil {
		return refuse("the folder cannot be read")
	}
	defer lock.Close()
	if err := journal.LockFile(ctx, lock, 0); errors.Is(err, journal.ErrLocked) {
		return err // somebody organizes it by hand
	}
	now := t.cfg.Now()
	tree, err := organizer.Scan(ctx, root, t.set, organizer.ScanOptions{Recursive: f.Recursive, Hidden: f.Hidden, Include: f.Include, Exclude: f.Exclude,
		MinAge: f.age, Now: now, Destination: organizer.Destination(t.set, f.By)})
	if err != nil {
		return refuse("%w", err)
	}
	opt := organizer.Options{By: f.By, Conflict: f.OnConflict, Duplicates: f.Duplicates, Detect: f.Detect, PruneEmpty: f.PruneEmpty,
		MaxFiles: f.MaxFiles, Hidden: f.Hidden, Trash: t.trash(), Busy: organizer.Busy(tree.Roots), Now: now}
	if !f.Again {
		if opt.Undone, err = organizer.UndoneFiles(ctx, t.journal, tree.Roots); err != nil {
			return err
		}
	}
	plan, err := organizer.MakePlan(ctx, tree, t.set, opt)
	if many, ok := errors.AsType[*organizer.TooMany](err); ok {
		return refuse("the plan moves %d files, the limit is %d", many.Plan, many.Limit)
	}
	if err != nil && ctx.Err() == nil {
		return refuse("%w", err)
	}
	if err != nil {
		return err
	}
	t.duplicates.Store(int64(len(plan.SameAs)))
	t.total.Add(plan.Files())
	t.problems = len(tree.Problems) + len(plan.Problems)
	run := t.runOptions(opt.Trash)
	run.Conflict = opt.Conflict
	_, err = organizer.Apply(ctx, t.journal, plan, run)
	return err
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
	if _, err := t.folder(); err != nil {
		return err
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
		res, err := organizer.Undo(ctx, t.journal, r, organizer.UndoOptions{RunOptions: t.runOptions(t.trash()), Only: only})
		if err != nil {
			if errors.Is(err, organizer.ErrPattern) {
				return refuse("the glob %q is malformed", what.Only)
			}
			return err
		}
		t.problems += len(res.Problems)
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

var fileStates = map[journal.State]api.FileStatus{journal.Done: api.FileDone, journal.Skipped: api.FileSkipped, journal.Failed: api.FileFailed,
	journal.NotDone: api.FileNotDone, journal.Lost: api.FileLost, journal.Started: api.FileUnknown, journal.Unknown: api.FileUnknown}

// recordOf is a step of the journal as a file record; base is added to its number.
func recordOf(s *journal.StepResult, operation uuid.UUID, base int64, at time.Time) api.FileRecord {
	r := api.FileRecord{OperationID: operation, Seq: base + s.No, Size: s.File.Size, Category: s.Label, Action: s.Action.String(), Error: s.Err}
	r.SourcePath, r.SourcePathBytes = organizer.ExactPath(s.FromPath())
	r.DestinationPath, r.DestinationPathBytes = organizer.ExactPath(s.ToPath())
	r.Status = fileStates[s.State]
	if r.Status == "" {
		r.Status = api.FileUnknown
	}
	if len(s.Hash) == 32 {
		r.ContentHash = fmt.Sprintf("blake3:%x", s.Hash)
	}
	if r.Status == api.FileDone {
		r.MovedAt = at.UTC().Truncate(time.Microsecond)
	}
	const most = 4 << 10 // bytes of an error in a record
	if len(r.Error) > most {
		r.Error = strings.ToValidUTF8(r.Error[:most], "")
	}
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
