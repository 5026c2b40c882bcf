package cmd

import (
	"fmt"
	"path/filepath"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/dustin/go-humanize"

	"forg/organizer"
)

func (m *dupesReview) View() tea.View {
	switch m.mode {
	case reviewHelp:
		return m.view(m.header(), m.told(dupesKeysHelp))
	case reviewDetails:
		return m.view(m.header(), m.fitted(m.path()))
	}
	return m.view(m.header(), m.window("Nothing found.", m.line), m.details())
}

// frees says how much the disk will gain.
func (m *dupesReview) frees() string {
	return fmt.Sprintf("%s to %s, %s to be freed", filesText(m.files), m.verb, bytesText(m.bytes))
}

func (m *dupesReview) header() string {
	title := fmt.Sprintf("forg dupes: %s %s", humanize.Comma(int64(len(m.groups))), plural(len(m.groups), "group"))
	if m.filter != "" {
		title = fmt.Sprintf("%s %s found: %s", humanize.Comma(int64(len(m.shown))), plural(len(m.shown), "group"), show(m.filter))
	}
	return m.headline(title, m.frees())
}

// line is one row as it is drawn.
func (m *dupesReview) line(row int) string {
	folder, g, file := m.row(row)
	var text string
	style := m.style.bold
	switch {
	case folder >= 0:
		text = m.folderLine(folder)
		if m.goes[folder] == 0 {
			style = m.style.faint
		}
	case file < 0:
		text = m.groupLine(g)
		if m.groups[g].Superfluous() == 0 {
			style = m.style.faint
		}
	default:
		return m.fileLine(row, g, file)
	}
	if row == m.cur {
		return m.style.cursor.Render(m.cells.pad(text, m.width))
	}
	return style.Render(m.cells.fit(text, m.width))
}

func (m *dupesReview) folderLine(folder int) string {
	c := &m.found.Folders[folder]
	box := "[x]"
	switch m.goes[folder] {
	case 0:
		box = "[ ]"
	case m.all[folder]:
	default:
		box = "[-]"
	}
	is := "is a copy of"
	if !c.Exact {
		is = "is all in"
	}
	dirs := m.found.Tree.Dirs
	lead := fmt.Sprintf("%s %8s  ", box, bytesText(c.Bytes))
	from, of := m.tilde(dirs[c.Folder].Path)+"/", m.tilde(dirs[c.Of].Path)+"/"
	room := m.width - len(lead) - len(is) - 2
	half := max(room-m.cells.StringWidth(of), room/2)
	from = m.cells.fit(from, half)
	return lead + from + " " + is + " " + m.cells.fit(of, room-m.cells.StringWidth(from))
}

func (m *dupesReview) groupLine(g int) string {
	group := &m.groups[g]
	copies := 0
	for i, c := range group.Files {
		if int(c.Same) == i {
			copies++
		}
	}
	box, state := "[x]", ""
	if group.Superfluous() == 0 {
		box, state = "[ ]", "  left alone"
	}
	return fmt.Sprintf("%s %8s  %s copies of %s%s", box, bytesText(m.found.Groups[g].Wasted), humanize.Comma(int64(copies)), bytesText(group.Size), state)
}

// fileLine is the row of a file: what becomes of it, its path, and why.
func (m *dupesReview) fileLine(row, g, file int) string {
	group := &m.groups[g]
	i := m.index(g, file)
	c := &group.Files[i]
	mark, note := "", ""
	switch {
	case i == 0:
		mark, note = "keep", group.Why
	case c.Role == organizer.Superfluous:
		mark = m.verb
	default:
		mark = "stays"
		if c.Role != organizer.Kept {
			note = roleText(c.Role)
		}
	}
	if note == "" && int(c.Same) != i {
		note = "another name"
	}
	path := m.tilde(m.found.Tree.Path(c.File))
	room := m.width - 12
	if note != "" {
		note = "  " + m.cells.fit(note, max(room-2-m.cells.StringWidth(path), room/3))
	}
	lead := fmt.Sprintf("      %-5s ", mark)
	path = m.cells.fit(path, room-m.cells.StringWidth(note))
	switch {
	case row == m.cur:
		return m.style.cursor.Render(m.cells.pad(lead+path+note, m.width))
	case i == 0:
		return m.cells.fit(lead+path+note, m.width)
	case c.Role == organizer.Superfluous:
		return m.cells.head(lead[:6], m.width) + m.style.note.Render(m.cells.fit(lead[6:], max(m.width-6, 0))) + m.cells.fit(path+note, max(m.width-12, 0))
	}
	return m.style.faint.Render(m.cells.fit(lead+path+note, m.width))
}

