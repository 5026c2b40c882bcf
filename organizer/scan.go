// Package organizer finds out where files belong and moves them there. It plans first (a Plan is a value) and changes
// the disk only through Apply, Undo and Recover. It never prints, and never reads flags, environment or configuration.
package organizer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"forg/rules"
)

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
	// them: then the folders above them are looked at for what makes those projects, bundles, stores of version control, and
	// trashes.
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

// Scan reads the tree below root, but for the trashes in it: what lies in one is as good as gone. It returns an error when
// root itself cannot be read; everything else that cannot be is in Tree.Problems. It changes nothing.
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
	case isTrash(path):
		return LeftSystem
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
