package cmd

import (
	"bufio"
	"bytes"
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
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/organizer"
	"forg/rules"
)

// organizeFlags is what the command line says, decoded once.
type organizeFlags struct {
	dryRun, recursive, copy, hidden, interactive, prune, again, verify, project bool

	by         []string
	into       string
	conflict   string
	duplicates string
	detect     string
	undated    string
	minAge     time.Duration
	include    []string
	exclude    []string
	planOut    string
	from0      string
	maxFiles   int64
	maxBytes   string
	wait       time.Duration
	rules      string
	tags       []string
	skipTags   []string
	afar       afarFlags // of organize only
}

func (a *app) organizeCmd() *cobra.Command {
	var f organizeFlags
	c := &cobra.Command{
		Use: "organize [PATH...]", Short: "Move files to where they belong",
		Long: help(`Moves the files directly in each PATH (with -r, those below it too) to folders by category, date, size and more.
Every move is in the journal before it is made; "forg undo" takes all of them back. Nothing is ever overwritten: a
file whose name is taken becomes "name (2).ext".

Without PATH, the rules of the rules file say which folders to look at and where files go; --rules takes the rules of a
file for each PATH ("forg rules --help").

Left alone: hidden files, links, unfinished downloads, files that are being written, system files and, with -r,
projects, repositories, application bundles and the folders that forg itself fills. Files that belong together
(a film and its subtitles, a raw photo and its JPEG) stay together. What an undo has put back stays there too,
unless you say --again.

With --device, another device of yours organizes a folder of its own: PATH is the name that it offers the folder under
and --rules the name of rules that it has. That needs "forg login" here and there, and "forg agent" there, which allows
it (docs/agent.md).`, exitPlanText),
		Example: `  forg organize ~/Downloads
  forg organize -n ~/Downloads                       show the plan, change nothing
  forg organize -i ~/Downloads                       review it first
  forg organize -r --by category,year --into ~/Sorted ~/Unsorted
  forg organize                                      follow the rules file
  forg organize --rules photos.yaml ~/Pictures
  forg organize --duplicates trash --exclude '*.iso' ~/Downloads
  forg organize --device laptop downloads            on another device
  find . -name '*.pdf' -print0 | forg organize --from0 - --into ~/Documents
  0 3 * * *  forg organize --quiet --wait 10m "$HOME/Downloads"     (crontab)`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, paths []string) error {
			if f.rules != "" && c.Flags().Changed("by") {
				return usage("--rules and --by both say where files go: give one of them")
			}
			if f.afar.device != "" {
				if err := f.afar.only(c, "rules"); err != nil {
					return err
				}
				rules := ""
				if c.Flags().Changed("rules") { // the file that is configured here means nothing there
					rules = f.rules
				}
				return a.serverTrouble(a.organizeAfar(c.Context(), paths, rules, &f.afar))
			}
			return a.organize(c.Context(), paths, &f)
		},
	}
	fl := c.Flags()
	f.register(fl)
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "show what would be done and change nothing")
	fl.BoolVar(&f.copy, "copy", false, "copy instead of moving")
	fl.StringVar(&f.planOut, "plan-out", "", "write the plan to `file` for \"forg apply\" and change nothing")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "review the plan before it is carried out")
	f.afar.register(fl, "organize a folder of its own")
	fl.StringVar(&f.from0, "from0", "", "take the files listed in `file` (- for standard input), separated by NUL")
	fl.DurationVar(&f.wait, "wait", 0, "wait this `time` for another forg to finish")
	return c
}

