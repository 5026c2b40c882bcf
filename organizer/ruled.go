package organizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"forg/journal"
	"forg/rules"
)

// Planning by rules: what the rules decide of each file becomes moves of the one planner, with the names, the order and
// the conflicts of all others.

// Undecided is a rule that did not match a file because something could not be told.
type Undecided struct {
	Path string
	rules.Unknown
}

// Said is a text that a rule says about a file.
type Said struct{ Path, Text string }

// An extra is what an action needs besides a file and a place.
type extra struct {
	mode      string   // of a write; "reflink" of a copy; of a replace, which without is replaceHardlink
	meta      []byte   // write and tag: of the step
	fresh     bool     // write: there is no file of the name
	argv, env []string // exec
	tags      []string // tag: for people
}

// extraOf is what a move's action needs besides; nothing for a plain move. No extra has the index 0 of kept names.
func (p *Plan) extraOf(m *Move) extra {
	if x := p.extras[m.Name]; x != nil {
		return *x
	}
	return extra{}
}

// Note says in a few words what an action does, where that is more than to move its file; else it is empty.
func (p *Plan) Note(m *Move) string {
	x := p.extraOf(m)
	switch m.Action {
	case journal.Copy:
		if x.mode == "reflink" {
			return "shared copy"
		}
		if !p.copy {
			return "copy"
		}
	case journal.Link:
		return "hard link"
	case journal.Symlink:
		return "symbolic link"
	case journal.Extract:
		return "extracted"
	case journal.Tag:
		return "tags: " + cmp.Or(strings.Join(x.tags, ", "), "none")
	case journal.Write:
		return "text is written (" + x.mode + ")"
	case journal.Exec:
		return "runs " + strings.Join(x.argv, " ") + " (cannot be undone)"
	case journal.Replace:
		if x.mode == replaceSymlink {
			return "a symbolic link takes its place"
		}
		return "a hard link takes its place"
	case journal.Share:
		return "shares its blocks on the disk"
	}
	return ""
}

// policy is what a rule says of names that are taken.
type policy struct {
	conflict Conflict // "" leaves it to the run
	rename   *rules.RenameTemplate
}

// ByRules makes a scan of root look wherever rules do. What they fill is left alone, and so are roots that are scanned
// by themselves.
func (o *ScanOptions) ByRules(r *rules.Rules, root string, roots []string) {
	recursive := o.Recursive
	o.Recursive = true // as far as a rule looks
	o.Changed = len(r.Duplicates()) > 0
	leave := map[string]bool{}
	for _, dir := range r.Inside(filepath.ToSlash(root), filepath.ToSlash(o.Into)) {
		leave[filepath.FromSlash(dir)] = true
	}
	o.Leave = func(path string) bool { return leave[path] }
	o.Enter = func(path string) bool {
		scope := r.Scope(filepath.ToSlash(root), filepath.ToSlash(path), recursive)
		return !slices.Contains(roots, path) && (!scope.Empty() || scope.Below())
	}
}

// decideAtOnce bounds how many decisions are held.
const decideAtOnce = 32 << 10

