package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/organizer"
)

const exitServiceText = exitHead + "  3    done except for what is named on standard error"

// passesFlagsTo is the annotation of a command whose arguments after -- are flags of another.
const passesFlagsTo = "passes flags to"

// beforeDash splits arguments at --.
func beforeDash(c *cobra.Command, words []string) (args, flags []string) {
	if n := c.ArgsLenAtDash(); n >= 0 {
		return words[:n], words[n:]
	}
	return words, nil
}

func (a *app) watchInstallCmd() *cobra.Command {
	var using string
	var printing bool
	c := &cobra.Command{
		Use: "install PATH... [-- FLAGS]", Short: "Watch folders from every login on",
		Long: help(`Lets the system run "forg watch" for each PATH, now and after every login, with the flags of "forg watch" that follow
--. It is a service of your own: on Linux a unit of systemd for your user (or, without systemd, an @reboot line in your
crontab), on macOS a launch agent, on Windows a task. Installing a PATH again changes its flags. A unit of that name
that forg did not write is left alone.`, exitServiceText),
		Example: `  forg watch install ~/Downloads
  forg watch install ~/Downloads ~/Desktop -- --quiet-period 30s --by category,year
  forg watch install --print ~/Downloads              only show what would be written`,
		Args:        cobra.ArbitraryArgs,
		Annotations: map[string]string{passesFlagsTo: "watch"},
		RunE: func(c *cobra.Command, words []string) error {
			paths, words := beforeDash(c, words)
			if len(paths) == 0 {
				return usage("watch install needs a folder\nUsage: %s", c.UseLine())
			}
			var f watchFlags
			fl := pflag.NewFlagSet("forg watch", pflag.ContinueOnError)
			f.register(fl)
			(&app{}).registerGlobal(fl)
			flags, err := jobFlags(fl, words)
			if err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			var jobs []*job
			for _, p := range paths {
				j, err := a.newJob(watchJob, p, "", "watch", flags)
				if err != nil {
					return err
				}
				jobs = append(jobs, j)
			}
			return a.addJobs(c.Context(), jobs, using, printing)
		},
	}
	usingVar(c.Flags(), &using)
	c.Flags().BoolVar(&printing, "print", false, "print what would be written, and do nothing")
	return c
}

// addJobs hands jobs to the service manager, or prints what it would be given.
func (a *app) addJobs(ctx context.Context, jobs []*job, using string, printing bool) error {
	m, err := a.chooseManager(ctx, using, printing)
	if err != nil {
		return err
	}
	var failed []error
	added := []jsonJob{}
	for _, j := range jobs {
		if printing {
			units, err := m.units(j)
			if err != nil {
				return err
			}
			if a.json {
				added = append(added, jobJSON(installed{j, m}, units))
				continue
			}
			for i, u := range units {
				if len(units) > 1 || len(jobs) > 1 {
					if i > 0 {
						fmt.Fprintln(a.out)
					}
					fmt.Fprintf(a.out, "# %s\n", u.where)
				}
				fmt.Fprint(a.out, u.text)
			}
			continue
		}
		if err := m.add(ctx, j); err != nil {
			failed = append(failed, err)
			continue
		}
		added = append(added, jobJSON(installed{j, m}, nil))
		if a.json {
			continue
		}
		switch j.Kind {
		case watchJob:
			a.say("forg watches %s from now on, by way of %s.", a.tilde(j.Path), m)
			a.say("Take it back with: forg watch uninstall %s", shellWord(j.Path))
		case agentJob:
			a.say("forg agent runs from now on, by way of %s.", m)
			a.say("Take it back with: forg agent uninstall")
		default:
			a.say("forg organizes %s %s, by way of %s.", a.tilde(j.Path), j.When, m)
			a.say("Take it back with: forg schedule remove %s", j.ID)
		}
		a.say("%s", m.hint(j))
	}
	if a.json {
		if err := json.NewEncoder(a.out).Encode(map[string]any{"jobs": added}); err != nil {
			return err
		}
	}
	return a.someFailed(failed, len(jobs))
}

// someFailed says what could not be done of all there was to do.
func (a *app) someFailed(failed []error, all int) error {
	switch {
	case len(failed) == 0:
		return nil
	case len(failed) == all:
		return errors.Join(failed...)
	}
	for _, err := range failed {
		a.complain(err)
	}
	return &exitError{code: exitPartial}
}

// jsonJob is a job as --json prints it.
type jsonJob struct {
	ID        string     `json:"id"`
	Path      string     `json:"path"`
	PathBytes []byte     `json:"path_bytes,omitempty"`
	When      string     `json:"when,omitempty"`
	Using     string     `json:"using"`
	Units     []jsonUnit `json:"units,omitempty"`
}

type jsonUnit struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

