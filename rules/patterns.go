package rules

import (
	"bytes"
	"strings"
)

// patterns is a list of name patterns, sorted by shape, so that a name costs two map lookups and a glance at the few
// patterns that start like it, not a walk over all of them. ASCII case is ignored.
type patterns struct {
	exact    map[string]bool
	endings  map[string]bool   // "*.part" as "part"
	prefixes map[byte][]string // "~$*" as "~$", by first byte
	globs    [][]string        // the rest, cut at each *
}

func compile(list words) patterns {
	p := patterns{exact: map[string]bool{}, endings: map[string]bool{}, prefixes: map[byte][]string{}}
	for _, pattern := range list {
		pattern = strings.ToLower(pattern)
		parts := strings.Split(pattern, "*")
		switch {
		case len(parts) == 1:
			p.exact[pattern] = true
		case len(parts) == 2 && parts[0] == "" && strings.LastIndexByte(parts[1], '.') == 0:
			p.endings[parts[1][1:]] = true
		case len(parts) == 2 && parts[0] != "" && parts[1] == "":
			p.prefixes[pattern[0]] = append(p.prefixes[pattern[0]], parts[0])
		default:
			p.globs = append(p.globs, parts)
		}
	}
	return p
}

func (p *patterns) match(name string) bool {
	if name == "" {
		return false
	}
	var buf [256]byte
	b := fold(buf[:0], name)
	if p.exact[string(b)] {
		return true
	}
	// A name that is an ending and nothing else is not matched: ".part" is a hidden file.
	if i := bytes.LastIndexByte(b, '.'); i > 0 && p.endings[string(b[i+1:])] {
		return true
	}
	for _, prefix := range p.prefixes[b[0]] {
		if len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix {
			return true
		}
	}
	for _, parts := range p.globs {
		if glob(b, parts) {
			return true
		}
	}
	return false
}

// glob matches b against a pattern that was cut at each *.
func glob(b []byte, parts []string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(b) < len(first)+len(last) || string(b[:len(first)]) != first || string(b[len(b)-len(last):]) != last {
		return false
	}
	b = b[len(first) : len(b)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := bytes.Index(b, []byte(part))
		if i < 0 {
			return false
		}
		b = b[i+len(part):]
	}
	return true
}
