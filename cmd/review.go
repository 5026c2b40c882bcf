package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// reviewItem is one planned move as the person sees it.
type reviewItem struct {
	From  string // path as shown, relative to the root where possible
	To    string // destination relative to the destination root, slash separated
	Bytes int64
	Note  string // why it deserves a second look; "" for most
	Out   bool   // left out
}

// reviewMany is the number of files above which folders start folded, and up
// to which a filter unfolds what it finds.
const reviewMany = 200

// review lets the person leave out and retarget items, full screen. It returns
// false when they cancel, and items are then as they were; otherwise items is
// changed in place, in the same order. Both in and out must be a terminal.
//
// A target the person typed is a relative path without "..", and no two items
// get the same one here; whether it is free on the disk is for the plan to ask.
func review(ctx context.Context, in io.Reader, out io.Writer, title string, items []reviewItem, color bool) (bool, error) {
	m := newReviewModel(title, slices.Clone(items), color)
	if err := runReview(ctx, in, out, m); err != nil || !m.applied {
		return false, err
	}
	copy(items, m.items)
	return true, nil
}

// confirm asks a yes or no question; anything but a line saying yes is no.
func confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	if _, err := fmt.Fprintf(out, "%s [y/N] ", question); err != nil {
		return false, err
	}
	var line, b []byte
	b = make([]byte, 1) // byte by byte: what follows the line is not ours
	for {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' {
			answer := strings.ToLower(strings.TrimSpace(string(line)))
			return answer == "y" || answer == "yes", nil
		}
		if n == 1 && len(line) < 16 {
			line = append(line, b[0])
		}
		if err == io.EOF {
			_, err = fmt.Fprintln(out)
			return false, err
		}
		if err != nil {
			return false, fmt.Errorf("read the answer: %w", err)
		}
	}
}

// reviewNode is a folder or a file of the tree; node 0 is the root.
type reviewNode struct {
	name, path  string // as in To, unescaped
	order       string // name in lower case
	parent, col int    // col is the depth below the root's children
	item        int    // index into items; -1 for a folder
	kids        []int
	// Of the files at or below that pass the filter:
	files, taken int
	bytes        int64 // of the taken ones
}

type reviewModel struct {
	reviewScreen
	title string
	items []reviewItem

	nodes []reviewNode
	open  map[string]bool // unfolded folders, by path
	rows  []int           // the nodes that folding and filter leave visible
	taken int             // of all items
	bytes int64

	pass   []bool          // per item: matches the filter
	text   []string        // per item: what the filter looks at; nil when stale
	before map[string]bool // open, as it was before the filter
}

func newReviewModel(title string, items []reviewItem, color bool) *reviewModel {
	m := &reviewModel{reviewScreen: newReviewScreen(color), title: show(title), items: items, open: map[string]bool{}, pass: make([]bool, len(items))}
	for i := range m.pass {
		m.pass[i] = true
	}
	m.build()
	if len(items) <= reviewMany {
		for i := range m.nodes {
			m.open[m.nodes[i].path] = m.nodes[i].item < 0
		}
	}
	m.refresh()
	return m
}

// build makes the tree from the items' targets.
func (m *reviewModel) build() {
	m.nodes = make([]reviewNode, 1, len(m.items)+len(m.items)/8+1)
	m.nodes[0] = reviewNode{parent: -1, col: -1, item: -1}
	folders := map[string]int{"": 0}
	var folder func(string) int
	add := func(to string, item int) int {
		dir, name := path.Split(to)
		parent := folder(strings.TrimRight(dir, "/"))
		m.nodes = append(m.nodes, reviewNode{name: name, path: to, order: strings.ToLower(name),
			parent: parent, col: m.nodes[parent].col + 1, item: item})
		id := len(m.nodes) - 1
		m.nodes[parent].kids = append(m.nodes[parent].kids, id)
		return id
	}
	folder = func(dir string) int {
		id, ok := folders[dir]
		if !ok {
			id = add(dir, -1)
			folders[dir] = id
		}
		return id
	}
	for i := range m.items {
		add(m.items[i].To, i)
	}
	for _, id := range folders {
		slices.SortFunc(m.nodes[id].kids, func(a, b int) int {
			x, y := &m.nodes[a], &m.nodes[b]
			return cmp.Or(cmp.Compare(min(x.item, 0), min(y.item, 0)), // folders first
				strings.Compare(x.order, y.order), strings.Compare(x.name, y.name), cmp.Compare(x.item, y.item))
		})
	}
}

