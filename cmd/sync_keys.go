package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/replica"
	"forg/sync/seal"
)

// End-to-end encryption, as far as people have to do with it: keys are made, given to a new device, changed and printed.

// pathModes are the values of sync.paths; "auto" is what the account says: encrypted if it is, else full.
var pathModes = []string{"auto", string(seal.Full), string(seal.Hashed), string(seal.Encrypted)}

// keyring is the keys of this device, and the account that some of them are of.
type keyring struct {
	app    *app
	acc    *account
	user   uuid.UUID
	device uuid.UUID
	wait   time.Duration // how long failures that may pass are borne
	file   *seal.File
	keys   *seal.Keys // nil: none, and none asked for
	stale  bool       // they are of before the journal was made anew, or of the machine that this one was copied from
	state  api.KeyState
}

// keysPath is where this device keeps its keys: beside the journal.
func (a *app) keysPath() (string, error) {
	path, err := a.journalPath()
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("find the keys: %w", err)
	}
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".keys", nil
}

// keysFile reads the keys of this device.
func (a *app) keysFile() (*seal.File, error) {
	path, err := a.keysPath()
	if err != nil {
		return nil, err
	}
	return seal.Load(path)
}

// keyring reads the keys of this device, and asks the server for those of the account.
func (a *app) keyring(ctx context.Context, acc *account, wait time.Duration) (*keyring, error) {
	r := &keyring{app: a, acc: acc, user: acc.login.UserID, wait: wait}
	var err error
	if r.file, err = a.keysFile(); err != nil {
		return nil, err
	}
	if r.user == uuid.Nil { // an API key does not tell
		err := r.patiently(ctx, func() error {
			me, err := acc.Me(ctx)
			r.user = me.ID
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if r.device, err = acc.device(ctx); err != nil {
		return nil, err
	}
	return r, r.look(ctx)
}

// look takes what the server has, and what this device has written down.
func (r *keyring) look(ctx context.Context) error {
	r.keys = r.file.Keys(r.user)
	r.stale = r.keys != nil && r.keys.Device != r.device
	err := r.patiently(ctx, func() (err error) {
		r.state, err = r.acc.Keys(ctx)
		return err
	})
	if e, ok := errors.AsType[*client.Error](err); ok && e.Code == api.CodeNotFound {
		r.state, err = api.KeyState{}, nil // a server of before there were keys
	}
	return err
}

// patiently asks the server again after failures that may pass, within the time that there is.
func (r *keyring) patiently(ctx context.Context, ask func() error) error {
	var pause client.Backoff
	for {
		err := ask()
		if err == nil || ctx.Err() != nil || client.ThenOf(err) != api.Again {
			return err
		}
		d := pause.Next(err)
		if d >= r.wait {
			return err
		}
		r.wait -= d
		if !r.app.quiet {
			r.app.warn("%v; trying again in %s", err, d.Round(100*time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
	}
}

// encrypted reports whether the account is.
func (r *keyring) encrypted() bool { return len(r.state.Keys) > 0 }

// others reports whether this device has keys, or waits for some, of another account only. Whose account this is the server
// has told: one that somebody has taken over could name a new one, which of course is not encrypted.
func (r *keyring) others() bool { return r.keys == nil && r.file.Others(r.user) }

// current brings the keys of this device up to date. The error says what a person has to do.
func (r *keyring) current(ctx context.Context) error {
	switch {
	case !r.encrypted() && r.keys == nil:
		return fmt.Errorf("%w; encrypt it with: forg sync key init", seal.ErrNoKeys)
	case !r.encrypted() && r.keys.Held() == 0:
		return errors.New("this device waits for the keys of the account, and now the server says that it is not encrypted: nothing was sent. Look at \"forg sync key\" on your other devices")
	case r.stale:
		return errors.New("the keys on this machine are another device's: the journal was made anew, or carried here; ask for keys with: forg sync key request (or, with the recovery key: forg sync key recover)")
	case r.keys == nil:
		return errors.New("the account is encrypted, and this device does not have its keys; ask for them with: forg sync key request (or, with the recovery key: forg sync key recover)")
	}
	before, err := json.Marshal(r.keys)
	if err != nil {
		return err
	}
	waited := r.keys.Held() == 0
	if err := r.keys.Adopt(&r.state); err != nil {
		return r.explain(err)
	}
	if after, err := json.Marshal(r.keys); err != nil || !bytes.Equal(before, after) {
		if err := errors.Join(err, r.file.Put(r.keys)); err != nil {
			return err
		}
	}
	if waited || r.keys.Name(r.device) == "" { // the others are told how it is called, and the server no more than it has to know
		r.introduce(ctx)
	}
	r.acc.names = namesOf(r.keys)
	return nil
}

// explain adds to an error of keys what can be done about it.
func (r *keyring) explain(err error) error {
	switch {
	case errors.Is(err, seal.ErrNotYet):
		return fmt.Errorf("this device waits for the keys of the account; on one that has them type: forg sync key approve %s", r.keys.Code())
	case errors.Is(err, seal.ErrOlder) && !r.encrypted():
		return fmt.Errorf("this device has keys for the account, and the server says that it is not encrypted; if \"forg sync key init\" was cut short, run it again; else %w", err)
	case errors.Is(err, seal.ErrWithdrawn):
		return fmt.Errorf("%w; ask for the new one with: forg sync key request", err)
	case errors.Is(err, seal.ErrForeign):
		return fmt.Errorf("%w; nothing was sent. If the account was made anew, or you do not trust the server, look at \"forg sync key\" on your other devices; forg sync key request asks them again", err)
	}
	return err
}

// plainName is what the server is told that a device of an encrypted account is called.
func plainName(device uuid.UUID) string { return "device " + device.String()[:8] }

// introduce tells the other devices the name of this one, and takes it from the server. That it does not work is no reason
// not to sync: it is done again.
func (r *keyring) introduce(ctx context.Context) {
	if r.acc.key {
		return // a key may not do that
	}
	if r.keys.SetName(r.device, r.acc.login.DeviceName) {
		u, err := r.keys.Update(&r.state)
		if err == nil {
			r.state, err = r.acc.SetKeys(ctx, u)
		}
		if err == nil {
			err = r.file.Put(r.keys)
		}
		if err != nil {
			r.app.warn("Your other devices could not be told the name of this one: %v.", err)
		}
	}
	if _, err := r.acc.RenameDevice(ctx, r.device, plainName(r.device)); err != nil {
		r.app.warn("The server could not be told to forget the name of this device: %v.", err)
	}
}

// sealing decides how history leaves this device: nil is readable. mode is one of pathModes. A mode that the account does not
// allow is an error, before anything is sent.
func (a *app) sealing(ctx context.Context, acc *account, mode string, wait time.Duration) (replica.Sealer, error) {
	r, err := a.keyring(ctx, acc, wait)
	if err != nil {
		return nil, err
	}
	known := r.keys != nil // to be encrypted: whatever the server says now
	switch m := seal.Mode(mode); {
	case (m == seal.Full || m == seal.Hashed) && (r.encrypted() || known):
		return nil, usage("sync.paths is %s, and the account is encrypted: nothing of it may leave your devices readable. Set sync.paths to encrypted, or remove it", m)
	case m == seal.Encrypted || r.encrypted() || known:
		if err := r.current(ctx); err != nil {
			return nil, err
		}
		return opener{r.keys}, nil
	case m == seal.Hashed:
		return r.file.Hasher()
	case m != seal.Full && r.others():
		return nil, errors.New("the history of this device is sealed for another account than the one that the server says it is logged in to, and that one is not encrypted: " +
			"nothing was sent. If that is what you want set sync.paths to full, or to hashed")
	}
	return nil, nil
}

// opener are keys whose errors a replica understands.
type opener struct{ *seal.Keys }

// Open is the entry as its device made it.
func (o opener) Open(device, epoch uuid.UUID, e api.Entry) (api.Entry, error) {
	open, err := o.Keys.Open(device, epoch, e)
	if errors.Is(err, seal.ErrKey) {
		err = fmt.Errorf("%w: %w", replica.ErrNoKey, err)
	}
	return open, err
}

// Devices are the account's, by the names that their owner knows them by.
func (acc *account) Devices(ctx context.Context) ([]api.Device, error) {
	all, err := acc.Client.Devices(ctx)
	for i := range all {
		if name := acc.names[all[i].ID]; name != "" {
			all[i].Name = name
		}
	}
	return all, err
}

// deviceNames are the names of the account's devices that the server does not know, as far as this device has been told.
func (a *app) deviceNames(user uuid.UUID) map[uuid.UUID]string {
	f, err := a.keysFile()
	if err != nil {
		return nil // whoever needs the keys is told
	}
	return namesOf(f.Keys(user))
}

func namesOf(k *seal.Keys) map[uuid.UUID]string {
	if k == nil {
		return nil
	}
	names := map[uuid.UUID]string{}
	for _, m := range k.Members() {
		if m.Name != "" {
			names[m.Device] = m.Name
		}
	}
	return names
}

// renameMember tells the account's devices, and not the server, how one of them is called.
func (a *app) renameMember(ctx context.Context, r *keyring, device uuid.UUID, name string) error {
	return a.change(ctx, r, func() error {
		r.keys.SetName(device, name)
		return nil
	})
}

const keyAbout = `An account is encrypted with a key that only its devices have. The server keeps the history sealed: it sees
that an operation began, of which kind, how it ended and how many files it was about, but no name, path or hash.
`

func (a *app) syncKeyCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "key", Short: "Encrypt your history, and manage its keys", Annotations: ofSync,
		Long: help(keyAbout+`Without a word more it shows whether the account is encrypted, and which devices have the keys.

  init       encrypt the account
  request    ask for the keys on a new device
  approve    give them to it, on a device that has them
  recovery   print the recovery key
  recover    get the keys by the recovery key
  rotate     change the key, as after a device was lost`, exitServerText),
		Example: "  forg sync key\n  forg sync key init\n  forg sync key approve k7qf-2m9p-xd4t-8zwa",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.showKeys(c.Context(), &f)) },
	}
	f.register(c.Flags())
	c.AddCommand(a.keyInitCmd(), a.keyRequestCmd(), a.keyApproveCmd(), a.keyRecoveryCmd(), a.keyRecoverCmd(), a.keyRotateCmd())
	return c
}

// memberJSON is a device that has the keys, as --json prints it.
type memberJSON struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	This bool      `json:"this"`
}

func (a *app) showKeys(ctx context.Context, f *serverFlags) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	var trouble error
	if r.encrypted() && r.keys != nil {
		trouble = r.current(ctx)
	}
	has := r.keys != nil && r.keys.Held() > 0 && !r.stale
	code := ""
	waiting := 0
	var members []seal.Member
	if r.keys != nil && !r.stale {
		code, members = r.keys.Code(), r.keys.Members()
	}
	if has {
		for _, d := range r.state.Devices {
			if !slices.ContainsFunc(members, func(m seal.Member) bool { return m.Device == d.DeviceID && m.Recipient == d.Recipient }) {
				waiting++
			}
		}
	}
	if a.json {
		list := []memberJSON{}
		for _, m := range members {
			list = append(list, memberJSON{m.Device, m.Name, m.Device == r.device})
		}
		out := map[string]any{"encrypted": r.encrypted(), "keys": len(r.state.Keys), "has_keys": has, "pairing_code": code, "devices": list, "waiting": waiting}
		if has {
			out["key_id"] = r.keys.ID()
		}
		if err := a.printJSON(out); err != nil {
			return err
		}
		return trouble
	}
	switch {
	case !r.encrypted():
		a.say("The account is not encrypted. Encrypt it with: %s", a.paint(bold, "forg sync key init"))
		return nil
	case !has && code != "":
		a.say("The account is encrypted, and this device waits for its keys. On a device that has them type:\n  %s", a.paint(bold, "forg sync key approve "+code))
		return nil
	case !has:
		a.say("The account is encrypted, and this device does not have its keys. Ask for them with: %s", a.paint(bold, "forg sync key request"))
		return nil
	}
	if trouble != nil {
		return trouble
	}
	a.say("The account is encrypted with key %s. These devices have it:", a.paint(bold, r.keys.ID()))
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, m := range members {
		this := ""
		if m.Device == r.device {
			this = "this device"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", show(nameOr(m.Name, m.Device)), m.Device, this)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if waiting > 0 {
		a.say("%d more ask for the keys. Type the pairing code that one shows: forg sync key approve CODE", waiting)
	}
	return nil
}

func nameOr(name string, device uuid.UUID) string {
	if name == "" {
		return plainName(device)
	}
	return name
}

func (a *app) keyInitCmd() *cobra.Command {
	var f serverFlags
	var yes bool
	c := &cobra.Command{
		Use: "init", Short: "Encrypt the account", Annotations: ofSync,
		Long: help(keyAbout+`
The key is made on this device, and a recovery key is printed: keep it on paper. If all devices are lost, it is the only
way back to the history; nobody can make another one, the server's operator neither. An account that is encrypted stays
so: what is pushed from then on, by any device, is sealed. What was pushed before stays readable on the server until you
erase it ("forg sync forget --all"). The server no longer finds operations by path and starts nothing on your devices
that a device of yours has not asked for.`, exitServerText),
		Example: "  forg sync key init\n  forg sync key init --yes --json | jq -r .recovery_key",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.keyInit(c.Context(), &f, yes)) },
	}
	f.register(c.Flags())
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (a *app) keyInit(ctx context.Context, f *serverFlags, yes bool) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	if r.encrypted() {
		if r.keys != nil && r.keys.Held() > 0 && !r.stale {
			return errors.New("the account is encrypted already; \"forg sync key\" shows how")
		}
		return errors.New("the account is encrypted already; ask for its keys with: forg sync key request")
	}
	if a.inTTY && !yes {
		ok, err := confirm(os.Stdin, a.err, "Encrypt the account? It cannot be taken back.")
		if err != nil {
			return err
		}
		if !ok {
			return &exitError{exitFailed, errors.New("nothing was done")}
		}
	}
	if err := a.initKeys(ctx, acc, r); err != nil {
		return err
	}
	r.introduce(ctx)
	if a.json {
		return a.printJSON(map[string]any{"key_id": r.keys.ID(), "recovery_key": r.keys.Recovery()})
	}
	a.say("The account is encrypted with key %s.", r.keys.ID())
	a.sayRecovery(r.keys)
	a.say("What was pushed before is still readable on the server; erase it with: forg sync forget --all")
	a.say("On your other devices: %s", a.paint(bold, "forg sync key request"))
	return nil
}

