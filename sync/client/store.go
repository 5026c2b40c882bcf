package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/uuid"
	"github.com/zalando/go-keyring"

	"forg/journal"
	"forg/sync/api"
)

// Login is who a device is logged in as. There is nothing secret in it.
type Login struct {
	Server     string    `json:"server"`
	Email      string    `json:"email"`
	UserID     uuid.UUID `json:"user_id"`
	DeviceID   uuid.UUID `json:"device_id"`
	DeviceName string    `json:"device_name"`
	At         time.Time `json:"logged_in_at"`
	KeptIn     Place     `json:"kept_in"` // set by Store.Put
	Ended      bool      `json:"ended,omitempty"`
}

// Place is where the secrets of a login are.
type Place string

// The places.
const (
	InKeyring Place = "keyring" // of the operating system
	InFile    Place = "file"    // beside the journal, for its owner only
)

// tokens are the secrets of a login.
type tokens struct {
	Access  string    `json:"access_token,omitempty"`
	Until   time.Time `json:"access_until,omitzero"` // from then on it is refreshed before it is used
	Refresh string    `json:"refresh_token,omitempty"`
}

// savedLogin is the file. Its secrets are empty where they are in the keyring.
type savedLogin struct {
	Login
	tokens
}

// Store keeps one login, of one device, in a file that nobody but its owner can read; the tokens themselves in the keyring
// of the operating system where there is one. Any number of processes may use it at once.
type Store struct {
	path    string
	keyring bool // is wanted for new logins
	none    bool // there is none that could be asked
	now     func() time.Time
}

// NewStore keeps a login in the file at path. keyring says whether the keyring is to be tried for new ones.
func NewStore(path string, keyring bool, now func() time.Time) *Store {
	return &Store{path: path, keyring: keyring, now: now}
}

// NoKeyring says that there is no keyring that could be asked. Where no desktop runs, the very question would start a message
// bus that nobody ends.
func (s *Store) NoKeyring() { s.none = true }

// Path is where the file is.
func (s *Store) Path() string { return s.path }

const (
	keyringTime    = 2 * time.Second // a keyring may ask somebody for a password who is not there
	keyringService = "forg"
	lockTime       = time.Minute
	maxFile        = 64 << 10
)

// ErrKeyring says that the keyring of the operating system does not do what it should.
var ErrKeyring = errors.New("the keyring of the system cannot be used")

// Login is the login that is kept. Error: ErrLoggedOut if there is none.
func (s *Store) Login() (Login, error) {
	l, err := s.read()
	return l.Login, err
}

// Put keeps a login and its tokens in place of the one before. It tells where the tokens are, and, if they are not in the
// keyring though they should be, why.
func (s *Store) Put(ctx context.Context, l Login, t api.TokenResponse) (at Place, why, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	before, rerr := s.read()
	at, why, err = s.write(savedLogin{Login: l, tokens: s.received(t)}, s.keyring)
	if err == nil && rerr == nil && before.KeptIn == InKeyring && (at != InKeyring || before.item() != l.item()) {
		_ = s.removeSecret(before.item()) // it is of a session that nobody will use
	}
	return at, why, err
}

// Remove forgets the login. That there is none is no error. The file goes whatever the keyring says.
func (s *Store) Remove(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := s.read()
	if errors.Is(err, ErrLoggedOut) {
		return nil
	}
	var kerr error
	if err == nil && l.KeptIn == InKeyring {
		kerr = s.removeSecret(l.item())
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the login: %w", err)
	}
	return kerr
}

// Until is when the access token that is kept is refreshed; zero if there is none.
func (s *Store) Until() (time.Time, error) {
	l, err := s.read()
	if err != nil {
		return time.Time{}, err
	}
	t, err := s.secrets(&l)
	return t.Until, err
}

// Rename keeps another name of the device.
func (s *Store) Rename(ctx context.Context, device string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := s.read()
	if err != nil {
		return err
	}
	l.DeviceName = device
	return s.save(l)
}

// item is the name of the tokens in the keyring.
func (l *Login) item() string { return l.Server + " " + l.DeviceID.String() }

// received makes tokens of an answer. They are refreshed a little before their time: clocks and networks are not exact.
func (s *Store) received(t api.TokenResponse) tokens {
	life := time.Duration(min(max(t.ExpiresIn, 0), 7*24*3600)) * time.Second
	return tokens{Access: t.AccessToken, Refresh: t.RefreshToken, Until: s.now().Add(life - min(life/10, 30*time.Second)).UTC()}
}

// lock keeps other processes from the login. On a file system without locks there is nothing to wait for.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the login: %w", err)
	}
	f, err := os.OpenFile(s.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the login: %w", err)
	}
	err = journal.LockFile(ctx, f, lockTime)
	if errors.Is(err, journal.ErrLocked) || ctx.Err() != nil {
		f.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("lock the login: another forg has held %s for %s", f.Name(), lockTime)
	}
	return func() { f.Close() }, nil
}

