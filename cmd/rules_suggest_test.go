package cmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithRules(t *testing.T) {
	const item = "- name: N\n  actions: [trash]\n"
	for _, c := range []struct {
		name, source string
		line         int
		want         string // "" if it is refused
	}{
		{"end", "rules:\n  - a\n", 0, "rules:\n  - a\n\n  - name: N\n    actions: [trash]\n"},
		{"end without line break", "rules:\n- a", 0, "rules:\n- a\n\n- name: N\n  actions: [trash]\n"},
		{"before the next key", "rules:\n- a\n\n# tests\ntests: []\n", 0, "rules:\n- a\n\n- name: N\n  actions: [trash]\n\n# tests\ntests: []\n"},
		{"before comments at the end", "rules:\n- a\n\n# - b\n", 0, "rules:\n- a\n\n- name: N\n  actions: [trash]\n\n# - b\n"},
		{"above a rule and its comment", "rules:\n- a\n\n# of b\n- b\n", 5, "rules:\n- a\n\n- name: N\n  actions: [trash]\n\n# of b\n- b\n"},
		{"above the first rule", "# top\nrules:\n- a\n", 3, "# top\nrules:\n- name: N\n  actions: [trash]\n\n- a\n"},
		{"a text over several lines", "rules:\n- |\n  x\n  # no comment\n", 0, "rules:\n- |\n  x\n  # no comment\n\n- name: N\n  actions: [trash]\n"},
		{"on one line", "rules: [a]\n", 0, ""},
		{"no rules", "tests: []\n", 0, ""},
		{"a list", "- a\n", 0, ""},
		{"no YAML", "rules: [\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := withRules([]byte(c.source), []string{item}, []int{c.line})
			if (err != nil) != (c.want == "") {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A question is asked until it is answered with a word that is known, and an end of the input is no answer.
func TestChoose(t *testing.T) {
	all := func() []proposal {
		list := make([]proposal, 4)
		for i, name := range []string{"A", "B", "C", "D"} {
			list[i].Name, list[i].files, list[i].folders = name, 1, []string{"X"}
			list[i].Ask = name == "D"
			list[i].taken = !list[i].Ask
		}
		return list
	}
	for answers, want := range map[string]string{
		"\n\n\n\n":      "ABC",
		"n\ny\nno\ny":   "",
		"n\ny\nno\ny\n": "BD",
		"what?\nn\na\n": "BC",
		"y\nq\n":        "A",
		"a\n":           "ABC",
		"":              "",
	} {
		var said bytes.Buffer
		a := &app{in: strings.NewReader(answers), err: &said, getenv: func(string) string { return "" }}
		list := all()
		err := a.choose("/x", list)
		if (err != nil) != (want == "") {
			t.Errorf("%q: %v", answers, err)
			continue
		}
		got := ""
		for _, p := range list {
			if p.taken && err == nil {
				got += p.Name
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", answers, got, want)
		}
	}
}
