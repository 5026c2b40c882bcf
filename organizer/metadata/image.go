package metadata

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/bep/imagemeta"

	"forg/organizer/images"
)

// picture is where the metadata of a picture lies in a file, and how it is written.
type picture struct {
	r      io.ReadSeeker
	format imagemeta.ImageFormat
	group  string // of the tags of the main IFD, if that is not the main picture's
}

// findPictures tells the format of a picture from its content. Raw photos that are a TIFF with other things around it need
// the extension to tell the full picture from a preview in it. It returns nil for what is no picture, or one without
// metadata.
func findPictures(s *source, name string) ([]picture, error) {
	b, err := s.head(headBytes)
	if err != nil {
		return nil, err
	}
	whole := func(f imagemeta.ImageFormat) []picture { return []picture{{r: s.reader(), format: f}} }
	switch {
	case has(b, 0, "\xff\xd8\xff"):
		return whole(imagemeta.JPEG), nil
	case has(b, 0, "\x89PNG\r\n\x1a\n"):
		return whole(imagemeta.PNG), nil
	case has(b, 0, "RIFF") && has(b, 8, "WEBP"):
		return whole(imagemeta.WebP), nil
	case has(b, 0, "II*\x00"), has(b, 0, "MM\x00*"):
		switch extension(name) {
		case "dng":
			return whole(imagemeta.DNG), nil
		case "cr2":
			return whole(imagemeta.CR2), nil
		case "nef", "nrw":
			return whole(imagemeta.NEF), nil
		case "arw", "sr2", "srf":
			return whole(imagemeta.ARW), nil
		case "pef":
			return whole(imagemeta.PEF), nil
		}
		return whole(imagemeta.TIFF), nil
	case has(b, 0, "IIRO"), has(b, 0, "IIRS"), has(b, 0, "IIU\x00"), has(b, 0, "MMOR"): // ORF, RW2: TIFF by another number
		magic := "II*\x00"
		if b[0] == 'M' {
			magic = "MM\x00*"
		}
		return []picture{{r: io.NewSectionReader(otherwise{s, magic}, 0, s.size), format: imagemeta.TIFF}}, nil
	case has(b, 0, "FUJIFILMCCD-RAW"):
		if len(b) < 92 {
			return nil, ErrDamaged
		}
		start, length := int64(binary.BigEndian.Uint32(b[84:])), int64(binary.BigEndian.Uint32(b[88:]))
		return []picture{{r: io.NewSectionReader(s, start, length), format: imagemeta.JPEG}}, nil
	case isHEIF(b):
		if has(b, 8, "avi") {
			return whole(imagemeta.AVIF), nil
		}
		return whole(imagemeta.HEIF), nil
	case has(b, 4, "ftypcrx "):
		return canonPictures(s), nil
	}
	return nil, nil
}

func isHEIF(b []byte) bool {
	if !has(b, 4, "ftyp") || len(b) < 12 {
		return false
	}
	switch string(b[8:12]) {
	case "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1":
		return true
	}
	return false
}

// otherwise reads a file whose first bytes are others.
type otherwise struct {
	io.ReaderAt
	magic string
}

func (o otherwise) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.ReaderAt.ReadAt(p, at)
	if at < int64(len(o.magic)) {
		copy(p[:n], o.magic[at:])
	}
	return n, err
}

// canonPictures finds the metadata of a CR3, which is in TIFF blocks of one IFD each.
func canonPictures(s *source) (all []picture) {
	w := boxes{readAt: s.readAt}
	w.visit = func(kind string, body, end int64, depth int) {
		tiff := picture{r: io.NewSectionReader(s, body, end-body), format: imagemeta.TIFF}
		switch kind {
		case "moov":
			w.walk(body, end, depth+1)
		case "uuid":
			w.walk(body+16, end, depth+1)
		case "CMT1":
			tiff.group = "image"
			all = append(all, tiff)
		case "CMT2":
			tiff.group = "exif"
			all = append(all, tiff)
		case "CMT4":
			tiff.group = "gps"
			all = append(all, tiff)
		}
	}
	w.walk(0, s.size, 0)
	return all
}

const (
	exifBytes    = 256 << 10 // of all names and values
	exifTagBytes = 4096      // of one value; what is larger is data, not something to compare with
)

func readEXIF(s *source, name string) (facts, error) {
	pictures, err := findPictures(s, name)
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	left := exifBytes
	for _, p := range pictures {
		handle := func(t imagemeta.TagInfo) error {
			key := exifKey(t, p.group)
			value, ok := exifValue(t.Value)
			if _, twice := tags[key]; key == "" || !ok || twice {
				return nil
			}
			if left -= len(key) + len(value); left < 0 {
				return s.fail("too many tags")
			}
			tags[key] = value
			return nil
		}
		_, err := imagemeta.Decode(imagemeta.Options{
			R: p.r, ImageFormat: p.format, Sources: imagemeta.EXIF | imagemeta.IPTC | imagemeta.XMP, LimitNumTags: 5000,
			LimitTagSize: exifTagBytes, ShouldHandleTag: func(imagemeta.TagInfo) bool { return true }, HandleTag: handle,
		})
		// Many a camera's EXIF ends in something odd. What was read before it counts.
		if err != nil && len(tags) == 0 {
			return nil, err
		}
	}
	if len(tags) == 0 {
		return nil, nil
	}
	return facts{"exif": tags}, nil
}

