package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"forg/journal"
	"forg/organizer"
	"forg/rules"
	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/pgtest"
	"forg/sync/server/store"
)

func TestMain(m *testing.M) {
	if cfg := os.Getenv("FORG_TEST_SERVER"); cfg != "" {
		serveForTest(cfg)
		return
	}
	code := pgtest.Main(m)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines that nobody ended:", err)
		code = 1
	}
	os.Exit(code)
}

// service is a server that answers on a port of this machine.
type service struct {
	url  string
	cfg  Config
	log  *lockedBuffer
	stop func() error // and waits for the end
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a server on SQLite, with cheap passwords, unless cfg says otherwise.
func start(t testing.TB, cfg Config) *service {
	t.Helper()
	s := &service{log: &lockedBuffer{}}
	cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1:0")
	cfg.DataDir = cmp.Or(cfg.DataDir, t.TempDir())
	if cfg.Passwords.Cost == 0 {
		cfg.Passwords = auth.PasswordOptions{Cost: 4, Workers: 2, Queue: 100, MaxWait: 20 * time.Second}
	}
	cfg.Signup, cfg.Log = true, s.log
	cfg.Drain = cmp.Or(cfg.Drain, 10*time.Second)
	urls := make(chan string, 1)
	cfg.Listening = func(url string) { urls <- url }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	var once sync.Once
	var err error
	s.stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	s.cfg = cfg
	select {
	case s.url = <-urls:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text := s.log.String()
			t.Log("the server's log ends with\n" + text[max(0, len(text)-4000):])
		}
	})
	return s
}

func migrateForTest(url string) error {
	st, err := store.Open(context.Background(), url, store.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	return st.Migrate(context.Background(), store.Latest)
}

// both runs a test on PostgreSQL and on SQLite.
func both(t *testing.T, f func(t *testing.T, s *service)) {
	t.Run("postgres", func(t *testing.T) { f(t, start(t, Config{DatabaseURL: pgtest.New(t, migrateForTest)})) })
	t.Run("sqlite", func(t *testing.T) { f(t, start(t, Config{})) })
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%d is no JSON: %v\n%s", r.status, err, r.body)
	}
	return v
}

// do sends a request; body is JSON if it is neither nil nor a string.
func (s *service) do(t testing.TB, token, method, path string, body any, header ...string) reply {
	t.Helper()
	r, err := s.try(token, method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *service) try(token, method, path string, body any, header ...string) (reply, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return reply{}, err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.url+path, in)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, b}, err
}

// want ends the test if the answer has another status.
func (s *service) want(t testing.TB, status int, token, method, path string, body any, header ...string) map[string]any {
	t.Helper()
	r := s.do(t, token, method, path, body, header...)
	if r.status != status {
		t.Fatalf("%s %s: %d, want %d\n%s", method, path, r.status, status, r.body)
	}
	if status >= 400 {
		checkProblem(t, r)
	}
	if len(r.body) == 0 {
		return nil
	}
	return r.json(t)
}

// checkProblem says what makes an answer that is an error a good one.
func checkProblem(t testing.TB, r reply) {
	t.Helper()
	var p api.Problem
	if ct := r.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%d: the content type is %q\n%s", r.status, ct, r.body)
	}
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Errorf("%d: %v\n%s", r.status, err, r.body)
		return
	}
	if p.Status != r.status || p.Type != "urn:forg:problem:"+string(p.Code) || p.Title == "" || p.Instance != r.header.Get("X-Request-Id") || p.Instance == "" {
		t.Errorf("%d: this is no good problem: %s (request %s)", r.status, r.body, r.header.Get("X-Request-Id"))
	}
	for _, inside := range []string{"goroutine", "sql", "pgx", ".go:", "server.", "store.", "panic"} {
		if strings.Contains(strings.ToLower(p.Title+p.Detail+fmt.Sprint(p.Errors)), inside) {
			t.Errorf("%d: it speaks of the server's insides: %s", r.status, r.body)
		}
	}
}

const password = "correct horse battery"

// user is somebody who has logged in.
type user struct {
	id, email, access, refresh string
}

func (s *service) signUp(t testing.TB, email string) user {
	t.Helper()
	u := s.want(t, 201, "", "POST", "/api/v1/auth/signup", map[string]any{"email": email, "password": password, "full_name": "Full Name"})
	return s.logIn(t, user{id: u["id"].(string), email: email}, nil)
}

func (s *service) logIn(t testing.TB, u user, device map[string]any) user {
	t.Helper()
	body := map[string]any{"email": u.email, "password": password}
	if device != nil {
		body["device"] = device
	}
	tokens := s.want(t, 200, "", "POST", "/api/v1/auth/login", body)
	u.access, u.refresh = tokens["access_token"].(string), tokens["refresh_token"].(string)
	return u
}

