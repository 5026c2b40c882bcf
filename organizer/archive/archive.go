// Package archive lists and reads archives: zip, tar, 7z, rar, and files compressed by gzip, bzip2, xz, lzma or Zstandard,
// alone or around a tar. It never writes, and never believes an archive: what it claims is bounded by Limits.
//
// The content decides the format, not the name. Names are reported as they are in the archive; Clean says where below a
// folder they may go.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Errors a caller can tell apart.
var (
	ErrFormat    = errors.New("not an archive of a known format")
	ErrLimit     = errors.New("the archive holds more than the limits allow")
	ErrDamaged   = errors.New("the archive is damaged")
	ErrEncrypted = errors.New("the archive is encrypted")
	ErrMethod    = errors.New("the archive is compressed in a way that is not supported")
)

// Limits bound what an archive may cost. Zero means the default.
type Limits struct {
	Entries int   // entries; default 200,000
	Bytes   int64 // unpacked bytes in all; default 64 GiB
	Ratio   int64 // unpacked bytes for each byte of the archive, of which the first 64 KiB count in full; default 1000
}

const (
	defaultEntries = 200_000
	defaultBytes   = 64 << 30
	defaultRatio   = 1000
	ratioFloor     = 64 << 10  // a small archive of much the same is no bomb
	nameBytes      = 64 << 20  // of all names together
	maxLink        = 4096      // bytes of a link's target: PATH_MAX
	maxDictionary  = 256 << 20 // bytes of memory that a decompressor may ask for
)

// An Entry is what an archive says of one of its files. Nothing of it is checked.
type Entry struct {
	Name       string // as in the archive; a folder's may end in a slash
	Size       int64  // unpacked bytes, -1 if the archive does not say
	Mode       fs.FileMode
	ModTime    time.Time // zero if the archive does not say; without a zone (zip, rar) the clock is taken for UTC
	Link       string    // what a link leads to
	IsDir      bool
	IsLink     bool // a symbolic link
	IsHardLink bool // to the entry that Link names
	Encrypted  bool // its content cannot be read
}

// IsRegular reports whether the entry is a file with content, neither folder nor link nor device.
func (e Entry) IsRegular() bool {
	return !e.IsDir && !e.IsLink && !e.IsHardLink && e.Mode&fs.ModeType == 0
}

