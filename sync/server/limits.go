package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"forg/sync/api"
)

// limiter holds clients to a rate, by the generic cell rate algorithm: of each it keeps one time, at which it would be
// through with all it has asked for. In Redis several processes share that; when it is away each goes by its own memory.
type limiter struct {
	now     func() time.Time
	seed    maphash.Seed
	shards  [64]limiterShard
	redis   *redisClient
	away    atomic.Int64 // until when Redis is not asked, ns since 1970
	metrics *metrics
}

type limiterShard struct {
	mu    sync.Mutex
	until map[string]int64 // ns since 1970
}

// redisBudget is what a request waits for Redis, and redisRest for how long it is left alone after it has failed.
const (
	redisBudget = 50 * time.Millisecond
	redisRest   = time.Second
)

func newLimiter(redisURL string, now func() time.Time, m *metrics) (*limiter, error) {
	l := &limiter{now: now, seed: maphash.MakeSeed(), metrics: m}
	for i := range l.shards {
		l.shards[i].until = map[string]int64{}
	}
	if redisURL == "" {
		return l, nil
	}
	var err error
	l.redis, err = newRedisClient(redisURL)
	return l, err
}

func (l *limiter) close() {
	if l.redis != nil {
		l.redis.close()
	}
}

// rate is so many events a period, and as many at once.
type rate struct {
	n      int
	period time.Duration
}

// taken is what the limiter says about one event.
type taken struct {
	ok        bool
	remaining int
	reset     time.Duration // until all are there again
	wait      time.Duration // until one is
}

func (t *taken) count(r rate, now, until int64) {
	each := int64(r.period) / int64(r.n)
	t.remaining = max(0, int((int64(r.period)-(until-now))/each))
	t.reset = max(0, time.Duration(until-now))
}

// take counts one event of key.
func (l *limiter) take(ctx context.Context, key string, r rate) taken {
	if l.redis != nil && l.now().UnixNano() >= l.away.Load() {
		t, err := l.takeShared(ctx, key, r)
		if err == nil {
			return t
		}
		l.away.Store(l.now().Add(redisRest).UnixNano())
		l.metrics.add("forg_redis_fallback_total", "", 1)
	}
	now := l.now().UnixNano()
	each := int64(r.period) / int64(r.n)
	sh := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	until := max(sh.until[key], now)
	var t taken
	if until+each-now > int64(r.period) {
		t.wait = time.Duration(until + each - now - int64(r.period))
	} else {
		t.ok = true
		until += each
		if len(sh.until) > 4096 {
			for k, u := range sh.until {
				if u <= now {
					delete(sh.until, k)
				}
			}
		}
		sh.until[key] = until
	}
	t.count(r, now, until)
	return t
}

// give takes an event back, here and in Redis as well as can be.
func (l *limiter) give(ctx context.Context, key string, r rate) {
	each := int64(r.period) / int64(r.n)
	sh := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	sh.mu.Lock()
	if u, ok := sh.until[key]; ok {
		sh.until[key] = u - each
	}
	sh.mu.Unlock()
	if l.redis != nil && l.now().UnixNano() >= l.away.Load() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisBudget)
		defer cancel()
		// Best effort: it is a token more or less.
		_, _ = l.redis.eval(ctx, giveScript, redisKey(key), each/1000)
	}
}

// Scripts are atomic in Redis. Times are in microseconds, which a Lua number holds exactly, by the clock of Redis.
var (
	giveScript = redis.NewScript(1, `
local till = tonumber(redis.call('GET', KEYS[1]) or '0')
if till > 0 then redis.call('SET', KEYS[1], string.format('%.0f', till - ARGV[1]), 'KEEPTTL') end
return {1}`)
	takeScript = redis.NewScript(1, `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local each, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local till = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if till + each - now > period then return {0, till - now} end
till = till + each
redis.call('SET', KEYS[1], string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 1000)
return {1, till - now}`)
)

func redisKey(key string) string {
	sum := sha256.Sum256([]byte(key)) // no e-mail address or network address in Redis
	return "forg:rate:" + hex.EncodeToString(sum[:16])
}

func (l *limiter) takeShared(ctx context.Context, key string, r rate) (taken, error) {
	ctx, cancel := context.WithTimeout(ctx, redisBudget)
	defer cancel()
	each := r.period.Microseconds() / int64(r.n)
	answer, err := l.redis.eval(ctx, takeScript, redisKey(key), each, r.period.Microseconds())
	if err != nil || len(answer) != 2 {
		return taken{}, fmt.Errorf("ask Redis: %w", err)
	}
	until := answer[1] * 1000
	t := taken{ok: answer[0] == 1}
	if !t.ok {
		t.wait = time.Duration(until) + time.Duration(each)*time.Microsecond - r.period
	}
	t.count(r, 0, until)
	return t, nil
}

// allow counts a request of key and tells the client where it stands. perMinute 0 is no limit.
func (l *limiter) allow(ctx context.Context, key string, perMinute int, header http.Header) error {
	if perMinute <= 0 {
		return nil
	}
	t := l.take(ctx, key, rate{perMinute, time.Minute})
	header.Set("RateLimit-Limit", strconv.Itoa(perMinute))
	header.Set("RateLimit-Remaining", strconv.Itoa(t.remaining))
	header.Set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(t.reset.Seconds()))))
	if !t.ok {
		l.metrics.add("forg_rate_limited_total", `kind="requests"`, 1)
		return tooFast(api.CodeRateLimited, t.wait)
	}
	return nil
}

// throttle slows down who guesses passwords. It counts failures, so that nobody is locked out by logging in often, and it
// counts them before the password is looked at, so that guesses that come at once count too.
type throttle struct {
	limits           *limiter
	account, address rate
}

func newThrottle(l *limiter, failures int) *throttle {
	switch {
	case failures < 0:
		return &throttle{limits: l}
	case failures == 0:
		failures = 5
	}
	return &throttle{limits: l, account: rate{failures, time.Minute}, address: rate{4 * failures, time.Minute}}
}

// begin lets a login try its password; succeeded takes back what it was counted.
func (t *throttle) begin(ctx context.Context, email, address string) (succeeded func(), err error) {
	if t.account.n == 0 {
		return func() {}, nil
	}
	type count struct {
		key string
		r   rate
	}
	counts := []count{{"login-address:" + address, t.address}, {"login-account:" + email, t.account}}
	for i, c := range counts {
		if got := t.limits.take(ctx, c.key, c.r); !got.ok {
			for _, before := range counts[:i] {
				t.limits.give(ctx, before.key, before.r)
			}
			t.limits.metrics.add("forg_rate_limited_total", `kind="login"`, 1)
			return nil, tooFast(api.CodeRateLimited, got.wait)
		}
	}
	return func() {
		for _, c := range counts {
			t.limits.give(ctx, c.key, c.r)
		}
	}, nil
}
