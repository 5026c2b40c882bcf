//go:build unix

package replica_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"forg/sync/replica"
)

// TestReadOnlyFolder: what is known of other devices can be read where nothing can be written.
func TestReadOnlyFolder(t *testing.T) {
	if path := os.Getenv("FORG_TEST_READ"); path != "" { // by nobody; see below
		r, err := replica.OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n := 0
		for _, err := range r.Operations(t.Context(), uuid.Nil) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Fatalf("%d operations", n)
		}
		return
	}
	base, err := os.MkdirTemp("", "forg-replica-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	s := &memory{}
	a, b := newAlone(t, s), newAlone(t, s)
	a.opt.Path = filepath.Join(base, "state", "sync.db")
	b.organize(t, "/a", "/a/b", names(3)...)
	b.mustPush()
	if _, err := a.pull(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(os.Args[0]) // the test binary may lie where nobody may look: it gets a copy
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(base, "helper")
	if err := os.WriteFile(helper, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{base: 0o755, helper: 0o755, a.opt.Path: 0o444, filepath.Dir(a.opt.Path): 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Dir(a.opt.Path), 0o755)
	c := exec.Command(helper, "-test.run", "^TestReadOnlyFolder$")
	c.Dir, c.Env = "/", append(os.Environ(), "FORG_TEST_READ="+a.opt.Path)
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
