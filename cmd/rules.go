package cmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"forg/rules"
)

const exitRulesText = exitHead + "  130  interrupted; 143 when terminated"

func (a *app) rulesCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "rules", Short: "Write, check, try and explain rules of your own",
		Long: help(`Rules say where files go, as "PDFs with invoice in the name go to Invoices". They are in a file of their own,
$XDG_CONFIG_HOME/forg/rules.yaml unless another one is given; docs/rules.md describes the language.

"forg organize" without a folder follows the rules in the folders that they name, "forg organize --rules FILE DIR"
those of any file. Without rules, the built-in categories decide.`, exitUsageText),
		Example: `  forg rules init ~/Downloads               look at a folder and write rules that fit it
  forg rules explain ~/Downloads/scan.pdf   where it would go, and why
  forg rules check                          is the file in order?
  forg organize -n                          what the rules would do`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q%s", "rules "+args[0], didYouMean(args[0], commandNames(c)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.rulesInitCmd(), a.rulesCheckCmd(), a.rulesListCmd(), a.rulesExplainCmd(), a.rulesTestCmd(), a.rulesSuggestCmd(),
		a.rulesImportCmd(), a.rulesSchemaCmd())
	return c
}

// rulesArg is the rules file that a command is about: the one that was given, or the one in its usual place.
func (a *app) rulesArg(given []string) (string, error) {
	if len(given) > 0 && given[0] != "" {
		return given[0], nil
	}
	path, err := a.rulesPath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no rules file %s; \"forg rules init DIR\" writes one that fits a folder", a.tilde(path))
	}
	return path, nil
}

type jsonRuleProblem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Text    string `json:"text"`
}

func (a *app) rulesCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check [FILE]", Short: "Check a rules file and show everything that is wrong with it",
		Long: help(`Reads a rules file as strictly as "forg organize" does and shows all that is wrong with it at once, each with its
place, the line, and what may have been meant. It also points out locations that do not exist and rules that are not
enabled.`,
			"EXIT STATUS\n  0    the file is in order\n  1    failed: it cannot be read\n  2    something is wrong in the file, or wrong usage"),
		Example: `  forg rules check
  forg rules check photos.yaml
  forg rules check --json photos.yaml | jq .problems`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			path, err := a.rulesArg(given)
			if err != nil {
				return err
			}
			return a.checkRules(path)
		},
	}
}

func (a *app) checkRules(path string) error {
	r, err := a.readRules(path)
	problems, wrong := errors.AsType[rules.Errors](err)
	if err != nil && !wrong {
		return err
	}
	warnings := []string{}
	if r != nil {
		warnings = r.warnings()
	}
	if a.json {
		o := newObject(a.out)
		o.field("file", path)
		o.field("ok", !wrong)
		count := 0
		if r != nil {
			count = len(r.All())
		}
		o.field("rules", count)
		o.array("problems")
		for _, p := range problems {
			o.item(jsonRuleProblem{p.Line, p.Column, p.Message, p.Hint, p.Text})
		}
		o.end()
		o.field("warnings", warnings)
		if err := o.close(); err != nil {
			return err
		}
	}
	if wrong {
		a.ruleProblems(problems)
		fmt.Fprintf(a.err, "\n%d %s in %s. Nothing is organized by rules until the file is in order.\n", len(problems), plural(len(problems), "problem"), a.tilde(path))
		return &exitError{code: exitUsage}
	}
	if a.json {
		return nil
	}
	for _, w := range warnings {
		a.warn("Note: %s", w)
	}
	all := r.All()
	a.say("%s: %d %s, in order.", a.tilde(path), len(all), plural(len(all), "rule"))
	return nil
}

// warnings are what is not wrong with rules but may not be meant.
func (r *rulesFile) warnings() []string {
	out := []string{}
	for _, err := range r.gone {
		out = append(out, fmt.Sprintf("a location cannot be looked at: %v", err))
	}
	for _, rule := range r.All() {
		if !rule.Enabled {
			out = append(out, fmt.Sprintf("line %d: the rule %q is not enabled", rule.Line, rule.Name))
		}
	}
	return out
}

