package journal

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var ctx = context.Background()

func tempJournal(t *testing.T) string {
	return filepath.Join(t.TempDir(), "a folder #1?", "journal.db")
}

func open(t *testing.T, path string, now time.Time) *Journal {
	t.Helper()
	j, err := Open(ctx, path, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record writes an operation of n moves whose names begin with name.
func record(t *testing.T, j *Journal, name string, n int, undoes int64) int64 {
	t.Helper()
	kind := "organize"
	if undoes != 0 {
		kind = "undo"
	}
	w, err := j.Begin(ctx, kind, "/home/"+name, "forg organize /home/"+name, int64(n), undoes)
	must(t, err)
	from, to := &Folder{Path: "/home/" + name}, &Folder{Path: "/home/" + name + "/Documents"}
	steps := make([]Step, n)
	for i := range steps {
		steps[i] = Step{No: int64(i + 1), Action: Rename, FromDir: from, ToDir: to, From: fmt.Sprintf("%s-%d.txt", name, i), To: fmt.Sprintf("%s-%d.txt", name, i), File: Identity{Ino: uint64(i + 1)}}
	}
	must(t, w.Commit(ctx, steps[:n/2], nil))
	must(t, w.Commit(ctx, steps[n/2:], []Outcome{{No: 1, Count: 1, State: Skipped, Err: "why " + name}}))
	f := Finish{Status: Completed, Moved: int64(n - 1), Skipped: 1, Folders: []FolderTime{{from.Path, 1}}}
	if undoes != 0 {
		f.RootStatus = Undone
	}
	must(t, w.Finish(ctx, nil, f))
	return w.ID()
}

func troubles(t *testing.T, j *Journal, fix bool) []string {
	t.Helper()
	all, err := j.Check(ctx, fix)
	must(t, err)
	var text []string
	for _, tr := range all {
		text = append(text, tr.What)
	}
	return text
}

// change lets another program write to a closed journal.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, ""))
	must(t, err)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func sequence(t *testing.T, j *Journal) (seqs [][2]int64) {
	t.Helper()
	rows, err := j.db.Query("SELECT epoch, seq FROM events ORDER BY n")
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var s [2]int64
		must(t, rows.Scan(&s[0], &s[1]))
		seqs = append(seqs, s)
	}
	must(t, rows.Err())
	return seqs
}

func TestSequence(t *testing.T) {
	path := tempJournal(t)
	for i := range 20 {
		j := open(t, path, time.Unix(int64(i), 0))
		id := record(t, j, fmt.Sprint("op", i), 5, 0)
		if i%3 == 0 {
			record(t, j, fmt.Sprint("op", i), 5, id)
		}
		// A commit that fails must leave no gap, also in the middle of an operation and when it is the first of one.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		w, err := j.Begin(ctx, "organize", "/", "forg", 1, 0)
		must(t, err)
		if err := w.Commit(ended, seedSteps(), nil); err == nil {
			t.Fatal("a commit with an ended context succeeded")
		}
		if i%2 == 0 {
			must(t, w.Commit(ctx, seedSteps(), nil))
			if err := w.Finish(ended, nil, Finish{Status: Completed}); err == nil {
				t.Fatal("a finish with an ended context succeeded")
			}
			must(t, w.Finish(ctx, nil, Finish{Status: Completed}))
		}
		if i%4 == 1 { // left running, as a kill does
			w, err := j.Begin(ctx, "organize", "/", "forg", 1, 0)
			must(t, err)
			must(t, w.Commit(ctx, seedSteps(), nil))
		}
		must(t, j.Close())
	}
	j := open(t, path, time.Unix(100, 0))
	defer j.Close()
	for i, s := range sequence(t, j) {
		if s != [2]int64{1, int64(i + 1)} {
			t.Fatalf("event %d is number %d of epoch %d", i+1, s[1], s[0])
		}
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
	running, err := j.RunningOperations(ctx)
	must(t, err)
	if len(running) != 5 {
		t.Errorf("%d operations are running, want 5", len(running))
	}
	for _, o := range running {
		must(t, j.Resume(o).Finish(ctx, nil, Finish{Status: Interrupted}))
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
}

func TestSteps(t *testing.T) {
	j := open(t, tempJournal(t), time.Unix(1, 0))
	defer j.Close()
	w, err := j.Begin(ctx, "organize", "/home/a", "forg", 5, 0)
	must(t, err)
	want := seedSteps()
	must(t, w.Commit(ctx, want[:2], nil))
	must(t, w.Commit(ctx, want[2:], []Outcome{{No: 2, Count: 1, State: Copied, Ino: 5, Born: 6, Hash: make([]byte, 32)}}))
	o, err := j.Operation(ctx, "last")
	must(t, err)
	var got []Step
	for s, err := range j.Steps(ctx, o, false) {
		must(t, err)
		wantState := Unknown
		if s.No == 2 {
			wantState = Copied
		}
		if s.State != wantState {
			t.Errorf("step %d of a running operation is %s", s.No, s.State)
		}
		got = append(got, s.Step)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	must(t, w.Finish(ctx, []Outcome{{No: 3, Count: 100, State: NotDone}}, Finish{Status: Interrupted}))
	o, err = j.Operation(ctx, w.UUID().String()[:30])
	must(t, err)
	var states []State
	for s, err := range j.Steps(ctx, o, true) {
		must(t, err)
		states = append(states, s.State)
	}
	if want := append(slices.Repeat([]State{NotDone}, len(want)-2), Done, Done); !slices.Equal(states, want) {
		t.Errorf("backwards: %v, want %v", states, want)
	}
}

func TestTamper(t *testing.T) {
	for _, s := range []struct {
		change, says string
		fixable      bool
	}{
		{change: "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'secret', 'public') AS BLOB) WHERE seq = 1", says: "not what was written"},
		{change: "UPDATE events SET body = x'01' WHERE seq = 2", says: "event 2 of epoch 1: event cut short"},
		{change: "UPDATE events SET at = at + 1 WHERE seq = 3", says: "not what was written"},
		{change: "UPDATE events SET kind = 'op.files' WHERE seq = 1", says: "not what was written"},
		{change: "UPDATE events SET sha = zeroblob(32) WHERE seq = 4", says: "hash chain breaks at event 4"},
		{change: "UPDATE events SET chain = zeroblob(32) WHERE seq = 4", says: "hash chain breaks at event 4"},
		{change: "UPDATE events SET chain = zeroblob(31) WHERE seq = 4", says: "malformed"},
		{change: "DELETE FROM events WHERE seq = 5", says: "event 6 of epoch 1 follows event 4"},
		{change: "DELETE FROM events WHERE seq = 1", says: "event 2 of epoch 1 follows event 0"},
		{change: "UPDATE events SET seq = 1000 - seq", says: "follows event"},
		{change: "UPDATE epochs SET device = zeroblob(16)", says: "hash chain breaks at event 1"},
		{change: "UPDATE operations SET status = 'undone'", says: "is listed as undone, its events say completed", fixable: true},
		{change: "UPDATE operations SET moved = 99", says: "its events say", fixable: true},
	} {
		t.Run(s.change, func(t *testing.T) {
			path := tempJournal(t)
			j := open(t, path, time.Unix(1, 0))
			record(t, j, "secret", 4, 0)
			record(t, j, "other", 4, 0)
			must(t, j.Close())
			change(t, path, s.change)
			j = open(t, path, time.Unix(2, 0))
			defer j.Close()
			got := troubles(t, j, false)
			if !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, s.says) }) {
				t.Errorf("Check says %q, want something with %q", got, s.says)
			}
			troubles(t, j, true)
			if got := troubles(t, j, false); (got == nil) != s.fixable {
				t.Errorf("after a fix Check says %q", got)
			}
		})
	}
}

func TestNewerSchema(t *testing.T) {
	path := tempJournal(t)
	j := open(t, path, time.Unix(1, 0))
	record(t, j, "a", 3, 0)
	must(t, j.Close())
	change(t, path, "PRAGMA user_version = 99")
	before, err := os.ReadFile(path)
	must(t, err)
	for _, readOnly := range []bool{false, true} {
		if _, err := Open(ctx, path, Options{ReadOnly: readOnly}); !errors.Is(err, ErrNewer) {
			t.Errorf("open (read-only %v): %v, want ErrNewer", readOnly, err)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the journal of a newer forg was changed")
	}
	if names, _ := filepath.Glob(filepath.Dir(path) + "/*damaged*"); names != nil {
		t.Error("it was set aside:", names)
	}
}

func TestForeignDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "photos.db")
	change(t, path, "CREATE TABLE photos (name TEXT)", "INSERT INTO photos VALUES ('mine')")
	before, err := os.ReadFile(path)
	must(t, err)
	if _, err := Open(ctx, path, Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "not a forg journal") {
		t.Errorf("read: %v", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("another program's database was changed by reading")
	}
	if _, err := Open(ctx, path, Options{}); err == nil || !strings.Contains(err.Error(), "not a forg journal") {
		t.Errorf("write: %v", err)
	}
}

func TestCorrupt(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte(strings.Repeat("this is no database ", 100)) },
		"header":      func(b []byte) []byte { copy(b[40:], "garbage garbage garbage"); copy(b, "damaged!"); return b },
		"first page":  func(b []byte) []byte { copy(b[100:4000], bytes.Repeat([]byte{0xa5}, 3900)); return b },
		"cut short":   func(b []byte) []byte { return b[:len(b)/2/4096*4096+100] },
	} {
		t.Run(name, func(t *testing.T) {
			path := tempJournal(t)
			j := open(t, path, time.Unix(1, 0))
			record(t, j, "a", 300, 0)
			must(t, j.Close())
			b, err := os.ReadFile(path)
			must(t, err)
			b = damage(b)
			must(t, os.WriteFile(path, b, 0o600))
			if _, err := Open(ctx, path, Options{ReadOnly: true}); err == nil {
				t.Error("read without complaint")
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
				t.Error("reading has changed it:", err)
			}
			_, err = Open(ctx, path, Options{Now: func() time.Time { return time.Unix(5, 0) }})
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("open: %v, want ErrCorrupt", err)
			}
			aside := path + ".damaged-19700101T000005"
			if now, err := os.ReadFile(aside); err != nil || !bytes.Equal(now, b) {
				t.Errorf("set aside, it is not the same any more: %v", err)
			}
			if !strings.Contains(err.Error(), aside) {
				t.Errorf("the error does not tell where it is: %v", err)
			}
			j = open(t, path, time.Unix(6, 0))
			record(t, j, "b", 3, 0)
			must(t, j.Close())
		})
	}
}

