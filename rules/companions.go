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
	Files   []int // indices into names: first the one that decides where all go, the rest ascending
	Folders []int // indices into folders, ascending
}

// A claim is made by a follower for the file that it would follow.
type claim struct {
	rules    uint32
	follower int32
	next     int32 // claim on the same name, -1 after the last
	rank     int8  // 0 is the best: the full name, then the stem, then the stem less one language tag, ...
	key      string
}

// A follower is an entry that could follow a file, and the best file found for it.
type follower struct {
	who    int // index into names, or after them into folders
	leader int // -1 if there is none
	rank   int8
	exact  bool // the letters are the same, not only in lower case
	weak   bool // by a rule for any file, which says nothing if several files have the stem
	rivals int  // how many files a weak claim could mean
}

// claims are all claims, by the lower-case name that they are for.
type claims struct {
	set       *Set
	heads     map[string]int32
	list      []claim
	followers []follower
	full      uint32 // rules of all claims on a full name
	stem      uint32 // and of those on a stem
}

func (c *claims) follower(who int) { c.followers = append(c.followers, follower{who: who, leader: -1}) }

// add makes a claim for the last follower.
func (c *claims) add(rules uint32, rank int8, key string) {
	if rank == 0 {
		c.full |= rules
	} else {
		c.stem |= rules
	}
	var buf [256]byte
	folded := fold(buf[:0], key)
	next, ok := c.heads[string(folded)]
	if !ok {
		next = -1
	}
	c.heads[string(folded)] = int32(len(c.list))
	c.list = append(c.list, claim{rules, int32(len(c.followers) - 1), next, rank, key})
}

// follow adds the claims of a file that could follow another by the given rules. stem is its name without the extension.
func (c *claims) follow(who int, stem string, rules uint32) {
	var full, same, tagged uint32
	for bit, rule := range c.set.companions {
		mask := rules & (1 << bit)
		if mask == 0 || rule.numbered && !numbered(stem) {
			continue
		}
		if rule.full {
			full |= mask
		}
		if rule.stem {
			same |= mask
		}
		if rule.tags {
			tagged |= mask
		}
	}
	if full != 0 {
		// A full name tells by its own extension whether it can be followed.
		_, ext := c.set.Split(stem)
		full &= c.set.lookup(ext).accepts
	}
	if full|same == 0 {
		return
	}
	c.follower(who)
	if full != 0 {
		c.add(full, 0, stem)
	}
	if same != 0 {
		c.add(same, 1, stem)
	}
	for rank := int8(2); tagged != 0 && rank < 5; rank++ {
		dot := strings.LastIndexByte(stem, '.')
		if dot <= 0 || !languageTag(stem[dot+1:]) {
			break
		}
		stem = stem[:dot]
		c.add(tagged, rank, stem)
	}
}

// offer lets those who claim key, the full name or the stem of names[j], take names[j] if nothing better was offered.
func (c *claims) offer(names []string, j int, key string, full bool, e extension) {
	var buf [256]byte
	next, ok := c.heads[string(fold(buf[:0], key))]
	for ; ok && next >= 0; next = c.list[next].next {
		cl := &c.list[next]
		f := &c.followers[cl.follower]
		rules := cl.rules & e.accepts
		if !full {
			// Two companions of one kind follow the same file, not each other.
			rules &^= e.companion
		}
		if rules == 0 || f.who == j || (cl.rank == 0) != full {
			continue
		}
		exact, weak := cl.key == key, !full && rules&^c.set.anyFile == 0
		if weak {
			f.rivals++
		}
		better := true
		switch {
		case f.leader < 0:
		case weak != f.weak:
			better = f.weak
		case cl.rank != f.rank:
			better = cl.rank < f.rank
		case exact != f.exact:
			better = exact
		default:
			better = names[j] < names[f.leader]
		}
		if better {
			f.leader, f.rank, f.exact, f.weak = j, cl.rank, exact, weak
		}
	}
}

// Bundles finds what belongs together among the files and the folders of one folder: subtitles and their film, raw photos
// and their JPEG, edits, signatures, a saved page and its folder. Stems are compared without regard to ASCII case; a file
// with exactly the same letters is preferred. The result does not depend on the order of names except that bundles come
// in the order of their first files. Files that follow nothing and are followed by nothing are in no bundle.
//
// The time is linear in the number of names, and only names that could follow another one cost memory.
func (s *Set) Bundles(names, folders []string) []Bundle {
	var accepted, wanted uint32
	for _, name := range names {
		_, ext := s.Split(name)
		e := s.lookup(ext)
		accepted |= e.accepts
		wanted |= e.companion
	}
	possible := accepted & wanted
	c := claims{set: s, heads: map[string]int32{}}
	if possible != 0 {
		for i, name := range names {
			stem, ext := s.Split(name)
			if rules := s.lookup(ext).companion & possible; rules != 0 {
				c.follow(i, stem, rules)
			}
		}
	}
	for i, name := range folders {
		for _, e := range s.endings {
			cut := len(name) - len(e.suffix)
			if cut > 0 && e.rule&accepted != 0 && strings.EqualFold(name[cut:], e.suffix) {
				c.follower(len(names) + i)
				c.add(e.rule, 1, name[:cut])
			}
		}
	}
	if len(c.followers) == 0 {
		return nil
	}
	for j, name := range names {
		stem, ext := s.Split(name)
		e := s.lookup(ext)
		if e.accepts&c.full != 0 {
			c.offer(names, j, name, true, e)
		}
		if e.accepts&c.stem != 0 {
			c.offer(names, j, stem, false, e)
		}
	}

	leaders := make(map[int]int, len(c.followers))
	for _, f := range c.followers {
		if f.leader >= 0 && !(f.weak && f.rivals > 1) {
			leaders[f.who] = f.leader
		}
	}
	var out []Bundle
	index := make(map[int]int)
	for _, f := range c.followers {
		root, ok := leaders[f.who]
		if !ok {
			continue
		}
		// The rules form no cycle, but a bound costs nothing.
		for range len(s.companions) {
			next, ok := leaders[root]
			if !ok || next == f.who {
				break
			}
			root = next
		}
		i, ok := index[root]
		if !ok {
			i = len(out)
			index[root] = i
			out = append(out, Bundle{Files: []int{root}})
		}
		if f.who < len(names) {
			out[i].Files = append(out[i].Files, f.who)
		} else {
			out[i].Folders = append(out[i].Folders, f.who-len(names))
		}
	}
	slices.SortFunc(out, func(a, b Bundle) int { return a.Files[0] - b.Files[0] })
	return out
}

// numbered reports whether a phone or camera gave this name: IMG, and three digits or more. Other names are too often
// equal by chance (file001.jpg, file001.mov).
func numbered(stem string) bool {
	if len(stem) < 3 || !strings.EqualFold(stem[:3], "IMG") {
		return false
	}
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
