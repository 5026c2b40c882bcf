package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"forg/organizer"
	"forg/rules"
)

// listed looks at the files of a saved report, and at nothing else. With PATHs it takes those below them.
func (d *duping) listed(ctx context.Context, bar *progress) (*organizer.Tree, error) {
	f := d.flags
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	in, name := d.in, "standard input"
	if f.from != "-" {
		file, err := os.Open(f.from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		defer file.Close()
		in, name = file, f.from
	}
	found, err := readCandidates(in, dir)
	if errors.Is(err, errReport) {
		return nil, &exitError{exitUsage, fmt.Errorf("--from %s: %w", name, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", name, err)
	}
	problems := d.resolveListed(found)
	slices.SortStableFunc(found.files, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	paths := make([]string, len(found.files))
	for i := range found.files {
		paths[i] = found.files[i].path
	}
	root := commonFolder(paths)
	opt := organizer.ScanOptions{Only: paths, LookAbove: true, Hidden: true, Include: f.include, Exclude: f.exclude, Now: d.now(), Projects: true,
		VersionControl: !f.inside, Changed: true, Progress: bar.scan}
	if len(d.dirs) > 0 {
		root = d.dirs[0]
	} else if len(paths) > 0 && !slices.Contains(d.roots, root) { // which is locked already
		if err := d.lock(ctx, root); err != nil && !errors.Is(err, fs.ErrPermission) { // of a folder of others, such as /home
			return nil, err
		}
	}
	tree := &organizer.Tree{Roots: []string{root}}
	if len(paths) > 0 {
		if tree, err = organizer.Scan(ctx, root, rules.Builtin(), opt); err != nil && ctx.Err() == nil && tree == nil {
			tree = &organizer.Tree{Roots: []string{root}, Problems: []organizer.Problem{{Path: root, Err: err}}}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if tree.Roots = d.roots; len(d.dirs)+len(d.files) == 0 {
		tree.Roots = append([]string{root}, d.roots...)
	}
	tree.Problems = append(tree.Problems, problems...)
	d.find.Listed = f.listing(tree, found)
	d.find.Empty = true // what a report lists, somebody asked for
	return tree, nil
}

// resolveListed resolves the links in the folders of what a report lists, and leaves out what is not below a PATH or
// cannot be looked at, which it returns.
func (d *duping) resolveListed(found *candidates) []organizer.Problem {
	var problems []organizer.Problem
	type folder struct {
		path string
		err  error
		out  bool
	}
	folders := map[string]*folder{}
	seen := make(map[string]int, len(found.files))
	kept := found.files[:0]
	for _, c := range found.files {
		typed, name := filepath.Split(c.path)
		at := folders[typed]
		if at == nil {
			at = &folder{}
			at.path, at.err = organizer.ResolveDir(typed)
			at.out = at.err == nil && len(d.dirs) > 0 && !slices.ContainsFunc(d.dirs, func(root string) bool { return organizer.Within(at.path, root) })
			folders[typed] = at
		}
		if at.err != nil {
			problems = append(problems, organizer.Problem{Path: c.path, Err: fmt.Errorf("look at %s: %w", c.path, at.err)})
			continue
		}
		c.path = filepath.Join(at.path, name)
		if at.out && !slices.Contains(d.files, c.path) {
			continue
		}
		if i, again := seen[c.path]; again {
			kept[i].keep = kept[i].keep || c.keep
			continue
		}
		seen[c.path] = len(kept)
		kept = append(kept, c)
	}
	found.files = kept
	return problems
}

// listing is where the report has the files of the tree. Those that have another size than the report says have changed,
// and are left alone.
func (f *dupesFlags) listing(tree *organizer.Tree, found *candidates) func(organizer.Ref) organizer.Listing {
	places := make(map[organizer.Ref]organizer.Listing, len(found.files))
	index := make(map[string]*candidate, len(found.files))
	for i := range found.files {
		index[found.files[i].path] = &found.files[i]
	}
	for r, file := range tree.All() {
		path := tree.Path(r)
		c := index[path]
		if c == nil {
			continue
		}
		if c.size >= 0 && c.size != file.Size && file.Left == organizer.NotLeft {
			file.Left = organizer.LeftChanged
			tree.Left[organizer.LeftChanged]++
			tree.Problems = append(tree.Problems, organizer.Problem{Path: path,
				Err: fmt.Errorf("%s: it has changed since the report was made: it had %d bytes and has %d", path, c.size, file.Size)})
		}
		at := organizer.Listing{Group: c.group}
		if c.keep && !f.chosen {
			at.Stays = c.place + 1
		}
		places[r] = at
	}
	return func(r organizer.Ref) organizer.Listing { return places[r] }
}

// commonFolder is the deepest folder that all paths lie in; of paths on several volumes it is the first one's folder.
func commonFolder(paths []string) string {
	if len(paths) == 0 {
		return "."
	}
	common := filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for up := common; ; up = filepath.Dir(up) {
			if organizer.Within(p, up) {
				common = up
				break
			}
			if filepath.Dir(up) == up {
				break
			}
		}
	}
	return common
}
