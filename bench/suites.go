//go:build linux

package main

import "path/filepath"

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

// ground is what most suites measure on: a tree of n files, and a home for the journal and the caches.
type ground struct {
	dir  string
	n    int
	home string
	env  []string
}

// empty empties the home, so that journal and caches are cold.
func (g ground) empty() error { return fresh(g.home) }

// prepare builds a tree of n files, or of fewer if the flags say so.
func (b *Bench) prepare(kind string, n int) (ground, error) {
	g := ground{n: b.size(n), home: filepath.Join(b.work, "home")}
	g.env = home(g.home)
	var err error
	g.dir, err = b.tree(kind, g.n)
	return g, err
}

// prepareForg is prepare for suites that measure nothing without forg.
func (b *Bench) prepareForg(kind string, n int) (ground, error) {
	if b.forg == "" {
		return ground{}, errNoForg
	}
	return b.prepare(kind, n)
}
