package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A span is a set of numbers: those from low to high, less some.
type span struct {
	low, high float64 // both are in it, unless the number is in not
	openLow   bool    // low itself is not in it
	openHigh  bool
	not       []float64
}

func (s *span) holds(v float64) bool {
	return (v > s.low || v == s.low && !s.openLow) && (v < s.high || v == s.high && !s.openHigh) &&
		!slices.Contains(s.not, v)
}

func (s *span) empty() bool {
	return s.low > s.high || s.low == s.high && (s.openLow || s.openHigh || slices.Contains(s.not, s.low))
}

// within reports whether everything in s is in t.
func (s *span) within(t *span) bool {
	low := s.low > t.low || s.low == t.low && (s.openLow || !t.openLow)
	high := s.high < t.high || s.high == t.high && (s.openHigh || !t.openHigh)
	return low && high && !slices.ContainsFunc(t.not, s.holds)
}

// meet leaves in s what is in both.
func (s *span) meet(t span) {
	if t.low > s.low || t.low == s.low && t.openLow {
		s.low, s.openLow = t.low, t.openLow
	}
	if t.high < s.high || t.high == s.high && t.openHigh {
		s.high, s.openHigh = t.high, t.openHigh
	}
	s.not = append(s.not, t.not...)
}

func everything() span { return span{low: math.Inf(-1), high: math.Inf(1)} }

// A unitError is a problem at an offset of a text.
type unitError struct {
	at   int
	text string
	hint string
}

func (e *unitError) Error() string { return e.text }

// A scale knows the units of a quantity.
type scale struct {
	what  string // for messages
	units map[string]float64
	names []string // the usual ones, for messages
	fold  bool     // units are known in any case
}

var (
	plainScale = &scale{what: "a number"}
	sizeScale  = &scale{what: "a size", fold: true, names: []string{"B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB",
		"TiB"},
		units: map[string]float64{
			"b": 1, "byte": 1, "bytes": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12,
			"tb": 1e12,
			"p":  1e15, "pb": 1e15, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
		}}
	durationScale = &scale{what: "a duration", names: []string{"s", "min", "h"},
		units: map[string]float64{
			"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
			"h": 3600, "hour": 3600, "hours": 3600,
		}}
)

// number reads a number with a unit at the start of s and returns what is left.
func (sc *scale) number(s string) (v float64, rest string, err error) {
	i := 0
	for i < len(s) && ('0' <= s[i] && s[i] <= '9' || s[i] == '.') {
		i++
	}
	v, bad := strconv.ParseFloat(s[:i], 64)
	if bad != nil || math.IsInf(v, 0) {
		return 0, s, &unitError{0, fmt.Sprintf("%s starts with digits, not %q", sc.what, shorten(s, 20)), ""}
	}
	rest = strings.TrimLeft(s[i:], " ")
	at := len(s) - len(rest)
	end := 0
	for end < len(rest) && rest[end] != ' ' && rest[end] != ',' && rest[end] != '-' && !('0' <= rest[end] &&
		rest[end] <= '9') {
		end++
	}
	unit := rest[:end]
	if unit == "" {
		return v, rest, nil
	}
	key := unit
	if sc.fold {
		key = strings.ToLower(unit)
	}
	factor, ok := sc.units[key]
	if !ok {
		if len(sc.names) == 0 {
			return 0, s, &unitError{at, fmt.Sprintf("a plain number is wanted, without %q", unit), ""}
		}
		hint := didYouMean(unit, sc.names)
		for prefix, short := range map[string]string{"kilo": "kB", "mega": "MB", "giga": "GB", "tera": "TB"} {
			if sc == sizeScale && strings.HasPrefix(strings.ToLower(unit), prefix) {
				hint = fmt.Sprintf("did you mean %q?", short)
			}
		}
		return 0, s, &unitError{at, fmt.Sprintf("%q is no unit of %s; there are %s", unit, sc.what,
			allOfThem(sc.names)), hint}
	}
	return v * factor, rest[end:], nil
}

var comparisons = []string{"<=", ">=", "==", "!=", "<", ">", "="}

