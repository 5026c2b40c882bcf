// Package server is the hosted API: routes, limits, live progress, jobs, health and metrics over a store. It moves no
// file itself: what a worker does in a folder of the server, package organizer does, with a journal as anywhere else.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

// Role is what a process of the service does.
type Role string

// The roles.
const (
	RoleAll    Role = "all"
	RoleAPI    Role = "api"    // answers requests
	RoleWorker Role = "worker" // works off jobs, and answers only for its health
)

// KeyFile is the file in the data folder that holds the secrets of access tokens.
const KeyFile = "signing.keys"

// Config is all that a server is told. Whoever calls Run has read it from flags, environment and files.
type Config struct {
	Addr        string // HOST:PORT to listen on
	DataDir     string // what is kept beside the database: keys, journals of locations, the database itself with SQLite
	DatabaseURL string // postgres://...; empty is SQLite in DataDir
	OwnerURL    string // whom migrations connect as; empty is DatabaseURL
	RedisURL    string // for rate limits that several processes share; empty keeps them in memory
	Role        Role
	TLSCert     string // files of a certificate and its key; empty is plain HTTP
	TLSKey      string
	Name        string // who issues access tokens; all processes of one service must agree
	Signup      bool   // anybody may register
	SigningKeys string // secrets as auth.ParseKeys reads them; empty is KeyFile in DataDir
	Passwords   auth.PasswordOptions
	Origins     []string       // of web pages that may use the API; "https://example.org"
	Proxies     []netip.Prefix // whose X-Forwarded-For is believed
	RateLimits  map[api.Tier]int
	// LoginFailures is how many wrong passwords a minute an account may see; an address may cause four times as many.
	// 0 is 5, less than 0 no limit.
	LoginFailures int
	Quotas        map[api.Tier]int64 // bytes that the log of a user may take; 0 is no limit
	MetricsToken  string             // lets others than this machine read /metrics
	PprofAddr     string             // HOST:PORT for profiles; empty is none
	MaxConns      int                // to the database; 0 is a default
	Workers       int                // locations organized at once; 0 is 2
	// Lame is how long connections are still taken after the end was asked for, while /health/ready says no. Drain is how
	// long requests may take after that.
	Lame, Drain time.Duration
	Version     string
	Log         io.Writer // JSON, a line an event; nil is none
	LogLevel    slog.Level
	Now         func() time.Time
	Listening   func(url string) // is told once the server answers

	look  time.Duration              // for tests: between looks at the store when no word comes; 0 is liveLook
	place func(store.Location) place // of tests: where a location's files are, if not in a folder
}

// DefaultRateLimits are requests a minute.
func DefaultRateLimits() map[api.Tier]int {
	return map[api.Tier]int{api.TierFree: 1200, api.TierPro: 6000, api.TierEnterprise: 30000}
}

// DefaultQuotas are bytes of history.
func DefaultQuotas() map[api.Tier]int64 {
	return map[api.Tier]int64{api.TierFree: 256 << 20, api.TierPro: 4 << 30, api.TierEnterprise: 0}
}

// server is a running service.
type server struct {
	cfg       Config
	store     *store.Store
	passwords *auth.Passwords
	tokens    *auth.Tokens
	log       *slog.Logger
	metrics   *metrics
	limits    *limiter
	login     *throttle
	sessions  *sessionCache
	hub       *hub
	queue     *store.Queue
	places    *places
	api       huma.API
	mux       *http.ServeMux
	access    map[string]access // by method and pattern of a route
	doc       []byte            // the OpenAPI document
	started   time.Time
	draining  atomic.Bool
	drained   chan struct{}  // closed when draining begins: whoever waits for something stops waiting
	conns     sync.WaitGroup // WebSockets, which http.Server does not wait for
}

// Run serves until ctx ends, and then lets what is under way finish. The database is made and migrated as needed. Errors:
// what keeps the server from starting or from going on; journal.ErrLocked when another one uses the data folder.
func Run(ctx context.Context, cfg Config) error {
	s, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	return s.serve(ctx)
}

