//go:build linux

package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed peers/baseline.c
var baselineC []byte

// Bench is one run of the program: where it works, and what it runs.
type Bench struct {
	quick          bool
	rounds, warmup int
	n              int
	seed           uint64
	root           string // of the repository
	work, tmpfs    string // folders of our own, removed at the end

	forg, c, hello   string // "" where forg is not measured
	fd, organize, f2 string // "" where not installed
	forgWasGiven     bool
}

// Variant is one command of an interleaved table. Setup and Check are outside the timing; Check says whether the
// command did its work, so that nothing fast and wrong gets into a table.
type Variant struct {
	Name  string
	Setup func() error
	Argv  []string
	Env   []string
	Dir   string
	Check func() error
}

func (b *Bench) open() error {
	for _, dir := range []*string{&b.work, &b.tmpfs} {
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			return err
		}
		own, err := os.MkdirTemp(*dir, "run-")
		if err != nil {
			return err
		}
		*dir = own
	}
	b.c = filepath.Join(b.work, "baseline")
	source := filepath.Join(b.work, "baseline.c")
	if err := os.WriteFile(source, baselineC, 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("cc", "-O2", "-Wall", "-o", b.c, source).CombinedOutput(); err != nil {
		b.close()
		return fmt.Errorf("cc baseline.c: %w\n%s", err, out)
	}
	b.fd = program("FD", "fd", "fdfind")
	b.organize = program("ORGANIZE", "organize")
	b.f2 = program("F2", "f2")
	switch given := os.Getenv("FORG"); given {
	case "none":
	case "":
		b.forg = filepath.Join(b.work, "forg")
		if err := b.goBuild(b.forg, b.root, "."); err != nil {
			b.close()
			return err
		}
	default:
		b.forg, b.forgWasGiven = given, true
		if abs, err := filepath.Abs(given); err == nil && strings.ContainsRune(given, '/') {
			b.forg = abs
		}
	}
	return nil
}

func (b *Bench) close() {
	os.RemoveAll(b.work)
	os.RemoveAll(b.tmpfs)
}

func (b *Bench) goBuild(out, dir, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return nil
}

func program(env string, names ...string) string {
	if p := os.Getenv(env); p != "" {
		return p
	}
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	return ""
}

// size is the suite's own number of files, or what the flags say.
func (b *Bench) size(n int) int {
	switch {
	case b.n > 0:
		return min(n, b.n)
	case b.quick:
		return min(n, 10000)
	}
	return n
}

// tree is a tree of that kind in a folder of its own on the file system to measure.
func (b *Bench) tree(kind string, n int) (string, error) {
	dir := filepath.Join(b.work, "trees", kind)
	fmt.Fprintf(os.Stderr, "   building %s, %d files\n", kind, n)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := (Tree{Kind: kind, N: n, Seed: b.seed}).Build(dir); err != nil {
		return "", err
	}
	return dir, b.flush()
}

// home is the environment of one run: every XDG folder inside dir.
func home(dir string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "TMPDIR=" + dir, "NO_COLOR=1",
		"XDG_STATE_HOME=" + dir + "/state", "XDG_CONFIG_HOME=" + dir + "/config",
		"XDG_CACHE_HOME=" + dir + "/cache", "XDG_DATA_HOME=" + dir + "/data",
	}
}

