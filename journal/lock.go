package journal

import (
	"context"
	"fmt"
	"os"
	"time"
)

// lock is an advisory lock of the operating system, released by it when the process dies however it dies.
type lock struct{ f *os.File }

// acquire takes the lock at path, waiting up to wait. It returns ErrLocked when another process holds it.
func acquire(ctx context.Context, path string, wait time.Duration) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := LockFile(ctx, f, wait); err != nil {
		f.Close()
		return nil, err
	}
	return &lock{f}, nil
}

func (l *lock) release() { l.f.Close() }

// LockFile takes the advisory lock of an open file or folder, waiting up to wait, until the file is closed. It returns
// ErrLocked when another process holds it.
func LockFile(ctx context.Context, f *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		ok, err := tryLock(f)
		switch {
		case err != nil:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		case ok:
			return nil
		case !time.Now().Before(deadline):
			return ErrLocked
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(pause, time.Until(deadline))):
		}
	}
}
