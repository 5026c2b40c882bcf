package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"forg/sync/api"
)

// What a store promises, tried on both databases.

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUsers(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		ok(t, s.Ready(ctx))
		u := s.newUser(t, "ann@example.org")
		_, err := s.CreateUser(ctx, User{Email: "ann@example.org"})
		is(t, err, ErrEmailTaken)
		same(t, must(s.UserByID(ctx, u.ID))(t), u)
		same(t, must(s.UserByEmail(ctx, "ann@example.org"))(t), u)
		if u.Tier != "free" || u.Timezone != "UTC" || u.SubscriptionStatus != "active" || u.CreatedAt.IsZero() {
			t.Fatal(u)
		}
		_, err = s.UserByEmail(ctx, "bob@example.org")
		is(t, err, ErrNotFound)
		_, err = s.UserByID(ctx, newID())
		is(t, err, ErrNotFound)

		s.clock.pass(time.Hour)
		ok(t, s.LoggedIn(ctx, u.ID, ""))
		u.LastLoginAt = s.clock.Now()
		same(t, must(s.UserByID(ctx, u.ID))(t), u)
		ok(t, s.LoggedIn(ctx, u.ID, "stronger"))
		ok(t, s.SetProfile(ctx, u.ID, "Ann\x00 B\xff", "Europe/Berlin"))
		ok(t, s.SetTier(ctx, u.ID, "pro", "trial", s.clock.Now().Add(day)))
		ok(t, s.SetVerified(ctx, u.ID, true))
		u.PasswordHash, u.FullName, u.Timezone, u.Verified, u.Tier, u.SubscriptionStatus = "stronger", "Ann\uFFFD B\uFFFD", "Europe/Berlin", true, "pro", "trial"
		u.SubscriptionExpires, u.UpdatedAt = s.clock.Now().Add(day), s.clock.Now()
		same(t, must(s.UserByID(ctx, u.ID))(t), u)
		for _, err := range []error{s.LoggedIn(ctx, newID(), ""), s.SetPassword(ctx, newID(), "x", uuid.Nil), s.SetProfile(ctx, newID(), "", ""),
			s.SetTier(ctx, newID(), "pro", "", time.Time{}), s.SetActive(ctx, newID(), false), s.SetVerified(ctx, newID(), true), s.DeleteUser(ctx, newID())} {
			is(t, err, ErrNotFound)
		}

		a := must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, "a")))(t)
		b := must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, "b")))(t)
		ok(t, s.SetPassword(ctx, u.ID, "new", a.ID))
		if !must(s.SessionLives(ctx, u.ID, a.ID))(t) || must(s.SessionLives(ctx, u.ID, b.ID))(t) {
			t.Fatal("a new password ends the other sessions and no more")
		}
		ok(t, s.SetActive(ctx, u.ID, false))
		if must(s.SessionLives(ctx, u.ID, a.ID))(t) {
			t.Fatal("the session of who was shut out lives")
		}
		ok(t, s.SetActive(ctx, u.ID, true))
		if must(s.SessionLives(ctx, u.ID, a.ID))(t) {
			t.Fatal("a session has come back to life")
		}

		for i := range 5 { // pages of 2: two full ones and one of the rest
			s.newUser(t, fmt.Sprintf("user%d@example.org", i))
		}
		var all []string
		pages := 0
		for p := (Page{Limit: 2}); ; pages++ {
			users, next, err := s.Users(ctx, p)
			ok(t, err)
			for _, u := range users {
				all = append(all, u.Email)
			}
			if next == "" {
				break
			}
			p.Cursor = next
		}
		same(t, all, []string{"user4@example.org", "user3@example.org", "user2@example.org", "user1@example.org", "user0@example.org", "ann@example.org"})
		if pages != 2 {
			t.Fatal(pages)
		}
		_, _, err = s.Users(ctx, Page{Cursor: "nonsense"})
		is(t, err, api.ErrCursor)
	})
}

func token(s testStore, text string) RefreshToken {
	h := sum(text)
	return RefreshToken{Hash: h[:], ExpiresAt: s.clock.Now().Add(7 * day)}
}

// rule is the rule of refresh tokens in short: package auth has the real one.
func rule(next RefreshToken) func(Presented) (Verdict, RefreshToken) {
	return func(p Presented) (Verdict, RefreshToken) {
		switch {
		case !p.Session.RevokedAt.IsZero():
			return Refuse, RefreshToken{}
		case p.Token.VoidedAt.IsZero() && p.Token.RotatedAt.IsZero():
			return Rotate, next
		case p.Token.VoidedAt.IsZero() && !p.SuccessorUsed && p.Now.Sub(p.Token.RotatedAt) <= time.Minute:
			return Replace, next
		}
		return Revoke, RefreshToken{}
	}
}

func TestRefresh(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		session := must(s.StartSession(ctx, Session{UserID: u.ID, DeviceID: d.ID, Agent: "forg/1", ExpiresAt: s.clock.Now().Add(90 * day)}, token(s, "0")))(t)
		use := func(old, next string) Verdict {
			t.Helper()
			h := sum(old)
			v, got, who, err := s.Refresh(ctx, h[:], rule(token(s, next)))
			ok(t, err)
			if got.ID != session.ID || got.DeviceID != d.ID || who.ID != u.ID {
				t.Fatal(got, who)
			}
			return v
		}
		for i, step := range []struct {
			old, next string
			want      Verdict
		}{
			{"0", "1", Rotate},
			{"0", "1b", Replace}, // the answer got lost
			{"1b", "2", Rotate},
			{"1b", "2b", Replace},
			{"0", "x", Revoke}, // its successor was used
			{"2b", "y", Refuse},
		} {
			if got := use(step.old, step.next); got != step.want {
				t.Fatal(i, got)
			}
		}
		h := sum("nobody's")
		_, _, _, err := s.Refresh(ctx, h[:], rule(token(s, "z")))
		is(t, err, ErrNotFound)
		if must(s.SessionLives(ctx, u.ID, session.ID))(t) || len(must(s.Sessions(ctx, u.ID))(t)) != 0 {
			t.Fatal("a stolen session lives")
		}
		h = sum("x")
		if _, _, _, err := s.Refresh(ctx, h[:], rule(token(s, "z"))); !errors.Is(err, ErrNotFound) {
			t.Fatal("a token of a refused refresh was kept", err)
		}

		// A voided token is a replay.
		session = must(s.StartSession(ctx, Session{UserID: u.ID, DeviceID: d.ID, ExpiresAt: s.clock.Now().Add(90 * day)}, token(s, "v0")))(t)
		use("v0", "v1")
		use("v0", "v1b")
		if got := use("v1", "v2"); got != Revoke {
			t.Fatal(got)
		}

		session = must(s.StartSession(ctx, Session{UserID: u.ID, DeviceID: d.ID, ExpiresAt: s.clock.Now().Add(90 * day)}, token(s, "w0")))(t)
		same(t, must(s.Sessions(ctx, u.ID))(t), []Session{session})
		ok(t, s.EndSession(ctx, u.ID, session.ID, "logout"))
		ok(t, s.EndSession(ctx, u.ID, session.ID, "again"))
		if got := use("w0", "w1"); got != Refuse {
			t.Fatal("replay after logout", got)
		}
		is(t, s.EndSession(ctx, u.ID, newID(), "logout"), ErrNotFound)
		_, err = s.StartSession(ctx, Session{UserID: newID(), ExpiresAt: s.clock.Now()}, token(s, "q"))
		is(t, err, ErrNotFound)
	})
}

func TestAPIKeys(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		h := sum("key")
		k := must(s.CreateAPIKey(ctx, APIKey{UserID: u.ID, Name: "backup", Prefix: "abcd1234", Hash: h[:], Scopes: []string{"read", "push"}, DeviceID: newID(),
			ExpiresAt: s.clock.Now().Add(day)}))(t)
		got, who, err := s.APIKeyByPrefix(ctx, "abcd1234")
		ok(t, err)
		same(t, got, k)
		same(t, who, u)
		_, _, err = s.APIKeyByPrefix(ctx, "zzzzzzzz")
		is(t, err, ErrNotFound)

		ok(t, s.APIKeyUsed(ctx, got))
		used := s.clock.Now()
		s.clock.pass(30 * time.Second)
		got, _, _ = s.APIKeyByPrefix(ctx, "abcd1234")
		ok(t, s.APIKeyUsed(ctx, got))
		keys := must(s.APIKeys(ctx, u.ID))(t)
		if len(keys) != 1 || !keys[0].LastUsedAt.Equal(used) || keys[0].Hash != nil {
			t.Fatal(keys)
		}
		is(t, s.DeleteAPIKey(ctx, s.newUser(t, "bob@example.org").ID, k.ID), ErrNotFound)
		ok(t, s.DeleteAPIKey(ctx, u.ID, k.ID))
		is(t, s.DeleteAPIKey(ctx, u.ID, k.ID), ErrNotFound)
		_, err = s.CreateAPIKey(ctx, APIKey{UserID: newID(), Prefix: "p", Hash: h[:]})
		is(t, err, ErrNotFound)
	})
}

