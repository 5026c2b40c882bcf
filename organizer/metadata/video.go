package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

func readVideo(s *source, _ string) (facts, error) {
	b, err := s.head(16)
	if err != nil {
		return nil, err
	}
	switch {
	case isHEIF(b), has(b, 4, "ftypcrx "), has(b, 4, "ftypM4A "), has(b, 4, "ftypM4B "):
		return nil, nil
	case has(b, 4, "ftyp"), has(b, 4, "moov"), has(b, 4, "mdat"), has(b, 4, "wide"), has(b, 4, "free"), has(b, 4, "skip"), has(b, 4, "pnot"):
		m, err := readMP4(s)
		if err != nil || !m.video {
			return nil, err
		}
		f := film(m.width, m.height, m.seconds)
		if m.seconds == 0 && m.fragmented && f != nil {
			f["video.duration"] = fmt.Errorf("%w: a film in fragments that does not say how long they are", ErrUnsupported)
		}
		return f, nil
	case has(b, 0, "\x1a\x45\xdf\xa3"):
		return readMatroska(s)
	case has(b, 0, "RIFF") && has(b, 8, "AVI "):
		return readAVI(s)
	case has(b, 0, asf), has(b, 0, "FLV\x01"), has(b, 0, "\x00\x00\x01\xba"), has(b, 0, "\x00\x00\x01\xb3"), has(b, 0, ".RMF"):
		return nil, ErrUnsupported
	case has(b, 0, "G") && s.size > 2*188:
		var packet [1]byte
		if s.readAt(packet[:], 188) == nil && packet[0] == 'G' { // an MPEG transport stream
			return nil, ErrUnsupported
		}
	case has(b, 0, "OggS"): // with a film in it, unless it is sound
		if sound, err := readAudio(s, ""); sound == nil && err == nil {
			return nil, ErrUnsupported
		}
	}
	return nil, s.err
}

func film(width, height int64, seconds float64) facts {
	f := sized("video", width, height)
	if seconds > 0 && !math.IsInf(seconds, 0) && !math.IsNaN(seconds) {
		if f == nil {
			f = facts{}
		}
		f["video.duration"] = math.Round(seconds*1000) / 1000
	}
	return f
}

// mp4Header is what a film's or a piece's header says.
type mp4Header struct {
	seconds       float64
	width, height int64 // of the first picture, as shown
	video, sound  bool
	fragmented    bool   // the times are not in the header
	lists         []span // of tags
}

type span struct{ at, end int64 }

var errNoMoov = errors.New("no header of a film")

func readMP4(s *source) (*mp4Header, error) {
	m := &mp4Header{}
	found := false
	var scale, ticks, fragments float64
	var width, height int64 // of the track at hand
	w := boxes{readAt: s.readAt}
	w.visit = func(kind string, body, end int64, depth int) {
		switch kind {
		case "moov":
			found = true
			w.walk(body, end, depth+1)
		case "mdia", "udta", "mvex":
			m.fragmented = m.fragmented || kind == "mvex"
			w.walk(body, end, depth+1)
		case "trak":
			width, height = 0, 0
			w.walk(body, end, depth+1)
		case "meta":
			w.walkMeta(body, end, depth)
		case "ilst":
			m.lists = append(m.lists, span{body, end})
		case "mvhd":
			scale, ticks = mp4Time(s, body, end)
		case "mehd":
			var b [12]byte
			if end-body >= 8 && s.readAt(b[:min(12, end-body)], body) == nil {
				if fragments = float64(binary.BigEndian.Uint32(b[4:])); b[0] == 1 {
					fragments = float64(binary.BigEndian.Uint64(b[4:]))
				}
			}
		case "tkhd":
			width, height = mp4Size(s, body, end)
		case "hdlr":
			var b [12]byte
			if depth < 2 || s.readAt(b[:], body) != nil {
				return
			}
			switch string(b[8:]) {
			case "vide":
				if !m.video {
					m.width, m.height = width, height
				}
				m.video = true
			case "soun":
				m.sound = true
			}
		}
	}
	w.walk(0, s.size, 0)
	if s.err != nil {
		return nil, s.err
	}
	if !found {
		return nil, errNoMoov
	}
	if ticks == 0 {
		ticks = fragments
	}
	if scale > 0 {
		m.seconds = ticks / scale
	}
	return m, nil
}

// mp4Time reads the ticks in a second and of the whole from mvhd.
func mp4Time(s *source, body, end int64) (scale, ticks float64) {
	var b [32]byte
	if end-body < 20 || s.readAt(b[:min(int64(len(b)), end-body)], body) != nil {
		return 0, 0
	}
	if b[0] == 1 {
		scale, ticks = float64(binary.BigEndian.Uint32(b[20:])), float64(binary.BigEndian.Uint64(b[24:]))
		if binary.BigEndian.Uint64(b[24:]) == math.MaxUint64 {
			ticks = 0
		}
		return scale, ticks
	}
	if ticks = float64(binary.BigEndian.Uint32(b[16:])); ticks == math.MaxUint32 {
		ticks = 0 // not known
	}
	return float64(binary.BigEndian.Uint32(b[12:])), ticks
}

