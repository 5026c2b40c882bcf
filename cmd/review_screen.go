package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// runReview shows a review until it ends, or until ctx does, with the error of ctx. Signals come through ctx: a
// handler of its own would neither know their exit codes nor that the terminal was closed (SIGHUP).
func runReview(ctx context.Context, in io.Reader, out io.Writer, m tea.Model) error {
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithInput(in), tea.WithOutput(out)).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("review the plan: %w", err)
	}
	return nil
}

type reviewMode int

const (
	reviewBrowse  reviewMode = iota
	reviewEdit               // the input line is a destination
	reviewFilter             // the input line is a filter
	reviewHelp               // any key goes back
	reviewDetails            // of the row under the cursor, full screen; any key goes back
)

// reviewScreen is a full-screen list with a cursor, a filter and a line of input: what all reviews have in common. Its lines
// from the top: a headline, a window of the rows, and a footer.
type reviewScreen struct {
	style         reviewStyle
	cells         reviewCells
	width, height int

	count    int // of the rows
	cur, top int // rows: under the cursor, first on the screen

	filter   string
	mode     reviewMode
	input    reviewInput
	status   string
	failed   bool // status is an error
	changed  bool
	leaving  bool // q was pressed once, with changes at stake
	applied  bool
	finished bool
}

// reviewList is what a reviewScreen shows.
type reviewList interface {
	setFilter(text string)
	act(key string) // does what a key means that does not mean the same for every list
}

func newReviewScreen(color bool) reviewScreen {
	return reviewScreen{style: newReviewStyle(color), width: 80, height: 24}
}

func (s *reviewScreen) Init() tea.Cmd { return nil }

func (s *reviewScreen) update(list reviewList, msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = max(msg.Width, 1), max(msg.Height, 1)
	case tea.ModeReportMsg:
		s.cells.follow(msg)
	case tea.PasteMsg:
		if s.asking() {
			s.input.paste(msg)
			s.typed(list)
		}
	case tea.KeyPressMsg:
		switch key := msg.String(); {
		case key == "ctrl+c":
			return s.finish(false)
		case key == "ctrl+z":
			return tea.Suspend
		case s.asking():
			s.typeKey(list, key, msg.Text)
		case s.mode != reviewBrowse:
			s.mode = reviewBrowse
		default:
			return s.browseKey(list, key)
		}
	}
	return nil
}

func (s *reviewScreen) finish(apply bool) tea.Cmd {
	s.applied, s.finished = apply, true
	return tea.Quit
}

func (s *reviewScreen) fail(err error) { s.status, s.failed = err.Error(), true }

func (s *reviewScreen) browseKey(list reviewList, key string) tea.Cmd {
	leaving := s.leaving
	s.status, s.failed, s.leaving = "", false, false
	switch key {
	case "y", "ctrl+s":
		return s.finish(true)
	case "q", "esc":
		switch {
		case key == "esc" && s.filter != "":
			list.setFilter("")
		case s.changed && !leaving:
			s.leaving, s.status = true, "Press "+key+" again to leave and drop your changes."
		default:
			return s.finish(false)
		}
	case "?":
		s.mode = reviewHelp
	case "/":
		s.ask(reviewFilter, s.filter)
	case "up":
		s.move(-1)
	case "down":
		s.move(1)
	case "pgup":
		s.move(-s.page())
	case "pgdown":
		s.move(s.page())
	case "home", "g":
		s.cur = 0
	case "end", "G":
		s.move(s.count)
	default:
		list.act(key)
	}
	return nil
}

func (s *reviewScreen) move(by int) { s.cur = max(0, min(s.cur+by, s.count-1)) }

// ask opens the input line.
func (s *reviewScreen) ask(mode reviewMode, text string) {
	s.mode, s.input = mode, reviewInput{text, len(text)}
}

// asking reports whether the input line is open.
func (s *reviewScreen) asking() bool { return s.mode == reviewEdit || s.mode == reviewFilter }

func (s *reviewScreen) typeKey(list reviewList, key, text string) {
	switch key {
	case "esc", "enter":
		if key == "esc" && s.mode == reviewFilter {
			list.setFilter("")
		}
		s.mode, s.status, s.failed = reviewBrowse, "", false
	default:
		if s.input.key(key, text) {
			s.typed(list)
		}
	}
}

