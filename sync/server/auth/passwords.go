package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Method is how passwords are hashed.
type Method string

// The methods. A hash of the other one is accepted and made anew when its owner logs in.
const (
	Bcrypt   Method = "bcrypt"
	Argon2id Method = "argon2id" // RFC 9106
)

const (
	maxBcrypt     = 72 // bytes of a password; bcrypt would ignore what follows
	defaultCost   = 12
	maxCost       = 16    // about 4 s
	argonMemory   = 19456 // KiB (OWASP's recommendation with two passes and one lane)
	argonPasses   = 2
	argonLanes    = 1
	argonSalt     = 16 // bytes
	argonKey      = 32 // bytes
	maxArgonKiB   = 256 << 10
	maxArgonTimes = 10
)

// Errors about passwords, in words for their owner.
var (
	ErrPasswordShort = fmt.Errorf("the password needs at least %d characters", MinPassword)
	ErrPasswordLong  = errors.New("the password is too long")
	ErrPasswordEmail = errors.New("the password must not be the e-mail address")
)

// ErrHash says that a kept hash cannot be read, or would take too long to check.
var ErrHash = errors.New("unknown form of password hash")

// BusyError says that too many passwords wait to be hashed.
type BusyError struct {
	RetryAfter time.Duration // when it may be worth another try
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many logins at once; try again in %v", e.RetryAfter)
}

// PasswordOptions say how passwords are hashed, and how many at once. The zero value is what a server should have.
type PasswordOptions struct {
	Method  Method        // Bcrypt if empty
	Cost    int           // of bcrypt, 12 if zero
	Workers int           // hashes at once; one less than there are processors if zero, so that others are not starved
	Queue   int           // callers that may wait; 8 for each worker if zero
	MaxWait time.Duration // how long they may; 2 s if zero
	// Observe is told of every call once it is over, for metrics. It must be quick.
	Observe func(Observation)
}

// Observation is what one call took.
type Observation struct {
	Waited time.Duration // in the queue
	Took   time.Duration // at work; zero if its turn never came
	Busy   bool          // it was turned away
}

// Passwords hashes and checks passwords in a bounded pool. It is safe for concurrent use.
type Passwords struct {
	opt     PasswordOptions
	slots   chan struct{} // holds a token for each hash at work
	waiting atomic.Int64
	usual   atomic.Int64 // nanoseconds that a hash has taken lately
	dummy   string       // a hash that no password has
	ran     func(kdf)    // is told of every function that takes time by design; nil but in tests
}

// kdf is one run of a function that takes time by design, with everything that decides how much.
type kdf struct {
	method         Method
	cost           int    // of bcrypt
	memory, passes uint32 // of Argon2id; KiB
	lanes          uint8
	salt, key      int // bytes
	input          int // bytes of the password
}

