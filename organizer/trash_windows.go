package organizer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"

	"forg/journal"
)

const recycleBin = "$Recycle.Bin"

// FindTrash finds the person's Recycle Bin on the volume of a folder. Volumes without one (sticks, network shares) have
// no trash: Explorer would delete there, forg refuses. Both arguments mean something on other platforms only.
func FindTrash(_ string, _ int) func(dir *Dir) (TrashDir, error) {
	return func(dir *Dir) (TrashDir, error) {
		volume := filepath.VolumeName(dir.Path)
		if len(volume) != 2 || volume[1] != ':' {
			return TrashDir{}, fmt.Errorf("%s has no Recycle Bin", volume)
		}
		bin := filepath.Join(volume+`\`, recycleBin)
		if st, err := os.Lstat(bin); err != nil {
			return TrashDir{}, fmt.Errorf("%s has no Recycle Bin: %w", volume, err)
		} else if !st.IsDir() {
			return TrashDir{}, fmt.Errorf("%s is not a folder", bin)
		}
		user, err := windows.GetCurrentProcessToken().GetTokenUser()
		if err != nil {
			return TrashDir{}, fmt.Errorf("find out whose Recycle Bin to use: %w", err)
		}
		return TrashDir{Files: filepath.Join(bin, user.User.Sid.String())}, nil
	}
}

// trashName is the name that the file at path gets in the trash, if it is free.
func trashName(path string) string { return recycledName(path) }

func noteName(name string) string { return recycledNoteName(name) }

func note(s *journal.Step, now time.Time) []byte {
	return encodeRecycled(s.FromPath(), s.File.Size, now)
}

// infoPath is the folder of notes, which lie beside the files; "" if it is no Recycle Bin.
func infoPath(files *journal.Folder) string {
	if !strings.EqualFold(filepath.Base(filepath.Dir(files.Path)), recycleBin) {
		return ""
	}
	return files.Path
}
