package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// source is a file that is being read, within its limits. It fails for good once one is reached, and remembers why.
type source struct {
	ctx    context.Context
	r      io.ReaderAt
	size   int64
	left   int64 // bytes that may still be read
	unpack int64 // bytes that may still be unpacked
	text   int   // bytes of text, at most
	err    error

	window   []byte // what was read last: decoders ask for a few bytes at a time
	windowAt int64
}

const windowBytes = 16 << 10

func newSource(ctx context.Context, r io.ReaderAt, size int64, limits Limits) *source {
	return &source{ctx: ctx, r: r, size: size, left: limits.Bytes, unpack: limits.Bytes, text: limits.Text}
}

// check fails if the reading must end. Loops call it that may run long without reading.
func (s *source) check() error {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	return s.err
}

// fail ends the reading because of a limit.
func (s *source) fail(what string) error {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s", ErrLimit, what)
	}
	return s.err
}

// ReadAt reads the file, as io.ReaderAt.
func (s *source) ReadAt(p []byte, at int64) (int, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	if at < 0 {
		return 0, errors.New("read before the beginning")
	}
	if at >= s.size {
		return 0, io.EOF
	}
	cut := int64(len(p)) > s.size-at // it may have grown since
	if cut {
		p = p[:s.size-at]
	}
	n, err := 0, error(nil)
	switch {
	case at >= s.windowAt && at+int64(len(p)) <= s.windowAt+int64(len(s.window)):
		n = copy(p, s.window[at-s.windowAt:])
	case len(p) > windowBytes/4:
		n, err = s.readNow(p, at)
	default:
		if s.window == nil {
			s.window = make([]byte, windowBytes)
		}
		s.window = s.window[:min(windowBytes, s.size-at)]
		var have int
		have, err = s.readNow(s.window, at)
		s.window, s.windowAt = s.window[:have], at
		n = copy(p, s.window)
	}
	if n == len(p) && err == io.EOF {
		err = nil
	}
	if err == nil && (cut || n < len(p)) {
		err = io.EOF
	}
	return n, err
}

func (s *source) readNow(p []byte, at int64) (int, error) {
	if s.left -= int64(len(p)); s.left < 0 {
		return 0, s.fail("too many bytes to read")
	}
	n, err := s.r.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// readAt fills p.
func (s *source) readAt(p []byte, at int64) error {
	n, err := s.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// head returns up to n bytes of the beginning.
func (s *source) head(n int) ([]byte, error) {
	b := make([]byte, min(int64(n), s.size))
	got, err := s.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:got], nil
}

// reader reads the file from its beginning.
func (s *source) reader() *io.SectionReader { return io.NewSectionReader(s, 0, s.size) }

// unpacked passes on what a decoder makes of the file, as much as is allowed.
func (s *source) unpacked(r io.Reader) io.Reader { return &unpacking{s, r} }

type unpacking struct {
	s *source
	r io.Reader
}

func (u *unpacking) Read(p []byte) (int, error) {
	if err := u.s.check(); err != nil {
		return 0, err
	}
	n, err := u.r.Read(p)
	if u.s.unpack -= int64(n); u.s.unpack < 0 {
		return 0, u.s.fail("too many bytes to unpack")
	}
	return n, err
}
