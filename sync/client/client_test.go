package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"forg/sync/api"
)

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"forg.example.org":              "https://forg.example.org",
		" https://Forg.Example.org/ ":   "https://forg.example.org",
		"https://forg.example.org:443":  "https://forg.example.org",
		"https://forg.example.org:8443": "https://forg.example.org:8443",
		"http://127.0.0.1:8480/":        "http://127.0.0.1:8480",
		"http://localhost:80":           "http://localhost",
		"https://[::1]:443/x/":          "https://[::1]/x",
		"forg.example.org:8480/forg//":  "https://forg.example.org:8480/forg",
	} {
		got, err := Normalize(in)
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
		if again, err := Normalize(got); err != nil || again != got {
			t.Errorf("%q is normal but becomes %q %v", got, again, err)
		}
	}
	for _, in := range []string{"", "  ", "ftp://example.org", "https://", "https://ana:geheim@example.org", "https://example.org/?x=1",
		"https://example.org/#x", "http://[::1", "https:example.org", "https://%zz"} {
		_, err := Normalize(in)
		if err == nil {
			t.Errorf("%q is taken for an address", in)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
}

// TestInsecure keeps tokens from networks in the clear.
func TestInsecure(t *testing.T) {
	for server, ok := range map[string]bool{
		"http://127.0.0.1:8480": true, "http://127.8.8.8": true, "http://[::1]:1": true, "http://localhost": true, "http://a.localhost": true,
		"http://[::ffff:127.0.0.1]": true,
		"http://example.org":        false, "http://10.0.0.1": false, "http://localhost.example.org": false,
		"http://127.0.0.1.example.org": false, "http://2130706433": false,
		"https://example.org": true,
	} {
		_, err := New(Options{Server: server})
		if ok != (err == nil) || !ok && !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: %v", server, err)
		}
		if _, err := New(Options{Server: server, InsecureHTTP: true}); err != nil {
			t.Errorf("%s though it was allowed: %v", server, err)
		}
	}
}

// answering is a server with one answer, and what it was asked.
type answering struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
	body  [][]byte
}

