package client

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"forg/sync/api"
)

// How much of an answer is read, in bytes once decompressed.
const (
	answerBytes  = 1 << 20
	listBytes    = 64 << 20
	problemBytes = 64 << 10
)

// call is one request and what is to be made of its answer.
type call struct {
	what     string // "push", as errors say it
	method   string
	path     string
	query    url.Values
	in       any           // JSON; nil is no body
	out      any           // nil: nothing is read
	open     bool          // needs no credentials, and must not show any
	compress bool          // the body is large, and no secret is in it
	twice    bool          // sent twice it does what it does once
	once     uuid.UUID     // Idempotency-Key
	time     time.Duration // for all of it; requestTime if 0
	most     int64         // bytes of the answer; answerBytes if 0
	size     int64         // of the answer, once it was read
	accept   string        // application/json if empty
}

// ask sends a request and reads its answer to the end.
func (c *Client) ask(ctx context.Context, q *call) error {
	return c.send(ctx, q, func(r *http.Response, body io.Reader) error {
		if q.out == nil {
			return nil
		}
		most := cmp.Or(q.most, answerBytes)
		b, err := io.ReadAll(io.LimitReader(body, most+1))
		if err != nil {
			return err
		}
		if int64(len(b)) > most {
			return fmt.Errorf("%w: it has more than %d bytes", ErrForeign, most)
		}
		q.size = int64(len(b))
		if err := json.Unmarshal(b, q.out); err != nil {
			return fmt.Errorf("%w: %w", ErrForeign, err)
		}
		return nil
	})
}

// send sends a request, with other credentials or less compression if the server wants that, and gives a good answer to
// read. A limit of time holds for each attempt, not for what else is done to get credentials.
func (c *Client) send(ctx context.Context, q *call, read func(*http.Response, io.Reader) error) error {
	var token string
	if !q.open {
		if c.tokens == nil {
			return fmt.Errorf("%s: %w", q.what, ErrLoggedOut)
		}
		var err error
		if token, err = c.tokens.Token(ctx); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
	}
	raw, err := json.Marshal(q.in)
	if err != nil {
		return fmt.Errorf("%s: %w", q.what, err)
	}
	renewed := false
	for {
		level := c.plain.Load()
		err := c.attempt(ctx, q, raw, token, int(level), read)
		e, ok := asError(err)
		switch {
		case ok && e.Code == api.CodeUnauthenticated && !q.open && !renewed:
			renewed = true
			fresh, rerr := c.tokens.Renew(ctx, token)
			if rerr != nil {
				return fmt.Errorf("%s: %w", q.what, rerr)
			}
			token = fresh
			continue
		case ok && e.Code == api.CodeUnsupportedMedia && q.compress && int(level) < len(encodings)-1:
			c.plain.CompareAndSwap(level, level+1)
			continue
		}
		return err
	}
}

// encodings are those of a push, the best first. Client.plain is the number of the first one that this server takes.
var encodings = []string{"zstd", "gzip", ""}

// learn is told what the server can.
func (c *Client) learn(caps *api.Capabilities) {
	c.maxWait.Store(int64(caps.Limits.MaxWaitSeconds))
	for i, e := range encodings {
		if e == "" || slices.Contains(caps.Features, e) {
			c.plain.Store(int32(i))
			return
		}
	}
}

var compressor = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // only wrong options could do that
	}
	return e
})

