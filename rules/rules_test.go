package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gabriel-vasile/mimetype"
	"github.com/google/go-cmp/cmp"
)

func TestBuiltin(t *testing.T) {
	s := Builtin() // parse refuses extensions and types that are listed twice
	if got := len(s.exts); got < 600 {
		t.Errorf("%d extensions, want at least 600", got)
	}
	for i, k := range s.Kinds() {
		if k.Index != i || k.Category == "" || k.Type == "" {
			t.Errorf("kind %d is %+v", i, k)
		}
		if k.Category != strings.TrimSpace(k.Category) || strings.ContainsAny(k.Category+k.Type, `/\:*?"<>|`) {
			t.Errorf("%q/%q cannot be a folder everywhere", k.Category, k.Type)
		}
		same := slices.IndexFunc(s.kinds, func(o *Kind) bool { return o.Category == k.Category && o.Type == k.Type })
		if same != i {
			t.Errorf("%s/%s is there twice", k.Category, k.Type)
		}
	}
	if s.kinds[0].Category != "Other" {
		t.Errorf("kind 0 is %+v", s.kinds[0])
	}
	for e := range s.exts {
		if e != strings.ToLower(e) || len(e) > maxExt || strings.ContainsAny(e, " */") {
			t.Errorf("extension %q", e)
		}
		// What a compound extension is, Split must find.
		if stem, ext := s.Split("x." + e); stem != "x" || ext != e {
			t.Errorf("Split(x.%s) = %q, %q", e, stem, ext)
		}
	}
	if diff := cmp.Diff([]string{"Documents", "Images", "Videos", "Audio", "Books", "Archives", "Installers", "Disk images",
		"Code", "Data", "3D Models", "Fonts", "Torrents", "Other"}, s.Categories()); diff != "" {
		t.Error(diff)
	}
	if len(s.names.globs) > 4 {
		t.Error("too many patterns that every name is compared with")
	}
}

