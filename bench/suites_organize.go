//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func (b *Bench) scan() ([]*Section, error) {
	var secs []*Section
	for _, n := range slices.Compact([]int{b.size(200_000), b.size(1_000_000)}) {
		g, err := b.prepare("nested", n)
		if err != nil {
			return nil, err
		}
		sec, err := b.interleave(fmt.Sprintf("%d files", n),
			Variant{Name: "forg scan", Setup: g.empty, Argv: b.forgArgv("scan", g.dir), Env: g.env},
			Variant{Name: "C scan", Argv: []string{b.c, "scan", g.dir}},
			Variant{Name: "find -printf", Argv: []string{"find", g.dir, "-printf", `%s %T@ %i %p\n`}},
			Variant{Name: "fd", Argv: optional(b.fd, "-u", "-t", "f", ".", g.dir)},
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
		if err := os.RemoveAll(g.dir); err != nil {
			return nil, err
		}
	}
	return secs, nil
}

// flatVariants are the ways to sort a flat folder by extension; each starts from the restored folder.
func (b *Bench) flatVariants(g ground) []Variant {
	setup := chain(b.restore(g.dir, g.n), g.empty)
	done := b.expect(g.dir, 0, g.n)
	mv := fmt.Sprintf(`for e in %s; do mkdir $e && find . -maxdepth 1 -type f -name "*.$e" -print0 | xargs -0 -r mv -n -t $e || exit 1; done`,
		strings.Join(extensions, " "))
	return []Variant{
		{Name: "forg organize", Setup: setup, Argv: b.organizeArgv(g.dir), Env: g.env, Check: done},
		{Name: "C loop", Setup: setup, Argv: []string{b.c, "organize", g.dir}, Check: done},
		{Name: "mv -n -t", Setup: setup, Argv: []string{"sh", "-c", mv}, Dir: g.dir, Env: g.env, Check: done},
		{Name: "f2", Setup: setup, Env: g.env, Check: done,
			Argv: optional(b.f2, "--quiet", "-f", `^(.*)\.([a-z0-9]+)$`, "-r", "$2/$1.$2", "-x", g.dir)},
	}
}

func (b *Bench) organizeFlat() ([]*Section, error) {
	g, err := b.prepare("flat", 100_000)
	if err != nil {
		return nil, err
	}
	variants := b.flatVariants(g)
	// What the disk's flushes cost: the same with the journal where they are free.
	v := variants[0]
	v.Name, v.Argv = "forg, journal on tmpfs", b.organizeArgv("--journal", filepath.Join(b.tmpfs, "journal.db"), g.dir)
	v.Setup = chain(v.Setup, func() error { return clear(b.tmpfs) })
	sec, err := b.interleave(fmt.Sprintf("%d files, sizes distinct", g.n), append(variants, v)...)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize", "C loop", 1.3)
	sec.ratio("forg organize", "mv -n -t", 0.85)
	sec.ratio("forg organize", "f2", 0)
	sec.ratio("forg, journal on tmpfs", "forg organize", 0)
	sec.ratio("mv -n -t", "C loop", 0)
	sec.note("The journal is on the file system of the files, unless said. Only forg and the C loop wait for the disk.")
	return []*Section{sec}, os.RemoveAll(g.dir)
}

func (b *Bench) organizeSame() ([]*Section, error) {
	g, err := b.prepare("same", 100_000)
	if err != nil {
		return nil, err
	}
	sec, err := b.interleave(fmt.Sprintf("%d files of 64 bytes, all different", g.n), b.flatVariants(g)[:2]...)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize", "C loop", 0)
	return []*Section{sec}, os.RemoveAll(g.dir)
}

