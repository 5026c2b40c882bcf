package organizer

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"forg/journal"
)

var (
	errNoExchange  = errors.New("two names cannot be exchanged here")
	errNoHardLink  = errors.New("a hard link cannot lead to another file system")
	errManyLinks   = errors.New("the file that stays has as many hard links as it may have")
	errTrashBeyond = errors.New("its trash is on another file system")
)

// replace takes a duplicate to the trash and leaves a link in its place. The link is made at the duplicate's place in the
// trash and both are exchanged, so that there is no moment in which its name is missing. Whatever fails, the duplicate is
// where it was.
func (r *runner) replace(s *journal.Step, from, to *folder, g *guard) (err error) {
	var m replaceMeta
	if err := unmarshalMeta(s.Meta, &m); err != nil {
		return err
	}
	l := newStandIn(&m)
	if l.hard && m.Ino == 0 {
		return fmt.Errorf("%w: it does not say which file stays", errMeta)
	}
	if err := r.note(s); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.removeNote(s.ToDir, s.To))
		}
	}()
	r.changed(s)
	if err := r.makeLink(l, g, to, s.To); err != nil {
		return err
	}
	err = exchange(from, s.From, to, s.To)
	if errors.Is(err, errNoExchange) {
		if err := l.remove(to, s.To); err != nil {
			return err
		}
		return r.replaceInSteps(s, l, from, to, g)
	}
	if err == nil {
		if err = g.isStill(to, s.To); err == nil {
			return nil
		}
		if e := exchange(from, s.From, to, s.To); e != nil { // another file has come in its place: it goes back
			return errors.Join(err, fmt.Errorf("what has taken its place is at %s now: %w", s.ToPath(), e))
		}
	}
	return errors.Join(beyond(err, errTrashBeyond), l.remove(to, s.To))
}

// replaceInSteps is replace where two names cannot be exchanged. For a moment the duplicate's name is missing.
func (r *runner) replaceInSteps(s *journal.Step, l standIn, from, to *folder, g *guard) error {
	temp := tempName(r.res.UUID, s.No)
	if err := r.makeLink(l, g, from, temp); err != nil {
		return err
	}
	err := renameNoReplace(from, s.From, to, s.To)
	if err == nil {
		if err = g.trashed(s, from, to); err == nil {
			if err = renameNoReplace(from, temp, from, s.From); err == nil {
				return nil
			}
			if e := renameNoReplace(to, s.To, from, s.From); e != nil {
				err = errors.Join(err, fmt.Errorf("it is at %s now: %w", s.ToPath(), e))
			}
		}
	}
	return errors.Join(beyond(err, errTrashBeyond), l.remove(from, temp))
}

// beyond says what it means that a name is on another file system.
func beyond(err, what error) error {
	if errors.Is(err, errCrossDevice) {
		return what
	}
	return err
}

// standIn is the link that a Replace leaves in a duplicate's place.
type standIn struct {
	hard bool
	id   journal.Identity // of the file that stays, for a hard link
	text string           // of a symbolic link
}

func newStandIn(m *replaceMeta) standIn {
	return standIn{m.With != replaceSymlink, journal.Identity{Ino: m.Ino, Born: m.Born, Mtime: m.Mtime}, m.text()}
}

// makeLink makes a link to the file that stays, and makes sure that it is that.
func (r *runner) makeLink(l standIn, g *guard, dir *folder, name string) error {
	if !l.hard {
		return makeSymlink(l.text, dir, name)
	}
	at, err := r.cache.get(g.keepDir)
	if err != nil {
		return err
	}
	if err := link(at, g.keepName, dir, name); err != nil {
		return noHardLink(beyond(err, errNoHardLink))
	}
	if is, _, err := l.is(dir, name); err != nil || !is {
		return errors.Join(fmt.Errorf("%w: %s", errKeeper, filepath.Join(at.path, g.keepName)), err, dir.unlink(name))
	}
	return nil
}

