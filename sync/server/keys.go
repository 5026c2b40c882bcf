package server

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
)

func (s *server) sealRoutes() {
	route(s, reads, huma.Operation{OperationID: "getKeys", Method: "GET", Path: "/api/v1/sync/keys", Summary: "The keys of an account that is encrypted",
		Description: "They are wrapped: the server cannot open them.", Tags: []string{"Sync"}}, s.getKeys)
	route(s, manages, huma.Operation{OperationID: "setKeys", Method: "PUT", Path: "/api/v1/sync/keys", Summary: "Change the keys of an account",
		Description: "With the first key the account becomes encrypted for good: the server then takes no readable history from devices. Keys are added and never removed.",
		Tags:        []string{"Sync"}, Errors: []int{409}}, s.setKeys)
	route(s, pushes, huma.Operation{OperationID: "requestKeys", Method: "PUT", Path: "/api/v1/sync/keys/devices/{id}", Summary: "Ask the other devices for the keys",
		Tags: []string{"Sync"}, DefaultStatus: 204, Errors: []int{404, 409}}, s.requestKeys)
}

func (s *server) getKeys(ctx context.Context, _ *nothing) (*jsonOf[api.KeyState], error) {
	state, err := s.store.Keys(ctx, who(ctx).user)
	if err != nil {
		return nil, err
	}
	return &jsonOf[api.KeyState]{state}, nil
}

func (s *server) setKeys(ctx context.Context, in *jsonOf[api.KeyUpdate]) (*jsonOf[api.KeyState], error) {
	id := who(ctx)
	if err := s.store.SetKeys(ctx, id.user, &in.Body); err != nil {
		return nil, err
	}
	s.audit(ctx, id.user, "keys.set", id.user)
	return s.getKeys(ctx, nil)
}

func (s *server) requestKeys(ctx context.Context, in *struct {
	ID   uuid.UUID `path:"id"`
	Body api.KeyRequest
}) (*nothing, error) {
	id := who(ctx)
	if err := in.Body.Check(); err != nil {
		return nil, err
	}
	device, err := speaksFor(id, in.ID)
	if err != nil {
		return nil, err
	}
	in.Body.DeviceID = device
	if err := s.store.RequestKeys(ctx, id.user, in.Body); err != nil {
		return nil, err
	}
	s.audit(ctx, id.user, "keys.request", device)
	return nil, nil
}
