package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

var (
	day   = time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	notes = strings.Repeat("forg\n", 100)
)

// program looks like machine code, with jumps for x86 and ARM, so that the filters for programs have something to do. It
// is what the archives in testdata hold.
func program() []byte {
	x := uint32(1)
	random := func() uint32 {
		x = x*1664525 + 1013904223
		return x >> 16
	}
	var b []byte
	jump := func() { b = binary.LittleEndian.AppendUint32(b, random()%4000-2000) }
	for len(b) < 6000 {
		switch random() % 8 {
		case 0:
			b = append(b, 0xe8)
			jump()
		case 1:
			b = append(b, 0xe9)
			jump()
		case 2:
			b = append(b, 0x0f, 0x80|byte(random()%16))
			jump()
		case 3:
			b = append(b, make([]byte, -len(b)&3)...)
			b = append(b, byte(random()), byte(random()%16), 0)
			if random()%2 == 1 {
				b = append(b, 0x94)
			} else {
				b = append(b, 0xeb)
			}
		default:
			b = append(b, 0x48, 0x89, 0xc0|byte(random()%8))
		}
	}
	return b[:6000]
}

// A file is an entry as tests compare it.
type file struct {
	Name, Mode, Link, Content string
	Size                      int64
	ModTime                   time.Time
}

func readAll(data []byte, name string, lim Limits) (files []file, err error) {
	err = Walk(context.Background(), bytes.NewReader(data), int64(len(data)), name, lim, func(e Entry, r io.Reader) error {
		content, err := io.ReadAll(r)
		mode := e.Mode.String()
		if e.IsHardLink {
			mode = "hard link"
		}
		files = append(files, file{e.Name, mode, e.Link, string(content), e.Size, e.ModTime.UTC()})
		return err
	})
	return files, err
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "sub/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "sub/notes.txt", Mode: 0o640, Size: int64(len(notes))},
		{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "sub/notes.txt", Mode: 0o777},
		{Typeflag: tar.TypeLink, Name: "again", Linkname: "sub/notes.txt", Mode: 0o640},
		{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600},
	} {
		h.ModTime = day
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, notes)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var tarFiles = []file{
	{"sub/", "drwxr-xr-x", "", "", 0, day},
	{"sub/notes.txt", "-rw-r-----", "", notes, 500, day},
	{"link", "Lrwxrwxrwx", "sub/notes.txt", "", 0, day},
	{"again", "hard link", "sub/notes.txt", "", 0, day},
	{"pipe", "prw-------", "", "", 0, day},
}