// ruleProblems shows what is wrong with a rules file, with the place in the form that editors know.
func (a *app) ruleProblems(problems rules.Errors) {
	color := a.colored(a.errTTY)
	for _, p := range problems {
		for i, line := range strings.Split(p.Error(), "\n") {
			line = show(line)
			switch {
			case !color:
			case i == 0:
				line = string(bold) + line + "\x1b[0m"
			case i == 2:
				head, tail, _ := strings.Cut(line, "^")
				line = head + string(red) + "^" + tail + "\x1b[0m"
			}
			fmt.Fprintln(a.err, line)
		}
	}
}

type jsonRule struct {
	Name      string         `json:"name"`
	Line      int            `json:"line"`
	Enabled   bool           `json:"enabled"`
	Continue  bool           `json:"continue"`
	Targets   string         `json:"targets"`
	Locations []jsonLocation `json:"locations"`
	Tags      []string       `json:"tags"`
	Filters   []string       `json:"filters"`
	Actions   []string       `json:"actions"`
	Needs     []string       `json:"needs"`
}

type jsonLocation struct {
	Path     string `json:"path"`
	MaxDepth int    `json:"max_depth"` // -1 for all
}

func (a *app) rulesListCmd() *cobra.Command {
	var builtin bool
	var tags, skip []string
	c := &cobra.Command{
		Use: "list [FILE]", Short: "List rules, where they look and what they do",
		Long: help(`Lists the rules of a file in their order: where they look, what must hold for a file, and what they do with it.
With --builtin it shows the categories that decide where there are no rules; --json prints them as the YAML that forg
comes with.`, exitUsageText),
		Example: `  forg rules list
  forg rules list --tags money
  forg rules list --builtin
  forg rules list --builtin --json | jq -r .source`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			if builtin {
				if len(given)+len(tags)+len(skip) > 0 {
					return usage("--builtin lists what forg comes with: it takes no file and no tags")
				}
				return a.listBuiltin()
			}
			path, err := a.rulesArg(given)
			if err != nil {
				return err
			}
			r, err := a.readRules(path)
			if err != nil {
				return err
			}
			if err := a.selectRules(r, tags, skip); err != nil {
				return err
			}
			return a.listRules(r, len(tags)+len(skip) > 0)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&builtin, "builtin", false, "show the built-in categories")
	fl.StringSliceVar(&tags, "tags", nil, "only the rules that would run with these `tags`")
	fl.StringSliceVar(&skip, "skip-tags", nil, "not the rules with one of these `tags`")
	return c
}

// selectRules keeps the rules that run with tags, each of which must be known.
func (a *app) selectRules(r *rulesFile, tags, skip []string) error {
	known := r.Tags()
	for _, tag := range slices.Concat(tags, skip) {
		if !slices.Contains(known, tag) {
			return usage("no rule in %s has the tag %q%s", a.tilde(r.path), tag, didYouMean(tag, known))
		}
	}
	if len(tags)+len(skip) > 0 {
		r.Rules = r.Select(tags, skip)
	}
	return nil
}

