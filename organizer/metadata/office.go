package metadata

import (
	"archive/zip"
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Documents that are a zip of XML: Office Open XML (ECMA-376), OpenDocument (ISO/IEC 26300), EPUB.

const (
	zipList  = 16 << 20 // of the list of files; the library needs six times as much
	zipParts = 5000     // that are read
	xmlToken = 4 << 20  // bytes from one token to the next
)

type office struct {
	s     *source
	t     *textBuilder
	files map[string]*zip.File
	parts int
}

// readOffice reports false if the zip is none of the documents it knows.
func readOffice(s *source, t *textBuilder) (known bool, err error) {
	list := &source{ctx: s.ctx, r: s, size: s.size, left: min(s.left, zipList)}
	z, err := zip.NewReader(list, s.size)
	if list.err != nil {
		return true, list.err
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return true, err
	}
	list.left = s.left
	o := &office{s: s, t: t, files: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		o.files[f.Name] = f
	}
	switch {
	case o.files["[Content_Types].xml"] != nil:
		switch {
		case o.files["word/document.xml"] != nil:
			return true, o.word()
		case o.files["xl/workbook.xml"] != nil:
			return true, o.excel()
		case o.files["ppt/presentation.xml"] != nil:
			return true, o.powerpoint()
		case o.files["xl/workbook.bin"] != nil:
			return true, ErrUnsupported
		}
	case o.files["META-INF/container.xml"] != nil:
		return true, o.epub()
	case o.files["mimetype"] != nil && o.files["content.xml"] != nil:
		return true, o.openDocument()
	}
	return false, nil
}

// open opens a part. The caller need not close it: it is memory only.
func (o *office) open(name string) (io.Reader, error) {
	f := o.files[name]
	if f == nil {
		return nil, fmt.Errorf("%w: it has no %s", ErrDamaged, name)
	}
	if o.parts++; o.parts > zipParts {
		return nil, o.s.fail("too many parts")
	}
	if f.Flags&1 != 0 {
		return nil, ErrEncrypted
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	return o.s.unpacked(r), nil
}

// numbered returns the parts called prefix, a number and .xml, by number.
func (o *office) numbered(prefix string) []string {
	type part struct {
		name string
		n    int
	}
	var parts []part
	for name := range o.files {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if number, ok := strings.CutSuffix(rest, ".xml"); ok {
				if n, err := strconv.Atoi(number); err == nil || number == "" {
					parts = append(parts, part{name, n})
				}
			}
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return a.n - b.n })
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// xmlReader counts what the decoder takes for one token: it keeps a token whole in memory.
type xmlReader struct {
	*bufio.Reader
	s     *source
	since int
}

func (x *xmlReader) ReadByte() (byte, error) {
	if x.since++; x.since > xmlToken {
		return 0, x.s.fail("too long a piece of XML")
	}
	return x.Reader.ReadByte()
}

// each calls f for every token of a part, with the local names of elements. Entities are not expanded: a document type
// cannot define any here.
func (o *office) each(r io.Reader, f func(token xml.Token) error) error {
	in := &xmlReader{Reader: bufio.NewReaderSize(r, 16<<10), s: o.s}
	d := xml.NewDecoder(in)
	d.Strict = false
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		return bufio.NewReader(decodeReader(r, charset)), nil
	}
	for {
		in.since = 0
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(token); err != nil {
			return err
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// runs writes the text of a part of Word or PowerPoint: what is in t, line by line of p.
func (o *office) runs(name string) error {
	r, err := o.open(name)
	if err != nil {
		return err
	}
	inside := false
	return o.each(r, func(token xml.Token) error {
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "t":
				inside = true
			case "tab":
				o.t.blank()
			case "br", "cr":
				o.t.newline()
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "t":
				inside = false
			case "p":
				o.t.newline()
			case "tc":
				o.t.blank()
			}
		case xml.CharData:
			if inside {
				return o.t.write(string(e))
			}
		}
		return nil
	})
}

func (o *office) allRuns(groups ...[]string) error {
	for _, name := range slices.Concat(groups...) {
		if err := o.runs(name); err != nil {
			return err
		}
		o.t.newline()
	}
	return nil
}

func (o *office) word() error {
	return o.allRuns(o.numbered("word/header"), []string{"word/document.xml"}, o.numbered("word/footer"), o.numbered("word/footnotes"),
		o.numbered("word/endnotes"), o.numbered("word/comments"))
}

func (o *office) powerpoint() error {
	return o.allRuns(o.numbered("ppt/slides/slide"), o.numbered("ppt/notesSlides/notesSlide"))
}

// excel writes the cells of all sheets, line by line.
func (o *office) excel() error {
	var shared []string
	room := o.s.text
	if o.files["xl/sharedStrings.xml"] != nil {
		r, err := o.open("xl/sharedStrings.xml")
		if err != nil {
			return err
		}
		var b strings.Builder
		inside, phonetic := false, false
		err = o.each(r, func(token xml.Token) error {
			switch e := token.(type) {
			case xml.StartElement:
				switch e.Name.Local {
				case "t":
					inside = true
				case "rPh":
					phonetic = true
				}
			case xml.EndElement:
				switch e.Name.Local {
				case "t":
					inside = false
				case "rPh":
					phonetic = false
				case "si":
					if room -= 16; room < 0 {
						return o.s.fail("too much text")
					}
					shared = append(shared, b.String())
					b.Reset()
				}
			case xml.CharData:
				if inside && !phonetic {
					if room -= len(e); room < 0 {
						return o.s.fail("too much text")
					}
					b.Write(e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, name := range o.numbered("xl/worksheets/sheet") {
		r, err := o.open(name)
		if err != nil {
			return err
		}
		kind, inside := "", false
		var value strings.Builder
		err = o.each(r, func(token xml.Token) error {
			switch e := token.(type) {
			case xml.StartElement:
				switch e.Name.Local {
				case "c":
					kind = attr(e, "t")
					value.Reset()
				case "v", "t":
					inside = true
				}
			case xml.EndElement:
				switch e.Name.Local {
				case "v", "t":
					inside = false
				case "c":
					text := value.String()
					if kind == "s" {
						n, err := strconv.Atoi(strings.TrimSpace(text))
						if err != nil || n < 0 || n >= len(shared) {
							return nil
						}
						text = shared[n]
					}
					o.t.blank()
					return o.t.write(text)
				case "row":
					o.t.newline()
				}
			case xml.CharData:
				if inside {
					value.Write(e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		o.t.newline()
	}
	return nil
}

func (o *office) openDocument() error {
	if o.files["META-INF/manifest.xml"] != nil {
		r, err := o.open("META-INF/manifest.xml")
		if err != nil {
			return err
		}
		err = o.each(r, func(token xml.Token) error {
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "encryption-data" {
				return ErrEncrypted
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	r, err := o.open("content.xml")
	if err != nil {
		return err
	}
	depth := 0 // of paragraphs, which can hold others in notes and frames
	return o.each(r, func(token xml.Token) error {
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "p", "h":
				depth++
			case "tab", "s":
				o.t.blank()
			case "line-break":
				o.t.newline()
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "p", "h":
				depth--
				o.t.newline()
			}
		case xml.CharData:
			if depth > 0 {
				return o.t.write(string(e))
			}
		}
		return nil
	})
}

// epub writes the chapters in the order of the book's spine.
func (o *office) epub() error {
	if o.files["META-INF/encryption.xml"] != nil && o.files["META-INF/rights.xml"] != nil {
		return ErrEncrypted
	}
	r, err := o.open("META-INF/container.xml")
	if err != nil {
		return err
	}
	root := ""
	err = o.each(r, func(token xml.Token) error {
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rootfile" && root == "" {
			root = attr(e, "full-path")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r, err = o.open(root); err != nil {
		return err
	}
	items := map[string]string{}
	var spine []string
	inTitle := false
	err = o.each(r, func(token xml.Token) error {
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "item":
				if len(items) < zipParts {
					items[attr(e, "id")] = attr(e, "href")
				}
			case "itemref":
				if len(spine) < zipParts {
					spine = append(spine, attr(e, "idref"))
				}
			case "title", "creator":
				inTitle = true
			}
		case xml.EndElement:
			if inTitle {
				o.t.newline()
			}
			inTitle = false
		case xml.CharData:
			if inTitle {
				return o.t.write(string(e))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range spine {
		href := items[id]
		if unescaped, err := url.PathUnescape(href); err == nil {
			href = unescaped
		}
		name := path.Join(path.Dir(root), href)
		if href == "" || o.files[name] == nil {
			continue
		}
		r, err := o.open(name)
		if err != nil {
			return err
		}
		if err := readHTML(r, o.t, ""); err != nil {
			return err
		}
		o.t.newline()
	}
	return nil
}
