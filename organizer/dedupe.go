package organizer

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/zeebo/blake3"

	"forg/journal"
)

// A duplicate has the same size, then the same first bytes, then the same BLAKE3. Nothing is done to one before its
// bytes were compared again (see verify).

// wholeBelow is the size up to which a file is hashed at once: a second opening costs more than reading this much.
const wholeBelow = 64 << 10

// digest is what files are grouped by.
type digest struct {
	size int64
	hash [32]byte
}

// duplicates finds files of the plan that equal another, or one that lies at the destination already, and does with them
// what the options say. What is only to be reported is not worth a look at the destination.
func (p *planner) duplicates(ctx context.Context) error {
	if p.opt.Duplicates != DuplicatesReport && p.opt.Duplicates != "" && len(p.Moves) > 0 {
		if err := p.addResidents(ctx); err != nil {
			return err
		}
	}
	all := make([]Ref, 0, len(p.Moves))
	for i := range p.Moves {
		if isRegular(uint32(p.Tree.File(p.Moves[i].File).Mode)) {
			all = append(all, p.Moves[i].File)
		}
	}
	equal, err := p.equals(ctx, append(all, p.residents()...))
	if err != nil {
		return err
	}
	for _, g := range equal {
		p.settle(g)
	}
	p.dealWithDuplicates()
	return nil
}

// equals finds the groups of files that have the same content. Empty files are in none.
func (p *planner) equals(ctx context.Context, all []Ref) ([][]Ref, error) {
	sizes := map[int64]int{}
	for _, r := range all {
		if f := p.Tree.File(r); f.Size > 0 {
			sizes[f.Size]++
		}
	}
	some := slices.DeleteFunc(all, func(r Ref) bool { return sizes[p.Tree.File(r).Size] < 2 })
	if len(some) == 0 {
		return nil, nil
	}
	groups, err := p.group(ctx, some, wholeBelow)
	if err != nil {
		return nil, err
	}
	var large []Ref
	var equal [][]Ref
	for d, g := range groups {
		if len(g) < 2 {
			continue
		}
		if d.size > wholeBelow {
			large = append(large, g...)
		} else {
			equal = append(equal, g)
		}
	}
	if len(large) > 0 {
		slices.SortFunc(large, compareRefs)
		groups, err := p.group(ctx, large, 1<<62)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if len(g) > 1 {
				equal = append(equal, g)
			}
		}
	}
	return equal, nil
}

// group hashes files, of those larger than whole only the beginning. Files that cannot be read are in no group.
func (p *planner) group(ctx context.Context, some []Ref, whole int64) (map[digest][]Ref, error) {
	perDir := make([][]look, len(p.Tree.Dirs))
	for _, r := range some {
		perDir[p.Tree.DirOf(r)] = append(perDir[p.Tree.DirOf(r)], look{r: r})
	}
	var mu sync.Mutex
	groups := map[digest][]Ref{}
	pool := sync.Pool{New: func() any { return new([wholeBelow]byte) }}
	err := p.eachFile(ctx, perDir, int64(len(some)), func(h *scanHandle, l look, name, _ []byte) {
		unread := func(err error) {
			if p.opt.Duplicates == DuplicatesReport || p.opt.Duplicates == "" {
				return // nothing would have been done about it
			}
			mu.Lock()
			defer mu.Unlock()
			path := p.Tree.Path(l.r)
			p.Problems = append(p.Problems, Problem{path, fmt.Errorf("read %s to tell whether it is a duplicate: %w", path, cause(err))})
		}
		f, err := h.open(string(name[:len(name)-1]))
		if err != nil {
			unread(err)
			return
		}
		defer f.Close()
		size := p.Tree.File(l.r).Size
		n := size
		if size > whole {
			n = 4 << 10
		}
		buf := pool.Get().(*[wholeBelow]byte)
		defer pool.Put(buf)
		d := digest{size: size}
		if n <= wholeBelow {
			if _, err := io.ReadFull(f, buf[:n]); err != nil {
				unread(err)
				return
			}
			d.hash = blake3.Sum256(buf[:n])
		} else {
			hash := blake3.New()
			if got, err := copyHashing(ctx, hash, f); err != nil || got != size {
				return
			}
			hash.Sum(d.hash[:0])
		}
		mu.Lock()
		groups[d] = append(groups[d], l.r)
		mu.Unlock()
	})
	return groups, err
}

