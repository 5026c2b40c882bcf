package foreign

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// What \w means to Python, which knows the letters of all languages where RE2 knows those of English.
const wordClass = `\pL\pN_`

// fromPython turns a regular expression of Python into one of RE2. changed says what is a little different, or "".
func fromPython(expr string) (out, changed string, err error) {
	var b strings.Builder
	class := false // within [...]
	for i := 0; i < len(expr); {
		rest := expr[i:]
		switch {
		case expr[i] == '\\' && i+1 < len(expr):
			i += 2
			switch c := expr[i-1]; c {
			case 'w':
				if class {
					b.WriteString(wordClass)
				} else {
					b.WriteString("[" + wordClass + "]")
				}
			case 'W':
				if class {
					changed = `\W within brackets takes letters with accents for no letters`
					b.WriteString(`\W`)
				} else {
					b.WriteString("[^" + wordClass + "]")
				}
			case 'b', 'B':
				if class && c == 'b' {
					b.WriteString(`\x08`)
					continue
				}
				changed = fmt.Sprintf(`\%c sees words of English letters, digits and _ only`, c)
				b.WriteString(`\` + string(c))
			case 'Z':
				b.WriteString(`\z`)
			case 'u', 'U':
				digits := 4
				if c == 'U' {
					digits = 8
				}
				if i+digits > len(expr) {
					return "", "", fmt.Errorf(`\%c wants %d digits`, c, digits)
				}
				n, err := strconv.ParseUint(expr[i:i+digits], 16, 32)
				if err != nil {
					return "", "", fmt.Errorf(`\%c wants %d digits`, c, digits)
				}
				fmt.Fprintf(&b, `\x{%X}`, n)
				i += digits
			default:
				b.WriteByte('\\')
				b.WriteByte(c)
			}
			continue
		case class:
			if expr[i] == ']' {
				class = false
			}
			if expr[i] == '[' { // no class of its own in Python, but [: would be one in RE2
				b.WriteByte('\\')
			}
		case expr[i] == '[':
			class = true
			b.WriteByte('[')
			i++
			if i < len(expr) && expr[i] == '^' {
				b.WriteByte('^')
				i++
			}
			if i < len(expr) && expr[i] == ']' { // the first one is meant as it is
				b.WriteString(`\]`)
				i++
			}
			continue
		case strings.HasPrefix(rest, "(?#"):
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				return "", "", errors.New("a comment is never closed")
			}
			i += end + 1
			continue
		case strings.HasPrefix(rest, "{,"):
			b.WriteString("{0,")
			i += 2
			continue
		case strings.HasPrefix(rest, "(?u)"), strings.HasPrefix(rest, "(?a)"):
			i += len("(?u)")
			continue
		}
		b.WriteByte(expr[i])
		i++
	}
	out = b.String()
	if _, err := regexp.Compile(out); err != nil {
		if s, ok := errors.AsType[*syntax.Error](err); ok {
			return "", "", fmt.Errorf("RE2, forg's kind of expressions, has no %q", s.Expr)
		}
		return "", "", err
	}
	return out, changed, nil
}

// fromFnmatch turns a pattern of Python's fnmatch into a glob, in which braces and backslashes are special too.
func fromFnmatch(pattern string) string {
	var b strings.Builder
	class := -1 // where one ends
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '[' && class < i:
			end := classEnd(pattern, i)
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			class = end
			b.WriteByte('[')
		case c == '\\' || (c == '{' || c == '}') && class < i:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// classEnd returns where the bracket closes that opens at i, or -1.
func classEnd(pattern string, i int) int {
	j := i + 1
	if j < len(pattern) && pattern[j] == '!' {
		j++
	}
	if j < len(pattern) && pattern[j] == ']' {
		j++
	}
	end := strings.IndexByte(pattern[min(j, len(pattern)):], ']')
	if end < 0 {
		return -1
	}
	return j + end
}

// literalGlob escapes what is special in a glob.
func literalGlob(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(`*?[]{}\`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Types of simplematch that an expression of RE2 can tell.
var matchTypes = map[string]string{
	"int": `[+-]?[0-9]+`, "float": `[+-]?(?:[0-9]*[.])?[0-9]+`, "letters": `[a-zA-Z]+`,
	"email": `[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+`, "bitcoin": `(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25,39}`,
	"ipv4": `(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)(?:\.(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)){3}`,
}

var identifier = lazily(`^[A-Za-z_][A-Za-z0-9_]*$`)

// A nameMatch is a pattern of simplematch, organize's syntax for names.
type nameMatch struct {
	glob   string // for a name filter, if typed is false
	expr   string // for a regex filter on the whole name
	typed  bool
	groups []string
}

// fromSimplematch reads a pattern: * is a wildcard, {word} and {word:type} capture.
func fromSimplematch(pattern string, fold bool) (nameMatch, error) {
	var m nameMatch
	var glob, expr strings.Builder
	expr.WriteString("(?s)^")
	if fold {
		expr.Reset()
		expr.WriteString("(?is)^")
	}
	for i := 0; i < len(pattern); {
		switch {
		case pattern[i] == '*':
			glob.WriteByte('*')
			expr.WriteString(".*")
			i++
		case pattern[i] == '{':
			end := strings.IndexByte(pattern[i:], '}')
			if end < 0 {
				return m, errors.New("a { is never closed")
			}
			field, typ, typed := strings.Cut(pattern[i+1:i+end], ":")
			i += end + 1
			switch {
			case field == "" && !typed:
				glob.WriteByte('*')
				expr.WriteString(".*")
				continue
			case !identifier().MatchString(field):
				return m, fmt.Errorf("{%s} is no name for a part", shorten(field, 20))
			}
			of := ".*"
			if typed {
				if of = matchTypes[typ]; of == "" {
					return m, fmt.Errorf("the type %q of {%s} has no like in forg", shorten(typ, 20), shorten(field, 20))
				}
				m.typed = true
			}
			m.groups = append(m.groups, field)
			glob.WriteString("{" + field + "}")
			expr.WriteString("(?P<" + field + ">" + of + ")")
		default:
			end := strings.IndexAny(pattern[i:], "*{")
			if end < 0 {
				end = len(pattern) - i
			}
			glob.WriteString(literalGlob(pattern[i : i+end]))
			expr.WriteString(regexp.QuoteMeta(pattern[i : i+end]))
			i += end
		}
	}
	expr.WriteString(`(?:\.[^.]*)?$`) // the extension, which the pattern does not see
	m.glob, m.expr = glob.String(), expr.String()
	if _, err := regexp.Compile(m.expr); err != nil {
		return m, errors.New("a part is named twice")
	}
	return m, nil
}
