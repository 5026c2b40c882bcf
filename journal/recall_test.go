package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMovedAndNewEpoch: a journal that was carried elsewhere says so to whoever only reads, until somebody writes; and one can
// be told to begin a new epoch of the same device.
func TestMovedAndNewEpoch(t *testing.T) {
	path := tempJournal(t)
	id := filepath.Join(t.TempDir(), "machine-id")
	defer func(was []string) { machineIDs = was }(machineIDs)
	machineIDs = []string{id}
	moved := func(want bool) {
		t.Helper()
		r, err := Open(ctx, path, Options{ReadOnly: true})
		must(t, err)
		defer r.Close()
		if got, err := r.Moved(ctx); err != nil || got != want {
			t.Errorf("moved: %v, %v", got, err)
		}
	}
	must(t, os.WriteFile(id, []byte("one"), 0o600))
	j := open(t, path, time.Unix(1, 0))
	record(t, j, "a", 2, 0)
	moved(false)
	must(t, j.Close())
	must(t, os.WriteFile(id, []byte("two"), 0o600))
	moved(true)
	j = open(t, path, time.Unix(2, 0))
	moved(false)
	record(t, j, "b", 2, 0)
	must(t, j.NewEpoch(ctx, 0))
	moved(false)
	record(t, j, "c", 2, 0)
	all, err := j.Epochs(ctx)
	must(t, err)
	if len(all) != 3 || all[0].Device == all[1].Device || all[1].Device != all[2].Device || all[1].ID == all[2].ID || all[2].Last == 0 {
		t.Errorf("%+v", all)
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
	must(t, j.Close())
	j = open(t, path, time.Unix(3, 0)) // and it goes on there
	defer j.Close()
	record(t, j, "d", 2, 0)
	again, err := j.Epochs(ctx)
	must(t, err)
	if len(again) != 3 || again[2].Last != 2*all[2].Last {
		t.Errorf("%+v", again)
	}
}

// TestRecall: an operation is recalled once, with what undid and redid it, whichever of them is named; and it can be undone, and
// pruned, as before.
func TestRecall(t *testing.T) {
	j := open(t, tempJournal(t), time.Unix(1000, 0))
	defer j.Close()
	first := record(t, j, "first", 2, 0)
	other := record(t, j, "other", 2, 0)
	undo := record(t, j, "undo", 2, first)
	find := func(id int64) Operation {
		t.Helper()
		ops, err := j.Since(ctx, id-1)
		must(t, err)
		return ops[0]
	}
	n, err := j.Recall(ctx, []Operation{find(undo)}, false)
	if err != nil || n != 2 {
		t.Fatal(n, err)
	}
	redo := record(t, j, "redo", 2, first)
	all, err := j.RecalledOperations(ctx)
	must(t, err)
	for id, want := range map[int64]bool{first: true, undo: true, redo: true, other: false} {
		if all[find(id).UUID] != want {
			t.Errorf("operation %d is recalled: %v", id, !want)
		}
	}
	if n, err = j.Recall(ctx, nil, true); err != nil || n != 2 { // the redo, and the other
		t.Error(n, err)
	}
	if n, err = j.Recall(ctx, nil, true); err != nil || n != 0 {
		t.Error(n, err)
	}
	recalled := 0
	epochs, err := j.Epochs(ctx)
	must(t, err)
	for e, err := range j.Events(ctx, epochs[0].ID, 0) {
		must(t, err)
		v, err := e.Read()
		must(t, err)
		if _, ok := v.(Recalled); ok {
			recalled++
		}
	}
	if recalled != 4 {
		t.Errorf("%d events say so", recalled)
	}
	if steps, err := collect(j.Steps(ctx, find(first), false)); err != nil || len(steps) == 0 {
		t.Error("its steps are not known any more: ", err)
	}
	if n, err := j.Prune(ctx, time.Unix(2000, 0), false); err != nil || n != 4 {
		t.Error(n, err)
	}
	if all, err := j.RecalledOperations(ctx); err != nil || len(all) != 4 {
		t.Error(all, err)
	}
	if got := troubles(t, j, false); got != nil {
		t.Error(got)
	}
}
