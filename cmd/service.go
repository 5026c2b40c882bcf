package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"forg/organizer"
)

// job is what a service manager is to run: forg watch or forg agent from every login on, or forg organize at set times.
type job struct {
	Kind string // one of the kinds below
	ID   string // downloads-1a2b3c4d
	Path string // absolute; of an agent its journal
	When string // of schedule, as a cadence prints itself
	argv []string
}

// The kinds of jobs.
const (
	watchJob    = "watch"
	scheduleJob = "schedule"
	agentJob    = "agent"
)

// stays reports whether the job runs all the time, from every login on.
func (j *job) stays() bool { return j.Kind != scheduleJob }

// name is what the job is called where names are shared with other programs.
func (j *job) name() string { return "forg-" + j.Kind + "-" + j.ID }

// title is for people.
func (j *job) title() string {
	switch j.Kind {
	case watchJob:
		return "forg watches " + show(j.Path)
	case agentJob:
		return "forg agent syncs " + show(j.Path)
	}
	return "forg organizes " + show(j.Path) + ", " + j.When
}

// serviceManager is a program that starts others: systemd, cron, launchd or the Task Scheduler of Windows.
type serviceManager interface {
	// String is its name, as --using takes it.
	String() string
	// units are the texts that add would write, each under where it would go.
	units(j *job) ([]unit, error)
	// add lets the manager run the job, in place of one of the same name that forg has added before. It touches nothing
	// that forg did not write.
	add(ctx context.Context, j *job) error
	// remove takes a job away that jobs has returned, and ends it.
	remove(ctx context.Context, j *job) error
	// jobs are those of one kind that forg has added.
	jobs(ctx context.Context, kind string) ([]*job, error)
	// hint says what else to know, once the job is added.
	hint(j *job) string
}

// unit is a text for a service manager.
type unit struct{ where, text string }

const (
	usingAuto    = "auto"
	usingSystemd = "systemd"
	usingCron    = "cron"
	usingLaunchd = "launchd"
	usingTasks   = "task-scheduler"
)

func usingVar(fl *pflag.FlagSet, using *string) {
	choiceVar(fl, using, "using", usingAuto, "which service manager", usingAuto, usingSystemd, usingCron, usingLaunchd, usingTasks)
}

func (a *app) serviceManager(name string) serviceManager {
	switch name {
	case usingSystemd:
		return systemd{a}
	case usingLaunchd:
		return launchd{a}
	case usingTasks:
		return tasks{a}
	}
	return cron{a}
}

// chooseManager is the one that --using names, or that this system has. Only to print what it would get it need not be
// there.
func (a *app) chooseManager(ctx context.Context, using string, printing bool) (serviceManager, error) {
	if using != usingAuto {
		return a.serviceManager(using), nil
	}
	switch runtime.GOOS {
	case "windows":
		return tasks{a}, nil
	case "darwin":
		return launchd{a}, nil
	}
	if _, err := a.run(ctx, "", "systemctl", "--user", "show-environment"); err == nil {
		return systemd{a}, nil
	}
	if _, err := exec.LookPath("crontab"); err == nil {
		return cron{a}, nil
	}
	if printing {
		return systemd{a}, nil
	}
	return nil, errors.New("there is neither a systemd for this user nor cron; --print --using systemd (or cron) shows what one would need")
}

// allManagers are those that may have jobs of forg here.
func (a *app) allManagers(using string) []serviceManager {
	switch {
	case using != usingAuto:
		return []serviceManager{a.serviceManager(using)}
	case runtime.GOOS == "windows":
		return []serviceManager{tasks{a}}
	case runtime.GOOS == "darwin":
		return []serviceManager{launchd{a}}
	}
	all := []serviceManager{systemd{a}}
	if _, err := exec.LookPath("crontab"); err == nil {
		all = append(all, cron{a})
	}
	return all
}

// installed is a job and who runs it.
type installed struct {
	*job
	by serviceManager
}

