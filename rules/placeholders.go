package rules

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// A valueKind says which formats a placeholder takes.
type valueKind uint8

const (
	textValue valueKind = iota
	numberValue
	dateValue
	hashValue
)

// A placeholder is something that stands in braces in a template.
type placeholder struct {
	name   string
	text   string // for the reference
	kind   valueKind
	fact   string // the fact it shows, if it is one
	always bool   // every file has it
	where  bool   // depends on where below the location a file lies
	get    func(l *look, fact int) (Value, error)
}

// placeholders are those that every rule may use. Families such as exif.* end in a star.
var placeholders = []*placeholder{
	{name: "name", text: "the name without its extension", always: true,
		get: func(l *look, _ int) (Value, error) { return l.stem, nil }},
	{name: "ext", text: "the extension without its dot, compound ones whole (tar.gz); none for a name without one",
		get: func(l *look, _ int) (Value, error) { return optional(l.ext), nil }},
	{name: "filename", text: "the whole name", always: true,
		get: func(l *look, _ int) (Value, error) { return l.name, nil }},
	{name: "path", text: "the whole path", always: true, where: true,
		get: func(l *look, _ int) (Value, error) { return join(l.dir, l.name), nil }},
	{name: "parent", text: "the name of the folder that holds the file", always: true, where: true,
		get: func(l *look, _ int) (Value, error) { return base(l.dir), nil }},
	{name: "location", text: "the location of the rule; at the start of a destination that folder, elsewhere its path",
		always: true, get: func(l *look, _ int) (Value, error) { return l.location, nil }},
	{name: "relative_path", text: "the path below the location; as folders with |folders", always: true, where: true,
		get: func(l *look, _ int) (Value, error) { return l.relative(), nil }},
	{name: "depth", text: "how many folders lie between the location and the file", kind: numberValue, always: true,
		where: true, get: func(l *look, _ int) (Value, error) { return l.depth(), nil }},
	{name: "rule", text: "the name of the rule", always: true,
		get: func(l *look, _ int) (Value, error) { return l.rule.Name, nil }},
	{name: "now", text: "the moment of the run", kind: dateValue, always: true,
		get: func(l *look, _ int) (Value, error) { return l.rules.opt.Now, nil }},
	{name: "counter", text: "1, 2, 3 and so on, in the order of the plan", kind: numberValue, always: true,
		get: func(l *look, _ int) (Value, error) {
			l.counted = true
			return l.counter, nil
		}},
	{name: "env.*", text: "a variable of the environment, at the start of a destination a folder; {env.HOME}",
		always: true},

	dated(FactCreated, "when the file was made, where the file system records it"),
	dated(FactModified, "when the content was changed last"),
	dated(FactAccessed, "when the file was read last, as far as the system records it"),
	dated(FactDateAdded, "when the file came to its folder (macOS)"),
	dated(FactTaken, "when a photo or video was taken, by the clock of the camera"),
	counted("size", FactSize, "the size in bytes"),
	texts("category", FactCategory, "the category, as Images"),
	texts("type", FactType, "the type within the category, as Photos"),
	texts("mime", FactMIME, "the media type, as image/jpeg"),
	{name: "exif.*", text: "a tag of Exif, XMP or IPTC by its lower-case name: {exif.image.model}", fact: FactExif},
	counted("image.width", FactImageWidth, "the width of a picture in pixels, as it is shown"),
	counted("image.height", FactImageHeight, "the height of a picture"),
	texts("image.orientation", FactImageOrientation, "landscape, portrait or square"),
	counted("video.width", FactVideoWidth, "the width of a video in pixels"),
	counted("video.height", FactVideoHeight, "the height of a video"),
	counted("video.duration", FactVideoDuration, "the length of a video in seconds"),
	texts("video.orientation", FactVideoOrientation, "landscape, portrait or square"),
	texts("audio.artist", FactAudioArtist, "the artist"),
	texts("audio.albumartist", FactAudioAlbumArtist, "the artist of the album"),
	texts("audio.album", FactAudioAlbum, "the album"),
	texts("audio.title", FactAudioTitle, "the title"),
	texts("audio.genre", FactAudioGenre, "the genre"),
	texts("audio.composer", FactAudioComposer, "the composer"),
	counted("audio.year", FactAudioYear, "the year of the recording"),
	counted("audio.track", FactAudioTrack, "the number of the track"),
	counted("audio.disc", FactAudioDisc, "the number of the disc"),
	counted("audio.duration", FactAudioDuration, "the length in seconds"),
	hashed("hash.blake3", FactHashBLAKE3, "the BLAKE3 hash of the content"),
	hashed("hash.sha256", FactHashSHA256, "the SHA-256 hash"),
	hashed("hash.sha1", FactHashSHA1, "the SHA-1 hash"),
	hashed("hash.md5", FactHashMD5, "the MD5 hash"),
	{name: "origin", text: "the address that the file was downloaded from", fact: FactOrigin,
		get: func(l *look, fact int) (Value, error) {
			urls, err := l.strings(fact)
			if len(urls) == 0 {
				return nil, err
			}
			return optional(urls[0]), nil
		}},
	{name: "origin.host", text: "the host of that address", fact: FactOrigin,
		get: func(l *look, fact int) (Value, error) {
			urls, err := l.strings(fact)
			for _, u := range urls {
				if host := hostOf(u); host != "" {
					return host, nil
				}
			}
			return nil, err
		}},
	{name: "tags", text: "the tags of the file, with commas between", fact: FactTags,
		get: func(l *look, fact int) (Value, error) {
			tags, err := l.strings(fact)
			return optional(strings.Join(tags, ", ")), err
		}},
}

