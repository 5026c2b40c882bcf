package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"forg/journal"
)

// TestProtocol holds PROTOCOL.md to the code: what follows a mark in it is made here. -update writes it anew.
func TestProtocol(t *testing.T) {
	path := filepath.Join("..", "PROTOCOL.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	made := generated(t)
	used := map[string]bool{}
	mark := regexp.MustCompile(`(?m)^<!-- (.+) -->\n((?s:` + "```" + `json\n.*?\n` + "```" + `\n)|(?:[|\x60].*\n)*)`)
	want := mark.ReplaceAllFunc(text, func(b []byte) []byte {
		name := string(mark.FindSubmatch(b)[1])
		body, ok := made[name]
		if !ok || used[name] {
			t.Errorf("PROTOCOL.md has a mark %q that nothing is made for, or twice", name)
			return b
		}
		used[name] = true
		return []byte("<!-- " + name + " -->\n" + body)
	})
	for name := range made {
		if !used[name] {
			t.Errorf("PROTOCOL.md has no mark %q", name)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("PROTOCOL.md is not what the code does (go test ./sync/api -update):\n%s", diff)
	}
	tables(t, string(text))
}

// example makes the block of a value, which must come back from its JSON unchanged.
func example[T any](t *testing.T, v T) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back); diff != "" {
		t.Errorf("%T: %s", v, diff)
	}
	if len(b) > 110 {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, b, "", "  "); err != nil {
			t.Fatal(err)
		}
		b = pretty.Bytes()
	}
	return "```json\n" + string(b) + "\n```\n"
}

