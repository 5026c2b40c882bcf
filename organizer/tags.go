package organizer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"forg/journal"
	"forg/rules"
)

var (
	errNoTags      = errors.New("there are no tags for files here")
	errTagsChanged = errors.New("its tags were changed by somebody else")
)

// tagChange is the Meta of a journal.Tag that gives the file or folder at path the tags in add and takes those in remove;
// with set it first takes all that it has. It is nil if nothing would change. Tags are compared exactly; those that stay
// keep their order and, on macOS, their color.
func tagChange(path string, set bool, add, remove []string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("read the tags of %s: %w", path, err) }
	if tagsAttribute == "" {
		return fail(errNoTags)
	}
	f, err := openPath(path)
	if err != nil {
		return fail(cause(err))
	}
	defer f.Close()
	old, err := attribute(f, tagsAttribute)
	if err != nil {
		return fail(err)
	}
	decode, encode := decodeTags, encodeTags
	if strings.HasPrefix(tagsAttribute, "com.apple.") {
		decode, encode = decodeTagList, encodeTagList
	}
	tags, err := decode(old)
	if err != nil {
		return fail(err)
	}
	changed := changeTags(tags, set, add, remove)
	if slices.Equal(tags, changed) {
		return nil, nil
	}
	value, err := encode(changed)
	if err != nil {
		return nil, fmt.Errorf("tag %s: %w", path, err)
	}
	return tagMetaOf(old, value), nil
}

// changeTags returns the new list. What follows a line break in a tag is its color.
func changeTags(tags []string, set bool, add, remove []string) []string {
	name := func(tag string) string {
		tag, _, _ = strings.Cut(tag, "\n")
		return tag
	}
	var out []string
	for _, t := range tags {
		if n := name(t); !slices.Contains(remove, n) && (!set || slices.Contains(add, n)) {
			out = append(out, t)
		}
	}
	for _, t := range add {
		if t != "" && !slices.Contains(remove, t) && !slices.ContainsFunc(out, func(have string) bool { return name(have) == t }) {
			out = append(out, t)
		}
	}
	return out
}

// decodeTags reads user.xdg.tags: names with commas between them.
func decodeTags(b []byte) ([]string, error) {
	var tags []string
	for t := range strings.SplitSeq(strings.TrimRight(string(b), "\x00"), ",") {
		if t = strings.TrimSpace(t); t != "" {
			tags = append(tags, t)
		}
	}
	return tags, nil
}

// encodeTags returns nil for no tags: then there is no attribute.
func encodeTags(tags []string) ([]byte, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	for _, t := range tags {
		if strings.ContainsAny(t, ",\x00") {
			return nil, fmt.Errorf("the tag %q holds a comma, which parts tags here", t)
		}
	}
	return []byte(strings.Join(tags, ",")), nil
}

var errTagList = errors.New("the property list is not one of tags")

// The tags of macOS are a binary property list (CFBinaryPList.c): "bplist00", objects, a table of where each begins, and
// a trailer. An object begins with its kind and count.
const (
	plistMagic   = "bplist00"
	plistTrailer = 32
	plistInt     = 0x1
	plistASCII   = 0x5
	plistUTF16   = 0x6
	plistArray   = 0xa
)

const mostTags = 1000 // of a list

// decodeTagList reads an array of strings.
func decodeTagList(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if !bytes.HasPrefix(b, []byte(plistMagic)) || len(b) < len(plistMagic)+plistTrailer {
		return nil, errTagList
	}
	end := b[len(b)-plistTrailer:]
	offsetSize, refSize := int(end[6]), int(end[7])
	top, table := binary.BigEndian.Uint64(end[16:]), binary.BigEndian.Uint64(end[24:])
	failed := false
	number := func(at uint64, size int) uint64 {
		if size < 1 || size > 8 || at > uint64(len(b)) || uint64(size) > uint64(len(b))-at {
			failed = true
			return 0
		}
		var v uint64
		for _, c := range b[at:][:size] {
			v = v<<8 | uint64(c)
		}
		return v
	}
	object := func(ref uint64) (kind byte, count, at uint64) {
		if ref > uint64(len(b)) {
			failed = true
			return 0, 0, 0
		}
		at = number(table+ref*uint64(offsetSize), offsetSize)
		first := byte(number(at, 1))
		kind, count, at = first>>4, uint64(first&15), at+1
		if count == 15 { // an integer follows
			size := byte(number(at, 1))
			failed = failed || size>>4 != plistInt || size&15 > 3
			count, at = number(at+1, 1<<(size&3)), at+1+1<<(size&3)
		}
		failed = failed || count > uint64(len(b))
		return kind, count, at
	}
	kind, count, at := object(top)
	if failed || kind != plistArray || count > mostTags {
		return nil, errTagList
	}
	var tags []string
	for i := range count {
		kind, n, text := object(number(at+i*uint64(refSize), refSize))
		if kind == plistUTF16 {
			n *= 2
		}
		if failed || kind != plistASCII && kind != plistUTF16 || text > uint64(len(b)) || n > uint64(len(b))-text {
			return nil, errTagList
		}
		content := b[text:][:n]
		if kind == plistASCII {
			tags = append(tags, string(content))
			continue
		}
		u := make([]uint16, n/2)
		for i := range u {
			u[i] = binary.BigEndian.Uint16(content[2*i:])
		}
		tags = append(tags, string(utf16.Decode(u)))
	}
	return tags, nil
}

