package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// decideOne returns the steps of a rules file with a single rule, or what kept it from matching.
func decideOne(t *testing.T, filters, actions string, f *fakeFile) ([]Step, string) {
	t.Helper()
	d := mustParse(t, oneRule(filters, actions)).Scope("/d", f.dir, true).Decide(f)
	unknown := ""
	if len(d.Unknown) > 0 {
		unknown = d.Unknown[0].Condition + ": " + d.Unknown[0].Err.Error()
	}
	return d.Steps, unknown
}

func TestActions(t *testing.T) {
	f := &fakeFile{dir: "/d/in", name: "Invoice 7.tar.gz", facts: map[string]Value{
		FactModified: time.Date(2024, 3, 9, 22, 30, 0, 0, time.UTC), FactSize: int64(2048)}}
	for _, c := range []struct {
		action string
		want   Step
	}{
		{`move: "Sorted/{ext}/"`, Step{Kind: Move, To: "Sorted/tar.gz", Folder: true}},
		{`move: Sorted`, Step{Kind: Move, To: "Sorted"}},
		{`move: out/v1.2`, Step{Kind: Move, To: "out/v1.2"}},
		{`move: out/v1.2/`, Step{Kind: Move, To: "out/v1.2", Folder: true}},
		{`move: {dest: "a//./b/", on_conflict: skip}`, Step{Kind: Move, To: "a/b", Folder: true, Conflict: "skip"}},
		{`move: a/.`, Step{Kind: Move, To: "a", Folder: true}},
		{`move: .`, Step{Kind: Move, Folder: true}},
		{`move: ./`, Step{Kind: Move, Folder: true}},
		{`move: "~/x/{modified:%Y/%m-%d}/{name}.x"`, Step{Kind: Move, Root: "/home/u/x", To: "/home/u/x/2024/03-10/Invoice 7.x"}},
		{`move: "~"`, Step{Kind: Move, Root: "/home/u", To: "/home/u", Folder: true}},
		{`move: "/"`, Step{Kind: Move, Root: "/", To: "/", Folder: true}},
		{`move: "/srv/{parent}/"`, Step{Kind: Move, Root: "/srv", To: "/srv/in", Folder: true}},
		{`move: "{env.NAS}/x/"`, Step{Kind: Move, Root: "/nas/data/x", To: "/nas/data/x", Folder: true}},
		{`move: "{env.NAS}"`, Step{Kind: Move, Root: "/nas/data", To: "/nas/data", Folder: true}},
		{`move: "{env.WHO}/x/"`, Step{Kind: Move, To: "me/x", Folder: true}},
		{`move: "{env.UP}/x/"`, Step{Kind: Move, To: ".._up/x", Folder: true}},
		{`move: "a/{env.NAS}/"`, Step{Kind: Move, To: "a/_nas_data_", Folder: true}},
		{`move: "{location}/x/"`, Step{Kind: Move, Root: "/d/x", To: "/d/x", Folder: true}},
		{`move: "{location} x/"`, Step{Kind: Move, To: "_d x", Folder: true}},
		{`copy: "/backup/{relative_path|folders}"`, Step{Kind: Copy, Root: "/backup", To: "/backup/in/Invoice 7.tar.gz"}},
		{`copy: "/backup/{relative_path}"`, Step{Kind: Copy, Root: "/backup", To: "/backup/in_Invoice 7.tar.gz"}},
		{`copy: '{"a/b" ?? name}/'`, Step{Kind: Copy, To: "a/b", Folder: true}},
		{`rename: "{name|slug}.{ext}"`, Step{Kind: Rename, To: "invoice-7.tar.gz"}},
		{`rename: {name: x, on_conflict: newer}`, Step{Kind: Rename, To: "x", Conflict: "newer"}},
		{`trash`, Step{Kind: Trash}},
		{`trash:`, Step{Kind: Trash}},
		{`hardlink: h/`, Step{Kind: Hardlink, To: "h", Folder: true}},
		{`symlink: h`, Step{Kind: Symlink, To: "h"}},
		{`reflink: h`, Step{Kind: Reflink, To: "h"}},
		{`extract`, Step{Kind: Extract, To: "Invoice 7", Folder: true}},
		{`extract: "x/{name}/"`, Step{Kind: Extract, To: "x/Invoice 7", Folder: true}},
		{`tag: Red`, Step{Kind: Tag, Add: []string{"Red"}}},
		{`tag: {add: [a, "{ext}"], remove: b}`, Step{Kind: Tag, Add: []string{"a", "tar.gz"}, Remove: []string{"b"}}},
		{`tag: {set: [a, b]}`, Step{Kind: Tag, Add: []string{"a", "b"}, Set: true}},
		{`write: {file: "log/{now:%Y}.txt", text: "{filename} {size}"}`,
			Step{Kind: Write, To: "log/2024.txt", Text: "Invoice 7.tar.gz 2048\n", Mode: "append"}},
		{`write: {file: log.txt, text: "x", mode: overwrite, newline: false}`, Step{Kind: Write, To: "log.txt", Text: "x", Mode: "overwrite"}},
		{`echo: "{path} {{x}} {depth} of {rule} in {location}"`, Step{Kind: Echo, Text: "/d/in/Invoice 7.tar.gz {x} 1 of R in /d"}},
		{`echo: ""`, Step{Kind: Echo}},
		{`confirm`, Step{Kind: Confirm}},
		{`confirm: "Move {name}?"`, Step{Kind: Confirm, Text: "Move Invoice 7?"}},
	} {
		steps, unknown := decideOne(t, "", "- "+c.action, f)
		if len(steps) != 1 {
			t.Errorf("%s: %d steps, %s", c.action, len(steps), unknown)
			continue
		}
		c.want.Rule, c.want.Location = steps[0].Rule, "/d"
		if diff := cmp.Diff(c.want, steps[0], cmpopts.IgnoreUnexported(Step{}), cmp.Comparer(func(a, b *Rule) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", c.action, diff)
		}
	}
}

// What comes from the file is one argument, whatever is in it.
func TestExec(t *testing.T) {
	name := "$(touch PWNED) `x` {name} \"; rm -rf ~'.pdf"
	f := &fakeFile{dir: "/d/a b", name: name, facts: map[string]Value{FactSize: int64(1), FactText: "nr 12\x00",
		FactCreated: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}}
	steps, unknown := decideOne(t, `- content: 'nr (?P<nr>\d+)'
- name: {match: "{head} {rest}"}
- size
- created
- not: {regex: '(?P<never>zzz)'}`, `- exec: [convert, "{path}", "--title={name}", "{content.nr}", "{env.NAS}"]`, f)
	if len(steps) != 1 {
		t.Fatal(unknown)
	}
	stem := strings.TrimSuffix(name, ".pdf")
	if diff := cmp.Diff([]string{"convert", "/d/a b/" + name, "--title=" + stem, "12", "/nas/data/"}, steps[0].Argv); diff != "" {
		t.Error(diff)
	}
	head, rest, _ := strings.Cut(stem, " ")
	if diff := cmp.Diff([]string{
		"FORG_PATH=/d/a b/" + name, "FORG_DIR=/d/a b", "FORG_FILENAME=" + name, "FORG_NAME=" + stem, "FORG_EXT=pdf", "FORG_LOCATION=/d",
		"FORG_RELATIVE_PATH=a b/" + name, "FORG_RULE=R", "FORG_CONTENT_NR=12", "FORG_NAME_HEAD=" + head, "FORG_NAME_REST=" + rest,
		"FORG_SIZE=1", "FORG_CREATED=2024-01-02T05:04:05+02:00",
	}, steps[0].Env); diff != "" {
		t.Error(diff)
	}
}

func TestCaptures(t *testing.T) {
	for _, c := range []struct{ filters, template, name, want string }{
		{`- name: "Invoice {nr} *"`, "{name.nr}", "Invoice 7 of 9.pdf", "7"},
		{`- name: {match: "INVOICE {Nr} *", case_sensitive: false}`, "{name.Nr}", "invoice X 9.pdf", "X"},
		{`- name: ["{a}-x", "{a}_{b}"]`, "{name.a}{name.b ?? '-'}", "p_q.pdf", "pq"},
		{`- name: ["{a}-x", "{a}_{b}"]`, "{name.a}{name.b ?? '-'}", "p-x.pdf", "p-"},
		{`- regex: '^(?P<year>\d{4})-(?P<rest>.*)\.pdf$'`, "{regex.rest} {regex.year}", "2024-a b.pdf", "a b 2024"},
		// The first filter that gives it counts, whichever was evaluated.
		{"- any:\n    - regex: '(?P<w>x+)'\n    - regex: '(?P<w>y+)'", "{regex.w}", "yyxx.pdf", "xx"},
		{"- any:\n    - regex: '(?P<w>x+)'\n    - regex: '(?P<w>y+)'", "{regex.w}", "yy.pdf", "yy"},
		{"- any:\n    - regex: '(?P<w>x+)'\n    - name: y*", "{regex.w ?? 'none'}", "yy.pdf", "none"},
		{"- hash: md5", "{hash:8|upper}", "a", "0123ABCD"},
		{"- duplicate: newest", "{duplicate.of}", "a", "_o_b"},
	} {
		f := &fakeFile{dir: "/d", name: c.name, facts: map[string]Value{FactHashMD5: "0123abcd4567", "duplicate:newest": "/o/b"}}
		steps, unknown := decideOne(t, c.filters, `- move: "`+c.template+`/"`, f)
		if len(steps) != 1 || steps[0].To != c.want {
			t.Errorf("%s, %s: %+v %s", c.filters, c.name, steps, unknown)
		}
	}
}

func TestCounter(t *testing.T) {
	r := mustParse(t, oneRule("- regex: '(?P<w>[a-z])'", `- move: "{regex.w}/{counter:03}.{ext}"
- echo: "{counter} {name}"
- tag: x`))
	s := r.Scope("/d", "/d", false)
	var first []Step
	for _, name := range []string{"a.pdf", "b.txt", "c.doc"} {
		d := s.Decide(&fakeFile{dir: "/d", name: name})
		if len(d.Steps) != 3 || !d.Steps[0].Counted || !d.Steps[1].Counted || d.Steps[2].Counted {
			t.Fatalf("%+v", d)
		}
		first = append(first, d.Steps[0])
		if got := d.Steps[1].WithCounter(7).WithCounter(8).Text; got != "8 "+name[:1] {
			t.Error(got)
		}
		if got := d.Steps[2].WithCounter(7); got.Add[0] != "x" {
			t.Error(got)
		}
	}
	for i, want := range []string{"a/041.pdf", "b/042.txt", "c/043.doc"} {
		step := first[i].WithCounter(int64(41 + i))
		if step.To != want || !step.Counted || step.Rule != r.All()[0] {
			t.Errorf("%+v, want %s", step, want)
		}
	}
	if first[0].To != "a/001.pdf" {
		t.Error(first[0].To)
	}
}

func TestRenameTemplate(t *testing.T) {
	var none *RenameTemplate
	if got := none.Name("a", "tar.gz", 2); got != "a (2).tar.gz" {
		t.Error(got)
	}
	for _, c := range []struct{ template, stem, ext, want string }{
		{"{name} - {counter:02}", "a", "pdf", "a - 03.pdf"},
		{"{counter}_{name}.{ext}", "a", "pdf", "3_a.pdf"},
		{"{counter}_{name}.{ext}", "a", "", "a (3)"},
		{"{name|upper}{counter}", "a", "", "A3"},
	} {
		steps, _ := decideOne(t, "", `- move: {dest: x/, rename_template: "`+c.template+`"}`, &fakeFile{dir: "/d", name: "x"})
		if got := steps[0].RenameTemplate.Name(c.stem, c.ext, 3); got != c.want {
			t.Errorf("%s: %q, want %q", c.template, got, c.want)
		}
	}
	long := strings.Repeat("ä", 200)
	for _, template := range []*RenameTemplate{nil, mustParse(t, oneRule("", `- move: {dest: x/, rename_template: "{name} ({counter})"}`)).rules[0].Actions[0].rename} {
		got := template.Name(long, "tar.gz", 1234)
		if len(got) > 255 || len(got) < 253 || !strings.HasSuffix(got, "ä (1234).tar.gz") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}
