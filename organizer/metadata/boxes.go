package metadata

import "encoding/binary"

// MP4, QuickTime, HEIF and AVIF are boxes within boxes (ISO/IEC 14496-12, QuickTime File Format), each with its size in
// front of it. The walk believes no size further than its parent's end.
type boxes struct {
	readAt func(p []byte, at int64) error // fills p
	visit  func(kind string, body, end int64, depth int)
	n      int // visited so far
}

const (
	maxBoxes = 500
	maxText  = 4096 // bytes of a value or a list of names
)

// walk visits the boxes between two offsets. It gives up quietly where they make no sense, and ends behind the moov box,
// which is all that is told of a film.
func (b *boxes) walk(at, end int64, depth int) {
	for end-at >= 8 && depth < 6 {
		if b.n++; b.n > maxBoxes {
			return
		}
		var h [16]byte
		if b.readAt(h[:8], at) != nil {
			return
		}
		size, body := int64(binary.BigEndian.Uint32(h[:])), at+8
		switch size {
		case 0: // to the end
			size = end - at
		case 1:
			if b.readAt(h[8:], body) != nil {
				return
			}
			body += 8
			if size = int64(binary.BigEndian.Uint64(h[8:])); size < 0 {
				return
			}
		}
		if size < body-at || size > end-at {
			return
		}
		next := at + size
		b.visit(string(h[4:8]), body, next, depth)
		if depth == 0 && string(h[4:8]) == "moov" {
			return
		}
		at = next
	}
}

// walkMeta visits what is in a meta box. In MP4 it begins with a version, in QuickTime with its first box.
func (b *boxes) walkMeta(body, end int64, depth int) {
	var first [4]byte
	if b.readAt(first[:], body) != nil {
		return
	}
	if binary.BigEndian.Uint32(first[:]) == 0 {
		body += 4
	}
	b.walk(body, end, depth+1)
}
