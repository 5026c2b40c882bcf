package api

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"forg/journal"
)

var commandStates = []CommandState{CommandQueued, CommandLeased, CommandRunning, CommandSucceeded, CommandPartial, CommandRefused,
	CommandFailed, CommandExpired, CommandCancelled}

// TestCommandStates: whatever words arrive in whatever order, a final state stays, and one that has begun to move files
// does not expire.
func TestCommandStates(t *testing.T) {
	for _, s := range commandStates {
		if !s.Known() {
			t.Errorf("%s is not known", s)
		}
		if final := slices.Index(commandStates, s) >= 3; final != s.Final() {
			t.Errorf("%s is final: %v", s, s.Final())
		}
	}
	if s := CommandState("new"); s.Known() || s.Final() || s.CanBecome(CommandQueued) || CommandQueued.CanBecome(s) {
		t.Error("an unknown state moves")
	}
	rapid.Check(t, func(t *rapid.T) {
		s := CommandQueued
		for range 30 {
			next := rapid.SampledFrom(commandStates).Draw(t, "next")
			if !s.CanBecome(next) {
				continue
			}
			if s.Final() {
				t.Fatalf("%s became %s", s, next)
			}
			if s == CommandRunning && (next == CommandExpired || next == CommandCancelled || next == CommandRefused || next == CommandQueued) {
				t.Fatalf("running became %s", next)
			}
			s = next
		}
	})
}

// TestOperationStatuses: an operation begins once and ends once, and the word of its device counts most.
func TestOperationStatuses(t *testing.T) {
	rank := func(s OperationStatus) int {
		switch s {
		case OpPending:
			return 0
		case OpCancelled, OpExpired:
			return 1
		case OpRunning:
			return 2
		}
		return 3
	}
	for _, s := range operationStatuses {
		if !s.Known() || s.Finished() == (s == OpPending || s == OpRunning) {
			t.Errorf("%s: known %v, finished %v", s, s.Known(), s.Finished())
		}
		for _, next := range operationStatuses {
			want := rank(next) > rank(s) || rank(next) == 3 && rank(s) == 3 || next == s
			if (next == OpUndone || next == OpPartiallyUndone) && rank(s) < 2 {
				want = false // what never began cannot be undone
			}
			if got := s.CanBecome(next); got != want {
				t.Errorf("%s becomes %s: %v", s, next, got)
			}
		}
	}
}

// TestJournalWords: the journal's words for what is done to files and operations are those on the wire, so that nobody
// translates but one table (see "From the journal" in PROTOCOL.md).
func TestJournalWords(t *testing.T) {
	for _, s := range []journal.Status{journal.Running, journal.Completed, journal.Partial, journal.FailedOp, journal.Interrupted, journal.Undone, journal.PartiallyUndone} {
		if !OperationStatus(s).Known() {
			t.Errorf("the journal's status %q is not on the wire", s)
		}
	}
	for a := journal.Mkdir; !strings.HasPrefix(a.String(), "action"); a++ {
		e := FileRecord{Seq: 1, SourcePath: "/a", Action: a.String(), Status: FileDone}
		if err := e.check(0); err != nil || !isWord(e.Action) {
			t.Errorf("the journal's action %s: %v", a, err)
		}
	}
	for s, want := range map[journal.State]FileStatus{journal.Done: FileDone, journal.Skipped: FileSkipped, journal.Failed: FileFailed,
		journal.NotDone: FileNotDone, journal.Lost: FileLost} {
		if got := strings.ReplaceAll(s.String(), " ", "_"); got != string(want) {
			t.Errorf("the journal's state %q is %q on the wire", got, want)
		}
	}
	if n := journal.BatchSize(); n > MaxRecords {
		t.Errorf("an event of the journal holds %d steps, an entry %d records", n, MaxRecords)
	}
}

// TestCommandUpdate: numbers that no reader of JSON holds exactly, or that would overflow a sum, are told with their field.
func TestCommandUpdate(t *testing.T) {
	for _, c := range []struct {
		update CommandUpdate
		field  string // "" if it is right
	}{
		{CommandUpdate{}, ""},
		{CommandUpdate{Progress: &Progress{FilesTotal: maxCount}, Result: &CommandResult{Bytes: maxCount}}, ""},
		{CommandUpdate{Result: &CommandResult{Bytes: math.MaxInt64}}, "body.result.bytes"},
		{CommandUpdate{Result: &CommandResult{Failed: -1}}, "body.result.failed"},
		{CommandUpdate{Result: &CommandResult{Error: strings.Repeat("x", maxMessage+1)}}, "body.result.error"},
		{CommandUpdate{Progress: &Progress{BytesMoved: maxCount + 1}}, "body.progress.bytes_moved"},
	} {
		got := ""
		if p, ok := errors.AsType[*Problem](c.update.Check()); ok {
			got = p.Errors[0].Location
		}
		if got != c.field {
			t.Errorf("%+v: wrong is %q, want %q", c.update, got, c.field)
		}
	}
}
