package foreign

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// organizeVersion tells the versions of organize apart by words that one of them alone knows.
func organizeVersion(items []*node) Kind {
	kind := Organize3
	for _, item := range items {
		for _, l := range item.get("locations").flat() {
			if l.get("filesystem") != nil || l.kind == scalar && strings.Contains(l.value, "://") {
				kind = Organize2
			}
		}
		for _, s := range item.scalars() {
			if oldPlaceholder().MatchString(s) {
				kind = Organize2
			}
		}
		visit(item.get("actions"), 0, func(key string, value *node) {
			if key == "write" && value.get("path") != nil {
				kind = Organize2
			}
		})
	}
	return kind
}

func (c *converter) organize(root *node, items []*node) {
	if c.kind == Organize1 {
		items = c.mended(items)
	}
	for i, item := range items {
		if item.kind != mapping {
			c.note(item.line, true, "a rule is a mapping; this is none")
			continue
		}
		for _, n := range tagged(item) {
			c.note(n.line, true, "%s: organize itself reads no files by such a word", n.tag)
		}
		c.organizeRule(item, i+1)
	}
}

// mended joins what belongs to one rule, but was written as an item for each key, as some pages of the documentation of
// version 1 have it.
func (c *converter) mended(items []*node) []*node {
	var out []*node
	for _, item := range items {
		if len(out) > 0 && item.get("folders") == nil && item.kind == mapping {
			if last := out[len(out)-1]; last.get("folders") != nil && last.get("actions") == nil {
				joined := *last
				joined.pairs = slices.Concat(last.pairs, item.pairs)
				out[len(out)-1] = &joined
				c.note(item.line, false, "this is taken for a part of the rule in line %d", last.line)
				continue
			}
		}
		out = append(out, item)
	}
	return out
}

// tagged returns the nodes with tags that YAML does not define.
func tagged(n *node) []*node {
	var all []*node
	if n.tag != "" && len(n.tag) > 1 {
		all = append(all, n)
	}
	for _, item := range n.items {
		all = append(all, tagged(item)...)
	}
	for _, p := range n.pairs {
		all = append(all, tagged(p.value)...)
	}
	return all
}

// A place is a folder that a rule looks at.
type place struct {
	path         string
	line         int
	depth        int // levels of subfolders, -1 for all
	excludeFiles []string
	excludeDirs  []string
	filters      []*yaml.Node // which hold for this folder alone
	missing      bool         // it cannot be looked at
}

func (c *converter) organizeRule(item *node, number int) {
	r := c.newRule(item.line)
	name := fmt.Sprintf("Rule %d", number)
	out := &yaml.Node{Kind: yaml.MappingNode}
	var tags []string
	deep, located, dirs, systemFiles := false, false, false, false
	mode := "all"
	var folders *node
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
		case "subfolders":
			var ok bool
			if deep, ok = v.boolean(); !ok && v.kind != empty {
				r.lost(p.line, "subfolders is true or false, not %q", shorten(v.value, 20))
			}
		case "system_files":
			systemFiles, _ = v.boolean()
		case "targets":
			switch v.value {
			case "dirs":
				dirs = true
			case "files", "":
			default:
				r.lost(p.line, "targets is files or dirs, not %q", shorten(v.value, 20))
			}
		case "tags":
			tags = r.tags(v)
		case "filter_mode":
			mode = v.value
			if mode != "all" && mode != "any" && mode != "none" {
				r.lost(p.line, "filter_mode is all, any or none, not %q", shorten(v.value, 20))
				mode = "all"
			}
		case "locations", "folders":
			located, folders = true, v
		case "filters", "actions":
		default:
			r.lost(p.line, "organize has no key %q for rules", shorten(p.key, 40))
		}
	}
	if systemFiles {
		r.missing(item.line, "system_files: forg leaves files such as desktop.ini alone")
	}
	var places []*place
	if c.kind == Organize1 {
		places = r.folders(folders, deep)
	} else {
		places = r.places(folders, deep, dirs)
	}
	if !located || len(folders.flat()) == 0 {
		r.lost(item.line,
			"a rule without locations runs once in organize, for no file; in forg it holds for the folder that is given")
	}
	places = slices.DeleteFunc(places, func(p *place) bool { return p.missing })
	if located && len(places) == 0 && len(folders.flat()) > 0 {
		r.disabled = true // it must not hold for any folder that is given
	}
	r.flat = !slices.ContainsFunc(places, func(p *place) bool { return p.depth != 0 })
	filters, mode := r.organizeFilters(item.get("filters"), mode, places)
	actions, stays := r.organizeActions(item.get("actions"), places)
	if len(actions) == 0 {
		if item.get("actions").flat() == nil {
			r.lost(item.line, "the rule has no actions")
		}
		r.disabled = true
		actions = append(actions, object("echo", text("none of the actions could be carried over")))
	}
	shared := slices.ContainsFunc(filters, func(f *yaml.Node) bool { return mentions(f, "duplicate") })
	groups := group(places)
	if len(groups) > 1 && shared {
		r.lost(item.line,
			"the folders have options that differ, so each has a rule of its own, which sees no duplicates in the folders of the others")
	}
	for i, places := range groups {
		one := r
		if i > 0 {
			one = c.newRule(r.line)
			one.disabled, one.notes = r.disabled, []Note{note(r.line, false, "the same rule for folders with other options")}
		}
		n := &yaml.Node{Kind: yaml.MappingNode}
		put(n, "name", text(c.unique(name)))
		n.Content = append(n.Content, out.Content...)
		locate(n, places)
		if dirs {
			put(n, "targets", text("dirs"))
		}
		var own []*yaml.Node
		if len(places) > 0 {
			own = places[0].filters
		}
		filter(n, filters, mode, own)
		put(n, "actions", list(actions...))
		if stays {
			put(n, "continue", plain("true"))
		}
		if len(tags) > 0 {
			put(n, "tags", inlineTexts(tags))
		}
		c.add(one, n)
	}
}

