// Package images finds pictures that look alike. It makes a fingerprint of a picture's content, compares and groups
// fingerprints, and draws thumbnails. It opens no file: it gets an io.ReaderAt, believes nothing that a picture claims
// of itself, and decodes only what its Limits allow. That pictures look alike is an opinion for a person to review, never
// a proof: nothing may be done to a file because of it alone.
package images

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of pictures that have no fingerprint.
var (
	ErrFormat  = errors.New("no picture of a format that can be decoded") // JPEG, PNG, GIF, WebP, BMP and TIFF can
	ErrLimit   = errors.New("the picture needs more than the limits allow")
	ErrDamaged = errors.New("the picture is damaged")
)

// Limits bound what decoding one picture may cost. Zero means the default.
type Limits struct {
	Memory int64 // bytes; default 512 MiB, enough for a JPEG of 200 megapixels or a PNG of 100
}

const defaultMemory = 512 << 20

// Turn says how a picture must be turned to look like another: first mirrored left to right, then rotated clockwise.
type Turn uint8

// The eight ways to lay down a picture.
const (
	Upright Turn = iota
	Rotated90
	Rotated180
	Rotated270
	Mirrored
	MirroredRotated90
	MirroredRotated180
	MirroredRotated270
	turns
)

var turnText = [turns]string{"", "rotated 90°", "rotated 180°", "rotated 270°", "mirrored", "mirrored, rotated 90°",
	"mirrored upside down", "mirrored, rotated 270°"}

// String is the turn in words, "" for none.
func (t Turn) String() string { return turnText[t] }

// onItsSide reports whether the turn exchanges width and height.
func (t Turn) onItsSide() bool { return t&1 == 1 }

// Print is the fingerprint of a picture: what is left of it when size, sharpness, brightness, format and compression are
// taken away.
type Print struct {
	Width, Height uint32 // pixels, as shown: turned as the EXIF asks for
	Format        Format
	sparse        bool      // most of it is background
	signs         signs     // of the low frequencies
	luma          [64]uint8 // 8x8 means of brightness
	cb, cr        [16]uint8 // 4x4 means of colour
}

// Plain reports that there is too little to see in a picture to say that it looks like another: an empty page, a blue sky.
// Such a picture looks like none.
func (p *Print) Plain() bool { return p.signs.count() < plainBelow }

// Format is a file format.
type Format uint8

// The formats that can be decoded.
const (
	Unknown Format = iota
	JPEG
	PNG
	GIF
	WebP
	BMP
	TIFF
)

var formatText = [...]string{"", "JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF"}

// String is the format's usual name.
func (f Format) String() string { return formatText[f] }

// MaxDistance is the distance of a picture from its negative. Pictures that have nothing to do with each other are about
// half as far from each other.
const MaxDistance = 100

// The text form is for caches: what another version of forg wrote is not understood, and made anew.
const (
	printVersion = 1
	printBytes   = 1 + 1 + 1 + 4 + 4 + 64 + 64 + 16 + 16
)

var errPrint = errors.New("no fingerprint of this version")

// MarshalText implements encoding.TextMarshaler.
func (p *Print) MarshalText() ([]byte, error) {
	b := make([]byte, 0, printBytes)
	b = append(b, printVersion, byte(p.Format), 0)
	if p.sparse {
		b[2] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, p.Width)
	b = binary.LittleEndian.AppendUint32(b, p.Height)
	for _, w := range p.signs {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	b = append(b, p.luma[:]...)
	b = append(b, p.cb[:]...)
	b = append(b, p.cr[:]...)
	return base64.RawStdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It fails for what another version has written.
func (p *Print) UnmarshalText(text []byte) error {
	b, err := base64.RawStdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("read fingerprint: %w", err)
	}
	if len(b) != printBytes || b[0] != printVersion || int(b[1]) >= len(formatText) {
		return fmt.Errorf("read fingerprint: %w", errPrint)
	}
	p.Format, p.sparse = Format(b[1]), b[2] != 0
	p.Width, p.Height = binary.LittleEndian.Uint32(b[3:]), binary.LittleEndian.Uint32(b[7:])
	b = b[11:]
	for i := range p.signs {
		p.signs[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	b = b[copy(p.luma[:], b[64:])+64:]
	b = b[copy(p.cb[:], b):]
	copy(p.cr[:], b)
	return nil
}
