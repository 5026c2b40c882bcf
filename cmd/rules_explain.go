package cmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"forg/journal"
	"forg/organizer"
	"forg/rules"
)

func (a *app) rulesExplainCmd() *cobra.Command {
	var file, root string
	var tags, skip []string
	c := &cobra.Command{
		Use: "explain FILE...", Short: "Show where a file would go, and why",
		Long: help(`Shows for each FILE where the rules would put it, and rule by rule and condition by condition how they come to that.
The place is that of the plan: a name that is taken is another one here too. A file that is left alone before any rule
is asked (hidden, still being downloaded, put back by an undo) is told apart, with what the rules would say of it.

The file is taken as reached from the location that holds it, as by "forg organize". Where no location holds it, or
the rules name none, it is taken as reached from its own folder, or from --root. Nothing is changed.`,
			exitHead+"  3    done except for the files named on standard error\n  130  interrupted; 143 when terminated"),
		Example: `  forg rules explain ~/Downloads/scan.pdf
  forg rules explain -v ~/Downloads/*.pdf             rules too that were not asked
  forg rules explain --rules photos.yaml --root ~/Pictures ~/Pictures/2024/img.jpg`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, files []string) error {
			path, err := a.rulesArg([]string{file})
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
			f, err := a.organizeDefaults(c)
			if err != nil {
				return err
			}
			r.Rules = r.Select(tags, skip) // what runs only when asked for does not run otherwise
			return a.explain(c.Context(), r, f, root, files)
		},
	}
	fl := c.Flags()
	fl.StringVar(&file, "rules", "", "the rules `file` (default $XDG_CONFIG_HOME/forg/rules.yaml)")
	fl.StringVar(&root, "root", "", "take the files as reached from this `dir`, as by \"forg organize --rules FILE DIR\"")
	fl.StringSliceVar(&tags, "tags", nil, "ask only the rules with one of these `tags`")
	fl.StringSliceVar(&skip, "skip-tags", nil, "leave out the rules with one of these `tags`")
	return c
}

// organizeDefaults are the flags of an organize that is given none: configuration and environment count.
func (a *app) organizeDefaults(c *cobra.Command) (*organizeFlags, error) {
	o, _, err := c.Root().Find([]string{"organize"})
	if err != nil {
		return nil, err
	}
	if err := a.configure(o); err != nil {
		return nil, err
	}
	f := &organizeFlags{by: []string{string(organizer.ByCategory)}}
	fl := o.Flags()
	var errs []error
	get := func(err error) { errs = append(errs, err) }
	for name, to := range map[string]*bool{"recursive": &f.recursive, "hidden": &f.hidden, "inside-projects": &f.project, "again": &f.again, "copy": &f.copy} {
		*to, err = fl.GetBool(name)
		get(err)
	}
	for name, to := range map[string]*[]string{"include": &f.include, "exclude": &f.exclude} {
		*to, err = fl.GetStringSlice(name)
		get(err)
	}
	f.minAge, err = fl.GetDuration("min-age")
	get(err)
	for name, to := range map[string]*string{"into": &f.into, "on-conflict": &f.conflict, "duplicates": &f.duplicates, "detect": &f.detect, "undated": &f.undated} {
		*to = fl.Lookup(name).Value.String()
	}
	return f, errors.Join(errs...)
}

