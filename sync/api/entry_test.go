package api

import (
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

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the examples of PROTOCOL.md and golden files that are missing")

// freeze writes a golden file that is not there yet. One that is there is frozen: it stands for what is out in the world.
func freeze(t *testing.T, path string, b []byte) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}

var (
	device = uuid.MustParse("0198c0de-0000-4000-8000-00000000d001")
	epoch  = uuid.MustParse("0198c0de-0000-4000-8000-00000000e001")
	op     = uuid.MustParse("0198c0de-7000-7000-8000-000000000042")
)

func entryID(n int64) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198c0de-7000-7000-8000-%012x", 0x1000+n))
}

// story is the log of one operation and its undo: one entry of every kind.
func story(t testing.TB) []Entry {
	t.Helper()
	undo := uuid.MustParse("0198c0de-7000-7000-8000-000000000043")
	command := uuid.MustParse("0198c0de-7000-7000-8000-0000000000c1")
	var log []Entry
	add := func(op uuid.UUID, b Body) {
		n := int64(len(log)) + 1
		e, err := NewEntry(n, entryID(n), op, 1785574800000000+n*1000, b)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, e)
	}
	files := Files{
		{Seq: 1, SourcePath: "/home/ada/Downloads/a.pdf", DestinationPath: "/home/ada/Downloads/Documents/a.pdf", Size: 90000, Category: "Documents", Action: "rename", Status: FilePlanned},
		{Seq: 2, SourcePath: "/home/ada/Downloads/b.jpg", DestinationPath: "/home/ada/Downloads/Images/b.jpg", Size: 24000, Category: "Images", Action: "rename", Status: FilePlanned},
	}
	add(op, &Started{Kind: "organize", Root: "/home/ada/Downloads", Command: "forg organize", Planned: 2})
	add(op, files)
	add(op, &Outcomes{Outcomes: []Outcome{{Seq: 2, Status: FileFailed, Error: "permission denied"}}})
	add(op, &Finished{Status: OpPartial, Processed: 1, Failed: 1, Bytes: 90000})
	add(uuid.Nil, &DeviceRenamed{Name: "ada's laptop"})
	add(undo, &Started{Kind: "undo", Root: "/home/ada/Downloads", Planned: 1, RollbackOf: op, CommandID: command})
	add(undo, Files{{Seq: 1, SourcePath: files[0].DestinationPath, DestinationPath: files[0].SourcePath, Size: 90000, Category: "Documents", Action: "rename", Status: FilePlanned}})
	add(uuid.Nil, &Void{})
	add(undo, &Finished{Status: OpCompleted, Processed: 1, Bytes: 90000, RootStatus: OpUndone})
	add(undo, &RollbackResult{CommandID: command, RollbackOf: op, State: CommandSucceeded, Restored: 1})
	add(op, &Redact{Reason: "pruned"})
	return log
}

// vector is a line of testdata/sync/chain-1.json: what another implementation needs to check itself.
type vector struct {
	Entry Entry  `json:"entry"`
	Raw   []byte `json:"raw"`
	Sum   Hash   `json:"sum"`
	Chain Hash   `json:"chain"`
}

