package foreign

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"forg/rules"
)

func testOptions() rules.Options {
	return rules.Options{
		Home: "/home/me", Now: time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC),
		Env: func(name string) (string, bool) {
			v := map[string]string{"HOME": "/home/me", "DIR": "/srv/files", "WHO": "me"}[name]
			return v, v != ""
		},
	}
}

// imported imports a configuration and returns its rules without comments, its comments by line, and checks what is true
// of every result.
func imported(t *testing.T, name, source string) (text string, r Result) {
	t.Helper()
	r, err := Import(name, []byte(source), testOptions())
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	if _, err := rules.Parse("rules.yaml", r.YAML, testOptions()); err != nil {
		t.Fatalf("the result is no rules file: %v\n%s", err, r.YAML)
	}
	_, body, _ := strings.Cut(string(r.YAML), "rules:\n")
	var b strings.Builder
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "  #") && strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimPrefix(line, "  "))
		}
	}
	for _, n := range r.Notes {
		if n.Line < 1 || n.Text == "" || strings.ContainsAny(n.Text, "\n\r") {
			t.Errorf("the note %+v", n)
		}
		if !strings.Contains(string(r.YAML), n.Text) {
			t.Errorf("the rules do not hold the note %q:\n%s", n.Text, r.YAML)
		}
	}
	return b.String(), r
}

// indent puts lines below a key.
func indent(s string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+pad) + "\n"
}

