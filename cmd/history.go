package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"forg/journal"
	"forg/organizer"
)

func (a *app) historyCmd() *cobra.Command {
	var limit int
	var device string
	c := &cobra.Command{
		Use: "history", Short: "List what forg did, newest first",
		Long: help(`Lists the operations of the journal, newest first. "forg show OP" prints one, file by file. With --device it lists those
of another of your devices, as far as "forg sync" has brought them.`, exitUsageText),
		Example: "  forg history\n  forg history --limit 5\n  forg history --device laptop\n  forg history --json | jq '.operations[0]'\n  forg history prune --older-than 365d",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage("--limit %d: it cannot be negative", limit)
			}
			if device != "" {
				return a.historyElsewhere(c.Context(), device, limit)
			}
			return a.history(c.Context(), limit)
		},
	}
	c.Flags().IntVar(&limit, "limit", 0, "list at most this `number` of operations")
	c.Flags().StringVar(&device, "device", "", "another `device`, by name or id, or all of them: \"all\"")
	var older string
	var dryRun bool
	prune := &cobra.Command{
		Use: "prune", Short: "Forget old operations",
		Long: help(`Forgets operations that finished longer ago than --older-than: their names and paths leave the journal for good and
they cannot be undone any more. Files are not touched.`, exitUsageText),
		Example: "  forg history prune --older-than 365d\n  forg history prune --older-than 90d -n",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if older == "" {
				return usage("history prune needs --older-than AGE: 90d, 12w, 2y or 36h")
			}
			age, err := parseAge(older)
			if err != nil {
				return usage("--older-than: %w", err)
			}
			j, err := a.existing(c.Context(), 0)
			if errors.Is(err, fs.ErrNotExist) {
				a.say("There is no history yet.")
				return nil
			}
			if err != nil {
				return err
			}
			defer j.Close()
			n, err := j.Prune(c.Context(), a.now().Add(-age), dryRun)
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(map[string]any{"pruned": n, "dry_run": dryRun})
			}
			if dryRun {
				a.say("%s would be forgotten.", operationsText(n))
			} else {
				a.say("Forgot %s.", operationsText(n))
			}
			return nil
		},
	}
	prune.Flags().StringVar(&older, "older-than", "", "`age`: 90d, 12w, 2y, 36h")
	prune.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only say how many")
	c.AddCommand(prune)
	return c
}

func operationsText(n int64) string {
	if n == 1 {
		return "1 operation"
	}
	return humanize.Comma(n) + " operations"
}