// assignRules gives every file the way that the rules say, bundle by bundle.
func (p *planner) assignRules(ctx context.Context) error {
	if err := p.prepareDuplicates(ctx); err != nil {
		return err
	}
	var total int64
	for r := range p.Tree.All() {
		if p.Tree.File(r).Left == NotLeft {
			total++
		}
	}
	var done int64
	folders := slices.ContainsFunc(p.opt.Rules.All(), func(r *rules.Rule) bool { return r.Enabled && r.Targets == rules.Dirs })
	for d := range len(p.Tree.Dirs) { // folders that move are added to the tree
		in := p.bundles(uint32(d))
		dir := &p.Tree.Dirs[d]
		if dir.Left != NotLeft {
			continue
		}
		scope := p.opt.Rules.Scope(filepath.ToSlash(p.rootOf(dir)), filepath.ToSlash(dir.Path), p.opt.Recursive)
		leads := map[Ref]rules.Decision{}
		var refs []Ref
		for r, f := range p.Tree.InDir(uint32(d)) {
			if f.Left != NotLeft {
				continue
			}
			if scope.Empty() {
				p.leave(r, LeftUnmatched)
				continue
			}
			refs = append(refs, r)
		}
		// The order of the disk is no order to a person, who may count files with {counter}.
		slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(p.Tree.Name(a), p.Tree.Name(b)) })
		for len(refs) > 0 {
			some := refs[:min(len(refs), decideAtOnce)]
			refs = refs[len(some):]
			decisions, err := p.decide(ctx, scope, some)
			if err != nil {
				return err
			}
			if done += int64(len(some)); p.opt.Progress != nil {
				p.opt.Progress(done, total)
			}
			for i, r := range some {
				p.followRules(ctx, scope, r, decisions[i], in, leads)
			}
		}
		for _, g := range p.pages {
			if lead, ok := leads[g.lead]; ok {
				p.growKinds()
				p.place(g.folder, lead, g.lead, g.unit)
			}
		}
		p.pages = p.pages[:0]
		p.keepUnitsTogether()
		if folders && !scope.Empty() {
			if err := p.assignFolders(ctx, scope, uint32(d)); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// rootOf is the root of the scan from which a folder was reached.
func (p *planner) rootOf(dir *Dir) string {
	best := ""
	for _, root := range p.Tree.Roots {
		if Within(dir.Path, root) && len(root) > len(best) {
			best = root
		}
	}
	return cmp.Or(best, dir.Path)
}

// decide asks the rules about files, several at a time since they may have to be read.
func (p *planner) decide(ctx context.Context, scope *rules.Scope, refs []Ref) ([]rules.Decision, error) {
	const share = 64
	out := make([]rules.Decision, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scanWorkers)
	for from := 0; from < len(refs); from += share {
		part := refs[from:min(from+share, len(refs))]
		g.Go(func() error {
			for i, r := range part {
				if err := ctx.Err(); err != nil {
					return err
				}
				out[from+i] = p.decideOne(ctx, scope, r)
			}
			return nil
		})
	}
	return out, g.Wait()
}

func (p *planner) decideOne(ctx context.Context, scope *rules.Scope, r Ref) rules.Decision {
	a := p.ask(ctx, r)
	defer a.close()
	return scope.Decide(a)
}

// followRules carries a decision into the plan. A file that belongs to another goes where that one goes, unless a rule
// that stands before the other's speaks of it: a rule at the end for all the rest must not tear them apart.
func (p *planner) followRules(ctx context.Context, scope *rules.Scope, r Ref, own rules.Decision, in map[Ref]membership, leads map[Ref]rules.Decision) {
	for _, u := range own.Unknown {
		p.Undecided = append(p.Undecided, Undecided{p.Tree.Path(r), u})
	}
	b, bundled := in[r]
	lead, unit := r, uint32(0)
	if bundled {
		if b.left != NotLeft { // one of them stays, so all stay
			p.leave(r, b.left)
			return
		}
		first, ok := leads[b.lead]
		if !ok {
			first = p.decideOne(ctx, scope, b.lead)
			leads[b.lead] = first
		}
		if len(first.Steps) > 0 && !p.goesBefore(own, first) || len(own.Steps) == 0 {
			own, lead, unit = first, b.lead, b.unit
		}
	}
	if len(own.Steps) == 0 {
		p.leave(r, LeftUnmatched)
		return
	}
	if p.opt.Busy != nil && p.opt.Busy(p.Tree.Path(r)) {
		p.leave(r, LeftOpen)
		return
	}
	p.place(r, own, lead, unit)
}

// goesBefore reports whether the first rule of a stands before that of b in their file.
func (p *planner) goesBefore(a, b rules.Decision) bool {
	if len(a.Steps) == 0 || len(b.Steps) == 0 || a.Steps[0].Rule == b.Steps[0].Rule {
		return false
	}
	for _, r := range p.opt.Rules.All() {
		switch r {
		case a.Steps[0].Rule:
			return true
		case b.Steps[0].Rule:
			return false
		}
	}
	return false
}

// assignFolders asks the rules about the folders in folder d. One that moves takes along all that is in it.
func (p *planner) assignFolders(ctx context.Context, scope *rules.Scope, d uint32) error {
	dir := &p.Tree.Dirs[d]
	own := Dir{Path: dir.Path, ID: dir.ID, Dev: dir.Dev, Into: dir.Into, IsRoot: dir.IsRoot}
	for _, name := range slices.Sorted(slices.Values(dir.Folders)) {
		path := filepath.Join(own.Path, name)
		if p.inBundle[path] || p.set.Lists(name)&rules.SystemNames != 0 || !p.opt.Hidden && strings.HasPrefix(name, ".") {
			continue
		}
		st, err := lstat(path)
		if err != nil || !isDir(st.Mode) {
			continue
		}
		r := p.Tree.addIn(own, name, st)
		p.growKinds()
		decision := p.decideOne(ctx, scope, r)
		for _, u := range decision.Unknown {
			p.Undecided = append(p.Undecided, Undecided{path, u})
		}
		if len(decision.Steps) == 0 {
			continue
		}
		before := len(p.Moves)
		p.place(r, decision, r, 0)
		if len(p.Moves) > before {
			p.inBundle[path] = true
		}
	}
	return nil
}

// place turns the steps of a decision into moves of r. lead is the file that the decision was made of: of what belongs to
// it only the places follow, with names that go on fitting.
func (p *planner) place(r Ref, decision rules.Decision, lead Ref, unit uint32) {
	before, after, said, writing := len(p.before), len(p.after), len(p.Said), len(p.writing)
	if !p.placeAll(r, decision, lead, unit) { // a person has brought the file where it is: nothing else is done with it
		p.before, p.after, p.Said, p.writing = p.before[:before], p.after[:after], p.Said[:said], p.writing[:writing]
	}
}

// placeAll reports false if the file is to be left alone.
func (p *planner) placeAll(r Ref, decision rules.Decision, lead Ref, unit uint32) bool {
	dir, name := p.Tree.Dirs[p.Tree.DirOf(r)].Path, p.Tree.Name(r)
	at := planned{dir: dir, name: name, action: journal.Rename}
	moved := false
	if len(decision.Steps) > 1 && unit == 0 {
		p.unit++
		unit = p.unit
	}
	numbers := map[*rules.Rule]int64{}
	p.chained = p.chained || len(decision.Steps) > 1
	for _, s := range decision.Steps {
		if s.Counted {
			if _, ok := numbers[s.Rule]; !ok && r == lead {
				p.counters[s.Rule]++
			}
			numbers[s.Rule] = p.counters[s.Rule]
			s = s.WithCounter(numbers[s.Rule])
		}
		label := p.label(s.Rule.Name)
		pol, err := p.addPolicy(policy{Conflict(s.Conflict), s.RenameTemplate})
		if err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(r), err})
			return true
		}
		one := planned{dir: at.dir, name: at.name, label: label, policy: pol}
		if s.To != "" && s.Kind != rules.Rename {
			if one.dir, one.name, err = p.target(s, r, lead, at.name); err != nil {
				p.Problems = append(p.Problems, Problem{p.Tree.Path(r), fmt.Errorf("%s %s by rule %q: %w", s.Kind, p.Tree.Path(r), s.Rule.Name, err)})
				return true
			}
		}
		switch s.Kind {
		case rules.Move:
			at = one
			at.action, moved = journal.Rename, true
		case rules.Rename:
			at.name, at.label, at.policy = p.follower(s.To, r, lead), label, pol
			at.action, moved = journal.Rename, true
		case rules.Trash:
			return p.finish(r, unit, planned{action: journal.Trash, label: label})
		case rules.Copy, rules.Reflink:
			one.action = journal.Copy
			if s.Kind == rules.Reflink {
				one.extra = &extra{mode: "reflink"}
			}
			p.before = append(p.before, p.move(r, unit, one))
		case rules.Hardlink:
			one.action = journal.Link
			p.after = append(p.after, p.move(r, unit, one))
		case rules.Symlink:
			one.action = journal.Symlink
			p.after = append(p.after, p.move(r, unit, one))
		default:
			if r != lead {
				continue
			}
			if !p.act(r, unit, one, s, at, moved) {
				return !moved || p.finish(r, unit, at)
			}
		}
	}
	return !moved || p.finish(r, unit, at)
}

