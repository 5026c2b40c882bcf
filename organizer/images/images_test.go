package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/tiff"
	"pgregory.net/rapid"
)

func read(t testing.TB, b []byte) *Print {
	t.Helper()
	p, err := Read(t.Context(), bytes.NewReader(b), int64(len(b)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func jpegBytes(m image.Image, quality int) []byte {
	var b bytes.Buffer
	check(jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}))
	return b.Bytes()
}

func TestFormats(t *testing.T) {
	m := scene(3, 300, 200)
	first := printOf(m)
	files := map[Format][]byte{JPEG: jpegBytes(m, 80)}
	var b bytes.Buffer
	for format, encode := range map[Format]func() error{PNG: func() error { return png.Encode(&b, m) }, GIF: func() error { return gif.Encode(&b, m, nil) },
		BMP: func() error { return bmp.Encode(&b, m) }, TIFF: func() error { return tiff.Encode(&b, m, nil) }} {
		b.Reset()
		check(encode())
		files[format] = bytes.Clone(b.Bytes())
	}
	for format, content := range files {
		p := read(t, content)
		if p.Format != format || p.Width != 300 || p.Height != 200 {
			t.Errorf("%v: it is %v, %d x %d", format, p.Format, p.Width, p.Height)
		}
		if d := p.Distance(first); d > 4 || !alike(p, first, d, DefaultThreshold) {
			t.Errorf("%v: %d away from the original", format, d)
		}
	}
	gray := image.NewGray16(m.Rect)
	draw.Draw(gray, m.Rect, m, image.Point{}, draw.Src)
	b.Reset()
	check(png.Encode(&b, gray))
	if p := read(t, b.Bytes()); p.Distance(first) > 2 {
		t.Errorf("16 bits of grey are %d away", p.Distance(first))
	}
}

func TestWebP(t *testing.T) { // a picture of the library's makers; there is no encoder
	p := read(t, webpSample)
	if p.Format != WebP || p.Width != 1 || p.Height != 1 || !p.Plain() {
		t.Errorf("%+v", p)
	}
}

// webpSample is one pixel, lossless.
var webpSample = []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00")

// withOrientation puts an EXIF block that wants a picture turned into a JPEG.
func withOrientation(b []byte, value byte) []byte {
	exif := append([]byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"), value, 0, 0, 0, 0, 0, 0, 0)
	out := append([]byte{}, b[:2]...)
	out = append(out, 0xff, 0xe1, 0, byte(len(exif)+2))
	return append(append(out, exif...), b[2:]...)
}

// TestOrientation: a picture that its EXIF turns is the picture that was turned itself.
func TestOrientation(t *testing.T) {
	m := scene(5, 320, 200)
	rgba := image.NewRGBA(m.Rect)
	draw.Draw(rgba, m.Rect, m, image.Point{}, draw.Src)
	upright := printOf(m)
	for value := byte(1); value <= 8; value++ {
		turn := exifTurns[value]
		stored := turnedPicture(rgba, turn.back())
		file := withOrientation(jpegBytes(stored, 90), value)
		p := read(t, file)
		if p.Width != 320 || p.Height != 200 {
			t.Errorf("orientation %d: it is %d x %d", value, p.Width, p.Height)
		}
		if d := p.Distance(upright); d > 3 || !alike(p, upright, d, DefaultThreshold) {
			t.Errorf("orientation %d (%v): %d away", value, turn, d)
		}
		thumb, err := Thumbnail(t.Context(), bytes.NewReader(file), int64(len(file)), 64, Limits{})
		check(err)
		small, err := jpeg.Decode(bytes.NewReader(thumb))
		check(err)
		if small.Bounds().Dx() != 64 || small.Bounds().Dy() != 40 || printOf(small).Distance(upright) > 12 {
			t.Errorf("orientation %d: its thumbnail is %v, %d away", value, small.Bounds(), printOf(small).Distance(upright))
		}
	}
}

// TestTurns: the fingerprint of a picture that was turned is the fingerprint turned, and turning back undoes it.
func TestTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := scene(rapid.Uint64Range(1, 1e6).Draw(t, "seed"), rapid.IntRange(64, 200).Draw(t, "width"), rapid.IntRange(64, 200).Draw(t, "height"))
		rgba := image.NewRGBA(m.Rect)
		draw.Draw(rgba, m.Rect, m, image.Point{}, draw.Src)
		p := printOf(rgba)
		for turn := Upright; turn < turns; turn++ {
			q, of := p.turned(turn), printOf(turnedPicture(rgba, turn))
			if d := q.Distance(of); d > 2 || q.Width != of.Width || q.Height != of.Height || !near(q.luma, of.luma) {
				t.Fatalf("%v: %d away, %d x %d and %d x %d", turn, d, q.Width, q.Height, of.Width, of.Height)
			}
			if back := q.turned(turn.back()); *back != *p {
				t.Fatalf("%v and back is something else", turn)
			}
			groups, err := Similar(context.Background(), []*Print{p, of}, Options{Threshold: 5, Rotation: true})
			check(err)
			if len(groups) != 1 || !p.Plain() && len(groups[0]) != 2 {
				if !p.Plain() {
					t.Fatalf("%v was not found: %v", turn, groups)
				}
			}
		}
	})
}

