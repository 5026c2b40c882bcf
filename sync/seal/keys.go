package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/google/uuid"

	"forg/sync/api"
)

// Keys are what one device holds of the keys of one account: its own age identity, and the account's root keys once it has
// been given them. They travel as a bundle, which is encrypted with age to the identities of the account's devices and to a
// recovery key that is printed; the server keeps the bundle and can read none of it.
//
// Seal and Open may be called from many goroutines, the other methods not.
type Keys struct {
	Account uuid.UUID
	Device  uuid.UUID // the one that holds them

	identity *age.X25519Identity
	code     string     // that is to be typed on another device while this one waits
	roots    []heldRoot // oldest first; the last one seals
	recovery string     // an age identity
	members  []Member

	mu   sync.Mutex
	logs map[logID]*logKey // derived before
}

// Member is a device that has the keys.
type Member struct {
	Device    uuid.UUID `json:"device"`
	Name      string    `json:"name"`      // as its owner calls it: the server is told another
	Recipient string    `json:"recipient"` // of age
	Grant     *grant    `json:"grant,omitempty"`
}

// grant is how a new device knows that what it was given is from the device on which its pairing code was typed.
type grant struct {
	KeyID string `json:"key_id"`
	MAC   []byte `json:"mac"`
}

type heldRoot struct {
	root
	id string
	// link proves to who holds the key before that whoever added this one held it too.
	link []byte
}

type logID struct {
	root          root
	device, epoch uuid.UUID
}

// logKey remembers the keys of a few logs: deriving one costs as much as sealing ten entries.
func (k *Keys) logKey(r *heldRoot, device, epoch uuid.UUID) *logKey {
	id := logID{r.root, device, epoch}
	k.mu.Lock()
	defer k.mu.Unlock()
	if got := k.logs[id]; got != nil {
		return got
	}
	if k.logs == nil || len(k.logs) >= 1000 {
		k.logs = map[logID]*logKey{}
	}
	k.logs[id] = r.logKey(k.Account, device, epoch)
	return k.logs[id]
}

func (k *Keys) root(id string) *heldRoot {
	for i := range k.roots {
		if k.roots[i].id == id {
			return &k.roots[i]
		}
	}
	return nil
}

func (k *Keys) newest() *heldRoot { return &k.roots[len(k.roots)-1] }

// ID is the key that Seal seals with; "" while the device has none.
func (k *Keys) ID() string {
	if len(k.roots) == 0 {
		return ""
	}
	return k.newest().id
}

// Held is how many keys the device has: those of before a rotation stay, to read what is sealed with them.
func (k *Keys) Held() int { return len(k.roots) }

// Members are the devices that have the keys, as far as this one knows.
func (k *Keys) Members() []Member { return slices.Clone(k.members) }

// Recovery is the account's recovery key: to be printed, and kept where no computer is. It opens the bundle, with the
// program age as well. "" while the device has no keys.
func (k *Keys) Recovery() string { return k.recovery }

// Create makes the first key of an account, held by one device.
func Create(account, device uuid.UUID, name string) (*Keys, error) {
	k, err := newKeys(account, device)
	if err != nil {
		return nil, err
	}
	if err := k.addRoot(); err != nil {
		return nil, err
	}
	k.members = []Member{{Device: device, Name: name, Recipient: k.identity.Recipient().String()}}
	return k, nil
}

// Ask makes the identity of a device that is to be given the account's keys, and its pairing code.
func Ask(account, device uuid.UUID) (*Keys, error) {
	k, err := newKeys(account, device)
	if err != nil {
		return nil, err
	}
	k.code = newCode()
	return k, nil
}

func newKeys(account, device uuid.UUID) (*Keys, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	return &Keys{Account: account, Device: device, identity: id}, nil
}

// addRoot makes a new key, the one to seal with, and a recovery key to go with it.
func (k *Keys) addRoot() error {
	var r heldRoot
	rand.Read(r.root[:]) // never fails
	r.id = r.root.id(k.Account)
	if len(k.roots) > 0 {
		r.link = link(k.Account, &k.newest().root, &r.root)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make a recovery key: %w", err)
	}
	k.roots = append(k.roots, r)
	k.recovery = id.String()
	return nil
}

