package rules

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of rules files, for editors. It is made from the tables of the parser, so
// the two know the same words; what it cannot say (globs, templates, rules that are never reached), Parse finds.
func Schema() []byte {
	defs := object{
		"texts": object{"anyOf": []object{{"$ref": "#/$defs/text"}, {"type": "array", "minItems": 1,
			"items": object{"$ref": "#/$defs/text"}}}},
		"text": object{"type": []string{"string", "number"}},
	}
	filterNames := []string{"all", "any", "none", "not"}
	filterProperties := object{}
	list := object{"type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/filter"}}
	for _, name := range filterNames {
		value := list
		if name == "not" {
			value = object{"$ref": "#/$defs/filter"}
		}
		filterProperties[name] = described(value, operatorTexts[name])
		filterProperties["not "+name] = value
	}
	var bare []string
	for _, f := range filters() {
		value := valueSchema(f.options, f.short, f.bare != "", nil)
		if f.tags { // all keys are names of tags
			texts, null := object{"$ref": "#/$defs/texts"}, object{"type": "null"}
			pairs := object{"type": "object", "minProperties": 1, "additionalProperties": object{"anyOf": []object{texts, null}}}
			value = object{"anyOf": []object{texts, null, pairs}}
		}
		defs["filter."+f.name] = described(value, f.text)
		ref := object{"$ref": "#/$defs/filter." + f.name}
		filterProperties[f.name], filterProperties["not "+f.name] = ref, ref
		if f.bare != "" {
			bare = append(bare, f.name, "not "+f.name)
		}
	}
	defs["filter"] = object{"anyOf": []object{{"enum": bare}, one(filterProperties)}}

	actionProperties := object{}
	bare = nil
	for _, a := range actions {
		if len(a.options) == 0 {
			actionProperties[a.name] = described(object{"type": "null"}, a.text)
		} else {
			defs["action."+a.name] = described(valueSchema(a.options, a.short, a.bare != "", requiredOf(a)), a.text)
			actionProperties[a.name] = object{"$ref": "#/$defs/action." + a.name}
		}
		if a.bare != "" {
			bare = append(bare, a.name)
		}
	}
	defs["action"] = object{"anyOf": []object{{"enum": bare}, one(actionProperties)}}

	texts, text, flag := object{"$ref": "#/$defs/texts"}, object{"$ref": "#/$defs/text"}, object{"type": "boolean"}
	depth := object{"type": "integer", "minimum": 0, "maximum": 1000}
	location := closed(locationKeys, object{"path": text, "max_depth": depth, "exclude_files": texts, "exclude_dirs": texts}, "path")
	place := object{"anyOf": []object{text, location}}
	defs["location"] = place
	where := object{"$ref": "#/$defs/location"}
	defs["rule"] = closed(ruleKeys, object{
		"name": text, "locations": object{"anyOf": []object{where, {"type": "array", "minItems": 1, "items": where}}},
		"subfolders": flag, "targets": object{"enum": []string{"files", "dirs"}}, "filters": list,
		"filter_mode": object{"enum": []string{"all", "any", "none"}},
		"actions":     object{"type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/action"}},
		"continue":    flag, "tags": texts, "enabled": flag,
	}, "actions")
	defs["test"] = testSchema()

	root := closed(fileKeys[:2], object{
		"rules": object{"type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/rule"}},
		"tests": object{"type": "array", "items": object{"$ref": "#/$defs/test"}},
	}, "rules")
	root["patternProperties"] = object{"^x-": true}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "forg rules"
	root["$defs"] = defs

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic("rules: the schema is no JSON: " + err.Error()) // it is made of maps, slices and texts
	}
	return b.Bytes()
}

func described(schema object, text string) object {
	out := object{"description": text}
	for k, v := range schema {
		out[k] = v
	}
	return out
}

// one is a mapping with exactly one of the keys.
func one(properties object) object {
	return object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1,
		"maxProperties": 1}
}

// closed is a mapping with these keys alone.
func closed(keys []keySpec, properties object, required ...string) object {
	out := object{}
	for _, k := range keys {
		if schema, ok := properties[k.name].(object); ok {
			out[k.name] = described(schema, k.text)
		}
	}
	s := object{"type": "object", "properties": out, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}

// requiredOf returns the options without which an action makes no sense.
func requiredOf(a *action) []string {
	switch {
	case a.kind == Write:
		return []string{"file", "text"}
	case a.kind == Tag || a.bare != "":
		return nil
	}
	return []string{a.short}
}

// valueSchema is what can stand under the key of a filter or an action.
func valueSchema(options []*option, short string, bare bool, required []string) object {
	var forms []object
	properties := object{}
	for _, o := range options {
		properties[o.name] = described(o.schema(), o.text)
		if o.name == short {
			forms = append(forms, o.schema())
		}
	}
	mapping := object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1}
	if required != nil {
		mapping["required"] = required
	}
	forms = append(forms, mapping)
	if bare {
		forms = append(forms, object{"type": "null"})
	}
	return object{"anyOf": forms}
}