// near allows for sums in another order.
func near(a, b [64]uint8) bool {
	for i := range a {
		if abs(int(a[i])-int(b[i])) > 1 {
			return false
		}
	}
	return true
}

func randomPrint(r *rand.Rand) *Print {
	p := &Print{Width: 400, Height: 300, Format: JPEG}
	for i := range 256 {
		p.signs.set(i, r.IntN(3)-1)
	}
	for i := range p.luma {
		p.luma[i] = uint8(r.IntN(256))
	}
	return p
}

func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		a, b := randomPrint(r), randomPrint(r)
		if a.Distance(b) != b.Distance(a) || a.Distance(a) != 0 || a.Distance(b) < 0 || a.Distance(b) > MaxDistance {
			t.Fatalf("%d and %d, to itself %d", a.Distance(b), b.Distance(a), a.Distance(a))
		}
		text, err := a.MarshalText()
		check(err)
		var c Print
		if err := c.UnmarshalText(text); err != nil || c != *a {
			t.Fatalf("%+v came back as %+v: %v", a, c, err)
		}
	})
	for _, text := range []string{"", "?", "AQ", "////"} {
		if err := new(Print).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was understood", text)
		}
	}
}

// TestSimilar compares with the plain definition: who is alike by comparing each with each, and a leader's group.
func TestSimilar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		var prints []*Print
		for range rapid.IntRange(0, 6).Draw(t, "families") {
			parent := randomPrint(r)
			for range r.IntN(6) {
				p := *parent
				for range r.IntN(60) {
					at := r.IntN(256)
					p.signs[at/64] &^= 1 << (at % 64)
					p.signs[4+at/64] &^= 1 << (at % 64)
					p.signs.set(at, r.IntN(3)-1)
				}
				p.Width += uint32(r.IntN(60))
				turned := &p
				if r.IntN(2) == 0 {
					turned = p.turned(Turn(r.IntN(int(turns))))
				}
				prints = append(prints, turned)
			}
		}
		prints = append(prints, nil)
		r.Shuffle(len(prints), func(i, j int) { prints[i], prints[j] = prints[j], prints[i] })
		opt := Options{Threshold: r.IntN(MaxThreshold + 1), Rotation: r.IntN(2) == 0}
		got, err := Similar(context.Background(), prints, opt)
		check(err)
		taken := map[int]bool{}
		at := 0
		for i, p := range prints {
			if taken[i] || p == nil {
				continue
			}
			var want []Member
			for k := i + 1; k < len(prints); k++ {
				if taken[k] || prints[k] == nil {
					continue
				}
				best := Member{k, MaxDistance + 1, 0}
				for turn := Upright; turn < turns && (turn == Upright || opt.Rotation); turn++ {
					q := prints[k].turned(turn)
					if d := p.Distance(q); d <= opt.Threshold && d < best.Distance && alike(p, q, d, opt.Threshold) {
						best = Member{k, d, turn}
					}
				}
				if best.Distance <= MaxDistance {
					want = append(want, best)
				}
			}
			if len(want) == 0 {
				continue
			}
			want = append([]Member{{Picture: i}}, want...)
			if at >= len(got) || len(got[at]) != len(want) {
				t.Fatalf("group %d: got %v, want %v", at, got, want)
			}
			for n := range want {
				taken[want[n].Picture] = true
				if got[at][n].Picture != want[n].Picture || got[at][n].Distance != want[n].Distance {
					t.Fatalf("group %d: got %v, want %v", at, got[at], want)
				}
			}
			at++
		}
		if at != len(got) {
			t.Fatalf("there are %d groups more", len(got)-at)
		}
	})
}

