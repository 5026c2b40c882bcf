package auth

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Errors of Tokens.Verify.
var (
	ErrToken        = errors.New("the access token is not valid")
	ErrTokenExpired = errors.New("the access token has expired")
)

const (
	minSecret   = 32 // bytes, the size of the hash (RFC 7518, section 3.2)
	maxKeys     = 2
	maxToken    = 4096 // bytes; ours have some 500
	tokenType   = "at+jwt"
	clockSpread = 30 * time.Second // by which the clocks of several server processes may differ
)

// Keys are the secrets that access tokens are signed with: the first signs, the second (if any) is still accepted.
type Keys struct {
	list []signingKey
}

type signingKey struct {
	id     string
	secret []byte
}

// ParseKeys reads secrets in base64url (32 bytes at least), separated by commas, spaces or lines; lines that begin with
// # are comments. The first signs. A key's id is made of the secret, so there is nothing else to configure.
func ParseKeys(text string) (Keys, error) {
	var k Keys
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(word, "="))
			if err != nil {
				return Keys{}, fmt.Errorf("read signing keys: key %d is not base64url", len(k.list)+1)
			}
			if len(secret) < minSecret {
				return Keys{}, fmt.Errorf("read signing keys: key %d has %d bytes, it needs %d", len(k.list)+1, len(secret), minSecret)
			}
			k.list = append(k.list, newSigningKey(secret))
		}
	}
	if err := lines.Err(); err != nil {
		return Keys{}, fmt.Errorf("read signing keys: %w", err)
	}
	switch {
	case len(k.list) == 0:
		return Keys{}, errors.New("read signing keys: there is none")
	case len(k.list) > maxKeys:
		return Keys{}, fmt.Errorf("read signing keys: there are %d, at most %d may be active", len(k.list), maxKeys)
	case len(k.list) == 2 && k.list[0].id == k.list[1].id:
		return Keys{}, errors.New("read signing keys: both are the same")
	}
	return k, nil
}

func newSigningKey(secret []byte) signingKey {
	sum := sha256.Sum256(append([]byte("forg signing key\n"), secret...))
	return signingKey{id: hex.EncodeToString(sum[:8]), secret: secret}
}

// LoadKeys reads the key file at path and makes it, with a random key, if there is none. Only its owner may be able to
// read it (mode 0600); a file that others can read is refused.
func LoadKeys(path string) (Keys, error) {
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKeys(path, newSecret()); err == nil || errors.Is(err, fs.ErrExist) { // another process was quicker
			text, err = readPrivate(path)
		}
	}
	if err != nil {
		return Keys{}, fmt.Errorf("load signing keys: %w", err)
	}
	k, err := ParseKeys(text)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// RotateKeys puts a new key in front of the key file and keeps one old key, so that tokens which are out stay valid. It
// returns the new keys. Tokens signed with the key before the last one end.
func RotateKeys(path string) (Keys, error) {
	old, err := LoadKeys(path)
	if err != nil {
		return Keys{}, err
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return Keys{}, fmt.Errorf("rotate signing keys: %w", err)
	}
	if err := createKeys(temp, newSecret(), old.list[0].secret); err != nil {
		return Keys{}, fmt.Errorf("rotate signing keys: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return Keys{}, fmt.Errorf("rotate signing keys: %w", err)
	}
	syncFolder(filepath.Dir(path))
	return LoadKeys(path)
}

func newSecret() []byte {
	b := make([]byte, minSecret)
	rand.Read(b) // never fails
	return b
}

// createKeys writes a file that must not exist yet. It appears under its name only when it is whole.
func createKeys(path string, secrets ...[]byte) error {
	var b strings.Builder
	b.WriteString("# The secrets that forg serve signs access tokens with. The first signs, the second is still accepted.\n" +
		"# Whoever can read this file can be any user.\n")
	for _, s := range secrets {
		b.WriteString(base64.RawURLEncoding.EncodeToString(s) + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename it never replaces
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return createSimply(path, b.String()) // a file system without hard links
	}
	syncFolder(filepath.Dir(path))
	return nil
}

func createSimply(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync() // best effort: not every platform can sync a folder, and those that cannot need not
		d.Close()
	}
}

func readPrivate(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() || st.Size() > 1<<16 {
		return "", fmt.Errorf("%s is not a key file", path)
	}
	if privateModes && st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others (mode %04o): use chmod 600, and rotate the keys if others may have read it", path, st.Mode().Perm())
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return "", err
	}
	return string(b), nil
}