// block returns what stands below a key of the first rule in text.
func block(text, key string) string {
	var b strings.Builder
	in := false
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 && strings.HasPrefix(line, "- ") {
			break
		}
		if !strings.HasPrefix(line, "   ") {
			in = strings.HasPrefix(line, "  "+key+":")
			continue
		}
		if in {
			b.WriteString(strings.TrimPrefix(line, "    ") + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// A piece is a filter or an action, and what becomes of it.
type piece struct {
	in, out  string
	note     string // a part of a note; "" if there is none
	lost     bool   // something could not be carried over
	disabled bool   // so that the rule must not run
}

func (p piece) check(t *testing.T, source, key string) {
	t.Helper()
	name := "config.yaml"
	if strings.HasPrefix(source, "daemon:") {
		name = "autotidy.yaml"
	}
	text, r := imported(t, name, source)
	if got := block(text, key); got != p.out {
		t.Errorf("%s\nbecomes\n%s\nwant\n%s", p.in, got, p.out)
	}
	notes := slices.DeleteFunc(slices.Clone(r.Notes), func(n Note) bool { return strings.Contains(n.Text, "watch has options") })
	lost := slices.ContainsFunc(notes, func(n Note) bool { return n.Lost })
	disabled := strings.Contains(text, "enabled: false")
	if lost != p.lost || disabled != p.disabled {
		t.Errorf("%s\nlost %v, disabled %v; want %v, %v\n%v", p.in, lost, disabled, p.lost, p.disabled, notes)
	}
	switch {
	case p.note == "" && len(notes) > 0:
		t.Errorf("%s\nnotes %v", p.in, notes)
	case !slices.ContainsFunc(notes, func(n Note) bool { return strings.Contains(n.Text, p.note) }) && p.note != "":
		t.Errorf("%s\nnotes %v, want %q", p.in, notes, p.note)
	}
}

func TestOrganizeFilters(t *testing.T) {
	for _, p := range []piece{
		{in: "- created", out: "- created"},
		{in: "- created: {days: 10}", out: "- created:\n    days: 10"},
		{in: "- created: {hours: 5, mode: newer}", out: "- created:\n    hours: 5\n    mode: newer"},
		{in: "- created: {weeks: 1.5, days: 0}", out: "- created:\n    seconds: 907200"},
		{in: "- created: {years: 1.5}", note: "whole years", lost: true, disabled: true},
		{in: "- created: {days: -1}", note: "no age is less", lost: true, disabled: true},
		{in: "- created: {mode: odd, days: 1}", note: "older or newer", lost: true, disabled: true},
		{in: "- created: {timezone: Europe/Moscow}", out: "- created", note: "timezone", lost: true},
		{in: "- created: {day: 1}", out: "- created", note: `no "day"`, lost: true, disabled: true},
		{in: "- lastmodified: {years: 1, months: 2}", out: "- modified:\n    years: 1\n    months: 2"},
		{in: "- not lastmodified:\n    days: 3", out: "- not:\n    modified:\n      days: 3"},
		{in: "- date_added: {weeks: 2}", out: "- date_added:\n    weeks: 2"},
		{in: "- date_lastused: {days: 9}", out: "- accessed:\n    days: 9", note: "date_lastused", lost: true, disabled: true},

		{in: "- duplicate", out: "- duplicate:\n    keep: first"},
		{in: "- duplicate: first_seen", out: "- duplicate:\n    keep: first"},
		{in: "- duplicate: {detect_original_by: created}", out: "- duplicate:\n    keep: oldest", note: "date of modification"},
		{in: "- duplicate: {detect_original_by: -created}", out: "- duplicate:\n    keep: newest", note: "date of modification"},
		{in: "- duplicate: {detect_original_by: lastmodified, hash_algorithm: md5}", out: "- duplicate:\n    keep: oldest"},
		{in: "- duplicate: {detect_original_by: -lastmodified}", out: "- duplicate:\n    keep: newest"},
		{in: "- duplicate: {detect_original_by: name}", out: "- duplicate:\n    keep: first", note: `by "name"`, lost: true, disabled: true},
		{in: "- duplicate: {detect_original_by: last_seen}", out: "- duplicate:\n    keep: first", note: `"last_seen"`, lost: true, disabled: true},

		{in: "- empty", out: "- empty"},
		{in: "- not empty", out: "- not: empty"},

		{in: "- exif", out: "- exif"},
		{in: "- exif: image.model", out: "- exif: image.model"},
		{in: "- exif: gps", out: "- exif: gps.*"},
		{in: "- exif: [gps, image.Model]", out: "- exif:\n    gps.*: null\n    image.model: null"},
		{in: "- exif: {image.model: Nikon D3200}", out: "- exif:\n    image.model: Nikon D3200"},
		{in: "- exif: {image.make: 'A{b}*'}", out: "- exif:\n    image.make: A\\{b\\}*"},
		{in: "- exif: {filter_tags: {image.make: x}, lowercase_keys: true}", out: "- exif:\n    image.make: x"},
		{in: "- exif: gps.gpsdate", out: "- exif: gps.gpsdatestamp"},
		{in: "- exif: {exif.isospeedratings: 200}", out: "- exif:\n    exif.iso: \"200\"", note: "another way"},
		{in: "- exif: {lowercase_keys: false}", out: "- exif", note: "lower case", lost: true},

		{in: "- extension"},
		{in: "- extension: png", out: "- extension: png"},
		{in: "- extension: [.JPG, jpeg, jpg, [webp]]", out: "- extension: [jpg, jpeg, webp]"},
		{in: "- extension: pdf docx", out: "- extension: [pdf, docx]"},
		{in: "- extension: 7", out: `- extension: "7"`},
		{in: "- extension: tar.gz", out: "- extension: tar.gz", note: "last dot"},
		{in: "- extension: 'a*'", note: "no extension", lost: true, disabled: true},
		{in: "- not extension: jpg", out: "- not:\n    extension: jpg"},
		{in: "- not extension", note: "no file passes", disabled: true},

		{in: "- filecontent", out: "- content: (?ms)(?P<all>.*)"},
		{in: `- filecontent: 'Customer (?P<who>\w+)'`, out: `- content: (?ms)Customer (?P<who>[\pL\pN_]+)`},
		{in: `- filecontent: {expr: '(?=a)b'}`, note: `has no "(?="`, lost: true, disabled: true},

		{in: "- hash", out: "- hash: md5"},
		{in: "- hash: SHA256", out: "- hash: sha256"},
		{in: "- hash: {algorithm: sha1}", out: "- hash: sha1"},
		{in: "- hash: sha3_512", out: "- hash", note: "sha3_512", lost: true, disabled: true},

		{in: "- macos_tags"},
		{in: "- macos_tags: 'Invoice (*)'", out: "- tags: Invoice"},
		{in: "- macos_tags: ['Inv* (*)', 'b* (*)']", out: "- tags: [Inv*, b*]"},
		{in: "- macos_tags: Invoice", out: "- tags: Invoice", note: "finds no tag"},
		{in: "- macos_tags: '* (red)'", out: "- tags: '*'", note: "colours", lost: true, disabled: true},

		{in: "- mimetype", out: "- mime", note: "extension alone"},
		{in: "- mimetype: image", out: "- mime: image/*", note: "extension alone"},
		{in: "- mimetype: [application/pdf, audio/midi, video/]", out: "- mime: [application/pdf, audio/midi, video/*]", note: "extension alone"},
		{in: "- mimetype: im", out: "- mime: im*/*", note: "extension alone"},

		{in: "- name"},
		{in: "- name: Invoice*", out: "- name: Invoice*"},
		{in: "- name: {match: 'IMG_{number}', case_sensitive: no}", out: "- name:\n    match: IMG_{number}\n    case_sensitive: false", note: "at least"},
		{in: "- name: 'a[1]?{}'", out: `- name: a\[1\]\?*`},
		{in: "- name: 'IMG_{number:int}'", out: `- regex: (?s)^IMG_(?P<number>[+-]?[0-9]+)(?:\.[^.]*)?$`},
		{in: "- name: '{m:email}x{n:ssn}'", note: `the type "ssn"`, lost: true, disabled: true},
		{in: "- name: {startswith: Invoice}", out: "- name:\n    startswith: Invoice"},
		{in: "- name: {startswith: [A, B], contains: [5, 6], endswith: _end, case_sensitive: false}",
			out: "- name:\n    startswith: [A, B]\n    contains: [\"5\", \"6\"]\n    endswith: _end\n    case_sensitive: false"},
		{in: "- name: {startswith: ['', B]}"},

		{in: "- regex: '^RG(\\d{12})-sig\\.pdf$'", out: `- regex: ^RG(\d{12})-sig\.pdf$`},
		{in: "- regex: {expr: '(?P<year>20\\d{2})'}", out: `- regex: (?P<year>20\d{2})`},
		{in: "- regex: 'a(?!b)'", note: "RE2", lost: true, disabled: true},
		{in: `- regex: '\bx\b'`, out: `- regex: \bx\b`, note: "English"},
		{in: "- regex", note: "no expression", lost: true, disabled: true},

		{in: "- size", out: "- size"},
		{in: "- size: '> 0.5 GB'", out: "- size: '> 0.5 GB'"},
		{in: "- size: '>1mb, <10mb'", out: "- size: '> 1 MB, < 10 MB'"},
		{in: "- size: ['>= 5 TiB', '<.5e']", out: "- size: '>= 5 TiB, < 500000000000000000'"},
		{in: "- size: 30k", out: "- size: 30 kB"},
		{in: "- size: '> 5'", out: "- size: '> 5'", note: "kilobytes"},
		{in: "- size: '> 5 megabytes'", note: "always holds", lost: true, disabled: true},
		{in: "- size: '=> 5k'", note: "is no size", lost: true, disabled: true},

		{in: "- python: return True", note: "run no programs", lost: true, disabled: true},
		{in: "- colour: red", note: `no filter "colour"`, lost: true, disabled: true},
		{in: "- 7", note: `no filter "7"`, lost: true, disabled: true},
	} {
		p.check(t, "rules:\n  - locations: ~/in\n    filters:\n"+indent(p.in, 6)+"    actions:\n      - trash\n", "filters")
	}
}

func TestOrganizeActions(t *testing.T) {
	for _, p := range []piece{
		{in: "- confirm", out: "- confirm"},
		{in: "- confirm: 'Delete {name}?'", out: "- confirm: Delete {name}?"},
		{in: "- confirm: {msg: Go, default: false}", out: "- confirm: Go", note: "default"},

		{in: "- copy: ~/out/", out: "- copy: ~/out/"},
		{in: "- copy: {dest: ~/out/, on_conflict: skip}", out: "- copy:\n    dest: ~/out/\n    on_conflict: skip"},
		{in: "- copy: {dest: ~/out/, on_conflict: trash, rename_template: x}", out: "- copy:\n    dest: ~/out/\n    on_conflict: overwrite"},
		{in: "- copy: {dest: ~/out/, on_conflict: overwrite}", out: "- copy:\n    dest: ~/out/\n    on_conflict: overwrite", note: "to the trash"},
		{in: "- copy: {dest: ~/out/, on_conflict: rename_new}", out: "- copy:\n    dest: ~/out/\n    on_conflict: rename"},
		{in: "- copy: {dest: ~/out/, on_conflict: deduplicate}", out: "- copy:\n    dest: ~/out/\n    on_conflict: rename", note: "deduplicate", lost: true},
		{in: "- copy: {dest: ~/out/, on_conflict: rename_existing}", out: "- copy:\n    dest: ~/out/\n    on_conflict: rename", note: "rename_existing", lost: true},
		{in: "- copy: {dest: ~/out/, on_conflict: explode}", out: "- copy: ~/out/", note: "explode", lost: true, disabled: true},
		{in: "- copy: {dest: ~/out/, rename_template: '{name} {counter}{extension}'}",
			out: "- copy:\n    dest: ~/out/\n    on_conflict: rename\n    rename_template: '{name} {counter}'"},
		{in: "- copy: {dest: ~/out/, rename_template: \"{'%03d' % counter}-{name}{extension}\"}",
			out: "- copy:\n    dest: ~/out/\n    on_conflict: rename\n    rename_template: '{counter:03}-{name}'"},
		{in: "- copy: {dest: ~/out/, rename_template: '{name}{extension}'}", out: "- copy:\n    dest: ~/out/\n    on_conflict: rename",
			note: "without {counter}", lost: true},
		{in: "- copy:\n    dest: ~/out/\n    continue_with: original\n- trash", out: "- copy: ~/out/\n- trash"},
		{in: "- copy: ~/out/\n- trash", out: "- copy: ~/out/", note: "copy that was made", lost: true, disabled: true},
		{in: "- copy: ~/a/\n- rename: x.txt", out: "- copy: ~/a/x.txt"},
		{in: "- copy: ~/a/\n- move: ~/b/", out: "- copy: ~/b/"},
		{in: "- copy: ~/a/x.txt\n- copy: ~/b/", out: "- copy: ~/a/x.txt\n- copy: ~/b/x.txt"},
		{in: "- copy: zip://~/a.zip", note: "this computer", lost: true, disabled: true},
		{in: "- copy: {dest: /a/, filesystem: 'ftp://x'}", note: "this computer", lost: true, disabled: true},

		{in: "- delete", out: "- trash", note: "deletes no file"},
		{in: "- trash", out: "- trash"},
		{in: "- trash\n- echo: gone", out: "- trash\n- echo: gone"},
		{in: "- trash\n- move: ~/a/", out: "- trash", note: "has gone", lost: true, disabled: true},
		{in: "- echo: 'Found {path}'", out: "- echo: Found {path}"},
		{in: "- echo: {msg: \"a\\nb\"}", out: "- echo: |-\n    a\n    b"},
		{in: "- echo\n- trash", out: "- trash", note: "left out"},
		{in: "- hardlink: ~/out/", out: "- hardlink: ~/out/"},
		{in: "- symlink: {dest: ~/out/x.txt, on_conflict: skip}", out: "- symlink:\n    dest: ~/out/x.txt\n    on_conflict: skip"},
		{in: "- macos_tags: Invoice", out: "- tag: Invoice"},
		{in: "- macos_tags: ['Year-{created.year} (none)', b]", out: "- tag: ['Year-{created:%Y}', b]"},
		{in: "- macos_tags: Invoice (red)", out: "- tag: Invoice", note: "no colours", lost: true},

		{in: "- move: ~/out/", out: "- move: ~/out/"},
		{in: "- move: ~/out", out: "- move: ~/out/"},
		{in: "- move: {dest: ~/out, autodetect_folder: false}", out: "- move: ~/out", note: "put a / there"},
		{in: "- move: ~/out/v1.2", out: "- move: ~/out/v1.2", note: "for it has a dot"},
		{in: "- move: '~/out/{extension}'", out: "- move: ~/out/{ext}/"},
		{in: "- move: '~/out/{path.stem}'", out: "- move: ~/out/{name}/", note: "does not end in an extension"},
		{in: "- move: '~/out/{path.name}'", out: "- move: ~/out/{filename}"},
		{in: "- move: '~/out/{path.stem}_x{path.suffix}'", out: "- move: ~/out/{name}_x.{ext}", note: "without an extension"},
		{in: "- move: out/", out: "- move: out/", note: "below the location"},
		{in: "- move: '~/out/./a//../b/'", out: "- move: ~/out/b/"},
		{in: "- move: '{path.parent}/sub/'", out: "- move: '{location}/sub/'"},
		{in: "- move: '~/x/{relative_path.parent}/'", out: "- move: ~/x/"},
		{in: "- move: '~/x/{relative_path}'", out: "- move: ~/x/{relative_path|folders}"},
		{in: "- move: '~/x/{path}'", note: "whole path", lost: true, disabled: true},
		{in: "- move: '$DIR/x/'", out: "- move: '{env.DIR}/x/'"},
		{in: "- move: '$NONE/x/'", out: "- move: $NONE/x/", note: "below the location"},
		{in: "- move: '{env.NONE}/x/'", note: "has no NONE", lost: true, disabled: true},
		{in: "- move: ~/a/\n- rename: 'x{path.suffix}'", out: "- move: ~/a/\n- rename: x.{ext}", note: "without an extension"},
		{in: "- rename: new.txt\n- move: '~/a/{path.name}'", out: "- rename: new.txt\n- move: ~/a/{filename}", note: "before the rule touched it",
			lost: true, disabled: true},
		{in: "- move: ''", note: "no dest", lost: true, disabled: true},

		{in: "- rename: '{name}.pdf'", out: "- rename: '{name}.pdf'"},
		{in: "- rename: {new_name: x.txt, on_conflict: skip}", out: "- rename:\n    name: x.txt\n    on_conflict: skip"},
		{in: "- rename: a/b", note: "no / in it", lost: true, disabled: true},

		{in: `- shell: 'open "{path}"'`, out: "- exec: [open, '{path}']", note: "one argument"},
		{in: `- shell: {cmd: 'convert {path} -resize 50% "$DIR/{path.stem}.png"'}`, out: "- exec: [convert, '{path}', -resize, 50%, '{env.DIR}/{name}.png']", note: "one argument"},
		{in: `- shell: '~/bin/x ''a b'''`, out: "- exec: ['{env.HOME}/bin/x', a b]", note: "one argument"},
		{in: "- shell: {cmd: 'true', run_in_simulation: true}", out: `- exec: ["true"]`, note: "dry run", lost: true},
		{in: "- shell: 'ls {path} | wc -l'", note: `"|" needs a shell`, lost: true, disabled: true},
		{in: "- shell: 'cd /tmp'", note: `"cd" needs a shell`, lost: true, disabled: true},
		{in: "- shell: 'A=1 x'", note: "a variable for one program", lost: true, disabled: true},
		{in: "- shell: '{path} -x'", note: "must not depend", lost: true, disabled: true},
		{in: "- shell: 'rm *'", note: `"*" needs a shell`, lost: true, disabled: true},
		{in: "- shell: 'x $NONE'", note: "no NONE", lost: true, disabled: true},
		{in: "- shell: x\n- echo: '{shell.output}'", out: "- exec: [x]\n- echo: '{{shell.output}}'", note: "no values from programs", lost: true},
		{in: "- python: print(1)", note: "no code", lost: true, disabled: true},

		{in: "- write: {outfile: ~/sizes.txt, text: '{size.bytes} {relative_path}', mode: prepend, newline: false}",
			out: "- write:\n    file: ~/sizes.txt\n    text: '{size} {relative_path}'\n    mode: prepend\n    newline: false"},
		{in: "- write: {outfile: ~/a.txt, text: x, clear_before_first_write: true}", out: "- write:\n    file: ~/a.txt\n    text: x", note: "earlier runs", lost: true},
		{in: "- write: {path: 'sizes.{extension}.txt', text: x}", out: "- write:\n    file: sizes.{ext}.txt\n    text: x", note: "below the location"},
		{in: "- write: {text: x}", note: "needs a file", lost: true, disabled: true},
		{in: "- defragment", note: `no action "defragment"`, lost: true, disabled: true},
	} {
		if p.out == "" {
			p.out = "- echo: none of the actions could be carried over"
		}
		p.check(t, "rules:\n  - locations: ~/in\n    actions:\n"+indent(p.in, 6), "actions")
	}
}

func TestOrganizeTemplates(t *testing.T) {
	for _, p := range []piece{
		{in: "{path.name} {path.stem} {path.parent.name} {path.parts[-2]}", out: "{filename} {name} {parent} {parent}"},
		{in: "{ path } {path.as_posix()} {relative_path} {relative_path.name}", out: "{path} {path} {relative_path} {filename}"},
		{in: "{path.parent} {relative_path.parent}", out: "{location} ."},
		{in: "{path.stem.lower()} {path.stem|upper} {path.stem | lower | title}", out: "{name|lower} {name|upper} {name|lower|lower|title}"},
		{in: "{path.stem[:3]} {path.stem[-4:]} {path.stem[0]}", out: "{name|first:3} {name|last:4} {name|first:1}"},
		{in: "{path.stem.replace('_', ' ').strip()}", out: `{name|replace:"_":" "|trim}`},
		{in: "{path.stem.split('-')[0]} {path.stem.split('-')[1]}", out: `{name|before:"-"} {name|after:"-"|before:"-"}`},
		{in: "{extension.upper()} {extension.lower}", out: "{ext|upper} {ext|lower}"},
		{in: "{created.year}-{created.month:02}-{created.day}", out: "{created:%Y}-{created:%m}-{created:%-d}"},
		{in: "{'%02d' % created.month} {'{:02}'.format(created.day)}", out: "{created:%m} {created:%d}"},
		{in: "{created.strftime('%Y-%m-%d')} {created:%Y}", out: "{created:%Y-%m-%d} {created:%Y}"},
		{in: "{lastmodified.strftime('%H:%M')}", out: `{modified:"%H:%M"}`},
		{in: "{lastmodified.timestamp() | int} {lastmodified.date()}", out: "{modified:%s} {modified:%Y-%m-%d}"},
		{in: "{now().year} {now().strftime('%B')} {today()}", out: "{now:%Y} {now:%B} {now:%Y-%m-%d}"},
		{in: "{created}", out: `{created:"%Y-%m-%d %H:%M:%S"}`, note: "without its zone"},
		{in: "{utcnow().hour}", out: "{now:%-H}", note: "UTC"},
		{in: "{env.WHO} {env['DIR']} $WHO $NONE", out: "{env.WHO} {env.DIR} {env.WHO} $NONE"},
		{in: "{exif.image.model} {exif['image']['make']} {exif.gps.gpsdate}", out: "{exif.image.model} {exif.image.make} {exif.gps.gpsdatestamp}"},
		{in: "{exif.image.model or 'Unknown'}", out: `{exif.image.model ?? "Unknown"}`},
		{in: "{exif.image.model|default('?')}", out: `{exif.image.model|default:"?"}`},
		{in: "{exif.exif.datetimeoriginal.year} {exif.image.datetime:%Y}", out: "{taken:%Y} {taken:%Y}", note: "{taken} stands for"},
		{in: "{hash} {mimetype} {size.bytes} {rule}", out: "{hash.md5} {mime} {size} {rule}"},
		{in: "{path.stem ~ '-' + extension}", out: "{name}-{ext}"},
		{in: "a}b {# a comment #}c", out: "a}}b c"},
		{in: "{size.traditional}", out: "{size}", note: "number of bytes", lost: true},
		{in: "{exif}", out: "{{exif}}", note: "all tags together", lost: true},
		{in: "{path.exists()}", out: "{{path.exists()}}", note: "no like", lost: true},
		{in: "{% if x %}a{% endif %}", out: "{{% if x %}}a{{% endif %}}", note: "statements", lost: true},
		{in: "{1 + 2 * 3}", out: "{{1 + 2 * 3}}", note: "goes beyond", lost: true},
		{in: "{python.x} {", out: "{{python.x}} {{", note: "never closed", lost: true},
		{in: "{created.astimezone('x')}", out: "{{created.astimezone('x')}}", note: "no astimezone", lost: true},
		{in: "{created.strftime('%x')}", out: "{{created.strftime('%x')}}", note: "do not know", lost: true},
	} {
		source := "rules:\n  - locations: ~/in\n    targets: files\n    filters: [size]\n    actions:\n      - echo: " + fmt.Sprintf("%q", p.in) + "\n"
		if strings.Contains(p.in, "{hash}") {
			p.out = strings.Replace(p.out, "{hash.md5}", "{hash}", 1)
			source = strings.Replace(source, "[size]", "[size, hash]", 1)
		}
		_, r := imported(t, "c", source)
		if !strings.Contains(string(r.YAML), quotedEcho(p.out)) {
			t.Errorf("%s: want %s in\n%s", p.in, quotedEcho(p.out), r.YAML)
		}
		lost := slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Lost })
		found := p.note == "" && len(r.Notes) == 0 || p.note != "" && slices.ContainsFunc(r.Notes, func(n Note) bool { return strings.Contains(n.Text, p.note) })
		if lost != p.lost || !found {
			t.Errorf("%s: notes %v, want %q", p.in, r.Notes, p.note)
		}
	}
}

// quotedEcho is how an echo of s is written.
func quotedEcho(s string) string {
	if strings.ContainsAny(s[:1], "{%'\"") || strings.Contains(s, ": ") || strings.Contains(s, " #") {
		return "- echo: '" + strings.ReplaceAll(s, "'", "''") + "'\n"
	}
	return "- echo: " + s + "\n"
}

// Rules as a whole: what they look at, and how they follow each other.
func TestOrganizeRules(t *testing.T) {
	const move = "    actions: [{move: ~/out/}]\n"
	for _, c := range []struct {
		name, in, out string
		notes         []string
	}{
		{"one location", "  - locations: ~/Desktop/\n" + move, "- name: Rule 1\n  locations: ~/Desktop\n  actions:\n    - move: ~/out/\n", nil},
		{"lists, and lists in them", "  - name: A\n    locations: [~/a, [~/b, $DIR]]\n    subfolders: yes\n    tags: [x, two words]\n" + move,
			"- name: A\n  locations:\n    - ~/a\n    - ~/b\n    - '{env.DIR}'\n  subfolders: true\n  actions:\n    - move: ~/out/\n  tags: [x, two-words]\n",
			[]string{`line 5: a tag is a word in forg: "two words" has become "two-words"`}},
		{"depths", "  - locations: [{path: ~/a, max_depth: 3}, {path: ~/b, max_depth: null}, ~/c]\n" + move,
			"- name: Rule 1\n  locations:\n    - path: ~/a\n      max_depth: 3\n    - ~/b\n    - path: ~/c\n      max_depth: 0\n  subfolders: true\n  actions:\n    - move: ~/out/\n", nil},
		{"options", "  - locations:\n      - path: ~/a\n        exclude_files: ['~*', 'x{1}']\n        exclude_dirs: Backup*\n        search: depth\n        ignore_errors: true\n" +
			"        system_exclude_files: []\n" + move,
			"- name: Rule 1\n  locations:\n    - path: ~/a\n      exclude_files: [~*, 'x\\{1\\}']\n      exclude_dirs: [Backup*]\n  actions:\n    - move: ~/out/\n",
			[]string{"line 6: search", "line 7: ignore_errors", "line 8: lost: system_exclude_files"}},
		{"options that are filters", "  - locations: [{path: ~/a, min_depth: 1, max_depth: 2, filter: ['*.py', 'a[!b]']}, ~/b]\n    filter_mode: any\n    filters: [empty, {extension: x}]\n" + move,
			"- name: Rule 1\n  locations:\n    - path: ~/a\n      max_depth: 2\n  filters:\n    - depth: '>= 1'\n    - path: ['**/*.py', '**/a[!b]']\n    - any:\n        - empty\n        - extension: x\n" +
				"  actions:\n    - move: ~/out/\n- name: Rule 1 (2)\n  locations: ~/b\n  filter_mode: any\n  filters:\n    - empty\n    - extension: x\n  actions:\n    - move: ~/out/\n",
			[]string{"line 2: the same rule"}},
		{"filter_dirs", "  - locations: [{path: ~/a, filter_dirs: [x], max_depth: null}]\n" + move,
			"- name: Rule 1\n  enabled: false\n  locations: ~/a\n  subfolders: true\n  actions:\n    - move: ~/out/\n", []string{"line 2: lost: filter_dirs"}},
		{"elsewhere", "  - locations: ['zip://a.zip', ~/a]\n" + move,
			"- name: Rule 1\n  enabled: false\n  locations: ~/a\n  actions:\n    - move: ~/out/\n", []string{"line 2: lost: zip://a.zip"}},
		{"nowhere", "  - actions: [{echo: hi}]\n",
			"- name: Rule 1\n  enabled: false\n  actions:\n    - echo: hi\n  continue: true\n", []string{"line 2: lost: a rule without locations"}},
		{"no variable", "  - locations: '{env.NONE}/a'\n" + move,
			"- name: Rule 1\n  enabled: false\n  actions:\n    - move: ~/out/\n", []string{"line 2: lost: {env.NONE}: the environment has no NONE here"}},
		{"dirs and names", "  - name: Same\n    targets: dirs\n    enabled: no\n    locations: ~/a\n    filters: [empty]\n    actions: [trash]\n  - name: Same\n    locations: ~/b\n" + move,
			"- name: Same\n  enabled: false\n  locations: ~/a\n  targets: dirs\n  filters:\n    - empty\n  actions:\n    - trash\n- name: Same (2)\n  locations: ~/b\n  actions:\n    - move: ~/out/\n", nil},
		{"none", "  - locations: ~/a\n    filter_mode: none\n    filters: [empty, {name: {endswith: '2022'}}]\n    actions: [{echo: x}]\n",
			"- name: Rule 1\n  locations: ~/a\n  filter_mode: none\n  filters:\n    - empty\n    - name:\n        endswith: \"2022\"\n  actions:\n    - echo: x\n  continue: true\n", nil},
		{"any with what always holds", "  - locations: ~/a\n    filter_mode: any\n    filters: [extension, {size: 1k}]\n" + move,
			"- name: Rule 1\n  locations: ~/a\n  actions:\n    - move: ~/out/\n", nil},
		{"never reached", "  - locations: ~/a\n" + move + "  - locations: ~/a\n    filters: [{extension: pdf}]\n" + move,
			"- name: Rule 1\n  locations: ~/a\n  actions:\n    - move: ~/out/\n- name: Rule 2\n  enabled: false\n  locations: ~/a\n  filters:\n    - extension: pdf\n  actions:\n    - move: ~/out/\n",
			[]string{`line 4: the rule is disabled: the rule "Rule 2" can never be reached: "Rule 1" takes all that it could match`}},
		{"deeper with every run", "  - locations: [{path: ~/a, max_depth: null}]\n    actions: [{move: '~/a/b/c/{relative_path}/'}]\n",
			"- name: Rule 1\n  locations:\n    - path: ~/a\n      exclude_dirs: [b/c]\n  subfolders: true\n  actions:\n    - move: ~/a/b/c/{relative_path|folders}\n",
			[]string{"line 3: ~/a/b/c/{relative_path}/: organize makes", "line 3: the rule leaves the folder b/c alone"}},
		{"what forg refuses", "  - locations: ~/a\n    filters: [{size: '> 1k'}, {size: '< 1k'}]\n" + move,
			"- name: Rule 1\n  enabled: false\n  actions:\n    - echo: not carried over, see the comment\n", []string{"line 2: lost: forg does not take the rule as it is: the rule can never match: no size fits this and another filter"}},
		{"duplicates in several folders", "  - locations: [~/a, ~/b]\n    filters: [duplicate]\n    actions: [trash]\n",
			"- name: Rule 1\n  locations:\n    - ~/a\n    - ~/b\n  filters:\n    - duplicate:\n        keep:\n          priority: [~/a, ~/b]\n  actions:\n    - trash\n", []string{"line 3: duplicate: among files"}},
		{"unknown keys", "  - locations: ~/a\n    colour: red\n" + move,
			"- name: Rule 1\n  enabled: false\n  locations: ~/a\n  actions:\n    - move: ~/out/\n", []string{`line 3: lost: organize has no key "colour"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, r := imported(t, "config.yaml", "rules:\n"+c.in)
			if diff := cmp.Diff(c.out, out); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			checkNotes(t, r.Notes, c.notes)
		})
	}
}

func checkNotes(t *testing.T, notes []Note, want []string) {
	t.Helper()
	var got []string
	for _, n := range notes {
		lost := ""
		if n.Lost {
			lost = "lost: "
		}
		got = append(got, fmt.Sprintf("line %d: %s%s", n.Line, lost, n.Text))
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("notes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOrganize1(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		notes         []string
	}{
		{"names of old", "- folders: ~/a\n  filters: [LastModified, {FileSize: '> 1k'}, {file_name: {startswith: x}}, {MimeType: image/png}]\n  actions: [Trash]\n",
			"- name: Rule 1\n  locations: ~/a\n  filters:\n    - modified\n    - size: '> 1 kB'\n    - name:\n        startswith: x\n    - mime: image/png\n  actions:\n    - trash\n",
			[]string{"line 3: mimetype"}},
		{"globs", "- folders: ['~/a/*_ui.*', '~/a/**/*.[c|h]']\n  actions: [{echo: '{basedir} {relative_path}'}]\n",
			"- name: Rule 1\n  locations: ~/a\n  filters:\n    - path: '*_ui.*'\n  actions:\n    - echo: '{location} {relative_path}'\n  continue: true\n" +
				"- name: Rule 1 (2)\n  locations: ~/a\n  subfolders: true\n  filters:\n    - path: '**/*.[c|h]'\n  actions:\n    - echo: '{location} {relative_path}'\n  continue: true\n",
			[]string{"line 2: the same rule"}},
		{"what is left out", "- folders: ['~/a/**/*', '! ~/a/Software', '!~/a/**/*system*.bak', ~/b, '! ~/b/x.txt', ~/c]\n  actions: [trash]\n",
			"- name: Rule 1\n  locations: ~/a\n  subfolders: true\n  filters:\n    - not:\n        path: [Software, Software/**]\n    - not:\n        path: '**/*system*.bak'\n  actions:\n    - trash\n" +
				"- name: Rule 1 (2)\n  locations: ~/b\n  filters:\n    - not:\n        path: [x.txt, x.txt/**]\n  actions:\n    - trash\n" +
				"- name: Rule 1 (3)\n  locations: ~/c\n  actions:\n    - trash\n",
			[]string{"line 2: the same rule"}},
		{"copies", "- folders: ~/a\n  system_files: true\n  actions:\n    - copy: {dest: '~/b/{extension.upper}/', overwrite: false, counter_separator: '_'}\n    - move: ~/c\n",
			"- name: Rule 1\n  locations: ~/a\n  actions:\n    - copy:\n        dest: ~/b/{ext|upper}/\n        on_conflict: rename\n        rename_template: '{name}_{counter}'\n    - move: ~/c\n",
			[]string{"line 2: lost: system_files", "line 6: move: without a /"}},
		{"a hyphen too many", "- folders: ~/a\n- filters: [{lastmodified: [{days: 365}]}]\n- actions: [delete]\n",
			"- name: Rule 1\n  locations: ~/a\n  filters:\n    - modified:\n        days: 365\n  actions:\n    - trash\n",
			[]string{"line 3: this is taken", "line 4: this is taken", "line 4: delete"}},
		{"formats of Python", "- folders: ~/a\n  filters: [created]\n  actions: [{rename: '{created.year}-{created.month:02}{{x}}{path.suffix}'}]\n",
			"- name: Rule 1\n  locations: ~/a\n  filters:\n    - created\n  actions:\n    - rename: '{created:%Y}-{created:%m}{{x}}.{ext}'\n  continue: true\n",
			[]string{"line 3: created", "line 4: {path.suffix}"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, r := imported(t, "config.yaml", "rules:\n"+c.in)
			if r.Kind != Organize1 {
				t.Error(r.Kind)
			}
			if diff := cmp.Diff(c.out, out); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			checkNotes(t, r.Notes, c.notes)
		})
	}
}

func TestAutotidyFilters(t *testing.T) {
	for _, p := range []piece{
		{in: "- name: '*_backup*'", out: "- path: '**/*_backup*'\n- extension: x", note: "PDF for pdf"},
		{in: "- name: {regex: '^a\\d+'}", out: "- regex: ^a\\d+\n- extension: x", note: "PDF for pdf"},
		{in: "- name: {glob: 'x**.txt'}", out: "- path: '**/x*.txt'\n- extension: x", note: "PDF for pdf"},
		{in: "- extension: [doc*, .PDF, '[ab]c']", out: "- any:\n    - extension: pdf\n    - regex: \\.doc[^.]*$\n    - regex: \\.[ab]c$\n- extension: x", note: "PDF for pdf"},
		{in: "- file_size: '> 10mb'", out: "- size: '> 10 MiB'\n- extension: x", note: "PDF for pdf"},
		{in: "- file_size: {between: {min: {mb: 1}, max: {gb: 1.5}}}", out: "- size: '>= 1 MiB, <= 1.5 GiB'\n- extension: x", note: "PDF for pdf"},
		{in: "- file_size: {at_most: {b: 5}}", out: "- size: <= 5 B\n- extension: x", note: "PDF for pdf"},
		{in: "- file_size: {gt: 5}", out: "- extension: x", note: "file_size", lost: true, disabled: true},
		{in: "- mime_type: [image/*, 'video/*']", out: "- mime:\n    is: [image/*, video/*]\n    detect: content\n- extension: x", note: "PDF for pdf"},
		{in: "- date_modified: {before: {days_ago: 30}}", out: "- modified:\n    days: 30\n- extension: x", note: "PDF for pdf"},
		{in: "- date_accessed: {after: {hours_ago: 1.5}}", out: "- accessed:\n    seconds: 5400\n    mode: newer\n- extension: x", note: "PDF for pdf"},
		{in: "- date_created: {after: {date: '2024-01-01'}, before: {unix: 1704153600}}",
			out: "- created:\n    after: \"2024-01-01T00:00:00Z\"\n- created:\n    before: \"2024-01-02T00:00:00Z\"\n- extension: x", note: "PDF for pdf"},
		{in: "- date_changed: {before: {days_ago: 1}}", out: "- extension: x", note: "date_changed", lost: true, disabled: true},
		{in: "- any: [{name: a*}, {file_size: '> 1kb', name: b*}]\n- not: [{name: c*}]",
			out: "- any:\n    - path: '**/a*'\n    - all:\n        - size: '> 1 KiB'\n        - path: '**/b*'\n- not:\n    path: '**/c*'\n- extension: x", note: "PDF for pdf"},
		{in: "- not: [{name: a*}, {name: b*}]", out: "- not:\n    all:\n      - path: '**/a*'\n      - path: '**/b*'\n- extension: x", note: "not all of them"},
		{in: "- file_type: file", out: "- extension: x", note: "PDF for pdf"},
		{in: "- not: [{file_type: dir}]", out: "- extension: x", note: "PDF for pdf"},
		{in: "- file_type: symlink", out: "- extension: x", note: "symbolic links", lost: true, disabled: true},
		{in: "- any: [{file_type: file}, {name: x}]", out: "- extension: x", note: "within any", lost: true, disabled: true},
	} {
		p.check(t, "daemon: {debounce: 1s}\nrules:\n  - name: A\n    locations: ~/in\n    filters:\n"+indent(p.in, 6)+"      - extension: x\n    actions: [trash]\n", "filters")
	}
}

func TestAutotidyActions(t *testing.T) {
	for _, p := range []piece{
		{in: "- move: ~/out", out: "- move: ~/out/"},
		{in: "- move: {dest: '~/a/%Y/%m-%B/${name}', on_conflict: rename_with_suffix}",
			out: "- move:\n    dest: ~/a/{now:%Y/%m-%B}/{name}/\n    on_conflict: rename\n    rename_template: '{name}_{counter}'"},
		{in: "- rename: '${name}_%Y%m%d_%H{x}${ext}'", out: "- rename: '{name}_{now:%Y%m%d_%H}{{x}}.{ext}'", note: "without an extension"},
		{in: "- copy: {new_name: 'b_${name}', on_conflict: skip}", out: "- copy:\n    dest: '{location}/b_{name}'\n    on_conflict: skip"},
		{in: "- copy: a/b", note: "no / in it", lost: true, disabled: true},
		{in: "- rename: {new_name: x, on_conflict: overwrite}", out: "- rename:\n    name: x\n    on_conflict: overwrite", note: "to the trash"},
		{in: "- log: {msg: '100%% of ${name} ${other}', level: warn}", out: "- echo: 100% of {name} ${{other}}"},
		{in: "- trash", out: "- trash"},
		{in: "- delete", out: "- trash", note: "deletes no file"},
		{in: "- shred", note: `no action "shred"`, lost: true, disabled: true},
		{in: "- move: ~/a/%Q", out: "- move: ~/a/%Q/", note: "no such conversion", lost: true},
	} {
		if p.out == "" {
			p.out = "- echo: none of the actions could be carried over"
		}
		p.check(t, "daemon: {debounce: 1s}\nrules:\n  - name: A\n    locations: ~/in\n    filters: [{file_type: file}]\n    actions:\n"+indent(p.in, 6), "actions")
	}
}

func TestAutotidyRules(t *testing.T) {
	out, r := imported(t, "config.yaml", `rules:
  - name: Old
    locations: [~/a, ~/b/]
    recursive: true
    traversal: breadth-first
    filters:
      - date_modified: {before: {weeks_ago: 4}}
    actions: [trash]
  - name: Empty
    locations: ~/a
    filters: [{file_type: [directory, file]}, {date_created: {before: {days_ago: 1}}}]
    actions: [delete]
  - name: Relative
    locations: a
    filters: [{file_type: file}]
    actions: [{log: x}]
`)
	want := `- name: Old
  locations:
    - ~/a
    - ~/b
  subfolders: true
  filters:
    - modified:
        weeks: 4
  actions:
    - trash
- name: Old (folders)
  enabled: false
  locations:
    - ~/a
    - ~/b
  subfolders: true
  targets: dirs
  filters:
    - modified:
        weeks: 4
  actions:
    - trash
- name: Empty
  locations: ~/a
  filters:
    - created:
        days: 1
  actions:
    - trash
- name: Empty (folders)
  locations: ~/a
  targets: dirs
  filters:
    - created:
        days: 1
    - empty
  actions:
    - trash
- name: Relative
  enabled: false
  actions:
    - echo: x
  continue: true
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if r.Kind != Autotidy {
		t.Error(r.Kind)
	}
}

func TestKinds(t *testing.T) {
	for source, want := range map[string]Kind{
		"rules: [{folders: a, actions: [trash]}]":                                               Organize1,
		"rules: [{locations: [{path: a, filesystem: b}], actions: [trash]}]":                    Organize2,
		"rules: [{locations: a, actions: [{echo: '{now.year}'}]}]":                              Organize2,
		"rules: [{locations: a, actions: [{echo: '{now().year}'}]}]":                            Organize3,
		"rules: [{locations: a, filters: [{extension: a}], actions: [trash]}]":                  Organize3,
		"rules: [{locations: a, filters: [{not: [{extension: a}]}], actions: [trash]}]":         Autotidy,
		"rules: [{locations: a, actions: [{rename: '${name}_%Y'}]}]":                            Autotidy,
		"logging: {level: warn}\nrules: [{locations: a, actions: [trash]}]":                     Autotidy,
		"{\"rules\": [{\"locations\": \"a\", \"subfolders\": true, \"actions\": [\"trash\"]}]}": Organize3,
	} {
		if r, err := Import("c", []byte(source), testOptions()); err != nil || r.Kind != want {
			t.Errorf("%s: %s, %v; want %s", source, r.Kind, err, want)
		}
	}
	for _, source := range []string{
		"a: b", "rules: x", "rules: {}", "[1, 2]", "x", "rules: [a, b]",
		"rules: [{locations: a, actions: [{echo: x}], continue: true}]",
		"rules: [{locations: a, filters: [{modified: {days: 1}}], actions: [{tag: x}], continue: true}]", // it is forg's
	} {
		if _, err := Import("c", []byte(source), testOptions()); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", source, err)
		}
	}
	for source, want := range map[string]string{
		"":                          "c: the file is empty",
		"rules: []":                 "c:1: the file holds no rules",
		"rules:\n - a: [":           "c:2: this is not YAML: did not find expected node content",
		"a: &a [*a]":                "",
		"a: b\n---\nc: [":           "c:3: this is not YAML",
		strings.Repeat("#", 5<<20):  "c: the file is larger than 4 MB",
		strings.Repeat("[", 20_000): "c: this is not YAML",
	} {
		if _, err := Import("c", []byte(source), testOptions()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", source, err, want)
		}
	}
}

func TestAliases(t *testing.T) {
	out, r := imported(t, "c", `all: &all [~/a, &b ~/b]
base: &base {locations: *all, subfolders: true}
rules:
  - <<: *base
    actions: [trash]
    actions: [{move: ~/c/}]
  - locations: [*b, !include x]
    actions: [trash]
`)
	want := "- name: Rule 1\n  locations:\n    - ~/a\n    - ~/b\n  subfolders: true\n  actions:\n    - move: ~/c/\n" +
		"- name: Rule 2\n  locations:\n    - ~/b\n    - x\n  actions:\n    - trash\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	checkNotes(t, r.Notes, []string{`line 6: "actions" is here twice`, "line 7: lost: !include: organize itself"})

	// An alias of aliases of aliases is cut short.
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	if _, err := Import("c", []byte(b.String()+"rules: [{locations: *a9, actions: [trash]}]"), testOptions()); err == nil {
		t.Error("a billion folders are no error")
	}
}

func TestPythonExpressions(t *testing.T) {
	for in, want := range map[string]string{
		`a\Z`: `a\z`, `a{,3}`: `a{0,3}`, `[\w-]+`: `[\pL\pN_-]+`, `\W`: `[^\pL\pN_]`, `[]a]`: `[\]a]`, `[^]a]`: `[^\]a]`, `[[a]`: `[\[a]`,
		`a(?# no )b`: `ab`, `\u00e9`: `\x{E9}`, `[\b]`: `[\x08]`, `(?u)x`: `x`, `(?i)x`: `(?i)x`, `\d\s\.`: `\d\s\.`,
		`(?P<a>x)(?P=a)`: "", `(a)\1`: "", `(?<=a)b`: "", `a++`: "", `(?>a)`: "", `(`: "", `\u12`: "", `\`: "",
	} {
		if got, _, err := fromPython(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzImport: whatever is imported, nothing panics, and what comes out is a rules file.
func FuzzImport(f *testing.F) {
	for _, s := range []string{
		"rules:\n  - locations: ~/a\n    filters:\n      - size: '> 1k'\n      - not name: 'x{a:int}'\n    actions:\n      - move: '~/b/{created.strftime(\"%Y\")}/{relative_path}/'\n",
		"rules:\n  - folders: ['~/a/**/*', '! ~/a/b']\n    actions:\n      - shell: 'open \"{path}\" $HOME'\n",
		"rules:\n  - locations: ~/a\n    recursive: true\n    filters: [{any: [{name: a*}, {not: [{file_size: '> 1mb'}]}]}]\n    actions: [{rename: '${name}_%Y${ext}'}]\n",
		"rules:\n  - locations: [{path: a, min_depth: 1, filter: ['[']}, b]\n    filters: [duplicate, {exif: {a.b: c}}]\n    actions: [{copy: {dest: x, rename_template: '{name}{counter}'}}, {rename: '{path.stem[:3] or 1}'}]\n",
		"rules:\n  - locations: ~/a\n    name: \"a\\u2028b\"\n    actions: [{echo: \"# \\n x\"}, {write: {outfile: a, text: ' x'}}]\n",
	} {
		f.Add([]byte(s))
	}
	opt := testOptions()
	f.Fuzz(func(t *testing.T, source []byte) {
		r, err := Import("fuzz", source, opt)
		if err != nil {
			if len(r.YAML) > 0 {
				t.Fatal("there is an error and a file")
			}
			return
		}
		if _, err := rules.Parse("fuzz", r.YAML, opt); err != nil {
			t.Fatalf("%v\n%s\nfrom\n%s", err, r.YAML, source)
		}
	})
}
