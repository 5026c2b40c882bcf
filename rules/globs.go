package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A globStyle says what * means.
type globStyle uint8

const (
	wordGlob    globStyle = iota // * is any run of characters
	captureGlob                  // the same, and {word} is a run of at least one, to be used as {name.word}
	pathGlob                     // * stays within a name, ** is any run of folders
)

// A pattern is a compiled glob. Text to match must be in Unicode's form NFC, and in lower case if the pattern is folded:
// lookers for names do that once for all patterns.
type pattern struct {
	choices [][]globToken
	re      *regexp.Regexp // for paths, and for captures of captureGlob
	groups  []string
}

type globToken struct {
	kind    byte // 0 for text, or one of * ? [ {
	text    string
	negated bool // [!...]
	ranges  []rune
	group   string // {group}
}

const (
	maxChoices = 64   // texts that the braces of a pattern stand for
	maxPattern = 1000 // bytes
)

// compileGlob reads a glob: * and ?, [a-z], [!a-z], {this,that}, and \ before what is meant as it is. The error is a
// *unitError.
func compileGlob(glob string, style globStyle, fold bool) (*pattern, error) {
	if glob == "" {
		return nil, &unitError{0, "a pattern is empty", ""}
	}
	if len(glob) > maxPattern {
		return nil, &unitError{0, fmt.Sprintf("a pattern is longer than %d bytes", maxPattern), ""}
	}
	p := &pattern{}
	choices, err := expandBraces(norm.NFC.String(glob))
	if err != nil {
		return nil, err
	}
	for _, c := range choices {
		tokens, err := globTokens(c, style, glob, fold)
		if err != nil {
			return nil, err
		}
		p.choices = append(p.choices, tokens)
		for _, t := range tokens {
			if t.group != "" && !slices.Contains(p.groups, t.group) {
				p.groups = append(p.groups, t.group)
			}
		}
	}
	if style == pathGlob || len(p.groups) > 0 {
		flags := "(?s)"
		if fold {
			flags = "(?si)"
		}
		var all []string
		for _, c := range p.choices {
			all = append(all, globRegexp(c, style))
		}
		expr := flags + "^(?:" + strings.Join(all, "|") + ")$"
		if p.re, err = regexp.Compile(expr); err != nil {
			return nil, &unitError{0, "a pattern cannot be compiled: " + err.Error(), ""}
		}
	}
	return p, nil
}

// lowerCase folds s for comparisons without regard to case.
func lowerCase(s string) string { return strings.ToLower(s) }

// expandBraces returns what {a,b} stands for. Braces around a single word are captures, and stay.
func expandBraces(s string) ([]string, error) {
	out := []string{""}
	add := func(text string) {
		for i := range out {
			out[i] += text
		}
	}
	for i := 0; i < len(s); {
		switch s[i] {
		case '\\':
			end := min(i+2, len(s))
			for end < len(s) && !utf8.RuneStart(s[end]) {
				end++
			}
			add(s[i:end])
			i = end
		case '[':
			end := classEnd(s, i)
			if end < 0 {
				return nil, &unitError{i, "a [ in a pattern is never closed", "a bracket itself is \\["}
			}
			add(s[i:end])
			i = end
		case '{':
			words, end, err := braces(s, i)
			if err != nil {
				return nil, err
			}
			if len(words) == 1 {
				add(s[i:end])
				i = end
				continue
			}
			if len(words)*len(out) > maxChoices {
				return nil, &unitError{i, "the braces of a pattern stand for too many texts", ""}
			}
			var wider []string
			for _, word := range words {
				for _, o := range out {
					wider = append(wider, o+word)
				}
			}
			out = wider
			i = end
		default:
			add(s[i : i+1])
			i++
		}
	}
	return out, nil
}

