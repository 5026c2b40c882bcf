package organizer

import (
	"iter"
	"os"
	"path/filepath"
	"strings"

	"forg/journal"
)

// Reason is why a file or folder was left alone.
type Reason uint8

// The reasons, in the order in which a person would want to read them.
const (
	NotLeft Reason = iota
	LeftOpen
	LeftYoung
	LeftPartial
	LeftUndone
	LeftByHand
	LeftConflict
	LeftDuplicate
	LeftProject
	LeftFolderBundle
	LeftDestination
	LeftHidden
	LeftSymlink
	LeftSpecial
	LeftSystem
	LeftExcluded
	LeftOurs
	LeftLinked
	LeftChanged
	LeftUnmatched
	LeftElsewhere
	LeftTooDeep
	LeftVersionControl
	Reasons // how many there are
)

var reasonText = [Reasons]string{"", "open in another program", "changed a moment ago", "unfinished download",
	"put back by an undo", "moved by hand", "name taken", "duplicate", "project or repository", "folder bundle",
	"destination folder", "hidden", "symbolic link", "special file", "system file", "excluded",
	"leftover of forg", "hard link to another file system", "changed since the scan", "matched by no rule",
	"on another file system", "deeper than asked", "store of a version control system"}

// String is the reason in words that can follow a number.
func (r Reason) String() string { return reasonText[r] }

// File is one regular file as the scan saw it. Ten million of them must fit in memory: 48 bytes and the name.
type File struct {
	Ino   uint64
	Size  int64
	Mtime int64 // ns since 1970
	Born  int64 // ns since 1970, 0 if unknown
	name  uint32
	len   uint16
	Mode  uint16 // permission bits and type, as in stat(2)
	Nlink uint16 // capped
	Left  Reason // why it stays, or NotLeft
}

// Dir is one folder of the tree.
type Dir struct {
	Path    string // absolute
	ID      journal.Folder
	Dev     uint64   // tells file systems (mounts) apart while the machine runs
	Left    Reason   // why its contents were not looked at, or NotLeft
	Names   int      // entries of every kind that it held
	Into    string   // destination root of its files
	IsRoot  bool     // was given by a person, not found
	Project bool     // is one, or a bundle, or lies in one; only a scan that enters those knows
	Folders []string // names of the folders in it
	chunks  []*chunk
	first   uint32 // its first chunk in Tree.chunks
}

const chunkFiles = 4096

// chunk holds files of one folder and the bytes of their names.
type chunk struct {
	dir     uint32
	files   []File
	names   []byte
	changed []int64 // by file, see Tree.Changed
}

// Ref names a file of a Tree.
type Ref struct {
	chunk uint32
	i     uint16
}

// Problem is something that could not be read or done; the rest went on.
type Problem struct {
	Path string
	Err  error
}

func (p Problem) Error() string { return p.Err.Error() }

// Tree is what a scan found: folders in the order of their paths, files in the order of the disk.
type Tree struct {
	Roots    []string // absolute, symlinks resolved
	Dirs     []Dir
	Problems []Problem
	Files    int64          // regular files seen
	Left     [Reasons]int64 // entries left alone
	Bytes    int64
	chunks   []*chunk
}

// Name is the file's name; the bytes belong to the tree.
func (t *Tree) Name(r Ref) string {
	c := t.chunks[r.chunk]
	f := &c.files[r.i]
	return unsafeString(c.names[f.name : f.name+uint32(f.len)])
}

// File is the file that r names.
func (t *Tree) File(r Ref) *File { return &t.chunks[r.chunk].files[r.i] }

// Changed is when anything about the file was last changed, its content, its attributes or its names, in ns since 1970. No
// program can set that time (st_ctime). It is 0 where the file system has none, and unless ScanOptions.Changed asked for it.
func (t *Tree) Changed(r Ref) int64 {
	c := t.chunks[r.chunk]
	if c.changed == nil {
		return 0
	}
	return c.changed[r.i]
}

