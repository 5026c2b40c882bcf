package metadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Music is read here rather than by a library: those there are load every cover into memory, do not tell how long a piece
// lasts, or are not looked after.

const tagBytes = 1 << 20 // of the names and values of a file's tags

// audioTags collects what the tags of a file say. What is said first counts.
type audioTags struct {
	facts facts
	left  int // bytes of values
}

func newAudioTags() *audioTags { return &audioTags{facts{}, tagBytes} }

// set takes a value as tags of all kinds write it.
func (t *audioTags) set(key, value string) {
	value = strings.TrimSpace(strings.Trim(value, "\x00"))
	if value == "" || t.facts["audio."+key] != nil || !utf8.ValidString(value) {
		return
	}
	if t.left -= len(value); t.left < 0 {
		return
	}
	switch key {
	case "year", "track", "disc":
		// 3/12 and 2003-04-05: the first number.
		digits := 0
		for digits < len(value) && digits < 9 && digit(value[digits]) {
			digits++
		}
		if n, err := strconv.ParseInt(value[:digits], 10, 64); err == nil && n > 0 && (key != "year" || digits == 4) {
			t.facts["audio."+key] = n
		}
	default:
		t.facts["audio."+key] = value
	}
}

func (t *audioTags) duration(seconds float64) {
	if seconds > 0 && !math.IsInf(seconds, 0) {
		t.facts["audio.duration"] = math.Round(seconds*1000) / 1000
	}
}

func readAudio(s *source, name string) (facts, error) {
	b, err := s.head(64)
	if err != nil {
		return nil, err
	}
	t := newAudioTags()
	start := int64(0)
	if has(b, 0, "ID3") {
		if start, err = t.id3v2(s, 0); err != nil {
			return nil, err
		}
		b = make([]byte, 64)
		n, err := s.ReadAt(b, start)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		b = b[:n]
	}
	switch {
	case has(b, 0, "fLaC"):
		err = t.flac(s, start+4)
	case has(b, 0, "OggS"):
		if err := t.ogg(s); err != nil || len(t.facts) == 0 {
			return nil, err
		}
	case has(b, 0, "RIFF") && has(b, 8, "WAVE"):
		err = t.wave(s)
	case has(b, 0, "FORM") && (has(b, 8, "AIFF") || has(b, 8, "AIFC")):
		err = t.aiff(s)
	case isHEIF(b), has(b, 4, "ftypcrx "):
		return nil, nil
	case has(b, 4, "ftyp"):
		m, merr := readMP4(s)
		if merr != nil || !m.sound || m.video && !has(b, 8, "M4A ") && !has(b, 8, "M4B ") {
			return nil, merr
		}
		t.mp4(s, m)
	case has(b, 0, "MAC "), has(b, 0, "wvpk"), has(b, 0, "MPCK"), has(b, 0, "MP+"), has(b, 0, "DSD "), has(b, 0, "TTA1"), has(b, 0, asf),
		has(b, 0, "ADIF"), len(b) > 1 && b[0] == 0xff && b[1]&0xf6 == 0xf0: // AAC
		return nil, ErrUnsupported
	case start > 0 || isMP3(s, b, extension(name)):
		err = t.mp3(s, start)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t.facts, nil
}

// asf begins Windows Media files, with sound or pictures.
const asf = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"

// An mp3Frame is the header of a piece of sound (ISO/IEC 11172-3, 13818-3).
type mp3Frame struct {
	version, layer int // 0 is 1, 1 is 2, 2 is 2.5
	bitrate, rate  int // bits and samples per second
	samples, size  int64
	mono           bool
}

func parseMP3(b []byte) (f mp3Frame, ok bool) {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return f, false
	}
	switch b[1] >> 3 & 3 {
	case 0:
		f.version = 2
	case 2:
		f.version = 1
	case 1:
		return f, false
	}
	f.layer = 4 - int(b[1]>>1&3)
	if f.layer == 4 || b[2]>>4 == 15 || b[2]>>4 == 0 || b[2]>>2&3 == 3 {
		return f, false
	}
	f.bitrate = mp3Bitrates[min(f.version, 1)][f.layer-1][b[2]>>4] * 1000
	f.rate = [3]int{44100, 48000, 32000}[b[2]>>2&3] >> f.version
	padding := int64(b[2] >> 1 & 1)
	f.mono = b[3]>>6 == 3
	switch {
	case f.layer == 1:
		f.samples = 384
		f.size = (12*int64(f.bitrate)/int64(f.rate) + padding) * 4
	case f.layer == 3 && f.version > 0:
		f.samples = 576
		f.size = 72*int64(f.bitrate)/int64(f.rate) + padding
	default:
		f.samples = 1152
		f.size = 144*int64(f.bitrate)/int64(f.rate) + padding
	}
	return f, f.size > 4
}

