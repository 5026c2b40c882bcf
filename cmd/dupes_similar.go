package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"forg/organizer"
	"forg/organizer/images"
	"forg/organizer/metadata"
	"forg/rules"
)

// similarOptions checks the flags that are about pictures that look alike.
func (d *duping) similarOptions() error {
	f := d.flags
	switch {
	case f.similar == "" && f.from == "" && (f.thresholdGiven || f.rotation):
		return usage("--threshold and --rotation are for pictures that look alike: add --similar images")
	case f.similar == "":
		return nil
	case f.threshold < 0 || f.threshold > images.MaxThreshold:
		return usage("--threshold %d: it is 0 to %d; %d finds what is the same to the eye", f.threshold, images.MaxThreshold, images.DefaultThreshold)
	case !slices.Contains([]string{formatText, formatJSON, formatNDJSON, formatHTML}, f.format):
		return usage("--format %s lists equal files; of pictures that look alike there are text, json, ndjson and html", f.format)
	case f.isolate || f.empty || f.minCopies != 1 || f.chosen:
		return usage("--keep, --priority, --isolate, --empty and --min-copies are for equal files; which of similar pictures stays is for you to say, in a review")
	case f.acts() || f.interactive:
		return usage("that pictures look alike is no proof: nothing is done to them without your review.\n" +
			"Make a page of them, tick what may go, save the selection and act on that:\n" +
			"  forg dupes --similar images --format html --output similar.html PATH...\n" +
			"  forg dupes --from selection.json --action trash")
	case f.from != "":
		return usage("--from names the files, and --similar looks for them: give one of the two")
	}
	return nil
}

// similarRun finds and reports pictures that look alike.
func (d *duping) similarRun(ctx context.Context, tree *organizer.Tree, bar *progress, start time.Time) error {
	f := d.flags
	var known *metadata.Cache
	if dir, err := d.cacheDir(); err == nil && !f.noCache {
		known, _ = metadata.OpenCache(filepath.Join(dir, "metadata.db")) // it only saves time
	}
	defer known.Close()
	cache, done := d.hashCache(f.noCache)
	defer done()
	found, err := organizer.FindSimilar(ctx, tree, rules.Builtin(), organizer.SimilarOptions{Threshold: f.threshold, Rotation: f.rotation,
		Reference: d.find.Reference, Projects: f.inside, MinSize: d.find.MinSize, MaxSize: d.find.MaxSize,
		Metadata: metadata.NewReader(metadata.Limits{}, known), Cache: cache, Progress: bar.pictures})
	if err != nil {
		return err
	}
	bar.done()
	r := &similarReport{dupesReport: dupesReport{app: d.app, found: &organizer.Duplicates{Tree: tree}, start: start, format: f.format, to: f.output}, similar: found}
	r.draw = func(w io.Writer) error { return r.write(ctx, w, bar) }
	if err := r.output(); err != nil {
		return err
	}
	problems := slices.Concat(tree.Problems, found.Problems)
	for _, p := range problems {
		r.complain(p.Err)
	}
	if len(problems) > 0 {
		return &exitError{code: exitPartial}
	}
	return nil
}

// similarReport tells which pictures look alike.
type similarReport struct {
	dupesReport
	similar *organizer.Similar
}

// write writes the report in its format.
func (r *similarReport) write(ctx context.Context, w io.Writer, bar *progress) error {
	s := r.similar
	switch r.format {
	case formatJSON:
		o := newObject(w)
		o.field("similar", true)
		o.field("reviewed", false)
		o.field("threshold", s.Threshold)
		o.array("groups")
		for i := range s.Groups {
			o.item(s.Selection(i))
		}
		o.end()
		r.totals(o.field)
		o.field("operation", nil)
		o.field("errors", problemsJSON(s.Tree.Problems, s.Problems))
		return o.close()
	case formatNDJSON:
		b := bufio.NewWriterSize(w, 64<<10)
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		for i := range s.Groups {
			e.Encode(struct { // our own types encode, and b keeps the error of its stream
				Type    string `json:"type"`
				Similar bool   `json:"similar"`
				organizer.SelectionGroup
			}{"group", true, s.Selection(i)})
		}
		for _, p := range problemsJSON(s.Tree.Problems, s.Problems) {
			e.Encode(struct {
				Type string `json:"type"`
				jsonProblem
			}{"error", p})
		}
		total := map[string]any{"type": "summary", "groups": len(s.Groups), "threshold": s.Threshold}
		r.totals(func(name string, v any) { total[name] = v })
		e.Encode(total)
		return b.Flush()
	case formatHTML:
		return r.page(ctx, w, bar)
	}
	if r.quiet {
		return nil
	}
	return r.text(w)
}

