package seal

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"forg/sync/api"
)

// How old a command may be, and how far ahead: its operation's id tells when it was made, by the clock of the device that
// asked. The server keeps one for a week.
const (
	commandAge   = 8 * 24 * time.Hour
	commandAhead = 24 * time.Hour
)

// CommandMAC is what proves to a device that a command comes from one that has the account's keys. It covers what the device
// is to do and its operation's id, which whoever asks makes (a UUIDv7); not what the server adds: its own id, state, times
// and lease. Errors: ErrKey; options that are no JSON.
func (k *Keys) CommandMAC(c *api.Command) ([]byte, error) {
	if len(k.roots) == 0 {
		return nil, fmt.Errorf("sign command: %w", ErrKey)
	}
	b, err := commandBytes(k.Account, c)
	if err != nil {
		return nil, fmt.Errorf("sign command: %w", err)
	}
	return k.commandMAC(k.newest(), b), nil
}

func (k *Keys) commandMAC(r *heldRoot, b []byte) []byte {
	return mac(r.derive(k.Account, "commands", 32), b)
}

// commandBytes says a command in one form. It is frozen: see testdata/sync/sealed-1.json.
func commandBytes(account uuid.UUID, c *api.Command) ([]byte, error) {
	b := append(make([]byte, 0, 256), label+"command"...)
	b = append(b, account[:]...)
	b = append(b, c.DeviceID[:]...)
	b = appendText(b, string(c.Kind))
	b = append(b, c.OperationID[:]...)
	b = append(b, c.RollbackOf[:]...)
	b = append(b, c.Cancels[:]...)
	b = appendText(b, c.Root)
	b = appendText(b, c.Rules)
	b = appendText(b, c.Only)
	if len(c.Options) == 0 {
		return appendText(b, "{}"), nil
	}
	// Whatever made the options, the device has them from JSON; keys are sorted there.
	text, err := json.Marshal(c.Options)
	if err != nil {
		return nil, err
	}
	var options map[string]any
	if err := json.Unmarshal(text, &options); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(options); err != nil {
		return nil, err
	}
	return appendText(b, string(text)), nil
}

// ErrCommand says that a command is not from a device of the account, or is too old.
var ErrCommand = errors.New("the command is not from a device that has the account's keys")

// CheckCommand checks that a command was asked for by a device with the account's keys, for this device, and lately. What it
// cannot tell is whether the command was carried out before: for that the device has its operation's id. Errors: ErrCommand,
// ErrKey.
func (k *Keys) CheckCommand(c *api.Command, now time.Time) error {
	if len(k.roots) == 0 {
		return fmt.Errorf("check command: %w", ErrKey)
	}
	if c.DeviceID != k.Device {
		return fmt.Errorf("check command: it is for another device: %w", ErrCommand)
	}
	b, err := commandBytes(k.Account, c)
	if err != nil {
		return fmt.Errorf("check command: %w", ErrCommand)
	}
	// By the newest key only: devices that were left out when it was made have the ones before.
	if subtle.ConstantTimeCompare(k.commandMAC(k.newest(), b), c.MAC) != 1 {
		return fmt.Errorf("check command: %w", ErrCommand)
	}
	if c.OperationID.Version() != 7 {
		return fmt.Errorf("check command: its operation's id does not tell when it was made: %w", ErrCommand)
	}
	seconds, nanos := c.OperationID.Time().UnixTime()
	if age := now.Sub(time.Unix(seconds, nanos)); age > commandAge || age < -commandAhead {
		return fmt.Errorf("check command: it was made at another time: %w", ErrCommand)
	}
	return nil
}
