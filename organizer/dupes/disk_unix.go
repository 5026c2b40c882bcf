//go:build unix && !linux

package dupes

import (
	"os"

	"golang.org/x/sys/unix"
)

// openNoWait neither waits for the other end of what has become a FIFO, nor follows what has become a link.
func openNoWait(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