// Open opens the store of a server for the operator's commands, migrated.
func Open(ctx context.Context, cfg Config) (*store.Store, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	st, err := store.Open(ctx, cfg.databaseURL(), store.Options{OwnerURL: cfg.OwnerURL, MaxConns: cfg.MaxConns, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	if err := st.Migrate(ctx, store.Latest); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

func (c *Config) databaseURL() string {
	return cmp.Or(c.DatabaseURL, filepath.Join(c.DataDir, "forg.db"))
}

func open(ctx context.Context, cfg Config) (_ *server, err error) {
	cfg.Role = cmp.Or(cfg.Role, RoleAll)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.RateLimits == nil {
		cfg.RateLimits = DefaultRateLimits()
	}
	if cfg.Quotas == nil {
		cfg.Quotas = DefaultQuotas()
	}
	cfg.Drain = cmp.Or(cfg.Drain, 30*time.Second)
	s := &server{cfg: cfg, started: cfg.Now(), drained: make(chan struct{}), metrics: newMetrics(), access: map[string]access{}}
	s.log = newLogger(cfg.Log, cfg.LogLevel)
	if s.store, err = Open(ctx, cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	keys, err := loadKeys(&cfg)
	if err != nil {
		return nil, err
	}
	s.tokens = auth.NewTokens(keys, auth.TokenOptions{Issuer: cfg.Name, Now: cfg.Now})
	pool := cfg.Passwords
	pool.Observe = s.metrics.password
	if s.passwords, err = auth.NewPasswords(pool); err != nil {
		return nil, err
	}
	if s.limits, err = newLimiter(cfg.RedisURL, cfg.Now, s.metrics); err != nil {
		return nil, err
	}
	s.login = newThrottle(s.limits, cfg.LoginFailures)
	s.sessions = newSessionCache(s.store, cfg.Now)
	s.hub = newHub(s.store, s.metrics, s.log, cmp.Or(cfg.look, liveLook))
	if cfg.Role != RoleAPI {
		s.places = newPlaces(s)
		if s.queue, err = s.store.Queue(s.places.queueConfig()); err != nil {
			return nil, err
		}
	}
	if err := s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

func loadKeys(cfg *Config) (auth.Keys, error) {
	if cfg.SigningKeys != "" {
		return auth.ParseKeys(cfg.SigningKeys)
	}
	return auth.LoadKeys(filepath.Join(cfg.DataDir, KeyFile))
}

func (s *server) close() {
	if s.hub != nil {
		s.hub.close()
	}
	if s.limits != nil {
		s.limits.close()
	}
	s.store.Close()
}

// lockData keeps two servers from one SQLite database, whose job queue and live events know of one process only.
func (s *server) lockData(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.cfg.DataDir, "serve.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if s.store.Postgres() {
		return f, nil
	}
	if err := journal.LockFile(ctx, f, 0); errors.Is(err, journal.ErrLocked) {
		f.Close()
		return nil, fmt.Errorf("the data folder %s is another server's: %w", s.cfg.DataDir, journal.ErrLocked)
	}
	return f, nil // a file system without locks has none to respect
}

// Limits of what a client may take of the server, whatever it asks for.
const (
	headerTime  = 5 * time.Second  // for all headers of a request
	requestTime = 30 * time.Second // for a request with its body
	answerTime  = 60 * time.Second // for the answer; streams extend it as long as they are read
	idleTime    = 2 * time.Minute
	maxHeader   = 16 << 10 // bytes
	workTime    = 20 * time.Second
)

func (s *server) serve(ctx context.Context) error {
	lock, err := s.lockData(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	// The work of the process goes on while it drains, so it does not end with ctx.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ln, err := net.Listen("tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.cfg.Addr, err)
	}
	scheme := "http"
	if s.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			ln.Close()
			return fmt.Errorf("read the certificate: %w", err)
		}
		scheme = "https"
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	conns := &connections{all: map[net.Conn]connection{}}
	web := &http.Server{
		ConnState: conns.note,
		Handler:   s.handler(), ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return life },
	}
	profiles, err := s.profiles()
	if err != nil {
		ln.Close()
		return err
	}
	defer profiles.Close()

	var background sync.WaitGroup
	if s.queue != nil {
		if err := s.queue.Start(life); err != nil {
			ln.Close()
			return fmt.Errorf("start the job queue: %w", err)
		}
		background.Go(func() { s.places.watch(life) })
	}
	background.Go(func() { s.housekeep(life) })
	background.Go(func() { s.watchKeys(life) })
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(ln) }()
	url := scheme + "://" + ln.Addr().String()
	s.log.Info("listening", "url", url, "role", string(s.cfg.Role), "version", s.cfg.Version)
	if s.cfg.Listening != nil {
		s.cfg.Listening(url)
	}
	select {
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		err = s.drain(web, ln, conns)
	}
	if s.queue != nil {
		stop, cancel := context.WithTimeout(life, s.cfg.Drain)
		if e := s.queue.StopAndCancel(stop); e != nil {
			s.log.Warn("jobs did not end in time; they go on with the next start", "error", e)
		}
		cancel()
	}
	end()
	background.Wait()
	s.log.Info("stopped")
	return err
}

// connections remembers since when each connection is in which state.
type connections struct {
	mu  sync.Mutex
	all map[net.Conn]connection
}

type connection struct {
	state http.ConnState
	since time.Time
}

func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.all, conn)
		return
	}
	c.all[conn] = connection{state, time.Now()}
}

