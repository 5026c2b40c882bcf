package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// States of commands. All but the first three are final.
const (
	Queued          = "queued"
	Leased          = "leased"
	CommandRunning  = "running"
	Succeeded       = "succeeded"
	CommandPartial  = "partial"
	Refused         = "refused"
	CommandFailed   = "failed"
	Expired         = "expired"
	CommandCanceled = "cancelled"
)

// Command is something a device is asked to do.
type Command struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	DeviceID   uuid.UUID
	Kind       string    // organize, rollback, cancel
	Operation  uuid.UUID // what it carries out
	Target     uuid.UUID // rollback: what it takes back
	Params     json.RawMessage
	MAC        []byte
	State      string
	CreatedBy  string // who asked: a session, an API key
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Lease      uuid.UUID // of the device that has it
	LeaseUntil time.Time
	Attempts   int64
	Result     json.RawMessage
	Error      string
	FinishedAt time.Time
}

// LeaseCommands hands out up to max open commands for the device, oldest first, each for the time given; one whose lease
// ran out is handed out again.
func (s *Store) LeaseCommands(ctx context.Context, user, device uuid.UUID, max int, lease time.Duration) ([]Command, error) {
	panic("soon")
}

// RenewCommand says that the device is at work: the state is running and the lease lasts again. ErrNotFound, ErrFinal,
// ErrLeaseLost.
func (s *Store) RenewCommand(ctx context.Context, user, id, lease uuid.UUID, forTime time.Duration) (Command, error) {
	panic("soon")
}

// FinishCommand gives a command its final state, and its operation, if no word of it has come through the log, the status
// that follows. The same state again is answered as before. ErrNotFound, ErrFinal, ErrLeaseLost.
func (s *Store) FinishCommand(ctx context.Context, user, id, lease uuid.UUID, state string, result json.RawMessage, problem string) (Command, error) {
	panic("soon")
}

// CancelCommand takes back a command that no device is at work on. ErrNotFound, ErrFinal.
func (s *Store) CancelCommand(ctx context.Context, user, id uuid.UUID) (Command, error) {
	panic("soon")
}

// CommandByID is one of the user's. ErrNotFound.
func (s *Store) CommandByID(ctx context.Context, user, id uuid.UUID) (Command, error) {
	panic("soon")
}

// PendingCommands is how many open commands wait for the device.
func (s *Store) PendingCommands(ctx context.Context, user, device uuid.UUID) (int64, error) {
	panic("soon")
}

// ExpireCommands gives those past their time, of all users, the state expired.
func (s *Store) ExpireCommands(ctx context.Context) (int64, error) { panic("soon") }
