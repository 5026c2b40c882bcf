//go:build linux

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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/crypto/bcrypt"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// serve loads forg serve on both databases, over loopback, from this very program: server, database and load share the
// machine. Rates are open loops (a slow answer delays no other request), saturations closed ones.
func (b *Bench) serve() ([]*Section, error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	lite, err := b.serveOn("SQLite", "")
	if err != nil {
		return nil, err
	}
	c, err := pgtest.Start(true)
	if errors.Is(err, pgtest.ErrMissing) {
		lite.note("Not measured on PostgreSQL: it is not installed.")
		return []*Section{lite}, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Exec("create database forg owner " + pgtest.Owner); err != nil {
		return nil, err
	}
	pg, err := b.serveOn("PostgreSQL, fsync on", c.URL(pgtest.Owner, "forg"))
	if err != nil {
		return nil, err
	}
	return []*Section{lite, pg}, nil
}

// served is a server under load.
type served struct {
	b    *Bench
	sec  *Section
	url  string
	cmd  *exec.Cmd
	rows strings.Builder
	pg   bool

	token   string      // of the first account
	devices []uuid.UUID // one for each account
	keys    []string    // API keys, a user each
}

// accounts is how many there are, with keysEach API keys each.
const accounts, keysEach = 20, 50

const benchPassword = "correct horse battery"

func (b *Bench) serveOn(name, database string) (sec *Section, err error) {
	before := loadavg()
	s := &served{b: b, sec: &Section{Title: "forg serve on " + name}, pg: database != ""}
	dir := filepath.Join(b.work, "serve-"+strconv.FormatBool(s.pg))
	if err := s.start(dir, database); err != nil {
		return nil, err
	}
	defer func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	long, short := 60*time.Second, 15*time.Second
	if b.quick {
		long, short = 10*time.Second, 3*time.Second
	}
	for _, step := range []func() error{
		s.prepare,
		func() error { return s.me(short) },
		func() error { return s.start200(short) },
		func() error { return s.login(short) },
		func() error { return s.flood(short) },
		func() error { return s.push(short) },
		s.idle,
		func() error { return s.fanout(short) },
		func() error { return s.crowd(long) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s.sec.note("| load | requests | per second | failed | p50 | p95 | p99 | server CPU per 1000 |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n%s", strings.TrimRight(s.rows.String(), "\n"))
	if load, err := strconv.ParseFloat(before, 64); err == nil && load > 1 {
		s.sec.note("**The machine was loaded by others (load %s before it): these figures say what it does beside them, not what it can do.**", before)
	}
	return s.sec, nil
}

func (s *served) start(dir, database string) error {
	args := []string{"-n", "5", s.b.forg, "serve", "--quiet", "--addr", "127.0.0.1:0", "--data-dir", dir, "--rate-limits", "free=0", "--login-failures", "-1"}
	if database != "" {
		args = append(args, "--database-url", database)
	}
	s.cmd = exec.Command("nice", args...)
	s.cmd.Env = home(s.b.work)
	var log tail
	s.cmd.Stderr = &log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		return fmt.Errorf("forg serve: %q, %w\n%s", line, err, log.b)
	}
	s.url = url
	s.goal("start, with all migrations", float64(time.Since(began).Milliseconds()), 300, "ms")
	return nil
}

// none is the limit of what must not happen at all; 0 would be no limit.
const none = 1e-9

func (s *served) goal(what string, value, limit float64, unit string) {
	fmt.Fprintf(os.Stderr, "   %s: %s\n", what, number(value, unit))
	s.sec.Goals = append(s.sec.Goals, Goal{What: what, Values: []float64{value}, Limit: limit, Unit: unit})
}

// ask sends one request; anything but the status is an error.
func (s *served) ask(method, path, token string, status int, body, to any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header = bearer(token)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != status {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, b)
	}
	if to != nil {
		return json.Unmarshal(b, to)
	}
	return nil
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2000}}

