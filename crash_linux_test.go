package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCrash kills the real forg at the entry of its n-th system call of some kind, for many kinds and n, while it
// organizes, undoes, redoes and recovers, and asks each time: is every content there at least as often as before, does
// `forg undo` (repeated until nothing is left) bring back exactly the tree that was there, to the nanosecond, and is
// `forg doctor` content with what is left?
//
// TestFaults lets system calls fail instead: forg must say so by its exit code, or have done all of its work.
//
// They need strace, and root to mount a tmpfs as the other file system:
//
//	apt-get install -y strace
//	go test -run 'TestCrash|TestFaults' -v .                                  # about 60 kills and 60 faults
//	FORG_KILLS=500 go test -run 'TestCrash|TestFaults' -v -timeout 30m .      # of each as many
//
// strace counts the calls of each thread by itself. The mover keeps to one thread, so its calls can be aimed at exactly;
// SQLite's cannot, and a run whose n-th call never came is not counted as a kill.
func TestCrash(t *testing.T) {
	kills := envInt(t, "FORG_KILLS", 60)
	crashSweep(t, kills, func(box *crashBox, s *crashScenario, calls []crashCall, r *rand.Rand) (string, []string) {
		c := calls[r.IntN(len(calls))]
		inject := func(c crashCall) string {
			return fmt.Sprintf("%s:signal=SIGKILL:when=%d", c.name, c.n)
		}
		how := inject(c)
		out := box.strace(inject(c), c, s.args(box)...)
		if !out.killed {
			return "", nil
		}
		if wrong := box.lessThan(s.before); wrong != nil {
			return how, wrong
		}
		if r.IntN(3) == 0 { // again, while the crash is being settled, and again while it is undone
			for _, args := range [][]string{{"history"}, {"undo"}} {
				again := crashCall{name: []string{"pwrite64", "fdatasync", "unlinkat", "renameat2", "syncfs", "fsync", "utimensat", "mkdirat"}[r.IntN(8)]}
				again.n = 1 + r.IntN(map[string]int{"pwrite64": 12, "renameat2": 20, "fdatasync": 4, "utimensat": 6, "unlinkat": 6}[again.name]+2)
				if out := box.strace(inject(again), again, args...); out.killed {
					how += ", then " + args[0] + " " + inject(again)
				}
				if wrong := box.lessThan(s.before); wrong != nil {
					return how, wrong
				}
			}
		}
		return how, box.settle(s.before)
	})
}

// TestFaults is TestCrash with system calls that fail.
func TestFaults(t *testing.T) {
	kills := envInt(t, "FORG_KILLS", 60)
	crashSweep(t, kills, func(box *crashBox, s *crashScenario, calls []crashCall, r *rand.Rand) (string, []string) {
		c := calls[r.IntN(len(calls))]
		if c.name == "write" { // Go's own runtime, and forg's words, depend on it
			return "", nil
		}
		errno := []string{"ENOSPC", "EIO", "EXDEV", "EACCES", "EINTR"}[r.IntN(5)]
		when := fmt.Sprint(c.n)
		if errno != "EINTR" && r.IntN(3) == 0 {
			when += "+" // and all after it
		}
		how := fmt.Sprintf("%s:error=%s:when=%s", c.name, errno, when)
		out := box.strace(how, c, s.args(box)...)
		if out.killed {
			return how, []string{"forg died of it"}
		}
		if wrong := box.lessThan(s.before); wrong != nil {
			return how, wrong
		}
		switch out.code {
		case 0:
			if diff := crashDiff(s.after, box.names()); diff != nil {
				return how, append([]string{"exit code 0, but not all is done:"}, diff...)
			}
		case 1, 3, 5:
			if out.stderr == "" {
				return how, []string{fmt.Sprintf("exit code %d without a word", out.code)}
			}
		default:
			return how, []string{fmt.Sprintf("exit code %d: %s", out.code, out.stderr)}
		}
		// What forg could not remove it has named; that may be left or be in the way of an undo, and nothing else.
		stays := strings.Contains(out.stderr, "remove the copy")
		return how, slices.DeleteFunc(box.settle(s.before), func(wrong string) bool {
			if stays && strings.HasPrefix(wrong, "forg undo: exit code 5") {
				return true
			}
			name := filepath.Base(strings.Trim(wrong[strings.Index(wrong, ": ")+1:], ` "`))
			return (strings.HasPrefix(wrong, "new: ") && stays || strings.HasPrefix(wrong, "left in the trash: ")) &&
				strings.Contains(out.stderr, strings.TrimSuffix(name, ".trashinfo"))
		})
	})
}

