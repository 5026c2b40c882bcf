package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"forg/journal"
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
	open  func(store.Location) place
	slots chan struct{} // one for each location that is organized at once

	mu   sync.Mutex
	busy map[uuid.UUID]bool
}

func newPlaces(s *server) *places {
	n := s.cfg.Workers
	if n <= 0 {
		n = 2
	}
	p := &places{server: s, open: s.cfg.place, slots: make(chan struct{}, n), busy: map[uuid.UUID]bool{}}
	if p.open == nil {
		p.open = func(l store.Location) place {
			return &folder{top: l.Root, data: placeDir(s.cfg.DataDir, l.ID), set: rules.Builtin(), now: s.cfg.Now}
		}
	}
	return p
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
	for tidied := (time.Time{}); ; {
		open, err := p.store.OpenLocations(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("look for locations with something to do", "error", err)
		}
		for _, l := range open {
			if time.Since(l.Since) < soon {
				continue // a job is on its way
			}
			running.Go(func() {
				if err := p.work(ctx, l.UserID, l.ID); err != nil && !errors.Is(err, journal.ErrLocked) && ctx.Err() == nil {
					p.log.Error("location", "location", l.ID.String(), "error", err)
				}
			})
		}
		if time.Since(tidied) > time.Minute {
			tidied = time.Now()
			if err := p.forgetErased(ctx); err != nil && ctx.Err() == nil {
				p.log.Warn("look for journals of locations that are gone", "error", err)
			}
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
func (p *places) forgetErased(ctx context.Context) error {
	dirs, err := os.ReadDir(filepath.Join(p.cfg.DataDir, "locations"))
	if errors.Is(err, fs.ErrNotExist) || len(dirs) == 0 && err == nil {
		return nil // there were never any
	}
	if err != nil {
		return err
	}
	// Only now: one that is registered and organized from here on has no folder in the list.
	all, err := p.store.AllLocations(ctx)
	if err != nil {
		return err
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
	return nil
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
		o, err := p.store.NextOperation(ctx, user, location)
		if err != nil {
			return final(err) // none is left
		}
		if err := p.carryOut(ctx, &o); err != nil {
			return err
		}
	}
}

// refusal is why an operation failed, in words for its user. Everything else that goes wrong is tried again.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// carryOut does one operation to its end, from wherever an earlier attempt has left it.
func (p *places) carryOut(ctx context.Context, o *store.Operation) error {
	l, err := p.store.LocationByID(ctx, o.UserID, o.DeviceID)
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
	t := &task{places: p, place: p.open(l), journal: j, location: l, operation: *o}
	if err := t.place.settle(ctx, j); err != nil {
		return err
	}
	// Under the lock: somebody may have cancelled it, or another worker have finished it.
	if t.operation, err = p.store.UpdateOperation(ctx, o.UserID, o.ID, store.Progress{Status: api.OpRunning, FilesTotal: o.FilesTotal,
		FilesProcessed: o.FilesProcessed, FilesFailed: o.FilesFailed, DuplicatesFound: o.DuplicatesFound, BytesMoved: o.BytesMoved}); err != nil {
		return final(err)
	}
	if err := t.earlier(ctx); err != nil {
		return err
	}
	p.log.Info("operation begins", "operation", o.ID.String(), "kind", o.Kind, "location", l.ID.String(), "again", len(t.runs) > 0)
	err = t.run(ctx)
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
