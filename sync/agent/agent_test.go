package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/sync/api"
	"forg/sync/client"
)

var laptop = uuid.MustParse("0198c0de-0000-4000-8000-00000000d001")

var both = api.Offers{Kinds: []api.CommandKind{api.CommandRollback, api.CommandOrganize}}

// fakeServer keeps commands as PROTOCOL.md says, in memory.
type fakeServer struct {
	mu       sync.Mutex
	commands []*api.Command
	words    map[uuid.UUID][]api.CommandState // as they were said
	news     chan struct{}
	random   *rand.Rand // nil: no faults
	faults   int        // of 100 requests
	cancel   map[uuid.UUID]bool
	asked    int
}

func newFakeServer() *fakeServer {
	return &fakeServer{words: map[uuid.UUID][]api.CommandState{}, news: make(chan struct{}, 1), cancel: map[uuid.UUID]bool{}}
}

const leaseTime = time.Minute

func newCommand(kind api.CommandKind) *api.Command {
	c := &api.Command{ID: uuid.Must(uuid.NewV7()), DeviceID: laptop, Kind: kind, OperationID: uuid.Must(uuid.NewV7()), State: api.CommandQueued, CreatedBy: "session 1"}
	if kind == api.CommandRollback {
		c.RollbackOf = uuid.Must(uuid.NewV7())
	}
	return c
}

func (s *fakeServer) add(c *api.Command) *api.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, c)
	select {
	case s.news <- struct{}{}:
	default:
	}
	return c
}

var errAway = errors.New("connection refused")

// fails reports whether a request fails, and whether only its answer does.
func (s *fakeServer) fails() (before, after bool) {
	if s.random == nil || s.random.IntN(100) >= s.faults {
		return false, false
	}
	after = s.random.IntN(2) == 0
	return !after, after
}

