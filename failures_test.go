package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The failures of other organizers that take two processes, a signal or a clock to show; the others are scripts.

// program is forg with a HOME of its own.
type program struct {
	t    *testing.T
	home string
}

func newProgram(t *testing.T) *program {
	if runtime.GOOS == "windows" {
		t.Skip("NOT TESTED on Windows: signals and modes")
	}
	return &program{t, t.TempDir()}
}

func (p *program) command(args ...string) *exec.Cmd {
	c := exec.Command("forg", args...)
	c.Env = append(os.Environ(), "HOME="+p.home, "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "XDG_DATA_HOME=", "TERM=")
	return c
}

// run runs forg to its end.
func (p *program) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	return finished(p.t, p.command(args...), true)
}

func finished(t *testing.T, c *exec.Cmd, start bool) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if start {
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	} else {
		defer func() { stdout, stderr = c.Stdout.(*bytes.Buffer).String(), c.Stderr.(*bytes.Buffer).String() }()
	}
	err := c.Wait()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	code = c.ProcessState.ExitCode()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = -int(ws.Signal())
	}
	return code, out.String(), errs.String()
}

func (p *program) must(args ...string) string {
	p.t.Helper()
	code, out, errs := p.run(args...)
	if code != 0 {
		p.t.Fatalf("forg %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// fill makes n files, each with content of its own, old enough to be organized.
func fill(t *testing.T, dir string, n int, name func(int) string) {
	t.Helper()
	for i := range n {
		path := filepath.Join(dir, name(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s of %s", name(i), dir), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// contents is what all files below the folders hold, sorted.
func contents(t *testing.T, dirs ...string) []string {
	t.Helper()
	var all []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var text []byte
				text, err = os.ReadFile(path)
				all = append(all, string(text))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}

func state(t *testing.T, dir string) string {
	t.Helper()
	s, err := treeState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFailure01TwoAtOnce lets two forgs with journals of their own move equal names into one folder.
func TestFailure01TwoAtOnce(t *testing.T) {
	t.Parallel()
	const n = 1500
	dir := t.TempDir()
	name := func(i int) string { return fmt.Sprintf("f%04d.txt", i) }
	sources := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	for _, s := range sources {
		fill(t, s, n, name)
	}
	before := []string{state(t, sources[0]), state(t, sources[1])}
	want := contents(t, sources...)
	into := filepath.Join(dir, "into")
	programs := []*program{newProgram(t), newProgram(t)}
	var wg sync.WaitGroup
	reports := make([]struct{ Moved, Failed int }, 2)
	for i, p := range programs {
		wg.Go(func() {
			code, out, errs := p.run("organize", "--json", "--into", into, sources[i])
			if err := json.Unmarshal([]byte(out), &reports[i]); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if (code == 0) != (reports[i].Moved == n && reports[i].Failed == 0) || code != 0 && code != 3 {
				t.Errorf("exit code %d with %d moved, %d failed:\n%s", code, reports[i].Moved, reports[i].Failed, errs)
			}
		})
	}
	wg.Wait()
	if got := contents(t, sources[0], sources[1], into); !slices.Equal(got, want) {
		t.Fatalf("%d files with their content of %d", len(got), len(want))
	}
	if got := len(contents(t, into)); got != reports[0].Moved+reports[1].Moved {
		t.Errorf("they say %d+%d, and moved %d", reports[0].Moved, reports[1].Moved, got)
	}
	for i, p := range programs {
		p.must("undo")
		if state(t, sources[i]) != before[i] {
			t.Errorf("undo of run %d is not exact", i+1)
		}
	}
}

// interrupted starts a big run and sends it the signal when the first files have moved.
func interrupted(t *testing.T, p *program, dir string, s os.Signal) (code int, stdout, stderr string) {
	t.Helper()
	c := p.command("organize", dir)
	c.Stdout, c.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		if d, err := os.Open(filepath.Join(dir, "Documents")); err == nil {
			names, _ := d.Readdirnames(1)
			d.Close()
			if len(names) > 0 {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("nothing is moved")
		}
		time.Sleep(time.Millisecond / 5)
	}
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	return finished(t, c, false)
}

const many = 8000

// TestInterrupted stops a run in the middle with SIGINT and SIGTERM: it ends orderly, says how to undo, and undo is
// exact.
func TestInterrupted(t *testing.T) {
	for s, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			p, dir := newProgram(t), t.TempDir()
			fill(t, dir, many, func(i int) string { return fmt.Sprintf("%05d.txt", i) })
			before := state(t, dir)
			code, _, errs := interrupted(t, p, dir, s)
			moved, _ := os.ReadDir(filepath.Join(dir, "Documents"))
			if len(moved) == many {
				t.Fatalf("all was over before the signal came: raise many")
			}
			if code != want {
				t.Errorf("exit code %d, want %d: %s", code, want, errs)
			}
			if !strings.Contains(errs, "Undo with: forg undo 1") {
				t.Errorf("it does not say how to undo: %q", errs)
			}
			if out := p.must("history"); !strings.Contains(out, "interrupted") {
				t.Errorf("history: %s", out)
			}
			p.must("undo")
			if state(t, dir) != before {
				t.Error("undo is not exact")
			}
		})
	}
}

// TestFailure15Killed kills a run in the middle: the next forg finds out what was done, and undo is exact.
func TestFailure15Killed(t *testing.T) {
	t.Parallel()
	p, dir := newProgram(t), t.TempDir()
	fill(t, dir, many, func(i int) string { return fmt.Sprintf("%05d.txt", i) })
	before := state(t, dir)
	if code, _, _ := interrupted(t, p, dir, syscall.SIGKILL); code != -int(syscall.SIGKILL) {
		t.Fatalf("exit code %d: it was not killed", code)
	}
	moved, _ := os.ReadDir(filepath.Join(dir, "Documents"))
	code, out, errs := p.run("history")
	if code != 0 || !strings.Contains(errs, "Operation 1 was cut short") || !strings.Contains(out, "interrupted") {
		t.Errorf("history after the kill: exit code %d\n%s%s", code, out, errs)
	}
	out = p.must("undo", "--json")
	var report struct{ Restored int }
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Restored != len(moved) {
		t.Errorf("%d files had moved, undo restored %d (%v)", len(moved), report.Restored, err)
	}
	if state(t, dir) != before {
		t.Error("undo is not exact")
	}
	if out := p.must("doctor"); strings.Contains(out, "wrong") {
		t.Errorf("doctor: %s", out)
	}
}

// TestFailure34EqualNames moves equal names of many folders into one: twice the names must not take four times the work.
// It is the processor's time of forg, to which a machine that does something else adds little; bench has the suite names.
func TestFailure34EqualNames(t *testing.T) {
	run := func(n int) time.Duration {
		p, dir := newProgram(t), t.TempDir()
		fill(t, dir, n, func(i int) string { return filepath.Join(fmt.Sprint(i), "x.txt") })
		c := p.command("organize", "-r", "--duplicates", "report", dir)
		if code, out, errs := finished(t, c, true); code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		}
		took := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		moved, err := os.ReadDir(filepath.Join(dir, "Documents"))
		if err != nil || len(moved) != n {
			t.Fatalf("%d of %d moved (%v)", len(moved), n, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "Documents", fmt.Sprintf("x (%d).txt", n))); err != nil {
			t.Error(err)
		}
		return took
	}
	few, more := run(500), run(4000)
	t.Logf("500 names: %v, 4000: %v", few, more)
	if more > 24*few+2*time.Second { // eight times is linear, 64 times is probing from 2 for each
		t.Errorf("500 equal names take %v, 4000 take %v: that is not linear", few, more)
	}
}
