package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// sample FILE [KEY=VALUE]...: makes a small real file of the format that FILE's extension names, which says of itself:
//
//	jpg cr2 dng       taken=2024-05-01T10:11:12 model=TEXT
//	png               width=N height=N comment=TEXT (Exif.UserComment)
//	jpg png           scene=N width=N height=N turned=DEGREES: a picture to look at, for each N another one
//	mp4 mov           seconds=N
//	mp3               artist= albumartist= album= title= track= genre=
//	pdf               text=TEXT, with \n between lines
//	epub              text=TEXT, a paragraph for each line
//	zip               NAME=TEXT for each file in it
func sampleVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 0, "sample FILE [KEY=VALUE]...")
	said := map[string]string{}
	var names []string
	for _, a := range args[1:] {
		key, value, ok := strings.Cut(a, "=")
		want(ts, ok, "sample FILE [KEY=VALUE]...")
		said[key] = strings.ReplaceAll(value, `\n`, "\n")
		names = append(names, key)
	}
	number := func(key string, otherwise int) int {
		n, err := strconv.Atoi(said[key])
		if err != nil {
			return otherwise
		}
		return n
	}
	var b []byte
	switch ext := strings.ToLower(filepath.Ext(args[0])); {
	case said["scene"] != "":
		b = sceneOf(ext, number("scene", 0), number("width", 320), number("height", 240), number("turned", 0))
	default:
		b = sampleOf(ts, ext, said, names, number)
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, b, 0o644))
	ts.Check(os.Chtimes(file, old, old))
}

func sampleOf(ts *testscript.TestScript, ext string, said map[string]string, names []string, number func(key string, otherwise int) int) (b []byte) {
	switch ext {
	case ".jpg", ".cr2", ".dng":
		b = exifBlock(said["model"], strings.NewReplacer("-", ":", "T", " ").Replace(said["taken"]), "")
		if ext == ".jpg" {
			b = jpegOf(b)
		}
	case ".png":
		b = pngOf(number("width", 8), number("height", 8), said["comment"])
	case ".mp4", ".mov":
		b = movieOf(number("seconds", 1))
	case ".mp3":
		b = songOf(said)
	case ".pdf":
		b = pdfOf(said["text"])
	case ".epub":
		b = epubOf(said["text"])
	case ".zip":
		var parts []string
		for _, name := range names {
			parts = append(parts, name, said[name])
		}
		b = zipOf(parts...)
	default:
		ts.Fatalf("there are no samples of %s", ext)
	}
	return b
}

// sceneOf is a picture of coloured boxes. Its size does not change what is to be seen.
func sceneOf(ext string, scene, width, height, turned int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(m, m.Rect, image.NewUniform(color.Gray{130}), image.Point{}, draw.Src)
	r := rand.New(rand.NewPCG(uint64(scene), 7))
	for range 60 {
		c := image.NewUniform(color.RGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255})
		x, y, w, h := r.Float64(), r.Float64(), r.Float64()/3, r.Float64()/3
		box := image.Rect(int(x*float64(width)), int(y*float64(height)), int((x+w)*float64(width)), int((y+h)*float64(height)))
		draw.Draw(m, box, c, image.Point{}, draw.Src)
	}
	for ; turned > 0; turned -= 90 { // clockwise
		was := m
		m = image.NewRGBA(image.Rect(0, 0, was.Rect.Dy(), was.Rect.Dx()))
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				m.SetRGBA(x, y, was.RGBAAt(y, was.Rect.Dy()-1-x))
			}
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	if ext == ".jpg" {
		b.Reset()
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 85})
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// exifBlock is a TIFF block with what is not empty: Image.Model, Exif.DateTimeOriginal and Exif.UserComment.
func exifBlock(model, taken, comment string) []byte {
	type entry struct {
		tag, kind uint16
		value     []byte
	}
	directory := func(at int, entries []entry) []byte {
		b := le.AppendUint16(nil, uint16(len(entries)))
		var data []byte
		end := at + 2 + 12*len(entries) + 4
		for _, e := range entries {
			b = le.AppendUint16(le.AppendUint16(b, e.tag), e.kind)
			count := len(e.value)
			if e.kind == 4 { // LONG
				count = 1
			}
			b = le.AppendUint32(b, uint32(count))
			if len(e.value) <= 4 {
				b = append(b, append(e.value, 0, 0, 0, 0)[:4]...)
				continue
			}
			b = le.AppendUint32(b, uint32(end+len(data)))
			data = append(data, e.value...)
		}
		return append(append(b, 0, 0, 0, 0), data...)
	}
	var first, second []entry
	if model != "" {
		first = append(first, entry{0x0110, 2, []byte(model + "\x00")})
	}
	if taken != "" {
		second = append(second, entry{0x9003, 2, []byte(taken + "\x00")})
	}
	if comment != "" {
		second = append(second, entry{0x9286, 7, []byte("ASCII\x00\x00\x00" + comment)})
	}
	const at = 8
	length := len(directory(at, append(slices.Clone(first), entry{0x8769, 4, make([]byte, 4)})))
	first = append(first, entry{0x8769, 4, le.AppendUint32(nil, uint32(at+length))})
	return slices.Concat([]byte("II*\x00\x08\x00\x00\x00"), directory(at, first), directory(at+length, second))
}

