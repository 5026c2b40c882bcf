package rules

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// contentFilters are the filters that ask for facts which somebody must read from the file, or from what the system keeps
// beside it.
func contentFilters() []*filter {
	detect := &option{name: "detect", kind: choiceOption, values: []string{"auto", "content"},
		text: "content: do not believe the extension; auto, if not given"}
	kinds := []string{"landscape", "portrait", "square"}
	globs := func(name string) *option {
		return &option{name: name, text: "a glob or a list, in any case", kind: textsOption}
	}
	number := func(name string) *option {
		return &option{name: name, text: "a number, or \"> 1, < 4\"", kind: numberOption, scale: plainScale}
	}
	pixels := func(name string) *option {
		return &option{name: name, text: "pixels, as it is shown: \">= 1920\"", kind: numberOption, scale: plainScale}
	}
	duration := &option{name: "duration", text: "seconds, or with a unit: \"> 90 min\"", kind: numberOption,
		scale: durationScale}
	orientation := &option{name: "orientation", text: "how it is shown", kind: choiceOption, values: kinds}
	return []*filter{
		{name: "category", text: "the category (Images), or the type within it (Images/Photos)", short: "is",
			bare: "it is known", gives: []string{"category", "type"}, build: buildCategory, options: []*option{
				{name: "is", text: "one or a list", kind: textsOption}, detect,
			}},
		{name: "mime", text: "the media type, as a glob: image/*", short: "is", bare: "it is known",
			gives: []string{"mime"}, build: buildMIME, options: []*option{{name: "is", text: "a glob or a list", kind: textsOption}, detect}},
		{name: "mismatch", text: "the content is not what the extension says (invoice.pdf.exe)", short: "is",
			bare: "the same as true", build: buildFlag, options: []*option{{name: "is", text: "true or false", kind: boolOption}}},
		{name: "exif",
			text:  "tags of Exif, XMP or IPTC that must be there: globs of names, or names with globs of their values",
			short: "has", bare: "there are some", tags: true, gives: []string{"exif.*"}, build: buildExif,
			options: []*option{{name: "has", text: "globs of names, as image.model or gps.*", kind: textsOption}}},
		{name: "image", text: "the size of a picture", bare: "it is a picture that can be read",
			gives: []string{"image.width", "image.height", "image.orientation"}, build: buildMedia,
			options: []*option{pixels("width"), pixels("height"), orientation}},
		{name: "video", text: "size and length of a video", bare: "it is a video that can be read",
			gives: []string{"video.width", "video.height", "video.duration", "video.orientation"}, build: buildMedia,
			options: []*option{pixels("width"), pixels("height"), duration, orientation}},
		{name: "audio", text: "what a recording says of itself", bare: "it is a recording that can be read",
			gives: []string{"audio.artist", "audio.albumartist", "audio.album", "audio.title", "audio.genre",
				"audio.composer", "audio.year", "audio.track", "audio.disc", "audio.duration"},
			build: buildMedia, options: []*option{
				globs("artist"), globs("albumartist"), globs("album"), globs("title"), globs("genre"), globs("composer"),
				number("year"), number("track"), number("disc"), duration,
			}},
		{name: "content", text: "a regular expression (RE2) finds something in the text of a document",
			short: "expression", bare: "there is text", gives: []string{"content.*"}, build: buildContent, options: []*option{
				{name: "expression", text: "one or a list; a group (?P<word>...) gives {content.word}",
					kind: textsOption},
			}},
		{name: "hash", text: "the hash of the content: an algorithm, to use {hash}, or a hash in hexadecimal",
			short: "is", bare: "gives the BLAKE3 hash", gives: []string{"hash"}, build: buildHash, options: []*option{
				{name: "algorithm", text: "by the length of the hashes, if not given", kind: choiceOption,
					values: algorithms},
				{name: "is", text: "one hash or a list", kind: textsOption},
				{name: "list", text: "a file with a hash at the start of each line, as sha256sum writes it",
					kind: textOption},
			}},
		{name: "duplicate", text: "the content equals that of another file of the run, which is kept", short: "keep",
			bare: "the same as oldest", gives: []string{"duplicate.of"}, build: buildDuplicate, options: []*option{
				{name: "keep",
					text: "which one is no duplicate; {priority: [FOLDER, ...]} keeps what lies in the first of them",
					kind: keepOption, values: []string{"oldest", "newest", "shortest", "first", "priority"}},
			}},
		{name: "empty", text: "a file of 0 bytes, or a folder without entries", short: "is", bare: "the same as true",
			build: buildFlag, options: []*option{{name: "is", text: "true or false", kind: boolOption}}},
		{name: "origin", text: "where the file was downloaded from: a glob of the address, or of the host alone",
			short: "is", bare: "it is known", gives: []string{"origin", "origin.host"}, build: buildOrigin,
			options: []*option{{name: "is", text: "a glob or a list: *.example.com, example.com/files/*",
				kind: textsOption}}},
		{name: "tags", text: "one of the tags of the file fits", short: "is", bare: "it has some",
			gives: []string{"tags"}, build: buildTags,
			options: []*option{globs("is")}},
		{name: "archive", text: "a name in an archive fits", short: "contains",
			bare: "it is an archive that can be read", build: buildArchive,
			options: []*option{{name: "contains",
				text: "a glob or a list; with a / in it for the whole path in the archive", kind: textsOption}}},
	}
}

