package api

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// Operation is one run that changed files, or is to: on a device or by a worker of the server.
type Operation struct {
	_               struct{}        `json:"-" additionalProperties:"true"`
	ID              uuid.UUID       `json:"id" doc:"UUIDv7, made by whoever starts it."`
	UserID          uuid.UUID       `json:"user_id"`
	DeviceID        uuid.UUID       `json:"device_id" doc:"The device or storage location that its files lie on."`
	Kind            string          `json:"kind" doc:"organize, dupes, undo, redo, ..."`
	Status          OperationStatus `json:"status"`
	Root            string          `json:"root"`
	Options         map[string]any  `json:"options"`
	FilesTotal      int64           `json:"files_total" doc:"Planned; 0 while it is not known."`
	FilesProcessed  int64           `json:"files_processed"`
	FilesFailed     int64           `json:"files_failed"`
	DuplicatesFound int64           `json:"duplicates_found"`
	BytesMoved      int64           `json:"bytes_moved"`
	Error           string          `json:"error"`
	CreatedAt       time.Time       `json:"created_at"`
	StartedAt       *time.Time      `json:"started_at"`
	CompletedAt     *time.Time      `json:"completed_at"`
	RollbackOf      *uuid.UUID      `json:"rollback_of" nullable:"true" doc:"Of an undo or redo: the operation that it is about."`
}

// OperationStatus is where an operation stands.
type OperationStatus string

// The statuses of operations.
const (
	OpPending         OperationStatus = "pending" // queued, nobody has begun
	OpRunning         OperationStatus = "running"
	OpCompleted       OperationStatus = "completed"
	OpPartial         OperationStatus = "partial" // done except for some files
	OpFailed          OperationStatus = "failed"
	OpInterrupted     OperationStatus = "interrupted" // by a crash, and reconciled since
	OpUndone          OperationStatus = "undone"
	OpPartiallyUndone OperationStatus = "partially_undone"
	OpCancelled       OperationStatus = "cancelled" // taken back before anybody had begun
	OpExpired         OperationStatus = "expired"   // the device did not fetch it in time
)

var operationStatuses = []OperationStatus{OpPending, OpRunning, OpCompleted, OpPartial, OpFailed, OpInterrupted, OpUndone,
	OpPartiallyUndone, OpCancelled, OpExpired}

// Known reports whether s is one of the statuses above; a newer peer may have others.
func (s OperationStatus) Known() bool { return slices.Contains(operationStatuses, s) }

// Finished reports whether nothing more will be done for the operation itself.
func (s OperationStatus) Finished() bool { return s != OpPending && s != OpRunning }

// CanBecome reports whether an operation of status s may get status next. It begins once and ends once; after that only
// undo and redo change what it is called. What a device tells in its log counts more than what the server has made of
// its silence: one that was cancelled or has expired here may have been carried out there all the same.
func (s OperationStatus) CanBecome(next OperationStatus) bool {
	if s == next {
		return true
	}
	never := next == OpCancelled || next == OpExpired
	switch s {
	case OpPending:
		return next != OpUndone && next != OpPartiallyUndone
	case OpCancelled, OpExpired:
		return next != OpPending && next != OpUndone && next != OpPartiallyUndone && !never
	}
	return next.Finished() && !never
}

// Target is where an operation is to happen: one of the two.
type Target struct {
	_          struct{}  `json:"-" additionalProperties:"true"`
	DeviceID   uuid.UUID `json:"device_id,omitzero" doc:"A device of the user's; its agent carries the operation out, in a folder that the device allows."`
	LocationID uuid.UUID `json:"location_id,omitzero" doc:"A storage location of the user's; a worker of the server carries it out."`
	Root       string    `json:"root,omitempty" doc:"Of a device: the name of an allowed folder. Of a location: a folder in it, its root if absent."`
}

// OperationRequest is the body of POST /api/v1/operations.
type OperationRequest struct {
	_       struct{}       `json:"-" additionalProperties:"true"`
	ID      uuid.UUID      `json:"id,omitzero" doc:"UUIDv7 of the new operation; the server makes one if absent."`
	Kind    string         `json:"kind" doc:"organize."`
	Target  Target         `json:"target"`
	Options map[string]any `json:"options,omitempty" doc:"For a device: rules, the name of a rule set that it offers, and nothing else."`
	MAC     []byte         `json:"mac,omitempty" doc:"Of an account with end-to-end encryption: over the command that the device gets. It needs the id."`
}

