package images

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/tiff"
)

var photos = flag.String("photos", "", "measure the threshold with the pictures of this `folder`, all of which differ")

// variation is something that people and programs do to a picture that leaves it the same to the eye.
type variation struct {
	name string
	make func(m *image.NRGBA) image.Image
}

func scaled(f float64) func(m *image.NRGBA) image.Image {
	return func(m *image.NRGBA) image.Image {
		out := image.NewNRGBA(image.Rect(0, 0, max(int(float64(m.Rect.Dx())*f), 1), max(int(float64(m.Rect.Dy())*f), 1)))
		draw.CatmullRom.Scale(out, out.Rect, m, m.Rect, draw.Src, nil)
		return out
	}
}

func quality(q int) func(m *image.NRGBA) image.Image {
	return func(m *image.NRGBA) image.Image {
		var b bytes.Buffer
		check(jpeg.Encode(&b, m, &jpeg.Options{Quality: q}))
		out, err := jpeg.Decode(&b)
		check(err)
		return out
	}
}

func each(f func(c color.NRGBA) color.NRGBA) func(m *image.NRGBA) image.Image {
	return func(m *image.NRGBA) image.Image {
		out := image.NewNRGBA(m.Rect)
		for y := m.Rect.Min.Y; y < m.Rect.Max.Y; y++ {
			for x := m.Rect.Min.X; x < m.Rect.Max.X; x++ {
				out.SetNRGBA(x, y, f(m.NRGBAAt(x, y)))
			}
		}
		return out
	}
}

func brighter(f float64) func(m *image.NRGBA) image.Image {
	return each(func(c color.NRGBA) color.NRGBA {
		g := func(v uint8) uint8 { return uint8(min(float64(v)*f+.5, 255)) }
		return color.NRGBA{g(c.R), g(c.G), g(c.B), c.A}
	})
}

func cropped(left, top, right, bottom float64) func(m *image.NRGBA) image.Image {
	return func(m *image.NRGBA) image.Image {
		w, h := float64(m.Rect.Dx()), float64(m.Rect.Dy())
		return m.SubImage(image.Rect(int(w*left), int(h*top), int(w*(1-right)), int(h*(1-bottom))))
	}
}

func marked(m *image.NRGBA) image.Image {
	out := image.NewNRGBA(m.Rect)
	copy(out.Pix, m.Pix)
	w, h := m.Rect.Dx(), m.Rect.Dy()
	box := image.Rect(w*65/100, h*88/100, w*97/100, h*96/100) // a signature in the corner
	for x := box.Min.X; x < box.Max.X; x += max(w/50, 2) {
		draw.Draw(out, image.Rect(x, box.Min.Y, x+max(w/100, 1), box.Max.Y), image.NewUniform(color.NRGBA{255, 255, 255, 110}), image.Point{}, draw.Over)
	}
	return out
}

func through(encode func(*bytes.Buffer, image.Image) error, decode func(*bytes.Buffer) (image.Image, error)) func(m *image.NRGBA) image.Image {
	return func(m *image.NRGBA) image.Image {
		var b bytes.Buffer
		check(encode(&b, m))
		out, err := decode(&b)
		check(err)
		return out
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var variations = []variation{
	{"half the size", scaled(.5)},
	{"a quarter of the size", scaled(.25)},
	{"160 pixels wide", func(m *image.NRGBA) image.Image { return scaled(160 / float64(m.Rect.Dx()))(m) }},
	{"one and a half the size", scaled(1.5)},
	{"JPEG quality 95", quality(95)},
	{"JPEG quality 75", quality(75)},
	{"JPEG quality 50", quality(50)},
	{"JPEG quality 30", quality(30)},
	{"half the size, quality 50", func(m *image.NRGBA) image.Image { return quality(50)(scaled(.5)(m).(*image.NRGBA)) }},
	{"10 % brighter", brighter(1.1)},
	{"10 % darker", brighter(.9)},
	{"2 % cropped all around", cropped(.01, .01, .01, .01)},
	{"2 % cropped on one side", cropped(.02, 0, 0, 0)},
	{"a watermark", marked},
	{"grey", each(func(c color.NRGBA) color.NRGBA {
		y := color.GrayModel.Convert(c).(color.Gray).Y
		return color.NRGBA{y, y, y, c.A}
	})},
	{"GIF", through(func(b *bytes.Buffer, m image.Image) error { return gif.Encode(b, m, nil) }, func(b *bytes.Buffer) (image.Image, error) { return gif.Decode(b) })},
	{"PNG", through(func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) }, func(b *bytes.Buffer) (image.Image, error) { return png.Decode(b) })},
	{"BMP", through(func(b *bytes.Buffer, m image.Image) error { return bmp.Encode(b, m) }, func(b *bytes.Buffer) (image.Image, error) { return bmp.Decode(b) })},
	{"TIFF", through(func(b *bytes.Buffer, m image.Image) error { return tiff.Encode(b, m, nil) }, func(b *bytes.Buffer) (image.Image, error) { return tiff.Decode(b) })},
}

