package organizer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"forg/organizer/dupes"
	"forg/organizer/images"
	"forg/organizer/metadata"
	"forg/rules"
)

// That pictures look alike is no proof of anything. So nothing here makes a plan of what was found: a person looks at the
// groups, says of each picture whether it goes, and only that Selection can be planned.

// SimilarOptions say which pictures are compared, and what counts as alike.
type SimilarOptions struct {
	Threshold int      // largest distance of a picture from the best of its group; see images.MaxThreshold
	Rotation  bool     // pictures that are rotated or mirrored are alike too
	Reference []string // folders, links resolved, whose files are never touched
	Projects  bool     // files in projects, repositories and bundles are like any other
	MinSize   int64    // bytes
	MaxSize   int64    // bytes, 0 for no limit
	Metadata  *metadata.Reader
	Cache     *dupes.Cache // for which of the pictures are equal
	// Progress is told, one call at a time, how many of all pictures were read.
	Progress func(done, all int64)
}

// SimilarFile is a picture of a group.
type SimilarFile struct {
	File          Ref
	Distance      int         // from the best of the group, 0 to images.MaxDistance
	Turn          images.Turn // what makes it look like the best
	Width, Height uint32      // pixels, as shown
	Format        images.Format
	Same          int   // index in the group of the first file with the same bytes; its own if there is none before
	Role          Role  // Kept, or why it must stay: Reference or Protected
	With          []Ref // what belongs to it and goes with it: other names of it, its sidecars, a raw photo or live film of its name
}

// SimilarGroup is pictures that look like the first of them, which is the best: of most pixels, then one in colour, then the
// largest file, then the oldest.
type SimilarGroup struct {
	Files []SimilarFile
	Bytes int64 // that all but the best take, with what belongs to them
}

// Similar is which pictures of a tree look alike. It is a value: reports of all kinds look at the same one.
type Similar struct {
	Tree        *Tree
	Threshold   int
	Groups      []SimilarGroup // most bytes first
	Pictures    int64          // that were compared
	Plain       int64          // pictures in which there is too little to see
	Unsupported int64          // files that are pictures by name, of a format that cannot be decoded
	Bytes       int64          // that all pictures but the best of their groups take
	Problems    []Problem      // files that could not be read, and why
}

