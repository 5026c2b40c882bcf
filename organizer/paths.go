package organizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ResolveDir is the absolute path of a folder with symbolic links resolved: what a person names may be a link, what
// lies below is never followed. An empty path is none: a script whose variable is not set does not mean where it runs.
func ResolveDir(path string) (string, error) {
	if path == "" {
		return "", errors.New("open a folder: its name is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	real, err := resolveLinks(abs)
	if err != nil {
		return "", fmt.Errorf("open folder %s: %w", path, cause(err))
	}
	st, err := os.Lstat(real)
	if err != nil {
		return "", fmt.Errorf("open folder %s: %w", path, cause(err))
	}
	if !st.IsDir() {
		return "", fmt.Errorf("open folder %s: it is not a folder", path)
	}
	return real, nil
}

// ResolveMissing is the absolute path of a folder that need not exist yet: links are resolved as far as it does. An error
// begins with what is in the way.
func ResolveMissing(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err == nil && !st.IsDir() {
			return "", fmt.Errorf("%s is not a folder", dir)
		}
		if err == nil {
			real, err := ResolveDir(dir)
			return filepath.Join(real, missing), err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		missing = filepath.Join(filepath.Base(dir), missing)
	}
}

// Within reports whether a path is root or lies below it. Both are clean and absolute, or both relative.
func Within(path, root string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

// cause strips the path from an error that is about to be wrapped with a better one.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
