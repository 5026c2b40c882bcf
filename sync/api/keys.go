package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// KeyState answers GET /api/v1/sync/keys: which keys an account's history is sealed with, and the keys themselves, wrapped
// so that only the account's devices can open them. An account without keys is not encrypted.
type KeyState struct {
	_       struct{}     `json:"-" additionalProperties:"true"`
	Version int64        `json:"version" doc:"Grows by one with every change; 0 if the account is not encrypted."`
	Keys    []AccountKey `json:"keys" doc:"Oldest first; the last is the one to seal with."`
	Bundle  []byte       `json:"bundle,omitempty" doc:"All keys, encrypted to the account's devices and to its recovery key."`
	Devices []KeyRequest `json:"devices" doc:"Devices that have asked for the keys. Whether one has them, only devices know."`
}

// AccountKey says which key is meant, and lets who holds it know that it is the right one.
type AccountKey struct {
	_     struct{} `json:"-" additionalProperties:"true"`
	ID    string   `json:"id" minLength:"1" maxLength:"64"`
	Check []byte   `json:"check" doc:"32 bytes that follow from the key, and from which it does not."`
}

// KeyUpdate is the body of PUT /api/v1/sync/keys. Keys may be added and never go: what is sealed with them stays.
type KeyUpdate struct {
	_       struct{}     `json:"-" additionalProperties:"true"`
	Version int64        `json:"version" minimum:"0" doc:"The version that this is a change of; another one is a conflict."`
	Keys    []AccountKey `json:"keys" minItems:"1" maxItems:"64"`
	Bundle  []byte       `json:"bundle"`
}

// KeyRequest is a device that asks for the keys, and the body of PUT /api/v1/sync/keys/devices/{id}.
type KeyRequest struct {
	_         struct{}  `json:"-" additionalProperties:"true"`
	DeviceID  uuid.UUID `json:"device_id,omitzero" doc:"In answers."`
	Recipient string    `json:"recipient" minLength:"1" maxLength:"2500" doc:"What keys are to be encrypted to: an age recipient."`
	Tag       []byte    `json:"tag" doc:"32 bytes by which a device that is given the pairing code knows the recipient for genuine."`
}

const (
	maxBundle = 48 << 10
	checkSize = 32
)

// Extends checks a change of an account's keys: that it is well formed, that no key goes or changes, and that it is a change
// of the version that there is. Errors: *Problem.
func (u *KeyUpdate) Extends(now *KeyState) error {
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	c.need("keys", len(u.Keys) > 0 && len(u.Keys) <= 64, "has %d keys, it may have 1 to 64", len(u.Keys))
	c.need("bundle", len(u.Bundle) > 0 && len(u.Bundle) <= maxBundle, "has %d bytes, it may have 1 to %d", len(u.Bundle), maxBundle)
	seen := map[string]bool{}
	for i, k := range u.Keys {
		at := c.at("keys[%d]", i)
		at.need("id", len(k.ID) > 0 && len(k.ID) <= 64 && strings.Trim(k.ID, "0123456789abcdefghijklmnopqrstuvwxyz") == "",
			"is %.80q, want 1 to 64 lower-case letters and digits", k.ID)
		at.need("id", !seen[k.ID], "is that of another key")
		seen[k.ID] = true
		at.need("check", len(k.Check) == checkSize, "has %d bytes, want %d", len(k.Check), checkSize)
		if c.full() {
			break
		}
	}
	if len(errs) > 0 {
		return invalid(errs)
	}
	if u.Version != now.Version {
		return NewProblem(CodeConflict, fmt.Sprintf("the keys are at version %d, the change is of version %d", now.Version, u.Version))
	}
	for i, k := range now.Keys {
		if i >= len(u.Keys) || u.Keys[i].ID != k.ID || !bytes.Equal(u.Keys[i].Check, k.Check) {
			return NewProblem(CodeConflict, fmt.Sprintf("key %s is missing or has changed: keys are only added", k.ID))
		}
	}
	return nil
}

