//go:build !noserver

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/replica"
)

// TestSyncKilled kills forg sync, forg serve or its database at random moments, again and again, while devices go on
// organizing. In the end all that any journal has recorded is at the server once, the chains are equal everywhere, and each
// device sees the operations of the other. FORG_TEST_SYNC_KILLS says how often.
func TestSyncKilled(t *testing.T) {
	t.Parallel()
	kills := times(16, 6, "FORG_TEST_SYNC_KILLS")
	onDatabases(t, func(t *testing.T, s *killedServer) { syncKilled(t, kills, s) })
}

func syncKilled(t *testing.T, kills int, s *killedServer) {
	c := s.cluster
	devices := []*syncedDevice{newSyncedDevice(t, s, "desk"), newSyncedDevice(t, s, "laptop")}
	ended := map[string]int{}
	for range kills {
		d := devices[rand.IntN(2)]
		for range 1 + rand.IntN(30) {
			d.organize(1 + rand.IntN(40))
		}
		if rand.IntN(4) == 0 { // an operation of several large events
			d.organize(20000)
		}
		cmd := d.command("sync", "--wait", "2m")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(200_000)) * time.Microsecond)
		switch victim := rand.IntN(3); {
		case victim == 0:
			s.kill()
			s.start()
			ended["server killed"]++
		case victim == 1 && c != nil:
			c.Stop()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			ended["database stopped"]++
		default:
			cmd.Process.Kill()
			ended["sync killed"]++
		}
		if err := cmd.Wait(); err == nil {
			ended["sync was through"]++
		} else if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != -1 {
			t.Fatalf("forg sync of %s: %v\n%s", d.name, err, cmd.Stderr)
		}
	}
	for range 2 { // so that the first one sees what the second one has sent
		for _, d := range devices {
			d.forg("sync", "--quiet")
		}
	}

	var tokens api.TokenResponse
	s.must("POST", "/api/v1/auth/login", "", 200, map[string]any{"email": "ana@example.org", "password": "correct horse battery"}, &tokens)
	there := map[uuid.UUID]int{}
	var after int64
	for {
		res, err := s.request("GET", "/api/v1/sync/pull?own=true&after="+strconv.FormatInt(after, 10), tokens.AccessToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := api.NewPullReader(res.Body, after, api.DefaultLimits())
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			there[e.ID]++
		}
		end, _ := r.End()
		res.Body.Close()
		if after = end.Next; end.Next >= end.Head {
			break
		}
	}
	var state api.SyncState
	s.must("GET", "/api/v1/sync/state", tokens.AccessToken, 200, nil, &state)
	events := 0
	for i, d := range devices {
		events += d.check(there, &state, devices[1-i])
	}
	if len(there) != events {
		t.Errorf("the server has %d events, the journals %d", len(there), events)
	}
	t.Logf("%d kills (%v), %d events there once each", kills, ended, events)
}

// syncedDevice is a device with a journal and a login of its own.
type syncedDevice struct {
	t      *testing.T
	name   string
	dir    string
	j      *journal.Journal
	prefix []string
}

func newSyncedDevice(t *testing.T, s *killedServer, name string) *syncedDevice {
	return newDeviceAt(t, "http://"+s.addr, name)
}

