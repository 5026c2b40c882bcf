package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Signup makes an account. Errors of note: *Error with api.CodeForbidden (registration is closed), CodeEmailTaken and
// CodeInvalid.
func (c *Client) Signup(ctx context.Context, r api.SignupRequest) (u api.User, err error) {
	err = c.ask(ctx, &call{what: "sign up", method: "POST", path: "/api/v1/auth/signup", open: true, in: r, out: &u})
	return u, err
}

// Login begins a session. A wrong password is an *Error with api.CodeUnauthenticated, a device that was shut out one with
// CodeDeviceRevoked.
func (c *Client) Login(ctx context.Context, r api.LoginRequest) (t api.TokenResponse, err error) {
	err = c.ask(ctx, &call{what: "log in", method: "POST", path: "/api/v1/auth/login", open: true, in: r, out: &t})
	return t, err
}

// Refresh exchanges a refresh token. That it is good no longer is an *Error with api.CodeUnauthenticated.
func (c *Client) Refresh(ctx context.Context, token string) (t api.TokenResponse, err error) {
	err = c.ask(ctx, &call{what: "refresh the login", method: "POST", twice: true,
		path: "/api/v1/auth/refresh", open: true, in: api.RefreshRequest{RefreshToken: token}, out: &t})
	return t, err
}

// Logout ends the session at the server.
func (c *Client) Logout(ctx context.Context) error {
	return c.ask(ctx, &call{what: "log out", method: "POST", twice: true, path: "/api/v1/auth/logout"})
}

// ChangePassword also ends all sessions, this one too.
func (c *Client) ChangePassword(ctx context.Context, before, after string) error {
	return c.ask(ctx, &call{what: "change the password", method: "POST",
		path: "/api/v1/auth/password", in: api.PasswordRequest{OldPassword: before, NewPassword: after}})
}

// Me is the account.
func (c *Client) Me(ctx context.Context) (u api.User, err error) {
	err = c.ask(ctx, &call{what: "ask for the account", method: "GET", path: "/api/v1/auth/me", out: &u})
	return u, err
}

// Erase erases the account and all that the server keeps of it.
func (c *Client) Erase(ctx context.Context) error {
	return c.ask(ctx, &call{what: "erase the account", method: "DELETE", path: "/api/v1/auth/me"})
}

// Devices are all devices and storage locations of the account.
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) {
	return all[api.Device](ctx, c, "list devices", "/api/v1/devices")
}

// RenameDevice gives a device another name.
func (c *Client) RenameDevice(ctx context.Context, device uuid.UUID, name string) (d api.Device, err error) {
	err = c.ask(ctx, &call{what: "rename the device", method: "PATCH", path: "/api/v1/devices/" + device.String(), in: api.DeviceChange{Name: name}, out: &d})
	return d, err
}

// Offer says what may be asked of a device. A server that does not know this answers api.CodeNotFound.
func (c *Client) Offer(ctx context.Context, device uuid.UUID, o api.Offers) error {
	return c.ask(ctx, &call{what: "say what may be asked of this device", method: "PUT", path: "/api/v1/devices/" + device.String() + "/offers", in: o})
}

// RevokeDevice shuts a device out for good: its sessions end, its history stays.
func (c *Client) RevokeDevice(ctx context.Context, device uuid.UUID) error {
	return c.ask(ctx, &call{what: "revoke the device", method: "DELETE", path: "/api/v1/devices/" + device.String()})
}

// APIKeys are the keys of the account, without their secrets.
func (c *Client) APIKeys(ctx context.Context) ([]api.APIKey, error) {
	return all[api.APIKey](ctx, c, "list API keys", "/api/v1/api-keys")
}

// CreateAPIKey makes a key. The answer is the only place where it is ever shown.
func (c *Client) CreateAPIKey(ctx context.Context, r api.APIKeyRequest) (k api.NewAPIKey, err error) {
	err = c.ask(ctx, &call{what: "make an API key", method: "POST", path: "/api/v1/api-keys", in: r, out: &k})
	return k, err
}

// RevokeAPIKey ends a key.
func (c *Client) RevokeAPIKey(ctx context.Context, key uuid.UUID) error {
	return c.ask(ctx, &call{what: "revoke the API key", method: "DELETE", path: "/api/v1/api-keys/" + key.String()})
}

// Capabilities is what the server speaks, and its limits. ErrNoSync: the server does not know the sync protocol.
func (c *Client) Capabilities(ctx context.Context) (caps api.Capabilities, err error) {
	err = c.ask(ctx, &call{what: "ask what the server speaks", method: "GET", path: "/api/v1/sync/capabilities", open: true, out: &caps})
	if e, ok := asError(err); ok && e.Status == http.StatusNotFound {
		return caps, fmt.Errorf("%w: %s", ErrNoSync, c.Server())
	}
	if err == nil {
		c.learn(&caps)
	}
	return caps, err
}

// State is how far each log of the account is there, and up to where the device has acknowledged what it pulled.
func (c *Client) State(ctx context.Context, device uuid.UUID) (s api.SyncState, err error) {
	err = c.ask(ctx, &call{what: "ask how far the logs are", method: "GET", path: "/api/v1/sync/state", query: ofDevice(device), out: &s, most: listBytes})
	return s, err
}

// Push adds to a log. The same push may be sent again at any time. What to do about its errors is Then of *Error.
func (c *Client) Push(ctx context.Context, r *api.PushRequest) (out api.PushResponse, err error) {
	err = c.ask(ctx, &call{what: "push", method: "POST", twice: true, path: "/api/v1/sync/push", in: r, out: &out, compress: true, time: pushTime})
	return out, err
}

