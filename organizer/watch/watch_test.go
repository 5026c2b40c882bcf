package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

func begin(t *testing.T, opt Options, roots ...string) *Watcher {
	t.Helper()
	w, err := Start(roots, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if e := next(t, w); e.Kind != Settled || !slices.Equal(e.Roots, roots) {
		t.Fatalf("at first %+v; what came before the start must not be missed", e)
	}
	return w
}

func next(t *testing.T, w *Watcher) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	e, err := w.Next(ctx)
	if err != nil {
		t.Fatal("nothing happened in time")
	}
	return e
}

func want(t *testing.T, w *Watcher, kind Kind, root string) Event {
	t.Helper()
	e := next(t, w)
	if got := strings.Join(append(e.Roots, e.Root), ""); e.Kind != kind || got != root {
		t.Fatalf("got %+v, want kind %d of %s", e, kind, root)
	}
	return e
}

func nothing(t *testing.T, w *Watcher, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if e, err := w.Next(ctx); err == nil {
		t.Fatalf("got %+v, want nothing", e)
	}
}

func write(t *testing.T, text string, parts ...string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(parts...), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// polling runs a test with a clock of its own, on a real folder that is looked at every second.
func polling(t *testing.T, f func(t *testing.T, dir string, opt Options)) {
	synctest.Test(t, func(t *testing.T) {
		f(t, t.TempDir(), Options{Quiet: 5 * time.Second, Longest: time.Minute, Poll: time.Second})
	})
}

func TestQuiet(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		w := begin(t, opt, dir)
		nothing(t, w, time.Hour)
		start := time.Now()
		for range 10 { // one batch, however often something comes
			write(t, "x", dir, "a")
			write(t, "x", dir, fmt.Sprint(time.Since(start)))
			nothing(t, w, 3*time.Second)
		}
		last := time.Now().Add(-3 * time.Second)
		want(t, w, Settled, dir)
		if d := time.Since(last); d < 5*time.Second || d > 8*time.Second {
			t.Errorf("settled %s after the last change, want 5 s and a little", d)
		}
		nothing(t, w, time.Hour)
	})
}

func TestLongest(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		w := begin(t, opt, dir)
		start, settled := time.Now(), 0
		for time.Since(start) < 10*time.Minute {
			write(t, "x", dir, "grows")
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			if _, err := w.Next(ctx); err == nil {
				settled++
			}
			cancel()
		}
		if settled < 8 || settled > 10 {
			t.Errorf("settled %d times in ten minutes of a burst, want about once a minute", settled)
		}
	})
}

// A burst that goes on while the caller is busy is one batch when he comes back.
func TestNotYetTaken(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		w := begin(t, opt, dir)
		write(t, "x", dir, "a")
		time.Sleep(20 * time.Second) // settled, but nobody asks
		write(t, "x", dir, "b")
		time.Sleep(3 * time.Second)
		start := time.Now()
		want(t, w, Settled, dir)
		if d := time.Since(start); d < 2*time.Second {
			t.Errorf("settled %s after the last look, in the middle of a burst", d)
		}
		nothing(t, w, time.Hour)
	})
}

func TestAgain(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		w := begin(t, opt, dir)
		start := time.Now()
		w.Again(dir, time.Hour)
		w.Again(dir, time.Minute)
		want(t, w, Settled, dir)
		if d := time.Since(start); d < time.Minute || d > time.Minute+2*time.Second {
			t.Errorf("asked again after a minute, and it took %s", d)
		}
		nothing(t, w, 2*time.Hour)
	})
}

// What goes away is no news: what forg itself moves must not wake it.
func TestGoesAway(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		do(t, os.Mkdir(filepath.Join(dir, "Documents"), 0o700))
		write(t, "x", dir, "a")
		w := begin(t, opt, dir)
		do(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "Documents", "a")))
		nothing(t, w, time.Hour)
	})
}

func TestCounts(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		opt.Counts = func(_, path string) bool { return filepath.Ext(path) != ".part" }
		w := begin(t, opt, dir)
		write(t, "x", dir, "film.part")
		nothing(t, w, time.Hour)
		do(t, os.Rename(filepath.Join(dir, "film.part"), filepath.Join(dir, "film")))
		want(t, w, Settled, dir)
	})
}

func TestRootComesBack(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		root, away := filepath.Join(dir, "root"), filepath.Join(dir, "away")
		do(t, os.Mkdir(root, 0o700))
		w := begin(t, opt, root)
		do(t, os.Rename(root, away))
		if e := want(t, w, Gone, root); !errors.Is(e.Err, os.ErrNotExist) {
			t.Error(e.Err)
		}
		write(t, "x", away, "a")
		nothing(t, w, time.Hour)
		do(t, os.Mkdir(root, 0o700)) // another one
		write(t, "x", root, "not ours")
		want(t, w, Replaced, root)
		nothing(t, w, time.Hour)
		do(t, os.RemoveAll(root))
		want(t, w, Gone, root)
		do(t, os.Rename(away, root))
		want(t, w, Back, root)
		want(t, w, Settled, root) // with what came meanwhile
		write(t, "x", root, "b")
		want(t, w, Settled, root)
	})
}

func TestNeeds(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		root, into, away := filepath.Join(dir, "root"), filepath.Join(dir, "into"), filepath.Join(dir, "away")
		do(t, errors.Join(os.Mkdir(root, 0o700), os.Mkdir(into, 0o700)))
		opt.Needs = []string{into}
		w := begin(t, opt, root)
		do(t, os.Rename(into, away))
		nothing(t, w, time.Hour) // nothing to do, nothing missing
		write(t, "x", root, "a")
		want(t, w, Gone, into)
		nothing(t, w, time.Hour)
		do(t, os.Rename(away, into))
		want(t, w, Back, into)
		want(t, w, Settled, root)
	})
}

