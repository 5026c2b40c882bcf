package organizer

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/text/unicode/norm"
)

const (
	walk       = unix.O_SEARCH
	hiddenFlag = unix.UF_HIDDEN
	keptFlags  = unix.UF_HIDDEN | unix.UF_NODUMP
	seekData   = unix.SEEK_DATA
	seekHole   = unix.SEEK_HOLE
	errNoXattr = unix.ENOATTR
	// tagsAttribute holds the tags of a file as Finder shows them, a binary property list.
	tagsAttribute = "com.apple.metadata:_kMDItemUserTags"

	xattrCreate, xattrReplace = unix.XATTR_CREATE, unix.XATTR_REPLACE
)

// openFolder opens the folder at path. O_NOFOLLOW_ANY (macOS 11) refuses links on the whole way; it excludes O_NOFOLLOW.
func openFolder(path string) (*folder, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, openDirFlags&^unix.O_NOFOLLOW|unix.O_NOFOLLOW_ANY, 0)
	})
	switch err {
	case unix.ELOOP:
		return nil, errLinkInPath
	case unix.EINVAL, unix.ENOTSUP, unix.ENOTDIR:
		fd, err = openEach(path)
	case unix.EPERM, unix.EACCES:
		// Privacy protection lets nobody list the Trash without being asked, but files may be put into it.
		var e error
		if fd, e = unix.Open(path, openDirFlags&^unix.O_NOFOLLOW|unix.O_NOFOLLOW_ANY|unix.O_SEARCH, 0); e == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return &folder{fd, path}, nil
}

func born(st *unix.Stat_t) int64 { return max(st.Btim.Nano(), 0) }

// fsID is the file system's id. It is made of a device number, so it may be another after a reboot; then files are known
// by inode and birth time, or by size and time of modification.
func fsID(fd int) uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1]))
}

func renameNoReplace(from *folder, name string, to *folder, newName string) error {
	err := retryErr(func() error { return unix.RenameatxNp(from.fd, name, to.fd, newName, unix.RENAME_EXCL) })
	if err == unix.ENOTSUP || err == unix.EINVAL || err == unix.ENOSYS { // FAT, exFAT, SMB
		return renameInSteps(from, name, to, newName)
	}
	return mapErr(err)
}

// exchange swaps two names.
func exchange(a *folder, name string, b *folder, other string) error {
	err := retryErr(func() error { return unix.RenameatxNp(a.fd, name, b.fd, other, unix.RENAME_SWAP) })
	if err == unix.ENOTSUP || err == unix.EINVAL || err == unix.ENOSYS {
		return errNoExchange
	}
	return mapErr(err)
}

// sync makes the folder's names durable. fsync(2) hands them to the disk, which may keep them in its cache for long;
// F_FULLFSYNC makes it write them.
func (f *folder) sync() error {
	_, err := retry(func() (int, error) { return unix.FcntlInt(uintptr(f.fd), unix.F_FULLFSYNC, 0) })
	if err == nil {
		return nil
	}
	return retryErr(func() error { return unix.Fsync(f.fd) }) // network file systems do not know F_FULLFSYNC
}

// syncAll makes the disk write what it was handed by syncContent: one flush of its cache for many files.
func (f *folder) syncAll() error { return f.sync() }

// syncContent hands a file to the disk.
func syncContent(f *os.File) error { return retryErr(func() error { return unix.Fsync(int(f.Fd())) }) }

// foldsNames returns what names of the folder at path have in common that are one name there. Every file system that
// macOS writes ignores how accents are composed, even one that minds case.
func foldsNames(path string) func(string) string {
	const caseSensitive = 11 // _PC_CASE_SENSITIVE
	if v, err := unix.Pathconf(path, caseSensitive); err == nil && v != 0 {
		return composed
	}
	return foldForm
}

// foldForm is foldCase for file systems that also ignore how accents are composed.
func foldForm(name string) string { return norm.NFC.String(foldCase(norm.NFC.String(name))) }

// reflink does nothing: clonefile(2) only makes new files, with all attributes of the old, while the copy was created
// under a name that was free. Files that stay on one volume are renamed, so only --copy would gain.
func reflink(dst, src *os.File) bool { return false }

// clone makes a new file that shares the content of src. It has src's attributes at once.
func clone(src *os.File, to *folder, name string) (*os.File, error) {
	err := retryErr(func() error { return unix.Fclonefileat(int(src.Fd()), to.fd, name, unix.CLONE_NOFOLLOW) })
	switch err {
	case nil:
		return to.open(name)
	case unix.EXDEV:
		return nil, fmt.Errorf("%w with a file on another one", errNoReflink)
	case unix.ENOTSUP:
		return nil, errNoReflink
	}
	return nil, mapErr(err)
}

// systemXattr reports whether an extended attribute is the system's to give: where a file came from, and who was allowed
// to read it. ACLs are no attributes here, and are not carried over to another volume, as with cp(1) without -p.
func systemXattr(name string) bool {
	return name == "com.apple.provenance" || name == "com.apple.macl"
}

// xattrNames lists extended attributes, resource forks among them.
func xattrNames(fd int) ([]string, error) {
	return splitXattrs(func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) })
}

// dropCache asks for reads past the cache, so that they come from the disk.
func dropCache(f *os.File) { unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1) }
