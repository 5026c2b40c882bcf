package cmd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What systemd hears of a forg that watches: that it is ready, that it lives, that it ends.
func TestTellService(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@forg-test-%d", os.Getpid())} {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		hear := func(want string) {
			t.Helper()
			buf := make([]byte, 100)
			for {
				n, err := c.Read(buf)
				if err != nil {
					t.Fatalf("%s: %v", want, err)
				}
				got := string(buf[:n])
				if got == want {
					return
				}
				if got != "WATCHDOG=1" { // of before
					t.Fatalf("%s: got %q", want, got)
				}
			}
		}
		env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": fmt.Sprint(os.Getpid())}
		a := &app{getenv: func(name string) string { return env[name] }}
		end := a.tellService()
		hear("READY=1")
		hear("WATCHDOG=1")
		hear("WATCHDOG=1")
		end()
		hear("STOPPING=1")
	}
	a := &app{getenv: func(string) string { return "" }}
	a.tellService()() // nobody to tell
}
