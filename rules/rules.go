// Package rules decides what becomes of a file: its kind, by name and content type, and what rules files say about it. It is
// pure: what it needs to know of disk, clock and environment it is told.
package rules

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"
)

//go:embed builtin.yaml
var builtinYAML []byte

// A Set is a compiled rule set. It never changes and is safe for concurrent use.
type Set struct {
	source     []byte
	kinds      []*Kind
	categories []string
	archive    *Kind // what tar.* is

	exts     map[string]extension // lower case, compound ones included
	suffixes map[string]suffix
	mimes    map[string]*Kind // exact types, and "image/" for image/*; a nil kind is generic

	anyFile    uint32 // companion rules that accept every file
	companions []companion
	endings    []ending

	names patterns
}

// A Kind is a category and a type within it, such as Images and Raw photos.
type Kind struct {
	Category, Type string

	// Program says that files of this kind run when they are opened.
	Program bool

	// Index is dense and counts from 0, which is the kind of files that nothing else claims.
	Index int

	// Lure marks the types that people open without a thought, so that programs like to look like them.
	Lure bool
}

type extension struct {
	kind      *Kind // nil for an extension known only as that of a companion
	sure      bool
	companion uint32 // rules by which a file of this extension follows another
	accepts   uint32 // rules by which other files follow a file of this extension
}

// A suffix says how the last extension joins the one before it.
type suffix uint8

const (
	compression suffix = 1 + iota
	encryption
)

// Builtin returns the rule set that forg comes with.
func Builtin() *Set { return builtin() }

var builtin = sync.OnceValue(func() *Set {
	s, err := parse(builtinYAML)
	if err != nil {
		panic("rules: builtin.yaml: " + err.Error()) // the tests parse it
	}
	return s
})

// Source returns the YAML that s was read from.
func (s *Set) Source() []byte { return slices.Clone(s.source) }

// Kinds returns all kinds; Kinds()[k.Index] is k. The caller must not change the slice.
func (s *Set) Kinds() []*Kind { return s.kinds }

// Categories returns the names of the categories in the order of the source. The caller must not change the slice.
func (s *Set) Categories() []string { return s.categories }

// maxExt is the longest extension in bytes, dots included, that is looked up.
const maxExt = 32

// fold appends s to buf with ASCII letters in lower case. Lookups convert the result with string(...) inside the index
// expression, which does not allocate.
func fold(buf []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf = append(buf, c)
	}
	return buf
}

// Split cuts name into stem and extension, so that name is stem or stem + "." + ext. Compound extensions are one
// (a.tar.gz, dump.sql.gz). A leading dot starts no extension, the stem is never empty, and what follows the last dot is
// an extension only if it could be one: no spaces, and not digits alone unless they are known (part.001, but not
// "Version 1.2").
func (s *Set) Split(name string) (stem, ext string) {
	lead := 0
	for lead < len(name) && name[lead] == '.' {
		lead++
	}
	i := strings.LastIndexByte(name, '.')
	if i <= lead || !s.plausible(name[i+1:]) {
		return name, ""
	}
	// At most two more segments join: nii.gz, pkg.tar.zst, d.ts.map.
	cut, end := i, i
	for range 2 {
		j := strings.LastIndexByte(name[:end], '.')
		if j <= lead || len(name)-j-1 > maxExt {
			break
		}
		if s.joins(name[j+1:], end-j-1) {
			cut = j
		}
		end = j
	}
	return name[:cut], name[cut+1:]
}

func (s *Set) plausible(ext string) bool {
	if ext == "" || len(ext) > maxExt {
		return false
	}
	digits := true
	for i := range len(ext) {
		c := ext[i]
		if c <= ' ' || c == '/' || c == 0x7f {
			return false
		}
		digits = digits && '0' <= c && c <= '9'
	}
	if digits {
		_, ok := s.exts[ext]
		return ok
	}
	return true
}

// joins reports whether ext, whose first segment is n bytes long, is one extension.
func (s *Set) joins(ext string, n int) bool {
	var buf [maxExt]byte
	b := fold(buf[:0], ext)
	if _, ok := s.exts[string(b)]; ok {
		return true
	}
	head, tail := b[:n], b[n+1:]
	kind := s.suffixes[string(tail)]
	if string(head) == "tar" {
		_, known := s.exts[string(tail)]
		return kind != 0 || !known && bytes.IndexByte(tail, '.') < 0
	}
	if kind != compression {
		return false
	}
	e, ok := s.exts[string(head)]
	return ok && e.sure && e.kind != nil && e.kind.Category != s.archive.Category
}

