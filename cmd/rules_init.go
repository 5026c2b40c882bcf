package cmd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"forg/journal"
	"forg/rules"
)

func (a *app) rulesInitCmd() *cobra.Command {
	var print bool
	var output string
	c := &cobra.Command{
		Use: "init [PATH]", Short: "Look at a folder and write rules that fit it",
		Long: help(`Looks at the files directly in PATH (default ~/Downloads) and proposes the rules that match something there, each with
what it would do: "214 files -> Pictures/Screenshots/2026". On a terminal you choose among them; without one all are
taken but those that put files into the trash or take all the rest, which are written as comments.

The rules go to the rules file, which must not exist yet, or to --output. Only the file is written: what the rules do
is shown by "forg organize -n" and done by "forg organize".`, exitUsageText),
		Example: `  forg rules init
  forg rules init ~/Desktop --print            only show the file
  forg rules init ~/Desktop --output desktop.yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			if print && output != "" {
				return usage("--print writes no file and --output does: give one of them")
			}
			return a.rulesInit(c, given, print, output)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&print, "print", false, "print the rules instead of writing a file")
	fl.StringVarP(&output, "output", "o", "", "write the rules to `file` (default $XDG_CONFIG_HOME/forg/rules.yaml)")
	return c
}

// A proposal is a starter rule with what it would do in the folder.
type proposal struct {
	rules.Starter
	files, bytes int64
	folders      []string // where the files go, the fullest first
	taken        bool
}

func (a *app) rulesInit(c *cobra.Command, given []string, print bool, output string) error {
	ctx := c.Context()
	path := output
	if path == "" && !print {
		var err error
		if path, err = a.rulesPath(); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(path); path != "" && err == nil {
		return fmt.Errorf("write rules: %s exists, and forg overwrites nothing; --print shows the proposal, --output FILE writes it elsewhere", a.tilde(path))
	}
	f, err := a.organizeDefaults(c)
	if err != nil {
		return err
	}
	root, err := a.initRoot(given, f)
	if err != nil {
		return err
	}
	location, err := a.locationFor(root)
	if err != nil {
		return err
	}
	all := make([]proposal, 0, len(rules.Starters()))
	for _, s := range rules.Starters() {
		all = append(all, proposal{Starter: s})
	}
	// Rules are counted as they would run: an earlier one leaves the later ones less. So those that ask are counted apart.
	if _, err := a.count(ctx, root, location, f, all, func(p *proposal) bool { return true }); err != nil {
		return err
	}
	if _, err := a.count(ctx, root, location, f, all, func(p *proposal) bool { return !p.Ask }); err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(p proposal) bool { return p.files > 0 }) {
		return fmt.Errorf("write rules: no rule matches a file in %s; docs/rules.md shows how to write your own", a.tilde(root))
	}
	all = slices.DeleteFunc(all, func(p proposal) bool { return p.files == 0 && !p.Ask })
	for i := range all {
		all[i].taken = !all[i].Ask
	}
	if a.inTTY && a.errTTY && !print && !a.json {
		if err := a.choose(root, all); err != nil {
			return err
		}
	}
	chosen := func(p *proposal) bool { return p.taken }
	if !slices.ContainsFunc(all, func(p proposal) bool { return p.taken }) {
		return fmt.Errorf("write rules: none was taken for %s, and nothing was written", a.tilde(root))
	}
	total, err := a.count(ctx, root, location, f, all, chosen)
	if err != nil {
		return err
	}
	source := a.starterFile(location, all)
	if _, err := rules.Parse("the proposed rules", source, a.ruleOptions()); err != nil {
		return fmt.Errorf("write rules for %s: %w", a.tilde(root), err)
	}
	if print && !a.json {
		_, err := a.out.Write(source)
		return err
	}
	if !print {
		if err := writeNew(path, source); err != nil {
			return err
		}
	}
	if a.json {
		return a.initJSON(root, path, all, source)
	}
	a.initReport(root, path, all, total)
	return nil
}

// initRoot is the folder that rules are proposed for.
func (a *app) initRoot(given []string, f *organizeFlags) (string, error) {
	dir := ""
	if len(given) > 0 {
		dir = given[0]
	} else {
		home, err := a.home()
		if err != nil {
			return "", usage("give the folder that the rules are for")
		}
		dir = filepath.Join(home, "Downloads")
		if _, err := os.Stat(dir); err != nil {
			return "", usage("there is no folder %s; give the folder that the rules are for", a.tilde(dir))
		}
	}
	roots, err := a.resolveRoots([]string{dir}, f)
	if err != nil {
		return "", err
	}
	return roots[0], nil
}

// locationFor is how a rules file names a folder.
func (a *app) locationFor(dir string) (string, error) {
	home, err := a.home()
	if err == nil {
		if real, err := filepath.EvalSymlinks(home); err == nil {
			home = real
		}
		if rel, err := filepath.Rel(home, dir); err == nil && filepath.IsLocal(rel) && home != "/" {
			return strings.TrimSuffix("~/"+filepath.ToSlash(rel), "/."), nil
		}
	}
	return filepath.ToSlash(dir), nil
}

// count plans root by the rules that take accepts, and notes what each of them would do.
func (a *app) count(ctx context.Context, root, location string, f *organizeFlags, all []proposal, take func(*proposal) bool) (int64, error) {
	var text strings.Builder
	text.WriteString("rules:\n")
	any := false
	for i := range all {
		if take(&all[i]) {
			text.WriteString(all[i].In(location))
			any = true
		}
	}
	if !any {
		return 0, nil
	}
	r, err := rules.Parse("the proposed rules", []byte(text.String()), a.ruleOptions())
	if err != nil {
		return 0, fmt.Errorf("propose rules for %s: %w", a.tilde(root), err)
	}
	file := &rulesFile{Rules: r}
	file.gone = r.Resolve(func(string) (string, error) { return filepath.ToSlash(root), nil })
	plan, _, err := a.planByRules(ctx, file, f, root, nil)
	if err != nil {
		return 0, err
	}
	folders := map[string]map[string]int64{}
	files, bytes := map[string]int64{}, map[string]int64{}
	for i := range plan.Moves {
		m := &plan.Moves[i]
		if plan.Aside(m) {
			continue
		}
		label := plan.Labels[m.Label]
		files[label]++
		bytes[label] += plan.Tree.File(m.File).Size
		where := relative(root, plan.Folders[m.To].Path)
		if m.Action == journal.Trash {
			where = "the trash"
		}
		if folders[label] == nil {
			folders[label] = map[string]int64{}
		}
		folders[label][where]++
	}
	for i := range all {
		p := &all[i]
		if !take(p) {
			continue
		}
		p.files, p.bytes, p.folders = files[p.Name], bytes[p.Name], nil
		for where := range folders[p.Name] {
			p.folders = append(p.folders, filepath.ToSlash(where))
		}
		in := folders[p.Name]
		slices.SortFunc(p.folders, func(x, y string) int {
			return cmp.Or(cmp.Compare(in[filepath.FromSlash(y)], in[filepath.FromSlash(x)]), cmp.Compare(x, y))
		})
	}
	return plan.Files(), nil
}

// where names the folders of a proposal, the fullest first.
func (p *proposal) where() string {
	const named = 2
	text := strings.Join(p.folders[:min(len(p.folders), named)], ", ")
	if more := len(p.folders) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (p *proposal) what() string {
	if p.Name == "Empty folders" {
		return humanize.Comma(p.files) + " " + plural(int(p.files), "folder")
	}
	return filesText(p.files) + ", " + bytesText(p.bytes)
}

// choose asks about each proposal that would do something.
func (a *app) choose(root string, all []proposal) error {
	fmt.Fprintf(a.err, "Rules that fit %s. Answer y to take one, n to leave it out,\na to take all that follow and q to take none of them.\n\n", a.tilde(root))
	in := bufio.NewReader(oneByte{a.in})
	rest := ""
	for i := range all {
		p := &all[i]
		if p.files == 0 {
			continue
		}
		name := p.Name
		if a.colored(a.errTTY) {
			name = string(bold) + name + "\x1b[0m"
		}
		fill(a.err, fmt.Sprintf("%s  %s -> ", name, p.what()), show(p.where()), a.columns())
		for rest == "" {
			hint := "[Y/n/a/q]"
			if p.Ask {
				hint = "[y/N/a/q]"
			}
			fmt.Fprintf(a.err, "  take it? %s ", hint)
			line, err := in.ReadString('\n')
			if err != nil {
				fmt.Fprintln(a.err)
				return errors.New("write rules: nobody answered, and nothing was written")
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "":
			case "y", "yes":
				p.taken = true
			case "n", "no":
				p.taken = false
			case "a", "all":
				rest = "a"
			case "q", "quit", "none":
				rest = "q"
			default:
				continue
			}
			break
		}
		switch rest {
		case "a": // all that are safe: what asks is still asked for by its own yes
			p.taken = !p.Ask
		case "q":
			p.taken = false
		}
	}
	fmt.Fprintln(a.err)
	return nil
}

// starterFile is the rules file of what was taken.
func (a *app) starterFile(location string, all []proposal) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Where the files of %s belong. "forg rules init" has proposed this on %s; change it as you like.
#
#   forg organize -n            shows what these rules would do, and changes nothing
#   forg organize               does it; "forg undo" takes it back
#   forg rules explain FILE     says where a file would go, and why
#   forg rules check            finds mistakes
#
# The rules are asked in this order, and the first one that matches a file decides. A destination like "Books/" is below
# the folder itself; "~/Books/" is in your home folder. docs/rules.md describes all there is.
rules:
`, location, a.now().Format("2006-01-02"))
	first := true
	for i := range all {
		if all[i].taken {
			if !first {
				b.WriteByte('\n')
			}
			first = false
			b.WriteString(all[i].In(location))
		}
	}
	var rest []string
	for i := range all {
		if !all[i].taken && all[i].Ask {
			rest = append(rest, all[i].In(location))
		}
	}
	if len(rest) > 0 {
		b.WriteString("\n# These were not taken. Without the # at the start of their lines they count; their place among the others matters.\n")
		for _, text := range rest {
			b.WriteString("#\n")
			for line := range strings.Lines(text) {
				b.WriteString("#" + line)
			}
		}
	}
	fmt.Fprint(&b, "\n# Each test is a file, what is known of it, and where it must go; \"forg rules test\" runs them.\n#\n# tests:\n"+
		"#   - {file: example.epub, to: Books/}\n#   - {file: example.unknown, to: null}\n")
	return b.Bytes()
}

