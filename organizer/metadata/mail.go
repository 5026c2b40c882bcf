package metadata

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
)

const (
	mailHeader = 1 << 20
	mailParts  = 2000
	mailDepth  = 10
)

// isMail reports whether a file is a message: by its extension and a header field, or by fields that all messages have.
func isMail(head []byte, ext string) bool {
	fields := 0
	from, lines := false, 0
	for line := range bytes.Lines(head) {
		lines++
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' || lines == 1 && has(line, 0, "From ") {
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t<>{}\"") {
			if lines > 1 && len(line) > 0 && line[len(line)-1] != '\n' {
				break // cut
			}
			return false
		}
		switch strings.ToLower(string(name)) {
		case "from":
			from = true
			fields++
		case "received", "return-path", "message-id", "mime-version", "date", "to", "subject", "delivered-to":
			fields++
		}
	}
	return ext == "eml" && fields > 0 || from && fields >= 3
}

// readMail reads the header of a message and its text. Of the forms in which it says the same, the plain one counts.
func readMail(s *source, t *textBuilder) error {
	header := make([]byte, min(s.size, mailHeader))
	if err := s.readAt(header, 0); err != nil {
		return err
	}
	start := 0
	if has(header, 0, "From ") { // as in a mailbox
		start = bytes.IndexByte(header, '\n') + 1
	}
	end := len(header)
	for _, blank := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(header[start:], []byte(blank)); i >= 0 {
			end = min(end, start+i+len(blank))
		}
	}
	if end == mailHeader {
		return s.fail("too long a header")
	}
	message, err := mail.ReadMessage(bytes.NewReader(header[start:end]))
	if err != nil {
		return err
	}
	words := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) { return decodeReader(r, charset), nil }}
	for _, name := range []string{"Subject", "From", "To", "Cc", "Date"} {
		if value := message.Header.Get(name); value != "" {
			if decoded, err := words.DecodeHeader(value); err == nil {
				value = decoded
			}
			if err := t.write(value); err != nil {
				return err
			}
			t.newline()
		}
	}
	parts := 0
	body := io.NewSectionReader(s, int64(end), s.size-int64(end))
	return mailPart(s, t, message.Header.Get, body, &parts, 0)
}

// mailPart writes the text of a part, and of those in it.
func mailPart(s *source, t *textBuilder, get func(string) string, body io.Reader, parts *int, depth int) error {
	if *parts++; *parts > mailParts || depth > mailDepth {
		return s.fail("too many parts")
	}
	kind, parameters, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil && kind == "" {
		kind = "text/plain"
	}
	if disposition, _, _ := mime.ParseMediaType(get("Content-Disposition")); disposition == "attachment" {
		return nil
	}
	switch strings.ToLower(strings.TrimSpace(get("Content-Transfer-Encoding"))) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, &base64Only{r: body})
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	switch {
	case strings.HasPrefix(kind, "multipart/") && parameters["boundary"] != "":
		return mailMultipart(s, t, kind, parameters["boundary"], body, parts, depth)
	case kind == "text/html":
		t.newline()
		return tolerant(s, readHTML(body, t, parameters["charset"]))
	case strings.HasPrefix(kind, "text/"):
		t.newline()
		all, err := io.ReadAll(io.LimitReader(body, int64(s.text)+1))
		if tolerant(s, err) != nil {
			return err
		}
		return t.write(decodeText(all, parameters["charset"]))
	case kind == "message/rfc822":
		return nil // a message of its own, forwarded
	}
	return nil
}

// tolerant forgives a part that ends in something odd, as mail often does, but not what ends the reading.
func tolerant(s *source, err error) error {
	if s.err != nil || errors.Is(err, ErrLimit) {
		return err
	}
	return nil
}

func mailMultipart(s *source, t *textBuilder, kind, boundary string, body io.Reader, parts *int, depth int) error {
	r := multipart.NewReader(body, boundary)
	plain := false
	for {
		part, err := r.NextRawPart()
		if s.err != nil {
			return s.err
		}
		if err != nil {
			return nil // the end, or none that can be found
		}
		kindOf, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if kind == "multipart/alternative" && plain && kindOf != "text/plain" {
			continue
		}
		before := t.b.Len()
		if err := mailPart(s, t, part.Header.Get, part, parts, depth+1); err != nil {
			return err
		}
		plain = plain || t.b.Len() > before && (kindOf == "text/plain" || kindOf == "")
	}
}

// base64Only drops what is not base64, which mail has between lines and sometimes at the end.
type base64Only struct{ r io.Reader }

func (b *base64Only) Read(p []byte) (int, error) {
	for {
		n, err := b.r.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if letterByte(c) || digit(c) || c == '+' || c == '/' || c == '=' {
				p[kept] = c
				kept++
			}
		}
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}
