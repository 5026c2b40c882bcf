//go:build !noserver

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"forg/sync/api"
)

// household is a user with a server, a laptop with an agent, and a web page in a browser somewhere else.
type household struct {
	*killedServer
	page   string    // access token of the page
	laptop uuid.UUID // its device
	home   string
	agent  *exec.Cmd
	said   *tail
}

// tail keeps what a program says.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const password = "correct horse battery"

func newHousehold(t *testing.T) *household {
	h := &household{killedServer: &killedServer{t: t, dir: t.TempDir()}, home: t.TempDir(), said: &tail{}}
	h.addr = freePort(t)
	h.start()
	t.Cleanup(func() {
		h.kill()
		h.endAgent()
		if t.Failed() {
			t.Logf("the agent has said:\n%s", h.said)
		}
	})
	h.must("POST", "/api/v1/auth/signup", "", 201, map[string]any{"email": "ana@example.org", "password": password, "full_name": "Ana"}, nil)
	login := h.command("login", "--server", "http://"+h.addr, "--password-stdin", "--device-name", "laptop", "--keyring", "never", "ana@example.org")
	login.Stdin = strings.NewReader(password + "\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("forg login: %v\n%s", err, out)
	}
	h.page = h.token()
	var devices api.Page[api.Device]
	h.must("GET", "/api/v1/devices", h.page, 200, nil, &devices)
	if len(devices.Items) != 1 || devices.Items[0].Name != "laptop" {
		t.Fatalf("after the login there are the devices %v", devices.Items)
	}
	h.laptop = devices.Items[0].ID
	return h
}

// token is one for the page.
func (h *household) token() string {
	var tokens api.TokenResponse
	h.must("POST", "/api/v1/auth/login", "", 200, map[string]any{"email": "ana@example.org", "password": password}, &tokens)
	return tokens.AccessToken
}

func (h *household) command(args ...string) *exec.Cmd { return h.commandAt(h.home, args...) }

// commandAt is forg on another machine, whose home is given.
func (h *household) commandAt(home string, args ...string) *exec.Cmd {
	c := exec.Command("forg", args...)
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "XDG_") || strings.HasPrefix(v, "FORG_") || strings.HasPrefix(v, "DBUS_")
	}),
		"HOME="+home, "XDG_STATE_HOME="+filepath.Join(home, "state"), "XDG_CONFIG_HOME="+filepath.Join(home, "config"))
	return c
}