func (s *fakeServer) Commands(ctx context.Context, device uuid.UUID, wait time.Duration) ([]api.Command, error) {
	until := time.Now().Add(wait)
	s.asked++
	for {
		s.mu.Lock()
		before, after := s.fails()
		if before {
			s.mu.Unlock()
			return nil, errAway
		}
		var all []api.Command
		for _, c := range s.commands {
			if c.State.Final() || c.State != api.CommandQueued && time.Now().Before(*c.LeaseUntil) {
				continue
			}
			if c.State != api.CommandRunning {
				c.State = api.CommandLeased
			}
			end := time.Now().Add(leaseTime)
			c.Lease, c.LeaseUntil = uuid.New(), &end
			all = append(all, *c)
		}
		s.mu.Unlock()
		if after {
			return nil, errAway
		}
		if len(all) > 0 || !time.Now().Before(until) {
			return all, nil
		}
		select {
		case <-s.news:
		case <-time.After(time.Until(until)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *fakeServer) Answer(ctx context.Context, device, id uuid.UUID, u api.CommandUpdate) (got api.CommandUpdated, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := s.fails()
	if before {
		return got, errAway
	}
	i := slices.IndexFunc(s.commands, func(c *api.Command) bool { return c.ID == id })
	if i < 0 {
		return got, problem(api.CodeNotFound)
	}
	c := s.commands[i]
	if c.Lease != u.Lease || c.State.Final() && c.State != u.State || c.State != u.State && !c.State.CanBecome(u.State) {
		return got, problem(api.CodeLeaseLost)
	}
	if c.State != u.State {
		s.words[id] = append(s.words[id], u.State)
	}
	c.State = u.State
	if u.Result != nil {
		c.Result = u.Result
	}
	end := time.Now().Add(leaseTime)
	c.LeaseUntil = &end
	if after {
		return got, errAway
	}
	return api.CommandUpdated{State: c.State, LeaseUntil: c.LeaseUntil, Cancel: s.cancel[id]}, nil
}

func (s *fakeServer) Offer(context.Context, uuid.UUID, api.Offers) error { return nil }

func (s *fakeServer) state(c *api.Command) (api.CommandState, []api.CommandState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.State, s.words[c.ID]
}

// fakeDevice is what survives of a device when its agent is killed: its journal.
type fakeDevice struct {
	mu      sync.Mutex
	done    map[uuid.UUID]Answer // by operation
	running map[uuid.UUID]bool   // begun, and not ended
	began   map[uuid.UUID]int
	takes   time.Duration
	busy    int // times that another forg is at work
	refuses error
	stopped bool // the last one came to its end before its time
	fails   error
}

func newFakeDevice() *fakeDevice {
	return &fakeDevice{done: map[uuid.UUID]Answer{}, running: map[uuid.UUID]bool{}, began: map[uuid.UUID]int{}}
}

func (d *fakeDevice) Done(_ context.Context, c *api.Command) (*Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[c.OperationID] { // it was killed, and is settled now
		delete(d.running, c.OperationID)
		d.done[c.OperationID] = Answer{State: api.CommandPartial, Result: api.CommandResult{Processed: 1, Error: "cut short"}}
	}
	if a, ok := d.done[c.OperationID]; ok {
		return &a, nil
	}
	return nil, nil
}

func (d *fakeDevice) Carry(ctx context.Context, c *api.Command, begin func() error, progress func(api.Progress)) (Answer, error) {
	d.mu.Lock()
	busy, refuses, takes, fails := d.busy > 0, d.refuses, d.takes, d.fails
	d.busy--
	d.mu.Unlock()
	if busy {
		return Answer{}, ErrBusy
	}
	if refuses != nil {
		return Answer{}, refuses
	}
	if err := begin(); err != nil {
		return Answer{}, err
	}
	d.mu.Lock()
	d.began[c.OperationID]++
	d.running[c.OperationID] = true
	d.mu.Unlock()
	answer := Answer{State: api.CommandSucceeded, Result: api.CommandResult{Processed: 10}}
	for i := range 10 {
		progress(api.Progress{FilesTotal: 10, FilesProcessed: int64(i)})
		if pause(ctx, takes/10) != nil {
			if ctx.Value(killed{}) != nil {
				return Answer{}, ctx.Err() // nothing more happens
			}
			answer = Answer{State: api.CommandPartial, Result: api.CommandResult{Processed: int64(i), Error: "stopped"}}
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = answer.State == api.CommandPartial
	delete(d.running, c.OperationID)
	d.done[c.OperationID] = answer
	return answer, fails
}

// killed marks the context of an agent whose end is one by kill.
type killed struct{}

type running struct {
	s      *fakeServer
	d      *fakeDevice
	events []Event
	cancel func()
	end    chan error
}

func start(s *fakeServer, d *fakeDevice, change func(*Options)) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{s: s, d: d, cancel: cancel, end: make(chan error, 1)}
	opt := Options{Server: s, Device: laptop, Do: d, Offers: both,
		Mark: func() string { return "" }, Tell: func(e Event) { r.events = append(r.events, e) }}
	if change != nil {
		change(&opt)
	}
	go func() { r.end <- Run(ctx, opt) }()
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.end; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

func TestCarriesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		d.takes = 5 * time.Minute // more than a lease
		r := start(s, d, nil)
		c := s.add(newCommand(api.CommandRollback))
		time.Sleep(time.Minute)
		if state, _ := s.state(c); state != api.CommandRunning {
			t.Errorf("after a minute it is %s", state)
		}
		time.Sleep(5 * time.Minute)
		state, words := s.state(c)
		if state != api.CommandSucceeded || c.Result.Processed != 10 || !slices.Equal(words, []api.CommandState{api.CommandRunning, api.CommandSucceeded}) {
			t.Errorf("%s %v %v", state, c.Result, words)
		}
		r.stop(t)
		if len(r.events) != 2 || r.events[0].Kind != Asked || r.events[1].Kind != Ended {
			t.Error(r.events)
		}
		if d.began[c.OperationID] != 1 {
			t.Error("begun", d.began)
		}
	})
}

// TestRefuses: whatever the owner has not allowed is refused with a reason, and nothing begins.
func TestRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		command func(*api.Command)
		opt     func(*Options)
		device  error
		want    api.CommandState
	}{
		"nothing allowed": {opt: func(o *Options) { o.Offers.Kinds = nil }},
		"another kind":    {opt: func(o *Options) { o.Offers.Kinds = both.Kinds[1:] }},
		"unknown kind":    {command: func(c *api.Command) { c.Kind = "format" }, opt: func(o *Options) { o.Offers.Kinds = append(o.Offers.Kinds, "format") }},
		"no operation":    {command: func(c *api.Command) { c.OperationID = uuid.Nil }},
		"no time":         {command: func(c *api.Command) { c.OperationID = uuid.New() }},
		"no target":       {command: func(c *api.Command) { c.RollbackOf = uuid.Nil }},
		"no mac":          {opt: func(o *Options) { o.Verify = func(context.Context, *api.Command) error { return Refusal("no mac") } }},
		"the device":      {device: Refusal("no such folder")},
		"and its reasons": {device: fmt.Errorf("look into /home/ana/private: %w", Refusal("no such folder"))},
		"it had begun":    {command: func(c *api.Command) { c.State = api.CommandRunning; c.LeaseUntil = new(time.Time) }, device: Refusal("no such folder"), want: api.CommandFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := newFakeServer(), newFakeDevice()
				d.refuses = test.device
				c := newCommand(api.CommandRollback)
				if test.command != nil {
					test.command(c)
				}
				s.add(c)
				r := start(s, d, test.opt)
				time.Sleep(time.Second)
				r.stop(t)
				if test.want == "" {
					test.want = api.CommandRefused
				}
				if state, _ := s.state(c); state != test.want || c.Result == nil || c.Result.Error == "" {
					t.Errorf("it is %s, %v", state, c.Result)
				}
				if c.Result != nil && strings.Contains(c.Result.Error, "/home/ana") {
					t.Errorf("the server is told %q", c.Result.Error)
				}
				if len(d.began) > 0 {
					t.Error("it has begun")
				}
				if len(r.events) != 1 || r.events[0].Kind != Refused {
					t.Error(r.events)
				}
			})
		})
	}
}

