package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/sync/api"
)

var update = flag.Bool("update", false, "write golden files that are missing")

var (
	account = uuid.MustParse("0198c0de-0000-4000-8000-00000000a001")
	device  = uuid.MustParse("0198c0de-0000-4000-8000-00000000d001")
	epoch   = uuid.MustParse("0198c0de-0000-4000-8000-00000000e001")
	op      = uuid.MustParse("0198c0de-7000-7000-8000-000000000042")
	command = uuid.MustParse("0198c0de-7000-7000-8000-0000000000c1")
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// secrets are words that stand where a body names something of the user's.
var secrets = []string{"/home/ada", "Downloads", "divorce-papers", "Umlaut-\xfc", "psychiatrist", "cannot-open-this", "typed-by-ada", "rule-of-ada", "adas-laptop", "only-option"}

// bodies are one of every kind, with a secret wherever there is room for one.
func bodies() []api.Body {
	return []api.Body{
		&api.Started{Kind: "organize", Root: "/home/ada/Downloads:/home/ada/psychiatrist", RootBytes: []byte("/home/ada/Umlaut-\xfc"), Command: "forg organize typed-by-ada",
			Planned: 2, CommandID: command, Options: map[string]any{"rules": "only-option"}},
		api.Files{
			{Seq: 1, SourcePath: "/home/ada/Downloads/divorce-papers.pdf", DestinationPath: "/home/ada/psychiatrist/divorce-papers.pdf", Size: 90000, Category: "rule-of-ada",
				Action: "rename", Status: api.FilePlanned, MovedAt: time.UnixMicro(1785574800001000).UTC()},
			{Seq: 2, SourcePath: "/home/ada/Downloads/Umlaut-\xfc", SourcePathBytes: []byte("/home/ada/Downloads/Umlaut-\xfc"), Size: 1, Category: "Images", Action: "trash",
				Status: api.FileFailed, Error: "cannot-open-this", ContentHash: "blake3:" + strings.Repeat("ab", 32)},
		},
		&api.Outcomes{Outcomes: []api.Outcome{{Seq: 2, Status: api.FileFailed, Error: "cannot-open-this /home/ada"}, {Seq: 1, ContentHash: "blake3:" + strings.Repeat("cd", 32)}}},
		&api.Finished{Status: api.OpPartial, Processed: 1, Failed: 1, Bytes: 90000, Duplicates: 3, Error: "cannot-open-this", RootStatus: api.OpUndone},
		&api.DeviceRenamed{Name: "adas-laptop"},
		&api.RollbackResult{CommandID: command, RollbackOf: op, State: api.CommandPartial, Restored: 1, Skipped: 2, Failed: 3, Error: "cannot-open-this"},
		&api.Redact{Reason: "pruned"},
		&api.Void{},
	}
}

func entry(t testing.TB, n int64, b api.Body) api.Entry {
	t.Helper()
	id := uuid.MustParse(fmt.Sprintf("0198c0de-7000-7000-8000-%012x", 0x1000+n))
	return must(api.NewEntry(n, id, op, 1785574800000000+n*1000, b))(t)
}

func story(t testing.TB) []api.Entry {
	var log []api.Entry
	for i, b := range bodies() {
		log = append(log, entry(t, int64(i)+1, b))
	}
	// A newer forg knows more kinds; what they say is nobody's business either.
	later := entry(t, int64(len(log))+1, &api.Void{})
	later.Kind = "op.explained"
	later.SetRaw([]byte(`{"because":"psychiatrist"}`))
	return append(log, later)
}

// fixed are keys whose roots are known.
func fixed(t testing.TB, fill ...byte) *Keys {
	t.Helper()
	k := must(newKeys(account, device))(t)
	for _, b := range fill {
		r := heldRoot{root: root(bytes.Repeat([]byte{b}, rootSize))}
		r.id = r.root.id(account)
		if len(k.roots) > 0 {
			r.link = link(account, &k.newest().root, &r.root)
		}
		k.roots = append(k.roots, r)
	}
	return k
}

// TestSeal: whatever is sealed comes back as it was, a server takes it and reads nothing of it but how the operation stands.
func TestSeal(t *testing.T) {
	k := fixed(t, 1)
	for _, e := range story(t) {
		s := must(k.Seal(device, epoch, e))(t)
		if again := must(k.Seal(device, epoch, e))(t); !cmp.Equal(s, again) {
			t.Errorf("%s: sealed twice it is not the same", e.Kind)
		}
		ok(t, s.Verify(api.DefaultLimits()))
		if err := api.MustBeSealed([]api.Entry{s}, 0, []string{k.ID()}); err != nil {
			t.Errorf("%s: a server does not take it: %v", e.Kind, err)
		}
		if !IsSealed(&s) || IsSealed(&e) || s.SealedBy() != k.ID() || e.SealedBy() != "" {
			t.Errorf("%s: sealed by %q, before by %q", e.Kind, s.SealedBy(), e.SealedBy())
		}
		raw := must(s.Raw(1 << 20))(t)
		for _, secret := range append(secrets, "abababab", "cdcdcd", "pruned") {
			if bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s: the server can read %s", e.Kind, secret)
			}
		}
		back := must(k.Open(device, epoch, s))(t)
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("%s: it comes back otherwise\n%s", e.Kind, diff)
		}
		// Sealed with a key that the account has not, or readable, a server refuses it.
		for _, wrong := range [][]api.Entry{{e}, {s}} {
			keys := []string{k.ID()}
			if wrong[0].SealedBy() != "" {
				keys = []string{"another"}
			}
			p, _ := errors.AsType[*api.Problem](api.MustBeSealed(wrong, 7, keys))
			if p == nil || p.Code != api.CodeNotSealed || p.Errors[0].Location != "body.entries[7].key_id" {
				t.Errorf("%s: %v", e.Kind, p)
			}
		}
	}
	// What is said in the clear beside what is sealed would be told by accident.
	for _, leak := range []api.Body{&api.Started{Kind: "organize", Root: "/x", Sealed: &api.Sealed{KeyID: k.ID()}}, &api.Started{Kind: "organize", Command: "x", Sealed: &api.Sealed{KeyID: k.ID()}},
		&api.Started{Kind: "organize", Options: map[string]any{"x": 1}, Sealed: &api.Sealed{KeyID: k.ID()}}, &api.Started{Kind: "organize", RootBytes: []byte("x"), Sealed: &api.Sealed{KeyID: k.ID()}},
		&api.Finished{Status: api.OpCompleted, Error: "x", Sealed: &api.Sealed{KeyID: k.ID()}}, &api.Redact{Reason: "x", Sealed: &api.Sealed{KeyID: k.ID()}},
		&api.RollbackResult{CommandID: command, RollbackOf: op, State: api.CommandFailed, Error: "x", Sealed: &api.Sealed{KeyID: k.ID()}}} {
		e := entry(t, 1, leak)
		if err := api.MustBeSealed([]api.Entry{e}, 0, []string{k.ID()}); err == nil {
			t.Errorf("%s tells more than it may, and a server takes it", e.Kind)
		}
	}
	if _, err := fixed(t).Seal(device, epoch, story(t)[0]); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	if _, err := fixed(t, 2).Open(device, epoch, must(k.Seal(device, epoch, story(t)[0]))(t)); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	redacted := must(k.Seal(device, epoch, story(t)[1]))(t)
	redacted.Body, redacted.Redacted = nil, true
	if back := must(k.Open(device, epoch, redacted))(t); !cmp.Equal(back, redacted) || IsSealed(&redacted) {
		t.Error("a redacted entry comes back otherwise")
	}
	if _, err := k.Seal(device, epoch, redacted); err == nil {
		t.Error("a redacted entry was sealed")
	}
}