// planned is a move before the planner has taken it up.
type planned struct {
	dir, name string
	action    journal.Action
	label     uint16
	policy    uint8
	extra     *extra
}

func (p *planner) move(r Ref, unit uint32, one planned) Move {
	m := Move{File: r, To: p.folder(one.dir), Unit: unit, Label: one.label, Action: one.action, Policy: one.policy}
	if one.name != p.Tree.Name(r) || one.extra != nil {
		p.rename(&m, one.name)
	}
	if one.extra != nil {
		p.extras[m.Name] = one.extra
	}
	return m
}

// finish plans the one change of place that all steps of a file come to. It reports false if the file is to be left alone.
func (p *planner) finish(r Ref, unit uint32, at planned) bool {
	dir := p.Tree.Dirs[p.Tree.DirOf(r)].Path
	if at.action == journal.Trash {
		if p.opt.Trash == nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(r), fmt.Errorf("trash %s: there is no trash for it here", p.Tree.Path(r))})
			return true
		}
		m, err := p.toTrash(r)
		if err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(r), err})
			return true
		}
		m.Unit, m.Label = unit, at.label
		p.wanted[r] = true
		p.Moves = append(p.Moves, m)
		return true
	}
	if at.dir == dir && at.name == p.Tree.Name(r) {
		return true // in its place
	}
	path := filepath.Join(dir, p.Tree.Name(r))
	if isDir(p.Tree.File(r).Mode) && Within(at.dir, path) {
		p.Problems = append(p.Problems, Problem{path, fmt.Errorf("move %s to %s: a folder cannot go into itself", path, at.dir)})
		return true
	}
	if p.takenBack(r, at.dir) {
		return false
	}
	if p.opt.Copy {
		at.action = journal.Copy
	}
	p.Moves = append(p.Moves, p.move(r, unit, at))
	return true
}

