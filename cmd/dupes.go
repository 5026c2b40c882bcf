package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/organizer"
	"forg/organizer/dupes"
	"forg/organizer/images"
	"forg/rules"
)

// dupesFlags is what the command line says, decoded once.
type dupesFlags struct {
	action                        string
	into                          string
	argv                          []string // after "--"
	dryRun                        bool
	wait                          time.Duration
	keep                          string
	priority, reference           []string
	isolate, empty                bool
	minCopies                     int
	minSize, maxSize              string
	include, exclude              []string
	maxDepth                      int
	oneFileSystem, hidden, inside bool
	noCache                       bool
	format, output, from          string
	interactive                   bool
	similar                       string
	threshold                     int
	thresholdGiven, rotation      bool
	chosen                        bool // --keep or --priority was given, and overrules what a report says
}

func (a *app) dupesCmd() *cobra.Command {
	var f dupesFlags
	c := &cobra.Command{
		Use: "dupes [PATH...] [-- PROGRAM ARG...]", Short: "Find files that are there more than once",
		Long: help(`Finds files of equal content below each PATH, and folders of which all is in another folder too, and reports
them: who could go, which copy would stay and why, and what the disk would gain. Nothing is changed.

--action deals with what is superfluous: trash moves it to the trash, hardlink and symlink put a link to the copy that
stays in its place, reflink lets both share their blocks on the disk, folder moves it below --into, and exec runs a
program for each, with {path} and {keep} in its arguments replaced by the file and by the copy that stays. Right before
anything is done to a file its bytes are compared with that copy once more. All is in the journal before it is done, and
"forg undo" takes it back, but for what a program did.

Which copy stays: one in a folder of --reference before all, then one in the first folder of --priority that has
one, then what --keep says, then the one with the shortest path. By default (auto) the oldest stays; but where a
folder equals another in all that is in it, one of the two goes whole. Names of one file (hard links) are one file,
and all of them go or none.

A report can be saved (--format, --output) and acted on later: --from takes it for a list of candidates, looks at
them and compares them afresh, tells what has changed since, and lets those stay that the report lets stay. It reads
reports of fclones, fdupes and jdupes too, and --format fclones is for the commands of fclones. -i shows what would
be dealt with on a full screen, to choose from.

--similar images finds pictures that look alike instead: other sizes, formats, qualities, small changes. What looks
alike is for a person to judge: --format html makes a page on which you see the pictures and choose what goes, and the
selection that you save there is carried out by --from selection.json --action trash.

Left alone: hidden files, links, unfinished downloads, system files, and files in projects, repositories and application
bundles, which do not count as the copy that stays either. Empty files are no duplicates unless you say --empty.`,
			exitPlanText),
		Example: `  forg dupes ~/Pictures
  forg dupes -n --action trash ~/Pictures                          show what it would do, change nothing
  forg dupes --action trash --reference ~/Pictures ~/Downloads     what is in ~/Pictures already
  forg dupes --action hardlink --min-size 1MB ~/Backups
  forg dupes --isolate ~/Laptop ~/Desktop                          only what is in both
  forg dupes --similar images --format html --output similar.html ~/Pictures
  forg dupes --from ~/Downloads/selection.json --action trash      what was chosen on that page
  forg dupes --json ~/Music | jq '.groups[].files[] | select(.keep | not) | .path'
  forg dupes -i --action trash ~/Pictures
  forg dupes --format csv --output dupes.csv ~/Pictures
  forg dupes --from dupes.csv --action trash                       after a look at it
  fclones group ~/Pictures | forg dupes --from - --action hardlink
  forg dupes --action exec ~/Mail -- ln -sfr {keep} {path}`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, words []string) error {
			var paths []string
			paths, f.argv = beforeDash(c, words)
			f.thresholdGiven = c.Flags().Changed("threshold")
			if f.from == "" && c.Flags().Changed("from") {
				return usage("--from: the name of the report is empty")
			}
			f.chosen = c.Flags().Changed("keep") || c.Flags().Changed("priority")
			if len(paths) == 0 && f.from == "" {
				return usage("%s: an argument is missing\nUsage: %s", c.CommandPath(), c.UseLine())
			}
			return a.dupes(c.Context(), paths, &f)
		},
	}
	f.register(c.Flags())
	return c
}

