package store

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Kinds of devices.
const (
	DeviceCLI      = "cli"      // a computer that pushes its journal
	DeviceLocation = "location" // a storage location, organized by the server's worker
)

// Device is whatever has a history: a user's computer, or a storage location.
type Device struct {
	ID         uuid.UUID // made by the device; unique for a user only
	UserID     uuid.UUID
	Name       string
	Kind       string
	Platform   string
	PublicKey  []byte
	CreatedAt  time.Time
	LastSeenAt time.Time // exact to a minute
	RevokedAt  time.Time // zero: welcome
}

// PutDevice adds the device, or brings name (unless ""), platform and key of the one with that ID up to date. ErrRevoked:
// it was revoked; a device does not come back under its old ID.
func (s *Store) PutDevice(ctx context.Context, d Device) (Device, error) { panic("soon") }

// Devices are the user's devices, newest first, revoked ones too.
func (s *Store) Devices(ctx context.Context, user uuid.UUID) ([]Device, error) { panic("soon") }

// DeviceByID is one of the user's devices. ErrNotFound.
func (s *Store) DeviceByID(ctx context.Context, user, id uuid.UUID) (Device, error) { panic("soon") }

// RenameDevice gives it another name. ErrNotFound.
func (s *Store) RenameDevice(ctx context.Context, user, id uuid.UUID, name string) (Device, error) {
	panic("soon")
}

// RevokeDevice shuts a device out: its sessions end, its API keys go, its open commands are cancelled. Its history stays.
// ErrNotFound.
func (s *Store) RevokeDevice(ctx context.Context, user, id uuid.UUID) error { panic("soon") }

// Location is a folder on the server that the operator has registered for a user: a Device of kind location with a root.
type Location struct {
	ID        uuid.UUID // of the device, too
	UserID    uuid.UUID
	Name      string
	Root      string // absolute path of the folder
	CreatedAt time.Time
}

// CreateLocation registers a folder, and its device. ErrRootTaken: somebody has it already; ErrNotFound: no such user.
func (s *Store) CreateLocation(ctx context.Context, l Location) (Location, error) { panic("soon") }

// Locations are the user's, by name.
func (s *Store) Locations(ctx context.Context, user uuid.UUID) ([]Location, error) { panic("soon") }

// LocationByID is one of the user's. ErrNotFound.
func (s *Store) LocationByID(ctx context.Context, user, id uuid.UUID) (Location, error) {
	panic("soon")
}

// AllLocations are those of all users, for the operator and the worker.
func (s *Store) AllLocations(ctx context.Context) ([]Location, error) { panic("soon") }

// DeleteLocation forgets the folder and revokes its device; its history stays. ErrNotFound.
func (s *Store) DeleteLocation(ctx context.Context, user, id uuid.UUID) error { panic("soon") }
