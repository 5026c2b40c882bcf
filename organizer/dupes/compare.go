package dupes

import (
	"bytes"
	"cmp"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/zeebo/blake3"
)

const (
	// chunk is how much is compared at a time: smaller ones cost more calls, and two larger ones do not fit into the second
	// level of the processor's cache.
	chunk = 1 << 20
	// firstChunk is what many of those that differ after their beginning differ in.
	firstChunk = 64 << 10
	// openTogether is how many files are compared at the same time. More are hashed.
	openTogether = 64
	// coldWorkers is how many groups are compared at a time when the disk has to be waited for.
	coldWorkers = 8
)

// unit is candidates that are known to be equal.
type unit []int32

// compareAll finds out which large candidates are equal. pairs are, by any candidate of those that begin alike, the first
// of them and another.
func (f *finder) compareAll(pairs []alias) {
	if len(pairs) > 0 {
		slices.SortFunc(pairs, func(a, b alias) int { return cmp.Or(cmp.Compare(a.k, b.k), cmp.Compare(a.i, b.i)) })
	}
	if f.classes == nil {
		f.classes = make([]class, len(f.cands))
	}
	var tasks [][]unit
	for len(pairs) > 0 {
		n := 1
		for n < len(pairs) && pairs[n].k == pairs[0].k {
			n++
		}
		alike := make([]int32, 0, n+1)
		alike = append(alike, pairs[0].k)
		for _, p := range pairs[:n] {
			alike = append(alike, p.i)
		}
		pairs = pairs[n:]
		if units := f.units(alike); f.known(units) {
			for _, u := range units {
				f.join(u)
			}
		} else {
			tasks = append(tasks, units)
		}
	}
	f.undoubted(tasks)
	// The largest first, or one would be left at the end with all others idle.
	slices.SortStableFunc(tasks, func(a, b []unit) int { return cmp.Compare(f.weight(b), f.weight(a)) })
	var next atomic.Int64
	workers := runtime.GOMAXPROCS(0)
	if f.cold.Load() {
		workers = max(workers, coldWorkers)
	}
	parallel(min(workers, len(tasks)), func() {
		c := &comparer{f: f}
		for f.ctx.Err() == nil {
			n := next.Add(1) - 1
			if n >= int64(len(tasks)) {
				return
			}
			c.task(tasks[n])
		}
	})
}

// undoubted counts the large files that need not be compared.
func (f *finder) undoubted(tasks [][]unit) {
	var files, bytes int64
	for k := range f.cands {
		if size := f.file(int32(k)).Size; size > wholeBelow && (f.states[k] == read || f.states[k] == cached) {
			files++
			bytes += size
		}
	}
	for _, units := range tasks {
		for _, u := range units {
			files -= int64(len(u))
			bytes -= int64(len(u)) * f.file(u[0]).Size
		}
	}
	f.progress(files, bytes)
}

func (f *finder) weight(units []unit) int64 { return int64(len(units)) * f.file(units[0][0]).Size }

// units are candidates that begin alike, by what is known of the rest.
func (f *finder) units(alike []int32) []unit {
	var units []unit
	at := map[class]int{}
	for _, k := range alike {
		c := f.classes[k]
		if i, ok := at[c]; ok && c.session != 0 {
			units[i] = append(units[i], k)
			continue
		}
		at[c] = len(units)
		units = append(units, unit{k})
	}
	return units
}

// known reports whether it is known of each two of them whether they are equal.
func (f *finder) known(units []unit) bool {
	session := f.classes[units[0][0]].session
	if session == 0 {
		return len(units) == 1
	}
	return !slices.ContainsFunc(units, func(u unit) bool { return f.classes[u[0]].session != session })
}

// join notes that the candidates of a unit are equal.
func (f *finder) join(u unit) {
	first := slices.Min(u)
	for _, k := range u {
		f.equal[k] = first
	}
}

// comparer is one goroutine of compareAll.
type comparer struct {
	f        *finder
	one, two []byte // a chunk each
	dir      folder
	left     int64 // bytes of the task that nobody was told of yet
}

