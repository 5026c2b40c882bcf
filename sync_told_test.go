//go:build !noserver

package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"forg/journal"
)

// TestNewEpochIsTold: a push that had to begin a new epoch and then failed tells of it all the same: the next one does not know
// that there was anything to tell.
func TestNewEpochIsTold(t *testing.T) {
	t.Parallel()
	s := &killedServer{t: t, dir: t.TempDir()}
	s.addr = freePort(t)
	s.start()
	defer func() { s.kill() }()
	s.must("POST", "/api/v1/auth/signup", "", 201, map[string]any{"email": "ana@example.org", "password": "correct horse battery", "full_name": "Ana"}, nil)
	var down atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.addr})
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusConflict {
			down.Store(true) // the line breaks when the client has learned of the fork
		}
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() && strings.HasSuffix(r.URL.Path, "/sync/push") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	desk := newDeviceAt(t, front.URL, "desk")
	desk.organize(3)
	desk.forg("sync")
	if err := desk.j.Close(); err != nil {
		t.Fatal(err)
	}
	other := *desk
	other.dir = desk.dir + " copy"
	if out, err := exec.Command("cp", "-R", desk.dir, other.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, d := range []*syncedDevice{&other, desk} {
		j, err := journal.Open(t.Context(), d.journal(), journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d.j = j
		d.organize(2)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other.forg("sync", "--quiet")
	c := desk.command("sync", "--wait", "1ms")
	err := c.Run()
	told := c.Stderr.(interface{ String() string }).String()
	if err == nil || !strings.Contains(told, "502") {
		t.Fatalf("%v\n%s", err, told)
	}
	if !strings.Contains(strings.Join(strings.Fields(told), " "), "Nothing was mixed up") {
		t.Errorf("nobody was told:\n%s", told)
	}
	down.Store(false)
	desk.forg("sync", "--quiet")
}