// crashScenario is one thing that forg does while something happens to it.
type crashScenario struct {
	name    string
	cross   bool
	prepare [][]string // runs before it, undisturbed
	args    func(*crashBox) []string
	calls   map[string][]crashCall // system calls of an undisturbed run, by name
	before  crashTree
	after   map[string]string // names and contents after an undisturbed run
}

// crashCall is the n-th call of its kind on one thread.
type crashCall struct {
	name string
	n    int
}

var crashCalls = []string{"renameat2", "mkdirat", "unlinkat", "fsync", "fdatasync", "syncfs", "pwrite64", "write", "linkat",
	"openat", "utimensat", "ftruncate", "fchmod", "fchown", "fsetxattr", "fremovexattr", "symlinkat"}

func crashScenarios() []*crashScenario {
	organize := func(more ...string) func(*crashBox) []string {
		return func(b *crashBox) []string { return append([]string{"organize", "--min-age", "0", b.root}, more...) }
	}
	into := func(more ...string) func(*crashBox) []string {
		return func(b *crashBox) []string {
			return append([]string{"organize", "--min-age", "0", "-r", b.root, "--into", b.into}, more...)
		}
	}
	fixed := func(args ...string) func(*crashBox) []string {
		return func(*crashBox) []string { return args }
	}
	tree := []string{"organize", "--min-age", "0", "-r", "--prune-empty", "ROOT"}
	away := []string{"organize", "--min-age", "0", "-r", "--prune-empty", "ROOT", "--into", "INTO"}
	ruled, err := filepath.Abs("testdata/rules/crash.yaml")
	if err != nil {
		panic(err) // the tests run in a folder that is there
	}
	return []*crashScenario{
		{name: "rules", args: organize("-r", "--rules", ruled)},
		{name: "undo-rules", prepare: [][]string{{"organize", "--min-age", "0", "-r", "--rules", ruled, "ROOT"}}, args: fixed("undo")},
		{name: "redo-rules", prepare: [][]string{{"organize", "--min-age", "0", "-r", "--rules", ruled, "ROOT"}, {"undo"}}, args: fixed("redo")},
		{name: "cross-rules", cross: true, args: into("--rules", ruled)},
		{name: "organize", args: organize("-r", "--prune-empty", "--by", "category,extension")},
		{name: "overwrite", args: organize("-r", "--on-conflict", "overwrite")},
		{name: "duplicates-trash", args: organize("-r", "--prune-empty", "--duplicates", "trash")},
		{name: "duplicates-hardlink", args: organize("-r", "--duplicates", "hardlink")},
		{name: "copy", args: organize("-r", "--copy")},
		{name: "swap", args: func(b *crashBox) []string { return []string{"apply", b.plan} }},
		{name: "undo", prepare: [][]string{tree}, args: fixed("undo")},
		{name: "undo-overwrite", prepare: [][]string{{"organize", "--min-age", "0", "ROOT", "--on-conflict", "overwrite"}}, args: fixed("undo")},
		{name: "undo-hardlink", prepare: [][]string{{"organize", "--min-age", "0", "-r", "ROOT", "--duplicates", "hardlink"}}, args: fixed("undo")},
		{name: "undo-copy", prepare: [][]string{{"organize", "--min-age", "0", "ROOT", "--copy"}}, args: fixed("undo")},
		{name: "undo-second", prepare: [][]string{tree, {"organize", "--min-age", "0", "-r", "--by", "year", "ROOT"}}, args: fixed("undo")},
		{name: "redo", prepare: [][]string{tree, {"undo"}}, args: fixed("redo")},
		{name: "cross", cross: true, args: into("--prune-empty")},
		{name: "cross-overwrite", cross: true, args: into("--on-conflict", "overwrite")},
		{name: "cross-copy", cross: true, args: into("--copy", "--verify")},
		{name: "cross-undo", cross: true, prepare: [][]string{away}, args: fixed("undo")},
		{name: "cross-undo-first", cross: true, prepare: [][]string{tree, {"organize", "--min-age", "0", "-r", "--by", "year", "ROOT", "--into", "INTO"}, {"undo"}}, args: fixed("undo")},
		{name: "cross-redo", cross: true, prepare: [][]string{away, {"undo"}}, args: fixed("redo")},
	}
}

