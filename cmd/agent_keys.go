package cmd

import (
	"context"
	"errors"

	"forg/sync/agent"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/seal"
)

// In an account with end-to-end encryption a device does only what another device of the account has signed: a server that
// somebody has taken over cannot move a file.

// signCommand is the signature of what is asked of another device; nil where the account is not encrypted.
func (a *app) signCommand(ctx context.Context, acc *account, c *api.Command) ([]byte, error) {
	r, err := a.keyring(ctx, acc, 0)
	if err != nil || !r.guarded() {
		return nil, err
	}
	if err := r.current(ctx); err != nil {
		return nil, err
	}
	return r.keys.CommandMAC(c)
}

// guarded reports whether commands are to be signed. That the server says otherwise counts for nothing once this device has
// keys or has asked for them.
func (r *keyring) guarded() bool { return r.encrypted() || r.keys != nil }

// verifyCommand checks the signature of what this device is asked for, by the keys that are the account's now. mode is one of
// pathModes: with the one that is to seal, and where it is not clear that nothing is, a command without a signature is refused.
// Errors: an agent.Refusal, and that the keys cannot be looked at now.
func (a *app) verifyCommand(ctx context.Context, acc *account, mode string, c *api.Command) error {
	r, err := a.keyring(ctx, acc, 0)
	if err != nil {
		return err
	}
	switch m := seal.Mode(mode); {
	case r.guarded() || m == seal.Encrypted:
	case m == seal.Full || m == seal.Hashed || !r.others():
		return nil
	}
	if err = r.current(ctx); err == nil {
		err = r.keys.CheckCommand(c, a.now())
	}
	_, answered := errors.AsType[*client.Error](err)
	switch {
	case err == nil, answered:
		return err
	case errors.Is(err, seal.ErrCommand):
		return agent.Refusal("the account is encrypted, and the command is not signed by one of its devices, or too old")
	}
	a.complain(err)
	return agent.Refusal("this device takes commands of devices with keys only, and does not have the keys of the account")
}
