package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxSource = 4 << 20 // bytes of a rules file
	maxNodes  = 200_000 // nodes of one, counted as often as aliases use them
	maxNested = 40      // all, any, none and not around a filter
)

// A reader reads YAML strictly and collects everything that is wrong with it.
type reader struct {
	name  string
	lines []string
	opt   Options
	set   *Set
	errs  Errors
	nodes int
	full  bool // more nodes than maxNodes: nothing more is read

	rules *Rules         // what is being made
	facts map[string]int // their indices

	// Of the rule that is being read:
	asked   map[string]bool       // facts
	gives   map[string][]*capture // placeholders that its filters give
	hidden  map[string]bool       // placeholders of filters under not or none, which give nothing
	given   []string              // placeholders that its filters are about
	negated int                   // how many not and none are around the filter that is being read
	nested  int
	broken  bool // its filters have errors, so that what they give is not known
}

// fail records a problem at n.
func (r *reader) fail(n *yaml.Node, format string, values ...any) *Error {
	return r.failIn(n, 0, format, values...)
}

// failIn records a problem at a byte offset in the text of the scalar n.
func (r *reader) failIn(n *yaml.Node, offset int, format string, values ...any) *Error {
	line, column := r.place(n, offset)
	return r.failAt(line, column, format, values...)
}

func (r *reader) failAt(line, column int, format string, values ...any) *Error {
	e := &Error{File: r.name, Line: max(line, 1), Column: max(column, 1), Message: fmt.Sprintf(format, values...)}
	if e.Line <= len(r.lines) {
		e.Text = r.lines[e.Line-1]
	}
	r.errs = append(r.errs, e)
	return e
}

// place returns where a byte of the text of n stands in the file, or where n starts if escapes and folding hide it.
func (r *reader) place(n *yaml.Node, offset int) (line, column int) {
	line, column = n.Line, n.Column
	if n.Kind != yaml.ScalarNode || offset <= 0 || offset > len(n.Value) || line < 1 || line > len(r.lines) {
		return line, column
	}
	head := n.Value[:offset]
	if n.Style&yaml.LiteralStyle != 0 {
		above := strings.Count(head, "\n")
		head = head[strings.LastIndexByte(head, '\n')+1:]
		whole := strings.Split(n.Value, "\n")[above]
		if at := line + above; whole != "" && at < len(r.lines) {
			if i := strings.Index(r.lines[at], whole); i >= 0 {
				return at + 1, utf8.RuneCountInString(r.lines[at][:i]+head) + 1
			}
		}
		return line, column
	}
	text := []rune(r.lines[line-1])
	start := column - 1
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		start++
	}
	if start <= len(text) && strings.HasPrefix(string(text[start:]), head) {
		return line, start + utf8.RuneCountInString(head) + 1
	}
	return line, column
}

// document returns the content of the only YAML document in source, or nil.
func (r *reader) document(source []byte) *yaml.Node {
	r.lines = splitLines(source)
	if len(source) > maxSource {
		r.lines = r.lines[:1]
		r.failAt(1, 1, "the file is larger than %d MB", maxSource>>20)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(source))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || null(doc.Content[0])) {
		r.failAt(1, 1, "the file holds no rules").Hint = "start with a line \"rules:\""
		return nil
	}
	if err != nil {
		r.syntax(err, source)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.fail(&second, "a second YAML document; rules are a single one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err, source)
	}
	return doc.Content[0]
}

// cutLine returns the first line of source without its break, and what follows. The breaks are those of the YAML parser.
func cutLine(source []byte) (line, rest []byte) {
	for i, c := range source {
		n := 0
		switch {
		case c == '\r' && i+1 < len(source) && source[i+1] == '\n', c == 0xc2 && bytes.HasPrefix(source[i:], []byte("\u0085")):
			n = 2
		case c == '\n', c == '\r':
			n = 1
		case c == 0xe2 && (bytes.HasPrefix(source[i:], []byte("\u2028")) || bytes.HasPrefix(source[i:], []byte("\u2029"))):
			n = 3
		}
		if n > 0 {
			return source[:i], source[i+n:]
		}
	}
	return source, nil
}