// act plans what a rule does with a file besides placing it. It reports whether later steps of the rule have their turn.
func (p *planner) act(r Ref, unit uint32, one planned, s rules.Step, at planned, moved bool) bool {
	list := &p.before
	if moved {
		list = &p.after
	}
	switch s.Kind {
	case rules.Echo:
		p.Said = append(p.Said, Said{p.Tree.Path(r), s.Text})
		return true
	case rules.Confirm:
		return p.opt.Confirm != nil && p.opt.Confirm(p.Tree.Path(r), s.Text)
	case rules.Exec:
		one.dir, one.name, one.action = at.dir, at.name, journal.Exec
		one.extra = &extra{argv: s.Argv, env: s.Env}
	case rules.Tag:
		// Tags belong to the file, not to one of its names.
		file := tagged{p.Tree.Dirs[p.Tree.DirOf(r)].Dev, p.Tree.File(r).Ino}
		t := p.tagged[file]
		if t == nil {
			t = &tagging{}
			p.tagged[file] = t
		}
		t.take(s)
		change, err := tagChange(p.Tree.Path(r), t.set, t.add, t.remove)
		if err != nil {
			p.Problems = append(p.Problems, Problem{p.Tree.Path(r), err})
			return false
		}
		if change == nil {
			return true
		}
		x := &extra{meta: change, tags: slices.Concat(t.add, prefixed("-", t.remove))}
		if t.planned != nil { // all tags of a file are one change
			*t.planned = *x
			return true
		}
		t.planned = x
		one.dir, one.name, one.action, one.extra = p.Tree.Dirs[p.Tree.DirOf(r)].Path, p.Tree.Name(r), journal.Tag, x
		list = &p.before
	case rules.Extract:
		one.action = journal.Extract
		list = &p.before
	case rules.Write:
		p.writing = append(p.writing, toWrite{filepath.Join(one.dir, one.name), s, one.label})
		return true
	}
	*list = append(*list, p.move(r, unit, one))
	return true
}

