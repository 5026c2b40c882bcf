package organizer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/zeebo/blake3"

	"forg/journal"
)

// write makes the new file of a Write step under a hidden name, makes it durable and gives it its name. The version before
// is only read.
func (r *runner) write(s *journal.Step) (err error) {
	var m writeMeta
	if err := unmarshalMeta(s.Meta, &m); err != nil {
		return err
	}
	var before *os.File
	if s.FromDir != nil {
		if err := r.check(s); err != nil {
			return err
		}
		from, err := r.dir(s.FromDir)
		if err != nil {
			return err
		}
		if before, err = from.open(s.From); err != nil {
			return cause(err)
		}
		defer before.Close()
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	if _, err := to.stat(s.To); err == nil {
		return errExists
	}
	r.changed(s)
	temp := tempName(r.res.UUID, s.No)
	dst, err := to.createAs(temp, 0o666)
	if err != nil {
		return fmt.Errorf("create %s: %v", temp, cause(err)) // which is not the name that counts if it is taken
	}
	made, err := r.fillWritten(dst, before, &m)
	if err = errors.Join(err, dst.Close()); err == nil {
		err = renameNoReplace(to, temp, to, s.To)
	}
	if err != nil {
		if e := to.unlink(temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", temp, e))
		}
		return err
	}
	r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Done, Ino: made.Ino, Born: made.Born, Hash: m.Hash})
	return nil
}

// fillWritten gives a new file its content and the attributes of the version before, and makes it durable.
func (r *runner) fillWritten(dst, before *os.File, m *writeMeta) (meta, error) {
	hash := blake3.New()
	var old io.Reader
	var was meta
	if before != nil {
		var err error
		if was, err = statFile(before); err != nil {
			return meta{}, err
		}
		if !isRegular(was.Mode) {
			return meta{}, errChanged
		}
		old = before
	}
	size, err := m.compose(io.MultiWriter(dst, hash), old)
	if err != nil {
		return meta{}, cause(err)
	}
	if size != m.Size || !bytes.Equal(hash.Sum(nil), m.Hash) {
		return meta{}, errChanged
	}
	if before != nil {
		was.Mode &^= 0o6000 // the kernel takes these from a file that is written to as well
		was.Mtime = r.j.Now().UnixNano()
		was.Atime = was.Mtime
		lost, err := copyAttributes(dst, before, was)
		if err != nil {
			return meta{}, err
		}
		if len(lost) > 0 {
			r.res.Notes = append(r.res.Notes, Problem{dst.Name(), fmt.Errorf("write %s: the new version cannot keep %v", dst.Name(), lost)})
		}
	}
	if err := dst.Sync(); err != nil {
		return meta{}, cause(err)
	}
	return statFile(dst)
}

// checkWritten makes sure that a file is still what a Write made.
func checkWritten(s *journal.Step, from *folder, now meta) error {
	if !isRegular(now.Mode) {
		return errReplaced
	}
	hash, err := hashUncached(from, s.From)
	if err != nil {
		return err
	}
	if !bytes.Equal(hash, s.Meta) {
		if !now.SameFile(s.File) {
			return errReplaced
		}
		return fmt.Errorf("%w: it was edited since, so it stays", errKept)
	}
	return nil
}

// decideWrite settles a Write: the content tells whether it was carried out.
func (s *settler) decideWrite(step *journal.StepResult) journal.Outcome {
	var m writeMeta
	if err := unmarshalMeta(step.Meta, &m); err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	temp := tempName(s.uuid, step.No)
	to, _, unfinished, err := s.at(step.ToDir, temp)
	if err == nil && unfinished {
		s.touch(step.ToDir)
		if err := to.unlink(temp); err != nil {
			return outcome(journal.Lost, "remove the unfinished %s: %v", temp, err)
		}
	}
	to, dst, there, err := s.at(step.ToDir, step.To)
	switch {
	case err != nil:
		return outcome(journal.Lost, "cannot tell: %v", err)
	case !there, step.FromDir != nil && s.ours(step, dst, step.ToDir): // nothing, or the version before
		return outcome(journal.NotDone, "")
	case isRegular(dst.Mode) && dst.Size == m.Size:
		hash, err := hashUncached(to, step.To)
		if err != nil {
			return outcome(journal.Lost, "cannot tell: %v", err)
		}
		if bytes.Equal(hash, m.Hash) {
			return journal.Outcome{State: journal.Done, Ino: dst.Ino, Born: dst.Born, Hash: m.Hash}
		}
	}
	return outcome(journal.Lost, "%s is not what forg was to write: somebody else made or edited it, and it stays", step.ToPath())
}
