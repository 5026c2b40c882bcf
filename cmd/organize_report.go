package cmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"forg/journal"
	"forg/organizer"
)

// tally is files and bytes of a category.
type tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// organizeReport tells what an organize will do or did.
type organizeReport struct {
	*app
	plan     *organizer.Plan
	start    time.Time
	dryRun   bool
	quietOut bool // the answer is the plan itself
	watch    *watching
	asked    *asked
	would    string // what would be done with files that are dealt with where they are; "" if they are moved to folders
	count    map[string]*tally
}

func (r *organizeReport) add(label string, bytes int64) {
	if r.count == nil {
		r.count = map[string]*tally{}
	}
	t := r.count[label]
	if t == nil {
		t = &tally{}
		r.count[label] = t
	}
	t.Files++
	t.Bytes += bytes
}

// planned tells what would be done.
func (r *organizeReport) planned() error {
	var o *object
	if r.json && !r.quietOut {
		o = newObject(r.out)
		o.array("moves")
	}
	for i := range r.plan.Moves {
		m := &r.plan.Moves[i]
		if r.plan.Aside(m) {
			continue
		}
		size := r.plan.Tree.File(m.File).Size
		r.add(r.plan.Labels[m.Label], size)
		if o != nil {
			o.item(r.moveJSON(r.plan.Tree.Path(r.plan.Source(m)), r.plan.Target(m), r.plan.Labels[m.Label], m.Action, size))
		}
	}
	if o != nil {
		o.end()
		return errors.Join(r.finishJSON(o, nil, r.plan.Files(), r.plan.Bytes()), r.exit(nil))
	}
	if !r.quietOut {
		r.tree()
		r.leftAlone()
		r.said()
		r.careful()
	}
	return r.exit(nil)
}

// tree shows the plan as the folders it fills.
func (r *organizeReport) tree() {
	if r.quiet {
		return
	}
	w := bufio.NewWriter(r.out)
	defer w.Flush()
	if len(r.plan.Moves) == 0 {
		fmt.Fprintln(w, "Nothing to do.")
		return
	}
	byFolder := map[uint32][]int{}
	for i := range r.plan.Moves {
		if to := r.plan.Moves[i].To; !r.plan.Aside(&r.plan.Moves[i]) {
			byFolder[to] = append(byFolder[to], i)
		}
	}
	order := slices.SortedFunc(maps.Keys(byFolder), func(a, b uint32) int {
		return cmp.Compare(r.plan.Folders[a].Path, r.plan.Folders[b].Path)
	})
	for _, to := range order {
		r.folder(w, &r.plan.Folders[to], byFolder[to])
	}
	would := r.would
	if would == "" {
		would = "moved"
		if r.plan.IsCopy() {
			would = "copied"
		}
		would = fmt.Sprintf("%s into %d %s", would, len(order), plural(len(order), "folder"))
	}
	fmt.Fprintln(w)
	fill(w, "", fmt.Sprintf("%s, %s, would be %s. Nothing was changed.", filesText(r.plan.Files()), bytesText(r.plan.Bytes()), would), r.columns())
}

// folder shows a folder that moves go to.
func (r *organizeReport) folder(w io.Writer, f *organizer.Folder, moves []int) {
	const shown = 10
	called := func(i int) string {
		if r.would != "" {
			return r.plan.Tree.Path(r.plan.Moves[i].File)
		}
		return r.plan.Name(&r.plan.Moves[i])
	}
	slices.SortFunc(moves, func(a, b int) int { return cmp.Compare(called(a), called(b)) })
	var size int64
	for _, i := range moves {
		size += r.plan.Tree.File(r.plan.Moves[i].File).Size
	}
	mark := ""
	if !f.Exists {
		mark = r.paint(green, " (new)")
	}
	fmt.Fprintf(w, "%s/%s  %s, %s\n", r.paint(bold, r.tilde(f.Path)), mark, filesText(int64(len(moves))), bytesText(size))
	for n, i := range moves {
		if n == shown && !r.verbose && len(moves) > shown+1 {
			fmt.Fprintf(w, "  %s\n", r.paint(dim, fmt.Sprintf("... and %s more (-v shows all)", humanize.Comma(int64(len(moves)-shown)))))
			break
		}
		fmt.Fprintf(w, "  %s\n", r.line(&r.plan.Moves[i]))
	}
}

