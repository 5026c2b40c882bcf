package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/pgtest"
	"forg/sync/server/store"
)

// follow opens a WebSocket on an operation.
func (s *service) follow(t testing.TB, token, path string, header ...string) (*websocket.Conn, error) {
	t.Helper()
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+path, &websocket.DialOptions{HTTPHeader: h})
	if err == nil {
		c.SetReadLimit(1 << 20)
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, err
}

// events reads to the end, and returns the code that the server closed with.
func events(t testing.TB, c *websocket.Conn) (all []api.Event, code websocket.StatusCode) {
	t.Helper()
	for {
		e, err := event(t, c)
		if err != nil {
			return all, websocket.CloseStatus(err)
		}
		all = append(all, e)
	}
}

// event reads one.
func event(t testing.TB, c *websocket.Conn) (e api.Event, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err == nil {
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
	}
	return e, err
}

// until reads until something is told.
func until(t testing.TB, c *websocket.Conn, told func(api.Event) bool) (all []api.Event) {
	t.Helper()
	for {
		e, err := event(t, c)
		if err != nil {
			t.Fatalf("after %+v: %v", all, err)
		}
		if all = append(all, e); told(e) {
			return all
		}
	}
}

// pending is an operation of a device, which nobody carries out but the test.
func (s *service) pending(t testing.TB, u user) uuid.UUID {
	t.Helper()
	st := s.operator(t)
	d, err := st.PutDevice(t.Context(), store.Device{ID: uuid.Must(uuid.NewV7()), UserID: uuid.MustParse(u.id), Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	op := s.want(t, 202, u.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"device_id": d.ID, "root": "Downloads"}})
	return uuid.MustParse(op["id"].(string))
}

func TestLive(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		ana, bob := s.signUp(t, "ana@example.org"), s.signUp(t, "bob@example.org")
		op := s.pending(t, ana)
		path := "/ws/operations/" + op.String()
		device := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+op.String(), nil)["device_id"].(string)
		leased := s.want(t, 200, ana.access, "GET", "/api/v1/sync/commands?device_id="+device, nil)["commands"].([]any)[0].(map[string]any)
		say := func(state string, done int64) {
			s.want(t, 200, ana.access, "POST", "/api/v1/sync/commands/"+leased["id"].(string), map[string]any{"lease": leased["lease"], "state": state,
				"progress": api.Progress{FilesTotal: 3, FilesProcessed: done}, "result": api.CommandResult{Processed: done}})
		}
		c, err := s.follow(t, ana.access, path)
		if err != nil {
			t.Fatal(err)
		}
		later, err := s.follow(t, "", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := later.Write(t.Context(), websocket.MessageText, []byte(`{"token": "`+ana.access+`"}`)); err != nil {
			t.Fatal(err)
		}
		is := func(done int64) func(api.Event) bool {
			return func(e api.Event) bool { return e.Progress != nil && e.Progress.FilesProcessed == done }
		}
		all, second := until(t, c, is(0)), until(t, later, is(0))
		for i := range int64(3) {
			say("running", i+1)
			all = append(all, until(t, c, is(i+1))...)
		}
		say("succeeded", 3)
		rest, code := events(t, c)
		all = append(all, rest...)
		if code != websocket.StatusNormalClosure || len(all) < 5 {
			t.Fatalf("%d events, closed with %d: %+v", len(all), code, all)
		}
		for i, e := range all {
			if e.OperationID != op || i > 0 && e.Seq <= all[i-1].Seq {
				t.Errorf("event %d is %+v", i, e)
			}
		}
		if first, last := all[0], all[len(all)-1]; first.Status != api.OpPending || last.Status != api.OpCompleted || last.Type != api.EventStatus || last.Progress.FilesProcessed != 3 {
			t.Errorf("it begins with %+v and ends with %+v", first, last)
		}
		rest, code = events(t, later) // several changes may come as one event: it did not read meanwhile
		if second = append(second, rest...); code != websocket.StatusNormalClosure || second[len(second)-1].Seq != all[len(all)-1].Seq {
			t.Errorf("with the token as a message: %+v, closed with %d", second, code)
		}
		// Who comes back is told only what they missed.
		again, err := s.follow(t, ana.access, fmt.Sprintf("%s?after=%d", path, all[len(all)-1].Seq))
		if err != nil {
			t.Fatal(err)
		}
		if rest, code := events(t, again); len(rest) != 0 || code != websocket.StatusNormalClosure {
			t.Errorf("who has everything gets %+v, closed with %d", rest, code)
		}
		// Others see nothing.
		if _, err := s.follow(t, bob.access, path); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("another user: %v", err)
		}
		if _, err := s.follow(t, ana.access, path, "Origin", "https://evil.example"); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("another origin: %v", err)
		}
		bad, err := s.follow(t, "", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := bad.Write(t.Context(), websocket.MessageText, []byte(`{"token": "`+bob.access+`"}`)); err != nil {
			t.Fatal(err)
		}
		if _, code := events(t, bad); code != closeNone {
			t.Errorf("another user with the token as a message: closed with %d", code)
		}
		silent, err := s.follow(t, "", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, code := events(t, silent); code != closeDenied && code != -1 {
			t.Errorf("who says nothing: closed with %d", code)
		}
	})
}

