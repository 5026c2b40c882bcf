package dupes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// What a name stands for may change between the scan and the reading.
func TestReplaced(t *testing.T) {
	for _, size := range []int{100, wholeBelow + 100} {
		for _, many := range []int{1, 5} { // a folder of few files is not opened
			root := t.TempDir()
			content := noise(1, size)
			kinds := []string{"fifo", "link", "folder", "socket", "device", "equal", "touched", "longer", "shorter", "gone"}
			for _, kind := range append([]string{"good"}, kinds...) {
				for n := range many {
					write(t, filepath.Join(root, kind, fmt.Sprint(kind, n)), content)
				}
			}
			elsewhere := filepath.Join(t.TempDir(), "same content")
			write(t, elsewhere, content)
			for n := range many {
				write(t, filepath.Join(root, "moved", fmt.Sprint("moved", n)), content)
			}
			folders, files := scan(t, root)
			for _, kind := range kinds {
				path := filepath.Join(root, kind, kind+"0")
				var err error
				if !slices.Contains([]string{"touched", "longer", "shorter"}, kind) {
					err = os.Remove(path)
				}
				switch kind {
				case "fifo":
					err = errors.Join(err, unix.Mkfifo(path, 0o644))
				case "link":
					err = errors.Join(err, os.Symlink(elsewhere, path))
				case "folder":
					err = errors.Join(err, os.Mkdir(path, 0o755))
				case "socket":
					var fd int
					if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
						defer unix.Close(fd)
						old, _ := os.Getwd() // the path may be longer than a socket's name
						t.Chdir(filepath.Dir(path))
						err = unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Base(path)})
						t.Chdir(old)
					}
				case "device":
					if os.Getuid() != 0 {
						t.Log("NOT TESTED: a device in the place of a file, which needs root")
					} else {
						err = errors.Join(err, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))) // /dev/zero
					}
				case "equal":
					err = errors.Join(err, os.WriteFile(path, content, 0o644))
				case "touched":
					err = os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))
				case "longer":
					err = os.WriteFile(path, append(slices.Clone(content), 0), 0o644)
				case "shorter":
					err = os.WriteFile(path, content[:size-1], 0o644)
				}
				if err != nil {
					t.Fatal(kind, err)
				}
			}
			// A folder that leads elsewhere, where there is a file of the same name and content.
			other := t.TempDir()
			for n := range many {
				write(t, filepath.Join(other, fmt.Sprint("moved", n)), content)
			}
			if err := errors.Join(os.Rename(filepath.Join(root, "moved"), filepath.Join(t.TempDir(), "was")), os.Symlink(other, filepath.Join(root, "moved"))); err != nil {
				t.Fatal(err)
			}
			before := descriptors(t)
			var unread []string
			groups := find(t, folders, files, Options{Unread: func(i int32, err error) {
				name := files[i].Name
				unread = append(unread, strings.TrimRight(name, "0123456789"))
				if gone := errors.Is(err, os.ErrNotExist); gone != (name == "gone0") || !gone && name != "socket0" && name != "device0" && !errors.Is(err, errChanged) {
					t.Errorf("%s: %v", name, err)
				}
			}})
			want := slices.Clone(kinds)
			for range many {
				want = append(want, "moved")
			}
			slices.Sort(want)
			slices.Sort(unread)
			if diff := cmp.Diff(want, unread); diff != "" {
				t.Error(diff)
			}
			if len(groups) != 1 && many > 1 || len(groups) > 1 {
				t.Errorf("%d groups", len(groups))
			}
			for _, g := range groups {
				for _, i := range g.Files {
					if name := files[i].Name; strings.HasSuffix(name, "0") && name != "good0" {
						t.Errorf("%s is in a group", name)
					}
				}
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d open files, %d before", after, before)
			}
		}
	}
}

// Somebody else's files can be read without O_NOATIME, or not at all.
func TestUnreadable(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"open/a", "open/b", "open/c", "open/d", "shut/e", "few/f"} {
		write(t, filepath.Join(root, name), noise(1, 10))
		write(t, filepath.Join(root, name+"-large"), noise(1, wholeBelow+10))
	}
	folders, files := scan(t, root)
	for _, name := range []string{"open/b", "open/b-large", "shut"} {
		if err := os.Chmod(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(root, "shut"), 0o755) // so that it can be removed
	folders, files = rescan(folders, files)
	if os.Getuid() == 0 {
		for dir := root; dir != "/"; dir = filepath.Dir(dir) {
			if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o001 == 0 {
				if err := os.Chmod(dir, st.Mode().Perm()|0o011); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := syscall.Setresuid(-1, 65534, -1); err != nil {
			t.Skip("NOT TESTED: files that cannot be read: ", err)
		}
		defer syscall.Setresuid(-1, 0, -1)
	}
	var unread []string
	groups := find(t, folders, files, Options{Unread: func(i int32, err error) {
		unread = append(unread, files[i].Name)
		if !errors.Is(err, os.ErrPermission) {
			t.Error(files[i].Name, err)
		}
	}})
	slices.Sort(unread)
	if diff := cmp.Diff([]string{"b", "b-large", "e", "e-large"}, unread); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"f=0 a=1 c=2 d=3", "f-large=0 a-large=1 c-large=2 d-large=3"}, show(files, groups)); diff != "" {
		t.Error(diff)
	}
}