func TestDevices(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u, other := s.newUser(t, "ann@example.org"), s.newUser(t, "bob@example.org")
		d := s.newDevice(t, u.ID)
		same(t, must(s.DeviceByID(ctx, u.ID, d.ID))(t), d)
		// One computer, two accounts.
		must(s.PutDevice(ctx, Device{UserID: other.ID, ID: d.ID, Name: "bob's"}))(t)
		again := must(s.PutDevice(ctx, Device{UserID: u.ID, ID: d.ID, Platform: "darwin/arm64", PublicKey: []byte{1}}))(t)
		d.Platform, d.PublicKey = "darwin/arm64", []byte{1}
		same(t, again, d)
		same(t, must(s.RenameDevice(ctx, u.ID, d.ID, "desk"))(t).Name, "desk")
		_, err := s.RenameDevice(ctx, u.ID, newID(), "desk")
		is(t, err, ErrNotFound)
		_, err = s.PutDevice(ctx, Device{UserID: newID(), ID: newID()})
		is(t, err, ErrNotFound)

		session := must(s.StartSession(ctx, Session{UserID: u.ID, DeviceID: d.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, "0")))(t)
		h := sum("key")
		must(s.CreateAPIKey(ctx, APIKey{UserID: u.ID, Prefix: "p", Hash: h[:], DeviceID: d.ID}))(t)
		op, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
		ok(t, err)
		ok(t, s.RevokeDevice(ctx, u.ID, d.ID))
		ok(t, s.RevokeDevice(ctx, u.ID, d.ID))
		is(t, s.RevokeDevice(ctx, u.ID, newID()), ErrNotFound)
		_, err = s.PutDevice(ctx, Device{UserID: u.ID, ID: d.ID})
		is(t, err, ErrRevoked)
		_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
		is(t, err, ErrRevoked)
		l := newLog(u.ID, d.ID).organize(newID(), 1)
		_, err = s.Push(ctx, u.ID, l.all(), 0)
		is(t, err, ErrRevoked)
		if must(s.SessionLives(ctx, u.ID, session.ID))(t) || len(must(s.APIKeys(ctx, u.ID))(t)) > 0 || must(s.PendingCommands(ctx, u.ID, d.ID))(t) > 0 {
			t.Fatal("a revoked device still has something")
		}
		same(t, must(s.OperationByID(ctx, u.ID, op.ID))(t).Status, api.OpCancelled)
		if must(s.DeviceByID(ctx, other.ID, d.ID))(t).RevokedAt != (time.Time{}) {
			t.Fatal("another user's device was revoked")
		}
		if n := len(must(s.Devices(ctx, u.ID))(t)); n != 1 {
			t.Fatal(n)
		}
	})
}

func TestLocations(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u, other := s.newUser(t, "ann@example.org"), s.newUser(t, "bob@example.org")
		l := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		_, err := s.CreateLocation(ctx, Location{UserID: other.ID, Name: "inbox", Root: "/srv/ann"})
		is(t, err, ErrRootTaken)
		if n := len(must(s.Devices(ctx, other.ID))(t)); n != 0 {
			t.Fatal("a location that was refused left a device")
		}
		_, err = s.CreateLocation(ctx, Location{UserID: newID(), Name: "inbox", Root: "/srv/x"})
		is(t, err, ErrNotFound)
		same(t, must(s.Locations(ctx, u.ID))(t), []Location{l})
		same(t, must(s.AllLocations(ctx))(t), []Location{l})
		same(t, must(s.LocationByID(ctx, u.ID, l.ID))(t), l)
		_, err = s.LocationByID(ctx, other.ID, l.ID)
		is(t, err, ErrNotFound)
		same(t, must(s.DeviceByID(ctx, u.ID, l.ID))(t).Kind, string(api.DeviceLocation))
		// What is to be done there, the oldest first.
		same(t, must(s.OpenLocations(ctx))(t), []OpenLocation(nil))
		_, err = s.NextOperation(ctx, u.ID, l.ID)
		is(t, err, ErrNotFound)
		var ops []Operation
		for range 2 {
			o, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: l.ID, Kind: "organize"})
			ok(t, err)
			ops = append(ops, o)
			s.clock.pass(time.Second)
		}
		_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: s.newDevice(t, u.ID).ID, Kind: "organize"})
		ok(t, err)
		same(t, must(s.OpenLocations(ctx))(t), []OpenLocation{{UserID: u.ID, ID: l.ID, Since: ops[0].CreatedAt}})
		same(t, must(s.NextOperation(ctx, u.ID, l.ID))(t), ops[0])
		_, err = s.NextOperation(ctx, other.ID, l.ID)
		is(t, err, ErrNotFound)
		must(s.UpdateOperation(ctx, u.ID, ops[0].ID, Progress{Status: api.OpCompleted}))(t)
		same(t, must(s.NextOperation(ctx, u.ID, l.ID))(t), ops[1])
		must(s.UpdateOperation(ctx, u.ID, ops[1].ID, Progress{Status: api.OpCompleted}))(t)
		same(t, must(s.OpenLocations(ctx))(t), []OpenLocation(nil))
		// Rules.
		set := RuleSet{UserID: u.ID, LocationID: l.ID, Name: "a", Source: "rules: x"}
		ok(t, s.SetRules(ctx, set))
		set.Source, set.CreatedAt = "rules: y", s.clock.Now()
		ok(t, s.SetRules(ctx, set))
		same(t, must(s.RuleSets(ctx, u.ID))(t), []RuleSet{set})
		same(t, must(s.RuleSetByName(ctx, u.ID, l.ID, "a"))(t), set)
		is(t, s.SetRules(ctx, RuleSet{UserID: u.ID, LocationID: newID(), Name: "a"}), ErrNotFound)
		is(t, s.RemoveRules(ctx, u.ID, l.ID, "b"), ErrNotFound)
		set.Name = "b"
		ok(t, s.SetRules(ctx, set))
		ok(t, s.RemoveRules(ctx, u.ID, l.ID, "a"))
		same(t, len(must(s.RuleSets(ctx, u.ID))(t)), 1)
		is(t, s.DeleteLocation(ctx, other.ID, l.ID), ErrNotFound)
		ok(t, s.DeleteLocation(ctx, u.ID, l.ID))
		same(t, must(s.RuleSets(ctx, u.ID))(t), []RuleSet(nil))
		if must(s.DeviceByID(ctx, u.ID, l.ID))(t).RevokedAt.IsZero() {
			t.Fatal("its device is still welcome")
		}
	})
}

func TestOperations(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)

		id := newID()
		n := NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Root: "/srv/ann", Options: json.RawMessage(`{"z": 1, "a" : "b"}`),
			Job: jobFor(u.ID, id), Key: "k1", RequestSHA: sum("request")}
		op, replayed, err := s.CreateOperation(ctx, u.ID, n)
		ok(t, err)
		if replayed || op.Status != api.OpPending || op.Version != 1 {
			t.Fatal(op, replayed)
		}
		same(t, must(s.OperationByID(ctx, u.ID, id))(t), op)
		n.ID = newID()
		n.Job = jobFor(u.ID, n.ID)
		again, replayed, err := s.CreateOperation(ctx, u.ID, n)
		ok(t, err)
		same(t, again, op)
		if !replayed {
			t.Fatal("not known again")
		}
		n.RequestSHA = sum("another")
		_, _, err = s.CreateOperation(ctx, u.ID, n)
		is(t, err, ErrKeyReused)
		same(t, must(s.Count(ctx))(t).Jobs, map[string]int64{"available": 1})
		n = NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Job: jobFor(u.ID, id)}
		_, _, err = s.CreateOperation(ctx, u.ID, n)
		is(t, err, ErrExists)
		_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: newID(), Kind: "organize", Key: "k2"})
		is(t, err, ErrNotFound)
		same(t, must(s.Count(ctx))(t).Jobs, map[string]int64{"available": 1})
		if u := must(s.UserByID(ctx, u.ID))(t); u.OperationsThisMonth != 1 {
			t.Fatal(u.OperationsThisMonth)
		}

		s.clock.pass(time.Minute)
		p := Progress{Status: api.OpRunning, FilesTotal: 10, FilesProcessed: 3, BytesMoved: 300}
		op = must(s.UpdateOperation(ctx, u.ID, id, p))(t)
		if op.Version != 2 || !op.StartedAt.Equal(s.clock.Now()) || !op.CompletedAt.IsZero() || op.FilesProcessed != 3 {
			t.Fatal(op)
		}
		same(t, must(s.OperationByID(ctx, u.ID, id))(t), op)
		p = Progress{Status: api.OpPartial, FilesTotal: 10, FilesProcessed: 9, FilesFailed: 1, DuplicatesFound: 2, BytesMoved: 900, Error: "one failed"}
		op = must(s.UpdateOperation(ctx, u.ID, id, p))(t)
		if op.CompletedAt.IsZero() || op.Error != "one failed" {
			t.Fatal(op)
		}
		_, err = s.UpdateOperation(ctx, u.ID, id, p)
		is(t, err, ErrFinal)
		_, err = s.UpdateOperation(ctx, u.ID, newID(), p)
		is(t, err, ErrNotFound)
		if u := must(s.UserByID(ctx, u.ID))(t); u.StorageBytesManaged != 900 {
			t.Fatal(u.StorageBytesManaged)
		}
		liar := s.newUser(t, "liar@example.org") // what is said to have been moved adds up to more than there are numbers
		for range 2 {
			id := newID()
			_, _, err = s.CreateOperation(ctx, liar.ID, NewOperation{ID: id, DeviceID: s.newDevice(t, liar.ID).ID, Kind: "organize"})
			ok(t, err)
			must(s.UpdateOperation(ctx, liar.ID, id, Progress{Status: api.OpRunning, BytesMoved: math.MaxInt64}))(t)
		}
		if u := must(s.UserByID(ctx, liar.ID))(t); u.StorageBytesManaged != math.MaxInt64 {
			t.Fatal(u.StorageBytesManaged)
		}
		s.clock.pass(31 * day)
		if u := must(s.UserByID(ctx, u.ID))(t); u.OperationsThisMonth != 0 {
			t.Fatal("last month's count")
		}

		// Lists: by every filter, in pages, newest first, also at one time.
		var want []uuid.UUID
		l := newLog(u.ID, d.ID)
		for i := range 7 {
			id := newID()
			want = append(want, id)
			l.add(id, &api.Started{Kind: []string{"organize", "dupes"}[i%2], Root: fmt.Sprintf("/home/u/Übung %d", i)})
			l.at = l.at.Add(-time.Second)
		}
		s.push(t, l, l.all())
		slices.Reverse(want)
		list := func(f OperationFilter, limit int) (ids []uuid.UUID) {
			t.Helper()
			for p := (Page{Limit: limit}); ; {
				ops, next, err := s.Operations(ctx, u.ID, f, p)
				ok(t, err)
				if len(ops) > limit || next != "" && len(ops) < limit {
					t.Fatal(len(ops), next)
				}
				for _, o := range ops {
					ids = append(ids, o.ID)
				}
				if next == "" {
					return ids
				}
				p.Cursor = next
			}
		}
		for _, limit := range []int{1, 2, 3, 6, 7, 8} {
			same(t, list(OperationFilter{Device: d.ID}, limit), want)
		}
		same(t, list(OperationFilter{}, 3), append([]uuid.UUID{id}, want...))
		same(t, list(OperationFilter{Status: []api.OperationStatus{api.OpPartial, api.OpFailed}}, 3), []uuid.UUID{id})
		same(t, list(OperationFilter{Kind: []string{"dupes"}}, 2), []uuid.UUID{want[1], want[3], want[5]})
		same(t, list(OperationFilter{Path: "BUNG 3"}, 2), []uuid.UUID{want[3]})
		same(t, list(OperationFilter{Path: "%"}, 2), []uuid.UUID(nil))
		same(t, list(OperationFilter{Until: l.at.Add(time.Hour)}, 3), append([]uuid.UUID{id}, want...)[1:])
		same(t, list(OperationFilter{From: l.at.Add(time.Hour), Kind: []string{"organize"}}, 3), []uuid.UUID{id})
		_, next, err := s.Operations(ctx, u.ID, OperationFilter{}, Page{Limit: 1})
		ok(t, err)
		_, _, err = s.Operations(ctx, u.ID, OperationFilter{Path: "x"}, Page{Cursor: next})
		is(t, err, api.ErrCursor)
	})
}

