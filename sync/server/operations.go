package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/store"
)

func (s *server) operationRoutes() {
	route(s, commands, huma.Operation{OperationID: "startOperation", Method: "POST", Path: "/api/v1/operations", Summary: "Start an operation",
		Description: "In a storage location a worker of the server carries it out; on a device its agent does, as far as the device allows it.",
		Tags:        []string{"Operations"}, DefaultStatus: 202, Errors: []int{404, 409}}, s.startOperation)
	route(s, reads, huma.Operation{OperationID: "listOperations", Method: "GET", Path: "/api/v1/operations", Summary: "List operations, newest first",
		Tags: []string{"Operations"}, Errors: []int{422}}, s.listOperations)
	route(s, reads, huma.Operation{OperationID: "getOperation", Method: "GET", Path: "/api/v1/operations/{id}", Summary: "One operation",
		Tags: []string{"Operations"}, Errors: []int{404, 422}}, s.getOperation)
	route(s, reads, huma.Operation{OperationID: "listFiles", Method: "GET", Path: "/api/v1/operations/{id}/files", Summary: "The file records of an operation",
		Tags: []string{"Operations"}, Errors: []int{404, 422}}, s.listFiles)
	route(s, commands, huma.Operation{OperationID: "rollback", Method: "POST", Path: "/api/v1/operations/{id}/rollback",
		Summary: "Undo an operation where its files are", Tags: []string{"Operations"}, DefaultStatus: 202, Errors: []int{404, 409, 422}}, s.rollback)
	route(s, commands, huma.Operation{OperationID: "cancelOperation", Method: "POST", Path: "/api/v1/operations/{id}/cancel", Summary: "Stop an operation",
		Description: "What nobody has begun is cancelled. Who is at work on it is asked to stop: it ends with what was done until then, which can be rolled back.",
		Tags:        []string{"Operations"}, Errors: []int{404, 409, 422}}, s.cancel)
}

func toOperation(o store.Operation) api.Operation {
	out := api.Operation{ID: o.ID, UserID: o.UserID, DeviceID: o.DeviceID, Kind: o.Kind, Status: o.Status, Root: o.Root, FilesTotal: o.FilesTotal,
		FilesProcessed: o.FilesProcessed, FilesFailed: o.FilesFailed, DuplicatesFound: o.DuplicatesFound, BytesMoved: o.BytesMoved, Error: o.Error,
		CreatedAt: o.CreatedAt, StartedAt: orNull(o.StartedAt), CompletedAt: orNull(o.CompletedAt), RollbackOf: orNone(o.RollbackOf)}
	if json.Unmarshal(o.Options, &out.Options) != nil || out.Options == nil {
		out.Options = map[string]any{}
	}
	return out
}

// started is the answer to a request that started something.
type started struct {
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed" doc:"true: the request had been answered before, and this is its operation."`
	Body     api.Operation
}

func newStarted(o store.Operation, replayed bool) *started {
	out := &started{Location: "/api/v1/operations/" + o.ID.String(), Body: toOperation(o)}
	if replayed {
		out.Replayed = "true"
	}
	return out
}

// requestSum tells whether two requests say the same, in whatever order.
func requestSum(path string, body any) [32]byte {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // it was JSON
	}
	return sha256.Sum256(append([]byte(path+"\n"), b...))
}

// commandParams is what a device is to know of a command, as the store keeps it.
type commandParams struct {
	Root    string         `json:"root,omitempty"`
	Rules   string         `json:"rules,omitempty"`
	Only    string         `json:"only,omitempty"`
	Options map[string]any `json:"options,omitempty"`
}

// checkNewID refuses ids that are not made as ids of operations are.
func checkNewID(id uuid.UUID) error {
	if id != uuid.Nil && id.Version() != 7 {
		return invalid("body.id", "is no UUID of version 7")
	}
	return nil
}

// checkMAC refuses what no device could verify: it covers the operation's id, which so must be the asker's.
func checkMAC(id uuid.UUID, mac []byte) error {
	switch {
	case len(mac) > 64:
		return invalid("body.mac", "is longer than 64 bytes")
	case len(mac) > 0 && id == uuid.Nil:
		return invalid("body.id", "is missing: the mac covers it")
	}
	return nil
}

