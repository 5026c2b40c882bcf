// Package cmd is forg's command line: it owns flags, configuration, environment, terminal, words and exit codes, and
// nothing else in forg does.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"forg/journal"
	"forg/organizer"
)

// Exit codes, as every command's help tells them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitPartial  = 3
	exitLocked   = 4
	exitConflict = 5
)

// exitError carries an exit code; with a nil err everything was said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// app is one run of forg: its streams, its clock and what the flags of every command say.
type app struct {
	in     io.Reader
	out    io.Writer // the answer
	err    io.Writer // the conversation
	getenv func(string) string
	now    func() time.Time

	inTTY, outTTY, errTTY bool

	config   string
	journal  string
	json     bool
	quiet    bool
	verbose  bool
	color    string
	progress string

	signal  atomic.Int32 // the signal that asked forg to stop
	origins []origin     // where each value came from
}

// Main runs forg with the arguments of the process and returns its exit code.
func Main() int {
	// A reader that goes away must not kill forg in the middle of a move: the write fails instead and is let go.
	signal.Ignore(syscall.SIGPIPE)
	a := &app{
		in: os.Stdin, out: &pipe{w: os.Stdout}, err: &pipe{w: os.Stderr}, getenv: os.Getenv, now: time.Now,
		inTTY: term.IsTerminal(int(os.Stdin.Fd())), outTTY: term.IsTerminal(int(os.Stdout.Fd())), errTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
	return a.main(os.Args[1:])
}

// screen is the terminal of the conversation, for what asks it how wide it is: a bar, a review. Where there is none it is
// standard error.
func (a *app) screen() io.Writer {
	if p, ok := a.err.(*pipe); ok && a.errTTY {
		return p.w
	}
	return a.err
}

// pipe is a stream whose reader may go away: from then on it swallows what is written.
type pipe struct {
	w      io.Writer
	used   atomic.Bool // something was written
	closed atomic.Bool
	failed atomic.Bool // a write went wrong, as on a full disk
}

func (p *pipe) Write(b []byte) (int, error) {
	p.used.Store(true)
	if p.closed.Load() {
		return len(b), nil
	}
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.closed.Store(true)
		return len(b), nil
	}
	if err != nil {
		p.failed.Store(true)
	}
	return n, err
}

func (a *app) main(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it, and so does forg then
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			if n, ok := s.(syscall.Signal); ok {
				a.signal.CompareAndSwap(0, int32(n))
			}
			cancel()
		}
	}()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		if out, ok := a.out.(*pipe); ok && out.failed.Load() {
			a.complain(errors.New("the result could not be written to standard output"))
			return exitPartial
		}
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitFailed, err}
		switch {
		case errors.Is(err, journal.ErrLocked):
			exit.code = exitLocked
		case errors.Is(err, errUsage), errors.Is(err, organizer.ErrPattern):
			exit.code = exitUsage
		}
	}
	if n := a.signal.Load(); n != 0 && (errors.Is(err, context.Canceled) || exit.err == nil || exit.code == exitPartial) {
		return 128 + int(n)
	}
	if exit.err != nil {
		a.complain(exit.err)
		if out, ok := a.out.(*pipe); ok && a.json && !out.used.Load() { // a program that reads JSON gets JSON
			o := newObject(a.out)
			o.field("operation", nil)
			o.field("errors", []jsonProblem{{Error: exit.err.Error()}})
			if err := o.close(); err != nil {
				a.complain(err)
			}
		}
	}
	return exit.code
}

// errUsage marks errors that are the command line's.
var errUsage = errors.New("usage")

func (a *app) root() *cobra.Command {
	asked := false // for the version
	c := &cobra.Command{
		Use:   "forg",
		Short: "Put files where they belong, and back again",
		Long: help(`forg puts the files of a folder where they belong, keeps a journal of every move, and can always put
everything back: from any folder, weeks later, after a crash.`, exitAllText),
		Example: `  forg organize ~/Downloads        sort the files directly in ~/Downloads into folders
  forg organize -n ~/Downloads     only show what it would do
  forg undo                        put everything back`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q%s", args[0], didYouMean(args[0], commandNames(c)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if asked {
				fmt.Fprintf(a.out, "forg %s\n", version())
				return nil
			}
			return c.Help()
		},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if asked {
				return nil // whatever the configuration says
			}
			return a.configure(c)
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	// Cobra would do the same by a template, which finds methods by their names at run time: with one anywhere in the
	// program the linker has to keep every method of every type, 3 MB of them.
	c.Flags().BoolVar(&asked, "version", false, "version for forg")
	c.SetHelpFunc(a.printHelp)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w%s\nSee '%s --help'", err, flagHint(c, err), c.CommandPath())
	})
	a.registerGlobal(c.PersistentFlags())
	c.AddCommand(a.organizeCmd(), a.applyCmd(), a.undoCmd(), a.redoCmd(), a.historyCmd(), a.showCmd(), a.whereCmd(), a.dupesCmd(), a.scanCmd(),
		a.rulesCmd(), a.watchCmd(), a.scheduleCmd(), a.signupCmd(), a.loginCmd(), a.logoutCmd(), a.whoamiCmd(), a.accountCmd(), a.devicesCmd(), a.apiKeysCmd(),
		a.syncCmd(), a.agentCmd(), a.serveCmd(), a.doctorCmd(), a.configCmd(), a.completionCmd(), a.versionCmd())
	c.InitDefaultHelpCmd()
	for _, h := range c.Commands() {
		if h.Name() == "help" {
			h.Long = help("Prints the help of a command.", exitUsageText)
			h.Example = "  forg help organize"
			h.Run, h.RunE = nil, func(h *cobra.Command, names []string) error {
				target, rest, err := c.Find(names)
				if err != nil || len(rest) > 0 {
					return usage("unknown command %q%s", strings.Join(names, " "), didYouMean(names[0], commandNames(c)))
				}
				target.InitDefaultHelpFlag()
				return target.Help()
			}
		}
	}
	return c
}

