package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/store"
)

// leaseTime is how long a device has a command to itself after each word of it.
const leaseTime = time.Minute

// maxLeased is how many commands a device is given at once.
const maxLeased = 10

func (s *server) syncRoutes() {
	l := api.DefaultLimits()
	device := queryParam("device_id", "string", "The device that asks; needed where the credentials are not bound to one.")
	device.Schema.Format = "uuid"
	wait := queryNumber("wait", int64(l.MaxWaitSeconds), "Seconds to wait while there is nothing.")
	tags := []string{"Sync"}
	push := huma.Operation{OperationID: "push", Method: "POST", Path: "/api/v1/sync/push", Summary: "Add to the log of a device",
		Description: "The same push again is answered as before.", Tags: tags, Errors: []int{400, 402, 404, 408, 409, 410, 413, 415, 422, 426, 507},
		RequestBody: s.takes("The next entries.", api.PushRequest{}), Responses: s.answers(200, "application/json", "Stored durably", api.PushResponse{})}
	s.plain(pushes, push, s.push)
	lines := s.answers(200, "application/x-ndjson", "Entries, one a line, and the end", api.PullEntry{})
	lines["200"].Content["application/x-ndjson"].Schema = &huma.Schema{AnyOf: []*huma.Schema{s.schema(reflect.TypeFor[api.PullEntry]()),
		s.schema(reflect.TypeFor[api.PullEnd]())}}
	pull := huma.Operation{OperationID: "pull", Method: "GET", Path: "/api/v1/sync/pull", Summary: "The entries of the account's other devices",
		Description: "Lines of JSON: entries in the order of server_seq, then {\"next\", \"head\"}. An answer without that last line was cut off.",
		Tags:        tags, Errors: []int{404, 410, 422}, Responses: lines,
		Parameters: []*huma.Param{queryNumber("after", 1<<62, "server_seq of the last entry that the device has; 0 is the beginning."),
			queryNumber("limit", int64(l.MaxPullEntries), "Entries at most."), wait, device, queryParam("own", "boolean", "The device's own entries too.")}}
	s.plain(reads, pull, s.pull)
	ack := huma.Operation{OperationID: "ack", Method: "POST", Path: "/api/v1/sync/ack", Summary: "Say up to where a device has pulled", Tags: tags,
		Errors: []int{400, 404, 408, 413, 415, 422}, Parameters: []*huma.Param{device}, RequestBody: s.takes("The cursor.", api.AckRequest{}),
		Responses: s.answers(200, "application/json", "Kept", api.AckResponse{})}
	s.plain(pushes, ack, s.ack)
	state := huma.Operation{OperationID: "syncState", Method: "GET", Path: "/api/v1/sync/state", Summary: "How far each log of the account is there",
		Tags: tags, Errors: []int{404, 422}, Parameters: []*huma.Param{device}, Responses: s.answers(200, "application/json", "All logs", api.SyncState{})}
	s.plain(reads, state, s.syncState)
	capabilities := huma.Operation{OperationID: "capabilities", Method: "GET", Path: "/api/v1/sync/capabilities",
		Summary: "What this server speaks, and its limits", Tags: tags, Responses: s.answers(200, "application/json", "Capabilities", api.Capabilities{})}
	s.plain(public, capabilities, s.capabilities)
	lease := huma.Operation{OperationID: "leaseCommands", Method: "GET", Path: "/api/v1/sync/commands", Summary: "What the device is to do, leased to it",
		Tags: tags, Errors: []int{404, 409, 422}, Parameters: []*huma.Param{device, wait},
		Responses: s.answers(200, "application/json", "Commands, oldest first", api.CommandsResponse{})}
	s.plain(commands, lease, s.leaseCommands)
	update := huma.Operation{OperationID: "updateCommand", Method: "POST", Path: "/api/v1/sync/commands/{id}", Summary: "A word of the device on a command",
		Tags: tags, Errors: []int{400, 404, 408, 409, 413, 415, 422}, Parameters: []*huma.Param{pathID("The command.")},
		RequestBody: s.takes("State and progress.", api.CommandUpdate{}), Responses: s.answers(200, "application/json", "Taken", api.CommandUpdated{})}
	s.plain(commands, update, s.updateCommand)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // who has gone away needs no answer
	return nil
}

// readJSON reads the body of a plain route. Unknown fields are a newer client's.
func readJSON(w http.ResponseWriter, r *http.Request, to any) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(jsonTime)) // where it cannot be set the server's own holds
	b, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	if err != nil {
		return err
	}
	if len(b) > maxJSON {
		p := newProblem(api.CodeTooLarge, "")
		p.MaxBytes = maxJSON
		return p
	}
	if err := json.Unmarshal(b, to); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return invalid("body."+e.Field, "cannot be a "+e.Value)
		}
		return newProblem(api.CodeMalformed, cleanJSON(err))
	}
	return nil
}

