package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A dateFormat is a strftime format (POSIX.1-2017, with English names), cut into literal text and conversions.
type dateFormat []datePart

type datePart struct {
	text     string // if conversion is 0
	verb     byte
	unpadded bool // %-d
}

// dateVerbs are the conversions, with one line on each for the reference.
var dateVerbs = []struct {
	verb byte
	text string
}{
	{'Y', "year, 2024"}, {'y', "year of the century, 24"}, {'C', "century, 20"}, {'q', "quarter, 1 to 4"},
	{'m', "month, 01 to 12"}, {'b', "month, Jan"}, {'B', "month, January"},
	{'d', "day, 01 to 31"}, {'e', "day, padded with a space"}, {'j', "day of the year, 001 to 366"},
	{'a', "day of the week, Mon"}, {'A', "day of the week, Monday"}, {'u', "day of the week, 1 (Monday) to 7"},
	{'w', "day of the week, 0 (Sunday) to 6"}, {'V', "week (ISO 8601), 01 to 53"}, {'G', "year of that week"},
	{'g', "year of that week, two digits"}, {'U', "week, counted from the first Sunday, 00 to 53"},
	{'W', "week, counted from the first Monday, 00 to 53"},
	{'H', "hour, 00 to 23"}, {'I', "hour, 01 to 12"}, {'p', "AM or PM"}, {'M', "minute"}, {'S', "second"},
	{'f', "microsecond, six digits"}, {'z', "offset from UTC, +0200"}, {'Z', "name of the zone"},
	{'s', "seconds since 1970"}, {'F', "the same as %Y-%m-%d"}, {'T', "the same as %H:%M:%S"},
	{'R', "the same as %H:%M"}, {'%', "a percent sign"},
}

// parseDateFormat reads a strftime format. The error is a *unitError.
func parseDateFormat(s string) (dateFormat, error) {
	var f dateFormat
	for s := s; s != ""; {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return append(f, datePart{text: s}), nil
		}
		if i > 0 {
			f = append(f, datePart{text: s[:i]})
		}
		s = s[i+1:]
		unpadded := strings.HasPrefix(s, "-")
		s = strings.TrimPrefix(s, "-")
		if s == "" {
			return nil, &unitError{0, "a date format ends in %", "a percent sign is %%"}
		}
		if !knownVerb(s[0]) {
			hint := "%Y-%m-%d is a date, %H.%M a time"
			return nil, &unitError{0, fmt.Sprintf("dates know no %%%s", string([]rune(s)[:1])), hint}
		}
		f = append(f, datePart{verb: s[0], unpadded: unpadded})
		s = s[1:]
	}
	return f, nil
}

func knownVerb(c byte) bool {
	for _, v := range dateVerbs {
		if v.verb == c {
			return true
		}
	}
	return false
}

func (f dateFormat) format(t time.Time) string {
	b := make([]byte, 0, 32)
	for _, p := range f {
		if p.verb == 0 {
			b = append(b, p.text...)
			continue
		}
		b = p.append(b, t)
	}
	return string(b)
}

func (p datePart) append(b []byte, t time.Time) []byte {
	number := func(v, width int) []byte {
		if p.unpadded {
			width = 0
		}
		return appendPadded(b, int64(v), width, '0')
	}
	switch p.verb {
	case 'Y':
		return number(t.Year(), 4)
	case 'y':
		return number(positive(t.Year(), 100), 2)
	case 'C':
		return number(t.Year()/100, 2)
	case 'm':
		return number(int(t.Month()), 2)
	case 'd':
		return number(t.Day(), 2)
	case 'e':
		if p.unpadded {
			return number(t.Day(), 0)
		}
		return appendPadded(b, int64(t.Day()), 2, ' ')
	case 'H':
		return number(t.Hour(), 2)
	case 'I':
		return number((t.Hour()+11)%12+1, 2)
	case 'M':
		return number(t.Minute(), 2)
	case 'S':
		return number(t.Second(), 2)
	case 'f':
		return appendPadded(b, int64(t.Nanosecond()/1000), 6, '0')
	case 'p':
		return t.AppendFormat(b, "PM")
	case 'b':
		return t.AppendFormat(b, "Jan")
	case 'B':
		return t.AppendFormat(b, "January")
	case 'a':
		return t.AppendFormat(b, "Mon")
	case 'A':
		return t.AppendFormat(b, "Monday")
	case 'u':
		return number((int(t.Weekday())+6)%7+1, 1)
	case 'w':
		return number(int(t.Weekday()), 1)
	case 'j':
		return number(t.YearDay(), 3)
	case 'V':
		_, week := t.ISOWeek()
		return number(week, 2)
	case 'G':
		year, _ := t.ISOWeek()
		return number(year, 4)
	case 'g':
		year, _ := t.ISOWeek()
		return number(positive(year, 100), 2)
	case 'U':
		return number((t.YearDay()+6-int(t.Weekday()))/7, 2)
	case 'W':
		return number((t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2)
	case 'q':
		return number((int(t.Month())+2)/3, 1)
	case 'F':
		return t.AppendFormat(b, "2006-01-02")
	case 'T':
		return t.AppendFormat(b, "15:04:05")
	case 'R':
		return t.AppendFormat(b, "15:04")
	case 's':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'z':
		return t.AppendFormat(b, "-0700")
	case 'Z':
		return t.AppendFormat(b, "MST")
	}
	return append(b, '%')
}

func positive(n, modulus int) int { return ((n % modulus) + modulus) % modulus }

// appendPadded appends n with at least width characters.
func appendPadded(b []byte, n int64, width int, pad byte) []byte {
	digits := strconv.FormatInt(n, 10)
	if n < 0 && pad == '0' {
		b = append(b, '-')
		digits = digits[1:]
		width--
	}
	for range width - len(digits) {
		b = append(b, pad)
	}
	return append(b, digits...)
}
