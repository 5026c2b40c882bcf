package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// columns is the width of the terminal that the answer goes to, errColumns of that of the conversation; 0 if it goes elsewhere.
func (a *app) columns() int    { return columnsOf(os.Stdout, a.outTTY) }
func (a *app) errColumns() int { return columnsOf(os.Stderr, a.errTTY) }

func columnsOf(f *os.File, tty bool) int {
	if !tty {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// beside is two parts of a line with a gap between them, or the second below the first, indented, where the terminal is too
// narrow for both.
func (a *app) beside(first, gap, second, indent string) string {
	if width := a.columns(); width > 0 && textWidth(first+gap+second) > width {
		return first + "\n" + indent + second
	}
	return first + gap + second
}

func textWidth(s string) int { return ansi.StringWidth(s) }

// fill writes text after head, on several lines below each other if width cells are too few for one; 0 are as many as it takes.
func fill(w io.Writer, head, text string, width int) {
	if width > 0 {
		width = max(width-textWidth(head), 20)
	}
	for _, line := range wrapText(text, width) {
		fmt.Fprintln(w, head+line)
		head = strings.Repeat(" ", textWidth(head))
	}
}

// wrapText breaks text between words into lines of at most width cells; 0 or less leaves it as it is. It does not break at
// hyphens, as ansi.Wrap would, since they are in flags and names.
func wrapText(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	const hyphen = "\ue000" // is in no text: it is not graphic
	text = ansi.Wrap(strings.ReplaceAll(text, "-", hyphen), max(width, 20), "")
	return strings.Split(strings.ReplaceAll(text, hyphen, "-"), "\n")
}