// rescan looks at the files that are known again.
func rescan(folders []Folder, files []File) ([]Folder, []File) {
	for i := range files {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(folders[files[i].Folder].Path, files[i].Name), &st) == nil {
			files[i].Changed = st.Ctim.Nano()
		}
	}
	return folders, files
}

func TestSparse(t *testing.T) {
	root := t.TempDir()
	const size = 5<<30 + 3
	for n, name := range []string{"a", "b", "begin", "middle", "end", "c"} {
		f, err := os.Create(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		err = f.Truncate(size)
		if at, ok := map[string]int64{"begin": wholeBelow * 3, "middle": 1<<32 + 7, "end": size - 1, "c": 12345678}[name]; ok {
			_, werr := f.WriteAt([]byte{byte(n) * b2i(name != "c")}, at) // a zero that is written is like one that is not
			err = errors.Join(err, werr)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Skip("NOT TESTED: files with holes: ", err)
		}
	}
	folders, files := scan(t, root)
	if diff := cmp.Diff([]string{"a=0 b=1 c=2"}, show(files, find(t, folders, files, Options{}))); diff != "" {
		t.Error(diff)
	}
}

func b2i(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Who may open few files compares by hashes.
func TestFewDescriptors(t *testing.T) {
	root := t.TempDir()
	for n := range 60 {
		write(t, filepath.Join(root, fmt.Sprintf("%02d", n)), noise(uint64(n/50)<<20, wholeBelow+7))
	}
	folders, files := scan(t, root)
	for i := range files { // all begin alike
		b, err := os.ReadFile(filepath.Join(root, files[i].Name))
		if err != nil {
			t.Fatal(err)
		}
		copy(b, make([]byte, beginning))
		write(t, filepath.Join(root, files[i].Name), b)
	}
	folders, files = scan(t, root)
	want := naive(folders, files)
	var old, few unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few = unix.Rlimit{Cur: uint64(descriptors(t)) + 30, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	got := find(t, folders, files, Options{Hash: true, Unread: func(i int32, err error) { t.Error(files[i].Name, err) }})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What the disk must fetch is read as well as what is in memory.
func TestCold(t *testing.T) {
	root := t.TempDir()
	for n := range 200 {
		write(t, filepath.Join(root, fmt.Sprint("small", n)), noise(uint64(n/2), 3000))
	}
	for n := range 12 {
		write(t, filepath.Join(root, fmt.Sprint("large", n)), noise(uint64(n/2), 2*chunk+100))
	}
	folders, files := scan(t, root)
	for _, f := range files {
		open, err := os.Open(filepath.Join(folders[f.Folder].Path, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(open.Sync(), unix.Fadvise(int(open.Fd()), 0, 0, unix.FADV_DONTNEED), open.Close())
		if err != nil {
			t.Fatal(err)
		}
	}
	f, got := inspect(t, folders, files, Options{Hash: true})
	if diff := cmp.Diff(naive(folders, files), got); diff != "" {
		t.Error(diff)
	}
	t.Log("cold:", f.cold.Load())
}

func TestReflinks(t *testing.T) {
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("REFLINKS NOT TESTED: %v needs root and btrfs-progs: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	for _, size := range []int{50_000, 3 << 20} {
		name := func(s string) string { return filepath.Join(at, fmt.Sprint(size), s) }
		write(t, name("a"), noise(1, size))
		write(t, name("b"), noise(1, size))
		if err := os.Link(name("b"), name("c")); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sync", "-f", at).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		for from, to := range map[string]string{"a": "d", "b": "e"} {
			if out, err := exec.Command("cp", "--reflink=always", name(from), name(to)).CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
		}
	}
	write(t, filepath.Join(at, "tiny", "a"), []byte("in the metadata"))
	write(t, filepath.Join(at, "tiny", "b"), []byte("in the metadata"))
	folders, files := scan(t, at)
	want := []string{"a=0 b=1 c=1 d=0 e=1", "a=0 b=1 c=1 d=0 e=1", "a=0 b=1"}
	got := show(files, find(t, folders, files, Options{}))
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