// TestChainGolden holds the hashes for ever: they are in the journals and databases of users.
func TestChainGolden(t *testing.T) {
	golden := filepath.Join("..", "..", "testdata", "sync", "chain-1.json")
	type file struct {
		Device  uuid.UUID `json:"device_id"`
		Epoch   uuid.UUID `json:"epoch"`
		Genesis Hash      `json:"genesis"`
		Entries []vector  `json:"entries"`
	}
	if *update {
		f := file{Device: device, Epoch: epoch, Genesis: Genesis(device, epoch)}
		chain := f.Genesis
		for _, e := range story(t) {
			raw, err := e.Raw(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			chain = chain.Next(e.SHA256)
			f.Entries = append(f.Entries, vector{e, raw, e.SHA256, chain})
		}
		b, err := json.MarshalIndent(f, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		freeze(t, golden, append(b, '\n'))
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if g := Genesis(f.Device, f.Epoch); g != f.Genesis {
		t.Errorf("genesis is %s, frozen is %s", g, f.Genesis)
	}
	chain := f.Genesis
	now := story(t)
	if len(now) != len(f.Entries) {
		t.Fatalf("there are %d entries, frozen are %d", len(now), len(f.Entries))
	}
	for i, v := range f.Entries {
		if s := v.Entry.Sum(v.Raw); s != v.Sum || s != v.Entry.SHA256 {
			t.Errorf("entry %d: hash %s, frozen %s", i+1, s, v.Sum)
		}
		if chain = chain.Next(v.Entry.SHA256); chain != v.Chain {
			t.Errorf("entry %d: chain %s, frozen %s", i+1, chain, v.Chain)
		}
		if err := v.Entry.Verify(DefaultLimits()); err != nil {
			t.Errorf("entry %d: %v", i+1, err)
		}
		raw, err := v.Entry.Raw(1 << 20)
		if err != nil || string(raw) != string(v.Raw) {
			t.Errorf("entry %d: its body is not what is frozen: %v", i+1, err)
		}
		// What is written today may differ in form (Codec) but not in what it says.
		if now[i].SHA256 != v.Sum {
			t.Errorf("entry %d would get another hash today", i+1)
		}
		got, err := v.Entry.Decode()
		want, err2 := now[i].Decode()
		if diff := cmp.Diff(want, got); err != nil || err2 != nil || diff != "" {
			t.Errorf("entry %d: %v %v %s", i+1, err, err2, diff)
		}
	}
	kinds := map[string]bool{}
	for _, v := range f.Entries {
		kinds[v.Entry.Kind] = true
	}
	for _, k := range Kinds() {
		if !kinds[k] {
			t.Errorf("there is no frozen entry of kind %s", k)
		}
	}
}

func push(log []Entry, from, to int) *PushRequest {
	chain := Genesis(device, epoch)
	for _, e := range log[:from] {
		chain = chain.Next(e.SHA256)
	}
	return &PushRequest{Protocol: Protocol, DeviceID: device, Epoch: epoch, PrevChain: chain, Entries: log[from:to]}
}

func TestExtend(t *testing.T) {
	log := story(t)
	start := LogHead{Chain: Genesis(device, epoch)}
	known := func(seq int64) (Hash, bool) { return log[seq-1].SHA256, true }
	_, half, err := start.Extend(push(log, 0, 5), known)
	if err != nil || half.AckedSeq != 5 {
		t.Fatal(half, err)
	}
	_, whole, err := half.Extend(push(log, 5, len(log)), known)
	if err != nil {
		t.Fatal(err)
	}
	if _, at, err := start.Extend(push(log, 0, len(log)), known); err != nil || at != whole {
		t.Error("at once is another chain than in parts", at, whole, err)
	}
	other := slices.Clone(log)
	other[2].SHA256[0] ^= 1
	wrong := push(log, 5, 7)
	wrong.PrevChain[0] ^= 1
	for name, c := range map[string]struct {
		req   *PushRequest
		fresh int
		next  LogHead
		err   error
	}{
		"nothing":                       {push(log, 0, 0), 0, half, nil},
		"all again":                     {push(log, 0, 5), 0, half, nil},
		"a part again":                  {push(log, 2, 4), 0, half, nil},
		"overlap":                       {push(log, 3, len(log)), 6, whole, nil},
		"next":                          {push(log, 5, len(log)), 6, whole, nil},
		"gap":                           {push(log, 6, 7), 0, half, &GapError{Acked: 5}},
		"other content of a known one":  {push(other, 0, 5), 0, half, &ForkError{Seq: 3}},
		"other content, then new ones":  {push(other, 2, 8), 0, half, &ForkError{Seq: 3}},
		"next, but of another log":      {wrong, 0, half, &ForkError{Seq: 5}},
		"of another log, by its second": {push(other, 5, 7), 0, half, &ForkError{Seq: 5}},
	} {
		fresh, next, err := half.Extend(c.req, known)
		if fmt.Sprint(err) != fmt.Sprint(c.err) || len(fresh) != c.fresh || next != c.next {
			t.Errorf("%s: %d fresh, %v, %v; want %d, %v, %v", name, len(fresh), next, err, c.fresh, c.next, c.err)
		}
	}
	forgotten := func(int64) (Hash, bool) { return Hash{}, false }
	if _, _, err := half.Extend(push(other, 0, 4), forgotten); err != nil {
		t.Error("entries that retention has removed cannot be a fork:", err)
	}
}

// TestPushModel: however a log is cut into pushes, lost, repeated and overlapped, the server ends with it, once; and a
// clone that writes other entries is always told.
func TestPushModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := func(label string, n int) []Entry {
			var log []Entry
			for i := range n {
				e, err := NewEntry(int64(i)+1, uuid.New(), uuid.Nil, 1, &DeviceRenamed{Name: fmt.Sprint(label, i)})
				if err != nil {
					t.Fatal(err)
				}
				log = append(log, e)
			}
			return log
		}
		log := entries("a", rapid.IntRange(1, 20).Draw(t, "n"))
		cloned := rapid.IntRange(0, len(log)-1).Draw(t, "cloned after")
		clone := append(slices.Clone(log[:cloned]), entries("b", len(log))[cloned:]...)
		var stored []Entry
		head := LogHead{Chain: Genesis(device, epoch)}
		send := func(req *PushRequest) error {
			fresh, next, err := head.Extend(req, func(seq int64) (Hash, bool) { return stored[seq-1].SHA256, true })
			if err == nil {
				stored, head = append(stored, fresh...), next
			}
			return err
		}
		for range rapid.IntRange(0, 30).Draw(t, "pushes") {
			from := rapid.IntRange(0, len(log)).Draw(t, "from")
			to := rapid.IntRange(from, len(log)).Draw(t, "to")
			before := head
			err := send(push(log, from, to))
			if gap := from > int(before.AckedSeq) && to > from; gap != (err != nil) {
				t.Fatalf("acked %d, pushed %d to %d: %v", before.AckedSeq, from+1, to, err)
			}
			if int(head.AckedSeq) > cloned {
				_, isFork := errors.AsType[*ForkError](send(push(clone, cloned, len(clone))))
				if !isFork {
					t.Fatal("the clone was not told")
				}
			}
		}
		if err := send(push(log, int(head.AckedSeq), len(log))); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(log, stored); diff != "" {
			t.Fatal(diff)
		}
	})
}

