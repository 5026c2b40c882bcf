package cmd

import (
	"bufio"
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
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
			r := scanReport{app: a, set: set, biggest: max(biggest, 0), left: map[string]int64{}}
			r.scanTally = r.newTally()
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

func (f bigFile) less(size int64, path string) bool {
	return f.size < size || f.size == size && f.path > path
}

// bigFiles is a heap with the smallest on top, of equals the last by path.
type bigFiles []bigFile

func (b bigFiles) Len() int           { return len(b) }
func (b bigFiles) Less(i, j int) bool { return b[i].less(b[j].size, b[j].path) }
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
	{"older", 0}}

type scanReport struct {
	*app
	set      *rules.Set
	biggest  int
	roots    []string
	folders  int64
	left     map[string]int64
	problems []organizer.Problem
	scanTally
}

// scanTally is what is counted of files, in parts that are added up.
type scanTally struct {
	all, touch tally
	kinds      []tally
	ages       []tally
	sizes      []tally
	big        bigFiles
}

func (r *scanReport) newTally() scanTally {
	return scanTally{kinds: make([]tally, len(r.set.Kinds())), ages: make([]tally, len(ageClasses)), sizes: make([]tally, len(organizer.SizeClasses()))}
}

func (t *tally) add(files, bytes int64) {
	t.Files += files
	t.Bytes += bytes
}

func (s *scanTally) addAll(o *scanTally, biggest int) {
	s.all.add(o.all.Files, o.all.Bytes)
	s.touch.add(o.touch.Files, o.touch.Bytes)
	for to, from := range map[*[]tally][]tally{&s.kinds: o.kinds, &s.ages: o.ages, &s.sizes: o.sizes} {
		for i, t := range from {
			(*to)[i].add(t.Files, t.Bytes)
		}
	}
	for _, b := range o.big {
		s.big.offer(b.size, biggest, func() string { return b.path })
	}
}

// offer takes a file in if it is one of the biggest n.
func (b *bigFiles) offer(size int64, n int, path func() string) {
	if n == 0 || len(*b) == n && (size < (*b)[0].size || !(*b)[0].less(size, path())) {
		return
	}
	heap.Push(b, bigFile{path(), size})
	if len(*b) > n {
		heap.Pop(b)
	}
}

func (r *scanReport) add(t *organizer.Tree) {
	r.roots = append(r.roots, t.Roots...)
	r.folders += int64(len(t.Dirs))
	r.problems = append(r.problems, t.Problems...)
	now := r.now().UnixNano()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, part := range t.Parts(runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			s := r.newTally()
			for ref, f := range part {
				_, ext := r.set.Split(t.Name(ref))
				at := 0
				if k, _ := r.set.ByExtension(ext); k != nil {
					at = k.Index
				}
				s.kinds[at].add(1, f.Size)
				s.all.add(1, f.Size)
				age := 0
				for age < len(ageClasses)-1 && time.Duration(now-f.Mtime) >= ageClasses[age].below {
					age++
				}
				s.ages[age].add(1, f.Size)
				s.sizes[organizer.SizeClass(f.Size)].add(1, f.Size)
				if f.Left == organizer.NotLeft {
					s.touch.add(1, f.Size)
				}
				s.big.offer(f.Size, r.biggest, func() string { return t.Path(ref) })
			}
			mu.Lock()
			defer mu.Unlock()
			r.addAll(&s, r.biggest)
		})
	}
	wg.Wait()
	for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
		if n := t.Left[reason]; n > 0 {
			r.left[reason.String()] += n
		}
	}
}

// named are the tallies that count something, by name.
func named(names []string, tallies []tally) map[string]tally {
	out := map[string]tally{}
	for i, t := range tallies {
		if t.Files > 0 {
			have := out[names[i]]
			have.add(t.Files, t.Bytes)
			out[names[i]] = have
		}
	}
	return out
}

func (r *scanReport) byCategory() map[string]tally {
	names := make([]string, len(r.kinds))
	for i, k := range r.set.Kinds() {
		names[i] = k.Category
	}
	return named(names, r.kinds)
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
		o.field("categories", r.byCategory())
		ages := map[string]tally{}
		for i, c := range ageClasses {
			ages[c.name] = r.ages[i]
		}
		o.field("ages", ages)
		o.field("sizes", named(organizer.SizeClasses(), r.sizes))
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
	categories := r.byCategory()
	names := slices.SortedFunc(maps.Keys(categories), func(a, b string) int {
		return cmp.Or(cmp.Compare(categories[b].Bytes, categories[a].Bytes), cmp.Compare(a, b))
	})
	row := func(name string, t tally) {
		if t.Files > 0 {
			fmt.Fprintf(w, "  %-14s %10s  %8s\n", name, humanize.Comma(t.Files), bytesText(t.Bytes))
		}
	}
	fmt.Fprintln(w, r.paint(bold, "By category"))
	for _, c := range names {
		row(c, categories[c])
	}
	fmt.Fprintln(w, r.paint(bold, "Last changed"))
	for i, c := range ageClasses {
		row(c.name, r.ages[i])
	}
	fmt.Fprintln(w, r.paint(bold, "By size"))
	for i, c := range organizer.SizeClasses() {
		row(c, r.sizes[i])
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
