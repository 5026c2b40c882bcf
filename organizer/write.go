package organizer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"forg/journal"
	"forg/rules"
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

// toWrite is a text that a rule writes into the file at path.
type toWrite struct {
	path  string
	step  rules.Step
	label uint16
}

// writing is what rules write into one file.
type writing struct {
	label     uint16
	was, text string // what the file holds, and is to hold
	old       *Ref   // the file as it is, if there is one
}

// maxWritten bounds the files that rules write to: each change keeps the version before.
const maxWritten = 16 << 20

// write plans a text for the file at path. The texts of a run for one file are one change of it. A text that stands in the
// file already is not written again, so that running twice changes nothing.
func (p *planner) write(path string, s rules.Step, label uint16) error {
	w := p.writes[path]
	if w == nil {
		w = &writing{label: label}
		m, err := lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !isRegular(m.Mode):
			return errors.New("it is not a regular file")
		case m.Size > maxWritten:
			return fmt.Errorf("it is larger than %d MB", maxWritten>>20)
		default:
			f, err := openPath(path)
			if err != nil {
				return err
			}
			defer f.Close()
			text, err := io.ReadAll(io.LimitReader(f, maxWritten+1))
			if err != nil {
				return err
			}
			r := p.Tree.add(path, m, 0)
			p.growKinds()
			w.was, w.text, w.old = string(text), string(text), &r
		}
		p.writes[path] = w
	}
	switch {
	case s.Mode == writeOverwrite:
		w.text = s.Text
	case strings.HasPrefix(w.text, s.Text) || strings.Contains(w.text, "\n"+s.Text):
	case s.Mode == writePrepend:
		w.text = s.Text + w.text
	default:
		w.text += s.Text
	}
	return nil
}

// planWrites turns what is to be written into actions: the version before goes to the trash, and the next takes its name.
func (p *planner) planWrites() []Move {
	for _, w := range p.writing {
		if err := p.write(w.path, w.step, w.label); err != nil {
			p.Problems = append(p.Problems, Problem{w.path, fmt.Errorf("write %s: %w", w.path, cause(err))})
		}
	}
	p.writing = nil
	var out []Move
	for _, path := range slices.Sorted(maps.Keys(p.writes)) {
		w := p.writes[path]
		if w.text == w.was && w.old != nil {
			continue
		}
		p.unit++
		mode, text := writeOverwrite, w.text
		if added, ok := strings.CutPrefix(w.text, w.was); ok && w.old != nil {
			mode, text = writeAppend, added
		} else if added, ok := strings.CutSuffix(w.text, w.was); ok && w.old != nil {
			mode, text = writePrepend, added
		}
		change, err := writeMetaOf(mode, []byte(text), strings.NewReader(w.was))
		if err != nil {
			p.Problems = append(p.Problems, Problem{path, err})
			continue
		}
		one := planned{dir: filepath.Dir(path), name: filepath.Base(path), action: journal.Write, label: w.label,
			extra: &extra{mode: mode, meta: change, fresh: w.old == nil}}
		var r Ref
		if w.old == nil {
			r = p.Tree.add(path, meta{Identity: journal.Identity{Size: int64(len(w.text)), Mode: modeRegular | 0o666}}, 0)
			p.growKinds()
		} else {
			r = *w.old
			if p.opt.Trash == nil {
				p.Problems = append(p.Problems, Problem{path, fmt.Errorf("write %s: there is no trash for the version before", path)})
				continue
			}
			away, err := p.toTrash(r)
			if err != nil {
				p.Problems = append(p.Problems, Problem{path, err})
				continue
			}
			away.Unit = p.unit
			out = append(out, away)
		}
		p.chained = true
		out = append(out, p.move(r, p.unit, one))
	}
	return out
}