var algorithms = []string{"blake3", "sha256", "sha1", "md5"}

// globs compiles the words of an option.
func (u *use) globs(option string, style globStyle) []*pattern {
	var all []*pattern
	for _, w := range u.words(option) {
		if p, err := compileGlob(w.text, style, true); err != nil {
			u.r.failUnit(w.at, u.f.name, err)
		} else {
			all = append(all, p)
		}
	}
	return all
}

func anyFits(patterns []*pattern, s string) bool {
	s = lowerCase(composed(s))
	return slices.ContainsFunc(patterns, func(p *pattern) bool { return p.match(s) })
}

// textTest holds for files whose fact fits one of the patterns.
func textTest(fact int, patterns []*pattern) filterTest {
	return func(l *look) (Verdict, error) {
		s, err := l.text(fact)
		if err != nil {
			return Unsure, err
		}
		return yesIf(s != "" && anyFits(patterns, s))
	}
}

// numberTest holds for files whose fact is in the span.
func numberTest(fact int, s span) filterTest {
	return func(l *look) (Verdict, error) {
		v, err := l.fact(fact)
		if err != nil {
			return Unsure, err
		}
		switch v := v.(type) {
		case nil:
			return No, nil
		case int64:
			return yesIf(s.holds(float64(v)))
		case float64:
			return yesIf(s.holds(v))
		}
		return Unsure, wrongType(l.rules.facts[fact], v)
	}
}

// thereTest holds for files that have the fact.
func thereTest(fact int) filterTest {
	return func(l *look) (Verdict, error) {
		v, err := l.fact(fact)
		if err != nil {
			return Unsure, err
		}
		switch v := v.(type) {
		case nil:
			return No, nil
		case string:
			return yesIf(v != "")
		case []string:
			return yesIf(len(v) > 0)
		case map[string]string:
			return yesIf(len(v) > 0)
		}
		return Yes, nil
	}
}

// shown returns what a fact is, in words.
func shown(fact int) func(l *look) string {
	return func(l *look) string {
		v, err := l.fact(fact)
		if err != nil || v == nil {
			return "it has none"
		}
		s, err := show(v)
		if err != nil || s == "" {
			return ""
		}
		return "it is " + shorten(s, 80)
	}
}

func buildCategory(u *use) *condition {
	suffix := ""
	if u.choice("detect", "auto") == "content" {
		suffix = ":content"
	}
	category := u.r.fact(FactCategory + suffix)
	c := &condition{cost: costHead, why: shown(category)}
	words := u.words("is")
	if words == nil {
		c.test = thereTest(category)
		return c
	}
	type kind struct{ category, typ string }
	var kinds []kind
	typ := -1
	for _, w := range words {
		k, hint := findKind(u.r.set, w.text)
		if k == nil {
			u.r.fail(w.at, "there is no category %q", shorten(w.text, 40)).Hint = hint
			continue
		}
		one := kind{category: k.Category}
		if strings.Contains(w.text, "/") {
			typ = u.r.fact(FactType + suffix)
			one.typ = k.Type
		}
		kinds = append(kinds, one)
	}
	c.test = func(l *look) (Verdict, error) {
		has, err := l.text(category)
		if err != nil {
			return Unsure, err
		}
		of := ""
		if typ >= 0 {
			if of, err = l.text(typ); err != nil {
				return Unsure, err
			}
		}
		return yesIf(slices.Contains(kinds, kind{has, ""}) || slices.Contains(kinds, kind{has, of}))
	}
	if typ >= 0 {
		c.why = func(l *look) string {
			has, _ := l.text(category) // errors were told already
			of, _ := l.text(typ)
			if has == "" {
				return "it has none"
			}
			return "it is " + has + "/" + of
		}
	}
	return c
}

