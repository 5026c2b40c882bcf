//go:build freebsd || netbsd

package organizer

import "golang.org/x/sys/unix"

const errNoXattr = unix.ENOATTR

// tagsAttribute holds a file's tags, as on Linux.
const tagsAttribute = "user.xdg.tags"

// The system has no flags for these.
const xattrCreate, xattrReplace = 0, 0

// systemXattr is false for all: those of the system's namespace are the superuser's to read and to set, ACLs of UFS
// among them.
func systemXattr(string) bool { return false }

// xattrNames lists the names of both namespaces, which the system gives as a byte of length and the name.
func xattrNames(fd int) ([]string, error) {
	var names []string
	for _, space := range []struct {
		id     int
		prefix string
	}{{unix.EXTATTR_NAMESPACE_USER, "user."}, {unix.EXTATTR_NAMESPACE_SYSTEM, "system."}} {
		n, err := unix.FlistxattrNS(fd, space.id, nil)
		if err == unix.EPERM && space.id == unix.EXTATTR_NAMESPACE_SYSTEM {
			continue
		}
		if err != nil {
			return nil, err
		}
		buf := make([]byte, n)
		if n > 0 {
			if n, err = unix.FlistxattrNS(fd, space.id, buf); err != nil {
				return nil, err
			}
		}
		for b := buf[:n]; len(b) > 0 && len(b) > int(b[0]); b = b[1+int(b[0]):] {
			names = append(names, space.prefix+string(b[1:1+int(b[0])]))
		}
	}
	return names, nil
}
