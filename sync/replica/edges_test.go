package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
)

// recall asks that everything up to now be forgotten.
func (c *computer) recall(t fatal) (n int) {
	t.Helper()
	c.write(t, func(j *journal.Journal) {
		var err error
		if n, err = j.Recall(t.Context(), nil, true); err != nil {
			t.Fatal(err)
		}
	})
	return n
}

// TestForgottenInAFork: what is to be forgotten is forgotten, though the log in which the journal says so is another copy's by
// now and takes nothing more.
func TestForgottenInAFork(t *testing.T) {
	h := host(t)
	desk := h.computer(t, t.TempDir(), h.account(t), "desk")
	desk.organize(t, "/embarrassing", "/embarrassing/b", names(3)...)
	desk.mustPush(t)
	other := *desk
	other.dir = t.TempDir()
	desk.copyTo(t, other.dir, "journal.db", "sync.db")
	other.organize(t, "/other", "/other/b", names(2)...)
	other.mustPush(t)
	if n := desk.recall(t); n != 1 {
		t.Fatal(n)
	}
	if out := desk.mustPush(t); out.NewEpoch == "" {
		t.Fatalf("%+v", out)
	}
	all, _ := desk.log(t)
	for _, e := range all {
		if raw, err := e.Raw(1 << 20); err != nil || bytes.Contains(raw, []byte("embarrassing")) {
			t.Errorf("entry %d (%s): %v, %q", e.Seq, e.Kind, err, raw)
		}
	}
}

// sealing counts as another way for bodies to leave the device.
type sealing struct{ blurred }

// TestPathsMeanwhile: a push waits, and its user decides that nothing readable is to leave the device any more. It does not,
// whether the server had the push already or not, and nothing is doubled.
func TestPathsMeanwhile(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprint("stored ", stored), func(t *testing.T) {
			s := &memory{lose: true}
			a := newAlone(t, s)
			a.organize(t, "/secret", "/secret/b", names(3)...)
			if _, err := a.push(); err == nil || errors.Is(err, replica.ErrStopped) {
				t.Fatal(err)
			}
			if !stored {
				s.entries = nil
			}
			before := len(s.entries)
			a.opt.Seal, s.lose = sealing{}, false
			out := a.mustPush()
			if out.NewEpoch != "" || out.Acked != 3 || len(s.entries) != 3 {
				t.Errorf("%+v, and %d entries are there", out, len(s.entries))
			}
			for _, e := range s.entries[before:] {
				if e.SealedBy() == "" {
					t.Errorf("entry %d left readable", e.Seq)
				}
			}
		})
	}
}

// cutting is a server all of whose pulls are cut off after so many entries.
type cutting struct {
	*memory
	after int
	pulls int
	next  int64 // told instead of what is right, in an answer that is not cut off
}

func (c *cutting) Pull(ctx context.Context, q client.PullQuery, each func(api.PullEntry) error) (api.PullEnd, error) {
	if c.pulls++; c.pulls > 1000 {
		return api.PullEnd{}, problem(api.CodeForbidden)
	}
	n := 0
	stop := errors.New("enough")
	_, err := c.memory.Pull(ctx, q, func(e api.PullEntry) error {
		if n == c.after || e.ServerSeq <= q.After {
			return stop
		}
		n++
		return each(e)
	})
	if err != nil && !errors.Is(err, stop) {
		return api.PullEnd{}, err
	}
	if c.next > 0 {
		return api.PullEnd{Next: q.After, Head: c.next}, nil
	}
	return api.PullEnd{}, api.ErrCut
}

// TestLearnFromACutLine: a device that has lost what it knew asks a server whose answers never come to their end, or that
// promises more and gives nothing. It gives up, and does not ask without end.
func TestLearnFromACutLine(t *testing.T) {
	for name, c := range map[string]*cutting{"cut": {after: 1}, "nothing": {next: 1000}} {
		t.Run(name, func(t *testing.T) {
			c.memory = &memory{}
			a := newAlone(t, c.memory)
			a.organize(t, "/a", "/a/b", names(3)...)
			a.mustPush()
			if err := os.Remove(a.opt.Path); err != nil {
				t.Fatal(err)
			}
			c.memory.entries[2].ID = uuid.New() // what is looked for does not come
			c.memory.entries = c.memory.entries[:3]
			c.memory.hide = func(e *api.PullEntry) bool { return e.ServerSeq == 3 }
			a.with(func(r *replica.Replica, j *journal.Journal) {
				_, err := r.Push(t.Context(), c, j, a.id)
				if err == nil || c.pulls > 10 {
					t.Errorf("%d pulls, then: %v", c.pulls, err)
				}
			})
		})
	}
}