// TestAskedFor: the trail of a user has what was asked for, in the transaction of that, and nothing of what was refused.
func TestAskedFor(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		id := newID()
		n := NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Job: jobFor(u.ID, id), Key: "k", RequestSHA: sum("request"),
			Audit: AuditEvent{Actor: "session:1", Action: "operation.start", Target: id.String(), Address: "192.0.2.1", Request: "r"}}
		for range 2 { // the second time it is replayed
			_, _, err := s.CreateOperation(ctx, u.ID, n)
			ok(t, err)
		}
		n.Key = ""
		_, _, err := s.CreateOperation(ctx, u.ID, n)
		is(t, err, ErrExists)
		n.ID, n.DeviceID = newID(), newID()
		_, _, err = s.CreateOperation(ctx, u.ID, n)
		is(t, err, ErrNotFound)
		n.DeviceID, n.Audit.Action = d.ID, "operation.device"
		_, _, err = s.CreateOperation(ctx, u.ID, n)
		ok(t, err)
		must(s.UpdateOperation(ctx, u.ID, id, Progress{Status: api.OpCompleted, FilesProcessed: 1}))(t)
		for range 2 { // the second time another is under way
			_, _, err = s.Rollback(ctx, u.ID, id, NewOperation{Audit: AuditEvent{Action: "operation.rollback"}})
		}
		if _, refused := errors.AsType[*RollbackError](err); !refused {
			t.Fatal(err)
		}
		ok(t, s.VerifyAudit(ctx, u.ID))
		events, _, err := s.AuditTrail(ctx, u.ID, Page{})
		ok(t, err)
		var actions []string
		for _, e := range events {
			actions = append(actions, e.Action)
		}
		same(t, actions, []string{"operation.rollback", "operation.device", "operation.start"})
		if e := events[2]; e.N != 1 || e.Actor != "session:1" || e.Target != id.String() || e.Address != "192.0.2.1" || e.Request != "r" {
			t.Fatal(e)
		}
	})
}

// TestStop: what nobody has begun is cancelled, and who is at work is asked to stop.
func TestStop(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		ask := func(device uuid.UUID) uuid.UUID {
			t.Helper()
			o, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: device, Kind: "organize"})
			ok(t, err)
			return o.ID
		}
		for _, device := range []uuid.UUID{loc.ID, d.ID} {
			id := ask(device)
			o := must(s.StopOperation(ctx, u.ID, id))(t)
			same(t, o.Status, api.OpCancelled)
			same(t, must(s.OperationByID(ctx, u.ID, id))(t), o)
			_, err := s.StopOperation(ctx, u.ID, id)
			is(t, err, ErrFinal)
			_, err = s.UpdateOperation(ctx, u.ID, id, Progress{Status: api.OpRunning})
			is(t, err, ErrFinal)
		}
		is(t, func() error { _, err := s.NextOperation(ctx, u.ID, loc.ID); return err }(), ErrNotFound)

		id := ask(loc.ID)
		p := Progress{Status: api.OpRunning, FilesTotal: 7, FilesProcessed: 3}
		before := must(s.UpdateOperation(ctx, u.ID, id, p))(t)
		o := must(s.StopOperation(ctx, u.ID, id))(t)
		if !o.Stop || o.Status != api.OpRunning || o.FilesProcessed != 3 || o.Version != before.Version+1 {
			t.Fatal(o)
		}
		same(t, must(s.OperationByID(ctx, u.ID, id))(t), o)
		if o = must(s.UpdateOperation(ctx, u.ID, id, p))(t); !o.Stop {
			t.Fatal("a word of progress has made it go on")
		}
		must(s.UpdateOperation(ctx, u.ID, id, Progress{Status: api.OpPartial}))(t)
		_, err := s.StopOperation(ctx, u.ID, id)
		is(t, err, ErrFinal)

		id = ask(d.ID)
		c := must(s.LeaseCommands(ctx, u.ID, d.ID, 1, time.Minute))(t)[0]
		must(s.RenewCommand(ctx, u.ID, c.ID, c.Lease, time.Minute, nil))(t)
		if o := must(s.StopOperation(ctx, u.ID, id))(t); o.Status != api.OpRunning {
			t.Fatal(o)
		}
		if c := must(s.RenewCommand(ctx, u.ID, c.ID, c.Lease, time.Minute, nil))(t); !c.Stop {
			t.Fatal("the device is not told")
		}

		own := newID()
		l := newLog(u.ID, d.ID).add(own, &api.Started{Kind: "organize", Root: "/home/u"})
		s.push(t, l, l.all())
		_, err = s.StopOperation(ctx, u.ID, own)
		is(t, err, ErrFinal)
	})
}

