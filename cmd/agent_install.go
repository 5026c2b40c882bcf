package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) agentInstallCmd() *cobra.Command {
	var using string
	var printing bool
	c := &cobra.Command{
		Use: "install [-- FLAGS]", Short: "Run the agent from every login on",
		Long: help(`Lets the system run "forg agent", now and after every login, with the flags of "forg agent" that follow --; what the
configuration file says need not be repeated. It is a service of your own: on Linux a unit of systemd for your user (or,
without systemd, an @reboot line in your crontab), on macOS a launch agent, on Windows a task. Installing it again
changes its flags. Log in first, with "forg login".`, exitServiceText),
		Example: `  forg agent install
  forg agent install -- --allow rollback --folders downloads=/home/ada/Downloads
  forg agent install --print                          only show what would be written`,
		Args:        cobra.ArbitraryArgs,
		Annotations: map[string]string{passesFlagsTo: "agent"},
		RunE: func(c *cobra.Command, words []string) error {
			rest, words := beforeDash(c, words)
			if len(rest) > 0 {
				return usage("agent install takes flags of the agent only, after --\nUsage: %s", c.UseLine())
			}
			var f agentFlags
			fl := pflag.NewFlagSet("forg agent", pflag.ContinueOnError)
			f.register(fl)
			(&app{}).registerGlobal(fl)
			flags, err := jobFlags(fl, words)
			if err != nil {
				return err
			}
			if _, err := f.device(a); err != nil {
				return err
			}
			j, err := a.newAgentJob(flags)
			if err != nil {
				return err
			}
			return a.addJobs(c.Context(), []*job{j}, using, printing)
		},
	}
	usingVar(c.Flags(), &using)
	c.Flags().BoolVar(&printing, "print", false, "print what would be written, and do nothing")
	return c
}

// agentJobs are the services of this journal's agent.
func (a *app) agentJobs(ctx context.Context, using string) ([]installed, error) {
	path, err := a.journalPath()
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	all, err := a.installedJobs(ctx, using, agentJob)
	return slices.DeleteFunc(all, func(i installed) bool { return i.Path != path }), err
}

func (a *app) agentUninstallCmd() *cobra.Command {
	var using string
	c := &cobra.Command{
		Use: "uninstall", Short: "Undo \"forg agent install\"",
		Long:    help(`Ends the service that "forg agent install" has set up and removes it. You stay logged in.`, exitServiceText),
		Example: "  forg agent uninstall",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := a.agentJobs(c.Context(), using)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return errors.New("forg agent is not installed; \"forg agent status\" says whether one runs")
			}
			var failed []error
			removed := []installed{}
			for _, i := range all {
				if err := i.by.remove(c.Context(), i.job); err != nil {
					failed = append(failed, err)
					continue
				}
				removed = append(removed, i)
				if !a.json {
					a.say("forg agent does not run from now on.")
				}
			}
			if a.json {
				if err := a.printJobs(removed); err != nil {
					return err
				}
			}
			return a.someFailed(failed, len(all))
		},
	}
	usingVar(c.Flags(), &using)
	return c
}

func (a *app) agentStatusCmd() *cobra.Command {
	var own agentFlags // what the configuration says, since it is the agent's settings that count
	c := &cobra.Command{
		Use: "status", Short: "Say whether the agent runs, and what it may do",
		Long: help(`Says whether an agent runs for this journal, whether "forg agent install" has set up a service, and what the
configuration allows it to do.`, exitHead+"  3    no agent runs now"),
		Example:     "  forg agent status",
		Args:        args(cobra.NoArgs),
		Annotations: map[string]string{settingsOf: "agent"},
		RunE:        func(c *cobra.Command, _ []string) error { return a.agentStatus(c.Context(), &own) },
	}
	own.registerAllowed(c.Flags())
	return c
}

func (a *app) agentStatus(ctx context.Context, f *agentFlags) error {
	d, err := f.offers(a)
	if err != nil {
		return err
	}
	running, err := a.runningAgent(ctx)
	if err != nil {
		return err
	}
	jobs, err := a.agentJobs(ctx, usingAuto)
	if err != nil {
		return err
	}
	services := []string{}
	for _, i := range jobs {
		services = append(services, fmt.Sprintf("%s (%s)", i.name(), i.by))
	}
	if a.json {
		var pid *int
		since := ""
		if running != nil {
			pid, since = &running.PID, running.Since.Format(time.RFC3339Nano)
		}
		out := map[string]any{"pid": pid, "since": since, "services": services, "allow": append([]string{}, f.allow...), "folders": d.folders, "rule_sets": d.sets}
		if err := json.NewEncoder(a.out).Encode(out); err != nil {
			return err
		}
	} else {
		if running != nil {
			a.say("forg agent %s, since %s.", a.paint(green, fmt.Sprintf("runs as process %d", running.PID)), running.Since.Format("2006-01-02 15:04"))
		} else {
			a.say("forg agent %s.", a.paint(yellow, "does not run now"))
		}
		for _, s := range services {
			a.say("Service: %s", s)
		}
		if len(f.allow) == 0 {
			a.say("From afar nothing may be done: agent.allow is empty.")
		} else {
			a.say("From afar may come: %s", strings.Join(f.allow, ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(d.folders)) {
			a.say("Folder %s: %s", name, a.tilde(d.folders[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(d.sets)) {
			a.say("Rules %s: %s", name, a.tilde(d.sets[name]))
		}
	}
	if running == nil {
		return &exitError{code: exitPartial}
	}
	return nil
}
