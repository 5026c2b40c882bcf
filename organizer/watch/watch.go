// Package watch tells when a folder has settled: something has come, and nothing more happens. It changes nothing and
// prints nothing.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Options say what to wait for.
type Options struct {
	// Quiet is how long nothing must have come or changed before a folder has settled.
	Quiet time.Duration
	// Longest is how long a burst without an end may put that off. What is still being written then is for the caller to
	// leave alone.
	Longest time.Duration
	// Poll is how often to look at the folders instead of being told by the system. 0 looks only where the system does
	// not tell: on network file systems, and beyond its limits.
	Poll time.Duration
	// Counts reports whether a file below root is worth waiting for; nil takes every file.
	Counts func(root, path string) bool
	// Enters reports whether a folder below root is watched too, given that the one it lies in is; nil watches none.
	Enters func(root, dir string) bool
	// Needs are folders besides the roots without which nothing has settled: where files will go.
	Needs []string
}

// Kind is what an Event is about.
type Kind uint8

// The kinds of events.
const (
	Settled  Kind = 1 + iota // Roots have settled: they hold what was not there before
	Gone                     // Root was moved, removed or unmounted; the others go on
	Replaced                 // another folder now bears the name of Root: it is not watched
	Back                     // Root is there again
	Polling                  // the system does not tell of changes in Root (Err says why): it is looked at every so often
)

// Event is something that the caller should know.
type Event struct {
	Kind  Kind
	Roots []string      // of Settled, in the order in which they were given
	Root  string        // of the others
	Err   error         // of Gone and Polling
	Every time.Duration // of Polling
}

// ErrLimit says that the system cannot watch as many folders as there are.
var ErrLimit = errors.New("the system's limit of watched folders is reached")

// checkEvery is how often a folder is checked to be the one that was given. Folders can be moved and unmounted without
// an event, by way of a folder above them.
const checkEvery = 2 * time.Second

// pollEvery is how often folders are looked at of which the system tells nothing.
const pollEvery = 10 * time.Second

// Watcher watches folders until it is closed.
type Watcher struct {
	opt    Options
	trees  []*tree
	needs  []need
	cancel context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{} // something below has changed

	mu    sync.Mutex
	ready map[string]bool // roots that have settled and that nobody was told of
	notes []Event
}

// need is a folder that must be there, and whether the caller was told that it is not.
type need struct {
	path string
	id   identity
	told bool
}

// Start watches the folders at roots, absolute paths without symbolic links. All have settled at first, since they may
// hold what came while nobody watched. An error names the folder that is not there.
func Start(roots []string, opt Options) (*Watcher, error) {
	w := &Watcher{opt: opt, wake: make(chan struct{}, 1), ready: map[string]bool{}}
	for _, path := range opt.Needs {
		id, err := identify(path)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", path, err)
		}
		w.needs = append(w.needs, need{path: path, id: id})
	}
	for _, root := range roots {
		id, err := identify(root)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", root, err)
		}
		w.trees = append(w.trees, newTree(w, root, id))
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for _, t := range w.trees {
		t.open() // before the first batch, so that nothing slips through between it and the first event
		w.ready[t.root] = true
	}
	for _, t := range w.trees {
		w.done.Go(func() { t.run(ctx) })
	}
	return w, nil
}

// Close stops watching.
func (w *Watcher) Close() {
	w.cancel()
	w.done.Wait()
}

// Next waits for the next event. Only the error of ctx ends it.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		e, ok := w.next()
		if ok {
			return e, nil
		}
		// Needs have no events: while there is something to do they are looked for.
		var again <-chan time.Time
		if w.lacking() {
			again = time.After(checkEvery)
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-again:
		}
	}
}

// next is what can be told now.
func (w *Watcher) next() (Event, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ready) > 0 {
		w.checkNeeds()
	}
	if len(w.notes) > 0 {
		e := w.notes[0]
		w.notes = w.notes[1:]
		return e, true
	}
	if len(w.ready) == 0 || w.lacking() {
		return Event{}, false
	}
	e := Event{Kind: Settled}
	for _, t := range w.trees {
		if !w.ready[t.root] {
			continue
		}
		if id, err := identify(t.root); err != nil || !id.same(t.id) {
			t.lookNow() // it tells what has become of the folder, or wakes us
			continue
		}
		delete(w.ready, t.root)
		e.Roots = append(e.Roots, t.root)
	}
	return e, len(e.Roots) > 0
}

func (w *Watcher) checkNeeds() {
	for i := range w.needs {
		n := &w.needs[i]
		id, err := identify(n.path)
		e := Event{Kind: Back, Root: n.path}
		switch {
		case err != nil:
			e.Kind, e.Err = Gone, err
		case !id.same(n.id):
			e.Kind = Replaced
		}
		if missing := e.Kind != Back; missing != n.told {
			n.told = missing
			w.notes = append(w.notes, e)
		}
	}
}

// lacking reports whether a need was missing when it was last looked for.
func (w *Watcher) lacking() bool {
	for _, n := range w.needs {
		if n.told {
			return true
		}
	}
	return false
}

// Again lets root settle once more in d at the latest, whether something comes or not: for what could not be dealt with
// yet.
func (w *Watcher) Again(root string, d time.Duration) {
	for _, t := range w.trees {
		if t.root == root {
			t.askAgain(d)
		}
	}
}

func (w *Watcher) note(e Event) {
	w.mu.Lock()
	w.notes = append(w.notes, e)
	w.mu.Unlock()
	w.awake()
}

func (w *Watcher) setReady(root string) {
	w.mu.Lock()
	w.ready[root] = true
	w.mu.Unlock()
	w.awake()
}

// unready takes back that root has settled. It reports whether it had, and nobody was told.
func (w *Watcher) unready(root string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.ready[root]
	delete(w.ready, root)
	return was
}

func (w *Watcher) awake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
