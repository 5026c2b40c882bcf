package metadata

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"unicode/utf16"
)

// plistOf is a binary property list of an array of strings, as macOS writes them.
func plistOf(values ...string) []byte {
	b := []byte("bplist00")
	var offsets []byte
	add := func(object []byte) {
		offsets = append(offsets, byte(len(b)>>8), byte(len(b)))
		b = append(b, object...)
	}
	count := func(kind, n int) []byte {
		if n < 15 {
			return []byte{byte(kind<<4 | n)}
		}
		return []byte{byte(kind<<4 | 15), 0x10, byte(n)}
	}
	refs := count(0xa, len(values))
	for i := range values {
		refs = append(refs, byte(i+1))
	}
	add(refs)
	for _, v := range values {
		units := utf16.Encode([]rune(v))
		if len(units) == len(v) {
			add(append(count(5, len(v)), v...))
			continue
		}
		object := count(6, len(units))
		for _, u := range units {
			object = binary.BigEndian.AppendUint16(object, u)
		}
		add(object)
	}
	table := len(b)
	b = append(b, offsets...)
	b = append(b, 0, 0, 0, 0, 0, 0, 2, 1)
	for _, n := range []int{len(values) + 1, 0, table} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func TestPlistStrings(t *testing.T) {
	long := "https://example.org/a/long/path/to/a/file.zip"
	for _, want := range [][]string{nil, {"a"}, {long, "https://example.org/"}, {"Wichtig\n6", "größer"}, slices.Repeat([]string{"x"}, 40)} {
		b := plistOf(want...)
		got, err := plistStrings(b)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		for n := 1; n < len(b); n++ {
			if got, err := plistStrings(b[:n]); err == nil {
				t.Errorf("%d of %d bytes: %q", n, len(b), got)
			}
		}
	}
	if got, err := plistStrings(nil); got != nil || err != nil {
		t.Error(got, err)
	}
}

func FuzzPlistStrings(f *testing.F) {
	f.Add(plistOf("https://example.org/a.zip", "größer"))
	f.Add(plistOf())
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := plistStrings(b)
		if err != nil && all != nil {
			t.Fatal(all, err)
		}
	})
}

func TestParseZone(t *testing.T) {
	for in, want := range map[string][]string{
		"[ZoneTransfer]\r\nZoneId=3\r\nReferrerUrl=https://example.org/\r\nHostUrl=https://example.org/a?b=c\r\n": {"https://example.org/a?b=c", "https://example.org/"},
		"[ZoneTransfer]\nZoneId=3\nHostUrl=about:internet\n":                                                      nil,
		"[ZoneTransfer]\nHostUrl=\xff\n":                                                                          nil,
		"":                                                                                                        nil,
	} {
		if got := parseZone([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestAttributes(t *testing.T) {
	ctx := context.Background()
	f := write(t, "a.pdf", []byte("x"))
	if err := setAttribute(f, attrOrigin, []byte("https://example.org/a.pdf")); err != nil {
		t.Skipf("no attributes here: %v", err)
	}
	for name, value := range map[string][]byte{
		attrReferrer: []byte("https://example.org/\x00"), attrTags: []byte("work, grün,,work"),
	} {
		if err := setAttribute(f, name, value); err != nil {
			t.Fatal(err)
		}
	}
	file := NewReader(Limits{}, nil).File(f)
	for name, want := range map[string][]string{
		"origin": {"https://example.org/a.pdf", "https://example.org/"}, "tags": {"work", "grün"},
	} {
		got, err := file.Fact(ctx, name)
		if all, _ := got.([]string); err != nil || !slices.Equal(all, want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	folder := open(t, t.TempDir())
	if err := setAttribute(folder, attrTags, bytes.Repeat([]byte("long,"), 300)); err != nil {
		t.Fatal(err)
	}
	if got, err := NewReader(Limits{}, nil).File(folder).Fact(ctx, "tags"); err != nil || !slices.Equal(got.([]string), []string{"long"}) {
		t.Errorf("%q, %v", got, err)
	}
}
