//go:build darwin || freebsd || netbsd

package metadata

import "golang.org/x/sys/unix"

const errNoAttribute = unix.ENOATTR
