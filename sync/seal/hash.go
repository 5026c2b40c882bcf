package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Hasher replaces what is called by a name with hashes of the names, under a secret that stays on the device: each part of a
// path, categories, the device's own name. The same name gets the same hash, so that a server still shows which files lay
// together and where they went. What was typed, options and errors are left out; contents are told by a hash of their hash.
//
// It hides names from who does not have the secret. It does not hide how folders are nested, which names are equal, how large
// files are and when they were moved. Its methods may be called from many goroutines.
type Hasher struct{ secret [32]byte }

// NewHasher makes a hasher of a device's secret.
func NewHasher(secret [32]byte) *Hasher { return &Hasher{secret} }

// maxHashed is what the body of an entry may have grown to, in bytes: hashes are longer than most names, and cannot be
// compressed. A server takes somewhat more.
const maxHashed = 900 << 10

// nameSize is the length of a hashed name in letters: 80 bits, so that two names will not meet.
const nameSize = 16

// naming is the hashing of one entry: it remembers the names that it has met, which are mostly those of the same folders.
type naming struct {
	mac   hash.Hash
	names map[string]string
}

func (h *Hasher) naming() *naming {
	return &naming{hmac.New(sha256.New, h.secret[:]), map[string]string{}}
}

func (n *naming) sum(purpose, text string) []byte {
	n.mac.Reset()
	n.mac.Write(appendText(nil, label+purpose))
	n.mac.Write([]byte(text))
	return n.mac.Sum(nil)
}

// name hashes one part of a path: to letters and digits, whatever it was.
func (n *naming) name(s string) string {
	if s == "" {
		return ""
	}
	hashed, ok := n.names[s]
	if !ok {
		hashed = codeText.EncodeToString(n.sum("name", s)[:nameSize*5/8])
		n.names[s] = hashed
	}
	return hashed
}

// path hashes the parts of a path. Its separators stay: / alone where it begins with one, \ too elsewhere.
func (n *naming) path(p string) string {
	separators := `/\`
	if strings.HasPrefix(p, "/") {
		separators = "/"
	}
	var b strings.Builder
	for p != "" {
		i := strings.IndexAny(p, separators)
		if i < 0 {
			b.WriteString(n.name(p))
			break
		}
		if b.Len() > api.MaxPath-2*nameSize { // what is left becomes one part, or the path would be longer than paths may be
			b.WriteString(n.name(p))
			break
		}
		b.WriteString(n.name(p[:i]))
		b.WriteByte(p[i])
		p = p[i+1:]
	}
	return b.String()
}

// roots hashes a list of folders, as in $PATH.
func (n *naming) roots(list string) string {
	separator := ";"
	if strings.HasPrefix(list, "/") {
		separator = ":"
	}
	all := strings.Split(list, separator)
	for i := range all {
		all[i] = n.path(all[i])
	}
	return strings.Join(all, separator)
}

// content is a hash of a hash: it tells equal contents apart from others, and not whether they are a file that somebody knows.
func (n *naming) content(s string) string {
	if s == "" {
		return ""
	}
	return "hmac-sha256:" + hex.EncodeToString(n.sum("content", s))
}

func exactPath(s string, b []byte) string {
	if len(b) > 0 {
		return string(b)
	}
	return s
}

// Seal is the entry with hashes for names. An entry of a kind that this version does not know becomes void. Errors: those of
// a body that cannot be read.
func (h *Hasher) Seal(_, _ uuid.UUID, e api.Entry) (api.Entry, error) {
	body, err := e.Decode()
	if err != nil {
		return api.Entry{}, fmt.Errorf("hash names: %w", err)
	}
	n, op := h.naming(), e.OpID
	switch b := body.(type) {
	case *api.Started:
		body = &api.Started{Kind: b.Kind, Root: n.roots(exactPath(b.Root, b.RootBytes)), Planned: b.Planned, RollbackOf: b.RollbackOf, CommandID: b.CommandID}
	case api.Files:
		files := make(api.Files, len(b))
		for i := range b {
			files[i] = n.record(&b[i])
		}
		body = files
	case *api.Outcomes:
		outcomes := make([]api.Outcome, len(b.Outcomes))
		for i, o := range b.Outcomes {
			outcomes[i] = api.Outcome{Seq: o.Seq, Count: o.Count, Status: o.Status, ContentHash: n.content(o.ContentHash)}
		}
		body = &api.Outcomes{Outcomes: outcomes}
	case *api.Finished, *api.RollbackResult, *api.Redact, *api.Void:
		body = api.Public(b, nil)
	case *api.DeviceRenamed:
		body = &api.DeviceRenamed{Name: "device " + n.name(b.Name)}
	default:
		op, body = uuid.Nil, &api.Void{}
	}
	out, err := api.NewEntry(e.Seq, e.ID, op, e.TSClient, body)
	if err != nil || len(out.Body) > maxHashed { // as with whatever an entry has no room for
		return api.NewEntry(e.Seq, e.ID, uuid.Nil, e.TSClient, &api.Void{})
	}
	return out, nil
}

func (n *naming) record(r *api.FileRecord) api.FileRecord {
	return api.FileRecord{OperationID: r.OperationID, Seq: r.Seq, Size: r.Size, Action: r.Action, Status: r.Status, MovedAt: r.MovedAt,
		SourcePath:      n.path(exactPath(r.SourcePath, r.SourcePathBytes)),
		DestinationPath: n.path(exactPath(r.DestinationPath, r.DestinationPathBytes)),
		Category:        n.name(r.Category), ContentHash: n.content(r.ContentHash)}
}

// Open is the entry as it is: hashes cannot be taken back.
func (h *Hasher) Open(_, _ uuid.UUID, e api.Entry) (api.Entry, error) { return e, nil }
