package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An example is one that organize's documentation gives, or stands for several of them, with what it says comes of it.
type example struct {
	name, config string
	files        []string // path below the home folder, then how it is made: see made
	want         []string // paths afterwards; what went to the trash is not among them
	said         []string // by echo
	lost         bool     // something could not be carried over
	same         bool     // organize 2.4 leaves the same files
}

var examples = []example{
	{name: "filter_mode", config: `
rules:
  - locations: ~/Desktop
    filter_mode: none
    filters: [empty, {name: {endswith: "2022"}}]
    actions: [{echo: "{name}"}]
  - locations: ~/Desktop
    filters: [not extension: jpg, {name: {startswith: Invoice}}, not empty]
    actions: [{echo: "second {name}"}]`,
		files: []string{"Desktop/void empty", "Desktop/May 2022", "Desktop/Invoice 1.pdf", "Desktop/Invoice 2.jpg"},
		said:  []string{"Invoice 1", "Invoice 2", "second Invoice 1"}},
	{name: "created long ago, and today", config: `
rules:
  - locations: ~/Desktop
    filters: [created: {days: 10}]
    actions: [{echo: "Was created at least 10 days ago"}]
  - locations: ~/Desktop
    filters: [created: {hours: 5, mode: newer}]
    actions: [{echo: "Was created within the last 5 hours"}]`,
		files: []string{"Desktop/a"}, said: []string{"Was created within the last 5 hours"}},
	{name: "year of creation", same: true, config: `
rules:
  - locations: ~/Documents
    filters: [extension: pdf, created]
    actions: [{move: "~/Documents/PDF/{created.year}/"}]`,
		files: []string{"Documents/a.pdf", "Documents/b.txt"}, want: []string{"Documents/PDF/YEAR/a.pdf", "Documents/b.txt"}},
	{name: "formats of dates", config: `
rules:
  - locations: ~/Documents
    filters: [extension: pdf, lastmodified]
    actions:
      - echo: "ISO Format:   {lastmodified.strftime('%Y-%m-%d')}"
      - echo: "As timestamp: {lastmodified.timestamp() | int}"`,
		files: []string{"Documents/a.pdf at=2020-05-06T00:00:00Z"}, said: []string{"ISO Format:   2020-05-06", "As timestamp: 1588723200"}},
	{name: "duplicates in two folders", config: `
rules:
  - locations: [~/Desktop, ~/Downloads]
    subfolders: true
    filters: [duplicate]
    actions: [{echo: "{path.name} is a duplicate of {duplicate.original}"}]`,
		files: []string{"Desktop/a.txt is=same", "Downloads/x/b.txt is=same", "Downloads/c.txt is=other"},
		said:  []string{"b.txt is a duplicate of HOME/Desktop/a.txt"}},
	{name: "empty folders", same: true, config: `
rules:
  - targets: dirs
    locations: [{path: ~/Desktop, max_depth: null}]
    filters: [empty]
    actions: [delete]`,
		files: []string{"Desktop/full/a", "Desktop/void/ dir"}, want: []string{"Desktop/full/a"}},
	{name: "pictures with a place keep their folders", config: `
rules:
  - locations: [{path: ~/Pictures, max_depth: null}]
    filters: [exif: gps.gpsdate]
    actions: [{copy: "~/Pictures/with_gps/{relative_path}/"}]`,
		files: []string{"Pictures/a.jpg exif", "Pictures/sub/b.jpg exif", "Pictures/c.jpg"},
		want:  []string{"Pictures/a.jpg", "Pictures/c.jpg", "Pictures/sub/b.jpg", "Pictures/with_gps/a.jpg", "Pictures/with_gps/sub/b.jpg"}},
	{name: "one camera", same: true, config: `
rules:
  - locations: [{path: ~/Pictures, max_depth: null}]
    filters: [exif: {image.model: Nikon D3200}]
    actions: [{move: "~/Pictures/My old Nikon/"}]`,
		files: []string{"Pictures/a.jpg exif", "Pictures/c.jpg"}, want: []string{"Pictures/My old Nikon/a.jpg", "Pictures/c.jpg"}},
	{name: "all cameras", same: true, config: `
rules:
  - locations: [{path: ~/Pictures, max_depth: null}]
    filters: [extension: jpg, exif: image.model]
    actions: [{move: "~/Pictures/{exif.image.model}/"}]`,
		files: []string{"Pictures/sub/a.jpg exif", "Pictures/c.jpg"}, want: []string{"Pictures/Nikon D3200/a.jpg", "Pictures/c.jpg"}},
	{name: "extensions from lists", config: `
img_ext: &img [png, jpg, tiff]
audio_ext: &audio [mp3, wav, ogg]
rules:
  - locations: ~/Desktop
    filters: [extension: [*img, *audio]]
    actions: [{echo: "Found media file: {path}"}]`,
		files: []string{"Desktop/a.JPG", "Desktop/b.ogg", "Desktop/c.txt"},
		said:  []string{"Found media file: HOME/Desktop/a.JPG", "Found media file: HOME/Desktop/b.ogg"}},
	{name: "extensions in lower case", same: true, config: `
rules:
  - locations: ~/Desktop
    filters: [name, extension]
    actions: [{rename: "{name}.{extension.lower()}"}]`,
		files: []string{"Desktop/a.PDF", "Desktop/b.txt"}, want: []string{"Desktop/a.pdf", "Desktop/b.txt"}},
	{name: "text of an invoice", config: `
rules:
  - locations: ~/Desktop
    filters: [filecontent: 'Invoice.*Customer (?P<customer>\w+)']
    actions: [{move: "~/Documents/Invoices/{filecontent.customer}/"}]`,
		files: []string{"Desktop/a.txt is=Invoice of May, Customer Müller, 5 EUR", "Desktop/b.txt is=Invoice of nobody"},
		want:  []string{"Desktop/b.txt", "Documents/Invoices/Müller/a.txt"}},
	{name: "a year in a name", config: `
rules:
  - locations: ~/Desktop
    filters: [regex: '(?P<year>20\d{2})-[01]\d-[0123]\d.*']
    actions: [{echo: "Year: {regex.year}"}]`,
		files: []string{"Desktop/2021-03-04 x.txt", "Desktop/1999-03-04.txt"}, said: []string{"Year: 2021"}},
	{name: "hash and size", lost: true, config: `
rules:
  - locations: ~/Desktop
    filters: [hash, size]
    actions: [{echo: "{hash} {size.decimal}"}]`,
		files: []string{"Desktop/a.txt is=hello"}, said: []string{"5d41402abc4b2a76b9719d911017c592 5"}},
	{name: "kinds of media", config: `
rules:
  - locations: ~/Downloads
    filters: [mimetype: image]
    actions: [{echo: "This file is an image: {mimetype}"}]
  - locations: ~/Downloads
    filters: [mimetype: [application/pdf, audio/midi]]
    actions: [{echo: "Found Midi or PDF."}]`,
		files: []string{"Downloads/a.jpg exif", "Downloads/b.pdf is=%PDF-1.4", "Downloads/c.txt"},
		said:  []string{"Found Midi or PDF.", "This file is an image: image/jpeg"}},
	{name: "names", config: `
rules:
  - locations: ~/Desktop
    filters: [name: {startswith: A, contains: hole, case_sensitive: false}]
    actions: [{echo: "Found a match."}]
  - locations: ~/Desktop
    filters: [name: {startswith: [A, B], contains: ["5", "6"], endswith: _end, case_sensitive: false}]
    actions: [{echo: "{path.name}"}]`,
		files: []string{"Desktop/a wHOLE b.txt", "Desktop/b6_END.txt", "Desktop/B7_end.txt"}, said: []string{"Found a match.", "b6_END.txt"}},
	{name: "an invoice by its number", same: true, config: `
rules:
  - locations: ~/Desktop
    filters: [regex: '^RG(?P<the_number>\d{12})-sig\.pdf$']
    actions: [{move: "~/Documents/Invoices/1und1/{regex.the_number}.pdf"}]`,
		files: []string{"Desktop/RG123456789012-sig.pdf", "Desktop/RG1.pdf"}, want: []string{"Desktop/RG1.pdf", "Documents/Invoices/1und1/123456789012.pdf"}},
	{name: "big downloads", config: `
rules:
  - locations: ~/Downloads
    filters: [size: "> 0.5 GB"]
    actions: [trash]`,
		files: []string{"Downloads/a.iso size=500000001", "Downloads/b.iso size=500000000"}, want: []string{"Downloads/b.iso"}},
	{name: "sizes between, folders kept", config: `
rules:
  - locations: [{path: ~/Pictures, max_depth: null}]
    filters: [extension: [jpg, jpeg], size: ">1mb, <10mb"]
    actions: [{move: "~/Pictures/sorted/{relative_path}/"}]`,
		files: []string{"Pictures/x/a.jpg size=1000001", "Pictures/b.JPEG size=9999999", "Pictures/c.jpg size=1000000", "Pictures/d.png size=2000000"},
		want:  []string{"Pictures/c.jpg", "Pictures/d.png", "Pictures/sorted/b.JPEG", "Pictures/sorted/x/a.jpg"}},
	{name: "no terminal, no answer", config: `
rules:
  - locations: [~/Downloads, ~/Documents]
    filters: [not empty, duplicate, name]
    actions: [{confirm: "Delete {name}?"}, trash]`,
		files: []string{"Downloads/a is=x", "Documents/b is=x"}, want: []string{"Documents/b", "Downloads/a"}},
	{name: "copies by extension", same: true, config: `
rules:
  - locations: ~/Desktop
    filters: [extension: [pdf, jpg]]
    actions: [{copy: {dest: "~/Desktop/{extension.upper()}/", on_conflict: overwrite}}]`,
		files: []string{"Desktop/a.pdf", "Desktop/b.jpg", "Desktop/PDF/a.pdf is=old"},
		want:  []string{"Desktop/JPG/b.jpg", "Desktop/PDF/a.pdf", "Desktop/a.pdf", "Desktop/b.jpg"}},
	{name: "numbers as organize writes them", same: true, config: `
rules:
  - locations: ~/Desktop/Invoices
    filters: [extension: [pdf]]
    actions: [{move: {dest: "~/Documents/Invoices/", on_conflict: "rename_new", rename_template: "{name} {counter}{extension}"}}]`,
		files: []string{"Desktop/Invoices/a.pdf", "Documents/Invoices/a.pdf is=other"},
		want:  []string{"Documents/Invoices/a 2.pdf", "Documents/Invoices/a.pdf"}},
	{name: "old downloads", config: `
rules:
  - locations: ~/Downloads
    filters: [lastmodified: {years: 1, mode: older}, extension: [png, jpg]]
    actions: [trash]`,
		files: []string{"Downloads/a.png days=400", "Downloads/b.png days=300", "Downloads/c.txt days=400"},
		want:  []string{"Downloads/b.png", "Downloads/c.txt"}},
	{name: "what is said of extensions", config: `
rules:
  - locations: [~/Desktop]
    filters: [extension, name]
    actions: [{echo: 'Found a {extension.upper()}: "{name}"'}]`,
		files: []string{"Desktop/backup.zip"}, said: []string{`Found a ZIP: "backup"`}},
	{name: "paths below several folders", config: `
rules:
  - locations: [{path: ~/Desktop, max_depth: null}, {path: ~/Downloads, max_depth: null}]
    actions: [{echo: "Path:     {path}"}, {echo: "Relative: {relative_path}"}]`,
		files: []string{"Desktop/x/a", "Downloads/x/ dir"}, want: []string{"Desktop/x/a"},
		said: []string{"Path:     HOME/Desktop/x/a", "Relative: x/a"}},
	{name: "a folder by its name", same: true, config: `
rules:
  - locations: ~/Desktop
    filters: [extension: [pdf, jpg]]
    actions: [{move: "~/Desktop/media/"}]`,
		files: []string{"Desktop/a.pdf", "Desktop/b.jpg", "Desktop/c"}, want: []string{"Desktop/c", "Desktop/media/a.pdf", "Desktop/media/b.jpg"}},
	{name: "a folder without a slash", config: `
rules:
  - locations: ~/Desktop
    filters: [extension: pdf]
    actions: [{move: ~/Desktop/media}]`,
		files: []string{"Desktop/a.pdf"}, want: []string{"Desktop/media/a.pdf"}},
	{name: "the folder that a file is in", same: true, config: `
rules:
  - locations: [{path: ~/in, max_depth: null}]
    filters: [name: {startswith: file}]
    actions: [{copy: "~/out/{path.parent.name}/"}]`,
		files: []string{"in/file1.txt", "in/f1/file2.txt", "in/f1/f2/file3.txt"},
		want: []string{"in/f1/f2/file3.txt", "in/f1/file2.txt", "in/file1.txt", "out/f1/file2.txt", "out/f2/file3.txt",
			"out/in/file1.txt"}},
	{name: "the whole structure", same: true, config: `
rules:
  - locations: ~/in
    subfolders: true
    filters: [name: {startswith: file}]
    actions: [{copy: "~/out/{relative_path}"}]`,
		files: []string{"in/file1.txt", "in/f1/file2.txt"}, want: []string{"in/f1/file2.txt", "in/file1.txt", "out/f1/file2.txt", "out/file1.txt"}},
	{name: "a link", same: true, config: `
rules:
  - locations: ~/in
    actions: [{symlink: "~/out/"}]`,
		files: []string{"in/a.txt"}, want: []string{"in/a.txt", "out/a.txt"}},
	{name: "a list of sizes", lost: true, config: `
rules:
  - locations: ~/Downloads
    filters: [size, extension]
    actions: [{write: {outfile: "~/sizes.{extension}.txt", text: "{size.bytes} -- {relative_path}", mode: append, clear_before_first_write: true}}]`,
		files: []string{"Downloads/a.txt is=12345", "Downloads/b.pdf"}, want: []string{"Downloads/a.txt", "Downloads/b.pdf", "sizes.pdf.txt", "sizes.txt.txt"}},
	{name: "a program", config: `
rules:
  - locations: ~/Desktop
    filters: [extension: pdf]
    actions: [{shell: 'cp "{path}" "{path}.bak"'}]`,
		files: []string{"Desktop/$(touch x).pdf"}, want: []string{"Desktop/$(touch x).pdf", "Desktop/$(touch x).pdf.bak"}},
	{name: "code is not carried over", lost: true, config: `
rules:
  - locations: ~/Students/
    filters: [python: "return int(path.stem.split('-')[1]) % 2 == 1"]
    actions: [trash]
  - locations: ~/Students/
    filters: [extension: txt]
    actions: [trash]`,
		files: []string{"Students/student-01.jpg"}, want: []string{"Students/student-01.jpg"}},
	{name: "version 1: globs and what is left out", config: `
rules:
  - folders: ['~/Downloads/**/*.*', '! ~/Downloads/Software', '! ~/Downloads/**/*system*.bak', ~/Documents, '! ~/Documents/important.txt']
    actions: [{move: '~/all/'}]`,
		files: []string{"Downloads/x/a.txt", "Downloads/Software/b.txt", "Downloads/x/a system.bak", "Downloads/plain", "Documents/c.txt", "Documents/important.txt"},
		want:  []string{"Documents/important.txt", "Downloads/Software/b.txt", "Downloads/plain", "Downloads/x/a system.bak", "all/a.txt", "all/c.txt"}},
	{name: "version 1: copies keep the file for what follows", config: `
rules:
  - folders: ~/Desktop
    filters: [Extension: pdf]
    actions: [{copy: {dest: '~/Desktop/{extension.upper}/', counter_separator: '_'}}, trash]`,
		files: []string{"Desktop/a.pdf", "Desktop/PDF/a.pdf is=other"}, want: []string{"Desktop/PDF/a.pdf", "Desktop/PDF/a_2.pdf"}},
	{name: "autotidy: pictures by month", config: `
logging: {level: warn}
rules:
  - name: Sort Photos
    locations: ~/Downloads
    recursive: true
    filters: [extension: [jp*g, png], not: [name: '*_backup*']]
    actions: [{log: "moving ${name}${ext}"}, {rename: "${name}_%Y${ext}"}, {move: ~/Pictures/%Y}]`,
		files: []string{"Downloads/x/a.jpeg", "Downloads/b.png", "Downloads/c_backup.png"},
		want:  []string{"Downloads/c_backup.png", "Pictures/NOW/a_NOW.jpeg", "Pictures/NOW/b_NOW.png"},
		said:  []string{"moving a.jpeg", "moving b.png"}},
}

