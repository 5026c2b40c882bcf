package metadata

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
)

// Groups of RTF that are not what the document says.
var rtfHidden = map[string]bool{
	"fonttbl": true, "colortbl": true, "stylesheet": true, "info": true, "pict": true, "object": true, "themedata": true, "listtable": true,
	"listoverridetable": true, "rsidtbl": true, "generator": true, "datastore": true, "latentstyles": true, "xmlnstbl": true,
	"colorschememapping": true, "fldinst": true, "filetbl": true, "revtbl": true, "bkmkstart": true, "bkmkend": true, "nonshppict": true,
}

const rtfDepth = 1000

// readRTF reads the words between the controls (Rich Text Format 1.9.1).
func readRTF(s *source, t *textBuilder) error {
	r := &rtfReader{s: s, in: bufio.NewReader(s.reader()), t: t, at: rtfGroup{skip: 1}, charset: charmap.Windows1252}
	for n := 0; ; n++ {
		if n%4096 == 0 {
			if err := s.check(); err != nil {
				return err
			}
			if err := r.emit(); err != nil {
				return err
			}
		}
		c, err := r.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return r.emit()
		}
		if err != nil {
			return err
		}
		if err := r.next(c); err == errRTFEnd {
			return r.emit()
		} else if err != nil {
			return err
		}
	}
}

// errRTFEnd says that there is no more text to read.
var errRTFEnd = errors.New("end of the text")

// rtfGroup is what holds between a brace and its counterpart.
type rtfGroup struct {
	hidden bool
	skip   int // characters that stand for a Unicode one, for programs that know none
}

type rtfReader struct {
	s       *source
	in      *bufio.Reader
	t       *textBuilder
	charset encoding.Encoding
	at      rtfGroup
	stack   []rtfGroup // around it
	raw     []byte     // in charset, not yet written
	skipped int        // characters yet to skip
	high    rune       // the first half of a character beyond 16 bits
	star    bool       // the next word may be of a kind that is to be ignored
}

// emit writes the characters that were read.
func (r *rtfReader) emit() error {
	if len(r.raw) == 0 {
		return nil
	}
	b, err := r.charset.NewDecoder().Bytes(r.raw)
	r.raw = r.raw[:0]
	if err != nil {
		return nil
	}
	return r.t.write(string(b))
}

func (r *rtfReader) char(c byte) {
	switch {
	case r.skipped > 0:
		r.skipped--
	case !r.at.hidden:
		r.raw = append(r.raw, c)
	}
}

func (r *rtfReader) newline() error {
	if err := r.emit(); err != nil {
		return err
	}
	r.t.newline()
	return nil
}

// next reads what begins with c: a brace, a character, or a control.
func (r *rtfReader) next(c byte) error {
	switch c {
	case '{':
		if len(r.stack) >= rtfDepth {
			return r.s.fail("too many groups within groups")
		}
		r.stack = append(r.stack, r.at)
		r.skipped = 0
	case '}':
		if len(r.stack) == 0 {
			return errRTFEnd
		}
		r.at, r.stack = r.stack[len(r.stack)-1], r.stack[:len(r.stack)-1]
		r.skipped, r.star = 0, false
	case '\r', '\n':
	case '\\':
		c, err := r.in.ReadByte()
		if err != nil {
			return errRTFEnd
		}
		if letterByte(c) {
			return r.control(r.word(c))
		}
		return r.symbol(c)
	default:
		r.char(c)
	}
	return nil
}

// symbol does what a backslash means before a byte that is no letter.
func (r *rtfReader) symbol(c byte) error {
	switch c {
	case '\'':
		var hex [2]byte
		if _, err := io.ReadFull(r.in, hex[:]); err != nil {
			return errRTFEnd
		}
		if v, err := strconv.ParseUint(string(hex[:]), 16, 8); err == nil {
			r.char(byte(v))
		}
	case '*':
		r.star = true
	case '\\', '{', '}':
		r.char(c)
	case '~', '\t':
		r.char(' ')
	case '_':
		r.char('-')
	case '\r', '\n':
		return r.newline()
	}
	return nil
}

// word reads a control word that begins with c, and the digits of its number with their sign.
func (r *rtfReader) word(c byte) (word, number string, negative bool) {
	letters := []byte{c}
	for {
		c, err := r.in.ReadByte()
		switch {
		case err != nil:
		case letterByte(c) && number == "" && !negative && len(letters) < 32:
			letters = append(letters, c)
			continue
		case c == '-' && number == "" && !negative:
			negative = true
			continue
		case digit(c) && len(number) < 10:
			number += string(c)
			continue
		case c != ' ':
			r.in.UnreadByte()
		}
		return string(letters), number, negative
	}
}

// control does what a control word says.
func (r *rtfReader) control(word, number string, negative bool) error {
	value, _ := strconv.Atoi(number)
	if negative {
		value = -value
	}
	if rtfHidden[word] || r.star && word != "shppict" {
		r.at.hidden = true
	}
	r.star = false
	switch word {
	case "bin": // bytes that are no text
		if _, err := r.in.Discard(max(0, value)); err != nil {
			return errRTFEnd
		}
	case "u":
		return r.unicode(rune(uint16(value)))
	case "uc":
		r.at.skip = min(max(0, value), 16)
	case "ansicpg":
		if e, err := htmlindex.Get("windows-" + number); err == nil {
			r.charset = e
		} else if e, err := htmlindex.Get(map[string]string{"932": "shift_jis", "936": "gbk", "949": "euc-kr", "950": "big5"}[number]); err == nil {
			r.charset = e
		}
	case "mac":
		r.charset = charmap.Macintosh
	case "par", "line", "row", "sect", "page":
		return r.newline()
	case "tab", "cell", "emspace", "enspace", "qmspace":
		r.char(' ')
	case "emdash", "endash":
		r.char('-')
	case "lquote", "rquote":
		r.char('\'')
	case "ldblquote", "rdblquote":
		r.char('"')
	}
	return nil
}

// unicode writes a 16-bit unit, of a pair when the second comes. What stands for it in other programs is skipped.
func (r *rtfReader) unicode(u rune) error {
	if err := r.emit(); err != nil {
		return err
	}
	r.skipped = r.at.skip
	if r.at.hidden {
		return nil
	}
	if utf16.IsSurrogate(u) && r.high == 0 {
		r.high = u
		return nil
	}
	if r.high != 0 {
		u = utf16.DecodeRune(r.high, u)
	}
	r.high = 0
	return r.t.write(string(u))
}

func letterByte(c byte) bool { return strings.IndexByte("abcdefghijklmnopqrstuvwxyz", c|0x20) >= 0 }