// TestLiveFiles shows the file records of what a worker does.
func TestLiveFiles(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf("f%03d.pdf", i))
	}
	l := s.location(t, ana, names...)
	op := s.want(t, 202, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}})
	c, err := s.follow(t, ana.access, "/ws/operations/"+op["id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	all, code := events(t, c)
	seen := map[int64]bool{}
	for _, e := range all {
		for _, f := range e.Files {
			if seen[f.Seq] || f.Status != api.FileDone {
				t.Errorf("%+v comes twice, or was not done", f)
			}
			seen[f.Seq] = true
		}
	}
	if len(seen) != 250 || code != websocket.StatusNormalClosure {
		t.Errorf("%d records in %d events, closed with %d", len(seen), len(all), code)
	}
}

// TestSlowReader shows that a WebSocket which does not read is let go, and that others do not wait for it.
func TestSlowReader(t *testing.T) {
	h := &hub{metrics: newMetrics()}
	tp := &topic{hub: h, readers: map[*reader]bool{}}
	var dropped atomic.Int64
	slow := &reader{messages: make(chan message, liveBuffer), drop: func(error) { dropped.Add(1) }}
	quick := &reader{messages: make(chan message, liveBuffer), drop: func(error) { t.Error("the quick one is let go") }}
	tp.readers[slow], tp.readers[quick] = true, true
	for i := range 100 {
		tp.tell(store.Operation{Version: int64(i + 1), Status: api.OpRunning})
		if m := <-quick.messages; m.seq != int64(i+1) {
			t.Fatalf("the quick one gets %d, want %d", m.seq, i+1)
		}
	}
	if dropped.Load() == 0 {
		t.Error("the slow one is kept")
	}
}

// TestDrain ends a server under load. Its clients do what a balancer does: they ask whether it is ready, and open no new
// connections once it is not. Every request that they send is answered.
func TestDrain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, first *service) {
		cfg := first.cfg
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		cfg.Lame, cfg.Addr = 4*time.Second, "127.0.0.1:0" // of which clients need some to notice
		s := start(t, cfg)
		ana := s.signUp(t, "ana@example.org")
		var served atomic.Int64
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				client := &http.Transport{}
				defer client.CloseIdleConnections()
				for {
					select {
					case <-stop:
						return
					default:
					}
					method, path, body := "GET", "/api/v1/auth/me", ""
					if i%2 == 0 { // what must not be sent twice is not retried by anybody
						method, path, body = "PATCH", "/api/v1/devices/"+uuid.NewString(), `{"name": "x"}`
					}
					req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header.Set("Authorization", "Bearer "+ana.access)
					req.Header.Set("Content-Type", "application/json")
					res, err := client.RoundTrip(req)
					if err != nil {
						t.Errorf("a request got no answer: %v", err)
						return
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil {
						t.Errorf("an answer broke off: %v", err)
					}
					res.Body.Close()
					if res.StatusCode != 200 && res.StatusCode != 404 && res.StatusCode != 429 {
						t.Errorf("a request was answered with %d", res.StatusCode)
					}
					served.Add(1)
				}
			})
		}
		waiting := make(chan reply, 1)
		go func() {
			r, err := s.try(ana.access, "GET", "/api/v1/sync/pull?wait=30", nil)
			if err != nil {
				t.Errorf("who waits gets no answer: %v", err)
			}
			waiting <- r
		}()
		eventually(t, "there is load", func() bool { return served.Load() > 100 })
		wg.Go(func() {
			eventually(t, "it says that it is draining", func() bool {
				r, err := s.try("", "GET", "/health/ready", nil)
				return err != nil || r.status == 503
			})
			close(stop)
		})
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if r := <-waiting; r.status != 200 || !bytes.Contains(r.body, []byte(`"next"`)) {
			t.Errorf("who waits gets %d %s", r.status, r.body)
		}
		t.Logf("%d requests were answered", served.Load())
	})
}