// crashSweep carries out n tries over all scenarios and reports.
func crashSweep(t *testing.T, n int, try func(*crashBox, *crashScenario, []crashCall, *rand.Rand) (how string, wrong []string)) {
	if testing.Short() {
		t.Skip("CRASHES NOT TESTED: -short")
	}
	forg := crashTraced(t)
	seed := uint64(envInt(t, "FORG_CRASH_SEED", 1))
	only := os.Getenv("FORG_CRASH_ONLY")
	cross := crashTmpfs(t)
	started := time.Now()
	var scenarios []*crashScenario
	for _, s := range crashScenarios() {
		if s.cross && !cross || only != "" && s.name != only {
			continue
		}
		box := newCrashBox(t, forg, t.TempDir(), s)
		if err := errors.Join(box.reset(s), box.census(s)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if wrong := box.settle(s.before); wrong != nil {
			t.Fatalf("%s, undisturbed: %s", s.name, strings.Join(wrong, "\n"))
		}
		scenarios = append(scenarios, s)
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		hits  = map[string]int{}
		tried int
		total int
		bad   int
		next  int
	)
	for w := range runtime.GOMAXPROCS(0) {
		dir := t.TempDir()
		wg.Go(func() {
			boxes := map[*crashScenario]*crashBox{}
			for {
				mu.Lock()
				i := next
				next++
				done := total >= n || tried >= 4*n || bad >= 10
				mu.Unlock()
				if done {
					return
				}
				s := scenarios[i%len(scenarios)]
				box := boxes[s]
				if box == nil {
					box = newCrashBox(t, forg, filepath.Join(dir, s.name), s)
					boxes[s] = box
				}
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				names := slices.Sorted(maps.Keys(s.calls))
				name := names[r.IntN(len(names))]
				if err := box.reset(s); err != nil {
					t.Error(err)
					return
				}
				how, wrong := try(box, s, s.calls[name], r)
				mu.Lock()
				tried++
				if how != "" {
					total++
					hits[s.name+" "+name]++
				}
				if len(wrong) > 0 {
					bad++
					t.Errorf("%s (FORG_CRASH_SEED=%d, try %d), %s:\n\t%s", s.name, seed, i, how, strings.Join(wrong, "\n\t"))
					if bad == 1 {
						kept := filepath.Join(os.TempDir(), "forg-crash-failed")
						os.RemoveAll(kept)
						exec.Command("cp", "-a", box.dir, kept).Run()
						t.Log("its folders are kept in", kept)
					}
				}
				mu.Unlock()
			}
		})
		_ = w
	}
	wg.Wait()
	perCall, perScenario := map[string]int{}, map[string]int{}
	for k, v := range hits {
		scenario, call, _ := strings.Cut(k, " ")
		perCall[call] += v
		perScenario[scenario] += v
	}
	t.Logf("seed %d: %d of %d tries met forg at work, %d went wrong, in %v\n\tby call: %v\n\tby scenario: %v",
		seed, total, tried, bad, time.Since(started).Round(time.Second), perCall, perScenario)
	if total < n && bad == 0 {
		t.Errorf("only %d of %d tries met forg at work", total, n)
	}
}

var crashBuild = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "forg-crash-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	forg := filepath.Join(dir, "forg")
	build := exec.Command("go", "build", "-o", forg, "-ldflags", "-X forg/journal.batch=7", ".") // so that a run has many
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(forg)
})

