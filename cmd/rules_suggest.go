package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"forg/organizer"
	"forg/rules"
)

// suggestFolders bounds the search for files that are not where forg put them. It takes a few seconds at most.
const suggestFolders = 20_000

func (a *app) rulesSuggestCmd() *cobra.Command {
	var file string
	var add bool
	c := &cobra.Command{
		Use: "suggest [DIR...]", Short: "Learn rules from files that you have moved yourself",
		Long: help(fmt.Sprintf(`Looks in the journal for files that forg has placed and that you have moved elsewhere since, and proposes the rules
that would have put them there: what they have in common in their names, extensions, categories or origins. A rule is
proposed only if it puts more of all the files right that forg has ever placed than wrong.

The files are looked for in the folders that were organized, in each DIR, and in your home folder, by what they
are on the disk, so that another name does not hide them; hidden folders and projects are left out, and after %s
folders the search ends. Nothing is changed but the rules file by --append, and that only by adding to it: the
version before is kept beside it, with a ~ at the end of its name.`, humanize.Comma(suggestFolders)), exitRulesText),
		Example: `  forg rules suggest
  forg rules suggest --append
  forg rules suggest /srv/archive`,
		RunE: func(c *cobra.Command, dirs []string) error {
			return a.rulesSuggest(c.Context(), dirs, file, add)
		},
	}
	fl := c.Flags()
	fl.StringVar(&file, "rules", "", "the rules `file` (default $XDG_CONFIG_HOME/forg/rules.yaml)")
	fl.BoolVar(&add, "append", false, "add the proposed rules to the rules file; on a terminal asks about each")
	return c
}

func (a *app) rulesSuggest(ctx context.Context, dirs []string, file string, add bool) error {
	if file == "" {
		var err error
		if file, err = a.rulesPath(); err != nil {
			return err
		}
	}
	source, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read rules: %w", err)
	}
	var known []string
	if err == nil {
		r, err := a.readRules(file) // a file that is not in order cannot be added to
		if err != nil {
			return err
		}
		for _, rule := range r.All() {
			known = append(known, rule.Name)
		}
	}
	for _, d := range dirs {
		if _, err := organizer.ResolveDir(d); err != nil {
			return err
		}
	}
	if home, err := a.home(); err == nil {
		dirs = append(dirs, home)
	}
	j, err := a.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return a.suggestReport(nil, nil, 0, false)
	}
	if err != nil {
		return err
	}
	defer j.Close()
	set := rules.Builtin()
	placed, looked, err := organizer.PlacedFiles(ctx, j, set, organizer.Search{Folders: dirs, Limit: suggestFolders})
	if err != nil {
		return err
	}
	all, err := organizer.Suggest(placed, set, a.ruleOptions(), func(dir string) string {
		location, _ := a.locationFor(dir)
		return location
	})
	if err != nil {
		return err
	}
	for i := range all {
		all[i].Avoid(known)
		known = append(known, all[i].Name)
	}
	if err := a.suggestReport(placed, all, looked, add); err != nil || !add || len(all) == 0 {
		return err
	}
	if a.inTTY && a.errTTY && !a.json {
		if all, err = a.chooseSuggestions(all); err != nil || len(all) == 0 {
			return err
		}
	}
	return a.appendRules(file, source, all, set)
}

type jsonSuggestion struct {
	Name  string   `json:"name"`
	Rule  string   `json:"rule"` // YAML
	Right int      `json:"right"`
	Wrong int      `json:"wrong"`
	Files []string `json:"files"`
}