// another is a server in another process, which can be killed.
type another struct {
	service
	cmd *exec.Cmd
}

func startAnother(t testing.TB, cfg Config) *another {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"DataDir": cfg.DataDir, "DatabaseURL": cfg.DatabaseURL, "Role": cfg.Role})
	if err != nil {
		t.Fatal(err)
	}
	a := &another{service: service{cfg: cfg, log: &lockedBuffer{}}, cmd: exec.Command(program)}
	a.cmd.Env = append(os.Environ(), "FORG_TEST_SERVER="+string(text))
	a.cmd.Stderr = a.log
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		a.cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		a.cmd.Wait()
		t.Fatalf("%v\n%s", err, a.log)
	}
	a.url = strings.TrimSpace(line)
	return a
}

// TestTwoProcesses has a client at one process and the worker in another.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, migrateForTest)
	dir := t.TempDir()
	front := start(t, Config{DatabaseURL: url, DataDir: dir, Role: RoleAPI})
	other := start(t, Config{DatabaseURL: url, DataDir: dir, Role: RoleAPI, look: 24 * time.Hour}) // it has to be told
	worker := startAnother(t, Config{DatabaseURL: url, DataDir: dir, Role: RoleWorker})
	worker.want(t, 200, "", "GET", "/health/ready", nil)
	worker.want(t, 404, "", "POST", "/api/v1/auth/login", map[string]any{})
	ana := front.signUp(t, "ana@example.org")
	l := front.location(t, ana, "a.pdf", "b.jpg")
	op := front.want(t, 202, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}})
	c, err := other.follow(t, ana.access, "/ws/operations/"+op["id"].(string)) // a token of one counts at the other
	if err != nil {
		t.Fatal(err)
	}
	all, code := events(t, c)
	if code != websocket.StatusNormalClosure || len(all) == 0 || !exists(filepath.Join(l.Root, "Documents", "a.pdf")) {
		t.Errorf("closed with %d after %+v", code, all)
	}
	// What happens at one is seen at the other before anybody looks by themselves.
	pending := front.pending(t, ana)
	w, err := other.follow(t, ana.access, "/ws/operations/"+pending.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, told := front.operator(t), make(chan api.Event, 1)
	go func() {
		e, err := event(t, w)
		for err == nil && (e.Progress == nil || e.Progress.FilesTotal == 0) {
			e, err = event(t, w)
		}
		told <- e
	}()
	for n := int64(1); ; n++ { // again, should the other not have been listening yet
		if _, err := st.UpdateOperation(t.Context(), uuid.MustParse(ana.id), pending, store.Progress{Status: api.OpRunning, FilesTotal: n}); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-told:
			if e.Progress == nil {
				t.Fatal("the other process has cut the WebSocket off")
			}
			t.Logf("told of %+v after %d changes", *e.Progress, n)
		case <-time.After(200 * time.Millisecond):
			continue
		}
		break
	}
	// A session that ends at one is over at the other soon.
	front.want(t, 204, ana.access, "POST", "/api/v1/auth/logout", nil)
	eventually(t, "the session is over everywhere", func() bool { return other.do(t, ana.access, "GET", "/api/v1/auth/me", nil).status == 401 })
}

