package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// verifyLogs checks that of every log what was acknowledged is there, once, and that the chain fits.
func verifyLogs(t *testing.T, s *Store, user uuid.UUID, acked map[uuid.UUID]int64) (entries int64) {
	t.Helper()
	ctx := t.Context()
	heads := map[uuid.UUID]api.LogHead{}
	ids := map[uuid.UUID]bool{}
	var last int64
	_, _, err := s.Pull(ctx, user, PullFrom{}, func(e *api.PullEntry) error {
		h, known := heads[e.DeviceID]
		if !known {
			h.Chain = api.Genesis(e.DeviceID, e.Epoch)
		}
		switch {
		case e.ServerSeq != last+1:
			return fmt.Errorf("after %d comes %d", last, e.ServerSeq)
		case e.Seq != h.AckedSeq+1:
			return fmt.Errorf("entry %d of a log comes after %d", e.Seq, h.AckedSeq)
		case ids[e.ID]:
			return fmt.Errorf("entry %s is there twice", e.ID)
		}
		if err := e.Verify(api.DefaultLimits()); err != nil {
			return err
		}
		last, ids[e.ID] = e.ServerSeq, true
		heads[e.DeviceID] = api.LogHead{AckedSeq: e.Seq, Chain: h.Chain.Next(e.SHA256)}
		return nil
	})
	ok(t, err)
	states, head, err := s.SyncState(ctx, user)
	ok(t, err)
	if head != last {
		t.Fatalf("head is %d, the last entry %d", head, last)
	}
	for _, d := range states {
		if d.Log != heads[d.Device] {
			t.Fatalf("the state of a log is %v, its entries come to %v", d.Log, heads[d.Device])
		}
	}
	for device, n := range acked {
		if heads[device].AckedSeq < n {
			t.Fatalf("%d were acknowledged, %d are there", n, heads[device].AckedSeq)
		}
	}
	before, _, err := s.Operations(ctx, user, OperationFilter{}, Page{Limit: maxPage})
	ok(t, err)
	ok(t, s.Rebuild(ctx, user))
	after, _, err := s.Operations(ctx, user, OperationFilter{}, Page{Limit: maxPage})
	ok(t, err)
	same(t, after, before)
	return last
}