func problemOf(t *testing.T, err error) *Problem {
	t.Helper()
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		t.Fatalf("%v (%T) is no problem", err, err)
	}
	return p
}

// TestValidate: every mistake is answered with the field that it is in.
func TestValidate(t *testing.T) {
	limits := DefaultLimits()
	sealAs := func(e *Entry, raw string) { e.SetRaw([]byte(raw)) }
	fresh := func() *PushRequest { r := push(story(t), 0, 11); r.Entries = slices.Clone(r.Entries); return r }
	if err := fresh().Validate(limits); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*PushRequest)
		at     string
	}{
		"device":           {func(r *PushRequest) { r.DeviceID = uuid.Nil }, "body.device_id"},
		"epoch":            {func(r *PushRequest) { r.Epoch = uuid.Nil }, "body.epoch"},
		"seq 0":            {func(r *PushRequest) { r.Entries[0].Seq = 0 }, "body.entries[0].seq"},
		"seq jumps":        {func(r *PushRequest) { r.Entries = append(r.Entries[:2:2], r.Entries[3:]...) }, "body.entries[2].seq"},
		"id":               {func(r *PushRequest) { r.Entries[1].ID = uuid.Nil }, "body.entries[1].id"},
		"id twice":         {func(r *PushRequest) { r.Entries[4].ID = r.Entries[3].ID }, "body.entries[4].id"},
		"kind":             {func(r *PushRequest) { r.Entries[3].Kind = "Op Finished" }, "body.entries[3].kind"},
		"no kind":          {func(r *PushRequest) { r.Entries[3].Kind = "" }, "body.entries[3].kind"},
		"long kind":        {func(r *PushRequest) { r.Entries[3].Kind = strings.Repeat("k", 65) }, "body.entries[3].kind"},
		"schema":           {func(r *PushRequest) { r.Entries[3].Schema = 0 }, "body.entries[3].schema"},
		"ts_client":        {func(r *PushRequest) { r.Entries[3].TSClient = -1 }, "body.entries[3].ts_client"},
		"op_id":            {func(r *PushRequest) { r.Entries[3].OpID = uuid.Nil }, "body.entries[3].op_id"},
		"sha256":           {func(r *PushRequest) { r.Entries[3].SHA256[5] ^= 1 }, "body.entries[3].sha256"},
		"another's body":   {func(r *PushRequest) { r.Entries[3].Body = r.Entries[2].Body }, "body.entries[3].sha256"},
		"ts_client forged": {func(r *PushRequest) { r.Entries[3].TSClient++ }, "body.entries[3].sha256"},
		"codec":            {func(r *PushRequest) { r.Entries[3].Codec = "lzma" }, "body.entries[3].body"},
		"damaged":          {func(r *PushRequest) { r.Entries[3].Codec = CodecZstd }, "body.entries[3].body"},
		"redacted":         {func(r *PushRequest) { r.Entries[3].Redacted = true }, "body.entries[3].redacted"},
		"no JSON":          {func(r *PushRequest) { sealAs(&r.Entries[3], "{") }, "body.entries[3].body"},
		"two values":       {func(r *PushRequest) { sealAs(&r.Entries[3], "{}{}") }, "body.entries[3].body"},
		"wrong type":       {func(r *PushRequest) { sealAs(&r.Entries[3], `{"status":"failed","failed":"x"}`) }, "body.entries[3].body.failed"},
		"status":           {func(r *PushRequest) { sealAs(&r.Entries[3], `{"status":"running"}`) }, "body.entries[3].body.status"},
		"negative":         {func(r *PushRequest) { sealAs(&r.Entries[3], `{"status":"failed","failed":-1}`) }, "body.entries[3].body.failed"},
		"outcome":          {func(r *PushRequest) { sealAs(&r.Entries[2], `{"outcomes":[{"seq":1},{"seq":0}]}`) }, "body.entries[2].body.outcomes[1].seq"},
		"no outcomes":      {func(r *PushRequest) { sealAs(&r.Entries[2], `{}`) }, "body.entries[2].body.outcomes"},
		"outcome's hash":   {func(r *PushRequest) { sealAs(&r.Entries[2], `{"outcomes":[{"seq":1,"content_hash":"x"}]}`) }, "body.entries[2].body.outcomes[0].content_hash"},
		"undo of nothing":  {func(r *PushRequest) { sealAs(&r.Entries[5], `{"kind":"undo","root":"/"}`) }, "body.entries[5].body.rollback_of"},
		"device's name":    {func(r *PushRequest) { sealAs(&r.Entries[4], `{"name":"a\nb"}`) }, "body.entries[4].body.name"},
		"rollback":         {func(r *PushRequest) { sealAs(&r.Entries[9], `{"state":"running"}`) }, "body.entries[9].body.command_id"},
		"chunk":            {func(r *PushRequest) { sealAs(&r.Entries[1], "\x01\x05") }, "body.entries[1].body"},
		"much JSON": {func(r *PushRequest) {
			sealAs(&r.Entries[4], `{"name":"a","x":"`+strings.Repeat("x", maxPlainBody)+`"}`)
		}, "body.entries[4].body"},
	} {
		r := fresh()
		c.change(r)
		p := problemOf(t, r.Validate(limits))
		if p.Code != CodeInvalid || p.Status != 422 || len(p.Errors) == 0 || p.Errors[0].Location != c.at || p.Errors[0].Message == "" {
			t.Errorf("%s: %+v, want something about %s", name, p, c.at)
		}
	}
	r := fresh()
	r.Protocol = "forg-sync/2"
	if p := problemOf(t, r.Validate(limits)); p.Status != 426 || !slices.Equal(p.Protocols, []string{Protocol}) {
		t.Errorf("another protocol: %+v", p)
	}
	r = fresh()
	if p := problemOf(t, r.Validate(Limits{MaxEntries: 10, MaxBodyBytes: 1 << 20})); p.Status != 413 {
		t.Errorf("too many entries: %+v", p)
	}
	many := push(story(t), 0, 11)
	for i := range many.Entries {
		many.Entries[i].SHA256, many.Entries[i].ID = Hash{}, uuid.Nil
	}
	if p := problemOf(t, many.Validate(limits)); len(p.Errors) > 20 {
		t.Errorf("%d mistakes are told", len(p.Errors))
	}
}

