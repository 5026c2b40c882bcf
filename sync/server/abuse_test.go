package server

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"forg/sync/api"
	"forg/sync/server/auth"
)

// TestAuthorization asks every route of the document with every kind of credentials for every kind of id. A route that is
// new is asked as well, without anybody having to think of it.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		st := s.operator(t)
		ana, bob := s.signUp(t, "ana@example.org"), s.signUp(t, "bob@example.org")
		keys := map[string]string{}
		for _, scope := range []string{"read", "push", "commands", "admin"} {
			keys[scope] = s.want(t, 201, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": scope, "scopes": []string{scope}})["key"].(string)
		}
		signing, err := auth.LoadKeys(filepath.Join(s.cfg.DataDir, KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		issue := func(opt auth.TokenOptions) string {
			sessions, err := st.Sessions(t.Context(), uuid.MustParse(ana.id))
			if err != nil || len(sessions) == 0 {
				t.Fatal(err)
			}
			token, err := auth.NewTokens(signing, opt).Issue(uuid.MustParse(ana.id), sessions[0].ID, uuid.Nil)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		expired := issue(auth.TokenOptions{Now: func() time.Time { return time.Now().Add(-time.Hour) }})
		foreign := issue(auth.TokenOptions{Audience: "something else"})
		gone := s.logIn(t, ana, map[string]any{"id": uuid.Must(uuid.NewV7()), "name": "lost"})
		devices, err := st.Devices(t.Context(), uuid.MustParse(ana.id))
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, 204, ana.access, "DELETE", "/api/v1/devices/"+devices[0].ID.String(), nil)

		// What ana has, for bob to ask for.
		l := s.location(t, ana, "a.pdf")
		op := s.organizeIn(t, ana, l.ID, nil)["id"].(string)
		ids := map[string]string{"operations": op, "ws": op, "devices": l.ID.String(), "commands": uuid.NewString(),
			"api-keys": s.want(t, 201, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"read"}})["id"].(string)}
		resource := func(path string) string {
			for r := range ids {
				if strings.Contains(path, "/"+r+"/{id}") {
					return r
				}
			}
			return ""
		}
		doc := s.do(t, "", "GET", "/openapi.json", nil).json(t)
		routes, asked := 0, 0
		for path, item := range doc["paths"].(map[string]any) {
			for method, o := range item.(map[string]any) {
				routes++
				spec := o.(map[string]any)
				scope, _ := spec["x-scope"].(string)
				method = strings.ToUpper(method)
				of := resource(path)
				if strings.Contains(path, "{") && of == "" {
					t.Errorf("%s %s: this test knows no id for it", method, path)
					continue
				}
				at := func(id string) string { return strings.Replace(path, "{id}", id, 1) }
				own, missing := at(ids[of]), at(uuid.NewString())
				var body any
				if spec["requestBody"] != nil {
					body = "{}" // says too little for anything to happen
				}
				ask := func(token, path string) reply {
					asked++
					r := s.do(t, token, method, path, body)
					if r.status >= 500 {
						t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
					}
					if r.status >= 400 {
						checkProblem(t, r)
					}
					return r
				}
				if scope == "" {
					if sec, ok := spec["security"].([]any); !ok || len(sec) != 0 {
						t.Errorf("%s %s: the document says nothing of who may", method, path)
					}
					if r := ask("", own); r.status == 403 || r.status == 401 && path != "/api/v1/auth/refresh" && path != "/api/v1/auth/login" {
						t.Errorf("%s %s is for everybody, and answers %d", method, path, r.status)
					}
					continue
				}
				for what, token := range map[string]string{"no": "", "an expired": expired, "another audience's": foreign, "a revoked device's": gone.access,
					"a nonsense": "nonsense", "an unknown API key as": "forg_live_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_aaaaaa"} {
					if r := ask(token, own); r.status != 401 || r.header.Get("Www-Authenticate") == "" {
						t.Errorf("%s %s with %s token: %d", method, path, what, r.status)
					}
				}
				if strings.HasSuffix(path, "/auth/logout") || strings.HasSuffix(path, "/auth/me") && method == "DELETE" {
					continue // would end what the other routes need; the accounts' test has them
				}
				for name, key := range keys {
					may := scope == name || name == "admin" && scope != "session"
					if r := ask(key, missing); (r.status == 403) == may {
						t.Errorf("%s %s, which needs %s, with an API key for %s: %d", method, path, scope, name, r.status)
					}
				}
				if of == "" {
					continue
				}
				// Another's and one that does not exist look the same.
				plain := func(r reply) string {
					v := r.json(t)
					delete(v, "instance")
					return fmt.Sprint(r.status, v)
				}
				if method == "PATCH" {
					body = map[string]any{"name": "stolen"}
				}
				if strings.HasSuffix(path, "/offers") {
					body = map[string]any{"kinds": []string{"rollback"}, "folders": []string{"stolen"}, "rules": []string{}}
				}
				if strings.Contains(path, "/keys/devices/") {
					body = api.KeyRequest{Recipient: "age1stolen", Tag: make([]byte, 32)}
				}
				if strings.Contains(path, "/commands/") {
					body = map[string]any{"lease": uuid.New(), "state": "running"}
				}
				others, none := ask(bob.access, own), ask(bob.access, missing)
				if others.status != 404 || plain(others) != plain(none) {
					t.Errorf("%s %s: another's is %s, a missing one %s", method, path, plain(others), plain(none))
				}
				if r := ask(ana.access, at("nonsense")); r.status != 422 {
					t.Errorf("%s %s with an id that is none: %d", method, path, r.status)
				}
			}
		}
		if routes < 30 {
			t.Errorf("the document has %d routes only", routes)
		}
		t.Logf("%d routes, %d requests", routes, asked)
		if d := s.want(t, 200, ana.access, "GET", "/api/v1/devices", nil); strings.Contains(fmt.Sprint(d), "stolen") {
			t.Error("bob has renamed ana's device")
		}
	})
}