// TestHelperProcess is not a test: it is what other processes do in the tests below.
func TestHelperProcess(t *testing.T) {
	path := os.Getenv("FORG_TEST_JOURNAL")
	switch os.Getenv("FORG_TEST_HELPER") {
	case "hold":
		j := open(t, path, time.Unix(1, 0))
		defer j.Close()
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
	case "read":
		j, err := Open(ctx, path, Options{ReadOnly: true})
		must(t, err)
		defer j.Close()
		o, err := j.Operation(ctx, "last")
		must(t, err)
		fmt.Println("read", o.Root)
	}
}

func helper(t *testing.T, what, path string) *exec.Cmd {
	c := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	c.Env = append(os.Environ(), "FORG_TEST_HELPER="+what, "FORG_TEST_JOURNAL="+path)
	c.Stderr = os.Stderr
	return c
}

func TestLockBetweenProcesses(t *testing.T) {
	path := tempJournal(t)
	j := open(t, path, time.Unix(1, 0))
	record(t, j, "a", 2, 0)
	must(t, j.Close())
	c := helper(t, "hold", path)
	in, err := c.StdinPipe()
	must(t, err)
	defer in.Close()
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "held\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := Open(ctx, path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("while another process has it: %v, want ErrLocked", err)
	}
	start := time.Now()
	if _, err := Open(ctx, path, Options{Wait: 100 * time.Millisecond}); !errors.Is(err, ErrLocked) || time.Since(start) < 100*time.Millisecond {
		t.Errorf("waiting: %v after %v", err, time.Since(start))
	}
	r, err := Open(ctx, path, Options{ReadOnly: true})
	must(t, err)
	if _, err := r.Operation(ctx, "1"); err != nil {
		t.Error("read while it is locked:", err)
	}
	must(t, r.Close())
	time.AfterFunc(50*time.Millisecond, func() { c.Process.Kill() }) // the lock goes with the process
	w, err := Open(ctx, path, Options{Wait: 10 * time.Second})
	must(t, err)
	must(t, w.Close())
	c.Wait()
}

