package organizer

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenBSD has no extended attributes.

const tagsAttribute = ""

func attribute(*os.File, string) ([]byte, error) { return nil, errNoTags }

func changeAttribute(*os.File, string, []byte, []byte) error { return errNoTags }

const errNoXattr = unix.ENOTSUP

func systemXattr(string) bool { return false }

func xattrNames(int) ([]string, error) { return nil, nil }

func xattr(int, string) ([]byte, error) { return nil, unix.ENOTSUP }

func setXattr(int, string, []byte) error { return unix.ENOTSUP }
