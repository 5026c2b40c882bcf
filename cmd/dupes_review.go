package cmd

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	tea "charm.land/bubbletea/v2"

	"forg/organizer"
)

// reviewDuplicates lets a person say, full screen, what of found is to be dealt with. It returns nil when they call it off.
func (d *duping) reviewDuplicates(ctx context.Context, found *organizer.Duplicates) (*organizer.Duplicates, error) {
	m := newDupesReview(found, d.act.Action, d.tilde, d.colored(d.errTTY))
	if err := runReview(ctx, d.in, d.screen(), m); err != nil {
		return nil, err
	}
	if !m.applied {
		fmt.Fprintln(d.err, "Nothing was changed.")
		return nil, nil
	}
	return found.With(m.groups), nil
}

// dupesReview is the list of folders that are copies, and of groups with their files. Rows are counted, not made: only
// those on the screen are ever drawn.
type dupesReview struct {
	reviewScreen
	found  *organizer.Duplicates
	groups []organizer.DuplicateGroup // as they are now; found has them as they were
	verb   string                     // what happens to a superfluous file, in a word
	tilde  func(string) string

	members [][]int32 // by folder copy: the groups that have files in it
	goes    []int     // by folder copy: names in it that go
	all     []int     // by folder copy: names in it that are in a group

	folders []int32 // that pass the filter
	shown   []int32 // groups that pass the filter
	starts  []int   // by shown group: its first row, and behind the last the number of rows
	files   int64   // that go, each once
	bytes   int64   // that the disk gains
}

// dupesVerb is what an action does to a file, in a word of five letters at most.
func dupesVerb(action organizer.DuplicateAction) string {
	switch action {
	case organizer.DuplicatesHardlink, organizer.DuplicatesSymlink:
		return "link"
	case organizer.DuplicatesReflink:
		return "share"
	case organizer.DuplicatesFolder:
		return "move"
	case organizer.DuplicatesExec:
		return "run"
	}
	return "trash"
}

func newDupesReview(found *organizer.Duplicates, action organizer.DuplicateAction, tilde func(string) string, color bool) *dupesReview {
	m := &dupesReview{reviewScreen: newReviewScreen(color), found: found, groups: slices.Clone(found.Groups), verb: dupesVerb(action), tilde: tilde,
		files: found.Files, bytes: found.Wasted}
	m.countInFolders()
	m.setFilter("")
	return m
}

// countInFolders finds out which files lie in which folder copy.
func (m *dupesReview) countInFolders() {
	n := len(m.found.Folders)
	m.members, m.goes, m.all = make([][]int32, n), make([]int, n), make([]int, n)
	for g := range m.groups {
		for _, c := range m.groups[g].Files {
			at := m.found.FolderCopy(c.File)
			if at < 0 {
				continue
			}
			if list := m.members[at]; len(list) == 0 || list[len(list)-1] != int32(g) {
				m.members[at] = append(list, int32(g))
			}
			m.all[at]++
			if c.Role == organizer.Superfluous {
				m.goes[at]++
			}
		}
	}
}

// set puts a group in the place of the one that was there.
func (m *dupesReview) set(g int, now organizer.DuplicateGroup) {
	was := &m.groups[g]
	m.files += now.Superfluous() - was.Superfluous()
	m.bytes += now.Wasted - was.Wasted
	count := func(group *organizer.DuplicateGroup, by int) {
		for _, c := range group.Files {
			if at := m.found.FolderCopy(c.File); at >= 0 && c.Role == organizer.Superfluous {
				m.goes[at] += by
			}
		}
	}
	count(was, -1)
	m.groups[g] = now
	count(&now, 1)
	m.changed = true
}

// index is where the group has a file now; rows stay in the order in which they were at first.
func (m *dupesReview) index(g, file int) int {
	ref := m.found.Groups[g].Files[file].File
	now := m.groups[g].Files
	if now[file].File == ref {
		return file
	}
	return slices.IndexFunc(now, func(c organizer.Copy) bool { return c.File == ref })
}

