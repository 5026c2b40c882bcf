package api

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a chunk of file records, for both who writes and who reads one.
const (
	MaxRecords = 5000     // records in one chunk
	MaxPath    = 32 << 10 // bytes of a path
	maxFolders = 8 << 20  // bytes of all folders together
	maxText    = 32 << 20 // bytes of all paths together: front coding could blow up a small chunk without end
	maxWord    = 255      // bytes of a category, an action or a status
	maxMessage = 4 << 10  // bytes of an error
)

// The columns of a chunk. New ones are added at the end, and a reader skips those it does not know.
const (
	colFolders = iota // of each: uint bytes shared with the folder before, string the rest, its separator included
	colLabels         // of each: string category, string action, string status
	colFlags          // of each record: byte
	colSeq            // uint: difference to the record before, minus 1
	colSource         // if hasSource: int, number of its folder, difference to the one before in this column
	colTarget         // if hasTarget: the same of the destination
	colShared         // of each name (of the source, and of the destination if newName): uint bytes shared with the name before
	colLength         // of each name: uint bytes of the rest
	colNames          // the rests
	colSize           // uint
	colLabel          // uint: number of its label
	colTime           // if hasTime: int, microseconds since 1970, difference to the one before in this column
	colHash           // if hasHash: byte algorithm, 32 bytes
	colError          // if hasError: string
	columns
)

const (
	hasSource = 1 << iota
	hasTarget
	newName // the destination's name differs from the source's
	hasHash
	hasError
	hasTime
)

const chunkVersion = 1

var hashNames = [...]string{1: "blake3", 2: "sha256", 3: "hmac-sha256"}

