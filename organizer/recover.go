package organizer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"forg/journal"
)

// Recover settles operations that were cut short: it finds out from the disk what was done, cleans up half-made copies
// and names, and records it. It moves no file. It must run before anything else is done with a journal opened for
// writing. It returns what it settled.
func Recover(ctx context.Context, j *journal.Journal) ([]journal.Operation, error) {
	running, err := j.RunningOperations(ctx)
	if err != nil {
		return nil, err
	}
	for i := range running {
		if err := settleOperation(ctx, j, &running[i]); err != nil {
			return nil, fmt.Errorf("settle operation %d, which was cut short: %w", running[i].ID, err)
		}
	}
	return running, nil
}

func settleOperation(ctx context.Context, j *journal.Journal, o *journal.Operation) error {
	s := settler{uuid: o.UUID.String(), began: o.StartedAt, cache: newFolderCache(), touched: map[string]*journal.Folder{}}
	defer s.cache.close()
	if err := errors.Join(s.group(ctx, j, o), s.decideTags(ctx, j, o)); err != nil {
		return err
	}
	for step, err := range j.Steps(ctx, *o, false) {
		if err != nil {
			return err
		}
		if o, ok := s.known[step.No]; ok {
			s.add(&step, o)
			s.tidyNote(&step, o.State == journal.Done)
			continue
		}
		switch step.State {
		case journal.Unknown, journal.Copying, journal.Copied, journal.Started:
			s.add(&step, s.decide(&step))
		case journal.Done:
			s.count(&step)
		}
	}
	f := journal.Finish{Status: journal.Interrupted, Moved: s.moved, Failed: s.failed, Bytes: s.bytes}
	// What was done is now durable as well, or the settlement itself could be wrong after a power cut.
	synced := map[uint64]bool{}
	for path, folder := range s.touched {
		h, err := s.cache.get(path)
		if err != nil {
			continue
		}
		m, err := h.self()
		if err != nil {
			continue
		}
		if folder.Ino == 0 || folder.Ino == m.Ino {
			f.Folders = append(f.Folders, journal.FolderTime{Path: path, Mtime: m.Mtime})
		}
		if !syncsVolumes {
			err = h.sync()
		} else if !synced[m.Dev] {
			synced[m.Dev] = true
			err = h.syncAll()
		}
		if err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
	}
	if o.Undoes != 0 {
		f.RootStatus = journal.PartiallyUndone
		if len(s.touched) == 0 {
			root, err := j.Operation(ctx, fmt.Sprint(o.Undoes))
			if err != nil {
				return err
			}
			f.RootStatus = root.Status
		}
	}
	o.Status, o.Moved, o.Failed, o.Bytes = f.Status, f.Moved, f.Failed, f.Bytes
	return j.Resume(*o).Finish(ctx, s.outs, f)
}

type settler struct {
	uuid          string
	began         time.Time
	known         map[int64]journal.Outcome // of steps that cannot be decided one by one
	cache         *folderCache
	touched       map[string]*journal.Folder
	outs          []journal.Outcome
	moved, failed int64
	bytes         int64
}

// group decides steps that move one inode under several names: hard links that change places, a file that steps aside.
// There a name may hold the inode before and after, so that a step alone tells nothing. But steps are carried out in
// order, so the names that hold it now tell how many of them were.
func (s *settler) group(ctx context.Context, j *journal.Journal, o *journal.Operation) error {
	s.known = map[int64]journal.Outcome{}
	first := map[uint64]int64{}
	groups := map[uint64][]journal.StepResult{}
	for pass := range 2 {
		for step, err := range j.Steps(ctx, *o, false) {
			if err != nil {
				return err
			}
			a := step.Action
			if step.State != journal.Unknown || a != journal.Rename && a != journal.Trash && a != journal.Untrash {
				continue
			}
			ino := step.File.Ino
			if pass == 0 {
				if _, ok := first[ino]; ok {
					groups[ino] = nil
				}
				first[ino] = step.No
			} else if _, ok := groups[ino]; ok {
				groups[ino] = append(groups[ino], step)
			}
		}
		if len(groups) == 0 {
			return nil
		}
	}
	for _, g := range groups {
		names, now := map[place]bool{}, map[place]bool{} // before the first of them, and now
		for i := range g {
			from, to := place{g[i].FromDir.Path, g[i].From}, place{g[i].ToDir.Path, g[i].To}
			if _, ok := names[from]; !ok {
				names[from] = true
			}
			if _, ok := names[to]; !ok {
				names[to] = false
			}
			for _, at := range []place{from, to} {
				if m, err := lstat(filepath.Join(at.dir, at.name)); err == nil && m.SameFile(g[i].File) {
					now[at] = true
				}
			}
		}
		maps.DeleteFunc(names, func(_ place, held bool) bool { return !held })
		for done := 0; done <= len(g); done++ {
			if maps.Equal(names, now) {
				for i := range g {
					s.known[g[i].No] = outcome(journal.NotDone, "")
					if i < done {
						s.known[g[i].No] = outcome(journal.Done, "")
					}
				}
				break
			}
			if done < len(g) {
				delete(names, place{g[done].FromDir.Path, g[done].From})
				names[place{g[done].ToDir.Path, g[done].To}] = true
			}
		}
	}
	return nil
}

