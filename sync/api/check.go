package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// maxMicros is the end of the year 9999, the last that RFC 3339 can write.
const maxMicros = 253402300799999999

// maxBody is what MaxBodyBytes of Limits may be at most: what was once taken can always be read.
const maxBody = 16 << 20

// maxPlainBody is how much the JSON of an entry may be that is not made to hold many records.
const maxPlainBody = 256 << 10

// checker collects what is wrong with the fields of a message.
type checker struct {
	prefix string
	errs   *[]FieldError
}

// at is the checker of a part of the message.
func (c *checker) at(format string, args ...any) *checker {
	return &checker{prefix: c.prefix + "." + fmt.Sprintf(format, args...), errs: c.errs}
}

// full reports whether enough is wrong that nobody will read more.
func (c *checker) full() bool { return len(*c.errs) >= 20 }

func (c *checker) need(field string, ok bool, format string, args ...any) {
	if !ok && !c.full() {
		*c.errs = append(*c.errs, FieldError{Location: c.prefix + "." + field, Message: fmt.Sprintf(format, args...)})
	}
}

// word needs a short name of lower-case letters, digits, dots, dashes and underscores.
func (c *checker) word(field, s string, most int) {
	c.need(field, isWord(s) && len(s) <= most, "is %.80q, want 1 to %d lower-case letters, digits, and . - _", s, most)
}

func isWord(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// name needs what people may call a thing.
func (c *checker) name(field, s string) {
	ok := s != "" && len(s) <= maxName && utf8.ValidString(s) && strings.TrimSpace(s) == s &&
		strings.IndexFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0
	c.need(field, ok, "is %.120q, want 1 to %d bytes of visible text without spaces around it", s, maxName)
}

// maxCount is the largest integer of the protocol that is not a file's size: what every reader of JSON holds exactly.
const maxCount = 1<<53 - 1

func (c *checker) counts(all map[string]int64) {
	for _, field := range slices.Sorted(maps.Keys(all)) {
		c.need(field, all[field] >= 0 && all[field] <= maxCount, "is %d, want 0 to %d", all[field], int64(maxCount))
	}
}

// zstd's coders are made when the first entry needs one: a program that does not sync has none. Both are safe for
// concurrent use.
var (
	compressor = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // only wrong options could do that
		}
		return e
	})
	decompressor = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(maxBody),
			zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// NewEntry makes the entry of a body; micros is when, in microseconds since 1970. It is the same entry whenever it is
// made of the same. Errors: what is wrong with the body.
func NewEntry(seq int64, id, op uuid.UUID, micros int64, body Body) (Entry, error) {
	e := Entry{Seq: seq, ID: id, OpID: op, Kind: body.kind(), Schema: 1, TSClient: micros}
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	body.check(c)
	if len(errs) > 0 {
		return Entry{}, fmt.Errorf("make entry %d of kind %s: %w", seq, e.Kind, errs[0])
	}
	raw, err := body.encode()
	if err != nil {
		return Entry{}, fmt.Errorf("make entry %d of kind %s: %w", seq, e.Kind, err)
	}
	e.SetRaw(raw)
	return e, nil
}

// SetRaw gives an entry another body and the hash that follows. Its other fields are to be set before.
func (e *Entry) SetRaw(raw []byte) {
	e.SHA256 = e.Sum(raw)
	e.Codec, e.Body = CodecPlain, raw
	if len(raw) >= 256 {
		if small := compressor().EncodeAll(raw, nil); len(small) < len(raw)-len(raw)/16 {
			e.Codec, e.Body = CodecZstd, small
		}
	}
}