// TestProtocolTable holds the table of requests in PROTOCOL.md to the routes: each with its scope and its answers.
func TestProtocolTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(s string) []string { return regexp.MustCompile(`\b[2-5]\d\d\b`).FindAllString(s, -1) }
	always := numbers(regexp.MustCompile(`Any of them may also answer [^.]*\.`).FindString(string(text)))
	rows := regexp.MustCompile("(?m)^\\| `([A-Z]+) (/api/v1/sync/[^?`]*)[^`]*` \\| `?([a-z]+)`? \\| ([^|]*) \\|$").FindAllStringSubmatch(string(text), -1)
	doc := start(t, Config{}).do(t, "", "GET", "/openapi.json", nil).json(t)
	routes := 0
	for path := range doc["paths"].(map[string]any) {
		if strings.HasPrefix(path, "/api/v1/sync/") {
			routes += len(doc["paths"].(map[string]any)[path].(map[string]any))
		}
	}
	if len(rows) == 0 || len(rows) != routes || len(always) == 0 {
		t.Fatalf("the table has %d requests, the document %d; %v are answers of all", len(rows), routes, always)
	}
	for _, row := range rows {
		method, path, scope := row[1], row[2], row[3]
		item, _ := doc["paths"].(map[string]any)[path].(map[string]any)
		spec, ok := item[strings.ToLower(method)].(map[string]any)
		if !ok {
			t.Errorf("there is no %s %s", method, path)
			continue
		}
		if is, _ := spec["x-scope"].(string); cmp.Or(is, "none") != scope {
			t.Errorf("%s %s needs the scope %q, the table says %q", method, path, is, scope)
		}
		own := func(statuses iter.Seq[string]) []string { // but what any of them may answer
			return slices.DeleteFunc(slices.Sorted(statuses), func(s string) bool { return slices.Contains(always, s) })
		}
		if is, want := own(maps.Keys(spec["responses"].(map[string]any))), own(slices.Values(numbers(row[4]))); !slices.Equal(is, want) {
			t.Errorf("%s %s answers %v, the table says %v", method, path, is, want)
		}
	}
}

