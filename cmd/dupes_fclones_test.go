package cmd

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func fclonesSample() (fclonesHead, []fclonesGroup) {
	head := fclonesHead{
		At: time.Date(2026, 3, 8, 8, 24, 28, 793228077, time.FixedZone("", 3600)), Command: []string{"fclones", "group", "--isolate", "/home/a b"},
		Base: "/home/a b", Groups: 2, Files: 5, Bytes: 6296, Extra: 3, Wasted: 3159,
	}
	return head, []fclonesGroup{
		{Size: 3137, Hash: [32]byte{0xab, 31: 1}, Paths: []string{"/home/a b/it's \"x\".txt", "/home/a b/写真"}},
		{Size: 11, Hash: [32]byte{}, Paths: []string{"/home/a b/\\n\n\t\r\x7f\x01", "/home/a b/\xff\xc3A\xc3\xc3\xa9", "/home/a b/end \u3000"}},
	}
}

const fclonesTextSample = `# Report by fclones 0.35.0
# Timestamp: 2026-03-08 08:24:28.793 +0100
# Command: fclones group --isolate '/home/a b'
# Base dir: /home/a b
# Total: 6296 B (6.3 KB) in 5 files in 2 groups
# Redundant: 3159 B (3.2 KB) in 3 files
# Missing: 0 B (0 B) in 0 files
ab00000000000000000000000000000000000000000000000000000000000001, 3137 B (3.1 KB) * 2:
    /home/a b/it's "x".txt
    /home/a b/写真
0000000000000000000000000000000000000000000000000000000000000000, 11 B (11 B) * 3:
    /home/a b/\\n\n\t\r\x7F\x01
    /home/a b/\xFF\xC3A\xC3\xC3\xA9
    /home/a b/end\x20\xE3\x80\x80
`

const fclonesJSONSample = `{
  "header": {
    "version": "0.35.0",
    "timestamp": "2026-03-08T08:24:28.793228077+01:00",
    "command": [
      "fclones",
      "group",
      "--isolate",
      "/home/a b"
    ],
    "base_dir": "/home/a b",
    "stats": {
      "group_count": 2,
      "total_file_count": 5,
      "total_file_size": 6296,
      "redundant_file_count": 3,
      "redundant_file_size": 3159,
      "missing_file_count": 0,
      "missing_file_size": 0
    }
  },
  "groups": [
    {
      "file_len": 3137,
      "file_hash": "ab00000000000000000000000000000000000000000000000000000000000001",
      "files": [
        "/home/a b/it's \"x\".txt",
        "/home/a b/写真"
      ]
    },
    {
      "file_len": 11,
      "file_hash": "0000000000000000000000000000000000000000000000000000000000000000",
      "files": [
        "/home/a b/\\\\n\\n\\t\\r\\x7F\\x01",
        "/home/a b/\\xFF\\xC3A\\xC3\\xC3\\xA9",
        "/home/a b/end 　"
      ]
    }
  ]
}`

func TestFclonesFormats(t *testing.T) {
	head, groups := fclonesSample()
	for _, c := range []struct {
		name  string
		write func(w *bufio.Writer)
		want  string
	}{
		{"text", func(w *bufio.Writer) { writeFclonesText(w, head, slices.Values(groups)) }, fclonesTextSample},
		{"json", func(w *bufio.Writer) { writeFclonesJSON(w, head, slices.Values(groups)) }, fclonesJSONSample},
	} {
		var b bytes.Buffer
		w := bufio.NewWriter(&b)
		c.write(w)
		w.Flush()
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
		found, err := readCandidates(&b, "/elsewhere")
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, g := range groups {
			for k, path := range g.Paths {
				if got, want := found.files[at], (candidate{path, int32(i), int32(at), k == 0, g.Size}); got != want {
					t.Errorf("%s: read %+v, want %+v", c.name, got, want)
				}
				at++
			}
		}
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	writeFclonesJSON(w, fclonesHead{}, slices.Values([]fclonesGroup(nil)))
	w.Flush()
	if !strings.HasSuffix(b.String(), "\"groups\": []\n}") {
		t.Errorf("no groups: %s", &b)
	}
}

func TestFclonesBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KB", 6274: "6.3 KB", 999_999: "1000.0 KB", 1_000_000: "1000.0 KB",
		1_048_575: "1048.6 KB", 1_048_577: "1.0 MB", 5_000_000_000: "5.0 GB", 1 << 62: "4.6 EB"} {
		if got := fclonesBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestFclonesCommand(t *testing.T) {
	for want, args := range map[string][]string{
		`fclones group /a/é`:                {"fclones", "group", "/a/é"},
		`x '/a b' '/$é' '/a\b'`:             {"x", "/a b", "/$é", `/a\b`},
		`x $'/it\'s' /b`:                    {"x", "/it's", "/b"},
		`x $'/\xC3\xA9' $'/a\nb\\\xFF'`:     {"x", "/é", "/a\nb\\\xff"},
		`x $'/it\'s \xC3\xA9\\\'' '/b (2)'`: {"x", `/it's é\'`, "/b (2)"},
	} {
		if got := fclonesCommand(args); got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
}

// Names go through STFU-8 and back unharmed, and never take more than a line.
func TestSTFU8(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.SampledFrom([]byte("a\\ xn\n\r\t\x00\x7f\x80\xbf\xc0\xc3\xa9\xe0\xa0\xe2\x82\xac\xed\x9f\xef\xbf\xbd\xf0\x9f\x8e\x89\xf4\x8f\xf5\xff"))).Draw(t, "name"))
		for _, text := range []string{stfu8(s), stfu8Line(s)} {
			if back, err := unSTFU8(text); err != nil || back != s {
				t.Fatalf("%q became %q, and that %q, %v", s, text, back, err)
			}
			if strings.ContainsAny(text, "\r\n\x00") || strings.ToValidUTF8(text, "") != text {
				t.Fatalf("%q became %q", s, text)
			}
		}
		if line := stfu8Line(s); strings.TrimRight(line, " \u00a0") != line {
			t.Fatalf("%q became %q", s, line)
		}
	})
	for _, bad := range []string{`\`, `a\`, `\x`, `\x1`, `\xzz`, `\u12`, `\u00D800`, `\u110000`, `\q`, `\u-00001`} {
		if got, err := unSTFU8(bad); err == nil {
			t.Errorf("%q was taken for %q", bad, got)
		}
	}
	if got, err := unSTFU8(`\u0000e9\u01F389`); got != "é🎉" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
