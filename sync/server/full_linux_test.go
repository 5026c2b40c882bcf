package server

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"forg/sync/api"
)

// TestDiskFull fills the disk of a server on SQLite. Whoever wants to write is told so, half of it is never there, and
// reading goes on; once there is room everything goes on by itself.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("a file system of its own takes root: ", err)
		}
		t.Skip("FULL DISK NOT TESTED: a file system of its own takes root: ", err)
	}
	t.Cleanup(func() { // after the server has ended
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := start(t, Config{DataDir: dir, RateLimits: unlimited})
	ana := s.signUp(t, "ana@example.org")
	l := s.location(t, ana, "a.pdf")
	d, tiny := newDiary(t, s, ana, "laptop"), newDiary(t, s, ana, "phone")
	d.organize(20)
	if err := d.push(s); err != nil {
		t.Fatal(err)
	}
	program := s.want(t, 201, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "k", "scopes": []string{"read"}})["key"].(string)
	free := fill(t, filepath.Join(dir, "filler"))
	var last reply
	for range 100 { // what SQLite has of room in its own files is used up
		d.clutter(2000)
		if last = s.do(t, d.access, "POST", "/api/v1/sync/push", d.request()); last.status != 200 {
			break
		}
		d.acked = int64(len(d.entries))
	}
	full := func(what string, r reply) {
		t.Helper()
		checkProblem(t, r)
		if p := r.json(t); r.status != 507 || p["code"] != "storage_full" {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	full("a push", last)
	full("the same push again", s.do(t, d.access, "POST", "/api/v1/sync/push", d.request()))
	for range 1000 { // until there is no room for one record either
		tiny.organize(1)
		if last = s.do(t, tiny.access, "POST", "/api/v1/sync/push", tiny.request()); last.status != 200 {
			break
		}
		tiny.acked = int64(len(tiny.entries))
	}
	full("a small push", last)
	// Others may find a page of room still, or not; nobody is told of anything else.
	op := s.do(t, ana.access, "POST", "/api/v1/operations", map[string]any{"kind": "organize", "target": map[string]any{"location_id": l.ID}})
	key := s.do(t, ana.access, "POST", "/api/v1/api-keys", map[string]any{"name": "k", "scopes": []string{"read"}})
	login := s.do(t, "", "POST", "/api/v1/auth/login", map[string]any{"email": ana.email, "password": password})
	for what, r := range map[string]reply{"an operation": op, "an API key": key, "a login": login} {
		if r.status >= 300 {
			full(what, r)
		}
	}
	for _, path := range []string{"/health", "/health/ready", "/api/v1/status", "/api/v1/auth/me", "/api/v1/operations",
		"/api/v1/sync/pull?own=true", "/metrics"} {
		for _, token := range []string{ana.access, program} {
			if r := s.do(t, token, "GET", path, nil); r.status != 200 {
				t.Errorf("%s of a server whose disk is full: %d %s", path, r.status, r.body)
			}
		}
	}
	upTo := func() (n int64) {
		t.Helper()
		var state api.SyncState
		if err := json.Unmarshal(s.do(t, d.access, "GET", "/api/v1/sync/state", nil).body, &state); err != nil {
			t.Fatal(err)
		}
		for _, log := range state.Logs {
			if log.DeviceID == d.device {
				if n = log.AckedSeq; log.Chain != d.chains[n] {
					t.Errorf("after %d entries the chains differ", n)
				}
			}
		}
		return n
	}
	if n := upTo(); n != d.acked {
		t.Errorf("%d entries were acknowledged, %d are there", d.acked, n)
	}

	free()
	for _, d := range []*diary{d, tiny} {
		if err := d.push(s); err != nil {
			t.Errorf("once there is room: %v", err)
		}
	}
	if n := upTo(); n != int64(len(d.entries)) {
		t.Errorf("%d entries were pushed, %d are there", len(d.entries), n)
	}
	heads, _ := s.pullAll(t, ana)
	if h := heads[d.device]; h.Chain != d.chains[len(d.entries)] {
		t.Errorf("after %d entries the chains differ", h.AckedSeq)
	}
	if op := s.organizeIn(t, ana, l.ID, nil); op["status"] != "completed" || !exists(filepath.Join(l.Root, "Documents", "a.pdf")) {
		t.Errorf("a location once there is room: %v", op)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "forg.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var sound string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("the database is %q, %v", sound, err)
	}
}

// clutter adds an operation of n files with names that nothing can compress.
func (d *diary) clutter(n int) {
	d.add(n, func(int) string {
		return fmt.Sprintf("%x%x%x%x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
	})
}

// fill takes all the room there is, until free is called.
func fill(t testing.TB, path string) (free func()) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
