package cmd

// What fclones 0.35 writes and reads (https://github.com/pkolaczk/fclones): a text whose groups follow a head of lines
// with #, and a JSON object. Its "remove", "link", "dedupe" and "move" take the first file of a group for the one that
// stays, refuse groups with a file that changed after the time in the head, and parse the command in the head as one of
// their own for what it says of isolation.

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// fclonesVersion is the version whose formats these are.
const fclonesVersion = "0.35.0"

// fclonesHead is what stands above the groups.
type fclonesHead struct {
	At      time.Time // files that changed later are not touched by fclones
	Command []string  // has to be one that fclones understands
	Base    string    // working directory
	Groups  int
	Files   int64 // that are listed
	Bytes   int64 // that they take
	Extra   int64 // files of those that are superfluous
	Wasted  int64 // bytes of those that are superfluous
}

// fclonesGroup is equal files, the one that stays first.
type fclonesGroup struct {
	Size  int64
	Hash  [32]byte
	Paths []string // valid until the next group
}

// writeFclonesText writes the format that fclones calls default.
func writeFclonesText(w *bufio.Writer, head fclonesHead, groups iter.Seq[fclonesGroup]) {
	fmt.Fprintf(w, "# Report by fclones %s\n", fclonesVersion)
	fmt.Fprintf(w, "# Timestamp: %s\n", head.At.Format("2006-01-02 15:04:05.000 -0700"))
	fmt.Fprintf(w, "# Command: %s\n", fclonesCommand(head.Command))
	fmt.Fprintf(w, "# Base dir: %s\n", stfu8(head.Base))
	fmt.Fprintf(w, "# Total: %d B (%s) in %d files in %d groups\n", head.Bytes, fclonesBytes(head.Bytes), head.Files, head.Groups)
	fmt.Fprintf(w, "# Redundant: %d B (%s) in %d files\n", head.Wasted, fclonesBytes(head.Wasted), head.Extra)
	fmt.Fprintf(w, "# Missing: 0 B (0 B) in 0 files\n")
	for g := range groups {
		fmt.Fprintf(w, "%x, %d B (%s) * %d:\n", g.Hash, g.Size, fclonesBytes(g.Size), len(g.Paths))
		for _, path := range g.Paths {
			w.WriteString("    ")
			w.WriteString(stfu8Line(path))
			w.WriteByte('\n')
		}
	}
}

// writeFclonesJSON writes the format that fclones calls json.
func writeFclonesJSON(w *bufio.Writer, head fclonesHead, groups iter.Seq[fclonesGroup]) {
	fmt.Fprintf(w, "{\n  \"header\": {\n    \"version\": %s,\n", fclonesString(fclonesVersion))
	fmt.Fprintf(w, "    \"timestamp\": %s,\n    \"command\": [", fclonesString(head.At.Format("2006-01-02T15:04:05.000000000Z07:00")))
	for i, arg := range head.Command {
		if i > 0 {
			w.WriteByte(',')
		}
		fmt.Fprintf(w, "\n      %s", fclonesString(stfu8(arg)))
	}
	fmt.Fprintf(w, "\n    ],\n    \"base_dir\": %s,\n    \"stats\": {\n", fclonesString(stfu8(head.Base)))
	fmt.Fprintf(w, "      \"group_count\": %d,\n      \"total_file_count\": %d,\n      \"total_file_size\": %d,\n", head.Groups, head.Files, head.Bytes)
	fmt.Fprintf(w, "      \"redundant_file_count\": %d,\n      \"redundant_file_size\": %d,\n", head.Extra, head.Wasted)
	fmt.Fprintf(w, "      \"missing_file_count\": 0,\n      \"missing_file_size\": 0\n    }\n  },\n  \"groups\": [")
	first := true
	for g := range groups {
		if !first {
			w.WriteByte(',')
		}
		first = false
		fmt.Fprintf(w, "\n    {\n      \"file_len\": %d,\n      \"file_hash\": \"%x\",\n      \"files\": [", g.Size, g.Hash)
		for i, path := range g.Paths {
			if i > 0 {
				w.WriteByte(',')
			}
			w.WriteString("\n        ")
			w.WriteString(fclonesString(stfu8(path)))
		}
		w.WriteString("\n      ]\n    }")
	}
	if !first {
		w.WriteString("\n  ")
	}
	w.WriteString("]\n}")
}

// fclonesString is a JSON string of text in STFU-8, which has no control characters left.
func fclonesString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// fclonesBytes is a size for people, as the crate bytesize 1 rounds it.
func fclonesBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	// The logarithm's base is a little more than that of 1000, so a size just above a power of 1000 is told in the smaller unit.
	exp := max(int(math.Log(float64(n))/6.931471806), 1)
	return fmt.Sprintf("%.1f %cB", float64(n)/math.Pow10(3*exp), "KMGTPE"[exp-1])
}