// crashForg is the real program, in a folder of the test's own.
func crashForg(t *testing.T) string {
	t.Helper()
	program, err := crashBuild()
	if err != nil {
		t.Fatal(err)
	}
	forg := filepath.Join(t.TempDir(), "forg")
	if err := os.WriteFile(forg, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return forg
}

// crashTraced is crashForg, once it is clear that strace works here.
func crashTraced(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		crashSkip(t, "CRASHES NOT TESTED: strace is missing")
	}
	forg := crashForg(t)
	if out, err := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", forg, "version").CombinedOutput(); err != nil {
		crashSkip(t, fmt.Sprintf("CRASHES NOT TESTED: strace cannot trace here: %v: %s", err, out))
	}
	return forg
}

func crashSkip(t *testing.T, say string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(say)
	}
	t.Skip(say)
}

// crashTmpfs reports whether a second file system can be mounted for the test.
func crashTmpfs(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
	if err == nil {
		err = unmount(dir)
	}
	if err == nil {
		return true
	}
	say := fmt.Sprintf("CRASHES BETWEEN FILE SYSTEMS NOT TESTED: mount a tmpfs: %v", err)
	if os.Getenv("CI") != "" {
		t.Fatal(say)
	}
	t.Log(say)
	return false
}

// crashBox is a person's home with a tree to organize.
type crashBox struct {
	forg string
	dir  string
	root string
	into string
	plan string
	env  []string
}

func newCrashBox(t *testing.T, forg, dir string, s *crashScenario) *crashBox {
	b := &crashBox{forg: forg, dir: dir, root: filepath.Join(dir, "tree"), into: filepath.Join(dir, "other", "Sorted"), plan: filepath.Join(dir, "plan.json")}
	home := filepath.Join(dir, "home")
	b.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + dir, "XDG_STATE_HOME=" + home + "/state", "XDG_DATA_HOME=" + home + "/data",
		"XDG_CONFIG_HOME=" + home + "/config", "XDG_CACHE_HOME=" + home + "/cache", "TZ=UTC"}
	other := filepath.Dir(b.into)
	if err := os.MkdirAll(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.cross {
		if err := syscall.Mount("tmpfs", other, "tmpfs", 0, "size=64m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unmount(other); err != nil {
				t.Errorf("unmount %s: %v", other, err)
			}
		})
	}
	return b
}

// reset makes the box as it was, and runs what comes before the scenario.
func (b *crashBox) reset(s *crashScenario) error {
	other := filepath.Dir(b.into)
	for _, dir := range []string{b.dir, other} {
		names, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range names {
			if path := filepath.Join(dir, e.Name()); path != other {
				if err := os.RemoveAll(path); err != nil {
					return err
				}
			}
		}
	}
	if err := b.fill(s); err != nil {
		return err
	}
	before := b.tree()
	if s.before.entries == nil {
		s.before = before
	} else if diff := crashDiff(s.before.entries, before.entries); diff != nil {
		return fmt.Errorf("the tree is not the same each time: %s", strings.Join(diff, "\n"))
	}
	for _, args := range s.prepare {
		args = slices.Clone(args)
		for i := range args {
			args[i] = strings.NewReplacer("ROOT", b.root, "INTO", b.into).Replace(args[i])
		}
		if out := b.run(args...); out.code != 0 {
			return fmt.Errorf("forg %v: exit code %d: %s", args, out.code, out.stderr)
		}
	}
	if s.name == "swap" {
		return b.writeSwap()
	}
	return nil
}

