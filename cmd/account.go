package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"forg/sync/api"
	"forg/sync/client"
)

// What every command that speaks to a server shares: which server, as whom, and what to say when it does not work.

// serverFlags say which server to speak to, and how.
type serverFlags struct {
	server, caFile string
	insecure       bool
}

func (f *serverFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.server, "server", "", "`url` of the server (default the one that you are logged in to)")
	fl.StringVar(&f.caFile, "ca-file", "", "`file` of certificates (PEM) to trust besides the system's")
	fl.BoolVar(&f.insecure, "insecure-http", false, "speak http:// to another machine, where everybody on the way can read it")
}

// ofSync is the annotation of commands that go by the settings of sync.
var ofSync = map[string]string{settingsOf: "sync"}

const exitServerText = exitHead + "  130  interrupted; 143 when terminated"

// account is who this journal is, at a server. device is the id of the device that syncs; its error says that the login is of
// another one.
type account struct {
	*client.Client
	login  client.Login // with an API key only Server is known
	key    bool         // an API key of the environment, not a login
	device func(context.Context) (uuid.UUID, error)
	names  map[uuid.UUID]string // of devices, where the server is not told
}

// account is a client with credentials: an API key of the environment (FORG_TOKEN, FORG_API_KEY), else the login that is
// kept beside the journal. It sends nothing.
func (a *app) account(f *serverFlags) (*account, error) {
	o := f.options()
	for _, name := range []string{"FORG_TOKEN", "FORG_API_KEY"} {
		key := strings.TrimSpace(a.getenv(name))
		if key == "" {
			continue
		}
		if f.server == "" { // the key of one server is not to be shown to another
			return nil, usage("%s is set, but not which server it is for: give --server, or set FORG_SERVER", name)
		}
		o.Tokens = client.APIKey(key)
		c, err := client.New(o)
		if err != nil {
			return nil, a.serverTrouble(err)
		}
		return &account{Client: c, login: client.Login{Server: c.Server()}, key: true, device: a.journalDevice}, nil
	}
	s, err := a.loginStore(false)
	if err != nil {
		return nil, err
	}
	c, l, err := client.Open(o, s)
	if err != nil {
		return nil, a.serverTrouble(err)
	}
	return &account{Client: c, login: l, names: a.deviceNames(l.UserID), device: func(ctx context.Context) (uuid.UUID, error) {
		d, err := a.journalDevice(ctx)
		if err == nil && d != l.DeviceID {
			err = fmt.Errorf("%w: another journal than this one has logged in; it was made anew, or carried here from another machine", client.ErrLoggedOut)
		}
		return d, err
	}}, nil
}

func (f *serverFlags) options() client.Options {
	return client.Options{Server: f.server, CAFile: f.caFile, InsecureHTTP: f.insecure,
		UserAgent: fmt.Sprintf("forg/%s (%s/%s)", version(), runtime.GOOS, runtime.GOARCH)}
}

// loginStore keeps the login of this journal, in its folder. keyring says whether the tokens of a new one go into the keyring.
func (a *app) loginStore(keyring bool) (*client.Store, error) {
	path, err := a.journalPath()
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("find the login: %w", err)
	}
	s := client.NewStore(strings.TrimSuffix(path, filepath.Ext(path))+".login", keyring, a.now)
	if !a.hasKeyring() {
		s.NoKeyring()
	}
	return s, nil
}

// hasKeyring reports whether a keyring can be asked without starting one: where no session of a desktop runs, what looks
// for it would start a message bus that nobody ends.
func (a *app) hasKeyring() bool {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return true
	}
	if a.getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		return true
	}
	dir := a.getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "bus"))
	return err == nil
}

// journalDevice is the id by which a server knows this journal. A journal that does not exist is made.
func (a *app) journalDevice(ctx context.Context) (uuid.UUID, error) {
	j, err := a.syncJournal(ctx)
	if err != nil {
		return uuid.Nil, err
	}
	defer j.Close()
	all, err := j.Epochs(ctx)
	if err != nil {
		return uuid.Nil, err
	}
	if len(all) == 0 {
		return uuid.Nil, fmt.Errorf("the journal %s has no device yet", show(j.Path()))
	}
	return all[len(all)-1].Device, nil
}

// serverTrouble adds to an error of the server or of the way there what a person can do about it.
func (a *app) serverTrouble(err error) error {
	if err == nil {
		return nil
	}
	var exit *exitError
	if errors.As(err, &exit) || errors.Is(err, context.Canceled) {
		return err
	}
	if _, told := errors.AsType[*advised](err); told {
		return err
	}
	hint := ""
	switch e, answered := errors.AsType[*client.Error](err); {
	case errors.Is(err, client.ErrLoggedOut):
		if hint = "log in with: forg login"; a.getenv("FORG_TOKEN")+a.getenv("FORG_API_KEY") != "" {
			hint = "the environment's FORG_TOKEN or FORG_API_KEY is used, not your login"
		}
	case errors.Is(err, client.ErrKeyring):
		hint = "unlock it, or log in again with --keyring never; for cron there are API keys"
	case errors.Is(err, client.ErrInsecure):
		hint = "give https://, or --insecure-http if you trust the network"
	case errors.Is(err, client.ErrForeign), errors.Is(err, client.ErrNoSync):
		hint = "is that the address of a forg server?"
	case answered && e.Bug() && e.Code != api.CodeInvalid:
		hint = "this is a mistake of forg or of the server: please report it"
	case answered && e.Code == api.CodeDeviceRevoked:
		hint = "this device was shut out; it can come back as a new one with: forg login --new-device"
	case answered && e.RetryAfter > 0:
		hint = "try again in " + e.RetryAfter.Round(time.Second).String()
	case answered && e.Code == "":
		hint = "is that the address of a forg server, or does something stand between?"
	case answered:
	default:
		switch client.TroubleOf(err) {
		case client.NoSuchHost:
			hint = "is the address right, and this machine online?"
		case client.NobodyThere:
			hint = "does the server run, and is the port right?"
		case client.NotTrusted:
			if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
				hint = "if the certificate is of an authority of your own, give that with --ca-file"
			}
		case client.NotTLS:
			hint = "the server does not speak HTTPS; on this machine it is http://"
		}
	}
	if hint == "" {
		return err
	}
	return &advised{err, hint}
}

// advised is an error with what a person can do about it.
type advised struct {
	error
	hint string
}

func (e *advised) Error() string { return e.error.Error() + "; " + e.hint }
func (e *advised) Unwrap() error { return e.error }
