package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var groups = []string{"exif", "image", "video", "audio", "text", "archive"}

// ofContent reads a group of facts from memory. A panic of a decoder is not caught.
func ofContent(data []byte, name, group string, limits Limits) answer {
	r := NewReader(limits, nil)
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.limits.Time, errTime)
	defer cancel()
	return decode(newSource(ctx, bytes.NewReader(data), int64(len(data)), r.limits), name, group)
}

func write(t testing.TB, name string, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFacts(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got := map[string]any{}
			for _, group := range groups {
				a := ofContent(s.data, s.name, group, Limits{})
				if a.err != nil {
					t.Errorf("%s: %v", group, a.err)
				}
				for name, v := range a.facts {
					got[name] = v
				}
			}
			if diff := cmp.Diff(s.facts, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFile(t *testing.T) {
	ctx := context.Background()
	r := NewReader(Limits{}, nil)
	file := r.File(write(t, "turned.jpg", sampleNamed(t, "turned.jpg")))
	for name, want := range map[string]any{
		"image.width": int64(4), "image.orientation": "portrait", "audio.artist": nil, "text": nil, "archive": nil, "video.duration": nil,
		"origin": nil, "tags": nil,
	} {
		if got, err := file.Fact(ctx, name); got != want || err != nil || !Knows(name) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if got, err := file.Fact(ctx, "exif"); err != nil || got.(map[string]string)["image.model"] != "X1" {
		t.Error(got, err)
	}
	for _, name := range []string{"", "size", "audio", "audio.", "audio.x", "image", "hash", "hash.crc32"} {
		if Knows(name) {
			t.Errorf("%q is known", name)
		}
	}
	if _, err := file.Fact(ctx, "size"); err == nil {
		t.Error("size is not read here")
	}
	// A folder has attributes, and nothing else.
	folder := r.File(open(t, t.TempDir()))
	for _, name := range []string{"text", "hash.blake3", "image.width", "tags"} {
		if v, err := folder.Fact(ctx, name); v != nil || err != nil {
			t.Errorf("%s of a folder: %v, %v", name, v, err)
		}
	}
}

func TestHashes(t *testing.T) {
	ctx := context.Background()
	for content, want := range map[string][4]string{
		"":    {"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "d41d8cd98f00b204e9800998ecf8427e"},
		"abc": {"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "a9993e364706816aba3e25717850c26c9cd0d89d", "900150983cd24fb0d6963f7d28e17f72"},
	} {
		file := NewReader(Limits{Bytes: 1, Time: 1}, nil).File(write(t, "a", []byte(content))) // neither holds for hashes
		for i, name := range []string{"hash.blake3", "hash.sha256", "hash.sha1", "hash.md5"} {
			if got, err := file.Fact(ctx, name); got != want[i] || err != nil {
				t.Errorf("%s of %q: %v, %v", name, content, got, err)
			}
		}
	}
	if _, err := hashOf(ctx, strings.NewReader("longer"), 3, "md5"); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := hashOf(ctx, strings.NewReader("shorter"), 10, "md5"); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := hashOf(ctx, strings.NewReader("x"), 1, "md5"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCannotTell(t *testing.T) {
	locked := bytes.Replace(pdfPage("BT ET"), []byte("/Root"), []byte("/Encrypt << /Filter /Standard /V 1 /R 2 /O (01234567890123456789012345678901) /U (01234567890123456789012345678901) /P 0 >> /Root"), 1)
	drawn := pdfOf("<< /Pages 2 0 R >>", "<< /Kids [3 0 R] >>", "<< /Resources << /Font << /F 5 0 R >> >> /Contents 4 0 R >>", pdfStreamOf("", "BT /F 9 Tf <0001> Tj ET"),
		"<< /Subtype /Type0 /Encoding /Identity-H >>")
	for _, c := range []struct {
		name, group string
		data        []byte
		want        error
	}{
		{"a.doc", "text", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more"), ErrUnsupported},
		{"locked.pdf", "text", locked, ErrEncrypted},
		{"drawn.pdf", "text", drawn, ErrUnsupported},
		{"cut.pdf", "text", []byte("%PDF-1.7\n"), ErrDamaged},
		{"cut.docx", "text", docxOf("<w:p>")[:300], ErrDamaged},
		{"locked.odt", "text", zipOf("mimetype", "x", "content.xml", "noise", "META-INF/manifest.xml", "<m><manifest:encryption-data/></m>"), ErrEncrypted},
		{"a.wma", "audio", []byte(asf), ErrUnsupported},
		{"a.aac", "audio", []byte("\xff\xf1\x50\x80\x00\x00"), ErrUnsupported},
		{"cut.flac", "audio", []byte("fLaC\x00"), ErrDamaged},
		{"cut.mp4", "video", movie4("isom")[:30], ErrDamaged},
		{"a.wmv", "video", []byte(asf), ErrUnsupported},
		{"a.jxl", "image", []byte("\xff\x0a123"), ErrUnsupported},
		{"cut.jpg", "image", []byte("\xff\xd8\xff\xe0"), ErrDamaged},
		{"locked.7z", "archive", []byte("7z\xbc\xaf\x27\x1c"), ErrDamaged},
	} {
		if a := ofContent(c.data, c.name, c.group, Limits{}); !errors.Is(a.err, c.want) || a.facts != nil {
			t.Errorf("%s: %v, %v, want %v", c.name, a.facts, a.err, c.want)
		}
	}
	// Of a film in fragments all is known but how long it lasts.
	fragments := movie4("isom", header(1000, 0), track("vide", 320, 180, false), box("mvex"))
	file := NewReader(Limits{}, nil).File(write(t, "a.mp4", fragments))
	if v, err := file.Fact(context.Background(), "video.width"); v != int64(320) || err != nil {
		t.Error(v, err)
	}
	if v, err := file.Fact(context.Background(), "video.duration"); v != nil || !errors.Is(err, ErrUnsupported) {
		t.Error(v, err)
	}
	if a := ofContent(fragments, "a.mp4", "video", Limits{}); a.err != nil {
		t.Error(a.err)
	}
	boom := errors.New("the disk is on fire")
	s := newSource(context.Background(), failingReader{boom}, 1000, NewReader(Limits{}, nil).limits)
	if a := content(s, "a.pdf", "text"); !errors.Is(a.err, boom) {
		t.Error(a.err)
	}
}

type failingReader struct{ err error }

func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// allocated returns how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// small has a time that nothing here takes on any machine: whoever meets it would go on for ever.
var small = Limits{Bytes: 8 << 20, Text: 1 << 20, Time: 2 * time.Minute}

func TestLimits(t *testing.T) {
	long := strings.Repeat("word ", 1<<20)
	laughs := `<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>`
	deep := strings.Repeat("[", 1<<20)
	objects := make([]string, 20_000)
	for i := range objects {
		objects[i] = fmt.Sprintf("<< /Kids [%d 0 R %d 0 R] >>", (i*7)%20_000+1, (i*13)%20_000+1)
	}
	objects[0] = "<< /Type /Catalog /Pages 2 0 R >>"
	bomb := deflated(strings.Repeat("\x00", 64<<20))
	loop := pdfOf("<< /Pages 2 0 R >>", "<< /Kids [2 0 R 2 0 R 3 0 R] >>", "<< /Contents [4 0 R] /Resources << /XObject << /A 4 0 R /B 5 0 R >> >> >>",
		pdfStreamOf("/Subtype /Form", "/A Do /B Do /A Do"), pdfStreamOf("/Subtype /Form", "/B Do /A Do /B Do /A Do"))
	for _, c := range []struct {
		name, group string
		data        []byte
		want        error // nil: it must only end
	}{
		{"long.txt", "text", []byte(long), ErrLimit},
		{"long.html", "text", []byte("<p>" + long), ErrLimit},
		{"long.rtf", "text", []byte(`{\rtf1 ` + long), ErrLimit},
		{"long.eml", "text", []byte(strings.Replace(mailText, "also", long, 1) + long), nil},
		{"long.docx", "text", docxOf("<w:p><w:t>" + long), ErrLimit},
		{"bomb.docx", "text", docxOf(strings.Repeat("<w:p/>", 4<<20)), ErrLimit},
		{"token.docx", "text", docxOf("<w:p a='" + strings.Repeat("x", 6<<20)), ErrLimit},
		{"laughs.docx", "text", zipOf(types, "", "word/document.xml", laughs+"<w:p><w:t>&c;</w:t></w:p>"), nil},
		{"deep.docx", "text", docxOf(strings.Repeat("<w:p>", 1<<20)), nil},
		{"deep.rtf", "text", []byte(`{\rtf1 ` + strings.Repeat("{", 1<<20)), ErrLimit},
		{"deep.html", "text", []byte("<html>" + strings.Repeat("<div>", 1<<20)), nil},
		{"strings.xlsx", "text", zipOf(types, "", "xl/workbook.xml", "", "xl/sharedStrings.xml", strings.Repeat("<si/>", 1<<20)), ErrLimit},
		{"deep.pdf", "text", pdfPage(deep), ErrLimit},
		{"nested.pdf", "text", []byte("%PDF-1.4\n1 0 obj " + deep), nil},
		{"objects.pdf", "text", pdfOf(objects...), nil},
		{"count.pdf", "text", bytes.Replace(pdfOf("<<>>"), []byte("0 2\n"), []byte("0 999999999\n"), 1), ErrDamaged},
		{"bomb.pdf", "text", pdfPageRaw(pdfStreamOf("/Filter /FlateDecode", bomb)), ErrLimit},
		{"twice.pdf", "text", pdfPageRaw(pdfStreamOf("/Filter [/FlateDecode /FlateDecode]", deflated(bomb))), ErrLimit},
		{"loop.pdf", "text", loop, nil},
		{"cover.mp3", "audio", id3Tag(4, 0), nil},
		{"boxes.mp4", "video", slices.Concat(box("ftyp", []byte("isom")), bytes.Repeat(box("free"), 200_000)), ErrDamaged},
		{"elements.mkv", "video", matroskaOf(bytes.Repeat(element(0xec), 100_000)), ErrDamaged},
		{"chunks.avi", "video", riff("RIFF", le, "AVI ", bytes.Repeat(chunk(le, "JUNK"), 100_000)), ErrDamaged},
		{"pages.ogg", "audio", bytes.Repeat(oggPage(0), 100_000), ErrDamaged},
		{"frames.mp3", "audio", slices.Concat(mp3Frames(50), bytes.Repeat(slices.Concat(mp3Frames(1), append([]byte{0xff, 0xfb, 0xa0, 0}, make([]byte, 518)...)), 20_000)), ErrLimit},
		{"zeros.jpg", "exif", append([]byte("\xff\xd8\xff\xe1"), make([]byte, 16<<20)...), nil},
		{"a.zip", "archive", zipOf(slices.Repeat([]string{"x", ""}, 20_000)...), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			var a answer
			got := allocated(func() { a = ofContent(c.data, c.name, c.group, small) })
			if c.want != nil && !errors.Is(a.err, c.want) || errors.Is(a.err, errTime) {
				t.Errorf("%v, want %v", a.err, c.want)
			}
			if got > 200<<20 {
				t.Errorf("%d MiB allocated", got>>20)
			}
			t.Logf("%d bytes: %v, %d KiB allocated, %v", len(c.data), a.err, got>>10, time.Since(start))
		})
	}
}

// pdfPageRaw is a page with a stream of its own.
func pdfPageRaw(stream string) []byte {
	return pdfOf("<< /Pages 2 0 R >>", "<< /Kids [3 0 R] >>", "<< /Contents 4 0 R >>", stream)
}

// A decoder's mistake is an error of its file, and nothing is left running.
func TestPanic(t *testing.T) {
	s := newSource(context.Background(), panickingReader{}, 100, NewReader(Limits{}, nil).limits)
	if a := content(s, "a", "text"); !errors.Is(a.err, ErrDamaged) || a.facts != nil {
		t.Error(a)
	}
	before := goleak.IgnoreCurrent()
	for _, s := range samples() {
		for _, group := range groups {
			ofContent(s.data, s.name, group, Limits{})
			ofContent(s.data[:len(s.data)/2], s.name, group, Limits{})
		}
	}
	goleak.VerifyNone(t, before)
}

type panickingReader struct{}

func (panickingReader) ReadAt([]byte, int64) (int, error) { panic("mistake") }

// Time holds too, and so does the caller's word.
func TestTime(t *testing.T) {
	data := pdfOf(slices.Repeat([]string{"<< /Kids [1 0 R] >>"}, 50_000)...)
	for _, group := range groups {
		a := ofContent(data, "a.pdf", group, Limits{Time: time.Nanosecond})
		if !errors.Is(a.err, ErrLimit) {
			t.Errorf("%s: %v", group, a.err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	file := NewReader(Limits{}, nil).File(write(t, "a.pdf", data))
	cancel()
	if _, err := file.Fact(ctx, "text"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := file.Fact(context.Background(), "text"); errors.Is(err, context.Canceled) {
		t.Error("an answer that was broken off is remembered")
	}
}

// Damage gives an error or another answer, never a crash, and ends.
func TestHostile(t *testing.T) {
	flips := 60
	if testing.Short() {
		flips = 10
	}
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			try := func(data []byte) {
				for _, group := range groups {
					a := ofContent(data, s.name, group, small)
					if a.err != nil && a.facts != nil || errors.Is(a.err, errTime) {
						t.Errorf("%s: %v, %v", group, a.facts, a.err)
					}
				}
			}
			for n := 0; n < min(len(s.data), 16<<10); n += 64 {
				try(s.data[:n])
			}
			x := uint32(len(s.data))
			for range flips {
				b := bytes.Clone(s.data)
				if len(b) == 0 {
					return
				}
				for range 1 + x%4 {
					x = x*1664525 + 1013904223
					b[int(x>>8)%min(len(b), 4096)] ^= 1 << (x >> 5 & 7)
				}
				try(b)
			}
		})
	}
}

func fuzzGroup(f *testing.F, group string, match func(sample) bool) {
	for _, s := range samples() {
		if match(s) {
			f.Add(s.data, s.name)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		a := ofContent(data, name, group, small)
		if errors.Is(a.err, errTime) {
			t.Fatalf("%d bytes: %v", len(data), a.err)
		}
		if text, ok := a.facts["text"].(string); ok && len(text) > small.Text {
			t.Fatalf("%d bytes of text", len(text))
		}
		if a.err == nil {
			if b, ok := encodeAnswer(a); ok {
				if again, err := decodeAnswer(b); err != nil || len(a.facts) > 0 && cmp.Diff(a.facts, again.facts) != "" {
					t.Fatalf("%v becomes %v, %v", a.facts, again.facts, err)
				}
			}
		}
	})
}

func hasFact(prefix string) func(sample) bool {
	return func(s sample) bool {
		for name := range s.facts {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
}

func ending(ext ...string) func(sample) bool {
	return func(s sample) bool { return slices.Contains(ext, extension(s.name)) }
}

func FuzzEXIF(f *testing.F)  { fuzzGroup(f, "exif", hasFact("image")) }
func FuzzImage(f *testing.F) { fuzzGroup(f, "image", hasFact("image")) }
func FuzzAudio(f *testing.F) { fuzzGroup(f, "audio", hasFact("audio")) }
func FuzzVideo(f *testing.F) { fuzzGroup(f, "video", hasFact("video")) }
func FuzzText(f *testing.F) {
	fuzzGroup(f, "text", ending("txt", "md", "csv", "html", "eml", "rtf", "epub"))
}
func FuzzPDF(f *testing.F)    { fuzzGroup(f, "text", ending("pdf")) }
func FuzzOffice(f *testing.F) { fuzzGroup(f, "text", ending("docx", "xlsx", "pptx", "odt")) }

// FuzzPDFContent gets past the compression of a page.
func FuzzPDFContent(f *testing.F) {
	f.Add("BT /F1 12 Tf 50 700 Td (Invoice ) Tj [(47) -20 (11) -400 (next)] TJ ET /X Do", "1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfrange <00> <ff> <0041> endbfrange", "")
	f.Add("BT /F2 12 Tf <0102> Tj ET BI ID x EI", "2 beginbfchar <01> <0416> <02> /fi endbfchar", "/Filter [/ASCII85Decode /LZWDecode] /DecodeParms [null << /Predictor 12 /Columns 4 >>]")
	f.Add("", "", "/Filter /RunLengthDecode")
	f.Fuzz(func(t *testing.T, content, cmap, dict string) {
		data := pdfOf("<< /Pages 2 0 R >>", "<< /Kids [3 0 R] /Resources << /Font << /F1 5 0 R /F2 6 0 R >> /XObject << /X 8 0 R >> >> >>", "<< /Contents 4 0 R >>",
			pdfStreamOf("", content), "<< /Subtype /Type1 >>", "<< /Subtype /Type0 /ToUnicode 7 0 R >>", pdfStreamOf("", cmap), pdfStreamOf("/Subtype /Form "+dict, content))
		if a := ofContent(data, "a.pdf", "text", small); errors.Is(a.err, errTime) {
			t.Fatal(a.err)
		}
	})
}

// FuzzXML gets past the compression of a document.
func FuzzXML(f *testing.F) {
	f.Add(`<?xml version="1.0" encoding="latin1"?><w:p><w:t>a&amp;b</w:t><w:tab/></w:p>`)
	f.Add(`<row><c t="s"><v>0</v></c></row><si><t>x</t></si><text:p>a</text:p>`)
	f.Add(`<!DOCTYPE x [<!ENTITY a "b">]><p>&a;</p><![CDATA[x]]>`)
	f.Fuzz(func(t *testing.T, xml string) {
		for _, data := range [][]byte{
			docxOf(xml), zipOf(types, "", "xl/workbook.xml", "", "xl/sharedStrings.xml", xml, "xl/worksheets/sheet1.xml", xml),
			zipOf("mimetype", "", "content.xml", xml, "META-INF/manifest.xml", xml),
			zipOf("META-INF/container.xml", `<rootfile full-path="a"/>`, "a", xml, "b", xml),
		} {
			if a := ofContent(data, "a", "text", small); errors.Is(a.err, errTime) {
				t.Fatal(a.err)
			}
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	page := strings.Repeat("BT /F1 12 Tf 50 700 Td (It is a truth universally acknowledged, that a man) Tj 0 -14 Td [(must ) -30 (be)] TJ ET\n", 40)
	paragraph := "<w:p><w:r><w:t>It is a truth universally acknowledged, that a man must be in want of it.</w:t></w:r></w:p>"
	for _, c := range []struct {
		name, group string
		data        []byte
	}{
		{"a.jpg", "exif", append(sampleNamed(b, "turned.jpg"), make([]byte, 64<<10)...)},
		{"a.jpg", "image", append(sampleNamed(b, "turned.jpg"), make([]byte, 64<<10)...)},
		{"a.mp3", "audio", append(sampleNamed(b, "v23.mp3"), mp3Frames(150)...)},
		{"a.flac", "audio", sampleNamed(b, "a.flac")},
		{"a.docx", "text", docxOf(strings.Repeat(paragraph, 200))},
		{"a.pdf", "text", pdfPage(page)},
		{"a.mp4", "video", sampleNamed(b, "a.mp4")},
	} {
		b.Run(extension(c.name)+"/"+c.group, func(b *testing.B) {
			r := NewReader(Limits{}, nil)
			f := write(b, c.name, c.data)
			b.ReportAllocs()
			for b.Loop() {
				g, err := os.Open(f.Name())
				if err != nil {
					b.Fatal(err)
				}
				if a := r.File(g).read(context.Background(), c.group); a.err != nil || len(a.facts) == 0 {
					b.Fatal(a)
				}
				g.Close()
			}
		})
	}
	b.Run("open+read 64K", func(b *testing.B) {
		f := write(b, "a", make([]byte, 64<<10))
		buf := make([]byte, 64<<10)
		for b.Loop() {
			g, err := os.Open(f.Name())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(g, buf); err != nil {
				b.Fatal(err)
			}
			g.Close()
		}
	})
}
