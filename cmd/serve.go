//go:build !noserver

package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/sync/api"
	"forg/sync/server"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

// serveStore is where a service keeps what it knows: the flags that the server and the operator's commands share.
type serveStore struct {
	dataDir, database, owner string
}

func (f *serveStore) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.dataDir, "data-dir", "", "`dir` for keys, journals and the embedded database (default $XDG_DATA_HOME/forg/serve)")
	fl.StringVar(&f.database, "database-url", "", "PostgreSQL to use instead of the embedded SQLite: `postgres://...`")
}

type serveFlags struct {
	serveStore
	addr, redis, role, cert, key, issuer, signup, kdf, pprof string
	origins, proxies, rates                                  []string
	failures, workers                                        int
	drain                                                    time.Duration
}

func (a *app) serveCmd() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use: "serve", Short: "Run the hosted API",
		Long: help(`Serves the API that "forg sync" and "forg agent" talk to, for yourself or for many. Without flags it keeps everything
in one SQLite file and listens on this machine only; with --database-url it is the same on PostgreSQL, and any number
of such processes behind a load balancer are one service. It prints "listening on http://..." once it is ready, logs
to standard error as JSON, and finishes what is under way when it is terminated. /docs shows all routes.

Secrets come from the environment, not from flags that others could see: FORG_SERVE_DATABASE_URL,
FORG_SERVE_SIGNING_KEYS (else a file that only you can read is made in the data folder), FORG_SERVE_METRICS_TOKEN.`, exitServeText),
		Example: `  forg serve
  forg serve --addr 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  forg serve --database-url postgres://forg@db/forg --redis-url redis://cache:6379/0
  forg serve --role worker                           works off jobs, answers no clients
  forg serve users add ana@example.org               make an account`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), &f) },
	}
	fl := c.Flags()
	f.register(fl)
	fl.StringVar(&f.addr, "addr", "127.0.0.1:8480", "`host:port` to listen on")
	fl.StringVar(&f.owner, "owner-url", "", "whom to migrate PostgreSQL as, if not as --database-url: `postgres://...`")
	fl.StringVar(&f.redis, "redis-url", "", "Redis for rate limits that several processes share: `redis://...`")
	choiceVar(fl, &f.role, "role", "all", "answer requests, work off jobs, or both", "all", "api", "worker")
	fl.StringVar(&f.cert, "tls-cert", "", "`file` of the certificate, to serve HTTPS")
	fl.StringVar(&f.key, "tls-key", "", "`file` of the certificate's key")
	fl.StringVar(&f.issuer, "issuer", "forg", "`name` of the service in access tokens; all its processes must have the same")
	choiceVar(fl, &f.signup, "signup", "open", "who may register: anybody, or nobody (then \"forg serve users add\")", "open", "closed")
	choiceVar(fl, &f.kdf, "kdf", "bcrypt", "how new passwords are hashed (others are made anew at the next login)", "bcrypt", "argon2id")
	fl.StringSliceVar(&f.origins, "cors-origin", nil, "`origin` of web pages that may use the API (https://example.org)")
	fl.StringSliceVar(&f.proxies, "trusted-proxy", nil, "`network` of proxies whose X-Forwarded-For is believed (10.0.0.0/8)")
	fl.StringSliceVar(&f.rates, "rate-limits", []string{"free=1200", "pro=6000", "enterprise=30000"}, "requests a minute, by `tier=number`; 0 is no limit")
	fl.IntVar(&f.failures, "login-failures", 5, "wrong passwords a minute for an account (four times as many for an address); -1 is no limit")
	fl.StringVar(&f.pprof, "pprof", "", "`host:port` for profiles of the running program")
	fl.DurationVar(&f.drain, "drain", 30*time.Second, "`time` that requests may take after the end was asked for")
	fl.IntVar(&f.workers, "workers", 2, "storage locations organized at once")
	c.AddCommand(a.serveUsersCmd(), a.serveLocationsCmd(), a.serveKeysCmd(), a.serveMigrateCmd())
	var share func(*cobra.Command)
	share = func(c *cobra.Command) { // the operator's commands are about the same database as the server's
		for _, sub := range c.Commands() {
			sub.Annotations = map[string]string{settingsOf: "serve"}
			share(sub)
		}
	}
	share(c)
	return c
}

const exitServeText = exitHead + "  4    another server uses this data folder"

func (a *app) serveConfig(f *serveStore) (server.Config, error) {
	dir := f.dataDir
	if dir == "" {
		home := a.dataHome()
		if home == "" {
			return server.Config{}, fmt.Errorf("no home folder is known: give --data-dir")
		}
		dir = filepath.Join(home, "forg", "serve")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return server.Config{}, fmt.Errorf("--data-dir: %w", err)
	}
	if f.database != "" && !isPostgres(f.database) {
		return server.Config{}, usage("--database-url: it begins with postgres:// (the embedded database needs none)")
	}
	return server.Config{DataDir: dir, DatabaseURL: f.database, OwnerURL: f.owner, Version: version(), Now: a.now}, nil
}

