package cmd

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/dustin/go-humanize"
)

// reviewSafe shows a name without letting it talk to the terminal: bytes that
// are not UTF-8 and characters one cannot see (controls, direction overrides,
// which can disguise an extension) are escaped. Joiners, which scripts and
// emoji need, stay.
func reviewSafe(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsGraphic(r) && !unicode.IsMark(r),
			// At the start these would join what the row shows before the name.
			i > 0 && (unicode.IsMark(r) || r == '\u200c' || r == '\u200d'):
			b.WriteString(s[i : i+n])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

func reviewCount(n int) string {
	if n == 1 {
		return "1 file"
	}
	return humanize.Comma(int64(n)) + " files"
}

func reviewBytes(n int64) string { return bytesText(n) }

// reviewCells measures and cuts text in terminal cells, the way the renderer
// does: by code point, or by character where the terminal can.
type reviewCells struct{ ansi.Method }

// follow takes over how the terminal measures. The renderer changes over on the same report; rows must measure alike.
func (c *reviewCells) follow(msg tea.ModeReportMsg) {
	if msg.Mode == ansi.ModeUnicodeCore &&
		(msg.Value == ansi.ModeReset || msg.Value == ansi.ModeSet || msg.Value == ansi.ModePermanentlySet) {
		c.Method = ansi.GraphemeWidth
	}
}

// head is the longest start of s that fits w cells, tail the longest end.
func (c reviewCells) head(s string, w int) string {
	end := 0
	for end < len(s) {
		cluster, n := ansi.FirstGraphemeCluster(s[end:], c.Method)
		if w -= n; w < 0 {
			break
		}
		end += max(len(cluster), 1)
	}
	return s[:end]
}

func (c reviewCells) tail(s string, w int) string {
	for over := c.StringWidth(s) - w; over > 0 && s != ""; {
		cluster, n := ansi.FirstGraphemeCluster(s, c.Method)
		over -= n
		s = s[max(len(cluster), 1):]
	}
	return s
}

// fit shortens s to w cells with an ellipsis in the middle, keeping the extension.
func (c reviewCells) fit(s string, w int) string {
	if c.StringWidth(s) <= w {
		return s
	}
	if w <= 1 {
		return "…"[:max(w, 0)*len("…")]
	}
	end := (w - 1) / 2
	if ext := c.StringWidth(path.Ext(s)); ext < w-2 {
		end = max(end, ext)
	}
	return c.head(s, w-1-end) + "…" + c.tail(s, end)
}

// pad fits s and fills it up to exactly w cells.
func (c reviewCells) pad(s string, w int) string {
	s = c.fit(s, w)
	return s + strings.Repeat(" ", max(w-c.StringWidth(s), 0))
}

// reviewStyle uses two colours that read on light and dark; the rest is weight.
type reviewStyle struct{ bold, faint, cursor, note, bad lipgloss.Style }

func newReviewStyle(color bool) reviewStyle {
	plain := lipgloss.NewStyle()
	s := reviewStyle{bold: plain.Bold(true), faint: plain.Faint(true), cursor: plain.Reverse(true),
		note: plain.Bold(true), bad: plain.Bold(true)}
	if color {
		s.note, s.bad = plain.Foreground(lipgloss.Magenta), plain.Bold(true).Foreground(lipgloss.Red)
	}
	return s
}

// reviewFooter is the number of lines below the rows; less on a low screen.
func reviewFooter(height int) int {
	switch {
	case height >= 12:
		return 4
	case height >= 8:
		return 3
	}
	return max(0, min(height-2, 2))
}

// reviewPage is the number of rows that fit.
func reviewPage(height int) int { return max(height-1-reviewFooter(height), 1) }

func (m *reviewModel) footer() int { return reviewFooter(m.height) }

func (m *reviewModel) page() int { return reviewPage(m.height) }

func (m *reviewModel) View() tea.View {
	var v tea.View
	v.AltScreen = true
	if m.finished {
		return v
	}
	lines := []string{m.header()}
	if m.mode == reviewHelp {
		lines = append(lines, m.help()...)
	} else {
		lines = append(append(lines, m.body()...), m.details()...)
	}
	lines = lines[:min(len(lines), m.height)]
	if m.mode == reviewEdit || m.mode == reviewFilter {
		line, x := m.inputLine()
		lines[len(lines)-1] = line
		v.Cursor = tea.NewCursor(x, len(lines)-1)
	}
	v.SetContent(strings.Join(lines, "\n"))
	return v
}

func (m *reviewModel) header() string {
	sum := fmt.Sprintf("%s of %s, %s", humanize.Comma(int64(m.taken)), reviewCount(len(m.items)), reviewBytes(m.bytes))
	title := m.title
	if m.filter != "" {
		title = fmt.Sprintf("%s found: %s", reviewCount(m.nodes[0].files), reviewSafe(m.filter))
	}
	sum = m.cells.fit(sum, m.width)
	rest := m.width - m.cells.StringWidth(sum)
	if rest < 8 {
		return m.style.bold.Render(sum)
	}
	return m.style.bold.Render(m.cells.pad(title, rest-2) + "  " + sum)
}

func (m *reviewModel) body() []string {
	page := m.page()
	m.top = max(0, min(m.top, len(m.rows)-page))
	m.top = max(min(m.top, m.cur), m.cur-page+1)
	lines := make([]string, page)
	for i := range lines {
		if row := m.top + i; row < len(m.rows) {
			lines[i] = m.row(m.rows[row], row == m.cur)
		}
	}
	if len(m.rows) == 0 {
		lines[0] = m.cells.fit(map[bool]string{true: "Nothing to move.", false: "Nothing found."}[m.filter == ""], m.width)
	}
	return lines
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
	box, mark, name := "[x] ", "  ", reviewSafe(n.name)
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
		if last = reviewCount(n.files); n.taken < n.files {
			last = humanize.Comma(int64(n.taken)) + " of " + last
		}
	} else {
		it := &m.items[n.item]
		bytes, last = it.Bytes, reviewSafe(it.From)
		if it.Note != "" {
			flag = "! "
		}
		if dir, same := strings.CutSuffix(it.From, "/"+n.name); same && m.cells.StringWidth(last) > rest {
			last = m.cells.fit(reviewSafe(dir), rest-2) + "/…" // the name is on the left
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
	size, last := fmt.Sprintf(" %9s ", reviewBytes(bytes)), m.cells.fit(last, rest)
	switch {
	case cursor:
		return m.style.cursor.Render(m.cells.pad(name+size+flag+last, m.width))
	case n.taken == 0:
		return m.style.faint.Render(name + size + flag + last)
	}
	return style.Render(name) + size + m.style.note.Render(flag) + m.style.faint.Render(last)
}

// details says more about the row under the cursor, then what happened, then the keys.
func (m *reviewModel) details() []string {
	var from, to, note string
	if m.cur < len(m.rows) {
		n := &m.nodes[m.rows[m.cur]]
		if to = "to    " + reviewSafe(n.path); n.item >= 0 {
			from, note = "from  "+reviewSafe(m.items[n.item].From), reviewSafe(m.items[n.item].Note)
		} else {
			from = fmt.Sprintf("%s of %s, %s", humanize.Comma(int64(n.taken)), reviewCount(n.files), reviewBytes(n.bytes))
			to += "/"
		}
	}
	status := m.style.note.Render(m.cells.fit(note, m.width))
	if m.failed {
		status = m.style.bad.Render(m.cells.fit("error: "+reviewSafe(m.status), m.width))
	} else if m.status != "" {
		status = m.style.bold.Render(m.cells.fit(m.status, m.width))
	}
	keys := "y apply  q cancel"
	for _, k := range []string{"? help", "space out/in", "e edit", "/ filter", "a all", "n none"} {
		if len(keys)+2+len(k) <= m.width {
			keys += "  " + k
		}
	}
	lines := []string{m.cells.fit(from, m.width), m.cells.fit(to, m.width), status, m.style.faint.Render(m.cells.fit(keys, m.width))}
	switch m.footer() {
	case 4:
		return lines
	case 3:
		return append(lines[:1], lines[2:]...)
	}
	return lines[2 : 2+m.footer()]
}

func (m *reviewModel) inputLine() (line string, cursor int) {
	prompt := "to: "
	if m.mode == reviewFilter {
		prompt = "filter: "
	}
	return m.cells.input(prompt, &m.input, m.width)
}

// input is an input line of w cells, and the cell of its cursor.
func (c reviewCells) input(prompt string, in *reviewInput, w int) (line string, cursor int) {
	prompt = c.head(prompt, w/2)
	room := w - len(prompt) - 1 // a cell for the cursor at the end
	before, after := reviewSafe(in.text[:in.pos]), reviewSafe(in.text[in.pos:])
	if c.StringWidth(before) > room {
		before = "…" + c.tail(before, room-1)
		before = c.head(before, room)
	}
	used := c.StringWidth(before)
	return prompt + before + c.head(after, room-used), len(prompt) + used
}

func (m *reviewModel) help() []string {
	lines := []string{
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
	for i := range lines {
		lines[i] = m.cells.fit(lines[i], m.width)
	}
	return lines
}
