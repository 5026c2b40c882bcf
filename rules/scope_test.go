package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func names(rules []*Rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

func TestScope(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: any, filters: [name: a], actions: [trash]}
  - {name: deep, subfolders: true, filters: [name: b], actions: [trash]}
  - {name: top, locations: ~/D, filters: [name: c], actions: [trash]}
  - name: tree
    locations: [{path: ~/D, exclude_dirs: [node_modules, "x/y*", ".*"], exclude_files: ["*.tmp", "in/keep/*"]}, ~/E]
    subfolders: true
    filters: [name: d]
    actions: [trash]
  - {name: level, locations: {path: /home/u/D, max_depth: 1}, filters: [name: e], actions: [trash]}
  - {name: inner, locations: [{path: ~/D, max_depth: 9}, ~/D/in], filters: [name: f], actions: [trash]}
  - {name: off, enabled: false, subfolders: true, filters: [name: g], actions: [trash]}
`)
	for _, c := range []struct {
		root, dir string
		recursive bool
		want      string
		below     bool
	}{
		{"/home/u/D", "/home/u/D", false, "any deep top tree level inner", true},
		{"/home/u/D", "/home/u/D/in", false, "deep tree level inner", true},
		{"/home/u/D", "/home/u/D/in/x", true, "any deep tree inner", true},
		{"/home/u/D", "/home/u/D/node_modules", false, "deep level inner", true},
		{"/home/u/D", "/home/u/D/a/node_modules/b", false, "deep inner", true},
		{"/home/u/D", "/home/u/D/x/yz", false, "deep inner", true},
		{"/home/u/D", "/home/u/D/a/x/yz", false, "deep tree inner", true},
		{"/home/u/D", "/home/u/D/.git", false, "deep level inner", true},
		{"/home/u", "/home/u", false, "any deep", true},
		{"/home/u/Dx", "/home/u/Dx", false, "any deep", true},
		{"/x", "/x", false, "any deep", true},
		{"/x", "/x/y", true, "any deep", true},
		{"/x", "/elsewhere", true, "", false},
		{"/", "/usr", false, "deep", true},
	} {
		s := r.Scope(c.root, c.dir, c.recursive)
		var got []*Rule
		for _, h := range s.held {
			got = append(got, h.rule)
		}
		if names(got) != c.want || s.Empty() != (c.want == "") || s.Below() != c.below {
			t.Errorf("%s from %s: %q, below %v, want %q, %v", c.dir, c.root, names(got), s.Below(), c.want, c.below)
		}
	}
	top := mustParse(t, "rules:\n- {name: top, locations: [~/D, ~/E/x], actions: [trash]}\n")
	for dir, below := range map[string]bool{"/home/u/D": false, "/home/u/E": true, "/home/u": true, "/": true, "/home/u/E/x": false} {
		if got := top.Scope("/", dir, true).Below(); got != below {
			t.Errorf("below %s: %v", dir, got)
		}
	}

	// Of several locations the nearest is the one from which the rule sees a file.
	for dir, want := range map[string]string{"/home/u/D/in": "/home/u/D/in|a.txt|0", "/home/u/D/o": "/home/u/D|o/a.txt|1", "/home/u/D/in/z": "/home/u/D|in/z/a.txt|2"} {
		r := mustParse(t, `rules: [{locations: [{path: ~/D, max_depth: 9}, ~/D/in], actions: [echo: "{location}|{relative_path}|{depth}"]}]`)
		if d := r.Scope("/home/u/D", dir, false).Decide(&fakeFile{dir: dir, name: "a.txt"}); d.Steps[0].Text != want {
			t.Errorf("%s: %s", dir, d.Steps[0].Text)
		}
	}
}

func TestExclude(t *testing.T) {
	r := mustParse(t, `
rules:
  - name: R
    locations: {path: /d, max_depth: 5, exclude_files: ["*.tmp", "in/keep*"], exclude_dirs: "out/"}
    actions: [trash]
`)
	for path, want := range map[string]bool{
		"/d/a": true, "/d/a.tmp": false, "/d/in/keep1": false, "/d/in/x/keep1": true, "/d/keep1": true, "/d/out/a": false, "/d/in/out": true,
	} {
		i := strings.LastIndex(path, "/")
		f := &fakeFile{dir: path[:i], name: path[i+1:]}
		if got := len(r.Scope("/d", f.dir, false).Decide(f).Steps) > 0; got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestSelect(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: plain, filters: [name: a], actions: [trash]}
  - {name: a, tags: a, filters: [name: b], actions: [trash]}
  - {name: ab, tags: [a, b], filters: [name: c], actions: [trash]}
  - {name: always, tags: always, filters: [name: d], actions: [trash]}
  - {name: never, tags: [never, n], filters: [name: e], actions: [trash]}
`)
	for _, c := range []struct{ tags, skip, want string }{
		{"", "", "plain a ab always"},
		{"a", "", "a ab always"},
		{"b c", "", "ab always"},
		{"a", "b", "a always"},
		{"", "a", "plain always"},
		{"", "always", "plain a ab"},
		{"n", "", "always never"},
		{"never", "n", "always"},
	} {
		s := r.Select(strings.Fields(c.tags), strings.Fields(c.skip))
		if got := names(s.All()); got != c.want {
			t.Errorf("--tags %q --skip-tags %q: %q, want %q", c.tags, c.skip, got, c.want)
		}
		d := s.Scope("/d", "/d", false).Decide(&fakeFile{dir: "/d", name: "d"})
		if got := len(d.Steps) > 0; got != strings.Contains(c.want, "always") {
			t.Errorf("--tags %q --skip-tags %q: the rule always matched: %v", c.tags, c.skip, got)
		}
	}
	if diff := cmp.Diff([]string{"a", "always", "b", "n", "never"}, r.Tags()); diff != "" {
		t.Error(diff)
	}
	if names(r.All()) != "plain a ab always never" {
		t.Error("Select changed the rules themselves")
	}
}