func (s *settler) touch(f *journal.Folder) {
	if f != nil && s.touched[f.Path] == nil {
		s.touched[f.Path] = f
	}
}

func (s *settler) count(step *journal.StepResult) {
	s.touch(step.FromDir)
	s.touch(step.ToDir)
	if IsAside(step.To) {
		return
	}
	switch a := step.Action; {
	case step.Counts(), a == journal.Uncopy, a == journal.Unlink:
		s.moved++
		s.bytes += movedBytes(&step.Step)
	case a == journal.Unsymlink:
		s.moved++
	}
}

// add notes what became of a step; runs of steps that were not done are one note.
func (s *settler) add(step *journal.StepResult, o journal.Outcome) {
	switch o.State {
	case journal.Done:
		s.count(step)
		if o.Ino == 0 {
			o.Ino, o.Born, o.Hash = step.Ino, step.Born, step.Hash
		}
	case journal.Lost:
		s.failed++
	case journal.NotDone:
		if a := step.Action; a == journal.Move || a == journal.Copy || step.State == journal.Copying || step.State == journal.Copied {
			s.touch(step.ToDir) // by the hidden copy
		}
	}
	o.No, o.Count = step.No, 1
	if n := len(s.outs); n > 0 && o.Err == "" && o.Ino == 0 {
		last := &s.outs[n-1]
		if last.State == o.State && last.Err == "" && last.Ino == 0 && last.No+last.Count == o.No {
			last.Count++
			return
		}
	}
	s.outs = append(s.outs, o)
}

