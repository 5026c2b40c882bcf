package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"forg/sync/agent"
	"forg/sync/api"
	"forg/sync/client"
	"forg/sync/seal"
)

// vault is a server as far as keys go.
type vault struct {
	state   api.KeyState
	changes int
	refuses bool // to change keys
	devices []api.Device
	named   []string // what it was told that devices are called
}

func (v *vault) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body any) (*http.Response, error) {
		b, err := json.Marshal(body)
		kind := "application/json"
		if status >= 400 {
			kind = "application/problem+json"
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, err
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/sync/keys") && r.Method == "GET":
		return answer(200, v.state)
	case strings.HasSuffix(r.URL.Path, "/sync/keys") && v.refuses:
		return answer(409, api.NewProblem(api.CodeConflict, ""))
	case strings.HasSuffix(r.URL.Path, "/sync/keys"):
		var u api.KeyUpdate
		if err := json.NewDecoder(r.Body).Decode(&u); err != nil {
			return nil, err
		}
		if err := u.Extends(&v.state); err != nil {
			p, _ := errors.AsType[*api.Problem](err)
			return answer(p.Status, p)
		}
		v.changes++
		v.state.Version, v.state.Keys, v.state.Bundle = v.state.Version+1, u.Keys, u.Bundle
		return answer(200, v.state)
	case strings.HasSuffix(r.URL.Path, "/devices"):
		return answer(200, api.Page[api.Device]{Items: v.devices})
	case strings.Contains(r.URL.Path, "/devices/"):
		var c api.DeviceChange
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			return nil, err
		}
		v.named = append(v.named, c.Name)
		return answer(200, api.Device{Name: c.Name})
	}
	return answer(404, api.NewProblem(api.CodeNotFound, ""))
}

// TestSealing: whatever the server says and whatever is configured, a device that has or had to do with keys of the account
// sends nothing readable, and one seals with the account's key only.
func TestSealing(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	must := func(k *seal.Keys, err error) *seal.Keys {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	right := must(seal.Create(user, device, "desk"))
	encrypted := &vault{}
	u, err := right.Update(&encrypted.state)
	if err != nil {
		t.Fatal(err)
	}
	encrypted.state = api.KeyState{Version: 1, Keys: u.Keys, Bundle: u.Bundle}
	plain := &vault{}
	servers := map[string]*vault{"encrypted": encrypted, "plain": plain}
	held := map[string]*seal.Keys{"nothing": nil, "keys": right, "other keys": must(seal.Create(user, device, "desk")), "waiting": must(seal.Ask(user, device)),
		"another device's": must(seal.Create(user, uuid.New(), "desk")), "another account's": must(seal.Create(uuid.New(), device, "desk"))}
	for _, c := range []struct {
		server, held string
		modes        string // "": all
		want         string // an error, or: readable, hashed, sealed
	}{
		{"plain", "nothing", "auto full", "readable"},
		{"plain", "nothing", "hashed", "hashed"},
		{"plain", "nothing", "encrypted", "forg sync key init"},
		{"plain", "another account's", "auto", "sealed for another account"},
		{"plain", "another account's", "full", "readable"},
		{"plain", "another account's", "hashed", "hashed"},
		{"plain", "another account's", "encrypted", "forg sync key init"},
		{"plain", "keys", "auto encrypted", "if \"forg sync key init\" was cut short"},
		{"plain", "keys", "full hashed", "the account is encrypted"},
		{"plain", "waiting", "auto encrypted", "now the server says that it is not encrypted"},
		{"plain", "waiting", "full hashed", "the account is encrypted"},
		{"plain", "another device's", "auto encrypted", "another device's"},
		{"plain", "another device's", "full hashed", "the account is encrypted"},
		{"encrypted", "nothing", "auto encrypted", "does not have its keys"},
		{"encrypted", "nothing", "full hashed", "the account is encrypted"},
		{"encrypted", "keys", "auto encrypted", "sealed"},
		{"encrypted", "keys", "full hashed", "the account is encrypted"},
		{"encrypted", "other keys", "auto encrypted", "are not those of this device"},
		{"encrypted", "waiting", "auto encrypted", "forg sync key approve"},
		{"encrypted", "another device's", "auto encrypted", "another device's"},
		{"encrypted", "another account's", "auto encrypted", "does not have its keys"},
	} {
		for mode := range strings.FieldsSeq(c.modes) {
			dir := t.TempDir()
			a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, now: time.Now, journal: filepath.Join(dir, "journal.db")}
			path, err := a.keysPath()
			if err != nil {
				t.Fatal(err)
			}
			f, err := seal.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if k := held[c.held]; k != nil {
				if err := f.Put(k); err != nil {
					t.Fatal(err)
				}
			}
			way, err := client.New(client.Options{Server: "https://forg.example.org", Tokens: client.APIKey("x"), Transport: servers[c.server]})
			if err != nil {
				t.Fatal(err)
			}
			acc := &account{Client: way, login: client.Login{UserID: user, DeviceID: device, DeviceName: "desk"}, device: func(context.Context) (uuid.UUID, error) { return device, nil }}
			got, err := a.sealing(t.Context(), acc, mode, 0)
			what := "readable"
			switch s := got.(type) {
			case opener:
				what = "sealed"
				if s.ID() != right.ID() {
					what = "sealed with another key"
				}
			case *seal.Hasher:
				what = "hashed"
			}
			if err != nil {
				what = err.Error()
			}
			if what != c.want && (err == nil || !strings.Contains(what, c.want)) {
				t.Errorf("%s account, device with %s, %s: %s; want %s", c.server, c.held, mode, what, c.want)
			}
		}
	}
	if encrypted.changes+plain.changes > 0 {
		t.Error("keys were changed by looking at them")
	}
}

