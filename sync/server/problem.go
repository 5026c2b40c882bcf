package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

// problem is an answer that is an error, with the headers that go with it.
type problem struct {
	api.Problem
	header http.Header
}

func (p *problem) GetStatus() int              { return p.Status }
func (p *problem) ContentType(string) string   { return "application/problem+json" }
func (p *problem) GetHeaders() http.Header     { return p.header }
func (p *problem) Error() string               { return p.Problem.Error() }
func newProblem(c api.Code, d string) *problem { return &problem{Problem: *api.NewProblem(c, d)} }

// invalid is a problem with one field.
func invalid(location, message string) *problem {
	p := newProblem(api.CodeInvalid, location+" "+message)
	p.Errors = []api.FieldError{{Location: location, Message: message}}
	return p
}

// tooFast is a problem that goes away by waiting.
func tooFast(code api.Code, wait time.Duration) *problem {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	p := newProblem(code, "try again in "+strconv.Itoa(seconds)+" s")
	p.RetryAfter = seconds
	p.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	return p
}

var codeOf = map[int]api.Code{
	400: api.CodeMalformed, 401: api.CodeUnauthenticated, 402: api.CodeQuota, 403: api.CodeForbidden, 404: api.CodeNotFound,
	405: api.CodeMethod, 408: api.CodeTimeout, 409: api.CodeConflict, 413: api.CodeTooLarge, 415: api.CodeUnsupportedMedia,
	422: api.CodeInvalid, 426: api.CodeProtocol, 429: api.CodeRateLimited, 503: api.CodeUnavailable, 507: api.CodeStorageFull,
}

// useProblems makes huma answer its own errors (a body that does not validate, of the wrong type, too large) with ours.
// Its setting is one for the process, and only a process that serves needs it.
var useProblems = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return humaProblem("", status, message, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		return humaProblem(requestOf(ctx.Context()).id, status, message, errs)
	}
})

func humaProblem(id string, status int, message string, errs []error) *problem {
	for _, err := range errs {
		if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
			p := newProblem(api.CodeTooLarge, "")
			p.MaxBytes, p.Instance = tooLong.Limit, id
			return p
		}
		if errors.Is(err, errInflated) {
			p := newProblem(api.CodeTooLarge, errInflated.Error())
			p.Instance = id
			return p
		}
		if errors.Is(err, errEncoded) {
			status, message, errs = http.StatusBadRequest, errEncoded.Error(), nil
			break
		}
	}
	p := newProblem(cmp.Or(codeOf[status], api.CodeInternal), message)
	if status >= 500 { // what went wrong inside is for the log
		p.Detail = ""
		p.Instance = id
		return p
	}
	if status == http.StatusUnprocessableEntity || status == http.StatusBadRequest {
		for _, err := range errs {
			if d, ok := errors.AsType[*huma.ErrorDetail](err); ok { // without its value, which may be a password
				p.Errors = append(p.Errors, api.FieldError{Location: cmp.Or(d.Location, "body"), Message: d.Message})
			} else if f, ok := errors.AsType[api.FieldError](err); ok {
				p.Errors = append(p.Errors, f)
			} else if err != nil {
				p.Errors = append(p.Errors, api.FieldError{Location: "body", Message: cleanJSON(err)})
			}
		}
	}
	p.Instance = id
	return p
}

// cleanJSON is what a decoder says, without the names of our types.
func cleanJSON(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e.Field + ": cannot be a " + e.Value
	}
	text := err.Error()
	if i := strings.Index(text, "Go "); i > 0 {
		text = strings.TrimSpace(text[:i])
	}
	return text
}

// problemOf is what a client is told of an error. Only errors that are meant for clients say more than that something
// went wrong.
func (s *server) problemOf(ctx context.Context, err error) *problem {
	r := requestOf(ctx)
	p := s.translate(err)
	switch {
	case p.Status < 500 || p.Code == api.CodeBusy:
	case errors.Is(ctx.Err(), context.Canceled): // the client has gone away, and nobody reads the answer
		p = newProblem(api.CodeUnavailable, "")
	default:
		if ctx.Err() != nil {
			p = newProblem(api.CodeUnavailable, "the request took too long")
		}
		s.log.Error("request failed", "request", r.id, "error", err)
	}
	p.Instance = r.id
	return p
}

func (s *server) translate(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return &problem{Problem: *p}
	}
	if f, ok := errors.AsType[api.FieldError](err); ok {
		return invalid(f.Location, f.Message)
	}
	if e, ok := errors.AsType[*api.GapError](err); ok {
		p := newProblem(api.CodeGap, e.Error())
		p.AckedSeq = &e.Acked
		return p
	}
	if e, ok := errors.AsType[*api.ForkError](err); ok {
		p := newProblem(api.CodeFork, e.Error())
		p.Seq = e.Seq
		return p
	}
	if e, ok := errors.AsType[*store.RollbackError](err); ok {
		switch e.Reason {
		case store.RollbackOpen:
			return newProblem(api.CodeCommandOpen, "operation "+e.Other.String()+" is about to take it back")
		case store.DeviceRevoked:
			return newProblem(api.CodeDeviceRevoked, "")
		case store.RolledBack:
			return newProblem(api.CodeNotUndoable, "operation "+e.Other.String()+" has taken it back")
		case store.NothingMoved:
			return newProblem(api.CodeNotUndoable, "it changed nothing")
		}
		return newProblem(api.CodeNotUndoable, "it has not finished")
	}
	if e, ok := errors.AsType[*auth.BusyError](err); ok {
		return tooFast(api.CodeBusy, e.RetryAfter)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p := newProblem(api.CodeTooLarge, "")
		p.MaxBytes = e.Limit
		return p
	}
	var timeout interface{ Timeout() bool }
	for _, k := range []struct {
		err  error
		code api.Code
	}{
		{store.ErrNotFound, api.CodeNotFound}, {store.ErrEmailTaken, api.CodeEmailTaken}, {store.ErrEpochRetired, api.CodeEpochRetired},
		{store.ErrQuota, api.CodeQuota}, {store.ErrCursorExpired, api.CodeCursorExpired}, {store.ErrKeyReused, api.CodeKeyReused},
		{store.ErrRevoked, api.CodeDeviceRevoked}, {store.ErrFinal, api.CodeLeaseLost}, {store.ErrLeaseLost, api.CodeLeaseLost},
		{store.ErrExists, api.CodeConflict}, {errInflated, api.CodeTooLarge}, {errEncoded, api.CodeMalformed},
		{context.DeadlineExceeded, api.CodeUnavailable}, {context.Canceled, api.CodeUnavailable},
	} {
		if errors.Is(err, k.err) {
			return newProblem(k.code, "")
		}
	}
	switch {
	case errors.Is(err, api.ErrCursor):
		return invalid("query.cursor", "is no cursor of this list")
	case errors.As(err, &timeout) && timeout.Timeout():
		return newProblem(api.CodeTimeout, "")
	case store.Away(err):
		return tooFast(api.CodeUnavailable, time.Second)
	case store.Full(err):
		return newProblem(api.CodeStorageFull, "")
	}
	return newProblem(api.CodeInternal, "")
}

// fail answers with a problem.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problemOf(r.Context(), err)
	for k, v := range p.header {
		w.Header()[k] = v
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p *problem) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it holds nothing that JSON cannot
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Encoding")
	w.WriteHeader(p.Status)
	w.Write(append(b, '\n')) // who has gone away needs no answer
}