// line shows a move.
func (r *organizeReport) line(m *organizer.Move) string {
	from, name := r.plan.Tree.Name(r.plan.Source(m)), r.plan.Name(m)
	line := r.paint(green, "+ ")
	if r.would != "" { // it is all about the file where it is
		line += r.tilde(r.plan.Tree.Path(m.File))
	} else if line += show(name); from != name {
		line += r.paint(dim, " <- "+show(from))
	}
	line += r.paint(dim, "  "+bytesText(r.plan.Tree.File(m.File).Size))
	if original, ok := r.plan.SameAs[m.File]; ok {
		is, equal, there := "  same as ", show(r.plan.Tree.Name(original)), ""
		if r.plan.Similar {
			is = "  looks like "
		}
		if r.would != "" {
			equal = r.tilde(r.plan.Tree.Path(original))
		}
		if r.plan.IsResident(original) {
			there = ", which is there already"
		}
		line += r.paint(yellow, is+equal+there)
	}
	if note := r.plan.Note(m); note != "" {
		line += r.paint(dim, "  "+show(note))
	}
	return line
}

// leftAlone says what stays and why, and what deserves a second look.
func (r *organizeReport) leftAlone() {
	if r.quiet {
		return
	}
	var parts []string
	undone := int64(0)
	for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
		n := r.left(reason)
		if n == 0 {
			continue
		}
		if reason == organizer.LeftUndone {
			undone = n
		}
		parts = append(parts, leftText(reason, n))
	}
	if len(parts) > 0 {
		r.say("Left alone: %s.", strings.Join(parts, ", "))
	}
	if undone > 0 {
		r.say("What an undo has put back stays there; --again takes it too.")
	}
	if r.verbose {
		for ref, f := range r.plan.Tree.All() {
			if f.Left != organizer.NotLeft {
				fmt.Fprintf(r.out, "  %s: %s\n", r.tilde(r.plan.Tree.Path(ref)), f.Left)
			}
		}
	}
	if n := len(r.plan.SameAs); n > 0 {
		where := "of this run"
		for _, original := range r.plan.SameAs {
			if r.plan.IsResident(original) {
				where = "of this run or of the destination"
				break
			}
		}
		r.say("Duplicates: %s, %s, equal another file %s.", filesText(int64(n)), bytesText(r.plan.DupBytes), where)
	}
	if r.plan.Unchecked > 0 && r.verbose {
		r.say("The content of %s was not compared with the name; --detect content does.", filesText(r.plan.Unchecked))
	}
}

// said tells what the rules say about files, and which rules could not be decided.
func (r *organizeReport) said() {
	for _, s := range r.plan.Said {
		fmt.Fprintf(r.out, "%s\n", showText(s.Text))
	}
	for i, u := range r.plan.Undecided {
		if i == 20 && !r.verbose {
			r.warn("... and %d more conditions that could not be decided (-v shows all)", len(r.plan.Undecided)-i)
			break
		}
		r.warn("Undecided: %s: rule %q, %s: %v", r.tilde(u.Path), u.Rule.Name, u.Condition, u.Err)
	}
}

// careful names the files that are not what they seem. Whoever asks for quiet wants to know of those too.
func (r *organizeReport) careful() {
	for i, m := range r.plan.Mismatches {
		if r.watch != nil && !r.watch.news("careful "+m.Path) {
			continue
		}
		if i == 20 && !r.verbose {
			r.warn("... and %d more files that are not what their names say (-v shows all)", len(r.plan.Mismatches)-i)
			break
		}
		r.warn("Careful: %s: the name says %s, the content says %s", r.tilde(m.Path), m.Says, m.Is)
	}
}

// leftText says how many were left for a reason.
func leftText(reason organizer.Reason, n int64) string {
	text := reason.String()
	if n != 1 {
		switch reason {
		case organizer.LeftPartial, organizer.LeftDuplicate, organizer.LeftFolderBundle, organizer.LeftDestination, organizer.LeftSymlink,
			organizer.LeftSpecial, organizer.LeftSystem:
			text += "s"
		case organizer.LeftLinked:
			text = "hard links to another file system"
		case organizer.LeftProject:
			text = "projects or repositories"
		}
	}
	return humanize.Comma(n) + " " + text
}

