package server

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
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

// balancer stands in front of several processes and does what any does: it asks them whether they are ready, and gives
// requests to those that are, in turn. It never sends a request twice.
type balancer struct {
	t      *testing.T
	mu     sync.Mutex
	nodes  []*node
	next   int
	failed atomic.Int64
}

type node struct {
	*service
	proxy *httputil.ReverseProxy
	ready bool
}

func (b *balancer) add(s *service) *node {
	target, err := url.Parse(s.url)
	if err != nil {
		b.t.Fatal(err)
	}
	n := &node{service: s, proxy: httputil.NewSingleHostReverseProxy(target)}
	n.proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	n.proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() == nil { // or its client has gone away
			b.failed.Add(1)
			b.t.Errorf("%s %s got no answer from %s: %v", r.Method, r.URL.Path, s.url, err)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, n)
	return n
}

func (b *balancer) remove(n *node) {
	b.mu.Lock()
	b.nodes = slices.DeleteFunc(b.nodes, func(x *node) bool { return x == n })
	b.mu.Unlock()
	n.proxy.Transport.(*http.Transport).CloseIdleConnections()
}

// ask asks all nodes whether they are ready, again and again.
func (b *balancer) ask(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		nodes := slices.Clone(b.nodes)
		b.mu.Unlock()
		for _, n := range nodes {
			r, err := n.try("", "GET", "/health/ready", nil)
			b.mu.Lock()
			n.ready = err == nil && r.status == 200
			b.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (b *balancer) isReady(n *node) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return n.ready
}

// ServeHTTP gives the request to the next node.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	var to *node
	for range b.nodes {
		n := b.nodes[b.next%len(b.nodes)]
		b.next++
		if n.ready {
			to = n
			break
		}
	}
	b.mu.Unlock()
	if to == nil {
		b.failed.Add(1)
		b.t.Error("no process is ready")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	to.proxy.ServeHTTP(w, r)
}

// TestRollingRestart exchanges the processes of a service one after another while it is used: no request fails, pushes go
// on, and somebody who watches an operation misses nothing of it.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the processes wait for the balancer")
	}
	cfg := Config{DatabaseURL: pgtest.New(t, migrateForTest), DataDir: t.TempDir(), RateLimits: unlimited, MaxConns: 8, Lame: 4 * time.Second}
	b := &balancer{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { b.ask(ctx) })
	for range 2 {
		b.add(start(t, cfg))
	}
	web := httptest.NewServer(b)
	defer web.Close()
	front := &service{url: web.URL, cfg: cfg, log: &lockedBuffer{}}
	eventually(t, "both are ready", func() bool { return b.isReady(b.nodes[0]) && b.isReady(b.nodes[1]) })
	ana := front.signUp(t, "ana@example.org")

	var served, pushed atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return t.Failed()
		}
	}
	for i := range 4 {
		clients.Go(func() {
			for !stopped() {
				method, path, body, want := "GET", "/api/v1/auth/me", any(nil), 200
				if i%2 == 0 { // what must not be sent twice is not retried by anybody
					method, path, body, want = "PATCH", "/api/v1/devices/"+uuid.NewString(), map[string]any{"name": "x"}, 404
				}
				if r, err := front.try(ana.access, method, path, body); err != nil || r.status != want {
					t.Errorf("%s %s: %d %s, %v", method, path, r.status, r.body, err)
					return
				}
				served.Add(1)
			}
		})
	}
	diaries := []*diary{newDiary(t, front, ana, "desk"), newDiary(t, front, ana, "laptop")}
	for _, d := range diaries {
		clients.Go(func() {
			for !stopped() {
				d.organize(10)
				if err := d.push(front); err != nil {
					t.Error(err)
					return
				}
				pushed.Add(1)
			}
		})
	}
	op := front.pending(t, ana)
	st := front.operator(t)
	tell := func(status api.OperationStatus, n int64) {
		if _, err := st.UpdateOperation(t.Context(), uuid.MustParse(ana.id), op, store.Progress{Status: status, FilesTotal: 1 << 20, FilesProcessed: n}); err != nil {
			t.Error(err)
		}
	}
	moved := make(chan int, 1) // times that the watcher had to go on elsewhere
	clients.Go(func() {
		again := 0
		defer func() { moved <- again }()
		for last := int64(0); ; again++ {
			c, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws%s/ws/operations/%s?after=%d", strings.TrimPrefix(front.url, "http"), op, last),
				&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + ana.access}}})
			if err != nil {
				t.Error(err)
				return
			}
			for {
				e, err := event(t, c)
				if err != nil {
					c.CloseNow()
					if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway {
						t.Errorf("the WebSocket was closed with %d: %v", code, err)
						return
					}
					break
				}
				if e.Seq <= last {
					t.Errorf("event %d comes after %d", e.Seq, last)
				}
				if last = e.Seq; e.Status == api.OpCompleted {
					if e.Progress.FilesProcessed != 1<<20 {
						t.Errorf("the last event is %+v", e)
					}
					c.Close(websocket.StatusNormalClosure, "")
					return
				}
			}
		}
	})
	busy := func() {
		t.Helper()
		before, beforePushed := served.Load(), pushed.Load()
		eventually(t, "it is used", func() bool { return t.Failed() || served.Load() > before+50 && pushed.Load() > beforePushed+5 })
	}
	for i := range 2 {
		busy()
		tell(api.OpRunning, int64(i+1))
		old := b.nodes[0]
		if err := old.stop(); err != nil {
			t.Error(err)
		}
		b.remove(old)
		busy() // the other one carries it alone
		fresh := b.add(start(t, cfg))
		eventually(t, "the new one is ready", func() bool { return b.isReady(fresh) })
	}
	busy()
	tell(api.OpCompleted, 1<<20)
	again := <-moved
	close(stop)
	clients.Wait()
	if n := b.failed.Load(); n > 0 || again == 0 {
		t.Errorf("%d requests failed; the watcher was sent elsewhere %d times", n, again)
	}
	heads, _ := front.pullAll(t, ana)
	for _, d := range diaries {
		if h := heads[d.device]; int(h.AckedSeq) != len(d.entries) || h.Chain != d.chains[h.AckedSeq] || d.gaps > 0 {
			t.Errorf("a device has %d entries, the service %d", len(d.entries), h.AckedSeq)
		}
	}
	t.Logf("%d requests and %d pushes while both processes were exchanged; the watcher was sent elsewhere %d times", served.Load(), pushed.Load(), again)
}

