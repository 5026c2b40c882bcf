package rules

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// leaves are filters with every verdict, cheap and dear ones, as they may stand in a rule.
var leaves = []string{
	"extension: pdf", "extension: txt", "name: a*", "regex: b", "depth: 0", "path: '*'", `size: "> 10"`, `size: "< 5"`,
	"modified: {days: 5}", "taken", "category: Images", "content: x", "hash: md5", "duplicate", "tags: red", "exif: {image.model: x}",
	"image: {width: '> 10', height: '> 10'}", "empty", "mismatch: false",
}

func genCondition(depth int) *rapid.Generator[string] {
	leaf := rapid.SampledFrom(leaves)
	if depth == 0 {
		return rapid.Map(leaf, func(s string) string { return "{" + s + "}" })
	}
	return rapid.Custom(func(t *rapid.T) string {
		switch op := rapid.SampledFrom([]string{"leaf", "leaf", "all", "any", "none", "not", "not leaf"}).Draw(t, "op"); op {
		case "leaf":
			return "{" + leaf.Draw(t, "leaf") + "}"
		case "not leaf":
			return "{not " + leaf.Draw(t, "leaf") + "}"
		case "not":
			return "{not: " + genCondition(depth-1).Draw(t, "kid") + "}"
		default:
			kids := rapid.SliceOfN(genCondition(depth-1), 1, 4).Draw(t, "kids")
			return "{" + op + ": [" + strings.Join(kids, ", ") + "]}"
		}
	})
}

func genFile() *rapid.Generator[*fakeFile] {
	fact := func(t *rapid.T, name string, values ...Value) Value {
		return rapid.SampledFrom(append(values, nil, errDamaged)).Draw(t, name)
	}
	return rapid.Custom(func(t *rapid.T) *fakeFile {
		f := &fakeFile{dir: "/d", name: rapid.SampledFrom([]string{"a.pdf", "ab.txt", "b", "x.pdf"}).Draw(t, "name"), facts: map[string]Value{}}
		f.facts[FactSize] = fact(t, "size", int64(1), int64(7), int64(20))
		f.facts[FactModified] = fact(t, "modified", testNow, testNow.AddDate(0, 0, -9))
		f.facts[FactTaken] = fact(t, "taken", testNow)
		f.facts[FactCategory] = fact(t, "category", "Images", "Other")
		f.facts[FactText] = fact(t, "text", "x", "y")
		f.facts[FactHashMD5] = fact(t, "md5", "00")
		f.facts["duplicate:oldest"] = fact(t, "duplicate", "/b")
		f.facts[FactTags] = fact(t, "tags", []string{"red"}, []string{"blue"})
		f.facts[FactExif] = fact(t, "exif", map[string]string{"image.model": "x"})
		f.facts[FactImageWidth] = fact(t, "width", int64(5), int64(15))
		f.facts[FactImageHeight] = fact(t, "height", int64(5), int64(15))
		f.facts[FactEmpty] = fact(t, "empty", true, false)
		f.facts[FactMismatch] = fact(t, "mismatch", true, false)
		return f
	})
}

// verdictOf returns what a condition says, by Decide and by Explain.
func verdictOf(t *rapid.T, condition string, f *fakeFile) Verdict {
	r, err := Parse("r.yaml", []byte("rules:\n- filters: ["+condition+"]\n  actions: [trash]\n"), testOptions())
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	s := r.Scope("/d", "/d", false)
	d := s.Decide(f)
	got := No
	if len(d.Steps) > 0 {
		got = Yes
	} else if len(d.Unknown) > 0 {
		got = Unsure
	}
	if trace := s.Explain(f)[0]; trace.Verdict != got {
		t.Fatalf("%s: Decide says %v, Explain %v", condition, got, trace.Verdict)
	}
	return got
}

func TestThreeValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFile().Draw(t, "file")
		kids := rapid.SliceOfN(genCondition(2), 1, 4).Draw(t, "kids")
		say := func(format string, values ...any) Verdict { return verdictOf(t, fmt.Sprintf(format, values...), f) }
		list := strings.Join(kids, ", ")
		var each, negated []string
		verdicts := []Verdict{}
		for _, k := range kids {
			each = append(each, k)
			negated = append(negated, "{not: "+k+"}")
			v := say("%s", k)
			verdicts = append(verdicts, v)
			if n := say("{not: %s}", k); n != Yes-v {
				t.Fatalf("not %v is %v", v, n)
			}
			if n := say("{not: {not: %s}}", k); n != v {
				t.Fatalf("not not %v is %v", v, n)
			}
		}
		all, some, none := say("{all: [%s]}", list), say("{any: [%s]}", list), say("{none: [%s]}", list)
		if all != slices.Min(verdicts) || some != slices.Max(verdicts) || none != Yes-some {
			t.Fatalf("%v: all %v, any %v, none %v", verdicts, all, some, none)
		}
		// De Morgan.
		if v := say("{not: {all: [%s]}}", list); v != say("{any: [%s]}", strings.Join(negated, ", ")) {
			t.Fatalf("not all is %v", v)
		}
		if none != say("{all: [%s]}", strings.Join(negated, ", ")) {
			t.Fatalf("none is %v", none)
		}
		// The order of conditions never changes the verdict.
		shuffled := strings.Join(rapid.Permutation(each).Draw(t, "order"), ", ")
		if v := say("{all: [%s]}", shuffled); v != all {
			t.Fatalf("all is %v, in another order %v", all, v)
		}
		if v := say("{any: [%s]}", shuffled); v != some {
			t.Fatalf("any is %v, in another order %v", some, v)
		}
	})
}

// What becomes known changes an unknown verdict alone.
func TestUnknownIsIgnorance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		condition := genCondition(3).Draw(t, "condition")
		f := genFile().Draw(t, "file")
		before := verdictOf(t, condition, f)
		known := genFile().Draw(t, "known")
		for name, v := range f.facts {
			if _, unknown := v.(error); !unknown {
				known.facts[name] = v
			}
		}
		known.name = f.name
		if v := verdictOf(t, condition, known); before != Unsure && v != before {
			t.Fatalf("%s: %v while something was unknown, then %v", condition, before, v)
		}
	})
}

// Rules that ask for an extension are passed over without a look, which must make no difference.
func TestCandidates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		exts := []string{"pdf", "gz", "tar.gz", "txt", "min.js", "js"}
		var source strings.Builder
		n := rapid.IntRange(1, 150).Draw(t, "rules")
		source.WriteString("rules:\n")
		for i := range n {
			list := rapid.SliceOfNDistinct(rapid.SampledFrom(exts), 0, 3, rapid.ID).Draw(t, "exts")
			fmt.Fprintf(&source, "- {name: r%d, continue: true, actions: [echo: x], filters: [name: '*'", i)
			if len(list) > 0 {
				fmt.Fprintf(&source, ", extension: [%s]", strings.Join(list, ", "))
			}
			source.WriteString("]}\n")
		}
		r, err := Parse("r.yaml", []byte(source.String()), testOptions())
		if err != nil {
			t.Fatal(err)
		}
		s := r.Scope("/d", "/d", false)
		f := &fakeFile{dir: "/d", name: rapid.SampledFrom([]string{"a", "a.pdf", "a.GZ", "b.tar.gz", "c.js", "d.min.js", "e.zip", "x.sql.gz"}).Draw(t, "name")}
		got := map[string]bool{}
		for _, step := range s.Decide(f).Steps {
			got[step.Rule.Name] = true
		}
		for _, trace := range s.Explain(f) {
			if (trace.Verdict == Yes) != got[trace.Rule.Name] {
				t.Fatalf("%s: %s is %v, but Decide says %v", f.name, trace.Rule.Name, trace.Verdict, got[trace.Rule.Name])
			}
		}
	})
}

// hostile makes texts that would like to be paths, templates, shell commands or devices.
func hostile() *rapid.Generator[string] {
	piece := rapid.OneOf(rapid.SampledFrom([]string{"/", "\\", "..", ".", "~", "$HOME", "{name}", "{{", "}", "%Y", "\x00", "\n", "CON", "aux.",
		"\u202e", "\u2028", "a", " ", "é", "\xff", ":", "*", "日", "$(x)", "\u2215", strings.Repeat("x", 120), "C:"}), rapid.String())
	return rapid.Map(rapid.SliceOfN(piece, 0, 6), func(s []string) string { return strings.Join(s, "") })
}

