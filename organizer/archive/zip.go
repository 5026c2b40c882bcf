package archive

import (
	"archive/zip"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

// Methods of zip besides store and deflate (APPNOTE.TXT 4.4.5).
const (
	zipBzip2 = 12
	zipZstd  = 93
	zipXz    = 95
)

func (w *run) zip() error {
	// The library keeps some 300 bytes for each entry of the list, which needs only 46 in the file.
	w.source.lim, w.source.left = true, 1<<20+int64(w.entries)*1024
	z, err := zip.NewReader(w.source, w.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // Clean is for that
		return w.explain(err)
	}
	w.source.lim = false
	z.RegisterDecompressor(zipBzip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(zipZstd, func(r io.Reader) io.ReadCloser { return orFailing(newZstd(r)) })
	z.RegisterDecompressor(zipXz, func(r io.Reader) io.ReadCloser { return io.NopCloser(newXz(r)) })
	for _, f := range z.File {
		mode := f.Mode()
		e := Entry{
			Name: f.Name, Size: int64(f.UncompressedSize64), Mode: mode, ModTime: f.Modified,
			IsDir: mode.IsDir(), IsLink: mode&fs.ModeSymlink != 0, Encrypted: f.Flags&1 != 0,
		}
		if e.Size < 0 {
			return fmt.Errorf("%w: an entry of negative size", ErrDamaged)
		}
		if err := w.lazy(e, f.Open); err != nil {
			return err
		}
	}
	return nil
}

// lazy hands out e, whose content is opened when it is first read.
func (w *run) lazy(e Entry, open func() (io.ReadCloser, error)) error {
	if w.list {
		return w.entry(e, nil)
	}
	c := &lazyReader{run: w, encrypted: e.Encrypted, open: open}
	defer c.close()
	if e.IsLink { // its content is where it leads
		target, err := io.ReadAll(io.LimitReader(&capped{run: w, r: c, left: &w.content}, maxLink+1))
		switch {
		case errors.Is(err, ErrEncrypted):
		case err != nil:
			return err
		case len(target) > maxLink:
			return fmt.Errorf("%w: the target of a link is too long", ErrLimit)
		}
		e.Link = string(target)
	}
	return w.entry(e, c)
}

type lazyReader struct {
	run       *run
	encrypted bool
	open      func() (io.ReadCloser, error)
	r         io.ReadCloser
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil {
		if l.encrypted {
			return 0, ErrEncrypted
		}
		r, err := l.open()
		if errors.Is(err, zip.ErrAlgorithm) {
			err = ErrMethod
		}
		if err != nil {
			return 0, l.run.explain(err)
		}
		l.r = r
	}
	return l.r.Read(p)
}

func (l *lazyReader) close() {
	if l.r != nil {
		l.r.Close()
	}
}

// newZstd returns a decoder on no goroutine of its own, of bounded memory.
func newZstd(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxDictionary))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error             { return nil }

// orFailing is for those who cannot return an error yet.
func orFailing(r io.ReadCloser, err error) io.ReadCloser {
	if err != nil {
		return failing{err}
	}
	return r
}
