// Package organizer finds out where files belong and moves them there. It plans first (a Plan is a value) and changes
// the disk only through Apply, Undo and Recover. It never prints, and never reads flags, environment or configuration.
package organizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"forg/journal"
	"forg/rules"
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

// ScanOptions says what to look at.
type ScanOptions struct {
	Recursive bool
	Hidden    bool          // look at hidden files and folders too
	Include   []string      // globs, of names or (with a slash) of paths below the root; empty takes all
	Exclude   []string      // the same; wins over Include
	MinAge    time.Duration // files changed within it are left alone
	Now       time.Time
	// Destination reports whether a folder directly in destination root Into is one that plans put files in: a
	// recursive scan leaves those alone. Without Into each root is its own, and of listed files each folder.
	Into        string
	Destination func(name string) bool
	// Leave, when not nil, reports whether the folder at a path is one that rules put files in, and Enter whether any rule
	// looks into it.
	Leave, Enter func(path string) bool
	// Only, when not nil, is the list of files to take; nothing else is looked at. LookAbove says that no person has named
	// them: then the folders above them are looked at for what makes those projects, bundles, and stores of version control.
	Only      []string
	LookAbove bool
	Projects  bool // descend into projects and bundles too
	// VersionControl keeps a scan that enters projects out of what version control systems store in them.
	VersionControl bool
	OneFileSystem  bool // do not descend into folders that other file systems are mounted on
	MaxDepth       int  // folders below the root to descend into, 0 for no limit
	Changed        bool // keep Tree.Changed
	Progress       func(files int64)
}

// ErrPattern says that a glob is malformed.
var ErrPattern = doublestar.ErrBadPattern

