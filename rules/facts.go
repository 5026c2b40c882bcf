package rules

import (
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// DuplicateFact returns the name of the fact that tells the duplicates from the file to keep. The fact is a string, the
// path of the file that this one is a duplicate of, or nil for the one to keep and for files without a like. keep is
// oldest, newest, shortest, first or priority; folders are those of priority.
func DuplicateFact(keep string, folders []string) string {
	if keep != "priority" {
		return "duplicate:" + keep
	}
	return "duplicate:priority:" + strings.Join(folders, "\x00") // no path holds a zero byte
}

// Duplicates is a way to tell duplicates from the file to keep.
type Duplicates struct {
	Fact     string   // what File.Fact is asked for
	Keep     string   // oldest, newest, shortest, first or priority
	Priority []string // for priority: folders, the dearest first; what is in none of them is kept last
}

func parseDuplicates(fact string) (Duplicates, bool) {
	rest, ok := strings.CutPrefix(fact, "duplicate:")
	if !ok {
		return Duplicates{}, false
	}
	d := Duplicates{Fact: fact, Keep: rest}
	if folders, ok := strings.CutPrefix(rest, "priority:"); ok {
		d.Keep, d.Priority = "priority", strings.Split(folders, "\x00")
	}
	return d, true
}

// The costs of conditions: what a glance at the name costs is asked before what must be read from the disk.
const (
	costName = iota
	costPattern
	costStat
	costAttributes
	costHead // the first bytes of a file
	costMetadata
	costList // the names in an archive or a folder
	costText
	costHash
	costDuplicate
)

func costOf(fact string) int {
	switch fact {
	case FactDir, FactSize, FactCreated, FactModified, FactAccessed, FactEmpty:
		return costStat
	case FactTags, FactOrigin, FactDateAdded:
		return costAttributes
	case FactCategory, FactType, FactMIME, FactContentCategory, FactContentType, FactContentMIME, FactMismatch:
		return costHead
	case FactArchive:
		return costList
	case FactText:
		return costText
	case FactHashBLAKE3, FactHashSHA256, FactHashSHA1, FactHashMD5:
		return costHash
	}
	if strings.HasPrefix(fact, "duplicate:") {
		return costDuplicate
	}
	return costMetadata
}

// A look is what is known of a file while a decision about it is made. Every fact is asked for once.
type look struct {
	rules    *Rules
	file     File
	dir      string
	name     string
	isDir    bool
	stem     string
	ext      string
	rule     *Rule
	location string // of rule
	below    string // the folder of the file, below location; "" if it is location
	counter  int64
	counted  bool // {counter} was asked for

	forms [4]string // of the name, by wholeName and folded, made when they are asked for
	made  [4]bool
	lower string // ext in lower case
	facts []known
	cause cause
}

type known struct {
	asked bool
	value Value
	err   error
}

// A cause is what made a condition unknown.
type cause struct {
	text string
	err  error
}

func (l *look) fact(i int) (Value, error) {
	k := &l.facts[i]
	if !k.asked {
		k.asked = true
		k.value, k.err = l.file.Fact(l.rules.facts[i])
	}
	return k.value, k.err
}

// start makes l ready for a file.
func (l *look) start(r *Rules, f File) {
	facts := l.facts
	if cap(facts) < len(r.facts) {
		facts = make([]known, len(r.facts))
	}
	facts = facts[:len(r.facts)]
	clear(facts)
	*l = look{rules: r, file: f, dir: f.Dir(), name: f.Name(), counter: 1, facts: facts}
	// What is a folder is known wherever somebody asks at all.
	if dir, err := l.fact(factDir); err == nil {
		l.isDir, _ = dir.(bool)
	}
	if l.isDir {
		l.stem = l.name
	} else {
		l.stem, l.ext = r.opt.Set.Split(l.name)
	}
}

// factDir is the index of FactDir, which every set of rules asks for first.
const factDir = 0

const (
	folded    = 1
	wholeName = 2
)

// form returns the name for comparisons: the stem or, with wholeName, all of it, in NFC, and in lower case with folded.
func (l *look) form(which int) string {
	if !l.made[which] {
		l.made[which] = true
		s := l.stem
		if which&wholeName != 0 {
			s = l.name
		}
		s = composed(s)
		if which&folded != 0 {
			s = lowerCase(s)
		}
		l.forms[which] = s
	}
	return l.forms[which]
}

// lowerExt returns the extension in lower case.
func (l *look) lowerExt() string {
	if l.lower == "" {
		l.lower = lowerCase(composed(l.ext))
	}
	return l.lower
}

// composed returns s in NFC: macOS stores names in another form than people type.
func composed(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(s)
		}
	}
	return s
}

// relative returns the path of the file below the location.
func (l *look) relative() string {
	if l.below == "" {
		return l.name
	}
	return l.below + "/" + l.name
}

// depth returns the number of folders between the location and the file.
func (l *look) depth() int64 {
	if l.below == "" {
		return 0
	}
	return int64(strings.Count(l.below, "/") + 1)
}

// zone is that in which dates of rules are meant.
func (r *Rules) zone() *time.Location { return r.opt.Now.Location() }

// date returns a fact that is a time, in the zone in which it is to be shown.
func (l *look) date(i int) (time.Time, bool, error) {
	v, err := l.fact(i)
	if err != nil || v == nil {
		return time.Time{}, false, err
	}
	t, ok := v.(time.Time)
	if !ok {
		return time.Time{}, false, wrongType(l.rules.facts[i], v)
	}
	if l.rules.facts[i] != FactTaken {
		return t.In(l.rules.zone()), true, nil
	}
	// A camera's own clock shows the date that the photographer would name. UTC stands for a zone that nobody knows.
	if t.Location() == time.UTC {
		t = wallClock(t, l.rules.zone())
	}
	return t, true, nil
}

// join puts a path together, without regard to what "/" and "" at its ends.
func join(dir, name string) string {
	switch {
	case dir == "":
		return name
	case name == "":
		return dir
	case strings.HasSuffix(dir, "/"):
		return dir + name
	}
	return dir + "/" + name
}

// inside returns the path of dir below root, "" for root itself. Both are clean.
func inside(root, dir string) (below string, ok bool) {
	if dir == root {
		return "", true
	}
	if !strings.HasSuffix(root, "/") {
		root += "/"
	}
	return strings.CutPrefix(dir, root)
}

// base returns the last name of a path.
func base(p string) string { return path.Base(p) }
