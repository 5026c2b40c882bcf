package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"time"
	"unicode/utf16"
)

// A 7z archive (7zFormat.txt of 7-Zip) is packed streams, and a header at its end that says how folders of coders unpack
// them and which files they hold. The header is read here rather than by a library because it is numbers all through,
// each of which asks for memory: those that were tried give a file of a hundred bytes 32 GiB.

// Kinds of properties in the header.
const (
	szEnd, szHeader, szArchiveProperties, szAdditionalStreams, szMainStreams, szFiles = 0, 1, 2, 3, 4, 5
	szPackInfo, szUnpackInfo, szSubStreams                                            = 6, 7, 8
	szSize, szCRC, szFolder, szUnpackSizes, szNumUnpackStreams                        = 9, 10, 11, 12, 13
	szEmptyStream, szEmptyFile, szNames, szMTime, szAttributes                        = 14, 15, 17, 20, 21
	szEncodedHeader                                                                   = 23
)

const (
	szHeaderBytes = 64 << 20
	szMaxCoders   = 32 // in a folder; 7-Zip's own bound
)

var errSevenZip = fmt.Errorf("%w: no sound 7z header", ErrDamaged)

type szCoder struct {
	method     uint64
	in, out    int
	firstIn    int // number of its first stream among the folder's
	firstOut   int
	properties []byte
}

type szArchive struct {
	packed  []szStream
	folders []szFolderOf
	files   []szFile
}

type szStream struct{ at, size int64 }

// szFolderOf unpacks some streams to one, in which the contents of files lie one after the other.
type szFolderOf struct {
	coders      []szCoder
	bound       map[int]int // in stream to the out stream that feeds it
	packed      []int       // in streams that are fed by packed ones, in their order
	firstPacked int
	sizes       []int64 // of out streams
	main        int     // the out stream that feeds no other
	contents    []szContent
	crc         *uint32 // of the whole
}

type szContent struct {
	size int64
	crc  *uint32
}

type szFile struct {
	Entry
	empty bool
}

// szReader reads the header. Its first error sticks.
type szReader struct {
	b   []byte
	err error
	max int // of anything that is counted
}

func (r *szReader) fail() { r.err, r.b = errSevenZip, nil }