func answer(t *testing.T, f func(w http.ResponseWriter, r *http.Request, n int)) *answering {
	t.Helper()
	a := &answering{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		a.asked, a.body = append(a.asked, r), append(a.body, b)
		n := len(a.asked)
		a.mu.Unlock()
		f(w, r, n)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *answering) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(Options{Server: a.URL, Tokens: APIKey("secret"), UserAgent: "forg/test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sayJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	if p, ok := v.(*api.Problem); ok {
		w.Header().Set("Content-Type", "application/problem+json")
		status = p.Status
	}
	w.WriteHeader(status)
	w.Write(b)
}

// TestProblems has every code come back as what PROTOCOL.md says of it, with all that belongs to it.
func TestProblems(t *testing.T) {
	acked := int64(41)
	for _, p := range []*api.Problem{
		api.NewProblem(api.CodeFork, "x"), api.NewProblem(api.CodeGap, ""), api.NewProblem(api.CodeStorageFull, ""), api.NewProblem(api.CodeDeviceRevoked, ""),
		api.NewProblem(api.CodeQuota, "256 MB are used"),
	} {
		p.AckedSeq, p.Seq, p.Instance = &acked, 7, "req1"
		a := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { sayJSON(w, 0, p) })
		_, err := a.client(t).Push(t.Context(), &api.PushRequest{})
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*p, e.Problem); diff != "" {
			t.Error(diff)
		}
		if inner, ok := errors.AsType[*api.Problem](err); !ok || inner.Code != p.Code || ThenOf(err) != p.Then() {
			t.Errorf("%v is not known again as %s", err, p.Code)
		}
	}
	// What is no problem document is told by its status, whoever has sent it.
	for status, want := range map[int]api.Then{400: api.Stop, 401: api.Stop, 407: api.Stop, 429: api.Again, 500: api.Again, 502: api.Again, 504: api.Again} {
		a := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<h1>proxy</h1>")
		})
		_, err := a.client(t).Me(t.Context())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != status || e.Code != "" || e.Then() != want || len(a.asked) != 1 {
			t.Errorf("%d: %v %+v after %d requests", status, err, e, len(a.asked))
		}
	}
	// The status line counts more than what the body says of it, and a code may stand in the type alone.
	a := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		w.WriteHeader(503)
		io.WriteString(w, `{"type":"urn:forg:problem:busy","status":200}`)
	})
	_, err := a.client(t).Me(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 || e.Code != api.CodeBusy {
		t.Errorf("%v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-5": 0, "nonsense": 0, "99999999999": maxRetry, "99999999999999999999999": 0, "Sat, 01 Aug 2026 12:00:10 GMT": 10 * time.Second,
		"Sat, 01 Aug 2026 11:00:10 GMT": 0, "Sat, 01 Aug 2099 11:00:10 GMT": maxRetry,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, &api.Problem{}, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := retryAfter(http.Header{"Retry-After": {"3"}}, &api.Problem{RetryAfter: 9}, now); got != 9*time.Second {
		t.Error(got)
	}
	if got := retryAfter(http.Header{}, &api.Problem{RetryAfter: -9}, now); got != 0 {
		t.Error(got)
	}
}

// TestBackoff: the pauses are random, grow to a quarter of an hour, and are never shorter than the server has asked for.
func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Backoff
		most := time.Second
		for range rapid.IntRange(1, 30).Draw(t, "attempts") {
			least := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "retry after"))
			code := rapid.SampledFrom([]api.Code{"", api.CodeBusy, api.CodeInternal}).Draw(t, "code")
			var err error = &Error{Problem: api.Problem{Code: code}, RetryAfter: least}
			if rapid.Bool().Draw(t, "connection") {
				err, least = io.ErrUnexpectedEOF, 0
			}
			got := b.Next(err)
			if got < least || got >= least+most {
				t.Fatalf("%s, want %s to %s more", got, least, most)
			}
			if most = min(2*most, 15*time.Minute); rapid.IntRange(0, 9).Draw(t, "went well") == 0 {
				b.Reset()
				most = time.Second
			}
		}
	})
	var b Backoff
	if got := b.Next(&Error{Problem: api.Problem{Code: api.CodeStorageFull}}); got < 5*time.Minute {
		t.Errorf("a server whose storage is full is asked again after %s", got)
	}
}

// TestRedirects: credentials go to the server that they are for, and nowhere else.
func TestRedirects(t *testing.T) {
	thief := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { sayJSON(w, 200, api.User{Email: "thief"}) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(w, r, thief.URL+"/api/v1/auth/me", status)
		})
		_, err := a.client(t).Me(t.Context())
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), thief.URL) || ThenOf(err) != api.Again {
			t.Errorf("%d: %v", status, err)
		}
	}
	if len(thief.asked) != 0 {
		t.Error("a redirect was followed")
	}
}

