package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrName says that an entry's name leads outside the folder it is to be unpacked into, or is no name at all.
var ErrName = errors.New("the name is not safe to unpack")

// Clean says where below a folder the entry called name may go: a relative path with slashes, without `.` and empty
// parts. It refuses, with an error that wraps ErrName, absolute paths, `..`, drive letters and streams of Windows, NUL,
// and names that are empty or only the folder itself. Backslashes separate, as in archives made on Windows, so that no
// name means one thing here and another there. What a file system does not take beyond that (reserved names, lengths) is
// up to who creates the file; so are links, through which a clean path can lead anywhere.
func Clean(name string) (rel string, err error) {
	slashed := strings.ReplaceAll(name, `\`, "/")
	switch {
	case strings.IndexByte(name, 0) >= 0:
		return "", fmt.Errorf("%w: %q holds a NUL", ErrName, name)
	case strings.HasPrefix(slashed, "/"): // also //server/share and //?/C:/
		return "", fmt.Errorf("%w: %q is absolute", ErrName, name)
	case len(slashed) >= 2 && slashed[1] == ':' && letter(slashed[0]):
		return "", fmt.Errorf("%w: %q begins with a drive", ErrName, name)
	}
	for part := range strings.SplitSeq(slashed, "/") {
		// Windows drops dots and spaces at the end of a name, so that ".. " is "..".
		if part != "" && part != "." && strings.Trim(part, ". ") == "" {
			return "", fmt.Errorf("%w: %q goes up", ErrName, name)
		}
	}
	if rel = path.Clean(slashed); rel == "." {
		return "", fmt.Errorf("%w: %q names nothing", ErrName, name)
	}
	// C: may follow a ./ as well.
	if len(rel) >= 2 && rel[1] == ':' && letter(rel[0]) {
		return "", fmt.Errorf("%w: %q begins with a drive", ErrName, name)
	}
	return rel, nil
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
