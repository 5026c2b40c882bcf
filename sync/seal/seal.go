// Package seal keeps what a device's history says from the server that stores it: it seals the entries of a log with a key
// that only the account's devices hold, or replaces names by hashes. It speaks to nobody, and knows no file but the one
// that a device keeps its keys in.
//
// A sealed entry is its body under XChaCha20-Poly1305, with everything else that the entry says as associated data: an entry
// that was changed, or moved to another place, log or account, cannot be opened. What is sealed is compressed first and
// padded, so that its length tells little. Sealing the same entry again gives the same bytes: the nonce follows from the
// key, the place and the content, so that no two contents can ever share one.
//
// The keys are those of Keys; "End-to-end encryption" in PROTOCOL.md is the normative text.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/google/uuid"
	"golang.org/x/crypto/chacha20poly1305"

	"forg/sync/api"
)

// Mode is how a device's history leaves it: the values of the setting sync.paths.
type Mode string

// The modes.
const (
	Full      Mode = "full"      // readable
	Hashed    Mode = "hashed"    // names are replaced by hashes: Hasher
	Encrypted Mode = "encrypted" // sealed: Keys
)

// Errors that callers tell apart.
var (
	ErrKey     = errors.New("this device does not have the key")
	ErrDamaged = errors.New("it was damaged or forged")
)

// label is the first part of all that is hashed or derived here, so that nothing of another protocol can pass for it.
const label = "forg-seal/1 "

// rootSize is the length of a root key in bytes.
const rootSize = 32

// root is one key of an account: all others follow from it.
type root [rootSize]byte

// derive makes n bytes for a purpose of an account.
func (r *root) derive(account uuid.UUID, purpose string, n int) []byte {
	b, err := hkdf.Key(sha256.New, r[:], account[:], label+purpose, n)
	if err != nil {
		panic(err) // only for lengths that nobody asks for
	}
	return b
}

// id is how others call the key.
func (r *root) id(account uuid.UUID) string { return fmt.Sprintf("%x", r.derive(account, "id", 8)) }

// logKey seals the entries of one epoch of a device.
type logKey struct{ seal, nonce [32]byte }

func (r *root) logKey(account, device, epoch uuid.UUID) *logKey {
	b := r.derive(account, "entries "+string(device[:])+string(epoch[:]), 64)
	return &logKey{[32]byte(b[:32]), [32]byte(b[32:])}
}

// additional is what is authenticated with a body: everything that the entry says beside it, and where it stands. It is
// frozen: see testdata/sync/sealed-1.json.
func additional(account, device, epoch uuid.UUID, keyID string, e *api.Entry) []byte {
	b := append(make([]byte, 0, 256), label+"entry"...)
	b = appendText(b, api.Protocol)
	b = append(b, account[:]...)
	b = append(b, device[:]...)
	b = append(b, epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Seq))
	b = append(b, e.ID[:]...)
	b = append(b, e.OpID[:]...)
	b = appendText(b, e.Kind)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Schema))
	b = binary.BigEndian.AppendUint64(b, uint64(e.TSClient))
	return appendText(b, keyID)
}

// appendText adds a text led by its length in 8 bytes.
func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}

// Of what is sealed: a byte for the codec, the length in 4 bytes, the body as it travelled before, zeros.
const (
	headSize   = 5
	leastSize  = 64 // most entries that are no list of files have one size
	boxPlain   = 0
	boxZstd    = 1
	overhead   = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	maxBoxSize = 16<<20 + headSize // as much as a body may have, see package api
)

// padded is the length to which n bytes are filled up (Padmé, of the PURBs paper by Nikitin and others): at most 12 % more,
// and of all lengths up to 1 MiB fewer than 300 are left.
func padded(n int) int {
	n = max(n, leastSize)
	e := bits.Len(uint(n)) - 1
	last := uint(max(0, e-bits.Len(uint(e)))) // bits that become zero
	mask := 1<<last - 1
	return (n + mask) &^ mask
}

// box seals a body. It is the same box whenever it is made of the same.
func (k *logKey) box(aad []byte, codec string, body []byte) ([]byte, error) {
	plain := make([]byte, padded(headSize+len(body)))
	switch codec {
	case api.CodecPlain:
		plain[0] = boxPlain
	case api.CodecZstd:
		plain[0] = boxZstd
	default:
		return nil, fmt.Errorf("codec is %.40q, want nothing or zstd", codec)
	}
	binary.BigEndian.PutUint32(plain[1:], uint32(len(body)))
	copy(plain[headSize:], body)
	aead, err := chacha20poly1305.NewX(k.seal[:])
	if err != nil {
		return nil, err
	}
	// Of two different contents, or two places, the nonces differ: it is a hash of both under a key of its own.
	h := hmac.New(sha256.New, k.nonce[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(aad))))
	h.Write(aad)
	h.Write(plain)
	nonce := h.Sum(nil)[:chacha20poly1305.NonceSizeX]
	return aead.Seal(append(make([]byte, 0, overhead+len(plain)), nonce...), nonce, plain, aad), nil
}

