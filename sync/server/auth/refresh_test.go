package auth

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecideRefresh(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		row  RefreshRow
		want RefreshDecision
	}{
		"current":                           {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day)}, RefreshRotate},
		"current, just issued":              {RefreshRow{FamilyStarted: now, IssuedAt: now}, RefreshRotate},
		"current, in its last second":       {RefreshRow{FamilyStarted: ago(80 * day), IssuedAt: ago(7*day - 1)}, RefreshRotate},
		"not used for 7 days":               {RefreshRow{FamilyStarted: ago(80 * day), IssuedAt: ago(7 * day)}, RefreshRefuse},
		"family of 90 days":                 {RefreshRow{FamilyStarted: ago(90 * day), IssuedAt: ago(day)}, RefreshRefuse},
		"family revoked":                    {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), FamilyRevoked: true}, RefreshRefuse},
		"replay in a revoked family":        {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(time.Hour), SuccessorRotated: true, FamilyRevoked: true}, RefreshRefuse},
		"predecessor, 1 s ago":              {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(time.Second)}, RefreshReplace},
		"predecessor, 60 s ago":             {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(time.Minute)}, RefreshReplace},
		"predecessor, a little more":        {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(time.Minute + 1)}, RefreshRevoke},
		"predecessor, successor used":       {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(time.Second), SuccessorRotated: true}, RefreshRevoke},
		"predecessor, expired since":        {RefreshRow{FamilyStarted: ago(8 * day), IssuedAt: ago(7*day + time.Second), RotatedAt: ago(30 * time.Second)}, RefreshReplace},
		"predecessor, family at its end":    {RefreshRow{FamilyStarted: ago(90 * day), IssuedAt: ago(day), RotatedAt: ago(time.Second)}, RefreshRevoke},
		"grandparent":                       {RefreshRow{FamilyStarted: ago(day), IssuedAt: ago(day), RotatedAt: ago(2 * time.Second), SuccessorRotated: true}, RefreshRevoke},
		"voided":                            {RefreshRow{FamilyStarted: ago(day), IssuedAt: now, Voided: true}, RefreshRevoke},
		"voided and rotated":                {RefreshRow{FamilyStarted: ago(day), IssuedAt: now, Voided: true, RotatedAt: now}, RefreshRevoke},
		"another process's clock is behind": {RefreshRow{FamilyStarted: now.Add(time.Second), IssuedAt: now.Add(time.Second)}, RefreshRotate},
	} {
		if got := DecideRefresh(c.row, now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// family is what a database would hold of a family of tokens; only it applies decisions.
type family struct {
	started time.Time
	revoked bool
	tokens  []*modelToken
}

type modelToken struct {
	row       RefreshRow
	successor int // the one that is not voided; 0 if none
}

func (f *family) present(i int, now time.Time) (answer int, d RefreshDecision) {
	t := f.tokens[i]
	row := t.row
	row.FamilyStarted, row.FamilyRevoked = f.started, f.revoked
	row.SuccessorRotated = t.successor != 0 && !f.tokens[t.successor].row.RotatedAt.IsZero()
	d = DecideRefresh(row, now)
	switch d {
	case RefreshRotate:
		t.row.RotatedAt = now
	case RefreshReplace:
		f.tokens[t.successor].row.Voided = true
	case RefreshRevoke:
		f.revoked = true
		return -1, d
	case RefreshRefuse:
		return -1, d
	}
	f.tokens = append(f.tokens, &modelToken{row: RefreshRow{IssuedAt: now}})
	t.successor = len(f.tokens) - 1
	return t.successor, d
}

// TestRefreshModel plays an owner whose answers may get lost, who asks again within a minute, and a thief who has got
// hold of some token. The owner alone is never signed out; after the thief has refreshed, the next refresh of the owner
// ends the family (or the thief's does), except within the time of grace, in which both cannot be told apart; and never
// are there two tokens that both could be refreshed for good.
func TestRefreshModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
		f := &family{started: now, tokens: []*modelToken{{row: RefreshRow{IssuedAt: now}}}}
		owner, thief := 0, -1
		stolen := false
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(time.Second), int64(20*time.Hour)).Draw(t, "later")))
			if now.Sub(f.started) > FamilyLifetime-24*time.Hour {
				return
			}
			if rapid.IntRange(0, 9).Draw(t, "who") == 0 { // the thief
				if thief < 0 {
					thief = rapid.IntRange(0, len(f.tokens)-1).Draw(t, "stolen")
				}
				stolen = true
				if got, _ := f.present(thief, now); got >= 0 {
					thief = got
				}
			} else {
				got, d := f.present(owner, now)
				for n := 0; got >= 0 && rapid.Bool().Draw(t, "lost") && n < 5; n++ { // asks again, at most half a minute in all
					now = now.Add(6 * time.Second)
					got, d = f.present(owner, now)
				}
				if got < 0 && !stolen {
					t.Fatalf("the owner was signed out without a thief: %s", d)
				}
				if got < 0 && !f.revoked {
					t.Fatalf("refused, but the family lives: %s", d)
				}
				if got >= 0 {
					owner = got
				}
			}
			current := 0
			for _, tok := range f.tokens {
				if tok.row.RotatedAt.IsZero() && !tok.row.Voided {
					current++
				}
			}
			if current != 1 {
				t.Fatalf("%d tokens can be refreshed", current)
			}
			if f.revoked {
				for i := range f.tokens {
					if got, d := f.present(i, now); got >= 0 {
						t.Fatalf("token %d of a revoked family: %s", i, d)
					}
				}
				return
			}
			if stolen && owner == thief {
				return // the model has lost track of who is who
			}
		}
	})
}

