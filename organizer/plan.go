package organizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"forg/journal"
	"forg/rules"
)

// Key is something that files are sorted into folders by.
type Key string

// The keys of --by.
const (
	ByCategory  Key = "category"  // Documents, Images, ...
	ByType      Key = "type"      // PDFs, Spreadsheets, ...
	ByExtension Key = "extension" // pdf, tar.gz, ...
	ByDate      Key = "date"      // 2024-02-29
	ByMonth     Key = "month"     // 2024-02
	ByYear      Key = "year"      // 2024
	BySize      Key = "size"      // Under 1 MB, ...
)

// Keys are all of them.
var Keys = []Key{ByCategory, ByType, ByExtension, ByDate, ByMonth, ByYear, BySize}

// Conflict is what to do when a name is taken at the destination.
type Conflict string

// The values of --on-conflict.
const (
	ConflictRename    Conflict = "rename"    // take the next free "name (2).ext"
	ConflictSkip      Conflict = "skip"      // leave the file where it is
	ConflictOverwrite Conflict = "overwrite" // the file in the way goes to the trash
	ConflictNewer     Conflict = "newer"     // overwrite if the file in the way is older, else skip
	ConflictFail      Conflict = "fail"      // refuse the whole plan
)

// Duplicates is what to do with files that have the same content as another of the run.
type Duplicates string

// The values of --duplicates.
const (
	DuplicatesReport   Duplicates = "report"
	DuplicatesSkip     Duplicates = "skip"
	DuplicatesTrash    Duplicates = "trash"
	DuplicatesHardlink Duplicates = "hardlink"
	DuplicatesFolder   Duplicates = "folder"
)

// DuplicatesDir is where DuplicatesFolder puts them, below the destination root.
const DuplicatesDir = "Duplicates"

// Options say what a plan should achieve.
type Options struct {
	By         []Key
	Conflict   Conflict
	Duplicates Duplicates
	Detect     Detect
	Copy       bool
	Modified   bool // photos and videos without a date of their own go by their time of modification
	PruneEmpty bool
	MaxFiles   int64 // refuse a plan that moves more files, 0 for no limit
	MaxBytes   int64 // the same in bytes
	Hidden     bool
	// Undone tells where an undo has put a file back from: it is left where it is rather than put there again.
	Undone func(dir, name string, f journal.Identity) (from string, ok bool)
	// Trash finds the trash for files of a folder; nil refuses what would need it.
	Trash func(dir *Dir) (TrashDir, error)
	// Busy reports whether a program has the file open for writing.
	Busy func(path string) bool
	Now  time.Time
	// Progress is told how many of total files were looked into.
	Progress func(done, total int64)
}

// TooMany refuses a plan that moves more than it may.
type TooMany struct {
	Bytes       bool // it is about bytes, not files
	Plan, Limit int64
}

func (e *TooMany) Error() string {
	return fmt.Sprintf("the plan moves %d, the limit is %d", e.Plan, e.Limit)
}

// Errors that refuse a whole plan.
var (
	ErrConflict = errors.New("names are taken at the destination")
)

// Folder is a folder that a plan puts files into.
type Folder struct {
	Path    string
	ID      journal.Folder // as it is; Ino 0 if it is to be made
	Dev     uint64
	Exists  bool
	fold    func(name string) string // what names have in common that its file system takes for one; nil: nothing
	taken   map[string]bool
	next    map[string]int // last number given to a name
	listed  bool
	blocked error  // why it is no folder and cannot become one
	beside  uint32 // another folder that must be there with it, plus one
}

// Move is one file's way. Millions of them must fit in memory.
type Move struct {
	File   Ref
	To     uint32 // in Plan.Folders
	Name   uint32 // in Plan.Names, 0: keeps its name
	Unit   uint32 // files of one unit stay together, 0: alone
	Label  uint16 // in Plan.Labels
	Action journal.Action
}

// Mismatch is a file whose content is not what its name says.
type Mismatch struct {
	Path string
	Says string // type its name claims
	Is   string // type of its content
}

// Plan is who goes where, under which name, and why. It is a value: dry run, review, plan file and run look at the same
// one.
type Plan struct {
	Root       string
	Tree       *Tree
	Folders    []Folder
	Moves      []Move
	Names      []string
	Labels     []string
	Prune      []uint32       // folders of the tree to remove once empty, deepest first
	SameAs     map[Ref]Ref    // duplicates and the file each equals
	DupBytes   int64          // that the duplicates take
	Mismatches []Mismatch     // shown to the person
	Problems   []Problem      // files that cannot be moved as asked, and why
	Left       [Reasons]int64 // files left alone by the plan, beyond those of the scan
	Unchecked  int64          // files whose content was not compared with their name
	copy       bool
	aside      map[Ref]Ref // files that stepped aside, by what they are called there: what they were called before
}

