package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"forg/sync/api"
	"forg/sync/server/pgtest"
	"forg/sync/server/store"
)

// TestOpenAPI sends to every operation of the document what the document allows, what it just does not allow, and nonsense;
// with credentials and without. No answer is a 5xx, each has a status and a body that the document speaks of, every error is
// a problem, and without credentials there is nothing but 401. FORG_TEST_FUZZ=10m goes on with random requests for so
// long; FORG_TEST_SEED repeats a run.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, database string) {
		// Proxies: sign-ups are held to a rate by address, so they come from many.
		s := start(t, Config{DatabaseURL: database, RateLimits: map[api.Tier]int{}, LoginFailures: -1, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		f := newDocFuzzer(t, s)
		for _, o := range f.operations {
			f.systematic(o)
		}
		began, long := time.Now(), time.Second
		if text := os.Getenv("FORG_TEST_FUZZ"); text != "" {
			var err error
			if long, err = time.ParseDuration(text); err != nil {
				t.Fatal(err)
			}
		}
		for time.Since(began) < long && !t.Failed() {
			f.random(f.operations[f.rnd.IntN(len(f.operations))])
		}
		for _, o := range f.operations {
			// A request here is no WebSocket, and a worker may always be faster than who cancels.
			if !f.succeeded[o.name] && o.path != "/ws/operations/{id}" && !strings.HasSuffix(o.path, "/cancel") {
				t.Errorf("%s: not one request was good enough to succeed, so it was hardly tried", o.name)
			}
		}
		t.Logf("%d operations, %d requests, answers: %v", len(f.operations), f.sent, f.answers)
	}
	t.Run("postgres", func(t *testing.T) { run(t, pgtest.New(t, migrateForTest)) })
	t.Run("sqlite", func(t *testing.T) { run(t, "") })
}

// docOperation is an operation of the document.
type docOperation struct {
	name, method, path, scope string
	params                    []docParam
	body                      map[string]any // its schema; nil without
	bodyRequired              bool
	responses                 map[string]any
	at                        string // in the document
}

type docParam struct {
	name, in string
	required bool
	schema   map[string]any
}

// docFuzzer remembers what requests need to get past the first check: ids that exist, tokens that hold.
type docFuzzer struct {
	t          *testing.T
	s          *service
	store      *store.Store
	rnd        *rand.Rand
	doc        map[string]any
	compiler   *jsonschema.Compiler
	schemas    map[string]*jsonschema.Schema
	operations []docOperation
	sent       int
	answers    map[int]int
	succeeded  map[string]bool
	told       map[string]bool

	user    user
	stale   bool // the user has logged out, or is gone
	users   int
	key     string
	ids     map[string][]string
	cursors map[string]string
}