// TestSealOldAndNew: after a change of the key what was sealed before can still be read, and the new key seals.
func TestSealOldAndNew(t *testing.T) {
	before, after := fixed(t, 1), fixed(t, 1, 2)
	e := story(t)[1]
	old, new := must(before.Seal(device, epoch, e))(t), must(after.Seal(device, epoch, e))(t)
	if old.KeyID == new.KeyID || bytes.Equal(old.Body, new.Body) {
		t.Error("the new key is not used")
	}
	for _, s := range []api.Entry{old, new} {
		if back := must(after.Open(device, epoch, s))(t); !cmp.Equal(back, e) {
			t.Error("it comes back otherwise")
		}
	}
	if _, err := before.Open(device, epoch, new); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}

// randomEntry is an entry with any body.
func randomEntry(t *rapid.T) api.Entry {
	n := rapid.Int64Range(1, 1<<40).Draw(t, "seq")
	body := rapid.SampledFrom(bodies()).Draw(t, "body")
	if rapid.Bool().Draw(t, "many files") {
		var f api.Files
		for i := range rapid.IntRange(1, 200).Draw(t, "files") {
			f = append(f, api.FileRecord{Seq: int64(i) + 1, SourcePath: "/" + rapid.String().Draw(t, "path"), Size: 1, Action: "rename", Status: api.FileDone})
		}
		body = f
	}
	e, err := api.NewEntry(n, uuid.New(), uuid.New(), rapid.Int64Range(0, 1<<50).Draw(t, "at"), body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestSealProperty: sealed and opened is the same; moved anywhere else, or changed in a single bit, it is refused.
func TestSealProperty(t *testing.T) {
	k := fixed(t, 1, 2)
	rapid.Check(t, func(t *rapid.T) {
		e := randomEntry(t)
		s, err := k.Seal(device, epoch, e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := k.Open(device, epoch, s); err != nil || !cmp.Equal(back, e) {
			t.Fatalf("it comes back otherwise: %v", err)
		}
		id, box, err := sealed(&s)
		if err != nil || (len(box)-overhead) != padded(len(box)-overhead) {
			t.Fatalf("the box has %d bytes: %v", len(box), err)
		}
		// As a server could, that knows no key: it can make the hash right.
		refused := func(what string, device, epoch uuid.UUID, e api.Entry) {
			if _, err := k.Open(device, epoch, e); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) {
				t.Fatalf("with another %s: %v", what, err)
			}
		}
		refused("device", uuid.New(), epoch, s)
		refused("epoch", device, uuid.New(), s)
		other := fixedAccount(k, uuid.New())
		if _, err := other.Open(device, epoch, s); err == nil {
			t.Fatal("another account opens it")
		}
		for what, change := range map[string]func(e *api.Entry){
			"seq":  func(e *api.Entry) { e.Seq++ },
			"id":   func(e *api.Entry) { e.ID[rapid.IntRange(0, 15).Draw(t, "byte")] ^= 1 },
			"op":   func(e *api.Entry) { e.OpID[3] ^= 0x10 },
			"time": func(e *api.Entry) { e.TSClient ^= 1 << rapid.IntRange(0, 40).Draw(t, "bit") },
		} {
			c := s
			change(&c)
			refused(what, device, epoch, c)
		}
		at, bit := rapid.IntRange(0, len(box)-1).Draw(t, "byte"), rapid.IntRange(0, 7).Draw(t, "bit")
		flipped := slices.Clone(box)
		flipped[at] ^= 1 << bit
		refused("bit", device, epoch, withBox(t, s, id, flipped))
		refused("length", device, epoch, withBox(t, s, id, box[:at]))
		refused("length", device, epoch, withBox(t, s, id, append(slices.Clone(box), 0)))
		refused("key", device, epoch, withBox(t, s, k.roots[0].id, box))
		if s.KeyID != "" {
			c := s
			c.Kind, c.Schema = "files", 2
			refused("kind or schema", device, epoch, c)
		}
	})
}

func fixedAccount(k *Keys, account uuid.UUID) *Keys {
	return &Keys{Account: account, Device: k.Device, roots: k.roots}
}

// withBox is the entry with something else for what is sealed.
func withBox(t *rapid.T, s api.Entry, id string, box []byte) api.Entry {
	if s.KeyID != "" {
		s.KeyID, s.Body = id, box
		return s
	}
	b, err := s.Decode()
	if err != nil {
		t.Fatal(err)
	}
	e, err := api.NewEntry(s.Seq, s.ID, s.OpID, s.TSClient, api.Public(b, &api.Sealed{KeyID: id, Box: box}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPublicIsForServers: what a server makes of the readable part reaches no reader.
func TestPublicIsForServers(t *testing.T) {
	k := fixed(t, 1)
	e := entry(t, 4, &api.Finished{Status: api.OpPartial, Processed: 1, Failed: 1})
	s := must(k.Seal(device, epoch, e))(t)
	part := must(s.SealedPart())(t)
	forged := entry(t, 4, &api.Finished{Status: api.OpCompleted, Processed: 1000, Sealed: part})
	if back := must(k.Open(device, epoch, forged))(t); !cmp.Equal(back, e) {
		t.Error("the server's word was taken")
	}
}

func TestPadded(t *testing.T) {
	sizes := map[int]bool{}
	for n := range 1 << 20 {
		p := padded(n)
		if p < n || p > leastSize && float64(p) > 1.12*float64(n) || padded(p) != p {
			t.Fatalf("%d becomes %d", n, p)
		}
		sizes[p] = true
	}
	if len(sizes) > 300 {
		t.Errorf("there are %d lengths", len(sizes))
	}
	for n, want := range map[int]int{0: 64, 64: 64, 65: 72, 1000: 1024, 1025: 1088, 100000: 100352} {
		if got := padded(n); got != want {
			t.Errorf("%d becomes %d, want %d", n, got, want)
		}
	}
}

// golden is testdata/sync/sealed-1.json: what another implementation needs to check itself, and what was sealed once and must
// be readable for ever.
type golden struct {
	Account  uuid.UUID       `json:"account"`
	Device   uuid.UUID       `json:"device_id"`
	Epoch    uuid.UUID       `json:"epoch"`
	Root     []byte          `json:"root"`
	KeyID    string          `json:"key_id"`
	Check    []byte          `json:"check"`
	Entries  []goldenEntry   `json:"entries"`
	Command  json.RawMessage `json:"command"`
	Bytes    []byte          `json:"command_bytes"`
	MAC      []byte          `json:"command_mac"`
	Secret   []byte          `json:"hash_secret"`
	Hashed   []api.Entry     `json:"hashed"`
	State    api.KeyState    `json:"state"`
	Recovery string          `json:"recovery"`
	Held     *Keys           `json:"held"`
	Code     string          `json:"code"`
	Waiting  *Keys           `json:"waiting"`
}

type goldenEntry struct {
	Plain      api.Entry `json:"plain"`
	Additional []byte    `json:"additional"`
	Sealed     api.Entry `json:"sealed"`
}

func goldenCommand() *api.Command {
	return &api.Command{DeviceID: device, Kind: api.CommandRollback, OperationID: uuid.MustParse("0198c0de-7000-7000-8000-000000000043"), RollbackOf: op,
		Only: "*.pdf", Options: map[string]any{"only": "*.pdf", "count": 3, "all": true}}
}

func makeGolden(t *testing.T) golden {
	k := fixed(t, 7)
	g := golden{Account: account, Device: device, Epoch: epoch, Root: k.roots[0].root[:], KeyID: k.ID(), Check: k.roots[0].derive(account, "check", 32),
		Secret: bytes.Repeat([]byte{9}, 32)}
	h := NewHasher([32]byte(g.Secret))
	for _, e := range story(t) {
		g.Entries = append(g.Entries, goldenEntry{e, additional(account, device, epoch, k.ID(), &e), must(k.Seal(device, epoch, e))(t)})
		g.Hashed = append(g.Hashed, must(h.Seal(device, epoch, e))(t))
	}
	c := goldenCommand()
	g.Command = must(json.Marshal(c))(t)
	g.Bytes = must(commandBytes(account, c))(t)
	g.MAC = must(k.CommandMAC(c))(t)
	return g
}

// TestGolden holds the forms for ever: they are in the databases of servers.
func TestGolden(t *testing.T) {
	path := filepath.Join("..", "..", "testdata", "sync", "sealed-1.json")
	if _, err := os.Stat(path); *update && errors.Is(err, fs.ErrNotExist) {
		g := makeGolden(t)
		// Two changes of the key, so that there are links, and a device that has asked in between.
		held := must(Create(account, device, "laptop"))(t)
		held.roots[0] = fixed(t, 7).roots[0]
		ok(t, held.Rotate(func(uuid.UUID) bool { return true }))
		waiting := must(Ask(account, uuid.MustParse("0198c0de-0000-4000-8000-00000000d002")))(t)
		r := must(waiting.Request())(t)
		r.DeviceID = waiting.Device
		state := api.KeyState{Version: 2, Devices: []api.KeyRequest{r}}
		must(held.Approve(&state, waiting.Code()))(t)
		ok(t, held.Rotate(func(uuid.UUID) bool { return true }))
		u := must(held.Update(&state))(t)
		state.Keys, state.Bundle = u.Keys, u.Bundle
		g.State, g.Recovery, g.Held, g.Code, g.Waiting = state, held.Recovery(), held, waiting.Code(), waiting
		ok(t, os.WriteFile(path, append(must(json.MarshalIndent(g, "", "  "))(t), '\n'), 0o644))
	}
	var g golden
	ok(t, json.Unmarshal(must(os.ReadFile(path))(t), &g))
	k := &Keys{Account: g.Account, Device: g.Device, roots: []heldRoot{{root: root(g.Root), id: g.KeyID}}}
	now := makeGolden(t)
	if now.KeyID != g.KeyID || !bytes.Equal(now.Check, g.Check) || !bytes.Equal(now.Bytes, g.Bytes) || !bytes.Equal(now.MAC, g.MAC) {
		t.Error("what is derived of a key is not what it was")
	}
	if len(g.Entries) != len(now.Entries) {
		t.Fatalf("there are %d entries, frozen are %d", len(now.Entries), len(g.Entries))
	}
	for i, v := range g.Entries {
		if !bytes.Equal(now.Entries[i].Additional, v.Additional) {
			t.Errorf("entry %d: other associated data", i+1)
		}
		back, err := k.Open(g.Device, g.Epoch, v.Sealed)
		if diff := cmp.Diff(v.Plain, back); err != nil || diff != "" {
			t.Errorf("entry %d cannot be opened any more: %v\n%s", i+1, err, diff)
		}
		// Sealing it again may differ with the compression of another version; of what is compressed already it may not.
		again, err := k.Seal(g.Device, g.Epoch, v.Plain)
		if err != nil || !cmp.Equal(again, v.Sealed) {
			t.Errorf("entry %d would be sealed otherwise today: %v", i+1, err)
		}
		if got := must(now.Hashed[i].Decode())(t); !cmp.Equal(got, must(g.Hashed[i].Decode())(t)) {
			t.Errorf("entry %d would be hashed otherwise today: %+v", i+1, got)
		}
	}
	var c api.Command
	ok(t, json.Unmarshal(g.Command, &c))
	c.MAC = g.MAC
	ok(t, k.CheckCommand(&c, when(c.OperationID)))
	// The bundle of then, for who has it, who waits for it, and who has the recovery key.
	ok(t, g.Held.Adopt(&g.State))
	ok(t, g.Waiting.Adopt(&g.State))
	rec := must(Recover(g.Account, uuid.New(), "third", g.Recovery, &g.State))(t)
	for _, k := range []*Keys{g.Held, g.Waiting, rec} {
		if k.Held() != 3 || k.ID() != g.State.Keys[2].ID || k.Recovery() != g.Recovery {
			t.Errorf("%s has %d keys, the newest is %s", k.Device, k.Held(), k.ID())
		}
		if back, err := k.Open(g.Device, g.Epoch, g.Entries[1].Sealed); err != nil || !cmp.Equal(back, g.Entries[1].Plain) {
			t.Error(err)
		}
	}
}

// when is the time that a UUIDv7 tells.
func when(id uuid.UUID) time.Time {
	s, n := id.Time().UnixTime()
	return time.Unix(s, n)
}

func TestCommand(t *testing.T) {
	asks, does := fixed(t, 1), fixed(t, 1)
	now := time.Date(2026, 11, 25, 22, 0, 0, 0, time.UTC)
	at := func(t0 time.Time) uuid.UUID {
		id := must(uuid.NewV7())(t)
		ms := t0.UnixMilli()
		for i := range 6 {
			id[i] = byte(ms >> (40 - 8*i))
		}
		return id
	}
	good := func() *api.Command {
		c := goldenCommand()
		c.OperationID = at(now)
		return c
	}
	c := good()
	c.MAC = must(asks.CommandMAC(c))(t)
	// What the server adds does not count, and the options come from JSON.
	var sent api.Command
	ok(t, json.Unmarshal(must(json.Marshal(c))(t), &sent))
	sent.ID, sent.State, sent.Lease, sent.CreatedBy, sent.ExpiresAt = uuid.New(), api.CommandLeased, uuid.New(), "session", now
	ok(t, does.CheckCommand(&sent, now))
	ok(t, does.CheckCommand(&sent, now.Add(7*24*time.Hour)))
	for what, change := range map[string]func(c *api.Command){
		"kind":      func(c *api.Command) { c.Kind = api.CommandOrganize },
		"operation": func(c *api.Command) { c.OperationID[15] ^= 1 },
		"of":        func(c *api.Command) { c.RollbackOf[0] ^= 1 },
		"cancels":   func(c *api.Command) { c.Cancels[0] ^= 1 },
		"device":    func(c *api.Command) { c.DeviceID[0] ^= 1 },
		"root":      func(c *api.Command) { c.Root = "inbox" },
		"rules":     func(c *api.Command) { c.Rules = "other" },
		"only":      func(c *api.Command) { c.Only = "" },
		"options":   func(c *api.Command) { c.Options = map[string]any{"only": "*"} },
		"shifted":   func(c *api.Command) { c.Root, c.Rules = "*.pdf", "" },
		"no mac":    func(c *api.Command) { c.MAC = nil },
		"mac":       func(c *api.Command) { c.MAC = append(slices.Clone(c.MAC), 0) },
	} {
		bad := sent
		change(&bad)
		if err := does.CheckCommand(&bad, now); !errors.Is(err, ErrCommand) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, later := range []time.Duration{9 * 24 * time.Hour, -25 * time.Hour} {
		if err := does.CheckCommand(&sent, now.Add(later)); !errors.Is(err, ErrCommand) {
			t.Errorf("after %s: %v", later, err)
		}
	}
	random := good()
	random.OperationID = uuid.New()
	random.MAC = must(asks.CommandMAC(random))(t)
	if err := does.CheckCommand(random, now); !errors.Is(err, ErrCommand) {
		t.Errorf("an id without a time: %v", err)
	}
	if err := fixed(t, 1, 2).CheckCommand(&sent, now); !errors.Is(err, ErrCommand) {
		t.Errorf("a command of a device that was left out: %v", err)
	}
	if err := fixed(t).CheckCommand(&sent, now); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	if _, err := fixed(t).CommandMAC(good()); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	bad := good()
	bad.Options = map[string]any{"f": func() {}}
	if _, err := asks.CommandMAC(bad); err == nil {
		t.Error("options that are no JSON were signed")
	}
}

// FuzzOpen gives whatever a server could to who has the keys.
func FuzzOpen(f *testing.F) {
	k := fixed(f, 1)
	for _, e := range story(f) {
		s := must(k.Seal(device, epoch, e))(f)
		f.Add(s.Kind, s.KeyID, s.Codec, s.Body)
	}
	f.Add("files", k.ID(), "", make([]byte, 200))
	f.Fuzz(func(t *testing.T, kind, keyID, codec string, body []byte) {
		e := api.Entry{Seq: 1, Kind: kind, Schema: 1, KeyID: keyID, Codec: codec, Body: body}
		back, err := k.Open(device, epoch, e)
		if err == nil && IsSealed(&e) {
			if _, _, err := sealed(&back); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzBox gives a box what only a device with the key could have made.
func FuzzBox(f *testing.F) {
	k := fixed(f, 1).roots[0].logKey(account, device, epoch)
	f.Add(byte(0), []byte("body"))
	f.Add(byte(1), []byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, codec byte, body []byte) {
		name := api.CodecPlain
		if codec%2 == 1 {
			name = api.CodecZstd
		}
		box, err := k.box([]byte("aad"), name, body)
		if err != nil {
			t.Fatal(err)
		}
		gotName, got, err := k.open([]byte("aad"), box)
		if err != nil || gotName != name || !bytes.Equal(got, body) {
			t.Errorf("%q %x: %v", gotName, got, err)
		}
	})
}
