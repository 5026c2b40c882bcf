package organizer

import (
	"encoding/base32"
	"encoding/binary"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/zeebo/blake3"
)

// The Recycle Bin of Windows, as far as it is bytes. A file X lies in it as $R and six letters and digits and its
// extension; beside it the note $I with the same rest tells what it was called. The form of the note is version 2, of
// Windows 10 and later: little-endian int64 2, int64 size, int64 FILETIME of deletion, uint32 UTF-16 units of the path
// with its NUL, the path.

const (
	recycled     = "$R"
	recycledNote = "$I"
)

// recycledName is the name in the Recycle Bin for the file at path, six characters of the path's hash in the place of
// the random ones of Explorer, so that a plan made twice is the same plan.
func recycledName(path string) string {
	sum := blake3.Sum256([]byte(path))
	return recycled + base32.StdEncoding.EncodeToString(sum[:5])[:6] + filepath.Ext(path)
}

func recycledNoteName(name string) string { return recycledNote + strings.TrimPrefix(name, recycled) }

func encodeRecycled(path string, size int64, deleted time.Time) []byte {
	units := append(utf16.Encode([]rune(path)), 0)
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 28+2*len(units)), 2)
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	b = binary.LittleEndian.AppendUint64(b, uint64(toFiletime(deleted.UnixNano())))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(units)))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