func (s *Set) lookup(ext string) extension {
	if ext == "" || len(ext) > maxExt {
		return extension{accepts: s.anyFile}
	}
	var buf [maxExt]byte
	b := fold(buf[:0], ext)
	if e, ok := s.exts[string(b)]; ok {
		return e
	}
	if i := bytes.IndexByte(b, '.'); i > 0 {
		if string(b[:i]) == "tar" {
			return extension{kind: s.archive, sure: true, accepts: s.anyFile}
		}
		if s.suffixes[string(b[i+1:])] == compression {
			// The companions of a file are not those of its compressed form.
			e := s.exts[string(b[:i])]
			return extension{kind: e.kind, sure: e.sure, accepts: s.anyFile}
		}
	}
	return extension{accepts: s.anyFile}
}

// ByExtension returns the kind that an extension stands for, or nil if it is not known. sure is false if formats of other
// kinds share the extension, and the content should be asked. Some names without an extension are known by themselves
// and may be asked for (Makefile, README).
func (s *Set) ByExtension(ext string) (k *Kind, sure bool) {
	e := s.lookup(ext)
	return e.kind, e.sure
}

// ByMIME returns the kind that a media type (RFC 6838) stands for, or nil if it is not known or says nothing about the
// file, as application/octet-stream and text/plain do. Parameters are ignored.
func (s *Set) ByMIME(mime string) *Kind {
	mime, _, _ = strings.Cut(mime, ";")
	mime = strings.TrimSpace(mime)
	var buf [128]byte
	if len(mime) > len(buf) {
		return nil
	}
	b := fold(buf[:0], mime)
	if k, ok := s.mimes[string(b)]; ok {
		return k
	}
	if i := bytes.IndexByte(b, '/'); i > 0 {
		return s.mimes[string(b[:i+1])]
	}
	return nil
}

// Disguised reports whether name makes a program look like something else: a second extension before the real one
// (invoice.pdf.exe), the real one pushed out of sight by spaces, or letters that are shown in reverse by U+202E.
func (s *Set) Disguised(name string) bool {
	const override = "\u202e"
	if strings.Contains(name, override) {
		return true
	}
	stem, ext := s.Split(strings.TrimRight(name, " ."))
	if k, _ := s.ByExtension(ext); k == nil || !k.Program {
		return false
	}
	_, ext = s.Split(strings.TrimRightFunc(stem, blank))
	k, sure := s.ByExtension(ext)
	return sure && k.Lure
}

// blank reports whether r leaves no mark on a screen.
func blank(r rune) bool {
	switch r {
	case '\u2800', '\u3164', '\u115f', '\u1160', '\uffa0', '_':
		return true
	}
	return unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// Lists returns the lists of names that name stands in.
func (s *Set) Lists(name string) Lists { return s.names.match(name) }

// PartialOf returns the name of the file that a download in progress is about to be (iso for iso.aria2). A file of
// that name beside it is not complete either.
func (s *Set) PartialOf(name string) (string, bool) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || s.names.match("x"+name[i:])&PartialNames == 0 {
		return "", false
	}
	return name[:i], true
}

// words is a YAML string of words, or a list of strings that are taken whole.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		*w = strings.Fields(n.Value)
		return nil
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: not a string", item.Line)
			}
			*w = append(*w, item.Value)
		}
		return nil
	}
	return fmt.Errorf("line %d: neither a string nor a list of strings", n.Line)
}

type document struct {
	Categories []struct {
		Name  string
		Types []struct {
			Name       string
			Program    bool
			Extensions words
			Ambiguous  words
			MIME       words `yaml:"mime"`
		}
	}
	GenericMIME words `yaml:"generic_mime"`
	Compression words
	Encryption  words
	Lures       words
	Companions  []struct {
		Of         words
		Extensions words
		Names      string
		Tags       bool
		Numbered   bool
	}
	CompanionFolders []struct {
		Of      words
		Endings words
	} `yaml:"companion_folders"`
	Partial        words
	System         words
	Project        words
	FolderBundles  words `yaml:"folder_bundles"`
	VersionControl words `yaml:"version_control"`
}

