package metadata

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A PDF (ISO 32000-2) is read here down to its text, and no further. Libraries for it load whole files, follow references
// without end or panic by design; this reader has a bound on everything.

type (
	pdfName  string
	pdfWord  string // an operator or keyword
	pdfArray []any
	pdfDict  map[pdfName]any
	pdfRef   struct{ n, gen int }
)

// Other objects are nil, bool, float64 and string.

type pdfStream struct {
	dict pdfDict
	at   int64 // where its data begins
	ref  pdfRef
}

const (
	pdfNesting   = 60
	pdfValues    = 1 << 20 // in one object
	pdfString    = 4 << 20 // bytes of one string
	pdfObjects   = 1 << 20
	pdfSections  = 1000 // of the table of objects
	pdfRemember  = 4096 // objects that are kept in memory
	pdfObjStream = 16 << 20
)

var errPDF = fmt.Errorf("%w: no sound PDF", ErrDamaged)

// pdfEntry says where an object lies.
type pdfEntry struct {
	at     int64 // in the file, or its number in a stream
	stream int   // the stream of objects that holds it, 0 if none does
}

// pdfFile finds objects by their numbers.
type pdfFile struct {
	s       *source
	entries map[int]pdfEntry
	trailer pdfDict
	rebuilt bool
	crypt   *pdfCrypt
	known   map[int]any        // objects that were read
	streams map[int]*pdfPacked // of objects
	open    map[int]bool       // that are being read: an object can need itself
}

// pdfPacked is a stream of objects: their numbers, and where each begins behind first.
type pdfPacked struct {
	data    []byte
	numbers []int
	offsets []int
	first   int
}

// openPDF reads the table of objects, or makes one of a damaged file.
func openPDF(s *source) (*pdfFile, error) {
	p := &pdfFile{s: s, entries: map[int]pdfEntry{}, trailer: pdfDict{}}
	p.forget()
	if err := p.readTables(); err != nil || p.dict(p.trailer["Root"]) == nil || p.dict(p.dict(p.trailer["Root"])["Pages"]) == nil && p.trailer["Encrypt"] == nil {
		if s.err != nil {
			return nil, s.err
		}
		if err := p.rebuild(); err != nil {
			return nil, err
		}
	}
	if p.trailer["Encrypt"] != nil {
		crypt, err := newPDFCrypt(p)
		if err != nil {
			return nil, err
		}
		p.forget()
		p.crypt = crypt
	}
	return p, s.err
}

func (p *pdfFile) forget() {
	p.known, p.streams, p.open = map[int]any{}, map[int]*pdfPacked{}, map[int]bool{}
}

// readTables follows the tables from the file's end.
func (p *pdfFile) readTables() error {
	tail := make([]byte, min(p.s.size, 2048))
	if err := p.s.readAt(tail, p.s.size-int64(len(tail))); err != nil {
		return err
	}
	i := bytes.LastIndex(tail, []byte("startxref"))
	if i < 0 {
		return errPDF
	}
	v, err := newPDFLexer(p.s, bytes.NewReader(tail[i+len("startxref"):])).next(0)
	at, ok := v.(float64)
	if err != nil || !ok {
		return errPDF
	}
	seen := map[int64]bool{}
	for todo := []int64{int64(at)}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		if at < 0 || at >= p.s.size || seen[at] {
			continue
		}
		if seen[at] = true; len(seen) > pdfSections {
			return p.s.fail("too many tables of objects")
		}
		trailer, err := p.readTable(at)
		if err != nil {
			return err
		}
		for key, v := range trailer {
			if _, ok := p.trailer[key]; !ok {
				p.trailer[key] = v
			}
		}
		for _, key := range []pdfName{"XRefStm", "Prev"} {
			if v, ok := trailer[key].(float64); ok {
				todo = append(todo, int64(v))
			}
		}
	}
	return nil
}

func (p *pdfFile) lexer(at int64) *pdfLexer {
	return newPDFLexer(p.s, io.NewSectionReader(p.s, at, p.s.size-at))
}

