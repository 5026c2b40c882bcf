package cmd

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// tellService tells the service manager that forg is at work, as sd_notify(3) describes, and keeps its watchdog quiet
// while the process runs. The function it returns says that forg ends.
func (a *app) tellService() (ending func()) {
	say := func(text string) { sdNotify(a.getenv("NOTIFY_SOCKET"), text) }
	say("READY=1")
	stop := make(chan struct{})
	usec, err := strconv.ParseInt(a.getenv("WATCHDOG_USEC"), 10, 64)
	if pid := a.getenv("WATCHDOG_PID"); err == nil && usec > 1 && (pid == "" || pid == fmt.Sprint(os.Getpid())) {
		go func() {
			tick := time.NewTicker(time.Duration(usec) * time.Microsecond / 2)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					say("WATCHDOG=1")
				case <-stop:
					return
				}
			}
		}()
	}
	return func() {
		close(stop)
		say("STOPPING=1")
	}
}

// sdNotify sends a datagram to the socket at path; one that begins with @ is in the abstract namespace. Package net would
// do it too, but a forg without it is one that plainly does not use the network. That nobody listens is no harm.
func sdNotify(path, text string) {
	if path == "" {
		return
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	syscall.Sendto(fd, []byte(text), syscall.MSG_NOSIGNAL, &syscall.SockaddrUnix{Name: path})
}
