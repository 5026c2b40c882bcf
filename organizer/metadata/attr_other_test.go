//go:build !linux && !darwin && !freebsd && !netbsd

package metadata

import (
	"errors"
	"os"
)

func setAttribute(*os.File, string, []byte) error { return errors.ErrUnsupported }