// TestPlain: what has nothing in it looks like nothing, and pages with one letterhead are not all one.
func TestPlain(t *testing.T) {
	empty := image.NewGray(image.Rect(0, 0, 600, 800))
	for i := range empty.Pix {
		empty.Pix[i] = uint8(246 + i*7919%9)
	}
	blue := image.NewNRGBA(image.Rect(0, 0, 600, 400))
	for y := range 400 {
		for x := range 600 {
			blue.SetNRGBA(x, y, color.NRGBA{uint8(60 + y/10), uint8(120 + y/8), 230, 255})
		}
	}
	for _, m := range []image.Image{empty, blue, image.NewRGBA(image.Rect(0, 0, 1, 1)), image.NewUniform(color.White)} {
		if _, ok := m.(*image.Uniform); ok {
			continue // has no end
		}
		if p := printOf(m); !p.Plain() {
			t.Errorf("%v has %d frequencies", m.Bounds(), p.signs.count())
		}
	}
	var prints []*Print
	for seed := range uint64(12) {
		prints = append(prints, printOf(letter(seed)))
	}
	groups, err := Similar(t.Context(), prints, Options{Threshold: DefaultThreshold})
	check(err)
	if len(groups) > 0 {
		t.Errorf("different letters are one: %v", groups)
	}
	again := read(t, jpegBytes(letter(4), 50))
	groups, err = Similar(t.Context(), append(prints, again), Options{Threshold: DefaultThreshold})
	check(err)
	if len(groups) != 1 || groups[0][0].Picture != 4 || groups[0][1].Picture != 12 {
		t.Errorf("a letter that was compressed was not found: %v", groups)
	}
}

