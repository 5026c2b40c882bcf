package metadata

import (
	"bytes"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Frames of ID3v2.2, and of 2.3 and 2.4.
var id3Keys = map[string]string{
	"TP1": "artist", "TP2": "albumartist", "TAL": "album", "TT2": "title", "TCO": "genre", "TCM": "composer", "TYE": "year", "TRK": "track", "TPA": "disc",
	"TPE1": "artist", "TPE2": "albumartist", "TALB": "album", "TIT2": "title", "TCON": "genre", "TCOM": "composer", "TYER": "year", "TDRC": "year",
	"TRCK": "track", "TPOS": "disc",
}

const (
	id3Text   = 64 << 10 // of one frame
	id3Whole  = 16 << 20 // of a tag that must be read whole
	id3Frames = 5000
)

// id3v2 reads the tag at an offset and returns where it ends. Covers and all else that is not asked for is passed over.
func (t *audioTags) id3v2(s *source, at int64) (end int64, err error) {
	var h [10]byte
	if err := s.readAt(h[:], at); err != nil {
		return 0, err
	}
	size := int64(synchsafe(h[6:]))
	version, flags := h[3], h[5]
	body := at + 10
	if end = body + size; flags&0x10 != 0 && version == 4 {
		end += 10 // a footer
	}
	if !has(h[:], 0, "ID3") || version < 2 || version > 4 {
		return end, nil // what a later version means is not known, but its size is
	}
	var r io.ReaderAt = s
	stop := min(body+size, s.size)
	if flags&0x80 != 0 && version < 4 { // zeros were put in, all over
		if size > id3Whole {
			return 0, s.fail("too large a tag")
		}
		b := make([]byte, stop-body)
		if err := s.readAt(b, body); err != nil {
			return 0, err
		}
		b = synchronise(b)
		r, body, stop = bytes.NewReader(b), 0, int64(len(b))
	}
	if flags&0x40 != 0 && version > 2 { // an extended header
		var b [4]byte
		if _, err := r.ReadAt(b[:], body); err != nil {
			return end, nil
		}
		if version == 4 {
			body += int64(synchsafe(b[:]))
		} else {
			body += 4 + int64(binary.BigEndian.Uint32(b[:]))
		}
	}
	nameBytes, headBytes := int64(4), int64(10)
	if version == 2 {
		nameBytes, headBytes = 3, 6
	}
	for n := 0; body+headBytes <= stop && n < id3Frames; n++ {
		var b [10]byte
		if _, err := r.ReadAt(b[:headBytes], body); err != nil {
			break
		}
		if b[0] == 0 {
			break // padding
		}
		var size int64
		var frameFlags byte
		switch version {
		case 2:
			size = int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5])
		case 3:
			size = int64(binary.BigEndian.Uint32(b[4:]))
			frameFlags = b[9] & 0xc0 // compressed, encrypted
		case 4:
			size = int64(synchsafe(b[4:]))
			// Some programs write plain sizes there; then what follows is a frame only by them.
			if plain := int64(binary.BigEndian.Uint32(b[4:])); plain != size && !isFrame(r, body+10+size, stop) && isFrame(r, body+10+plain, stop) {
				size = plain
			}
			frameFlags = b[9] & 0x0c
		}
		body += headBytes
		if size <= 0 || size > stop-body {
			break
		}
		if key := id3Keys[string(b[:nameBytes])]; key != "" && size <= id3Text && frameFlags == 0 {
			text := make([]byte, size)
			if _, err := r.ReadAt(text, body); err != nil {
				break
			}
			if version == 4 {
				if b[9]&1 != 0 && len(text) >= 4 { // its length once more
					text = text[4:]
				}
				if b[9]&2 != 0 {
					text = synchronise(text)
				}
			}
			value := id3String(text)
			if key == "genre" {
				value = id3Genre(value)
			}
			t.set(key, value)
		}
		body += size
	}
	return end, s.err
}

// isFrame reports whether a frame begins at an offset, or the tag ends there.
func isFrame(r io.ReaderAt, at, stop int64) bool {
	if at >= stop {
		return at == stop
	}
	var b [4]byte
	if _, err := r.ReadAt(b[:], at); err != nil {
		return false
	}
	if b == [4]byte{} {
		return true
	}
	for _, c := range b {
		if (c < 'A' || c > 'Z') && !digit(c) {
			return false
		}
	}
	return true
}

func synchsafe(b []byte) uint32 {
	return uint32(b[0]&0x7f)<<21 | uint32(b[1]&0x7f)<<14 | uint32(b[2]&0x7f)<<7 | uint32(b[3]&0x7f)
}

// synchronise takes out the zeros that keep a tag from looking like sound.
func synchronise(b []byte) []byte { return bytes.ReplaceAll(b, []byte{0xff, 0}, []byte{0xff}) }