func TestLocations(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: a, locations: [~/D, ~/E/../F], filters: [name: a], actions: [trash]}
  - {name: b, locations: [{path: ~/D/, max_depth: 2}, "{env.NAS}/x", rel], filters: [name: b], actions: [trash]}
  - {name: c, locations: ~/D, subfolders: true, enabled: false, actions: [trash]}
  - {name: d, locations: ~/gone, filters: [name: d], actions: [trash]}
`)
	want := []Location{{"/home/u/D", 2}, {"/home/u/F", 0}, {"/nas/data/x", 0}, {"rel", 0}, {"/home/u/gone", 0}}
	if diff := cmp.Diff(want, r.Locations()); diff != "" {
		t.Error(diff)
	}
	asked := map[string]int{}
	errs := r.Resolve(func(p string) (string, error) {
		asked[p]++
		if p == "/home/u/gone" {
			return "", errors.New("no such folder")
		}
		return "/real/" + strings.TrimPrefix(p, "/"), nil
	})
	if len(errs) != 1 || errs[0].Error() != "no such folder" || asked["/home/u/D"] != 1 {
		t.Error(errs, asked)
	}
	want = []Location{{"/real/home/u/D", 2}, {"/real/home/u/F", 0}, {"/real/nas/data/x", 0}, {"/real/rel", 0}}
	if diff := cmp.Diff(want, r.Locations()); diff != "" {
		t.Error(diff)
	}
	// A rule that lost its location does not hold anywhere instead.
	s := r.Scope("/x", "/x", true)
	if !s.Empty() || !r.Scope("/home/u/gone", "/home/u/gone", true).Empty() {
		t.Errorf("%+v", s.held)
	}
}

func TestInside(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: a, filters: [name: a], actions: [move: "Sorted/{ext}/", copy: "x.txt", rename: b]}
  - {name: b, filters: [name: b], actions: [copy: "A/B/c.txt", hardlink: "{ext}/x/", write: {file: log/x, text: y}]}
  - {name: c, locations: ~/D, filters: [name: c], actions: [move: "~/D/Abs/x{name}/", copy: "{location}/Loc/", symlink: "Rel/"]}
  - {name: d, filters: [name: d], actions: [move: "/elsewhere/"]}
  - {name: e, enabled: false, filters: [name: e], actions: [move: Off/]}
  - {name: f, filters: [name: f], actions: [extract: "Un/{name}/"]}
`)
	for _, c := range []struct {
		root, into, want string
	}{
		{"/home/u/D", "", "A/B Abs Loc Rel Sorted Un"},
		{"/x", "", "A/B Sorted Un"},
		{"/x", "/x/into", "into/A/B into/Rel into/Sorted into/Un"},
		{"/x", "/y", ""},
		{"/", "/into", "elsewhere home/u/D/Abs home/u/D/Loc into/A/B into/Rel into/Sorted into/Un"},
	} {
		var got []string
		for _, p := range r.Inside(c.root, c.into) {
			below, ok := inside(c.root, p)
			if !ok {
				t.Errorf("%s is not below %s", p, c.root)
			}
			got = append(got, below)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s into %q: %q, want %q", c.root, c.into, got, c.want)
		}
	}
}

