// Package foreign turns the configuration of another organizer into a forg rules file, and tells what it could not carry
// over. It looks at no disk: text comes in, and text goes out.
package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"

	"forg/rules"
)

// A Kind is a format of configuration.
type Kind string

// The formats that Import knows. The versions of organize are told apart by their words: the first one says folders
// where later ones say locations. A file that both later versions would take counts as one of version 3.
const (
	Organize1 Kind = "organize 1"
	Organize2 Kind = "organize 2"
	Organize3 Kind = "organize 3"
	Autotidy  Kind = "autotidy"
)

// A Note tells of something that means something else in forg, or that has no like there.
type Note struct {
	Line int    // of the source, from 1
	Text string // one line
	Lost bool   // it could not be carried over; otherwise it means something a little different
}

// A Result is what became of a configuration.
type Result struct {
	Kind  Kind
	YAML  []byte // a rules file that Parse of package rules takes, with the notes as comments
	Notes []Note // in the order of their lines
}

// ErrUnknown says that a text is in none of the formats that Import knows.
var ErrUnknown = errors.New("this is no configuration that forg knows; it reads those of organize and of autotidy")

// Import turns the configuration source into a rules file. name is what messages call source, and may tell its format
// where the text does not. opt is what the rules file will be parsed with: a rule that Parse would refuse then, because
// it speaks of a variable that the environment does not have, say, is written as a comment.
//
// A rule that has lost a filter, a location or an action is disabled, so that it never does more than it did. The
// error is ErrUnknown, or tells what is wrong with source.
func Import(name string, source []byte, opt rules.Options) (Result, error) {
	if opt.Set == nil {
		opt.Set = rules.Builtin()
	}
	c := &converter{opt: opt, names: map[string]bool{}}
	root, err := c.read(name, source)
	if err != nil {
		return Result{}, err
	}
	list := root.get("rules")
	if root.kind != mapping || list == nil || list.kind != sequence {
		return Result{}, ErrUnknown
	}
	items := list.flat()
	if c.kind = recognize(name, root, items); c.kind == "" {
		return Result{}, ErrUnknown
	}
	if len(items) == 0 {
		return Result{}, fmt.Errorf("%s:%d: the file holds no rules", name, list.line)
	}
	if c.kind == Autotidy {
		c.autotidy(root, items)
	} else {
		c.organize(root, items)
	}
	out, err := c.finish(name)
	if err != nil {
		return Result{}, err
	}
	slices.SortStableFunc(c.notes, func(a, b Note) int { return a.Line - b.Line })
	return Result{Kind: c.kind, YAML: out, Notes: slices.Compact(c.notes)}, nil
}

// A converter carries one file over.
type converter struct {
	opt   rules.Options
	kind  Kind
	notes []Note
	rules []*rule
	names map[string]bool // of rules
	nodes int
}

// A rule is one of forg's in the making.
type rule struct {
	c        *converter
	line     int
	notes    []Note
	disabled bool
	node     *yaml.Node // nil until it is complete
	text     string     // as it is written
	stub     bool       // it stands in for one that is written as a comment

	flat    bool     // the rule looks at no subfolders
	typed   []string // parts of names that a regex filter finds
	changed bool     // an action before the one at hand has given the file another name
	moved   bool     // or another folder
}

func (c *converter) newRule(line int) *rule { return &rule{c: c, line: line} }

// add completes a rule.
func (c *converter) add(r *rule, node *yaml.Node) {
	r.node = node
	c.rules = append(c.rules, r)
	c.notes = append(c.notes, r.notes...)
}

func (c *converter) note(line int, lost bool, format string, values ...any) {
	c.notes = append(c.notes, note(line, lost, format, values...))
}

func note(line int, lost bool, format string, values ...any) Note {
	return Note{Line: max(line, 1), Text: oneLine(fmt.Sprintf(format, values...)), Lost: lost}
}

// lost notes something that has no like in forg, and without which the rule must not run.
func (r *rule) lost(line int, format string, values ...any) {
	r.disabled = true
	r.missing(line, format, values...)
}

// missing notes something that has no like in forg, and without which the rule does no more than it did.
func (r *rule) missing(line int, format string, values ...any) {
	r.add(note(line, true, format, values...))
}

// differs notes something that means something a little different in forg.
func (r *rule) differs(line int, format string, values ...any) {
	r.add(note(line, false, format, values...))
}

func (r *rule) add(n Note) {
	if !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

// unique returns name, or another one if a rule has it.
func (c *converter) unique(name string) string {
	name = strings.TrimSpace(oneLine(name))
	for n, base := 2, name; c.names[name]; n++ {
		name = fmt.Sprintf("%s (%d)", base, n)
	}
	c.names[name] = true
	return name
}

// oneLine returns s without line breaks and other control characters, cut to a length that can be read.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return ' '
		}
		return r
	}, s)
	return shorten(s, 400)
}

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

