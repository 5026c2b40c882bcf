package replica_test

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
	"forg/sync/server"
	"forg/sync/server/auth"
	"forg/sync/simnet"
)

// hosted is the real service, on SQLite, at a port of this machine.
type hosted struct {
	url string
	dir string
}

func host(t testing.TB) *hosted {
	t.Helper()
	h := &hosted{dir: t.TempDir()}
	urls, ended := make(chan string, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cfg := server.Config{Addr: "127.0.0.1:0", DataDir: h.dir, Signup: true, LoginFailures: -1, RateLimits: map[api.Tier]int{api.TierFree: 0},
		Passwords: auth.PasswordOptions{Cost: 4, Workers: 2, Queue: 100, MaxWait: 20 * time.Second}, Drain: 10 * time.Second,
		Listening: func(url string) { urls <- url }}
	go func() { ended <- server.Run(ctx, cfg) }()
	select {
	case h.url = <-urls:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return h
}

const password = "correct horse battery"

// fatal is what rapid and testing have in common.
type fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Context() context.Context
}

func (h *hosted) client(t fatal, token string, through http.RoundTripper) *client.Client {
	t.Helper()
	o := client.Options{Server: h.url, Transport: through}
	if token != "" {
		o.Tokens = client.APIKey(token)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// account makes one and gives its e-mail address.
func (h *hosted) account(t fatal) string {
	t.Helper()
	email := uuid.NewString() + "@example.org"
	if _, err := h.client(t, "", nil).Signup(t.Context(), api.SignupRequest{Email: email, Password: password, FullName: "Ada"}); err != nil {
		t.Fatal(err)
	}
	return email
}

// computer is a device with a journal.
type computer struct {
	dir    string
	id     uuid.UUID // as the server knows it
	name   string
	email  string
	token  string
	server *hosted
	net    *simnet.Net
	client *client.Client
	seal   replica.Sealer
	now    func() time.Time
}

func (h *hosted) computer(t fatal, dir, email, name string) *computer {
	t.Helper()
	c := &computer{dir: dir, name: name, email: email, server: h, net: &simnet.Net{Base: http.DefaultTransport}, now: time.Now}
	c.write(t, func(j *journal.Journal) { c.id = epochs(t, j)[0].Device })
	tokens, err := h.client(t, "", nil).Login(t.Context(), api.LoginRequest{Email: email, Password: password, Device: &api.LoginDevice{ID: c.id, Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	c.token = tokens.AccessToken
	c.client = h.client(t, c.token, c.net)
	return c
}

func epochs(t fatal, j *journal.Journal) []journal.Epoch {
	t.Helper()
	all, err := j.Epochs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *computer) journal() string { return filepath.Join(c.dir, "journal.db") }
func (c *computer) db() string      { return filepath.Join(c.dir, "sync.db") }

// write opens the journal as a command that changes files does.
func (c *computer) write(t fatal, f func(*journal.Journal)) {
	t.Helper()
	j, err := journal.Open(t.Context(), c.journal(), journal.Options{Now: func() time.Time { return c.now() }})
	if err != nil {
		t.Fatal(err)
	}
	f(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// read opens it to look at it.
func (c *computer) read(t fatal, f func(*journal.Journal)) {
	t.Helper()
	j, err := journal.Open(t.Context(), c.journal(), journal.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// replica opens sync.db.
func (c *computer) replica(t fatal, f func(*replica.Replica)) {
	t.Helper()
	r, err := replica.Open(t.Context(), replica.Options{Path: c.db(), Account: c.server.url + " " + c.email, Seal: c.seal, Version: "test",
		NewEpoch: func(ctx context.Context, sent int64) error {
			j, err := journal.Open(ctx, c.journal(), journal.Options{})
			if err != nil {
				return err
			}
			return errors.Join(j.NewEpoch(ctx, sent), j.Close())
		}})
	if err != nil {
		t.Fatal(err)
	}
	f(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func (c *computer) push(t fatal) (out replica.Pushed, err error) {
	t.Helper()
	c.replica(t, func(r *replica.Replica) {
		c.read(t, func(j *journal.Journal) { out, err = r.Push(t.Context(), c.client, j, c.id) })
	})
	return out, err
}

func (c *computer) pull(t fatal) (out replica.Pulled, err error) {
	t.Helper()
	c.replica(t, func(r *replica.Replica) { out, err = r.Pull(t.Context(), c.client, c.id) })
	return out, err
}

func (c *computer) mustPush(t fatal) replica.Pushed {
	t.Helper()
	out, err := c.push(t)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *computer) mustPull(t fatal) replica.Pulled {
	t.Helper()
	out, err := c.pull(t)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// organize records an operation that moves files of the given names from from to to.
func (c *computer) organize(t fatal, from, to string, names ...string) (id int64) {
	t.Helper()
	c.write(t, func(j *journal.Journal) {
		w, err := j.Begin(t.Context(), "organize", from, "forg organize "+from, int64(len(names)), 0)
		if err != nil {
			t.Fatal(err)
		}
		a, b := &journal.Folder{Path: from}, &journal.Folder{Path: to}
		var steps []journal.Step
		for i, name := range names {
			steps = append(steps, journal.Step{No: int64(i) + 1, Action: journal.Rename, FromDir: a, ToDir: b, From: name, To: name, Label: "Documents", File: journal.Identity{Size: int64(len(name))}})
		}
		if err := w.Commit(t.Context(), steps, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Finish(t.Context(), nil, journal.Finish{Status: journal.Completed, Moved: int64(len(names))}); err != nil {
			t.Fatal(err)
		}
		id = w.ID()
	})
	return id
}

// copyTo copies the state of a computer, as a backup or a clone does while nothing runs.
func (c *computer) copyTo(t fatal, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, ext := range []string{"", "-wal"} {
			b, err := os.ReadFile(filepath.Join(c.dir, name+ext))
			if errors.Is(err, os.ErrNotExist) {
				os.Remove(filepath.Join(dir, name+ext))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+ext), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		os.Remove(filepath.Join(dir, name+"-shm"))
	}
}

// log is all that the server has of the account, as a device that sets itself up anew sees it.
func (c *computer) log(t fatal) (all []api.PullEntry, state api.SyncState) {
	t.Helper()
	plain := c.server.client(t, c.token, nil)
	for after := int64(0); ; {
		end, err := plain.Pull(t.Context(), client.PullQuery{After: after, Own: true, Device: c.id}, func(e api.PullEntry) error {
			all = append(all, e)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after = end.Next; end.Next >= end.Head {
			break
		}
	}
	state, err := plain.State(t.Context(), c.id)
	if err != nil {
		t.Fatal(err)
	}
	return all, state
}

// blurred is a Sealer that makes another body of an entry each time, as encryption does.
type blurred struct{}

func (blurred) Seal(_, _ uuid.UUID, e api.Entry) (api.Entry, error) {
	b := append(make([]byte, 8, 9+len(e.Body)), 0)
	rand.Read(b[:8])
	for i, x := range e.Body {
		b = append(b, x^b[i%8])
	}
	e.Codec, e.KeyID, e.Body = "", "k1", b
	e.SHA256 = e.Sum(b)
	return e, nil
}

func (blurred) Open(_, _ uuid.UUID, e api.Entry) (api.Entry, error) {
	if len(e.Body) < 9 {
		return e, io.ErrUnexpectedEOF
	}
	var b []byte
	for i, x := range e.Body[9:] {
		b = append(b, x^e.Body[i%8])
	}
	e.Codec, e.KeyID, e.Body = api.CodecPlain, "", b
	if len(b) > 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd {
		e.Codec = api.CodecZstd
	}
	raw, err := e.Raw(16 << 20)
	e.SHA256 = e.Sum(raw)
	return e, err
}

// blind is a device that has no key yet.
type blind struct{ blurred }

func (blind) Open(_, _ uuid.UUID, e api.Entry) (api.Entry, error) { return e, replica.ErrNoKey }

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("file %d.txt", i))
	}
	return all
}

// TestMain keeps the model small where nobody asked for more: its steps wait for a disk. -rapid.checks=1000 is the long form.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		checks := "25"
		if testing.Short() {
			checks = "5"
		}
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err) // rapid has that flag
		}
	}
	os.Exit(m.Run())
}
