package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The record that the kernel's dm-log-writes target keeps of a disk: every write, in the order in which it became
// durable. Layout and meaning: Linux, Documentation/admin-guide/device-mapper/log-writes.rst and
// drivers/md/dm-log-writes.c.
const (
	logMagic   = 0x6a736677736872
	logVersion = 1

	logFlush   = 1 // what completed before this entry is durable
	logFUA     = 2 // this entry is durable by itself
	logDiscard = 4
	logMark    = 8
)

// A diskWrite is one entry of the record.
type diskWrite struct {
	flags uint64
	at    int64  // bytes from the start of the disk
	data  []byte // what was written there; a discard's is zeros
	mark  string
}

// readDiskLog reads the record in file name.
func readDiskLog(name string) ([]diskWrite, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	var super struct {
		Magic, Version, Entries uint64
		SectorSize              uint32
	}
	if err := binary.Read(f, binary.LittleEndian, &super); err != nil {
		return nil, fmt.Errorf("%s: no superblock: %w", name, err)
	}
	if super.Magic != logMagic || super.Version != logVersion || super.SectorSize < 512 {
		return nil, fmt.Errorf("%s: not a record of dm-log-writes, version %d: %+v", name, logVersion, super)
	}
	sector := int64(super.SectorSize)
	at := sector
	var writes []diskWrite
	head := make([]byte, sector)
	for n := range super.Entries {
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("%s: entry %d of %d: %w", name, n, super.Entries, err)
		}
		at += sector
		first := binary.LittleEndian.Uint64(head[0:])
		count := binary.LittleEndian.Uint64(head[8:])
		w := diskWrite{flags: binary.LittleEndian.Uint64(head[16:]), at: int64(first) * sector}
		switch {
		case w.flags&logMark != 0:
			length := binary.LittleEndian.Uint64(head[24:])
			if length > uint64(sector)-32 {
				return nil, fmt.Errorf("%s: entry %d: a mark of %d bytes", name, n, length)
			}
			w.mark = string(head[32 : 32+length])
		case w.flags&logDiscard != 0:
			w.data = make([]byte, int64(count)*sector)
		default:
			w.data = make([]byte, int64(count)*sector)
			if _, err := f.ReadAt(w.data, at); err != nil {
				return nil, fmt.Errorf("%s: data of entry %d of %d: %w", name, n, super.Entries, err)
			}
			at += int64(len(w.data))
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// A cut is a moment at which the power may go: the first durable writes are on the disk, and so are those pieces of
// later ones that happened to make it.
type cut struct {
	durable int
	lucky   []diskWrite
}

func (c cut) String() string {
	if len(c.lucky) == 0 {
		return fmt.Sprintf("after write %d", c.durable)
	}
	return fmt.Sprintf("after write %d and %d pieces of later ones", c.durable, len(c.lucky))
}

// pageSize is what a disk writes whole or not at all; a longer write may be torn between pages.
const pageSize = 4096

// cuts picks up to n moments among those after writes[from], in the order of time. All flushes are taken, or a random
// half of n if there are more; the others lose part of what was on its way between two flushes.
func cuts(writes []diskWrite, from, n int, random *rand.Rand) []cut {
	// A flush makes durable what came before it, and then, if it has data of its own, the data: two moments.
	flushes := []int{from}
	for i := from; i < len(writes); i++ {
		if writes[i].flags&logFlush != 0 {
			if len(writes[i].data) > 0 {
				flushes = append(flushes, i)
			}
			flushes = append(flushes, i+1)
		}
	}
	var picked []cut
	for _, i := range flushes {
		picked = append(picked, cut{durable: i})
	}
	random.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	picked = picked[:min(len(picked), max(n/2, 1))]

	seen := map[uint64]bool{}
	for try := 0; len(picked) < n && try < 20*n; try++ {
		// Two neighbours of flushes bound what was in flight together.
		k := random.IntN(len(flushes))
		start, end := flushes[k], len(writes)
		if k+1 < len(flushes) {
			end = flushes[k+1]
		}
		c := inFlight(writes[:end], start, random)
		if key := c.key(); len(c.lucky) > 0 && !seen[key] {
			seen[key] = true
			picked = append(picked, c)
		}
	}
	slices.SortStableFunc(picked, func(a, b cut) int { return a.durable - b.durable })
	return picked
}

// inFlight is a random moment after the first durable writes and before any flush that follows them.
func inFlight(writes []diskWrite, durable int, random *rand.Rand) cut {
	c := cut{durable: durable}
	if durable == len(writes) {
		return c
	}
	keep := random.Float64()
	until := durable + 1 + random.IntN(len(writes)-durable)
	for _, w := range writes[durable:until] {
		if w.flags&logFUA != 0 {
			// A later write may have waited for this one, so it is on the disk if any later one is.
			c.lucky = append(c.lucky, w)
			continue
		}
		for i := 0; i < len(w.data); i += pageSize {
			if random.Float64() < keep {
				c.lucky = append(c.lucky, diskWrite{at: w.at + int64(i), data: w.data[i:min(i+pageSize, len(w.data))]})
			}
		}
	}
	return c
}

var cutSeed = maphash.MakeSeed()

func (c cut) key() uint64 {
	var h maphash.Hash
	h.SetSeed(cutSeed)
	fmt.Fprint(&h, c.durable)
	for _, w := range c.lucky {
		fmt.Fprint(&h, " ", w.at, len(w.data))
		h.Write(w.data)
	}
	return h.Sum64()
}

// A disk is the content of one, in memory.
type disk struct {
	data []byte
	used []bool // pages that may hold something other than zeros
}

func readDisk(name string) (*disk, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := &disk{data: data, used: make([]bool, (len(data)+pageSize-1)/pageSize)}
	for i := range d.used {
		d.used[i] = slices.ContainsFunc(d.page(i), func(b byte) bool { return b != 0 })
	}
	return d, nil
}

func (d *disk) page(i int) []byte { return d.data[i*pageSize : min((i+1)*pageSize, len(d.data))] }

func (d *disk) write(w diskWrite) {
	if len(w.data) == 0 {
		return
	}
	copy(d.data[w.at:], w.data)
	for i := w.at / pageSize; i*pageSize < w.at+int64(len(w.data)); i++ {
		d.used[i] = true
	}
}

// save writes the disk as it is at c to a new sparse file. The writes that are durable at c are on d already.
func (d *disk) save(name string, c cut) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(d.data))); err != nil {
		return err
	}
	put := func(at int64, data []byte) {
		if err == nil {
			_, err = f.WriteAt(data, at)
		}
	}
	for i := 0; i < len(d.used); {
		j := i
		for j < len(d.used) && d.used[j] {
			j++
		}
		if j > i {
			put(int64(i)*pageSize, d.data[i*pageSize:min(j*pageSize, len(d.data))])
		}
		i = j + 1
	}
	for _, w := range c.lucky {
		put(w.at, w.data)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func TestDiskLog(t *testing.T) {
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, pageSize) }
	want := []diskWrite{
		{mark: "begin", flags: logMark},
		{at: 0, data: slices.Concat(page('a'), page('b'))},
		{at: 3 * pageSize, data: page('c'), flags: logFlush | logFUA},
		{at: 5 * pageSize, data: page('d')},
		{at: 0, data: page('e'), flags: logFUA},
		{at: 2 * pageSize, data: page('f')},
		{flags: logFlush},
		{at: 3 * pageSize, data: make([]byte, pageSize), flags: logDiscard},
		{at: 6 * pageSize, data: page('g')},
		{flags: logFlush},
	}

	const sector = 512
	record := make([]byte, sector)
	copy(record, binary.LittleEndian.AppendUint32(appendUint64s(nil, logMagic, logVersion, uint64(len(want))), sector))
	for _, w := range want {
		head := appendUint64s(nil, uint64(w.at/sector), uint64(len(w.data)/sector), w.flags, uint64(len(w.mark)))
		head = append(head, w.mark...)
		record = append(record, append(head, make([]byte, sector-len(head))...)...)
		if w.flags&logDiscard == 0 {
			record = append(record, w.data...)
		}
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "record")
	if err := os.WriteFile(name, record, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b diskWrite) bool {
		return a.at == b.at && a.flags == b.flags && a.mark == b.mark && bytes.Equal(a.data, b.data)
	}
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("read %v, want %v", got, want)
	}

	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, make([]byte, 8*pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	states := map[string]bool{}
	for _, c := range cuts(got, 0, 200, rand.New(rand.NewPCG(1, 2))) {
		d, err := readDisk(empty)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range got[:c.durable] {
			d.write(w)
		}
		image := filepath.Join(dir, "image")
		if err := d.save(image, c); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		state := make([]byte, 8)
		for i := range state {
			state[i] = max(data[i*pageSize], '.')
		}
		states[string(state)] = true
	}
	// Each letter is a page. A long write may be torn (a without b); e is durable by itself, so f, which comes after it,
	// is never there without it; a flush leaves nothing under way.
	wantStates := []string{
		"........", "a.......", ".b......", "ab......", "ab.c....", // up to the first flush
		"ab.c.d..", "eb.c....", "eb.c.d..", "ebfc....", "ebfc.d..", // to the second
		"ebf..d..", "ebfc.dg.", "ebf..dg.", // and to the third
	}
	slices.Sort(wantStates)
	if got := slices.Sorted(maps.Keys(states)); !slices.Equal(got, wantStates) {
		t.Errorf("after a power cut the disk may be\n%q, want\n%q", got, wantStates)
	}
}

func appendUint64s(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
