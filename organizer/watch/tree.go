package watch

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// tree watches one root: it knows its state, and turns what happens in it into "settled".
type tree struct {
	w    *Watcher
	opt  *Options
	root string
	id   identity // of the folder that was given: only that one is watched

	look chan struct{}
	ask  chan time.Duration

	// All below belongs to the goroutine of run, and before it to Start.
	settling
	since  time.Time // when the changes began of which the caller is about to be told
	state  Kind      // Back when it is there, or Gone or Replaced
	reason string    // why it is polled, as was told last

	// The system tells of changes:
	notify  *notifier
	watched map[string]bool
	stale   bool // folders were renamed: some are watched under names that they no longer have

	// Or the folder is looked at:
	polling  bool
	interval time.Duration
	nextPoll time.Time
	files    map[string]stamp
}

// stamp is what shows that a file has changed.
type stamp struct{ size, mtime int64 }

func newTree(w *Watcher, root string, id identity) *tree {
	return &tree{w: w, opt: &w.opt, root: root, id: id, look: make(chan struct{}, 1), ask: make(chan time.Duration, 8), since: time.Now(),
		state: Back, settling: settling{quiet: w.opt.Quiet, longest: max(w.opt.Longest, w.opt.Quiet)}}
}

func (t *tree) lookNow() {
	select {
	case t.look <- struct{}{}:
	default:
	}
}

func (t *tree) askAgain(d time.Duration) {
	select {
	case t.ask <- d:
	default: // it was asked for already
	}
}

