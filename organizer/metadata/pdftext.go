package metadata

import (
	"io"
	"math"
	"strings"
)

const (
	pdfPages = 100_000
	pdfForms = 10_000 // forms drawn, all together
	pdfDepth = 12     // forms within forms
	pdfFonts = 2000
	pdfCodes = 1 << 17 // characters in a font
)

// readPDF writes the text of all pages, in the order in which it is drawn. Words and lines are what lies near each other.
func readPDF(s *source, t *textBuilder) error {
	p, err := openPDF(s)
	if err != nil {
		return err
	}
	x := &pdfExtractor{pdfFile: p, t: t, fonts: map[any]*pdfFont{}, drawing: map[int64]bool{}}
	x.pages(p.dict(p.trailer["Root"])["Pages"], nil, map[int]bool{}, 0)
	if s.err != nil {
		return s.err
	}
	if x.seen == 0 {
		return errPDF
	}
	if x.unknown > 0 && x.told == 0 { // fonts that are drawings only
		return ErrUnsupported
	}
	return nil
}

type pdfExtractor struct {
	*pdfFile
	t             *textBuilder
	fonts         map[any]*pdfFont
	seen          int // pages
	forms         int
	drawing       map[int64]bool // forms at work, by where they lie
	told, unknown int            // characters
	lastX, lastY  float64
	lastSize      float64
	any           bool // something was shown on this page
}

// pages visits the pages below a node of their tree.
func (x *pdfExtractor) pages(node any, resources pdfDict, path map[int]bool, depth int) {
	if ref, ok := node.(pdfRef); ok {
		if path[ref.n] {
			return
		}
		path[ref.n] = true // for good: a page is in the tree once
	}
	d := x.dict(node)
	if d == nil || depth > pdfNesting || x.s.check() != nil {
		return
	}
	if own := x.dict(d["Resources"]); own != nil {
		resources = own
	}
	if kids := x.array(d["Kids"]); kids != nil {
		for _, kid := range kids {
			x.pages(kid, resources, path, depth+1)
		}
		return
	}
	if x.seen++; x.seen > pdfPages {
		x.s.fail("too many pages")
		return
	}
	var parts []io.Reader
	contents := pdfArray{d["Contents"]}
	if all := x.array(d["Contents"]); all != nil {
		contents = all
	}
	for _, c := range contents[:min(len(contents), 10_000)] {
		if st, ok := x.object(c).(*pdfStream); ok {
			parts = append(parts, &lateStream{x: x, st: st}, strings.NewReader("\n"))
		}
	}
	x.any = false
	x.t.newline()
	x.draw(io.MultiReader(parts...), resources, identityMatrix, 0)
	x.t.newline()
}

// lateStream decodes a stream when it is its turn.
type lateStream struct {
	x  *pdfExtractor
	st *pdfStream
	r  io.Reader
}

func (l *lateStream) Read(b []byte) (int, error) {
	if l.r == nil {
		r, err := l.x.decode(l.st, true)
		if err != nil {
			if l.x.s.err != nil {
				return 0, l.x.s.err
			}
			return 0, io.EOF
		}
		l.r = r
	}
	return l.r.Read(b)
}

// A matrix is a b c d e f of the format.
type matrix [6]float64

var identityMatrix = matrix{1, 0, 0, 1, 0, 0}

// times applies m before n.
func (m matrix) times(n matrix) matrix {
	return matrix{
		m[0]*n[0] + m[1]*n[2], m[0]*n[1] + m[1]*n[3], m[2]*n[0] + m[3]*n[2], m[2]*n[1] + m[3]*n[3],
		m[4]*n[0] + m[5]*n[2] + n[4], m[4]*n[1] + m[5]*n[3] + n[5],
	}
}

type pdfState struct {
	ctm                                           matrix
	font                                          *pdfFont
	size, charSpace, wordSpace, scale, lead, rise float64
}

