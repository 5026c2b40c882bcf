package organizer

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNTRoot(t *testing.T) {
	for _, c := range []struct {
		path, root string
		parts      []string
	}{
		{`C:\`, `\??\C:\`, nil},
		{`C:`, `\??\C:\`, nil},
		{`c:\a\b c`, `\??\c:\`, []string{"a", "b c"}},
		{`C:/a//b/`, `\??\C:\`, []string{"a", "b"}},
		{`C:\NUL\a.`, `\??\C:\`, []string{"NUL", "a."}},
		{`\\?\C:\a`, `\??\C:\`, []string{"a"}},
		{`\\server\share`, `\??\UNC\server\share\`, nil},
		{`\\server\share\a\b`, `\??\UNC\server\share\`, []string{"a", "b"}},
		{`\\?\UNC\server\share\a`, `\??\UNC\server\share\`, []string{"a"}},
		{`\\?\Volume{1-2}\a`, `\??\Volume{1-2}\`, []string{"a"}},
	} {
		root, parts, err := ntRoot(c.path)
		if err != nil || root != c.root || !slices.Equal(parts, c.parts) {
			t.Errorf("%s: %s %q %v", c.path, root, parts, err)
		}
	}
	for _, path := range []string{``, `a`, `\a`, `C:a`, `\\server`, `\\server\`, `\\\share`, `\\.\C:`, `C:\a:b`, `C:\a\..\b`, "C:\\a\x00b", `1:\`} {
		if root, parts, err := ntRoot(path); err == nil {
			t.Errorf("%q is taken for %s %q", path, root, parts)
		}
	}
}

func TestUnextended(t *testing.T) {
	for in, want := range map[string]string{`\\?\C:\x`: `C:\x`, `\\?\UNC\s\t\x`: `\\s\t\x`, `\\s\t`: `\\s\t`, `C:\`: `C:\`, `\\?\Volume{1}\x`: `\\?\Volume{1}\x`} {
		if got := unextended(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestFiletime(t *testing.T) {
	// 2009-02-13 23:31:30 UTC, from the documentation of other implementations: 128790414900000000.
	at := time.Unix(1234567890, 0)
	if got := toFiletime(at.UnixNano()); got != 128790414900000000 {
		t.Error(got)
	}
	for _, ns := range []int64{0, 100, -100, at.UnixNano(), 1<<62 - 1<<62%100} {
		if got := fromFiletime(toFiletime(ns)); got != ns {
			t.Errorf("%d became %d", ns, got)
		}
	}
	if a, b := toFiletime(-1), toFiletime(-100); a != b {
		t.Errorf("rounds %d, %d", a, b)
	}
}

func TestRecycled(t *testing.T) {
	got := encodeRecycled(`C:\é.txt`, 0x1234, time.Unix(1234567890, 0))
	want := "0200000000000000" + "3412000000000000" + "00f59632338ec901" + "09000000" +
		"43003a005c00e9002e00740078007400" + "0000"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x\nwant %s", got, want)
	}
	name := recycledName(`/home/x/report.final.pdf`)
	if !strings.HasPrefix(name, "$R") || !strings.HasSuffix(name, ".pdf") || len(name) != len("$Rxxxxxx.pdf") {
		t.Error(name)
	}
	if note := recycledNoteName(name); note != "$I"+name[2:] {
		t.Error(note)
	}
	if recycledName("/a/x.pdf") == recycledName("/b/x.pdf") {
		t.Error("two paths, one name")
	}
}

func TestReparseKind(t *testing.T) {
	for tag, want := range map[uint32]uint32{0xa000000c: modeLink, 0xa0000003: modeLink, 0xa000001d: modeLink, 0x80000013: modeRegular,
		0x80000017: modeRegular, 0x9000001a: modeRegular, 0x9000701a: modeRegular, 0x80000023: modeOther, 0x8000001b: modeOther} {
		if got := reparseKind(tag); got != want {
			t.Errorf("%x: %o, want %o", tag, got, want)
		}
	}
}
