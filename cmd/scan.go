package cmd

import (
	"bufio"
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"forg/organizer"
	"forg/rules"
)

func (a *app) scanCmd() *cobra.Command {
	var hidden, top, project bool
	var include, exclude []string
	var biggest int
	c := &cobra.Command{
		Use: "scan PATH...", Short: "Show what is in a folder",
		Long: help(`Counts the files below each PATH by category, age and size, lists the biggest, and says how many files "forg
organize" would look at. It opens no file and changes nothing.`, exitHead+"  3    some folders or files could not be read\n  130  interrupted"),
		Example: "  forg scan ~/Downloads\n  forg scan --json ~/Downloads | jq .categories\n  forg scan --biggest 50 /",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, paths []string) error {
			bar := a.newProgress()
			defer bar.done()
			set := rules.Builtin()
			r := scanReport{app: a, set: set, categories: map[string]*tally{}, biggest: biggest}
			for _, p := range paths {
				t, err := organizer.Scan(c.Context(), p, set, organizer.ScanOptions{Recursive: !top, Hidden: hidden, Include: include,
					Exclude: exclude, MinAge: 2 * time.Second, Now: a.now(), Projects: project, Progress: bar.scan})
				if err != nil {
					return err
				}
				r.add(t)
			}
			bar.done()
			return r.print()
		},
	}
	f := c.Flags()
	f.BoolVar(&hidden, "hidden", false, "look into hidden folders too")
	f.BoolVar(&top, "top", false, "only the files directly in PATH")
	f.BoolVar(&project, "inside-projects", false, "look into projects, repositories and bundles too")
	f.StringSliceVar(&include, "include", nil, "only names (or, with a slash, paths below PATH) that match the `glob`")
	f.StringSliceVar(&exclude, "exclude", nil, "not names or paths that match the `glob`")
	f.IntVar(&biggest, "biggest", 10, "list this `number` of biggest files")
	return c
}

type bigFile struct {
	path string
	size int64
}

// bigFiles is a heap with the smallest on top.
type bigFiles []bigFile

func (b bigFiles) Len() int           { return len(b) }
func (b bigFiles) Less(i, j int) bool { return b[i].size < b[j].size }
func (b bigFiles) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *bigFiles) Push(x any)        { *b = append(*b, x.(bigFile)) }
func (b *bigFiles) Pop() any {
	last := (*b)[len(*b)-1]
	*b = (*b)[:len(*b)-1]
	return last
}

var ageClasses = []struct {
	name  string
	below time.Duration
}{{"today", 24 * time.Hour}, {"this week", 7 * 24 * time.Hour}, {"this month", 30 * 24 * time.Hour}, {"this year", 365 * 24 * time.Hour},
	{"older", 1 << 62}}

type scanReport struct {
	*app
	set        *rules.Set
	biggest    int
	roots      []string
	folders    int64
	all, touch tally
	categories map[string]*tally
	ages       [5]tally
	sizes      map[string]*tally
	left       map[string]int64
	big        bigFiles
	problems   []organizer.Problem
}

func (r *scanReport) add(t *organizer.Tree) {
	if r.sizes == nil {
		r.sizes, r.left = map[string]*tally{}, map[string]int64{}
	}
	r.roots = append(r.roots, t.Roots...)
	r.folders += int64(len(t.Dirs))
	r.problems = append(r.problems, t.Problems...)
	now := r.now().UnixNano()
	count := make([]tally, len(r.set.Kinds()))
	for ref, f := range t.All() {
		_, ext := r.set.Split(t.Name(ref))
		k, _ := r.set.ByExtension(ext)
		at := 0
		if k != nil {
			at = k.Index
		}
		count[at].Files++
		count[at].Bytes += f.Size
		r.all.Files++
		r.all.Bytes += f.Size
		age := slices.IndexFunc(ageClasses, func(c struct {
			name  string
			below time.Duration
		}) bool {
			return time.Duration(now-f.Mtime) < c.below
		})
		r.ages[age].Files++
		r.ages[age].Bytes += f.Size
		class := organizer.SizeClass(f.Size)
		if r.sizes[class] == nil {
			r.sizes[class] = &tally{}
		}
		r.sizes[class].Files++
		r.sizes[class].Bytes += f.Size
		if f.Left == organizer.NotLeft {
			r.touch.Files++
			r.touch.Bytes += f.Size
		}
		if r.biggest > 0 && (len(r.big) < r.biggest || f.Size > r.big[0].size) {
			heap.Push(&r.big, bigFile{t.Path(ref), f.Size})
			if len(r.big) > r.biggest {
				heap.Pop(&r.big)
			}
		}
	}
	for i, n := range count {
		if n.Files > 0 {
			c := r.set.Kinds()[i].Category
			if r.categories[c] == nil {
				r.categories[c] = &tally{}
			}
			r.categories[c].Files += n.Files
			r.categories[c].Bytes += n.Bytes
		}
	}
	for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
		if n := t.Left[reason]; n > 0 {
			r.left[reason.String()] += n
		}
	}
}

