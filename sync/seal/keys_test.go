package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/uuid"

	"forg/sync/api"
)

// vault is what a server keeps of an account's keys.
type vault struct{ api.KeyState }

func (v *vault) put(t testing.TB, k *Keys) {
	t.Helper()
	u := must(k.Update(&v.KeyState))(t)
	ok(t, u.Extends(&v.KeyState))
	v.Version, v.Keys, v.Bundle = v.Version+1, u.Keys, u.Bundle
}

func (v *vault) ask(t testing.TB, k *Keys) {
	t.Helper()
	r := must(k.Request())(t)
	ok(t, r.Check())
	r.DeviceID = k.Device
	for i := range v.Devices {
		if v.Devices[i].DeviceID == k.Device {
			v.Devices[i] = r
			return
		}
	}
	v.Devices = append(v.Devices, r)
}

func everybody(uuid.UUID) bool { return true }

// sameKeys ends the test if two devices do not have the same keys.
func sameKeys(t testing.TB, a, b *Keys) {
	t.Helper()
	e := story(t)[1]
	back, err := b.Open(device, epoch, must(a.Seal(device, epoch, e))(t))
	if err != nil || back.SHA256 != e.SHA256 || a.ID() != b.ID() || a.Recovery() != b.Recovery() || a.Held() != b.Held() {
		t.Fatalf("they have other keys: %v", err)
	}
}

// TestPairing: a new device asks, its code is typed on another one, and both can read the same.
func TestPairing(t *testing.T) {
	v := &vault{}
	first := must(Create(account, device, "laptop"))(t)
	v.put(t, first)
	second := must(Ask(account, uuid.New()))(t)
	if err := second.Adopt(&v.KeyState); !errors.Is(err, ErrNotYet) {
		t.Fatal(err)
	}
	v.ask(t, second)
	if _, err := first.Approve(&v.KeyState, "0000-0000-0000-0000"); !errors.Is(err, ErrNobody) {
		t.Fatal(err)
	}
	if _, err := first.Approve(&v.KeyState, "what is this"); err == nil || errors.Is(err, ErrNobody) {
		t.Fatal(err)
	}
	typed := " " + strings.ToUpper(strings.ReplaceAll(second.Code(), "-", " "))
	typed = strings.NewReplacer("0", "O", "1", "l").Replace(typed) // as people read it
	if id := must(first.Approve(&v.KeyState, typed))(t); id != second.Device {
		t.Fatal(id)
	}
	v.put(t, first)
	if second.ID() != "" || second.Held() != 0 {
		t.Fatal("it has keys before it was given any")
	}
	ok(t, second.Adopt(&v.KeyState))
	sameKeys(t, first, second)
	if second.Code() != "" {
		t.Error("it waits still")
	}
	if _, err := second.Request(); err == nil {
		t.Error("it asks for what it has")
	}
	if !second.SetName(second.Device, "desktop") || second.SetName(second.Device, "desktop") || second.SetName(second.Device, "") || second.SetName(uuid.New(), "x") {
		t.Error("its name is not news once")
	}
	v.put(t, second)
	ok(t, first.Adopt(&v.KeyState))
	if first.Name(second.Device) != "desktop" || first.Name(device) != "laptop" || first.Name(uuid.New()) != "" || len(first.Members()) != 2 {
		t.Errorf("%+v", first.Members())
	}
	// The server knows ids and sizes, and no name and no key.
	all := must(json.Marshal(v.KeyState))(t)
	for _, secret := range [][]byte{[]byte("laptop"), []byte("desktop"), []byte(second.identity.String()), first.newest().root[:]} {
		if bytes.Contains(all, secret) || bytes.Contains(v.Bundle, secret) {
			t.Errorf("the server can read %q", secret)
		}
	}
	// The device was set up anew: it asks again under its old id.
	again := must(Ask(account, second.Device))(t)
	v.ask(t, again)
	must(first.Approve(&v.KeyState, again.Code()))(t)
	v.put(t, first)
	ok(t, again.Adopt(&v.KeyState))
	sameKeys(t, first, again)
	if again.Name(again.Device) != "desktop" || len(again.Members()) != 2 {
		t.Errorf("%+v", again.Members())
	}
	if err := second.Adopt(&v.KeyState); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("its old self has %v", err)
	}
}

