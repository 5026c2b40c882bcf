package organizer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Names are given to the kernel (NtCreateFile and its kin) relative to open folders. Its calls follow no link that they
// are not asked to follow, know no limit of 260 characters, and take NUL, "a." and "a " for the names that they are.

// folder is an open folder. Others cannot rename, remove or swap it while it is open.
type folder struct {
	h    windows.Handle
	path string
}

const (
	shareAll  = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	readNames = windows.FILE_LIST_DIRECTORY | windows.FILE_TRAVERSE | windows.FILE_READ_ATTRIBUTES
)

// Only an administrator may flush a volume (FlushFileBuffers on \\.\C:).
const syncsVolumes = false

// ntOpen opens or creates name in dir; name may be "" for another handle to dir itself.
func ntOpen(dir windows.Handle, name string, access, share, disposition, options uint32) (windows.Handle, error) {
	u, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return 0, err
	}
	oa := windows.OBJECT_ATTRIBUTES{RootDirectory: dir, ObjectName: u, Attributes: windows.OBJ_CASE_INSENSITIVE}
	oa.Length = uint32(unsafe.Sizeof(oa))
	var h windows.Handle
	var iosb windows.IO_STATUS_BLOCK
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE, &oa, &iosb, nil, windows.FILE_ATTRIBUTE_NORMAL, share, disposition,
		options|windows.FILE_SYNCHRONOUS_IO_NONALERT|windows.FILE_OPEN_FOR_BACKUP_INTENT, 0, 0)
	if err != nil {
		return 0, ntErr(err)
	}
	return h, nil
}

// ntErr turns a status of the kernel into an error of Windows, which the standard library knows.
func ntErr(err error) error {
	s, ok := err.(windows.NTStatus)
	switch {
	case err == nil || !ok:
		return err
	case s == windows.STATUS_DELETE_PENDING: // gone, though somebody still has it open
		return windows.ERROR_FILE_NOT_FOUND
	}
	return s.Errno()
}

func mapErr(err error) error {
	switch err {
	case windows.ERROR_NOT_SAME_DEVICE:
		return errCrossDevice
	case windows.ERROR_ALREADY_EXISTS, windows.ERROR_FILE_EXISTS:
		return errExists
	}
	return err
}

// openFolder opens a path folder by folder, refusing links of every kind.
func openFolder(path string) (*folder, error) {
	h, err := openEach(path, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE)
	if err != nil {
		return nil, err
	}
	return &folder{h, path}, nil
}

func openEach(path string, share uint32) (windows.Handle, error) {
	root, parts, err := ntRoot(path)
	if err != nil {
		return 0, err
	}
	open := func(dir windows.Handle, name string, last bool) (windows.Handle, error) {
		access, share, options := uint32(readNames), share, uint32(windows.FILE_OPEN_REPARSE_POINT)
		if !last { // folders on the way need not be readable, and others may do with them what they like
			access, share = windows.FILE_TRAVERSE|windows.FILE_READ_ATTRIBUTES, shareAll
		}
		h, err := ntOpen(dir, name, access, share, windows.FILE_OPEN, options)
		if err == windows.ERROR_ACCESS_DENIED {
			h, err = ntOpen(dir, name, windows.FILE_READ_ATTRIBUTES, share, windows.FILE_OPEN, options)
		}
		if err != nil {
			return 0, err
		}
		m, err := metaOf(h)
		switch {
		case err != nil:
		case m.Mode&modeType == modeLink:
			err = errLinkInPath
		case !isDir(m.Mode):
			err = windows.ERROR_DIRECTORY
		default:
			return h, nil
		}
		windows.CloseHandle(h)
		return 0, err
	}
	h, err := open(0, root, len(parts) == 0)
	for i, part := range parts {
		if err != nil {
			break
		}
		var next windows.Handle
		next, err = open(h, part, i == len(parts)-1)
		windows.CloseHandle(h)
		h = next
	}
	return h, err
}

// again is another handle to the folder, for what needs more rights than looking.
func (f *folder) again(access uint32) (windows.Handle, error) {
	return ntOpen(f.h, "", access, shareAll, windows.FILE_OPEN, windows.FILE_OPEN_REPARSE_POINT)
}

