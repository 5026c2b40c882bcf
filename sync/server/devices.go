package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

func (s *server) keyRoutes() {
	route(s, manages, huma.Operation{OperationID: "createAPIKey", Method: "POST", Path: "/api/v1/api-keys", Summary: "Make an API key",
		Description: "The answer is the only place where the key is ever shown.", Tags: []string{"API keys"}, DefaultStatus: 201,
		Errors: []int{404, 409}}, s.createKey)
	route(s, manages, huma.Operation{OperationID: "listAPIKeys", Method: "GET", Path: "/api/v1/api-keys", Summary: "List API keys",
		Tags: []string{"API keys"}}, s.listKeys)
	route(s, manages, huma.Operation{OperationID: "deleteAPIKey", Method: "DELETE", Path: "/api/v1/api-keys/{id}", Summary: "Revoke an API key",
		Tags: []string{"API keys"}, DefaultStatus: 204, Errors: []int{404, 422}}, s.deleteKey)
}

func toKey(k store.APIKey) api.APIKey {
	return api.APIKey{ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, DeviceID: orNone(k.DeviceID),
		ExpiresAt: orNull(k.ExpiresAt), LastUsedAt: orNull(k.LastUsedAt), CreatedAt: k.CreatedAt}
}

// keyEnvironment is what API keys of this service call themselves: forg_live_...
const keyEnvironment = "live"

func (s *server) createKey(ctx context.Context, in *jsonOf[api.APIKeyRequest]) (*jsonOf[api.NewAPIKey], error) {
	scopes, err := auth.ParseScopes(in.Body.Scopes)
	if err != nil {
		return nil, invalid("body.scopes", err.Error())
	}
	k, err := auth.NewAPIKey(keyEnvironment)
	if err != nil {
		return nil, err
	}
	hash, id := k.Hash(), who(ctx)
	row := store.APIKey{UserID: id.user, Name: in.Body.Name, Prefix: k.Prefix(), Hash: hash[:], DeviceID: in.Body.DeviceID}
	if id.key != uuid.Nil { // a key makes no key that speaks for more devices than itself
		if row.DeviceID, err = speaksFor(id, row.DeviceID); err != nil {
			return nil, err
		}
	}
	if row.DeviceID != uuid.Nil {
		d, err := s.store.DeviceByID(ctx, id.user, row.DeviceID)
		if err != nil {
			return nil, err
		}
		if !d.RevokedAt.IsZero() {
			return nil, store.ErrRevoked
		}
	}
	for _, sc := range scopes {
		row.Scopes = append(row.Scopes, string(sc))
	}
	if t := in.Body.ExpiresAt; t != nil {
		if !t.After(s.cfg.Now()) {
			return nil, invalid("body.expires_at", "is over already")
		}
		row.ExpiresAt = t.UTC()
	}
	if row, err = s.store.CreateAPIKey(ctx, row); err != nil {
		return nil, err
	}
	s.audit(ctx, id.user, "key.create", row.ID)
	return &jsonOf[api.NewAPIKey]{api.NewAPIKey{APIKey: toKey(row), Key: k.Text()}}, nil
}

func (s *server) listKeys(ctx context.Context, _ *nothing) (*jsonOf[api.Page[api.APIKey]], error) {
	all, err := s.store.APIKeys(ctx, who(ctx).user)
	if err != nil {
		return nil, err
	}
	page := api.Page[api.APIKey]{Items: make([]api.APIKey, len(all))}
	for i := range all {
		page.Items[i] = toKey(all[i])
	}
	return &jsonOf[api.Page[api.APIKey]]{page}, nil
}

func (s *server) deleteKey(ctx context.Context, in *byID) (*nothing, error) {
	id := who(ctx)
	if err := s.store.DeleteAPIKey(ctx, id.user, in.ID); err != nil {
		return nil, err
	}
	s.sessions.forget(id.user)
	s.audit(ctx, id.user, "key.delete", in.ID)
	return nil, nil
}

