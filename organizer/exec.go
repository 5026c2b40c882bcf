package organizer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"forg/journal"
)

// exec runs the program of an Exec step. That it begins is made durable before, and that it ended after, so that a crash
// in between is known for what it is.
func (r *runner) exec(ctx context.Context, s *journal.Step) error {
	var m execMeta
	if err := unmarshalMeta(s.Meta, &m); err != nil {
		return err
	}
	switch {
	case len(m.argv()) == 0 || m.argv()[0] == "":
		return fmt.Errorf("%w: no program is named", errMeta)
	case r.opt.Exec == nil:
		return errNoExec
	}
	note := func(state journal.State) error {
		err := r.w.Commit(context.WithoutCancel(ctx), nil, []journal.Outcome{{No: s.No, Count: 1, State: state}})
		if err != nil {
			r.fatal = err
		}
		return err
	}
	if err := note(journal.Started); err != nil {
		return err
	}
	if err := r.opt.Exec(ctx, m.argv(), m.env(), s.FromDir.Path); err != nil {
		return err
	}
	return note(journal.Done)
}

var errNoExec = errors.New("running programs is not allowed here")

// decideExec settles an Exec: what a program has done cannot be read from the disk.
func decideExec(step *journal.StepResult) journal.Outcome {
	if step.State == journal.Started {
		return outcome(journal.Lost, "forg was cut short while the program ran: nobody knows whether it finished")
	}
	return outcome(journal.NotDone, "")
}

// notUndone says what an undo or redo leaves as it is.
func notUndone(s *journal.StepResult, undo bool) Problem {
	var m execMeta
	name := "a program"
	if unmarshalMeta(s.Meta, &m) == nil && len(m.argv()) > 0 {
		name = strings.ToValidUTF8(m.argv()[0], "\uFFFD")
	}
	if undo {
		return Problem{s.FromPath(), fmt.Errorf("%s was run for %s: what a program did cannot be undone", name, s.FromPath())}
	}
	return Problem{s.FromPath(), fmt.Errorf("%s is not run again for %s: redo repeats what forg itself did", name, s.FromPath())}
}
