package organizer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"forg/journal"
	"forg/rules"
)

// placed makes files that forg has put into Sorted, all made in 2024 unless the name says another year at its end.
func placed(moves ...string) []PlacedFile {
	var all []PlacedFile
	for _, m := range moves {
		name, now, _ := strings.Cut(m, " -> ")
		p := PlacedFile{Root: "/d", From: "/d/" + name, To: "/d/Sorted/" + name, Now: "/d/Sorted/" + name}
		if now != "" {
			p.Now = now + "/" + name
		}
		year := 2024
		if strings.Contains(name, "2023") {
			year = 2023
		}
		p.id = journal.Identity{Ino: 1, Size: 1000, Mtime: time.Date(year, 5, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
		all = append(all, p)
	}
	return all
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct {
		name   string
		placed []PlacedFile
		want   []string // filters and destination of each rule
	}{
		{"all are there", placed("a.pdf", "b.txt"), nil},
		{"a word", placed("Rechnung 1.pdf -> /t", "rechnung-2.pdf -> /t", "letter.pdf"),
			[]string{`extension: [pdf]; name: {contains: rechnung, case_sensitive: false}; "/t/"`}},
		{"a word of several kinds", placed("tax 1.pdf -> /t", "tax 2 -> /t", "a.pdf", "b"),
			[]string{`name: {contains: tax, case_sensitive: false}; "/t/"`}},
		{"extensions", placed("a.epub -> /b", "b.mobi -> /b", "c.pdf"), []string{`extension: [epub, mobi]; "/b/"`}},
		{"a category", placed("a.jpg -> /p", "b.png -> /p", "c.gif -> /p", "d.tiff -> /p", "e.heic -> /p", "f.bmp -> /p", "g.webp -> /p", "h.pdf"),
			[]string{`category: Images; "/p/"`}},
		{"below the location", placed("a.epub -> /d/Books", "c.pdf"), []string{`extension: [epub]; "Books/"`}},
		{"years", placed("a.pdf -> /y/2024", "b 2023.pdf -> /y/2023"), []string{`extension: [pdf]; "/y/{modified:%Y}/"`}},
		{"several reasons", placed("a.epub -> /x", "b.epub -> /x", "c.pdf -> /x", "d.pdf", "e.pdf", "f.pdf"), []string{`extension: [epub]; "/x/"`}},
		{"nothing in common", placed("a.pdf -> /x", "b.pdf -> /y", "c.pdf"), nil},
		{"taken back", placed("a.pdf -> /d"), nil},
		{"renamed", []PlacedFile{{Root: "/d", From: "/d/a", To: "/d/S/a", Now: "/d/S/b"}}, nil},
		{"odd names", placed("{a}: '1'.7z -> /x {y} #z"), []string{`extension: ["7z"]; "/x {{y}} #z/"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := rules.Options{Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
			all, err := Suggest(c.placed, rules.Builtin(), opt, func(dir string) string { return dir })
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			source := "rules:\n"
			for _, s := range all {
				var parts []string
				for line := range strings.Lines(s.Text) {
					line = strings.TrimSpace(line)
					if rest, ok := strings.CutPrefix(line, "- move: "); ok {
						parts = append(parts, rest)
					} else if rest, ok := strings.CutPrefix(line, "- "); ok && !strings.HasPrefix(rest, "name: "+quote(s.Name)) {
						parts = append(parts, rest)
					}
				}
				got = append(got, strings.Join(parts, "; "))
				source += s.Text
				if s.Wrong != 0 {
					t.Errorf("%s: %d wrong", s.Name, s.Wrong)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if len(all) > 0 {
				if _, err := rules.Parse("all", []byte(source), opt); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSuggestionNames(t *testing.T) {
	all, err := Suggest(placed("a.epub -> /a/Books", "b.mobi -> /b/Books"), rules.Builtin(), rules.Options{}, func(dir string) string { return dir })
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	all[0].Avoid([]string{"Books", "Books 2", "Books 3"})
	if all[0].Name != "Books 4" || !strings.Contains(all[0].Text, "- name: Books 4\n") || all[1].Name != "Books 2" {
		t.Error(all)
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"pdf": "pdf", "~/My Files": "~/My Files", "/a.b-c_d": "/a.b-c_d", "7z": `"7z"`, "no": `"no"`, "a: b": `"a: b"`, "a #b": `"a #b"`,
		"": `""`, " a": `" a"`, "a ": `"a "`, "-a": `"-a"`, "Überweisung": "Überweisung", "a\nb": `"a\nb"`, "~": `"~"`,
	} {
		if got := quote(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := filepath.ToSlash(rootHolding("/a"+string(filepath.ListSeparator)+"/a/b", "/a/b/c")); got != "/a/b" {
		t.Error(got)
	}
}
