package organizer

import (
	"context"
	"hash/maphash"
	"path/filepath"
	"slices"

	"forg/journal"
)

// Placed remembers where forg has put files, so that one which a person has moved on by hand can be left where it is. It
// is for programs that run for long: what it knows is kept from one Update to the next.
type Placed struct {
	roots []string
	seed  maphash.Seed
	last  int64 // operation up to which it knows all
	files map[fileKey]placement
}

// fileKey is what stays with a file that is renamed.
type fileKey struct {
	volume uint64
	inode
}

// placement is where a file was put last. There may be millions, so of the path only a hash is kept.
type placement struct {
	path        uint64
	size, mtime int64
}

// NewPlaced is for files that operations on roots, or on what lies around or in them, have placed.
func NewPlaced(roots []string) *Placed {
	return &Placed{roots: roots, seed: maphash.MakeSeed(), files: map[fileKey]placement{}}
}

// Update reads the operations since the last Update. No operation may be running, so the caller holds the journal open
// for writing.
func (p *Placed) Update(ctx context.Context, j *journal.Journal) error {
	ops, err := j.Since(ctx, p.last)
	if err != nil {
		return err
	}
	for _, o := range ops {
		near := slices.ContainsFunc(filepath.SplitList(o.Root), func(at string) bool {
			return slices.ContainsFunc(p.roots, func(root string) bool { return Within(at, root) || Within(root, at) })
		})
		if near {
			if err := p.add(ctx, j, o); err != nil {
				return err
			}
		}
		p.last = o.ID
	}
	return nil
}

func (p *Placed) add(ctx context.Context, j *journal.Journal, o journal.Operation) error {
	for s, err := range j.Steps(ctx, o, false) {
		if err != nil {
			return err
		}
		if s.State != journal.Done || !s.Action.Places() {
			continue
		}
		id := s.File
		if s.Ino != 0 { // its content was copied to another file
			id.Ino, id.Born = s.Ino, s.Born
		}
		p.files[fileKey{s.ToDir.Volume, inode{id.Ino, id.Born}}] = placement{p.hash(s.ToDir.Path, s.To), id.Size, id.Mtime}
	}
	return nil
}

func (p *Placed) hash(dir, name string) uint64 { return maphash.Comparable(p.seed, place{dir, name}) }

// MovedByHand reports whether forg has put the file called name in dir somewhere else, from where a person must have
// taken it. A file that a person has replaced by another, as some editors do, is not known any more.
func (p *Placed) MovedByHand(dir *Dir, name string, f journal.Identity) bool {
	was, ok := p.files[fileKey{dir.ID.Volume, inode{f.Ino, f.Born}}]
	if !ok || f.Ino == 0 || was.path == p.hash(dir.Path, name) {
		return false
	}
	// Without a time of birth the number may have been given to a new file.
	return f.Born != 0 || was.size == f.Size && was.mtime == f.Mtime
}