func wantJSON(r *http.Request) error {
	ct := r.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(ct); ct != "" && (err != nil || t != "application/json") {
		return newProblem(api.CodeUnsupportedMedia, "the body is to be application/json")
	}
	return nil
}

// speaksFor is the device that a request is about: that of the credentials, or one that the request names; uuid.Nil if
// neither is of any.
func speaksFor(id *identity, named uuid.UUID) (uuid.UUID, error) {
	switch {
	case id.device == uuid.Nil:
		return named, nil
	case named != uuid.Nil && named != id.device:
		return uuid.Nil, store.ErrNotFound
	}
	return id.device, nil
}

// askedDevice is speaksFor of a request that may name a device in its query.
func askedDevice(r *http.Request) (uuid.UUID, error) {
	named, err := queryID(r, "device_id")
	if err != nil {
		return uuid.Nil, err
	}
	return speaksFor(who(r.Context()), named)
}

// needDevice is askedDevice of a request that makes no sense without one.
func needDevice(r *http.Request) (uuid.UUID, error) {
	device, err := askedDevice(r)
	if err == nil && device == uuid.Nil {
		err = invalid("query.device_id", "is missing: these credentials are of no device")
	}
	return device, err
}

func queryID(r *http.Request, name string) (uuid.UUID, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, invalid("query."+name, "is no UUID")
	}
	return id, nil
}

func queryInt(r *http.Request, name string, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, invalid("query."+name, fmt.Sprintf("is no number from 0 to %d", most))
	}
	return n, nil
}

func (s *server) push(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	if err := wantJSON(r); err != nil {
		return err
	}
	l, id := api.DefaultLimits(), who(ctx)
	req, err := api.ReadPush(r.Body, l)
	if err != nil {
		return err
	}
	if _, err := speaksFor(id, req.DeviceID); err != nil {
		return err
	}
	quota := s.cfg.Quotas[id.tier]
	got, err := s.store.Push(ctx, id.user, req, quota)
	if errors.Is(err, store.ErrNotFound) && id.device == uuid.Nil {
		// A device that logs in is registered by that; one that comes with an API key, by its first push.
		if _, err = s.store.PutDevice(ctx, store.Device{ID: req.DeviceID, UserID: id.user, Name: "device " + req.DeviceID.String()[:8]}); err != nil {
			return err
		}
		got, err = s.store.Push(ctx, id.user, req, quota)
	}
	if err != nil {
		return err
	}
	s.metrics.add("forg_push_entries_total", "", int64(len(req.Entries)))
	return writeJSON(w, http.StatusOK, api.PushResponse{AckedSeq: got.AckedSeq, Chain: got.Chain, Head: got.Head, ServerTime: s.cfg.Now().UTC(),
		Limits: l, CommandsPending: int(got.Commands)})
}

func (s *server) pull(w http.ResponseWriter, r *http.Request) error {
	ctx, id, l := r.Context(), who(r.Context()), api.DefaultLimits()
	after, err := queryInt(r, "after", 1<<62)
	if err != nil {
		return err
	}
	limit, err := queryInt(r, "limit", int64(l.MaxPullEntries))
	if err != nil {
		return err
	}
	wait, err := queryInt(r, "wait", int64(l.MaxWaitSeconds))
	if err != nil {
		return err
	}
	device, err := askedDevice(r)
	if err != nil {
		return err
	}
	from := store.PullFrom{After: after, Limit: int(limit), Except: device}
	if limit == 0 {
		from.Limit = l.MaxPullEntries
	}
	switch own := r.URL.Query().Get("own"); own {
	case "true", "1":
		from.Except = uuid.Nil
	case "", "false", "0":
	default:
		return invalid("query.own", "is neither true nor false")
	}
	// Somebody who waits is told of what comes meanwhile; whoever came before that finds it in the log.
	news := make(chan struct{}, 1)
	if wait > 0 {
		defer s.hub.onUser(id.user, store.EventLog, news)()
	}
	until := time.NewTimer(time.Duration(wait) * time.Second)
	defer until.Stop()
	out := newStream(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	if wait > 0 {
		_ = out.control.SetWriteDeadline(time.Now().Add(time.Duration(wait)*time.Second + stall)) // where it cannot be set the server's own holds
	}
	for {
		n := 0
		next, head, err := s.store.Pull(ctx, id.user, from, func(e *api.PullEntry) error {
			n++
			return api.WritePull(out, e)
		})
		if err != nil {
			return out.end(s, r, err)
		}
		from.After = next
		more := n == 0 && wait > 0
		if more {
			select {
			case <-news:
			case <-until.C:
				more = false
			case <-s.drained:
				more = false
			case <-ctx.Done():
				more = false
			}
		}
		if !more {
			err := api.WritePull(out, &api.PullEnd{Next: next, Head: head})
			if err == nil {
				err = out.flush()
			}
			return out.end(s, r, err)
		}
	}
}

func (s *server) ack(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), who(r.Context())
	device, err := needDevice(r)
	if err != nil {
		return err
	}
	var req api.AckRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if req.Cursor < 0 {
		return invalid("body.cursor", "is less than 0")
	}
	epoch, err := s.epochOf(ctx, id.user, device)
	if err != nil {
		return err
	}
	kept, head, err := s.store.Ack(ctx, id.user, device, epoch, req.Cursor)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.AckResponse{Cursor: kept, Head: head})
}