// TestMetrics lets Prometheus's own reader judge what Prometheus would get.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, Config{LoginFailures: 1})
	ana := s.signUp(t, "ana@example.org")
	for range 3 {
		s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": "wrong password"})
		s.do(t, "", "NONSENSE", "/nowhere/\"quoted\"", nil)
	}
	s.finished(t, ana, s.want(t, 202, ana.access, "POST", "/api/v1/operations",
		map[string]any{"kind": "organize", "target": map[string]any{"location_id": s.location(t, ana, "a.pdf").ID}})["id"].(string))
	r := s.do(t, "", "GET", "/metrics", nil)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(r.body))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.body)
	}
	for name, f := range families {
		if f.GetHelp() == "" || f.GetType() == dto.MetricType_UNTYPED || len(f.GetMetric()) == 0 {
			t.Errorf("%s has no help, no type or no value: %v", name, f)
		}
		for _, m := range f.GetMetric() {
			h := m.GetHistogram()
			if f.GetType() != dto.MetricType_HISTOGRAM {
				continue
			}
			last := h.GetBucket()[len(h.GetBucket())-1]
			if h.GetSampleCount() == 0 || last.GetCumulativeCount() != h.GetSampleCount() || !math.IsInf(last.GetUpperBound(), 1) {
				t.Errorf("%s counts %d, its last bucket is %v", name, h.GetSampleCount(), last)
			}
			for i, b := range h.GetBucket()[1:] {
				if before := h.GetBucket()[i]; b.GetUpperBound() <= before.GetUpperBound() || b.GetCumulativeCount() < before.GetCumulativeCount() {
					t.Errorf("%s: the bucket %v follows %v", name, b, before)
				}
			}
		}
	}
	for _, want := range []string{"forg_http_requests_total", "forg_http_request_seconds", "forg_rate_limited_total", "forg_password_seconds",
		"forg_ready", "forg_websockets", "go_goroutines"} {
		if families[want] == nil {
			t.Errorf("there is no %s", want)
		}
	}
}

