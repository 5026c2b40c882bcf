package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// clock is one that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func keyText(b byte) string {
	return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

func keys(t testing.TB, text string) Keys {
	t.Helper()
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newTokens(t testing.TB) (*Tokens, *clock) {
	c := &clock{t: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)}
	return NewTokens(keys(t, keyText(1)), TokenOptions{Now: c.now}), c
}

func TestTokens(t *testing.T) {
	tokens, c := newTokens(t)
	user, session, device := uuid.New(), uuid.New(), uuid.New()
	for _, device := range []uuid.UUID{device, uuid.Nil} {
		token, err := tokens.Issue(user, session, device)
		if err != nil {
			t.Fatal(err)
		}
		want := Claims{UserID: user, SessionID: session, DeviceID: device, ExpiresAt: c.now().Add(30 * time.Minute)}
		if got, err := tokens.Verify(token); err != nil || !got.ExpiresAt.Equal(want.ExpiresAt) || got.UserID != user || got.SessionID != session || got.DeviceID != device {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	token, _ := tokens.Issue(user, session, device)
	c.add(30*time.Minute - time.Second)
	if _, err := tokens.Verify(token); err != nil {
		t.Error("a second before its end:", err)
	}
	c.add(time.Second)
	if _, err := tokens.Verify(token); !errors.Is(err, ErrTokenExpired) {
		t.Error("at its end:", err)
	}
	token, _ = tokens.Issue(user, session, device)
	c.add(-20 * time.Second)
	if _, err := tokens.Verify(token); err != nil {
		t.Error("by a process whose clock is 20 s behind:", err)
	}
	c.add(-20 * time.Second)
	if _, err := tokens.Verify(token); !errors.Is(err, ErrToken) || errors.Is(err, ErrTokenExpired) {
		t.Error("of the future:", err)
	}
}

// forge makes a token by hand: nothing of the library that is tested stands in the way.
func forge(header, claims map[string]any, sign func(text string) []byte) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func hmacBy(h func() hash.Hash, secret []byte) func(string) []byte {
	return func(text string) []byte {
		m := hmac.New(h, secret)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
}

// TestTokenConfusion: only what Issue makes is read, whatever else is signed with whatever.
func TestTokenConfusion(t *testing.T) {
	tokens, c := newTokens(t)
	secret := bytes.Repeat([]byte{1}, 32)
	kid := tokens.keys.Load().list[0].id
	header := func(change map[string]any) map[string]any {
		h := map[string]any{"alg": "HS256", "typ": "at+jwt", "kid": kid}
		maps.Copy(h, change)
		maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
		return h
	}
	claims := func(change map[string]any) map[string]any {
		now := c.now().Unix()
		h := map[string]any{"iss": "forg", "aud": []string{"forg-api"}, "sub": uuid.NewString(), "sid": uuid.NewString(), "did": uuid.NewString(),
			"iat": now, "nbf": now, "exp": now + 60}
		maps.Copy(h, change)
		maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
		return h
	}
	right := hmacBy(sha256.New, secret)
	if _, err := tokens.Verify(forge(header(nil), claims(nil), right)); err != nil {
		t.Fatal("the forger cannot even make a right one:", err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims(nil))).SignedString(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) []byte { return nil }
	good := forge(header(nil), claims(nil), right)
	parts := strings.Split(good, ".")
	flipped := []byte(good)
	flipped[len(flipped)-2] ^= 1
	for name, token := range map[string]string{
		"empty":                       "",
		"dots":                        "..",
		"alg none":                    forge(header(map[string]any{"alg": "none"}), claims(nil), none),
		"alg None":                    forge(header(map[string]any{"alg": "None"}), claims(nil), none),
		"alg none, signed":            forge(header(map[string]any{"alg": "none"}), claims(nil), right),
		"alg empty":                   forge(header(map[string]any{"alg": ""}), claims(nil), none),
		"alg missing":                 forge(header(map[string]any{"alg": nil}), claims(nil), right),
		"alg a list":                  forge(header(map[string]any{"alg": []string{"HS256"}}), claims(nil), right),
		"alg hs256":                   forge(header(map[string]any{"alg": "hs256"}), claims(nil), right),
		"HS384":                       forge(header(map[string]any{"alg": "HS384"}), claims(nil), hmacBy(sha512.New384, secret)),
		"HS512":                       forge(header(map[string]any{"alg": "HS512"}), claims(nil), hmacBy(sha512.New, secret)),
		"RS256 with the HMAC":         forge(header(map[string]any{"alg": "RS256"}), claims(nil), right),
		"RS256 with a key of its own": rs256,
		"ES256 with the HMAC":         forge(header(map[string]any{"alg": "ES256"}), claims(nil), right),
		"no signature":                parts[0] + "." + parts[1] + ".",
		"two parts":                   parts[0] + "." + parts[1],
		"four parts":                  good + "." + parts[2],
		"changed signature":           string(flipped),
		"padded":                      good + "=",
		"a space":                     good + " ",
		"claims exchanged":            parts[0] + "." + strings.Split(forge(header(nil), claims(nil), right), ".")[1] + "." + parts[2],
		"another key":                 forge(header(nil), claims(nil), hmacBy(sha256.New, bytes.Repeat([]byte{2}, 32))),
		"an empty key":                forge(header(nil), claims(nil), hmacBy(sha256.New, nil)),
		"kid missing":                 forge(header(map[string]any{"kid": nil}), claims(nil), right),
		"kid unknown":                 forge(header(map[string]any{"kid": "0"}), claims(nil), hmacBy(sha256.New, nil)),
		"kid a file":                  forge(header(map[string]any{"kid": "../../../../dev/null"}), claims(nil), hmacBy(sha256.New, nil)),
		"kid SQL":                     forge(header(map[string]any{"kid": "x' UNION SELECT 'a"}), claims(nil), hmacBy(sha256.New, []byte("a"))),
		"kid a list":                  forge(header(map[string]any{"kid": []string{kid}}), claims(nil), right),
		"key in the header":           forge(header(map[string]any{"kid": "0", "jwk": map[string]any{"kty": "oct", "k": keyText(2)}}), claims(nil), hmacBy(sha256.New, bytes.Repeat([]byte{2}, 32))),
		"key elsewhere":               forge(header(map[string]any{"kid": "0", "jku": "http://127.0.0.1/keys"}), claims(nil), right),
		"typ JWT":                     forge(header(map[string]any{"typ": "JWT"}), claims(nil), right),
		"typ missing":                 forge(header(map[string]any{"typ": nil}), claims(nil), right),
		"exp missing":                 forge(header(nil), claims(map[string]any{"exp": nil}), right),
		"exp a text":                  forge(header(nil), claims(map[string]any{"exp": "never"}), right),
		"exp null":                    forge(header(nil), map[string]any{"exp": nil, "iss": "forg", "aud": "forg-api", "nbf": 1, "sub": uuid.NewString(), "sid": uuid.NewString()}, right),
		"nbf missing":                 forge(header(nil), claims(map[string]any{"nbf": nil}), right),
		"nbf in the future":           forge(header(nil), claims(map[string]any{"nbf": c.now().Unix() + 5}), right),
		"aud missing":                 forge(header(nil), claims(map[string]any{"aud": nil}), right),
		"aud another":                 forge(header(nil), claims(map[string]any{"aud": "else"}), right),
		"aud empty":                   forge(header(nil), claims(map[string]any{"aud": []string{}}), right),
		"iss missing":                 forge(header(nil), claims(map[string]any{"iss": nil}), right),
		"iss another":                 forge(header(nil), claims(map[string]any{"iss": "forg.example"}), right),
		"sub missing":                 forge(header(nil), claims(map[string]any{"sub": nil}), right),
		"sub nil":                     forge(header(nil), claims(map[string]any{"sub": uuid.Nil.String()}), right),
		"sub of another form":         forge(header(nil), claims(map[string]any{"sub": "{" + uuid.NewString() + "}"}), right),
		"sid missing":                 forge(header(nil), claims(map[string]any{"sid": nil}), right),
		"did no id":                   forge(header(nil), claims(map[string]any{"did": "laptop"}), right),
		"1 MiB":                       forge(header(nil), claims(map[string]any{"x": strings.Repeat("x", 1<<20)}), right),
		"1 MiB of dots":               strings.Repeat(".", 1<<20),
		"an API key":                  "forg_live_abcdefgh_" + strings.Repeat("a", 32) + "_000000",
	} {
		if got, err := tokens.Verify(token); !errors.Is(err, ErrToken) || got != (Claims{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := tokens.Verify(forge(header(nil), claims(map[string]any{"exp": c.now().Unix() - 1}), right)); !errors.Is(err, ErrTokenExpired) || got != (Claims{}) {
		t.Errorf("expired: %v", err)
	}
	// That a token has expired is told only to who has a true one.
	if _, err := tokens.Verify(forge(header(nil), claims(map[string]any{"exp": c.now().Unix() - 1}), hmacBy(sha256.New, nil))); !errors.Is(err, ErrToken) {
		t.Errorf("expired and forged: %v", err)
	}
}

func TestKeyRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.keys")
	first, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || privateModes && st.Mode().Perm() != 0o600 {
		t.Fatal(st.Mode(), err)
	}
	again, err := LoadKeys(path)
	if err != nil || again.list[0].id != first.list[0].id {
		t.Fatal("the key is another one at the second start", err)
	}
	tokens := NewTokens(first, TokenOptions{})
	user, session := uuid.New(), uuid.New()
	var issued []string
	issue := func() {
		s, err := tokens.Issue(user, session, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		issued = append(issued, s)
	}
	issue()
	for n := range 2 {
		if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o600); err != nil {
			t.Fatal(err)
		}
		next, err := RotateKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		tokens.SetKeys(next)
		issue()
		for i, s := range issued {
			_, err := tokens.Verify(s)
			if want := i >= n; want != (err == nil) {
				t.Errorf("after %d rotations the token of key %d: %v", n+1, i, err)
			}
		}
	}
	if st, err := os.Stat(path); err != nil || privateModes && st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Error("there is more than the key file:", left)
	}
	if privateModes {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Error("a key file that all can read:", err)
		}
	}
	if _, err := LoadKeys(filepath.Join(t.TempDir(), "none", "keys")); err == nil {
		t.Error("a folder that is not there is fine")
	}
	if _, err := LoadKeys(t.TempDir()); err == nil {
		t.Error("a folder is a key file")
	}
}

// TestFirstStart: processes that start at the same time agree on one key.
func TestFirstStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, err := LoadKeys(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = k.list[0].id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("there are several keys: %v", ids)
		}
	}
}

func TestParseKeys(t *testing.T) {
	one, two, three := keyText(1), keyText(2), keyText(3)
	for text, n := range map[string]int{one: 1, one + "\n": 1, one + "," + two: 2, "# a comment, with words\n" + one + "\n\n" + two + "\n": 2, one + "= " + two: 2} {
		if k := keys(t, text); len(k.list) != n || !bytes.Equal(k.list[0].secret, bytes.Repeat([]byte{1}, 32)) {
			t.Errorf("%q gives %d keys", text, len(k.list))
		}
	}
	for text, want := range map[string]string{
		"": "there is none", "# " + one: "there is none", "secret": "key 1 has 4 bytes", "????": "key 1 is not base64url", one + " " + one: "both are the same",
		one + "," + two + "," + three: "at most 2", base64.RawURLEncoding.EncodeToString(make([]byte, 31)): "it needs 32",
	} {
		if _, err := ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), one) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if id := keys(t, one).list[0].id; strings.Contains(one, id) || id == keys(t, two).list[0].id {
		t.Error("the id of a key tells too much or too little")
	}
}

func FuzzTokens(f *testing.F) {
	tokens, _ := newTokens(f)
	good, err := tokens.Issue(uuid.Max, uuid.Max, uuid.Max) // the same in every process of the fuzzer
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := tokens.Verify(s); err == nil && s != good {
			t.Fatalf("%q is taken for a token", s)
		}
	})
}

func BenchmarkTokens(b *testing.B) {
	tokens, _ := newTokens(b)
	token, err := tokens.Issue(uuid.New(), uuid.New(), uuid.New())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("issue", func(b *testing.B) {
		for b.Loop() {
			if _, err := tokens.Issue(uuid.Max, uuid.Max, uuid.Max); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := tokens.Verify(token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
