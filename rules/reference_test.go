package rules

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// manual is where the language is described.
var manual = filepath.Join("..", "docs", "rules.md")

// The tables of docs/rules.md are made from the tables of the parser, so that every word that is known is described and no
// other. After a change of the language:
//
//	go test -run TestManual ./rules -update
func TestManual(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	tables := manualTables(t)
	used := map[string]bool{}
	made := regexp.MustCompile(`(?s)<!-- table: ([a-z ]+) -->\n.*?<!-- end -->`).ReplaceAllStringFunc(string(text), func(s string) string {
		head, _, _ := strings.Cut(s, "\n")
		kind := strings.TrimSuffix(strings.TrimPrefix(head, "<!-- table: "), " -->")
		used[kind] = true
		if tables[kind] == "" {
			t.Errorf("there is no table of %q", kind)
		}
		return head + "\n" + tables[kind] + "<!-- end -->"
	})
	for kind := range tables {
		if !used[kind] {
			t.Errorf("%s has no table of %q", manual, kind)
		}
	}
	if made == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(manual, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(string(text), "\n"), strings.Split(made, "\n")
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s lacks: %s", manual, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s has, against the code: %s", manual, line)
		}
	}
	t.Error("its tables are not those of the code; -update makes them anew")
}

// manualTables returns the tables that the manual holds.
func manualTables(t *testing.T) map[string]string {
	tables := map[string]string{}
	row := func(kind string, cells ...string) {
		if tables[kind] == "" {
			tables[kind] = map[string]string{
				"filter":            "| filter | a file passes if | gives |\n| --- | --- | --- |\n",
				"option of filters": "| filter | option | |\n| --- | --- | --- |\n",
				"option of actions": "| action | option | |\n| --- | --- | --- |\n",
				"fact":              "| fact | as in |\n| --- | --- |\n",
				"cookbook":          "| file | |\n| --- | --- |\n",
			}[kind]
			if tables[kind] == "" {
				tables[kind] = "| " + strings.TrimSuffix(kind, "s") + " | |\n| --- | --- |\n"
			}
		}
		tables[kind] += "| " + strings.Join(cells, " | ") + " |\n"
	}
	type block struct {
		of      []string
		options string
	}
	var blocks []block
	for _, e := range Reference() {
		switch {
		case e.Kind == "option":
			kind, short := "filter", ""
			if f := filterNamed(e.Of); f != nil {
				short = f.short
			} else {
				kind, short = "action", actionNamed(e.Of).short
			}
			name := "`" + e.Name + "`"
			if e.Name == short {
				name = "**" + name + "**"
			}
			line := kind + "\x00" + name + " | " + cell(e.Text) + "\n"
			if n := len(blocks); n > 0 && blocks[n-1].of[0] == e.Of {
				blocks[n-1].options += line
			} else {
				blocks = append(blocks, block{[]string{e.Of}, line})
			}
		case e.Kind == "filter":
			f := filterNamed(e.Name)
			var gives []string
			for _, g := range f.gives {
				gives = append(gives, "`{"+g+"}`")
			}
			row("filter", "`"+e.Name+"`", cell(e.Text), strings.Join(gives, " "))
		case e.Kind == "placeholder":
			row(e.Kind, "`{"+e.Name+"}`", cell(e.Text))
		default:
			row(e.Kind, "`"+e.Name+"`", cell(e.Text))
		}
	}
	// Filters and actions with the same options share their rows.
	for i, b := range blocks {
		if b.options == "" {
			continue
		}
		for j := i + 1; j < len(blocks); j++ {
			if blocks[j].options == b.options {
				b.of = append(b.of, blocks[j].of[0])
				blocks[j].options = ""
			}
		}
		of := "`" + strings.Join(b.of, "`, `") + "`"
		for line := range strings.Lines(b.options) {
			kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
			row("option of "+kind+"s", of, rest)
			of = ""
		}
	}
	for _, f := range testFacts {
		row("fact", "`"+f.name+"`", cell(map[factKind]string{textFact: `"some text"`, sizeFact: "2 MB", boolFact: "true", dateFact: "2024-05-31 18:30",
			listFact: "[one, two]", intFact: "1920", secondsFact: "90 min", exifFact: "{image.model: X100}"}[f.kind]))
	}
	book := cookbook(t)
	for _, name := range slices.Sorted(maps.Keys(book)) {
		line, _, _ := strings.Cut(book[name], "\n")
		row("cookbook", fmt.Sprintf("[%s](../testdata/rules/cookbook/%s)", name, name), cell(strings.TrimPrefix(line, "# ")))
	}
	return tables
}

// cell is text as a cell of a table shows it.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`).Replace(text)
}

// Every rules file in the manual is in order and passes its tests, and every placeholder that it mentions is one.
func TestManualExamples(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	own, _, found := strings.Cut(string(text), "\n## Coming from organize\n")
	if !found {
		t.Fatal("the part about organize, which speaks of another language, is not found")
	}
	opt := Options{Home: "/home/x", Now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Env: func(name string) (string, bool) { return "/home/x", name == "HOME" || name == "NAME" }}
	files := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n").FindAllStringSubmatch(own, -1)
	if len(files) == 0 {
		t.Fatal("there are no examples")
	}
	for _, m := range files {
		r, err := Parse("example", []byte(m[1]), opt)
		if err != nil {
			t.Errorf("%s\n%v", m[1], err)
			continue
		}
		for _, result := range r.RunTests() {
			if !result.Pass {
				t.Errorf("%s\nline %d: got %s, want %s", m[1], result.Line, result.Got, result.Want)
			}
		}
	}
	// In a rule that has a filter of each kind that gives something, each placeholder can stand.
	giving := "rules:\n  - filters: [name: '{artist} - {title}', regex: '(?P<year>.)', content: '(?P<who>.)(?P<word>.)', hash, duplicate, any: [name: '{word}', regex: '(?P<word>.)']]\n" +
		"    actions: [echo: '%s']\n"
	placeholder := regexp.MustCompile("`[^`]*?(\\{[a-z]+[^`{}]*\\})")
	for i, m := range placeholder.FindAllStringSubmatch(own, -1) {
		p := strings.ReplaceAll(m[1], `\|`, "|")
		if strings.HasSuffix(p, ".*}") || strings.Contains(p, ": ") || strings.Contains(p, ",") && !strings.Contains(p, "|") || p == "{word}" || p == "{artist}" {
			continue // a family, YAML, or a glob and its captures
		}
		if _, err := Parse("placeholder", fmt.Appendf(nil, giving, strings.ReplaceAll(p, "'", "''")), opt); err != nil {
			t.Errorf("%d: %s: %v", i, p, err)
		}
	}
}
