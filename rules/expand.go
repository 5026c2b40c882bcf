package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A noValueError says that a file has no value for a placeholder.
type noValueError struct{ source string }

func (e noValueError) Error() string { return "the file has no value for {" + e.source + "}" }

// value returns the text of the first alternative that has one. slashes says that a / in it parts folders.
//
// Only what a file does not have makes room for the next alternative. What cannot be told is an error: a photo that
// could not be read for a moment must not go to the folder for photos without a date.
func (p *templatePart) value(l *look) (text string, slashes bool, err error) {
	for _, a := range p.choice {
		s, err := a.value(l)
		if err != nil {
			return "", false, fmt.Errorf("{%s}: %w", p.source, err)
		}
		if s != "" {
			return s, a.folders, nil
		}
	}
	return "", false, noValueError{p.source}
}

// value returns "" if there is none.
func (a *alternative) value(l *look) (string, error) {
	s := a.literal
	if !a.fixed {
		v, err := a.get(l)
		if err != nil {
			return "", err
		}
		if s, err = a.show(v); err != nil {
			return "", err
		}
	}
	if a.cut > 0 {
		s = firstCharacters(s, a.cut)
	}
	for i := range a.filters {
		f := &a.filters[i]
		switch {
		case f.name == "default":
			if s == "" {
				s = f.args[0]
			}
		case s != "":
			s = f.apply(s, f.args)
		}
	}
	return s, nil
}

func (a *alternative) show(v Value) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case time.Time:
		if a.date != nil {
			return a.date.format(v), nil
		}
	case int64:
		if a.number != nil {
			return a.number.format(strconv.FormatInt(v, 10), float64(v)), nil
		}
	case float64:
		if a.number != nil {
			return a.number.format(strconv.FormatFloat(v, 'f', 0, 64), v), nil
		}
	}
	return show(v)
}

// format fills up whole, or v if decimals were asked for.
func (f *numberFormat) format(whole string, v float64) string {
	if f.digits >= 0 {
		whole = strconv.FormatFloat(v, 'f', f.digits, 64)
	}
	missing := max(0, f.width-len(whole))
	if !f.zero {
		return strings.Repeat(" ", missing) + whole
	}
	if digits, negative := strings.CutPrefix(whole, "-"); negative {
		return "-" + strings.Repeat("0", missing) + digits
	}
	return strings.Repeat("0", missing) + whole
}

// expand fills in t for texts and arguments, where values are taken as they are.
func (t *template) expand(l *look) (string, error) {
	if t == nil {
		return "", nil
	}
	if len(t.parts) == 1 && t.parts[0].choice == nil {
		return t.parts[0].text, nil
	}
	var b strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		if p.choice == nil {
			b.WriteString(p.text)
			continue
		}
		s, _, err := p.value(l)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// A target is a template for a place.
type target struct {
	template *template // what comes below root
	root     string    // "" for what is below the destination root, else an absolute path
	located  bool      // root is the location of the rule
	folder   bool
	static   string // the folders at the start that are the same for every file, below root
}

// expand returns the place for a file. Names that a value had a part in are made such that they stay within their folder.
func (t *target) expand(l *look) (string, error) {
	var b strings.Builder
	root := t.root
	if t.located {
		root = l.location
	}
	b.WriteString(root)
	slash := root != "" && !strings.HasSuffix(root, "/")
	var name strings.Builder
	dynamic := false
	flush := func(file bool) {
		s := name.String()
		name.Reset()
		if dynamic {
			if s = component(s, l.rules.opt.Set, file, l.rules.opt.Windows); s == "" {
				s = "_"
			}
		}
		dynamic = false
		if s == "" || s == "." {
			return
		}
		if slash {
			b.WriteByte('/')
		}
		slash = true
		b.WriteString(s)
	}
	write := func(s string, value bool) {
		for {
			i := strings.IndexByte(s, '/')
			dynamic = dynamic || value
			if i < 0 {
				name.WriteString(s)
				return
			}
			name.WriteString(s[:i])
			flush(false)
			s = s[i+1:]
			if s == "" {
				return
			}
		}
	}
	for i := range t.template.parts {
		p := &t.template.parts[i]
		if p.choice == nil {
			write(p.text, false)
			continue
		}
		s, slashes, err := p.value(l)
		if err != nil {
			return "", err
		}
		if slashes {
			write(s, true)
		} else {
			name.WriteString(s) // component replaces the slashes
			dynamic = true
		}
	}
	flush(!t.folder)
	return b.String(), nil
}

// A RenameTemplate makes another name for a file whose name is taken.
type RenameTemplate struct {
	template *template
	ext      bool // {ext} is in it
	set      *Set
	windows  bool
}

// Name returns the name for the given number. stem and ext are those of the taken name; ext is without its dot and may
// be empty. The name is at most 255 bytes long, with number and extension kept. A nil template is "{name} ({counter})".
func (t *RenameTemplate) Name(stem, ext string, counter int64) string {
	dot := ""
	if ext != "" {
		dot = "." + ext
	}
	if t == nil {
		tail := " (" + strconv.FormatInt(counter, 10) + ")" + dot
		return stem[:boundary(stem, max(0, maxComponent-len(tail)))] + tail
	}
	if t.ext {
		dot = ""
	}
	fill := func(stem string) string {
		l := &look{rules: &Rules{opt: Options{Set: t.set}}, stem: stem, ext: ext, counter: counter}
		s, err := t.template.expand(l)
		if err != nil { // no extension, and no other text for it
			s = stem + " (" + strconv.FormatInt(counter, 10) + ")"
		}
		return plain(s, t.windows) + dot
	}
	name := fill(stem)
	if over := len(name) - maxComponent; over > 0 {
		name = fill(stem[:boundary(stem, max(0, len(stem)-over))])
	}
	return component(name, t.set, true, t.windows)
}