// operator is the store beside the server, as the operator's commands have it. On SQLite it is another process to it.
func (s *service) operator(t testing.TB) *store.Store {
	t.Helper()
	st, err := Open(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

// eventually waits for what takes a moment.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) { // a machine may be slow
		if time.Now().After(deadline) {
			t.Fatal("it did not come to this: " + what)
		}
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		body := map[string]any{"email": "Ana@Example.org", "password": password, "full_name": "Ana"}
		u := s.want(t, 201, "", "POST", "/api/v1/auth/signup", body)
		if u["email"] != "ana@example.org" || u["subscription_tier"] != "free" || u["is_active"] != true || len(u) != 14 {
			t.Errorf("signup gives %v", u)
		}
		if p := s.want(t, 409, "", "POST", "/api/v1/auth/signup", body); p["code"] != "email_taken" {
			t.Errorf("signing up twice: %v", p)
		}
		for field, bad := range map[string]map[string]any{
			"body.email":    {"email": "ana", "password": password, "full_name": ""},
			"body.password": {"email": "b@example.org", "password": "short", "full_name": ""},
		} {
			p := s.want(t, 422, "", "POST", "/api/v1/auth/signup", bad)
			if e := p["errors"].([]any)[0].(map[string]any); e["location"] != field {
				t.Errorf("%v: the error is about %v", bad, e)
			}
		}
		if p := s.want(t, 422, "", "POST", "/api/v1/auth/signup", map[string]any{"email": "c@example.org", "password": strings.Repeat("é", 40), "full_name": ""}); !strings.Contains(p["detail"].(string), "72") {
			t.Errorf("a password of 80 bytes: %v", p)
		}
		wrong := s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": "ana@example.org", "password": "wrong password"})
		nobody := s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": "nobody@example.org", "password": "wrong password"})
		same := func(r reply) string {
			v := r.json(t)
			delete(v, "instance")
			return fmt.Sprint(r.status, v)
		}
		if same(wrong) != same(nobody) || wrong.status != 401 {
			t.Errorf("a wrong password and an unknown address are told apart:\n%s\n%s", same(wrong), same(nobody))
		}
		ana := s.logIn(t, user{email: "ANA@example.org"}, nil)
		if me := s.want(t, 200, ana.access, "GET", "/api/v1/auth/me", nil); me["email"] != "ana@example.org" || me["last_login_at"] == nil {
			t.Errorf("me is %v", me)
		}
		// Rotation, and a replay after it.
		next := s.want(t, 200, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": ana.refresh})
		if next["token_type"] != "bearer" || next["expires_in"] != 1800.0 || next["refresh_token"] == ana.refresh {
			t.Errorf("refresh gives %v", next)
		}
		last := s.want(t, 200, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": next["refresh_token"]})
		s.want(t, 200, last["access_token"].(string), "GET", "/api/v1/auth/me", nil)
		s.want(t, 401, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": ana.refresh})
		s.want(t, 401, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": last["refresh_token"]})
		s.want(t, 401, last["access_token"].(string), "GET", "/api/v1/auth/me", nil)
		// Logout, and a new password, which ends all sessions.
		one, two := s.logIn(t, ana, nil), s.logIn(t, ana, nil)
		s.want(t, 204, one.access, "POST", "/api/v1/auth/logout", nil)
		s.want(t, 401, one.access, "GET", "/api/v1/auth/me", nil)
		s.want(t, 401, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": one.refresh})
		s.want(t, 422, two.access, "POST", "/api/v1/auth/password", map[string]any{"old_password": "nonsense", "new_password": "another horse"})
		s.want(t, 204, two.access, "POST", "/api/v1/auth/password", map[string]any{"old_password": password, "new_password": "another horse"})
		s.want(t, 401, two.access, "GET", "/api/v1/auth/me", nil)
		tokens := s.want(t, 200, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": "another horse"})
		access := tokens["access_token"].(string)
		// Everything out, and then gone.
		lines := strings.Split(strings.TrimSpace(string(s.do(t, access, "GET", exportPath, nil).body)), "\n")
		if !strings.Contains(lines[0], `"type":"user"`) || lines[len(lines)-1] != `{"type":"end","data":null}` || strings.Contains(strings.Join(lines, ""), "$2a$") {
			t.Errorf("the export is %q", lines)
		}
		s.want(t, 204, access, "DELETE", "/api/v1/auth/me", nil)
		s.want(t, 401, access, "GET", "/api/v1/auth/me", nil)
		s.want(t, 401, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": "another horse"})
		if log := s.log.String(); strings.Contains(log, "horse") || strings.Contains(log, access) || strings.Contains(log, ana.refresh) {
			t.Error("the log has a secret in it")
		}
	})
}

// organizeIn starts an operation in a location and waits until it has finished.
func (s *service) organizeIn(t testing.TB, u user, location uuid.UUID, options map[string]any) map[string]any {
	t.Helper()
	op := s.want(t, 202, u.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": location}, "options": options})
	return s.finished(t, u, op["id"].(string))
}

func (s *service) finished(t testing.TB, u user, id string) (op map[string]any) {
	t.Helper()
	eventually(t, "operation "+id+" has finished", func() bool {
		op = s.want(t, 200, u.access, "GET", "/api/v1/operations/"+id, nil)
		return api.OperationStatus(op["status"].(string)).Finished()
	})
	return op
}

// location registers a folder with some files in it.
func (s *service) location(t testing.TB, u user, files ...string) store.Location {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		write(t, filepath.Join(dir, f), "content of "+f)
	}
	l, err := s.operator(t).CreateLocation(t.Context(), store.Location{UserID: uuid.MustParse(u.id), Name: "inbox", Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestOperationInLocation(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		ana, bob := s.signUp(t, "ana@example.org"), s.signUp(t, "bob@example.org")
		l := s.location(t, ana, "a.pdf", "b.jpg", "c.mp3")
		start := map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}}
		s.want(t, 404, bob.access, "POST", "/api/v1/operations", start)
		first := s.want(t, 202, ana.access, "POST", "/api/v1/operations", start, "Idempotency-Key", "one")
		again := s.want(t, 202, ana.access, "POST", "/api/v1/operations", start, "Idempotency-Key", "one")
		if first["id"] != again["id"] || first["status"] != "pending" {
			t.Errorf("the same key starts %v and %v", first, again)
		}
		s.want(t, 409, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID, "root": "sub"}}, "Idempotency-Key", "one")
		id := first["id"].(string)
		op := s.finished(t, ana, id)
		if op["status"] != "completed" || op["files_processed"] != 3.0 || op["files_total"] != 3.0 || op["files_failed"] != 0.0 || op["bytes_moved"] == 0.0 {
			t.Errorf("it became %v", op)
		}
		for _, f := range []string{"Documents/a.pdf", "Images/b.jpg", "Audio/c.mp3"} {
			if !exists(filepath.Join(l.Root, f)) {
				t.Errorf("there is no %s", f)
			}
		}
		// Files in pages of one.
		seen := map[string]bool{}
		for cursor := ""; ; {
			page := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+id+"/files?limit=1&cursor="+cursor, nil)
			for _, f := range page["items"].([]any) {
				r := f.(map[string]any)
				if r["status"] != "done" || r["operation_id"] != id {
					t.Errorf("a record is %v", r)
				}
				seen[filepath.Base(r["source_path"].(string))] = true
			}
			next, more := page["next_cursor"].(string)
			if !more {
				break
			}
			cursor = next
		}
		if len(seen) != 3 {
			t.Errorf("the records are of %v", seen)
		}
		s.want(t, 404, bob.access, "GET", "/api/v1/operations/"+id, nil)
		s.want(t, 404, bob.access, "GET", "/api/v1/operations/"+id+"/files", nil)
		s.want(t, 404, bob.access, "POST", "/api/v1/operations/"+id+"/rollback", nil)
		// Nothing to do the second time.
		if op := s.organizeIn(t, ana, l.ID, nil); op["status"] != "completed" || op["files_processed"] != 0.0 {
			t.Errorf("the second time it became %v", op)
		}
		undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+id+"/rollback", nil)
		if undo["kind"] != "undo" || undo["rollback_of"] != id {
			t.Errorf("the rollback is %v", undo)
		}
		if op := s.finished(t, ana, undo["id"].(string)); op["status"] != "completed" || op["files_processed"] != 3.0 {
			t.Errorf("the rollback became %v", op)
		}
		if op := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+id, nil); op["status"] != "undone" {
			t.Errorf("what was rolled back is %v", op)
		}
		if p := s.want(t, 409, ana.access, "POST", "/api/v1/operations/"+id+"/rollback", nil); p["code"] != "not_undoable" {
			t.Errorf("rolling back twice: %v", p)
		}
		for _, f := range []string{"a.pdf", "b.jpg", "c.mp3"} {
			if !exists(filepath.Join(l.Root, f)) {
				t.Errorf("%s did not come back", f)
			}
		}
		// The list, its filters and its pages.
		for query, n := range map[string]int{"": 3, "?kind=undo": 1, "?status=undone,completed": 3, "?status=failed": 0, "?path=" + filepath.Base(l.Root): 3, "?path=nowhere": 0,
			"?device_id=" + l.ID.String(): 3, "?until=2020-01-01T00:00:00Z": 0, "?since=2020-01-01T00:00:00Z": 3, "?limit=2": 2} {
			if got := len(s.want(t, 200, ana.access, "GET", "/api/v1/operations"+query, nil)["items"].([]any)); got != n {
				t.Errorf("the list %s has %d operations, want %d", query, got, n)
			}
		}
		page := s.want(t, 200, ana.access, "GET", "/api/v1/operations?limit=2", nil)
		if rest := s.want(t, 200, ana.access, "GET", "/api/v1/operations?limit=2&cursor="+page["next_cursor"].(string), nil); len(rest["items"].([]any)) != 1 || rest["next_cursor"] != nil {
			t.Errorf("the second page is %v", rest)
		}
		s.want(t, 422, ana.access, "GET", "/api/v1/operations?cursor=nonsense", nil)
		s.want(t, 422, ana.access, "GET", "/api/v1/operations?status=nonsense", nil)
		s.want(t, 422, ana.access, "GET", "/api/v1/operations?limit=501", nil)
		for field, bad := range map[string]map[string]any{
			"body.kind":                {"kind": "dupes", "target": map[string]any{"location_id": l.ID}},
			"body.target":              {"kind": "organize", "target": map[string]any{}},
			"body.target.root":         {"kind": "organize", "target": map[string]any{"location_id": l.ID, "root": "../elsewhere"}},
			"body.options.by":          {"kind": "organize", "target": map[string]any{"location_id": l.ID}, "options": map[string]any{"by": []string{"colour"}}},
			"body.options.exec":        {"kind": "organize", "target": map[string]any{"location_id": l.ID}, "options": map[string]any{"exec": "rm"}},
			"body.options.rules":       {"kind": "organize", "target": map[string]any{"location_id": l.ID}, "options": map[string]any{"rules": "nobody's"}},
			"body.target.location_id":  {"kind": "organize", "target": map[string]any{"location_id": "nonsense"}},
			"body.options.on_conflict": {"kind": "organize", "target": map[string]any{"location_id": l.ID}, "options": map[string]any{"on_conflict": "pray"}},
		} {
			p := s.want(t, 422, ana.access, "POST", "/api/v1/operations", bad)
			if e, ok := p["errors"].([]any); !ok || e[0].(map[string]any)["location"] != field {
				t.Errorf("%v: %v", bad, p)
			}
		}
	})
}

