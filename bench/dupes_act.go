//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// dupesAct replaces one of each pair of equal files by a hard link. jdupes finds, compares and links as forg does; it keeps
// no journal, puts nothing in the trash and cannot undo.
func (b *Bench) dupesAct() ([]*Section, error) {
	n := b.size(10_000)
	original, dir, h := filepath.Join(b.work, "trees", "pairs"), filepath.Join(b.work, "trees", "pairs-at-work"), filepath.Join(b.work, "home")
	if err := buildPairs(original, n, b.seed); err != nil {
		return nil, err
	}
	jdupes, _ := exec.LookPath("jdupes")
	restore := func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := command(nil, "cp", "-a", original, dir)(); err != nil {
			return err
		}
		return chain(func() error { return fresh(h) }, b.flush)()
	}
	linked := func(links uint64) func() error {
		return func() error {
			for i := range n {
				if got, err := linksOf(pairName(dir, 1, i)); err != nil || got != links {
					return fmt.Errorf("%s has %d names instead of %d: %v", pairName(dir, 1, i), got, links, err)
				}
			}
			return nil
		}
	}
	act := b.forgArgv("dupes", "--quiet", "--action", "hardlink", dir)
	variants := []Variant{
		{Name: "forg dupes --action hardlink", Setup: restore, Argv: act, Env: home(h), Check: linked(2)},
		{Name: "jdupes -rqL", Setup: restore, Argv: optional(jdupes, "-rqL", dir), Check: linked(2)},
	}
	if b.forg != "" {
		variants = append(variants, Variant{Name: "forg undo", Argv: b.forgArgv("undo", "--quiet"), Env: home(h), Check: linked(1),
			Setup: chain(restore, command(home(h), act...), b.flush)})
	}
	sec, err := b.interleave(fmt.Sprintf("%d duplicates of 0.5-8 KB in 200 folders", n), variants...)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg dupes --action hardlink", "jdupes -rqL", 1.5)
	sec.ratio("forg undo", "forg dupes --action hardlink", 1)
	return []*Section{sec}, os.RemoveAll(filepath.Join(b.work, "trees"))
}

func linksOf(path string) (uint64, error) {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	return uint64(st.Nlink), err
}

func pairName(dir string, which, i int) string {
	return filepath.Join(dir, fmt.Sprintf("%d-%03d", which, i%100), fmt.Sprintf("%05d", i))
}

// buildPairs makes n files and a copy of each.
func buildPairs(dir string, n int, seed uint64) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for which := range 2 {
		for i := range min(n, 100) {
			if err := os.MkdirAll(filepath.Dir(pairName(dir, which, i)), 0o755); err != nil {
				return err
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		content := make([]byte, 500+r.IntN(7500))
		for at := range content {
			content[at] = byte(r.Uint32())
		}
		for which := range 2 {
			if err := os.WriteFile(pairName(dir, which, i), content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
