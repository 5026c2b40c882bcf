package journal

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEvents: whoever carries the log elsewhere sees all of it, once, in order, and after a prune that something is gone.
func TestEvents(t *testing.T) {
	j := open(t, tempJournal(t), time.Unix(1000, 0))
	defer j.Close()
	first := record(t, j, "first", 20, 0)
	for range 5 { // more than one page
		record(t, j, "x", 2, 0)
	}
	record(t, j, "undo", 4, first)
	epochs, err := j.Epochs(ctx)
	must(t, err)
	if len(epochs) != 1 {
		t.Fatalf("%+v", epochs)
	}
	read := func(after int64) (all []any) {
		t.Helper()
		for e, err := range j.Events(ctx, epochs[0].ID, after) {
			must(t, err)
			if e.Seq != after+1 || !e.At.Equal(time.Unix(1000, 0)) {
				t.Fatalf("event %d follows %d, %v", e.Seq, after, e.At)
			}
			after = e.Seq
			v, err := e.Read()
			must(t, err)
			all = append(all, v)
		}
		return all
	}
	all := read(0)
	if int64(len(all)) != epochs[0].Last || len(read(epochs[0].Last)) != 0 {
		t.Fatalf("%d events, the last is %d", len(all), epochs[0].Last)
	}
	if diff := cmp.Diff(all[5:], read(5)); diff != "" {
		t.Error(diff)
	}
	counts := map[string]int{}
	for _, v := range all {
		switch v := v.(type) {
		case Start:
			if (v.Kind == "undo") != (v.Undoes.Version() == 7) {
				t.Errorf("%+v", v)
			}
			counts["start"]++
		case []Step:
			counts["steps"] += len(v)
		case []Outcome:
			counts["outcomes"] += len(v)
		case []FolderTime:
			counts["folders"] += len(v)
		case Finish:
			counts["finish"]++
		}
	}
	if diff := cmp.Diff(map[string]int{"start": 7, "steps": 34, "outcomes": 7, "folders": 7, "finish": 7}, counts); diff != "" {
		t.Error(diff)
	}
	n, err := j.Prune(ctx, time.Unix(2000, 0), false)
	must(t, err)
	after := read(0)
	for i, v := range after {
		_, gone := v.(Forgotten)
		_, pruned := v.(Pruned)
		if old := i < len(all); old != gone || old == pruned {
			t.Errorf("event %d is %T", i+1, v)
		}
	}
	if int64(len(after)) != int64(len(all))+n {
		t.Errorf("%d events before, %d after %d operations were pruned", len(all), len(after), n)
	}
}