// Raw is the body without its compression, at most limit bytes of it; it may share memory with Body.
func (e *Entry) Raw(limit int64) ([]byte, error) {
	switch e.Codec {
	case CodecPlain:
		if int64(len(e.Body)) > limit {
			return nil, fmt.Errorf("body has %d bytes, at most %d are possible", len(e.Body), limit)
		}
		return e.Body, nil
	case CodecZstd:
	default:
		return nil, fmt.Errorf("codec is %.40q, want nothing or zstd", e.Codec)
	}
	var h zstd.Header
	if err := h.Decode(e.Body); err != nil || h.Skippable || !h.HasFCS {
		return nil, errors.New("body is no zstd frame that tells its size")
	}
	if h.FrameContentSize > uint64(limit) {
		return nil, fmt.Errorf("body has %d bytes once decompressed, at most %d are possible", h.FrameContentSize, limit)
	}
	// The result cannot become larger than what is allocated here, whatever the frame holds.
	raw, err := decompressor().DecodeAll(e.Body, make([]byte, 0, h.FrameContentSize))
	if err != nil || uint64(len(raw)) != h.FrameContentSize {
		return nil, errors.New("body is damaged: it cannot be decompressed")
	}
	return raw, nil
}

// Decode is what an entry says. It is nil for one that this version does not understand, that is sealed or redacted:
// such an entry is kept and carried on as it is. The records of Files have the entry's OperationID.
func (e *Entry) Decode() (Body, error) {
	b, err := e.open(maxBody)
	if f, ok := b.(Files); ok && err == nil {
		for i := range f {
			f[i].OperationID = e.OpID
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %d of kind %s: %w", e.Seq, e.Kind, err)
	}
	return b, nil
}

// understood reports whether the body can be read here.
func (e *Entry) understood() bool {
	return !e.Redacted && e.KeyID == "" && e.Schema == 1 && newBody(e.Kind) != nil
}

func newBody(kind string) Body {
	switch kind {
	case KindStarted:
		return new(Started)
	case KindFiles:
		return Files(nil)
	case KindOutcomes:
		return new(Outcomes)
	case KindFinished:
		return new(Finished)
	case KindRollback:
		return new(RollbackResult)
	case KindRedact:
		return new(Redact)
	case KindRenamed:
		return new(DeviceRenamed)
	case KindVoid:
		return new(Void)
	}
	return nil
}

// Kinds are those that this version understands.
func Kinds() []string {
	return []string{KindStarted, KindFiles, KindOutcomes, KindFinished, KindRollback, KindRedact, KindRenamed, KindVoid}
}

// open decompresses and decodes what is understood.
func (e *Entry) open(limit int64) (Body, error) {
	if !e.understood() {
		return nil, nil
	}
	raw, err := e.Raw(limit)
	if err != nil {
		return nil, err
	}
	b := newBody(e.Kind)
	if _, ok := b.(Files); ok {
		var all Files
		for r, err := range readFiles(raw, true) {
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		return all, nil
	}
	if err := unmarshal(raw, b); err != nil {
		return nil, err
	}
	return b, nil
}

// unmarshal reads exactly one JSON value.
func unmarshal(raw []byte, to any) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return jsonError(err)
	}
	return nil
}

// jsonError says what is wrong with JSON in words for its sender, without the names of our types.
func jsonError(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return FieldError{Location: t.Field, Message: "is a " + t.Value + ", which does not fit"}
	}
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no JSON: %v at byte %d", s, s.Offset)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("no JSON: it ends too early")
	}
	return fmt.Errorf("no JSON of the right form: %v", err)
}

// Verify checks an entry by itself: its fields, that its body fits its hash, and that a body of a kind that is
// understood can be read. A redacted entry has no body to check. Errors: *Problem, which names the fields.
func (e *Entry) Verify(l Limits) error {
	var errs []FieldError
	e.verify(&checker{prefix: "entry", errs: &errs}, l)
	return invalid(errs)
}

func invalid(errs []FieldError) error {
	if len(errs) == 0 {
		return nil
	}
	p := NewProblem(CodeInvalid, "")
	p.Errors = errs
	return p
}