// NewPasswords makes a pool.
func NewPasswords(opt PasswordOptions) (*Passwords, error) {
	if opt.Method == "" {
		opt.Method = Bcrypt
	}
	if opt.Method != Bcrypt && opt.Method != Argon2id {
		return nil, fmt.Errorf("unknown method %q to hash passwords: there are %s and %s", opt.Method, Bcrypt, Argon2id)
	}
	if opt.Cost == 0 {
		opt.Cost = defaultCost
	}
	if opt.Cost < bcrypt.MinCost || opt.Cost > maxCost {
		return nil, fmt.Errorf("bcrypt cost %d is not between %d and %d", opt.Cost, bcrypt.MinCost, maxCost)
	}
	if opt.Workers <= 0 {
		opt.Workers = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if opt.Queue <= 0 {
		opt.Queue = 8 * opt.Workers
	}
	if opt.MaxWait <= 0 {
		opt.MaxWait = 2 * time.Second
	}
	if opt.Observe == nil {
		opt.Observe = func(Observation) {}
	}
	p := &Passwords{opt: opt, slots: make(chan struct{}, opt.Workers)}
	p.usual.Store(int64(250 * time.Millisecond))
	if opt.Method == Argon2id {
		p.usual.Store(int64(50 * time.Millisecond))
	}
	p.dummy = p.dummyHash()
	return p, nil
}

// PoolState is how busy the pool is now.
type PoolState struct{ Workers, Running, Waiting int }

// State tells how busy the pool is now.
func (p *Passwords) State() PoolState {
	return PoolState{Workers: p.opt.Workers, Running: len(p.slots), Waiting: int(p.waiting.Load())}
}

// CheckPolicy says whether a new password may be chosen: its length and that it is not the e-mail address. There are no
// rules about what must be in it (NIST SP 800-63B, section 3.1.1.2).
func (p *Passwords) CheckPolicy(password, email string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return ErrPasswordShort
	case p.opt.Method == Bcrypt && len(password) > maxBcrypt:
		return fmt.Errorf("%w: it has %d bytes, at most %d are possible; nothing of it would be cut off silently", ErrPasswordLong, len(password), maxBcrypt)
	case len(password) > MaxPassword:
		return fmt.Errorf("%w: it has %d bytes, at most %d are possible", ErrPasswordLong, len(password), MaxPassword)
	}
	local, _, _ := strings.Cut(email, "@")
	if email != "" && (strings.EqualFold(password, email) || strings.EqualFold(password, local)) {
		return ErrPasswordEmail
	}
	return nil
}

// Hash is the hash to keep of a new password, which CheckPolicy has let through. Errors: ErrPasswordLong, *BusyError,
// that of ctx when it ended before its turn came.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if p.opt.Method == Bcrypt && len(password) > maxBcrypt || len(password) > MaxPassword {
		return "", ErrPasswordLong
	}
	var hash string
	err := p.work(ctx, func() (err error) {
		hash, err = p.hash(password)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}

// Verify reports whether password is the one that hash was made of. With an empty hash, for an account that does not
// exist, it takes as long and says no. better is a new hash to keep instead if hash was made by another method or with
// other parameters than this server's; else it is empty. Errors: ErrHash, *BusyError, that of ctx when it ended before
// its turn came.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (ok bool, better string, err error) {
	against := hash
	if against == "" {
		against = p.dummy
	}
	err = p.work(ctx, func() error {
		same, err := p.verify(against, password)
		if err != nil || !same || hash == "" {
			return err
		}
		ok = true
		if !p.current(hash) && (p.opt.Method != Bcrypt || len(password) <= maxBcrypt) {
			better, err = p.hash(password)
		}
		return err
	})
	if err != nil {
		return false, "", fmt.Errorf("check password: %w", err)
	}
	return ok, better, nil
}

// work runs f once there is a slot. A hash that has begun cannot be stopped, so ctx only counts before.
func (p *Passwords) work(ctx context.Context, f func() error) error {
	start := time.Now()
	if err := p.enter(ctx); err != nil {
		_, busy := errors.AsType[*BusyError](err)
		p.opt.Observe(Observation{Waited: time.Since(start), Busy: busy})
		return err
	}
	begun := time.Now()
	defer func() {
		took := time.Since(begun)
		usual := p.usual.Load()
		p.usual.Store(usual + (int64(took)-usual)/8) // who loses a race only leaves out one sample
		<-p.slots
		p.opt.Observe(Observation{Waited: begun.Sub(start), Took: took})
	}()
	return f()
}

func (p *Passwords) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	if p.waiting.Add(1) > int64(p.opt.Queue) {
		p.waiting.Add(-1)
		return p.busy()
	}
	defer p.waiting.Add(-1)
	timer := time.NewTimer(p.opt.MaxWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}: // in the order in which they came
		return nil
	case <-timer.C:
		return p.busy()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busy tells when the queue of now will be done, in whole seconds as Retry-After has them.
func (p *Passwords) busy() error {
	queue := time.Duration(p.waiting.Load()+1) * time.Duration(p.usual.Load()) / time.Duration(p.opt.Workers)
	return &BusyError{RetryAfter: max(1, time.Duration(math.Ceil(queue.Seconds()))) * time.Second}
}