func (a *app) installedJobs(ctx context.Context, using, kind string) ([]installed, error) {
	var all []installed
	for _, m := range a.allManagers(using) {
		jobs, err := m.jobs(ctx, kind)
		if _, ok := m.(cron); ok && err != nil && using == usingAuto {
			continue // who may not use cron has no jobs there
		}
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			all = append(all, installed{j, m})
		}
	}
	return all, nil
}

// run runs a program of the system and returns what it prints. It is the only way from forg to systemctl and its like.
func (a *app) run(ctx context.Context, input, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C") // its messages are read
	c.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	err := c.Run()
	if err == nil {
		return out.String(), nil
	}
	line := strings.Join(append([]string{name}, args...), " ")
	if text := strings.TrimSpace(complaint.String()); text != "" {
		return out.String(), fmt.Errorf("%s: %s", line, text)
	}
	return out.String(), fmt.Errorf("%s: %w", line, err)
}

// newJob is the job of a command on path with the given flags.
func (a *app) newJob(kind, path, when string, command string, flags []string) (*job, error) {
	if _, err := organizer.ResolveDir(path); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", path, err)
	}
	argv, err := a.jobCommand(command, flags)
	if err != nil {
		return nil, err
	}
	j := &job{Kind: kind, Path: path, When: when, argv: append(argv, path)}
	key := path
	if kind == scheduleJob { // one folder may have several
		key += "\x00" + when + "\x00" + strings.Join(flags, "\x00")
	}
	j.ID = fmt.Sprintf("%s-%x", slug(filepath.Base(path)), sha256.Sum256([]byte(key)))[:len(slug(filepath.Base(path)))+9]
	return j, nil
}

// jobCommand is the beginning of the command line of a job.
func (a *app) jobCommand(command string, flags []string) ([]string, error) {
	program, err := programPath()
	if err != nil {
		return nil, err
	}
	carried, err := a.carried()
	if err != nil {
		return nil, err
	}
	return append([]string{program, command}, append(carried, flags...)...), nil
}

// newAgentJob is the job of the agent of this journal.
func (a *app) newAgentJob(flags []string) (*job, error) {
	path, err := a.journalPath()
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	argv, err := a.jobCommand("agent", flags)
	if err != nil {
		return nil, err
	}
	return &job{Kind: agentJob, ID: fmt.Sprintf("%x", sha256.Sum256([]byte(path)))[:8], Path: path, argv: argv}, nil
}

// slug is a name in letters that mean nothing to any service manager.
func slug(name string) string {
	s := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	if s == "" {
		s = "folder"
	}
	return strings.Trim(s[:min(len(s), 30)], "-")
}

// programPath is where the forg that runs can be found tomorrow: under the name in PATH if that is it, since that one
// stays the same when forg is updated.
func programPath() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find forg's own program: %w", err)
	}
	if strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return "", fmt.Errorf("%s goes away when forg ends: install forg with \"go install .\" and use that one", exe)
	}
	if found, err := exec.LookPath(filepath.Base(exe)); err == nil && filepath.IsAbs(found) {
		a, aerr := os.Stat(exe)
		b, berr := os.Stat(found)
		if aerr == nil && berr == nil && os.SameFile(a, b) {
			return found, nil
		}
	}
	return exe, nil
}

// carried are flags for what a service would not find by itself, because its environment is not the one here.
func (a *app) carried() ([]string, error) {
	var flags []string
	if a.journal != "" || a.getenv("XDG_STATE_HOME") != "" {
		path, err := a.journalPath()
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, err
		}
		flags = append(flags, "--journal="+path)
	}
	path := a.config
	if path == "" {
		path = a.getenv("FORG_CONFIG")
	}
	if dir := a.getenv("XDG_CONFIG_HOME"); path == "" && dir != "" {
		found, _ := filepath.Glob(filepath.Join(globEscape(dir), "forg", "config.*"))
		if len(found) > 0 {
			path = found[0]
		}
	}
	if path != "" {
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		flags = append(flags, "--config="+path)
	}
	return flags, nil
}