// refresh recounts the folders and the visible rows after any change, keeping
// the cursor on its node, or on the folder that now hides it.
func (m *reviewModel) refresh() {
	at := 0
	if m.cur < len(m.rows) {
		at = m.rows[m.cur]
	}
	for i := range m.nodes {
		m.nodes[i].files, m.nodes[i].taken, m.nodes[i].bytes = 0, 0, 0
	}
	m.taken, m.bytes = 0, 0
	for id := range m.nodes {
		i := m.nodes[id].item
		if i < 0 {
			continue
		}
		taken, bytes := 0, int64(0)
		if !m.items[i].Out {
			taken, bytes = 1, m.items[i].Bytes
		}
		m.taken, m.bytes = m.taken+taken, m.bytes+bytes
		if m.pass[i] {
			for up := id; up >= 0; up = m.nodes[up].parent {
				n := &m.nodes[up]
				n.files, n.taken, n.bytes = n.files+1, n.taken+taken, n.bytes+bytes
			}
		}
	}
	m.rows = m.rows[:0]
	var visit func(int)
	visit = func(id int) {
		for _, kid := range m.nodes[id].kids {
			if m.nodes[kid].files == 0 {
				continue
			}
			m.rows = append(m.rows, kid)
			if m.nodes[kid].item < 0 && m.open[m.nodes[kid].path] {
				visit(kid)
			}
		}
	}
	visit(0)
	m.count = len(m.rows)
	m.moveTo(at)
}

// moveTo puts the cursor on a node, on the nearest visible one above it, or on
// the first row.
func (m *reviewModel) moveTo(id int) {
	for ; id > 0; id = m.nodes[id].parent {
		if row := slices.Index(m.rows, id); row >= 0 {
			m.cur = row
			return
		}
	}
	m.cur = 0
}

// below calls f for every item at or below a node that passes the filter.
func (m *reviewModel) below(id int, f func(item int)) {
	if i := m.nodes[id].item; i >= 0 && m.pass[i] {
		f(i)
	}
	for _, kid := range m.nodes[id].kids {
		m.below(kid, f)
	}
}

// take takes all items below a node in, or leaves them out.
func (m *reviewModel) take(id int, in bool) {
	m.below(id, func(i int) {
		m.changed = m.changed || m.items[i].Out == in
		m.items[i].Out = !in
	})
	m.refresh()
}

func (m *reviewModel) setFilter(text string) {
	if text == m.filter {
		return
	}
	if m.filter == "" {
		m.before = maps.Clone(m.open)
	}
	m.filter = text
	if m.text == nil {
		m.text = make([]string, len(m.items))
		for i, it := range m.items {
			m.text[i] = strings.ToLower(it.From + "\x00" + it.To + "\x00" + it.Note)
		}
	}
	text = strings.ToLower(text)
	found := 0
	for i := range m.items {
		if m.pass[i] = strings.Contains(m.text[i], text); m.pass[i] {
			found++
		}
	}
	m.open = maps.Clone(m.before)
	if text != "" && found <= reviewMany {
		for i, ok := range m.pass {
			if ok {
				m.unfoldTo(m.items[i].To)
			}
		}
	}
	m.refresh()
}

// unfoldTo unfolds every folder above a target.
func (m *reviewModel) unfoldTo(to string) {
	for i := range to {
		if to[i] == '/' {
			m.open[to[:i]] = true
		}
	}
}

