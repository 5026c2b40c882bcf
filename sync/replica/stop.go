package replica

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"forg/sync/api"
)

// Stop is why syncing has stopped until the user or a new version does something.
type Stop struct {
	Code    api.Code  `json:"code"` // as the server answered; CodeChain and CodeServer are ours
	Detail  string    `json:"detail"`
	Since   time.Time `json:"since"`
	Version string    `json:"version"` // of the forg that stopped
}

// What stops syncing without the server saying so.
const (
	CodeChain  api.Code = "chain"  // the server's log of this device is not what was sent
	CodeServer api.Code = "server" // the server breaks the protocol
)

func (s *Stop) Error() string { return "syncing has stopped: " + s.Detail }

// Is makes a Stop ErrStopped.
func (s *Stop) Is(err error) bool { return err == ErrStopped }

// fullPause is after how long a server whose disk was full is asked again.
const fullPause = time.Hour

// Stopped is why syncing has stopped, or nil. One that an older version wrote down no longer counts.
func (r *Replica) Stopped(ctx context.Context) (*Stop, error) {
	var text string
	if err := fact(ctx, r.db, factStop, &text); err != nil || text == "" {
		return nil, err
	}
	s := new(Stop)
	if err := json.Unmarshal([]byte(text), s); err != nil || r.opt.Version != "" && s.Version != r.opt.Version {
		return nil, nil
	}
	if s.Code == api.CodeStorageFull && r.opt.Now().Sub(s.Since) > fullPause {
		return nil, nil
	}
	return s, nil
}

// Resume lets syncing go on after a Stop: the user asked for it.
func (r *Replica) Resume(ctx context.Context) error {
	_, err := r.db.ExecContext(ctx, "DELETE FROM facts WHERE name = ?", factStop)
	return err
}

// stop writes a Stop down, so that nobody tries again by himself, and gives it back.
func (r *Replica) stop(ctx context.Context, code api.Code, format string, args ...any) error {
	s := &Stop{Code: code, Detail: fmt.Sprintf(format, args...), Since: r.opt.Now(), Version: r.opt.Version}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := r.tx(context.WithoutCancel(ctx), func(tx *sql.Tx) error { return setFact(ctx, tx, factStop, string(text)) }); err != nil {
		return errors.Join(s, err)
	}
	return s
}

// what a failure of the server asks for, as the table in PROTOCOL.md has it.
type verdict int

const (
	again verdict = iota // after a while
	halt                 // until somebody does something
	gone                 // the context has ended
)

func judge(ctx context.Context, err error) (verdict, *api.Problem) {
	if ctx.Err() != nil {
		return gone, nil
	}
	p, ok := errors.AsType[*api.Problem](err)
	switch {
	case !ok, p.Status >= 500, p.Status == 429, p.Status == 408:
		return again, p
	}
	return halt, p
}

// advice is what to do about an answer that stops syncing.
func advice(p *api.Problem) string {
	switch p.Code {
	case api.CodeUnauthenticated:
		return "the server no longer accepts this login; log in again with \"forg login\""
	case api.CodeDeviceRevoked:
		return "this device was revoked; log in again with \"forg login\" to sync as a new one"
	case api.CodeQuota:
		return "the account's space for history is used up; \"forg sync forget\" makes room"
	case api.CodeForbidden:
		return "these credentials do not allow it"
	case api.CodeStorageFull:
		return "the server's disk is full"
	case api.CodeProtocol:
		return fmt.Sprintf("the server does not speak %s: one of the two is too old", api.Protocol)
	}
	return "the server does not take what this forg sends: " + p.Error()
}

// Backoff gives times to wait between tries: random ones between 0 and a bound that doubles from 1 s to 15 min.
type Backoff struct{ n int }

// Next is how long to wait now; least is what the server asked for.
func (b *Backoff) Next(least time.Duration) time.Duration {
	most := 15 * time.Minute
	if b.n < 10 {
		most = min(most, time.Second<<b.n)
	}
	b.n++
	return max(least, rand.N(most))
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.n = 0 }

// try asks the server, again and again while its failure may pass and patience lasts. What it gives back is the answer, a
// *api.Problem that the caller has to understand, a *Stop, or the error that did not pass.
func (r *Replica) try(ctx context.Context, patience *time.Duration, understands func(*api.Problem) bool, ask func() error) error {
	var wait Backoff
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if errors.Is(err, errLocal) {
			return err
		}
		v, p := judge(ctx, err)
		if p != nil && understands != nil && understands(p) {
			return err
		}
		switch v {
		case gone:
			return errors.Join(ctx.Err(), err)
		case halt:
			if p.Code == api.CodeInvalid || p.Code == api.CodeMalformed {
				return r.stop(ctx, p.Code, "%s", "the server does not take what this forg sends, which is a bug: "+p.Error())
			}
			return r.stop(ctx, p.Code, "%s", advice(p))
		}
		if p != nil && p.Code == api.CodeStorageFull {
			return r.stop(ctx, p.Code, "%s", advice(p))
		}
		var least time.Duration
		if p != nil {
			least = time.Duration(p.RetryAfter) * time.Second
		}
		d := wait.Next(least)
		if d >= *patience {
			return err
		}
		*patience -= d
		r.opt.Note(Progress{Waiting: d, Err: err})
		if err := r.opt.Sleep(ctx, d); err != nil {
			return err
		}
	}
}