// group parts places with filters of their own from the others. There is at least one group.
func group(places []*place) [][]*place {
	groups := [][]*place{nil}
	for i, p := range places {
		at := slices.IndexFunc(groups, func(g []*place) bool {
			return len(g) > 0 && slices.EqualFunc(g[0].filters, p.filters, same)
		})
		switch {
		case i == 0:
			groups[0] = append(groups[0], p)
		case at < 0:
			groups = append(groups, []*place{p})
		default:
			if !slices.ContainsFunc(groups[at], func(o *place) bool { return o.path == p.path }) {
				groups[at] = append(groups[at], p)
			}
		}
	}
	return groups
}

// mentions reports whether a filter, or one in it, has that name.
func mentions(n *yaml.Node, name string) bool {
	return n.Value == name || slices.ContainsFunc(n.Content, func(k *yaml.Node) bool { return mentions(k, name) })
}

// locate writes the locations of a rule.
func locate(n *yaml.Node, places []*place) {
	if len(places) == 0 {
		return
	}
	deep := slices.ContainsFunc(places, func(p *place) bool { return p.depth < 0 })
	var all []*yaml.Node
	for _, p := range places {
		l := object("path", text(p.path))
		if p.depth > 0 || deep && p.depth == 0 {
			put(l, "max_depth", plain(strconv.Itoa(p.depth)))
		}
		if len(p.excludeFiles) > 0 {
			put(l, "exclude_files", inlineTexts(p.excludeFiles))
		}
		if len(p.excludeDirs) > 0 {
			put(l, "exclude_dirs", inlineTexts(p.excludeDirs))
		}
		if len(l.Content) == 2 {
			l = l.Content[1]
		}
		all = append(all, l)
	}
	if len(all) == 1 && all[0].Kind == yaml.ScalarNode {
		put(n, "locations", all[0])
	} else {
		put(n, "locations", list(all...))
	}
	if deep {
		put(n, "subfolders", plain("true"))
	}
}

// filter writes the filters of a rule. Those in own must hold whatever the mode is.
func filter(n *yaml.Node, filters []*yaml.Node, mode string, own []*yaml.Node) {
	if mode != "all" && len(filters) > 0 && len(own) > 0 {
		filters, mode = []*yaml.Node{object(mode, list(filters...))}, "all"
	}
	if all := slices.Concat(own, filters); len(all) > 0 {
		if mode != "all" {
			put(n, "filter_mode", text(mode))
		}
		put(n, "filters", list(all...))
	}
}