// DirOf is the index of its folder in Dirs.
func (t *Tree) DirOf(r Ref) uint32 { return t.chunks[r.chunk].dir }

// Path is the file's absolute path.
func (t *Tree) Path(r Ref) string {
	dir, name := t.Dirs[t.DirOf(r)].Path, t.Name(r)
	if os.IsPathSeparator(dir[len(dir)-1]) { // of a whole file system
		return dir + name
	}
	return dir + string(filepath.Separator) + name // both are clean
}

// All yields every regular file, left alone or not, in a fixed order.
func (t *Tree) All() iter.Seq2[Ref, *File] { return t.files(0, len(t.chunks)) }

func (t *Tree) files(from, to int) iter.Seq2[Ref, *File] {
	return func(yield func(Ref, *File) bool) {
		for c := from; c < to; c++ {
			for i := range t.chunks[c].files {
				if !yield(Ref{uint32(c), uint16(i)}, &t.chunks[c].files[i]) {
					return
				}
			}
		}
	}
}

// Parts yields every regular file as All does, in up to n parts of about one size that may be read at the same time.
func (t *Tree) Parts(n int) []iter.Seq2[Ref, *File] {
	var parts []iter.Seq2[Ref, *File]
	share := t.Files/int64(n) + 1
	for from := 0; from < len(t.chunks); {
		to, files := from, int64(0)
		for to < len(t.chunks) && files < share {
			files += int64(len(t.chunks[to].files))
			to++
		}
		parts = append(parts, t.files(from, to))
		from = to
	}
	return parts
}

// InDir yields the files of folder d.
func (t *Tree) InDir(d uint32) iter.Seq2[Ref, *File] {
	return func(yield func(Ref, *File) bool) {
		for c := t.Dirs[d].first; int(c) < len(t.chunks) && t.chunks[c].dir == d; c++ {
			for i := range t.chunks[c].files {
				if !yield(Ref{c, uint16(i)}, &t.chunks[c].files[i]) {
					return
				}
			}
		}
	}
}

// Join makes one tree of several, so that one plan and one operation can cover them. The roots must not lie within each
// other.
func Join(trees []*Tree) *Tree {
	if len(trees) == 1 {
		return trees[0]
	}
	all := &Tree{}
	for _, t := range trees {
		dirs, chunks := uint32(len(all.Dirs)), uint32(len(all.chunks))
		for _, d := range t.Dirs {
			d.first += chunks
			all.Dirs = append(all.Dirs, d)
		}
		for _, c := range t.chunks {
			c.dir += dirs
			all.chunks = append(all.chunks, c)
		}
		all.Roots = append(all.Roots, t.Roots...)
		all.Problems = append(all.Problems, t.Problems...)
		all.Files += t.Files
		all.Bytes += t.Bytes
		for i, n := range t.Left {
			all.Left[i] += n
		}
	}
	return all
}

// Root names the roots of a tree in one string, as $PATH does.
func (t *Tree) Root() string { return strings.Join(t.Roots, string(os.PathListSeparator)) }

// adopt takes over those files of another tree that keep holds for. What the tree counts stays as it is.
func (t *Tree) adopt(other *Tree, keep func(*File) bool) {
	for d := range other.Dirs {
		dir := other.Dirs[d]
		first := uint32(len(t.chunks))
		for c := int(dir.first); c < len(other.chunks) && other.chunks[c].dir == uint32(d); c++ {
			from := other.chunks[c]
			to := &chunk{dir: uint32(len(t.Dirs)), names: from.names}
			for i := range from.files {
				if keep(&from.files[i]) {
					to.files = append(to.files, from.files[i])
					if from.changed != nil {
						to.changed = append(to.changed, from.changed[i])
					}
				}
			}
			if len(to.files) > 0 {
				t.chunks = append(t.chunks, to)
			}
		}
		if dir.first = first; int(first) < len(t.chunks) {
			t.Dirs = append(t.Dirs, dir)
		}
	}
}
