package organizer

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"forg/journal"
)

// FindTrash finds the trash for files of a folder: .Trash in home for the volume that it lies on, else .Trashes/uid at
// the top of their own. Finder makes .Trashes, with rights that keep people apart; a volume on which it has not made
// it has no trash. There are no notes: "Put Back" of Finder, which keeps where a file was in .DS_Store, does not know
// these files, but undo does.
func FindTrash(home string, uid int) func(dir *Dir) (TrashDir, error) {
	return func(dir *Dir) (TrashDir, error) {
		if home != "" && deviceOf(home) == dir.Dev {
			return TrashDir{Files: filepath.Join(home, ".Trash")}, nil
		}
		top := dir.Path
		for up := filepath.Dir(top); up != top && deviceOf(up) == dir.Dev; up = filepath.Dir(top) {
			top = up
		}
		all := filepath.Join(top, ".Trashes")
		if st, err := os.Lstat(all); err != nil {
			return TrashDir{}, fmt.Errorf("the volume has no trash: %w", err)
		} else if !st.IsDir() {
			return TrashDir{}, fmt.Errorf("%s is not a folder", all)
		}
		return TrashDir{Files: filepath.Join(all, fmt.Sprint(uid))}, nil
	}
}

// trashName is the name that the file at path gets in the trash, if it is free.
func trashName(path string) string { return filepath.Base(path) }

func noteName(name string) string { return name }

func note(*journal.Step, time.Time) []byte { return nil }

// infoPath is empty: this trash has no notes.
func infoPath(*journal.Folder) string { return "" }
