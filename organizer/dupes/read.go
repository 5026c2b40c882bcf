package dupes

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// identity tells one state of a file from all others.
type identity struct {
	ino          uint64
	size         int64
	mtime, ctime int64 // ns
}

// is reports whether it is what a scan saw, as far as the scan knew.
func (id identity) is(file *File) bool {
	return id.size == file.Size && id.mtime == file.Mtime && (id.ino == file.Ino || file.Ino == 0 || id.ino == 0) &&
		(id.ctime == file.Changed || file.Changed == 0 || id.ctime == 0)
}

// run is candidates of one folder, read by one goroutine.
type run struct{ from, to int32 }

const (
	runFiles = 128
	// waiting is how many files a goroutine lets the disk fetch at a time.
	waiting = 32
	// remoteReaders read where each call may wait for another machine.
	remoteReaders = 16
	// saveEvery is how much work is lost at most when forg is killed.
	saveEvery = time.Minute
)

// readAll gives a fingerprint to each candidate that has none.
func (f *finder) readAll() {
	var runs []run
	for k := int32(0); int(k) < len(f.cands); k++ {
		if f.states[k] != unknown {
			continue
		}
		in := f.file(k).Folder
		r := run{k, k + 1}
		for int(r.to) < len(f.cands) && r.to-r.from < runFiles && f.file(r.to).Folder == in {
			r.to++
		}
		k = r.to - 1
		runs = append(runs, r)
	}
	workers := runtime.GOMAXPROCS(0)
	for _, r := range runs {
		if !f.volume(f.file(r.from).Folder).local {
			workers = max(workers, remoteReaders)
		}
	}
	var next atomic.Int64
	for next.Load() < int64(len(runs)) && f.ctx.Err() == nil {
		stop := time.Now().Add(saveEvery)
		parallel(min(workers, len(runs)), func() {
			r := newReader(f)
			for f.ctx.Err() == nil && (f.memory == nil || time.Now().Before(stop)) {
				n := next.Add(1) - 1
				if n >= int64(len(runs)) {
					break
				}
				r.run(runs[n])
			}
			r.finish()
		})
		if !time.Now().Before(stop) {
			f.save()
		}
	}
}

// volume is that of a folder.
func (f *finder) volume(in uint32) *volume {
	f.volMu.Lock()
	defer f.volMu.Unlock()
	v := f.volumes[f.folders[in].Dev]
	if v == nil {
		v = newVolume(f.folders[in].Path)
		f.volumes[f.folders[in].Dev] = v
	}
	return v
}

func parallel(n int, work func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(work)
	}
	wg.Wait()
}

// aligned is a buffer that begins at a multiple of 64: the kernel copies to those several times as fast as to others.
func aligned(n int) []byte {
	b := make([]byte, n+63)
	at := -uintptr(unsafe.Pointer(&b[0])) & 63
	return b[at : at+uintptr(n) : at+uintptr(n)]
}

// reader is one goroutine of readAll.
type reader struct {
	f     *finder
	dir   folder
	buf   []byte
	queue []fetched // files that the disk is about to fetch, oldest first
	files int64     // looked at, not yet told
	bytes int64
}

type fetched struct {
	k int32
	file
}

func newReader(f *finder) *reader {
	return &reader{f: f, buf: aligned(wholeBelow + 1)}
}

func (r *reader) run(run run) {
	f := r.f
	in := f.file(run.from).Folder
	if err := openFolder(&f.folders[in], f.volume(in), &r.dir, int(run.to-run.from)); err != nil {
		for k := run.from; k < run.to; k++ {
			if f.states[k] == unknown {
				f.unread(k, err)
				r.looked(k)
			}
		}
		return
	}
	defer r.dir.close()
	for k := run.from; k < run.to; k++ {
		if f.states[k] == unknown {
			r.look(k)
		}
	}
	f.progress(r.files, r.bytes)
	r.files, r.bytes = 0, 0
}

// part is how much of a file is asked for: if it is to be read whole one byte more, since it may have grown, and some file
// systems say 0 of what is not empty.
func part(size int64) int {
	if size <= wholeBelow {
		return int(size) + 1
	}
	return beginning
}

func (r *reader) look(k int32) {
	file := r.f.file(k)
	open, err := r.dir.open(file.Name)
	if err != nil {
		r.f.unread(k, err)
		r.looked(k)
		return
	}
	want := part(file.Size)
	n, all, err := open.tryRead(r.buf[:want], 0)
	if !all && err == nil && (file.Size > wholeBelow || n < want-1) {
		r.f.cold.Store(true)
		open.prefetch(0, int64(want))
		if r.queue = append(r.queue, fetched{k, open}); len(r.queue) >= waiting {
			r.take()
		}
		return
	}
	r.note(k, open, n, err)
}

// take reads the file that was asked for first.
func (r *reader) take() {
	q := r.queue[0]
	r.queue = r.queue[:copy(r.queue, r.queue[1:])]
	n, err := q.readAt(r.buf[:part(r.f.file(q.k).Size)], 0)
	r.note(q.k, q.file, n, err)
}

// note takes the fingerprint of what is in buf.
func (r *reader) note(k int32, open file, n int, err error) {
	file := r.f.file(k)
	id, gone := open.identity()
	if gone != nil {
		err = gone // says more than that it cannot be read
	}
	open.close()
	want := min(file.Size, int64(part(file.Size)))
	if err == nil && (int64(n) != want || !id.is(file)) {
		err = errChanged
	}
	if err != nil {
		r.f.unread(k, err)
	} else {
		r.f.prints[k] = printOf(r.buf[:n], r.f.seed)
		r.f.states[k] = read
	}
	r.looked(k)
}

func printOf(b []byte, seed uint64) fingerprint {
	h := xxh3.Hash128Seed(b, seed)
	return fingerprint{h.Hi, h.Lo}
}

// looked counts a file of which nothing more is to be read, unless it is a large one: that may be compared.
func (r *reader) looked(k int32) {
	if size := r.f.file(k).Size; size <= wholeBelow || r.f.states[k] == failed {
		r.files++
		r.bytes += size
	}
}

func (r *reader) finish() {
	for len(r.queue) > 0 && r.f.ctx.Err() == nil {
		r.take()
	}
	for _, q := range r.queue {
		q.close()
	}
	r.f.progress(r.files, r.bytes)
}
