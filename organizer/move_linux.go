package organizer

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	noAtime = unix.O_NOATIME
	walk    = unix.O_PATH // folders on the way need not be readable
)

const syncsVolumes = true

const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

const errNoXattr = unix.ENODATA

// tagsAttribute holds a file's tags: https://www.freedesktop.org/wiki/CommonExtendedAttributes/.
const tagsAttribute = "user.xdg.tags"

const xattrCreate, xattrReplace = unix.XATTR_CREATE, unix.XATTR_REPLACE

// syncContent has nothing to do: syncAll is a fifth of the cost of a sync for each file.
func syncContent(*os.File) error { return nil }

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
	m := meta{Atime: ns(st.Atime), Ctime: ns(st.Ctime), Nlink: st.Nlink, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), UID: st.Uid, GID: st.Gid}
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
		return renameInSteps(from, name, to, newName)
	}
	return mapErr(err)
}

// exchange swaps two names.
func exchange(a *folder, name string, b *folder, other string) error {
	err := retryErr(func() error { return unix.Renameat2(a.fd, name, b.fd, other, unix.RENAME_EXCHANGE) })
	if err == unix.EINVAL || err == unix.ENOSYS {
		return errNoExchange
	}
	return mapErr(err)
}

func (f *folder) sync() error { return retryErr(func() error { return unix.Fsync(f.fd) }) }

// syncAll makes everything durable that was changed on the folder's file system.
func (f *folder) syncAll() error { return retryErr(func() error { return unix.Syncfs(f.fd) }) }

// foldsNames returns what names of the folder at path have in common that are one name there although they differ in
// case, nil if every byte counts.
func foldsNames(path string) func(string) string {
	f, err := openFolder(path)
	if err != nil {
		return nil
	}
	defer f.close()
	if flags, err := unix.IoctlGetInt(f.fd, unix.FS_IOC_GETFLAGS); err == nil && flags&0x40000000 != 0 { // FS_CASEFOLD_FL
		return foldCase
	}
	var st unix.Statfs_t
	if unix.Fstatfs(f.fd, &st) != nil {
		return nil
	}
	switch uint32(st.Type) {
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, 0x7366746e /* ntfs3 */, 0x482b /* hfs+ */, 0x4244, /* hfs */
		unix.SMB_SUPER_MAGIC, 0xff534d42 /* cifs */, 0xfe534d42 /* smb2 */ :
		return foldCase
	}
	return nil
}

// reflink makes dst share the content of src where the file system can.
func reflink(dst, src *os.File) bool {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

// clone makes a new file that shares the content of src.
func clone(src *os.File, to *folder, name string) (*os.File, error) {
	dst, err := to.create(name)
	if err != nil {
		return nil, err
	}
	if err := retryErr(func() error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) }); err != nil {
		dst.Close()
		return nil, errors.Join(noReflink(err), to.unlink(name))
	}
	return dst, nil
}

// noReflink says why content cannot be shared.
func noReflink(err error) error {
	switch err {
	case unix.EXDEV:
		return fmt.Errorf("%w with a file on another one", errNoReflink)
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.EINVAL:
		return errNoReflink
	}
	return err
}

// systemXattr reports whether an extended attribute is the new folder's to give.
func systemXattr(name string) bool { return name == "security.selinux" }

func xattrNames(fd int) ([]string, error) {
	return splitXattrs(func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) })
}

// copyFlags has nothing to do: what chattr(1) sets is the file system's business, and none of it comes with rename.
func copyFlags(dst *os.File, m meta) bool { return true }

func setTimes(f *os.File, atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func statFile(f *os.File) (meta, error) { return statx(int(f.Fd()), "", unix.AT_EMPTY_PATH) }

// dropCache asks the kernel to forget what it has cached of a file, so that the next read comes from the disk.
func dropCache(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