// row says what is in a row: a folder copy, or a group and one of its files, which is -1 for the line above them.
func (m *dupesReview) row(row int) (folder, group, file int) {
	if row < len(m.folders) {
		return int(m.folders[row]), -1, -1
	}
	row -= len(m.folders)
	i := sort.SearchInts(m.starts, row+1) - 1
	return -1, int(m.shown[i]), row - m.starts[i] - 1
}

// setFilter shows the folders and groups that have text in a path. One letter more looks only at what is left.
func (m *dupesReview) setFilter(text string) {
	folder, group, file := -1, -1, -1
	if m.count > 0 {
		folder, group, file = m.row(m.cur)
	}
	folders, groups := m.folders, m.shown
	if text == "" || m.starts == nil || !strings.HasPrefix(strings.ToLower(text), strings.ToLower(m.filter)) || m.filter == "" {
		folders, groups = countTo(len(m.found.Folders)), countTo(len(m.groups))
	}
	m.filter = text
	t := m.found.Tree
	if text = strings.ToLower(text); text != "" {
		has := func(path string) bool { return strings.Contains(strings.ToLower(path), text) }
		folders = slices.DeleteFunc(folders, func(i int32) bool {
			c := &m.found.Folders[i]
			return !has(t.Dirs[c.Folder].Path) && !has(t.Dirs[c.Of].Path)
		})
		groups = slices.DeleteFunc(groups, func(i int32) bool {
			return !slices.ContainsFunc(m.found.Groups[i].Files, func(c organizer.Copy) bool { return has(t.Path(c.File)) })
		})
	}
	m.folders, m.shown = folders, groups
	m.starts = make([]int, len(groups)+1)
	for i, g := range groups {
		m.starts[i+1] = m.starts[i] + 1 + len(m.found.Groups[g].Files)
	}
	m.count = len(folders) + m.starts[len(groups)]
	m.cur = 0
	if folder >= 0 {
		m.cur = max(slices.Index(m.folders, int32(folder)), 0)
	} else if at, ok := slices.BinarySearch(m.shown, int32(group)); ok {
		m.cur = len(m.folders) + m.starts[at] + 1 + file
	}
}

func countTo(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}

// next goes to the next folder or group, or to the one before.
func (m *dupesReview) next(by int) {
	for m.move(by); m.cur > 0 && m.cur < m.count-1; m.move(by) {
		if folder, _, file := m.row(m.cur); folder >= 0 || file < 0 {
			return
		}
	}
	if _, _, file := m.row(m.cur); by > 0 && file >= 0 { // the last group is before
		m.cur -= file + 1
	}
}

func stays(g *organizer.DuplicateGroup) func(int) bool {
	return func(i int) bool { return g.Files[i].Role != organizer.Superfluous }
}

// toggle lets a file stay that would go, or go that would stay.
func (m *dupesReview) toggle(g, file int) error {
	group, i := &m.groups[g], m.index(g, file)
	same := group.Files[i].Same
	now := stays(group)
	if !now(i) {
		m.set(g, m.found.Revised(group, 0, func(k int) bool { return now(k) || group.Files[k].Same == same }))
		return nil
	}
	if err := m.canGo(group, i); err != nil {
		return err
	}
	first := 0
	if same == 0 { // another one must take its place
		first = -1
		for k, c := range group.Files {
			if c.Same != 0 && c.Role != organizer.Superfluous && m.found.CanLead(group, k) {
				first = k
				break
			}
		}
		if first < 0 {
			return fmt.Errorf("one copy stays: choose another with enter first")
		}
	}
	m.set(g, m.found.Revised(group, first, func(k int) bool { return now(k) && group.Files[k].Same != same }))
	return nil
}

// canGo says why a file has to stay whatever one wants.
func (m *dupesReview) canGo(group *organizer.DuplicateGroup, i int) error {
	if m.found.CanGo(group, i) {
		return nil
	}
	for _, c := range group.Files {
		switch {
		case c.Same != group.Files[i].Same:
		case c.Role == organizer.Protected:
			return fmt.Errorf("it is in a project, which is left whole")
		case c.Role == organizer.Reference:
			return fmt.Errorf("it is in a folder of --reference, of which nothing is touched")
		}
	}
	return fmt.Errorf("it has a name where nothing is touched")
}

