package foreign

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// plainTime finds what autotidy's templates replace by a part of the time of the run.
var plainTime = lazily(`%[YmdHMSyBbAajUWeFTIp]`)

func (c *converter) autotidy(root *node, items []*node) {
	for _, key := range []string{"daemon", "logging"} {
		if n := root.get(key); n != nil {
			c.note(n.line, false, "%s says how autotidy itself runs; forg watch has options of its own", key)
		}
	}
	for i, item := range items {
		if item.kind != mapping {
			c.note(item.line, true, "a rule is a mapping; this is none")
			continue
		}
		c.autotidyRule(item, i+1)
	}
}

func (c *converter) autotidyRule(item *node, number int) {
	r := c.newRule(item.line)
	name := fmt.Sprintf("Rule %d", number)
	out := &yaml.Node{Kind: yaml.MappingNode}
	depth := 0
	var places []*place
	for _, p := range item.pairs {
		v := p.value
		switch strings.ToLower(p.key) {
		case "name":
			if v.kind == scalar && strings.TrimSpace(oneLine(v.value)) != "" {
				name = v.value
			}
		case "enabled":
			if on, ok := v.boolean(); ok && !on {
				put(out, "enabled", plain("false"))
			} else if !ok {
				r.lost(p.line, "enabled is true or false, not %q", shorten(v.value, 20))
			}
		case "recursive":
			if on, ok := v.boolean(); ok && on {
				depth = -1
			} else if !ok {
				r.lost(p.line, "recursive is true or false, not %q", shorten(v.value, 20))
			}
		case "subfolders": // stands in examples, but autotidy does not read it
			r.differs(p.line, "autotidy has no subfolders; there it is recursive")
		case "traversal":
			r.differs(p.line, "traversal has no meaning in forg, which plans all before it moves a file")
		case "locations", "filters", "actions":
		default:
			r.lost(p.line, "autotidy has no key %q for rules", shorten(p.key, 40))
		}
	}
	for _, n := range item.get("locations").flat() {
		p := &place{line: n.line, depth: depth}
		if r.tidyLocation(p, n) && !slices.ContainsFunc(places, func(o *place) bool { return o.path == p.path }) {
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		r.lost(item.line, "the rule has no location")
	}
	r.flat = depth == 0
	files, dirs, filters := r.tidyFilters(item.get("filters"))
	said := files || dirs
	if !said {
		files = true
	}
	actions, stays := r.tidyActions(item.get("actions"))
	empties := filters
	deletes := func(n *node) bool { return n.value == "delete" || n.get("delete") != nil }
	if slices.ContainsFunc(item.get("actions").flat(), deletes) {
		empties = append(slices.Clone(filters), text("empty"))
	}
	if len(actions) == 0 {
		if item.get("actions").flat() == nil {
			r.lost(item.line, "the rule has no actions")
		}
		r.disabled = true
		actions = append(actions, object("echo", text("none of the actions could be carried over")))
	}
	write := func(r *rule, name, targets string) {
		n := object("name", text(c.unique(name)))
		n.Content = append(n.Content, out.Content...)
		locate(n, places)
		holds := filters
		if targets == "dirs" {
			put(n, "targets", text(targets))
			if holds = empties; len(holds) > len(filters) {
				r.differs(item.line,
					"autotidy deletes folders with all that is in them, where its documentation speaks of empty ones; so does this rule")
			}
		}
		filter(n, holds, "all", nil)
		put(n, "actions", list(actions...))
		if stays {
			put(n, "continue", plain("true"))
		}
		c.add(r, n)
	}
	switch {
	case files && dirs:
		write(r, name, "files")
		second := c.newRule(r.line)
		second.disabled = r.disabled
		second.differs(r.line, "the same rule for folders")
		write(second, name+" (folders)", "dirs")
	case dirs:
		write(r, name, "dirs")
	default:
		write(r, name, "files")
		if !said && !aboutFiles(filters) {
			second := c.newRule(r.line)
			second.disabled = true
			second.differs(r.line,
				"autotidy does this with folders too, since the rule has no file_type; enable this rule if that is meant")
			write(second, name+" (folders)", "dirs")
		}
	}
}

// aboutFiles reports whether no folder passes the filters, but for one that is named like a file.
func aboutFiles(filters []*yaml.Node) bool {
	return slices.ContainsFunc(filters, aboutFile)
}

func aboutFile(f *yaml.Node) bool {
	if f.Kind != yaml.MappingNode {
		return false
	}
	switch f.Content[0].Value {
	case "extension", "size", "mime":
		return true
	case "all":
		return slices.ContainsFunc(f.Content[1].Content, aboutFile)
	case "any":
		return !slices.ContainsFunc(f.Content[1].Content, func(f *yaml.Node) bool { return !aboutFile(f) })
	}
	return false
}

func (r *rule) tidyLocation(p *place, n *node) bool {
	s := strings.ReplaceAll(strings.TrimSpace(n.value), `\`, "/")
	absolute := strings.HasPrefix(s, "/") || s == "~" || strings.HasPrefix(s, "~/") || len(s) > 2 && s[1] == ':' && s[2] == '/'
	if n.kind != scalar || !absolute || strings.Contains(s, "*") {
		r.lost(n.line, "%q is no absolute path of a folder", shorten(s, 60))
		return false
	}
	p.path = strings.NewReplacer("{", "{{", "}", "}}").Replace(path.Clean(s))
	return true
}

// tidyFilters reads a list of filters, all of which must hold. files and dirs say what file_type asked for.
func (r *rule) tidyFilters(n *node) (files, dirs bool, filters []*yaml.Node) {
	for _, item := range n.flat() {
		if item.kind != mapping {
			r.lost(item.line, "a filter is a mapping; this is none")
			continue
		}
		for _, p := range item.pairs {
			types, ok := fileTypes(p, 0)
			if !ok {
				filters = append(filters, r.tidyFilter(p, 0)...)
				continue
			}
			f, d := slices.Contains(types, "file"), slices.Contains(types, "directory")
			if slices.Contains(types, "symlink") {
				r.missing(p.line, "file_type: forg leaves symbolic links alone")
			}
			if (files || dirs) && (files != f || dirs != d) {
				f, d = f && files, d && dirs
			}
			if files, dirs = f, d; !f && !d {
				r.lost(p.line, "file_type: nothing is left that forg has rules for")
			}
		}
	}
	return files, dirs, filters
}

// fileTypes returns what a filter says of the type of what it is about, if it says nothing else.
func fileTypes(p pair, depth int) (types []string, ok bool) {
	switch p.key {
	case "file_type":
		v := p.value
		if v.kind == mapping {
			v = v.get("types")
		}
		for _, t := range words(v) {
			switch t {
			case "dir", "folder":
				t = "directory"
			}
			types = append(types, t)
		}
		return types, len(types) > 0
	case "not":
		items := p.value.flat()
		if depth == 0 && len(items) == 1 && items[0].kind == mapping && len(items[0].pairs) == 1 {
			inner, ok := fileTypes(items[0].pairs[0], depth+1)
			if !ok {
				return nil, false
			}
			for _, t := range []string{"file", "directory"} {
				if !slices.Contains(inner, t) {
					types = append(types, t)
				}
			}
			return types, len(types) > 0
		}
	}
	return nil, false
}

// tidyFilter reads one filter. What it returns must hold, all of it.
func (r *rule) tidyFilter(p pair, depth int) []*yaml.Node {
	if depth > 30 {
		r.lost(p.line, "filters are nested too deep")
		return nil
	}
	one := func(n *yaml.Node) []*yaml.Node {
		if n == nil {
			return nil
		}
		return []*yaml.Node{n}
	}
	switch p.key {
	case "any", "not":
		var all []*yaml.Node
		for _, item := range p.value.flat() {
			if item.kind != mapping {
				r.lost(item.line, "a filter is a mapping; this is none")
				return nil
			}
			var both []*yaml.Node
			for _, q := range item.pairs {
				f := r.tidyFilter(q, depth+1)
				if f == nil {
					return nil // what is wrong was said, and the group means nothing without it
				}
				both = append(both, f...)
			}
			all = append(all, joined(both)...)
		}
		switch {
		case len(all) == 0:
			return nil
		case p.key == "any":
			return one(object("any", list(all...)))
		case len(all) > 1:
			r.differs(p.line,
				"not: autotidy's documentation says that none of them must hold, but the program asks that not all of them hold; so does this")
		}
		return one(object("not", joined(all)[0]))
	case "name":
		return one(r.tidyName(p))
	case "extension":
		return one(r.tidyExtension(p))
	case "file_size":
		return one(r.tidySize(p))
	case "mime_type":
		v := p.value
		if v.kind == mapping {
			v = v.get("mime_types")
		}
		all := words(v)
		if len(all) == 0 {
			r.lost(p.line, "mime_type names no type")
			return nil
		}
		for i, s := range all {
			if !strings.ContainsAny(s, "/*[") {
				r.lost(p.line, "mime_type: %q is no media type", shorten(s, 40))
				return nil
			}
			all[i] = strings.TrimSpace(s)
		}
		return one(object("mime", object("is", texts(all), "detect", text("content"))))
	case "date_modified":
		return r.tidyDate("modified", p)
	case "date_accessed":
		return r.tidyDate("accessed", p)
	case "date_created":
		return r.tidyDate("created", p)
	case "date_changed":
		r.lost(p.line, "date_changed: forg does not ask when the permissions or the owner of a file were changed")
	case "file_type":
		r.lost(p.line, "file_type within any or not: in forg a rule is about files or about folders")
	default:
		r.lost(p.line, "autotidy has no filter %q", shorten(p.key, 40))
	}
	return nil
}

// joined makes one filter of those that must all hold.
func joined(filters []*yaml.Node) []*yaml.Node {
	if len(filters) < 2 {
		return filters
	}
	return []*yaml.Node{object("all", list(filters...))}
}

func (r *rule) tidyName(p pair) *yaml.Node {
	glob, expr := p.value, p.value.get("regex")
	if p.value.kind == mapping {
		glob = p.value.get("glob")
	}
	switch {
	case expr != nil && expr.value != "" && glob != nil && glob.value != "":
		r.lost(p.line, "name has a glob and a regex; autotidy takes one of them")
		return nil
	case expr != nil && expr.value != "":
		if _, err := regexp.Compile(expr.value); err != nil {
			r.lost(expr.line, "name.regex: %v", err)
			return nil
		}
		return object("regex", text(expr.value))
	case glob == nil || glob.kind != scalar || glob.value == "":
		r.lost(p.line, "name has no pattern")
		return nil
	case strings.Contains(glob.value, "/"):
		r.lost(p.line, "name: no name has a / in it: %q", shorten(glob.value, 40))
		return nil
	}
	// The path, since the name of a rule's own filter ends before the extension.
	return object("path", text("**/"+strings.ReplaceAll(glob.value, "**", "*")))
}

func (r *rule) tidyExtension(p pair) *yaml.Node {
	v := p.value
	if v.kind == mapping {
		v = v.get("extensions")
	}
	var plain, globs []string
	for _, s := range words(v) {
		s = strings.TrimPrefix(s, ".")
		switch {
		case s == "" || strings.ContainsAny(s, "/ ,;"):
			r.lost(p.line, "extension: %q is no extension", shorten(s, 40))
			return nil
		case strings.ContainsAny(s, `*?[]{}\`):
			e, err := extensionExpr(s)
			if err != nil {
				r.lost(p.line, "extension: %q: %v", shorten(s, 40), err)
				return nil
			}
			globs = append(globs, e)
		case !slices.Contains(plain, strings.ToLower(s)):
			plain = append(plain, strings.ToLower(s))
		}
	}
	var all []*yaml.Node
	if len(plain) > 0 {
		r.differs(p.line, "extension: forg takes PDF for pdf; autotidy does not")
		all = append(all, object("extension", texts(plain)))
	}
	for _, e := range globs {
		all = append(all, object("regex", text(e)))
	}
	switch len(all) {
	case 0:
		r.lost(p.line, "extension names none")
		return nil
	case 1:
		return all[0]
	}
	return object("any", list(all...))
}

// extensionExpr turns a glob of an extension into a regular expression for the whole name.
func extensionExpr(glob string) (string, error) {
	var b strings.Builder
	b.WriteString(`\.`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(`[^.]*`)
		case '?':
			b.WriteString(`[^.]`)
		case '[':
			end := classEnd(glob, i)
			if end < 0 {
				return "", errors.New("a [ is never closed")
			}
			class := glob[i+1 : end]
			if strings.HasPrefix(class, "!") {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, "[", `\[`) + "]")
			i = end
		case '{', '}', '\\':
			return "", fmt.Errorf("%q is more than forg's globs of extensions know", string(c))
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString("$")
	if _, err := regexp.Compile(b.String()); err != nil {
		return "", errors.New("it cannot be read")
	}
	return b.String(), nil
}

var tidySize = lazily(`(?i)^\s*(>=?|<=?)\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb)\s*$`)

func (r *rule) tidySize(p pair) *yaml.Node {
	if p.value.kind == scalar {
		m := tidySize().FindStringSubmatch(p.value.value)
		if m == nil {
			r.lost(p.line, "file_size: %q is no size", shorten(p.value.value, 40))
			return nil
		}
		return object("size", text(m[1]+" "+m[2]+" "+tidyUnit(m[3])))
	}
	measure := func(n *node) (string, bool) {
		if n == nil || n.kind != mapping || len(n.pairs) != 1 {
			return "", false
		}
		q := n.pairs[0]
		f, err := strconv.ParseFloat(q.value.value, 64)
		if err != nil || f < 0 || f > 1e18 || !slices.Contains([]string{"b", "kb", "mb", "gb", "tb"}, q.key) {
			return "", false
		}
		return strconv.FormatFloat(f, 'f', -1, 64) + " " + tidyUnit(q.key), true
	}
	if len(p.value.pairs) == 1 {
		q := p.value.pairs[0]
		if q.key == "between" {
			low, ok := measure(q.value.get("min"))
			high, fine := measure(q.value.get("max"))
			if ok && fine {
				return object("size", text(">= "+low+", <= "+high))
			}
		}
		operator := map[string]string{"greater_than": ">", "less_than": "<", "at_least": ">=", "at_most": "<="}[q.key]
		if s, ok := measure(q.value); ok && operator != "" {
			return object("size", text(operator+" "+s))
		}
	}
	r.lost(p.line, "file_size is one of greater_than, less_than, at_least, at_most and between, with one unit")
	return nil
}

// tidyUnit is the name of a unit, all of which are powers of 1024.
func tidyUnit(s string) string {
	if s = strings.ToUpper(s); s == "B" {
		return s
	}
	return s[:1] + "iB"
}

func (r *rule) tidyDate(filter string, p pair) []*yaml.Node {
	var all []*yaml.Node
	for _, q := range p.value.pairs {
		if q.key != "before" && q.key != "after" {
			r.lost(q.line, "%s has before and after alone", p.key)
			return nil
		}
		if q.value.kind != mapping || len(q.value.pairs) != 1 {
			r.lost(q.line, "%s.%s is one moment", p.key, q.key)
			return nil
		}
		one := q.value.pairs[0]
		out := &yaml.Node{Kind: yaml.MappingNode}
		unit, age := strings.CutSuffix(one.key, "_ago")
		switch {
		case age:
			if !r.tidyAge(out, unit, one, p.key) {
				return nil
			}
			if q.key == "after" {
				put(out, "mode", text("newer"))
			}
		case one.key == "date" || one.key == "unix":
			t, err := tidyMoment(one)
			if err != nil {
				r.lost(one.line, "%s: %v", p.key, err)
				return nil
			}
			put(out, q.key, text(t.UTC().Format(time.RFC3339)))
		default:
			r.lost(one.line, "%s: autotidy has no %q", p.key, shorten(one.key, 40))
			return nil
		}
		all = append(all, object(filter, out))
	}
	if len(all) == 0 {
		r.lost(p.line, "%s has neither before nor after", p.key)
	}
	return all
}

func (r *rule) tidyAge(out *yaml.Node, unit string, p pair, what string) bool {
	f, err := strconv.ParseFloat(p.value.value, 64)
	at := slices.IndexFunc(dateUnits, func(u struct {
		name    string
		seconds float64
	}) bool {
		return u.name == unit
	})
	if err != nil || f < 0 || math.IsNaN(f) || f > 1e6 || at < 0 {
		r.lost(p.line, "%s: %s is no age that forg counts", what, shorten(p.key+": "+p.value.value, 40))
		return false
	}
	seconds := dateUnits[at].seconds
	if f != math.Trunc(f) && seconds == 0 { // autotidy takes months and years for lengths of time
		unit, seconds = "days", 86400
		if p.key == "months_ago" {
			f *= 30.44
		} else {
			f *= 365.25
		}
		f = math.Round(f)
	}
	switch {
	case f == math.Trunc(f) && f <= 1e6:
		put(out, unit, plain(strconv.FormatFloat(f, 'f', 0, 64)))
	case f*seconds <= 1e6:
		put(out, "seconds", plain(strconv.FormatFloat(math.Round(f*seconds), 'f', 0, 64)))
	default:
		put(out, "hours", plain(strconv.FormatFloat(min(math.Round(f*seconds/3600), 1e6), 'f', 0, 64)))
	}
	return true
}

func tidyMoment(p pair) (time.Time, error) {
	if p.key == "unix" {
		n, err := strconv.ParseInt(p.value.value, 10, 64)
		if err != nil || n < 0 || n > 250_000_000_000 {
			return time.Time{}, fmt.Errorf("%q is no number of seconds", shorten(p.value.value, 40))
		}
		return time.Unix(n, 0), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, p.value.value); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date", shorten(p.value.value, 40))
}

func (r *rule) tidyActions(n *node) (actions []*yaml.Node, stays bool) {
	stays = true
	gone := false
	for _, item := range n.flat() {
		p := pair{key: item.value, line: item.line, value: &node{line: item.line}}
		if item.kind == mapping && len(item.pairs) > 0 {
			p = item.pairs[0]
			if len(item.pairs) > 1 {
				r.lost(item.pairs[1].line, "an action is one key; %q is a second one", shorten(item.pairs[1].key, 40))
			}
		}
		if gone && p.key != "log" {
			r.lost(p.line, "%s comes after the file has gone", shorten(p.key, 40))
			continue
		}
		main := map[string]string{"move": "dest", "copy": "new_name", "rename": "new_name", "log": "msg"}[p.key]
		v := p.value
		conflict := v.get("on_conflict")
		for _, q := range v.pairs {
			if q.key != main && q.key != "on_conflict" && !(p.key == "log" && q.key == "level") {
				r.lost(q.line, "%s of autotidy has no %q", shorten(p.key, 20), shorten(q.key, 40))
			}
		}
		if v.kind == mapping {
			v = v.get(main)
		}
		if main != "" && (v == nil || v.kind != scalar || v.value == "") {
			r.lost(p.line, "%s has no %s", p.key, main)
			continue
		}
		switch p.key {
		case "trash", "delete":
			if p.key == "delete" {
				r.differs(p.line, "delete has become trash: forg deletes no file")
			}
			actions = append(actions, text("trash"))
			gone, stays = true, false
		case "log":
			actions = append(actions, object("echo", text(r.tidyTemplate(v))))
		case "move":
			to := cleanPlace(strings.TrimSuffix(strings.ReplaceAll(r.tidyTemplate(v), `\`, "/"), "/") + "/")
			if !rooted(to) {
				r.differs(p.line, "move: %s is below the location in forg, or below --into", shorten(v.value, 60))
			}
			actions = append(actions, r.tidyPlacing("move", "dest", to, conflict))
			stays = false
		case "copy", "rename":
			name := r.tidyTemplate(v)
			if strings.ContainsAny(v.value, `/\`) {
				r.lost(p.line, "%s: a new name has no / in it", p.key)
				continue
			}
			if p.key == "rename" {
				actions = append(actions, r.tidyPlacing("rename", "name", name, conflict))
				break
			}
			if !r.flat {
				r.lost(p.line, "copy: in subfolders forg cannot name a copy in the folder of the file")
				continue
			}
			actions = append(actions, r.tidyPlacing("copy", "dest", "{location}/"+name, conflict))
		default:
			r.lost(p.line, "autotidy has no action %q", shorten(p.key, 40))
		}
	}
	return actions, stays
}

func (r *rule) tidyPlacing(name, key, to string, conflict *node) *yaml.Node {
	out := object(key, text(to))
	if conflict != nil && conflict.value != "" {
		switch conflict.value {
		case "rename_with_suffix":
			put(out, "on_conflict", text("rename"))
			put(out, "rename_template", text("{name}_{counter}"))
		case "skip":
			put(out, "on_conflict", text("skip"))
		case "overwrite":
			put(out, "on_conflict", text("overwrite"))
			r.differs(conflict.line, "overwrite: in forg what is overwritten goes to the trash")
		default:
			r.lost(conflict.line, "on_conflict: autotidy has no %q", shorten(conflict.value, 40))
		}
	}
	if len(out.Content) == 2 {
		return object(name, out.Content[1])
	}
	return object(name, out)
}

// tidyTemplate turns ${name} and ${ext} into placeholders, and conversions of strftime into {now}.
func (r *rule) tidyTemplate(n *node) string {
	var b strings.Builder
	s := n.value
	for s != "" {
		switch {
		case strings.HasPrefix(s, "${name}"):
			b.WriteString("{name}")
			s = s[len("${name}"):]
		case strings.HasPrefix(s, "${ext}"):
			r.differs(n.line,
				"${ext} of a file without an extension is nothing; forg leaves such a file alone, since it has no {ext}")
			b.WriteString(".{ext}")
			s = s[len("${ext}"):]
		case strings.HasPrefix(s, "%%"):
			b.WriteByte('%')
			s = s[2:]
		case plainTime().MatchString(s[:min(2, len(s))]):
			end := 2
			for { // what belongs together stays together: %Y-%m-%d
				rest := strings.TrimLeft(s[end:], "-_/.")
				if len(rest) < 2 || !plainTime().MatchString(rest[:2]) || len(s)-end-len(rest) > 1 {
					break
				}
				end = len(s) - len(rest) + 2
			}
			b.WriteString("{now:" + s[:end] + "}")
			s = s[end:]
		case s[0] == '{' || s[0] == '}':
			b.WriteString(s[:1] + s[:1])
			s = s[1:]
		default:
			if s[0] == '%' && len(s) > 1 && s[1] != ' ' {
				r.missing(n.line, "%q: forg's dates know no such conversion; it stays as it is", s[:2])
			}
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}
