package rules

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

// sample uses every filter, action and option, in all their forms.
const sample = `
x-shared: &photos
  filters: [category: {is: [Images, Videos/Videos], detect: content}]
rules:
  - name: everything
    locations: [~/Downloads, {path: ~/Desktop, max_depth: 2, exclude_files: ["*.tmp"], exclude_dirs: .git}]
    targets: files
    filter_mode: any
    filters:
      - extension: [pdf, docx]
      - extension: {is: doc}
      - not extension
      - name: "Invoice {nr} *"
      - name: {match: ["a*", "b?"], startswith: x, contains: [y, z], endswith: w, case_sensitive: false}
      - regex: '^(?P<word>\w+)'
      - regex: {expression: [a, b]}
      - path: "**/x/*"
      - path: {match: [a, b], case_sensitive: true}
      - depth: 3
      - depth: {is: "> 1, < 4"}
      - size: "> 1 MB, < 2 GiB"
      - size: {is: 5}
      - size
      - created: {years: 1, months: 2, weeks: 3, days: 4, hours: 5, minutes: 6, seconds: 7, mode: newer}
      - modified: {before: 2024-05-01, after: 2023-01-01 12:00}
      - accessed:
      - date_added
      - taken: {days: 3}
      - category: Images
      - mime: image/*
      - mime: {is: [text/plain], detect: auto}
      - mismatch
      - mismatch: false
      - exif
      - exif: image.model
      - exif: [gps.*, image.*]
      - exif: {image.model: Nikon*, gps.*: , image.make: [a, b]}
      - image: {width: "> 10", height: 5, orientation: square}
      - video: {width: 1, height: 2, duration: "> 1 h", orientation: portrait}
      - audio: {artist: x, albumartist: x, album: x, title: [x, y], genre: x, composer: x, year: 1990-1999, track: 1, disc: 1, duration: 3 min}
      - audio
      - content: total
      - content: {expression: ['(?P<sum>\d+) EUR']}
      - hash: md5
      - hash: {algorithm: sha256, is: "` + "1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d" + `"}
      - hash: {algorithm: blake3, list: ~/hashes}
      - duplicate
      - duplicate: newest
      - duplicate: {keep: {priority: [~/A, ~/B]}}
      - empty: true
      - empty: {is: false}
      - origin: "*.example.com"
      - origin: {is: [a, b]}
      - tags: [red]
      - tags: {is: red}
      - archive: "*.exe"
      - archive: {contains: [a, b/c]}
      - all: [name: a, {not: {name: b}}]
      - any: [empty]
      - none: [empty, extension: x]
      - not: {any: [empty]}
      - not all: [empty]
    actions:
      - move: "A/{name.nr ?? regex.word ?? content.sum ?? hash:8 ?? 'x'}/"
      - move: {dest: "~/A/{now:%Y}/", on_conflict: rename, rename_template: "{name}-{counter}"}
      - copy: "{duplicate.of ?? env.WHO}/{{x}}"
      - rename: "{name|slug}.{ext ?? 'bin'}"
      - rename: {name: "x {counter:03}", on_conflict: overwrite}
      - hardlink: H/
      - symlink: {dest: S/, on_conflict: skip}
      - reflink: R/
      - extract
      - extract: {dest: X/, on_conflict: newer}
      - tag: red
      - tag: {add: [a, b], remove: c}
      - tag: {set: [a]}
      - write: {file: log.txt, text: "{filename}", mode: prepend, newline: false}
      - echo: "{rule}"
      - echo: {text: x}
      - confirm
      - confirm: "Sure?"
      - exec: [prog, "{path}"]
      - exec: {argv: [prog]}
      - trash
    continue: true
    tags: [always, x]
    enabled: true
  - <<: *photos
    name: photos
    subfolders: true
    tags: y
    actions: [move: "Photos/"]
  - targets: dirs
    filters: [empty]
    actions: [trash]
tests:
  - {name: a, file: a.pdf, in: x/y, now: 2024-05-01, size: 2 MB, modified: 2024-05-01, dir: false, image: {width: 5}, video: {duration: 1 h},
     audio.artist: x, exif: {a.b: c}, tags: [x], origin: https://x, archive: [a, b], duplicate: /x, text: x, hash: {md5: "0"},
     mime: a/b, unknown: [taken], empty: null, rule: everything}
  - {file: a.jpg, location: ~/Pictures, category: Images, to: null}
  - {file: a, actions: [trash], to: x}
`

func TestSample(t *testing.T) {
	r := mustParse(t, sample)
	// It is a sample of all there is.
	for _, e := range Reference() {
		switch e.Kind {
		case "filter", "action", "operator", "rule key", "location key", "test key":
			if !strings.Contains(sample, e.Name) {
				t.Errorf("the sample has no %s %s", e.Kind, e.Name)
			}
		case "option":
			if !strings.Contains(sample, e.Name+":") {
				t.Errorf("the sample has no option %s of %s", e.Name, e.Of)
			}
		}
	}
	if len(r.All()) != 3 {
		t.Error(names(r.All()))
	}
}

