package images

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"

	"golang.org/x/image/draw"
)

// Thumbnail draws a small JPEG of a picture that fits into a square of side pixels, turned as its EXIF asks for, on white.
// What it says besides the picture, in EXIF and the like, is not in it. Errors are those of Read.
func Thumbnail(ctx context.Context, r io.ReaderAt, size int64, side int, limits Limits) ([]byte, error) {
	var out bytes.Buffer
	var failed error
	err := with(ctx, r, size, limits, func(m *decoded) {
		failed = jpeg.Encode(&out, m.thumbnail(side), &jpeg.Options{Quality: 70})
	})
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, fmt.Errorf("draw a thumbnail: %w", failed)
	}
	return out.Bytes(), nil
}

func (m *decoded) thumbnail(side int) image.Image {
	b := m.Bounds()
	w, h := side, side
	if b.Dx() > b.Dy() {
		h = max(side*b.Dy()/b.Dx(), 1)
	} else {
		w = max(side*b.Dx()/b.Dy(), 1)
	}
	if b.Dx() < w || b.Dy() < h {
		w, h = b.Dx(), b.Dy()
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(small, small.Rect, image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.BiLinear.Scale(small, small.Rect, m.Image, b, draw.Over, nil)
	if m.turn == Upright {
		return small
	}
	return turnedPicture(small, m.turn)
}

func turnedPicture(m *image.RGBA, t Turn) *image.RGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	size := image.Rect(0, 0, w, h)
	if t.onItsSide() {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(size)
	for y := range h {
		for x := range w {
			tx, ty := x, y
			if t >= Mirrored {
				tx = w - 1 - x
			}
			tw, th := w, h
			for range t % 4 { // by 90 degrees: the first column becomes the first row, from its end
				tx, ty, tw, th = th-1-ty, tx, th, tw
			}
			out.SetRGBA(tx, ty, m.RGBAAt(x, y))
		}
	}
	return out
}
