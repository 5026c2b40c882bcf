//go:build !linux && !darwin && !freebsd && !windows

package watch

import (
	"errors"
	"syscall"
)

// networkFS is not known here; --poll is for that.
func networkFS(string) string { return "" }

// isLimit reports whether the system refuses to watch any more: kqueue needs an open file for each.
func isLimit(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }
