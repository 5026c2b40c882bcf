package auth

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
)

func pool(t testing.TB, opt PasswordOptions) *Passwords {
	t.Helper()
	p, err := NewPasswords(opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hashOf(t testing.TB, p *Passwords, password string) string {
	t.Helper()
	h, err := p.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPasswords(t *testing.T) {
	quick := pool(t, PasswordOptions{Cost: bcrypt.MinCost, MaxWait: time.Minute})
	other := pool(t, PasswordOptions{Cost: bcrypt.MinCost + 1, MaxWait: time.Minute})
	argon := pool(t, PasswordOptions{Method: Argon2id, MaxWait: time.Minute})
	long, longer := strings.Repeat("x", 72), strings.Repeat("x", 73)
	for _, password := range []string{"correct horse", "ünïcödé 🙂 password", "a\x00b\x00c\x00d\x00", long} {
		for _, made := range []*Passwords{quick, other, argon} {
			hash := hashOf(t, made, password)
			if hash == hashOf(t, made, password) {
				t.Error("two hashes have one salt")
			}
			for _, checks := range []*Passwords{quick, other, argon} {
				ok, better, err := checks.Verify(t.Context(), hash, password)
				if err != nil || !ok || (better == "") != (made == checks) {
					t.Fatalf("%q by %s: %v, better %q, %v", password, hash, ok, better, err)
				}
				if better != "" { // what it was made anew as
					if ok, again, err := checks.Verify(t.Context(), better, password); err != nil || !ok || again != "" {
						t.Fatalf("%q by %s: %v, better %q, %v", password, better, ok, again, err)
					}
				}
				if made != checks {
					continue
				}
				for _, wrong := range []string{"", password + "x", password[1:], strings.ToUpper(password) + "!"} {
					if ok, better, err := checks.Verify(t.Context(), hash, wrong); err != nil || ok || better != "" {
						t.Fatalf("%q for %q: %v, %q, %v", wrong, password, ok, better, err)
					}
				}
			}
		}
	}
	// Nothing is ever cut off.
	if _, err := quick.Hash(t.Context(), longer); !errors.Is(err, ErrPasswordLong) {
		t.Error("73 bytes for bcrypt:", err)
	}
	if ok, _, err := quick.Verify(t.Context(), hashOf(t, quick, long), longer); ok || err != nil {
		t.Error("73 bytes of which the first 72 are right:", ok, err)
	}
	// One that only Argon2id can take stays as it is on a server of bcrypt.
	if ok, better, err := quick.Verify(t.Context(), hashOf(t, argon, longer), longer); !ok || better != "" || err != nil {
		t.Error("73 bytes by Argon2id on a server of bcrypt:", ok, better, err)
	}
	huge := strings.Repeat("x", MaxPassword+1)
	if _, err := argon.Hash(t.Context(), huge); !errors.Is(err, ErrPasswordLong) {
		t.Error("1025 bytes:", err)
	}
	for _, hash := range []string{"", hashOf(t, argon, "x"), hashOf(t, quick, "x")} {
		if ok, _, err := argon.Verify(t.Context(), hash, huge); ok || err != nil {
			t.Error("1025 bytes:", ok, err)
		}
	}
	// Nobody has the password of an account that is not there.
	for _, p := range []*Passwords{quick, argon} {
		for _, password := range []string{"", "x", longer} {
			if ok, better, err := p.Verify(t.Context(), "", password); ok || better != "" || err != nil {
				t.Error("unknown account:", ok, better, err)
			}
		}
	}
	good := hashOf(t, argon, "x")
	bad := []string{"x", "$2a$", "$2a$04$short", "$2a$31$" + strings.Repeat("a", 53), "$argon2id$", "$argon2i" + good[9:], strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=19456", "m=4194304", 1), strings.Replace(good, "m=19456", "m=1", 1), strings.Replace(good, "t=2", "t=1000000", 1), strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "p=1", "p=255", 1), strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "m=19456,", "", 1), good + "$", good[:len(good)-30], good + "="}
	for _, hash := range bad {
		if ok, _, err := argon.Verify(t.Context(), hash, "x"); ok || !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v, %v", hash, ok, err)
		}
	}
}

func TestPasswordDefaults(t *testing.T) {
	p := pool(t, PasswordOptions{MaxWait: time.Minute})
	if h := hashOf(t, p, "correct horse"); !strings.HasPrefix(h, "$2a$12$") {
		t.Error(h)
	}
	if h := hashOf(t, pool(t, PasswordOptions{Method: Argon2id, MaxWait: time.Minute}), "correct horse"); !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error(h)
	}
	if w := p.State().Workers; w != max(1, runtime.GOMAXPROCS(0)-1) { // one processor is for everybody else
		t.Error(w, "workers")
	}
	for _, opt := range []PasswordOptions{{Method: "md5"}, {Cost: 3}, {Cost: 32}} {
		if _, err := NewPasswords(opt); err == nil {
			t.Errorf("%+v is fine", opt)
		}
	}
}

func TestPasswordPolicy(t *testing.T) {
	b, a := pool(t, PasswordOptions{}), pool(t, PasswordOptions{Method: Argon2id})
	for password, want := range map[string][2]error{
		"":                              {ErrPasswordShort, ErrPasswordShort},
		"seven77":                       {ErrPasswordShort, ErrPasswordShort},
		"eight888":                      {},
		"äöüäöü7":                       {ErrPasswordShort, ErrPasswordShort}, // characters, not bytes
		"aaaaaaaa":                      {},
		"Lovelace@Example.org":          {ErrPasswordEmail, ErrPasswordEmail},
		"LOVELACE":                      {ErrPasswordEmail, ErrPasswordEmail},
		strings.Repeat("x", 72):         {},
		strings.Repeat("x", 73):         {ErrPasswordLong, nil},
		strings.Repeat("ä", 37):         {ErrPasswordLong, nil},
		strings.Repeat("x", 1025):       {ErrPasswordLong, ErrPasswordLong},
		"lovelace@example.org and more": {},
	} {
		for i, p := range []*Passwords{b, a} {
			if err := p.CheckPolicy(password, "lovelace@example.org"); !errors.Is(err, want[i]) {
				t.Errorf("%.30q by %s: %v, want %v", password, p.opt.Method, err, want[i])
			}
		}
	}
	if err := b.CheckPolicy("eight888", ""); err != nil {
		t.Error(err)
	}
}

// TestPool: never more at work than there are workers, never more waiting than the queue holds, in the order in which
// they came; the rest is turned away at once and told when to come again.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []Observation
		p := pool(t, PasswordOptions{Workers: 2, Queue: 3, MaxWait: time.Minute, Observe: func(o Observation) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, o)
		}})
		p.usual.Store(int64(1500 * time.Millisecond))
		release := make(chan struct{})
		var running, most atomic.Int64
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				err := p.work(t.Context(), func() error {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					<-release
					mu.Lock()
					defer mu.Unlock()
					order = append(order, i)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // until it is at work, or waits
		}
		if s := p.State(); s != (PoolState{Workers: 2, Running: 2, Waiting: 3}) {
			t.Errorf("%+v", s)
		}
		err := p.work(t.Context(), func() error { t.Error("it was not turned away"); return nil })
		if busy, ok := errors.AsType[*BusyError](err); !ok || busy.RetryAfter != 3*time.Second { // 4 at 1.5 s for 2 workers
			t.Errorf("%v", err)
		}
		for range 5 { // one by one, so that the order shows
			time.Sleep(time.Second)
			release <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		if most.Load() != 2 || p.State() != (PoolState{Workers: 2}) {
			t.Errorf("at most %d were at work, %+v", most.Load(), p.State())
		}
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("they had their turns in the order %v", order)
		}
		// The clock is the test's: what each has waited and taken is known.
		want := []Observation{{Busy: true}, {Took: time.Second}, {Took: 2 * time.Second}, {Waited: time.Second, Took: 2 * time.Second},
			{Waited: 2 * time.Second, Took: 2 * time.Second}, {Waited: 3 * time.Second, Took: 2 * time.Second}}
		if !slices.Equal(seen, want) {
			t.Errorf("%+v", seen)
		}
	})
}

func TestPoolEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, PasswordOptions{Cost: bcrypt.MinCost, Workers: 1, Queue: 4, MaxWait: 20 * time.Second})
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { p.work(t.Context(), func() error { <-release; return nil }) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		if _, err := p.Hash(ctx, "password"); !errors.Is(err, context.Canceled) {
			t.Error("cancelled while it waited:", err)
		}
		if _, _, err := p.Verify(ctx, "", "password"); !errors.Is(err, context.Canceled) {
			t.Error("cancelled before:", err)
		}
		start := time.Now()
		_, _, err := p.Verify(t.Context(), "", "password")
		if _, ok := errors.AsType[*BusyError](err); !ok || time.Since(start) != 20*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if s := p.State(); s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		close(release)
		wg.Wait()
		if _, _, err := p.Verify(t.Context(), "", "password"); err != nil {
			t.Error("the pool is not free again:", err)
		}
	})
}

// loginCases are the ways in which a login can go, for a pool. Whoever tries must not learn from the time of the answer
// whether there is such an account.
func loginCases(t testing.TB, p *Passwords) (cases []loginCase) {
	hash := hashOf(t, p, "correct horse")
	for _, c := range []loginCase{{name: "right password", password: "correct horse", ok: true}, {name: "wrong password", password: "battery staple"},
		{name: "none", password: ""}, {name: "a beginning of the right one", password: "correct"},
		{name: "longest of bcrypt", password: strings.Repeat("x", maxBcrypt)},
		{name: "too long for bcrypt", password: strings.Repeat("x", maxBcrypt+1)}, {name: "longest", password: strings.Repeat("x", MaxPassword)},
		{name: "too long", password: strings.Repeat("x", MaxPassword+1)}, {name: "much too long", password: strings.Repeat("x", 1<<20)}} {
		known, unknown := c, c
		known.hash, unknown.name, unknown.ok = hash, c.name+", unknown account", false
		cases = append(cases, known, unknown)
	}
	return cases
}