func (a *app) listRules(r *rulesFile, some bool) error {
	all := r.All()
	if a.json {
		o := newObject(a.out)
		o.field("file", r.path)
		o.array("rules")
		for _, rule := range all {
			j := jsonRule{Name: rule.Name, Line: rule.Line, Enabled: rule.Enabled, Continue: rule.Continue, Targets: rule.Targets.String(),
				Locations: []jsonLocation{}, Tags: append([]string{}, rule.Tags...), Filters: append([]string{}, rule.Filters()...),
				Actions: []string{}, Needs: append([]string{}, rule.Needs()...)}
			for _, l := range rule.Locations() {
				j.Locations = append(j.Locations, jsonLocation{filepath.FromSlash(l.Path), l.MaxDepth})
			}
			for _, act := range rule.Actions {
				j.Actions = append(j.Actions, act.Text)
			}
			o.item(j)
		}
		o.end()
		return o.close()
	}
	w := bufio.NewWriter(a.out)
	width := a.columns()
	if len(all) == 0 && some {
		fmt.Fprintln(w, "No rule runs with these tags.")
	}
	for i, rule := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		var marks []string
		if !rule.Enabled {
			marks = append(marks, "not enabled")
		}
		if rule.Targets == rules.Dirs {
			marks = append(marks, "folders")
		}
		if rule.Continue {
			marks = append(marks, "later rules too")
		}
		for _, tag := range rule.Tags {
			marks = append(marks, "#"+tag)
		}
		head := fmt.Sprintf("%2d  %s", i+1, a.paint(bold, show(rule.Name)))
		if len(marks) > 0 {
			head += "  " + a.paint(dim, show(strings.Join(marks, ", ")))
		}
		fmt.Fprintln(w, head)
		row := func(label, text string) {
			fill(w, fmt.Sprintf("    %-6s", label), text, width)
		}
		row("in", a.locationsText(rule))
		for k, f := range rule.Filters() {
			label := "and"
			if k == 0 {
				label = "if"
			}
			row(label, show(f))
		}
		for k, act := range rule.Actions {
			label := "then"
			if k > 0 {
				label = "and"
			}
			row(label, show(act.Text))
		}
	}
	return w.Flush()
}

// locationsText says where a rule looks.
func (a *app) locationsText(rule *rules.Rule) string {
	all := rule.Locations()
	if len(all) == 0 {
		if rule.Subfolders() {
			return "the folder given to forg organize, with subfolders"
		}
		return "the folder given to forg organize"
	}
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = a.tilde(filepath.FromSlash(l.Path))
		switch {
		case l.MaxDepth < 0:
			texts[i] += " with subfolders"
		case l.MaxDepth == 1:
			texts[i] += " with 1 level of subfolders"
		case l.MaxDepth > 1:
			texts[i] += fmt.Sprintf(" with %d levels of subfolders", l.MaxDepth)
		}
	}
	return strings.Join(texts, ", ")
}

func (a *app) listBuiltin() error {
	set := rules.Builtin()
	if a.json {
		return json.NewEncoder(a.out).Encode(map[string]any{"categories": set.Categories(), "source": string(set.Source())})
	}
	types := map[string][]string{}
	for _, k := range set.Kinds() {
		if !slices.Contains(types[k.Category], k.Type) {
			types[k.Category] = append(types[k.Category], k.Type)
		}
	}
	width := 0
	for _, c := range set.Categories() {
		width = max(width, len(c))
	}
	w := bufio.NewWriter(a.out)
	for _, c := range set.Categories() {
		fill(w, a.paint(bold, fmt.Sprintf("%-*s", width, c))+"  ", strings.Join(types[c], ", "), a.columns())
	}
	fmt.Fprintf(w, "\nA file goes to the folder of its category. %s shows the extensions and media types.\n", a.paint(bold, "forg rules list --builtin --json"))
	return w.Flush()
}