func jobJSON(i installed, units []unit) jsonJob {
	j := jsonJob{ID: i.ID, When: i.When, Using: i.by.String()}
	j.Path, j.PathBytes = organizer.ExactPath(i.Path)
	for _, u := range units {
		j.Units = append(j.Units, jsonUnit{u.where, u.text})
	}
	return j
}

func (a *app) watchUninstallCmd() *cobra.Command {
	var using string
	c := &cobra.Command{
		Use: "uninstall PATH...", Short: "Undo \"forg watch install\"",
		Long: help(`Ends the services that "forg watch install" has set up for each PATH and removes them. What they have moved stays
where it is.`, exitServiceText),
		Example: "  forg watch uninstall ~/Downloads",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, paths []string) error {
			all, err := a.installedJobs(c.Context(), using, watchJob)
			if err != nil {
				return err
			}
			var failed []error
			removed := []installed{}
			for _, p := range paths {
				abs, err := filepath.Abs(p)
				if err != nil {
					return fmt.Errorf("resolve %s: %w", p, err)
				}
				found := false
				for _, i := range all {
					if i.Path != abs {
						continue
					}
					found = true
					if err := i.by.remove(c.Context(), i.job); err != nil {
						failed = append(failed, err)
						continue
					}
					removed = append(removed, i)
					if !a.json {
						a.say("forg does not watch %s any more.", a.tilde(abs))
					}
				}
				if !found {
					failed = append(failed, fmt.Errorf("uninstall %s: it is not installed; \"forg watch status\" lists what is", abs))
				}
			}
			if a.json {
				if err := a.printJobs(removed); err != nil {
					return err
				}
			}
			return a.someFailed(failed, len(paths))
		},
	}
	usingVar(c.Flags(), &using)
	return c
}

func (a *app) watchStatusCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "status [PATH...]", Short: "Say which folders are watched",
		Long: help(`Lists the folders that a forg watch is watching now, and those for which "forg watch install" has set up a service.
With PATHs, only those.`, exitHead+"  3    a PATH that was given is not watched now"),
		Example: "  forg watch status\n  forg watch status ~/Downloads",
		Args:    cobra.ArbitraryArgs,
		RunE:    func(c *cobra.Command, paths []string) error { return a.watchStatus(c.Context(), paths) },
	}
	return c
}

// watched is what is known of a folder.
type watched struct {
	Path      string   `json:"path"`
	PathBytes []byte   `json:"path_bytes,omitempty"`
	PID       *int     `json:"pid"`
	Recursive bool     `json:"recursive"`
	Since     string   `json:"since,omitempty"`
	Services  []string `json:"services"`
	real      string
}

func (a *app) watchStatus(ctx context.Context, paths []string) error {
	running, err := a.watchers(ctx)
	if err != nil {
		return err
	}
	jobs, err := a.installedJobs(ctx, usingAuto, watchJob)
	if err != nil {
		return err
	}
	all := []*watched{}
	entry := func(path string) *watched {
		real, err := organizer.ResolveDir(path)
		if err != nil {
			real = path
		}
		if i := slices.IndexFunc(all, func(w *watched) bool { return w.real == real }); i >= 0 {
			return all[i]
		}
		w := &watched{real: real, Services: []string{}}
		w.Path, w.PathBytes = organizer.ExactPath(path)
		all = append(all, w)
		return w
	}
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", p, err)
		}
		entry(abs)
	}
	asked := len(all)
	for _, r := range running {
		w := entry(r.root())
		w.PID, w.Recursive, w.Since = &r.PID, r.Recursive, r.Since.Format("2006-01-02T15:04:05.999999999Z07:00")
	}
	for _, i := range jobs {
		w := entry(i.Path)
		w.Services = append(w.Services, fmt.Sprintf("%s (%s)", i.name(), i.by))
	}
	if len(paths) > 0 {
		all = all[:asked]
	}
	idle := slices.ContainsFunc(all, func(w *watched) bool { return w.PID == nil })
	if a.json {
		if err := json.NewEncoder(a.out).Encode(map[string]any{"folders": all}); err != nil {
			return err
		}
	} else {
		for _, w := range all {
			a.printWatched(w)
		}
		if len(all) == 0 {
			a.say("No folder is watched.")
		}
	}
	if len(paths) > 0 && idle {
		return &exitError{code: exitPartial}
	}
	return nil
}

func (a *app) printWatched(w *watched) {
	what := a.paint(yellow, "not watched now")
	if w.PID != nil {
		what = a.paint(green, fmt.Sprintf("watched by process %d", *w.PID))
		if w.Recursive {
			what += ", with subfolders"
		}
	}
	for _, s := range w.Services {
		what += ", service " + s
	}
	path := w.Path
	if len(w.PathBytes) > 0 {
		path = string(w.PathBytes)
	}
	a.say("%s: %s", a.tilde(path), what)
}

// shellWord is a word that can be pasted into a shell.
func shellWord(w string) string {
	if shellPlain().MatchString(w) || os.PathSeparator == '\\' {
		return w
	}
	return quoteWord(w)
}
