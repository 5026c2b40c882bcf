package organizer

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"forg/rules"
)

// An Explanation tells what rules make of one file or folder, and why.
type Explanation struct {
	Path string // as it was given

	// Left is why it stays where it is, or NotLeft. Before says that no rule was asked. Folder, if it is not empty, is the
	// folder above that was left alone with all that is in it.
	Left   Reason
	Before bool
	Folder string

	// Of is the file that it belongs to, as subtitles to a film, and whose way it goes; empty if it goes its own.
	Of string

	Traces []rules.Trace
	Moves  []*Move // of the plan, what is done with it
}

// Explain plans tree by the rules of opt, as MakePlan does, and tells of the files and folders at paths, which are absolute
// and free of links, how that came about. Files that equal another are looked for only where that changes where they go.
func Explain(ctx context.Context, tree *Tree, paths []string, set *rules.Set, opt Options) (*Plan, []Explanation, error) {
	all := make([]Explanation, len(paths))
	found := findAll(tree, paths)
	for i, path := range paths {
		all[i].Path = path
		if r, ok := found[path]; ok {
			all[i].Left = tree.File(r).Left
			all[i].Before = all[i].Left != NotLeft
		}
	}
	p := newPlanner(tree, set, opt)
	if err := p.categorize(ctx); err != nil {
		return nil, nil, err
	}
	if err := p.assignRules(ctx); err != nil {
		return nil, nil, err
	}
	if opt.Duplicates != "" && opt.Duplicates != DuplicatesReport {
		if err := p.duplicates(ctx); err != nil {
			return nil, nil, err
		}
	}
	plan, err := p.resolve()
	if err != nil {
		return nil, nil, err
	}
	found = findAll(tree, paths) // with the folders that rules were asked about
	for i := range all {
		if err := p.explain(ctx, &all[i], found); err != nil {
			return nil, nil, err
		}
	}
	return plan, all, nil
}

// findAll finds those of paths that are in the tree.
func findAll(tree *Tree, paths []string) map[string]Ref {
	wanted := map[string]bool{}
	for _, p := range paths {
		wanted[p] = true
	}
	found := map[string]Ref{}
	if len(wanted) == 0 {
		return found
	}
	for d := range tree.Dirs {
		for r := range tree.InDir(uint32(d)) {
			if path := filepath.Join(tree.Dirs[d].Path, tree.Name(r)); wanted[path] {
				if _, ok := found[path]; !ok {
					found[path] = r
				}
			}
		}
	}
	return found
}

func (p *planner) explain(ctx context.Context, e *Explanation, found map[string]Ref) error {
	dir := filepath.Dir(e.Path)
	r, ok := found[e.Path]
	if !ok {
		st, err := lstat(e.Path)
		if err != nil {
			return fmt.Errorf("look at %s: %w", e.Path, cause(err))
		}
		e.Before = true
		switch {
		case st.Mode&modeType == modeLink:
			e.Left = LeftSymlink
			return nil
		case !isDir(st.Mode) && !isRegular(st.Mode):
			e.Left = LeftSpecial
			return nil
		}
		e.Left, e.Folder = p.notReached(dir, isDir(st.Mode), filepath.Base(e.Path))
		r = p.Tree.addIn(Dir{Path: dir}, filepath.Base(e.Path), st)
		p.growKinds()
	}
	if e.Left == NotLeft {
		e.Left = p.Tree.File(r).Left
	}
	scope := p.opt.Rules.Scope(filepath.ToSlash(p.rootOf(&Dir{Path: dir})), filepath.ToSlash(dir), p.opt.Recursive)
	a := p.ask(ctx, r)
	defer a.close()
	if e.Before {
		p.kindOfLeft(a)
	}
	e.Traces = scope.Explain(a)
	matched := "" // the rule that would have had the file, were it alone
	for _, t := range e.Traces {
		if matched == "" && len(t.Steps) > 0 && !t.Skipped {
			matched = t.Rule.Name
		}
	}
	for i := range p.Moves {
		m := &p.Moves[i]
		if p.Source(m) != r || p.Aside(m) {
			continue
		}
		e.Moves = append(e.Moves, m)
		if p.Labels[m.Label] != matched && m.Unit != 0 && len(e.Moves) == 1 {
			e.Of = p.companion(r, m.Unit)
		}
	}
	return nil
}

// kindOfLeft finds the kind of a file that categorize passed over, since it stays in any case.
func (p *planner) kindOfLeft(a *asked) {
	_, ext := p.set.Split(a.name)
	k, sure := p.set.ByExtension(ext)
	if k == nil || !sure {
		if is, err := a.byContent(); err == nil && is != nil {
			k = is
		}
	}
	if k != nil {
		p.kinds[a.ref.chunk][a.ref.i] = uint16(k.Index)
	}
}

// companion is another file that goes together with r.
func (p *planner) companion(r Ref, unit uint32) string {
	for i := range p.Moves {
		if m := &p.Moves[i]; m.Unit == unit && p.Source(m) != r {
			return p.Tree.Path(p.Source(m))
		}
	}
	return ""
}

// notReached says why the scan did not come to what is in dir, and which folder was in the way.
func (p *planner) notReached(dir string, folder bool, name string) (Reason, string) {
	dirs := map[string]*Dir{}
	for i := range p.Tree.Dirs {
		dirs[p.Tree.Dirs[i].Path] = &p.Tree.Dirs[i]
	}
	root := p.rootOf(&Dir{Path: dir})
	leave := map[string]bool{}
	for _, path := range p.opt.Rules.Inside(filepath.ToSlash(root), filepath.ToSlash(p.opt.Into)) {
		leave[filepath.FromSlash(path)] = true
	}
	why := func(path string) Reason {
		name := filepath.Base(path)
		switch lists := p.set.Lists(name); {
		case leave[path]:
			return LeftDestination
		case !p.opt.Hidden && strings.HasPrefix(name, "."):
			return LeftHidden
		case lists&rules.FolderBundleNames != 0:
			return LeftFolderBundle
		}
		return NotLeft
	}
	rel, err := filepath.Rel(root, dir)
	if err == nil && filepath.IsLocal(rel) && rel != "." {
		for at, parts := root, strings.Split(rel, string(filepath.Separator)); len(parts) > 0; parts = parts[1:] {
			at = filepath.Join(at, parts[0])
			if d := dirs[at]; d != nil && d.Left != NotLeft {
				return d.Left, at
			} else if d == nil {
				if left := why(at); left != NotLeft {
					return left, at
				}
			}
		}
	}
	if folder {
		return why(filepath.Join(dir, name)), ""
	}
	return NotLeft, ""
}
