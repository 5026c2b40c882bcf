package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

func reviewSample() []reviewItem {
	return []reviewItem{
		{From: "beach.jpg", To: "Images/beach.jpg", Bytes: 2_500_000},
		{From: "old/2019/Trip to the sea/IMG_0001.JPG", To: "Images/2019/IMG_0001.JPG", Bytes: 4_000_000},
		{From: "写真のとても長い名前のファイルです🎉.png", To: "Images/写真のとても長い名前のファイルです🎉.png", Bytes: 1024},
		{From: "cute\u202egpj.exe", To: "Programs/cute\u202egpj.exe", Bytes: 10, Note: "program disguised as a picture"},
		{From: "a\x1b[2Jb\n\xff.txt", To: "Documents/a\x1b[2Jb\n\xff.txt", Bytes: 7},
		{From: "copy.pdf", To: "Documents/copy.pdf", Bytes: 99, Note: "duplicate of report.pdf", Out: true},
		{From: "report.pdf", To: "Documents/report.pdf", Bytes: 99},
		{From: "README", To: "README", Bytes: 0},
	}
}

var reviewKeys = map[string]tea.KeyPressMsg{
	"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight},
	"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "space": {Code: tea.KeySpace, Text: " "},
	"backspace": {Code: tea.KeyBackspace}, "delete": {Code: tea.KeyDelete}, "tab": {Code: tea.KeyTab},
}

// pressKeys sends keys; "ctrl+x" and the names above are keys, the rest is typed.
func pressKeys(m tea.Model, keys ...string) (quit bool) {
	for _, key := range keys {
		var cmd tea.Cmd
		if msg, ok := reviewKeys[key]; ok {
			_, cmd = m.Update(msg)
		} else if rest, ok := strings.CutPrefix(key, "ctrl+"); ok {
			_, cmd = m.Update(tea.KeyPressMsg{Code: rune(rest[0]), Mod: tea.ModCtrl})
		} else {
			for _, r := range key {
				_, cmd = m.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
			}
		}
		if quit = false; cmd != nil {
			_, quit = cmd().(tea.QuitMsg)
		}
	}
	return quit
}

func (m *reviewModel) press(keys ...string) bool { return pressKeys(m, keys...) }

func (m *reviewModel) at() string { return m.nodes[m.rows[m.cur]].path }

// on puts the cursor on a path.
func (m *reviewModel) on(t *testing.T, p string) {
	t.Helper()
	m.cur = slices.IndexFunc(m.rows, func(id int) bool { return m.nodes[id].path == p })
	if m.cur < 0 {
		t.Fatalf("%q is not shown", p)
	}
}

func (m *reviewModel) out() (out []string) {
	for _, it := range m.items {
		if it.Out {
			out = append(out, path.Base(it.From))
		}
	}
	return out
}

func TestReviewMove(t *testing.T) {
	m := newReviewModel("t", reviewSample(), false)
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 7}) // a page of 4 rows
	for _, c := range []struct{ key, want string }{
		{"up", "Documents"}, {"down", "Documents/a\x1b[2Jb\n\xff.txt"}, {"k", "Documents"}, {"j", "Documents/a\x1b[2Jb\n\xff.txt"},
		{"end", "README"}, {"down", "README"}, {"home", "Documents"}, {"G", "README"}, {"g", "Documents"},
		{"pgdown", "Images"}, {"pgdown", "Images/写真のとても長い名前のファイルです🎉.png"}, {"pgup", "Images"},
		{"right", "Images/2019"}, {"left", "Images/2019"}, {"left", "Images"}, {"left", "Images"}, {"left", "Images"},
		{"down", "Programs"}, {"up", "Images"}, {"enter", "Images"}, {"down", "Images/2019"}, {"down", "Images/beach.jpg"},
		{"left", "Images"}, {"enter", "Images"}, {"down", "Programs"}, {"end", "README"}, {"left", "README"}, {"enter", "README"},
	} {
		m.press(c.key)
		if got := m.at(); got != c.want {
			t.Fatalf("after %s: at %q, want %q", c.key, got, c.want)
		}
		m.View()
		if m.cur < m.top || m.cur >= m.top+m.page() {
			t.Fatalf("after %s: row %d is off the screen, which starts at %d", c.key, m.cur, m.top)
		}
	}
}