// Name is the name a move gives its file.
func (p *Plan) Name(m *Move) string {
	if m.Name == 0 {
		return p.Tree.Name(m.File)
	}
	return p.Names[m.Name]
}

// Target is the path a move takes its file to.
func (p *Plan) Target(m *Move) string { return filepath.Join(p.Folders[m.To].Path, p.Name(m)) }

// Aside reports whether a move only makes room: its file goes on to its place later in the plan.
func (p *Plan) Aside(m *Move) bool {
	return m.Name != 0 && IsAside(p.Names[m.Name])
}

// Source is the file that a move is about, under its name before the plan.
func (p *Plan) Source(m *Move) Ref {
	if r, ok := p.aside[m.File]; ok {
		return r
	}
	return m.File
}

// IsCopy reports whether the plan leaves the originals where they are.
func (p *Plan) IsCopy() bool { return p.copy }

// Bytes is the size of what a plan moves.
func (p *Plan) Bytes() int64 {
	var n int64
	for i := range p.Moves {
		if !p.Aside(&p.Moves[i]) {
			n += p.Tree.File(p.Moves[i].File).Size
		}
	}
	return n
}

// Files is how many files a plan moves.
func (p *Plan) Files() int64 { return int64(len(p.Moves) - len(p.aside)) }

// planner turns a tree into a plan. It is the only one: what it promises is what is carried out.
type planner struct {
	*Plan
	opt      Options
	set      *rules.Set
	folders  map[string]uint32
	labels   map[string]uint16
	kinds    [][]uint16 // per chunk and file, index of its kind
	dates    map[Ref]time.Time
	byKind   map[uint16]uint32 // destination by kind below into, when nothing else decides
	into     string
	unit     uint32
	inBundle map[string]bool // folders that move with a page, and those below
	pages    []page
	sorted   int // moves before it have their units together
}

// MakePlan says where the files of the tree belong. It reads the disk and changes nothing. Besides errors of ctx it
// returns *TooMany and ErrConflict, each with what was too much.
func MakePlan(ctx context.Context, tree *Tree, set *rules.Set, opt Options) (*Plan, error) {
	p := newPlanner(tree, set, opt)
	if err := p.categorize(ctx); err != nil {
		return nil, err
	}
	p.assign()
	if err := p.duplicates(ctx); err != nil {
		return nil, err
	}
	return p.resolve()
}

func newPlanner(tree *Tree, set *rules.Set, opt Options) *planner {
	return &planner{
		Plan: &Plan{Root: tree.Root(), Tree: tree, Names: []string{""}, SameAs: map[Ref]Ref{}, aside: map[Ref]Ref{}, copy: opt.Copy},
		opt:  opt, set: set, folders: map[string]uint32{}, labels: map[string]uint16{}, dates: map[Ref]time.Time{},
		byKind: map[uint16]uint32{}, inBundle: map[string]bool{},
	}
}

func (p *planner) leave(r Ref, why Reason) {
	p.Tree.File(r).Left = why
	p.Left[why]++
}

// assign gives every file the folder it should be in, bundle by bundle.
func (p *planner) assign() {
	for d := range len(p.Tree.Dirs) { // bundles adds to the tree
		in := p.bundles(uint32(d))
		for r, f := range p.Tree.InDir(uint32(d)) {
			if f.Left != NotLeft {
				continue
			}
			lead, unit := r, uint32(0)
			if b, ok := in[r]; ok {
				if b.left != NotLeft { // one of them stays, so all stay
					p.leave(r, b.left)
					continue
				}
				lead, unit = b.lead, b.unit
			}
			if p.opt.Busy != nil && p.opt.Busy(p.Tree.Path(r)) {
				p.leave(r, LeftOpen)
				continue
			}
			p.assignOne(r, lead, unit)
		}
		p.assignPages()
	}
}

