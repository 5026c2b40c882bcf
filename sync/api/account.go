package api

import (
	"time"

	"github.com/google/uuid"
)

// Tier is what a user has subscribed to.
type Tier string

// The tiers.
const (
	TierFree       Tier = "free"
	TierPro        Tier = "pro"
	TierEnterprise Tier = "enterprise"
)

// User is an account as its owner sees it.
type User struct {
	_                     struct{}   `json:"-" additionalProperties:"true"`
	ID                    uuid.UUID  `json:"id"`
	Email                 string     `json:"email"`
	FullName              string     `json:"full_name"`
	IsActive              bool       `json:"is_active"`
	IsVerified            bool       `json:"is_verified"`
	SubscriptionTier      Tier       `json:"subscription_tier"`
	SubscriptionStatus    string     `json:"subscription_status"`
	SubscriptionExpiresAt *time.Time `json:"subscription_expires_at"`
	OperationsThisMonth   int64      `json:"operations_this_month"`
	StorageBytesManaged   int64      `json:"storage_bytes_managed"`
	Timezone              string     `json:"timezone"`
	CreatedAt             time.Time  `json:"created_at"`
	UpdatedAt             time.Time  `json:"updated_at"`
	LastLoginAt           *time.Time `json:"last_login_at"`
}

// SignupRequest is the body of POST /api/v1/auth/signup.
type SignupRequest struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Email    string   `json:"email" format:"email" maxLength:"254"`
	Password string   `json:"password" minLength:"8" maxLength:"1024"`
	FullName string   `json:"full_name" maxLength:"200"`
	Timezone string   `json:"timezone,omitempty" maxLength:"64" doc:"IANA name; UTC if absent."`
}

// LoginRequest is the body of POST /api/v1/auth/login.
type LoginRequest struct {
	_        struct{}     `json:"-" additionalProperties:"true"`
	Email    string       `json:"email" maxLength:"254"`
	Password string       `json:"password" maxLength:"1024"`
	Device   *LoginDevice `json:"device,omitempty" doc:"The device that logs in, if it is to sync."`
}

// LoginDevice says which device logs in; its tokens are then bound to it.
type LoginDevice struct {
	_        struct{}  `json:"-" additionalProperties:"true"`
	ID       uuid.UUID `json:"id" doc:"The device id of its journal."`
	Name     string    `json:"name" maxLength:"100"`
	Platform string    `json:"platform,omitempty" maxLength:"50"`
}

// TokenResponse answers login and refresh.
type TokenResponse struct {
	_            struct{} `json:"-" additionalProperties:"true"`
	AccessToken  string   `json:"access_token"`
	RefreshToken string   `json:"refresh_token"`
	TokenType    string   `json:"token_type" doc:"bearer"`
	ExpiresIn    int      `json:"expires_in" doc:"Seconds until the access token expires."`
}

// RefreshRequest is the body of POST /api/v1/auth/refresh.
type RefreshRequest struct {
	_            struct{} `json:"-" additionalProperties:"true"`
	RefreshToken string   `json:"refresh_token" maxLength:"200"`
}

// PasswordRequest is the body of POST /api/v1/auth/password.
type PasswordRequest struct {
	_           struct{} `json:"-" additionalProperties:"true"`
	OldPassword string   `json:"old_password" maxLength:"1024"`
	NewPassword string   `json:"new_password" minLength:"8" maxLength:"1024"`
}

// APIKey is an API key as it is listed: never the key itself.
type APIKey struct {
	_          struct{}   `json:"-" additionalProperties:"true"`
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Prefix     string     `json:"prefix" doc:"The part of the key that may be shown."`
	Scopes     []string   `json:"scopes"`
	DeviceID   *uuid.UUID `json:"device_id" nullable:"true" doc:"The only device that it may speak for; null: any."`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"To the minute."`
	CreatedAt  time.Time  `json:"created_at"`
}

// APIKeyRequest is the body of POST /api/v1/api-keys.
type APIKeyRequest struct {
	_         struct{}   `json:"-" additionalProperties:"true"`
	Name      string     `json:"name" minLength:"1" maxLength:"100"`
	Scopes    []string   `json:"scopes" minItems:"1" enum:"read,push,commands,admin" doc:"read, push, commands, admin."`
	DeviceID  uuid.UUID  `json:"device_id,omitzero" doc:"The only device that it may speak for; any of the user's if absent."`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// NewAPIKey answers it: the only time that the key is shown.
type NewAPIKey struct {
	APIKey
	Key string `json:"key"`
}
