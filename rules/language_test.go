package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fakeFile is a file that exists in a test alone. A fact that is an error cannot be told.
type fakeFile struct {
	dir, name string
	facts     map[string]Value
	asked     []string
}

func (f *fakeFile) Dir() string  { return f.dir }
func (f *fakeFile) Name() string { return f.name }
func (f *fakeFile) Fact(name string) (Value, error) {
	f.asked = append(f.asked, name)
	if err, ok := f.facts[name].(error); ok {
		return nil, err
	}
	return f.facts[name], nil
}

var (
	errDamaged = errors.New("it is damaged")
	berlin     = time.FixedZone("CEST", 2*60*60)
	testNow    = time.Date(2024, 6, 1, 12, 0, 0, 0, berlin)
)

func testOptions() Options {
	return Options{
		Home: "/home/u",
		Now:  testNow,
		Env: func(name string) (string, bool) {
			v, ok := map[string]string{"NAS": "/nas/data/", "WHO": "me", "UP": "../up", "NONE": ""}[name]
			return v, ok
		},
		ReadFile: func(p string) ([]byte, error) {
			if p == "/home/u/hashes" {
				return []byte("# known\n\n" + strings.Repeat("0c", 32) + "  a.txt\n\\" + strings.Repeat("1d", 32) + " *b\n"), nil
			}
			return nil, fmt.Errorf("read %s: no such file", p)
		},
	}
}

func mustParse(t testing.TB, source string) *Rules {
	t.Helper()
	r, err := Parse("test.yaml", []byte(source), testOptions())
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, source)
	}
	return r
}

// oneRule is a rules file with a single rule.
func oneRule(filters, actions string) string {
	s := "rules:\n  - name: R\n"
	if filters != "" {
		s += "    filters:\n" + indent(filters)
	}
	return s + "    actions:\n" + indent(actions)
}

func indent(s string) string {
	return "      " + strings.ReplaceAll(s, "\n", "\n      ") + "\n"
}