func link(account uuid.UUID, before, next *root) []byte {
	return mac(before.derive(account, "link", 32), next[:])
}

// mac is HMAC-SHA256 over parts, each led by its length.
func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return h.Sum(nil)
}

// Pairing codes.

const codeLetters = "0123456789abcdefghjkmnpqrstvwxyz" // those of Crockford's base 32: none looks like another

var codeText = base32.NewEncoding(codeLetters).WithPadding(base32.NoPadding)

// newCode makes 80 random bits as 16 letters in groups: too many to be guessed from what the server is shown.
func newCode() string {
	var b [10]byte
	rand.Read(b[:])
	s := codeText.EncodeToString(b[:])
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// readCode reads what somebody has typed.
func readCode(text string) ([]byte, error) {
	clean := strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1").Replace(strings.ToLower(strings.TrimSpace(text)))
	b, err := codeText.DecodeString(clean)
	if err != nil || len(b) != 10 {
		return nil, errors.New("it is no pairing code: 16 letters and digits are, as the new device shows them")
	}
	return b, nil
}

// codeKey makes a key of a code; the purposes keep what the two sides say apart.
func codeKey(account uuid.UUID, code []byte, purpose string) []byte {
	return mac(code, []byte(label+"pairing"), account[:], []byte(purpose))
}

func requestTag(account, device uuid.UUID, recipient string, code []byte) []byte {
	return mac(codeKey(account, code, "request"), device[:], []byte(recipient))
}

func grantMAC(account, device uuid.UUID, recipient string, r *heldRoot, code []byte) []byte {
	return mac(codeKey(account, code, "grant"), device[:], []byte(recipient), []byte(r.id), r.root[:])
}

// Code is what is to be typed on a device that has the keys; "" when this one does not wait for them.
func (k *Keys) Code() string { return k.code }

// Request is what the server is to show to the other devices.
func (k *Keys) Request() (api.KeyRequest, error) {
	code, err := readCode(k.code)
	if err != nil {
		return api.KeyRequest{}, errors.New("ask for the keys: they are here already")
	}
	recipient := k.identity.Recipient().String()
	return api.KeyRequest{Recipient: recipient, Tag: requestTag(k.Account, k.Device, recipient, code)}, nil
}

// ErrNobody says that no device waits with a pairing code.
var ErrNobody = errors.New("no device waits with this pairing code")

// Approve adds the device whose pairing code was typed here to those that have the keys, and returns its id. The state is
// the server's newest; what is to be sent back is Update. Errors: ErrNobody.
func (k *Keys) Approve(state *api.KeyState, text string) (uuid.UUID, error) {
	code, err := readCode(text)
	if err != nil {
		return uuid.Nil, err
	}
	for _, d := range state.Devices {
		if d.DeviceID == k.Device || subtle.ConstantTimeCompare(requestTag(k.Account, d.DeviceID, d.Recipient, code), d.Tag) != 1 {
			continue
		}
		if _, err := age.ParseX25519Recipient(d.Recipient); err != nil {
			return uuid.Nil, fmt.Errorf("read the key of device %s: %w", d.DeviceID, err)
		}
		r := k.newest()
		m := Member{Device: d.DeviceID, Recipient: d.Recipient, Grant: &grant{r.id, grantMAC(k.Account, d.DeviceID, d.Recipient, r, code)}}
		if i := k.member(d.DeviceID); i >= 0 {
			m.Name = k.members[i].Name
			k.members[i] = m
		} else {
			k.members = append(k.members, m)
		}
		return d.DeviceID, nil
	}
	return uuid.Nil, ErrNobody
}

func (k *Keys) member(device uuid.UUID) int {
	return slices.IndexFunc(k.members, func(m Member) bool { return m.Device == device })
}

// SetName says how a device is called, for the others; it reports whether that is news.
func (k *Keys) SetName(device uuid.UUID, name string) bool {
	i := k.member(device)
	if i < 0 || name == "" || k.members[i].Name == name {
		return false
	}
	k.members[i].Name = name
	return true
}

// Name is how a device is called; "" if that is not known.
func (k *Keys) Name(device uuid.UUID) string {
	if i := k.member(device); i >= 0 {
		return k.members[i].Name
	}
	return ""
}

// Rotate makes a new key, and a new recovery key: devices for which keep is false, and who has the old recovery key, cannot
// read what is sealed from now on. What was sealed before, they can.
func (k *Keys) Rotate(keep func(uuid.UUID) bool) error {
	if len(k.roots) == 0 {
		return fmt.Errorf("make a new key: %w", ErrKey)
	}
	if len(k.roots) >= maxRoots {
		return fmt.Errorf("make a new key: the account has had %d, which is all it can have", maxRoots)
	}
	if err := k.addRoot(); err != nil {
		return err
	}
	k.members = slices.DeleteFunc(k.members, func(m Member) bool { return m.Device != k.Device && !keep(m.Device) })
	return nil
}

const maxRoots = 64 // as the server takes, see api.KeyUpdate

// bundle is what devices tell each other, encrypted.
type bundle struct {
	Format   string       `json:"format"`
	Account  uuid.UUID    `json:"account"`
	Roots    []bundleRoot `json:"roots"`
	Recovery string       `json:"recovery"`
	Members  []Member     `json:"members"`
}

type bundleRoot struct {
	Key  []byte `json:"key"`
	Link []byte `json:"link,omitempty"`
}

const bundleFormat = "forg-keys/1"

// Update is what the server is to keep, as a change of the state that it had.
func (k *Keys) Update(state *api.KeyState) (api.KeyUpdate, error) {
	u := api.KeyUpdate{Version: state.Version}
	b := bundle{Format: bundleFormat, Account: k.Account, Recovery: k.recovery, Members: k.members}
	for i := range k.roots {
		r := &k.roots[i]
		u.Keys = append(u.Keys, api.AccountKey{ID: r.id, Check: r.derive(k.Account, "check", 32)})
		b.Roots = append(b.Roots, bundleRoot{r.root[:], r.link})
	}
	wrap := func(err error) (api.KeyUpdate, error) { return api.KeyUpdate{}, fmt.Errorf("wrap the keys: %w", err) }
	if len(k.roots) == 0 {
		return wrap(ErrKey)
	}
	text, err := json.Marshal(b)
	if err != nil {
		return wrap(err)
	}
	recovery, err := age.ParseX25519Identity(k.recovery)
	if err != nil {
		return wrap(err)
	}
	to := []age.Recipient{recovery.Recipient()}
	for _, m := range k.members {
		r, err := age.ParseX25519Recipient(m.Recipient)
		if err != nil {
			return wrap(err)
		}
		to = append(to, r)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return wrap(err)
	}
	// Anybody who knows the recipients could encrypt to them, and the server does: the MAC is by who holds the newest key.
	_, err = w.Write(append(k.bundleMAC(text), text...))
	if err := errors.Join(err, w.Close()); err != nil {
		return wrap(err)
	}
	u.Bundle = out.Bytes()
	return u, nil
}

func (k *Keys) bundleMAC(text []byte) []byte {
	return mac(k.newest().derive(k.Account, "bundle", 32), text)
}

// Errors of keys that do not go with the account's.
var (
	ErrNoKeys    = errors.New("the account is not encrypted")
	ErrNotYet    = errors.New("no device has approved this one yet")
	ErrForeign   = errors.New("the keys of the account are not those of this device")
	ErrOlder     = errors.New("the server shows older keys than this device has: it was restored from a backup, or somebody tampers")
	ErrWithdrawn = errors.New("this device was left out when the account's key was changed")
)

// Check compares the keys with those of the account before anything is sealed with them. newer reports that the account has
// keys that this device lacks: see Adopt. Errors: ErrNoKeys, ErrForeign, ErrOlder.
func (k *Keys) Check(state *api.KeyState) (newer bool, err error) {
	switch {
	case len(state.Keys) == 0 && len(k.roots) > 0:
		return false, ErrOlder // an account that is encrypted stays so
	case len(state.Keys) == 0:
		return false, ErrNoKeys
	case len(state.Keys) < len(k.roots):
		return false, ErrOlder
	}
	for i := range k.roots {
		r, got := &k.roots[i], state.Keys[i]
		if got.ID != r.id || subtle.ConstantTimeCompare(got.Check, r.derive(k.Account, "check", 32)) != 1 {
			return false, ErrForeign
		}
	}
	return len(state.Keys) > len(k.roots), nil
}

// Adopt takes the account's newest keys and members from the server's state: for a device that has keys, and for one that
// waits for them. Nothing changes with an error. Errors: ErrNoKeys, ErrNotYet, ErrForeign, ErrOlder, ErrWithdrawn,
// ErrDamaged.
func (k *Keys) Adopt(state *api.KeyState) error {
	if _, err := k.Check(state); err != nil {
		return err
	}
	got, err := k.unwrap(state, k.identity)
	if _, mismatch := errors.AsType[*age.NoIdentityMatchError](err); mismatch {
		if len(k.roots) > 0 {
			return ErrWithdrawn
		}
		return ErrNotYet
	}
	if err != nil {
		return err
	}
	i := got.member(k.Device)
	if i < 0 || got.members[i].Recipient != k.identity.Recipient().String() {
		return fmt.Errorf("read the account's keys: this device is not among their members: %w", ErrDamaged)
	}
	from := len(k.roots)
	if from == 0 {
		// All that is known yet is the code that was typed on the other device.
		code, err := readCode(k.code)
		g := got.members[i].Grant
		if err != nil || g == nil {
			return fmt.Errorf("read the account's keys: nobody has vouched for them: %w", ErrForeign)
		}
		r := got.root(g.KeyID)
		if r == nil || subtle.ConstantTimeCompare(grantMAC(k.Account, k.Device, got.members[i].Recipient, r, code), g.MAC) != 1 {
			return fmt.Errorf("read the account's keys: they are not from the device on which the pairing code was typed: %w", ErrForeign)
		}
		from = slices.IndexFunc(got.roots, func(r heldRoot) bool { return r.id == g.KeyID }) + 1
	} else {
		for i := range k.roots {
			if i >= len(got.roots) || got.roots[i].root != k.roots[i].root {
				return fmt.Errorf("read the account's keys: %w", ErrForeign)
			}
		}
	}
	if err := got.checkLinks(from); err != nil {
		return err
	}
	k.take(got)
	return nil
}

// checkLinks checks that each key from a number on was added by somebody who held the one before.
func (k *Keys) checkLinks(from int) error {
	for i := max(1, from); i < len(k.roots); i++ {
		if subtle.ConstantTimeCompare(link(k.Account, &k.roots[i-1].root, &k.roots[i].root), k.roots[i].link) != 1 {
			return fmt.Errorf("read the account's keys: key %s was not added by a device that had the one before: %w", k.roots[i].id, ErrForeign)
		}
	}
	return nil
}

func (k *Keys) take(got *Keys) {
	k.roots, k.recovery, k.members, k.code = got.roots, got.recovery, got.members, ""
	if i := k.member(k.Device); i >= 0 {
		k.members[i].Grant = nil // it has served
	}
}

// unwrap opens the bundle, and checks that it is whole and made by somebody who has the newest key.
func (k *Keys) unwrap(state *api.KeyState, identity age.Identity) (*Keys, error) {
	fail := func(err error) (*Keys, error) { return nil, fmt.Errorf("read the account's keys: %w", err) }
	in, err := age.Decrypt(bytes.NewReader(state.Bundle), identity)
	if _, mismatch := errors.AsType[*age.NoIdentityMatchError](err); mismatch {
		return nil, err
	}
	if err != nil {
		return fail(ErrDamaged)
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil || len(text) < sha256.Size {
		return fail(ErrDamaged)
	}
	sum, text := text[:sha256.Size], text[sha256.Size:]
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return fail(ErrDamaged)
	}
	if b.Format != bundleFormat {
		return fail(fmt.Errorf("they have the form %.40q, and this forg knows %s: a newer one is needed", b.Format, bundleFormat))
	}
	if b.Account != k.Account || len(b.Roots) == 0 {
		return fail(ErrDamaged)
	}
	got := &Keys{Account: k.Account, Device: k.Device, recovery: b.Recovery, members: b.Members}
	for _, r := range b.Roots {
		if len(r.Key) != rootSize {
			return fail(ErrDamaged)
		}
		h := heldRoot{root: root(r.Key), link: r.Link}
		h.id = h.root.id(k.Account)
		got.roots = append(got.roots, h)
	}
	if subtle.ConstantTimeCompare(sum, got.bundleMAC(text)) != 1 {
		return fail(ErrDamaged)
	}
	newer, err := got.Check(state)
	if err == nil && newer {
		err = ErrDamaged
	}
	if err != nil {
		return fail(err)
	}
	return got, nil
}

// Recover gives a device the account's keys by the recovery key that was printed. What is to be sent back, so that the next
// change of keys reaches the device, is Update. Errors: ErrNoKeys, ErrForeign (of a recovery key that is another's, or of
// before the key was changed), ErrDamaged.
func Recover(account, device uuid.UUID, name, recovery string, state *api.KeyState) (*Keys, error) {
	if len(state.Keys) == 0 {
		return nil, ErrNoKeys
	}
	recovery = strings.ToUpper(strings.Join(strings.Fields(recovery), ""))
	identity, err := age.ParseX25519Identity(recovery)
	if err != nil {
		return nil, errors.New("it is no recovery key: one begins with AGE-SECRET-KEY-1 and has 74 characters, and a mistyped one is noticed")
	}
	k, err := newKeys(account, device)
	if err != nil {
		return nil, err
	}
	got, err := k.unwrap(state, identity)
	if _, mismatch := errors.AsType[*age.NoIdentityMatchError](err); mismatch {
		return nil, fmt.Errorf("open the account's keys: the recovery key is another account's, or one of before the key was changed: %w", ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	if got.recovery != identity.String() { // somebody else has encrypted to it
		return nil, fmt.Errorf("open the account's keys: %w", ErrForeign)
	}
	if err := got.checkLinks(1); err != nil {
		return nil, err
	}
	m := Member{Device: device, Name: name, Recipient: k.identity.Recipient().String()}
	if i := got.member(device); i >= 0 {
		got.members[i] = m
	} else {
		got.members = append(got.members, m)
	}
	k.take(got)
	return k, nil
}

// saved is how a device keeps its keys.
type saved struct {
	Account  uuid.UUID    `json:"account"`
	Device   uuid.UUID    `json:"device"`
	Identity string       `json:"identity"`
	Code     string       `json:"code,omitempty"`
	Roots    []bundleRoot `json:"roots,omitempty"`
	Recovery string       `json:"recovery,omitempty"`
	Members  []Member     `json:"members,omitempty"`
}

// MarshalJSON is for the device's own disk: it has everything in the clear.
func (k *Keys) MarshalJSON() ([]byte, error) {
	s := saved{Account: k.Account, Device: k.Device, Identity: k.identity.String(), Code: k.code, Recovery: k.recovery, Members: k.members}
	for i := range k.roots {
		s.Roots = append(s.Roots, bundleRoot{k.roots[i].root[:], k.roots[i].link})
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON has written.
func (k *Keys) UnmarshalJSON(b []byte) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	identity, err := age.ParseX25519Identity(s.Identity)
	if err != nil {
		return err
	}
	k.Account, k.Device, k.identity, k.code, k.recovery, k.members, k.roots = s.Account, s.Device, identity, s.Code, s.Recovery, s.Members, nil
	for _, r := range s.Roots {
		if len(r.Key) != rootSize {
			return fmt.Errorf("a key has %d bytes, want %d", len(r.Key), rootSize)
		}
		h := heldRoot{root: root(r.Key), link: r.Link}
		h.id = h.root.id(k.Account)
		k.roots = append(k.roots, h)
	}
	return nil
}
