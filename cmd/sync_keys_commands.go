package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/seal"
)

// accountKeys is what there is of the keys of the account that a command is about.
func (a *app) accountKeys(ctx context.Context, f *serverFlags) (*keyring, error) {
	acc, err := a.account(f)
	if err != nil {
		return nil, err
	}
	return a.keyring(ctx, acc, 0)
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
	r, err := a.accountKeys(ctx, f)
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
	r, err := a.accountKeys(ctx, f)
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
	if err := r.create(ctx); err != nil {
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

// create makes the first key, if this device has not made it before, and gives it to the server.
func (r *keyring) create(ctx context.Context) (err error) {
	before := r.keys
	fresh := before == nil || before.Held() == 0 || r.stale // else it was cut short
	if fresh {
		if r.keys, err = seal.Create(r.user, r.device, r.acc.login.DeviceName); err != nil {
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
	if r.state, err = r.acc.SetKeys(ctx, u); err != nil {
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
	r, err := a.accountKeys(ctx, f)
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
	if err := r.acc.RequestKeys(ctx, r.device, req); err != nil {
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
	r, err := a.accountKeys(ctx, f)
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
	if all, err := r.acc.Devices(ctx); err == nil { // it is called by the name that it logged in with until it has the keys
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
	r, err := a.accountKeys(ctx, f)
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
	if err := r.recover(ctx, text); err != nil {
		return err
	}
	r.introduce(ctx)
	if a.json {
		return a.printJSON(map[string]any{"key_id": r.keys.ID(), "keys": r.keys.Held()})
	}
	a.say("This device has the keys of the account. Now: %s", a.paint(bold, "forg sync"))
	return nil
}

// recover gives this device the keys by the recovery key.
func (r *keyring) recover(ctx context.Context, text string) error {
	for try := 0; ; try++ {
		if r.keys != nil { // whoever has an old recovery key must not be able to bring the old key back
			if _, err := r.keys.Check(&r.state); errors.Is(err, seal.ErrOlder) {
				return err
			}
		}
		got, err := seal.Recover(r.user, r.device, r.acc.login.DeviceName, text, &r.state)
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
		state, err := r.acc.SetKeys(ctx, u)
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
	r, err := a.accountKeys(ctx, f)
	if err != nil {
		return err
	}
	if err := r.current(ctx); err != nil {
		return err
	}
	all, err := r.acc.Devices(ctx)
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
