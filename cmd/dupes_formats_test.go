package cmd

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// A report is there complete or not at all, and what was there before stays until it is.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "report")
	write := func(text string, end error) error {
		return writeWhole(name, func(w io.Writer) error {
			io.WriteString(w, text)
			return end
		})
	}
	check := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != len(want)/2 {
			t.Fatalf("%v", entries)
		}
		for i := 0; i < len(want); i += 2 {
			if text, err := os.ReadFile(filepath.Join(dir, want[i])); err != nil || string(text) != want[i+1] {
				t.Fatalf("%s: %q, %v", want[i], text, err)
			}
		}
	}
	broken := errors.New("broken")
	if err := write("half", broken); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	check()
	if err := write("first", nil); err != nil {
		t.Fatal(err)
	}
	check("report", "first")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := write("half", broken); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	check("report", "first")
	if err := write("second", nil); err != nil {
		t.Fatal(err)
	}
	check("report", "second")
	if st, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o640 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
	// What came while the report was written is not replaced.
	os.Remove(name)
	if err := writeWhole(name, func(w io.Writer) error { return os.WriteFile(name, []byte("theirs"), 0o644) }); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	check("report", "theirs")
	os.Remove(name)
	if err := writeWhole(name, func(w io.Writer) error { return os.Mkdir(name, 0o755) }); err == nil {
		t.Fatal("a folder was replaced")
	}
}