func makeZip(t testing.TB, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zipZstd, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	w.RegisterCompressor(zipXz, func(w io.Writer) (io.WriteCloser, error) { return &late{w: w}, nil })
	for _, e := range []struct {
		name, content string
		mode          fs.FileMode
	}{
		{"sub/", "", 0o755 | fs.ModeDir},
		{"sub/notes.txt", notes, 0o640},
		{"link", "sub/notes.txt", 0o777 | fs.ModeSymlink},
		{"../../escape", "no", 0o600},
	} {
		h := &zip.FileHeader{Name: e.name, Modified: day, Method: method}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, e.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var zipFiles = []file{
	{"sub/", "drwxr-xr-x", "", "", 0, day},
	{"sub/notes.txt", "-rw-r-----", "", notes, 500, day},
	{"link", "Lrwxrwxrwx", "sub/notes.txt", "", 13, day},
	{"../../escape", "-rw-------", "", "no", 2, day},
}

// late compresses when it is closed: zip wants nothing written before.
type late struct {
	bytes.Buffer
	w io.Writer
}

func (l *late) Close() error {
	z, err := xz.NewWriter(l.w)
	if err == nil {
		_, err = l.WriteTo(z)
	}
	return errors.Join(err, z.Close())
}

func compress(t testing.TB, b []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := open(&out)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gz(w io.Writer) (io.WriteCloser, error)   { return gzip.NewWriter(w), nil }
func zst(w io.Writer) (io.WriteCloser, error)  { return zstd.NewWriter(w) }
func xzip(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
func lzm(w io.Writer) (io.WriteCloser, error)  { return lzma.NewWriter(w) }

// bzip2 of notes: the library has no writer.
var bzipped, _ = hex.DecodeString("425a683931415926535954886286000063c180001001809000200030cd005289a691611711788b88be2ee48a70a120a910c50c")

// rar5 is an archive of stored files; the library has no writer either, and what makes them is not free.
func rar5() []byte {
	block := func(body []byte, data string) []byte {
		sized := binary.AppendUvarint(nil, uint64(len(body)))
		sized = append(sized, body...)
		return append(append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(sized)), sized...), data...)
	}
	numbers := func(v ...uint64) (b []byte) {
		for _, n := range v {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	entry := func(name, content string, flags, mode uint64, extra []byte) []byte {
		kind := uint64(2) // data follows
		head := numbers(2, kind)
		if extra != nil {
			head = numbers(2, kind|1, uint64(len(extra)))
		}
		head = append(head, numbers(uint64(len(content)), flags|2, uint64(len(content)), mode)...)
		head = binary.LittleEndian.AppendUint32(head, uint32(day.Unix()))
		if flags&4 != 0 {
			head = binary.LittleEndian.AppendUint32(head, crc32.ChecksumIEEE([]byte(content)))
		}
		head = append(head, numbers(0, 1, uint64(len(name)))...) // stored, Unix
		return block(append(append(head, name...), extra...), content)
	}
	target := "sub/notes.txt"
	link := append(numbers(5, rarSymlink, 0, uint64(len(target))), target...)
	link = append(numbers(uint64(len(link))), link...)
	return slices.Concat([]byte("Rar!\x1a\x07\x01\x00"), block(numbers(1, 0, 0), ""),
		entry("sub", "", 1, 0o040755, nil), entry("sub/notes.txt", notes, 4, 0o100640, nil),
		entry("link", "", 0, 0o120777, link), block(numbers(5, 0, 0), ""))
}

func TestWalk(t *testing.T) {
	plain := makeTar(t)
	one := func(name string) []file { return []file{{name, "-rw-rw-rw-", "", notes, -1, time.Time{}}} }
	sevenZip := []file{
		{"sub", "drwxr-xr-x", "", "", 0, day},
		{"sub/none", "drwxr-xr-x", "", "", 0, day},
		{"sub/empty", "-rw-r--r--", "", "", 0, day},
		{"link", "Lrwxrwxrwx", "sub/notes.txt", "", 13, day},
		{"prog", "-rwxr-xr-x", "", string(program()), 6000, day},
		{"sub/notes.txt", "-rw-r-----", "", notes, 500, day},
	}
	prog := []file{{"prog", "-rw-rw-rw-", "", string(program()), -1, time.Time{}}}
	for _, c := range []struct {
		name string
		data []byte
		want []file
	}{
		{"a.tar", plain, tarFiles},
		{"a.tar.gz", compress(t, plain, gz), tarFiles},
		{"a.tgz", compress(t, plain, gz), tarFiles},
		{"no extension", compress(t, plain, zst), tarFiles},
		{"a.tar.xz", compress(t, plain, xzip), tarFiles},
		{"two streams.tar.xz", compress(t, plain[:1000], xzip), nil}, // see below
		{"a.tar.lzma", compress(t, plain, lzm), tarFiles},
		{"notes.txt.gz", compress(t, []byte(notes), gz), one("notes.txt")},
		{"notes.txt.GZ", compress(t, []byte(notes), gz), one("notes.txt")},
		{"notes", compress(t, []byte(notes), gz), one("notes")},
		{".gz", compress(t, []byte(notes), gz), one(".gz")},
		{"notes.bz2", bzipped, one("notes")},
		{"notes.zst", compress(t, []byte(notes), zst), one("notes")},
		{"notes.xz", compress(t, []byte(notes), xzip), one("notes")},
		{"empty.gz", compress(t, nil, gz), []file{{"empty", "-rw-rw-rw-", "", "", -1, time.Time{}}}},
		{"prog.xz", testdata(t, "prog.x86.xz"), prog},
		{"prog.xz", testdata(t, "prog.arm.xz"), prog},
		{"prog.xz", testdata(t, "prog.arm64.xz"), prog},
		{"prog.xz", testdata(t, "prog.delta.xz"), prog},
		{"prog.xz", testdata(t, "prog.blocks.xz"), prog},
		{"a.zip", makeZip(t, zip.Store), zipFiles},
		{"a.zip", makeZip(t, zip.Deflate), zipFiles},
		{"a.zip", makeZip(t, zipZstd), zipFiles},
		{"a.zip", makeZip(t, zipXz), zipFiles},
		{"empty.zip", []byte("PK\x05\x06" + strings.Repeat("\x00", 18)), nil},
		{"a.rar", rar5(), []file{tarFiles[0], tarFiles[1], tarFiles[2]}},
		{"lzma.7z", testdata(t, "lzma.7z"), sevenZip},
		{"lzma2.7z", testdata(t, "lzma2.7z"), sevenZip},
		{"bcj2.7z", testdata(t, "bcj2.7z"), sevenZip},
		{"x86.7z", testdata(t, "x86.7z"), sevenZip},
		{"arm.7z", testdata(t, "arm.7z"), sevenZip},
		{"arm64.7z", testdata(t, "arm64.7z"), sevenZip},
		{"delta.7z", testdata(t, "delta.7z"), sevenZip},
		{"copy.7z", testdata(t, "copy.7z"), sevenZip},
		{"bzip2.7z", testdata(t, "bzip2.7z"), sevenZip},
		{"deflate.7z", testdata(t, "deflate.7z"), sevenZip},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "two streams.tar.xz" {
				padding := []byte{0, 0, 0, 0}
				c.data = slices.Concat(c.data, padding, compress(t, plain[1000:], xzip), padding)
				c.want = tarFiles
			}
			got, err := readAll(c.data, c.name, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.want)
			for i := range want {
				if strings.HasSuffix(c.name, ".rar") && i == 0 {
					want[i].Name = "sub"
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			var names []string
			for _, f := range got {
				names = append(names, f.Name)
			}
			listed, err := Names(context.Background(), bytes.NewReader(c.data), int64(len(c.data)), c.name, Limits{})
			if err != nil || !slices.Equal(names, listed) {
				t.Errorf("listed %q, %v, want %q", listed, err, names)
			}
		})
	}
}

// Contents need not be read, nor read to their end, nor all entries seen.
func TestWalkInPart(t *testing.T) {
	for name, data := range map[string][]byte{
		"a.7z": testdata(t, "bcj2.7z"), "a.zip": makeZip(t, zip.Deflate), "a.tar.gz": compress(t, makeTar(t), gz), "a.rar": rar5(),
	} {
		read := ""
		err := Walk(context.Background(), bytes.NewReader(data), int64(len(data)), name, Limits{}, func(e Entry, r io.Reader) error {
			if e.Name != "sub/notes.txt" {
				_, err := io.CopyN(io.Discard, r, min(3, max(e.Size, 0)))
				if !e.IsRegular() && errors.Is(err, io.EOF) {
					err = nil
				}
				return err
			}
			b, err := io.ReadAll(r)
			if read = string(b); err != nil {
				return err
			}
			return fs.SkipAll
		})
		if err != nil || read != notes {
			t.Errorf("%s: %v, %q", name, err, read)
		}
		mine := errors.New("mine")
		err = Walk(context.Background(), bytes.NewReader(data), int64(len(data)), name, Limits{}, func(Entry, io.Reader) error { return mine })
		if err != mine {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		err = Walk(ctx, bytes.NewReader(data), int64(len(data)), name, Limits{}, func(Entry, io.Reader) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the caller's panic is lost", name)
				}
			}()
			Walk(context.Background(), bytes.NewReader(data), int64(len(data)), name, Limits{}, func(Entry, io.Reader) error { panic(mine) })
		}()
	}
}

func TestCannot(t *testing.T) {
	wrong := testdata(t, "copy.7z")
	wrong = bytes.Replace(wrong, []byte("forg\nforg"), []byte("forg\nforh"), 1)
	zipWrong := bytes.Replace(makeZip(t, zip.Store), []byte("forg\nforg"), []byte("forg\nforh"), 1)
	xzWrong := testdata(t, "prog.delta.xz")
	xzWrong[len(xzWrong)-60] ^= 1 // in the SHA-256 or the index
	locked := makeZip(t, zip.Store)
	for i := 0; i+10 < len(locked); i++ {
		switch string(locked[i : i+4]) {
		case "PK\x03\x04":
			locked[i+6] |= 1
		case "PK\x01\x02":
			locked[i+8] |= 1
		}
	}
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, ErrFormat},
		{"text.zip", []byte("this is no archive"), ErrFormat},
		{"zeros.tar", make([]byte, 2048), ErrFormat},
		{"ppmd.7z", testdata(t, "ppmd.7z"), ErrMethod},
		{"encrypted.7z", testdata(t, "encrypted.7z"), ErrEncrypted},
		{"hidden.7z", testdata(t, "hidden.7z"), ErrEncrypted},
		{"locked.zip", locked, ErrEncrypted},
		{"wrong.7z", wrong, ErrDamaged},
		{"wrong.zip", zipWrong, ErrDamaged},
		{"wrong.xz", xzWrong, ErrDamaged},
	} {
		if files, err := readAll(c.data, c.name, Limits{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v; %d files", c.name, err, c.want, len(files))
		}
	}
	for _, name := range []string{"encrypted.7z", "ppmd.7z"} { // names can be told all the same
		data := testdata(t, name)
		names, err := Names(context.Background(), bytes.NewReader(data), int64(len(data)), name, Limits{})
		if err != nil || len(names) != 6 {
			t.Errorf("%s: %q, %v", name, names, err)
		}
	}
	boom := errors.New("the disk is on fire")
	for _, name := range []string{"a.zip", "a.tar", "a.tar.gz"} {
		err := Walk(context.Background(), burning{makeTar(t), boom}, 10<<10, name, Limits{}, func(_ Entry, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, boom) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type burning struct {
	head []byte
	err  error
}

func (b burning) ReadAt(p []byte, at int64) (int, error) {
	if at > 0 {
		return 0, b.err
	}
	return copy(p, b.head[:1024]), nil
}

// allocated returns how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestBombs(t *testing.T) {
	zeros := make([]byte, 16<<20)
	zipped := func(files int) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for i := range files {
			f, err := w.Create(fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			f.Write(zeros)
		}
		w.Close()
		return b.Bytes()
	}
	// All entries share one content, as in the bombs that do without nesting.
	var deflated bytes.Buffer
	d, _ := flate.NewWriter(&deflated, 9)
	d.Write(zeros)
	d.Close()
	overlapping := func(files int) []byte {
		le := binary.LittleEndian
		local := append([]byte("PK\x03\x04\x14\x00\x00\x00\x08\x00"), make([]byte, 20)...)
		b := append(local, deflated.Bytes()...)
		at := len(b)
		for range files {
			h := append([]byte("PK\x01\x02\x14\x00\x14\x00\x00\x00\x08\x00\x00\x00\x00\x00"), 0, 0, 0, 0)
			h = le.AppendUint32(h, uint32(deflated.Len()))
			h = le.AppendUint32(h, uint32(len(zeros)))
			h = append(le.AppendUint16(h, 1), make([]byte, 16)...)
			b = append(append(b, h...), 'x')
		}
		end := le.AppendUint16(le.AppendUint16([]byte("PK\x05\x06\x00\x00\x00\x00"), uint16(files)), uint16(files))
		end = le.AppendUint32(le.AppendUint32(end, uint32(len(b)-at)), uint32(at))
		return append(append(b, end...), 0, 0)
	}
	endless := bytes.Repeat(compress(t, make([]byte, 1<<20), gz), 5000)
	manyNames := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for range 3000 {
			w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg})
		}
		w.Close()
		return b.Bytes()
	}()
	long := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: int64(len(zeros))})
		w.Write(zeros)
		w.Close()
		return b.Bytes()
	}()
	var zipNames bytes.Buffer
	z := zip.NewWriter(&zipNames)
	for range 60_000 {
		z.CreateHeader(&zip.FileHeader{Name: "x"})
	}
	z.Close()
	for _, c := range []struct {
		name string
		data []byte
		lim  Limits
	}{
		{"ratio.zip", zipped(10), Limits{Ratio: 100}},
		{"bytes.zip", zipped(10), Limits{Bytes: 100 << 20}},
		{"overlapping.zip", overlapping(2000), Limits{}},
		{"endless.gz", endless, Limits{Bytes: 1 << 30}},
		{"endless.tar.gz", compress(t, long, gz), Limits{Bytes: 1 << 20}},
		{"ratio.tar.xz", compress(t, long, xzip), Limits{Ratio: 100}},
		{"ratio.tar.zst", compress(t, long, zst), Limits{Ratio: 100}},
		{"names.tar", manyNames, Limits{Entries: 2000}},
		{"names.zip", zipNames.Bytes(), Limits{Entries: 1000}},
		{"dictionary.xz", xzAsking(40), Limits{}},
		{"header.7z", sevenZipAsking(t, 0), Limits{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			var err error
			got := allocated(func() {
				err = Walk(context.Background(), bytes.NewReader(c.data), int64(len(c.data)), c.name, c.lim, func(_ Entry, r io.Reader) error {
					_, err := io.Copy(io.Discard, r)
					return err
				})
			})
			if !errors.Is(err, ErrLimit) {
				t.Errorf("%v, want %v", err, ErrLimit)
			}
			if got > 100<<20 {
				t.Errorf("%d MiB allocated", got>>20)
			}
			t.Logf("%d bytes: %v, %d KiB allocated, %v", len(c.data), err, got>>10, time.Since(start))
		})
	}
}