// fill makes the tree: folders within folders, things that belong together, taken names, equal contents, hard links, a
// sparse file, every kind of attribute.
func (b *crashBox) fill(s *crashScenario) error {
	root := os.Geteuid() == 0
	var err error
	do := func(e error) { err = errors.Join(err, e) }
	var n int64
	file := func(name, content string) {
		path := filepath.Join(b.root, name)
		if strings.HasPrefix(name, "/") {
			path = name
		}
		do(os.MkdirAll(filepath.Dir(path), 0o755))
		do(os.WriteFile(path, []byte(content), 0o600))
		n++
		do(os.Chmod(path, []fs.FileMode{0o644, 0o600, 0o755, 0o440, 0o664}[n%5]))
		if n%3 == 0 {
			do(unix.Setxattr(path, "user.forg.test", []byte(name), 0))
		}
		if n%4 == 0 && root {
			do(os.Chown(path, 1000, 1001))
		}
		at := time.Unix(1500000000+n*86400*40, 123456789+n)
		do(os.Chtimes(path, at, at))
	}
	for _, name := range []string{"a.txt", "b.pdf", "c.jpg", "d.mp3", "e.zip", "ünï – 漢字.txt", "bad\xff\xfe.txt", "no extension", "x.tar.gz",
		"film.mkv", "film.srt", "film.en.srt", "IMG_1.CR2", "IMG_1.JPG", "IMG_1.xmp", strings.Repeat("long", 62) + "-.txt",
		"sub/a.txt", "sub/x/y/z/deep.pdf", "sub/x/y/z/deep.txt", "sub/x/c.jpg", "sub/x/only.png", "Documents/a.txt", "Images/c.jpg", "Documents/more/f.txt"} {
		file(name, "this is "+name)
	}
	for _, name := range []string{"equal 1.txt", "sub/equal 2.txt", "sub/x/equal 3.txt"} {
		file(name, "the same in all of them")
	}
	if s.cross {
		file(filepath.Join(b.into, "Documents", "a.txt"), "it was here before")
		file(filepath.Join(b.into, "Images", "keep.jpg"), "it stays")
	} else {
		// A folder goes with its page, but not to another file system.
		file("page.html", "<html>")
		file("page_files/style.css", "css")
		file("page_files/in/x.png", "png")
	}
	file("link 1.txt", "one file, two names")
	do(os.Link(filepath.Join(b.root, "link 1.txt"), filepath.Join(b.root, "link 2.txt")))
	symbolic := filepath.Join(b.root, "symbolic.txt")
	do(os.Symlink("a.txt", symbolic))
	do(unix.UtimesNanoAt(unix.AT_FDCWD, symbolic, []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 3, Nsec: 4}}, unix.AT_SYMLINK_NOFOLLOW))
	do(os.Mkdir(filepath.Join(b.root, "empty"), 0o700))
	sparse, e := os.OpenFile(filepath.Join(b.root, "sparse.iso"), os.O_CREATE|os.O_RDWR, 0o640)
	do(e)
	if e == nil {
		do(sparse.Truncate(3 << 20))
		_, e = sparse.WriteAt(bytes.Repeat([]byte("data"), 1024), 1<<20)
		do(e)
		do(sparse.Sync()) // or its extents are not yet told
		do(sparse.Close())
		do(os.Chtimes(sparse.Name(), time.Unix(1600000000, 1), time.Unix(1600000000, 1)))
	}
	x := filepath.Join(b.root, "sub", "x")
	do(os.Chmod(x, 0o2751))
	do(unix.Setxattr(x, "user.forg.folder", []byte("kept"), 0))
	if root {
		do(os.Chown(filepath.Join(x, "y"), 1000, 1000))
	}
	for _, top := range []string{b.root, b.into} {
		var dirs []string
		do(filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		}))
		for i, path := range dirs {
			at := time.Unix(1400000000+int64(i), 987654321+int64(i))
			do(os.Chtimes(path, at, at))
		}
	}
	return err
}

// writeSwap writes a plan that swaps two files, shifts three, moves one around a corner, and lets a folder move along.
func (b *crashBox) writeSwap() error {
	if out := b.run("organize", "--min-age", "0", b.root, "--plan-out", b.plan); out.code != 0 {
		return fmt.Errorf("write the plan: %s", out.stderr)
	}
	text, err := os.ReadFile(b.plan)
	if err != nil {
		return err
	}
	var plan map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&plan); err != nil {
		return err
	}
	to := map[string]string{"a.txt": "b.pdf", "b.pdf": "a.txt", "c.jpg": "d.mp3", "d.mp3": "e.zip", "e.zip": "new/one.zip",
		"film.mkv": "x.tar.gz", "x.tar.gz": "no extension", "no extension": "film.mkv", "link 1.txt": "link 2.txt", "link 2.txt": "link 1.txt"}
	var moves []any
	for _, m := range plan["moves"].([]any) {
		m := m.(map[string]any)
		if name, ok := to[filepath.Base(m["from"].(string))]; ok {
			m["to"] = filepath.Join(b.root, name)
			delete(m, "unit")
		}
		moves = append(moves, m)
	}
	plan["moves"] = moves
	if text, err = json.Marshal(plan); err != nil {
		return err
	}
	return os.WriteFile(b.plan, text, 0o600)
}

