package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
)

// redisClient runs scripts in Redis. It is redigo and not go-redis since two scripts on one server are all there is to do, and
// go-redis adds 1.9 MB to every forg, redigo 65 KB.
type redisClient struct {
	pool *redis.Pool
	dial func(context.Context) (redis.Conn, error)
}

// redisIdle is how many connections are kept, and redisKept how long.
const (
	redisIdle = 16
	redisKept = 5 * time.Minute
)

// newRedisClient reads redis://[user:password@]host[:port][/database], rediss:// for TLS, or unix:///path/of/socket[?db=N]. It
// does not connect: a Redis that is away is none at the start either.
func newRedisClient(text string) (*redisClient, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return nil, errors.New("read the address of Redis: it is no URL") // err has it in it, with the password
	}
	options := []redis.DialOption{redis.DialReadTimeout(redisBudget), redis.DialWriteTimeout(redisBudget),
		redis.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12})}
	c := &redisClient{dial: func(ctx context.Context) (redis.Conn, error) { return redis.DialURLContext(ctx, text, options...) }}
	switch u.Scheme {
	case "redis", "rediss":
		if !regexp.MustCompile(`^(/\d*)?$`).MatchString(u.Path) {
			return nil, fmt.Errorf("read the address of Redis: %q is no number of a database", u.Path)
		}
	case "unix":
		if db := u.Query().Get("db"); db != "" {
			n, err := strconv.Atoi(db)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("read the address of Redis: %q is no number of a database", db)
			}
			options = append(options, redis.DialDatabase(n))
		}
		c.dial = func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "unix", u.Path, options...)
		}
	default:
		return nil, fmt.Errorf("read the address of Redis: %q is neither redis, rediss nor unix", u.Scheme)
	}
	c.pool = &redis.Pool{DialContext: c.dial, MaxIdle: redisIdle, IdleTimeout: redisKept}
	return c, nil
}

func (c *redisClient) close() { c.pool.Close() }

// eval runs a script with one key and returns the numbers that it answers. ctx has a deadline.
func (c *redisClient) eval(ctx context.Context, script *redis.Script, key string, args ...any) ([]int64, error) {
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	n, err := redis.Int64s(script.Do(conn, append([]any{key}, args...)...))
	conn.Close() // back to the pool, or for good if it is broken
	if err == nil || ctx.Err() != nil {
		return n, err
	}
	// Redis may have been started anew since the connection was made: one of now tells.
	if conn, err = c.dial(ctx); err != nil {
		return nil, err
	}
	defer conn.Close()
	return redis.Int64s(script.Do(conn, append([]any{key}, args...)...))
}
