package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/organizer"
	"forg/organizer/watch"
)

// watchFlags is what the command line of watch says besides what to organize.
type watchFlags struct {
	organizeFlags
	quietPeriod time.Duration
	poll        time.Duration
}

const exitWatchText = exitHead + "  4    another forg watches this tree\n  130  interrupted; 143 when terminated"

func (a *app) watchCmd() *cobra.Command {
	var f watchFlags
	c := &cobra.Command{
		Use: "watch [PATH...]", Short: "Keep organizing files as they arrive",
		Long: help(`Organizes each PATH as "forg organize" does, now and whenever new files have come, until it is stopped. Files that
come together are moved together, once nothing has come or changed for the quiet period; each such batch is one
operation, which "forg undo" takes back. Downloads in progress and files that still grow are waited for.

It never fights you: what an undo has put back, and what you have moved by hand after forg had placed it, stays where it
is, unless you say --again. Other forg commands can be used meanwhile. A folder that is moved, removed or unmounted is
waited for. On network file systems, which do not tell of changes, it looks every few seconds (--poll).

Nothing is lost when it is stopped, even by a crash: the next start takes what came in between. Settings of organize in
the configuration hold here too. "forg watch install" starts it with every login. A PATH that is called as one of the
commands below is given as ./install.

With --json each batch is one JSON object on a line of its own, as "forg organize --json" prints it.`, exitWatchText),
		Example: `  forg watch ~/Downloads
  forg watch -r --by category,year --into ~/Sorted ~/Unsorted
  forg watch --quiet-period 1m --exclude '*.iso' ~/Downloads ~/Desktop
  forg watch --poll 30s /mnt/scans
  forg watch                                         the locations of the rules file
  forg watch --rules photos.yaml ~/Pictures
  forg watch install ~/Downloads`,
		Args:        cobra.ArbitraryArgs,
		Annotations: map[string]string{settingsOf: "organize"},
		RunE: func(c *cobra.Command, paths []string) error {
			return a.watch(c.Context(), paths, &f)
		},
	}
	f.register(c.Flags())
	c.AddCommand(a.watchInstallCmd(), a.watchUninstallCmd(), a.watchStatusCmd())
	return c
}

func (f *watchFlags) register(fl *pflag.FlagSet) {
	f.organizeFlags.register(fl)
	fl.Lookup("again").Usage = "take files too that an undo has put back, or that were moved by hand"
	fl.Lookup("max-files").Usage = "refuse to move more than this `number` of files at once"
	fl.Lookup("max-bytes").Usage = "refuse to move more than this `size` (500MB, 2GiB) at once"
	fl.DurationVar(&f.quietPeriod, "quiet-period", 5*time.Second, "move files once nothing has come or changed for this `time`")
	fl.DurationVar(&f.poll, "poll", 0, "look for changes every so much `time`, rather than being told of them by the system")
}

// check refuses what makes no sense.
func (f *watchFlags) check() error {
	if f.quietPeriod < 0 {
		return usage("--quiet-period %s: it cannot be negative", f.quietPeriod)
	}
	if f.poll < 0 || f.poll > 0 && f.poll < 100*time.Millisecond {
		return usage("--poll %s: it is 100ms or more, or 0 to be told by the system", f.poll)
	}
	_, err := f.options()
	return err
}

// watching is a forg that keeps running.
type watching struct {
	*app
	o      *organizing
	w      *watch.Watcher
	placed *organizer.Placed
	told   map[string]bool // what went wrong and was said: once is enough
	failed string          // why the last batch could not be done at all
	soon   time.Duration   // when files that could not be taken yet may be taken, 0 without any
	open   time.Duration   // the same for files that are open in another program
	retry  time.Duration   // the same for a batch that failed
}

// burst is how many quiet periods a burst without an end may put a batch off.
const burst = 12

func (a *app) watch(ctx context.Context, paths []string, f *watchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	// A file that changed within the quiet period waits, even if a burst without an end makes the others go. And files
	// that came together should be old enough together, or they would go in two batches.
	quiet := max(f.quietPeriod, min(f.minAge, 10*time.Second))
	f.minAge = max(f.minAge, f.quietPeriod)
	f.wait = 10 * time.Second
	a.progress = "never"
	o, err := a.newOrganizing(paths, &f.organizeFlags)
	if err != nil {
		return err
	}
	unlock, err := a.lockWatch(ctx, o.roots, f.recursive || o.ruled != nil)
	if err != nil {
		return err
	}
	defer unlock()
	scans := map[string]organizer.ScanOptions{}
	for _, r := range o.roots {
		scans[r] = o.scanOptions(r, o.opt)
	}
	arrivals := organizer.NewArrivals(o.set, func(root string) organizer.ScanOptions { return scans[root] })
	opt := watch.Options{Quiet: quiet, Longest: burst * quiet, Poll: f.poll, Counts: arrivals.Count, Enters: arrivals.Enter}
	if o.into != "" {
		opt.Needs = []string{nearest(o.into)}
	}
	w, err := watch.Start(o.roots, opt)
	if err != nil {
		return err
	}
	defer w.Close()
	v := &watching{app: a, o: o, w: w, told: map[string]bool{}}
	if !f.again {
		v.placed = organizer.NewPlaced(o.roots)
	}
	o.watch = v
	if !a.quiet {
		fmt.Fprintf(a.err, "Watching %s.\n", a.tildeList(strings.Join(o.roots, string(filepath.ListSeparator))))
	}
	defer a.tellService()()
	return v.loop(ctx)
}

