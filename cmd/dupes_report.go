package cmd

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"forg/journal"
	"forg/organizer"
)

// dupesReport tells which files are superfluous, and what was done with them.
type dupesReport struct {
	*app
	found     *organizer.Duplicates
	start     time.Time
	format    string                  // one of those of --format
	to        string                  // file for a report; "" or "-" for standard output
	minCopies int                     // copies of a content that were to stay
	dir       string                  // working directory
	draw      func(w io.Writer) error // writes the report, if it is not about equal files
}

// How much of a report a terminal is given at once. -v shows all of it, and so does a pipe.
const (
	shownFolders = 10
	shownGroups  = 20
	shownFiles   = 10 // of a group
)

// print reports what was found.
func (r *dupesReport) print() error {
	if err := r.output(); err != nil {
		return err
	}
	all := r.problems(nil, nil)
	for _, p := range all {
		r.complain(p.Err)
	}
	if len(all) > 0 {
		return &exitError{code: exitPartial}
	}
	return nil
}

// problems are what could not be read, compared, planned or done.
func (r *dupesReport) problems(plan *organizer.Plan, res *organizer.Result) []organizer.Problem {
	all := slices.Clone(r.found.Tree.Problems)
	if plan != nil { // which took over those of the comparison
		all = append(all, plan.Problems...)
	} else {
		all = append(all, r.found.Problems...)
	}
	if res != nil {
		all = append(all, res.Problems...)
	}
	return all
}

func (r *dupesReport) text(out io.Writer) error {
	w := bufio.NewWriter(out)
	d := r.found
	all := r.verbose || !r.outTTY
	r.folders(w, all)
	shown, left, leftBytes, told := 0, 0, int64(0), 0
	for i := range d.Groups {
		g := &d.Groups[i]
		switch {
		case !r.verbose && r.toldByFolder(g):
			told++
		case !all && shown == shownGroups:
			left++
			leftBytes += g.Wasted
		default:
			if shown++; shown == 1 && len(d.Folders) > 0 {
				fmt.Fprintf(w, "\n%s\n", r.paint(bold, "Files"))
			}
			r.group(w, g, all)
		}
	}
	if left > 0 {
		fmt.Fprintf(w, "%s\n", r.paint(dim, fmt.Sprintf("... and %s more groups, %s (-v shows all)", humanize.Comma(int64(left)), bytesText(leftBytes))))
	}
	if told > 0 {
		fmt.Fprintf(w, "%s\n", r.paint(dim, fmt.Sprintf("The files of the folders above are not listed again: %s %s (-v lists them).", humanize.Comma(int64(told)), plural(told, "group"))))
	}
	if len(d.Groups) > 0 {
		fmt.Fprintln(w)
		verb := "are"
		if d.Files == 1 {
			verb = "is"
		}
		fmt.Fprintf(w, "%s of %s, in %s %s, %s superfluous: %s.\n", filesText(d.Files), humanize.Comma(d.Tree.Files), humanize.Comma(int64(len(d.Groups))),
			plural(len(d.Groups), "group"), verb, r.paint(bold, bytesText(d.Wasted)))
	} else {
		fmt.Fprintf(w, "No duplicates among %s, %s.\n", filesText(d.Tree.Files), bytesText(d.Tree.Bytes))
	}
	if d.Protected > 0 {
		fmt.Fprintf(w, "In projects and repositories, which are left whole, are %s more; --inside-projects counts them in.\n", filesText(d.Protected))
	}
	if r.verbose {
		for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
			if n := d.Tree.Left[reason]; n > 0 {
				fmt.Fprintf(w, "Not looked at: %s.\n", leftText(reason, n))
			}
		}
		fmt.Fprintf(w, "Found in %s.\n", durationText(r.now().Sub(r.start)))
	}
	if r.outTTY && d.Files > 0 {
		fill(w, "", r.paint(dim, "Nothing was changed. --action trash moves what is superfluous to the trash, and \"forg undo\" brings it back."), r.columns())
	}
	return w.Flush()
}

// folders lists the folders that are in others too.
func (r *dupesReport) folders(w *bufio.Writer, all bool) {
	d := r.found
	if len(d.Folders) == 0 {
		return
	}
	fmt.Fprintln(w, r.paint(bold, "Folders"))
	for i, c := range d.Folders {
		if !all && i == shownFolders && len(d.Folders) > shownFolders+1 {
			var rest int64
			for _, c := range d.Folders[i:] {
				rest += c.Bytes
			}
			fmt.Fprintf(w, "  %s\n", r.paint(dim, fmt.Sprintf("... and %s more, %s (-v shows all)", humanize.Comma(int64(len(d.Folders)-i)), bytesText(rest))))
			break
		}
		is := "is a copy of"
		if !c.Exact {
			is = "is all in"
		}
		note := filesText(c.Files)
		if c.LeftOut > 0 {
			note += fmt.Sprintf("; %s besides not compared", humanize.Comma(c.LeftOut))
		}
		fmt.Fprintf(w, "  %8s  %s  %s  %s  %s\n", bytesText(c.Bytes), r.tilde(d.Tree.Dirs[c.Folder].Path), r.paint(yellow, is),
			r.tilde(d.Tree.Dirs[c.Of].Path), r.paint(dim, "("+note+")"))
	}
}