// braces returns the words between the braces that open at i, which are parted by commas, and the place after them. What
// is escaped or in a class parts and closes nothing, so that each word is a pattern by itself.
func braces(s string, i int) (words []string, end int, err error) {
	start := i + 1
	for j := start; j < len(s); {
		switch s[j] {
		case '\\':
			j += 2
		case '[':
			if end = classEnd(s, j); end < 0 {
				return nil, 0, &unitError{j, "a [ in a pattern is never closed", "a bracket itself is \\["}
			}
			j = end
		case '{':
			return nil, 0, &unitError{i, "braces within braces in a pattern", ""}
		case ',', '}':
			words = append(words, s[start:j])
			if s[j] == '}' {
				return words, j + 1, nil
			}
			j++
			start = j
		default:
			j++
		}
	}
	return nil, 0, &unitError{i, "a { in a pattern is never closed", "a brace itself is \\{"}
}

// classEnd returns the place after the class that starts at i, or -1.
func classEnd(s string, i int) int {
	j := i + 1
	if j < len(s) && (s[j] == '!' || s[j] == '^') {
		j++
	}
	if j < len(s) && s[j] == ']' {
		j++ // as the first one it is meant as it is
	}
	for ; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case ']':
			return j + 1
		}
	}
	return -1
}

func globTokens(s string, style globStyle, source string, fold bool) ([]globToken, error) {
	var tokens []globToken
	text := func(t string) {
		if fold {
			t = lowerCase(t)
		}
		if n := len(tokens); n > 0 && tokens[n-1].kind == 0 {
			tokens[n-1].text += t
		} else {
			tokens = append(tokens, globToken{text: t})
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '\\':
			if i+1 == len(s) {
				return nil, &unitError{0, "a pattern ends in \\", "a backslash itself is \\\\"}
			}
			_, n := utf8.DecodeRuneInString(s[i+1:])
			text(s[i+1 : i+1+n])
			i += 1 + n
		case '*':
			n := 1
			for i+n < len(s) && s[i+n] == '*' {
				n++
			}
			stars := "*"
			if style == pathGlob && n > 1 {
				stars = "**"
			}
			tokens = append(tokens, globToken{kind: '*', text: stars})
			i += n
		case '?':
			tokens = append(tokens, globToken{kind: '?'})
			i++
		case '[':
			end := classEnd(s, i) // expandBraces has seen to it that there is one
			class := s[i+1 : end-1]
			if fold {
				class = lowerCase(class)
			}
			t, err := classToken(class)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, t)
			i = end
		case '{':
			words, end, err := braces(s, i)
			if err != nil {
				return nil, err
			}
			word := words[0]
			at := max(0, strings.Index(source, "{"+word+"}"))
			switch {
			case style != captureGlob:
				return nil, &unitError{at, "{" + word + "} in a pattern means nothing here",
					"alternatives are {this,that}; a brace itself is \\{"}
			case word != "" && !identifier(word):
				return nil, &unitError{at, "{" + word + "} in a pattern is no word to remember something by",
					"use letters, digits and _"}
			}
			tokens = append(tokens, globToken{kind: '{', group: word})
			i = end
		default:
			_, n := utf8.DecodeRuneInString(s[i:])
			text(s[i : i+n])
			i += n
		}
	}
	return tokens, nil
}

func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return s != ""
}

func classToken(inner string) (globToken, error) {
	t := globToken{kind: '['}
	if strings.HasPrefix(inner, "!") || strings.HasPrefix(inner, "^") {
		t.negated = true
		inner = inner[1:]
	}
	next := func() rune {
		r, n := utf8.DecodeRuneInString(inner)
		if r == '\\' && len(inner) > 1 {
			inner = inner[1:]
			r, n = utf8.DecodeRuneInString(inner)
		}
		inner = inner[n:]
		return r
	}
	for inner != "" {
		low := next()
		high := low
		if len(inner) > 1 && inner[0] == '-' {
			inner = inner[1:]
			high = next()
		}
		if high < low {
			both := string(low) + "-" + string(high)
			return t, &unitError{0, "the range " + both + " of a pattern runs backwards", ""}
		}
		t.ranges = append(t.ranges, low, high)
	}
	return t, nil
}

// takes reports whether the single character r fits t.
func (t *globToken) takes(r rune) bool {
	if t.kind == '?' {
		return true
	}
	for i := 0; i < len(t.ranges); i += 2 {
		if t.ranges[i] <= r && r <= t.ranges[i+1] {
			return !t.negated
		}
	}
	return t.negated
}

