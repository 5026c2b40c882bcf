package organizer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"forg/organizer/dupes"
)

// Which files are superfluous: package dupes tells which contents are equal, and here it is decided of each group who
// stays, by where its files are, how old they are, and what a person wants never to be touched. Nothing is changed.

// Keep is how to choose the file that stays among equals. What it leaves open, the shortest path decides, and then the
// path itself.
type Keep string

// The values of --keep.
const (
	// KeepAuto keeps one of equal folders with all its files, else the oldest file, and of files of one age the one that is
	// not in a folder of which all is elsewhere too.
	KeepAuto     Keep = "auto"
	KeepOldest   Keep = "oldest"   // by time of modification
	KeepNewest   Keep = "newest"   // the same
	KeepShortest Keep = "shortest" // path
	KeepLongest  Keep = "longest"  // path
	KeepFirst    Keep = "first"    // below the root that was given first, then by path
	KeepPriority Keep = "priority" // nothing but DuplicateOptions.Priority and the path
)

// DuplicateOptions say which files are compared and which of equals stay. A file of a folder of Reference stays before
// all; then Priority decides, then Keep.
type DuplicateOptions struct {
	Keep      Keep
	Priority  []string // folders, links resolved, most wanted first: a file in an earlier one stays rather than one in a later
	Reference []string // folders, links resolved, whose files are never touched; with any, only groups that have a file there count
	Isolate   bool     // files below one root are no duplicates of each other
	Empty     bool     // empty files are duplicates too
	MinSize   int64    // bytes
	MaxSize   int64    // bytes, 0 for no limit
	MinCopies int      // so many copies of a content stay; less than 1 is 1
	Projects  bool     // files in projects, repositories and bundles are like any other
	Hash      bool     // give groups their Hash
	Cache     *dupes.Cache
	// Listed, when not nil, says where a saved report has each file of the tree: only files of one of its groups are
	// compared with each other, and those that it lets stay do. Files that equal no other of their group any more are
	// Problems. Folders are not compared, since a list does not tell what else is in them.
	Listed func(Ref) Listing
	// Progress is told, one call at a time, of files and bytes compared so far and of how many there are at most.
	Progress func(files, bytes, allFiles, allBytes int64)
}

// Role is what becomes of a file of a group.
type Role uint8

// The roles. Of all but Superfluous the file stays as it is.
const (
	Kept        Role = iota // the copy that stays, or one of MinCopies
	Superfluous             // may go
	Linked                  // another name (hard link) of a file that stays
	Shared                  // shares its blocks on the disk with a file that stays, so that nothing is won by removing it
	Reference               // in a folder of DuplicateOptions.Reference
	Protected               // in a project, a repository or a bundle; does not count as a copy that stays either
	Isolated                // below the same root as a file that stays, see DuplicateOptions.Isolate
)

var roleText = [...]string{"kept", "superfluous", "linked", "shared", "reference", "protected", "isolated"}

// String is the role in one word, as reports for programs have it.
func (r Role) String() string { return roleText[r] }

// Copy is a file of a group of equals.
type Copy struct {
	File Ref
	Role Role
	Same int32 // index in DuplicateGroup.Files of the first name of the same file on the disk; its own if there is none before

	pinned Role  // Reference or Protected if it lies where nothing may be touched, else Kept
	share  int32 // what it shares its blocks with: those with the same number do
}

// DuplicateGroup is files of one content of which at least one is superfluous.
type DuplicateGroup struct {
	Size   int64    // bytes, of each
	Hash   [32]byte // BLAKE3 of the content, if DuplicateOptions.Hash asked for it
	Files  []Copy   // Files[0] stays; the others are in the order in which they would have been chosen
	Why    string   // what decided for Files[0], in few words ("oldest")
	Wasted int64    // bytes that the disk would gain without the superfluous files
}

// Superfluous is how many files of the group are, each once, however many names it has.
func (g *DuplicateGroup) Superfluous() int64 {
	var n int64
	for i, c := range g.Files {
		if c.Role == Superfluous && int(c.Same) == i {
			n++
		}
	}
	return n
}