// TestBusy: while another forg is at work nothing is told, and the command is handed out again.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		d.busy = 2
		c := s.add(newCommand(api.CommandOrganize))
		r := start(s, d, nil)
		time.Sleep(5 * time.Minute)
		r.stop(t)
		if state, words := s.state(c); state != api.CommandSucceeded || len(words) != 2 {
			t.Error(state, words)
		}
	})
}

// TestKeysAway: a command whose signature cannot be checked now waits, and is not refused.
func TestKeysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		began := time.Now()
		c := s.add(newCommand(api.CommandOrganize))
		r := start(s, d, func(o *Options) {
			o.Verify = func(context.Context, *api.Command) error {
				if time.Since(began) < 3*time.Minute {
					return errAway
				}
				return nil
			}
		})
		time.Sleep(2 * time.Minute)
		if state, words := s.state(c); state != api.CommandLeased || len(words) > 0 {
			t.Error(state, words)
		}
		time.Sleep(8 * time.Minute)
		r.stop(t)
		if state, _ := s.state(c); state != api.CommandSucceeded {
			t.Error(state)
		}
	})
}

// TestCancel: who is asked to stop comes to an end, and says how far it came.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		d.takes = time.Hour
		c := s.add(newCommand(api.CommandOrganize))
		r := start(s, d, nil)
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		s.cancel[c.ID] = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		r.stop(t)
		if state, _ := s.state(c); state != api.CommandPartial || !d.stopped {
			t.Error(state, d.stopped)
		}
	})
}

