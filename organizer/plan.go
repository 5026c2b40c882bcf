package organizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"forg/journal"
	"forg/organizer/dupes"
	"forg/organizer/metadata"
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

// DuplicateAction is what to do with files that have the same content as another.
type DuplicateAction string

// The values of --duplicates of organize, and of --action of dupes.
const (
	DuplicatesReport   DuplicateAction = "report"
	DuplicatesSkip     DuplicateAction = "skip" // organize only
	DuplicatesTrash    DuplicateAction = "trash"
	DuplicatesHardlink DuplicateAction = "hardlink"
	DuplicatesSymlink  DuplicateAction = "symlink" // dupes only, as are those below
	DuplicatesReflink  DuplicateAction = "reflink" // share the blocks on the disk
	DuplicatesFolder   DuplicateAction = "folder"
	DuplicatesExec     DuplicateAction = "exec"
)

// DuplicatesDir is where DuplicatesFolder puts them, below the destination root.
const DuplicatesDir = "Duplicates"

// Options say what a plan should achieve.
type Options struct {
	By         []Key
	Conflict   Conflict
	Duplicates DuplicateAction
	Detect     Detect
	Copy       bool
	Modified   bool // photos and videos without a date of their own go by their time of modification
	PruneEmpty bool
	MaxFiles   int64 // refuse a plan that moves more files, 0 for no limit
	MaxBytes   int64 // the same in bytes
	Hidden     bool
	// Undone tells where an undo has put a file back from: it is left where it is rather than put there again.
	Undone func(dir, name string, f journal.Identity) (from string, ok bool)
	// ByHand reports whether a person has taken a file from where it was put before: it is left where it is. nil leaves none.
	ByHand func(dir *Dir, name string, f journal.Identity) bool
	// Hashes is what earlier runs know of contents; nil knows nothing. It pays where files are compared and stay, as those
	// that rules ask about, and takes a tree with times of change. What is moved is not known again.
	Hashes *dupes.Cache
	// Trash finds the trash for files of a folder; nil refuses what would need it.
	Trash func(dir *Dir) (TrashDir, error)
	// Busy reports whether a program has the file open for writing.
	Busy func(path string) bool
	// Rules, when not nil, say where files go instead of By. Recursive and Into are those of the scan: rules without
	// locations hold in subfolders only where it is, and relative destinations are below Into or, if that is empty, below
	// the location of their rule. Metadata reads what rules ask of a content.
	Rules     *rules.Rules
	Recursive bool
	Into      string
	Metadata  *metadata.Reader
	// Confirm asks a person on behalf of a rule; nil stands for no, since nobody is there.
	Confirm func(path, question string) bool
	Now     time.Time
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
	Policy uint8 // in Plan.policies: what its rule says of a name that is taken
}

// Mismatch is a file whose content is not what its name says.
type Mismatch struct {
	Path string
	Says string // type its name claims
	Is   string // type of its content
}

// KindDupes is the kind of operations that deal with duplicates where they are.
const KindDupes = "dupes"

// Plan is who goes where, under which name, and why. It is a value: dry run, review, plan file and run look at the same
// one.
type Plan struct {
	Kind       string // of the operation in the history: KindDupes, or "organize" if it is empty
	Root       string
	Tree       *Tree
	Folders    []Folder
	Moves      []Move
	Names      []string
	Labels     []string
	Prune      []uint32       // folders of the tree to remove once empty, deepest first
	SameAs     map[Ref]Ref    // duplicates and the file each equals
	Similar    bool           // SameAs is of pictures that only look the same, as a person has seen: bytes are not compared
	DupBytes   int64          // that the duplicates take
	Mismatches []Mismatch     // shown to the person
	Problems   []Problem      // files that cannot be moved as asked, and why
	Left       [Reasons]int64 // files left alone by the plan, beyond those of the scan
	Unchecked  int64          // files whose content was not compared with their name
	ByRules    bool           // rules of the user's decided, and labels are their names
	Undecided  []Undecided    // rules that something unknown kept from matching
	Said       []Said         // what rules say about files
	copy       bool
	policies   []policy
	extras     map[uint32]*extra // what actions need besides, by the index of their Name
	chained    bool              // more than a move may be done with a file
	wanted     map[Ref]bool      // files that go to the trash because a rule says so
	writes     map[string]*writing
	last       map[Ref]*Move     // see lastMove
	typed      map[string]string // destinations as rules have them, and where those are
	resident   uint32            // chunks from it on are of files at the destination, 0: those were not looked at
	aside      map[Ref]Ref       // files that stepped aside, by what they are called there: what they were called before
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
func (p *Plan) Files() int64 {
	n := int64(-len(p.aside))
	for i := range p.Moves {
		if a := p.Moves[i].Action; a.Counts() || a == journal.Link {
			n++
		}
	}
	return n
}

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
	trashes  map[uint32]TrashDir // by folder of the tree
	sorted   int                 // moves before it have their units together

	// For plans by rules:
	writing       []toWrite
	before, after []Move // what is done with files before any moves, and after all have
	tagged        map[tagged]*tagging
	counters      map[*rules.Rule]int64
	duplicateOf   map[string]map[Ref]Ref // by fact
}