func (s *server) deviceRoutes() {
	route(s, reads, huma.Operation{OperationID: "listDevices", Method: "GET", Path: "/api/v1/devices", Summary: "List devices and storage locations",
		Tags: []string{"Devices"}}, s.listDevices)
	route(s, manages, huma.Operation{OperationID: "renameDevice", Method: "PATCH", Path: "/api/v1/devices/{id}", Summary: "Rename a device",
		Tags: []string{"Devices"}, Errors: []int{404}}, s.renameDevice)
	route(s, commands, huma.Operation{OperationID: "setOffers", Method: "PUT", Path: "/api/v1/devices/{id}/offers", Summary: "Say what may be asked of a device",
		Description: "Its agent does. What it refuses is up to it all the same.", Tags: []string{"Devices"}, DefaultStatus: 204, Errors: []int{404, 422}}, s.setOffers)
	route(s, manages, huma.Operation{OperationID: "revokeDevice", Method: "DELETE", Path: "/api/v1/devices/{id}", Summary: "Shut a device out",
		Description: "Its sessions end and its commands are cancelled; its history stays. It does not come back under its old id.",
		Tags:        []string{"Devices"}, DefaultStatus: 204, Errors: []int{404, 422}}, s.revokeDevice)
}

func toDevice(d store.Device) api.Device {
	out := api.Device{ID: d.ID, Kind: api.DeviceKind(d.Kind), Name: d.Name, Platform: d.Platform, CreatedAt: d.CreatedAt,
		LastSeenAt: orNull(d.LastSeenAt), RevokedAt: orNull(d.RevokedAt)}
	if o := new(api.Offers); len(d.Offers) > 0 && json.Unmarshal(d.Offers, o) == nil {
		out.Offers = o
	}
	return out
}

func (s *server) setOffers(ctx context.Context, in *struct {
	ID   uuid.UUID `path:"id"`
	Body api.Offers
}) (*nothing, error) {
	id := who(ctx)
	if _, err := speaksFor(id, in.ID); err != nil {
		return nil, err
	}
	for field, names := range map[string][]string{"folders": in.Body.Folders, "rules": in.Body.Rules} {
		if slices.ContainsFunc(names, func(n string) bool { return n == "" || len(n) > 64 || strings.ContainsAny(n, `/\`) || !isName(n) }) {
			return nil, invalid("body."+field, "has one that is no name: 1 to 64 bytes of visible text without slashes are")
		}
	}
	for _, k := range in.Body.Kinds {
		if k == "" || len(k) > 64 || !isName(string(k)) {
			return nil, invalid("body.kinds", "has one that is no kind of command")
		}
	}
	text, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	return nil, s.store.SetOffers(ctx, id.user, in.ID, text)
}

// isName reports whether a text can be shown anywhere, on one line.
func isName(name string) bool {
	return utf8.ValidString(name) && strings.TrimSpace(name) == name && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) })
}

func (s *server) listDevices(ctx context.Context, _ *nothing) (*jsonOf[api.Page[api.Device]], error) {
	all, err := s.store.Devices(ctx, who(ctx).user)
	if err != nil {
		return nil, err
	}
	page := api.Page[api.Device]{Items: make([]api.Device, len(all))}
	for i := range all {
		page.Items[i] = toDevice(all[i])
	}
	return &jsonOf[api.Page[api.Device]]{page}, nil
}

func (s *server) renameDevice(ctx context.Context, in *struct {
	ID   uuid.UUID `path:"id"`
	Body api.DeviceChange
}) (*jsonOf[api.Device], error) {
	name := in.Body.Name
	if name == "" || len(name) > 100 || !isName(name) {
		return nil, invalid("body.name", "is no name: 1 to 100 bytes of visible text without spaces around it are")
	}
	d, err := s.store.RenameDevice(ctx, who(ctx).user, in.ID, name)
	if err != nil {
		return nil, err
	}
	return &jsonOf[api.Device]{toDevice(d)}, nil
}

func (s *server) revokeDevice(ctx context.Context, in *byID) (*nothing, error) {
	id := who(ctx)
	if err := s.store.RevokeDevice(ctx, id.user, in.ID); err != nil {
		return nil, err
	}
	s.sessions.forget(id.user)
	s.audit(ctx, id.user, "device.revoke", in.ID)
	return nil, nil
}

func toCommand(c store.Command) api.Command {
	out := api.Command{ID: c.ID, DeviceID: c.DeviceID, Kind: c.Kind, OperationID: c.Operation, RollbackOf: c.RollbackOf, State: c.State,
		CreatedBy: c.CreatedBy, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt, Lease: c.Lease, LeaseUntil: orNull(c.LeaseUntil), MAC: c.MAC}
	var p commandParams
	if json.Unmarshal(c.Params, &p) == nil {
		out.Root, out.Rules, out.Only, out.Options = p.Root, p.Rules, p.Only, p.Options
	}
	if c.Result != nil {
		r := new(api.CommandResult)
		if json.Unmarshal(c.Result, r) == nil {
			out.Result = r
		}
	}
	return out
}
