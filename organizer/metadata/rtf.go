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
	type group struct {
		hidden bool
		skip   int // characters that stand for a Unicode one, for programs that know none
	}
	in := bufio.NewReader(s.reader())
	at := group{skip: 1}
	var stack []group
	var charset encoding.Encoding = charmap.Windows1252
	skipped := 0
	high := rune(0) // the first half of a character beyond 16 bits
	star := false   // the next word may be of a kind that is to be ignored
	var raw []byte
	emit := func() error {
		if len(raw) == 0 {
			return nil
		}
		b, err := charset.NewDecoder().Bytes(raw)
		raw = raw[:0]
		if err != nil {
			return nil
		}
		return t.write(string(b))
	}
	char := func(c byte) {
		switch {
		case skipped > 0:
			skipped--
		case !at.hidden:
			raw = append(raw, c)
		}
	}
	for n := 0; ; n++ {
		if n%4096 == 0 {
			if err := s.check(); err != nil {
				return err
			}
			if err := emit(); err != nil {
				return err
			}
		}
		c, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return emit()
		}
		if err != nil {
			return err
		}
		switch c {
		case '{':
			if len(stack) >= rtfDepth {
				return s.fail("too many groups within groups")
			}
			stack = append(stack, at)
			skipped = 0
			continue
		case '}':
			if len(stack) == 0 {
				return emit()
			}
			at, stack = stack[len(stack)-1], stack[:len(stack)-1]
			skipped = 0
			star = false
			continue
		case '\r', '\n':
			continue
		case '\\':
		default:
			char(c)
			continue
		}
		if c, err = in.ReadByte(); err != nil {
			return emit()
		}
		if !letterByte(c) {
			switch c {
			case '\'':
				var hex [2]byte
				if _, err := io.ReadFull(in, hex[:]); err != nil {
					return emit()
				}
				if v, err := strconv.ParseUint(string(hex[:]), 16, 8); err == nil {
					char(byte(v))
				}
			case '*':
				star = true
			case '\\', '{', '}':
				char(c)
			case '~', '\t':
				char(' ')
			case '_':
				char('-')
			case '\r', '\n':
				if err := emit(); err != nil {
					return err
				}
				t.newline()
			}
			continue
		}
		word := []byte{c}
		number, negative := "", false
		for {
			c, err = in.ReadByte()
			if err != nil {
				break
			}
			if letterByte(c) && number == "" && !negative && len(word) < 32 {
				word = append(word, c)
				continue
			}
			if c == '-' && number == "" && !negative {
				negative = true
				continue
			}
			if digit(c) && len(number) < 10 {
				number += string(c)
				continue
			}
			if c != ' ' {
				in.UnreadByte()
			}
			break
		}
		value, _ := strconv.Atoi(number)
		if negative {
			value = -value
		}
		control := string(word)
		if rtfHidden[control] || star && control != "shppict" {
			at.hidden = true
		}
		star = false
		switch control {
		case "bin": // bytes that are no text
			if _, err := in.Discard(max(0, value)); err != nil {
				return emit()
			}
		case "u":
			if err := emit(); err != nil {
				return err
			}
			if u := rune(uint16(value)); !at.hidden {
				if utf16.IsSurrogate(u) && high == 0 {
					high = u
				} else {
					if high != 0 {
						u = utf16.DecodeRune(high, u)
					}
					high = 0
					if err := t.write(string(u)); err != nil {
						return err
					}
				}
			}
			skipped = at.skip
		case "uc":
			at.skip = min(max(0, value), 16)
		case "ansicpg":
			if e, err := htmlindex.Get("windows-" + number); err == nil {
				charset = e
			} else if e, err := htmlindex.Get(map[string]string{"932": "shift_jis", "936": "gbk", "949": "euc-kr", "950": "big5"}[number]); err == nil {
				charset = e
			}
		case "mac":
			charset = charmap.Macintosh
		case "par", "line", "row", "sect", "page":
			if err := emit(); err != nil {
				return err
			}
			t.newline()
		case "tab", "cell", "emspace", "enspace", "qmspace":
			char(' ')
		case "emdash", "endash":
			char('-')
		case "lquote", "rquote":
			char('\'')
		case "ldblquote", "rdblquote":
			char('"')
		}
	}
}

func letterByte(c byte) bool { return strings.IndexByte("abcdefghijklmnopqrstuvwxyz", c|0x20) >= 0 }