// quiet reports whether no request is under way, and none has been for a while on any connection, so that none is about to
// come either.
func (c *connections) quiet(while time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.all {
		if x.state == http.StateActive || time.Since(x.since) < while {
			return false
		}
	}
	return true
}

// drain takes no new connections and lets every request that has come be answered. While it begins, connections are
// still taken: whoever balances the load needs a moment to notice. Every answer from now on is the last one of its
// connection. http.Server.Shutdown comes at the end only, since it drops requests that arrive after it was called.
func (s *server) drain(web *http.Server, ln net.Listener, conns *connections) error {
	s.log.Info("draining")
	s.draining.Store(true)
	close(s.drained)
	time.Sleep(s.cfg.Lame)
	ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain)
	defer cancel()
	for !conns.quiet(300*time.Millisecond) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	err := web.Shutdown(ctx)
	sockets := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(sockets)
	}()
	select {
	case <-sockets:
	case <-ctx.Done():
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		web.Close()
		return fmt.Errorf("requests did not end within %s and were cut off: %w", s.cfg.Drain, err)
	}
	return nil
}

// profiles serves pprof where the operator asked for it, apart from everything else.
func (s *server) profiles() (*http.Server, error) {
	p := &http.Server{ReadHeaderTimeout: headerTime}
	if s.cfg.PprofAddr == "" {
		return p, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	p.Handler = mux
	ln, err := net.Listen("tcp", s.cfg.PprofAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles on %s: %w", s.cfg.PprofAddr, err)
	}
	go p.Serve(ln)
	return p, nil
}

// housekeep removes what is older than it is to be kept.
func (s *server) housekeep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Minute):
		}
		gone, err := s.store.Housekeep(ctx, store.DefaultRetention())
		if err != nil && ctx.Err() == nil {
			s.log.Error("housekeeping", "error", err)
		} else if gone != (store.Removed{}) {
			s.log.Info("housekeeping", "removed", gone)
		}
	}
}

// watchKeys takes up the keys of a rotation.
func (s *server) watchKeys(ctx context.Context) {
	if s.cfg.SigningKeys != "" {
		return // they came with the start of the process
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Second):
		}
		keys, err := loadKeys(&s.cfg)
		if err != nil {
			s.log.Error("read the signing keys again; those of before hold", "error", err)
			continue
		}
		s.tokens.SetKeys(keys)
	}
}

// stack is where a panic came from.
func stack() string { return string(debug.Stack()) }