func (p *Passwords) hash(password string) (string, error) {
	if p.opt.Method == Bcrypt {
		p.note(kdf{method: Bcrypt, cost: p.opt.Cost, input: len(password)})
		b, err := bcrypt.GenerateFromPassword([]byte(password), p.opt.Cost)
		return string(b), err
	}
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	return argonText(salt, p.argon(password, argonHash{memory: argonMemory, passes: argonPasses, lanes: argonLanes, salt: salt}, argonKey)), nil
}

func (p *Passwords) note(k kdf) {
	if p.ran != nil {
		p.ran(k)
	}
}

// argon is the key of a password by the parameters of a.
func (p *Passwords) argon(password string, a argonHash, bytes int) []byte {
	p.note(kdf{method: Argon2id, memory: a.memory, passes: a.passes, lanes: a.lanes, salt: len(a.salt), key: bytes, input: len(password)})
	return argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, uint32(bytes))
}

func argonText(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// dummyHash has the form of a hash and takes as long to check, but was made without hashing anything.
func (p *Passwords) dummyHash() string {
	salt, key := make([]byte, argonSalt), make([]byte, argonKey)
	rand.Read(salt) // never fails
	rand.Read(key)
	if p.opt.Method == Argon2id {
		return argonText(salt, key)
	}
	// 16 bytes of salt and 23 of hash, in bcrypt's own base64.
	enc := base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)
	return fmt.Sprintf("$2a$%02d$%s%s", p.opt.Cost, enc.EncodeToString(salt), enc.EncodeToString(key[:23]))
}

// current reports whether hash was made as this server makes them.
func (p *Passwords) current(hash string) bool {
	if p.opt.Method == Bcrypt {
		cost, err := bcrypt.Cost([]byte(hash))
		return err == nil && cost == p.opt.Cost && !strings.HasPrefix(hash, "$argon2")
	}
	a, err := parseArgon(hash)
	return err == nil && a.memory == argonMemory && a.passes == argonPasses && a.lanes == argonLanes && len(a.key) == argonKey
}

// verify compares by whatever method hash was made.
func (p *Passwords) verify(hash, password string) (bool, error) {
	if strings.HasPrefix(hash, "$argon2id$") {
		a, err := parseArgon(hash)
		if err != nil {
			return false, err
		}
		if len(password) > MaxPassword {
			password = "" // never right, and takes as long
		}
		key := p.argon(password, a, len(a.key))
		return subtle.ConstantTimeCompare(key, a.key) == 1 && password != "", nil
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxCost || len(hash) != 60 {
		return false, ErrHash
	}
	long := len(password) > maxBcrypt
	if long { // its first 72 bytes may be right; the whole never is, and that takes as long to say
		password = password[:maxBcrypt]
	}
	p.note(kdf{method: Bcrypt, cost: cost, input: len(password)})
	switch err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); {
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return false, nil
	case err != nil:
		return false, ErrHash
	}
	return !long, nil
}

type argonHash struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

// parseArgon reads the form of the PHC string format, within bounds that keep a hash from another server from taking
// this one's memory or time.
func parseArgon(hash string) (argonHash, error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v="+strconv.Itoa(argon2.Version) {
		return argonHash{}, ErrHash
	}
	param := strings.Split(part[3], ",")
	if len(param) != 3 {
		return argonHash{}, ErrHash
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		v, ok := strings.CutPrefix(param[i], name)
		if !ok {
			return argonHash{}, ErrHash
		}
		var err error
		if n[i], err = strconv.ParseUint(v, 10, 32); err != nil {
			return argonHash{}, ErrHash
		}
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(part[4])
	key, err2 := base64.RawStdEncoding.Strict().DecodeString(part[5])
	if err != nil || err2 != nil || n[0] < 8 || n[0] > maxArgonKiB || n[1] < 1 || n[1] > maxArgonTimes || n[2] < 1 || n[2] > 16 ||
		len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return argonHash{}, ErrHash
	}
	return argonHash{memory: uint32(n[0]), passes: uint32(n[1]), lanes: uint8(n[2]), salt: salt, key: key}, nil
}