func (f *dupesFlags) register(fl *pflag.FlagSet) {
	choiceVar(fl, &f.action, "action", "report", "what to do with superfluous files", "report", "trash", "hardlink", "symlink", "reflink", "folder", "exec")
	fl.StringVar(&f.into, "into", "", "with --action folder: move them below this `dir`, under the paths that they have below PATH")
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "show what the action would do and change nothing")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "review what was found before anything is done")
	fl.Var(formatFlag(&f.format), "format", "how a report looks; the last two are those of fclones, whose commands take them")
	fl.StringVar(&f.output, "output", "", "write the report to `file` (- for standard output), complete or not at all")
	fl.StringVar(&f.from, "from", "", "look only at the files in the report `file` (- for standard input) of forg, fclones, fdupes or jdupes, and compare them afresh")
	fl.DurationVar(&f.wait, "wait", 0, "wait this `time` for another forg to finish")
	choiceVar(fl, &f.keep, "keep", "auto", "which of equal files stays: by age, by length of path, by the order of the PATHs, or by nothing but --priority",
		"auto", "oldest", "newest", "shortest", "longest", "first", "priority")
	fl.StringArrayVar(&f.priority, "priority", nil, "keep files in this `folder` rather than others; may be repeated, the first counts most")
	fl.StringArrayVar(&f.reference, "reference", nil, "look for copies of what is in this `folder`, of which nothing is ever touched; may be repeated")
	fl.BoolVar(&f.isolate, "isolate", false, "files below one PATH are no duplicates of each other, only of those below another")
	fl.BoolVar(&f.empty, "empty", false, "empty files are duplicates of each other too")
	fl.IntVar(&f.minCopies, "min-copies", 1, "keep this `number` of copies of each content")
	fl.StringVar(&f.minSize, "min-size", "", "only files of this `size` (10MB, 1GiB) or more")
	fl.StringVar(&f.maxSize, "max-size", "", "only files of this `size` or less")
	fl.StringSliceVar(&f.include, "include", nil, "only names (or, with a slash, paths below PATH) that match the `glob`")
	fl.StringSliceVar(&f.exclude, "exclude", nil, "not names or paths that match the `glob`")
	fl.IntVar(&f.maxDepth, "max-depth", 0, "look into subfolders down to this `number` of levels")
	fl.BoolVar(&f.oneFileSystem, "one-file-system", false, "do not look into folders that other file systems are mounted on")
	fl.BoolVar(&f.hidden, "hidden", false, "look at hidden files and folders too")
	fl.BoolVar(&f.inside, "inside-projects", false, "files in projects, repositories and bundles are like any other")
	choiceVar(fl, &f.similar, "similar", "", "find pictures that look alike instead of equal files", "images")
	fl.IntVar(&f.threshold, "threshold", images.DefaultThreshold, fmt.Sprintf("with --similar: how far from the best of a group a picture may be, 0 to %d", images.MaxThreshold))
	fl.BoolVar(&f.rotation, "rotation", false, "with --similar: pictures that are rotated or mirrored look alike too")
	fl.BoolVar(&f.noCache, "no-cache", false, "read all files afresh, and remember nothing of them")
}

// acts reports whether files are to be changed, at some time.
func (f *dupesFlags) acts() bool { return f.action != string(organizer.DuplicatesReport) }

// duping is what the command line asks for, once it is known to make sense.
type duping struct {
	*app
	flags *dupesFlags
	find  organizer.DuplicateOptions
	act   organizer.DuplicatePlanOptions
	files []string // that were given, links resolved
	dirs  []string // that were given
	roots []string // all that is looked at: dirs, the folders of files, and references
	locks []func() // give up the locks on what is worked on
}