// TestStop: when the agent is to end, what it has begun comes to its end and is told; nothing else begins.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		d.takes = time.Minute
		one, two := s.add(newCommand(api.CommandOrganize)), s.add(newCommand(api.CommandOrganize))
		r := start(s, d, nil)
		time.Sleep(30 * time.Second)
		r.stop(t)
		if state, _ := s.state(one); state != api.CommandPartial {
			t.Error("the first is", state)
		}
		if state, words := s.state(two); state != api.CommandLeased || len(words) > 0 {
			t.Error("the second is", state, words)
		}
	})
}

// TestFailed: the error itself may name files, so the server does not get it.
func TestFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newFakeServer(), newFakeDevice()
		d.fails = errors.New("open /home/ada/secret: permission denied")
		c := s.add(newCommand(api.CommandOrganize))
		r := start(s, d, nil)
		time.Sleep(time.Minute)
		r.stop(t)
		state, _ := s.state(c)
		if state != api.CommandFailed || c.Result.Error == "" || c.Result.Error == d.fails.Error() {
			t.Error(state, c.Result)
		}
		if last := r.events[len(r.events)-1]; last.Err != d.fails {
			t.Error(last)
		}
	})
}

// TestShutOut: after some answers asking again is of no use.
func TestShutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, code := range []api.Code{api.CodeUnauthenticated, api.CodeDeviceRevoked, api.CodeForbidden, api.CodeProtocol} {
			r := start(newFakeServer(), newFakeDevice(), func(o *Options) { o.Server = refusing{code} })
			if err := <-r.end; !errors.As(err, new(*Stopped)) {
				t.Errorf("%s: it ends with %v", code, err)
			}
			r.cancel()
		}
	})
}

func problem(code api.Code) error {
	return &client.Error{Problem: *api.NewProblem(code, ""), Act: "ask"}
}

type refusing struct{ code api.Code }

func (r refusing) Commands(context.Context, uuid.UUID, time.Duration) ([]api.Command, error) {
	return nil, problem(r.code)
}

func (r refusing) Answer(context.Context, uuid.UUID, uuid.UUID, api.CommandUpdate) (api.CommandUpdated, error) {
	return api.CommandUpdated{}, problem(r.code)
}

func (r refusing) Offer(context.Context, uuid.UUID, api.Offers) error { return nil }

// hasty answers at once, as a server does that is about to end.
type hasty struct{ asked int }

func (h *hasty) Commands(context.Context, uuid.UUID, time.Duration) ([]api.Command, error) {
	h.asked++
	return nil, nil
}

func (h *hasty) Answer(context.Context, uuid.UUID, uuid.UUID, api.CommandUpdate) (api.CommandUpdated, error) {
	return api.CommandUpdated{}, errAway
}

func (h *hasty) Offer(context.Context, uuid.UUID, api.Offers) error { return nil }

// TestRests: neither a server that is away nor one that answers at once makes the agent ask all the time, and an idle hour
// is nearly free.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, away, idle := new(hasty), newFakeServer(), newFakeServer()
		away.random, away.faults = rand.New(rand.NewPCG(1, 2)), 100
		for name, test := range map[string]struct {
			server Server
			asked  *int
			most   int
		}{
			"hasty": {quick, &quick.asked, 3600},
			"away":  {away, &away.asked, 40},
			"idle":  {idle, &idle.asked, 130},
		} {
			looks, syncs := 0, 0
			r := start(newFakeServer(), newFakeDevice(), func(o *Options) {
				o.Server = test.server
				o.Mark = func() string { looks++; return "" }
				o.Sync = func(context.Context) error { syncs++; return nil }
			})
			time.Sleep(time.Hour)
			r.stop(t)
			if *test.asked > test.most || looks > 800 || syncs > 30 || syncs < 6 {
				t.Errorf("%s: in an hour it asks %d times for commands, looks %d times at the journal and syncs %d times", name, *test.asked, looks, syncs)
			}
		}
	})
}

