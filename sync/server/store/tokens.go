package store

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// APIKey is programmatic access. The key itself is shown once and never kept.
type APIKey struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	Name       string
	Prefix     string    // the visible part that finds the key; unique
	Hash       []byte    // SHA-256 of the whole key
	Scopes     []string  // read, push, commands, admin
	DeviceID   uuid.UUID // the only device it may speak for; uuid.Nil: any
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // zero: never; exact to a minute
	CreatedAt  time.Time
}

// CreateAPIKey adds a key of k.UserID and returns it with ID and times.
func (s *Store) CreateAPIKey(ctx context.Context, k APIKey) (APIKey, error) { panic("soon") }

// APIKeys are the user's keys, newest first, without hashes.
func (s *Store) APIKeys(ctx context.Context, user uuid.UUID) ([]APIKey, error) { panic("soon") }

// DeleteAPIKey ends a key at once. ErrNotFound.
func (s *Store) DeleteAPIKey(ctx context.Context, user, id uuid.UUID) error { panic("soon") }

// APIKeyByPrefix finds the key that somebody presents, with its user; whether the hash fits and whether it has expired is
// for the caller to see. ErrNotFound.
func (s *Store) APIKeyByPrefix(ctx context.Context, prefix string) (APIKey, User, error) {
	panic("soon")
}

// APIKeyUsed writes down that the key was used, at most once a minute.
func (s *Store) APIKeyUsed(ctx context.Context, k APIKey) error { panic("soon") }

// Session is a login on a device: a family of refresh tokens, of which one is current. Its ID is the `sid` of access
// tokens.
type Session struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	DeviceID  uuid.UUID // uuid.Nil: no device, a browser say
	Agent     string    // what the client calls itself
	CreatedAt time.Time
	ExpiresAt time.Time // absolute, however often it is refreshed
	RevokedAt time.Time // zero: lives
	Why       string    // it was revoked: logout, password, reuse, device, inactive
}

// RefreshToken is one token of a session.
type RefreshToken struct {
	Hash      []byte // SHA-256 of the token
	SessionID uuid.UUID
	IssuedAt  time.Time
	ExpiresAt time.Time
	RotatedAt time.Time // when a successor was first made; zero: none yet
	Successor []byte    // the hash of the latest one
	VoidedAt  time.Time // when another took its place before it was used; zero: never
}

// Presented is a refresh token that somebody presents, with what it takes to decide what becomes of it.
type Presented struct {
	Token         RefreshToken
	Session       Session
	SuccessorUsed bool // the successor was presented already
	Now           time.Time
}

// Verdict is what becomes of a presented token.
type Verdict int

// The verdicts.
const (
	Refuse  Verdict = iota // the session is over already, or the token has expired: nothing changes
	Rotate                 // the token is current: Next becomes its successor
	Replace                // the answer got lost: Next takes the place of the unused successor
	Revoke                 // the token was stolen: the session ends
)

// StartSession adds a session and its first token.
func (s *Store) StartSession(ctx context.Context, session Session, first RefreshToken) (Session, error) {
	panic("soon")
}

// Refresh lets rule decide about the token with that hash and carries out the verdict; meanwhile no other token of the
// session can be presented. rule gets the row, and returns the verdict and, for Rotate and Replace, the next token (hash
// and expiry). It must not call the store. The session and its user are returned for whatever verdict. ErrNotFound: no
// such token.
func (s *Store) Refresh(ctx context.Context, hash []byte, rule func(Presented) (Verdict, RefreshToken)) (Verdict, Session, User, error) {
	panic("soon")
}

// SessionLives reports whether the session of an access token still lives and its user is active.
func (s *Store) SessionLives(ctx context.Context, user, session uuid.UUID) (bool, error) {
	panic("soon")
}

// Sessions are the user's living sessions, newest first.
func (s *Store) Sessions(ctx context.Context, user uuid.UUID) ([]Session, error) { panic("soon") }

// EndSession ends a session; one that is over stays as it is. ErrNotFound.
func (s *Store) EndSession(ctx context.Context, user, session uuid.UUID, why string) error {
	panic("soon")
}
