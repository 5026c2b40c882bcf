//go:build !linux

package organizer

import (
	"os"

	"forg/journal"
)

// Only Linux has a call that shares blocks of two files if, and only if, they are the same. clonefile(2) of macOS and block
// cloning of Windows compare nothing, so that what is written meanwhile would be lost.
func shareRange(dup, keep *os.File, at, n int64) (int64, error) { return 0, errNoReflink }

func sharesBlocks(a, b *os.File, size int64) (bool, error) { return false, errNoReflink }

func ownBlocks(*folder, string, journal.Identity) error { return errNoUnshare }
