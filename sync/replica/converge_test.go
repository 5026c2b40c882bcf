package replica_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/replica"
	"forg/sync/simnet"
)

// world is an account with several computers, some of which are copies of others.
type world struct {
	t         *rapid.T
	dir       string
	computers []*machine
	backups   int
	acked     map[uuid.UUID]string // events that some push was told are at the server, and whose they are
	at        time.Time
	faults    map[simnet.Fault]int
}

// machine is a computer of the model. A clean one is no copy, has none, and was never restored: its journal is the whole
// truth about its log.
type machine struct {
	*computer
	skew    time.Duration
	clean   bool
	restore []func()
}

// TestConverge lets devices organize, undo, prune, forget, crash, lose their sync.db, be cloned and be restored from backups,
// with clocks that jump and a network that loses, doubles, delays and cuts. Once the faults stop and everybody has synced:
// what was acknowledged is at the server, nothing is there twice, the chains are equal on both sides, and every device sees of
// every other what that one's journal says.
func TestConverge(t *testing.T) {
	h := host(t)
	dir := t.TempDir()
	runs := 0
	total := map[simnet.Fault]int{}
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := &world{t: t, dir: filepath.Join(dir, fmt.Sprint(runs)), acked: map[uuid.UUID]string{}, at: time.UnixMicro(1785574800123456), faults: total}
		email := h.account(t)
		sealed := rapid.Bool().Draw(t, "sealed")
		for i := range rapid.IntRange(2, 3).Draw(t, "devices") {
			m := &machine{computer: h.computer(t, filepath.Join(w.dir, fmt.Sprint("computer ", i)), email, fmt.Sprint("computer ", i)), clean: true}
			m.now = func() time.Time { return w.at.Add(m.skew) }
			if sealed {
				m.seal = blurred{}
			}
			w.computers = append(w.computers, m)
		}
		for range rapid.IntRange(5, 30).Draw(t, "steps") {
			w.step()
		}
		w.settle()
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("faults: %v", total)
}

