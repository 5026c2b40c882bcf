package organizer

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"forg/journal"
)

// cutShort records steps, and what is known of them, as a run that was cut short does, and settles it. hidden is given the
// hidden name of each step.
func (w *workshop) cutShort(outs []journal.Outcome, disk func(hidden func(no int64) string), steps ...journal.Step) []journal.StepResult {
	w.t.Helper()
	ctx := context.Background()
	begun, err := w.j.Begin(ctx, "organize", w.dir, "", int64(len(steps)), 0)
	w.must(err)
	for i := range steps {
		steps[i].No = int64(i + 1)
	}
	w.must(begun.Commit(ctx, steps, nil))
	if len(outs) > 0 {
		w.must(begun.Commit(ctx, nil, outs))
	}
	disk(func(no int64) string { return w.path(tempName(begun.UUID().String(), no)) })
	_, err = Recover(ctx, w.j)
	w.must(err)
	var all []journal.StepResult
	for s, err := range w.j.Steps(ctx, w.first(), false) {
		w.must(err)
		all = append(all, s)
	}
	w.fresh()
	return all
}

func state(t *testing.T, s journal.StepResult, want journal.State, text string) {
	t.Helper()
	if s.State != want || !strings.Contains(s.Err, text) {
		t.Errorf("%s: %s %q, not %s %q", s.Action, s.State, s.Err, want, text)
	}
}

func TestRecoverExtract(t *testing.T) {
	unpack := func(w *workshop, path string) journal.Outcome { // as the run would have
		w.must(os.MkdirAll(filepath.Join(path, "in"), 0o755))
		w.must(os.WriteFile(filepath.Join(path, "in", "x"), []byte("x"), 0o644))
		m, err := lstat(path)
		w.must(err)
		dir, err := openFolder(path)
		w.must(err)
		defer dir.close()
		digest, err := treeDigest(context.Background(), dir)
		w.must(err)
		return journal.Outcome{No: 1, Count: 1, State: journal.Copied, Ino: m.Ino, Born: m.Born, Hash: digest}
	}
	for _, c := range []struct {
		name             string
		complete, placed bool // of the hidden folder
		top              bool // its only folder is on the way up
		gone             bool // the archive is
		foreign          bool // the name is taken by a folder of somebody else
		want             journal.State
		text             string
		left             []string
	}{
		{name: "half", want: journal.NotDone, left: []string{"a.tar"}},
		{name: "half, on the way up", top: true, want: journal.NotDone, left: []string{"a.tar"}},
		{name: "complete", complete: true, want: journal.NotDone, left: []string{"a.tar"}},
		{name: "placed", complete: true, placed: true, want: journal.Done, left: []string{"a", "a.tar"}},
		{name: "placed, without the archive", complete: true, placed: true, gone: true, want: journal.Done, left: []string{"a"}},
		{name: "half, without the archive", gone: true, want: journal.Lost, text: "the archive is gone", left: []string{"HIDDEN"}},
		{name: "complete, without the archive", complete: true, gone: true, want: journal.Done, left: []string{"a"}},
		{name: "complete, without the archive and its name", complete: true, gone: true, foreign: true, want: journal.Lost, text: "the archive is gone", left: []string{"HIDDEN", "a"}},
		{name: "half, its name taken", foreign: true, want: journal.NotDone, left: []string{"a", "a.tar"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			w.file("a.tar", tarOf(t, tarFile("in/x", "x")))
			s := w.step(journal.Extract, "a.tar", "a", nil)
			// The outcome names a folder that must be made first, so it is made beside and renamed.
			var outs []journal.Outcome
			o := unpack(w, w.path("made"))
			if c.complete {
				outs = append(outs, o)
			}
			hiddenName := ""
			got := w.cutShort(outs, func(hidden func(int64) string) {
				hiddenName = filepath.Base(hidden(1))
				to := hidden(1)
				switch {
				case c.placed:
					to = w.path("a")
				case c.top:
					w.must(os.Mkdir(to, 0o700))
					to += topSuffix
				}
				w.must(os.Rename(w.path("made"), to))
				if c.foreign {
					w.file("a/mine", "mine")
				}
				if c.gone {
					w.must(os.Remove(w.path("a.tar")))
				}
			}, s)
			state(t, got[0], c.want, c.text)
			names := namesIn(t, w.dir)
			slices.Sort(names)
			for i, n := range names {
				if n == hiddenName {
					names[i] = "HIDDEN"
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, c.left) {
				t.Errorf("%q", names)
			}
			if c.foreign && content(t, w.path("a/mine")) != "mine" {
				t.Error("a folder of somebody else was touched")
			}
			if c.want == journal.Done {
				w.clean(w.undo())
				if slices.Contains(namesIn(t, w.dir), "a") {
					t.Error("not undone")
				}
			}
		})
	}
}

func TestRecoverWrite(t *testing.T) {
	for _, c := range []struct {
		name    string
		trashed bool   // the version before is in the trash
		hidden  bool   // the new one is under its hidden name
		there   string // what bears the name
		want    journal.State
		after   string
	}{
		{"nothing", false, false, "", journal.NotDone, "old;"},
		{"version before away", true, false, "", journal.NotDone, ""},
		{"hidden", true, true, "", journal.NotDone, ""},
		{"written", true, false, "old;new;", journal.Done, "old;new;"},
		{"written and edited", true, false, "old;new;mine;", journal.Lost, "old;new;mine;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			path := w.file("log.txt", "old;")
			steps := w.rewrite("log.txt", writeAppend, "new;")
			got := w.cutShort(nil, func(hidden func(int64) string) {
				if c.trashed {
					w.must(os.Rename(path, steps[0].ToPath()))
				}
				if c.hidden {
					w.must(os.WriteFile(hidden(2), []byte("old;ne"), 0o644))
				}
				if c.there != "" {
					w.must(os.WriteFile(path, []byte(c.there), 0o644))
				}
			}, steps...)
			state(t, got[1], c.want, "")
			after := ""
			if _, err := os.Lstat(path); err == nil {
				after = content(t, path)
			}
			if after != c.after {
				t.Errorf("%q", after)
			}
			if c.want != journal.Lost {
				w.clean(w.undo())
				if got := content(t, path); got != "old;" {
					t.Errorf("after the undo %q", got)
				}
			}
			if names := namesIn(t, w.dir); len(names) > 1 {
				t.Errorf("%q", names)
			}
		})
	}
}