func (r *szReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *szReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *szReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// number reads a number whose first byte says how many follow.
func (r *szReader) number() uint64 {
	first := r.byte()
	var v uint64
	for i := range 8 {
		mask := byte(0x80) >> i
		if first&mask == 0 {
			return v | uint64(first&(mask-1))<<(8*i)
		}
		v |= uint64(r.byte()) << (8 * i)
	}
	return v
}

func (r *szReader) length() int64 {
	v := r.number()
	if v > 1<<62 {
		r.fail()
		return 0
	}
	return int64(v)
}

// count reads how many of something follow, each of which takes at least a bit.
func (r *szReader) count() int {
	v := r.number()
	if v > uint64(r.max) {
		if r.err == nil {
			r.err, r.b = fmt.Errorf("%w: too many entries", ErrLimit), nil
		}
		return 0
	}
	return int(v)
}

func (r *szReader) expect(kind byte) {
	if r.byte() != kind {
		r.fail()
	}
}

func (r *szReader) bits(n int) []bool {
	b := r.take(uint64(n+7) / 8)
	if b == nil {
		return make([]bool, n)
	}
	v := make([]bool, n)
	for i := range v {
		v[i] = b[i/8]&(0x80>>(i%8)) != 0
	}
	return v
}

func (r *szReader) optionalBits(n int) []bool {
	if r.byte() == 0 {
		return r.bits(n)
	}
	v := make([]bool, n)
	for i := range v {
		v[i] = true
	}
	return v
}

func (r *szReader) checksums(n int) []*uint32 {
	sums := make([]*uint32, n)
	for i, defined := range r.optionalBits(n) {
		if defined {
			v := r.u32()
			sums[i] = &v
		}
	}
	return sums
}

// each calls f for every property until the end of a list.
func (r *szReader) each(f func(kind byte)) {
	for r.err == nil {
		kind := r.byte()
		if r.err != nil || kind == szEnd {
			return
		}
		f(kind)
	}
}

func (r *szReader) streams(a *szArchive, base, end int64) {
	r.each(func(kind byte) {
		switch kind {
		case szPackInfo:
			r.packInfo(a, base, end)
		case szUnpackInfo:
			r.expect(szFolder)
			n := r.count()
			if r.byte() != 0 { // kept elsewhere
				r.fail()
			}
			for range n {
				if r.err != nil {
					return
				}
				a.folders = append(a.folders, r.folder())
			}
			r.expect(szUnpackSizes)
			for i := range a.folders {
				f := &a.folders[i]
				for j := range f.sizes {
					f.sizes[j] = r.length()
				}
			}
			r.each(func(kind byte) {
				if kind != szCRC {
					r.fail()
					return
				}
				for i, sum := range r.checksums(len(a.folders)) {
					a.folders[i].crc = sum
				}
			})
			for i := range a.folders {
				f := &a.folders[i]
				f.contents = []szContent{{f.sizes[f.main], f.crc}}
			}
		case szSubStreams:
			r.subStreams(a)
		default:
			r.fail()
		}
	})
	first := 0
	for i := range a.folders {
		a.folders[i].firstPacked = first
		first += len(a.folders[i].packed)
	}
	if first > len(a.packed) {
		r.fail()
	}
}

func (r *szReader) packInfo(a *szArchive, base, end int64) {
	at := base + r.length()
	n := r.count()
	r.each(func(kind byte) {
		switch kind {
		case szSize:
			for range n {
				size := r.length()
				if at < base || size > end-at {
					r.fail()
				}
				if r.err != nil {
					return
				}
				a.packed = append(a.packed, szStream{at, size})
				at += size
			}
		case szCRC:
			r.checksums(n)
		default:
			r.fail()
		}
	})
}

func (r *szReader) folder() szFolderOf {
	f := szFolderOf{bound: map[int]int{}}
	n := r.count()
	if n < 1 || n > szMaxCoders {
		r.fail()
		return f
	}
	ins, outs := 0, 0
	for range n {
		flags := r.byte()
		c := szCoder{in: 1, out: 1, firstIn: ins, firstOut: outs}
		for _, b := range r.take(uint64(flags & 15)) {
			c.method = c.method<<8 | uint64(b)
		}
		if flags&0x10 != 0 {
			c.in, c.out = r.count(), r.count()
		}
		if flags&0x20 != 0 {
			c.properties = r.take(r.number())
		}
		if ins, outs = ins+c.in, outs+c.out; ins > szMaxCoders || outs > szMaxCoders || c.out < 1 || flags&0xc0 != 0 {
			r.fail()
			return f
		}
		f.coders = append(f.coders, c)
	}
	feeds := map[int]bool{}
	for range outs - 1 {
		in, out := r.count(), r.count()
		if _, twice := f.bound[in]; twice || feeds[out] || in >= ins || out >= outs {
			r.fail()
			return f
		}
		f.bound[in] = out
		feeds[out] = true
	}
	switch n := ins - (outs - 1); {
	case n < 1:
		r.fail()
	case n == 1:
		for in := range ins {
			if _, ok := f.bound[in]; !ok {
				f.packed = append(f.packed, in)
			}
		}
	default:
		for range n {
			f.packed = append(f.packed, r.count())
		}
	}
	for f.main = 0; feeds[f.main]; f.main++ {
	}
	f.sizes = make([]int64, outs)
	return f
}

func (r *szReader) subStreams(a *szArchive) {
	kind := r.byte()
	if kind == szNumUnpackStreams {
		total := 0
		for i := range a.folders {
			n := r.count()
			if total += n; total > r.max {
				r.err, r.b = fmt.Errorf("%w: too many entries", ErrLimit), nil
				return
			}
			f := &a.folders[i]
			f.contents = make([]szContent, n)
			if n == 1 {
				f.contents[0].crc = f.crc
			}
		}
		kind = r.byte()
	}
	for i := range a.folders { // sizes of all but the last, which has the rest
		f := &a.folders[i]
		rest := f.sizes[f.main]
		for j := range f.contents {
			size := rest
			if j < len(f.contents)-1 {
				if kind != szSize {
					r.fail()
					return
				}
				size = r.length()
			}
			if rest -= size; rest < 0 {
				r.fail()
				return
			}
			f.contents[j].size = size
		}
	}
	if kind == szSize {
		kind = r.byte()
	}
	for r.err == nil && kind != szEnd {
		if kind != szCRC {
			r.fail()
			return
		}
		var unknown []*szContent
		for i := range a.folders {
			f := &a.folders[i]
			for j := range f.contents {
				if f.contents[j].crc == nil {
					unknown = append(unknown, &f.contents[j])
				}
			}
		}
		for i, sum := range r.checksums(len(unknown)) {
			unknown[i].crc = sum
		}
		kind = r.byte()
	}
}

func (r *szReader) header(a *szArchive, base, end int64) {
	r.each(func(kind byte) {
		switch kind {
		case szArchiveProperties:
			r.each(func(byte) { r.take(r.number()) })
		case szMainStreams:
			r.streams(a, base, end)
		case szFiles:
			r.files(a)
		default: // additional streams: no archiver makes them
			r.fail()
		}
	})
}

func (r *szReader) files(a *szArchive) {
	n := r.count()
	if r.err != nil {
		return
	}
	a.files = make([]szFile, n)
	for i := range a.files {
		a.files[i].Mode = 0o666
	}
	var emptyFiles []bool
	whole := r
	r.each(func(kind byte) {
		part := &szReader{b: whole.take(whole.number()), max: whole.max}
		switch kind {
		case szEmptyStream:
			for i, empty := range part.bits(n) {
				a.files[i].empty = empty
			}
		case szEmptyFile:
			none := 0
			for i := range a.files {
				if a.files[i].empty {
					none++
				}
			}
			emptyFiles = part.bits(none)
		case szNames:
			part.inPlace()
			part.names(a.files)
		case szMTime:
			defined := part.optionalBits(n)
			part.inPlace()
			for i := range a.files {
				if defined[i] {
					if b := part.take(8); b != nil {
						a.files[i].ModTime = fromFiletime(binary.LittleEndian.Uint64(b))
					}
				}
			}
		case szAttributes:
			defined := part.optionalBits(n)
			part.inPlace()
			for i := range a.files {
				if defined[i] {
					a.files[i].attributes(part.u32())
				}
			}
		}
		if part.err != nil && whole.err == nil {
			whole.err, whole.b = part.err, nil
		}
	})
	for i := range a.files {
		f := &a.files[i]
		if !f.empty {
			continue
		}
		isFile := len(emptyFiles) > 0 && emptyFiles[0]
		if len(emptyFiles) > 0 {
			emptyFiles = emptyFiles[1:]
		}
		if f.IsDir = !isFile; f.IsDir {
			f.Mode |= fs.ModeDir
		}
	}
}

// inPlace refuses values that are kept elsewhere, which no archiver does.
func (r *szReader) inPlace() {
	if r.byte() != 0 {
		r.fail()
	}
}

func (r *szReader) names(files []szFile) {
	var name []uint16
	for i := range files {
		name = name[:0]
		for {
			b := r.take(2)
			if b == nil {
				return
			}
			c := binary.LittleEndian.Uint16(b)
			if c == 0 {
				break
			}
			name = append(name, c)
		}
		files[i].Name = string(utf16.Decode(name))
	}
}

// fromFiletime takes 100 ns since 1601.
func fromFiletime(v uint64) time.Time {
	const to1970 = 11_644_473_600
	if v == 0 || v > 1<<62 {
		return time.Time{}
	}
	return time.Unix(int64(v/1e7)-to1970, int64(v%1e7)*100).UTC()
}

// attributes sets the mode from those of Windows, which hold one of Unix in the upper half if a bit says so.
func (f *szFile) attributes(v uint32) {
	const (
		readOnly, directory, link, unix = 0x1, 0x10, 0x400, 0x8000
		typeMask, typeLink              = 0o170000, 0o120000
	)
	f.Mode = f.Mode&fs.ModeType | 0o666
	if v&readOnly != 0 {
		f.Mode &^= 0o222
	}
	if v&directory != 0 {
		f.IsDir = true
		f.Mode |= 0o111
	}
	f.IsLink = v&link != 0
	if v&unix != 0 {
		f.Mode = f.Mode&fs.ModeType | fs.FileMode(v>>16)&0o777
		switch v >> 16 & typeMask {
		case typeLink:
			f.IsLink = true
		case 0o100000, 0o040000, 0:
		default:
			f.Mode |= fs.ModeIrregular
		}
	}
	if f.IsDir {
		f.Mode |= fs.ModeDir
	}
	if f.IsLink {
		f.Mode |= fs.ModeSymlink
	}
}

func (w *run) sevenZip() error {
	a, err := w.sevenZipHeader()
	if err != nil {
		return w.explain(err)
	}
	folder, index := 0, 0
	var content *szUnpacker
	for i := range a.files {
		f := &a.files[i]
		if f.empty {
			if err := w.entry(f.Entry, nil); err != nil {
				return err
			}
			continue
		}
		for folder < len(a.folders) && index >= len(a.folders[folder].contents) {
			folder, index, content = folder+1, 0, nil
		}
		if folder == len(a.folders) {
			return errSevenZip
		}
		at := &a.folders[folder]
		if content == nil {
			content = &szUnpacker{run: w, archive: a, folder: at}
		}
		f.Size = at.contents[index].size
		f.Encrypted = at.encrypted()
		// Contents of a folder come one after the other: what nobody reads is unpacked all the same, once a later
		// one is wanted.
		part := &szPart{unpacker: content, content: at.contents[index], begin: content.end}
		content.end += part.content.size
		if err := w.lazy(f.Entry, func() (io.ReadCloser, error) { return part, part.open() }); err != nil {
			return err
		}
		index++
	}
	return nil
}

// szUnpacker is the unpacked stream of a folder.
type szUnpacker struct {
	run     *run
	archive *szArchive
	folder  *szFolderOf
	r       io.Reader
	at      int64 // of the next byte
	end     int64 // of the contents handed out so far
	err     error
}

type szPart struct {
	unpacker *szUnpacker
	content  szContent
	begin    int64
	sum      uint32
	read     int64
}

func (p *szPart) open() error {
	u := p.unpacker
	if u.r == nil && u.err == nil {
		u.r, u.err = u.archive.unpack(u.run.source, u.folder)
	}
	if u.err != nil {
		return u.err
	}
	n, err := io.CopyN(io.Discard, &capped{run: u.run, r: u.r, left: &u.run.stream}, p.begin-u.at)
	u.at += n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	u.err = err
	return err
}

func (p *szPart) Read(b []byte) (int, error) {
	left := p.content.size - p.read
	if left == 0 {
		if p.content.crc != nil && *p.content.crc != p.sum {
			return 0, fmt.Errorf("%w: wrong checksum", ErrDamaged)
		}
		return 0, io.EOF
	}
	n, err := p.unpacker.r.Read(b[:min(int64(len(b)), left)])
	p.sum = crc32.Update(p.sum, crc32.IEEETable, b[:n])
	p.read += int64(n)
	p.unpacker.at += int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; n == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (p *szPart) Close() error { return nil }

func (w *run) sevenZipHeader() (*szArchive, error) {
	const start = 32
	var b [start]byte
	if _, err := w.source.ReadAt(b[:], 0); err != nil {
		return nil, errSevenZip
	}
	le := binary.LittleEndian
	at, size := le.Uint64(b[12:]), le.Uint64(b[20:])
	if !crcFits(b[12:], b[8:]) || at > uint64(w.size) || size > uint64(w.size) || at+size+start > uint64(w.size) {
		return nil, errSevenZip
	}
	a := &szArchive{}
	if size == 0 {
		return a, nil
	}
	if size > szHeaderBytes {
		return nil, fmt.Errorf("%w: too long a list of entries", ErrLimit)
	}
	header := make([]byte, size)
	if _, err := w.source.ReadAt(header, start+int64(at)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !crcFits(header, b[28:]) {
		return nil, errSevenZip
	}
	for range 4 { // a packed header could be packed again
		r := &szReader{b: header, max: w.entries}
		switch r.byte() {
		case szHeader:
			r.header(a, start, w.size)
			return a, r.err
		case szEncodedHeader:
			packed := &szArchive{}
			r.streams(packed, start, w.size)
			if r.err != nil {
				return nil, r.err
			}
			if len(packed.folders) != 1 {
				return nil, errSevenZip
			}
			f := &packed.folders[0]
			if f.sizes[f.main] > szHeaderBytes {
				return nil, fmt.Errorf("%w: too long a list of entries", ErrLimit)
			}
			unpacked, err := packed.unpack(w.source, f)
			if err != nil {
				return nil, err
			}
			var buf bytes.Buffer // grows with what comes, not with what was promised
			if _, err := io.CopyN(&buf, &capped{run: w, r: unpacked, left: &w.stream}, f.sizes[f.main]); err != nil {
				return nil, errors.Join(errSevenZip, err)
			}
			header = buf.Bytes()
			if f.crc != nil && *f.crc != crc32.ChecksumIEEE(header) {
				return nil, errSevenZip
			}
		default:
			return nil, errSevenZip
		}
	}
	return nil, errSevenZip
}