// TestWorkerKilled kills the worker while it moves files, again and again. The operation goes on, no file is lost, and all
// of it can be rolled back.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills servers")
	}
	run := func(t *testing.T, cfg Config) {
		const files = 12000
		cfg.DataDir = t.TempDir()
		s := startAnother(t, cfg)
		ana := s.signUp(t, "ana@example.org")
		l := s.location(t, ana)
		for i := range files {
			write(t, filepath.Join(l.Root, fmt.Sprintf("f%05d.%s", i, []string{"pdf", "jpg", "mp3", "zip"}[i%4])), fmt.Sprint(i))
		}
		kill := func(s *another) *another {
			s.cmd.Process.Kill()
			s.cmd.Wait()
			return startAnother(t, cfg)
		}
		moved := func() int {
			n := 0
			for _, dir := range []string{"Documents", "Images", "Audio", "Archives"} {
				names, _ := os.ReadDir(filepath.Join(l.Root, dir))
				n += len(names)
			}
			return n
		}
		op := s.want(t, 202, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}})
		id := op["id"].(string)
		kills := 0
		for _, at := range []int{1, files / 3, 2 * files / 3} {
			for deadline := time.Now().Add(20 * time.Second); moved() < at && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			}
			if moved() < files {
				kills++
			}
			s = kill(s)
		}
		op = s.finished(t, ana, id)
		if op["status"] != "completed" || op["files_processed"] != float64(files) || moved() != files {
			t.Errorf("after %d kills %d of %d files are moved, and the operation is %v", kills, moved(), files, op)
		}
		seen := map[string]bool{}
		for cursor := ""; ; {
			page := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+id+"/files?limit=500&cursor="+cursor, nil)
			for _, f := range page["items"].([]any) {
				r := f.(map[string]any)
				if r["status"] == "done" {
					seen[r["source_path"].(string)] = true
				}
			}
			next, more := page["next_cursor"].(string)
			if !more {
				break
			}
			cursor = next
		}
		if len(seen) != files {
			t.Errorf("the records tell of %d files, want %d", len(seen), files)
		}
		undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+id+"/rollback", nil)
		for deadline := time.Now().Add(20 * time.Second); moved() > files/2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
		s = kill(s)
		undo = s.finished(t, ana, undo["id"].(string))
		if undo["status"] != "completed" || moved() != 0 {
			t.Errorf("the rollback is %v; %d files are not back", undo, moved())
		}
		for i := range files {
			name := fmt.Sprintf("f%05d.%s", i, []string{"pdf", "jpg", "mp3", "zip"}[i%4])
			if b, err := os.ReadFile(filepath.Join(l.Root, name)); err != nil || string(b) != fmt.Sprint(i) {
				t.Fatalf("%s: %q, %v", name, b, err)
			}
		}
		if op := s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+id, nil); op["status"] != "undone" {
			t.Errorf("what was rolled back is %v", op)
		}
		t.Logf("%d kills while files were moved", kills+1)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, Config{}) })
	t.Run("postgres", func(t *testing.T) { run(t, Config{DatabaseURL: pgtest.New(t, migrateForTest)}) })
}