func TestRecoverExec(t *testing.T) {
	w := newWorkshop(t)
	w.file("a.txt", "x")
	s := w.step(journal.Exec, "a.txt", "a.txt", execMetaOf([]string{"convert"}, nil, nil))
	got := w.cutShort([]journal.Outcome{{No: 1, Count: 1, State: journal.Done}, {No: 2, Count: 1, State: journal.Started}}, func(func(int64) string) {}, s, s, s)
	state(t, got[0], journal.Done, "")
	state(t, got[1], journal.Lost, "nobody knows whether it finished")
	state(t, got[2], journal.NotDone, "")
	res := w.undo()
	w.clean(res)
	if len(res.Notes) != 2 { // of the two that may have done something
		t.Errorf("%v", res.Notes)
	}
}

func TestRecoverSymlink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no links")
	}
	for _, there := range []string{"", "link", "another link", "file"} {
		w := newWorkshop(t)
		w.file("a.txt", "x")
		got := w.cutShort(nil, func(func(int64) string) {
			switch there {
			case "link":
				w.must(os.Symlink("a.txt", w.path("l")))
			case "another link":
				w.must(os.Symlink("b.txt", w.path("l")))
			case "file":
				w.file("l", "mine")
			}
		}, w.step(journal.Symlink, "a.txt", "l", []byte("a.txt")))
		before := w.there()
		if there != "link" {
			state(t, got[0], journal.NotDone, "")
			sameLines(t, there, before, w.there())
			continue
		}
		state(t, got[0], journal.Done, "")
		w.clean(w.undo())
		if names := namesIn(t, w.dir); len(names) != 1 {
			t.Errorf("%q", names)
		}
	}
	// One that had stepped aside to be removed comes back.
	w := newWorkshop(t)
	w.file("a.txt", "x")
	s := w.step(journal.Unsymlink, "l", "a.txt", []byte("a.txt"))
	got := w.cutShort(nil, func(hidden func(int64) string) { w.must(os.Symlink("a.txt", hidden(1)+oldSuffix)) }, s)
	state(t, got[0], journal.NotDone, "")
	if text, err := os.Readlink(w.path("l")); err != nil || text != "a.txt" {
		t.Errorf("%q, %v", text, err)
	}
}