// xzAsking returns an xz file that wants a dictionary of 2 or 3 times a power of 2, by its byte.
func xzAsking(dictionary byte) []byte {
	stream := []byte(xzMagic + "\x00\x01")
	stream = binary.LittleEndian.AppendUint32(stream, crc32.ChecksumIEEE(stream[6:8]))
	block := []byte{2, 0, xzLZMA2, 1, dictionary, 0, 0, 0}
	block = binary.LittleEndian.AppendUint32(block, crc32.ChecksumIEEE(block))
	return append(append(stream, block...), make([]byte, 1000)...)
}

// sevenZipAsking returns an archive whose header unpacks to 4 GiB or, if count is one of the places where a header
// counts, has 2^32 there. Behind the last of them it is sound.
func sevenZipAsking(t testing.TB, count int) []byte {
	t.Helper()
	many := []byte{0xf0, 0xff, 0xff, 0xff, 0xff}
	n := func(place int, usual ...byte) []byte {
		if count == place {
			return many
		}
		return usual
	}
	streams := slices.Concat([]byte{szPackInfo, 0}, n(1, 1), []byte{szSize, 10, szEnd, szUnpackInfo, szFolder}, n(2, 1), []byte{0},
		n(3, 1), []byte{0x23, 3, 1, 1}, n(4, 5), []byte{0x5d, 0xff, 0xff, 0xff, 0xff}, // LZMA with a dictionary of 4 GiB
		[]byte{szUnpackSizes})
	var header []byte
	switch count {
	case 0: // of a packed header
		header = slices.Concat([]byte{szEncodedHeader}, streams, []byte{0xf0, 0, 0, 0, 0x10, szEnd, szEnd})
	default:
		header = slices.Concat([]byte{szHeader, szMainStreams}, streams, []byte{20, szEnd, szSubStreams, szNumUnpackStreams}, n(5, 1),
			[]byte{szCRC, 1, 0, 0, 0, 0, szEnd, szEnd, szFiles}, n(6, 1), []byte{szNames, 5, 0, 'x', 0, 0, 0, szEnd, szEnd})
	}
	body := slices.Concat(make([]byte, 10), header)
	start := binary.LittleEndian.AppendUint64(nil, 10)
	start = binary.LittleEndian.AppendUint64(start, uint64(len(header)))
	start = binary.LittleEndian.AppendUint32(start, crc32.ChecksumIEEE(header))
	b := []byte("7z\xbc\xaf\x27\x1c\x00\x04")
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(start))
	return slices.Concat(b, start, body)
}

