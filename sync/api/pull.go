package api

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/google/uuid"
)

// ErrCut says that an answer to a pull ended before its last line: what came is good, and the next pull goes on after
// the last entry that came.
var ErrCut = errors.New("the answer was cut off")

// PullReader reads the answer to a pull, a line at a time.
type PullReader struct {
	r      *bufio.Reader
	limits Limits
	last   int64
	end    *PullEnd
}

// NewPullReader reads from r, after its Content-Encoding was taken off, what was asked for after server_seq after.
func NewPullReader(r io.Reader, after int64, l Limits) *PullReader {
	return &PullReader{r: bufio.NewReaderSize(r, 64<<10), limits: l, last: after}
}

// Next is the next entry, checked by itself. After the last it is io.EOF, and End tells where to go on. Other errors:
// ErrCut, *Problem for an entry that is wrong, those of the reader.
func (p *PullReader) Next() (*PullEntry, error) {
	for p.end == nil {
		line, err := p.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 { // keeps the connection alive
			continue
		}
		var l pullLine
		if !l.scan(line) {
			l = pullLine{}
			if err := unmarshal(line, &l); err != nil {
				return nil, fmt.Errorf("read pulled entry after %d: %w", p.last, err)
			}
		}
		if l.Next != nil {
			p.end = &PullEnd{Next: *l.Next, Head: l.Head, Reset: l.Reset}
			break
		}
		if l.ServerSeq == 0 { // a line of a newer server
			continue
		}
		e := l.PullEntry
		if e.ServerSeq <= p.last {
			return nil, fmt.Errorf("read pulled entry: server_seq %d does not follow %d", e.ServerSeq, p.last)
		}
		if err := e.Verify(p.limits); err != nil {
			return nil, fmt.Errorf("read pulled entry %d: %w", e.ServerSeq, err)
		}
		if e.DeviceID == uuid.Nil || e.Epoch == uuid.Nil {
			return nil, fmt.Errorf("read pulled entry %d: it is of no log", e.ServerSeq)
		}
		p.last = e.ServerSeq
		return &e, nil
	}
	return nil, io.EOF
}

// pullLine is a line of the answer: an entry, or the end.
type pullLine struct {
	PullEntry
	Next  *int64 `json:"next"`
	Head  int64  `json:"head"`
	Reset bool   `json:"reset"`
}

// scan reads the line of an entry as our servers write it: one flat object of the fields that are known, numbers without sign,
// strings without escapes. It reports false for everything else, which is then read as any JSON: that takes four times as long, and
// a device that sets itself up anew reads hundreds of thousands of lines.
func (l *pullLine) scan(b []byte) bool {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return false
	}
	b = b[1 : len(b)-1]
	for first := true; len(b) > 0; first = false {
		if !first {
			if b[0] != ',' {
				return false
			}
			b = b[1:]
		}
		key, rest, ok := scanString(b)
		if !ok || len(rest) < 2 || rest[0] != ':' {
			return false
		}
		rest = rest[1:]
		var text []byte
		var number int64
		if rest[0] == '"' {
			text, b, ok = scanString(rest)
		} else {
			number, b, ok = scanNumber(rest)
		}
		if !ok || (rest[0] == '"') != isPullText(string(key)) {
			return false
		}
		var err error
		switch string(key) {
		case "server_seq":
			l.ServerSeq = number
		case "seq":
			l.Seq = number
		case "schema":
			l.Schema = int(number)
		case "ts_client":
			l.TSClient = number
		case "device_id":
			err = scanID(&l.DeviceID, text)
		case "epoch":
			err = scanID(&l.Epoch, text)
		case "id":
			err = scanID(&l.ID, text)
		case "op_id":
			err = scanID(&l.OpID, text)
		case "received_at":
			err = l.ReceivedAt.UnmarshalText(text)
		case "kind":
			l.Kind = string(text)
		case "key_id":
			l.KeyID = string(text)
		case "codec":
			l.Codec = string(text)
		case "sha256":
			err = l.SHA256.UnmarshalText(text)
		case "body":
			l.Body, err = base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(text))), text)
		default:
			return false
		}
		if err != nil {
			return false // whoever reads it as JSON says what is wrong
		}
	}
	return l.ServerSeq > 0
}

