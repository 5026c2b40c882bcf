package watch

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// NetworkError says that a folder lies on a network file system, where changes that others make have no events.
type NetworkError struct{ Name string }

func (e *NetworkError) Error() string { return "it lies on a network file system (" + e.Name + ")" }

// notifier takes events from the system as fast as they come, so that the system need not drop any while somebody else is
// slow, and so that folders can be added meanwhile (on Windows that waits for events to be taken).
type notifier struct {
	w    *fsnotify.Watcher
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	events []fsnotify.Event
	lost   bool
	err    error
}

// manyEvents is how many are kept. Of more it is only known that there were some.
const manyEvents = 1 << 16

func newNotifier() (*notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, explain(err)
	}
	n := &notifier{w: w, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go n.pump()
	return n, nil
}

func (n *notifier) add(dir string) error {
	if err := n.w.Add(dir); err != nil {
		return explain(err)
	}
	return nil
}

// explain tells the limits of the system apart from other errors.
func explain(err error) error {
	if isLimit(err) {
		return fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return err
}

func (n *notifier) close() {
	n.w.Close()
	<-n.done
}

func (n *notifier) pump() {
	defer close(n.done)
	events, errs := n.w.Events, n.w.Errors
	for events != nil {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			n.put(e)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			n.mu.Lock()
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				n.lost = true
			} else {
				n.err = explain(err)
			}
			n.mu.Unlock()
		}
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

func (n *notifier) put(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.events) - 1; last >= 0 && n.events[last] == e { // a file that is being written
		return
	}
	if len(n.events) == manyEvents {
		n.events, n.lost = nil, true
	}
	n.events = append(n.events, e)
}

// take returns what has come: events, whether some were lost, and what went wrong.
func (n *notifier) take() ([]fsnotify.Event, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	events, lost, err := n.events, n.lost, n.err
	n.events, n.lost, n.err = nil, false, nil
	return events, lost, err
}
