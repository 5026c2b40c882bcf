package organizer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"forg/journal"
)

// These tests kill a process that carries out every action of rules at the entry of its n-th system call of some kind, or
// let that call fail, and ask: is every content still there, does an undo bring back just what there was, is the
// journal sound and nothing of forg's left? The process is this test again, under strace.
//
//	go test -run TestActions ./organizer                    # some moments
//	FORG_KILLS=1000 go test -run TestActions ./organizer    # of each kind as many

const actionsChild = "FORG_TEST_ACTIONS"

func TestMain(m *testing.M) {
	if job := os.Getenv(actionsChild); job != "" {
		what, rest, _ := strings.Cut(job, ":")
		set, base, _ := strings.Cut(rest, ":")
		os.Exit(actionsRun(actionsSets[set], what, base))
	}
	os.Exit(m.Run())
}

// actionsSet is what a process that is killed has to do.
type actionsSet struct {
	fill     func(t testing.TB, w *workshop)
	steps    func(w *workshop) []journal.Step
	contents func(t testing.TB, w *workshop) []string // that must not be lost
	errors   []string                                 // that calls fail with
	only     map[string][]string                      // errors of a call beside those
	always   string                                   // calls that always fail, and how
}

var actionsSets = map[string]*actionsSet{
	"rules": {actionsFill, actionsSteps, actionsContents, []string{"ENOSPC", "EIO", "EACCES"}, nil, ""},
	"dupes": {dupesFill, dupesSteps, dupesContents, []string{"ENOSPC", "EIO", "EACCES", "EPERM", "EROFS"},
		map[string][]string{"linkat": {"EMLINK", "EXDEV"}, "renameat2": {"EXDEV", "EINVAL"}, "fcntl": {"EAGAIN", "EINVAL"}}, ""},
	// where names can neither be exchanged nor renamed without replacing
	"steps": {dupesFill, dupesSteps, dupesContents, []string{"ENOSPC", "EIO", "EACCES", "EPERM", "EROFS"}, nil, "renameat2:error=EINVAL"},
	"share": {shareFill, shareSteps, dupesContents, []string{"ENOSPC", "EIO", "EACCES", "EPERM", "EROFS"},
		map[string][]string{"ioctl": {"EXDEV", "EINVAL", "EOPNOTSUPP"}, "fallocate": {"EOPNOTSUPP"}}, ""},
}

// outsideTest is a testing.TB for code that runs in no test.
type outsideTest struct{ testing.TB }

func (outsideTest) Helper()        {}
func (outsideTest) Cleanup(func()) {}
func (outsideTest) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}
func (o outsideTest) Fatalf(format string, args ...any) { o.Fatal(fmt.Sprintf(format, args...)) }
func (o outsideTest) Errorf(format string, args ...any) { o.Fatal(fmt.Sprintf(format, args...)) }
func (o outsideTest) Error(args ...any)                 { o.Fatal(args...) }

// actionsRun is the process that is killed. It exits with 3 when something could not be done.
func actionsRun(set *actionsSet, what, base string) int {
	w := openWorkshop(outsideTest{}, base)
	res, err := actionsDo(w, set, what)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := w.j.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, p := range res.Problems {
		fmt.Fprintln(os.Stderr, p.Err)
	}
	for _, p := range res.Notes {
		fmt.Fprintln(os.Stderr, "note:", p.Err)
	}
	if len(res.Problems) > 0 {
		return 3
	}
	return 0
}

func actionsDo(w *workshop, set *actionsSet, what string) (*Result, error) {
	ctx := context.Background()
	if _, err := Recover(ctx, w.j); err != nil {
		return nil, err
	}
	w.opt.Exec = func(context.Context, []string, []string, string) error { return nil }
	switch what {
	case "run":
		return w.runCtx(ctx, set.steps(w)...)
	case "undo", "redo":
		o, err := w.j.Operation(ctx, "1")
		if err != nil {
			return nil, err
		}
		return reverse(ctx, w.j, o, what == "undo", UndoOptions{RunOptions: w.opt})
	}
	return &Result{}, nil
}

