package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"forg/journal"
	"forg/organizer"
	"forg/sync/agent"
	"forg/sync/api"
)

// device carries out what a server asks for, by the very code that a person's commands go through. It is the agent's
// Executor.
type device struct {
	*app
	flags   *agentFlags
	folders map[string]string // that a server may ask for, by the names that the device's owner gave them
	sets    map[string]string // files of rules, by name
}

// journalWait is how long a command waits for another forg before it is left to be handed out again. A lease lasts a minute.
const journalWait = 30 * time.Second

// Done is what became of a command that was carried out before.
func (d *device) Done(ctx context.Context, c *api.Command) (*agent.Answer, error) {
	j, err := d.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if j != nil {
		defer j.Close()
	}
	if err != nil {
		return nil, err
	}
	return d.became(ctx, j, c)
}

// became is what the journal says of a command; nil if it knows nothing of it.
func (d *device) became(ctx context.Context, j *journal.Journal, c *api.Command) (*agent.Answer, error) {
	const another = agent.Refusal("this device has done something else under the id of that operation")
	o, err := j.Operation(ctx, c.OperationID.String())
	if errors.Is(err, journal.ErrNone) { // it may have found nothing to do
		told, ok, err := j.Answered(ctx, c.OperationID)
		switch {
		case err != nil || !ok:
			return nil, err
		case told.Command != c.ID:
			return nil, another
		}
		return &agent.Answer{State: api.CommandState(told.State), Result: api.CommandResult{Processed: told.Restored, Skipped: told.Skipped,
			Failed: told.Failed, Error: told.Error}}, nil
	}
	if err != nil {
		return nil, err
	}
	if !o.Pruned {
		by, err := j.AskedBy(ctx, o)
		if err != nil {
			return nil, err
		}
		if by != c.ID {
			return nil, another
		}
	}
	if o.Status == journal.Running {
		return nil, agent.ErrBusy
	}
	answer := answerOf(o)
	return &answer, nil
}

// answerOf is what an operation of the journal is to whoever has asked for it. It names no file: what the server may know
// of those comes with the log, sealed if need be.
func answerOf(o journal.Operation) agent.Answer {
	a := agent.Answer{State: api.CommandSucceeded, Result: api.CommandResult{Processed: o.Moved, Skipped: o.Skipped, Failed: o.Failed, Bytes: o.Bytes}}
	switch {
	case o.Status == journal.Interrupted && o.Moved == 0:
		a.State, a.Result.Error = api.CommandFailed, "it was cut short before a file was moved"
	case o.Status == journal.Interrupted:
		a.State, a.Result.Error = api.CommandPartial, "it was cut short; what was not reached is where it was"
	case o.Status == journal.FailedOp || o.Moved == 0 && o.Failed+o.Skipped > 0:
		a.State, a.Result.Error = api.CommandFailed, "no file could be moved"
	case o.Status == journal.Partial || o.Failed+o.Skipped > 0:
		a.State, a.Result.Error = api.CommandPartial, "some files could not be moved, or were left alone"
	}
	return a
}

// Carry carries a command out.
func (d *device) Carry(ctx context.Context, c *api.Command, begin func() error, progress func(api.Progress)) (agent.Answer, error) {
	if c.Kind == api.CommandRollback {
		return d.rollback(ctx, c, begin, progress)
	}
	return d.organizeFor(ctx, c, begin, progress)
}

