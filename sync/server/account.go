package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

const exportPath = "/api/v1/auth/me/export"

// signupRate is how many accounts one address may make.
var signupRate = rate{60, time.Minute}

func (s *server) accountRoutes() {
	route(s, public, huma.Operation{OperationID: "signup", Method: "POST", Path: "/api/v1/auth/signup", Summary: "Register",
		Tags: []string{"Account"}, DefaultStatus: 201, Errors: []int{403, 409}}, s.signup)
	route(s, public, huma.Operation{OperationID: "login", Method: "POST", Path: "/api/v1/auth/login", Summary: "Log in",
		Tags: []string{"Account"}, Errors: []int{401, 409}}, s.logIn)
	route(s, public, huma.Operation{OperationID: "refresh", Method: "POST", Path: "/api/v1/auth/refresh", Summary: "Exchange a refresh token for new tokens",
		Description: "Every refresh token is good once. One that is presented again ends the session, except for the last one for 60 s while what it was " +
			"exchanged for is unused.", Tags: []string{"Account"}, Errors: []int{401}}, s.refresh)
	route(s, ofSession, huma.Operation{OperationID: "logout", Method: "POST", Path: "/api/v1/auth/logout", Summary: "End the session",
		Tags: []string{"Account"}, DefaultStatus: 204}, s.logOut)
	route(s, ofSession, huma.Operation{OperationID: "changePassword", Method: "POST", Path: "/api/v1/auth/password", Summary: "Change the password",
		Description: "Ends all sessions, this one too.", Tags: []string{"Account"}, DefaultStatus: 204}, s.changePassword)
	route(s, reads, huma.Operation{OperationID: "me", Method: "GET", Path: "/api/v1/auth/me", Summary: "The account",
		Tags: []string{"Account"}}, s.me)
	route(s, manages, huma.Operation{OperationID: "eraseMe", Method: "DELETE", Path: "/api/v1/auth/me", Summary: "Erase the account and all that is kept of it",
		Description: "Files are not touched. There is no way back.", Tags: []string{"Account"}, DefaultStatus: 204}, s.eraseMe)
	export := huma.Operation{OperationID: "export", Method: "GET", Path: exportPath, Summary: "Everything that is kept of the account",
		Description: `Lines of JSON, {"type": ..., "data": ...}; the last one has the type "end".`, Tags: []string{"Account"},
		Responses: s.answers(200, "application/x-ndjson", "All data", exported{})}
	s.plain(manages, export, s.export)
}

func toUser(u store.User) api.User {
	return api.User{ID: u.ID, Email: u.Email, FullName: u.FullName, IsActive: u.Active, IsVerified: u.Verified, SubscriptionTier: api.Tier(u.Tier),
		SubscriptionStatus: u.SubscriptionStatus, SubscriptionExpiresAt: orNull(u.SubscriptionExpires), OperationsThisMonth: u.OperationsThisMonth,
		StorageBytesManaged: u.StorageBytesManaged, Timezone: u.Timezone, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, LastLoginAt: orNull(u.LastLoginAt)}
}

func (s *server) signup(ctx context.Context, in *jsonOf[api.SignupRequest]) (*jsonOf[api.User], error) {
	if !s.cfg.Signup {
		return nil, newProblem(api.CodeForbidden, "registration is closed here: ask the operator for an account")
	}
	email, err := auth.NormalEmail(in.Body.Email)
	if err != nil {
		return nil, invalid("body.email", err.Error())
	}
	if err := s.passwords.CheckPolicy(in.Body.Password, email); err != nil {
		return nil, invalid("body.password", err.Error())
	}
	if zone := in.Body.Timezone; strings.Trim(zone, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/") != "" {
		return nil, invalid("body.timezone", "is no name of a time zone")
	}
	if t := s.limits.take(ctx, "signup:"+requestOf(ctx).address, signupRate); !t.ok {
		return nil, tooFast(api.CodeRateLimited, t.wait)
	}
	hash, err := s.passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	u, err := s.store.CreateUser(ctx, store.User{Email: email, PasswordHash: hash, FullName: in.Body.FullName, Active: true, Timezone: in.Body.Timezone})
	if err != nil {
		return nil, err
	}
	s.audit(ctx, u.ID, "auth.signup", u.ID)
	return &jsonOf[api.User]{toUser(u)}, nil
}

// audited is what the trail of a user says of a request.
func audited(ctx context.Context, user uuid.UUID, action string, target uuid.UUID) store.AuditEvent {
	r := requestOf(ctx)
	e := store.AuditEvent{UserID: user, Actor: "user:" + user.String(), Action: action, Target: target.String(), Address: r.address, Request: r.id}
	if r.who != nil {
		e.Actor = r.who.actor()
	}
	return e
}

