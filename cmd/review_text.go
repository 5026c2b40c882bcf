package cmd

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

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

// reviewInput is an input line. It keeps the exact bytes of a name, which a
// general text field would clean up, and so rename a file nobody touched.
type reviewInput struct {
	text string
	pos  int // byte offset of the cursor, between two characters
}

func (in *reviewInput) insert(s string) {
	in.text = in.text[:in.pos] + s + in.text[in.pos:]
	in.pos += len(s)
}

// paste inserts what was pasted, without control characters.
func (in *reviewInput) paste(msg tea.PasteMsg) {
	in.insert(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, msg.Content))
}

// cut removes the bytes from a to b.
func (in *reviewInput) cut(a, b int) { in.text, in.pos = in.text[:a]+in.text[b:], a }

// prev and next are the offsets one character back and on.
func (in *reviewInput) prev() int {
	last := 0
	for i := 0; i < in.pos; i += reviewStep(in.text[i:]) {
		last = i
	}
	return last
}

func (in *reviewInput) next() int { return in.pos + reviewStep(in.text[in.pos:]) }

func (in *reviewInput) key(key, text string) bool {
	switch key {
	case "left", "ctrl+b":
		in.pos = in.prev()
	case "right", "ctrl+f":
		in.pos = in.next()
	case "home", "ctrl+a":
		in.pos = 0
	case "end", "ctrl+e":
		in.pos = len(in.text)
	case "backspace", "ctrl+h":
		in.cut(in.prev(), in.pos)
	case "delete", "ctrl+d":
		in.cut(in.pos, in.next())
	case "ctrl+u":
		in.cut(0, in.pos)
	case "ctrl+k":
		in.cut(in.pos, len(in.text))
	case "ctrl+w", "alt+backspace":
		word := strings.TrimRight(in.text[:in.pos], " /")
		in.cut(strings.LastIndexAny(word, " /")+1, in.pos)
	default:
		in.insert(text)
		return text != ""
	}
	return true
}

// reviewStep is the length in bytes of the first character a person sees.
func reviewStep(s string) int {
	if s == "" {
		return 0
	}
	if r, n := utf8.DecodeRuneInString(s); r == utf8.RuneError || !unicode.IsGraphic(r) {
		return n // shown escaped, each by itself
	}
	cluster, _ := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
	return max(len(cluster), 1)
}

// input is an input line of w cells, and the cell of its cursor.
func (c reviewCells) input(prompt string, in *reviewInput, w int) (line string, cursor int) {
	prompt = c.head(prompt, w/2)
	room := w - len(prompt) - 1 // a cell for the cursor at the end
	before, after := show(in.text[:in.pos]), show(in.text[in.pos:])
	if c.StringWidth(before) > room {
		before = "…" + c.tail(before, room-1)
		before = c.head(before, room)
	}
	used := c.StringWidth(before)
	return prompt + before + c.head(after, room-used), len(prompt) + used
}
