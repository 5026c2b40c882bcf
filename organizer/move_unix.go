//go:build linux || darwin || freebsd || netbsd || openbsd

package organizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

type folder struct {
	fd   int
	path string
}

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openEach opens a path one component at a time, refusing symbolic links.
func openEach(path string) (int, error) {
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" || part == "." })
	flags := func(left int) int { // folders on the way need be searched only, and often cannot be read
		if left > 0 && walk != 0 {
			return openDirFlags | walk
		}
		return openDirFlags
	}
	start := "."
	if strings.HasPrefix(path, "/") {
		start = "/"
	}
	fd, err := unix.Open(start, flags(len(parts)), 0)
	if err != nil {
		return -1, err
	}
	for i, part := range parts {
		next, err := retry(func() (int, error) { return unix.Openat(fd, part, flags(len(parts)-i-1), 0) })
		if err != nil {
			// A link gives ELOOP, EMLINK (FreeBSD) or EFTYPE (NetBSD), with O_DIRECTORY also ENOTDIR, as a plain
			// file does.
			var st unix.Stat_t
			if unix.Fstatat(fd, part, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
				err = errLinkInPath
			}
			unix.Close(fd)
			return -1, err
		}
		unix.Close(fd)
		fd = next
	}
	return fd, nil
}

func retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if err != unix.EINTR {
			return v, err
		}
	}
}

func retryErr(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func mapErr(err error) error {
	switch err {
	case nil:
		return nil
	case unix.EXDEV:
		return errCrossDevice
	case unix.EEXIST:
		return errExists
	}
	return err
}

func (f *folder) close() { unix.Close(f.fd) }

func (f *folder) mkdir(name string, perm uint32) error {
	return mapErr(retryErr(func() error { return unix.Mkdirat(f.fd, name, perm) }))
}

func (f *folder) rmdir(name string) error {
	err := retryErr(func() error { return unix.Unlinkat(f.fd, name, unix.AT_REMOVEDIR) })
	if err == unix.EEXIST { // what some systems say of a folder that is not empty
		return unix.ENOTEMPTY
	}
	return err
}

func (f *folder) unlink(name string) error {
	return retryErr(func() error { return unix.Unlinkat(f.fd, name, 0) })
}

func link(from *folder, name string, to *folder, newName string) error {
	return mapErr(retryErr(func() error { return unix.Linkat(from.fd, name, to.fd, newName, 0) }))
}

// noHardLink says why a hard link was refused.
func noHardLink(err error) error {
	switch err {
	case unix.EMLINK:
		return errManyLinks
	case unix.EPERM:
		return fmt.Errorf("there are no hard links here, or not to a file of somebody else: %w", err)
	}
	return err
}

// linkThenUnlink renames a file without replacing where the kernel or the file system has no call for it. Between the
// two steps the file has both names; recovery takes the new one away.
func linkThenUnlink(from *folder, name string, to *folder, newName string) error {
	if err := link(from, name, to, newName); err != nil {
		return err
	}
	err := from.unlink(name)
	if errors.Is(err, fs.ErrNotExist) { // somebody else was quicker
		return nil
	}
	if err != nil { // it stays where it was
		was, gone := from.stat(name)
		if now, e := to.stat(newName); gone == nil && e == nil && now.SameFile(was.Identity) {
			err = errors.Join(err, to.unlink(newName))
		}
	}
	return err
}

// renameInSteps renames without replacing where there is no single call for it. Every step is refused if the name is
// taken, and after each of them the file has at least one of its names.
func renameInSteps(from *folder, name string, to *folder, newName string) error {
	m, err := from.stat(name)
	if err != nil {
		return err
	}
	if isDir(m.Mode) {
		return renameOntoOwn(from, name, to, newName, true)
	}
	err = linkThenUnlink(from, name, to, newName)
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK):
		// No hard links here (FAT, exFAT), or not of this file.
		return renameOntoOwn(from, name, to, newName, false)
	}
	return err
}