// initKeys makes the first key, if this device has not made it before, and gives it to the server.
func (a *app) initKeys(ctx context.Context, acc *account, r *keyring) (err error) {
	before := r.keys
	fresh := before == nil || before.Held() == 0 || r.stale // else it was cut short
	if fresh {
		if r.keys, err = seal.Create(r.user, r.device, acc.login.DeviceName); err != nil {
			return err
		}
		// First here: a key that only the server's answer tells of would be lost with the answer.
		if err := r.file.Put(r.keys); err != nil {
			return err
		}
	}
	u, err := r.keys.Update(&r.state)
	if err != nil {
		return err
	}
	if r.state, err = acc.SetKeys(ctx, u); err != nil {
		// It was refused: there is no such key. What this device had before stays, and with it that the account is encrypted.
		if e, ok := errors.AsType[*client.Error](err); ok && e.Status < 500 && fresh {
			if before != nil {
				return errors.Join(err, r.file.Put(before))
			}
			return errors.Join(err, r.file.Remove(r.user))
		}
		return err
	}
	return nil
}

func (a *app) sayRecovery(k *seal.Keys) {
	// With --quiet too: it is what was asked for.
	fmt.Fprintf(a.out, "Recovery key, to be kept on paper:\n\n  %s\n\n", a.paint(bold, k.Recovery()))
}

func (a *app) keyRequestCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "request", Short: "Ask for the keys on a new device", Annotations: ofSync,
		Long: help(`Makes a pairing code. Type it on a device that has the keys ("forg sync key approve CODE"); the next "forg sync" here
then finds them. The code proves to each of the two devices that it deals with the other one, and not with the server.
It is good for this once.`, exitServerText),
		Example: "  forg sync key request",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.keyRequest(c.Context(), &f)) },
	}
	f.register(c.Flags())
	return c
}

func (a *app) keyRequest(ctx context.Context, f *serverFlags) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	if !r.encrypted() {
		return r.current(ctx)
	}
	if r.keys != nil && !r.stale {
		if err := r.current(ctx); err == nil {
			return errors.New("this device has the keys already")
		} else if !errors.Is(err, seal.ErrWithdrawn) && !errors.Is(err, seal.ErrForeign) && r.keys.Held() > 0 {
			return err
		}
	}
	if r.keys == nil || r.stale || r.keys.Code() == "" { // else the same code goes on being good
		if r.keys, err = seal.Ask(r.user, r.device); err != nil {
			return err
		}
		if err := r.file.Put(r.keys); err != nil {
			return err
		}
	}
	req, err := r.keys.Request()
	if err != nil {
		return err
	}
	if err := acc.RequestKeys(ctx, r.device, req); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"pairing_code": r.keys.Code()})
	}
	a.say("On a device that has the keys type:\n\n  %s\n\nThen, here: forg sync", a.paint(bold, "forg sync key approve "+r.keys.Code()))
	return nil
}

