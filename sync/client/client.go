// Package client speaks to the hosted API over HTTP, and keeps the credentials for it. It knows no journal and no file of
// the user's, never waits longer than it says, and sends credentials to no server but the one that they are for.
//
// What is said is sync/PROTOCOL.md; the types are those of package api.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// How long a client waits. A request that the server may hold back (wait) gets that time besides.
const (
	connectTime = 5 * time.Second  // for a connection, and as long for TLS
	requestTime = 30 * time.Second // for a whole answer, or, of a stream, until it begins
	pushTime    = 45 * time.Second // for a push: the server's own patience is 30 s, and its word is better than none
	stallTime   = 15 * time.Second // for the next byte of a stream
)

// Options says which server to speak to, and how.
type Options struct {
	// Server is the address, as Normalize gives it.
	Server string
	// Tokens are the credentials; without any only Signup, Login, Refresh and Capabilities can be used.
	Tokens TokenSource
	// CAFile names certificates (PEM) that are trusted besides those of the system.
	CAFile string
	// InsecureHTTP allows http:// to other machines: everybody in between can read what is said, tokens too.
	InsecureHTTP bool
	UserAgent    string
	// Transport is what requests go through; nil is a real one, with the proxies of the environment.
	Transport http.RoundTripper
}

// TokenSource has the credentials that requests are sent with. There are APIKey and Session.
type TokenSource interface {
	// Token is an access token or API key that is good as far as is known here. Error: ErrLoggedOut, and those of a refresh.
	Token(ctx context.Context) (string, error)
	// Renew is told that the server has refused a token, and gives another one. Errors: ErrLoggedOut when there is none,
	// and those of a refresh.
	Renew(ctx context.Context, refused string) (string, error)
}

// APIKey is a key that does not change. Its server is nobody's to check but the user's.
type APIKey string

// Token is the key.
func (k APIKey) Token(context.Context) (string, error) { return string(k), nil }

// Renew has no other key to give.
func (k APIKey) Renew(context.Context, string) (string, error) {
	return "", fmt.Errorf("%w: the server does not accept the API key", ErrLoggedOut)
}

// ErrLoggedOut says that the server accepts the credentials no longer: somebody has to log in.
var ErrLoggedOut = errors.New("not logged in")

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	tokens  TokenSource
	agent   string
	http    *http.Client
	plain   atomic.Int32 // how much less a push is compressed than it could be: see encodings
	maxWait atomic.Int64 // seconds that the server is willing to wait; 0 if that is not known
}

// New makes a client; it sends nothing. Errors: of the server's address, and of CAFile.
func New(o Options) (*Client, error) {
	base, err := parseServer(o.Server)
	if err != nil {
		return nil, err
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) && !o.InsecureHTTP {
		return nil, fmt.Errorf("%w: %s", ErrInsecure, o.Server)
	}
	here := base.Scheme == "http" && !o.InsecureHTTP // it stays on this machine, whatever its name resolves to
	rt := o.Transport
	if rt == nil {
		pool, err := certificates(o.CAFile)
		if err != nil {
			return nil, err
		}
		dialer := &net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second}
		proxy := http.ProxyFromEnvironment
		if here {
			proxy, dialer.Control = nil, onlyHere
		}
		rt = &http.Transport{
			Proxy: proxy, DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTime,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			MaxIdleConns: 4, IdleConnTimeout: 90 * time.Second, ExpectContinueTimeout: time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, // bodies are inflated here, within bounds
		}
	}
	return &Client{
		base: base, tokens: o.Tokens, agent: cmp.Or(o.UserAgent, "forg"),
		// A server of this API redirects nobody: whoever does is a portal, or has moved, and gets no credentials.
		http: &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// With is a client of the same server with these credentials.
func (c *Client) With(t TokenSource) *Client {
	return &Client{base: c.base, tokens: t, agent: c.agent, http: c.http}
}

// Server is the address that the client speaks to, as Normalize gives it.
func (c *Client) Server() string { return c.base.String() }

// Close lets go of connections that wait to be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ErrInsecure says that a server is to be spoken to in the clear, over a network.
var ErrInsecure = errors.New("http:// goes to this machine only: everybody on the way could read what is said")

// Normalize is the one form of a server's address: https:// if it names no scheme, lower-case host, no default port, no
// slash at its end. It may have a path, behind a proxy. Error: it is no such address.
func Normalize(server string) (string, error) {
	u, err := parseServer(server)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

func parseServer(server string) (*url.URL, error) {
	text := strings.TrimSpace(server)
	if text == "" {
		return nil, errors.New("no server is given")
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil: // it is not repeated, since a password could stand in it
		return nil, errors.New("the address of the server cannot be read: it is https://HOST, or https://HOST:PORT")
	case u.User != nil:
		return nil, errors.New("the address of the server has a password or name in it: log in with them instead")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "", u.Opaque != "":
		return nil, fmt.Errorf("%q is no address of a server: it is https://HOST, or https://HOST:PORT", text)
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: u.Scheme, Host: host, Path: strings.TrimRight(u.Path, "/")}, nil
}

// onlyHere refuses to connect to another machine.
func onlyHere(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%w: %s", ErrInsecure, address)
	}
	return nil
}

// loopback reports whether a host is this machine by its very name: one that only resolves to it could resolve to another.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// certificates are those of the system, with those of a file. Without a file it is nil: the system's, whenever they are
// first needed.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil { // a system without any
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, &fs.PathError{Op: "read certificates", Path: file, Err: errors.New("it has no certificate in PEM form")}
	}
	return pool, nil
}
