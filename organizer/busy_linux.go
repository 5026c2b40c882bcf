package organizer

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Busy finds the files below roots that a program has open for writing: downloads, recordings, documents being saved.
// It sees the programs that this user may look into, which are those that could be writing this user's files.
func Busy(roots []string) func(path string) bool {
	open := map[string]bool{}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := strconv.Itoa(os.Getpid())
	buf := make([]byte, unix.PathMax)
	for _, p := range procs {
		if name := p.Name(); name[0] < '0' || name[0] > '9' || name == self {
			continue
		}
		dir := filepath.Join("/proc", p.Name(), "fd")
		fds, err := listNames(dir)
		if err != nil {
			continue // another user's, or gone
		}
		for _, fd := range fds {
			n, err := unix.Readlink(dir+"/"+fd, buf)
			if err != nil || buf[0] != '/' {
				continue
			}
			path := string(buf[:n])
			for _, root := range roots {
				if strings.HasPrefix(path, root) && openForWriting(p.Name(), fd) {
					open[path] = true
				}
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	return func(path string) bool { return open[path] }
}

func openForWriting(pid, fd string) bool {
	info, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + fd)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(info) {
		if rest, ok := bytes.CutPrefix(line, []byte("flags:")); ok {
			flags, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 8, 64)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}
