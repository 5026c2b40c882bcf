package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cookbook returns the rule sets that docs/rules.md shows, by the names of their files.
func cookbook(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "rules", "cookbook", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("there is no cookbook", err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

// Each set of the cookbook is in order, fits the schema, says in its first line what it is for, and passes its own tests,
// which leave no rule out. testdata/script/rules_cookbook_*.txtar runs each in a real folder.
func TestCookbook(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for name, source := range cookbook(t) {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			r, err := Parse(name, []byte(source), Options{Home: "/home/x", Now: time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)})
			if err != nil {
				t.Fatal(err)
			}
			if err := (&validator{root: schema}).check(schema, yamlValue(t, source), ""); err != nil {
				t.Error("schema:", err)
			}
			if line, _, _ := strings.Cut(source, "\n"); !strings.HasPrefix(line, "# ") || !strings.HasSuffix(line, ".") {
				t.Errorf("the first line does not say what the set is for: %q", line)
			}
			script := filepath.Join("..", "testdata", "script", "rules_cookbook_"+strings.TrimSuffix(name, ".yaml")+".txtar")
			if _, err := os.Stat(script); err != nil {
				t.Error("nothing runs the set in a real folder:", err)
			}
			tried := map[string]bool{}
			for i, result := range r.RunTests() {
				if !result.Pass {
					t.Errorf("line %d, %s: got %s, want %s", result.Line, result.Name, result.Got, result.Want)
				}
				c := *r.tests[i]
				for _, s := range c.scope(r.At(timeOf(c.now, r))).Decide(&c).Steps {
					tried[s.Rule.Name] = true
				}
			}
			for _, rule := range r.All() {
				if !tried[rule.Name] {
					t.Errorf("no test beside the rules is about %q", rule.Name)
				}
			}
		})
	}
}

func timeOf(now time.Time, r *Rules) time.Time {
	if now.IsZero() {
		return r.opt.Now
	}
	return now
}