// actionsFill makes the desk.
func actionsFill(t testing.TB, w *workshop) {
	w.file("a.txt", "content of a")
	w.file("log.txt", strings.Repeat("old line;", 1000))
	w.file("tagged.txt", "content of tagged")
	w.must(os.MkdirAll(w.path("links"), 0o755))
	w.must(os.MkdirAll(w.path("moved"), 0o755))
	w.file("t.tar", tarOf(t, tarFolder("t"), tarFile("t/one", "one"), tarFile("t/in/two", "two"), tarLink(tar.TypeSymlink, "t/link", "in/two"), tarLink(tar.TypeLink, "t/hard", "t/one")))
	w.file("u.tar", tarOf(t, tarFile("x", "x"), tarFile("in/y", strings.Repeat("y", 3<<20)), tarFile("x", "another x")))
}

func actionsContents(t testing.TB, w *workshop) []string {
	return []string{"content of a", "content of tagged", strings.Repeat("old line;", 1000), content(t, w.path("t.tar")), content(t, w.path("u.tar"))}
}

// actionsSteps are one of each kind, and those that depend on each other.
func actionsSteps(w *workshop) []journal.Step {
	tagged := w.step(journal.Rename, "tagged.txt", "moved/tagged.txt", nil)
	steps := []journal.Step{
		w.step(journal.Symlink, "a.txt", "links/a.txt", []byte("../a.txt")),
		w.step(journal.Tag, "tagged.txt", "tagged.txt", tagMetaOf(nil, []byte("one"))),
		w.step(journal.Tag, "tagged.txt", "tagged.txt", tagMetaOf([]byte("one"), []byte("one,two"))),
		tagged,
		w.step(journal.Tag, "moved/tagged.txt", "moved/tagged.txt", tagMetaOf([]byte("one,two"), []byte("three"))),
	}
	steps[4].File = tagged.File
	steps = append(steps, w.rewrite("log.txt", writeAppend, "new line\n")...)
	meta, err := writeMetaOf(writeOverwrite, []byte("a new file\n"), nil)
	w.must(err)
	extract, trash := w.step(journal.Extract, "t.tar", "t", nil), w.step(journal.Trash, "t.tar", filepath.Join(w.can, "t.tar"), nil)
	extract.Unit, trash.Unit = 99, 99
	return append(steps, w.step(journal.Write, "", "new.txt", meta), extract, trash, w.step(journal.Extract, "u.tar", "u", nil),
		w.step(journal.Copy, "a.txt", "copy.txt", nil), w.step(journal.Exec, "a.txt", "a.txt", execMetaOf([]string{"true"}, nil, nil)))
}

// actionsCalls are the system calls that matter.
var actionsCalls = []string{"renameat2", "mkdirat", "unlinkat", "symlinkat", "linkat", "openat", "write", "fsync", "fdatasync", "syncfs", "pwrite64",
	"utimensat", "linkat", "pread64", "fcntl", "ioctl", "fallocate", "fchmod", "fchown", "fsetxattr", "fremovexattr", "ftruncate"}

type actionsCall struct {
	name string
	n    int
}

// actionsBox is a desk that is made anew for every moment.
type actionsBox struct {
	t        *testing.T
	name     string // of the set
	set      *actionsSet
	base     string
	before   []string
	contents []string
}

func newActionsBox(t *testing.T, set, all string) *actionsBox {
	base, err := os.MkdirTemp(all, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &actionsBox{t: t, name: set, set: actionsSets[set], base: base}
	w := openWorkshop(t, base)
	b.set.fill(t, w)
	b.before = b.there(w)
	b.contents = b.set.contents(t, w)
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// there describes the desk, with which names are one file.
func (b *actionsBox) there(w *workshop) []string {
	return slices.Concat(snapshotOf(b.t, w.dir), exact(b.t, w.dir))
}

// prepare brings the desk to where what begins.
func (b *actionsBox) prepare(what string) {
	for _, first := range map[string][]string{"undo": {"run"}, "redo": {"run", "undo"}}[what] {
		if code, out := b.command(nil, first); code != 0 {
			b.t.Fatalf("%s: exit code %d: %s", first, code, out)
		}
	}
}

// command runs the process, under a tracer or not, and returns its exit code, or -1 if it was killed.
func (b *actionsBox) command(tracer []string, what string) (int, string) {
	b.t.Helper()
	args := append(slices.Clone(tracer), os.Args[0])
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), actionsChild+"="+what+":"+b.name+":"+b.base)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return -1, out.String()
		}
		return exit.ExitCode(), out.String()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return 0, out.String()
}