// target is the folder and the name that a step's destination means for r.
func (p *planner) target(s rules.Step, r, lead Ref, name string) (dir, file string, err error) {
	to := s.To
	if !path.IsAbs(to) && !filepath.IsAbs(filepath.FromSlash(to)) {
		to = path.Join(filepath.ToSlash(cmp.Or(p.opt.Into, s.Location)), to)
	} else if to, err = p.resolveTyped(s); err != nil {
		return "", "", err
	}
	if s.Folder && s.Kind != rules.Extract {
		return filepath.Clean(filepath.FromSlash(to)), name, nil
	}
	to = filepath.Clean(filepath.FromSlash(to))
	return filepath.Dir(to), p.follower(filepath.Base(to), r, lead), nil
}

// follower is the name that goes with the lead's new name: film.srt becomes Film (2020).srt where film.mkv became
// Film (2020).mkv. Without a common beginning, and for folders, whose name a page knows, the name stays.
func (p *planner) follower(renamed string, r, lead Ref) string {
	if r == lead {
		return renamed
	}
	own := p.Tree.Name(r)
	stem, _ := p.set.Split(p.Tree.Name(lead))
	if isDir(p.Tree.File(r).Mode) || !strings.HasPrefix(own, stem) {
		return own
	}
	next, _ := p.set.Split(renamed)
	return next + own[len(stem):]
}

// resolveTyped is an absolute destination with the links resolved in the part that the rule's author wrote out. What a
// file's own values add is never followed through a link.
func (p *planner) resolveTyped(s rules.Step) (string, error) {
	root := s.Root
	real, ok := p.typed[root]
	if !ok {
		var err error
		if real, err = ResolveMissing(filepath.FromSlash(root)); err != nil {
			return "", err
		}
		p.typed[root] = real
	}
	return filepath.Join(real, filepath.FromSlash(strings.TrimPrefix(s.To, root))), nil
}

// addPolicy is the index of what is said of names that are taken.
func (p *planner) addPolicy(want policy) (uint8, error) {
	if i := slices.Index(p.policies, want); i >= 0 {
		return uint8(i), nil
	}
	if len(p.policies) == 256 {
		return 0, errors.New("there are more than 255 different ways to deal with names that are taken")
	}
	p.policies = append(p.policies, want)
	return uint8(len(p.policies) - 1), nil
}

// prepareDuplicates finds equal files among all that rules may ask about, and for each way to choose the one to keep,
// what every other is a duplicate of.
func (p *planner) prepareDuplicates(ctx context.Context) error {
	ways := p.opt.Rules.Duplicates()
	if len(ways) == 0 {
		return nil
	}
	var all []Ref
	for r, f := range p.Tree.All() {
		if f.Left == NotLeft && isRegular(uint32(f.Mode)) {
			all = append(all, r)
		}
	}
	groups, err := p.equals(ctx, all)
	if err != nil {
		return err
	}
	p.duplicateOf = map[string]map[Ref]Ref{}
	for _, w := range ways {
		of := map[Ref]Ref{}
		for _, g := range groups {
			keep := slices.MinFunc(g, func(a, b Ref) int { return p.compareKeep(w, a, b) })
			for _, r := range g {
				if r != keep && p.Tree.File(r).Ino != p.Tree.File(keep).Ino {
					of[r] = keep
				}
			}
		}
		p.duplicateOf[w.Fact] = of
	}
	return nil
}

// compareKeep orders equal files, the one to keep first.
func (p *planner) compareKeep(w rules.Duplicates, a, b Ref) int {
	fa, fb, pa, pb := p.Tree.File(a), p.Tree.File(b), p.Tree.Path(a), p.Tree.Path(b)
	first := 0
	switch w.Keep {
	case "newest":
		first = cmp.Compare(fb.Mtime, fa.Mtime)
	case "shortest":
		first = cmp.Compare(len(pa), len(pb))
	case "first":
		first = strings.Compare(pa, pb)
	case "priority":
		first = cmp.Compare(rank(w.Priority, pa), rank(w.Priority, pb))
	}
	return cmp.Or(first, cmp.Compare(fa.Mtime, fb.Mtime), cmp.Compare(len(pa), len(pb)), strings.Compare(pa, pb))
}

// rank is the place of the first folder that holds path, or one behind the last.
func rank(folders []string, path string) int {
	i := slices.IndexFunc(folders, func(f string) bool { return Within(path, filepath.FromSlash(f)) })
	if i < 0 {
		return len(folders)
	}
	return i
}