func isPostgres(u string) bool {
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

func (a *app) serve(ctx context.Context, f *serveFlags) error {
	cfg, err := a.serveConfig(&f.serveStore)
	if err != nil {
		return err
	}
	if !strings.Contains(f.addr, ":") {
		return usage("--addr %q: it is host:port, as 127.0.0.1:8480", f.addr)
	}
	if (f.cert == "") != (f.key == "") {
		return usage("--tls-cert and --tls-key need each other")
	}
	if f.redis != "" && !strings.HasPrefix(f.redis, "redis://") && !strings.HasPrefix(f.redis, "rediss://") && !strings.HasPrefix(f.redis, "unix://") {
		return usage("--redis-url: it begins with redis://, rediss:// or unix://")
	}
	if f.drain < 0 || f.workers < 1 {
		return usage("--drain cannot be negative, and --workers is 1 at least")
	}
	cfg.Addr, cfg.RedisURL, cfg.Role, cfg.TLSCert, cfg.TLSKey = f.addr, f.redis, server.Role(f.role), f.cert, f.key
	cfg.Name, cfg.Signup, cfg.Passwords.Method = f.issuer, f.signup == "open", auth.Method(f.kdf)
	cfg.LoginFailures, cfg.PprofAddr, cfg.Drain, cfg.Workers, cfg.Lame = f.failures, f.pprof, f.drain, f.workers, 250*time.Millisecond
	cfg.SigningKeys, cfg.MetricsToken = a.getenv("FORG_SERVE_SIGNING_KEYS"), a.getenv("FORG_SERVE_METRICS_TOKEN")
	cfg.Log, cfg.LogLevel = a.err, slog.LevelInfo
	switch {
	case a.quiet:
		cfg.LogLevel = slog.LevelWarn
	case a.verbose:
		cfg.LogLevel = slog.LevelDebug
	}
	for _, o := range f.origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "") {
			return usage("--cors-origin %q: it is scheme://host, as https://example.org", o)
		}
	}
	cfg.Origins = f.origins
	for _, p := range f.proxies {
		n, err := netip.ParsePrefix(p)
		if ip, e := netip.ParseAddr(p); err != nil && e == nil {
			n, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return usage("--trusted-proxy %q: it is an address or a network, as 10.0.0.0/8", p)
		}
		cfg.Proxies = append(cfg.Proxies, n)
	}
	cfg.RateLimits = server.DefaultRateLimits()
	for _, r := range f.rates {
		tier, text, _ := strings.Cut(r, "=")
		n, err := strconv.Atoi(text)
		if _, ok := cfg.RateLimits[api.Tier(tier)]; !ok || err != nil || n < 0 {
			return usage("--rate-limits %q: it is free=N, pro=N or enterprise=N", r)
		}
		cfg.RateLimits[api.Tier(tier)] = n
	}
	cfg.Listening = func(url string) {
		// Whatever --quiet says: programs that start a server wait for this line.
		fmt.Fprintln(a.out, "listening on "+url)
	}
	return server.Run(ctx, cfg)
}

// withStore opens the store of a service for one of the operator's commands.
func (a *app) withStore(ctx context.Context, f *serveStore, do func(*store.Store, server.Config) error) error {
	cfg, err := a.serveConfig(f)
	if err != nil {
		return err
	}
	st, err := server.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	return do(st, cfg)
}

func (a *app) serveKeysCmd() *cobra.Command {
	var dir string
	rotate := &cobra.Command{
		Use: "rotate", Short: "Sign access tokens with a new key",
		Long: help(`Puts a new key in front of the key file of the data folder. The one before is still accepted until the next rotation,
so nobody has to log in again. A running server notices within a quarter of a minute. Where the keys come from
FORG_SERVE_SIGNING_KEYS, put a new one in front of the old one there, in all processes.`, exitUsageText),
		Example: "  forg serve keys rotate",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.serveConfig(&serveStore{dataDir: dir})
			if err != nil {
				return err
			}
			if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
				return fmt.Errorf("make the data folder: %w", err)
			}
			if _, err := auth.RotateKeys(filepath.Join(cfg.DataDir, server.KeyFile)); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"rotated": true})
			}
			a.say("Access tokens are signed with a new key from now on.")
			return nil
		},
	}
	rotate.Flags().StringVar(&dir, "data-dir", "", "`dir` of the server's data (default $XDG_DATA_HOME/forg/serve)")
	c := &cobra.Command{
		Use: "keys", Short: "Manage the keys that sign access tokens",
		Long:    help("Manages the secrets that access tokens are signed with.", exitUsageText),
		Example: "  forg serve keys rotate",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(rotate)
	return c
}

func (a *app) serveMigrateCmd() *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: "migrate", Short: "Bring the database to the newest schema",
		Long: help(`Makes the tables of the service, or brings them to what this forg needs. "forg serve" does so itself when it starts;
this is for operators who let another login own the tables (--owner-url) than the one the service works with.`, exitUsageText),
		Example: "  forg serve migrate --database-url postgres://forg@db/forg --owner-url postgres://owner@db/forg",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				if err := st.Ready(c.Context()); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"ready": true})
				}
				a.say("The database is ready.")
				return nil
			})
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&f.owner, "owner-url", "", "whom to migrate PostgreSQL as, if not as --database-url: `postgres://...`")
	return c
}
