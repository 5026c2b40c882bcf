package organizer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"forg/journal"
	"forg/rules"
)

// A plan file is one JSON object; a person may leave moves out of it and change where they go. What it says of each
// file is compared with the disk before anything is moved.
type planHead struct {
	Version    int        `json:"forg_plan"`
	CreatedAt  time.Time  `json:"created_at"`
	Roots      []string   `json:"roots"` // files go to folders below these only
	OnConflict Conflict   `json:"on_conflict"`
	Moves      []planMove `json:"moves"`
}

type planMove struct {
	Action    string    `json:"action"` // move, copy, reflink, trash, link or symlink
	From      string    `json:"from"`
	FromBytes []byte    `json:"from_bytes,omitempty"` // if From is not valid UTF-8
	To        string    `json:"to,omitempty"`
	ToBytes   []byte    `json:"to_bytes,omitempty"`
	Same      string    `json:"same_as,omitempty"` // what a duplicate to be trashed or linked equals
	SameBytes []byte    `json:"same_as_bytes,omitempty"`
	Conflict  Conflict  `json:"on_conflict,omitempty"` // if a rule says otherwise than the plan
	Category  string    `json:"category"`              // or the name of the rule
	Unit      uint32    `json:"unit,omitempty"`        // files of one unit stay together
	Bytes     int64     `json:"bytes"`
	Modified  time.Time `json:"modified"`
	Inode     uint64    `json:"inode,string"` // text, for programs that read numbers as floating point
	Born      int64     `json:"born,string,omitempty"`
}

const planVersion = 1

// ErrPlan says that a plan file cannot be used.
var ErrPlan = errors.New("this is no plan that forg can carry out")

// ExactPath is a path as JSON can hold it: text and, only where the text cannot tell them, its bytes.
func ExactPath(path string) (string, []byte) {
	if utf8.ValidString(path) {
		return path, nil
	}
	return strings.ToValidUTF8(path, "\ufffd"), []byte(path)
}

