package replica_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
	"forg/sync/seal"
)

// keyed seals with real keys.
type keyed struct{ *seal.Keys }

func (k keyed) Open(device, epoch uuid.UUID, e api.Entry) (api.Entry, error) {
	open, err := k.Keys.Open(device, epoch, e)
	if errors.Is(err, seal.ErrKey) {
		err = fmt.Errorf("%w: %w", replica.ErrNoKey, err)
	}
	return open, err
}

// pair gives two devices the keys of an account. The second has them once it is called.
func pair(t *testing.T, account uuid.UUID, first, second uuid.UUID) (a, b *seal.Keys, adopt func()) {
	t.Helper()
	a, err := seal.Create(account, first, "desk")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = seal.Ask(account, second); err != nil {
		t.Fatal(err)
	}
	r, err := b.Request()
	if err != nil {
		t.Fatal(err)
	}
	r.DeviceID = second
	state := api.KeyState{Devices: []api.KeyRequest{r}}
	if _, err := a.Approve(&state, b.Code()); err != nil {
		t.Fatal(err)
	}
	return a, b, func() {
		u, err := a.Update(&state)
		if err != nil {
			t.Fatal(err)
		}
		state.Keys, state.Bundle = u.Keys, u.Bundle
		if err := b.Adopt(&state); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *alone) operations() (all []replica.Operation) {
	a.t.Helper()
	a.with(func(r *replica.Replica, _ *journal.Journal) {
		for o, err := range r.Operations(a.t.Context(), uuid.Nil) {
			if err != nil {
				a.t.Fatal(err)
			}
			all = append(all, o)
		}
	})
	return all
}

// TestSealed: with real keys every entry is sealed, of those too that a server is to understand a part of; without a key they
// are kept, and with one they are what they were. What the server adds or changes is not believed.
func TestSealed(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	keys, others, adopt := pair(t, uuid.New(), desk.id, laptop.id)
	desk.opt.Seal, laptop.opt.Seal = keyed{keys}, keyed{others}
	desk.organize(t, "/secret", "/secret/b", names(30)...)
	desk.mustPush()
	n := len(s.entries)
	var entries []api.Entry
	for _, e := range s.entries {
		entries = append(entries, e.Entry)
		if raw, err := e.Raw(1 << 20); err != nil || strings.Contains(string(raw), "secret") {
			t.Errorf("entry %d: %v %q", e.Seq, err, raw)
		}
	}
	if err := api.MustBeSealed(entries, 0, []string{keys.ID()}); err != nil {
		t.Error(err)
	}
	if out, err := laptop.pull(); err != nil || out.Sealed != int64(n) || len(out.Trouble) > 0 {
		t.Fatalf("without a key %+v, %v", out, err)
	}
	if ops := laptop.operations(); len(ops) != 1 || !ops[0].Sealed || ops[0].Root != "" {
		t.Errorf("without a key there is %+v", ops)
	}
	adopt()
	if out, err := laptop.pull(); err != nil || out.Sealed != 0 || len(out.Trouble) > 0 {
		t.Fatalf("with a key %+v, %v", out, err)
	}
	ops := laptop.operations()
	if len(ops) != 1 || ops[0].Sealed || ops[0].Root != "/secret" || ops[0].Status != api.OpCompleted {
		t.Errorf("with a key there is %+v", ops)
	}
	desk.organize(t, "/more", "/more/b", names(3)...)
	desk.mustPush()
	if out, err := laptop.pull(); err != nil || out.Sealed != 0 || len(out.Trouble) > 0 || len(laptop.operations()) != 2 {
		t.Fatalf("what came when there was a key: %+v, %v", out, err)
	}

	// The server writes on in the device's log: what it makes is readable, or cannot be opened.
	add := func(e api.Entry, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s.entries = append(s.entries, api.PullEntry{ServerSeq: int64(len(s.entries) + 1), DeviceID: desk.id, Epoch: s.entries[0].Epoch, Entry: e})
	}
	next := s.entries[len(s.entries)-1].Seq + 1
	add(api.NewEntry(next, uuid.New(), ops[0].ID, 1, &api.Redact{Reason: "pruned"}))
	add(api.NewEntry(next+1, uuid.New(), uuid.New(), 1, &api.Started{Kind: "organize", Root: "/invented"}))
	part, err := s.entries[0].SealedPart()
	if err != nil {
		t.Fatal(err)
	}
	add(api.NewEntry(next+2, uuid.New(), ops[0].ID, 1, &api.Redact{Sealed: part}))
	out, err := laptop.pull()
	if err != nil || len(out.Trouble) != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	for i, want := range []string{"is not sealed, as those before it are", "is not sealed, as those before it are", "cannot be opened"} {
		if !strings.Contains(out.Trouble[i], want) {
			t.Errorf("%q, want %q", out.Trouble[i], want)
		}
	}
	if now := laptop.operations(); len(now) < 2 || now[len(now)-1].Root != "/secret" {
		t.Errorf("the server had something erased: %+v", now)
	}
	for _, o := range laptop.operations() {
		if o.Root == "/invented" {
			t.Error("what the server has invented is told")
		}
	}
}

// TestNothingReadableWaits: what a device made readable, before it had keys, does not leave it readable afterwards, to a server
// that would take it; if the server has it already, its log goes on.
func TestNothingReadableWaits(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := &memory{}
		desk := newAlone(t, s)
		desk.organize(t, "/before", "/before/b", names(3)...)
		desk.mustPush()
		before := len(s.entries)
		desk.organize(t, "/secret", "/secret/b", names(3)...)
		if s.lose = lost; !lost {
			s.refuse = api.NewProblem(api.CodeUnavailable, "")
		}
		if _, err := desk.push(); err == nil {
			t.Fatal("it got through")
		}
		if s.lose, s.refuse = false, nil; lost {
			before = len(s.entries)
		}
		keys, err := seal.Create(uuid.New(), desk.id, "desk")
		if err != nil {
			t.Fatal(err)
		}
		desk.opt.Seal = keyed{keys}
		desk.organize(t, "/more", "/more/b", names(3)...)
		if out := desk.mustPush(); out.NewEpoch != "" || len(s.entries) == before {
			t.Errorf("lost %t: %+v, %d entries", lost, out, len(s.entries)-before)
		}
		for _, e := range s.entries[before:] {
			if raw, err := e.Raw(1 << 20); err != nil || e.SealedBy() == "" {
				t.Errorf("lost %t: entry %d is readable: %v %q", lost, e.Seq, err, raw)
			}
		}
	}
}

