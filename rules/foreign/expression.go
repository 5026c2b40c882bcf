package foreign

import (
	"errors"
	"strconv"
	"strings"
)

// organize's templates are those of Jinja, with single braces. An expression in them is a name with operations behind it;
// what goes beyond that, as arithmetic, is left to the person.

// An expr is an expression: a chain, a text, or several of them joined.
type expr struct {
	name string  // of a chain
	ops  []op    // of a chain or a text
	lit  *string // a text
	num  bool    // lit is a number
	join []*expr // joined by ~ or +
	or   *expr   // what to take if there is no value
}

type op struct {
	kind opKind
	name string // of an attribute or a filter
	args []*expr
	call bool // the attribute is called with args
	from int  // of a slice or an index
	to   int
	ends [2]bool // which of from and to are given
}

type opKind uint8

const (
	attribute opKind = iota // .name, ['name'], .name(args)
	index                   // [1]
	slice                   // [1:2]
	filtered                // | name(args)
)

var errExpression = errors.New("its expression goes beyond forg's templates")

const maxExpression = 2000

type exprParser struct {
	s     string
	at    int
	depth int
}

// parseExpr reads an expression. rest is what comes behind a colon, a format of Python, as version 1 had it.
func parseExpr(s string) (e *expr, format string, err error) {
	if len(s) > maxExpression {
		return nil, "", errExpression
	}
	p := &exprParser{s: s}
	if e, err = p.full(); err != nil {
		return nil, "", err
	}
	p.blanks()
	if rest, ok := strings.CutPrefix(p.s[p.at:], "!s"); ok && (rest == "" || rest[0] == ':') {
		p.at += 2
	}
	if p.at < len(p.s) {
		if p.s[p.at] != ':' {
			return nil, "", errExpression
		}
		format = p.s[p.at+1:]
	}
	return e, format, nil
}

func (p *exprParser) blanks() {
	for p.at < len(p.s) && strings.IndexByte(" \t\n\r", p.s[p.at]) >= 0 {
		p.at++
	}
}