func TestParseStrict(t *testing.T) {
	const ok = "categories:\n- {name: Archives, types: [{name: Archives}]}\n- {name: Other, types: [{name: Other files}]}\n"
	if _, err := parse([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "categories: []", "[", ok + "extra: 1\n", ok + "lures: [Nothing]\n", ok + "partial: {a: b}\n",
		ok + "companions: [{of: [Other], extensions: x, names: sometimes}]\n",
		"categories:\n- {name: Archives, types: [{name: A, extensions: x, ambiguous: X}]}\n- {name: Other, types: [{name: O}]}\n",
		"categories:\n- {name: Archives, types: []}\n",
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ name, stem, ext string }{
		{"", "", ""},
		{"a", "a", ""},
		{"a.txt", "a", "txt"},
		{"A.TXT", "A", "TXT"},
		{".bashrc", ".bashrc", ""},
		{".config.json", ".config", "json"},
		{"a.tar.gz", "a", "tar.gz"},
		{"A.Tar.GZ", "A", "Tar.GZ"},
		{"a.tar.foo", "a", "tar.foo"},
		{"a.tar.gpg", "a", "tar.gpg"},
		{"a.tar.gz.asc", "a.tar.gz", "asc"},
		{"a.tar.torrent", "a.tar", "torrent"},
		{"linux-6.1.tar.xz", "linux-6.1", "tar.xz"},
		{".tar.gz", ".tar", "gz"},
		{"tar.gz", "tar", "gz"},
		{"a.d.ts", "a", "d.ts"},
		{"a.d.ts.map", "a", "d.ts.map"},
		{"jquery-3.6.min.js", "jquery-3.6", "min.js"},
		{"t1.nii.gz", "t1", "nii.gz"},
		{"book.fb2.zip", "book", "fb2.zip"},
		{"dump.sql.gz", "dump", "sql.gz"},
		{"t.csv.zst", "t", "csv.zst"},
		{"pi.img.xz", "pi", "img.xz"},
		{"x-1.pkg.tar.zst", "x-1", "pkg.tar.zst"},
		{"a.zip.gz", "a.zip", "gz"},
		{"a.jpg.xmp", "a.jpg", "xmp"},
		{"a.b.c", "a.b", "c"},
		{"a.", "a.", ""},
		{"..", "..", ""},
		{"...a", "...a", ""},
		{"..a.b", "..a", "b"},
		{"Version 1.2", "Version 1.2", ""},
		{"lib.so.1", "lib.so.1", ""},
		{"a.7z.001", "a", "7z.001"},
		{"Dr. Smith", "Dr. Smith", ""},
		{"a.b c", "a.b c", ""},
		{"a." + strings.Repeat("x", 40), "a." + strings.Repeat("x", 40), ""},
		{"\xff.\xfe", "\xff", "\xfe"},
	} {
		if stem, ext := Builtin().Split(c.name); stem != c.stem || ext != c.ext {
			t.Errorf("Split(%q) = %q, %q, want %q, %q", c.name, stem, ext, c.stem, c.ext)
		}
	}
}

func TestByExtension(t *testing.T) {
	for _, c := range []struct {
		ext, kind string
		sure      bool
	}{
		{"", "", false}, {"xyzzy", "", false}, {"é", "", false},
		{"pdf", "Documents/PDFs", true}, {"PDF", "Documents/PDFs", true},
		{"docx", "Documents/Word documents", true}, {"xlsx", "Documents/Spreadsheets", true},
		{"jpg", "Images/Photos", true}, {"CR2", "Images/Raw photos", true}, {"svg", "Images/Vector graphics", true},
		{"png", "Images/Pictures", true}, {"psd", "Images/Design", true}, {"ico", "Images/Icons", true},
		{"mkv", "Videos/Videos", true}, {"srt", "Videos/Subtitles", true},
		{"mp3", "Audio/Music", true}, {"m3u8", "Audio/Playlists", true}, {"mid", "Audio/MIDI and trackers", true},
		{"zip", "Archives/Archives", true}, {"tar.gz", "Archives/Archives", true}, {"tar.foo", "Archives/Archives", true},
		{"epub", "Books/E-books", true}, {"fb2.zip", "Books/E-books", true},
		{"dmg", "Installers/macOS installers", true}, {"deb", "Installers/Linux packages", true},
		{"exe", "Installers/Windows programs", true}, {"apk", "Installers/Mobile apps", true},
		{"appimage", "Installers/Programs", true}, {"iso", "Disk images/Disk images", true},
		{"go", "Code/Source code", true}, {"makefile", "Code/Source code", true}, {"README", "Documents/Text", true},
		{"ts", "Code/Web code", false}, {"d.ts", "Code/Web code", true}, {"key", "Documents/Presentations", false},
		{"numbers", "Documents/Spreadsheets", false}, {"pages", "Documents/Word documents", false},
		{"img", "Disk images/Disk images", false}, {"img.xz", "Disk images/Disk images", true},
		{"com", "Installers/Programs", false}, {"db", "Data/Databases", false}, {"dat", "Data/Other data", false},
		{"sql.gz", "Data/Databases", true}, {"csv.ZST", "Data/Tables", true}, {"sub", "Videos/Subtitles", false},
		{"torrent", "Torrents/Torrents", true}, {"ttf", "Fonts/Fonts", true}, {"lnk", "Other/Launchers", true},
		{"mts", "Videos/Videos", false}, {"mod", "Audio/MIDI and trackers", false}, {"m", "Code/Source code", false},
	} {
		k, sure := Builtin().ByExtension(c.ext)
		if got := kindName(k); got != c.kind || sure != c.sure {
			t.Errorf("ByExtension(%q) = %q, %v, want %q, %v", c.ext, got, sure, c.kind, c.sure)
		}
	}
}

func kindName(k *Kind) string {
	if k == nil {
		return ""
	}
	return k.Category + "/" + k.Type
}

func TestByMIME(t *testing.T) {
	for mime, want := range map[string]string{
		"":                          "",
		"application/octet-stream":  "",
		"text/plain; charset=utf-8": "",
		"application/x-never-seen":  "",
		"image":                     "",
		"image/jpeg":                "Images/Photos",
		"IMAGE/JPEG":                "Images/Photos",
		"image/x-new":               "Images/Pictures",
		"video/x-new":               "Videos/Videos",
		"audio/mpeg":                "Audio/Music",
		"audio/midi":                "Audio/MIDI and trackers",
		"font/woff":                 "Fonts/Fonts",
		"text/html; charset=utf-8":  "Documents/Web pages",
		"application/pdf":           "Documents/PDFs",
		"application/x-elf":         "Installers/Programs",
		"application/x-mach-binary": "Installers/Programs",
		"application/vnd.microsoft.portable-executable": "Installers/Windows programs",
		strings.Repeat("x", 200):                        "",
	} {
		if got := kindName(Builtin().ByMIME(mime)); got != want {
			t.Errorf("ByMIME(%q) = %q, want %q", mime, got, want)
		}
	}
}

// What content detection can say, by the extension that it gives.
func TestDetectable(t *testing.T) {
	for _, mime := range strings.Fields(`image/x-xpixmap application/x-7z-compressed application/zip
		application/vnd.openxmlformats-officedocument.wordprocessingml.document application/epub+zip
		application/vnd.android.package-archive application/java-archive application/x-ms-installer
		application/vnd.ms-outlook application/vnd.debian.binary-package application/x-tar application/fits
		video/quicktime video/mp4 video/matroska application/vnd.rn-realmedia-vbr application/gzip
		application/x-shockwave-flash application/x-chrome-extension application/wasm application/vnd.shp
		application/x-dbf application/dicom application/x-mobipocket-ebook application/x-ms-reader application/cbor
		application/vnd.sqlite3 image/vnd.dwg application/vnd.nintendo.snes.rom application/x-ms-shortcut
		application/marc application/x-msaccess application/zstd application/x-rpm application/x-bittorrent
		application/vnd.apache.parquet application/onenote application/vnd.framemaker application/bufr
		application/x-bytecode.python application/vnd.tcpdump.pcap application/rss+xml model/x3d+xml
		application/gpx+xml application/x-ndjson application/x-subrip text/csv text/vcard text/calendar
		application/warc message/rfc822 text/vnd.familysearch.gedcom application/vnd.wordperfect
		application/grib application/x-xar application/lzip application/x-coredump application/x-object`) {
		m := mimetype.Lookup(mime)
		if m == nil {
			t.Errorf("the detector does not know %s", mime)
			continue
		}
		k := Builtin().ByMIME(m.String())
		if k == nil {
			t.Errorf("%s has no kind", mime)
			continue
		}
		if ext := strings.TrimPrefix(m.Extension(), "."); ext != "" && ext != "fits" {
			byExt, _ := Builtin().ByExtension(ext)
			if byExt == nil || byExt.Category != k.Category {
				t.Errorf("%s is %s by content, %s by its extension %s", mime, kindName(k), kindName(byExt), ext)
			}
		}
	}
}

func TestDisguised(t *testing.T) {
	for name, want := range map[string]bool{
		"invoice.pdf.exe": true, "Invoice.PDF.Exe": true, "photo.jpg   .scr": true, "photo.jpg\u00a0\u2003.scr": true,
		"a.docx.js": false, "letter.doc.vbs": true, "x.zip.bat": true, "photo.jpg.lnk": true, "a.pdf.exe ": true,
		"a.pdf_____.exe": true, "film.mp4.com": true, "exe\u202efdp.jpg": true, "statement.csv.cmd": true,
		"setup.exe": false, "setup.v1.2.exe": false, "invoice.pdf": false, "a.exe.pdf": false, "": false, ".exe": false,
		"node.js.exe": false, "talk.key.exe": false, "com.example.text.apk": false, "www.example.com": false, "deploy.yaml.sh": false,
		"photo.jpg.xmp": false,
	} {
		if got := Builtin().Disguised(name); got != want {
			t.Errorf("Disguised(%q) = %v", name, got)
		}
	}
}

func TestNames(t *testing.T) {
	s := Builtin()
	for _, c := range []struct {
		what    string
		list    Lists
		yes, no string
	}{
		{"PartialNames", PartialNames,
			"a.part A.PART a.crdownload a.download a.aria2 a.!ut a.!qB a.opdownload a.partial ~$letter.docx .~lock.a.odt# a.tmp a.part-Frag12.x",
			"part a.parts .part a.pdf partial.txt"},
		{"SystemNames", SystemNames,
			".DS_Store Thumbs.db thumbs.db desktop.ini Desktop.ini ._photo.jpg Icon\r .Trash-1000 $RECYCLE.BIN",
			"photo.db icon Icons DS_Store a.ini"},
		{"ProjectMarkers", ProjectMarkers,
			".git .hg .svn node_modules go.mod Cargo.toml package.json pyproject.toml ProjectSettings scene.blend x.xcodeproj A.sln Makefile CMakeLists.txt",
			"Assets photo.jpg README.md git src .blend"},
		{"FolderBundleNames", FolderBundleNames,
			"Safari.app Photos.photoslibrary X.framework a.rtfd a.fcpbundle Song.logicx x.xcodeproj Deck.key",
			"app photos folder.d .app"},
		{"VersionControl", VersionControl, ".git .hg .svn CVS", "git .gitignore .gitmodules"},
	} {
		for _, name := range strings.Split(c.yes, " ") {
			if s.Lists(name)&c.list == 0 {
				t.Errorf("%s(%q) = false", c.what, name)
			}
		}
		for _, name := range strings.Split(c.no, " ") {
			if s.Lists(name)&c.list != 0 {
				t.Errorf("%s(%q) = true", c.what, name)
			}
		}
	}
	if s.Lists("System Volume Information") != SystemNames {
		t.Error("a name with spaces")
	}
	if base, ok := s.PartialOf("a.iso.aria2"); base != "a.iso" || !ok {
		t.Errorf("PartialOf = %q, %v", base, ok)
	}
	if base, ok := s.PartialOf("a.iso"); ok {
		t.Errorf("PartialOf(a.iso) = %q", base)
	}
	if base, ok := s.PartialOf(".part"); ok {
		t.Errorf("PartialOf(.part) = %q", base)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a*b*c", "abc", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "ac", false}, {"a*b*c", "abcd", false},
		{"*.part-frag*", "x.part-frag1", true}, {"ab*ba", "aba", false}, {"*", "x", true}, {"*x", "ax", true},
	} {
		var p patterns
		p.add(words{c.pattern}, SystemNames)
		if got := p.match(c.name) == SystemNames; got != c.want {
			t.Errorf("%q against %q: %v", c.name, c.pattern, got)
		}
	}
}

func TestBundles(t *testing.T) {
	for _, c := range []struct{ names, folders, want string }{
		{"a.pdf b.pdf a.txt", "x", ""},
		{"movie.mkv movie.srt other.mkv", "", "movie.mkv movie.srt"},
		{"movie.srt movie.mkv", "", "movie.mkv movie.srt"},
		{"Movie.mkv movie.EN.srt movie.pt-BR.forced.srt movie.2.srt", "", "Movie.mkv movie.EN.srt movie.pt-BR.forced.srt movie.2.srt"},
		{"movie.idx movie.sub movie.avi movie.nfo", "", "movie.avi movie.idx movie.sub movie.nfo"},
		{"movie.mkv movie.extended.srt", "", ""},
		{"a.b.mkv a.mkv a.b.en.srt", "", "a.b.mkv a.b.en.srt"},
		{"a.srt b.srt", "", ""},
		{"IMG_1.CR2 IMG_1.JPG IMG_1.xmp", "", "IMG_1.CR2 IMG_1.JPG IMG_1.xmp"},
		{"IMG_1.JPG IMG_1.CR2.xmp IMG_1.JPG.xmp IMG_1.CR2", "", "IMG_1.CR2 IMG_1.JPG IMG_1.CR2.xmp IMG_1.JPG.xmp"},
		{"IMG_0001.HEIC IMG_0001.MOV IMG_0001.AAE", "", "IMG_0001.HEIC IMG_0001.MOV IMG_0001.AAE"},
		{"IMG_0001.JPG IMG_0001.MOV", "", "IMG_0001.JPG IMG_0001.MOV"},
		{"holiday.jpg holiday.mov file001.jpg file001.mov", "", ""},
		{"photo.jpg photo.jpg.json data.json data.jpg", "", "photo.jpg photo.jpg.json"},
		{"a.iso a.iso.sha256 b.pdf b.asc c.pdf c.txt c.asc README README.asc", "", "a.iso a.iso.sha256|b.pdf b.asc|README README.asc"},
		{"a.tar.gz a.tar.gz.sig a.tar.gz.torrent", "", "a.tar.gz a.tar.gz.sig"},
		{"song.mp3 song.lrc disc.flac disc.cue disc.log", "", "song.mp3 song.lrc|disc.flac disc.cue disc.log"},
		{"roads.shp roads.shx roads.dbf roads.prj", "", "roads.shp roads.shx roads.dbf roads.prj"},
		{"page.html other.html", "page_files other other_data pictures_files", "page.html page_files/|other.html other_data/"},
		{"page.txt", "page_files", ""},
		{"A.jpg a.jpg a.xmp", "", "a.jpg a.xmp"},
		{"a.xmp b.sig", "", ""},
		{"movie.mkv movie.srt movie.srt.asc", "", "movie.mkv movie.srt movie.srt.asc"},
	} {
		names, folders := strings.Fields(c.names), strings.Fields(c.folders)
		if got := groups(names, folders); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.names, c.folders, got, c.want)
		}
	}
}

