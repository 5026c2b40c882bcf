package replica_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
)

// memory is a server that does what the real one would not: it is restored from backups, withholds, lies and refuses.
type memory struct {
	entries []api.PullEntry
	asked   []string // what it was asked for
	most    int      // entries in a push
	refuse  *api.Problem
	chain   *api.Hash                   // told instead of the right one
	hide    func(e *api.PullEntry) bool // from pulls
	lose    bool                        // the answer to a push that was taken
	expired bool                        // every cursor
}

func (m *memory) ask(what string) error {
	m.asked = append(m.asked, what)
	if m.refuse != nil {
		return &client.Error{Problem: *m.refuse, Act: what}
	}
	return nil
}

func problem(code api.Code) *client.Error {
	return &client.Error{Problem: *api.NewProblem(code, ""), Act: "test"}
}

func (m *memory) head(device, epoch uuid.UUID) api.LogHead {
	h := api.LogHead{Chain: api.Genesis(device, epoch)}
	for _, e := range m.entries {
		if e.DeviceID == device && e.Epoch == epoch {
			h = api.LogHead{AckedSeq: e.Seq, Chain: h.Chain.Next(e.SHA256)}
		}
	}
	return h
}

func (m *memory) Capabilities(context.Context) (api.Capabilities, error) {
	return api.Capabilities{Protocols: []string{api.Protocol}, Limits: api.DefaultLimits()}, m.ask("capabilities")
}

func (m *memory) Devices(context.Context) ([]api.Device, error) { return nil, m.ask("devices") }

func (m *memory) State(context.Context, uuid.UUID) (api.SyncState, error) {
	s := api.SyncState{Head: int64(len(m.entries))}
	for _, e := range m.entries {
		h := m.head(e.DeviceID, e.Epoch)
		l := api.DeviceLog{DeviceID: e.DeviceID, Epoch: e.Epoch, AckedSeq: h.AckedSeq, Chain: h.Chain}
		if !slices.Contains(s.Logs, l) {
			s.Logs = append(s.Logs, l)
		}
	}
	return s, m.ask("state")
}

func (m *memory) Push(_ context.Context, req *api.PushRequest) (api.PushResponse, error) {
	if err := m.ask("push"); err != nil {
		return api.PushResponse{}, err
	}
	if m.most > 0 && len(req.Entries) > m.most {
		return api.PushResponse{}, problem(api.CodeTooLarge)
	}
	h := m.head(req.DeviceID, req.Epoch)
	fresh, next, err := h.Extend(req, func(seq int64) (api.Hash, bool) {
		for _, e := range m.entries {
			if e.DeviceID == req.DeviceID && e.Epoch == req.Epoch && e.Seq == seq {
				return e.SHA256, true
			}
		}
		return api.Hash{}, false
	})
	if gap, ok := errors.AsType[*api.GapError](err); ok {
		p := problem(api.CodeGap)
		p.Problem.AckedSeq = &gap.Acked
		return api.PushResponse{}, p
	}
	if err != nil {
		return api.PushResponse{}, problem(api.CodeFork)
	}
	for _, e := range fresh {
		m.entries = append(m.entries, api.PullEntry{ServerSeq: int64(len(m.entries) + 1), DeviceID: req.DeviceID, Epoch: req.Epoch, Entry: e})
	}
	if m.lose {
		return api.PushResponse{}, errors.New("the connection was lost")
	}
	if m.chain != nil {
		next.Chain = *m.chain
	}
	return api.PushResponse{AckedSeq: next.AckedSeq, Chain: next.Chain, ServerTime: time.Now(), Limits: api.DefaultLimits()}, nil
}

