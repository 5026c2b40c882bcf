package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// Device is whatever has a history: a user's computer, or a storage location.
type Device struct {
	ID         uuid.UUID // made by the device; unique for a user only
	UserID     uuid.UUID
	Name       string
	Kind       string // as api.DeviceKind; computer if none is given
	Platform   string
	PublicKey  []byte
	CreatedAt  time.Time
	LastSeenAt time.Time       // exact to a minute
	RevokedAt  time.Time       // zero: welcome
	Offers     json.RawMessage // what may be asked of it, as its agent wrote it; nil: nothing was said
}

// PutDevice adds the device, or brings name (unless ""), platform and key of the one with that ID up to date. ErrRevoked:
// it was revoked; a device does not come back under its old ID.
func (s *Store) PutDevice(ctx context.Context, d Device) (Device, error) {
	d.Kind = cmp.Or(d.Kind, string(api.DeviceComputer))
	var out Device
	err := s.as(ctx, d.UserID, func(t tx) error {
		_, err := t.exec(ctx, "insert into devices ("+deviceColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $7, null, null)
			on conflict (user_id, id) do update set name = case when excluded.name = '' then devices.name else excluded.name end,
				platform = case when excluded.platform = '' then devices.platform else excluded.platform end,
				public_key = coalesce(excluded.public_key, devices.public_key), last_seen_at = excluded.last_seen_at
			where devices.revoked_at is null`, d.UserID, d.ID, d.Name, d.Kind, d.Platform, d.PublicKey, s.now())
		if err != nil {
			return err
		}
		if out, err = device(ctx, t, d.UserID, d.ID, ""); err == nil && !out.RevokedAt.IsZero() {
			err = ErrRevoked
		}
		return err
	})
	if orphan(err) {
		err = ErrNotFound
	}
	if err != nil {
		return Device{}, fmt.Errorf("register device: %w", err)
	}
	return out, nil
}

const deviceColumns = "user_id, id, name, kind, platform, public_key, created_at, last_seen_at, revoked_at, offers"

func (d *Device) fields() []any {
	return []any{&d.UserID, &d.ID, &d.Name, &d.Kind, &d.Platform, &d.PublicKey, &d.CreatedAt, &d.LastSeenAt, &d.RevokedAt, &d.Offers}
}

func device(ctx context.Context, t tx, user, id uuid.UUID, lock string) (d Device, err error) {
	err = one(ctx, t, "select "+deviceColumns+" from devices where user_id = $1 and id = $2"+lock, []any{user, id}, d.fields()...)
	return d, err
}

// Devices are the user's devices, newest first, revoked ones too.
func (s *Store) Devices(ctx context.Context, user uuid.UUID) ([]Device, error) {
	var all []Device
	err := s.db.read(ctx, scope{user: user}, "select "+deviceColumns+" from devices where user_id = $1 order by created_at desc, id desc",
		[]any{user}, func(r rows) error {
			var d Device
			err := r.scan(d.fields()...)
			all = append(all, d)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return all, nil
}

// DeviceByID is one of the user's devices. ErrNotFound.
func (s *Store) DeviceByID(ctx context.Context, user, id uuid.UUID) (Device, error) {
	var d Device
	err := s.view(ctx, scope{user: user}, "select "+deviceColumns+" from devices where user_id = $1 and id = $2", []any{user, id}, d.fields()...)
	if err != nil {
		return Device{}, fmt.Errorf("read device: %w", err)
	}
	return d, nil
}

// RenameDevice gives it another name; the one before is not kept, in its sessions neither. ErrNotFound.
func (s *Store) RenameDevice(ctx context.Context, user, id uuid.UUID, name string) (Device, error) {
	err := s.as(ctx, user, func(t tx) error {
		if err := changed(t.exec(ctx, "update devices set name = $3 where user_id = $1 and id = $2", user, id, name)); err != nil {
			return err
		}
		_, err := t.exec(ctx, "update sessions set agent = $3 where user_id = $1 and device_id = $2", user, id, name)
		return err
	})
	if err != nil {
		return Device{}, fmt.Errorf("rename device: %w", err)
	}
	return s.DeviceByID(ctx, user, id)
}

// SetOffers keeps what a device lets be asked of it. ErrNotFound.
func (s *Store) SetOffers(ctx context.Context, user, id uuid.UUID, offers json.RawMessage) error {
	return s.change(ctx, "keep offers", user, "update devices set offers = $3 where user_id = $1 and id = $2", id, offers)
}

// RevokeDevice shuts a device out: its sessions end, its API keys go, its open commands are cancelled. Its history stays.
// ErrNotFound.
func (s *Store) RevokeDevice(ctx context.Context, user, id uuid.UUID) error {
	err := s.as(ctx, user, func(t tx) error { return s.revokeDevice(ctx, t, user, id) })
	if err != nil {
		return fmt.Errorf("revoke device: %w", err)
	}
	return nil
}

func (s *Store) revokeDevice(ctx context.Context, t tx, user, id uuid.UUID) error {
	now := s.now()
	if err := changed(t.exec(ctx, "update devices set revoked_at = coalesce(revoked_at, $3) where user_id = $1 and id = $2", user, id, now)); err != nil {
		return err
	}
	if _, err := t.exec(ctx, "update sessions set revoked_at = $3, why = 'device' where user_id = $1 and device_id = $2 and revoked_at is null",
		user, id, now); err != nil {
		return err
	}
	if _, err := t.exec(ctx, "delete from api_keys where user_id = $1 and device_id = $2", user, id); err != nil {
		return err
	}
	_, err := s.endCommands(ctx, t, api.CommandCancelled, "user_id = $3 and device_id = $4", user, id)
	return err
}

// Location is a folder on the server that the operator has registered for a user: a Device of kind location with a root.
type Location struct {
	ID        uuid.UUID // of the device, too
	UserID    uuid.UUID
	Name      string
	Root      string // absolute path of the folder
	CreatedAt time.Time
}

// CreateLocation registers a folder, and its device. ErrRootTaken: somebody has it already; ErrNotFound: no such user.
func (s *Store) CreateLocation(ctx context.Context, l Location) (Location, error) {
	if l.ID == uuid.Nil {
		l.ID = newID()
	}
	l.CreatedAt = s.now()
	// As the system: whether another user has the folder is for the operator, who calls this, to know.
	err := s.system(ctx, func(t tx) error {
		_, err := t.exec(ctx, "insert into devices ("+deviceColumns+") values ($1, $2, $3, $4, '', null, $5, null, null, null)",
			l.UserID, l.ID, l.Name, string(api.DeviceLocation), l.CreatedAt)
		if err == nil {
			_, err = t.exec(ctx, "insert into locations ("+locationColumns+") values ($1, $2, $3, $4, $5)", l.UserID, l.ID, l.Name, l.Root, l.CreatedAt)
		}
		return err
	})
	switch {
	case taken(err, "root"):
		err = ErrRootTaken
	case orphan(err):
		err = ErrNotFound
	}
	if err != nil {
		return Location{}, fmt.Errorf("register location: %w", err)
	}
	return l, nil
}

const locationColumns = "user_id, id, name, root, created_at"

func (l *Location) fields() []any { return []any{&l.UserID, &l.ID, &l.Name, &l.Root, &l.CreatedAt} }

func (s *Store) locations(ctx context.Context, who scope, where string, args ...any) ([]Location, error) {
	var all []Location
	err := s.db.read(ctx, who, "select "+locationColumns+" from locations "+where+" order by name, id", args, func(r rows) error {
		var l Location
		err := r.scan(l.fields()...)
		all = append(all, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list locations: %w", err)
	}
	return all, nil
}

// Locations are the user's, by name.
func (s *Store) Locations(ctx context.Context, user uuid.UUID) ([]Location, error) {
	return s.locations(ctx, scope{user: user}, "where user_id = $1", user)
}

// LocationByID is one of the user's. ErrNotFound.
func (s *Store) LocationByID(ctx context.Context, user, id uuid.UUID) (Location, error) {
	all, err := s.locations(ctx, scope{user: user}, "where user_id = $1 and id = $2", user, id)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("read location: %w", ErrNotFound)
	}
	if err != nil {
		return Location{}, err
	}
	return all[0], nil
}

// AllLocations are those of all users, for the operator and the worker.
func (s *Store) AllLocations(ctx context.Context) ([]Location, error) {
	return s.locations(ctx, scope{system: true}, "")
}

// OpenLocation is a location in which something is to be done.
type OpenLocation struct {
	UserID, ID uuid.UUID
	Since      time.Time // the oldest of it was asked for
}

// OpenLocations are those, of all users, with operations that have not ended.
func (s *Store) OpenLocations(ctx context.Context) ([]OpenLocation, error) {
	var all []OpenLocation
	err := s.db.read(ctx, scope{system: true}, "select l.user_id, l.id, min(o.created_at) from operations o join locations l on l.user_id = o.user_id "+
		"and l.id = o.device_id where "+openOperation+" group by l.user_id, l.id order by 3", nil, func(r rows) error {
		var l OpenLocation
		err := r.scan(&l.UserID, &l.ID, &l.Since)
		all = append(all, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list locations with something to do: %w", err)
	}
	return all, nil
}

// RuleSet are rules that the operator has given a location, to be asked for by their name.
type RuleSet struct {
	UserID     uuid.UUID
	LocationID uuid.UUID
	Name       string // unique for the location
	Source     string // as package rules reads it
	CreatedAt  time.Time
}

const ruleSetColumns = "user_id, location_id, name, source, created_at"

func (r *RuleSet) fields() []any {
	return []any{&r.UserID, &r.LocationID, &r.Name, &r.Source, &r.CreatedAt}
}

// SetRules gives a location rules, in the place of those with the same name. ErrNotFound: no such location.
func (s *Store) SetRules(ctx context.Context, r RuleSet) error {
	r.CreatedAt = s.now()
	err := s.as(ctx, r.UserID, func(t tx) error {
		_, err := t.exec(ctx, "insert into location_rules ("+ruleSetColumns+`) values ($1, $2, $3, $4, $5)
			on conflict (user_id, location_id, name) do update set source = excluded.source, created_at = excluded.created_at`,
			r.UserID, r.LocationID, r.Name, r.Source, r.CreatedAt)
		return err
	})
	if orphan(err) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("set rules of location: %w", err)
	}
	return nil
}

// RemoveRules takes rules from a location. ErrNotFound.
func (s *Store) RemoveRules(ctx context.Context, user, location uuid.UUID, name string) error {
	return s.change(ctx, "remove rules of location", user, "delete from location_rules where user_id = $1 and location_id = $2 and name = $3", location, name)
}

// RuleSets are those of all of the user's locations, by location and name.
func (s *Store) RuleSets(ctx context.Context, user uuid.UUID) ([]RuleSet, error) {
	var all []RuleSet
	err := s.db.read(ctx, scope{user: user}, "select "+ruleSetColumns+" from location_rules where user_id = $1 order by location_id, name", []any{user},
		func(r rows) error {
			var x RuleSet
			err := r.scan(x.fields()...)
			all = append(all, x)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list rules of locations: %w", err)
	}
	return all, nil
}

// RuleSetByName is one of a location of the user's. ErrNotFound.
func (s *Store) RuleSetByName(ctx context.Context, user, location uuid.UUID, name string) (r RuleSet, err error) {
	err = s.view(ctx, scope{user: user}, "select "+ruleSetColumns+" from location_rules where user_id = $1 and location_id = $2 and name = $3",
		[]any{user, location, name}, r.fields()...)
	if err != nil {
		return RuleSet{}, fmt.Errorf("read rules of location: %w", err)
	}
	return r, nil
}

// DeleteLocation forgets the folder and revokes its device; its history stays. ErrNotFound.
func (s *Store) DeleteLocation(ctx context.Context, user, id uuid.UUID) error {
	err := s.as(ctx, user, func(t tx) error {
		if err := changed(t.exec(ctx, "delete from locations where user_id = $1 and id = $2", user, id)); err != nil {
			return err
		}
		return s.revokeDevice(ctx, t, user, id)
	})
	if err != nil {
		return fmt.Errorf("forget location: %w", err)
	}
	return nil
}