// TestSync: soon after the journal has changed it is pushed, and what fails is tried again with growing pauses.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration
		mark, failing := "", false
		began := time.Now()
		s, d := newFakeServer(), newFakeDevice()
		r := start(s, d, func(o *Options) {
			o.Mark = func() string { mu.Lock(); defer mu.Unlock(); return mark }
			o.Sync = func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(began))
				if failing {
					return errAway
				}
				return nil
			}
		})
		set := func(to string, fail bool) {
			mu.Lock()
			defer mu.Unlock()
			mark, failing, at = to, fail, nil
		}
		synced := func() []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(at)
		}
		time.Sleep(time.Minute)
		set("1", false)
		time.Sleep(time.Minute)
		if at := synced(); len(at) != 1 || at[0] > time.Minute+lookEvery {
			t.Error("after a change it syncs at", at)
		}
		set("1", false)
		c := s.add(newCommand(api.CommandOrganize))
		time.Sleep(time.Second)
		state, _ := s.state(c)
		if at := synced(); len(at) != 1 || state != api.CommandSucceeded {
			t.Error("after a command it syncs at", at, state)
		}
		set("2", true)
		time.Sleep(2 * time.Hour)
		if n := len(synced()); n < 8 || n > 60 {
			t.Errorf("what fails is tried %d times in two hours", n)
		}
		set("2", false)
		time.Sleep(mostPause + lookEvery)
		if len(synced()) == 0 {
			t.Error("once the server is back nothing is synced")
		}
		r.stop(t)
		var kinds []EventKind
		for _, e := range r.events {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, []EventKind{Asked, Ended, Trouble, Better}) {
			t.Error(kinds)
		}
	})
}

// mostPause is the longest that a client waits, by PROTOCOL.md.
const mostPause = 15 * time.Minute

// TestOnce: with a server whose answers get lost, leases that lapse, and an agent that is killed at any moment, each command is begun at
// most once and ends as what the device made of it.
func TestOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		var wrong string
		synctest.Test(t, func(t *testing.T) { wrong = onceWith(seed) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// mortal is the server as an agent sees it that has nothing more to say once it is dead.
type mortal struct {
	*fakeServer
	life context.Context
}

func (m mortal) Answer(ctx context.Context, device, id uuid.UUID, u api.CommandUpdate) (api.CommandUpdated, error) {
	if m.life.Err() != nil {
		return api.CommandUpdated{}, errAway
	}
	return m.fakeServer.Answer(ctx, device, id, u)
}

func onceWith(seed uint64) (wrong string) {
	random := rand.New(rand.NewPCG(seed, 1))
	s, d := newFakeServer(), newFakeDevice()
	s.random, s.faults = rand.New(rand.NewPCG(seed, 2)), random.IntN(60)
	var all []*api.Command
	for range 6 {
		d.mu.Lock()
		d.takes, d.busy = time.Duration(random.Int64N(int64(3*time.Minute))), random.IntN(2)
		d.mu.Unlock()
		ctx, kill := context.WithCancel(context.WithValue(context.Background(), killed{}, true))
		end := make(chan error)
		go func() {
			end <- Run(ctx, Options{Server: mortal{s, ctx}, Device: laptop, Do: d, Offers: both,
				Mark: func() string { return "" }, Tell: func(Event) {}})
		}()
		for range random.IntN(3) {
			all = append(all, s.add(newCommand(api.CommandOrganize)))
			time.Sleep(time.Duration(random.Int64N(int64(2 * time.Minute))))
		}
		kill()
		<-end
	}
	s.mu.Lock()
	s.faults = 0
	s.mu.Unlock()
	r := start(s, d, nil)
	time.Sleep(time.Hour)
	r.cancel()
	<-r.end
	for i, c := range all {
		state, words := s.state(c)
		made := d.done[c.OperationID]
		switch {
		case d.began[c.OperationID] != 1:
			return fmt.Sprintf("command %d was begun %d times: %v", i, d.began[c.OperationID], words)
		case state != made.State || c.Result == nil || c.Result.Processed != made.Result.Processed:
			return fmt.Sprintf("command %d is %s %v, the device made it %s %v: %v", i, state, c.Result, made.State, made.Result, words)
		}
	}
	return ""
}
