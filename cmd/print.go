package cmd

// How forg talks: standard output carries the answer, standard error the conversation. Text is for people: sizes are rounded,
// names are escaped so that none can play tricks on a terminal. JSON is for programs: bytes, nanoseconds, exact names.

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

const (
	exitHead      = "EXIT STATUS\n  0    done, or nothing to do\n  1    failed: nothing was done\n  2    wrong usage or configuration\n"
	exitUsageText = exitHead
	exitPlanText  = exitHead + "  3    done except for the files named on standard error\n  4    another forg is at work on this journal or tree\n  130  interrupted; 143 when terminated"
	exitAllText   = exitHead + "  3    done except for what is named on standard error\n  4    another forg is at work on this journal or tree\n  5    an undo met conflicts: what could be put back was\n  130  interrupted; 143 when terminated"
	exitUndoText  = exitHead + "  3    done except for the files named on standard error\n  4    another forg is at work on this journal\n  5    conflicts: what could be put back was\n  130  interrupted; 143 when terminated"
)

func (a *app) colored(tty bool) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return tty && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

type style string

const (
	bold   style = "\x1b[1m"
	dim    style = "\x1b[2m"
	red    style = "\x1b[31m"
	green  style = "\x1b[32m"
	yellow style = "\x1b[33m"
)

func (a *app) paint(s style, text string) string {
	if !a.colored(a.outTTY) {
		return text
	}
	return string(s) + text + "\x1b[0m"
}

func (a *app) complain(err error) {
	head := "forg: "
	if a.colored(a.errTTY) {
		head = string(red) + "forg:\x1b[0m "
	}
	fill(a.err, head, showText(err.Error()), a.errColumns())
}

func (a *app) warn(format string, args ...any) {
	text := showText(fmt.Sprintf(format, args...))
	if a.colored(a.errTTY) {
		text = string(yellow) + text + "\x1b[0m"
	}
	fill(a.err, "", text, a.errColumns())
}

// say tells a sentence of the answer, broken between words where the terminal is narrower.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fill(a.out, "", fmt.Sprintf(format, args...), a.columns())
	}
}

// show shows a name without letting it talk to the terminal: bytes that are not UTF-8 and characters one cannot see (controls,
// direction overrides, which can disguise an extension) are escaped. Joiners, which scripts and emoji need, stay.
func show(s string) string {
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

// showText is show for messages, which may have several lines.
func showText(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = show(lines[i])
	}
	return strings.Join(lines, "\n")
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func bytesText(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func filesText(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return humanize.Comma(n) + " files"
}

func durationText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// tilde shortens a path for people.
func (a *app) tilde(path string) string {
	home, err := a.home()
	if err != nil || home == "/" {
		return show(path)
	}
	rest, ok := strings.CutPrefix(path, home)
	switch {
	case ok && rest == "":
		return "~"
	case ok && os.IsPathSeparator(rest[0]):
		return "~/" + show(rest[1:])
	}
	return show(path)
}

func (a *app) tildeList(list string) string {
	parts := filepath.SplitList(list)
	for i := range parts {
		parts[i] = a.tilde(parts[i])
	}
	return strings.Join(parts, ", ")
}
