package cmd

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// hostile are names that mean something to one service manager or another.
var hostile = []string{
	"/home/ann/Downloads", "/home/ann/My Files", "/a/it's", `/a/say "hi"`, "/a/100%", "/a/%h%n", "/a/%", "/a/$HOME", "/a/$(touch x)", "/a/`id`", "/a/${x}",
	`/a/back\slash`, `/a/end\`, `/a/two\\`, `/a/\%`, `/a/%\`, `/a/\'`, `/a/\"`, "/a/;", "/a/; rm -rf", "/a/&&x", "/a/<b>&amp;", "/a/-->", "/a/]]>", "/a/#x", "/a/!x",
	"/a/été", "/a/日本", "/a/*?[x]", "/a/~", "/a/tab\there", "", " ", "-x", "@x", "a=b c",
}

// shell is what sh makes of a line.
func shell(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "printf '%s\\0' "+line).Output()
	if err != nil {
		t.Fatalf("sh: %v\n%s", err, line)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// What the crons in use do with a command before sh gets it: all end it at a % without a backslash, which stands for the
// beginning of its input. The oldest leave backslashes alone, others take away one before a %, the strictest before
// another one as well.
func oldCron(line string) string {
	escaped := false
	for i := range len(line) {
		switch {
		case escaped:
			escaped = false
		case line[i] == '\\':
			escaped = true
		case line[i] == '%':
			return line[:i]
		}
	}
	return line
}

func newCron(line, takesAway string) string {
	var out []byte
	escaped := false
	for i := range len(line) {
		c := line[i]
		if escaped {
			escaped = false
			if strings.IndexByte(takesAway, c) >= 0 {
				out[len(out)-1] = c
				continue
			}
		} else if c == '\\' {
			escaped = true
		} else if c == '%' {
			break
		}
		out = append(out, c)
	}
	return string(out)
}

func TestCronCommand(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("NOT TESTED: there is no sh")
	}
	line, err := cronCommand(hostile)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"old": oldCron(line), "%": newCron(line, "%"), `%\`: newCron(line, `%\`)} {
		if words := shell(t, got); !slices.Equal(words, hostile) {
			t.Errorf("a cron that takes backslashes before %s away gives sh\n%s\nwhich is\n%q, want\n%q", name, got, words, hostile)
		}
	}
	for _, bad := range []string{"a\nb", "a\rb", strings.Repeat("x", 1000)} {
		if line, err := cronCommand([]string{bad}); err == nil {
			t.Errorf("%.20q became %.20q", bad, line)
		}
	}
}

func TestSystemdCommand(t *testing.T) {
	for word, want := range map[string]string{
		"/home/ann/My Files": `"/home/ann/My Files"`, `say "hi"`: `"say \"hi\""`, "100%": `"100%%"`, "$HOME": `"$$HOME"`, `a\b`: `"a\\b"`, "a\nb\x7f": `"a\x0ab\x7f"`,
		"\xffx": `"\xffx"`, "été": `"été"`, "": `""`, "it's;": `"it's;"`,
	} {
		if got := systemdQuote(word); got != want {
			t.Errorf("%q is quoted as %s, want %s", word, got, want)
		}
	}
	if got := systemdCommand([]string{"/home/ann/go/bin/forg", "watch"}); got != `"/home/ann/go/bin/forg" "watch"` {
		t.Error(got)
	}
	if got := systemdCommand([]string{"/a/$x/forg", "watch"}); got != `"/usr/bin/env" "--" "/a/$$x/forg" "watch"` {
		t.Error(got)
	}
	if got := systemdText(`forg watches /a/%h\`); got != "forg watches /a/%%h" {
		t.Error(got)
	}
}

// windowsWords takes a command line apart as CommandLineToArgvW does behind the program's name.
func windowsWords(line string) []string {
	var words []string
	var b []byte
	inWord, quoted := false, false
	for i := 0; i < len(line); {
		n := 0
		for i < len(line) && line[i] == '\\' {
			n++
			i++
		}
		inWord = inWord || n > 0
		if i < len(line) && line[i] == '"' {
			b = append(b, strings.Repeat(`\`, n/2)...)
			if inWord = true; n%2 == 1 {
				b = append(b, '"')
			} else {
				quoted = !quoted
			}
			i++
			continue
		}
		b = append(b, strings.Repeat(`\`, n)...)
		if i == len(line) {
			break
		}
		if c := line[i]; (c == ' ' || c == '\t') && !quoted {
			if inWord {
				words = append(words, string(b))
			}
			b, inWord = nil, false
		} else {
			b, inWord = append(b, c), true
		}
		i++
	}
	if inWord {
		words = append(words, string(b))
	}
	return words
}

func TestWindowsQuote(t *testing.T) {
	var words []string
	for _, h := range hostile {
		words = append(words, windowsQuote(h))
	}
	if got := windowsWords(strings.Join(words, " ")); !slices.Equal(got, hostile) {
		t.Errorf("Windows would read\n%q, want\n%q", got, hostile)
	}
}

// texts are the texts of all elements of that name in a document, which must be well-formed.
func texts(t *testing.T, doc, element string) []string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(doc))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var all []string
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if s, ok := tok.(xml.StartElement); ok && s.Name.Local == element {
			var text string
			if err := d.DecodeElement(&text, &s); err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
		}
	}
}

func testApp(t *testing.T) *app {
	home := t.TempDir()
	return &app{out: io.Discard, err: io.Discard, getenv: func(name string) string {
		if name == "HOME" {
			return home
		}
		return ""
	}}
}

func TestXMLUnits(t *testing.T) {
	a := testApp(t)
	for _, h := range hostile {
		j := &job{Kind: watchJob, ID: "x-1", Path: h, argv: []string{"/bin/forg", "watch", h}}
		units, err := launchd{a}.units(j)
		if strings.ContainsAny(h, "\t") {
			if err == nil {
				t.Errorf("%q is written down in XML, which cannot hold it", h)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", h, err)
			continue
		}
		if got := texts(t, units[0].text, "string"); len(got) < 4 || !slices.Equal(got[1:4], j.argv) {
			t.Errorf("launchd would run %q, want %q", got, j.argv)
		}
		units, err = tasks{a}.units(j)
		if h == "/a/%h%n" || h == "/a/$(touch x)" {
			if err == nil {
				t.Errorf("the Task Scheduler would replace something in %q", h)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", h, err)
			continue
		}
		if got := windowsWords(texts(t, units[0].text, "Arguments")[0]); !slices.Equal(got, j.argv[1:]) {
			t.Errorf("the Task Scheduler would give %q, want %q", got, j.argv[1:])
		}
	}
	for _, bad := range []string{"a\x01", "a\xff", "a\n"} {
		j := &job{Kind: watchJob, ID: "x-1", Path: bad, argv: []string{"/bin/forg", "watch", bad}}
		for _, m := range []serviceManager{launchd{a}, tasks{a}} {
			if _, err := m.units(j); err == nil {
				t.Errorf("%s: %q is written down in XML, which cannot hold it", m, bad)
			}
		}
	}
}

// The line by which forg knows its own must say the same in every format, whatever the path.
func TestMark(t *testing.T) {
	a := testApp(t)
	for _, h := range append(slices.Clone(hostile), "/a/\xff", "/a/\n# x") {
		for _, j := range []*job{{Kind: watchJob, ID: "d-1"}, {Kind: scheduleJob, ID: "d-2", When: "mon,tue 03:00"}} {
			j.Path, j.argv = h, []string{"/bin/forg", "x", "/d"}
			for _, m := range []serviceManager{systemd{a}, cron{a}, launchd{a}, tasks{a}} {
				units, err := m.units(j)
				if err != nil {
					t.Fatal(m, err)
				}
				for _, u := range units {
					got := marked(u.text)
					if got == nil || got.ID != j.ID || got.Path != h || got.When != j.When || got.Kind != j.Kind {
						t.Errorf("%s: the job of %q is read as %+v in\n%s", m, h, got, u.text)
					}
				}
			}
		}
	}
	for _, text := range []string{"", "Written by forg", "# Written by somebody else"} {
		if marked(text) != nil {
			t.Errorf("%q counts as forg's", text)
		}
	}
}

// Whatever a crontab holds, the lines that are not forg's stay as they are, to the byte.
func TestCronWithout(t *testing.T) {
	one := &job{Kind: scheduleJob, ID: "a-1", Path: "/a", When: "hourly", argv: []string{"/bin/forg", "organize", "/a"}}
	two := &job{Kind: scheduleJob, ID: "b-2", Path: "/b", When: "hourly", argv: []string{"/bin/forg", "organize", "/b"}}
	text := func(j *job) string {
		units, err := cron{testApp(t)}.units(j)
		if err != nil {
			t.Fatal(err)
		}
		return units[0].text
	}
	for _, before := range []string{"", "MAILTO=x\n", "# c\r\n\n  0 3 * * *\tfoo % bar\n\xff\n", text(two)} {
		for _, after := range []string{"", "1 1 * * * x\n", "no end of line", text(two)} {
			if got := cronWithout(before+text(one)+after, one); got != before+after {
				t.Errorf("%q is left of %q and %q", got, before, after)
			}
			if got := cronWithout(before+after, one); got != before+after {
				t.Errorf("%q became %q", before+after, got)
			}
		}
	}
	broken := strings.Replace(text(one), "# End of", "# Once the end of", 1)
	if got := cronWithout(broken, one); got != broken {
		t.Errorf("lines were taken away that somebody has changed: %q", got)
	}
}

func TestWriteUnit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "below", "x.service")
	mine := unit{path, "# " + (&job{Kind: watchJob, ID: "x"}).mark() + "\n"}
	other := unit{path, mine.text + "more\n"}
	for _, u := range []unit{mine, mine, other} {
		if err := writeUnit(u); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != u.text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := os.WriteFile(path, []byte("[Unit]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeUnit(mine); err == nil {
		t.Error("a file of somebody else was replaced")
	}
	if err := removeUnit(path); err == nil {
		t.Error("a file of somebody else was removed")
	}
	if got, _ := os.ReadFile(path); string(got) != "[Unit]\n" {
		t.Errorf("%q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "below", ".forg-*")); len(left) > 0 {
		t.Error(left)
	}
}

// Flags reach a service as they were given: parsing them again gives the same.
func TestJobFlags(t *testing.T) {
	parse := func(words []string) (*organizeFlags, []string) {
		var f organizeFlags
		fl := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.register(fl)
		flags, err := jobFlags(fl, words)
		if err != nil {
			t.Fatal(words, err)
		}
		return &f, flags
	}
	for _, words := range [][]string{
		{}, {"-r"}, {"--recursive=false"}, {"--by", "category,year"}, {"--exclude", `"{a,b}*"`, "--exclude", "x y", "--exclude", `"say ""hi"""`},
		{"--into", "/x y", "--min-age=1h", "--max-files", "500", "--on-conflict", "skip"},
	} {
		f, flags := parse(words)
		g, again := parse(flags)
		if !slices.Equal(flags, again) || !slices.Equal(f.exclude, g.exclude) || !slices.Equal(f.by, g.by) || f.into != g.into || f.recursive != g.recursive ||
			f.minAge != g.minAge || f.maxFiles != g.maxFiles || f.conflict != g.conflict {
			t.Errorf("%q became %q, which means something else", words, flags)
		}
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, flags := parse([]string{"--into", "x"}); flags[0] != "--into="+filepath.Join(cwd, "x") {
		t.Errorf("a relative path became %q", flags)
	}
	for _, words := range [][]string{{"x"}, {"--bogus"}, {"--max-files", "many"}, {"--on-conflict", "fight"}} {
		var f organizeFlags
		fl := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.register(fl)
		if flags, err := jobFlags(fl, words); err == nil {
			t.Errorf("%q became %q", words, flags)
		}
	}
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{"Downloads": "downloads", "My  Files!": "my-files", "日本": "folder", "": "folder", "..": "folder",
		strings.Repeat("long-", 20): "long-long-long-long-long-long"} {
		if got := slug(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