// TestDocument shows that the document has all that clients rely on, and that its page needs nothing from elsewhere.
func TestDocument(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	r := s.do(t, "", "GET", "/openapi.json", nil)
	doc := r.json(t)
	if doc["openapi"] != "3.1.0" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/") {
		t.Errorf("it is %v, as %s", doc["openapi"], r.header.Get("Content-Type"))
	}
	paths := slices.Sorted(maps.Keys(doc["paths"].(map[string]any)))
	for _, want := range []string{"/api/v1/auth/signup", "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/me", "/api/v1/auth/logout", "/api/v1/auth/password",
		"/api/v1/auth/me/export", "/api/v1/operations", "/api/v1/operations/{id}", "/api/v1/operations/{id}/files", "/api/v1/operations/{id}/rollback", "/health",
		"/health/ready", "/api/v1/status", "/ws/operations/{id}", "/api/v1/api-keys", "/api/v1/devices", "/api/v1/sync/push", "/api/v1/sync/pull", "/metrics"} {
		if !slices.Contains(paths, want) {
			t.Errorf("it does not have %s", want)
		}
	}
	for _, file := range []string{"/docs", "/docs/", "/docs/docs.js", "/docs/docs.css"} {
		r := s.do(t, "", "GET", file, nil)
		if r.status != 200 || !strings.Contains(r.header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: %d, %s", file, r.status, r.header.Get("Content-Security-Policy"))
		}
		if text := string(r.body); strings.Contains(text, "https://") || strings.Contains(text, "//cdn") || strings.Contains(text, "style=") || strings.Contains(text, "onclick=\"") {
			t.Errorf("%s fetches something from elsewhere, or does what its policy forbids", file)
		}
	}
	// Every reference leads somewhere.
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name := strings.TrimPrefix(ref, "#/components/schemas/")
				if doc["components"].(map[string]any)["schemas"].(map[string]any)[name] == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	for _, c := range []struct {
		status             int
		method, path, body string
		header             []string
	}{
		{404, "GET", "/nowhere", "", nil},
		{404, "GET", "/api/v1/operations/../../etc/passwd", "", nil},
		{405, "PUT", "/api/v1/operations", "{}", nil},
		{405, "GET", "/api/v1/auth/login", "", nil},
		{400, "POST", "/api/v1/auth/login", "{", nil},
		{400, "POST", "/api/v1/auth/login", "", nil},
		{422, "POST", "/api/v1/auth/login", "null", nil},
		{422, "POST", "/api/v1/auth/login", "[]", nil},
		{422, "POST", "/api/v1/auth/login", `{"email": 3, "password": true}`, nil},
		{415, "POST", "/api/v1/auth/login", "email=x", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{415, "POST", "/api/v1/auth/login", "x", []string{"Content-Encoding", "br"}},
		{400, "POST", "/api/v1/auth/login", "this is no gzip", []string{"Content-Encoding", "gzip"}},
		{400, "POST", "/api/v1/auth/login", "this is no zstd", []string{"Content-Encoding", "zstd"}},
		{413, "POST", "/api/v1/auth/login", `{"email": "` + strings.Repeat("x", 70<<10) + `"}`, nil},
		{413, "POST", "/api/v1/sync/push", strings.Repeat(" ", 2<<20), nil},
		{400, "POST", "/api/v1/sync/push", "{", nil},
		{415, "POST", "/api/v1/sync/push", "x", []string{"Content-Type", "text/plain"}},
		{400, "POST", "/api/v1/auth/login", strings.Repeat("[", 60<<10), nil},
		{422, "GET", "/api/v1/sync/pull?after=-1", "", nil},
		{422, "GET", "/api/v1/sync/pull?wait=1000", "", nil},
		{422, "GET", "/api/v1/sync/pull?device_id=x", "", nil},
		{426, "GET", "/ws/operations/" + uuid.NewString(), "", []string{"want", "404"}},
	} {
		var body any
		if c.method == "POST" || c.method == "PUT" {
			body = c.body
		}
		if len(c.header) == 2 && c.header[0] == "want" {
			c.status, _ = strconv.Atoi(c.header[1])
			c.header = nil
		}
		r := s.do(t, ana.access, c.method, c.path, body, c.header...)
		if r.status != c.status {
			t.Errorf("%s %s %.40q %v: %d, want %d: %s", c.method, c.path, c.body, c.header, r.status, c.status, r.body)
			continue
		}
		checkProblem(t, r)
		if c.status == 405 && r.header.Get("Allow") == "" {
			t.Errorf("%s %s: nothing is allowed", c.method, c.path)
		}
	}
	// A client's id of a request comes back if it can stand in a log, and only then.
	if r := s.do(t, "", "GET", "/health", nil, "X-Request-Id", "abc-123"); r.header.Get("X-Request-Id") != "abc-123" {
		t.Error("a good id of a request is not taken")
	}
	if r := s.do(t, "", "GET", "/health", nil, "X-Request-Id", `x" level="ERROR`); strings.Contains(r.header.Get("X-Request-Id"), " ") {
		t.Error("a bad id of a request is taken")
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

// TestEncodings shows that bodies travel compressed both ways, and that one which is small only on the way is refused.
func TestEncodings(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	login, err := json.Marshal(map[string]any{"email": ana.email, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat([]byte(" "), 64<<20)
	for name, pack := range map[string]func(testing.TB, []byte) []byte{"gzip": gzipped, "zstd": zstded} {
		if r := s.do(t, "", "POST", "/api/v1/auth/login", pack(t, login), "Content-Encoding", name); r.status != 200 {
			t.Errorf("a login in %s: %d %s", name, r.status, r.body)
		}
		packed := pack(t, bomb)
		for _, path := range []string{"/api/v1/auth/login", "/api/v1/sync/push", "/api/v1/sync/ack?device_id=" + uuid.NewString()} {
			if r := s.do(t, ana.access, "POST", path, packed, "Content-Encoding", name); r.status != 413 {
				t.Errorf("a bomb of %s at %s: %d %s", name, path, r.status, r.body)
			}
		}
		r := s.do(t, "", "GET", "/openapi.json", nil, "Accept-Encoding", name)
		if r.header.Get("Content-Encoding") != name {
			t.Errorf("asked for %s it answers in %q", name, r.header.Get("Content-Encoding"))
		}
		if r := s.do(t, "", "POST", "/api/v1/auth/login", login, "Accept-Encoding", name); r.header.Get("Content-Encoding") != "" {
			t.Errorf("tokens are compressed")
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Origins: []string{"https://good.example"}})
	for origin, want := range map[string]string{"https://good.example": "https://good.example", "https://evil.example": "", "null": "", "https://good.example.evil.example": ""} {
		r := s.do(t, "", "OPTIONS", "/api/v1/operations", nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		if got := r.header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("a preflight of %s: %q", origin, got)
		}
		if r := s.do(t, "", "GET", "/health", nil, "Origin", origin); r.header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("a request of %s: %q", origin, r.header.Get("Access-Control-Allow-Origin"))
		}
		if r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("cookies are allowed")
		}
	}
	none := start(t, Config{})
	if r := none.do(t, "", "GET", "/health", nil, "Origin", "https://good.example"); r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("without a list every origin is allowed")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, redis string) {
		s := start(t, Config{RateLimits: map[api.Tier]int{api.TierFree: 30, api.TierPro: 0}, RedisURL: redis})
		ana := s.signUp(t, "ana@example.org")
		if redis != "" {
			time.Sleep(1100 * time.Millisecond) // were Redis away, it would be asked again
		}
		var last reply
		n := 0
		for ; n < 40; n++ {
			if last = s.do(t, ana.access, "GET", "/api/v1/auth/me", nil); last.status != 200 {
				break
			}
		}
		wait, err := strconv.Atoi(last.header.Get("Retry-After"))
		if n < 29 || n > 33 || last.status != 429 || err != nil || wait < 1 || wait > 60 || last.header.Get("RateLimit-Limit") != "30" || last.header.Get("RateLimit-Remaining") != "0" {
			t.Errorf("after %d requests: %d %v", n, last.status, last.header)
		}
		checkProblem(t, last)
		if r := s.do(t, "", "GET", "/health", nil); r.status != 200 {
			t.Error("the health is held to a rate")
		}
		if err := s.operator(t).SetTier(t.Context(), uuid.MustParse(ana.id), "pro", "active", time.Time{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new tier counts", func() bool { return s.do(t, ana.access, "GET", "/api/v1/auth/me", nil).status == 200 })
	}
	t.Run("memory", func(t *testing.T) { run(t, "") })
	t.Run("redis", func(t *testing.T) { run(t, redisForTest(t)) })
	t.Run("redis is away", func(t *testing.T) {
		s := start(t, Config{RedisURL: "redis://127.0.0.1:1/0"})
		s.signUp(t, "ana@example.org")
		if m := string(s.do(t, "", "GET", "/metrics", nil).body); !strings.Contains(m, "forg_redis_fallback_total ") {
			t.Error("no metric tells of it")
		}
	})
}

// redisForTest starts a Redis of the test's own on a socket.
func redisForTest(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Redis is not installed: apt-get install redis-server")
		}
		t.Skip("NOT TESTED with Redis: it is not installed: apt-get install redis-server")
	}
	dir, err := os.MkdirTemp("", "redis") // short enough for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, "Redis answers", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "unix://" + socket
}

// TestLoginTellsNothing: whatever is wrong with a login, it is as much work and gets the same answer, so that neither tells
// which accounts there are. How much work a password is, and that it is the same for all, package auth shows.
func TestLoginTellsNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Config{LoginFailures: -1})
	ana, shut := s.signUp(t, "ana@example.org"), s.signUp(t, "shut@example.org")
	if err := s.operator(t).SetActive(t.Context(), uuid.MustParse(shut.id), false); err != nil {
		t.Fatal(err)
	}
	hashed := func() (n int) {
		_, rest, _ := strings.Cut(string(s.do(t, "", "GET", "/metrics", nil).body), "\nforg_password_seconds_count ")
		fmt.Sscan(rest, &n)
		return n
	}
	want := ""
	for _, c := range []struct{ name, email, password string }{
		{"wrong password", ana.email, "wrong password"}, {"unknown account", "nobody@example.org", "wrong password"}, {"no address", "nobody", "wrong password"},
		{"no password", ana.email, ""}, {"too long", ana.email, strings.Repeat("x", 73)},
		{"too long, unknown account", "nobody@example.org", strings.Repeat("x", 73)},
		{"account that is shut", shut.email, password}, {"wrong password of an account that is shut", shut.email, "wrong password"},
	} {
		before := hashed()
		r := s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": c.email, "password": c.password})
		if n := hashed() - before; n != 1 {
			t.Errorf("%s: %d passwords were hashed", c.name, n)
		}
		v := r.json(t)
		delete(v, "instance")
		if got := fmt.Sprint(r.status, v); got != want && want != "" || r.status != 401 {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		} else {
			want = got
		}
	}
}