func (set *actionsSet) strace(call actionsCall, what string) []string {
	return append(set.tracer("/dev/null", call.name), "-e", fmt.Sprintf("inject=%s:%s:when=%d", call.name, what, call.n))
}

func (set *actionsSet) tracer(log string, calls ...string) []string {
	argv := []string{"strace", "-f", "-qq", "-y", "-o", log}
	if name, _, ok := strings.Cut(set.always, ":"); ok {
		return append(argv, "-e", "trace="+strings.Join(append(calls, name), ","), "-e", "inject="+set.always)
	}
	return append(argv, "-e", "trace="+strings.Join(calls, ","))
}

// census finds the calls of an undisturbed run.
func (b *actionsBox) census(what string) []actionsCall {
	log := filepath.Join(b.base, "strace.log")
	if code, out := b.command(b.set.tracer(log, actionsCalls...), what); code != 0 {
		b.t.Skipf("CRASHES NOT TESTED: strace cannot trace here: %s", out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		b.t.Fatal(err)
	}
	line := regexp.MustCompile(`^(\d+) +(\w+)\((.*)`)
	count, most := map[string]int{}, map[string]int{}
	var calls []actionsCall
	for l := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		key := m[1] + m[2]
		count[key]++
		if count[key] <= most[m[2]] || m[2] == "openat" && !strings.Contains(m[3], "O_CREAT") || m[2] == "fcntl" && (count[key] < 4 || !strings.Contains(m[3], "LEASE")) || // the first ones are the runtime's

			m[2] == "pread64" && strings.Contains(m[3], "/journal.db") || strings.HasPrefix(b.set.always, m[2]) {
			continue
		}
		most[m[2]] = count[key]
		calls = append(calls, actionsCall{m[2], count[key]})
	}
	return calls
}