// pausing is a folder in which work stops after the first file, until it is told to end.
type pausing struct {
	place
	reached chan struct{}
}

func (p pausing) organize(ctx context.Context, j *journal.Journal, root string, f *organizeOptions, planned func(files, duplicates, problems int64),
	run organizer.RunOptions) error {
	step := run.Step
	run.Step = func(s *journal.Step, err error) {
		step(s, err)
		p.reached <- struct{}{}
		<-ctx.Done()
	}
	return p.place.organize(ctx, j, root, f, planned, run)
}

// TestStopAtWork stops an operation in the middle: what was done until then is its history, and can be rolled back.
func TestStopAtWork(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	s := start(t, Config{place: func(l store.Location) place {
		return pausing{&folder{top: l.Root, data: filepath.Join(l.Root, ".data"), set: rules.Builtin(), now: time.Now}, reached}
	}})
	ana := s.signUp(t, "ana@example.org")
	l := s.location(t, ana, "a.pdf", "b.pdf", "c.pdf")
	ask := map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}}
	op := s.want(t, 202, ana.access, "POST", "/api/v1/operations", ask)
	<-reached
	waits := s.want(t, 202, ana.access, "POST", "/api/v1/operations", ask)["id"].(string)
	if o := s.want(t, 200, ana.access, "POST", "/api/v1/operations/"+waits+"/cancel", nil); o["status"] != "cancelled" {
		t.Errorf("what nobody had begun became %v", o)
	}
	id := op["id"].(string)
	if o := s.want(t, 200, ana.access, "POST", "/api/v1/operations/"+id+"/cancel", nil); o["status"] != "running" {
		t.Errorf("it is asked to stop and answers %v", o)
	}
	if op = s.finished(t, ana, id); op["status"] != "partial" || op["files_processed"] != 1.0 || !strings.Contains(op["error"].(string), "stopped") {
		t.Errorf("it became %v", op)
	}
	s.want(t, 409, ana.access, "POST", "/api/v1/operations/"+id+"/cancel", nil)
	undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+id+"/rollback", nil)
	if op = s.finished(t, ana, undo["id"].(string)); op["status"] != "completed" || op["files_processed"] != 1.0 {
		t.Errorf("its rollback became %v", op)
	}
	for _, f := range []string{"a.pdf", "b.pdf", "c.pdf"} {
		if !exists(filepath.Join(l.Root, f)) {
			t.Errorf("%s did not come back", f)
		}
	}
}

