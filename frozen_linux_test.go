package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var freeze = flag.Bool("freeze", false, "write testdata/journals/v1.db anew; only for a schema that no release has")

// frozenRoot is where the files of the frozen journal were: paths in a journal are absolute.
const frozenRoot = "/tmp/forg-v1-fixture"

// frozenFiles are the files of the frozen journal, before and after its operations.
var frozenFiles = []struct{ before, after string }{
	{"a.txt", "tree/Documents/a.txt"},
	{"b.pdf", "tree/Documents/b.pdf"},
	{"漢字.jpg", "tree/Images/漢字.jpg"},
	{"bad\xff.mp3", "tree/Audio/bad\xff.mp3"},
	{"film.mkv", "tree/Videos/film.mkv"},
	{"film.srt", "tree/Videos/film.srt"},
	{"in/way.txt", "tree/Documents/way.txt"},
	{"Documents/way.txt", "home/data/Trash/files/way.txt"},
}

func frozenTime(i int) time.Time { return time.Unix(1600000000+int64(i)*86400, 123456789) }

func frozenContent(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("file %d\n", i), i+1)) }

// frozenTree lays the files of the frozen journal out, as they were before its operations or as they are after.
func frozenTree(after bool) error {
	for i, f := range frozenFiles {
		path := filepath.Join(frozenRoot, "tree", f.before)
		if after {
			path = filepath.Join(frozenRoot, f.after)
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		err = errors.Join(err, os.WriteFile(path, frozenContent(i), 0o644), os.Chtimes(path, frozenTime(i), frozenTime(i)))
		if err != nil {
			return err
		}
	}
	return nil
}

func frozenBox(t *testing.T) *crashBox {
	home := filepath.Join(frozenRoot, "home")
	return &crashBox{forg: crashForg(t), dir: frozenRoot, root: filepath.Join(frozenRoot, "tree"), env: []string{"HOME=" + home, "XDG_STATE_HOME=" + home + "/state",
		"XDG_DATA_HOME=" + home + "/data", "XDG_CONFIG_HOME=" + home + "/config", "XDG_CACHE_HOME=" + home + "/cache", "TZ=UTC", "PATH=" + os.Getenv("PATH")}}
}

// TestFreeze writes the journal that TestFrozenJournal reads:
//
//	go test -run TestFreeze -freeze .
//
// It is one organize that was undone and one, with a file in the way, that was not. A journal of a released schema is
// never written again: the next schema gets its own.
func TestFreeze(t *testing.T) {
	if !*freeze { // it is no test of anything, but a tool that needs what the tests have
		return
	}
	if _, err := os.Lstat(frozenRoot); err == nil {
		t.Fatalf("%s is in the way", frozenRoot)
	}
	defer os.RemoveAll(frozenRoot)
	if err := frozenTree(false); err != nil {
		t.Fatal(err)
	}
	b := frozenBox(t)
	for _, args := range [][]string{
		{"organize", "--min-age", "0", b.root}, {"undo"},
		{"organize", "--min-age", "0", "-r", "--again", "--on-conflict", "overwrite", "--prune-empty", b.root},
	} {
		if out := b.run(args...); out.code != 0 {
			t.Fatalf("forg %v: exit code %d: %s", args, out.code, out.stderr)
		}
	}
	for i, f := range frozenFiles {
		if data, err := os.ReadFile(filepath.Join(frozenRoot, f.after)); err != nil || string(data) != string(frozenContent(i)) {
			t.Fatalf("%q is not where the table says: %v", f.before, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(frozenRoot, "home", "state", "forg", "journal.db"))
	if err == nil {
		err = os.MkdirAll("testdata/journals", 0o755)
	}
	if err == nil {
		err = os.WriteFile("testdata/journals/v1.db", data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFrozenJournal reads journals of every released schema with today's forg, and undoes what they have recorded. The
// files are laid out again where they were, on another file system and so with other inodes, as after a restore from
// a backup.
func TestFrozenJournal(t *testing.T) {
	frozen, err := filepath.Glob("testdata/journals/v*.db")
	if err != nil || frozen == nil {
		t.Fatal("no frozen journal", err)
	}
	b := frozenBox(t)
	for _, name := range frozen {
		db, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := withOwnMounts(func() error { return nil }); err != nil {
			crashSkip(t, fmt.Sprintf("FROZEN JOURNALS NOT TESTED: a mount namespace: %v", err))
		}
		err = withOwnMounts(func() error { // nobody else sees the folder's new content
			made := os.Mkdir(frozenRoot, 0o755)
			if made != nil && !errors.Is(made, fs.ErrExist) {
				return made
			}
			if made == nil {
				defer os.Remove(frozenRoot)
			}
			if err := syscall.Mount("tmpfs", frozenRoot, "tmpfs", 0, "size=16m"); err != nil {
				return err
			}
			defer unmount(frozenRoot)
			return checkFrozen(b, db)
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func checkFrozen(b *crashBox, db []byte) error {
	if err := frozenTree(true); err != nil {
		return err
	}
	state := filepath.Join(frozenRoot, "home", "state", "forg")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(state, "journal.db"), db, 0o600); err != nil {
		return err
	}
	for _, try := range []struct {
		args []string
		says string
	}{
		{[]string{"doctor"}, "is sound"},
		{[]string{"history"}, "undo"},
		{[]string{"show", "1"}, "漢字.jpg"},
		{[]string{"where", "way.txt"}, "way.txt"},
		{[]string{"undo"}, "Put back 8 files"},
	} {
		if out := b.run(try.args...); out.code != 0 || !strings.Contains(out.stdout, try.says) {
			return fmt.Errorf("forg %v: exit code %d, %s%s, want %q", try.args, out.code, out.stdout, out.stderr, try.says)
		}
	}
	want := map[string]string{}
	for i, f := range frozenFiles {
		want[f.before] = fmt.Sprint(string(frozenContent(i)), frozenTime(i).UnixNano())
	}
	got := map[string]string{}
	err := filepath.WalkDir(b.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		info, ierr := e.Info()
		if err := errors.Join(err, ierr); err != nil {
			return err
		}
		rel, err := filepath.Rel(b.root, path)
		got[rel] = fmt.Sprint(string(data), info.ModTime().UnixNano())
		return err
	})
	if err == nil && !maps.Equal(want, got) {
		err = fmt.Errorf("after undo there are %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if out := b.run("doctor"); err == nil && out.code != 0 {
		err = fmt.Errorf("forg doctor: exit code %d: %s", out.code, out.stdout)
	}
	return err
}