// assignPages lets folders go with the pages they belong to, right behind their files.
func (p *planner) assignPages() {
	if len(p.pages) > 0 {
		p.growKinds()
	}
	for _, g := range p.pages {
		p.assignOne(g.folder, g.lead, g.unit)
	}
	p.pages = p.pages[:0]
	part := p.Moves[p.sorted:]
	first := map[uint32]int{} // where each unit begins
	at := make([]int, len(part))
	for i := range part {
		at[i] = i
		if u := part[i].Unit; u != 0 {
			if f, ok := first[u]; ok {
				at[i] = f
			} else {
				first[u] = i
			}
		}
	}
	if len(first) > 0 {
		order := make([]int, len(part))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
		sorted := make([]Move, len(part))
		for i, k := range order {
			sorted[i] = part[k]
		}
		copy(part, sorted)
	}
	p.sorted = len(p.Moves)
}

func (p *planner) assignOne(r, lead Ref, unit uint32) {
	to := p.destination(lead)
	k := p.kindOf(lead)
	if p.Folders[to].Path == p.Tree.Dirs[p.Tree.DirOf(r)].Path {
		return // in its place
	}
	if p.opt.Undone != nil {
		dir := p.Tree.Dirs[p.Tree.DirOf(r)].Path
		if from, ok := p.opt.Undone(dir, p.Tree.Name(r), identity(p.Tree.File(r))); ok && from == p.Folders[to].Path {
			p.leave(r, LeftUndone)
			return
		}
	}
	action := journal.Rename
	if p.opt.Copy {
		action = journal.Copy
	}
	p.Moves = append(p.Moves, Move{File: r, To: to, Unit: unit, Label: p.label(k.Category), Action: action})
}

func identity(f *File) journal.Identity {
	return journal.Identity{Ino: f.Ino, Born: f.Born, Size: f.Size, Mtime: f.Mtime, Mode: uint32(f.Mode)}
}

func (p *planner) label(name string) uint16 {
	i, ok := p.labels[name]
	if !ok {
		i = uint16(len(p.Labels))
		p.Labels = append(p.Labels, name)
		p.labels[name] = i
	}
	return i
}

// destination is the folder a file belongs in.
func (p *planner) destination(r Ref) uint32 {
	simple := true
	for _, key := range p.opt.By {
		simple = simple && (key == ByCategory || key == ByType)
	}
	k, into := p.kinds[r.chunk][r.i], p.Tree.Dirs[p.Tree.DirOf(r)].Into
	if into != p.into {
		p.into = into
		clear(p.byKind)
	}
	if simple {
		if to, ok := p.byKind[k]; ok {
			return to
		}
	}
	path := into
	for _, key := range p.opt.By {
		path = filepath.Join(path, p.segment(key, r))
	}
	to := p.folder(path)
	if simple {
		p.byKind[k] = to
	}
	return to
}

func (p *planner) kindOf(r Ref) *rules.Kind { return p.set.Kinds()[p.kinds[r.chunk][r.i]] }

// Undated is the folder of photos and videos of which nothing tells when they were taken.
const Undated = "Undated"

func (p *planner) segment(key Key, r Ref) string {
	switch key {
	case ByCategory:
		return p.kindOf(r).Category
	case ByType:
		return p.kindOf(r).Type
	case ByExtension:
		if _, ext := p.set.Split(p.Tree.Name(r)); ext != "" {
			return strings.ToLower(ext)
		}
		return NoExtension
	case BySize:
		return SizeClass(p.Tree.File(r).Size)
	}
	t, ok := p.dates[r]
	if !ok {
		return Undated
	}
	return t.Format(map[Key]string{ByDate: "2006-01-02", ByMonth: "2006-01", ByYear: "2006"}[key])
}

// NoExtension is the folder of files without one.
const NoExtension = "No extension"

var sizeClasses = []struct {
	below int64
	name  string
}{{1e6, "Under 1 MB"}, {10e6, "1-10 MB"}, {100e6, "10-100 MB"}, {1e9, "100 MB-1 GB"}, {1 << 62, "Over 1 GB"}}

// SizeClass is the folder of files of n bytes.
func SizeClass(n int64) string {
	i := slices.IndexFunc(sizeClasses, func(c struct {
		below int64
		name  string
	}) bool {
		return n < c.below
	})
	return sizeClasses[i].name
}

// SizeClasses are the folders of --by size, smallest first.
func SizeClasses() []string {
	names := make([]string, len(sizeClasses))
	for i, c := range sizeClasses {
		names[i] = c.name
	}
	return names
}