// suggestReport shows what a person has moved, and the rules for it.
func (a *app) suggestReport(placed []organizer.PlacedFile, all []organizer.Suggestion, looked int, add bool) error {
	var elsewhere []*organizer.PlacedFile
	gone := 0
	for i := range placed {
		switch p := &placed[i]; {
		case p.Now == "":
			gone++
		case p.Elsewhere():
			elsewhere = append(elsewhere, p)
		}
	}
	if a.json {
		o := newObject(a.out)
		o.field("placed", len(placed))
		o.field("not_found", gone)
		o.field("folders", looked)
		return suggestJSON(o, elsewhere, all)
	}
	if a.quiet {
		return nil
	}
	w := bufio.NewWriter(a.out)
	defer w.Flush()
	if len(elsewhere) == 0 {
		switch {
		case len(placed) == 0:
			fmt.Fprintln(w, "There is nothing to learn from yet: the journal knows of no file that forg has placed.")
		case gone == 0:
			fmt.Fprintf(w, "There is nothing to learn: forg has placed %s, and all are still there.\n", filesText(int64(len(placed))))
		default:
			fmt.Fprintf(w, "There is nothing to learn: of %s that forg has placed %s still where it put them, and %s not found.\n",
				filesText(int64(len(placed))), areText(len(placed)-gone), wereText(gone))
		}
		return nil
	}
	fmt.Fprintf(w, "Of %s that forg has placed, you have moved %s:\n", filesText(int64(len(placed))), humanize.Comma(int64(len(elsewhere))))
	a.listElsewhere(w, elsewhere)
	if gone > 0 && a.verbose {
		fmt.Fprintf(w, "%s not found in the %s %s looked into.\n", wereText(gone), humanize.Comma(int64(looked)), plural(looked, "folder"))
	}
	a.suggested(w, all)
	if len(all) > 0 && !add {
		fmt.Fprintf(w, "\nAdd to your rules: %s\n", a.paint(bold, "forg rules suggest --append"))
	}
	return nil
}

// suggestJSON completes the answer for programs.
func suggestJSON(o *object, elsewhere []*organizer.PlacedFile, all []organizer.Suggestion) error {
	o.array("moved")
	for _, p := range elsewhere {
		m := struct {
			From      string `json:"from"`
			Placed    string `json:"placed"`
			Now       string `json:"now"`
			NowBytes  []byte `json:"now_bytes,omitempty"`
			Label     string `json:"label"`
			Operation int64  `json:"operation"`
		}{Label: p.Label, Operation: p.Operation}
		m.From, _ = organizer.ExactPath(p.From)
		m.Placed, _ = organizer.ExactPath(p.To)
		m.Now, m.NowBytes = organizer.ExactPath(p.Now)
		o.item(m)
	}
	o.end()
	o.array("suggestions")
	for _, s := range all {
		files := make([]string, len(s.Files))
		for i := range s.Files {
			files[i], _ = organizer.ExactPath(s.Files[i].Now)
		}
		o.item(jsonSuggestion{s.Name, s.Text, len(s.Files), s.Wrong, files})
	}
	o.end()
	return o.close()
}

// listElsewhere lists files that a person has moved.
func (a *app) listElsewhere(w io.Writer, elsewhere []*organizer.PlacedFile) {
	const shown = 10
	for i, p := range elsewhere {
		if i == shown && !a.verbose && len(elsewhere) > shown+1 {
			fmt.Fprintf(w, "  %s\n", a.paint(dim, fmt.Sprintf("... and %s more (-v shows all)", humanize.Comma(int64(len(elsewhere)-shown)))))
			break
		}
		to := a.tilde(filepath.Dir(p.Now)) + "/"
		if filepath.Base(p.Now) != filepath.Base(p.To) {
			to = a.tilde(p.Now)
		}
		fill(w, "  ", fmt.Sprintf("%s %s %s", a.tilde(p.To), a.paint(green, "->"), to), a.columns())
	}
}

// suggested shows the rules that would have done what a person did.
func (a *app) suggested(w io.Writer, all []organizer.Suggestion) {
	if len(all) == 0 {
		fmt.Fprintln(w, "\nThey have too little in common for a rule: none would put more files right than wrong.")
	}
	for _, s := range all {
		wrong := "none wrong"
		if s.Wrong > 0 {
			wrong = a.paint(yellow, filesText(int64(s.Wrong))+" wrong")
		}
		fmt.Fprintf(w, "\nThis rule would have put %s right, and %s:\n\n", filesText(int64(len(s.Files))), wrong)
		for line := range strings.Lines(s.Text) {
			fmt.Fprintf(w, "  %s\n", a.paint(bold, show(strings.TrimRight(line, "\n"))))
		}
	}
}