func (a *app) rulesTestCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "test [FILE]", Short: "Run the tests that sit beside the rules",
		Long: help(`Runs the tests of a rules file: under the key "tests" it may list files, each with what is known of it and the place
where it must go. No file need exist, and nothing on the disk is looked at. Of a test that fails it shows how the
rules came to their verdict.

  tests:
    - {file: Invoice 7.pdf, size: 80 kB, to: ~/Documents/Invoices/}
    - {file: holiday.jpg, taken: 2024-08-01, to: Photos/2024/}
    - {file: notes.txt, to: null}`,
			"EXIT STATUS\n  0    all tests pass, or there are none\n  1    a test fails, or the file cannot be read\n  2    something is wrong in the file, or wrong usage"),
		Example: `  forg rules test
  forg rules test -v photos.yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			path, err := a.rulesArg(given)
			if err != nil {
				return err
			}
			r, err := a.readTests(path)
			if err != nil {
				return err
			}
			return a.testRules(path, r.RunTests())
		},
	}
	return c
}

// readTests reads a rules file for its tests, in which locations stand as they are written.
func (a *app) readTests(path string) (*rules.Rules, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	r, err := rules.Parse(a.tilde(path), source, a.ruleOptions())
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return r, nil
}

func (a *app) testRules(path string, results []rules.TestResult) error {
	failed := 0
	for _, r := range results {
		if !r.Pass {
			failed++
		}
	}
	if a.json {
		o := newObject(a.out)
		o.field("file", path)
		o.field("passed", len(results)-failed)
		o.field("failed", failed)
		o.array("tests")
		for _, r := range results {
			o.item(struct {
				Name  string      `json:"name"`
				Line  int         `json:"line"`
				File  string      `json:"file"`
				Pass  bool        `json:"pass"`
				Want  string      `json:"want"`
				Got   string      `json:"got"`
				Rules []jsonTrace `json:"rules,omitempty"`
			}{r.Name, r.Line, r.File, r.Pass, r.Want, r.Got, tracesJSON(r.Trace)})
		}
		o.end()
		if err := o.close(); err != nil {
			return err
		}
	} else if err := a.testReport(path, results, failed); err != nil {
		return err
	}
	if failed > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

func (a *app) testReport(path string, results []rules.TestResult, failed int) error {
	w := bufio.NewWriter(a.out)
	for _, r := range results {
		title := show(r.Name)
		if r.File != r.Name {
			title += " (" + show(r.File) + ")"
		}
		switch {
		case !r.Pass:
			fmt.Fprintf(w, "%s  %s  %s\n", a.paint(red, "FAIL"), a.paint(bold, title), a.paint(dim, fmt.Sprintf("line %d", r.Line)))
			fill(w, "      want  ", show(r.Want), a.columns())
			fill(w, "      got   ", show(r.Got), a.columns())
			fmt.Fprintln(w)
			a.traces(w, r.Trace, "      ")
			fmt.Fprintln(w)
		case a.verbose && !a.quiet:
			fmt.Fprintf(w, "%s    %s -> %s\n", a.paint(green, "ok"), title, show(r.Got))
		}
	}
	switch {
	case a.quiet:
	case len(results) == 0:
		fmt.Fprintf(w, "There are no tests in %s; \"forg rules test --help\" shows how they look.\n", a.tilde(path))
	case failed == 0:
		fmt.Fprintf(w, "%d %s, all pass.\n", len(results), plural(len(results), "test"))
	default:
		fmt.Fprintf(w, "%d %s, %d %s.\n", len(results), plural(len(results), "test"), failed, map[bool]string{true: "fails", false: "fail"}[failed == 1])
	}
	return w.Flush()
}

func (a *app) rulesSchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of rules files, for editors",
		Long: help(`Prints the JSON Schema (draft 2020-12) of rules files. Editors that know it complete the words of the language and
mark what is wrong while you type. A comment at the top of a rules file names it:

  # yaml-language-server: $schema=forg-rules.schema.json`, exitUsageText),
		Example: "  forg rules schema > ~/.config/forg/forg-rules.schema.json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(append([]byte(strings.TrimRight(string(rules.Schema()), "\n")), '\n'))
			return err
		},
	}
}

// rulesFinding is what doctor says of the rules file, if there is one.
func (a *app) rulesFinding() (finding, bool) {
	path, err := a.rulesPath()
	if err != nil {
		return finding{}, false
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return finding{}, false
	}
	r, err := a.readRules(path)
	if problems, ok := errors.AsType[rules.Errors](err); ok {
		return finding{What: fmt.Sprintf("rules %s: %d %s, the first in line %d: %s", a.tilde(path), len(problems), plural(len(problems), "problem"),
			problems[0].Line, problems[0].Message), Hint: "forg rules check shows all of them"}, true
	}
	if err != nil {
		return finding{What: err.Error(), Hint: "forg organize without a folder needs it"}, true
	}
	if len(r.gone) > 0 {
		return finding{What: fmt.Sprintf("rules %s: a location cannot be looked at: %v", a.tilde(path), r.gone[0]), Hint: "forg rules check shows all that is odd"}, true
	}
	n := len(r.All())
	return finding{What: fmt.Sprintf("rules %s: %d %s, in order", a.tilde(path), n, plural(n, "rule")), OK: true}, true
}
