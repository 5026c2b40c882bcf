package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"forg/sync/api"
)

// Session is the TokenSource of a login: it refreshes the tokens when they are about to expire, or were refused, so that of
// all processes of a device only one does. It is safe for concurrent use.
type Session struct {
	store   *Store
	login   Login
	refresh func(ctx context.Context, token string) (api.TokenResponse, error)

	mu sync.Mutex
	at tokens // as far as this process knows
}

// Open is a client with the login of a store. The address in o.Server may be empty; if it is not, the login must be for it.
// Errors: ErrLoggedOut, *OtherServerError, those of New.
func Open(o Options, s *Store) (*Client, Login, error) {
	l, err := s.read()
	if err != nil {
		return nil, Login{}, err
	}
	if o.Server != "" {
		want, err := Normalize(o.Server)
		if err != nil {
			return nil, Login{}, err
		}
		if want != l.Server {
			return nil, l.Login, &OtherServerError{Want: want, Login: l.Login}
		}
	}
	o.Server, o.Tokens = l.Server, nil
	c, err := New(o)
	if err != nil {
		return nil, l.Login, err
	}
	return c.With(&Session{store: s, login: l.Login, refresh: c.Refresh}), l.Login, nil
}

// OtherServerError says that somebody is logged in, but not at the server that is wanted.
type OtherServerError struct {
	Want  string
	Login Login
}

func (e *OtherServerError) Error() string {
	return fmt.Sprintf("%v at %s: the login of this device is for %s", ErrLoggedOut, e.Want, e.Login.Server)
}

// Unwrap is ErrLoggedOut.
func (e *OtherServerError) Unwrap() error { return ErrLoggedOut }

// Token is an access token that is good for some time yet.
func (s *Session) Token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good(s.at) {
		return s.at.Access, nil
	}
	l, err := s.read()
	if err != nil {
		return "", err
	}
	if s.at, err = s.store.secrets(&l); err != nil {
		return "", err
	}
	if s.good(s.at) {
		return s.at.Access, nil
	}
	return s.renew(ctx, s.at.Access)
}

// Renew is another access token than the one that was refused.
func (s *Session) Renew(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.Access != refused && s.good(s.at) {
		return s.at.Access, nil
	}
	return s.renew(ctx, refused)
}

func (s *Session) good(t tokens) bool { return t.Access != "" && s.store.now().Before(t.Until) }

// read reads the login, which may have become another one since this process began.
func (s *Session) read() (savedLogin, error) {
	l, err := s.store.read()
	if err != nil {
		return l, err
	}
	if l.Server != s.login.Server || l.UserID != s.login.UserID || l.DeviceID != s.login.DeviceID {
		return l, fmt.Errorf("%w any more: somebody has logged in as %s meanwhile", ErrLoggedOut, l.Email)
	}
	return l, nil
}

// renew takes the tokens that another process has got meanwhile, or refreshes them itself, under the lock.
//
// A refresh token is good once, so from the moment that one is sent its answer must be kept: that is not given up when the
// caller gives up, but only a little later. If the answer is lost the same token can be sent again for a minute.
func (s *Session) renew(ctx context.Context, refused string) (string, error) {
	unlock, err := s.store.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	l, err := s.read()
	if err != nil {
		return "", err
	}
	if s.at, err = s.store.secrets(&l); err != nil {
		return "", err
	}
	if s.at.Access != refused && s.good(s.at) {
		return s.at.Access, nil
	}
	if s.at.Refresh == "" {
		return "", fmt.Errorf("%w: there is no token to refresh the login with", ErrLoggedOut)
	}
	fresh, err := s.exchange(ctx, s.at.Refresh)
	if e, ok := asError(err); ok && (e.Code == api.CodeUnauthenticated || e.Code == api.CodeDeviceRevoked) {
		l.Ended, l.tokens = true, tokens{}
		inKeyring := l.KeptIn == InKeyring
		if _, _, werr := s.store.write(l, false); werr == nil && inKeyring {
			_ = s.store.removeSecret(l.item()) // nobody can use it any more
		}
		s.at = tokens{}
		return "", fmt.Errorf("%w: the session at %s has ended", ErrLoggedOut, l.Server)
	}
	if err != nil {
		return "", err
	}
	l.tokens = s.store.received(fresh)
	s.at = l.tokens
	// What the keyring does not take goes into the file: a token that is lost is a login that is lost.
	if _, _, err := s.store.write(l, l.KeptIn == InKeyring); err != nil {
		return "", err
	}
	return s.at.Access, nil
}

// The attempts at a refresh whose answer does not come are over well within the minute in which the server answers the same
// token again.
const (
	refreshTries = 3
	refreshGrace = 3 * time.Second // that a refresh under way gets when its caller gives up
)

func (s *Session) exchange(ctx context.Context, token string) (t api.TokenResponse, err error) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(refreshGrace, cancel) })()
	var pauses Backoff
	for try := 1; ; try++ {
		t, err = s.refresh(own, token)
		if err == nil && (t.AccessToken == "" || t.RefreshToken == "") {
			return t, fmt.Errorf("refresh the login: %w: it has no tokens", ErrForeign)
		}
		_, answered := asError(err)
		if err == nil || answered || try == refreshTries || ctx.Err() != nil {
			return t, err
		}
		select {
		case <-time.After(pauses.Next(err)):
		case <-own.Done():
			return t, errors.Join(err, context.Cause(own))
		}
	}
}
