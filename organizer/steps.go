package organizer

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"forg/journal"
)

// steps turns a plan into steps, in order: folders to make, moves, folders to remove.
func (p *Plan) steps() func(func(journal.Step) bool) {
	return func(yield func(journal.Step) bool) {
		folders := make([]*journal.Folder, len(p.Folders))
		made := make(map[string]*journal.Folder, len(p.Folders))
		index := make(map[string]int, len(p.Folders))
		for i := range p.Folders {
			folders[i] = &p.Folders[i].ID
			made[p.Folders[i].Path] = folders[i]
			index[p.Folders[i].Path] = i
		}
		need := make([]bool, len(p.Folders))
		require := func(at int) { // it and what is missing above it
			for ok := true; ok && !need[at] && !p.Folders[at].Exists; {
				need[at] = true
				at, ok = index[filepath.Dir(p.Folders[at].Path)]
			}
		}
		for i := range p.Moves {
			to := int(p.Moves[i].To)
			require(to)
			if b := p.Folders[to].beside; b != 0 {
				require(int(b - 1))
			}
		}
		order := make([]int, 0, len(p.Folders))
		for i := range p.Folders {
			if need[i] {
				order = append(order, i)
			}
		}
		slices.SortFunc(order, func(a, b int) int { return strings.Compare(p.Folders[a].Path, p.Folders[b].Path) })
		for _, i := range order {
			f := &p.Folders[i]
			up := made[filepath.Dir(f.Path)]
			if up == nil {
				up = &journal.Folder{Path: filepath.Dir(f.Path)}
			}
			if !yield(journal.Step{Action: journal.Mkdir, ToDir: up, To: filepath.Base(f.Path), File: journal.Identity{Mode: f.perm()}}) {
				return
			}
		}
		// Where files of which more is said are by then. A plan of moves alone need not know.
		placed := map[Ref]*Move{}
		follow := len(p.SameAs) > 0 || len(p.extras) > 0 || p.chained
		for i := range p.Moves {
			m := &p.Moves[i]
			dir, name := p.from(m, placed, made)
			s := journal.Step{Action: m.Action, FromDir: dir, From: name, ToDir: folders[m.To], To: p.Name(m),
				File: identity(p.Tree.File(m.File)), Label: p.Labels[m.Label], Unit: int64(m.Unit)}
			var keep *keeperMeta
			if original, ok := p.SameAs[m.File]; ok && p.compares(m) {
				k := newKeeperMeta(p.Tree.Path(original), identity(p.Tree.File(original)))
				if to := placed[original]; to != nil { // by then; and if it is copied to there, it is another
					k = newKeeperMeta(p.Target(to), journal.Identity{})
				}
				k.Similar = p.Similar
				keep = &k
			}
			p.describe(m, &s, keep)
			if follow && m.Action.Takes() {
				placed[m.File] = m
			}
			if !yield(s) {
				return
			}
		}
		for _, i := range p.Prune {
			d := &p.Tree.Dirs[i]
			if !yield(journal.Step{Action: journal.Rmdir, FromDir: parentOf(p.Tree, d.Path, made), From: filepath.Base(d.Path),
				File: journal.Identity{Ino: d.ID.Ino}, Label: "Prune", Meta: attributesOf(d)}) {
				return
			}
		}
	}
}

// from is where an action finds its file: at its place in the tree, or where an earlier move has taken it.
func (p *Plan) from(m *Move, placed map[Ref]*Move, made map[string]*journal.Folder) (*journal.Folder, string) {
	if to := placed[m.File]; to != nil {
		return &p.Folders[to.To].ID, p.Name(to)
	}
	d := &p.Tree.Dirs[p.Tree.DirOf(m.File)]
	if f, ok := made[d.Path]; ok { // one folder, one value, or it would be journaled twice
		return f, p.Tree.Name(m.File)
	}
	made[d.Path] = &d.ID
	return &d.ID, p.Tree.Name(m.File)
}

// lastMove is the move that takes a file to where it is once the plan is carried out, nil if it stays.
func (p *Plan) lastMove(r Ref) *Move {
	if p.last == nil {
		p.last = map[Ref]*Move{}
		for i := range p.Moves {
			if m := &p.Moves[i]; m.Action.Takes() {
				p.last[m.File] = m
			}
		}
	}
	return p.last[r]
}

func (p *Plan) finalPath(r Ref) string {
	if m := p.lastMove(r); m != nil {
		return p.Target(m)
	}
	return p.Tree.Path(r)
}

func (p *Plan) finalDev(r Ref) uint64 {
	if m := p.lastMove(r); m != nil {
		return p.Folders[m.To].Dev
	}
	return p.Tree.Dirs[p.Tree.DirOf(r)].Dev
}

// compares reports whether a move is made because its file equals another, with which it is compared right before.
func (p *Plan) compares(m *Move) bool {
	switch m.Action {
	case journal.Trash, journal.Replace, journal.Share:
		return true
	}
	return p.Kind == KindDupes || m.Unit == 0 && p.Labels[m.Label] == DuplicatesDir
}

// describe adds to a step what its action needs besides a file and a place. keep is the file that stays, of a duplicate.
func (p *Plan) describe(m *Move, s *journal.Step, keep *keeperMeta) {
	x := p.extraOf(m)
	switch m.Action {
	case journal.Trash, journal.Rename, journal.Move, journal.Share:
		if keep != nil {
			s.Meta = mustMarshal(keep)
		}
	case journal.Replace:
		if keep != nil {
			s.Meta = replaceMetaOf(cmp.Or(x.mode, replaceHardlink), s.FromDir.Path, *keep)
		}
	case journal.Copy:
		if x.mode == "reflink" {
			s.Meta = []byte(reflinkMeta)
		}
	case journal.Symlink:
		s.Meta = []byte(p.finalPath(m.File))
	case journal.Tag:
		s.Meta = x.meta
	case journal.Write:
		if s.Meta = x.meta; x.fresh {
			s.FromDir, s.From = nil, ""
		}
	case journal.Exec:
		// The rule saw the file where it was; the program sees it where it is by then.
		argv := make([]string, len(x.argv))
		for i, arg := range x.argv {
			argv[i] = strings.ReplaceAll(arg, filepath.ToSlash(p.Tree.Path(m.File)), s.FromPath())
		}
		s.Meta = execMetaOf(argv, append(slices.Clip(x.env), "FORG_PATH="+s.FromPath()), keep)
	}
}

func parentOf(t *Tree, path string, made map[string]*journal.Folder) *journal.Folder {
	up := filepath.Dir(path)
	if f, ok := made[up]; ok {
		return f
	}
	f := &journal.Folder{Path: up}
	if id, _, err := statDir(up); err == nil {
		*f = id
	}
	made[up] = f
	return f
}