func TestRollback(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		l := newLog(u.ID, d.ID).organize(newID(), 5)
		op := l.entries[0].OpID
		s.push(t, l, l.all())
		reason := func(of uuid.UUID, want RollbackError) {
			t.Helper()
			_, _, err := s.Rollback(ctx, u.ID, of, NewOperation{})
			got, found := errors.AsType[*RollbackError](err)
			if !found || *got != want {
				t.Fatalf("%v, want %v", err, want)
			}
		}
		_, _, err := s.Rollback(ctx, u.ID, newID(), NewOperation{})
		is(t, err, ErrNotFound)
		_, _, err = s.Rollback(ctx, s.newUser(t, "bob@example.org").ID, op, NewOperation{})
		is(t, err, ErrNotFound)

		undo, replayed, err := s.Rollback(ctx, u.ID, op, NewOperation{Key: "k", RequestSHA: sum("r"), Params: json.RawMessage(`{"only":"*.pdf"}`), CreatedBy: "session:1"})
		ok(t, err)
		if replayed || undo.Kind != "undo" || undo.RollbackOf != op || undo.Root != "/home/u/Downloads" || undo.DeviceID != d.ID {
			t.Fatal(undo)
		}
		again, replayed, err := s.Rollback(ctx, u.ID, op, NewOperation{Key: "k", RequestSHA: sum("r")})
		ok(t, err)
		same(t, again, undo)
		if !replayed {
			t.Fatal("the key was not known again")
		}
		reason(op, RollbackError{Reason: RollbackOpen, Other: undo.ID})
		reason(undo.ID, RollbackError{Reason: NotFinished})

		// The device does it: the history says so, and then the answer to the command.
		leased := must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t)
		if len(leased) != 1 || leased[0].Kind != api.CommandRollback || leased[0].RollbackOf != op || leased[0].Operation != undo.ID ||
			string(leased[0].Params) != `{"only":"*.pdf"}` {
			t.Fatal(leased)
		}
		from := len(l.entries)
		l.add(undo.ID, &api.Started{Kind: "undo", Root: "/home/u/Downloads", Planned: 5, RollbackOf: op})
		l.add(undo.ID, &api.Finished{Status: api.OpCompleted, Processed: 5, Bytes: 50, RootStatus: api.OpUndone})
		l.add(undo.ID, &api.RollbackResult{CommandID: leased[0].ID, RollbackOf: op, State: api.CommandSucceeded, Restored: 5})
		s.push(t, l, l.request(from, len(l.entries)))
		must(s.FinishCommand(ctx, u.ID, leased[0].ID, leased[0].Lease, api.CommandSucceeded, &api.CommandResult{Processed: 5}))(t)
		same(t, must(s.OperationByID(ctx, u.ID, op))(t).Status, api.OpUndone)
		got := must(s.OperationByID(ctx, u.ID, undo.ID))(t)
		if got.Status != api.OpCompleted || got.FilesProcessed != 5 || got.BytesMoved != 50 {
			t.Fatal(got)
		}
		reason(op, RollbackError{Reason: RolledBack, Other: undo.ID})

		from = len(l.entries)
		empty, running := newID(), newID()
		l.add(empty, &api.Started{Kind: "organize", Root: "/x"}).add(empty, &api.Finished{Status: api.OpCompleted})
		l.add(running, &api.Started{Kind: "organize", Root: "/x"})
		l.organize(newID(), 2)
		s.push(t, l, l.request(from, len(l.entries)))
		reason(empty, RollbackError{Reason: NothingMoved})
		reason(running, RollbackError{Reason: NotFinished})
		ok(t, s.RevokeDevice(ctx, u.ID, d.ID))
		reason(l.entries[len(l.entries)-1].OpID, RollbackError{Reason: DeviceRevoked})

		// A refused one leaves the way free for another.
		d = s.newDevice(t, u.ID)
		l = newLog(u.ID, d.ID).organize(newID(), 1)
		op = l.entries[0].OpID
		s.push(t, l, l.all())
		undo, _, err = s.Rollback(ctx, u.ID, op, NewOperation{})
		ok(t, err)
		leased = must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t)
		must(s.FinishCommand(ctx, u.ID, leased[0].ID, leased[0].Lease, api.CommandRefused, &api.CommandResult{Error: "not allowed"}))(t)
		got = must(s.OperationByID(ctx, u.ID, undo.ID))(t)
		if got.Status != api.OpFailed || got.Error != "not allowed" {
			t.Fatal(got)
		}
		_, _, err = s.Rollback(ctx, u.ID, op, NewOperation{})
		ok(t, err)
	})
}

func TestPush(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d := s.newDevice(t, u.ID)
		l := newLog(u.ID, d.ID).organize(newID(), 3).organize(newID(), 3)
		_, err := s.Push(ctx, u.ID, &api.PushRequest{DeviceID: newID(), Epoch: newID()}, 0)
		is(t, err, ErrNotFound)
		_, err = s.Push(ctx, s.newUser(t, "bob@example.org").ID, l.all(), 0)
		is(t, err, ErrNotFound)

		// One without entries asks how far the log is.
		same(t, s.push(t, l, l.request(0, 0)), Pushed{LogHead: api.LogHead{Chain: l.chains[0]}})
		got := s.push(t, l, l.request(0, 3))
		same(t, got, Pushed{LogHead: api.LogHead{AckedSeq: 3, Chain: l.chains[3]}, Head: 3})
		same(t, s.push(t, l, l.request(0, 3)), got) // again
		same(t, s.push(t, l, l.request(1, 2)), got)
		gap := &api.GapError{}
		if _, err = s.Push(ctx, u.ID, l.request(4, 6), 0); !errors.As(err, &gap) || gap.Acked != 3 {
			t.Fatal(err)
		}
		same(t, s.push(t, l, l.request(2, 6)), Pushed{LogHead: api.LogHead{AckedSeq: 6, Chain: l.chains[6]}, Head: 6})

		forged := *l
		forged.entries = slices.Clone(l.entries)
		forged.entries[4].SHA256[0]++
		fork := &api.ForkError{}
		if _, err = s.Push(ctx, u.ID, forged.request(3, 6), 0); !errors.As(err, &fork) || fork.Seq != 5 {
			t.Fatal(err)
		}
		l.organize(newID(), 1)
		other := l.request(6, 9)
		other.PrevChain[0]++
		if _, err = s.Push(ctx, u.ID, other, 0); !errors.As(err, &fork) || fork.Seq != 6 {
			t.Fatal(err)
		}

		used := int64(0)
		for _, e := range l.entries {
			used += int64(len(e.Body))
		}
		_, err = s.Push(ctx, u.ID, l.request(6, 9), used-1)
		is(t, err, ErrQuota)
		must(s.Push(ctx, u.ID, l.request(6, 9), used))(t)

		// A new epoch retires the old one, which is still answered what it is.
		next := newLog(u.ID, d.ID).organize(newID(), 1)
		same(t, s.push(t, next, next.all()).Head, int64(12))
		_, err = s.Push(ctx, u.ID, l.request(8, 9), 0)
		is(t, err, ErrEpochRetired)

		// What comes back is what went in.
		var entries []api.Entry
		last, head, err := s.Pull(ctx, u.ID, PullFrom{}, func(e *api.PullEntry) error {
			entries = append(entries, e.Entry)
			if e.DeviceID != d.ID || e.ReceivedAt.IsZero() || e.ServerSeq != int64(len(entries)) {
				t.Error(e)
			}
			return nil
		})
		ok(t, err)
		same(t, []int64{last, head}, []int64{12, 12})
		if d := cmp.Diff(append(slices.Clone(l.entries), next.entries...), entries, cmp.AllowUnexported(api.Entry{})); d != "" {
			t.Fatal(d)
		}
	})
}

func TestPull(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		a, b := newLog(u.ID, s.newDevice(t, u.ID).ID), newLog(u.ID, s.newDevice(t, u.ID).ID)
		for range 700 {
			a.add(uuid.Nil, &api.Void{})
		}
		s.push(t, a, a.all())
		big := &api.Started{Kind: "organize", Root: "/" + strings.Repeat("x", 4000)}
		for range 10 {
			b.add(newID(), big)
		}
		b.entries[3].Body = bytes.Repeat([]byte{7}, 3<<20) // pages end early, and go on
		b.entries[5].Body = bytes.Repeat([]byte{8}, 5<<20)
		b.entries[3].Kind, b.entries[5].Kind = "unheard.of", "unheard.of"
		s.push(t, b, b.all())
		pull := func(p PullFrom) (seqs []int64, next, head int64) {
			t.Helper()
			next, head, err := s.Pull(ctx, u.ID, p, func(e *api.PullEntry) error {
				seqs = append(seqs, e.ServerSeq)
				return nil
			})
			ok(t, err)
			return seqs, next, head
		}
		span := func(from, to int64) (all []int64) {
			for i := from; i <= to; i++ {
				all = append(all, i)
			}
			return all
		}
		for _, c := range []struct {
			p    PullFrom
			want []int64
			next int64
		}{
			{PullFrom{}, span(1, 710), 710},
			{PullFrom{After: 710}, nil, 710},
			{PullFrom{After: 709}, span(710, 710), 710},
			{PullFrom{Limit: 499}, span(1, 499), 499},
			{PullFrom{Limit: 500}, span(1, 500), 500},
			{PullFrom{Limit: 501}, span(1, 501), 501},
			{PullFrom{Except: a.device}, span(701, 710), 710},
			{PullFrom{Except: a.device, Limit: 3}, span(701, 703), 703},
			{PullFrom{Except: b.device}, span(1, 700), 710},
			{PullFrom{Except: b.device, Limit: 700}, span(1, 700), 700},
			{PullFrom{Except: b.device, After: 700}, nil, 710},
		} {
			got, next, head := pull(c.p)
			same(t, got, c.want)
			same(t, []int64{next, head}, []int64{c.next, 710})
		}
		_, _, err := s.Pull(ctx, u.ID, PullFrom{After: 711}, nil)
		is(t, err, ErrCursorExpired)
		_, _, err = s.Pull(ctx, newID(), PullFrom{}, nil)
		is(t, err, ErrNotFound)
		enough := errors.New("enough")
		next, _, err := s.Pull(ctx, u.ID, PullFrom{}, func(e *api.PullEntry) error {
			if e.ServerSeq > 5 {
				return enough
			}
			return nil
		})
		is(t, err, enough)
		same(t, next, int64(5))

		// The cursor never goes back, and never beyond what there is.
		for _, c := range [][2]int64{{5, 5}, {3, 5}, {9999, 710}, {-1, 710}} {
			kept, head, err := s.Ack(ctx, u.ID, a.device, a.epoch, c[0])
			ok(t, err)
			same(t, []int64{kept, head}, []int64{c[1], 710})
		}
		_, _, err = s.Ack(ctx, u.ID, newID(), newID(), 1)
		is(t, err, ErrNotFound)
		states, head, err := s.SyncState(ctx, u.ID)
		ok(t, err)
		same(t, head, int64(710))
		for _, d := range states {
			if d.Device == a.device && (d.Log != api.LogHead{AckedSeq: 700, Chain: a.chains[700]} || d.PullCursor != 710) ||
				d.Device == b.device && (d.Log.AckedSeq != 10 || d.PullCursor != 0) {
				t.Fatal(d)
			}
		}

		// A device that only pulls has acknowledged before it ever pushes.
		c := newLog(u.ID, s.newDevice(t, u.ID).ID).organize(newID(), 1)
		_, _, err = s.Ack(ctx, u.ID, c.device, c.epoch, 10)
		ok(t, err)
		s.push(t, c, c.all())
	})
}

