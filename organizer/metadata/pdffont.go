package metadata

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// pdfFont says what the codes of a font mean, and how wide they are.
type pdfFont struct {
	composite bool
	sizes     [5]bool // lengths of codes in bytes, from the CMap
	unicode   map[uint32]string
	encoding  *[256]string
	utf16     bool   // codes are UTF-16
	charset   string // or of a character set of East Asia
	widths    map[uint32]float64
	usual     float64
	standard  *[95]int16
}

// font reads a font, once.
func (x *pdfExtractor) font(v any) *pdfFont {
	ref, isRef := v.(pdfRef)
	if isRef {
		if f, ok := x.fonts[ref]; ok {
			return f
		}
	}
	d := x.dict(v)
	if d == nil || len(x.fonts) > pdfFonts {
		return nil
	}
	f := &pdfFont{widths: map[uint32]float64{}, usual: 500}
	if st, ok := x.object(d["ToUnicode"]).(*pdfStream); ok {
		x.cmap(f, st, 0)
	}
	if x.object(d["Subtype"]) == pdfName("Type0") {
		f.composite = true
		x.composite(f, d)
	} else {
		x.simple(f, d)
	}
	if isRef {
		x.fonts[ref] = f
	}
	return f
}

func (x *pdfExtractor) composite(f *pdfFont, d pdfDict) {
	f.usual = 1000
	if kids := x.array(d["DescendantFonts"]); len(kids) > 0 {
		kid := x.dict(kids[0])
		f.usual = x.number(kid["DW"], 1000)
		w := x.array(kid["W"])
		for len(w) >= 2 && len(f.widths) < pdfCodes {
			first := uint32(x.number(w[0], 0))
			if list := x.array(w[1]); list != nil {
				for i, v := range list {
					f.widths[first+uint32(i)] = x.number(v, f.usual)
				}
				w = w[2:]
				continue
			}
			if len(w) < 3 {
				break
			}
			end, width := uint32(x.number(w[1], 0)), x.number(w[2], f.usual)
			for c := first; c <= end && c-first < 1<<16 && len(f.widths) < pdfCodes; c++ {
				f.widths[c] = width
			}
			w = w[3:]
		}
	}
	switch encoding := x.object(d["Encoding"]).(type) {
	case pdfName:
		name := string(encoding)
		switch {
		case strings.Contains(name, "UCS2") || strings.Contains(name, "UTF16"):
			f.utf16 = true
		case strings.HasPrefix(name, "GBK") || strings.HasPrefix(name, "GB-EUC"):
			f.charset = "gbk"
		case strings.HasPrefix(name, "90ms-RKSJ") || strings.HasPrefix(name, "90msp-RKSJ"):
			f.charset = "shift_jis"
		case strings.HasPrefix(name, "KSC"):
			f.charset = "euc-kr"
		case strings.HasPrefix(name, "B5pc") || strings.HasPrefix(name, "ETen-B5"):
			f.charset = "big5"
		}
	case *pdfStream:
		own := &pdfFont{} // only for the lengths of its codes: it leads to glyphs
		x.cmap(own, encoding, 0)
		f.sizes = own.sizes
	}
	if f.charset == "" && f.sizes == [5]bool{} {
		f.sizes[2] = true
	}
}

func (x *pdfExtractor) simple(f *pdfFont, d pdfDict) {
	first := x.number(d["FirstChar"], 0)
	for i, v := range x.array(d["Widths"]) {
		if i > 255 {
			break
		}
		f.widths[uint32(first)+uint32(i)] = x.number(v, 500)
	}
	base, _ := x.object(d["BaseFont"]).(pdfName)
	if len(f.widths) == 0 {
		switch name := string(base); {
		case strings.Contains(name, "Courier"):
			f.usual = 600
		case strings.Contains(name, "Times"):
			f.standard = &timesWidths
		default:
			f.standard = &helveticaWidths
		}
	}
	if descriptor := x.dict(d["FontDescriptor"]); descriptor != nil {
		f.usual = x.number(descriptor["MissingWidth"], f.usual)
	}
	if x.object(d["Subtype"]) == pdfName("Type3") { // its widths are in a space of its own
		if m := x.array(d["FontMatrix"]); len(m) == 6 {
			scale := x.number(m[0], 0.001) * 1000
			for c := range f.widths {
				f.widths[c] *= scale
			}
		}
	}
	name, _ := x.object(d["Encoding"]).(pdfName)
	encoding := x.dict(d["Encoding"])
	if n, ok := x.object(encoding["BaseEncoding"]).(pdfName); ok {
		name = n
	}
	if name == "" && x.object(d["Subtype"]) == pdfName("TrueType") {
		name = "WinAnsiEncoding"
	}
	table := baseEncoding(string(name))
	if strings.Contains(string(base), "Symbol") || strings.Contains(string(base), "Dingbats") {
		table = [256]string{}
	}
	code := 0
	for _, v := range x.array(encoding["Differences"]) {
		switch v := x.object(v).(type) {
		case float64:
			code = int(v)
		case pdfName:
			if 0 <= code && code < 256 {
				table[code] = glyphText(string(v))
			}
			code++
		}
	}
	f.encoding = &table
}