// RollbackRequest is the body, which may be absent, of POST /api/v1/operations/{id}/rollback.
type RollbackRequest struct {
	_    struct{}  `json:"-" additionalProperties:"true"`
	ID   uuid.UUID `json:"id,omitzero" doc:"UUIDv7 of the new operation; the server makes one if absent."`
	Only string    `json:"only,omitempty" doc:"A glob: only files whose name matches."`
	MAC  []byte    `json:"mac,omitempty" doc:"Of an account with end-to-end encryption: over the command that the device gets. It needs the id."`
}

// Page is one page of a list.
type Page[T any] struct {
	_          struct{} `json:"-" additionalProperties:"true"`
	Items      []T      `json:"items"`
	NextCursor *string  `json:"next_cursor" doc:"Where the next page begins; null on the last."`
}

// DeviceKind tells a computer from a storage location that the server's own workers organize.
type DeviceKind string

// The kinds of devices.
const (
	DeviceComputer DeviceKind = "computer"
	DeviceLocation DeviceKind = "location"
)

// Device is something that has a log of its own.
type Device struct {
	_          struct{}   `json:"-" additionalProperties:"true"`
	ID         uuid.UUID  `json:"id"`
	Kind       DeviceKind `json:"kind"`
	Name       string     `json:"name"`
	Platform   string     `json:"platform" doc:"linux/amd64, ..."`
	CreatedAt  time.Time  `json:"created_at"`
	LastSeenAt *time.Time `json:"last_seen_at"`
	RevokedAt  *time.Time `json:"revoked_at"`
	Offers     *Offers    `json:"offers,omitempty" doc:"What its agent carries out, as far as that has told."`
}

// Offers is what a device lets be asked of it, as the body of PUT /api/v1/devices/{id}/offers. Its owner has given the names.
type Offers struct {
	_       struct{}      `json:"-" additionalProperties:"true"`
	Kinds   []CommandKind `json:"kinds" maxItems:"10" doc:"Of commands: rollback, organize."`
	Folders []string      `json:"folders" maxItems:"100" doc:"Names of folders."`
	Rules   []string      `json:"rules" maxItems:"100" doc:"Names of rule sets."`
}

// DeviceChange is the body of PATCH /api/v1/devices/{id}.
type DeviceChange struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Name string   `json:"name"`
}

// CommandKind is what a device is asked for.
type CommandKind string

// The kinds of commands.
const (
	CommandOrganize CommandKind = "organize"
	CommandRollback CommandKind = "rollback"
	CommandCancel   CommandKind = "cancel" // stop what another command has started
)

// CommandState is where a command stands.
type CommandState string

// The states of commands. From Succeeded on they are final.
const (
	CommandQueued    CommandState = "queued"
	CommandLeased    CommandState = "leased" // a device has fetched it
	CommandRunning   CommandState = "running"
	CommandSucceeded CommandState = "succeeded"
	CommandPartial   CommandState = "partial"
	CommandRefused   CommandState = "refused" // the device does not allow it
	CommandFailed    CommandState = "failed"
	CommandExpired   CommandState = "expired"
	CommandCancelled CommandState = "cancelled"
)

var commandMoves = map[CommandState][]CommandState{
	CommandQueued:    {CommandLeased, CommandExpired, CommandCancelled},
	CommandLeased:    {CommandQueued, CommandRunning, CommandSucceeded, CommandPartial, CommandRefused, CommandFailed, CommandExpired, CommandCancelled},
	CommandRunning:   {CommandSucceeded, CommandPartial, CommandFailed},
	CommandSucceeded: {}, CommandPartial: {}, CommandRefused: {}, CommandFailed: {}, CommandExpired: {}, CommandCancelled: {},
}

// Known reports whether s is one of the states above.
func (s CommandState) Known() bool { _, ok := commandMoves[s]; return ok }

// Final reports whether the state cannot change any more.
func (s CommandState) Final() bool { return s.Known() && len(commandMoves[s]) == 0 }

// CanBecome reports whether a command in state s may get state next. One whose lease ran out is handed out again: leased
// it may go back to queued, running it stays running, since files have moved, and can neither expire nor be cancelled.
// The device knows by its id that it has carried it out already, and answers with the result.
func (s CommandState) CanBecome(next CommandState) bool {
	return slices.Contains(commandMoves[s], next)
}

