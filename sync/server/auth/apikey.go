package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// Scope is what an API key allows.
type Scope string

// The scopes. A session of the user's own has all of them.
const (
	ScopeRead     Scope = "read"     // see everything of the account but its keys
	ScopePush     Scope = "push"     // add to the log of a device
	ScopeCommands Scope = "commands" // start operations and rollbacks, and carry them out
	ScopeAdmin    Scope = "admin"    // manage devices, keys and the account, besides all of the above
)

// AllScopes are the scopes there are.
var AllScopes = []Scope{ScopeRead, ScopePush, ScopeCommands, ScopeAdmin}

// ParseScopes checks the scopes that somebody asks for; they come back sorted and without repeats.
func ParseScopes(names []string) ([]Scope, error) {
	if len(names) == 0 {
		return nil, errors.New("an API key needs a scope: read, push, commands or admin")
	}
	var all []Scope
	for _, n := range names {
		if !slices.Contains(AllScopes, Scope(n)) {
			return nil, fmt.Errorf("%q is no scope: there are read, push, commands and admin", n)
		}
		all = append(all, Scope(n))
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Allows reports whether one of the scopes allows what needs scope want.
func Allows(scopes []Scope, want Scope) bool {
	return slices.Contains(scopes, want) || slices.Contains(scopes, ScopeAdmin)
}

// APIKey is a key as its holder has it: forg_<env>_<8 id>_<32 secret>_<6 check>, the last three in base 62. The check is
// a CRC-32 of all before it, so that a slip of typing is told from a key that was revoked, and scanners for leaked
// secrets find no false ones.
type APIKey struct {
	text string
	id   int // length of the part that may be shown
}

// ErrAPIKey says that a text cannot be an API key.
var ErrAPIKey = errors.New("not an API key")

const (
	apiKeyPrefix = "forg_"
	keyID        = 8
	keySecret    = 32 // 190 bits
	keyCheck     = 6
)

// NewAPIKey makes a key. env says what kind of server it is for (live, test, ...): 2 to 8 lower-case letters.
func NewAPIKey(env string) (APIKey, error) {
	if !validEnv(env) {
		return APIKey{}, fmt.Errorf("make API key: %q is not 2 to 8 lower-case letters", env)
	}
	prefix := apiKeyPrefix + env + "_" + random62(keyID)
	text := prefix + "_" + random62(keySecret)
	return APIKey{text: text + "_" + check62(text), id: len(prefix)}, nil
}

// ParseAPIKey reads a key that was presented. It says nothing about whether there is such a key.
func ParseAPIKey(s string) (APIKey, error) {
	rest, ok := strings.CutPrefix(s, apiKeyPrefix)
	if !ok || len(s) > len(apiKeyPrefix)+8+keyID+keySecret+keyCheck+3 {
		return APIKey{}, ErrAPIKey
	}
	part := strings.Split(rest, "_")
	if len(part) != 4 || !validEnv(part[0]) || len(part[1]) != keyID || len(part[2]) != keySecret || len(part[3]) != keyCheck {
		return APIKey{}, ErrAPIKey
	}
	for i := range len(rest) {
		if rest[i] != '_' && strings.IndexByte(base62, rest[i]) < 0 {
			return APIKey{}, ErrAPIKey
		}
	}
	if check62(s[:len(s)-keyCheck-1]) != part[3] {
		return APIKey{}, ErrAPIKey
	}
	return APIKey{text: s, id: len(apiKeyPrefix) + len(part[0]) + 1 + keyID}, nil
}

// IsAPIKey reports whether a bearer token claims to be an API key rather than an access token.
func IsAPIKey(bearer string) bool { return strings.HasPrefix(bearer, apiKeyPrefix) }

// Text is the whole key, to be shown once.
func (k APIKey) Text() string { return k.text }

// Prefix is what may be shown and is unique: forg_<env>_<8 id>. Keys are looked up by it.
func (k APIKey) Prefix() string { return k.text[:k.id] }

// String is Prefix, so that no log ever holds a key.
func (k APIKey) String() string { return k.Prefix() + "_..." }

// Hash is what to keep of a key. A random key of 190 bits needs no slow hash.
func (k APIKey) Hash() [32]byte { return sha256.Sum256([]byte(k.text)) }

// Matches compares with a kept hash in constant time.
func (k APIKey) Matches(hash []byte) bool {
	h := k.Hash()
	return subtle.ConstantTimeCompare(h[:], hash) == 1
}

func validEnv(env string) bool {
	return len(env) >= 2 && len(env) <= 8 && strings.Trim(env, "abcdefghijklmnopqrstuvwxyz") == ""
}

func check62(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var b [keyCheck]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = base62[sum%62]
		sum /= 62
	}
	return string(b[:])
}