// register adds the flags that say which files go where, for every command that organizes.
func (f *organizeFlags) register(fl *pflag.FlagSet) {
	fl.BoolVarP(&f.recursive, "recursive", "r", false, "take files in subfolders too")
	fl.StringSliceVar(&f.by, "by", []string{"category"}, "sort by `keys`: category, type, extension, date, month, year, size; several make subfolders (category,year)")
	fl.StringVar(&f.rules, "rules", "", "let the rules of `file` say where files go (without PATH: default $XDG_CONFIG_HOME/forg/rules.yaml)")
	fl.StringSliceVar(&f.tags, "tags", nil, "take only the rules with one of these `tags`")
	fl.StringSliceVar(&f.skipTags, "skip-tags", nil, "leave out the rules with one of these `tags`")
	fl.StringVar(&f.into, "into", "", "destination root `dir` (default each PATH itself)")
	choiceVar(fl, &f.conflict, "on-conflict", "rename", "when the name is taken (overwritten files go to the trash)", "rename", "skip", "overwrite", "newer", "fail")
	choiceVar(fl, &f.duplicates, "duplicates", "report", "what to do with files that equal another of the run or (but for report) one at the destination", "report", "skip", "trash", "hardlink", "folder")
	choiceVar(fl, &f.detect, "detect", "auto", "tell the kind of a file by name and content, only content, or only name", "auto", "content", "extension")
	choiceVar(fl, &f.undated, "undated", "folder", "photos and videos of unknown date: to Undated, or by time of modification", "folder", "modified")
	fl.BoolVar(&f.verify, "verify", false, "read copies back from the disk before the original goes")
	fl.DurationVar(&f.minAge, "min-age", 2*time.Second, "leave files alone that changed within this `time`")
	fl.StringSliceVar(&f.include, "include", nil, "take only names (or, with a slash, paths below PATH) that match the `glob`")
	fl.StringSliceVar(&f.exclude, "exclude", nil, "leave out names or paths that match the `glob`")
	fl.BoolVar(&f.hidden, "hidden", false, "take hidden files too")
	fl.BoolVar(&f.project, "inside-projects", false, "take files in projects, repositories and bundles apart too")
	fl.BoolVar(&f.prune, "prune-empty", false, "remove folders that the run has emptied (undo makes them again)")
	fl.BoolVar(&f.again, "again", false, "take files too that an undo has put back")
	fl.Int64Var(&f.maxFiles, "max-files", 0, "refuse to move more than this `number` of files")
	fl.StringVar(&f.maxBytes, "max-bytes", "", "refuse to move more than this `size` (500MB, 2GiB)")
}

// options turns flags into what the organizer understands.
func (f *organizeFlags) options() (organizer.Options, error) {
	opt := organizer.Options{
		Conflict: organizer.Conflict(f.conflict), Duplicates: organizer.DuplicateAction(f.duplicates), Detect: organizer.Detect(f.detect),
		Copy: f.copy, Modified: f.undated == "modified", PruneEmpty: f.prune, MaxFiles: f.maxFiles, Hidden: f.hidden,
	}
	names := make([]string, len(organizer.Keys))
	for i, k := range organizer.Keys {
		names[i] = string(k)
	}
	for _, by := range f.by {
		if !slices.Contains(names, by) {
			return opt, usage("--by %q: it is one of %s%s", by, strings.Join(names, ", "), didYouMean(by, names))
		}
		opt.By = append(opt.By, organizer.Key(by))
	}
	if len(opt.By) == 0 {
		return opt, usage("--by needs a key: one of %s", strings.Join(names, ", "))
	}
	if f.maxFiles < 0 {
		return opt, usage("--max-files %d: it cannot be negative", f.maxFiles)
	}
	if f.minAge < 0 {
		return opt, usage("--min-age %s: it cannot be negative", f.minAge)
	}
	var err error
	opt.MaxBytes, err = parseSize("max-bytes", f.maxBytes)
	return opt, err
}

// parseSize reads the size that a flag gives, 0 if it gives none.
func parseSize(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<62 {
		return 0, usage("--%s %q: it is a number with a unit, as 500MB or 2GiB", flag, text)
	}
	return int64(n), nil
}

func (a *app) organize(ctx context.Context, paths []string, f *organizeFlags) error {
	if f.interactive && !(a.inTTY && a.errTTY) {
		return usage("--interactive needs a terminal; use --dry-run to see the plan, or --plan-out and \"forg apply\"")
	}
	o, err := a.newOrganizing(paths, f)
	if err != nil {
		return err
	}
	return o.run(ctx, o.roots)
}

// organizing is what the command line asks for, once it is known to make sense. It can be run again and again.
type organizing struct {
	*app
	flags *organizeFlags
	opt   organizer.Options
	set   *rules.Set
	paths []string // as they were given
	roots []string
	into  string
	ruled *rulesFile // the rules that decide, or nil
	watch *watching  // of a forg that keeps running, else nil
	asked *asked     // by a server, else nil
}

