// Package agent lets a server ask this device for something: it fetches commands, gives those that the device's owner has
// allowed to an Executor, and tells the server what became of them. It touches no file and knows no network itself.
//
// A command is carried out at most once: the operation has the id that the command gives it, and is in the journal before
// its first change. So a command that is handed out again, after a crash, a lost answer or a lapsed lease, is answered with
// what the journal says of its operation.
package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/client"
)

// Server hands out commands and takes answers: a *client.Client.
type Server interface {
	// Commands are what the device is to do, leased to it, oldest first; an empty answer may take as long as wait.
	Commands(ctx context.Context, device uuid.UUID, wait time.Duration) ([]api.Command, error)
	// Answer is a word on a command, which renews its lease.
	Answer(ctx context.Context, device, command uuid.UUID, u api.CommandUpdate) (api.CommandUpdated, error)
	// Offer says what may be asked of the device, so that others need not guess.
	Offer(ctx context.Context, device uuid.UUID, o api.Offers) error
}

// Executor carries commands out on this device.
type Executor interface {
	// Done is what became of a command that was carried out before; nil if it was not. ErrBusy: it cannot be told now.
	Done(ctx context.Context, c *api.Command) (*Answer, error)
	// Carry carries a command out and makes sure, with the journal in its hands, that it was not before: then it returns
	// that answer. It calls begin once everything is there that it takes, and changes nothing if that fails, and progress
	// as often as it likes. When ctx ends it comes to an end soon, and its answer tells how far it got.
	//
	// Errors: a Refusal before begin was called; ErrBusy when another forg is at work; the one of begin. Any other becomes
	// the answer that it failed, and is for the device's own log only.
	Carry(ctx context.Context, c *api.Command, begin func() error, progress func(api.Progress)) (Answer, error)
}

// Answer is what became of a command. It goes to the server, which may not know the names of files: none is in it.
type Answer struct {
	State  api.CommandState // a final one
	Result api.CommandResult
}

// Refusal is why the device does not do what a command asks for. It goes to the server and names no file.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// ErrBusy says that another forg is at work, so that the command has to wait.
var ErrBusy = errors.New("another forg is at work")

// Options say what the agent is to do and may.
type Options struct {
	Server Server
	Device uuid.UUID // that the server knows the journal as
	Do     Executor
	Offers api.Offers // its kinds are those that are allowed: all others are refused
	// Verify checks that a command was made, and lately, by a device of the account, if that has end-to-end encryption; nil
	// checks nothing. A Refusal refuses the command; after any other error it waits.
	Verify func(context.Context, *api.Command) error
	// Sync pushes what the journal has and pulls what other devices have; nil if there is nothing of that.
	Sync func(context.Context) error
	// Mark is another text whenever the journal may have changed. It is asked every few seconds.
	Mark func() string
	// Tell is told what happens, for the log; calls do not overlap.
	Tell func(Event)
}

// Event is something worth a line in the log.
type Event struct {
	Kind    EventKind
	Command *api.Command // of Asked, Refused, Ended, Unheard
	Answer  *Answer      // of Ended, Refused, Unheard
	Err     error        // of Trouble, Refused and, where the device knows more than it has told, Ended
}

// EventKind is what has happened.
type EventKind string

// The kinds of events.
const (
	Asked   EventKind = "asked"   // a command has begun
	Refused EventKind = "refused" // a command is not allowed
	Ended   EventKind = "ended"   // a command was carried out, or had been before
	Unheard EventKind = "unheard" // the server could not be told what became of it; it asks again
	Trouble EventKind = "trouble" // the server or the sync does not work; said once
	Better  EventKind = "better"  // it works again
)

const (
	wait       = 30 * time.Second // how long the server may hold a question for commands back
	renewEvery = 15 * time.Second // a lease lasts 60 s
	tellEvery  = 2 * time.Second  // how often progress is told
	lookEvery  = 5 * time.Second  // how often the journal is looked at
	pullEvery  = 5 * time.Minute  // how often is asked what other devices did, without a reason
	patience   = 20 * time.Second // for telling how a command ended
	lastWord   = 5 * time.Second  // the same when the agent is to stop
)

// Stopped is the error of Run when the server has said something after which only a person can help: the device was shut
// out, say.
type Stopped struct{ Err error }

func (e *Stopped) Error() string { return e.Err.Error() }
func (e *Stopped) Unwrap() error { return e.Err }

