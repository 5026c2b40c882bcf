package main

import (
	"bytes"
	"context"
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestPowerLoss cuts the power while forg organizes, at many moments, and asks of each: is every file there, under its
// old name or its new one, and does `forg undo` put everything back exactly?
//
// A User Mode Linux guest (testdata/powerloss/guest) runs forg on an ext4 disk whose every write dm-log-writes records.
// From the record the test rebuilds the disk as it was at each flush, and as it may have been between two flushes, when
// any part of the writes under way may be missing. It mounts each of these disks here, at the path the guest used, and
// runs the checks with the same forg.
//
// A second forg is built to commit its journal with synchronous=NORMAL, which is known to lose intents whose renames
// are on the disk. If the test does not catch that one, it has no right to acquit the other.
//
// It needs root with loop mounts, and on Debian the packages user-mode-linux, dmsetup, kmod, e2fsprogs and mount:
//
//	apt-get install -y user-mode-linux dmsetup kmod e2fsprogs mount
//	go test -run TestPowerLoss -v .                                               # about 90 moments
//	FORG_POWERLOSS_POINTS=1000 go test -run TestPowerLoss -v -timeout 30m .       # the full run
//
// The device number of the disk here is not the one it had in the guest, as it may be after any restart; its file
// system's UUID, inodes and times are.
//
// Without what it needs the test is skipped; with CI set, it fails. FORG_POWERLOSS_SEED chooses other moments, but the guest's record
// differs from run to run: the disk of the first failure is kept.
func TestPowerLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("POWER LOSS NOT TESTED: -short")
	}
	needPowerLoss(t)
	points := envInt(t, "FORG_POWERLOSS_POINTS", 90)
	seed := envInt(t, "FORG_POWERLOSS_SEED", 1)

	t.Run("FULL", func(t *testing.T) {
		found := losePower(t, "FULL", points, seed)
		for _, p := range found[:min(len(found), 20)] {
			t.Error(p)
		}
	})
	t.Run("NORMAL", func(t *testing.T) {
		// Without its syncs forg's work reaches the disk in a few big steps, which are soon over: so more moments are
		// tried, and other records if need be.
		caught := 0
		for try := range 4 {
			for _, p := range losePower(t, "NORMAL", 240, seed+try) {
				switch p.kind {
				case lostFile:
					t.Error(p)
				case lostUndo:
					caught++
				}
			}
			if caught > 0 {
				break
			}
		}
		if caught == 0 {
			t.Error("a journal with synchronous=NORMAL lost nothing: this test cannot see what it looks for")
		}
	})
}