// next takes a code off a string.
func (f *pdfFont) next(s string) (code uint32, size int) {
	size = 1
	switch {
	case f.charset != "":
		if s[0] >= 0x81 && !(f.charset == "shift_jis" && s[0] >= 0xa0 && s[0] < 0xe0) {
			size = 2
		}
	case f.composite:
		for n := 1; n <= 4; n++ {
			if f.sizes[n] {
				size = n // of several the shortest; mixed ones are rare
				break
			}
		}
	}
	size = min(size, len(s))
	for _, c := range []byte(s[:size]) {
		code = code<<8 | uint32(c)
	}
	return code, size
}

// text is what a code stands for. It reports false if nothing says that.
func (f *pdfFont) text(code uint32, size int) (string, bool) {
	if s, ok := f.unicode[code]; ok {
		return s, true
	}
	switch {
	case f.encoding != nil && code < 256:
		s := f.encoding[code]
		return s, s != ""
	case f.utf16:
		return string(rune(code)), true
	case f.charset != "":
		b := []byte{byte(code)}
		if size == 2 {
			b = []byte{byte(code >> 8), byte(code)}
		}
		return decodeText(b, f.charset), true
	}
	return "", false
}

func (f *pdfFont) width(code uint32) float64 {
	if w, ok := f.widths[code]; ok {
		return w
	}
	if f.standard != nil && code >= 32 && code < 127 {
		return float64(f.standard[code-32])
	}
	return f.usual
}

// cmap reads the parts of a CMap that say how long codes are, and what they are in Unicode.
func (x *pdfExtractor) cmap(f *pdfFont, st *pdfStream, depth int) {
	r, err := x.decode(st, true)
	if err != nil {
		return
	}
	if f.unicode == nil {
		f.unicode = map[uint32]string{}
	}
	l := newPDFLexer(x.s, r)
	var args []any
	for {
		l.values = pdfValues
		v, err := l.next(0)
		if err != nil {
			return
		}
		op, ok := v.(pdfWord)
		if !ok {
			if len(args) < 100_000 {
				args = append(args, v)
			}
			continue
		}
		switch op {
		case "endcodespacerange":
			for i := 0; i+1 < len(args); i += 2 {
				if s, ok := args[i].(string); ok && len(s) >= 1 && len(s) <= 4 {
					f.sizes[len(s)] = true
				}
			}
		case "endbfchar":
			for i := 0; i+1 < len(args); i += 2 {
				from, ok1 := args[i].(string)
				to, ok2 := args[i+1].(string)
				if ok1 && ok2 {
					f.means(pdfCode(from), fromUTF16(to))
				} else if name, ok := args[i+1].(pdfName); ok && ok1 {
					f.means(pdfCode(from), glyphText(string(name)))
				}
			}
		case "endbfrange":
			for i := 0; i+2 < len(args); i += 3 {
				from, ok1 := args[i].(string)
				to, ok2 := args[i+1].(string)
				if !ok1 || !ok2 {
					continue
				}
				first, last := pdfCode(from), pdfCode(to)
				switch target := args[i+2].(type) {
				case string:
					runes := []rune(fromUTF16(target))
					if len(runes) == 0 {
						continue
					}
					for c := first; c <= last && c-first < 1<<16; c++ {
						if !f.means(c, string(runes)) {
							return
						}
						runes[len(runes)-1]++
					}
				case pdfArray:
					for j, v := range target {
						if s, ok := v.(string); ok && first+uint32(j) <= last {
							f.means(first+uint32(j), fromUTF16(s))
						}
					}
				}
			}
		case "usecmap", "begincodespacerange", "beginbfchar", "beginbfrange":
		}
		args = args[:0]
	}
}