// WritePlan writes a plan for review and for Apply at another time. It refuses plans with actions that do more than to
// place files: who reviews a list of names should not have to look for programs in it.
func WritePlan(w io.Writer, p *Plan, conflict Conflict, now time.Time) error {
	for i := range p.Moves {
		switch m := &p.Moves[i]; m.Action {
		case journal.Tag, journal.Write, journal.Extract, journal.Exec:
			return fmt.Errorf("the rule %q does more than to place files (%s %s), which a plan file cannot hold", p.Labels[m.Label], m.Action, p.Tree.Path(m.File))
		}
	}
	b := bufio.NewWriter(w)
	roots := append([]string{}, p.Tree.Roots...)
	for i := range p.Tree.Dirs {
		if into := p.Tree.Dirs[i].Into; into != "" && !slices.Contains(roots, into) {
			roots = append(roots, into)
		}
	}
	for _, typed := range p.typed {
		if !slices.Contains(roots, typed) {
			roots = append(roots, typed)
		}
	}
	slices.Sort(roots[len(p.Tree.Roots):])
	head, err := json.Marshal(planHead{Version: planVersion, CreatedAt: now, Roots: roots, OnConflict: conflict})
	if err != nil {
		return err
	}
	b.Write(head[:len(head)-len("null}")]) // the moves follow, one a line
	b.WriteByte('[')
	first := true
	for i := range p.Moves {
		m := &p.Moves[i]
		f := p.Tree.File(m.File)
		out := planMove{Action: "move", Category: p.Labels[m.Label], Unit: m.Unit, Bytes: f.Size, Modified: time.Unix(0, f.Mtime).UTC(), Inode: f.Ino, Born: f.Born}
		out.From, out.FromBytes = ExactPath(p.Tree.Path(m.File))
		out.To, out.ToBytes = ExactPath(p.Target(m))
		if c := p.policies[m.Policy].conflict; c != conflict {
			out.Conflict = c
		}
		original, dup := p.SameAs[m.File]
		switch m.Action {
		case journal.Copy:
			if out.Action = "copy"; p.extraOf(m).mode == "reflink" {
				out.Action = "reflink"
			}
		case journal.Symlink:
			out.Action = "symlink"
		case journal.Trash:
			if p.wanted[m.File] {
				out.Action, out.To, out.ToBytes = "trash", "", nil
				break
			}
			if !dup { // a file in the way: it gives way again when the plan is carried out
				continue
			}
			out.Action, out.To, out.ToBytes = "trash", "", nil
			out.Same, out.SameBytes = ExactPath(p.Tree.Path(original))
		case journal.Link:
			out.Action = "link"
		}
		line, err := json.Marshal(out)
		if err != nil {
			return err
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Flush()
}

// ReadPlan reads a plan file and compares it with the disk: files that are no longer what they were become problems of
// the plan, not moves.
func ReadPlan(r io.Reader, set *rules.Set, opt Options) (*Plan, error) {
	var head planHead
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if head.Version != planVersion {
		return nil, fmt.Errorf("%w: its version is %d, this forg knows %d", ErrPlan, head.Version, planVersion)
	}
	if head.OnConflict != "" {
		opt.Conflict = head.OnConflict
	}
	if !slices.Contains([]Conflict{ConflictRename, ConflictSkip, ConflictOverwrite, ConflictNewer, ConflictFail}, opt.Conflict) {
		return nil, fmt.Errorf("%w: on_conflict is %q", ErrPlan, opt.Conflict)
	}
	for _, root := range head.Roots {
		if !filepath.IsAbs(root) || filepath.Clean(root) != root {
			return nil, fmt.Errorf("%w: the root %q is not an absolute path", ErrPlan, root)
		}
	}
	for i := range head.Moves {
		m := &head.Moves[i]
		for _, path := range []struct {
			s *string
			b []byte
		}{{&m.From, m.FromBytes}, {&m.To, m.ToBytes}, {&m.Same, m.SameBytes}} {
			if path.b != nil {
				*path.s = string(path.b)
			}
		}
		if err := m.check(head.Roots); err != nil {
			return nil, fmt.Errorf("%w: move %d: %w", ErrPlan, i+1, err)
		}
	}
	opt.Copy = len(head.Moves) > 0 && !slices.ContainsFunc(head.Moves, func(m planMove) bool { return m.Action != "copy" })
	return replan(&head, set, opt)
}

func (m *planMove) check(roots []string) error {
	if _, ok := planActions[m.Action]; !ok {
		return fmt.Errorf("unknown action %q", m.Action)
	}
	if !slices.Contains([]Conflict{"", ConflictRename, ConflictSkip, ConflictOverwrite, ConflictNewer, ConflictFail}, m.Conflict) {
		return fmt.Errorf("on_conflict is %q", m.Conflict)
	}
	paths := []string{m.From}
	if m.Action != "trash" {
		paths = append(paths, m.To)
	} else if m.Same != "" {
		paths = append(paths, m.Same)
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.ContainsRune(p, 0) || filepath.Dir(p) == p {
			return fmt.Errorf("%q is not an absolute path of a file", p)
		}
		if !slices.ContainsFunc(roots, func(r string) bool { return p != r && Within(p, r) }) { // a root itself lies in a folder outside
			return fmt.Errorf("%q lies outside the plan's roots", p)
		}
		if len(filepath.Base(p)) > maxName {
			return fmt.Errorf("the name of %q is too long", p)
		}
	}
	return nil
}

// planActions are the actions of plan files.
var planActions = map[string]journal.Action{"move": journal.Rename, "copy": journal.Copy, "reflink": journal.Copy,
	"trash": journal.Trash, "link": journal.Link, "symlink": journal.Symlink}

// replan makes a plan of what a plan file asks for, with the names that are free now.
func replan(head *planHead, set *rules.Set, opt Options) (*Plan, error) {
	p := &replanner{planner: newPlanner(&Tree{Roots: head.Roots}, set, opt), dirs: map[string]*Dir{}, refs: map[string]Ref{}}
	seen := map[string]bool{}
	for i := range head.Moves {
		m := &head.Moves[i]
		if planActions[m.Action].Takes() {
			if seen[m.From] {
				return nil, fmt.Errorf("%w: it moves %q twice", ErrPlan, m.From)
			}
			seen[m.From] = true
		}
		r, err := p.take(m)
		if err != nil {
			p.Problems = append(p.Problems, Problem{m.From, err})
			continue
		}
		p.growKinds()
		p.unit = max(p.unit, m.Unit)
		if m.Action == "trash" {
			if err := p.trash(r, m); err != nil {
				p.Problems = append(p.Problems, Problem{m.From, err})
			}
			continue
		}
		if m.From == m.To {
			continue
		}
		if err := p.put(r, m); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPlan, err)
		}
	}
	p.chained = len(p.before)+len(p.after) > 0
	return p.resolve()
}

// replanner makes a plan of one that was saved.
type replanner struct {
	*planner
	dirs map[string]*Dir
	refs map[string]Ref
}

// take makes a file of the saved plan part of the tree, if it is still the one that it was.
func (p *replanner) take(m *planMove) (Ref, error) {
	if r, ok := p.refs[m.From]; ok {
		return r, nil
	}
	dir := filepath.Dir(m.From)
	if _, ok := p.dirs[dir]; !ok {
		id, dev, err := statDir(dir)
		if err != nil {
			return Ref{}, fmt.Errorf("open folder %s: %w", dir, cause(err))
		}
		p.dirs[dir] = &Dir{Path: dir, ID: id, Dev: dev, IsRoot: true}
	}
	st, err := lstat(m.From)
	if err != nil {
		return Ref{}, fmt.Errorf("look at %s: %w", m.From, cause(err))
	}
	if st.Ino != m.Inode || st.Born != m.Born || !isDir(st.Mode) && (st.Size != m.Bytes || st.Mtime != m.Modified.UnixNano()) {
		return Ref{}, fmt.Errorf("move %s: it has changed since the plan was made", m.From)
	}
	r := p.Tree.addIn(*p.dirs[dir], filepath.Base(m.From), st)
	p.refs[m.From] = r
	return r, nil
}