func (f *folder) at(name string, access, share, disposition, options uint32) (windows.Handle, error) {
	if err := checkNTName(name); err != nil {
		return 0, err
	}
	return ntOpen(f.h, name, access, share, disposition, options|windows.FILE_OPEN_REPARSE_POINT)
}

func (f *folder) close() { windows.CloseHandle(f.h) }

func (f *folder) stat(name string) (meta, error) {
	h, err := f.at(name, windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	if err != nil {
		return meta{}, err
	}
	defer windows.CloseHandle(h)
	return metaOf(h)
}

func (f *folder) self() (meta, error) { return metaOf(f.h) }

func statFile(f *os.File) (meta, error) { return metaOf(windows.Handle(f.Fd())) }

// metaOf is what the disk says of an open file. The mode is made up from its kind and from being read-only or not; owners
// are no numbers here and stay 0. The 64 bits of the file index are unique on NTFS, with a count of reuse among them, and
// on a ReFS volume of common size.
func metaOf(h windows.Handle) (meta, error) {
	var d windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &d); err != nil {
		return meta{}, err
	}
	m := meta{Atime: filetime(d.LastAccessTime), Nlink: d.NumberOfLinks, Dev: uint64(d.VolumeSerialNumber), Flags: d.FileAttributes}
	m.Ino = uint64(d.FileIndexHigh)<<32 | uint64(d.FileIndexLow)
	m.Size = int64(d.FileSizeHigh)<<32 | int64(d.FileSizeLow)
	m.Mtime, m.Born = filetime(d.LastWriteTime), filetime(d.CreationTime)
	kind, perm := uint32(modeRegular), uint32(0o666)
	if d.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
		kind, perm = modeDir, 0o777
	} else if d.FileAttributes&windows.FILE_ATTRIBUTE_READONLY != 0 {
		perm = 0o444
	}
	if d.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
		var tag struct{ attributes, tag uint32 }
		if err := windows.GetFileInformationByHandleEx(h, windows.FileAttributeTagInfo, (*byte)(unsafe.Pointer(&tag)), uint32(unsafe.Sizeof(tag))); err != nil {
			return meta{}, err
		}
		if k := reparseKind(tag.tag); k != modeRegular { // a folder kept in a cloud is a folder
			kind = k
		}
	}
	m.Mode = kind | perm
	return m, nil
}

// filetime is 0 for the zero that file systems without such a time give.
func filetime(t windows.Filetime) int64 {
	if t.HighDateTime == 0 && t.LowDateTime == 0 {
		return 0
	}
	return fromFiletime(int64(t.HighDateTime)<<32 | int64(t.LowDateTime))
}

func toWindows(ns int64) *windows.Filetime {
	t := toFiletime(ns)
	return &windows.Filetime{LowDateTime: uint32(t), HighDateTime: uint32(t >> 32)}
}

func (f *folder) volume() uint64 {
	m, err := f.self()
	if err != nil {
		return 0
	}
	return m.Dev
}

// mkdir makes a folder. It gets the permissions that its parent hands down; there is no mode.
func (f *folder) mkdir(name string, _ uint32) error {
	h, err := f.at(name, windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_CREATE, windows.FILE_DIRECTORY_FILE)
	if err != nil {
		return mapErr(err)
	}
	windows.CloseHandle(h)
	return nil
}

func (f *folder) rmdir(name string) error  { return f.remove(name, windows.FILE_DIRECTORY_FILE) }
func (f *folder) unlink(name string) error { return f.remove(name, windows.FILE_NON_DIRECTORY_FILE) }