// encodeTagList returns nil for no tags: then there is no attribute.
func encodeTagList(tags []string) ([]byte, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	if len(tags) > mostTags {
		return nil, fmt.Errorf("more than %d tags", mostTags)
	}
	b := []byte(plistMagic)
	begin := func(kind byte, count int) {
		if count < 15 {
			b = append(b, kind<<4|byte(count))
			return
		}
		b = binary.BigEndian.AppendUint32(append(b, kind<<4|15, plistInt<<4|2), uint32(count))
	}
	offsets := []int{len(b)}
	begin(plistArray, len(tags))
	for i := range tags {
		b = binary.BigEndian.AppendUint16(b, uint16(i+1))
	}
	for _, t := range tags {
		if !utf8.ValidString(t) {
			return nil, fmt.Errorf("the tag %q is not text", t)
		}
		offsets = append(offsets, len(b))
		if strings.IndexFunc(t, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
			begin(plistASCII, len(t))
			b = append(b, t...)
			continue
		}
		u := utf16.Encode([]rune(t))
		begin(plistUTF16, len(u))
		for _, c := range u {
			b = binary.BigEndian.AppendUint16(b, c)
		}
	}
	table := len(b)
	for _, at := range offsets {
		b = binary.BigEndian.AppendUint32(b, uint32(at))
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 4, 2) // sizes of an offset and of a reference
	for _, v := range []int{len(offsets), 0, table} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b, nil
}

// tag changes the tags of a file, if they are what they were.
func (r *runner) tag(s *journal.Step, from *folder) error {
	var m tagMeta
	if err := unmarshalMeta(s.Meta, &m); err != nil {
		return err
	}
	if tagsAttribute == "" {
		return errNoTags
	}
	f, err := from.open(s.From)
	if err != nil {
		return cause(err)
	}
	defer f.Close()
	opened, err := statFile(f)
	if err != nil {
		return err
	}
	if r.undo {
		err = r.checkUndo(s, from, opened)
	} else {
		err = checkSource(s, opened)
	}
	if err != nil {
		return err
	}
	now, err := attribute(f, tagsAttribute)
	if err != nil {
		return err
	}
	if !sameValue(now, m.Old) {
		return errTagsChanged
	}
	if err := changeAttribute(f, tagsAttribute, m.Old, m.New); err != nil {
		return err
	}
	if err := syncContent(f); err != nil {
		return err
	}
	r.tagged[s.FromDir.Path] = true
	r.outs = append(r.outs, journal.Outcome{No: s.No, Count: 1, State: journal.Done, Ino: opened.Ino, Born: opened.Born})
	return nil
}