func TestReadOnlyFolder(t *testing.T) {
	base, err := os.MkdirTemp("", "forg-journal-")
	must(t, err)
	defer os.RemoveAll(base)
	must(t, os.Chmod(base, 0o755))
	path := filepath.Join(base, "state", "journal.db")
	j := open(t, path, time.Unix(1, 0))
	record(t, j, "a", 2, 0)
	must(t, j.Close())
	must(t, os.Chmod(path, 0o444))
	must(t, os.Chmod(filepath.Dir(path), 0o555))
	defer os.Chmod(filepath.Dir(path), 0o755)
	c := helper(t, "read", path)
	if err := asNobody(c, base); err != nil {
		t.Skip("a folder that cannot be written was not tested: ", err)
	}
	out, err := c.Output()
	if err != nil || !bytes.HasPrefix(out, []byte("read /home/a\n")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestBegunJournal(t *testing.T) {
	path := tempJournal(t)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, nil, 0o600)) // killed before the first transaction
	if _, err := Open(ctx, path, Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v, want fs.ErrNotExist", err)
	}
	j := open(t, path, time.Unix(1, 0))
	record(t, j, "a", 2, 0)
	must(t, j.Close())
}

func TestEpochs(t *testing.T) {
	path := tempJournal(t)
	id := filepath.Join(t.TempDir(), "machine-id")
	defer func(was []string) { machineIDs = was }(machineIDs)
	machineIDs = []string{id}
	want := [][2]int64{}
	events := int64(5) // that record writes: started, files, outcomes, files, finished; and folders
	events++
	epoch, seq := int64(0), int64(0)
	for i, machine := range []string{"one", "one\n", "two", "two", "one", ""} {
		if machine == "" {
			must(t, os.Remove(id)) // a machine without an id goes on
		} else {
			must(t, os.WriteFile(id, []byte(machine), 0o600))
		}
		if i == 0 || i == 2 || i == 4 {
			epoch, seq = epoch+1, 0
		}
		j := open(t, path, time.Unix(int64(i), 0))
		record(t, j, fmt.Sprint("run", i), 4, 0)
		for range events {
			seq++
			want = append(want, [2]int64{epoch, seq})
		}
		if diff := cmp.Diff(want, sequence(t, j)); diff != "" {
			t.Fatalf("run %d on machine %q: %s", i, machine, diff)
		}
		if got := troubles(t, j, false); got != nil {
			t.Error(got)
		}
		must(t, j.Close())
	}
}