// totals are the numbers of a report.
func (r *similarReport) totals(field func(name string, v any)) {
	s := r.similar
	field("scanned", s.Tree.Files)
	field("pictures", s.Pictures)
	field("plain_pictures", s.Plain)
	field("unsupported_files", s.Unsupported)
	field("similar_files", r.files())
	field("similar_bytes", s.Bytes)
	field("duration_ms", r.now().Sub(r.start).Milliseconds())
}

// files is how many pictures look like a better one.
func (r *similarReport) files() (n int64) {
	for i := range r.similar.Groups {
		n += int64(len(r.similar.Groups[i].Files) - 1)
	}
	return n
}

func (r *similarReport) text(out io.Writer) error {
	w := bufio.NewWriter(out)
	s := r.similar
	all := r.verbose || !r.outTTY
	for i := range s.Groups {
		g := &s.Groups[i]
		if !all && i == shownGroups {
			left := int64(0)
			for _, g := range s.Groups[i:] {
				left += g.Bytes
			}
			fmt.Fprintf(w, "%s\n", r.paint(dim, fmt.Sprintf("... and %s more groups, %s (-v shows all)", humanize.Comma(int64(len(s.Groups)-i)), bytesText(left))))
			break
		}
		fmt.Fprintf(w, "  %8s  %s\n", bytesText(g.Bytes), r.paint(dim, fmt.Sprintf("%d pictures that look alike", len(g.Files))))
		for k := range g.Files {
			if !all && k == shownFiles && len(g.Files) > shownFiles+1 {
				fmt.Fprintf(w, "            %s\n", r.paint(dim, fmt.Sprintf("... and %s more (-v shows all)", humanize.Comma(int64(len(g.Files)-k)))))
				break
			}
			f := &g.Files[k]
			mark := r.paint(green, "best")
			if k > 0 {
				mark = fmt.Sprintf("%4d", f.Distance)
			}
			notes := append([]string{fmt.Sprintf("%d x %d", f.Width, f.Height), bytesText(s.Tree.File(f.File).Size)}, r.notes(g, k)...)
			fmt.Fprintf(w, "    %s  %s%s\n", mark, r.tilde(s.Tree.Path(f.File)), r.paint(dim, "  "+strings.Join(notes, ", ")))
		}
	}
	if n := r.files(); n > 0 {
		verb := "look"
		if n == 1 {
			verb = "looks"
		}
		fmt.Fprintf(w, "\n%s of %s pictures, in %s %s, %s like a better one: %s.\n", humanize.Comma(n), humanize.Comma(s.Pictures), humanize.Comma(int64(len(s.Groups))),
			plural(len(s.Groups), "group"), verb, r.paint(bold, bytesText(s.Bytes)))
	} else {
		fmt.Fprintf(w, "No two of %s pictures look alike.\n", humanize.Comma(s.Pictures))
	}
	if s.Plain > 0 {
		fmt.Fprintf(w, "Too little to see for a comparison: %s.\n", filesText(s.Plain))
	}
	if s.Unsupported > 0 {
		fmt.Fprintf(w, "Not compared: %s of formats that forg cannot decode, such as HEIC, SVG and raw photos.\n", filesText(s.Unsupported))
	}
	if r.outTTY && len(s.Groups) > 0 {
		fmt.Fprintf(w, "%s\n", r.paint(dim, "Nothing was changed. --format html --output similar.html makes a page on which you see them and choose what goes."))
	}
	return w.Flush()
}

// notes is what is worth knowing of a picture of a group besides its numbers.
func (r *similarReport) notes(g *organizer.SimilarGroup, k int) (notes []string) {
	f := &g.Files[k]
	if f.Turn != images.Upright {
		notes = append(notes, f.Turn.String())
	}
	if f.Same != k {
		notes = append(notes, "same bytes as "+show(r.similar.Tree.Name(g.Files[f.Same].File)))
	}
	var with []string
	for _, w := range f.With {
		with = append(with, show(r.similar.Tree.Name(w)))
	}
	if len(with) > 0 {
		notes = append(notes, "with "+strings.Join(with, ", "))
	}
	if f.Role != organizer.Kept {
		notes = append(notes, "stays: "+roleText(f.Role))
	}
	return notes
}

