package cmd

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/organizer"
	"forg/organizer/dupes"
	"forg/rules"
)

// dupesFlags is what the command line says, decoded once.
type dupesFlags struct {
	keep             string
	priority         []string
	reference        []string
	isolate, empty   bool
	minCopies        int
	minSize, maxSize string
	include, exclude []string
	maxDepth         int
	oneFileSystem    bool
	hidden, project  bool
	noCache          bool
}

func (a *app) dupesCmd() *cobra.Command {
	var f dupesFlags
	c := &cobra.Command{
		Use: "dupes PATH...", Short: "Find files that are there more than once",
		Long: help(`Finds files of equal content below each PATH, and folders that are copies of others. It reports them and changes
nothing.`, exitHead+"  3    some folders or files could not be read\n  130  interrupted"),
		Example: `  forg dupes ~/Pictures`,
		Args:    args(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, paths []string) error { return a.dupes(c.Context(), paths, &f) },
	}
	f.register(c.Flags())
	return c
}

func (f *dupesFlags) register(fl *pflag.FlagSet) {
	choiceVar(fl, &f.keep, "keep", "auto", "which of equal files stays", "auto", "oldest", "newest", "shortest", "longest", "first", "priority")
	fl.StringArrayVar(&f.priority, "priority", nil, "keep files in this `folder` rather than others; the first given counts most")
	fl.StringArrayVar(&f.reference, "reference", nil, "look for copies of what is in this `folder`, and never touch it")
	fl.BoolVar(&f.isolate, "isolate", false, "files below one PATH are no duplicates of each other")
	fl.BoolVar(&f.empty, "empty", false, "empty files are duplicates too")
	fl.IntVar(&f.minCopies, "min-copies", 1, "keep this `number` of copies of each content")
	fl.StringVar(&f.minSize, "min-size", "", "only files of this `size` (10MB, 1GiB) or more")
	fl.StringVar(&f.maxSize, "max-size", "", "only files of this `size` or less")
	fl.StringSliceVar(&f.include, "include", nil, "only names (or, with a slash, paths below PATH) that match the `glob`")
	fl.StringSliceVar(&f.exclude, "exclude", nil, "not names or paths that match the `glob`")
	fl.IntVar(&f.maxDepth, "max-depth", 0, "look into subfolders down to this `number` of levels")
	fl.BoolVar(&f.oneFileSystem, "one-file-system", false, "do not look into folders that other file systems are mounted on")
	fl.BoolVar(&f.hidden, "hidden", false, "look at hidden files and folders too")
	fl.BoolVar(&f.project, "inside-projects", false, "files in projects, repositories and bundles are like any other")
	fl.BoolVar(&f.noCache, "no-cache", false, "read all files afresh")
}

func (a *app) dupes(ctx context.Context, paths []string, f *dupesFlags) error {
	bar := a.newProgress()
	defer bar.done()
	opt := organizer.DuplicateOptions{Keep: organizer.Keep(f.keep), Isolate: f.isolate, Empty: f.empty, MinCopies: f.minCopies, Projects: f.project, Hash: a.json}
	resolve := func(paths []string) ([]string, error) {
		var out []string
		for _, p := range paths {
			r, err := organizer.ResolveDir(p)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
		return out, nil
	}
	var err error
	if opt.Priority, err = resolve(f.priority); err != nil {
		return err
	}
	if opt.Reference, err = resolve(f.reference); err != nil {
		return err
	}
	roots, err := resolve(append(slices.Clone(paths), f.reference...))
	if err != nil {
		return err
	}
	var trees []*organizer.Tree
	for _, r := range roots {
		t, err := organizer.Scan(ctx, r, rules.Builtin(), organizer.ScanOptions{Recursive: true, Hidden: f.hidden, Include: f.include, Exclude: f.exclude,
			Now: a.now(), Projects: true, VersionControl: !f.project, OneFileSystem: f.oneFileSystem, MaxDepth: f.maxDepth, Changed: true, Progress: bar.scan})
		if err != nil {
			return err
		}
		trees = append(trees, t)
	}
	if !f.noCache {
		if dir, err := a.cacheDir(); err == nil {
			opt.Cache, _ = dupes.OpenCache(filepath.Join(dir, "hashes.db")) // it only saves time
			defer opt.Cache.Close()
		}
	}
	d, err := organizer.FindDuplicates(ctx, organizer.Join(trees), opt)
	if err != nil {
		return err
	}
	bar.done()
	for _, c := range d.Folders {
		a.say("%s %s of %s %v %d (%d)", bytesText(c.Bytes), d.Tree.Dirs[c.Folder].Path, d.Tree.Dirs[c.Of].Path, c.Exact, c.Files, c.LeftOut)
	}
	for _, g := range d.Groups {
		a.say("%d x %s, %s too many", len(g.Files), humanize.Bytes(uint64(g.Size)), humanize.Bytes(uint64(g.Wasted)))
		for i, c := range g.Files {
			a.say("  %-11s %s%s", c.Role, a.tilde(d.Tree.Path(c.File)), strings.Repeat("  ("+g.Why+")", 1-min(i, 1)))
		}
	}
	a.say("%s superfluous, %s", filesText(d.Files), bytesText(d.Wasted))
	return nil
}
