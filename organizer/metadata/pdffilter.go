package metadata

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
)

// decode returns what a stream holds, decrypted and unpacked. Damage ends it early: readers of PDF show what there is.
func (p *pdfFile) decode(st *pdfStream, encrypted bool) (io.Reader, error) {
	length := p.streamLength(st)
	var r io.Reader = io.NewSectionReader(p.s, st.at, length)
	if encrypted && p.crypt != nil && st.dict["Type"] != pdfName("XRef") {
		var err error
		if r, err = p.crypt.stream(r, length, st); err != nil {
			return nil, err
		}
	}
	filters, parameters := p.array(st.dict["Filter"]), p.array(st.dict["DecodeParms"])
	if name, ok := p.object(st.dict["Filter"]).(pdfName); ok {
		filters = pdfArray{name}
		parameters = pdfArray{p.object(st.dict["DecodeParms"])}
	}
	if len(filters) > 8 {
		return nil, errPDF
	}
	for i, f := range filters {
		var parameter pdfDict
		if i < len(parameters) {
			parameter = p.dict(parameters[i])
		}
		in := bufio.NewReader(r)
		switch name, _ := p.object(f).(pdfName); name {
		case "FlateDecode", "Fl":
			in.Discard(2) // zlib's head; its checksum is wrong in many a file
			r = p.predicted(p.s.unpacked(&early{p.s, flate.NewReader(in), false}), parameter)
		case "LZWDecode", "LZW":
			change := p.number(parameter["EarlyChange"], 1) != 0
			r = p.predicted(p.s.unpacked(&lzw{in: in, early: change}), parameter)
		case "ASCIIHexDecode", "AHx":
			r = &asciiHex{in: in}
		case "ASCII85Decode", "A85":
			r = p.s.unpacked(&ascii85{in: in})
		case "RunLengthDecode", "RL":
			r = p.s.unpacked(&runLength{in: in})
		case "Crypt":
		default: // pictures
			return nil, ErrUnsupported
		}
	}
	return r, nil
}

// streamLength is what a stream says, if it ends there, or where it does end.
func (p *pdfFile) streamLength(st *pdfStream) int64 {
	const word = "endstream"
	length := int64(p.number(st.dict["Length"], -1))
	if length >= 0 && length <= p.s.size-st.at {
		var b [len(word) + 2]byte
		n, _ := p.s.ReadAt(b[:], st.at+length)
		if bytes.HasPrefix(bytes.TrimLeft(b[:n], "\r\n"), []byte(word)) {
			return length
		}
	}
	buf := make([]byte, 32<<10)
	for at := st.at; at < p.s.size; at += int64(len(buf) - len(word)) {
		n, err := p.s.ReadAt(buf, at)
		if i := bytes.Index(buf[:n], []byte(word)); i >= 0 {
			return at + int64(i) - st.at
		}
		if err != nil {
			break
		}
	}
	return max(0, min(length, p.s.size-st.at))
}

// early ends where its decoder fails, unless the whole reading must end.
type early struct {
	s    *source
	r    io.Reader
	done bool
}

func (e *early) Read(b []byte) (int, error) {
	if e.done {
		return 0, io.EOF
	}
	n, err := e.r.Read(b)
	if err != nil {
		e.done = true
		if e.s.err != nil {
			return n, e.s.err
		}
		return n, io.EOF
	}
	return n, nil
}

// predicted undoes the differences between rows (of PNG, the only ones met in what is not a picture).
func (p *pdfFile) predicted(r io.Reader, parameters pdfDict) io.Reader {
	if p.number(parameters["Predictor"], 1) < 10 {
		return r
	}
	colors, bits := p.number(parameters["Colors"], 1), p.number(parameters["BitsPerComponent"], 8)
	bytes := max(1, int(colors*bits)/8)
	row := int(colors*bits*p.number(parameters["Columns"], 1)+7) / 8
	if bytes > 64 || row < 1 || row > 1<<20 {
		return &early{s: p.s, done: true}
	}
	return &pngRows{r: r, distance: bytes, row: make([]byte, row+1), before: make([]byte, row)}
}

type pngRows struct {
	r           io.Reader
	distance    int
	row, before []byte
	left        []byte
}