// at looks at a name. A folder that is gone holds nothing.
func (s *settler) at(dir *journal.Folder, name string) (*folder, meta, bool, error) {
	if dir == nil {
		return nil, meta{}, false, nil
	}
	h, err := s.cache.get(dir.Path)
	if err == nil {
		var m meta
		if m, err = h.stat(name); err == nil {
			return h, m, true, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return h, meta{}, false, nil
	}
	return h, meta{}, false, err
}

func outcome(s journal.State, format string, args ...any) journal.Outcome {
	o := journal.Outcome{State: s}
	if format != "" {
		o.Err = fmt.Sprintf(format, args...)
	}
	return o
}

// decide finds out from the disk whether a step was carried out.
func (s *settler) decide(step *journal.StepResult) journal.Outcome {
	switch step.Action {
	case journal.Symlink, journal.Unsymlink:
		return s.decideSymlink(step)
	case journal.Write:
		return s.decideWrite(step)
	case journal.Extract:
		return s.decideExtract(step)
	case journal.Exec:
		return decideExec(step)
	case journal.Replace, journal.Restore:
		return s.decideReplace(step)
	case journal.Share, journal.Unshare:
		return s.decideShare(step)
	}
	to, dst, hasDst, errTo := s.at(step.ToDir, step.To)
	if step.Action == journal.Rename && step.State == journal.Unknown && hasDst && dst.Nlink == 1 && dst.Born != 0 && dst.SameFile(step.File) {
		return outcome(journal.Done, "") // its only name: there is no need to look for the other, which takes longest to not find
	}
	from, src, hasSrc, errFrom := s.at(step.FromDir, step.From)
	if err := errors.Join(errFrom, errTo); err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	srcOurs, dstOurs := hasSrc && s.ours(step, src, step.FromDir), hasDst && s.ours(step, dst, step.ToDir)
	switch step.Action {
	case journal.Mkdir:
		if hasDst && isDir(dst.Mode) {
			return journal.Outcome{State: journal.Done, Ino: dst.Ino, Born: dst.Born}
		}
		return outcome(journal.NotDone, "")
	case journal.Rmdir, journal.Uncopy, journal.Unlink:
		if hasSrc {
			return outcome(journal.NotDone, "")
		}
		return outcome(journal.Done, "")
	case journal.Link:
		if hasSrc && hasDst && src.SameFile(dst.Identity) { // the file may have come from another disk: undo must know it
			return journal.Outcome{State: journal.Done, Ino: dst.Ino, Born: dst.Born}
		}
		return outcome(journal.NotDone, "")
	case journal.Move, journal.Copy:
		return s.decideCopy(step, from, to, src, hasSrc, dst, hasDst)
	}
	switch {
	case srcOurs && dstOurs && src.Ino != dst.Ino: // without stable inodes two files that are alike cannot be told apart
		return outcome(journal.NotDone, "")
	case srcOurs && dstOurs: // linked under the new name, not yet unlinked under the old
		if err := to.unlink(step.To); err != nil {
			return outcome(journal.Lost, "it has both names, and removing the new one failed: %v", err)
		}
		s.tidyNote(step, false)
		return outcome(journal.NotDone, "")
	case dstOurs:
		s.tidyNote(step, true)
		return outcome(journal.Done, "")
	case step.State == journal.Copying || step.State == journal.Copied:
		return s.decideCopy(step, from, to, src, hasSrc, dst, hasDst)
	case srcOurs:
		s.tidyNote(step, false)
		return outcome(journal.NotDone, "")
	}
	return outcome(journal.Lost, "%s", lostText)
}

const lostText = "neither name holds the file any more: somebody else moved, replaced or removed it"

// tidyNote removes the trash's note on a file that is not in the trash.
func (s *settler) tidyNote(step *journal.StepResult, done bool) {
	switch {
	case step.Action.Trashes() && !done:
		s.tidy(step.ToDir, step.To)
	case step.Action.Trashes():
		s.renote(step)
	case step.Action == journal.Untrash && done:
		removeNote(step.FromDir, step.From)
	}
}

// tidy removes the trash's note on a name that is not there.
func (s *settler) tidy(dir *journal.Folder, name string) {
	if _, _, there, err := s.at(dir, name); err == nil && !there {
		removeNote(dir, name)
	}
}

// renote writes the note on a file in the trash that a power cut has kept from the disk: notes are made durable at the end
// of a run only.
func (s *settler) renote(step *journal.StepResult) {
	info, err := openInfo(step.ToDir)
	if err != nil || info == nil {
		return
	}
	defer info.close()
	m, err := info.stat(noteName(step.To))
	if err == nil && (m.Size > 0 || !isRegular(m.Mode) || info.unlink(noteName(step.To)) != nil) {
		return
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		writeNote(info, &step.Step, s.began, false)
	}
}

// ours reports whether what lies at one of a step's names is the step's file.
func (s *settler) ours(step *journal.StepResult, m meta, dir *journal.Folder) bool {
	if m.SameFile(step.File) {
		return true
	}
	if isDir(step.File.Mode) || isDir(m.Mode) {
		return false
	}
	// Without stable inodes (FAT, some network file systems) only size and time are left.
	h, err := s.cache.get(dir.Path)
	if err != nil || step.File.Born != 0 && m.Born != 0 && h.volume() == dir.Volume {
		return false
	}
	return m.Size == step.File.Size && sameTime(m.Mtime, step.File.Mtime)
}

// sameTime compares times of modification, of which FAT keeps every other second only.
func sameTime(a, b int64) bool { return -2e9 < a-b && a-b < 2e9 }

// decideCopy settles a step that copies content.
func (s *settler) decideCopy(step *journal.StepResult, from, to *folder, src meta, hasSrc bool, dst meta, hasDst bool) journal.Outcome {
	temp := tempName(s.uuid, step.No)
	if _, _, aside, err := s.at(step.FromDir, temp+oldSuffix); err == nil && aside { // it stepped aside to be removed
		if err := renameNoReplace(from, temp+oldSuffix, from, step.From); err != nil {
			return outcome(journal.Lost, "the original is %s/%s: %v", from.path, temp+oldSuffix, err)
		}
		if _, src, hasSrc, err = s.at(step.FromDir, step.From); err != nil {
			return outcome(journal.Lost, "cannot tell: %v", err)
		}
	}
	made := journal.Identity{Ino: step.Ino, Born: step.Born}
	copied := step.State == journal.Copied
	srcOurs := hasSrc && src.SameFile(step.File)
	whole := srcOurs && src.Size == step.File.Size && src.Mtime == step.File.Mtime
	placed := copied && hasDst && dst.SameFile(made)
	_, tmp, hasTemp, err := s.at(step.ToDir, temp)
	if err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	if hasTemp && !(copied && tmp.SameFile(made) && !hasSrc) {
		// The name has the operation and the step in it, and the original is there: it is ours and not needed.
		if !hasSrc && !placed {
			return outcome(journal.Lost, "the original is gone; an unfinished copy is %s", to.path+"/"+temp)
		}
		if err := to.unlink(temp); err != nil {
			return outcome(journal.Lost, "remove the unfinished copy %s: %v", temp, err)
		}
		hasTemp = false
	}
	switch {
	case placed && step.Action == journal.Copy:
		return outcome(journal.Done, "")
	case placed && whole && (dst.Size != src.Size || !sameTime(dst.Mtime, src.Mtime)):
		return outcome(journal.Lost, "the copy %s was edited before the original could be removed; both are kept", step.ToPath())
	case placed && whole: // complete, but the original was not removed yet: the copy goes
		if err := to.unlink(step.To); err != nil {
			return outcome(journal.Lost, "it is in both places, and removing the copy failed: %v", err)
		}
		return outcome(journal.NotDone, "")
	case placed && hasSrc: // somebody has edited or replaced the original: both are kept
		return outcome(journal.Lost, "the original was changed meanwhile; the copy %s is kept as well", step.ToPath())
	case placed:
		return outcome(journal.Done, "")
	case hasTemp: // complete, and the original was removed by somebody else: it is the last one
		if err := renameNoReplace(to, temp, to, step.To); err != nil {
			return outcome(journal.Lost, "the original is gone; the copy is %s: %v", to.path+"/"+temp, err)
		}
		return outcome(journal.Done, "")
	case hasSrc:
		return outcome(journal.NotDone, "")
	}
	return outcome(journal.Lost, "%s", lostText)
}

// Leftover is a hidden file or folder of forg's that no operation needs any more.
type Leftover struct {
	Path  string
	Bytes int64 // of a file
}

// Leftovers finds hidden files and folders of forg's directly in the folders that operations of the journal used.
func Leftovers(ctx context.Context, j *journal.Journal) ([]Leftover, error) {
	ops, err := j.Since(ctx, 0)
	if err != nil {
		return nil, err
	}
	looked := map[string]bool{}
	var out []Leftover
	for _, o := range ops {
		for s, err := range j.Steps(ctx, o, false) {
			if err != nil {
				return nil, err
			}
			for _, f := range []*journal.Folder{s.FromDir, s.ToDir} {
				if f == nil || looked[f.Path] {
					continue
				}
				looked[f.Path] = true
				names, err := listNames(f.Path)
				if err != nil {
					continue // gone, or not ours to read any more
				}
				for _, name := range names {
					if strings.HasPrefix(name, tempPrefix) && !IsAside(name) {
						l := Leftover{Path: f.Path + "/" + name}
						m, err := lstat(l.Path)
						switch {
						case err != nil:
						case isRegular(m.Mode):
							l.Bytes = m.Size
							out = append(out, l)
						case isDir(m.Mode): // of an archive
							out = append(out, l)
						}
					}
				}
			}
		}
	}
	return out, nil
}

// Discard moves a leftover to the trash and returns where it is now.
func Discard(l Leftover, find func(*Dir) (TrashDir, error), now time.Time) (string, error) {
	dir, name := filepath.Split(l.Path)
	id, dev, err := statDir(dir)
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", l.Path, cause(err))
	}
	t, err := find(&Dir{Path: filepath.Clean(dir), ID: id, Dev: dev})
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", l.Path, err)
	}
	if err := os.MkdirAll(t.Files, 0o700); err != nil {
		return "", fmt.Errorf("discard %s: %w", l.Path, err)
	}
	from, err := openFolder(filepath.Clean(dir))
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", l.Path, err)
	}
	defer from.close()
	to, err := openFolder(t.Files)
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", l.Path, err)
	}
	defer to.close()
	s := journal.Step{FromDir: &journal.Folder{Path: filepath.Clean(dir)}, From: name, ToDir: &journal.Folder{Path: t.Files}, To: trashName(name)}
	for n := 2; ; n++ {
		err := trash(now, &s, from, to)
		if err == nil {
			return s.ToPath(), nil
		}
		if !errors.Is(err, errExists) || n > 1000 {
			return "", fmt.Errorf("discard %s: %w", l.Path, err)
		}
		s.To = numberedName(name, "", n)
	}
}