// lead makes a file the one that stays, in the place of the one before.
func (m *dupesReview) lead(g, file int) error {
	group, i := &m.groups[g], m.index(g, file)
	if !m.found.CanLead(group, i) {
		return fmt.Errorf("it is in a project, which does not count as the copy that stays")
	}
	now := stays(group)
	same := group.Files[i].Same
	m.set(g, m.found.Revised(group, i, func(k int) bool { return group.Files[k].Same != 0 && now(k) || same == 0 && now(k) }))
	return nil
}

// leave lets all of a group stay, or takes it as it was found.
func (m *dupesReview) leave(g int, alone bool) {
	if alone {
		m.set(g, m.found.Revised(&m.groups[g], 0, func(int) bool { return true }))
	} else if m.groups[g].Superfluous() == 0 {
		m.set(g, m.found.Groups[g])
	}
}

// eachInFolder calls f for the groups that have files in a folder copy, with the index in them of the first.
func (m *dupesReview) eachInFolder(folder int, f func(g, i int)) {
	for _, g := range m.members[folder] {
		if i := slices.IndexFunc(m.groups[g].Files, func(c organizer.Copy) bool { return m.found.FolderCopy(c.File) == folder }); i >= 0 {
			f(int(g), i)
		}
	}
}

// takeFolder lets the files in a folder copy go, as far as they may, or stay.
func (m *dupesReview) takeFolder(folder int, gone bool) {
	m.eachInFolder(folder, func(g, i int) {
		group := &m.groups[g]
		now := stays(group)
		in := func(k int) bool { return m.found.FolderCopy(group.Files[k].File) == folder }
		first := 0
		if gone && in(0) { // the copy elsewhere takes its place
			first = slices.IndexFunc(group.Files, func(c organizer.Copy) bool { return m.found.FolderCopy(c.File) != folder && c.Same != 0 })
			if first < 0 {
				return
			}
		}
		m.set(g, m.found.Revised(group, first, func(k int) bool {
			if in(k) {
				return !gone
			}
			return now(k)
		}))
	})
}

// leadFolder lets the files in a folder copy stay, and those in the other folder go.
func (m *dupesReview) leadFolder(folder int) {
	t := m.found.Tree
	of := t.Dirs[m.found.Folders[folder].Of].Path
	m.eachInFolder(folder, func(g, i int) {
		group := &m.groups[g]
		now := stays(group)
		m.set(g, m.found.Revised(group, i, func(k int) bool {
			r := group.Files[k].File
			return m.found.FolderCopy(r) == folder || now(k) && !organizer.Within(t.Dirs[t.DirOf(r)].Path, of)
		}))
	})
}

func (m *dupesReview) Update(msg tea.Msg) (tea.Model, tea.Cmd) { return m, m.update(m, msg) }

func (m *dupesReview) act(key string) {
	if key == "a" || key == "n" {
		for _, g := range m.shown {
			m.leave(int(g), key == "n")
		}
		m.status = fmt.Sprintf("%s: %d %s", map[string]string{"a": "acted on", "n": "left alone"}[key], len(m.shown), plural(len(m.shown), "group"))
		return
	}
	if m.count == 0 {
		return
	}
	if err := m.actOn(key); err != nil {
		m.fail(err)
	}
}

// actOn does what a key means for the row under the cursor.
func (m *dupesReview) actOn(key string) error {
	folder, g, file := m.row(m.cur)
	switch key {
	case "tab", "right":
		m.next(1)
	case "shift+tab", "left":
		m.next(-1)
	case "o":
		m.mode = reviewDetails
	case "x", "space":
		switch {
		case folder >= 0:
			m.takeFolder(folder, m.goes[folder] == 0)
		case file < 0 || key == "x":
			m.leave(g, m.groups[g].Superfluous() > 0)
		default:
			return m.toggle(g, file)
		}
	case "enter", "k":
		switch {
		case folder >= 0:
			m.leadFolder(folder)
		case file >= 0:
			return m.lead(g, file)
		}
	}
	return nil
}
