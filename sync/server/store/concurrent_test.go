package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// together runs f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// TestPullWhilePushing: whoever has seen entry n has seen all before it, however many push at the time.
func TestPullWhilePushing(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := context.WithoutCancel(t.Context())
		u := s.newUser(t, "ann@example.org")
		const devices, batches, size = 6, 25, 20
		var logs [devices]*testLog
		for i := range logs {
			logs[i] = newLog(u.ID, s.newDevice(t, u.ID).ID)
			for range batches * size {
				logs[i].add(uuid.Nil, &api.Void{})
			}
		}
		var done atomic.Bool
		var reader sync.WaitGroup
		reader.Go(func() {
			var seen int64
			for last := false; !last; {
				last = done.Load()
				next, _, err := s.Pull(ctx, u.ID, PullFrom{After: seen}, func(e *api.PullEntry) error {
					if e.ServerSeq != seen+1 {
						return fmt.Errorf("after %d comes %d", seen, e.ServerSeq)
					}
					seen++
					return nil
				})
				if err != nil || next != seen {
					t.Error(next, seen, err)
					return
				}
			}
			if seen != devices*batches*size {
				t.Error("seen", seen)
			}
		})
		together(devices, func(i int) {
			for b := range batches {
				if _, err := s.Push(ctx, u.ID, logs[i].request(b*size, (b+1)*size), 0); err != nil {
					t.Error(err)
				}
			}
		})
		done.Store(true)
		reader.Wait()
	})
}

// TestRaces: of many who do the same at once, one does it.
func TestRaces(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := context.WithoutCancel(t.Context())
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "l", Root: "/srv/ann"}))(t)

		t.Run("refresh", func(t *testing.T) {
			session := must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, "r")))(t)
			var verdicts [4]atomic.Int64
			together(50, func(i int) {
				h := sum("r")
				v, _, _, err := s.Refresh(ctx, h[:], rule(token(s, fmt.Sprintf("r%d", i))))
				if err != nil {
					t.Error(err)
				}
				verdicts[v].Add(1)
			})
			if verdicts[Rotate].Load() != 1 || verdicts[Replace].Load() != 49 {
				t.Fatal(&verdicts)
			}
			var current int64
			ok(t, s.view(ctx, scope{system: true}, "select count(*) from refresh_tokens where session_id = $1 and voided_at is null and rotated_at is null",
				[]any{session.ID}, &current))
			same(t, current, int64(1))
			if !must(s.SessionLives(ctx, u.ID, session.ID))(t) {
				t.Fatal("the session was revoked")
			}
		})
		t.Run("operation", func(t *testing.T) {
			ids := map[uuid.UUID]bool{}
			var mu sync.Mutex
			var first atomic.Int64
			together(20, func(int) {
				id := newID()
				op, replayed, err := s.CreateOperation(ctx, u.ID, NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Job: jobFor(u.ID, id), Key: "k", RequestSHA: sum("r")})
				if err != nil {
					t.Error(err)
				}
				if !replayed {
					first.Add(1)
				}
				mu.Lock()
				ids[op.ID] = true
				mu.Unlock()
			})
			if len(ids) != 1 || first.Load() != 1 {
				t.Fatal(ids, first.Load())
			}
			same(t, must(s.Count(ctx))(t).Jobs, map[string]int64{"available": 1})
		})
		t.Run("rollback", func(t *testing.T) {
			l := newLog(u.ID, d.ID).organize(newID(), 3)
			s.push(t, l, l.all())
			var won, open atomic.Int64
			together(20, func(int) {
				_, _, err := s.Rollback(ctx, u.ID, l.entries[0].OpID, NewOperation{})
				why, refused := errors.AsType[*RollbackError](err)
				switch {
				case err == nil:
					won.Add(1)
				case refused && why.Reason == RollbackOpen:
					open.Add(1)
				default:
					t.Error(err)
				}
			})
			if won.Load() != 1 || open.Load() != 19 {
				t.Fatal(won.Load(), open.Load())
			}
		})
		t.Run("lease", func(t *testing.T) {
			d := s.newDevice(t, u.ID)
			for range 30 {
				_, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
				ok(t, err)
			}
			var mu sync.Mutex
			got := map[uuid.UUID]int{}
			together(10, func(int) {
				for range 10 {
					all, err := s.LeaseCommands(ctx, u.ID, d.ID, 2, time.Hour)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					for _, c := range all {
						got[c.ID]++
					}
					mu.Unlock()
				}
			})
			for id, n := range got {
				if n != 1 {
					t.Error(id, "was handed out", n, "times")
				}
			}
			same(t, len(got), 30)
		})
		t.Run("audit", func(t *testing.T) {
			together(20, func(i int) {
				if err := s.Audit(ctx, AuditEvent{UserID: u.ID, Action: "x", Detail: json.RawMessage(fmt.Sprint(i))}); err != nil {
					t.Error(err)
				}
			})
			ok(t, s.VerifyAudit(ctx, u.ID))
		})
		// Everything at once on the rows that all of them want: nobody waits for ever.
		t.Run("mixed", func(t *testing.T) {
			l := newLog(u.ID, s.newDevice(t, u.ID).ID)
			for range 30 {
				l.organize(newID(), 2)
			}
			together(8, func(i int) {
				for n := range 30 {
					var err error
					switch i % 4 {
					case 0:
						_, err = s.Push(ctx, u.ID, l.request(0, 3*(n+1)), 0)
					case 1:
						_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: l.device, Kind: "organize"})
					case 2:
						for _, c := range must(s.LeaseCommands(ctx, u.ID, l.device, 1, time.Hour))(t) {
							_, err = s.FinishCommand(ctx, u.ID, c.ID, c.Lease, api.CommandSucceeded, &api.CommandResult{Bytes: 1})
						}
					case 3:
						err = s.Rebuild(ctx, u.ID)
					}
					if err != nil {
						t.Error(i, err)
					}
				}
			})
		})
	})
}