// writeNew writes a file that must not exist, and the folder for it.
func writeNew(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write rules: %s exists, and forg overwrites nothing", path)
	}
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write rules %s: %w", path, err)
	}
	return nil
}

func (a *app) initReport(root, path string, all []proposal, total int64) {
	if a.quiet {
		return
	}
	w := bufio.NewWriter(a.out)
	defer w.Flush()
	taken, width := 0, 0
	for i := range all {
		if all[i].taken {
			taken++
			width = max(width, len(all[i].Name))
		}
	}
	for i := range all {
		if p := &all[i]; p.taken {
			fill(w, fmt.Sprintf("  %s  %6s -> ", a.paint(bold, fmt.Sprintf("%-*s", width, p.Name)), humanize.Comma(p.files)), show(p.where()), a.columns())
		}
	}
	fmt.Fprintf(w, "\nWrote %d %s for %s to %s.\n", taken, plural(taken, "rule"), a.tilde(root), a.tilde(path))
	try, do := "forg organize -n", "forg organize"
	if usual, err := a.rulesPath(); err != nil || usual != path {
		do = "forg organize --rules " + a.tilde(path)
		try = strings.Replace(do, "organize", "organize -n", 1)
	}
	fmt.Fprintf(w, "Look what they would do with %s: %s\nThen let them do it: %s\n", filesText(total), a.paint(bold, try), a.paint(bold, do))
}

func (a *app) initJSON(root, path string, all []proposal, source []byte) error {
	o := newObject(a.out)
	o.field("root", root)
	if path == "" {
		o.field("file", nil)
	} else {
		o.field("file", path)
	}
	o.array("rules")
	for i := range all {
		p := &all[i]
		o.item(struct {
			Name    string   `json:"name"`
			Taken   bool     `json:"taken"`
			Files   int64    `json:"files"`
			Bytes   int64    `json:"bytes"`
			Folders []string `json:"folders"`
		}{p.Name, p.taken, p.files, p.bytes, append([]string{}, p.folders...)})
	}
	o.end()
	o.field("source", string(source))
	return o.close()
}