func (r *organizeReport) left(reason organizer.Reason) int64 {
	return r.plan.Tree.Left[reason] + r.plan.Left[reason]
}

func (r *organizeReport) skipped() int64 {
	var n int64
	for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
		n += r.left(reason)
	}
	return n
}

// run carries the plan out and tells what was done.
func (r *organizeReport) run(ctx context.Context, j *journal.Journal, opt organizer.RunOptions) error {
	bar := r.newProgress()
	opt.Progress = bar.move(r.plan.Files())
	if r.asked != nil {
		opt.Progress = func(files, bytes int64) { r.asked.progress(r.plan.Files(), files, bytes) }
	}
	var o *object
	if r.json && r.asked == nil { // else the agent tells
		o = newObject(r.out)
		o.array("moves")
	}
	opt.Step = func(s *journal.Step, err error) {
		if err != nil {
			return
		}
		r.add(s.Label, s.File.Size)
		if o != nil {
			o.item(r.moveJSON(s.FromPath(), s.ToPath(), s.Label, s.Action, s.File.Size))
		}
	}
	res, err := organizer.Apply(ctx, j, r.plan, opt)
	bar.done()
	if res == nil {
		res = &organizer.Result{}
	}
	if o != nil {
		o.end()
		if e := r.finishJSON(o, res, res.Moved, res.Bytes); e != nil {
			err = errors.Join(err, e)
		}
	} else if r.watch != nil || r.asked != nil {
		r.batch(res)
	} else {
		r.summary(res, err)
	}
	return r.ended(res, err)
}

// ended is what a run that came to res and err means for the exit code, with what is to be said on standard error.
func (r *organizeReport) ended(res *organizer.Result, err error) error {
	if err != nil {
		if errors.Is(err, context.Canceled) {
			if res.ID != 0 {
				r.warn("Interrupted after %s. Undo with: forg undo %d", filesText(res.Moved), res.ID)
			}
			return err
		}
		if res.Moved > 0 {
			r.problems(res)
			return &exitError{exitPartial, err}
		}
		return err
	}
	return r.exit(res)
}

func (r *organizeReport) summary(res *organizer.Result, err error) {
	defer r.careful()
	defer r.said()
	if r.quiet {
		return
	}
	switch {
	case res.Moved == 0 && err == nil && len(res.Problems) == 0 && len(r.plan.Problems) == 0:
		fmt.Fprintln(r.out, "Nothing to do.")
	case res.Moved > 0:
		what := "Moved"
		if r.plan.IsCopy() {
			what = "Copied"
		}
		fmt.Fprintf(r.out, "%s %s, %s, in %s.\n", what, filesText(res.Moved), bytesText(res.Bytes), durationText(r.now().Sub(r.start)))
		width := 0
		for l := range r.count {
			width = max(width, len(l))
		}
		for _, l := range r.labels() {
			fmt.Fprintf(r.out, "  %s  %8s  %8s\n", r.paint(bold, fmt.Sprintf("%-*s", width, l)), humanize.Comma(r.count[l].Files), bytesText(r.count[l].Bytes))
		}
	}
	r.leftAlone()
	if res.Moved > 0 && err == nil {
		fmt.Fprintf(r.out, "Undo with: %s\n", r.paint(bold, fmt.Sprintf("forg undo %d", res.ID)))
	}
}

// labels are what was counted, most files first.
func (r *organizeReport) labels() []string {
	return slices.SortedFunc(maps.Keys(r.count), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.count[b].Files, r.count[a].Files), cmp.Compare(a, b))
	})
}

// batch tells in one line what a batch of a forg that keeps running has done.
func (r *organizeReport) batch(res *organizer.Result) {
	defer r.careful()
	if r.quiet || res.Moved == 0 || r.json {
		return
	}
	parts := make([]string, 0, len(r.count))
	for _, l := range r.labels() {
		parts = append(parts, fmt.Sprintf("%s %s", show(l), humanize.Comma(r.count[l].Files)))
	}
	fmt.Fprintf(r.out, "%s moved %s: %s; undo with: %s\n", r.now().Format("15:04"), filesText(res.Moved), strings.Join(parts, ", "),
		r.paint(bold, fmt.Sprintf("forg undo %d", res.ID)))
}