func splitLines(source []byte) []string {
	var lines []string
	for rest := source; rest != nil; {
		var line []byte
		line, rest = cutLine(rest)
		lines = append(lines, string(line))
	}
	return append(lines, "") // where a file ends is a place, too
}

// syntax records what the YAML parser has to say. It names the line at best, and often another one.
func (r *reader) syntax(err error, source []byte) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		number, tail, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			line, message = n, tail
		}
	}
	if at := brokenLine(source); at > 0 {
		line = at
	}
	line = max(1, min(line, len(r.lines)))
	text := r.lines[line-1]
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	e := r.failAt(line, utf8.RuneCountInString(indent)+1, "this is not YAML: %s", message)
	switch {
	case strings.Contains(indent, "\t"):
		e.Hint = "YAML is indented with spaces, not with tabs"
	case strings.Contains(message, "mapping values are not allowed"):
		e.Hint = "a text that holds \": \" needs quotes, and what belongs together the same indentation"
	case strings.Contains(message, "did not find expected"):
		e.Hint = "what belongs together needs the same indentation, and quotes and brackets an end"
	case strings.Contains(message, "unexpected end of stream"):
		e.Hint = "quotes and brackets need an end"
	case strings.Contains(message, "unknown escape"):
		e.Hint = "within \"...\" a \\ is special; within '...' it is not"
	case strings.Contains(message, "cannot start any token"):
		e.Hint = "a text that starts with %, @ or ` needs quotes"
	}
}

// brokenLine returns the line without which, and without all that follows, source would be YAML. It returns 0 if that takes
// too long to find out.
func brokenLine(source []byte) int {
	ends := []int{0}
	for rest := source; len(rest) > 0; {
		_, rest = cutLine(rest)
		ends = append(ends, len(source)-len(rest))
	}
	budget := 4 << 20 // bytes parsed, in about a second at worst
	fine := func(line int) bool {
		budget -= ends[line]
		dec := yaml.NewDecoder(bytes.NewReader(source[:ends[line]]))
		for {
			var n yaml.Node
			if err := dec.Decode(&n); err != nil {
				return errors.Is(err, io.EOF)
			}
		}
	}
	last := 0
	for next := len(ends) - 1; next > last && budget > 0; {
		for low, high := last, next; low < high; {
			middle := (low + high + 1) / 2
			if fine(middle) {
				low = middle
			} else {
				high = middle - 1
			}
			last = low
		}
		// Lines within brackets or quotes are not YAML either, until these are closed.
		closed := last
		for line := last + 1; line <= min(last+30, len(ends)-1) && closed == last; line++ {
			if fine(line) {
				closed = line
			}
		}
		if closed == last {
			break
		}
		last = closed
	}
	if budget <= 0 {
		return 0
	}
	for last < len(ends)-1 && len(bytes.TrimSpace(source[ends[last]:ends[last+1]])) == 0 {
		last++
	}
	return last + 1
}

// follow returns what n stands for, and counts it. It returns nil where nothing may be read.
func (r *reader) follow(n *yaml.Node) *yaml.Node {
	for range 100 { // an alias of an alias cannot be written, but a bound costs nothing
		if n == nil || n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	if n == nil || r.full {
		return nil
	}
	if r.nodes++; r.nodes > maxNodes {
		r.full = true
		r.fail(n, "with all aliases filled in, the file has more than %d parts", maxNodes)
		return nil
	}
	return n
}

// unquoted reports whether n is what YAML makes of a text that starts with a brace, as {name}.
func unquoted(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && null(n.Content[1])
}

func null(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// kindOf names what n is, for messages.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return n.Value
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return fmt.Sprintf("the text %q", shorten(n.Value, 40))
}

// shorten cuts s to n characters for messages.
func shorten(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return s[:i] + "..."
		}
		count++
	}
	return s
}

