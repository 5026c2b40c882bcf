package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// User is somebody with an account.
type User struct {
	ID                  uuid.UUID
	Email               string // case-folded by the caller, unique
	PasswordHash        string // as package auth encodes it
	FullName            string
	Active              bool
	Verified            bool
	Tier                string // free, pro, enterprise
	SubscriptionStatus  string
	SubscriptionExpires time.Time // zero: never
	OperationsThisMonth int64     // of the calendar month, UTC
	StorageBytesManaged int64     // bytes that the user's operations have moved
	Timezone            string    // IANA name
	CreatedAt           time.Time
	UpdatedAt           time.Time
	LastLoginAt         time.Time // zero: never
}

const userColumns = `id, email, password_hash, full_name, is_active, is_verified, subscription_tier, subscription_status,
	subscription_expires_at, operations_this_month, operations_month, storage_bytes_managed, timezone, created_at, updated_at, last_login_at`

func month(t time.Time) int64 { return int64(t.Year())*100 + int64(t.Month()) }

func (s *Store) userFields(u *User, stored *int64) []any {
	return []any{&u.ID, &u.Email, &u.PasswordHash, &u.FullName, &u.Active, &u.Verified, &u.Tier, &u.SubscriptionStatus, &u.SubscriptionExpires,
		&u.OperationsThisMonth, stored, &u.StorageBytesManaged, &u.Timezone, &u.CreatedAt, &u.UpdatedAt, &u.LastLoginAt}
}

// theirMonth forgets the count of another month.
func (s *Store) theirMonth(u *User, stored int64) {
	if stored != month(s.now()) {
		u.OperationsThisMonth = 0
	}
}

// CreateUser adds a user and returns it with the fields that the store sets: an ID if there is none, times, tier free,
// status active and time zone UTC if none. ErrEmailTaken.
func (s *Store) CreateUser(ctx context.Context, u User) (User, error) {
	if u.ID == uuid.Nil {
		u.ID = newID()
	}
	u.Tier = cmp.Or(u.Tier, "free")
	u.SubscriptionStatus = cmp.Or(u.SubscriptionStatus, "active")
	u.Timezone = cmp.Or(u.Timezone, "UTC")
	u.CreatedAt = s.now()
	u.UpdatedAt = u.CreatedAt
	u.OperationsThisMonth, u.StorageBytesManaged, u.LastLoginAt = 0, 0, time.Time{}
	err := s.system(ctx, func(t tx) error {
		_, err := t.exec(ctx, `insert into users (`+userColumns+`)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, $10, $11, $11, null)`,
			u.ID, u.Email, u.PasswordHash, u.FullName, u.Active, u.Verified, u.Tier, u.SubscriptionStatus, u.SubscriptionExpires, u.Timezone, u.CreatedAt)
		if err == nil {
			_, err = t.exec(ctx, "insert into heads (user_id, head) values ($1, 0)", u.ID)
		}
		return err
	})
	if taken(err, "email") {
		return User{}, ErrEmailTaken
	}
	if err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return u, nil
}

// UserByEmail finds the user who logs in. ErrNotFound.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	return s.user(ctx, scope{system: true}, "email = $1", email)
}

// UserByID is the user. ErrNotFound.
func (s *Store) UserByID(ctx context.Context, id uuid.UUID) (User, error) {
	return s.user(ctx, scope{user: id}, "id = $1", id)
}

func (s *Store) user(ctx context.Context, who scope, where string, arg any) (User, error) {
	var u User
	var stored int64
	if err := s.view(ctx, who, "select "+userColumns+" from users where "+where, []any{arg}, s.userFields(&u, &stored)...); err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	s.theirMonth(&u, stored)
	return u, nil
}

