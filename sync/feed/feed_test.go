package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/journal"
	"forg/sync/api"
)

// server is the part of one that keeps a log.
type server struct {
	head api.LogHead
	log  []api.Entry
}

// sync pushes all that there is, sometimes twice, as a client whose answers get lost.
func (s *server) sync(t *rapid.T, j *journal.Journal, device uuid.UUID, epoch journal.Epoch, l api.Limits) {
	for {
		req, err := Next(t.Context(), j, device, epoch.ID, s.head, l)
		if err != nil {
			t.Fatal(err)
		}
		if req == nil {
			return
		}
		b, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) > l.MaxDecodedBytes || len(req.Entries) > l.MaxEntries {
			t.Fatalf("a push has %d bytes and %d entries", len(b), len(req.Entries))
		}
		for range rapid.IntRange(1, 2).Draw(t, "times") {
			got, err := api.ReadPush(bytes.NewReader(b), l)
			if err != nil {
				t.Fatal(err)
			}
			fresh, next, err := s.head.Extend(got, func(seq int64) (api.Hash, bool) { return s.log[seq-1].SHA256, true })
			if err != nil {
				t.Fatal(err)
			}
			s.log, s.head = append(s.log, fresh...), next
		}
	}
}

// files are an operation's records as a server would show them.
func (s *server) files(t *rapid.T, op uuid.UUID, status api.OperationStatus) (all []api.FileRecord) {
	var outs api.OutcomeSet
	for i := range s.log {
		if s.log[i].OpID != op {
			continue
		}
		b, err := s.log[i].Decode()
		if err != nil {
			t.Fatal(err)
		}
		switch b := b.(type) {
		case api.Files:
			all = append(all, b...)
		case *api.Outcomes:
			outs.Add(b.Outcomes)
		}
	}
	for i := range all {
		outs.Apply(&all[i], status)
	}
	return all
}