// draw carries out the operators that show text.
func (x *pdfExtractor) draw(r io.Reader, resources pdfDict, ctm matrix, depth int) {
	l := newPDFLexer(x.s, r)
	state := pdfState{ctm: ctm, scale: 1}
	var stack []pdfState
	text, line := identityMatrix, identityMatrix
	var args []any
	number := func(i int) float64 {
		if i < len(args) {
			if v, ok := args[i].(float64); ok {
				return v
			}
		}
		return 0
	}
	last := func() string {
		if len(args) > 0 {
			s, _ := args[len(args)-1].(string)
			return s
		}
		return ""
	}
	move := func(dx, dy float64) {
		line = matrix{1, 0, 0, 1, dx, dy}.times(line)
		text = line
	}
	for {
		l.values = pdfValues
		v, err := l.next(0)
		if err != nil {
			return
		}
		op, ok := v.(pdfWord)
		if !ok {
			if len(args) < 64 {
				args = append(args, v)
			}
			continue
		}
		switch op {
		case "q":
			if len(stack) < 256 {
				stack = append(stack, state)
			}
		case "Q":
			if len(stack) > 0 {
				state, stack = stack[len(stack)-1], stack[:len(stack)-1]
			}
		case "cm":
			state.ctm = matrix{number(0), number(1), number(2), number(3), number(4), number(5)}.times(state.ctm)
		case "BT":
			text, line = identityMatrix, identityMatrix
		case "Tf":
			if len(args) >= 2 {
				name, _ := args[0].(pdfName)
				state.font = x.font(x.dict(resources["Font"])[name])
				state.size = number(1)
			}
		case "Tc":
			state.charSpace = number(0)
		case "Tw":
			state.wordSpace = number(0)
		case "Tz":
			state.scale = number(0) / 100
		case "TL":
			state.lead = number(0)
		case "Ts":
			state.rise = number(0)
		case "Td":
			move(number(0), number(1))
		case "TD":
			state.lead = -number(1)
			move(number(0), number(1))
		case "Tm":
			line = matrix{number(0), number(1), number(2), number(3), number(4), number(5)}
			text = line
		case "T*":
			move(0, -state.lead)
		case "Tj":
			x.show(&state, &text, last())
		case "'":
			move(0, -state.lead)
			x.show(&state, &text, last())
		case "\"":
			state.wordSpace, state.charSpace = number(0), number(1)
			move(0, -state.lead)
			x.show(&state, &text, last())
		case "TJ":
			if len(args) > 0 {
				all, _ := args[len(args)-1].(pdfArray)
				for _, v := range all {
					switch v := v.(type) {
					case string:
						x.show(&state, &text, v)
					case float64:
						text = matrix{1, 0, 0, 1, -v / 1000 * state.size * state.scale, 0}.times(text)
					}
				}
			}
		case "Do":
			if len(args) > 0 && depth < pdfDepth {
				name, _ := args[len(args)-1].(pdfName)
				x.form(x.dict(resources["XObject"])[name], resources, state.ctm, depth)
			}
		case "BI":
			if !l.skipImage() {
				return
			}
		}
		args = args[:0]
	}
}

func (x *pdfExtractor) form(v any, resources pdfDict, ctm matrix, depth int) {
	st, ok := x.object(v).(*pdfStream)
	if !ok || x.object(st.dict["Subtype"]) != pdfName("Form") || x.drawing[st.at] {
		return
	}
	x.drawing[st.at] = true // a form must not draw itself
	defer delete(x.drawing, st.at)
	if x.forms++; x.forms > pdfForms {
		x.s.fail("too many forms")
		return
	}
	if own := x.dict(st.dict["Resources"]); own != nil {
		resources = own
	}
	if m := x.array(st.dict["Matrix"]); len(m) == 6 {
		var own matrix
		for i := range own {
			own[i] = x.number(m[i], 0)
		}
		ctm = own.times(ctm)
	}
	x.draw(&lateStream{x: x, st: st}, resources, ctm, depth+1)
}

// skipImage passes the bytes of a picture between the operators.
func (l *pdfLexer) skipImage() bool {
	for {
		v, err := l.next(0)
		if err != nil {
			return false
		}
		if v == pdfWord("ID") {
			break
		}
	}
	var last [4]byte
	for n := 0; ; n++ {
		c, err := l.byte()
		if err != nil || n%4096 == 0 && l.s.check() != nil {
			return false
		}
		last = [4]byte{last[1], last[2], last[3], c}
		if pdfSpace(last[0]) && last[1] == 'E' && last[2] == 'I' && (pdfSpace(c)) {
			return true
		}
	}
}

// show writes the text of a string, with a blank or a new line before it if it lies apart from what was shown last.
func (x *pdfExtractor) show(state *pdfState, text *matrix, s string) {
	if state.font == nil || x.s.check() != nil {
		return
	}
	f := state.font
	for len(s) > 0 {
		code, size := f.next(s)
		raw := s[:size]
		s = s[size:]
		shown, known := f.text(code, size)
		if known {
			x.told++
		} else {
			x.unknown++
		}
		m := text.times(state.ctm)
		em := math.Hypot(m[2], m[3]) * math.Abs(state.size)
		if em == 0 || em-em != 0 {
			em = 1
		}
		at := matrix{1, 0, 0, 1, 0, state.rise}.times(m)
		if strings.TrimSpace(shown) != "" {
			if x.any {
				// Along the line and across it, whichever way the text runs.
				length := math.Hypot(m[0], m[1])
				if length == 0 || length-length != 0 {
					length = 1
				}
				ux, uy := m[0]/length, m[1]/length
				dx, dy := at[4]-x.lastX, at[5]-x.lastY
				along, across := dx*ux+dy*uy, math.Abs(dy*ux-dx*uy)
				switch {
				case across > 0.7*max(em, x.lastSize) || along < -2*em:
					x.t.newline()
				case along > 0.18*em || along < -0.5*em || across > 0.4*em:
					x.t.blank()
				}
			}
			x.any = true
		}
		if err := x.t.write(shown); err != nil {
			return
		}
		width := f.width(code)/1000*state.size + state.charSpace
		if size == 1 && raw == " " {
			width += state.wordSpace
		}
		*text = matrix{1, 0, 0, 1, width * state.scale, 0}.times(*text)
		if strings.TrimSpace(shown) != "" {
			end := matrix{1, 0, 0, 1, 0, state.rise}.times(text.times(state.ctm))
			x.lastX, x.lastY, x.lastSize = end[4], end[5], em
		}
	}
}