// Users lists all users, newest first, for the operator; next is "" at the end. api.ErrCursor.
func (s *Store) Users(ctx context.Context, p Page) (users []User, next string, err error) {
	const list = "users"
	at, id, err := p.before(list)
	if err != nil {
		return nil, "", err
	}
	err = s.db.read(ctx, scope{system: true}, "select "+userColumns+` from users where $1 or (created_at, id) < ($2, $3)
		order by created_at desc, id desc limit $4`, []any{p.Cursor == "", at, id, p.limit() + 1}, func(r rows) error {
		var u User
		var stored int64
		if err := r.scan(s.userFields(&u, &stored)...); err != nil {
			return err
		}
		s.theirMonth(&u, stored)
		users = append(users, u)
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list users: %w", err)
	}
	users, next = cut(users, p, list, func(u User) api.Cursor { return api.Cursor{Micros: u.CreatedAt.UnixMicro(), ID: u.ID} })
	return users, next, nil
}

// LoggedIn writes down that the user logged in now and, unless it is "", the password's new hash, made because the
// parameters of hashing have changed. Sessions go on.
func (s *Store) LoggedIn(ctx context.Context, id uuid.UUID, rehashed string) error {
	return s.change(ctx, "note the login", id, `update users set last_login_at = $2,
		password_hash = case when $3 = '' then password_hash else $3 end where id = $1`, s.now(), rehashed)
}

// SetPassword changes the password's hash and ends all sessions but keep (uuid.Nil: all). ErrNotFound.
func (s *Store) SetPassword(ctx context.Context, id uuid.UUID, hash string, keep uuid.UUID) error {
	err := s.as(ctx, id, func(t tx) error {
		if err := changed(t.exec(ctx, "update users set password_hash = $2, updated_at = $3 where id = $1", id, hash, s.now())); err != nil {
			return err
		}
		_, err := t.exec(ctx, `update sessions set revoked_at = $2, why = 'password' where user_id = $1 and revoked_at is null
			and ($3 or id <> $4)`, id, s.now(), keep == uuid.Nil, cmp.Or(keep, uuid.Max))
		return err
	})
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return nil
}

// SetProfile changes what the user may change. ErrNotFound.
func (s *Store) SetProfile(ctx context.Context, id uuid.UUID, fullName, timezone string) error {
	return s.change(ctx, "set profile", id, "update users set full_name = $3, timezone = $4, updated_at = $2 where id = $1", s.now(), fullName, timezone)
}

// SetTier changes the subscription. ErrNotFound.
func (s *Store) SetTier(ctx context.Context, id uuid.UUID, tier, status string, expires time.Time) error {
	return s.change(ctx, "set tier", id, `update users set subscription_tier = $3, subscription_status = $4, subscription_expires_at = $5,
		updated_at = $2 where id = $1`, s.now(), tier, status, expires)
}

// SetVerified says whether the e-mail address is known to be the user's. ErrNotFound.
func (s *Store) SetVerified(ctx context.Context, id uuid.UUID, verified bool) error {
	return s.change(ctx, "set verified", id, "update users set is_verified = $3, updated_at = $2 where id = $1", s.now(), verified)
}

func (s *Store) change(ctx context.Context, what string, id uuid.UUID, query string, args ...any) error {
	err := s.as(ctx, id, func(t tx) error { return changed(t.exec(ctx, query, append([]any{id}, args...)...)) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// SetActive lets a user in or shuts them out; shut out, all their sessions end. ErrNotFound.
func (s *Store) SetActive(ctx context.Context, id uuid.UUID, active bool) error {
	err := s.as(ctx, id, func(t tx) error {
		err := changed(t.exec(ctx, "update users set is_active = $2, updated_at = $3 where id = $1", id, active, s.now()))
		if err != nil || active {
			return err
		}
		_, err = t.exec(ctx, "update sessions set revoked_at = $2, why = 'inactive' where user_id = $1 and revoked_at is null", id, s.now())
		return err
	})
	if err != nil {
		return fmt.Errorf("set active: %w", err)
	}
	return nil
}

// DeleteUser erases the user and everything of theirs, audit trail and jobs included, in one transaction. ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id uuid.UUID) error {
	err := s.system(ctx, func(t tx) error {
		// The user's row before all that others take after it, or both would wait for each other.
		if err := one(ctx, t, "select id from users where id = $1"+t.dialect().forUpdate, []any{id}, new(uuid.UUID)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, t.dialect().openGate); err != nil {
			return err
		}
		// The log first and by itself: what the foreign keys would do row by row.
		for _, q := range []string{"delete from sync_log where user_id = $1", "delete from audit_heads where user_id = $1"} {
			if _, err := t.exec(ctx, q, id); err != nil {
				return err
			}
		}
		if err := changed(t.exec(ctx, "delete from users where id = $1", id)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, t.dialect().deleteJobs, id.String()); err != nil {
			return err
		}
		_, err := t.exec(ctx, t.dialect().shutGate)
		return err
	})
	if err != nil {
		return fmt.Errorf("erase user: %w", err)
	}
	return nil
}

// Export hands out all that is kept of a user, one thing after another, never all of it in memory: what names the kind
// ("user", "device", "location", "rules", "api_key", "session", "keys", "operation", "command", "entry", "audit") and v is a User,
// Device, Location, RuleSet, APIKey, Session, api.KeyState, Operation, Command, api.PullEntry or AuditEvent, without the hashes
// of secrets. What is written meanwhile may be missing. An error of emit ends it.
func (s *Store) Export(ctx context.Context, id uuid.UUID, emit func(what string, v any) error) error {
	u, err := s.UserByID(ctx, id)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	u.PasswordHash = ""
	if err := emit("user", u); err != nil {
		return err
	}
	if err := exportList(ctx, id, "device", s.Devices, emit); err != nil {
		return err
	}
	if err := exportList(ctx, id, "location", s.Locations, emit); err != nil {
		return err
	}
	if err := exportList(ctx, id, "rules", s.RuleSets, emit); err != nil {
		return err
	}
	if err := exportList(ctx, id, "api_key", s.APIKeys, emit); err != nil {
		return err
	}
	if err := exportList(ctx, id, "session", s.Sessions, emit); err != nil {
		return err
	}
	keys, err := s.Keys(ctx, id)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if keys.Version > 0 {
		if err := emit("keys", keys); err != nil {
			return err
		}
	}
	if err := exportPages(ctx, "operation", func(p Page) ([]Operation, string, error) { return s.Operations(ctx, id, OperationFilter{}, p) }, emit); err != nil {
		return err
	}
	if err := exportPages(ctx, "command", func(p Page) ([]Command, string, error) { return s.Commands(ctx, id, p) }, emit); err != nil {
		return err
	}
	if err := exportPages(ctx, "audit", func(p Page) ([]AuditEvent, string, error) { return s.AuditTrail(ctx, id, p) }, emit); err != nil {
		return err
	}
	_, _, err = s.Pull(ctx, id, PullFrom{}, func(e *api.PullEntry) error { return emit("entry", *e) })
	return err
}

func exportList[T any](ctx context.Context, user uuid.UUID, what string, list func(context.Context, uuid.UUID) ([]T, error),
	emit func(string, any) error) error {
	all, err := list(ctx, user)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	for _, v := range all {
		if err := emit(what, v); err != nil {
			return err
		}
	}
	return nil
}

func exportPages[T any](ctx context.Context, what string, list func(Page) ([]T, string, error), emit func(string, any) error) error {
	for p := (Page{Limit: maxPage}); ; {
		all, next, err := list(p)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		for _, v := range all {
			if err := emit(what, v); err != nil {
				return err
			}
		}
		if next == "" {
			return ctx.Err()
		}
		p.Cursor = next
	}
}