// epochOf is the current epoch of a device's log: where its cursor is kept. One that has pushed nothing yet has none.
func (s *server) epochOf(ctx context.Context, user, device uuid.UUID) (uuid.UUID, error) {
	states, _, err := s.store.SyncState(ctx, user)
	if err != nil {
		return uuid.Nil, err
	}
	for _, d := range states {
		if d.Device == device && d.RetiredAt.IsZero() {
			return d.Epoch, nil
		}
	}
	return uuid.Max, nil
}

func (s *server) syncState(w http.ResponseWriter, r *http.Request) error {
	id := who(r.Context())
	device, err := askedDevice(r)
	if err != nil {
		return err
	}
	states, head, err := s.store.SyncState(r.Context(), id.user)
	if err != nil {
		return err
	}
	out := api.SyncState{Head: head, Logs: []api.DeviceLog{}}
	for _, d := range states {
		if d.Device == device {
			out.Cursor = max(out.Cursor, d.PullCursor)
		}
		if d.Epoch != uuid.Max {
			out.Logs = append(out.Logs, api.DeviceLog{DeviceID: d.Device, Epoch: d.Epoch, AckedSeq: d.Log.AckedSeq, Chain: d.Log.Chain, Retired: !d.RetiredAt.IsZero()})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) capabilities(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, api.Capabilities{Protocols: []string{api.Protocol}, Kinds: api.Kinds(),
		Features: []string{"commands", "wait", "zstd", "gzip", "keys"}, Limits: api.DefaultLimits(), ServerTime: s.cfg.Now().UTC()})
}

func (s *server) leaseCommands(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), who(r.Context())
	device, err := needDevice(r)
	if err != nil {
		return err
	}
	wait, err := queryInt(r, "wait", int64(api.DefaultLimits().MaxWaitSeconds))
	if err != nil {
		return err
	}
	d, err := s.store.DeviceByID(ctx, id.user, device)
	if err != nil {
		return err
	}
	if !d.RevokedAt.IsZero() {
		return store.ErrRevoked
	}
	news := make(chan struct{}, 1)
	if wait > 0 {
		defer s.hub.onUser(id.user, store.EventCommand, news)()
	}
	until := time.NewTimer(time.Duration(wait) * time.Second)
	defer until.Stop()
	for {
		all, err := s.store.LeaseCommands(ctx, id.user, device, maxLeased, leaseTime)
		if err != nil {
			return err
		}
		if len(all) == 0 && wait > 0 {
			select {
			case <-news:
				continue
			case <-until.C:
			case <-s.drained:
			case <-ctx.Done():
			}
		}
		out := api.CommandsResponse{Commands: []api.Command{}}
		for _, c := range all {
			out.Commands = append(out.Commands, toCommand(c))
		}
		return writeJSON(w, http.StatusOK, out)
	}
}

func (s *server) updateCommand(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), who(r.Context())
	cmd, err := uuid.Parse(r.PathValue("id"))
	if err != nil || len(r.PathValue("id")) != 36 {
		return invalid("path.id", "is no UUID")
	}
	var req api.CommandUpdate
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if err := req.Check(); err != nil {
		return err
	}
	before, err := s.store.CommandByID(ctx, id.user, cmd)
	if err != nil {
		return err
	}
	if _, err := speaksFor(id, before.DeviceID); err != nil {
		return err
	}
	var c store.Command
	switch {
	case req.State == api.CommandRunning:
		c, err = s.store.RenewCommand(ctx, id.user, cmd, req.Lease, leaseTime, req.Progress)
	case req.State.Final() && req.State != api.CommandExpired && req.State != api.CommandCancelled:
		c, err = s.store.FinishCommand(ctx, id.user, cmd, req.Lease, req.State, req.Result)
	default:
		return invalid("body.state", "is no state that a device can give: running, succeeded, partial, refused and failed are")
	}
	if err != nil {
		return err
	}
	out := api.CommandUpdated{State: c.State, Cancel: c.Stop}
	if !c.State.Final() {
		out.LeaseUntil = orNull(c.LeaseUntil)
	}
	return writeJSON(w, http.StatusOK, out)
}
