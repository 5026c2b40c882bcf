package rules

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"time"
)

// filters are all filters of the language, in the order of the reference.
var filters = sync.OnceValue(func() []*filter {
	return append([]*filter{
		{name: "extension", text: "the extension is one of these, in any case; gz is that of a.tar.gz too", short: "is",
			bare: "the name has an extension", gives: []string{"ext"}, build: buildExtension,
			options: []*option{{name: "is", text: "one extension or a list", kind: textsOption}}},
		{name: "name", text: "the name without its extension (of folders: all of it)", short: "match",
			bare: "always holds", gives: []string{"name", "name.*"}, build: buildName, options: []*option{
				{name: "match", text: "a glob; {word} stands for some characters and gives {name.word}",
					kind: textsOption},
				{name: "startswith", text: "one text or a list", kind: textsOption},
				{name: "contains", text: "one text or a list", kind: textsOption},
				{name: "endswith", text: "one text or a list", kind: textsOption},
				{name: "case_sensitive", text: "true, unless set to false", kind: boolOption},
			}},
		{name: "regex", text: "a regular expression (RE2) finds something in the whole name", short: "expression",
			gives: []string{"regex.*"}, build: buildRegex, options: []*option{
				{name: "expression", text: "one or a list; a group (?P<word>...) gives {regex.word}",
					kind: textsOption},
			}},
		{name: "path", text: "a glob fits the path below the location; ** stands for any folders", short: "match",
			bare: "always holds", gives: []string{"relative_path"}, build: buildPath, options: []*option{
				{name: "match", text: "a glob or a list", kind: textsOption},
				{name: "case_sensitive", text: "true, unless set to false", kind: boolOption},
			}},
		{name: "depth", text: "how many folders lie between the location and the file", short: "is",
			bare: "always holds", gives: []string{"depth"}, build: buildDepth, options: []*option{
				{name: "is", text: "a number, or \"> 1, < 4\"", kind: numberOption, scale: plainScale},
			}},
		{name: "size", text: "the size: \"> 1 MB, < 2 GiB\"; a number without a unit means bytes", short: "is",
			bare: "the size is known", gives: []string{"size"}, build: buildSize, options: []*option{
				{name: "is", text: "conditions with <, <=, >, >=, =, !=, all of which must hold", kind: numberOption,
					scale: sizeScale},
			}},
		dateFilter(FactCreated, "when the file was made"),
		dateFilter(FactModified, "when the content was changed last"),
		dateFilter(FactAccessed, "when the file was read last"),
		dateFilter(FactDateAdded, "when the file came to its folder (macOS)"),
		dateFilter(FactTaken, "when a photo or video was taken"),
	}, contentFilters()...)
})

func dateFilter(fact, text string) *filter {
	count := func(name string) *option {
		return &option{name: name, text: "a whole number, added to the other ones", kind: countOption}
	}
	return &filter{name: fact, text: text, bare: "the date is known", gives: []string{fact}, build: buildDate,
		options: []*option{
			count("years"), count("months"), count("weeks"), count("days"), count("hours"), count("minutes"),
			count("seconds"),
			{name: "mode", text: "whether the date must be older than that, or newer; older if not given",
				kind: choiceOption, values: []string{"older", "newer"}},
			{name: "before", text: "a date: 2024-05-31, or 2024-05-31 18:30", kind: dateOption},
			{name: "after", text: "a date; that moment itself is after it", kind: dateOption},
		}}
}

func yesIf(b bool) (Verdict, error) {
	if b {
		return Yes, nil
	}
	return No, nil
}

func always(*look) (Verdict, error) { return Yes, nil }

func buildExtension(u *use) *condition {
	c := &condition{cost: costName, why: func(l *look) string {
		switch {
		case l.isDir:
			return "it is a folder"
		case l.ext == "":
			return "it has none"
		}
		return "it is " + l.ext
	}}
	words := u.words("is")
	if words == nil {
		c.test = func(l *look) (Verdict, error) { return yesIf(l.ext != "") }
		return c
	}
	for _, w := range words {
		ext := lowerCase(composed(strings.TrimPrefix(w.text, ".")))
		switch {
		case ext == "":
			u.r.fail(w.at, "an extension is empty").Hint = "files without one: not: extension"
		case strings.ContainsAny(ext, " ,;"):
			u.r.fail(w.at, "%q is no extension", shorten(w.text, 40)).Hint = "write a list: [pdf, docx]"
		case strings.ContainsAny(ext, `/\*?[]{}`):
			u.r.fail(w.at, "%q is no extension", shorten(w.text, 40)).Hint = "patterns are for name and regex"
		case slices.Contains(c.exts, ext):
			u.r.fail(w.at, "the extension %q is here twice", ext)
		}
		c.exts = append(c.exts, ext)
	}
	exts := make(map[string]bool, len(c.exts))
	for _, ext := range c.exts {
		exts[ext] = true
	}
	c.test = func(l *look) (Verdict, error) {
		if l.ext == "" {
			return No, nil
		}
		for ext := l.lowerExt(); ; {
			if exts[ext] {
				return Yes, nil
			}
			_, tail, ok := strings.Cut(ext, ".")
			if !ok {
				return No, nil
			}
			ext = tail
		}
	}
	return c
}

