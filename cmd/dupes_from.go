package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"forg/organizer"
	"forg/rules"
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

// json reads objects with "groups" and objects that are groups themselves, which is what forg's JSON and NDJSON and
// fclones' JSON are.
func (p *reportParser) json(r io.Reader) error {
	d := json.NewDecoder(r)
	var last string // "type" of the last object, if it has one
	any := false
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return reportAt(d, err)
		}
		if t != json.Delim('{') {
			return reportAt(d, errors.New("there is something besides objects"))
		}
		known := false
		if last, known, err = p.object(d, true); err != nil {
			return reportAt(d, err)
		}
		any = any || known
	}
	switch {
	case !any:
		return errors.New("it has no groups of files")
	case last != "" && last != "summary":
		return errors.New("it ends before its summary: the rest is missing")
	}
	return nil
}

// reportAt says where in a JSON text something is wrong.
func reportAt(d *json.Decoder, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("it ends in the middle: the rest is missing")
	}
	return fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
}

// object reads an object after its brace: a whole report or a line of NDJSON at the top, else a group. It returns its
// "type" and whether it is an object that a report has.
func (p *reportParser) object(d *json.Decoder, top bool) (kind string, known bool, err error) {
	from, group, size := len(p.found.files), int32(-1), int64(-1)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", false, err
		}
		switch {
		case key == "type":
			if kind, err = p.word(d); err != nil {
				return "", false, err
			}
			known = known || kind != ""
		case key == "groups" && top:
			known = true
			err = p.each(d, func(t json.Token) error {
				if t != json.Delim('{') {
					return errors.New("a group is no object")
				}
				_, _, err := p.object(d, false)
				return err
			})
		case key == "size" || key == "file_len":
			size, err = p.number(d)
		case key == "files":
			known = true
			err = p.each(d, func(t json.Token) error {
				if group < 0 {
					group = p.begin()
				}
				return p.file(d, group, t)
			})
		default:
			err = p.skip(d)
		}
		if err != nil {
			return "", false, err
		}
	}
	for i := from; group >= 0 && i < len(p.found.files); i++ {
		p.found.files[i].size = size
	}
	_, err = d.Token() // its closing brace
	return kind, known, err
}

// each calls f with the first token of each element of an array; something else than an array is skipped.
func (p *reportParser) each(d *json.Decoder, f func(json.Token) error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return p.skipFrom(d, t)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if err := f(t); err != nil {
			return err
		}
		p.more()
	}
	_, err = d.Token()
	return err
}

// file reads a file of a group: a string as fclones has it, or an object as forg has it.
func (p *reportParser) file(d *json.Decoder, group int32, t json.Token) error {
	if s, ok := t.(string); ok {
		path, err := unSTFU8(s)
		if err != nil {
			return fmt.Errorf("the name %q: %w", s, err)
		}
		return p.add(group, path, len(p.found.files) == 0 || p.found.files[len(p.found.files)-1].group != group, -1)
	}
	if t != json.Delim('{') {
		return errors.New("a file is neither text nor an object")
	}
	var path string
	var exact []byte
	keep := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "path":
			path, err = p.word(d)
		case "path_bytes":
			var text string
			if text, err = p.word(d); err == nil {
				exact, err = base64.StdEncoding.DecodeString(text)
			}
		case "keep":
			var t json.Token
			if t, err = d.Token(); err == nil {
				if b, ok := t.(bool); ok {
					keep = b
				} else {
					err = p.skipFrom(d, t)
				}
			}
		default:
			err = p.skip(d)
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if exact != nil {
		path = string(exact)
	}
	return p.add(group, path, keep, -1)
}

// word reads a string; something else is skipped and is "".
func (p *reportParser) word(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", err
	}
	if s, ok := t.(string); ok {
		return s, nil
	}
	return "", p.skipFrom(d, t)
}