// FolderCopies is two folders of which the files of one are all in the other as well.
type FolderCopies struct {
	Of, Folder uint32 // in Tree.Dirs; all that is in Folder, at any depth, is somewhere in Of too
	Exact      bool   // under the same names, in the same subfolders, and nothing else is in either
	Files      int64  // in Folder
	Bytes      int64  // of them, each file on the disk once, without links to files elsewhere
	LeftOut    int64  // entries of Folder that were not compared: hidden files, links, what the options left out
}

// Duplicates is which files of a tree are superfluous. It is a value: reports, reviews and plans look at the same one.
type Duplicates struct {
	Tree      *Tree
	Groups    []DuplicateGroup // most wasted bytes first
	Folders   []FolderCopies   // most bytes first
	Files     int64            // that are superfluous, each once, however many names it has
	Wasted    int64            // bytes that the disk would gain without them
	Protected int64            // files that would be superfluous if DuplicateOptions.Projects were set
	Problems  []Problem        // files that could not be compared, and why
	copied    []int32          // by folder: 1 + index in Folders of the copy that it lies in; nil if there is none
}

// FolderCopy is the index in Duplicates.Folders of the copy that a file lies in, so that who has read of the folder need not
// read of the file, or -1.
func (d *Duplicates) FolderCopy(r Ref) int {
	if d.copied == nil {
		return -1
	}
	return int(d.copied[d.Tree.DirOf(r)]) - 1
}

// inCopy reports whether a file lies in any folder that is a copy.
func (d *Duplicates) inCopy(r Ref) bool { return d.FolderCopy(r) >= 0 }

// inTwin reports whether a file lies in a folder that is an exact copy: its twin stays whole, so it goes whole.
func (d *Duplicates) inTwin(r Ref) bool {
	at := d.FolderCopy(r)
	return at >= 0 && d.Folders[at].Exact
}

// FindDuplicates finds the files of a tree that equal others, and decides which of them stay. Only files that the scan has
// not left alone are looked at. Trees of several roots (Join) may overlap: a folder that was reached twice counts once. It
// reads the disk and changes nothing. The error is that of ctx.
func FindDuplicates(ctx context.Context, tree *Tree, opt DuplicateOptions) (*Duplicates, error) {
	opt.Keep, opt.MinCopies = cmp.Or(opt.Keep, KeepAuto), max(opt.MinCopies, 1)
	f := &duplicateFinder{Duplicates: &Duplicates{Tree: tree}, opt: opt, classes: make([][]int32, len(tree.chunks))}
	f.look()
	f.criteria = f.order()
	if err := f.compare(ctx); err != nil {
		return nil, err
	}
	for i := range f.contents {
		f.judge(&f.contents[i])
	}
	if opt.Listed == nil {
		if err := f.compareFolders(ctx); err != nil {
			return nil, err
		}
	}
	if opt.Keep == KeepAuto && len(f.Folders) > 0 {
		for i := range f.contents {
			if c := &f.contents[i]; slices.ContainsFunc(c.refs, f.inCopy) {
				f.judge(c)
			}
		}
	}
	f.collect()
	return f.Duplicates, nil
}

// duplicateFinder is the work of one FindDuplicates.
type duplicateFinder struct {
	*Duplicates
	opt      DuplicateOptions
	places   []duplicatePlace // by folder
	contents []equalFiles
	classes  [][]int32 // per chunk and file, 1 + index in contents; 0 where a file equals no other
	criteria []criterion
	scratch  struct { // of units
		order []int32
		of    []int
		units []unit
	}
}

// duplicatePlace is what the place of a folder says about the files in it.
type duplicatePlace struct {
	root      int32 // index of the root that it was reached from; of several the nearest
	priority  int32 // index in DuplicateOptions.Priority, or one behind the last
	reference bool
	protected bool
	again     map[string]bool // of a folder that was reached before: the names that were seen then
}

