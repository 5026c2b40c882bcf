package cmd

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listed is what a report lists, a line a group; * marks who stays.
func (c *candidates) listed() string {
	groups := make([]string, c.groups)
	for _, f := range c.files {
		mark := " "
		if f.keep {
			mark = " *"
		}
		groups[f.group] += mark + f.path
	}
	for i := range groups {
		groups[i] = strings.TrimPrefix(groups[i], " ")
	}
	return strings.Join(groups, "\n")
}

func TestReadCandidates(t *testing.T) {
	for _, c := range []struct{ name, report, want string }{
		{"empty", "", ""},
		{"blank", "\n \r\n", ""},
		{"json", `{"groups":[{"size":3,"hash":"blake3:00","files":[{"path":"/a","keep":true},{"path":"/b","keep":false,"new":[{"x":1}]}]},
			{"files":[{"keep":true,"path":"x\ufffd","path_bytes":"L3j/"},{"path":"rel/../y"}],"size":0}],"scanned":7,"errors":[]}` + "\n", "*/a /b\n*/x\xff /d/y"},
		{"json without groups", `{"groups":[],"operation":null}`, ""},
		{"ndjson", `{"type":"folder","of":"/o","folder":"/f","files":12}
			{"type":"group","size":3,"files":[{"path":"/a","keep":true},{"path":"/b","keep":true}]}
			{"type":"error","path":"/e","error":"x"}
			{"type":"summary"}`, "*/a */b"},
		{"fclones json", `{"header":{"command":["x"],"stats":null},"groups":[{"file_len":1,"file_hash":"00","files":["/a\\\\b","/c\\x0A\\xFF"]},{"files":["/d","/e"]}]}`,
			"*/a\\b /c\n\xff\n*/d /e"},
		{"fclones text", "# Report by fclones 0.35.0\n# Base dir: /base\n00, 1 B (1 B) * 2:\n    rel \n    /b\\n\nff, 1 B (1 B) * 2:\n    /c\n    /d\n", "*/base/rel  /b\n\n*/c /d"},
		{"fclones text without head, Windows", "00, 1 B (1 B) * 2:\r\n    /a\r\n    /b\r\n\r\n", "*/a /b"},
		{"csv", "group,size,hash,keep,role,path,path_bytes\r\n1,3,,true,kept,\"/a,\"\"b\"\"\nc\",\r\n2,4,,FALSE,,/x,\r\n1,3,,false,,?,L2L/\r\n", "*/a,\"b\"\nc /b\xff\n/x"},
		{"csv as a spreadsheet writes it", "\xef\xbb\xbfgroup,size,path,keep\n1,3,/a,TRUE\n1,3,/b,FALSE\n", "*/a /b"},
		{"fclones csv", "size,hash,count,files\n3,00,2,\"/a,b\",/c\\\\\n", "*/a,b /c\\"},
		{"fdupes", "/a/b\nc \n\n\n./d\\n\n/e", "/a/b /d/c \n/d/d\\n /e"},
		{"jdupes -S", "12 bytes each:\n/a\n12 bytes each:\n\n1 byte each:\n/b\n/c\n", "/a /d/12 bytes each:\n/b /c"},
		{"twice", `{"groups":[{"files":["/a","/b"]},{"files":["/x/../b","/c"]}]}`, "*/a */b\n*/c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readCandidates(strings.NewReader(c.report), "/d")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.listed()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is no report, or only a part of one, is refused, and the message says where.
func TestReadCandidatesRefused(t *testing.T) {
	deep := strings.Repeat("[", 1000)
	for _, c := range []struct{ name, report, want string }{
		{"cut json", `{"groups":[{"files":[{"path":"/a"},`, "at byte 35: it ends in the middle"},
		{"cut name", `{"groups":[{"files":["/a`, "it ends in the middle"},
		{"not json", `{"groups":[{"files":["/a" "/b"`, "at byte"},
		{"text behind", `{"groups":[]} x`, "at byte"},
		{"array", `{"groups":[]} []`, "something besides objects"},
		{"no report", `{"operation":null,"errors":[{"path":"","error":"x"}]}`, "no groups of files"},
		{"group", `{"groups":[3]}`, "a group is no object"},
		{"file", `{"groups":[{"files":[3]}]}`, "neither text nor an object"},
		{"no name", `{"groups":[{"files":[{"keep":true}]}]}`, "without a name"},
		{"NUL", `{"groups":[{"files":[{"path":"/a\u0000b"}]}]}`, "NUL"},
		{"NUL, fclones", `{"groups":[{"files":["/a\\x00b"]}]}`, "NUL"},
		{"base64", `{"groups":[{"files":[{"path_bytes":"?"}]}]}`, "base64"},
		{"stfu8", `{"groups":[{"files":["/a\\q"]}]}`, `\q means nothing`},
		{"deep", `{"x":` + deep, "nested"},
		{"deep groups", strings.Repeat(`{"groups":[`, 1000), "nested"},
		{"long name", `{"groups":[{"files":["` + strings.Repeat("x", maxCandidateText+1), "longer than 16 MiB"},
		{"cut ndjson", `{"type":"group","files":["/a","/b"]}` + "\n", "before its summary"},
		{"script", "#!/bin/sh\nrm -rf x\n", "neither JSON, CSV nor text"},
		{"program", "\x7fELF\x00\x00", "neither JSON, CSV nor text"},
		{"cut text", "00, 1 B (1 B) * 2:\n    /a\n", "middle of a group"},
		{"text", "00, 1 B (1 B) * 1:\n/a\n", "line 2: "},
		{"text without a group", "# Report by fclones 0.35.0\n    /a\n", "line 2: a file before any group"},
		{"text, huge number", "00, 99999999999999999999 B (1 B) * 1:\n    /a\n", "line 1: "},
		{"long line", "/a\n" + strings.Repeat("x", 2<<20), "line 2: "},
		{"cut csv", "group,size,hash,keep,role,path,path_bytes\n1,3,,true,kept,/a", "line 2: it has 6 fields, not 7"},
		{"csv, open quote", "group,size,hash,keep,role,path,path_bytes\n1,3,,true,kept,\"/a", "line 2"},
		{"csv, keep", "group,size,path,keep\n1,3,/a,maybe\n", `line 2: keep is "maybe"`},
		{"csv, columns", "group,size,path\n1,3,/a\n", "no column keep"},
		{"csv, size", "group,size,path,keep\n1,x,/a,true\n", `line 2: the size is "x"`},
		{"fclones csv", "size,hash,count,files\n3,00,2,/a\n", "line 2: it has other files than it says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readCandidates(strings.NewReader(c.report), "/d")
			if !errors.Is(err, errReport) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Whatever a report holds, what comes of it are absolute, clean paths without NUL, each once, in groups that exist.
func FuzzReadCandidates(f *testing.F) {
	head, groups := fclonesSample()
	for _, s := range []string{fclonesTextSample, fclonesJSONSample, "size,hash,count,files\n3,00,2,\"/a,b\",/c\\\\\n", "/a\n/b\n\n/c\n/d",
		"group,size,hash,keep,role,path,path_bytes\r\n1,3,,true,kept,\"/a,\"\"b\"\"\nc\",\r\n", "12 bytes each:\n../a\n",
		`{"type":"group","size":3,"files":[{"path":"/a","keep":true},{"path":"/b","path_bytes":"L2I="}]}` + "\n" + `{"type":"summary"}`,
		`{"groups":[{"size":3,"files":[{"path":"../../etc/passwd","keep":false}]}],"errors":[[[{}]]]}`, head.Base + groups[0].Paths[0]} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, report []byte) {
		found, err := readCandidates(strings.NewReader(string(report)), "/d")
		if err != nil {
			if !errors.Is(err, errReport) || found != nil {
				t.Fatalf("%v, %v", found, err)
			}
			return
		}
		seen := map[string]bool{}
		for _, c := range found.files {
			if !filepath.IsAbs(c.path) || filepath.Clean(c.path) != c.path || strings.IndexByte(c.path, 0) >= 0 || seen[c.path] || c.size < -1 ||
				c.group < 0 || int(c.group) >= found.groups || c.keep && !found.marked {
				t.Fatalf("%+v", c)
			}
			seen[c.path] = true
		}
	})
}
