package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/zalando/go-keyring"

	"forg/sync/api"
	"forg/sync/server"
	"forg/sync/server/auth"
)

// TestMain is also the program of the processes that tests start.
func TestMain(m *testing.M) {
	if what := os.Getenv("FORG_TEST_CLIENT"); what != "" {
		if err := childMain(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is another process that does what childMain says.
func child(what string, env ...string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), "FORG_TEST_CLIENT="+what), env...)
	return c
}

func childMain(what string) error {
	ctx := context.Background()
	if what == "proxy" {
		c, err := New(Options{Server: "https://forg.invalid", Tokens: APIKey("k")})
		if err != nil {
			return err
		}
		if _, err := c.Me(ctx); err == nil {
			return errors.New("there is an answer")
		}
		return nil
	}
	o := Options{}
	if what == "die" {
		o.Transport = dying{}
	}
	c, _, err := Open(o, NewStore(os.Getenv("FORG_TEST_LOGIN"), false, time.Now))
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(os.Getenv("FORG_TEST_TIMES"))
	if err != nil {
		return err
	}
	for range times {
		token, err := c.tokens.Token(ctx)
		if err != nil {
			return err
		}
		if _, err := c.tokens.Renew(ctx, token); err != nil {
			return err
		}
	}
	_, err = c.Me(ctx)
	return err
}

// dying is a transport that kills its process when the answer to a refresh has come: before it is kept.
type dying struct{}

func (dying) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/refresh") && res.StatusCode == 200 {
		p, err := os.FindProcess(os.Getpid())
		if err != nil {
			panic(err)
		}
		if err := p.Kill(); err != nil {
			panic(err)
		}
		select {}
	}
	return res, err
}

// service is a real server, with a clock of its own.
type service struct {
	url string
	at  atomic.Int64 // the clock, in nanoseconds since 1970
}

func (s *service) now() time.Time { return time.Unix(0, s.at.Load()) }

func (s *service) later(d time.Duration) { s.at.Add(int64(d)) }

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{}
	s.at.Store(time.Now().UnixNano())
	urls, ended, dir := make(chan string, 1), make(chan error, 1), t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- server.Run(ctx, server.Config{Addr: "127.0.0.1:0", DataDir: dir, Signup: true, Now: s.now, Drain: 10 * time.Second, LoginFailures: -1,
			RateLimits: map[api.Tier]int{}, Passwords: auth.PasswordOptions{Cost: 4, Workers: 2, Queue: 100, MaxWait: 20 * time.Second},
			Listening: func(url string) { urls <- url }})
	}()
	select {
	case s.url = <-urls:
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
	return s
}