func (t *tree) run(ctx context.Context) {
	defer t.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	nextCheck := time.Now().Add(checkEvery)
	for {
		wake := nextCheck
		if t.state == Back {
			if at, ok := t.due(); ok && at.Before(wake) {
				wake = at
			}
			if t.polling && t.nextPoll.Before(wake) {
				wake = t.nextPoll
			}
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return
		case <-t.events():
			t.drain()
		case <-t.look:
			t.check()
			t.w.awake()
		case d := <-t.ask:
			t.again(time.Now().Add(d))
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(nextCheck) {
			t.check()
			nextCheck = now.Add(checkEvery)
		}
		if t.state != Back {
			continue
		}
		if t.polling && !now.Before(t.nextPoll) {
			t.poll()
		}
		if at, ok := t.due(); ok && !now.Before(at) {
			t.settle(now)
		}
	}
}

// settle says that the root has settled, unless a last look shows that it has not.
func (t *tree) settle(now time.Time) {
	if t.polling && t.poll() && !t.overdue(now) {
		return
	}
	if t.stale {
		t.open()
	}
	t.since = t.settled()
	t.w.setReady(t.root)
}

// changed notes that something has come.
func (t *tree) changed() {
	if t.w.unready(t.root) { // too early: nobody has begun with it
		t.first = t.since
	}
	t.change(time.Now())
}

// check finds out whether the root is still the folder that was given.
func (t *tree) check() {
	id, err := identify(t.root)
	state := Back
	switch {
	case err != nil:
		state = Gone
	case !id.same(t.id):
		state = Replaced
	}
	if state == t.state {
		return
	}
	t.state = state
	t.w.note(Event{Kind: state, Root: t.root, Err: err})
	if state != Back {
		t.shut()
		t.w.unready(t.root)
		return
	}
	t.settled()
	t.open()
	t.since = time.Now()
	t.w.setReady(t.root) // with what came meanwhile
}

// open begins to watch, by the best means there is.
func (t *tree) open() {
	t.shut()
	var err error
	if t.opt.Poll == 0 {
		if t.notify, err = newNotifier(); err == nil {
			t.watched, t.stale = map[string]bool{}, false
			if err = t.add(t.root); err == nil {
				return
			}
		}
	}
	if os.IsNotExist(err) {
		err = nil // check will tell
	}
	t.fallBack(err)
}

// fallBack looks at the root from now on, since the system does not tell of changes.
func (t *tree) fallBack(err error) {
	t.shut()
	t.polling, t.interval = true, t.opt.Poll
	if t.interval == 0 {
		t.interval = pollEvery
	}
	t.files = nil
	t.poll()
	if err != nil && err.Error() != t.reason {
		t.reason = err.Error()
		t.w.note(Event{Kind: Polling, Root: t.root, Err: err, Every: t.interval})
	}
}

func (t *tree) shut() {
	if t.notify != nil {
		t.notify.close()
	}
	t.notify, t.watched, t.polling = nil, nil, false
}

// events wakes run when the system has told something.
func (t *tree) events() <-chan struct{} {
	if t.notify == nil {
		return nil
	}
	return t.notify.wake
}

func (t *tree) drain() {
	events, lost, err := t.notify.take()
	if lost {
		t.stale = true
		t.changed()
	}
	for _, e := range events {
		if t.notify == nil {
			return // looked at from now on
		}
		t.see(e)
	}
	if err != nil && t.notify != nil {
		t.fallBack(err)
		t.changed()
	}
}

// see judges one event. That something went away is no reason to do anything; so what forg itself moves is none either.
func (t *tree) see(e fsnotify.Event) {
	if e.Name == t.root {
		if e.Has(fsnotify.Remove | fsnotify.Rename) {
			t.check()
		}
		return
	}
	if e.Has(fsnotify.Rename) && t.watched[e.Name] {
		t.stale = true
	}
	if e.Has(fsnotify.Remove|fsnotify.Rename) && !e.Has(fsnotify.Create) {
		delete(t.watched, e.Name)
		return
	}
	if !e.Has(fsnotify.Create | fsnotify.Write) {
		return
	}
	if e.Has(fsnotify.Create) {
		// A file that cannot be looked at may lie in a folder that was renamed: to look once more costs little.
		if info, err := os.Lstat(e.Name); err == nil && !info.Mode().IsRegular() {
			if !info.IsDir() || !t.enters(e.Name) {
				return
			}
			if err := t.add(e.Name); err != nil {
				t.fallBack(err)
			}
			t.changed()
			return
		}
	}
	if !t.watched[e.Name] && t.counts(e.Name) {
		t.changed()
	}
}

func (t *tree) counts(path string) bool { return t.opt.Counts == nil || t.opt.Counts(t.root, path) }

// enters reports whether a new folder is watched too. The one it lies in may have become one that is not.
func (t *tree) enters(dir string) bool {
	if t.opt.Enters == nil {
		return false
	}
	up := filepath.Dir(dir)
	return (up == t.root || t.opt.Enters(t.root, up)) && t.opt.Enters(t.root, dir)
}

// add watches dir and the folders below it. Folders that cannot be opened are left out: who reads them says so.
func (t *tree) add(dir string) error {
	if name := networkFS(dir); name != "" {
		return &NetworkError{name}
	}
	if err := t.notify.add(dir); err != nil {
		if dir != t.root && (os.IsNotExist(err) || os.IsPermission(err)) {
			return nil
		}
		return err
	}
	t.watched[dir] = true
	if t.opt.Enters == nil {
		return nil
	}
	entries, _ := os.ReadDir(dir) // after it is watched, so that none can come unseen
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.IsDir() && t.opt.Enters(t.root, path) {
			if err := t.add(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// poll looks at all files. It reports whether there is something new.
func (t *tree) poll() bool {
	start := time.Now()
	now := make(map[string]stamp, len(t.files))
	err := t.list(t.root, now)
	// A slow look, at a big tree or through a slow network, must not become all that the system does.
	t.nextPoll = time.Now().Add(max(t.interval, 20*time.Since(start)))
	was := t.files
	if err != nil { // check finds out why; what is there when it can be read again counts as new
		t.files = map[string]stamp{}
		return false
	}
	t.files = now
	if was == nil {
		return false
	}
	for path, s := range now {
		if old, ok := was[path]; !ok || old != s {
			t.changed()
			return true
		}
	}
	return false
}

func (t *tree) list(dir string, files map[string]stamp) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if t.opt.Enters != nil && t.opt.Enters(t.root, path) {
				t.list(path, files) // without its files, if it cannot be read
			}
		case e.Type()&fs.ModeType == 0 && t.counts(path):
			if info, err := e.Info(); err == nil {
				files[path] = stamp{info.Size(), info.ModTime().UnixNano()}
			}
		}
	}
	return err
}