func (a *app) keyApproveCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "approve CODE", Short: "Give the keys to a new device", Annotations: ofSync,
		Long: help(`Gives the keys of the account to the device that shows the pairing code (see "forg sync key request"). From then on it
can read the whole history of all devices.`, exitServerText),
		Example: "  forg sync key approve k7qf-2m9p-xd4t-8zwa",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.keyApprove(c.Context(), &f, strings.Join(words, "")))
		},
	}
	f.register(c.Flags())
	return c
}

// change changes the keys here and at the server: do is done again if another device was faster.
func (a *app) change(ctx context.Context, r *keyring, do func() error) error {
	for try := 0; ; try++ {
		if err := r.current(ctx); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		u, err := r.keys.Update(&r.state)
		if err != nil {
			return err
		}
		state, err := r.acc.SetKeys(ctx, u)
		if err == nil {
			r.state = state
			return r.file.Put(r.keys) // if that fails, the server has them, for this device too
		}
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != api.CodeConflict || try >= 4 {
			return err
		}
		if r.file, err = a.keysFile(); err != nil { // without what was changed in vain
			return err
		}
		if err := r.look(ctx); err != nil {
			return err
		}
	}
}

func (a *app) keyApprove(ctx context.Context, f *serverFlags, code string) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	var device uuid.UUID
	err = a.change(ctx, r, func() (err error) {
		device, err = r.keys.Approve(&r.state, code)
		return err
	})
	if errors.Is(err, seal.ErrNobody) {
		return fmt.Errorf("%w: %s; on the new device run: forg sync key request", err, show(code))
	}
	if err != nil {
		return err
	}
	name := nameOr(r.keys.Name(device), device)
	if all, err := acc.Devices(ctx); err == nil { // it is called by the name that it logged in with until it has the keys
		if i := slices.IndexFunc(all, func(d api.Device) bool { return d.ID == device }); i >= 0 && r.keys.Name(device) == "" {
			name = all[i].Name
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"device_id": device, "device_name": name})
	}
	a.say("%s has the keys now; there: forg sync", show(name))
	return nil
}

