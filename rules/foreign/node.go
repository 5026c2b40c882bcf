package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxSource = 4 << 20 // bytes
	maxNodes  = 100_000 // counted as often as aliases use them
	maxDepth  = 100
)

// read returns the only document of source.
func (c *converter) read(name string, source []byte) (*node, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("%s: the file is larger than %d MB", name, maxSource>>20)
	}
	dec := yaml.NewDecoder(bytes.NewReader(source))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: the file is empty", name)
		}
		return nil, notYAML(name, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	root, err := c.build(doc.Content[0], 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		c.note(second.Line, true, "only the first of several YAML documents is read")
	case !errors.Is(err, io.EOF):
		return nil, notYAML(name, err)
	}
	return root, nil
}

// notYAML puts the line that the YAML parser names where other messages have it.
func notYAML(name string, err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if line, tail, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: this is not YAML: %s", name, line, tail)
		}
	}
	return fmt.Errorf("%s: this is not YAML: %s", name, message)
}

// A nodeKind is what a node of the source is.
type nodeKind uint8

const (
	empty nodeKind = iota
	scalar
	sequence
	mapping
)

// A node is a part of the source, with aliases and merged mappings filled in.
type node struct {
	kind   nodeKind
	line   int
	value  string
	quoted bool   // so that it is text whatever it looks like
	tag    string // one that YAML does not define, as !include
	items  []*node
	pairs  []pair
}

type pair struct {
	key   string
	line  int
	value *node
}

func (c *converter) build(n *yaml.Node, depth int) (*node, error) {
	if c.nodes++; c.nodes > maxNodes {
		return nil, fmt.Errorf("with all aliases filled in, the file has more than %d parts", maxNodes)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: nested more than %d deep", n.Line, maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		return c.build(n.Alias, depth+1)
	}
	out := &node{line: n.Line}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		out.tag = n.Tag
	}
	switch n.Kind {
	case yaml.ScalarNode:
		out.kind, out.value = scalar, n.Value
		out.quoted = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		if n.ShortTag() == "!!null" && !out.quoted {
			out.kind = empty
		}
	case yaml.SequenceNode:
		out.kind = sequence
		for _, item := range n.Content {
			v, err := c.build(item, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, v)
		}
	case yaml.MappingNode:
		out.kind = mapping
		var merged []pair
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := c.build(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			if n.Content[i].ShortTag() == "!!merge" {
				for _, from := range v.flat() {
					merged = append(merged, from.pairs...)
				}
				continue
			}
			key, err := c.build(n.Content[i], depth+1)
			if err != nil {
				return nil, err
			}
			p := pair{key.value, n.Content[i].Line, v}
			if at := slices.IndexFunc(out.pairs, func(o pair) bool { return o.key == p.key }); at >= 0 {
				c.note(p.line, false, "%q is here twice; as elsewhere, the last one counts", shorten(p.key, 40))
				out.pairs[at] = p
				continue
			}
			out.pairs = append(out.pairs, p)
		}
		for _, p := range merged {
			if out.get(p.key) == nil {
				out.pairs = append(out.pairs, p)
			}
		}
	}
	return out, nil
}

// get returns what stands under a key, in any case; nil if there is none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if strings.EqualFold(p.key, key) {
			return p.value
		}
	}
	return nil
}

// flat returns the items of a list, and of lists in it, or the node itself if it is no list. What is empty has none.
func (n *node) flat() []*node {
	switch {
	case n == nil || n.kind == empty:
		return nil
	case n.kind != sequence:
		return []*node{n}
	}
	var all []*node
	for _, item := range n.items {
		all = append(all, item.flat()...)
	}
	return all
}

// scalars returns the texts in n.
func (n *node) scalars() []string {
	if n == nil {
		return nil
	}
	var all []string
	if n.kind == scalar {
		all = append(all, n.value)
	}
	for _, item := range n.items {
		all = append(all, item.scalars()...)
	}
	for _, p := range n.pairs {
		all = append(all, p.value.scalars()...)
	}
	return all
}

// boolean reads a flag as YAML 1.1 does, which Python's reader follows.
func (n *node) boolean() (value, ok bool) {
	if n == nil || n.kind != scalar {
		return false, false
	}
	switch strings.ToLower(n.value) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0":
		return false, true
	}
	return false, false
}

// What follows makes the nodes of a rules file.

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.ContainsAny(s, "\r\u0085\u2028\u2029\ufeff\t") || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") {
		n.Style = yaml.DoubleQuotedStyle // a block would not keep them
	}
	return n
}

func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

func list(items ...*yaml.Node) *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode, Content: items} }

// texts returns a list of texts on one line, or a single text as it is.
func texts(all []string) *yaml.Node {
	if len(all) == 1 {
		return text(all[0])
	}
	return inlineTexts(all)
}

func inlineTexts(all []string) *yaml.Node {
	n := list()
	n.Style = yaml.FlowStyle
	for _, s := range all {
		t := text(s)
		if strings.Contains(s, "\n") {
			t.Style = yaml.DoubleQuotedStyle
		}
		n.Content = append(n.Content, t)
	}
	return n
}

// object returns a mapping of alternating keys and values. Values that are nil are left out.
func object(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		put(n, pairs[i].(string), pairs[i+1].(*yaml.Node))
	}
	return n
}

func put(n *yaml.Node, key string, value *yaml.Node) {
	if value != nil {
		n.Content = append(n.Content, text(key), value)
	}
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// same reports whether two nodes say the same.
func same(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, same)
}
