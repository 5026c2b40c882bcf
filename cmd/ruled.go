package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"forg/organizer"
	"forg/organizer/metadata"
	"forg/rules"
)

// rulesFile is a rules file that was read.
type rulesFile struct {
	*rules.Rules
	path string
	gone []error // locations that cannot be looked at
}

// organizeRules reads the rules that an organize goes by: those of --rules or, without PATH, those of the rules file. It
// is nil if the built-in categories decide.
func (a *app) organizeRules(paths []string, f *organizeFlags) (*rulesFile, error) {
	path := f.rules
	if path == "" {
		if len(paths) > 0 || f.from0 != "" {
			if len(f.tags)+len(f.skipTags) > 0 {
				return nil, usage("--tags and --skip-tags choose among rules; give a rules file with --rules")
			}
			return nil, nil
		}
		var err error
		if path, err = a.rulesPath(); err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, usage("give a folder, or make rules with locations in %s (\"forg rules init\" proposes some)", a.tilde(path))
		}
	}
	r, err := a.readRules(path)
	if err != nil {
		return nil, err
	}
	known := append(r.Tags(), "always", "never") // which mean something without a rule that has them
	for _, tag := range slices.Concat(f.tags, f.skipTags) {
		if !slices.Contains(known, tag) {
			return nil, usage("no rule in %s has the tag %q%s", a.tilde(path), tag, didYouMean(tag, known))
		}
	}
	r.Rules = r.Select(f.tags, f.skipTags)
	return r, nil
}

// rulesPath is where the rules file is looked for.
func (a *app) rulesPath() (string, error) {
	dir, err := a.configDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "rules.yaml"), nil
}

// readRules reads a rules file. What is wrong in it is wrong usage.
func (a *app) readRules(path string) (*rulesFile, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	r, err := rules.Parse(a.tilde(path), source, a.ruleOptions())
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	out := &rulesFile{Rules: r, path: path}
	out.gone = r.Resolve(func(path string) (string, error) {
		real, err := organizer.ResolveDir(filepath.FromSlash(path))
		return filepath.ToSlash(real), err
	})
	return out, nil
}

func (a *app) ruleOptions() rules.Options {
	home, _ := a.home() // without one, ~/ is an error at its place
	return rules.Options{
		Home: filepath.ToSlash(home), Now: a.now(), Windows: runtime.GOOS == "windows", ReadFile: os.ReadFile,
		Env: func(name string) (string, bool) { v := a.getenv(name); return v, v != "" },
	}
}

// roots are the folders that the rules look at.
func (r *rulesFile) roots() ([]string, error) {
	var roots []string
	for _, l := range r.Locations() {
		roots = append(roots, filepath.FromSlash(l.Path))
	}
	if len(roots) == 0 {
		if len(r.gone) > 0 {
			return nil, r.gone[0]
		}
		return nil, usage("no rule in %s has locations; give the folder to organize", r.path)
	}
	return roots, nil
}

// byRules lets the rules decide.
func (o *organizing) byRules() {
	f, opt := o.flags, &o.opt
	opt.Rules, opt.Recursive, opt.Into = o.ruled.Rules, f.recursive, o.into
	if f.dryRun || f.planOut != "" {
		opt.Confirm = func(string, string) bool { return true } // the plan shows what would be asked about
	} else if o.inTTY && o.errTTY {
		opt.Confirm = o.confirmRule
	}
}

// readMetadata reads what rules ask of contents. What it has read is kept for the next run, if the rules ask for anything
// that is worth it; done is to be called at the end.
func (a *app) readMetadata(r *rules.Rules) (reader *metadata.Reader, done func()) {
	var cache *metadata.Cache
	if slices.ContainsFunc(r.Needs(), metadata.Knows) {
		if dir, err := a.cacheDir(); err == nil {
			cache, _ = metadata.OpenCache(filepath.Join(dir, "metadata.db")) // it only saves time
		}
	}
	return metadata.NewReader(metadata.Limits{}, cache), func() { cache.Close() }
}

// confirmRule asks a person on behalf of a rule.
func (a *app) confirmRule(path, question string) bool {
	fmt.Fprintf(a.err, "%s\n%s [y/N] ", a.tilde(path), show(question))
	line, err := bufio.NewReader(oneByte{a.in}).ReadString('\n')
	if err != nil {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// oneByte reads no further than it must, so that the next question finds its answer.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 1)]) }

// runProgram runs what an exec action says. Its output is part of the conversation.
func (a *app) runProgram(ctx context.Context, argv, env []string, dir string) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env, c.Dir = append(os.Environ(), env...), dir
	c.Stdout, c.Stderr = a.err, a.err
	return c.Run()
}
