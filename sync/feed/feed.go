// Package feed makes of what a journal says what the sync protocol says: pushes of its events, and records of its steps. It
// only reads, and sends nothing.
//
// An entry is made of one event and of nothing else, as "From the journal" in PROTOCOL.md says. So a journal needs no
// outbox: what is to be sent is what follows the last event that was acknowledged.
package feed

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
)

// The bounds of texts, as in PROTOCOL.md.
const (
	maxMessage = 4 << 10
	maxWord    = 255
)

// Next is the next push of an epoch's events to a server whose log ends at head, for the device that the server knows
// the journal as; nil when there is nothing to send. It is as large as the limits allow.
func Next(ctx context.Context, j *journal.Journal, device, epoch uuid.UUID, head api.LogHead, l api.Limits) (*api.PushRequest, error) {
	req := &api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: head.Chain}
	size := int64(1024)
	recalled, err := j.RecalledOperations(ctx)
	if err != nil {
		return nil, fmt.Errorf("read journal to push: %w", err)
	}
	for ev, err := range j.Events(ctx, epoch, head.AckedSeq) {
		if err != nil {
			return nil, fmt.Errorf("read journal to push: %w", err)
		}
		e, err := entry(&ev, recalled, l)
		if err != nil {
			return nil, err
		}
		// What is compressed already takes as much in base64 once compressed again, and its fields a little.
		more := grown(len(e.Body))*34/32 + 256
		if len(req.Entries) > 0 && size+more > l.MaxCompressedBytes || len(req.Entries) == l.MaxEntries {
			break
		}
		size += more
		req.Entries = append(req.Entries, e)
	}
	if len(req.Entries) == 0 {
		return nil, nil
	}
	return req, nil
}

// entry makes the entry of an event. What has no room in an entry becomes void: the numbers go on without a gap.
func entry(ev *journal.Event, recalled map[uuid.UUID]bool, l api.Limits) (api.Entry, error) {
	b, err := body(ev, recalled[ev.Op])
	if err != nil {
		return api.Entry{}, fmt.Errorf("read journal to push: %w", err)
	}
	micros := max(0, ev.At.UnixMicro()) // a clock before 1970 is wrong anyhow
	if b != nil {
		e, err := api.NewEntry(ev.Seq, ev.ID, ev.Op, micros, b)
		if err == nil && e.Verify(l) == nil && grown(len(e.Body))*34/32+1280 <= l.MaxCompressedBytes {
			return e, nil
		}
	}
	return api.NewEntry(ev.Seq, ev.ID, uuid.Nil, micros, &api.Void{})
}

// grown is how large a body may become when it is sealed.
func grown(n int) int64 { return int64(n) + int64(n)/8 + 128 }

// body is what an event says on the wire; nil if that is nobody else's business, or was forgotten. Of an operation that was
// recalled only that is told.
func body(ev *journal.Event, recalled bool) (api.Body, error) {
	v, err := ev.Read()
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case journal.Pruned:
		return &api.Redact{Reason: "pruned"}, nil
	case journal.Recalled:
		return &api.Redact{Reason: "forgotten"}, nil
	}
	if recalled {
		return nil, nil
	}
	switch v := v.(type) {
	case journal.Start:
		s := &api.Started{Kind: v.Kind, Root: v.Root, Command: strings.ToValidUTF8(v.Command, "\ufffd"), Planned: v.Planned, RollbackOf: v.Undoes, CommandID: v.Asked}
		if !utf8.ValidString(v.Root) {
			s.RootBytes = []byte(v.Root)
		}
		return s, nil
	case []journal.Step:
		files := make(api.Files, len(v))
		for i := range v {
			files[i] = Record(&v[i], ev.Op, ev.At)
		}
		return files, nil
	case []journal.Outcome:
		outs := make([]api.Outcome, len(v))
		for i := range v {
			outs[i] = Outcome(&v[i])
		}
		return &api.Outcomes{Outcomes: outs}, nil
	case journal.Finish:
		return &api.Finished{Status: api.OperationStatus(v.Status), Processed: v.Moved, Skipped: v.Skipped, Failed: v.Failed,
			Bytes: v.Bytes, RootStatus: api.OperationStatus(v.RootStatus)}, nil
	case journal.Answer:
		return &api.RollbackResult{CommandID: v.Command, RollbackOf: v.Undid, State: api.CommandState(v.State), Restored: v.Restored, Skipped: v.Skipped,
			Failed: v.Failed, Error: cut(v.Error, maxMessage)}, nil
	}
	return nil, nil // times of folders; what was forgotten
}

// Record is a step of an operation as a file record: what is about to be done at the time given.
func Record(s *journal.Step, operation uuid.UUID, at time.Time) api.FileRecord {
	return api.FileRecord{
		OperationID: operation, Seq: s.No, SourcePath: s.FromPath(), DestinationPath: s.ToPath(), Size: max(0, s.File.Size),
		Category: cut(s.Label, maxWord), Action: s.Action.String(), Status: api.FilePlanned, MovedAt: at,
	}
}

// Outcome is what became of a step.
func Outcome(o *journal.Outcome) api.Outcome {
	out := api.Outcome{Seq: o.No, Error: cut(o.Err, maxMessage)}
	if o.Count > 1 {
		out.Count = o.Count
	} else if len(o.Hash) == 32 {
		out.ContentHash = "blake3:" + hex.EncodeToString(o.Hash)
	}
	switch o.State {
	case journal.Done:
		out.Status = api.FileDone
	case journal.Skipped:
		out.Status = api.FileSkipped
	case journal.Failed:
		out.Status = api.FileFailed
	case journal.NotDone:
		out.Status = api.FileNotDone
	case journal.Lost:
		out.Status = api.FileLost
	case journal.Copying, journal.Copied: // how it ended follows, or it ended well
		out.Status = api.FilePlanned
	default: // started
		out.Status = api.FileUnknown
	}
	return out
}

// cut shortens a text to n bytes, at a character, and makes it UTF-8.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
