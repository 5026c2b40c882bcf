package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// treeState is all that undo must bring back of dir and what is below it, a line each.
func treeState(dir string) (string, error) {
	var all strings.Builder
	first := map[[2]uint64]string{} // of an inode with several names
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&all, "%q mode %o owner %d:%d mtime %d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Nano())
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " size %d sha256 %x", st.Size, sha256.Sum256(content))
			if st.Nlink > 1 {
				id := [2]uint64{st.Dev, st.Ino}
				if first[id] == "" {
					first[id] = rel
				}
				fmt.Fprintf(&all, " links %d with %q", st.Nlink, first[id])
			}
		case syscall.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " to %q", to)
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
			xattrs, err := xattrsOf(path)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(xattrs)) {
				fmt.Fprintf(&all, " %s=%q", name, xattrs[name])
			}
		}
		fmt.Fprintf(&all, " inode %d\n", st.Ino)
		return nil
	})
	return all.String(), err
}

func xattrsOf(path string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Listxattr(path, buf)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes of %s: %w", path, err)
	}
	out := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		m, err := unix.Getxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("read attribute %s of %s: %w", name, path, err)
		}
		out[name] = string(value[:m])
	}
	return out, nil
}

// xattr FILE NAME VALUE: sets an extended attribute.
func xattrVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "xattr FILE NAME VALUE")
	ts.Check(unix.Setxattr(ts.MkAbs(args[0]), args[1], []byte(args[2]), 0))
}

func fifoVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "fifo FILE")
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o644))
}

func socketVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "socket FILE")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	ts.Check(err)
	defer unix.Close(fd)
	ts.Check(unix.Bind(fd, &unix.SockaddrUnix{Name: ts.MkAbs(args[0])}))
}

// mount tmpfs DIR OPTIONS, mount bind DIR FROM, or mount readonly DIR: until the script ends.
func mountVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && (len(args) == 3 && (args[0] == "tmpfs" || args[0] == "bind") || len(args) == 2 && (args[0] == "readonly" || args[0] == "xfs")),
		"mount tmpfs DIR OPTIONS | mount bind DIR FROM | mount readonly DIR | mount xfs DIR")
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(dir, 0o755))
	switch args[0] {
	case "tmpfs":
		ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, args[2]))
	case "xfs": // which can share blocks
		image := dir + ".image"
		ts.Check(ts.Exec("truncate", "-s", "400M", image))
		ts.Check(ts.Exec("mkfs.xfs", "-q", image))
		ts.Check(ts.Exec("mount", "-o", "loop", image, dir))
	case "bind":
		ts.Check(unix.Mount(ts.MkAbs(args[2]), dir, "", unix.MS_BIND, ""))
	default:
		ts.Check(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	}
	ts.Defer(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if args[0] == "readonly" {
		ts.Check(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	}
}

// canMount reports whether this process may mount a file system.
func canMount() bool {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return unix.Unmount(dir, unix.MNT_DETACH) == nil
}

// plainly runs f, and the programs it starts, without root's right to pass by permissions.
func plainly(f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for _, c := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER} {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				done <- fmt.Errorf("drop capability %d: %w", c, err)
				return
			}
		}
		done <- f()
	}()
	return <-done
}