func encode(raw []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "zstd":
		return compressor().EncodeAll(raw, make([]byte, 0, len(raw)/2)), nil
	case "gzip":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(raw); err != nil {
			return nil, err
		}
		err := z.Close() // writes what is left
		return b.Bytes(), err
	}
	return raw, nil
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, q *call, raw []byte, token string, level int, read func(*http.Response, io.Reader) error) error {
	fail := func(err error) error {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // it repeats method and address
		}
		return fmt.Errorf("%s at %s: %w", q.what, c.base.Host, err)
	}
	watched, dog := watch(ctx, cmp.Or(q.time, requestTime))
	defer dog.end()
	req, err := c.request(watched, q, raw, token, level)
	if err != nil {
		return fail(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fail(dog.why(err))
	}
	defer res.Body.Close()
	body, err := inflated(res)
	if err != nil {
		return fail(err)
	}
	defer body.Close()
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return fail(fmt.Errorf("%w: it redirects to %s", ErrForeign, redirected(res)))
	case res.StatusCode < 200 || res.StatusCode >= 300:
		return c.problem(q, res, body)
	}
	if q.out != nil || q.accept != "" {
		want := cmp.Or(q.accept, "application/json")
		if got, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || got != want {
			return fail(fmt.Errorf("%w: it is %q, not %s", ErrForeign, res.Header.Get("Content-Type"), want))
		}
	}
	if q.accept != "" { // a stream takes as long as it goes on
		err = read(res, dog.reader(body, stallTime+q.time-requestTime))
	} else {
		err = read(res, body)
	}
	if err != nil {
		if own, ok := errors.AsType[*callerError](err); ok {
			return own.err
		}
		return fail(dog.why(err))
	}
	// What is left over is little; once it is read the connection can be used again.
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	return nil
}

// callerError is an error of the function that a stream is read with, which is none of the connection.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }

func (c *Client) request(ctx context.Context, q *call, raw []byte, token string, level int) (*http.Request, error) {
	u := *c.base
	u.Path += q.path
	u.RawQuery = q.query.Encode()
	var body io.Reader
	encoding := ""
	if q.in != nil {
		if q.compress {
			encoding = encodings[level]
		}
		b, err := encode(raw, encoding)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set("User-Agent", c.agent)
	h.Set("Accept", cmp.Or(q.accept, "application/json")+", application/problem+json")
	h.Set("Accept-Encoding", "zstd, gzip")
	if q.in != nil {
		h.Set("Content-Type", "application/json")
	}
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if q.once != uuid.Nil {
		h.Set("Idempotency-Key", q.once.String())
	} else if q.twice {
		h["X-Idempotency-Key"] = nil // is not sent; it lets net/http try another connection when one turns out to be dead
	}
	return req, nil
}

func redirected(r *http.Response) string {
	u, err := r.Location()
	if err != nil {
		return "nowhere"
	}
	return u.Scheme + "://" + u.Host
}

// inflated is the body of an answer without its Content-Encoding, in bounded memory.
func inflated(r *http.Response) (io.ReadCloser, error) {
	switch e := strings.ToLower(r.Header.Get("Content-Encoding")); e {
	case "", "identity":
		return io.NopCloser(r.Body), nil
	case "gzip":
		return &lateGzip{r: r.Body}, nil
	case "zstd":
		z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	default:
		return nil, fmt.Errorf("%w: it is encoded as %q", ErrForeign, e)
	}
}

// lateGzip reads the header of a gzip stream when somebody reads, as zstd does: an empty body has none.
type lateGzip struct {
	r io.Reader
	z *gzip.Reader
}

func (g *lateGzip) Read(b []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.r)
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(b)
}

func (g *lateGzip) Close() error { return nil }

// problem makes an error of an answer that is one. Whoever has answered, the status is that of HTTP.
func (c *Client) problem(q *call, r *http.Response, body io.Reader) error {
	e := &Error{Act: q.what}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && t == "application/problem+json" {
		b, err := io.ReadAll(io.LimitReader(body, problemBytes))
		if err != nil || json.Unmarshal(b, &e.Problem) != nil {
			e.Problem = api.Problem{}
		}
		if e.Code == "" {
			e.Code = api.Code(strings.TrimPrefix(e.Type, "urn:forg:problem:"))
		}
	}
	e.Status = r.StatusCode
	if e.Title == "" {
		e.Title = cmp.Or(http.StatusText(r.StatusCode), "an answer that means nothing")
	}
	e.RetryAfter = retryAfter(r.Header, &e.Problem, time.Now())
	return e
}

// watchdog ends a request that takes too long.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *watchdog) {
	d := &watchdog{limit: limit}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	d.timer = time.AfterFunc(limit, func() { d.cancel(ErrSlow) })
	return d.ctx, d
}

