package server

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// unlimited lets tests that load a server do so.
var unlimited = map[api.Tier]int{api.TierFree: 0}

// diary is the log of a device, as the device has it.
type diary struct {
	user
	device, epoch uuid.UUID
	entries       []api.Entry
	chains        []api.Hash // chains[n] is after n entries
	acked         int64
	gaps          int // times that the server was behind
}

func newDiary(t testing.TB, s *service, u user, name string) *diary {
	t.Helper()
	d := &diary{device: uuid.Must(uuid.NewV7()), epoch: uuid.New()}
	d.user = s.logIn(t, u, map[string]any{"id": d.device, "name": name})
	d.chains = []api.Hash{api.Genesis(d.device, d.epoch)}
	return d
}

// organize adds an operation that moves n files.
func (d *diary) organize(n int) { d.add(n, func(i int) string { return fmt.Sprintf("%d.pdf", i) }) }

func (d *diary) add(n int, name func(int) string) {
	op := uuid.Must(uuid.NewV7())
	var records api.Files
	for i := range n {
		records = append(records, api.FileRecord{Seq: int64(i + 1), SourcePath: "/home/ana/" + name(i), DestinationPath: "/home/ana/Documents/" + name(i),
			Size: 1, Action: "rename", Status: api.FilePlanned})
	}
	for _, b := range []api.Body{&api.Started{Kind: "organize", Root: "/home/ana", Planned: int64(n)}, records,
		&api.Finished{Status: api.OpCompleted, Processed: int64(n), Bytes: int64(n)}} {
		e, err := api.NewEntry(int64(len(d.entries)+1), uuid.Must(uuid.NewV7()), op, time.Now().UnixMicro(), b)
		if err != nil {
			panic(err) // it is a good entry
		}
		d.entries = append(d.entries, e)
		d.chains = append(d.chains, d.chains[len(d.chains)-1].Next(e.SHA256))
	}
}

func (d *diary) request() api.PushRequest {
	return api.PushRequest{Protocol: api.Protocol, DeviceID: d.device, Epoch: d.epoch, PrevChain: d.chains[d.acked],
		Entries: d.entries[d.acked:min(len(d.entries), int(d.acked)+500)]}
}

// push sends what was not acknowledged yet, as often as it takes, and does what PROTOCOL.md tells clients to do.
func (d *diary) push(s *service) error {
	for int(d.acked) < len(d.entries) {
		req := d.request()
		r, err := s.try(d.access, "POST", "/api/v1/sync/push", req)
		if err != nil {
			return err
		}
		switch r.status {
		case 200:
			var got api.PushResponse
			if err := json.Unmarshal(r.body, &got); err != nil {
				return err
			}
			if last := req.Entries[len(req.Entries)-1].Seq; got.AckedSeq != last || got.Chain != d.chains[last] {
				return fmt.Errorf("a push up to %d is acknowledged up to %d with chain %s, not %s", last, got.AckedSeq, got.Chain, d.chains[last])
			}
			d.acked = got.AckedSeq
		case 409:
			var p api.Problem
			if err := json.Unmarshal(r.body, &p); err != nil {
				return err
			}
			if p.Code != api.CodeGap || p.AckedSeq == nil || *p.AckedSeq >= d.acked {
				return fmt.Errorf("a push from %d: %s", d.acked, r.body)
			}
			d.acked = *p.AckedSeq
			d.gaps++
		default:
			return fmt.Errorf("a push from %d: %d %s", d.acked, r.status, r.body)
		}
	}
	return nil
}

// pullAll is everything that the account has, checked: hashes, numbers and chains. It is how a device begins anew.
func (s *service) pullAll(t testing.TB, u user) (heads map[uuid.UUID]api.LogHead, last int64) {
	t.Helper()
	heads = map[uuid.UUID]api.LogHead{}
	for {
		r := s.do(t, u.access, "GET", fmt.Sprintf("/api/v1/sync/pull?own=true&after=%d", last), nil)
		if r.status != 200 {
			t.Fatalf("pull after %d: %d %s", last, r.status, r.body)
		}
		in := api.NewPullReader(bytes.NewReader(r.body), last, api.DefaultLimits())
		for {
			e, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			h, known := heads[e.DeviceID]
			if !known {
				h.Chain = api.Genesis(e.DeviceID, e.Epoch)
			}
			if e.Seq != h.AckedSeq+1 {
				t.Fatalf("entry %d of a log comes after %d", e.Seq, h.AckedSeq)
			}
			heads[e.DeviceID] = api.LogHead{AckedSeq: e.Seq, Chain: h.Chain.Next(e.SHA256)}
		}
		end, _ := in.End()
		if last = end.Next; end.Next >= end.Head {
			return heads, last
		}
	}
}

