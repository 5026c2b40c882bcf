package store

import (
	"context"
	"fmt"
	"strings"
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
func (s *Store) CreateAPIKey(ctx context.Context, k APIKey) (APIKey, error) {
	k.ID, k.CreatedAt, k.LastUsedAt = newID(), s.now(), time.Time{}
	err := s.as(ctx, k.UserID, func(t tx) error {
		_, err := t.exec(ctx, "insert into api_keys ("+keyColumns+", key_hash) values ($1, $2, $3, $4, $5, $6, $7, null, $8, $9)",
			k.ID, k.UserID, k.Name, k.Prefix, strings.Join(k.Scopes, " "), k.DeviceID, k.ExpiresAt, k.CreatedAt, k.Hash)
		return err
	})
	if orphan(err) {
		err = ErrNotFound
	}
	if err != nil {
		return APIKey{}, fmt.Errorf("create API key: %w", err)
	}
	return k, nil
}

const keyColumns = "id, user_id, name, prefix, scopes, device_id, expires_at, last_used_at, created_at"

func scanKey(r rows, k *APIKey, more ...any) error {
	var scopes string
	err := r.scan(append([]any{&k.ID, &k.UserID, &k.Name, &k.Prefix, &scopes, &k.DeviceID, &k.ExpiresAt, &k.LastUsedAt, &k.CreatedAt}, more...)...)
	k.Scopes = strings.Fields(scopes)
	return err
}

// APIKeys are the user's keys, newest first, without hashes.
func (s *Store) APIKeys(ctx context.Context, user uuid.UUID) ([]APIKey, error) {
	var keys []APIKey
	err := s.db.read(ctx, scope{user: user}, "select "+keyColumns+" from api_keys where user_id = $1 order by created_at desc, id desc",
		[]any{user}, func(r rows) error {
			var k APIKey
			err := scanKey(r, &k)
			keys = append(keys, k)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return keys, nil
}

// DeleteAPIKey ends a key at once. ErrNotFound.
func (s *Store) DeleteAPIKey(ctx context.Context, user, id uuid.UUID) error {
	return s.change(ctx, "delete API key", user, "delete from api_keys where user_id = $1 and id = $2", id)
}

// APIKeyByPrefix finds the key that somebody presents, with its user; whether the hash fits and whether it has expired is
// for the caller to see. ErrNotFound.
func (s *Store) APIKeyByPrefix(ctx context.Context, prefix string) (APIKey, User, error) {
	var k APIKey
	err := s.db.read(ctx, scope{system: true}, "select "+keyColumns+", key_hash from api_keys where prefix = $1", []any{prefix},
		func(r rows) error { return scanKey(r, &k, &k.Hash) })
	if err == nil && k.ID == uuid.Nil {
		err = ErrNotFound
	}
	if err != nil {
		return APIKey{}, User{}, fmt.Errorf("find API key: %w", err)
	}
	u, err := s.UserByID(ctx, k.UserID)
	return k, u, err
}

// APIKeyUsed writes down that the key was used, at most once a minute.
func (s *Store) APIKeyUsed(ctx context.Context, k APIKey) error {
	now := s.now()
	if now.Sub(k.LastUsedAt) < time.Minute {
		return nil
	}
	err := s.as(ctx, k.UserID, func(t tx) error {
		_, err := t.exec(ctx, "update api_keys set last_used_at = $3 where user_id = $1 and id = $2 and (last_used_at is null or last_used_at < $4)",
			k.UserID, k.ID, now, now.Add(-time.Minute))
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of an API key: %w", err)
	}
	return nil
}

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
	if session.ID == uuid.Nil {
		session.ID = newID()
	}
	session.CreatedAt, session.RevokedAt, session.Why = s.now(), time.Time{}, ""
	first.SessionID, first.IssuedAt = session.ID, session.CreatedAt
	err := s.as(ctx, session.UserID, func(t tx) error {
		_, err := t.exec(ctx, "insert into sessions ("+sessionColumns+") values ($1, $2, $3, $4, $5, $6, null, '')",
			session.ID, session.UserID, session.DeviceID, session.Agent, session.CreatedAt, session.ExpiresAt)
		if err != nil {
			return err
		}
		return insertToken(ctx, t, session.UserID, first)
	})
	if orphan(err) {
		err = ErrNotFound
	}
	if err != nil {
		return Session{}, fmt.Errorf("start session: %w", err)
	}
	return session, nil
}

const sessionColumns = "id, user_id, device_id, agent, created_at, expires_at, revoked_at, why"

func (x *Session) fields() []any {
	return []any{&x.ID, &x.UserID, &x.DeviceID, &x.Agent, &x.CreatedAt, &x.ExpiresAt, &x.RevokedAt, &x.Why}
}

func insertToken(ctx context.Context, t tx, user uuid.UUID, r RefreshToken) error {
	_, err := t.exec(ctx, "insert into refresh_tokens (hash, session_id, user_id, issued_at, expires_at) values ($1, $2, $3, $4, $5)",
		r.Hash, r.SessionID, user, r.IssuedAt, r.ExpiresAt)
	return err
}

// Refresh lets rule decide about the token with that hash and carries out the verdict; meanwhile no other token of the
// session can be presented. rule gets the row, and returns the verdict and, for Rotate and Replace, the next token (hash
// and expiry). It must not call the store. The session and its user are returned for whatever verdict. ErrNotFound: no
// such token.
func (s *Store) Refresh(ctx context.Context, hash []byte, rule func(Presented) (Verdict, RefreshToken)) (Verdict, Session, User, error) {
	var verdict Verdict
	var p Presented
	var u User
	var stored int64
	err := s.system(ctx, func(t tx) error {
		// Whoever presents a token of the session waits here for whoever else does.
		if err := one(ctx, t, `select `+sessionColumns+` from sessions
			where id = (select session_id from refresh_tokens where hash = $1)`+t.dialect().forUpdate, []any{hash}, p.Session.fields()...); err != nil {
			return err
		}
		k := &p.Token
		if err := one(ctx, t, "select hash, session_id, issued_at, expires_at, rotated_at, successor, voided_at from refresh_tokens where hash = $1",
			[]any{hash}, &k.Hash, &k.SessionID, &k.IssuedAt, &k.ExpiresAt, &k.RotatedAt, &k.Successor, &k.VoidedAt); err != nil {
			return err
		}
		if k.Successor != nil {
			err := one(ctx, t, "select rotated_at is not null from refresh_tokens where hash = $1", []any{k.Successor}, &p.SuccessorUsed)
			if err != nil {
				return err
			}
		}
		if err := one(ctx, t, "select "+userColumns+" from users where id = $1", []any{p.Session.UserID}, s.userFields(&u, &stored)...); err != nil {
			return err
		}
		p.Now = s.now()
		var next RefreshToken
		verdict, next = rule(p)
		switch verdict {
		case Rotate, Replace:
			next.SessionID, next.IssuedAt = p.Session.ID, p.Now
			if err := insertToken(ctx, t, p.Session.UserID, next); err != nil {
				return err
			}
			if _, err := t.exec(ctx, "update refresh_tokens set voided_at = $2 where hash = $1 and voided_at is null", k.Successor, p.Now); err != nil {
				return err
			}
			_, err := t.exec(ctx, "update refresh_tokens set rotated_at = coalesce(rotated_at, $2), successor = $3 where hash = $1",
				hash, p.Now, next.Hash)
			return err
		case Revoke:
			_, err := t.exec(ctx, "update sessions set revoked_at = $2, why = 'reuse' where id = $1 and revoked_at is null", p.Session.ID, p.Now)
			p.Session.RevokedAt, p.Session.Why = p.Now, "reuse"
			return err
		}
		return nil
	})
	if err != nil {
		return Refuse, Session{}, User{}, fmt.Errorf("refresh: %w", err)
	}
	s.theirMonth(&u, stored)
	return verdict, p.Session, u, nil
}

// SessionLives reports whether the session of an access token still lives and its user is active.
func (s *Store) SessionLives(ctx context.Context, user, session uuid.UUID) (bool, error) {
	var n int64
	err := s.view(ctx, scope{user: user}, `select count(*) from sessions s join users u on u.id = s.user_id
		where s.user_id = $1 and s.id = $2 and s.revoked_at is null and s.expires_at > $3 and u.is_active`, []any{user, session, s.now()}, &n)
	if err != nil {
		return false, fmt.Errorf("look for the session: %w", err)
	}
	return n > 0, nil
}

// Sessions are the user's living sessions, newest first.
func (s *Store) Sessions(ctx context.Context, user uuid.UUID) ([]Session, error) {
	var all []Session
	err := s.db.read(ctx, scope{user: user}, "select "+sessionColumns+` from sessions where user_id = $1 and revoked_at is null and expires_at > $2
		order by created_at desc, id desc`, []any{user, s.now()}, func(r rows) error {
		var x Session
		err := r.scan(x.fields()...)
		all = append(all, x)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return all, nil
}

// EndSession ends a session; one that is over stays as it is. ErrNotFound.
func (s *Store) EndSession(ctx context.Context, user, session uuid.UUID, why string) error {
	return s.change(ctx, "end session", user, `update sessions set revoked_at = coalesce(revoked_at, $3),
		why = case when revoked_at is null then $4 else why end where user_id = $1 and id = $2`, session, s.now(), why)
}
