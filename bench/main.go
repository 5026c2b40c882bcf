//go:build linux

// Command bench measures forg against the bare system calls and against other programs, interleaved on the same
// trees, and writes the ratios down beside the goals. It changes nothing outside its work folders.
//
//	go run ./bench list
//	go run ./bench run [-quick] [-rounds 5] [-n FILES] SUITE...|all
//	go run ./bench tree -kind flat -n 100000 DIR
//
// It needs cc for the bare peers, and the suite serve an installed PostgreSQL. Other peers run where they are on PATH, or
// where FD, ORGANIZE, F2, FCLONES, JDUPES, FDUPES, RDFIND and RMLINT say; FORG is the binary to measure (default: built
// from this repository), and "none" measures the peers alone.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: bench list | run SUITE... | tree DIR")
	}
	switch args[0] {
	case "list":
		for _, s := range suites {
			fmt.Printf("%-13s %s\n", s.name, s.about)
		}
		return nil
	case "tree":
		return runTree(args[1:])
	case "run":
		return runSuites(args[1:])
	}
	return fmt.Errorf("unknown command %q: list, run or tree", args[0])
}

func runTree(args []string) error {
	fs := flag.NewFlagSet("tree", flag.ContinueOnError)
	kind := fs.String("kind", "flat", "which tree")
	n := fs.Int("n", 100000, "files")
	seed := fs.Uint64("seed", 1, "seed")
	fs.Usage = func() {
		fs.PrintDefaults()
		for k, v := range treeKinds {
			fmt.Fprintf(fs.Output(), "  %-11s %s\n", k, v)
		}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return errors.New("tree needs one folder, which must not exist")
	}
	return Tree{Kind: *kind, N: *n, Seed: *seed}.Build(fs.Arg(0))
}

func runSuites(args []string) error {
	b := &Bench{}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.BoolVar(&b.quick, "quick", false, "small trees and 2 rounds: to see that it runs, not to measure")
	fs.IntVar(&b.rounds, "rounds", 5, "rounds; a round runs every command once")
	fs.IntVar(&b.n, "n", 0, "files instead of each suite's own number")
	fs.Uint64Var(&b.seed, "seed", 1, "seed of the trees")
	fs.StringVar(&b.work, "work", "/var/tmp/forg-bench", "folder for trees and journals, on the file system to measure")
	fs.StringVar(&b.tmpfs, "tmpfs", "/dev/shm", "another file system, to move from")
	results := fs.String("results", "", "write the tables there too (default bench/RESULTS.md; none with -quick or -n)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if b.quick {
		b.rounds = 2
	} else {
		b.warmup = 1
	}
	names := fs.Args()
	if len(names) == 1 && names[0] == "all" {
		names = nil
		for _, s := range suites {
			names = append(names, s.name)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == name }) {
			return fmt.Errorf("unknown suite %q; bench list names them", name)
		}
	}
	if len(names) == 0 {
		return errors.New("name the suites to run, or all; bench list names them")
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	b.root = root
	if *results == "" && !b.quick && b.n == 0 {
		*results = filepath.Join(root, "bench", "RESULTS.md")
	}
	if err := b.open(); err != nil {
		return err
	}
	defer b.close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() { <-stop; b.close(); os.Exit(130) }()

	for _, s := range suites {
		if !slices.Contains(names, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s: %s\n", s.name, s.about)
		before := loadavg()
		sections, err := s.run(b)
		if err != nil {
			return fmt.Errorf("suite %s: %w", s.name, err)
		}
		body := fmt.Sprintf("## %s\n\n%s.\n\n%s", s.name, s.about, b.header(s.name, before))
		for _, sec := range sections {
			body += "\n" + sec.Markdown()
		}
		fmt.Println(body)
		if *results != "" {
			if err := updateResults(*results, s.name, body); err != nil {
				return err
			}
		}
	}
	return nil
}

const resultsHead = `# Results

Written by ` + "`go run ./bench run SUITE...`" + `; do not edit. The commands of a table ran interleaved (A B C, B C A, ...), a
ratio is the median of the ratios round by round, memory and CPU are wait4's. Absolute times are of that machine only.
`

func updateResults(path, suite, body string) error {
	doc, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		doc, err = []byte(resultsHead), nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(replaceBlock(string(doc), suite, strings.TrimRight(body, "\n")+"\n")), 0o644)
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("run it inside the repository")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
