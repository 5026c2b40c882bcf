package client

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"forg/sync/api"
)

// Error is an answer that is an error. What a client does then is Then; Bug tells whether one of the two programs is wrong.
// The *api.Problem can be had of it by errors.As. Code is empty where somebody else than a forg server has answered.
type Error struct {
	api.Problem
	Act        string        // what was to be done: "push"
	RetryAfter time.Duration // how long to wait at least before the same is tried again, as far as the server has said
}

func (e *Error) Error() string {
	var parts []string
	if e.Detail != "" || len(e.Problem.Errors) == 0 {
		parts = append(parts, cmp.Or(e.Detail, lowerFirst(e.Title)))
	}
	for i, f := range e.Problem.Errors {
		if i == 3 {
			parts = append(parts, "and more")
			break
		}
		parts = append(parts, strings.TrimPrefix(f.Location, "body.")+": "+f.Message)
	}
	text := strings.Join(parts, "; ")
	if e.Code == "" {
		text += fmt.Sprintf(" (%d)", e.Status)
	}
	if e.Status >= 500 && e.Instance != "" {
		text += " (request " + e.Instance + ")"
	}
	return e.Act + ": " + text
}

// Unwrap is the problem as package api has it.
func (e *Error) Unwrap() error { return &e.Problem }

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// asError is errors.AsType for the errors of this package.
func asError(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// Errors of a server that is none, or does not do what it should.
var (
	ErrNoSync  = errors.New("the server does not know forg's sync")
	ErrForeign = errors.New("the answer is not that of a forg server")
	ErrSlow    = errors.New("the server took too long")
)

// ThenOf is what a client does after an error of any function here: what PROTOCOL.md says of problems, and "again" after
// errors of the connection.
func ThenOf(err error) api.Then {
	if e, ok := asError(err); ok {
		return e.Then()
	}
	if errors.Is(err, ErrLoggedOut) || errors.Is(err, ErrNoSync) || errors.Is(err, ErrInsecure) {
		return api.Stop
	}
	return api.Again
}

// The pauses between attempts.
const (
	firstPause = time.Second
	lastPause  = 15 * time.Minute
	maxRetry   = 24 * time.Hour // what a server can ask for
)

// Backoff says how long to wait between attempts: a random time between 0 and 1 s, 2 s, 4 s, ... up to 15 minutes, on top
// of what the server has asked for. Its zero value is ready.
type Backoff struct{ most time.Duration }

// Next is the pause before the next attempt, after one that ended with err.
func (b *Backoff) Next(err error) time.Duration {
	b.most = min(max(2*b.most, firstPause), lastPause)
	var least time.Duration
	if e, ok := asError(err); ok {
		least = e.RetryAfter
		if e.Then() == api.AgainLater {
			b.most, least = lastPause, max(least, lastPause/3)
		}
	}
	return least + rand.N(b.most)
}

// Reset is for when an attempt has gone well.
func (b *Backoff) Reset() { b.most = 0 }

// retryAfter reads the header, which is seconds or a time (RFC 9110, section 10.2.3), and the member of the problem. A
// server can put a client off for a day, not for ever.
func retryAfter(h http.Header, p *api.Problem, now time.Time) time.Duration {
	wait := time.Duration(min(int64(p.RetryAfter), int64(maxRetry/time.Second))) * time.Second
	if text := h.Get("Retry-After"); text != "" {
		if s, err := strconv.ParseInt(text, 10, 64); err == nil {
			wait = max(wait, time.Duration(min(s, int64(maxRetry/time.Second)))*time.Second)
		} else if at, err := http.ParseTime(text); err == nil {
			wait = max(wait, min(at.Sub(now), maxRetry))
		}
	}
	return max(wait, 0)
}

// Trouble is what keeps a client from a server, as far as it can be told; whoever speaks to people has advice for each.
type Trouble uint8

// The troubles.
const (
	OtherTrouble Trouble = iota
	NoSuchHost           // the name of the server means nothing
	NobodyThere          // nothing listens at the address
	NotTrusted           // the certificate is of nobody that is trusted here, or for another name
	NotTLS               // it does not speak TLS
)

// TroubleOf is what is behind an error of the connection.
func TroubleOf(err error) Trouble {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return NoSuchHost
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return NotTrusted
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return NotTLS
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && !op.Timeout() {
		return NobodyThere
	}
	return OtherTrouble
}
