package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"forg/sync/api"
	"forg/sync/server/store"
)

// docs is the page that shows the OpenAPI document. It is small and our own: nothing is fetched from elsewhere.
//
//go:embed docs
var docs embed.FS

// health says that the process is there.
type health struct {
	Status string `json:"status" doc:"ok, or why it is not ready: database, draining."`
}

// statusBody answers GET /api/v1/status.
type statusBody struct {
	Version       string           `json:"version"`
	UptimeSeconds int64            `json:"uptime_seconds"`
	StartedAt     time.Time        `json:"started_at"`
	ServerTime    time.Time        `json:"server_time"`
	Role          string           `json:"role"`
	Database      databaseState    `json:"database"`
	Queue         queueState       `json:"queue"`
	Counts        map[string]int64 `json:"counts" doc:"users, devices, operations, entries, open_commands; large numbers are estimates."`
}

type databaseState struct {
	Kind  string `json:"kind" doc:"postgresql or sqlite"`
	State string `json:"state" doc:"ok or unavailable"`
}

type queueState struct {
	State string           `json:"state" doc:"ok or unavailable"`
	Jobs  map[string]int64 `json:"jobs" doc:"By state."`
}

func (s *server) healthRoutes() {
	alive := func(w http.ResponseWriter, _ *http.Request) error { return writeJSON(w, http.StatusOK, health{"ok"}) }
	watchers := access{public: true, free: true}
	s.plain(watchers, huma.Operation{OperationID: "health", Method: "GET", Path: "/health", Summary: "The process is there", Tags: []string{"Service"},
		Responses: s.answers(200, "application/json", "It is", health{})}, alive)
	s.plain(watchers, huma.Operation{OperationID: "ready", Method: "GET", Path: "/health/ready", Summary: "The service can do its work",
		Tags: []string{"Service"}, Responses: s.answers(200, "application/json", "It can", health{})}, s.ready)
	route(s, public, huma.Operation{OperationID: "status", Method: "GET", Path: "/api/v1/status", Summary: "Version, uptime, state and counts",
		Tags: []string{"Service"}}, s.status())
	metrics := huma.Operation{OperationID: "metrics", Method: "GET", Path: "/metrics", Summary: "Metrics for Prometheus", Tags: []string{"Service"},
		Description: "For requests from this machine, or with the operator's token.", Responses: map[string]*huma.Response{"200": {Description: "Text form 0.0.4"}}}
	s.plain(watchers, metrics, func(w http.ResponseWriter, r *http.Request) error {
		if !s.mayMeasure(r) {
			return unauthenticated("metrics are for this machine, or for who has the token")
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		return s.metrics.write(w)
	})
	s.metrics.gauge("forg_password_queue", "Passwords that wait for their turn.", func() float64 { return float64(s.passwords.State().Waiting) })
	s.metrics.gauge("forg_ready", "1 if the service can do its work.", func() float64 {
		if s.isReady(context.Background()) != nil {
			return 0
		}
		return 1
	})
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(s.doc) // who has gone away needs no answer
	})
	files, err := fs.Sub(docs, "docs")
	if err != nil {
		panic(err) // the folder is in the program
	}
	page := http.StripPrefix("/docs", http.FileServerFS(files))
	show := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-cache")
		page.ServeHTTP(w, r)
	}
	s.mux.HandleFunc("GET /docs/", show)
	s.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		r.URL.Path = "/docs/"
		show(w, r)
	})
}

// mayMeasure compares hashes, so that the time of it says nothing about the token.
func (s *server) mayMeasure(r *http.Request) bool {
	if requestOf(r.Context()).local {
		return true
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.cfg.MetricsToken))
	return s.cfg.MetricsToken != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (s *server) isReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return s.store.Ready(ctx)
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return newProblem(api.CodeUnavailable, "draining")
	}
	if err := s.isReady(r.Context()); err != nil {
		s.log.Error("not ready", "error", err)
		return newProblem(api.CodeUnavailable, "the database or its job queue does not answer")
	}
	return writeJSON(w, http.StatusOK, health{"ok"})
}

// status counts at most once a second, however many ask.
func (s *server) status() func(context.Context, *nothing) (*jsonOf[statusBody], error) {
	var mu sync.Mutex
	var last store.Counts
	var failed error
	var at time.Time
	return func(ctx context.Context, _ *nothing) (*jsonOf[statusBody], error) {
		now := s.cfg.Now()
		mu.Lock()
		if now.Sub(at) >= time.Second {
			counting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			last, failed = s.store.Count(counting)
			cancel()
			at = now
		}
		c, err := last, failed
		mu.Unlock()
		out := statusBody{Version: s.cfg.Version, StartedAt: s.started.UTC(), ServerTime: now.UTC(),
			UptimeSeconds: int64(now.Sub(s.started).Seconds()), Role: string(s.cfg.Role),
			Database: databaseState{Kind: "sqlite", State: "ok"}, Queue: queueState{State: "ok", Jobs: map[string]int64{}}, Counts: map[string]int64{}}
		if s.store.Postgres() {
			out.Database.Kind = "postgresql"
		}
		if err != nil {
			s.log.Error("count", "error", err)
			out.Database.State, out.Queue.State = "unavailable", "unavailable"
			return &jsonOf[statusBody]{out}, nil
		}
		out.Counts = map[string]int64{"users": c.Users, "devices": c.Devices, "operations": c.Operations, "entries": c.Entries, "open_commands": c.OpenCommands}
		if c.Jobs != nil {
			out.Queue.Jobs = c.Jobs
		}
		return &jsonOf[statusBody]{out}, nil
	}
}
