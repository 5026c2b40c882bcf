package store

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Entry is an event of a device's history.
type Entry struct {
	Seq      int64 // 1, 2, 3, ... within the epoch
	ID       uuid.UUID
	OpID     uuid.UUID // uuid.Nil: of no operation
	Kind     string
	Schema   int64
	Codec    string // how Body is encoded
	ClientAt time.Time
	SHA      [32]byte // SHA-256 of the entry, checked by the caller
	Body     []byte   // nil: redacted, or removed with age
}

// Push is a part of a device's history.
type Push struct {
	Device    uuid.UUID
	Epoch     uuid.UUID
	PrevChain [32]byte // the chain before the first entry
	Entries   []Entry  // Seq without a gap
	MaxBytes  int64    // what all bodies of the user may take, in bytes; 0: no limit
}

// Pushed is the answer to a push: how far the server's history of the device goes now.
type Pushed struct {
	Acked    int64
	Chain    [32]byte // at Acked
	Head     int64    // server sequence number of the user's newest entry
	Commands int64    // open commands that wait for the device
}

// Push adds entries to the log, brings operations up to date, and answers when that is on disk. Entries that are there
// already are compared; the same push again is answered as before. *GapError, *ForkError, ErrEpochRetired, ErrQuota,
// ErrRevoked, ErrNotFound (no such device).
func (s *Store) Push(ctx context.Context, user uuid.UUID, p Push) (Pushed, error) { panic("soon") }

// Pulled is an entry as others get it.
type Pulled struct {
	ServerSeq  int64
	Device     uuid.UUID
	Epoch      uuid.UUID
	Entry      Entry
	ReceivedAt time.Time
}

// PullFrom says what to pull.
type PullFrom struct {
	After  int64     // server sequence number of the last entry that the puller has
	Limit  int       // entries at most; 0: all
	Except uuid.UUID // the puller's own device; uuid.Nil: nothing is left out
}

// Pull hands out entries in the order of the server. It reads pages of at most 500 entries and some MiB and keeps no
// connection while each works. next is the cursor to go on from, head the newest entry there is. ErrCursorExpired.
func (s *Store) Pull(ctx context.Context, user uuid.UUID, p PullFrom, each func(Pulled) error) (next, head int64, err error) {
	panic("soon")
}

// DeviceState is how far a device's history has come in and how far the device has pulled.
type DeviceState struct {
	Device     uuid.UUID
	Epoch      uuid.UUID
	Acked      int64
	Chain      [32]byte
	PullCursor int64
	RetiredAt  time.Time // zero: the current epoch
	UpdatedAt  time.Time
}

// Ack writes down that the device has everything up to cursor. A cursor never goes back. ErrNotFound: the epoch has
// pushed nothing and the device does not exist.
func (s *Store) Ack(ctx context.Context, user, device, epoch uuid.UUID, cursor int64) error {
	panic("soon")
}

// DeviceStates are those of the user's devices, all epochs.
func (s *Store) DeviceStates(ctx context.Context, user uuid.UUID) ([]DeviceState, error) {
	panic("soon")
}