// copyHashing reads all of r into w, 1 MiB at a time, until ctx ends.
func copyHashing(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 1<<20)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := io.ReadFull(r, buf)
		w.Write(buf[:got]) // a hash does not fail
		n += int64(got)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// settle chooses which file of a group of equals is the original: one at the destination, then the oldest, then the one
// with the shortest path, then the first by name. Names of one inode are one file.
func (p *planner) settle(g []Ref) {
	last := func(r Ref) int {
		if p.IsResident(r) {
			return 0
		}
		return 1
	}
	slices.SortFunc(g, func(a, b Ref) int {
		fa, fb := p.Tree.File(a), p.Tree.File(b)
		pa, pb := p.Tree.Path(a), p.Tree.Path(b)
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(fa.Mtime, fb.Mtime), cmp.Compare(len(pa), len(pb)), cmp.Compare(pa, pb))
	})
	id := func(r Ref) identityOn { return identityOn{p.Tree.Dirs[p.Tree.DirOf(r)].Dev, p.Tree.File(r).Ino} }
	seen := map[identityOn]bool{id(g[0]): true}
	for _, r := range g[1:] {
		f := p.Tree.File(r)
		if seen[id(r)] || p.IsResident(r) {
			continue
		}
		seen[id(r)] = true
		p.SameAs[r] = g[0]
		p.DupBytes += f.Size
	}
}

// dealWithDuplicates carries the option out in the plan. Bundles are not torn apart for it: a duplicate in a bundle is
// only reported.
func (p *planner) dealWithDuplicates() {
	if p.opt.Duplicates == DuplicatesReport || p.opt.Duplicates == "" || len(p.SameAs) == 0 {
		return
	}
	keep := p.Moves[:0]
	var last []Move // after the originals are in their places
	for _, m := range p.Moves {
		original, dup := p.SameAs[m.File]
		if !dup || m.Unit != 0 {
			keep = append(keep, m)
			continue
		}
		switch p.opt.Duplicates {
		case DuplicatesSkip:
			p.leave(m.File, LeftDuplicate)
		case DuplicatesFolder:
			m.To = p.folder(filepath.Join(p.Tree.Dirs[p.Tree.DirOf(m.File)].Into, DuplicatesDir))
			m.Label = p.label(DuplicatesDir)
			last = append(last, m)
		case DuplicatesTrash, DuplicatesHardlink:
			if p.opt.Copy { // the duplicate stays where it is, so there is nothing to be rid of
				p.leave(m.File, LeftDuplicate)
				continue
			}
			trash, err := p.toTrash(m.File)
			if err != nil {
				p.Problems = append(p.Problems, Problem{p.Tree.Path(m.File), err})
				continue
			}
			there := p.IsResident(original) && p.Folders[m.To].Path == p.Tree.Dirs[p.Tree.DirOf(original)].Path && p.Name(&m) == p.Tree.Name(original)
			if p.opt.Duplicates == DuplicatesHardlink && !there { // else the link would be the original itself
				p.unit++
				link := m
				link.Action, link.Unit, trash.Unit = journal.Link, p.unit, p.unit
				link.File = original
				if link.Name == 0 {
					p.rename(&link, p.Tree.Name(m.File))
				}
				last = append(last, link)
			}
			last = append(last, trash)
		}
	}
	p.Moves = append(keep, last...)
}

// sameBytes compares two files byte by byte.
func sameBytes(a, b string) (bool, error) {
	fa, err := openPath(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := openPath(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		na, errA := io.ReadFull(fa, bufA)
		nb, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:na], bufB[:nb]) {
			return false, nil
		}
		endA, endB := errA == io.EOF || errA == io.ErrUnexpectedEOF, errB == io.EOF || errB == io.ErrUnexpectedEOF
		switch {
		case endA && endB:
			return true, nil
		case errA != nil && !endA:
			return false, errA
		case errB != nil && !endB:
			return false, errB
		case endA != endB:
			return false, nil
		}
	}
}

// hashOf is the BLAKE3 of all of r.
func hashOf(r io.Reader) ([]byte, error) {
	h := blake3.New()
	if _, err := copyHashing(context.Background(), h, r); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
