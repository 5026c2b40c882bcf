// Package metadata reads what files say of themselves: EXIF, sizes of pictures and films, tags of music, the text of
// documents, hashes, where a file came from and how it is tagged. It changes nothing.
//
// Files are whatever strangers made. Every reader is held by Limits, in memory as well, and a mistake in a decoder ends
// as an error of its file.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"forg/organizer/archive"
	"forg/organizer/images"
)

// Errors of what cannot be told.
var (
	ErrDamaged     = errors.New("the file is damaged")
	ErrLimit       = errors.New("the file needs more than the limits allow")
	ErrEncrypted   = errors.New("the file is encrypted")
	ErrUnsupported = errors.New("the format cannot be read")
)

// Limits bound what one reading of a file may cost. Zero means the default.
type Limits struct {
	Bytes int64         // read from the file, and unpacked from it; default 256 MiB. Hashes read the whole file.
	Text  int           // bytes of text; default 16 MiB
	Time  time.Duration // default 20 s. Hashes take as long as they take.
}

const (
	defaultBytes = 256 << 20
	defaultText  = 16 << 20
	defaultTime  = 20 * time.Second
)

// Reader reads files. It is safe for concurrent use.
type Reader struct {
	limits Limits
	cache  *Cache
}

// NewReader returns a Reader that keeps what it has read in cache, which may be nil.
func NewReader(limits Limits, cache *Cache) *Reader {
	if limits.Bytes <= 0 {
		limits.Bytes = defaultBytes
	}
	if limits.Text <= 0 {
		limits.Text = defaultText
	}
	if limits.Time <= 0 {
		limits.Time = defaultTime
	}
	return &Reader{limits, cache}
}

// Knows reports whether File.Fact can be asked for name.
func Knows(name string) bool {
	g := groupOf(name)
	return g != "" && (g == name || keys[name])
}

// keys are the facts of the groups that have several.
var keys = map[string]bool{
	"image.width": true, "image.height": true, "image.orientation": true,
	"video.width": true, "video.height": true, "video.orientation": true, "video.duration": true,
	"audio.artist": true, "audio.albumartist": true, "audio.album": true, "audio.title": true, "audio.genre": true,
	"audio.composer": true, "audio.year": true, "audio.track": true, "audio.disc": true, "audio.duration": true,
}

// FactPrint is the fingerprint of a picture, as text of package images. It is no fact of package rules.
const FactPrint = "image.print"

// groupOf returns the facts that are read at once: one name for all of them, "" for a fact that is not known.
func groupOf(name string) string {
	switch name {
	case FactPrint, "exif", "text", "origin", "tags", "archive", "hash.blake3", "hash.sha256", "hash.sha1", "hash.md5":
		return name
	}
	for _, group := range []string{"image", "video", "audio"} {
		if rest, ok := strings.CutPrefix(name, group); ok && strings.HasPrefix(rest, ".") {
			return group
		}
	}
	return ""
}

// facts are what a group says. A name that is not in it is something the file does not have; an error is the value of what
// cannot be told, while others of the group can.
type facts map[string]any

// File is a file that facts are read of. It remembers what it has read. It is not safe for concurrent use.
type File struct {
	reader *Reader
	f      *os.File
	info   fs.FileInfo // nil until it is needed
	groups map[string]answer
}

type answer struct {
	facts facts
	err   error
}

// File returns f for reading. Fact needs it open; closing it is up to the caller. Its name should be its path.
func (r *Reader) File(f *os.File) *File { return &File{reader: r, f: f} }

// Fact returns one fact: nil, nil if the file does not have it, an error if that cannot be told. The values are those of
// package rules: exif map[string]string; width and height int64 in pixels as shown, that is, turned as the file asks for;
// orientation "landscape", "portrait" or "square"; durations float64 in seconds; year, track and disc int64; origin, tags
// and archive []string; all others string.
//
// Keys of exif are group.tag in lower case. The groups are image (of the main picture: IFD0), exif, gps, interoperability,
// thumbnail (IFD1), iptc and xmp; tags have the names that ExifTool gives them. Numbers are decimal, but for fractions of
// one like 1/250; latitude and longitude are decimal degrees; several values are separated by spaces.
//
// FactPrint is a string too.
//
// Errors wrap ErrDamaged, ErrLimit, ErrEncrypted or ErrUnsupported, or are those of the system or of ctx.
func (f *File) Fact(ctx context.Context, name string) (any, error) {
	group := groupOf(name)
	if group == "" {
		return nil, fmt.Errorf("read %s of %s: no such fact", name, f.f.Name())
	}
	a, ok := f.groups[group]
	if !ok {
		a = f.read(ctx, group)
		if f.groups == nil {
			f.groups = map[string]answer{}
		}
		if ctx.Err() == nil {
			f.groups[group] = a
		}
	}
	v, err := a.facts[name], a.err
	if single, ok := v.(error); ok {
		v, err = nil, single
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, f.f.Name(), err)
	}
	return v, nil
}