// A pair is a key of a mapping and what stands under it.
type pair struct {
	key   *yaml.Node
	value *yaml.Node
	name  string
}

// mapping returns the pairs of n, with merged ones (<<) after its own. what names n in the message if it is something else.
func (r *reader) mapping(n *yaml.Node, what string) []pair {
	if n = r.follow(n); n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s is a mapping (key: value), not %s", what, kindOf(n))
		return nil
	}
	var own, merged []pair
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := r.follow(n.Content[i]), n.Content[i+1]
		if key == nil {
			return own
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, r.merge(value)...)
			continue
		}
		if key.Kind != yaml.ScalarNode || null(key) {
			r.fail(key, "a key is a word, not %s", kindOf(key))
			continue
		}
		if line, twice := lines[key.Value]; twice {
			r.fail(key, "%q is here twice; it was already in line %d", key.Value, line)
			continue
		}
		lines[key.Value] = key.Line
		own = append(own, pair{key, value, key.Value})
	}
	for _, m := range merged {
		if _, ok := lines[m.name]; !ok {
			lines[m.name] = m.key.Line
			own = append(own, m)
		}
	}
	return own
}

// merge returns the pairs of what is merged into a mapping.
func (r *reader) merge(n *yaml.Node) []pair {
	if r.nested++; r.nested > maxNested {
		r.nested--
		r.fail(n, "merged more than %d deep", maxNested)
		return nil
	}
	defer func() { r.nested-- }()
	target := r.follow(n)
	if target == nil {
		return nil
	}
	if target.Kind != yaml.SequenceNode {
		return r.mapping(target, "what is merged")
	}
	var all []pair
	for _, item := range target.Content {
		all = append(all, r.mapping(item, "what is merged")...)
	}
	return all
}

// list returns the items of n, or n itself if it is no list. Nothing stands for no list at all.
func (r *reader) list(n *yaml.Node) []*yaml.Node {
	if n = r.follow(n); n == nil || null(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return []*yaml.Node{n}
	}
	items := make([]*yaml.Node, 0, len(n.Content))
	for _, item := range n.Content {
		if item = r.follow(item); item == nil {
			break
		}
		items = append(items, item)
	}
	return items
}

// sequence is list for what must be a list.
func (r *reader) sequence(n *yaml.Node, what string) []*yaml.Node {
	if n = r.follow(n); n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "%s is a list (lines that start with \"- \"), not %s", what, kindOf(n))
		return nil
	}
	return r.list(n)
}

// text returns the text of a scalar as it was written.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	if n = r.follow(n); n == nil {
		return "", false
	}
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!str", "!!int", "!!float", "!!timestamp":
			if i := strings.IndexByte(n.Value, 0); i >= 0 {
				r.failIn(n, i, "%s holds a zero byte", what)
				return "", false
			}
			return n.Value, true
		case "!!bool":
			r.fail(n, "%s is a text, not %s", what, kindOf(n)).Hint =
				fmt.Sprintf("if the text is meant, write \"%s\"", n.Value)
			return "", false
		}
	}
	e := r.fail(n, "%s is a text, not %s", what, kindOf(n))
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 {
		e.Hint = "a text that starts with { needs quotes"
	}
	return "", false
}