// details says more about the row under the cursor.
func (m *dupesReview) details() []string {
	var what, where, note string
	if m.count > 0 {
		folder, g, file := m.row(m.cur)
		t := m.found.Tree
		switch {
		case folder >= 0:
			c := &m.found.Folders[folder]
			what = fmt.Sprintf("%s of %s %s", humanize.Comma(int64(m.goes[folder])), filesText(c.Files), m.passive())
			if c.LeftOut > 0 {
				note = fmt.Sprintf("%s besides not compared", humanize.Comma(c.LeftOut))
			}
			where = m.tilde(t.Dirs[c.Folder].Path)
		case file < 0:
			n := m.groups[g].Superfluous()
			what = fmt.Sprintf("%s %s, %s to be freed", filesText(n), m.passive(), bytesText(m.groups[g].Wasted))
		default:
			c := &m.groups[g].Files[m.index(g, file)]
			f := t.File(c.File)
			what = fmt.Sprintf("%s, modified %s", bytesText(f.Size), time.Unix(0, f.Mtime).Format("2006-01-02 15:04:05"))
			where = m.tilde(t.Path(c.File))
		}
	}
	return m.footer(what, where, note, "y do it  q cancel", "? help", "space stays/goes", "enter keep this", "x leave alone", "o path", "/ filter")
}

// passive is what is done with files, as in "3 files to trash".
func (m *dupesReview) passive() string { return "to " + m.verb }

// path shows all of the row under the cursor that does not fit into it.
func (m *dupesReview) path() []string {
	t := m.found.Tree
	folder, g, file := m.row(m.cur)
	var lines []string
	whole := func(label, path string) {
		lines = append(lines, m.style.faint.Render(m.cells.fit(label, m.width)))
		for text := show(path); text != ""; {
			part := m.cells.head(text, max(m.width-2, 1))
			if part == "" { // a character wider than the screen
				break
			}
			lines = append(lines, "  "+part)
			text = text[len(part):]
		}
	}
	if folder >= 0 {
		c := &m.found.Folders[folder]
		whole("folder", t.Dirs[c.Folder].Path)
		whole(map[bool]string{true: "is a copy of", false: "is all in"}[c.Exact], t.Dirs[c.Of].Path)
		lines = append(lines, fmt.Sprintf("%s, %s", filesText(c.Files), bytesText(c.Bytes)))
	} else {
		group := &m.groups[g]
		at := 0
		if file >= 0 {
			at = m.index(g, file)
		}
		c := &group.Files[at]
		f := t.File(c.File)
		whole("name", t.Name(c.File))
		whole("folder", filepath.Dir(t.Path(c.File)))
		lines = append(lines, fmt.Sprintf("%s bytes, modified %s, %s %s", humanize.Comma(f.Size), time.Unix(0, f.Mtime).Format("2006-01-02 15:04:05.000000000"),
			humanize.Comma(int64(f.Nlink)), plural(int(f.Nlink), "name")))
		role := roleText(c.Role)
		switch {
		case at == 0:
			role = "stays: " + group.Why
		case c.Role == organizer.Superfluous:
			role = "to " + m.verb
		case c.Role == organizer.Kept:
			role = "stays"
		}
		lines = append(lines, role)
		if at > 0 {
			whole("equal to", t.Path(group.Files[0].File))
		}
	}
	return append(lines, "", "Any key goes back.")
}

var dupesKeysHelp = []string{
	"up down pgup pgdn   move; g G first, last",
	"tab right, left     next group, group before",
	"space               a file: let it stay or go; else as x",
	"enter k             keep this copy and let go the one kept before",
	"x                   leave a group or folder alone, and back",
	"a n                 act on all, leave all alone",
	"o                   the whole path and more",
	"/ esc               filter by path, end filter",
	"y ctrl+s            do it",
	"q esc ctrl+c        cancel",
	"",
	"One copy always stays. All names of a file (hard links) go together. On a folder, keys are for its files that are elsewhere too; " +
		"enter keeps this folder's and lets the other's go. With a filter on, a and n touch only the groups that are found.",
	"",
	"Any key goes back.",
}
