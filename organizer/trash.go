package organizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"forg/journal"
)

// TrashDir is a place for files that must go, on their own file system.
type TrashDir struct {
	Files string // where they are put
	Info  string // where a note on each is put, "" where there are none or they lie beside the files
}

// isTrash reports whether the folder at path is a trash, of this system or, on a disk that is carried about, of another. One
// in a person's data folder is known by what is in it, since "Trash" may be the name of anything.
func isTrash(path string) bool {
	switch name := strings.ToLower(filepath.Base(path)); {
	case name == ".trash", name == ".trashes", name == "$recycle.bin", name == "recycler", strings.HasPrefix(name, ".trash-"):
		return true
	case name == "trash":
		files, err := os.Lstat(filepath.Join(path, "files"))
		info, e := os.Lstat(filepath.Join(path, "info"))
		return err == nil && e == nil && files.IsDir() && info.IsDir()
	}
	return false
}

// inTrash reports whether the folder at path is a trash or lies in one.
func inTrash(path string) bool {
	for !isTrash(path) {
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
	return true
}

// deviceOf is the device of the nearest folder at or above path that exists.
func deviceOf(path string) uint64 {
	for {
		if _, dev, err := statDir(path); err == nil {
			return dev
		}
		up := filepath.Dir(path)
		if up == path {
			return 0
		}
		path = up
	}
}

// perm is the mode of a folder to be made; what people throw away is nobody else's business.
func (f *Folder) perm() uint32 {
	for part := range strings.SplitSeq(f.Path, string(filepath.Separator)) {
		if part == "Trash" || strings.HasPrefix(part, ".Trash") {
			return 0o700
		}
	}
	return 0
}

// trash moves a file into a trash folder, its note first: files without a note are not shown by any trash can. Each
// platform has its own FindTrash, its names (trashName, noteName), notes (note) and folder of notes (infoPath).
func trash(now time.Time, s *journal.Step, from, to *folder) error {
	info, err := openInfo(s.ToDir)
	if err != nil {
		return err
	}
	if info == nil {
		return renameNoReplace(from, s.From, to, s.To)
	}
	defer info.close()
	if err := writeNote(info, s, now, true); err != nil {
		return err
	}
	if err := renameNoReplace(from, s.From, to, s.To); err != nil {
		return errors.Join(err, info.unlink(noteName(s.To)))
	}
	return nil
}

// writeNote makes the note on a file that is about to go to the trash; without sync others must make it durable.
func writeNote(info *folder, s *journal.Step, now time.Time, sync bool) error {
	f, err := info.create(noteName(s.To))
	if err != nil {
		return err
	}
	_, err = f.Write(note(s, now))
	if sync {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(cause(err), info.unlink(noteName(s.To)))
	}
	return nil
}

// trash moves a file to the trash, its note first. The notes of a run are made durable together, when all is done: what was
// moved where is in the journal, and recovery writes notes anew that a power cut has swallowed.
func (r *runner) trash(s *journal.Step, from, to *folder, g *guard) error {
	if err := r.note(s); err != nil {
		return err
	}
	err := renameNoReplace(from, s.From, to, s.To)
	if err == nil {
		err = g.trashed(s, from, to)
	}
	if err != nil {
		return errors.Join(err, r.removeNote(s.ToDir, s.To))
	}
	return nil
}

// note writes the note on the file of a step that goes to the trash.
func (r *runner) note(s *journal.Step) error {
	info, err := r.info(s.ToDir)
	if err != nil || info == nil {
		return err
	}
	if syncsVolumes {
		r.noted[info.path] = true
	}
	return writeNote(info, s, r.j.Now(), !syncsVolumes)
}

// info is the folder of notes of a trash, nil if it has none.
func (r *runner) info(files *journal.Folder) (*folder, error) {
	path := infoPath(files)
	if path == "" {
		return nil, nil
	}
	info, err := r.cache.get(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err = openInfo(files); err == nil {
			info.close()
			info, err = r.cache.get(path)
		}
	}
	return info, err
}

func (r *runner) removeNote(files *journal.Folder, name string) error {
	info, err := r.info(files)
	if err != nil || info == nil {
		return nil // no notes here
	}
	return unlinkNote(info, name)
}

// syncNotes makes the notes of a run durable.
func (r *runner) syncNotes() error {
	synced := map[uint64]bool{}
	for path := range r.noted {
		info, err := r.cache.get(path)
		if err != nil {
			continue // gone, and they with it
		}
		m, err := info.self()
		if err == nil && !synced[m.Dev] {
			synced[m.Dev] = true
			err = info.syncAll()
		}
		if err != nil {
			return fmt.Errorf("sync the trash's notes in %s: %w", path, err)
		}
	}
	return nil
}

// openInfo opens the folder of notes of a trash, made if need be; nil if this trash has none.
func openInfo(files *journal.Folder) (*folder, error) {
	path := infoPath(files)
	if path == "" {
		return nil, nil
	}
	info, err := openFolder(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	up, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer up.close()
	if err := up.mkdir(filepath.Base(path), 0o700); err != nil && !errors.Is(err, errExists) {
		return nil, err
	}
	return openFolder(path)
}

// removeNote removes the note on a file that has left the trash.
func removeNote(dir *journal.Folder, name string) error {
	info, err := openInfo(dir)
	if err != nil || info == nil {
		return nil // no notes here
	}
	defer info.close()
	return unlinkNote(info, name)
}

func unlinkNote(info *folder, name string) error {
	if err := info.unlink(noteName(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the trash's note on %s: %w", name, err)
	}
	return nil
}
