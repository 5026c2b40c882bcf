package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/organizer"
	"forg/sync/agent"
	"forg/sync/api"
	"forg/sync/replica"
)

// agentFlags is what the command line of agent says besides how to organize.
type agentFlags struct {
	organizeFlags
	sync    syncFlags
	allow   []string
	folders []string
	sets    []string
}

const exitAgentText = exitHead + "  4    another forg agent works with this journal\n  130  interrupted; 143 when terminated"

func (a *app) agentCmd() *cobra.Command {
	var f agentFlags
	c := &cobra.Command{
		Use: "agent", Short: "Sync in the background, and do what you ask for from afar",
		Long: help(`Keeps this device's history at the server that "forg login" has chosen, and the history of your other devices here,
until it is stopped. And it carries out what you ask for on another device or in the web page of the server ("forg undo
--device", "forg organize --device"), as far as you allow that here: nothing, unless agent.allow says so.

A server can ask for no path and no pattern. It names a folder or rules that you have given a name with --folders and
--rule-sets, or an operation of this device's history that is to be undone; everything that the undo touches must lie in
those folders. How files are organized is up to the settings of organize on this device. All of it is in the journal
like what you do yourself: "forg history" shows it, "forg undo" takes it back. Anything else is refused, and the server
is told why.

It is best set in the configuration file:

    agent:
      allow: [rollback, organize]
      folders: [downloads=~/Downloads]

Each command is carried out once, whatever crashes in between. "forg agent install" starts it with every login. With
--json each line is one JSON object. More in docs/agent.md.`, exitAgentText),
		Example: `  forg agent                                           sync only; whatever is asked for is refused
  forg agent --allow rollback --folders downloads=~/Downloads
  forg agent --allow rollback,organize --folders downloads=~/Downloads --rule-sets photos=~/photos.yaml
  forg agent install
  forg agent status`,
		Args:        args(cobra.NoArgs),
		Annotations: map[string]string{settingsOf: "organize"},
		RunE:        func(c *cobra.Command, _ []string) error { return a.agent(c.Context(), &f) },
	}
	f.register(c.Flags())
	c.AddCommand(a.agentInstallCmd(), a.agentUninstallCmd(), a.agentStatusCmd())
	return c
}

func (f *agentFlags) register(fl *pflag.FlagSet) {
	f.organizeFlags.register(fl)
	registerOfSync(fl, func(own *pflag.FlagSet) { f.sync.serverFlags.register(own); f.sync.registerPaths(own) })
	fl.Lookup("rules").Usage = "the rules of `file` organize, where a command names no others (default: the built-in categories)"
	f.registerAllowed(fl)
}

// registerAllowed adds the flags that say what a server may ask for.
func (f *agentFlags) registerAllowed(fl *pflag.FlagSet) {
	fl.StringSliceVar(&f.allow, "allow", nil, "`kinds` of commands that may be carried out: rollback, organize")
	fl.StringSliceVar(&f.folders, "folders", nil, "`name=dir`: a folder that commands may be about, and its name for the server")
	fl.StringSliceVar(&f.sets, "rule-sets", nil, "`name=file`: rules that a command may ask for by name")
}

// device checks what the flags say.
func (f *agentFlags) device(a *app) (*device, error) {
	if _, err := f.options(); err != nil {
		return nil, err
	}
	return f.offers(a)
}

// offers checks the part of them that says what a server may ask for.
func (f *agentFlags) offers(a *app) (*device, error) {
	for _, k := range f.allow {
		if kinds := []string{string(api.CommandRollback), string(api.CommandOrganize)}; !slices.Contains(kinds, k) {
			return nil, usage("--allow %q: it is one of %s%s", k, strings.Join(kinds, ", "), didYouMean(k, kinds))
		}
	}
	d := &device{app: a, flags: f}
	var err error
	if d.folders, err = a.namedPaths("folders", f.folders); err != nil {
		return nil, err
	}
	for name, dir := range d.folders {
		if real, err := organizer.ResolveDir(dir); err == nil { // one that is not mounted now may be later
			if err := notRepository("organize", real); err != nil && !f.project {
				return nil, usage("--folders %s: %w", name, err)
			}
		} else if st, serr := os.Stat(dir); serr == nil && !st.IsDir() {
			return nil, usage("--folders %s: %w", name, err)
		}
	}
	if d.sets, err = a.namedPaths("rule-sets", f.sets); err != nil {
		return nil, err
	}
	for name, file := range d.sets {
		if _, err := a.readRules(file); err != nil {
			return nil, usage("--rule-sets %s: %w", name, err)
		}
	}
	return d, nil
}