type crashOutput struct {
	code           int
	killed         bool
	stdout, stderr string
}

func (b *crashBox) command(name string, args ...string) crashOutput {
	c := exec.Command(name, args...)
	c.Env, c.Dir = b.env, b.dir
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	out := crashOutput{stdout: stdout.String(), stderr: stderr.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		out.code = exit.ExitCode()
		status := exit.Sys().(syscall.WaitStatus)
		out.killed = status.Signaled() && status.Signal() == syscall.SIGKILL || out.code == 128+int(syscall.SIGKILL)
	} else if err != nil {
		out.code, out.stderr = -1, err.Error()
	}
	return out
}

func (b *crashBox) run(args ...string) crashOutput { return b.command(b.forg, args...) }

// strace runs forg with something done to a system call. With --seccomp-bpf strace 6.1 would not kill.
func (b *crashBox) strace(inject string, c crashCall, args ...string) crashOutput {
	return b.command("strace", append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + c.name, "-e", "inject=" + inject, b.forg}, args...)...)
}

var crashLine = regexp.MustCompile(`^(\d+) +(\w+)\((.*)`)

// census finds out which system calls an undisturbed run makes, and what it leads to.
func (b *crashBox) census(s *crashScenario) error {
	log := filepath.Join(b.dir, "strace.log")
	out := b.command("strace", append([]string{"-f", "-qq", "--seccomp-bpf", "-o", log, "-e", "trace=" + strings.Join(crashCalls, ","), b.forg}, s.args(b)...)...)
	if out.code != 0 {
		return fmt.Errorf("exit code %d: %s", out.code, out.stderr)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	count := map[string]int{}
	most := map[string]int{}
	s.calls = map[string][]crashCall{}
	for line := range strings.Lines(string(text)) {
		m := crashLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		key := m[1] + m[2]
		count[key]++
		if count[key] <= most[m[2]] {
			continue
		}
		most[m[2]] = count[key]
		if m[2] == "openat" && !strings.Contains(m[3], "O_CREAT") || m[2] == "write" && strings.Contains(m[3], "eventfd") {
			continue // opening to read changes nothing
		}
		s.calls[m[2]] = append(s.calls[m[2]], crashCall{m[2], count[key]})
	}
	s.after = b.names()
	return nil
}

// crashTree is everything that a tree is: entries by path, and how often each content is there.
type crashTree struct {
	entries  map[string]string
	contents map[[32]byte]int
}

func (b *crashBox) tree() crashTree {
	t := crashTree{map[string]string{}, map[[32]byte]int{}}
	first := map[uint64]string{} // names of one inode
	for _, top := range []string{b.root, b.into} {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				if path == b.into && errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			rel, _ := filepath.Rel(b.dir, path)
			what, hash, err := crashDescribe(path, rel, first)
			if err != nil {
				return err
			}
			if hash != ([32]byte{}) {
				t.contents[hash]++
			}
			t.entries[rel] = what
			return nil
		})
		if err != nil {
			t.entries[top] = err.Error()
		}
	}
	for path, hash := range b.trashed() {
		if !strings.HasSuffix(path, ".trashinfo") {
			t.contents[hash]++
		}
	}
	return t
}

// trashed is every file in the trash folders, by path.
func (b *crashBox) trashed() map[string][32]byte {
	found := map[string][32]byte{}
	for _, top := range []string{filepath.Join(b.dir, "home", "data", "Trash"), filepath.Join(filepath.Dir(b.into), fmt.Sprintf(".Trash-%d", os.Getuid()))} {
		filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				data, _ := os.ReadFile(path)
				found[path] = sha256.Sum256(data)
			}
			return nil
		})
	}
	return found
}

