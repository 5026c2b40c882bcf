package organizer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"forg/journal"
)

// The second half of planning: every move gets a name that is free, and a turn at which it finds it free.

// resolve settles names: every move gets one that is free, or a reason to stay. Then it puts the moves into an order
// in which each finds its place free.
func (p *planner) resolve() (*Plan, error) {
	leaving := p.leaving()
	p.Moves = p.resolveAll(p.Moves, leaving)
	// What is not a move takes no name that a move is about to free, so its turn is before all moves or after all.
	before, after := p.resolveApart(p.before), p.resolveApart(p.after)
	for i := range after { // a move that was made stays, whatever becomes of a link to it or of a program
		after[i].Unit = 0
	}
	after = append(after, p.planWrites()...)
	if p.opt.Conflict == ConflictFail {
		for _, q := range p.Problems {
			if errors.Is(q.Err, ErrConflict) {
				return nil, q.Err
			}
		}
	}
	if n := p.Files(); p.opt.MaxFiles > 0 && n > p.opt.MaxFiles {
		return nil, &TooMany{false, n, p.opt.MaxFiles}
	}
	if n := p.Bytes(); p.opt.MaxBytes > 0 && n > p.opt.MaxBytes {
		return nil, &TooMany{true, n, p.opt.MaxBytes}
	}
	if len(leaving) > 0 {
		p.order()
	}
	p.Moves = slices.Concat(before, p.Moves, after)
	p.last = nil
	if p.opt.PruneEmpty && !p.opt.Copy {
		p.prune()
	}
	return p.Plan, nil
}

// resolveAll resolves moves unit by unit.
func (p *planner) resolveAll(moves []Move, leaving map[place]bool) []Move {
	out := make([]Move, 0, len(moves))
	for i := 0; i < len(moves); {
		n := i + 1 // members of a unit follow each other
		for n < len(moves) && moves[n].Unit != 0 && moves[n].Unit == moves[i].Unit {
			n++
		}
		out = p.resolveUnit(moves[i:n], leaving, out)
		i = n
	}
	return out
}

// resolveApart resolves what is done with files beside their moves. What one action does with the files of a bundle finds
// names together; two actions on one file do not care for each other's.
func (p *planner) resolveApart(moves []Move) []Move {
	together(moves)
	out := make([]Move, 0, len(moves))
	for i := 0; i < len(moves); {
		n := i + 1
		for n < len(moves) && moves[n].Unit != 0 && moves[n].Unit == moves[i].Unit {
			n++
		}
		var groups [][]Move
		for _, m := range moves[i:n] {
			g := slices.IndexFunc(groups, func(g []Move) bool {
				return g[0].Action == m.Action && g[0].To == m.To && g[0].Policy == m.Policy &&
					!slices.ContainsFunc(g, func(o Move) bool { return o.File == m.File })
			})
			if g < 0 {
				g, groups = len(groups), append(groups, nil)
			}
			groups[g] = append(groups[g], m)
		}
		for _, g := range groups {
			out = p.resolveUnit(g, nil, out)
		}
		i = n
	}
	return out
}

type place struct{ dir, name string }

// leaving are the names that moves free, in folders that moves also fill. There are rarely any.
func (p *planner) leaving() map[place]bool {
	if p.opt.Copy {
		return nil
	}
	filled := map[string]bool{}
	for i := range p.Moves {
		filled[p.Folders[p.Moves[i].To].Path] = true
	}
	var out map[place]bool
	var last uint32 = 1<<32 - 1
	var hot bool
	for i := range p.Moves {
		d := p.Tree.DirOf(p.Moves[i].File)
		if d != last {
			last, hot = d, filled[p.Tree.Dirs[d].Path]
		}
		if hot && frees(p.Moves[i].Action) {
			if out == nil {
				out = map[place]bool{}
			}
			out[place{p.Tree.Dirs[d].Path, p.Tree.Name(p.Moves[i].File)}] = true
		}
	}
	return out
}

// frees reports whether an action leaves the name of its file to others.
func frees(a journal.Action) bool {
	return a != journal.Link && a != journal.Replace && a != journal.Share
}