// isPullText tells the fields that are strings.
func isPullText(key string) bool {
	switch key {
	case "server_seq", "seq", "schema", "ts_client":
		return false
	}
	return true
}

// scanID reads a UUID in the form that is sent.
func scanID(id *uuid.UUID, text []byte) (err error) {
	if len(text) != 36 {
		return errors.New("no UUID of 36 characters")
	}
	*id, err = uuid.ParseBytes(text)
	return err
}

// scanString takes a string of printable ASCII without escapes off the front.
func scanString(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	n := bytes.IndexByte(b[1:], '"') + 1
	if n == 0 {
		return nil, nil, false
	}
	for _, c := range b[1:n] {
		if c < ' ' || c > '~' || c == '\\' {
			return nil, nil, false
		}
	}
	return b[1:n], b[n+1:], true
}

// scanNumber takes a whole number of at most 18 digits off the front.
func scanNumber(b []byte) (v int64, rest []byte, ok bool) {
	n := 0
	for n < len(b) && n < 19 && b[n] >= '0' && b[n] <= '9' {
		v = 10*v + int64(b[n]-'0')
		n++
	}
	if n == 0 || n == 19 || b[0] == '0' && n > 1 || n < len(b) && b[n] != ',' {
		return 0, nil, false
	}
	return v, b[n:], true
}

// End is the last line; ok is false before Next has met it.
func (p *PullReader) End() (end PullEnd, ok bool) {
	if p.end == nil {
		return PullEnd{}, false
	}
	return *p.end, true
}

// line is the next line without its end. No line of an entry can be longer than its body in base64 and a little.
func (p *PullReader) line() ([]byte, error) {
	most := p.limits.MaxBodyBytes/3*4 + 4096
	var line []byte
	for {
		part, err := p.r.ReadSlice('\n')
		if int64(len(line)+len(part)) > most {
			return nil, fmt.Errorf("read pulled entry after %d: its line has more than %d bytes", p.last, most)
		}
		switch {
		case err == nil && line == nil:
			return bytes.TrimSpace(part), nil
		case err == nil:
			return bytes.TrimSpace(append(line, part...)), nil
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
		case errors.Is(err, io.EOF):
			return nil, ErrCut
		default:
			return nil, err
		}
	}
}

// WritePull writes a line of the answer to a pull: a *PullEntry or *PullEnd.
func WritePull[T PullEntry | PullEnd](w io.Writer, line *T) error {
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write pulled entry: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Cursor is where a page of a list begins: behind the item with these keys. Lists that are sorted by time and id use the
// first two, lists of records the last. For clients it is opaque.
type Cursor struct {
	Micros int64 // microseconds since 1970
	ID     uuid.UUID
	Seq    int64
}

// ErrCursor says that a text is no cursor of this list.
var ErrCursor = errors.New("not a cursor of this list")

const cursorVersion = 1

// Encode is the cursor as text. list names the list with its filters, in whatever form: a cursor of one is refused by
// any other. It is no secret and no proof: whoever reads with it may see only what he may see without.
func (c Cursor) Encode(list string) string {
	b := []byte{cursorVersion}
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(list)))
	b = binary.AppendVarint(b, c.Micros)
	b = binary.AppendVarint(b, c.Seq)
	if c.ID != uuid.Nil {
		b = append(b, c.ID[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what Encode has made for the same list. Error: ErrCursor.
func ParseCursor(text, list string) (Cursor, error) {
	if len(text) > 80 {
		return Cursor{}, ErrCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 5 || b[0] != cursorVersion || binary.BigEndian.Uint32(b[1:5]) != crc32.ChecksumIEEE([]byte(list)) {
		return Cursor{}, ErrCursor
	}
	rest := column{b: b[5:]}
	c := Cursor{Micros: rest.int(), Seq: rest.int()}
	if len(rest.b) > 0 {
		copy(c.ID[:], rest.bytes(16))
	}
	if rest.bad || len(rest.b) > 0 || c.Encode(list) != text { // one cursor has one form
		return Cursor{}, ErrCursor
	}
	return c, nil
}