// read reads the file. Error: ErrLoggedOut if there is none.
func (s *Store) read() (savedLogin, error) {
	var l savedLogin
	f, err := s.openFile()
	if errors.Is(err, fs.ErrNotExist) {
		return l, ErrLoggedOut
	}
	if err != nil {
		return l, fmt.Errorf("read the login: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return l, fmt.Errorf("read the login: %w", err)
	}
	if err := json.Unmarshal(b, &l); err != nil || l.Server == "" || l.DeviceID == uuid.Nil {
		return l, fmt.Errorf("read the login: %s is damaged; log in again", s.path)
	}
	return l, nil
}

// openFile opens the file itself, not what a link at its place leads to.
func (s *Store) openFile() (*os.File, error) {
	for try := 0; ; try++ {
		info, err := os.Lstat(s.path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no plain file; remove it and log in again", s.path)
		}
		f, err := os.Open(s.path)
		if err != nil {
			return nil, err
		}
		if now, err := f.Stat(); err == nil && os.SameFile(info, now) {
			return f, nil
		}
		f.Close()
		if try == 100 { // another process has refreshed it in between, but not that often
			return nil, fmt.Errorf("%s is being replaced all the time", s.path)
		}
	}
}

// secrets are the tokens of a login that was read.
func (s *Store) secrets(l *savedLogin) (tokens, error) {
	if l.Ended {
		return tokens{}, fmt.Errorf("%w: the session at %s has ended", ErrLoggedOut, l.Server)
	}
	if l.KeptIn != InKeyring {
		return l.tokens, nil
	}
	text, err := s.askKeyring(func() (string, error) { return keyring.Get(keyringService, l.item()) })
	if errors.Is(err, keyring.ErrNotFound) {
		return tokens{}, fmt.Errorf("%w: the keyring has no tokens for %s", ErrLoggedOut, l.Server)
	}
	if err != nil {
		return tokens{}, err
	}
	var t tokens
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return tokens{}, fmt.Errorf("%w: what the keyring has for %s is damaged", ErrLoggedOut, l.Server)
	}
	return t, nil
}

// write keeps a login: its tokens in the keyring if that is wanted and works, else in the file. The caller has the lock.
func (s *Store) write(l savedLogin, useKeyring bool) (at Place, why, err error) {
	l.KeptIn = InFile
	if useKeyring {
		text, err := json.Marshal(l.tokens)
		if err != nil {
			return "", nil, fmt.Errorf("keep the login: %w", err)
		}
		if why = s.putSecret(l.item(), string(text)); why == nil {
			l.KeptIn, l.tokens = InKeyring, tokens{}
		}
	}
	return l.KeptIn, why, s.save(l)
}

func (s *Store) save(l savedLogin) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = writeFile(s.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the login: %w", err)
	}
	return nil
}

// writeFile replaces a file at once and durably, readable for its owner only. A link at its place is replaced, not
// followed. The caller has the lock, so that a temporary file that is there was left by a crash.
func writeFile(path string, text []byte) (err error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for try := 0; ; try++ { // Windows replaces no file that somebody is just reading
		if err = os.Rename(temp, path); err == nil {
			break
		}
		if runtime.GOOS != "windows" || try == 100 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync() // not every system can; then the name is as durable as it gets
		d.Close()
	}
	return nil
}

func (s *Store) putSecret(item, text string) error {
	_, err := s.askKeyring(func() (string, error) {
		if err := keyring.Set(keyringService, item, text); err != nil {
			return "", err
		}
		back, err := keyring.Get(keyringService, item)
		if err == nil && back != text {
			err = errors.New("it does not give back what it was given")
		}
		return "", err
	})
	return err
}

func (s *Store) removeSecret(item string) error {
	_, err := s.askKeyring(func() (string, error) {
		err := keyring.Delete(keyringService, item)
		if errors.Is(err, keyring.ErrNotFound) {
			err = nil
		}
		return "", err
	})
	return err
}

// askKeyring is patiently, if there is a keyring.
func (s *Store) askKeyring(do func() (string, error)) (string, error) {
	if s.none {
		return "", fmt.Errorf("%w: no session of a desktop runs here", ErrKeyring)
	}
	return patiently(do)
}

// patiently does something with the keyring, and waits no longer than keyringTime for it; one that never answers keeps a
// goroutine until the program ends. Errors: ErrKeyring; keyring.ErrNotFound is among them.
func patiently(do func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := do()
		done <- result{text, err}
	}()
	timer := time.NewTimer(keyringTime)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			return "", fmt.Errorf("%w: %w", ErrKeyring, r.err)
		}
		return r.text, nil
	case <-timer.C:
		return "", fmt.Errorf("%w: it has not answered within %s", ErrKeyring, keyringTime)
	}
}