func (d *device) organizeFor(ctx context.Context, c *api.Command, begin func() error, progress func(api.Progress)) (agent.Answer, error) {
	var none agent.Answer
	folder, ok := d.folders[c.Root]
	if !ok {
		return none, agent.Refusal("the device offers no folder of that name")
	}
	for name := range c.Options {
		if name != "rules" {
			return none, agent.Refusal("options cannot be given from afar: those of the device's own configuration count")
		}
	}
	f := d.flags.organizeFlags
	f.wait = journalWait
	if c.Rules != "" {
		if f.rules, ok = d.sets[c.Rules]; !ok {
			return none, agent.Refusal("the device offers no rules of that name")
		}
	}
	o, err := d.newOrganizing([]string{folder}, &f)
	if err != nil {
		d.complain(err)
		return none, agent.Refusal("the folder or its rules cannot be read now; the device's own log says why")
	}
	var before *agent.Answer
	var begun, empty bool
	var total int64
	o.asked = &asked{
		who: journal.Asked{Operation: c.OperationID, Command: c.ID},
		begin: func(ctx context.Context, j *journal.Journal) (err error) {
			if before, err = d.became(ctx, j, c); err == nil && before != nil {
				err = errDone
			}
			if err == nil {
				err = begin()
				begun = err == nil
			}
			return err
		},
		progress: func(all, files, bytes int64) {
			total = all
			progress(api.Progress{FilesTotal: total, FilesProcessed: files, BytesMoved: bytes})
		},
		// A command that found nothing to do is in the journal all the same, or it could be handed out once more when there is.
		end: func(ctx context.Context, j *journal.Journal, failed error) error {
			_, err := j.Operation(ctx, c.OperationID.String())
			if !errors.Is(err, journal.ErrNone) {
				return err
			}
			empty = true
			return d.noteEmpty(ctx, j, journal.Asked{Operation: c.OperationID, Command: c.ID}, strings.Join(o.roots, string(filepath.ListSeparator)), failed)
		},
	}
	err = o.run(ctx, o.roots)
	switch {
	case before != nil:
		return *before, nil
	case locked(err):
		return none, agent.ErrBusy
	case err != nil && !begun:
		return none, err
	}
	// What the journal says counts, however the run has ended; of one that came to nothing more is known here.
	done, jerr := d.Done(context.WithoutCancel(ctx), c)
	if jerr != nil {
		return none, errors.Join(err, jerr)
	}
	if done != nil && !empty {
		return *done, nil
	}
	exit, ok := errors.AsType[*exitError](err)
	switch {
	case err == nil:
		return agent.Answer{State: api.CommandSucceeded}, nil
	case ok && exit.err == nil: // what went wrong was said, file by file
		return agent.Answer{State: api.CommandPartial, Result: api.CommandResult{Error: "nothing was to do, and not everything could be looked at"}}, nil
	case ctx.Err() != nil:
		return agent.Answer{State: api.CommandFailed, Result: api.CommandResult{Error: "it was stopped before a file was moved"}}, nil
	case errors.Is(err, errTooMuch):
		return agent.Answer{State: api.CommandFailed, Result: api.CommandResult{Error: "it would move more than the device's settings allow at once"}}, nil
	case errors.Is(err, organizer.ErrConflict):
		return agent.Answer{State: api.CommandFailed, Result: api.CommandResult{Error: "names are taken, and the device's settings say to do nothing then"}}, nil
	}
	return none, err
}

// noteEmpty writes an operation without a step down.
func (d *device) noteEmpty(ctx context.Context, j *journal.Journal, who journal.Asked, root string, failed error) error {
	w, err := j.Begin(ctx, "organize", root, commandLine(), 0, 0)
	if err != nil {
		return err
	}
	w.For(who)
	if err := w.Commit(ctx, nil, nil); err != nil {
		return err
	}
	status := journal.Completed
	if failed != nil {
		status = journal.FailedOp
	}
	return w.Finish(ctx, nil, journal.Finish{Status: status})
}

// errDone says that a command was carried out before.
var errDone = errors.New("it was carried out before")