// renameOntoOwn takes the new name with an empty folder or file of our own, which mkdir and O_EXCL refuse if it is
// taken, and renames onto that. rename(2) replaces a folder only if it is empty, so for folders nothing of anybody else's
// can be lost. For files there is a moment, between the last look and the rename, in which a program would have to
// open the empty file that has just appeared and write to it: where neither links nor exclusive renames exist, the
// system offers nothing better.
func renameOntoOwn(from *folder, name string, to *folder, newName string, dir bool) error {
	var ours meta
	var err error
	if dir {
		if err = to.mkdir(newName, 0o700); err == nil {
			ours, err = to.stat(newName)
		}
	} else {
		var f *os.File
		if f, err = to.create(newName); err == nil {
			ours, err = statFile(f)
			f.Close()
		}
	}
	if err != nil {
		return err
	}
	now, err := to.stat(newName)
	if err == nil && (now.Ino != ours.Ino || !dir && now.Size != 0) {
		return errExists // it is somebody else's by now
	}
	if err == nil {
		err = retryErr(func() error { return unix.Renameat(from.fd, name, to.fd, newName) })
	}
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		return errExists // somebody has put something into the folder: it stays
	}
	if err != nil {
		if now, e := to.stat(newName); e == nil && now.Ino == ours.Ino {
			if dir {
				to.rmdir(newName) // only if it is empty
			} else if now.Size == 0 {
				to.unlink(newName)
			}
		}
	}
	return mapErr(err)
}

// open opens a file of the folder for reading, without waiting for a FIFO that may have come in its place.
func (f *folder) open(name string) (*os.File, error) { return openRead(f.fd, name) }

func openRead(dir int, name string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := retry(func() (int, error) { return unix.Openat(dir, name, flags|noAtime, 0) })
	if err == unix.EPERM && noAtime != 0 { // only a file's owner may read it without leaving a trace
		fd, err = retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (f *folder) create(name string) (*os.File, error) { return f.createAs(name, 0o600) }

// createAs creates a file of mode perm, less what the person's umask takes.
func (f *folder) createAs(name string, perm uint32) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
	})
	if err != nil {
		return nil, mapErr(err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(f.path, name)), nil
}

// sub opens a folder in f. No link is followed.
func (f *folder) sub(name string) (*folder, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(f.fd, name, openDirFlags, 0) })
	if err != nil {
		return nil, err
	}
	return &folder{fd, filepath.Join(f.path, name)}, nil
}

// names lists what is in the folder, in no order.
func (f *folder) names() ([]string, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(f.fd, ".", openDirFlags, 0) })
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), f.path)
	defer d.Close()
	return d.Readdirnames(-1)
}

// makeSymlink makes a symbolic link that holds text.
func makeSymlink(text string, to *folder, name string) error {
	return mapErr(retryErr(func() error { return unix.Symlinkat(text, to.fd, name) }))
}

// readlink is the text of a symbolic link; of anything else it is an error.
func (f *folder) readlink(name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Readlinkat(f.fd, name, buf) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func (f *folder) chmod(perm uint32) error {
	return retryErr(func() error { return unix.Fchmod(f.fd, perm) })
}

func (f *folder) touch(atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	return retryErr(func() error { return unix.UtimesNanoAt(f.fd, ".", ts, 0) })
}

func resolveLinks(path string) (string, error) { return filepath.EvalSymlinks(path) }

func isNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) }

func (h *scanHandle) open(name string) (*os.File, error) { return openRead(h.fd, name) }