func (p *exprParser) skip(token string) bool {
	p.blanks()
	if strings.HasPrefix(p.s[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

func (p *exprParser) word(token string) bool {
	p.blanks()
	rest, ok := strings.CutPrefix(p.s[p.at:], token)
	if ok && rest != "" && (rest[0] == ' ' || rest[0] == '\'' || rest[0] == '"') {
		p.at += len(token)
		return true
	}
	return false
}

func (p *exprParser) full() (*expr, error) {
	if p.depth++; p.depth > 30 {
		return nil, errExpression
	}
	defer func() { p.depth-- }()
	e, err := p.joined()
	if err != nil {
		return nil, err
	}
	if p.word("or") {
		if e.or, err = p.full(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (p *exprParser) joined() (*expr, error) {
	e, err := p.formatted()
	if err != nil {
		return nil, err
	}
	all := []*expr{e}
	for p.skip("~") || p.skip("+") {
		next, err := p.formatted()
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	if len(all) == 1 {
		return e, nil
	}
	return &expr{join: all}, nil
}

// formatted reads 'text' % value too.
func (p *exprParser) formatted() (*expr, error) {
	e, err := p.filtered()
	if err != nil {
		return nil, err
	}
	if e.lit != nil && p.skip("%") {
		value, err := p.filtered()
		if err != nil {
			return nil, err
		}
		e.ops = append(e.ops, op{kind: attribute, name: "%", call: true, args: []*expr{value}})
	}
	return e, nil
}

func (p *exprParser) filtered() (*expr, error) {
	e, err := p.postfix()
	if err != nil {
		return nil, err
	}
	for p.skip("|") {
		p.blanks()
		name := p.identifier()
		if name == "" || e.join != nil {
			return nil, errExpression
		}
		o := op{kind: filtered, name: name}
		if p.skip("(") {
			if o.args, err = p.args(); err != nil {
				return nil, err
			}
		}
		e.ops = append(e.ops, o)
	}
	return e, nil
}

func (p *exprParser) identifier() string {
	start := p.at
	for p.at < len(p.s) {
		c := p.s[p.at]
		if c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80 || p.at > start && '0' <= c && c <= '9' {
			p.at++
			continue
		}
		break
	}
	return p.s[start:p.at]
}

func (p *exprParser) args() ([]*expr, error) {
	var all []*expr
	if p.skip(")") {
		return nil, nil
	}
	for {
		p.blanks()
		// A name before the value says no more than its place does, for what is known here.
		start := p.at
		if name := p.identifier(); name == "" || !p.skip("=") {
			p.at = start
		}
		e, err := p.full()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if p.skip(")") {
			return all, nil
		}
		if !p.skip(",") {
			return nil, errExpression
		}
	}
}

func (p *exprParser) postfix() (*expr, error) {
	e, err := p.primary()
	if err != nil {
		return nil, err
	}
	for {
		switch {
		case p.at < len(p.s) && p.s[p.at] == '.':
			p.at++
			name := p.identifier()
			if name == "" || e.join != nil {
				return nil, errExpression
			}
			e.ops = append(e.ops, op{kind: attribute, name: name})
		case p.at < len(p.s) && p.s[p.at] == '(':
			p.at++
			args, err := p.args()
			if err != nil {
				return nil, err
			}
			if len(e.ops) == 0 {
				if e.lit != nil || e.join != nil || len(args) > 0 || e.name == "" {
					return nil, errExpression
				}
				e.ops = append(e.ops, op{kind: attribute, name: "()", call: true})
				continue
			}
			last := &e.ops[len(e.ops)-1]
			if last.kind != attribute || last.call {
				return nil, errExpression
			}
			last.call, last.args = true, args
		case p.at < len(p.s) && p.s[p.at] == '[':
			p.at++
			o, err := p.bracket()
			if err != nil || e.join != nil {
				return nil, errExpression
			}
			e.ops = append(e.ops, o)
		default:
			return e, nil
		}
	}
}

// bracket reads what follows a [: a key, an index or a slice.
func (p *exprParser) bracket() (op, error) {
	p.blanks()
	if p.at < len(p.s) && (p.s[p.at] == '"' || p.s[p.at] == '\'') {
		s, err := p.quoted()
		if err != nil || !p.skip("]") {
			return op{}, errExpression
		}
		return op{kind: attribute, name: s}, nil
	}
	o := op{kind: index}
	var ok bool
	if o.from, ok = p.integer(); ok {
		o.ends[0] = true
	}
	if p.skip(":") {
		o.kind = slice
		if o.to, ok = p.integer(); ok {
			o.ends[1] = true
		}
	}
	if !p.skip("]") || o.kind == index && !o.ends[0] {
		return o, errExpression
	}
	return o, nil
}

func (p *exprParser) integer() (int, bool) {
	p.blanks()
	end := p.at
	if end < len(p.s) && p.s[end] == '-' {
		end++
	}
	for end < len(p.s) && '0' <= p.s[end] && p.s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(p.s[p.at:end])
	if err != nil {
		return 0, false
	}
	p.at = end
	return n, true
}

func (p *exprParser) quoted() (string, error) {
	quote := p.s[p.at]
	var b strings.Builder
	for p.at++; p.at < len(p.s); p.at++ {
		switch c := p.s[p.at]; {
		case c == quote:
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.s):
			p.at++
			switch p.s[p.at] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '\\', '\'', '"':
				b.WriteByte(p.s[p.at])
			default:
				b.WriteByte('\\')
				b.WriteByte(p.s[p.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is never closed")
}

func (p *exprParser) primary() (*expr, error) {
	p.blanks()
	if p.at >= len(p.s) {
		return nil, errors.New("an expression is missing")
	}
	switch c := p.s[p.at]; {
	case c == '"' || c == '\'':
		s, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return &expr{lit: &s}, nil
	case '0' <= c && c <= '9':
		n, ok := p.integer()
		if !ok {
			return nil, errExpression
		}
		s := strconv.Itoa(n)
		return &expr{lit: &s, num: true}, nil
	case c == '(':
		p.at++
		e, err := p.full()
		if err != nil {
			return nil, err
		}
		if !p.skip(")") {
			return nil, errExpression
		}
		return e, nil
	}
	name := p.identifier()
	if name == "" {
		return nil, errExpression
	}
	switch name {
	case "not", "none", "None", "true", "false", "True", "False":
		return nil, errExpression
	}
	return &expr{name: name}, nil
}

// literal returns the text of e, if it is one.
func (e *expr) literal() (string, bool) {
	if e == nil || e.lit == nil || len(e.ops) > 0 || e.or != nil {
		return "", false
	}
	return *e.lit, true
}

// parseSpec reads one of Python's formats for numbers, such as 02d, and returns to how many digits it fills up.
func parseSpec(s string) (zeros int, ok bool) {
	s = strings.TrimSuffix(s, "d")
	if s == "" {
		return 0, true
	}
	if len(s) < 2 || s[0] != '0' {
		return 0, false
	}
	n, err := strconv.Atoi(s[1:])
	return n, err == nil && n > 0 && n < 100
}

// printf takes a text apart that has one conversion of Python's: "%02d" or "{:02}".
func printf(format string, braces bool) (before, spec, after string, err error) {
	open, end := "%", "ds"
	if braces {
		open, end = "{", "}"
	}
	i := strings.Index(format, open)
	if i < 0 {
		return "", "", "", errExpression
	}
	j := strings.IndexAny(format[i:], end)
	if j < 0 {
		return "", "", "", errExpression
	}
	before, spec, after = format[:i], format[i+1:i+j], format[i+j+1:]
	if braces {
		spec = strings.TrimPrefix(strings.TrimPrefix(spec, "0"), ":")
	} else if format[i+j] == 's' && spec != "" {
		return "", "", "", errExpression
	}
	if strings.Contains(before+after, open) {
		return "", "", "", errors.New("only one value can be put into a text")
	}
	return before, spec, after, nil
}