// TestChangeMeanwhile: two devices that change keys at once both get through, one after the other.
func TestChangeMeanwhile(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	k, err := seal.Create(user, device, "desk")
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{}
	u, err := k.Update(&v.state)
	if err != nil {
		t.Fatal(err)
	}
	v.state = api.KeyState{Version: 1, Keys: u.Keys, Bundle: u.Bundle}
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, now: time.Now, journal: filepath.Join(t.TempDir(), "journal.db")}
	path, err := a.keysPath()
	if err != nil {
		t.Fatal(err)
	}
	f, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Put(k); err != nil {
		t.Fatal(err)
	}
	way, err := client.New(client.Options{Server: "https://forg.example.org", Tokens: client.APIKey("x"), Transport: v})
	if err != nil {
		t.Fatal(err)
	}
	acc := &account{Client: way, login: client.Login{UserID: user, DeviceID: device, DeviceName: "desk"}, device: func(context.Context) (uuid.UUID, error) { return device, nil }}
	r, err := a.keyring(t.Context(), acc, 0)
	if err != nil {
		t.Fatal(err)
	}
	asks, err := seal.Ask(user, uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	req, err := asks.Request()
	if err != nil {
		t.Fatal(err)
	}
	req.DeviceID = asks.Device
	v.state.Devices = []api.KeyRequest{req}
	r.state = v.state
	tries := 0
	err = a.change(t.Context(), r, func() error {
		if tries++; tries == 1 { // the other device, with the same keys, is faster
			other, err := a.keyring(t.Context(), acc, 0)
			if err != nil {
				return err
			}
			if err := a.change(t.Context(), other, func() error { return other.keys.Rotate(func(uuid.UUID) bool { return true }) }); err != nil {
				return err
			}
		}
		_, err := r.keys.Approve(&r.state, asks.Code())
		return err
	})
	if err != nil || tries != 2 {
		t.Fatalf("%d tries: %v", tries, err)
	}
	if err := asks.Adopt(&v.state); err != nil || asks.Held() != 2 || asks.ID() != r.keys.ID() {
		t.Errorf("the new device has %d keys: %v", asks.Held(), err)
	}
}