// toldByFolder reports whether all that is superfluous in a group lies in folders that are told of.
func (r *dupesReport) toldByFolder(g *organizer.DuplicateGroup) bool {
	return !slices.ContainsFunc(g.Files, func(c organizer.Copy) bool { return c.Role == organizer.Superfluous && r.found.FolderCopy(c.File) < 0 })
}

// group lists a group, the copy that stays first.
func (r *dupesReport) group(w *bufio.Writer, g *organizer.DuplicateGroup, all bool) {
	copies := 0
	for i, c := range g.Files {
		if int(c.Same) == i {
			copies++
		}
	}
	fmt.Fprintf(w, "  %8s  %s\n", bytesText(g.Wasted), r.paint(dim, fmt.Sprintf("%s copies of %s", humanize.Comma(int64(copies)), bytesText(g.Size))))
	for i, c := range g.Files {
		if !all && i == shownFiles && len(g.Files) > shownFiles+1 {
			fmt.Fprintf(w, "            %s\n", r.paint(dim, fmt.Sprintf("... and %s more (-v shows all)", humanize.Comma(int64(len(g.Files)-i)))))
			break
		}
		mark, why := "    "+r.paint(green, "keep")+"  ", ""
		switch {
		case i == 0:
			why = g.Why
		case c.Role == organizer.Superfluous && int(c.Same) == i:
			mark = "          "
		case c.Role == organizer.Superfluous:
			mark, why = "          ", "another name of "+r.tilde(r.found.Tree.Path(g.Files[c.Same].File))
		case c.Role == organizer.Kept && r.minCopies == 1:
			why = "kept in the report"
		default:
			why = roleText(c.Role)
		}
		w.WriteString(mark) // a bufio.Writer keeps its error for Flush
		w.WriteString(r.tilde(r.found.Tree.Path(c.File)))
		if why != "" {
			w.WriteString(r.paint(dim, "  "+why))
		}
		w.WriteByte('\n')
	}
}

// roleText says why a file stays besides the first.
func roleText(role organizer.Role) string {
	switch role {
	case organizer.Kept:
		return "--min-copies"
	case organizer.Linked:
		return "another name of a file that stays"
	case organizer.Shared:
		return "shares its blocks with a file that stays"
	case organizer.Protected:
		return "in a project"
	case organizer.Isolated:
		return "below the same PATH"
	}
	return role.String()
}

// jsonGroup is a group of equal files, as every JSON of forg dupes has it.
type jsonGroup struct {
	Size   int64      `json:"size"`
	Hash   string     `json:"hash,omitempty"`
	Wasted int64      `json:"wasted_bytes"`
	Files  []jsonCopy `json:"files"`
}

type jsonCopy struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	Keep      bool   `json:"keep"`
	Role      string `json:"role"`
	Why       string `json:"why,omitempty"`    // of the first: what decided that it stays
	Linked    *int32 `json:"linked,omitempty"` // index of the first name of the same file on the disk
}

// jsonFolder is a folder of which all is in another.
type jsonFolder struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	Of        string `json:"of"`
	OfBytes   []byte `json:"of_bytes,omitempty"`
	Exact     bool   `json:"exact"`
	Files     int64  `json:"files"`
	Bytes     int64  `json:"bytes"`
	LeftOut   int64  `json:"not_compared"`
}

func (r *dupesReport) jsonGroup(g *organizer.DuplicateGroup) jsonGroup {
	out := jsonGroup{Size: g.Size, Wasted: g.Wasted, Files: make([]jsonCopy, len(g.Files))}
	if g.Hash != [32]byte{} {
		out.Hash = "blake3:" + hex.EncodeToString(g.Hash[:])
	}
	for i, c := range g.Files {
		f := jsonCopy{Keep: c.Role != organizer.Superfluous, Role: c.Role.String()}
		f.Path, f.PathBytes = organizer.ExactPath(r.found.Tree.Path(c.File))
		if i == 0 {
			f.Why = g.Why
		}
		if int(c.Same) != i {
			f.Linked = &c.Same
		}
		out.Files[i] = f
	}
	return out
}

func (r *dupesReport) jsonFolder(c *organizer.FolderCopies) jsonFolder {
	out := jsonFolder{Exact: c.Exact, Files: c.Files, Bytes: c.Bytes, LeftOut: c.LeftOut}
	out.Path, out.PathBytes = organizer.ExactPath(r.found.Tree.Dirs[c.Folder].Path)
	out.Of, out.OfBytes = organizer.ExactPath(r.found.Tree.Dirs[c.Of].Path)
	return out
}

