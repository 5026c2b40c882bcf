//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
)

func (b *Bench) version() ([]*Section, error) {
	dir := filepath.Join(b.work, "hello")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"go.mod":  "module hello\n",
		"main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello, world\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	b.hello = filepath.Join(dir, "hello")
	if err := b.goBuild(b.hello, dir, "."); err != nil {
		return nil, err
	}
	h := filepath.Join(b.work, "home")
	if err := fresh(h); err != nil {
		return nil, err
	}
	rounds := b.rounds
	b.rounds = max(40, rounds)
	sec, err := b.interleave("start",
		Variant{Name: "forg --version", Argv: b.forgArgv("--version"), Env: home(h)},
		Variant{Name: "hello world in Go", Argv: []string{b.hello}},
		Variant{Name: "true", Argv: []string{"true"}},
	)
	b.rounds = rounds
	if err != nil {
		return nil, err
	}
	sec.note("True is what starting any process costs here. Of forg's time 1.4 ms are the start of the library for EXIF, which parses a table.")
	if runs := sec.Runs["forg --version"]; len(runs) > 0 {
		least := slices.Min(each(runs, wall)) * 1000
		sec.Goals = append(sec.Goals, Goal{What: "forg --version, min", Values: []float64{least}, Limit: 6, Unit: "ms"})
		sec.ratio("forg --version", "hello world in Go", 0)
		info, err := os.Stat(b.forg)
		if err != nil {
			return nil, err
		}
		sec.Goals = append(sec.Goals, Goal{What: "binary, stripped", Values: []float64{float64(info.Size()) / 1e6}, Limit: 28, Unit: "MB"})
	}
	return []*Section{sec}, nil
}