// TestRotation: a key that was changed reaches those who are to have it, also one that was let in before and has not looked
// since, and the ones left out read nothing new.
func TestRotation(t *testing.T) {
	v := &vault{}
	first := must(Create(account, device, "laptop"))(t)
	v.put(t, first)
	second, third := must(Ask(account, uuid.New()))(t), must(Ask(account, uuid.New()))(t)
	v.ask(t, second)
	v.ask(t, third)
	must(first.Approve(&v.KeyState, second.Code()))(t)
	v.put(t, first)
	ok(t, second.Adopt(&v.KeyState))
	must(first.Approve(&v.KeyState, third.Code()))(t)
	v.put(t, first)
	old, printed := first.ID(), first.Recovery()
	before := must(first.Seal(device, epoch, story(t)[1]))(t)
	ok(t, first.Rotate(func(id uuid.UUID) bool { return id != second.Device }))
	v.put(t, first)
	ok(t, first.Rotate(everybody))
	v.put(t, first)
	if first.ID() == old || first.Recovery() == printed || first.Held() != 3 {
		t.Fatal("nothing was changed")
	}
	ok(t, third.Adopt(&v.KeyState)) // was let in two keys ago
	sameKeys(t, first, third)
	must(third.Open(device, epoch, before))(t)
	if err := second.Adopt(&v.KeyState); !errors.Is(err, ErrWithdrawn) {
		t.Fatal(err)
	}
	if newer, err := second.Check(&v.KeyState); err != nil || !newer {
		t.Fatal(newer, err)
	}
	if _, err := second.Open(device, epoch, must(first.Seal(device, epoch, story(t)[1]))(t)); !errors.Is(err, ErrKey) {
		t.Fatal(err)
	}
	must(second.Open(device, epoch, before))(t)
	if _, err := Recover(account, uuid.New(), "x", printed, &v.KeyState); !errors.Is(err, ErrForeign) {
		t.Errorf("the old recovery key: %v", err)
	}
	for range maxRoots {
		if err := first.Rotate(everybody); err != nil {
			break
		}
	}
	v.put(t, first) // as many as there may be go through
	if err := first.Rotate(everybody); err == nil || first.Held() != maxRoots {
		t.Errorf("there are %d keys: %v", first.Held(), err)
	}
	if err := must(Ask(account, device))(t).Rotate(everybody); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}

