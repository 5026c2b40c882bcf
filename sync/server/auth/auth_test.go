package auth

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNormalEmail(t *testing.T) {
	for in, want := range map[string]string{
		"ada@example.org": "ada@example.org", "  Ada.Lovelace+forg@Example.ORG ": "ada.lovelace+forg@example.org",
		"ädä@exämple.org": "ädä@exämple.org", "ÄDÄ@EXÄMPLE.ORG": "ädä@exämple.org", "a@localhost": "a@localhost", "o'neil@a.b.c": "o'neil@a.b.c",
	} {
		got, err := NormalEmail(in)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
		if again, err := NormalEmail(got); again != got || err != nil {
			t.Errorf("%q is normal, but becomes %q, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", " ", "ada", "@example.org", "ada@", "ada@example", "a@b@example.org", "Ada <ada@example.org>", "ada@example.org, x@example.org",
		"ada@example.org\r\nBcc: x@example.org", "a da@example.org", "ada@exa mple.org", `"a b"@example.org`, "ada@[127.0.0.1]", "ada@example.org.", "ada@.", "ada\x00@example.org",
		"ada\u200b@example.org", "\u212a@example.org", "a\xff@example.org", strings.Repeat("a", 65) + "@example.org", "a@" + strings.Repeat("b.", 130) + "org", "a@example..org"} {
		if got, err := NormalEmail(bad); err == nil {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
}

func FuzzNormalEmail(f *testing.F) {
	f.Add("Ada@Example.org")
	f.Add("\"x\"@y.z")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := NormalEmail(s)
		if err != nil {
			return
		}
		if again, err := NormalEmail(got); again != got || err != nil || strings.ContainsAny(got, "\r\n\x00 <>") || strings.Count(got, "@") != 1 {
			t.Fatalf("%q becomes %q, and that %q, %v", s, got, again, err)
		}
	})
}

func TestAPIKey(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		k, err := NewAPIKey("live")
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseAPIKey(k.Text())
		h := k.Hash()
		if err != nil || got != k || seen[k.Text()] || !got.Matches(h[:]) || !IsAPIKey(k.Text()) {
			t.Fatal(k.Text(), err)
		}
		seen[k.Text()] = true
		if len(k.Text()) != len("forg_live_12345678_")+32+7 || len(k.Prefix()) != len("forg_live_12345678") || !strings.HasPrefix(k.Text(), k.Prefix()+"_") {
			t.Fatal(k.Text(), k.Prefix())
		}
		if s := fmt.Sprintf("%v %s %+v", k, k, []APIKey{k}); strings.Contains(s, k.Text()) {
			t.Fatal("a key is printed:", s)
		}
	}
	k, _ := NewAPIKey("live")
	text := k.Text()
	h := k.Hash()
	if k.Matches(nil) || k.Matches(h[:31]) || k.Matches(make([]byte, 32)) {
		t.Error("a key matches anything")
	}
	for i := range text { // every slip is seen before the database is asked
		for _, c := range []byte("a0_.") {
			b := []byte(text)
			if b[i] == c {
				continue
			}
			b[i] = c
			if _, err := ParseAPIKey(string(b)); err == nil {
				t.Errorf("%q with %q at %d is read as a key", text, c, i)
			}
		}
	}
	for _, bad := range []string{"", "forg_", text[:len(text)-1], text + "0", text + "_", strings.ToUpper(text), " " + text, strings.Repeat("forg_", 1<<18)} {
		if _, err := ParseAPIKey(bad); err == nil {
			t.Errorf("%.60q is read as a key", bad)
		}
	}
	for _, env := range []string{"", "l", "Live", "l1ve", "toolongname", "a_b"} {
		if _, err := NewAPIKey(env); err == nil {
			t.Errorf("%q is an environment", env)
		}
	}
}

// TestRandom62: no digit is likelier than another.
func TestRandom62(t *testing.T) {
	var count [256]int
	for range 1000 {
		for _, c := range []byte(random62(62)) {
			count[c]++
		}
	}
	chi := 0.0
	for i := range len(base62) {
		d := float64(count[base62[i]] - 1000)
		chi += d * d / 1000
	}
	if chi > 120 { // of 61 degrees of freedom: less than one run in 100,000
		t.Errorf("chi squared is %.0f", chi)
	}
}

func TestScopes(t *testing.T) {
	got, err := ParseScopes([]string{"read", "push", "read"})
	if err != nil || !slices.Equal(got, []Scope{ScopePush, ScopeRead}) {
		t.Error(got, err)
	}
	for _, bad := range [][]string{nil, {}, {""}, {"read", "root"}, {"Read"}} {
		if _, err := ParseScopes(bad); err == nil {
			t.Errorf("%v are scopes", bad)
		}
	}
	for _, has := range AllScopes {
		for _, want := range AllScopes {
			if got := Allows([]Scope{has}, want); got != (has == want || has == ScopeAdmin) {
				t.Errorf("%s allows %s: %v", has, want, got)
			}
		}
	}
	if Allows(nil, ScopeRead) {
		t.Error("no scope allows something")
	}
}

func FuzzAPIKey(f *testing.F) {
	k, _ := NewAPIKey("test")
	f.Add(k.Text())
	f.Add("forg_live_abcdefgh_" + strings.Repeat("a", 32) + "_000000")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseAPIKey(s); err == nil && (k.Text() != s || !strings.HasPrefix(s, k.Prefix())) {
			t.Fatalf("%q is read as %q", s, k.Text())
		}
	})
}

func BenchmarkAPIKey(b *testing.B) {
	k, _ := NewAPIKey("live")
	h := k.Hash()
	for b.Loop() {
		got, err := ParseAPIKey(k.Text())
		if err != nil || !got.Matches(h[:]) {
			b.Fatal(err)
		}
	}
}