// finish writes the rules file. A rule that the parser does not take becomes a comment, one that is never reached is
// disabled: what is returned is always a valid file.
func (c *converter) finish(name string) ([]byte, error) {
	for _, r := range c.rules {
		if err := c.write(r); err != nil {
			return nil, err
		}
		if _, err := rules.Parse(name, []byte("rules:\n"+r.text), c.opt); err != nil {
			if err := c.setAside(r, problems(err)); err != nil {
				return nil, err
			}
		}
	}
	// Only what is wrong with rules together is left. Each round settles at least one rule.
	for range 2*len(c.rules) + 1 {
		text, lines := c.assemble(name)
		_, err := rules.Parse(name, text, c.opt)
		if err == nil {
			return text, nil
		}
		errs, ok := errors.AsType[rules.Errors](err)
		if !ok || len(errs) == 0 {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		seen := map[*rule]bool{}
		for _, e := range errs {
			i := len(lines) - 1
			for i > 0 && lines[i] > e.Line {
				i--
			}
			r := c.rules[i]
			if seen[r] {
				continue
			}
			seen[r] = true
			if r.disabled || r.stub {
				if err := c.setAside(r, []string{withoutPlace(e.Message)}); err != nil {
					return nil, err
				}
				continue
			}
			r.disabled = true
			n := note(r.line, false, "the rule is disabled: %s", withoutPlace(e.Message))
			r.add(n)
			c.notes = append(c.notes, n)
			if err := c.write(r); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("%s: the rules cannot be carried over", name)
}

// problems are what the parser has against a rule, without places, which are those of a text that nobody sees.
func problems(err error) []string {
	var all []string
	if errs, ok := errors.AsType[rules.Errors](err); ok {
		for _, e := range errs {
			if text := withoutPlace(e.Message); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
		return all
	}
	return []string{err.Error()}
}

var places = lazily(` (in|and) line [0-9]+`)

// withoutPlace takes lines of the rules file out of a message: they change as it is written, and the reader of a note looks
// at another file.
func withoutPlace(message string) string {
	return places().ReplaceAllStringFunc(message, func(s string) string {
		if strings.HasPrefix(s, " in") {
			return ""
		}
		return " and another filter"
	})
}

// setAside replaces a rule by one that does nothing, with the text of the rule as a comment.
func (c *converter) setAside(r *rule, why []string) error {
	for _, w := range why {
		n := note(r.line, true, "forg does not take the rule as it is: %s", w)
		r.add(n)
		c.notes = append(c.notes, n)
	}
	old := r.text
	r.disabled, r.stub = true, true
	ruleName := "Rule"
	if v := child(r.node, "name"); v != nil {
		ruleName = v.Value
	}
	r.node = object(
		"name", text(ruleName),
		"actions", list(object("echo", text("not carried over, see the comment"))),
	)
	if err := c.write(r); err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(old) {
		if line = strings.TrimRight(oneLine(line), " "); !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString("  # " + strings.TrimPrefix(line, "  ") + "\n")
		}
	}
	i := strings.Index(r.text, "  - ") // comments come before it
	r.text = r.text[:i] + b.String() + r.text[i:]
	return nil
}

// write makes the text of a rule: an item of the list of rules, with its notes before it.
func (c *converter) write(r *rule) error {
	node := r.node
	if r.disabled && child(node, "enabled") == nil {
		copied := *node
		copied.Content = slices.Clone(node.Content)
		at := 0
		if len(copied.Content) >= 2 && copied.Content[0].Value == "name" {
			at = 2
		}
		copied.Content = slices.Insert(copied.Content, at, text("enabled"), plain("false"))
		node = &copied
	}
	var body bytes.Buffer
	enc := yaml.NewEncoder(&body)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return fmt.Errorf("write a rule: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write a rule: %w", err)
	}
	var b strings.Builder
	slices.SortStableFunc(r.notes, func(a, b Note) int { return a.Line - b.Line })
	for _, n := range r.notes {
		word := ""
		if n.Lost {
			word = "not carried over: "
		}
		fmt.Fprintf(&b, "  # line %d: %s%s\n", n.Line, word, n.Text)
	}
	first := true
	for line := range strings.Lines(body.String()) {
		switch {
		case first:
			b.WriteString("  - " + line)
		case strings.TrimSpace(line) == "":
			b.WriteString(line)
		default:
			b.WriteString("    " + line)
		}
		first = false
	}
	r.text = b.String()
	return nil
}

// assemble joins the rules, and tells in which line each begins, its comments included.
func (c *converter) assemble(name string) (out []byte, lines []int) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made from %s, a configuration of %s, by forg rules import.\n", oneLine(name), c.kind)
	b.WriteString("# The first rule that matches a file wins, unless it says continue: true. A name that is taken gets a\n" +
		"# number in parentheses, unless rename_template says otherwise.\n")
	if slices.ContainsFunc(c.rules, func(r *rule) bool { return r.disabled }) {
		b.WriteString("# A rule that says enabled: false lost something that it needs, or is never reached: see the comment above it.\n")
	}
	loose := map[Note]bool{}
	for _, n := range c.notes {
		loose[n] = true
	}
	for _, r := range c.rules {
		for _, n := range r.notes {
			delete(loose, n)
		}
	}
	for _, n := range c.notes {
		if loose[n] {
			delete(loose, n)
			fmt.Fprintf(&b, "# line %d: %s\n", n.Line, n.Text)
		}
	}
	b.WriteString("rules:\n")
	for i, r := range c.rules {
		if i > 0 {
			b.WriteByte('\n')
		}
		lines = append(lines, bytes.Count(b.Bytes(), []byte("\n"))+1)
		b.WriteString(r.text)
	}
	return b.Bytes(), lines
}

// recognize tells the format of a file with a list of rules, or returns "".
func recognize(name string, root *node, items []*node) Kind {
	score := map[Kind]int{}
	ruleLike := len(items) == 0
	for _, item := range items {
		if item.kind != mapping {
			continue
		}
		if item.get("actions") != nil {
			ruleLike = true
		}
		for _, p := range item.pairs {
			switch strings.ToLower(p.key) {
			case "folders", "system_files":
				score[Organize1] += 100
				ruleLike = true
			case "targets", "filter_mode", "subfolders", "tags":
				score[Organize3]++
			case "recursive", "traversal":
				score[Autotidy] += 2
			case "continue":
				score["forg"] += 5
			}
		}
		visit(item.get("filters"), 0, func(key string, value *node) {
			switch strings.TrimPrefix(key, "not ") {
			case "any", "file_type", "file_size", "mime_type", "date_modified", "date_accessed", "date_created", "date_changed":
				score[Autotidy] += 2
			case "not":
				if value != nil && value.kind == sequence {
					score[Autotidy] += 2
				}
			case "modified", "taken", "category", "path", "content", "origin", "image", "audio", "video":
				score["forg"]++
			case "created", "lastmodified", "duplicate", "empty", "exif", "filecontent", "hash", "macos_tags", "mimetype", "python",
				"regex", "size", "date_added", "date_lastused", "filename", "filesize":
				score[Organize3]++
			}
		})
		visit(item.get("actions"), 0, func(key string, value *node) {
			switch key {
			case "log":
				score[Autotidy] += 2
			case "exec", "tag", "reflink", "extract":
				score["forg"]++
			case "echo", "python", "shell", "confirm", "write", "symlink", "hardlink", "macos_tags":
				score[Organize3]++
			}
			for _, s := range value.scalars() {
				if strings.Contains(s, "${name}") || strings.Contains(s, "${ext}") {
					score[Autotidy] += 2
				}
				if plainTime().MatchString(s) && !strings.Contains(s, "{") && key != "shell" {
					score[Autotidy]++
				}
			}
		})
	}
	if root.get("daemon") != nil || root.get("logging") != nil {
		score[Autotidy] += 2
	}
	if !ruleLike {
		return ""
	}
	if strings.Contains(strings.ToLower(name), "autotidy") {
		score[Autotidy]++
	}
	switch {
	case score["forg"] > 0 && score["forg"] >= score[Autotidy] && score["forg"] >= score[Organize3] && score[Organize1] == 0:
		return "" // it is a rules file already
	case score[Organize1] > 0:
		return Organize1
	case score[Autotidy] > score[Organize3]:
		return Autotidy
	}
	return organizeVersion(items)
}

// visit calls f with the names of filters or actions, which may be nested in groups.
func visit(n *node, depth int, f func(key string, value *node)) {
	if n == nil || depth > 50 {
		return
	}
	for _, item := range n.flat() {
		switch item.kind {
		case scalar:
			f(strings.ToLower(item.value), nil)
		case mapping:
			for _, p := range item.pairs {
				key := strings.ToLower(p.key)
				f(key, p.value)
				if (key == "any" || key == "not" || key == "all") && p.value.kind == sequence {
					visit(p.value, depth+1, f)
				}
			}
		}
	}
}

// lazily compiles an expression when it is first asked for: most runs of forg ask for none.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