// newDeviceAt logs a device in. prefix is what its commands are run by, if anything.
func newDeviceAt(t *testing.T, server, name string, prefix ...string) *syncedDevice {
	t.Helper()
	d := &syncedDevice{t: t, name: name, dir: filepath.Join(t.TempDir(), name), prefix: prefix}
	c := d.command("login", "--server", server, "--password-stdin", "--device-name", name, "ana@example.org")
	c.Stdin = strings.NewReader("correct horse battery\n")
	if err := c.Run(); err != nil {
		t.Fatalf("forg login: %v\n%s", err, c.Stderr)
	}
	j, err := journal.Open(t.Context(), d.journal(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	d.j = j
	return d
}

func (d *syncedDevice) journal() string { return filepath.Join(d.dir, "journal.db") }

// command is a forg with the device's journal. All of the time another program has it open to write: syncing needs no lock.
func (d *syncedDevice) command(args ...string) *exec.Cmd {
	line := append(append(slices.Clone(d.prefix), "forg"), args...)
	c := exec.Command(line[0], line[1:]...)
	c.Env = append(os.Environ(), "HOME="+d.dir, "FORG_JOURNAL="+d.journal(), "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "DBUS_SESSION_BUS_ADDRESS=", "XDG_RUNTIME_DIR=")
	c.Stderr = new(bytes.Buffer)
	return c
}

func (d *syncedDevice) forg(args ...string) []byte {
	d.t.Helper()
	c := d.command(args...)
	out, err := c.Output()
	if err != nil {
		d.t.Fatalf("forg %s of %s: %v\n%s", strings.Join(args, " "), d.name, err, c.Stderr)
	}
	return out
}

// organize records an operation as the organizer does.
func (d *syncedDevice) organize(files int) {
	d.t.Helper()
	ctx := d.t.Context()
	w, err := d.j.Begin(ctx, "organize", "/home/ana/"+d.name, "forg organize", int64(files), 0)
	if err != nil {
		d.t.Fatal(err)
	}
	from, to := &journal.Folder{Path: "/home/ana/" + d.name}, &journal.Folder{Path: "/home/ana/" + d.name + "/Documents"}
	for no := 0; no < files; {
		var steps []journal.Step
		for ; no < files && len(steps) < journal.BatchSize(); no++ {
			name := fmt.Sprintf("%s %x.pdf", d.name, rand.Uint64())
			steps = append(steps, journal.Step{No: int64(no) + 1, Action: journal.Rename, FromDir: from, ToDir: to, From: name, To: name, Label: "Documents"})
		}
		if err := w.Commit(ctx, steps, nil); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := w.Finish(ctx, nil, journal.Finish{Status: journal.Completed, Moved: int64(files)}); err != nil {
		d.t.Fatal(err)
	}
}

// check holds the journal of the device against the server, as far as that is given, and against what another device sees.
func (d *syncedDevice) check(there map[uuid.UUID]int, state *api.SyncState, other *syncedDevice) (events int) {
	t := d.t
	epochs, err := d.j.Epochs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(epochs) != 1 {
		t.Errorf("%s has %d epochs, and nobody has copied it", d.name, len(epochs))
	}
	for e, err := range d.j.Events(t.Context(), epochs[0].ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if there != nil && there[e.ID] != 1 {
			t.Errorf("event %d of %s is at the server %d times", e.Seq, d.name, there[e.ID])
		}
		events++
	}
	var status struct {
		Behind     int64 `json:"behind"`
		ChainEqual bool  `json:"chain_equal"`
	}
	if err := json.Unmarshal(d.forg("sync", "status", "--json"), &status); err != nil {
		t.Fatal(err)
	}
	if status.Behind != 0 || !status.ChainEqual {
		t.Errorf("the status of %s is %+v", d.name, status)
	}
	r, err := replica.OpenReadOnly(t.Context(), filepath.Join(other.dir, "sync.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	logs, err := r.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != 1 || logs[0].AckedSeq != epochs[0].Last {
		t.Errorf("%s has of %s, whose last event is %d, %+v", other.name, d.name, epochs[0].Last, logs)
	}
	for _, l := range state.Logs {
		if l.DeviceID == epochs[0].Device && (len(logs) != 1 || logs[0].AckedSeq != l.AckedSeq || logs[0].Chain != l.Chain) {
			t.Errorf("%s has of %s %+v, the server has %+v", other.name, d.name, logs, l)
		}
	}
	seen := map[uuid.UUID]int64{}
	for o, err := range r.Operations(t.Context(), uuid.Nil) {
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for f, err := range r.Files(t.Context(), o) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Status == api.FileDone {
				n++
			}
		}
		seen[o.ID] = n
	}
	n := 0
	for o, err := range d.j.Operations(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; seen[o.UUID] != o.Moved {
			t.Errorf("%s sees %d files of an operation of %s with %d", other.name, seen[o.UUID], d.name, o.Moved)
		}
	}
	if len(seen) != n {
		t.Errorf("%s sees %d operations of %s, which has %d", other.name, len(seen), d.name, n)
	}
	return events
}