// FindSimilar finds pictures of the tree that look alike. Only files that the scan has not left alone, and that are pictures
// by their names, are looked at. It reads the disk and changes nothing. The error is that of ctx, or of a wrong option.
func FindSimilar(ctx context.Context, tree *Tree, set *rules.Set, opt SimilarOptions) (*Similar, error) {
	f := similarFinder{Similar: &Similar{Tree: tree, Threshold: opt.Threshold}, opt: opt, set: set}
	f.list()
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	prints := make([]*images.Print, len(f.pictures))
	for i := range f.pictures {
		prints[i] = f.pictures[i].print
	}
	groups, err := images.Similar(ctx, prints, images.Options{Threshold: opt.Threshold, Rotation: opt.Rotation})
	if err != nil {
		return nil, err
	}
	for _, members := range groups {
		f.collect(members)
	}
	if err := f.findEqual(ctx); err != nil {
		return nil, err
	}
	f.findCompanions()
	for i := range f.Groups {
		g := &f.Groups[i]
		for _, m := range g.Files[1:] {
			g.Bytes += f.BytesOf(&m)
		}
		f.Bytes += g.Bytes
	}
	slices.SortStableFunc(f.Groups, func(a, b SimilarGroup) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return f.Similar, nil
}

// BytesOf is what a picture takes with all that belongs to it; other names of one file take nothing.
func (s *Similar) BytesOf(f *SimilarFile) int64 {
	own := s.Tree.File(f.File)
	n := own.Size
	for _, r := range f.With {
		if other := s.Tree.File(r); other.Ino != own.Ino || other.Ino == 0 {
			n += other.Size
		}
	}
	return n
}

type similarFinder struct {
	*Similar
	opt      SimilarOptions
	set      *rules.Set
	pictures []candidatePicture
	names    map[identityOn][]Ref // of a file, beyond its first
}

type candidatePicture struct {
	r     Ref
	print *images.Print // nil: none
}

// picturesCategory is the category of the built-in rules that pictures are in.
const picturesCategory = "Images"

// list lists the files that are pictures by their names, each file once.
func (f *similarFinder) list() {
	f.names = map[identityOn][]Ref{}
	first := map[identityOn]int{} // where in f.pictures a file is, by the name that comes first
	for r, file := range f.Tree.All() {
		if file.Left != NotLeft || file.Size < max(f.opt.MinSize, 1) || f.opt.MaxSize > 0 && file.Size > f.opt.MaxSize {
			continue
		}
		_, ext := f.set.Split(f.Tree.Name(r))
		if k, _ := f.set.ByExtension(ext); k == nil || k.Category != picturesCategory {
			continue
		}
		id := identityOn{f.Tree.Dirs[f.Tree.DirOf(r)].Dev, file.Ino}
		if at, again := first[id]; again && file.Ino != 0 {
			if known := &f.pictures[at].r; f.before(r, *known) {
				r, *known = *known, r
			}
			f.names[id] = append(f.names[id], r)
			continue
		}
		first[id] = len(f.pictures)
		f.pictures = append(f.pictures, candidatePicture{r: r})
	}
}

// unseen says in a person's words why a picture could not be looked at.
func unseen(path string, err error) error {
	switch {
	case errors.Is(err, metadata.ErrDamaged):
		return fmt.Errorf("look at %s: the picture is damaged or cut short", path)
	case errors.Is(err, metadata.ErrLimit):
		return fmt.Errorf("look at %s: the picture is too large", path)
	}
	return fmt.Errorf("look at %s: %w", path, cause(err))
}

// read makes the fingerprints, and sorts by how good the pictures are.
func (f *similarFinder) read(ctx context.Context) error {
	type outcome struct {
		i     int
		print *images.Print
		err   error
	}
	outcomes := make(chan outcome, 64)
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	go func() {
		for i := range f.pictures {
			if inner.Err() != nil {
				break
			}
			g.Go(func() error {
				p, err := readPrint(inner, f.Tree.Path(f.pictures[i].r), f.opt.Metadata)
				outcomes <- outcome{i, p, err}
				return inner.Err()
			})
		}
		g.Wait()
		close(outcomes)
	}()
	done := int64(0)
	for o := range outcomes {
		switch {
		case errors.Is(o.err, metadata.ErrUnsupported):
			f.Unsupported++
		case o.err != nil:
			path := f.Tree.Path(f.pictures[o.i].r)
			f.Problems = append(f.Problems, Problem{path, unseen(path, o.err)})
		case o.print.Plain():
			f.Plain++
			f.Pictures++
		default:
			f.pictures[o.i].print = o.print
			f.Pictures++
		}
		if done++; f.opt.Progress != nil {
			f.opt.Progress(done, int64(len(f.pictures)))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	slices.SortFunc(f.Problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	f.pictures = slices.DeleteFunc(f.pictures, func(p candidatePicture) bool { return p.print == nil })
	slices.SortFunc(f.pictures, func(a, b candidatePicture) int {
		fa, fb := f.Tree.File(a.r), f.Tree.File(b.r)
		if c := cmp.Or(cmp.Compare(pixels(b.print), pixels(a.print)), compareBool(a.print.Grey(), b.print.Grey()), cmp.Compare(fb.Size, fa.Size), cmp.Compare(fa.Mtime, fb.Mtime)); c != 0 {
			return c
		}
		if f.before(a.r, b.r) {
			return -1
		}
		return 1
	})
	return nil
}

// before puts the shorter path first, of equally long ones the first by name.
func (f *similarFinder) before(a, b Ref) bool {
	pa, pb := f.Tree.Path(a), f.Tree.Path(b)
	return cmp.Or(cmp.Compare(len(pa), len(pb)), cmp.Compare(pa, pb)) < 0
}

func pixels(p *images.Print) uint64 { return uint64(p.Width) * uint64(p.Height) }

func readPrint(ctx context.Context, path string, reader *metadata.Reader) (*images.Print, error) {
	f, err := openPath(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	defer f.Close()
	v, err := reader.File(f).Fact(ctx, metadata.FactPrint)
	if err != nil {
		return nil, err
	}
	text, _ := v.(string)
	p := &images.Print{}
	if err := p.UnmarshalText([]byte(text)); err != nil {
		return nil, fmt.Errorf("compare %s: %w", path, err)
	}
	return p, nil
}

// collect makes a group. One in which nothing may go is no news to anybody.
func (f *similarFinder) collect(members []images.Member) {
	var g SimilarGroup
	for i, m := range members {
		c := f.pictures[m.Picture]
		s := SimilarFile{File: c.r, Distance: m.Distance, Turn: m.Turn, Width: c.print.Width, Height: c.print.Height, Format: c.print.Format, Same: i}
		dir := &f.Tree.Dirs[f.Tree.DirOf(c.r)]
		switch {
		case slices.ContainsFunc(f.opt.Reference, func(ref string) bool { return Within(dir.Path, ref) }):
			s.Role = Reference
		case dir.Project && !f.opt.Projects:
			s.Role = Protected
		}
		g.Files = append(g.Files, s)
	}
	if slices.ContainsFunc(g.Files, func(s SimilarFile) bool { return s.Role == Kept }) {
		f.Groups = append(f.Groups, g)
	}
}

// findEqual marks the pictures that even have the same bytes.
func (f *similarFinder) findEqual(ctx context.Context) error {
	type place struct{ group, i int }
	places := map[Ref]place{}
	var some []Ref
	for g := range f.Groups {
		sizes := map[int64]int{}
		for i := range f.Groups[g].Files {
			sizes[f.Tree.File(f.Groups[g].Files[i].File).Size]++
		}
		for i := range f.Groups[g].Files {
			if r := f.Groups[g].Files[i].File; sizes[f.Tree.File(r).Size] > 1 {
				places[r] = place{g, i}
				some = append(some, r)
			}
		}
	}
	slices.SortFunc(some, compareRefs)
	equal, err := findEqual(ctx, f.Tree, some, dupes.Options{Cache: f.opt.Cache})
	if err != nil {
		return err
	}
	for _, e := range equal {
		first := map[int]int{} // by group: pictures of equal bytes are alike, but may be in different groups all the same
		var all []place
		for _, i := range e.Files {
			all = append(all, places[some[i]])
		}
		slices.SortFunc(all, func(a, b place) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.i, b.i)) })
		for _, p := range all {
			if at, ok := first[p.group]; ok {
				f.Groups[p.group].Files[p.i].Same = at
			} else {
				first[p.group] = p.i
			}
		}
	}
	return nil
}

// findCompanions finds what belongs to the pictures.
func (f *similarFinder) findCompanions() {
	byDir := map[uint32][]*SimilarFile{}
	for g := range f.Groups {
		for i := range f.Groups[g].Files {
			s := &f.Groups[g].Files[i]
			d := f.Tree.DirOf(s.File)
			byDir[d] = append(byDir[d], s)
			s.With = append(s.With, f.names[identityOn{f.Tree.Dirs[d].Dev, f.Tree.File(s.File).Ino}]...)
		}
	}
	for d, files := range byDir {
		var names []string
		var refs []Ref
		for r := range f.Tree.InDir(d) {
			names, refs = append(names, f.Tree.Name(r)), append(refs, r)
		}
		with := map[Ref][]Ref{}
		for _, b := range f.set.Bundles(names, f.Tree.Dirs[d].Folders) {
			for _, i := range b.Files {
				for _, k := range b.Files {
					if i != k {
						with[refs[i]] = append(with[refs[i]], refs[k])
					}
				}
			}
		}
		for _, s := range files {
			for _, r := range with[s.File] {
				if !slices.Contains(s.With, r) {
					s.With = append(s.With, r)
				}
			}
		}
	}
}

// Thumbnail is a JPEG of a file of the tree, of at most side pixels in each direction. It is an error if the file is no
// picture that can be decoded.
func Thumbnail(ctx context.Context, t *Tree, r Ref, side int) ([]byte, error) {
	path := t.Path(r)
	h, err := openPath(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	defer h.Close()
	b, err := images.Thumbnail(ctx, h, t.File(r).Size, side, images.Limits{})
	if err != nil {
		return nil, fmt.Errorf("draw %s: %w", path, err)
	}
	return b, nil
}

// Selection is what a person has made of a report of similar pictures: which go, and which stay. Reports have the same form,
// without what only a person can say.
type Selection struct {
	Similar  bool             `json:"similar"`  // always true: what tells it from reports of equal files
	Reviewed bool             `json:"reviewed"` // a person has looked at it
	Groups   []SelectionGroup `json:"groups"`
}

// SelectionGroup is a group of a Selection.
type SelectionGroup struct {
	Files []SelectionFile `json:"files"`
}

// SelectionFile is a file of a Selection, and which one it is.
type SelectionFile struct {
	Path      string          `json:"path"`
	PathBytes []byte          `json:"path_bytes,omitempty"` // if Path is not valid UTF-8
	Keep      *bool           `json:"keep,omitempty"`       // whether it stays, once a person has said so
	Bytes     int64           `json:"bytes"`
	Modified  time.Time       `json:"modified"`
	Inode     uint64          `json:"inode,string"` // text, for programs that read numbers as floating point
	Born      int64           `json:"born,string,omitempty"`
	Distance  int             `json:"distance"`
	Turn      string          `json:"turn,omitempty"`
	Width     uint32          `json:"width,omitempty"`
	Height    uint32          `json:"height,omitempty"`
	Format    string          `json:"format,omitempty"`
	Best      bool            `json:"best,omitempty"`
	Same      *int            `json:"same,omitempty"` // index of the first file of the group with the same bytes
	Role      string          `json:"role,omitempty"` // why it must stay
	With      []SelectionFile `json:"with,omitempty"` // what goes with it
}

func (s *Similar) selectionFile(r Ref) SelectionFile {
	f := s.Tree.File(r)
	out := SelectionFile{Bytes: f.Size, Modified: time.Unix(0, f.Mtime).UTC(), Inode: f.Ino, Born: f.Born}
	out.Path, out.PathBytes = ExactPath(s.Tree.Path(r))
	return out
}

// Selection is group i in the form of a report.
func (s *Similar) Selection(i int) SelectionGroup {
	var out SelectionGroup
	for k := range s.Groups[i].Files {
		f := &s.Groups[i].Files[k]
		o := s.selectionFile(f.File)
		o.Distance, o.Turn, o.Width, o.Height, o.Format, o.Best = f.Distance, f.Turn.String(), f.Width, f.Height, f.Format.String(), k == 0
		if f.Same != k {
			o.Same = &f.Same
		}
		if f.Role != Kept {
			o.Role = f.Role.String()
		}
		for _, r := range f.With {
			o.With = append(o.With, s.selectionFile(r))
		}
		out.Files = append(out.Files, o)
	}
	return out
}

// Errors of a selection that cannot be planned.
var (
	ErrSelection   = errors.New("this is no selection of similar pictures that forg can carry out")
	ErrNotReviewed = errors.New("nobody has reviewed it")
)

const (
	maxSelectionBytes = 256 << 20
	maxSelectionFiles = 1_000_000
)

// ReadSelection reads a selection and checks its form. It is an error if nobody has reviewed it. Nothing that it says of
// files is believed: see Selection.Paths and PlanSelection.
func ReadSelection(r io.Reader) (*Selection, error) {
	var s Selection
	limited := &io.LimitedReader{R: r, N: maxSelectionBytes}
	d := json.NewDecoder(limited)
	err := d.Decode(&s)
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("%w: it is longer than %d MiB", ErrSelection, maxSelectionBytes>>20)
	case err != nil:
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrSelection, d.InputOffset(), err)
	case !s.Similar:
		return nil, fmt.Errorf("%w: it is not about similar pictures", ErrSelection)
	case !s.Reviewed:
		return nil, fmt.Errorf("%w: %w", ErrSelection, ErrNotReviewed)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: there is something behind it", ErrSelection)
	}
	files := 0
	for g := range s.Groups {
		stays := false
		for i := range s.Groups[g].Files {
			f := &s.Groups[g].Files[i]
			stays = stays || f.stays()
			for _, f := range append([]*SelectionFile{f}, f.with()...) {
				if files++; files > maxSelectionFiles {
					return nil, fmt.Errorf("%w: it lists more than %d files", ErrSelection, maxSelectionFiles)
				}
				if len(f.PathBytes) > 0 {
					f.Path = string(f.PathBytes)
				}
				if p := f.Path; !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.ContainsRune(p, 0) || filepath.Dir(p) == p {
					return nil, fmt.Errorf("%w: %q is not an absolute path of a file", ErrSelection, p)
				}
			}
		}
		if !stays && len(s.Groups[g].Files) > 0 {
			return nil, fmt.Errorf("%w: of group %d no picture would stay", ErrSelection, g+1)
		}
	}
	return &s, nil
}

// stays reports whether a picture stays: it goes only if that was said.
func (f *SelectionFile) stays() bool { return f.Keep == nil || *f.Keep }

func (f *SelectionFile) with() []*SelectionFile {
	var all []*SelectionFile
	for i := range f.With {
		all = append(all, &f.With[i])
	}
	return all
}

// Paths are all files that the selection names, each once, sorted.
func (s *Selection) Paths() []string {
	var all []string
	for g := range s.Groups {
		for i := range s.Groups[g].Files {
			all = append(all, s.Groups[g].Files[i].Path)
			for _, w := range s.Groups[g].Files[i].with() {
				all = append(all, w.Path)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// SelectionOptions say how a selection is carried out.
type SelectionOptions struct {
	Reference []string // folders, links resolved, whose files are never touched
	Projects  bool     // files in projects, repositories and bundles are like any other
	Trash     func(dir *Dir) (TrashDir, error)
	Now       time.Time
}

// PlanSelection plans to move to the trash the pictures that go by a selection, each with what belongs to it. tree is what a
// scan of its Paths has found. A picture goes only if it, and all that goes with it, is still the file that was reviewed,
// and if one that stays in its group is, too; that one must still be there when the plan is carried out. Everything else is
// a Problem of the plan. It reads the disk and changes nothing. The error is that of ctx.
func PlanSelection(ctx context.Context, s *Selection, tree *Tree, set *rules.Set, opt SelectionOptions) (*Plan, error) {
	p := newPlanner(tree, set, Options{Conflict: ConflictRename, Trash: opt.Trash, Now: opt.Now})
	p.Kind, p.Similar = KindDupes, true
	p.growKinds()
	c := selectionPlanner{planner: p, opt: opt, refs: map[string]Ref{}, stay: map[string]bool{}, gone: map[Ref]bool{}}
	for r := range tree.All() {
		c.refs[tree.Path(r)] = r
	}
	// What stays in one group goes in none, whoever belongs to it.
	for g := range s.Groups {
		for i := range s.Groups[g].Files {
			if f := &s.Groups[g].Files[i]; f.stays() {
				c.stay[f.Path] = true
			}
		}
	}
	for g := range s.Groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.group(&s.Groups[g])
	}
	return p.resolve()
}

type selectionPlanner struct {
	*planner
	opt  SelectionOptions
	refs map[string]Ref  // by path
	stay map[string]bool // paths
	gone map[Ref]bool
}

func (c *selectionPlanner) problem(path string, err error) {
	c.Problems = append(c.Problems, Problem{path, fmt.Errorf("trash %s: %w", path, err)})
}

func (c *selectionPlanner) group(g *SelectionGroup) {
	var keeper Ref
	var lost error
	found := false
	for i := range g.Files {
		if f := &g.Files[i]; f.stays() && !found {
			r, err := c.same(f)
			if keeper, found = r, err == nil; err != nil && lost == nil {
				lost = fmt.Errorf("%s, which was to stay: %w", f.Path, err)
			}
		}
	}
	for i := range g.Files {
		f := &g.Files[i]
		if f.stays() {
			continue
		}
		if !found {
			c.problem(f.Path, lost)
			continue
		}
		if err := c.trash(f, keeper); err != nil {
			c.problem(f.Path, err)
		}
	}
}

// same finds a file that was reviewed, if it still is that file.
func (c *selectionPlanner) same(f *SelectionFile) (Ref, error) {
	r, ok := c.refs[f.Path]
	if !ok {
		return Ref{}, errors.New("it is not there any more, or was not looked at")
	}
	now := c.Tree.File(r)
	if now.Ino != f.Inode || now.Born != f.Born || now.Size != f.Bytes || now.Mtime != f.Modified.UnixNano() {
		return Ref{}, errors.New("it has changed since the review")
	}
	return r, nil
}

func (c *selectionPlanner) trash(f *SelectionFile, keeper Ref) error {
	var moves []Move
	lead := Ref{}
	for i, one := range append([]*SelectionFile{f}, f.with()...) {
		if c.stay[one.Path] {
			return fmt.Errorf("%s is to stay", one.Path)
		}
		r, err := c.same(one)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Path, err)
		}
		if c.gone[r] {
			if i > 0 {
				continue // it belongs to two of them, and goes with the first
			}
			return nil
		}
		file, dir := c.Tree.File(r), &c.Tree.Dirs[c.Tree.DirOf(r)]
		switch {
		case file.Left != NotLeft && file.Left != LeftHidden:
			return fmt.Errorf("%s is left alone: %s", one.Path, file.Left)
		case slices.ContainsFunc(c.opt.Reference, func(ref string) bool { return Within(dir.Path, ref) }):
			return fmt.Errorf("%s lies in a folder of which nothing is touched", one.Path)
		case dir.Project && !c.opt.Projects:
			return fmt.Errorf("%s lies in a project, repository or bundle", one.Path)
		}
		m, err := c.toTrash(r)
		if err != nil {
			return err
		}
		if i == 0 {
			lead = r
		}
		moves = append(moves, m)
	}
	if len(moves) > 1 {
		c.unit++
		for i := range moves {
			moves[i].Unit = c.unit
		}
	}
	for i := range moves {
		c.gone[moves[i].File] = true
		c.wanted[moves[i].File] = true
	}
	c.SameAs[lead] = keeper
	c.DupBytes += c.Tree.File(lead).Size
	c.Moves = append(c.Moves, moves...)
	return nil
}