func TestFilters(t *testing.T) {
	at := func(s string) time.Time {
		m, err := parseMoment(s)
		if err != nil {
			t.Fatal(err)
		}
		return m.in(berlin)
	}
	blake, sha := strings.Repeat("0c", 32), strings.Repeat("1D", 32)
	exif := map[string]string{"image.model": "NIKON D3200", "gps.gpslatitude": "52.5"}
	is := func(name string, v Value) map[string]Value { return map[string]Value{name: v} }
	for _, c := range []struct {
		filter string
		name   string
		facts  map[string]Value
		want   Verdict
	}{
		{"extension: pdf", "a.PDF", nil, Yes},
		{"extension: .pdf", "a.pdf", nil, Yes},
		{"extension: [jpg, PDF]", "a.pdf", nil, Yes},
		{"extension: {is: pdf}", "a.pdf", nil, Yes},
		{"extension: pdf", "pdf", nil, No},
		{"extension: pdf", "a.pdf", is(FactDir, true), No},
		{"extension: gz", "a.tar.gz", nil, Yes},
		{"extension: tar.gz", "a.tar.gz", nil, Yes},
		{"extension: tar.gz", "a.gz", nil, No},
		{"extension: js", "jquery.min.js", nil, Yes},
		{"extension: ar.gz", "a.tar.gz", nil, No},
		{"extension: ÄÖ", "a.äö", nil, Yes},
		{"extension", "a.pdf", nil, Yes},
		{"extension:", "README", nil, No},
		{"not extension", "README", nil, Yes},
		{"not extension: pdf", "a.pdf", nil, No},
		{"not: extension", "a.pdf", nil, No},
		{"not: {not: {extension: pdf}}", "a.pdf", nil, Yes},

		{"name", "a.pdf", nil, Yes},
		{"name: Invoice*", "Invoice 1.pdf", nil, Yes},
		{"name: Invoice*", "invoice 1.pdf", nil, No},
		{"name: {match: INVOICE*, case_sensitive: false}", "invoice 1.pdf", nil, Yes},
		{`name: "Invoice {nr} *"`, "Invoice 7 x.pdf", nil, Yes},
		{`name: "Invoice {nr}"`, "Invoice .pdf", nil, No},
		{`name: "{}-{}"`, "a-b.pdf", nil, Yes},
		{`name: "[a-c]?[!0-9]"`, "bx_.pdf", nil, Yes},
		{`name: "[a-c]?[!0-9]"`, "bx1.pdf", nil, No},
		{`name: "{scan,photo}_*"`, "photo_1.pdf", nil, Yes},
		{`name: "{scan,photo}_*"`, "film_1.pdf", nil, No},
		{`name: "{[a,b],c}x"`, ",x.pdf", nil, Yes},
		{`name: "{[a,b],c}x"`, "cx.pdf", nil, Yes},
		{`name: '{a\,b,c}x'`, "a,bx.pdf", nil, Yes},
		{`name: '{a\,b,c}x'`, "bx.pdf", nil, No},
		{`name: '{a\},c}'`, "a}.pdf", nil, Yes},
		{`name: 'a\*b'`, "a*b.txt", nil, Yes},
		{`name: 'a\*b'`, "axb.txt", nil, No},
		{"name: {startswith: [x, In], contains: voi, endswith: ce}", "Invoice.pdf", nil, Yes},
		{"name: {startswith: [x, In], contains: voi, endswith: ce}", "Invoices.pdf", nil, No},
		{"name: {contains: [INVOICE, receipt], case_sensitive: false}", "my invoice.pdf", nil, Yes},
		{"name: {contains: invoice}", "x.invoice", nil, No},
		{`size: "> 1"`, "x", is(FactDir, true), No},
		{"name: {endswith: .app}", "x.app", is(FactDir, true), Yes},
		{"name: Müller*", "Mu\u0308ller 1.pdf", nil, Yes}, // as macOS writes it
		{"name: {contains: STRASSE, case_sensitive: false}", "strasse.pdf", nil, Yes},
		{"name: '*'", "\xff\xfe.pdf", nil, Yes},

		{`regex: '^IMG_\d+\.jpg$'`, "IMG_12.jpg", nil, Yes},
		{`regex: '^IMG_\d+$'`, "IMG_12.jpg", nil, No},
		{`regex: {expression: ['x', '(?i)img']}`, "IMG_12.jpg", nil, Yes},

		{"path: in/*.pdf", "a.pdf", nil, Yes},
		{"path: '*.pdf'", "a.pdf", nil, No},
		{"path: '**/*.pdf'", "a.pdf", nil, Yes},
		{"path: 'in/**'", "a.pdf", nil, Yes},
		{"path: '**/in/**/a.pdf'", "a.pdf", nil, Yes},
		{"path: {match: IN/A.PDF, case_sensitive: false}", "a.pdf", nil, Yes},
		{"path: IN/A.PDF", "a.pdf", nil, No},
		{"path", "a.pdf", nil, Yes},
		{"depth: 1", "a.pdf", nil, Yes},
		{"depth: '> 1'", "a.pdf", nil, No},
		{"depth: 0-3", "a.pdf", nil, Yes},

		{"size: 1000", "a", is(FactSize, int64(1000)), Yes},
		{"size: 1 kB", "a", is(FactSize, int64(1000)), Yes},
		{"size: 1KIB", "a", is(FactSize, int64(1024)), Yes},
		{"size: '> 1 MB, < 2 GiB'", "a", is(FactSize, int64(1_500_000)), Yes},
		{"size: '> 1 MB, < 2 GiB'", "a", is(FactSize, int64(1_000_000)), No},
		{"size: '>= 1.5MB'", "a", is(FactSize, int64(1_500_000)), Yes},
		{"size: '!= 0'", "a", is(FactSize, int64(0)), No},
		{"size: 1-2 kB", "a", is(FactSize, int64(2000)), Yes},
		{"size: 1 kB-2 kB", "a", is(FactSize, int64(2001)), No},
		{"size: '> 0'", "a", is(FactSize, errDamaged), Unsure},
		{"not size: '> 0'", "a", is(FactSize, errDamaged), Unsure},
		{"size: '> 0'", "a", nil, Unsure},
		{"size: '> 0'", "a", is(FactSize, "12"), Unsure},
		{"size", "a", is(FactSize, int64(0)), Yes},

		{"created: {days: 30}", "a", is(FactCreated, at("2024-05-01")), Yes},
		{"created: {days: 30, mode: older}", "a", is(FactCreated, at("2024-05-20")), No},
		{"created: {days: 30, mode: newer}", "a", is(FactCreated, at("2024-05-20")), Yes},
		{"modified: {months: 1, days: 1}", "a", is(FactModified, at("2024-04-30 11:59")), Yes},
		{"modified: {months: 1, days: 1}", "a", is(FactModified, at("2024-04-30 12:01")), No},
		{"modified: {weeks: 1, hours: 1, minutes: 1, seconds: 1}", "a", is(FactModified, at("2024-05-25 10:58")), Yes},
		{"modified: {years: 1}", "a", is(FactModified, at("2023-06-01 12:30")), No},
		{"accessed: {before: 2024-05-01}", "a", is(FactAccessed, at("2024-04-30 23:59")), Yes},
		{"accessed: {before: 2024-05-01}", "a", is(FactAccessed, at("2024-05-01")), No},
		{"accessed: {after: 2024-05-01 08:00, before: 2024-06}", "a", is(FactAccessed, at("2024-05-01 08:00")), Yes},
		{"accessed: {after: '2024-05-01T08:00:00Z'}", "a", is(FactAccessed, at("2024-05-01 09:00")), No},
		{"date_added: {days: 1}", "a", nil, No},
		{"not date_added: {days: 1}", "a", nil, Yes},
		{"created: {days: 1}", "a", nil, Unsure},
		{"created: {days: 1}", "a", is(FactCreated, 5), Unsure},
		{"created", "a", nil, No},
		{"created", "a", is(FactCreated, errDamaged), Unsure},
		{"taken", "a", nil, No},
		{"taken: {after: 2024-01-01}", "a", is(FactTaken, time.Date(2024, 1, 1, 0, 30, 0, 0, time.FixedZone("", 9*3600))), Yes},
		{"taken: {before: 2024-01-01}", "a", is(FactTaken, time.Date(2023, 12, 31, 23, 30, 0, 0, time.UTC)), Yes},
		{"taken: {hours: 1}", "a", is(FactTaken, time.Date(2024, 6, 1, 11, 30, 0, 0, time.UTC)), No}, // the clock of the camera
		{"taken: {hours: 1}", "a", is(FactTaken, errDamaged), Unsure},

		{"category: Images", "a", is(FactCategory, "Images"), Yes},
		{"category: images", "a", is(FactCategory, "Images"), Yes},
		{"category: [Videos, Images]", "a", is(FactCategory, "Images"), Yes},
		{"category: Images", "a", nil, No},
		{"category: Images/Photos", "a", map[string]Value{FactCategory: "Images", FactType: "Photos"}, Yes},
		{"category: Images/Photos", "a", map[string]Value{FactCategory: "Images", FactType: "Pictures"}, No},
		{"category: {is: Images, detect: content}", "a", map[string]Value{FactCategory: "Images", FactContentCategory: "Code"}, No},
		{"category", "a", is(FactCategory, "Other"), Yes},
		{"category: Images", "a", is(FactCategory, errDamaged), Unsure},
		{"mime: image/*", "a", is(FactMIME, "image/png"), Yes},
		{"mime: [text/plain, 'application/*']", "a", is(FactMIME, "Text/Plain; charset=utf-8"), Yes},
		{"mime: {is: image/*, detect: content}", "a", is(FactContentMIME, "image/png"), Yes},
		{"mime", "a", nil, No},
		{"mismatch", "a", is(FactMismatch, true), Yes},
		{"mismatch: false", "a", is(FactMismatch, true), No},
		{"mismatch", "a", nil, No},
		{"mismatch", "a", is(FactMismatch, errDamaged), Unsure},
		{"empty", "a", is(FactEmpty, true), Yes},
		{"empty: {is: false}", "a", is(FactEmpty, false), Yes},

		{"exif", "a", is(FactExif, exif), Yes},
		{"exif", "a", nil, No},
		{"exif: image.model", "a", is(FactExif, exif), Yes},
		{"exif: [image.model, gps.*]", "a", is(FactExif, exif), Yes},
		{"exif: [image.model, iptc.*]", "a", is(FactExif, exif), No},
		{"exif: {image.model: Nikon*}", "a", is(FactExif, exif), Yes},
		{"exif: {image.model: [Canon*, '*3200'], gps.*: }", "a", is(FactExif, exif), Yes},
		{"exif: {image.model: Canon*}", "a", is(FactExif, exif), No},
		{"exif: image.model", "a", is(FactExif, errDamaged), Unsure},
		{"image", "a", is(FactImageWidth, int64(10)), Yes},
		{"image: {width: '>= 1920', height: '> 0', orientation: landscape}", "a",
			map[string]Value{FactImageWidth: int64(1920), FactImageHeight: int64(1080), FactImageOrientation: "landscape"}, Yes},
		{"image: {orientation: portrait}", "a", is(FactImageOrientation, "landscape"), No},
		{"image: {width: '> 5'}", "a", nil, No},
		{"image: {width: '> 5', height: '> 5'}", "a", map[string]Value{FactImageWidth: errDamaged, FactImageHeight: int64(1)}, No},
		{"image: {width: '> 5', height: '> 5'}", "a", map[string]Value{FactImageWidth: errDamaged, FactImageHeight: int64(9)}, Unsure},
		{"video: {duration: '> 90 min'}", "a", is(FactVideoDuration, 5400.5), Yes},
		{"video: {duration: '< 1 h'}", "a", is(FactVideoDuration, 5400.5), No},
		{"video", "a", nil, No},
		{"audio: {artist: 'the *', album: [x, y], year: 1990-1999}", "a",
			map[string]Value{FactAudioArtist: "The Who", FactAudioAlbum: "Y", FactAudioYear: int64(1995)}, Yes},
		{"audio: {genre: rock}", "a", is(FactAudioGenre, "Pop"), No},
		{"audio: {genre: rock}", "a", nil, No},
		{"not audio: {genre: rock}", "a", nil, Yes},
		{"audio: {track: '> 3'}", "a", is(FactAudioTrack, "4"), Unsure},

		{`content: 'Invoice \d+'`, "a", is(FactText, "an Invoice 12"), Yes},
		{`content: ['x+', '(?i)invoice']`, "a", is(FactText, "an Invoice 12"), Yes},
		{`content: 'x'`, "a", nil, No},
		{`not content: 'x'`, "a", is(FactText, errDamaged), Unsure},
		{`content`, "a", is(FactText, "x"), Yes},
		{`content`, "a", is(FactText, ""), No},

		{"hash: md5", "a", is(FactHashMD5, "00"), Yes},
		{"hash", "a", is(FactHashBLAKE3, "00"), Yes},
		{"hash: " + strings.Repeat("ab", 16), "a", is(FactHashMD5, strings.Repeat("ab", 16)), Yes},
		{"hash: " + strings.Repeat("ab", 20), "a", is(FactHashSHA1, strings.Repeat("ac", 20)), No},
		{"hash: {algorithm: sha256, is: " + sha + "}", "a", is(FactHashSHA256, strings.ToLower(sha)), Yes},
		{"hash: {algorithm: blake3, list: ~/hashes}", "a", is(FactHashBLAKE3, blake), Yes},
		{"hash: {algorithm: blake3, list: ~/hashes}", "a", is(FactHashBLAKE3, strings.Repeat("2e", 32)), No},
		{"hash: md5", "a", is(FactHashMD5, errDamaged), Unsure},

		{"duplicate", "a", is("duplicate:oldest", "/x/b"), Yes},
		{"duplicate", "a", nil, No},
		{"duplicate: newest", "a", is("duplicate:newest", "/x/b"), Yes},
		{"duplicate: {keep: shortest}", "a", is("duplicate:oldest", "/x/b"), No},
		{"duplicate: {keep: {priority: [~/A, /b]}}", "a", is(DuplicateFact("priority", []string{"/home/u/A", "/b"}), "/x/b"), Yes},
		{"duplicate", "a", is("duplicate:oldest", errDamaged), Unsure},

		{"origin: example.com", "a", is(FactOrigin, []string{"https://www.example.com/x"}), Yes},
		{"origin: '*.example.com'", "a", is(FactOrigin, []string{"x:y", "https://dl.example.com:80/x"}), Yes},
		{"origin: example.com/files/*", "a", is(FactOrigin, []string{"https://example.com/files/a/b"}), Yes},
		{"origin: 'https://example.com/*'", "a", is(FactOrigin, []string{"http://example.com/files"}), No},
		{"origin: example.com", "a", is(FactOrigin, []string{"https://example.com.evil.org/"}), No},
		{"origin", "a", is(FactOrigin, []string{"https://a"}), Yes},
		{"origin", "a", nil, No},
		{"tags: [red, 'Project *']", "a", is(FactTags, []string{"Blue", "project x"}), Yes},
		{"tags: red", "a", is(FactTags, []string{"Blue"}), No},
		{"tags", "a", is(FactTags, []string{}), No},
		{"archive: '*.exe'", "a", is(FactArchive, []string{"x/", "x/Setup.EXE"}), Yes},
		{"archive: 'x/*.exe'", "a", is(FactArchive, []string{"x/y/setup.exe"}), No},
		{"archive: '**/*.exe'", "a", is(FactArchive, []string{"x/y/setup.exe"}), Yes},
		{"archive", "a", is(FactArchive, []string{}), Yes},
		{"archive: '*.exe'", "a", nil, No},

		{"all: [extension: pdf, size: '> 1']", "a.pdf", is(FactSize, errDamaged), Unsure},
		{"all: [extension: pdf, size: '> 1']", "a.txt", is(FactSize, errDamaged), No},
		{"any: [extension: pdf, size: '> 1']", "a.pdf", is(FactSize, errDamaged), Yes},
		{"any: [extension: pdf, size: '> 1']", "a.txt", is(FactSize, errDamaged), Unsure},
		{"none: [extension: pdf, size: '> 1']", "a.txt", is(FactSize, errDamaged), Unsure},
		{"none: [extension: pdf, size: '> 1']", "a.pdf", is(FactSize, errDamaged), No},
		{"none: [extension: pdf, size: '> 1']", "a.txt", is(FactSize, int64(1)), Yes},
		{"not any: [extension: pdf, extension: txt]", "a.txt", nil, No},
	} {
		source := oneRule("- "+c.filter, "- echo: x")
		if c.facts[FactDir] == true {
			source += "    targets: dirs\n"
		}
		f := &fakeFile{dir: "/d/in", name: c.name, facts: c.facts}
		s := mustParse(t, source).Scope("/d", "/d/in", true)
		d := s.Decide(f)
		got := No
		switch {
		case len(d.Steps) > 0:
			got = Yes
		case len(d.Unknown) > 0:
			got = Unsure
			if d.Unknown[0].Err == nil || d.Unknown[0].Condition == "" {
				t.Errorf("%s: unknown without a reason: %+v", c.filter, d.Unknown[0])
			}
		}
		if got != c.want {
			t.Errorf("%s with %q, %v: %v, want %v", c.filter, c.name, c.facts, got, c.want)
		}
		if trace := s.Explain(f); trace[0].Verdict != got {
			t.Errorf("%s: Explain says %v, Decide %v", c.filter, trace[0].Verdict, got)
		}
		if asked := slices.Sorted(slices.Values(f.asked)); len(asked) > 2*len(slices.Compact(asked)) {
			t.Errorf("%s: asked twice in one decision: %v", c.filter, f.asked)
		}
	}
}