// asked is how a server has asked for something.
type asked struct {
	who      journal.Asked
	begin    func(context.Context, *journal.Journal) error // once the journal is in our hands, before anything is looked at
	progress func(total, files, bytes int64)
	end      func(ctx context.Context, j *journal.Journal, failed error) error // the journal is still in our hands
}

func (a *app) newOrganizing(paths []string, f *organizeFlags) (*organizing, error) {
	opt, err := f.options()
	if err != nil {
		return nil, err
	}
	ruled, err := a.organizeRules(paths, f)
	if err != nil {
		return nil, err
	}
	var roots []string
	if ruled != nil && len(paths) == 0 && f.from0 == "" {
		roots, err = ruled.roots()
	} else {
		roots, err = a.resolveRoots(paths, f)
	}
	if err != nil {
		return nil, err
	}
	into, err := resolveInto(f.into)
	if err != nil {
		return nil, err
	}
	o := &organizing{app: a, flags: f, opt: opt, set: rules.Builtin(), paths: paths, roots: roots, into: into, ruled: ruled}
	if ruled != nil {
		o.byRules()
	}
	return o, nil
}

// run organizes roots, as one operation.
func (o *organizing) run(ctx context.Context, roots []string) (err error) {
	a, f := o.app, o.flags
	start := a.now()
	opt, done, err := o.ready(start)
	if err != nil {
		return err
	}
	defer done()
	var j *journal.Journal
	look := f.dryRun || f.planOut != ""
	if look {
		if j, err = a.read(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if j, err = a.open(ctx, f.wait); err != nil {
		return err
	}
	if j != nil {
		defer j.Close()
	}
	if !look {
		unlock, err := lockTrees(ctx, roots, f.wait)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if o.asked != nil {
		if err := o.asked.begin(ctx, j); err != nil {
			return err
		}
		whole := context.WithoutCancel(ctx)
		defer func() {
			if e := o.asked.end(whole, j, err); e != nil {
				err = errors.Join(err, e)
			}
		}()
	}
	plan, err := o.plan(ctx, j, roots, &opt)
	if err != nil {
		return err
	}
	if f.planOut != "" {
		if err := writePlanFile(f.planOut, a.out, plan, opt.Conflict, a.now()); err != nil {
			return err
		}
	}
	if f.interactive && !look && len(plan.Moves) > 0 {
		if plan, err = a.reviewPlan(ctx, plan, o.set, opt); err != nil || plan == nil {
			return err
		}
	}
	report := &organizeReport{app: a, plan: plan, start: start, dryRun: look, quietOut: f.planOut == "-", watch: o.watch, asked: o.asked}
	if look {
		return report.planned()
	}
	if o.watch != nil {
		o.watch.planned(plan)
		if len(plan.Moves) == 0 && len(plan.Prune) == 0 {
			return report.idle()
		}
	}
	if o.watch != nil || o.asked != nil {
		var end func()
		ctx, end = toTheEnd(ctx)
		defer end()
	}
	run := organizer.RunOptions{Command: commandLine(), Conflict: opt.Conflict, Verify: f.verify, Trash: opt.Trash, Exec: a.runProgram}
	if o.asked != nil {
		run.Asked = o.asked.who
	}
	return report.run(ctx, j, run)
}

// ready are the options of this run, with the rules and what these need, until done is called.
func (o *organizing) ready(start time.Time) (opt organizer.Options, done func(), err error) {
	opt, done = o.opt, func() {}
	if o.ruled == nil {
		return opt, done, nil
	}
	if o.watch != nil { // the file may have been edited since
		again, err := o.organizeRules(o.paths, o.flags)
		if err != nil {
			return opt, done, err
		}
		o.ruled = again
	}
	opt.Rules = o.ruled.At(start) // ages are counted from this run
	opt.Metadata, done = o.readMetadata(opt.Rules)
	if asksForDuplicates(opt) { // of files that mostly stay where they are, so that the next run knows them again
		read := done
		var hashed func()
		opt.Hashes, hashed = o.hashCache(false)
		done = func() { hashed(); read() }
	}
	return opt, done, nil
}

// plan scans the roots and makes a plan of what is there and of what j, if not nil, knows of it. It completes opt.
func (o *organizing) plan(ctx context.Context, j *journal.Journal, roots []string, opt *organizer.Options) (*organizer.Plan, error) {
	bar := o.newProgress()
	defer bar.done()
	tree, err := o.scanTrees(ctx, roots, *opt, bar)
	if err != nil {
		return nil, err
	}
	if o.ruled != nil {
		for _, err := range o.ruled.gone {
			tree.Problems = append(tree.Problems, organizer.Problem{Err: err})
		}
	}
	opt.Now = o.now()
	opt.Trash = o.findTrash()
	opt.Busy = organizer.Busy(tree.Roots)
	opt.Progress = bar.plan
	if j != nil && !o.flags.again && !o.flags.copy {
		if opt.Undone, err = organizer.UndoneFiles(ctx, j, tree.Roots); err != nil {
			return nil, err
		}
		if o.watch != nil {
			if opt.ByHand, err = o.watch.byHand(ctx, j); err != nil {
				return nil, err
			}
		}
	}
	plan, err := organizer.MakePlan(ctx, tree, o.set, *opt)
	if many, ok := errors.AsType[*organizer.TooMany](err); ok {
		plan, limit, flag := filesText(many.Plan), filesText(many.Limit), "--max-files"
		if many.Bytes {
			plan, limit, flag = bytesText(many.Plan), bytesText(many.Limit), "--max-bytes"
		}
		return nil, fmt.Errorf("%w: the plan moves %s, the limit is %s; nothing was moved: raise %s if that is what you want", errTooMuch, plan, limit, flag)
	}
	if errors.Is(err, organizer.ErrConflict) {
		return nil, fmt.Errorf("%w; nothing was moved, as --on-conflict fail says", err)
	}
	return plan, err
}

// errTooMuch says that a plan was refused because it would move too much.
var errTooMuch = errors.New("too much")

// resolveRoots are the folders to organize, links resolved, none within another that covers it.
func (a *app) resolveRoots(paths []string, f *organizeFlags) ([]string, error) {
	var roots []string
	for _, p := range paths {
		r, err := organizer.ResolveDir(p)
		if err != nil {
			if st, serr := os.Stat(p); serr == nil && !st.IsDir() {
				err = fmt.Errorf("%w; to organize single files, list them with --from0", err)
			}
			return nil, err
		}
		if !slices.Contains(roots, r) {
			roots = append(roots, r)
		}
	}
	if f.from0 == "" && !f.project {
		for _, r := range roots {
			if err := notRepository("organize", r); err != nil {
				return nil, err
			}
		}
	}
	if f.recursive {
		all := roots
		roots = slices.DeleteFunc(slices.Clone(all), func(r string) bool {
			return slices.ContainsFunc(all, func(up string) bool {
				return up != r && organizer.Within(r, up)
			})
		})
	}
	return roots, nil
}

// notRepository refuses a folder that a version control system looks after.
func notRepository(act, root string) error {
	for _, vcs := range []string{".git", ".hg", ".svn", ".jj"} {
		if _, err := os.Lstat(filepath.Join(root, vcs)); err == nil {
			return fmt.Errorf("%s %s: it is a repository (it holds %s) and would be torn apart; --inside-projects if you mean it", act, root, vcs)
		}
	}
	return nil
}

// resolveInto is the destination root, links resolved as far as it exists.
func resolveInto(into string) (string, error) {
	if into == "" {
		return "", nil
	}
	real, err := organizer.ResolveMissing(into)
	if err != nil {
		return "", fmt.Errorf("--into %s: %w", into, err)
	}
	return real, nil
}

// lockTrees keeps two forgs with different journals from working on one tree.
func lockTrees(ctx context.Context, roots []string, wait time.Duration) (func(), error) {
	var files []*os.File
	unlock := func() {
		for _, f := range files {
			f.Close()
		}
	}
	sorted := slices.Sorted(slices.Values(roots)) // in one order everywhere, or two forgs could wait for each other
	for _, r := range sorted {
		f, err := os.Open(r)
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock %s: %w", r, err)
		}
		files = append(files, f)
		if slices.ContainsFunc(files[:len(files)-1], func(g *os.File) bool { return sameFile(f, g) }) {
			continue // mounted at two places: it is locked, and that by us
		}
		if err := journal.LockFile(ctx, f, wait); errors.Is(err, journal.ErrLocked) {
			unlock()
			return nil, &exitError{exitLocked, fmt.Errorf("another forg is organizing %s; wait for it with --wait 1m", r)}
		} else if err != nil && ctx.Err() != nil {
			unlock()
			return nil, err
		} // a file system without locks has none to respect
	}
	return unlock, nil
}

// sameFile reports whether two open files are one.
func sameFile(f, g *os.File) bool {
	a, err := f.Stat()
	b, e := g.Stat()
	return err == nil && e == nil && os.SameFile(a, b)
}

// asksForDuplicates reports whether a rule goes by what equals another file.
func asksForDuplicates(opt organizer.Options) bool {
	return opt.Rules != nil && len(opt.Rules.Duplicates()) > 0
}

// scanOptions say what a scan of root looks at.
func (o *organizing) scanOptions(root string, opt organizer.Options) organizer.ScanOptions {
	f := o.flags
	so := organizer.ScanOptions{Recursive: f.recursive, Hidden: f.hidden, Include: f.include, Exclude: f.exclude, MinAge: f.minAge,
		Now: o.now(), Into: o.into, Projects: f.project}
	if opt.Rules == nil {
		so.Destination = organizer.Destination(o.set, opt.By)
		return so
	}
	so.ByRules(opt.Rules, root, o.roots)
	return so
}

func (o *organizing) scanTrees(ctx context.Context, roots []string, opt organizer.Options, bar *progress) (*organizer.Tree, error) {
	f := o.flags
	if f.from0 != "" {
		list, err := o.readList(f.from0)
		if err != nil {
			return nil, err
		}
		if len(roots) > 1 {
			return nil, usage("--from0 takes one PATH at most, as the destination root")
		}
		root := "."
		if len(roots) == 1 {
			root = roots[0]
		}
		so := o.scanOptions(root, opt)
		so.Progress, so.Only = bar.scan, list
		if so.Into == "" && len(roots) == 1 {
			so.Into = root
		}
		t, err := organizer.Scan(ctx, root, o.set, so)
		if err == nil && t.Files == 0 && len(t.Problems) > 0 && len(t.Problems) == len(list) {
			return nil, t.Problems[0].Err
		}
		return t, err
	}
	var trees []*organizer.Tree
	for _, r := range roots {
		so := o.scanOptions(r, opt)
		so.Progress = bar.scan
		t, err := organizer.Scan(ctx, r, o.set, so)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	return organizer.Join(trees), nil
}

// readList reads names separated by NUL.
func (a *app) readList(name string) ([]string, error) {
	r := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--from0: %w", err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("--from0 %s: %w", name, err)
	}
	list := []string{}
	for part := range bytes.SplitSeq(text, []byte{0}) {
		if len(part) > 0 {
			list = append(list, string(part))
		}
	}
	return list, nil
}

func writePlanFile(name string, out io.Writer, plan *organizer.Plan, conflict organizer.Conflict, now time.Time) (err error) {
	w := out
	if name != "-" {
		f, e := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(e, fs.ErrExist) {
			return fmt.Errorf("write the plan: %s exists, and forg overwrites nothing", name)
		}
		if e != nil {
			return fmt.Errorf("write the plan: %w", e)
		}
		defer func() {
			if err = cmp.Or(err, f.Close()); err != nil {
				os.Remove(name) // it is ours, and no plan
			}
		}()
		w = f
	}
	b := bufio.NewWriter(w)
	if err := organizer.WritePlan(b, plan, conflict, now); err != nil {
		return fmt.Errorf("write the plan %s: %w", name, err)
	}
	return b.Flush()
}

// reviewPlan lets a person leave files out and send them elsewhere. It returns nil when it was called off.
func (a *app) reviewPlan(ctx context.Context, plan *organizer.Plan, set *rules.Set, opt organizer.Options) (*organizer.Plan, error) {
	items := make([]reviewItem, len(plan.Moves))
	bases := make([]string, len(plan.Moves))
	for i := range plan.Moves {
		m := &plan.Moves[i]
		from, to := plan.Tree.Path(m.File), plan.Target(m)
		dir := &plan.Tree.Dirs[plan.Tree.DirOf(m.File)]
		bases[i] = dir.Into
		items[i] = reviewItem{From: relative(dir.Into, from), To: filepath.ToSlash(relative(dir.Into, to)), Bytes: plan.Tree.File(m.File).Size}
		items[i].Note = plan.Note(m)
		if original, ok := plan.SameAs[m.File]; ok {
			items[i].Note = "duplicate of " + plan.Tree.Name(original)
		}
		if m.Action == journal.Trash {
			items[i].To = "Trash/" + plan.Name(m)
			bases[i] = ""
		}
	}
	for _, m := range plan.Mismatches {
		for i := range plan.Moves {
			if plan.Tree.Path(plan.Moves[i].File) == m.Path {
				items[i].Note = fmt.Sprintf("says %s, is %s", m.Says, m.Is)
			}
		}
	}
	ok, err := review(ctx, a.in, a.screen(), "forg organize "+a.tildeList(plan.Root), items, a.colored(a.errTTY))
	if err != nil {
		return nil, err
	}
	if !ok {
		fmt.Fprintln(a.err, "Nothing was moved.")
		return nil, nil
	}
	edits := make([]organizer.Edit, len(items))
	for i := range items {
		edits[i] = organizer.Edit{Out: items[i].Out, To: plan.Target(&plan.Moves[i])}
		if to := filepath.FromSlash(items[i].To); filepath.IsAbs(to) { // rules may send files anywhere
			edits[i].To = filepath.Clean(to)
		} else if bases[i] != "" {
			edits[i].To = filepath.Join(bases[i], to)
		}
	}
	return organizer.Edited(plan, edits, set, opt)
}

func relative(base, path string) string {
	if rel, err := filepath.Rel(base, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func (a *app) applyCmd() *cobra.Command {
	var wait time.Duration
	var dryRun, verify bool
	c := &cobra.Command{
		Use: "apply FILE", Short: "Carry out a plan that was written with --plan-out",
		Long: help(`Carries out the plan in FILE (- for standard input), which "forg organize --plan-out FILE" has written and you may
have changed: leave moves out, or give them another "to". Files that are no longer what they were when the plan was
made are left alone and reported.`, exitPlanText),
		Example: `  forg organize --plan-out plan.json ~/Downloads
  $EDITOR plan.json
  forg apply plan.json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			ctx, start := c.Context(), a.now()
			r := a.in
			if names[0] != "-" {
				f, err := os.Open(names[0])
				if err != nil {
					return fmt.Errorf("read the plan: %w", err)
				}
				defer f.Close()
				r = f
			}
			opt := organizer.Options{Conflict: organizer.ConflictRename, Trash: a.findTrash(), Now: start}
			plan, err := organizer.ReadPlan(bufio.NewReader(r), rules.Builtin(), opt)
			if errors.Is(err, organizer.ErrPlan) {
				return &exitError{exitUsage, fmt.Errorf("%s: %w", names[0], err)}
			}
			if err != nil {
				return err
			}
			report := &organizeReport{app: a, plan: plan, start: start, dryRun: dryRun}
			if dryRun {
				return report.planned()
			}
			j, err := a.open(ctx, wait)
			if err != nil {
				return err
			}
			defer j.Close()
			return report.run(ctx, j, organizer.RunOptions{Command: commandLine(), Conflict: opt.Conflict, Verify: verify, Trash: opt.Trash})
		},
	}
	c.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show what would be done and change nothing")
	c.Flags().BoolVar(&verify, "verify", false, "read copies back from the disk before the original goes")
	c.Flags().DurationVar(&wait, "wait", 0, "wait this `time` for another forg to finish")
	return c
}

// quoteWord is a word in quotes of a shell.
func quoteWord(w string) string { return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'" }

// commandLine is what the person typed, for the history.
func commandLine() string {
	parts := append([]string{"forg"}, os.Args[1:]...)
	for i, p := range parts {
		if strings.ContainsAny(p, " \t\n'\"\\$*?") || p == "" {
			parts[i] = quoteWord(p)
		}
	}
	return strings.Join(parts, " ")
}