func (r *rule) tags(v *node) []string {
	var all []string
	for _, t := range v.flat() {
		words := strings.FieldsFunc(oneLine(t.value), func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
		tag := strings.Join(words, "-")
		if tag != t.value {
			r.differs(t.line, "a tag is a word in forg: %q has become %q", shorten(t.value, 40), shorten(tag, 40))
		}
		if tag != "" && !slices.Contains(all, tag) {
			all = append(all, tag)
		}
	}
	return all
}

// systemFiles are those that organize leaves alone unless told otherwise.
var (
	systemFiles = []string{"thumbs.db", "desktop.ini", "~$*", ".DS_Store", ".localized"}
	systemDirs  = []string{".git", ".svn"}
)

// places reads the locations of versions 2 and 3.
func (r *rule) places(n *node, deep, dirs bool) []*place {
	depth := 0
	if deep {
		depth = -1
	}
	var all []*place
	for _, item := range n.flat() {
		if item.kind == scalar {
			p := &place{line: item.line, depth: depth}
			r.locate(p, item)
			all = append(all, p)
			continue
		}
		paths := item.get("path").flat()
		if len(paths) == 0 {
			r.lost(item.line, "a location has no path")
			continue
		}
		base := place{line: item.line, depth: depth}
		var filterDirs bool
		for _, p := range item.pairs {
			v := p.value
			switch strings.ToLower(p.key) {
			case "path":
			case "max_depth":
				n, err := strconv.Atoi(v.value)
				switch {
				case v.kind == empty || v.value == "null":
					base.depth = -1
				case v.value == "inherit":
				case err != nil:
					r.lost(p.line, "max_depth is a number, not %q", shorten(v.value, 20))
				case n > 1000:
					base.depth = -1
				default:
					base.depth = max(n, 0)
				}
			case "min_depth":
				switch n, err := strconv.Atoi(v.value); {
				case v.kind == empty:
				case err != nil:
					r.lost(p.line, "min_depth is a number, not %q", shorten(v.value, 20))
				case n > 0:
					base.filters = append(base.filters, object("depth", text(fmt.Sprintf(">= %d", min(n, 1000)))))
				}
			case "search":
				r.differs(p.line, "search has no meaning in forg, which plans all before it moves a file")
			case "exclude_files":
				base.excludeFiles = append(base.excludeFiles, r.globs(v)...)
			case "exclude_dirs":
				base.excludeDirs = append(base.excludeDirs, r.globs(v)...)
			case "system_exclude_files", "system_exclude_dirs":
				defaults, list := systemFiles, &base.excludeFiles
				if strings.EqualFold(p.key, "system_exclude_dirs") {
					defaults, list = systemDirs, &base.excludeDirs
				}
				own := r.globs(v)
				for _, glob := range own {
					if !slices.Contains(defaults, glob) {
						*list = append(*list, glob)
					}
				}
				if slices.ContainsFunc(defaults, func(d string) bool { return !slices.Contains(own, d) }) {
					r.missing(p.line, "%s: forg always leaves the files of systems and of version control alone", p.key)
				}
			case "ignore_errors":
				if on, _ := v.boolean(); on {
					r.differs(p.line, "ignore_errors: forg goes on as well, but says what could not be read")
				}
			case "filter":
				if globs := r.globs(v); v.kind != empty {
					for i, g := range globs {
						globs[i] = "**/" + g
					}
					if len(globs) == 0 {
						r.lost(p.line, "an empty filter lets no file pass")
						continue
					}
					base.filters = append(base.filters, object("path", texts(globs)))
				}
			case "filter_dirs":
				filterDirs = v.kind != empty
				if filterDirs && dirs && base.depth == 0 {
					filterDirs = false
					globs := r.globs(v)
					for i, g := range globs {
						globs[i] = "**/" + g
					}
					if len(globs) > 0 {
						base.filters = append(base.filters, object("path", texts(globs)))
					}
				}
				if filterDirs && (dirs || deep || item.get("max_depth") != nil) {
					r.lost(p.line, "filter_dirs: forg can leave folders out, but not look at some alone")
				}
			case "filesystem":
				if v.kind != empty {
					r.lost(p.line, "filesystem: forg looks at folders of this computer alone")
				}
			default:
				r.lost(p.line, "organize has no key %q for locations", shorten(p.key, 40))
			}
		}
		for _, one := range paths {
			p := base
			r.locate(&p, one)
			all = append(all, &p)
		}
	}
	return all
}

// globs reads patterns of names as Python's fnmatch knows them.
func (r *rule) globs(v *node) []string {
	var all []string
	for _, item := range v.flat() {
		switch glob := fromFnmatch(item.value); {
		case item.kind != scalar || item.value == "":
		case strings.Contains(item.value, "/"):
			r.differs(item.line, "%q holds a /, as no name does; organize finds nothing by it", shorten(item.value, 40))
		case !slices.Contains(all, glob):
			all = append(all, glob)
		}
	}
	return all
}

// locate fills in the folder of a place.
func (r *rule) locate(p *place, n *node) {
	p.path = r.folder(n, n.value)
	p.missing = p.path == ""
}

// folder turns a path as organize has it into a folder of forg's. It returns "" if it cannot be looked at.
func (r *rule) folder(n *node, s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if scheme != "osfs" && scheme != "file" {
			r.lost(n.line, "%s: forg looks at folders of this computer alone", shorten(s, 60))
			return ""
		}
		s = rest
	}
	before := r.disabled
	own := *n
	own.value = strings.TrimSpace(s)
	parts := r.partsOf(&own, forPlace)
	if r.disabled && !before {
		return "" // partsOf has said why
	}
	if slices.ContainsFunc(parts, func(p part) bool { return p.value && !strings.HasPrefix(p.text, "{env.") }) {
		r.lost(n.line, "%s: a location holds variables of the environment alone", shorten(s, 60))
		return ""
	}
	for i := range parts {
		if !parts[i].value {
			parts[i].text = strings.ReplaceAll(parts[i].text, `\`, "/")
		}
	}
	switch text := joinParts(parts); {
	case text == "":
		r.lost(n.line, "a location is empty")
		return ""
	case strings.HasPrefix(text, "~") && text != "~" && !strings.HasPrefix(text, "~/"):
		r.lost(n.line, "%s: forg knows ~/ alone, the home folder of who runs it", shorten(s, 60))
		return ""
	case strings.Contains(text, "*"):
		r.lost(n.line, "%s: a location has no *", shorten(s, 60))
		return ""
	case strings.Contains(text, "{") || text == "~":
		return strings.TrimSuffix(text, "/")
	default:
		if strings.HasPrefix(text, "~/") {
			return "~/" + strings.TrimPrefix(path.Clean("/"+text[2:]), "/")
		}
		return path.Clean(text)
	}
}

// folders reads the folders of version 1: paths, globs of files, and exclusions of what comes before them.
func (r *rule) folders(n *node, deep bool) []*place {
	depth := 0
	if deep {
		depth = -1
	}
	var all []*place
	for _, item := range n.flat() {
		s := strings.TrimSpace(item.value)
		if item.tag == "!" && !strings.HasPrefix(s, "!") { // without quotes YAML takes it for a tag
			s = "! " + s
		}
		excluded, exclude := strings.CutPrefix(s, "!")
		if exclude {
			s = strings.TrimSpace(excluded)
		}
		base, glob := splitGlob(strings.ReplaceAll(s, `\`, "/"))
		p := &place{line: item.line, depth: depth}
		if p.path = r.folder(item, base); p.path == "" {
			if exclude {
				r.disabled = true
			}
			continue
		}
		if exclude {
			r.exclude(all, p.path, glob, deep, item)
			continue
		}
		if glob != "" {
			p.depth = strings.Count(glob, "/")
			if strings.Contains(glob, "**") {
				p.depth = -1
			}
			if glob = fromPathGlob(glob); glob != "*" && glob != "**/*" {
				p.filters = append(p.filters, object("path", text(glob)))
			}
		}
		all = append(all, p)
	}
	return all
}

// splitGlob parts a path at the first name with a wildcard.
func splitGlob(s string) (base, glob string) {
	parts := strings.Split(s, "/")
	for i, part := range parts {
		if strings.ContainsAny(part, "*?[") {
			base = strings.Join(parts[:i], "/")
			if base == "" && strings.HasPrefix(s, "/") {
				base = "/"
			}
			if base == "" {
				base = "."
			}
			return base, strings.Join(parts[i:], "/")
		}
	}
	return s, ""
}

// fromPathGlob turns a glob of Python's pathlib into one of forg's.
func fromPathGlob(glob string) string {
	parts := strings.Split(glob, "/")
	for i, part := range parts {
		if part != "**" {
			part = strings.ReplaceAll(part, "**", "*")
			parts[i] = fromFnmatch(part)
		}
	}
	return strings.Join(parts, "/")
}

// exclude takes out of the places what lies at base, or what of it the glob says.
func (r *rule) exclude(places []*place, base, glob string, deep bool, n *node) {
	for _, p := range places {
		below, ok := "", base == p.path
		if !ok {
			below, ok = strings.CutPrefix(base, strings.TrimSuffix(p.path, "/")+"/")
		}
		var globs []string
		switch {
		case ok && glob == "" && below != "":
			// Without looking at the disk, it is a file or a folder.
			globs = []string{literalGlob(below), literalGlob(below) + "/**"}
		case ok && glob == "":
			globs = []string{"*"}
			if deep {
				globs[0] = "**"
			}
		case ok:
			globs = []string{path.Join(literalGlob(below), fromPathGlob(glob))}
		case strings.HasPrefix(p.path, strings.TrimSuffix(base, "/")+"/"):
			rest, any := strings.CutPrefix(glob, "**/")
			if !any {
				r.lost(n.line, "%s: what is left out of a folder by a pattern above it", shorten(n.value, 60))
				continue
			}
			globs = []string{"**/" + fromPathGlob(rest)}
		default:
			continue
		}
		p.filters = append(p.filters, object("not", object("path", texts(globs))))
	}
}