// fresh empties a home, so that the journal in it is cold.
func fresh(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, sub := range []string{"state", "config", "cache", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// flush writes out what setup left dirty, so that the timed command does not pay for it.
func (b *Bench) flush() error {
	for _, dir := range []string{b.work, b.tmpfs} {
		if out, err := exec.Command("sync", "-f", dir).CombinedOutput(); err != nil {
			return fmt.Errorf("sync -f: %w: %s", err, out)
		}
	}
	return nil
}

// tail keeps the end of what a command wrote to stderr.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-2000):]
	return len(p), nil
}

// forgetPeak makes the most memory that this process has used be what it uses now: Linux begins a child's ru_maxrss with
// that of whoever started it (setmax_mm_hiwater_rss in exec_mmap of fs/exec.c).
func forgetPeak() error {
	debug.FreeOSMemory()
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // proc(5)
}

// timed runs one command to its end; an exit code other than 0 is an error.
func timed(v Variant) (Sample, error) {
	cmd := exec.Command(v.Argv[0], v.Argv[1:]...)
	cmd.Env, cmd.Dir = v.Env, v.Dir
	var msg tail
	cmd.Stderr = &msg
	if err := forgetPeak(); err != nil {
		return Sample{}, err
	}
	start := time.Now()
	err := cmd.Run()
	s := Sample{Wall: time.Since(start)}
	if err != nil {
		return s, fmt.Errorf("%s: %s: %w\n%s", v.Name, strings.Join(v.Argv, " "), err, msg.b)
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	s.RSS = u.Maxrss * 1024
	return s, nil
}

// interleave runs every variant once a round, another one first each time, and returns the samples of the rounds
// after the warm-up.
func (b *Bench) interleave(title string, variants ...Variant) (*Section, error) {
	sec := &Section{Title: title, Runs: map[string][]Sample{}}
	variants = slices.DeleteFunc(variants, func(v Variant) bool { return len(v.Argv) == 0 || v.Argv[0] == "" })
	for _, v := range variants {
		sec.Order = append(sec.Order, v.Name)
	}
	for round := range b.warmup + b.rounds {
		for k := range variants {
			v := variants[(round+k)%len(variants)]
			if v.Setup != nil {
				if err := v.Setup(); err != nil {
					return nil, fmt.Errorf("before %s: %w", v.Name, err)
				}
			}
			if err := b.flush(); err != nil {
				return nil, err
			}
			s, err := timed(v)
			if err != nil {
				return nil, err
			}
			if v.Check != nil {
				if err := v.Check(); err != nil {
					return nil, fmt.Errorf("after %s: %w", v.Name, err)
				}
			}
			if b.rounds < 20 {
				fmt.Fprintf(os.Stderr, "   %d %-28s %s\n", round, v.Name, seconds(s.Wall.Seconds()))
			}
			if round >= b.warmup {
				sec.Runs[v.Name] = append(sec.Runs[v.Name], s)
			}
		}
	}
	return sec, nil
}

// baseline runs the C program untimed.
func (b *Bench) baseline(args ...string) (string, error) {
	out, err := exec.Command(b.c, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("baseline %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// count says how many files lie directly in dir and how many in all.
func (b *Bench) count(dir string) (top, all int, err error) {
	out, err := b.baseline("count", dir)
	if err == nil {
		_, err = fmt.Sscan(out, &top, &all)
	}
	return top, all, err
}

// restore brings a flat tree back to what it was, and is sure that nothing is missing.
func (b *Bench) restore(dir string, n int) func() error {
	return func() error {
		if _, err := b.baseline("back", dir); err != nil {
			return err
		}
		return b.expect(dir, n, n)()
	}
}

// expect checks how many files lie directly in dir and how many in all.
func (b *Bench) expect(dir string, top, all int) func() error {
	return func() error {
		t, a, err := b.count(dir)
		if err == nil && (t != top || a != all) {
			err = fmt.Errorf("%s: %d files at the top and %d in all, want %d and %d", dir, t, a, top, all)
		}
		return err
	}
}

// chain is several steps in a row, up to the first that fails.
func chain(steps ...func() error) func() error {
	return func() error {
		for _, s := range steps {
			if err := s(); err != nil {
				return err
			}
		}
		return nil
	}
}

// command is a step that runs a command untimed.
func command(env []string, argv ...string) func() error {
	return func() error {
		_, err := timed(Variant{Name: "setup", Argv: argv, Env: env})
		return err
	}
}

func loadavg() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// header says when, what, where, and how to do it again.
func (b *Bench) header(suite, load string) string {
	commit := output("git", "-C", b.root, "rev-parse", "--short", "HEAD")
	if output("git", "-C", b.root, "status", "--porcelain", "--untracked-files=no") != "" {
		commit += " and changes"
	}
	switch {
	case b.forg == "":
		commit += ", without forg"
	case b.forgWasGiven:
		commit += ", forg as given by FORG"
	}
	args := suite
	if b.n > 0 {
		args = fmt.Sprintf("-n %d %s", b.n, args)
	}
	if b.rounds != 5 && !b.quick {
		args = fmt.Sprintf("-rounds %d %s", b.rounds, args)
	}
	if b.quick {
		args = "-quick " + args
	}
	return fmt.Sprintf("%s, commit %s, load before %s; %s, %d rounds. Again: `go run ./bench run %s`\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), commit, load, machine(b.work), b.rounds, args)
}

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(out))
}

func machine(dir string) string {
	field := func(file, key string) string {
		data, _ := os.ReadFile(file)
		for line := range bytes.Lines(data) {
			if k, v, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	var kb int
	fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kb)
	cpu := field("/proc/cpuinfo", "model name")
	if len(cpu) < 4 { // some virtual machines give a bare number
		cpu = fmt.Sprintf("%s family %s model %s", field("/proc/cpuinfo", "vendor_id"),
			field("/proc/cpuinfo", "cpu family"), field("/proc/cpuinfo", "model"))
	}
	return fmt.Sprintf("%s, %d cores, %.0f GB, %s, Linux %s, %s", cpu, runtime.NumCPU(), float64(kb)/1e6,
		fsType(dir), output("uname", "-r"), runtime.Version())
}

// fsType is the last word of df's answer: "Type\next4".
func fsType(dir string) string {
	words := strings.Fields(output("df", "--output=fstype", dir))
	return strings.Join(words[max(0, len(words)-1):], "")
}

var errNoForg = errors.New("needs forg")