func (m *memory) Pull(_ context.Context, q client.PullQuery, each func(api.PullEntry) error) (api.PullEnd, error) {
	if err := m.ask("pull"); err != nil {
		return api.PullEnd{}, err
	}
	if m.expired || q.After > int64(len(m.entries)) {
		return api.PullEnd{}, problem(api.CodeCursorExpired)
	}
	for _, e := range m.entries[q.After:] {
		if !q.Own && e.DeviceID == q.Device || m.hide != nil && m.hide(&e) {
			continue
		}
		if err := each(e); err != nil {
			return api.PullEnd{}, err
		}
	}
	return api.PullEnd{Next: int64(len(m.entries)), Head: int64(len(m.entries))}, nil
}

func (m *memory) Ack(_ context.Context, _ uuid.UUID, cursor int64) (api.AckResponse, error) {
	return api.AckResponse{Cursor: cursor}, m.ask("ack")
}

// alone is a device of a memory server.
type alone struct {
	*computer
	s   *memory
	opt replica.Options
	t   *testing.T
}

func newAlone(t *testing.T, s *memory) *alone {
	c := &computer{dir: t.TempDir(), now: time.Now}
	c.write(t, func(j *journal.Journal) { c.id = epochs(t, j)[0].Device })
	return &alone{computer: c, s: s, t: t, opt: replica.Options{Path: filepath.Join(c.dir, "sync.db"), Account: "a", Version: "1",
		NewEpoch: func(ctx context.Context, sent int64) error {
			j, err := journal.Open(ctx, c.journal(), journal.Options{})
			if err != nil {
				return err
			}
			return errors.Join(j.NewEpoch(ctx, sent), j.Close())
		}}}
}