// TestRulesOfLocations: rules decide where files go, inside the location and nowhere else.
func TestRulesOfLocations(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	l := s.location(t, ana, "invoice.pdf", "other.pdf", "sub/invoice.pdf")
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(l.Root, "way")); err != nil {
		t.Fatal(err)
	}
	st := s.operator(t)
	for name, source := range map[string]string{
		"invoices": "rules:\n  - filters: [name: invoice]\n    subfolders: true\n    actions: [move: \"money/{name} {size}.pdf\"]\n",
		"absolute": "rules:\n  - actions: [move: \"" + filepath.ToSlash(outside) + "/\"]\n",
		"above":    "rules:\n  - actions: [copy: \"../elsewhere/\"]\n",
		"link":     "rules:\n  - actions: [symlink: \"way/x/\"]\n",
		"program":  "rules:\n  - actions: [exec: [touch, x]]\n",
	} {
		if err := st.SetRules(t.Context(), store.RuleSet{UserID: l.UserID, LocationID: l.ID, Name: name, Source: source}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absolute", "above", "link", "program"} {
		op := s.organizeIn(t, ana, l.ID, map[string]any{"rules": name})
		if op["status"] == "completed" || op["files_processed"] != 0.0 || op["error"] == "" || strings.Contains(op["error"].(string), outside) {
			t.Errorf("by the rules %q it became %v", name, op)
		}
	}
	if there, err := os.ReadDir(outside); err != nil || len(there) > 0 || exists(filepath.Join(filepath.Dir(l.Root), "elsewhere")) {
		t.Errorf("outside there is %v, %v", there, err)
	}
	op := s.organizeIn(t, ana, l.ID, map[string]any{"rules": "invoices"})
	if op["status"] != "completed" || op["files_processed"] != 2.0 {
		t.Errorf("by rules it became %v", op)
	}
	for _, f := range []string{"money/invoice 22.pdf", "money/invoice 26.pdf", "other.pdf"} {
		if !exists(filepath.Join(l.Root, f)) {
			t.Errorf("there is no %s", f)
		}
	}
	undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+op["id"].(string)+"/rollback", nil)
	s.finished(t, ana, undo["id"].(string))
	if !exists(filepath.Join(l.Root, "invoice.pdf")) || !exists(filepath.Join(l.Root, "sub/invoice.pdf")) || exists(filepath.Join(l.Root, "money")) {
		t.Error("it did not come back")
	}
	p := s.want(t, 422, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID},
		"options": map[string]any{"rules": "invoices", "by": []string{"year"}}})
	if p["errors"].([]any)[0].(map[string]any)["location"] != "body.options.rules" {
		t.Errorf("rules and by: %v", p)
	}
}