// TestCredentials: they are in the header, of requests that need them.
func TestCredentials(t *testing.T) {
	a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) { sayJSON(w, 200, map[string]any{}) })
	c := a.client(t)
	ctx := t.Context()
	_, _ = c.Login(ctx, api.LoginRequest{Email: "e", Password: "geheim"})
	_, _ = c.Signup(ctx, api.SignupRequest{Password: "geheim"})
	_, _ = c.Refresh(ctx, "rt_geheim")
	_, _ = c.Capabilities(ctx)
	for _, r := range a.asked {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Content-Encoding") != "" || strings.Contains(r.URL.String(), "geheim") {
			t.Errorf("%s %s has %v", r.Method, r.URL, r.Header)
		}
	}
	a.asked = nil
	_, _ = c.Me(ctx)
	_, _ = c.Devices(ctx)
	if len(a.asked) != 2 || a.asked[0].Header.Get("Authorization") != "Bearer secret" || a.asked[0].Header.Get("User-Agent") != "forg/test" {
		t.Errorf("%d %v", len(a.asked), a.asked[0].Header)
	}
	bare, err := New(Options{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Me(ctx); !errors.Is(err, ErrLoggedOut) {
		t.Error(err)
	}
}

// renewing is a TokenSource that counts.
type renewing struct{ n, most int }

func (r *renewing) Token(context.Context) (string, error) { return fmt.Sprint("token", r.n), nil }

func (r *renewing) Renew(_ context.Context, refused string) (string, error) {
	if refused != fmt.Sprint("token", r.n) {
		return "", fmt.Errorf("%s was never given", refused)
	}
	if r.n == r.most {
		return "", ErrLoggedOut
	}
	r.n++
	return fmt.Sprint("token", r.n), nil
}

// TestUnauthenticated: refresh once, then stop.
func TestUnauthenticated(t *testing.T) {
	for name, c := range map[string]struct {
		good          string
		most          int
		requests      int
		ok, loggedOut bool
	}{
		"the first is good":   {"Bearer token0", 9, 1, true, false},
		"the second is":       {"Bearer token1", 9, 2, true, false},
		"only the third is":   {"Bearer token2", 9, 2, false, false},
		"there is no second":  {"Bearer token1", 0, 1, false, true},
		"none will ever help": {"", 9, 2, false, false},
	} {
		a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			if r.Header.Get("Authorization") != c.good {
				sayJSON(w, 0, api.NewProblem(api.CodeUnauthenticated, "expired"))
				return
			}
			sayJSON(w, 200, api.User{Email: "e"})
		})
		u, err := a.client(t).With(&renewing{most: c.most}).Me(t.Context())
		if (err == nil) != c.ok || c.ok && u.Email != "e" || err != nil && ThenOf(err) != api.Stop ||
			errors.Is(err, ErrLoggedOut) != c.loggedOut || len(a.asked) != c.requests {
			t.Errorf("%s: %v after %d requests", name, err, len(a.asked))
		}
	}
}

// TestPushEncodings: a push is compressed as well as the server can read it, and the same goes on.
func TestPushEncodings(t *testing.T) {
	big := &api.PushRequest{Protocol: api.Protocol, Entries: []api.Entry{{Seq: 1, Kind: "op.started", Body: bytes.Repeat([]byte("compressible "), 10000)}}}
	for _, can := range []string{"zstd", "gzip", ""} {
		a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			if e := r.Header.Get("Content-Encoding"); e != can && (can == "" || e == "zstd") {
				sayJSON(w, 0, api.NewProblem(api.CodeUnsupportedMedia, ""))
				return
			}
			sayJSON(w, 200, api.PushResponse{AckedSeq: 1})
		})
		c := a.client(t)
		for range 2 {
			if got, err := c.Push(t.Context(), big); err != nil || got.AckedSeq != 1 {
				t.Fatalf("a server that reads %q: %v", can, err)
			}
		}
		want := map[string]int{"zstd": 2, "gzip": 3, "": 4}[can]
		if len(a.asked) != want {
			t.Errorf("a server that reads %q was asked %d times, want %d", can, len(a.asked), want)
		}
		var got api.PushRequest
		body := a.body[len(a.body)-1]
		switch can {
		case "zstd":
			d, err := zstd.NewReader(nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err = d.DecodeAll(body, nil); err != nil {
				t.Fatal(err)
			}
		case "gzip":
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if err := json.Unmarshal(body, &got); err != nil || len(got.Entries) != 1 || !bytes.Equal(got.Entries[0].Body, big.Entries[0].Body) {
			t.Errorf("%q: the push came otherwise than it was sent: %v", can, err)
		}
	}
	// A server that does not take JSON either is asked no more often than there are encodings.
	a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		sayJSON(w, 0, api.NewProblem(api.CodeUnsupportedMedia, ""))
	})
	if _, err := a.client(t).Push(t.Context(), big); ThenOf(err) != api.Uncompressed || len(a.asked) != 3 {
		t.Errorf("%v after %d", err, len(a.asked))
	}
	// What capabilities say is believed.
	a = answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.Method == "GET" {
			sayJSON(w, 200, api.Capabilities{Features: []string{"gzip"}})
			return
		}
		sayJSON(w, 200, api.PushResponse{})
	})
	c := a.client(t)
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Push(t.Context(), big); err != nil || a.asked[1].Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%v %v", err, a.asked[1].Header)
	}
}

