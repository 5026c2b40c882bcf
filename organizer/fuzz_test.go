package organizer

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"forg/journal"
	"forg/rules"
)

func FuzzReadPlan(f *testing.F) {
	plan := func(moves string) []byte {
		return fmt.Appendf(nil, `{"forg_plan":1,"created_at":"2026-01-02T03:04:05Z","roots":["/tmp/no such root"],"on_conflict":"rename","moves":[%s]}`, moves)
	}
	f.Add(plan(""))
	f.Add(plan(`{"action":"move","from":"/tmp/no such root/a","to":"/tmp/no such root/b/a","category":"X","bytes":1,"modified":"2026-01-02T03:04:05Z","inode":1}`))
	f.Add(plan(`{"action":"link","from":"/tmp/no such root/a","to":"/tmp/no such root"}`))
	f.Add(plan(`{"action":"trash","from":"/tmp/no such root/a","same_as":"/tmp/no such root/b"}`))
	f.Add(plan(`{"action":"copy","from":"/tmp/no such root/a","to":"/tmp/no such root/../../etc/passwd"}`))
	f.Add(plan(`{"action":"move","from":"/","from_bytes":"L3RtcA==","to":"/tmp/x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPlan(bytes.NewReader(b), rules.Builtin(), Options{Conflict: ConflictRename, Trash: func(*Dir) (TrashDir, error) {
			return TrashDir{Files: "/tmp/no such trash/files"}, nil
		}})
		if err != nil {
			return
		}
		for i := range p.Moves {
			m := &p.Moves[i]
			ok := m.Action == journal.Trash
			for _, root := range p.Tree.Roots {
				ok = ok || strings.HasPrefix(p.Target(m), strings.TrimSuffix(root, "/")+"/")
			}
			if !ok {
				t.Errorf("%q lies outside %q", p.Target(m), p.Tree.Roots)
			}
		}
	})
}

func FuzzPlanMove(f *testing.F) {
	f.Add("move", "/r", "/r/a", "/r/b", "")
	f.Add("link", "/r", "/r/a", "/r", "")
	f.Add("trash", "/", "/a", "", "/b")
	f.Add("copy", "/r", "/r/../a", "/r/a/./b", "")
	f.Fuzz(func(t *testing.T, action, root, from, to, same string) {
		if !filepath.IsAbs(root) || filepath.Clean(root) != root {
			return
		}
		m := planMove{Action: action, From: from, To: to, Same: same}
		if m.check([]string{root}) != nil {
			return
		}
		below := func(p string) bool {
			rest, ok := strings.CutPrefix(p, strings.TrimSuffix(root, "/")+"/")
			return ok && rest != "" && !strings.Contains("/"+rest+"/", "/../") && !strings.Contains("/"+rest+"/", "/./")
		}
		if !below(from) || action != "trash" && !below(to) || action == "trash" && !below(same) {
			t.Errorf("%+v leaves %q", m, root)
		}
	})
}

func FuzzNumberedName(f *testing.F) {
	for _, name := range []string{"a.txt", "a.tar.gz", ".hidden", "no extension", "漢字.pdf", "\xff\xfe.jpg", strings.Repeat("n", 251) + ".txt", strings.Repeat("漢", 84) + ".md", "." + strings.Repeat("x", 254), "a.b.c.d"} {
		f.Add(name, 2)
	}
	f.Fuzz(func(t *testing.T, name string, n int) {
		if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\x00") || n < 2 {
			return
		}
		stem, ext := splitName(name)
		whole := stem
		if ext != "" {
			whole += "." + ext
		}
		if whole != name || stem == "" {
			t.Fatalf("Split(%q) = %q, %q", name, stem, ext)
		}
		for _, got := range []string{numberedName(stem, ext, n), trashName(name)} {
			switch {
			case len(got) > maxName:
				t.Errorf("%q has %d bytes", got, len(got))
			case got == "" || got == "." || got == ".." || strings.ContainsAny(got, "/\x00"):
				t.Errorf("%q is no name", got)
			case utf8.ValidString(name) && !utf8.ValidString(got):
				t.Errorf("%q of %q is cut within a character", got, name)
			case ext != "" && !strings.HasSuffix(got, "."+ext):
				t.Errorf("%q has lost the extension %q", got, ext)
			}
		}
		if got := numberedName(stem, ext, n); !strings.Contains(got, fmt.Sprintf(" (%d)", n)) {
			t.Errorf("%q has lost the number %d", got, n)
		}
		if got := trashName(name); len(noteName(got)) > maxName {
			t.Errorf("%q leaves no room for its note", got)
		}
	})
}