func (d *watchdog) end() {
	d.timer.Stop()
	d.cancel(context.Canceled)
}

// why is the error of a request: that it took too long, or that its caller gave up, where that is what has ended it.
func (d *watchdog) why(err error) error {
	cause := context.Cause(d.ctx)
	if cause == nil {
		return err
	}
	if errors.Is(cause, ErrSlow) {
		cause = fmt.Errorf("%w: nothing came for %s", ErrSlow, d.limit)
	}
	if errors.Is(err, api.ErrCut) {
		return fmt.Errorf("%w: %w", api.ErrCut, cause)
	}
	return cause
}

// reader lets each read take as long as limit, and the time between reads is the reader's own.
func (d *watchdog) reader(r io.Reader, limit time.Duration) io.Reader {
	d.timer.Stop()
	d.limit = limit
	return &patient{d, r}
}

type patient struct {
	*watchdog
	r io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	p.timer.Reset(p.limit)
	defer p.timer.Stop()
	return p.r.Read(b)
}

// PullQuery is what to pull.
type PullQuery struct {
	After  int64         // server_seq of the last entry that is had; 0 is the beginning
	Limit  int           // entries at most; the server's own limit if 0
	Wait   time.Duration // how long the server may wait while there is nothing, in whole seconds
	Own    bool          // the device's own entries too
	Device uuid.UUID     // who asks
}

// Pull gives each entry to f, checked by itself, in the order of server_seq, and then where to go on. An answer that was
// cut off is api.ErrCut, and what has come is good. Other errors: of f, as they are; *Error; of the connection; and of an
// entry that is wrong.
func (c *Client) Pull(ctx context.Context, p PullQuery, f func(api.PullEntry) error) (api.PullEnd, error) {
	q, wait := c.waiting(ofDevice(p.Device), p.Wait)
	q.Set("after", fmt.Sprint(p.After))
	if p.Limit > 0 {
		q.Set("limit", fmt.Sprint(p.Limit))
	}
	if p.Own {
		q.Set("own", "true")
	}
	limits := api.DefaultLimits()
	limits.MaxBodyBytes = 16 << 20 // what any server may ever have taken
	var end api.PullEnd
	ask := &call{what: "pull", method: "GET", path: "/api/v1/sync/pull", query: q, accept: "application/x-ndjson", time: requestTime + wait}
	err := c.send(ctx, ask,
		func(_ *http.Response, body io.Reader) error {
			r := api.NewPullReader(&cutReader{body}, p.After, limits)
			for {
				e, err := r.Next()
				if errors.Is(err, io.EOF) {
					end, _ = r.End()
					return nil
				}
				if err != nil {
					return err
				}
				if err := f(*e); err != nil {
					return &callerError{err}
				}
			}
		})
	return end, err
}

// cutReader makes api.ErrCut of a connection that breaks off: what has come is good all the same.
type cutReader struct{ r io.Reader }

func (c *cutReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", api.ErrCut, err)
	}
	return n, err
}

// Export writes everything that the server keeps of the account to w: lines of JSON. An answer that was cut off is
// api.ErrCut; other errors are those of w and of the connection.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	return c.send(ctx, &call{what: "export", method: "GET", path: "/api/v1/auth/me/export", accept: "application/x-ndjson", time: requestTime},
		func(_ *http.Response, body io.Reader) error {
			var tail []byte // of what has come: the last line says that it is the last
			b := make([]byte, 64<<10)
			for {
				n, err := (&cutReader{body}).Read(b)
				if _, werr := w.Write(b[:n]); werr != nil {
					return &callerError{werr}
				}
				if tail = append(tail, b[:n]...); len(tail) > 256 {
					tail = append(tail[:0], tail[len(tail)-256:]...)
				}
				switch {
				case err == io.EOF:
					lines := bytes.Split(bytes.TrimSpace(tail), []byte("\n"))
					var last struct {
						Type string `json:"type"`
					}
					if json.Unmarshal(lines[len(lines)-1], &last) != nil || last.Type != "end" {
						return api.ErrCut
					}
					return nil
				case err != nil:
					return err
				}
			}
		})
}
