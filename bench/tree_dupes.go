//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// buildDupesSmall makes files of 0 to 8 KiB, a hundred to a folder. Three in ten are copies of an earlier one.
func (t Tree) buildDupesSmall(root string) error {
	original := make([]int, 0, t.N)
	for i := range t.N {
		dir := filepath.Join(root, fmt.Sprintf("d%02d", i/100%50), fmt.Sprintf("d%04d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		of, h := i, t.hash(i)
		if i > 10 && h%10 < 3 {
			of = original[h>>8%uint64(len(original))]
		} else {
			original = append(original, i)
		}
		content := t.content(of, int64(t.hash(of)>>24%(8<<10+1)))
		if err := t.file(filepath.Join(dir, t.name(i)), i, 0, content); err != nil {
			return err
		}
	}
	return nil
}

// buildDupesBig makes files of 8 to 64 MiB: of ten, four are a copy of one of the other six, and every twentieth differs
// from the one before it in one byte of its middle.
func (t Tree) buildDupesBig(root string) error {
	for i := range t.N {
		of := i
		switch {
		case i%10 >= 6:
			of = i/10*10 + int(t.hash(i)%6)
		case i%20 == 1:
			of = i - 1
		}
		path := filepath.Join(root, t.name(i))
		size := 8<<20 + int64(t.hash(of)>>24%(56<<20))
		flip := int64(-1)
		if i%20 == 1 {
			flip = size / 2
		}
		if err := t.large(path, of, size, flip); err != nil {
			return err
		}
		if err := os.Chtimes(path, t.mtime(i), t.mtime(i)); err != nil {
			return err
		}
	}
	return nil
}

// large writes a large file a piece at a time: what this program needs, wait4 counts as memory of the commands it runs. One
// byte at flip is another.
func (t Tree) large(path string, i int, size, flip int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	const piece = 1 << 20
	for off := int64(0); off < size && err == nil; off += piece {
		b := t.content(i<<16+int(off/piece), min(piece, size-off))
		if flip >= off && flip < off+int64(len(b)) {
			b[flip-off] ^= 1
		}
		_, err = f.Write(b)
	}
	return errors.Join(err, f.Close())
}

// buildDupesMixed copies what a real system holds, documentation, libraries, sources, and every fifth folder of that again.
// It is the same each time only as long as the machine is.
func (t Tree) buildDupesMixed(root string) error {
	goEnv := func(name string) string {
		out, _ := exec.Command("go", "env", name).Output() // what is not there is not copied
		return strings.TrimSpace(string(out))
	}
	c := copier{links: map[[2]uint64]string{}}
	for _, source := range []struct {
		name, path string
		percent    int
	}{{"share", "/usr/share", 40}, {"lib", "/usr/lib", 15}, {"src", filepath.Join(goEnv("GOROOT"), "src"), 10}, {"mod", goEnv("GOMODCACHE"), 20}} {
		c.left = t.N * source.percent / 100
		if err := c.tree(source.path, filepath.Join(root, source.name)); err != nil {
			return err
		}
	}
	folders := c.folders
	c.left = t.N - c.files
	for i, dir := range folders {
		if t.hash(i)%5 == 0 {
			if err := c.folder(dir, filepath.Join(root, "again", fmt.Sprint(i))); err != nil {
				return err
			}
		}
	}
	return nil
}

// copier copies at most left files more.
type copier struct {
	left, files int
	folders     []string             // that were made
	links       map[[2]uint64]string // by device and inode
}

func (c *copier) tree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // what cannot be read is left out
		}
		if c.left <= 0 {
			return filepath.SkipAll
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return c.folder(path, filepath.Join(to, rel))
	})
}

func (c *copier) folder(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil || c.left <= 0 {
		return nil
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	c.folders = append(c.folders, to)
	for _, e := range entries {
		if c.left <= 0 {
			break
		}
		if err := c.entry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !st.Mode().IsRegular():
		return nil
	}
	c.left--
	c.files++
	sys := st.Sys().(*syscall.Stat_t)
	id := [2]uint64{sys.Dev, sys.Ino}
	if first := c.links[id]; first != "" {
		return os.Link(first, to)
	}
	if sys.Nlink > 1 {
		c.links[id] = to
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chtimes(to, st.ModTime(), st.ModTime()))
}