// TestFolderLeadsOut shows that a link in a location leads nowhere.
func TestFolderLeadsOut(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	l := s.location(t, ana)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret.pdf"), "x")
	if err := os.Symlink(outside, filepath.Join(l.Root, "way")); err != nil {
		t.Fatal(err)
	}
	op := s.want(t, 202, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID, "root": "way"}})
	if op = s.finished(t, ana, op["id"].(string)); op["status"] != "failed" || !strings.Contains(op["error"].(string), "leads out") {
		t.Errorf("it became %v", op)
	}
	if !exists(filepath.Join(outside, "secret.pdf")) {
		t.Error("a file outside was moved")
	}
}

func TestDevicesKeysAndSync(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		ana := s.signUp(t, "ana@example.org")
		device, epoch := uuid.Must(uuid.NewV7()), uuid.New()
		laptop := s.logIn(t, ana, map[string]any{"id": device, "name": "laptop", "platform": "linux/amd64"})
		phone := s.logIn(t, ana, map[string]any{"id": uuid.Must(uuid.NewV7()), "name": "phone"})
		op := uuid.Must(uuid.NewV7())
		var entries []api.Entry
		for i, b := range []api.Body{&api.Started{Kind: "organize", Root: "/home/ana/Downloads", Planned: 1},
			api.Files{{Seq: 1, SourcePath: "/home/ana/Downloads/a.pdf", DestinationPath: "/home/ana/Downloads/Documents/a.pdf", Size: 9, Action: "rename", Status: api.FilePlanned}},
			&api.Finished{Status: api.OpCompleted, Processed: 1, Bytes: 9}} {
			e, err := api.NewEntry(int64(i+1), uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), b)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		push := api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: api.Genesis(device, epoch), Entries: entries}
		for range 2 { // the answer may have got lost
			if got := s.want(t, 200, laptop.access, "POST", "/api/v1/sync/push", push); got["acked_seq"] != 3.0 {
				t.Fatalf("push: %v", got)
			}
		}
		if got := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+op.String(), nil); got["status"] != "completed" || got["root"] != "/home/ana/Downloads" {
			t.Errorf("the operation is %v", got)
		}
		gap := push
		gap.Entries = []api.Entry{entries[0]}
		gap.Entries[0].Seq = 9
		gap.Entries[0].SHA256 = gap.Entries[0].Sum(mustRaw(t, &gap.Entries[0]))
		if p := s.want(t, 409, laptop.access, "POST", "/api/v1/sync/push", gap); p["code"] != "gap" || p["acked_seq"] != 3.0 {
			t.Errorf("a gap: %v", p)
		}
		s.want(t, 404, phone.access, "POST", "/api/v1/sync/push", push) // for another device than its own
		bad := push
		bad.Protocol = "forg-sync/99"
		s.want(t, 426, laptop.access, "POST", "/api/v1/sync/push", bad)
		// The other device gets it, the same one does not.
		lines := func(u user, query string) []string {
			r := s.do(t, u.access, "GET", "/api/v1/sync/pull"+query, nil)
			if r.status != 200 {
				t.Fatalf("pull: %d %s", r.status, r.body)
			}
			return strings.Split(strings.TrimSpace(string(r.body)), "\n")
		}
		if got := lines(phone, "?after=0"); len(got) != 4 || got[3] != `{"next":3,"head":3}` {
			t.Errorf("the other device pulls %q", got)
		}
		if got := lines(laptop, ""); len(got) != 1 {
			t.Errorf("the same device pulls %q", got)
		}
		if got := s.want(t, 200, phone.access, "POST", "/api/v1/sync/ack", api.AckRequest{Cursor: 2}); got["cursor"] != 2.0 {
			t.Errorf("ack: %v", got)
		}
		if got := s.want(t, 200, phone.access, "POST", "/api/v1/sync/ack", api.AckRequest{Cursor: 1}); got["cursor"] != 2.0 {
			t.Errorf("an ack that goes back: %v", got)
		}
		if got := s.want(t, 200, phone.access, "GET", "/api/v1/sync/state", nil); got["cursor"] != 2.0 || len(got["logs"].([]any)) != 1 {
			t.Errorf("state: %v", got)
		}
		if p := s.want(t, 410, phone.access, "GET", "/api/v1/sync/pull?after=99", nil); p["code"] != "cursor_expired" {
			t.Errorf("a pull after the end: %v", p)
		}
		// Somebody who waits hears of it: who waits in vain is given nothing in the end.
		heard := make(chan []string, 1)
		go func() { heard <- lines(phone, "?after=3&wait=20") }()
		time.Sleep(200 * time.Millisecond) // so that it waits by now; if it does not, it finds the entry there
		e, err := api.NewEntry(4, uuid.Must(uuid.NewV7()), uuid.Nil, time.Now().UnixMicro(), &api.DeviceRenamed{Name: "lap"})
		if err != nil {
			t.Fatal(err)
		}
		state := s.want(t, 200, laptop.access, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch})
		var chain api.Hash
		if err := chain.UnmarshalText([]byte(state["chain"].(string))); err != nil {
			t.Fatal(err)
		}
		s.want(t, 200, laptop.access, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain, Entries: []api.Entry{e}})
		if got := <-heard; len(got) != 2 {
			t.Errorf("it heard %q", got)
		}
		// A rollback is queued for the device, which carries it out.
		undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+op.String()+"/rollback", map[string]any{"only": "*.pdf"})
		if p := s.want(t, 409, ana.access, "POST", "/api/v1/operations/"+op.String()+"/rollback", nil); p["code"] != "command_open" {
			t.Errorf("another rollback: %v", p)
		}
		got := s.want(t, 200, laptop.access, "GET", "/api/v1/sync/commands?wait=1", nil)["commands"].([]any)
		if len(got) != 1 {
			t.Fatalf("commands: %v", got)
		}
		c := got[0].(map[string]any)
		if c["kind"] != "rollback" || c["operation_id"] != undo["id"] || c["rollback_of"] != op.String() || c["only"] != "*.pdf" {
			t.Errorf("the command is %v", c)
		}
		path := "/api/v1/sync/commands/" + c["id"].(string)
		s.want(t, 409, laptop.access, "POST", path, map[string]any{"lease": uuid.New(), "state": "running"})
		s.want(t, 422, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "cancelled"})
		s.want(t, 404, phone.access, "POST", path, map[string]any{"lease": c["lease"], "state": "running"})
		s.want(t, 200, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "running", "progress": api.Progress{FilesTotal: 1}})
		for range 2 {
			s.want(t, 200, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "succeeded", "result": api.CommandResult{Processed: 1}})
		}
		if got := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+undo["id"].(string), nil); got["status"] != "completed" {
			t.Errorf("the rollback is %v", got)
		}
		// The mac of whoever asks comes along, and covers an id that is theirs.
		ask := map[string]any{"kind": "organize", "target": map[string]any{"device_id": device, "root": "downloads"}, "options": map[string]any{"rules": "photos"}, "mac": []byte{1, 2}}
		s.want(t, 422, ana.access, "POST", "/api/v1/operations", ask)
		ask["id"] = uuid.Must(uuid.NewV7())
		s.want(t, 202, ana.access, "POST", "/api/v1/operations", ask)
		c = s.want(t, 200, laptop.access, "GET", "/api/v1/sync/commands", nil)["commands"].([]any)[0].(map[string]any)
		if c["mac"] != "AQI=" || c["root"] != "downloads" || c["rules"] != "photos" || c["operation_id"] != ask["id"].(uuid.UUID).String() {
			t.Errorf("the command is %v", c)
		}
		// What is asked of a device can be taken back; at work it is asked to stop.
		path = "/api/v1/sync/commands/" + c["id"].(string)
		s.want(t, 200, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "running"})
		cancel := "/api/v1/operations/" + ask["id"].(uuid.UUID).String() + "/cancel"
		if o := s.want(t, 200, ana.access, "POST", cancel, nil); o["status"] != "running" {
			t.Errorf("at work it is %v", o)
		}
		if u := s.want(t, 200, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "running"}); u["cancel"] != true {
			t.Errorf("the device is told %v", u)
		}
		s.want(t, 200, laptop.access, "POST", path, map[string]any{"lease": c["lease"], "state": "partial", "result": api.CommandResult{Processed: 1, Error: "stopped"}})
		s.want(t, 409, ana.access, "POST", cancel, nil)
		s.want(t, 409, ana.access, "POST", "/api/v1/operations/"+op.String()+"/cancel", nil) // it was begun there
		waiting := s.want(t, 202, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"device_id": device, "root": "downloads"}})
		if o := s.want(t, 200, ana.access, "POST", "/api/v1/operations/"+waiting["id"].(string)+"/cancel", nil); o["status"] != "cancelled" {
			t.Errorf("taken back it is %v", o)
		}
		// What may be asked of a device it says itself.
		offers := map[string]any{"kinds": []string{"rollback"}, "folders": []string{"downloads"}, "rules": []string{}}
		s.want(t, 204, laptop.access, "PUT", "/api/v1/devices/"+device.String()+"/offers", offers)
		s.want(t, 404, phone.access, "PUT", "/api/v1/devices/"+device.String()+"/offers", offers)
		s.want(t, 422, laptop.access, "PUT", "/api/v1/devices/"+device.String()+"/offers", map[string]any{"kinds": []string{}, "folders": []string{"/home"}, "rules": []string{}})
		told := false
		for _, d := range s.want(t, 200, ana.access, "GET", "/api/v1/devices", nil)["items"].([]any) {
			d := d.(map[string]any)
			o, _ := d["offers"].(map[string]any)
			told = told || d["id"] == device.String() && o != nil && o["folders"].([]any)[0] == "downloads"
		}
		if !told {
			t.Error("what the device offers is not told")
		}
		// A key of one device only.
		bound := s.want(t, 201, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "cron", "scopes": []string{"push"}, "device_id": device})
		if bound["device_id"] != device.String() {
			t.Errorf("the key of a device is %v", bound)
		}
		mine := bound["key"].(string)
		s.want(t, 200, mine, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch})
		s.want(t, 404, mine, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: uuid.Must(uuid.NewV7()), Epoch: epoch})
		s.want(t, 200, mine, "POST", "/api/v1/sync/ack", api.AckRequest{Cursor: 1})
		s.want(t, 403, mine, "GET", "/api/v1/sync/state", nil)
		s.want(t, 404, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"push"}, "device_id": uuid.Must(uuid.NewV7())})
		// Devices.
		s.want(t, 422, ana.access, "PATCH", "/api/v1/devices/"+device.String(), map[string]any{"name": " spaces "})
		if d := s.want(t, 200, ana.access, "PATCH", "/api/v1/devices/"+device.String(), map[string]any{"name": "Laptop"}); d["name"] != "Laptop" {
			t.Errorf("renamed it is %v", d)
		}
		if n := len(s.want(t, 200, ana.access, "GET", "/api/v1/devices", nil)["items"].([]any)); n != 2 {
			t.Errorf("there are %d devices", n)
		}
		s.want(t, 204, ana.access, "DELETE", "/api/v1/devices/"+device.String(), nil)
		s.want(t, 401, laptop.access, "GET", "/api/v1/auth/me", nil)
		s.want(t, 401, mine, "GET", "/api/v1/auth/me", nil)
		s.want(t, 409, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"push"}, "device_id": device})
		if p := s.want(t, 409, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": password, "device": map[string]any{"id": device, "name": "back"}}); p["code"] != "device_revoked" {
			t.Errorf("a revoked device logs in: %v", p)
		}
		// API keys.
		key := s.want(t, 201, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "backup", "scopes": []string{"push", "read"}})
		if !strings.HasPrefix(key["key"].(string), key["prefix"].(string)+"_") {
			t.Errorf("the key is %v", key)
		}
		text := key["key"].(string)
		s.want(t, 200, text, "GET", "/api/v1/auth/me", nil)
		s.want(t, 403, text, "GET", "/api/v1/api-keys", nil)
		other := uuid.Must(uuid.NewV7())
		s.want(t, 200, text, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: other, Epoch: epoch})
		list := s.do(t, ana.access, "GET", "/api/v1/api-keys", nil)
		if bytes.Contains(list.body, []byte(text)) || !bytes.Contains(list.body, []byte(key["prefix"].(string))) {
			t.Errorf("the list of keys is %s", list.body)
		}
		s.want(t, 204, ana.access, "DELETE", "/api/v1/api-keys/"+key["id"].(string), nil)
		s.want(t, 401, text, "GET", "/api/v1/auth/me", nil)
		s.want(t, 401, text[:len(text)-1]+"x", "GET", "/api/v1/auth/me", nil)
		s.want(t, 422, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"root"}})
		if strings.Contains(s.log.String(), text) {
			t.Error("the log has an API key in it")
		}
	})
}