// is reports whether a name holds the link.
func (l standIn) is(dir *folder, name string) (bool, meta, error) {
	m, err := dir.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, m, nil
	case err != nil:
		return false, m, err
	case l.hard:
		return isRegular(m.Mode) && m.SameFile(l.id), m, nil
	case m.Mode&modeType != modeLink:
		return false, m, nil
	}
	text, err := dir.readlink(name)
	return err == nil && text == l.text, m, err
}

// remove removes the link, if it is that, and if the file that it leads to has another name.
func (l standIn) remove(dir *folder, name string) error {
	is, m, err := l.is(dir, name)
	switch {
	case err != nil:
		return err
	case !is || l.hard && m.Nlink < 2:
		return fmt.Errorf("%w: %s", errKept, filepath.Join(dir.path, name))
	}
	return dir.unlink(name)
}

// restore brings a duplicate back to where a link has taken its place, and removes the link. If somebody has removed the
// link or given its name to another file, it is as with any other file that comes back from the trash. It reports whether
// the duplicate's place in the trash holds something else now: what was edited since, if it has no other name.
func (r *runner) restore(s *journal.Step, from, to *folder) (kept bool, err error) {
	var m replaceMeta
	if err := unmarshalMeta(s.Meta, &m); err != nil {
		return false, err
	}
	l := newStandIn(&m)
	is, now, err := l.is(to, s.To)
	if err != nil {
		return false, err
	}
	if !is {
		return false, renameNoReplace(from, s.From, to, s.To) // refused if the name is taken
	}
	dir, name := from, s.From // of the link, then
	err = exchange(from, s.From, to, s.To)
	if errors.Is(err, errNoExchange) {
		dir, name = to, tempName(r.res.UUID, s.No)
		err = restoreInSteps(s, name, from, to)
	}
	if err == nil {
		if is, _, err = l.is(dir, name); err == nil && !is { // another file has come in its place: it goes back
			if err = errExists; dir == from {
				return false, errors.Join(err, exchange(from, s.From, to, s.To))
			}
			return false, errors.Join(err, renameNoReplace(to, s.To, from, s.From), renameNoReplace(to, name, to, s.To))
		}
	}
	if err != nil {
		return false, err
	}
	if kept, err = l.drop(dir, name, to, s.To); err == nil && kept && dir == to {
		err = renameNoReplace(to, name, from, s.From)
	}
	switch {
	case err != nil: // the duplicate is back all the same
		r.res.Problems = append(r.res.Problems, Problem{s.ToPath(), fmt.Errorf("remove the link %s: %w", filepath.Join(dir.path, name), err)})
		kept = dir == from
	case kept:
		r.res.Notes = append(r.res.Notes, Problem{s.ToPath(), fmt.Errorf("%s is back as it was before; what it was edited to since has no other name and is in the trash: %s", s.ToPath(), s.FromPath())})
	case l.hard && (now.Mtime != m.Mtime || now.Size != s.File.Size):
		r.res.Notes = append(r.res.Notes, Problem{s.ToPath(), fmt.Errorf("%s was edited since, while it and %s were one file: it is back as it was before, and the edit stays in %s", s.ToPath(), m.path(), m.path())})
	}
	return kept, nil
}

// standsIn reports whether what bears the name that a Restore gives back is the link that forg has put there.
func (r *runner) standsIn(s *journal.Step) bool {
	var m replaceMeta
	if s.Action != journal.Restore || unmarshalMeta(s.Meta, &m) != nil {
		return false
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return false
	}
	is, _, err := newStandIn(&m).is(to, s.To)
	return err == nil && is
}

// restoreInSteps is the exchange of restore where there is none: the link steps aside.
func restoreInSteps(s *journal.Step, aside string, from, to *folder) error {
	err := renameNoReplace(to, s.To, to, aside)
	if err != nil {
		return err
	}
	if err = renameNoReplace(from, s.From, to, s.To); err != nil {
		if e := renameNoReplace(to, aside, to, s.To); e != nil {
			err = errors.Join(err, fmt.Errorf("the link is at %s now: %w", filepath.Join(to.path, aside), e))
		}
	}
	return err
}