// equalFiles are the files of one content.
type equalFiles struct {
	size   int64
	hash   [32]byte
	refs   []Ref
	same   []int32 // as in dupes.Group
	joined bool    // some of them are not their own first
	// What judge decided:
	copies    []Copy // in order, with their roles; nil if none is superfluous
	why       string
	wasted    int64
	protected int64
}

// look finds out what each folder's place says.
func (f *duplicateFinder) look() {
	t := f.Tree
	f.places = make([]duplicatePlace, len(t.Dirs))
	first := make(map[identityOn]uint32, len(t.Dirs))
	for i := range t.Dirs {
		d, p := &t.Dirs[i], &f.places[i]
		p.root, p.priority = -1, int32(rank(f.opt.Priority, d.Path))
		for k, root := range t.Roots {
			if Within(d.Path, root) && (p.root < 0 || len(root) > len(t.Roots[p.root])) {
				p.root = int32(k)
			}
		}
		p.reference = rank(f.opt.Reference, d.Path) < len(f.opt.Reference)
		p.protected = d.Project && !f.opt.Projects
		if d.ID.Ino == 0 {
			continue
		}
		id := identityOn{d.Dev, d.ID.Ino}
		k, ok := first[id]
		if !ok {
			first[id] = uint32(i)
			continue
		}
		// Mounted at two places, or named twice by a person. What one of the two says to protect is protected.
		p.again = map[string]bool{}
		for r, file := range t.InDir(k) {
			if file.Left == NotLeft {
				p.again[t.Name(r)] = true
			}
		}
		was := &f.places[k]
		was.reference = was.reference || p.reference
		was.protected = was.protected || p.protected
		p.reference, p.protected = was.reference, was.protected
	}
}

// criterion decides between two files: it is negative if a is rather to stay than b.
type criterion struct {
	why     string
	compare func(a, b Ref) int
}

// order is what decides who stays, in this order.
func (f *duplicateFinder) order() []criterion {
	t := f.Tree
	place := func(r Ref) *duplicatePlace { return &f.places[t.DirOf(r)] }
	first := func(is func(r Ref) bool) func(a, b Ref) int {
		return func(a, b Ref) int { return compareBool(is(b), is(a)) }
	}
	length := func(r Ref) int { return len(t.Dirs[t.DirOf(r)].Path) + len(t.Name(r)) }
	oldest := func(a, b Ref) int { return cmp.Compare(t.File(a).Mtime, t.File(b).Mtime) }
	list := []criterion{
		{"reference", first(func(r Ref) bool { return place(r).reference })},
		{"not in a project", first(func(r Ref) bool { return !place(r).protected })},
		{"kept in the report", f.compareListed},
		{"priority", func(a, b Ref) int { return cmp.Compare(place(a).priority, place(b).priority) }},
	}
	switch f.opt.Keep {
	case KeepAuto:
		list = append(list, criterion{"in the folder that stays", first(func(r Ref) bool { return !f.inTwin(r) })}, criterion{"oldest", oldest},
			criterion{"in the fuller folder", first(func(r Ref) bool { return !f.inCopy(r) })})
	case KeepOldest:
		list = append(list, criterion{"oldest", oldest})
	case KeepNewest:
		list = append(list, criterion{"newest", func(a, b Ref) int { return oldest(b, a) }})
	case KeepLongest:
		list = append(list, criterion{"longest path", func(a, b Ref) int { return cmp.Compare(length(b), length(a)) }})
	case KeepFirst:
		list = append(list, criterion{"first folder given", func(a, b Ref) int { return cmp.Compare(place(a).root, place(b).root) }})
	}
	if f.opt.Keep != KeepFirst {
		list = append(list, criterion{"shortest path", func(a, b Ref) int { return cmp.Compare(length(a), length(b)) }})
	}
	return append(list, criterion{"first by name", t.comparePaths})
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (f *duplicateFinder) rankRefs(a, b Ref) int {
	for i := range f.criteria {
		if c := f.criteria[i].compare(a, b); c != 0 {
			return c
		}
	}
	return compareRefs(a, b)
}

// comparePaths orders files by their paths, which are rarely needed for it.
func (t *Tree) comparePaths(a, b Ref) int {
	x, y := t.DirOf(a), t.DirOf(b)
	if x == y {
		return strings.Compare(t.Name(a), t.Name(b))
	}
	p, q := t.Dirs[x].Path, t.Dirs[y].Path
	if n := min(len(p), len(q)); p[:n] != q[:n] {
		return strings.Compare(p, q)
	}
	return strings.Compare(t.Path(a), t.Path(b))
}

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.chunk, b.chunk), cmp.Compare(a.i, b.i))
}