// TestDamagedInside: a file whose damage shows only once it is worked with is made anew too, by the next sync at the latest.
func TestDamagedInside(t *testing.T) {
	s := &memory{}
	a, b := newAlone(t, s), newAlone(t, s)
	for i := range 200 {
		b.organize(t, fmt.Sprint("/folder ", i), "/b", names(30)...)
	}
	b.mustPush()
	if _, err := a.pull(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.opt.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(text) / 4096 / 2 * 4096; i+4096 <= len(text); i += 4096 { // what is needed to open it stays
		copy(text[i:], "this is no page of a database")
	}
	if err := os.WriteFile(a.opt.Path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b.organize(t, "/more", "/b", "more")
	b.mustPush()
	for try := 0; ; try++ {
		r, err := replica.Open(t.Context(), a.opt)
		if err == nil {
			_, err = r.Pull(t.Context(), s, a.id)
			r.Close()
		}
		if err == nil {
			break
		}
		t.Log(err)
		if try == 1 {
			t.Fatal("it stays damaged")
		}
	}
	a.with(func(r *replica.Replica, _ *journal.Journal) {
		n := 0
		for _, err := range r.Operations(t.Context(), uuid.Nil) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 201 {
			t.Errorf("%d operations", n)
		}
	})
}

// TestAnotherDevice: a copy of a device becomes a device of its own, and learns what the one that it was a copy of has done in
// the meantime. While the two were the same that was left out of what it pulled.
func TestAnotherDevice(t *testing.T) {
	s := &memory{}
	a := newAlone(t, s)
	a.organize(t, "/a", "/a/b", names(3)...)
	a.mustPush()
	before := a.id
	if _, err := a.pull(); err != nil {
		t.Fatal(err)
	}
	a.id = uuid.New()
	if _, err := a.pull(); err != nil {
		t.Fatal(err)
	}
	a.with(func(r *replica.Replica, _ *journal.Journal) {
		n := 0
		for _, err := range r.Operations(t.Context(), before) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("of what the other one did %d operations are known", n)
		}
	})
}

// TestFullServerAndClock: a clock that was wrong when a server's disk was full does not keep the device from asking for years.
func TestFullServerAndClock(t *testing.T) {
	s := &memory{refuse: api.NewProblem(api.CodeStorageFull, "")}
	a := newAlone(t, s)
	at := time.Now().AddDate(3, 0, 0)
	a.opt.Now = func() time.Time { return at }
	a.organize(t, "/a", "/a/b", names(3)...)
	if _, err := a.push(); !errors.Is(err, replica.ErrStopped) {
		t.Fatal(err)
	}
	s.refuse, at = nil, time.Now()
	if out := a.mustPush(); out.Acked != 3 {
		t.Errorf("%+v", out)
	}
}

// TestNothingOfItStays: no byte of what was erased elsewhere, or of a push that will not be sent any more, stays in the file or
// beside it.
func TestNothingOfItStays(t *testing.T) {
	left := func(t *testing.T, a *alone, planted string) {
		t.Helper()
		for _, ext := range []string{"", "-wal", "-shm"} {
			b, err := os.ReadFile(a.opt.Path + ext)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(planted)) {
				t.Errorf("%s: %q is still in sync.db%s", t.Name(), planted, ext)
			}
		}
	}
	t.Run("erased", func(t *testing.T) {
		s := &memory{}
		a, b := newAlone(t, s), newAlone(t, s)
		for i := range 20 {
			b.organize(t, fmt.Sprint("/planted", i), "/b", "x")
		}
		b.mustPush()
		if _, err := a.pull(); err != nil {
			t.Fatal(err)
		}
		b.recall(t)
		b.mustPush()
		if _, err := a.pull(); err != nil {
			t.Fatal(err)
		}
		left(t, a, "/planted")
	})
	t.Run("again", func(t *testing.T) {
		s := &memory{lose: true}
		a := newAlone(t, s)
		a.organize(t, "/a", "/a/b", "x")
		if _, err := a.push(); err == nil {
			t.Fatal("it got through")
		}
		a.with(func(r *replica.Replica, j *journal.Journal) {
			if err := r.Again(t.Context(), j, a.id); err != nil {
				t.Fatal(err)
			}
		})
		a.write(t, func(j *journal.Journal) {
			if _, err := j.Prune(t.Context(), time.Now().Add(time.Hour), false); err != nil {
				t.Fatal(err)
			}
		})
		s.lose = false
		a.mustPush()
		left(t, a, "eyJ") // JSON in base64, as bodies of entries that wait begin
	})
}

// TestIdleCopy: a copy that has nothing to say takes the log from nobody, though it says once more what is to be erased: only
// what it never said.
func TestIdleCopy(t *testing.T) {
	h := host(t)
	desk := h.computer(t, t.TempDir(), h.account(t), "desk")
	desk.organize(t, "/a", "/a/b", names(3)...)
	desk.recall(t)
	desk.mustPush(t)
	idle := *desk
	idle.dir = t.TempDir()
	desk.copyTo(t, idle.dir, "journal.db", "sync.db")
	for i := range 4 {
		desk.organize(t, fmt.Sprint("/more ", i), "/b", "x")
		if out := desk.mustPush(t); out.NewEpoch != "" || out.Entries == 0 {
			t.Errorf("round %d: %+v", i, out)
		}
		idle.mustPush(t)
	}
}
