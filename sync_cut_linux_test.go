//go:build !noserver

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"forg/sync/api"
)

// TestLinkCut has two machines, each a network of its own with a cable between them: forg serve on one, with a certificate of an
// authority that nobody else knows, devices on the other. The cable is pulled in the middle of a push and of a pull and put back;
// both go on, and nothing is lost or there twice.
func TestLinkCut(t *testing.T) {
	server, clients := twoMachines(t)
	cert, key := certificate(t, "10.213.77.1")
	t.Setenv("FORG_SYNC_CA_FILE", cert)
	serve := exec.Command("ip", "netns", "exec", server.name, "forg", "serve", "--quiet", "--addr", "10.213.77.1:8443", "--tls-cert", cert, "--tls-key", key,
		"--data-dir", t.TempDir(), "--rate-limits", "free=0", "--login-failures", "-1")
	serve.Stderr = new(bytes.Buffer)
	out, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		serve.Process.Kill()
		serve.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "listening on https://10.213.77.1:8443") {
		t.Fatalf("it does not start: %q %v\n%s", line, err, serve.Stderr)
	}
	within := []string{"ip", "netns", "exec", clients.name}
	add := exec.Command("ip", append(within[1:], "forg", "signup", "--server", "https://10.213.77.1:8443", "--password-stdin", "ana@example.org")...)
	add.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "XDG_STATE_HOME=")
	add.Stdin = strings.NewReader("correct horse battery\n")
	if text, err := add.CombinedOutput(); err != nil {
		t.Fatalf("forg signup: %v\n%s", err, text)
	}
	desk := newDeviceAt(t, "https://10.213.77.1:8443", "desk", within...)
	laptop := newDeviceAt(t, "https://10.213.77.1:8443", "laptop", within...)
	// As much as it takes until the cable can be pulled before all has gone through it.
	cut := func(d *syncedDevice, more func(), args ...string) {
		for size := 1; ; size *= 2 {
			for range size {
				more()
			}
			before := server.traffic(t)
			c := d.command(args...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); server.traffic(t) < before+300_000 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			clients.ip(t, "link", "set", clients.link, "down")
			still := server.traffic(t)
			time.Sleep(2 * time.Second)
			if moved := server.traffic(t) - still; moved > 100_000 {
				t.Errorf("%d bytes have come through a cable that is not there", moved)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }()
			select {
			case err := <-ended: // it was through before
				clients.ip(t, "link", "set", clients.link, "up")
				if err != nil {
					t.Fatalf("forg %s: %v\n%s", strings.Join(args, " "), err, c.Stderr)
				}
				if size > 64 {
					t.Fatal("it never takes long enough to be cut")
				}
			case <-time.After(100 * time.Millisecond):
				clients.ip(t, "link", "set", clients.link, "up")
				if err := <-ended; err != nil {
					t.Fatalf("forg %s did not survive the cut: %v\n%s", strings.Join(args, " "), err, c.Stderr)
				}
				return
			}
		}
	}
	cut(desk, func() {
		for range 10 {
			desk.organize(20000)
		}
	}, "sync", "--wait", "5m")
	cut(laptop, func() { // what was pulled is pulled once more
		for _, ext := range []string{"", "-wal", "-shm"} {
			os.Remove(filepath.Join(laptop.dir, "sync.db"+ext))
		}
	}, "sync", "--wait", "5m")
	laptop.organize(3)
	laptop.forg("sync")
	desk.forg("sync")
	n := desk.check(nil, &api.SyncState{}, laptop) + laptop.check(nil, &api.SyncState{}, desk)
	t.Logf("%d events came through", n)
}

// machine is a network namespace with one end of a cable.
type machine struct{ name, link string }

func (m machine) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", m.name}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip -n %s %s: %v\n%s", m.name, strings.Join(args, " "), err, out)
	}
}

// traffic is how many bytes have come and gone through the cable.
func (m machine) traffic(t *testing.T) (sum int64) {
	t.Helper()
	for _, kind := range []string{"rx_bytes", "tx_bytes"} {
		out, err := exec.Command("ip", "netns", "exec", m.name, "cat", "/sys/class/net/"+m.link+"/statistics/"+kind).Output()
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func twoMachines(t *testing.T) (a, b machine) {
	t.Helper()
	missing := ""
	if _, err := exec.LookPath("ip"); err != nil {
		missing = "ip (iproute2) is not installed"
	} else if os.Geteuid() != 0 {
		missing = "only root can make networks"
	}
	id := fmt.Sprint(os.Getpid())
	a, b = machine{"forg-a-" + id, "fa" + id}, machine{"forg-b-" + id, "fb" + id}
	var made []string
	t.Cleanup(func() {
		for _, name := range made {
			exec.Command("ip", "netns", "del", name).Run()
		}
	})
	for _, m := range []machine{a, b} {
		if missing != "" {
			break
		}
		if out, err := exec.Command("ip", "netns", "add", m.name).CombinedOutput(); err != nil {
			missing = fmt.Sprintf("no network can be made: %s", bytes.TrimSpace(out))
		} else {
			made = append(made, m.name)
		}
	}
	if missing != "" {
		if os.Getenv("CI") != "" {
			t.Fatal("in CI this must be tested: " + missing)
		}
		t.Skip("NOT TESTED: " + missing)
	}
	a.ip(t, "link", "add", a.link, "type", "veth", "peer", "name", b.link, "netns", b.name)
	for i, m := range []machine{a, b} {
		m.ip(t, "addr", "add", fmt.Sprintf("10.213.77.%d/24", i+1), "dev", m.link)
		m.ip(t, "link", "set", "lo", "up")
		m.ip(t, "link", "set", m.link, "up")
	}
	return a, b
}

// certificate makes one for an address, signed by itself.
func certificate(t *testing.T, address string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "forg"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(address)}}
	der, err := x509.CreateCertificate(rand.Reader, &about, &about, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
