package cachedb

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What is no file of ours keeps its mode and its content: as root a cache that led to /dev/null took it from everybody.
func TestNotAFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("LINKS NOT TESTED: making one needs a privilege here")
	}
	dir := t.TempDir()
	own := filepath.Join(dir, "letter.txt")
	if err := os.WriteFile(own, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link.db": own, "null.db": os.DevNull} {
		path := filepath.Join(dir, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(target)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := Open(path, Format{Application: 1, Version: 1, Schema: "CREATE TABLE t (a)"}, func(*DB) error { return nil }); err == nil {
			d.Close()
			t.Errorf("%s: opened", name)
		} else if !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Stat(target)
		if err != nil || after.Mode() != before.Mode() || after.Size() != before.Size() {
			t.Errorf("%s: %v, was %v, %v", name, after, before.Mode(), err)
		}
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
	}
}
