package rules

import (
	"bytes"
	_ "embed"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed starter.yaml
var starterYAML []byte

// A Starter is a rule that is proposed to somebody who has none.
type Starter struct {
	Name string
	Text string // the lines of a rules file, indented as an item of its list, with the comment above it
	Ask  bool   // it is to be taken only if a person says so
}

// starterLocation is what stands for the person's folder in the texts of starters.
const starterLocation = "locations: ~/Downloads\n"

// Starters returns the rules that are proposed, in the order in which they are to be asked.
func Starters() []Starter { return starters() }

var starters = sync.OnceValue(func() []Starter {
	var file struct {
		Ask []string `yaml:"x-ask"`
	}
	if err := yaml.Unmarshal(starterYAML, &file); err != nil {
		panic("rules: starter.yaml: " + err.Error()) // the tests read it
	}
	_, list, _ := strings.Cut(string(starterYAML), "\nrules:\n")
	var all []Starter
	for block := range strings.SplitSeq(strings.TrimRight(list, "\n"), "\n\n") {
		_, name, _ := strings.Cut(block, "- name: ")
		name, _, _ = strings.Cut(name, "\n")
		s := Starter{Name: name, Text: block + "\n"}
		for _, ask := range file.Ask {
			s.Ask = s.Ask || ask == name
		}
		all = append(all, s)
	}
	return all
})

// In returns the text with location, as a rules file writes it, in the place of the folder.
func (s Starter) In(location string) string {
	value := quoteYAML(strings.NewReplacer("{", "{{", "}", "}}").Replace(location))
	return strings.Replace(s.Text, starterLocation, "locations: "+value+"\n", 1)
}

// quoteYAML writes text as YAML has it on one line, with quotes only where it takes them.
func quoteYAML(text string) string {
	out, err := yaml.Marshal(text)
	line := string(bytes.TrimRight(out, "\n"))
	if err != nil || strings.Contains(line, "\n") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
	}
	return line
}