var mp3Bitrates = [2][3][15]int{
	{
		{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
		{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
	},
	{
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
	},
}

// isMP3 wants two frames in a row, unless the name says what it is: the two bytes that begin one are found in anything.
func isMP3(s *source, b []byte, ext string) bool {
	f, ok := parseMP3(b)
	if !ok || ext == "mp3" {
		return ok
	}
	var next [4]byte
	if s.readAt(next[:], f.size) != nil {
		return false
	}
	g, ok := parseMP3(next[:])
	return ok && g.version == f.version && g.layer == f.layer && g.rate == f.rate
}

// mp3 reads the rest of an MP3 behind its ID3v2 tag: how long it lasts, and the old tag at its end.
func (t *audioTags) mp3(s *source, start int64) error {
	end := s.size
	var v1 [128]byte
	if s.size >= 128 && s.readAt(v1[:], s.size-128) == nil && has(v1[:], 0, "TAG") {
		end -= 128
		t.id3v1(v1[:])
	}
	if s.err != nil {
		return s.err
	}
	// Padding, or another tag, may lie in front of the first frame.
	at := start
	var f mp3Frame
	buf := make([]byte, 4096)
search:
	for ; at < min(end, start+256<<10); at += int64(len(buf)) - 3 {
		n, err := s.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for i := 0; i+4 <= n; i++ {
			skip := bytes.IndexByte(buf[i:n], 0xff)
			if i += skip; skip < 0 || i+4 > n {
				break
			}
			if first, ok := parseMP3(buf[i:]); ok {
				var next [4]byte
				following := at + int64(i) + first.size
				if following+4 > end {
					f, at = first, at+int64(i)
					break search
				}
				if err := s.readAt(next[:], following); err != nil {
					return err
				}
				if second, ok := parseMP3(next[:]); ok && second.version == first.version && second.layer == first.layer {
					f, at = first, at+int64(i)
					break search
				}
			}
		}
		if n < len(buf) {
			break
		}
	}
	if f.size == 0 {
		return nil // tags without sound: no damage to what they say
	}
	// Encoders put the number of frames into the first one, behind the room for side information.
	var first [64]byte
	if s.readAt(first[:], at) == nil {
		side := 36
		if f.version > 0 != f.mono {
			side = 21
		} else if f.version > 0 {
			side = 13
		}
		if has(first[:], side, "Xing") || has(first[:], side, "Info") {
			if flags := first[side+7]; flags&1 != 0 {
				frames := int64(binary.BigEndian.Uint32(first[side+8:]))
				t.duration(float64(frames*f.samples) / float64(f.rate))
				return nil
			}
		}
		if has(first[:], 36, "VBRI") {
			t.duration(float64(int64(binary.BigEndian.Uint32(first[50:]))*f.samples) / float64(f.rate))
			return nil
		}
	}
	// Without it all frames are counted, unless the first hundred are alike.
	var samples int64
	bitrate, begin := f.bitrate, at
	for n := 0; at+4 <= end; n++ {
		if n == 100 && bitrate > 0 {
			t.duration(float64(end-begin) * 8 / float64(bitrate))
			return nil
		}
		var h [4]byte
		if err := s.readAt(h[:], at); err != nil {
			return err
		}
		g, ok := parseMP3(h[:])
		if !ok {
			break
		}
		if g.bitrate != bitrate {
			bitrate = 0
		}
		samples += g.samples
		at += g.size
	}
	t.duration(float64(samples) / float64(f.rate))
	return s.err
}

// flac reads the blocks in front of the sound (RFC 9639).
func (t *audioTags) flac(s *source, at int64) error {
	for range 200 {
		var h [4]byte
		if err := s.readAt(h[:], at); err != nil {
			return err
		}
		at += 4
		size := int64(binary.BigEndian.Uint32(h[:]) & 0xffffff)
		switch h[0] & 0x7f {
		case 0: // what the sound is like
			var b [18]byte
			if err := s.readAt(b[:], at); err != nil {
				return err
			}
			v := binary.BigEndian.Uint64(b[10:])
			if rate := v >> 44; rate > 0 {
				t.duration(float64(v&(1<<36-1)) / float64(rate))
			}
		case 4:
			b := make([]byte, min(size, tagBytes))
			if err := s.readAt(b, at); err != nil {
				return err
			}
			t.vorbis(b)
		}
		if at += size; h[0]&0x80 != 0 {
			return nil
		}
	}
	return ErrDamaged
}

var vorbisKeys = map[string]string{
	"ARTIST": "artist", "ALBUMARTIST": "albumartist", "ALBUM ARTIST": "albumartist", "ALBUM": "album", "TITLE": "title",
	"GENRE": "genre", "COMPOSER": "composer", "DATE": "year", "YEAR": "year", "TRACKNUMBER": "track", "TRACK": "track", "DISCNUMBER": "disc",
	"DISC": "disc",
}

// vorbis reads comments (Ogg Vorbis I format specification, 5). They may be cut: covers are comments as well.
func (t *audioTags) vorbis(b []byte) {
	number := func() (n int, ok bool) {
		if len(b) < 4 {
			return 0, false
		}
		v := binary.LittleEndian.Uint32(b)
		b = b[4:]
		return int(v), int64(v) <= int64(len(b))
	}
	vendor, ok := number()
	if !ok {
		return
	}
	b = b[vendor:]
	if len(b) < 4 {
		return
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	values := map[string][]string{}
	var order []string
	for range n {
		size, ok := number()
		if !ok {
			break
		}
		name, value, found := strings.Cut(string(b[:min(size, 1000)]), "=")
		if key := vorbisKeys[strings.ToUpper(name)]; found && key != "" {
			if len(values[key]) == 0 {
				order = append(order, key)
			}
			if size > 1000 {
				_, value, _ = strings.Cut(string(b[:size]), "=")
			}
			values[key] = append(values[key], value)
		}
		b = b[size:]
	}
	for _, key := range order {
		if key == "year" || key == "track" || key == "disc" {
			t.set(key, values[key][0])
		} else {
			t.set(key, strings.Join(values[key], "; "))
		}
	}
}

const oggPacketBytes = tagBytes + 64<<10

// ogg reads the first two packets, which tell the codec and the comments, and the time of the last page (RFC 3533).
func (t *audioTags) ogg(s *source) error {
	var packets [][]byte
	var packet []byte
	var serial uint32
	at := int64(0)
	for pages := 0; len(packets) < 2 && pages < 2000; pages++ {
		var h [27]byte
		if err := s.readAt(h[:], at); err != nil {
			return err
		}
		if !has(h[:], 0, "OggS") {
			return ErrDamaged
		}
		segments := make([]byte, h[26])
		if err := s.readAt(segments, at+27); err != nil {
			return err
		}
		at += 27 + int64(len(segments))
		id := binary.LittleEndian.Uint32(h[14:])
		if pages == 0 {
			serial = id
		}
		for i := 0; i < len(segments); {
			size, ends := 0, false
			for i < len(segments) && !ends {
				size += int(segments[i])
				ends = segments[i] < 255
				i++
			}
			if id == serial && len(packets) < 2 {
				room := min(size, oggPacketBytes-len(packet))
				b := make([]byte, room)
				if err := s.readAt(b, at); err != nil {
					return err
				}
				packet = append(packet, b...)
				if full := len(packet) >= oggPacketBytes; ends || full {
					packets = append(packets, packet)
					packet = nil
				}
			}
			at += int64(size)
		}
	}
	if len(packets) < 2 {
		return ErrDamaged
	}
	head, comments := packets[0], packets[1]
	var rate, skip float64
	switch {
	case has(head, 0, "\x01vorbis") && len(head) >= 30:
		rate = float64(binary.LittleEndian.Uint32(head[12:]))
		t.vorbis(bytes.TrimPrefix(comments, []byte("\x03vorbis")))
	case has(head, 0, "OpusHead") && len(head) >= 19:
		rate, skip = 48000, float64(binary.LittleEndian.Uint16(head[10:]))
		t.vorbis(bytes.TrimPrefix(comments, []byte("OpusTags")))
	case has(head, 0, "\x7fFLAC") && len(head) >= 35:
		rate = float64(binary.BigEndian.Uint64(head[27:]) >> 44)
		if len(comments) > 4 {
			t.vorbis(comments[4:])
		}
	case has(head, 0, "\x80theora"), has(head, 0, "BBCD\x00"), has(head, 0, "fishead"): // films
		return nil
	default:
		return ErrUnsupported
	}
	// A page has at most 64 KiB.
	tail := make([]byte, min(s.size, 66<<10))
	if err := s.readAt(tail, s.size-int64(len(tail))); err != nil {
		return err
	}
	for i := len(tail); rate > 0; {
		if i = bytes.LastIndex(tail[:i], []byte("OggS")); i < 0 {
			break
		}
		if len(tail)-i >= 27 && binary.LittleEndian.Uint32(tail[i+14:]) == serial {
			if granule := int64(binary.LittleEndian.Uint64(tail[i+6:])); granule > 0 {
				t.duration((float64(granule) - skip) / rate)
				break
			}
		}
	}
	return nil
}

// chunks calls f for the parts of a RIFF or AIFF file, which order says how to read, up to the first error.
func chunks(s *source, at, end int64, order binary.ByteOrder, f func(kind string, body, size int64) error) error {
	for n := 0; at+8 <= end && n < 10_000; n++ {
		var h [8]byte
		if err := s.readAt(h[:], at); err != nil {
			return err
		}
		size := int64(order.Uint32(h[4:]))
		if err := f(string(h[:4]), at+8, min(size, end-at-8)); err != nil {
			return err
		}
		at += 8 + size + size&1
	}
	return nil
}

var infoKeys = map[string]string{
	"IART": "artist", "IPRD": "album", "INAM": "title", "IGNR": "genre", "ICRD": "year", "ITRK": "track", "IPRT": "track", "IMUS": "composer",
}

func (t *audioTags) wave(s *source) error {
	var perSecond, bytes int64
	err := chunks(s, 12, s.size, binary.LittleEndian, func(kind string, body, size int64) error {
		switch kind {
		case "fmt ":
			var b [16]byte
			if err := s.readAt(b[:], body); err != nil {
				return err
			}
			perSecond = int64(binary.LittleEndian.Uint32(b[8:]))
		case "data":
			bytes = size
		case "id3 ", "ID3 ":
			_, err := t.id3v2(s, body)
			return err
		case "LIST":
			var b [4]byte
			if size < 4 || s.readAt(b[:], body) != nil || string(b[:]) != "INFO" {
				return s.err
			}
			return chunks(s, body+4, body+size, binary.LittleEndian, func(kind string, body, size int64) error {
				if key := infoKeys[kind]; key != "" {
					return t.setAt(s, key, body, size)
				}
				return nil
			})
		}
		return nil
	})
	if perSecond > 0 {
		t.duration(float64(bytes) / float64(perSecond))
	}
	return err
}

func (t *audioTags) setAt(s *source, key string, at, size int64) error {
	b := make([]byte, min(size, maxText))
	if err := s.readAt(b, at); err != nil {
		return err
	}
	t.set(key, latin1OrUTF8(b))
	return nil
}

func (t *audioTags) aiff(s *source) error {
	return chunks(s, 12, s.size, binary.BigEndian, func(kind string, body, size int64) error {
		switch kind {
		case "COMM":
			var b [18]byte
			if err := s.readAt(b[:], body); err != nil {
				return err
			}
			// The rate is a float of 80 bits.
			rate := math.Ldexp(float64(binary.BigEndian.Uint64(b[10:])), int(binary.BigEndian.Uint16(b[8:])&0x7fff)-16383-63)
			if rate > 0 {
				t.duration(float64(binary.BigEndian.Uint32(b[2:])) / rate)
			}
		case "ID3 ":
			_, err := t.id3v2(s, body)
			return err
		case "NAME":
			return t.setAt(s, "title", body, size)
		case "AUTH":
			return t.setAt(s, "artist", body, size)
		}
		return nil
	})
}

// latin1OrUTF8 reads text of tags that do not say how they are written.
func latin1OrUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}
