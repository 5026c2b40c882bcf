package api

import (
	"encoding/json"
	"math"
	"time"

	"github.com/google/uuid"
)

// Started is the body of op.started: an operation begins.
type Started struct {
	_          struct{}       `json:"-" additionalProperties:"true"`
	Kind       string         `json:"kind" doc:"organize, dupes, undo, redo, ..."`
	Root       string         `json:"root" doc:"The folders that it was given, separated as in $PATH."`
	RootBytes  []byte         `json:"root_bytes,omitempty" doc:"Root exactly, where it is not UTF-8."`
	Command    string         `json:"command,omitempty" doc:"What was typed."`
	Planned    int64          `json:"planned" doc:"Steps."`
	RollbackOf uuid.UUID      `json:"rollback_of,omitzero" doc:"Of an undo or redo: the operation that it is about."`
	CommandID  uuid.UUID      `json:"command_id,omitzero" doc:"The server's command that it carries out."`
	Options    map[string]any `json:"options,omitempty"`
	Sealed     *Sealed        `json:"sealed,omitempty"`
}

// Files is the body of files: records of one operation, with consecutive or growing Seq. It is binary, see PROTOCOL.md;
// OperationID is that of the entry and not written.
type Files []FileRecord

// FileRecord is one file of an operation: what was to be done to it and what became of it. Its key is
// (OperationID, Seq).
type FileRecord struct {
	_                    struct{}   `json:"-" additionalProperties:"true"`
	OperationID          uuid.UUID  `json:"operation_id"`
	Seq                  int64      `json:"seq" doc:"Number of the step within the operation, from 1."`
	SourcePath           string     `json:"source_path" doc:"Empty where the action has none."`
	DestinationPath      string     `json:"destination_path" doc:"Empty where the action has none."`
	Size                 int64      `json:"size" doc:"Bytes."`
	ContentHash          string     `json:"content_hash" doc:"blake3:HEX or sha256:HEX; empty where it is not known."`
	Category             string     `json:"category"`
	Action               string     `json:"action"`
	Status               FileStatus `json:"status"`
	Error                string     `json:"error"`
	MovedAt              time.Time  `json:"moved_at,omitzero" doc:"Absent where nothing was moved. To the microsecond."`
	SourcePathBytes      []byte     `json:"source_path_bytes,omitempty" doc:"source_path exactly, where it is not UTF-8."`
	DestinationPathBytes []byte     `json:"destination_path_bytes,omitempty" doc:"destination_path exactly, where it is not UTF-8."`
}

// FileStatus is what became of a file.
type FileStatus string

// The statuses of files. Planned ones of an operation that has finished are done.
const (
	FilePlanned FileStatus = "planned"  // is about to be carried out
	FileDone    FileStatus = "done"     // as intended
	FileSkipped FileStatus = "skipped"  // not done, on purpose
	FileFailed  FileStatus = "failed"   // not done, because of an error
	FileNotDone FileStatus = "not_done" // not reached: interrupted before it
	FileLost    FileStatus = "lost"     // somebody else changed it during a crash
	FileUnknown FileStatus = "unknown"  // nobody can tell: a program was running when forg was cut short
)

// Outcomes is the body of outcomes.
type Outcomes struct {
	_        struct{}  `json:"-" additionalProperties:"true"`
	Outcomes []Outcome `json:"outcomes"`
}

// Outcome is what became of Count records beginning with Seq. A later word counts more than an earlier one; one on a
// single record that tells no hash does not take back the hash that was told before.
type Outcome struct {
	_           struct{}   `json:"-" additionalProperties:"true"`
	Seq         int64      `json:"seq"`
	Count       int64      `json:"count,omitempty" doc:"1 if absent."`
	Status      FileStatus `json:"status,omitempty" doc:"As before if absent."`
	Error       string     `json:"error,omitempty"`
	ContentHash string     `json:"content_hash,omitempty" doc:"As before if absent."`
}

// Finished is the body of op.finished: the last word on an operation, which is durable on the device.
type Finished struct {
	_          struct{}        `json:"-" additionalProperties:"true"`
	Status     OperationStatus `json:"status"`
	Processed  int64           `json:"processed" doc:"Files to which something was done."`
	Skipped    int64           `json:"skipped"`
	Failed     int64           `json:"failed"`
	Bytes      int64           `json:"bytes" doc:"Of the files processed."`
	Duplicates int64           `json:"duplicates,omitempty" doc:"Files that equal another."`
	Error      string          `json:"error,omitempty"`
	RootStatus OperationStatus `json:"root_status,omitempty" doc:"Of an undo or redo: what the operation it is about has become."`
	Sealed     *Sealed         `json:"sealed,omitempty"`
}

// RollbackResult is the body of rollback.result: what a device answers to a command. OpID of the entry is the undo.
type RollbackResult struct {
	_          struct{}     `json:"-" additionalProperties:"true"`
	CommandID  uuid.UUID    `json:"command_id"`
	RollbackOf uuid.UUID    `json:"rollback_of" doc:"The operation that was to be taken back."`
	State      CommandState `json:"state" doc:"succeeded, partial, refused or failed."`
	Restored   int64        `json:"restored"`
	Skipped    int64        `json:"skipped"`
	Failed     int64        `json:"failed"`
	Error      string       `json:"error,omitempty"`
	Sealed     *Sealed      `json:"sealed,omitempty"`
}

// Redact is the body of redact: the bodies of all entries of the entry's operation that came before are to be erased.
type Redact struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Reason string   `json:"reason,omitempty" doc:"pruned: the device has forgotten it."`
	Sealed *Sealed  `json:"sealed,omitempty"`
}

