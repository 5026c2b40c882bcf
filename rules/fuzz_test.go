package rules

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

// FuzzParse feeds anything to Parse, and files to what it takes.
func FuzzParse(f *testing.F) {
	archives, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if strings.HasSuffix(file.Name, ".yaml") {
				f.Add(file.Data)
			}
		}
	}
	f.Add([]byte(sample))
	f.Fuzz(func(t *testing.T, source []byte) {
		r, err := Parse("r.yaml", source, testOptions())
		if err != nil {
			checkErrors(t, err, source)
			return
		}
		r.Inside("/home/u", "")
		r.Needs()
		r.Duplicates()
		r.RunTests()
		r.Select([]string{"a"}, []string{"b"}).Locations()
		file := &fakeFile{dir: "/d/in", name: "a b.tar.gz", facts: map[string]Value{
			FactSize: int64(1), FactModified: testNow, FactText: "x", FactTaken: time.Unix(0, 0).UTC(), FactAudioArtist: "../x"}}
		s := r.Scope("/d", "/d/in", true)
		d := s.Decide(file)
		for _, step := range d.Steps {
			step.WithCounter(5)
			for name := range strings.SplitSeq(step.To, "/") {
				if name == ".." || name == "." {
					t.Fatalf("a place %q", step.To)
				}
			}
		}
		for i, trace := range s.Explain(file) {
			if trace.Rule != r.rules[i] {
				t.Fatal("a trace of another rule")
			}
		}
	})
}

// checkErrors checks that each problem has a place in the file and a message of one line.
func checkErrors(t *testing.T, err error, source []byte) {
	t.Helper()
	all, ok := errors.AsType[Errors](err)
	if !ok || len(all) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	lines := len(splitLines(source))
	for i, e := range all {
		if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Message == "" {
			t.Fatalf("%+v in a file of %d lines", e, lines)
		}
		if strings.ContainsAny(e.Message+e.Hint, "\n\x1b\x00") {
			t.Fatalf("a message that is no line: %q %q", e.Message, e.Hint)
		}
		if i > 0 && all[i-1].Line > e.Line {
			t.Fatal("not sorted")
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 3*len(all) {
		t.Fatalf("%d problems in %d lines", len(all), n)
	}
}

// FuzzTemplate expands any template with any value: what is not written out never makes a folder.
func FuzzTemplate(f *testing.F) {
	for _, template := range escapeTemplates {
		f.Add(template, "../../etc/passwd")
	}
	f.Add("{audio.title:.3|replace:'a':\"b\" ?? created:%Y ?? 'x'}{{{counter:03}}}", "a{name}b")
	f.Fuzz(func(t *testing.T, source, value string) {
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: source, Line: 1, Column: 1}
		r := &reader{name: "r.yaml", lines: []string{source}, opt: testOptions(), set: Builtin(), facts: map[string]int{}, asked: map[string]bool{}}
		r.rules = &Rules{opt: Options{Set: Builtin(), Now: testNow}, plans: &planCache{}}
		r.fact(FactDir)
		to := r.target(word{n, source}, "move")
		if to == nil {
			if len(r.errs) == 0 {
				t.Fatal("neither a template nor an error")
			}
			return
		}
		if len(r.errs) > 0 {
			t.Fatal("a template and an error", r.errs)
		}
		file := &fakeFile{dir: "/d/in", name: "x" + strings.ReplaceAll(value, "/", ""), facts: map[string]Value{}}
		for fact := range r.facts {
			switch fact {
			case FactCreated, FactModified, FactAccessed, FactTaken, FactDateAdded:
				file.facts[fact] = testNow
			case FactTags, FactOrigin:
				file.facts[fact] = []string{value, value}
			case FactDir:
			case FactExif:
				file.facts[fact] = map[string]string{"image.model": value}
			default:
				file.facts[fact] = value
			}
		}
		l := &look{rule: &Rule{Name: value}, location: "/d", below: "in"}
		l.start(r.rules, file)
		l.rule, l.location, l.below = &Rule{Name: value}, "/d", "in"
		got, err := to.expand(l)
		if err != nil {
			return
		}
		root := to.root
		if to.located {
			root = "/d"
		}
		below, ok := inside(root, got)
		if root == "" {
			below, ok = got, true
		}
		if !ok {
			t.Fatalf("%q leads to %q, out of %q", source, got, root)
		}
		if below == "" {
			if !to.folder {
				t.Fatalf("%q leads nowhere", source)
			}
			return
		}
		for name := range strings.SplitSeq(below, "/") {
			if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
				t.Fatalf("%q leads to %q", source, got)
			}
		}
		// Each slash is written, in the template or in the format of a date, but for those of |folders.
		if !strings.Contains(source, "folders") && strings.Count(below, "/") > strings.Count(source, "/") {
			t.Fatalf("%q leads to %q", source, got)
		}
	})
}

// FuzzGlob compiles any pattern and matches any text, in a time that does not explode.
func FuzzGlob(f *testing.F) {
	for _, glob := range []string{"*", "a*b?c", "[a-z]*[!0-9]", "{a,b}{c,d}*", "Invoice {nr} *", "**/x/**", `\*\[`, "[]a]", "[^]]", "{}", "ä[ö-ü]", "***", "a/**/b",
		"{a[,b}", `{a\,b}[{]`, "{[a,b],c}"} {
		f.Add(glob, "Invoice 12 ab/x/y")
	}
	f.Fuzz(func(t *testing.T, glob, text string) {
		for _, style := range []globStyle{wordGlob, captureGlob, pathGlob} {
			for _, fold := range []bool{false, true} {
				p, err := compileGlob(glob, style, fold)
				if err != nil {
					if _, ok := errors.AsType[*unitError](err); !ok {
						t.Fatalf("%T", err)
					}
					continue
				}
				s := composed(text)
				if fold {
					s = lowerCase(s)
				}
				matched := p.match(s)
				for _, group := range p.groups {
					if v := submatch(p.re, group, s); v != nil && !strings.Contains(s, v.(string)) {
						t.Fatalf("%q gives %q of %q", glob, v, s)
					}
				}
				if plain := !strings.ContainsAny(glob, `*?[{\`); plain && !fold && matched != (s == composed(glob)) {
					t.Fatalf("%q against %q: %v", glob, s, matched)
				}
			}
		}
	})
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"> 1 MB, < 2 GiB", "1-2", "!= 5", "<=3kb", "2024-05-31 18:30", "2024-05-31T18:30:00+02:00", "%Y-%m-%d", "%-d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, sc := range []*scale{plainScale, sizeScale, durationScale} {
			out, err := sc.span(s)
			u, isUnit := errors.AsType[*unitError](err)
			if err != nil && (!isUnit || u.at < 0 || u.at > len(s)) {
				t.Fatalf("%q: %v", s, err)
			}
			if err == nil && out.empty() {
				t.Fatalf("%q is empty", s)
			}
		}
		if m, err := parseMoment(s); err == nil {
			m.in(berlin)
			m.compare(testNow)
		}
		if df, err := parseDateFormat(s); err == nil && strings.Count(df.format(testNow), "/") != strings.Count(s, "/") {
			t.Fatalf("%q: %q", s, df.format(testNow))
		}
	})
}