func TestPrune(t *testing.T) {
	path := tempJournal(t)
	names := []string{"secret-old", "secret-undone", "recent", "old-but-undone-recently"}
	j := open(t, path, time.Unix(100, 0))
	record(t, j, names[0], 500, 0)
	undone := record(t, j, names[1], 50, 0)
	kept := record(t, j, names[3], 5, 0)
	record(t, j, names[1], 50, undone)
	must(t, j.Close())
	j = open(t, path, time.Unix(200, 0))
	record(t, j, names[2], 5, 0)
	record(t, j, names[3], 5, kept)
	bytesOf := func() []byte {
		var all []byte
		for _, ext := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + ext)
			if err == nil {
				all = append(all, b...)
			}
		}
		return all
	}
	if !bytes.Contains(bytesOf(), []byte("secret-old-77.txt")) {
		t.Fatal("the test does not find what it looks for")
	}
	n, err := j.Prune(ctx, time.Unix(150, 0), true)
	must(t, err)
	if n != 3 || !bytes.Contains(bytesOf(), []byte("secret-old-77.txt")) {
		t.Errorf("a dry run would prune %d, want 3, and changes nothing", n)
	}
	n, err = j.Prune(ctx, time.Unix(150, 0), false)
	must(t, err)
	if n != 3 {
		t.Errorf("pruned %d, want 3", n)
	}
	if b := bytesOf(); bytes.Contains(b, []byte("secret")) {
		t.Error("names of a pruned operation are still in the file")
	} else if !bytes.Contains(b, []byte("recent-3.txt")) || !bytes.Contains(b, []byte("old-but-undone-recently-3.txt")) {
		t.Error("names of other operations are gone")
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
	o, err := j.Operation(ctx, "1")
	must(t, err)
	for _, err := range j.Steps(ctx, o, false) {
		if err == nil {
			t.Error("a pruned operation has steps")
		}
	}
	if _, err := j.LastNotUndone(ctx); err != nil {
		t.Error(err)
	}
	if n, err = j.Prune(ctx, time.Unix(150, 0), false); n != 0 || err != nil {
		t.Errorf("pruned again: %d, %v", n, err)
	}
	must(t, j.Close())
	j = open(t, path, time.Unix(300, 0))
	defer j.Close()
	record(t, j, "after", 3, 0)
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
	for i, s := range sequence(t, j) {
		if s[1] != int64(i+1) {
			t.Fatalf("event %d has number %d", i+1, s[1])
		}
	}
}