func bearer(token string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// prepare makes accounts with many API keys each: as many users as keys, without a password for each to be hashed.
func (s *served) prepare() error {
	for i := range accounts {
		email := fmt.Sprintf("user%d@example.org", i)
		if err := s.ask("POST", "/api/v1/auth/signup", "", 201, api.SignupRequest{Email: email, Password: benchPassword, FullName: "User"}, nil); err != nil {
			return err
		}
		s.devices = append(s.devices, uuid.Must(uuid.NewV7()))
		login := api.LoginRequest{Email: email, Password: benchPassword, Device: &api.LoginDevice{ID: s.devices[i], Name: "laptop"}}
		var tokens api.TokenResponse
		if err := s.ask("POST", "/api/v1/auth/login", "", 200, login, &tokens); err != nil {
			return err
		}
		if i == 0 {
			s.token = tokens.AccessToken
		}
		for range keysEach {
			var key api.NewAPIKey
			if err := s.ask("POST", "/api/v1/api-keys", tokens.AccessToken, 201, api.APIKeyRequest{Name: "bench", Scopes: []string{"admin"}}, &key); err != nil {
				return err
			}
			s.keys = append(s.keys, key.Key)
		}
	}
	return nil
}

// attack sends requests at a rate, or with rate 0 as fast as 64 clients get answers, and adds a row.
func (s *served) attack(what string, perSecond int, d time.Duration, target vegeta.Targeter) *vegeta.Metrics {
	opts := []func(*vegeta.Attacker){vegeta.KeepAlive(true), vegeta.Connections(256), vegeta.Timeout(30 * time.Second), vegeta.Redirects(vegeta.NoFollow)}
	if perSecond == 0 {
		opts = append(opts, vegeta.Workers(64), vegeta.MaxWorkers(64))
	}
	var m vegeta.Metrics
	cpu := s.cpu()
	for r := range vegeta.NewAttacker(opts...).Attack(target, vegeta.Rate{Freq: perSecond, Per: time.Second}, d, what) {
		m.Add(r)
	}
	m.Close()
	s.row(what, int(m.Requests), m.Rate, 1-m.Success, m.Latencies.P50, m.Latencies.P95, m.Latencies.P99, s.cpu()-cpu)
	return &m
}

func (s *served) row(what string, n int, rate, failed float64, p50, p95, p99, cpu time.Duration) {
	ms := func(d time.Duration) string { return number(float64(d.Microseconds())/1000, "ms") }
	fmt.Fprintf(&s.rows, "| %s | %d | %.0f | %.2f %% | %s | %s | %s | %.2f s |\n", what, n, rate, 100*failed, ms(p50), ms(p95), ms(p99), cpu.Seconds()*1000/float64(max(1, n)))
}

// cpu is what the server has used; its database, where it is another program, is not in it.
func (s *served) cpu() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // Linux counts in hundredths
}

// memory is a line of /proc/PID/status in MB.
func (s *served) memory(line string) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), line+":")
	kb, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kb * 1024 / 1e6
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *served) me(d time.Duration) error {
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: "GET", URL: s.url + "/api/v1/auth/me", Header: bearer(s.token)})
	m := s.attack("GET /auth/me", 1000, d, target)
	s.goal("GET /auth/me at 1000/s, p99", ms(m.Latencies.P99), 20, "ms")
	s.goal("GET /auth/me at 1000/s, failed", 100*(1-m.Success), none, "%")
	m = s.attack("GET /auth/me, 64 clients", 0, d, target)
	s.goal("GET /auth/me, 64 clients, a request (6000/s)", 1e6/m.Throughput, 1e6/6000, "µs")
	return nil
}

func (s *served) start200(d time.Duration) error {
	var all []vegeta.Target // of one account after the other, since what changes one account waits for each other
	for i, device := range s.devices {
		body, err := json.Marshal(api.OperationRequest{Kind: "organize", Target: api.Target{DeviceID: device, Root: "inbox"}})
		if err != nil {
			return err
		}
		all = append(all, vegeta.Target{Method: "POST", URL: s.url + "/api/v1/operations", Header: bearer(s.keys[i*keysEach]), Body: body})
	}
	target := vegeta.NewStaticTargeter(all...)
	m := s.attack("POST /operations", 200, d, target)
	s.goal("POST /operations at 200/s, p99", ms(m.Latencies.P99), 50, "ms")
	s.goal("POST /operations at 200/s, failed", 100*(1-m.Success), none, "%")
	m = s.attack("POST /operations, 64 clients", 0, d, target)
	rate := 300.0
	if s.pg {
		rate = 1200
	}
	s.goal(fmt.Sprintf("POST /operations, 64 clients, a request (%.0f/s)", rate), 1e6/m.Throughput, 1e6/rate, "µs")
	return nil
}

func (s *served) loginTarget() (vegeta.Targeter, error) {
	body, err := json.Marshal(api.LoginRequest{Email: "user1@example.org", Password: benchPassword})
	return vegeta.NewStaticTargeter(vegeta.Target{Method: "POST", URL: s.url + "/api/v1/auth/login", Header: bearer(""), Body: body}), err
}

func (s *served) login(d time.Duration) error {
	target, err := s.loginTarget()
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(benchPassword), 12)
	if err != nil {
		return err
	}
	var bare, over []float64
	for range max(3, int(d/time.Second)) { // one after the other, so that both see the same machine
		began := time.Now()
		if err := bcrypt.CompareHashAndPassword(hash, []byte(benchPassword)); err != nil {
			return err
		}
		alone := ms(time.Since(began))
		m := s.attackQuietly(target)
		bare, over = append(bare, alone), append(over, m-alone)
	}
	s.goal("bcrypt 12 alone, p50", median(bare), 0, "ms")
	s.goal("login beyond bcrypt, p50", median(over), 5, "ms")
	return nil
}