// groups writes what was found.
func (r *dupesReport) groups(o *object) {
	o.array("groups")
	for i := range r.found.Groups {
		o.item(r.jsonGroup(&r.found.Groups[i]))
	}
	o.end()
	o.array("folders")
	for i := range r.found.Folders {
		o.item(r.jsonFolder(&r.found.Folders[i]))
	}
	o.end()
}

// totals writes the rest of the object, all but its end.
func (r *dupesReport) totals(o *object, plan *organizer.Plan, res *organizer.Result) {
	o.field("scanned", r.found.Tree.Files)
	o.field("duplicate_files", r.found.Files)
	o.field("wasted_bytes", r.found.Wasted)
	o.field("protected_files", r.found.Protected)
	o.field("duration_ms", r.now().Sub(r.start).Milliseconds())
	o.field("operation", shortOf(res))
	o.field("errors", problemsJSON(r.problems(plan, res)))
}

// planned tells what a plan would do.
func (r *dupesReport) planned(plan *organizer.Plan, opt organizer.DuplicatePlanOptions) error {
	o := &organizeReport{app: r.app, plan: plan, start: r.start, dryRun: true, would: r.done(opt)}
	if !r.json {
		o.tree()
		return o.exit(nil)
	}
	out := newObject(r.out)
	r.groups(out)
	out.field("dry_run", true)
	out.array("moves")
	for i := range plan.Moves {
		m := &plan.Moves[i]
		out.item(moveJSON(plan.Tree.Path(m.File), plan.Target(m), "", m.Action, plan.Tree.File(m.File).Size))
	}
	out.end()
	r.totals(out, plan, nil)
	if err := out.close(); err != nil {
		return err
	}
	return o.exit(nil)
}

// done is what an action does with files, as in "3 files would be ...".
func (r *dupesReport) done(opt organizer.DuplicatePlanOptions) string {
	switch opt.Action {
	case organizer.DuplicatesHardlink:
		return "replaced by hard links"
	case organizer.DuplicatesSymlink:
		return "replaced by symbolic links"
	case organizer.DuplicatesReflink:
		return "made to share their blocks on the disk"
	case organizer.DuplicatesFolder:
		return "moved below " + r.tilde(opt.Into)
	case organizer.DuplicatesExec:
		return "given to the program"
	}
	return "moved to the trash"
}

// act carries a plan out and tells what was done.
func (r *dupesReport) act(ctx context.Context, j *journal.Journal, plan *organizer.Plan, opt organizer.DuplicatePlanOptions, run organizer.RunOptions) error {
	bar := r.newProgress()
	run.Progress = bar.move(plan.Files())
	var o *object
	if r.json {
		o = newObject(r.out)
		r.groups(o)
		o.field("dry_run", false)
		o.array("moves")
		run.Step = func(s *journal.Step, err error) {
			if err == nil {
				o.item(moveJSON(s.FromPath(), s.ToPath(), "", s.Action, s.File.Size))
			}
		}
	}
	res, err := organizer.Apply(ctx, j, plan, run)
	bar.done()
	if res == nil {
		res = &organizer.Result{}
	}
	if o != nil {
		o.end()
		r.totals(o, plan, res)
		if e := o.close(); e != nil && err == nil {
			err = e
		}
	} else if !r.quiet {
		r.summary(plan, res, opt, err)
	}
	return (&organizeReport{app: r.app, plan: plan, start: r.start}).ended(res, err)
}

func (r *dupesReport) summary(plan *organizer.Plan, res *organizer.Result, opt organizer.DuplicatePlanOptions, err error) {
	defer func() {
		for reason, n := range plan.Left {
			if n > 0 {
				fmt.Fprintf(r.out, "Left alone: %s.\n", leftText(organizer.Reason(reason), n))
			}
		}
	}()
	if res.Moved == 0 {
		if err == nil && len(res.Problems) == 0 && len(plan.Problems) == 0 {
			fmt.Fprintln(r.out, "Nothing to do.")
		}
		return
	}
	verb := "were"
	if res.Moved == 1 {
		verb = "was"
	}
	fmt.Fprintf(r.out, "%s, %s, %s %s, in %s.\n", filesText(res.Moved), bytesText(res.Bytes), verb, r.done(opt), durationText(r.now().Sub(r.start)))
	switch opt.Action {
	case organizer.DuplicatesTrash, organizer.DuplicatesHardlink, organizer.DuplicatesSymlink:
		r.say("The disk gains the room when the trash is emptied; until then undo brings all of it back.")
	case organizer.DuplicatesExec:
		fmt.Fprintln(r.out, "What the program did cannot be undone.")
		return
	}
	if err == nil {
		fmt.Fprintf(r.out, "Undo with: %s\n", r.paint(bold, fmt.Sprintf("forg undo %d", res.ID)))
	}
}
