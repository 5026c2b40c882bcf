// Package api is what the hosted API and its clients say to each other: the types on the wire, their codecs, limits,
// checks and hash chain. It is pure: it knows no disk, no clock and no network.
//
// PROTOCOL.md beside it is the normative text; the golden files in testdata/sync hold both to each other. Whatever is
// read from a peer may come from a newer version: unknown fields are ignored, unknown kinds of entries are carried on
// as they are.
package api

import (
	"time"

	"github.com/google/uuid"
)

// Protocol is the name of the sync protocol that this package speaks.
const Protocol = "forg-sync/1"

// Limits is what one request may hold. A server tells its own by Capabilities and in every answer to a push.
type Limits struct {
	_                  struct{} `json:"-" additionalProperties:"true"`
	MaxEntries         int      `json:"max_entries" doc:"Entries in one push."`
	MaxCompressedBytes int64    `json:"max_compressed_bytes" doc:"Bytes of the body of a push as sent."`
	MaxDecodedBytes    int64    `json:"max_decoded_bytes" doc:"Bytes of the body of a push once its Content-Encoding is taken off."`
	MaxBodyBytes       int64    `json:"max_body_bytes" doc:"Bytes of the body of one entry, decompressed; at most 16 MiB."`
	MaxRecords         int      `json:"max_records" doc:"File records in one entry."`
	MaxPullEntries     int      `json:"max_pull_entries" doc:"Entries in one answer to a pull."`
	MaxWaitSeconds     int      `json:"max_wait_seconds" doc:"How long a pull or a question for commands may wait."`
}

// DefaultLimits are what a server has unless its operator says otherwise. A client may rely on none to be lower than a
// quarter of these.
func DefaultLimits() Limits {
	return Limits{
		MaxEntries:         1000,
		MaxCompressedBytes: 1 << 20,
		MaxDecodedBytes:    8 << 20,
		MaxBodyBytes:       4 << 20,
		MaxRecords:         MaxRecords,
		MaxPullEntries:     10000,
		MaxWaitSeconds:     30,
	}
}

// Capabilities answers GET /api/v1/sync/capabilities.
type Capabilities struct {
	_          struct{}  `json:"-" additionalProperties:"true"`
	Protocols  []string  `json:"protocols" doc:"The sync protocols that the server speaks, the best one first."`
	Kinds      []string  `json:"kinds" doc:"The kinds of entries that the server understands; it stores others as they are."`
	Features   []string  `json:"features" doc:"What the server can besides: commands, wait, zstd, gzip, keys."`
	Limits     Limits    `json:"limits"`
	ServerTime time.Time `json:"server_time"`
}

// PushRequest is the body of POST /api/v1/sync/push: the next entries of one epoch of one device's log. One without
// entries asks how far the log is there.
type PushRequest struct {
	_         struct{}  `json:"-" additionalProperties:"true"`
	Protocol  string    `json:"protocol"`
	DeviceID  uuid.UUID `json:"device_id"`
	Epoch     uuid.UUID `json:"epoch" doc:"Random; a new one whenever a journal begins anew, is cloned or was restored."`
	PrevChain Hash      `json:"prev_chain" doc:"The chain after the entry before the first one."`
	Entries   []Entry   `json:"entries"`
}

// PushResponse answers a push that was taken, or that had been taken before.
type PushResponse struct {
	_               struct{}  `json:"-" additionalProperties:"true"`
	AckedSeq        int64     `json:"acked_seq" doc:"All entries of the epoch up to this one are stored durably."`
	Chain           Hash      `json:"chain" doc:"The chain after that entry."`
	Head            int64     `json:"head" doc:"The newest server_seq of the account."`
	ServerTime      time.Time `json:"server_time"`
	Limits          Limits    `json:"limits"`
	CommandsPending int       `json:"commands_pending" doc:"Commands that wait for this device."`
}

// PullEntry is an entry of another device as a pull tells it: one line of the answer.
type PullEntry struct {
	_          struct{}  `json:"-" additionalProperties:"true"`
	ServerSeq  int64     `json:"server_seq" doc:"Grows within an account in the order of pulls; has gaps."`
	DeviceID   uuid.UUID `json:"device_id"`
	Epoch      uuid.UUID `json:"epoch"`
	ReceivedAt time.Time `json:"received_at"`
	Entry
}

// PullEnd is the last line of the answer to a pull. An answer without it was cut off.
type PullEnd struct {
	_     struct{} `json:"-" additionalProperties:"true"`
	Next  int64    `json:"next" doc:"What to ask after next."`
	Head  int64    `json:"head" doc:"The newest server_seq of the account; there is more while next is less."`
	Reset bool     `json:"reset,omitempty" doc:"What was pulled before is no longer to be relied on: begin again after 0."`
}

// AckRequest is the body of POST /api/v1/sync/ack: all up to the cursor is committed by the device.
type AckRequest struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Cursor int64    `json:"cursor" minimum:"0"`
}

// AckResponse answers an acknowledgement.
type AckResponse struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Cursor int64    `json:"cursor" doc:"The cursor as kept: it never goes back."`
	Head   int64    `json:"head"`
}

// SyncState answers GET /api/v1/sync/state: how far each log of the account is there.
type SyncState struct {
	_      struct{}    `json:"-" additionalProperties:"true"`
	Head   int64       `json:"head"`
	Cursor int64       `json:"cursor" doc:"What the asking device has acknowledged."`
	Logs   []DeviceLog `json:"logs"`
}

// DeviceLog is how far one epoch of a device's log is there. Two who hold the same chain hold the same log.
type DeviceLog struct {
	_        struct{}  `json:"-" additionalProperties:"true"`
	DeviceID uuid.UUID `json:"device_id"`
	Epoch    uuid.UUID `json:"epoch"`
	AckedSeq int64     `json:"acked_seq"`
	Chain    Hash      `json:"chain"`
	Retired  bool      `json:"retired,omitempty" doc:"A newer epoch of the device has taken its place; it takes no more entries."`
}