// mp4Size reads the size of a track's picture as its matrix turns it, from tkhd.
func mp4Size(s *source, body, end int64) (width, height int64) {
	var version [1]byte
	if s.readAt(version[:], body) != nil {
		return 0, 0
	}
	at := body + 40
	if version[0] == 1 {
		at += 12
	}
	var b [44]byte
	if at+int64(len(b)) > end || s.readAt(b[:], at) != nil {
		return 0, 0
	}
	width, height = int64(binary.BigEndian.Uint32(b[36:])>>16), int64(binary.BigEndian.Uint32(b[40:])>>16)
	// A quarter turn leaves nothing on the matrix's diagonal.
	if binary.BigEndian.Uint32(b[0:]) == 0 && binary.BigEndian.Uint32(b[4:]) != 0 {
		width, height = height, width
	}
	return width, height
}

var mp4Keys = map[string]string{
	"\xa9ART": "artist", "aART": "albumartist", "\xa9alb": "album", "\xa9nam": "title", "\xa9gen": "genre", "gnre": "genre",
	"\xa9wrt": "composer", "\xa9day": "year", "trkn": "track", "disk": "disc",
}

// mp4 reads the tags of a piece.
func (t *audioTags) mp4(s *source, m *mp4Header) {
	t.duration(m.seconds)
	key := ""
	w := boxes{readAt: s.readAt}
	w.visit = func(kind string, body, end int64, depth int) {
		if depth == 1 {
			if key = mp4Keys[kind]; key != "" {
				w.walk(body, end, depth+1)
			}
			return
		}
		if kind != "data" || end-body < 8 {
			return
		}
		b := make([]byte, min(end-body, maxText+8))
		if s.readAt(b, body) != nil {
			return
		}
		value := b[8:]
		switch {
		case key == "track" || key == "disc":
			if len(value) >= 4 {
				t.set(key, strconv.Itoa(int(binary.BigEndian.Uint16(value[2:]))))
			}
		case key == "genre" && binary.BigEndian.Uint32(b) == 0: // a number of ID3v1, from 1
			if n := int(binary.BigEndian.Uint16(append(value, 0, 0))); n >= 1 && n <= len(genres) {
				t.set(key, genres[n-1])
			}
		default:
			t.set(key, latin1OrUTF8(value))
		}
	}
	for _, list := range m.lists {
		w.walk(list.at, list.end, 1)
	}
}

// Elements of Matroska (RFC 9559).
const (
	mkvSegment, mkvInfo, mkvScale, mkvDuration       = 0x18538067, 0x1549a966, 0x2ad7b1, 0x4489
	mkvTracks, mkvTrack, mkvVideo, mkvCluster        = 0x1654ae6b, 0xae, 0xe0, 0x1f43b675
	mkvWidth, mkvHeight, mkvShownWidth, mkvShownHigh = 0xb0, 0xba, 0x54b0, 0x54ba
	mkvSeekHead, mkvSeek, mkvSeekID, mkvSeekPosition = 0x114d9b74, 0x4dbb, 0x53ab, 0x53ac
	mkvShownUnit                                     = 0x54b2
)

type matroska struct {
	s                       *source
	n                       int
	begin                   int64 // of what is in the segment
	scale, ticks            float64
	width, height           int64
	shownWidth, shownHeight int64
	unit                    int64
	tracks, info            bool
	seekID, seek, tracksAt  int64
}

func readMatroska(s *source) (facts, error) {
	m := &matroska{s: s, scale: 1e6}
	m.walk(0, s.size, 0)
	// Rarely, the tracks lie behind the film.
	if !m.tracks && m.tracksAt > 0 {
		m.walk(m.begin+m.tracksAt, s.size, 1)
	}
	if s.err != nil {
		return nil, s.err
	}
	if !m.info && !m.tracks {
		return nil, ErrDamaged
	}
	if m.width == 0 {
		return nil, nil // sound only
	}
	if m.shownWidth > 0 && m.shownHeight > 0 && m.unit == 0 {
		m.width, m.height = m.shownWidth, m.shownHeight
	}
	return film(m.width, m.height, m.ticks*m.scale/1e9), nil
}

