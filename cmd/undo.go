package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"forg/journal"
	"forg/organizer"
)

type undoFlags struct {
	dryRun, cascade, verify bool
	only                    []string
	conflict                string
	wait                    time.Duration
	afar                    afarFlags
}

func (f *undoFlags) register(c *cobra.Command, redo bool) {
	fl := c.Flags()
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "show what would be put back and change nothing")
	fl.StringSliceVar(&f.only, "only", nil, "only files whose name (or, with a slash, path) matches the `glob`")
	choiceVar(fl, &f.conflict, "on-conflict", "report", "when the old name is taken (overwritten files go to the trash)", "report", "rename", "skip", "overwrite", "newer", "fail")
	fl.BoolVar(&f.verify, "verify", false, "read copies back from the disk before the original goes")
	fl.DurationVar(&f.wait, "wait", 0, "wait this `time` for another forg to finish")
	if !redo {
		fl.BoolVar(&f.cascade, "cascade", false, "first undo the later operations that moved the same files")
		f.afar.register(fl, "undo an operation of its own")
	}
}

func (a *app) undoCmd() *cobra.Command {
	var f undoFlags
	c := &cobra.Command{
		Use: "undo [OP]", Short: "Put files back where they were",
		Long: help(`Takes back operation OP (a number from "forg history", a UUID or the beginning of one, or "last"); without OP the
last one that is not undone. Every file goes back with its exact name, times and attributes, provided it is still the
file that was moved. Files edited since go back as they are; files that are gone or were replaced, and old names that
are taken, are reported and left alone. Undo is an operation itself: "forg redo" takes it back.

With --device, another device of yours takes back an operation of its own: OP is its UUID, as "forg history --device"
shows, or "last". That needs "forg login" here and there, and "forg agent" there, which allows it (docs/agent.md).`, exitUndoText),
		Example: `  forg undo
  forg undo 42
  forg undo -n 42                  show what would go back
  forg undo 42 --only '*.pdf'      put back a part of it
  forg undo 42 --cascade           with the later operations that moved its files
  forg undo --device laptop last   on another device`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, refs []string) error {
			if f.afar.device == "" {
				return a.reverse(c.Context(), refs, true, &f)
			}
			if err := f.afar.only(c, "only"); err != nil {
				return err
			}
			return a.serverTrouble(a.undoAfar(c.Context(), refs, f.only, &f.afar))
		},
	}
	f.register(c, false)
	return c
}

func (a *app) redoCmd() *cobra.Command {
	var f undoFlags
	c := &cobra.Command{
		Use: "redo [OP]", Short: "Carry out again what was undone",
		Long: help(`Takes back the undo of operation OP; OP may name the undo or the operation itself. Without OP it is the last undo.`,
			exitUndoText),
		Example: "  forg redo\n  forg redo 43",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE:    func(c *cobra.Command, refs []string) error { return a.reverse(c.Context(), refs, false, &f) },
	}
	f.register(c, true)
	return c
}

// target is the operation that an undo or redo is about.
func (a *app) target(ctx context.Context, j *journal.Journal, refs []string, undo bool) (journal.Operation, error) {
	var o journal.Operation
	var err error
	switch {
	case len(refs) == 0 || refs[0] == "last":
		if undo {
			o, err = j.LastNotUndone(ctx)
		} else {
			o, err = j.LastUndo(ctx)
		}
		if errors.Is(err, journal.ErrNone) {
			return o, errNothing
		}
	default:
		o, err = a.findOperation(ctx, j, refs[0])
	}
	if err != nil {
		return o, err
	}
	if o.Undoes != 0 {
		if undo && o.Kind == "undo" {
			return o, fmt.Errorf("operation %d is itself an undo: take it back with \"forg redo %d\"", o.ID, o.ID)
		}
		if o, err = j.Operation(ctx, fmt.Sprint(o.Undoes)); err != nil {
			return o, err
		}
	}
	if o.Pruned {
		return o, fmt.Errorf("operation %d was pruned from the history: what it did is no longer known", o.ID)
	}
	return o, nil
}

var errNothing = errors.New("nothing")