func TestRecovery(t *testing.T) {
	v := &vault{}
	first := must(Create(account, device, "laptop"))(t)
	if _, err := Recover(account, uuid.New(), "x", first.Recovery(), &v.KeyState); !errors.Is(err, ErrNoKeys) {
		t.Fatal(err)
	}
	v.put(t, first)
	ok(t, first.Rotate(everybody))
	v.put(t, first)
	typed := strings.ToLower(first.Recovery()[:30]) + "\n  " + strings.ToLower(first.Recovery()[30:]) + "\n"
	second := must(Recover(account, uuid.New(), "new", typed, &v.KeyState))(t)
	sameKeys(t, first, second)
	v.put(t, second)
	ok(t, first.Adopt(&v.KeyState))
	if len(first.Members()) != 2 || first.Name(second.Device) != "new" {
		t.Errorf("%+v", first.Members())
	}
	same := must(Recover(account, device, "laptop again", first.Recovery(), &v.KeyState))(t)
	if len(same.Members()) != 2 {
		t.Errorf("%+v", same.Members())
	}
	mistyped := []byte(first.Recovery())
	mistyped[40]++
	for _, bad := range []string{"", "nonsense", string(mistyped)} {
		if _, err := Recover(account, uuid.New(), "x", bad, &v.KeyState); err == nil || errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	other := must(age.GenerateX25519Identity())(t)
	if _, err := Recover(account, uuid.New(), "x", other.String(), &v.KeyState); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	// The program age opens it as well.
	in := must(age.Decrypt(bytes.NewReader(v.Bundle), must(age.ParseX25519Identity(first.Recovery()))(t)))(t)
	var text bytes.Buffer
	must(text.ReadFrom(in))(t)
	if !strings.Contains(text.String(), first.Recovery()) {
		t.Error("it says something else")
	}
}

// TestForgedKeys: a server that makes keys of its own gets nobody to seal with them. It knows the recipients of all devices.
func TestForgedKeys(t *testing.T) {
	v := &vault{}
	first := must(Create(account, device, "laptop"))(t)
	v.put(t, first)
	second := must(Ask(account, uuid.New()))(t)
	v.ask(t, second)
	honest := v.KeyState

	forge := func(k *Keys, members ...*Keys) *api.KeyState {
		for _, m := range members {
			if i := k.member(m.Device); i >= 0 {
				k.members[i].Recipient = m.identity.Recipient().String()
			} else {
				k.members = append(k.members, Member{Device: m.Device, Recipient: m.identity.Recipient().String()})
			}
		}
		state := honest
		u := must(k.Update(&state))(t)
		state.Keys, state.Bundle = u.Keys, u.Bundle
		return &state
	}
	evil := func() *Keys { return must(Create(account, uuid.New(), "evil"))(t) }
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	held := first.ID()
	want("keys of its own, to one that has some", first.Adopt(forge(evil(), first)), ErrForeign)
	want("keys of its own, to one that waits", second.Adopt(forge(evil(), second)), ErrForeign)
	g := evil()
	g.members = append(g.members, Member{Device: second.Device, Recipient: second.identity.Recipient().String(), Grant: &grant{g.ID(), make([]byte, 32)}})
	want("with a vow of its own", second.Adopt(forge(g)), ErrForeign)
	// A key of its own behind the right one, which it does not have.
	behind := evil()
	behind.roots = append([]heldRoot{{root: root(bytes.Repeat([]byte{1}, 32)), id: first.ID()}}, behind.roots...)
	state := forge(behind, first)
	state.Keys[0] = honest.Keys[0]
	if err := first.Adopt(state); err == nil {
		t.Error("a key of its own behind the right one was taken")
	}
	// The bundle of another account, of an older time, cut, changed.
	ok(t, first.Rotate(everybody))
	v.put(t, first)
	want("an older state", first.Adopt(&honest), ErrOlder)
	want("no keys any more", first.Adopt(&api.KeyState{}), ErrOlder)
	_, err := second.Check(&api.KeyState{})
	want("no keys, for one that waits", err, ErrNoKeys)
	for i := range v.Bundle {
		s := v.KeyState
		s.Bundle = bytes.Clone(v.Bundle)
		s.Bundle[i] ^= 1
		if err := first.Adopt(&s); err == nil {
			t.Fatalf("a bundle that is changed in byte %d was taken", i)
		}
		s.Bundle = v.Bundle[:i]
		if err := first.Adopt(&s); err == nil {
			t.Fatalf("a bundle of %d bytes was taken", i)
		}
	}
	s := v.KeyState
	s.Keys = append([]api.AccountKey{}, v.Keys...)
	s.Keys[1].Check = bytes.Repeat([]byte{1}, 32)
	want("another check value", first.Adopt(&s), ErrForeign)
	s.Keys = append(append([]api.AccountKey{}, v.Keys...), api.AccountKey{ID: "more", Check: make([]byte, 32)})
	want("a key that is not in the bundle", first.Adopt(&s), ErrDamaged)
	// A recipient that the server puts under a device's name is not the one that the code was made for.
	s = v.KeyState
	s.Devices = []api.KeyRequest{{DeviceID: second.Device, Recipient: evil().identity.Recipient().String(), Tag: v.Devices[0].Tag}}
	_, err = first.Approve(&s, second.Code())
	want("another recipient", err, ErrNobody)
	s.Devices = []api.KeyRequest{{DeviceID: uuid.New(), Recipient: v.Devices[0].Recipient, Tag: v.Devices[0].Tag}}
	_, err = first.Approve(&s, second.Code())
	want("another device", err, ErrNobody)
	// A link that was not made with the key before.
	bad := must(Create(account, device, "laptop"))(t)
	*bad = Keys{Account: account, Device: device, identity: first.identity, roots: first.roots[:1:1], recovery: first.recovery, members: first.members}
	if first.ID() == held {
		t.Error("the key was not changed")
	}
	broken := &Keys{Account: account, Device: device, identity: first.identity, roots: append([]heldRoot{}, first.roots...), recovery: first.recovery, members: first.members}
	broken.roots[1].link = make([]byte, 32)
	state = forge(broken)
	want("a key that nobody with the one before has added", bad.Adopt(state), ErrForeign)
	if bad.Held() != 1 {
		t.Error("something was taken all the same")
	}
	_, err = Recover(account, uuid.New(), "x", first.Recovery(), state)
	want("the same, by the recovery key", err, ErrForeign)
}

// TestCheckState: the wrong key is refused before anything is sealed with it.
func TestCheckState(t *testing.T) {
	v := &vault{}
	a, b := must(Create(account, device, "a"))(t), must(Create(account, device, "b"))(t)
	if _, err := a.Check(&v.KeyState); !errors.Is(err, ErrOlder) {
		t.Error(err)
	}
	v.put(t, a)
	if newer, err := a.Check(&v.KeyState); newer || err != nil {
		t.Error(newer, err)
	}
	if _, err := b.Check(&v.KeyState); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

// TestExtends is what a server holds changes of keys to.
func TestExtends(t *testing.T) {
	key := func(id string) api.AccountKey { return api.AccountKey{ID: id, Check: bytes.Repeat([]byte(id[:1]), 32)} }
	now := &api.KeyState{Version: 3, Keys: []api.AccountKey{key("a"), key("b")}}
	many := make([]api.AccountKey, 65)
	for i := range many {
		many[i] = key(strings.Repeat("k", i%60+1))
	}
	for name, c := range map[string]struct {
		u    api.KeyUpdate
		code api.Code
	}{
		"the same":        {api.KeyUpdate{Version: 3, Keys: now.Keys, Bundle: []byte{1}}, ""},
		"one more":        {api.KeyUpdate{Version: 3, Keys: append(now.Keys[:2:2], key("c")), Bundle: []byte{1}}, ""},
		"another version": {api.KeyUpdate{Version: 2, Keys: now.Keys, Bundle: []byte{1}}, api.CodeConflict},
		"one is missing":  {api.KeyUpdate{Version: 3, Keys: now.Keys[:1], Bundle: []byte{1}}, api.CodeConflict},
		"another order":   {api.KeyUpdate{Version: 3, Keys: []api.AccountKey{key("b"), key("a")}, Bundle: []byte{1}}, api.CodeConflict},
		"another check":   {api.KeyUpdate{Version: 3, Keys: []api.AccountKey{key("a"), {ID: "b", Check: make([]byte, 32)}}, Bundle: []byte{1}}, api.CodeConflict},
		"none":            {api.KeyUpdate{Version: 3, Bundle: []byte{1}}, api.CodeInvalid},
		"no bundle":       {api.KeyUpdate{Version: 3, Keys: now.Keys}, api.CodeInvalid},
		"a large bundle":  {api.KeyUpdate{Version: 3, Keys: now.Keys, Bundle: make([]byte, 1<<16)}, api.CodeInvalid},
		"twice the same":  {api.KeyUpdate{Version: 3, Keys: append(now.Keys[:2:2], key("a")), Bundle: []byte{1}}, api.CodeInvalid},
		"a short check":   {api.KeyUpdate{Version: 3, Keys: append(now.Keys[:2:2], api.AccountKey{ID: "c"}), Bundle: []byte{1}}, api.CodeInvalid},
		"a strange id":    {api.KeyUpdate{Version: 3, Keys: append(now.Keys[:2:2], key("C ")), Bundle: []byte{1}}, api.CodeInvalid},
		"too many":        {api.KeyUpdate{Version: 3, Keys: many, Bundle: []byte{1}}, api.CodeInvalid},
	} {
		err := c.u.Extends(now)
		p, _ := errors.AsType[*api.Problem](err)
		if c.code == "" && err != nil || c.code != "" && (p == nil || p.Code != c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]api.KeyRequest{"no tag": {Recipient: "age1"}, "no recipient": {Tag: make([]byte, 32)}, "letters": {Recipient: "AGE 1", Tag: make([]byte, 32)}} {
		if err := r.Check(); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "sync-keys.json")
	f := must(Load(path))(t)
	if f.Keys(account) != nil {
		t.Fatal("there are keys")
	}
	a := must(Create(account, device, "laptop"))(t)
	ok(t, a.Rotate(everybody))
	waits := must(Ask(uuid.New(), device))(t)
	ok(t, f.Put(a))
	ok(t, f.Put(waits))
	h := must(f.Hasher())(t)
	st := must(os.Stat(path))(t)
	if st.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("others can read it: %v", st.Mode())
	}
	back := must(Load(path))(t)
	sameKeys(t, a, back.Keys(account))
	if must(back.Hasher())(t).secret != h.secret || back.Keys(waits.Account).Code() != waits.Code() || back.Keys(account).Name(device) != "laptop" {
		t.Error("it comes back otherwise")
	}
	v := &vault{}
	v.put(t, a)
	ok(t, back.Keys(account).Adopt(&v.KeyState))
	ok(t, back.Put(back.Keys(account)))
	if len(must(Load(path))(t).accounts) != 2 {
		t.Error("the account is there twice, or the other one is gone")
	}
	// A link is replaced, not followed.
	if os.PathSeparator == '/' {
		victim := filepath.Join(t.TempDir(), "victim")
		ok(t, os.WriteFile(victim, []byte("mine"), 0o644))
		ok(t, os.Remove(path))
		ok(t, os.Symlink(victim, path))
		ok(t, (&File{path: path}).Put(a))
		if string(must(os.ReadFile(victim))(t)) != "mine" {
			t.Error("what the link leads to was written")
		}
	}
	if left := must(filepath.Glob(filepath.Join(dir, "*.new")))(t); len(left) > 0 {
		t.Error(left)
	}
	for _, bad := range []string{"", "{", `{"format":2}`, `{"format":1,"names":"AA=="}`, `{"format":1,"accounts":[{}]}`, `{"format":1,"accounts":[null]}`} {
		ok(t, os.Remove(path))
		ok(t, os.WriteFile(path, []byte(bad), 0o600))
		if _, err := Load(path); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder was read")
	}
}

// FuzzUnwrap gives a device whatever a server could for a bundle.
func FuzzUnwrap(f *testing.F) {
	v := &vault{}
	k := must(Create(account, device, "laptop"))(f)
	v.put(f, k)
	f.Add(v.Bundle)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Equal(b, v.Bundle) {
			return
		}
		s := v.KeyState
		s.Bundle = b
		if err := k.Adopt(&s); err == nil {
			t.Error("another bundle was taken")
		}
	})
}

// FuzzKeys reads whatever a file of keys could hold.
func FuzzKeys(f *testing.F) {
	k := must(Create(account, device, "laptop"))(f)
	f.Add(must(json.Marshal(k))(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k Keys
		if json.Unmarshal(b, &k) == nil {
			var again Keys
			if err := json.Unmarshal(must(json.Marshal(&k))(t), &again); err != nil || again.ID() != k.ID() {
				t.Error(err)
			}
		}
	})
}