// exifKey is the key of a tag, "" for one without a name. main is the group of the main IFD, "" for the usual.
func exifKey(t imagemeta.TagInfo, main string) string {
	if strings.HasPrefix(t.Tag, imagemeta.UnknownPrefix) || t.Tag == "" {
		return ""
	}
	group := "xmp"
	switch t.Source {
	case imagemeta.IPTC:
		group = "iptc"
	case imagemeta.EXIF:
		switch space := t.Namespace[strings.LastIndexByte(t.Namespace, '/')+1:]; {
		case strings.HasPrefix(space, "ExifIFD"):
			group = "exif"
		case strings.HasPrefix(space, "GPS"):
			group = "gps"
		case strings.HasPrefix(space, "Interop"):
			group = "interoperability"
		case space == "IFD1":
			group = "thumbnail"
		case space == "IFD0" && main != "":
			group = main
		default:
			group = "image"
		}
	}
	return group + "." + strings.ToLower(t.Tag)
}

// exifValue writes a value as text. It reports false for what is no text, such as the notes of a camera's maker.
func exifValue(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		v = strings.TrimRight(v, "\x00 ")
		return strings.TrimLeft(v, " "), printable(v)
	case []byte:
		return exifValue(string(v))
	case float64:
		return exifFloat(v)
	case float32:
		return exifFloat(float64(v))
	case imagemeta.Rat[uint32]:
		return exifFraction(int64(v.Num()), int64(v.Den()))
	case imagemeta.Rat[int32]:
		return exifFraction(int64(v.Num()), int64(v.Den()))
	case []string:
		s := strings.Join(v, " ")
		return s, printable(s)
	case []any:
		var parts []string
		for _, e := range v {
			s, ok := exifValue(e)
			if !ok || len(parts) > 64 {
				return "", false
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, " "), true
	case int, int8, int16, int32, int64, uint8, uint16, uint32, uint64, uint, bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

func printable(s string) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == '\ufffd' || c == 0x7f {
			return false
		}
	}
	return true
}

func exifFloat(v float64) (string, bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "", false
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64), true
}

// exifFraction writes times of exposure the way that photographers do, all else as a decimal.
func exifFraction(num, den int64) (string, bool) {
	switch {
	case den == 0:
		return "", false
	case num == 1 && den > 1:
		return "1/" + strconv.FormatInt(den, 10), true
	case num > 0 && den%num == 0 && den > num:
		return "1/" + strconv.FormatInt(den/num, 10), true
	}
	return exifFloat(float64(num) / float64(den))
}

func readImage(s *source, name string) (facts, error) {
	b, err := s.head(64)
	if err != nil {
		return nil, err
	}
	le, be := binary.LittleEndian, binary.BigEndian
	switch {
	case has(b, 0, "GIF87a") || has(b, 0, "GIF89a"):
		if len(b) < 10 {
			return nil, ErrDamaged
		}
		return sized("image", int64(le.Uint16(b[6:])), int64(le.Uint16(b[8:]))), nil
	case has(b, 0, "BM") && len(b) >= 26 && le.Uint32(b[6:]) == 0 && (extension(name) == "bmp" || le.Uint32(b[14:]) == 40):
		if le.Uint32(b[14:]) == 12 { // of OS/2
			return sized("image", int64(le.Uint16(b[18:])), int64(le.Uint16(b[20:]))), nil
		}
		height := int64(int32(le.Uint32(b[22:]))) // negative: the first line is on top
		return sized("image", int64(int32(le.Uint32(b[18:]))), max(height, -height)), nil
	case has(b, 0, "8BPS\x00\x01") && len(b) >= 22: // Photoshop
		return sized("image", int64(be.Uint32(b[18:])), int64(be.Uint32(b[14:]))), nil
	case has(b, 0, "\x00\x00\x00\x0cJXL \r\n\x87\n"), has(b, 0, "\xff\x0a"), has(b, 0, "\x00\x00\x00\x0cjP  \r\n\x87\n"), // JPEG XL, JPEG 2000
		has(b, 4, "ftypcrx "): // Canon's raw photos
		return nil, ErrUnsupported
	}
	pictures, err := findPictures(s, name)
	if err != nil || len(pictures) == 0 {
		return nil, err
	}
	p := pictures[0]
	turn := 1
	result, err := imagemeta.Decode(imagemeta.Options{
		R: p.r, ImageFormat: p.format, Sources: imagemeta.EXIF | imagemeta.CONFIG, LimitNumTags: 5000, LimitTagSize: exifTagBytes,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool { return t.Tag == "Orientation" && t.Namespace == "IFD0" },
		HandleTag: func(t imagemeta.TagInfo) error {
			if v, ok := t.Value.(uint16); ok {
				turn = int(v)
			}
			return nil
		},
	})
	width, height := int64(result.ImageConfig.Width), int64(result.ImageConfig.Height)
	if width <= 0 || height <= 0 {
		if err == nil {
			err = ErrDamaged
		}
		return nil, err
	}
	// EXIF turns what lies on its side. In HEIF and AVIF it only repeats what a box says, which the library has obeyed.
	if turn >= 5 && turn <= 8 && p.format != imagemeta.HEIF && p.format != imagemeta.AVIF {
		width, height = height, width
	}
	return sized("image", width, height), nil
}

// readPrint makes the fingerprint of a picture. Raw photos are left: what could be decoded of them is a preview.
func readPrint(s *source, name string) (facts, error) {
	switch extension(name) {
	case "dng", "cr2", "nef", "nrw", "arw", "sr2", "srf", "pef":
		return nil, ErrUnsupported
	}
	p, err := images.Read(s.ctx, s, s.size, images.Limits{})
	if err != nil {
		return nil, err
	}
	text, err := p.MarshalText()
	if err != nil {
		return nil, err
	}
	return facts{FactPrint: string(text)}, nil
}