// resolveUnit finds names for moves that stay together: one number for all of them, or all of them stay.
func (p *planner) resolveUnit(unit []Move, leaving map[place]bool, out []Move) []Move {
	worst := 0 // highest number that any of them needs
	var inWay []string
	for i := range unit {
		m := &unit[i]
		number, taken, no := p.findName(m, leaving)
		switch {
		case no == nil:
		case no.err != nil:
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), no.err})
			return out
		default:
			for i := range unit {
				p.leave(unit[i].File, no.why)
			}
			return out
		}
		if worst = max(worst, number); taken != "" {
			inWay = append(inWay, taken)
		}
	}
	if worst > 0 { // one number that is free for all
		for n := worst; ; n++ {
			if !slices.ContainsFunc(unit, func(m Move) bool {
				to := &p.Folders[m.To]
				return !m.Action.Trashes() && to.taken[to.key(p.numbered(&m, n))]
			}) {
				worst = n
				break
			}
		}
	}
	for _, path := range inWay {
		m, err := p.trashMove(path)
		if err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(unit[0].File), err})
			return out
		}
		m.Unit = unit[0].Unit
		out = append(out, m)
	}
	for _, m := range unit {
		if m.Action.Trashes() {
			out = append(out, m)
			continue
		}
		to := &p.Folders[m.To]
		if worst > 0 {
			to.next[to.key(p.Name(&m))] = worst
			p.rename(&m, p.numbered(&m, worst))
		}
		to.taken[to.key(p.Name(&m))] = true
		if leaving != nil || len(inWay) > 0 {
			p.claim(to, p.Name(&m))
		}
		out = append(out, m)
	}
	return out
}

// refusal is why a unit does not move: what is wrong, or else a reason to leave it.
type refusal struct {
	err error
	why Reason
}

func refuse(format string, args ...any) *refusal { return &refusal{err: fmt.Errorf(format, args...)} }

// findName looks whether the name of a move is free at its target. If it is not, number is the lowest with which it may be,
// or inWay the path of a file that is to give way.
func (p *planner) findName(m *Move, leaving map[place]bool) (number int, inWay string, no *refusal) {
	if m.Action.Trashes() {
		return 0, "", nil // its name was found with it
	}
	to := &p.Folders[m.To]
	if to.blocked != nil {
		return 0, "", refuse("move %s to %s: %w", p.Tree.Path(m.File), to.Path, to.blocked)
	}
	if err := to.load(); err != nil {
		return 0, "", refuse("list folder %s: %w", to.Path, cause(err))
	}
	name := p.Name(m)
	if m.Action == journal.Write || m.Action == journal.Tag || m.Action == journal.Exec || m.Action == journal.Share {
		return 0, "", nil // they are about a file that bears the name already
	}
	if no := p.crossing(m, to); no != nil {
		return 0, "", no
	}
	if !to.taken[to.key(name)] || leaving[place{to.Path, name}] && !p.claimed(to, name) {
		return 0, "", nil
	}
	path := filepath.Join(to.Path, name)
	there, err := lstat(path)
	ours := err != nil || p.claimed(to, name) // claimed by this very run: its files never replace each other
	conflict := cmp.Or(p.policies[m.Policy].conflict, p.opt.Conflict)
	if m.Action == journal.Extract && conflict != ConflictRename {
		conflict = ConflictSkip // a folder never gives way
	}
	switch {
	case p.present(m, to, path, there):
		return 0, "", &refusal{why: NotLeft}
	case conflict == ConflictSkip:
		return 0, "", &refusal{why: LeftConflict}
	case conflict == ConflictFail:
		return 0, "", refuse("%w: %s", ErrConflict, path)
	case conflict == ConflictRename || ours:
		return p.nextFree(to, m), "", nil
	case !isRegular(there.Mode):
		return 0, "", refuse("overwrite %s: it is not a regular file, and only files give way to files", path)
	case conflict == ConflictNewer && p.Tree.File(m.File).Mtime <= there.Mtime:
		return 0, "", &refusal{why: LeftConflict}
	case p.opt.Trash == nil:
		return 0, "", refuse("overwrite %s: there is no trash for it here", path)
	}
	return 0, path, nil
}