// withKeys is one device, at a server of which only the keys matter.
func withKeys(t *testing.T, v *vault, user, device uuid.UUID, k *seal.Keys) (*app, *account) {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, now: time.Now, journal: filepath.Join(t.TempDir(), "journal.db")}
	path, err := a.keysPath()
	if err != nil {
		t.Fatal(err)
	}
	f, err := seal.Load(path)
	if err == nil && k != nil {
		err = f.Put(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	way, err := client.New(client.Options{Server: "https://forg.example.org", Tokens: client.APIKey("x"), Transport: v})
	if err != nil {
		t.Fatal(err)
	}
	return a, &account{Client: way, login: client.Login{UserID: user, DeviceID: device, DeviceName: "desk"}, device: func(context.Context) (uuid.UUID, error) { return device, nil }}
}

// TestVerifyCommand: a server that says that an account is not encrypted gets no command past a device that has reason to
// know better.
func TestVerifyCommand(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	must := func(k *seal.Keys, err error) *seal.Keys {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	held := map[string]*seal.Keys{"nothing": nil, "keys": must(seal.Create(user, device, "desk")), "waiting": must(seal.Ask(user, device)),
		"another device's": must(seal.Create(user, uuid.New(), "desk")), "another account's": must(seal.Create(uuid.New(), device, "desk"))}
	for _, c := range []struct {
		held, modes string
		refused     bool
	}{
		{"nothing", "auto full hashed", false},
		{"nothing", "encrypted", true},
		{"keys", "auto full hashed encrypted", true},
		{"waiting", "auto full hashed encrypted", true},
		{"another device's", "auto full hashed encrypted", true},
		{"another account's", "auto encrypted", true},
		{"another account's", "full hashed", false},
	} {
		for mode := range strings.FieldsSeq(c.modes) {
			a, acc := withKeys(t, &vault{}, user, device, held[c.held])
			err := a.verifyCommand(t.Context(), acc, mode, &api.Command{DeviceID: device, Kind: api.CommandRollback, OperationID: uuid.Must(uuid.NewV7())})
			if _, refused := errors.AsType[agent.Refusal](err); refused != c.refused || err != nil && !refused {
				t.Errorf("a device with %s, sync.paths %s: %v; want a refusal: %t", c.held, mode, err, c.refused)
			}
		}
	}
}

// TestInitRefused: a server that says that the account is not encrypted, and then refuses the keys that this device has, does
// not make it forget them.
func TestInitRefused(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	k, err := seal.Create(user, device, "desk")
	if err != nil {
		t.Fatal(err)
	}
	asks, err := seal.Ask(user, device)
	if err != nil {
		t.Fatal(err)
	}
	for what, has := range map[string]*seal.Keys{"keys": k, "waiting": asks, "nothing": nil} {
		a, acc := withKeys(t, &vault{refuses: true}, user, device, has)
		r, err := a.keyring(t.Context(), acc, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.create(t.Context()); err == nil {
			t.Fatalf("%s: the server has refused, and there is no error", what)
		}
		path, _ := a.keysPath()
		f, err := seal.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		got := f.Keys(user)
		if has == nil && got != nil || has != nil && (got == nil || got.ID() != has.ID() || got.Code() != has.Code()) {
			t.Errorf("%s: after the refusal the device has %v", what, got)
		}
	}
}

// TestRenameMember: of a device that has the keys the server is told no name, also if the others have not been told one yet.
func TestRenameMember(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	k, err := seal.Create(user, device, "desk")
	if err != nil {
		t.Fatal(err)
	}
	asks, err := seal.Ask(user, uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	req, err := asks.Request()
	if err != nil {
		t.Fatal(err)
	}
	req.DeviceID = asks.Device
	if _, err := k.Approve(&api.KeyState{Devices: []api.KeyRequest{req}}, asks.Code()); err != nil {
		t.Fatal(err)
	}
	u, err := k.Update(&api.KeyState{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []bool{false, true} {
		v := &vault{state: api.KeyState{Version: 1, Keys: u.Keys, Bundle: u.Bundle}, devices: []api.Device{{ID: asks.Device, Name: "device 1"}, {ID: device, Name: "device 2"}}}
		a, acc := withKeys(t, v, user, device, k)
		acc.key = key
		for word, name := range map[string]string{asks.Device.String(): "secret laptop", device.String(): "secret desk"} {
			d, err := findDevice(t.Context(), acc, word)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.rename(t.Context(), acc, d, name); err != nil {
				t.Errorf("with an API key %t: %v", key, err)
			}
		}
		if len(v.named) > 0 || v.changes != 2 {
			t.Errorf("with an API key %t the server was told %q, and the devices %d times", key, v.named, v.changes)
		}
	}
}

// TestRecoverOlder: a server that shows the account as it was before its key was changed is not believed by a device that has
// the new one, whatever recovery key is typed.
func TestRecoverOlder(t *testing.T) {
	user, device := uuid.New(), uuid.New()
	k, err := seal.Create(user, device, "desk")
	if err != nil {
		t.Fatal(err)
	}
	u, err := k.Update(&api.KeyState{})
	if err != nil {
		t.Fatal(err)
	}
	older, recovery := api.KeyState{Version: 1, Keys: u.Keys, Bundle: u.Bundle}, k.Recovery()
	if err := k.Rotate(func(uuid.UUID) bool { return true }); err != nil {
		t.Fatal(err)
	}
	for _, has := range []*seal.Keys{k, nil} {
		a, acc := withKeys(t, &vault{state: older}, user, device, has)
		r, err := a.keyring(t.Context(), acc, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = r.recover(t.Context(), recovery)
		if want := has != nil; errors.Is(err, seal.ErrOlder) != want || err != nil && !want {
			t.Errorf("a device that has keys: %t: %v", has != nil, err)
		}
		f, err := a.keysFile()
		if err != nil {
			t.Fatal(err)
		}
		if has != nil && f.Keys(user).ID() != k.ID() {
			t.Errorf("the device seals with key %s, not with %s", f.Keys(user).ID(), k.ID())
		}
	}
}
