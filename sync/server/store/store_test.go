package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"go.uber.org/goleak"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("FORG_TEST_PUSHER"); path != "" {
		pusher(path)
		return
	}
	code := pgtest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines that nobody ended:", err)
		code = 1
	}
	os.Exit(code)
}

// clock is a clock that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type testStore struct {
	*Store
	clock *clock
	url   string
}

// databases runs a test on both.
func databases(t *testing.T, f func(t *testing.T, s testStore)) {
	t.Run("postgres", func(t *testing.T) { f(t, onPostgres(t)) })
	t.Run("sqlite", func(t *testing.T) { f(t, onSQLite(t)) })
}

func migrateAt(url string) error {
	s, err := Open(context.Background(), url, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Migrate(context.Background(), Latest)
}

func open(t testing.TB, url string) testStore {
	t.Helper()
	c := &clock{now: time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)}
	s, err := Open(context.Background(), url, Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return testStore{s, c, url}
}

func onPostgres(t testing.TB) testStore {
	t.Helper()
	return open(t, pgtest.New(t, migrateAt))
}

func onSQLite(t testing.TB) testStore {
	t.Helper()
	path := filepath.Join(t.TempDir(), "forg server #1?.db")
	if err := migrateAt(path); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (s testStore) newUser(t testing.TB, email string) User {
	t.Helper()
	return must(s.CreateUser(t.Context(), User{Email: email, PasswordHash: "hash of " + email, FullName: "Full Name", Active: true}))(t)
}

func (s testStore) newDevice(t testing.TB, user uuid.UUID) Device {
	t.Helper()
	return must(s.PutDevice(t.Context(), Device{UserID: user, ID: newID(), Name: "laptop", Platform: "linux/amd64"}))(t)
}

// device is what pushes: a log of entries that were made and how far they are acknowledged.
type testLog struct {
	user, device, epoch uuid.UUID
	entries             []api.Entry
	chains              []api.Hash // after so many entries
	at                  time.Time
}

func newLog(user, device uuid.UUID) *testLog {
	l := &testLog{user: user, device: device, epoch: newID(), at: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	l.chains = []api.Hash{api.Genesis(l.device, l.epoch)}
	return l
}

func (l *testLog) add(op uuid.UUID, body api.Body) *testLog {
	l.at = l.at.Add(time.Second)
	e, err := api.NewEntry(int64(len(l.entries)+1), newID(), op, l.at.UnixMicro(), body)
	if err != nil {
		panic(err)
	}
	l.entries = append(l.entries, e)
	l.chains = append(l.chains, l.chains[len(l.chains)-1].Next(e.SHA256))
	return l
}

// organize adds a whole operation that moves n files.
func (l *testLog) organize(op uuid.UUID, n int) *testLog {
	l.add(op, &api.Started{Kind: "organize", Root: "/home/u/Downloads", Planned: int64(n), Options: map[string]any{"recursive": true}})
	l.add(op, records(1, n))
	return l.add(op, &api.Finished{Status: api.OpCompleted, Processed: int64(n), Bytes: int64(n) * 10})
}

func records(from, n int) api.Files {
	var f api.Files
	for i := range n {
		name := fmt.Sprintf("invoice-2026-%04d.pdf", from+i)
		f = append(f, api.FileRecord{Seq: int64(from + i), SourcePath: "/home/u/Downloads/" + name, DestinationPath: "/home/u/Downloads/Documents/" + name,
			Size: 10, Category: "Documents", Action: "rename", Status: api.FilePlanned, MovedAt: time.UnixMicro(1_777_000_000_000_000 + int64(i)).UTC()})
	}
	return f
}

// request pushes entries from+1 to to.
func (l *testLog) request(from, to int) *api.PushRequest {
	return &api.PushRequest{Protocol: api.Protocol, DeviceID: l.device, Epoch: l.epoch, PrevChain: l.chains[from], Entries: l.entries[from:to]}
}

func (l *testLog) all() *api.PushRequest { return l.request(0, len(l.entries)) }

func (s testStore) push(t testing.TB, l *testLog, req *api.PushRequest) Pushed {
	t.Helper()
	return must(s.Push(t.Context(), l.user, req, 0))(t)
}

func sum(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// organizeJob is a job as the server has them.
type organizeJob struct {
	User      string `json:"user"`
	Operation string `json:"operation"`
}

func (organizeJob) Kind() string { return "organize" }

func jobFor(user, op uuid.UUID) *Job {
	return &Job{Args: organizeJob{User: user.String(), Operation: op.String()}, Opts: &river.InsertOpts{MaxAttempts: 5}}
}