// needPowerLoss skips the test, or in CI fails it, unless all it needs is there.
func needPowerLoss(t *testing.T) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, program := range []string{"go", "linux.uml", "dmsetup", "insmod", "mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if found, _ := filepath.Glob("/usr/lib/uml/modules/*/kernel/drivers/md/dm-log-writes.ko"); found == nil {
		missing = append(missing, "dm-log-writes.ko for User Mode Linux")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		missing = append(missing, "loop devices")
	}
	if err := withOwnMounts(func() error { return nil }); err != nil {
		missing = append(missing, fmt.Sprintf("a mount namespace (%v)", err))
	}
	if missing == nil {
		return
	}
	say := "POWER LOSS NOT TESTED: missing " + strings.Join(missing, ", ") + "; see the comment of TestPowerLoss"
	if os.Getenv("CI") != "" {
		t.Fatal(say)
	}
	t.Skip(say)
}

func envInt(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: not a positive number", name, s)
	}
	return n
}

// A problem is what a cut did to the tree.
type problem struct {
	kind
	cut
	what string
}

type kind string

const (
	lostFile = kind("file lost")         // its content is neither at the old nor at the new name
	lostMove = kind("finished too soon") // forg had said that all was done
	lostUndo = kind("undo lost")         // a file that moved is not put back: its intent is gone
	badUndo  = kind("undo not exact")    // all files are back, but something else is there or forg complains
)

func (p problem) String() string { return fmt.Sprintf("%s, power cut %v: %s", p.kind, p.cut, p.what) }

// losePower runs a forg with that kind of synchronous in the guest and replays n moments of what happened to the disk.
func losePower(t *testing.T, synchronous string, n, seed int) []problem {
	started := time.Now()
	dir := t.TempDir()
	mnt, forg := filepath.Join(dir, "mnt"), filepath.Join(dir, "forg")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", forg, "-ldflags",
		"-X forg/journal.batch=10 -X forg/journal.synchronous="+synchronous, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	images := imageDir(t)
	base, record := filepath.Join(images, "base"), filepath.Join(images, "record")
	if err := withOwnMounts(func() error { return makeDisk(base, mnt) }); err != nil {
		t.Fatal(err)
	}
	d, err := readDisk(base)
	if err != nil {
		t.Fatal(err)
	}
	runGuest(t, dir, d, filepath.Join(images, "disk"), record)
	writes, err := readDiskLog(record)
	if err != nil {
		t.Fatal(err)
	}
	marked := func(mark string) int {
		i := slices.IndexFunc(writes, func(w diskWrite) bool { return w.mark == mark })
		if i < 0 {
			t.Fatalf("no mark %q in the record of %d writes", mark, len(writes))
		}
		return i
	}
	begin, end := marked("begin"), marked("end")
	writes = writes[:marked("off")]
	recorded := time.Since(started)

	picked := cuts(writes, begin, n, rand.New(rand.NewPCG(uint64(seed), 0)))
	var (
		work    = make(chan func() error)
		workers sync.WaitGroup
		mu      sync.Mutex // of what follows
		found   []problem
		moved   = map[int]int{} // moments with that many files moved
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			err := withOwnMounts(func() error {
				for f := range work {
					if err := f(); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				for range work { // let the others finish
				}
			}
		})
	}
	at := 0
	for i, c := range picked {
		for ; at < c.durable; at++ {
			d.write(writes[at])
		}
		image := filepath.Join(images, fmt.Sprintf("cut%d", i))
		if err := d.save(image, c); err != nil {
			t.Error(err)
			break
		}
		work <- func() error {
			defer os.Remove(image)
			m, problems, err := checkDisk(image, mnt, forg, c.durable > end)
			if err != nil {
				return fmt.Errorf("power cut %v: %w", c, err)
			}
			mu.Lock()
			defer mu.Unlock()
			moved[m]++
			for _, p := range problems {
				p.cut = c
				found = append(found, p)
			}
			return nil
		}
	}
	close(work)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}

	count := map[kind]int{}
	for _, p := range found {
		count[p.kind]++
	}
	partial := len(picked) - moved[0] - moved[powerFiles]
	t.Logf("synchronous=%s, seed %d: %d writes recorded in %v; %d power cuts replayed in %v, %d of them with some files moved and some not, %d different counts; problems: %v",
		synchronous, seed, len(writes)-begin, recorded.Round(time.Second), len(picked), (time.Since(started) - recorded).Round(time.Second), partial, len(moved), count)
	if len(picked) < n {
		t.Errorf("the record has only %d of the %d moments asked for", len(picked), n)
	}
	if synchronous == "FULL" && partial < len(picked)/20 { // without its syncs forg's work reaches the disk in few big steps
		t.Errorf("only %d of %d power cuts met forg at work", partial, len(picked))
	}
	if len(found) > 0 {
		slices.SortStableFunc(found, func(a, b problem) int { return a.durable - b.durable })
		t.Log("first problem:", found[0])
		if synchronous == "FULL" {
			keepDisk(t, base, writes, found[0].cut)
		}
	}
	return found
}

// keepDisk saves the disk at c where it outlives the test.
func keepDisk(t *testing.T, base string, writes []diskWrite, c cut) {
	d, err := readDisk(base)
	if err != nil {
		t.Error(err)
		return
	}
	for _, w := range writes[:c.durable] {
		d.write(w)
	}
	name := filepath.Join(os.TempDir(), "powerloss-failed.img")
	if err := d.save(name, c); err != nil {
		t.Error(err)
		return
	}
	t.Log("its disk is kept in", name)
}

// imageDir is a folder for disk images: in memory if there is room.
func imageDir(t *testing.T) string {
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err != nil || int64(shm.Bavail)*shm.Bsize < 2<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "powerloss-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// withOwnMounts calls f with mounts that no one else sees and that end with it, however it ends. They belong to the
// thread, so f must not leave them to another goroutine.
func withOwnMounts(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := syscall.Unshare(syscall.CLONE_NEWNS)
		if err == nil {
			err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func mountImage(image, mnt string) error {
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

// unmount waits while a file there is open in a process that another goroutine has forked and that has yet to exec.
func unmount(mnt string) error {
	for try := 0; ; try++ {
		err := syscall.Unmount(mnt, 0)
		if err == nil || try == 500 || !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const (
	powerFiles    = 800
	powerDiskSize = 64 << 20
	powerLogSize  = 2 << 30 // sparse; some 25 MB of it are written
)

// powerTree is the tree before: what describe says of each path.
var powerTree = sync.OnceValue(func() map[string]string {
	tree := map[string]string{".": "folder"}
	for i := range powerFiles {
		name, data, mode, mtime := powerFile(i)
		tree[name] = describe(data, mode, mtime)
	}
	return tree
})

func powerFile(i int) (name string, data []byte, mode fs.FileMode, mtime time.Time) {
	name = fmt.Sprintf("file %03d%s", i, []string{".jpg", ".pdf", ".txt", ".mp3", ".zip"}[i%5])
	data = bytes.Repeat([]byte(name+"\n"), 1+i%100)
	mode = []fs.FileMode{0o644, 0o600, 0o755, 0o444}[i%4]
	mtime = time.Unix(1_600_000_000+int64(i)*86_400, int64(i)*1_234_567%1_000_000_000)
	return
}

func describe(data []byte, mode fs.FileMode, mtime time.Time) string {
	return fmt.Sprintf("%v %d %x", mode, mtime.UnixNano(), sha256.Sum256(data))
}

// makeDisk makes an ext4 file system in file image, with the files to organize in its folder tree.
func makeDisk(image, mnt string) error {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, powerDiskSize); err != nil {
		return err
	}
	mkfs := exec.Command("mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-m", "0", "-J", "size=4", image)
	if out, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	if err := mountImage(image, mnt); err != nil {
		return err
	}
	tree := filepath.Join(mnt, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	for i := range powerFiles {
		name, data, mode, mtime := powerFile(i)
		name = filepath.Join(tree, name)
		err := errors.Join(os.WriteFile(name, data, mode), os.Chmod(name, mode), os.Chtimes(name, mtime, mtime))
		if err != nil {
			return err
		}
	}
	return unmount(mnt)
}

// runGuest runs the guest on a copy of d in file image; the record goes to a new file.
func runGuest(t *testing.T, dir string, d *disk, image, record string) {
	script, err := os.ReadFile("testdata/powerloss/guest")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "guest"), script, 0o755)
	}
	if err == nil {
		err = d.save(image, cut{})
	}
	if err == nil {
		err = os.WriteFile(record, nil, 0o600)
	}
	if err == nil {
		err = os.Truncate(record, powerLogSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "linux.uml", "mem=256M", "rootfstype=hostfs", "rootflags=/", "ro",
		"ubda="+image, "ubdb="+record, "init="+filepath.Join(dir, "guest"), "powerloss="+dir,
		"con0=null,fd:1", "con=null")
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	os.Remove(image)
	if !bytes.Contains(out, []byte("powerloss: organize exited with 0")) {
		t.Fatalf("the guest failed (%v):\n%s", err, out)
	}
}

// checkDisk mounts the disk in file image, as the next start of the machine would, and says how many files it finds
// moved and what is wrong. finished: forg had come to its end before the cut.
func checkDisk(image, mnt, forg string, finished bool) (moved int, problems []problem, err error) {
	if err := mountImage(image, mnt); err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, unmount(mnt)) }()
	home, err := os.MkdirTemp(filepath.Dir(image), "home-")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(home)
	say := func(k kind, format string, args ...any) {
		problems = append(problems, problem{kind: k, what: fmt.Sprintf(format, args...)})
	}
	run := func(args ...string) (out []byte, code int, stderr string) {
		cmd := exec.Command(forg, args...)
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
		var e bytes.Buffer
		cmd.Stderr = &e
		out, err := cmd.Output()
		if cmd.ProcessState == nil {
			return nil, -1, err.Error()
		}
		return out, cmd.ProcessState.ExitCode(), e.String()
	}

	before := powerTree()
	cutTree, err := readTree(filepath.Join(mnt, "tree"))
	if err != nil {
		return 0, nil, err
	}
	places := map[string][]string{}
	for path := range cutTree {
		places[filepath.Base(path)] = append(places[filepath.Base(path)], path)
	}
	var lost []string
	for path, is := range before {
		if path == "." {
			continue
		}
		at := places[path]
		if len(at) != 1 || cutTree[at[0]] != is {
			lost = append(lost, fmt.Sprintf("%s is at %q", path, at))
		} else if at[0] != path {
			moved++
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		say(lostFile, "%d files not whole in exactly one place, such as: %s", len(lost), lost[0])
	}
	if finished && moved != powerFiles {
		say(lostMove, "%d of %d files moved", moved, powerFiles)
	}

	journal := filepath.Join(mnt, "state", "forg", "journal.db")
	out, code, stderr := run("undo", "--journal", journal, "--json")
	afterTree, err := readTree(filepath.Join(mnt, "tree"))
	if err != nil {
		return 0, nil, err
	}
	different := differences(before, afterTree)
	astray := slices.DeleteFunc(slices.Clone(different), func(path string) bool { return before[path] == "" })
	switch {
	case len(astray) > 0:
		say(lostUndo, "%d files had moved, %d are not as before after the undo, such as %q; exit code %d: %s%s",
			moved, len(astray), astray[0], code, out, stderr)
	case len(different) > 0:
		say(badUndo, "left after the undo: %q; exit code %d: %s%s", different, code, out, stderr)
	case code != 0 && (code != 1 || !maps.Equal(before, cutTree)): // 1: there was nothing to undo
		say(badUndo, "all is back, but the exit code is %d: %s%s", code, out, stderr)
	}
	if _, err := os.Stat(journal); err == nil {
		out, code, stderr := run("history", "--journal", journal, "--json")
		if code != 0 || !json.Valid(out) {
			say(badUndo, "forg history: exit code %d: %s%s", code, out, stderr)
		}
	}
	return moved, problems, nil
}

// readTree describes everything below root, by path.
func readTree(root string) (map[string]string, error) {
	tree := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || e.IsDir() {
			tree[name] = "folder"
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			tree[name] = info.Mode().String()
			return nil
		}
		data, err := os.ReadFile(path)
		tree[name] = describe(data, info.Mode(), info.ModTime())
		return err
	})
	return tree, err
}

// differences are the paths that are not the same in both trees, in order.
func differences(a, b map[string]string) []string {
	var paths []string
	for path, is := range a {
		if b[path] != is {
			paths = append(paths, path)
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
