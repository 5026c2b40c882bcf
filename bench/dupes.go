//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Duplicates: forg against the programs that people use for it. What the virtual disks of most machines say of themselves
// (that they rotate) makes fclones read with one thread; FCLONES_SSD may name a build of it that takes every disk for an SSD,
// such as one whose DiskDevices::new asks for an environment variable FC_SSD.

func cpu(s Sample) float64 { return s.CPU.Seconds() }

// ratioOf is ratio of something else than wall time, which what names.
func (s *Section) ratioOf(what string, f func(Sample) float64, a, b string, limit float64) {
	if len(s.Runs[a]) > 0 && len(s.Runs[b]) > 0 {
		s.Goals = append(s.Goals, Goal{What: a + " / " + b + ", " + what, Values: ratios(each(s.Runs[a], f), each(s.Runs[b], f)), Limit: limit, Unit: "x"})
	}
}

const (
	forgDupes      = "forg dupes"
	forgNoCache    = "forg dupes --no-cache"
	fclonesDefault = "fclones"
	fclonesSSD     = "fclones, SSD"
)

func (b *Bench) dupesForg(name string, g ground, setup func() error, args ...string) Variant {
	argv := append([]string{"dupes", "--hidden", "--inside-projects", "--quiet"}, args...)
	return Variant{Name: name, Argv: b.forgArgv(append(argv, g.dir)...), Env: g.env, Setup: setup}
}

// fclones is what it is with the disk's word for it, and as on an SSD; without its cache, as it is by default.
func (b *Bench) fclones(dir string, setup func() error) []Variant {
	args := []string{"group", "--no-ignore", "--hidden", dir}
	env := append(os.Environ(), "FC_SSD=1")
	return []Variant{
		{Name: fclonesDefault, Argv: optional(program("FCLONES", "fclones"), args...), Env: os.Environ(), Setup: setup},
		{Name: fclonesSSD, Argv: optional(os.Getenv("FCLONES_SSD"), args...), Env: env, Setup: setup},
	}
}

// best is the name of the fclones to compare with.
func best() string {
	if os.Getenv("FCLONES_SSD") != "" {
		return fclonesSSD
	}
	return fclonesDefault
}

func (b *Bench) dupes() ([]*Section, error) {
	var secs []*Section
	for _, c := range []struct {
		kind                    string
		n                       int
		fclones, jdupes, rmlint float64
	}{
		{"dupes-small", 200_000, 0.40, 0.55, 0.12},
		{"dupes-mixed", 112_000, 0.45, 0.50, 0},
		{"dupes-big", min(b.size(200), max(20, b.size(200_000)/1000)), 0.50, 0.25, 0.06},
	} {
		g, err := b.prepare(c.kind, c.n)
		if err != nil {
			return nil, err
		}
		dir := g.dir
		variants := []Variant{
			b.dupesForg(forgNoCache, g, g.empty, "--no-cache"),
			b.dupesForg(forgDupes, g, g.empty),
			{Name: "C read", Argv: []string{b.c, "read", dir}},
			{Name: "find -printf", Argv: []string{"find", dir, "-type", "f", "-printf", `%s\n`}},
			{Name: "jdupes", Argv: optional(program("JDUPES", "jdupes"), "-rq", dir)},
			{Name: "fdupes", Argv: optional(program("FDUPES", "fdupes"), "-rq", dir)},
			{Name: "rdfind", Argv: optional(program("RDFIND", "rdfind"), "-makeresultsfile", "false", dir), Dir: b.work},
			// rmlint as root renames what it is given as an output file, /dev/null included: no file is named.
			{Name: "rmlint", Argv: optional(program("RMLINT", "rmlint"), "-T", "df", "--hidden", "-o", "summary:stdout", dir), Dir: b.work},
		}
		sec, err := b.interleave(fmt.Sprintf("%s, %d files", c.kind, g.n), append(variants, b.fclones(dir, nil)...)...)
		if err != nil {
			return nil, err
		}
		sec.ratioOf("CPU", cpu, forgNoCache, best(), c.fclones)
		sec.ratioOf("CPU", cpu, forgDupes, best(), 0)
		sec.ratioOf("wall", wall, forgNoCache, best(), 0)
		sec.ratioOf("CPU", cpu, forgNoCache, fclonesDefault, 0)
		sec.ratioOf("CPU", cpu, forgNoCache, "jdupes", c.jdupes)
		sec.ratioOf("CPU", cpu, forgNoCache, "rmlint", c.rmlint)
		sec.ratioOf("CPU", cpu, forgNoCache, "C read", 1.15)
		sec.ratioOf("memory", rss, forgNoCache, best(), 1)
		if best() != fclonesSSD {
			sec.note("Without FCLONES_SSD fclones reads as the disk says that it wants it.")
		}
		sec.note("C read is the floor: a walk, and one open, read and close of each file of a size that another has.")
		secs = append(secs, sec)
		if err := os.Rename(dir, dir+".done"); err != nil { // to remove it now would slow down what comes next
			return nil, err
		}
	}
	return secs, nil
}