func TestReviewTake(t *testing.T) {
	m := newReviewModel("t", reviewSample(), false)
	check := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, m.out()); diff != "" {
			t.Fatal(diff)
		}
	}
	check("copy.pdf")
	m.press("space") // Documents, partly out: all in
	check()
	m.press("space")
	check("a\x1b[2Jb\n\xff.txt", "copy.pdf", "report.pdf")
	m.press("a")
	check()
	m.on(t, "Images/2019/IMG_0001.JPG")
	m.press("space")
	check("IMG_0001.JPG")
	m.press("space", "n")
	if got := len(m.out()); got != 8 || m.taken != 0 || m.bytes != 0 {
		t.Fatalf("%d left out, %d taken of %d bytes", got, m.taken, m.bytes)
	}
	// Under a filter, keys touch only what it found.
	m.press("a", "/", "PDF", "enter", "n")
	check("copy.pdf", "report.pdf")
	m.press("a", "g", "space")
	check("copy.pdf", "report.pdf")
	if m.press("esc"); m.filter != "" || len(m.rows) != 12 {
		t.Fatalf("filter %q, %d rows", m.filter, len(m.rows))
	}
}

func TestReviewFilter(t *testing.T) {
	m := newReviewModel("t", reviewSample(), false)
	m.press("enter", "/", "duplicat") // Documents is folded; notes are searched too
	if got := m.at(); got != "Documents" || len(m.rows) != 2 {
		t.Fatalf("at %q, %d rows", got, len(m.rows))
	}
	m.press("zzz")
	if got := ansi.Strip(m.View().Content); len(m.rows) != 0 || !strings.Contains(got, "Nothing found.") {
		t.Fatalf("%d rows:\n%s", len(m.rows), got)
	}
	m.press("enter", "space", "e", "left", "right", "enter", "up", "pgdown", "end") // no row to act on
	m.press("/", "esc")
	if m.filter != "" || m.open["Documents"] || len(m.rows) != 9 {
		t.Fatalf("filter %q, %d rows: the folding did not come back", m.filter, len(m.rows))
	}
	m.press("/", "q y")
	if m.input.text != "q y" || m.finished {
		t.Fatalf("typed %q, finished %v", m.input.text, m.finished)
	}
	m.Update(tea.PasteMsg{Content: "\x1b[31mé\n"})
	if m.filter != "q y[31mé" {
		t.Fatalf("pasted %q", m.filter)
	}
}

