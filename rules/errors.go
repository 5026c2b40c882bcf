package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Errors are all problems of a rules file, in the order of their places.
type Errors []*Error

// Error returns all of them, each as Error.Error has it.
func (e Errors) Error() string {
	all := make([]string, len(e))
	for i, problem := range e {
		all[i] = problem.Error()
	}
	return strings.Join(all, "\n")
}

// maxErrors bounds what a hopeless file can say.
const maxErrors = 100

// sorted returns e in the order of the file, each problem once, in words that a terminal can show.
func (e Errors) sorted() Errors {
	for _, problem := range e {
		problem.Message, problem.Hint = visible(problem.Message), visible(problem.Hint)
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	// A part of the file that several aliases stand for is read several times.
	e = slices.CompactFunc(e, func(a, b *Error) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
	return e[:min(len(e), maxErrors)]
}

// An Error is one problem of a rules file.
type Error struct {
	File         string // as it was named to Parse
	Line, Column int    // from 1; columns count characters
	Message      string // what is wrong
	Hint         string // what may have been meant, or what would be right; may be empty
	Text         string // the line
}

// Error returns the place and what is wrong there, and below it the line with a caret and the hint.
func (e *Error) Error() string {
	number := fmt.Sprintf("%5d", e.Line)
	out := fmt.Sprintf("%s:%d:%d: %s\n%s | %s\n%s | %s^", e.File, e.Line, e.Column, e.Message,
		number, visible(e.Text), strings.Repeat(" ", len(number)), under(e.Text, e.Column))
	if e.Hint != "" {
		out += " " + e.Hint
	}
	return out
}

// visible returns line with what would disturb a terminal replaced by ?, one character for one.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar) {
			return '?'
		}
		return r
	}, line)
}

// under returns the blanks that put a caret below a column of line.
func under(line string, column int) string {
	var b strings.Builder
	for _, r := range visible(line) {
		if column--; column <= 0 {
			break
		}
		switch kind := width.LookupRune(r).Kind(); {
		case r == '\t':
			b.WriteByte('\t')
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// didYouMean returns a hint if one of the candidates is near to word.
func didYouMean(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// nearest returns the candidate that word is most likely a slip of, or "".
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if word == "" || len(word) > 40 {
		return ""
	}
	best, least := "", min(3, 1+len([]rune(word))/4)+1
	if len(word) < 3 {
		least = 1 // with so few letters everything is near
	}
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	var before []int
	last, now := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		now[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, make([]int, len(t)+1)
	}
	return last[len(t)]
}

// oneOf lists words as "a, b or c".
func oneOf(words []string) string { return listed(words, " or ") }

// allOfThem lists words as "a, b and c".
func allOfThem(words []string) string { return listed(words, " and ") }

func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + last + words[len(words)-1]
}