// TestImportedExamples carries the examples over and follows the rules in a real folder. Where organize is installed it
// does the same with a copy of the folder.
func TestImportedExamples(t *testing.T) {
	organize, _ := exec.LookPath("organize")
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t)
			for _, f := range e.files {
				made(t, p.home, f)
			}
			config, rules := filepath.Join(t.TempDir(), "config.yaml"), filepath.Join(t.TempDir(), "rules.yaml")
			if err := os.WriteFile(config, []byte(e.config+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			code, _, errs := p.run("rules", "import", config, "--output", rules)
			if want := map[bool]int{true: 3}[e.lost]; code != want {
				t.Fatalf("exit code %d, want %d: %s", code, want, errs)
			}
			written, err := os.ReadFile(rules)
			if err != nil {
				t.Fatal(err)
			}
			if code, out, errs := p.run("organize", "--rules", rules, "--min-age", "0", "--json"); code != 0 {
				t.Fatalf("exit code %d: %s%s\n%s", code, out, errs, written)
			} else if got := echoes(t, out, p.home); !slices.Equal(got, slices.Sorted(slices.Values(e.said))) {
				t.Errorf("it said\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(e.said, "\n"), written)
			}
			want := slices.Clone(e.want)
			if want == nil { // all files stay where they are
				for _, f := range e.files {
					name, _ := recipe(f)
					want = append(want, name)
				}
			}
			for i := range want {
				want[i] = strings.NewReplacer("YEAR", time.Now().UTC().Format("2006"), "NOW", time.Now().Format("2006")).Replace(want[i])
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, filesBelow(t, p.home)); diff != "" {
				t.Errorf("want -, got +:\n%s\n%s", diff, written)
			}
			if !e.same || organize == "" {
				return
			}
			other := t.TempDir()
			for _, f := range e.files {
				made(t, other, f)
			}
			run := exec.Command(organize, "run", config)
			run.Env = append(os.Environ(), "HOME="+other, "XDG_CONFIG_HOME="+other+"/.config", "XDG_CACHE_HOME="+other+"/.cache",
				"XDG_DATA_HOME="+other+"/.local/share", "XDG_STATE_HOME="+other+"/.local/state")
			if out, err := run.CombinedOutput(); err != nil {
				t.Fatalf("organize: %v\n%s", err, out)
			}
			if diff := cmp.Diff(filesBelow(t, other), filesBelow(t, p.home)); diff != "" {
				t.Errorf("organize -, forg +:\n%s", diff)
			}
		})
	}
}