// compared tells of bytes that were read.
func (c *comparer) compared(n int64) {
	n = min(n, c.left) // some are read twice
	c.left -= n
	c.f.progress(0, n)
}

// task finds out which of the units are equal, and gives classes of this session to all of them.
func (c *comparer) task(units []unit) {
	f := c.f
	files := int64(0)
	for _, u := range units {
		files += int64(len(u))
	}
	c.left = files * f.file(units[0][0]).Size
	defer func() { f.progress(files, c.left) }()
	var classes []unit // each of one content, the one that was read first
	for len(units) > 0 && f.ctx.Err() == nil {
		byFirst := map[int32]unit{}
		ks := make([]int32, 0, len(units))
		for _, u := range append(classes, units...) {
			byFirst[u[0]] = u
			ks = append(ks, u[0])
		}
		var parts [][]int32
		if len(ks) == 1 {
			parts = [][]int32{ks} // the others turned out not to be readable
		} else {
			parts = c.part(ks)
		}
		classes, units = nil, nil
		for _, part := range parts {
			var whole unit
			for _, k := range part {
				whole = append(whole, byFirst[k]...)
				delete(byFirst, k)
			}
			classes = append(classes, whole)
		}
		// What could not be read may have others that are equal to it, as an earlier run knew.
		for _, k := range ks {
			if u, ok := byFirst[k]; ok && len(u) > 1 {
				units = append(units, u[1:])
			}
		}
	}
	if f.ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range classes {
		f.session.number++
		for _, k := range u {
			f.classes[k] = f.session
			if f.memory != nil {
				f.memory.stored[k] = false
			}
		}
		f.join(u)
	}
	if f.memory != nil && f.opt.Cache.now().Sub(f.memory.saved) >= saveEvery {
		f.save()
	}
}

// part reads candidates of one size and divides them by content. Those that cannot be read, or change meanwhile, are in
// no part.
func (c *comparer) part(ks []int32) [][]int32 {
	if len(ks) <= openTogether {
		parts, err := c.lockstep(ks)
		if err == nil {
			return parts
		}
	}
	return c.many(ks)
}

// member is a file that is being compared.
type member struct {
	k int32
	file
}

// lockstep compares files byte by byte, all at the same time. The error is errTooMany, or none.
func (c *comparer) lockstep(ks []int32) (parts [][]int32, err error) {
	f := c.f
	size := f.file(ks[0]).Size
	var all []member
	defer func() {
		for _, m := range all {
			m.close()
		}
	}()
	for _, k := range ks {
		file, err := c.open(k)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, errTooMany
		}
		if err != nil {
			f.unread(k, err)
			continue
		}
		all = append(all, member{k, file})
	}
	type state struct {
		same []member // equal up to off
		off  int64
	}
	var states []state
	if len(all) > 0 {
		states = append(states, state{slices.Clone(all), 0})
	}
	cold := false
	sparse := !slices.ContainsFunc(all, func(m member) bool { return !m.sparse(size) })
	for len(states) > 0 {
		s := states[len(states)-1]
		states = states[:len(states)-1]
		for len(s.same) > 1 && s.off < size {
			if f.ctx.Err() != nil {
				return nil, nil
			}
			if sparse { // where none has anything they agree
				next := size
				for _, m := range s.same {
					next = min(next, m.data(s.off, size))
				}
				c.compared((next - s.off) * int64(len(s.same)))
				if s.off = next; s.off >= size {
					break
				}
			}
			n := min(chunk, size-s.off)
			if s.off == 0 {
				n = min(n, firstChunk)
			}
			if cold {
				for _, m := range s.same {
					m.prefetch(s.off, n+chunk)
				}
			}
			c.compared(n * int64(len(s.same)))
			same, other := s.same[:0], []member(nil)
			one := c.buffer(&c.one, n)
			for _, m := range s.same {
				buf := one
				if len(same) > 0 {
					buf = c.buffer(&c.two, n)
				}
				waited, err := m.fill(buf, s.off)
				cold = cold || waited
				switch {
				case err != nil:
					f.unread(m.k, err)
				case len(same) == 0 || bytes.Equal(one, buf):
					same = append(same, m)
				default:
					other = append(other, m)
				}
			}
			if len(other) > 0 {
				states = append(states, state{other, s.off})
			}
			s.same, s.off = same, s.off+n
		}
		part := make([]int32, 0, len(s.same))
		for _, m := range s.same {
			if id, err := m.identity(); err != nil {
				f.unread(m.k, err)
			} else if !id.is(f.file(m.k)) {
				f.unread(m.k, errChanged)
			} else {
				part = append(part, m.k)
			}
		}
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	if cold {
		f.cold.Store(true)
	}
	return parts, nil
}