// attackQuietly is the time of one request in ms, without a row of its own.
func (s *served) attackQuietly(target vegeta.Targeter) float64 {
	for r := range vegeta.NewAttacker(vegeta.Workers(1)).Attack(target, vegeta.Rate{Freq: 1, Per: time.Second}, time.Second, "") {
		return ms(r.Latency)
	}
	return 0
}

func (s *served) flood(d time.Duration) error {
	target, err := s.loginTarget()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			var t vegeta.Target
			for ctx.Err() == nil {
				if target(&t) != nil {
					return
				}
				req, err := t.Request()
				if err != nil {
					return
				}
				if res, err := client.Do(req.WithContext(ctx)); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if res.StatusCode == http.StatusServiceUnavailable {
						select { // as it asks for
						case <-time.After(time.Second):
						case <-ctx.Done():
						}
					}
				}
			}
		})
	}
	time.Sleep(time.Second)
	m := s.attack("GET /auth/me under a login flood of 50 clients", 100, d,
		vegeta.NewStaticTargeter(vegeta.Target{Method: "GET", URL: s.url + "/api/v1/auth/me", Header: bearer(s.token)}))
	stop()
	clients.Wait()
	s.goal("GET /auth/me under a login flood, p99", ms(m.Latencies.P99), 40, "ms")
	return nil
}

// push has 8 devices push chunks of 1000 records as fast as they are acknowledged.
func (s *served) push(d time.Duration) error {
	const devices, records, chunks = 8, 1000, 8
	var pushers sync.WaitGroup
	var mu sync.Mutex
	var failed error
	var stored int
	var took []float64
	began, cpu := time.Now(), s.cpu()
	for i := range devices {
		pushers.Go(func() {
			device, epoch := uuid.Must(uuid.NewV7()), uuid.New()
			chain, seq := api.Genesis(device, epoch), int64(0)
			var files api.Files
			for n := range records {
				name := fmt.Sprintf("%s-%d.pdf", strconv.FormatUint(rand.Uint64(), 36), n)
				files = append(files, api.FileRecord{Seq: int64(n + 1), SourcePath: "/home/ana/Downloads/" + name, DestinationPath: "/home/ana/Downloads/Documents/" + name,
					Size: rand.Int64N(1 << 24), Category: "Documents", Action: "rename", Status: api.FilePlanned})
			}
			for time.Since(began) < d {
				req := api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain}
				for range chunks {
					op := uuid.Must(uuid.NewV7())
					for _, body := range []api.Body{&api.Started{Kind: "organize", Root: "/home/ana/Downloads", Planned: records}, files, &api.Finished{Status: api.OpCompleted, Processed: records}} {
						seq++
						e, err := api.NewEntry(seq, uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), body)
						if err != nil {
							panic(err) // it is a good entry
						}
						req.Entries = append(req.Entries, e)
						chain = chain.Next(e.SHA256)
					}
				}
				sent := time.Now()
				var got api.PushResponse
				err := s.ask("POST", "/api/v1/sync/push", s.keys[i*keysEach], 200, req, &got)
				mu.Lock()
				if err != nil {
					failed = err
					mu.Unlock()
					return
				}
				stored += chunks * records
				took = append(took, ms(time.Since(sent)))
				mu.Unlock()
			}
		})
	}
	pushers.Wait()
	if failed != nil {
		return failed
	}
	wall := time.Since(began)
	s.latencies("push of 8 chunks of 1000 records, 8 devices", took, 0, wall, s.cpu()-cpu)
	rate := 100_000.0
	if s.pg {
		rate = 150_000
	}
	s.goal(fmt.Sprintf("push, 1000 records (%.0f/s)", rate), ms(wall)*1000/float64(stored), 1e6/rate, "ms")
	s.goal("push, max RSS of the server so far", s.memory("VmHWM"), 200, "MB")
	return nil
}

// latencies adds a row for times in ms.
func (s *served) latencies(what string, took []float64, failed int, wall, cpu time.Duration) (p99 float64) {
	slices.Sort(took)
	at := func(q float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return time.Duration(took[int(q*float64(len(took)-1))] * 1e6)
	}
	n := len(took) + failed
	s.row(what, n, float64(n)/wall.Seconds(), float64(failed)/float64(max(1, n)), at(0.5), at(0.95), at(0.99), cpu)
	return ms(at(0.99))
}

