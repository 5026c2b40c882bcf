package organizer

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"forg/journal"
)

// TrashDir is a place for files that must go, on their own file system.
type TrashDir struct {
	Files string // where they are put
	Info  string // where a note on each is put, "" where the platform has none
}

// FindTrash finds the trash of the freedesktop.org Trash specification 1.0 for files of a folder: dataHome/Trash
// ($XDG_DATA_HOME) for the file system that it lies on, else .Trash/$uid or .Trash-$uid at the top of their own.
func FindTrash(dataHome string, uid int) func(dir *Dir) (TrashDir, error) {
	return func(dir *Dir) (TrashDir, error) {
		home := filepath.Join(dataHome, "Trash")
		if dataHome != "" && deviceOf(home) == dir.Dev {
			return TrashDir{filepath.Join(home, "files"), filepath.Join(home, "info")}, nil
		}
		top := dir.Path
		for up := filepath.Dir(top); up != top && deviceOf(up) == dir.Dev; up = filepath.Dir(top) {
			top = up
		}
		shared := filepath.Join(top, ".Trash")
		if st, err := os.Lstat(shared); err == nil && st.IsDir() && st.Mode()&fs.ModeSticky != 0 {
			own := filepath.Join(shared, fmt.Sprint(uid))
			return TrashDir{filepath.Join(own, "files"), filepath.Join(own, "info")}, nil
		}
		own := filepath.Join(top, fmt.Sprintf(".Trash-%d", uid))
		if st, err := os.Lstat(own); err == nil && !st.IsDir() {
			return TrashDir{}, fmt.Errorf("%s is not a folder", own)
		}
		return TrashDir{filepath.Join(own, "files"), filepath.Join(own, "info")}, nil
	}
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
		if part == "Trash" || strings.HasPrefix(part, ".Trash-") {
			return 0o700
		}
	}
	return 0
}

const infoSuffix = ".trashinfo"

// trashName is a name that leaves room for a number and for the suffix of its note.
func trashName(name string) string {
	stem, ext := splitName(name)
	return fitName(stem, "", ext, maxName-len(infoSuffix)-len(" (99999999)"))
}

// trash moves a file into a trash folder, its note first: files without a note are not shown by any trash can.
func trash(now time.Time, s *journal.Step, from, to *folder) error {
	info, err := openInfo(s.ToDir)
	if err != nil {
		return err
	}
	if info == nil {
		return renameNoReplace(from, s.From, to, s.To)
	}
	defer info.close()
	note, err := info.create(s.To + infoSuffix)
	if err != nil {
		return err
	}
	path := (&url.URL{Path: filepath.ToSlash(s.FromPath())}).EscapedPath()
	_, err = fmt.Fprintf(note, "[Trash Info]\nPath=%s\nDeletionDate=%s\n", path, now.Format("2006-01-02T15:04:05"))
	if err = errors.Join(err, note.Sync(), note.Close()); err == nil {
		err = renameNoReplace(from, s.From, to, s.To)
	}
	if err != nil {
		return errors.Join(err, info.unlink(s.To+infoSuffix))
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
	if err := info.unlink(name + infoSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the trash's note on %s: %w", name, err)
	}
	return nil
}

// openInfo opens the folder of notes beside a trash's files, made if need be; nil if this trash has none.
func openInfo(files *journal.Folder) (*folder, error) {
	if filepath.Base(files.Path) != "files" {
		return nil, nil
	}
	info, err := openFolder(filepath.Join(filepath.Dir(files.Path), "info"))
	if errors.Is(err, fs.ErrNotExist) {
		up, err := openFolder(filepath.Dir(files.Path))
		if err != nil {
			return nil, err
		}
		defer up.close()
		if err := up.mkdir("info", 0o700); err != nil && !errors.Is(err, errExists) {
			return nil, err
		}
		return openFolder(filepath.Join(filepath.Dir(files.Path), "info"))
	}
	return info, err
}