func buildName(u *use) *condition {
	which := 0
	if !u.flag("case_sensitive", true) {
		which = folded
	}
	c := &condition{cost: costName, why: func(l *look) string { return fmt.Sprintf("the name is %q", l.stem) }}
	var tests []filterTest
	var globs []*pattern
	for _, w := range u.words("match") {
		p, err := compileGlob(w.text, captureGlob, which == folded)
		if err != nil {
			u.r.failUnit(w.at, u.f.name, err)
			continue
		}
		globs = append(globs, p)
		for _, group := range p.groups {
			u.r.give("name."+group, textValue, func(l *look) (Value, error) {
				return submatch(p.re, group, l.form(0)), nil
			})
		}
	}
	if globs != nil {
		tests = append(tests, func(l *look) (Verdict, error) {
			name := l.form(which)
			for _, p := range globs {
				if p.match(name) {
					return Yes, nil
				}
			}
			return No, nil
		})
	}
	for _, part := range []struct {
		option string
		fits   func(name, word string) bool
	}{{"startswith", strings.HasPrefix}, {"contains", strings.Contains}, {"endswith", strings.HasSuffix}} {
		var words []string
		for _, w := range u.words(part.option) {
			if w.text == "" {
				u.r.fail(w.at, "name.%s is empty", part.option)
			}
			text := composed(w.text)
			if which == folded {
				text = lowerCase(text)
			}
			words = append(words, text)
		}
		if words != nil {
			tests = append(tests, func(l *look) (Verdict, error) {
				name := l.form(which)
				for _, w := range words {
					if part.fits(name, w) {
						return Yes, nil
					}
				}
				return No, nil
			})
		}
	}
	if tests == nil {
		if u.set["case_sensitive"] != nil && len(u.set) == 1 {
			u.r.fail(u.at, "name says nothing").Hint = "give match, startswith, contains or endswith"
		}
		tests = append(tests, always)
	}
	c.test = allTests(tests)
	return c
}

// submatch returns what a named group of re matched in s, or nil.
func submatch(re *regexp.Regexp, group, s string) Value {
	m := re.FindStringSubmatchIndex(s)
	if m == nil {
		return nil
	}
	for i, name := range re.SubexpNames() {
		if name == group && m[2*i] >= 0 && m[2*i] < m[2*i+1] {
			return s[m[2*i]:m[2*i+1]]
		}
	}
	return nil
}

// regexps compiles the words of an option, and gives the placeholders of their groups.
func (u *use) regexps(option, family string, text func(l *look) (string, error)) []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, w := range u.words(option) {
		if w.text == "" {
			u.r.fail(w.at, "%s is empty", u.f.name)
			continue
		}
		re, err := regexp.Compile(w.text)
		if err != nil {
			u.r.failRegexp(w, u.f.name, err)
			continue
		}
		all = append(all, re)
		for _, group := range re.SubexpNames() {
			if group == "" {
				continue
			}
			u.r.give(family+"."+group, textValue, func(l *look) (Value, error) {
				s, err := text(l)
				if err != nil {
					return nil, err
				}
				return submatch(re, group, s), nil
			})
		}
	}
	return all
}

