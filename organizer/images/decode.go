package images

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"github.com/bep/imagemeta"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"
)

// decoding bounds the memory of all pictures that are being decoded at the same time, however many goroutines there are.
var decoding = semaphore.NewWeighted(memoryOfAll)

const memoryOfAll = 1 << 30

// decoded is a picture in memory, not yet turned as its EXIF asks for.
type decoded struct {
	image.Image
	format Format
	turn   Turn
}

// with decodes a picture, calls use with it, and lets its memory go.
func with(ctx context.Context, r io.ReaderAt, size int64, limits Limits, use func(*decoded)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: its decoder failed: %v", ErrDamaged, p)
		}
	}()
	s := &stoppable{ctx: ctx, r: r}
	defer func() {
		// A decoder may hide why it could not read on, or take it for damage.
		if s.err != nil {
			err = s.err
		}
	}()
	f, err := sniff(s, size)
	if err != nil {
		return err
	}
	reader := func() *bufio.Reader { return bufio.NewReaderSize(io.NewSectionReader(s, 0, size), 64<<10) }
	config, err := codecs[f].config(reader())
	if err != nil {
		return damaged(err)
	}
	if config.Width <= 0 || config.Height <= 0 {
		return fmt.Errorf("%w: it is %d x %d", ErrDamaged, config.Width, config.Height)
	}
	cost, err := memory(s, size, f, config)
	if err != nil {
		return err
	}
	if limits.Memory <= 0 {
		limits.Memory = defaultMemory
	}
	if cost > min(limits.Memory, memoryOfAll) {
		return fmt.Errorf("%w: %d x %d pixels would take %d MB of memory", ErrLimit, config.Width, config.Height, cost/1e6)
	}
	if err := decoding.Acquire(ctx, cost); err != nil {
		return context.Cause(ctx)
	}
	defer decoding.Release(cost)
	m, err := codecs[f].decode(reader())
	if err != nil {
		return damaged(err)
	}
	if m.Bounds().Empty() {
		return fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	use(&decoded{m, f, orientation(s, size, f)})
	return nil
}

var codecs = [...]struct {
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}{
	JPEG: {jpeg.DecodeConfig, jpeg.Decode}, PNG: {png.DecodeConfig, png.Decode}, GIF: {gif.DecodeConfig, gif.Decode},
	WebP: {webp.DecodeConfig, webp.Decode}, BMP: {bmp.DecodeConfig, bmp.Decode}, TIFF: {tiff.DecodeConfig, tiff.Decode},
}