// crossing makes a rename that leads to another file system a move, unless that cannot be done.
func (p *planner) crossing(m *Move, to *Folder) *refusal {
	dev := p.Tree.Dirs[p.Tree.DirOf(m.File)].Dev
	if m.Action == journal.Link && p.ByRules { // it is made where the file is by then
		dev = p.finalDev(m.File)
	}
	if to.Dev == 0 || to.Dev == dev {
		return nil
	}
	switch {
	case m.Action == journal.Link && p.ByRules:
		return refuse("link %s to %s: a hard link cannot lead to another file system", p.Tree.Path(m.File), to.Path)
	case m.Action != journal.Rename && m.Action != journal.Move:
	case p.Tree.File(m.File).Nlink > 1:
		return &refusal{why: LeftLinked} // as a copy it would no longer be one file with its other names
	case isDir(p.Tree.File(m.File).Mode):
		return refuse("a folder cannot move to another file system with its page: both stay")
	default:
		m.Action = journal.Move
	}
	return nil
}

// claim and claimed tell a name that a move of this plan takes from one that only the disk has, for the few folders
// that are both left and filled, and for names that a file of the disk gives up.
func (p *planner) claim(f *Folder, name string)        { f.taken["\x00"+f.key(name)] = true }
func (p *planner) claimed(f *Folder, name string) bool { return f.taken["\x00"+f.key(name)] }

func (p *planner) rename(m *Move, name string) {
	if x := p.extras[m.Name]; x != nil {
		p.extras[uint32(len(p.Names))] = x
	}
	m.Name = uint32(len(p.Names))
	p.Names = append(p.Names, name)
}

// nextFree is the smallest number above those given so far that makes the move's name free.
func (p *planner) nextFree(to *Folder, m *Move) int {
	key := to.key(p.Name(m))
	n := max(to.next[key]+1, 2)
	for to.taken[to.key(p.numbered(m, n))] {
		n++
	}
	to.next[key] = n - 1
	return n
}

// numbered is the name that a move's file takes when its own is taken.
func (p *planner) numbered(m *Move, n int) string {
	stem, ext := p.set.Split(p.Name(m))
	if isDir(p.Tree.File(m.File).Mode) || m.Action == journal.Extract {
		stem, ext = p.Name(m), ""
	}
	if t := p.policies[m.Policy].rename; t != nil {
		return t.Name(stem, ext, int64(n))
	}
	return numberedName(stem, ext, n)
}

const maxName = 255 // bytes, of every file system in use

// numberedName is "stem (n).ext", cut to 255 bytes on a character boundary with number and extension kept.
func numberedName(stem, ext string, n int) string {
	return fitName(stem, " ("+strconv.Itoa(n)+")", ext, maxName)
}

// fitName is the stem, cut on a character boundary so that all is at most limit bytes long, the tail and the extension.
func fitName(stem, tail, ext string, limit int) string {
	if ext != "" {
		tail += "." + ext
	}
	if over := len(stem) + len(tail) - limit; over > 0 {
		cut := max(len(stem)-over, 0)
		for cut > 0 && !utf8.RuneStart(stem[cut]) {
			cut--
		}
		stem = stem[:cut]
	}
	return stem + tail
}

// add makes a file outside the scan part of the tree, so that a plan can move it.
func (t *Tree) add(path string, m meta, dev uint64) Ref {
	dir := filepath.Dir(path)
	d := Dir{Path: dir, ID: journal.Folder{Path: dir}, Dev: dev}
	if id, dv, err := statDir(dir); err == nil {
		d.ID, d.Dev = id, dv
	}
	return t.addIn(d, filepath.Base(path), m)
}

func (t *Tree) addIn(d Dir, name string, m meta) Ref {
	d.first = uint32(len(t.chunks))
	t.Dirs = append(t.Dirs, d)
	c := &chunk{dir: uint32(len(t.Dirs) - 1), names: []byte(name + "\x00")}
	c.files = []File{{Ino: m.Ino, Size: m.Size, Mtime: m.Mtime, Born: m.Born, Mode: uint16(m.Mode), Nlink: uint16(min(m.Nlink, 0xffff)), len: uint16(len(name))}}
	t.chunks = append(t.chunks, c)
	return Ref{chunk: d.first}
}

