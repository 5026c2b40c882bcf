//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type suite struct {
	name, about string
	run         func(*Bench) ([]*Section, error)
}

var suites = []suite{
	{"scan", "a nested tree of 200k and of 1M files: names, sizes, times", (*Bench).scan},
	{"organize", "100k files in one folder, the whole command with a cold journal", (*Bench).organizeFlat},
	{"same", "the same where all sizes are equal: every file is a possible duplicate", (*Bench).organizeSame},
	{"python", "20k files against organize, which is too slow for 100k", (*Bench).organizePython},
	{"rules", "100k files against 50 rules of names, sizes and dates, and 1000 files against organize with the same rules", (*Bench).rules},
	{"million", "1M files in one folder, and `history` of a journal with 1M steps", (*Bench).million},
	{"names", "2000 files of one name, and of different names, in 2000 folders", (*Bench).names},
	{"undo", "undo of 100k moves", (*Bench).undo},
	{"dupes-act", "10k duplicates replaced by hard links, compared and journaled, and the undo of it", (*Bench).dupesAct},
	{"again", "organize that finds nothing to do", (*Bench).again},
	{"cross", "moves from another file system, verified and durable", (*Bench).cross},
	{"journal", "bytes of journal a move", (*Bench).journal},
	{"version", "start of the binary, and its size", (*Bench).version},
	{"recovery", "an organize of 100k files killed near its end, and the command that settles it", (*Bench).recovery},
	{"serve", "the hosted API under load, on SQLite and on PostgreSQL", (*Bench).serve},
	{"sync", "a push and a pull of 200k, and what organize pays for being logged in", (*Bench).sync},
	{"dupes", "duplicates in 200k small files, in 112k of a real system, and in 200 large ones", (*Bench).dupes},
	{"dupes-again", "duplicates once more, of files that the cache knows", (*Bench).dupesAgain},
	{"dupes-cold", "duplicates in files that are not in memory", (*Bench).dupesCold},
	{"dupes-million", "duplicates in a million files: memory", (*Bench).dupesMillion},
}

// forgArgv is a forg command line, or nothing where forg is not measured (interleave leaves such variants out).
func (b *Bench) forgArgv(args ...string) []string {
	if b.forg == "" {
		return nil
	}
	return append([]string{b.forg}, args...)
}

func (b *Bench) organizeArgv(args ...string) []string {
	return b.forgArgv(append([]string{"organize", "--min-age", "0s", "--quiet"}, args...)...)
}

func optional(bin string, args ...string) []string {
	if bin == "" {
		return nil
	}
	return append([]string{bin}, args...)
}

