package organizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/blake3"

	"forg/journal"
)

// What the actions of rules need to know besides names, in journal.Step.Meta. All of it is part of the journal's file format.
// The Meta of a journal.Symlink is the text of the link, byte for byte.

// reflinkMeta is the Meta of a journal.Copy that must share the content of its original (a reflink), or fail.
const reflinkMeta = "reflink"

// tagMeta is the Meta of a journal.Tag. Values are raw, nil where the attribute is not there.
type tagMeta struct {
	Old []byte `json:"old"`
	New []byte `json:"new"`
}

// tagMetaOf is the Meta of a journal.Tag that turns the raw value old of the attribute that holds a file's tags into the
// raw value new. nil means that there is no such attribute, which is not the same as an empty one. See tagChange.
func tagMetaOf(old, new []byte) []byte { return mustMarshal(tagMeta{old, new}) }

// The modes of a journal.Write.
const (
	writeAppend    = "append"    // the version before, then the text
	writePrepend   = "prepend"   // the text, then the version before
	writeOverwrite = "overwrite" // the text alone
)

// writeMeta is the Meta of a journal.Write. Text that is not valid UTF-8 is in TextBytes.
type writeMeta struct {
	Mode      string `json:"mode"`
	Text      string `json:"text,omitempty"`
	TextBytes []byte `json:"text_bytes,omitempty"`
	Size      int64  `json:"size"`   // of the whole new content
	Hash      []byte `json:"blake3"` // of the whole new content
}

func (m *writeMeta) text() []byte {
	if len(m.TextBytes) > 0 {
		return m.TextBytes
	}
	return []byte(m.Text)
}

// writeMetaOf is the Meta of a journal.Write that makes a file of text and, in the modes writeAppend and writePrepend, of
// the content of the version before, which is read from before; nil if there is none. An error is before's, or says that
// the mode is unknown.
func writeMetaOf(mode string, text []byte, before io.Reader) ([]byte, error) {
	m := writeMeta{Mode: mode}
	if utf8.Valid(text) {
		m.Text = string(text)
	} else {
		m.TextBytes = text
	}
	hash := blake3.New()
	var err error
	if m.Size, err = m.compose(hash, before); err != nil {
		return nil, err
	}
	m.Hash = hash.Sum(nil)
	return mustMarshal(m), nil
}

// compose writes the new content, of which before is the old, and returns its size.
func (m *writeMeta) compose(w io.Writer, before io.Reader) (int64, error) {
	if before == nil {
		before = strings.NewReader("")
	}
	var parts []io.Reader
	switch m.Mode {
	case writeAppend:
		parts = []io.Reader{before, bytes.NewReader(m.text())}
	case writePrepend:
		parts = []io.Reader{bytes.NewReader(m.text()), before}
	case writeOverwrite:
		parts = []io.Reader{bytes.NewReader(m.text())}
	default:
		return 0, fmt.Errorf("write mode %q is none of append, prepend and overwrite", m.Mode)
	}
	return io.Copy(w, io.MultiReader(parts...))
}

// execMeta is the Meta of a journal.Exec. Lists of which something is not valid UTF-8 are in the fields with Bytes.
type execMeta struct {
	Argv      []string    `json:"argv,omitempty"`
	ArgvBytes [][]byte    `json:"argv_bytes,omitempty"`
	Env       []string    `json:"env,omitempty"`
	EnvBytes  [][]byte    `json:"env_bytes,omitempty"`
	Keeper    *keeperMeta `json:"keeper,omitempty"` // of a duplicate
}

// execMetaOf is the Meta of a journal.Exec that runs argv[0], with the other arguments as they are and with the variables
// NAME=value of env added to the environment. keep is nil unless it is about a duplicate.
func execMetaOf(argv, env []string, keep *keeperMeta) []byte {
	m := execMeta{Keeper: keep}
	m.Argv, m.ArgvBytes = exactStrings(argv)
	m.Env, m.EnvBytes = exactStrings(env)
	return mustMarshal(m)
}

func (m *execMeta) argv() []string { return eitherStrings(m.Argv, m.ArgvBytes) }
func (m *execMeta) env() []string  { return eitherStrings(m.Env, m.EnvBytes) }

