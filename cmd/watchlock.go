package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"forg/journal"
	"forg/organizer"
)

// Watchers know of each other through files in the state folder, one for each tree, which the watcher keeps locked: the
// lock goes with the process however it ends.

// watcher is what such a file says.
type watcher struct {
	PID       int       `json:"pid"`
	Root      string    `json:"root"`
	RootBytes []byte    `json:"root_bytes,omitempty"`
	Recursive bool      `json:"recursive"`
	Since     time.Time `json:"since"`
}

func (w watcher) root() string {
	if len(w.RootBytes) > 0 {
		return string(w.RootBytes)
	}
	return w.Root
}

// covers reports whether w works on the tree at root, or on a part of it, or that tree on a part of this one's.
func (w watcher) covers(root string, recursive bool) bool {
	a, aerr := os.Stat(w.root())
	b, berr := os.Stat(root)
	return w.root() == root || aerr == nil && berr == nil && os.SameFile(a, b) ||
		w.Recursive && organizer.Within(root, w.root()) || recursive && organizer.Within(w.root(), root)
}

func (a *app) watchersDir() (string, error) {
	d, err := a.stateDir()
	if err != nil {
		return "", fmt.Errorf("find the state folder: %w", err)
	}
	return filepath.Join(d, "watchers"), nil
}

// lockWatch makes this process the only watcher of roots, until unlock is called or it ends.
func (a *app) lockWatch(ctx context.Context, roots []string, recursive bool) (unlock func(), err error) {
	dir, err := a.watchersDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock the tree for this watcher: %w", err)
	}
	running, release, err := runningWatchers(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	for _, root := range roots {
		for _, w := range running {
			if w.covers(root, recursive) {
				return nil, &exitError{exitLocked, fmt.Errorf("watch %s: another forg watch, process %d, watches %s already; stop it first", a.tilde(root), w.PID, a.tilde(w.root()))}
			}
		}
	}
	var files []*os.File
	unlock = func() {
		// Removed before it is unlocked, and while nobody looks: a file without a lock is anybody's to remove.
		_, release, err := runningWatchers(context.Background(), dir)
		for _, f := range files {
			if err == nil {
				os.Remove(f.Name()) // on Windows the next watcher does that
			}
			f.Close()
		}
		if err == nil {
			release()
		}
	}
	for _, root := range roots {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%x.json", sha256.Sum256([]byte(root)))), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			if err = journal.LockFile(ctx, f, 0); err == nil {
				files = append(files, f)
				w := watcher{PID: os.Getpid(), Recursive: recursive, Since: a.now()}
				w.Root, w.RootBytes = organizer.ExactPath(root)
				err = writeWatcher(f, w)
			} else {
				f.Close()
			}
		}
		if err != nil {
			release() // or unlock would wait for it
			unlock()
			return nil, fmt.Errorf("lock %s for this watcher: %w", root, err)
		}
	}
	return unlock, nil
}

// runningWatchers are the watchers at work. Nobody can begin or end watching until release is called.
func runningWatchers(ctx context.Context, dir string) (running []watcher, release func(), err error) {
	door, err := os.OpenFile(filepath.Join(dir, "door"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("look for other watchers: %w", err)
	}
	if err := journal.LockFile(ctx, door, 10*time.Second); err != nil {
		door.Close()
		return nil, nil, fmt.Errorf("look for other watchers: %w", err)
	}
	names, _ := filepath.Glob(filepath.Join(globEscape(dir), "*.json"))
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		err = journal.LockFile(ctx, f, 0)
		if errors.Is(err, journal.ErrLocked) {
			if w, err := readWatcher(f); err == nil {
				running = append(running, w)
			}
		}
		f.Close()
		if err == nil { // of one that was killed
			os.Remove(name)
		}
	}
	return running, func() { door.Close() }, nil
}

// The first byte is empty: on Windows nobody else can read the byte that is locked.

func writeWatcher(f *os.File, w watcher) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append([]byte("\n"), append(text, '\n')...), 0)
	return err
}

func readWatcher(f *os.File) (w watcher, err error) {
	return w, json.NewDecoder(io.NewSectionReader(f, 1, 1<<20)).Decode(&w)
}

// watchers are those at work.
func (a *app) watchers(ctx context.Context) ([]watcher, error) {
	dir, err := a.watchersDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, nil
	}
	running, release, err := runningWatchers(ctx, dir)
	if err != nil {
		return nil, err
	}
	release()
	return running, nil
}
