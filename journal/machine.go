package journal

import (
	"bytes"
	"crypto/sha256"
	"os"
)

// machineIDs are the files that may hold it; a test gives others.
var machineIDs = []string{"/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"}

// machineHash is a hash of the machine's own id, or nil where it has none. It only tells machines apart: the id itself
// must not leave the machine (see machine-id(5)).
func machineHash() []byte {
	for _, name := range machineIDs {
		if id, err := os.ReadFile(name); err == nil {
			if id = bytes.TrimSpace(id); len(id) > 0 {
				h := sha256.Sum256(append([]byte("forg machine\n"), id...))
				return h[:16]
			}
		}
	}
	return []byte{}
}