func groups(names, folders []string) string {
	var out []string
	for _, b := range Builtin().Bundles(names, folders) {
		var words []string
		for _, i := range b.Files {
			words = append(words, names[i])
		}
		for _, i := range b.Folders {
			words = append(words, folders[i]+"/")
		}
		out = append(out, strings.Join(words, " "))
	}
	return strings.Join(out, "|")
}

func FuzzName(f *testing.F) {
	for _, name := range []string{"a.tar.gz", ".bashrc", "..", "a.d.ts.map", "photo.jpg   .scr", "~$a", "x.\xff", "İ.PDF"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s := Builtin()
		stem, ext := s.Split(name)
		whole := stem
		if ext != "" {
			whole += "." + ext
		}
		if whole != name || (stem == "" && name != "") {
			t.Fatalf("Split(%q) = %q, %q", name, stem, ext)
		}
		if ext != "" && strings.Trim(stem, ".") == "" {
			t.Fatalf("Split(%q) leaves the stem %q", name, stem)
		}
		if k, _ := s.ByExtension(ext); k != nil && s.Kinds()[k.Index] != k {
			t.Fatal(k)
		}
		s.Disguised(name)
		lists := s.Lists(name)
		s.ByMIME(name)
		if base, ok := s.PartialOf(name); ok && (base == "" || lists&PartialNames == 0) {
			t.Fatalf("PartialOf(%q) = %q", name, base)
		}
	})
}