// parseAge reads a duration with days, weeks and years.
func parseAge(s string) (time.Duration, error) {
	units := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
	if s != "" {
		if unit, ok := units[s[len(s)-1]]; ok {
			n, err := strconv.ParseFloat(s[:len(s)-1], 64)
			if err != nil || n < 0 || n > 1e4 {
				return 0, fmt.Errorf("%q is no age; write 90d, 12w, 2y or 36h", s)
			}
			return time.Duration(n * float64(unit)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no age; write 90d, 12w, 2y or 36h", s)
	}
	return d, nil
}

func (a *app) history(ctx context.Context, limit int) error {
	w := bufio.NewWriter(a.out)
	var o *object
	if a.json {
		o = newObject(w)
		o.array("operations")
	}
	n := 0
	j, err := a.read(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if j != nil {
		defer j.Close()
		for op, err := range j.Operations(ctx) {
			if err != nil {
				return err
			}
			if limit > 0 && n == limit {
				break
			}
			n++
			if o != nil {
				o.item(operationJSON(op))
				continue
			}
			fmt.Fprintln(w, a.operationLine(op))
		}
	}
	if o != nil {
		o.end()
		if err := o.close(); err != nil {
			return err
		}
	} else if n == 0 {
		fmt.Fprintln(w, "forg has not moved anything yet.")
	}
	return w.Flush()
}

func (a *app) operationLine(op journal.Operation) string {
	status := string(op.Status)
	switch op.Status {
	case journal.Completed:
		status = a.paint(green, status)
	case journal.Undone, journal.PartiallyUndone:
		status = a.paint(dim, strings.ReplaceAll(status, "_", " "))
	default:
		status = a.paint(yellow, status)
	}
	what := op.Kind
	if op.Undoes != 0 {
		what += " of " + fmt.Sprint(op.Undoes)
	}
	if op.Failed > 0 {
		status += fmt.Sprintf(", %d failed", op.Failed)
	}
	line := fmt.Sprintf("%5d  %s  %-12s %9s  %8s", op.ID, op.StartedAt.Local().Format("2006-01-02 15:04"), what, filesText(op.Moved), bytesText(op.Bytes))
	return a.beside(line, "  ", a.tildeList(op.Root)+"  "+status, "       ")
}

func (a *app) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show OP", Short: "Print one operation, file by file",
		Long: help(`Prints what operation OP did with every file. OP is a number from "forg history", a UUID or the beginning of
one, or "last".`, exitUsageText),
		Example: "  forg show 42\n  forg show last --json | jq -r '.steps[].to'",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(c *cobra.Command, refs []string) error { return a.showOperation(c.Context(), refs[0]) },
	}
}

func (a *app) showOperation(ctx context.Context, ref string) error {
	j, err := a.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		if shown, serr := a.showElsewhere(ctx, ref); shown || serr != nil {
			return serr
		}
		return fmt.Errorf("operation %q: %w: there is no history yet", ref, journal.ErrNone)
	}
	if err != nil {
		return err
	}
	defer j.Close()
	op, err := j.Operation(ctx, ref)
	if errors.Is(err, journal.ErrNone) {
		if shown, serr := a.showElsewhere(ctx, ref); shown || serr != nil {
			return serr
		}
		op, err = a.findOperation(ctx, j, ref)
	}
	if err != nil {
		return err
	}
	w := bufio.NewWriter(a.out)
	var o *object
	if a.json {
		o = newObject(w)
		o.field("operation", operationJSON(op))
		o.array("steps")
	} else {
		fmt.Fprintln(w, a.operationLine(op))
		fmt.Fprintf(w, "       %s\n       %s\n", op.UUID, show(op.Command))
	}
	aside := map[string]*journal.StepResult{} // files that made room in a swap, by where they are meanwhile
	for s, err := range j.Steps(ctx, op, false) {
		if err != nil {
			return err
		}
		if organizer.IsAside(s.To) && s.State == journal.Done {
			aside[s.ToPath()] = &s
			continue
		}
		if first := aside[s.FromPath()]; first != nil && s.State == journal.Done {
			delete(aside, s.FromPath())
			s.FromDir, s.From = first.FromDir, first.From
		}
		if o != nil {
			m := moveJSON(s.FromPath(), s.ToPath(), s.Label, s.Action, s.File.Size)
			m.Action, m.State, m.Error = s.Action.String(), s.State.String(), s.Err
			o.item(m)
			continue
		}
		if !a.verbose && (s.Action == journal.Mkdir || s.Action == journal.Rmdir) {
			continue
		}
		line := a.beside("  "+a.tilde(s.FromPath()), " ", "-> "+a.tilde(s.ToPath()), "    ")
		switch s.Action {
		case journal.Mkdir:
			line = "  make " + a.tilde(s.ToPath())
		case journal.Rmdir:
			line = "  remove " + a.tilde(s.FromPath())
		case journal.Rename, journal.Move:
		default:
			line += " (" + s.Action.String() + ")"
		}
		if s.State != journal.Done {
			line += "  " + a.paint(yellow, s.State.String())
			if s.Err != "" {
				line += ": " + show(s.Err)
			}
		}
		fmt.Fprintln(w, line)
	}
	for path := range aside {
		a.warn("A file is at %s, on its way to another name; undo takes it back", path)
	}
	if o != nil {
		o.end()
		if err := o.close(); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (a *app) whereCmd() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "where NAME...", Short: "Tell where a file went",
		Long: help(`Searches the journal for files by name or glob (with a slash: by the end of their path), follows each through later
operations, and says where it is now and how to get it back. What your other devices did is searched as well, as far as
"forg sync" has brought it.`, exitUsageText),
		Example: "  forg where invoice.pdf\n  forg where '*.docx'\n  forg where Downloads/scan.pdf",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, names []string) error { return a.where(c.Context(), names, limit) },
	}
	c.Flags().IntVar(&limit, "limit", 20, "tell of at most this `number` of files (0 for all)")
	return c
}

