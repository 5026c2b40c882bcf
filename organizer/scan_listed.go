package organizer

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"forg/rules"
)

// Files that a person, a program or a saved report has named are looked at alone, without walking the folders around them.

// listing is the work of one scan of named files.
type listing struct {
	*scanner
	w        *worker
	typed    map[string]*listedDir // by folder as it was named
	places   map[string]*listedDir // by folder as it is
	projects map[string]bool       // by folder: whether it is or lies in one

	h      *scanHandle // of the folder of the last file, since lists are mostly in order
	opened *listedDir
}

// listedDir is a folder that files were named of.
type listedDir struct {
	dir   *Dir
	left  Reason          // of all of them
	names map[string]bool // of them
}

// listed takes the named files instead of walking. A name that is no regular file is left alone like any other; one
// that cannot be looked at is a problem.
func (s *scanner) listed(ctx context.Context, paths []string) {
	l := &listing{scanner: s, w: &worker{}, typed: map[string]*listedDir{}, places: map[string]*listedDir{}, projects: map[string]bool{}}
	defer s.add(l.w)
	defer l.shut()
	for i, p := range paths {
		if i%1024 == 0 && ctx.Err() != nil {
			return
		}
		if err := l.take(p); err != nil {
			s.problem(p, err)
		}
	}
}

func (l *listing) shut() {
	if l.h != nil {
		l.h.close()
	}
	l.h, l.opened = nil, nil
}

func (l *listing) open(at *listedDir) error {
	l.shut()
	h, err := openScan(at.dir.Path)
	if err != nil {
		return err
	}
	l.h, l.opened = h, at
	return nil
}

func (l *listing) take(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	dir, name := filepath.Split(abs)
	at, err := l.folder(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if at.names[name] {
		return nil
	}
	at.names[name] = true
	if at.left != NotLeft {
		l.count(at.left)
		return nil
	}
	if l.opened != at {
		if err := l.open(at); err != nil {
			return fmt.Errorf("look at %s: %w", path, cause(err))
		}
	}
	e := entry{name: append([]byte(name), 0)[:len(name)]}
	if e.kind, err = l.h.lstatKind(e.name); err != nil {
		return fmt.Errorf("look at %s: %w", path, cause(err))
	}
	if e.kind.IsDir() {
		return fmt.Errorf("take %s: it is a folder; the list names files", path)
	}
	c := &chunk{}
	l.sort(l.h, at.dir.Path, true, &e, l.set.Lists(name), c, nil, nil)
	l.stat(l.w, l.h, at.dir, c)
	at.dir.add(c)
	return nil
}

// folder looks at a folder that a file was named of, once.
func (l *listing) folder(dir string) (*listedDir, error) {
	if at := l.typed[dir]; at != nil {
		return at, nil
	}
	real, err := ResolveDir(dir)
	if err != nil {
		return nil, err
	}
	at := l.places[real]
	if at == nil {
		d := &Dir{Path: real, Into: cmp.Or(l.opt.Into, real), IsRoot: true}
		at = &listedDir{dir: d, names: map[string]bool{}}
		if err := l.open(at); err != nil {
			return nil, cause(err)
		}
		if d.ID, d.Dev, err = l.h.folder(l.w, real); err != nil {
			l.shut()
			return nil, cause(err)
		}
		if l.opt.LookAbove {
			d.Project = l.inProject(l.w, real, l.projects)
			switch {
			case l.opt.VersionControl && l.inVersionControl(real):
				at.left = LeftVersionControl
			case inTrash(real):
				at.left = LeftSystem
			}
		}
		l.places[real] = at
		l.dirs = append(l.dirs, d)
	}
	l.typed[dir] = at
	return at, nil
}

// add takes over a chunk of one file or of none.
func (d *Dir) add(c *chunk) {
	if len(c.files) == 0 {
		return
	}
	n := len(d.chunks)
	if n == 0 || len(d.chunks[n-1].files) >= chunkFiles {
		d.chunks = append(d.chunks, c)
		return
	}
	last, f := d.chunks[n-1], c.files[0]
	f.name = uint32(len(last.names))
	last.files, last.names, last.changed = append(last.files, f), append(last.names, c.names...), append(last.changed, c.changed...)
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