// TestNewerPeers: what this version does not know is ignored or carried on, and never refused.
func TestNewerPeers(t *testing.T) {
	unknown := Entry{Seq: 1, ID: uuid.New(), Kind: "rule.snapshot", Schema: 3, TSClient: 1}
	unknown.SetRaw([]byte("whatever \xff"))
	sealed := Entry{Seq: 2, ID: uuid.New(), OpID: op, Kind: KindStarted, Schema: 1, TSClient: 1, KeyID: "k1"}
	sealed.SetRaw([]byte("sealed"))
	later := Entry{Seq: 3, ID: uuid.New(), OpID: op, Kind: KindFinished, Schema: 2, TSClient: 1}
	later.SetRaw([]byte(`{"status":7}`))
	status := Entry{Seq: 4, ID: uuid.New(), OpID: op, Kind: KindFinished, Schema: 1, TSClient: 1}
	status.SetRaw([]byte(`{"status":"simmering","new":{}}`))
	r := &PushRequest{Protocol: Protocol, DeviceID: device, Epoch: epoch, PrevChain: Genesis(device, epoch), Entries: []Entry{unknown, sealed, later, status}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte(`{"new_field":{"x":[1]},`), b[1:]...)
	got, err := ReadPush(strings.NewReader(string(b)), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	for i := range got.Entries[:3] {
		if body, err := got.Entries[i].Decode(); body != nil || err != nil {
			t.Errorf("entry %d says %v, %v", i+1, body, err)
		}
	}
	if body, err := got.Entries[3].Decode(); err != nil || body.(*Finished).Status != "simmering" {
		t.Errorf("a status of a newer version is %v, %v", body, err)
	}
	gone := story(t)[1]
	gone.Redacted, gone.Body, gone.Codec = true, nil, ""
	if body, err := gone.Decode(); body != nil || err != nil {
		t.Errorf("a redacted entry says %v, %v", body, err)
	}
	if err := gone.Verify(DefaultLimits()); err != nil {
		t.Errorf("a redacted entry is refused: %v", err)
	}
}

func TestReadPush(t *testing.T) {
	limits := DefaultLimits()
	for body, want := range map[string]struct {
		code Code
		at   string
	}{
		"":                                     {CodeMalformed, ""},
		"{":                                    {CodeMalformed, ""},
		"[]":                                   {CodeMalformed, ""},
		"{}{}":                                 {CodeMalformed, ""},
		"null":                                 {CodeProtocol, ""},
		"{}":                                   {CodeProtocol, ""},
		`{"protocol":1}`:                       {CodeInvalid, "body.protocol"},
		`{"entries":[{"seq":"1"}]}`:            {CodeInvalid, "body.entries.seq"},
		`{"device_id":"x"}`:                    {CodeMalformed, ""},
		`{"prev_chain":"00"}`:                  {CodeMalformed, ""},
		strings.Repeat(" ", 9<<20):             {CodeTooLarge, ""},
		`{"protocol":"forg-sync/1"}`:           {CodeInvalid, "body.device_id"},
		strings.Repeat(`{"entries":[`, 100000): {CodeMalformed, ""},
	} {
		_, err := ReadPush(strings.NewReader(body), limits)
		p := problemOf(t, err)
		if p.Code != want.code || want.at != "" && p.Errors[0].Location != want.at {
			t.Errorf("%.40q: %+v, want %+v", body, p, want)
		}
	}
}

func TestHashText(t *testing.T) {
	h := Genesis(device, epoch)
	var got Hash
	if err := got.UnmarshalText([]byte(h.String())); err != nil || got != h {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(h.String()), h.String() + "0", strings.Repeat("g", 64), strings.Repeat("é", 32)} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as a hash", bad)
		}
	}
}

