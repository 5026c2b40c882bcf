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

// guarded reports whether commands are to be signed. That the server says otherwise counts for nothing once there are keys.
func (r *keyring) guarded() bool { return r.encrypted() || r.keys != nil && r.keys.Held() > 0 }

// verifyCommand checks the signature of what this device is asked for, by the keys that are the account's now. Errors: an
// agent.Refusal, and that the keys cannot be looked at now.
func (a *app) verifyCommand(ctx context.Context, acc *account, c *api.Command) error {
	r, err := a.keyring(ctx, acc, 0)
	if err != nil || !r.guarded() {
		return err
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
	return agent.Refusal("the account is encrypted, and this device does not have its keys")
}