func (f *folder) remove(name string, kind uint32) error {
	h, err := f.at(name, windows.DELETE|windows.FILE_READ_ATTRIBUTES|windows.FILE_WRITE_ATTRIBUTES, shareAll, windows.FILE_OPEN, kind)
	if err == windows.ERROR_ACCESS_DENIED {
		h, err = f.at(name, windows.DELETE|windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_OPEN, kind)
	}
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	// The name goes at once, also while others have the file open, and being read-only is no obstacle, as on other
	// systems. Windows 10 1809 and NTFS know this way.
	flags := uint32(windows.FILE_DISPOSITION_DELETE | windows.FILE_DISPOSITION_POSIX_SEMANTICS | windows.FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE)
	err = windows.SetFileInformationByHandle(h, windows.FileDispositionInfoEx, (*byte)(unsafe.Pointer(&flags)), uint32(unsafe.Sizeof(flags)))
	if err == nil || err == windows.ERROR_DIR_NOT_EMPTY || err == windows.ERROR_SHARING_VIOLATION {
		return err
	}
	m, err := metaOf(h)
	if err != nil {
		return err
	}
	readOnly := m.Flags&windows.FILE_ATTRIBUTE_READONLY != 0
	if readOnly {
		if err := setBasic(h, nil, m.Flags&^windows.FILE_ATTRIBUTE_READONLY); err != nil {
			return err
		}
	}
	yes := byte(1)
	err = windows.SetFileInformationByHandle(h, windows.FileDispositionInfo, &yes, 1)
	if err != nil && readOnly {
		err = errors.Join(err, setBasic(h, nil, m.Flags))
	}
	return err
}

// basicInfo is FILE_BASIC_INFO. A time of 0 is not changed.
type basicInfo struct {
	created, accessed, written, changed int64
	attributes                          uint32
	_                                   uint32
}

func setBasic(h windows.Handle, times *meta, attributes uint32) error {
	b := basicInfo{attributes: attributes}
	if attributes == 0 {
		b.attributes = windows.FILE_ATTRIBUTE_NORMAL
	}
	if times != nil {
		b.accessed, b.written = toFiletime(times.Atime), toFiletime(times.Mtime)
		if times.Born != 0 {
			b.created = toFiletime(times.Born)
		}
	}
	return windows.SetFileInformationByHandle(h, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&b)), uint32(unsafe.Sizeof(b)))
}

// targetInfo is FILE_RENAME_INFORMATION and FILE_LINK_INFORMATION, with ReplaceIfExists always false.
type targetInfo struct {
	replace bool
	root    windows.Handle
	length  uint32 // bytes
	name    [1]uint16
}

const fileLinkInformation = 11

func setTarget(h windows.Handle, class uint32, to *folder, name string) error {
	if err := checkNTName(name); err != nil {
		return err
	}
	u, err := windows.UTF16FromString(name)
	if err != nil {
		return err
	}
	u = u[:len(u)-1]
	at := int(unsafe.Offsetof(targetInfo{}.name))
	// 64-bit words, so that the handle in it is aligned.
	buf := make([]uint64, (max(at+2*len(u), int(unsafe.Sizeof(targetInfo{})))+7)/8)
	info := (*targetInfo)(unsafe.Pointer(&buf[0]))
	info.root, info.length = to.h, uint32(2*len(u))
	copy(unsafe.Slice((*uint16)(unsafe.Pointer(&info.name)), len(u)), u)
	var iosb windows.IO_STATUS_BLOCK
	err = windows.NtSetInformationFile(h, &iosb, (*byte)(unsafe.Pointer(&buf[0])), uint32(8*len(buf)), class)
	return mapErr(ntErr(err))
}