// Names lists the names of all entries of the archive in r, of size bytes, in its order. name is the archive's own file
// name: of a compressed file without a name inside the entry is called like it, without the extension. Errors wrap
// ErrFormat, ErrLimit, ErrDamaged, ErrEncrypted, ErrMethod, or are those of r or ctx.
func Names(ctx context.Context, r io.ReaderAt, size int64, name string, lim Limits) ([]string, error) {
	var names []string
	err := walk(ctx, r, size, name, lim, true, func(e Entry, _ io.Reader) error {
		names = append(names, e.Name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list archive %s: %w", name, err)
	}
	return names, nil
}

// Walk calls f for every entry of the archive, in its order, with a reader of its content, which is empty for all but
// regular files and is valid until f returns. f need not read it. Walk ends at f's first error and returns it, or nil if
// it is fs.SkipAll. Of other errors the same holds as for Names; a reader's errors are those too.
func Walk(ctx context.Context, r io.ReaderAt, size int64, name string, lim Limits, f func(Entry, io.Reader) error) error {
	var own error // f's error goes to the caller as it is
	err := walk(ctx, r, size, name, lim, false, func(e Entry, content io.Reader) error {
		own = f(e, content)
		return own
	})
	switch {
	case own != nil && errors.Is(own, fs.SkipAll):
		return nil
	case own != nil:
		return own
	case err != nil:
		return fmt.Errorf("read archive %s: %w", name, err)
	}
	return nil
}

// run is one reading of one archive.
type run struct {
	ctx     context.Context
	size    int64 // of the archive
	name    string
	list    bool // nothing but names is asked for
	f       func(Entry, io.Reader) error
	entries int   // still allowed
	names   int64 // bytes of names still allowed
	content int64 // bytes of content still allowed
	stream  int64 // bytes still allowed of a compressed file, whose content is read for what is in it
	source  *source
}

func walk(ctx context.Context, r io.ReaderAt, size int64, name string, lim Limits, list bool, f func(Entry, io.Reader) error) (err error) {
	allowed := orDefault(lim.Bytes, defaultBytes)
	if ratio := orDefault(lim.Ratio, defaultRatio); max(size, ratioFloor) < allowed/ratio {
		allowed = max(size, ratioFloor) * ratio
	}
	w := &run{
		ctx: ctx, size: size, name: name, list: list, entries: int(orDefault(int64(lim.Entries), defaultEntries)),
		names: nameBytes, content: allowed, stream: allowed, source: &source{ctx: ctx, r: r},
	}
	inside := false
	w.f = func(e Entry, content io.Reader) error {
		inside = true // a panic of f is not the archive's
		err := f(e, content)
		inside = false
		return err
	}
	defer func() {
		// Decoders are fed with what strangers made; a mistake in one must not end the run.
		if p := recover(); p != nil {
			if inside {
				panic(p)
			}
			err = fmt.Errorf("%w: its decoder failed: %v", ErrDamaged, p)
		}
		// A decoder may hide why it could not read on.
		if w.source.err != nil {
			err = w.source.err
		}
		if err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	return w.dispatch()
}

func orDefault(v, d int64) int64 {
	if v <= 0 {
		return d
	}
	return v
}

const headBytes = 1024

func (w *run) dispatch() error {
	head := make([]byte, headBytes)
	n, err := w.source.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	switch {
	case has(head, "PK\x03\x04"), has(head, "PK\x05\x06"):
		return w.zip()
	case has(head, "7z\xbc\xaf\x27\x1c"):
		return w.sevenZip()
	case has(head, "Rar!\x1a\x07"):
		return w.rar()
	case isTar(head):
		return w.tar(io.NewSectionReader(w.source, 0, w.size))
	}
	return w.compressed(head)
}

func has(b []byte, magic string) bool {
	return len(b) >= len(magic) && string(b[:len(magic)]) == magic
}

// entry counts e and hands it out. content may be nil.
func (w *run) entry(e Entry, content io.Reader) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.names -= int64(len(e.Name) + len(e.Link))
	if w.entries--; w.entries < 0 || w.names < 0 {
		return fmt.Errorf("%w: too many entries", ErrLimit)
	}
	if content == nil || !e.IsRegular() {
		content = strings.NewReader("")
	}
	return w.f(e, &capped{run: w, r: content, left: &w.content})
}

// capped passes on what r gives, counts it, and turns r's panics and errors into the package's.
type capped struct {
	run  *run
	r    io.Reader
	left *int64
	err  error
}

func (c *capped) Read(p []byte) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("%w: its decoder failed: %v", ErrDamaged, v)
		}
		c.err = err
	}()
	if err := c.run.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than allowed tells an end from too much.
	p = p[:min(int64(len(p)), *c.left+1)]
	n, err = c.r.Read(p)
	if *c.left -= int64(n); *c.left < 0 {
		n += int(*c.left)
		*c.left = 0
		return max(n, 0), fmt.Errorf("%w: too many bytes", ErrLimit)
	}
	return n, c.run.explain(err)
}

// explain makes an error of a decoder one of the package's.
func (w *run) explain(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if w.source.err != nil {
		return w.source.err
	}
	for _, known := range []error{ErrFormat, ErrLimit, ErrDamaged, ErrEncrypted, ErrMethod, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// source reads the archive, and remembers why it could not.
type source struct {
	ctx  context.Context
	r    io.ReaderAt
	left int64 // bytes that may still be read, if limited
	lim  bool
	err  error
}

func (s *source) ReadAt(p []byte, at int64) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	if s.lim {
		if s.left -= int64(len(p)); s.left < 0 {
			s.err = fmt.Errorf("%w: too long a list of entries", ErrLimit)
			return 0, s.err
		}
	}
	n, err := s.r.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
