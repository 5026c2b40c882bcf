package replica

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"forg/sync/api"
	"forg/sync/client"
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
	if since := r.opt.Now().Sub(s.Since); s.Code == api.CodeStorageFull && (since > fullPause || since < 0) { // the clock was wrong then, or is now
		return nil, nil
	}
	return s, nil
}

// Resume lets syncing go on after a Stop: the user asked for it.
func (r *Replica) Resume(ctx context.Context) error {
	_, err := r.db.ExecContext(ctx, "DELETE FROM facts WHERE name = ?", factStop)
	r.examine(err)
	return err
}

// stop writes a Stop down, so that nobody tries again by himself, and gives it back.
func (r *Replica) stop(ctx context.Context, code api.Code, format string, args ...any) error {
	s := &Stop{Code: code, Detail: fmt.Sprintf(format, args...), Since: r.opt.Now(), Version: r.opt.Version}
	if code == api.CodeUnauthenticated {
		return s // the next login mends it, whoever sees to that
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := r.tx(context.WithoutCancel(ctx), func(tx *sql.Tx) error { return setFact(ctx, tx, factStop, string(text)) }); err != nil {
		return errors.Join(s, err)
	}
	return s
}

// advice is what to do about an answer that stops syncing.
func advice(p *api.Problem) string {
	switch p.Code {
	case api.CodeUnauthenticated:
		return "the server no longer accepts this login; log in again with \"forg login\""
	case api.CodeDeviceRevoked:
		return "this device was revoked; \"forg login --new-device\" makes it a new one"
	case api.CodeQuota:
		return "the account's space for history is used up; \"forg sync forget\" makes room"
	case api.CodeForbidden:
		return "these credentials do not allow it"
	case api.CodeNotSealed:
		return "the account is encrypted, and what this device sends is not sealed with its key; \"forg sync key\" tells more"
	case api.CodeStorageFull:
		return "the server's disk is full"
	case api.CodeProtocol:
		return fmt.Sprintf("the server does not speak %s: one of the two is too old", api.Protocol)
	}
	return p.Error()
}

// try asks the server, again and again while its failure may pass and patience lasts. What it gives back is the answer, an
// error that the caller understands, a *Stop, or the failure that did not pass.
func (r *Replica) try(ctx context.Context, patience *time.Duration, understands func(api.Then) bool, ask func() error) error {
	var pause client.Backoff
	for {
		err := ask()
		if err == nil || errors.Is(err, errLocal) {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		next := client.ThenOf(err)
		p, _ := errors.AsType[*api.Problem](err)
		switch {
		case understands != nil && understands(next):
			return err
		case p != nil && !answered(err):
			return r.stop(ctx, CodeServer, "the server gives an entry that is wrong: %v", err)
		case next == api.AgainLater:
			return r.stop(ctx, p.Code, "%s", advice(p))
		case next == api.Again:
		case p == nil:
			return r.stop(ctx, api.CodeUnauthenticated, "%v", err)
		case p.Bug():
			return r.stop(ctx, p.Code, "the server does not take what this forg sends, which is a bug: %v", err)
		default:
			return r.stop(ctx, p.Code, "%s", advice(p))
		}
		d := pause.Next(err)
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

// answered reports whether an error is what the server answered, and not what is wrong with an answer.
func answered(err error) bool {
	_, ok := errors.AsType[*client.Error](err)
	return ok
}

// then makes what try understands of one word.
func then(t api.Then) func(api.Then) bool { return func(x api.Then) bool { return x == t } }
