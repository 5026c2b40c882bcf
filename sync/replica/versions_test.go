package replica_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
)

// capture writes a session of today's client and server as the next version of testdata/sync/session-N.json. Those that are
// there are frozen: they are what clients and servers of that age say.
var capture = flag.Int("capture", 0, "the `number` of the session to write")

// exchange is one request and its answer, as they were on the wire.
type exchange struct {
	Device string `json:"device"` // who asked
	Method string `json:"method"`
	URL    string `json:"url"` // without the server
	Coding string `json:"content_encoding,omitempty"`
	Body   []byte `json:"body,omitempty"`
	Status int    `json:"status"`
	Type   string `json:"content_type"`
	Coded  string `json:"answer_encoding,omitempty"`
	Answer []byte `json:"answer"`
}

type session struct {
	Devices   map[string]uuid.UUID `json:"devices"`
	Exchanges []exchange           `json:"exchanges"`
}

// recorder is a transport that keeps what went through it.
type recorder struct {
	device string
	s      *session
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchange{Device: r.device, Method: req.Method, URL: req.URL.RequestURI(), Coding: req.Header.Get("Content-Encoding")}
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		x.Body = b
		req.Body = io.NopCloser(bytes.NewReader(b))
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x.Status, x.Type, x.Coded = res.StatusCode, res.Header.Get("Content-Type"), res.Header.Get("Content-Encoding")
	if x.Answer, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(x.Answer))
	r.s.Exchanges = append(r.s.Exchanges, x)
	return res, nil
}

func TestCapture(t *testing.T) {
	if *capture == 0 {
		return // there is nothing to test: see capture
	}
	h := host(t)
	email := h.account(t)
	s := &session{Devices: map[string]uuid.UUID{}}
	desk, laptop := h.computer(t, filepath.Join(t.TempDir(), "desk"), email, "desk"), h.computer(t, filepath.Join(t.TempDir(), "laptop"), email, "laptop")
	for _, c := range []*computer{desk, laptop} {
		s.Devices[c.name] = c.id
		c.client = h.client(t, c.token, recorder{c.name, s})
	}
	desk.organize(t, "/home/ada/Downloads", "/home/ada/Downloads/Documents", names(1200)...)
	id := desk.organize(t, "/home/ada/Gr\xfc\xdfe", "/home/ada/Gr\xfc\xdfe/Documents", "invoice.pdf", "photo.jpg")
	desk.mustPush(t)
	laptop.mustPull(t)
	desk.write(t, func(j *journal.Journal) {
		w, err := j.Begin(t.Context(), "undo", "/home/ada", "forg undo", 1, id)
		if err != nil {
			t.Fatal(err)
		}
		f := &journal.Folder{Path: "/home/ada"}
		if err := w.Commit(t.Context(), []journal.Step{{No: 1, Action: journal.Rename, FromDir: f, ToDir: f, From: "b", To: "a"}}, nil); err != nil {
			t.Fatal(err)
		}
		out := []journal.Outcome{{No: 1, Count: 1, State: journal.Failed, Err: "permission denied"}}
		if err := w.Finish(t.Context(), out, journal.Finish{Status: journal.FailedOp, Failed: 1, RootStatus: journal.PartiallyUndone}); err != nil {
			t.Fatal(err)
		}
	})
	laptop.organize(t, "/home/ada/Music", "/home/ada/Music/Audio", "song.mp3")
	desk.mustPush(t)
	laptop.mustPush(t)
	desk.write(t, func(j *journal.Journal) {
		o, err := j.Operation(t.Context(), fmt.Sprint(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Recall(t.Context(), []journal.Operation{o}, false); err != nil {
			t.Fatal(err)
		}
	})
	desk.mustPush(t)
	laptop.mustPull(t)
	desk.mustPull(t)
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sessionFile(*capture), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sessionFile(n int) string {
	return filepath.Join("..", "..", "testdata", "sync", fmt.Sprintf("session-%d.json", n))
}

// sessions are all that were ever captured.
func sessions(t *testing.T, f func(t *testing.T, s *session)) {
	all, err := filepath.Glob(filepath.Join("..", "..", "testdata", "sync", "session-*.json"))
	if err != nil || len(all) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, file := range all {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := new(session)
			if err := json.Unmarshal(b, s); err != nil {
				t.Fatal(err)
			}
			f(t, s)
		})
	}
}

// answers takes an answer apart: one JSON value a line, without what says when.
func answers(t *testing.T, coding string, body []byte) (all []map[string]any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(decoded(t, coding, body)))
	for {
		var v map[string]any
		err := dec.Decode(&v)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"server_time", "received_at", "instance"} {
			delete(v, name)
		}
		all = append(all, v)
	}
}

