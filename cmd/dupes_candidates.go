package cmd

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// candidates is what a saved report lists: files that may be equal. Nothing else that a report says is believed, and not
// even that: who reads it looks at the files and compares them again.
type candidates struct {
	files  []candidate // those of one group need not stand together
	groups int
	marked bool // the report says who stays
}

type candidate struct {
	path  string // absolute and clean
	group int32
	place int32 // in the report
	keep  bool  // the report says that it stays
	size  int64 // bytes that the report tells of, -1 if it does not
}

const (
	maxCandidates    = 10_000_000 // files that a report may list
	maxCandidateText = 16 << 20   // bytes that a report may take for one of them
	maxCandidateNest = 32         // JSON within JSON
)

// errReport says that something is no report that forg can read.
var errReport = errors.New("this is no report that forg can read")

// readCandidates reads a report of forg (JSON, NDJSON, CSV), of fclones (text, JSON, CSV) or a list as of fdupes and
// jdupes, groups separated by empty lines, and tells by its content which it is. Relative paths are below dir.
func readCandidates(r io.Reader, dir string) (*candidates, error) {
	p := &reportParser{found: &candidates{}, dir: dir, seen: map[string]int{}}
	budget := &reportBudget{r: r}
	p.more = func() { budget.left = maxCandidateText }
	p.more()
	b := bufio.NewReaderSize(budget, 64<<10)
	head, err := b.Peek(4 << 10)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // editors on Windows write it
		b.Discard(3)
		head = head[3:]
	}
	start := bytes.TrimLeft(head, " \t\r\n")
	first, _, _ := bytes.Cut(start, []byte("\n"))
	switch first = bytes.TrimRight(first, "\r"); {
	case len(start) == 0:
		err = nil // no files, no groups
	case start[0] == '{':
		err = p.json(b)
	case bytes.HasPrefix(first, []byte("group,size,")), string(first) == "size,hash,count,files":
		err = p.csv(b)
	case bytes.HasPrefix(first, []byte("# Report by fclones")), fclonesGroupLine.Match(first):
		err = p.text(b)
	case bytes.IndexByte(head, 0) >= 0 || start[0] == '#':
		err = errors.New("it is neither JSON, CSV nor text that lists groups of files")
	default:
		err = p.list(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReport, err)
	}
	return p.found, nil
}

// reportBudget fails when too much is read for one file of a report, so that a hostile one cannot fill the memory.
type reportBudget struct {
	r    io.Reader
	left int
}

func (b *reportBudget) Read(buf []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("a piece of it is longer than %d MiB", maxCandidateText>>20)
	}
	n, err := b.r.Read(buf[:min(len(buf), b.left)])
	b.left -= n
	return n, err
}

type reportParser struct {
	found *candidates
	dir   string
	seen  map[string]int // paths that were listed, and where in found.files
	more  func()         // grants memory for another file
}

// begin begins a group and returns its number.
func (p *reportParser) begin() int32 {
	p.found.groups++
	return int32(p.found.groups - 1)
}

// add adds a file to a group. What is listed twice counts where it stands first, and stays if it is to stay anywhere.
func (p *reportParser) add(group int32, path string, keep bool, size int64) error {
	p.more()
	switch {
	case path == "":
		return errors.New("a file without a name")
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("the name %q holds a NUL", path)
	case len(p.found.files) == maxCandidates:
		return fmt.Errorf("it lists more than %d files", maxCandidates)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.dir, path)
	}
	path = filepath.Clean(path)
	p.found.marked = p.found.marked || keep
	if i, again := p.seen[path]; again {
		p.found.files[i].keep = p.found.files[i].keep || keep
		return nil
	}
	p.seen[path] = len(p.found.files)
	p.found.files = append(p.found.files, candidate{path, group, int32(len(p.found.files)), keep, size})
	return nil
}