// Every number in a 7z header asks for memory.
func TestSevenZipCounts(t *testing.T) {
	for count := 1; count <= 7; count++ {
		data := sevenZipAsking(t, count)
		var err error
		got := allocated(func() {
			_, err = Names(context.Background(), bytes.NewReader(data), int64(len(data)), "a.7z", Limits{})
		})
		if got > 1<<20 {
			t.Errorf("count %d: %d KiB for %d bytes", count, got>>10, len(data))
		}
		if (err != nil) != (count < 7) {
			t.Errorf("count %d: %v", count, err)
		}
	}
}

func samples(t testing.TB) map[string][]byte {
	m := map[string][]byte{
		"a.tar": makeTar(t), "a.tar.gz": compress(t, makeTar(t), gz), "a.tar.xz": compress(t, makeTar(t), xzip),
		"a.tar.zst": compress(t, makeTar(t), zst), "a.tar.lzma": compress(t, makeTar(t), lzm), "a.bz2": bzipped, "a.rar": rar5(),
		"store.zip": makeZip(t, zip.Store), "deflate.zip": makeZip(t, zip.Deflate), "zstd.zip": makeZip(t, zipZstd), "xz.zip": makeZip(t, zipXz),
	}
	all, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.IsDir() {
			m[e.Name()] = testdata(t, e.Name())
		}
	}
	return m
}