// TestServerSeesTheJournal: whatever an operation did, and however its log was cut into pushes, a server shows what the
// journal says of every file.
func TestServerSeesTheJournal(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		at := time.UnixMicro(1785574800123456)
		j, err := journal.Open(t.Context(), filepath.Join(dir, fmt.Sprint(runs), "journal.db"), journal.Options{Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		epochs, err := j.Epochs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		device := uuid.New()
		s := &server{head: api.LogHead{Chain: api.Genesis(device, epochs[0].ID)}}
		limits := api.DefaultLimits()
		limits.MaxEntries = rapid.IntRange(1, 5).Draw(t, "entries")
		limits.MaxCompressedBytes = rapid.Int64Range(3000, 10000).Draw(t, "bytes")
		states := rapid.SampledFrom([]journal.State{journal.Done, journal.Skipped, journal.Failed, journal.NotDone, journal.Lost, journal.Copying, journal.Copied, journal.Started})
		from, to := &journal.Folder{Path: "/home/ada"}, &journal.Folder{Path: "/home/ada/Größe \xff"}
		var last int64
		for range rapid.IntRange(1, 3).Draw(t, "operations") {
			undoes, kind := int64(0), "organize"
			if last != 0 && rapid.Bool().Draw(t, "undo") {
				undoes, kind = last, "undo"
			}
			w, err := j.Begin(t.Context(), kind, "/home/ada", "forg organize", 3, undoes)
			if err != nil {
				t.Fatal(err)
			}
			no := int64(0)
			var outs []journal.Outcome
			for range rapid.IntRange(1, 3).Draw(t, "batches") {
				var steps []journal.Step
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					no++
					st := journal.Step{No: no, Action: rapid.SampledFrom([]journal.Action{journal.Rename, journal.Move, journal.Mkdir, journal.Rmdir, journal.Copy, journal.Exec}).Draw(t, "action"),
						FromDir: from, ToDir: to, From: fmt.Sprint(no, ".txt"), To: fmt.Sprint(no, " (2).txt"), Label: "Documents", File: journal.Identity{Size: no * 100}}
					switch st.Action {
					case journal.Mkdir:
						st.FromDir, st.From = nil, ""
					case journal.Rmdir:
						st.ToDir, st.To = nil, ""
					}
					steps = append(steps, st)
				}
				if err := w.Commit(t.Context(), steps, outs); err != nil {
					t.Fatal(err)
				}
				outs = nil
				for range rapid.IntRange(0, 4).Draw(t, "outcomes") {
					o := journal.Outcome{No: rapid.Int64Range(1, no).Draw(t, "no"), Count: 1, State: states.Draw(t, "state")}
					switch o.State {
					case journal.Copied:
						o.Hash = bytes.Repeat([]byte{byte(o.No)}, 32)
					case journal.Failed, journal.Skipped:
						o.Err = "permission denied"
					case journal.NotDone:
						o.Count = rapid.Int64Range(1, no-o.No+1).Draw(t, "count")
					}
					outs = append(outs, o)
				}
				if rapid.IntRange(0, 3).Draw(t, "push now") == 0 {
					s.sync(t, j, device, epochs[0], limits)
				}
			}
			f := journal.Finish{Status: rapid.SampledFrom([]journal.Status{journal.Completed, journal.Partial, journal.Interrupted}).Draw(t, "status"), Moved: no}
			if rapid.Bool().Draw(t, "folders") {
				f.Folders = []journal.FolderTime{{Path: "/home/ada", Mtime: 1}}
			}
			if err := w.Finish(t.Context(), outs, f); err != nil {
				t.Fatal(err)
			}
			if undoes == 0 {
				last = w.ID()
			}
		}
		s.sync(t, j, device, epochs[0], limits)
		if now, err := j.Epochs(t.Context()); err != nil || now[0].Last != s.head.AckedSeq {
			t.Fatalf("the server has %d of %+v, %v", s.head.AckedSeq, now, err)
		}
		ops, err := j.Since(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range ops {
			var want []api.FileRecord
			for r, err := range j.Steps(t.Context(), o, false) {
				if err != nil {
					t.Fatal(err)
				}
				rec := api.FileRecord{OperationID: o.UUID, Seq: r.No, SourcePath: r.FromPath(), DestinationPath: r.ToPath(), Size: r.File.Size,
					Category: "Documents", Action: r.Action.String(), Error: r.Err}
				rec.Status = api.FileStatus(strings.ReplaceAll(r.State.String(), " ", "_"))
				switch r.State {
				case journal.Done:
					rec.MovedAt = at.UTC()
				case journal.Started:
					rec.Status = api.FileUnknown
				}
				if len(r.Hash) > 0 {
					rec.ContentHash = fmt.Sprintf("blake3:%x", r.Hash)
				}
				if strings.Contains(rec.DestinationPath, "\xff") {
					rec.DestinationPathBytes = []byte(rec.DestinationPath)
				}
				want = append(want, rec)
			}
			if diff := cmp.Diff(want, s.files(t, o.UUID, api.OperationStatus(o.Status))); diff != "" {
				t.Fatal(diff)
			}
		}

		// What is pruned is redacted on the server, and what was never pushed leaves no name behind.
		before := s.head
		pruned, err := j.Prune(t.Context(), at.Add(time.Hour), false)
		if err != nil {
			t.Fatal(err)
		}
		s.sync(t, j, device, epochs[0], limits)
		for _, e := range s.log[before.AckedSeq:] {
			if e.Kind != api.KindRedact || e.OpID == uuid.Nil {
				t.Fatalf("a pruned operation is told as %s", e.Kind)
			}
		}
		if n := s.head.AckedSeq - before.AckedSeq; n != pruned {
			t.Fatalf("%d of %d pruned operations are redacted", n, pruned)
		}
		late := &server{head: api.LogHead{Chain: api.Genesis(device, epochs[0].ID)}}
		late.sync(t, j, device, epochs[0], limits)
		if late.head.AckedSeq != s.head.AckedSeq {
			t.Fatal("another length")
		}
		for _, e := range late.log[:before.AckedSeq] {
			if e.Kind != api.KindVoid || e.OpID != uuid.Nil || string(e.Body) != "{}" {
				t.Fatalf("what was forgotten is told as %s", e.Kind)
			}
		}
	})
}