// TestAsked: an operation that a server has asked for has the id that the server gave it, says by which command, and is
// there once, whoever begins it again.
func TestAsked(t *testing.T) {
	j := open(t, tempJournal(t), time.Unix(1000, 0))
	defer j.Close()
	asked := Asked{Operation: uuid.Must(uuid.NewV7()), Command: uuid.Must(uuid.NewV7())}
	dir := &Folder{Path: "/home"}
	step := []Step{{No: 1, Action: Rename, FromDir: dir, ToDir: dir, From: "a", To: "b"}}
	begin := func() (*Writer, error) {
		w, err := j.Begin(ctx, "organize", "/home", "forg agent", 1, 0)
		must(t, err)
		w.For(asked)
		return w, w.Commit(ctx, step, nil)
	}
	w, err := begin()
	must(t, err)
	if _, err := begin(); err == nil {
		t.Error("it begins twice")
	}
	must(t, w.Finish(ctx, nil, Finish{Status: Completed, Moved: 1}))
	if _, err := begin(); err == nil {
		t.Error("it begins again")
	}
	o, err := j.Operation(ctx, asked.Operation.String())
	must(t, err)
	if by, err := j.AskedBy(ctx, o); err != nil || by != asked.Command {
		t.Error(by, err)
	}
	mine, err := j.Operation(ctx, fmt.Sprint(record(t, j, "mine", 2, 0)))
	must(t, err)
	if by, err := j.AskedBy(ctx, mine); err != nil || by != uuid.Nil {
		t.Error(by, err)
	}
	if _, ok, err := j.Answered(ctx, asked.Operation); ok || err != nil {
		t.Error("answered", ok, err)
	}
	nothing := uuid.Must(uuid.NewV7()) // an undo that found nothing to do
	for _, op := range []uuid.UUID{asked.Operation, nothing} {
		a := Answer{Command: asked.Command, Undid: mine.UUID, State: "succeeded", Restored: 1}
		must(t, j.Answer(ctx, op, a))
		if got, ok, err := j.Answered(ctx, op); !ok || err != nil || got != a {
			t.Error(got, ok, err)
		}
	}
	epochs, err := j.Epochs(ctx)
	must(t, err)
	var starts []uuid.UUID
	answers := 0
	for e, err := range j.Events(ctx, epochs[0].ID, 0) {
		must(t, err)
		v, err := e.Read()
		must(t, err)
		switch v := v.(type) {
		case Start:
			starts = append(starts, v.Asked)
		case Answer:
			answers++
		}
	}
	if answers != 2 || len(starts) != 2 || starts[0] != asked.Command || starts[1] != uuid.Nil {
		t.Error(starts, answers)
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
	_, err = j.Prune(ctx, time.Unix(2000, 0), false)
	must(t, err)
	o, err = j.Operation(ctx, asked.Operation.String())
	must(t, err)
	if by, err := j.AskedBy(ctx, o); err != nil || by != uuid.Nil || !o.Pruned {
		t.Error("pruned", by, err)
	}
}