// TestRestore takes a backup while devices push, lets them go on, and puts it back, as docs/self-hosting.md tells. What the
// copy lacks comes again from the devices, by themselves; nobody's history is merged, lost or doubled.
func TestRestore(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{RateLimits: unlimited})
		to := t.TempDir()
		testRestore(t, s, func() {
			// Another program does that, beside the server: sqlite3 forg.db "VACUUM INTO '...'".
			db, err := sql.Open("sqlite", filepath.Join(s.cfg.DataDir, "forg.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("VACUUM INTO ?", filepath.Join(to, "forg.db")); err != nil {
				t.Fatal(err)
			}
		}, func() Config { return Config{DataDir: to, RateLimits: unlimited} })
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		c := pgtest.Need(t)
		address := pgtest.New(t, migrateForTest)
		s := start(t, Config{DatabaseURL: address, RateLimits: unlimited})
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		database := strings.TrimPrefix(u.Path, "/")
		to := t.TempDir()
		run := func(c *pgtest.Cluster, user, program string, args ...string) []byte {
			t.Helper()
			out, err := c.Run(user, program, args...)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		var roles, dump []byte
		testRestore(t, s, func() {
			roles = run(c, "postgres", "pg_dumpall", "--roles-only")
			dump = run(c, "postgres", "pg_dump", "--format=custom", database)
			// The owner of the tables is held to row-level security as anybody else: it is refused, rather than given
			// a copy without what belongs to users.
			if _, err := c.Run(pgtest.Owner, "pg_dump", "--format=custom", database); err == nil || !strings.Contains(err.Error(), "row-level security") {
				t.Errorf("the owner dumps the database: %v", err)
			}
			// A login for backups that is no superuser.
			if err := c.Exec("create role forg_backup login bypassrls; grant pg_read_all_data to forg_backup"); err != nil {
				t.Fatal(err)
			}
			run(c, "forg_backup", "pg_dump", "--format=custom", database)
			if err := c.Exec("drop role forg_backup"); err != nil {
				t.Fatal(err)
			}
		}, func() Config {
			fresh, err := pgtest.Start(false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(fresh.Close)
			files := map[string][]byte{"roles.sql": roles, "forg.dump": dump}
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run(fresh, "postgres", "psql", "--quiet", "--file", filepath.Join(to, "roles.sql"), "postgres") // some exist there already
			run(fresh, "postgres", "createdb", "--owner", pgtest.Owner, "forg")
			run(fresh, "postgres", "pg_restore", "--exit-on-error", "--dbname", "forg", filepath.Join(to, "forg.dump"))
			return Config{DatabaseURL: fresh.URL(pgtest.Owner, "forg"), DataDir: to, RateLimits: unlimited}
		})
	})
}