func jpegOf(exif []byte) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		panic(err)
	}
	body := append([]byte("Exif\x00\x00"), exif...)
	segment := be.AppendUint16([]byte{0xff, 0xe1}, uint16(len(body)+2))
	return slices.Concat(b.Bytes()[:2], segment, body, b.Bytes()[2:])
}

func pngOf(width, height int, comment string) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	if comment == "" {
		return b.Bytes()
	}
	exif := exifBlock("", "", comment)
	chunk := append(be.AppendUint32(nil, uint32(len(exif))), "eXIf"...)
	chunk = append(append(chunk, exif...), 0, 0, 0, 0) // nobody checks the sum
	const afterHeader = 8 + 25
	return slices.Concat(b.Bytes()[:afterHeader], chunk, b.Bytes()[afterHeader:])
}

// movieOf is an MP4 of one picture track, upright, of the given length.
func movieOf(seconds int) []byte {
	box := func(kind string, parts ...[]byte) []byte {
		body := slices.Concat(parts...)
		return slices.Concat(be.AppendUint32(nil, uint32(8+len(body))), []byte(kind), body)
	}
	numbers := func(all ...uint32) (b []byte) {
		for _, n := range all {
			b = be.AppendUint32(b, n)
		}
		return b
	}
	matrix := numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
	track := box("trak", box("tkhd", make([]byte, 40), matrix, numbers(1080<<16, 1920<<16)),
		box("mdia", box("hdlr", make([]byte, 8), []byte("vide"), make([]byte, 13))))
	head := box("mvhd", make([]byte, 12), numbers(1000, uint32(seconds)*1000), make([]byte, 80))
	return slices.Concat(box("ftyp", []byte("isom\x00\x00\x02\x00")), box("mdat", make([]byte, 100)), box("moov", head, track))
}

// songOf is an MP3 of a quarter of a second, with ID3 tags in UTF-8.
func songOf(said map[string]string) []byte {
	var frames []byte
	for _, f := range [][2]string{{"TPE1", "artist"}, {"TPE2", "albumartist"}, {"TALB", "album"}, {"TIT2", "title"}, {"TRCK", "track"}, {"TCON", "genre"}} {
		if text := said[f[1]]; text != "" {
			frames = append(frames, f[0]...)
			frames = append(frames, 0, 0, 0, byte(len(text)+1), 0, 0, 3)
			frames = append(frames, text...)
		}
	}
	head := []byte{'I', 'D', '3', 4, 0, 0, 0, 0, byte(len(frames) >> 7), byte(len(frames) & 0x7f)}
	sound := append([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 413)...)
	return slices.Concat(head, frames, bytes.Repeat(sound, 10))
}

// pdfOf is a page of text.
func pdfOf(text string) []byte {
	var page strings.Builder
	page.WriteString("BT /F1 12 Tf 72 720 Td")
	for line := range strings.Lines(text) {
		line = strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(strings.TrimSuffix(line, "\n"))
		fmt.Fprintf(&page, " (%s) Tj 0 -16 Td", line)
	}
	page.WriteString(" ET")
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var at []int
	for i, o := range []string{
		"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", page.Len(), page.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
	} {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	b.WriteString("xref\n0 6\n0000000000 65535 f \n")
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", start)
	return b.Bytes()
}

func epubOf(text string) []byte {
	var page strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&page, "<p>%s</p>", strings.TrimSuffix(line, "\n"))
	}
	return zipOf("mimetype", "application/epub+zip",
		"META-INF/container.xml", `<container><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>`,
		"book.opf", `<package><manifest><item id="p" href="p.xhtml"/></manifest><spine><itemref idref="p"/></spine></package>`,
		"p.xhtml", "<html><body>"+page.String()+"</body></html>")
}

// zipOf holds pairs of names and texts, without compression, so that programs know an e-book by its first bytes.
func zipOf(parts ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: parts[i], Method: zip.Store})
		if err == nil {
			_, err = f.Write([]byte(parts[i+1]))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