// trashMove takes the file at path, which lies outside the tree, to the trash.
func (p *planner) trashMove(path string) (Move, error) {
	st, err := lstat(path)
	if err != nil {
		return Move{}, fmt.Errorf("look at %s: %w", path, err)
	}
	r := p.Tree.add(path, st, 0)
	p.growKinds()
	return p.toTrash(r)
}

// growKinds makes room for files that were added to the tree.
func (p *planner) growKinds() {
	for len(p.kinds) < len(p.Tree.chunks) {
		p.kinds = append(p.kinds, make([]uint16, len(p.Tree.chunks[len(p.kinds)].files)))
	}
}

// toTrash is the move that takes a file of the tree to the trash of its file system.
func (p *planner) toTrash(r Ref) (Move, error) {
	path, d := p.Tree.Path(r), p.Tree.DirOf(r)
	trash, ok := p.trashes[d]
	if !ok {
		var err error
		if trash, err = p.opt.Trash(&p.Tree.Dirs[d]); err != nil {
			return Move{}, fmt.Errorf("find the trash for %s: %w", path, err)
		}
		p.trashes[d] = trash
	}
	to := p.folder(trash.Files)
	if trash.Info != "" {
		info := p.folder(trash.Info)
		p.Folders[to].beside = info + 1
	}
	f := &p.Folders[to]
	if err := f.load(); err != nil && !errors.Is(err, fs.ErrPermission) { // macOS hides what is in it; a name that is taken is refused
		return Move{}, fmt.Errorf("list the trash %s: %w", trash.Files, err)
	}
	m := Move{File: r, To: to, Action: journal.Trash, Label: p.label("Trash")}
	if name := trashName(path); name != p.Tree.Name(r) {
		p.rename(&m, name)
	}
	if f.taken[f.key(p.Name(&m))] {
		p.rename(&m, p.numbered(&m, p.nextFree(f, &m)))
	}
	f.taken[f.key(p.Name(&m))] = true
	return m, nil
}

// replaceMove is the move that takes the duplicate r of the tree to the trash and leaves a link to the file that it equals
// (Plan.SameAs) in its place: with is replaceHardlink or replaceSymlink.
func (p *planner) replaceMove(r Ref, with string) (Move, error) {
	if p.opt.Trash == nil {
		return Move{}, fmt.Errorf("replace %s: %w", p.Tree.Path(r), errNoTrash)
	}
	m, err := p.toTrash(r)
	if err != nil {
		return Move{}, err
	}
	m.Action, m.Label = journal.Replace, p.label(DuplicatesDir)
	if with != replaceHardlink {
		p.rename(&m, p.Name(&m)) // an index of its own
		p.extras[m.Name] = &extra{mode: with}
	}
	return m, nil
}

// shareMove is the move that lets the duplicate r of the tree share its blocks with the file that it equals (Plan.SameAs).
func (p *planner) shareMove(r Ref) Move {
	return Move{File: r, To: p.folder(p.Tree.Dirs[p.Tree.DirOf(r)].Path), Action: journal.Share, Label: p.label(DuplicatesDir)}
}

// present reports whether what a move would make is there already, from an earlier run.
func (p *planner) present(m *Move, to *Folder, path string, there meta) bool {
	switch m.Action {
	case journal.Copy:
		return p.copied(m, to)
	case journal.Link:
		return there.SameFile(identity(p.Tree.File(m.File)))
	case journal.Symlink:
		dir, err := openFolder(to.Path)
		if err != nil {
			return false
		}
		defer dir.close()
		text, err := dir.readlink(filepath.Base(path))
		return err == nil && text == p.finalPath(m.File)
	case journal.Extract:
		return isDir(there.Mode)
	}
	return false
}