// holds reports what of an older answer a newer one lacks or says otherwise: it may say more.
func holds(old, now any) string {
	switch o := old.(type) {
	case map[string]any:
		n, ok := now.(map[string]any)
		if !ok {
			return fmt.Sprintf("%v is now %v", old, now)
		}
		for k, v := range o {
			x, ok := n[k]
			if !ok {
				return fmt.Sprintf("%q is missing", k)
			}
			if s := holds(v, x); s != "" {
				return k + ": " + s
			}
		}
		return ""
	case []any:
		n, ok := now.([]any)
		if !ok || len(n) < len(o) {
			return fmt.Sprintf("%v is now %v", old, now)
		}
		for _, v := range o { // lists of words and of logs: in any order
			if !slices.ContainsFunc(n, func(x any) bool { return holds(v, x) == "" }) {
				return fmt.Sprintf("%v is not in %v", v, n)
			}
		}
		return ""
	}
	if !cmp.Equal(old, now) {
		return fmt.Sprintf("%v is now %v", old, now)
	}
	return ""
}

// TestOlderClient gives what a client of any age has ever sent to the server of today, which answers as that age's did, or
// says more.
func TestOlderClient(t *testing.T) {
	h := host(t)
	sessions(t, func(t *testing.T, s *session) {
		email := h.account(t)
		tokens := map[string]string{}
		for name, id := range s.Devices {
			got, err := h.client(t, "", nil).Login(t.Context(), api.LoginRequest{Email: email, Password: password, Device: &api.LoginDevice{ID: id, Name: name}})
			if err != nil {
				t.Fatal(err)
			}
			tokens[name] = got.AccessToken
		}
		for i, x := range s.Exchanges {
			req, err := http.NewRequestWithContext(t.Context(), x.Method, h.url+x.URL, bytes.NewReader(x.Body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tokens[x.Device])
			req.Header.Set("Accept-Encoding", "identity")
			if len(x.Body) > 0 {
				req.Header.Set("Content-Type", "application/json")
			}
			if x.Coding != "" {
				req.Header.Set("Content-Encoding", x.Coding)
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != x.Status {
				t.Fatalf("exchange %d, %s %s: %d %v, then it was %d\n%s", i, x.Method, x.URL, res.StatusCode, err, x.Status, body)
			}
			old, now := answers(t, x.Coded, x.Answer), answers(t, "", body)
			if strings.HasPrefix(x.URL, "/api/v1/devices") {
				continue // what a device is called and when it was seen is no matter of the protocol
			}
			if len(old) != len(now) {
				t.Fatalf("exchange %d, %s %s: %d lines, then there were %d", i, x.Method, x.URL, len(now), len(old))
			}
			for n := range old {
				if diff := holds(old[n], now[n]); diff != "" {
					t.Errorf("exchange %d, %s %s: %s", i, x.Method, x.URL, diff)
				}
			}
		}
	})
}

// olderServer answers as a server of the session's age did.
type olderServer struct {
	t     *testing.T
	s     *session
	newer bool // as one of an age to come instead: with more in every answer than anybody knows today
	asked map[string]int
}

func (o *olderServer) RoundTrip(r *http.Request) (*http.Response, error) {
	same := func(x *exchange) bool {
		u, err := url.Parse(x.URL)
		return err == nil && x.Device == "laptop" && x.Method == r.Method && u.Path == r.URL.Path && u.Query().Get("after") == r.URL.Query().Get("after")
	}
	n := 0
	key := r.Method + r.URL.Path + r.URL.Query().Get("after")
	var last *exchange
	for i := range o.s.Exchanges {
		if x := &o.s.Exchanges[i]; same(x) {
			last = x
			if n++; n > o.asked[key] {
				break
			}
		}
	}
	o.asked[key]++
	if last == nil {
		return nil, fmt.Errorf("the server of then was never asked %s %s", r.Method, r.URL)
	}
	body := decoded(o.t, last.Coded, last.Answer)
	if o.newer {
		var more bytes.Buffer
		fmt.Fprint(&more, strings.Repeat(`{"weather":"fine"}`+"\n", 1))
		if last.Type != "application/x-ndjson" {
			more.Reset()
		}
		for line := range bytes.Lines(body) {
			more.WriteString(strings.Replace(string(line), "{", `{"from_the_future":{"a":[1,"2"]},`, 1))
		}
		body = more.Bytes()
	}
	return &http.Response{StatusCode: last.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {last.Type}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

// TestOlderServer lets the client of today pull from servers of every age, and from one that says more than it knows.
func TestOlderServer(t *testing.T) {
	sessions(t, func(t *testing.T, s *session) {
		for _, newer := range []bool{false, true} {
			o := &olderServer{t: t, s: s, newer: newer, asked: map[string]int{}}
			cl, err := client.New(client.Options{Server: "http://127.0.0.1:1", Tokens: client.APIKey("forg_x"), Transport: o})
			if err != nil {
				t.Fatal(err)
			}
			r, err := replica.Open(t.Context(), replica.Options{Path: filepath.Join(t.TempDir(), "sync.db"), Account: "a"})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				out, err := r.Pull(t.Context(), cl, s.Devices["laptop"])
				if err != nil || len(out.Trouble) > 0 {
					t.Fatal(err, out.Trouble)
				}
			}
			var ops []string
			for op, err := range r.Operations(t.Context(), s.Devices["desk"]) {
				if err != nil {
					t.Fatal(err)
				}
				ops = append(ops, fmt.Sprint(op.Kind, " ", op.Status, " ", op.Processed, " ", op.Erased))
			}
			want := []string{" completed 0 true", " completed 0 true", "organize completed 1200 false"}
			if !cmp.Equal(ops, want) {
				t.Errorf("of a server of then is seen %q, want %q", ops, want)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNewerClient has a client of an age to come push what nobody knows today: other kinds, another form of a known one, more
// fields. It is kept and carried on, and what is understood is shown.
func TestNewerClient(t *testing.T) {
	h := host(t)
	email := h.account(t)
	newer, older := h.computer(t, t.TempDir(), email, "new"), h.computer(t, t.TempDir(), email, "old")
	epoch, op := uuid.New(), uuid.Must(uuid.NewV7())
	var entries []api.Entry
	for _, x := range []struct {
		kind   string
		schema int
		body   string
	}{
		{api.KindStarted, 1, `{"kind":"organize","root":"/r","planned":3,"mood":"good"}`},
		{"op.thoughts", 1, "\x00\x01 what a future forg thinks"},
		{api.KindFiles, 7, "a form of files that is not known yet"},
		{api.KindFinished, 1, `{"status":"postponed","processed":3,"skipped":0,"failed":0,"bytes":1,"colour":"blue"}`},
		{api.KindRenamed, 2, `{"title":"new one"}`},
	} {
		e := api.Entry{Seq: int64(len(entries) + 1), ID: uuid.Must(uuid.NewV7()), OpID: op, Kind: x.kind, Schema: x.schema, TSClient: 1785574800003000, Body: []byte(x.body)}
		e.SHA256 = e.Sum(e.Body)
		entries = append(entries, e)
	}
	_, err := newer.client.Push(t.Context(), &api.PushRequest{Protocol: api.Protocol, DeviceID: newer.id, Epoch: epoch, PrevChain: api.Genesis(newer.id, epoch), Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	if out := older.mustPull(t); out.Entries != len(entries) || len(out.Trouble) > 0 {
		t.Fatalf("of %d entries %d came, %v", len(entries), out.Entries, out.Trouble)
	}
	older.replica(t, func(r *replica.Replica) {
		for o, err := range r.Operations(t.Context(), newer.id) {
			if err != nil || o.Kind != "organize" || o.Status != "postponed" || o.Processed != 3 {
				t.Errorf("it is seen as %+v, %v", o, err)
			}
			for f, err := range r.Files(t.Context(), o) {
				t.Errorf("files of an unknown form are read as %+v, %v", f, err)
			}
		}
	})
}

// decoded takes the Content-Encoding off a body.
func decoded(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	switch coding {
	case "":
		return body
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		b, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	t.Fatalf("the answer is encoded as %q", coding)
	return nil
}