func areText(n int) string {
	if n == 1 {
		return "1 is"
	}
	return humanize.Comma(int64(n)) + " are"
}

func wereText(n int) string {
	if n == 1 {
		return "1 was"
	}
	return humanize.Comma(int64(n)) + " were"
}

// chooseSuggestions asks which of the rules to add.
func (a *app) chooseSuggestions(all []organizer.Suggestion) ([]organizer.Suggestion, error) {
	in := bufio.NewReader(oneByte{a.in})
	var taken []organizer.Suggestion
	for _, s := range all {
		fmt.Fprintf(a.err, "Add the rule %s (%s)? [Y/n] ", show(s.Name), filesText(int64(len(s.Files))))
		line, err := in.ReadString('\n')
		if err != nil {
			fmt.Fprintln(a.err)
			return nil, errors.New("add to the rules: nobody answered, and nothing was added")
		}
		if answer := strings.ToLower(strings.TrimSpace(line)); answer == "" || answer == "y" || answer == "yes" {
			taken = append(taken, s)
		}
	}
	return taken, nil
}

// appendRules adds rules to a file whose content is source, and keeps all else of it byte by byte. They go to the end of the
// list, or above the rule that would get their files first.
func (a *app) appendRules(path string, source []byte, all []organizer.Suggestion, set *rules.Set) error {
	var texts []string
	for _, s := range all {
		texts = append(texts, s.Text)
	}
	if source == nil {
		content := []byte("# Where files belong. docs/rules.md describes the language; \"forg rules check\" finds mistakes.\nrules:\n")
		for i, text := range texts {
			if i > 0 {
				content = append(content, '\n')
			}
			content = append(content, indentLines(text, "  ")...)
		}
		if err := a.stillInOrder(path, nil, content, all); err != nil {
			return err
		}
		if err := writeNew(path, content); err != nil {
			return err
		}
		a.converse("Wrote %d %s to %s, a new file.", len(all), plural(len(all), "rule"), a.tilde(path))
		return nil
	}
	lines, err := a.firstComers(path, source, all, set)
	if err != nil {
		return err
	}
	next, err := withRules(source, texts, lines)
	if err != nil {
		return fmt.Errorf("add to the rules %s: %w; paste the rules yourself", a.tilde(path), err)
	}
	if err := a.stillInOrder(path, source, next, all); err != nil {
		return err
	}
	if err := replaceFile(path, source, next); err != nil {
		return fmt.Errorf("add to the rules: %w", err)
	}
	a.converse("Added %d %s to %s; the version before is %s~.", len(all), plural(len(all), "rule"), a.tilde(path), a.tilde(path))
	return nil
}