func TestNewEntryRefuses(t *testing.T) {
	for want, b := range map[string]Body{
		"body.kind":             &Started{},
		"body.rollback_of":      &Started{Kind: "redo"},
		"body.status":           &Finished{Status: OpRunning},
		"body.outcomes":         &Outcomes{},
		"body.name":             &DeviceRenamed{},
		"seq: 0 does not":       Files{{}},
		"body.outcomes[0].seq:": &Outcomes{Outcomes: []Outcome{{}}},
	} {
		if _, err := NewEntry(1, uuid.New(), op, 1, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

func FuzzPush(f *testing.F) {
	for i := range 3 {
		b, err := json.Marshal(push(story(f), i, i+1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"protocol":"forg-sync/1","entries":[{"seq":1,"kind":"files","codec":"zstd","body":"KLUv/Q=="}]}`)
	limits := DefaultLimits()
	limits.MaxDecodedBytes, limits.MaxBodyBytes = 1<<20, 1<<16
	f.Fuzz(func(t *testing.T, body string) {
		req, err := ReadPush(strings.NewReader(body), limits)
		if err != nil {
			if p := problemOf(t, err); p.Status < 400 || p.Status > 499 {
				t.Fatalf("%+v", p)
			}
			return
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadPush(strings.NewReader(string(again)), limits)
		if err != nil {
			t.Fatal(err)
		}
		if len(back.Entries) != len(req.Entries) {
			t.Fatal("entries got lost")
		}
		for i := range req.Entries {
			if _, err := req.Entries[i].Decode(); err != nil {
				t.Fatalf("a valid entry cannot be read: %v", err)
			}
			if back.Entries[i].SHA256 != req.Entries[i].SHA256 {
				t.Fatal("another hash")
			}
		}
	})
}

func BenchmarkChain(b *testing.B) {
	log := story(b)
	h := LogHead{Chain: Genesis(device, epoch)}
	r := push(log, 0, len(log))
	for b.Loop() {
		if _, _, err := h.Extend(r, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(log)), "ns/entry")
}

// BenchmarkPush is what a server does with the body of a push before it asks its database.
func BenchmarkPush(b *testing.B) {
	var log []Entry
	const n = 1000
	f := sample(b, n)
	for i := range int64(8) {
		e, err := NewEntry(i+1, entryID(i), op, 1, f)
		if err != nil {
			b.Fatal(err)
		}
		log = append(log, e)
	}
	body, err := json.Marshal(push(log, 0, len(log)))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ReadPush(strings.NewReader(string(body)), DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n*len(log))/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(len(body))/float64(n*len(log)), "B/record")
}
