package dupes

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// wholeBelow is the size up to which a file is read at once: to open it a second time costs more than to read this much.
	wholeBelow = 64 << 10
	// beginning is how much of a larger file its fingerprint tells of.
	beginning = 4 << 10
)

// fingerprint tells contents of one size apart; of a file larger than wholeBelow only its beginning.
type fingerprint [2]uint64

// class names the content of a file larger than wholeBelow. Those of one session and one size are different if the contents
// are, of different sessions they cannot be compared: what has none, or one of another session, must be read to know.
type class struct{ session, number uint64 }

func newSession() class {
	var b [8]byte
	rand.Read(b[:])                                             // never fails
	return class{session: binary.LittleEndian.Uint64(b[:]) | 1} // 0 is no session
}

// finder is one run of Find. Of files that have several names, it looks at one. Its candidates are in the order of their
// folders, and all that is known of one has that index: that is k, as i is an index of files.
type finder struct {
	ctx     context.Context
	folders []Folder
	files   []File
	opt     Options
	seed    uint64 // of fingerprints
	session class  // the last one given away

	cands   []int32 // indexes of files
	aliases []alias // other names of them, by candidate
	prints  []fingerprint
	states  []state
	classes []class // nil while there are no large files
	equal   []int32 // the first candidate of the same content; itself, if there is no other

	memory *memory     // nil without a cache
	cold   atomic.Bool // some read had to wait for the disk

	volMu   sync.Mutex
	volumes map[uint64]*volume // by Folder.Dev

	mu   sync.Mutex // of what follows, and of calls of opt.Unread and opt.Progress
	done struct{ files, bytes, allFiles, allBytes int64 }
}

func newFinder(ctx context.Context, folders []Folder, files []File, opt Options) *finder {
	f := &finder{ctx: ctx, folders: folders, files: files, opt: opt, session: newSession(), volumes: map[uint64]*volume{}}
	f.seed = f.session.session // without a cache, fingerprints need not outlive the run
	return f
}

func (f *finder) find() (groups []Group, err error) {
	f.candidates()
	f.load()
	f.start()
	f.readAll()
	if f.ctx.Err() == nil {
		f.group()
	}
	if f.ctx.Err() == nil {
		groups = f.groups()
	}
	f.save() // what was read before ctx ended as well
	if err := f.ctx.Err(); err != nil {
		return nil, err
	}
	return groups, nil
}

// alias is another name of a candidate.
type alias struct{ k, i int32 }

// state is how the fingerprint of a candidate is known.
type state uint8

const (
	unknown state = iota
	cached        // from an earlier run
	read          // in this one
	known         // of a file that is the only one of its size but for its own other names: there is no need to read it
	failed        // not at all, and Options.Unread knows
)

// table finds things by their hashes: things are numbers from 0.
type table struct {
	slots []slot
	mask  uint64
}

// slot holds a part of the hash too: to look at a thing that turns out to be another costs more than all the rest.
type slot struct {
	tag uint32
	n   int32 // number + 1, or 0
}

func newTable(n int) table {
	size := 8
	for size < n+n/2 {
		size *= 2
	}
	return table{make([]slot, size), uint64(size - 1)}
}

// first returns the thing put in before for which equal holds; if there is none it puts in n and returns that.
func (t table) first(n int32, hash uint64, equal func(other int32) bool) int32 {
	tag := uint32(hash >> 32)
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		switch s := t.slots[at]; {
		case s.n == 0:
			t.slots[at] = slot{tag, n + 1}
			return n
		case s.tag == tag && equal(s.n-1):
			return s.n - 1
		}
	}
}