func TestLoginThrottle(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ana := s.signUp(t, "ana@example.org")
	bob := s.signUp(t, "bob@example.org")
	for range 12 { // logging in often is no guessing
		s.logIn(t, ana, nil)
	}
	codes := map[int]int{}
	for range 8 {
		codes[s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": "guess"}).status]++
	}
	if codes[401] != 5 || codes[429] != 3 {
		t.Errorf("eight guesses: %v", codes)
	}
	r := s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": password})
	if r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("the right password after them: %d", r.status)
	}
	s.logIn(t, bob, nil) // others are not locked out
	for i := range 40 {
		r = s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": fmt.Sprintf("u%d@example.org", i), "password": "guess"})
	}
	if r.status != 429 {
		t.Errorf("guessing at many accounts from one address: %d", r.status)
	}
}

// TestSlowClients shows that connections which only hold on are cut off, and cost others nothing meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the server waits")
	}
	s := start(t, Config{})
	addr := strings.TrimPrefix(s.url, "http://")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	const patience = 2 * time.Minute // of the test: the server has less
	// Twenty requests are answered before the first of the slow ones is cut off; on a slow machine perhaps not at once.
	for try := 1; ; try++ {
		var slow []net.Conn
		for range 200 {
			c := dial()
			fmt.Fprintf(c, "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			slow = append(slow, c)
		}
		var cut atomic.Bool
		var readers sync.WaitGroup
		for _, c := range slow {
			readers.Go(func() {
				c.SetReadDeadline(time.Now().Add(patience))
				_, err := io.Copy(io.Discard, c)
				cut.Store(true)
				if err != nil {
					t.Errorf("slow headers are not cut off: %v", err)
				}
			})
		}
		for range 20 {
			if r := s.do(t, "", "GET", "/health", nil); r.status != 200 {
				t.Fatalf("while others are slow: %d", r.status)
			}
		}
		meanwhile := cut.Load()
		readers.Wait()
		if !meanwhile {
			break
		}
		if try == 5 {
			t.Fatal("requests wait for slow ones")
		}
	}
	body := dial()
	fmt.Fprintf(body, "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	body.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(body), nil)
	if err != nil {
		t.Fatalf("a slow body: %v", err)
	}
	if res.StatusCode != 408 {
		t.Errorf("a slow body: %d", res.StatusCode)
	}
	huge := dial()
	fmt.Fprintf(huge, "GET /health HTTP/1.1\r\nHost: x\r\nX-Huge: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	if res, err := http.ReadResponse(bufio.NewReader(huge), nil); err == nil && res.StatusCode != 431 {
		t.Errorf("huge headers: %d", res.StatusCode)
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	s := start(t, Config{LoginFailures: 1, MetricsToken: "a token for metrics"})
	// Nobody's word counts, so all of these come from one address.
	last := 0
	for i := range 6 {
		last = s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": fmt.Sprintf("u%d@example.org", i), "password": "guess"}, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)).status
	}
	if last != 429 {
		t.Errorf("somebody who invents addresses is not slowed down: %d", last)
	}
	if r := s.do(t, "", "GET", "/metrics", nil); r.status != 200 {
		t.Errorf("metrics from this machine: %d", r.status)
	}
	s.want(t, 401, "", "GET", "/metrics", nil, "X-Forwarded-For", "192.0.2.1")
	s.want(t, 401, "wrong", "GET", "/metrics", nil, "X-Forwarded-For", "192.0.2.1")
	if r := s.do(t, "a token for metrics", "GET", "/metrics", nil, "X-Forwarded-For", "192.0.2.1"); r.status != 200 || !strings.Contains(string(r.body), "# TYPE forg_http_requests_total counter") {
		t.Errorf("metrics with the token: %d", r.status)
	}
}

func TestHealthOfRoles(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *service) {
		s.want(t, 200, "", "GET", "/health", nil)
		s.want(t, 200, "", "GET", "/health/ready", nil)
		got := s.want(t, 200, "", "GET", "/api/v1/status", nil)
		if got["database"].(map[string]any)["state"] != "ok" || got["queue"].(map[string]any)["state"] != "ok" || got["role"] != "all" {
			t.Errorf("status: %v", got)
		}
	})
}

func TestClosedSignup(t *testing.T) {
	t.Parallel()
	s := &server{cfg: Config{Signup: false}}
	_, err := s.signup(t.Context(), &jsonOf[api.SignupRequest]{api.SignupRequest{Email: "a@example.org", Password: password}})
	if p, ok := err.(*problem); !ok || p.Status != 403 {
		t.Errorf("signing up where registration is closed: %v", err)
	}
}

func TestRedact(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(&b, 0)
	key, err := auth.NewAPIKey("live")
	if err != nil {
		t.Fatal(err)
	}
	refresh, _ := auth.NewRefreshToken()
	secrets := []string{key.Text(), refresh, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "hunter2hunter2", "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"}
	log.Info("x", "text", "the key "+key.Text(), "error", fmt.Errorf("bad: %s %w", refresh, fmt.Errorf("Bearer %s", secrets[2])), "password", secrets[3],
		"hash", secrets[4], "url", "postgres://forg:hunter2hunter2@db/forg", "plain", "what may be said")
	for _, s := range secrets {
		if strings.Contains(b.String(), s) {
			t.Errorf("the log has %q in it: %s", s, &b)
		}
	}
	if !strings.Contains(b.String(), "what may be said") {
		t.Errorf("the log is %s", &b)
	}
}
