package foreign

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var oldPlaceholder = lazily(`\{\s*(?:now|utcnow)\s*(?:\.|\}|\|)|\{\s*fs(?:_path)?\b`)

// organizeFilters reads the filters of a rule. mode is the filter_mode that the result needs.
func (r *rule) organizeFilters(n *node, mode string, places []*place) (filters []*yaml.Node, needs string) {
	always := 0
	items := n.flat()
	for _, item := range items {
		name, value, line, ok := r.word(item, "a filter", "filter")
		if !ok {
			continue
		}
		negated := false
		if rest, ok := strings.CutPrefix(name, "not "); ok && r.c.kind != Organize1 {
			name, negated = strings.TrimSpace(rest), true
		}
		f, verdict := r.organizeFilter(r.c.filterName(name), name, value, line, places)
		switch {
		case verdict == holdsNever || verdict == holdsAlways && negated:
			// No file passes: there is nothing to say so but a filter and its opposite.
			r.disabled = true
			r.differs(line, "no file passes the filter %q like that", shorten(name, 40))
		case verdict == holdsAlways:
			always++
		case f == nil:
		case negated:
			filters = append(filters, object("not", f))
		default:
			filters = append(filters, f)
		}
	}
	switch {
	case always > 0 && mode == "any":
		return nil, "all"
	case always > 0 && mode == "none":
		r.disabled = true
		r.differs(n.line, "no file passes, since a filter without a value lets all files pass, and none must hold")
	}
	if len(filters) == 0 {
		mode = "all"
	}
	return filters, mode
}

// filterName is the name of a filter as versions 2 and 3 have it.
func (c *converter) filterName(name string) string {
	name = strings.ToLower(name)
	if c.kind != Organize1 {
		return name
	}
	switch name = strings.ReplaceAll(name, "_", ""); name {
	case "filename":
		return "name"
	case "filesize":
		return "size"
	}
	return name
}

// A holding says that a filter is no condition at all.
type holding uint8

const (
	holdsSometimes holding = iota
	holdsAlways
	holdsNever
)

// options reads the value of a filter or an action: a mapping of known keys, or what stands for the first of them.
func (r *rule) options(what string, value *node, line int, names ...string) map[string]*node {
	out := map[string]*node{}
	if value == nil {
		return out
	}
	pairs := value.pairs
	switch {
	case value.kind == sequence && len(value.items) > 0 && allMappings(value.items):
		for _, item := range value.items { // a hyphen too many
			pairs = append(pairs, item.pairs...)
		}
	case value.kind != mapping:
		out[names[0]] = value
		return out
	}
	for _, p := range pairs {
		key := strings.ToLower(p.key)
		if !slices.Contains(names, key) {
			r.lost(p.line, "%s of organize has no %q", what, shorten(p.key, 40))
			continue
		}
		out[key] = p.value
	}
	return out
}

func allMappings(items []*node) bool {
	return !slices.ContainsFunc(items, func(n *node) bool { return n.kind != mapping })
}

// words returns the texts of a value.
func words(n *node) []string {
	var all []string
	for _, item := range n.flat() {
		if item.kind == scalar {
			all = append(all, item.value)
		}
	}
	return all
}

