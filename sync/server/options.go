package server

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"forg/organizer"
	"forg/rules"
)

// organizeOptions are the options of an operation in a storage location, with the names and meanings of the flags of
// `forg organize`. What could reach out of the location, or run a program, is not among them.
type organizeOptions struct {
	By         []organizer.Key           `json:"by"`
	Recursive  bool                      `json:"recursive"`
	OnConflict organizer.Conflict        `json:"on_conflict"`
	Duplicates organizer.DuplicateAction `json:"duplicates"`
	Detect     organizer.Detect          `json:"detect"`
	MinAge     string                    `json:"min_age"`
	Include    []string                  `json:"include"`
	Exclude    []string                  `json:"exclude"`
	Hidden     bool                      `json:"hidden"`
	PruneEmpty bool                      `json:"prune_empty"`
	Again      bool                      `json:"again"`
	MaxFiles   int64                     `json:"max_files"`
	Rules      string                    `json:"rules"` // the name of rules that the operator has given the location

	age   time.Duration
	rules *rules.Rules // what the name stands for
}

var optionNames = []string{"by", "recursive", "on_conflict", "duplicates", "detect", "min_age", "include", "exclude", "hidden", "prune_empty", "again",
	"max_files", "rules"}

// readOptions reads options, with the defaults of the command line where there are none. Its errors are problems that name
// the field.
func readOptions(raw map[string]any) (organizeOptions, error) {
	f := organizeOptions{By: []organizer.Key{organizer.ByCategory}, OnConflict: organizer.ConflictRename, Duplicates: organizer.DuplicatesReport,
		Detect: organizer.DetectAuto, MinAge: "2s"}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if !slices.Contains(optionNames, name) {
			return f, invalid("body.options."+name, "is no option: there are "+strings.Join(optionNames, ", "))
		}
	}
	b, err := json.Marshal(raw)
	if err == nil && raw != nil {
		err = json.Unmarshal(b, &f)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return f, invalid("body.options."+e.Field, "cannot be a "+e.Value)
	}
	if err != nil {
		return f, err
	}
	if f.age, err = time.ParseDuration(f.MinAge); err != nil || f.age < 0 {
		return f, invalid("body.options.min_age", "is no time as 2s or 1h30m")
	}
	if _, by := raw["by"]; by && f.Rules != "" {
		return f, invalid("body.options.rules", "says where files go, and so does by: one of them can be given")
	}
	if len(f.By) == 0 || len(f.By) > 5 {
		return f, invalid("body.options.by", "needs one to five keys")
	}
	for _, k := range f.By {
		if !slices.Contains(organizer.Keys, k) {
			return f, invalid("body.options.by", "has a word that is no key: category, type, extension, date, month, year and size are")
		}
	}
	for _, c := range []struct {
		name, value string
		allowed     []string
	}{
		{"on_conflict", string(f.OnConflict), []string{"rename", "skip", "overwrite", "newer", "fail"}},
		{"duplicates", string(f.Duplicates), []string{"report", "skip", "trash", "hardlink", "folder"}},
		{"detect", string(f.Detect), []string{"auto", "content", "extension"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return f, invalid("body.options."+c.name, "is none of "+strings.Join(c.allowed, ", "))
		}
	}
	if f.MaxFiles < 0 {
		return f, invalid("body.options.max_files", "is less than 0")
	}
	if len(f.Include)+len(f.Exclude) > 200 {
		return f, invalid("body.options.include", "has, with exclude, more than 200 globs")
	}
	return f, nil
}