type loginCase struct {
	name, hash, password string
	ok                   bool
}

// TestSameTime: how long an answer takes does not tell whether there is such an account, nor whether a password is too
// long. What takes time is counted instead of measured: each way of a login has one turn in the pool, in which one and the
// same function runs once with the same parameters. BenchmarkSameTime measures it.
func TestSameTime(t *testing.T) {
	for _, opt := range []PasswordOptions{{Cost: bcrypt.MinCost + 1}, {Method: Argon2id}} {
		turns := 0
		opt.Observe = func(o Observation) { turns++ }
		p := pool(t, opt)
		var ran []kdf
		p.ran = func(k kdf) { ran = append(ran, k) }
		hashOf(t, p, "the first password")
		want := ran[0]
		want.input = 0
		for _, c := range pairs(loginCases(t, p)) {
			var inputs []int
			for _, c := range c {
				ran, turns = nil, 0
				ok, better, err := p.Verify(t.Context(), c.hash, c.password)
				if ok != c.ok || better != "" || err != nil {
					t.Errorf("%s, %s: %v, %q, %v", p.opt.Method, c.name, ok, better, err)
				}
				if len(ran) != 1 || turns != 1 {
					t.Fatalf("%s, %s: %d turns, in which ran %+v", p.opt.Method, c.name, turns, ran)
				}
				inputs = append(inputs, ran[0].input)
				if ran[0].input = 0; ran[0] != want {
					t.Errorf("%s, %s: %+v ran, want %+v", p.opt.Method, c.name, ran[0], want)
				}
			}
			// The function reads its input once before the work begins. Even that is as much for nobody as for somebody.
			if inputs[0] != inputs[1] || inputs[0] > MaxPassword {
				t.Errorf("%s, %s: %d bytes were hashed, of an unknown account %d", p.opt.Method, c[0].name, inputs[0], inputs[1])
			}
		}
	}
}