// jobFlags checks the flags of a job by parsing them, and returns them in one form, with absolute paths.
func jobFlags(fl *pflag.FlagSet, words []string) ([]string, error) {
	if err := fl.Parse(words); err != nil {
		return nil, usage("after --: %w", err)
	}
	if fl.NArg() > 0 {
		return nil, usage("after -- come flags only, and %q is none", fl.Arg(0))
	}
	var flags []string
	var failed error
	fl.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			what, _ := pflag.UnquoteUsage(f)
			switch {
			case what == "file" || what == "dir":
				if v != "" {
					abs, err := filepath.Abs(v)
					failed = errors.Join(failed, err)
					v = abs
				}
			case f.Value.Type() == "stringSlice" && strings.ContainsAny(v, ",\"\n"): // it is read as a line of CSV
				v = `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
			case f.Value.Type() == "bool" && v == "true":
				flags = append(flags, "--"+f.Name)
				continue
			}
			flags = append(flags, "--"+f.Name+"="+v)
		}
	})
	return flags, failed
}

// Every text for a service manager carries a line that says that it is forg's, and what it is about. That line holds
// nothing that would mean something in a comment of any format, XML's included.

func (j *job) mark() string {
	command := j.Kind + " uninstall"
	if j.Kind == scheduleJob {
		command = "schedule remove"
	}
	return fmt.Sprintf(`Written by forg, and removed by "forg %s". Job: %s %s %s %s`, command, j.Kind, markWord(j.ID), markWord(j.When), markWord(j.Path))
}

func markWord(s string) string {
	q := strconv.QuoteToASCII(s)
	return q[:1] + strings.NewReplacer("--", `-\x2d`, "<", `\x3c`, ">", `\x3e`, "&", `\x26`, "'", `\x27`, "%", `\x25`).Replace(q[1:len(q)-1]) + q[len(q)-1:]
}

var markLine = lazily(`Written by forg, and removed by "forg [a-z ]+"\. Job: (watch|schedule|agent) ("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*")`)

// marked is the job that a text is about; nil if forg did not write it.
func marked(text string) *job {
	m := markLine().FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	j := &job{Kind: m[1]}
	for i, to := range []*string{&j.ID, &j.When, &j.Path} {
		s, err := strconv.Unquote(m[i+2])
		if err != nil {
			return nil
		}
		*to = s
	}
	return j
}

// writeUnit writes a file that is forg's, in place of an older one that is, too.
func writeUnit(u unit) error {
	was, err := os.ReadFile(u.where)
	switch {
	case err == nil && marked(string(was)) == nil:
		return fmt.Errorf("write %s: it is there already, and forg did not write it; move it away first", u.where)
	case err == nil && string(was) == u.text:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write %s: %w", u.where, err)
	}
	dir := filepath.Dir(u.where)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", u.where, err)
	}
	f, err := os.CreateTemp(dir, ".forg-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", u.where, err)
	}
	_, err = f.WriteString(u.text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		if was == nil {
			err = os.Link(f.Name(), u.where) // a file that came meanwhile is not replaced
			os.Remove(f.Name())
		} else {
			err = os.Rename(f.Name(), u.where)
		}
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", u.where, err)
	}
	return nil
}

// removeUnit removes a file if it is forg's.
func removeUnit(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && marked(string(text)) == nil {
		err = errors.New("forg did not write it")
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// markedFiles are the jobs of one kind that the files of a glob are about.
func markedFiles(glob, kind string) ([]*job, error) {
	names, err := filepath.Glob(glob)
	var all []*job
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil {
			if j := marked(string(text)); j != nil && j.Kind == kind {
				all = append(all, j)
			}
		}
	}
	return all, err
}