func (s *served) idle() error {
	n := 5000
	if s.b.quick {
		n = 500
	}
	var op api.Operation
	if err := s.ask("POST", "/api/v1/operations", s.token, 202, api.OperationRequest{Kind: "organize", Target: api.Target{DeviceID: s.devices[0], Root: "inbox"}}, &op); err != nil {
		return err
	}
	before := s.memory("VmRSS")
	ctx := context.Background()
	sockets := make([]*websocket.Conn, 0, n)
	defer func() {
		for _, c := range sockets {
			c.CloseNow()
		}
	}()
	for range n {
		c, _, err := websocket.Dial(ctx, strings.Replace(s.url, "http", "ws", 1)+"/ws/operations/"+op.ID.String(), &websocket.DialOptions{HTTPHeader: bearer(s.token)})
		if err != nil {
			return fmt.Errorf("WebSocket %d: %w", len(sockets)+1, err)
		}
		sockets = append(sockets, c)
		if _, _, err := c.Read(ctx); err != nil { // where the operation stands
			return fmt.Errorf("WebSocket %d: %w", len(sockets), err)
		}
	}
	cpu := s.cpu()
	time.Sleep(3 * time.Second)
	s.goal(fmt.Sprintf("%d idle WebSockets, CPU in 3 s", n), ms(s.cpu()-cpu), 0, "ms")
	s.goal(fmt.Sprintf("%d idle WebSockets, RSS of the server", n), s.memory("VmRSS"), 200, "MB")
	s.goal("one of them (the memory that is freed by pushes before it not counted)", (s.memory("VmRSS")-before)*1000/float64(n), 0, "KB")
	return nil
}

// crowd is 1000 users who each do something about once a second; a request is late from the moment that it was due.
func (s *served) crowd(d time.Duration) error {
	var mu sync.Mutex
	var took []float64
	failures := map[string]int{}
	failed := 0
	var users sync.WaitGroup
	goroutines, err := s.metric("go_goroutines")
	if err != nil {
		return err
	}
	began, cpu := time.Now(), s.cpu()
	early := make(chan float64, 1)
	time.AfterFunc(d/3, func() { early <- s.memory("VmRSS") })
	for _, key := range s.keys {
		users.Go(func() {
			device, epoch := uuid.Must(uuid.NewV7()), uuid.New()
			chain, seq := api.Genesis(device, epoch), int64(0)
			for due := began.Add(time.Duration(rand.Int64N(int64(time.Second)))); due.Before(began.Add(d)); due = due.Add(time.Duration(float64(time.Second) * (0.5 + rand.Float64()))) {
				time.Sleep(time.Until(due))
				var err error
				switch n := rand.IntN(100); {
				case n < 50:
					err = s.ask("GET", "/api/v1/auth/me", key, 200, nil, nil)
				case n < 70:
					err = s.ask("GET", "/api/v1/operations?limit=20", key, 200, nil, nil)
				case n < 80:
					err = s.ask("GET", "/api/v1/sync/state", key, 200, nil, nil)
				case n < 85:
					err = s.ask("GET", "/api/v1/devices", key, 200, nil, nil)
				default:
					e, bad := api.NewEntry(seq+1, uuid.Must(uuid.NewV7()), uuid.Nil, time.Now().UnixMicro(), &api.DeviceRenamed{Name: "laptop"})
					if bad != nil {
						panic(bad) // it is a good entry
					}
					err = s.ask("POST", "/api/v1/sync/push", key, 200, api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain, Entries: []api.Entry{e}}, nil)
					if err == nil {
						chain, seq = chain.Next(e.SHA256), seq+1
					}
				}
				mu.Lock()
				if err != nil {
					failed++
					failures[fmt.Sprintf("%.100s", err.Error())]++
				} else {
					took = append(took, ms(time.Since(due)))
				}
				mu.Unlock()
			}
		})
	}
	users.Wait()
	p99 := s.latencies("1000 users, mixed", took, failed, time.Since(began), s.cpu()-cpu)
	s.goal("1000 users, failed requests", float64(failed), none, "")
	s.goal("1000 users, p99", p99, 250, "ms")
	first := <-early
	s.goal("1000 users, RSS at the end / after a third", s.memory("VmRSS")/first, 1.10, "x")
	s.goal("max RSS of the server", s.memory("VmHWM"), 0, "MB")
	// A connection that is kept open for more has a goroutine or two: they go with it.
	client.CloseIdleConnections()
	var after float64
	for range 100 {
		if after, err = s.metric("go_goroutines"); err != nil {
			return err
		}
		if after <= goroutines+10 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.goal("1000 users, goroutines after / before", after/goroutines, 1.10, "x")
	for text, n := range failures {
		s.sec.note("%d times: `%s`", n, text)
	}
	return nil
}