func TestNeeds(t *testing.T) {
	r := mustParse(t, `
rules:
  - name: a
    filters: [extension: pdf, duplicate, duplicate: {keep: {priority: [~/A, /b]}}, category: Images/Photos]
    actions: [move: "{taken:%Y ?? audio.year}/{exif.image.model}/{origin.host ?? env.WHO}"]
  - {name: b, enabled: false, filters: [content: x], actions: [trash]}
`)
	want := []string{"audio.year", "category", "duplicate:oldest", "duplicate:priority:/home/u/A\x00/b", "exif", "origin", "taken", "type"}
	if diff := cmp.Diff(want, r.Needs()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"text"}, r.All()[1].Needs()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Duplicates{
		{Fact: "duplicate:oldest", Keep: "oldest"},
		{Fact: "duplicate:priority:/home/u/A\x00/b", Keep: "priority", Priority: []string{"/home/u/A", "/b"}},
	}, r.Duplicates()); diff != "" {
		t.Error(diff)
	}
}

func TestAt(t *testing.T) {
	r := mustParse(t, oneRule("- modified: {days: 10}", `- echo: "{now:%F %R}"`))
	f := &fakeFile{dir: "/d", name: "a", facts: map[string]Value{FactModified: testNow.AddDate(0, 0, -5)}}
	if d := r.Scope("/d", "/d", false).Decide(f); len(d.Steps) != 0 {
		t.Error("it is not that old")
	}
	later := r.At(testNow.AddDate(0, 0, 6).UTC())
	d := later.Scope("/d", "/d", false).Decide(f)
	if len(d.Steps) != 1 || d.Steps[0].Text != "2024-06-07 12:00" {
		t.Errorf("%+v", d)
	}
	if d := r.Scope("/d", "/d", false).Decide(f); len(d.Steps) != 0 {
		t.Error("At changed the rules themselves")
	}
	if _, offset := later.opt.Now.Zone(); offset != 2*60*60 {
		t.Error("the zone of dates changed")
	}
}

// What can be reached, or does not nest, is no error.
func TestNoFalseAlarm(t *testing.T) {
	for _, source := range []string{
		// A placeholder without a value leaves the file to the next rule.
		"- {name: a, actions: [move: '{ext}/']}\n- {name: b, actions: [move: x/]}",
		"- {name: a, actions: [move: '{taken:%Y}/']}\n- {name: b, actions: [move: x/]}",
		"- {name: a, filters: [name: '{w}*'], actions: [move: '{name.w}/']}\n- {name: b, filters: [name: '{w}*'], actions: [move: x/]}",
		"- {name: a, continue: true, actions: [trash]}\n- {name: b, actions: [move: x/]}",
		"- {name: a, tags: t, actions: [trash]}\n- {name: b, actions: [move: x/]}",
		"- {name: a, locations: ~/x, actions: [trash]}\n- {name: b, actions: [move: x/]}",
		"- {name: a, actions: [trash]}\n- {name: b, subfolders: true, actions: [move: x/]}",
		"- {name: a, targets: dirs, actions: [trash]}\n- {name: b, actions: [move: x/]}",
		"- {name: a, enabled: false, actions: [trash]}\n- {name: b, actions: [move: x/]}",
		"- {name: a, filters: [extension: tar.gz], actions: [trash]}\n- {name: b, filters: [extension: gz], actions: [move: x/]}",
		"- {name: a, filters: [size: '> 5'], actions: [trash]}\n- {name: b, filters: [size: '>= 5'], actions: [move: x/]}",
		"- {name: a, filters: [name: a, size: 1], actions: [trash]}\n- {name: b, filters: [name: a], actions: [move: x/]}",
		"- {name: a, filter_mode: any, filters: [name: a, size: 1], actions: [trash]}\n- {name: b, filter_mode: any, filters: [name: a, size: 2], actions: [move: x/]}",
		"- {name: a, locations: {path: ~/x, exclude_files: '*.a'}, actions: [trash]}\n- {name: b, locations: ~/x, actions: [move: x/]}",
		"- {name: a, filters: [not: {extension: pdf}], actions: [trash]}\n- {name: b, filters: [extension: pdf], actions: [move: x/]}",
		"- {name: a, filters: [extension: gz, extension: tar.gz], actions: [trash]}",
		"- {name: a, filter_mode: any, filters: [extension: gz, extension: pdf], actions: [trash]}",
		"- {name: a, subfolders: true, actions: [move: 'Sorted/{ext}/{created:%Y}/']}",
		"- {name: a, actions: [move: 'Sorted/{parent}/']}",
		"- {name: a, subfolders: true, filters: [not: {path: 'Sorted/**'}], actions: [move: 'Sorted/{parent}/']}",
		"- {name: a, subfolders: true, filters: [path: 'in/**'], actions: [move: 'Sorted/{parent}/']}",
		"- {name: a, subfolders: true, actions: [copy: '/backup/{relative_path|folders}']}",
		"- {name: a, locations: {path: ~/x, exclude_dirs: Sorted}, subfolders: true, actions: [move: 'Sorted/{parent}/']}",
		"- {name: a, locations: {path: ~/x, exclude_dirs: Sorted}, subfolders: true, actions: [move: '~/x/Sorted/{parent}/']}",
		"- {name: a, locations: ~/x, subfolders: true, actions: [move: '~/y/{parent}/']}",
		"- {name: a, locations: ~/x, subfolders: true, actions: [echo: '{parent}', write: {file: 'log/{parent}', text: x}]}",
	} {
		if _, err := Parse("r.yaml", []byte("rules:\n"+source), testOptions()); err != nil {
			t.Errorf("%s\n%v", source, err)
		}
	}
}