// logIn makes an account and logs in to it, kept in a file of its own.
func (s *service) logIn(t *testing.T, keyring bool, now func() time.Time) *Store {
	t.Helper()
	ctx := t.Context()
	c, err := New(Options{Server: s.url})
	if err != nil {
		t.Fatal(err)
	}
	email := uuid.NewString() + "@example.org"
	u, err := c.Signup(ctx, api.SignupRequest{Email: email, Password: "a password with spaces", FullName: "Ana"})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	tok, err := c.Login(ctx, api.LoginRequest{Email: email, Password: "a password with spaces",
		Device: &api.LoginDevice{ID: id, Name: "laptop", Platform: "linux/amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore(filepath.Join(t.TempDir(), "state", "forg", "journal.login"), keyring, now)
	if _, _, err := store.Put(ctx, Login{Server: s.url, Email: email, UserID: u.ID, DeviceID: id, DeviceName: "laptop", At: now()}, tok); err != nil {
		t.Fatal(err)
	}
	return store
}

func open(t *testing.T, store *Store, rt http.RoundTripper) *Client {
	t.Helper()
	c, _, err := Open(Options{Transport: rt}, store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestAccount goes through all that an account can do at a real server.
func TestAccount(t *testing.T) {
	s := serve(t)
	store := s.logIn(t, false, s.now)
	c := open(t, store, nil)
	ctx := t.Context()
	caps, err := c.Capabilities(ctx)
	if err != nil || caps.Protocols[0] != api.Protocol {
		t.Fatal(caps, err)
	}
	l, err := store.Login()
	if err != nil {
		t.Fatal(err)
	}
	me, err := c.Me(ctx)
	if err != nil || me.ID != l.UserID {
		t.Fatal(me, err)
	}
	all, err := c.Devices(ctx)
	if err != nil || len(all) != 1 || all[0].ID != l.DeviceID || all[0].Name != "laptop" {
		t.Fatal(all, err)
	}
	if d, err := c.RenameDevice(ctx, l.DeviceID, "desk"); err != nil || d.Name != "desk" {
		t.Fatal(d, err)
	}
	_, err = c.RenameDevice(ctx, uuid.New(), "desk")
	if e, ok := asError(err); !ok || e.Code != api.CodeNotFound {
		t.Fatal(err)
	}
	k, err := c.CreateAPIKey(ctx, api.APIKeyRequest{Name: "cron", Scopes: []string{"read"}})
	if err != nil || k.Key == "" {
		t.Fatal(k, err)
	}
	byKey := c.With(APIKey(k.Key))
	if me, err := byKey.Me(ctx); err != nil || me.ID != l.UserID {
		t.Fatal(me, err)
	}
	if _, err := byKey.CreateAPIKey(ctx, api.APIKeyRequest{Name: "more", Scopes: []string{"read"}}); ThenOf(err) != api.Stop {
		t.Fatal(err)
	}
	keys, err := c.APIKeys(ctx)
	if err != nil || len(keys) != 1 || keys[0].Name != "cron" {
		t.Fatal(keys, err)
	}
	if err := c.RevokeAPIKey(ctx, keys[0].ID); err != nil {
		t.Fatal(err)
	}
	s.later(5 * time.Second) // what the server believes for a moment
	if _, err := byKey.Me(ctx); !errors.Is(err, ErrLoggedOut) {
		t.Fatal(err)
	}

	// A push, and what others pull of it.
	e, err := api.NewEntry(1, uuid.Must(uuid.NewV7()), uuid.Nil, 1, &api.DeviceRenamed{Name: "desk"})
	if err != nil {
		t.Fatal(err)
	}
	epoch := uuid.New()
	push := &api.PushRequest{Protocol: api.Protocol, DeviceID: l.DeviceID, Epoch: epoch, PrevChain: api.Genesis(l.DeviceID, epoch), Entries: []api.Entry{e}}
	for range 2 {
		got, err := c.Push(ctx, push)
		if err != nil || got.AckedSeq != 1 || got.Chain != push.PrevChain.Next(e.SHA256) {
			t.Fatal(got, err)
		}
	}
	n := 0
	end, err := c.Pull(ctx, PullQuery{Device: l.DeviceID, Own: true}, func(p api.PullEntry) error {
		if n++; p.SHA256 != e.SHA256 || p.Epoch != epoch {
			t.Error(p)
		}
		return nil
	})
	if err != nil || n != 1 || end.Next != end.Head {
		t.Fatal(end, err)
	}
	if a, err := c.Ack(ctx, l.DeviceID, end.Next); err != nil || a.Cursor != end.Next {
		t.Fatal(a, err)
	}
	st, err := c.State(ctx, l.DeviceID)
	if err != nil || len(st.Logs) != 1 || st.Logs[0].AckedSeq != 1 || st.Cursor != end.Next {
		t.Fatal(st, err)
	}
	if all, err := c.Commands(ctx, l.DeviceID, 0); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}

	// An operation for the device, its command, its answer.
	id := uuid.Must(uuid.NewV7())
	req := api.OperationRequest{ID: id, Kind: "organize", Target: api.Target{DeviceID: l.DeviceID, Root: "downloads"}}
	o, err := c.StartOperation(ctx, req)
	if err != nil || o.ID != id || o.Status != api.OpPending {
		t.Fatal(o, err)
	}
	if again, err := c.StartOperation(ctx, req); err != nil || again.ID != id {
		t.Fatal(again, err)
	}
	cmds, err := c.Commands(ctx, l.DeviceID, 30*time.Second)
	if err != nil || len(cmds) != 1 || cmds[0].OperationID != id {
		t.Fatal(cmds, err)
	}
	up, err := c.Answer(ctx, l.DeviceID, cmds[0].ID, api.CommandUpdate{Lease: cmds[0].Lease, State: api.CommandRefused,
		Result: &api.CommandResult{Error: "not allowed"}})
	if err != nil || up.State != api.CommandRefused {
		t.Fatal(up, err)
	}
	page, err := c.Operations(ctx, OperationQuery{Device: l.DeviceID, Kind: []string{"organize", "undo"},
		Status: []api.OperationStatus{api.OpPending, api.OpFailed}, Since: s.now().Add(-time.Hour), Path: "down"})
	if err != nil || len(page.Items) > 1 {
		t.Fatal(page, err)
	}
	if o, err = c.Operation(ctx, id); err != nil || o.ID != id {
		t.Fatal(o, err)
	}
	if f, err := c.Files(ctx, id, "", 10); err != nil || len(f.Items) != 0 {
		t.Fatal(f, err)
	}
	_, err = c.Rollback(ctx, id, api.RollbackRequest{ID: uuid.Must(uuid.NewV7())})
	if e, ok := asError(err); !ok || e.Code != api.CodeNotUndoable {
		t.Fatal(err)
	}

	// Its ends.
	if err := c.ChangePassword(ctx, "wrong", "another password"); ThenOf(err) != api.Park {
		t.Fatal(err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	s.later(5 * time.Second)
	if _, err := c.Me(ctx); !errors.Is(err, ErrLoggedOut) {
		t.Fatal(err)
	}
	other := s.logIn(t, false, s.now)
	oc := open(t, other, nil)
	if err := oc.Erase(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestRefreshTogether: many who share a login refresh it over and over, each as if it were alone, and the session goes on:
// had two of them ever sent the same token, with a minute between, the server would have ended it.
func TestRefreshTogether(t *testing.T) {
	s := serve(t)
	store := s.logIn(t, false, s.now)
	const clients, times = 20, 10
	var all sync.WaitGroup
	var renewed atomic.Int64
	for range clients {
		c := open(t, NewStore(store.Path(), false, s.now), http.DefaultTransport) // as another process has it
		all.Go(func() {
			for range times {
				if err := func() error {
					// The token may expire on the way, and even the one after it.
					if _, err := c.Me(t.Context()); errors.Is(err, ErrLoggedOut) || err != nil && ThenOf(err) != api.Stop {
						return err
					}
					token, err := c.tokens.Token(t.Context())
					if err != nil {
						return err
					}
					s.later(time.Second) // two tokens of one second look the same
					fresh, err := c.tokens.Renew(t.Context(), token)
					if err == nil && fresh == token {
						err = errors.New("a refused token was given again")
					}
					return err
				}(); err != nil {
					t.Error(err)
					return
				}
				if renewed.Add(1)%7 == 0 {
					s.later(2 * time.Minute) // the grace of a predecessor is over
				}
				if renewed.Load()%31 == 0 {
					s.later(31 * time.Minute) // and so are all access tokens
				}
			}
		})
	}
	all.Wait()
	if _, err := open(t, store, nil).Me(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRefreshProcesses is the same with processes, some of which are killed between the answer and its keeping.
func TestRefreshProcesses(t *testing.T) {
	s := serve(t) // its clock stands still, so however slow this machine is the grace does not end
	store := s.logIn(t, false, time.Now)
	n := 20
	if testing.Short() {
		n = 6
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			what, times := "renew", "5"
			if i%5 == 4 {
				what, times = "die", "1000000" // until it refreshes itself
			}
			out, err := child(what, "FORG_TEST_LOGIN="+store.Path(), "FORG_TEST_TIMES="+times).CombinedOutput()
			if what == "renew" && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if _, killed := errors.AsType[*exec.ExitError](err); what == "die" && !killed {
				t.Errorf("who should have died has not: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	c := open(t, NewStore(store.Path(), false, time.Now), nil)
	token, err := c.tokens.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.tokens.Renew(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Me(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// losing is a transport that loses answers to refreshes once the server has given them.
type losing struct {
	lose atomic.Int64
	sent atomic.Int64
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/refresh") {
		l.sent.Add(1)
		if l.lose.Add(-1) >= 0 {
			res.Body.Close()
			return nil, errors.New("the connection broke")
		}
	}
	return res, err
}

// TestRefreshLost: an answer that is lost is asked for again, and the session survives; one that is lost for good is found
// out when the minute is over, and the login says so instead of trying for ever.
func TestRefreshLost(t *testing.T) {
	s := serve(t)
	store := s.logIn(t, false, s.now)
	l := &losing{}
	c := open(t, store, l)
	for lost := range int64(refreshTries) {
		l.lose.Store(lost)
		s.later(time.Hour)
		if _, err := c.Me(t.Context()); err != nil {
			t.Fatalf("%d answers lost: %v", lost, err)
		}
	}
	l.lose.Store(refreshTries)
	s.later(time.Hour)
	if _, err := c.Me(t.Context()); err == nil || ThenOf(err) != api.Again {
		t.Fatalf("all answers lost: %v", err)
	}
	l.lose.Store(0)
	if _, err := c.Me(t.Context()); err != nil {
		t.Fatalf("tried again within the minute: %v", err)
	}
	l.lose.Store(refreshTries)
	s.later(time.Hour)
	if _, err := c.Me(t.Context()); err == nil {
		t.Fatal("all answers lost, and yet")
	}
	s.later(2 * time.Minute)
	l.lose.Store(0)
	if _, err := c.Me(t.Context()); !errors.Is(err, ErrLoggedOut) || ThenOf(err) != api.Stop {
		t.Fatalf("the minute is over: %v", err)
	}
	sent := l.sent.Load()
	if _, err := c.Me(t.Context()); !errors.Is(err, ErrLoggedOut) || l.sent.Load() != sent {
		t.Fatalf("a session that has ended is asked for again: %v", err)
	}
	if got, err := store.Login(); err != nil || !got.Ended || got.Email == "" {
		t.Errorf("%+v %v", got, err)
	}
	if text, err := os.ReadFile(store.Path()); err != nil || strings.Contains(string(text), "token") {
		t.Errorf("%s %v", text, err)
	}
}

// TestRefreshInterrupted: whoever gives up while a refresh is under way does not lose its answer.
func TestRefreshInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(filepath.Join(t.TempDir(), "login"), false, time.Now)
		login := Login{Server: "https://example.org", DeviceID: device}
		if _, _, err := store.Put(t.Context(), login, api.TokenResponse{AccessToken: "a", RefreshToken: "r"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			takes time.Duration
			kept  bool
		}{{2 * time.Second, true}, {10 * time.Second, false}} {
			x := &Session{store: store, login: login, refresh: func(ctx context.Context, _ string) (api.TokenResponse, error) {
				select {
				case <-time.After(c.takes):
					return api.TokenResponse{AccessToken: "b", RefreshToken: "s", ExpiresIn: 60}, nil
				case <-ctx.Done():
					return api.TokenResponse{}, ctx.Err()
				}
			}}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := x.Renew(ctx, "a")
			if took := time.Since(start); took > time.Second+refreshGrace || c.kept != (err == nil) {
				t.Errorf("%v after %s", err, took)
			}
			got, err := store.read()
			if err != nil || (got.Refresh == "s") != c.kept {
				t.Errorf("%+v %v", got, err)
			}
			got.tokens = tokens{Access: "a", Refresh: "r"}
			if err := store.save(got); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestOtherLogin: who has logged in as somebody else meanwhile gets none of the requests of before.
func TestOtherLogin(t *testing.T) {
	s := serve(t)
	store := s.logIn(t, false, s.now)
	c := open(t, store, nil)
	if _, err := c.Me(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.logIn(t, false, s.now).Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store.Path(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.later(time.Hour)
	if _, err := c.Me(t.Context()); !errors.Is(err, ErrLoggedOut) || !strings.Contains(err.Error(), "meanwhile") {
		t.Error(err)
	}
	_, _, err = Open(Options{Server: "https://other.example.org"}, store)
	if !errors.Is(err, ErrLoggedOut) || !strings.Contains(err.Error(), "https://other.example.org") {
		t.Error(err)
	}
	if _, _, err := Open(Options{Server: s.url + "/"}, store); err != nil {
		t.Error(err)
	}
	if err := store.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Me(t.Context()); !errors.Is(err, ErrLoggedOut) {
		t.Error(err)
	}
	if _, _, err := Open(Options{}, store); !errors.Is(err, ErrLoggedOut) {
		t.Error(err)
	}
}

// TestFile: the file is for its owner only, whatever lies there, and what is no login is not taken for one.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder", "login")
	s := NewStore(path, false, time.Now)
	put := func() {
		t.Helper()
		at, why, err := s.Put(t.Context(), Login{Server: "https://example.org", DeviceID: device, Email: "e"},
			api.TokenResponse{AccessToken: "secret a", RefreshToken: "secret r", ExpiresIn: 1800})
		if err != nil || why != nil || at != InFile {
			t.Fatal(at, why, err)
		}
	}
	put()
	private := func() {
		t.Helper()
		if runtime.GOOS == "windows" { // there the folder of a user is his own
			return
		}
		for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700, path + ".lock": 0o600} {
			if info, err := os.Lstat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v", name, info.Mode(), err)
			}
		}
	}
	private()
	if until, err := s.Until(); err != nil || time.Until(until) > 30*time.Minute || time.Until(until) < 29*time.Minute {
		t.Error(until, err)
	}
	if err := s.Rename(t.Context(), "desk"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(); err != nil || got.DeviceName != "desk" || got.Refresh != "secret r" {
		t.Errorf("%+v %v", got, err)
	}

	// Something else lies in its place.
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path); err == nil { // not everybody may make links everywhere
		if _, err := s.Login(); err == nil || errors.Is(err, ErrLoggedOut) {
			t.Error(err)
		}
		put()
		private()
		if err := os.Symlink(other, path+".new"); err != nil {
			t.Fatal(err)
		}
	} else if runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	put()
	private()
	if text, err := os.ReadFile(other); err != nil || string(text) != "mine" {
		t.Errorf("a link was followed: %s %v", text, err)
	}
	if left, err := filepath.Glob(path + ".new"); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	for _, damaged := range []string{"", "{", "[]", `{"server":"https://example.org"}`, strings.Repeat("x", maxFile+9)} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Login(); err == nil || errors.Is(err, ErrLoggedOut) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q: %v", damaged, err)
		}
	}
	put()
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Login(); !errors.Is(err, ErrLoggedOut) {
		t.Error(err)
	}
}

// TestKeyring: with a keyring the file holds no secret, and without one that works the login is kept all the same.
func TestKeyring(t *testing.T) {
	keyring.MockInit()
	s := serve(t)
	store := s.logIn(t, true, s.now)
	c := open(t, NewStore(store.Path(), false, s.now), nil) // who reads goes by where the tokens are
	for range 3 {
		if _, err := c.Me(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.later(time.Hour)
	}
	l, err := store.Login()
	if err != nil || l.KeptIn != InKeyring {
		t.Fatal(l, err)
	}
	text, err := os.ReadFile(store.Path())
	if err != nil || strings.Contains(string(text), "rt_") || strings.Contains(string(text), "eyJ") {
		t.Fatalf("%s %v", text, err)
	}
	secret, err := keyring.Get("forg", l.item())
	var kept tokens
	if err != nil || json.Unmarshal([]byte(secret), &kept) != nil || !strings.HasPrefix(kept.Refresh, "rt_") || len(secret) > 2500 { // Windows takes 2560 bytes
		t.Fatalf("%s %v", secret, err)
	}

	// A keyring that takes nothing any more does not cost the session.
	keyring.MockInitWithError(errors.New("locked"))
	if _, err := open(t, store, nil).Me(t.Context()); !errors.Is(err, ErrKeyring) || errors.Is(err, ErrLoggedOut) {
		t.Fatal(err)
	}
	at, why, err := store.Put(t.Context(), l, api.TokenResponse{AccessToken: "a", RefreshToken: "r"})
	if err != nil || at != InFile || !errors.Is(why, ErrKeyring) || !strings.Contains(why.Error(), "locked") {
		t.Fatal(at, why, err)
	}
	if err := store.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Where no desktop runs nobody asks for a keyring.
	keyring.MockInit()
	store = s.logIn(t, true, s.now)
	cron := NewStore(store.Path(), true, s.now)
	cron.NoKeyring()
	if _, err := open(t, cron, nil).Me(t.Context()); !errors.Is(err, ErrKeyring) {
		t.Fatal(err)
	}
	if _, err := open(t, store, nil).Me(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, why, err := cron.Put(t.Context(), l, api.TokenResponse{AccessToken: "a", RefreshToken: "r"}); err != nil || at != InFile || why == nil {
		t.Fatal(at, why, err)
	}

	// What is gone from the keyring is gone.
	keyring.MockInit()
	store = s.logIn(t, true, s.now)
	if l, err = store.Login(); err != nil {
		t.Fatal(err)
	}
	if err := keyring.Delete("forg", l.item()); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, store, nil).Me(t.Context()); !errors.Is(err, ErrLoggedOut) {
		t.Fatal(err)
	}
	if err := keyring.Set("forg", l.item(), "nonsense"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, store, nil).Me(t.Context()); !errors.Is(err, ErrLoggedOut) {
		t.Fatal(err)
	}
	if err := store.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Get("forg", l.item()); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the keyring still has the tokens: %v", err)
	}
}

// TestKeyringSilent: a keyring that asks somebody who is not there is waited for no longer than two seconds.
func TestKeyringSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		never := make(chan struct{})
		_, err := patiently(func() (string, error) {
			<-never
			return "", nil
		})
		if !errors.Is(err, ErrKeyring) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		close(never)
	})
}
