package metadata

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	pngimage "image/png"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// A sample is a small file of some format, and what it says of itself: what is not among the facts must be absent. All of
// them are made here.
type sample struct {
	name  string
	data  []byte
	facts map[string]any
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

func u16(order binary.AppendByteOrder, v ...int) (b []byte) {
	for _, n := range v {
		b = order.AppendUint16(b, uint16(n))
	}
	return b
}

func u32(order binary.AppendByteOrder, v ...int) (b []byte) {
	for _, n := range v {
		b = order.AppendUint32(b, uint32(n))
	}
	return b
}

// picture types

func pixels(width, height int) image.Image { return image.NewGray(image.Rect(0, 0, width, height)) }

func encoded(write func(io.Writer) error) []byte {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// turnedEXIF is a TIFF block with a model, an orientation, a time of exposure and a place.
func turnedEXIF(orientation int) []byte {
	entry := func(tag, kind, count int, value []byte) []byte {
		return append(append(u16(le, tag, kind), u32(le, count)...), append(value, 0, 0, 0, 0)[:4]...)
	}
	const exifAt, gpsAt, dataAt = 74, 92, 146
	b := append([]byte("II*\x00"), u32(le, 8)...)
	b = append(b, u16(le, 5)...)
	b = append(b, entry(0x010f, 2, 4, []byte("Abc"))...) // make
	b = append(b, entry(0x0110, 2, 3, []byte("X1"))...)  // model
	b = append(b, entry(0x0112, 3, 1, u16(le, orientation))...)
	b = append(b, entry(0x8769, 4, 1, u32(le, exifAt))...)
	b = append(b, entry(0x8825, 4, 1, u32(le, gpsAt))...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, u16(le, 1)...)
	b = append(b, entry(0x829a, 5, 1, u32(le, dataAt))...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, u16(le, 4)...)
	b = append(b, entry(1, 2, 2, []byte("N"))...)
	b = append(b, entry(2, 5, 3, u32(le, dataAt+8))...)
	b = append(b, entry(3, 2, 2, []byte("W"))...)
	b = append(b, entry(4, 5, 3, u32(le, dataAt+32))...)
	b = append(b, 0, 0, 0, 0)
	if len(b) != dataAt {
		panic(len(b))
	}
	b = append(b, u32(le, 1, 250)...)
	b = append(b, u32(le, 48, 1, 30, 1, 0, 1)...)
	return append(b, u32(le, 11, 1, 15, 1, 0, 1)...)
}

var turnedTags = map[string]string{
	"image.make": "Abc", "image.model": "X1", "exif.exposuretime": "1/250", "gps.gpslatituderef": "N", "gps.gpslatitude": "48.5",
	"gps.gpslongituderef": "W", "gps.gpslongitude": "11.25",
}

func withOrientation(tags map[string]string, orientation string) map[string]string {
	all := map[string]string{"image.orientation": orientation}
	for k, v := range tags {
		all[k] = v
	}
	return all
}

// insertEXIF puts an EXIF segment behind the beginning of a JPEG.
func insertEXIF(jpeg, tiff []byte) []byte {
	body := append([]byte("Exif\x00\x00"), tiff...)
	return slices.Concat(jpeg[:2], []byte{0xff, 0xe1}, u16(be, len(body)+2), body, jpeg[2:])
}

func heicOf(width, height, turn int) []byte {
	properties := box("ispe", make([]byte, 4), u32(be, width, height))
	properties = append(properties, box("irot", []byte{byte(turn)})...)
	ipma := box("ipma", make([]byte, 4), u32(be, 1), u16(be, 1), []byte{2, 1, 2})
	iprp := box("iprp", box("ipco", properties), ipma)
	infe := box("infe", []byte{2, 0, 0, 0}, u16(be, 1, 0), []byte("hvc1\x00"))
	meta := box("meta", make([]byte, 4), box("pitm", make([]byte, 4), u16(be, 1)), box("iinf", make([]byte, 4), u16(be, 1), infe), iprp)
	return slices.Concat(box("ftyp", []byte("heic\x00\x00\x00\x00mif1heic")), meta, box("mdat", make([]byte, 8)))
}

func webpOf(width, height int) []byte {
	canvas := append([]byte{0, 0, 0, 0}, byte(width-1), 0, 0, byte(height-1), 0, 0)
	body := slices.Concat([]byte("WEBPVP8X"), u32(le, len(canvas)), canvas)
	return slices.Concat([]byte("RIFF"), u32(le, len(body)), body)
}

func tiffOf(width, height int) []byte {
	b := append([]byte("MM\x00*"), u32(be, 8)...)
	b = append(b, u16(be, 2)...)
	b = append(b, slices.Concat(u16(be, 0x100, 3), u32(be, 1), u16(be, width, 0))...)
	b = append(b, slices.Concat(u16(be, 0x101, 3), u32(be, 1), u16(be, height, 0))...)
	return append(b, 0, 0, 0, 0)
}

// sound

func id3Frame(version int, name, text string) []byte {
	body := append([]byte{3}, text...)
	switch version {
	case 2:
		return slices.Concat([]byte(name), []byte{0, 0, byte(len(body))}, body)
	case 3: // UTF-16
		body = []byte{1, 0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(text)) {
			body = le.AppendUint16(body, u)
		}
		fallthrough
	default:
		return slices.Concat([]byte(name), []byte{0, 0, byte(len(body) >> 7), byte(len(body) & 0x7f), 0, 0}, body)
	}
}

func id3Tag(version, flags int, frames ...[]byte) []byte {
	body := slices.Concat(frames...)
	if flags&0x80 != 0 {
		body = bytes.ReplaceAll(body, []byte{0xff}, []byte{0xff, 0})
	}
	n := len(body)
	return slices.Concat([]byte("ID3"), []byte{byte(version), 0, byte(flags), 0, byte(n >> 14), byte(n >> 7 & 0x7f), byte(n & 0x7f)}, body)
}

// mp3Frames are frames of 128 kbit/s at 44.1 kHz, 26 ms each.
func mp3Frames(n int) []byte {
	frame := append([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 413)...)
	return bytes.Repeat(frame, n)
}

func xing(frames int) []byte {
	b := mp3Frames(1)
	copy(b[36:], "Xing\x00\x00\x00\x01")
	be.PutUint32(b[44:], uint32(frames))
	return b
}

func vorbisComments(values ...string) []byte {
	b := append(u32(le, 4), "test"...)
	b = append(b, u32(le, len(values))...)
	for _, v := range values {
		b = append(append(b, u32(le, len(v))...), v...)
	}
	return b
}

func flacOf(seconds int, comments []byte) []byte {
	info := make([]byte, 34)
	be.PutUint64(info[10:], 44100<<44|1<<41|15<<36|uint64(seconds*44100))
	block := func(kind int, b []byte) []byte { return append(u32(be, kind<<24|len(b)), b...) }
	return slices.Concat([]byte("fLaC"), block(0, info), block(4, comments), block(0x80|6, make([]byte, 100)))
}

func oggPage(granule int, packets ...[]byte) []byte {
	var segments, body []byte
	for _, p := range packets {
		body = append(body, p...)
		for n := len(p); ; n -= 255 {
			segments = append(segments, byte(min(n, 255)))
			if n < 255 {
				break
			}
		}
	}
	b := append([]byte("OggS\x00\x00"), le.AppendUint64(nil, uint64(granule))...)
	b = append(b, u32(le, 7, 0, 0)...)
	return slices.Concat(b, []byte{byte(len(segments))}, segments, body)
}

func vorbisOf(comments []byte) []byte {
	head := append([]byte("\x01vorbis\x00\x00\x00\x00\x02"), u32(le, 44100, 0, 0, 0)...)
	head = append(head, 0xb8, 1)
	return slices.Concat(oggPage(0, head), oggPage(0, append([]byte("\x03vorbis"), comments...)), oggPage(88200, []byte("sound")))
}

func opusOf(comments []byte) []byte {
	head := append([]byte("OpusHead\x01\x02"), u16(le, 312)...)
	head = append(head, make([]byte, 7)...)
	return slices.Concat(oggPage(0, head), oggPage(0, append([]byte("OpusTags"), comments...)), oggPage(48000+312, []byte("sound")))
}

func data(kind int, value []byte) []byte { return box("data", u32(be, kind, 0), value) }

func ilst(items ...[]byte) []byte {
	return box("udta", box("meta", make([]byte, 4), box("hdlr", make([]byte, 25)), box("ilst", items...)))
}

func header(scale, ticks int) []byte {
	return box("mvhd", make([]byte, 12), u32(be, scale, ticks), make([]byte, 80))
}

func track(kind string, width, height int, turned bool) []byte {
	matrix := u32(be, 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
	if turned {
		matrix = u32(be, 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
	}
	tkhd := box("tkhd", make([]byte, 40), matrix, u32(be, width<<16, height<<16))
	return box("trak", tkhd, box("mdia", box("hdlr", make([]byte, 8), []byte(kind), make([]byte, 13))))
}

func movie4(brand string, parts ...[]byte) []byte {
	return slices.Concat(box("ftyp", []byte(brand+"\x00\x00\x02\x00")), box("mdat", make([]byte, 100)), box("moov", parts...))
}

func riff(kind string, order binary.AppendByteOrder, form string, parts ...[]byte) []byte {
	body := append([]byte(form), slices.Concat(parts...)...)
	return slices.Concat([]byte(kind), u32(order, len(body)), body)
}

func chunk(order binary.AppendByteOrder, kind string, body ...[]byte) []byte {
	b := slices.Concat(body...)
	n := len(b)
	if n%2 == 1 {
		b = append(b, 0)
	}
	return slices.Concat([]byte(kind), u32(order, n), b)
}

func element(id int, body ...[]byte) []byte {
	b := slices.Concat(body...)
	head := bytes.TrimLeft(u32(be, id), "\x00")
	return slices.Concat(head, be.AppendUint64(nil, 1<<56|uint64(len(b))), b)
}

func matroskaOf(parts ...[]byte) []byte {
	return append(element(0x1a45dfa3, element(0x4282, []byte("matroska"))), element(mkvSegment, parts...)...)
}

// documents

// zipOf stores what is small, so that fuzzing gets at it.
func zipOf(parts ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		method := zip.Store
		if len(parts[i+1]) > 64<<10 {
			method = zip.Deflate
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: parts[i], Method: method})
		if err != nil {
			panic(err)
		}
		io.WriteString(f, parts[i+1])
	}
	w.Close()
	return b.Bytes()
}

const types = "[Content_Types].xml"

func docxOf(body string) []byte {
	return zipOf(types, "<Types/>", "word/document.xml", `<?xml version="1.0"?><w:document xmlns:w="x"><w:body>`+body+`</w:body></w:document>`,
		"word/header1.xml", `<w:hdr><w:p><w:r><w:t>Letterhead</w:t></w:r></w:p></w:hdr>`)
}

func deflated(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// pdfOf builds a file of objects, the first of which is the catalog.
func pdfOf(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	var at []int
	for i, o := range objects {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return b.Bytes()
}

func pdfStreamOf(dict, content string) string {
	return fmt.Sprintf("<< %s /Length %d >>\nstream\n%s\nendstream", dict, len(content), content)
}

// pdfPage is a file of one page with a plain font F1 and a composite one F2.
func pdfPage(content string) []byte {
	return pdfOf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 /Resources << /Font << /F1 5 0 R /F2 6 0 R >> /XObject << /X 9 0 R >> >> >>",
		"<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>", pdfStreamOf("/Filter /FlateDecode", deflated(content)),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding << /BaseEncoding /WinAnsiEncoding /Differences [1 /fi /uni20AC] >> >>",
		"<< /Type /Font /Subtype /Type0 /Encoding /Identity-H /ToUnicode 7 0 R /DescendantFonts [8 0 R] >>",
		pdfStreamOf("", "1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfchar <0001> <0416> endbfchar 1 beginbfrange <0002> <0004> <0430> endbfrange"),
		"<< /Type /Font /Subtype /CIDFontType2 /DW 600 /W [1 [500 500] 3 4 700] >>",
		pdfStreamOf("/Type /XObject /Subtype /Form /Matrix [1 0 0 1 0 -300]", "BT /F1 10 Tf 50 700 Td (in a form) Tj ET /X Do"))
}

const mailText = "Received: from there\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\nTo: you@example.org\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n" +
	"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
	"--x\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
	"sch=F6n\r\n--y\r\nContent-Type: text/html\r\n\r\n<p>never\r\n--y--\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
	"PHA+YWxz\r\nbyB0aGlzPC9wPg==\r\n--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nnot this\r\n--x--\r\n"

const rtfText = `{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\info{\title no}}\f0 Dear \b Sir\b0 , caf\'e9 \u8364?5\par {\*\x no}\{next\} \u-10179?\u-8704?\bin3 xyz end}`

func samples() []sample {
	size := func(width, height int64, orientation string) map[string]any {
		return map[string]any{"image.width": width, "image.height": height, "image.orientation": orientation}
	}
	text := func(s string) map[string]any { return map[string]any{"text": s} }
	tagged := func(duration float64, also ...any) map[string]any {
		m := map[string]any{"audio.duration": duration}
		for i := 0; i < len(also); i += 2 {
			m["audio."+also[i].(string)] = also[i+1]
		}
		return m
	}
	film := func(width, height int64, orientation string, duration float64) map[string]any {
		return map[string]any{"video.width": width, "video.height": height, "video.orientation": orientation, "video.duration": duration}
	}
	and := func(m map[string]any, name string, v any) map[string]any { m[name] = v; return m }
	photo := encoded(func(w io.Writer) error { return jpeg.Encode(w, pixels(6, 4), nil) })
	comments := vorbisComments("title=Song", "ARTIST=A", "artist=B", "ALBUMARTIST=AA", "date=2003-04-05", "TRACKNUMBER=3/12", "genre=Rock", "x", "COMPOSER=C")
	said := []any{"title", "Song", "artist", "A; B", "albumartist", "AA", "year", int64(2003), "track", int64(3), "genre", "Rock", "composer", "C"}
	m4a := movie4("M4A ", header(1000, 2500), track("soun", 0, 0, false), ilst(
		box("\xa9nam", data(1, []byte("Song"))), box("\xa9ART", data(1, []byte("Ä"))), box("trkn", data(0, []byte{0, 0, 0, 3, 0, 12, 0, 0})),
		box("gnre", data(0, []byte{0, 18})), box("\xa9day", data(1, []byte("2003-01-01T00:00:00Z"))), box("covr", data(13, make([]byte, 1000)))))
	v1 := append([]byte("TAG"), make([]byte, 125)...)
	copy(v1[3:], "Old title")
	copy(v1[33:], "Old artist")
	copy(v1[93:], "1999")
	v1[126], v1[127] = 7, 17
	avih := append(u32(le, 40000, 0, 0, 0, 50, 0, 1, 0, 320, 240), make([]byte, 16)...)
	info := element(mkvInfo, element(mkvScale, []byte{0x0f, 0x42, 0x40}), element(mkvDuration, be.AppendUint32(nil, 0x44fa0000))) // 2000
	tracks := element(mkvTracks, element(mkvTrack, element(mkvVideo, element(mkvWidth, []byte{1, 64}), element(mkvHeight, []byte{180}))))
	cluster := element(mkvCluster, make([]byte, 50))
	seek := func(at int) []byte {
		return element(mkvSeekHead, element(mkvSeek, element(mkvSeekID, u32(be, mkvTracks)), element(mkvSeekPosition, []byte{byte(at)})))
	}
	utf16Text := []byte{0xff, 0xfe, 'h', 0, 'i', 0, 0xac, 0x20}
	archived := func(m map[string]any, names ...string) map[string]any { m["archive"] = names; return m }
	docx := docxOf(`<w:p><w:r><w:t>Dear </w:t><w:t xml:space="preserve">Sir,</w:t><w:tab/><w:delText>no</w:delText><w:t>a &amp; b</w:t></w:r></w:p><w:p><w:r><w:t>bye</w:t></w:r></w:p>`)
	return []sample{
		{"a.jpg", photo, size(6, 4, "landscape")},
		{"as it is.jpg", insertEXIF(photo, turnedEXIF(1)), and(size(6, 4, "landscape"), "exif", withOrientation(turnedTags, "1"))},
		{"turned.jpg", insertEXIF(photo, turnedEXIF(6)), and(size(4, 6, "portrait"), "exif", withOrientation(turnedTags, "6"))},
		{"a.png", encoded(func(w io.Writer) error { return pngimage.Encode(w, pixels(3, 3)) }), size(3, 3, "square")},
		{"a.gif", encoded(func(w io.Writer) error { return gif.Encode(w, pixels(3, 5), nil) }), size(3, 5, "portrait")},
		{"a.webp", webpOf(30, 20), size(30, 20, "landscape")},
		{"a.tif", tiffOf(30, 20), and(size(30, 20, "landscape"), "exif", map[string]string{"image.imagewidth": "30", "image.imageheight": "20"})},
		{"a.bmp", slices.Concat([]byte("BM"), u32(le, 100, 0, 54, 40, 30, -20), make([]byte, 40)), size(30, 20, "landscape")},
		{"a.psd", slices.Concat([]byte("8BPS\x00\x01"), make([]byte, 6), u16(be, 3), u32(be, 20, 30), make([]byte, 30)), size(30, 20, "landscape")},
		{"a.heic", heicOf(30, 20, 0), size(30, 20, "landscape")},
		{"turned.heic", heicOf(30, 20, 3), size(20, 30, "portrait")},

		{"v22.mp3", append(id3Tag(2, 0, id3Frame(2, "TT2", "Song"), id3Frame(2, "TP1", "A"), id3Frame(2, "TRK", "4")), mp3Frames(200)...),
			tagged(5.213, "title", "Song", "artist", "A", "track", int64(4))},
		{"v23.mp3", append(id3Tag(3, 0x80, id3Frame(3, "TIT2", "Söng"), id3Frame(3, "TCON", "(17)"), id3Frame(3, "TYER", "2003")), xing(1000)...),
			tagged(26.122, "title", "Söng", "genre", "Rock", "year", int64(2003))},
		{"v24.mp3", slices.Concat(id3Tag(4, 0, id3Frame(4, "APIC", strings.Repeat("cover", 1000)), id3Frame(4, "TPE1", "A\x00B"), id3Frame(4, "TPOS", "1/2")), mp3Frames(10), v1),
			tagged(0.261, "artist", "A; B", "disc", int64(1), "title", "Old title", "year", int64(1999), "track", int64(7), "genre", "Rock")},
		{"plain.mp3", mp3Frames(3), tagged(0.078)},
		{"a.flac", flacOf(3, comments), tagged(3, said...)},
		{"a.ogg", vorbisOf(comments), tagged(2, said...)},
		{"long.ogg", vorbisOf(vorbisComments("title=Song", "METADATA_BLOCK_PICTURE="+strings.Repeat("x", 60_000))), tagged(2, "title", "Song")},
		{"a.opus", opusOf(comments), tagged(1, said...)},
		{"a.m4a", m4a, tagged(2.5, "title", "Song", "artist", "Ä", "track", int64(3), "genre", "Rock", "year", int64(2003))},
		{"a.wav", riff("RIFF", le, "WAVE", chunk(le, "fmt ", u16(le, 1, 2), u32(le, 44100, 176400), u16(le, 4, 16)), chunk(le, "data", make([]byte, 17640)),
			chunk(le, "LIST", []byte("INFO"), chunk(le, "INAM", []byte("Song")), chunk(le, "IART", []byte("Me")))), tagged(0.1, "title", "Song", "artist", "Me")},
		{"a.aiff", riff("FORM", be, "AIFF", chunk(be, "COMM", u16(be, 2), u32(be, 88200), u16(be, 16, 0x400e, 0xac44, 0, 0, 0)), chunk(be, "NAME", []byte("Song"))),
			tagged(2, "title", "Song")},

		{"a.mp4", movie4("isom", header(1000, 2500), track("soun", 0, 0, false), track("vide", 320, 180, false)), film(320, 180, "landscape", 2.5)},
		{"turned.mov", movie4("qt  ", header(600, 600), track("vide", 320, 180, true)), film(180, 320, "portrait", 1)},
		{"a.mkv", matroskaOf(info, tracks, element(mkvCluster, make([]byte, 50))), film(320, 180, "landscape", 2)},
		{"behind.mkv", matroskaOf(seek(len(seek(0))+len(info)+len(cluster)), info, cluster, tracks), film(320, 180, "landscape", 2)},
		{"a.avi", riff("RIFF", le, "AVI ", chunk(le, "LIST", []byte("hdrl"), chunk(le, "avih", avih))), film(320, 240, "landscape", 2)},

		{"a.txt", []byte("one\r\ntwo  three"), text("one\r\ntwo  three")},
		{"empty.txt", nil, text("")},
		{"latin.md", []byte("sch\xf6n \x80"), text("schön €")},
		{"utf16.csv", utf16Text, text("hi€")},
		{"a.html", []byte("<html><head><meta charset='iso-8859-1'><title>T&uuml;</title><style>a>b</style></head><!-- no > --><body a='>'>sch\xf6n <b>bo</b>ld<br>x<script>'<p>'</script>y<td>1</td><td>2</td> a < b"),
			text("Tü\nschön bold\nxy 1 2 a < b")},
		{"a.eml", []byte(mailText), text("Grüße\nJörg <j@example.org>\nyou@example.org\nMon, 1 Jan 2024 00:00:00 +0000\nschön\nalso this")},
		{"a.rtf", []byte(rtfText), text("Dear Sir, café €5\n{next} 😀 end")},
		{"a.docx", docx, archived(text("Letterhead\nDear Sir, a & b\nbye"), types, "word/document.xml", "word/header1.xml")},
		{"a.xlsx", zipOf(types, "", "xl/workbook.xml", "", "xl/sharedStrings.xml", `<sst><si><t>Name</t></si><si><r><t>Zo</t></r><r><t>ë</t></r></si></sst>`,
			"xl/worksheets/sheet1.xml", `<worksheet><row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row><row><c><v>12.5</v></c><c t="inlineStr"><is><t>in</t></is></c><c t="s"><v>9</v></c></row></worksheet>`),
			archived(text("Name Zoë\n12.5 in"), types, "xl/workbook.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml")},
		{"a.pptx", zipOf(types, "", "ppt/presentation.xml", "", "ppt/slides/slide10.xml", "<p><a:p><a:r><a:t>ten</a:t></a:r></a:p></p>", "ppt/slides/slide2.xml", "<p><a:p><a:t>two</a:t></a:p></p>"),
			archived(text("two\nten"), types, "ppt/presentation.xml", "ppt/slides/slide10.xml", "ppt/slides/slide2.xml")},
		{"a.odt", zipOf("mimetype", "application/vnd.oasis.opendocument.text", "content.xml", `<o><text:h>Head</text:h>no<text:p>a<text:s/>b<text:span>c</text:span></text:p></o>`),
			archived(text("Head\na bc"), "mimetype", "content.xml")},
		{"a.epub", zipOf("mimetype", "application/epub+zip", "META-INF/container.xml", `<container><rootfiles><rootfile full-path="o/b.opf"/></rootfiles></container>`,
			"o/b.opf", `<package><metadata><dc:title>Book</dc:title></metadata><manifest><item id="b" href="b%20b.xhtml"/><item id="a" href="a.xhtml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>`,
			"o/a.xhtml", "<html><p>first</p></html>", "o/b b.xhtml", "<html><p>second</p></html>"),
			archived(text("Book\nfirst\nsecond"), "mimetype", "META-INF/container.xml", "o/b.opf", "o/a.xhtml", "o/b b.xhtml")},
		{"a.pdf", pdfPage("BT /F1 12 Tf 50 700 Td (Invoice \\(No\\) ) Tj [(47) -20 (11) -400 (next)] TJ 0 -14 Td (of\\001ce \\002) Tj /F2 12 Tf 0 -14 Td <00010002000300040005> Tj ET BI /W 1 ID \x00( EI q /X Do Q"),
			text("Invoice (No) 4711 next\nofﬁce €\nЖабв\nin a form")},
		{"a.zip", zipOf("x/", "", "x/y.txt", "no"), archived(map[string]any{}, "x", "x/y.txt")},
		{"old.zip", bytes.ReplaceAll(zipOf("M_ller.txt", ""), []byte("M_ller"), []byte("M\x81ller")), archived(map[string]any{}, "Müller.txt")},
		{"program", append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 100)...), map[string]any{}},
	}
}

func sampleNamed(t testing.TB, name string) []byte {
	for _, s := range samples() {
		if s.name == name {
			return s.data
		}
	}
	t.Fatalf("no sample %s", name)
	return nil
}
