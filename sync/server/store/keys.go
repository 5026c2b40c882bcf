package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Keys are the wrapped keys of a user's account, version 0 if it is not encrypted, and the devices that have asked for them,
// the first one first.
func (s *Store) Keys(ctx context.Context, user uuid.UUID) (api.KeyState, error) {
	state := api.KeyState{Keys: []api.AccountKey{}, Devices: []api.KeyRequest{}}
	who := scope{user: user}
	var keys json.RawMessage
	err := s.view(ctx, who, "select version, keys, bundle from account_keys where user_id = $1", []any{user}, &state.Version, &keys, &state.Bundle)
	if err == nil {
		err = json.Unmarshal(keys, &state.Keys)
	} else if errors.Is(err, ErrNotFound) {
		err = nil
	}
	if err == nil {
		err = s.db.read(ctx, who, `select r.device_id, r.recipient, r.tag from key_requests r join devices d on d.user_id = r.user_id and d.id = r.device_id
			where r.user_id = $1 and d.revoked_at is null order by r.created_at, r.device_id`, []any{user}, func(r rows) error {
			var d api.KeyRequest
			err := r.scan(&d.DeviceID, &d.Recipient, &d.Tag)
			state.Devices = append(state.Devices, d)
			return err
		})
	}
	if err != nil {
		return api.KeyState{}, fmt.Errorf("read keys: %w", err)
	}
	return state, nil
}

// SetKeys changes the account's keys; from the first one on the account is encrypted, and Push takes only entries that are
// sealed with one of them. Errors: *api.Problem (not valid, or a conflict: somebody else has changed them), ErrNotFound.
func (s *Store) SetKeys(ctx context.Context, user uuid.UUID, u *api.KeyUpdate) error {
	err := s.as(ctx, user, func(t tx) error {
		// Pushes wait here as well: after this no readable entry comes in.
		var head int64
		if err := one(ctx, t, "select head from heads where user_id = $1"+t.dialect().forUpdate, []any{user}, &head); err != nil {
			return err
		}
		var now api.KeyState
		var keys json.RawMessage
		err := one(ctx, t, "select version, keys from account_keys where user_id = $1", []any{user}, &now.Version, &keys)
		if err == nil {
			err = json.Unmarshal(keys, &now.Keys)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := u.Extends(&now); err != nil {
			return err
		}
		if keys, err = json.Marshal(u.Keys); err != nil {
			return err
		}
		var ids []string
		for _, k := range u.Keys {
			ids = append(ids, k.ID)
		}
		return t.execAll(ctx,
			statement{`insert into account_keys (user_id, version, keys, bundle, updated_at) values ($1, $2, $3, $4, $5)
				on conflict (user_id) do update set version = excluded.version, keys = excluded.keys, bundle = excluded.bundle, updated_at = excluded.updated_at`,
				[]any{user, now.Version + 1, keys, u.Bundle, s.now()}},
			statement{"update heads set key_ids = $2 where user_id = $1", []any{user, strings.Join(ids, " ")}})
	})
	if err != nil {
		return fmt.Errorf("set keys: %w", err)
	}
	return nil
}

// RequestKeys writes down that a device asks for the account's keys, in place of what it asked with before. ErrNotFound: no
// such computer; ErrRevoked.
func (s *Store) RequestKeys(ctx context.Context, user uuid.UUID, r api.KeyRequest) error {
	err := s.as(ctx, user, func(t tx) error {
		d, err := device(ctx, t, user, r.DeviceID, t.dialect().forShare)
		switch {
		case err != nil:
			return err
		case d.Kind == string(api.DeviceLocation): // the server itself organizes those, and reads what it does
			return ErrNotFound
		case !d.RevokedAt.IsZero():
			return ErrRevoked
		}
		_, err = t.exec(ctx, `insert into key_requests (user_id, device_id, recipient, tag, created_at) values ($1, $2, $3, $4, $5)
			on conflict (user_id, device_id) do update set recipient = excluded.recipient, tag = excluded.tag, created_at = excluded.created_at`,
			user, r.DeviceID, r.Recipient, r.Tag, s.now())
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for keys: %w", err)
	}
	return nil
}
