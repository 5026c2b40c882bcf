package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"forg/sync/api"
	"forg/sync/server/auth"
)

// Bounds of ordinary requests with JSON in them.
const (
	maxJSON  = 64 << 10 // bytes
	jsonTime = 10 * time.Second
)

// Who may use what.
var (
	public    = access{public: true}
	reads     = access{scope: auth.ScopeRead}
	pushes    = access{scope: auth.ScopePush}
	commands  = access{scope: auth.ScopeCommands}
	manages   = access{scope: auth.ScopeAdmin}
	ofSession = access{scope: auth.ScopeAdmin, session: true}
)

// routes adds every route, and makes the document that describes them.
func (s *server) routes() error {
	useProblems()
	s.mux = http.NewServeMux()
	cfg := huma.DefaultConfig("forg", s.cfg.Version)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", "", nil // the document is ours to serve, and no answer names the host
	cfg.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	cfg.Info.Description = "The hosted API of forg. Errors are problems (RFC 9457). See PROTOCOL.md for the sync protocol."
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An access token, or an API key (forg_...)."},
	}
	cfg.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[problem](), reflect.TypeFor[api.Problem]())
	cfg.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[uuid.UUID](), reflect.TypeFor[uuidText]())
	s.api = humago.New(s.mux, cfg)
	s.api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		a, ok := ctx.Operation().Metadata["access"].(access)
		r, w := humago.Unwrap(ctx)
		if !ok {
			s.fail(w, r, fmt.Errorf("route %s says nothing of its access", ctx.Operation().Path))
			return
		}
		if err := s.admit(r.Context(), a, r.Header.Get("Authorization"), w.Header()); err != nil {
			s.fail(w, r, err)
			return
		}
		next(ctx)
	})
	s.accountRoutes()
	s.operationRoutes()
	s.keyRoutes()
	s.deviceRoutes()
	s.syncRoutes()
	s.sealRoutes()
	s.liveRoutes()
	s.healthRoutes()
	var err error
	if s.doc, err = json.Marshal(s.api.OpenAPI()); err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return nil
}

// describe completes the description of a route.
func (s *server) describe(op *huma.Operation, a access) {
	if a.public {
		op.Security = []map[string][]string{}
	} else {
		op.Security = []map[string][]string{{"bearer": {}}}
		scope := string(a.scope)
		if a.session {
			scope = "session"
		}
		op.Extensions = map[string]any{"x-scope": scope}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	}
	op.Errors = append(op.Errors, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable)
	s.access[op.Method+" "+op.Path] = a
}

// route adds a route of JSON. An operation's id is the name by which generated clients call it.
func route[I, O any](s *server, a access, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	s.describe(&op, a)
	if _, ok := reflect.TypeFor[I]().FieldByName("Body"); ok {
		op.Errors = append(op.Errors, 400, 408, 413, 415, 422)
		op.MaxBodyBytes, op.BodyReadTimeout = maxJSON, jsonTime
	}
	op.Metadata = map[string]any{"access": a}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, workTime)
		defer cancel()
		out, err := do(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}

// plain adds a route that is no exchange of two JSON documents: a stream, say. It is described by hand.
func (s *server) plain(a access, op huma.Operation, do func(http.ResponseWriter, *http.Request) error) {
	s.describePlain(&op, a)
	s.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		err := s.admit(r.Context(), a, r.Header.Get("Authorization"), w.Header())
		if err == nil {
			err = do(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// describePlain puts a route into the document that huma does not carry out.
func (s *server) describePlain(op *huma.Operation, a access) {
	s.describe(op, a)
	for _, status := range op.Errors {
		key := fmt.Sprint(status)
		if op.Responses[key] == nil {
			op.Responses[key] = &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{
				"application/problem+json": {Schema: s.schema(reflect.TypeFor[api.Problem]())}}}
		}
	}
	s.api.OpenAPI().AddOperation(op)
}

func (s *server) schema(t reflect.Type) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// answers describes the answers of a plain route: one body of a type, or none.
func (s *server) answers(status int, mediaType, description string, body any) map[string]*huma.Response {
	r := &huma.Response{Description: description}
	if body != nil {
		r.Content = map[string]*huma.MediaType{mediaType: {Schema: s.schema(reflect.TypeOf(body))}}
	}
	return map[string]*huma.Response{fmt.Sprint(status): r}
}

func (s *server) takes(description string, body any) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Description: description,
		Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema(reflect.TypeOf(body))}}}
}

func queryParam(name, kind, description string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: description, Schema: &huma.Schema{Type: kind}}
}

// queryNumber is a whole number from 0 to most, as queryInt reads it.
func queryNumber(name string, most int64, description string) *huma.Param {
	p := queryParam(name, "integer", description)
	least, greatest := 0.0, float64(most)
	p.Schema.Format, p.Schema.Minimum, p.Schema.Maximum = "int64", &least, &greatest
	return p
}

func pathID(description string) *huma.Param {
	return &huma.Param{Name: "id", In: "path", Required: true, Description: description, Schema: &huma.Schema{Type: "string", Format: "uuid"}}
}

// uuidText is what a UUID is in JSON.
type uuidText struct{}

// Schema describes it.
func (uuidText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "uuid"}
}

// byID is what routes about one thing take. (huma sees no fields of unexported types that are embedded.)
type byID struct {
	ID uuid.UUID `path:"id"`
}

type jsonOf[T any] struct{ Body T }

type nothing struct{}

// next is a cursor as pages have it.
func next(cursor string) *string {
	if cursor == "" {
		return nil
	}
	return &cursor
}

// orNull is a time as JSON has it where there may be none.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orNone(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}