var small = Limits{Entries: 1000, Bytes: 8 << 20}

// Damage gives an error or other contents, never a crash, and costs no more than the limits.
func TestHostile(t *testing.T) {
	flips := 100
	if testing.Short() {
		flips = 10
	}
	for name, data := range samples(t) {
		t.Run(name, func(t *testing.T) {
			for n := 0; n < len(data); n += 64 {
				readAll(data[:n], name, small)
			}
			x := uint32(7)
			for range flips {
				b := bytes.Clone(data)
				for range 1 + x%4 {
					x = x*1664525 + 1013904223
					b[int(x>>8)%len(b)] ^= 1 << (x >> 5 & 7)
				}
				readAll(b, name, small)
			}
		})
	}
}

func FuzzWalk(f *testing.F) {
	for name, data := range samples(f) {
		f.Add(data, name)
	}
	for count := range 7 {
		f.Add(sevenZipAsking(f, count), "a.7z")
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		total, entries := 0, 0
		err := Walk(ctx, bytes.NewReader(data), int64(len(data)), name, small, func(e Entry, r io.Reader) error {
			entries++
			n, err := io.Copy(io.Discard, r)
			total += int(n)
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%d bytes read of %d bytes, and no end", total, len(data))
			}
			return nil
		})
		if entries > small.Entries || total > int(small.Bytes) || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d bytes in %d entries, %v", total, entries, err)
		}
	})
}