// Scan reads the tree below root. It returns an error when root itself cannot be read; everything else that cannot be
// is in Tree.Problems. It changes nothing.
func Scan(ctx context.Context, root string, set *rules.Set, opt ScanOptions) (*Tree, error) {
	root, err := ResolveDir(root)
	if err != nil {
		return nil, err
	}
	for _, g := range slices.Concat(opt.Include, opt.Exclude) {
		if !doublestar.ValidatePattern(g) {
			return nil, fmt.Errorf("glob %q: %w", g, ErrPattern)
		}
	}
	s := newScanner(root, set, opt)
	if opt.Only != nil {
		s.listed(ctx, opt.Only)
	} else {
		s.walk(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.finish()
	if len(s.tree.Dirs) == 0 && len(s.tree.Problems) > 0 {
		return nil, s.tree.Problems[0].Err
	}
	return s.tree, nil
}

func newScanner(root string, set *rules.Set, opt ScanOptions) *scanner {
	s := &scanner{opt: opt, set: set, root: root, young: opt.Now.Add(-opt.MinAge).UnixNano(), tree: &Tree{Roots: []string{root}}}
	s.cond = sync.NewCond(&s.mu)
	if s.opt.Into == "" && opt.Only == nil {
		s.opt.Into = root
	}
	return s
}

// ResolveDir is the absolute path of a folder with symbolic links resolved: what a person names may be a link, what
// lies below is never followed.
func ResolveDir(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	real, err := resolveLinks(abs)
	if err != nil {
		return "", fmt.Errorf("open folder %s: %w", path, cause(err))
	}
	st, err := os.Lstat(real)
	if err != nil {
		return "", fmt.Errorf("open folder %s: %w", path, cause(err))
	}
	if !st.IsDir() {
		return "", fmt.Errorf("open folder %s: it is not a folder", path)
	}
	return real, nil
}

// ResolveMissing is the absolute path of a folder that need not exist yet: links are resolved as far as it does. An error
// begins with what is in the way.
func ResolveMissing(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err == nil && !st.IsDir() {
			return "", fmt.Errorf("%s is not a folder", dir)
		}
		if err == nil {
			real, err := ResolveDir(dir)
			return filepath.Join(real, missing), err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		missing = filepath.Join(filepath.Base(dir), missing)
	}
}

// cause strips the path from an error that is about to be wrapped with a better one.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

type scanner struct {
	opt   ScanOptions
	set   *rules.Set
	root  string
	young int64
	dev   atomic.Uint64 // of the root
	tree  *Tree

	mu      sync.Mutex
	cond    *sync.Cond
	tasks   []func(*worker)
	pending int
	dirs    []*Dir
	seen    int64
}

// worker is what one scanning goroutine reuses, and what it has counted.
type worker struct {
	buf    []byte
	names  []entry
	volume volume // of the last folder
	seen   int64  // files since the last report

	files, bytes int64
	left         [Reasons]int64
}

// volume is a file system.
type volume struct {
	dev, id uint64
	local   bool // it does not wait for a network
}

const scanWorkers = 2 // more gain nothing on a warm cache, fewer lose a third

func (s *scanner) walk(ctx context.Context) {
	s.push(func(w *worker) { s.readDir(w, s.root, 0, false) })
	var wg sync.WaitGroup
	for range scanWorkers {
		wg.Go(func() {
			w := &worker{}
			for {
				s.mu.Lock()
				s.report(w)
				for len(s.tasks) == 0 && s.pending > 0 {
					s.cond.Wait()
				}
				if s.pending == 0 {
					s.add(w)
					s.mu.Unlock()
					return
				}
				task := s.tasks[len(s.tasks)-1]
				s.tasks = s.tasks[:len(s.tasks)-1]
				s.mu.Unlock()
				if ctx.Err() == nil {
					task(w)
				}
				s.mu.Lock()
				if s.pending--; s.pending == 0 {
					s.cond.Broadcast()
				}
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// add takes over what a worker has counted.
func (s *scanner) add(w *worker) {
	s.tree.Files += w.files
	s.tree.Bytes += w.bytes
	for r, n := range w.left {
		s.tree.Left[r] += n
	}
}

func (s *scanner) report(w *worker) {
	if s.opt.Progress != nil && w.seen > 0 {
		s.seen += w.seen
		w.seen = 0
		s.opt.Progress(s.seen)
	}
}

func (s *scanner) push(tasks ...func(*worker)) {
	s.mu.Lock()
	s.tasks = append(s.tasks, tasks...)
	s.pending += len(tasks)
	s.mu.Unlock()
	s.cond.Broadcast()
}

func (s *scanner) problem(path string, err error) {
	s.mu.Lock()
	s.tree.Problems = append(s.tree.Problems, Problem{path, err})
	s.mu.Unlock()
}

// count adds entries left alone that are not in the tree as files.
func (s *scanner) count(r Reason) {
	s.mu.Lock()
	s.tree.Left[r]++
	s.mu.Unlock()
}

// entry is one name of a folder. kind is its type where the folder tells, else 0.
type entry struct {
	name []byte // NUL-terminated beyond its length on Linux
	kind fs.FileMode
	none bool // type not told
}

// readDir reads one folder, depth of them below the root, and hands out what is in it. inProject says that it lies in a
// project or is a bundle.
func (s *scanner) readDir(w *worker, path string, depth int, inProject bool) {
	isRoot := depth == 0
	d := &Dir{Path: path, Into: s.opt.Into, IsRoot: isRoot}
	h, err := openScan(path)
	if err != nil {
		s.problem(path, fmt.Errorf("open folder %s: %w", path, cause(err)))
		return
	}
	d.ID, d.Dev, err = h.folder(w, path)
	if err != nil {
		h.close()
		s.problem(path, fmt.Errorf("read folder %s: %w", path, cause(err)))
		return
	}
	if isRoot {
		s.dev.Store(d.Dev)
	} else if s.opt.OneFileSystem && d.Dev != s.dev.Load() {
		s.count(LeftElsewhere)
		h.close()
		return
	}
	s.mu.Lock()
	s.dirs = append(s.dirs, d)
	s.mu.Unlock()

	var subdirs []subdir
	var held []*chunk // of a folder that may turn out to be a project
	project := false
	err = h.read(w, func(names []entry) {
		d.Names += len(names)
		c := &chunk{}
		var size int
		for i := range names {
			size += len(names[i].name) + 1
		}
		c.names = make([]byte, 0, size)
		c.files = make([]File, 0, len(names))
		for i := range names {
			e := &names[i]
			lists := s.set.Lists(unsafeString(e.name))
			project = project || !isRoot && lists&rules.ProjectMarkers != 0
			s.sort(h, path, isRoot, e, lists, c, &d.Folders, &subdirs)
		}
		if len(c.files) == 0 {
			return
		}
		d.chunks = append(d.chunks, c)
		if isRoot && len(names) >= chunkFiles/2 { // a big flat folder: let the others help
			h.retain()
			s.push(func(w *worker) { s.stat(w, h, d, c); h.close() })
		} else {
			held = append(held, c)
		}
	})
	if err != nil {
		s.problem(path, fmt.Errorf("read folder %s: %w", path, cause(err)))
	}
	if project && !s.opt.Projects {
		d.Left, d.chunks = LeftProject, nil
		s.count(LeftProject)
		h.close()
		return
	}
	d.Project = inProject || project
	if s.opt.MaxDepth > 0 && depth >= s.opt.MaxDepth && len(subdirs) > 0 {
		for range subdirs {
			s.count(LeftTooDeep)
		}
		subdirs = nil
	}
	if len(subdirs) > 0 {
		tasks := make([]func(*worker), len(subdirs))
		for i, sub := range subdirs {
			tasks[i] = func(w *worker) { s.readDir(w, sub.path, depth+1, d.Project || sub.bundle) }
		}
		s.push(tasks...)
	}
	for i, c := range held {
		if i == len(held)-1 {
			s.stat(w, h, d, c)
			break
		}
		h.retain()
		s.push(func(w *worker) { s.stat(w, h, d, c); h.close() })
	}
	h.close()
}

// sort puts one entry where it belongs by its name and type alone: into the chunk, among the folders to read, or away.
func (s *scanner) sort(h *scanHandle, dir string, isRoot bool, e *entry, lists rules.Lists, c *chunk, folders *[]string, subdirs *[]subdir) {
	if e.none {
		e.kind = h.kind(e.name)
	}
	name := unsafeString(e.name)
	hidden := !s.opt.Hidden && h.hidden(name)
	switch {
	case e.kind.IsDir():
		*folders = append(*folders, strings.Clone(name))
		if s.opt.Recursive {
			s.sortDir(dir, name, hidden, isRoot, lists, subdirs)
		}
		return
	case e.kind&fs.ModeSymlink != 0:
		s.count(LeftSymlink)
		return
	case !e.kind.IsRegular():
		s.count(LeftSpecial)
		return
	}
	left := s.leftByName(dir, name, hidden, lists)
	c.files = append(c.files, File{name: uint32(len(c.names)), len: uint16(len(e.name)), Left: left})
	c.names = append(append(c.names, e.name...), 0)
}

// leftByName is why a file is left alone whatever it is, or NotLeft.
func (s *scanner) leftByName(dir, name string, hidden bool, lists rules.Lists) Reason {
	switch {
	case strings.HasPrefix(name, tempPrefix):
		return LeftOurs
	case lists&rules.SystemNames != 0:
		return LeftSystem
	case lists&rules.PartialNames != 0:
		return LeftPartial
	case hidden:
		return LeftHidden
	case s.excluded(dir, name):
		return LeftExcluded
	}
	return NotLeft
}

// subdir is a folder to look into.
type subdir struct {
	path   string
	bundle bool
}

func (s *scanner) sortDir(dir, name string, hidden, isRoot bool, lists rules.Lists, subdirs *[]subdir) {
	path := filepath.Join(dir, name)
	if left := s.leftDirByName(dir, name, hidden, isRoot, lists); left != NotLeft {
		s.count(left)
	} else if s.opt.Enter == nil || s.opt.Enter(path) {
		*subdirs = append(*subdirs, subdir{path, lists&rules.FolderBundleNames != 0})
	}
}

// leftDirByName is why a recursive scan does not look into a folder, as far as its name tells, or NotLeft.
func (s *scanner) leftDirByName(dir, name string, hidden, isRoot bool, lists rules.Lists) Reason {
	path := filepath.Join(dir, name)
	switch {
	case hidden:
		return LeftHidden
	case s.opt.VersionControl && lists&rules.VersionControl != 0:
		return LeftVersionControl
	case s.opt.Destination != nil && dir == s.opt.Into && s.opt.Destination(name), path == s.opt.Into && !isRoot, s.opt.Leave != nil && s.opt.Leave(path):
		return LeftDestination
	case !s.opt.Projects && lists&rules.FolderBundleNames != 0:
		return LeftFolderBundle
	case matchAny(s.opt.Exclude, s.root, path, name):
		return LeftExcluded
	}
	return NotLeft
}

func (s *scanner) excluded(dir, name string) bool {
	if len(s.opt.Include) == 0 && len(s.opt.Exclude) == 0 {
		return false
	}
	path := filepath.Join(dir, name)
	return len(s.opt.Include) > 0 && !matchAny(s.opt.Include, s.root, path, name) || matchAny(s.opt.Exclude, s.root, path, name)
}

// matchAny reports whether a glob matches: without a slash the name, with one the path below the root.
func matchAny(globs []string, root, path, name string) bool {
	for _, g := range globs {
		target := name
		if strings.Contains(g, "/") {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				continue
			}
			target = filepath.ToSlash(rel)
			g = strings.TrimPrefix(g, "./")
		}
		if ok, _ := doublestar.Match(g, target); ok { // the pattern was validated
			return true
		}
	}
	return false
}

// stat fills in what the disk says of a chunk's files. Files that vanished meanwhile are dropped.
func (s *scanner) stat(w *worker, h *scanHandle, d *Dir, c *chunk) {
	keep := c.files[:0]
	var changed *int64
	if s.opt.Changed {
		changed = new(int64)
		c.changed = make([]int64, 0, len(c.files))
	}
	for i := range c.files {
		f := c.files[i]
		kind, err := h.stat(c.names[f.name:f.name+uint32(f.len)+1], &f, changed)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			path := filepath.Join(d.Path, string(c.names[f.name:f.name+uint32(f.len)]))
			s.problem(path, fmt.Errorf("look at %s: %w", path, cause(err)))
			continue
		case kind != 0: // became something else since its folder was read
			s.count(LeftSpecial)
			continue
		}
		if f.Left == NotLeft && f.Mtime > s.young && s.opt.MinAge > 0 && f.Mtime <= s.opt.Now.UnixNano()+int64(time.Minute) {
			f.Left = LeftYoung
		}
		w.bytes += f.Size
		if f.Left != NotLeft {
			w.left[f.Left]++
		}
		keep = append(keep, f)
		if changed != nil {
			c.changed = append(c.changed, *changed)
		}
	}
	c.files = keep
	w.files += int64(len(keep))
	w.seen += int64(len(keep))
}

// listed takes the named files instead of walking. A name that is no regular file is left alone like any other; one
// that cannot be looked at is a problem.
func (s *scanner) listed(ctx context.Context, paths []string) {
	type place struct {
		dir   *Dir
		left  Reason
		names map[string]bool // that were listed
	}
	typed, places := map[string]*place{}, map[string]*place{} // by folder as it is listed, and as it is
	projects := map[string]bool{}
	w := &worker{}
	defer s.add(w)
	var h *scanHandle // of the folder of the last file, since lists are mostly in order
	var opened *place
	shut := func() {
		if h != nil {
			h.close()
		}
		h, opened = nil, nil
	}
	defer shut()
	for i, p := range paths {
		if i%1024 == 0 && ctx.Err() != nil {
			return
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			s.problem(p, fmt.Errorf("resolve %s: %w", p, err))
			continue
		}
		dir, name := filepath.Split(abs)
		at := typed[dir]
		if at == nil {
			real, err := ResolveDir(dir)
			if err != nil {
				s.problem(p, fmt.Errorf("look at %s: %w", p, err))
				continue
			}
			if at = places[real]; at == nil {
				shut()
				d := &Dir{Path: real, Into: cmp.Or(s.opt.Into, real), IsRoot: true}
				if h, err = openScan(real); err == nil {
					d.ID, d.Dev, err = h.folder(w, real)
				}
				if err != nil {
					s.problem(p, fmt.Errorf("look at %s: %w", p, cause(err)))
					shut()
					continue
				}
				at = &place{dir: d, names: map[string]bool{}}
				if s.opt.LookAbove {
					d.Project = s.inProject(w, real, projects)
				}
				if s.opt.LookAbove && s.opt.VersionControl && s.inVersionControl(real) {
					at.left = LeftVersionControl
				}
				opened, places[real] = at, at
				s.dirs = append(s.dirs, d)
			}
			typed[dir] = at
		}
		if at.names[name] {
			continue
		}
		at.names[name] = true
		if at.left != NotLeft {
			s.count(at.left)
			continue
		}
		d := at.dir
		if opened != at {
			shut()
			if h, err = openScan(d.Path); err != nil {
				h = nil
				s.problem(p, fmt.Errorf("look at %s: %w", p, cause(err)))
				continue
			}
			opened = at
		}
		c := &chunk{}
		e := entry{name: append([]byte(name), 0)[:len(name)], none: true}
		if kind, err := h.lstatKind(e.name); err != nil {
			s.problem(p, fmt.Errorf("look at %s: %w", p, cause(err)))
		} else if kind.IsDir() {
			s.problem(p, fmt.Errorf("take %s: it is a folder; the list names files", p))
		} else {
			e.kind, e.none = kind, false
			s.sort(h, d.Path, true, &e, s.set.Lists(name), c, nil, nil)
			s.stat(w, h, d, c)
			if len(c.files) > 0 {
				if n := len(d.chunks); n > 0 && len(d.chunks[n-1].files) < chunkFiles {
					last := d.chunks[n-1]
					f := c.files[0]
					f.name = uint32(len(last.names))
					last.files, last.names = append(last.files, f), append(last.names, c.names...)
					last.changed = append(last.changed, c.changed...)
				} else {
					d.chunks = append(d.chunks, c)
				}
			}
		}
	}
}

// inProject reports whether the folder at path is a project or a bundle or lies in one. Known are the answers so far. A
// folder above it that cannot be read is taken for none.
func (s *scanner) inProject(w *worker, path string, known map[string]bool) bool {
	is, ok := known[path]
	if ok {
		return is
	}
	if up := filepath.Dir(path); up != path {
		is = s.set.Lists(filepath.Base(path))&rules.FolderBundleNames != 0 || s.inProject(w, up, known)
		if !is {
			is = s.holdsMarker(w, path)
		}
	}
	known[path] = is
	return is
}

// holdsMarker reports whether something in the folder at path makes it a project.
func (s *scanner) holdsMarker(w *worker, path string) bool {
	h, err := openScan(path)
	if err != nil {
		return false
	}
	defer h.close()
	found := false
	h.read(w, func(names []entry) {
		found = found || slices.ContainsFunc(names, func(e entry) bool { return s.set.Lists(unsafeString(e.name))&rules.ProjectMarkers != 0 })
	})
	return found
}

// inVersionControl reports whether the folder at path lies in what a version control system stores.
func (s *scanner) inVersionControl(path string) bool {
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if s.set.Lists(part)&rules.VersionControl != 0 {
			return true
		}
	}
	return false
}

// finish puts folders in order and numbers the chunks.
func (s *scanner) finish() {
	t := s.tree
	slices.SortFunc(s.dirs, func(a, b *Dir) int { return strings.Compare(a.Path, b.Path) })
	sort.Slice(t.Problems, func(i, j int) bool { return t.Problems[i].Path < t.Problems[j].Path })
	t.Dirs = make([]Dir, len(s.dirs))
	for i, d := range s.dirs {
		t.Dirs[i] = *d
		t.Dirs[i].first = uint32(len(t.chunks))
		for _, c := range d.chunks {
			if len(c.files) == 0 {
				continue
			}
			c.dir = uint32(i)
			t.chunks = append(t.chunks, c)
		}
		t.Dirs[i].chunks = nil
	}
	s.dirs = nil
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
