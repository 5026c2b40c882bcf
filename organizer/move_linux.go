package organizer

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const noAtime = unix.O_NOATIME

func openFolder(path string) (*folder, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: openDirFlags, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	})
	switch {
	case err == unix.ELOOP:
		return nil, errLinkInPath
	case err == unix.ENOSYS || err == unix.EPERM || err == unix.E2BIG: // before Linux 5.6, or filtered in a container
		fd, err = openEach(path)
	}
	if err != nil {
		return nil, err
	}
	return &folder{fd, path}, nil
}

func (f *folder) stat(name string) (meta, error) { return statx(f.fd, name, 0) }
func (f *folder) self() (meta, error)            { return statx(f.fd, "", unix.AT_EMPTY_PATH) }

func statx(fd int, name string, flags int) (meta, error) {
	var st unix.Statx_t
	err := retryErr(func() error {
		return unix.Statx(fd, name, flags|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	if err != nil {
		return meta{}, err
	}
	m := meta{Atime: ns(st.Atime), Nlink: st.Nlink, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), UID: st.Uid, GID: st.Gid}
	m.Ino, m.Size, m.Mtime, m.Mode = st.Ino, int64(st.Size), ns(st.Mtime), uint32(st.Mode)
	if st.Mask&unix.STATX_BTIME != 0 {
		m.Born = ns(st.Btime)
	}
	return m, nil
}

func (f *folder) volume() uint64 { return fsID(f.fd) }

func renameNoReplace(from *folder, name string, to *folder, newName string) error {
	err := retryErr(func() error { return unix.Renameat2(from.fd, name, to.fd, newName, unix.RENAME_NOREPLACE) })
	if err == unix.EINVAL || err == unix.ENOSYS { // some FUSE file systems, older ZFS, NFS
		return linkThenUnlink(from, name, to, newName)
	}
	return mapErr(err)
}

// syncAll makes everything durable that was changed on the folder's file system.
func (f *folder) syncAll() error { return retryErr(func() error { return unix.Syncfs(f.fd) }) }

// foldsNames reports whether names that differ only in case are one name in the folder at path.
func foldsNames(path string) bool {
	f, err := openFolder(path)
	if err != nil {
		return false
	}
	defer f.close()
	if flags, err := unix.IoctlGetInt(f.fd, unix.FS_IOC_GETFLAGS); err == nil && flags&0x40000000 != 0 { // FS_CASEFOLD_FL
		return true
	}
	var st unix.Statfs_t
	if unix.Fstatfs(f.fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, 0x7366746e /* ntfs3 */, 0x482b /* hfs+ */, 0x4244, /* hfs */
		unix.SMB_SUPER_MAGIC, 0xff534d42 /* cifs */, 0xfe534d42 /* smb2 */ :
		return true
	}
	return false
}

func foldName(name string) string { return foldCase(name) }

// reflink makes dst share the content of src where the file system can.
func reflink(dst, src *os.File) bool {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

// dataRanges calls f for the parts of a file that are not holes. Where the file system does not tell, the whole file
// is one part.
func dataRanges(f *os.File, size int64, each func(from, to int64) error) error {
	fd := int(f.Fd())
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil // only a hole is left
		}
		if err != nil {
			return each(at, size)
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
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

// copyAttributes gives dst the owner, mode, extended attributes (ACLs among them) and times of src. It names what could
// not be kept; content is not its business.
func copyAttributes(dst, src *os.File, m meta) (lost []string) {
	d, s := int(dst.Fd()), int(src.Fd())
	if err := unix.Fchown(d, int(m.UID), int(m.GID)); err != nil {
		if err := unix.Fchown(d, -1, int(m.GID)); err != nil {
			lost = append(lost, "group")
		}
		if int(m.UID) != os.Geteuid() {
			lost = append(lost, "owner")
		}
	}
	if err := unix.Fchmod(d, m.Mode&0o7777); err != nil {
		lost = append(lost, "mode")
	}
	names, err := xattrNames(s)
	if err != nil && err != unix.ENOTSUP {
		lost = append(lost, "extended attributes")
	}
	for _, name := range names {
		value, err := xattr(s, name)
		if err == nil {
			err = unix.Fsetxattr(d, name, value, 0)
		}
		if err != nil && err != unix.ENODATA && name != "security.selinux" { // the label is the new folder's to give
			lost = append(lost, name)
		}
	}
	if err := setTimes(dst, m.Atime, m.Mtime); err != nil {
		lost = append(lost, "times")
	}
	return lost
}

func setTimes(f *os.File, atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func xattrNames(fd int) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Flistxattr(fd, buf)
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

func xattr(fd int, name string) ([]byte, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		if err == unix.ERANGE {
			if len(buf) > 1<<20 {
				return nil, err
			}
			buf = make([]byte, 4*len(buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

func isNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) }

// head reads the beginning of a file whose name ends in NUL, by the bare calls: an os.File costs as much again.
func (h *scanHandle) head(name []byte, buf []byte) (int, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	path := unsafeString(name[:len(name)-1])
	fd, err := retry(func() (int, error) { return unix.Openat(h.fd, path, flags|noAtime, 0) })
	if err == unix.EPERM {
		fd, err = retry(func() (int, error) { return unix.Openat(h.fd, path, flags, 0) })
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return retry(func() (int, error) { return unix.Pread(fd, buf, 0) })
}

func (h *scanHandle) open(name string) (*os.File, error) { return openRead(h.fd, name) }

func listNames(path string) ([]string, error) {
	h, err := openScan(path)
	if err != nil {
		return nil, err
	}
	defer h.close()
	var names []string
	err = h.read(&worker{}, func(entries []entry) {
		for _, e := range entries {
			names = append(names, string(e.name))
		}
	})
	return names, err
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
		err = unix.Fchown(f.fd, int(a.UID), int(a.GID))
	}
	err = errors.Join(err, unix.Fchmod(f.fd, a.Mode))
	for name, v := range a.Xattrs {
		if e := unix.Fsetxattr(f.fd, name, v, 0); e != nil && name != "security.selinux" {
			err = errors.Join(err, e)
		}
	}
	return err
}

func statFile(f *os.File) (meta, error) { return statx(int(f.Fd()), "", unix.AT_EMPTY_PATH) }

// dropCache asks the kernel to forget what it has cached of a file, so that the next read comes from the disk.
func dropCache(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