// converse says what was done, beside the answer.
func (a *app) converse(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// firstComers are the lines of the rules that would get the files of each suggestion first, 0 where none would.
func (a *app) firstComers(path string, source []byte, all []organizer.Suggestion, set *rules.Set) ([]int, error) {
	r, err := rules.Parse(a.tilde(path), source, a.ruleOptions())
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	r.Resolve(func(path string) (string, error) {
		real, err := organizer.ResolveDir(filepath.FromSlash(path))
		return filepath.ToSlash(real), err
	})
	lines := make([]int, len(all))
	for i := range all {
		for k := range all[i].Files {
			rule := organizer.Takes(r, &all[i].Files[k], set)
			if rule != nil && (lines[i] == 0 || rule.Line < lines[i]) {
				lines[i] = rule.Line
			}
		}
	}
	return lines, nil
}

// stillInOrder makes sure that next is source with the rules of all and nothing else.
func (a *app) stillInOrder(path string, source, next []byte, all []organizer.Suggestion) error {
	var want []string
	if source != nil {
		r, err := rules.Parse(a.tilde(path), source, a.ruleOptions())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		want = ruleNames(r)
	}
	r, err := rules.Parse(a.tilde(path), next, a.ruleOptions())
	if problems, ok := errors.AsType[rules.Errors](err); ok {
		return fmt.Errorf("add to the rules %s: %s; paste the rules where they belong", a.tilde(path), problems[0].Message)
	}
	if err != nil {
		return err
	}
	got := slices.DeleteFunc(ruleNames(r), func(name string) bool {
		return slices.ContainsFunc(all, func(s organizer.Suggestion) bool { return s.Name == name })
	})
	if len(r.All()) != len(want)+len(all) || !slices.Equal(want, got) {
		return fmt.Errorf("add to the rules %s: its form is too unusual to add to; paste the rules yourself", a.tilde(path))
	}
	return nil
}

func ruleNames(r *rules.Rules) []string {
	var names []string
	for _, rule := range r.All() {
		names = append(names, rule.Name)
	}
	return names
}

func indentLines(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

// withRules returns the text of a rules file with more items in its list of rules: each above the item that begins in the
// line of lines, or at the end of the list where that is 0.
func withRules(source []byte, items []string, lines []int) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(source, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is no list of rules")
	}
	starts := []int{0} // of lines
	for i, c := range source {
		if c == '\n' && i+1 < len(source) {
			starts = append(starts, i+1)
		}
	}
	top := doc.Content[0].Content
	end := len(starts) + 1
	var list *yaml.Node
	for i := 0; i+1 < len(top); i += 2 {
		if top[i].Value == "rules" {
			list = top[i+1]
			if i+2 < len(top) {
				end = top[i+2].Line
			}
		}
	}
	if list == nil || list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || len(list.Content) == 0 {
		return nil, errors.New("its rules are not a list with one rule below the other")
	}
	text := func(line int) string {
		stop := len(source)
		if line < len(starts) {
			stop = starts[line]
		}
		return strings.TrimRight(string(source[starts[line-1]:stop]), " \t\r\n")
	}
	// What follows the list, and the comments above that, stay behind it. A comment right above a rule is the rule's.
	for end > 1 && (text(end-1) == "" || text(end - 1)[0] == '#') {
		end--
	}
	insert := map[int][]string{}
	for i, item := range items {
		at := end
		if lines[i] > 0 {
			at = lines[i]
			for at > 1 && strings.HasPrefix(strings.TrimLeft(text(at-1), " "), "#") {
				at--
			}
		}
		insert[at] = append(insert[at], indentLines(item, strings.Repeat(" ", list.Column-1)))
	}
	var b strings.Builder
	for line := 1; line <= len(starts)+1; line++ {
		for _, item := range insert[line] {
			if line < end {
				b.WriteString(item + "\n")
			} else {
				if line > len(starts) && source[len(source)-1] != '\n' {
					b.WriteByte('\n')
				}
				b.WriteString("\n" + item)
			}
		}
		if line <= len(starts) {
			stop := len(source)
			if line < len(starts) {
				stop = starts[line]
			}
			b.Write(source[starts[line-1]:stop])
		}
	}
	return []byte(b.String()), nil
}

// replaceFile gives a file whose content was old the content new, whole or not at all, and keeps the old one beside it.
func replaceFile(path string, old, new []byte) error {
	path, err := filepath.EvalSymlinks(path) // a link to a file in a repository of settings stays one
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	write := func(to string, content []byte) error {
		f, err := os.CreateTemp(filepath.Dir(path), ".forg-rules-*")
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		err = errors.Join(err, f.Chmod(st.Mode().Perm()), f.Sync(), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), to)
		}
		if err != nil {
			os.Remove(f.Name())
		}
		return err
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		return errors.Join(err, fmt.Errorf("%s was changed meanwhile", path))
	}
	if err := write(path+"~", old); err != nil {
		return fmt.Errorf("keep the version before: %w", err)
	}
	return write(path, new)
}
