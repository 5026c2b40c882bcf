package rules

import (
	"slices"
	"strings"
)

// A companion is a rule by which a file follows another of the same folder.
type companion struct {
	ofKinds          []*Kind
	ofExts           []string
	stem, full, tags bool
	numbered         bool
	unique           bool // follows by stem only where one file has that stem
}

type ending struct {
	suffix string // of a folder's name, lower case
	rule   uint32
}

// A Bundle is a group of entries of one folder that belong together and move together.
type Bundle struct {
	Files   []int // indices into names; the first decides where all go, the rest ascend
	Folders []int // indices into folders, ascending
}

// A claim is made by a companion for the file that it would follow.
type claim struct {
	rules uint32
	rank  int8 // 0 is the best: the full name, then the stem, then the stem less one language tag, ...
	who   int  // index into names, or after them into folders
	key   string
}

// Bundles finds what belongs together among the files and the folders of one folder: subtitles and their film, raw photos
// and their JPEG, edits, signatures, a saved page and its folder. Stems are compared without regard to ASCII case; a file
// with exactly the same letters is preferred. The result does not depend on the order of names except that bundles come
// in the order of their first files. Files that follow nothing and are followed by nothing are in no bundle.
//
// The time is linear in the number of names, and only names that could follow another one cost memory.
func (s *Set) Bundles(names, folders []string) []Bundle {
	claims := map[string][]claim{}
	for i, name := range names {
		stem, ext := s.Split(name)
		if e := s.lookup(ext); e.companion != 0 {
			s.claim(claims, i, stem, e.companion)
		}
	}
	for i, name := range folders {
		for _, e := range s.endings {
			cut := len(name) - len(e.suffix)
			if cut > 0 && strings.EqualFold(name[cut:], e.suffix) {
				add(claims, name[:cut], claim{rules: e.rule, rank: 1, who: len(names) + i})
			}
		}
	}
	if len(claims) == 0 {
		return nil
	}

	type choice struct {
		leader int // -1: none
		rank   int8
		exact  bool
		rivals int
		unique bool
	}
	choices := map[int]choice{}
	offer := func(j int, key string, full bool, e extension) {
		var buf [256]byte
		for _, c := range claims[string(fold(buf[:0], key))] {
			rules := c.rules & e.accepts
			if rules == 0 || c.who == j || (c.rank == 0) != full {
				continue
			}
			if !full {
				// Two companions of one kind follow the same file, not each other.
				if rules &^= e.companion; rules == 0 {
					continue
				}
			}
			now := choice{leader: j, rank: c.rank, exact: c.key == key, rivals: 1}
			now.unique = !full && rules&^s.anyFile == 0
			old, ok := choices[c.who]
			if !ok {
				choices[c.who] = now
				continue
			}
			rivals := old.rivals
			if old.unique && now.unique {
				rivals++
			}
			switch {
			case old.unique != now.unique:
				if old.unique {
					old = now
				}
			case now.rank != old.rank:
				if now.rank < old.rank {
					old = now
				}
			case now.exact != old.exact:
				if now.exact {
					old = now
				}
			case names[j] < names[old.leader]:
				old = now
			}
			old.rivals = rivals
			choices[c.who] = old
		}
	}
	for j, name := range names {
		stem, ext := s.Split(name)
		e := s.lookup(ext)
		offer(j, name, true, e)
		offer(j, stem, false, e)
	}

	leader := func(who int) int {
		c, ok := choices[who]
		if !ok || c.unique && c.rivals > 1 {
			return -1
		}
		return c.leader
	}
	groups := map[int]*Bundle{}
	for who := range choices {
		root := leader(who)
		if root < 0 {
			continue
		}
		// The companion rules form no cycle, but a bound costs nothing.
		for range len(s.companions) {
			next := leader(root)
			if next < 0 || next == who {
				break
			}
			root = next
		}
		b := groups[root]
		if b == nil {
			b = &Bundle{Files: []int{root}}
			groups[root] = b
		}
		if who < len(names) {
			b.Files = append(b.Files, who)
		} else {
			b.Folders = append(b.Folders, who-len(names))
		}
	}
	out := make([]Bundle, 0, len(groups))
	for _, b := range groups {
		slices.Sort(b.Files[1:])
		slices.Sort(b.Folders)
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Bundle) int { return a.Files[0] - b.Files[0] })
	return out
}

// claim notes the names of the files that the companion names[i], without its extension, could follow.
func (s *Set) claim(claims map[string][]claim, i int, stem string, rules uint32) {
	var full, same, tagged uint32
	for bit, c := range s.companions {
		rule := uint32(1) << bit
		if rules&rule == 0 || c.numbered && !numbered(stem) {
			continue
		}
		if c.full {
			full |= rule
		}
		if c.stem {
			same |= rule
		}
		if c.tags {
			tagged |= rule
		}
	}
	// A full name tells by its own extension whether it can be followed.
	_, ext := s.Split(stem)
	if full &= s.lookup(ext).accepts; full != 0 {
		add(claims, stem, claim{rules: full, who: i})
	}
	if same != 0 {
		add(claims, stem, claim{rules: same, rank: 1, who: i})
	}
	for rank := int8(2); tagged != 0 && rank < 5; rank++ {
		dot := strings.LastIndexByte(stem, '.')
		if dot <= 0 || !languageTag(stem[dot+1:]) {
			break
		}
		stem = stem[:dot]
		add(claims, stem, claim{rules: tagged, rank: rank, who: i})
	}
}

func add(claims map[string][]claim, key string, c claim) {
	c.key = key
	var buf [256]byte
	folded := string(fold(buf[:0], key))
	claims[folded] = append(claims[folded], c)
}

// numbered reports whether a camera could have given this name: three digits or more.
func numbered(stem string) bool {
	n := 0
	for i := range len(stem) {
		if '0' <= stem[i] && stem[i] <= '9' {
			n++
		}
	}
	return n >= 3
}

// languageTag reports whether word is a language (BCP 47: en, pt-BR, zh-Hans) or a remark that players know between a
// film's name and the extension of its subtitles. It need not be strict: a film of the name before it must exist.
func languageTag(word string) bool {
	switch strings.ToLower(word) {
	case "forced", "default", "full", "sdh", "hi", "cc", "signs", "songs", "commentary", "english", "german", "french",
		"spanish", "italian", "portuguese", "russian", "chinese", "japanese", "korean", "arabic", "dutch", "polish":
		return true
	}
	lang := word
	if i := strings.IndexAny(word, "-_"); i > 0 {
		lang = word[:i]
		if len(word)-i > 9 {
			return false
		}
	}
	if len(lang) == 1 && '0' <= lang[0] && lang[0] <= '9' {
		return len(word) == 1
	}
	if len(lang) < 2 || len(lang) > 3 {
		return false
	}
	for i := range len(lang) {
		if c := lang[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}
