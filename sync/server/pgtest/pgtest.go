// Package pgtest gives tests a PostgreSQL of their own: it starts the installed programs on a socket in a temporary
// folder, without any network, and stops them again. Nothing of it is in forg itself.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Owner is the login that owns the databases: no superuser, since row-level security holds no superuser to anything.
const Owner = "forg_owner"

// Cluster is a running PostgreSQL.
type Cluster struct {
	dir  string
	bin  string
	sync bool
	cmd  *exec.Cmd
	done chan struct{}
}

// ErrMissing says that PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// Start makes a cluster and starts it. A durable one writes to disk as in production, for tests that stop it in the middle;
// any other is faster.
func Start(durable bool) (*Cluster, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg") // t.TempDir is too long for a socket and closed to other users
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, bin: bin, sync: durable}
	if err := c.init(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

func programs() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrMissing
	}
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) }) // 9 before 15
	return filepath.Dir(found[len(found)-1]), nil
}

func (c *Cluster) init() error {
	if err := giveAway(c.dir); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(c.bin, "initdb"), "-D", filepath.Join(c.dir, "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8",
		"--locale=C", "--no-sync")
	unprivileged(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Exec("create role " + Owner + " login createrole nosuperuser")
}

// Start starts the server of a cluster that was stopped, and waits until it answers.
func (c *Cluster) Start() error {
	args := []string{"-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections=200"}
	if !c.sync {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	unprivileged(cmd)
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The server is to die with the tests; the kernel sees to it when this thread ends, so it must not before.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.cmd, c.done = cmd, done
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := c.Exec("select 1")
		if err == nil {
			return nil
		}
		ended := false
		select {
		case <-done:
			ended = true
		default:
		}
		if ended || time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, text)
		}
	}
}

// Stop ends the server at once, without writing anything down: what a loss of power leaves, except for what the kernel
// had not written yet.
func (c *Cluster) Stop() {
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	<-c.done
}

// Close stops the server and removes all it has.
func (c *Cluster) Close() {
	c.Stop()
	os.RemoveAll(c.dir)
}

// URL is how user connects to database db.
func (c *Cluster) URL(user, db string) string {
	return "postgres://" + user + "@/" + db + "?host=" + url.QueryEscape(c.dir)
}

// Run runs one of PostgreSQL's own programs (pg_dump, psql, ...) as user, and returns what it prints. An error has what it
// said to standard error.
func (c *Cluster) Run(user, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.Env = append(os.Environ(), "PGHOST="+c.dir, "PGUSER="+user)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", program, err, errs.String())
	}
	return out, err
}

// Exec runs a statement as superuser.
func (c *Cluster) Exec(query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, query)
	return err
}

var (
	mu       sync.Mutex
	shared   *Cluster
	problem  error
	numbered int
	template bool
)

// Main is what TestMain of a package that uses New does: os.Exit(pgtest.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	if shared != nil {
		shared.Close()
	}
	return code
}

// Need is the cluster that the tests of this program share; it is started when the first of them asks. Where PostgreSQL is
// not installed the test is skipped, and fails if CI is true.
func Need(t testing.TB) *Cluster {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	return need(t)
}

func need(t testing.TB) *Cluster {
	t.Helper()
	if shared == nil && problem == nil {
		shared, problem = Start(false)
	}
	Check(t, problem)
	return shared
}

// Check ends the test if a cluster could not be started: loudly where PostgreSQL is only not installed.
func Check(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip("NOT TESTED on PostgreSQL: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// New is the URL, for its owner, of a new database that migrate has brought up, and that is gone after the test. migrate
// is called once for all tests of the program; the others get a copy.
func New(t testing.TB, migrate func(url string) error) string {
	t.Helper()
	return prepared(t, migrate).Database(t, "template_forg")
}

// prepared is the shared cluster with the template. The lock must go whatever ends the test: others would wait for ever.
func prepared(t testing.TB, migrate func(url string) error) *Cluster {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	c := need(t)
	if template {
		return c
	}
	if err := c.Exec("create database template_forg owner " + Owner); err != nil {
		t.Fatal(err)
	}
	template = true
	if err := migrate(c.URL(Owner, "template_forg")); err != nil {
		t.Fatal(err)
	}
	return c
}

// Database is the URL, for its owner, of a copy of another database, or of an empty one ("template1"), that is gone
// after the test.
func (c *Cluster) Database(t testing.TB, copyOf string) string {
	t.Helper()
	mu.Lock()
	numbered++
	name := fmt.Sprintf("forg_test_%d", numbered)
	mu.Unlock()
	var err error
	for range 100 { // whoever made the template may not be quite gone
		if err = c.Exec("create database " + name + " owner " + Owner + " template " + copyOf); err == nil || !strings.Contains(err.Error(), "being accessed") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Exec("drop database if exists " + name + " with (force)"); err != nil {
			t.Error(err)
		}
	})
	return c.URL(Owner, name)
}