func FuzzBundles(f *testing.F) {
	f.Add("movie.mkv\nmovie.en.srt\nIMG_001.jpg\nIMG_001.mov\nIMG_001.cr2\na.asc\npage.html", "page_files")
	f.Add("a.sig\na.sig.sig\na\nA.SIG\na.sha256", "a_files\n_files")
	f.Fuzz(func(t *testing.T, files, dirs string) {
		names, folders := unique(files), unique(dirs)
		got := Builtin().Bundles(names, folders)
		seen, seenFolder := map[int]bool{}, map[int]bool{}
		for _, b := range got {
			if len(b.Files)+len(b.Folders) < 2 {
				t.Fatalf("bundle of one: %v", b)
			}
			for _, i := range b.Files {
				if seen[i] {
					t.Fatalf("%q is in two bundles of %q", names[i], names)
				}
				seen[i] = true
			}
			for _, i := range b.Folders {
				if seenFolder[i] {
					t.Fatalf("%q is in two bundles", folders[i])
				}
				seenFolder[i] = true
			}
		}
		// Another order, the same bundles.
		mixed := slices.Clone(names)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if diff := cmp.Diff(members(names, folders), members(mixed, folders)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func unique(lines string) []string {
	list := strings.Split(lines, "\n")
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func members(names, folders []string) map[string][]string {
	out := map[string][]string{}
	for _, b := range Builtin().Bundles(names, folders) {
		var list []string
		for _, i := range b.Files {
			list = append(list, names[i])
		}
		for _, i := range b.Folders {
			list = append(list, folders[i]+"/")
		}
		slices.Sort(list)
		out[names[b.Files[0]]] = list
	}
	return out
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(builtinYAML); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplitByExtension(b *testing.B) {
	s := Builtin()
	for _, name := range []string{"IMG_20240131_123456.JPG", "linux-6.1.2.tar.xz", "dump.2024.sql.gz", "no extension"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, ext := s.Split(name)
				s.ByExtension(ext)
			}
		})
	}
}

func BenchmarkNameLists(b *testing.B) {
	s := Builtin()
	b.ReportAllocs()
	for b.Loop() {
		s.Lists("IMG_20240131_123456.JPG")
	}
}

func BenchmarkBundles(b *testing.B) {
	s := Builtin()
	for _, c := range []struct {
		what string
		exts []string
	}{
		{"unrelated", []string{"jpg", "pdf", "txt", "mp4", "zip", "mp3", "json"}},
		{"one-companion-in-seven", []string{"jpg", "pdf", "srt", "mkv", "zip", "mp3", "json"}},
		{"photos", []string{"cr2", "jpg", "xmp"}},
	} {
		names := make([]string, 100_000)
		for i := range names {
			n := i
			if c.what == "photos" {
				n = i / 3
			}
			names[i] = fmt.Sprintf("Some_File_%06d.%s", n, c.exts[i%len(c.exts)])
		}
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Bundles(names, nil)
			}
		})
	}
}
