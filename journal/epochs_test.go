package journal

import (
	"path/filepath"
	"testing"
)

// TestNewEpochs: a new epoch is of the same device or, if that is wanted, of a new one; both last, and the journal is as right
// as before.
func TestNewEpochs(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := Open(ctx, path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.NewEpoch(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := j.NewDevice(ctx); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = Open(ctx, path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	all, err := j.Epochs(ctx)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	if all[0].Device != all[1].Device || all[1].Device == all[2].Device || all[0].ID == all[1].ID || all[1].ID == all[2].ID {
		t.Error(all)
	}
	if troubles, err := j.Check(ctx, false); err != nil || len(troubles) > 0 {
		t.Error(troubles, err)
	}
}