// MakePlan says where the files of the tree belong. It reads the disk and changes nothing. Besides errors of ctx it
// returns *TooMany and ErrConflict, each with what was too much.
func MakePlan(ctx context.Context, tree *Tree, set *rules.Set, opt Options) (*Plan, error) {
	p := newPlanner(tree, set, opt)
	if err := p.categorize(ctx); err != nil {
		return nil, err
	}
	if opt.Rules == nil {
		p.assign()
	} else if err := p.assignRules(ctx); err != nil {
		return nil, err
	}
	if err := p.duplicates(ctx); err != nil {
		return nil, err
	}
	return p.resolve()
}

func newPlanner(tree *Tree, set *rules.Set, opt Options) *planner {
	return &planner{
		Plan: &Plan{Root: tree.Root(), Tree: tree, Names: []string{""}, SameAs: map[Ref]Ref{}, aside: map[Ref]Ref{}, copy: opt.Copy, ByRules: opt.Rules != nil,
			policies: []policy{{}}, extras: map[uint32]*extra{}, wanted: map[Ref]bool{}, writes: map[string]*writing{}, typed: map[string]string{}},
		opt: opt, set: set, folders: map[string]uint32{}, labels: map[string]uint16{}, dates: map[Ref]time.Time{},
		byKind: map[uint16]uint32{}, inBundle: map[string]bool{}, trashes: map[uint32]TrashDir{},
		tagged: map[tagged]*tagging{}, counters: map[*rules.Rule]int64{},
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
	p.keepUnitsTogether()
}

// keepUnitsTogether puts the moves of a unit behind each other.
func (p *planner) keepUnitsTogether() {
	together(p.Moves[p.sorted:])
	p.sorted = len(p.Moves)
}

// together puts the moves of each unit behind its first.
func together(moves []Move) {
	first := map[uint32]int{} // where each unit begins
	at := make([]int, len(moves))
	for i := range moves {
		at[i] = i
		if u := moves[i].Unit; u != 0 {
			if f, ok := first[u]; ok {
				at[i] = f
			} else {
				first[u] = i
			}
		}
	}
	if len(first) == 0 {
		return
	}
	order := make([]int, len(moves))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
	sorted := make([]Move, len(moves))
	for i, k := range order {
		sorted[i] = moves[k]
	}
	copy(moves, sorted)
}

func (p *planner) assignOne(r, lead Ref, unit uint32) {
	to := p.destination(lead)
	k := p.kindOf(lead)
	if p.Folders[to].Path == p.Tree.Dirs[p.Tree.DirOf(r)].Path {
		return // in its place
	}
	if p.takenBack(r, p.Folders[to].Path) {
		return
	}
	action := journal.Rename
	if p.opt.Copy {
		action = journal.Copy
	}
	p.Moves = append(p.Moves, Move{File: r, To: to, Unit: unit, Label: p.label(k.Category), Action: action})
}

// takenBack leaves a file where it is if a person has brought it there, by an undo of the very move to the folder to or,
// where that counts, by hand.
func (p *planner) takenBack(r Ref, to string) bool {
	d, name, id := &p.Tree.Dirs[p.Tree.DirOf(r)], p.Tree.Name(r), identity(p.Tree.File(r))
	if p.opt.Undone != nil {
		if from, ok := p.opt.Undone(d.Path, name, id); ok && from == to {
			p.leave(r, LeftUndone)
			return true
		}
	}
	if p.opt.ByHand != nil && p.opt.ByHand(d, name, id) {
		p.leave(r, LeftByHand)
		return true
	}
	return false
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
		return sizeClasses[SizeClass(p.Tree.File(r).Size)].name
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

// SizeClass is the index in SizeClasses of the folder of files of n bytes.
func SizeClass(n int64) int {
	i := 0
	for n >= sizeClasses[i].below {
		i++
	}
	return i
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