func (r *rule) organizeFilter(name, written string, v *node, line int, places []*place) (*yaml.Node, holding) {
	switch name {
	case "created":
		if r.c.kind == Organize1 {
			r.differs(line,
				"created: version 1 takes the date of modification where Linux is; forg the date that the file was made, if it is known")
		}
		return r.date("created", name, v, line), holdsSometimes
	case "lastmodified":
		return r.date("modified", name, v, line), holdsSometimes
	case "date_added":
		return r.date("date_added", name, v, line), holdsSometimes
	case "date_lastused":
		r.lost(line,
			"date_lastused: forg knows when a file was read, accessed, but not when a person opened it; enable the rule if that will do")
		return r.date("accessed", name, v, line), holdsSometimes
	case "duplicate":
		return r.duplicate(v, line, places), holdsSometimes
	case "empty":
		return text("empty"), holdsSometimes
	case "exif":
		return r.exifFilter(v, line), holdsSometimes
	case "extension":
		return r.extension(v, line)
	case "filecontent":
		o := r.options("filecontent", v, line, "expr")
		source := "(?P<all>.*)"
		if e := o["expr"]; e != nil && e.kind == scalar {
			source, line = e.value, e.line
		}
		if source == "" {
			source = ".*"
		}
		e, ok := r.regexp("filecontent", source, line)
		if !ok {
			return nil, holdsSometimes
		}
		return object("content", text("(?ms)"+e)), holdsSometimes
	case "hash":
		return r.hash(v, line), holdsSometimes
	case "macos_tags":
		return r.tagFilter(v, line)
	case "mimetype":
		return r.mimetype(v, line), holdsSometimes
	case "name":
		return r.name(v, line)
	case "regex":
		o := r.options("regex", v, line, "expr")
		if o["expr"] == nil || o["expr"].value == "" {
			r.lost(line, "regex has no expression")
			return nil, holdsSometimes
		}
		e, ok := r.regexp("regex", o["expr"].value, o["expr"].line)
		if !ok {
			return nil, holdsSometimes
		}
		return object("regex", text(e)), holdsSometimes
	case "size":
		return r.size(v, line), holdsSometimes
	case "python":
		r.lost(line, "python: forg's filters run no programs")
	default:
		r.lost(line, "organize has no filter %q", shorten(written, 40))
	}
	return nil, holdsSometimes
}

func (r *rule) regexp(what, source string, line int) (string, bool) {
	e, changed, err := fromPython(source)
	if err != nil {
		r.lost(line, "%s: %v", what, err)
		return "", false
	}
	if changed != "" {
		r.differs(line, "%s: %s", what, changed)
	}
	return e, true
}

var dateUnits = []struct {
	name    string
	seconds float64 // of a fraction; 0 if it cannot be one
}{{"years", 0}, {"months", 0}, {"weeks", 604800}, {"days", 86400}, {"hours", 3600}, {"minutes", 60}, {"seconds", 1}}

// date reads a filter on an age.
func (r *rule) date(filter, what string, v *node, line int) *yaml.Node {
	names := []string{"years", "months", "weeks", "days", "hours", "minutes", "seconds", "mode", "timezone"}
	if v != nil && v.kind != mapping {
		names = append([]string{"years"}, names...)
	}
	o := r.options(what, v, line, names...)
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, unit := range dateUnits {
		n := o[unit.name]
		if n == nil || n.kind == empty {
			continue
		}
		f, err := strconv.ParseFloat(n.value, 64)
		switch {
		case err != nil || f < 0 || math.IsNaN(f) || f > 1e6:
			r.lost(n.line,
				"%s.%s is a number, and no age is less than nothing: %q", what, unit.name, shorten(n.value, 20))
			return nil
		case f == 0:
		case f == math.Trunc(f):
			addCount(out, unit.name, f)
		case unit.seconds == 0:
			r.lost(n.line, "%s.%s: forg counts whole %s", what, unit.name, unit.name)
			return nil
		case f*unit.seconds < 1e6:
			addCount(out, "seconds", math.Round(f*unit.seconds))
		case f*unit.seconds/3600 < 1e6:
			addCount(out, "hours", math.Round(f*unit.seconds/3600))
		default:
			addCount(out, "days", math.Round(f*unit.seconds/86400))
		}
	}
	if z := o["timezone"]; z != nil && z.kind != empty && z.value != "local" {
		r.missing(z.line, "%s.timezone: forg's dates are in the zone of the place", what)
	}
	mode := "older"
	if m := o["mode"]; m != nil {
		mode = strings.ToLower(strings.TrimSpace(m.value))
	}
	if mode != "older" && mode != "newer" {
		r.lost(line, "%s.mode is older or newer, not %q", what, shorten(mode, 20))
		return nil
	}
	if len(out.Content) == 0 {
		return text(filter)
	}
	if mode == "newer" {
		put(out, "mode", text(mode))
	}
	return object(filter, out)
}

// addCount adds to the number under a key.
func addCount(n *yaml.Node, key string, f float64) {
	if old := child(n, key); old != nil {
		before, _ := strconv.ParseFloat(old.Value, 64)
		old.Value = strconv.FormatFloat(min(before+f, 1e6), 'f', 0, 64)
		return
	}
	put(n, key, plain(strconv.FormatFloat(f, 'f', 0, 64)))
}