// nothingLost makes sure that each content is somewhere.
func (b *actionsBox) nothingLost(how string) {
	b.t.Helper()
	have := map[string]bool{}
	for _, top := range []string{"desk", "can"} {
		err := filepath.WalkDir(filepath.Join(b.base, top), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				have[content(b.t, path)] = true
			}
			return err
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	for _, c := range b.contents {
		if !have[c] {
			b.t.Errorf("%s: lost: %.40q", how, c)
		}
	}
}

// settle recovers, undoes what was done, and makes sure that all is as it was. What said names may be left.
func (b *actionsBox) settle(how, said string) {
	b.t.Helper()
	w := openWorkshop(b.t, b.base)
	defer w.j.Close()
	ctx := context.Background()
	if _, err := Recover(ctx, w.j); err != nil {
		b.t.Errorf("%s: recover: %v", how, err)
		return
	}
	for range 4 {
		o, err := w.j.LastNotUndone(ctx)
		if errors.Is(err, journal.ErrNone) {
			break
		}
		w.must(err)
		res, err := Undo(ctx, w.j, o, UndoOptions{RunOptions: w.opt})
		w.must(err)
		for _, p := range res.Problems {
			if !strings.Contains(p.Err.Error(), "is gone") {
				b.t.Errorf("%s: undo of %d, which is %s: %v", how, o.ID, o.Status, p.Err)
			}
		}
		if len(res.Problems) > 0 {
			break
		}
	}
	w.must(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error { // a person clears away what it said is left
		name := filepath.Base(path)
		if err == nil && strings.HasPrefix(name, tempPrefix) && strings.Contains(said, strings.TrimSuffix(strings.TrimSuffix(name, topSuffix), oldSuffix)) {
			if err := os.RemoveAll(path); err != nil || !d.IsDir() {
				return err
			}
			return fs.SkipDir
		}
		return err
	}))
	was := b.t.Failed()
	if !strings.Contains(said, "give it back its times") { // which it could not
		sameLines(b.t, how, b.before, b.there(w))
	}
	if b.t.Failed() && !was {
		b.t.Logf("%s; it said: %s", how, said)
		o := w.first()
		for s, err := range w.j.Steps(ctx, o, false) {
			b.t.Logf("%d %s %s -> %s: %s %s %v", s.No, s.Action, s.FromPath(), s.ToPath(), s.State, s.Err, err)
		}
	}
	// A note in the trash has its file.
	info, err := os.ReadDir(filepath.Join(filepath.Dir(w.can), "info"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Error(err)
	}
	for _, e := range info {
		name := strings.TrimSuffix(e.Name(), noteSuffix)
		if _, err := os.Lstat(filepath.Join(w.can, name)); err != nil && !strings.Contains(said, name) {
			b.t.Errorf("%s: a note without its file: %s", how, e.Name())
		}
	}
	w.sound()
}

func actionsSweep(t *testing.T, set, all string, try func(b *actionsBox, what string, c actionsCall, r *rand.Rand)) {
	if testing.Short() {
		t.Skip("CRASHES NOT TESTED: -short")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is missing")
		}
		t.Skip("CRASHES NOT TESTED: strace is missing")
	}
	kills := 12
	if set != "rules" {
		kills = 5 // of each of several sets
	}
	if n, err := strconv.Atoi(os.Getenv("FORG_KILLS")); err == nil {
		kills = n
	}
	for i, what := range []string{"run", "undo", "redo"} {
		t.Run(what, func(t *testing.T) {
			b := newActionsBox(t, set, all)
			b.prepare(what)
			calls := b.census(what)
			b.settle("undisturbed", "")
			r := rand.New(rand.NewPCG(uint64(i), 1))
			r.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
			t.Logf("%d of %d moments", min(len(calls), kills), len(calls))
			for _, c := range calls[:min(len(calls), kills)] {
				b := newActionsBox(t, set, all)
				b.prepare(what)
				try(b, what, c, r)
				if err := os.RemoveAll(b.base); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

func TestActionsCrash(t *testing.T) { actionsCrash(t, "rules", fastFolder(t)) }

func actionsCrash(t *testing.T, set, all string) {
	actionsSweep(t, set, all, func(b *actionsBox, what string, c actionsCall, r *rand.Rand) {
		how := fmt.Sprintf("%s killed at %s %d", what, c.name, c.n)
		code, out := b.command(b.set.strace(c, "signal=SIGKILL"), what)
		if code != -1 {
			b.t.Logf("%s: not reached: %d %s", how, code, out)
		}
		b.nothingLost(how)
		if r.IntN(2) == 0 { // and once more, while that is settled
			again := actionsCall{[]string{"renameat2", "unlinkat", "fdatasync", "pwrite64", "syncfs", "fsync"}[r.IntN(6)], 1 + r.IntN(4)}
			b.command(b.set.strace(again, "signal=SIGKILL"), "recover")
			how += fmt.Sprintf(", then at %s %d", again.name, again.n)
			b.nothingLost(how)
		}
		b.settle(how, "")
	})
}

func TestActionsFaults(t *testing.T) { actionsFaults(t, "rules", fastFolder(t)) }

func actionsFaults(t *testing.T, set, all string) {
	actionsSweep(t, set, all, func(b *actionsBox, what string, c actionsCall, r *rand.Rand) {
		if c.name == "write" && r.IntN(2) == 0 && b.set.always == "" {
			c.name = "renameat2"
		}
		all := slices.Concat(b.set.errors, b.set.only[c.name])
		errno := all[r.IntN(len(all))]
		how := fmt.Sprintf("%s with %s at %s %d", what, errno, c.name, c.n)
		code, out := b.command(b.set.strace(c, "error="+errno), what)
		if code == -1 || code == 2 {
			b.t.Errorf("%s: it died: %s", how, out)
		}
		if code != 0 && out == "" {
			b.t.Errorf("%s: exit code %d without a word", how, code)
		}
		b.nothingLost(how)
		b.settle(how, out)
	})
}