func (a *app) dupes(ctx context.Context, paths []string, f *dupesFlags) error {
	d, err := a.newDuping(paths, f)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

func (a *app) newDuping(paths []string, f *dupesFlags) (*duping, error) {
	d := &duping{app: a, flags: f}
	if err := d.options(); err != nil {
		return nil, err
	}
	if err := d.places(paths); err != nil {
		return nil, err
	}
	return d, d.contradictions()
}

// options are the flags that say nothing about places.
func (d *duping) options() (err error) {
	f := d.flags
	d.find = organizer.DuplicateOptions{Keep: organizer.Keep(f.keep), Isolate: f.isolate, Empty: f.empty, MinCopies: f.minCopies,
		Projects: f.inside}
	if d.find.MinSize, err = parseSize("min-size", f.minSize); err != nil {
		return err
	}
	if d.find.MaxSize, err = parseSize("max-size", f.maxSize); err != nil {
		return err
	}
	d.act = organizer.DuplicatePlanOptions{Action: organizer.DuplicateAction(f.action), Argv: f.argv}
	if err := d.formats(); err != nil {
		return err
	}
	if err := d.similarOptions(); err != nil {
		return err
	}
	exec, folder := d.act.Action == organizer.DuplicatesExec, d.act.Action == organizer.DuplicatesFolder
	switch {
	case f.maxSize != "" && d.find.MaxSize < max(d.find.MinSize, 1):
		return usage("--max-size %s: no file is that small and at least as large as --min-size", f.maxSize)
	case f.interactive && !(d.inTTY && d.errTTY):
		return usage("--interactive needs a terminal; use --dry-run to see what would be done, or save a report and act on it with --from")
	case f.interactive && !f.acts():
		return usage("--interactive needs something to do with what you choose: add --action trash, or another action")
	case f.interactive && f.from == "-":
		return usage("--from - and --interactive both read standard input: save the report to a file")
	case f.from != "" && (f.maxDepth != 0 || f.oneFileSystem):
		return usage("--max-depth and --one-file-system are for walks, and --from is a list of files")
	case f.minCopies < 1:
		return usage("--min-copies %d: at least one copy stays", f.minCopies)
	case f.maxDepth < 0:
		return usage("--max-depth %d: it cannot be negative", f.maxDepth)
	case d.find.Keep == organizer.KeepPriority && len(f.priority) == 0:
		return usage("--keep priority needs folders: give them with --priority")
	case exec && len(f.argv) == 0:
		return usage("--action exec needs a program: give it and its arguments after --")
	case !exec && len(f.argv) > 0:
		return usage("a program after -- is for --action exec, and the action is %s", f.action)
	case folder && f.into == "":
		return usage("--action folder needs a folder: give it with --into")
	case !folder && f.into != "":
		return usage("--into is for --action folder, and the action is %s", f.action)
	}
	return nil
}

// places resolves what was given on the command line, the last time that a link is followed.
func (d *duping) places(paths []string) error {
	for _, p := range paths {
		switch st, err := os.Stat(p); {
		case err == nil && st.Mode().IsRegular():
			real, err := filepath.EvalSymlinks(p)
			if err == nil {
				real, err = filepath.Abs(real)
			}
			if err != nil {
				return fmt.Errorf("look at %s: %w", p, err)
			}
			d.files = append(d.files, real)
		case err == nil && !st.IsDir():
			return fmt.Errorf("look at %s: it is neither a folder nor a regular file", p)
		default:
			if err := resolveInOrder(&d.dirs, p); err != nil {
				return err
			}
		}
	}
	for _, p := range d.flags.reference {
		if err := resolveInOrder(&d.find.Reference, p); err != nil {
			return fmt.Errorf("--reference: %w", err)
		}
	}
	for _, p := range d.flags.priority {
		if err := resolveInOrder(&d.find.Priority, p); err != nil {
			return fmt.Errorf("--priority: %w", err)
		}
	}
	var err error
	d.act.Into, err = resolveInto(d.flags.into)
	return err
}

// resolveInOrder adds a folder to a list, unless it is there.
func resolveInOrder(list *[]string, path string) error {
	real, err := organizer.ResolveDir(path)
	if err == nil && !slices.Contains(*list, real) {
		*list = append(*list, real)
	}
	return err
}

// contradictions refuses places that would have to be treated in two ways at once.
func (d *duping) contradictions() error {
	for _, p := range slices.Concat(d.dirs, d.files) {
		for _, ref := range d.find.Reference {
			if organizer.Within(p, ref) || sameFolder(ref, p) {
				return usage("%s lies in %s, where --reference says that nothing is ever touched: nothing could be superfluous there", d.tilde(p), d.tilde(ref))
			}
		}
	}
	given := slices.Clone(d.dirs) // and the folders of single files
	for _, p := range d.files {
		if dir := filepath.Dir(p); !slices.Contains(given, dir) {
			given = append(given, dir)
		}
	}
	for _, p := range d.find.Priority {
		if d.flags.from == "" && !slices.ContainsFunc(slices.Concat(given, d.find.Reference), func(r string) bool { return organizer.Within(p, r) || organizer.Within(r, p) }) {
			return usage("--priority %s: no PATH has anything to do with it", d.tilde(p))
		}
	}
	if d.flags.isolate {
		all := slices.Concat(given, d.find.Reference)
		for _, r := range all {
			for _, up := range all {
				if r != up && organizer.Within(r, up) {
					return usage("--isolate: %s lies in %s, so its files would be below both", d.tilde(r), d.tilde(up))
				}
			}
		}
		if len(all) < 2 {
			return usage("--isolate compares what is below one PATH with what is below another: give two of them")
		}
	}
	if into := d.act.Into; into != "" {
		for _, r := range given {
			if organizer.Within(r, into) {
				return usage("--into %s: it holds %s, of which it is to take files", d.tilde(into), d.tilde(r))
			}
		}
		for _, r := range d.find.Reference {
			if organizer.Within(into, r) {
				return usage("--into %s: it lies in %s, where --reference says that nothing is touched", d.tilde(into), d.tilde(r))
			}
		}
	}
	if d.flags.acts() && !d.flags.inside {
		for _, r := range d.dirs {
			if err := notRepository(d.flags.action+" duplicates in", r); err != nil {
				return err
			}
		}
	}
	d.roots = slices.Concat(given, d.find.Reference)
	return nil
}

// sameFolder reports whether two paths lead to one folder, as a bind mount can make them do.
func sameFolder(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// run finds duplicates and reports them or deals with them.
func (d *duping) run(ctx context.Context) error {
	f, start := d.flags, d.now()
	// What is known of files stays until the end, so there is little to be gained by collecting seldom; less memory is touched.
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	if f.from != "" {
		s, err := d.selection()
		if err != nil {
			return err
		}
		if s != nil {
			return d.selectionRun(ctx, s, start)
		}
	}
	acts := f.acts() && !f.dryRun
	var j *journal.Journal
	if acts {
		var err error
		if j, err = d.open(ctx, f.wait); err != nil {
			return err
		}
		defer j.Close()
		defer func() {
			for _, unlock := range d.locks {
				unlock()
			}
		}()
		if err := d.lock(ctx, d.roots...); err != nil {
			return err
		}
	}
	bar := d.newProgress()
	defer bar.done()
	look := d.scan
	if f.from != "" {
		look = d.listed
	}
	tree, err := look(ctx, bar)
	if err != nil {
		return err
	}
	if f.similar != "" {
		return d.similarRun(ctx, tree, bar, start)
	}
	var done func()
	d.find.Cache, done = d.hashCache(f.noCache)
	defer done()
	d.find.Progress = bar.compare
	found, err := organizer.FindDuplicates(ctx, tree, d.find)
	if err != nil {
		return err
	}
	bar.done()
	dir, _ := os.Getwd() // only told, so it may be unknown
	report := &dupesReport{app: d.app, found: found, start: start, format: f.format, to: f.output, minCopies: f.minCopies, dir: dir}
	if !f.acts() {
		return report.print()
	}
	if f.interactive && len(found.Groups) > 0 {
		if report.found, err = d.reviewDuplicates(ctx, found); err != nil || report.found == nil {
			return err
		}
		found, report.start = report.found, d.now() // what the person took is not the program's time
	}
	d.act.Trash, d.act.Now = d.findTrash(), d.now()
	plan, err := organizer.PlanDuplicates(ctx, found, rules.Builtin(), d.act)
	if err != nil {
		return err
	}
	if f.dryRun {
		return report.planned(plan, d.act)
	}
	return report.act(ctx, j, plan, d.act, organizer.RunOptions{Command: commandLine(), Conflict: organizer.ConflictRename, Trash: d.act.Trash, Exec: d.runProgram})
}

// lock keeps other forgs from working on folders until the end of run, if files are to be changed.
func (d *duping) lock(ctx context.Context, roots ...string) error {
	if !d.flags.acts() || d.flags.dryRun {
		return nil
	}
	unlock, err := lockTrees(ctx, roots, d.flags.wait)
	if err == nil {
		d.locks = append(d.locks, unlock)
	}
	return err
}

// hashCache is what earlier runs know of contents; done is to be called at the end. It only saves time, so it may be nil.
func (a *app) hashCache(without bool) (cache *dupes.Cache, done func()) {
	if dir, err := a.cacheDir(); err == nil && !without {
		cache, _ = dupes.OpenCache(filepath.Join(dir, "hashes.db"))
	}
	return cache, func() { cache.Close() }
}

// scan looks at all places, each folder once: one that lies in another is seen with that one, unless that one does not
// come so far.
func (d *duping) scan(ctx context.Context, bar *progress) (*organizer.Tree, error) {
	f := d.flags
	opt := organizer.ScanOptions{Recursive: true, Hidden: f.hidden, Include: f.include, Exclude: f.exclude, Now: d.now(), Projects: true,
		VersionControl: !f.inside, OneFileSystem: f.oneFileSystem, MaxDepth: f.maxDepth, Changed: true, Progress: bar.scan}
	if into := d.act.Into; into != "" {
		opt.Leave = func(path string) bool { return path == into } // what was moved there stays there
	}
	var trees []*organizer.Tree
	seen := map[string]bool{}
	outer := slices.Concat(d.dirs, d.find.Reference)
	slices.SortStableFunc(outer, func(a, b string) int { return len(a) - len(b) })
	for _, r := range outer {
		if seen[r] && f.maxDepth == 0 {
			continue
		}
		t, err := organizer.Scan(ctx, r, rules.Builtin(), opt)
		if err != nil {
			return nil, err
		}
		for i := range t.Dirs {
			seen[t.Dirs[i].Path] = true
		}
		trees = append(trees, t)
	}
	if len(d.files) > 0 { // behind the folders, which know more
		opt.Only = d.files
		t, err := organizer.Scan(ctx, filepath.Dir(d.files[0]), rules.Builtin(), opt)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	tree := organizer.Join(trees)
	tree.Roots = d.roots
	return tree, nil
}