// findKind returns a kind of a category or type, or a hint at what may have been meant.
func findKind(set *Set, name string) (*Kind, string) {
	category, typ, one := strings.Cut(name, "/")
	var types []string
	for _, k := range set.Kinds() {
		if strings.EqualFold(k.Category, category) {
			if !one || strings.EqualFold(k.Type, typ) {
				return k, ""
			}
			types = append(types, k.Category+"/"+k.Type)
		} else if strings.EqualFold(k.Type, name) {
			types = append(types, k.Category+"/"+k.Type)
		}
	}
	switch {
	case len(types) == 1:
		return nil, fmt.Sprintf("did you mean %q?", types[0])
	case one && types != nil:
		if hint := didYouMean(name, types); hint != "" {
			return nil, hint
		}
		return nil, "there are " + oneOf(types)
	}
	if hint := didYouMean(category, set.Categories()); hint != "" {
		return nil, hint
	}
	for _, k := range set.Kinds() {
		if nearest(name, []string{k.Type}) != "" {
			return nil, fmt.Sprintf("did you mean %q?", k.Category+"/"+k.Type)
		}
	}
	return nil, "there are " + allOfThem(set.Categories())
}

func buildMIME(u *use) *condition {
	name := FactMIME
	if u.choice("detect", "auto") == "content" {
		name = FactContentMIME
	}
	fact := u.r.fact(name)
	for _, w := range u.words("is") {
		if !strings.ContainsAny(w.text, "/*[") {
			u.r.fail(w.at, "%q is no media type", shorten(w.text, 40)).Hint =
				fmt.Sprintf("write \"%s/*\"", shorten(w.text, 20))
		}
	}
	c := &condition{cost: costHead, why: shown(fact), test: thereTest(fact)}
	if globs := u.globs("is", wordGlob); globs != nil {
		c.test = func(l *look) (Verdict, error) {
			s, err := l.text(fact)
			if err != nil {
				return Unsure, err
			}
			s, _, _ = strings.Cut(s, ";") // parameters, such as the charset
			return yesIf(s != "" && anyFits(globs, strings.TrimSpace(s)))
		}
	}
	return c
}

// buildFlag is for facts that are true or false.
func buildFlag(u *use) *condition {
	fact := u.r.fact(u.f.name)
	want := u.flag("is", true)
	return &condition{cost: costOf(u.f.name), test: func(l *look) (Verdict, error) {
		v, err := l.fact(fact)
		if err != nil {
			return Unsure, err
		}
		has, ok := v.(bool)
		if !ok && v != nil {
			return Unsure, wrongType(u.f.name, v)
		}
		return yesIf(has == want)
	}}
}

func (l *look) exif(fact int) (map[string]string, error) {
	v, err := l.fact(fact)
	if err != nil || v == nil {
		return nil, err
	}
	if tags, ok := v.(map[string]string); ok {
		return tags, nil
	}
	return nil, wrongType(FactExif, v)
}

func buildExif(u *use) *condition {
	fact := u.r.fact(FactExif)
	type wanted struct{ name, value []*pattern }
	var all []wanted
	name := func(w word) []*pattern {
		if !strings.ContainsAny(w.text, ".*") {
			hint := "write image." + lowerCase(w.text) + " or *." + lowerCase(w.text)
			u.r.fail(w.at, "%q is no name of a tag", shorten(w.text, 40)).Hint = hint
		}
		p, err := compileGlob(w.text, wordGlob, true)
		if err != nil {
			u.r.failUnit(w.at, u.f.name, err)
		}
		return []*pattern{p}
	}
	for _, w := range u.words("has") {
		all = append(all, wanted{name: name(w)})
	}
	values := &option{name: "the value of a tag", kind: textsOption}
	for _, p := range u.pairs {
		want := wanted{name: name(word{p.key, p.name})}
		if n := u.r.follow(p.value); n != nil && !null(n) {
			if s := u.r.setting(values, n, "the value of "+p.name); s != nil {
				u.set[p.name] = s
				want.value = u.globs(p.name, wordGlob)
			}
		}
		all = append(all, want)
	}
	c := &condition{cost: costMetadata, test: thereTest(fact), why: func(l *look) string {
		tags, _ := l.exif(fact) // an error was told already
		if len(tags) == 0 {
			return "it has no tags"
		}
		return fmt.Sprintf("it has %d tags", len(tags))
	}}
	if all == nil {
		return c
	}
	c.test = func(l *look) (Verdict, error) {
		tags, err := l.exif(fact)
		if err != nil {
			return Unsure, err
		}
		for _, w := range all {
			found := false
			for key, value := range tags {
				if w.name[0].match(key) && (w.value == nil || anyFits(w.value, value)) {
					found = true
					break
				}
			}
			if !found {
				return No, nil
			}
		}
		return Yes, nil
	}
	return c
}