func (p *pngRows) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		n, err := io.ReadFull(p.r, p.row)
		if n < 2 {
			if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return 0, err
		}
		row, kind := p.row[1:n], p.row[0]
		for i := range row {
			var left, up, corner int
			if up = int(p.before[i]); i >= p.distance {
				left, corner = int(row[i-p.distance]), int(p.before[i-p.distance])
			}
			switch kind {
			case 1:
				row[i] += byte(left)
			case 2:
				row[i] += byte(up)
			case 3:
				row[i] += byte((left + up) / 2)
			case 4:
				a, b, c := abs(up-corner), abs(left-corner), abs(left+up-2*corner)
				switch {
				case a <= b && a <= c:
					row[i] += byte(left)
				case b <= c:
					row[i] += byte(up)
				default:
					row[i] += byte(corner)
				}
			}
		}
		copy(p.before, row)
		p.left = row
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

func abs(v int) int { return max(v, -v) }

// lzw reads LZW as TIFF has it: codes from the highest bit on, of a width that grows a code early.
type lzw struct {
	in     *bufio.Reader
	early  bool
	bits   uint32
	have   uint
	width  uint
	next   int
	last   int
	prefix [4096]uint16
	suffix [4096]byte
	out    []byte
	stack  []byte
	done   bool
}

func (l *lzw) Read(b []byte) (int, error) {
	for len(l.out) == 0 {
		if l.done {
			return 0, io.EOF
		}
		l.step()
	}
	n := copy(b, l.out)
	l.out = l.out[n:]
	return n, nil
}

func (l *lzw) reset() { l.width, l.next, l.last = 9, 258, -1 }

func (l *lzw) step() {
	if l.width == 0 {
		l.reset()
	}
	for l.have < l.width {
		c, err := l.in.ReadByte()
		if err != nil {
			l.done = true
			return
		}
		l.bits = l.bits<<8 | uint32(c)
		l.have += 8
	}
	l.have -= l.width
	code := int(l.bits >> l.have & (1<<l.width - 1))
	switch {
	case code == 256:
		l.reset()
		return
	case code == 257 || code > l.next || l.last < 0 && code > 257:
		l.done = true
		return
	}
	l.stack = l.stack[:0]
	at := code
	if code == l.next {
		at = l.last // the text before, and its first byte once more
	}
	for at > 257 {
		l.stack = append(l.stack, l.suffix[at])
		at = int(l.prefix[at])
	}
	first := byte(at)
	l.stack = append(l.stack, first)
	for i, j := 0, len(l.stack)-1; i < j; i, j = i+1, j-1 {
		l.stack[i], l.stack[j] = l.stack[j], l.stack[i]
	}
	if code == l.next {
		l.stack = append(l.stack, first)
	}
	l.out = l.stack
	if l.last >= 0 && l.next < 4096 {
		l.prefix[l.next], l.suffix[l.next] = uint16(l.last), first
		l.next++
	}
	l.last = code
	grown := l.next
	if l.early {
		grown++
	}
	for l.width < 12 && grown >= 1<<l.width {
		l.width++
	}
}

type asciiHex struct {
	in   *bufio.Reader
	done bool
}

func (a *asciiHex) Read(b []byte) (n int, err error) {
	for n < len(b) && !a.done {
		var v, digits int
		for digits < 2 {
			c, err := a.in.ReadByte()
			if err != nil || c == '>' {
				a.done = true
				break
			}
			if d := unhex(c); d >= 0 {
				v = v<<4 | d
				digits++
			}
		}
		if digits == 0 {
			break
		}
		b[n] = byte(v << (4 * (2 - digits)))
		n++
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

type ascii85 struct {
	in   *bufio.Reader
	left []byte
	done bool
}

func (a *ascii85) Read(b []byte) (int, error) {
	for len(a.left) == 0 {
		if a.done {
			return 0, io.EOF
		}
		var v uint32
		n := 0
		for n < 5 {
			c, err := a.in.ReadByte()
			if err != nil || c == '~' {
				a.done = true
				break
			}
			if c == 'z' && n == 0 {
				n = 5
				break
			}
			if c < '!' || c > 'u' {
				continue
			}
			v = v*85 + uint32(c-'!')
			n++
		}
		if n < 2 {
			continue
		}
		for i := n; i < 5; i++ {
			v = v*85 + 84
		}
		a.left = []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}[:n-1]
	}
	n := copy(b, a.left)
	a.left = a.left[n:]
	return n, nil
}

type runLength struct {
	in   *bufio.Reader
	left []byte
}

func (r *runLength) Read(b []byte) (int, error) {
	for len(r.left) == 0 {
		c, err := r.in.ReadByte()
		if err != nil || c == 128 {
			return 0, io.EOF
		}
		if c < 128 {
			run := make([]byte, int(c)+1)
			n, _ := io.ReadFull(r.in, run)
			r.left = run[:n]
		} else if v, err := r.in.ReadByte(); err == nil {
			r.left = bytes.Repeat([]byte{v}, 257-int(c))
		}
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}