// Destination returns whether a name directly in the destination root is one that plans by these keys make: a
// recursive scan leaves such folders alone.
func Destination(set *rules.Set, by []Key) func(name string) bool {
	names := map[string]bool{DuplicatesDir: true}
	layout := ""
	switch by[0] {
	case ByCategory:
		for _, c := range set.Categories() {
			names[c] = true
		}
	case ByType:
		for _, k := range set.Kinds() {
			names[k.Type] = true
		}
	case BySize:
		for _, c := range sizeClasses {
			names[c.name] = true
		}
	case ByExtension:
		names[NoExtension] = true
	case ByDate:
		layout = "2006-01-02"
	case ByMonth:
		layout = "2006-01"
	case ByYear:
		layout = "2006"
	}
	if layout != "" {
		names[Undated] = true
	}
	return func(name string) bool {
		if names[name] {
			return true
		}
		if layout != "" {
			_, err := time.Parse(layout, name)
			return err == nil
		}
		if by[0] == ByExtension {
			k, _ := set.ByExtension(name)
			return k != nil
		}
		return false
	}
}

// folder is the index of the folder at path, which is known from now on with all missing folders above it.
func (p *planner) folder(path string) uint32 {
	if i, ok := p.folders[path]; ok {
		return i
	}
	f := Folder{Path: path}
	if id, dev, err := statDir(path); err == nil {
		f.ID, f.Dev, f.Exists = id, dev, true
		f.fold = foldsNames(path)
	} else {
		f.ID = journal.Folder{Path: path}
		f.listed = true // nothing in it yet
		if there, err := lstat(path); err == nil {
			f.blocked = errors.New("a file of that name is in the way; rename it first")
			if there.Mode&modeType == modeLink {
				f.blocked = errors.New("it is a symbolic link, which forg does not follow; give the folder it leads to with --into")
			}
		}
		if up := filepath.Dir(path); up != path {
			above := &p.Folders[p.folder(up)]
			f.fold, f.Dev, f.ID.Volume = above.fold, above.Dev, above.ID.Volume
			if above.blocked != nil {
				f.blocked = above.blocked
			}
		}
	}
	i := uint32(len(p.Folders))
	p.Folders = append(p.Folders, f)
	p.folders[path] = i
	return i
}

// claims reports whether name is taken in the folder, by the disk or by an earlier move.
func (f *Folder) key(name string) string {
	if f.fold != nil {
		return f.fold(name)
	}
	return name
}

func (f *Folder) load() error {
	if f.taken == nil {
		f.taken, f.next = map[string]bool{}, map[string]int{}
	}
	if f.listed {
		return nil
	}
	f.listed = true
	names, err := listNames(f.Path)
	for _, name := range names {
		f.taken[f.key(name)] = true
	}
	return err
}

// resolve settles names: every move gets one that is free, or a reason to stay. Then it puts the moves into an order
// in which each finds its place free.
func (p *planner) resolve() (*Plan, error) {
	leaving := p.leaving()
	out := make([]Move, 0, len(p.Moves))
	for i := 0; i < len(p.Moves); {
		n := i + 1 // members of a unit follow each other
		for n < len(p.Moves) && p.Moves[n].Unit != 0 && p.Moves[n].Unit == p.Moves[i].Unit {
			n++
		}
		out = p.resolveUnit(p.Moves[i:n], leaving, out)
		i = n
	}
	p.Moves = out
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
	if p.opt.PruneEmpty && !p.opt.Copy {
		p.prune()
	}
	return p.Plan, nil
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
		if hot && p.Moves[i].Action != journal.Link {
			if out == nil {
				out = map[place]bool{}
			}
			out[place{p.Tree.Dirs[d].Path, p.Tree.Name(p.Moves[i].File)}] = true
		}
	}
	return out
}

