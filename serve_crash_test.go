//go:build !noserver

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// TestServeKilled has several devices push to forg serve while it is killed, and its PostgreSQL stopped without a word, again
// and again: what was acknowledged is there, nothing is there twice, and both sides have the same chain.
// FORG_TEST_STOPS says how often.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	stops := times(4, 2, "FORG_TEST_STOPS")
	onDatabases(t, func(t *testing.T, s *killedServer) { serveKilled(t, stops, s) })
}

// times is how often something is to be done: usually, with -short, or as an environment variable says.
func times(usual, short int, variable string) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return usual
}

// onDatabases runs a test with a server on SQLite and with one on a PostgreSQL of its own that keeps what it has said it has.
func onDatabases(t *testing.T, run func(*testing.T, *killedServer)) {
	on := func(t *testing.T, database string, c *pgtest.Cluster) {
		s := &killedServer{t: t, database: database, cluster: c, dir: t.TempDir(), addr: freePort(t)}
		s.start()
		defer func() { s.kill() }()
		s.must("POST", "/api/v1/auth/signup", "", 201, map[string]any{"email": "ana@example.org", "password": "correct horse battery", "full_name": "Ana"}, nil)
		run(t, s)
	}
	t.Run("sqlite", func(t *testing.T) { on(t, "", nil) })
	t.Run("postgres", func(t *testing.T) {
		c, err := pgtest.Start(true)
		pgtest.Check(t, err)
		defer c.Close()
		if err := c.Exec("create database forg owner " + pgtest.Owner); err != nil {
			t.Fatal(err)
		}
		on(t, c.URL(pgtest.Owner, "forg"), c)
	})
}

