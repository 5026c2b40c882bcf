// Package dupes finds files of equal content. It reads files, and keeps a cache of what it has read; it never changes a
// file of a person's and never prints. What it says is for reports and plans: who removes a file because of it compares
// the bytes once more first.
package dupes

import "context"

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
//
// Only files of a size that another has are looked at. Up to 64 KiB they are read whole, once, and compared by a
// fingerprint of 128 bits that depends on a secret, so that nobody can make two files that agree in it. Of larger ones the
// first 4 KiB are, and those that agree are then compared byte by byte.
func Find(ctx context.Context, folders []Folder, files []File, opt Options) ([]Group, error) {
	return newFinder(ctx, folders, files, opt).find()
}