// candidate reports whether a file is compared with others.
func (f *duplicateFinder) candidate(r Ref, file *File) bool {
	return file.Left == NotLeft && file.Size >= f.opt.MinSize && (f.opt.MaxSize == 0 || file.Size <= f.opt.MaxSize) &&
		!f.places[f.Tree.DirOf(r)].again[f.Tree.Name(r)]
}

// compare finds the contents that more than one name leads to.
func (f *duplicateFinder) compare(ctx context.Context) error {
	sizes := map[int64]int32{}
	for r, file := range f.Tree.All() {
		if f.candidate(r, file) {
			sizes[file.Size]++
		}
	}
	var some []Ref
	empty := equalFiles{hash: blake3.Sum256(nil)}
	for r, file := range f.Tree.All() {
		if sizes[file.Size] < 2 || !f.candidate(r, file) {
			continue
		}
		if file.Size == 0 {
			empty.refs = append(empty.refs, r)
		} else {
			some = append(some, r)
		}
	}
	groups, err := findEqual(ctx, f.Tree, some, dupes.Options{Cache: f.opt.Cache, Hash: f.opt.Hash, Progress: f.opt.Progress,
		Unread: func(i int32, err error) {
			path := f.Tree.Path(some[i])
			f.Problems = append(f.Problems, Problem{path, fmt.Errorf("compare %s: %w", path, cause(err))})
		}})
	if err != nil {
		return err
	}
	f.contents = make([]equalFiles, 0, len(groups)+1)
	for _, g := range groups {
		c := equalFiles{size: f.Tree.File(some[g.Files[0]]).Size, hash: g.Hash, same: g.Same, refs: make([]Ref, len(g.Files))}
		for i, at := range g.Files {
			c.refs[i] = some[at]
		}
		f.takeParts(c)
	}
	if len(empty.refs) > 1 {
		empty.same = make([]int32, len(empty.refs))
		ids := make(map[identityOn]int32, len(empty.refs))
		for i, r := range empty.refs {
			id := f.inode(r)
			if _, ok := ids[id]; !ok {
				ids[id] = int32(i)
			}
			empty.same[i] = ids[id]
		}
		f.takeParts(empty)
	}
	f.changedSinceListed()
	slices.SortFunc(f.Problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// inode tells files on the disk apart.
func (f *duplicateFinder) inode(r Ref) identityOn {
	return identityOn{f.Tree.Dirs[f.Tree.DirOf(r)].Dev, f.Tree.File(r).Ino}
}

// take notes a content, if its files count.
func (f *duplicateFinder) take(c equalFiles) {
	if len(f.opt.Reference) > 0 && !slices.ContainsFunc(c.refs, func(r Ref) bool { return f.places[f.Tree.DirOf(r)].reference }) {
		return
	}
	for i, first := range c.same {
		c.joined = c.joined || int(first) != i
	}
	f.contents = append(f.contents, c)
	for _, r := range c.refs {
		f.setClass(r, int32(len(f.contents)))
	}
}

func (f *duplicateFinder) setClass(r Ref, class int32) {
	if f.classes[r.chunk] == nil {
		f.classes[r.chunk] = make([]int32, len(f.Tree.chunks[r.chunk].files))
	}
	f.classes[r.chunk][r.i] = class
}

// class is 1 + the index of a file's content in contents, or 0 if no other file has it.
func (f *duplicateFinder) class(r Ref) int32 {
	if c := f.classes[r.chunk]; c != nil {
		return c[r.i]
	}
	return 0
}

// findEqual finds files of equal content among some of a tree.
func findEqual(ctx context.Context, t *Tree, some []Ref, opt dupes.Options) ([]dupes.Group, error) {
	if len(some) < 2 {
		return nil, nil
	}
	folders := make([]dupes.Folder, len(t.Dirs))
	for i := range t.Dirs {
		d := &t.Dirs[i]
		folders[i] = dupes.Folder{Path: d.Path, Dev: d.Dev, Ino: d.ID.Ino}
	}
	files := make([]dupes.File, len(some))
	for i, r := range some {
		s := t.File(r)
		files[i] = dupes.File{Name: t.Name(r), Folder: t.DirOf(r), Ino: s.Ino, Size: s.Size, Mtime: s.Mtime, Changed: t.Changed(r)}
	}
	return dupes.Find(ctx, folders, files, opt)
}

// unit is a file on the disk, with those of its names that are in a group.
type unit struct {
	first     int // its first name, in the order in which names would be chosen
	names     int
	share     int32   // what it shares its blocks with
	roots     []int32 // that its names were reached from, if those matter
	reference bool
	protected bool
	stays     bool // because a report says so
	role      Role
}

// units puts the names of a content into the order in which they would be chosen to stay, and says which are one file. What
// it returns is good until it is called again.
func (f *duplicateFinder) units(c *equalFiles) (order []int32, of []int, units []unit) {
	order, of, units = f.scratch.order[:0], f.scratch.of[:0], f.scratch.units[:0]
	for i := range c.refs {
		order, of = append(order, int32(i)), append(of, 0)
	}
	slices.SortFunc(order, func(a, b int32) int { return f.rankRefs(c.refs[a], c.refs[b]) })
	var byInode map[identityOn]int
	if c.joined {
		byInode = make(map[identityOn]int, len(order))
	}
	for k, at := range order {
		p := &f.places[f.Tree.DirOf(c.refs[at])]
		u, known := len(units), false
		if id := f.inode(c.refs[at]); c.joined && id.ino != 0 { // without inodes each name is a file
			if u, known = byInode[id]; !known {
				u = len(units)
				byInode[id] = u
			}
		}
		if !known {
			units = append(units, unit{first: k, share: c.same[at]})
		}
		of[k] = u
		units[u].names++
		units[u].reference = units[u].reference || p.reference
		units[u].protected = units[u].protected || p.protected
		units[u].stays = units[u].stays || f.opt.Listed != nil && f.opt.Listed(c.refs[at]).Stays > 0
		if f.opt.Isolate {
			units[u].roots = append(units[u].roots, p.root)
		}
	}
	f.scratch.order, f.scratch.of, f.scratch.units = order, of, units
	return order, of, units
}

// judge decides of each file of a content whether it stays.
func (f *duplicateFinder) judge(c *equalFiles) {
	c.copies, c.wasted, c.protected = nil, 0, 0
	order, of, units := f.units(c)
	keeper := &f.places[f.Tree.DirOf(c.refs[order[0]])]
	if keeper.protected && !keeper.reference { // nothing but projects: all of it stays
		c.protected = int64(len(units) - 1)
		return
	}
	var blocks, roots map[int32]bool // of files that stay, where that matters
	if c.joined {
		blocks = map[int32]bool{}
	}
	if f.opt.Isolate {
		roots = map[int32]bool{}
	}
	kept := 0
	keep := func(u *unit, role Role) {
		u.role = role
		if c.joined {
			blocks[u.share] = true
		}
		for _, r := range u.roots {
			roots[r] = true
		}
		kept++
	}
	keep(&units[0], Kept)
	for i := range units[1:] {
		if u := &units[1+i]; u.reference {
			keep(u, Reference)
		}
	}
	superfluous := false
	for i := range units[1:] {
		u := &units[1+i]
		switch {
		case u.reference:
		case u.protected:
			u.role = Protected
			c.protected++
		case u.stays:
			keep(u, Kept)
		case f.opt.Isolate && slices.ContainsFunc(u.roots, func(r int32) bool { return roots[r] }):
			u.role = Isolated
		case blocks[u.share]:
			u.role = Shared
		case kept < f.opt.MinCopies:
			keep(u, Kept)
		default:
			u.role, superfluous = Superfluous, true
		}
	}
	if !superfluous {
		return
	}
	c.copies = make([]Copy, len(order))
	for k, at := range order {
		u, p := &units[of[k]], &f.places[f.Tree.DirOf(c.refs[at])]
		role, pinned := u.role, Kept
		switch {
		case p.reference:
			pinned = Reference
		case p.protected:
			pinned = Protected
		}
		switch {
		case role == Superfluous || k == 0:
		case pinned != Kept:
			role = pinned
		case u.first != k || role == Reference || role == Protected: // another of its names is why it stays
			role = Linked
		}
		c.copies[k] = Copy{File: c.refs[at], Role: role, Same: int32(u.first), pinned: pinned, share: u.share}
	}
	for i := range units {
		u := &units[i]
		if u.role == Superfluous && !blocks[u.share] && u.names >= int(f.Tree.File(c.copies[u.first].File).Nlink) {
			if c.wasted += c.size; c.joined {
				blocks[u.share] = true // several that share blocks are won once
			}
		}
	}
	goes := c.copies[slices.IndexFunc(c.copies, func(o Copy) bool { return o.Role == Superfluous })].File
	if i := slices.IndexFunc(f.criteria, func(o criterion) bool { return o.compare(c.copies[0].File, goes) != 0 }); i >= 0 {
		c.why = f.criteria[i].why
	}
}

// collect makes groups of the contents that have superfluous files.
func (f *duplicateFinder) collect() {
	for i := range f.contents {
		c := &f.contents[i]
		if c.size == 0 && !f.opt.Empty {
			continue
		}
		f.Protected += c.protected
		if c.copies == nil {
			continue
		}
		f.addToFolders(c)
		g := DuplicateGroup{Size: c.size, Hash: c.hash, Files: c.copies, Why: c.why, Wasted: c.wasted}
		f.Groups = append(f.Groups, g)
		f.Files += g.Superfluous()
		f.Wasted += g.Wasted
	}
	slices.SortFunc(f.Groups, func(a, b DuplicateGroup) int {
		if c := cmp.Or(cmp.Compare(b.Wasted, a.Wasted), cmp.Compare(b.Size, a.Size)); c != 0 {
			return c
		}
		return f.Tree.comparePaths(a.Files[0].File, b.Files[0].File)
	})
	f.sortFolders()
}

// addToFolders counts the files of a content for the folders that they lie in, each file once for each folder.
func (f *duplicateFinder) addToFolders(c *equalFiles) {
	type inFolder struct {
		at   int
		same int32
	}
	var counted map[inFolder]bool
	for _, file := range c.copies {
		in := inFolder{f.FolderCopy(file.File), file.Same}
		if in.at < 0 || file.Role != Superfluous && file.Role != Kept || counted[in] {
			continue
		}
		if counted == nil {
			counted = map[inFolder]bool{}
		}
		counted[in] = true
		f.Folders[in.at].Bytes += c.size
	}
}

// sortFolders leaves out the copies that take no room of their own, and puts those that take most room first.
func (d *Duplicates) sortFolders() {
	order := make([]int, len(d.Folders))
	for i := range order {
		order[i] = i
	}
	order = slices.DeleteFunc(order, func(i int) bool { return d.Folders[i].Bytes == 0 })
	slices.SortFunc(order, func(a, b int) int {
		x, y := &d.Folders[a], &d.Folders[b]
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), strings.Compare(d.Tree.Dirs[x.Folder].Path, d.Tree.Dirs[y.Folder].Path))
	})
	sorted, now := make([]FolderCopies, len(order)), make([]int32, len(d.Folders)+1)
	for k, i := range order {
		sorted[k], now[i+1] = d.Folders[i], int32(k+1)
	}
	d.Folders = sorted
	for i := range d.copied {
		d.copied[i] = now[d.copied[i]]
	}
}