func (a *app) where(ctx context.Context, names []string, limit int) error {
	j, err := a.read(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var ways [][]organizer.Place
	if j != nil {
		defer j.Close()
		if ways, err = organizer.Where(ctx, j, names); err != nil {
			return err
		}
	}
	others, known, err := a.whereElsewhere(ctx, names)
	if err != nil { // what this device did is known all the same
		a.warn("What other devices did cannot be read: %v", err)
	}
	slices.Reverse(ways) // what moved last is asked for most
	if more := len(ways) + len(others) - limit; limit > 0 && more > 0 && len(ways) <= limit {
		a.warn("%d more files of such names were moved on other devices; --limit 0 tells of all", more)
		others = others[:limit-len(ways)]
	}
	if limit > 0 && len(ways) > limit {
		a.warn("%d more files of such names were moved; --limit 0 tells of all", len(ways)-limit)
		ways, others = ways[:limit], nil
	}
	for _, w := range ways {
		slices.Reverse(w)
	}
	if a.json {
		return a.whereJSON(ways, others, known)
	}
	if len(ways)+len(others) == 0 {
		return &exitError{exitFailed, fmt.Errorf("forg has moved no file named %s", strings.Join(names, ", "))}
	}
	w := bufio.NewWriter(a.out)
	for i, way := range ways {
		if i > 0 {
			fmt.Fprintln(w)
		}
		last := way[0]
		now := a.paint(bold, a.tilde(last.Step.ToPath()))
		if !last.Exists() {
			now += "  " + a.paint(yellow, "(no longer there: moved or removed by something else)")
		}
		fmt.Fprintln(w, now)
		for _, m := range way {
			by := fmt.Sprintf("%s by %s %d", m.Operation.StartedAt.Local().Format("2006-01-02 15:04"), m.Operation.Kind, m.Operation.ID)
			fmt.Fprintln(w, a.beside("  from "+a.tilde(m.Step.FromPath()), "  ", by, "       "))
		}
		if last.Operation.Undoes == 0 && last.Exists() {
			fmt.Fprintf(w, "  back with: forg undo %d --only %s\n", last.Operation.ID, quote(last.Step.From))
		}
	}
	if len(others) == 0 {
		return w.Flush()
	}
	if len(ways) > 0 {
		fmt.Fprintln(w)
	}
	a.printElsewhere(w, others)
	if err := w.Flush(); err != nil {
		return err
	}
	a.sayAge(known)
	return nil
}

// quote writes a name as a glob that matches just it, in a way that a shell takes apart again.
func quote(name string) string {
	name = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`).Replace(name)
	if show(name) != name {
		var b strings.Builder
		for i := range len(name) { // $'...' of POSIX 2024, bash, zsh and others
			if c := name[i]; c < ' ' || c >= 0x7f || c == '\'' || c == '\\' {
				fmt.Fprintf(&b, `\x%02x`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

func (a *app) whereJSON(ways [][]organizer.Place, others []remoteWay, known time.Time) error {
	o := newObject(a.out)
	o.array("files")
	for _, way := range ways {
		type move struct {
			Operation int64  `json:"operation"`
			Kind      string `json:"kind"`
			At        string `json:"at"`
			jsonMove
		}
		path, raw := organizer.ExactPath(way[0].Step.ToPath())
		out := struct {
			Path      string `json:"path"`
			PathBytes []byte `json:"path_bytes,omitempty"`
			Exists    bool   `json:"exists"`
			Moves     []move `json:"moves"`
		}{path, raw, way[0].Exists(), nil}
		for _, m := range way {
			out.Moves = append(out.Moves, move{m.Operation.ID, m.Operation.Kind, m.Operation.StartedAt.Format(time.RFC3339Nano),
				moveJSON(m.Step.FromPath(), m.Step.ToPath(), m.Step.Label, m.Step.Action, m.Step.File.Size)})
		}
		o.item(out)
	}
	o.end()
	if !known.IsZero() {
		o.array("elsewhere")
		for _, way := range others {
			o.item(elsewhereJSON(way))
		}
		o.end()
		o.field("elsewhere_known_at", known.UTC().Format(time.RFC3339))
	}
	if err := o.close(); err != nil {
		return err
	}
	if len(ways)+len(others) == 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// settle settles what crashed runs have left and says so.
func (a *app) settle(ctx context.Context, j *journal.Journal) error {
	settled, err := organizer.Recover(ctx, j)
	if err != nil {
		return errors.Join(err, j.Close())
	}
	for _, o := range settled {
		id := o.ID
		if o.Undoes != 0 {
			a.warn("Operation %d (%s of %d) was cut short; %s had been moved. The same command goes on from there.", id, o.Kind, o.Undoes, filesText(o.Moved))
		} else {
			a.warn("Operation %d was cut short; %s had been moved. Undo with: forg undo %d", id, filesText(o.Moved), id)
		}
	}
	return nil
}