func (o *option) schema() object {
	switch o.kind {
	case textsOption:
		if o.name == "argv" {
			return object{"type": "array", "minItems": 1, "items": object{"$ref": "#/$defs/text"}}
		}
		return object{"$ref": "#/$defs/texts"}
	case boolOption:
		return object{"type": "boolean"}
	case countOption:
		return object{"type": "integer", "minimum": 0, "maximum": 1_000_000}
	case choiceOption:
		return object{"enum": o.values}
	case keepOption:
		words := slices.DeleteFunc(slices.Clone(o.values), func(s string) bool { return s == "priority" })
		return object{"anyOf": []object{{"enum": words}, {"type": "object",
			"properties": object{"priority": object{"$ref": "#/$defs/texts"}},
			"required":   []string{"priority"}, "additionalProperties": false}}}
	}
	return object{"$ref": "#/$defs/text"}
}

func testSchema() object {
	text := object{"$ref": "#/$defs/text"}
	properties := object{}
	for _, k := range testKeys {
		schema := text
		switch k.name {
		case "to":
			schema = object{"anyOf": []object{text, {"type": "null"}}}
		case "unknown", "actions":
			schema = object{"$ref": "#/$defs/texts"}
		}
		properties[k.name] = described(schema, k.text)
	}
	for _, f := range testFacts {
		schema := object{"anyOf": []object{text, {"type": "null"}}}
		switch f.kind {
		case boolFact:
			schema = object{"type": []string{"boolean", "null"}}
		case listFact:
			schema = object{"anyOf": []object{{"$ref": "#/$defs/texts"}, {"type": "null"}}}
		case exifFact:
			schema = object{"type": []string{"object", "null"}, "additionalProperties": text}
		}
		properties[f.name] = schema
		family, part, dotted := strings.Cut(f.name, ".")
		if !dotted {
			continue
		}
		group, ok := properties[family].(object)
		if !ok {
			group = object{"type": "object", "properties": object{}, "additionalProperties": false}
			properties[family] = group
		}
		group["properties"].(object)[part] = schema
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false,
		"required": []string{"file"}}
}

var operatorTexts = map[string]string{
	"all":  "all of a list of filters hold",
	"any":  "at least one of a list of filters holds",
	"none": "none of a list of filters holds",
	"not":  "one filter does not hold; \"not \" may also stand before its name",
}

// An Entry of the Reference is one word of the language.
type Entry struct {
	// Kind is "file key", "rule key", "location key", "test key", "operator", "filter", "action", "option", "placeholder",
	// "text filter" or "date format".
	Kind string
	Of   string // the filter or the action that an option belongs to
	Name string
	Text string // one line
}

// Reference lists every word of the language, in the order in which a manual would, from the tables of the parser.
func Reference() []Entry {
	var all []Entry
	add := func(kind, of, name, text string) { all = append(all, Entry{kind, of, name, text}) }
	for _, part := range []struct {
		kind string
		keys []keySpec
	}{{"file key", fileKeys}, {"rule key", ruleKeys}, {"location key", locationKeys}, {"test key", testKeys}} {
		for _, k := range part.keys {
			add(part.kind, "", k.name, k.text)
		}
	}
	options := func(of string, options []*option) {
		for _, o := range options {
			text := o.text
			if o.kind == choiceOption {
				text += " (" + strings.Join(o.values, ", ") + ")"
			}
			add("option", of, o.name, text)
		}
	}
	for _, name := range []string{"all", "any", "none", "not"} {
		add("operator", "", name, operatorTexts[name])
	}
	bare := func(text, bare string) string {
		if bare == "" {
			return text
		}
		return text + "; without a value: " + bare
	}
	for _, f := range filters() {
		add("filter", "", f.name, bare(f.text, f.bare))
		if !f.tags {
			options(f.name, f.options)
		}
	}
	for _, a := range actions {
		text := a.text
		if len(a.options) > 0 {
			text = bare(text, a.bare)
		}
		add("action", "", a.name, text)
		options(a.name, a.options)
	}
	for _, list := range [][]*placeholder{placeholders, filterPlaceholders} {
		for _, p := range list {
			add("placeholder", "", p.name, p.text)
		}
	}
	for _, f := range textFilters {
		add("text filter", "", f.name, f.text)
	}
	for _, v := range dateVerbs {
		add("date format", "", "%"+string(v.verb), v.text)
	}
	return all
}
