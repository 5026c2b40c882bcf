package images

import (
	"context"
	"image"
	"image/color"
	"io"
	"math"
	"math/bits"
)

// A fingerprint is made in three steps. The picture is averaged down to 64x64 cells of brightness, whatever its shape.
// Of their cosine transform the 16x16 lowest frequencies are kept, and of each only whether it is there and its sign: that
// is what survives another size, compression and brightness, and says as much of fine structure as of coarse. What it
// does not say is how strong a frequency is, nor what colour the picture has: the means of brightness in 8x8 cells and of
// colour in 4x4 are kept for a second look.
//
// A picture that is turned has the same frequencies in other places and with other signs, so one fingerprint serves for
// all eight turns.

const (
	cells = 64
	waves = 16
	// noise is the amplitude below which a frequency counts as not there: lossy compression makes and removes such.
	noise = 6
	// plainBelow is how many frequencies a picture must have to be compared.
	plainBelow = 60
	// A picture is sparse if this part of it is background: all of one brightness, give or take backgroundWidth. Paper
	// tells a page more surely than an even sky does.
	sparseFrom      = 0.75
	sparsePaper     = 0.5
	backgroundWidth = 8
	paperFrom       = 230
)

// signs has a bit for each frequency that is there with a positive sign, then a bit for each with a negative: bit 16v+u
// for u half waves across and v down. The mean brightness (u = v = 0) is not among them.
type signs [8]uint64

func (s *signs) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// differ counts the bits that differ: one for a frequency that only one has, two for one of the other sign.
func (s *signs) differ(o *signs) int {
	return bits.OnesCount64(s[0]^o[0]) + bits.OnesCount64(s[1]^o[1]) + bits.OnesCount64(s[2]^o[2]) + bits.OnesCount64(s[3]^o[3]) +
		bits.OnesCount64(s[4]^o[4]) + bits.OnesCount64(s[5]^o[5]) + bits.OnesCount64(s[6]^o[6]) + bits.OnesCount64(s[7]^o[7])
}

// differUp counts the bits of positive signs that differ: no more than differ does, and mostly half as many.
func (s *signs) differUp(o *signs) int {
	return bits.OnesCount64(s[0]^o[0]) + bits.OnesCount64(s[1]^o[1]) + bits.OnesCount64(s[2]^o[2]) + bits.OnesCount64(s[3]^o[3])
}

func (s *signs) get(at int) int {
	return int(s[at/64]>>(at%64)&1) - int(s[4+at/64]>>(at%64)&1)
}

func (s *signs) set(at, sign int) {
	switch {
	case sign > 0:
		s[at/64] |= 1 << (at % 64)
	case sign < 0:
		s[4+at/64] |= 1 << (at % 64)
	}
}

// turned is the signs of the picture after a turn. Mirroring it left to right changes the sign of each odd number of half
// waves across; rotating it by 90 degrees also exchanges across and down.
func (s *signs) turned(t Turn) signs {
	out := *s
	if t >= Mirrored {
		from := out
		out = signs{}
		for v := range waves {
			for u := range waves {
				out.set(16*v+u, from.get(16*v+u)*(1-u%2*2))
			}
		}
	}
	for range t % 4 {
		from := out
		out = signs{}
		for v := range waves {
			for u := range waves {
				out.set(16*v+u, from.get(16*u+v)*(1-u%2*2))
			}
		}
	}
	return out
}

// turnSquare turns a square of values, n on a side.
func turnSquare(values []uint8, n int, t Turn) []uint8 {
	out := append([]uint8(nil), values...)
	from := make([]uint8, len(values))
	if t >= Mirrored {
		copy(from, out)
		for y := range n {
			for x := range n {
				out[y*n+x] = from[y*n+n-1-x]
			}
		}
	}
	for range t % 4 {
		copy(from, out)
		for y := range n {
			for x := range n {
				out[y*n+x] = from[(n-1-x)*n+y]
			}
		}
	}
	return out
}