// renameNoReplace renames. When a name comes free and is taken again within 15 seconds, Windows gives the newcomer the
// birth time of the one that left ("tunneling"); that is put right, since it is part of what a file is known by. A crash
// just in between makes recovery say that it cannot tell, and touch nothing.
func renameNoReplace(from *folder, name string, to *folder, newName string) error {
	h, err := from.at(name, windows.DELETE|windows.FILE_READ_ATTRIBUTES|windows.FILE_WRITE_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	if err == windows.ERROR_ACCESS_DENIED {
		h, err = from.at(name, windows.DELETE|windows.FILE_READ_ATTRIBUTES, shareAll, windows.FILE_OPEN, 0)
	}
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	was, err := metaOf(h)
	if err != nil {
		return err
	}
	if err := setTarget(h, windows.FileRenameInformation, to, newName); err != nil {
		return err
	}
	if now, err := metaOf(h); err == nil && now.Born != was.Born && was.Born != 0 {
		windows.SetFileTime(h, toWindows(was.Born), nil, nil) // without the right to, it stays another file to recovery
	}
	return nil
}

// link gives a file a second name: on NTFS and ReFS.
func link(from *folder, name string, to *folder, newName string) error {
	h, err := from.at(name, windows.FILE_WRITE_ATTRIBUTES, shareAll, windows.FILE_OPEN, windows.FILE_NON_DIRECTORY_FILE)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return setTarget(h, fileLinkInformation, to, newName)
}

// sync makes the folder's names durable, where it may be written to and its file system flushes folders. NTFS and ReFS
// write changes of names in the order in which they were made, so nothing is torn apart without it.
func (f *folder) sync() error {
	h, err := f.again(windows.FILE_WRITE_DATA) // to a folder this means to add files
	if err == windows.ERROR_ACCESS_DENIED || err == windows.ERROR_SHARING_VIOLATION {
		return nil
	}
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	err = windows.FlushFileBuffers(h)
	switch err {
	case windows.ERROR_ACCESS_DENIED, windows.ERROR_INVALID_FUNCTION, windows.ERROR_NOT_SUPPORTED, windows.ERROR_INVALID_PARAMETER,
		windows.ERROR_INVALID_HANDLE:
		return nil
	}
	return err
}

func (f *folder) syncAll() error { return f.sync() }

func syncContent(f *os.File) error { return f.Sync() }

func (f *folder) touch(atime, mtime int64) error {
	h, err := f.again(windows.FILE_WRITE_ATTRIBUTES)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.SetFileTime(h, nil, toWindows(atime), toWindows(mtime))
}

// createAs is create: files have no mode here.
func (f *folder) createAs(name string, _ uint32) (*os.File, error) { return f.create(name) }

func (f *folder) create(name string) (*os.File, error) {
	h, err := f.at(name, windows.FILE_GENERIC_READ|windows.FILE_GENERIC_WRITE, windows.FILE_SHARE_READ|windows.FILE_SHARE_DELETE,
		windows.FILE_CREATE, windows.FILE_NON_DIRECTORY_FILE)
	if err != nil {
		return nil, mapErr(err)
	}
	return os.NewFile(uintptr(h), filepath.Join(f.path, name)), nil
}

// open opens a file of the folder for reading. Files that the file system keeps in a form of its own (packed, in a cloud)
// are opened once more, for their content.
func (f *folder) open(name string) (*os.File, error) {
	h, err := f.at(name, windows.FILE_GENERIC_READ, shareAll, windows.FILE_OPEN, windows.FILE_NON_DIRECTORY_FILE)
	if err == nil {
		var m meta
		if m, err = metaOf(h); err == nil && m.Flags&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
			if isRegular(m.Mode) {
				var content windows.Handle
				if content, err = ntOpen(h, "", windows.FILE_GENERIC_READ, shareAll, windows.FILE_OPEN, windows.FILE_NON_DIRECTORY_FILE); err == nil {
					windows.CloseHandle(h)
					h = content
				}
			} else {
				err = errLinkInPath
			}
		}
		if err != nil {
			windows.CloseHandle(h)
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), filepath.Join(f.path, name)), nil
}

// sub opens a folder in f. No link is followed.
func (f *folder) sub(name string) (*folder, error) {
	h, err := f.at(name, readNames, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, windows.FILE_OPEN, windows.FILE_DIRECTORY_FILE)
	if err != nil {
		return nil, err
	}
	m, err := metaOf(h)
	if err == nil && !isDir(m.Mode) {
		err = errLinkInPath
	}
	if err != nil {
		windows.CloseHandle(h)
		return nil, err
	}
	return &folder{h, filepath.Join(f.path, name)}, nil
}

// names lists what is in the folder, in no order.
func (f *folder) names() ([]string, error) {
	h, err := f.again(windows.FILE_LIST_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(h), f.path)
	defer d.Close()
	return d.Readdirnames(-1)
}

// setTimes sets the times of a file that forg has made.
func setTimes(f *os.File, atime, mtime int64) error {
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, toWindows(atime), toWindows(mtime))
}

var errNoSymlinks = fmt.Errorf("forg makes no symbolic links on Windows, where it takes an administrator to: %w", errors.ErrUnsupported)

// makeSymlink is refused: links to files and to folders are two things here, and most people may make neither.
func makeSymlink(string, *folder, string) error { return errNoSymlinks }

// readlink knows no link, since forg has made none.
func (f *folder) readlink(name string) (string, error) {
	if _, err := f.stat(name); err != nil {
		return "", err
	}
	return "", errNoSymlinks
}

