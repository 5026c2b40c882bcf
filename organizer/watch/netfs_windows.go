package watch

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// networkFS names the file system that path lies on if others can change it without this system knowing, or returns "".
func networkFS(path string) string {
	volume, err := windows.UTF16PtrFromString(filepath.VolumeName(path) + `\`)
	if err != nil || windows.GetDriveType(volume) != windows.DRIVE_REMOTE {
		return ""
	}
	return "network drive"
}

// isLimit reports whether the system refuses to watch any more: there is no such limit here.
func isLimit(error) bool { return false }