func (r *rule) duplicate(v *node, line int, places []*place) *yaml.Node {
	o := r.options("duplicate", v, line, "detect_original_by", "hash_algorithm")
	method := "first_seen"
	if m := o["detect_original_by"]; m != nil && m.kind == scalar {
		method, line = strings.ToLower(m.value), m.line
	}
	keep := map[string]string{"created": "oldest", "-created": "newest", "lastmodified": "oldest", "-lastmodified": "newest"}[method]
	switch {
	case keep != "":
		if strings.HasSuffix(method, "created") {
			r.differs(line, "duplicate: forg's %s goes by the date of modification, which a copy keeps", keep)
		}
		return object("duplicate", object("keep", text(keep)))
	case method == "first_seen":
		var folders []string
		for _, p := range places {
			if !p.missing && !slices.Contains(folders, p.path) {
				folders = append(folders, p.path)
			}
		}
		if len(folders) > 1 {
			r.differs(line, "duplicate: among files of one location, forg keeps the oldest, organize the first by name")
			return object("duplicate", object("keep", object("priority", inlineTexts(folders))))
		}
		return object("duplicate", object("keep", text("first")))
	}
	r.lost(line, "duplicate: forg cannot choose the original by %q", shorten(method, 40))
	return object("duplicate", object("keep", text("first")))
}

// exifNames are tags that forg, as most programs today, calls otherwise than the library that organize reads them with.
var exifNames = map[string]string{
	"image.datetime": "image.modifydate", "image.imagelength": "image.imageheight", "exif.isospeedratings": "exif.iso",
	"exif.datetimedigitized": "exif.createdate", "exif.exposurebiasvalue": "exif.exposurecompensation",
	"exif.exifimagelength": "exif.exifimageheight", "exif.focallengthin35mmfilm": "exif.focallengthin35mmformat",
	"exif.cameraownername": "exif.ownername", "exif.bodyserialnumber": "exif.serialnumber",
	"exif.lensspecification": "exif.lensinfo", "gps.gpsdate": "gps.gpsdatestamp",
}

// exifTexts are tags whose values are texts, which everybody writes the same way.
var exifTexts = []string{"image.make", "image.model", "image.software", "image.artist", "image.copyright", "image.imagedescription",
	"exif.lensmodel", "exif.lensmake", "exif.ownername", "exif.serialnumber"}

