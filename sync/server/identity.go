package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

// access is who may use a route.
type access struct {
	free    bool // never held to a rate: whoever watches the service must not be told to come back later
	public  bool
	scope   auth.Scope // an API key needs it; a session has every scope
	session bool       // no API key at all: it is about the session
}

// identity is who asks.
type identity struct {
	user    uuid.UUID
	tier    api.Tier
	session uuid.UUID // uuid.Nil: an API key
	key     uuid.UUID // uuid.Nil: a session
	device  uuid.UUID // the only device that it speaks for; uuid.Nil: any of the user's
	scopes  []auth.Scope
}

// actor is who asks, for the audit trail.
func (id *identity) actor() string {
	if id.key != uuid.Nil {
		return "key:" + id.key.String()
	}
	return "session:" + id.session.String()
}

// who is the identity of an authenticated request.
func who(ctx context.Context) *identity { return requestOf(ctx).who }

func unauthenticated(detail string) *problem {
	p := newProblem(api.CodeUnauthenticated, detail)
	p.header = http.Header{"Www-Authenticate": {`Bearer realm="forg"`}}
	return p
}

// admit lets a request pass that may use a route with this access: credentials first, then scope, then rate.
func (s *server) admit(ctx context.Context, a access, authorization string, header http.Header) error {
	r := requestOf(ctx)
	if a.free {
		return nil
	}
	if a.public {
		return s.limits.allow(ctx, "a:"+r.address, s.cfg.RateLimits[api.TierFree], header)
	}
	scheme, bearer, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") || bearer == "" {
		return unauthenticated("an access token or API key is needed: Authorization: Bearer ...")
	}
	id, err := s.authenticate(ctx, strings.TrimSpace(bearer))
	if err != nil {
		return err
	}
	r.who = id
	if err := s.limits.allow(ctx, "u:"+id.user.String(), s.cfg.RateLimits[id.tier], header); err != nil {
		return err
	}
	switch {
	case a.session && id.session == uuid.Nil:
		return newProblem(api.CodeForbidden, "this is for sessions, not for API keys")
	case !auth.Allows(id.scopes, a.scope):
		return newProblem(api.CodeForbidden, "the API key lacks the scope "+string(a.scope))
	}
	return nil
}

func (s *server) authenticate(ctx context.Context, bearer string) (*identity, error) {
	if auth.IsAPIKey(bearer) {
		k, err := auth.ParseAPIKey(bearer)
		if err != nil {
			return nil, unauthenticated("this is no API key")
		}
		return s.sessions.key(ctx, k)
	}
	c, err := s.tokens.Verify(bearer)
	if errors.Is(err, auth.ErrTokenExpired) {
		return nil, unauthenticated(err.Error())
	}
	if err != nil {
		return nil, unauthenticated("the access token is not valid")
	}
	return s.sessions.session(ctx, c)
}

// sessionCache remembers for a moment that a session or API key is good, so that not every request asks the database. What
// this process itself ends is forgotten at once; what another one ends, after believed.
type sessionCache struct {
	store *store.Store
	now   func() time.Time
	mu    sync.Mutex
	all   map[[32]byte]believedIdentity
}

type believedIdentity struct {
	id    *identity
	until time.Time
}

const (
	believed   = 2 * time.Second
	maxCached  = 100_000
	keyRevoked = "the API key is wrong, has expired or was revoked"
)

func newSessionCache(st *store.Store, now func() time.Time) *sessionCache {
	return &sessionCache{store: st, now: now, all: map[[32]byte]believedIdentity{}}
}

func (c *sessionCache) get(at [32]byte) *identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.all[at]
	if !ok || !c.now().Before(b.until) {
		return nil
	}
	return b.id
}

func (c *sessionCache) put(at [32]byte, id *identity, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.all) >= maxCached {
		for k, b := range c.all {
			if !now.Before(b.until) {
				delete(c.all, k)
			}
		}
		if len(c.all) >= maxCached {
			clear(c.all)
		}
	}
	if t := now.Add(believed); until.IsZero() || t.Before(until) {
		until = t
	}
	c.all[at] = believedIdentity{id, until}
}

// forget makes the next request of a user ask the database.
func (c *sessionCache) forget(user uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, b := range c.all {
		if b.id.user == user {
			delete(c.all, k)
		}
	}
}

func (c *sessionCache) session(ctx context.Context, claims auth.Claims) (*identity, error) {
	var at [32]byte
	copy(at[:], claims.UserID[:])
	copy(at[16:], claims.SessionID[:])
	if id := c.get(at); id != nil && id.device == claims.DeviceID {
		return id, nil
	}
	live, err := c.store.SessionLives(ctx, claims.UserID, claims.SessionID)
	if err != nil {
		return nil, err
	}
	if !live {
		return nil, unauthenticated("the session has ended")
	}
	u, err := c.store.UserByID(ctx, claims.UserID)
	if err != nil {
		return nil, err
	}
	id := &identity{user: u.ID, tier: api.Tier(u.Tier), session: claims.SessionID, device: claims.DeviceID, scopes: []auth.Scope{auth.ScopeAdmin}}
	c.put(at, id, time.Time{})
	return id, nil
}

func (c *sessionCache) key(ctx context.Context, k auth.APIKey) (*identity, error) {
	at := sha256.Sum256([]byte("key " + k.Text()))
	if id := c.get(at); id != nil {
		return id, nil
	}
	row, u, err := c.store.APIKeyByPrefix(ctx, k.Prefix())
	if errors.Is(err, store.ErrNotFound) {
		return nil, unauthenticated(keyRevoked)
	}
	if err != nil {
		return nil, err
	}
	if !k.Matches(row.Hash) || !u.Active || !row.ExpiresAt.IsZero() && !c.now().Before(row.ExpiresAt) {
		return nil, unauthenticated(keyRevoked)
	}
	scopes, err := auth.ParseScopes(row.Scopes)
	if err != nil {
		return nil, err
	}
	if err := c.store.APIKeyUsed(ctx, row); err != nil && !store.Full(err) { // a full disk keeps nobody from reading
		return nil, err
	}
	id := &identity{user: u.ID, tier: api.Tier(u.Tier), key: row.ID, device: row.DeviceID, scopes: scopes}
	c.put(at, id, row.ExpiresAt)
	return id, nil
}