// chmod does nothing: folders have no mode.
func (f *folder) chmod(uint32) error { return nil }

// clone is refused: see reflink.
func clone(*os.File, *folder, string) (*os.File, error) { return nil, errNoReflink }

// tagsAttribute is empty: files have no tags that programs agree on here.
const tagsAttribute = ""

func attribute(*os.File, string) ([]byte, error) { return nil, errNoTags }

func changeAttribute(*os.File, string, []byte, []byte) error { return errNoTags }

// foldsNames returns what names have in common that are one name on Windows. Single folders can be made to mind case, for
// WSL; there a name is numbered that need not be.
func foldsNames(string) func(string) string { return foldCase }

// resolveLinks follows junctions as well as symbolic links, and gives the names as the disk has them.
func resolveLinks(path string) (string, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return "", err
	}
	h, err := windows.CreateFile(p, windows.FILE_READ_ATTRIBUTES, shareAll, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return "", err
	}
	defer windows.CloseHandle(h)
	buf := make([]uint16, 512)
	for {
		n, err := windows.GetFinalPathNameByHandle(h, &buf[0], uint32(len(buf)), 0)
		if err != nil { // RAM disks and other drivers that do not tell
			return filepath.EvalSymlinks(path)
		}
		if int(n) < len(buf) {
			return unextended(windows.UTF16ToString(buf[:n])), nil
		}
		buf = make([]uint16, n+1)
	}
}

// reflink shares nothing: only ReFS can. But here both files are known, and a file must be told before it is written that
// it may have holes.
// noHardLink says why a hard link was refused.
func noHardLink(err error) error {
	if errors.Is(err, windows.ERROR_TOO_MANY_LINKS) {
		return errManyLinks
	}
	return err
}

// exchange is nothing that Windows does for files in two folders.
func exchange(*folder, string, *folder, string) error { return errNoExchange }

func reflink(dst, src *os.File) bool {
	if m, err := statFile(src); err == nil && m.Flags&windows.FILE_ATTRIBUTE_SPARSE_FILE != 0 {
		var n uint32
		windows.DeviceIoControl(windows.Handle(dst.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil) // else it is whole
	}
	return false
}

// dataRanges calls f for the parts of a file that are not holes. Where the file system does not tell, the whole file
// is one part.
func dataRanges(f *os.File, size int64, each func(from, to int64) error) error {
	if m, err := statFile(f); err != nil || m.Flags&windows.FILE_ATTRIBUTE_SPARSE_FILE == 0 {
		return each(0, size)
	}
	type span struct{ at, length int64 }
	var out [256]span
	for at := int64(0); at < size; {
		in := span{at, size - at}
		var n uint32
		err := windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_QUERY_ALLOCATED_RANGES, (*byte)(unsafe.Pointer(&in)),
			uint32(unsafe.Sizeof(in)), (*byte)(unsafe.Pointer(&out)), uint32(unsafe.Sizeof(out)), &n, nil)
		if err != nil && err != windows.ERROR_MORE_DATA {
			return each(at, size)
		}
		found := out[:int(n)/int(unsafe.Sizeof(in))]
		for _, s := range found {
			from, to := max(s.at, at), min(s.at+s.length, size)
			if from >= to {
				continue
			}
			if err := each(from, to); err != nil {
				return err
			}
			at = to
		}
		if err == nil || len(found) == 0 {
			return nil
		}
	}
	return nil
}

const keptAttributes = windows.FILE_ATTRIBUTE_READONLY | windows.FILE_ATTRIBUTE_HIDDEN | windows.FILE_ATTRIBUTE_SYSTEM |
	windows.FILE_ATTRIBUTE_ARCHIVE | windows.FILE_ATTRIBUTE_NOT_CONTENT_INDEXED