// nearest is path or the nearest folder above it that exists.
func nearest(path string) string {
	for {
		if _, err := os.Lstat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

func (v *watching) loop(ctx context.Context) error {
	for first := true; ; {
		e, err := v.w.Next(ctx)
		if err != nil {
			return err
		}
		if e.Kind != watch.Settled {
			v.tell(e)
			continue
		}
		if err := v.batch(ctx, e.Roots, first); err != nil {
			return err
		}
		first = false
		if out, ok := v.out.(*pipe); ok && out.closed.Load() {
			return nil // nobody reads what it does any more
		}
	}
}

// batch organizes what has settled. Only the first may end forg when it fails: later ones are tried again.
func (v *watching) batch(ctx context.Context, roots []string, first bool) error {
	v.soon = 0
	err := v.o.run(ctx, roots)
	for waits := false; locked(err) && ctx.Err() == nil; err = v.o.run(ctx, roots) {
		if !waits && !v.quiet {
			v.warn("Another forg is at work; waiting for it.")
		}
		waits = true
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	exit, ok := errors.AsType[*exitError](err)
	switch {
	case err == nil, ok && exit.err == nil: // what went wrong was said, file by file
		v.failed, v.retry = "", 0
	case errors.Is(err, errTooMuch), errors.Is(err, organizer.ErrConflict): // until something changes there is no use in trying
		v.complainOnce(err)
	case first:
		return err
	default:
		v.complainOnce(err)
		v.retry = min(max(2*v.retry, 10*time.Second), 10*time.Minute)
		v.soon = v.retry
	}
	if v.soon > 0 {
		for _, r := range roots {
			v.w.Again(r, v.soon)
		}
	}
	return nil
}

func locked(err error) bool {
	exit, ok := errors.AsType[*exitError](err)
	return errors.Is(err, journal.ErrLocked) || ok && exit.code == exitLocked
}

// complainOnce says why a batch could not be done, unless it is the same as the last time.
func (v *watching) complainOnce(err error) {
	if err.Error() == v.failed {
		return
	}
	v.failed = err.Error()
	v.complain(err)
	if v.json {
		o := newObject(v.out)
		o.field("at", v.now().Format(time.RFC3339Nano))
		o.field("operation", nil)
		o.field("errors", []jsonProblem{{Error: strings.ToValidUTF8(err.Error(), "\ufffd")}})
		o.close() // that nobody reads it is seen when the batch is over
	}
}

// byHand knows which files a person has moved after forg had placed them.
func (v *watching) byHand(ctx context.Context, j *journal.Journal) (func(*organizer.Dir, string, journal.Identity) bool, error) {
	if err := v.placed.Update(ctx, j); err != nil {
		return nil, err
	}
	return v.placed.MovedByHand, nil
}

// planned finds out when to look again for files that could not be taken yet: time passes without an event.
func (v *watching) planned(plan *organizer.Plan) {
	sooner := func(d time.Duration) {
		if v.soon == 0 || d < v.soon {
			v.soon = d
		}
	}
	if plan.Tree.Left[organizer.LeftYoung] > 0 {
		now := v.now().UnixNano()
		for _, f := range plan.Tree.All() {
			if f.Left == organizer.LeftYoung {
				// Those that came soon after it are to go along.
				sooner(time.Duration(f.Mtime-now) + v.o.flags.minAge + max(time.Second, v.o.flags.minAge/10))
			}
		}
	}
	if plan.Left[organizer.LeftOpen] == 0 {
		v.open = 0
		return
	}
	v.open = min(max(2*v.open, 2*time.Second), time.Minute)
	sooner(v.open)
}

// news reports whether something was not said yet.
func (v *watching) news(text string) bool {
	if v.told[text] {
		return false
	}
	if len(v.told) > 10000 {
		clear(v.told)
	}
	v.told[text] = true
	return true
}

// grace is how long a batch may take when forg is asked to stop. Beyond it only the move in hand is finished.
const grace = 5 * time.Second

// toTheEnd lets a batch come to its end when forg is asked to stop, if that is soon.
func toTheEnd(ctx context.Context) (context.Context, func()) {
	batch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-batch.Done():
		}
	})
	return batch, func() { stop(); cancel() }
}

// limitHint says how to let the system watch more folders.
func limitHint(err error) string {
	if runtime.GOOS != "linux" || !errors.Is(err, watch.ErrLimit) {
		return ""
	}
	return " To raise the limits: sudo sysctl fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=1024"
}

// tell says what has become of a folder.
func (v *watching) tell(e watch.Event) {
	path := v.tilde(e.Root)
	switch e.Kind {
	case watch.Gone:
		v.warn("%s is gone: it was moved, removed or unmounted (%v). Waiting for it to come back.", path, e.Err)
	case watch.Replaced:
		v.warn("%s is another folder now than the one that is watched, as after an unmount. It is left alone; the other is waited for. To watch this one, start forg watch again.", path)
	case watch.Back:
		if !v.quiet {
			v.warn("%s is back.", path)
		}
	case watch.Polling:
		if !v.quiet {
			v.warn("%s: %v; looking every %s instead.%s", path, e.Err, e.Every, limitHint(e.Err))
		}
	}
}
