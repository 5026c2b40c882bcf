package organizer

import (
	"errors"
	"fmt"
	"io/fs"

	"forg/journal"
)

// symlink makes the link of a Symlink step. What it leads to was looked at; that the text leads there is the planner's
// business.
func (r *runner) symlink(s *journal.Step, to *folder) error {
	if len(s.Meta) == 0 {
		return fmt.Errorf("%w: a symbolic link without a text", errMeta)
	}
	r.changed(s)
	if err := makeSymlink(string(s.Meta), to, s.To); err != nil {
		return err
	}
	o := journal.Outcome{No: s.No, Count: 1, State: journal.Done}
	if m, err := to.stat(s.To); err == nil {
		o.Ino, o.Born = m.Ino, m.Born
	}
	r.outs = append(r.outs, o)
	return nil
}

// unsymlink removes the link that a Symlink step made. It steps aside first, since between a look at a name and its
// removal another program may put a file there.
func (r *runner) unsymlink(s *journal.Step, from *folder) error {
	r.changed(s)
	if err := removeLink(from, s.From, tempName(r.res.UUID, s.No)+oldSuffix, string(s.Meta)); err != nil {
		return err
	}
	r.res.Moved++
	return nil
}

func removeLink(dir *folder, name, aside, text string) error {
	return removeAside(dir, name, aside, func(name string) error { return checkLink(dir, name, text) })
}

// checkLink makes sure that a name is a symbolic link with just that text.
func checkLink(dir *folder, name, text string) error {
	m, err := dir.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return err
	}
	if m.Mode&modeType != modeLink {
		return errReplaced
	}
	if got, err := dir.readlink(name); err != nil {
		return err
	} else if got != text {
		return fmt.Errorf("%w: it leads to %s now", errReplaced, got)
	}
	return nil
}

// decideSymlink settles a Symlink or an Unsymlink. A link with the text that it was to have is as good as ours.
func (s *settler) decideSymlink(step *journal.StepResult) journal.Outcome {
	dir, name := step.ToDir, step.To
	if step.Action == journal.Unsymlink {
		dir, name = step.FromDir, step.From
		if err := s.fromAside(step); err != nil {
			return outcome(journal.Lost, "%v", err)
		}
	}
	at, m, there, err := s.at(dir, name)
	if err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	there = there && m.Mode&modeType == modeLink
	if there {
		text, err := at.readlink(name)
		if err != nil {
			return outcome(journal.Lost, "cannot tell: %v", err)
		}
		there = text == string(step.Meta)
	}
	switch {
	case there != (step.Action == journal.Symlink):
		return outcome(journal.NotDone, "")
	case there:
		return journal.Outcome{State: journal.Done, Ino: m.Ino, Born: m.Born}
	}
	return outcome(journal.Done, "")
}

// fromAside gives what stepped aside to be removed its name back.
func (s *settler) fromAside(step *journal.StepResult) error {
	aside := tempName(s.uuid, step.No) + oldSuffix
	from, _, there, err := s.at(step.FromDir, aside)
	if err != nil || !there {
		return nil // whoever looks at the folder next will say why it cannot be looked at
	}
	if err := renameNoReplace(from, aside, from, step.From); err != nil {
		return fmt.Errorf("it is at %s/%s: %w", from.path, aside, err)
	}
	s.touch(step.FromDir)
	return nil
}