var escapeTemplates = []string{
	"{audio.artist}", "{audio.artist}/{audio.title}", "x/{audio.artist}{audio.title}/", ".{audio.artist}", "{audio.artist}.", "..{audio.title}",
	"{name}.{ext ?? 'x'}", "{audio.artist ?? audio.title ?? name}/", "{audio.artist|upper}/{audio.artist|lower}", "{audio.title|replace:'a':'/'}/y",
	"{audio.title|first:2}{audio.artist|last:2}", "{audio.title|default:'../..'}", "{audio.artist|trim:'x'}/{audio.artist|title}", "{filename:.3}/z",
	"{path}/{relative_path}", "{parent}/", "{origin}/{tags}/", "{exif.image.model}", "{regex.r}/", "{audio.title|before:'a'}{audio.title|after:'a'}",
	"~/{audio.artist}/x", "/abs/{audio.artist}/", "{env.UP}/{audio.artist}", "{modified:%Y/..}/{audio.artist}", "{'../x'}/{audio.title}",
	"{audio.title|ascii}/{audio.artist|slug ?? 'x'}", "{relative_path|folders}",
}

// TestNoEscape is the heart of it: whatever a file says of itself, it gets a place below the one that is written out, in
// as many folders as are written.
func TestNoEscape(t *testing.T) {
	for _, windows := range []bool{false, true} {
		for _, template := range escapeTemplates {
			opt := testOptions()
			opt.Windows = windows
			r, err := Parse("r.yaml", []byte(oneRule("- regex: '(?s)(?P<r>.*)'", `- copy: "`+template+`"`)), opt)
			if err != nil {
				t.Fatal(err)
			}
			s := r.Scope("/d", "/d/in", true)
			rapid.Check(t, func(t *rapid.T) {
				f := &fakeFile{dir: "/d/in", name: hostile().Draw(t, "name"), facts: map[string]Value{
					FactModified: time.Date(rapid.IntRange(-10, 11000).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC),
					FactTags:     []string{hostile().Draw(t, "tag")},
					FactOrigin:   []string{hostile().Draw(t, "origin")},
					FactExif:     map[string]string{"image.model": hostile().Draw(t, "model")},
				}}
				for _, fact := range []string{FactAudioArtist, FactAudioTitle} {
					f.facts[fact] = hostile().Draw(t, fact)
				}
				if strings.Contains(template, "|folders") {
					f.name = "x" + strings.ReplaceAll(f.name, "/", "") // as names on a disk are
				}
				d := s.Decide(f)
				if len(d.Steps) == 0 {
					if len(d.Unknown) == 0 {
						t.Fatal("neither a step nor a reason")
					}
					return
				}
				checkPlace(t, template, d.Steps[0], windows)
			})
		}
	}
}

type fataler interface{ Fatalf(string, ...any) }

// checkPlace checks that a place has as many folders as its template has, each of them with a harmless name.
func checkPlace(t fataler, template string, step Step, windows bool) {
	to := step.To
	if to == "" && !step.Folder {
		t.Fatalf("%q: no place", template)
	}
	below, absolute := strings.CutPrefix(to, "/")
	if absolute != (strings.HasPrefix(template, "/") || strings.HasPrefix(template, "~")) {
		t.Fatalf("%q leads to %q", template, to)
	}
	if root, ok := map[byte]string{'~': "home/u/", '/': "abs/"}[template[0]]; ok && !strings.HasPrefix(below, root) {
		t.Fatalf("%q leads to %q", template, to)
	}
	if path.Clean(to) != to && to != "" {
		t.Fatalf("%q leads to %q, which is not clean", template, to)
	}
	want := strings.Count(strings.TrimSuffix(template, "/"), "/") // of these templates each / is one between folders, but for:
	want -= strings.Count(template, "'/'") + strings.Count(template, "'../..'")
	switch {
	case strings.HasPrefix(template, "~"):
		want += 2 // /home/u instead of ~
	case strings.Contains(template, "|folders"):
		want = 1
	}
	if got := strings.Count(to, "/"); got != want {
		t.Fatalf("%q leads to %q, %d slashes instead of %d", template, to, got, want)
	}
	for name := range strings.SplitSeq(below, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			t.Fatalf("%q leads to %q, with a name %q", template, to, name)
		case len(name) > 255:
			t.Fatalf("%q makes a name of %d bytes", template, len(name))
		case strings.ContainsAny(name, "\x00\n\\\u202e\u2028"):
			t.Fatalf("%q makes the name %q", template, name)
		case strings.HasSuffix(name, " ") || strings.HasSuffix(name, "."):
			t.Fatalf("%q makes the name %q", template, name)
		case windows && strings.ContainsAny(name, `:*?"<>|`):
			t.Fatalf("%q makes the name %q on Windows", template, name)
		}
		if stem, _, _ := strings.Cut(name, "."); device(strings.TrimRight(stem, " ")) {
			t.Fatalf("%q makes the name %q", template, name)
		}
	}
}