// Command is something that the server asks a device to do. It never holds a path or a pattern: a device knows its
// folders and rules by name.
type Command struct {
	_           struct{}       `json:"-" additionalProperties:"true"`
	ID          uuid.UUID      `json:"id" doc:"UUIDv7."`
	DeviceID    uuid.UUID      `json:"device_id"`
	Kind        CommandKind    `json:"kind"`
	OperationID uuid.UUID      `json:"operation_id" doc:"The operation that carries it out: the device uses this id for it."`
	RollbackOf  uuid.UUID      `json:"rollback_of,omitzero" doc:"Of a rollback: the operation to take back."`
	Cancels     uuid.UUID      `json:"cancels,omitzero" doc:"Of a cancel: the command to stop."`
	Root        string         `json:"root,omitempty" doc:"Of an organize: the name of a folder that the device allows."`
	Rules       string         `json:"rules,omitempty" doc:"Of an organize: the name of a rule set on the device; its default if absent."`
	Only        string         `json:"only,omitempty" doc:"Of a rollback: a glob; only files whose name matches."`
	Options     map[string]any `json:"options,omitempty"`
	State       CommandState   `json:"state"`
	CreatedBy   string         `json:"created_by" doc:"The session or API key that asked for it."`
	CreatedAt   time.Time      `json:"created_at"`
	ExpiresAt   time.Time      `json:"expires_at"`
	Lease       uuid.UUID      `json:"lease,omitzero" doc:"To be given with every word on the command."`
	LeaseUntil  *time.Time     `json:"lease_until,omitempty"`
	MAC         []byte         `json:"mac,omitempty" doc:"Of an account with end-to-end encryption: over the command, by a key that only devices hold."`
	Result      *CommandResult `json:"result,omitempty"`
}

// CommandResult is what became of a command.
type CommandResult struct {
	_         struct{} `json:"-" additionalProperties:"true"`
	Processed int64    `json:"processed"`
	Skipped   int64    `json:"skipped"`
	Failed    int64    `json:"failed"`
	Bytes     int64    `json:"bytes"`
	Error     string   `json:"error,omitempty"`
}

// CommandsResponse answers GET /api/v1/sync/commands: what the device is to do, leased to it.
type CommandsResponse struct {
	_        struct{}  `json:"-" additionalProperties:"true"`
	Commands []Command `json:"commands"`
}

// CommandUpdate is the body of POST /api/v1/sync/commands/{id}: a word of the device on a command, which renews its
// lease.
type CommandUpdate struct {
	_        struct{}       `json:"-" additionalProperties:"true"`
	Lease    uuid.UUID      `json:"lease"`
	State    CommandState   `json:"state" doc:"running, or a final state other than expired and cancelled."`
	Progress *Progress      `json:"progress,omitempty"`
	Result   *CommandResult `json:"result,omitempty" doc:"With a final state."`
}

// Check says what is wrong with its numbers and texts. The error is a *Problem.
func (u *CommandUpdate) Check() error {
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	if p := u.Progress; p != nil {
		c.at("progress").counts(map[string]int64{"files_total": p.FilesTotal, "files_processed": p.FilesProcessed, "files_failed": p.FilesFailed,
			"bytes_moved": p.BytesMoved})
	}
	if r := u.Result; r != nil {
		c.at("result").counts(map[string]int64{"processed": r.Processed, "skipped": r.Skipped, "failed": r.Failed, "bytes": r.Bytes})
		c.need("result.error", len(r.Error) <= maxMessage, "has %d bytes, at most %d are possible", len(r.Error), maxMessage)
	}
	if len(errs) > 0 {
		return invalid(errs)
	}
	return nil
}

// CommandUpdated answers it.
type CommandUpdated struct {
	_          struct{}     `json:"-" additionalProperties:"true"`
	State      CommandState `json:"state"`
	LeaseUntil *time.Time   `json:"lease_until,omitempty"`
	Cancel     bool         `json:"cancel,omitempty" doc:"Somebody wants it stopped."`
}

// Progress is how far an operation is.
type Progress struct {
	_              struct{} `json:"-" additionalProperties:"true"`
	FilesTotal     int64    `json:"files_total"`
	FilesProcessed int64    `json:"files_processed"`
	FilesFailed    int64    `json:"files_failed"`
	BytesMoved     int64    `json:"bytes_moved"`
}

// Event is one message of WS /ws/operations/{id}.
type Event struct {
	_           struct{}        `json:"-" additionalProperties:"true"`
	Seq         int64           `json:"seq" doc:"1, 2, 3, ... within the operation: ask with ?after=SEQ to go on."`
	OperationID uuid.UUID       `json:"operation_id"`
	Type        string          `json:"type" doc:"status, progress or files."`
	At          time.Time       `json:"at"`
	Status      OperationStatus `json:"status,omitempty"`
	Progress    *Progress       `json:"progress,omitempty"`
	Files       []FileRecord    `json:"files,omitempty"`
	Error       string          `json:"error,omitempty"`
}

// The types of events.
const (
	EventStatus   = "status"
	EventProgress = "progress"
	EventFiles    = "files"
)