// trash plans for a file to go to the trash, because it equals another of the plan or because a rule says so.
func (p *replanner) trash(r Ref, m *planMove) error {
	original, ok := p.refs[m.Same]
	if m.Same == "" && p.opt.Trash != nil {
		ok, p.wanted[r] = true, true
	}
	if !ok || p.opt.Trash == nil {
		return fmt.Errorf("trash %s: the file it equals, %s, is not part of the plan", m.From, m.Same)
	}
	t, err := p.toTrash(r)
	if err != nil {
		return err
	}
	t.Unit = m.Unit
	if p.wanted[r] {
		t.Label = p.label(m.Category)
	} else {
		p.SameAs[r] = original
		p.DupBytes += m.Bytes
	}
	p.Moves = append(p.Moves, t)
	return nil
}

// put plans what else the saved plan does with a file.
func (p *replanner) put(r Ref, m *planMove) error {
	pol, err := p.addPolicy(policy{conflict: m.Conflict})
	if err != nil {
		return err
	}
	one := planned{dir: filepath.Dir(m.To), name: filepath.Base(m.To), action: planActions[m.Action], label: p.label(m.Category), policy: pol}
	if m.Action == "reflink" {
		one.extra = &extra{mode: "reflink"}
	}
	mv := p.move(r, m.Unit, one)
	if m.Action == "link" && mv.Name == 0 {
		p.rename(&mv, one.name)
	}
	switch m.Action {
	case "copy", "reflink":
		p.before = append(p.before, mv)
	case "symlink":
		p.after = append(p.after, mv)
	default:
		p.Moves = append(p.Moves, mv)
	}
	return nil
}

// Edit is what a person made of a planned move.
type Edit struct {
	Out bool   // leave it out
	To  string // absolute path
}

// Edited is the plan with edits, one for each of its moves, carried out: what was left out stays, what was given
// another place gets it if it is free. What belongs together stays together.
func Edited(p *Plan, edits []Edit, set *rules.Set, opt Options) (*Plan, error) {
	q := newPlanner(p.Tree, set, opt)
	q.growKinds()
	q.SameAs, q.DupBytes, q.Mismatches, q.Problems, q.Left, q.Unchecked = p.SameAs, p.DupBytes, p.Mismatches, p.Problems, p.Left, p.Unchecked
	q.policies, q.typed, q.wanted, q.writes, q.ByRules, q.Undecided, q.Said = p.policies, p.typed, p.wanted, p.writes, p.ByRules, p.Undecided, p.Said
	q.chained = p.chained
	first := slices.IndexFunc(p.Moves, func(m Move) bool { return m.Action.Takes() })
	out := map[uint32]bool{} // units of which a file stays: then all of it stays
	for i := range p.Moves {
		if u := p.Moves[i].Unit; u != 0 && edits[i].Out {
			out[u] = true
		}
	}
	for i := range p.Moves {
		m := p.Moves[i]
		q.unit = max(q.unit, m.Unit)
		if m.Action == journal.Trash {
			if _, dup := p.SameAs[m.File]; !dup && !p.wanted[m.File] {
				continue // a file in the way gives way again if it still must
			}
		}
		if m.Action == journal.Write || edits[i].Out || out[m.Unit] {
			continue // what is written is planned again
		}
		x := p.extras[m.Name]
		m.To = q.folder(filepath.Dir(edits[i].To))
		m.Label = q.label(p.Labels[m.Label])
		m.Name = 0
		if m.Action == journal.Move {
			m.Action = journal.Rename
		}
		if name := filepath.Base(edits[i].To); name != p.Tree.Name(m.File) || x != nil {
			q.rename(&m, name)
		}
		if x != nil {
			q.extras[m.Name] = x
		}
		if p.Tree.Path(m.File) == edits[i].To && m.Action.Takes() {
			continue
		}
		// A duplicate that becomes a hard link is linked right before it goes.
		linked := m.Action == journal.Link && i+1 < len(p.Moves) && p.Moves[i+1].Action == journal.Trash && p.Moves[i+1].Unit == m.Unit
		switch {
		case m.Action.Takes(), linked, !p.ByRules:
			q.Moves = append(q.Moves, m)
		case i < first || first < 0:
			q.before = append(q.before, m)
		default:
			q.after = append(q.after, m)
		}
	}
	return q.resolve()
}
