//go:build linux || freebsd || netbsd || openbsd

package organizer

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"forg/journal"
)

// FindTrash finds the trash of the freedesktop.org Trash specification 1.0 for files of a folder: dataHome/Trash
// ($XDG_DATA_HOME) for the file system that it lies on, else .Trash/$uid or .Trash-$uid at the top of their own. On other
// platforms dataHome means another folder or nothing.
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

const noteSuffix = ".trashinfo"

// trashName is the name that the file at path gets in the trash, if it is free. It leaves room for a number and for the
// suffix of the note.
func trashName(path string) string {
	stem, ext := splitName(filepath.Base(path))
	return fitName(stem, "", ext, maxName-len(noteSuffix)-len(" (99999999)"))
}

func noteName(name string) string { return name + noteSuffix }

func note(s *journal.Step, now time.Time) []byte {
	path := (&url.URL{Path: filepath.ToSlash(s.FromPath())}).EscapedPath()
	return fmt.Appendf(nil, "[Trash Info]\nPath=%s\nDeletionDate=%s\n", path, now.Format("2006-01-02T15:04:05"))
}

// infoPath is the folder of notes beside a trash's files, "" if this trash has none.
func infoPath(files *journal.Folder) string {
	if filepath.Base(files.Path) != "files" {
		return ""
	}
	return filepath.Join(filepath.Dir(files.Path), "info")
}