func newDocFuzzer(t *testing.T, s *service) *docFuzzer {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FORG_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FORG_TEST_SEED=%d", seed)
	f := &docFuzzer{t: t, s: s, store: s.operator(t), rnd: rand.New(rand.NewPCG(seed, 1)), schemas: map[string]*jsonschema.Schema{}, answers: map[int]int{}, succeeded: map[string]bool{},
		told: map[string]bool{}, cursors: map[string]string{}}
	text := s.do(t, "", "GET", "/openapi.json", nil).body
	if err := json.Unmarshal(text, &f.doc); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	f.compiler = jsonschema.NewCompiler()
	f.compiler.AssertFormat()
	if err := f.compiler.AddResource("urn:forg:openapi", doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range f.doc["paths"].(map[string]any) {
		for method, v := range item.(map[string]any) {
			spec := v.(map[string]any)
			o := docOperation{method: strings.ToUpper(method), path: path, responses: spec["responses"].(map[string]any),
				at: "#/paths/" + pointer(path) + "/" + method}
			o.name = o.method + " " + path
			o.scope, _ = spec["x-scope"].(string)
			params, _ := spec["parameters"].([]any)
			for _, p := range params {
				p := p.(map[string]any)
				required, _ := p["required"].(bool)
				o.params = append(o.params, docParam{p["name"].(string), p["in"].(string), required, p["schema"].(map[string]any)})
			}
			if body, ok := spec["requestBody"].(map[string]any); ok {
				o.bodyRequired, _ = body["required"].(bool)
				o.body = body["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)
			}
			f.operations = append(f.operations, o)
		}
	}
	slices.SortFunc(f.operations, func(a, b docOperation) int { return strings.Compare(a.name, b.name) })
	f.renew()
	return f
}

// pointer is a word as part of a JSON pointer in a URL's fragment.
func pointer(word string) string {
	return url.PathEscape(strings.ReplaceAll(strings.ReplaceAll(word, "~", "~0"), "/", "~1"))
}

// renew makes a user who has one of everything.
func (f *docFuzzer) renew() {
	f.users++
	f.stale = false
	device := uuid.Must(uuid.NewV7())
	f.user = user{email: fmt.Sprintf("u%d@example.org", f.users)}
	f.user.id = f.s.want(f.t, 201, "", "POST", "/api/v1/auth/signup", map[string]any{"email": f.user.email, "password": password, "full_name": "U"}, f.elsewhere()...)["id"].(string)
	f.user = f.s.logIn(f.t, f.user, nil)
	f.s.logIn(f.t, f.user, map[string]any{"id": device, "name": "laptop"})
	f.key = f.s.want(f.t, 201, f.user.access, "POST", "/api/v1/api-keys", map[string]any{"name": "all", "scopes": []string{"admin"}})["key"].(string)
	l, err := f.store.CreateLocation(f.t.Context(), store.Location{UserID: uuid.MustParse(f.user.id), Name: "inbox", Root: f.t.TempDir()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.ids = map[string][]string{"devices": {device.String()}, "locations": {l.ID.String()}}
	f.supply()
}

// elsewhere is the header of a request from another address.
func (f *docFuzzer) elsewhere() []string {
	return []string{"X-Forwarded-For", netip.AddrFrom4([4]byte{10, byte(f.sent >> 16), byte(f.sent >> 8), byte(f.sent)}).String()}
}

// supply replaces what requests have used up: keys that were deleted, operations that are finished, commands.
func (f *docFuzzer) supply() {
	t, s := f.t, f.s
	if s.want(t, 200, f.user.access, "GET", "/api/v1/sync/keys", nil)["version"] != 0.0 { // would take no readable push
		f.renew()
		return
	}
	device := uuid.Must(uuid.NewV7())
	s.logIn(t, f.user, map[string]any{"id": device, "name": "another"})
	f.ids["devices"] = []string{device.String()}
	key := s.want(t, 201, f.user.access, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "scopes": []string{"read"}})
	f.ids["api-keys"] = []string{key["id"].(string)}
	op := s.want(t, 202, f.user.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"device_id": device, "root": "inbox"}})
	place := s.want(t, 202, f.user.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": f.ids["locations"][0]}})
	f.ids["operations"] = []string{op["id"].(string), place["id"].(string)}
	done := f.push()
	s.want(t, 200, f.user.access, "POST", "/api/v1/sync/push", done)
	f.ids["undoable"] = []string{done.(map[string]any)["entries"].([]any)[0].(map[string]any)["op_id"].(string)}
	cs := s.want(t, 200, f.user.access, "GET", "/api/v1/sync/commands?device_id="+device.String(), nil)["commands"].([]any)
	if len(cs) > 0 {
		c := cs[0].(map[string]any)
		f.ids["commands"], f.ids["leases"] = []string{c["id"].(string)}, []string{c["lease"].(string)}
	}
}

// docRequest is a request to be.
type docRequest struct {
	params map[string]any // by name; absent where it is left out
	body   any
	raw    []byte // instead of body
	header []string
	what   string // was changed
	free   bool   // the answer may be one that the document does not know: the request has left the route
}

func (f *docFuzzer) oneOf(words ...string) string { return words[f.rnd.IntN(len(words))] }

// known is a value that means something to the server, for a field or parameter of this name.
func (f *docFuzzer) known(o docOperation, name string) any {
	id := func(kind string) any {
		if all := f.ids[kind]; len(all) > 0 {
			return all[f.rnd.IntN(len(all))]
		}
		return uuid.NewString()
	}
	switch name {
	case "id":
		if strings.HasSuffix(o.path, "/rollback") {
			return id("undoable")
		}
		for _, kind := range []string{"operations", "devices", "api-keys", "commands"} {
			if strings.Contains(o.path, "/"+kind+"/{id}") {
				return id(kind)
			}
		}
		return uuid.Must(uuid.NewV7()).String()
	case "device_id":
		return id("devices")
	case "location_id":
		return nil
	case "lease":
		return id("leases")
	case "email":
		if strings.HasSuffix(o.path, "/signup") {
			f.users++
			return fmt.Sprintf("new%d@example.org", f.users)
		}
		return f.user.email
	case "password", "old_password":
		return password
	case "new_password":
		return password + "!"
	case "refresh_token":
		return f.s.logIn(f.t, f.user, nil).refresh
	case "timezone":
		return f.oneOf("Europe/Berlin", "UTC")
	case "kind":
		return "organize"
	case "status":
		return "completed"
	case "state":
		return f.oneOf("running", "succeeded", "failed")
	case "scopes":
		return []any{f.oneOf("read", "push", "commands", "admin")}
	case "expires_at":
		return time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	case "root":
		return "inbox"
	case "options":
		return map[string]any{"rules": "default"}
	case "protocol":
		return api.Protocol
	case "wait", "after", "files_after", "cursor":
		if name == "cursor" && o.body == nil {
			return f.cursors[o.path]
		}
		return float64(0)
	case "limit":
		return float64(1 + f.rnd.IntN(3))
	case "entries":
		return []any{}
	case "prev_chain":
		return strings.Repeat("0", 64)
	case "name":
		return "Laptop"
	case "Idempotency-Key":
		return uuid.NewString()
	case "only":
		return "*.pdf"
	case "version":
		return float64(0)
	case "keys":
		return []any{map[string]any{"id": "k1", "check": base64.StdEncoding.EncodeToString(make([]byte, 32))}}
	case "tag":
		return base64.StdEncoding.EncodeToString(make([]byte, 32))
	case "bundle":
		return "AAAA"
	case "recipient":
		return "age1text"
	}
	return nil
}

// value is a value that the schema allows.
func (f *docFuzzer) value(o docOperation, name string, schema map[string]any) any {
	schema = f.resolve(schema)
	if v := f.known(o, name); v != nil {
		return v
	}
	kind, _ := schema["type"].(string)
	if all, ok := schema["type"].([]any); ok {
		kind, _ = all[0].(string)
	}
	switch kind {
	case "string":
		switch schema["format"] {
		case "uuid":
			return uuid.NewString()
		case "date-time":
			return "2026-01-02T03:04:05Z"
		case "email":
			return "somebody@example.org"
		}
		return "text"
	case "integer", "number":
		return float64(1)
	case "boolean":
		return f.rnd.IntN(2) == 0
	case "array":
		items, _ := schema["items"].(map[string]any)
		return []any{f.value(o, "", items)}
	}
	out := map[string]any{}
	props, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, p := range slices.Sorted(maps.Keys(props)) {
		if p == "location_id" || p == "device" || p == "id" && !slices.Contains(required, any(p)) {
			continue // one of two is the target; an id is the server's to make
		}
		if slices.Contains(required, any(p)) || f.rnd.IntN(2) == 0 || p == "device_id" || p == "root" {
			out[p] = f.value(o, p, props[p].(map[string]any))
		}
	}
	return out
}

func (f *docFuzzer) resolve(schema map[string]any) map[string]any {
	for {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return schema
		}
		schema = f.doc["components"].(map[string]any)["schemas"].(map[string]any)[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
	}
}

func (f *docFuzzer) good(o docOperation) *docRequest {
	if f.stale {
		f.renew()
	}
	r := &docRequest{params: map[string]any{}, what: "nothing"}
	for _, p := range o.params {
		if p.required || p.name == "device_id" || p.name == "wait" || f.rnd.IntN(3) == 0 {
			r.params[p.name] = f.value(o, p.name, p.schema)
		}
		if v := r.params[p.name]; v == "" || v == nil {
			delete(r.params, p.name)
		}
	}
	if strings.HasSuffix(o.path, "/operations") && o.method == "GET" {
		delete(r.params, "cursor") // holds with the same filters only
	}
	if o.body != nil {
		r.body = f.value(o, "", o.body)
		if o.path == "/api/v1/sync/push" {
			r.body = f.push()
		}
	}
	return r
}

// push is the beginning of a new log.
func (f *docFuzzer) push() any {
	device, epoch, op := uuid.MustParse(f.ids["devices"][0]), uuid.New(), uuid.Must(uuid.NewV7())
	req := api.PushRequest{Protocol: api.Protocol, DeviceID: device, Epoch: epoch, PrevChain: api.Genesis(device, epoch), Entries: []api.Entry{}}
	for i, b := range []api.Body{&api.Started{Kind: "organize", Root: "/home", Planned: 1},
		api.Files{{Seq: 1, SourcePath: "/home/a", DestinationPath: "/home/b/a", Size: 9, Action: "rename", Status: api.FilePlanned}},
		&api.Finished{Status: api.OpCompleted, Processed: 1, Bytes: 9}} {
		e, err := api.NewEntry(int64(i+1), uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), b)
		if err != nil {
			f.t.Fatal(err)
		}
		req.Entries = append(req.Entries, e)
	}
	text, err := json.Marshal(req)
	if err != nil {
		f.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		f.t.Fatal(err)
	}
	return v
}

// Values at the edges of what programs expect.
func (f *docFuzzer) edges(schema map[string]any) []any {
	schema = f.resolve(schema)
	all := []any{nil, true, "", " ", "x", "\x00", "a\x00b", "\u202e\u0301\U0001f4a9", "\ufeff", "'; drop table users; --", `\`, "%", "%_", "../../etc/passwd", "\r\nX-Evil: 1", "\xff\xfe",
		"9999-12-31T23:59:59.999999999Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "294277-01-01T00:00:00Z", "2026-01-01T00:00:00+23:59",
		uuid.Nil.String(), uuid.Max.String(), "urn:uuid:" + uuid.NewString(), strings.ToUpper(uuid.NewString()), uuid.NewString()[:35],
		float64(0), float64(-1), float64(1), 1.5, float64(1 << 31), json.Number("9223372036854775807"), json.Number("9223372036854775808"), json.Number("-9223372036854775808"),
		json.Number("1e400"), json.Number("-0"), []any{}, []any{nil}, []any{[]any{}}, map[string]any{}, map[string]any{"\x00": "\x00"}, map[string]any{"a": map[string]any{"a": []any{"\x00"}}},
		strings.Repeat("x", 300), strings.Repeat("é", 1100), strings.Repeat("\x01", 5000)}
	for _, limit := range []string{"maxLength", "minLength"} {
		if n, ok := schema[limit].(float64); ok {
			all = append(all, strings.Repeat("y", int(n)), strings.Repeat("y", int(n)+1), strings.Repeat("é", int(n)), strings.Repeat("y", max(0, int(n)-1)))
		}
	}
	for _, limit := range []string{"minimum", "maximum"} {
		if n, ok := schema[limit].(float64); ok {
			all = append(all, n-1, n, n+1)
		}
	}
	return all
}

// systematic changes one thing of a good request after the other; in a short run only some of all, others each time.
func (f *docFuzzer) systematic(o docOperation) {
	for range 3 {
		f.send(o, f.good(o))
	}
	for _, p := range o.params {
		r := f.good(o)
		delete(r.params, p.name)
		r.what, r.free = "without "+p.name, p.in == "path"
		f.send(o, r)
		for _, v := range f.some(f.edges(p.schema)) {
			r := f.good(o)
			r.params[p.name] = v
			r.what = fmt.Sprintf("%s is %.60q", p.name, fmt.Sprint(v))
			text := paramText(v)
			r.free = p.in == "path" && (text == "" || text == "." || text == ".." || strings.Contains(text, "/"))
			f.send(o, r)
		}
	}
	if o.body == nil {
		r := f.good(o)
		r.raw, r.what = []byte("\x00\xffnonsense"), "a body where none is taken"
		f.send(o, r)
		return
	}
	fields := paths(f.good(o).body, nil)
	for _, path := range fields {
		for _, v := range append(f.some(f.edges(f.schemaAt(o.body, path))), missing{}) {
			r := f.good(o)
			r.body = change(r.body, path, v)
			r.what = fmt.Sprintf("body%v is %.60q", path, fmt.Sprint(v))
			f.send(o, r)
		}
	}
	for _, v := range f.some(f.edges(o.body)) {
		r := f.good(o)
		r.body, r.what = v, "the whole body is another value"
		f.send(o, r)
	}
	text := asJSON(f.good(o).body)
	for _, raw := range [][]byte{{}, []byte(" "), []byte("\x00"), []byte("{"), []byte("null"), text[:len(text)/2], append(slices.Clone(text), text...), append([]byte("\xef\xbb\xbf"), text...),
		bytes.ReplaceAll(text, []byte(`"`), []byte(`'`)), bytes.Repeat([]byte(`{"a":`), 5000), bytes.Repeat([]byte("["), 60_000), append([]byte(`{"email":1,"email":2,`), text[1:]...),
		bytes.Repeat([]byte("a"), 70<<10), []byte(`{"a":"\ud800"}`), []byte("{\"a\":\"\xff\"}")} {
		r := f.good(o)
		r.raw, r.what = raw, "the body is no good"
		f.send(o, r)
	}
	for _, header := range [][]string{{"Content-Type", ""}, {"Content-Type", "text/plain"}, {"Content-Type", "application/json; charset=latin1"}, {"Content-Type", ";;;"}, {"Content-Type", "application/problem+json"},
		{"Content-Encoding", "gzip"}, {"Content-Encoding", "zstd"}, {"Content-Encoding", "br"}, {"Content-Encoding", "gzip, gzip"}, {"Accept", "text/html"}, {"Accept", "nonsense"},
		{"Accept-Encoding", "gzip;q=0, zstd;q=nonsense"}, {"Expect", "nonsense"}, {"Range", "bytes=5-1"}} {
		r := f.good(o)
		r.header, r.what, r.free = header, strings.Join(header, ": "), header[0] == "Expect"
		f.send(o, r)
	}
}

// missing stands for a field that is left out.
type missing struct{}

func (f *docFuzzer) some(all []any) []any {
	if os.Getenv("FORG_TEST_FUZZ") != "" {
		return all
	}
	return slices.DeleteFunc(all, func(any) bool { return f.rnd.IntN(5) > 0 })
}

// random changes several things.
func (f *docFuzzer) random(o docOperation) {
	r := f.good(o)
	r.what = "several things"
	for range 1 + f.rnd.IntN(4) {
		if len(o.params) > 0 && f.rnd.IntN(2) == 0 {
			p := o.params[f.rnd.IntN(len(o.params))]
			v := f.edge(p.schema)
			r.params[p.name] = v
			text := paramText(v)
			r.free = r.free || p.in == "path" && (text == "" || text == "." || text == ".." || strings.Contains(text, "/"))
		}
		if fields := paths(r.body, nil); len(fields) > 0 {
			path := fields[f.rnd.IntN(len(fields))]
			r.body = change(r.body, path, f.edge(f.schemaAt(o.body, path)))
		}
	}
	if o.body != nil && f.rnd.IntN(4) == 0 {
		r.raw = asJSON(r.body)
		for range 1 + f.rnd.IntN(3) {
			if len(r.raw) > 0 {
				r.raw[f.rnd.IntN(len(r.raw))] = byte(f.rnd.IntN(256))
			}
		}
	}
	f.send(o, r)
}

func (f *docFuzzer) edge(schema map[string]any) any {
	all := f.edges(schema)
	return all[f.rnd.IntN(len(all))]
}

// paths are the ways to all that is in a value.
func paths(v any, to []any) (all [][]any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			at := append(slices.Clone(to), k)
			all = append(append(all, at), paths(v[k], at)...)
		}
	case []any:
		for i := range v {
			at := append(slices.Clone(to), i)
			all = append(append(all, at), paths(v[i], at)...)
			if i == 1 {
				break // the others are like it
			}
		}
	}
	return all
}