// TestTheftIsSeen: thief and owner take turns with the same token; whoever comes second ends the family.
func TestTheftIsSeen(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for _, wait := range []time.Duration{2 * time.Minute, 24 * time.Hour} {
		f := &family{started: now, tokens: []*modelToken{{row: RefreshRow{IssuedAt: now}}}}
		first, _ := f.present(0, now)
		if _, d := f.present(0, now.Add(wait)); d != RefreshRevoke {
			t.Errorf("after %v: %s", wait, d)
		}
		if _, d := f.present(first, now.Add(wait)); d != RefreshRefuse {
			t.Errorf("after %v the first one has still a session: %s", wait, d)
		}
	}
	// Within the minute of grace the second is answered, and then the first is found out.
	f := &family{started: now, tokens: []*modelToken{{row: RefreshRow{IssuedAt: now}}}}
	first, _ := f.present(0, now)
	second, d := f.present(0, now.Add(time.Second))
	if d != RefreshReplace {
		t.Fatal(d)
	}
	if _, d := f.present(first, now.Add(2*time.Second)); d != RefreshRevoke {
		t.Error(d)
	}
	if _, d := f.present(second, now.Add(3*time.Second)); d != RefreshRefuse {
		t.Error(d)
	}
}

func TestRefreshToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token, hash := NewRefreshToken()
		got, err := HashRefreshToken(token)
		if err != nil || got != hash || seen[token] {
			t.Fatal(token, err)
		}
		seen[token] = true
	}
	token, _ := NewRefreshToken()
	for _, bad := range []string{"", "rt_", token[3:], token + "A", token[:len(token)-1], strings.Replace(token, "rt_", "RT_", 1), token[:20] + "+" + token[21:], token[:len(token)-1] + "B", strings.Repeat("a", 1<<20)} {
		if _, err := HashRefreshToken(bad); err == nil {
			t.Errorf("%.60q is read as a refresh token", bad)
		}
	}
}

func FuzzRefreshToken(f *testing.F) {
	token, _ := NewRefreshToken()
	f.Add(token)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := HashRefreshToken(s); err == nil && (len(s) != len(token) || !strings.HasPrefix(s, "rt_")) {
			t.Fatalf("%q is read as a refresh token", s)
		}
	})
}