// drop removes the link once the duplicate is back at place, or reports that it must be kept: it is the last name of the file
// that was to stay, and its content is no longer that of the duplicate.
func (l standIn) drop(dir *folder, name string, place *folder, back string) (kept bool, err error) {
	is, m, err := l.is(dir, name)
	if err != nil || !is {
		return !is, err
	}
	if l.hard && m.Nlink < 2 {
		same, err := sameBytes(filepath.Join(dir.path, name), filepath.Join(place.path, back))
		if err != nil || !same {
			return true, err
		}
	}
	return false, dir.unlink(name)
}

// decideReplace settles a Replace or a Restore. Which of the two names holds the duplicate tells; links that forg made and
// that are not needed any more go, and a duplicate whose name is missing gets it back.
func (s *settler) decideReplace(step *journal.StepResult) journal.Outcome {
	var m replaceMeta
	if err := unmarshalMeta(step.Meta, &m); err != nil {
		return outcome(journal.Lost, "%v", err)
	}
	l := newStandIn(&m)
	inPlace, name, inTrash, binned := step.FromDir, step.From, step.ToDir, step.To
	if step.Action == journal.Restore {
		inPlace, name, inTrash, binned = step.ToDir, step.To, step.FromDir, step.From
	}
	at, here, hasHere, errHere := s.at(inPlace, name)
	can, there, hasThere, errThere := s.at(inTrash, binned)
	temp := tempName(s.uuid, step.No)
	_, _, hasTemp, errTemp := s.at(inPlace, temp)
	if err := errors.Join(errHere, errThere, errTemp); err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	// Hard links need stable inodes and symbolic links a file system that has them, so the inode alone tells.
	back, away := hasHere && here.SameFile(step.File), hasThere && there.SameFile(step.File)
	fail := func(err error) journal.Outcome { return outcome(journal.Lost, "%v", err) }
	if back && away { // linked under the new name, not yet unlinked under the old: an undo or redo may have it either way
		dir, n := can, binned
		if step.Action == journal.Restore {
			dir, n = at, name
		}
		if err := dir.unlink(n); err != nil {
			return outcome(journal.Lost, "it has both names, and removing the new one failed: %v", err)
		}
		back, away = step.Action == journal.Replace, step.Action == journal.Restore
		hasHere, hasThere = back, away
	}
	if hasTemp && away && !hasHere { // cut in the middle, where names cannot be exchanged
		var err error
		if step.Action == journal.Replace {
			if err = renameNoReplace(can, binned, at, name); err == nil {
				back, away, hasThere = true, false, false
			}
		} else if err = renameNoReplace(at, temp, at, name); err == nil {
			hasTemp = false
		}
		if err != nil {
			return fail(err)
		}
	}
	if isLink := func(dir *folder, n string) bool { is, _, err := l.is(dir, n); return err == nil && is }; !back && !away && hasHere && hasThere && isLink(at, name) {
		// Another file had come in the duplicate's place: it goes back.
		if err := exchange(at, name, can, binned); err != nil {
			return fail(fmt.Errorf("the file that was at %s is at %s: %w", filepath.Join(at.path, name), filepath.Join(can.path, binned), err))
		}
		_, err := l.drop(can, binned, at, name)
		if err != nil {
			return fail(err)
		}
		s.tidy(inTrash, binned)
		return outcome(journal.NotDone, "")
	}
	if !back && !away {
		return outcome(journal.Lost, "%s", lostText)
	}
	if hasTemp {
		var err error
		if back {
			_, err = l.drop(at, temp, at, name)
		} else if is, t, e := l.is(at, temp); e == nil && is && (!l.hard || t.Nlink > 1) {
			err = at.unlink(temp)
		}
		if err != nil {
			return fail(fmt.Errorf("remove the link %s: %w", filepath.Join(at.path, temp), err))
		}
	}
	if back {
		if hasThere {
			if _, err := l.drop(can, binned, at, name); err != nil {
				return fail(fmt.Errorf("remove the link %s: %w", filepath.Join(can.path, binned), err))
			}
		}
		s.tidy(inTrash, binned)
	}
	if back == (step.Action == journal.Restore) {
		if away {
			s.renote(step)
		}
		return outcome(journal.Done, "")
	}
	return outcome(journal.NotDone, "")
}