func parse(source []byte) (*Set, error) {
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(source))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	s := &Set{
		source:   source,
		kinds:    []*Kind{nil}, // for the first type of Other
		exts:     make(map[string]extension, 2048),
		suffixes: map[string]suffix{},
		mimes:    make(map[string]*Kind, 512),
	}
	s.names.add(doc.Partial, PartialNames)
	s.names.add(doc.System, SystemNames)
	s.names.add(doc.Project, ProjectMarkers)
	s.names.add(doc.FolderBundles, FolderBundleNames)
	s.names.add(doc.VersionControl, VersionControl)
	for _, c := range doc.Categories {
		if c.Name == "" || len(c.Types) == 0 {
			return nil, fmt.Errorf("category %q has no types", c.Name)
		}
		s.categories = append(s.categories, c.Name)
		for _, t := range c.Types {
			k := &Kind{Category: c.Name, Type: t.Name, Program: t.Program, Index: len(s.kinds)}
			if c.Name == "Other" && s.kinds[0] == nil {
				k.Index = 0
				s.kinds[0] = k
			} else {
				s.kinds = append(s.kinds, k)
			}
			if c.Name == "Archives" && s.archive == nil {
				s.archive = k
			}
			add := func(exts words, sure bool) error {
				for _, e := range exts {
					e = strings.ToLower(e)
					if _, ok := s.exts[e]; ok {
						return fmt.Errorf("extension %q is listed twice", e)
					}
					s.exts[e] = extension{kind: k, sure: sure}
				}
				return nil
			}
			if err := add(t.Extensions, true); err != nil {
				return nil, err
			}
			if err := add(t.Ambiguous, false); err != nil {
				return nil, err
			}
			for _, m := range t.MIME {
				m = strings.TrimSuffix(strings.ToLower(m), "*")
				if _, ok := s.mimes[m]; ok {
					return nil, fmt.Errorf("media type %q is listed twice", m)
				}
				s.mimes[m] = k
			}
		}
	}
	if s.kinds[0] == nil || s.archive == nil {
		return nil, fmt.Errorf("the categories Other and Archives are needed")
	}
	for _, m := range doc.GenericMIME {
		s.mimes[strings.ToLower(m)] = nil
	}
	for _, e := range doc.Compression {
		s.suffixes[strings.ToLower(e)] = compression
	}
	for _, e := range doc.Encryption {
		s.suffixes[strings.ToLower(e)] = encryption
	}
	for _, name := range doc.Lures {
		kinds, err := s.named(name)
		if err != nil {
			return nil, err
		}
		for _, k := range kinds {
			k.Lure = true
		}
	}
	for _, c := range doc.Companions {
		rule := companion{tags: c.Tags, numbered: c.Numbered}
		switch c.Names {
		case "stem":
			rule.stem = true
		case "full":
			rule.full = true
		case "both":
			rule.stem, rule.full = true, true
		default:
			return nil, fmt.Errorf("names: %q is not stem, full or both", c.Names)
		}
		bit, err := s.accept(&rule, c.Of)
		if err != nil {
			return nil, err
		}
		for _, e := range c.Extensions {
			e = strings.ToLower(e)
			x := s.exts[e]
			x.companion |= bit
			s.exts[e] = x
		}
	}
	for _, c := range doc.CompanionFolders {
		rule := companion{stem: true}
		bit, err := s.accept(&rule, c.Of)
		if err != nil {
			return nil, err
		}
		for _, e := range c.Endings {
			s.endings = append(s.endings, ending{strings.ToLower(e), bit})
		}
	}
	// Only now are all extensions known, those of companions too.
	for e, x := range s.exts {
		x.accepts |= s.anyFile
		for i, c := range s.companions {
			if x.kind != nil && slices.Contains(c.ofKinds, x.kind) || slices.Contains(c.ofExts, e) {
				x.accepts |= 1 << i
			}
		}
		s.exts[e] = x
	}
	return s, nil
}

// accept adds a companion rule for the files that the names in of stand for, and returns its bit.
func (s *Set) accept(rule *companion, of words) (uint32, error) {
	if len(s.companions) == 32 {
		return 0, fmt.Errorf("more than 32 rules for companions")
	}
	bit := uint32(1) << len(s.companions)
	for _, name := range of {
		switch {
		case name == "*":
			rule.unique = true
			s.anyFile |= bit
		case strings.HasPrefix(name, "."):
			rule.ofExts = append(rule.ofExts, strings.ToLower(name[1:]))
		default:
			kinds, err := s.named(name)
			if err != nil {
				return 0, err
			}
			rule.ofKinds = append(rule.ofKinds, kinds...)
		}
	}
	s.companions = append(s.companions, *rule)
	return bit, nil
}

// named returns the kinds of a category ("Images") or of a type in it ("Images/Raw photos").
func (s *Set) named(name string) ([]*Kind, error) {
	category, typ, one := strings.Cut(name, "/")
	var kinds []*Kind
	for _, k := range s.kinds {
		if k.Category == category && (!one || k.Type == typ) {
			kinds = append(kinds, k)
		}
	}
	if kinds == nil {
		return nil, fmt.Errorf("no category or type %q", name)
	}
	return kinds, nil
}