func damaged(err error) error {
	if errors.Is(err, ErrLimit) || errors.Is(err, ErrDamaged) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var unsupported jpeg.UnsupportedError
	var alsoPNG png.UnsupportedError
	var alsoTIFF tiff.UnsupportedError
	if errors.As(err, &unsupported) || errors.As(err, &alsoPNG) || errors.As(err, &alsoTIFF) || errors.Is(err, bmp.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// stoppable fails for good once ctx has ended or the file cannot be read: decoders cannot be told to stop otherwise.
type stoppable struct {
	ctx context.Context
	r   io.ReaderAt
	err error
}

func (s *stoppable) ReadAt(p []byte, at int64) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.ReadAt(p, at)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// sniff tells the format from the content. Raw photos that are TIFF inside are left: their first picture is a small
// preview, or nothing that a TIFF decoder can read.
func sniff(r io.ReaderAt, size int64) (Format, error) {
	b := make([]byte, min(32, size))
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	has := func(at int, magic string) bool {
		return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return JPEG, nil
	case has(0, "\x89PNG\r\n\x1a\n"):
		return PNG, nil
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return GIF, nil
	case has(0, "RIFF") && has(8, "WEBP"):
		return WebP, nil
	case has(0, "BM") && has(6, "\x00\x00\x00\x00"):
		return BMP, nil
	case has(0, "II*\x00") && !has(8, "CR"), has(0, "MM\x00*"): // Canon's CR2 says so at 8
		return TIFF, nil
	}
	return 0, ErrFormat
}

// memory is what decoding takes, in bytes, at most. What a decoder allocates goes by the dimensions that the file claims,
// so that a few bytes can ask for gigabytes.
func memory(r io.ReaderAt, size int64, f Format, c image.Config) (int64, error) {
	pixels := int64(c.Width) * int64(c.Height)
	each := int64(4)
	switch c.ColorModel {
	case color.RGBA64Model, color.NRGBA64Model:
		each = 8
	case color.Gray16Model:
		each = 2
	case color.GrayModel:
		each = 1
	}
	if _, ok := c.ColorModel.(color.Palette); ok {
		each = 1
	}
	switch f {
	case JPEG:
		return jpegMemory(r, size)
	case PNG:
		var interlaced [1]byte
		if _, err := r.ReadAt(interlaced[:], 28); err == nil && interlaced[0] != 0 {
			each *= 2 // a picture for each pass
		}
	case GIF:
		each = 2
	case WebP:
		w, h, err := webpSize(r, size)
		if err != nil {
			return 0, err
		}
		// The canvas that an extended file claims need not be the size of the picture in it.
		pixels, each = max(pixels, w*h), 9
	case TIFF:
		each *= 2 // a strip may be the whole picture, and is unpacked before it is converted
	}
	const more = 1 << 20 // buffers
	return pixels*each + more, nil
}

// jpegMemory reads the frame header (ITU T.81, B.2.2): progressive pictures are kept as coefficients until they are whole.
func jpegMemory(r io.ReaderAt, size int64) (int64, error) {
	var b [18]byte
	for at := int64(2); at < size; {
		n, err := r.ReadAt(b[:], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		marker := b[1]
		switch {
		case n < 4 || b[0] != 0xff:
			at++ // decoders skip what is between segments, too
			continue
		case marker == 0xff || marker == 0 || marker == 1 || marker >= 0xd0 && marker <= 0xd8:
			at++
			continue
		case marker >= 0xc0 && marker <= 0xc2 && n >= 10:
			height, width, components := int64(binary.BigEndian.Uint16(b[5:])), int64(binary.BigEndian.Uint16(b[7:])), int64(b[9])
			samples := (width + 63) * (height + 63) * components // never subsampled as far as we are concerned
			if components == 3 && n == 18 && b[11] == 0x22 {     // but for the usual case: colour at half the resolution
				samples /= 2
			}
			each := int64(1)
			if marker == 0xc2 {
				each = 5
			}
			if components == 4 {
				each++ // converted to CMYK
			}
			return samples*each + 1<<20, nil
		}
		at += 2 + int64(binary.BigEndian.Uint16(b[2:]))
	}
	return 0, fmt.Errorf("%w: it has no frame", ErrDamaged)
}

// webpSize is the size of the picture in a WebP file, which the header of an extended file may not tell
// (RFC 9649, 2.5 to 2.7).
func webpSize(r io.ReaderAt, size int64) (width, height int64, err error) {
	var b [18]byte
	for at := int64(12); at+18 <= size; {
		if _, err := r.ReadAt(b[:], at); err != nil {
			return 0, 0, err
		}
		switch string(b[:4]) {
		case "VP8 ":
			return int64(binary.LittleEndian.Uint16(b[14:]) & 0x3fff), int64(binary.LittleEndian.Uint16(b[16:]) & 0x3fff), nil
		case "VP8L":
			n := binary.LittleEndian.Uint32(b[9:])
			return int64(n&0x3fff) + 1, int64(n>>14&0x3fff) + 1, nil
		case "ANIM", "ANMF":
			return 0, 0, fmt.Errorf("%w: it is an animation", ErrFormat)
		}
		length := int64(binary.LittleEndian.Uint32(b[4:]))
		at += 8 + length + length&1
	}
	return 0, 0, fmt.Errorf("%w: there is no picture in it", ErrDamaged)
}

// orientation is how the EXIF of a picture wants it to be turned (Exif 2.32, 4.6.4: Orientation).
func orientation(r io.ReaderAt, size int64, f Format) Turn {
	format, ok := map[Format]imagemeta.ImageFormat{JPEG: imagemeta.JPEG, PNG: imagemeta.PNG, WebP: imagemeta.WebP, TIFF: imagemeta.TIFF}[f]
	if !ok {
		return Upright
	}
	value := uint16(1)
	var in io.ReadSeeker = io.NewSectionReader(r, 0, size)
	if f == JPEG && size > 0 { // all of it is in the beginning
		head := make([]byte, min(size, 128<<10))
		if n, err := r.ReadAt(head, 0); err == nil || errors.Is(err, io.EOF) {
			in = bytes.NewReader(head[:n])
		}
	}
	// An error ends the reading; what was read before it counts.
	_, _ = imagemeta.Decode(imagemeta.Options{R: in, ImageFormat: format, Sources: imagemeta.EXIF, LimitNumTags: 5000, LimitTagSize: 4096,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool { return t.Tag == "Orientation" && t.Namespace == "IFD0" },
		HandleTag: func(t imagemeta.TagInfo) error {
			if v, ok := t.Value.(uint16); ok {
				value = v
			}
			return imagemeta.ErrStopWalking
		}})
	if int(value) >= len(exifTurns) {
		return Upright
	}
	return exifTurns[value]
}

// exifTurns are the values of Orientation. "Mirrored" comes first: 5 is a picture mirrored, then rotated by 270 degrees.
var exifTurns = [...]Turn{Upright, Upright, Mirrored, Rotated180, MirroredRotated180, MirroredRotated270, Rotated90, MirroredRotated90, Rotated270}