// typed follows a change of the input line.
func (s *reviewScreen) typed(list reviewList) {
	s.status, s.failed = "", false
	if s.mode == reviewFilter {
		list.setFilter(s.input.text)
	}
}

// view is the screen with these lines below the headline, as many as fit; the input line takes the place of the last.
func (s *reviewScreen) view(headline string, parts ...[]string) tea.View {
	var v tea.View
	v.AltScreen = true
	if s.finished {
		return v
	}
	lines := []string{headline}
	for _, part := range parts {
		lines = append(lines, part...)
	}
	lines = lines[:min(len(lines), s.height)]
	if s.asking() {
		prompt := "filter: "
		if s.mode == reviewEdit {
			prompt = "to: "
		}
		line, x := s.cells.input(prompt, &s.input, s.width)
		lines[len(lines)-1] = line
		v.Cursor = tea.NewCursor(x, len(lines)-1)
	}
	v.SetContent(strings.Join(lines, "\n"))
	return v
}

// headline is a title and, on the right, a sum, which matters more where there is no room for both.
func (s *reviewScreen) headline(title, sum string) string {
	sum = s.cells.fit(sum, s.width)
	rest := s.width - s.cells.StringWidth(sum)
	if rest < 8 {
		return s.style.bold.Render(sum)
	}
	return s.style.bold.Render(s.cells.pad(title, rest-2) + "  " + sum)
}

// window is the rows around the cursor, as many as fit, each drawn by draw; without any rows it says nothing.
func (s *reviewScreen) window(nothing string, draw func(row int) string) []string {
	page := s.page()
	s.top = max(0, min(s.top, s.count-page))
	s.top = max(min(s.top, s.cur), s.cur-page+1)
	lines := make([]string, page)
	for i := range lines {
		if row := s.top + i; row < s.count {
			lines[i] = draw(row)
		}
	}
	if s.count == 0 {
		lines[0] = s.cells.fit(nothing, s.width)
	}
	return lines
}

// page is the number of rows that fit.
func (s *reviewScreen) page() int { return max(s.height-1-s.footerLines(), 1) }

// footerLines is the number of lines below the rows; less on a low screen.
func (s *reviewScreen) footerLines() int {
	switch {
	case s.height >= 12:
		return 4
	case s.height >= 8:
		return 3
	}
	return max(0, min(s.height-2, 2))
}

// footer says two things more about the row under the cursor, then what happened, or else a note, then the keys: those that
// must be known, and of the others those that fit.
func (s *reviewScreen) footer(what, where, note, keys string, more ...string) []string {
	status := s.style.note.Render(s.cells.fit(note, s.width))
	if s.failed {
		status = s.style.bad.Render(s.cells.fit("error: "+show(s.status), s.width))
	} else if s.status != "" {
		status = s.style.bold.Render(s.cells.fit(s.status, s.width))
	}
	for _, k := range more {
		if len(keys)+2+len(k) <= s.width {
			keys += "  " + k
		}
	}
	lines := []string{s.cells.fit(what, s.width), s.cells.fit(where, s.width), status, s.style.faint.Render(s.cells.fit(keys, s.width))}
	switch n := s.footerLines(); n {
	case 4:
		return lines
	case 3:
		return append(lines[:1], lines[2:]...)
	default:
		return lines[2 : 2+n]
	}
}

// fitted shortens lines that are too wide.
func (s *reviewScreen) fitted(lines []string) []string {
	fitted := make([]string, len(lines))
	for i, line := range lines {
		fitted[i] = s.cells.fit(line, s.width)
	}
	return fitted
}

// told is a help text, with lines that are too wide broken.
func (s *reviewScreen) told(lines []string) []string {
	var told strings.Builder
	for _, line := range lines {
		head, text := "", line
		if at := strings.LastIndex(line, "  "); at > 0 { // keys, and what they do
			head, text = line[:at+2], line[at+2:]
		}
		fill(&told, head, text, s.width)
	}
	return s.fitted(strings.Split(strings.TrimSuffix(told.String(), "\n"), "\n"))
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
