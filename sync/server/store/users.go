package store

import (
	"context"
	"time"

	"github.com/google/uuid"
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

// Page asks for a part of a list: Limit items after the cursor; "" is the beginning.
type Page struct {
	Cursor string
	Limit  int
}

// CreateUser adds a user and returns it with the fields that the store sets: an ID if there is none, times, tier free and
// time zone UTC if none. ErrEmailTaken.
func (s *Store) CreateUser(ctx context.Context, u User) (User, error) { panic("soon") }

// UserByEmail finds the user who logs in. ErrNotFound.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) { panic("soon") }

// UserByID is the user. ErrNotFound.
func (s *Store) UserByID(ctx context.Context, id uuid.UUID) (User, error) { panic("soon") }

// Users lists all users by e-mail, for the operator; next is "" at the end.
func (s *Store) Users(ctx context.Context, p Page) (users []User, next string, err error) {
	panic("soon")
}

// LoggedIn writes down that the user logged in now and, unless it is "", the password's new hash, made because the
// parameters of hashing have changed. Sessions go on.
func (s *Store) LoggedIn(ctx context.Context, id uuid.UUID, rehashed string) error { panic("soon") }

// SetPassword changes the password's hash and ends all sessions but keep (uuid.Nil: all). ErrNotFound.
func (s *Store) SetPassword(ctx context.Context, id uuid.UUID, hash string, keep uuid.UUID) error {
	panic("soon")
}

// SetProfile changes what the user may change. ErrNotFound.
func (s *Store) SetProfile(ctx context.Context, id uuid.UUID, fullName, timezone string) error {
	panic("soon")
}

// SetTier changes the subscription. ErrNotFound.
func (s *Store) SetTier(ctx context.Context, id uuid.UUID, tier, status string, expires time.Time) error {
	panic("soon")
}

// SetActive lets a user in or shuts them out; shut out, all their sessions end. ErrNotFound.
func (s *Store) SetActive(ctx context.Context, id uuid.UUID, active bool) error { panic("soon") }

// SetVerified says whether the e-mail address is known to be the user's. ErrNotFound.
func (s *Store) SetVerified(ctx context.Context, id uuid.UUID, verified bool) error { panic("soon") }

// DeleteUser erases the user and everything of theirs, audit trail and open jobs' subjects included, in one transaction.
// ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id uuid.UUID) error { panic("soon") }

// Export hands out all that is kept of a user, one thing after another, never all of it in memory: what names the kind
// ("user", "device", "operation", "entry", "command", "api_key", "session", "location", "audit") and v is a User, Device
// and so on; no hash of a secret is set. An error of emit ends it.
func (s *Store) Export(ctx context.Context, id uuid.UUID, emit func(what string, v any) error) error {
	panic("soon")
}
