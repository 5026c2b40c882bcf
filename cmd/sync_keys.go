package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

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