func (p *pdfFile) add(n int, e pdfEntry) error {
	if _, ok := p.entries[n]; !ok {
		if len(p.entries) >= pdfObjects {
			return p.s.fail("too many objects")
		}
		p.entries[n] = e
	}
	return nil
}

func (p *pdfFile) readTable(at int64) (pdfDict, error) {
	l := p.lexer(at)
	first, err := l.next(0)
	if err != nil {
		return nil, err
	}
	if first != pdfWord("xref") {
		return p.readTableStream(at)
	}
	for {
		v, err := l.next(0)
		if err != nil {
			return nil, err
		}
		if v == pdfWord("trailer") {
			break
		}
		start, ok := v.(float64)
		count, err := l.next(0)
		n, ok2 := count.(float64)
		if err != nil || !ok || !ok2 || n < 0 || n > pdfObjects {
			return nil, errPDF
		}
		for i := range int(n) {
			l.values = pdfValues
			offset, err := l.next(0)
			if err != nil {
				return nil, err
			}
			l.next(0)
			kind, err := l.next(0)
			if err != nil {
				return nil, err
			}
			if o, ok := offset.(float64); ok && kind == pdfWord("n") {
				if err := p.add(int(start)+i, pdfEntry{at: int64(o)}); err != nil {
					return nil, err
				}
			}
		}
	}
	v, err := l.next(0)
	if err != nil {
		return nil, err
	}
	trailer, ok := v.(pdfDict)
	if !ok {
		return nil, errPDF
	}
	return trailer, nil
}

func (p *pdfFile) readTableStream(at int64) (pdfDict, error) {
	v, _, err := p.objectAt(at, nil)
	if err != nil {
		return nil, err
	}
	st, ok := v.(*pdfStream)
	if !ok || st.dict["Type"] != pdfName("XRef") {
		return nil, errPDF
	}
	var widths [3]int
	w, _ := st.dict["W"].(pdfArray)
	for i := range min(len(w), 3) {
		n, _ := w[i].(float64)
		if n < 0 || n > 8 {
			return nil, errPDF
		}
		widths[i] = int(n)
	}
	total := widths[0] + widths[1] + widths[2]
	if len(w) < 3 || total == 0 {
		return nil, errPDF
	}
	index, _ := st.dict["Index"].(pdfArray)
	if index == nil {
		index = pdfArray{0.0, st.dict["Size"]}
	}
	r, err := p.decode(st, false)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(r)
	row := make([]byte, total)
	for ; len(index) >= 2; index = index[2:] {
		start, _ := index[0].(float64)
		count, _ := index[1].(float64)
		for i := range int(min(max(count, 0), pdfObjects)) {
			if _, err := io.ReadFull(in, row); err != nil {
				return st.dict, p.s.err // shorter than it says
			}
			var fields [3]int64
			b := row
			for j, n := range widths {
				for _, c := range b[:n] {
					fields[j] = fields[j]<<8 | int64(c)
				}
				b = b[n:]
			}
			if widths[0] == 0 {
				fields[0] = 1
			}
			e := pdfEntry{at: fields[1]}
			switch fields[0] {
			case 1:
			case 2:
				e = pdfEntry{at: fields[2], stream: int(fields[1])}
			default:
				continue
			}
			if err := p.add(int(start)+i, e); err != nil {
				return nil, err
			}
		}
	}
	return st.dict, nil
}