// exactStrings puts a list where JSON keeps it byte for byte.
func exactStrings(list []string) ([]string, [][]byte) {
	if !slices.ContainsFunc(list, func(s string) bool { return !utf8.ValidString(s) }) {
		return list, nil
	}
	exact := make([][]byte, len(list))
	for i, s := range list {
		exact[i] = []byte(s)
	}
	return nil, exact
}

func eitherStrings(list []string, exact [][]byte) []string {
	if exact == nil {
		return list
	}
	list = make([]string, len(exact))
	for i, b := range exact {
		list[i] = string(b)
	}
	return list
}

// What a journal.Replace leaves in the place of a duplicate.
const (
	replaceHardlink = "hardlink" // another name of the file that stays
	replaceSymlink  = "symlink"  // a symbolic link to it, relative to the duplicate's folder
)

// keeperMeta is which file stays of a duplicate and one that equals it: the Meta of a journal.Share, and of a journal.Trash,
// Rename or Move of a duplicate. A path that is not valid UTF-8 is in KeepBytes. What of its identity is not known is 0.
type keeperMeta struct {
	Keep      string `json:"keep,omitempty"`
	KeepBytes []byte `json:"keep_bytes,omitempty"`
	Ino       uint64 `json:"ino,omitempty"`
	Born      int64  `json:"born,omitempty"`
	Mtime     int64  `json:"mtime,omitempty"`
	Similar   bool   `json:"similar,omitempty"` // it need not have the same bytes: a person has seen that it looks the same
}

func (m *keeperMeta) path() string {
	if len(m.KeepBytes) > 0 {
		return string(m.KeepBytes)
	}
	return m.Keep
}

// newKeeperMeta is about the file at the absolute path keep, which must be the one with the identity id; where that has no
// inode, whatever regular file is there must have the same content.
func newKeeperMeta(keep string, id journal.Identity) keeperMeta {
	m := keeperMeta{Ino: id.Ino, Born: id.Born, Mtime: id.Mtime}
	if utf8.ValidString(keep) {
		m.Keep = keep
	} else {
		m.KeepBytes = []byte(keep)
	}
	return m
}

// replaceMeta is the Meta of a journal.Replace and of its journal.Restore.
type replaceMeta struct {
	With      string `json:"with"`
	Text      string `json:"text,omitempty"` // of a symbolic link
	TextBytes []byte `json:"text_bytes,omitempty"`
	keeperMeta
}

func (m *replaceMeta) text() string {
	if len(m.TextBytes) > 0 {
		return string(m.TextBytes)
	}
	return m.Text
}

// keeperOf is the file that a step's file was found to equal, nil if it is no step about a duplicate.
func keeperOf(s *journal.Step) (*keeperMeta, error) {
	k := new(keeperMeta)
	var err error
	switch s.Action {
	case journal.Trash, journal.Rename, journal.Move: // of which an undo has a hash as Meta, and most have none
		if len(s.Meta) == 0 || s.Meta[0] != '{' || json.Unmarshal(s.Meta, k) != nil {
			return nil, nil
		}
	case journal.Replace, journal.Share:
		err = unmarshalMeta(s.Meta, k)
	case journal.Exec:
		var m execMeta
		if err = unmarshalMeta(s.Meta, &m); err == nil && m.Keeper == nil {
			return nil, nil
		}
		k = m.Keeper
	default:
		return nil, nil
	}
	if err == nil && k.path() == "" {
		err = fmt.Errorf("%w: it does not name the file that stays", errMeta)
	}
	return k, err
}

// replaceMetaOf is the Meta of a journal.Replace of a duplicate in the folder dir by a link (replaceHardlink or replaceSymlink)
// to the file that stays.
func replaceMetaOf(with, dir string, keep keeperMeta) []byte {
	m := replaceMeta{With: with, keeperMeta: keep}
	if with == replaceSymlink {
		text, err := filepath.Rel(dir, keep.path())
		if err != nil { // another volume
			text = keep.path()
		}
		if utf8.ValidString(text) {
			m.Text = text
		} else {
			m.TextBytes = []byte(text)
		}
	}
	return mustMarshal(m)
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // structs of strings and bytes have JSON
		panic(err)
	}
	return b
}

var errMeta = errors.New("what the journal says of it is damaged")

func unmarshalMeta(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errMeta, err)
	}
	return nil
}