// registerGlobal adds the flags that every command takes.
func (a *app) registerGlobal(p *pflag.FlagSet) {
	p.StringVar(&a.config, "config", "", "configuration `file` (default $XDG_CONFIG_HOME/forg/config.yaml)")
	p.StringVar(&a.journal, "journal", "", "journal `file` (default $XDG_STATE_HOME/forg/journal.db)")
	p.BoolVar(&a.json, "json", false, "print one JSON object")
	p.BoolVarP(&a.quiet, "quiet", "q", false, "say only what went wrong")
	p.BoolVarP(&a.verbose, "verbose", "v", false, "say more: every file and why")
	p.StringVar(&a.color, "color", "auto", "colours: auto, always or never")
	p.StringVar(&a.progress, "progress", "auto", "progress bar: auto, always or never")
}

// Root is forg's command tree, from which manual pages are made.
func Root() *cobra.Command {
	return (&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, now: time.Now}).root()
}

func commandNames(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

func flagHint(c *cobra.Command, err error) string {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	var names []string
	collect := func(f *pflag.Flag) { names = append(names, f.Name) }
	c.Flags().VisitAll(collect)
	c.InheritedFlags().VisitAll(collect)
	if hint := didYouMean(name, names); hint != "" {
		return strings.Replace(hint, "\"", "\"--", 1)
	}
	return ""
}

// didYouMean suggests the nearest of names, or says nothing when none is near.
func didYouMean(got string, names []string) string {
	best, at := "", len(got)/2+1
	for _, n := range names {
		if d := distance(got, n); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is how many letters must change to turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// args is cobra's argument check with our exit code.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			what := "too many arguments"
			if len(args) == 0 {
				what = "an argument is missing"
			} else if strings.HasPrefix(err.Error(), "invalid argument") {
				what = err.Error()
			}
			return usage("%s: %s\nUsage: %s", c.CommandPath(), what, c.UseLine())
		}
		return nil
	}
}

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}
func (c choice) Type() string { return strings.Join(c.allowed, "|") }
func (c choice) Set(s string) error {
	for _, a := range c.allowed {
		if s == a {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("it is one of %s%s", strings.Join(c.allowed, ", "), didYouMean(s, c.allowed))
}

func choiceVar(f *pflag.FlagSet, p *string, name, value, help string, allowed ...string) {
	*p = value
	f.Var(choice{p, allowed}, name, help)
}

// open opens the journal for writing, settles what a crash has left and says so.
func (a *app) open(ctx context.Context, wait time.Duration) (*journal.Journal, error) {
	path, err := a.journalPath()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(ctx, path, journal.Options{Wait: wait, Now: a.now})
	if err != nil {
		if errors.Is(err, journal.ErrLocked) {
			return nil, fmt.Errorf("%w; wait for it with --wait 1m", err)
		}
		if errors.Is(err, journal.ErrNewer) || errors.Is(err, journal.ErrCorrupt) || ctx.Err() != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w; nothing was moved, since forg moves nothing that it cannot record: make the journal's folder writable or give another journal with --journal", err)
	}
	return j, a.settle(ctx, j)
}

// read opens the journal to look at it. When another forg was killed, the first one to look settles what it left, if it
// may write and no other forg is at work.
func (a *app) read(ctx context.Context) (*journal.Journal, error) {
	path, err := a.journalPath()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(ctx, path, journal.Options{ReadOnly: true, Now: a.now})
	if err != nil {
		return nil, err
	}
	running, err := j.RunningOperations(ctx)
	if err != nil || len(running) == 0 {
		return j, err
	}
	w, err := journal.Open(ctx, path, journal.Options{Now: a.now})
	if err != nil {
		return j, nil // at work, or not ours to write: what can be read is true all the same
	}
	err = a.settle(ctx, w)
	return j, errors.Join(err, w.Close())
}