func crashDescribe(path, rel string, first map[uint64]string) (string, [32]byte, error) {
	var hash [32]byte
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", hash, err
	}
	what := fmt.Sprintf("mode %o owner %d:%d time %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return what + " -> " + target, hash, err
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", hash, err
		}
		hash = sha256.Sum256(data)
		what += fmt.Sprintf(" size %d content %x", st.Size, hash[:6])
		if st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			what += fmt.Sprintf(" links %d with %s", st.Nlink, first[st.Ino])
		}
		if st.Size >= 1<<20 {
			what += " data" + crashData(path, st.Size)
		}
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return "", hash, err
	}
	for _, name := range strings.Split(string(buf[:n]), "\x00") {
		if name != "" {
			v := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, name, v)
			if err != nil {
				return "", hash, err
			}
			what += fmt.Sprintf(" %s=%q", name, v[:n])
		}
	}
	return what, hash, nil
}

// crashData is where a sparse file has data.
func crashData(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	out := ""
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if err != nil {
			break
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			break
		}
		out += fmt.Sprintf(" %d-%d", from, to)
		at = to
	}
	return out
}

// names is what lies where, without the attributes.
func (b *crashBox) names() map[string]string {
	m := map[string]string{}
	now := b.tree()
	for path, what := range now.entries {
		if i := strings.Index(what, " content "); i >= 0 {
			what = what[i:]
			what = what[:min(len(what), len(" content ")+12)]
		} else {
			what = what[:11]
		}
		m[path] = what
	}
	return m
}

// lessThan names contents that are there less often than before.
func (b *crashBox) lessThan(before crashTree) []string {
	var wrong []string
	now := b.tree()
	for hash, n := range before.contents {
		if now.contents[hash] < n {
			for path, what := range before.entries {
				if strings.Contains(what, fmt.Sprintf("content %x", hash[:6])) {
					wrong = append(wrong, fmt.Sprintf("LOST: the content of %s is there %d times, was %d", path, now.contents[hash], n))
				}
			}
		}
	}
	return wrong
}

// settle looks at the history, undoes everything and compares.
func (b *crashBox) settle(before crashTree) []string {
	if out := b.run("history"); out.code != 0 {
		return []string{fmt.Sprintf("forg history: exit code %d: %s", out.code, out.stderr)}
	}
	if wrong := b.lessThan(before); wrong != nil {
		return wrong
	}
	said := ""
	for n := 0; ; n++ {
		if n == 12 {
			return []string{"forg undo never comes to an end: " + said}
		}
		out := b.run("undo", "--json")
		if out.code != 0 {
			return []string{fmt.Sprintf("forg undo: exit code %d: %s", out.code, out.stderr)}
		}
		said = out.stdout
		var undo struct{ Undid *int64 }
		if err := json.Unmarshal([]byte(out.stdout), &undo); err != nil {
			return []string{fmt.Sprintf("forg undo --json: %v: %s", err, out.stdout)}
		}
		if wrong := b.lessThan(before); wrong != nil {
			return wrong
		}
		if undo.Undid == nil {
			break
		}
	}
	now := b.tree()
	wrong := crashDiff(before.entries, now.entries)
	for path := range b.trashed() {
		wrong = append(wrong, "left in the trash: "+path)
	}
	filepath.WalkDir(b.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".forg-") {
			wrong = append(wrong, "left: "+path)
		}
		return nil
	})
	if out := b.run("doctor"); out.code != 0 {
		wrong = append(wrong, fmt.Sprintf("forg doctor: exit code %d: %s%s", out.code, out.stdout, out.stderr))
	}
	return wrong
}

func crashDiff(want, got map[string]string) []string {
	var diff []string
	for path, w := range want {
		if g, ok := got[path]; !ok {
			diff = append(diff, fmt.Sprintf("missing: %q", path))
		} else if g != w {
			diff = append(diff, fmt.Sprintf("%q is\n\t\t%s, was\n\t\t%s", path, g, w))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			diff = append(diff, fmt.Sprintf("new: %q", path))
		}
	}
	slices.Sort(diff)
	return diff
}
