package cmd

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"forg/sync/api"
)

// TestCarryNothingOnce: a command that found nothing to do is not carried out when it is handed out once more, later, when
// there would be something.
func TestCarryNothingOnce(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	env := map[string]string{"HOME": state, "XDG_STATE_HOME": state, "XDG_CONFIG_HOME": state, "XDG_CACHE_HOME": state, "XDG_DATA_HOME": state}
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(name string) string { return env[name] }, now: time.Now,
		journal: filepath.Join(state, "journal.db"), progress: "never", color: "never"}
	var f agentFlags
	fl := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(fl)
	if err := fl.Parse([]string{"--allow", "organize", "--folders", "downloads=" + dir, "--min-age", "0s"}); err != nil {
		t.Fatal(err)
	}
	d, err := f.device(a)
	if err != nil {
		t.Fatal(err)
	}
	c := &api.Command{ID: uuid.New(), Kind: api.CommandOrganize, OperationID: uuid.Must(uuid.NewV7()), Root: "downloads"}
	begun := 0
	carry := func() api.CommandState {
		t.Helper()
		answer, err := d.Carry(t.Context(), c, func() error { begun++; return nil }, func(api.Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		return answer.State
	}
	if s := carry(); s != api.CommandSucceeded || begun != 1 {
		t.Fatalf("with nothing to do it is %s, begun %d times", s, begun)
	}
	file := filepath.Join(dir, "later.pdf")
	if err := os.WriteFile(file, []byte("later"), 0o600); err != nil {
		t.Fatal(err)
	}
	if done, err := d.Done(t.Context(), c); err != nil || done == nil || done.State != api.CommandSucceeded {
		t.Errorf("the journal says of it: %v, %v", done, err)
	}
	if s := carry(); s != api.CommandSucceeded || begun != 1 {
		t.Errorf("the second time it is %s, begun %d times", s, begun)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the second time a file was moved: %v", err)
	}
	c.ID, c.OperationID = uuid.New(), uuid.Must(uuid.NewV7())
	if s := carry(); s != api.CommandSucceeded || begun != 2 {
		t.Errorf("another one is %s, begun %d times", s, begun)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("another one has moved nothing")
	}
}