// TestPostgresStopped stops PostgreSQL in the midst of pushes, again and again. FORG_TEST_STOPS says how often.
func TestPostgresStopped(t *testing.T) {
	stops := 6
	if testing.Short() {
		stops = 2
	}
	if n, err := strconv.Atoi(os.Getenv("FORG_TEST_STOPS")); err == nil {
		stops = n
	}
	c, err := pgtest.Start(true)
	pgtest.Check(t, err)
	defer c.Close()
	ok(t, c.Exec("create database forg owner "+pgtest.Owner))
	ctx := context.WithoutCancel(t.Context())
	url := c.URL(pgtest.Owner, "forg")
	ok(t, migrateAt(url))
	s := must(Open(ctx, url, Options{}))(t)
	defer s.Close()
	u := must(s.CreateUser(ctx, User{Email: "ann@example.org"}))(t)

	var done atomic.Bool
	var retries, pushes atomic.Int64
	var mu sync.Mutex
	acked := map[uuid.UUID]int64{}
	var pushers sync.WaitGroup
	for range 4 {
		d := must(s.PutDevice(ctx, Device{UserID: u.ID, ID: newID(), Name: "x"}))(t)
		pushers.Go(func() {
			l := newLog(u.ID, d.ID)
			from := 0
			for !done.Load() {
				if len(l.entries) == from {
					l.organize(newID(), 20)
				}
				got, err := s.Push(ctx, u.ID, l.request(from, len(l.entries)), 0)
				if gap, isGap := errors.AsType[*api.GapError](err); isGap {
					t.Errorf("what was acknowledged up to %d is there up to %d", from, gap.Acked)
					return
				}
				if _, isFork := errors.AsType[*api.ForkError](err); isFork {
					t.Error(err)
					return
				}
				if err != nil { // the same again: it may be there or not
					retries.Add(1)
					time.Sleep(20 * time.Millisecond)
					continue
				}
				from = int(got.AckedSeq)
				pushes.Add(1)
				mu.Lock()
				acked[d.ID] = got.AckedSeq
				mu.Unlock()
			}
		})
	}
	for range stops {
		before := pushes.Load()
		for deadline := time.Now().Add(3 * time.Minute); pushes.Load() < before+20; time.Sleep(time.Millisecond) {
			if t.Failed() || time.Now().After(deadline) {
				t.Fatal("the devices get no further")
			}
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		c.Stop()
		ok(t, c.Start())
	}
	done.Store(true)
	pushers.Wait()
	n := verifyLogs(t, s, u.ID, acked)
	t.Logf("%d stops, %d pushes, %d tried again, %d entries", stops, pushes.Load(), retries.Load(), n)
}

// TestSQLiteKilled kills a process that pushes, again and again. FORG_TEST_STOPS says how often.
func TestSQLiteKilled(t *testing.T) {
	stops := 10
	if testing.Short() {
		stops = 3
	}
	if n, err := strconv.Atoi(os.Getenv("FORG_TEST_STOPS")); err == nil {
		stops = n
	}
	path := filepath.Join(t.TempDir(), "server.db")
	ok(t, migrateAt(path))
	user, device := func() (uuid.UUID, uuid.UUID) {
		s := must(Open(t.Context(), path, Options{}))(t)
		defer s.Close()
		u := must(s.CreateUser(t.Context(), User{Email: "ann@example.org"}))(t)
		return u.ID, must(s.PutDevice(t.Context(), Device{UserID: u.ID, ID: newID(), Name: "x"}))(t).ID
	}()
	var acked int64
	for range stops {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FORG_TEST_PUSHER="+path, "FORG_TEST_USER="+user.String(), "FORG_TEST_DEVICE="+device.String())
		cmd.Stderr = os.Stderr
		out := must(cmd.StdoutPipe())(t)
		ok(t, cmd.Start())
		lines := bufio.NewScanner(out)
		kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		for n := 0; lines.Scan(); n++ {
			if n == 10 {
				kill.Reset(time.Duration(rand.IntN(30_000)) * time.Microsecond)
			}
			v, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
			ok(t, err)
			if v < acked {
				t.Fatalf("%d were acknowledged, now it is %d", acked, v)
			}
			acked = v
		}
		if cmd.Wait() == nil {
			t.Fatal("the pusher ended by itself")
		}
		s := must(Open(t.Context(), path, Options{}))(t)
		verifyLogs(t, s, user, map[uuid.UUID]int64{device: acked})
		s.Close()
	}
	t.Logf("%d kills, %d entries acknowledged", stops, acked)
}

// pusher is the process that TestSQLiteKilled kills: it pushes without end and prints how far it is acknowledged.
func pusher(path string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "pusher:", err)
			os.Exit(1)
		}
	}
	s, err := Open(ctx, path, Options{})
	fail(err)
	device := uuid.MustParse(os.Getenv("FORG_TEST_DEVICE"))
	l := newLog(uuid.MustParse(os.Getenv("FORG_TEST_USER")), device)
	l.epoch = device // the same log in every process
	l.chains = []api.Hash{api.Genesis(l.device, l.epoch)}
	name := func(n int) uuid.UUID { return uuid.NewSHA1(device, []byte(strconv.Itoa(n))) }
	grow := func() {
		n := len(l.entries)
		l.organize(name(n), 5)
		for i := n; i < len(l.entries); i++ {
			e := &l.entries[i]
			e.ID = name(-1 - i)
			raw, err := e.Raw(1 << 20)
			fail(err)
			e.SHA256 = e.Sum(raw)
			l.chains[i+1] = l.chains[i].Next(e.SHA256)
		}
	}
	grow()
	at, err := s.Push(ctx, l.user, l.request(0, 0), 0)
	fail(err)
	for int64(len(l.entries)) < at.AckedSeq {
		grow()
	}
	for {
		from := int(at.AckedSeq)
		for len(l.entries) < from+3 {
			grow()
		}
		at, err = s.Push(ctx, l.user, l.request(from, len(l.entries)), 0)
		fail(err)
		fmt.Println(at.AckedSeq)
	}
}
