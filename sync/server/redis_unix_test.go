//go:build unix

package server

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"forg/sync/api"
	"forg/sync/server/pgtest"
)

// TestRedisKilled kills the Redis that two processes share while they are under load. Nobody notices but by the limit, which
// every process then holds clients to by itself; once Redis is back they share it again.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	const limit = 300 // a minute, and at once
	url := redisForTest(t)
	socket := strings.TrimPrefix(url, "unix://")
	cfg := Config{DatabaseURL: pgtest.New(t, migrateForTest), DataDir: t.TempDir(), RateLimits: map[api.Tier]int{api.TierFree: limit}, RedisURL: url}
	nodes := []*service{start(t, cfg), start(t, cfg)}
	ana := nodes[0].signUp(t, "ana@example.org")
	time.Sleep(redisRest + 100*time.Millisecond) // had Redis been away for a moment, it would be asked again

	var good, limited, other atomic.Int64
	var slowest atomic.Int64 // ns
	var done atomic.Bool
	var load sync.WaitGroup
	for i := range 8 {
		load.Go(func() {
			for n := i; !done.Load(); n++ {
				began := time.Now()
				r, err := nodes[n%2].try(ana.access, "GET", "/api/v1/auth/me", nil)
				for took := int64(time.Since(began)); ; {
					if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
						break
					}
				}
				switch wait, _ := strconv.Atoi(r.header.Get("Retry-After")); {
				case err == nil && r.status == 200:
					good.Add(1)
				case err == nil && r.status == 429 && wait >= 1:
					limited.Add(1)
					time.Sleep(2 * time.Millisecond)
				default:
					if other.Add(1) < 5 {
						t.Errorf("while Redis came and went: %v %d %s", err, r.status, r.body)
					}
				}
			}
		})
	}
	defer load.Wait()
	defer done.Store(true)
	fallbacks := func() (n int) {
		for _, s := range nodes {
			_, rest, _ := strings.Cut(string(s.do(t, "", "GET", "/metrics", nil).body), "\nforg_redis_fallback_total ")
			var m int
			fmt.Sscan(rest, &m)
			n += m
		}
		return n
	}
	// phase is what is let through until clients are refused, which is to be some allowances of one limit.
	at := time.Now()
	phase := func(what string, allowances int64) {
		t.Helper()
		was, before := good.Load(), fallbacks()
		var last int64
		eventually(t, what+": clients are held to the limit", func() bool {
			seen := limited.Load()
			now := good.Load()
			calm := now-last <= 2 && now > was
			last = now
			time.Sleep(300 * time.Millisecond)
			return calm && limited.Load() > seen
		})
		time.Sleep(time.Second)
		refilled := int64(time.Since(at).Seconds()*limit/60+1) * 2 // by the clock; each process by its own at most
		if allowances == 1 && fallbacks() > before {
			allowances += 2 // Redis was away for a moment, or slow: then each process has an allowance of its own
		}
		if n := good.Load() - was; n > allowances*limit+refilled {
			t.Errorf("%s: %d requests were let through, of a limit of %d", what, n, limit)
		} else {
			t.Logf("%s: %d let through of a limit of %d, %d refused so far", what, n, limit, limited.Load())
		}
		at = time.Now()
	}
	phase("two processes share a Redis", 1)
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "INFO server\r\n")
	buf := make([]byte, 64<<10)
	n, err := io.ReadAtLeast(c, buf, 500)
	if err != nil {
		t.Fatal(err)
	}
	info := string(buf[:n])
	_, rest, _ := strings.Cut(info, "process_id:")
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	if err != nil || pid <= 1 {
		t.Fatalf("Redis says %q of itself: %v", info, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // it is ours: it has our socket
		t.Fatal(err)
	}
	phase("Redis was killed", 2)
	if n := fallbacks(); n == 0 {
		t.Error("no metric tells that Redis is away")
	}
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	phase("Redis is back, and knows nothing", 1)
	eventually(t, "Redis is asked again, and answers", func() bool {
		before := fallbacks()
		time.Sleep(2 * redisRest)
		return fallbacks() == before
	})
	if n := other.Load(); n > 0 {
		t.Errorf("%d requests got something else than an answer or a 429", n)
	}
	t.Logf("the slowest request took %v", time.Duration(slowest.Load()))
}