// TestExportIntoAnother: what comes out of one service goes into another, and the logs there have the same chains.
func TestExportIntoAnother(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		ana := s.signUp(t, "ana@example.org")
		l := s.location(t, ana, "a.pdf", "b.jpg")
		op := s.organizeIn(t, ana, l.ID, nil)["id"].(string)
		s.finished(t, ana, s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+op+"/rollback", nil)["id"].(string))
		device := uuid.Must(uuid.NewV7())
		laptop := s.logIn(t, ana, map[string]any{"id": device, "name": "laptop"})
		for range 2 { // two epochs, the second of which retires the first
			epoch, run := uuid.New(), uuid.Must(uuid.NewV7())
			chain := api.Genesis(device, epoch)
			for seq, b := range []api.Body{&api.Started{Kind: "organize", Root: "/home/ana"}, &api.Finished{Status: api.OpCompleted}} {
				e, err := api.NewEntry(int64(seq+1), uuid.Must(uuid.NewV7()), run, time.Now().UnixMicro(), b)
				if err != nil {
					t.Fatal(err)
				}
				s.want(t, 200, laptop.access, "POST", "/api/v1/sync/push", api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain, Entries: []api.Entry{e}})
				chain = chain.Next(e.SHA256)
			}
		}
		logs := func(s *service, u user) map[string]any {
			all := map[string]any{}
			for _, l := range s.want(t, 200, u.access, "GET", "/api/v1/sync/state", nil)["logs"].([]any) {
				log := l.(map[string]any)
				all[log["device_id"].(string)+" "+log["epoch"].(string)] = fmt.Sprint(log["acked_seq"], log["chain"])
			}
			return all
		}
		there := start(t, Config{})
		again := there.signUp(t, "ana@new.example.org")
		chains := map[string]api.Hash{}
		for line := range strings.Lines(string(s.do(t, ana.access, "GET", exportPath, nil).body)) {
			var x struct {
				Type string
				Data api.PullEntry
			}
			if !strings.Contains(line, `"type":"entry"`) {
				continue
			}
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatal(err)
			}
			e := x.Data
			log := e.DeviceID.String() + e.Epoch.String()
			if e.Seq == 1 {
				chains[log] = api.Genesis(e.DeviceID, e.Epoch)
			}
			there.want(t, 200, again.access, "POST", "/api/v1/sync/push",
				api.PushRequest{Protocol: api.Protocol, DeviceID: e.DeviceID, Epoch: e.Epoch, PrevChain: chains[log], Entries: []api.Entry{e.Entry}})
			chains[log] = chains[log].Next(e.SHA256)
		}
		if was, is := logs(s, ana), logs(there, again); len(is) != 3 || !maps.Equal(was, is) {
			t.Errorf("the logs were %v, and are %v there", was, is)
		}
	})
}

func mustRaw(t testing.TB, e *api.Entry) []byte {
	t.Helper()
	raw, err := e.Raw(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRunRefusesASecondServer(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	err := Run(t.Context(), s.cfg)
	if err == nil || !strings.Contains(err.Error(), "another server's") {
		t.Errorf("a second server on the same folder: %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error("it ran")
	}
}
