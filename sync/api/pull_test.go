package api

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func pulled(t testing.TB) (lines []byte, want []PullEntry) {
	t.Helper()
	var b bytes.Buffer
	for i, e := range story(t) {
		want = append(want, PullEntry{ServerSeq: int64(i)*3 + 7, DeviceID: device, Epoch: epoch, ReceivedAt: time.UnixMicro(1785574900000000).UTC(), Entry: e})
		if err := WritePull(&b, &want[i]); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n") // a line that keeps the connection alive
	}
	b.WriteString(`{"hint":"of a newer server"}` + "\n")
	if err := WritePull(&b, &PullEnd{Next: 40, Head: 99}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), want
}

func readPull(r io.Reader, after int64) (got []PullEntry, end PullEnd, err error) {
	p := NewPullReader(r, after, DefaultLimits())
	for {
		e, err := p.Next()
		if errors.Is(err, io.EOF) {
			end, _ = p.End()
			return got, end, nil
		}
		if err != nil {
			return got, end, err
		}
		got = append(got, *e)
	}
}

func TestPull(t *testing.T) {
	lines, want := pulled(t)
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(lines), "byte by byte": iotest.OneByteReader(bytes.NewReader(lines))} {
		got, end, err := readPull(r, 0)
		if diff := cmp.Diff(want, got); err != nil || diff != "" || end.Next != 40 || end.Head != 99 {
			t.Errorf("%s: %v %+v %s", name, err, end, diff)
		}
	}
	// Wherever the answer is cut off, that is seen, and all that came whole is there.
	for n := range lines {
		if n%7 != 0 {
			continue
		}
		got, _, err := readPull(bytes.NewReader(lines[:n]), 0)
		if !errors.Is(err, ErrCut) || len(got) > len(want) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(lines), err)
		}
	}
	if _, _, err := readPull(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(lines))), 0); !errors.Is(err, iotest.ErrTimeout) {
		t.Error("an error of the connection is", err)
	}
	if _, _, err := readPull(bytes.NewReader(lines), 7); err == nil || !strings.Contains(err.Error(), "does not follow") {
		t.Error("what was pulled before is taken again:", err)
	}
	forged := bytes.Replace(lines, []byte(`"seq":4,`), []byte(`"seq":5,`), 1)
	_, _, err := readPull(bytes.NewReader(forged), 0)
	if p := problemOf(t, err); p.Errors[0].Location != "entry.sha256" {
		t.Error("a forged entry is", err)
	}
	if _, _, err := readPull(strings.NewReader(strings.Repeat("x", 8<<20)), 0); err == nil || errors.Is(err, ErrCut) {
		t.Error("a line without end is", err)
	}
}

func FuzzPull(f *testing.F) {
	lines, _ := pulled(f)
	first, _, _ := bytes.Cut(lines, []byte("\n"))
	f.Add(string(first) + "\n" + `{"next":40,"head":99}` + "\n") // short, since the fuzzer tries each byte
	f.Fuzz(func(t *testing.T, s string) {
		got, end, err := readPull(strings.NewReader(s), 0)
		last := int64(0)
		for _, e := range got {
			if e.ServerSeq <= last {
				t.Fatal("the order of the server is lost")
			}
			last = e.ServerSeq
		}
		if err != nil && end != (PullEnd{}) {
			t.Fatal("an error has an end")
		}
	})
}

func TestCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Cursor{Micros: rapid.Int64().Draw(t, "micros"), Seq: rapid.Int64().Draw(t, "seq")}
		if rapid.Bool().Draw(t, "id") {
			c.ID = uuid.New()
		}
		text := c.Encode("operations?status=failed")
		got, err := ParseCursor(text, "operations?status=failed")
		if err != nil || got != c {
			t.Fatal(got, err)
		}
		if _, err := ParseCursor(text, "operations"); !errors.Is(err, ErrCursor) {
			t.Fatal("a cursor of another list is taken")
		}
	})
	text := Cursor{Micros: math.MinInt64, ID: uuid.Max}.Encode("")
	for i := range text {
		if _, err := ParseCursor(text[:i], ""); err == nil {
			t.Errorf("%q is a cursor", text[:i])
		}
	}
	for _, bad := range []string{"", "x", "====", text + "A", strings.Repeat("A", 100), "\x00"} {
		if _, err := ParseCursor(bad, ""); !errors.Is(err, ErrCursor) {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(Cursor{Micros: 5, ID: uuid.New()}.Encode("x"))
	f.Add(Cursor{Seq: 5}.Encode("x"))
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseCursor(s, "x"); err == nil && c.Encode("x") != s {
			t.Fatal("two forms of one cursor")
		}
	})
}

// TestScan: what the quick reader of a line takes it reads as encoding/json does, and it takes what our servers write.
func TestScan(t *testing.T) {
	lines, want := pulled(t)
	var all [][]byte
	for line := range bytes.Lines(lines) {
		if line = bytes.TrimSpace(line); bytes.HasPrefix(line, []byte(`{"server_seq"`)) {
			all = append(all, line)
		}
	}
	if len(all) != len(want) {
		t.Fatalf("%d lines of %d", len(all), len(want))
	}
	for i, line := range all {
		if l := new(pullLine); !l.scan(line) || !cmp.Equal(l.PullEntry, want[i]) {
			t.Errorf("not taken: %s", line)
		}
	}
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		line := bytes.Clone(rapid.SampledFrom(all).Draw(t, "line"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(line)-1).Draw(t, "at")
			switch piece := rapid.SampledFrom([]string{"", ",", `"`, "{", "}", "0", "-", ".", "e", `\u0041`, "\xff", " ", "null", `,"seq":7`, `"id"`, "A", "\x00", "=", "]"}).Draw(t, "piece"); rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				line = slices.Insert(line, at, []byte(piece)...)
			case 1:
				line = slices.Delete(line, at, at+1)
			default:
				line = slices.Replace(line, at, at+1, []byte(piece)...)
			}
			if len(line) == 0 {
				return
			}
		}
		quick, slow := new(pullLine), new(pullLine)
		if !quick.scan(line) {
			return
		}
		taken++
		if err := unmarshal(line, slow); err != nil {
			t.Fatalf("%q is taken, and is no JSON: %v", line, err)
		}
		if diff := cmp.Diff(slow.PullEntry, quick.PullEntry); diff != "" || slow.Next != nil {
			t.Fatalf("%q is read otherwise: %s", line, diff)
		}
	})
	if taken == 0 {
		t.Error("nothing was taken")
	}
}