// The schema takes what Parse takes, and knows the same words.
func TestSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Error(schema["$schema"])
	}
	v := &validator{root: schema}
	if err := v.check(schema, yamlValue(t, sample), ""); err != nil {
		t.Error(err)
	}
	for _, source := range []string{
		"rules: [{actions: [trash]}]", "rules: [{actions: [trash: ]}]", "x-a: 1\nrules: [{actions: [trash], filters: [not: extension]}]",
	} {
		mustParse(t, source)
		if err := v.check(schema, yamlValue(t, source), ""); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	// What is wrong with the words of a file, an editor sees as well.
	for _, name := range []string{"keys.txtar/rule", "keys.txtar/file", "keys.txtar/types", "keys.txtar/noactions", "keys.txtar/rulestext",
		"filters.txtar/names", "filters.txtar/form", "filters.txtar/options", "filters.txtar/missing", "actions.txtar/names",
		"actions.txtar/form", "actions.txtar/options", "locations.txtar/depth", "locations.txtar/kinds", "tests.txtar/keys", "tests.txtar/list"} {
		archive, file, _ := strings.Cut(name, "/")
		a, err := txtar.ParseFile(filepath.Join("testdata/errors", archive))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == file+".yaml" })
		if err := v.check(schema, yamlValue(t, string(a.Files[i].Data)), ""); err == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}

func yamlValue(t *testing.T, source string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(source), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A validator knows the part of JSON Schema that Schema uses, and refuses the rest.
type validator struct{ root map[string]any }

func (v *validator) check(schema any, value any, at string) error {
	if b, ok := schema.(bool); ok {
		if !b {
			return fmt.Errorf("%s: not allowed", at)
		}
		return nil
	}
	s := schema.(map[string]any)
	for key, want := range s {
		if err := v.keyword(key, want, s, value, at); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) keyword(key string, want any, s map[string]any, value any, at string) error {
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	switch key {
	case "$schema", "$defs", "title", "description", "patternProperties":
	case "$ref":
		name := strings.TrimPrefix(want.(string), "#/$defs/")
		def, ok := v.root["$defs"].(map[string]any)[name]
		if !ok {
			return fmt.Errorf("no definition %s", name)
		}
		return v.check(def, value, at)
	case "anyOf":
		var first error
		for _, one := range want.([]any) {
			err := v.check(one, value, at)
			if err == nil {
				return nil
			}
			first = err
		}
		return first
	case "type":
		types, ok := want.([]any)
		if !ok {
			types = []any{want}
		}
		if !slices.Contains(types, any(typeOf(value))) && !(typeOf(value) == "integer" && slices.Contains(types, any("number"))) {
			return fmt.Errorf("%s: %v is no %v", at, value, want)
		}
	case "enum":
		if !slices.Contains(want.([]any), value) && !isObject && !isList || isObject || isList {
			return fmt.Errorf("%s: %v is none of %v", at, value, want)
		}
	case "minItems":
		if isList && len(list) < int(want.(float64)) {
			return fmt.Errorf("%s: too short", at)
		}
	case "minimum", "maximum":
		if n, ok := value.(int); ok && (key == "minimum" && n < int(want.(float64)) || key == "maximum" && n > int(want.(float64))) {
			return fmt.Errorf("%s: %d", at, n)
		}
	case "minProperties", "maxProperties":
		if n := len(object); isObject && (key == "minProperties" && n < int(want.(float64)) || key == "maxProperties" && n > int(want.(float64))) {
			return fmt.Errorf("%s: %d keys", at, n)
		}
	case "items":
		for i, item := range list {
			if err := v.check(want, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "properties":
		for name, schema := range want.(map[string]any) {
			if item, ok := object[name]; ok {
				if err := v.check(schema, item, at+"."+name); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		properties, _ := s["properties"].(map[string]any)
		for name, item := range object {
			if _, ok := properties[name]; ok || s["patternProperties"] != nil && strings.HasPrefix(name, "x-") {
				continue
			}
			if err := v.check(want, item, at+"."+name); err != nil {
				return err
			}
		}
	case "required":
		for _, name := range want.([]any) {
			if _, ok := object[name.(string)]; isObject && !ok {
				return fmt.Errorf("%s: no %s", at, name)
			}
		}
	default:
		return fmt.Errorf("the validator does not know %s", key)
	}
	return nil
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	}
	return "string" // and dates, which JSON does not know
}

func TestReference(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Reference() {
		if e.Kind == "" || e.Name == "" || e.Text == "" || strings.Contains(e.Text, "\n") || strings.HasSuffix(e.Text, ".") {
			t.Errorf("%+v", e)
		}
		if key := e.Kind + "|" + e.Of + "|" + e.Name; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
	}
	for _, f := range filters() {
		if f.build == nil || f.short != "" && f.option(f.short) == nil {
			t.Errorf("the filter %s", f.name)
		}
		for _, p := range f.gives {
			if !slices.ContainsFunc(append(slices.Clone(placeholders), filterPlaceholders...), func(known *placeholder) bool { return known.name == p }) {
				t.Errorf("%s gives {%s}, which is no placeholder", f.name, p)
			}
		}
	}
	for _, a := range actions {
		if named := actionNamed(a.name); named == nil || named.kind.String() != a.name || named.kind == 0 {
			t.Errorf("the action %s", a.name)
		}
	}
	if actionNamed("delete") != nil || ActionKind(99).String() != "nothing" {
		t.Error("delete")
	}
}