// TestAsked: the server hears which command an operation carries out, and what became of a rollback.
func TestAsked(t *testing.T) {
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	w, err := j.Begin(t.Context(), "organize", "/", "", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	asked := journal.Asked{Operation: uuid.Must(uuid.NewV7()), Command: uuid.Must(uuid.NewV7())}
	w.For(asked)
	dir := &journal.Folder{Path: "/"}
	if err := w.Commit(t.Context(), []journal.Step{{No: 1, Action: journal.Rename, FromDir: dir, ToDir: dir, From: "a", To: "b"}}, nil); err != nil {
		t.Fatal(err)
	}
	of := uuid.Must(uuid.NewV7())
	if err := j.Answer(t.Context(), asked.Operation, journal.Answer{Command: asked.Command, Undid: of, State: "partial", Restored: 1, Skipped: 2, Error: "why"}); err != nil {
		t.Fatal(err)
	}
	epochs, err := j.Epochs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	device := uuid.New()
	req, err := Next(t.Context(), j, device, epochs[0].ID, api.LogHead{Chain: api.Genesis(device, epochs[0].ID)}, api.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	first, err := req.Entries[0].Decode()
	if s, ok := first.(*api.Started); err != nil || !ok || s.CommandID != asked.Command || req.Entries[0].OpID != asked.Operation {
		t.Errorf("%+v %v", first, err)
	}
	last, err := req.Entries[2].Decode()
	want := &api.RollbackResult{CommandID: asked.Command, RollbackOf: of, State: api.CommandPartial, Restored: 1, Skipped: 2, Error: "why"}
	if err != nil || req.Entries[2].OpID != asked.Operation {
		t.Error(err)
	}
	if diff := cmp.Diff(api.Body(want), last); diff != "" {
		t.Error(diff)
	}
}

// TestNoRoom: an event that the server cannot take does not hold up those that follow.
func TestNoRoom(t *testing.T) {
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	w, err := j.Begin(t.Context(), "organize", "/", "", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := &journal.Folder{Path: "/" + strings.Repeat("x", api.MaxPath)}
	if err := w.Commit(t.Context(), []journal.Step{{No: 1, Action: journal.Rename, FromDir: dir, ToDir: dir, From: "a", To: "b"}}, nil); err != nil {
		t.Fatal(err)
	}
	long := []journal.Outcome{{No: 1, State: journal.Failed, Err: strings.Repeat("é", 5000)}}
	if err := w.Finish(t.Context(), long, journal.Finish{Status: journal.FailedOp}); err != nil {
		t.Fatal(err)
	}
	epochs, err := j.Epochs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	device := uuid.New()
	req, err := Next(t.Context(), j, device, epochs[0].ID, api.LogHead{Chain: api.Genesis(device, epochs[0].ID)}, api.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range req.Entries {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff([]string{api.KindStarted, api.KindVoid, api.KindOutcomes, api.KindFinished}, kinds); diff != "" {
		t.Error(diff)
	}
	b, err := req.Entries[2].Decode()
	if o, ok := b.(*api.Outcomes); err != nil || !ok || len(o.Outcomes[0].Error) != maxMessage {
		t.Error(b, err)
	}
}

func BenchmarkNext(b *testing.B) {
	j, err := journal.Open(b.Context(), filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	w, err := j.Begin(b.Context(), "organize", "/home/ada", "", 1, 0)
	if err != nil {
		b.Fatal(err)
	}
	n := journal.BatchSize()
	from, to := &journal.Folder{Path: "/home/ada"}, &journal.Folder{Path: "/home/ada/Images"}
	steps := make([]journal.Step, n)
	for i := range steps {
		name := fmt.Sprintf("IMG_%d.jpg", i)
		steps[i] = journal.Step{No: int64(i) + 1, Action: journal.Rename, FromDir: from, ToDir: to, From: name, To: name, Label: "Images", File: journal.Identity{Size: int64(i) * 7919 % 5e6}}
	}
	if err := w.Commit(b.Context(), steps, nil); err != nil {
		b.Fatal(err)
	}
	epochs, err := j.Epochs(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		req, err := Next(b.Context(), j, uuid.Max, epochs[0].ID, api.LogHead{}, api.DefaultLimits())
		if err != nil || len(req.Entries) != 2 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
}
