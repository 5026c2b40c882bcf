package server

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/cors"

	"forg/sync/api"
)

// handler is all routes behind what every request goes through.
func (s *server) handler() http.Handler {
	h := http.Handler(http.HandlerFunc(s.dispatch))
	h = compressed(h)
	h = s.inflated(h)
	if len(s.cfg.Origins) > 0 {
		h = cors.New(cors.Options{
			AllowedOrigins: s.cfg.Origins, AllowedMethods: []string{"GET", "POST", "PATCH", "DELETE"},
			AllowedHeaders: []string{"Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key"},
			ExposedHeaders: []string{"Location", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-Id"},
			MaxAge:         600,
		}).Handler(h)
	}
	return s.observed(s.guarded(h))
}

// ofWorkers is what a process answers that only works off jobs.
var ofWorkers = []string{"GET /health", "GET /health/ready", "GET /api/v1/status", "GET /metrics"}

// dispatch is the mux, with its own answers as problems.
func (s *server) dispatch(w http.ResponseWriter, r *http.Request) {
	own, pattern := s.mux.Handler(r)
	if s.cfg.Role == RoleWorker && !slices.Contains(ofWorkers, pattern) {
		s.fail(w, r, newProblem(api.CodeNotFound, "this process only works off jobs"))
		return
	}
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	said := &overheard{header: http.Header{}}
	own.ServeHTTP(said, r)
	if said.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", said.header.Get("Allow"))
		s.fail(w, r, newProblem(api.CodeMethod, ""))
		return
	}
	s.fail(w, r, newProblem(api.CodeNotFound, ""))
}

// overheard is an answer that nobody gets.
type overheard struct {
	header http.Header
	status int
}

func (o *overheard) Header() http.Header         { return o.header }
func (o *overheard) Write(b []byte) (int, error) { return len(b), nil }
func (o *overheard) WriteHeader(status int)      { o.status = status }

// answer notes what was answered.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

func (a *answer) Flush() {
	if f, ok := a.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// observed gives a request its id, and tells the log and the metrics how it went. A panic is a 500 without the reason.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		req := &request{id: requestID(r)}
		req.address, req.local = s.clientOf(r)
		a := &answer{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Request-Id", req.id)
		if s.draining.Load() {
			h.Set("Connection", "close")
		}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.panicked(req.id, p)
				if a.status != 0 {
					panic(http.ErrAbortHandler) // half an answer must not pass for a whole one
				}
				p := newProblem(api.CodeInternal, "")
				p.Instance = req.id
				writeProblem(a, p)
			}
			s.report(r, req, a, time.Since(start))
		}()
		next.ServeHTTP(a, r)
	})
}

func (s *server) panicked(request string, p any) {
	s.metrics.add("forg_panics_total", "", 1)
	s.log.Error("panic", "request", request, "panic", fmt.Sprint(p), "stack", stack())
}

func (s *server) report(r *http.Request, req *request, a *answer, took time.Duration) {
	_, route, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		route = "none"
	}
	method := r.Method
	switch method {
	case "GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT":
	default:
		method = "other" // a label for each word that somebody sends would fill the memory
	}
	s.metrics.add("forg_http_requests_total", `method="`+method+`",route="`+route+`",status="`+strconv.Itoa(a.status)+`"`, 1)
	if a.status != http.StatusSwitchingProtocols {
		s.metrics.observe("forg_http_request_seconds", `route="`+route+`"`, took)
	}
	level := slog.LevelInfo
	if strings.HasPrefix(route, "/health") || route == "/metrics" {
		level = slog.LevelDebug
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("request", req.id), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", a.status),
		slog.Int64("bytes", a.bytes), slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("address", req.address)}
	if req.who != nil {
		attrs = append(attrs, slog.String("user", req.who.user.String()), slog.String("actor", req.who.actor()))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// requestID is the client's own if it may stand in a log, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" {
		return id
	}
	return rand.Text()
}

