package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"forg/sync/api"
	"forg/sync/seal"
)

func (a *app) devicesCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "devices", Short: "List the devices of your account", Annotations: ofSync,
		Long: help(`Lists the computers that have logged in to your account, and the folders of the server that it organizes for you.
"rename" and "revoke" change them.`, exitServerText),
		Example: "  forg devices\n  forg devices rename laptop 'old laptop'\n  forg devices revoke 'old laptop'\n  forg devices --json | jq '.devices[].name'",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.listDevices(c.Context(), &f)) },
	}
	f.register(c.Flags())

	var renaming serverFlags
	rename := &cobra.Command{
		Use: "rename DEVICE NAME", Short: "Give a device another name", Annotations: ofSync,
		Long:    help(`Gives a device another name. DEVICE is its name, its id or the beginning of its id.`, exitServerText),
		Example: "  forg devices rename laptop 'old laptop'",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.renameDevice(c.Context(), &renaming, words[0], words[1]))
		},
	}
	renaming.register(rename.Flags())

	var revoking serverFlags
	var yes bool
	revoke := &cobra.Command{
		Use: "revoke DEVICE", Short: "Shut a device out", Annotations: ofSync,
		Long: help(`Shuts a device out, as when it was lost: its sessions and API keys end and what it was asked to do is cancelled. Its
history stays. It can only come back as a new device ("forg login --new-device"). DEVICE is its name, its id or the
beginning of its id.`, exitServerText),
		Example: "  forg devices revoke laptop\n  forg devices revoke 0198c0de --yes",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.revokeDevice(c.Context(), &revoking, words[0], yes))
		},
	}
	revoking.register(revoke.Flags())
	revoke.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.AddCommand(rename, revoke)
	return c
}

// deviceJSON is a device as --json prints it.
type deviceJSON struct {
	api.Device
	This bool `json:"this"`
}

func (a *app) listDevices(ctx context.Context, f *serverFlags) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	all, err := acc.Devices(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(x, y api.Device) int { return lastSeen(y).Compare(lastSeen(x)) })
	if a.json {
		list := make([]deviceJSON, len(all))
		for i, d := range all {
			list[i] = deviceJSON{d, d.ID == acc.login.DeviceID}
		}
		return a.printJSON(map[string]any{"devices": list})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, d := range all {
		kind := show(d.Platform)
		if d.Kind == api.DeviceLocation {
			kind = "folder of the server"
		}
		state := "never seen"
		switch {
		case d.RevokedAt != nil:
			state = "shut out since " + d.RevokedAt.Local().Format("2006-01-02")
		case d.ID == acc.login.DeviceID:
			state = "this device"
		case d.LastSeenAt != nil:
			state = "seen " + humanize.RelTime(*d.LastSeenAt, a.now(), "ago", "from now")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", show(d.Name), kind, d.ID, state)
	}
	if len(all) == 0 {
		a.say("No device has logged in yet.")
	}
	return w.Flush()
}

func lastSeen(d api.Device) time.Time {
	if d.LastSeenAt == nil {
		return d.CreatedAt
	}
	return *d.LastSeenAt
}

// findDevice is the one device of the account that a person means: by name, id or the beginning of the id.
func findDevice(ctx context.Context, acc *account, word string) (api.Device, error) {
	all, err := acc.Devices(ctx)
	if err != nil {
		return api.Device{}, err
	}
	d, err := pickDevice(all, word)
	if err != nil {
		return d, &exitError{exitFailed, err}
	}
	return d, nil
}

func pickDevice(all []api.Device, word string) (api.Device, error) {
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	for _, means := range []func(api.Device) bool{
		func(d api.Device) bool { return d.ID.String() == strings.ToLower(word) },
		func(d api.Device) bool { return d.Name == word && d.RevokedAt == nil },
		func(d api.Device) bool { return strings.EqualFold(d.Name, word) },
		func(d api.Device) bool {
			return len(word) >= 4 && strings.HasPrefix(d.ID.String(), strings.ToLower(word))
		},
	} {
		var found []api.Device
		for _, d := range all {
			if means(d) {
				found = append(found, d)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return api.Device{}, fmt.Errorf("%d devices are called %s; give the id of one, as \"forg devices\" shows it", len(found), show(word))
		}
	}
	return api.Device{}, fmt.Errorf("there is no device %s%s; \"forg devices\" lists them", show(word), didYouMean(word, names))
}

func (a *app) renameDevice(ctx context.Context, f *serverFlags, word, name string) error {
	if err := checkDeviceName(name); err != nil {
		return usage("%w", err)
	}
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	d, err := findDevice(ctx, acc, word)
	if err != nil {
		return err
	}
	was := d.Name
	if d, err = a.rename(ctx, acc, d, name); err != nil {
		return err
	}
	if d.ID == acc.login.DeviceID && !acc.key {
		s, err := a.loginStore(false)
		if err == nil {
			err = s.Rename(ctx, d.Name)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(deviceJSON{d, d.ID == acc.login.DeviceID})
	}
	a.say("%s is called %s now.", show(was), show(d.Name))
	return nil
}

// rename tells the other devices how d is called if it has the account's keys, else the server.
func (a *app) rename(ctx context.Context, acc *account, d api.Device, name string) (api.Device, error) {
	f, err := a.keysFile()
	if err != nil {
		return d, err
	}
	if !f.Others(uuid.Nil) {
		return acc.RenameDevice(ctx, d.ID, name)
	}
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return d, err
	}
	if r.keys == nil || !slices.ContainsFunc(r.keys.Members(), func(m seal.Member) bool { return m.Device == d.ID }) {
		return acc.RenameDevice(ctx, d.ID, name)
	}
	d.Name = name
	return d, a.renameMember(ctx, r, d.ID, name)
}

func (a *app) revokeDevice(ctx context.Context, f *serverFlags, word string, yes bool) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	d, err := findDevice(ctx, acc, word)
	if err != nil {
		return err
	}
	this := d.ID == acc.login.DeviceID && d.ID != uuid.Nil
	if a.inTTY && !yes {
		what := fmt.Sprintf("Shut out %s for good?", show(d.Name))
		if this {
			what = fmt.Sprintf("Shut out %s, this device, for good?", show(d.Name))
		}
		ok, err := confirm(a.in, a.err, what)
		if err != nil {
			return err
		}
		if !ok {
			return &exitError{exitFailed, errors.New("nothing was done")}
		}
	}
	if err := acc.RevokeDevice(ctx, d.ID); err != nil {
		return err
	}
	if this && !acc.key { // its tokens are good for nothing any more
		s, err := a.loginStore(false)
		if err == nil {
			err = s.Remove(ctx)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"revoked": d.ID})
	}
	a.say("%s is shut out.", show(d.Name))
	if acc.names[d.ID] != "" && !this {
		a.say("It has the account's key still: change that with %s", a.paint(bold, "forg sync key rotate"))
	}
	return nil
}