// recipe parts the path of a file from how it is made. A path may hold blanks, the words behind it may not but for is.
func recipe(file string) (path, how string) {
	for _, word := range []string{" empty", " dir", " exif", " is=", " size=", " days=", " at="} {
		if i := strings.Index(file, word); i >= 0 {
			return file[:i], file[i+1:]
		}
	}
	return file, ""
}

// made makes a file: empty, dir, exif (a picture with tags), is=CONTENT, size=BYTES, days=AGE or at=TIME.
func made(t *testing.T, home, file string) {
	t.Helper()
	name, how := recipe(file)
	path := filepath.Join(home, filepath.FromSlash(name))
	dir := filepath.Dir(path)
	if how == "dir" {
		dir = path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	content, modified := []byte(name), old
	key, value, _ := strings.Cut(how, "=")
	size := int64(-1)
	var err error
	switch key {
	case "dir":
		return
	case "empty":
		content = nil
	case "exif":
		content = photo()
	case "is":
		content = []byte(value)
	case "size":
		size, err = strconv.ParseInt(value, 10, 64)
	case "days":
		var n int
		n, err = strconv.Atoi(value)
		modified = time.Now().AddDate(0, 0, -n)
	case "at":
		modified, err = time.Parse(time.RFC3339, value)
	}
	if err == nil {
		err = os.WriteFile(path, content, 0o644)
	}
	if err == nil && size >= 0 {
		err = os.Truncate(path, size)
	}
	if err == nil {
		err = os.Chtimes(path, modified, modified)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// photo is a JPEG whose tags name a camera and the day that satellites told.
func photo() []byte {
	order := binary.LittleEndian
	tiff := append([]byte("II*\x00"), 8, 0, 0, 0)
	entry := func(tag, kind uint16, count, value uint32) {
		tiff = order.AppendUint16(order.AppendUint16(tiff, tag), kind)
		tiff = order.AppendUint32(order.AppendUint32(tiff, count), value)
	}
	model, day := []byte("Nikon D3200\x00"), []byte("2020:01:02\x00")
	const first, ascii, long = 8, 2, 4
	gps := uint32(first + 2 + 2*12 + 4)
	data := gps + 2 + 12 + 4
	tiff = order.AppendUint16(tiff, 2)
	entry(0x0110, ascii, uint32(len(model)), data)
	entry(0x8825, long, 1, gps)
	tiff = order.AppendUint32(tiff, 0)
	tiff = order.AppendUint16(tiff, 1)
	entry(0x001d, ascii, uint32(len(day)), data+uint32(len(model)))
	tiff = order.AppendUint32(tiff, 0)
	tiff = append(append(tiff, model...), day...)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	out := []byte{0xff, 0xd8, 0xff, 0xe1}
	out = binary.BigEndian.AppendUint16(out, uint16(len(segment)+2))
	return append(append(out, segment...), 0xff, 0xda, 0, 2, 0xff, 0xd9)
}

// filesBelow lists the files of a home folder, but for what programs keep there for themselves.
func filesBelow(t *testing.T, home string) []string {
	t.Helper()
	all := []string{}
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == home {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(home, path)
			if err != nil {
				return err
			}
			all = append(all, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// echoes are the texts that rules said, sorted.
func echoes(t *testing.T, output, home string) []string {
	t.Helper()
	var result struct {
		Said []struct{ Text string }
	}
	if err := json.Unmarshal([]byte(output), &result); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var all []string
	for _, s := range result.Said {
		all = append(all, strings.ReplaceAll(s.Text, home, "HOME"))
	}
	slices.Sort(all)
	return all
}

// TestImportKeepsFiles: no rules file is overwritten, and none is left that is not whole.
func TestImportKeepsFiles(t *testing.T) {
	p := newProgram(t)
	config, rules := filepath.Join(p.home, "config.yaml"), filepath.Join(p.home, "rules.yaml")
	if err := os.WriteFile(config, []byte("rules: [{locations: ~/a, actions: [trash]}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rules, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, errs := p.run("rules", "import", config, "--output", rules)
	if got, err := os.ReadFile(rules); code != 2 || string(got) != "mine" || err != nil || !strings.Contains(errs, "exists already") {
		t.Errorf("exit code %d, %q, %v: %s", code, got, err, errs)
	}
	c := p.command("rules", "import", "-")
	c.Stdin = bytes.NewReader([]byte("rules: [{locations: ~/a, actions: [trash]}]"))
	if code, out, errs := finished(t, c, true); code != 0 || !strings.Contains(out, "- trash") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
}