// clientOf is the address of the client. A proxy of ours adds the address that it sees at the end of X-Forwarded-For, so
// the last address there that is no proxy of ours is the client; what stands before it anybody could have written.
func (s *server) clientOf(r *http.Request) (address string, local bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, false
	}
	ip := at.Addr().Unmap()
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	direct := r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
	for i := len(forwarded) - 1; i >= 0 && s.isProxy(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(forwarded[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap()
	}
	local = ip.IsLoopback() && direct
	if ip.Is6() { // one customer has a whole network of them
		if p, err := ip.Prefix(64); err == nil && !ip.IsLoopback() {
			return p.String(), local
		}
	}
	return ip.String(), local
}

func (s *server) isProxy(ip netip.Addr) bool {
	for _, p := range s.cfg.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// guarded sets the headers that keep browsers from doing something stupid with an answer.
func (s *server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if s.cfg.TLSCert != "" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// compressed answers in zstd or gzip where the client reads that. Answers with secrets in them stay as they are: their
// length could tell of their content. A WebSocket has no body.
func compressed(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.EnableZstd(true), gzhttp.PreferZstd(true))
	if err != nil {
		panic(err) // only wrong options could do that
	}
	small := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/auth/") && r.URL.Path != exportPath || r.Header.Get("Upgrade") != "" {
			next.ServeHTTP(w, r)
			return
		}
		small.ServeHTTP(w, r)
	})
}

// Errors of compressed bodies.
var (
	errInflated = errors.New("the body is too large once it is decompressed")
	errEncoded  = errors.New("the body is not encoded as its Content-Encoding says")
)

var zstdReaders = sync.Pool{New: func() any {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		panic(err) // only wrong options could do that
	}
	return z
}}

// inflated bounds every body, as sent and once it is decompressed.
func (s *server) inflated(next http.Handler) http.Handler {
	l := api.DefaultLimits()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > l.MaxCompressedBytes {
			p := newProblem(api.CodeTooLarge, "")
			p.MaxBytes = l.MaxCompressedBytes
			w.Header().Set("Connection", "close") // what else is coming is not worth reading
			s.fail(w, r, p)
			return
		}
		raw := http.MaxBytesReader(w, r.Body, l.MaxCompressedBytes)
		r.Body = raw
		switch e := strings.ToLower(r.Header.Get("Content-Encoding")); e {
		case "", "identity":
		case "gzip":
			z, err := gzip.NewReader(raw)
			if err != nil {
				s.fail(w, r, readError(err))
				return
			}
			r.Body = &inflating{z, raw, l.MaxDecodedBytes}
			r.ContentLength = -1
		case "zstd":
			z := zstdReaders.Get().(*zstd.Decoder)
			defer zstdReaders.Put(z)
			if err := z.Reset(raw); err != nil {
				s.fail(w, r, readError(err))
				return
			}
			defer z.Reset(nil) // before it goes back: it must not hold on to the request
			r.Body = &inflating{z, raw, l.MaxDecodedBytes}
			r.ContentLength = -1
		default:
			w.Header().Set("Accept-Encoding", "gzip, zstd")
			s.fail(w, r, newProblem(api.CodeUnsupportedMedia, "the Content-Encoding may be gzip or zstd"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readError tells a body that is wrong from one that is too slow or too long.
func readError(err error) error {
	var timeout interface{ Timeout() bool }
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, io.EOF) && err == io.EOF {
		return err
	}
	return fmt.Errorf("%w: %w", errEncoded, err)
}

type inflating struct {
	from io.Reader
	raw  io.Closer
	left int64
}

func (i *inflating) Read(b []byte) (int, error) {
	if i.left < 0 {
		return 0, errInflated
	}
	if int64(len(b)) > i.left+1 {
		b = b[:i.left+1]
	}
	n, err := i.from.Read(b)
	if i.left -= int64(n); i.left < 0 {
		return n, errInflated
	}
	if err != nil && err != io.EOF {
		err = readError(err)
	}
	return n, err
}

func (i *inflating) Close() error { return i.raw.Close() }