func testRestore(t *testing.T, s *service, backup func(), restore func() Config) {
	ana := s.signUp(t, "ana@example.org")
	l := s.location(t, ana, "before.pdf")
	known := s.organizeIn(t, ana, l.ID, nil)
	desk, laptop := newDiary(t, s, ana, "desk"), newDiary(t, s, ana, "laptop")
	reader := newDiary(t, s, ana, "reader")
	var stop, taken atomic.Bool
	var before, after [2]atomic.Int64 // pushes
	var pushers sync.WaitGroup
	for i, d := range []*diary{desk, laptop} {
		pushers.Go(func() {
			for !stop.Load() {
				d.organize(20)
				if err := d.push(s); err != nil {
					t.Error(err)
					return
				}
				if taken.Load() {
					after[i].Add(1)
				} else {
					before[i].Add(1)
				}
			}
		})
	}
	defer pushers.Wait()
	defer stop.Store(true)
	pushed := func(n *[2]atomic.Int64) func() bool {
		return func() bool { return t.Failed() || n[0].Load() > 5 && n[1].Load() > 5 }
	}
	eventually(t, "devices push", pushed(&before))
	backup()
	taken.Store(true)
	eventually(t, "devices push on", pushed(&after))
	stop.Store(true)
	pushers.Wait()
	write(t, filepath.Join(l.Root, "after.pdf"), "x")
	unknown := s.organizeIn(t, ana, l.ID, nil)
	s.signUp(t, "late@example.org")
	_, cursor := s.pullAll(t, reader.user)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	// What else the documents say to keep.
	cfg := restore()
	for _, name := range []string{KeyFile, "locations"} {
		copyTree(t, filepath.Join(s.cfg.DataDir, name), filepath.Join(cfg.DataDir, name))
	}
	s = start(t, cfg)
	// Sessions of before go on; what came after the copy was taken is not known.
	if me := s.want(t, 200, ana.access, "GET", "/api/v1/auth/me", nil); me["email"] != ana.email {
		t.Errorf("me is %v", me)
	}
	s.want(t, 200, "", "POST", "/api/v1/auth/refresh", map[string]any{"refresh_token": ana.refresh})
	s.want(t, 401, "", "POST", "/api/v1/auth/login", map[string]any{"email": "late@example.org", "password": password})
	s.signUp(t, "late@example.org")
	// Whoever has pulled more than there is now begins again.
	if p := s.want(t, 410, reader.access, "GET", fmt.Sprintf("/api/v1/sync/pull?after=%d", cursor), nil); p["code"] != "cursor_expired" {
		t.Errorf("a cursor of before: %v", p)
	}
	s.pullAll(t, reader.user)
	for _, d := range []*diary{desk, laptop} {
		was := d.acked
		d.organize(20)
		if err := d.push(s); err != nil {
			t.Fatal(err)
		}
		if d.gaps != 1 {
			t.Errorf("a device whose log was acknowledged up to %d was told %d times that the server is behind", was, d.gaps)
		}
	}
	heads, _ := s.pullAll(t, reader.user)
	for _, d := range []*diary{desk, laptop} {
		if h := heads[d.device]; int(h.AckedSeq) != len(d.entries) || h.Chain != d.chains[h.AckedSeq] {
			t.Errorf("the log of a device has %d entries, the server has %d with the chain %s", len(d.entries), h.AckedSeq, h.Chain)
		}
	}
	finished := 0
	for cursor := ""; ; {
		page := s.want(t, 200, ana.access, "GET", "/api/v1/operations?status=completed&limit=500&cursor="+cursor, nil)
		finished += len(page["items"].([]any))
		next, more := page["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	if want := (len(desk.entries)+len(laptop.entries))/3 + 1; finished != want {
		t.Errorf("%d operations are finished, want %d", finished, want)
	}
	// Workers go on as well. What they did since the copy was taken is in the journal of the location alone, and stays.
	s.want(t, 200, ana.access, "GET", "/api/v1/operations/"+known["id"].(string), nil)
	s.want(t, 404, ana.access, "GET", "/api/v1/operations/"+unknown["id"].(string), nil)
	write(t, filepath.Join(l.Root, "later.pdf"), "y")
	op := s.organizeIn(t, ana, l.ID, nil)
	if op["status"] != "completed" || op["files_processed"] != 1.0 {
		t.Errorf("a location after the restore: %v", op)
	}
	undo := s.want(t, 202, ana.access, "POST", "/api/v1/operations/"+known["id"].(string)+"/rollback", nil)
	if undo = s.finished(t, ana, undo["id"].(string)); undo["status"] != "completed" {
		t.Errorf("a rollback of what was before: %v", undo)
	}
	for _, f := range []string{"before.pdf", "Documents/after.pdf", "Documents/later.pdf"} {
		if !exists(filepath.Join(l.Root, f)) {
			t.Errorf("%s is not where it belongs", f)
		}
	}
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
