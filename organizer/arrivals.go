package organizer

import (
	"path/filepath"
	"strings"

	"forg/rules"
)

// Arrivals judges by name alone what a scan would make of something that has come, so that whoever waits for files to
// come knows what to wait for.
type Arrivals struct {
	set *rules.Set
	opt func(root string) ScanOptions
}

// NewArrivals is for scans with the options that opt gives for each root.
func NewArrivals(set *rules.Set, opt func(root string) ScanOptions) *Arrivals {
	return &Arrivals{set, opt}
}

// Count reports whether a scan of root may take the file at path. Of some that it says yes to a scan, which can look at
// them, will say no.
func (a *Arrivals) Count(root, path string) bool {
	dir, name := filepath.Split(path)
	return newScanner(root, a.set, a.opt(root)).leftByName(filepath.Clean(dir), name, a.hidden(root, name), a.set.Lists(name)) == NotLeft
}

// Enter reports whether a scan of root looks into the folder at path, if it looks into the one that it lies in.
func (a *Arrivals) Enter(root, path string) bool {
	s := newScanner(root, a.set, a.opt(root))
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	if !s.opt.Recursive || s.leftDirByName(dir, name, a.hidden(root, name), dir == root, a.set.Lists(name)) != NotLeft ||
		s.opt.Enter != nil && !s.opt.Enter(path) {
		return false
	}
	if s.opt.Projects {
		return true
	}
	names, err := listNames(path)
	for _, n := range names {
		if a.set.Lists(n)&rules.ProjectMarkers != 0 {
			return false
		}
	}
	return err == nil
}

func (a *Arrivals) hidden(root, name string) bool {
	return strings.HasPrefix(name, ".") && !a.opt(root).Hidden
}