// planByRules plans root as "forg organize -n" would, and explains paths.
func (a *app) planByRules(ctx context.Context, r *rulesFile, f *organizeFlags, root string, paths []string) (*organizer.Plan, []organizer.Explanation, error) {
	opt, err := f.options()
	if err != nil {
		return nil, nil, err
	}
	into, err := resolveInto(f.into)
	if err != nil {
		return nil, nil, err
	}
	bar := a.newProgress()
	defer bar.done()
	set := rules.Builtin()
	look := *f
	look.dryRun = true
	o := &organizing{app: a, flags: &look, opt: opt, set: set, roots: []string{root}, into: into, ruled: r}
	o.byRules()
	opt = o.opt
	var done func()
	opt.Metadata, done = a.readMetadata(opt.Rules)
	defer done()
	tree, err := o.scanTrees(ctx, o.roots, opt, bar)
	if err != nil {
		return nil, nil, err
	}
	opt.Now, opt.Trash, opt.Busy, opt.Progress = a.now(), a.findTrash(), organizer.Busy(tree.Roots), bar.plan
	if !f.again && !f.copy {
		j, err := a.read(ctx)
		switch {
		case err == nil:
			defer j.Close()
			if opt.Undone, err = organizer.UndoneFiles(ctx, j, tree.Roots); err != nil {
				return nil, nil, err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, err
		}
	}
	return organizer.Explain(ctx, tree, paths, set, opt)
}

func (a *app) explain(ctx context.Context, r *rulesFile, f *organizeFlags, root string, files []string) error {
	if root != "" {
		real, err := organizer.ResolveDir(root)
		if err != nil {
			return err
		}
		root = real
	} else {
		for _, err := range r.gone {
			a.warn("Note: %v", err)
		}
	}
	r.gone = nil // said once
	groups, failed, err := a.explained(r, root, files)
	if err != nil {
		return err
	}
	var o *object
	if a.json {
		o = newObject(a.out)
		o.array("files")
	}
	first := true
	for _, g := range groups {
		plan, all, err := a.planByRules(ctx, r, f, g.root, g.paths)
		if err != nil {
			return err
		}
		for i := range all {
			if o != nil {
				o.item(explanationJSON(plan, &all[i], g.root))
				continue
			}
			if !first {
				fmt.Fprintln(a.out)
			}
			first = false
			if err := a.explainOne(plan, &all[i], r, g.root); err != nil {
				return err
			}
		}
	}
	if o != nil {
		o.end()
		o.field("errors", problemsJSON(failed))
		if err := o.close(); err != nil {
			return err
		}
	}
	for _, p := range failed {
		a.complain(p.Err)
	}
	switch {
	case len(failed) == len(files):
		return &exitError{code: exitFailed}
	case len(failed) > 0:
		return &exitError{code: exitPartial}
	}
	return nil
}

// explainedTree is files to explain, all below one root.
type explainedTree struct {
	root  string
	paths []string
}

// explained are the files to explain by the folder whose rules decide, which is root unless that is "", and those that cannot
// be looked at.
func (a *app) explained(r *rulesFile, root string, files []string) (groups []explainedTree, failed []organizer.Problem, err error) {
	for _, name := range files {
		path, err := filepath.Abs(name)
		if err == nil {
			if _, err = os.Lstat(path); err != nil {
				err = fmt.Errorf("explain %s: %w", name, errors.Unwrap(err))
			}
		}
		var dir string
		if err == nil {
			dir, err = organizer.ResolveDir(filepath.Dir(path))
		}
		if err != nil {
			failed = append(failed, organizer.Problem{Path: path, Err: err})
			continue
		}
		from := root
		if from == "" {
			from = r.rootFor(dir)
		} else if !organizer.Within(dir, root) {
			return nil, nil, usage("%s is not below --root %s", name, a.tilde(root))
		}
		i := slices.IndexFunc(groups, func(g explainedTree) bool { return g.root == from })
		if i < 0 {
			i, groups = len(groups), append(groups, explainedTree{root: from})
		}
		groups[i].paths = append(groups[i].paths, filepath.Join(dir, filepath.Base(path)))
	}
	return groups, failed, nil
}

// rootFor is the folder from which an organize would come to dir: the nearest location that rules look into dir from, or
// dir itself.
func (r *rulesFile) rootFor(dir string) string {
	best := ""
	for _, l := range r.Locations() {
		path := filepath.FromSlash(l.Path)
		if organizer.Within(dir, path) && len(path) > len(best) && !r.Scope(l.Path, filepath.ToSlash(dir), false).Empty() {
			best = path
		}
	}
	if best == "" {
		return dir
	}
	return best
}

// explainOne says where a file goes, then why.
func (a *app) explainOne(plan *organizer.Plan, e *organizer.Explanation, r *rulesFile, root string) error {
	w := bufio.NewWriter(a.out)
	width := a.columns()
	size := ""
	if st, err := os.Lstat(e.Path); err == nil && st.Mode().IsRegular() {
		size = a.paint(dim, "  "+bytesText(st.Size()))
	}
	fmt.Fprintln(w, a.paint(bold, a.tilde(e.Path))+size)
	if !slices.ContainsFunc(r.Locations(), func(l rules.Location) bool { return filepath.FromSlash(l.Path) == root }) {
		fill(w, "  ", a.paint(dim, "as by forg organize --rules "+a.tilde(r.path)+" "+a.tilde(root)), width)
	}
	for _, line := range a.outcome(plan, e) {
		fill(w, "  ", line, width)
	}
	if len(e.Traces) > 0 {
		if e.Before {
			fmt.Fprintln(w, "\n  "+a.paint(dim, "No rule is asked. This is what they would say:"))
		} else {
			fmt.Fprintln(w)
		}
		a.traces(w, e.Traces, "  ")
	}
	return w.Flush()
}

// outcome says what becomes of a file, in a few lines.
func (a *app) outcome(plan *organizer.Plan, e *organizer.Explanation) []string {
	var lines []string
	place := func(m *organizer.Move) {
		to := plan.Target(m)
		text, note := "", plan.Note(m)
		switch {
		case m.Action == journal.Trash:
			text = "goes to the trash"
		case m.Action == journal.Rename || m.Action == journal.Move:
			text = "goes to " + a.paint(green, a.tilde(to))
		case m.Action == journal.Tag || m.Action == journal.Exec:
			text = show(note)
		default:
			text = fmt.Sprintf("%s: %s", show(note), a.paint(green, a.tilde(to)))
		}
		if label := plan.Labels[m.Label]; label != "" {
			text += fmt.Sprintf("  by the rule %s", a.paint(bold, show(label)))
		}
		lines = append(lines, text)
		if name := plan.Name(m); m.Action == journal.Rename || m.Action == journal.Move || m.Action == journal.Copy {
			if wanted := wantedName(e, name); wanted != "" {
				lines = append(lines, a.paint(yellow, show(fmt.Sprintf("because %s is taken there", wanted))))
			}
		}
	}
	for _, m := range e.Moves {
		place(m)
	}
	if e.Of != "" {
		lines = append(lines, "because it belongs to "+a.tilde(e.Of)+" and goes where that goes")
	}
	for _, s := range plan.Said {
		if s.Path == e.Path {
			lines = append(lines, "says: "+showText(s.Text))
		}
	}
	for _, p := range plan.Problems {
		if p.Path == e.Path {
			lines = append(lines, a.paint(red, "cannot be done: "+show(p.Err.Error())))
		}
	}
	matched := slices.ContainsFunc(e.Traces, func(t rules.Trace) bool { return len(t.Steps) > 0 })
	switch {
	case e.Folder != "":
		lines = append(lines, a.paint(yellow, "stays")+": "+a.tilde(e.Folder)+" is left alone with all that is in it ("+e.Left.String()+")")
	case e.Left == organizer.LeftUnmatched || !matched && len(lines) == 0 && e.Left == organizer.NotLeft:
		text := a.paint(yellow, "stays") + ": no rule matches"
		if n := unknownRules(e.Traces); n > 0 {
			text += fmt.Sprintf("; of %d %s it cannot be told", n, plural(n, "rule"))
		}
		lines = append(lines, text)
	case e.Left == organizer.LeftUndone:
		lines = append(lines, a.paint(yellow, "stays")+": an undo has put it back (forg organize --again takes it)")
	case e.Left != organizer.NotLeft:
		lines = append(lines, a.paint(yellow, "stays")+": "+e.Left.String())
	case len(lines) == 0:
		lines = append(lines, a.paint(yellow, "stays")+": it is where the rules want it")
	}
	return lines
}

func unknownRules(traces []rules.Trace) int {
	n := 0
	for _, t := range traces {
		if t.Verdict == rules.Unsure && !t.Skipped {
			n++
		}
	}
	return n
}

// wantedName is the name that the rules gave, if the plan had to give it another one.
func wantedName(e *organizer.Explanation, got string) string {
	name := filepath.Base(e.Path)
	for _, t := range e.Traces {
		for _, s := range t.Steps {
			switch {
			case s.Kind == rules.Rename:
				name = s.To
			case (s.Kind == rules.Move || s.Kind == rules.Copy) && !s.Folder:
				name = s.To[strings.LastIndexByte(s.To, '/')+1:]
			default:
				continue
			}
			if s.Counted {
				return ""
			}
		}
	}
	if e.Of != "" || name == got {
		return ""
	}
	return name
}

// traces shows how rules came to their verdicts, each line below indent. Of a rule that does not match it shows what kept it
// from that, and rules that were not asked it only names; verbose shows all.
func (a *app) traces(w io.Writer, traces []rules.Trace, indent string) {
	width := a.columns()
	var few []string // names of rules in a row that have the same to say
	why := ""
	flush := func() {
		if len(few) > 0 {
			fill(w, indent+a.verdict("-"), a.paint(dim, show(strings.Join(few, ", "))), width)
			fill(w, indent+"         ", a.paint(dim, show(a.tildeIn(why))), width)
		}
		few = nil
	}
	for i := range traces {
		t := &traces[i]
		name := t.Rule.Name
		if asked := len(t.Conditions) > 0 || len(t.Steps) > 0 || t.Verdict != rules.No; t.Skipped || !asked {
			if t.Skipped && t.Verdict == rules.Yes {
				name += " (would match)"
			}
			if why != t.Why {
				flush()
			}
			why, few = t.Why, append(few, name)
			if !a.verbose || !t.Skipped {
				continue
			}
		}
		flush()
		line := a.paint(dim, fmt.Sprintf("  line %d", t.Rule.Line))
		if !t.Skipped {
			fmt.Fprintf(w, "%s%s%s%s\n", indent, a.verdict(t.Verdict.String()), a.paint(bold, show(name)), line)
		}
		for _, c := range shownConditions(t, a.verbose) {
			a.condition(w, c, indent+"         ", width)
		}
		if t.Skipped {
			continue
		}
		if t.Why != "" && !slices.ContainsFunc(t.Conditions, func(c rules.ConditionTrace) bool { return c.Err != nil }) {
			fill(w, indent+"         ", show(a.tildeIn(t.Why)), width)
		}
		if t.Verdict != rules.Yes {
			continue
		}
		for k := range t.Rule.Actions {
			fill(w, indent+"         "+a.paint(green, fmt.Sprintf("%-9s", "->")), show(t.Rule.Actions[k].Text), width)
		}
		if t.Rule.Continue {
			fmt.Fprintf(w, "%s         %s\n", indent, a.paint(dim, "later rules are asked too (continue: true)"))
		}
	}
	flush()
}

// shownConditions are the conditions of a rule that a person wants to see: without the "all" that is around those of every
// rule and, if the rule does not match, without those that are not to blame.
func shownConditions(t *rules.Trace, verbose bool) []rules.ConditionTrace {
	all := slices.Clone(t.Conditions)
	if len(all) == 0 || all[0].Text != "all" || slices.ContainsFunc(all[1:], func(c rules.ConditionTrace) bool { return c.Depth == 0 }) {
		return all
	}
	all = all[1:]
	keep := true
	return slices.DeleteFunc(all, func(c rules.ConditionTrace) bool {
		if c.Depth == 1 {
			keep = verbose || t.Verdict == rules.Yes || c.Verdict != rules.Yes
		}
		return !keep
	})
}

var groupText = map[string]string{"all": "all of these", "any": "one of these", "none": "none of these", "not": "not"}

// condition shows what one condition says, on one line if the terminal is wide enough for it, or for its beginning.
func (a *app) condition(w io.Writer, c rules.ConditionTrace, indent string, width int) {
	head := indent + strings.Repeat("  ", max(c.Depth-1, 0)) + a.verdict(c.Verdict.String())
	text, why := show(cmp.Or(groupText[c.Text], c.Text)), show(a.tildeIn(c.Why))
	if why == "" {
		fill(w, head, text, width)
		return
	}
	why = a.paint(dim, why)
	free := width - textWidth(head) - 2 - textWidth(why)
	if width > 0 && !a.verbose && textWidth(text) > free && free >= 24 {
		text = ansi.Truncate(text, free, "...")
	}
	if width <= 0 || textWidth(text) <= free {
		fmt.Fprintf(w, "%s%s  %s\n", head, text, why)
		return
	}
	if !a.verbose {
		text = ansi.Truncate(text, max(width-textWidth(head), 24), "...")
	}
	fill(w, head, text, width)
	fill(w, strings.Repeat(" ", textWidth(head)), why, width)
}

// verdict is a column with the word for what a condition says.
func (a *app) verdict(word string) string {
	s := map[string]style{"yes": green, "no": red, "unknown": yellow}[word]
	if s == "" {
		s = dim
	}
	return a.paint(s, fmt.Sprintf("%-9s", word))
}

type jsonTrace struct {
	Rule       string          `json:"rule"`
	Line       int             `json:"line"`
	Verdict    string          `json:"verdict"`
	Skipped    bool            `json:"skipped"`
	Why        string          `json:"why,omitempty"`
	Conditions []jsonCondition `json:"conditions"`
	Steps      []jsonStep      `json:"steps"`
}

type jsonCondition struct {
	Depth   int    `json:"depth"`
	Text    string `json:"text"`
	Line    int    `json:"line"`
	Verdict string `json:"verdict"`
	Why     string `json:"why,omitempty"`
	Error   string `json:"error,omitempty"`
}

type jsonStep struct {
	Action string   `json:"action"`
	To     string   `json:"to,omitempty"` // as the rule has it
	Text   string   `json:"text,omitempty"`
	Argv   []string `json:"argv,omitempty"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

func tracesJSON(traces []rules.Trace) []jsonTrace {
	out := make([]jsonTrace, len(traces))
	for i, t := range traces {
		j := jsonTrace{Rule: t.Rule.Name, Line: t.Rule.Line, Verdict: t.Verdict.String(), Skipped: t.Skipped, Why: t.Why,
			Conditions: make([]jsonCondition, len(t.Conditions)), Steps: make([]jsonStep, len(t.Steps))}
		for k, c := range t.Conditions {
			j.Conditions[k] = jsonCondition{Depth: c.Depth, Text: c.Text, Line: c.Line, Verdict: c.Verdict.String(), Why: c.Why}
			if c.Err != nil {
				j.Conditions[k].Error = c.Err.Error()
			}
		}
		for k, s := range t.Steps {
			to := s.To
			if s.Folder && !strings.HasSuffix(to, "/") {
				to += "/"
			}
			j.Steps[k] = jsonStep{s.Kind.String(), to, s.Text, s.Argv, s.Add, s.Remove}
		}
		out[i] = j
	}
	return out
}

type jsonExplanation struct {
	Path      string      `json:"path"`
	PathBytes []byte      `json:"path_bytes,omitempty"`
	Root      string      `json:"root"`
	Left      string      `json:"left,omitempty"`   // why it stays
	Before    bool        `json:"before"`           // no rule is asked
	Folder    string      `json:"folder,omitempty"` // the folder above that is left alone with all that is in it
	Of        string      `json:"of,omitempty"`     // the file that it goes with
	Moves     []jsonMove  `json:"moves"`
	Rules     []jsonTrace `json:"rules"`
	Errors    []string    `json:"errors"`
}

func explanationJSON(plan *organizer.Plan, e *organizer.Explanation, root string) jsonExplanation {
	j := jsonExplanation{Root: root, Left: e.Left.String(), Before: e.Before, Folder: e.Folder, Of: e.Of, Moves: []jsonMove{}, Rules: tracesJSON(e.Traces),
		Errors: []string{}}
	j.Path, j.PathBytes = organizer.ExactPath(e.Path)
	for _, m := range e.Moves {
		label := plan.Labels[m.Label]
		move := moveJSON(plan.Tree.Path(plan.Source(m)), plan.Target(m), label, m.Action, plan.Tree.File(m.File).Size)
		move.Rule = label
		j.Moves = append(j.Moves, move)
	}
	for _, p := range plan.Problems {
		if p.Path == e.Path {
			j.Errors = append(j.Errors, p.Err.Error())
		}
	}
	return j
}

// tildeIn shortens the paths in a text for people.
func (a *app) tildeIn(text string) string {
	home, err := a.home()
	if err != nil || home == "/" {
		return text
	}
	return strings.ReplaceAll(text, filepath.ToSlash(home)+"/", "~/")
}
