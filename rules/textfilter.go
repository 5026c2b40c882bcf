package rules

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A textFilter is one of the filters of templates: {name|lower}.
type textFilter struct {
	name     string
	text     string // for the reference
	min, max int    // arguments
	number   bool   // the argument is a number
	lossy    bool   // it may leave nothing
	apply    func(s string, args []string) string
}

// textFilters are all of them. default and folders have no apply: the template itself sees to them.
var textFilters = []*textFilter{
	{name: "lower", text: "in lower case", apply: alone(strings.ToLower)},
	{name: "upper", text: "in upper case", apply: alone(strings.ToUpper)},
	{name: "title", text: "each word with a capital letter, the rest as it is", apply: alone(title)},
	{name: "slug", text: "lower-case ASCII letters and digits, joined by hyphens", lossy: true, apply: alone(slug)},
	{name: "ascii", text: "without accents, and with ? for what has no likeness in ASCII", lossy: true, apply: alone(ascii)},
	{name: "trim", text: "without blanks at both ends, or without the characters given: trim:\"-_ \"", max: 1, lossy: true,
		apply: func(s string, args []string) string {
			if len(args) == 0 {
				return strings.TrimSpace(s)
			}
			return strings.Trim(s, args[0])
		}},
	{name: "replace", text: "with every occurrence of one text replaced by another: replace:\"_\":\" \"", min: 2, max: 2,
		lossy: true, apply: func(s string, args []string) string {
			if args[0] == "" {
				return s
			}
			// A short text that is replaced by a long one must not grow without bounds.
			return limit(strings.ReplaceAll(limit(s), args[0], args[1]))
		}},
	{name: "before", text: "what comes before a text, or all if it does not occur: before:\" - \"", min: 1, max: 1,
		lossy: true, apply: func(s string, args []string) string {
			head, _, _ := strings.Cut(s, args[0])
			return head
		}},
	{name: "after", text: "what comes after a text, or all if it does not occur: after:\" - \"", min: 1, max: 1,
		lossy: true, apply: func(s string, args []string) string {
			if _, tail, ok := strings.Cut(s, args[0]); ok {
				return tail
			}
			return s
		}},
	{name: "first", text: "the first characters: first:1", min: 1, max: 1, number: true,
		apply: func(s string, args []string) string {
			n, _ := strconv.Atoi(args[0]) // the parser has seen to it
			return firstCharacters(s, n)
		}},
	{name: "last", text: "the last characters: last:4", min: 1, max: 1, number: true,
		apply: func(s string, args []string) string {
			n, _ := strconv.Atoi(args[0])
			return lastCharacters(s, n)
		}},
	{name: "default", text: "another text if there is no value: default:\"Unknown\"", min: 1, max: 1},
	{name: "folders", text: "a path as folders, where each / would be replaced otherwise; for relative_path alone"},
}

func alone(f func(string) string) func(string, []string) string {
	return func(s string, _ []string) string { return f(s) }
}

// otherFilters are names that other languages have for them.
var otherFilters = map[string]string{"strip": "trim", "lowercase": "lower", "uppercase": "upper", "capitalize": "title",
	"slugify": "slug", "truncate": "first"}

func textFilterNamed(name string) *textFilter {
	for _, f := range textFilters {
		if f.name == name {
			return f
		}
	}
	return nil
}

// maxValue bounds the length of a value in bytes: what a document says of itself can have any length.
const maxValue = 64 << 10

func limit(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return s[:boundary(s, maxValue)]
}

// boundary returns the last place at or before n where a character of s starts.
func boundary(s string, n int) int {
	if n >= len(s) {
		return len(s)
	}
	// Four bytes back there is a start, or s is not UTF-8.
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return n
}

// joined reports whether r is seen as a part of the character before it.
func joined(r, before rune) bool {
	const joiner = '\u200d'
	return unicode.Is(unicode.M, r) || r == joiner || before == joiner || 0x1f3fb <= r && r <= 0x1f3ff
}

// firstCharacters returns the first n characters, as people count them, but for rare scripts.
func firstCharacters(s string, n int) string {
	var before rune
	for i, r := range s {
		if i == 0 || !joined(r, before) {
			if n--; n < 0 {
				return s[:i]
			}
		}
		before = r
	}
	return s
}

func lastCharacters(s string, n int) string {
	total := 0
	var before rune
	for i, r := range s {
		if i == 0 || !joined(r, before) {
			total++
		}
		before = r
	}
	if total <= n {
		return s
	}
	return s[len(firstCharacters(s, total-n)):]
}

func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || r == '\'' || r == '’' || unicode.Is(unicode.M, r)
		defer func() { start = !letter }()
		if start && letter {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// likeness holds letters that do not come apart into an ASCII letter and accents.
var likeness = map[rune]string{
	'ß': "ss", 'ẞ': "SS", 'æ': "ae", 'Æ': "AE", 'œ': "oe", 'Œ': "OE", 'ø': "o", 'Ø': "O", 'ł': "l", 'Ł': "L",
	'đ': "d", 'Đ': "D",
	'ð': "d", 'Ð': "D", 'þ': "th", 'Þ': "Th", 'ı': "i", 'ħ': "h", 'Ħ': "H", 'ŧ': "t", 'Ŧ': "T", '‘': "'", '’': "'",
	'“': "\"", '”': "\"",
	'„': "\"", '–': "-", '—': "-", '‐': "-", '‑': "-", '…': "...", '€': "EUR",
}

func ascii(s string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(s) {
		switch like, ok := likeness[r]; {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case ok:
			b.WriteString(like)
		case unicode.Is(unicode.M, r) || unicode.Is(unicode.Cf, r):
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

func slug(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(ascii(s)) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
		case r != '\'':
			gap = true
		}
	}
	return b.String()
}