// csv reads forg's table, a row a file, or fclones', a row a group.
func (p *reportParser) csv(r io.Reader) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	head, err := c.Read()
	if err != nil {
		return err
	}
	take := p.fclonesRow
	if head[0] != "size" {
		if take, err = p.forgRows(slices.Clone(head)); err != nil {
			return err
		}
	}
	for {
		row, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(row); err != nil {
			line, _ := c.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// fclonesRow reads a row of fclones' table: size, hash, number of files, and the files.
func (p *reportParser) fclonesRow(row []string) error {
	if len(row) < 3 || strconv.Itoa(len(row)-3) != row[2] {
		return errors.New("it has other files than it says")
	}
	size, err := strconv.ParseInt(row[0], 10, 64)
	if err != nil {
		return fmt.Errorf("the size is %q", row[0])
	}
	group := p.begin()
	for i, text := range row[3:] {
		path, err := unSTFU8(text)
		if err == nil {
			err = p.add(group, path, i == 0, size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forgRows returns what reads a row of forg's table with this head, of which the first column is the group.
func (p *reportParser) forgRows(head []string) (func(row []string) error, error) {
	column := func(name string) int { return slices.Index(head, name) }
	pathAt, keepAt, sizeAt, exactAt := column("path"), column("keep"), column("size"), column("path_bytes")
	switch {
	case pathAt < 0:
		return nil, errors.New("it has no column path")
	case keepAt < 0:
		return nil, errors.New("it has no column keep")
	}
	groups := map[string]int32{}
	return func(row []string) error {
		if len(row) != len(head) {
			return fmt.Errorf("it has %d fields, not %d", len(row), len(head))
		}
		group, ok := groups[row[0]]
		if !ok {
			group = p.begin()
			groups[strings.Clone(row[0])] = group
		}
		size := int64(-1)
		if sizeAt >= 0 {
			var err error
			if size, err = strconv.ParseInt(row[sizeAt], 10, 64); err != nil {
				return fmt.Errorf("the size is %q", row[sizeAt])
			}
		}
		path := strings.Clone(row[pathAt])
		if exactAt >= 0 && row[exactAt] != "" {
			exact, err := base64.StdEncoding.DecodeString(row[exactAt])
			if err != nil {
				return fmt.Errorf("path_bytes: %w", err)
			}
			path = string(exact)
		}
		keep, err := strconv.ParseBool(strings.ToLower(row[keepAt]))
		if err != nil {
			return fmt.Errorf("keep is %q, neither true nor false", row[keepAt])
		}
		return p.add(group, path, keep, size)
	}, nil
}

// fclonesGroupLine is the line above the files of a group in fclones' text.
var fclonesGroupLine = regexp.MustCompile(`^[0-9a-f]+, ([0-9]+) B [^*]* \* ([0-9]+):\s*$`)

// lines calls f for each line, without its end.
func (p *reportParser) lines(r io.Reader, f func(n int, line string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) { // as ScanLines, but a name may end in \r
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	n := 0
	for s.Scan() {
		n++
		p.more()
		if err := f(n, s.Text()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// text reads what fclones calls its default format.
func (p *reportParser) text(r io.Reader) error {
	const baseDir = "# Base dir: "
	group, size, missing := int32(-1), int64(-1), 0
	err := p.lines(r, func(n int, line string) error {
		line = strings.TrimSuffix(line, "\r") // in a name it would be escaped
		if text, ok := strings.CutPrefix(line, "    "); ok && text != "" {
			if group < 0 {
				return errors.New("a file before any group")
			}
			path, err := unSTFU8(text)
			if err != nil {
				return fmt.Errorf("the name %q: %w", text, err)
			}
			missing--
			return p.add(group, path, len(p.found.files) == 0 || p.found.files[len(p.found.files)-1].group != group, size)
		}
		if strings.TrimSpace(line) == "" {
			return nil
		}
		if line[0] == '#' {
			if text, ok := strings.CutPrefix(line, baseDir); ok && group < 0 {
				if base, err := unSTFU8(text); err == nil && filepath.IsAbs(base) {
					p.dir = base
				}
			}
			return nil
		}
		part := fclonesGroupLine.FindStringSubmatch(line)
		if part == nil {
			return fmt.Errorf("%q is neither a file nor the head of a group", line)
		}
		var err error
		if size, err = strconv.ParseInt(part[1], 10, 64); err != nil {
			return fmt.Errorf("a size of %s bytes", part[1])
		}
		if missing, err = strconv.Atoi(part[2]); err != nil {
			return fmt.Errorf("a group of %s files", part[2])
		}
		group = p.begin()
		return nil
	})
	if err == nil && missing > 0 {
		err = errors.New("it ends in the middle of a group: the rest is missing")
	}
	return err
}

// listSizeLine is what fdupes and jdupes write above a group when they are asked for sizes.
var listSizeLine = regexp.MustCompile(`^([0-9]+) bytes?( / [0-9]+)? each:$`)

// list reads names as they are, a line each, and empty lines between groups.
func (p *reportParser) list(r io.Reader) error {
	group, size := int32(-1), int64(-1)
	return p.lines(r, func(n int, line string) error {
		if line == "" || line == "\r" {
			group, size = -1, -1
			return nil
		}
		if group < 0 {
			if part := listSizeLine.FindStringSubmatch(line); part != nil {
				size, _ = strconv.ParseInt(part[1], 10, 64)
				return nil
			}
			group = p.begin()
		}
		return p.add(group, line, false, size)
	})
}