func (a *alone) with(f func(r *replica.Replica, j *journal.Journal)) {
	a.t.Helper()
	r, err := replica.Open(a.t.Context(), a.opt)
	if err != nil {
		a.t.Fatal(err)
	}
	a.read(a.t, func(j *journal.Journal) { f(r, j) })
	if err := r.Close(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *alone) push() (out replica.Pushed, err error) {
	a.t.Helper()
	a.with(func(r *replica.Replica, j *journal.Journal) { out, err = r.Push(a.t.Context(), a.s, j, a.id) })
	return out, err
}

func (a *alone) pull() (out replica.Pulled, err error) {
	a.t.Helper()
	a.with(func(r *replica.Replica, _ *journal.Journal) { out, err = r.Pull(a.t.Context(), a.s, a.id) })
	return out, err
}

func (a *alone) mustPush() replica.Pushed {
	a.t.Helper()
	out, err := a.push()
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// TestServerRestored: a server that was restored from a backup gets again what it lost, and other devices notice.
func TestServerRestored(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	desk.organize(t, "/a", "/a/b", names(3)...)
	desk.mustPush()
	backup := slices.Clone(s.entries)
	desk.organize(t, "/a", "/a/b", names(4)...)
	desk.mustPush()
	if out, err := laptop.pull(); err != nil || out.Entries != len(s.entries) {
		t.Fatal(out, err)
	}
	for _, more := range []bool{false, true} { // with nothing new to send, and with something
		s.entries = slices.Clone(backup)
		if more {
			desk.organize(t, "/a", "/a/b", names(5)...)
		}
		out := desk.mustPush()
		if out.NewEpoch != "" || out.Acked != int64(len(s.entries)) || out.Entries != len(s.entries)-len(backup) {
			t.Fatalf("after the restore it is %+v, and the server has %d entries", out, len(s.entries))
		}
	}
	// The laptop pulled entries that were lost; those under their numbers now are others.
	out, err := laptop.pull()
	if err != nil || len(out.Trouble) > 0 {
		t.Fatal(out, err)
	}
	s.entries = slices.Clone(backup)
	out, err = laptop.pull()
	if err != nil || !out.Reset || out.Entries != len(backup) {
		t.Fatalf("of a server that lost what was pulled came %+v, %v", out, err)
	}
}

// TestPushBecomesSmaller as long as the server finds it too large.
func TestPushBecomesSmaller(t *testing.T) {
	s := &memory{most: 2}
	a := newAlone(t, s)
	for range 5 {
		a.organize(t, "/a", "/a/b", names(3)...)
	}
	if out := a.mustPush(); out.Acked != 15 || len(s.entries) != 15 {
		t.Errorf("%+v, the server has %d", out, len(s.entries))
	}
	s.most = -1
	s.refuse = api.NewProblem(api.CodeTooLarge, "")
	a.organize(t, "/a", "/a/b", "x")
	_, err := a.push()
	if stop, ok := errors.AsType[*replica.Stop](err); !ok || stop.Code != api.CodeTooLarge {
		t.Errorf("one entry that is too large: %v", err)
	}
}

// TestStops: what does not pass is told once, and nothing is asked until the user, or a new version, wants it tried.
func TestStops(t *testing.T) {
	for _, code := range []api.Code{api.CodeQuota, api.CodeForbidden, api.CodeDeviceRevoked, api.CodeInvalid, api.CodeMalformed, api.CodeProtocol, api.CodeStorageFull, "from_the_future"} {
		s := &memory{}
		a := newAlone(t, s)
		a.organize(t, "/a", "/a/b", "x")
		a.mustPush()
		a.organize(t, "/a", "/a/b", "y")
		s.refuse = api.NewProblem(code, "because")
		if code == "from_the_future" {
			s.refuse = &api.Problem{Code: code, Status: 418, Detail: "because"}
		}
		_, err := a.push()
		if stop, ok := errors.AsType[*replica.Stop](err); !ok || stop.Code != code {
			t.Fatalf("%s: %v", code, err)
		}
		n := len(s.asked)
		s.refuse = nil
		for _, f := range []func() error{func() error { _, err := a.push(); return err }, func() error { _, err := a.pull(); return err }} {
			if err := f(); !errors.Is(err, replica.ErrStopped) || len(s.asked) != n {
				t.Errorf("%s: after the stop %v, asked %v", code, err, s.asked[n:])
			}
		}
		if code == api.CodeQuota {
			a.opt.Version = "2"
		} else {
			a.with(func(r *replica.Replica, _ *journal.Journal) {
				if err := r.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		}
		if out := a.mustPush(); out.Acked != 6 {
			t.Errorf("%s: afterwards %+v", code, out)
		}
	}
	// Somebody who has to log in again only has to do that.
	s := &memory{refuse: api.NewProblem(api.CodeUnauthenticated, "")}
	a := newAlone(t, s)
	if _, err := a.push(); !errors.Is(err, replica.ErrStopped) {
		t.Error(err)
	}
	s.refuse = nil
	a.mustPush()
}

// TestPatience: what passes is tried again, not sooner than the server asked for, until patience ends.
func TestPatience(t *testing.T) {
	s := &memory{}
	a := newAlone(t, s)
	a.organize(t, "/a", "/a/b", "x")
	var slept []time.Duration
	a.opt.Sleep = func(_ context.Context, d time.Duration) error {
		if slept = append(slept, d); len(slept) == 3 {
			s.refuse = nil
		}
		return nil
	}
	s.refuse = api.NewProblem(api.CodeBusy, "")
	a.opt.Patience = time.Hour
	if out := a.mustPush(); out.Acked != 3 || len(slept) != 3 {
		t.Errorf("%+v after %v", out, slept)
	}
	for i, d := range slept {
		if d > time.Second<<i {
			t.Errorf("pause %d is %s", i, d)
		}
	}
	s.refuse = api.NewProblem(api.CodeInternal, "")
	a.opt.Patience = 0
	if _, err := a.push(); err == nil || errors.Is(err, replica.ErrStopped) {
		t.Error(err)
	}
	if stop, err := func() (st *replica.Stop, err error) {
		a.with(func(r *replica.Replica, _ *journal.Journal) { st, err = r.Stopped(t.Context()) })
		return st, err
	}(); stop != nil || err != nil {
		t.Error("what passes has stopped it: ", stop, err)
	}
}

// TestWrongChain: a server whose log is not what was sent is found out, and --again is the way out.
func TestWrongChain(t *testing.T) {
	s := &memory{chain: &api.Hash{1}}
	a := newAlone(t, s)
	a.organize(t, "/a", "/a/b", "x")
	_, err := a.push()
	if stop, ok := errors.AsType[*replica.Stop](err); !ok || stop.Code != replica.CodeChain {
		t.Fatal(err)
	}
	s.chain = nil
	a.with(func(r *replica.Replica, j *journal.Journal) {
		if err := errors.Join(r.Resume(t.Context()), r.Again(t.Context(), j, a.id)); err != nil {
			t.Fatal(err)
		}
	})
	if out := a.mustPush(); out.Entries != 3 || out.NewEpoch != "" {
		t.Errorf("%+v", out)
	}
	if s.entries[0].Epoch == s.entries[3].Epoch || s.entries[0].ID != s.entries[3].ID {
		t.Error("it was not sent again under another name")
	}
}

// TestWithheld: a server that leaves something out is found out, once it had the chance to give everything again.
func TestWithheld(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	for range 3 {
		desk.organize(t, "/a", "/a/b", names(3)...)
	}
	desk.mustPush()
	s.hide = func(e *api.PullEntry) bool { return e.Seq == 5 }
	out, err := laptop.pull()
	if err != nil || !out.Reset || len(out.Trouble) == 0 || !strings.Contains(out.Trouble[0], "entry 6 after entry 4") {
		t.Fatalf("%+v, %v", out, err)
	}
	n := len(s.asked)
	if out, err = laptop.pull(); err != nil || out.Reset || len(out.Trouble) == 0 {
		t.Errorf("the second time: %+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"devices", "pull", "state", "ack"}, s.asked[n:]); diff != "" {
		t.Error(diff)
	}
	s.hide, s.expired = nil, true
	if _, err := laptop.pull(); !errors.Is(err, replica.ErrStopped) {
		t.Errorf("a server that lets every cursor expire: %v", err)
	}
}

// TestKeyComesLater: what cannot be opened is kept, and opened once there is a key.
func TestKeyComesLater(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	desk.opt.Seal, laptop.opt.Seal = blurred{}, blind{}
	desk.organize(t, "/secret", "/secret/b", names(300)...)
	desk.mustPush()
	for _, e := range s.entries {
		if strings.Contains(string(e.Body), "secret") || e.KeyID == "" && e.Kind != api.KindVoid {
			t.Fatalf("%+v is readable", e)
		}
	}
	where := func() (found int) {
		laptop.with(func(r *replica.Replica, _ *journal.Journal) {
			ways, err := r.Where(t.Context(), func(_, name string) bool { return name == "file 7.txt" }, func(string) bool { return true }, func(string) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			found = len(ways)
		})
		return found
	}
	if out, err := laptop.pull(); err != nil || out.Sealed != 3 || where() != 0 {
		t.Fatalf("without a key %+v, %v", out, err)
	}
	laptop.opt.Seal = blurred{}
	if out, err := laptop.pull(); err != nil || out.Sealed != 0 || where() != 1 {
		t.Fatalf("with one %+v, %v; %d found", out, err, where())
	}
}

// TestAccounts: what is known of one account is not mixed with another's.
func TestAccounts(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	desk.organize(t, "/a", "/a/b", "x")
	desk.mustPush()
	if out, err := laptop.pull(); err != nil || out.Entries != 3 {
		t.Fatal(out, err)
	}
	laptop.opt.Account, laptop.s = "another", &memory{}
	laptop.with(func(r *replica.Replica, _ *journal.Journal) {
		if all, err := r.Devices(t.Context()); err != nil || len(all) != 0 {
			t.Error(all, err)
		}
	})
	if out, err := laptop.pull(); err != nil || out.Entries != 0 || out.Reset {
		t.Error(out, err)
	}
}

// TestOneAtATime: two do not sync one journal at once.
func TestOneAtATime(t *testing.T) {
	a := newAlone(t, &memory{})
	a.with(func(*replica.Replica, *journal.Journal) {
		if _, err := replica.Open(t.Context(), a.opt); !errors.Is(err, journal.ErrLocked) {
			t.Error(err)
		}
		r, err := replica.OpenReadOnly(t.Context(), a.opt.Path)
		if err != nil {
			t.Fatal("and yet everybody may look: ", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFindDevice by name, id, and the beginning of it.
func TestFindDevice(t *testing.T) {
	s := &memory{}
	desk, laptop := newAlone(t, s), newAlone(t, s)
	desk.organize(t, "/a", "/a/b", "x")
	desk.mustPush()
	if _, err := laptop.pull(); err != nil {
		t.Fatal(err)
	}
	laptop.with(func(r *replica.Replica, _ *journal.Journal) {
		for _, ref := range []string{desk.id.String(), desk.id.String()[:8], strings.ToUpper(desk.id.String()[:13])} {
			if d, err := r.FindDevice(t.Context(), ref); err != nil || d.ID != desk.id {
				t.Errorf("%s: %+v, %v", ref, d, err)
			}
		}
		for _, ref := range []string{"", "no", desk.id.String()[:3], laptop.id.String()} {
			if d, err := r.FindDevice(t.Context(), ref); !errors.Is(err, replica.ErrNoDevice) {
				t.Errorf("%q: %+v, %v", ref, d, err)
			}
		}
	})
}

// TestSameAgain: a push whose answer was lost is sent again exactly as it was, though the journal has gone on, the entries would
// be sealed in another way now, and part of what they say was pruned.
func TestSameAgain(t *testing.T) {
	s := &memory{lose: true}
	a := newAlone(t, s)
	a.opt.Seal = blurred{}
	a.organize(t, "/a", "/a/b", names(3)...)
	if _, err := a.push(); err == nil || errors.Is(err, replica.ErrStopped) {
		t.Fatal(err)
	}
	first := slices.Clone(s.entries)
	a.organize(t, "/a", "/a/b", names(4)...)
	a.write(t, func(j *journal.Journal) {
		if n, err := j.Prune(t.Context(), time.Now().Add(time.Hour), false); err != nil || n != 2 {
			t.Fatal(n, err)
		}
	})
	s.lose, s.asked = false, nil
	out := a.mustPush()
	if out.NewEpoch != "" || out.Acked != 8 || slices.Contains(s.asked, "pull") || slices.Contains(s.asked, "state") {
		t.Errorf("%+v after asking %v: the server's log had to be learned again", out, s.asked)
	}
	if diff := cmp.Diff(first, s.entries[:len(first)]); len(first) != 3 || diff != "" {
		t.Error(diff)
	}
}

// TestOlderMemory: a sync.db that is older than both the journal and the server takes its own events, sealed in another way, for
// nobody else's; so does one that is lost.
func TestOlderMemory(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := &memory{}
		a := newAlone(t, s)
		a.opt.Seal = blurred{}
		a.organize(t, "/a", "/a/b", "x")
		a.mustPush()
		backup := filepath.Join(t.TempDir(), "backup")
		a.copyTo(t, backup, "sync.db")
		a.organize(t, "/a", "/a/b", "y")
		a.mustPush()
		a.organize(t, "/a", "/a/b", "z")
		if err := os.Remove(a.opt.Path); err != nil {
			t.Fatal(err)
		}
		if !lost {
			(&computer{dir: backup}).copyTo(t, a.dir, "sync.db")
		}
		out := a.mustPush()
		if out.NewEpoch != "" || out.Acked != 9 || out.Entries != 3 || len(s.entries) != 9 {
			t.Errorf("lost: %v: %+v, the server has %d entries", lost, out, len(s.entries))
		}
		// Somebody else's events under these numbers are somebody else's.
		other := newAlone(t, s)
		other.id = a.id
		for range 4 {
			other.organize(t, "/a", "/a/b", "w")
		}
		if out := other.mustPush(); out.NewEpoch != "" || out.Acked != 12 {
			t.Errorf("another journal of the device: %+v", out)
		}
	}
}
