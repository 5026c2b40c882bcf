package organizer

import "golang.org/x/sys/unix"

// OpenBSD has no extended attributes.

const errNoXattr = unix.ENOTSUP

func systemXattr(string) bool { return false }

func xattrNames(int) ([]string, error) { return nil, nil }

func xattr(int, string) ([]byte, error) { return nil, unix.ENOTSUP }

func setXattr(int, string, []byte) error { return unix.ENOTSUP }