// FuzzSevenZip gets past the checksums that guard the header of a 7z.
func FuzzSevenZip(f *testing.F) {
	stored := testdata(f, "copy.7z")
	at := binary.LittleEndian.Uint64(stored[12:])
	f.Add(stored[32+at:], stored[32:32+at])
	for count := range 8 {
		data := sevenZipAsking(f, count)
		f.Add(data[42:], data[32:42])
	}
	f.Fuzz(func(t *testing.T, header, packed []byte) {
		start := binary.LittleEndian.AppendUint64(nil, uint64(len(packed)))
		start = binary.LittleEndian.AppendUint64(start, uint64(len(header)))
		start = binary.LittleEndian.AppendUint32(start, crc32.ChecksumIEEE(header))
		b := binary.LittleEndian.AppendUint32([]byte("7z\xbc\xaf\x27\x1c\x00\x04"), crc32.ChecksumIEEE(start))
		b = slices.Concat(b, start, packed, header)
		if got := allocated(func() { readAll(b, "a.7z", small) }); got > 900<<20 { // a dictionary, contents and their copies
			t.Fatalf("%d MiB allocated for %d bytes", got>>20, len(b))
		}
	})
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"a", "a"}, {"a/b.txt", "a/b.txt"}, {"a/", "a"}, {"./a", "a"}, {"a//b", "a/b"}, {"a/./b/", "a/b"},
		{`a\b`, "a/b"}, {`a\b/`, "a/b"}, {"...", ""}, {"a...", "a..."}, {"..a", "..a"}, {"a..b/c", "a..b/c"}, {".hidden", ".hidden"},
		{"漢字/ü", "漢字/ü"}, {"\xff\xfe", "\xff\xfe"}, {"a b", "a b"}, {"C", "C"}, {"ab:c", "ab:c"}, {"a/C:/b", "a/C:/b"},
		{"", ""}, {".", ""}, {"./", ""}, {"/", ""}, {"/a", ""}, {"//a", ""}, {`\a`, ""}, {`\\server\share\a`, ""}, {`\\?\C:\a`, ""},
		{"..", ""}, {"../a", ""}, {"a/..", ""}, {"a/../b", ""}, {"a/../../b", ""}, {`..\a`, ""}, {`a\..\..\b`, ""}, {`a/..\b`, ""},
		{".. ", ""}, {"a/.. /b", ""}, {".. ./a", ""}, {"a/. ./b", ""}, {"a/.../b", ""}, {" ", ""}, {"  ", ""},
		{"C:", ""}, {"C:a", ""}, {"C:/a", ""}, {`c:\a`, ""}, {"./C:/a", ""}, {`.\\c:a`, ""},
		{"a\x00b", ""}, {"\x00", ""}, {"a/\x00", ""},
	} {
		got, err := Clean(c.name)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("Clean(%q) = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"a/b", "../a", `..\a`, "C:a", "./C:/", "a/./../b", "\x00", ".. /a", "//a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		rel, err := Clean(name)
		if err != nil {
			if rel != "" {
				t.Fatalf("%q with an error", rel)
			}
			return
		}
		if !filepath.IsLocal(rel) || !fs.ValidPath(rel) && strings.ToValidUTF8(rel, "") == rel || strings.ContainsAny(rel, "\\\x00") {
			t.Fatalf("Clean(%q) = %q", name, rel)
		}
		for part := range strings.SplitSeq(rel, "/") {
			if part == "" || strings.Trim(part, ". ") == "" && strings.Contains(part, ".") {
				t.Fatalf("Clean(%q) = %q", name, rel)
			}
		}
		if again, err := Clean(rel); err != nil || again != rel {
			t.Fatalf("Clean(%q) = %q, %v", rel, again, err)
		}
	})
}