// change is v with another value at a path, where that still leads somewhere.
func change(v any, path []any, to any) any {
	if len(path) == 0 {
		return to
	}
	switch k := path[0].(type) {
	case string:
		if m, ok := v.(map[string]any); ok {
			m = maps.Clone(m)
			m[k] = change(m[k], path[1:], to)
			if _, gone := m[k].(missing); gone {
				delete(m, k)
			}
			return m
		}
	case int:
		if a, ok := v.([]any); ok && k < len(a) {
			a = slices.Clone(a)
			a[k] = change(a[k], path[1:], to)
			if _, gone := a[k].(missing); gone {
				a = slices.Delete(a, k, k+1)
			}
			return a
		}
	}
	return v
}

func (f *docFuzzer) schemaAt(schema map[string]any, path []any) map[string]any {
	for _, k := range path {
		schema = f.resolve(schema)
		var next any
		if name, ok := k.(string); ok {
			props, _ := schema["properties"].(map[string]any)
			next = props[name]
		} else {
			next = schema["items"]
		}
		m, ok := next.(map[string]any)
		if !ok {
			return map[string]any{}
		}
		schema = m
	}
	return schema
}

// asJSON is a value as JSON, with strings that are no UTF-8 as they are.
func asJSON(v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		var parts [][]byte
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, append(append(asJSON(k), ':'), asJSON(v[k])...))
		}
		return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}"))
	case []any:
		var parts [][]byte
		for _, x := range v {
			parts = append(parts, asJSON(x))
		}
		return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
	case string:
		if v == "\xff\xfe" {
			return []byte("\"\xff\xfe\"")
		}
	case missing:
		return []byte("null")
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func paramText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case missing:
		return ""
	}
	return strings.Trim(string(asJSON(v)), `"`)
}

