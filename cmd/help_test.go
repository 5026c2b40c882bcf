package cmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"
)

// TestHelp keeps every command documented: examples, exit status, and for every flag a word on what it does.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			if c.Short == "" || c.Example == "" {
				t.Error("it has no short description or no examples")
			}
			if c.HasParent() && !strings.Contains(c.Long, "EXIT STATUS\n  0 ") {
				t.Error("its help does not tell the exit status")
			}
			if strings.HasSuffix(c.Short, ".") {
				t.Error("the short description ends in a full stop")
			}
			for line := range strings.Lines(c.Long) {
				if len(line) > 121 {
					t.Errorf("a line of the help is too long: %s", line)
				}
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if len(f.Usage) < 8 {
					t.Errorf("--%s is not documented", f.Name)
				}
			})
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(Root())
}

// TestExamples keeps the examples of the help true: their commands and flags exist.
func TestExamples(t *testing.T) {
	root := Root()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			at := strings.Index(line, "forg ")
			if at < 0 {
				continue
			}
			words := strings.Fields(strings.NewReplacer("(", " ", ")", " ", "|", " | ", "\"", " ").Replace(line[at+len("forg "):]))
			if i := slices.IndexFunc(words, func(w string) bool { return w == "|" || w == ">" || strings.HasPrefix(w, "#") }); i >= 0 {
				words = words[:i]
			}
			target, _, err := root.Find(words)
			if err != nil || target == root {
				t.Errorf("%s: the example names no command: %s", c.CommandPath(), strings.TrimSpace(line))
				continue
			}
			for i, w := range words {
				if w == "--" && strings.Contains(target.Use, "-- PROGRAM") { // no command of ours
					break
				}
				if w == "--" { // flags of the command that will be run
					if target, _, err = root.Find([]string{target.Annotations[passesFlagsTo]}); err != nil || target == root {
						t.Errorf("%s: the example gives flags to no command: %s", c.CommandPath(), words[i:])
					}
					continue
				}
				name, _, _ := strings.Cut(w, "=")
				if long, ok := strings.CutPrefix(name, "--"); ok && target.Flags().Lookup(long) == nil && target.InheritedFlags().Lookup(long) == nil {
					t.Errorf("%s: the example uses --%s, which %q has not", c.CommandPath(), long, target.CommandPath())
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

func TestNarrow(t *testing.T) {
	const text = `Searches the journal for files by name or glob (with a slash: by the end of their path), follows each through later
operations, and says --where it is.

EXIT STATUS
  0    done, or nothing to do

Examples:
  forg organize -n ~/Downloads     only show what it would do
  forg dupes --json ~/Music | jq '.groups[].files[] | select(.keep | not) | .path'

Flags:
      --limit number        tell of at most this number of files (0 for all)
  -i, --include a|very|long|list|of|names        files
`
	const want = `Searches the journal for files by name or glob (with
a slash: by the end of their path), follows each
through later operations, and says --where it is.

EXIT STATUS
  0    done, or nothing to do

Examples:
  forg organize -n ~/Downloads
      only show what it would do
  forg dupes --json ~/Music | jq '.groups[].files[] | select(.keep | not) | .path'

Flags:
      --limit number        tell of at most this
                            number of files (0 for
                            all)
  -i, --include a|very|long|list|of|names
          files
`
	if diff := cmp.Diff(want, narrow(text, 52)); diff != "" {
		t.Error(diff)
	}
	if got := narrow(text, 0); got != text {
		t.Errorf("without a terminal:\n%s", got)
	}
}

// Whatever the text and the width, narrow says the same in the same order.
func TestNarrowSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(( {0,8}|[a-zé -]{80,120})[a-z|-]{1,12}( {1,3}[a-z-]{1,12}){0,12}\n){1,6}`).Draw(t, "text")
		width := rapid.IntRange(1, 200).Draw(t, "width")
		letters := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if got := narrow(text, width); letters(got) != letters(text) {
			t.Fatal(got)
		}
	})
}