func (b *Bench) dupesAgain() ([]*Section, error) {
	g, err := b.prepareForg("dupes-small", 200_000)
	if err != nil {
		return nil, err
	}
	if err := g.empty(); err != nil {
		return nil, err
	}
	run := b.dupesForg(forgDupes, g, nil)
	fill := func() error {
		time.Sleep(2500 * time.Millisecond) // what changed within two seconds is not kept
		return command(run.Env, run.Argv...)()
	}
	if err := fill(); err != nil {
		return nil, err
	}
	scan := Variant{Name: "C scan", Argv: []string{b.c, "scan", g.dir}}
	again, err := b.interleave(fmt.Sprintf("%d files, nothing changed", g.n), run, scan)
	if err != nil {
		return nil, err
	}
	again.ratio(forgDupes, "C scan", 1.15)
	again.note("Besides the walk forg looks up what it knows, chooses who stays and writes a report of one line for each equal file; C scan does none of that.")
	again.ratioOf("CPU", cpu, forgDupes, "C scan", 0)
	opened, err := b.filesOpened(run)
	if err != nil {
		again.note("How many files were opened is not known: %v.", err)
	} else {
		again.Goals = append(again.Goals, Goal{What: "files opened, as strace counts", Values: []float64{float64(opened)}, Limit: 0.5, Unit: "files"})
	}
	round := 0
	run.Setup = func() error {
		if err := fill(); err != nil { // so that only what changes now is new
			return err
		}
		round++
		_, err := changeSome(g.dir, round)
		if err == nil {
			time.Sleep(2500 * time.Millisecond)
		}
		return err
	}
	changed, err := b.interleave(fmt.Sprintf("%d files, one in a hundred has grown", g.n), run, scan)
	if err != nil {
		return nil, err
	}
	changed.ratio(forgDupes, "C scan", 1.3)
	changed.ratioOf("CPU", cpu, forgDupes, "C scan", 0)
	return []*Section{again, changed}, nil
}

// changeSome lets one file in a hundred grow by a byte.
func changeSome(dir string, round int) (changed int, err error) {
	n := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if n++; (n+round)%100 != 0 {
			return nil
		}
		changed++
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write([]byte{1})
		return errors.Join(err, f.Close())
	})
	return changed, err
}

// filesOpened counts the files of a tree that a command opens: it opens them so that it waits for nobody.
func (b *Bench) filesOpened(v Variant) (int, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return 0, err
	}
	log := filepath.Join(b.work, "strace")
	if err := command(v.Env, append([]string{strace, "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", log}, v.Argv...)...)(); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(log)
	opened := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "O_NONBLOCK") && !strings.Contains(line, "O_DIRECTORY") {
			opened++
		}
	}
	return opened, err
}

func (b *Bench) dupesCold() ([]*Section, error) {
	g, err := b.prepare("dupes-small", 200_000)
	if err != nil {
		return nil, err
	}
	evict := func() error {
		_, err := b.baseline("evict", g.dir)
		return err
	}
	variants := append(b.fclones(g.dir, evict), b.dupesForg(forgNoCache, g, chain(evict, g.empty), "--no-cache"))
	sec, err := b.interleave(fmt.Sprintf("%d files, their contents not in memory", g.n), variants...)
	if err != nil {
		return nil, err
	}
	sec.ratio(forgNoCache, best(), 0.6)
	sec.ratioOf("CPU", cpu, forgNoCache, best(), 0)
	return []*Section{sec}, nil
}

func (b *Bench) dupesMillion() ([]*Section, error) {
	g, err := b.prepare("dupes-small", 1_000_000)
	if err != nil {
		return nil, err
	}
	variants := append(b.fclones(g.dir, nil), b.dupesForg(forgNoCache, g, g.empty, "--no-cache"), b.dupesForg(forgDupes, g, g.empty))
	sec, err := b.interleave(fmt.Sprintf("%d files", g.n), variants...)
	if err != nil {
		return nil, err
	}
	sec.ratioOf("memory", rss, forgNoCache, best(), 1)
	sec.ratioOf("memory", rss, forgDupes, best(), 1)
	sec.ratioOf("CPU", cpu, forgNoCache, best(), 0.40)
	sec.limit("bytes a file", forgNoCache, func(s Sample) float64 { return float64(s.RSS) / float64(g.n) }, 250, "bytes")
	return []*Section{sec}, nil
}