// filterPlaceholders are those that a filter of the rule must give.
var filterPlaceholders = []*placeholder{
	{name: "name.*", text: "what {word} stood for in the match of a name filter: {name.word}"},
	{name: "regex.*", text: "what a group (?P<word>...) of a regex filter matched: {regex.word}"},
	{name: "content.*", text: "what a group of a content filter matched: {content.word}"},
	{name: "hash", text: "the hash of the hash filter, cut with {hash:8}", kind: hashValue},
	{name: "duplicate.of", text: "the path of the file that this one is a duplicate of"},
}

// misnamed are placeholders of other organizers, with the one to use.
var misnamed = map[string]string{
	"extension": "ext", "suffix": "ext", "lastmodified": "modified", "date": "modified", "mimetype": "mime",
	"file.name": "filename", "path.name": "filename", "fullname": "filename", "basename": "filename",
	"path.stem": "name", "file.stem": "name", "stem": "name", "path.parent": "parent", "folder": "parent", "dir": "parent",
	"relpath": "relative_path", "today": "now", "utcnow": "now", "count": "counter", "index": "counter", "n": "counter",
	"macos_tags": "tags", "filecontent": "content.word", "duplicate": "duplicate.of", "camera": "exif.image.model",
	"width": "image.width", "height": "image.height", "artist": "audio.artist", "album": "audio.album", "title": "audio.title",
}

func dated(fact, text string) *placeholder {
	p := &placeholder{name: fact, text: text, kind: dateValue, fact: fact, always: fact == FactModified}
	p.get = func(l *look, i int) (Value, error) {
		t, ok, err := l.date(i)
		if !ok {
			return nil, err
		}
		return t, nil
	}
	return p
}

func counted(name, fact, text string) *placeholder {
	return &placeholder{name: name, text: text, kind: numberValue, fact: fact, get: (*look).fact,
		always: fact == FactSize}
}

func texts(name, fact, text string) *placeholder {
	return &placeholder{name: name, text: text, fact: fact, get: (*look).fact}
}

func hashed(name, fact, text string) *placeholder {
	return &placeholder{name: name, text: text, kind: hashValue, fact: fact, get: (*look).fact}
}

// optional returns s, or nil for an empty one.
func optional(s string) Value {
	if s == "" {
		return nil
	}
	return s
}

func (l *look) strings(fact int) ([]string, error) {
	v, err := l.fact(fact)
	if err != nil || v == nil {
		return nil, err
	}
	if list, ok := v.([]string); ok {
		return list, nil
	}
	return nil, wrongType(l.rules.facts[fact], v)
}

func (l *look) text(fact int) (string, error) {
	v, err := l.fact(fact)
	if err != nil || v == nil {
		return "", err
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", wrongType(l.rules.facts[fact], v)
}

// hostOf returns the host of a URL in lower case, without port and a leading "www.".
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.")
}

// show returns a value as text.
func show(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return limit(v), nil
	case int64, bool:
		return fmt.Sprint(v), nil
	case float64:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0"), nil
	case time.Time:
		return v.Format("2006-01-02"), nil
	case []string:
		return limit(strings.Join(v, ", ")), nil
	}
	return "", fmt.Errorf("a %T cannot be shown", v)
}