// mix is SplitMix64's finalizer.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// candidates finds the files that are not the only one of their size.
func (f *finder) candidates() {
	files := f.files
	sizes := newTable(len(files))
	several := make([]uint64, len(files)/64+1) // a bit for each file
	n, sorted, last := 0, true, uint32(0)
	for i := range files {
		first := sizes.first(int32(i), mix(uint64(files[i].Size)), func(j int32) bool { return files[j].Size == files[i].Size })
		if first == int32(i) {
			continue
		}
		if several[first/64]&(1<<(first%64)) == 0 {
			several[first/64] |= 1 << (first % 64)
			n++
		}
		several[i/64] |= 1 << (i % 64)
		n++
	}
	f.cands = make([]int32, 0, n)
	for i := range files {
		if several[i/64]&(1<<(i%64)) != 0 {
			sorted = sorted && files[i].Folder >= last
			last = files[i].Folder
			f.cands = append(f.cands, int32(i))
		}
	}
	if !sorted {
		slices.SortStableFunc(f.cands, func(a, b int32) int { return cmp.Compare(files[a].Folder, files[b].Folder) })
	}
	f.collapse()
	f.prints = make([]fingerprint, len(f.cands))
	f.states = make([]state, len(f.cands))
	f.equal = make([]int32, len(f.cands))
	for k := range f.equal {
		f.equal[k] = int32(k)
	}
	if len(f.aliases) > 0 {
		f.alone()
	}
}

// collapse keeps one name of each file. Names whose times differ are left for the reading to decide: either the file
// changed during the scan, or one of the names is not on the device of its folder, and so is another file's.
func (f *finder) collapse() {
	inodes := newTable(len(f.cands))
	keep := f.cands[:0]
	for _, i := range f.cands {
		file := &f.files[i]
		dev := f.folders[file.Folder].Dev
		k := int32(len(keep))
		first := k
		if file.Ino != 0 {
			first = inodes.first(k, mix(file.Ino^mix(dev)), func(other int32) bool {
				o := &f.files[f.cands[other]]
				return o.Ino == file.Ino && o.Size == file.Size && o.Mtime == file.Mtime && o.Changed == file.Changed && f.folders[o.Folder].Dev == dev
			})
		}
		if first != k {
			f.aliases = append(f.aliases, alias{first, i})
			continue
		}
		keep = append(keep, i)
	}
	f.cands = slices.Clip(keep)
	slices.SortFunc(f.aliases, func(a, b alias) int { return cmp.Or(cmp.Compare(a.k, b.k), cmp.Compare(a.i, b.i)) })
}

// alone spares the reading of files that are equal to nothing but themselves.
func (f *finder) alone() {
	sizes := newTable(len(f.cands))
	several := make([]bool, len(f.cands))
	for k, i := range f.cands {
		size := f.files[i].Size
		first := sizes.first(int32(k), mix(uint64(size)), func(other int32) bool { return f.files[f.cands[other]].Size == size })
		if first != int32(k) {
			several[first], several[k] = true, true
		}
	}
	for k, yes := range several {
		if !yes {
			f.states[k] = known
		}
	}
}

func (f *finder) file(k int32) *File { return &f.files[f.cands[k]] }

// names yields the other names of a candidate.
func (f *finder) names(k int32) []alias {
	from, _ := slices.BinarySearchFunc(f.aliases, k, func(a alias, k int32) int { return cmp.Compare(a.k, k) })
	to := from
	for to < len(f.aliases) && f.aliases[to].k == k {
		to++
	}
	return f.aliases[from:to]
}

func (f *finder) path(i int32) string {
	return filepath.Join(f.folders[f.files[i].Folder].Path, f.files[i].Name)
}

// errChanged is for a file that is not, or not any more, what the scan saw.
var errChanged = errors.New("changed while it was compared")

// unread takes a candidate out.
func (f *finder) unread(k int32, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states[k] = failed
	if f.opt.Unread == nil {
		return
	}
	tell := func(i int32) { f.opt.Unread(i, fmt.Errorf("read %s: %w", f.path(i), err)) }
	tell(f.cands[k])
	for _, a := range f.names(k) {
		tell(a.i)
	}
}