func (s *server) startOperation(ctx context.Context, in *struct {
	Key  string `header:"Idempotency-Key" minLength:"1" maxLength:"255" doc:"The same key with the same request gives the same operation, for a day."`
	Body api.OperationRequest
}) (*started, error) {
	req, id := &in.Body, who(ctx)
	if err := checkNewID(req.ID); err != nil {
		return nil, err
	}
	if req.Kind != "organize" {
		return nil, invalid("body.kind", "is no operation that can be started: organize is")
	}
	t := req.Target
	n := store.NewOperation{ID: req.ID, Kind: req.Kind, Root: t.Root, MAC: req.MAC, CreatedBy: id.actor(), Key: in.Key, RequestSHA: requestSum("operations", req)}
	if err := checkMAC(req.ID, req.MAC); err != nil {
		return nil, err
	}
	if n.ID == uuid.Nil {
		n.ID = uuid.Must(uuid.NewV7())
	}
	n.Audit = audited(ctx, id.user, "operation.start", n.ID)
	var err error
	if n.Options, err = json.Marshal(req.Options); err != nil {
		return nil, err
	}
	switch {
	case t.DeviceID == uuid.Nil && t.LocationID == uuid.Nil:
		return nil, invalid("body.target", "needs a device_id or a location_id")
	case t.DeviceID != uuid.Nil && t.LocationID != uuid.Nil:
		return nil, invalid("body.target", "has both a device_id and a location_id: one of them is the target")
	case t.LocationID != uuid.Nil:
		l, err := s.store.LocationByID(ctx, id.user, t.LocationID)
		if err != nil {
			return nil, err
		}
		if t.Root != "" && !filepath.IsLocal(filepath.FromSlash(t.Root)) {
			return nil, invalid("body.target.root", "is no folder inside the location: a relative path without .. is")
		}
		f, err := readOptions(req.Options)
		if err != nil {
			return nil, err
		}
		if f.Rules != "" {
			_, err := s.store.RuleSetByName(ctx, id.user, l.ID, f.Rules)
			if errors.Is(err, store.ErrNotFound) {
				return nil, invalid("body.options.rules", "is no name of rules that this storage location has")
			}
			if err != nil {
				return nil, err
			}
		}
		n.DeviceID, n.Root = l.ID, filepath.Join(l.Root, filepath.FromSlash(t.Root))
		n.Job = placeJob(id.user, l.ID, n.ID)
	default:
		d, err := s.store.DeviceByID(ctx, id.user, t.DeviceID)
		if err != nil {
			return nil, err
		}
		if d.Kind == string(api.DeviceLocation) {
			return nil, invalid("body.target.device_id", "is a storage location: give it as location_id")
		}
		if t.Root == "" || strings.ContainsAny(t.Root, `/\`) {
			return nil, invalid("body.target.root", "is the name of a folder that the device allows, not a path")
		}
		options := req.Options
		rules, _ := options["rules"].(string)
		if strings.ContainsAny(rules, `/\`) {
			return nil, invalid("body.options.rules", "is the name of a rule set on the device, not a path")
		}
		n.DeviceID = t.DeviceID
		if n.Params, err = json.Marshal(commandParams{Root: t.Root, Rules: rules, Options: options}); err != nil {
			return nil, err
		}
	}
	o, replayed, err := s.store.CreateOperation(ctx, id.user, n)
	if err != nil {
		return nil, err
	}
	return newStarted(o, replayed), nil
}

type operationList struct {
	Cursor string    `query:"cursor" maxLength:"200" doc:"next_cursor of the page before."`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Status []string  `query:"status" doc:"One or more, separated by commas."`
	Kind   []string  `query:"kind" doc:"One or more, separated by commas."`
	Device uuid.UUID `query:"device_id" format:"uuid" doc:"A device or storage location."`
	Since  time.Time `query:"since" doc:"Created at or after."`
	Until  time.Time `query:"until" doc:"Created before."`
	Path   string    `query:"path" maxLength:"1024" doc:"Text within the folder that was organized; ASCII letters count in either case."`
}

func (s *server) listOperations(ctx context.Context, in *operationList) (*jsonOf[api.Page[api.Operation]], error) {
	f := store.OperationFilter{Kind: in.Kind, Device: in.Device, From: in.Since, Until: in.Until, Path: in.Path}
	if len(in.Status) > 20 || len(in.Kind) > 20 {
		return nil, invalid("query", "filters by more than 20 words")
	}
	for _, st := range in.Status {
		if !api.OperationStatus(st).Known() {
			return nil, invalid("query.status", "has a word that is no status")
		}
		f.Status = append(f.Status, api.OperationStatus(st))
	}
	all, cursor, err := s.store.Operations(ctx, who(ctx).user, f, store.Page{Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	page := api.Page[api.Operation]{Items: make([]api.Operation, len(all)), NextCursor: next(cursor)}
	for i := range all {
		page.Items[i] = toOperation(all[i])
	}
	return &jsonOf[api.Page[api.Operation]]{page}, nil
}

func (s *server) getOperation(ctx context.Context, in *byID) (*jsonOf[api.Operation], error) {
	o, err := s.store.OperationByID(ctx, who(ctx).user, in.ID)
	if err != nil {
		return nil, err
	}
	return &jsonOf[api.Operation]{toOperation(o)}, nil
}

func (s *server) listFiles(ctx context.Context, in *struct {
	ID     uuid.UUID `path:"id"`
	Cursor string    `query:"cursor" maxLength:"200" doc:"next_cursor of the page before."`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
}) (*jsonOf[api.Page[api.FileRecord]], error) {
	files, cursor, err := s.store.Files(ctx, who(ctx).user, in.ID, store.Page{Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	if files == nil {
		files = []api.FileRecord{}
	}
	return &jsonOf[api.Page[api.FileRecord]]{api.Page[api.FileRecord]{Items: files, NextCursor: next(cursor)}}, nil
}

func (s *server) rollback(ctx context.Context, in *struct {
	ID   uuid.UUID            `path:"id"`
	Key  string               `header:"Idempotency-Key" minLength:"1" maxLength:"255" doc:"As for a new operation."`
	Body *api.RollbackRequest `required:"false"`
}) (*started, error) {
	id := who(ctx)
	var req api.RollbackRequest
	if in.Body != nil {
		req = *in.Body
	}
	if err := checkNewID(req.ID); err != nil {
		return nil, err
	}
	if err := checkMAC(req.ID, req.MAC); err != nil {
		return nil, err
	}
	sum := requestSum("rollback "+in.ID.String(), req)
	if req.ID == uuid.Nil {
		req.ID = uuid.Must(uuid.NewV7())
	}
	if len(req.Only) > 1024 {
		return nil, invalid("body.only", "is longer than 1024 bytes")
	}
	o, err := s.store.OperationByID(ctx, id.user, in.ID)
	if err != nil {
		return nil, err
	}
	n := store.NewOperation{ID: req.ID, MAC: req.MAC, CreatedBy: id.actor(), Key: in.Key, RequestSHA: sum, Job: placeJob(id.user, o.DeviceID, req.ID),
		Audit: audited(ctx, id.user, "operation.rollback", in.ID)}
	if n.Params, err = json.Marshal(commandParams{Only: req.Only}); err != nil {
		return nil, err
	}
	n.Options = n.Params
	undo, replayed, err := s.store.Rollback(ctx, id.user, in.ID, n)
	if err != nil {
		return nil, err
	}
	return newStarted(undo, replayed), nil
}

func (s *server) cancel(ctx context.Context, in *byID) (*jsonOf[api.Operation], error) {
	id := who(ctx)
	o, err := s.store.StopOperation(ctx, id.user, in.ID)
	if errors.Is(err, store.ErrFinal) {
		return nil, newProblem(api.CodeConflict, "it has ended, or was never asked for here")
	}
	if err != nil {
		return nil, err
	}
	s.audit(ctx, id.user, "operation.cancel", in.ID)
	return &jsonOf[api.Operation]{toOperation(o)}, nil
}