// splitPath splits behind the last separator of whatever system the path is of.
func splitPath(p string) (folder, name string) {
	i := strings.LastIndexAny(p, `/\`) + 1
	return p[:i], p[i:]
}

func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func exact(s string, b []byte) string {
	if len(b) > 0 {
		return string(b)
	}
	return s
}

// encode writes the records column by column, so that what is alike lies together. Equal records give equal bytes.
func (f Files) encode() ([]byte, error) {
	if len(f) > MaxRecords {
		return nil, fmt.Errorf("encode %d file records: at most %d fit into one entry", len(f), MaxRecords)
	}
	var col [columns][]byte
	for i := range col {
		switch i {
		case colFlags, colSeq, colSource, colTarget, colShared, colLength, colLabel:
			col[i] = make([]byte, 0, len(f)+len(f)/4)
		case colSize:
			col[i] = make([]byte, 0, 3*len(f))
		case colNames:
			col[i] = make([]byte, 0, 12*len(f))
		}
	}
	folders, labels := map[string]int64{}, map[[3]string]uint64{}
	lastFolder, lastName := "", ""
	var lastSeq, lastSource, lastTarget, lastTime int64
	folder := func(to, last *int64, path string, column int) {
		n, ok := folders[path]
		if !ok {
			n = int64(len(folders))
			folders[path] = n
			k := shared(lastFolder, path)
			col[colFolders] = binary.AppendUvarint(col[colFolders], uint64(k))
			col[colFolders] = appendString(col[colFolders], path[k:])
			lastFolder = path
		}
		*to = n
		col[column] = binary.AppendVarint(col[column], n-*last)
		*last = n
	}
	name := func(s string) {
		k := shared(lastName, s)
		col[colShared] = binary.AppendUvarint(col[colShared], uint64(k))
		col[colLength] = binary.AppendUvarint(col[colLength], uint64(len(s)-k))
		col[colNames] = append(col[colNames], s[k:]...)
		lastName = s
	}
	for i := range f {
		r := &f[i]
		if err := r.check(lastSeq); err != nil {
			return nil, fmt.Errorf("encode file record %d: %w", i, err)
		}
		var flags byte
		var n int64
		source, target := exact(r.SourcePath, r.SourcePathBytes), exact(r.DestinationPath, r.DestinationPathBytes)
		dir, base := splitPath(source)
		if source != "" {
			flags |= hasSource
			folder(&n, &lastSource, dir, colSource)
			name(base)
		}
		if target != "" {
			flags |= hasTarget
			dir, other := splitPath(target)
			folder(&n, &lastTarget, dir, colTarget)
			if source == "" || other != base {
				flags |= newName
				name(other)
			}
		}
		if r.ContentHash != "" {
			flags |= hasHash
			algorithm, sum, err := parseContentHash(r.ContentHash)
			if err != nil {
				return nil, fmt.Errorf("encode file record %d: %w", i, err)
			}
			col[colHash] = append(append(col[colHash], algorithm), sum[:]...)
		}
		if r.Error != "" {
			flags |= hasError
			col[colError] = appendString(col[colError], r.Error)
		}
		if !r.MovedAt.IsZero() {
			flags |= hasTime
			at := r.MovedAt.UnixMicro()
			col[colTime] = binary.AppendVarint(col[colTime], at-lastTime)
			lastTime = at
		}
		col[colFlags] = append(col[colFlags], flags)
		col[colSeq] = binary.AppendUvarint(col[colSeq], uint64(r.Seq-lastSeq-1))
		lastSeq = r.Seq
		col[colSize] = binary.AppendUvarint(col[colSize], uint64(r.Size))
		label := [3]string{r.Category, r.Action, string(r.Status)}
		no, ok := labels[label]
		if !ok {
			no = uint64(len(labels))
			labels[label] = no
			for _, s := range label {
				col[colLabels] = appendString(col[colLabels], s)
			}
		}
		col[colLabel] = binary.AppendUvarint(col[colLabel], no)
	}
	b := binary.AppendUvarint(nil, chunkVersion)
	b = binary.AppendUvarint(b, uint64(len(f)))
	b = binary.AppendUvarint(b, columns)
	for _, c := range col {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	for _, c := range col {
		b = append(b, c...)
	}
	// What can be written can be read: the one bound that only shows in the whole is that of the paths.
	for _, err := range readFiles(b, false) {
		if err != nil {
			return nil, fmt.Errorf("encode file records: %w", err)
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// check is what must hold of a record beside the bounds that readFiles keeps.
func (r *FileRecord) check(lastSeq int64) error {
	switch {
	case r.Seq <= lastSeq:
		return fmt.Errorf("seq: %d does not follow %d", r.Seq, lastSeq)
	case r.Size < 0:
		return fmt.Errorf("size: %d is less than 0", r.Size)
	case r.SourcePath == "" && r.DestinationPath == "" && len(r.SourcePathBytes) == 0 && len(r.DestinationPathBytes) == 0:
		return errors.New("source_path: neither it nor destination_path is there")
	case r.Action == "":
		return errors.New("action: is empty")
	case r.Status == "":
		return errors.New("status: is empty")
	}
	return nil
}

func parseContentHash(s string) (algorithm byte, sum [32]byte, err error) {
	name, text, _ := strings.Cut(s, ":")
	for i, n := range hashNames {
		if n != "" && n == name {
			algorithm = byte(i)
		}
	}
	if algorithm == 0 || len(text) != 64 || strings.ToLower(text) != text {
		return 0, sum, errors.New("content_hash: is not an algorithm, a colon and 64 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
		return 0, sum, errors.New("content_hash: is not hexadecimal")
	}
	return algorithm, sum, nil
}

var errChunk = errors.New("chunk of file records is damaged")

// column reads one column; after the end it reads zeros and remembers.
type column struct {
	b   []byte
	bad bool
}

func (c *column) uint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *column) int() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *column) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *column) byte() byte {
	if v := c.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *column) string(most int) string {
	n := c.uint()
	if n > uint64(most) {
		c.b, c.bad = nil, true
		return ""
	}
	return string(c.bytes(n))
}

// readFiles yields the records of a chunk one by one and takes no more memory than its folders and one record need,
// whatever the chunk says; folders are bounded by maxFolders. Without build the records have no paths, hashes and errors: that is
// enough to check a chunk. After an error nothing follows.
func readFiles(b []byte, build bool) iter.Seq2[FileRecord, error] {
	return func(yield func(FileRecord, error) bool) {
		fail := func(format string, args ...any) {
			yield(FileRecord{}, fmt.Errorf("%w: %s", errChunk, fmt.Sprintf(format, args...)))
		}
		head := column{b: b}
		if v := head.uint(); v != chunkVersion {
			fail("its version is %d, this forg knows %d", v, chunkVersion)
			return
		}
		n, cols := head.uint(), head.uint()
		if head.bad || n > MaxRecords || cols < columns || cols > 64 {
			fail("%d records in %d columns", n, cols)
			return
		}
		var size [64]uint64
		for i := range cols {
			size[i] = head.uint()
		}
		var col [columns]column
		for i := range cols {
			c := head.bytes(size[i])
			if i < columns {
				col[i].b = c
			}
		}
		if head.bad || len(head.b) != 0 {
			fail("its columns do not fill it")
			return
		}

		var folders []string
		total := 0
		for last := ""; len(col[colFolders].b) > 0; {
			k := col[colFolders].uint()
			rest := col[colFolders].uint()
			if k > uint64(len(last)) || rest > MaxPath || k+rest > MaxPath {
				fail("folder %d", len(folders))
				return
			}
			last = last[:k] + string(col[colFolders].bytes(rest))
			if total += len(last); col[colFolders].bad || total > maxFolders || len(folders) >= 2*MaxRecords {
				fail("folder %d", len(folders))
				return
			}
			folders = append(folders, last)
		}
		var labels [][3]string
		for len(col[colLabels].b) > 0 {
			var l [3]string
			for i := range l {
				l[i] = col[colLabels].string(maxWord)
			}
			if col[colLabels].bad || len(labels) >= MaxRecords || l[1] == "" || l[2] == "" {
				fail("label %d", len(labels))
				return
			}
			labels = append(labels, l)
		}

		text := 0
		var seq, source, target, at int64
		name, scratch := make([]byte, 0, 256), make([]byte, 0, 256)
		readName := func() bool {
			k, rest := col[colShared].uint(), col[colLength].uint()
			if k > uint64(len(name)) || rest > MaxPath || k+rest > MaxPath {
				return false
			}
			name = append(name[:k], col[colNames].bytes(rest)...)
			return true
		}
		// path makes the path of the name that was read last, in a folder.
		path := func(folder int64) (string, bool) {
			if folder < 0 || folder >= int64(len(folders)) {
				return "", false
			}
			n := len(folders[folder]) + len(name)
			text += n
			if n == 0 || n > MaxPath || text > maxText {
				return "", false
			}
			if !build {
				return "", true
			}
			scratch = append(append(scratch[:0], folders[folder]...), name...)
			return string(scratch), true
		}
		for i := range n {
			var r FileRecord
			ok := true
			flags := col[colFlags].byte()
			if d := col[colSeq].uint(); d >= uint64(math.MaxInt64-seq) {
				ok = false
			} else {
				seq += int64(d) + 1
			}
			r.Seq = seq
			if flags&(hasSource|hasTarget) == 0 {
				ok = false
			}
			if ok && flags&hasSource != 0 {
				source += col[colSource].int()
				if ok = readName(); ok {
					r.SourcePath, ok = path(source)
				}
			}
			if ok && flags&hasTarget != 0 {
				target += col[colTarget].int()
				if flags&newName != 0 {
					ok = readName()
				} else if flags&hasSource == 0 {
					ok = false
				}
				if ok {
					r.DestinationPath, ok = path(target)
				}
			}
			if v := col[colSize].uint(); v > math.MaxInt64 {
				ok = false
			} else {
				r.Size = int64(v)
			}
			if l := col[colLabel].uint(); l >= uint64(len(labels)) {
				ok = false
			} else {
				r.Category, r.Action, r.Status = labels[l][0], labels[l][1], FileStatus(labels[l][2])
			}
			if flags&hasTime != 0 {
				at += col[colTime].int()
				if at < 0 || at > maxMicros {
					ok = false
				}
				r.MovedAt = time.UnixMicro(at).UTC()
			}
			if flags&hasHash != 0 {
				a, sum := col[colHash].byte(), col[colHash].bytes(32)
				if a == 0 || int(a) >= len(hashNames) {
					ok = false
				} else if build {
					r.ContentHash = hashNames[a] + ":" + hex.EncodeToString(sum)
				}
			}
			if flags&hasError != 0 {
				s := col[colError].string(maxMessage)
				if build {
					r.Error = s
				}
			}
			for c := range col {
				ok = ok && !col[c].bad
			}
			if !ok {
				fail("record %d", i)
				return
			}
			if build {
				r.MarkBytes()
			}
			if !yield(r, nil) {
				return
			}
		}
		for i := range col {
			if len(col[i].b) != 0 {
				fail("column %d is too long", i)
				return
			}
		}
	}
}

// MarkBytes gives paths that are not UTF-8 their exact form too: JSON would only have the lossy one.
func (r *FileRecord) MarkBytes() {
	if !utf8.ValidString(r.SourcePath) {
		r.SourcePathBytes = []byte(r.SourcePath)
	}
	if !utf8.ValidString(r.DestinationPath) {
		r.DestinationPathBytes = []byte(r.DestinationPath)
	}
}

// OutcomeSet answers what became of an operation's records, from all outcomes of its log in order.
type OutcomeSet struct {
	one    map[int64]numbered
	hash   map[int64]numbered
	ranges []numbered
	n      int
}

// numbered is an outcome and how many came before it.
type numbered struct {
	Outcome
	n int
}

// Add adds the outcomes of the next entry.
func (s *OutcomeSet) Add(all []Outcome) {
	if s.one == nil {
		s.one, s.hash = map[int64]numbered{}, map[int64]numbered{}
	}
	for _, o := range all {
		s.n++
		if o.Count > 1 {
			s.ranges = append(s.ranges, numbered{o, s.n})
			continue
		}
		if o.ContentHash != "" {
			s.hash[o.Seq] = numbered{o, s.n}
		}
		if o.Status != "" {
			s.one[o.Seq] = numbered{o, s.n}
		}
	}
}

// Apply gives a record the last word on it. status is that of its operation: planned records of one that has finished
// are done.
func (s *OutcomeSet) Apply(r *FileRecord, status OperationStatus) {
	last := s.one[r.Seq]
	hash := s.hash[r.Seq]
	for i := len(s.ranges) - 1; i >= 0; i-- {
		if o := s.ranges[i]; o.Seq <= r.Seq && r.Seq-o.Seq < o.Count {
			if o.n > last.n {
				last = o
			}
			if o.n > hash.n { // what is said of many at once is said of what was planned, not of a copy before
				hash = numbered{}
			}
			break
		}
	}
	if last.Status != "" {
		r.Status, r.Error = last.Status, last.Error
	}
	if hash.ContentHash != "" {
		r.ContentHash = hash.ContentHash
	}
	if r.Status == FilePlanned && status.Finished() {
		r.Status = FileDone
	}
	if r.Status != FileDone && r.Status != FilePlanned {
		r.MovedAt = time.Time{} // it was not moved
	}
}