// Check checks a request for the keys by itself. Errors: *Problem.
func (r *KeyRequest) Check() error {
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	c.need("recipient", len(r.Recipient) > 0 && len(r.Recipient) <= 2500 && strings.Trim(r.Recipient, "0123456789abcdefghijklmnopqrstuvwxyz") == "",
		"is %.80q, want 1 to 2500 lower-case letters and digits", r.Recipient)
	c.need("tag", len(r.Tag) == checkSize, "has %d bytes, want %d", len(r.Tag), checkSize)
	return invalid(errs)
}

// SealedBy is the key that an entry is sealed with, "" if it is readable. So is one that is sealed in part when it tells
// more than it may beside that.
func (e *Entry) SealedBy() string {
	if e.KeyID != "" || !e.SealsInPart() {
		return e.KeyID
	}
	b, err := e.open(maxBody)
	if err != nil {
		return ""
	}
	s, bare := sealedPart(b)
	if s == nil || !bare {
		return ""
	}
	return s.KeyID
}

// SealsInPart reports whether a server is to understand a part of the entry when the rest is sealed, since it shows how an
// operation stands. Other entries are sealed whole.
func (e *Entry) SealsInPart() bool {
	switch e.Kind {
	case KindStarted, KindFinished, KindRollback, KindRedact, KindVoid:
		return e.understood()
	}
	return false
}

// sealedPart is what is sealed of a body, and whether what is readable of it tells of no file, folder or device.
func sealedPart(b Body) (s *Sealed, bare bool) {
	switch b := b.(type) {
	case *Started:
		return b.Sealed, b.Root == "" && len(b.RootBytes) == 0 && b.Command == "" && len(b.Options) == 0
	case *Finished:
		return b.Sealed, b.Error == ""
	case *RollbackResult:
		return b.Sealed, b.Error == ""
	case *Redact:
		return b.Sealed, b.Reason == ""
	case *Void:
		return b.Sealed, true
	}
	return nil, false
}

// Public is what a server is to understand of a body that is sealed as s: a copy without what tells of files, folders or
// devices; nil for one that is sealed whole.
func Public(b Body, s *Sealed) Body {
	switch b := b.(type) {
	case *Started:
		return &Started{Kind: b.Kind, Planned: b.Planned, RollbackOf: b.RollbackOf, CommandID: b.CommandID, Sealed: s}
	case *Finished:
		return &Finished{Status: b.Status, Processed: b.Processed, Skipped: b.Skipped, Failed: b.Failed, Bytes: b.Bytes, Duplicates: b.Duplicates,
			RootStatus: b.RootStatus, Sealed: s}
	case *RollbackResult:
		return &RollbackResult{CommandID: b.CommandID, RollbackOf: b.RollbackOf, State: b.State, Restored: b.Restored, Skipped: b.Skipped,
			Failed: b.Failed, Sealed: s}
	case *Redact:
		return &Redact{Sealed: s}
	case *Void:
		return &Void{Sealed: s}
	}
	return nil
}

// SealedPart is what is sealed of an entry of which a server understands the rest; nil if there is none, and of an entry
// that is readable, sealed whole or redacted.
func (e *Entry) SealedPart() (*Sealed, error) {
	if !e.SealsInPart() {
		return nil, nil
	}
	b, err := e.open(maxBody)
	if err != nil {
		return nil, err
	}
	s, _ := sealedPart(b)
	return s, nil
}

// MustBeSealed checks entries of an account that is encrypted: each is to be sealed with one of the keys. at is the number
// of the first in its push. Errors: *Problem of code not_sealed, which names the fields.
func MustBeSealed(entries []Entry, at int, keys []string) error {
	var errs []FieldError
	c := &checker{prefix: "body", errs: &errs}
	for i := range entries {
		e := &entries[i]
		id := e.SealedBy()
		c.at("entries[%d]", at+i).need("key_id", slices.Contains(keys, id), "%s", map[bool]string{
			true: "is missing: the account is encrypted, and the entry is readable", false: "is none of the account's keys"}[id == ""])
		if c.full() {
			break
		}
	}
	if len(errs) == 0 {
		return nil
	}
	p := NewProblem(CodeNotSealed, "")
	p.Errors = errs
	return p
}