// TestThreshold prints the table of docs/dupes.md:
//
//	go test ./organizer/images -run TestThreshold -v -photos DIR
func TestThreshold(t *testing.T) {
	var originals []*image.NRGBA
	var names []string
	if *photos == "" {
		for seed := range uint64(6) {
			originals = append(originals, scene(seed, 400, 300))
			names = append(names, fmt.Sprint(seed))
		}
	} else {
		paths, err := filepath.Glob(filepath.Join(*photos, "*"))
		check(err)
		for _, p := range paths {
			f, err := os.Open(p)
			check(err)
			m, _, err := image.Decode(f)
			f.Close()
			check(err)
			n := image.NewNRGBA(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))
			draw.Draw(n, n.Rect, m, m.Bounds().Min, draw.Src)
			originals, names = append(originals, n), append(names, filepath.Base(p))
		}
	}
	prints := make([]*Print, len(originals))
	plain := 0
	for i, m := range originals {
		prints[i] = printOf(m)
		if prints[i].Plain() {
			t.Logf("%s is plain: %d", names[i], prints[i].signs.count())
			plain++
		}
	}
	thresholds := []int{4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 35}
	nearest, pairs := MaxDistance, 0
	var near, wrong [16]int
	for i, a := range prints {
		for _, b := range prints[:i] {
			if a.Plain() || b.Plain() {
				continue
			}
			d := a.Distance(b)
			nearest = min(nearest, d)
			pairs++
			for k, n := range thresholds {
				if d <= n {
					near[k]++
					if alike(a, b, d, n) {
						wrong[k]++
					}
				}
			}
		}
	}
	t.Logf("%d pictures, %d of them plain; %d pairs, the nearest %d apart", len(prints), plain, pairs, nearest)
	if nearest <= DefaultThreshold {
		t.Errorf("different pictures are only %d apart", nearest)
	}
	row := func(name, format string, value func(k int) any) {
		line := fmt.Sprintf("%-28s", name)
		for k := range thresholds {
			line += fmt.Sprintf(format, value(k))
		}
		t.Log(line)
	}
	row("threshold", "%7d", func(k int) any { return thresholds[k] })
	row("different pairs, first look", "%7d", func(k int) any { return near[k] })
	row("different pairs found alike", "%7d", func(k int) any { return wrong[k] })
	var all [16]int
	total := 0
	for _, v := range variations {
		var found [16]int
		of := 0
		for i, m := range originals {
			if prints[i].Plain() {
				continue
			}
			of++
			p := printOf(v.make(m))
			if p.Plain() {
				continue
			}
			d := prints[i].Distance(p)
			for k, n := range thresholds {
				if d <= n && alike(prints[i], p, d, n) {
					found[k]++
					all[k]++
				}
			}
		}
		total += of
		row(v.name, "%6.1f%%", func(k int) any { return 100 * float64(found[k]) / float64(of) })
	}
	row("all of these", "%6.1f%%", func(k int) any { return 100 * float64(all[k]) / float64(total) })
	if share := float64(all[slices.Index(thresholds, DefaultThreshold)]) / float64(total); share < .97 {
		t.Errorf("only %.1f %% of the variations were found", 100*share)
	}
}

// scene is a picture that differs from those of other seeds: coloured discs and rectangles on a gradient.
func scene(seed uint64, w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	s := seed*0x9e3779b97f4a7c15 + 0x1234567
	next := func(n int) int {
		s ^= s << 13
		s ^= s >> 7
		s ^= s << 17
		return int(s % uint64(n))
	}
	for range 20 {
		next(2)
	}
	a, b := next(200), next(200)
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(a * x / w), uint8(b * y / h), uint8(80 + 60*x/w), 255})
		}
	}
	for range 25 {
		c := color.NRGBA{uint8(next(256)), uint8(next(256)), uint8(next(256)), 255}
		cx, cy, rx, ry := next(w), next(h), next(w/6)+w/40+1, next(h/6)+h/40+1
		round := next(2) == 0
		for y := max(cy-ry, 0); y < min(cy+ry, h); y++ {
			for x := max(cx-rx, 0); x < min(cx+rx, w); x++ {
				dx, dy := float64(x-cx)/float64(rx), float64(y-cy)/float64(ry)
				if !round || dx*dx+dy*dy < 1 {
					m.SetNRGBA(x, y, c)
				}
			}
		}
	}
	return m
}