// read answers from the cache, or from the file.
func (f *File) read(ctx context.Context, group string) answer {
	if f.info == nil {
		info, err := f.f.Stat()
		if err != nil {
			return answer{err: err}
		}
		f.info = info
	}
	attribute := group == "origin" || group == "tags"
	switch {
	case attribute && (f.info.Mode().IsRegular() || f.info.IsDir()):
		a, err := f.attributes(group)
		return answer{a, err} // as cheap as the cache
	case !f.info.Mode().IsRegular():
		return answer{} // folders and devices have none of it
	}
	id, known := identify(f.f, f.info)
	if known {
		if a, ok := f.reader.cache.get(id, group); ok {
			return a
		}
	}
	a := f.readContent(ctx, group)
	if known && (a.err == nil || errors.Is(a.err, ErrDamaged)) {
		// A file that changed while it was read is not what its identity says.
		if info, err := f.f.Stat(); err == nil {
			if after, ok := identify(f.f, info); ok && after == id {
				f.reader.cache.put(id, group, a)
			}
		}
	}
	return a
}

func (f *File) readContent(ctx context.Context, group string) (a answer) {
	limits := f.reader.limits
	size := f.info.Size()
	if algorithm, ok := strings.CutPrefix(group, "hash."); ok {
		sum, err := hashOf(ctx, f.f, size, algorithm)
		if err != nil {
			return answer{err: err}
		}
		return answer{facts: facts{group: sum}}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, errTime)
	defer cancel()
	return content(newSource(ctx, f.f, size, limits), f.f.Name(), group)
}

var errTime = fmt.Errorf("%w: too much time", ErrLimit)

// content reads a group of facts from a file's content.
func content(s *source, name, group string) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{err: fmt.Errorf("%w: its decoder failed: %v", ErrDamaged, p)}
		}
	}()
	return decode(s, name, group)
}

// decode is content, but for panics.
func decode(s *source, name, group string) answer {
	var read func(*source, string) (facts, error)
	switch group {
	case FactPrint:
		read = readPrint
	case "exif":
		read = readEXIF
	case "image":
		read = readImage
	case "video":
		read = readVideo
	case "audio":
		read = readAudio
	case "text":
		read = readText
	case "archive":
		read = readArchive
	}
	facts, err := read(s, name)
	// A decoder may hide why it could not read on, or take it for the end of the file.
	if err != nil {
		s.check()
	}
	if s.err != nil {
		err = s.err
	}
	if err != nil {
		return answer{err: explain(err)}
	}
	return answer{facts: facts}
}

// explain makes an error of a decoder one of the package's.
func explain(err error) error {
	for from, to := range map[error]error{
		archive.ErrDamaged: ErrDamaged, archive.ErrLimit: ErrLimit, archive.ErrEncrypted: ErrEncrypted, archive.ErrMethod: ErrUnsupported,
		images.ErrDamaged: ErrDamaged, images.ErrLimit: ErrLimit, images.ErrFormat: ErrUnsupported,
	} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	for _, known := range []error{ErrDamaged, ErrLimit, ErrEncrypted, ErrUnsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func readArchive(s *source, name string) (facts, error) {
	names, err := archive.Names(s.ctx, s, s.size, base(name), archive.Limits{Bytes: s.unpack})
	if errors.Is(err, archive.ErrFormat) {
		return nil, nil
	}
	if err != nil {
		return nil, errors.Unwrap(err) // its message names the file, as that of Fact does
	}
	if names == nil {
		names = []string{} // an archive, though an empty one
	}
	for i, n := range names {
		if !utf8.ValidString(n) { // zip's first character set (APPNOTE.TXT, D.1)
			n, _ = charmap.CodePage437.NewDecoder().String(n)
		}
		names[i] = strings.TrimSuffix(strings.ReplaceAll(n, `\`, "/"), "/")
	}
	return facts{"archive": names}, nil
}

// base is the last part of a path, whatever system it is of.
func base(name string) string { return name[strings.LastIndexAny(name, `/\`)+1:] }

// extension is that of a name, in lower case and without the dot.
func extension(name string) string {
	name = base(name)
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}

// orientation says how a picture of some size looks.
func orientation(width, height int64) string {
	switch {
	case width > height:
		return "landscape"
	case width < height:
		return "portrait"
	}
	return "square"
}

// sized are the facts of a picture or film of some size, nil if it has none.
func sized(group string, width, height int64) facts {
	if width <= 0 || height <= 0 {
		return nil
	}
	return facts{group + ".width": width, group + ".height": height, group + ".orientation": orientation(width, height)}
}