func TestReviewEdit(t *testing.T) {
	m := newReviewModel("t", reviewSample(), false)
	edit := func(on, to, wantErr string) {
		t.Helper()
		m.on(t, on)
		before := slices.Clone(m.items)
		m.press("e", "ctrl+u")
		m.input.insert(to)
		m.press("enter")
		view := ansi.Strip(m.View().Content)
		if m.failed != (wantErr != "") || !strings.Contains(view, wantErr) {
			t.Fatalf("%q: want error %q:\n%s", to, wantErr, view)
		}
		if wantErr != "" {
			if m.press("esc"); !slices.Equal(before, m.items) || m.mode != reviewBrowse || m.status != "" {
				t.Fatalf("%q: not as before", to)
			}
		}
	}
	for to, want := range map[string]string{
		"": "a name is needed", "/etc/x": "absolute", "../x": `".."`, "a/../../x": `".."`, "a/..": `".."`, "./x": `"."`,
		"a\x00b": "NUL", "Images/": "slash", "/": "absolute", strings.Repeat("é", 128): "255 bytes",
		"Documents/report.pdf": "another file goes to", "Images": "a file and a folder", "Images/beach.jpg/x": "a file and a folder",
	} {
		edit("README", to, want)
	}
	edit("README", "Texts//Read me.txt", "")
	if got := m.items[7].To; got != "Texts/Read me.txt" || m.at() != got {
		t.Fatalf("moved to %q, at %q", got, m.at())
	}
	edit("Images/2019", "Images/Sea/2019", "")
	edit("Images", "Pictures", "")
	if got := m.items[1].To; got != "Pictures/Sea/2019/IMG_0001.JPG" || m.at() != "Pictures" {
		t.Fatalf("moved to %q, at %q", got, m.at())
	}
	m.on(t, "Pictures/Sea/2019/IMG_0001.JPG") // what was unfolded still is
	edit("Pictures", "Documents/report.pdf", "a file and a folder")
	m.press("/", "copy", "enter")
	edit("Documents", "Twice", "")
	if m.items[5].To != "Twice/copy.pdf" || m.items[6].To != "Documents/report.pdf" {
		t.Fatalf("%q, %q: under a filter only what it found moves", m.items[5].To, m.items[6].To)
	}
	m.press("esc")
	m.on(t, "Twice/copy.pdf")
}

// A name's exact bytes outlive editing another part of it.
func TestReviewInput(t *testing.T) {
	m := newReviewModel("t", reviewSample(), false)
	m.on(t, "Documents/a\x1b[2Jb\n\xff.txt")
	m.press("e", "backspace", "x", "ctrl+a", "delete", "X", "enter")
	if got := m.items[4].To; got != "Xocuments/a\x1b[2Jb\n\xff.txx" {
		t.Fatalf("%q", got)
	}
	in := reviewInput{"a/b c/e\u0301🎉\xff\xfe", 0}
	in.key("end", "")
	for _, c := range []struct{ key, text, want string }{
		{"backspace", "", "a/b c/e\u0301🎉\xff|"}, {"left", "", "a/b c/e\u0301🎉|\xff"}, {"left", "", "a/b c/e\u0301|🎉\xff"},
		{"backspace", "", "a/b c/|🎉\xff"}, {"right", "", "a/b c/🎉|\xff"}, {"delete", "", "a/b c/🎉|"}, {"right", "", "a/b c/🎉|"},
		{"ctrl+w", "", "a/b c/|"}, {"ctrl+w", "", "a/b |"}, {"ctrl+w", "", "a/|"}, {"x", "x", "a/x|"}, {"home", "", "|a/x"},
		{"left", "", "|a/x"}, {"backspace", "", "|a/x"}, {"right", "", "a|/x"}, {"ctrl+k", "", "a|"}, {"space", " ", "a |"}, {"ctrl+u", "", "|"},
		{"f1", "", "|"},
	} {
		in.key(c.key, c.text)
		if got := in.text[:in.pos] + "|" + in.text[in.pos:]; got != c.want {
			t.Fatalf("after %s: %q, want %q", c.key, got, c.want)
		}
	}
}

func TestReviewFinish(t *testing.T) {
	for _, c := range []struct {
		keys    []string
		quit    bool
		applied bool
	}{
		{[]string{"y"}, true, true}, {[]string{"ctrl+s"}, true, true}, {[]string{"q"}, true, false},
		{[]string{"esc"}, true, false}, {[]string{"ctrl+c"}, true, false}, {[]string{"n", "ctrl+c"}, true, false},
		{[]string{"n", "q"}, false, false}, {[]string{"n", "q", "q"}, true, false}, {[]string{"n", "q", "j", "q"}, false, false},
		{[]string{"e", "ctrl+c"}, true, false}, {[]string{"?", "q"}, false, false}, {[]string{"?", "y", "y"}, true, true},
		{[]string{"n", "y"}, true, true}, {[]string{"/", "x", "enter", "esc"}, false, false},
	} {
		m := newReviewModel("t", reviewSample(), false)
		if quit := m.press(c.keys...); quit != c.quit || m.applied != c.applied {
			t.Errorf("%v: quit %v, applied %v", c.keys, quit, m.applied)
		}
	}
}

