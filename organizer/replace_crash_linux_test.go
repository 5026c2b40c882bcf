package organizer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"forg/journal"
)

// What is done about duplicates, killed and failing at every system call, as actions_crash_linux_test.go does it for the
// actions of rules. In and after every moment each content must be there, and each file that had a content of its own.
//
//	FORG_KILLS=1000 go test -run TestDuplicates ./organizer

// dupesFill makes files that stay and duplicates of them, one for each way to be rid of it.
func dupesFill(t testing.TB, w *workshop) {
	for _, name := range []string{"a", "b"} {
		text := strings.Repeat(name+" has this content\n", 200)
		w.file("keep/"+name, text)
		for _, act := range replacing {
			w.file("in/"+name+" "+act, text)
			w.must(os.Chmod(w.path("in/"+name+" "+act), 0o604))
		}
	}
	w.must(os.Link(w.path("in/a hardlink"), w.path("in/a hardlink too")))
	w.must(os.Link(w.path("in/a symlink"), w.path("in/a symlink too")))
	w.must(os.MkdirAll(w.path("dups"), 0o755))
}

func dupesSteps(w *workshop) []journal.Step {
	var steps []journal.Step
	for _, name := range []string{"a", "b"} {
		for _, act := range replacing {
			steps = append(steps, w.dup(act, "in/"+name+" "+act, "keep/"+name))
		}
	}
	steps = append(steps, w.dup("hardlink", "in/a hardlink too", "keep/a"), w.dup("symlink", "in/a symlink too", "keep/a"))
	steps[0].Unit, steps[len(steps)-2].Unit = 1, 1
	return slices.Concat(steps[:1], steps[len(steps)-2:len(steps)-1], steps[1:len(steps)-2], steps[len(steps)-1:])
}

func dupesContents(t testing.TB, w *workshop) []string {
	return []string{content(t, w.path("keep/a")), content(t, w.path("keep/b"))}
}

func shareFill(t testing.TB, w *workshop) {
	for _, name := range []string{"a", "b"} {
		text := strings.Repeat(name+" has this content\n", 10_000)
		w.file("keep/"+name, text)
		for n := range 2 {
			w.file(fmt.Sprint("in/", name, n), text)
		}
	}
}

func shareSteps(w *workshop) []journal.Step {
	var steps []journal.Step
	for _, name := range []string{"a", "b"} {
		for n := range 2 {
			steps = append(steps, w.dup("share", fmt.Sprint("in/", name, n), "keep/"+name))
		}
	}
	return steps
}

func TestDuplicatesCrash(t *testing.T) {
	for _, set := range []string{"dupes", "steps"} {
		t.Run(set, func(t *testing.T) { actionsCrash(t, set, fastFolder(t)) })
	}
}

func TestDuplicatesFaults(t *testing.T) {
	for _, set := range []string{"dupes", "steps"} {
		t.Run(set, func(t *testing.T) { actionsFaults(t, set, fastFolder(t)) })
	}
}

func TestShareCrash(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) { actionsCrash(t, "share", loopDisk(t, kind)) })
	}
}

func TestShareFaults(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) { actionsFaults(t, "share", loopDisk(t, kind)) })
	}
}