// span reads conditions such as "> 1 MB, < 2 GiB", "1990-1999" or "5". All of them must hold.
func (sc *scale) span(s string) (span, error) {
	out := everything()
	offset := 0
	for part := range strings.SplitSeq(s, ",") {
		if err := sc.comparison(part, &out); err != nil {
			if u, ok := errors.AsType[*unitError](err); ok {
				u.at += offset
			}
			return out, err
		}
		offset += len(part) + 1
	}
	if out.empty() {
		hint := ""
		if digitsAround(s, ',') {
			hint = "a comma separates conditions; decimals have a point"
		}
		return out, &unitError{0, fmt.Sprintf("no number can be %q", s), hint}
	}
	return out, nil
}

// digitsAround reports whether some c in s stands between two digits.
func digitsAround(s string, c byte) bool {
	for i := 1; i+1 < len(s); i++ {
		if s[i] == c && '0' <= s[i-1] && s[i-1] <= '9' && '0' <= s[i+1] && s[i+1] <= '9' {
			return true
		}
	}
	return false
}

func (sc *scale) comparison(part string, out *span) error {
	rest := strings.TrimLeft(part, " ")
	if rest == "" {
		return &unitError{len(part), sc.what + " is missing", "write for example \"> 10, < 20\""}
	}
	op := "="
	for _, c := range comparisons {
		if tail, ok := strings.CutPrefix(rest, c); ok {
			op, rest = c, strings.TrimLeft(tail, " ")
			break
		}
	}
	shift := func(err error, rest string) error {
		if u, ok := errors.AsType[*unitError](err); ok {
			u.at += len(part) - len(rest)
		}
		return err
	}
	v, tail, err := sc.number(rest)
	if err != nil {
		return shift(err, rest)
	}
	tail = strings.TrimLeft(tail, " ")
	one := everything()
	if to, ok := strings.CutPrefix(tail, "-"); ok && op == "=" {
		to = strings.TrimLeft(to, " ")
		high, after, err := sc.number(to)
		if err != nil {
			return shift(err, to)
		}
		one.low, one.high, tail = v, high, strings.TrimLeft(after, " ")
		op = ""
	}
	if tail != "" {
		return &unitError{len(part) - len(tail), fmt.Sprintf("%q is too much here", shorten(tail, 20)),
			"separate conditions with a comma"}
	}
	switch op {
	case "<":
		one.high, one.openHigh = v, true
	case "<=":
		one.high = v
	case ">":
		one.low, one.openLow = v, true
	case ">=":
		one.low = v
	case "!=":
		one.not = []float64{v}
	case "=", "==":
		one.low, one.high = v, v
	}
	out.meet(one)
	return nil
}

// humanSize writes a number of bytes with three digits at most.
func humanSize(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		if v < 999.5 {
			if unit == "B" || v >= 99.95 {
				return fmt.Sprintf("%.0f %s", v, unit)
			}
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + unit
		}
		v /= 1000
	}
	return fmt.Sprintf("%.1f PB", v)
}

// A moment is a date of a rules file: a wall clock, in the zone of whoever compares with it, unless the file names a zone.
type moment struct {
	wall  time.Time // in UTC, which stands for any zone
	exact time.Time // if the zone was named
}

var dateLayouts = []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04",
	"2006-01-02T15:04:05", "2006-01", "2006"}

func parseMoment(s string) (moment, error) {
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return moment{wall: t}, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return moment{exact: t}, nil
	}
	hint := ""
	if _, err := time.Parse("2.1.2006", s); err == nil {
		hint = "the year comes first"
	} else if strings.Count(s, "-") == 2 {
		hint = "is there such a day?"
	}
	return moment{}, &unitError{0, fmt.Sprintf("%q is no date; write 2024-05-31, or 2024-05-31 18:30", shorten(s, 40)),
		hint}
}

// compare tells whether t, in the zone in which it is shown, is before, at or after m.
func (m moment) compare(t time.Time) int {
	if !m.exact.IsZero() {
		return t.Compare(m.exact)
	}
	return wallClock(t, time.UTC).Compare(m.wall)
}

// in returns m in a zone.
func (m moment) in(local *time.Location) time.Time {
	if !m.exact.IsZero() {
		return m.exact
	}
	return wallClock(m.wall, local)
}

// wallClock returns the moment at which a clock in the given zone shows what t shows.
func wallClock(t time.Time, zone *time.Location) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

// An age is a length of time in the units in which people count.
type age struct {
	years, months, days int
	rest                time.Duration
}

// before returns the moment of that age.
func (a age) before(now time.Time) time.Time {
	return now.AddDate(-a.years, -a.months, -a.days).Add(-a.rest)
}