func (a *app) reverse(ctx context.Context, refs []string, undo bool, f *undoFlags) error {
	var j *journal.Journal
	var err error
	if f.dryRun {
		j, err = a.read(ctx)
	} else {
		j, err = a.existing(ctx, f.wait)
	}
	if errors.Is(err, fs.ErrNotExist) && len(refs) == 0 {
		return a.nothingReversed(undo)
	}
	if err != nil {
		return err
	}
	defer j.Close()
	o, err := a.target(ctx, j, refs, undo)
	if errors.Is(err, errNothing) {
		return a.nothingReversed(undo)
	}
	if err != nil {
		return err
	}
	ops := []journal.Operation{o}
	if undo {
		if ops, err = a.withLater(ctx, j, o, f); err != nil {
			return err
		}
	}
	opt := organizer.UndoOptions{Only: f.only}
	opt.Command, opt.Verify, opt.Trash = commandLine(), f.verify, a.findTrash()
	if f.conflict != "report" {
		opt.Conflict = organizer.Conflict(f.conflict)
	}
	if f.dryRun {
		return a.preview(ctx, j, ops, undo, opt)
	}
	total, err := a.reverseAll(ctx, j, ops, undo, opt, f.conflict == "fail")
	return a.reversed(o, total, undo, err)
}

// nothingReversed answers when there is no operation to take back.
func (a *app) nothingReversed(undo bool) error {
	if !a.json {
		a.say("Nothing to %s.", reverseVerb(undo))
		return nil
	}
	o := newObject(a.out)
	o.field("operation", nil)
	o.field("undid", nil)
	for _, k := range []string{"restored", "skipped", "failed"} {
		o.field(k, 0)
	}
	o.field("errors", []string{})
	return o.close()
}

func reverseVerb(undo bool) string {
	if undo {
		return "undo"
	}
	return "redo"
}

// withLater are the operations to take back with o, in the order in which to do it: those that moved its files on come first,
// if --cascade asks for them.
func (a *app) withLater(ctx context.Context, j *journal.Journal, o journal.Operation, f *undoFlags) ([]journal.Operation, error) {
	later, err := organizer.Later(ctx, j, o)
	if err != nil {
		return nil, err
	}
	switch {
	case len(later) > 0 && f.cascade:
		slices.Reverse(later)
		return append(later, o), nil
	case len(later) > 0 && !f.dryRun:
		a.warn("Later operations moved files of operation %d: %s. Undo them first, or all with: forg undo %d --cascade", o.ID, operationList(later), o.ID)
	}
	return []journal.Operation{o}, nil
}

