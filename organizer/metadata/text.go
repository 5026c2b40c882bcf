package metadata

import (
	"bufio"
	"bytes"
	"errors"
	"html"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// textBuilder collects the text of a document. Runs of blanks are one, and so are line breaks.
type textBuilder struct {
	s     *source
	b     strings.Builder
	space bool // owed before the next word
	line  bool // owed before the next word
}

// write adds text. It fails when there is too much.
func (t *textBuilder) write(text string) error {
	for len(text) > 0 {
		n := strings.IndexAny(text, " \t\n\r\f\v\u00a0\x00")
		word := text
		if n >= 0 {
			word = text[:n]
		}
		if word != "" {
			if t.b.Len() > 0 {
				if t.line {
					t.b.WriteByte('\n')
				} else if t.space {
					t.b.WriteByte(' ')
				}
			}
			t.space, t.line = false, false
			if t.b.Len()+len(word) > t.s.text {
				return t.s.fail("too much text")
			}
			t.b.WriteString(word)
		}
		if n < 0 {
			break
		}
		t.space = true
		_, size := utf8.DecodeRuneInString(text[n:])
		text = text[n+size:]
	}
	return nil
}

func (t *textBuilder) blank()   { t.space = true }
func (t *textBuilder) newline() { t.line = true }
func (t *textBuilder) String() string {
	s := t.b.String()
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return s
}

func readText(s *source, name string) (facts, error) {
	b, err := s.head(2048)
	if err != nil {
		return nil, err
	}
	t := &textBuilder{s: s}
	switch {
	case has(b, 0, "%PDF-"), bytes.Contains(b[:min(len(b), 1024)], []byte("%PDF-")) && extension(name) == "pdf":
		err = readPDF(s, t)
	case has(b, 0, "PK\x03\x04"):
		var known bool
		if known, err = readOffice(s, t); !known && err == nil {
			return nil, nil
		}
	case has(b, 0, `{\rtf`):
		err = readRTF(s, t)
	case has(b, 0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"): // Office before 2007, and what is encrypted since
		return nil, ErrUnsupported
	case isMail(b, extension(name)):
		err = readMail(s, t)
	default:
		return readPlain(s, t, b, name)
	}
	if err != nil {
		return nil, err
	}
	return facts{"text": t.String()}, nil
}

// readPlain reads text as it is, and HTML. Whatever is no text has none.
func readPlain(s *source, t *textBuilder, head []byte, name string) (facts, error) {
	if !looksLikeText(head) {
		return nil, nil
	}
	if isHTML(head, extension(name)) {
		if err := readHTML(s.reader(), t, ""); err != nil {
			return nil, err
		}
		return facts{"text": t.String()}, nil
	}
	if s.size > 2*int64(s.text)+2 {
		return nil, s.fail("too much text")
	}
	all := make([]byte, s.size)
	if err := s.readAt(all, 0); err != nil {
		return nil, err
	}
	if !looksLikeText(all) {
		return nil, nil
	}
	text := decodeText(all, "")
	if len(text) > s.text {
		return nil, s.fail("too much text")
	}
	return facts{"text": text}, nil
}

// looksLikeText wants no control characters other than those that set text.
func looksLikeText(b []byte) bool {
	if has(b, 0, "\xff\xfe") || has(b, 0, "\xfe\xff") {
		return true
	}
	for _, c := range b {
		if c < ' ' && !strings.ContainsRune("\t\n\r\f\v\b\x1b\x1a", rune(c)) {
			return false
		}
	}
	return true
}

// decodeText reads text in a character set that may be named; else by its mark, as UTF-8 if it is that, or as what
// Windows writes in the West.
func decodeText(b []byte, charset string) string {
	var e encoding.Encoding
	switch {
	case has(b, 0, "\xef\xbb\xbf"):
		b = b[3:]
	case has(b, 0, "\xff\xfe"):
		e = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case has(b, 0, "\xfe\xff"):
		e = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	default:
		if e, _ = htmlindex.Get(strings.TrimSpace(charset)); e == nil && !utf8.Valid(b) {
			e = charmap.Windows1252
		}
	}
	if e != nil {
		if decoded, err := e.NewDecoder().Bytes(b); err == nil {
			b = decoded
		}
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// decodeReader is decodeText for what need not fit into memory.
func decodeReader(r io.Reader, charset string) io.Reader {
	if e, err := htmlindex.Get(strings.TrimSpace(charset)); err == nil {
		if name, _ := htmlindex.Name(e); name != "utf-8" {
			return e.NewDecoder().Reader(r)
		}
	}
	return r
}

func isHTML(head []byte, ext string) bool {
	start := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	if ext == "html" || ext == "htm" || ext == "xhtml" || ext == "xht" {
		return true
	}
	return has(start, 0, "<!doctype html") || has(start, 0, "<html")
}

// Elements within a line of text.
var htmlInline = map[string]bool{
	"a": true, "abbr": true, "b": true, "bdi": true, "bdo": true, "cite": true, "code": true, "del": true, "em": true, "font": true, "i": true,
	"ins": true, "kbd": true, "mark": true, "q": true, "s": true, "small": true, "span": true, "strong": true, "sub": true, "sup": true,
	"tt": true, "u": true, "var": true, "wbr": true,
}

// htmlPart is how much of a text is looked at in one piece.
const htmlPart = 32 << 10

// readHTML writes the text of a page to t. charset is what the page comes with, "" if it must tell itself. Text wants no
// tree and no repair of one, so that a page is read piece by piece, however long it is.
func readHTML(r io.Reader, t *textBuilder, charset string) error {
	in := bufio.NewReaderSize(r, 4096)
	head, err := in.Peek(2048)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if charset == "" {
		charset = htmlCharset(head)
	}
	h := &htmlReader{in: bufio.NewReader(decodeReader(in, charset)), t: t}
	for {
		err := h.next()
		if err == nil {
			err = t.s.check()
		}
		if errors.Is(err, io.EOF) {
			return h.flush()
		}
		if err != nil {
			return err
		}
	}
}

type htmlReader struct {
	in   *bufio.Reader
	t    *textBuilder
	text []byte
	skip string // the element whose content is no text
}

// flush writes the text that was collected.
func (h *htmlReader) flush() error {
	text := string(h.text)
	h.text = h.text[:0]
	if h.skip != "" {
		return nil
	}
	return h.t.write(html.UnescapeString(text))
}

// next takes a piece of text, or what stands between < and >.
func (h *htmlReader) next() error {
	c, err := h.in.ReadByte()
	if err != nil {
		return err
	}
	if c != '<' {
		h.text = append(h.text, c)
		if len(h.text) >= htmlPart && (c == ' ' || c == '\n' || len(h.text) >= 2*htmlPart) { // not within an entity, if it can be helped
			return h.flush()
		}
		return nil
	}
	peek, _ := h.in.Peek(3)
	switch {
	case has(peek, 0, "!--"):
		h.in.Discard(3)
		return h.until("-->")
	case has(peek, 0, "!"), has(peek, 0, "?"):
		return h.until(">")
	case len(peek) > 0 && letterByte(peek[0]):
		return h.tag(false)
	case len(peek) > 1 && peek[0] == '/' && letterByte(peek[1]):
		h.in.Discard(1)
		return h.tag(true)
	}
	h.text = append(h.text, c)
	return nil
}

// until passes what comes up to the end of a word, which is in lower case.
func (h *htmlReader) until(word string) error {
	last := make([]byte, len(word))
	for n := 0; ; n++ {
		c, err := h.in.ReadByte()
		if err != nil {
			return err
		}
		if n%htmlPart == 0 && h.t.s.check() != nil {
			return h.t.s.err
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		copy(last, last[1:])
		if last[len(last)-1] = c; string(last) == word {
			return nil
		}
	}
}

func (h *htmlReader) tag(end bool) error {
	var name []byte
	closed := false // <br/>
	quote := byte(0)
	for n, inName := 0, true; ; n++ {
		c, err := h.in.ReadByte()
		if err != nil {
			return err
		}
		if n%htmlPart == htmlPart-1 && h.t.s.check() != nil {
			return h.t.s.err
		}
		if quote != 0 {
			if c == quote {
				quote = 0
			}
			continue
		}
		if c == '>' {
			break
		}
		if inName = inName && c != '/' && c > ' '; inName {
			if len(name) < 32 {
				name = append(name, c)
			}
			continue
		}
		if closed = c == '/'; c == '"' || c == '\'' {
			quote = c
		}
	}
	element := strings.ToLower(string(name))
	if !htmlInline[element] || h.skip != "" {
		if err := h.flush(); err != nil {
			return err
		}
	}
	switch {
	case h.skip != "":
		if end && element == h.skip {
			h.skip = ""
		}
	case end, closed:
	case element == "script" || element == "style":
		if err := h.until("</" + element); err != nil {
			return err
		}
		return h.until(">")
	case element == "template" || element == "svg" || element == "math":
		h.skip = element
	}
	switch element {
	case "td", "th", "img", "input", "button", "label", "option":
		h.t.blank()
	default:
		if !htmlInline[element] {
			h.t.newline()
		}
	}
	return nil
}

// htmlCharset finds what a page says of its character set: in a mark, in XML's first line or in meta.
func htmlCharset(head []byte) string {
	switch {
	case has(head, 0, "\xef\xbb\xbf"):
		return "utf-8"
	case has(head, 0, "\xff\xfe"):
		return "utf-16le"
	case has(head, 0, "\xfe\xff"):
		return "utf-16be"
	}
	lower := bytes.ToLower(head)
	for _, key := range []string{"charset=", "encoding="} {
		i := bytes.Index(lower, []byte(key))
		if i < 0 {
			continue
		}
		name := bytes.TrimLeft(lower[i+len(key):], `"' `)
		if end := bytes.IndexAny(name, "\"' ;>/?"); end > 0 {
			return string(name[:end])
		}
	}
	if cut := head[:max(0, len(head)-utf8.UTFMax)]; !utf8.Valid(head) && !utf8.Valid(cut) && !validButCut(head) {
		return "windows-1252"
	}
	return ""
}

// validButCut reports whether b is UTF-8 whose last character may be cut.
func validButCut(b []byte) bool {
	for n := 0; n < utf8.UTFMax && n < len(b); n++ {
		if utf8.Valid(b[:len(b)-n]) {
			return true
		}
	}
	return false
}
