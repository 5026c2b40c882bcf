package api

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
)

// Hash is a SHA-256; in JSON 64 lower-case hexadecimal digits.
type Hash [sha256.Size]byte

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText accepts exactly what MarshalText writes, so that a hash has one form only.
func (h *Hash) UnmarshalText(text []byte) error {
	var v Hash
	if len(text) != 2*len(v) {
		return fmt.Errorf("read hash: %d characters, want %d", len(text), 2*len(v))
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("read hash: %q is no lower-case hexadecimal digit", c)
		}
	}
	if _, err := hex.Decode(v[:], text); err != nil {
		return fmt.Errorf("read hash: %w", err)
	}
	*h = v
	return nil
}

// Kinds of entries. Others are stored and carried on without being understood.
const (
	KindStarted  = "op.started"      // Started
	KindFiles    = "files"           // Files: what is about to be done to files
	KindOutcomes = "outcomes"        // Outcomes: what became of them, where it is not what was intended
	KindFinished = "op.finished"     // Finished
	KindRollback = "rollback.result" // RollbackResult
	KindRedact   = "redact"          // Redact
	KindRenamed  = "device.renamed"  // DeviceRenamed
	KindVoid     = "void"            // Void: keeps the numbering without a gap
)

// Codecs of an entry's body.
const (
	CodecPlain = ""
	CodecZstd  = "zstd" // one frame of RFC 8878 that tells its content's size
)

// Entry is one event of a device's log. Its number is that of the journal's event that it is made of. What it says is
// fixed by SHA256, except for Codec, which is only how Body travels.
type Entry struct {
	_        struct{}  `json:"-" additionalProperties:"true"`
	Seq      int64     `json:"seq" doc:"1, 2, 3, ... within the epoch, without a gap."`
	ID       uuid.UUID `json:"id" doc:"UUIDv7."`
	OpID     uuid.UUID `json:"op_id,omitzero" doc:"The operation that it is about, if any."`
	Kind     string    `json:"kind"`
	Schema   int       `json:"schema" doc:"Version of the body's form; 1 today."`
	TSClient int64     `json:"ts_client" doc:"When, by the device's clock, in microseconds since 1970 UTC."`
	KeyID    string    `json:"key_id,omitempty" doc:"The key that the body is sealed with; absent where it is not."`
	SHA256   Hash      `json:"sha256"`
	Codec    string    `json:"codec,omitempty" doc:"How the body travels: absent (as it is) or zstd."`
	Body     []byte    `json:"body,omitempty" doc:"Base64."`
	Redacted bool      `json:"redacted,omitempty" doc:"The body was erased; its hash stays, so that the chain can still be checked."`
}

// Sum is the hash of an entry whose decompressed body is raw: SHA-256 over seq, id, op_id, kind, schema, ts_client,
// key_id and raw; numbers big-endian in 8 bytes, kind, key_id and raw led by their length in 8 bytes.
func (e *Entry) Sum(raw []byte) Hash {
	h := sha256.New()
	b := make([]byte, 0, 128+len(e.Kind)+len(e.KeyID))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Seq))
	b = append(b, e.ID[:]...)
	b = append(b, e.OpID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Kind)))
	b = append(b, e.Kind...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Schema))
	b = binary.BigEndian.AppendUint64(b, uint64(e.TSClient))
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.KeyID)))
	b = append(b, e.KeyID...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(raw)))
	h.Write(b)
	h.Write(raw)
	return Hash(h.Sum(nil))
}

// Genesis is the chain of a log before its first entry: SHA-256 over device and epoch.
func Genesis(device, epoch uuid.UUID) Hash {
	return sha256.Sum256(append(device[:], epoch[:]...))
}

// Next is the chain after an entry: SHA-256 over the chain before and the entry's SHA256. The inputs of Genesis, Next
// and Sum differ in length, so none can pass for another.
func (h Hash) Next(entry Hash) Hash {
	return sha256.Sum256(append(h[:], entry[:]...))
}

// LogHead is how far a log is stored: Chain is what follows from all entries up to AckedSeq.
type LogHead struct {
	AckedSeq int64
	Chain    Hash
}

// GapError says that a push leaves out entries: the log is there up to Acked only.
type GapError struct{ Acked int64 }

func (e *GapError) Error() string {
	return fmt.Sprintf("the entries leave a gap: the log is known up to %d", e.Acked)
}

// ForkError says that two logs of one epoch differ at Seq: the device was cloned, or its journal restored.
type ForkError struct{ Seq int64 }

func (e *ForkError) Error() string {
	return fmt.Sprintf("entry %d differs from the one that is known", e.Seq)
}

// Extend decides what becomes of a valid push on a log that ends at h (of a new log: 0 and Genesis): which entries are
// new and where the log ends then. known tells the SHA256 of an entry that is stored; false for one that retention has
// removed. The same push again gives no new entries and the same head. Errors: *GapError, *ForkError.
func (h LogHead) Extend(req *PushRequest, known func(seq int64) (Hash, bool)) (fresh []Entry, next LogHead, err error) {
	if len(req.Entries) == 0 {
		return nil, h, nil
	}
	first := req.Entries[0].Seq
	if first > h.AckedSeq+1 {
		return nil, h, &GapError{Acked: h.AckedSeq}
	}
	if first == h.AckedSeq+1 && req.PrevChain != h.Chain {
		return nil, h, &ForkError{Seq: h.AckedSeq}
	}
	next = h
	for i := range req.Entries {
		e := &req.Entries[i]
		if e.Seq <= h.AckedSeq {
			if sha, ok := known(e.Seq); ok && sha != e.SHA256 {
				return nil, h, &ForkError{Seq: e.Seq}
			}
			continue
		}
		if fresh == nil {
			fresh = req.Entries[i:]
		}
		next = LogHead{AckedSeq: e.Seq, Chain: next.Chain.Next(e.SHA256)}
	}
	return fresh, next, nil
}