func (r *rule) exifFilter(v *node, line int) *yaml.Node {
	if v == nil {
		return text("exif")
	}
	tag := func(s string, line int) (string, bool) {
		s = strings.ToLower(s)
		switch {
		case s == "" || strings.ContainsAny(s, "*?[]{}\\ "):
			r.lost(line, "exif: %q is no tag", shorten(s, 40))
			return "", false
		case !strings.Contains(s, "."):
			s += ".*" // a whole group
		}
		if other := exifNames[s]; other != "" {
			s = other
		}
		return s, true
	}
	pairs := v.pairs
	if v.kind != mapping {
		var all []string
		for _, item := range v.flat() {
			if s, ok := tag(item.value, item.line); ok {
				all = append(all, s)
			}
		}
		if len(all) == 0 {
			return text("exif")
		}
		if len(all) == 1 {
			return object("exif", text(all[0]))
		}
		// A list would do in forg too; as a mapping it is clear that all must be there.
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, s := range all {
			if child(n, s) == nil {
				put(n, s, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"})
			}
		}
		return object("exif", n)
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(pairs); i++ {
		p := pairs[i]
		switch {
		case p.key == "filter_tags" && p.value.kind == mapping:
			pairs = append(pairs, p.value.pairs...)
		case p.key == "lowercase_keys":
			if on, ok := p.value.boolean(); ok && !on {
				r.missing(p.line, "exif.lowercase_keys: tags are written in lower case in forg")
			}
		default:
			s, ok := tag(p.key, p.line)
			if !ok || child(n, s) != nil {
				continue
			}
			if p.value.kind != scalar || p.value.value == "" {
				put(n, s, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"})
				continue
			}
			if !slices.Contains(exifTexts, s) {
				r.differs(p.line,
					"exif: forg may write the value of %s another way: forg rules explain shows what holds", s)
			}
			glob := fromFnmatch(p.value.value)
			if r.c.kind == Organize1 {
				glob = literalGlob(p.value.value)
			}
			put(n, s, text(glob))
		}
	}
	if len(n.Content) == 0 {
		return text("exif")
	}
	return object("exif", n)
}

func (r *rule) extension(v *node, line int) (*yaml.Node, holding) {
	o := r.options("extension", v, line, "extensions")
	var all []string
	for _, item := range o["extensions"].flat() {
		fields := []string{item.value}
		if item.quoted || r.c.kind == Organize3 && o["extensions"].kind == scalar {
			fields = strings.Fields(item.value)
		}
		for _, f := range fields {
			ext := strings.ToLower(strings.TrimPrefix(f, "."))
			switch {
			case ext == "" || slices.Contains(all, ext):
				continue
			case strings.ContainsAny(ext, " ,;/\\*?[]{}"):
				r.lost(item.line, "extension: %q is no extension", shorten(f, 40))
				continue
			case strings.Contains(ext, "."):
				r.differs(item.line,
					"extension: organize looks at what is behind the last dot alone and finds no %q; forg does", shorten(ext, 40))
			}
			all = append(all, ext)
		}
	}
	if len(all) == 0 {
		if len(o["extensions"].flat()) > 0 {
			return nil, holdsSometimes // what is wrong with them was said
		}
		return nil, holdsAlways
	}
	return object("extension", texts(all)), holdsSometimes
}

func (r *rule) hash(v *node, line int) *yaml.Node {
	o := r.options("hash", v, line, "algorithm")
	algorithm := "md5"
	if a := o["algorithm"]; a != nil && a.kind == scalar {
		algorithm, line = strings.ToLower(a.value), a.line
	}
	switch algorithm {
	case "md5", "sha1", "sha256":
		return object("hash", text(algorithm))
	}
	r.lost(line, "hash: forg knows blake3, sha256, sha1 and md5, not %q", shorten(algorithm, 40))
	return text("hash")
}

var tagColor = lazily(`^(.*) \(([^()]*)\)$`)

func (r *rule) tagFilter(v *node, line int) (*yaml.Node, holding) {
	o := r.options("macos_tags", v, line, "tags")
	var all []string
	for _, item := range o["tags"].flat() {
		name := item.value
		if m := tagColor().FindStringSubmatch(name); m != nil {
			name = m[1]
			if m[2] != "*" {
				r.lost(item.line,
					"macos_tags: forg sees the names of tags, but not their colours: %q", shorten(item.value, 40))
			}
		} else if !strings.ContainsAny(name, "*?[") {
			r.differs(item.line,
				"macos_tags: organize finds no tag by %q, since it writes its colour behind it; forg does", shorten(name, 40))
		}
		if name != "" && !slices.Contains(all, name) {
			all = append(all, fromFnmatch(name))
		}
	}
	if len(all) == 0 {
		return nil, holdsAlways
	}
	return object("tags", texts(all)), holdsSometimes
}

// mediaTypes are the first parts of media types, as IANA has them.
var mediaTypes = []string{"application", "audio", "font", "image", "message", "model", "multipart", "text", "video"}

func (r *rule) mimetype(v *node, line int) *yaml.Node {
	r.differs(line, "mimetype: organize goes by the extension alone; forg looks into the file where that is not sure")
	o := r.options("mimetype", v, line, "mimetypes")
	var all []string
	for _, item := range o["mimetypes"].flat() {
		glob := literalGlob(strings.ToLower(strings.TrimSpace(item.value)))
		switch {
		case glob == "":
			return text("mime")
		case strings.HasSuffix(glob, "/"):
			glob += "*"
		case !strings.Contains(glob, "/"):
			if !slices.Contains(mediaTypes, glob) {
				glob += "*"
			}
			glob += "/*"
		}
		if !slices.Contains(all, glob) {
			all = append(all, glob)
		}
	}
	if len(all) == 0 {
		return text("mime")
	}
	return object("mime", texts(all))
}

func (r *rule) name(v *node, line int) (*yaml.Node, holding) {
	o := r.options("name", v, line, "match", "startswith", "contains", "endswith", "case_sensitive")
	fold := false
	if n := o["case_sensitive"]; n != nil {
		if on, ok := n.boolean(); ok {
			fold = !on
		}
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	var typed *yaml.Node
	if n := o["match"]; n != nil && n.kind == scalar && n.value != "*" {
		m, err := fromSimplematch(n.value, fold)
		switch {
		case err != nil:
			r.lost(n.line, "name.match: %v", err)
			return nil, holdsSometimes
		case m.typed:
			r.typed = append(r.typed, m.groups...)
			typed = object("regex", text(m.expr))
		case m.glob == "":
			r.disabled = true
			r.differs(n.line, "name.match is empty, and no file has an empty name")
			return nil, holdsSometimes
		default:
			if len(m.groups) > 0 {
				r.differs(n.line,
					"name.match: a {word} in organize may stand for nothing; in forg it stands for a character at least")
			}
			put(out, "match", text(m.glob))
		}
	}
	for _, key := range []string{"startswith", "contains", "endswith"} {
		if all := words(o[key]); len(all) > 0 && !slices.Contains(all, "") {
			put(out, key, texts(slices.Compact(all)))
		}
	}
	switch {
	case len(out.Content) == 0 && typed != nil:
		return typed, holdsSometimes
	case len(out.Content) == 0:
		return nil, holdsAlways
	case fold:
		put(out, "case_sensitive", plain("false"))
	}
	f := object("name", out)
	if len(out.Content) == 2 && out.Content[0].Value == "match" {
		f = object("name", out.Content[1])
	}
	if typed != nil {
		f = object("all", list(f, typed))
	}
	return f, holdsSometimes
}

var sizeCondition = lazily(`^([<>=]*)((?:\d*\.)?\d+)([kmgtpezy]?i?)b?$`)

func (r *rule) size(v *node, line int) *yaml.Node {
	o := r.options("size", v, line, "conditions")
	var all []string
	for _, item := range o["conditions"].flat() {
		for part := range strings.SplitSeq(strings.ToLower(strings.ReplaceAll(item.value, " ", "")), ",") {
			m := sizeCondition().FindStringSubmatch(part)
			if m == nil || !slices.Contains([]string{"", "=", "==", "<", "<=", ">", ">="}, m[1]) {
				r.lost(item.line,
					"size: %q is no size. organize takes such a condition for one that always holds", shorten(item.value, 40))
				return nil
			}
			if m[3] == "" && m[2] != "0" {
				r.differs(item.line,
					"size: a number without a unit means kilobytes by the documentation of organize, but bytes to the program; here it means bytes")
			}
			condition, ok := sizeIn(m[1], m[2], m[3])
			if !ok {
				r.lost(item.line, "size: %q cannot be counted", shorten(item.value, 40))
				return nil
			}
			if !slices.Contains(all, condition) {
				all = append(all, condition)
			}
		}
	}
	if len(all) == 0 {
		return text("size")
	}
	return object("size", text(strings.Join(all, ", ")))
}

// sizeIn writes a condition on a size, as in "> 10 MB".
func sizeIn(operator, number, unit string) (string, bool) {
	if strings.HasPrefix(number, ".") {
		number = "0" + number
	}
	if operator == "=" || operator == "==" {
		operator = ""
	}
	if operator != "" {
		operator += " "
	}
	switch u := strings.TrimSuffix(unit, "i"); {
	case unit == "i":
		return "", false
	case u == "":
		return operator + number, true
	case strings.Contains("ezy", u):
		f, err := strconv.ParseFloat(number, 64)
		power := float64(strings.Index("kmgtpezy", u) + 1)
		base := 1000.0
		if strings.HasSuffix(unit, "i") {
			base = 1024
		}
		if f *= math.Pow(base, power); err != nil || f > 1e30 {
			return "", false
		}
		return operator + strconv.FormatFloat(f, 'f', -1, 64), true
	case strings.HasSuffix(unit, "i"):
		return operator + number + " " + strings.ToUpper(u) + "iB", true
	case u == "k":
		return operator + number + " kB", true
	default:
		return operator + number + " " + strings.ToUpper(u) + "B", true
	}
}