// buildMedia is for image, video and audio, each option of which is a fact.
func buildMedia(u *use) *condition {
	there := map[string]string{"image": FactImageWidth, "video": FactVideoDuration,
		"audio": FactAudioDuration}[u.f.name]
	c := &condition{cost: costMetadata}
	var tests []filterTest
	var facts []int
	for _, o := range u.f.options {
		s := u.set[o.name]
		if s == nil {
			continue
		}
		fact := u.r.fact(u.f.name + "." + o.name)
		facts = append(facts, fact)
		switch o.kind {
		case numberOption:
			tests = append(tests, numberTest(fact, s.span))
		case choiceOption:
			want := s.words[0].text
			tests = append(tests, func(l *look) (Verdict, error) {
				has, err := l.text(fact)
				if err != nil {
					return Unsure, err
				}
				return yesIf(has == want)
			})
		default:
			tests = append(tests, textTest(fact, u.globs(o.name, wordGlob)))
		}
	}
	if tests == nil {
		tests = append(tests, thereTest(u.r.fact(there)))
	}
	c.test = allTests(tests)
	c.why = func(l *look) string {
		var parts []string
		for _, fact := range facts {
			_, name, _ := strings.Cut(l.rules.facts[fact], ".")
			v, err := l.fact(fact)
			switch {
			case err != nil:
			case v == nil:
				parts = append(parts, "no "+name)
			default:
				s, _ := show(v) // of another type it was an error before
				parts = append(parts, name+" "+shorten(s, 40))
			}
		}
		return strings.Join(parts, ", ")
	}
	return c
}

func buildContent(u *use) *condition {
	fact := u.r.fact(FactText)
	all := u.regexps("expression", "content", func(l *look) (string, error) { return l.text(fact) })
	return &condition{
		cost: costText,
		why: func(l *look) string {
			s, err := l.text(fact)
			if err != nil || s == "" {
				return "it has no text"
			}
			return fmt.Sprintf("it has %d characters of text", len([]rune(s)))
		},
		test: func(l *look) (Verdict, error) {
			s, err := l.text(fact)
			if err != nil {
				return Unsure, err
			}
			if s == "" {
				return No, nil
			}
			for _, re := range all {
				if re.MatchString(s) {
					return Yes, nil
				}
			}
			return yesIf(all == nil)
		},
	}
}

// hashLengths are the lengths of hashes in hexadecimal.
var hashLengths = map[string]int{"blake3": 64, "sha256": 64, "sha1": 40, "md5": 32}

func buildHash(u *use) *condition {
	algorithm := u.choice("algorithm", "")
	words := u.words("is")
	if len(words) == 1 && u.set["algorithm"] == nil && slices.Contains(algorithms, words[0].text) {
		algorithm, words = words[0].text, nil // - hash: md5
	}
	hashes := map[string]bool{}
	check := func(at word, where, h string) bool {
		h = strings.ToLower(h)
		if _, err := hex.DecodeString(h); err != nil {
			u.r.fail(at.at, "%s%q is no hash in hexadecimal", where, shorten(h, 40)).Hint = didYouMean(h, algorithms)
			return false
		}
		switch {
		case algorithm == "" && len(h) == 40:
			algorithm = "sha1"
		case algorithm == "" && len(h) == 32:
			algorithm = "md5"
		case algorithm == "" && len(h) == 64:
			u.r.fail(at.at, "%sa hash of 64 digits can be BLAKE3 or SHA-256", where).Hint =
				"add algorithm: blake3, or algorithm: sha256"
			return false
		case algorithm == "":
			u.r.fail(at.at, "%sno known hash has %d digits", where, len(h))
			return false
		}
		if len(h) != hashLengths[algorithm] {
			u.r.fail(at.at, "%sa hash of %s has %d digits, not %d", where, algorithm, hashLengths[algorithm], len(h))
			return false
		}
		hashes[h] = true
		return true
	}
	for _, w := range words {
		if !check(w, "", w.text) {
			return nil
		}
	}
	if list := u.words("list"); len(list) > 0 && !u.hashList(list[0], check) {
		return nil
	}
	if algorithm == "" {
		algorithm = "blake3"
	}
	fact := u.r.fact("hash." + algorithm)
	u.r.give("hash", hashValue, func(l *look) (Value, error) { return l.fact(fact) })
	if words == nil && u.set["list"] == nil {
		return &condition{cost: costHash, test: thereTest(fact)}
	}
	return &condition{cost: costHash, why: shown(fact), test: func(l *look) (Verdict, error) {
		h, err := l.text(fact)
		if err != nil {
			return Unsure, err
		}
		return yesIf(hashes[strings.ToLower(h)])
	}}
}

