package organizer

import (
	"errors"
	"fmt"
	"io/fs"
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
// platform has its own FindTrash, its names (trashName, noteName), notes (note) and folder of notes (openInfo).
func trash(now time.Time, s *journal.Step, from, to *folder) error {
	info, err := openInfo(s.ToDir)
	if err != nil {
		return err
	}
	if info == nil {
		return renameNoReplace(from, s.From, to, s.To)
	}
	defer info.close()
	f, err := info.create(noteName(s.To))
	if err != nil {
		return err
	}
	_, err = f.Write(note(s, now))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = renameNoReplace(from, s.From, to, s.To)
	}
	if err != nil {
		return errors.Join(err, info.unlink(noteName(s.To)))
	}
	return nil
}

// removeNote removes the note on a file that has left the trash.
func removeNote(dir *journal.Folder, name string) error {
	info, err := openInfo(dir)
	if err != nil || info == nil {
		return nil // no notes here
	}
	defer info.close()
	if err := info.unlink(noteName(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the trash's note on %s: %w", name, err)
	}
	return nil
}