// send sends a request with good credentials, and some without.
func (f *docFuzzer) send(o docOperation, r *docRequest) {
	path, header := o.path, slices.Clone(r.header)
	query := url.Values{}
	for _, p := range o.params {
		v, ok := r.params[p.name]
		if p.in == "path" {
			path = strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(paramText(v)))
			continue
		}
		if !ok {
			continue
		}
		if p.in == "query" {
			query.Set(p.name, paramText(v))
		} else if text := paramText(v); !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 127 }) {
			header = append(header, p.name, text) // other bytes no client can send
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	body := any(nil)
	if r.raw != nil {
		body = r.raw
	} else if o.body != nil {
		body = asJSON(r.body)
	}
	if o.scope != "" && f.rnd.IntN(8) == 0 {
		for _, token := range []string{"", "nonsense", f.user.access + "x", "forg_live_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_aaaaaa"} {
			got := f.exchange(token, o, path, body, header)
			encoded := len(r.header) > 0 && r.header[0] == "Content-Encoding" && (got.status == 400 || got.status == 415)
			if got.status != 401 && !encoded && !r.free {
				f.complain(o, r, path, body, got, "it is not refused without good credentials")
			}
			f.check(o, r, path, body, got)
		}
	}
	token := f.user.access
	if o.scope != "session" && f.rnd.IntN(4) == 0 {
		token = f.key
	}
	got := f.exchange(token, o, path, body, header)
	f.check(o, r, path, body, got)
	if got.status == 401 && o.scope != "" && !r.free {
		f.complain(o, r, path, body, got, "its good credentials are refused")
		f.stale = true
	}
	if got.status < 300 {
		f.succeeded[o.name] = true
		var page struct {
			Next string `json:"next_cursor"`
		}
		if json.Unmarshal(got.body, &page) == nil && page.Next != "" {
			f.cursors[o.path] = page.Next
		}
		switch {
		case strings.HasSuffix(o.path, "/auth/logout") || strings.HasSuffix(o.path, "/auth/password") || o.name == "DELETE /api/v1/auth/me":
			f.stale = true
		case o.method == "DELETE" || strings.HasSuffix(o.path, "/rollback") || strings.HasSuffix(o.path, "/cancel") || strings.Contains(o.path, "/commands/"):
			f.supply()
		}
	}
}