func TestReviewGolden(t *testing.T) {
	wide := strings.TrimPrefix(`
Organize ~/Downloads                                        7 of 8 files, 6.5 MB
▾ [-] Documents/                         106 B   2 of 3 files
    [x] a\x1b[2Jb\n\xff.txt                7 B   a\x1b[2Jb\n\xff.txt
    [ ] copy.pdf                          99 B ! copy.pdf
    [x] report.pdf                        99 B   report.pdf
▾ [x] Images/                           6.5 MB   3 files
  ▾ [x] 2019/                           4.0 MB   1 file
      [x] IMG_0001.JPG                  4.0 MB   old/2019/Trip to the sea/…
    [x] beach.jpg                       2.5 MB   beach.jpg
    [x] 写真のとても長…ルです🎉.png     1.0 kB   写真のとても長…イルです🎉.png
▾ [x] Programs/                           10 B   1 file
    [x] cute\u202egpj.exe                 10 B ! cute\u202egpj.exe
  [x] README                               0 B   README







from  copy.pdf
to    Documents/copy.pdf
duplicate of report.pdf
y apply  q cancel  ? help  space out/in  e edit  / filter  a all  n none
`, "\n")
	narrow := strings.TrimPrefix(`
Organize …ownloads  7 of 8 files, 6.5 MB
    [x] report.pdf               99 B
▾ [x] Images/                  6.5 MB
  ▾ [x] 2019/                  4.0 MB
      [x] IMG_0001.JPG         4.0 MB
    [x] beach.jpg              2.5 MB
    [x] 写真のと…す🎉.png      1.0 kB
from  写真のとても長…ファイルです🎉.png

y apply  q cancel  ? help  space out/in
`, "\n")
	m := newReviewModel("Organize ~/Downloads", reviewSample(), true)
	view := func() string {
		lines := strings.Split(ansi.Strip(m.View().Content), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n") + "\n"
	}
	m.on(t, "Documents/copy.pdf")
	if diff := cmp.Diff(wide, view()); diff != "" {
		t.Errorf("80x24: %s", diff)
	}
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 10})
	m.on(t, "Images/写真のとても長い名前のファイルです🎉.png")
	if diff := cmp.Diff(narrow, view()); diff != "" {
		t.Errorf("40x10: %s", diff)
	}
	if v := m.View(); !v.AltScreen || v.Cursor != nil {
		t.Error("not full screen, or a cursor without an input line")
	}
}

// Without color no frame sets one; with it, some do.
func TestReviewColor(t *testing.T) {
	for _, color := range []bool{false, true} {
		m := newReviewModel("t", reviewSample(), color)
		m.on(t, "README")
		m.press("e", "ctrl+u", "enter")
		if got := strings.Contains(m.View().Content, "\x1b[3") || strings.Contains(m.View().Content, ";3"); got != color {
			t.Errorf("color %v: %q", color, m.View().Content)
		}
	}
}