func generated(t *testing.T) map[string]string {
	made := map[string]string{}
	log := story(t)
	for i := range log {
		e := &log[i]
		body, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := body.(Files); ok || made["example "+e.Kind] != "" {
			continue
		}
		raw, err := e.Raw(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		made["example "+e.Kind] = "```json\n" + string(raw) + "\n```\n"
	}

	at := time.Date(2026, 8, 1, 9, 0, 3, 250000000, time.UTC)
	latin := "/home/ada/Downloads/\xfcber.txt"
	made["example record"] = strings.ReplaceAll(example(t, jsonRecord(FileRecord{OperationID: op, Seq: 7, SourcePath: latin, DestinationPath: "/home/ada/Downloads/Documents/\xfcber.txt", Size: 812,
		Category: "Documents", Action: "rename", Status: FileDone, MovedAt: at})), `\ufffd`, "\ufffd")

	limits := DefaultLimits()
	made["example capabilities"] = example(t, Capabilities{Protocols: []string{Protocol}, Kinds: Kinds(), Features: []string{"commands", "wait", "zstd", "gzip", "keys"}, Limits: limits, ServerTime: at})
	req := push(log, 2, 4)
	b, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPush(bytes.NewReader(b), limits); err != nil {
		t.Error(err)
	}
	made["example push"] = example(t, *req)
	before := push(log, 2, 2)
	_, head, err := LogHead{AckedSeq: 2, Chain: before.PrevChain}.Extend(req, nil)
	if err != nil {
		t.Fatal(err)
	}
	made["example push answer"] = example(t, PushResponse{AckedSeq: head.AckedSeq, Chain: head.Chain, Head: 1207, ServerTime: at, Limits: limits, CommandsPending: 1})
	line := PullEntry{ServerSeq: 1207, DeviceID: device, Epoch: epoch, ReceivedAt: at, Entry: log[3]}
	end := PullEnd{Next: 1207, Head: 1207}
	var lines bytes.Buffer
	if err := WritePull(&lines, &line); err != nil {
		t.Fatal(err)
	}
	made["example pull"] = "```json\n" + lines.String() + "```\n"
	n := lines.Len()
	if err := WritePull(&lines, &end); err != nil {
		t.Fatal(err)
	}
	made["example pull end"] = "```json\n" + lines.String()[n:] + "```\n"
	if got, gotEnd, err := readPull(&lines, 1100); err != nil || len(got) != 1 || gotEnd != end {
		t.Error(got, gotEnd, err)
	}
	made["example ack"] = example(t, AckRequest{Cursor: 1207})
	made["example ack answer"] = example(t, AckResponse{Cursor: 1207, Head: 1215})
	made["example state"] = example(t, SyncState{Head: 1215, Cursor: 1207, Logs: []DeviceLog{{DeviceID: device, Epoch: epoch, AckedSeq: head.AckedSeq, Chain: head.Chain}}})

	lease, until := uuid.MustParse("0198c0de-7000-7000-8000-00000000001e"), at.Add(time.Minute)
	command := uuid.MustParse("0198c0de-7000-7000-8000-0000000000c1")
	made["example commands"] = example(t, CommandsResponse{Commands: []Command{{ID: command, DeviceID: device, Kind: CommandRollback,
		OperationID: uuid.MustParse("0198c0de-7000-7000-8000-000000000043"), RollbackOf: op, State: CommandLeased, CreatedBy: "session 0198c0de",
		CreatedAt: at, ExpiresAt: at.Add(7 * 24 * time.Hour), Lease: lease, LeaseUntil: &until}}})
	made["example command update"] = example(t, CommandUpdate{Lease: lease, State: CommandSucceeded, Result: &CommandResult{Processed: 1, Bytes: 90000}})
	made["example command answer"] = example(t, CommandUpdated{State: CommandSucceeded})

	made["example keys"] = example(t, KeyState{Version: 2, Keys: []AccountKey{{ID: "a1b2c3d4e5f60718", Check: bytes.Repeat([]byte{1}, 32)}},
		Bundle:  []byte("age-encryption.org/v1"),
		Devices: []KeyRequest{{DeviceID: device, Recipient: "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqsdqqqq", Tag: bytes.Repeat([]byte{2}, 32)}}})

	p := NewProblem(CodeInvalid, "")
	p.Errors = []FieldError{{Location: "body.entries[3].kind", Message: `is "Op Finished", want 1 to 64 lower-case letters, digits, and . - _`}}
	p.Instance = "req_0198c0de70007000"
	made["example problem"] = example(t, *p)

	var states strings.Builder
	states.WriteString("| state | next |\n| --- | --- |\n")
	for _, s := range commandStates {
		next := "-"
		for i, n := range commandMoves[s] {
			if !n.Known() {
				t.Errorf("%s becomes %s", s, n)
			}
			if i == 0 {
				next = "`" + string(n) + "`"
			} else {
				next += ", `" + string(n) + "`"
			}
		}
		fmt.Fprintf(&states, "| `%s` | %s |\n", s, next)
	}
	made["command states"] = states.String()

	var actions []string
	for a := journal.Mkdir; !strings.HasPrefix(a.String(), "action"); a++ {
		actions = append(actions, "`"+a.String()+"`")
	}
	made["actions"] = strings.Join(actions, ", ") + ".\n"
	return made
}

// jsonRecord is a record as its JSON tells it: with the lossy form of its paths.
func jsonRecord(r FileRecord) FileRecord {
	r.MarkBytes()
	r.SourcePath, r.DestinationPath = strings.ToValidUTF8(r.SourcePath, "\ufffd"), strings.ToValidUTF8(r.DestinationPath, "\ufffd")
	return r
}

// tables compares the tables that were written by hand.
func tables(t *testing.T, text string) {
	codes := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d{3}) \\| .+ \\|$").FindAllStringSubmatch(text, -1) {
		codes[m[1]] = true
		if k := problemKinds[Code(m[1])]; strconv.Itoa(k.status) != m[2] {
			t.Errorf("PROTOCOL.md says %s for %s, the code %d", m[2], m[1], k.status)
		}
	}
	for c := range problemKinds {
		if !codes[string(c)] {
			t.Errorf("PROTOCOL.md says nothing of the code %s", c)
		}
	}
	for _, k := range Kinds() {
		if !strings.Contains(text, "\n| `"+k+"` | ") {
			t.Errorf("PROTOCOL.md says nothing of the kind %s", k)
		}
	}
	entry := reflect.TypeFor[Entry]()
	for i := range entry.NumField() {
		if name, _, _ := strings.Cut(entry.Field(i).Tag.Get("json"), ","); name != "-" && !strings.Contains(text, "\n| `"+name+"` | ") {
			t.Errorf("PROTOCOL.md says nothing of the field %s", name)
		}
	}
	_, chunk, _ := strings.Cut(text, "### Chunks of file records")
	if n := len(regexp.MustCompile(`(?m)^\| \d+ [a-z]+ \| `).FindAllString(chunk, -1)); n != columns {
		t.Errorf("PROTOCOL.md has %d columns, the code %d", n, columns)
	}
	for _, n := range []int{MaxRecords, MaxPath >> 10, maxFolders >> 20, maxText >> 20, maxWord, maxMessage >> 10} {
		if !strings.Contains(chunk, strconv.Itoa(n)) {
			t.Errorf("PROTOCOL.md does not tell the bound %d", n)
		}
	}
	for i, name := range hashNames {
		if name != "" && !strings.Contains(chunk, fmt.Sprintf("%d `%s`", i, name)) {
			t.Errorf("PROTOCOL.md does not tell that hash %d is %s", i, name)
		}
	}
}

// TestProblems: every code has a status of an error and words, and the shape that RFC 9457 wants.
func TestProblems(t *testing.T) {
	var titles []string
	for code, k := range problemKinds {
		p := NewProblem(code, "why")
		if p.Status < 400 || p.Status > 599 || p.Title == "" || p.Type != "urn:forg:problem:"+string(code) || p.Code != code {
			t.Errorf("%+v", p)
		}
		if slices.Contains(titles, k.title) {
			t.Errorf("two codes are called %q", k.title)
		}
		titles = append(titles, k.title)
	}
	if p := NewProblem("nonsense", ""); p.Code != CodeInternal || p.Status != 500 {
		t.Errorf("%+v", p)
	}
	p := NewProblem(CodeGap, "")
	zero := int64(0)
	p.AckedSeq = &zero
	b, err := json.Marshal(p)
	if err != nil || !strings.Contains(string(b), `"acked_seq":0`) {
		t.Errorf("a gap after nothing does not tell it: %s, %v", b, err)
	}
}