// rebuild looks for objects in the whole file.
func (p *pdfFile) rebuild() error {
	if p.rebuilt {
		return errPDF
	}
	p.rebuilt = true
	p.forget()
	p.entries = map[int]pdfEntry{}
	var trailers []int64
	const step, overlap = 256 << 10, 64
	buf := make([]byte, step+overlap)
	for at := int64(0); at < p.s.size; at += step {
		n, err := p.s.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		b := buf[:n]
		for i := 0; ; {
			j := bytes.Index(b[i:], []byte("obj"))
			if j < 0 {
				break
			}
			i += j + 3
			if number, start, ok := pdfHeader(b[:i-3]); ok {
				delete(p.entries, number) // the last one counts
				if err := p.add(number, pdfEntry{at: at + int64(start)}); err != nil {
					return err
				}
			}
		}
		for i := 0; len(trailers) < 100; {
			j := bytes.Index(b[i:], []byte("trailer"))
			if j < 0 {
				break
			}
			i += j + 7
			trailers = append(trailers, at+int64(i))
		}
	}
	trailer := pdfDict{}
	for _, at := range trailers {
		if v, err := p.lexer(at).next(0); err == nil {
			if d, ok := v.(pdfDict); ok {
				for key, v := range d {
					trailer[key] = v
				}
			}
		}
	}
	numbers := make([]int, 0, len(p.entries))
	for n := range p.entries {
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		if err := p.s.check(); err != nil {
			return err
		}
		v, _, err := p.objectAt(p.entries[n].at, nil)
		if err != nil {
			continue
		}
		d, _ := v.(pdfDict)
		st, _ := v.(*pdfStream)
		if st != nil {
			d = st.dict
		}
		switch d["Type"] {
		case pdfName("Catalog"):
			if p.dict(trailer["Root"]) == nil {
				trailer["Root"] = pdfRef{n, 0}
			}
		case pdfName("XRef"):
			for _, key := range []pdfName{"Root", "Encrypt", "ID"} {
				if v, ok := d[key]; ok && trailer[key] == nil {
					trailer[key] = v
				}
			}
		case pdfName("ObjStm"):
			if st == nil || trailer["Encrypt"] != nil {
				continue // encrypted, and the key is not known yet
			}
			objects, err := p.objStream(n)
			if err != nil {
				continue
			}
			for i, inside := range objects.numbers {
				if err := p.add(inside, pdfEntry{at: int64(i), stream: n}); err != nil {
					return err
				}
			}
		}
	}
	if p.s.err != nil {
		return p.s.err
	}
	p.trailer = trailer
	if trailer["Root"] == nil {
		for n, e := range p.entries { // a catalog within a stream
			if e.stream != 0 && p.dict(pdfRef{n, 0})["Type"] == pdfName("Catalog") {
				trailer["Root"] = pdfRef{n, 0}
				return nil
			}
		}
		return errPDF
	}
	return nil
}

// pdfHeader reads the two numbers that b ends in, before "obj", and where they begin.
func pdfHeader(b []byte) (number, start int, ok bool) {
	back := func(want func(byte) bool) int {
		n := 0
		for len(b) > 0 && want(b[len(b)-1]) && n < 12 {
			b = b[:len(b)-1]
			n++
		}
		return n
	}
	back(pdfSpace)
	if back(digit) == 0 || back(pdfSpace) == 0 {
		return 0, 0, false
	}
	end := len(b)
	if n := back(digit); n == 0 || n > 9 {
		return 0, 0, false
	}
	number, err := strconv.Atoi(string(b[len(b):end]))
	return number, len(b), err == nil
}

// objectAt reads the object at an offset, with its number. want, if given, must be that number.
func (p *pdfFile) objectAt(at int64, want *int) (any, int, error) {
	if at < 0 || at >= p.s.size {
		return nil, 0, errPDF
	}
	l := p.lexer(at)
	var head [3]any
	for i := range head {
		v, err := l.next(0)
		if err != nil {
			return nil, 0, err
		}
		head[i] = v
	}
	n, ok := head[0].(float64)
	gen, ok2 := head[1].(float64)
	if !ok || !ok2 || head[2] != pdfWord("obj") || want != nil && int(n) != *want {
		return nil, 0, errPDF
	}
	ref := pdfRef{int(n), int(gen)}
	v, err := l.next(0)
	if err != nil {
		return nil, 0, err
	}
	if d, ok := v.(pdfDict); ok {
		if word, err := l.next(0); err == nil && word == pdfWord("stream") {
			if c, err := l.byte(); err == nil && c == '\r' {
				c, err = l.byte()
				if err == nil && c != '\n' {
					l.back()
				}
			} else if err == nil && c != '\n' {
				l.back()
			}
			return &pdfStream{d, at + l.at, ref}, ref.n, nil
		}
	} else if a, ok := v.(float64); ok { // a number, or a reference
		if gen, err := l.next(0); err == nil {
			if word, err := l.next(0); err == nil && word == pdfWord("R") {
				if refs := pdfRefs(pdfArray{a, gen}); len(refs) == 1 {
					v = refs[0]
				}
			}
		}
	}
	return v, ref.n, p.s.err
}