func (r *reader) boolean(n *yaml.Node, what string) (value, ok bool) {
	if n = r.follow(n); n == nil {
		return false, false
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	e := r.fail(n, "%s is true or false, not %s", what, kindOf(n))
	switch strings.ToLower(n.Value) {
	case "yes", "on", "y":
		e.Hint = "write true"
	case "no", "off", "n":
		e.Hint = "write false"
	}
	return false, false
}

func (r *reader) count(n *yaml.Node, what string, most int64) (int64, bool) {
	if n = r.follow(n); n == nil {
		return 0, false
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil && 0 <= v && v <= most {
			return v, true
		}
	}
	r.fail(n, "%s is a number from 0 to %d, not %s", what, most, kindOf(n))
	return 0, false
}

func (r *reader) choice(n *yaml.Node, what string, values []string) (string, bool) {
	s, ok := r.text(n, what)
	if !ok {
		return "", false
	}
	if slices.Contains(values, s) {
		return s, true
	}
	e := r.fail(r.follow(n), "%s is %s, not %q", what, oneOf(values), shorten(s, 40))
	e.Hint = didYouMean(s, values)
	if other := elsewhere[s]; other != "" && slices.Contains(values, other) {
		e.Hint = fmt.Sprintf("did you mean %q?", other)
	}
	return "", false
}

// unknownKey records a key that is none of the known ones.
func (r *reader) unknownKey(p pair, what string, known []string) {
	e := r.fail(p.key, "%s has no %q", what, shorten(p.name, 40))
	if hint, ok := elsewhere[p.name]; ok && slices.Contains(known, hint) {
		e.Hint = fmt.Sprintf("did you mean %q?", hint)
	} else if e.Hint = didYouMean(p.name, known); e.Hint == "" {
		e.Hint = "it has " + allOfThem(known)
	}
}

// elsewhere holds words of other organizers, with the word of this language.
var elsewhere = map[string]string{
	"lastmodified": "modified", "last_modified": "modified", "mtime": "modified", "date_modified": "modified",
	"date_created": "created", "ctime": "created", "birthtime": "created",
	"lastused": "accessed", "date_lastused": "accessed", "last_accessed": "accessed", "atime": "accessed",
	"mimetype": "mime", "mime_type": "mime", "filecontent": "content", "content_regex": "content",
	"macos_tags": "tags", "labels": "tags", "ext": "extension", "extensions": "extension", "filename": "name",
	"filesize": "size", "file_size": "size", "folders": "locations", "folder": "locations", "location": "locations",
	"paths": "locations", "recursive": "subfolders", "target": "targets", "filter": "filters", "action": "actions",
	"conditions": "filters", "dest": "dest", "destination": "dest", "to": "dest", "path": "path",
	"rename_new": "rename", "rename_existing": "rename", "keep_newer": "newer", "trash": "overwrite",
	"detect_original_by": "keep", "outfile": "file", "msg": "text", "message": "text", "regexp": "regex",
	"starts_with": "startswith", "ends_with": "endswith", "begins_with": "startswith", "maxdepth": "max_depth",
	"deduplicate": "duplicate", "duplicates": "duplicate", "taken_on": "taken", "date_taken": "taken",
	"macos_tag": "tag", "print": "echo", "unzip": "extract", "unpack": "extract", "link": "symlink",
	"disabled": "enabled", "first_seen": "first", "last_seen": "newest",
}

// inline returns n on one line, as it might be written, for reports.
func inline(n *yaml.Node) string {
	var b strings.Builder
	writeInline(&b, n, 0)
	return shorten(b.String(), 160)
}

func writeInline(b *strings.Builder, n *yaml.Node, depth int) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if depth > maxNested || b.Len() > 1000 {
		b.WriteString("...")
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		if depth > 0 {
			b.WriteByte('{')
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteString(", ")
			}
			writeInline(b, n.Content[i], depth+1)
			if !null(n.Content[i+1]) {
				b.WriteString(": ")
				writeInline(b, n.Content[i+1], depth+1)
			}
		}
		if depth > 0 {
			b.WriteByte('}')
		}
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			writeInline(b, item, depth+1)
		}
		b.WriteByte(']')
	default:
		if n.ShortTag() == "!!str" && (n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 ||
			strings.ContainsAny(n.Value, "\n\t{},")) {
			b.WriteString(strconv.Quote(n.Value))
		} else {
			b.WriteString(n.Value)
		}
	}
}
