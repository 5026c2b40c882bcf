package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ulikunitz/xz/lzma"
)

// compressed reads a file that was compressed as a whole: a tar, or one that stands alone.
func (w *run) compressed(head []byte) error {
	in := bufio.NewReaderSize(io.NewSectionReader(w.source, 0, w.size), 64<<10)
	e := Entry{Name: w.inner(), Size: -1, Mode: 0o666}
	var r io.ReadCloser
	var err error
	switch {
	case has(head, "\x1f\x8b\x08"):
		var z *gzip.Reader
		if z, err = gzip.NewReader(in); err == nil {
			if e.ModTime = z.ModTime; e.ModTime.Equal(time.Unix(0, 0)) {
				e.ModTime = time.Time{}
			}
			r = z
		}
	case has(head, "BZh") && len(head) > 9 && (string(head[4:10]) == "1AY&SY" || string(head[4:10]) == "\x17rE8P\x90"):
		r = io.NopCloser(bzip2.NewReader(in))
	case has(head, xzMagic):
		r = io.NopCloser(newXz(in))
	case has(head, "\x28\xb5\x2f\xfd"), len(head) > 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		r, err = newZstd(in)
	case has(head, "\x5d\x00\x00") && len(head) > 13 && (head[13] == 0) && strings.HasSuffix(strings.ToLower(w.name), "lzma"):
		var z *lzma.Reader
		if z, err = (lzma.ReaderConfig{DictCap: maxDictionary}).NewReader(in); err == nil {
			r = io.NopCloser(z)
		}
	default:
		return ErrFormat
	}
	if err != nil {
		return w.explain(err)
	}
	defer r.Close()
	out := bufio.NewReaderSize(&capped{run: w, r: r, left: &w.stream}, 32<<10)
	inside, err := out.Peek(512)
	if isTar(inside) {
		return w.tar(out)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return w.entry(e, out)
}

// inner is the name of what a compressed file holds: its own without the extension. The name that gzip can keep is not
// used, as gunzip does not use it: it is the one from before the file was renamed.
func (w *run) inner() string {
	base := path.Base(strings.ReplaceAll(w.name, `\`, "/"))
	for _, ext := range []string{".gz", ".bz2", ".xz", ".zst", ".lzma"} {
		if stem := len(base) - len(ext); stem > 0 && strings.EqualFold(base[stem:], ext) {
			return base[:stem]
		}
	}
	return base
}

// An xz file (The .xz File Format 1.2.1) is read here down to its LZMA2 data: the library's own reader of it gives a
// file the dictionary it asks for, up to 4 GiB, and knows no filter for programs.
const (
	xzMagic  = "\xfd7zXZ\x00"
	xzLZMA2  = 0x21
	xzDelta  = 0x03
	xzX86    = 0x04
	xzARM    = 0x07
	xzARM64  = 0x0a
	xzFooter = 12
)

var errXz = fmt.Errorf("%w: no sound xz data", ErrDamaged)

type xzReader struct {
	in     *countingReader
	block  io.Reader // nil between blocks
	start  int64     // of the block's data
	check  int       // bytes of the check behind a block
	sum    hash.Hash // what it must be, nil if it is one that is not known
	stream bool      // within a stream
	blocks int64
	err    error
}

func newXz(r io.Reader) io.Reader {
	return &xzReader{in: &countingReader{r: bufio.NewReader(r)}}
}

type countingReader struct {
	r *bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			x.block = nil
			err = x.endBlock()
		}
		if err != nil {
			x.err = err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next goes on to the next block, over the end of a stream and the beginning of the next.
func (x *xzReader) next() error {
	if !x.stream {
		return x.beginStream()
	}
	size, err := x.in.ReadByte()
	if err != nil {
		return errXz
	}
	if size == 0 {
		x.stream = false
		return x.skipIndex()
	}
	// The block's header: flags, sizes, filters, CRC32. What comes behind is checked by the decoder and its length.
	header := make([]byte, int(size)*4+3)
	if _, err := io.ReadFull(x.in, header); err != nil {
		return errXz
	}
	if !crcFits(append([]byte{size}, header[:len(header)-4]...), header[len(header)-4:]) {
		return errXz
	}
	b := header[:len(header)-4]
	flags := b[0]
	b = b[1:]
	for _, bit := range []byte{0x40, 0x80} { // sizes, which need not be believed
		if flags&bit != 0 {
			if _, b, err = xzNumber(b); err != nil {
				return err
			}
		}
	}
	var filters []filter
	for range int(flags&3) + 1 {
		var id, n uint64
		if id, b, err = xzNumber(b); err == nil {
			n, b, err = xzNumber(b)
		}
		if err != nil || n > uint64(len(b)) {
			return errXz
		}
		filters = append(filters, filter{id, b[:n]})
		b = b[n:]
	}
	x.start = x.in.n
	last := len(filters) - 1
	if filters[last].id != xzLZMA2 {
		return ErrMethod
	}
	r, err := newLZMA2(x.in, filters[last].properties, 0)
	if err != nil {
		return err
	}
	for _, f := range filters[:last] {
		if r, err = f.around(r); err != nil {
			return err
		}
	}
	x.block = r
	return nil
}

type filter struct {
	id         uint64
	properties []byte
}

func (f filter) around(r io.Reader) (io.Reader, error) {
	switch {
	case f.id == xzDelta && len(f.properties) == 1:
		return newDelta(r, int(f.properties[0])+1), nil
	case len(f.properties) != 0: // a start other than 0
		return nil, ErrMethod
	case f.id == xzX86:
		return newBranch(r, x86()), nil
	case f.id == xzARM:
		return newBranch(r, arm), nil
	case f.id == xzARM64:
		return newBranch(r, arm64), nil
	}
	return nil, ErrMethod
}

func (x *xzReader) beginStream() error {
	var b [12]byte
	for {
		n, err := io.ReadFull(x.in, b[:4])
		if n == 0 && errors.Is(err, io.EOF) && x.in.n > 0 {
			return io.EOF
		}
		if err != nil {
			return errXz
		}
		if x.in.n == 4 || b[0] != 0 || b[1] != 0 || b[2] != 0 || b[3] != 0 {
			break // no padding
		}
	}
	if _, err := io.ReadFull(x.in, b[4:]); err != nil || string(b[:6]) != xzMagic || !crcFits(b[6:8], b[8:]) {
		return errXz
	}
	x.check = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[b[7]&15]
	x.stream, x.sum = true, nil
	switch b[7] & 15 {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	}
	return nil
}

func (x *xzReader) endBlock() error {
	padding := int((4 - (x.in.n-x.start)%4) % 4)
	var buf [3 + 64]byte
	b := buf[:padding+x.check]
	if _, err := io.ReadFull(x.in, b); err != nil {
		return errXz
	}
	if x.sum != nil {
		want := x.sum.Sum(nil)
		x.sum.Reset()
		if x.check < sha256.Size { // the library's CRCs are big endian
			slices.Reverse(want)
		}
		if !bytes.Equal(want, b[padding:]) {
			return fmt.Errorf("%w: wrong checksum", ErrDamaged)
		}
	}
	x.blocks++
	return nil
}

// skipIndex passes the list of blocks at a stream's end, and the footer.
func (x *xzReader) skipIndex() error {
	start := x.in.n - 1
	number := func() (v uint64, err error) {
		for i := range 9 {
			c, err := x.in.ReadByte()
			if err != nil {
				return 0, errXz
			}
			if v |= uint64(c&0x7f) << (7 * i); c < 0x80 {
				return v, nil
			}
		}
		return 0, errXz
	}
	n, err := number()
	if err != nil || n != uint64(x.blocks) {
		return errXz
	}
	for range 2 * n {
		if _, err := number(); err != nil {
			return err
		}
	}
	x.blocks = 0
	padding := (4 - (x.in.n-start)%4) % 4
	if _, err := io.CopyN(io.Discard, x.in, padding+4+xzFooter); err != nil {
		return errXz
	}
	return nil
}

func crcFits(b, crc []byte) bool { return crc32.ChecksumIEEE(b) == binary.LittleEndian.Uint32(crc) }

func xzNumber(b []byte) (v uint64, rest []byte, err error) {
	for i := range min(9, len(b)) {
		if v |= uint64(b[i]&0x7f) << (7 * i); b[i] < 0x80 {
			return v, b[i+1:], nil
		}
	}
	return 0, nil, errXz
}

// newLZMA2 decodes LZMA2 data; size is that of the unpacked data, 0 if it is not known.
func newLZMA2(r io.Reader, properties []byte, size int64) (io.Reader, error) {
	if len(properties) != 1 || properties[0] > 40 {
		return nil, fmt.Errorf("%w: bad LZMA2 properties", ErrDamaged)
	}
	p := uint(properties[0])
	dictionary := int64(2|p&1) << (p/2 + 11)
	if size > 0 {
		dictionary = min(dictionary, size) // distances reach no further back
	}
	if dictionary > maxDictionary {
		return nil, fmt.Errorf("%w: it needs a dictionary of %d bytes", ErrLimit, dictionary)
	}
	return lzma.Reader2Config{DictCap: int(max(dictionary, lzma.MinDictCap))}.NewReader2(r)
}
