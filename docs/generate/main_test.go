package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"forg/cmd"
)

func TestGenerate(t *testing.T) {
	date := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := generate(dir, date); err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err := fs.WalkDir(os.DirFS(one), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		a, b := read(t, one, path), read(t, two, path)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs from run to run", path)
		}
		if len(a) == 0 {
			t.Errorf("%s is empty", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := commands(cmd.Root())
	if want := len(all) + 4; files != want {
		t.Errorf("%d files for %d commands and 4 shells", files, len(all))
	}
	for _, c := range all {
		page := string(read(t, one, "man1/"+pageName(c)+".1"))
		for _, want := range []string{`"2026-07-01"`, ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXIT STATUS\n.TP\n.B 0\n", ".SH EXAMPLES\n.EX\n  ", ".SH SEE ALSO\n.BR "} {
			if !strings.Contains(page, want) {
				t.Errorf("the page of %q lacks %q", c.CommandPath(), want)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing about itself", c.CommandPath(), f.Name)
			}
		})
	}
}

// TestPageText shows that what a help text says arrives in the page, whatever it looks like to roff.
func TestPageText(t *testing.T) {
	for in, want := range map[string]string{
		`.part and 'quotes'`:    `\&.part and \(aqquotes\(aq`,
		`C:\x --on-conflict ~/`: `C:\ex \-\-on\-conflict \(ti/`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSourceDate(t *testing.T) {
	if d, err := sourceDate(""); err != nil || !d.IsZero() {
		t.Errorf("without an epoch: %v, %v", d, err)
	}
	if d, err := sourceDate("1782864000"); err != nil || d.Format(time.DateOnly) != "2026-07-01" {
		t.Errorf("with one: %v, %v", d, err)
	}
	if _, err := sourceDate("tomorrow"); err == nil {
		t.Error("an epoch that is no number is accepted")
	}
}

// TestBashCompletion asks bash itself whether the script is one.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		return // nothing here would read it
	}
	dir := t.TempDir()
	if err := generate(dir, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bash, "-n", filepath.Join(dir, "completions", "forg.bash")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func read(t *testing.T, dir, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