func (d *device) rollback(ctx context.Context, c *api.Command, begin func() error, progress func(api.Progress)) (agent.Answer, error) {
	var none agent.Answer
	j, err := d.open(ctx, journalWait)
	if locked(err) {
		return none, agent.ErrBusy
	}
	if err != nil {
		return none, err
	}
	defer j.Close()
	if done, err := d.became(ctx, j, c); err != nil || done != nil {
		if err != nil {
			return none, err
		}
		return *done, nil
	}
	o, err := j.Operation(ctx, c.RollbackOf.String())
	switch {
	case errors.Is(err, journal.ErrNone):
		return none, agent.Refusal("the device's journal does not know the operation")
	case err != nil:
		return none, err
	case o.Undoes != 0:
		return none, agent.Refusal("it is an undo or redo itself: that is taken back on the device, with forg redo or forg undo")
	case o.Pruned:
		return none, agent.Refusal("the device has forgotten what the operation did")
	case o.Status == journal.Running:
		return none, agent.ErrBusy
	}
	opt := organizer.UndoOptions{}
	opt.Command, opt.Verify, opt.Trash = commandLine(), d.flags.verify, d.findTrash()
	opt.Asked = journal.Asked{Operation: c.OperationID, Command: c.ID}
	if c.Only != "" {
		if !doublestar.ValidatePattern(filepath.ToSlash(c.Only)) {
			return none, agent.Refusal("the glob is malformed")
		}
		opt.Only = []string{c.Only}
	}
	inside, err := d.inside(ctx, j, o)
	if err != nil {
		return none, err
	}
	if !inside {
		return none, agent.Refusal("it is about files outside the folders that the device's owner has allowed")
	}
	if err := begin(); err != nil {
		return none, err
	}
	opt.Progress = func(files, bytes int64) {
		progress(api.Progress{FilesTotal: o.Moved, FilesProcessed: files, BytesMoved: bytes})
	}
	run, end := toTheEnd(ctx)
	defer end()
	res, err := organizer.Undo(run, j, o, opt)
	if res != nil {
		for _, n := range res.Notes {
			d.warn("Note: %v", n.Err)
		}
		for _, p := range res.Problems {
			d.complain(p.Err)
		}
		if res.Moved > 0 && !d.quiet && !d.json {
			d.say("%s put back %s, %s; take that back with: forg redo %d", d.now().Format("15:04"), filesText(res.Moved), bytesText(res.Bytes), res.ID)
		}
	}
	stopped := errors.Is(err, context.Canceled)
	if err != nil && !stopped {
		return none, err
	}
	answer := agent.Answer{State: api.CommandSucceeded}
	switch done, err := d.became(context.WithoutCancel(ctx), j, c); {
	case err != nil:
		return none, err
	case done != nil:
		answer = *done
	case stopped:
		answer = agent.Answer{State: api.CommandFailed, Result: api.CommandResult{Error: "it was stopped before a file was moved"}}
	case res != nil && res.Skipped > 0: // nothing could be begun, so the journal has nothing of it
		answer = agent.Answer{State: api.CommandFailed, Result: api.CommandResult{Skipped: res.Skipped, Error: "no file could be put back"}}
	}
	return answer, j.Answer(context.WithoutCancel(ctx), c.OperationID, journal.Answer{Command: c.ID, Undid: o.UUID, State: string(answer.State),
		Restored: answer.Result.Processed, Skipped: answer.Result.Skipped, Failed: answer.Result.Failed, Error: answer.Result.Error})
}

// inside reports whether all that an operation did lies in the folders that the device's owner has allowed. Trash folders
// are forg's own choice, and a folder that it has made goes only if it is empty.
func (d *device) inside(ctx context.Context, j *journal.Journal, o journal.Operation) (bool, error) {
	var allowed []string
	for _, f := range d.folders {
		if real, err := organizer.ResolveDir(f); err == nil { // one that is away holds no files either
			allowed = append(allowed, real)
		}
	}
	known := map[string]bool{}
	in := func(f *journal.Folder) bool {
		if f == nil {
			return true
		}
		ok, seen := known[f.Path]
		if !seen {
			for _, root := range allowed {
				ok = ok || organizer.Within(f.Path, root)
			}
			known[f.Path] = ok
		}
		return ok
	}
	for s, err := range j.Steps(ctx, o, false) {
		if err != nil {
			return false, fmt.Errorf("see what operation %d did: %w", o.ID, err)
		}
		if s.State != journal.Done || s.Action == journal.Mkdir {
			continue
		}
		if !in(s.FromDir) || !s.Action.Trashes() && !in(s.ToDir) {
			return false, nil
		}
	}
	return true, nil
}
