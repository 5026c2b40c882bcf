package metadata

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
)

// pdfLexer reads objects from a stream of bytes.
type pdfLexer struct {
	r      *bufio.Reader
	s      *source
	at     int64 // bytes taken so far
	values int   // still allowed
	ops    int
}

func newPDFLexer(s *source, r io.Reader) *pdfLexer {
	return &pdfLexer{r: bufio.NewReaderSize(r, 1024), s: s, values: pdfValues}
}

func (l *pdfLexer) byte() (byte, error) {
	c, err := l.r.ReadByte()
	if err == nil {
		l.at++
	}
	return c, err
}

func (l *pdfLexer) back() {
	l.r.UnreadByte()
	l.at--
}

func pdfSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == 0 || c == '\f'
}
func pdfDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

// skip passes blanks and comments and returns the next byte.
func (l *pdfLexer) skip() (byte, error) {
	for {
		c, err := l.byte()
		if err != nil {
			return 0, err
		}
		switch {
		case pdfSpace(c):
		case c == '%':
			for c != '\n' && c != '\r' {
				if c, err = l.byte(); err != nil {
					return 0, err
				}
			}
		default:
			return c, nil
		}
	}
}

// next reads an object, or an operator as a pdfWord. References are not put together: they need a look ahead.
func (l *pdfLexer) next(depth int) (any, error) {
	if l.values--; l.values < 0 || depth > pdfNesting {
		return nil, l.s.fail("too large a PDF object")
	}
	if l.ops++; l.ops%1024 == 0 {
		if err := l.s.check(); err != nil {
			return nil, err
		}
	}
	c, err := l.skip()
	if err != nil {
		return nil, err
	}
	switch c {
	case '/':
		return l.name()
	case '(':
		return l.literal()
	case '[':
		a := pdfArray{}
		for {
			v, err := l.next(depth + 1)
			if err != nil {
				return nil, err
			}
			switch v {
			case pdfWord("]"):
				return a, nil
			case pdfWord("R"):
				a = pdfRefs(a)
				continue
			case pdfWord(">>"), pdfWord("endobj"):
				return nil, errPDF
			}
			a = append(a, v)
		}
	case '<':
		if c, err = l.byte(); err != nil {
			return nil, err
		}
		if c != '<' {
			l.back()
			return l.hex()
		}
		var all pdfArray
		for {
			v, err := l.next(depth + 1)
			if err != nil {
				return nil, err
			}
			if v == pdfWord(">>") {
				break
			}
			if v == pdfWord("R") {
				all = pdfRefs(all)
				continue
			}
			if v == pdfWord("endobj") || v == pdfWord("stream") {
				return nil, errPDF
			}
			all = append(all, v)
		}
		d := pdfDict{}
		for len(all) >= 2 {
			if key, ok := all[0].(pdfName); ok {
				d[key] = all[1]
				all = all[2:]
			} else {
				all = all[1:]
			}
		}
		return d, nil
	case '>':
		if c, err = l.byte(); err == nil && c == '>' {
			return pdfWord(">>"), nil
		}
		if err == nil {
			l.back()
		}
		return pdfWord(">"), nil
	case ']', '{', '}', ')':
		return pdfWord(c), nil
	}
	word := []byte{c}
	for len(word) < 256 {
		if c, err = l.byte(); err != nil {
			break
		}
		if pdfSpace(c) || pdfDelimiter(c) {
			l.back()
			break
		}
		word = append(word, c)
	}
	if c := word[0]; digit(c) || c == '+' || c == '-' || c == '.' {
		if v, err := strconv.ParseFloat(string(word), 64); err == nil && v-v == 0 {
			return v, nil
		}
		return 0.0, nil // as other readers do with --5 and the like
	}
	switch string(word) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	return pdfWord(word), nil
}

// pdfRefs makes a reference of the last two numbers.
func pdfRefs(a pdfArray) pdfArray {
	if len(a) < 2 {
		return a
	}
	n, ok1 := a[len(a)-2].(float64)
	gen, ok2 := a[len(a)-1].(float64)
	if !ok1 || !ok2 {
		return a
	}
	return append(a[:len(a)-2], pdfRef{int(n), int(gen)})
}

func (l *pdfLexer) name() (any, error) {
	var name []byte
	for len(name) < 1024 {
		c, err := l.byte()
		if err != nil {
			break
		}
		if pdfSpace(c) || pdfDelimiter(c) {
			l.back()
			break
		}
		if c == '#' {
			if hex, err := l.r.Peek(2); err == nil {
				if v, err := strconv.ParseUint(string(hex), 16, 8); err == nil {
					c = byte(v)
					l.r.Discard(2)
					l.at += 2
				}
			}
		}
		name = append(name, c)
	}
	return pdfName(name), nil
}

func (l *pdfLexer) literal() (any, error) {
	var b []byte
	for depth := 1; ; {
		c, err := l.byte()
		if err != nil {
			return nil, err
		}
		if len(b) > pdfString {
			return nil, l.s.fail("too long a string")
		}
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return string(b), nil
			}
		case '\\':
			if c, err = l.byte(); err != nil {
				return nil, err
			}
			switch c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case '\r':
				if next, err := l.byte(); err == nil && next != '\n' {
					l.back()
				}
				continue
			case '\n':
				continue
			case '0', '1', '2', '3', '4', '5', '6', '7':
				v := int(c - '0')
				for range 2 {
					next, err := l.byte()
					if err != nil {
						break
					}
					if next < '0' || next > '7' {
						l.back()
						break
					}
					v = v*8 + int(next-'0')
				}
				c = byte(v)
			}
		}
		b = append(b, c)
	}
}

func (l *pdfLexer) hex() (any, error) {
	var b []byte
	high, half := byte(0), false
	for {
		c, err := l.byte()
		if err != nil {
			return nil, err
		}
		if c == '>' {
			break
		}
		v := unhex(c)
		if v < 0 {
			continue
		}
		if half = !half; half {
			high = byte(v) << 4
		} else {
			b = append(b, high|byte(v))
		}
		if len(b) > pdfString {
			return nil, l.s.fail("too long a string")
		}
	}
	if half {
		b = append(b, high)
	}
	return string(b), nil
}

func unhex(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
