package cmd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/replica"
)

// syncFlags are those of sync and of what is below it.
type syncFlags struct {
	serverFlags
	wait  time.Duration
	paths string
}

func (f *syncFlags) register(c *cobra.Command) {
	f.serverFlags.register(c.Flags())
	c.Flags().DurationVar(&f.wait, "wait", time.Minute, "bear failures that may pass for this `time`, trying again in between")
}

// registerPaths adds what only those need that send or open.
func (f *syncFlags) registerPaths(fl *pflag.FlagSet) {
	choiceVar(fl, &f.paths, "paths", "auto", "how history leaves this device: readable, with hashes for names, or sealed (docs/sync.md); auto is sealed if the account is encrypted", pathModes...)
}

const exitSyncText = exitHead + "  3    done, but something is wrong with the history of another device\n  4    another forg syncs, or is at work on this journal\n  130  interrupted; 143 when terminated"

// syncing is one of the two directions, or both.
type syncing struct{ push, pull, again bool }

func (a *app) syncCmd() *cobra.Command {
	var both, out, in syncFlags
	c := &cobra.Command{
		Use: "sync", Short: "Bring the history of your devices together", Annotations: ofSync,
		Long: help(`Sends what this journal has recorded to the server that you are logged in to, and brings what your other devices have
done. History is all that travels: no file does, and no device carries out what another did. "forg history --device",
"forg show" and "forg where" then tell of the other devices too.

Nothing else in forg waits for this, or needs it. It may be interrupted at any moment and goes on from there.`, exitSyncText),
		Example: `  forg sync
  forg sync push                   only send
  forg sync status                 how it stands, and whether all is there
  forg sync forget 42              erase operation 42 on the server and on your other devices
  */15 * * * * forg sync -q        a line for cron`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.sync(c.Context(), &both, syncing{push: true, pull: true}))
		},
	}
	both.register(c)
	both.registerPaths(c.Flags())
	var again bool
	push := &cobra.Command{
		Use: "push", Short: "Send what this journal has recorded", Annotations: ofSync,
		Long: help(`Sends the events of this journal that the server does not have. With --again everything is sent once more, under a new
name of the log, for a server that has lost or mangled it; what is there stays until it is forgotten.`, exitSyncText),
		Example: "  forg sync push\n  forg sync push --wait 10m        on a bad connection\n  forg sync push --again",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.sync(c.Context(), &out, syncing{push: true, again: again}))
		},
	}
	out.register(push)
	out.registerPaths(push.Flags())
	push.Flags().BoolVar(&again, "again", false, "send everything once more, from the beginning")
	pull := &cobra.Command{
		Use: "pull", Short: "Bring what your other devices have done", Annotations: ofSync,
		Long:    help("Brings the history of your other devices to this one, and sends nothing of its own.", exitSyncText),
		Example: "  forg sync pull",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.sync(c.Context(), &in, syncing{pull: true}))
		},
	}
	in.register(pull)
	in.registerPaths(pull.Flags())
	c.AddCommand(push, pull, a.syncStatusCmd(), a.syncForgetCmd(), a.syncKeyCmd())
	return c
}

// syncPath is where what syncing knows is kept: beside the journal.
func (a *app) syncPath() (string, error) {
	path, err := a.journalPath()
	if err != nil {
		return "", err
	}
	if filepath.Base(path) == "journal.db" {
		return filepath.Join(filepath.Dir(path), "sync.db"), nil
	}
	return path + ".sync", nil // of a journal that was given by --journal, one of several in a folder maybe
}