func TestFiles(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		l := newLog(u.ID, s.newDevice(t, u.ID).ID)
		op, other := newID(), newID()
		l.add(op, &api.Started{Kind: "organize", Root: "/x", Planned: 10})
		l.add(op, records(1, 4))
		l.add(other, records(1, 2))
		l.add(op, records(5, 4))
		l.add(op, &api.Outcomes{Outcomes: []api.Outcome{{Seq: 2, Status: api.FileFailed, Error: "denied"}, {Seq: 6, Count: 2, Status: api.FileSkipped}}})
		l.add(op, records(9, 2))
		l.add(op, &api.Finished{Status: api.OpPartial, Processed: 7, Skipped: 2, Failed: 1})
		s.push(t, l, l.all())
		for _, limit := range []int{1, 2, 3, 4, 5, 9, 10, 11} {
			var all []api.FileRecord
			for p := (Page{Limit: limit}); ; {
				files, next, err := s.Files(ctx, u.ID, op, p)
				ok(t, err)
				if len(files) > limit {
					t.Fatal(len(files))
				}
				all = append(all, files...)
				if next == "" {
					break
				}
				p.Cursor = next
			}
			if len(all) != 10 {
				t.Fatal(limit, len(all))
			}
			for i, f := range all {
				want := api.FileDone
				switch i + 1 {
				case 2:
					want = api.FileFailed
				case 6, 7:
					want = api.FileSkipped
				}
				if f.Seq != int64(i+1) || f.OperationID != op || f.Status != want {
					t.Fatal(limit, f)
				}
			}
		}
		_, _, err := s.Files(ctx, u.ID, newID(), Page{})
		is(t, err, ErrNotFound)
		_, _, err = s.Files(ctx, u.ID, op, Page{Cursor: api.Cursor{Seq: 1}.Encode("other")})
		is(t, err, api.ErrCursor)
	})
}

func TestCommands(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		d, d2 := s.newDevice(t, u.ID), s.newDevice(t, u.ID)
		ask := func(d Device) (Operation, Command) {
			t.Helper()
			op, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize", Root: "inbox", Params: json.RawMessage(`{"root":"inbox"}`),
				MAC: []byte{1, 2}, CreatedBy: "key:1", Expires: time.Hour})
			ok(t, err)
			return op, must(s.CommandOf(ctx, u.ID, op.ID))(t)
		}
		op, c := ask(d)
		if c.State != api.CommandQueued || c.Kind != api.CommandOrganize || !c.ExpiresAt.Equal(s.clock.Now().Add(time.Hour)) || c.Operation != op.ID {
			t.Fatal(c)
		}
		same(t, must(s.CommandByID(ctx, u.ID, c.ID))(t), c)
		if got := must(s.LeaseCommands(ctx, u.ID, d2.ID, 10, time.Minute))(t); len(got) > 0 {
			t.Fatal("another device's command", got)
		}
		first := must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t)
		if len(first) != 1 || first[0].State != api.CommandLeased || first[0].Lease == uuid.Nil || first[0].Attempts != 1 || string(first[0].MAC) != "\x01\x02" {
			t.Fatal(first)
		}
		if got := must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t); len(got) > 0 {
			t.Fatal("leased twice", got)
		}
		s.clock.pass(61 * time.Second)
		second := must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t)
		if len(second) != 1 || second[0].Attempts != 2 {
			t.Fatal(second)
		}
		_, err := s.RenewCommand(ctx, u.ID, c.ID, first[0].Lease, time.Minute, nil)
		is(t, err, ErrLeaseLost)
		lease := second[0].Lease
		c = must(s.RenewCommand(ctx, u.ID, c.ID, lease, time.Minute, &api.Progress{FilesTotal: 9, FilesProcessed: 4}))(t)
		same(t, c.State, api.CommandRunning)
		if o := must(s.OperationByID(ctx, u.ID, op.ID))(t); o.Status != api.OpRunning || o.FilesTotal != 9 || o.FilesProcessed != 4 || o.StartedAt.IsZero() {
			t.Fatal(o)
		}
		c = must(s.CancelCommand(ctx, u.ID, c.ID))(t)
		if c.State != api.CommandRunning || !c.Stop {
			t.Fatal("one at work is only asked to stop", c)
		}
		result := &api.CommandResult{Processed: 4, Failed: 1, Bytes: 40, Error: "stopped"}
		_, err = s.FinishCommand(ctx, u.ID, c.ID, newID(), api.CommandPartial, result)
		is(t, err, ErrLeaseLost)
		c = must(s.FinishCommand(ctx, u.ID, c.ID, lease, api.CommandPartial, result))(t)
		same(t, must(s.FinishCommand(ctx, u.ID, c.ID, lease, api.CommandPartial, nil))(t), c) // the answer got lost
		_, err = s.FinishCommand(ctx, u.ID, c.ID, lease, api.CommandSucceeded, nil)
		is(t, err, ErrFinal)
		_, err = s.RenewCommand(ctx, u.ID, c.ID, lease, time.Minute, nil)
		is(t, err, ErrFinal)
		_, err = s.CancelCommand(ctx, u.ID, c.ID)
		is(t, err, ErrFinal)
		if o := must(s.OperationByID(ctx, u.ID, op.ID))(t); o.Status != api.OpPartial || o.BytesMoved != 40 || o.Error != "stopped" {
			t.Fatal(o)
		}
		// The database itself keeps what has ended as it is.
		err = s.system(ctx, func(t tx) error {
			_, err := t.exec(ctx, "update commands set state = 'queued', finished_at = null where id = $1", c.ID)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "never change") {
			t.Fatal(err)
		}

		// Taken back, and too old.
		op, c = ask(d)
		same(t, must(s.CancelCommand(ctx, u.ID, c.ID))(t).State, api.CommandCancelled)
		same(t, must(s.OperationByID(ctx, u.ID, op.ID))(t).Status, api.OpCancelled)
		op, c = ask(d)
		running, _ := ask(d2)
		r := must(s.LeaseCommands(ctx, u.ID, d2.ID, 1, time.Minute))(t)[0]
		must(s.RenewCommand(ctx, u.ID, r.ID, r.Lease, time.Minute, nil))(t)
		s.clock.pass(2 * time.Hour)
		if got := must(s.LeaseCommands(ctx, u.ID, d.ID, 10, time.Minute))(t); len(got) > 0 {
			t.Fatal("an old command was handed out", got)
		}
		same(t, must(s.ExpireCommands(ctx))(t), int64(1))
		same(t, must(s.CommandByID(ctx, u.ID, c.ID))(t).State, api.CommandExpired)
		same(t, must(s.OperationByID(ctx, u.ID, op.ID))(t).Status, api.OpExpired)
		same(t, must(s.OperationByID(ctx, u.ID, running.ID))(t).Status, api.OpRunning)
		// One at work that was lost is handed out again, however old.
		again := must(s.LeaseCommands(ctx, u.ID, d2.ID, 10, time.Minute))(t)
		if len(again) != 1 || again[0].State != api.CommandRunning {
			t.Fatal("at work, it can neither expire nor be refused any more", again)
		}
		same(t, must(s.ExpireCommands(ctx))(t), int64(0))

		for range 5 {
			ask(d)
			s.clock.pass(time.Second)
		}
		same(t, must(s.PendingCommands(ctx, u.ID, d.ID))(t), int64(5))
		same(t, s.push(t, newLog(u.ID, d.ID), newLog(u.ID, d.ID).request(0, 0)).Commands, int64(5))
		got := must(s.LeaseCommands(ctx, u.ID, d.ID, 3, time.Minute))(t)
		if len(got) != 3 || !slices.IsSortedFunc(got, func(a, b Command) int { return a.CreatedAt.Compare(b.CreatedAt) }) {
			t.Fatal(got)
		}
		all := 0
		for p := (Page{Limit: 3}); ; {
			page, next, err := s.Commands(ctx, u.ID, p)
			ok(t, err)
			all += len(page)
			if p.Cursor = next; next == "" {
				break
			}
		}
		same(t, all, 9)
	})
}