func serveKilled(t *testing.T, stops int, s *killedServer) {
	c := s.cluster
	const devices = 3
	var done atomic.Bool
	var pushes, retries atomic.Int64
	statuses := map[int]int{}
	var mu sync.Mutex
	var pushers sync.WaitGroup
	defer pushers.Wait()
	defer done.Store(true)
	var logs [devices]*pushedLog
	for i := range devices {
		l := newPushedLog()
		logs[i] = l
		var tokens api.TokenResponse
		s.must("POST", "/api/v1/auth/login", "", 200, map[string]any{"email": "ana@example.org", "password": "correct horse battery", "device": map[string]any{"id": l.device, "name": "d"}}, &tokens)
		l.token = tokens.AccessToken
		pushers.Go(func() {
			for !done.Load() {
				if len(l.entries) == int(l.acked) || rand.IntN(4) == 0 { // what was not answered goes again, alone or with more
					l.organize(20)
				}
				req := l.request()
				status, body, err := s.ask("POST", "/api/v1/sync/push", l.token, req)
				if err != nil || status >= 500 {
					mu.Lock()
					statuses[status]++
					mu.Unlock()
					retries.Add(1)
					time.Sleep(20 * time.Millisecond)
					continue
				}
				var got api.PushResponse
				if status != 200 || json.Unmarshal(body, &got) != nil {
					t.Errorf("a push from %d is answered %d %s", l.acked, status, body)
					return
				}
				if last := req.Entries[len(req.Entries)-1].Seq; got.AckedSeq != last || got.Chain != l.chains[last] {
					t.Errorf("a push up to %d is acknowledged up to %d with chain %s, not %s", last, got.AckedSeq, got.Chain, l.chains[last])
					return
				}
				l.acked = got.AckedSeq
				pushes.Add(1)
			}
		})
	}
	kills, cuts := 0, 0
	for i := range stops {
		before := pushes.Load()
		for deadline := time.Now().Add(2 * time.Minute); pushes.Load() < before+30; time.Sleep(time.Millisecond) {
			if t.Failed() || time.Now().After(deadline) {
				t.Fatalf("the devices get no further; the server says %s", s.log.String())
			}
		}
		time.Sleep(time.Duration(rand.IntN(50_000)) * time.Microsecond)
		if c == nil || i%2 == 0 {
			kills++
			s.kill()
		}
		if c != nil && i%4 != 0 { // either, and both
			cuts++
			c.Stop()
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if c == nil || i%2 == 0 {
			s.start()
		}
	}
	done.Store(true)
	pushers.Wait()
	if t.Failed() {
		return
	}
	for status, n := range statuses {
		if status != 0 && status != 503 {
			t.Errorf("%d pushes were answered %d: a database that is away is a 503", n, status)
		}
	}
	n := s.verify(logs[:])
	t.Logf("%d kills of the server, %d stops of the database; %d pushes acknowledged, %d tried again %v, %d entries there once each", kills, cuts, pushes.Load(), retries.Load(), statuses, n)
}

// verify reads all that the server has.
func (s *killedServer) verify(logs []*pushedLog) (entries int) {
	t := s.t
	res, err := s.request("GET", "/api/v1/sync/pull?own=true", logs[0].token, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	heads, ids := map[uuid.UUID]api.LogHead{}, map[uuid.UUID]bool{}
	finished := map[uuid.UUID]bool{}
	var after int64
	for {
		r := api.NewPullReader(res.Body, after, api.DefaultLimits())
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			h, known := heads[e.DeviceID]
			if !known {
				h.Chain = api.Genesis(e.DeviceID, e.Epoch)
			}
			if e.Seq != h.AckedSeq+1 || ids[e.ID] {
				t.Fatalf("entry %d of a log comes after %d, or is there twice", e.Seq, h.AckedSeq)
			}
			ids[e.ID] = true
			heads[e.DeviceID] = api.LogHead{AckedSeq: e.Seq, Chain: h.Chain.Next(e.SHA256)}
			finished[e.OpID] = finished[e.OpID] || e.Kind == api.KindFinished
			entries++
		}
		end, _ := r.End()
		after = end.Next
		if end.Next >= end.Head {
			break
		}
		res.Body.Close()
		if res, err = s.request("GET", "/api/v1/sync/pull?own=true&after="+strconv.FormatInt(after, 10), logs[0].token, nil); err != nil {
			t.Fatal(err)
		}
	}
	var state api.SyncState
	s.must("GET", "/api/v1/sync/state", logs[0].token, 200, nil, &state)
	if len(state.Logs) != len(logs) {
		t.Errorf("the server has %d logs of %d", len(state.Logs), len(logs))
	}
	for _, l := range logs {
		h := heads[l.device]
		if h.AckedSeq < l.acked || h.AckedSeq > int64(len(l.entries)) {
			t.Errorf("a device was acknowledged %d entries and has %d; %d are there", l.acked, len(l.entries), h.AckedSeq)
		} else if h.Chain != l.chains[h.AckedSeq] {
			t.Errorf("after %d entries the chains differ", h.AckedSeq)
		}
		for _, d := range state.Logs {
			if d.DeviceID == l.device && (d.AckedSeq != h.AckedSeq || d.Chain != h.Chain) {
				t.Errorf("the state says %d %s, the entries come to %d %s", d.AckedSeq, d.Chain, h.AckedSeq, h.Chain)
			}
		}
	}
	// Operations are made from the log: one for each, finished where its last entry is there.
	seen := map[uuid.UUID]bool{}
	for cursor := ""; ; {
		var page api.Page[api.Operation]
		s.must("GET", "/api/v1/operations?limit=500&cursor="+cursor, logs[0].token, 200, nil, &page)
		for _, o := range page.Items {
			if seen[o.ID] || (o.Status == api.OpCompleted) != finished[o.ID] {
				t.Errorf("operation %s is %s, or listed twice; its last entry is there: %v", o.ID, o.Status, finished[o.ID])
			}
			seen[o.ID] = true
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if len(seen) != len(finished) {
		t.Errorf("%d operations are listed, the log has %d", len(seen), len(finished))
	}
	return entries
}

// pushedLog is the log of a device, as the device has it.
type pushedLog struct {
	device, epoch uuid.UUID
	token         string
	entries       []api.Entry
	chains        []api.Hash // chains[n] is after n entries
	acked         int64
}

func newPushedLog() *pushedLog {
	l := &pushedLog{device: uuid.Must(uuid.NewV7()), epoch: uuid.New()}
	l.chains = []api.Hash{api.Genesis(l.device, l.epoch)}
	return l
}

func (l *pushedLog) organize(files int) {
	op := uuid.Must(uuid.NewV7())
	var records api.Files
	for i := range files {
		records = append(records, api.FileRecord{Seq: int64(i + 1), SourcePath: fmt.Sprintf("/home/ana/Downloads/%d.pdf", i), DestinationPath: fmt.Sprintf("/home/ana/Downloads/Documents/%d.pdf", i),
			Size: 1, Action: "rename", Status: api.FilePlanned})
	}
	for _, b := range []api.Body{&api.Started{Kind: "organize", Root: "/home/ana/Downloads", Planned: int64(files)}, records,
		&api.Finished{Status: api.OpCompleted, Processed: int64(files), Bytes: int64(files)}} {
		e, err := api.NewEntry(int64(len(l.entries)+1), uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), b)
		if err != nil {
			panic(err) // it is a good entry
		}
		l.entries = append(l.entries, e)
		l.chains = append(l.chains, l.chains[len(l.chains)-1].Next(e.SHA256))
	}
}

func (l *pushedLog) request() *api.PushRequest {
	return &api.PushRequest{Protocol: api.Protocol, DeviceID: l.device, Epoch: l.epoch, PrevChain: l.chains[l.acked], Entries: l.entries[l.acked:min(len(l.entries), int(l.acked)+500)]}
}

// killedServer is a forg serve that is killed and started again at the same address.
type killedServer struct {
	t                   *testing.T
	addr, dir, database string
	cluster             *pgtest.Cluster // of the database; nil on SQLite
	cmd                 *exec.Cmd
	log                 bytes.Buffer // of the last start
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (s *killedServer) start() {
	s.t.Helper()
	args := []string{"serve", "--quiet", "--addr", s.addr, "--data-dir", s.dir, "--rate-limits", "free=0"}
	if s.database != "" {
		args = append(args, "--database-url", s.database)
	}
	s.log.Reset()
	s.cmd = exec.Command("forg", args...)
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "listening on http://"+s.addr) {
		s.kill()
		s.t.Fatalf("it does not start: %q %v\n%s", line, err, s.log.String())
	}
}

func (s *killedServer) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func (s *killedServer) request(method, path, token string, body any) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, in)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	res.Body = &cancelling{res.Body, cancel}
	return res, nil
}

// cancelling ends the context of a request with its answer.
type cancelling struct {
	io.ReadCloser
	cancel func()
}

func (c *cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

func (s *killedServer) ask(method, path, token string, body any) (int, []byte, error) {
	res, err := s.request(method, path, token, body)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err // half an answer is none
	}
	return res.StatusCode, b, nil
}

func (s *killedServer) must(method, path, token string, status int, body, to any) {
	s.t.Helper()
	got, b, err := s.ask(method, path, token, body)
	if err == nil && got == status && to != nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil || got != status {
		s.t.Fatalf("%s %s: %d %v %s", method, path, got, err, b)
	}
}