// id3String reads text with its encoding in front. Several values are joined.
func id3String(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	var s string
	switch b[0] {
	case 0:
		s = latin1OrUTF8(b[1:]) // many programs write UTF-8 and say Latin-1
	case 1, 2:
		var order binary.ByteOrder = binary.BigEndian
		b16 := b[1:]
		if has(b16, 0, "\xff\xfe") {
			order = binary.LittleEndian
		} else if b[0] == 1 && !has(b16, 0, "\xfe\xff") {
			order = binary.LittleEndian // as most that forget the mark
		}
		var units []uint16
		for ; len(b16) >= 2; b16 = b16[2:] {
			if u := order.Uint16(b16); u != 0xfeff {
				units = append(units, u)
			}
		}
		s = string(utf16.Decode(units))
	case 3:
		s = string(b[1:])
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == 0 }), "; ")
}

func (t *audioTags) id3v1(b []byte) {
	text := func(b []byte) string {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b = b[:i]
		}
		return latin1OrUTF8(b)
	}
	t.set("title", text(b[3:33]))
	t.set("artist", text(b[33:63]))
	t.set("album", text(b[63:93]))
	t.set("year", text(b[93:97]))
	if b[125] == 0 && b[126] != 0 {
		t.set("track", strconv.Itoa(int(b[126])))
	}
	if int(b[127]) < len(genres) {
		t.set("genre", genres[b[127]])
	}
}

// id3Genre turns (17), (17)Rock and 17 into words.
func id3Genre(s string) string {
	number, rest, inside := s, "", false
	if number, inside = strings.CutPrefix(s, "("); inside {
		number, rest, _ = strings.Cut(number, ")")
	}
	if rest != "" {
		return rest
	}
	if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(genres) {
		return genres[n]
	}
	switch number {
	case "RX":
		return "Remix"
	case "CR":
		return "Cover"
	}
	return s
}

// genres are those of ID3v1, with what Winamp added.
var genres = [...]string{
	"Blues", "Classic Rock", "Country", "Dance", "Disco", "Funk", "Grunge", "Hip-Hop", "Jazz", "Metal", "New Age", "Oldies", "Other", "Pop",
	"R&B", "Rap", "Reggae", "Rock", "Techno", "Industrial", "Alternative", "Ska", "Death Metal", "Pranks", "Soundtrack", "Euro-Techno",
	"Ambient", "Trip-Hop", "Vocal", "Jazz+Funk", "Fusion", "Trance", "Classical", "Instrumental", "Acid", "House", "Game", "Sound Clip",
	"Gospel", "Noise", "Alternative Rock", "Bass", "Soul", "Punk", "Space", "Meditative", "Instrumental Pop", "Instrumental Rock", "Ethnic",
	"Gothic", "Darkwave", "Techno-Industrial", "Electronic", "Pop-Folk", "Eurodance", "Dream", "Southern Rock", "Comedy", "Cult", "Gangsta",
	"Top 40", "Christian Rap", "Pop/Funk", "Jungle", "Native American", "Cabaret", "New Wave", "Psychedelic", "Rave", "Showtunes", "Trailer",
	"Lo-Fi", "Tribal", "Acid Punk", "Acid Jazz", "Polka", "Retro", "Musical", "Rock & Roll", "Hard Rock", "Folk", "Folk-Rock", "National Folk",
	"Swing", "Fast Fusion", "Bebop", "Latin", "Revival", "Celtic", "Bluegrass", "Avantgarde", "Gothic Rock", "Progressive Rock",
	"Psychedelic Rock", "Symphonic Rock", "Slow Rock", "Big Band", "Chorus", "Easy Listening", "Acoustic", "Humour", "Speech", "Chanson",
	"Opera", "Chamber Music", "Sonata", "Symphony", "Booty Bass", "Primus", "Porn Groove", "Satire", "Slow Jam", "Club", "Tango", "Samba",
	"Folklore", "Ballad", "Power Ballad", "Rhythmic Soul", "Freestyle", "Duet", "Punk Rock", "Drum Solo", "A Cappella", "Euro-House",
	"Dance Hall", "Goa", "Drum & Bass", "Club-House", "Hardcore", "Terror", "Indie", "BritPop", "Afro-Punk", "Polsk Punk", "Beat",
	"Christian Gangsta Rap", "Heavy Metal", "Black Metal", "Crossover", "Contemporary Christian", "Christian Rock", "Merengue", "Salsa",
	"Thrash Metal", "Anime", "JPop", "Synthpop", "Abstract", "Art Rock", "Baroque", "Bhangra", "Big Beat", "Breakbeat", "Chillout",
	"Downtempo", "Dub", "EBM", "Eclectic", "Electro", "Electroclash", "Emo", "Experimental", "Garage", "Global", "IDM", "Illbient",
	"Industro-Goth", "Jam Band", "Krautrock", "Leftfield", "Lounge", "Math Rock", "New Romantic", "Nu-Breakz", "Post-Punk", "Post-Rock",
	"Psytrance", "Shoegaze", "Space Rock", "Trop Rock", "World Music", "Neoclassical", "Audiobook", "Audio Theatre", "Neue Deutsche Welle",
	"Podcast", "Indie Rock", "G-Funk", "Dubstep", "Garage Rock", "Psybient",
}