func TestAudit(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		ok(t, s.VerifyAudit(ctx, u.ID))
		for i := range 5 {
			ok(t, s.Audit(ctx, AuditEvent{UserID: u.ID, Actor: "session:1", Action: "auth.login", Address: "192.0.2.1", Request: fmt.Sprint(i), Detail: json.RawMessage(`{"b":1, "a":2}`)}))
			ok(t, s.Audit(ctx, AuditEvent{Action: "auth.login_failed"}))
			s.clock.pass(time.Hour)
		}
		is(t, s.Audit(ctx, AuditEvent{UserID: newID(), Action: "x"}), ErrNotFound)
		ok(t, s.VerifyAudit(ctx, u.ID))
		ok(t, s.VerifyAudit(ctx, uuid.Nil))
		page, next, err := s.AuditTrail(ctx, u.ID, Page{Limit: 3})
		ok(t, err)
		rest, end, err := s.AuditTrail(ctx, u.ID, Page{Limit: 3, Cursor: next})
		ok(t, err)
		if len(page) != 3 || len(rest) != 2 || end != "" || page[0].N != 5 || rest[1].N != 1 || page[0].UserID != u.ID {
			t.Fatal(page, rest)
		}
		own, _, err := s.AuditTrail(ctx, uuid.Nil, Page{})
		ok(t, err)
		if len(own) != 5 || own[0].UserID != uuid.Nil {
			t.Fatal(own)
		}
		for _, q := range []string{"update audit_log set action = 'auth.logout' where n = 3", "delete from audit_log where n = 5"} {
			err := s.as(ctx, u.ID, func(t tx) error { _, err := t.exec(ctx, q); return err })
			if err == nil {
				t.Fatal(q, "was let through")
			}
			err = s.system(ctx, func(t tx) error { _, err := t.exec(ctx, q); return err })
			if err == nil {
				t.Fatal(q, "was let through for the service")
			}
		}
		removed := must(s.Housekeep(ctx, Retention{Audit: 3*time.Hour - time.Minute}))(t)
		same(t, removed, Removed{Audit: 6}) // three of each trail
		ok(t, s.VerifyAudit(ctx, u.ID))
		ok(t, s.Audit(ctx, AuditEvent{UserID: u.ID, Action: "auth.logout"}))
		ok(t, s.VerifyAudit(ctx, u.ID))

		s.tamper(t, "update audit_log set action = 'auth.loguot' where n = 5")
		if err := s.VerifyAudit(ctx, u.ID); err == nil || !strings.Contains(err.Error(), "event 5") {
			t.Fatal(err)
		}
		s.tamper(t, "delete from audit_log where n = 6")
		if err := s.VerifyAudit(ctx, u.ID); err == nil {
			t.Fatal("a missing end was not seen")
		}
	})
}

func TestHousekeep(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		a, b := newLog(u.ID, s.newDevice(t, u.ID).ID), newLog(u.ID, s.newDevice(t, u.ID).ID)
		op := newID()
		a.organize(op, 3)
		s.push(t, a, a.all())
		_, _, err := s.Ack(ctx, u.ID, b.device, b.epoch, 2)
		ok(t, err)
		session := must(s.StartSession(ctx, Session{UserID: u.ID, ExpiresAt: s.clock.Now().Add(90 * day)}, token(s, "0")))(t)
		_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: a.device, Kind: "organize", Key: "k", Expires: day})
		ok(t, err)
		s.clock.pass(50 * day)
		must(s.PutDevice(ctx, Device{UserID: u.ID, ID: b.device}))(t) // b was seen
		keep := Retention{Entries: 40 * day, Commands: day, Sessions: day, Idempotency: day, Idle: 60 * day}
		removed := must(s.Housekeep(ctx, keep))(t)
		same(t, removed, Removed{Entries: 2, Keys: 1}) // b has yet to pull the third; the command has only just expired
		bodies := func() (n int) {
			_, _, err := s.Pull(ctx, u.ID, PullFrom{}, func(e *api.PullEntry) error {
				if !e.Redacted {
					n++
				}
				return nil
			})
			ok(t, err)
			return n
		}
		same(t, bodies(), 1)
		// What was removed has its hash still, so the chain fits: whoever begins gets all of it, in pages however small, and
		// whoever was away for long goes on.
		for after := range int64(3) {
			chain, seen := a.chains[after], after
			for next, head := after, int64(-1); next != head; {
				next, head, err = s.Pull(ctx, u.ID, PullFrom{After: next, Limit: 1}, func(e *api.PullEntry) error {
					chain = chain.Next(e.SHA256)
					seen++
					return nil
				})
				ok(t, err)
			}
			same(t, seen, int64(3))
			same(t, chain, a.chains[3])
		}
		s.push(t, a, a.all()) // still compared by hash
		ok(t, s.Rebuild(ctx, u.ID))
		same(t, must(s.OperationByID(ctx, u.ID, op))(t).Status, api.OpCompleted)

		s.clock.pass(70 * day) // b is idle now, the session over
		removed = must(s.Housekeep(ctx, keep))(t)
		same(t, removed, Removed{Entries: 1, Commands: 1, Sessions: 1})
		same(t, bodies(), 0)
		if err := s.EndSession(ctx, u.ID, session.ID, "x"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		same(t, must(s.Housekeep(ctx, keep))(t), Removed{})
		// The quota counts what is there.
		c := newLog(u.ID, a.device).organize(newID(), 1)
		must(s.Push(ctx, u.ID, c.all(), 2000))(t)
	})
}

// TestRedact: what a device has forgotten is erased here as well, and the log goes on.
func TestRedact(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		l := newLog(u.ID, s.newDevice(t, u.ID).ID)
		op, stays := newID(), newID()
		l.organize(op, 3).organize(stays, 3).add(op, &api.Redact{Reason: "pruned"})
		s.push(t, l, l.all())
		var bodies []bool
		_, _, err := s.Pull(ctx, u.ID, PullFrom{}, func(e *api.PullEntry) error {
			bodies = append(bodies, e.Body != nil)
			return nil
		})
		ok(t, err)
		same(t, bodies, []bool{false, false, false, true, true, true, true})
		o := must(s.OperationByID(ctx, u.ID, op))(t)
		if o.Root != "" || o.Options != nil || o.Status != api.OpCompleted || o.FilesProcessed != 3 {
			t.Fatal(o)
		}
		ok(t, s.Rebuild(ctx, u.ID))
		same(t, must(s.OperationByID(ctx, u.ID, op))(t), o)
		s.push(t, l, l.all()) // pushing it again brings nothing back
		if files, _, _ := s.Files(ctx, u.ID, op, Page{}); len(files) > 0 {
			t.Fatal(files)
		}
	})
}

func TestSealed(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		l := newLog(u.ID, s.newDevice(t, u.ID).ID)
		op := newID()
		l.organize(op, 3)
		for i := range l.entries {
			l.entries[i].KeyID, l.entries[i].Body, l.entries[i].Codec = "key 1", []byte{1, 2, 3}, ""
		}
		s.push(t, l, l.all())
		o := must(s.OperationByID(ctx, u.ID, op))(t)
		if o.Kind != "" || o.Root != "" || o.Status != api.OpCompleted || o.StartedAt.IsZero() || o.CompletedAt.IsZero() {
			t.Fatal(o)
		}
		files, _, err := s.Files(ctx, u.ID, op, Page{})
		ok(t, err)
		same(t, len(files), 0)
	})
}

func keyUpdate(version int64, ids ...string) *api.KeyUpdate {
	u := &api.KeyUpdate{Version: version, Bundle: []byte{1, 2, 3}}
	for _, id := range ids {
		check := sum(id)
		u.Keys = append(u.Keys, api.AccountKey{ID: id, Check: check[:]})
	}
	return u
}

// TestKeys: an account with keys takes nothing readable of its computers, and two who change its keys do not overwrite each
// other.
func TestKeys(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		problem := func(err error, code api.Code) {
			t.Helper()
			if p, _ := errors.AsType[*api.Problem](err); p == nil || p.Code != code {
				t.Fatalf("%v, want %s", err, code)
			}
		}
		same(t, must(s.Keys(ctx, u.ID))(t), api.KeyState{Keys: []api.AccountKey{}, Devices: []api.KeyRequest{}})
		laptop, desktop := s.newDevice(t, u.ID), s.newDevice(t, u.ID)
		before := newLog(u.ID, laptop.ID).organize(newID(), 3)
		s.push(t, before, before.request(0, 2))

		problem(s.SetKeys(ctx, u.ID, keyUpdate(1, "k1")), api.CodeConflict)
		problem(s.SetKeys(ctx, u.ID, keyUpdate(0)), api.CodeInvalid)
		ok(t, s.SetKeys(ctx, u.ID, keyUpdate(0, "k1")))
		problem(s.SetKeys(ctx, u.ID, keyUpdate(0, "k9")), api.CodeConflict)
		problem(s.SetKeys(ctx, u.ID, keyUpdate(1, "k2")), api.CodeConflict)
		ok(t, s.SetKeys(ctx, u.ID, keyUpdate(1, "k1", "k2")))
		is(t, s.SetKeys(ctx, newID(), keyUpdate(0, "k1")), ErrNotFound)
		tag := sum("tag")
		ask := api.KeyRequest{DeviceID: laptop.ID, Recipient: "age1", Tag: tag[:]}
		ok(t, s.RequestKeys(ctx, u.ID, ask))
		ask.Recipient = "age2"
		ok(t, s.RequestKeys(ctx, u.ID, ask))
		s.clock.pass(time.Second)
		other := api.KeyRequest{DeviceID: desktop.ID, Recipient: "age3", Tag: tag[:]}
		ok(t, s.RequestKeys(ctx, u.ID, other))
		want := api.KeyState{Version: 2, Keys: keyUpdate(0, "k1", "k2").Keys, Bundle: []byte{1, 2, 3}, Devices: []api.KeyRequest{ask, other}}
		same(t, must(s.Keys(ctx, u.ID))(t), want)
		ok(t, s.RevokeDevice(ctx, u.ID, desktop.ID))
		is(t, s.RequestKeys(ctx, u.ID, other), ErrRevoked)
		want.Devices = want.Devices[:1]
		same(t, must(s.Keys(ctx, u.ID))(t), want)
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		is(t, s.RequestKeys(ctx, u.ID, api.KeyRequest{DeviceID: loc.ID, Recipient: "age1", Tag: tag[:]}), ErrNotFound)

		// What came before may come again, the rest only sealed; nothing of a push that has one readable entry is taken.
		s.push(t, before, before.request(0, 2))
		_, err := s.Push(ctx, u.ID, before.all(), 0)
		problem(err, api.CodeNotSealed)
		if p, _ := errors.AsType[*api.Problem](err); p.Errors[0].Location != "body.entries[2].key_id" {
			t.Fatal(p)
		}
		seal := func(e *api.Entry, key string) {
			e.KeyID, e.Codec = key, ""
			e.SetRaw([]byte("sealed"))
			e.Codec = ""
		}
		op := newID()
		l := newLog(u.ID, laptop.ID).add(op, &api.Started{Kind: "organize", Planned: 3, Sealed: &api.Sealed{KeyID: "k1", Box: []byte{1}}}).add(op, records(1, 3)).
			add(op, &api.Finished{Status: api.OpPartial, Processed: 2, Failed: 1, Bytes: 7, Sealed: &api.Sealed{KeyID: "k2", Box: []byte{1}}})
		push := func(key string) error {
			log := *l
			log.entries = append([]api.Entry{}, l.entries...)
			seal(&log.entries[1], key)
			_, err := s.Push(ctx, u.ID, log.all(), 0)
			return err
		}
		problem(push(""), api.CodeNotSealed)
		problem(push("k3"), api.CodeNotSealed)
		is(t, failure(s.OperationByID(ctx, u.ID, op)), ErrNotFound)
		ok(t, push("k2"))
		o := must(s.OperationByID(ctx, u.ID, op))(t)
		if o.Kind != "organize" || o.Root != "" || o.Status != api.OpPartial || o.FilesTotal != 3 || o.FilesProcessed != 2 || o.FilesFailed != 1 || o.BytesMoved != 7 {
			t.Fatal(o)
		}
		// The server's own work is not sealed: it knows it.
		ofLocation := newLog(u.ID, loc.ID).organize(newID(), 1)
		s.push(t, ofLocation, ofLocation.all())
		// Another account is none of this one's.
		bob := s.newUser(t, "bob@example.org")
		readable := newLog(bob.ID, s.newDevice(t, bob.ID).ID).organize(newID(), 1)
		s.push(t, readable, readable.all())
	})
}

