package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsers(t *testing.T) {
	databases(t, func(t *testing.T, s testStore) {
		ctx := t.Context()
		if err := s.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		u := s.newUser(t, "ann@example.org")
		if _, err := s.CreateUser(ctx, User{Email: "ann@example.org"}); !errors.Is(err, ErrEmailTaken) {
			t.Fatal(err)
		}
		if d := cmp.Diff(u, must(s.UserByID(ctx, u.ID))(t)); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(u, must(s.UserByEmail(ctx, "ann@example.org"))(t)); d != "" {
			t.Fatal(d)
		}
		l := newLog(u.ID, s.newDevice(t, u.ID).ID).organize(newID(), 3)
		s.push(t, l, l.all())
	})
}