// syncJournal opens the journal to read what is to be sent. It takes no lock, so that nobody waits for it, unless the journal
// is not there yet or was carried here from another machine.
func (a *app) syncJournal(ctx context.Context) (*journal.Journal, error) {
	path, err := a.journalPath()
	if err != nil {
		return nil, err
	}
	for range 2 {
		j, err := journal.Open(ctx, path, journal.Options{ReadOnly: true, Now: a.now})
		moved := false
		if err == nil {
			if moved, err = j.Moved(ctx); err == nil && !moved {
				return j, nil
			}
			j.Close()
		}
		if !moved && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		w, err := journal.Open(ctx, path, journal.Options{Now: a.now})
		if err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("open journal %s: it goes from machine to machine", path)
}

// newEpoch begins a new epoch in the journal, as soon as no other forg is at work on it.
func (a *app) newEpoch(wait time.Duration) func(context.Context, int64) error {
	return func(ctx context.Context, sent int64) error {
		path, err := a.journalPath()
		if err != nil {
			return err
		}
		j, err := journal.Open(ctx, path, journal.Options{Wait: wait, Now: a.now})
		if err != nil {
			return err
		}
		return errors.Join(j.NewEpoch(ctx, sent), j.Close())
	}
}

// accountKey names the account that sync.db is about.
func (acc *account) accountKey(a *app) string {
	if acc.key { // whose it is only the server knows: another key may be another user's
		sum := sha256.Sum256([]byte("forg account\n" + cmp.Or(strings.TrimSpace(a.getenv("FORG_TOKEN")), strings.TrimSpace(a.getenv("FORG_API_KEY")))))
		return fmt.Sprintf("%s key %x", acc.Server(), sum[:8])
	}
	return acc.Server() + " " + acc.login.UserID.String()
}

// synced is what a sync needs.
type synced struct {
	acc     *account
	journal *journal.Journal
	replica *replica.Replica
	device  uuid.UUID
}

func (s *synced) close() error { return errors.Join(s.replica.Close(), s.journal.Close()) }

// openSync gets ready to sync; it sends nothing.
func (a *app) openSync(ctx context.Context, f *syncFlags, note func(replica.Progress)) (*synced, error) {
	acc, err := a.account(&f.serverFlags)
	if err != nil {
		return nil, err
	}
	j, err := a.syncJournal(ctx)
	if err != nil {
		return nil, err
	}
	device, err := acc.device(ctx)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	path, err := a.syncPath()
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	seals, err := a.sealing(ctx, acc, f.paths, f.wait)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	r, err := replica.Open(ctx, replica.Options{Path: path, Seal: seals, Account: acc.accountKey(a), Version: version(), NewEpoch: a.newEpoch(10 * time.Second),
		Patience: f.wait, Note: note, Now: a.now})
	if err != nil {
		if errors.Is(err, journal.ErrLocked) {
			err = &exitError{exitLocked, errors.New("another forg is syncing at this moment")}
		}
		return nil, errors.Join(err, j.Close())
	}
	return &synced{acc, j, r, device}, nil
}

func (a *app) sync(ctx context.Context, f *syncFlags, what syncing) error {
	bar := a.newProgress()
	defer bar.done()
	s, err := a.openSync(ctx, f, a.syncNote(bar))
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.replica.Resume(ctx); err != nil { // whoever asks for it wants it tried
		return err
	}
	if what.again {
		if err := s.replica.Again(ctx, s.journal, s.device); err != nil {
			return err
		}
	}
	var pushed replica.Pushed
	var pulled replica.Pulled
	if what.push {
		pushed, err = s.replica.Push(ctx, s.acc, s.journal, s.device)
		bar.done()
		if pushed.NewEpoch != "" { // also if what came then has failed: the next sync will not know of it
			a.warn("%s", epochText(&pushed))
		}
		if err == nil {
			a.sayPushed(&pushed, s)
		}
	}
	if err == nil && what.pull {
		if pulled, err = s.replica.Pull(ctx, s.acc, s.device); err == nil {
			bar.done()
			a.sayPulled(ctx, &pulled, s)
		}
	}
	if err != nil {
		if errors.Is(err, journal.ErrLocked) {
			err = &exitError{exitLocked, fmt.Errorf("%w; syncing goes on once it is done", err)}
		}
		return err
	}
	if a.json {
		if err := a.printJSON(syncedJSON(s, what, &pushed, &pulled)); err != nil {
			return err
		}
	}
	if len(pulled.Trouble) > 0 {
		return &exitError{code: exitPartial}
	}
	return nil
}

// syncNote shows how far it is, and says why nothing moves.
func (a *app) syncNote(bar *progress) func(replica.Progress) {
	return func(p replica.Progress) {
		if p.Waiting > 0 {
			if bar.done(); !a.quiet {
				a.warn("%v; trying again in %s", p.Err, p.Waiting.Round(100*time.Millisecond))
			}
			return
		}
		if !bar.due() {
			return
		}
		if p.ToPush > 0 {
			bar.show("Sending", p.ToPush, progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"))
			bar.bar.Set64(p.Pushed)
		} else {
			bar.show("Receiving", -1, progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"))
			bar.bar.Set64(p.Pulled)
		}
	}
}

func eventsText(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return humanize.Comma(n) + " events"
}

// epochText is what a person is told when the journal had to begin a new epoch.
func epochText(p *replica.Pushed) string {
	why := map[replica.Reason]string{
		replica.ReasonFork:     "The server has another history of this device than this journal: a copy of the journal was synced, or it was restored from a backup.",
		replica.ReasonRetired:  "A copy of this journal has been synced as this device, on a machine that it was copied to or before it was restored from a backup.",
		replica.ReasonAhead:    "The server has more history of this device than this journal: it was restored from a backup, or a copy of it was synced.",
		replica.ReasonRestored: "This journal lacks what it has sent before: it was restored from a backup.",
	}[p.NewEpoch]
	text := why + "\nNothing was mixed up: the server keeps the other history as it is, and this journal's goes on beside it from here."
	if p.Left > 0 {
		text += fmt.Sprintf("\n%s of this journal that the server does not have stay on this device only; undo works as before.", capital(eventsText(p.Left)))
	}
	return text + "\nIf another machine has the copy, make it a device of its own there (forg login --new-device), so that the two are told apart."
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (a *app) sayPushed(p *replica.Pushed, s *synced) {
	if p.Skew != 0 {
		a.warn("The clock of this machine and the server's are %s apart; times of other devices are shown as their clocks told them", p.Skew.Abs().Round(time.Second))
	}
	if a.json {
		return
	}
	switch {
	case p.Entries == 0 && p.NewEpoch != "":
	case p.Entries == 0 && p.Acked == 0:
		a.say("Nothing to send: nothing has been recorded here yet.")
	case p.Entries == 0:
		a.say("Nothing to send: %s has all %s of this device.", show(s.acc.Server()), eventsText(p.Acked))
	default:
		a.say("Sent %s; %s has all %s of this device.", eventsText(int64(p.Entries)), show(s.acc.Server()), humanize.Comma(p.Acked))
	}
}

func (a *app) sayPulled(ctx context.Context, p *replica.Pulled, s *synced) {
	for _, t := range p.Trouble {
		a.warn("%s", capital(t))
	}
	if p.Sealed > 0 {
		a.warn("%s of other devices cannot be read here: this device has no key for them", capital(eventsText(p.Sealed)))
	}
	if a.json {
		return
	}
	if p.Reset {
		a.say("The server does not remember what was received before; everything was received again.")
	}
	devices, err := s.replica.Devices(ctx)
	if err != nil || len(devices) == 0 {
		a.say("No other device has sent anything yet.")
		return
	}
	names := make([]string, 0, len(devices))
	for _, d := range devices {
		names = append(names, show(d.Name))
	}
	a.say("Received %s; the history of %s is here.", eventsText(int64(p.Entries)), strings.Join(names, ", "))
}

func syncedJSON(s *synced, what syncing, pushed *replica.Pushed, pulled *replica.Pulled) map[string]any {
	out := map[string]any{"server": s.acc.Server(), "device_id": s.device}
	if what.push {
		out["pushed"] = map[string]any{"events": pushed.Entries, "acknowledged": pushed.Acked, "new_epoch": pushed.NewEpoch, "left_behind": pushed.Left,
			"commands_waiting": pushed.Commands, "clock_skew_ms": pushed.Skew.Milliseconds()}
	}
	if what.pull {
		out["pulled"] = map[string]any{"events": pulled.Entries, "sealed": pulled.Sealed, "reset": pulled.Reset, "trouble": append([]string{}, pulled.Trouble...)}
	}
	return out
}

func (a *app) syncForgetCmd() *cobra.Command {
	var f syncFlags
	var all, local bool
	c := &cobra.Command{
		Use: "forget [OP...]", Short: "Erase operations on the server and your other devices", Annotations: ofSync,
		Long: help(`Erases what the server, and then each of your other devices, knows of operations of this device: paths, names, errors,
everything but that there was something. An operation and its undo go together. This journal keeps them, and undo works
as before; what is later done about them is not sent either. "forg history prune" forgets here as well.

Other devices erase when they sync next. Without a connection it is noted in the journal and sent with the next sync.`, exitSyncText),
		Example: "  forg sync forget 42\n  forg sync forget --all           everything up to now",
		RunE: func(c *cobra.Command, refs []string) error {
			if all == (len(refs) > 0) {
				return usage("sync forget takes operations, or --all")
			}
			return a.serverTrouble(a.forget(c.Context(), &f, refs, all, local))
		},
	}
	f.register(c)
	f.registerPaths(c.Flags())
	c.Flags().BoolVar(&all, "all", false, "everything that this device has sent so far")
	c.Flags().BoolVar(&local, "later", false, "note it in the journal and leave it to the next sync to send")
	return c
}

func (a *app) forget(ctx context.Context, f *syncFlags, refs []string, all, later bool) error {
	n, err := a.recall(ctx, refs, all, f.wait)
	if err != nil {
		return err
	}
	sent := false
	if !later {
		var s *synced
		s, err = a.openSync(ctx, f, func(replica.Progress) {})
		if err == nil {
			var pushed replica.Pushed
			if pushed, err = s.replica.Push(ctx, s.acc, s.journal, s.device); pushed.NewEpoch != "" {
				a.warn("%s", epochText(&pushed))
			}
			if others, oerr := s.journal.RecalledOfOthers(ctx); err == nil && oerr == nil && others > 0 {
				a.warn("%s began while this journal was another device, as before \"forg login --new-device\" or on another machine: "+
					"what it sent then stays on the server", capital(operationsText(int64(others))))
			}
			err = errors.Join(err, s.close())
		}
		sent = err == nil
	}
	if a.json {
		err = errors.Join(err, a.printJSON(map[string]any{"forgotten": n, "sent": sent}))
		if err != nil {
			return &exitError{exitFailed, err}
		}
		return nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s noted to be forgotten; the next \"forg sync\" sends it: %w", operationsText(int64(n)), err)
	case n == 0 && !sent:
		a.say("There is nothing to forget.")
	case !sent:
		a.say("%s noted; the next \"forg sync\" has them erased.", capital(operationsText(int64(n))))
	case n == 0:
		a.say("Nothing to forget: it was forgotten already.")
	default:
		a.say("The server has erased %s. Your other devices do when they sync next.", operationsText(int64(n)))
	}
	return nil
}

// recall notes in the journal what is to be forgotten elsewhere.
func (a *app) recall(ctx context.Context, refs []string, all bool, wait time.Duration) (int, error) {
	j, err := a.existing(ctx, wait)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errors.New("there is no history yet")
	}
	if err != nil {
		return 0, err
	}
	defer j.Close()
	var ops []journal.Operation
	for _, ref := range refs {
		o, err := a.findOperation(ctx, j, ref)
		if err != nil {
			return 0, err
		}
		ops = append(ops, o)
	}
	return j.Recall(ctx, ops, all)
}

func (a *app) syncStatusCmd() *cobra.Command {
	var f syncFlags
	var offline bool
	c := &cobra.Command{
		Use: "status", Short: "Tell how syncing stands", Annotations: ofSync,
		Long: help(`Tells what of this journal is at the server and what of other devices is here, since when, and, if syncing has stopped,
why. Two chains are compared, the server's and this device's: where they are equal both have the same history, to the
last bit. With --offline nobody is asked.`, exitHead+"  3    something is wrong, or the server could not be asked: what is known here was shown\n  130  interrupted; 143 when terminated"),
		Example: "  forg sync status\n  forg sync status --json | jq .behind",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.syncStatus(c.Context(), &f, offline))
		},
	}
	f.register(c)
	c.Flags().BoolVar(&offline, "offline", false, "do not ask the server")
	return c
}