func failure[T any](_ T, err error) error { return err }

func TestEvents(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		other := open(t, s.url)
		if !s.Postgres() {
			other = s // there is one process
		}
		got := make(chan Event, 100)
		stop := other.Subscribe(func(e Event) { got <- e })
		u := s.newUser(t, "ann@example.org")
		want := Event{User: u.ID, Kind: EventOperation, ID: newID(), Seq: 7}
		for deadline := time.Now().Add(2 * time.Minute); ; { // until the other listens
			s.Tell(want)
			select {
			case e := <-got:
				same(t, e, want)
			case <-time.After(50 * time.Millisecond):
				if time.Now().After(deadline) {
					t.Fatal("nothing was heard")
				}
				continue
			}
			break
		}
		l := newLog(u.ID, s.newDevice(t, u.ID).ID).organize(newID(), 1)
		s.push(t, l, l.all())
		var kinds []string
		for len(kinds) < 2 {
			select {
			case e := <-got:
				if e != want {
					kinds = append(kinds, e.Kind)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal("the push was not heard of")
			}
		}
		same(t, kinds, []string{EventOperation, EventLog})
		stop()
	})
}

// TestErase: nothing that names the user is left, and another user loses nothing.
func TestErase(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u, other := s.newUser(t, "erase-me@example.org"), s.newUser(t, "bob@example.org")
		for _, u := range []User{u, other} {
			s.furnish(t, u)
		}
		seen := map[string]int{}
		ok(t, s.Export(ctx, u.ID, func(what string, v any) error {
			b, err := json.Marshal(v)
			if bytes.Contains(b, []byte("hash of")) {
				t.Error("the export has a password's hash")
			}
			seen[what]++
			return err
		}))
		same(t, seen, map[string]int{"user": 1, "device": 2, "location": 1, "rules": 1, "api_key": 1, "session": 1, "keys": 1, "operation": 3, "command": 1, "audit": 1, "entry": 3})
		is(t, s.Export(ctx, newID(), nil), ErrNotFound)

		before := s.dump(t)
		if !strings.Contains(before, "erase-me") || !strings.Contains(before, u.ID.String()) {
			t.Fatal("the dump does not show what it should")
		}
		ok(t, s.DeleteUser(ctx, u.ID))
		is(t, s.DeleteUser(ctx, u.ID), ErrNotFound)
		after := s.dump(t)
		for _, trace := range []string{"erase-me", u.ID.String(), strings.ReplaceAll(u.ID.String(), "-", "")} {
			if i := strings.Index(after, trace); i >= 0 {
				t.Fatalf("%s is left: %s", trace, after[max(0, i-100):min(len(after), i+100)])
			}
		}
		counts := map[string]int{}
		ok(t, s.Export(ctx, other.ID, func(what string, _ any) error { counts[what]++; return nil }))
		same(t, counts, seen)
		same(t, must(s.Count(ctx))(t).Jobs, map[string]int64{"available": 1})
		if !s.Postgres() {
			ok(t, s.system(ctx, func(t tx) error { return nil }))
			ok(t, s.db.settle(ctx))
			file := must(os.ReadFile(s.url))(t)
			if bytes.Contains(file, []byte("erase-me")) || bytes.Contains(file, u.ID[:]) {
				t.Fatal("the file still holds what was erased")
			}
		}
	})
}

// furnish gives a user something in every table.
func (s testStore) furnish(t testing.TB, u User) {
	t.Helper()
	ctx := t.Context()
	d := s.newDevice(t, u.ID)
	l := newLog(u.ID, d.ID).organize(newID(), 3)
	s.push(t, l, l.all())
	_, _, err := s.Ack(ctx, u.ID, d.ID, l.epoch, 1)
	ok(t, err)
	loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/" + u.Email}))(t)
	ok(t, s.SetRules(ctx, RuleSet{UserID: u.ID, LocationID: loc.ID, Name: "r", Source: "of " + u.Email}))
	id := newID()
	_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Job: jobFor(u.ID, id), Key: "k"})
	ok(t, err)
	_, _, err = s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
	ok(t, err)
	must(s.StartSession(ctx, Session{UserID: u.ID, DeviceID: d.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, u.Email)))(t)
	h := sum(u.Email)
	must(s.CreateAPIKey(ctx, APIKey{UserID: u.ID, Prefix: u.Email, Hash: h[:]}))(t)
	ok(t, s.Audit(ctx, AuditEvent{UserID: u.ID, Action: "auth.login", Target: u.ID.String()}))
	ok(t, s.SetKeys(ctx, u.ID, keyUpdate(0, "k1")))
	ok(t, s.RequestKeys(ctx, u.ID, api.KeyRequest{DeviceID: d.ID, Recipient: "age1", Tag: h[:]}))
}

// dump is every row of every table as text.
func (s testStore) dump(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	if s.Postgres() {
		s.asSuperuser(t, func(query string) {
			b.WriteString(query)
		})
		return b.String()
	}
	db := s.db.(*lite).ro
	names, err := db.QueryContext(ctx, "select name from sqlite_schema where type = 'table'")
	ok(t, err)
	var tables []string
	for names.Next() {
		var n string
		ok(t, names.Scan(&n))
		tables = append(tables, n)
	}
	names.Close()
	for _, n := range tables {
		r, err := db.QueryContext(ctx, "select * from "+n)
		ok(t, err)
		columns, _ := r.Columns()
		for r.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			ok(t, r.Scan(values...))
			for _, v := range values {
				switch v := (*v.(*any)).(type) {
				case []byte:
					fmt.Fprintf(&b, "%s %x ", v, v)
					if len(v) == 16 {
						fmt.Fprint(&b, uuid.UUID(v), " ")
					}
				default:
					fmt.Fprint(&b, v, " ")
				}
			}
			b.WriteString("\n")
		}
		r.Close()
	}
	return b.String()
}

// TestMigrate goes up, down and up again, on data.
func TestMigrate(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		ann, bob := s.newUser(t, "ann@example.org"), s.newUser(t, "bob@example.org")
		s.furnish(t, ann)
		s.furnish(t, bob)
		rows := func() []string { return slices.Sorted(strings.SplitSeq(s.dump(t), "\n")) } // tables have no order
		full := rows()
		ok(t, s.Migrate(ctx, Latest)) // nothing to do
		same(t, rows(), full)
		_, want, err := s.db.schema(ctx)
		ok(t, err)
		// To every schema that there was and back: what users have is what it was, but for what came with a later schema.
		first := []string{"user", "device", "location", "api_key", "session", "operation", "command", "audit", "entry"}
		export := func() (all []string) {
			for _, u := range []User{ann, bob} {
				ok(t, s.Export(ctx, u.ID, func(what string, v any) error {
					if !slices.Contains(first, what) {
						return nil
					}
					b, err := json.Marshal(v)
					all = append(all, what+" "+string(b))
					return err
				}))
			}
			return all
		}
		before := export()
		for target := want - 1; target >= 1; target-- {
			ok(t, s.Migrate(ctx, target))
			ok(t, s.Migrate(ctx, Latest))
			ok(t, s.Ready(ctx))
			same(t, export(), before)
		}
		carl := s.newUser(t, "carl@example.org")
		s.furnish(t, carl)
		for range 2 {
			for target := want - 1; target >= 0; target-- {
				ok(t, s.Migrate(ctx, target))
				if err := s.Ready(ctx); err == nil {
					t.Fatal("ready with an old schema")
				}
			}
			if left := s.dump(t); strings.Contains(left, "ann@example.org") || strings.Contains(left, ann.ID.String()) {
				t.Fatalf("an empty database has %s", left)
			}
			for target := int64(1); target <= want; target++ {
				ok(t, s.Migrate(ctx, target))
			}
			ok(t, s.Ready(ctx))
			s.furnish(t, s.newUser(t, "ann@example.org")) // it is as good as the first one
		}
		if err := s.Migrate(ctx, want+1); err == nil {
			t.Fatal("a schema that nobody knows")
		}
		s.tamper(t, fmt.Sprintf("insert into goose_db_version (version_id, is_applied) values (%d, %s)", want+1, map[bool]string{true: "true", false: "1"}[s.Postgres()]))
		if err := s.Migrate(ctx, Latest); err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Fatal(err)
		}
		if err := s.Ready(ctx); err == nil {
			t.Fatal("ready with a schema of a newer program")
		}
	})
	t.Run("together", func(t *testing.T) {
		s := onEmptyPostgres(t)
		errs := make(chan error)
		for range 4 {
			go func() { errs <- s.Migrate(context.Background(), Latest) }()
		}
		for range 4 {
			ok(t, <-errs)
		}
		ok(t, s.Ready(t.Context()))
	})
}

