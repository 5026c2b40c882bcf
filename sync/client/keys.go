package client

import (
	"context"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Keys are the wrapped keys of the account; Version 0: it is not encrypted.
func (c *Client) Keys(ctx context.Context) (s api.KeyState, err error) {
	err = c.ask(ctx, &call{what: "ask for the keys", method: "GET", path: "/api/v1/sync/keys", out: &s})
	return s, err
}

// SetKeys changes the account's keys; the answer is what they are then. That somebody else has changed them is an *Error
// with api.CodeConflict.
func (c *Client) SetKeys(ctx context.Context, u api.KeyUpdate) (s api.KeyState, err error) {
	err = c.ask(ctx, &call{what: "change the keys", method: "PUT", path: "/api/v1/sync/keys", in: u, out: &s})
	return s, err
}

// RequestKeys asks the account's other devices to give the keys to a device.
func (c *Client) RequestKeys(ctx context.Context, device uuid.UUID, r api.KeyRequest) error {
	return c.ask(ctx, &call{what: "ask for the keys", method: "PUT", twice: true, path: "/api/v1/sync/keys/devices/" + device.String(), in: r})
}
