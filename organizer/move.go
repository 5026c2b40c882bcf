package organizer

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"forg/journal"
)

// The system calls that change the disk are in move_*.go, a file set for each system. All of them work on names
// relative to open folders, never follow a symbolic link and never replace anything. Each system offers:
//
//	openFolder(path)                 a folder, refusing symbolic links anywhere on the way
//	(*folder).sub, names             a folder in an open one, and the names in it
//	(*folder).stat(name), .self()    what lies there, links not followed
//	(*folder).mkdir, rmdir, unlink   one name
//	renameNoReplace, link            between two folders
//	exchange                         of two names, or errNoExchange
//	makeSymlink, (*folder).readlink  symbolic links, where there are any
//	(*folder).sync, syncAll          make its names, or all of its file system, durable
//	(*folder).touch, chmod           set its own times and mode
//	(*folder).create, createAs, open files, never through a link
//	reflink, dataRanges, dropCache   for copies and for comparing them
//	clone                            a new file that shares the content of another, or an error
//	attribute, changeAttribute       one extended attribute, for tags; tagsAttribute is its name
//	copyAttributes, syncContent      what a copy needs before it gets its name
//	setTimes                         of a file that forg has made
//	foldsNames                       how a folder's file system compares names
//	resolveLinks                     what a path that a person gave really is
//
// and for scans, in scan_*.go, a scanHandle. Functions return the system's errors; errCrossDevice and errExists are what
// every system's are mapped to, errors.Is(err, fs.ErrNotExist) and isNotEmpty hold for the others that matter.
// Where a system has no call that makes a whole file system durable, syncsVolumes is false: then syncAll makes durable
// what was handed to the disk before, by syncContent for files and by sync for the names in folders.

// tempPrefix begins the names of files that exist only while forg works. Such a file found later is a crash's leftover.
const tempPrefix = ".forg-"

// asidePrefix begins the name of a file that makes room for another in a swap. It is a user's file, on its way.
const asidePrefix = tempPrefix + "swap-"

var (
	errCrossDevice = errors.New("on another file system")
	errExists      = errors.New("the name is taken")
	errLinkInPath  = errors.New("a symbolic link has come into the path; forg does not follow it")
)

// meta is what the disk says of a name.
type meta struct {
	journal.Identity
	Atime int64
	Ctime int64 // when anything of it last changed, in ns; 0 where that is not known
	Nlink uint32
	Dev   uint64
	UID   uint32
	GID   uint32
	Flags uint32 // chflags(2) or Windows file attributes, where there are any
}

const (
	modeType    = 0o170000
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeLink    = 0o120000
	modeOther   = 0o010000 // a FIFO; anything that is none of the others
)

func isRegular(mode uint32) bool { return mode&modeType == modeRegular }

func isDir[T uint16 | uint32](mode T) bool { return uint32(mode)&modeType == modeDir }

// lstat looks at one path.
func lstat(path string) (meta, error) {
	dir, name := filepath.Split(path)
	f, err := openFolder(filepath.Clean(dir))
	if err != nil {
		return meta{}, err
	}
	defer f.close()
	return f.stat(name)
}

// openPath opens a file for reading, like (*folder).open: no link is followed and every byte of the name counts, while
// os.Open would on Windows take "a." for "a" and NUL for a device.
func openPath(path string) (*os.File, error) {
	dir, name := filepath.Split(path)
	f, err := openFolder(filepath.Clean(dir))
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer f.close()
	return f.open(name)
}

func statDir(path string) (journal.Folder, uint64, error) {
	h, err := openScan(path)
	if err != nil {
		return journal.Folder{}, 0, err
	}
	defer h.close()
	return h.folder(&worker{}, path)
}

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

// folderCache keeps folders open. A run touches few folders at a time, or hundreds if it deals with duplicates, but may touch
// a million in all: beyond its limit the half that was not asked for longest is closed. So what get returns is to be used at
// once, beside at most a few others, and got again later.
type folderCache struct {
	open  map[string]*cachedFolder
	asked int64 // times that get was called
	limit int
}

type cachedFolder struct {
	*folder
	asked int64 // when it was last asked for
}

func newFolderCache() *folderCache { return &folderCache{open: map[string]*cachedFolder{}, limit: 512} }

func (c *folderCache) get(path string) (*folder, error) {
	c.asked++
	if f, ok := c.open[path]; ok {
		f.asked = c.asked
		return f.folder, nil
	}
	if len(c.open) >= c.limit {
		c.closeHalf()
	}
	f, err := openFolder(path)
	for errors.Is(err, syscall.EMFILE) && len(c.open) > 4 { // a lower limit is in force
		c.closeHalf()
		c.limit = len(c.open)
		f, err = openFolder(path)
	}
	if err != nil {
		return nil, err
	}
	c.open[path] = &cachedFolder{f, c.asked}
	return f, nil
}

// closeHalf closes the half that was not asked for longest.
func (c *folderCache) closeHalf() {
	byAge := slices.SortedFunc(maps.Keys(c.open), func(a, b string) int { return cmp.Compare(c.open[a].asked, c.open[b].asked) })
	for _, old := range byAge[:len(byAge)/2] {
		c.forget(old)
	}
}

// forget closes a folder that was removed or is about to be.
func (c *folderCache) forget(path string) {
	if f, ok := c.open[path]; ok {
		f.close()
		delete(c.open, path)
	}
}

func (c *folderCache) close() {
	for _, f := range c.open {
		f.close()
	}
	clear(c.open)
}
