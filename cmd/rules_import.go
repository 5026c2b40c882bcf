package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"forg/rules/foreign"
)

func (a *app) rulesImportCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "import FILE|-", Short: "Turn the configuration of another organizer into rules",
		Long: help(`Reads the configuration of organize (its versions 1, 2 and 3) or of autotidy and prints a rules file that does the same.
What means something a little different in forg, and what could not be carried over, is told line by line, here and as
comments in the rules. A rule that has lost a filter, a location or an action is disabled, so that no rule does more
than it did. FILE is only read; - reads it from standard input.`,
			exitHead+"  3    done, but something could not be carried over"),
		Example: `  forg rules import ~/.config/organize/config.yaml --output ~/.config/forg/rules.yaml
  forg rules import config.yaml > rules.yaml
  cat config.yaml | forg rules import -`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return a.importRules(args[0], output) },
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write the rules to `FILE`, which must not exist, instead of printing them")
	return c
}

func (a *app) importRules(path, output string) error {
	name, source, err := a.readForeign(path)
	if err != nil {
		return err
	}
	r, err := foreign.Import(name, source, a.ruleOptions())
	if errors.Is(err, foreign.ErrUnknown) {
		return usage("%s: %w", name, err)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if output != "" {
		if err := createRules(output, r.YAML); err != nil {
			return err
		}
	}
	lost := slices.ContainsFunc(r.Notes, func(n foreign.Note) bool { return n.Lost })
	if a.json {
		if err := a.importJSON(r, output); err != nil {
			return err
		}
	} else {
		if output == "" {
			if _, err := a.out.Write(r.YAML); err != nil {
				return fmt.Errorf("print the rules: %w", err)
			}
		}
		a.importNotes(name, r.Notes)
		if output != "" && !a.quiet {
			fmt.Fprintf(a.err, "Wrote %s. Look at it with \"forg rules check\" and \"forg organize -n\" before you use it.\n", a.tilde(output))
		}
	}
	if lost {
		return &exitError{code: exitPartial}
	}
	return nil
}

// maxForeign bounds what is read: no configuration is nearly as large.
const maxForeign = 8 << 20

func (a *app) readForeign(path string) (name string, source []byte, err error) {
	if path == "-" {
		source, err = io.ReadAll(io.LimitReader(a.in, maxForeign))
		if err != nil {
			return "", nil, fmt.Errorf("read standard input: %w", err)
		}
		return "standard input", source, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if source, err = io.ReadAll(io.LimitReader(f, maxForeign)); err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	return a.tilde(path), source, nil
}

// createRules writes a file that must not exist. If it cannot be written whole, it is taken away again.
func createRules(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s exists already; forg overwrites no rules", path)
	}
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(path) // it was made a moment ago
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

// importNotes tells what is different, each thing once with all lines that it is about. What was lost comes last, where it
// is seen.
func (a *app) importNotes(name string, notes []foreign.Note) {
	type said struct {
		text  string
		lines []string
	}
	for _, lost := range []bool{false, true} {
		if !lost && a.quiet {
			continue
		}
		var all []said
		for _, n := range notes {
			if n.Lost != lost {
				continue
			}
			line := strconv.Itoa(n.Line)
			i := slices.IndexFunc(all, func(s said) bool { return s.text == n.Text })
			if i < 0 {
				all = append(all, said{n.Text, []string{line}})
			} else if !slices.Contains(all[i].lines, line) {
				all[i].lines = append(all[i].lines, line)
			}
		}
		if len(all) == 0 {
			continue
		}
		if lost {
			a.warn("Not carried over:")
		} else {
			fmt.Fprintln(a.err, "A little different:")
		}
		for _, s := range all {
			word := "line"
			if len(s.lines) > 1 {
				word = "lines"
			}
			fmt.Fprintf(a.err, "  %s, %s %s: %s\n", name, word, strings.Join(s.lines, ", "), showText(s.text))
		}
	}
}

type jsonNote struct {
	Line int    `json:"line"`
	Text string `json:"text"`
	Lost bool   `json:"lost"`
}

func (a *app) importJSON(r foreign.Result, output string) error {
	notes := make([]jsonNote, len(r.Notes))
	for i, n := range r.Notes {
		notes[i] = jsonNote(n)
	}
	o := newObject(a.out)
	o.field("kind", r.Kind)
	if output == "" {
		o.field("rules", string(r.YAML))
	} else {
		o.field("output", output)
	}
	o.field("notes", notes)
	return o.close()
}