var offeredName = lazily(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// namedPaths reads NAME=PATH of a flag. The shell does not replace ~ in the middle of a word, and nobody does in a
// configuration file, so it is done here.
func (a *app) namedPaths(flag string, list []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range list {
		name, path, ok := strings.Cut(text, "=")
		if !ok || path == "" || !offeredName().MatchString(name) {
			return nil, usage("--%s %q: it is NAME=PATH, with a name of letters, digits, dots, _ and -", flag, text)
		}
		if rest, home := strings.CutPrefix(path, "~"); home && (rest == "" || os.IsPathSeparator(rest[0])) {
			h, err := a.home()
			if err != nil {
				return nil, err
			}
			path = filepath.Join(h, rest)
		}
		if !filepath.IsAbs(path) {
			return nil, usage("--%s %q: the path must be absolute, or begin with ~/", flag, text)
		}
		if _, twice := all[name]; twice {
			return nil, usage("--%s: %q is given twice", flag, name)
		}
		all[name] = filepath.Clean(path)
	}
	return all, nil
}

func (a *app) agent(ctx context.Context, f *agentFlags) error {
	d, err := f.device(a)
	if err != nil {
		return err
	}
	// Nobody is there to be asked, or to look at a bar.
	a.inTTY, a.progress = false, "never"
	unlock, err := a.lockAgent(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	acc, err := a.account(&f.sync.serverFlags)
	if err != nil {
		return err
	}
	defer acc.Close()
	id, err := acc.device(ctx)
	if err != nil {
		return err
	}
	path, err := a.journalPath()
	if err != nil {
		return err
	}
	verify := func(ctx context.Context, c *api.Command) error { return a.verifyCommand(ctx, acc, f.sync.paths, c) }
	opt := agent.Options{Server: acc, Device: id, Do: d, Verify: verify,
		Sync: a.syncBehind(&f.sync), Mark: func() string { return journalMark(path) }, Tell: a.tellAgent}
	opt.Offers = api.Offers{Kinds: []api.CommandKind{}, Folders: []string{}, Rules: []string{}} // none is a list, too
	opt.Offers.Folders = slices.AppendSeq(opt.Offers.Folders, maps.Keys(d.folders))
	opt.Offers.Rules = slices.AppendSeq(opt.Offers.Rules, maps.Keys(d.sets))
	slices.Sort(opt.Offers.Folders)
	slices.Sort(opt.Offers.Rules)
	for _, k := range f.allow {
		opt.Offers.Kinds = append(opt.Offers.Kinds, api.CommandKind(k))
	}
	if !a.quiet && !a.json {
		fmt.Fprintln(a.err, d.offer(acc.Server()))
	}
	defer a.tellService()()
	err = agent.Run(ctx, opt)
	if stopped, ok := errors.AsType[*agent.Stopped](err); ok { // another start would not help, and the service manager is told so by this code
		return &exitError{exitUsage, fmt.Errorf("%w; the agent ends, since it can do no more", a.serverTrouble(stopped.Err))}
	}
	return err
}

// syncBehind pushes and pulls once, and speaks only of what a person should know.
func (a *app) syncBehind(f *syncFlags) func(context.Context) error {
	told := map[string]bool{}
	return func(ctx context.Context) error {
		s, err := a.openSync(ctx, f, func(replica.Progress) {})
		if err != nil {
			return err
		}
		pushed, err := s.replica.Push(ctx, s.acc, s.journal, s.device)
		if pushed.NewEpoch != "" {
			a.warn("%s", epochText(&pushed))
		}
		var pulled replica.Pulled
		if err == nil {
			pulled, err = s.replica.Pull(ctx, s.acc, s.device)
		}
		for _, t := range pulled.Trouble {
			if !told[t] {
				told[t] = true
				a.warn("%s", capital(t))
			}
		}
		return errors.Join(err, s.close())
	}
}

// offer says in words what the agent will do.
func (d *device) offer(server string) string {
	text := fmt.Sprintf("Syncing with %s.", server)
	if len(d.flags.allow) == 0 {
		return text + " Nothing is carried out from afar: agent.allow is empty."
	}
	text += fmt.Sprintf(" From afar may come: %s", strings.Join(d.flags.allow, ", "))
	if len(d.folders) == 0 {
		return text + "; but no folder is named for it, so it will be refused (agent.folders)."
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.folders)) {
		parts = append(parts, fmt.Sprintf("%s (%s)", name, d.tilde(d.folders[name])))
	}
	return text + ", in " + strings.Join(parts, ", ") + "."
}

// journalMark changes whenever something is written to the journal at path. It costs two questions to the file system.
func journalMark(path string) string {
	mark := ""
	for _, name := range []string{path, path + "-wal"} {
		if st, err := os.Stat(name); err == nil {
			mark += fmt.Sprintf("%d %d;", st.Size(), st.ModTime().UnixNano())
		}
	}
	return mark
}

// jsonAgentEvent is a line of forg agent --json.
type jsonAgentEvent struct {
	At        string             `json:"at"`
	Event     agent.EventKind    `json:"event"`
	Command   string             `json:"command,omitempty"`
	Kind      api.CommandKind    `json:"kind,omitempty"`
	Operation string             `json:"operation,omitempty"` // that carries it out
	Undoes    string             `json:"undoes,omitempty"`
	Folder    string             `json:"folder,omitempty"`
	By        string             `json:"by,omitempty"`
	State     api.CommandState   `json:"state,omitempty"`
	Result    *api.CommandResult `json:"result,omitempty"`
	Error     string             `json:"error,omitempty"`
}

// tellAgent logs what the agent does.
func (a *app) tellAgent(e agent.Event) {
	if a.json {
		j := jsonAgentEvent{At: a.now().Format(time.RFC3339Nano), Event: e.Kind}
		if c := e.Command; c != nil {
			j.Command, j.Kind, j.Operation, j.Folder, j.By = c.ID.String(), c.Kind, c.OperationID.String(), c.Root, c.CreatedBy
			if c.Kind == api.CommandRollback {
				j.Undoes = c.RollbackOf.String()
			}
		}
		if e.Answer != nil {
			j.State, j.Result = e.Answer.State, &e.Answer.Result
		}
		if e.Err != nil {
			j.Error = strings.ToValidUTF8(e.Err.Error(), "\ufffd")
		}
		if err := json.NewEncoder(a.out).Encode(j); err != nil {
			a.complain(err)
		}
		return
	}
	switch at := a.now().Format("15:04"); e.Kind {
	case agent.Asked:
		a.say("%s %s, by %s", at, asksFor(e.Command), show(e.Command.CreatedBy))
	case agent.Refused:
		a.warn("%s Refused: %s, by %s: %v", at, asksFor(e.Command), e.Command.CreatedBy, e.Err)
	case agent.Ended, agent.Unheard:
		if e.Err != nil {
			a.complain(e.Err)
		}
		r := e.Answer.Result
		line := fmt.Sprintf("%s %s: %s, %s", at, asksFor(e.Command), e.Answer.State, filesText(r.Processed))
		if r.Skipped+r.Failed > 0 {
			line += fmt.Sprintf(", %d not", r.Skipped+r.Failed)
		}
		if r.Error != "" {
			line += " (" + show(r.Error) + ")"
		}
		if e.Kind == agent.Unheard {
			line += "; the server could not be told and asks again"
		}
		a.say("%s", line)
	case agent.Trouble:
		a.complain(e.Err)
	case agent.Better:
		a.say("%s It works again.", at)
	}
}

// asksFor says what a command asks for.
func asksFor(c *api.Command) string {
	switch c.Kind {
	case api.CommandRollback:
		text := "undo " + c.RollbackOf.String()
		if c.Only != "" {
			text += " --only " + show(c.Only)
		}
		return text
	case api.CommandOrganize:
		text := "organize " + show(c.Root)
		if c.Rules != "" {
			text += " by " + show(c.Rules)
		}
		return text
	}
	return show(string(c.Kind))
}

// lockPath is a file beside the journal that an agent keeps locked while it runs, and that says which process it is.
func (a *app) agentLockPath() (string, error) {
	path, err := a.journalPath()
	return path + ".agent", err
}

// lockAgent makes this process the only agent of its journal.
func (a *app) lockAgent(ctx context.Context) (unlock func(), err error) {
	path, err := a.agentLockPath()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock the journal for this agent: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the journal for this agent: %w", err)
	}
	if err = journal.LockFile(ctx, f, 0); err == nil {
		err = writeWatcher(f, watcher{PID: os.Getpid(), Since: a.now()})
	}
	if errors.Is(err, journal.ErrLocked) {
		other := ""
		if w, err := readWatcher(f); err == nil {
			other = fmt.Sprintf(", process %d,", w.PID)
		}
		err = &exitError{exitLocked, fmt.Errorf("another forg agent%s works with this journal already", other)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // the file stays: only its lock means something
}

// runningAgent is the agent of this journal that runs now; nil without one.
func (a *app) runningAgent(ctx context.Context) (*watcher, error) {
	path, err := a.agentLockPath()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an agent: %w", err)
	}
	defer f.Close()
	if err := journal.LockFile(ctx, f, 0); !errors.Is(err, journal.ErrLocked) {
		return nil, err
	}
	w, err := readWatcher(f)
	if err != nil {
		return nil, fmt.Errorf("look for an agent: %w", err)
	}
	return &w, nil
}
