// Package simnet is a network that fails on purpose, for tests: it loses requests and answers, delivers them twice or late,
// and cuts answers off.
package simnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Fault is what becomes of one request.
type Fault int

// The faults.
const (
	None       Fault = iota
	Lost             // the request does not arrive
	AnswerLost       // it arrives and is carried out, and its answer is lost
	Twice            // it arrives twice; the second answer is given
	Late             // it is lost for whoever sent it, and arrives later, when Deliver is called
	Cut              // the answer ends in the middle
	Away             // somebody on the way answers 503 instead
	Wrong            // somebody on the way answers with a page of their own
	faults
)

// Faults is how many faults there are.
const Faults = int(faults)

func (f Fault) String() string {
	return [...]string{"none", "lost", "answer lost", "twice", "late", "cut", "away", "wrong"}[f]
}

// ErrLost is what the sender gets of a request or an answer that was lost.
var ErrLost = errors.New("the connection was lost")

// Net is an http.RoundTripper over another one. Decide says what becomes of a request, and at which part (0 to 1) an answer
// is cut; nil is a network without faults.
type Net struct {
	Base   http.RoundTripper
	Decide func(r *http.Request) (f Fault, part float64)

	mu   sync.Mutex
	late []*http.Request
}

// RoundTrip sends a request, or does not.
func (n *Net) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.Decide == nil {
		return n.Base.RoundTrip(r)
	}
	f, part := n.Decide(r)
	var body []byte
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = b
	}
	again := func() *http.Request {
		c := r.Clone(r.Context())
		if r.Body != nil {
			c.Body, c.GetBody = io.NopCloser(bytes.NewReader(body)), nil
		}
		return c
	}
	switch f {
	case Lost:
		return nil, ErrLost
	case Late:
		n.mu.Lock()
		late := again()
		n.late = append(n.late, late.WithContext(context.WithoutCancel(r.Context())))
		n.mu.Unlock()
		return nil, ErrLost
	case Away:
		return answer(r, http.StatusServiceUnavailable, "text/plain", "upstream is not there"), nil
	case Wrong:
		return answer(r, http.StatusOK, "text/html", "<title>Log in to the hotel's network</title>"), nil
	case Twice, AnswerLost:
		res, err := n.Base.RoundTrip(again())
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || f == AnswerLost {
			return nil, errors.Join(ErrLost, err)
		}
		return n.Base.RoundTrip(again())
	case Cut:
		res, err := n.Base.RoundTrip(again())
		if err != nil {
			return nil, err
		}
		all, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(all[:int(part*float64(len(all)))]), lost{}))
		res.ContentLength = -1
		return res, nil
	}
	return n.Base.RoundTrip(again())
}

// lost is a connection that breaks off.
type lost struct{}

func (lost) Read([]byte) (int, error) { return 0, ErrLost }

func answer(r *http.Request, status int, kind, text string) *http.Response {
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: r}
}

// Deliver lets what is late arrive; nobody waits for the answers any more.
func (n *Net) Deliver() {
	n.mu.Lock()
	late := n.late
	n.late = nil
	n.mu.Unlock()
	for _, r := range late {
		res, err := n.Base.RoundTrip(r)
		if err != nil {
			continue // as late as it is, it may as well be lost
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}