// cut is a way to a server on which nothing gets through.
type cut struct {
	*client.Client
	down bool
}

func (c *cut) Push(ctx context.Context, r *api.PushRequest) (api.PushResponse, error) {
	if c.down {
		return api.PushResponse{}, errors.New("the cable is cut")
	}
	return c.Client.Push(ctx, r)
}

// TestEncryptedMeanwhile: a push waits readable, and another device encrypts the account. It is made anew; a device without
// keys stops, and nothing of it can be read on the server.
func TestEncryptedMeanwhile(t *testing.T) {
	h := host(t)
	email := h.account(t)
	desk := h.computer(t, t.TempDir(), email, "device one")
	me, err := desk.client.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	desk.organize(t, "/before", "/before/b", names(3)...)
	desk.mustPush(t)
	desk.organize(t, "/secret", "/secret/b", names(3)...)
	way := &cut{desk.client, true}
	push := func() (out replica.Pushed, err error) {
		desk.replica(t, func(r *replica.Replica) {
			if err := r.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			desk.read(t, func(j *journal.Journal) { out, err = r.Push(t.Context(), way, j, desk.id) })
		})
		return out, err
	}
	if _, err := push(); err == nil {
		t.Fatal("it got through")
	}
	way.down = false
	keys, err := seal.Create(me.ID, desk.id, "desk")
	if err != nil {
		t.Fatal(err)
	}
	u, err := keys.Update(&api.KeyState{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := desk.client.SetKeys(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := push(); !errors.Is(err, replica.ErrStopped) || !strings.Contains(err.Error(), "the account is encrypted") {
			t.Fatalf("without keys: %v", err)
		}
	}
	desk.seal = keyed{keys}
	out, err := push()
	if err != nil || out.Entries == 0 || out.NewEpoch != "" {
		t.Fatalf("with keys: %+v, %v", out, err)
	}
	all, _ := desk.log(t)
	before := 0
	for _, e := range all {
		raw, err := e.Raw(1 << 20)
		if err != nil || strings.Contains(string(raw), "secret") {
			t.Errorf("entry %d: %v %q", e.Seq, err, raw)
		}
		if e.SealedBy() == "" {
			before++
		}
	}
	if before == 0 || before == len(all) {
		t.Errorf("of %d entries %d are readable", len(all), before)
	}
	// Another one reads all of it: the first part as it is, and then sealed.
	laptop := h.computer(t, t.TempDir(), email, "device two")
	laptop.seal = desk.seal
	if out := laptop.mustPull(t); len(out.Trouble) > 0 || out.Sealed > 0 || out.Entries != len(all) {
		t.Errorf("pulled %+v of %d", out, len(all))
	}
}