// TokenOptions say what access tokens hold.
type TokenOptions struct {
	Issuer   string        // the server's name, e.g. its public URL; "forg" if empty
	Audience string        // what the tokens are for; "forg-api" if empty
	Lifetime time.Duration // 30 minutes if zero
	Now      func() time.Time
}

// Claims are what an access token says.
type Claims struct {
	UserID    uuid.UUID
	SessionID uuid.UUID // family of refresh tokens
	DeviceID  uuid.UUID // zero: the session is not bound to a device
	ExpiresAt time.Time
}

// Tokens issues and reads access tokens: JWTs (RFC 7519) signed with HS256. It is safe for concurrent use.
type Tokens struct {
	opt    TokenOptions
	keys   atomic.Pointer[Keys]
	parser *jwt.Parser
}

// NewTokens makes the issuer and reader of a server.
func NewTokens(keys Keys, opt TokenOptions) *Tokens {
	if opt.Issuer == "" {
		opt.Issuer = "forg"
	}
	if opt.Audience == "" {
		opt.Audience = "forg-api"
	}
	if opt.Lifetime == 0 {
		opt.Lifetime = 30 * time.Minute
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t := &Tokens{opt: opt, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(opt.Issuer), jwt.WithAudience(opt.Audience),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithTimeFunc(opt.Now), jwt.WithStrictDecoding(),
	)}
	t.SetKeys(keys)
	return t
}

// SetKeys exchanges the keys of a running server after a rotation.
func (t *Tokens) SetKeys(keys Keys) { t.keys.Store(&keys) }

// Lifetime is how long a token that is issued now is valid.
func (t *Tokens) Lifetime() time.Duration { return t.opt.Lifetime }

type jwtClaims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Device  string `json:"did,omitempty"`
}

// Issue makes a token for a session; device is zero if it is not bound to one.
func (t *Tokens) Issue(user, session, device uuid.UUID) (string, error) {
	now := t.opt.Now()
	c := jwtClaims{Session: session.String(), RegisteredClaims: jwt.RegisteredClaims{
		Issuer: t.opt.Issuer, Subject: user.String(), Audience: jwt.ClaimStrings{t.opt.Audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-clockSpread)),
		ExpiresAt: jwt.NewNumericDate(now.Add(t.opt.Lifetime)),
	}}
	if device != uuid.Nil {
		c.Device = device.String()
	}
	k := t.keys.Load().list[0]
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	token.Header["kid"], token.Header["typ"] = k.id, tokenType
	s, err := token.SignedString(k.secret)
	if err != nil {
		return "", fmt.Errorf("issue access token: %w", err)
	}
	return s, nil
}

// Verify reads a token. Its errors are ErrTokenExpired and, for everything else, ErrToken; they do not say what was
// wrong, since only an attacker could want to know.
func (t *Tokens) Verify(token string) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, ErrToken
	}
	var c jwtClaims
	_, err := t.parser.ParseWithClaims(token, &c, func(j *jwt.Token) (any, error) {
		kid, _ := j.Header["kid"].(string)
		typ, _ := j.Header["typ"].(string)
		if typ != tokenType { // the same keys may sign something else one day
			return nil, ErrToken
		}
		for _, k := range t.keys.Load().list {
			if k.id == kid {
				return k.secret, nil
			}
		}
		return nil, ErrToken
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, ErrTokenExpired
	case err != nil:
		return Claims{}, ErrToken
	}
	out := Claims{ExpiresAt: c.ExpiresAt.Time}
	for _, f := range []struct {
		text string
		to   *uuid.UUID
	}{{c.Subject, &out.UserID}, {c.Session, &out.SessionID}, {c.Device, &out.DeviceID}} {
		if f.text == "" && f.to == &out.DeviceID {
			continue
		}
		if len(f.text) != 36 || uuid.Validate(f.text) != nil {
			return Claims{}, ErrToken
		}
		*f.to = uuid.MustParse(f.text)
	}
	if out.UserID == uuid.Nil || out.SessionID == uuid.Nil {
		return Claims{}, ErrToken
	}
	return out, nil
}