// DeviceRenamed is the body of device.renamed.
type DeviceRenamed struct {
	_    struct{} `json:"-" additionalProperties:"true"`
	Name string   `json:"name"`
}

// Void is the body of void: an event that is no other device's business, or that was forgotten before it was pushed.
type Void struct {
	_      struct{} `json:"-" additionalProperties:"true"`
	Sealed *Sealed  `json:"sealed,omitempty"`
}

// Sealed is, in a body that a server is to understand, the whole body as its device wrote it. What lies readable beside it
// is what a server needs to tell how an operation stands, and is for servers only.
type Sealed struct {
	_     struct{} `json:"-" additionalProperties:"true"`
	KeyID string   `json:"key_id"`
	Box   []byte   `json:"box" doc:"Base64."`
}

// Body is what an entry says: Files, or a pointer to Started, Outcomes, Finished, RollbackResult, Redact, DeviceRenamed or
// Void.
type Body interface {
	kind() string
	encode() ([]byte, error)
	check(*checker)
}

func (*Started) kind() string        { return KindStarted }
func (Files) kind() string           { return KindFiles }
func (*Outcomes) kind() string       { return KindOutcomes }
func (*Finished) kind() string       { return KindFinished }
func (*RollbackResult) kind() string { return KindRollback }
func (*Redact) kind() string         { return KindRedact }
func (*DeviceRenamed) kind() string  { return KindRenamed }
func (*Void) kind() string           { return KindVoid }

func (b *Started) encode() ([]byte, error)        { return json.Marshal(b) }
func (b *Outcomes) encode() ([]byte, error)       { return json.Marshal(b) }
func (b *Finished) encode() ([]byte, error)       { return json.Marshal(b) }
func (b *RollbackResult) encode() ([]byte, error) { return json.Marshal(b) }
func (b *Redact) encode() ([]byte, error)         { return json.Marshal(b) }
func (b *DeviceRenamed) encode() ([]byte, error)  { return json.Marshal(b) }
func (b *Void) encode() ([]byte, error)           { return json.Marshal(b) }

const (
	maxName     = 100      // bytes of a device's name
	maxKind     = 64       // bytes of a kind of operation or entry
	maxRoots    = 64 << 10 // bytes of the folders of an operation
	maxOutcomes = 4 * MaxRecords
)

func (b *Started) check(c *checker) {
	c.word("kind", b.Kind, maxKind)
	c.need("root", len(b.Root) <= maxRoots, "has %d bytes, at most %d are possible", len(b.Root), maxRoots)
	c.need("root_bytes", len(b.RootBytes) <= maxRoots, "has %d bytes, at most %d are possible", len(b.RootBytes), maxRoots)
	c.need("planned", b.Planned >= 0, "is %d, less than 0", b.Planned)
	c.need("rollback_of", b.RollbackOf != uuid.Nil || b.Kind != "undo" && b.Kind != "redo", "is missing: an %s is about an operation", b.Kind)
}

// Files are checked where they are read.
func (f Files) check(*checker) {}

func (b *Outcomes) check(c *checker) {
	c.need("outcomes", len(b.Outcomes) > 0 && len(b.Outcomes) <= maxOutcomes, "has %d items, it may have 1 to %d", len(b.Outcomes), maxOutcomes)
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		at := c.at("outcomes[%d]", i)
		at.need("seq", o.Seq >= 1, "is %d, less than 1", o.Seq)
		at.need("count", o.Count >= 0 && o.Count <= math.MaxInt64-max(o.Seq, 0), "is %d", o.Count)
		at.need("status", len(o.Status) <= maxWord, "has %d bytes, at most %d are possible", len(o.Status), maxWord)
		at.need("error", len(o.Error) <= maxMessage, "has %d bytes, at most %d are possible", len(o.Error), maxMessage)
		if o.ContentHash != "" {
			_, _, err := parseContentHash(o.ContentHash)
			at.need("content_hash", err == nil, "is not an algorithm, a colon and 64 lower-case hexadecimal digits")
			at.need("content_hash", o.Count <= 1, "is given for %d records", o.Count)
		}
		if c.full() {
			return
		}
	}
}

func (b *Finished) check(c *checker) {
	c.word("status", string(b.Status), maxWord)
	c.need("status", b.Status.Finished(), "is %q, which is no end", b.Status)
	c.counts(map[string]int64{"processed": b.Processed, "skipped": b.Skipped, "failed": b.Failed, "bytes": b.Bytes, "duplicates": b.Duplicates})
	c.need("error", len(b.Error) <= maxMessage, "has %d bytes, at most %d are possible", len(b.Error), maxMessage)
	c.need("root_status", len(b.RootStatus) <= maxWord, "has %d bytes, at most %d are possible", len(b.RootStatus), maxWord)
}

func (b *RollbackResult) check(c *checker) {
	c.need("command_id", b.CommandID != uuid.Nil, "is missing")
	c.need("rollback_of", b.RollbackOf != uuid.Nil, "is missing")
	c.need("state", b.State.Final() && b.State != CommandExpired && b.State != CommandCancelled, "is %q, want succeeded, partial, refused or failed", b.State)
	c.counts(map[string]int64{"restored": b.Restored, "skipped": b.Skipped, "failed": b.Failed})
	c.need("error", len(b.Error) <= maxMessage, "has %d bytes, at most %d are possible", len(b.Error), maxMessage)
}

func (b *Redact) check(c *checker) {
	c.need("reason", len(b.Reason) <= maxWord, "has %d bytes, at most %d are possible", len(b.Reason), maxWord)
}

func (b *DeviceRenamed) check(c *checker) { c.name("name", b.Name) }

func (b *Void) check(*checker) {}
