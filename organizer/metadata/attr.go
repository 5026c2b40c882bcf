package metadata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Attributes that tell where a file came from and how it is tagged, as freedesktop.org, macOS and Windows keep them.
const (
	attrOrigin   = "user.xdg.origin.url"
	attrReferrer = "user.xdg.referrer.url"
	attrTags     = "user.xdg.tags"
	attrWhere    = "com.apple.metadata:kMDItemWhereFroms"
	attrLabels   = "com.apple.metadata:_kMDItemUserTags"
	zoneStream   = "Zone.Identifier" // a stream of NTFS; Linux may show it as an attribute
)

// attributes reads origin or tags.
func (f *File) attributes(group string) (facts, error) {
	read := func(name string) (string, error) {
		b, err := attribute(f.f, name)
		if err != nil {
			return "", fmt.Errorf("attribute %s: %w", name, err)
		}
		if b = bytes.TrimRight(b, "\x00"); !utf8.Valid(b) {
			return "", nil
		}
		return strings.TrimSpace(string(b)), nil
	}
	var all []string
	add := func(values ...string) {
		for _, v := range values {
			if v = strings.TrimSpace(v); v != "" && !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	list := func(name string) error {
		b, err := attribute(f.f, name)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		values, err := plistStrings(b)
		if err != nil {
			return fmt.Errorf("attribute %s: %w: %w", name, ErrDamaged, err)
		}
		for _, v := range values {
			v, _, _ = strings.Cut(v, "\n") // the color of a tag
			add(v)
		}
		return nil
	}
	if group == "tags" {
		tags, err := read(attrTags)
		if err != nil {
			return nil, err
		}
		add(strings.Split(tags, ",")...)
		if err := list(attrLabels); err != nil {
			return nil, err
		}
	} else {
		for _, name := range []string{attrOrigin, attrReferrer} {
			url, err := read(name)
			if err != nil {
				return nil, err
			}
			add(url)
		}
		if err := list(attrWhere); err != nil {
			return nil, err
		}
		zone, err := zoneIdentifier(f.f)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", zoneStream, err)
		}
		add(parseZone(zone)...)
	}
	if all == nil {
		return nil, nil
	}
	return facts{group: all}, nil
}

const zoneBytes = 64 << 10

// parseZone reads the URLs of a Zone.Identifier, the file's first. It is an INI file of one section.
func parseZone(b []byte) []string {
	var host, referrer string
	for line := range strings.Lines(string(b[:min(len(b), zoneBytes)])) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.ToLower(key) {
		case "hosturl":
			host = value
		case "referrerurl":
			referrer = value
		}
	}
	var urls []string
	for _, url := range []string{host, referrer} {
		if url != "" && url != "about:internet" && utf8.ValidString(url) {
			urls = append(urls, url)
		}
	}
	return urls
}

var errPlist = errors.New("no sound property list")

// plistStrings returns the strings of the array that a binary property list is. Nothing gives nothing.
func plistStrings(b []byte) ([]string, error) {
	const magic, trailer, most = "bplist00", 32, 1000
	if len(b) == 0 {
		return nil, nil
	}
	if !has(b, 0, magic) || len(b) < len(magic)+trailer {
		return nil, errPlist
	}
	end := b[len(b)-trailer:]
	offsetBytes, refBytes := int(end[6]), int(end[7])
	objects, top, table := binary.BigEndian.Uint64(end[8:]), binary.BigEndian.Uint64(end[16:]), binary.BigEndian.Uint64(end[24:])
	number := func(at, size int) (int, bool) {
		if size < 1 || size > 8 || at < 0 || at > len(b)-size {
			return 0, false
		}
		var v uint64
		for _, c := range b[at : at+size] {
			v = v<<8 | uint64(c)
		}
		return int(v), v < uint64(len(b))
	}
	// object returns the kind of an object, its count, and where what it counts begins.
	object := func(ref int) (kind byte, n, at int, ok bool) {
		if uint64(ref) >= objects || table > uint64(len(b)) {
			return 0, 0, 0, false
		}
		if at, ok = number(int(table)+ref*offsetBytes, offsetBytes); !ok {
			return 0, 0, 0, false
		}
		kind, n = b[at]>>4, int(b[at]&15)
		at++
		if n == 15 {
			if at >= len(b) || b[at]>>4 != 1 || b[at]&15 > 3 {
				return 0, 0, 0, false
			}
			size := 1 << (b[at] & 15)
			if n, ok = number(at+1, size); !ok {
				return 0, 0, 0, false
			}
			at += 1 + size
		}
		return kind, n, at, true
	}
	if top > uint64(len(b)) {
		return nil, errPlist
	}
	kind, n, at, ok := object(int(top))
	if !ok || kind != 0xa || n > most {
		return nil, errPlist
	}
	var all []string
	for i := range n {
		ref, ok := number(at+i*refBytes, refBytes)
		if !ok {
			return nil, errPlist
		}
		kind, n, at, ok := object(ref)
		switch {
		case !ok:
			return nil, errPlist
		case kind == 5 && n <= len(b)-at: // ASCII
			all = append(all, string(b[at:at+n]))
		case kind == 6 && n <= (len(b)-at)/2: // UTF-16
			units := make([]uint16, n)
			for i := range units {
				units[i] = binary.BigEndian.Uint16(b[at+2*i:])
			}
			all = append(all, string(utf16.Decode(units)))
		case kind == 5 || kind == 6:
			return nil, errPlist
		}
	}
	return all, nil
}