func TestFilterMode(t *testing.T) {
	for mode, want := range map[string][]bool{ // none, one, both hold
		"all": {false, false, true}, "any": {false, true, true}, "none": {true, false, false},
	} {
		r := mustParse(t, "rules:\n- filter_mode: "+mode+"\n  filters: [name: a*, size: 1]\n  actions: [trash]\n")
		for i, f := range []*fakeFile{
			{dir: "/d", name: "x", facts: map[string]Value{FactSize: int64(2)}},
			{dir: "/d", name: "a", facts: map[string]Value{FactSize: int64(2)}},
			{dir: "/d", name: "a", facts: map[string]Value{FactSize: int64(1)}},
		} {
			if got := len(r.Scope("/d", "/d", false).Decide(f).Steps) > 0; got != want[i] {
				t.Errorf("%s, case %d: %v", mode, i, got)
			}
		}
	}
}

// What is cheap is asked first, and what it settles saves reading the file.
func TestCheapFirst(t *testing.T) {
	r := mustParse(t, oneRule(`- content: 'x'
- duplicate
- any: [hash: md5, size: "> 5"]
- taken
- size: "> 1"
- name: a*`, "- echo: x"))
	s := r.Scope("/d", "/d", false)
	for _, c := range []struct {
		name string
		size int64
		want []string
	}{
		{"b", 9, []string{"dir"}},
		{"a", 1, []string{"dir", "size"}},
		{"a", 2, []string{"dir", "size", "taken"}},
	} {
		f := &fakeFile{dir: "/d", name: c.name, facts: map[string]Value{FactSize: c.size, FactText: "x"}}
		s.Decide(f)
		if diff := cmp.Diff(c.want, f.asked); diff != "" {
			t.Errorf("%s, %d bytes: %s", c.name, c.size, diff)
		}
	}
	// Only the facts of this file were asked for, and the next one's are its own.
	f := &fakeFile{dir: "/d", name: "a", facts: map[string]Value{FactSize: int64(9), FactText: "x", FactTaken: testNow, "duplicate:oldest": "/b"}}
	if d := s.Decide(f); len(d.Steps) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestFirstMatchWins(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: log, filters: [size: "> 1"], actions: [echo: "{filename}"], continue: true}
  - {name: pdf, filters: [extension: pdf], actions: [tag: doc], continue: true}
  - {name: off, enabled: false, actions: [trash]}
  - {name: invoices, filters: [name: In*], actions: [move: "Invoices/"]}
  - {name: rest, filters: [size: "> 1"], actions: [move: "Rest/"]}
`)
	s := r.Scope("/d", "/d", false)
	for _, c := range []struct {
		name string
		size Value
		want string
	}{
		{"In.pdf", int64(2), "log:echo pdf:tag invoices:move"},
		{"In.pdf", errDamaged, "pdf:tag invoices:move ?log"},
		{"x.txt", int64(2), "log:echo rest:move"},
		{"x.txt", errDamaged, "?log ?rest"},
		{"x.txt", int64(1), ""},
	} {
		d := s.Decide(&fakeFile{dir: "/d", name: c.name, facts: map[string]Value{FactSize: c.size}})
		var got []string
		for _, step := range d.Steps {
			got = append(got, step.Rule.Name+":"+step.Kind.String())
		}
		for _, u := range d.Unknown {
			got = append(got, "?"+u.Rule.Name)
			if u.Condition != `size: "> 1"` || u.Err != errDamaged {
				t.Errorf("%+v", u)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, %v: %q, want %q", c.name, c.size, got, c.want)
		}
	}
}

// What was unknown and made no difference is not named as the cause.
func TestCause(t *testing.T) {
	r := mustParse(t, oneRule(`- any: [size: 1, name: a]
- taken: {days: 1}`, "- trash"))
	f := &fakeFile{dir: "/d", name: "a", facts: map[string]Value{FactSize: errDamaged, FactTaken: errors.New("no photo")}}
	d := r.Scope("/d", "/d", false).Decide(f)
	if len(d.Unknown) != 1 || d.Unknown[0].Condition != "taken: {days: 1}" || d.Unknown[0].Err.Error() != "no photo" {
		t.Errorf("%+v", d.Unknown)
	}
}

func TestTargets(t *testing.T) {
	r := mustParse(t, `
rules:
  - {name: dirs, targets: dirs, filters: [empty], actions: [trash]}
  - {name: files, filters: [empty], actions: [trash]}
`)
	s := r.Scope("/d", "/d", false)
	for _, dir := range []bool{true, false} {
		f := &fakeFile{dir: "/d", name: "x.y", facts: map[string]Value{FactDir: dir, FactEmpty: true}}
		d := s.Decide(f)
		if want := map[bool]string{true: "dirs", false: "files"}[dir]; len(d.Steps) != 1 || d.Steps[0].Rule.Name != want {
			t.Errorf("dir %v: %+v", dir, d)
		}
	}
}
