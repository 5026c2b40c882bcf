package cmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