// retarget gives the file under the cursor the target to; of a folder, it does
// so for the files below that pass the filter, each keeping its place in it.
func (m *reviewModel) retarget(to string) error {
	to, err := reviewTarget(to)
	if err != nil {
		return err
	}
	id := m.rows[m.cur]
	old, first := m.nodes[id].path, -1
	next := map[int]string{} // the new target, per item
	m.below(id, func(i int) {
		next[i], first = to+strings.TrimPrefix(m.items[i].To, old), i
	})
	targets := make(map[string]int, len(m.items)) // how many items, per target
	changed := map[string]bool{}
	target := func(i int) string { return cmp.Or(next[i], m.items[i].To) }
	for i := range m.items {
		targets[target(i)]++
	}
	for _, t := range next {
		if changed[t] = true; targets[t] > 1 {
			return fmt.Errorf("another file goes to %s", t)
		}
	}
	for i := range m.items {
		t := target(i)
		for j := range t {
			if t[j] == '/' && (changed[t[:j]] || changed[t] && targets[t[:j]] > 0) {
				return fmt.Errorf("%s would be a file and a folder", t[:j])
			}
		}
	}
	for i, t := range next {
		m.changed = m.changed || m.items[i].To != t
		m.items[i].To = t
	}
	for _, folds := range []map[string]bool{m.open, m.before} {
		for dir, open := range maps.Clone(folds) {
			if rest, ok := strings.CutPrefix(dir, old); ok && (rest == "" || rest[0] == '/') {
				folds[to+rest] = open
			}
		}
	}
	m.unfoldTo(to)
	folder := m.nodes[id].item < 0
	m.text = nil
	m.cur, m.rows = 0, nil
	m.build()
	m.refresh()
	m.moveTo(slices.IndexFunc(m.nodes, func(n reviewNode) bool {
		return folder && n.item < 0 && n.path == to || !folder && n.item == first
	}))
	return nil
}

// reviewTarget checks a target typed by hand and returns it in its plain form.
func reviewTarget(to string) (string, error) {
	to = filepath.ToSlash(to)
	switch {
	case to == "":
		return "", errors.New("a name is needed")
	case strings.ContainsRune(to, 0):
		return "", errors.New("a name cannot hold a NUL")
	case to[0] == '/' || filepath.IsAbs(to) || filepath.VolumeName(to) != "":
		return "", errors.New("an absolute path: give one below the destination")
	case to[len(to)-1] == '/':
		return "", errors.New("a name is needed after the last slash")
	}
	for part := range strings.SplitSeq(to, "/") {
		if part == ".." || part == "." {
			return "", fmt.Errorf("%q cannot be part of the path", part)
		}
		if len(part) > 255 {
			return "", errors.New("a name is longer than 255 bytes")
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(to)) { // names Windows keeps for itself
		return "", errors.New("this system does not allow that name")
	}
	return path.Clean(to), nil
}

func (m *reviewModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if key, ok := msg.(tea.KeyPressMsg); ok && m.mode == reviewEdit && key.String() == "enter" {
		if err := m.retarget(m.input.text); err != nil {
			m.fail(err)
			return m, nil
		}
	}
	return m, m.update(m, msg)
}

func (m *reviewModel) act(key string) {
	switch key {
	case "a", "n":
		m.take(0, key == "a")
		m.status = fmt.Sprintf("%s: %s", map[string]string{"a": "taken in", "n": "left out"}[key], filesText(int64(m.nodes[0].files)))
	case "k":
		m.move(-1)
	case "j":
		m.move(1)
	}
	if len(m.rows) == 0 {
		return
	}
	id := m.rows[m.cur]
	n := m.nodes[id]
	switch open := m.open[n.path]; key {
	case "left", "h":
		if n.item < 0 && open {
			m.open[n.path] = false
			m.refresh()
		} else if n.parent > 0 {
			m.moveTo(n.parent)
		}
	case "right", "l":
		if n.item < 0 && open {
			m.move(1)
		} else if n.item < 0 {
			m.open[n.path] = true
			m.refresh()
		}
	case "enter":
		if n.item < 0 {
			m.open[n.path] = !open
			m.refresh()
		}
	case "space":
		m.take(id, n.taken < n.files)
	case "e":
		m.ask(reviewEdit, n.path)
	}
}
