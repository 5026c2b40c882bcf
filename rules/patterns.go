package rules

import (
	"bytes"
	"strings"
)

// Lists says in which lists of names a name stands.
type Lists uint8

// The lists.
const (
	PartialNames      Lists = 1 << iota // downloads in progress, and files that some program still writes or locks
	SystemNames                         // what an operating system or a sync program keeps for itself
	ProjectMarkers                      // what makes the folder that holds it a project, to be left whole
	FolderBundleNames                   // folders that are one document, program or library
	VersionControl                      // where a version control system keeps its history
)

// patterns are the name patterns of all lists, sorted by shape, so that a name is looked up once for all of them: most
// names are neither as long as nor begin like any that is known, which is seen without a lookup. ASCII case is ignored.
type patterns struct {
	exact    shapes
	endings  shapes           // "*.part" as "part"
	prefixes [256][]nameStart // "~$*" as "~$", by first byte
	globs    []nameGlob       // the rest
}

// shapes are words, with their lengths by first byte.
type shapes struct {
	lists   map[string]Lists
	lengths [256]uint64 // bit n: a word of n bytes begins with that byte
}

type nameStart struct {
	text  string
	lists Lists
}

type nameGlob struct {
	parts []string // cut at each *
	lists Lists
}

func (s *shapes) add(word string, l Lists) {
	if s.lists == nil {
		s.lists = map[string]Lists{}
	}
	s.lists[word] |= l
	s.lengths[word[0]] |= 1 << min(len(word), 63)
}

func (s *shapes) find(word []byte) Lists {
	if len(word) == 0 || s.lengths[word[0]]&(1<<min(len(word), 63)) == 0 {
		return 0
	}
	return s.lists[string(word)]
}

func (p *patterns) add(list words, l Lists) {
	for _, pattern := range list {
		pattern = strings.ToLower(pattern)
		parts := strings.Split(pattern, "*")
		switch {
		case len(parts) == 1:
			p.exact.add(pattern, l)
		case len(parts) == 2 && parts[0] == "" && strings.LastIndexByte(parts[1], '.') == 0:
			p.endings.add(parts[1][1:], l)
		case len(parts) == 2 && parts[0] != "" && parts[1] == "":
			first := &p.prefixes[pattern[0]]
			*first = append(*first, nameStart{parts[0], l})
		default:
			p.globs = append(p.globs, nameGlob{parts, l})
		}
	}
}

func (p *patterns) match(name string) Lists {
	if name == "" {
		return 0
	}
	var buf [256]byte
	b := fold(buf[:0], name)
	found := p.exact.find(b)
	// A name that is an ending and nothing else is not matched: ".part" is a hidden file.
	if i := bytes.LastIndexByte(b, '.'); i > 0 {
		found |= p.endings.find(b[i+1:])
	}
	for _, prefix := range p.prefixes[b[0]] {
		if len(b) >= len(prefix.text) && string(b[:len(prefix.text)]) == prefix.text {
			found |= prefix.lists
		}
	}
	for i := range p.globs {
		if glob(b, p.globs[i].parts) {
			found |= p.globs[i].lists
		}
	}
	return found
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
