package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) scheduleCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "schedule", Short: "Organize folders at set times",
		Long: help(`Lets the system run "forg organize" at set times: on Linux by a timer of systemd for your user (or, without systemd, a
line in your crontab), on macOS by a launch agent, on Windows by a task. "forg watch" moves files as they arrive.`, exitUsageText),
		Example: `  forg schedule add daily ~/Downloads
  forg schedule list
  forg schedule remove downloads-1a2b3c4d`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.scheduleAddCmd(), a.scheduleListCmd(), a.scheduleRemoveCmd())
	return c
}

func (a *app) scheduleAddCmd() *cobra.Command {
	var using string
	var printing bool
	c := &cobra.Command{
		Use: "add WHEN PATH [-- FLAGS]", Short: "Organize a folder at set times",
		Long: help(`Runs "forg organize PATH" at WHEN, with the flags of organize that follow --. WHEN is one word to the shell, in quotes:

  hourly, daily, weekly      at the full hour; at 03:00; on Mondays at 03:00
  "daily 18:30", 18:30       every day at that time
  "mon 03:00", "mon-fri 12:00", "sat,sun 09:00"
  "every 30m", "every 6h"    what divides an hour, or a day

Runs print only what went wrong (--quiet) and wait ten minutes for another forg (--wait 10m) unless you say otherwise.
Other lines of a crontab, and units that forg did not write, are left as they are.`, exitUsageText),
		Example: `  forg schedule add daily ~/Downloads
  forg schedule add "mon 03:00" ~/Desktop -- --by category,year --exclude '*.iso'
  forg schedule add --print "every 30m" ~/Downloads   only show what would be written`,
		Args:        cobra.ArbitraryArgs,
		Annotations: map[string]string{passesFlagsTo: "organize"},
		RunE: func(c *cobra.Command, words []string) error {
			named, words := beforeDash(c, words)
			if len(named) != 2 {
				hint := ""
				if _, err := parseCadence(strings.Join(named[:max(len(named)-1, 0)], " ")); len(named) > 2 && err == nil {
					hint = fmt.Sprintf("; put WHEN in quotes: %q", strings.Join(named[:len(named)-1], " "))
				}
				return usage("schedule add needs WHEN and one PATH%s\nUsage: %s", hint, c.UseLine())
			}
			when, err := parseCadence(named[0])
			if err != nil {
				return usage("WHEN %q: %w", named[0], err)
			}
			flags, err := scheduledFlags(words)
			if err != nil {
				return err
			}
			j, err := a.newJob(scheduleJob, named[1], when.String(), "organize", flags)
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

// scheduledFlags are the flags of an organize that nobody watches.
func scheduledFlags(words []string) ([]string, error) {
	var f organizeFlags
	var global app
	fl := pflag.NewFlagSet("forg organize", pflag.ContinueOnError)
	f.register(fl)
	fl.BoolVar(&f.copy, "copy", false, "")
	fl.DurationVar(&f.wait, "wait", 0, "")
	global.registerGlobal(fl)
	flags, err := jobFlags(fl, words)
	if err != nil {
		return nil, err
	}
	if _, err := f.options(); err != nil {
		return nil, err
	}
	if !fl.Changed("quiet") && !global.verbose && !global.json {
		flags = append(flags, "--quiet")
	}
	if !fl.Changed("wait") {
		flags = append(flags, "--wait=10m")
	}
	return flags, nil
}

func (a *app) scheduleListCmd() *cobra.Command {
	var using string
	c := &cobra.Command{
		Use: "list", Short: "List what was scheduled",
		Long:    help(`Lists the jobs that "forg schedule add" has set up: ID, when, which folder, and who runs them.`, exitUsageText),
		Example: "  forg schedule list\n  forg schedule list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := a.installedJobs(c.Context(), using, scheduleJob)
			if err != nil {
				return err
			}
			return a.printJobs(all)
		},
	}
	usingVar(c.Flags(), &using)
	return c
}

func (a *app) printJobs(all []installed) error {
	if a.json {
		jobs := []jsonJob{}
		for _, i := range all {
			jobs = append(jobs, jobJSON(i, nil))
		}
		return json.NewEncoder(a.out).Encode(map[string]any{"jobs": jobs})
	}
	if len(all) == 0 {
		a.say("Nothing is scheduled.")
	}
	width, times := 0, 0
	for _, i := range all {
		width, times = max(width, len(i.ID)), max(times, len(i.When))
	}
	for _, i := range all {
		a.say("%-*s  %-*s  %s (%s)", width, i.ID, times, i.When, a.tilde(i.Path), i.by)
	}
	return nil
}

func (a *app) scheduleRemoveCmd() *cobra.Command {
	var using string
	c := &cobra.Command{
		Use: "remove ID...", Short: "Take scheduled jobs away",
		Long:    help(`Takes away the jobs with these IDs, which "forg schedule list" prints. What they have moved stays where it is.`, exitServiceText),
		Example: "  forg schedule remove downloads-1a2b3c4d",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, ids []string) error { return a.removeScheduled(c.Context(), ids, using) },
	}
	usingVar(c.Flags(), &using)
	return c
}

func (a *app) removeScheduled(ctx context.Context, ids []string, using string) error {
	all, err := a.installedJobs(ctx, using, scheduleJob)
	if err != nil {
		return err
	}
	known := []string{}
	for _, i := range all {
		known = append(known, i.ID)
	}
	var failed []error
	removed := []installed{}
	for _, id := range ids {
		found := false
		for _, i := range all {
			if i.ID != id {
				continue
			}
			found = true
			if err := i.by.remove(ctx, i.job); err != nil {
				failed = append(failed, err)
				continue
			}
			removed = append(removed, i)
			if !a.json {
				a.say("%s is not organized %s any more.", a.tilde(i.Path), i.When)
			}
		}
		if !found {
			failed = append(failed, fmt.Errorf("remove %s: there is no such job%s; \"forg schedule list\" lists them", id, didYouMean(id, known)))
		}
	}
	if a.json {
		if err := a.printJobs(removed); err != nil {
			return err
		}
	}
	return a.someFailed(failed, len(ids))
}