// copied reports whether an earlier run has copied the file, under its name or a numbered one.
func (p *planner) copied(m *Move, to *Folder) bool {
	size := p.Tree.File(m.File).Size
	for n := 1; ; n++ {
		name := p.Name(m)
		if n > 1 {
			name = p.numbered(m, n)
		}
		if !to.taken[to.key(name)] {
			return false
		}
		path := filepath.Join(to.Path, name)
		if there, err := lstat(path); err == nil && isRegular(there.Mode) && there.Size == size {
			if same, err := sameBytes(p.Tree.Path(m.File), path); err == nil && same {
				return true
			}
		}
	}
}

// asideName is a name of ours that is free in a folder.
func (p *planner) asideName(dir string) string {
	for n := len(p.Names); ; n++ {
		name := asidePrefix + strconv.Itoa(n)
		if _, err := lstat(filepath.Join(dir, name)); err != nil {
			return name
		}
	}
}

// order puts every move after the one that frees its place, and breaks circles with a name of ours in between.
func (p *planner) order() {
	from := map[place]int{}
	for i := range p.Moves {
		m := &p.Moves[i]
		if !frees(m.Action) {
			continue
		}
		d := &p.Tree.Dirs[p.Tree.DirOf(m.File)]
		from[place{d.Path, p.Tree.Name(m.File)}] = i
	}
	const (
		white = iota
		grey
		black
	)
	colour := make([]uint8, len(p.Moves))
	out := make([]Move, 0, len(p.Moves))
	var late []Move
	for i := range p.Moves {
		var chain []int
		for j := i; colour[j] == white; {
			colour[j] = grey
			chain = append(chain, j)
			next, ok := from[place{p.Folders[p.Moves[j].To].Path, p.Name(&p.Moves[j])}]
			if !ok || next == j || colour[next] == black {
				break
			}
			if colour[next] == grey && next == chain[0] { // a circle: its first file steps aside
				m := p.Moves[next]
				aside := m
				aside.To = p.folder(p.Tree.Dirs[p.Tree.DirOf(m.File)].Path)
				p.rename(&aside, p.asideName(p.Folders[aside.To].Path))
				out = append(out, aside)
				// The rest of its way begins at that name: it is the same file under another ref.
				f := *p.Tree.File(m.File)
				m.File = p.Tree.add(filepath.Join(p.Folders[aside.To].Path, p.Name(&aside)),
					meta{Identity: identity(&f), Nlink: uint32(f.Nlink)}, p.Folders[aside.To].Dev)
				if m.Name == 0 {
					p.rename(&m, p.Tree.Name(p.Moves[next].File))
				}
				p.aside[m.File] = aside.File
				late = append(late, m)
				colour[next] = black
				break
			}
			j = next
		}
		for k := len(chain) - 1; k >= 0; k-- {
			if colour[chain[k]] != black {
				out = append(out, p.Moves[chain[k]])
				colour[chain[k]] = black
			}
		}
		out = append(out, late...)
		late = late[:0]
	}
	p.Moves = out
}

// prune lists the folders that the plan empties, deepest first.
func (p *planner) prune() {
	gone := make([]int, len(p.Tree.Dirs)) // entries that leave each folder
	at := map[string]int{}
	for i := range p.Tree.Dirs {
		at[p.Tree.Dirs[i].Path] = i
	}
	for i := range p.Moves {
		gone[p.Tree.DirOf(p.Moves[i].File)]++
	}
	byDepth := make([]int, 0, len(p.Tree.Dirs))
	for i := range p.Tree.Dirs {
		byDepth = append(byDepth, i)
	}
	slices.SortStableFunc(byDepth, func(a, b int) int {
		return cmp.Compare(len(p.Tree.Dirs[b].Path), len(p.Tree.Dirs[a].Path))
	})
	filled := map[string]bool{}
	for i := range p.Moves {
		for path := p.Folders[p.Moves[i].To].Path; !filled[path]; path = filepath.Dir(path) {
			filled[path] = true
		}
	}
	for _, i := range byDepth {
		d := &p.Tree.Dirs[i]
		if d.IsRoot || d.Left != NotLeft || gone[i] == 0 || gone[i] < d.Names || filled[d.Path] {
			continue
		}
		p.Prune = append(p.Prune, uint32(i))
		if up, ok := at[filepath.Dir(d.Path)]; ok {
			gone[up]++
		}
	}
}
