package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// benchRules are 50 rules of names, sizes and dates, as people write them: most ask for extensions.
func benchRules(tb testing.TB) *Rules {
	var b strings.Builder
	b.WriteString("rules:\n")
	exts := []string{"pdf", "jpg", "png", "mp3", "docx", "xlsx", "zip", "tar.gz", "mkv", "txt", "csv", "iso", "deb", "svg", "epub", "py", "go", "html", "json", "xml"}
	for i := range 50 {
		fmt.Fprintf(&b, "- name: rule %d\n  actions: [move: 'Sorted/%d/{modified:%%Y}/']\n  filters:\n", i, i)
		switch i % 5 {
		case 0, 1:
			fmt.Fprintf(&b, "  - extension: [%s, %s]\n  - name: {contains: [w%d, v%d], case_sensitive: false}\n", exts[i%20], exts[(i*7+1)%20], i, i)
		case 2:
			fmt.Fprintf(&b, "  - extension: %s\n  - size: '> %d MB'\n  - modified: {days: %d}\n", exts[i%20], 400+i, 30+i)
		case 3:
			fmt.Fprintf(&b, "  - name: {startswith: [Rechnung%d, Invoice%d], case_sensitive: false}\n  - size: '< 20 MB'\n", i, i)
		case 4:
			fmt.Fprintf(&b, "  - name: '*scan{nr}-%d*'\n  - not: {created: {days: 30, mode: older}}\n", i)
		}
	}
	return mustParse(tb, b.String())
}

// A benchFile answers from memory, as the organizer does for what it knows from the scan.
type benchFile struct {
	dir, name         string
	size              Value
	created, modified Value
}

func (f *benchFile) Dir() string  { return f.dir }
func (f *benchFile) Name() string { return f.name }
func (f *benchFile) Fact(name string) (Value, error) {
	switch name {
	case FactSize:
		return f.size, nil
	case FactModified:
		return f.modified, nil
	case FactCreated:
		return f.created, nil
	}
	return nil, nil
}

func benchFiles() []*benchFile {
	exts := []string{"pdf", "jpg", "png", "mp3", "docx", "xlsx", "zip", "tar.gz", "mkv", "txt", "csv", "iso", "JPG", "heic", "webp", ""}
	words := []string{"Invoice", "IMG_2024", "w10 letter", "holiday scan7-4 x", "Rechnung3", "setup", "report final", "notes", "Zürich", "Screenshot 2024-05-01 at"}
	files := make([]*benchFile, 100_000)
	for i := range files {
		name := fmt.Sprintf("%s %d", words[i%len(words)], i)
		if ext := exts[i/3%len(exts)]; ext != "" {
			name += "." + ext
		}
		t := testNow.Add(-time.Duration(i) * time.Hour)
		files[i] = &benchFile{"/d", name, int64(i) * 1000, t, t.Add(time.Hour)}
	}
	return files
}

func BenchmarkDecide(b *testing.B) {
	r := benchRules(b)
	files := benchFiles()
	s := r.Scope("/d", "/d", false)
	matched := 0
	for _, f := range files {
		if len(s.Decide(f).Steps) > 0 {
			matched++
		}
	}
	if matched < 1000 || matched > 50_000 {
		b.Fatalf("%d files match: this measures something else", matched)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Decide(files[i%len(files)])
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func BenchmarkScope(b *testing.B) {
	r := benchRules(b)
	b.ReportAllocs()
	for b.Loop() {
		r.Scope("/d", "/d", false)
	}
}

func BenchmarkParseRules(b *testing.B) {
	source := []byte(sample)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("r.yaml", source, testOptions()); err != nil {
			b.Fatal(err)
		}
	}
}

// Conditions about names, sizes and dates cost no memory; a match costs what it returns.
func TestDecideAllocates(t *testing.T) {
	s := benchRules(t).Scope("/d", "/d", false)
	f := &benchFile{"/d", "some notes.txt", int64(5), testNow, testNow}
	if n := testing.AllocsPerRun(100, func() { s.Decide(f) }); n > 0 {
		t.Errorf("%v allocations for a file that no rule matches", n)
	}
}
