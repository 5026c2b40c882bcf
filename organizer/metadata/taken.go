package metadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/bep/imagemeta"
)

// The time a photo or video was taken is the camera's wall clock: whoever prints year, month and day must get the date
// that the photographer would have named. A time whose offset from UTC is known is in a zone of that offset; one without
// is in UTC, which then only stands for "somewhere". Nothing is ever converted to the zone of this machine, so that the
// same file gets the same date everywhere. The one exception to the wall clock is a video whose only record is the
// header's creation time: that is UTC by definition, and its date can be off by one near midnight.

const (
	takenBytes = 4 << 20  // read from one file, at most
	takenReads = 20_000   // reads and seeks in one file, at most
	headBytes  = 16 << 10 // read first: in most photos enough
	maxXMP     = 1 << 20
)

var heads = sync.Pool{New: func() any { return new([headBytes]byte) }}

// Taken reads when a photo or video was taken from its content, which alone decides the format; ext is used only to keep
// away from files whose creation time is not that of a picture, such as music. It reports false if there is no such time
// or it is not plausible. size is the file's, in bytes. It reads at most a few MiB however large or broken the file is.
func Taken(r io.ReadSeeker, size int64, ext string) (time.Time, bool) {
	switch strings.ToLower(ext) {
	case "m4a", "m4b", "m4r", "aax", "aaxc", "m4p":
		return time.Time{}, false
	}
	head := heads.Get().(*[headBytes]byte)
	defer heads.Put(head)
	n, err := io.ReadFull(r, head[:min(size, headBytes)])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return time.Time{}, false
	}
	b := head[:n]
	in := &frugalReader{r: r, head: b, behind: int64(n), bytes: takenBytes, calls: takenReads}
	switch {
	case has(b, 0, "\xff\xd8\xff"):
		return takenFromImage(in, imagemeta.JPEG)
	case has(b, 0, "\x89PNG\r\n\x1a\n"):
		return takenFromImage(in, imagemeta.PNG)
	case has(b, 0, "RIFF") && has(b, 8, "WEBP"):
		return takenFromImage(in, imagemeta.WebP)
	case has(b, 0, "II*\x00"), has(b, 0, "MM\x00*"): // TIFF and most raw formats
		return takenFromImage(in, imagemeta.TIFF)
	case has(b, 0, "IIRO"), has(b, 0, "IIRS"), has(b, 0, "IIU\x00"), has(b, 0, "MMOR"): // ORF, RW2: TIFF by another number
		if b[0] == 'M' {
			copy(b, "MM\x00*")
		} else {
			copy(b, "II*\x00")
		}
		return takenFromImage(in, imagemeta.TIFF)
	case has(b, 0, "FUJIFILMCCD-RAW"):
		return takenFromRAF(in)
	case has(b, 4, "ftyp"):
		switch brand := string(b[8:min(12, n)]); brand {
		case "avif", "avis":
			return takenFromImage(in, imagemeta.AVIF)
		case "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1":
			return takenFromImage(in, imagemeta.HEIF)
		case "M4A ", "M4B ", "M4P ", "aax ":
			return time.Time{}, false
		}
		return takenFromMovie(in, size)
	case has(b, 4, "moov"), has(b, 4, "mdat"), has(b, 4, "wide"), has(b, 4, "free"), has(b, 4, "skip"), has(b, 4, "pnot"):
		return takenFromMovie(in, size) // QuickTime of before there was an ftyp
	}
	return time.Time{}, false
}

func has(b []byte, at int, magic string) bool {
	return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic
}

// frugalReader serves the beginning of a file from memory and fails after a number of bytes and calls, so that no file,
// whatever it claims, costs more than that. It is a bound on work rather than on time: the answer must not depend on how
// busy the machine is.
type frugalReader struct {
	r      io.ReadSeeker
	head   []byte
	at     int64 // of the next byte
	behind int64 // where r stands
	bytes  int64
	calls  int
}

var errTooMuch = errors.New("too much to read")