// TestLeaderKilled kills the worker that has the lead in the job queue, which is what makes jobs that wait for their time
// go on. Another one takes the lead.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the lead lasts")
	}
	c := pgtest.Need(t)
	cfg := Config{DatabaseURL: pgtest.New(t, migrateForTest), DataDir: t.TempDir(), Role: RoleWorker}
	u, err := url.Parse(cfg.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	ask := func(query string) string {
		t.Helper()
		out, err := c.Run("postgres", "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--command", query, database)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	const leader = "select leader_id from river_leader where expires_at > now()"
	later := func(what string) { // a job for its time, which has come, is for the leader to see
		t.Helper()
		args, err := json.Marshal(placeArgs{User: uuid.New(), Location: uuid.New(), Operation: uuid.New()})
		if err != nil {
			t.Fatal(err)
		}
		id := ask(fmt.Sprintf("insert into river_job (kind, args, max_attempts, state, scheduled_at) values ('%s', '%s', 5, 'scheduled', now()) returning id",
			placeArgs{}.Kind(), args))
		eventually(t, what, func() bool { return ask("select state from river_job where id = "+id) == "completed" })
	}
	first := startAnother(t, cfg)
	eventually(t, "the first worker leads", func() bool { return ask(leader) != "" })
	lead := ask(leader)
	later("the first worker does a job when its time has come")
	startAnother(t, cfg)
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.cmd.Wait() // it was killed
	eventually(t, "the second worker leads", func() bool { now := ask(leader); return now != "" && now != lead })
	later("the second worker does")
}

// TestNewerSchema: a program does not touch the database of a newer one, and one that runs while another migrates it says
// that it is not ready but answers what it can.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		ana := s.signUp(t, "ana@example.org")
		s.migrateFurther(t)
		s.want(t, 503, "", "GET", "/health/ready", nil)
		s.want(t, 200, "", "GET", "/health", nil)
		s.want(t, 200, ana.access, "GET", "/api/v1/auth/me", nil)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		for range 2 { // it has not made it older either
			if err := Run(t.Context(), s.cfg); err == nil || !strings.Contains(err.Error(), "made by a newer program") {
				t.Errorf("a server on the database of a newer program: %v", err)
			}
			if _, err := Open(t.Context(), s.cfg); err == nil || !strings.Contains(err.Error(), "made by a newer program") {
				t.Errorf("the operator's commands on it: %v", err)
			}
		}
	})
}

// migrateFurther makes the database one of a program that knows a schema more.
func (s *service) migrateFurther(t testing.TB) {
	t.Helper()
	const newer = "insert into goose_db_version (version_id, is_applied) values (999, %s)"
	if s.cfg.DatabaseURL != "" {
		if _, err := pgtest.Need(t).Run(pgtest.Owner, "psql", "--quiet", "--command", fmt.Sprintf(newer, "true"), s.cfg.DatabaseURL); err != nil {
			t.Fatal(err)
		}
		return
	}
	db, err := sql.Open("sqlite", filepath.Join(s.cfg.DataDir, "forg.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(fmt.Sprintf(newer, "1")); err != nil {
		t.Fatal(err)
	}
}