// TestQueue: a job that was enqueued with its operation is worked off, and a transaction that fails enqueues none.
func TestQueue(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		u := s.newUser(t, "ann@example.org")
		loc := must(s.CreateLocation(ctx, Location{UserID: u.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		done := make(chan string, 10)
		workers := river.NewWorkers()
		river.AddWorker(workers, river.WorkFunc(func(_ context.Context, j *river.Job[organizeJob]) error {
			done <- j.Args.Operation
			return nil
		}))
		q := must(s.Queue(&river.Config{Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
			FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 50 * time.Millisecond}))(t)
		ok(t, q.Start(context.WithoutCancel(ctx)))
		id := newID()
		_, _, err := s.CreateOperation(ctx, u.ID, NewOperation{ID: id, DeviceID: loc.ID, Kind: "organize", Job: jobFor(u.ID, id)})
		ok(t, err)
		select {
		case got := <-done:
			same(t, got, id.String())
		case <-time.After(2 * time.Minute):
			t.Fatal("nobody did the job")
		}
		ok(t, q.Stop(ctx))
	})
}

// TestOthers: whatever is asked for with another user's id is not there, in the same words as what nobody has.
func TestOthers(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		owner, u := s.newUser(t, "ann@example.org"), s.newUser(t, "bob@example.org")
		d := s.newDevice(t, owner.ID)
		l := newLog(owner.ID, d.ID).organize(newID(), 3)
		s.push(t, l, l.all())
		op, _, err := s.CreateOperation(ctx, owner.ID, NewOperation{DeviceID: d.ID, Kind: "organize"})
		ok(t, err)
		c := must(s.CommandOf(ctx, owner.ID, op.ID))(t)
		session := must(s.StartSession(ctx, Session{UserID: owner.ID, ExpiresAt: s.clock.Now().Add(day)}, token(s, "0")))(t)
		h := sum("key")
		k := must(s.CreateAPIKey(ctx, APIKey{UserID: owner.ID, Prefix: "p", Hash: h[:]}))(t)
		loc := must(s.CreateLocation(ctx, Location{UserID: owner.ID, Name: "inbox", Root: "/srv/ann"}))(t)
		ok(t, s.SetRules(ctx, RuleSet{UserID: owner.ID, LocationID: loc.ID, Name: "r"}))
		before := s.dump(t)
		ask := map[string]func(device, op, command, session, key, location uuid.UUID) error{
			"DeviceByID":   func(d, _, _, _, _, _ uuid.UUID) error { _, err := s.DeviceByID(ctx, u.ID, d); return err },
			"RenameDevice": func(d, _, _, _, _, _ uuid.UUID) error { _, err := s.RenameDevice(ctx, u.ID, d, "x"); return err },
			"RevokeDevice": func(d, _, _, _, _, _ uuid.UUID) error { return s.RevokeDevice(ctx, u.ID, d) },
			"Push": func(d, _, _, _, _, _ uuid.UUID) error {
				r := *l.all()
				r.DeviceID = d
				_, err := s.Push(ctx, u.ID, &r, 0)
				return err
			},
			"RequestKeys": func(d, _, _, _, _, _ uuid.UUID) error {
				return s.RequestKeys(ctx, u.ID, api.KeyRequest{DeviceID: d, Recipient: "age1", Tag: h[:]})
			},
			"Ack": func(d, _, _, _, _, _ uuid.UUID) error { _, _, err := s.Ack(ctx, u.ID, d, l.epoch, 0); return err },
			"CreateOperation": func(d, _, _, _, _, _ uuid.UUID) error {
				_, _, err := s.CreateOperation(ctx, u.ID, NewOperation{DeviceID: d, Kind: "organize"})
				return err
			},
			"OperationByID": func(_, op, _, _, _, _ uuid.UUID) error { _, err := s.OperationByID(ctx, u.ID, op); return err },
			"UpdateOperation": func(_, op, _, _, _, _ uuid.UUID) error {
				_, err := s.UpdateOperation(ctx, u.ID, op, Progress{Status: api.OpRunning})
				return err
			},
			"Rollback": func(_, op, _, _, _, _ uuid.UUID) error {
				_, _, err := s.Rollback(ctx, u.ID, op, NewOperation{})
				return err
			},
			"Files":       func(_, op, _, _, _, _ uuid.UUID) error { _, _, err := s.Files(ctx, u.ID, op, Page{}); return err },
			"CommandByID": func(_, _, c, _, _, _ uuid.UUID) error { _, err := s.CommandByID(ctx, u.ID, c); return err },
			"CommandOf":   func(_, op, _, _, _, _ uuid.UUID) error { _, err := s.CommandOf(ctx, u.ID, op); return err },
			"RenewCommand": func(_, _, c, _, _, _ uuid.UUID) error {
				_, err := s.RenewCommand(ctx, u.ID, c, newID(), 1, nil)
				return err
			},
			"FinishCommand": func(_, _, c, _, _, _ uuid.UUID) error {
				_, err := s.FinishCommand(ctx, u.ID, c, newID(), api.CommandFailed, nil)
				return err
			},
			"CancelCommand": func(_, _, c, _, _, _ uuid.UUID) error { _, err := s.CancelCommand(ctx, u.ID, c); return err },
			"EndSession":    func(_, _, _, x, _, _ uuid.UUID) error { return s.EndSession(ctx, u.ID, x, "x") },
			"DeleteAPIKey":  func(_, _, _, _, k, _ uuid.UUID) error { return s.DeleteAPIKey(ctx, u.ID, k) },
			"StopOperation": func(_, op, _, _, _, _ uuid.UUID) error { _, err := s.StopOperation(ctx, u.ID, op); return err },
			"SetRules": func(_, _, _, _, _, x uuid.UUID) error {
				return s.SetRules(ctx, RuleSet{UserID: u.ID, LocationID: x, Name: "r"})
			},
			"RuleSetByName":  func(_, _, _, _, _, x uuid.UUID) error { _, err := s.RuleSetByName(ctx, u.ID, x, "r"); return err },
			"RemoveRules":    func(_, _, _, _, _, x uuid.UUID) error { return s.RemoveRules(ctx, u.ID, x, "r") },
			"NextOperation":  func(d, _, _, _, _, _ uuid.UUID) error { _, err := s.NextOperation(ctx, u.ID, d); return err },
			"LocationByID":   func(_, _, _, _, _, x uuid.UUID) error { _, err := s.LocationByID(ctx, u.ID, x); return err },
			"DeleteLocation": func(_, _, _, _, _, x uuid.UUID) error { return s.DeleteLocation(ctx, u.ID, x) },
		}
		for name, f := range ask {
			theirs := f(d.ID, op.ID, c.ID, session.ID, k.ID, loc.ID)
			nobodys := f(newID(), newID(), newID(), newID(), newID(), newID())
			if !errors.Is(theirs, ErrNotFound) || !errors.Is(nobodys, ErrNotFound) || theirs.Error() != nobodys.Error() {
				t.Errorf("%s: %v; of an id that nobody has: %v", name, theirs, nobodys)
			}
		}
		if must(s.SessionLives(ctx, u.ID, session.ID))(t) {
			t.Error("another user's session lives")
		}
		n := len(must(s.Devices(ctx, u.ID))(t)) + len(must(s.APIKeys(ctx, u.ID))(t)) + len(must(s.Sessions(ctx, u.ID))(t)) + len(must(s.Locations(ctx, u.ID))(t)) +
			len(must(s.RuleSets(ctx, u.ID))(t)) + len(must(s.LeaseCommands(ctx, u.ID, d.ID, 9, 1))(t))
		ops, _, err := s.Operations(ctx, u.ID, OperationFilter{}, Page{})
		ok(t, err)
		commands, _, err := s.Commands(ctx, u.ID, Page{})
		ok(t, err)
		states, head, err := s.SyncState(ctx, u.ID)
		ok(t, err)
		_, _, err = s.Pull(ctx, u.ID, PullFrom{}, func(*api.PullEntry) error { n++; return nil })
		ok(t, err)
		if n += len(ops) + len(commands) + len(states) + int(head); n > 0 {
			t.Error("lists of a user who has nothing have", n)
		}
		same(t, s.dump(t), before)
	})
}