// start counts what there is to do.
func (f *finder) start() {
	for k := range f.cands {
		if f.states[k] != known {
			f.done.allFiles++
			f.done.allBytes += f.file(int32(k)).Size
		}
	}
	var files, bytes int64
	for k := range f.cands {
		if f.states[k] == cached && f.file(int32(k)).Size <= wholeBelow {
			files++
			bytes += f.file(int32(k)).Size
		}
	}
	f.progress(files, bytes)
}

// progress notes that so many files and bytes more need not be looked at again.
func (f *finder) progress(files, bytes int64) {
	if f.opt.Progress == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done.files += files
	f.done.bytes += bytes
	f.opt.Progress(f.done.files, f.done.bytes, f.done.allFiles, f.done.allBytes)
}

// group finds out which candidates are equal.
func (f *finder) group() {
	prints := newTable(len(f.cands))
	var large []alias // the first of a content and another one
	for k := range int32(len(f.cands)) {
		if f.states[k] != cached && f.states[k] != read {
			continue
		}
		size, print := f.file(k).Size, f.prints[k]
		first := prints.first(k, print[0]^mix(uint64(size)), func(other int32) bool {
			return f.prints[other] == print && f.file(other).Size == size
		})
		switch {
		case size <= wholeBelow:
			f.equal[k] = first
		case first != k:
			large = append(large, alias{first, k})
		}
	}
	f.compareAll(large)
}

// groups makes the answer of what is known of the candidates.
func (f *finder) groups() []Group {
	for {
		groups, members := f.found()
		f.shared(groups, members)
		if !f.opt.Hash || f.hashed(groups, members) || f.ctx.Err() != nil {
			return groups
		}
		// Some of them could not be read any more.
	}
}

// found puts together the names of equal candidates. members are the candidates of each group, in the order of Group.Files.
func (f *finder) found() (groups []Group, members [][]int32) {
	of := func(k int32) bool { return f.states[k] != failed && f.states[k] != unknown }
	count := make([]int32, len(f.cands)) // names of a content, by the first candidate of it
	for k := range int32(len(f.cands)) {
		if of(k) {
			count[f.equal[k]]++
		}
	}
	for _, a := range f.aliases {
		if of(a.k) {
			count[f.equal[a.k]]++
		}
	}
	n, contents := int32(0), 0
	for _, c := range count {
		if c > 1 {
			n += c
			contents++
		}
	}
	names := make([]alias, 0, n)
	for k := range int32(len(f.cands)) {
		if of(k) && count[f.equal[k]] > 1 {
			names = append(names, alias{k, f.cands[k]})
		}
	}
	for _, a := range f.aliases {
		if of(a.k) && count[f.equal[a.k]] > 1 {
			names = append(names, a)
		}
	}
	byFile := func(a, b alias) int { return cmp.Compare(a.i, b.i) }
	if !slices.IsSortedFunc(names, byFile) {
		slices.SortFunc(names, byFile)
	}
	numbers, sames, ks := make([]int32, n), make([]int32, n), make([]int32, n) // of all groups
	groups, members = make([]Group, 0, contents), make([][]int32, 0, contents)
	next := make([]int32, len(f.cands)) // by the first candidate, the place of the next name + 1
	end := int32(0)
	for _, nm := range names {
		first := f.equal[nm.k]
		if next[first] == 0 {
			begin := end
			next[first] = begin + 1
			end += count[first]
			groups = append(groups, Group{Files: numbers[begin:end:end], Same: sames[begin:end:end]})
			members = append(members, ks[begin:end:end])
		}
		at := next[first] - 1
		numbers[at], ks[at] = nm.i, nm.k
		next[first]++
	}
	for g := range groups {
		same, ks := groups[g].Same, members[g]
		for at, k := range ks {
			same[at] = int32(at)
			if len(f.aliases) > 0 && len(f.names(k)) > 0 {
				same[at] = int32(slices.Index(ks, k))
			}
		}
	}
	return groups, members
}
