package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

// States of operations: pending, running and interrupted are open, the rest is final, except that what is completed or
// partial may become (partially) undone.
const (
	Pending         = "pending"
	Running         = "running"
	Interrupted     = "interrupted"
	Completed       = "completed"
	Partial         = "partial"
	Failed          = "failed"
	Canceled        = "cancelled"
	Undone          = "undone"
	PartiallyUndone = "partially_undone"
)

// Operation is one run of forg, on a device or on a storage location.
type Operation struct {
	ID              uuid.UUID // UUIDv7, made by whoever starts it; unique for a user only
	UserID          uuid.UUID
	DeviceID        uuid.UUID
	Kind            string // organize, undo, redo, ...
	Status          string
	Root            string
	Options         json.RawMessage
	FilesTotal      int64
	FilesProcessed  int64
	FilesFailed     int64
	DuplicatesFound int64
	BytesMoved      int64
	Error           string
	CreatedAt       time.Time
	StartedAt       time.Time
	CompletedAt     time.Time
	RollbackOf      uuid.UUID
	Version         int64 // 1, 2, 3, ...: one more with every change
}

// Job is something for the queue, enqueued in the transaction of what it is for. Arguments hold ids only.
type Job struct {
	Args river.JobArgs
	Opts *river.InsertOpts
}

// NewOperation is an operation that somebody asks for.
type NewOperation struct {
	ID         uuid.UUID // uuid.Nil: the store makes one
	DeviceID   uuid.UUID
	Kind       string
	Root       string
	Options    json.RawMessage
	CreatedBy  string        // for the command of a device
	Expires    time.Duration // of the command; 0: 7 days
	MAC        []byte        // of the command
	Job        *Job          // what a worker is to do, if the device is a location
	Key        string        // Idempotency-Key; "": none
	RequestSHA [32]byte      // of the request that came with the key
}

// CreateOperation adds a pending operation and, in the same transaction, what gets it done: a job where the device is a
// location, else a command for the device. replayed: the key was used for the same request, and this is its operation.
// ErrNotFound: no such device; ErrRevoked, ErrKeyReused.
func (s *Store) CreateOperation(ctx context.Context, user uuid.UUID, n NewOperation) (op Operation, replayed bool, err error) {
	panic("soon")
}

// RollbackError says why an operation cannot be taken back.
type RollbackError struct {
	Reason string    // one of the reasons below
	Other  uuid.UUID // the operation that is in the way, if one is
}

// Reasons against a rollback.
const (
	NotFinished    = "not_finished"    // it is still pending or running
	NothingMoved   = "nothing_moved"   // it changed nothing
	RolledBack     = "rolled_back"     // Other has taken it back
	RollbackOpen   = "rollback_open"   // Other is about to
	NotReversible  = "not_reversible"  // it is an undo: redo it on the device
	DeviceRevoked  = "device_revoked"  // its device was shut out
	HistoryRemoved = "history_removed" // its file records were removed
)

func (e *RollbackError) Error() string { return fmt.Sprintf("it cannot be rolled back: %s", e.Reason) }

// Rollback adds an operation of kind undo that takes back operation of, like CreateOperation; n gives no device, kind or
// root. ErrNotFound, ErrKeyReused, *RollbackError.
func (s *Store) Rollback(ctx context.Context, user, of uuid.UUID, n NewOperation) (op Operation, replayed bool, err error) {
	panic("soon")
}

// OperationFilter says which operations to list. Zero values ask for all.
type OperationFilter struct {
	Status []string
	Kind   []string
	Device uuid.UUID
	From   time.Time // created at or after
	Until  time.Time // created before
	Path   string    // text within the root, in any case of ASCII letters
}

// Operations lists, newest first; next is the cursor of the next page, "" at the end.
func (s *Store) Operations(ctx context.Context, user uuid.UUID, f OperationFilter, p Page) (ops []Operation, next string, err error) {
	panic("soon")
}

// OperationByID is one of the user's. ErrNotFound.
func (s *Store) OperationByID(ctx context.Context, user, id uuid.UUID) (Operation, error) {
	panic("soon")
}

// Progress is what a worker tells of an operation it carries out: counts so far, and a status.
type Progress struct {
	Status          string
	FilesTotal      int64
	FilesProcessed  int64
	FilesFailed     int64
	DuplicatesFound int64
	BytesMoved      int64
	Error           string
}

// UpdateOperation sets status and counts, and the time of start or end that goes with the status. ErrNotFound; ErrFinal:
// it has ended already.
func (s *Store) UpdateOperation(ctx context.Context, user, id uuid.UUID, p Progress) (Operation, error) {
	panic("soon")
}

// Rebuild makes the operations of a user anew from the log, in one transaction.
func (s *Store) Rebuild(ctx context.Context, user uuid.UUID) error { panic("soon") }

// Chunk is an entry of kind files, not decoded, and where it stands.
type Chunk struct {
	ServerSeq int64
	Entry     Entry
}

// Chunks hands out the file records of an operation in the order in which they were pushed, chunk by chunk, beginning
// with server sequence number from, until each returns false. ErrNotFound: no such operation.
func (s *Store) Chunks(ctx context.Context, user, op uuid.UUID, from int64, each func(Chunk) (more bool, err error)) error {
	panic("soon")
}
