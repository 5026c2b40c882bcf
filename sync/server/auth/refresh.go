package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Lifetimes of refresh tokens.
const (
	RefreshLifetime = 7 * 24 * time.Hour  // of one that is not used
	FamilyLifetime  = 90 * 24 * time.Hour // of a login, however often it is refreshed
	RefreshGrace    = time.Minute         // in which the immediate predecessor still counts, since answers get lost
)

// RefreshRow is what is known of a refresh token that somebody presents, read under a lock that holds until what was
// decided is written.
type RefreshRow struct {
	FamilyStarted    time.Time // when the login was that its family began with
	FamilyRevoked    bool      // the family ended: logout, new password, revoked device, or a replay
	IssuedAt         time.Time
	RotatedAt        time.Time // when its first successor was issued; zero if there is none
	Voided           bool      // it was replaced before it was used
	SuccessorRotated bool      // its successor that is not voided has a successor itself
}

// RefreshDecision is what is to be done about a refresh token that was presented.
type RefreshDecision uint8

// The decisions.
const (
	// RefreshRefuse: answer 401 and change nothing. The token or its family is over.
	RefreshRefuse RefreshDecision = iota
	// RefreshRotate: set RotatedAt, issue a successor.
	RefreshRotate
	// RefreshReplace: void the unused successor, issue another in its place. RotatedAt stays, so that the time of grace
	// does not grow.
	RefreshReplace
	// RefreshRevoke: revoke the family, write it into the audit log, answer 401. Two hold the same token.
	RefreshRevoke
)

func (d RefreshDecision) String() string {
	return [...]string{"refuse", "rotate", "replace", "revoke"}[d]
}

// DecideRefresh is the rule of refresh tokens: the current one is rotated; its immediate predecessor is answered again
// for RefreshGrace while nobody has used what it was answered; everything else is a replay and ends the family
// (RFC 9700, section 4.14.2).
func DecideRefresh(t RefreshRow, now time.Time) RefreshDecision {
	switch {
	case t.FamilyRevoked:
		return RefreshRefuse
	case t.Voided:
		return RefreshRevoke
	case t.RotatedAt.IsZero():
		if now.Sub(t.IssuedAt) >= RefreshLifetime || now.Sub(t.FamilyStarted) >= FamilyLifetime {
			return RefreshRefuse
		}
		return RefreshRotate
	case !t.SuccessorRotated && now.Sub(t.RotatedAt) <= RefreshGrace && now.Sub(t.FamilyStarted) < FamilyLifetime:
		return RefreshReplace
	}
	return RefreshRevoke
}

const refreshPrefix = "rt_"

// ErrRefreshToken says that a text cannot be a refresh token.
var ErrRefreshToken = errors.New("not a refresh token")

// NewRefreshToken is a random token of 256 bits and the hash to keep of it.
func NewRefreshToken() (token string, hash [32]byte) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	token = refreshPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, sha256.Sum256([]byte(token))
}

// HashRefreshToken is the hash by which a token that was presented is looked up. The hash needs no salt and no
// constant-time comparison: nobody can guess 256 bits, nor learn them from how far two hashes agree.
func HashRefreshToken(token string) ([32]byte, error) {
	text, ok := strings.CutPrefix(token, refreshPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(32) {
		return [32]byte{}, ErrRefreshToken
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(text); err != nil {
		return [32]byte{}, ErrRefreshToken
	}
	return sha256.Sum256([]byte(token)), nil
}