// Ack tells up to where a device has committed what it pulled.
func (c *Client) Ack(ctx context.Context, device uuid.UUID, cursor int64) (a api.AckResponse, err error) {
	err = c.ask(ctx, &call{what: "acknowledge", method: "POST", twice: true,
		path: "/api/v1/sync/ack", query: ofDevice(device), in: api.AckRequest{Cursor: cursor}, out: &a})
	return a, err
}

// Commands are what a device is to do, leased to it, oldest first. An empty answer may take as long as wait, in whole
// seconds and as far as the server goes along.
func (c *Client) Commands(ctx context.Context, device uuid.UUID, wait time.Duration) ([]api.Command, error) {
	q, wait := c.waiting(ofDevice(device), wait)
	var out api.CommandsResponse
	err := c.ask(ctx, &call{what: "ask for commands", method: "GET",
		path: "/api/v1/sync/commands", query: q, out: &out, most: listBytes, time: requestTime + wait})
	return out.Commands, err
}

// Answer is a word on a command, which renews its lease.
func (c *Client) Answer(ctx context.Context, device, command uuid.UUID, u api.CommandUpdate) (out api.CommandUpdated, err error) {
	err = c.ask(ctx, &call{what: "answer the command", method: "POST", twice: true,
		path: "/api/v1/sync/commands/" + command.String(), query: ofDevice(device), in: u, out: &out})
	return out, err
}

// StartOperation asks for an operation on a device or in a storage location. The request's ID makes it safe to be sent
// again: as Idempotency-Key it gives the same operation for a day.
func (c *Client) StartOperation(ctx context.Context, r api.OperationRequest) (o api.Operation, err error) {
	err = c.ask(ctx, &call{what: "start the operation", method: "POST", path: "/api/v1/operations", in: r, out: &o, once: r.ID})
	return o, err
}

// Rollback asks the device or storage location that holds the files of an operation to undo it; the answer is the
// operation that will. r.ID makes it safe to be sent again, as in StartOperation.
func (c *Client) Rollback(ctx context.Context, op uuid.UUID, r api.RollbackRequest) (o api.Operation, err error) {
	err = c.ask(ctx, &call{what: "ask for the rollback", method: "POST", path: "/api/v1/operations/" + op.String() + "/rollback", in: r, out: &o, once: r.ID})
	return o, err
}

// Operation is one operation.
func (c *Client) Operation(ctx context.Context, op uuid.UUID) (o api.Operation, err error) {
	err = c.ask(ctx, &call{what: "ask for the operation", method: "GET", path: "/api/v1/operations/" + op.String(), out: &o})
	return o, err
}

// OperationQuery is which operations to list; zero values are no filter.
type OperationQuery struct {
	Cursor string // of the page before
	Limit  int    // 50 if 0, at most 500
	Device uuid.UUID
	Status []api.OperationStatus
	Kind   []string
	Since  time.Time
	Until  time.Time
	Path   string
}

// Operations is a page of operations, newest first.
func (c *Client) Operations(ctx context.Context, f OperationQuery) (page api.Page[api.Operation], err error) {
	q := paging(f.Cursor, f.Limit)
	if f.Device != uuid.Nil {
		q.Set("device_id", f.Device.String())
	}
	for _, s := range f.Status {
		add(q, "status", string(s))
	}
	for _, k := range f.Kind {
		add(q, "kind", k)
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Path != "" {
		q.Set("path", f.Path)
	}
	err = c.ask(ctx, &call{what: "list operations", method: "GET", path: "/api/v1/operations", query: q, out: &page, most: listBytes})
	return page, err
}

// Files is a page of the file records of an operation, in the order of their numbers.
func (c *Client) Files(ctx context.Context, op uuid.UUID, cursor string, limit int) (page api.Page[api.FileRecord], err error) {
	err = c.ask(ctx, &call{what: "list files", method: "GET",
		path: "/api/v1/operations/" + op.String() + "/files", query: paging(cursor, limit), out: &page, most: listBytes})
	return page, err
}

// maxPages is how many pages a list is followed: a server that never ends one must not keep a client for ever. Nor must it fill
// its memory: all pages together have no more than listBytes.
const maxPages = 1000

// all is a list of the API with all its pages.
func all[T any](ctx context.Context, c *Client, what, path string) ([]T, error) {
	var items []T
	cursor, left := "", int64(listBytes)
	for range maxPages {
		var page api.Page[T]
		q := &call{what: what, method: "GET", path: path, query: paging(cursor, 0), out: &page, most: left}
		if err := c.ask(ctx, q); err != nil {
			return nil, err
		}
		if left -= q.size; left <= 0 {
			break
		}
		items = append(items, page.Items...)
		if page.NextCursor == nil || *page.NextCursor == "" {
			return items, nil
		}
		cursor = *page.NextCursor
	}
	return nil, fmt.Errorf("%s: the list of %s has no end", what, c.Server())
}

func ofDevice(device uuid.UUID) url.Values {
	q := url.Values{}
	if device != uuid.Nil {
		q.Set("device_id", device.String())
	}
	return q
}

func paging(cursor string, limit int) url.Values {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

// add puts another word into a list that is separated by commas.
func add(q url.Values, name, word string) {
	if before := q.Get(name); before != "" {
		word = before + "," + word
	}
	q.Set(name, word)
}

// waiting adds the whole seconds that the server may wait, no more than it is willing to, and tells how long that is.
func (c *Client) waiting(q url.Values, wait time.Duration) (url.Values, time.Duration) {
	most := c.maxWait.Load()
	if most <= 0 {
		most = int64(api.DefaultLimits().MaxWaitSeconds)
	}
	s := min(int64(max(wait, 0)/time.Second), most)
	if s > 0 {
		q.Set("wait", strconv.FormatInt(s, 10))
	}
	return q, time.Duration(s) * time.Second
}