func (f *pdfFont) means(code uint32, s string) bool {
	if len(f.unicode) >= pdfCodes {
		return false
	}
	if len(s) <= 64 && s != "\x00" {
		f.unicode[code] = s
	}
	return true
}

func pdfCode(s string) (code uint32) {
	for _, c := range []byte(s[:min(len(s), 4)]) {
		code = code<<8 | uint32(c)
	}
	return code
}

func fromUTF16(s string) string {
	var units []uint16
	for ; len(s) >= 2; s = s[2:] {
		units = append(units, uint16(s[0])<<8|uint16(s[1]))
	}
	if len(s) == 1 && len(units) == 0 {
		units = append(units, uint16(s[0]))
	}
	return string(utf16.Decode(units))
}

// baseEncoding is what codes mean before an encoding's differences.
func baseEncoding(name string) (table [256]string) {
	all := make([]byte, 0, 256)
	for c := 32; c < 256; c++ {
		all = append(all, byte(c))
	}
	charset := "windows-1252"
	if name == "MacRomanEncoding" || name == "MacExpertEncoding" {
		charset = "macintosh"
	}
	i := 32
	for _, r := range decodeText(all, charset) {
		if i < 256 && r != utf8.RuneError && r >= 32 && (r < 0x7f || r > 0x9f) {
			table[i] = string(r)
		}
		i++
	}
	if name == "WinAnsiEncoding" || name == "MacRomanEncoding" {
		return table
	}
	// The standard encoding: ASCII but for two quotes, and an upper half of its own.
	table[0x27], table[0x60] = "’", "‘"
	for c := 0x80; c < 256; c++ {
		table[c] = ""
	}
	i = 0xa1
	for _, r := range "¡¢£⁄¥ƒ§¤'“«‹›ﬁﬂ\x00–†‡·\x00¶•‚„”»…‰\x00¿\x00`´ˆ˜¯˘˙¨\x00˚¸\x00˝˛ˇ—" {
		if r != 0 {
			table[i] = string(r)
		}
		i++
	}
	for c, s := range map[int]string{0xe1: "Æ", 0xe3: "ª", 0xe8: "Ł", 0xe9: "Ø", 0xea: "Œ", 0xeb: "º", 0xf1: "æ", 0xf5: "ı", 0xf8: "ł",
		0xf9: "ø", 0xfa: "œ", 0xfb: "ß"} {
		table[c] = s
	}
	return table
}

// glyphText is the text of a glyph's name, "" if it is not known.
func glyphText(name string) string {
	name, _, _ = strings.Cut(name, ".") // a.sc, f_f.liga
	if s, ok := glyphs()[name]; ok {
		return s
	}
	if strings.Contains(name, "_") {
		s := ""
		for part := range strings.SplitSeq(name, "_") {
			if len(s) > 32 {
				break
			}
			s += glyphText(part)
		}
		return s
	}
	for _, prefix := range []string{"uni", "u"} {
		if hex, ok := strings.CutPrefix(name, prefix); ok && len(hex) >= 4 && len(hex) <= 6 {
			if v, err := strconv.ParseUint(hex, 16, 32); err == nil && utf8.ValidRune(rune(v)) && v >= 32 {
				return string(rune(v))
			}
		}
	}
	return ""
}

// Widths of the letters of fonts that every reader has, and files need not tell (Adobe Core 14 AFM), from the blank on.
var helveticaWidths = [95]int16{
	278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278,
	584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667,
	944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556,
	333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
}

var timesWidths = [95]int16{
	250, 333, 408, 500, 500, 833, 778, 180, 333, 333, 500, 564, 250, 333, 250, 278, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 278, 278,
	564, 564, 564, 444, 921, 722, 667, 667, 722, 611, 556, 722, 722, 333, 389, 722, 611, 889, 722, 722, 556, 722, 667, 556, 611, 722, 722,
	944, 722, 722, 611, 333, 278, 333, 469, 500, 333, 444, 500, 444, 500, 444, 333, 500, 500, 278, 278, 500, 278, 778, 500, 500, 500, 500,
	333, 389, 278, 500, 500, 722, 500, 500, 444, 480, 200, 480, 541,
}