// object returns what a reference leads to, and anything else as it is. What cannot be read is nil, as the format wants.
func (p *pdfFile) object(v any) any {
	for range 20 {
		ref, ok := v.(pdfRef)
		if !ok {
			return v
		}
		v = p.load(ref.n)
	}
	return nil
}

func (p *pdfFile) load(n int) any {
	if v, ok := p.known[n]; ok {
		return v
	}
	e, ok := p.entries[n]
	if !ok || p.open[n] || p.s.check() != nil {
		return nil
	}
	p.open[n] = true
	defer delete(p.open, n)
	var v any
	var err error
	if e.stream != 0 {
		v, err = p.fromStream(n, e)
	} else {
		if v, _, err = p.objectAt(e.at, &n); err != nil && p.s.err == nil && !p.rebuilt {
			trailer := p.trailer
			if p.rebuild() == nil {
				for key, v := range trailer {
					p.trailer[key] = v
				}
				delete(p.open, n)
				return p.load(n)
			}
			p.trailer = trailer
		}
	}
	if err != nil {
		v = nil
	}
	if len(p.known) >= pdfRemember {
		clear(p.known)
	}
	p.known[n] = v
	return v
}

func (p *pdfFile) fromStream(n int, e pdfEntry) (any, error) {
	st, err := p.objStream(e.stream)
	if err != nil {
		return nil, err
	}
	i := int(e.at)
	if i < 0 || i >= len(st.numbers) || st.numbers[i] != n {
		if i = indexOf(st.numbers, n); i < 0 {
			return nil, errPDF
		}
	}
	at := st.first + st.offsets[i]
	if at < 0 || at > len(st.data) {
		return nil, errPDF
	}
	return newPDFLexer(p.s, bytes.NewReader(st.data[at:])).next(0)
}

func indexOf(numbers []int, n int) int {
	for i, m := range numbers {
		if m == n {
			return i
		}
	}
	return -1
}

// objStream reads a stream of objects.
func (p *pdfFile) objStream(n int) (*pdfPacked, error) {
	if st, ok := p.streams[n]; ok {
		if st == nil {
			return nil, errPDF
		}
		return st, nil
	}
	if len(p.streams) >= 16 {
		clear(p.streams)
	}
	p.streams[n] = nil // until it is known to be one
	e := p.entries[n]
	if e.stream != 0 {
		return nil, errPDF
	}
	v, _, err := p.objectAt(e.at, &n)
	if err != nil {
		return nil, err
	}
	st, ok := v.(*pdfStream)
	if !ok {
		return nil, errPDF
	}
	count, _ := p.object(st.dict["N"]).(float64)
	first, _ := p.object(st.dict["First"]).(float64)
	r, err := p.decode(st, true)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, pdfObjStream))
	if err != nil {
		return nil, err
	}
	out := &pdfPacked{data: data, first: int(first)}
	l := newPDFLexer(p.s, bytes.NewReader(data))
	for range int(min(max(count, 0), pdfValues/4)) {
		number, err := l.next(0)
		if err != nil {
			break
		}
		offset, err := l.next(0)
		if err != nil {
			break
		}
		n, _ := number.(float64)
		o, _ := offset.(float64)
		out.numbers = append(out.numbers, int(n))
		out.offsets = append(out.offsets, int(o))
	}
	p.streams[n] = out
	return out, p.s.err
}

func (p *pdfFile) dict(v any) pdfDict {
	switch v := p.object(v).(type) {
	case pdfDict:
		return v
	case *pdfStream:
		return v.dict
	}
	return nil
}

func (p *pdfFile) array(v any) pdfArray {
	a, _ := p.object(v).(pdfArray)
	return a
}

func (p *pdfFile) number(v any, otherwise float64) float64 {
	if n, ok := p.object(v).(float64); ok {
		return n
	}
	return otherwise
}