func globRegexp(tokens []globToken, style globStyle) string {
	one, many := ".", ".*?"
	if style == pathGlob {
		one, many = "[^/]", "[^/]*"
	}
	var b strings.Builder
	seen := map[string]bool{}
	// Between a/ and /b, or at the start, ** is any number of folders, also none.
	folders := func(i int) bool {
		return 0 <= i && i+1 < len(tokens) && tokens[i].kind == '*' && tokens[i].text == "**" &&
			tokens[i+1].kind == 0 && strings.HasPrefix(tokens[i+1].text, "/") &&
			(i == 0 || tokens[i-1].kind == 0 && strings.HasSuffix(tokens[i-1].text, "/"))
	}
	for i, t := range tokens {
		switch t.kind {
		case 0:
			text := t.text
			if folders(i - 1) {
				text = text[1:]
			}
			b.WriteString(regexp.QuoteMeta(text))
		case '?':
			b.WriteString(one)
		case '[':
			if style == pathGlob && t.negated {
				t.ranges = append(slices.Clone(t.ranges), '/', '/')
			}
			b.WriteString(classRegexp(&t))
		case '{':
			switch {
			case t.group == "":
				b.WriteString(".+?")
			case seen[t.group]:
				b.WriteString("(?:.+?)")
			default:
				seen[t.group] = true
				b.WriteString("(?P<" + t.group + ">.+?)")
			}
		case '*':
			switch {
			case t.text != "**":
				b.WriteString(many)
			case folders(i):
				b.WriteString("(?:.*/)?")
			default:
				b.WriteString(".*")
			}
		}
	}
	return b.String()
}

func classRegexp(t *globToken) string {
	var b strings.Builder
	b.WriteByte('[')
	if t.negated {
		b.WriteByte('^')
	}
	for i := 0; i < len(t.ranges); i += 2 {
		b.WriteString(regexpRune(t.ranges[i]) + "-" + regexpRune(t.ranges[i+1]))
	}
	b.WriteByte(']')
	return b.String()
}

// regexpRune writes r such that it means nothing else in a class.
func regexpRune(r rune) string { return fmt.Sprintf(`\x{%x}`, r) }

// match reports whether all of s fits.
func (p *pattern) match(s string) bool {
	if p.re != nil && len(p.groups) == 0 {
		return p.re.MatchString(s)
	}
	for _, c := range p.choices {
		if matchTokens(c, s) {
			return true
		}
	}
	return false
}

// matchTokens goes back to the last star alone, which is enough where all stars are the same, so that it takes
// len(tokens)*len(s) steps at worst.
func matchTokens(tokens []globToken, s string) bool {
	if len(tokens) > 0 {
		// Most names end otherwise.
		if last := &tokens[len(tokens)-1]; last.kind == 0 && !strings.HasSuffix(s, last.text) {
			return false
		}
	}
	t, i := 0, 0        // the token and the place in s to look at
	star, from := -1, 0 // the token behind the last star, and where it was tried
	// seek tries that token from a place on, and passes over places where its text is not.
	seek := func(at int) bool {
		if tokens[star].kind == 0 {
			next := strings.Index(s[at:], tokens[star].text)
			if next < 0 {
				return false
			}
			at += next
		}
		from, i, t = at, at, star
		return true
	}
	for {
		if t == len(tokens) {
			if i == len(s) {
				return true
			}
		} else {
			switch token := &tokens[t]; token.kind {
			case '*', '{':
				if token.kind == '{' { // at least one character, and then any
					if i == len(s) {
						break
					}
					_, n := utf8.DecodeRuneInString(s[i:])
					i += n
				}
				if star = t + 1; star == len(tokens) {
					return true
				}
				if !seek(i) {
					return false
				}
				continue
			case 0:
				if strings.HasPrefix(s[i:], token.text) {
					i += len(token.text)
					t++
					continue
				}
			default:
				if i < len(s) {
					if r, n := utf8.DecodeRuneInString(s[i:]); token.takes(r) {
						i += n
						t++
						continue
					}
				}
			}
		}
		if star < 0 || from >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[from:])
		if !seek(from + n) {
			return false
		}
	}
}