// hashList reads the hashes of a file: the first word of each line, but for comments.
func (u *use) hashList(w word, check func(at word, where, h string) bool) bool {
	p, ok := u.r.folder(w.at, "hash.list")
	if !ok {
		return false
	}
	if u.r.opt.ReadFile == nil {
		u.r.fail(w.at, "lists of hashes cannot be read here")
		return false
	}
	data, err := u.r.opt.ReadFile(p)
	if err != nil {
		u.r.fail(w.at, "hash.list: %s", strings.ReplaceAll(err.Error(), "\n", " "))
		return false
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		// sha256sum marks names that it had to escape.
		if !check(w, fmt.Sprintf("hash.list, line %d: ", number), strings.TrimPrefix(fields[0], `\`)) {
			return false
		}
	}
	return true
}

func buildDuplicate(u *use) *condition {
	keep, folders := "oldest", []string(nil)
	if words := u.words("keep"); len(words) > 0 {
		keep = words[0].text
		for _, w := range words[1:] {
			folders = append(folders, w.text)
		}
	}
	fact := u.r.fact(DuplicateFact(keep, folders))
	u.r.give("duplicate.of", textValue, func(l *look) (Value, error) { return l.fact(fact) })
	return &condition{cost: costDuplicate, test: thereTest(fact), why: func(l *look) string {
		of, err := l.text(fact)
		if err != nil || of == "" {
			return "no other file is its like, or it is the one to keep"
		}
		return "it equals " + of
	}}
}

func buildOrigin(u *use) *condition {
	fact := u.r.fact(FactOrigin)
	c := &condition{cost: costAttributes, why: shown(fact), test: thereTest(fact)}
	words := u.words("is")
	if words == nil {
		return c
	}
	type wanted struct {
		*pattern
		host, scheme bool
	}
	var all []wanted
	for _, w := range words {
		p, err := compileGlob(w.text, wordGlob, true)
		if err != nil {
			u.r.failUnit(w.at, u.f.name, err)
			continue
		}
		all = append(all, wanted{p, !strings.Contains(w.text, "/"), strings.Contains(w.text, "://")})
	}
	c.test = func(l *look) (Verdict, error) {
		urls, err := l.strings(fact)
		if err != nil {
			return Unsure, err
		}
		for _, address := range urls {
			for _, w := range all {
				s := lowerCase(composed(address))
				switch {
				case w.host:
					s = hostOf(address)
				case !w.scheme:
					_, s, _ = strings.Cut(s, "://")
				}
				if w.match(s) {
					return Yes, nil
				}
			}
		}
		return No, nil
	}
	return c
}

func buildTags(u *use) *condition {
	fact := u.r.fact(FactTags)
	c := &condition{cost: costAttributes, why: shown(fact), test: thereTest(fact)}
	if globs := u.globs("is", wordGlob); globs != nil {
		c.test = func(l *look) (Verdict, error) {
			tags, err := l.strings(fact)
			if err != nil {
				return Unsure, err
			}
			return yesIf(slices.ContainsFunc(tags, func(tag string) bool { return anyFits(globs, tag) }))
		}
	}
	return c
}

func buildArchive(u *use) *condition {
	fact := u.r.fact(FactArchive)
	c := &condition{cost: costList, test: func(l *look) (Verdict, error) {
		v, err := l.fact(fact)
		if err != nil {
			return Unsure, err
		}
		return yesIf(v != nil)
	}}
	words := u.words("contains")
	if words == nil {
		return c
	}
	var names, paths []*pattern
	for _, w := range words {
		style := wordGlob
		if strings.Contains(w.text, "/") {
			style = pathGlob
		}
		p, err := compileGlob(strings.TrimPrefix(w.text, "/"), style, true)
		switch {
		case err != nil:
			u.r.failUnit(w.at, u.f.name, err)
		case style == pathGlob:
			paths = append(paths, p)
		default:
			names = append(names, p)
		}
	}
	c.test = func(l *look) (Verdict, error) {
		list, err := l.strings(fact)
		if err != nil {
			return Unsure, err
		}
		return yesIf(slices.ContainsFunc(list, func(name string) bool {
			name = strings.Trim(name, "/")
			return anyFits(names, base(name)) || anyFits(paths, name)
		}))
	}
	c.why = func(l *look) string {
		list, err := l.strings(fact)
		if err != nil || list == nil {
			return "it is no archive"
		}
		return fmt.Sprintf("it has %d entries", len(list))
	}
	return c
}