func (f *docFuzzer) exchange(token string, o docOperation, path string, body any, header []string) reply {
	f.sent++
	if strings.HasSuffix(path, "/signup") {
		header = append(header, f.elsewhere()...)
	}
	// An id of its own: one of the server's could have any word in it.
	got, err := f.s.try(token, o.method, path, body, append([]string{"X-Request-Id", "fuzz-" + strconv.Itoa(f.sent)}, header...)...)
	if err != nil {
		f.t.Fatalf("%s %s: %v", o.method, path, err)
	}
	f.answers[got.status]++
	return got
}

// complain tells of each kind of fault once.
func (f *docFuzzer) complain(o docOperation, r *docRequest, path string, body any, got reply, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	key := fmt.Sprintf("%s %d %.60s", o.name, got.status, text)
	if f.told[key] {
		return
	}
	f.told[key] = true
	f.t.Errorf("%s, changed: %s: %d: %s\n  %.300q\n  body   %.500q\n  answer %.500q", o.name, r.what, got.status, text, path, asText(body), got.body)
}

func asText(body any) string {
	b, _ := body.([]byte)
	return string(b)
}

func (f *docFuzzer) check(o docOperation, r *docRequest, path string, body any, got reply) {
	bad := func(format string, args ...any) { f.complain(o, r, path, body, got, format, args...) }
	if got.status >= 500 {
		bad("an error of the server")
		return
	}
	if r.free {
		return
	}
	spec, ok := o.responses[strconv.Itoa(got.status)].(map[string]any)
	if !ok {
		bad("the document knows no such answer")
		return
	}
	if got.status >= 400 {
		checkProblem(f.t, got)
	}
	content, _ := spec["content"].(map[string]any)
	if len(content) == 0 {
		if got.status == http.StatusNoContent && len(got.body) > 0 {
			bad("an answer without a body has one")
		}
		return
	}
	media, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	if content[media] == nil {
		bad("it answers in %q", media)
		return
	}
	lines := [][]byte{got.body}
	if media == "application/x-ndjson" {
		lines = bytes.Split(bytes.TrimSpace(got.body), []byte("\n"))
	}
	at := fmt.Sprintf("urn:forg:openapi%s/responses/%d/content/%s/schema", o.at, got.status, pointer(media))
	schema := f.schemas[at]
	if schema == nil && content[media].(map[string]any)["schema"] != nil {
		var err error
		if schema, err = f.compiler.Compile(at); err != nil {
			f.t.Fatal(err)
		}
		f.schemas[at] = schema
	}
	if schema == nil || media == "text/plain" {
		return
	}
	for _, line := range lines {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			bad("it is no JSON: %v", err)
		} else if err := schema.Validate(v); err != nil {
			bad("it is not what the document says: %v", err)
		}
	}
}
