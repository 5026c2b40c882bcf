package seal

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"forg/sync/api"
)

func testHasher() *Hasher { return NewHasher([32]byte{1}) }

// TestHasher: a server reads no name, and all the rest.
func TestHasher(t *testing.T) {
	h := testHasher()
	for _, e := range story(t) {
		s := must(h.Seal(device, epoch, e))(t)
		ok(t, s.Verify(api.DefaultLimits()))
		raw := must(s.Raw(1 << 20))(t)
		for _, secret := range append(secrets, strings.Repeat("\xab", 32), strings.Repeat("\xcd", 32), "home", "pdf", "Images") {
			if bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s: the server can read %s", e.Kind, secret)
			}
		}
		if s.Seq != e.Seq || s.ID != e.ID || s.TSClient != e.TSClient || IsSealed(&s) {
			t.Errorf("%s: it is another entry", e.Kind)
		}
		if back := must(h.Open(device, epoch, s))(t); back.SHA256 != s.SHA256 {
			t.Errorf("%s: it comes back otherwise", e.Kind)
		}
	}
	read := func(i int) api.Body {
		s := must(h.Seal(device, epoch, story(t)[i]))(t)
		return must(s.Decode())(t)
	}
	b := read(1).(api.Files)
	if b[0].Size != 90000 || b[0].Action != "rename" || b[0].MovedAt.IsZero() || b[1].Error != "" || !strings.HasPrefix(b[1].ContentHash, "hmac-sha256:") {
		t.Errorf("%+v", b)
	}
	// The same name has the same hash, wherever it is met, and another name has another.
	root := read(0).(*api.Started)
	if root.Planned != 2 || root.Kind != "organize" || root.CommandID != command || root.Command != "" {
		t.Errorf("%+v", root)
	}
	folder, _ := path.Split(b[0].SourcePath)
	if h.naming().path("/home/ada/Downloads/") != folder || path.Base(b[0].SourcePath) != path.Base(b[0].DestinationPath) || b[0].Category == b[1].Category {
		t.Errorf("%+v", b)
	}
	if other := NewHasher([32]byte{2}); other.naming().path("/home") == h.naming().path("/home") {
		t.Error("another secret gives the same")
	}
	later := must(h.Seal(device, epoch, story(t)[len(story(t))-1]))(t)
	if later.Kind != api.KindVoid || later.OpID != uuid.Nil {
		t.Errorf("what is not understood goes out as %s", later.Kind)
	}
}

func TestHashedPath(t *testing.T) {
	h := testHasher().naming()
	n := h.name
	for in, want := range map[string]string{
		"":                     "",
		"/":                    "/",
		"/a/b":                 "/" + n("a") + "/" + n("b"),
		"/a/b/":                "/" + n("a") + "/" + n("b") + "/",
		`/a\b/c`:               "/" + n(`a\b`) + "/" + n("c"),
		`C:\Users\a`:           n("C:") + `\` + n("Users") + `\` + n("a"),
		`C:\Users/a`:           n("C:") + `\` + n("Users") + `/` + n("a"),
		`\\server\share\a`:     `\\` + n("server") + `\` + n("share") + `\` + n("a"),
		"a":                    n("a"),
		"//a":                  "//" + n("a"),
		"/\xff\xfe/x":          "/" + n("\xff\xfe") + "/" + n("x"),
		"/a/../b":              "/" + n("a") + "/" + n("..") + "/" + n("b"),
		"/n\nl/\x00":           "/" + n("n\nl") + "/" + n("\x00"),
		"/a:b":                 "/" + n("a:b"),
		strings.Repeat("a", 9): n("aaaaaaaaa"),
	} {
		if got := h.path(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"/a:/b/c":     "/" + n("a") + ":/" + n("b") + "/" + n("c"),
		`C:\a;D:\b`:   n("C:") + `\` + n("a") + ";" + n("D:") + `\` + n("b"),
		"/with:colon": "/" + n("with") + ":" + n("colon"),
		"":            "",
	} {
		if got := h.roots(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestHashedProperty: whatever a path is, its hash is one that an entry has room for, as deep, and of letters only.
func TestHashedProperty(t *testing.T) {
	h := testHasher()
	rapid.Check(t, func(t *rapid.T) {
		p := "/" + rapid.StringN(0, -1, 4000).Draw(t, "path")
		if rapid.Bool().Draw(t, "deep") {
			p = strings.Repeat("/a", rapid.IntRange(1, api.MaxPath/2).Draw(t, "depth"))
		}
		got := h.naming().path(p)
		if len(got) > api.MaxPath || got != h.naming().path(p) {
			t.Fatalf("%d bytes", len(got))
		}
		if strings.Trim(got, codeLetters+"/") != "" {
			t.Fatalf("%q", got)
		}
		if len(p) < 1000 && strings.Count(got, "/") != strings.Count(p, "/") {
			t.Fatalf("%q becomes %q", p, got)
		}
		f := api.Files{{Seq: 1, SourcePath: p, DestinationPath: p, Action: "rename", Status: api.FileDone}}
		e, err := api.NewEntry(1, uuid.New(), op, 0, f)
		if err != nil {
			return // it has no room as it is
		}
		if s, err := h.Seal(device, epoch, e); err != nil || s.Kind != api.KindFiles {
			t.Fatal(s.Kind, err)
		}
	})
}

// TestHashedRoom: what hashes make too large becomes void, as anything that an entry has no room for.
func TestHashedRoom(t *testing.T) {
	h := testHasher()
	var f api.Files
	for i := range api.MaxRecords {
		f = append(f, api.FileRecord{Seq: int64(i) + 1, SourcePath: strings.Repeat("/x", i%1000+1), DestinationPath: "/y", Action: "rename", Status: api.FileDone})
	}
	e := entry(t, 1, f)
	s := must(h.Seal(device, epoch, e))(t)
	if s.Kind != api.KindVoid && len(s.Body) > maxHashed {
		t.Errorf("%s with %d bytes", s.Kind, len(s.Body))
	}
	if s.Kind != api.KindVoid {
		t.Logf("it has room: %d bytes", len(s.Body))
	}
	// As many files as fit into an entry, in as many folders, have room.
	for i := range f {
		name := "/home/ada/Pictures/" + uuid.NewString() + "/" + uuid.NewString() + ".jpg"
		f[i].SourcePath, f[i].DestinationPath = name, "/home/ada/"+uuid.NewString()+"/"+path.Base(name)
	}
	if s := must(h.Seal(device, epoch, entry(t, 1, f)))(t); s.Kind != api.KindFiles {
		t.Errorf("many folders are %s", s.Kind)
	}
}

func BenchmarkSeal(b *testing.B) {
	k, h := fixed(b, 1), testHasher()
	var f api.Files
	for i := range api.MaxRecords {
		f = append(f, api.FileRecord{Seq: int64(i) + 1, SourcePath: "/home/ada/Downloads/IMG_" + uuid.NewString()[:6] + ".jpg", DestinationPath: "/home/ada/Downloads/Images/IMG_1.jpg", Action: "rename", Status: api.FileDone})
	}
	e := entry(b, 1, f)
	b.Run("encrypted", func(b *testing.B) {
		b.SetBytes(int64(len(e.Body)))
		for b.Loop() {
			if _, err := k.Seal(device, epoch, e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hashed", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Seal(device, epoch, e); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*api.MaxRecords/b.Elapsed().Seconds(), "records/s")
	})
}