func (r *scanReport) print() error {
	slices.SortFunc(r.big, func(a, b bigFile) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.path, b.path)) })
	if r.json {
		o := newObject(r.out)
		o.field("roots", r.roots)
		o.field("folders", r.folders)
		o.field("files", r.all.Files)
		o.field("bytes", r.all.Bytes)
		o.field("organizable", r.touch)
		o.field("categories", r.categories)
		ages := map[string]tally{}
		for i, c := range ageClasses {
			ages[c.name] = r.ages[i]
		}
		o.field("ages", ages)
		o.field("sizes", r.sizes)
		o.field("left", r.left)
		o.array("biggest")
		for _, b := range r.big {
			path, raw := organizer.ExactPath(b.path)
			o.item(struct {
				Path      string `json:"path"`
				PathBytes []byte `json:"path_bytes,omitempty"`
				Bytes     int64  `json:"bytes"`
			}{path, raw, b.size})
		}
		o.end()
		o.field("errors", problemsJSON(r.problems))
		if err := o.close(); err != nil {
			return err
		}
	} else if err := r.text(); err != nil {
		return err
	}
	for _, p := range r.problems {
		r.complain(p.Err)
	}
	if len(r.problems) > 0 {
		return &exitError{code: exitPartial}
	}
	return nil
}

func (r *scanReport) text() error {
	w := bufio.NewWriter(r.out)
	for i := range r.roots {
		r.roots[i] = r.tilde(r.roots[i])
	}
	fmt.Fprintf(w, "%s, %s, in %s %s: %s\n", filesText(r.all.Files), bytesText(r.all.Bytes), humanize.Comma(r.folders),
		plural(int(r.folders), "folder"), strings.Join(r.roots, ", "))
	names := make([]string, 0, len(r.categories))
	for c := range r.categories {
		names = append(names, c)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.categories[b].Bytes, r.categories[a].Bytes), cmp.Compare(a, b))
	})
	row := func(name string, t tally) {
		if t.Files > 0 {
			fmt.Fprintf(w, "  %-14s %10s  %8s\n", name, humanize.Comma(t.Files), bytesText(t.Bytes))
		}
	}
	fmt.Fprintln(w, r.paint(bold, "By category"))
	for _, c := range names {
		row(c, *r.categories[c])
	}
	fmt.Fprintln(w, r.paint(bold, "Last changed"))
	for i, c := range ageClasses {
		row(c.name, r.ages[i])
	}
	fmt.Fprintln(w, r.paint(bold, "By size"))
	for _, c := range organizer.SizeClasses() {
		if t := r.sizes[c]; t != nil {
			row(c, *t)
		}
	}
	if len(r.big) > 0 {
		fmt.Fprintln(w, r.paint(bold, "Biggest"))
		for _, b := range r.big {
			fmt.Fprintf(w, "  %8s  %s\n", bytesText(b.size), r.tilde(b.path))
		}
	}
	fmt.Fprintf(w, "forg organize -r would look at %s, %s.\n", filesText(r.touch.Files), bytesText(r.touch.Bytes))
	return w.Flush()
}