// number reads a number of bytes; something else is skipped and is -1.
func (p *reportParser) number(d *json.Decoder) (int64, error) {
	t, err := d.Token()
	if err != nil {
		return -1, err
	}
	if f, ok := t.(float64); ok && f >= 0 && f <= 1<<53 && f == float64(int64(f)) {
		return int64(f), nil
	}
	return -1, p.skipFrom(d, t)
}

func (p *reportParser) skip(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	return p.skipFrom(d, t)
}

// skipFrom reads on to the end of the value that begins with t.
func (p *reportParser) skipFrom(d *json.Decoder, t json.Token) error {
	for depth := 0; ; {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		if depth > maxCandidateNest {
			return fmt.Errorf("values are nested more than %d deep", maxCandidateNest)
		}
		p.more()
		var err error
		if t, err = d.Token(); err != nil {
			return err
		}
	}
}

// csv reads forg's table, a row a file, or fclones', a row a group.
func (p *reportParser) csv(r io.Reader) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	head, err := c.Read()
	if err != nil {
		return err
	}
	if head[0] == "size" {
		for {
			row, err := c.Read()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			line, _ := c.FieldPos(0)
			if len(row) < 3 || strconv.Itoa(len(row)-3) != row[2] {
				return fmt.Errorf("line %d: it has other files than it says", line)
			}
			size, err := strconv.ParseInt(row[0], 10, 64)
			if err != nil {
				return fmt.Errorf("line %d: the size is %q", line, row[0])
			}
			group := p.begin()
			for i, text := range row[3:] {
				path, err := unSTFU8(text)
				if err == nil {
					err = p.add(group, path, i == 0, size)
				}
				if err != nil {
					return fmt.Errorf("line %d: %w", line, err)
				}
			}
		}
	}
	column := map[string]int{"size": -1, "keep": -1, "path": -1, "path_bytes": -1}
	for i, name := range head {
		column[name] = i
	}
	columns := len(head)
	for _, name := range []string{"path", "keep"} {
		if column[name] < 0 {
			return fmt.Errorf("it has no column %s", name)
		}
	}
	groups := map[string]int32{}
	for {
		row, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		if len(row) != columns {
			return fmt.Errorf("line %d: it has %d fields, not %d", line, len(row), columns)
		}
		group, ok := groups[row[0]]
		if !ok {
			group = p.begin()
			groups[strings.Clone(row[0])] = group
		}
		size := int64(-1)
		if i := column["size"]; i >= 0 {
			if size, err = strconv.ParseInt(row[i], 10, 64); err != nil {
				return fmt.Errorf("line %d: the size is %q", line, row[i])
			}
		}
		path := strings.Clone(row[column["path"]])
		if i := column["path_bytes"]; i >= 0 && row[i] != "" {
			exact, err := base64.StdEncoding.DecodeString(row[i])
			if err != nil {
				return fmt.Errorf("line %d: path_bytes: %w", line, err)
			}
			path = string(exact)
		}
		keep, err := strconv.ParseBool(strings.ToLower(row[column["keep"]]))
		if err == nil {
			err = p.add(group, path, keep, size)
		} else {
			err = fmt.Errorf("keep is %q, neither true nor false", row[column["keep"]])
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
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

// listed looks at the files of a saved report, and at nothing else. With PATHs it takes those below them.
func (d *duping) listed(ctx context.Context, bar *progress) (*organizer.Tree, error) {
	f := d.flags
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	in, name := d.in, "standard input"
	if f.from != "-" {
		file, err := os.Open(f.from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		defer file.Close()
		in, name = file, f.from
	}
	found, err := readCandidates(in, dir)
	if errors.Is(err, errReport) {
		return nil, &exitError{exitUsage, fmt.Errorf("--from %s: %w", name, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("--from %s: %w", name, err)
	}
	problems := d.resolveListed(found)
	slices.SortStableFunc(found.files, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	paths := make([]string, len(found.files))
	for i := range found.files {
		paths[i] = found.files[i].path
	}
	root := commonFolder(paths)
	opt := organizer.ScanOptions{Only: paths, LookAbove: true, Hidden: true, Include: f.include, Exclude: f.exclude, Now: d.now(), Projects: true,
		VersionControl: !f.inside, Changed: true, Progress: bar.scan}
	if len(d.dirs) > 0 {
		root = d.dirs[0]
	} else if len(paths) > 0 && !slices.Contains(d.roots, root) { // which is locked already
		if err := d.lock(ctx, root); err != nil && !errors.Is(err, fs.ErrPermission) { // of a folder of others, such as /home
			return nil, err
		}
	}
	tree := &organizer.Tree{Roots: []string{root}}
	if len(paths) > 0 {
		if tree, err = organizer.Scan(ctx, root, rules.Builtin(), opt); err != nil && ctx.Err() == nil && tree == nil {
			tree = &organizer.Tree{Roots: []string{root}, Problems: []organizer.Problem{{Path: root, Err: err}}}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if tree.Roots = d.roots; len(d.dirs)+len(d.files) == 0 {
		tree.Roots = append([]string{root}, d.roots...)
	}
	tree.Problems = append(tree.Problems, problems...)
	d.find.Listed = f.listing(tree, found)
	d.find.Empty = true // what a report lists, somebody asked for
	return tree, nil
}

// resolveListed resolves the links in the folders of what a report lists, and leaves out what is not below a PATH or
// cannot be looked at, which it returns.
func (d *duping) resolveListed(found *candidates) []organizer.Problem {
	var problems []organizer.Problem
	type folder struct {
		path string
		err  error
		out  bool
	}
	folders := map[string]*folder{}
	seen := make(map[string]int, len(found.files))
	kept := found.files[:0]
	for _, c := range found.files {
		typed, name := filepath.Split(c.path)
		at := folders[typed]
		if at == nil {
			at = &folder{}
			at.path, at.err = organizer.ResolveDir(typed)
			at.out = at.err == nil && len(d.dirs) > 0 && !slices.ContainsFunc(d.dirs, func(root string) bool { return organizer.Within(at.path, root) })
			folders[typed] = at
		}
		if at.err != nil {
			problems = append(problems, organizer.Problem{Path: c.path, Err: fmt.Errorf("look at %s: %w", c.path, at.err)})
			continue
		}
		c.path = filepath.Join(at.path, name)
		if at.out && !slices.Contains(d.files, c.path) {
			continue
		}
		if i, again := seen[c.path]; again {
			kept[i].keep = kept[i].keep || c.keep
			continue
		}
		seen[c.path] = len(kept)
		kept = append(kept, c)
	}
	found.files = kept
	return problems
}

// listing is where the report has the files of the tree. Those that have another size than the report says have changed,
// and are left alone.
func (f *dupesFlags) listing(tree *organizer.Tree, found *candidates) func(organizer.Ref) organizer.Listing {
	places := make(map[organizer.Ref]organizer.Listing, len(found.files))
	index := make(map[string]*candidate, len(found.files))
	for i := range found.files {
		index[found.files[i].path] = &found.files[i]
	}
	for r, file := range tree.All() {
		path := tree.Path(r)
		c := index[path]
		if c == nil {
			continue
		}
		if c.size >= 0 && c.size != file.Size && file.Left == organizer.NotLeft {
			file.Left = organizer.LeftChanged
			tree.Left[organizer.LeftChanged]++
			tree.Problems = append(tree.Problems, organizer.Problem{Path: path,
				Err: fmt.Errorf("%s: it has changed since the report was made: it had %d bytes and has %d", path, c.size, file.Size)})
		}
		at := organizer.Listing{Group: c.group}
		if c.keep && !f.chosen {
			at.Stays = c.place + 1
		}
		places[r] = at
	}
	return func(r organizer.Ref) organizer.Listing { return places[r] }
}

// commonFolder is the deepest folder that all paths lie in; of paths on several volumes it is the first one's folder.
func commonFolder(paths []string) string {
	if len(paths) == 0 {
		return "."
	}
	common := filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for up := common; ; up = filepath.Dir(up) {
			if organizer.Within(p, up) {
				common = up
				break
			}
			if filepath.Dir(up) == up {
				break
			}
		}
	}
	return common
}