// resolveUnit finds names for moves that stay together: one number for all of them, or all of them stay.
func (p *planner) resolveUnit(unit []Move, leaving map[place]bool, out []Move) []Move {
	stay := func(why Reason) []Move {
		for i := range unit {
			p.leave(unit[i].File, why)
		}
		return out
	}
	worst := 0 // highest number that any of them needs
	var inWay []string
	for i := range unit {
		m := &unit[i]
		if m.Action == journal.Trash {
			continue // its name was found with it
		}
		to := &p.Folders[m.To]
		if to.blocked != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), fmt.Errorf("move %s to %s: %w", p.Tree.Path(m.File), to.Path, to.blocked)})
			return out
		}
		if err := to.load(); err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), fmt.Errorf("list folder %s: %w", to.Path, cause(err))})
			return out
		}
		name := p.Name(m)
		if to.Dev != 0 && !p.opt.Copy && to.Dev != p.Tree.Dirs[p.Tree.DirOf(m.File)].Dev {
			f := p.Tree.File(m.File)
			if f.Nlink > 1 {
				return stay(LeftLinked) // as a copy it would no longer be one file with its other names
			}
			if isDir(f.Mode) {
				p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), errors.New("a folder cannot move to another file system with its page: both stay")})
				return out
			}
			if m.Action == journal.Rename {
				m.Action = journal.Move
			}
		}
		if !to.taken[to.key(name)] || leaving[place{to.Path, name}] && !p.claimed(to, name) {
			continue
		}
		path := filepath.Join(to.Path, name)
		there, err := lstat(path)
		ours := err != nil || p.claimed(to, name) // claimed by this very run: its files never replace each other
		switch {
		case p.opt.Copy && p.copied(m, to):
			return stay(NotLeft)
		case p.opt.Conflict == ConflictSkip:
			return stay(LeftConflict)
		case p.opt.Conflict == ConflictFail:
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), fmt.Errorf("%w: %s", ErrConflict, path)})
			return out
		case p.opt.Conflict == ConflictRename || ours:
			worst = max(worst, p.nextFree(to, name))
			continue
		case !isRegular(there.Mode):
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), fmt.Errorf("overwrite %s: it is not a regular file, and only files give way to files", path)})
			return out
		case p.opt.Conflict == ConflictNewer && p.Tree.File(m.File).Mtime <= there.Mtime:
			return stay(LeftConflict)
		case p.opt.Trash == nil:
			p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), fmt.Errorf("overwrite %s: there is no trash for it here", path)})
			return out
		}
		inWay = append(inWay, path)
	}
	if worst > 0 { // one number that is free for all
		for n := worst; ; n++ {
			if !slices.ContainsFunc(unit, func(m Move) bool {
				to := &p.Folders[m.To]
				return m.Action != journal.Trash && to.taken[to.key(p.numbered(p.Name(&m), n))]
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
		if m.Action == journal.Trash {
			out = append(out, m)
			continue
		}
		to := &p.Folders[m.To]
		if worst > 0 {
			name := p.Name(&m)
			to.next[to.key(name)] = worst
			p.rename(&m, p.numbered(name, worst))
		}
		to.taken[to.key(p.Name(&m))] = true
		if leaving != nil || len(inWay) > 0 {
			p.claim(to, p.Name(&m))
		}
		out = append(out, m)
	}
	return out
}

// claim and claimed tell a name that a move of this plan takes from one that only the disk has, for the few folders
// that are both left and filled, and for names that a file of the disk gives up.
func (p *planner) claim(f *Folder, name string)        { f.taken["\x00"+f.key(name)] = true }
func (p *planner) claimed(f *Folder, name string) bool { return f.taken["\x00"+f.key(name)] }

func (p *planner) rename(m *Move, name string) {
	m.Name = uint32(len(p.Names))
	p.Names = append(p.Names, name)
}

// nextFree is the smallest number above those given so far that makes the name free.
func (p *planner) nextFree(to *Folder, name string) int {
	n := max(to.next[to.key(name)]+1, 2)
	for to.taken[to.key(p.numbered(name, n))] {
		n++
	}
	to.next[to.key(name)] = n - 1
	return n
}

func (p *planner) numbered(name string, n int) string {
	stem, ext := p.set.Split(name)
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
	path := p.Tree.Path(r)
	trash, err := p.opt.Trash(&p.Tree.Dirs[p.Tree.DirOf(r)])
	if err != nil {
		return Move{}, fmt.Errorf("find the trash for %s: %w", path, err)
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
	name := trashName(path)
	if f.taken[f.key(name)] {
		name = p.numbered(name, p.nextFree(f, name))
	}
	if name != p.Tree.Name(r) {
		p.rename(&m, name)
	}
	f.taken[f.key(p.Name(&m))] = true
	return m, nil
}

// copied reports whether an earlier run has copied the file, under its name or a numbered one.
func (p *planner) copied(m *Move, to *Folder) bool {
	size := p.Tree.File(m.File).Size
	for n := 1; ; n++ {
		name := p.Name(m)
		if n > 1 {
			name = p.numbered(name, n)
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
		if m.Action == journal.Link { // it frees no name
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
