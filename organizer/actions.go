package organizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/blake3"
)

// What the actions of rules need to know besides names, in journal.Step.Meta. All of it is made by the constructors here
// and is part of the journal's file format.

// ReflinkMeta is the Meta of a journal.Copy that must share the content of its original (a reflink), or fail.
func ReflinkMeta() []byte { return []byte(reflinkMeta) }

const reflinkMeta = "reflink"

// SymlinkMeta is the Meta of a journal.Symlink: the text of the link, byte for byte.
func SymlinkMeta(text string) []byte { return []byte(text) }

// tagMeta is the Meta of a journal.Tag. Values are raw, nil where the attribute is not there.
type tagMeta struct {
	Old []byte `json:"old"`
	New []byte `json:"new"`
}

// TagMeta is the Meta of a journal.Tag that turns the raw value old of the attribute that holds a file's tags into the
// raw value new. nil means that there is no such attribute, which is not the same as an empty one. See TagChange.
func TagMeta(old, new []byte) []byte { return mustMarshal(tagMeta{old, new}) }

// The modes of a journal.Write.
const (
	WriteAppend    = "append"    // the version before, then the text
	WritePrepend   = "prepend"   // the text, then the version before
	WriteOverwrite = "overwrite" // the text alone
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

// WriteMeta is the Meta of a journal.Write that makes a file of text and, in the modes WriteAppend and WritePrepend, of
// the content of the version before, which is read from before; nil if there is none. An error is before's, or says that
// the mode is unknown.
func WriteMeta(mode string, text []byte, before io.Reader) ([]byte, error) {
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
	case WriteAppend:
		parts = []io.Reader{before, bytes.NewReader(m.text())}
	case WritePrepend:
		parts = []io.Reader{bytes.NewReader(m.text()), before}
	case WriteOverwrite:
		parts = []io.Reader{bytes.NewReader(m.text())}
	default:
		return 0, fmt.Errorf("write mode %q is none of append, prepend and overwrite", m.Mode)
	}
	return io.Copy(w, io.MultiReader(parts...))
}

// execMeta is the Meta of a journal.Exec. Lists of which something is not valid UTF-8 are in the fields with Bytes.
type execMeta struct {
	Argv      []string `json:"argv,omitempty"`
	ArgvBytes [][]byte `json:"argv_bytes,omitempty"`
	Env       []string `json:"env,omitempty"`
	EnvBytes  [][]byte `json:"env_bytes,omitempty"`
}

// ExecMeta is the Meta of a journal.Exec that runs argv[0], with the other arguments as they are and with the variables
// NAME=value of env added to the environment.
func ExecMeta(argv, env []string) []byte {
	var m execMeta
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
