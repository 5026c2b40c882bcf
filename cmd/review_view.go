package cmd

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/dustin/go-humanize"
)

func (m *reviewModel) View() tea.View {
	if m.mode == reviewHelp {
		return m.view(m.header(), m.told(reviewKeysHelp))
	}
	return m.view(m.header(), m.body(), m.details())
}

func (m *reviewModel) header() string {
	title := m.title
	if m.filter != "" {
		title = fmt.Sprintf("%s found: %s", filesText(int64(m.nodes[0].files)), show(m.filter))
	}
	return m.headline(title, fmt.Sprintf("%s of %s, %s", humanize.Comma(int64(m.taken)), filesText(int64(len(m.items))), bytesText(m.bytes)))
}

func (m *reviewModel) body() []string {
	nothing := "Nothing to move."
	if m.filter != "" {
		nothing = "Nothing found."
	}
	return m.window(nothing, func(row int) string { return m.row(m.rows[row], row == m.cur) })
}

// row is one line of the tree: mark, box and name; bytes; "!" for a note; the
// source, or a folder's count. A narrow screen leaves the last to details.
func (m *reviewModel) row(id int, cursor bool) string {
	n := &m.nodes[id]
	left, rest := m.width-13, 0
	if m.width >= 60 {
		left = m.width * 9 / 20
		rest = m.width - 13 - left
	}
	box, mark, name := "[x] ", "  ", show(n.name)
	switch {
	case n.taken == 0:
		box = "[ ] "
	case n.taken < n.files:
		box = "[-] "
	}
	bytes, flag, last, style := n.bytes, "  ", "", lipgloss.NewStyle()
	if n.item < 0 {
		mark, name, style = "▸ ", name+"/", m.style.bold
		if m.open[n.path] {
			mark = "▾ "
		}
		if last = filesText(int64(n.files)); n.taken < n.files {
			last = humanize.Comma(int64(n.taken)) + " of " + last
		}
	} else {
		it := &m.items[n.item]
		bytes, last = it.Bytes, show(it.From)
		if it.Note != "" {
			flag = "! "
		}
		if dir, same := strings.CutSuffix(it.From, "/"+n.name); same && m.cells.StringWidth(last) > rest {
			last = m.cells.fit(show(dir), rest-2) + "/…" // the name is on the left
		}
	}
	lead := strings.Repeat("  ", max(0, min(n.col, left/6))) + mark + box
	if left < 16 { // no room for columns
		line := m.cells.pad(lead+name, m.width)
		if cursor {
			line = m.style.cursor.Render(line)
		}
		return line
	}
	name = lead + m.cells.pad(name, left-m.cells.StringWidth(lead))
	size, last := fmt.Sprintf(" %9s ", bytesText(bytes)), m.cells.fit(last, rest)
	switch {
	case cursor:
		return m.style.cursor.Render(m.cells.pad(name+size+flag+last, m.width))
	case n.taken == 0:
		return m.style.faint.Render(name + size + flag + last)
	}
	return style.Render(name) + size + m.style.note.Render(flag) + m.style.faint.Render(last)
}

// details says more about the row under the cursor.
func (m *reviewModel) details() []string {
	var from, to, note string
	if m.cur < len(m.rows) {
		n := &m.nodes[m.rows[m.cur]]
		if to = "to    " + show(n.path); n.item >= 0 {
			from, note = "from  "+show(m.items[n.item].From), show(m.items[n.item].Note)
		} else {
			from = fmt.Sprintf("%s of %s, %s", humanize.Comma(int64(n.taken)), filesText(int64(n.files)), bytesText(n.bytes))
			to += "/"
		}
	}
	return m.footer(from, to, note, "y apply  q cancel", "? help", "space out/in", "e edit", "/ filter", "a all", "n none")
}

var reviewKeysHelp = []string{
	"up down j k       move",
	"pgup pgdn g G     page, first, last",
	"right left enter  unfold, fold",
	"space             leave out, take in",
	"a n               take all, none",
	"e                 edit the destination",
	"/ esc             filter, end filter",
	"y ctrl+s          apply",
	"q esc ctrl+c      cancel",
	"",
	"[-] a folder partly left out",
	"!   deserves a second look",
	"e on a folder renames it. With a filter on, keys touch only what is found.",
	"",
	"Any key goes back.",
}