// idle ends a batch that has nothing to do: only what went wrong is worth a word, and not twice.
func (r *organizeReport) idle() error {
	all := slices.DeleteFunc(slices.Concat(r.plan.Tree.Problems, r.plan.Problems), func(p organizer.Problem) bool { return !r.watch.news(p.Err.Error()) })
	r.plan.Tree.Problems, r.plan.Problems = all, nil
	if len(all) == 0 {
		return nil
	}
	if r.json {
		o := newObject(r.out)
		o.array("moves")
		o.end()
		if err := r.finishJSON(o, nil, 0, 0); err != nil {
			return err
		}
	}
	for _, p := range all {
		r.complain(p.Err)
	}
	return nil
}

// builtinRule is the rule of files that the built-in categories placed.
const builtinRule = "built-in"

// moveJSON is a move of the plan; one that a rule of the user's made is counted under the rule's name.
func (r *organizeReport) moveJSON(from, to, label string, action journal.Action, bytes int64) jsonMove {
	m := moveJSON(from, to, label, action, bytes)
	if m.Rule = builtinRule; r.plan.ByRules {
		m.Rule = label
	}
	return m
}

func (r *organizeReport) finishJSON(o *object, res *organizer.Result, moved, bytes int64) error {
	var runProblems []organizer.Problem
	failed := int64(len(r.plan.Problems))
	if res != nil {
		runProblems = res.Problems
		failed += res.Failed
	}
	skipped := r.skipped()
	if res != nil {
		skipped += res.Skipped
	}
	if r.watch != nil {
		o.field("at", r.now().Format(time.RFC3339Nano))
	}
	o.field("operation", shortOf(res))
	o.field("dry_run", r.dryRun)
	o.field("scanned", r.plan.Tree.Files)
	o.field("moved", moved)
	o.field("skipped", skipped)
	o.field("failed", failed)
	o.field("duplicates", tally{int64(len(r.plan.SameAs)), r.plan.DupBytes})
	o.field("bytes", bytes)
	o.field("duration_ms", r.now().Sub(r.start).Milliseconds())
	if r.count == nil {
		r.count = map[string]*tally{}
	}
	o.field("categories", r.count)
	left := map[string]int64{}
	for reason := organizer.Reason(1); reason < organizer.Reasons; reason++ {
		if n := r.left(reason); n > 0 {
			left[reason.String()] = n
		}
	}
	o.field("left", left)
	type mismatch struct {
		Path string `json:"path"`
		Says string `json:"says"`
		Is   string `json:"is"`
	}
	odd := []mismatch{}
	for _, m := range r.plan.Mismatches {
		path, _ := organizer.ExactPath(m.Path)
		odd = append(odd, mismatch{path, m.Says, m.Is})
	}
	o.field("mismatches", odd)
	if r.plan.ByRules {
		type remark struct {
			Path      string `json:"path"`
			PathBytes []byte `json:"path_bytes,omitempty"`
			Rule      string `json:"rule,omitempty"`
			Text      string `json:"text"`
		}
		said, undecided := []remark{}, []remark{}
		for _, s := range r.plan.Said {
			path, raw := organizer.ExactPath(s.Path)
			said = append(said, remark{Path: path, PathBytes: raw, Text: s.Text})
		}
		for _, u := range r.plan.Undecided {
			path, raw := organizer.ExactPath(u.Path)
			undecided = append(undecided, remark{path, raw, u.Rule.Name, fmt.Sprintf("%s: %v", u.Condition, u.Err)})
		}
		o.field("said", said)
		o.field("undecided", undecided)
	}
	o.field("errors", problemsJSON(r.plan.Tree.Problems, r.plan.Problems, runProblems))
	return o.close()
}

// problems names on standard error what could not be done.
func (r *organizeReport) problems(res *organizer.Result) int {
	all := slices.Concat(r.plan.Tree.Problems, r.plan.Problems)
	if res != nil {
		all = append(all, res.Problems...)
		for _, n := range res.Notes {
			r.warn("Note: %v", n.Err)
		}
	}
	for _, p := range all {
		if r.watch == nil || r.watch.news(p.Err.Error()) {
			r.complain(p.Err)
		}
	}
	return len(all)
}

func (r *organizeReport) exit(res *organizer.Result) error {
	if r.problems(res) > 0 {
		return &exitError{code: exitPartial}
	}
	return nil
}