// sameValue compares values of an attribute, of which none is not the same as an empty one.
func sameValue(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// swapTags is the Meta that takes a Tag back.
func swapTags(b []byte) []byte {
	var m tagMeta
	if unmarshalMeta(b, &m) != nil {
		return b // carrying it out will say so
	}
	return tagMetaOf(m.New, m.Old)
}

// decideTags settles the steps that tag. They may tag a file several times, and it may have moved on since; but steps are
// carried out in order, so the value that it has now tells how many of them were.
func (s *settler) decideTags(ctx context.Context, j *journal.Journal, o *journal.Operation) error {
	type file struct {
		steps []journal.StepResult
		at    []place
	}
	type key struct {
		inode
		place // of a file that is not known by its inode
	}
	keyOf := func(step *journal.StepResult) key {
		if step.File.Ino == 0 {
			return key{place: place{step.FromDir.Path, step.From}}
		}
		return key{inode: inode{step.File.Ino, step.File.Born}}
	}
	files := map[key]*file{}
	for step, err := range j.Steps(ctx, *o, false) {
		if err != nil {
			return err
		}
		if step.Action != journal.Tag || step.State != journal.Unknown {
			continue
		}
		f := files[keyOf(&step)]
		if f == nil {
			f = &file{}
			files[keyOf(&step)] = f
		}
		f.steps = append(f.steps, step)
		f.at = append(f.at, place{step.FromDir.Path, step.From})
	}
	if len(files) == 0 {
		return nil
	}
	for step, err := range j.Steps(ctx, *o, false) {
		if err != nil {
			return err
		}
		if step.Action.Takes() && step.File.Ino != 0 {
			if f := files[keyOf(&step)]; f != nil {
				f.at = append(f.at, place{step.ToDir.Path, step.To})
			}
		}
	}
	for _, f := range files {
		s.decideTagged(f.steps, f.at)
	}
	return nil
}

// decideTagged settles the steps that tag one file, which is at one of some places.
func (s *settler) decideTagged(steps []journal.StepResult, at []place) {
	all := func(o journal.Outcome) {
		for i := range steps {
			s.known[steps[i].No] = o
		}
	}
	for _, p := range at {
		dir, m, there, err := s.at(&journal.Folder{Path: p.dir}, p.name)
		if err != nil || !there || !m.SameFile(steps[0].File) && checkSource(&steps[0].Step, m) != nil {
			continue
		}
		f, err := dir.open(p.name)
		if err != nil {
			all(outcome(journal.Lost, "cannot tell: %v", cause(err)))
			return
		}
		defer f.Close()
		now, err := attribute(f, tagsAttribute)
		if err == nil {
			err = syncContent(f)
		}
		if err != nil {
			all(outcome(journal.Lost, "cannot tell: %v", err))
			return
		}
		for done := len(steps); done >= 0; done-- {
			var before, after tagMeta
			last := max(done-1, 0)
			if unmarshalMeta(steps[last].Meta, &after) != nil || unmarshalMeta(steps[0].Meta, &before) != nil {
				all(outcome(journal.Lost, "cannot tell: %v", errMeta))
				return
			}
			if done > 0 && !sameValue(now, after.New) || done == 0 && !sameValue(now, before.Old) {
				continue
			}
			for i := range steps {
				s.known[steps[i].No] = outcome(journal.NotDone, "")
				if i < done {
					s.known[steps[i].No] = journal.Outcome{State: journal.Done, Ino: m.Ino, Born: m.Born}
				}
			}
			return
		}
		all(outcome(journal.Lost, "%v", errTagsChanged))
		return
	}
	all(outcome(journal.Lost, "%s", lostText))
}

// syncTags makes the tags of files durable, which no sync of their folders does.
func (r *runner) syncTags() error {
	synced := map[uint64]bool{}
	for path := range r.tagged {
		h, err := r.cache.get(path)
		for errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path { // gone since: what is above it is on the same disk
			path = filepath.Dir(path)
			h, err = r.cache.get(path)
		}
		if errors.Is(err, errLinkInPath) {
			continue
		}
		var m meta
		if err == nil {
			m, err = h.self()
		}
		if err == nil && !synced[m.Dev] {
			synced[m.Dev] = true
			err = h.syncAll()
		}
		if err != nil {
			return fmt.Errorf("sync the tags in %s: %w", path, err)
		}
	}
	return nil
}

// tagged is a file whose tags change.
type tagged struct{ dev, ino uint64 }

// tagging is what rules do to the tags of a file.
type tagging struct {
	set         bool
	add, remove []string
	planned     *extra
}

func (t *tagging) take(s rules.Step) {
	if s.Set {
		t.set, t.add, t.remove = true, nil, nil
	}
	without := func(list, out []string) []string {
		return slices.DeleteFunc(list, func(tag string) bool { return slices.Contains(out, tag) })
	}
	t.add = append(without(without(t.add, s.Remove), s.Add), s.Add...)
	t.remove = append(without(without(t.remove, s.Add), s.Remove), s.Remove...)
}

func prefixed(prefix string, list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = prefix + s
	}
	return out
}