func (a *app) keyRecoveryCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "recovery", Short: "Print the recovery key",
		Long: help(`Prints the recovery key of the account as this device knows it. Keep it on paper: who has it, and gets at the server,
reads all; and if all devices are lost it is the only way back. Each change of the key makes a new one.`, exitHead+"  130  interrupted; 143 when terminated"),
		Example: "  forg sync key recovery\n  forg sync key recovery --json | jq -r .recovery_key",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.loginStore(false)
			if err != nil {
				return err
			}
			l, err := s.Login()
			if err != nil {
				return a.serverTrouble(err)
			}
			file, err := a.keysFile()
			if err != nil {
				return err
			}
			k := file.Keys(l.UserID)
			if k == nil || k.Held() == 0 {
				return errors.New("this device does not have the keys of the account; \"forg sync key\" tells why")
			}
			if a.json {
				return a.printJSON(map[string]any{"key_id": k.ID(), "recovery_key": k.Recovery()})
			}
			a.sayRecovery(k)
			return nil
		},
	}
	return c
}

func (a *app) keyRecoverCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "recover", Short: "Get the keys by the recovery key", Annotations: ofSync,
		Long: help(`Gives this device the keys of the account by the recovery key that was printed: it is asked for on the terminal, or read
from the first line of standard input.`, exitServerText),
		Example: "  forg sync key recover\n  forg sync key recover < recovery-key.txt",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.keyRecover(c.Context(), &f)) },
	}
	f.register(c.Flags())
	return c
}