// fclonesCommand is a command as one line, which fclones takes apart again as a shell would.
func fclonesCommand(args []string) string {
	odd := func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError || r == '\'' }
	// fclones counts characters where it means bytes as soon as a word is in $'': then nothing may be beyond ASCII.
	dollar := false
	for _, arg := range args {
		dollar = dollar || strings.IndexFunc(arg, odd) >= 0
	}
	words := make([]string, len(args))
	for i, arg := range args {
		foreign := strings.IndexFunc(arg, func(r rune) bool { return r > unicode.MaxASCII }) >= 0
		switch {
		case strings.IndexFunc(arg, odd) >= 0 || dollar && foreign:
			var b strings.Builder
			for i, s := 0, stfu8(arg); i < len(s); i++ {
				switch {
				case s[i] == '\'':
					b.WriteString(`\'`)
				case s[i] > unicode.MaxASCII:
					fmt.Fprintf(&b, `\x%02X`, s[i])
				default:
					b.WriteByte(s[i])
				}
			}
			words[i] = "$'" + b.String() + "'"
		case strings.ContainsAny(arg, "|&;<>(){}$`\\\" \t*?+[]#˜=%"):
			words[i] = "'" + arg + "'"
		default:
			words[i] = arg
		}
	}
	return strings.Join(words, " ")
}

// stfu8 writes bytes as text that can be turned back exactly (https://crates.io/crates/stfu8): valid UTF-8 as it is,
// besides control characters of ASCII and the backslash; all else as \t, \n, \r, \\ or \xNN.
func stfu8(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f && s[i] != '\\'
	}
	if plain {
		return s
	}
	b := make([]byte, 0, len(s)+len(s)/8+8)
	for i := 0; i < len(s); {
		if _, n := utf8.DecodeRuneInString(s[i:]); n > 1 {
			b = append(b, s[i:i+n]...)
			i += n
			continue
		}
		// The byte that breaks a character off is escaped with it, even if another would begin there.
		for end := i + stfu8Broken(s[i:]); i < end; i++ {
			b = stfu8Byte(b, s[i])
		}
	}
	return string(b)
}

// stfu8Broken is how many bytes of s, which does not begin with a character of more than one byte, are escaped together.
func stfu8Broken(s string) int {
	width := 1
	switch c := s[0]; {
	case c >= 0xc2 && c <= 0xdf:
		width = 2
	case c >= 0xe0 && c <= 0xef:
		width = 3
	case c >= 0xf0 && c <= 0xf4:
		width = 4
	}
	n := 1
	for n < width && n < len(s) {
		low, high := byte(0x80), byte(0xbf)
		if n == 1 {
			switch s[0] { // the bytes that would make it longer than needed, a surrogate, or beyond Unicode
			case 0xe0:
				low = 0xa0
			case 0xed:
				high = 0x9f
			case 0xf0:
				low = 0x90
			case 0xf4:
				high = 0x8f
			}
		}
		n++
		if c := s[n-1]; c < low || c > high {
			break
		}
	}
	return n
}

func stfu8Byte(b []byte, c byte) []byte {
	switch {
	case c == '\\':
		return append(b, `\\`...)
	case c == '\t':
		return append(b, `\t`...)
	case c == '\n':
		return append(b, `\n`...)
	case c == '\r':
		return append(b, `\r`...)
	case c >= ' ' && c < 0x7f:
		return append(b, c)
	}
	return fmt.Appendf(b, `\x%02X`, c)
}

// stfu8Line is stfu8 for a line of the text format, from whose end fclones cuts white space when it reads it: what a name
// has there is escaped.
func stfu8Line(s string) string {
	s = stfu8(s)
	bare := strings.TrimRightFunc(s, unicode.IsSpace)
	if len(bare) == len(s) {
		return s
	}
	b := []byte(bare)
	for i := len(bare); i < len(s); i++ {
		b = fmt.Appendf(b, `\x%02X`, s[i])
	}
	return string(b)
}

// unSTFU8 turns stfu8 back.
func unSTFU8(s string) (string, error) {
	at := strings.IndexByte(s, '\\')
	if at < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for ; at >= 0; at = strings.IndexByte(s, '\\') {
		b = append(b, s[:at]...)
		s = s[at+1:]
		if s == "" {
			return "", errors.New(`a backslash at its end`)
		}
		kind := s[0]
		s = s[1:]
		switch kind {
		case '\\':
			b = append(b, '\\')
		case 't':
			b = append(b, '\t')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 'x':
			if len(s) < 2 {
				return "", errors.New(`\x needs two digits`)
			}
			c, err := hex.DecodeString(s[:2])
			if err != nil {
				return "", fmt.Errorf(`\x%s is no byte`, s[:2])
			}
			b, s = append(b, c...), s[2:]
		case 'u':
			if len(s) < 6 {
				return "", errors.New(`\u needs six digits`)
			}
			r, err := strconv.ParseUint(s[:6], 16, 32)
			if err != nil || r > unicode.MaxRune || !utf8.ValidRune(rune(r)) {
				return "", fmt.Errorf(`\u%s is no character`, s[:6])
			}
			b, s = utf8.AppendRune(b, rune(r)), s[6:]
		default:
			return "", fmt.Errorf(`\%c means nothing`, kind)
		}
	}
	return string(append(b, s...)), nil
}