var errTooMany = errors.New("too many open files")

// buffer is a buffer of n bytes, made when it is first needed.
func (c *comparer) buffer(b *[]byte, n int64) []byte {
	if int64(len(*b)) < n {
		*b = aligned(int(max(n, firstChunk)))
	}
	return (*b)[:n]
}

// fill reads buf full, and says whether that had to wait for the disk.
func (f file) fill(buf []byte, off int64) (waited bool, err error) {
	n, _, err := f.tryRead(buf, off)
	if err == nil && n < len(buf) {
		waited = true
		var more int
		more, err = f.readAt(buf[n:], off+int64(n))
		n += more
	}
	if err == nil && n < len(buf) {
		err = errChanged
	}
	return waited, err
}

func (c *comparer) open(k int32) (file, error) {
	f := c.f
	in := f.file(k).Folder
	if err := openFolder(&f.folders[in], f.volume(in), &c.dir, 1); err != nil {
		return file{}, err
	}
	defer c.dir.close()
	return c.dir.open(f.file(k).Name)
}

// many is for more files than can be open at the same time: they are divided by their first chunks, and if there are
// still too many that agree, those are hashed.
func (c *comparer) many(ks []int32) (parts [][]int32) {
	size := c.f.file(ks[0]).Size
	if size <= chunk {
		return c.divide(ks, size)
	}
	for _, part := range c.divide(ks, chunk) {
		if len(part) <= openTogether {
			if some, err := c.lockstep(part); err == nil {
				parts = append(parts, some...)
				continue
			}
		}
		parts = append(parts, c.divide(part, size)...)
	}
	return parts
}

// divide divides candidates by the hash of their first n bytes.
func (c *comparer) divide(ks []int32, n int64) (parts [][]int32) {
	f := c.f
	hashes := make([][32]byte, len(ks))
	good := make([]bool, len(ks))
	var next atomic.Int64
	parallel(min(runtime.GOMAXPROCS(0), len(ks)), func() {
		c := &comparer{f: f}
		for f.ctx.Err() == nil {
			at := next.Add(1) - 1
			if at >= int64(len(ks)) {
				return
			}
			var err error
			if hashes[at], err = c.hash(ks[at], n); err == nil {
				good[at] = true
			} else if f.ctx.Err() == nil {
				f.unread(ks[at], err)
			}
		}
	})
	index := map[[32]byte]int{}
	for i, k := range ks {
		if !good[i] {
			continue
		}
		at, ok := index[hashes[i]]
		if !ok {
			at = len(parts)
			index[hashes[i]] = at
			parts = append(parts, nil)
		}
		parts[at] = append(parts[at], k)
	}
	return parts
}

// hash is the BLAKE3 of the first n bytes of a candidate.
func (c *comparer) hash(k int32, n int64) (sum [32]byte, err error) {
	file, err := c.open(k)
	if err != nil {
		return sum, err
	}
	defer file.close()
	h := blake3.New()
	cold := false
	for off := int64(0); off < n; {
		if err := c.f.ctx.Err(); err != nil {
			return sum, err
		}
		buf := c.buffer(&c.one, min(chunk, n-off))
		if cold {
			file.prefetch(off, 2*chunk)
		}
		waited, err := file.fill(buf, off)
		if err != nil {
			return sum, err
		}
		cold = cold || waited
		h.Write(buf) // a hash does not fail
		off += int64(len(buf))
	}
	id, err := file.identity()
	if err == nil && !id.is(c.f.file(k)) {
		err = errChanged
	}
	if err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