// reverseAll takes operations back up to the first that fails. The result adds them up, and is never nil. With whole nothing
// is done of an operation that has conflicts.
func (a *app) reverseAll(ctx context.Context, j *journal.Journal, ops []journal.Operation, undo bool, opt organizer.UndoOptions, whole bool) (*organizer.Result, error) {
	total := &organizer.Result{}
	for _, op := range ops {
		if whole {
			_, problems, _, err := organizer.Preview(ctx, j, op, undo, nil, opt)
			if err != nil {
				return total, err
			}
			if len(problems) > 0 {
				total.Problems, total.Skipped = append(total.Problems, problems...), total.Skipped+int64(len(problems))
				return total, &exitError{exitConflict, fmt.Errorf("nothing of operation %d was moved, as --on-conflict fail says", op.ID)}
			}
		}
		reverse := organizer.Redo
		if undo {
			reverse = organizer.Undo
		}
		bar := a.newProgress()
		opt.Progress = bar.move(op.Moved)
		res, err := reverse(ctx, j, op, opt)
		bar.done()
		if res != nil {
			total.ID, total.UUID, total.Kind, total.Status = res.ID, res.UUID, res.Kind, res.Status
			total.Moved += res.Moved
			total.Skipped += res.Skipped
			total.Failed += res.Failed
			total.Bytes += res.Bytes
			total.Problems = append(total.Problems, res.Problems...)
			total.Notes = append(total.Notes, res.Notes...)
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// reversed tells what an undo or redo of o came to, with err, and is what that means for the exit code.
func (a *app) reversed(o journal.Operation, total *organizer.Result, undo bool, err error) error {
	switch {
	case a.json:
		out := newObject(a.out)
		out.field("operation", shortOf(total))
		out.field("undid", o.ID)
		out.field("restored", total.Moved)
		out.field("skipped", total.Skipped)
		out.field("failed", total.Failed)
		out.field("bytes", total.Bytes)
		out.field("notes", problemsJSON(total.Notes))
		out.field("errors", problemsJSON(total.Problems))
		if e := out.close(); e != nil {
			err = errors.Join(err, e)
		}
	case err != nil && total.Moved == 0:
	case total.Moved == 0 && len(total.Problems) == 0:
		a.say("Nothing to %s: every file of operation %d is where it was.", reverseVerb(undo), o.ID)
	case undo:
		a.say("Put back %s, %s.", filesText(total.Moved), bytesText(total.Bytes))
		if total.ID != 0 {
			a.say("Take this back with: %s", a.paint(bold, fmt.Sprintf("forg redo %d", total.ID)))
		}
	default:
		a.say("Moved again %s, %s.", filesText(total.Moved), bytesText(total.Bytes))
		if total.ID != 0 && total.Moved > 0 {
			a.say("Undo with: %s", a.paint(bold, fmt.Sprintf("forg undo %d", o.ID)))
		}
	}
	for _, n := range total.Notes {
		a.warn("Note: %v", n.Err)
	}
	for _, p := range total.Problems {
		a.complain(p.Err)
	}
	switch {
	case err != nil && errors.Is(err, context.Canceled):
		a.warn("Interrupted after %s. The same command goes on from here.", filesText(total.Moved))
		return err
	case err != nil:
		return err
	case total.Skipped > 0:
		return &exitError{code: exitConflict}
	case total.Failed > 0 || len(total.Problems) > 0:
		return &exitError{code: exitPartial}
	}
	return nil
}

// existing opens the journal for writing but does not make one.
func (a *app) existing(ctx context.Context, wait time.Duration) (*journal.Journal, error) {
	r, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	r.Close()
	return a.open(ctx, wait)
}

func operationList(ops []journal.Operation) string {
	text := ""
	for i, o := range ops {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(o.ID)
	}
	return text
}

func (a *app) preview(ctx context.Context, j *journal.Journal, ops []journal.Operation, undo bool, opt organizer.UndoOptions) error {
	var all []organizer.Problem
	var o *object
	w := bufio.NewWriter(a.out)
	if a.json {
		o = newObject(w)
		o.array("moves")
	}
	files := int64(0)
	placed := map[string]bool{}
	for _, op := range ops {
		steps, problems, notes, err := organizer.Preview(ctx, j, op, undo, placed, opt)
		if err != nil {
			return err
		}
		all = append(all, problems...)
		for _, n := range notes {
			a.warn("Note: %v", n.Err)
		}
		for i := range steps {
			s := &steps[i]
			if s.Action == journal.Mkdir || s.Action == journal.Rmdir {
				continue
			}
			files++
			placed[s.ToPath()] = true
			if o != nil {
				o.item(moveJSON(s.FromPath(), s.ToPath(), s.Label, s.Action, s.File.Size))
			} else if !a.quiet {
				fmt.Fprintln(w, a.beside(a.tilde(s.FromPath()), " ", "-> "+a.tilde(s.ToPath()), "    "))
			}
		}
	}
	if o != nil {
		o.end()
		o.field("operation", nil)
		o.field("dry_run", true)
		o.field("undid", ops[len(ops)-1].ID)
		o.field("restored", files)
		o.field("skipped", len(all))
		o.field("failed", 0)
		o.field("errors", problemsJSON(all))
		if err := o.close(); err != nil {
			return err
		}
	} else if !a.quiet {
		fmt.Fprintf(w, "%s would go back. Nothing was changed.\n", filesText(files))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range all {
		a.complain(p.Err)
	}
	if len(all) > 0 {
		return &exitError{code: exitConflict}
	}
	return nil
}