// Whatever the names, the keys and the size, a frame fits the screen and sends
// the terminal nothing but our own styles.
func TestReviewFrames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "B", ".", "/", " ", "日本", "🎉", "👨\u200d👩\u200d👧", "🇩🇪", "e\u0301", "\u0301", "\x1b[2J", "\x1b]0;x\a", "\n", "\t",
		"\xff", "\xc3", "\u202e", "\u2028", "\u200b", "\ufeff", "\u009b31m", "\x7f", "\ufe0f", "ｶ", "한", "َ", ".tar.gz", "a-long-run-of-letters", "\U000e0041"}
	text := func(n int) string {
		var b strings.Builder
		for range rnd.IntN(n) + 1 {
			b.WriteString(parts[rnd.IntN(len(parts))])
		}
		return b.String()
	}
	keys := []string{"up", "down", "left", "right", "pgup", "pgdown", "home", "end", "enter", "esc", "space", "backspace", "delete",
		"a", "n", "e", "/", "?", "j", "k", "ctrl+u", "ctrl+w"}
	for range 100 {
		items := make([]reviewItem, rnd.IntN(30))
		for i := range items {
			items[i] = reviewItem{From: text(20), To: text(12), Bytes: rnd.Int64() >> rnd.IntN(63), Out: rnd.IntN(3) == 0}
			if rnd.IntN(3) == 0 {
				items[i].Note = text(20)
			}
		}
		m := newReviewModel(text(20), items, true)
		if rnd.IntN(2) == 0 {
			m.Update(tea.ModeReportMsg{Mode: ansi.ModeUnicodeCore, Value: ansi.ModeReset})
		}
		for range 40 {
			key := keys[rnd.IntN(len(keys))]
			m.press(key)
			switch rnd.IntN(8) {
			case 0:
				m.Update(tea.WindowSizeMsg{Width: rnd.IntN(100), Height: rnd.IntN(30)})
			case 1:
				m.Update(tea.PasteMsg{Content: text(5)})
			}
			v := m.View()
			if m.finished {
				break
			}
			lines := strings.Split(v.Content, "\n")
			if len(lines) > m.height {
				t.Fatalf("after %s: %d lines at %dx%d", key, len(lines), m.width, m.height)
			}
			for _, line := range lines {
				if w := m.cells.StringWidth(line); w > m.width {
					t.Fatalf("after %s: %d cells at %dx%d (%v): %q", key, w, m.width, m.height, m.cells.Method, line)
				}
			}
			if c := v.Cursor; c != nil && (c.X >= m.width || c.Y >= m.height) {
				t.Fatalf("after %s: cursor at %d,%d at %dx%d", key, c.X, c.Y, m.width, m.height)
			}
			plain := ansi.Strip(v.Content)
			if strings.Count(v.Content, "\x1b") != strings.Count(v.Content, "\x1b[") || !utf8.ValidString(plain) {
				t.Fatalf("after %s: %q", key, v.Content)
			}
			for _, r := range plain {
				if r != '\n' && r != '\u200d' && !unicode.IsGraphic(r) {
					t.Fatalf("after %s: raw %U in %q", key, r, plain)
				}
			}
			files := 0
			for i, ok := range m.pass {
				if ok && i >= 0 {
					files++
				}
			}
			if files != m.nodes[0].files || len(m.rows) > 0 && m.cur >= len(m.rows) {
				t.Fatalf("after %s: %d of %d files in the tree, row %d of %d", key, m.nodes[0].files, files, m.cur, len(m.rows))
			}
		}
	}
}

func TestReviewFit(t *testing.T) {
	var c reviewCells
	for _, x := range []struct {
		in   string
		w    int
		want string
	}{
		{"short.txt", 9, "short.txt"}, {"a-long-name.tar.gz", 9, "a-lo…r.gz"}, {"a-long-name.jpeg", 8, "a-….jpeg"},
		{"日本語日本語.png", 9, "日本….png"}, {"abc", 1, "…"}, {"abc", 0, ""}, {"abc", -1, ""},
	} {
		if got := c.fit(x.in, x.w); got != x.want {
			t.Errorf("fit(%q, %d) = %q, want %q", x.in, x.w, got, x.want)
		}
	}
}

func reviewMass(n int) []reviewItem {
	items := make([]reviewItem, n)
	for i := range items {
		items[i] = reviewItem{From: fmt.Sprintf("in/%06d.jpg", i), To: fmt.Sprintf("Images/%d/%06d.jpg", i%50, i), Bytes: int64(i)}
	}
	return items
}

