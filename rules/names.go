package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxComponent is the longest name, in bytes, of every file system in use.
const maxComponent = 255

// plain returns a value as it may become a part of a name: without separators and control characters, and without the
// marks that let a name look like another.
func plain(s string, windows bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return refused(r, windows) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if refused(r, windows) {
			b.WriteByte('_')
		} else {
			b.WriteString(s[:n]) // bytes that are not UTF-8 stay what they are
		}
		s = s[n:]
	}
	return b.String()
}

func refused(r rune, windows bool) bool {
	switch r {
	case '/', '\\', '\u2028', '\u2029':
		return true
	case ':', '*', '?', '"', '<', '>', '|':
		return windows
	}
	return unicode.IsControl(r) || r >= utf8.RuneSelf && unicode.Is(unicode.Bidi_Control, r)
}

// component makes a name that a value had a part in one that every file system takes and that stays in its folder. file
// says that the end after the last dot is an extension, to be kept when the name is cut.
func component(s string, set *Set, file, windows bool) string {
	s = plain(s, windows)
	s = strings.Trim(s, " ")
	// Windows drops dots and spaces at the end, so that two names become one.
	if trimmed := strings.TrimRight(s, ". "); trimmed != "" {
		s = trimmed
	} else if s != "" {
		s = "_"
	}
	s = unreserved(s)
	if len(s) > maxComponent {
		ext := ""
		if file {
			if _, ext = set.Split(s); ext != "" {
				ext = "." + ext
			}
		}
		stem := s[:boundary(s, maxComponent-len(ext))]
		s = strings.TrimRight(stem, ". ") + ext
		if s == ext { // nothing but dots and spaces before it
			s = "_" + ext
		}
	}
	return s
}

// unreserved changes the names that mean a device to Windows, whatever their extension.
func unreserved(s string) string {
	stem, ext, dotted := strings.Cut(s, ".")
	if !device(strings.TrimRight(stem, " ")) {
		return s
	}
	if dotted {
		return stem + "_." + ext
	}
	return stem + "_"
}

func device(s string) bool {
	switch strings.ToUpper(s) {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if len(s) < 4 || !strings.EqualFold(s[:3], "COM") && !strings.EqualFold(s[:3], "LPT") {
		return false
	}
	switch s[3:] {
	case "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
		return true
	}
	return false
}

// drive reports whether path starts like C:/.
func drive(path string) bool {
	return len(path) >= 3 && path[1] == ':' && path[2] == '/' && ('a' <= path[0]|0x20 && path[0]|0x20 <= 'z')
}
