package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// sample is records as an organize of Go's own source tree would make them: real names, real sizes.
func sample(t testing.TB, n int) Files {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	var all Files
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || len(all) == n {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		category := "Documents"
		switch filepath.Ext(path) {
		case ".go", ".s", ".h", ".c":
			category = "Code"
		case ".zip", ".gz":
			category = "Archives"
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(root))
		all = append(all, FileRecord{
			Seq: int64(len(all)) + 1, SourcePath: "/home/somebody/src" + name,
			DestinationPath: "/home/somebody/Sorted/" + category + "/" + filepath.Base(path),
			Size:            st.Size(), Category: category, Action: "rename", Status: FilePlanned,
			MovedAt: time.UnixMicro(1790000000000000).UTC(),
		})
		return nil
	})
	if err != nil || len(all) < n {
		t.Skipf("NOT TESTED on real names: Go's source tree has %d files here, %v", len(all), err)
	}
	return all
}

func encoded(t testing.TB, f Files) []byte {
	t.Helper()
	b, err := f.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decoded(b []byte) (Files, error) {
	var all Files
	for r, err := range readFiles(b, true) {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// TestRecordSize holds what a record may take on the wire and at rest.
func TestRecordSize(t *testing.T) {
	for _, n := range []int{1000, 4096} {
		raw := encoded(t, sample(t, n))
		e := Entry{Seq: 1, Kind: KindFiles, Schema: 1}
		e.SetRaw(raw)
		each := float64(len(e.Body)) / float64(n)
		t.Logf("%d records: %.1f bytes a record, %.1f before compression", n, each, float64(len(raw))/float64(n))
		if each > 18 {
			t.Errorf("a record takes %.1f bytes, at most 18 are wanted", each)
		}
	}
}

func anyPath() *rapid.Generator[string] {
	part := rapid.SampledFrom([]string{"a", "home", "Sorted", "IMG_2041.CR2", "IMG_2042.CR2", "x.tar.gz", "Ünïcödé 🙂", "\xff\xfe", " ", "..", "C:"})
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom([]string{"", "/", `\\server\`, `C:\`}).Draw(t, "root")
		return s + strings.Join(rapid.SliceOfN(part, 1, 5).Draw(t, "parts"), rapid.SampledFrom([]string{"/", `\`}).Draw(t, "separator"))
	})
}

func anyFiles() *rapid.Generator[Files] {
	word := rapid.SampledFrom([]string{"Images", "rename", "done", "Ünï", "x"})
	return rapid.Custom(func(t *rapid.T) Files {
		var all Files
		seq := int64(0)
		for range rapid.IntRange(0, 30).Draw(t, "n") {
			seq += rapid.SampledFrom([]int64{1, 1, 1, 2, 100, 1 << 40}).Draw(t, "gap")
			r := FileRecord{Seq: seq, Size: rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"), Category: word.Draw(t, "category"),
				Action: word.Draw(t, "action"), Status: FileStatus(word.Draw(t, "status"))}
			sides := rapid.IntRange(1, 3).Draw(t, "sides")
			if sides&1 != 0 {
				r.SourcePath = anyPath().Draw(t, "source")
			}
			if sides&2 != 0 {
				r.DestinationPath = anyPath().Draw(t, "destination")
			}
			r.MarkBytes()
			if rapid.Bool().Draw(t, "moved") {
				r.MovedAt = time.UnixMicro(rapid.Int64Range(0, maxMicros).Draw(t, "at")).UTC()
			}
			if rapid.Bool().Draw(t, "hashed") {
				r.ContentHash = rapid.SampledFrom(hashNames[1:]).Draw(t, "algorithm") + ":" + strings.Repeat(rapid.SampledFrom([]string{"00", "a7"}).Draw(t, "hash"), 32)
			}
			r.Error = rapid.SampledFrom([]string{"", "", "permission denied", "\xff"}).Draw(t, "error")
			all = append(all, r)
		}
		return all
	})
}

func TestFilesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFiles().Draw(t, "files")
		b, err := f.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoded(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, got); diff != "" {
			t.Fatal(diff)
		}
		again, err := got.encode()
		if err != nil || !bytes.Equal(b, again) {
			t.Fatal("the same records give other bytes", err)
		}
	})
}

// TestFilesNewer: a chunk of a newer forg may have more columns, which are left aside.
func TestFilesNewer(t *testing.T) {
	f := Files{{Seq: 1, SourcePath: "/a/b", DestinationPath: "/c/b", Size: 7, Action: "rename", Status: FileDone}}
	head := column{b: encoded(t, f)}
	head.uint()
	n := head.uint()
	cols := head.uint()
	b := binary.AppendUvarint(nil, chunkVersion)
	b = binary.AppendUvarint(b, n)
	b = binary.AppendUvarint(b, cols+1)
	sizes := 0
	for range cols {
		v := head.uint()
		b = binary.AppendUvarint(b, v)
		sizes += int(v)
	}
	b = binary.AppendUvarint(b, 3)
	b = append(append(b, head.b...), "new"...)
	got, err := decoded(b)
	if diff := cmp.Diff(f, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if len(head.b) != sizes {
		t.Error("the columns do not fill the chunk")
	}
}

func TestFilesRefused(t *testing.T) {
	good := func() FileRecord {
		return FileRecord{Seq: 1, SourcePath: "/a", DestinationPath: "/b", Action: "rename", Status: FileDone}
	}
	for want, change := range map[string]func(*FileRecord){
		"seq: 0 does not follow 0":  func(r *FileRecord) { r.Seq = 0 },
		"size: -1":                  func(r *FileRecord) { r.Size = -1 },
		"source_path: neither":      func(r *FileRecord) { r.SourcePath, r.DestinationPath = "", "" },
		"action: is empty":          func(r *FileRecord) { r.Action = "" },
		"status: is empty":          func(r *FileRecord) { r.Status = "" },
		"content_hash: is not":      func(r *FileRecord) { r.ContentHash = "md5:00" },
		"content_hash: is not an":   func(r *FileRecord) { r.ContentHash = "blake3:" + strings.Repeat("AA", 32) },
		"content_hash: is not hexa": func(r *FileRecord) { r.ContentHash = "blake3:" + strings.Repeat("zz", 32) },
		"record 0":                  func(r *FileRecord) { r.SourcePath = "/" + strings.Repeat("x", MaxPath) },
		"label 0":                   func(r *FileRecord) { r.Category = strings.Repeat("x", maxWord+1) },
	} {
		r := good()
		change(&r)
		if _, err := (Files{r}).encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := make(Files, MaxRecords+1).encode(); err == nil {
		t.Error("too many records are written")
	}
}

// allocated is how many bytes f allocates, freed again or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// chunkOf builds a chunk out of columns, as an attacker would.
func chunkOf(n uint64, col [columns][]byte) []byte {
	b := binary.AppendUvarint(nil, chunkVersion)
	b = binary.AppendUvarint(b, n)
	b = binary.AppendUvarint(b, columns)
	for _, c := range col {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	for _, c := range col {
		b = append(b, c...)
	}
	return b
}

// TestFilesBombs: whatever a small chunk claims, reading it takes bounded memory.
func TestFilesBombs(t *testing.T) {
	var names, dirs [columns][]byte
	name := strings.Repeat("n", MaxPath-1)
	names[colFolders] = appendString(binary.AppendUvarint(nil, 0), "/")
	names[colLabels] = append(append(appendString(nil, ""), appendString(nil, "a")...), appendString(nil, "s")...)
	for i := range MaxRecords { // each name is all of the one before
		names[colFlags] = append(names[colFlags], hasSource|hasTarget)
		names[colSeq] = append(names[colSeq], 0)
		names[colSource], names[colTarget] = append(names[colSource], 0), append(names[colTarget], 0)
		names[colSize], names[colLabel] = append(names[colSize], 0), append(names[colLabel], 0)
		if i == 0 {
			names[colShared] = binary.AppendUvarint(names[colShared], 0)
			names[colLength] = binary.AppendUvarint(names[colLength], uint64(len(name)))
			names[colNames] = append(names[colNames], name...)
			continue
		}
		names[colShared] = binary.AppendUvarint(names[colShared], uint64(len(name)))
		names[colLength] = append(names[colLength], 0)
	}
	for i := range 2 * MaxRecords { // and so with folders
		if i == 0 {
			dirs[colFolders] = appendString(binary.AppendUvarint(nil, 0), name)
			continue
		}
		dirs[colFolders] = append(binary.AppendUvarint(dirs[colFolders], uint64(len(name))), 0)
	}
	for what, b := range map[string][]byte{
		"names":            chunkOf(MaxRecords, names),
		"folders":          chunkOf(0, dirs),
		"number":           binary.AppendUvarint([]byte{chunkVersion}, math.MaxUint64),
		"too many records": chunkOf(MaxRecords+1, names),
	} {
		var err error
		took := allocated(func() {
			for _, err = range readFiles(b, true) {
			}
		})
		t.Logf("%s: %d bytes claim much, reading took %d kB: %v", what, len(b), took>>10, err)
		if !errors.Is(err, errChunk) || took > maxText+2*maxFolders {
			t.Errorf("%s: %d bytes were allocated, %v", what, took, err)
		}
		if took := allocated(func() {
			for range readFiles(b, false) {
			}
		}); took > 2*maxFolders {
			t.Errorf("%s: checking allocated %d bytes", what, took)
		}
	}
}

// TestBodyBombs: compression cannot blow up a body beyond its limit.
func TestBodyBombs(t *testing.T) {
	const limit = 4 << 20
	whole := func(b []byte, opts ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(b, nil)
	}
	zeros := make([]byte, 64<<20)
	stream := func(b []byte) []byte { // a stream does not tell its size
		var out bytes.Buffer
		e, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		for chunk := range slices.Chunk(b, 1<<20) {
			e.Write(chunk)
			e.Flush()
		}
		e.Close()
		return out.Bytes()
	}
	small := whole(bytes.Repeat([]byte("forg"), 500))
	for what, body := range map[string][]byte{
		"64 MiB":            whole(zeros),
		"no size":           stream(zeros),
		"two frames":        append(slices.Clone(small), whole(zeros)...),
		"trailing rubbish":  append(slices.Clone(small), "rubbish"...),
		"skippable frame":   {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4},
		"cut":               small[:len(small)-3],
		"empty":             {},
		"no frame":          []byte("hello"),
		"1 byte over":       whole(make([]byte, limit+1)),
		"claims too little": lie(small, 100),
		"claims too much":   lie(small, limit),
	} {
		e := Entry{Codec: CodecZstd, Body: body}
		var err error
		took := allocated(func() { _, err = e.Raw(limit) })
		if err == nil || took > 3*limit {
			t.Errorf("%s: %d bytes were allocated, %v", what, took, err)
		}
	}
	e := Entry{Codec: CodecZstd, Body: whole(make([]byte, limit))}
	if raw, err := e.Raw(limit); err != nil || len(raw) != limit {
		t.Error(len(raw), err)
	}
	e = Entry{Codec: CodecZstd, Body: whole(nil, zstd.WithZeroFrames(true))}
	if raw, err := e.Raw(limit); err != nil || len(raw) != 0 {
		t.Error(len(raw), err)
	}
}

// lie changes the size that a frame tells.
func lie(frame []byte, size int) []byte {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		panic(err)
	}
	// Magic number, descriptor (single segment, 4 bytes of size, checksum as it was), size, blocks.
	out := append([]byte{}, frame[:4]...)
	out = append(out, 0xa0|frame[4]&4)
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	return append(out, frame[h.HeaderSize:]...)
}

// TestFilesGolden holds the form of a chunk: what one forg wrote, every later one reads, and writes the same.
func TestFilesGolden(t *testing.T) {
	f := Files{
		{Seq: 1, SourcePath: "/home/ada/Downloads/invoice-2026-07.pdf", DestinationPath: "/home/ada/Downloads/Documents/invoice-2026-07.pdf",
			Size: 180000, Category: "Documents", Action: "rename", Status: FilePlanned, MovedAt: time.UnixMicro(1785574800123456).UTC()},
		{Seq: 2, SourcePath: "/home/ada/Downloads/invoice-2026-08.pdf", DestinationPath: "/home/ada/Downloads/Documents/invoice-2026-08 (2).pdf",
			Size: 181000, ContentHash: "blake3:" + strings.Repeat("0123456789abcdef", 4), Category: "Documents", Action: "move", Status: FileFailed, Error: "permission denied"},
		{Seq: 4, DestinationPath: `C:\Users\ada\Bilder\Größe.png`, Size: 0, Category: "Images", Action: "mkdir", Status: FileSkipped},
		{Seq: 9, SourcePath: "name without folder", Size: math.MaxInt64, Action: "rmdir", Status: FileDone, MovedAt: time.UnixMicro(0).UTC()},
		{Seq: 10, SourcePath: "/latin1/\xfcber.txt", SourcePathBytes: []byte("/latin1/\xfcber.txt"), DestinationPath: "/latin1/", Action: "untrash", Status: FileLost},
	}
	golden := filepath.Join("..", "..", "testdata", "sync", "files-1.chunk")
	b := encoded(t, f)
	if *update {
		freeze(t, golden, b)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("the records give\n%x, frozen are\n%x", b, want)
	}
	got, err := decoded(want)
	if diff := cmp.Diff(f, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestOutcomes(t *testing.T) {
	at := time.UnixMicro(1e15).UTC()
	hash := func(c string) string { return "blake3:" + strings.Repeat(c, 64) }
	var s OutcomeSet
	s.Add([]Outcome{
		{Seq: 2, Status: FileFailed, Error: "permission denied"},
		{Seq: 3, ContentHash: hash("a")}, // a copy
		{Seq: 4, Status: FileFailed, Error: "no space"},
		{Seq: 5, Count: 3, Status: FileNotDone},
		{Seq: 8, Status: FileSkipped},
	})
	s.Add([]Outcome{{Seq: 4, Status: FileDone}, {Seq: 6, Status: FileDone, ContentHash: hash("b")}, {Seq: 8, ContentHash: hash("c")}})
	s.Add([]Outcome{{Seq: 7, Count: 1, Status: FileLost}, {Seq: 100, Count: 1000, Status: FileNotDone}})
	record := func(seq int64) FileRecord { return FileRecord{Seq: seq, Status: FilePlanned, MovedAt: at} }
	want := map[int64]FileRecord{
		1: {Seq: 1, Status: FileDone, MovedAt: at},
		2: {Seq: 2, Status: FileFailed, Error: "permission denied"},
		3: {Seq: 3, Status: FileDone, ContentHash: hash("a"), MovedAt: at},
		4: {Seq: 4, Status: FileDone, MovedAt: at},
		5: {Seq: 5, Status: FileNotDone},
		6: {Seq: 6, Status: FileDone, ContentHash: hash("b"), MovedAt: at},
		7: {Seq: 7, Status: FileLost},
		8: {Seq: 8, Status: FileSkipped, ContentHash: hash("c")},
		9: {Seq: 9, Status: FileDone, MovedAt: at}, 500: {Seq: 500, Status: FileNotDone}, 1099: {Seq: 1099, Status: FileNotDone},
		1100: {Seq: 1100, Status: FileDone, MovedAt: at},
	}
	for seq, want := range want {
		got := record(seq)
		s.Apply(&got, OpPartial)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record %d: %s", seq, diff)
		}
	}
	running := record(1)
	if s.Apply(&running, OpRunning); running.Status != FilePlanned {
		t.Errorf("of a running operation it is %s", running.Status)
	}
	var none OutcomeSet
	if r := record(1); true {
		if none.Apply(&r, OpCompleted); r.Status != FileDone {
			t.Errorf("without outcomes it is %s", r.Status)
		}
	}
}

func FuzzFiles(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		var all Files
		for i := range n {
			all = append(all, FileRecord{Seq: int64(i) + 1, SourcePath: fmt.Sprintf("/a/%d", i), DestinationPath: "/b/x", Action: "rename", Status: "done",
				ContentHash: "sha256:" + strings.Repeat("5a", 32), Error: "e", MovedAt: time.UnixMicro(5)})
		}
		b, err := all.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checks := 0
		var bad error
		for _, err := range readFiles(b, false) {
			checks++
			bad = err
		}
		got, err := decoded(b)
		if (err == nil) != (bad == nil) {
			t.Fatalf("checking says %v, reading %v", bad, err)
		}
		if err != nil {
			return
		}
		if checks != len(got) {
			t.Fatalf("checking sees %d records, reading %d", checks, len(got))
		}
		again, err := got.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := decoded(again)
		if diff := cmp.Diff(got, back); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func BenchmarkFiles(b *testing.B) {
	for _, n := range []int{1000, 4096} {
		f := sample(b, n)
		per := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
		}
		e, err := NewEntry(1, uuid.New(), uuid.New(), 1, f)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("write/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := NewEntry(1, e.ID, e.OpID, 1, f); err != nil {
					b.Fatal(err)
				}
			}
			per(b)
			b.ReportMetric(float64(len(e.Body))/float64(n), "B/record")
		})
		b.Run(fmt.Sprintf("check/%d", n), func(b *testing.B) {
			for b.Loop() {
				if err := e.Verify(DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
			per(b)
		})
		b.Run(fmt.Sprintf("read/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Decode(); err != nil {
					b.Fatal(err)
				}
			}
			per(b)
		})
	}
}