func TestExplain(t *testing.T) {
	r := mustParse(t, `
rules:
  - name: invoices
    filters:
      - extension: pdf
      - name: {contains: invoice, case_sensitive: false}
      - any:
          - size: "> 10 MB"
          - not: {created: {days: 30}}
      - content: total
    actions: [move: "Invoices/{created:%Y}/"]
  - {name: elsewhere, locations: ~/x, actions: [trash]}
  - {name: folders, targets: dirs, actions: [trash]}
  - {name: artist, filters: [extension: [pdf, mp3]], actions: [move: "{audio.artist}/"]}
  - {name: rest, actions: [move: "Rest/"]}
  - {name: more, enabled: false, actions: [move: "Rest/"]}
`)
	explain := func(f *fakeFile) string {
		var b strings.Builder
		for _, trace := range r.Scope("/d", "/d", false).Explain(f) {
			fmt.Fprintf(&b, "%s: %s", trace.Rule.Name, trace.Verdict)
			if trace.Skipped {
				b.WriteString(" (skipped)")
			}
			fmt.Fprintf(&b, " %s\n", trace.Why)
			for _, c := range trace.Conditions {
				fmt.Fprintf(&b, "  %d %s%s: %s %s\n", c.Line, strings.Repeat("  ", c.Depth), c.Text, c.Verdict, c.Why)
			}
			for _, s := range trace.Steps {
				fmt.Fprintf(&b, "  -> %s %s\n", s.Kind, s.To)
			}
		}
		return b.String()
	}
	got := explain(&fakeFile{dir: "/d", name: "My Invoice.pdf", facts: map[string]Value{
		FactSize: int64(12345), FactCreated: time.Date(2024, 5, 20, 10, 0, 0, 0, time.UTC), FactText: "the total"}})
	want := `invoices: yes 
  4 all: yes 
  5   extension: pdf: yes it is pdf
  6   name: {contains: invoice, case_sensitive: false}: yes the name is "My Invoice"
  7   any: yes 
  8     size: "> 10 MB": no it is 12.3 kB
  9     not: yes 
  9       created: {days: 30}: no it is 2024-05-20 12:00
  10   content: total: yes it has 9 characters of text
  -> move Invoices/2024
elsewhere: no the folder is in none of its locations
folders: no not asked: the rule "invoices" has the file
artist: unknown (skipped) not asked: the rule "invoices" has the file
  14 all: yes 
  14   extension: [pdf, mp3]: yes it is pdf
rest: yes (skipped) not asked: the rule "invoices" has the file
more: no the rule is not enabled
`
	want = strings.Replace(want, "folders: no not asked", "folders: no (skipped) not asked", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = explain(&fakeFile{dir: "/d", name: "My Invoice.pdf", facts: map[string]Value{
		FactSize: errDamaged, FactCreated: time.Date(2024, 1, 20, 10, 0, 0, 0, time.UTC), FactText: errDamaged}})
	want = `invoices: unknown size: "> 10 MB" is unknown: it is damaged
  4 all: unknown 
  5   extension: pdf: yes it is pdf
  6   name: {contains: invoice, case_sensitive: false}: yes the name is "My Invoice"
  7   any: unknown 
  8     size: "> 10 MB": unknown it is damaged
  9     not: no 
  9       created: {days: 30}: yes it is 2024-01-20 12:00
  10   content: total: unknown it is damaged
elsewhere: no the folder is in none of its locations
folders: no the rule is about dirs
artist: unknown move: the file has no value for {audio.artist}
  14 all: yes 
  14   extension: [pdf, mp3]: yes it is pdf
rest: yes 
  -> move Rest
more: no the rule is not enabled
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunTests(t *testing.T) {
	r := mustParse(t, `
rules:
  - name: invoices
    locations: ~/Downloads
    filters: [extension: pdf, name: {contains: invoice}, size: "> 1 kB", not: {modified: {days: 30}}]
    actions: [copy: "/backup/", move: "~/Invoices/{modified:%Y}/"]
  - name: songs
    filters: [audio: {artist: "*", duration: "> 1 min"}, tags: x, exif: {a.b: c}, mismatch: false, hash: md5]
    actions: [rename: "{audio.artist} {image.width ?? 'x'}.{ext}"]
  - {name: images, subfolders: true, filters: [category: Images, any: [depth: 1, depth: 0]], actions: [trash]}
  - {name: archives, filters: [archive: "*.exe"], actions: [extract: "un/{name}/"]}
  - {name: dup, filters: [duplicate: newest], actions: [trash]}
  - {name: log, filters: [name: log, content: "x"], actions: [write: {file: log.txt, text: x}, move: "L/"]}
tests:
  - {file: invoice.pdf, size: 2 kB, modified: 2024-05-20, to: /backup/}
  - {file: invoice.pdf, size: 2 kB, modified: 2024-05-20, to: /backup/invoice.pdf, rule: invoices, actions: [copy, move]}
  - {name: old, file: invoice.pdf, size: 2 kB, modified: 2024-01-20, to: null}
  - {file: invoice.pdf, size: 2 kB, modified: 2024-01-20, now: 2024-01-21, rule: invoices}
  - {file: invoice.pdf, in: sub, size: 2 kB, modified: 2024-05-20, to: null}
  - {file: invoice.pdf, location: /elsewhere, size: 2 kB, modified: 2024-05-20, to: null}
  - {file: a.mp3, audio: {artist: X/Y, duration: 2 min}, tags: [x, y], exif: {A.B: c}, hash: {md5: 00}, to: X_Y x.mp3}
  - {file: a.mp3, audio.artist: X, audio.duration: 90, tags: x, exif: {a.b: c}, hash.md5: "0", image.width: 10, to: X 10.mp3}
  - {file: a.mp3, audio: {artist: X}, to: null}
  - {file: a.jpg, actions: trash}
  - {file: a.jpg, in: deep/er, to: null}
  - {file: a.bin, category: Images, rule: images}
  - {file: a.zip, archive: [x/setup.exe], to: un/a/}
  - {file: b, duplicate: /c, rule: dup}
  - {file: log.x, text: x, to: L/}
  - {file: log.x, unknown: text, to: null}
  - {name: wrong place, file: a.jpg, to: Images/}
  - {name: wrong rule, file: a.jpg, rule: dup}
  - {name: wrong actions, file: a.jpg, actions: [move]}
  - {name: wrong nothing, file: a.jpg, to: null}
  - {name: unknown, file: log.x, unknown: [text], rule: log}
`)
	var got []string
	for _, res := range r.RunTests() {
		if !res.Pass {
			got = append(got, fmt.Sprintf("%d %s: want %s, got %s", res.Line, res.Name, res.Want, res.Got))
			if len(res.Trace) != 6 {
				t.Errorf("%s: %d traces", res.Name, len(res.Trace))
			}
		} else if res.Trace != nil {
			t.Errorf("%s: a trace of what passed", res.Name)
		}
	}
	want := []string{
		`31 wrong place: want Images/, got by trash by the rule "images"`,
		`32 wrong rule: want by the rule "dup", got by trash by the rule "images"`,
		`33 wrong actions: want by move, got by trash by the rule "images"`,
		`34 wrong nothing: want no rule matches, got by trash by the rule "images"`,
		`35 unknown: want by the rule "log", got no rule matches; "log" is unknown: content: "x": the test says that it is unknown`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
