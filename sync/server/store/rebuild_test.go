package store

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/sync/api"
)

// TestRebuild: whatever devices, persons and workers do, in whatever order, operations made anew from the log are the
// ones that are there.
func TestRebuild(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		n := 0
		if s.Postgres() || testing.Short() { // each takes some hundred round trips
			was := flag.Lookup("rapid.checks").Value.String()
			ok(t, flag.Set("rapid.checks", "15"))
			defer flag.Set("rapid.checks", was)
		}
		rapid.Check(t, func(rt *rapid.T) {
			n++
			u := s.newUser(t, fmt.Sprintf("user%d@example.org", n))
			var logs []*testLog
			for range 2 {
				logs = append(logs, newLog(u.ID, s.newDevice(t, u.ID).ID))
			}
			loc := must(s.CreateLocation(t.Context(), Location{UserID: u.ID, Name: "l", Root: "/srv/" + u.Email}))(t)
			logs = append(logs, newLog(u.ID, loc.ID))
			for _, l := range logs {
				l.at = s.clock.Now()
			}
			pushed := make([]int, len(logs))
			var ops []uuid.UUID
			some := func() uuid.UUID {
				if len(ops) == 0 || rapid.IntRange(0, 9).Draw(rt, "unknown") == 0 {
					return newID()
				}
				return rapid.SampledFrom(ops).Draw(rt, "op")
			}
			final := rapid.SampledFrom([]api.OperationStatus{api.OpCompleted, api.OpPartial, api.OpFailed, api.OpInterrupted})
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				i := rapid.IntRange(0, len(logs)-1).Draw(rt, "device")
				l := logs[i]
				count := rapid.Int64Range(0, 9)
				switch rapid.IntRange(0, 9).Draw(rt, "what") {
				case 0:
					op := newID()
					ops = append(ops, op)
					l.add(op, &api.Started{Kind: "organize", Root: "/home/u", Planned: count.Draw(rt, "planned"), Options: map[string]any{"r": true}})
				case 1:
					l.add(some(), &api.Finished{Status: final.Draw(rt, "status"), Processed: count.Draw(rt, "done"), Failed: 1, Bytes: 7, Error: "e"})
				case 2:
					undo := newID()
					ops = append(ops, undo)
					l.add(undo, &api.Started{Kind: "undo", Root: "/home/u", RollbackOf: some()})
					l.add(undo, &api.Finished{Status: final.Draw(rt, "status"), Processed: 3,
						RootStatus: rapid.SampledFrom([]api.OperationStatus{"", api.OpUndone, api.OpPartiallyUndone, api.OpCompleted}).Draw(rt, "root status")})
				case 3:
					l.add(some(), &api.Redact{})
				case 4:
					l.add(some(), records(1, 2))
				case 5, 6: // asked for here
					op, _, err := s.CreateOperation(t.Context(), u.ID, NewOperation{DeviceID: l.device, Kind: "organize", Root: "asked"})
					ok(t, err)
					ops = append(ops, op.ID)
					if rapid.Bool().Draw(rt, "begun") {
						l.add(op.ID, &api.Started{Kind: "organize", Root: "/home/u/asked", Planned: 3})
					}
				case 7: // a worker's or a device's word
					_, _ = s.UpdateOperation(t.Context(), u.ID, some(), Progress{Status: rapid.SampledFrom([]api.OperationStatus{api.OpRunning, api.OpRunning,
						api.OpFailed, api.OpCompleted}).Draw(rt, "status"), FilesTotal: 3, FilesProcessed: count.Draw(rt, "done"), BytesMoved: 5})
				case 8:
					if undo, _, err := s.Rollback(t.Context(), u.ID, some(), NewOperation{}); err == nil {
						ops = append(ops, undo.ID)
						for _, c := range must(s.LeaseCommands(t.Context(), u.ID, undo.DeviceID, 1, time.Minute))(t) {
							if c.Kind != api.CommandRollback {
								continue
							}
							state := rapid.SampledFrom([]api.CommandState{api.CommandSucceeded, api.CommandRefused, api.CommandPartial}).Draw(rt, "state")
							l.add(c.Operation, &api.RollbackResult{CommandID: c.ID, RollbackOf: c.RollbackOf, State: state, Restored: 1})
							if rapid.Bool().Draw(rt, "answers") {
								must(s.FinishCommand(t.Context(), u.ID, c.ID, c.Lease, state, nil))(t)
							}
						}
					}
				}
				s.clock.pass(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "clock")) * time.Second)
				if rapid.Bool().Draw(rt, "push") && len(l.entries) > pushed[i] {
					s.push(t, l, l.request(pushed[i], len(l.entries)))
					pushed[i] = len(l.entries)
				}
			}
			before, bytes := operationsOf(t, s, u.ID)
			ok(t, s.Rebuild(t.Context(), u.ID))
			after, bytesAfter := operationsOf(t, s, u.ID)
			if d := cmp.Diff(before, after); d != "" || bytes != bytesAfter {
				rt.Fatalf("(-live +rebuilt) %d %d\n%s", bytes, bytesAfter, d)
			}
			var sum int64
			for _, o := range after {
				sum += o.BytesMoved
			}
			if sum != bytes {
				rt.Fatalf("operations have moved %d bytes, of the user are counted %d", sum, bytes)
			}
		})
	})
}

func operationsOf(t *testing.T, s testStore, user uuid.UUID) ([]Operation, int64) {
	t.Helper()
	ops, next, err := s.Operations(t.Context(), user, OperationFilter{}, Page{Limit: 500})
	if err != nil || next != "" {
		t.Fatal(err, next)
	}
	return ops, must(s.UserByID(t.Context(), user))(t).StorageBytesManaged
}