func (b *Bench) organizePython() ([]*Section, error) {
	g, err := b.prepare("flat", 20_000)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.work, "organize.yaml")
	// One rule for all extensions: fifteen would walk the folder fifteen times.
	rule := fmt.Sprintf("rules:\n  - locations: %q\n    filters:\n      - extension\n    actions:\n      - move: %q\n",
		g.dir, g.dir+"/{extension}/")
	if err := os.WriteFile(config, []byte(rule), 0o644); err != nil {
		return nil, err
	}
	variants := b.flatVariants(g)
	v := variants[1]
	v.Name, v.Argv, v.Env = "organize run", optional(b.organize, "run", config), variants[0].Env
	sec, err := b.interleave(fmt.Sprintf("%d files, sizes distinct", g.n), append(variants[:2], v)...)
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
	return []*Section{sec}, os.RemoveAll(g.dir)
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
	g, err := b.prepareForg("flat", 100_000)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.work, "rules.yaml")
	ours, _ := fiftyRules(g.dir)
	if err := os.WriteFile(file, []byte(ours), 0o644); err != nil {
		return nil, err
	}
	v := b.flatVariants(g)[0]
	v.Name = "forg organize, categories"
	w := v
	w.Name, w.Argv = "forg organize, 50 rules", b.organizeArgv("--rules", file, g.dir)
	sec, err := b.interleave(fmt.Sprintf("%d files", g.n), v, w)
	if err != nil {
		return nil, err
	}
	sec.ratio("forg organize, 50 rules", "forg organize, categories", 1.3)
	if err := os.RemoveAll(g.dir); err != nil || b.organize == "" {
		return []*Section{sec}, err
	}
	if g, err = b.prepare("flat", 1000); err != nil {
		return nil, err
	}
	ours, theirs := fiftyRules(g.dir)
	config := filepath.Join(b.work, "organize.yaml")
	if err := errors.Join(os.WriteFile(file, []byte(ours), 0o644), os.WriteFile(config, []byte(theirs), 0o644)); err != nil {
		return nil, err
	}
	v = b.flatVariants(g)[0]
	v.Name, v.Argv = "forg organize", b.organizeArgv("--rules", file, g.dir)
	w = v
	w.Name, w.Argv = "organize run", []string{b.organize, "run", config}
	peer, err := b.interleave(fmt.Sprintf("%d files, the same rules", g.n), v, w)
	if err != nil {
		return nil, err
	}
	peer.ratio("forg organize", "organize run", 0)
	peer.note("`organize --version`: %s", output(b.organize, "--version"))
	return []*Section{sec, peer}, os.RemoveAll(g.dir)
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

func (b *Bench) again() ([]*Section, error) {
	var secs []*Section
	for _, kind := range []string{"flat", "part"} {
		g, err := b.prepareForg(kind, 100_000)
		if err != nil {
			return nil, err
		}
		title := fmt.Sprintf("%d files, organized before", g.n)
		steps := []func() error{g.empty}
		top := g.n
		if kind == "flat" {
			top = 0
			steps = append(steps, command(g.env, b.organizeArgv(g.dir)...))
		} else {
			title = fmt.Sprintf("%d partial downloads, which are left alone", g.n)
		}
		if err := chain(append(steps, b.expect(g.dir, top, g.n))...)(); err != nil {
			return nil, err
		}
		check := b.expect(g.dir, top, g.n)
		sec, err := b.interleave(title,
			Variant{Name: "forg organize", Argv: b.organizeArgv(g.dir), Env: g.env, Check: check},
			Variant{Name: "forg organize -r", Argv: b.organizeArgv("-r", g.dir), Env: g.env, Check: check},
			Variant{Name: "forg scan", Argv: b.forgArgv("scan", g.dir), Env: g.env},
			Variant{Name: "C scan", Argv: []string{b.c, "scan", g.dir}},
		)
		if err != nil {
			return nil, err
		}
		sec.ratio("forg organize", "forg scan", 1.5)
		sec.ratio("forg organize -r", "forg scan", 1.5)
		sec.ratio("forg scan", "C scan", 0)
		secs = append(secs, sec)
		if err := os.RemoveAll(g.dir); err != nil {
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

// clear removes what lies in dir, not dir.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