func (f *frugalReader) Read(p []byte) (int, error) {
	if f.calls--; f.calls < 0 || f.bytes <= 0 {
		return 0, errTooMuch
	}
	p = p[:min(int64(len(p)), f.bytes)]
	var n int
	var err error
	if f.at < int64(len(f.head)) {
		n = copy(p, f.head[f.at:])
	} else {
		if f.behind != f.at {
			if f.behind, err = f.r.Seek(f.at, io.SeekStart); err != nil {
				return 0, err
			}
		}
		n, err = f.r.Read(p)
		f.behind += int64(n)
	}
	f.at += int64(n)
	f.bytes -= int64(n)
	return n, err
}

func (f *frugalReader) Seek(offset int64, whence int) (int64, error) {
	if f.calls--; f.calls < 0 {
		return 0, errTooMuch
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		end, err := f.r.Seek(0, io.SeekEnd)
		if err != nil {
			return 0, err
		}
		f.behind = end
		offset += end
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// readAt fills p from offset on.
func (f *frugalReader) readAt(p []byte, offset int64) error {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err := io.ReadFull(f, p)
	return err
}

// takenFromImage reads EXIF, and XMP where EXIF has no time.
func takenFromImage(in *frugalReader, format imagemeta.ImageFormat) (t time.Time, ok bool) {
	defer func() {
		// The decoder turns its own panics into errors; a library's mistake must not end the run.
		if recover() != nil {
			t, ok = time.Time{}, false
		}
	}()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return time.Time{}, false
	}
	var original, originalOffset, created, createdOffset string
	var packet time.Time
	// An error ends the reading; what was read before it counts.
	_, _ = imagemeta.Decode(imagemeta.Options{
		R:           in,
		ImageFormat: format,
		Sources:     imagemeta.EXIF | imagemeta.XMP,
		ShouldHandleTag: func(tag imagemeta.TagInfo) bool {
			switch tag.Tag {
			case "DateTimeOriginal", "OffsetTimeOriginal", "CreateDate", "OffsetTimeDigitized":
				return true
			}
			return false
		},
		HandleTag: func(tag imagemeta.TagInfo) error {
			v, isString := tag.Value.(string)
			if !isString {
				return nil
			}
			for _, field := range []struct {
				name string
				to   *string
			}{
				{"DateTimeOriginal", &original}, {"OffsetTimeOriginal", &originalOffset},
				{"CreateDate", &created}, {"OffsetTimeDigitized", &createdOffset},
			} {
				if tag.Tag == field.name && *field.to == "" {
					*field.to = strings.Trim(v, " \x00")
				}
			}
			if original != "" && originalOffset != "" {
				return imagemeta.ErrStopWalking
			}
			return nil
		},
		HandleXMP: func(r io.Reader) error {
			data, err := io.ReadAll(io.LimitReader(r, maxXMP))
			if err != nil {
				return err
			}
			if t, ok := TakenFromXMP(data); ok && packet.IsZero() {
				packet = t
			}
			_, err = io.Copy(io.Discard, r)
			return err
		},
		LimitNumTags: 5000,
		LimitTagSize: 4096,
	})
	if t, ok := parseTaken(original + originalOffset); ok {
		return t, true
	}
	if t, ok := parseTaken(original); ok {
		return t, true
	}
	if !packet.IsZero() {
		return packet, true
	}
	if t, ok := parseTaken(created + createdOffset); ok {
		return t, true
	}
	return parseTaken(created)
}

// takenFromRAF reads a Fuji raw file, whose metadata is that of the JPEG in it.
func takenFromRAF(in *frugalReader) (time.Time, bool) {
	var b [8]byte
	if in.readAt(b[:], 84) != nil {
		return time.Time{}, false
	}
	start, length := int64(binary.BigEndian.Uint32(b[:])), int64(binary.BigEndian.Uint32(b[4:]))
	jpeg := io.NewSectionReader(readerAt{in}, start, length)
	return takenFromImage(&frugalReader{r: jpeg, bytes: in.bytes, calls: in.calls}, imagemeta.JPEG)
}

type readerAt struct{ *frugalReader }

func (r readerAt) ReadAt(p []byte, offset int64) (int, error) {
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(r.frugalReader, p)
}

type movie struct {
	boxes
	in      *frugalReader
	header  time.Time // mvhd: UTC
	text    time.Time // com.apple.quicktime.creationdate or ©day: with an offset, from the camera
	exif    time.Time // CR3
	dateKey uint32    // index of creationdate among the keys, from 1
}

func takenFromMovie(in *frugalReader, size int64) (time.Time, bool) {
	m := &movie{in: in}
	m.boxes = boxes{readAt: in.readAt, visit: m.visit}
	m.in.bytes = min(m.in.bytes, 1<<20)
	m.walk(0, size, 0)
	for _, t := range []time.Time{m.exif, m.text, m.header} {
		if !t.IsZero() {
			return t, true
		}
	}
	return time.Time{}, false
}

func (m *movie) visit(kind string, body, end int64, depth int) {
	switch kind {
	case "moov", "udta", "ilst":
		m.walk(body, end, depth+1)
	case "meta":
		m.walkMeta(body, end, depth)
	case "mvhd":
		m.readHeader(body, end)
	case "keys":
		m.readKeys(body, end)
	case "\xa9day":
		m.readDay(body, end)
	case "uuid":
		var b [16]byte
		const canon = "\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48"
		if m.in.readAt(b[:], body) == nil && string(b[:]) == canon {
			m.walk(body+16, end, depth+1)
		}
	case "CMT2": // Canon's EXIF, as a TIFF of its own
		tiff := io.NewSectionReader(readerAt{m.in}, body, end-body)
		in := &frugalReader{r: tiff, bytes: min(m.in.bytes, 64<<10), calls: 1000}
		if t, ok := takenFromImage(in, imagemeta.TIFF); ok {
			m.exif = t
		}
	default:
		if m.dateKey != 0 && kind == string(binary.BigEndian.AppendUint32(nil, m.dateKey)) {
			m.readData(body, end)
		}
	}
}

// readHeader reads the creation time of mvhd, in seconds since 1904 UTC.
func (m *movie) readHeader(body, end int64) {
	var b [12]byte
	if end-body < int64(len(b)) || m.in.readAt(b[:], body) != nil {
		return
	}
	seconds := uint64(binary.BigEndian.Uint32(b[4:]))
	if b[0] == 1 {
		seconds = binary.BigEndian.Uint64(b[4:])
	}
	const from1904 = 2_082_844_800 // to 1970
	if seconds < from1904 || seconds > 1<<40 {
		return // never set, or set to the camera's epoch
	}
	if t := time.Unix(int64(seconds)-from1904, 0).UTC(); plausible(t) {
		m.header = t
	}
}

// readKeys finds the number of the creation date in a QuickTime list of metadata keys.
func (m *movie) readKeys(body, end int64) {
	var buf [maxText]byte
	b := buf[:min(end-body, maxText)]
	if len(b) < 8 || m.in.readAt(b, body) != nil {
		return
	}
	b = b[8:]
	for i := uint32(1); len(b) >= 8; i++ {
		n := int(binary.BigEndian.Uint32(b))
		if n < 8 || n > len(b) {
			return
		}
		if string(b[8:n]) == "com.apple.quicktime.creationdate" {
			m.dateKey = i
		}
		b = b[n:]
	}
}

// readData reads the value of a metadata item: a data box with two numbers in front of the text.
func (m *movie) readData(body, end int64) {
	var buf [128]byte
	b := buf[:min(end-body, int64(len(buf)))]
	if len(b) < 16 || m.in.readAt(b, body) != nil || string(b[4:8]) != "data" {
		return
	}
	if n := int64(binary.BigEndian.Uint32(b)); n >= 16 && n <= int64(len(b)) {
		if t, ok := parseTaken(string(b[16:n])); ok {
			m.text = t
		}
	}
}

// readDay reads ©day: in QuickTime a length, a language and the text, in MP4 a data box. A year alone is not a day.
func (m *movie) readDay(body, end int64) {
	var buf [128]byte
	b := buf[:min(end-body, int64(len(buf)))]
	if len(b) < 4 || m.in.readAt(b, body) != nil || !m.text.IsZero() {
		return
	}
	if has(b, 4, "data") {
		m.readData(body, end)
		return
	}
	if n := int(binary.BigEndian.Uint16(b)); n <= len(b)-4 {
		if t, ok := parseTaken(string(b[4 : 4+n])); ok {
			m.text = t
		}
	}
}

// TakenFromXMP reads the time from an XMP packet or sidecar (ISO 16684-1). The first of exif:DateTimeOriginal,
// photoshop:DateCreated and xmp:CreateDate counts, as attribute or as element; the prefixes are the customary ones.
func TakenFromXMP(data []byte) (time.Time, bool) {
	data = data[:min(len(data), maxXMP)]
	for _, property := range []string{"exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"} {
		for rest := data; ; {
			i := bytes.Index(rest, []byte(property))
			if i < 0 {
				break
			}
			before := byte(' ')
			if i > 0 {
				before = rest[i-1]
			}
			rest = rest[i+len(property):]
			if t, ok := parseTaken(xmpValue(before, rest)); ok {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// xmpValue returns the value of the property whose name stands between before and after, "" if it has none.
func xmpValue(before byte, after []byte) string {
	after = after[:min(len(after), 200)]
	switch before {
	case '<':
		i := bytes.IndexByte(after, '>')
		if i < 0 || i > 0 && after[0] != ' ' || i > 0 && after[i-1] == '/' {
			return ""
		}
		after = after[i+1:]
		if i = bytes.IndexByte(after, '<'); i < 0 {
			return ""
		}
		return string(bytes.TrimSpace(after[:i]))
	case ' ', '\t', '\r', '\n':
		after = bytes.TrimLeft(after, " \t\r\n")
		if len(after) == 0 || after[0] != '=' {
			return ""
		}
		after = bytes.TrimLeft(after[1:], " \t\r\n")
		if len(after) == 0 || after[0] != '"' && after[0] != '\'' {
			return ""
		}
		i := bytes.IndexByte(after[1:], after[0])
		if i < 0 {
			return ""
		}
		return string(bytes.TrimSpace(after[1 : 1+i]))
	}
	return ""
}

// parseTaken parses the times of EXIF (2006:01:02 15:04:05), XMP and QuickTime (ISO 8601), with fractions of a second and
// an offset or without. At least the day must be there.
func parseTaken(s string) (time.Time, bool) {
	s = strings.TrimRight(strings.TrimSpace(s), "\x00")
	if len(s) < 10 || len(s) > 48 {
		return time.Time{}, false
	}
	// EXIF dates have colons, and some cameras write slashes or dots.
	day := strings.Map(func(r rune) rune {
		if r == ':' || r == '/' || r == '.' {
			return '-'
		}
		return r
	}, s[:10])
	clock := strings.TrimLeft(s[10:], "T ")
	for _, layout := range [...]string{"15:04:05", "15:04:05Z07:00", "15:04:05-0700", "15:04:05 -0700", "15:04:05 -07:00",
		"15:04", "15:04Z07:00", "15:04-0700", ""} {
		if (layout == "") != (clock == "") {
			continue
		}
		// A fraction of a second is parsed although no layout has one. UTC, or an offset that is also this
		// machine's would be in its zone.
		if t, err := time.ParseInLocation("2006-01-02 "+layout, day+" "+clock, time.UTC); err == nil && plausible(t) {
			return t, true
		}
	}
	return time.Time{}, false
}

// plausible reports whether t could be when a photo was taken: cameras whose clock was never set say 1970-01-01 or less.
func plausible(t time.Time) bool {
	return !t.Before(time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)) && t.Year() <= 2100
}

// TakenFromName finds a day, and the time of day where it follows, in a file's name: IMG_20240131_123456.jpg,
// 2024-01-31 12.34.56.png, VID-20230102-WA0001.mp4. The year comes first, the parts are two digits each, and no further
// digit touches the date: a longer number is a serial number.
func TakenFromName(name string) (time.Time, bool) {
	for i := 0; i+8 <= len(name); i++ {
		if i > 0 && digit(name[i-1]) {
			continue
		}
		if t, ok := dateAt(name[i:]); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

// dateAt reads the date that s begins with.
func dateAt(s string) (time.Time, bool) {
	year, ok := number(s, 4)
	if !ok {
		return time.Time{}, false
	}
	// 20240131, 2024-01-31, 2024_01_31, 2024.01.31; the separator is the same twice.
	sep := ""
	if strings.IndexByte("-_.:", s[4]) >= 0 {
		sep = s[4:5]
	}
	fields, rest, ok := twoDigits(s[4:], sep, sep)
	if !ok {
		return time.Time{}, false
	}
	hour, minute, second := 0, 0, 0
	if rest != "" && digit(rest[0]) {
		// 20240131123456 is a date and time; digits of another number than six are not.
		clock, after, ok := twoDigits(rest, "", "", "")
		if !ok || sep != "" || after != "" && digit(after[0]) && !millis(after) || !validClock(clock) {
			return time.Time{}, false
		}
		hour, minute, second = clock[0], clock[1], clock[2]
	} else if clock, ok := clockAfter(rest); ok {
		hour, minute, second = clock[0], clock[1], clock[2]
	}
	t := time.Date(year, time.Month(fields[0]), fields[1], hour, minute, second, 0, time.UTC)
	if t.Month() != time.Month(fields[0]) || t.Day() != fields[1] || !plausible(t) {
		return time.Time{}, false // 31 April
	}
	return t, true
}

// clockAfter reads the time of day between a date and the rest of a name, as "_123456", " at 12.34.56", "T12-34-56" or
// "-12-34". An hour before PM is one of the afternoon.
func clockAfter(s string) (clock [3]int, ok bool) {
	gap := strings.TrimLeft(s, " _-.,T")
	gap = strings.TrimPrefix(gap, "at ")
	if len(gap) == len(s) {
		return clock, false
	}
	var rest string
	one := len(gap) > 1 && digit(gap[0]) && !digit(gap[1]) // 9.05.00 AM
	if one {
		gap = "0" + gap
	}
	var fields [3]int
	if fields, rest, ok = twoDigits(gap, "", "", ""); !ok && len(gap) > 2 && strings.IndexByte(".-_:", gap[2]) >= 0 {
		sep := gap[2:3]
		if fields, rest, ok = twoDigits(gap, "", sep, sep); !ok {
			fields, rest, ok = twoDigits(gap, "", sep)
		}
	}
	if !ok || rest != "" && digit(rest[0]) && !millis(rest) {
		return clock, false
	}
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, " "), "\u202f") // macOS sets a narrow space before PM
	if len(rest) >= 2 && strings.EqualFold(rest[1:2], "m") && fields[0] >= 1 && fields[0] <= 12 {
		switch rest[0] {
		case 'P', 'p':
			fields[0] = fields[0]%12 + 12
		case 'A', 'a':
			fields[0] %= 12
		}
	}
	return fields, validClock(fields)
}

// millis reports whether s begins with three digits and no more, as Pixel phones end their times.
func millis(s string) bool {
	_, ok := number(s, 3)
	return ok && (len(s) == 3 || !digit(s[3]))
}

func validClock(c [3]int) bool { return c[0] < 24 && c[1] < 60 && c[2] < 60 }

// twoDigits reads numbers of two digits, each after its separator.
func twoDigits(s string, seps ...string) (fields [3]int, rest string, ok bool) {
	for i, sep := range seps {
		if !strings.HasPrefix(s, sep) {
			return fields, "", false
		}
		s = s[len(sep):]
		if fields[i], ok = number(s, 2); !ok {
			return fields, "", false
		}
		s = s[2:]
	}
	return fields, s, true
}

func number(s string, digits int) (n int, ok bool) {
	if len(s) < digits {
		return 0, false
	}
	for i := range digits {
		if !digit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