func (w *world) step() {
	t := w.t
	w.at = w.at.Add(time.Duration(rapid.IntRange(1, 1000).Draw(t, "seconds")) * time.Second)
	m := rapid.SampledFrom(w.computers).Draw(t, "computer")
	switch rapid.SampledFrom([]string{"organize", "organize", "organize", "undo", "push", "push", "push", "pull", "pull", "prune", "forget", "crash",
		"clock", "lose sync.db", "backup", "restore", "clone", "again", "deliver"}).Draw(t, "what") {
	case "organize":
		w.operate(m, 0, false)
	case "undo":
		var id int64
		m.read(t, func(j *journal.Journal) {
			if o, err := j.LastNotUndone(t.Context()); err == nil {
				id = o.ID
			}
		})
		if id != 0 {
			w.operate(m, id, false)
		}
	case "crash":
		w.operate(m, 0, true)
	case "push":
		w.push(m, w.weather())
	case "pull":
		w.pull(m, w.weather())
	case "prune":
		w.settleRuns(m)
		m.write(t, func(j *journal.Journal) {
			if _, err := j.Prune(t.Context(), w.at.Add(m.skew).Add(-1000*time.Second), false); err != nil {
				t.Fatal(err)
			}
		})
	case "forget":
		all := rapid.Bool().Draw(t, "all")
		m.write(t, func(j *journal.Journal) {
			ops, err := j.Since(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(ops) > 0 {
				ops = ops[rapid.IntRange(0, len(ops)-1).Draw(t, "from"):]
				if _, err := j.Recall(t.Context(), ops[:1], all); err != nil {
					t.Fatal(err)
				}
			}
		})
	case "clock":
		m.skew = time.Duration(rapid.IntRange(-400, 400).Draw(t, "days")) * 24 * time.Hour
	case "lose sync.db":
		for _, ext := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(m.db() + ext); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	case "backup":
		w.backups++
		to := filepath.Join(w.dir, fmt.Sprint("backup ", w.backups))
		// Of both files, or of either: people copy what they think matters.
		which := rapid.SampledFrom([][]string{{"journal.db", "sync.db"}, {"journal.db"}, {"sync.db"}}).Draw(t, "files")
		m.copyTo(t, to, which...)
		backup := &computer{dir: to}
		m.restore = append(m.restore, func() {
			backup.copyTo(t, m.dir, which...)
			m.clean = m.clean && !slices.Contains(which, "journal.db")
		})
	case "restore":
		if len(m.restore) > 0 {
			rapid.SampledFrom(m.restore).Draw(t, "backup")()
		}
	case "clone":
		if len(w.computers) < 5 {
			c := *m.computer
			c.dir = filepath.Join(w.dir, fmt.Sprint("clone ", len(w.computers)))
			c.net = &simnet.Net{Base: http.DefaultTransport}
			c.client = c.server.client(t, c.token, c.net)
			m.copyTo(t, c.dir, "journal.db", "sync.db")
			clone := &machine{computer: &c, skew: m.skew}
			clone.now = func() time.Time { return w.at.Add(clone.skew) }
			m.clean = false
			w.computers = append(w.computers, clone)
		}
	case "again":
		m.replica(t, func(r *replica.Replica) {
			m.read(t, func(j *journal.Journal) {
				if rapid.IntRange(0, 2).Draw(t, "really") == 0 {
					if err := r.Again(t.Context(), j, m.id); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	case "deliver":
		m.net.Deliver()
	}
}

// operate records an operation, or an undo, as the organizer does, of a few batches with outcomes of all kinds.
func (w *world) operate(m *machine, undoes int64, cut bool) {
	t := w.t
	w.settleRuns(m)
	m.write(t, func(j *journal.Journal) {
		kind := "organize"
		if undoes != 0 {
			kind = "undo"
		}
		n := int64(rapid.IntRange(1, 6).Draw(t, "files"))
		op, err := j.Begin(t.Context(), kind, "/home/ada/"+m.name, "forg "+kind, n, undoes)
		if err != nil {
			t.Fatal(err)
		}
		from, to := &journal.Folder{Path: "/home/ada/" + m.name}, &journal.Folder{Path: "/home/ada/" + m.name + "/Gr\xfc\xdfe"}
		var steps []journal.Step
		for i := range n {
			name := fmt.Sprintf("%s %d.txt", op.UUID(), i)
			steps = append(steps, journal.Step{No: i + 1, Action: rapid.SampledFrom([]journal.Action{journal.Rename, journal.Move, journal.Trash}).Draw(t, "action"),
				FromDir: from, ToDir: to, From: name, To: name, Label: "Documents", File: journal.Identity{Size: i * 100}})
		}
		split := rapid.IntRange(0, len(steps)).Draw(t, "split")
		for _, batch := range [][]journal.Step{steps[:split], steps[split:]} {
			if len(batch) == 0 {
				continue
			}
			if err := op.Commit(t.Context(), batch, nil); err != nil {
				t.Fatal(err)
			}
		}
		if cut {
			return // killed
		}
		var outs []journal.Outcome
		for range rapid.IntRange(0, 2).Draw(t, "outcomes") {
			outs = append(outs, journal.Outcome{No: rapid.Int64Range(1, n).Draw(t, "step"), Count: 1, Err: "permission denied",
				State: rapid.SampledFrom([]journal.State{journal.Failed, journal.Skipped, journal.Lost}).Draw(t, "state")})
		}
		f := journal.Finish{Status: journal.Completed, Moved: max(0, n-int64(len(outs))), Failed: int64(len(outs)), Bytes: n * 100}
		if len(outs) > 0 {
			f.Status = journal.Partial
		}
		if undoes != 0 {
			f.RootStatus = journal.Undone
		}
		if err := op.Finish(t.Context(), outs, f); err != nil {
			t.Fatal(err)
		}
	})
}

// settleRuns does what the next forg does after one was killed.
func (w *world) settleRuns(m *machine) {
	m.write(w.t, func(j *journal.Journal) {
		running, err := j.RunningOperations(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range running {
			if err := j.Resume(o).Finish(w.t.Context(), []journal.Outcome{{No: 1, Count: 1, State: journal.NotDone}}, journal.Finish{Status: journal.Interrupted}); err != nil {
				w.t.Fatal(err)
			}
		}
	})
}

// weather is what will become of the next requests.
func (w *world) weather() func(*http.Request) (simnet.Fault, float64) {
	kinds := rapid.SliceOfN(rapid.IntRange(0, 2*simnet.Faults), 0, 5).Draw(w.t, "faults")
	part := rapid.Float64Range(0, 1).Draw(w.t, "part")
	return func(*http.Request) (simnet.Fault, float64) {
		f := simnet.None
		if len(kinds) > 0 {
			if kinds[0] < simnet.Faults {
				f = simnet.Fault(kinds[0])
			}
			kinds = kinds[1:]
		}
		w.faults[f]++
		return f, part
	}
}

func (w *world) push(m *machine, weather func(*http.Request) (simnet.Fault, float64)) bool {
	m.net.Decide = weather
	out, err := m.computer.push(w.t)
	if err != nil {
		if errors.Is(err, replica.ErrStopped) || weather == nil {
			w.t.Fatalf("push of %s: %v", m.dir, err)
		}
		return false
	}
	if m.clean && out.NewEpoch != "" {
		w.t.Fatalf("%s, which nobody has copied or restored, begins a new epoch: %s", m.dir, out.NewEpoch)
	}
	m.read(w.t, func(j *journal.Journal) {
		all := epochs(w.t, j)
		for e, err := range j.Events(w.t.Context(), all[len(all)-1].ID, 0) {
			if err != nil {
				w.t.Fatal(err)
			}
			if e.Seq > out.Acked {
				break
			}
			w.acked[e.ID] = m.dir
		}
	})
	return true
}

func (w *world) pull(m *machine, weather func(*http.Request) (simnet.Fault, float64)) {
	m.net.Decide = weather
	out, err := m.computer.pull(w.t)
	if err != nil && (errors.Is(err, replica.ErrStopped) || weather == nil) {
		w.t.Fatalf("pull of %s: %v", m.dir, err)
	}
	if len(out.Trouble) > 0 {
		w.t.Fatalf("pull of %s: %v", m.dir, out.Trouble)
	}
}

// settle lets the network be good again, and looks at what everybody has.
func (w *world) settle() {
	t := w.t
	for _, m := range w.computers {
		m.net.Deliver()
		w.settleRuns(m)
	}
	for _, m := range w.computers {
		w.push(m, nil)
	}
	for _, m := range w.computers {
		w.pull(m, nil)
	}
	entries, state := w.computers[0].log(t)

	// The server's log: each chain comes to what the state says, no event is there twice under one name of its epoch, and all
	// that was acknowledged is there.
	type name struct{ device, epoch uuid.UUID }
	heads, there := map[name]api.LogHead{}, map[uuid.UUID]int{}
	twice := map[string]bool{}
	for _, e := range entries {
		n := name{e.DeviceID, e.Epoch}
		h, ok := heads[n]
		if !ok {
			h.Chain = api.Genesis(e.DeviceID, e.Epoch)
		}
		if e.Seq != h.AckedSeq+1 {
			t.Fatalf("entry %d of %v follows %d", e.Seq, n, h.AckedSeq)
		}
		heads[n] = api.LogHead{AckedSeq: e.Seq, Chain: h.Chain.Next(e.SHA256)}
		there[e.ID]++
		key := fmt.Sprint(n, e.ID)
		if twice[key] {
			t.Fatalf("event %s is twice in %v", e.ID, n)
		}
		twice[key] = true
	}
	for _, l := range state.Logs {
		if h := heads[name{l.DeviceID, l.Epoch}]; h.AckedSeq != l.AckedSeq || l.AckedSeq > 0 && h.Chain != l.Chain {
			t.Fatalf("the state says %+v, the entries come to %+v", l, h)
		}
	}
	for id, whose := range w.acked {
		if there[id] == 0 {
			t.Fatalf("event %s of %s was acknowledged and is not there", id, whose)
		}
	}

	for _, m := range w.computers {
		var status replica.Status
		m.replica(t, func(r *replica.Replica) {
			m.read(t, func(j *journal.Journal) {
				all := epochs(t, j)
				e := all[len(all)-1]
				var err error
				if status, err = r.Status(t.Context(), m.id, e.ID, e.Last); err != nil {
					t.Fatal(err)
				}
			})
			if status.Acked != status.Last {
				t.Fatalf("%s has %d events, and %d are acknowledged", m.dir, status.Last, status.Acked)
			}
			if h := heads[name{m.id, status.Epoch}]; status.Acked > 0 && (h.AckedSeq < status.Acked || h.AckedSeq == status.Acked && h.Chain != status.Chain) {
				t.Fatalf("%s is at %d %s, the server at %+v", m.dir, status.Acked, status.Chain, h)
			}
			logs, err := r.Logs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			others := 0
			for n := range heads {
				if n.device != m.id {
					others++
				}
			}
			if len(logs) != others {
				t.Fatalf("%s has %d logs of others, of %d", m.dir, len(logs), others)
			}
			for _, l := range logs {
				if h := heads[name{l.DeviceID, l.Epoch}]; h != (api.LogHead{AckedSeq: l.AckedSeq, Chain: l.Chain}) {
					t.Fatalf("%s has of %s %d %s, the server %+v", m.dir, l.DeviceID, l.AckedSeq, l.Chain, h)
				}
			}
		})
	}
	for _, of := range w.computers {
		if !of.clean {
			continue
		}
		for _, by := range w.computers {
			if by.id != of.id {
				w.seen(of, by, entries)
			}
		}
	}
}

// seen holds what by sees of of against of's journal.
func (w *world) seen(of, by *machine, entries []api.PullEntry) {
	t := w.t
	type told struct {
		Status                            string
		Kind, Root                        string
		Processed, Skipped, Failed, Bytes int64
		Files                             []string
		Erased                            bool
		Started                           time.Time
	}
	got, want := map[uuid.UUID]told{}, map[uuid.UUID]told{}
	by.replica(t, func(r *replica.Replica) {
		var ops []replica.Operation
		for o, err := range r.Operations(t.Context(), of.id) {
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, o)
		}
		for _, o := range ops {
			x := told{Status: string(o.Status), Kind: o.Kind, Root: o.Root, Processed: o.Processed, Skipped: o.Skipped, Failed: o.Failed, Bytes: o.Bytes,
				Erased: o.Erased, Started: o.StartedAt.UTC()}
			for f, err := range r.Files(t.Context(), o) {
				if err != nil {
					t.Fatal(err)
				}
				x.Files = append(x.Files, strings.Join([]string{f.SourcePath, f.DestinationPath, f.Action, string(f.Status), f.Error}, " "))
			}
			if x.Erased { // that there was something is all that is left
				if x.Kind != "" || x.Root != "" || len(x.Files) > 0 {
					t.Fatalf("what was erased is seen as %+v", x)
				}
				x = told{Erased: true}
			}
			got[o.ID] = x
		}
	})
	of.read(t, func(j *journal.Journal) {
		recalled, err := j.RecalledOperations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ops, err := j.Since(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range ops {
			if recalled[o.UUID] {
				continue
			}
			if o.UndoneBy != 0 { // whoever prunes the undo takes its word back, which a clock that was set back can bring about
				if by, err := j.Operation(t.Context(), fmt.Sprint(o.UndoneBy)); err != nil || by.Pruned {
					o.Status = "anything"
				}
			}
			x := told{Status: string(o.Status), Kind: o.Kind, Root: o.Root, Processed: o.Moved, Skipped: o.Skipped, Failed: o.Failed, Bytes: o.Bytes, Started: o.StartedAt.UTC()}
			for s, err := range j.Steps(t.Context(), o, false) {
				if err != nil {
					t.Fatal(err)
				}
				x.Files = append(x.Files, strings.Join([]string{s.FromPath(), s.ToPath(), s.Action.String(), strings.ReplaceAll(s.State.String(), " ", "_"), s.Err}, " "))
			}
			want[o.UUID] = x
		}
	})
	// The journal says when an operation began, its log when that was written down; nothing goes by either.
	for id, x := range got {
		y, ok := want[id]
		if !ok && !x.Erased {
			t.Fatalf("%s sees operation %s of %s, whose journal has none", by.dir, id, of.dir)
		}
		if x.Started.IsZero() != y.Started.IsZero() {
			continue
		}
		x.Started, y.Started = time.Time{}, time.Time{}
		if y.Status == "anything" {
			x.Status = y.Status
		}
		if ok && !x.Erased {
			if diff := cmp.Diff(y, x); diff != "" {
				t.Fatalf("%s sees of %s operation %s (-journal +seen):\n%s", by.dir, of.dir, id, diff)
			}
		}
	}
	for id := range want {
		if _, ok := got[id]; !ok {
			t.Fatalf("%s does not see operation %s of %s", by.dir, id, of.dir)
		}
	}
	// What was forgotten before it was ever sent has left no name on the way either.
	for _, e := range entries {
		if e.DeviceID == of.id && !e.Redacted && e.KeyID == "" && e.OpID != uuid.Nil {
			if _, ok := want[e.OpID]; !ok && e.Kind != api.KindRedact {
				t.Fatalf("the server has a body of kind %s of an operation that was forgotten", e.Kind)
			}
		}
	}
}