func (a *app) keyRecover(ctx context.Context, f *serverFlags) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	if !r.encrypted() {
		return r.current(ctx)
	}
	var text string
	if a.inTTY {
		text, err = a.typedPassword(ctx, "Recovery key: ")
	} else {
		text, err = a.passwordLine()
	}
	if err != nil {
		return err
	}
	if err := a.recoverKeys(ctx, acc, r, text); err != nil {
		return err
	}
	r.introduce(ctx)
	if a.json {
		return a.printJSON(map[string]any{"key_id": r.keys.ID(), "keys": r.keys.Held()})
	}
	a.say("This device has the keys of the account. Now: %s", a.paint(bold, "forg sync"))
	return nil
}

// recoverKeys gives this device the keys by the recovery key.
func (a *app) recoverKeys(ctx context.Context, acc *account, r *keyring, text string) error {
	for try := 0; ; try++ {
		if r.keys != nil { // whoever has an old recovery key must not be able to bring the old key back
			if _, err := r.keys.Check(&r.state); errors.Is(err, seal.ErrOlder) {
				return err
			}
		}
		got, err := seal.Recover(r.user, r.device, acc.login.DeviceName, text, &r.state)
		if err != nil {
			return err
		}
		r.keys = got
		u, err := r.keys.Update(&r.state)
		if err != nil {
			return err
		}
		// First here: the server's bundle is to be for an identity that this device has.
		if err := r.file.Put(r.keys); err != nil {
			return err
		}
		state, err := acc.SetKeys(ctx, u)
		if err == nil {
			r.state = state
			return nil
		}
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != api.CodeConflict || try >= 4 {
			return err
		}
		if err := r.look(ctx); err != nil {
			return err
		}
	}
}

func (a *app) keyRotateCmd() *cobra.Command {
	var f serverFlags
	var without []string
	c := &cobra.Command{
		Use: "rotate", Short: "Change the key, as after a device was lost", Annotations: ofSync,
		Long: help(`Makes a new key and a new recovery key, and gives them to the devices that have the old one, except for those that were
shut out ("forg devices revoke") or are named. What is sealed from now on those cannot read; what they could read
before, they still can. Commands that wait for your devices are no longer accepted by them: give them again.`, exitServerText),
		Example: "  forg devices revoke laptop && forg sync key rotate\n  forg sync key rotate --without laptop",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.keyRotate(c.Context(), &f, without))
		},
	}
	f.register(c.Flags())
	c.Flags().StringSliceVar(&without, "without", nil, "a `device` that is not to get the new key: name, id or beginning of the id")
	return c
}

func (a *app) keyRotate(ctx context.Context, f *serverFlags, without []string) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	if err := r.current(ctx); err != nil {
		return err
	}
	all, err := acc.Devices(ctx)
	if err != nil {
		return err
	}
	welcome := map[uuid.UUID]bool{}
	for i := range all {
		welcome[all[i].ID] = all[i].RevokedAt == nil
	}
	for _, word := range without {
		d, err := pickDevice(all, word)
		if err != nil {
			return err
		}
		if d.ID == r.device {
			return usage("--without %s: that is this device, which makes the new key", show(word))
		}
		welcome[d.ID] = false
	}
	var out []string
	err = a.change(ctx, r, func() error {
		out = nil
		for _, m := range r.keys.Members() {
			if m.Device != r.device && !welcome[m.Device] {
				out = append(out, nameOr(m.Name, m.Device))
			}
		}
		return r.keys.Rotate(func(id uuid.UUID) bool { return welcome[id] })
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"key_id": r.keys.ID(), "recovery_key": r.keys.Recovery(), "left_out": append([]string{}, out...)})
	}
	a.say("The account is encrypted with key %s from now on.", r.keys.ID())
	// Who was shut out the server has told: a person sees here whether it has left somebody welcome.
	var in []string
	for _, m := range r.keys.Members() {
		in = append(in, show(nameOr(m.Name, m.Device)))
	}
	a.say("It goes to: %s.", strings.Join(in, ", "))
	for _, name := range out {
		a.say("%s does not get it.", show(name))
	}
	a.say("The old recovery key is good for nothing any more.")
	a.sayRecovery(r.keys)
	return nil
}