func (e *Entry) verify(c *checker, l Limits) {
	before := len(*c.errs)
	c.need("seq", e.Seq >= 1, "is %d, less than 1", e.Seq)
	c.need("id", e.ID != uuid.Nil, "is missing")
	c.word("kind", e.Kind, maxKind)
	c.need("schema", e.Schema >= 1 && e.Schema <= 1<<20, "is %d, want 1 or more", e.Schema)
	c.need("ts_client", e.TSClient >= 0 && e.TSClient <= maxMicros, "is %d, want microseconds since 1970", e.TSClient)
	c.need("key_id", len(e.KeyID) <= maxKind, "has %d bytes, at most %d are possible", len(e.KeyID), maxKind)
	c.need("op_id", e.OpID != uuid.Nil || !aboutOperation(e.Kind), "is missing")
	if e.Redacted {
		c.need("body", len(e.Body) == 0 && e.Codec == CodecPlain, "is there, though the entry is redacted")
		return
	}
	if len(*c.errs) != before {
		return
	}
	limit := min(l.MaxBodyBytes, maxBody)
	if e.understood() && e.Kind != KindFiles && e.Kind != KindOutcomes {
		limit = min(limit, maxPlainBody)
	}
	raw, err := e.Raw(limit)
	if err != nil {
		c.need("body", false, "%v", err)
		return
	}
	if e.Sum(raw) != e.SHA256 {
		c.need("sha256", false, "is not the hash of this entry")
		return
	}
	if !e.understood() {
		return
	}
	if e.Kind == KindFiles {
		n := 0
		for _, err := range readFiles(raw, false) {
			if n++; err != nil {
				c.need("body", false, "%v", err)
				return
			}
		}
		c.need("body", n <= l.MaxRecords, "has %d records, at most %d are possible", n, l.MaxRecords)
		return
	}
	b := newBody(e.Kind)
	if err := unmarshal(raw, b); err != nil {
		if f, ok := errors.AsType[FieldError](err); ok && f.Location != "" {
			c.at("body").need(f.Location, false, "%s", f.Message)
		} else {
			c.need("body", false, "%v", err)
		}
		return
	}
	b.check(c.at("body"))
}

func aboutOperation(kind string) bool {
	switch kind {
	case KindStarted, KindFiles, KindOutcomes, KindFinished, KindRollback, KindRedact:
		return true
	}
	return false
}

// Validate checks a push by itself, whatever is known of the log. Errors: *Problem, which names the fields.
func (r *PushRequest) Validate(l Limits) error {
	if r.Protocol != Protocol {
		p := NewProblem(CodeProtocol, fmt.Sprintf("the push speaks %.40q", r.Protocol))
		p.Protocols = []string{Protocol}
		return p
	}
	if len(r.Entries) > l.MaxEntries {
		return NewProblem(CodeTooLarge, fmt.Sprintf("the push has %d entries, at most %d are possible", len(r.Entries), l.MaxEntries))
	}
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	c.need("device_id", r.DeviceID != uuid.Nil, "is missing")
	c.need("epoch", r.Epoch != uuid.Nil, "is missing")
	ids := make(map[uuid.UUID]bool, len(r.Entries))
	for i := range r.Entries {
		e := &r.Entries[i]
		at := c.at("entries[%d]", i)
		if i > 0 {
			at.need("seq", e.Seq == r.Entries[i-1].Seq+1, "is %d, want %d", e.Seq, r.Entries[i-1].Seq+1)
		}
		at.need("id", !ids[e.ID], "is that of another entry")
		ids[e.ID] = true
		at.need("redacted", !e.Redacted, "is for pulls only")
		e.verify(at, l)
		if c.full() {
			break
		}
	}
	return invalid(errs)
}

// ReadPush reads and checks the body of a push, after its Content-Encoding was taken off. Errors: *Problem; others are
// of r.
func ReadPush(r io.Reader, l Limits) (*PushRequest, error) {
	b, err := io.ReadAll(io.LimitReader(r, l.MaxDecodedBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > l.MaxDecodedBytes {
		p := NewProblem(CodeTooLarge, "")
		p.MaxBytes = l.MaxDecodedBytes
		return nil, p
	}
	req := new(PushRequest)
	if err := unmarshal(b, req); err != nil {
		if f, ok := errors.AsType[FieldError](err); ok && f.Location != "" {
			f.Location = "body." + f.Location
			return nil, invalid([]FieldError{f})
		}
		return nil, NewProblem(CodeMalformed, err.Error())
	}
	if err := req.Validate(l); err != nil {
		return nil, err
	}
	return req, nil
}