// A frame costs what it shows, whatever the number of files.
func TestReviewLarge(t *testing.T) {
	m := newReviewModel("t", reviewMass(100_000), true)
	if len(m.rows) != 1 {
		t.Fatalf("%d rows: folders should start folded", len(m.rows))
	}
	if few := newReviewModel("t", reviewMass(reviewMany), true); len(few.rows) != reviewMany+51 {
		t.Fatalf("%d rows: folders should start unfolded", len(few.rows))
	}
	for i := range m.nodes {
		m.open[m.nodes[i].path] = true
	}
	m.refresh()
	m.press("end")
	frame := testing.AllocsPerRun(10, func() { m.View() })
	move := testing.AllocsPerRun(10, func() { m.press("up") })
	toggle := testing.AllocsPerRun(10, func() { m.press("space") })
	t.Logf("100k unfolded: a frame %.0f, a move %.0f, a toggle %.0f allocations", frame, move, toggle)
	if frame > 1000 || move > 10 || toggle > 100 {
		t.Errorf("a frame %.0f, a move %.0f, a toggle %.0f allocations", frame, move, toggle)
	}
}

func BenchmarkReview(b *testing.B) {
	items := reviewMass(100_000)
	m := newReviewModel("t", items, true)
	for i := range m.nodes {
		m.open[m.nodes[i].path] = true
	}
	m.refresh()
	for name, f := range map[string]func(){
		"start":  func() { newReviewModel("t", items, true) },
		"frame":  func() { m.View() },
		"toggle": func() { m.press("space") },
		"all":    func() { m.press("n", "a") },
		"filter": func() { m.press("/", "9", "esc") },
		"edit":   func() { m.press("end", "e", "backspace", "g", "enter") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// The whole program, over pipes in place of a terminal.
func TestReviewProgram(t *testing.T) {
	for _, c := range []struct {
		keys string
		ok   bool
	}{{"ny", true}, {"nqq", false}} {
		in, keys := io.Pipe()
		go func() {
			for _, k := range c.keys {
				fmt.Fprintf(keys, "%c", k)
				time.Sleep(20 * time.Millisecond)
			}
		}()
		items := reviewSample()
		ok, err := review(t.Context(), in, io.Discard, "t", items, false)
		keys.Close()
		if ok != c.ok || err != nil {
			t.Fatalf("%s: %v, %v", c.keys, ok, err)
		}
		if items[0].Out != c.ok || items[0].From != "beach.jpg" {
			t.Fatalf("%s: items[0] is %+v", c.keys, items[0])
		}
	}
}

// A terminal that is closed sends a signal and nothing else: the review must not stay, with its locks.
func TestReviewEndsWithItsContext(t *testing.T) {
	in, keys := io.Pipe()
	defer keys.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	ok, err := review(ctx, in, io.Discard, "t", reviewSample(), false)
	if ok || !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, %v", ok, err)
	}
}

func TestConfirm(t *testing.T) {
	for in, want := range map[string]bool{
		"y\n": true, "Y\r\n": true, " yes \n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "y": false,
		"yikes\n": false, strings.Repeat(" ", 20) + "y\n": false,
	} {
		var out bytes.Buffer
		rest := strings.NewReader(in)
		got, err := confirm(rest, &out, "Move 3 files?")
		if got != want || err != nil || !strings.HasPrefix(out.String(), "Move 3 files? [y/N] ") {
			t.Errorf("%q: %v, %v, %q", in, got, err, out.String())
		}
	}
	rest := strings.NewReader("y\nnext")
	if ok, _ := confirm(rest, io.Discard, "?"); !ok || rest.Len() != 4 {
		t.Errorf("%v, %d bytes left: it must read one line only", ok, rest.Len())
	}
	if ok, err := confirm(io.MultiReader(strings.NewReader("y"), reviewBroken{}), io.Discard, "?"); ok || err == nil {
		t.Errorf("a broken input: %v, %v", ok, err)
	}
}

type reviewBroken struct{}

func (reviewBroken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