// open opens a box. Errors: ErrDamaged.
func (k *logKey) open(aad, box []byte) (codec string, body []byte, err error) {
	if len(box) < overhead+headSize || len(box) > overhead+padded(maxBoxSize) {
		return "", nil, ErrDamaged
	}
	aead, err := chacha20poly1305.NewX(k.seal[:])
	if err != nil {
		return "", nil, err
	}
	nonce, rest := box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, rest, aad)
	if err != nil {
		return "", nil, ErrDamaged
	}
	n := int64(binary.BigEndian.Uint32(plain[1:]))
	if n > int64(len(plain)-headSize) || plain[0] > boxZstd {
		return "", nil, ErrDamaged // somebody with the key wrote nonsense
	}
	if plain[0] == boxZstd {
		codec = api.CodecZstd
	}
	return codec, plain[headSize : headSize+n : headSize+n], nil
}

// Seal is the entry of a log as a server is to have it. Of what a server shows (that an operation began, how it ended and how
// many files it was about) a copy stays readable beside what is sealed; of the rest nothing is. The same entry gives the same
// bytes. Errors: ErrKey when there is no key.
func (k *Keys) Seal(device, epoch uuid.UUID, e api.Entry) (api.Entry, error) {
	if len(k.roots) == 0 {
		return api.Entry{}, fmt.Errorf("seal entry %d: %w", e.Seq, ErrKey)
	}
	r := &k.roots[len(k.roots)-1]
	if e.KeyID != "" || e.Redacted {
		return api.Entry{}, fmt.Errorf("seal entry %d: it is sealed already, or redacted", e.Seq)
	}
	box, err := k.logKey(r, device, epoch).box(additional(k.Account, device, epoch, r.id, &e), e.Codec, e.Body)
	if err != nil {
		return api.Entry{}, fmt.Errorf("seal entry %d: %w", e.Seq, err)
	}
	if e.SealsInPart() {
		body, err := e.Decode()
		if err != nil {
			return api.Entry{}, fmt.Errorf("seal: %w", err)
		}
		return api.NewEntry(e.Seq, e.ID, e.OpID, e.TSClient, api.Public(body, &api.Sealed{KeyID: r.id, Box: box}))
	}
	e.KeyID, e.Codec, e.Body = r.id, api.CodecPlain, box
	e.SHA256 = e.Sum(box)
	return e, nil
}

// Open is the entry as it was before it was sealed, with the hash that it had then. An entry that is readable or redacted
// comes back as it is: see IsSealed. Errors: ErrKey (of a key that this device does not have, yet), ErrDamaged.
func (k *Keys) Open(device, epoch uuid.UUID, e api.Entry) (api.Entry, error) {
	id, box, err := sealed(&e)
	if err != nil {
		return api.Entry{}, fmt.Errorf("open entry %d: %w", e.Seq, err)
	}
	if box == nil {
		return e, nil
	}
	r := k.root(id)
	if r == nil {
		return api.Entry{}, fmt.Errorf("open entry %d, sealed with key %.64q: %w", e.Seq, id, ErrKey)
	}
	codec, body, err := k.logKey(r, device, epoch).open(additional(k.Account, device, epoch, id, &e), box)
	if err != nil {
		return api.Entry{}, fmt.Errorf("open entry %d: %w", e.Seq, err)
	}
	e.KeyID, e.Codec, e.Body = "", codec, body
	raw, err := e.Raw(maxBoxSize)
	if err != nil {
		return api.Entry{}, fmt.Errorf("open entry %d: %w", e.Seq, err)
	}
	e.SHA256 = e.Sum(raw)
	return e, nil
}

// IsSealed reports whether an entry is sealed, whole or in part. A log is readable up to some entry and sealed from there on:
// whoever reads it refuses a readable one that comes later, since a server could have made it.
func IsSealed(e *api.Entry) bool {
	_, box, err := sealed(e)
	return box != nil || err != nil
}

// sealed finds the box of an entry; it has none if it is readable or redacted.
func sealed(e *api.Entry) (keyID string, box []byte, err error) {
	if e.Redacted {
		return "", nil, nil
	}
	if e.KeyID != "" {
		if e.Codec != api.CodecPlain || len(e.Body) == 0 {
			return "", nil, ErrDamaged
		}
		return e.KeyID, e.Body, nil
	}
	part, err := e.SealedPart()
	if err != nil || part == nil {
		return "", nil, err
	}
	if len(part.Box) == 0 {
		return "", nil, ErrDamaged
	}
	return part.KeyID, part.Box, nil
}