// letter is a page with a letterhead and a few lines of words.
func letter(seed uint64) *image.Gray {
	r := rand.New(rand.NewPCG(seed, 3))
	m := image.NewGray(image.Rect(0, 0, 620, 877))
	draw.Draw(m, m.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(m, image.Rect(70, 50, 260, 80), image.NewUniform(color.Gray{90}), image.Point{}, draw.Src)
	for line := range 5 + r.IntN(15) {
		for x := 70; x < 500+r.IntN(60); {
			word := 10 + r.IntN(60)
			for at := x; at < x+word; at += 5 { // letters
				draw.Draw(m, image.Rect(at, 200+20*line, at+3, 200+20*line+7+r.IntN(5)), image.Black, image.Point{}, draw.Src)
			}
			x += word + 8
		}
	}
	return m
}

// TestBombs: files that ask for more than they are worth are refused, before anything is made for them.
func TestBombs(t *testing.T) {
	bomb := func(w, h uint32) []byte { // a PNG header, and nothing behind it
		head := []byte("\x00\x00\x00\x0dIHDR")
		head = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(head, w), h)
		head = append(head, 8, 6, 0, 0, 0)
		head = binary.BigEndian.AppendUint32(head, crc32.ChecksumIEEE(head[4:]))
		return append([]byte("\x89PNG\r\n\x1a\n"), head...)
	}
	huge := jpegBytes(scene(1, 16, 16), 80)
	at := bytes.Index(huge, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint32(huge[at+5:], 0xffffffff)
	progressive := bytes.Clone(huge)
	binary.BigEndian.PutUint32(progressive[at+5:], 20000<<16|20000)
	progressive[at+1] = 0xc2
	canvas := append([]byte("RIFF\x2c\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), // 1 x 1, it says
		"VP8L\x0d\x00\x00\x00\x2f\xff\xff\xff\x0f\x07\x10\x11\x11\x88\x88\xfe\x07\x00"...) // 16384 x 16384
	for name, b := range map[string][]byte{"png": bomb(100000, 100000), "jpeg": huge, "progressive": progressive, "webp": canvas,
		"gif": []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), "bmp": append([]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\xff\xff\x00\x00\xff\xff\x00\x00\x01\x00\x20\x00"), make([]byte, 24)...)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := Read(t.Context(), bytes.NewReader(b), int64(len(b)), Limits{})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 16<<20 {
			t.Errorf("%s: %d MiB were made for it", name, made>>20)
		}
	}
	if _, err := Read(t.Context(), bytes.NewReader(bomb(0, 5)), 33, Limits{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("no pixels: %v", err)
	}
}

func TestErrors(t *testing.T) {
	whole := jpegBytes(scene(2, 200, 200), 80)
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty": {nil, ErrFormat}, "text": {[]byte("no picture at all, but text"), ErrFormat}, "cut": {whole[:200], ErrDamaged},
		"raw": {[]byte("II*\x00\x10\x00\x00\x00CR\x02\x00"), ErrFormat}, "head": {whole[:3], ErrDamaged},
	} {
		if _, err := Read(t.Context(), bytes.NewReader(c.b), int64(len(c.b)), Limits{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, bytes.NewReader(whole), int64(len(whole)), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := Similar(ctx, []*Print{printOf(scene(1, 100, 100))}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("comparing after the end: %v", err)
	}
	if _, err := Similar(t.Context(), nil, Options{Threshold: 50}); err == nil {
		t.Error("a threshold of 50 was taken")
	}
}

func FuzzRead(f *testing.F) {
	m := scene(7, 40, 30)
	var b bytes.Buffer
	f.Add(jpegBytes(m, 60))
	check(png.Encode(&b, m))
	f.Add(bytes.Clone(b.Bytes()))
	b.Reset()
	check(gif.Encode(&b, m, nil))
	f.Add(bytes.Clone(b.Bytes()))
	b.Reset()
	check(bmp.Encode(&b, m))
	f.Add(bytes.Clone(b.Bytes()))
	b.Reset()
	check(tiff.Encode(&b, m, &tiff.Options{Compression: tiff.Deflate}))
	f.Add(b.Bytes())
	f.Add(webpSample)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(context.Background(), bytes.NewReader(b), int64(len(b)), Limits{Memory: 16 << 20})
		if (p == nil) == (err == nil) {
			t.Errorf("%v, %v", p, err)
		}
		if err == nil {
			if _, err := Thumbnail(context.Background(), bytes.NewReader(b), int64(len(b)), 32, Limits{Memory: 16 << 20}); err != nil {
				t.Errorf("it has a fingerprint, but no thumbnail: %v", err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for name, size := range map[string]image.Point{"12 megapixels": {4000, 3000}, "2 megapixels": {1600, 1200}} {
		content := jpegBytes(scene(9, size.X, size.Y), 85)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				read(b, content)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pictures/s")
		})
	}
}

func BenchmarkSimilar(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	shapes := [][2]uint32{{4000, 3000}, {3000, 4000}, {6000, 4000}, {1920, 1080}}
	var prints []*Print
	for range 100_000 {
		p := randomPrint(r)
		s := shapes[r.IntN(len(shapes))]
		p.Width, p.Height = s[0], s[1]
		prints = append(prints, p)
	}
	for _, rotation := range []bool{false, true} {
		b.Run(map[bool]string{false: "100k", true: "100k, rotation"}[rotation], func(b *testing.B) {
			for b.Loop() {
				if _, err := Similar(b.Context(), prints, Options{Threshold: DefaultThreshold, Rotation: rotation}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