// copyAttributes gives dst the alternate streams (Zone.Identifier, where a download came from, is one), attributes and
// times of src. It names what could not be kept. Permissions are those that the new folder hands down, as for every
// file that comes from another volume; permissions that the file had for itself are named as lost.
func copyAttributes(dst, src *os.File, m meta) (lost []string, err error) {
	for _, name := range streams(windows.Handle(src.Fd())) {
		if copyStream(dst, src, name) != nil {
			lost = append(lost, "stream "+name)
		}
	}
	if m.Flags&windows.FILE_ATTRIBUTE_ENCRYPTED != 0 {
		if now, err := statFile(dst); err != nil || now.Flags&windows.FILE_ATTRIBUTE_ENCRYPTED == 0 {
			lost = append(lost, "encryption")
		}
	}
	if ownPermissions(windows.Handle(src.Fd())) {
		lost = append(lost, "permissions")
	}
	if err := setBasic(windows.Handle(dst.Fd()), &m, m.Flags&keptAttributes); err != nil {
		lost = append(lost, "attributes and times")
	}
	return lost, nil
}

// cannotKeep tells what a file system or its rules do not provide for from what failed this time.
func cannotKeep(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// streams are the names of a file's streams besides its content, as :name:$DATA.
func streams(h windows.Handle) []string {
	buf := make([]uint64, 512)
	for {
		err := windows.GetFileInformationByHandleEx(h, windows.FileStreamInfo, (*byte)(unsafe.Pointer(&buf[0])), uint32(8*len(buf)))
		if err == nil {
			break
		}
		if err != windows.ERROR_MORE_DATA || len(buf) > 1<<20 {
			return nil // none, or a file system without them
		}
		buf = make([]uint64, 4*len(buf))
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), 8*len(buf))
	var names []string
	for {
		next, length := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		u := make([]uint16, length/2)
		for i := range u {
			u[i] = binary.LittleEndian.Uint16(b[24+2*i:])
		}
		if name := windows.UTF16ToString(u); name != "" && name != "::$DATA" {
			names = append(names, name)
		}
		if next == 0 {
			return names
		}
		b = b[next:]
	}
}

func copyStream(dst, src *os.File, name string) error {
	from, err := ntOpen(windows.Handle(src.Fd()), name, windows.FILE_GENERIC_READ, shareAll, windows.FILE_OPEN, windows.FILE_NON_DIRECTORY_FILE)
	if err != nil {
		return err
	}
	r := os.NewFile(uintptr(from), name)
	defer r.Close()
	to, err := ntOpen(windows.Handle(dst.Fd()), name, windows.FILE_GENERIC_WRITE, windows.FILE_SHARE_READ, windows.FILE_CREATE, windows.FILE_NON_DIRECTORY_FILE)
	if err != nil {
		return err
	}
	w := os.NewFile(uintptr(to), name)
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Sync(), w.Close())
}

// ownPermissions reports whether a file has permissions that do not come from its folder.
func ownPermissions(h windows.Handle) bool {
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return false // no permissions on FAT
	}
	if control, _, err := sd.Control(); err != nil || control&windows.SE_DACL_PROTECTED != 0 {
		return err == nil
	}
	acl, _, err := sd.DACL()
	if err != nil || acl == nil {
		return false
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(acl, i, &ace) == nil && ace.Header.AceFlags&windows.INHERITED_ACE == 0 {
			return true
		}
	}
	return false
}

func isNotEmpty(err error) bool { return errors.Is(err, windows.ERROR_DIR_NOT_EMPTY) }

// windowsAttributes is the key under which folderAttributes keep the attributes of a folder, four bytes.
const windowsAttributes = "FILE_ATTRIBUTES"

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
	a := folderAttributes{Mode: m.Mode & 0o7777, Atime: d.ID.Atime, Mtime: d.ID.Mtime}
	if kept := m.Flags & keptAttributes; kept != 0 {
		a.Xattrs = map[string][]byte{windowsAttributes: binary.LittleEndian.AppendUint32(nil, kept)}
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return b
}

func (a folderAttributes) restore(path string) error {
	b := a.Xattrs[windowsAttributes]
	if len(b) != 4 {
		return nil
	}
	f, err := openFolder(path)
	if err != nil {
		return err
	}
	defer f.close()
	h, err := f.again(windows.FILE_WRITE_ATTRIBUTES)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return setBasic(h, nil, binary.LittleEndian.Uint32(b))
}

// dropCache does nothing: reads past the cache must be of whole sectors into aligned memory, which a program that hashes
// cannot promise. What is read back may be what Windows still has in memory.
func dropCache(*os.File) {}
