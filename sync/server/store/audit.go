package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// AuditEvent is who did what, when, from where. It names no path.
type AuditEvent struct {
	N       int64     // 1, 2, 3, ... of the user
	UserID  uuid.UUID // whose trail it is in; uuid.Nil: the service's own, for what has no user
	At      time.Time
	Actor   string // session:..., key:..., operator
	Action  string // auth.login, device.revoke, ...
	Target  string // id of what it was done to
	Address string // of the client
	Request string // id of the request
	Detail  json.RawMessage
	Chain   [32]byte // SHA-256 of the chain before and the event
}

// Audit appends an event to the user's trail.
func (s *Store) Audit(ctx context.Context, e AuditEvent) error { panic("soon") }

// AuditTrail lists events of a user (uuid.Nil: of the service), newest first.
func (s *Store) AuditTrail(ctx context.Context, user uuid.UUID, p Page) (events []AuditEvent, next string, err error) {
	panic("soon")
}

// VerifyAudit recomputes the chain of a trail; an error names the first event that was changed.
func (s *Store) VerifyAudit(ctx context.Context, user uuid.UUID) error { panic("soon") }

// Counts is how much there is.
type Counts struct {
	Users, Devices, Operations, OpenOperations, Entries, OpenCommands int64
	Jobs                                                              map[string]int64 // by state
}

// Count counts; large tables are estimated where the database can.
func (s *Store) Count(ctx context.Context) (Counts, error) { panic("soon") }

// Retention is how long things are kept; 0 keeps them for ever.
type Retention struct {
	Entries     time.Duration // bodies of the log, but never what a living device has not pulled yet
	Audit       time.Duration
	Commands    time.Duration // finished ones
	Sessions    time.Duration // after their end
	Idempotency time.Duration
	Idle        time.Duration // a device not seen for so long keeps nothing back
}

// DefaultRetention is 400 days of history and audit trail, 90 of commands, 30 of ended sessions, 1 of idempotency keys;
// a device that was away for 90 days holds nothing back.
var DefaultRetention = Retention{Entries: 400 * day, Audit: 400 * day, Commands: 90 * day, Sessions: 30 * day, Idempotency: day, Idle: 90 * day}

const day = 24 * time.Hour

// Removed is what Housekeep took away.
type Removed struct{ Entries, Audit, Commands, Sessions, Keys int64 }

// Housekeep removes what is older than r says, in small transactions, and expires commands.
func (s *Store) Housekeep(ctx context.Context, r Retention) (Removed, error) { panic("soon") }

// Event says that something has changed. It is a hint, and may get lost: what is true is in the database.
type Event struct {
	User uuid.UUID
	Kind string    // operation, log, command
	ID   uuid.UUID // of the operation; of the device for log and command
	Seq  int64     // the operation's version; the log's head
}

// Subscribe calls fn with every event of this process and, on PostgreSQL, of all others, until stop is called. fn must not
// block.
func (s *Store) Subscribe(fn func(Event)) (stop func()) { panic("soon") }

func (s *Store) deliver(e Event) { panic("soon") }