// number reads a number of EBML; with its marker it is the id of an element.
func (m *matroska) number(at int64, marker bool) (v uint64, next int64, ok bool) {
	var b [8]byte
	n, _ := m.s.ReadAt(b[:], at)
	if n == 0 || b[0] == 0 {
		return 0, 0, false
	}
	size := 1
	for mask := byte(0x80); b[0]&mask == 0; mask >>= 1 {
		size++
	}
	if size > n {
		return 0, 0, false
	}
	for _, c := range b[:size] {
		v = v<<8 | uint64(c)
	}
	if !marker {
		v &= 1<<(7*size) - 1
		if v == 1<<(7*size)-1 {
			v = math.MaxInt64 // not known: up to the end
		}
	}
	return v, at + int64(size), true
}

func (m *matroska) walk(at, end int64, depth int) {
	for at < end && depth < 6 {
		if m.n++; m.n > 5000 {
			return
		}
		id, next, ok := m.number(at, true)
		if !ok {
			return
		}
		size, body, ok := m.number(next, false)
		if !ok {
			return
		}
		stop := end
		if size < uint64(end-body) {
			stop = body + int64(size)
		}
		if id == mkvCluster && depth <= 1 {
			return // the film itself
		}
		m.visit(id, body, stop, depth)
		if m.tracks && m.info && depth == 1 {
			return
		}
		at = stop
	}
}

func (m *matroska) visit(id uint64, body, end int64, depth int) {
	switch id {
	case mkvSegment:
		m.begin = body
		m.walk(body, end, depth+1)
	case mkvInfo:
		m.walk(body, end, depth+1)
		m.info = true
	case mkvTracks:
		m.walk(body, end, depth+1)
		m.tracks = true
	case mkvTrack, mkvSeekHead:
		m.walk(body, end, depth+1)
	case mkvVideo:
		if m.width == 0 {
			m.walk(body, end, depth+1)
		}
	case mkvSeek:
		m.seekID, m.seek = 0, 0
		m.walk(body, end, depth+1)
		if m.seekID == mkvTracks {
			m.tracksAt = m.seek
		}
	case mkvScale:
		m.scale = float64(m.uint(body, end))
	case mkvDuration:
		m.ticks = m.float(body, end)
	case mkvWidth:
		m.width = m.uint(body, end)
	case mkvHeight:
		m.height = m.uint(body, end)
	case mkvShownWidth:
		m.shownWidth = m.uint(body, end)
	case mkvShownHigh:
		m.shownHeight = m.uint(body, end)
	case mkvShownUnit:
		m.unit = m.uint(body, end)
	case mkvSeekID:
		m.seekID = m.uint(body, end)
	case mkvSeekPosition:
		m.seek = m.uint(body, end)
	}
}

func (m *matroska) uint(body, end int64) int64 {
	var b [8]byte
	n := end - body
	if n < 1 || n > 8 || m.s.readAt(b[8-n:], body) != nil {
		return 0
	}
	v := binary.BigEndian.Uint64(b[:])
	if v > 1<<48 {
		return 0
	}
	return int64(v)
}

func (m *matroska) float(body, end int64) float64 {
	var b [8]byte
	switch n := end - body; {
	case n == 4 && m.s.readAt(b[:4], body) == nil:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b[:])))
	case n == 8 && m.s.readAt(b[:], body) == nil:
		return math.Float64frombits(binary.BigEndian.Uint64(b[:]))
	}
	return 0
}

// readAVI reads the header of an AVI: that of the whole, and of the film as OpenDML extends it.
func readAVI(s *source) (facts, error) {
	var width, height int64
	var perFrame, frames float64
	found := false
	var list func(body, size int64, depth int) error
	list = func(body, size int64, depth int) error {
		var b [4]byte
		if size < 4 || depth > 3 || s.readAt(b[:], body) != nil {
			return s.err
		}
		if kind := string(b[:]); kind != "hdrl" && kind != "odml" {
			return nil
		}
		return chunks(s, body+4, body+size, binary.LittleEndian, func(kind string, body, size int64) error {
			switch kind {
			case "LIST":
				return list(body, size, depth+1)
			case "avih":
				var h [40]byte
				if err := s.readAt(h[:], body); err != nil {
					return err
				}
				found = true
				le := binary.LittleEndian
				perFrame, frames = float64(le.Uint32(h[:])), float64(le.Uint32(h[16:]))
				width, height = int64(le.Uint32(h[32:])), int64(le.Uint32(h[36:]))
			case "dmlh":
				var h [4]byte
				if s.readAt(h[:], body) == nil {
					frames = max(frames, float64(binary.LittleEndian.Uint32(h[:])))
				}
			}
			return nil
		})
	}
	err := chunks(s, 12, s.size, binary.LittleEndian, func(kind string, body, size int64) error {
		if kind == "LIST" {
			if err := list(body, size, 0); err != nil {
				return err
			}
			if found {
				return io.EOF
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !found {
		return nil, ErrDamaged
	}
	return film(width, height, perFrame*frames/1e6), nil
}