func modeKind[T uint16 | uint32](mode T) fs.FileMode {
	switch uint32(mode) & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

// dataRanges calls f for the parts of a file that are not holes. Where the file system does not tell, the whole file
// is one part.
func dataRanges(f *os.File, size int64, each func(from, to int64) error) error {
	fd := int(f.Fd())
	if seekData == seekHole {
		return each(0, size)
	}
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, seekData)
		if err == unix.ENXIO {
			return nil // only a hole is left
		}
		if err != nil {
			return each(at, size)
		}
		end, err := unix.Seek(fd, start, seekHole)
		if err != nil || end <= start {
			end = size
		}
		if err := each(start, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// copyAttributes gives dst the owner, mode, extended attributes (on Linux ACLs are among them), flags and times of src.
// It names what the file system of dst cannot keep; that something else went wrong is an error. Content is not its
// business.
func copyAttributes(dst, src *os.File, m meta) (lost []string, err error) {
	d, s := int(dst.Fd()), int(src.Fd())
	keep := func(what string, err error) {
		if cannotKeep(err) {
			lost = append(lost, what)
		}
	}
	owner := retryErr(func() error { return unix.Fchown(d, int(m.UID), int(m.GID)) })
	if cannotKeep(owner) { // only root may give files away, but a group of one's own may be kept
		keep("group", retryErr(func() error { return unix.Fchown(d, -1, int(m.GID)) }))
		if int(m.UID) != os.Geteuid() {
			keep("owner", owner)
		}
		owner = nil
	}
	mode := retryErr(func() error { return unix.Fchmod(d, m.Mode&0o7777) })
	keep("mode", mode)
	names, listed := xattrNames(s)
	if listed == unix.ENOTSUP || listed == unix.EOPNOTSUPP { // there are none
		listed = nil
	}
	keep("extended attributes", listed)
	errs := []error{owner, mode, listed}
	for _, name := range names {
		value, err := xattr(s, name)
		if err == nil {
			err = retryErr(func() error { return setXattr(d, name, value) })
		}
		if err == errNoXattr || systemXattr(name) {
			continue
		}
		keep(name, err)
		errs = append(errs, err)
	}
	if !copyFlags(dst, m) {
		lost = append(lost, "flags")
	}
	times := retryErr(func() error { return setTimes(dst, m.Atime, m.Mtime) })
	keep("times", times)
	for _, err := range append(errs, times) {
		if err != nil && !cannotKeep(err) {
			return lost, fmt.Errorf("copy its attributes: %w", err)
		}
	}
	return lost, nil
}

// cannotKeep tells what a file system or its rules do not provide for from what failed this time.
func cannotKeep(err error) bool {
	return slices.ContainsFunc([]error{unix.EPERM, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.E2BIG},
		func(e error) bool { return errors.Is(err, e) })
}

// splitXattrs are names that a call lists with a NUL after each.
func splitXattrs(list func([]byte) (int, error)) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := list(buf)
		if err == unix.ERANGE {
			buf = make([]byte, 4*len(buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
	}
}

// attributesOf is what it takes to make a folder of the tree again.
func attributesOf(d *Dir) []byte {
	f, err := openFolder(d.Path)
	if err != nil {
		return nil
	}
	defer f.close()
	m, err := f.self()
	if err != nil {
		return nil
	}
	// The times are those before the run, when its files were still in it.
	a := folderAttributes{Mode: m.Mode & 0o7777, UID: m.UID, GID: m.GID, Atime: d.ID.Atime, Mtime: d.ID.Mtime}
	names, _ := xattrNames(f.fd)
	for _, name := range names {
		if v, err := xattr(f.fd, name); err == nil {
			if a.Xattrs == nil {
				a.Xattrs = map[string][]byte{}
			}
			a.Xattrs[name] = v
		}
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return b
}

func (a folderAttributes) restore(path string) error {
	f, err := openFolder(path)
	if err != nil {
		return err
	}
	defer f.close()
	m, err := f.self()
	if err != nil {
		return err
	}
	if m.UID != a.UID || m.GID != a.GID {
		err = retryErr(func() error { return unix.Fchown(f.fd, int(a.UID), int(a.GID)) })
	}
	err = errors.Join(err, retryErr(func() error { return unix.Fchmod(f.fd, a.Mode) }))
	for name, v := range a.Xattrs {
		if e := retryErr(func() error { return setXattr(f.fd, name, v) }); e != nil && !systemXattr(name) {
			err = errors.Join(err, e)
		}
	}
	return err
}