// audit writes down what was done; that it could not be written down does not undo it.
func (s *server) audit(ctx context.Context, user uuid.UUID, action string, target uuid.UUID) {
	if err := s.store.Audit(context.WithoutCancel(ctx), audited(ctx, user, action, target)); err != nil && !errors.Is(err, store.ErrNotFound) {
		s.log.Error("audit", "action", action, "error", err)
	}
}

func (s *server) logIn(ctx context.Context, in *jsonOf[api.LoginRequest]) (*jsonOf[api.TokenResponse], error) {
	wrong := unauthenticated("the e-mail address or the password is wrong")
	email, err := auth.NormalEmail(in.Body.Email)
	if err != nil {
		email = "" // nobody has it; it takes as long to say
	}
	succeeded, err := s.login.begin(ctx, email, requestOf(ctx).address)
	if err != nil {
		return nil, err
	}
	u, err := s.store.UserByEmail(ctx, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	ok, better, err := s.passwords.Verify(ctx, u.PasswordHash, in.Body.Password)
	if err != nil {
		if _, busy := errors.AsType[*auth.BusyError](err); busy {
			succeeded() // it was no guess
		}
		return nil, err
	}
	if !ok || !u.Active {
		if u.ID != uuid.Nil { // while the answer is on its way: it must not take longer for an account that exists
			ctx := context.WithoutCancel(ctx)
			go s.audit(ctx, u.ID, "auth.login_failed", u.ID)
		}
		return nil, wrong
	}
	succeeded()
	if err := s.store.LoggedIn(ctx, u.ID, better); err != nil {
		return nil, err
	}
	session := store.Session{UserID: u.ID, ExpiresAt: s.cfg.Now().Add(auth.FamilyLifetime)}
	if d := in.Body.Device; d != nil {
		if d.ID == uuid.Nil {
			return nil, invalid("body.device.id", "is missing")
		}
		if _, err := s.store.PutDevice(ctx, store.Device{ID: d.ID, UserID: u.ID, Name: d.Name, Platform: d.Platform}); err != nil {
			return nil, err
		}
		session.DeviceID, session.Agent = d.ID, d.Name
	}
	token, hash := auth.NewRefreshToken()
	session, err = s.store.StartSession(ctx, session, store.RefreshToken{Hash: hash[:], ExpiresAt: s.cfg.Now().Add(auth.RefreshLifetime)})
	if err != nil {
		return nil, err
	}
	s.audit(ctx, u.ID, "auth.login", session.ID)
	return s.tokensFor(u.ID, session, token)
}

func (s *server) tokensFor(user uuid.UUID, x store.Session, refresh string) (*jsonOf[api.TokenResponse], error) {
	access, err := s.tokens.Issue(user, x.ID, x.DeviceID)
	if err != nil {
		return nil, err
	}
	return &jsonOf[api.TokenResponse]{api.TokenResponse{AccessToken: access, RefreshToken: refresh, TokenType: "bearer",
		ExpiresIn: int(s.tokens.Lifetime().Seconds())}}, nil
}

func (s *server) refresh(ctx context.Context, in *jsonOf[api.RefreshRequest]) (*jsonOf[api.TokenResponse], error) {
	wrong := unauthenticated("the refresh token is not valid: log in again")
	hash, err := auth.HashRefreshToken(in.Body.RefreshToken)
	if err != nil {
		return nil, wrong
	}
	token, fresh := auth.NewRefreshToken()
	verdict, session, u, err := s.store.Refresh(ctx, hash[:], func(p store.Presented) (store.Verdict, store.RefreshToken) {
		d := auth.DecideRefresh(auth.RefreshRow{FamilyStarted: p.Session.CreatedAt, FamilyRevoked: !p.Session.RevokedAt.IsZero(), IssuedAt: p.Token.IssuedAt,
			RotatedAt: p.Token.RotatedAt, Voided: !p.Token.VoidedAt.IsZero(), SuccessorRotated: p.SuccessorUsed}, p.Now)
		v := map[auth.RefreshDecision]store.Verdict{auth.RefreshRefuse: store.Refuse, auth.RefreshRotate: store.Rotate,
			auth.RefreshReplace: store.Replace, auth.RefreshRevoke: store.Revoke}[d]
		return v, store.RefreshToken{Hash: fresh[:], ExpiresAt: p.Now.Add(auth.RefreshLifetime)}
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, wrong
	}
	if err != nil {
		return nil, err
	}
	switch verdict {
	case store.Rotate, store.Replace:
		if !u.Active {
			return nil, wrong
		}
		return s.tokensFor(u.ID, session, token)
	case store.Revoke:
		s.sessions.forget(u.ID)
		s.audit(ctx, u.ID, "auth.refresh_reused", session.ID)
	}
	return nil, wrong
}

func (s *server) logOut(ctx context.Context, _ *nothing) (*nothing, error) {
	id := who(ctx)
	if err := s.store.EndSession(ctx, id.user, id.session, "logout"); err != nil {
		return nil, err
	}
	s.sessions.forget(id.user)
	s.audit(ctx, id.user, "auth.logout", id.session)
	return nil, nil
}

func (s *server) changePassword(ctx context.Context, in *jsonOf[api.PasswordRequest]) (*nothing, error) {
	u, err := s.store.UserByID(ctx, who(ctx).user)
	if err != nil {
		return nil, err
	}
	if err := s.passwords.CheckPolicy(in.Body.NewPassword, u.Email); err != nil {
		return nil, invalid("body.new_password", err.Error())
	}
	succeeded, err := s.login.begin(ctx, u.Email, requestOf(ctx).address)
	if err != nil {
		return nil, err
	}
	ok, _, err := s.passwords.Verify(ctx, u.PasswordHash, in.Body.OldPassword)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalid("body.old_password", "is wrong")
	}
	succeeded()
	hash, err := s.passwords.Hash(ctx, in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	if err := s.store.SetPassword(ctx, u.ID, hash, uuid.Nil); err != nil {
		return nil, err
	}
	s.sessions.forget(u.ID)
	s.audit(ctx, u.ID, "auth.password", u.ID)
	return nil, nil
}

func (s *server) me(ctx context.Context, _ *nothing) (*jsonOf[api.User], error) {
	u, err := s.store.UserByID(ctx, who(ctx).user)
	if err != nil {
		return nil, err
	}
	return &jsonOf[api.User]{toUser(u)}, nil
}

func (s *server) eraseMe(ctx context.Context, _ *nothing) (*nothing, error) {
	id := who(ctx)
	all, err := s.store.Locations(ctx, id.user)
	if err != nil {
		return nil, err
	}
	if err := s.store.DeleteUser(ctx, id.user); err != nil {
		return nil, err
	}
	s.sessions.forget(id.user)
	for _, l := range all { // what a worker on another machine has, it removes when it next looks
		if err := os.RemoveAll(placeDir(s.cfg.DataDir, l.ID)); err != nil {
			s.log.Error("erase the journal of a location", "location", l.ID.String(), "error", err)
		}
	}
	return nil, nil
}

// exported is a line of an export.
type exported struct {
	Type string `json:"type" doc:"user, device, location, rules, api_key, session, keys, operation, command, entry, audit or end."`
	Data any    `json:"data"`
}

func (s *server) export(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), who(r.Context())
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="forg-export.ndjson"`)
	out := newStream(w)
	line := json.NewEncoder(out)
	err := s.store.Export(ctx, id.user, func(what string, v any) error {
		switch x := v.(type) {
		case store.User:
			v = toUser(x)
		case store.Device:
			v = toDevice(x)
		case store.APIKey:
			v = toKey(x)
		case store.Operation:
			v = toOperation(x)
		case store.Command:
			v = toCommand(x)
		case store.Session:
			v = map[string]any{"id": x.ID, "device_id": orNone(x.DeviceID), "agent": x.Agent, "created_at": x.CreatedAt, "expires_at": x.ExpiresAt}
		case store.Location:
			v = map[string]any{"id": x.ID, "name": x.Name, "root": x.Root, "created_at": x.CreatedAt}
		case store.RuleSet:
			v = map[string]any{"location_id": x.LocationID, "name": x.Name, "source": x.Source, "created_at": x.CreatedAt}
		case store.AuditEvent:
			v = map[string]any{"n": x.N, "at": x.At, "actor": x.Actor, "action": x.Action, "target": x.Target, "address": x.Address, "request": x.Request,
				"detail": x.Detail}
		}
		return line.Encode(exported{what, v})
	})
	if err == nil {
		err = line.Encode(exported{Type: "end"})
	}
	if err == nil {
		err = out.flush()
	}
	return out.end(s, r, err)
}

// stream is an answer of any length. As long as the client reads it may take its time.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	pending int
}

// stall is how long a client may take to read what a stream has written.
const stall = 30 * time.Second

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

func (t *stream) Write(b []byte) (int, error) {
	t.begun = true
	if t.pending == 0 {
		if err := t.control.SetWriteDeadline(time.Now().Add(stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
	}
	n, err := t.w.Write(b)
	if t.pending += n; err == nil && t.pending > 256<<10 {
		err = t.flush()
	}
	return n, err
}

func (t *stream) flush() error {
	t.pending = 0
	if err := t.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end makes of an error a problem, or, when some was written already, a connection that breaks off: half an answer must
// not pass for a whole one.
func (t *stream) end(s *server, r *http.Request, err error) error {
	if err == nil || !t.begun {
		if err != nil {
			t.w.Header().Del("Content-Disposition")
		}
		return err
	}
	if r.Context().Err() == nil {
		s.log.Warn("stream broke off", "request", requestOf(r.Context()).id, "error", err)
	}
	panic(http.ErrAbortHandler)
}