// TestAnswers: nothing that a server sends makes a client read or hold without end, or believe what is no answer.
func TestAnswers(t *testing.T) {
	many := strings.Repeat(" ", 4<<20)
	zip := func(s string) []byte {
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll([]byte(s), nil)
	}
	for name, f := range map[string]func(w http.ResponseWriter){
		"a page":  func(w http.ResponseWriter) { io.WriteString(w, "<html>log in to the hotel") },
		"no type": func(w http.ResponseWriter) { w.Header()["Content-Type"] = nil; io.WriteString(w, "{}") },
		"no JSON": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, "{")
		},
		"another form": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"email":1}`)
		},
		"too much": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, many+"{}")
		},
		"an odd encoding": func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "br"); sayJSON(w, 200, api.User{}) },
		"a bomb": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "zstd")
			w.Write(zip(many + "{}"))
		},
	} {
		a := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { f(w) })
		_, err := a.client(t).Me(t.Context())
		if !errors.Is(err, ErrForeign) || ThenOf(err) != api.Again {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "zstd")
		w.Write(zip(`{"email":"e"}`))
	})
	if u, err := a.client(t).Me(t.Context()); err != nil || u.Email != "e" {
		t.Errorf("%v %v", u, err)
	}
	// A list that never ends does end.
	cursor := "x"
	a = answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		sayJSON(w, 200, api.Page[api.Device]{NextCursor: &cursor})
	})
	if _, err := a.client(t).Devices(t.Context()); err == nil || len(a.asked) != maxPages {
		t.Errorf("%v after %d", err, len(a.asked))
	}
	// A server of something else has no sync.
	a = answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(404) })
	if _, err := a.client(t).Capabilities(t.Context()); !errors.Is(err, ErrNoSync) || ThenOf(err) != api.Stop {
		t.Error(err)
	}
}

var device, epoch = uuid.MustParse("0198c0de-0000-4000-8000-00000000d001"), uuid.MustParse("0198c0de-0000-4000-8000-00000000e001")

func pulled(t testing.TB, n int) []api.PullEntry {
	t.Helper()
	var out []api.PullEntry
	for i := range n {
		e, err := api.NewEntry(int64(i+1), uuid.Must(uuid.NewV7()), uuid.Nil, 1, &api.DeviceRenamed{Name: fmt.Sprint("name ", i)})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, api.PullEntry{ServerSeq: int64(i + 1), DeviceID: device, Epoch: epoch, ReceivedAt: time.Unix(1, 0).UTC(), Entry: e})
	}
	return out
}

// TestPull: entries come in order, and wherever the answer is cut off, what came is good.
func TestPull(t *testing.T) {
	all := pulled(t, 20)
	var whole bytes.Buffer
	for i := range all {
		if err := api.WritePull(&whole, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.WritePull(&whole, &api.PullEnd{Next: 20, Head: 25}); err != nil {
		t.Fatal(err)
	}
	text := whole.Bytes()
	a := answer(t, nil)
	var cut int
	var abort bool
	a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(200)
		w.Write(text[:cut])
		if abort {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	c := a.client(t)
	rapid.Check(t, func(t *rapid.T) {
		cut, abort = rapid.IntRange(0, len(text)).Draw(t, "cut"), rapid.Bool().Draw(t, "abort")
		var got []api.PullEntry
		end, err := c.Pull(context.Background(), PullQuery{Device: device}, func(e api.PullEntry) error {
			got = append(got, e)
			return nil
		})
		if cut < len(text) {
			if !errors.Is(err, api.ErrCut) || ThenOf(err) != api.Again {
				t.Fatalf("an answer cut after %d of %d bytes: %v", cut, len(text), err)
			}
		} else if err != nil || end.Next != 20 || end.Head != 25 || len(got) != 20 {
			t.Fatalf("%v %v, %d entries", end, err, len(got))
		}
		if diff := cmp.Diff(append([]api.PullEntry{}, all[:len(got)]...), append([]api.PullEntry{}, got...)); diff != "" {
			t.Fatal(diff)
		}
	})
	cut, abort = len(text), false
	mine := errors.New("my disk is full")
	n := 0
	_, err := c.Pull(t.Context(), PullQuery{Device: device}, func(api.PullEntry) error {
		if n++; n == 3 {
			return mine
		}
		return nil
	})
	if err != mine || n != 3 {
		t.Errorf("%v after %d", err, n)
	}
}

func TestPullQuery(t *testing.T) {
	a := answer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, `{"next":7,"head":7}`+"\n")
	})
	c := a.client(t)
	_, err := c.Pull(t.Context(), PullQuery{After: 7, Limit: 5, Wait: 90 * time.Second, Own: true, Device: device}, func(api.PullEntry) error { return nil })
	if got := a.asked[0].URL.RawQuery; err != nil || got != "after=7&device_id="+device.String()+"&limit=5&own=true&wait=30" {
		t.Errorf("%s %v", got, err)
	}
	_, err = c.Pull(t.Context(), PullQuery{Wait: 900 * time.Millisecond}, func(api.PullEntry) error { return nil })
	if got := a.asked[1].URL.RawQuery; err != nil || got != "after=0" {
		t.Errorf("%s %v", got, err)
	}
}

// slow is a transport without a network, on which the clock of a test can run.
type slow struct {
	head  time.Duration // until the answer begins
	pause time.Duration // before each of its lines
	lines []string
	kind  string
}

func (s *slow) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.head):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {s.kind}}, Body: &slowBody{ctx: r.Context(), slow: *s}, Request: r}, nil
}

type slowBody struct {
	ctx context.Context
	slow
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.lines) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(b.pause):
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	n := copy(p, b.lines[0])
	b.lines = b.lines[1:]
	return n, nil
}

func (b *slowBody) Close() error { return nil }

// TestSlow: a server may be slow, but not for ever; whoever is slow himself is not the server.
func TestSlow(t *testing.T) {
	var lines []string
	for _, e := range pulled(t, 4) {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b)+"\n")
	}
	lines = append(lines, `{"next":4,"head":4}`+"\n")
	for name, c := range map[string]struct {
		slow
		wait, own time.Duration
		cancel    time.Duration
		want      error
		entries   int
		took      time.Duration
	}{
		"quick":                         {slow{}, 0, 0, 0, nil, 4, 0},
		"steady":                        {slow{pause: 14 * time.Second}, 0, 0, 0, nil, 4, 5 * 14 * time.Second},
		"stalls":                        {slow{pause: 16 * time.Second}, 0, 0, 0, ErrSlow, 0, 15 * time.Second},
		"begins late":                   {slow{head: 29 * time.Second}, 0, 0, 0, nil, 4, 29 * time.Second},
		"never begins":                  {slow{head: time.Hour}, 0, 0, 0, ErrSlow, 0, 30 * time.Second},
		"waits as it was asked to":      {slow{head: 30 * time.Second, pause: 40 * time.Second}, 30 * time.Second, 0, 0, nil, 4, 230 * time.Second},
		"waits longer":                  {slow{head: 61 * time.Second}, 30 * time.Second, 0, 0, ErrSlow, 0, 60 * time.Second},
		"the reader is slow":            {slow{pause: time.Second}, 0, time.Hour, 0, nil, 4, 4*time.Hour + 5*time.Second},
		"nobody wants to know any more": {slow{pause: 10 * time.Second}, 0, 0, 25 * time.Second, context.Canceled, 2, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := c.slow
				s.lines, s.kind = lines, "application/x-ndjson"
				cl, err := New(Options{Server: "https://example.org", Tokens: APIKey("k"), Transport: &s})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				start, n := time.Now(), 0
				_, err = cl.Pull(ctx, PullQuery{Wait: c.wait}, func(api.PullEntry) error {
					n++
					time.Sleep(c.own)
					return nil
				})
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || n != c.entries || time.Since(start) != c.took {
					t.Errorf("%v after %s with %d entries, want %v after %s with %d", err, time.Since(start), n, c.want, c.took, c.entries)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &slow{pause: 29 * time.Second, kind: "application/json", lines: []string{`{"email":`, `"e"}`}}
		cl, err := New(Options{Server: "https://example.org", Tokens: APIKey("k"), Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.Me(t.Context()); !errors.Is(err, ErrSlow) || ThenOf(err) != api.Again {
			t.Error(err) // an answer that drips has a limit as a whole
		}
	})
}

// TestCAFile: a server with a certificate of an authority of one's own is trusted once that is given, and only then.
func TestCAFile(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sayJSON(w, 200, api.User{Email: "e"}) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of who does not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	ask := func(server, file string) error {
		c, err := New(Options{Server: server, Tokens: APIKey("k"), CAFile: file})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Me(t.Context())
		return err
	}
	if err := ask(s.URL, ""); err == nil || TroubleOf(err) != NotTrusted {
		t.Errorf("without the authority: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := ask(s.URL, file); err == nil {
		t.Error("a file that does not exist is no error")
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ask(s.URL, file); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, certificatePEM(s.Certificate().Raw), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ask(s.URL, file); err != nil {
		t.Error(err)
	}
	if err := ask(strings.Replace(s.URL, "127.0.0.1", "localhost", 1), file); err == nil || TroubleOf(err) != NotTrusted {
		t.Errorf("a certificate for another name: %v", err)
	}
	plain := answer(t, func(w http.ResponseWriter, _ *http.Request, _ int) { sayJSON(w, 200, api.User{}) })
	if err := ask(strings.Replace(plain.URL, "http:", "https:", 1), ""); err == nil || TroubleOf(err) != NotTLS {
		t.Errorf("HTTPS to a server without: %v", err)
	}
	plain.Close()
	if err := ask(plain.URL, ""); err == nil || TroubleOf(err) != NobodyThere || ThenOf(err) != api.Again {
		t.Errorf("a server that is away: %v", err)
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestProxy: requests to other machines go through the proxy of the environment; a child of this test has one.
func TestProxy(t *testing.T) {
	var asked []string
	var mu sync.Mutex
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.Host)
		mu.Unlock()
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	out, err := child("proxy", "HTTPS_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff([]string{"CONNECT forg.invalid:443"}, asked); diff != "" {
		t.Errorf("the proxy was asked otherwise: %s\n%s", diff, out)
	}
}

// TestInTheClear: what goes to this machine in the clear goes to no proxy, and to no other machine that its name resolves to.
func TestInTheClear(t *testing.T) {
	for server, want := range map[string]bool{"http://forg.localhost:8480": true, "http://127.0.0.1:8480": true, "https://forg.example.org": false} {
		c, err := New(Options{Server: server})
		if err != nil {
			t.Fatal(err)
		}
		if alone := c.http.Transport.(*http.Transport).Proxy == nil; alone != want {
			t.Errorf("%s goes past the proxy: %v", server, alone)
		}
	}
	for address, want := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "192.0.2.1:80": false, "[2001:db8::1]:80": false} {
		if err := onlyHere("tcp", address, nil); (err == nil) != want || err != nil && !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestListWithoutEnd: a list that goes on and on does not fill the memory.
func TestListWithoutEnd(t *testing.T) {
	asked := 0
	page := fmt.Sprintf(`{"items":[{"name":%q}],"next_cursor":"more"}`, strings.Repeat("x", 10<<20))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked > 20 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, page)
	}))
	defer s.Close()
	c, err := New(Options{Server: s.URL, Tokens: APIKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Devices(t.Context()); err == nil || asked > 8 {
		t.Errorf("after %d pages: %v", asked, err)
	}
}