// Run works until ctx ends, whose error it returns then, or until there is no use in going on: *Stopped. A command that is
// being carried out comes to its end before.
func Run(ctx context.Context, opt Options) error {
	a := &agent{Options: opt, kick: make(chan struct{}, 1), trouble: map[string]string{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var background sync.WaitGroup
	if a.Sync != nil {
		background.Go(func() { a.syncing(ctx) })
	}
	err := a.commands(ctx)
	cancel()
	background.Wait()
	return err
}

type agent struct {
	Options
	kick    chan struct{} // the journal has changed, by our own doing
	mu      sync.Mutex    // guards what follows, and Tell
	trouble map[string]string
}

func (a *agent) tell(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Tell(e)
}

// worry tells that something does not work, if that is news; nil that it works.
func (a *agent) worry(what string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, text := a.trouble[what], ""
	if err != nil {
		text = err.Error()
	}
	a.trouble[what] = text
	switch {
	case text == was:
	case text == "":
		a.Tell(Event{Kind: Better})
	default:
		a.Tell(Event{Kind: Trouble, Err: err})
	}
}

// hopeless reports whether err is an answer after which asking again is of no use.
func hopeless(err error) bool {
	if saysCode(err, api.CodeNotFound) { // a device that has not pushed yet
		return false
	}
	switch client.ThenOf(err) {
	case api.Stop, api.Revoked, api.Speak, api.Park:
		return true
	}
	return false
}

func saysCode(err error, code api.Code) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Code == code
}

// forgotten reports whether the server says that a command is not this device's any more.
func forgotten(err error) bool {
	return client.ThenOf(err) == api.ForgetIt || saysCode(err, api.CodeNotFound)
}

// commands is the one loop that fetches commands and carries them out, one after another.
func (a *agent) commands(ctx context.Context) error {
	var b client.Backoff
	offered := false
	for {
		began := time.Now()
		if !offered {
			// That it could not be said is nothing to worry about: a server may be too old, or know the device only when it has pushed.
			err := a.Server.Offer(ctx, a.Device, a.Offers)
			offered = err == nil || client.ThenOf(err) != api.Again && !saysCode(err, api.CodeNotFound)
		}
		all, err := a.Server.Commands(ctx, a.Device, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && hopeless(err) {
			return &Stopped{err}
		}
		a.worry("commands", err)
		if err != nil {
			if err := pause(ctx, b.Next(err)); err != nil {
				return err
			}
			continue
		}
		b.Reset()
		busy := false
		for i := range all {
			if ctx.Err() != nil {
				return ctx.Err() // the others are handed out again
			}
			busy = a.command(ctx, &all[i]) || busy
		}
		// A server that does not hold the question back, since it is about to end, say, must not be asked without a pause.
		if busy || len(all) == 0 && time.Since(began) < wait/4 {
			if err := pause(ctx, time.Second+random(4*time.Second)); err != nil {
				return err
			}
		}
	}
}

// command deals with one command. It reports whether it has to wait for another forg.
func (a *agent) command(ctx context.Context, c *api.Command) (busy bool) {
	if c.DeviceID != a.Device || c.Lease == uuid.Nil {
		a.worry("commands", errors.New("the server has handed out a command that is not for this device"))
		return true
	}
	done, err := a.Do.Done(ctx, c)
	switch {
	case errors.Is(err, ErrBusy):
		return true
	case err != nil && ctx.Err() == nil:
		var r Refusal
		if errors.As(err, &r) {
			a.refuse(ctx, c, err)
			return false
		}
		a.worry("journal", err) // with no journal nothing can be promised: it is handed out again
		return true
	case err != nil:
		return false
	case done != nil:
		a.answer(ctx, c, *done, nil)
		return false
	}
	a.worry("journal", nil)
	if err := a.allowed(c); err != nil {
		a.refuse(ctx, c, err)
		return false
	}
	if a.Verify != nil {
		err := a.Verify(ctx, c)
		var r Refusal
		switch {
		case errors.As(err, &r):
			a.refuse(ctx, c, err)
			return false
		case err != nil:
			a.worry("keys", err)
			return true
		}
		a.worry("keys", nil)
	}
	w := &work{agent: a, c: c}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	w.stop = cancel
	defer w.end()
	answer, err := a.Do.Carry(run, c, func() error { return w.begin(ctx) }, w.progress)
	w.end()
	var r Refusal
	var mine *notOurs
	switch {
	case errors.As(err, &mine):
		a.worry("commands", mine.err)
		return false
	case errors.Is(err, ErrBusy):
		return true
	case errors.As(err, &r):
		a.refuse(ctx, c, err)
		return false
	case err != nil && !w.begun:
		if ctx.Err() == nil {
			a.worry("journal", err)
		}
		return true
	case err != nil:
		answer = Answer{State: api.CommandFailed, Result: api.CommandResult{Error: "the device could not do it; its own log says why"}}
	}
	select {
	case a.kick <- struct{}{}: // the log is to say so too
	default:
	}
	if w.lost { // the server has given it to somebody else, or has forgotten it: the log tells what was done
		a.tell(Event{Kind: Unheard, Command: c, Answer: &answer, Err: err})
		return false
	}
	a.answer(ctx, c, answer, err)
	return false
}

// allowed says what is against a command, as far as it can be told without looking at the device.
func (a *agent) allowed(c *api.Command) error {
	switch {
	case c.Kind != api.CommandOrganize && c.Kind != api.CommandRollback:
		return Refusal(fmt.Sprintf("this version of forg knows no command %q", cut(string(c.Kind))))
	case !slices.Contains(a.Offers.Kinds, c.Kind):
		return Refusal(fmt.Sprintf("the device's owner has not allowed %q from afar", c.Kind))
	case c.OperationID == uuid.Nil || c.OperationID.Version() != 7:
		return Refusal("the command gives no operation that could carry it out")
	case c.Kind == api.CommandRollback && c.RollbackOf == uuid.Nil:
		return Refusal("the command names no operation to take back")
	}
	return nil
}

// cut is what of a word of the server's may be said again.
func cut(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	return s
}

// refuse answers that the device does not do it. One that has begun can only fail. Of the error only the Refusal is told: what
// it is wrapped in may name files.
func (a *agent) refuse(ctx context.Context, c *api.Command, why error) {
	r, _ := errors.AsType[Refusal](why)
	answer := Answer{State: api.CommandRefused, Result: api.CommandResult{Error: r.Error()}}
	if c.State == api.CommandRunning {
		answer.State = api.CommandFailed
	}
	a.tell(Event{Kind: Refused, Command: c, Answer: &answer, Err: why})
	a.final(ctx, c, answer)
}

// answer tells how a command ended.
func (a *agent) answer(ctx context.Context, c *api.Command, answer Answer, why error) {
	kind := Ended
	if !a.final(ctx, c, answer) {
		kind = Unheard
	}
	a.tell(Event{Kind: kind, Command: c, Answer: &answer, Err: why})
}

// final tells the server how a command ended, for a while. If it cannot be told, it asks again. It reports whether the
// server knows.
func (a *agent) final(ctx context.Context, c *api.Command, answer Answer) bool {
	u := api.CommandUpdate{Lease: c.Lease, State: answer.State, Result: &answer.Result}
	until := time.Now().Add(patience)
	var b client.Backoff
	for {
		err := a.word(ctx, c, u, nil)
		if err == nil {
			return true
		}
		if client.ThenOf(err) != api.Again {
			return false
		}
		d := b.Next(err)
		if ctx.Err() != nil || time.Now().Add(d).After(until) || pause(ctx, d) != nil {
			return false
		}
	}
}

// word says something about a command. The end of ctx does not cut it off, or the server would know half.
func (a *agent) word(ctx context.Context, c *api.Command, u api.CommandUpdate, to *api.CommandUpdated) error {
	one, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { // whoever has to stop waits no longer than this
		select {
		case <-time.After(lastWord):
			cancel()
		case <-one.Done():
		}
	})()
	got, err := a.Server.Answer(one, a.Device, c.ID, u)
	if to != nil {
		*to = got
	}
	return err
}

// notOurs says that a command must not be carried out, since the server does not confirm that it is this device's.
type notOurs struct{ err error }

func (e *notOurs) Error() string { return fmt.Sprintf("the command is not confirmed: %v", e.err) }
func (e *notOurs) Unwrap() error { return e.err }

// work is a command that is being carried out.
type work struct {
	*agent
	c     *api.Command
	stop  func() // asks the executor to come to an end
	begun bool
	lost  bool // the lease, so that nothing is said any more; to be read after end
	ended sync.Once
	quit  chan struct{}
	gone  chan struct{}

	mu  sync.Mutex
	far *api.Progress // nil: nothing new
}

// begin makes sure that the command is this device's, and keeps it that.
func (w *work) begin(ctx context.Context) error {
	if w.begun {
		return nil
	}
	var got api.CommandUpdated
	var b client.Backoff
	for until := time.Now().Add(patience); ; {
		err := w.word(ctx, w.c, api.CommandUpdate{Lease: w.c.Lease, State: api.CommandRunning}, &got)
		if err == nil {
			break
		}
		if forgotten(err) {
			return &notOurs{nil}
		}
		d := b.Next(err)
		if client.ThenOf(err) != api.Again || ctx.Err() != nil || time.Now().Add(d).After(until) || pause(ctx, d) != nil {
			return &notOurs{err} // it is handed out again
		}
	}
	if got.State.Final() || got.Cancel {
		return &notOurs{nil}
	}
	w.begun = true
	w.tell(Event{Kind: Asked, Command: w.c})
	w.quit, w.gone = make(chan struct{}), make(chan struct{})
	go w.renew(ctx)
	return nil
}

// renew keeps the lease until end.
func (w *work) renew(ctx context.Context) {
	defer close(w.gone)
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		far := w.far
		w.mu.Unlock()
		if far == nil && time.Since(last) < renewEvery {
			continue
		}
		var got api.CommandUpdated
		err := w.word(ctx, w.c, api.CommandUpdate{Lease: w.c.Lease, State: api.CommandRunning, Progress: far}, &got)
		if err != nil {
			if forgotten(err) {
				w.lost = true // what has begun comes to its end: the log tells it
				return
			}
			continue
		}
		last = time.Now()
		w.mu.Lock()
		if w.far == far {
			w.far = nil
		}
		w.mu.Unlock()
		if got.Cancel {
			w.stop()
		}
	}
}

func (w *work) progress(p api.Progress) {
	w.mu.Lock()
	w.far = &p
	w.mu.Unlock()
}

// end stops telling the server that the device is at work.
func (w *work) end() {
	w.ended.Do(func() {
		if w.quit != nil {
			close(w.quit)
			<-w.gone
		}
	})
}