// turned is the fingerprint of the picture after a turn.
func (p *Print) turned(t Turn) *Print {
	if t == Upright {
		return p
	}
	out := *p
	if t.onItsSide() {
		out.Width, out.Height = p.Height, p.Width
	}
	out.signs = p.signs.turned(t)
	copy(out.luma[:], turnSquare(p.luma[:], 8, t))
	copy(out.cb[:], turnSquare(p.cb[:], 4, t))
	copy(out.cr[:], turnSquare(p.cr[:], 4, t))
	return &out
}

// Read makes the fingerprint of a picture. size is the length of r in bytes. Besides those of r and ctx, errors wrap
// ErrFormat, ErrLimit or ErrDamaged. It does not notice the end of ctx but when it reads, which is often.
func Read(ctx context.Context, r io.ReaderAt, size int64, limits Limits) (*Print, error) {
	var p *Print
	err := with(ctx, r, size, limits, func(m *decoded) {
		p = printOf(m.Image)
		p.Format = m.format
		p = p.turned(m.turn)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func printOf(m image.Image) *Print {
	b := m.Bounds()
	p := &Print{Width: uint32(b.Dx()), Height: uint32(b.Dy())}
	luma := shrink(m)
	p.signs = frequencies(luma)
	p.sparse = sparse(luma)
	for y := range 8 {
		for x := range 8 {
			sum := float32(0)
			for j := range 8 {
				for i := range 8 {
					sum += luma[(8*y+j)*cells+8*x+i]
				}
			}
			p.luma[8*y+x] = uint8(sum/64 + 0.5)
		}
	}
	p.colour(m)
	return p
}

// sparse reports whether most of a picture is background.
func sparse(luma *[cells * cells]float32) bool {
	const window = 2*backgroundWidth + 1
	var level [256 + 2*backgroundWidth]int
	for _, v := range luma {
		level[min(max(int(v), 0), 255)+backgroundWidth]++
	}
	most, where, sum := 0, 0, 0
	for i, n := range level {
		if sum += n; i >= window {
			sum -= level[i-window]
		}
		if sum > most {
			most, where = sum, i-2*backgroundWidth
		}
	}
	part := float64(most) / float64(len(luma))
	return part >= sparseFrom || part >= sparsePaper && where >= paperFrom-backgroundWidth
}

// frequencies is the part of the cosine transform (DCT-II, orthonormal) that counts.
func frequencies(luma *[cells * cells]float32) signs {
	var rows [cells * waves]float32 // of each row the frequencies across
	for y := range cells {
		for u := range waves {
			sum := float32(0)
			for x, c := range cosines[u] {
				sum += luma[y*cells+x] * c
			}
			rows[y*waves+u] = sum
		}
	}
	var s signs
	for v := range waves {
		for u := range waves {
			sum := float32(0)
			for y, c := range cosines[v] {
				sum += rows[y*waves+u] * c
			}
			switch {
			case u+v == 0:
			case sum > noise:
				s.set(16*v+u, 1)
			case sum < -noise:
				s.set(16*v+u, -1)
			}
		}
	}
	return s
}

var cosines = func() (c [waves][cells]float32) {
	for u := range waves {
		scale := math.Sqrt(2. / cells)
		if u == 0 {
			scale = math.Sqrt(1. / cells)
		}
		for x := range cells {
			c[u][x] = float32(scale * math.Cos(math.Pi*float64(2*x+1)*float64(u)/(2*cells)))
		}
	}
	return c
}()

// shrink is the mean brightness in 64x64 cells. Transparent parts are white.
func shrink(m image.Image) *[cells * cells]float32 {
	// First whole pixels are averaged, to at least 256 in each direction, then with parts of pixels to 64.
	b := m.Bounds()
	bx, by := max(b.Dx()/256, 1), max(b.Dy()/256, 1)
	w, h := (b.Dx()+bx-1)/bx, (b.Dy()+by-1)/by
	row := make([]uint8, b.Dx())
	sums := make([]uint32, w)
	line := make([]float32, w)
	var out [cells * cells]float32
	down, across := spread(h), spread(w)
	for y := range h {
		clear(sums)
		top, bottom := b.Min.Y+y*by, min(b.Min.Y+(y+1)*by, b.Max.Y)
		for yy := top; yy < bottom; yy++ {
			brightness(m, yy, row)
			if bx == 1 {
				for x, v := range row {
					sums[x] += uint32(v)
				}
				continue
			}
			for x := range w {
				sum := uint32(0)
				for _, v := range row[x*bx : min((x+1)*bx, len(row))] {
					sum += uint32(v)
				}
				sums[x] += sum
			}
		}
		for x := range w {
			line[x] = float32(sums[x]) / float32((min((x+1)*bx, len(row))-x*bx)*(bottom-top))
		}
		var narrow [cells]float32
		for x, parts := range across {
			for _, p := range parts {
				narrow[p.cell] += line[x] * p.weight
			}
		}
		for _, p := range down[y] {
			for x, v := range narrow {
				out[p.cell*cells+x] += v * p.weight
			}
		}
	}
	return &out
}

// part is how much of a cell a pixel makes up.
type part struct {
	cell   int
	weight float32
}

// spread tells for each of n pixels in a line which cells it is a part of.
func spread(n int) [][]part {
	out := make([][]part, n)
	for i := range out {
		from, to := float64(i)*cells/float64(n), float64(i+1)*cells/float64(n)
		for c := int(from); c < cells && float64(c) < to-1e-9; c++ {
			if w := min(to, float64(c+1)) - max(from, float64(c)); w > 0 {
				out[i] = append(out[i], part{c, float32(w)})
			}
		}
	}
	return out
}

// brightness fills row with that of line y, 0 to 255.
func brightness(m image.Image, y int, row []uint8) {
	b := m.Bounds()
	switch m := m.(type) {
	case *image.YCbCr:
		at := m.YOffset(b.Min.X, y)
		copy(row, m.Y[at:at+len(row)])
	case *image.Gray:
		at := m.PixOffset(b.Min.X, y)
		copy(row, m.Pix[at:at+len(row)])
	case *image.NRGBA:
		at := m.PixOffset(b.Min.X, y)
		pix := m.Pix[at : at+4*len(row)]
		for x := range row {
			p := pix[4*x : 4*x+4 : 4*x+4]
			v := weigh(uint32(p[0]), uint32(p[1]), uint32(p[2]))
			a := uint32(p[3])
			row[x] = uint8((v*a + 255*(255-a)) / 255)
		}
	case *image.RGBA:
		at := m.PixOffset(b.Min.X, y)
		pix := m.Pix[at : at+4*len(row)]
		for x := range row {
			p := pix[4*x : 4*x+4 : 4*x+4]
			row[x] = uint8(min(weigh(uint32(p[0]), uint32(p[1]), uint32(p[2]))+255-uint32(p[3]), 255))
		}
	case *image.Paletted:
		var values [256]uint8
		for i, c := range m.Palette {
			values[i&255] = brightnessOf(c)
		}
		at := m.PixOffset(b.Min.X, y)
		for x, i := range m.Pix[at : at+len(row)] {
			row[x] = values[i]
		}
	default:
		for x := range row {
			row[x] = brightnessOf(m.At(b.Min.X+x, y))
		}
	}
}

// weigh is the brightness of a colour as JPEG has it (ITU T.871), in the same unit.
func weigh(r, g, b uint32) uint32 { return (r*19595 + g*38470 + b*7471 + 1<<15) >> 16 }

func brightnessOf(c color.Color) uint8 {
	r, g, b, a := c.RGBA()
	return uint8(min(weigh(r>>8, g>>8, b>>8)+255-a>>8, 255))
}

// colour takes the means of colour, of 64x64 pixels: colour is coarse enough for that.
func (p *Print) colour(m image.Image) {
	b := m.Bounds()
	for y := range 4 {
		for x := range 4 {
			cb, cr := 0, 0
			for j := range 16 {
				for i := range 16 {
					r, g, bl, a := m.At(b.Min.X+(2*(16*x+i)+1)*b.Dx()/128, b.Min.Y+(2*(16*y+j)+1)*b.Dy()/128).RGBA()
					white := 0xffff - a
					_, u, v := color.RGBToYCbCr(uint8((r+white)>>8), uint8((g+white)>>8), uint8((bl+white)>>8))
					cb += int(u)
					cr += int(v)
				}
			}
			p.cb[4*y+x], p.cr[4*y+x] = uint8((cb+128)/256), uint8((cr+128)/256)
		}
	}
}