// pairs are the cases by two: an account that is there, and one that is not.
func pairs(cases []loginCase) [][]loginCase { return slices.Collect(slices.Chunk(cases, 2)) }

// BenchmarkSameTime is for the eye: the cases of a method take the same time.
func BenchmarkSameTime(b *testing.B) {
	for _, opt := range []PasswordOptions{{}, {Method: Argon2id}} {
		p := pool(b, opt)
		for _, c := range loginCases(b, p) {
			b.Run(string(p.opt.Method)+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					if _, _, err := p.Verify(b.Context(), c.hash, c.password); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// others measures how long a request of others takes, 300 a second for a while, while 20 clients log in one time after
// another.
func others(tb testing.TB, length time.Duration, login func(context.Context) error) (p50, p99 time.Duration, logins int64) {
	tokens := NewTokens(keys(tb, keyText(1)), TokenOptions{})
	token, err := tokens.Issue(uuid.Max, uuid.Max, uuid.Max)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 20 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := login(ctx)
				if _, busy := errors.AsType[*BusyError](err); busy {
					select { // a client that keeps to Retry-After, only less patient
					case <-ctx.Done():
					case <-time.After(100 * time.Millisecond):
					}
				} else if err == nil {
					done.Add(1)
				}
			}
		})
	}
	var mu sync.Mutex
	var took []time.Duration
	var requests sync.WaitGroup
	begun := time.Now()
	for n := 0; time.Since(begun) < length; n++ {
		due := begun.Add(time.Duration(n) * time.Second / 300) // when it should begin: a late one has waited already
		time.Sleep(time.Until(due))
		requests.Go(func() {
			if _, err := tokens.Verify(token); err != nil {
				tb.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	requests.Wait()
	cancel()
	wg.Wait()
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], done.Load()
}

// BenchmarkOthers shows what the pool is for: while many log in, everybody else is served; and the same without it.
func BenchmarkOthers(b *testing.B) {
	for _, opt := range []PasswordOptions{{}, {Method: Argon2id}} {
		p := pool(b, opt)
		hash := hashOf(b, p, "correct horse")
		for name, login := range map[string]func(context.Context) error{
			"pool": func(ctx context.Context) error {
				_, _, err := p.Verify(ctx, hash, "battery staple")
				return err
			},
			"unbounded": func(context.Context) error {
				_, err := p.verify(hash, "battery staple")
				return err
			},
		} {
			b.Run(string(p.opt.Method)+"/"+name, func(b *testing.B) {
				for b.Loop() {
					p50, p99, logins := others(b, 5*time.Second, login)
					b.ReportMetric(p50.Seconds()*1000, "p50-ms")
					b.ReportMetric(p99.Seconds()*1000, "p99-ms")
					b.ReportMetric(float64(logins)/5, "logins/s")
				}
			})
		}
	}
}

func FuzzArgonHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZWtleXNvbWVrZXlzb21la2V5c29tZWtleQ")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseArgon(s)
		if err == nil && (a.memory > maxArgonKiB || a.passes > maxArgonTimes || a.lanes > 16 || len(a.key) < 16) {
			t.Fatalf("%q would take %+v", s, a)
		}
	})
}

func BenchmarkPasswords(b *testing.B) {
	for _, opt := range []PasswordOptions{{}, {Method: Argon2id}} {
		p := pool(b, opt)
		hash := hashOf(b, p, "correct horse")
		b.Run(string(p.opt.Method), func(b *testing.B) {
			for b.Loop() {
				if ok, _, err := p.Verify(b.Context(), hash, "correct horse"); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
	b.Run("pool", func(b *testing.B) { // what the pool itself adds
		p := pool(b, PasswordOptions{})
		for b.Loop() {
			p.work(b.Context(), func() error { return nil })
		}
	})
}