// A value is put in as it is, and nothing in it means anything.
func TestValuesAreNotExpanded(t *testing.T) {
	r := mustParse(t, oneRule("", `- exec: [prog, "<{audio.title}>"]
- echo: "<{audio.title}>"`))
	s := r.Scope("/d", "/d", false)
	rapid.Check(t, func(t *rapid.T) {
		title := hostile().Draw(t, "title")
		if title == "" {
			return
		}
		d := s.Decide(&fakeFile{dir: "/d", name: "a", facts: map[string]Value{FactAudioTitle: title}})
		if len(d.Steps) != 2 || len(d.Steps[0].Argv) != 2 || d.Steps[0].Argv[1] != "<"+strings.ReplaceAll(title, "\x00", "")+">" || d.Steps[1].Text != "<"+title+">" {
			t.Fatalf("%q: %+v", title, d.Steps)
		}
	})
}

// A glob and the regular expression that it stands for say the same.
func TestGlobsAgree(t *testing.T) {
	piece := rapid.SampledFrom([]string{"*", "?", "a", "b", "[ab]", "[!a]", "{a,bc}", "{}", "{x}", "ä", "\\*", "[a-z]", "/"})
	text := rapid.SampledFrom([]string{"a", "b", "c", "ä", "*", "bc", "/", "A"})
	rapid.Check(t, func(t *rapid.T) {
		glob := strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "glob"), "")
		s := strings.Join(rapid.SliceOfN(text, 0, 8).Draw(t, "text"), "")
		p, err := compileGlob(glob, captureGlob, false)
		if err != nil {
			t.Fatal(err)
		}
		matched := false
		for _, c := range p.choices {
			re := regexp.MustCompile("(?s)^(?:" + globRegexp(c, captureGlob) + ")$")
			matched = matched || re.MatchString(s)
		}
		if got := p.match(s); got != matched {
			t.Fatalf("%q against %q: %v, as an expression %v", s, glob, got, matched)
		}
	})
}

// A name cut to its length is the start of the name, with its extension.
func TestComponentLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stem := strings.Repeat(rapid.SampledFrom([]string{"x", "ä", "日", "👍", "\xff"}).Draw(t, "letter"), rapid.IntRange(1, 300).Draw(t, "length"))
		ext := rapid.SampledFrom([]string{"", ".pdf", ".tar.gz"}).Draw(t, "ext")
		got := component(stem+ext, Builtin(), true, false)
		if len(got) > 255 || !strings.HasSuffix(got, ext) || !strings.HasPrefix(stem, strings.TrimSuffix(got, ext)) {
			t.Fatalf("%q", got)
		}
		if utf8.ValidString(stem) && !utf8.ValidString(got) {
			t.Fatalf("cut within a character: %q", got)
		}
		if len(stem+ext) > 255 && len(got) < 255-3 {
			t.Fatalf("cut to %d bytes", len(got))
		}
	})
}

func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom(comparisons).Draw(t, "op") + " " + fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "n"))
		})
		a := strings.Join(rapid.SliceOfN(gen, 1, 3).Draw(t, "a"), ",")
		b := strings.Join(rapid.SliceOfN(gen, 1, 3).Draw(t, "b"), ",")
		s, errA := plainScale.span(a)
		o, errB := plainScale.span(b)
		inA, inB := 0, 0
		both := false
		for i := range 21 {
			v := float64(i)/4 - 0.25
			x, y := s.holds(v), o.holds(v)
			if x {
				inA++
			}
			if x && !y {
				both = true
			}
			if y {
				inB++
			}
		}
		if errA != nil && inA > 0 || errB != nil && inB > 0 {
			t.Fatalf("%q or %q is said to be empty", a, b)
		}
		if errA == nil && errB == nil && s.within(&o) && both {
			t.Fatalf("%q is not within %q", a, b)
		}
	})
}

func TestMistakesOfFiles(t *testing.T) {
	for _, v := range []Value{1, struct{}{}, errors.New, []int{}, map[string]int{}} {
		for _, filter := range leaves {
			f := &fakeFile{dir: "/d", name: "a", facts: map[string]Value{}}
			r := mustParse(t, oneRule("- "+filter, "- trash"))
			for _, fact := range r.Needs() {
				f.facts[fact] = v
			}
			if len(r.Needs()) == 0 {
				continue
			}
			d := r.Scope("/d", "/d", false).Decide(f)
			if len(d.Steps) > 0 && filter != "taken" && filter != "hash: md5" && filter != "duplicate" {
				t.Errorf("%s matches a %T", filter, v)
			}
		}
	}
}