func (r *reader) failRegexp(w word, what string, err error) {
	at, hint, text := 0, "", err.Error()
	if s, ok := errors.AsType[*syntax.Error](err); ok {
		text = fmt.Sprintf("%s: %q", s.Code, s.Expr)
		at = max(0, strings.Index(w.text, s.Expr))
		if strings.HasPrefix(s.Expr, "(?") || strings.HasPrefix(s.Expr, `\`) {
			hint = "expressions are those of RE2: no lookahead, no lookbehind, no references back"
		}
	}
	r.failIn(w.at, at, "%s: %s", what, text).Hint = hint
}

func buildRegex(u *use) *condition {
	all := u.regexps("expression", "regex", func(l *look) (string, error) { return l.form(wholeName), nil })
	return &condition{
		cost: costPattern,
		why:  func(l *look) string { return fmt.Sprintf("the name is %q", l.name) },
		test: func(l *look) (Verdict, error) {
			name := l.form(wholeName)
			for _, re := range all {
				if re.MatchString(name) {
					return Yes, nil
				}
			}
			return No, nil
		},
	}
}

func buildPath(u *use) *condition {
	fold := !u.flag("case_sensitive", true)
	var globs []*pattern
	for _, w := range u.words("match") {
		if strings.HasPrefix(w.text, "/") || strings.HasPrefix(w.text, "~") {
			u.r.fail(w.at, "path is about the path below the location, which has no %s at its start", w.text[:1])
			continue
		}
		p, err := compileGlob(w.text, pathGlob, fold)
		if err != nil {
			u.r.failUnit(w.at, u.f.name, err)
			continue
		}
		globs = append(globs, p)
	}
	if globs == nil {
		if u.set["case_sensitive"] != nil && len(u.set) == 1 {
			u.r.fail(u.at, "path says nothing").Hint = "give match"
		}
		return &condition{cost: costName, test: always}
	}
	fits := func(relative string) bool {
		relative = composed(relative)
		return slices.ContainsFunc(globs, func(p *pattern) bool { return p.match(relative) })
	}
	return &condition{
		cost:  costPattern,
		guard: fits,
		why:   func(l *look) string { return fmt.Sprintf("the path is %q", l.relative()) },
		test:  func(l *look) (Verdict, error) { return yesIf(fits(l.relative())) },
	}
}

func buildDepth(u *use) *condition {
	c := &condition{cost: costName, test: always}
	c.why = func(l *look) string { return fmt.Sprintf("it is %d", l.depth()) }
	if s := u.set["is"]; s != nil {
		c.test = func(l *look) (Verdict, error) { return yesIf(s.span.holds(float64(l.depth()))) }
	}
	return c
}

func buildSize(u *use) *condition {
	fact := u.r.fact(FactSize)
	c := &condition{cost: costStat}
	size := func(l *look) (int64, error) {
		v, err := l.fact(fact)
		if err != nil {
			return 0, err
		}
		n, ok := v.(int64)
		if !ok {
			if v == nil {
				return 0, errors.New("the size is not known")
			}
			return 0, wrongType(FactSize, v)
		}
		return n, nil
	}
	c.why = func(l *look) string {
		if l.isDir {
			return "a folder has none"
		}
		n, _ := size(l) // an error has been told already
		return "it is " + humanSize(n)
	}
	wanted := everything()
	if s := u.set["is"]; s != nil {
		wanted = s.span
		c.size = &wanted
	}
	c.test = func(l *look) (Verdict, error) {
		if l.isDir {
			return No, nil
		}
		n, err := size(l)
		if err != nil {
			return Unsure, err
		}
		return yesIf(wanted.holds(float64(n)))
	}
	return c
}

func buildDate(u *use) *condition {
	r := u.r
	name := u.f.name
	fact := r.fact(name)
	c := &condition{cost: costOf(name), why: func(l *look) string {
		t, ok, err := l.date(fact)
		if err != nil || !ok {
			return "there is no such date"
		}
		return "it is " + t.Format("2006-01-02 15:04")
	}}
	if len(u.set) == 0 {
		c.test = func(l *look) (Verdict, error) {
			_, ok, err := l.date(fact)
			if err != nil {
				return Unsure, err
			}
			return yesIf(ok)
		}
		return c
	}
	number := func(name string) int {
		if s := u.set[name]; s != nil {
			return int(s.count)
		}
		return 0
	}
	a := age{years: number("years"), months: number("months"), days: 7*number("weeks") + number("days")}
	a.rest = time.Duration(number("seconds")+60*number("minutes")+3600*number("hours")) * time.Second
	aged := false
	for _, o := range u.f.options[:7] {
		aged = aged || u.set[o.name] != nil
	}
	if u.set["mode"] != nil && !aged {
		r.fail(u.set["mode"].at, "%s: mode without a length of time", name).Hint = "add days: 30, say"
		return nil
	}
	before, after := u.set["before"], u.set["after"]
	if before != nil && after != nil && !after.date.in(time.UTC).Before(before.date.in(time.UTC)) {
		r.fail(before.at, "%s: no date is before this one and after the other", name)
		return nil
	}
	newer := u.choice("mode", "older") == "newer"
	index := -1
	if aged {
		index = len(r.rules.ages)
		r.rules.ages = append(r.rules.ages, a)
	}
	fits := func(l *look, t time.Time) bool {
		return (index < 0 || t.Before(l.rules.cutoffs[index]) != newer) &&
			(before == nil || before.date.compare(t) < 0) && (after == nil || after.date.compare(t) >= 0)
	}
	// A file surely was made and changed; where nobody knows when, nothing can be said. One that no camera took is not one
	// that was taken long ago.
	missing := FactCreated == name || FactModified == name || FactAccessed == name
	c.test = func(l *look) (Verdict, error) {
		t, ok, err := l.date(fact)
		switch {
		case err != nil:
			return Unsure, err
		case !ok && missing:
			return Unsure, errors.New("the date is not known")
		case !ok:
			return No, nil
		}
		return yesIf(fits(l, t))
	}
	return c
}