func TestSeveralRoots(t *testing.T) {
	polling(t, func(t *testing.T, dir string, opt Options) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		do(t, errors.Join(os.Mkdir(a, 0o700), os.Mkdir(b, 0o700)))
		w := begin(t, opt, a, b)
		write(t, "x", b, "x")
		want(t, w, Settled, b)
		do(t, os.Rename(a, a+"2"))
		want(t, w, Gone, a)
		write(t, "x", b, "y")
		want(t, w, Settled, b)
	})
}

func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Start([]string{filepath.Join(dir, "none")}, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	write(t, "x", dir, "file")
	if _, err := Start([]string{filepath.Join(dir, "file")}, Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

// Beyond the limits of the system the folder is looked at, and the caller is told once.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := &Watcher{opt: Options{Quiet: time.Second}, wake: make(chan struct{}, 1), ready: map[string]bool{}}
		id, err := identify(dir)
		do(t, err)
		tr := newTree(w, dir, id)
		w.trees = []*tree{tr}
		tr.fallBack(fmt.Errorf("%w: %w", ErrLimit, syscall.ENOSPC))
		ctx, cancel := context.WithCancel(t.Context())
		w.cancel = cancel
		w.done.Go(func() { tr.run(ctx) })
		t.Cleanup(w.Close)
		if e := want(t, w, Polling, dir); !errors.Is(e.Err, ErrLimit) || e.Every != pollEvery {
			t.Errorf("told %+v", e)
		}
		write(t, "x", dir, "a")
		want(t, w, Settled, dir)
	})
}

// All below lets the system tell, in real time.

func events(t *testing.T) (string, Options) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err)
	return dir, Options{Quiet: 150 * time.Millisecond, Longest: 10 * time.Second}
}

func TestEvents(t *testing.T) {
	dir, opt := events(t)
	opt.Counts = func(_, path string) bool { return filepath.Base(path)[0] != '.' }
	w := begin(t, opt, dir)
	nothing(t, w, 300*time.Millisecond)
	for i := range 2000 {
		write(t, "x", dir, fmt.Sprint(i))
	}
	want(t, w, Settled, dir)
	do(t, os.Mkdir(filepath.Join(dir, "Documents"), 0o700))
	for i := range 2000 { // as forg does
		do(t, os.Rename(filepath.Join(dir, fmt.Sprint(i)), filepath.Join(dir, "Documents", fmt.Sprint(i))))
	}
	write(t, "x", dir, ".hidden")
	nothing(t, w, 400*time.Millisecond)
	do(t, os.Rename(filepath.Join(dir, ".hidden"), filepath.Join(dir, "seen")))
	want(t, w, Settled, dir)
	write(t, "more", dir, "seen")
	want(t, w, Settled, dir)
}

func TestEventsBelow(t *testing.T) {
	dir, opt := events(t)
	opt.Enters = func(_, path string) bool { return filepath.Base(path) != "Documents" }
	do(t, os.MkdirAll(filepath.Join(dir, "old", "deep"), 0o700))
	do(t, os.MkdirAll(filepath.Join(dir, "Documents"), 0o700))
	w := begin(t, opt, dir)
	write(t, "x", dir, "old", "deep", "a")
	want(t, w, Settled, dir)
	write(t, "x", dir, "Documents", "a")
	nothing(t, w, 300*time.Millisecond)

	do(t, os.MkdirAll(filepath.Join(dir, "new", "1", "2", "3"), 0o700)) // faster than it can be watched
	want(t, w, Settled, dir)
	write(t, "x", dir, "new", "1", "2", "3", "a")
	want(t, w, Settled, dir)

	do(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "newer")))
	want(t, w, Settled, dir)
	write(t, "x", dir, "newer", "1", "2", "3", "b")
	want(t, w, Settled, dir)
	do(t, os.Mkdir(filepath.Join(dir, "newer", "1", "4"), 0o700))
	want(t, w, Settled, dir)
	write(t, "x", dir, "newer", "1", "4", "c")
	want(t, w, Settled, dir)

	do(t, os.RemoveAll(filepath.Join(dir, "newer")))
	nothing(t, w, 300*time.Millisecond)
}

func TestEventsRootComesBack(t *testing.T) {
	dir, opt := events(t)
	root := filepath.Join(dir, "root")
	do(t, os.Mkdir(root, 0o700))
	w := begin(t, opt, root)
	do(t, os.Rename(root, root+"2"))
	want(t, w, Gone, root)
	do(t, os.Rename(root+"2", root))
	want(t, w, Back, root)
	want(t, w, Settled, root)
	write(t, "x", root, "a")
	want(t, w, Settled, root)
}

// A folder that was removed is not the one that is made in its place, though it may get the same number.
func TestEventsRootMadeAnew(t *testing.T) {
	dir, opt := events(t)
	root := filepath.Join(dir, "root")
	do(t, os.Mkdir(root, 0o700))
	w := begin(t, opt, root)
	do(t, os.Remove(root))
	want(t, w, Gone, root)
	do(t, os.Mkdir(root, 0o700))
	want(t, w, Replaced, root)
}

// What cannot be held is known to have been.
func TestLostEvents(t *testing.T) {
	n := &notifier{}
	for i := range manyEvents + 10 {
		n.put(event(fmt.Sprint(i)))
		n.put(event(fmt.Sprint(i)))
	}
	events, lost, err := n.take()
	if len(events) != 10 || !lost || err != nil {
		t.Errorf("%d events, lost %t, %v", len(events), lost, err)
	}
}

func event(name string) fsnotify.Event { return fsnotify.Event{Name: name, Op: fsnotify.Write} }
