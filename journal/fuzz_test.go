package journal

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func seedSteps() []Step {
	a := &Folder{Path: "/home/a", Volume: 1, Ino: 2, Mtime: 3, Atime: 4}
	b := &Folder{Path: "/home/a/Documents", Volume: 1, Mtime: -5}
	bad := &Folder{Path: "/home/\xff\xfe"}
	return []Step{
		{No: 1, Action: Mkdir, ToDir: a, To: "Documents", File: Identity{Mode: 0o40755}},
		{No: 2, Action: Rename, FromDir: a, From: "x.txt", ToDir: b, To: "x.txt", File: Identity{Ino: 9, Born: 1e18, Size: 7, Mtime: 1e18, Mode: 0o100644}, Label: "Documents"},
		{No: 3, Action: Trash, FromDir: a, From: "y", ToDir: bad, To: "y (2)", File: Identity{Ino: 8, Mode: 0o100644}, Label: "Trash", Unit: 4, Ref: 17},
		{No: 9, Action: Rmdir, FromDir: b, From: "z", Meta: []byte(`{"Mode":1}`), Ref: 3},
		{No: 10, Action: Copy, FromDir: a, From: "\xff", ToDir: b, To: "\xff", File: Identity{Ino: 1<<64 - 1, Born: -1 << 63, Size: 1<<63 - 1, Mtime: 1<<63 - 1}},
		{No: 11, Action: Write, ToDir: b, To: "log.txt", Meta: []byte(`{"mode":"append"}`)},
		{No: 12, Action: Exec, FromDir: a, From: "x", ToDir: a, To: "x", Meta: []byte(`{"argv":["true"]}`), Unit: 5},
	}
}

// modest fails the test if f takes much more memory than its input is long.
func modest(t *testing.T, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(n)*400+2*maxPaths {
		t.Fatalf("%d bytes of input took %d bytes of memory", n, took)
	}
}

func FuzzDecodeSteps(f *testing.F) {
	f.Add(encodeSteps(seedSteps()))
	f.Add(encodeSteps(nil))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var steps []Step
		var err error
		modest(t, len(b), func() { steps, err = decodeSteps(b) })
		if err != nil {
			return
		}
		again, err := decodeSteps(encodeSteps(steps))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(steps, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDecodeOutcomes(f *testing.F) {
	f.Add(encodeOutcomes([]Outcome{{No: 1, Count: 1, State: Skipped, Err: "why"}, {No: 2, Count: 4000, State: NotDone}, {No: 9, Count: 1, State: Copied, Ino: 4, Born: 5, Hash: make([]byte, 32)}}))
	f.Add(encodeOutcomes(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var outs []Outcome
		var err error
		modest(t, len(b), func() { outs, err = decodeOutcomes(b) })
		if err != nil {
			return
		}
		for i := range outs {
			outs[i].Count = max(outs[i].Count, 1) // as the encoder has it
		}
		again, err := decodeOutcomes(encodeOutcomes(outs))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(outs, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDecodeFolderTimes(f *testing.F) {
	f.Add(encodeFolderTimes([]FolderTime{{"/home/a", 1}, {"/home/\xff", -1 << 63}}))
	f.Add(encodeFolderTimes(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var times []FolderTime
		var err error
		modest(t, len(b), func() { times, err = decodeFolderTimes(b) })
		if err != nil {
			return
		}
		again, err := decodeFolderTimes(encodeFolderTimes(times))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(times, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}