// statusJSON is what --json prints.
type statusJSON struct {
	Server     string         `json:"server"`
	DeviceID   uuid.UUID      `json:"device_id"`
	Events     int64          `json:"events"`
	Acked      int64          `json:"acknowledged"`
	Behind     int64          `json:"behind"`
	Chain      api.Hash       `json:"chain"`
	ChainEqual *bool          `json:"chain_equal"` // null: not known
	PushedAt   *time.Time     `json:"pushed_at"`
	PulledAt   *time.Time     `json:"pulled_at"`
	Received   int64          `json:"received"`
	Sealed     int64          `json:"sealed"`
	ToReceive  *int64         `json:"to_receive"` // entries of all devices, own ones too, at most
	Stopped    *replica.Stop  `json:"stopped"`
	Trouble    []string       `json:"trouble"`
	Devices    []statusDevice `json:"devices"`
	Asked      bool           `json:"server_asked"`
}

type statusDevice struct {
	ID      uuid.UUID `json:"id"`
	Name    string    `json:"name"`
	Revoked bool      `json:"revoked,omitempty"`
}

func (a *app) syncStatus(ctx context.Context, f *syncFlags, offline bool) error {
	acc, err := a.account(&f.serverFlags)
	if err != nil {
		return err
	}
	j, err := a.syncJournal(ctx)
	if err != nil {
		return err
	}
	defer j.Close()
	all, err := j.Epochs(ctx)
	if err != nil {
		return err
	}
	e := all[len(all)-1]
	device := e.Device
	if !acc.key {
		device = acc.login.DeviceID
	}
	path, err := a.syncPath()
	if err != nil {
		return err
	}
	out := statusJSON{Server: acc.Server(), DeviceID: device, Events: e.Last, Behind: e.Last, Chain: api.Genesis(device, e.ID), Trouble: []string{}, Devices: []statusDevice{}}
	wire := e.ID
	var cursor int64
	r, err := replica.OpenReadOnly(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		defer r.Close()
		st, err := r.Status(ctx, device, e.ID, e.Last)
		if err != nil {
			return err
		}
		devices, err := r.Devices(ctx)
		if err != nil {
			return err
		}
		out.Acked, out.Behind, out.Chain, out.Received, out.Sealed, out.Stopped = st.Acked, max(0, e.Last-st.Acked), st.Chain, st.Entries, st.Sealed, st.Stop
		out.PushedAt, out.PulledAt, out.Trouble = timeOrNull(st.PushedAt), timeOrNull(st.PulledAt), append(out.Trouble, st.Trouble...)
		for _, d := range devices {
			out.Devices = append(out.Devices, statusDevice{d.ID, d.Name, d.Revoked})
		}
		wire, cursor = st.Epoch, st.Cursor
	}
	var unasked error
	if !offline {
		limited, cancel := context.WithTimeout(ctx, min(f.wait, 15*time.Second)+time.Second)
		state, err := acc.State(limited, device)
		cancel()
		if unasked = err; err == nil {
			out.Asked = true
			behind := max(0, state.Head-cursor)
			out.ToReceive = &behind
			for _, l := range state.Logs {
				if l.DeviceID == device && l.Epoch == wire && l.AckedSeq == out.Acked {
					equal := l.Chain == out.Chain
					out.ChainEqual = &equal
				}
			}
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		a.sayStatus(&out)
	}
	if unasked != nil {
		a.complain(a.serverTrouble(unasked))
	}
	if unasked != nil || out.Stopped != nil || len(out.Trouble) > 0 || out.ChainEqual != nil && !*out.ChainEqual {
		return &exitError{code: exitPartial}
	}
	return nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (a *app) sayStatus(s *statusJSON) {
	ago := func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return humanize.RelTime(*t, a.now(), "ago", "from now")
	}
	a.say("%-9s %s", "server", show(s.Server))
	sent := fmt.Sprintf("%s of %s", humanize.Comma(s.Acked), eventsText(s.Events))
	if s.Behind == 0 {
		sent = "all " + eventsText(s.Events)
	}
	a.say("%-9s %s, last %s", "sent", sent, ago(s.PushedAt))
	received := eventsText(s.Received)
	if len(s.Devices) > 0 {
		names := make([]string, 0, len(s.Devices))
		for _, d := range s.Devices {
			names = append(names, show(d.Name))
		}
		received += " of " + strings.Join(names, ", ")
	}
	a.say("%-9s %s, last %s", "received", received, ago(s.PulledAt))
	switch {
	case s.ChainEqual == nil && s.Asked && s.Acked > 0:
		a.say("%-9s the server is not where this device left it; \"forg sync\" finds out", "chain")
	case s.ChainEqual == nil:
	case *s.ChainEqual:
		a.say("%-9s %.16s: the server has exactly what was sent", "chain", s.Chain)
	default:
		a.say("%-9s %s: %s", "chain", s.Chain, a.paint(red, "the server has something else; \"forg sync push --again\" sends everything anew"))
	}
	if s.ToReceive != nil && *s.ToReceive > 0 {
		a.say("%-9s there may be up to %s to receive", "", eventsText(*s.ToReceive))
	}
	if s.Sealed > 0 {
		a.say("%-9s %s without a key on this device", "sealed", eventsText(s.Sealed))
	}
	if s.Stopped != nil {
		a.say("%-9s %s, since %s; \"forg sync\" tries again", a.paint(red, "stopped"), showText(s.Stopped.Detail), s.Stopped.Since.Local().Format("2006-01-02 15:04"))
	}
	for _, t := range s.Trouble {
		a.say("%-9s %s", a.paint(yellow, "trouble"), showText(t))
	}
}