func (b *Bench) scan() ([]*Section, error) {
	var secs []*Section
	for _, n := range slices.Compact([]int{b.size(200_000), b.size(1_000_000)}) {
		dir, err := b.tree("nested", n)
		if err != nil {
			return nil, err
		}
		h := filepath.Join(b.work, "home")
		setup := func() error { return fresh(h) }
		sec, err := b.interleave(fmt.Sprintf("%d files", n),
			Variant{Name: "forg scan", Setup: setup, Argv: b.forgArgv("scan", dir), Env: home(h)},
			Variant{Name: "C scan", Argv: []string{b.c, "scan", dir}},
			Variant{Name: "find -printf", Argv: []string{"find", dir, "-printf", `%s %T@ %i %p\n`}},
			Variant{Name: "fd", Argv: optional(b.fd, "-u", "-t", "f", ".", dir)},
		)
		if err != nil {
			return nil, err
		}
		if n == 1_000_000 {
			sec.ratio("forg scan", "C scan", 0.75)
			sec.ratio("forg scan", "find -printf", 0)
			sec.limit("forg scan, max RSS", "forg scan", rss, 160, "MB")
		} else {
			sec.ratio("forg scan", "C scan", 0)
			sec.ratio("forg scan", "find -printf", 0.50)
			sec.note("Four fifths of forg's CPU time are the kernel's, in statx and getdents64; starting takes 10 ms.")
		}
		sec.ratio("forg scan", "fd", 0)
		sec.ratio("find -printf", "C scan", 0)
		secs = append(secs, sec)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return secs, nil
}

// flatVariants are the ways to sort a flat folder by extension; each starts from the restored folder.
func (b *Bench) flatVariants(dir string, n int) []Variant {
	h := filepath.Join(b.work, "home")
	setup := chain(b.restore(dir, n), func() error { return fresh(h) })
	done := b.expect(dir, 0, n)
	mv := fmt.Sprintf(`for e in %s; do mkdir $e && find . -maxdepth 1 -type f -name "*.$e" -print0 | xargs -0 -r mv -n -t $e || exit 1; done`,
		strings.Join(extensions, " "))
	return []Variant{
		{Name: "forg organize", Setup: setup, Argv: b.organizeArgv(dir), Env: home(h), Check: done},
		{Name: "C loop", Setup: setup, Argv: []string{b.c, "organize", dir}, Check: done},
		{Name: "mv -n -t", Setup: setup, Argv: []string{"sh", "-c", mv}, Dir: dir, Env: home(h), Check: done},
		{Name: "f2", Setup: setup, Env: home(h), Check: done,
			Argv: optional(b.f2, "--quiet", "-f", `^(.*)\.([a-z0-9]+)$`, "-r", "$2/$1.$2", "-x", dir)},
	}
}

func (b *Bench) organizeFlat() ([]*Section, error) {
	n := b.size(100_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	variants := b.flatVariants(dir, n)
	// What the disk's flushes cost: the same with the journal where they are free.
	v := variants[0]
	v.Name, v.Argv = "forg, journal on tmpfs", b.organizeArgv("--journal", filepath.Join(b.tmpfs, "journal.db"), dir)
	v.Setup = chain(v.Setup, func() error { return clear(b.tmpfs) })
	sec, err := b.interleave(fmt.Sprintf("%d files, sizes distinct", n), append(variants, v)...)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize", "C loop", 1.3)
	sec.ratio("forg organize", "mv -n -t", 0.85)
	sec.ratio("forg organize", "f2", 0)
	sec.ratio("forg, journal on tmpfs", "forg organize", 0)
	sec.ratio("mv -n -t", "C loop", 0)
	sec.note("The journal is on the file system of the files, unless said. Only forg and the C loop wait for the disk.")
	return []*Section{sec}, os.RemoveAll(dir)
}

func (b *Bench) organizeSame() ([]*Section, error) {
	n := b.size(100_000)
	dir, err := b.tree("same", n)
	if err != nil {
		return nil, err
	}
	sec, err := b.interleave(fmt.Sprintf("%d files of 64 bytes, all different", n), b.flatVariants(dir, n)[:2]...)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize", "C loop", 0)
	return []*Section{sec}, os.RemoveAll(dir)
}

func (b *Bench) organizePython() ([]*Section, error) {
	n := b.size(20_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.work, "organize.yaml")
	// One rule for all extensions: fifteen would walk the folder fifteen times.
	rule := fmt.Sprintf("rules:\n  - locations: %q\n    filters:\n      - extension\n    actions:\n      - move: %q\n",
		dir, dir+"/{extension}/")
	if err := os.WriteFile(config, []byte(rule), 0o644); err != nil {
		return nil, err
	}
	variants := b.flatVariants(dir, n)
	v := variants[1]
	v.Name, v.Argv, v.Env = "organize run", optional(b.organize, "run", config), variants[0].Env
	sec, err := b.interleave(fmt.Sprintf("%d files, sizes distinct", n), append(variants[:2], v)...)
	if err != nil {
		return nil, err
	}
	if b.organize != "" {
		// "organize, version 2.4.0": other programs of that name are not the one of the goal.
		sec.note("`organize --version`: %s", output(b.organize, "--version"))
	}
	sec.ratio("forg organize", "C loop", 0)
	sec.ratio("forg organize", "organize run", 1.0/40)
	sec.ratio("organize run", "C loop", 0)
	return []*Section{sec}, os.RemoveAll(dir)
}

// fiftyRules are 35 rules that match no file of a flat tree, by name, size or date, and one for each extension. The second
// text says the same to organize.
func fiftyRules(dir string) (ours, theirs string) {
	var f, o strings.Builder
	rule := func(name, filter, other, to string) {
		fmt.Fprintf(&f, "  - name: %s\n    filters: [%s]\n    actions: [{move: %q}]\n", name, filter, to+"/")
		fmt.Fprintf(&o, "  - locations: %q\n    filters:\n      - %s\n    actions:\n      - move: %q\n", dir, other, dir+"/"+to+"/")
	}
	f.WriteString("rules:\n")
	o.WriteString("rules:\n")
	for n := range 15 {
		name := fmt.Sprintf("{contains: [nowhere%d, never%d]}", n, n)
		rule(fmt.Sprintf("name %d", n), "name: "+name, "name: "+name, "None")
	}
	for n := range 10 {
		size := fmt.Sprintf("%q", fmt.Sprintf("> %d TB", 10-n))
		rule(fmt.Sprintf("size %d", n), "size: "+size, "size: "+size, "None")
	}
	for n := range 10 {
		rule(fmt.Sprintf("date %d", n), fmt.Sprintf("modified: {years: %d, mode: older}", 69-n), fmt.Sprintf("lastmodified: {years: %d, mode: older}", 69-n), "None")
	}
	for _, e := range extensions {
		rule("extension "+e, "extension: "+e, "extension: "+e, e)
	}
	return f.String(), o.String()
}

func (b *Bench) rules() ([]*Section, error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	n := b.size(100_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.work, "rules.yaml")
	ours, _ := fiftyRules(dir)
	if err := os.WriteFile(file, []byte(ours), 0o644); err != nil {
		return nil, err
	}
	v := b.flatVariants(dir, n)[0]
	v.Name = "forg organize, categories"
	w := v
	w.Name, w.Argv = "forg organize, 50 rules", b.organizeArgv("--rules", file, dir)
	sec, err := b.interleave(fmt.Sprintf("%d files", n), v, w)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize, 50 rules", "forg organize, categories", 1.3)
	if err := os.RemoveAll(dir); err != nil || b.organize == "" {
		return []*Section{sec}, err
	}
	n = b.size(1000)
	if dir, err = b.tree("flat", n); err != nil {
		return nil, err
	}
	ours, theirs := fiftyRules(dir)
	config := filepath.Join(b.work, "organize.yaml")
	if err := errors.Join(os.WriteFile(file, []byte(ours), 0o644), os.WriteFile(config, []byte(theirs), 0o644)); err != nil {
		return nil, err
	}
	v = b.flatVariants(dir, n)[0]
	v.Name, v.Argv = "forg organize", b.organizeArgv("--rules", file, dir)
	w = v
	w.Name, w.Argv = "organize run", []string{b.organize, "run", config}
	peer, err := b.interleave(fmt.Sprintf("%d files, the same rules", n), v, w)
	if err != nil {
		return nil, err
	}
	peer.ratio("forg organize", "organize run", 0)
	peer.note("`organize --version`: %s", output(b.organize, "--version"))
	return []*Section{sec, peer}, os.RemoveAll(dir)
}

func (b *Bench) million() ([]*Section, error) {
	big := b.size(1_000_000)
	small := max(1, big/10)
	large, err := b.tree("flat", big)
	if err != nil {
		return nil, err
	}
	moved := filepath.Join(b.work, "trees", "million")
	if err := os.RemoveAll(moved); err != nil {
		return nil, err
	}
	if err := os.Rename(large, moved); err != nil {
		return nil, err
	}
	tenth, err := b.tree("flat", small)
	if err != nil {
		return nil, err
	}
	h, hb := filepath.Join(b.work, "home"), filepath.Join(b.work, "home-million")
	name := func(what string, n int) string { return fmt.Sprintf("%s, %d files", what, n) }
	variant := func(dir, h string, n int, what string, argv []string) Variant {
		return Variant{Name: name(what, n), Argv: argv, Env: home(h), Check: b.expect(dir, 0, n),
			Setup: chain(b.restore(dir, n), func() error { return fresh(h) })}
	}
	// The C loop has no journal to lose: its home is not ours to empty.
	unused := filepath.Join(b.work, "unused")
	sec, err := b.interleave("ten times the files",
		variant(tenth, h, small, "forg organize", b.organizeArgv(tenth)),
		variant(tenth, unused, small, "C loop", []string{b.c, "organize", tenth}),
		variant(moved, hb, big, "forg organize", b.organizeArgv(moved)),
		variant(moved, unused, big, "C loop", []string{b.c, "organize", moved}),
	)
	if err != nil {
		return nil, err
	}
	sec.ratio(name("forg organize", big), name("forg organize", small), 11)
	sec.limit("forg organize, max RSS", name("forg organize", big), rss, 400, "MB")
	sec.ratio(name("forg organize", big), name("C loop", big), 0)
	sec.ratio(name("C loop", big), name("C loop", small), 0)
	if b.forg == "" {
		return []*Section{sec}, nil
	}
	rounds := b.rounds
	b.rounds = max(rounds, 20)
	hist, err := b.interleave(fmt.Sprintf("a journal with %d steps", big),
		Variant{Name: "forg history", Argv: b.forgArgv("history"), Env: home(hb)},
		Variant{Name: "forg --version", Argv: b.forgArgv("--version"), Env: home(hb)},
	)
	b.rounds = rounds
	if err != nil {
		return nil, err
	}
	hist.limit("forg history", "forg history", func(s Sample) float64 { return wall(s) * 1000 }, 30, "ms")
	return []*Section{sec, hist}, os.RemoveAll(filepath.Join(b.work, "trees"))
}

func (b *Bench) names() ([]*Section, error) {
	n := b.size(2000)
	h := filepath.Join(b.work, "home")
	variant := func(name, kind string) Variant {
		dir := filepath.Join(b.work, "trees", kind)
		return Variant{Name: name, Argv: b.organizeArgv("-r", dir), Env: home(h),
			Setup: chain(
				func() error { return os.RemoveAll(dir) },
				func() error { return Tree{Kind: kind, N: n, Seed: b.seed}.Build(dir) },
				func() error { return fresh(h) }),
			Check: func() error {
				left, err := filepath.Glob(filepath.Join(dir, "folder_*", "*"))
				if err == nil && len(left) > 0 {
					err = fmt.Errorf("%d of %d files were not moved", len(left), n)
				}
				if err != nil {
					return err
				}
				return b.expect(dir, 0, n)()
			}}
	}
	sec, err := b.interleave(fmt.Sprintf("%d files, `organize -r`", n),
		variant("one name", "onename"), variant("different names", "ownnames"))
	if err != nil {
		return nil, err
	}
	sec.ratio("one name", "different names", 1.2)
	return []*Section{sec}, os.RemoveAll(filepath.Join(b.work, "trees"))
}

func (b *Bench) undo() ([]*Section, error) {
	n := b.size(100_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	h := filepath.Join(b.work, "home")
	sec, err := b.interleave(fmt.Sprintf("%d moves", n),
		Variant{Name: "forg undo", Argv: b.forgArgv("undo", "--quiet"), Env: home(h), Check: b.expect(dir, n, n),
			Setup: chain(b.restore(dir, n), func() error { return fresh(h) },
				command(home(h), b.organizeArgv(dir)...), b.expect(dir, 0, n))},
		Variant{Name: "C renames back", Argv: []string{b.c, "back", dir}, Check: b.expect(dir, n, n),
			Setup: chain(b.restore(dir, n), command(nil, b.c, "organize", dir))},
	)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg undo", "C renames back", 1.2)
	return []*Section{sec}, os.RemoveAll(dir)
}

func (b *Bench) again() ([]*Section, error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	n := b.size(100_000)
	var secs []*Section
	h := filepath.Join(b.work, "home")
	for _, kind := range []string{"flat", "part"} {
		dir, err := b.tree(kind, n)
		if err != nil {
			return nil, err
		}
		title := fmt.Sprintf("%d files, organized before", n)
		steps := []func() error{func() error { return fresh(h) }}
		top := n
		if kind == "flat" {
			top = 0
			steps = append(steps, command(home(h), b.organizeArgv(dir)...))
		} else {
			title = fmt.Sprintf("%d partial downloads, which are left alone", n)
		}
		if err := chain(append(steps, b.expect(dir, top, n))...)(); err != nil {
			return nil, err
		}
		check := b.expect(dir, top, n)
		sec, err := b.interleave(title,
			Variant{Name: "forg organize", Argv: b.organizeArgv(dir), Env: home(h), Check: check},
			Variant{Name: "forg organize -r", Argv: b.organizeArgv("-r", dir), Env: home(h), Check: check},
			Variant{Name: "forg scan", Argv: b.forgArgv("scan", dir), Env: home(h)},
			Variant{Name: "C scan", Argv: []string{b.c, "scan", dir}},
		)
		if err != nil {
			return nil, err
		}
		sec.ratio("forg organize", "forg scan", 1.5)
		sec.ratio("forg organize -r", "forg scan", 1.5)
		sec.ratio("forg scan", "C scan", 0)
		secs = append(secs, sec)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return secs, nil
}

func (b *Bench) cross() ([]*Section, error) {
	var secs []*Section
	for _, c := range []struct {
		kind  string
		n     int
		limit float64
		title string
	}{
		{"content", 5000, 1.10, "%d files of 16 KiB"},
		{"mebi", 200, 1.05, "%d files of 1 MiB"},
		{"big", 512, 1.35, "one file of %d MiB"},
	} {
		n := c.n
		if b.quick || b.n > 0 {
			n = max(1, b.size(c.n)/10)
		}
		files := n
		if c.kind == "big" {
			files = 1
		}
		src, dst := filepath.Join(b.tmpfs, "src"), filepath.Join(b.work, c.kind)
		h := filepath.Join(b.work, "home")
		old := 0
		setup := func() error {
			if err := errors.Join(os.RemoveAll(src), fresh(h)); err != nil {
				return err
			}
			// What arrived in earlier rounds is kept until the end: for minutes ext4 hunts for inodes that were not deleted
			// just before, which here would cost more than all the rest.
			if old++; old > 1 {
				if err := os.Rename(dst, fmt.Sprintf("%s-%d", dst, old)); err != nil {
					return err
				}
			}
			if err := (Tree{Kind: c.kind, N: n, Seed: b.seed}).Build(src); err != nil {
				return err
			}
			return b.flush()
		}
		arrived := func() error {
			_, all, err := b.count(dst)
			if err == nil && all != files {
				err = fmt.Errorf("%d of %d files arrived", all, files)
			}
			return err
		}
		into := chain(setup, func() error { return os.Mkdir(dst, 0o755) })
		sec, err := b.interleave(fmt.Sprintf(c.title, n),
			Variant{Name: "forg organize --into", Setup: into, Argv: b.organizeArgv("--into", dst, src), Env: home(h),
				Check: chain(arrived, b.expect(src, 0, 0))},
			Variant{Name: "cp -a && sync -f", Setup: setup, Check: arrived,
				Argv: []string{"sh", "-c", `cp -a "$0" "$1" && sync -f "$1"`, src, dst}},
			Variant{Name: "cp -a && sync -f && rm -r", Setup: setup, Check: arrived,
				Argv: []string{"sh", "-c", `cp -a "$0" "$1" && sync -f "$1" && rm -r "$0"`, src, dst}},
		)
		if err != nil {
			return nil, err
		}
		sec.ratio("forg organize --into", "cp -a && sync -f", c.limit)
		sec.ratio("forg organize --into", "cp -a && sync -f && rm -r", 0)
		if c.kind == "content" {
			sec.note("Of small files forg asks 38 system calls each, cp 15: forg compares contents, looks twice whether a file is still the one it planned for, gives the copy its name by a second rename, lets the original step aside and removes it. cp removes nothing.")
		}
		secs = append(secs, sec)
		if err := errors.Join(os.RemoveAll(src), os.RemoveAll(dst)); err != nil {
			return nil, err
		}
	}
	return secs, nil
}

func (b *Bench) journal() ([]*Section, error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	n := b.size(100_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	h := filepath.Join(b.work, "home")
	if err := chain(func() error { return fresh(h) }, command(home(h), b.organizeArgv(dir)...), b.expect(dir, 0, n))(); err != nil {
		return nil, err
	}
	sec := &Section{Title: fmt.Sprintf("after %d moves", n)}
	total, err := sizeOf(filepath.Join(h, "state"), func(path string, size int64) {
		sec.note("%s: %d bytes", path, size)
	})
	if err != nil {
		return nil, err
	}
	name := Tree{Kind: "flat", N: n, Seed: b.seed}.meanName()
	sec.Goals = append(sec.Goals, Goal{What: fmt.Sprintf("bytes a move, without its name (%.1f)", name),
		Values: []float64{float64(total)/float64(n) - name}, Limit: 30, Unit: "bytes"})
	return []*Section{sec}, os.RemoveAll(dir)
}

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

// recovery kills an organize after most of its renames. How many there were differs from kill to kill, so the raw
// renames are scaled to that number.
func (b *Bench) recovery() ([]*Section, error) {
	if b.forg == "" {
		return nil, errNoForg
	}
	n := b.size(100_000)
	dir, err := b.tree("flat", n)
	if err != nil {
		return nil, err
	}
	h := filepath.Join(b.work, "home")
	setup := chain(b.restore(dir, n), func() error { return fresh(h) }, b.flush)
	if err := setup(); err != nil {
		return nil, err
	}
	full, err := timed(Variant{Name: "organize", Argv: b.organizeArgv(dir), Env: home(h)})
	if err != nil {
		return nil, err
	}
	delay := full.Wall * 8 / 10
	sec := &Section{Title: fmt.Sprintf("%d files, kill -9 of an organize", n), Runs: map[string][]Sample{},
		Order: []string{"forg history, settling", "forg history, settled", "raw renames"}}
	var share, per []float64
	for round := 0; round < b.rounds; round++ {
		moved := 0
		for try := 0; moved < n/2 || moved == n; try++ {
			if try == 30 {
				return nil, fmt.Errorf("in 30 tries no kill met the organize between half of its moves and all (%d)", moved)
			}
			if err := setup(); err != nil {
				return nil, err
			}
			if moved, err = b.killAfter(delay, dir, h, n); err != nil {
				return nil, err
			}
			if moved < n/2 {
				delay += full.Wall / 12
			} else if moved == n {
				delay -= full.Wall / 20
			}
		}
		if err := b.flush(); err != nil {
			return nil, err
		}
		settle := Variant{Name: sec.Order[0], Argv: b.forgArgv("history", "--json"), Env: home(h)}
		first, err := timed(settle)
		if err != nil {
			return nil, err
		}
		status, err := b.lastStatus(h)
		if err != nil {
			return nil, err
		}
		if status == "running" { // history only reads: the doctor settles
			settle.Argv = b.forgArgv("doctor", "--fix")
			if first, err = timed(settle); err != nil {
				return nil, err
			}
			sec.Notes = []string{"`forg history` left the operation as it was; the time is `forg doctor --fix`'s."}
			if status, err = b.lastStatus(h); err != nil {
				return nil, err
			}
		}
		if status != "interrupted" {
			return nil, fmt.Errorf("the killed operation has status %q, want interrupted", status)
		}
		settle.Argv = b.forgArgv("history", "--json")
		second, err := timed(settle)
		if err != nil {
			return nil, err
		}
		if err := chain(command(home(h), b.forgArgv("undo", "--quiet")...), b.expect(dir, n, n), b.flush)(); err != nil {
			return nil, fmt.Errorf("undo of what the kill left: %w", err)
		}
		raw, err := timed(Variant{Name: "raw renames", Argv: []string{b.c, "renames", dir}})
		if err != nil {
			return nil, err
		}
		for i, s := range []Sample{first, second, raw} {
			sec.Runs[sec.Order[i]] = append(sec.Runs[sec.Order[i]], s)
		}
		share = append(share, float64(moved)/float64(n)*100)
		per = append(per, wall(first)/(wall(raw)*float64(moved)/float64(n)))
		fmt.Fprintf(os.Stderr, "   %d moved %d, settled in %s\n", round, moved, seconds(wall(first)))
	}
	sec.Goals = []Goal{{What: "settling / raw renames of as many", Values: per, Limit: 0.40, Unit: "x"},
		{What: "moved before the kill", Values: share, Unit: "%"}}
	return []*Section{sec}, os.RemoveAll(dir)
}

func (b *Bench) killAfter(delay time.Duration, dir, h string, n int) (moved int, err error) {
	argv := b.organizeArgv(dir)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = home(h)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	time.Sleep(delay)
	_ = cmd.Process.Kill() // it may have finished
	_ = cmd.Wait()
	top, all, err := b.count(dir)
	if err == nil && all != n {
		err = fmt.Errorf("after the kill %d of %d files are there", all, n)
	}
	return n - top, err
}

// lastStatus is the status of the newest operation that is not an undo.
func (b *Bench) lastStatus(h string) (string, error) {
	cmd := exec.Command(b.forg, "history", "--json")
	cmd.Env = home(h)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("forg history --json: %w", err)
	}
	var answer struct {
		Operations []struct{ Status string }
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("forg history --json: %w", err)
	}
	if len(answer.Operations) == 0 {
		return "", errors.New("forg history --json: no operation")
	}
	return answer.Operations[0].Status, nil
}

// sizeOf adds up the files below dir.
func sizeOf(dir string, report func(path string, size int64)) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		report(rel, info.Size())
		total += info.Size()
		return nil
	})
	return total, err
}

// clear removes what lies in dir, not dir.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