func (h *household) forg(args ...string) string {
	h.t.Helper()
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("forg %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// folder makes a folder on the laptop with files that need to be put back exactly.
func (h *household) folder(name string, files int) string {
	h.t.Helper()
	dir := filepath.Join(h.home, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	for i := range files {
		path := filepath.Join(dir, fmt.Sprintf("%s %d.%s", name, i, []string{"pdf", "jpg", "txt", "zip"}[i%4]))
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s %d", name, i), 0o600+os.FileMode(i%2)*0o44); err != nil {
			h.t.Fatal(err)
		}
		at := time.Date(2021, 3, 4, 5, 6, 7, 123456789+i, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			h.t.Fatal(err)
		}
	}
	at := time.Date(2022, 3, 4, 5, 6, 7, 987654321, time.UTC)
	if err := os.Chtimes(dir, at, at); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// look is all that can be seen of a tree.
func (h *household) look(dir string) map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		all[rel] = fmt.Sprintf("%s %s", st.Mode(), st.ModTime().UTC().Format(time.RFC3339Nano))
		if st.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[rel] += fmt.Sprintf(" %d %x", st.Size(), sha256.Sum256(text))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func (h *household) startAgent(args ...string) {
	h.t.Helper()
	h.agent = h.command(append([]string{"agent"}, args...)...)
	h.agent.Stdout, h.agent.Stderr = h.said, h.said
	if err := h.agent.Start(); err != nil {
		h.t.Fatal(err)
	}
}

// endAgent kills it, if it runs.
func (h *household) endAgent() {
	if h.agent != nil {
		h.agent.Process.Kill()
		h.agent.Wait()
		h.agent = nil
	}
}

// back is how many files are directly in a folder.
func (h *household) back(dir string) (n int) {
	list, err := os.ReadDir(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range list {
		if !e.IsDir() {
			n++
		}
	}
	return n
}

// until waits, as long as a slow machine may need.
func (h *household) until(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("it did not come to this: %s", what)
		}
	}
}

// operations are those that the server knows, oldest first.
func (h *household) operations() []api.Operation {
	h.t.Helper()
	var page api.Page[api.Operation]
	h.must("GET", "/api/v1/operations", h.page, 200, nil, &page)
	slices.Reverse(page.Items)
	return page.Items
}

// synced waits until the server knows n operations of the laptop, all finished, and returns the newest.
func (h *household) synced(n int) api.Operation {
	h.t.Helper()
	var all []api.Operation
	h.until(fmt.Sprintf("the server knows %d operations", n), func() bool {
		all = h.operations()
		return len(all) == n && all[n-1].Status.Finished()
	})
	return all[n-1]
}

// rollback is what the page does when somebody presses the button.
func (h *household) rollback(op uuid.UUID, body any) api.Operation {
	h.t.Helper()
	var o api.Operation
	h.must("POST", "/api/v1/operations/"+op.String()+"/rollback", h.page, 202, body, &o)
	return o
}

// rollbackRest presses the button again, once the server lets it, and waits until the rest is back.
func (h *household) rollbackRest(op uuid.UUID) {
	h.t.Helper()
	var rest api.Operation
	h.until("the server lets it be asked for again", func() bool {
		status, body, err := h.ask("POST", "/api/v1/operations/"+op.String()+"/rollback", h.page, nil)
		return err == nil && status == 202 && json.Unmarshal(body, &rest) == nil
	})
	if o := h.ended(rest.ID); o.Status != api.OpCompleted {
		h.t.Errorf("the rest is %s: %s", o.Status, o.Error)
	}
}

func (h *household) ended(op uuid.UUID) api.Operation {
	h.t.Helper()
	var o api.Operation
	h.until("operation "+op.String()+" ends", func() bool {
		h.must("GET", "/api/v1/operations/"+op.String(), h.page, 200, nil, &o)
		return o.Status.Finished()
	})
	return o
}

type historyEntry struct {
	UUID   string `json:"uuid"`
	Kind   string `json:"kind"`
	Status string `json:"status"`
}

func (h *household) history() []historyEntry {
	h.t.Helper()
	out, err := h.command("history", "--json").Output()
	var list struct{ Operations []historyEntry }
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		h.t.Fatalf("forg history: %v\n%s", err, out)
	}
	return list.Operations
}

// TestAgentRollback: a button in a browser puts the files on the laptop back, exactly.
func TestAgentRollback(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	dir := h.folder("downloads", 40)
	before := h.look(dir)
	h.forg("organize", "--min-age", "0s", dir)
	after := h.look(dir)
	h.startAgent("--allow", "rollback", "--folders", "downloads="+dir)
	done := h.synced(1)
	undo := h.rollback(done.ID, nil)
	if o := h.ended(undo.ID); o.Status != api.OpCompleted || o.FilesProcessed != 40 {
		t.Fatalf("the rollback is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
	h.until("the operation is undone for the server, too", func() bool {
		all := h.operations()
		return all[0].Status == api.OpUndone && all[1].ID == undo.ID
	})
	if list := h.history(); len(list) != 2 || list[0].UUID != undo.ID.String() || list[0].Kind != "undo" || list[0].Status != "completed" || list[1].Status != "undone" {
		t.Errorf("the laptop's own history is %v", list)
	}
	// It is an operation like any other, so the person there can take it back.
	h.forg("redo", "--quiet")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(h.look(dir)))); diff != "" {
		t.Errorf("redo on the laptop: %s", diff)
	}
	// SIGTERM ends it, with the code that says so.
	h.agent.Process.Signal(syscall.SIGTERM)
	h.agent.Wait()
	if code := h.agent.ProcessState.ExitCode(); code != 143 {
		t.Errorf("after SIGTERM it ends with %d", code)
	}
	h.agent = nil
}

// TestAgentPart: a rollback of a part takes back that part.
func TestAgentPart(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	dir := h.folder("downloads", 8)
	h.forg("organize", "--min-age", "0s", dir)
	h.startAgent("--allow", "rollback", "--folders", "downloads="+dir)
	undo := h.rollback(h.synced(1).ID, map[string]any{"only": "*.pdf"})
	if o := h.ended(undo.ID); o.Status != api.OpCompleted || o.FilesProcessed != 2 {
		t.Errorf("it is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
	if _, err := os.Stat(filepath.Join(dir, "downloads 0.pdf")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "downloads 1.jpg")); err == nil {
		t.Error("more than the part went back")
	}
}

// TestAgentRefuses: what the laptop's owner has not allowed does not happen, and the server is told why.
func TestAgentRefuses(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	inside, outside := h.folder("downloads", 4), h.folder("private", 4)
	h.forg("organize", "--min-age", "0s", inside)
	h.forg("organize", "--min-age", "0s", outside)
	before := h.look(h.home + "/private")
	refused := func(o api.Operation, why string) {
		t.Helper()
		if o = h.ended(o.ID); o.Status != api.OpFailed || !strings.Contains(o.Error, why) {
			t.Errorf("it is %s: %q, want a refusal because of %q", o.Status, o.Error, why)
		}
	}
	organize := func(root string, options map[string]any) api.Operation {
		t.Helper()
		var o api.Operation
		h.must("POST", "/api/v1/operations", h.page, 202, map[string]any{"kind": "organize", "target": map[string]any{"device_id": h.laptop, "root": root}, "options": options}, &o)
		return o
	}
	h.startAgent("--folders", "downloads="+inside) // nothing is allowed
	all := []api.Operation{}
	h.until("both operations are there", func() bool { all = h.operations(); return len(all) == 2 && all[1].Status.Finished() })
	refused(h.rollback(all[0].ID, nil), "has not allowed")
	refused(organize("downloads", nil), "has not allowed")
	h.endAgent()

	h.startAgent("--allow", "rollback,organize", "--folders", "downloads="+inside)
	refused(h.rollback(all[1].ID, nil), "outside the folders")
	refused(organize("private", nil), "no folder of that name")
	refused(organize("downloads", map[string]any{"rules": "photos"}), "no rules of that name")
	refused(organize("downloads", map[string]any{"recursive": true}), "options")
	refused(h.rollback(all[0].ID, map[string]any{"only": "[a"}), "glob")
	if diff := cmp.Diff(before, h.look(outside)); diff != "" {
		t.Errorf("something was moved: %s", diff)
	}
	for _, bad := range []string{"../private", outside, "a/b"} {
		status, body, err := h.ask("POST", "/api/v1/operations", h.page, map[string]any{"kind": "organize", "target": map[string]any{"device_id": h.laptop, "root": bad}})
		if err != nil || status != 422 {
			t.Errorf("a path as folder is answered %d %s %v", status, body, err)
		}
	}
	if list := h.history(); len(list) != 2 {
		t.Errorf("the history is %v", list)
	}
}

// TestAgentOrganize: a folder is organized when somebody asks for it, by the rules that are on the laptop.
func TestAgentOrganize(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	dir := h.folder("downloads", 8)
	rules := filepath.Join(h.home, "texts.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - name: texts\n    filters:\n      - extension: txt\n    actions:\n      - move: Texts/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.startAgent("--allow", "organize", "--folders", "downloads="+dir, "--rule-sets", "texts="+rules, "--min-age", "0s")
	start := func(options map[string]any) api.Operation {
		t.Helper()
		var o api.Operation
		h.must("POST", "/api/v1/operations", h.page, 202, map[string]any{"kind": "organize", "target": map[string]any{"device_id": h.laptop, "root": "downloads"}, "options": options}, &o)
		return h.ended(o.ID)
	}
	if o := start(map[string]any{"rules": "texts"}); o.Status != api.OpCompleted || o.FilesProcessed != 2 {
		t.Fatalf("by rules it is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
	o := start(nil)
	if o.Status != api.OpCompleted || o.FilesProcessed != 6 {
		t.Fatalf("it is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
	if list := h.history(); len(list) != 2 || list[0].UUID != o.ID.String() || list[0].Kind != "organize" {
		t.Errorf("the laptop's history is %v", list)
	}
	if o := start(nil); o.Status != api.OpCompleted || o.FilesProcessed != 0 {
		t.Errorf("with nothing to do it is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
}

// TestAgentKilled: an agent that is killed in the middle of a rollback is answered for by its journal, and the rest of the
// files can be asked for again.
func TestAgentKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("leases take a minute to lapse")
	}
	t.Parallel()
	h := newHousehold(t)
	const files = 20_000
	dir := h.folder("downloads", files)
	before := h.look(dir)
	h.forg("organize", "--min-age", "0s", dir)
	allow := []string{"--allow", "rollback", "--folders", "downloads=" + dir}
	h.startAgent(allow...)
	op := h.synced(1)
	undo := h.rollback(op.ID, nil)
	h.until("files come back", func() bool { return h.back(dir) > 0 })
	time.Sleep(time.Duration(rand.IntN(50_000)) * time.Microsecond)
	h.endAgent()
	h.startAgent(allow...)
	o := h.ended(undo.ID)
	if o.Status != api.OpInterrupted && o.Status != api.OpPartial && o.Status != api.OpCompleted {
		t.Errorf("it is %s: %s", o.Status, o.Error)
	}
	t.Logf("killed after %d of %d files were back: %s", o.FilesProcessed, files, o.Status)
	undos := 0
	for _, e := range h.history() {
		if e.UUID == undo.ID.String() {
			undos++
		}
	}
	if undos != 1 {
		t.Errorf("the laptop has done it %d times", undos)
	}
	if o.Status != api.OpCompleted { // the button again
		h.rollbackRest(op.ID)
	}
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
}

// TestAgentStopped: an agent that is asked to end, and one that is asked to stop what it does, say how far they came, and what
// they say is true.
func TestAgentStopped(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	const files = 20_000
	dir := h.folder("downloads", files)
	before := h.look(dir)
	h.forg("organize", "--min-age", "0s", dir)
	allow := []string{"--allow", "rollback", "--folders", "downloads=" + dir}
	h.startAgent(allow...)
	op := h.synced(1)
	for round, stop := range []func(api.Operation){
		func(api.Operation) {
			h.agent.Process.Signal(syscall.SIGTERM)
			h.agent.Wait()
			if code := h.agent.ProcessState.ExitCode(); code != 143 {
				t.Errorf("after SIGTERM it ends with %d", code)
			}
			h.startAgent(allow...)
		},
		func(o api.Operation) { h.ask("POST", "/api/v1/operations/"+o.ID.String()+"/cancel", h.page, nil) }, // or it has ended before
	} {
		was := h.back(dir)
		if was == files {
			break // a machine that is quicker than who stops it
		}
		undo := h.rollback(op.ID, nil)
		h.until("files come back", func() bool { return h.back(dir) > was })
		stop(undo)
		o := h.ended(undo.ID)
		if came := int64(h.back(dir) - was); o.FilesProcessed != came {
			t.Errorf("round %d: %d files came back, it says %d: %s %s", round, came, o.FilesProcessed, o.Status, o.Error)
		}
		t.Logf("round %d: %d of %d files, %s: %s", round, o.FilesProcessed, files, o.Status, o.Error)
	}
	if h.back(dir) < files {
		h.rollbackRest(op.ID)
	}
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
}

// TestAgentServerAway: the server goes away while the laptop is at work. The work is done all the same, and known as soon
// as the server is back.
func TestAgentServerAway(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	const files = 20_000
	dir := h.folder("downloads", files)
	before := h.look(dir)
	h.forg("organize", "--min-age", "0s", dir)
	h.startAgent("--allow", "rollback", "--folders", "downloads="+dir)
	undo := h.rollback(h.synced(1).ID, nil)
	h.until("files come back", func() bool { return h.back(dir) > 0 })
	h.kill()
	h.until("all files are back", func() bool { return h.back(dir) == files })
	h.start()
	h.page = h.token()
	if o := h.ended(undo.ID); o.Status != api.OpCompleted || o.FilesProcessed != files {
		t.Errorf("it is %s with %d files: %s", o.Status, o.FilesProcessed, o.Error)
	}
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
}

// desktop is the home of another machine that has logged in.
func (h *household) desktop() string {
	h.t.Helper()
	home := h.t.TempDir()
	login := h.commandAt(home, "login", "--server", "http://"+h.addr, "--password-stdin", "--device-name", "desktop", "--keyring", "never", "ana@example.org")
	login.Stdin = strings.NewReader(password + "\n")
	if out, err := login.CombinedOutput(); err != nil {
		h.t.Fatalf("forg login: %v\n%s", err, out)
	}
	return home
}

// TestUndoOnAnotherDevice: "forg undo --device laptop" on the desktop puts the laptop's files back.
func TestUndoOnAnotherDevice(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	dir := h.folder("downloads", 8)
	before := h.look(dir)
	h.forg("organize", "--min-age", "0s", dir)
	h.startAgent("--allow", "rollback,organize", "--folders", "downloads="+dir, "--min-age", "0s")
	h.synced(1)
	desktop := h.desktop()
	run := func(code int, want string, args ...string) {
		t.Helper()
		c := h.commandAt(desktop, args...)
		out, _ := c.CombinedOutput()
		if c.ProcessState.ExitCode() != code || !strings.Contains(string(out), want) {
			t.Errorf("forg %v ends with %d and says, without %q:\n%s", args, c.ProcessState.ExitCode(), want, out)
		}
	}
	run(0, "put back 8 files", "undo", "--device", "laptop")
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
	run(1, "could be undone", "undo", "--device", "laptop", "last")
	run(0, "moved 0 files", "organize", "--device", "laptop", "downloads") // what was undone stays
	run(1, "offers no folder \"private\"; it offers: downloads", "organize", "--device", "laptop", "private")
	run(2, "a path cannot be given", "organize", "--device", "laptop", dir)
	run(2, "--recursive", "organize", "--device", "laptop", "-r", "downloads")
	run(2, "is this device", "undo", "--device", "desktop")
	run(1, "no device", "undo", "--device", "lapdog")
	run(0, "is asked to organize downloads", "organize", "--device", "laptop", "--no-wait", "downloads")
}

// TestAgentEncrypted: in an account with end-to-end encryption nobody but a device with its keys can ask for anything, not
// even a server.
func TestAgentEncrypted(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	dir := h.folder("downloads", 8)
	before := h.look(dir)
	h.forg("sync", "key", "init", "--yes")
	h.forg("organize", "--min-age", "0s", dir)
	moved := h.look(dir)
	h.startAgent("--allow", "rollback", "--folders", "downloads="+dir)
	op := h.synced(1)
	if op.Root != "" {
		t.Errorf("the server knows the folder %q", op.Root)
	}
	for _, body := range []any{nil, map[string]any{"id": uuid.Must(uuid.NewV7()), "mac": make([]byte, 32)}} {
		if o := h.ended(h.rollback(op.ID, body).ID); o.Status != api.OpFailed || !strings.Contains(o.Error, "not signed") {
			t.Errorf("without a signature it is %s: %s", o.Status, o.Error)
		}
	}
	if diff := cmp.Diff(moved, h.look(dir)); diff != "" {
		t.Errorf("something was moved: %s", diff)
	}
	desktop := h.desktop()
	run := func(home string, args ...string) string {
		t.Helper()
		out, err := h.commandAt(home, args...).Output()
		if err != nil {
			t.Fatalf("forg %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	c := h.commandAt(desktop, "undo", "--device", "laptop")
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 1 {
		t.Errorf("without keys the desktop's undo ends with %d\n%s", c.ProcessState.ExitCode(), out)
	}
	var asked struct {
		Code string `json:"pairing_code"`
	}
	if err := json.Unmarshal([]byte(run(desktop, "sync", "key", "request", "--json")), &asked); err != nil {
		t.Fatal(err)
	}
	h.forg("sync", "key", "approve", asked.Code)
	run(desktop, "sync", "--wait", "1m")
	if out := run(desktop, "undo", "--device", "laptop"); !strings.Contains(out, "put back 8 files") {
		t.Errorf("the desktop's undo says %s", out)
	}
	if diff := cmp.Diff(before, h.look(dir)); diff != "" {
		t.Errorf("the files are not back as they were: %s", diff)
	}
}