// selectionHead tells a selection, or a report of similar pictures, from reports of equal files.
var selectionHead = regexp.MustCompile(`^(\xef\xbb\xbf)?\s*\{\s*"similar"\s*:\s*true`)

// selection reads --from if it is a selection of similar pictures, and returns nil if it is not.
func (d *duping) selection() (*organizer.Selection, error) {
	in, name := d.in, "standard input"
	if d.flags.from != "-" {
		file, err := os.Open(d.flags.from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		defer file.Close()
		in, name = file, d.flags.from
	}
	b := bufio.NewReaderSize(in, 64<<10)
	head, err := b.Peek(256)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("--from %s: %w", name, err)
	}
	if !selectionHead.Match(head) {
		d.in = b // in case that it is read again
		return nil, nil
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		b.Discard(3)
	}
	s, err := organizer.ReadSelection(b)
	switch {
	case errors.Is(err, organizer.ErrNotReviewed):
		return nil, usage("--from %s: %w. Look at the pictures on the page that --format html makes, and save your selection there", name, err)
	case errors.Is(err, organizer.ErrSelection):
		return nil, usage("--from %s: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("--from %s: %w", name, err)
	case d.flags.interactive:
		return nil, usage("--from %s: this selection of similar pictures was reviewed already", name)
	case d.flags.action != string(organizer.DuplicatesTrash):
		return nil, usage("--from %s: similar pictures are not equal, and all that can be done is --action trash (-n shows what it would do)", name)
	}
	return s, nil
}

// selectionRun carries out a selection.
func (d *duping) selectionRun(ctx context.Context, s *organizer.Selection, start time.Time) error {
	f := d.flags
	paths := s.Paths()
	report := &dupesReport{app: d.app, found: &organizer.Duplicates{Tree: &organizer.Tree{}}, start: start, format: f.format}
	act := organizer.DuplicatePlanOptions{Action: organizer.DuplicatesTrash}
	root := commonFolder(paths)
	if !f.dryRun && len(paths) > 0 {
		j, err := d.open(ctx, f.wait)
		if err != nil {
			return err
		}
		defer j.Close()
		unlock, err := lockTrees(ctx, []string{root}, f.wait)
		if err != nil {
			return err
		}
		defer unlock()
		plan, err := d.selectionPlan(ctx, s, paths, root, report)
		if err != nil {
			return err
		}
		return report.act(ctx, j, plan, act, organizer.RunOptions{Command: commandLine(), Conflict: organizer.ConflictRename, Trash: d.findTrash()})
	}
	plan, err := d.selectionPlan(ctx, s, paths, root, report)
	if err != nil {
		return err
	}
	return report.planned(plan, act)
}

func (d *duping) selectionPlan(ctx context.Context, s *organizer.Selection, paths []string, root string, report *dupesReport) (*organizer.Plan, error) {
	f := d.flags
	if len(d.dirs) > 0 { // only what lies below a PATH
		paths = slices.DeleteFunc(paths, func(p string) bool {
			return !slices.ContainsFunc(d.dirs, func(dir string) bool { return organizer.Within(p, dir) })
		})
	}
	tree := &organizer.Tree{Roots: []string{root}}
	if len(paths) > 0 {
		t, err := organizer.Scan(ctx, root, rules.Builtin(), organizer.ScanOptions{Only: paths, LookAbove: true, Hidden: true, Include: f.include,
			Exclude: f.exclude, Now: d.now(), Projects: true, VersionControl: !f.inside})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case t == nil:
			tree.Problems = []organizer.Problem{{Path: root, Err: err}}
		default:
			tree = t
		}
	}
	report.found.Tree = tree
	// What is not there is told of as what it was to be: a picture that goes or stays.
	told := tree.Problems
	tree.Problems = nil
	plan, err := organizer.PlanSelection(ctx, s, tree, rules.Builtin(), organizer.SelectionOptions{Reference: d.find.Reference, Projects: f.inside,
		Trash: d.findTrash(), Now: d.now()})
	if err == nil && len(plan.Problems) == 0 {
		tree.Problems = told
	}
	return plan, err
}
