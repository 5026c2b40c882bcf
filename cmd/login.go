package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/journal"
	"forg/sync/api"
	"forg/sync/client"
)

// loginFlags are those of login and signup.
type loginFlags struct {
	serverFlags
	device  string
	stdin   bool
	keyring string
}

func (f *loginFlags) register(fl *pflag.FlagSet) {
	f.serverFlags.register(fl)
	fl.StringVar(&f.device, "device-name", "", "`name` of this device for people (default the host's)")
	fl.BoolVar(&f.stdin, "password-stdin", false, "read the password from the first line of standard input")
	choiceVar(fl, &f.keyring, "keyring", "auto", "keep the tokens in the keyring of the system if there is one, or never", "auto", "never")
}

const loginText = `

The password is asked for on the terminal, or read with --password-stdin; it is never kept. What is kept are tokens: in
the keyring of the system, or, where there is none, in a file beside the journal that only you can read. For scripts
and cron there are API keys: set FORG_TOKEN to one ("forg api-keys create") and FORG_SERVER to the address.`

func (a *app) loginCmd() *cobra.Command {
	var f loginFlags
	var fresh bool
	c := &cobra.Command{
		Use: "login [EMAIL]", Short: "Log in to a server to sync with", Annotations: ofSync,
		Long: help(`Logs this device in to a forg server, so that "forg sync" can keep the history of your devices together. Nothing is
sent but the name of the device until you sync, and nothing else in forg needs a login.`+loginText, exitServerText),
		Example: `  forg login --server https://forg.example.org ana@example.org
  forg login --server http://127.0.0.1:8480           a server of your own ("forg serve")
  forg login --password-stdin --server https://forg.example.org ana@example.org < password.txt`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.login(c.Context(), &f, strings.Join(words, ""), fresh))
		},
	}
	f.register(c.Flags())
	c.Flags().BoolVar(&fresh, "new-device", false, "be another device from now on, as when this one was shut out with \"forg devices revoke\"")
	return c
}

func (a *app) signupCmd() *cobra.Command {
	var f loginFlags
	var name string
	c := &cobra.Command{
		Use: "signup [EMAIL]", Short: "Make an account on a server, and log in", Annotations: ofSync,
		Long: help(`Makes an account on a forg server that takes new users, and logs this device in.`+loginText, exitServerText),
		Example: `  forg signup --server https://forg.example.org --name 'Ana Example' ana@example.org
  forg signup --server http://127.0.0.1:8480 ana@example.org`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.signup(c.Context(), &f, strings.Join(words, ""), name))
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&name, "name", "", "your full `name`")
	return c
}

// entry is what login and signup begin with: a server that was reached, and whose account it is.
type entry struct {
	client *client.Client
	store  *client.Store
	email  string
	device string
	fresh  bool // the journal is to be a new device
}

func (a *app) entry(ctx context.Context, f *loginFlags, email string) (*entry, error) {
	s, err := a.loginStore(f.keyring == "auto" && a.hasKeyring())
	if err != nil {
		return nil, err
	}
	before, err := s.Login()
	if err != nil && !errors.Is(err, client.ErrLoggedOut) {
		a.warn("%v", err) // the new login takes its place
	}
	o := f.options()
	if o.Server = cmp.Or(o.Server, before.Server); o.Server == "" {
		return nil, usage("which server? Give --server https://..., or set sync.server in the configuration; \"forg serve\" runs one of your own")
	}
	c, err := client.New(o)
	if err != nil {
		return nil, &exitError{exitUsage, a.serverTrouble(err)}
	}
	if before.Server != "" && before.Server != c.Server() && !before.Ended {
		return nil, fmt.Errorf("you are logged in to %s; to change the server log out there first: forg logout", show(before.Server))
	}
	device, err := deviceName(cmp.Or(f.device, before.DeviceName))
	if err != nil {
		return nil, err
	}
	if !f.stdin && !a.inTTY {
		return nil, usage("there is no terminal to type the password on: give --password-stdin")
	}
	ask := email == "" && a.inTTY && !f.stdin
	if !ask {
		email = cmp.Or(email, before.Email)
		if err := checkAccount(email, &before); err != nil {
			return nil, err
		}
	}
	// Before anything is typed, and sent, it is clear that a forg server is there.
	if _, err := c.Capabilities(ctx); err != nil {
		return nil, err
	}
	if ask {
		if email, err = a.typedLine(ctx, "E-mail: "); err != nil {
			return nil, err
		}
		if err := checkAccount(email, &before); err != nil {
			return nil, err
		}
	}
	return &entry{client: c, store: s, email: email, device: device}, nil
}

// checkAccount refuses to log in as somebody else than whom the login before is of: what was pulled is his.
func checkAccount(email string, before *client.Login) error {
	if email == "" {
		return usage("who? Give the e-mail address of the account")
	}
	if before.Email != "" && !strings.EqualFold(before.Email, email) && !before.Ended {
		return fmt.Errorf("you are logged in as %s; to change the account log out first: forg logout", show(before.Email))
	}
	return nil
}

// deviceName is what people call this device.
func deviceName(asked string) (string, error) {
	name := asked
	if name == "" {
		host, err := os.Hostname()
		host, _, _ = strings.Cut(host, ".")
		if err != nil || checkDeviceName(host) != nil {
			host = runtime.GOOS
		}
		name = host
	}
	if err := checkDeviceName(name); err != nil {
		return "", usage("--device-name: %w", err)
	}
	return name, nil
}

// checkDeviceName is the protocol's rule for names.
func checkDeviceName(name string) error {
	if name == "" || len(name) > 100 || !utf8.ValidString(name) || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return fmt.Errorf("%q is no name of a device: 1 to 100 bytes of visible text, without spaces around it, are", name)
	}
	return nil
}

func (a *app) login(ctx context.Context, f *loginFlags, email string, fresh bool) error {
	e, err := a.entry(ctx, f, email)
	if err != nil {
		return err
	}
	e.fresh = fresh
	var password string
	if f.stdin {
		password, err = a.passwordLine()
	} else {
		password, err = a.typedPassword(ctx, fmt.Sprintf("Password of %s at %s: ", show(e.email), show(e.client.Server())))
	}
	if err != nil {
		return err
	}
	return a.enter(ctx, e, password)
}

func (a *app) signup(ctx context.Context, f *loginFlags, email, name string) error {
	e, err := a.entry(ctx, f, email)
	if err != nil {
		return err
	}
	var password string
	if f.stdin {
		password, err = a.passwordLine()
	} else {
		password, err = a.newTypedPassword(ctx)
	}
	if err != nil {
		return err
	}
	if _, err := e.client.Signup(ctx, api.SignupRequest{Email: e.email, Password: password, FullName: name}); err != nil {
		if p, ok := errors.AsType[*client.Error](err); ok && p.Code == api.CodeEmailTaken {
			return fmt.Errorf("%w; if the account is yours log in with: forg login", err)
		}
		return err
	}
	if !a.json {
		a.say("The account is made.")
	}
	return a.enter(ctx, e, password)
}

// enter begins a session and keeps it.
func (a *app) enter(ctx context.Context, e *entry, password string) error {
	if e.fresh {
		// Nothing is changed for somebody with a wrong password.
		t, err := e.client.Login(ctx, api.LoginRequest{Email: e.email, Password: password})
		if err != nil {
			return err
		}
		if err := errors.Join(e.client.With(client.APIKey(t.AccessToken)).Logout(ctx), a.newDevice(ctx)); err != nil {
			return err
		}
	}
	device, err := a.journalDevice(ctx)
	if err != nil {
		return err
	}
	keys, err := a.keysFile()
	if err != nil {
		return err
	}
	name := e.device
	if keys.Others(uuid.Nil) { // of an encrypted account, which this one will be: its server is not to know the name again
		name = plainName(device)
	}
	t, err := e.client.Login(ctx, api.LoginRequest{Email: e.email, Password: password,
		Device: &api.LoginDevice{ID: device, Name: name, Platform: runtime.GOOS + "/" + runtime.GOARCH}})
	if err != nil {
		return err
	}
	session := e.client.With(client.APIKey(t.AccessToken))
	me, err := session.Me(ctx)
	if err == nil && name != e.device && keys.Keys(me.ID) == nil {
		_, err = session.RenameDevice(ctx, device, e.device)
	}
	var at client.Place
	var why error
	if err == nil {
		l := client.Login{Server: e.client.Server(), Email: me.Email, UserID: me.ID, DeviceID: device, DeviceName: e.device, At: a.now().UTC()}
		at, why, err = e.store.Put(ctx, l, t)
	}
	if err != nil { // a session that nobody can use is not to stay
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return errors.Join(err, session.Logout(end))
	}
	if a.json {
		return a.printJSON(map[string]any{"server": e.client.Server(), "email": me.Email, "user_id": me.ID,
			"device_id": device, "device_name": e.device, "kept_in": at})
	}
	a.say("Logged in to %s as %s; this device is %s.", show(e.client.Server()), show(me.Email), a.paint(bold, show(e.device)))
	switch {
	case at == client.InKeyring:
		a.say("The tokens are in the keyring of the system.")
	case why != nil:
		a.warn("The tokens are in %s, readable for you only: %v.", a.tilde(e.store.Path()), why)
	default:
		a.say("The tokens are in %s, readable for you only.", a.tilde(e.store.Path()))
	}
	a.say("Now: %s", a.paint(bold, "forg sync"))
	return nil
}

// newDevice gives the journal another id by which servers know it.
func (a *app) newDevice(ctx context.Context) error {
	path, err := a.journalPath()
	if err != nil {
		return err
	}
	j, err := journal.Open(ctx, path, journal.Options{Now: a.now})
	if err != nil {
		return err
	}
	return errors.Join(j.NewDevice(ctx), j.Close())
}

func (a *app) logoutCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "logout", Short: "End the login of this device", Annotations: ofSync,
		Long: help(`Ends the session at the server and forgets the tokens. They are forgotten too if the server cannot be reached: then
the session there ends by itself, a week after it was used last. History stays, here and on the server.`,
			exitHead+"  3    done, but the server could not be told, or the keyring not be asked\n  130  interrupted; 143 when terminated"),
		Example: "  forg logout",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.logout(c.Context(), &f) },
	}
	f.register(c.Flags())
	return c
}

func (a *app) logout(ctx context.Context, f *serverFlags) error {
	s, err := a.loginStore(false)
	if err != nil {
		return err
	}
	c, l, told := client.Open(f.options(), s)
	if _, other := errors.AsType[*client.OtherServerError](told); other {
		return told
	}
	if errors.Is(told, client.ErrLoggedOut) {
		if a.json {
			return a.printJSON(map[string]any{"logged_out": false})
		}
		a.say("You are not logged in.")
		return nil
	}
	if told == nil && !l.Ended {
		limited, cancel := context.WithTimeout(ctx, 15*time.Second)
		told = c.Logout(limited)
		cancel()
		if e, ok := errors.AsType[*client.Error](told); errors.Is(told, client.ErrLoggedOut) || ok && e.Code == api.CodeUnauthenticated {
			told = nil // it had ended already
		}
	}
	left := s.Remove(context.WithoutCancel(ctx))
	if left != nil && !errors.Is(left, client.ErrKeyring) {
		return left
	}
	if a.json {
		if err := a.printJSON(map[string]any{"logged_out": true, "server": l.Server, "server_told": told == nil}); err != nil {
			return err
		}
	} else {
		a.say("Logged out%s.", ofServer(l.Server))
	}
	if told != nil {
		a.warn("The server could not be told: %v.\nThe session there ends by itself, a week after it was used last; \"forg devices revoke\" on another device ends it now.", told)
	}
	if left != nil {
		a.warn("The tokens could not be removed: %v.", left)
	}
	if told != nil || left != nil {
		return &exitError{code: exitPartial}
	}
	return nil
}

func ofServer(server string) string {
	if server == "" {
		return ""
	}
	return " of " + show(server)
}

func (a *app) whoamiCmd() *cobra.Command {
	var f serverFlags
	var offline bool
	c := &cobra.Command{
		Use: "whoami", Short: "Show the account that this device syncs with", Annotations: ofSync,
		Long: help(`Shows the account, the server, the device and where its tokens are, and asks the server whether it still knows them.
With --offline it asks nobody.`, exitHead+"  3    the server could not be asked: what is known here was shown\n  130  interrupted; 143 when terminated"),
		Example: "  forg whoami\n  forg whoami --json | jq -r .email\n  forg whoami --offline",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.whoami(c.Context(), &f, offline) },
	}
	f.register(c.Flags())
	c.Flags().BoolVar(&offline, "offline", false, "do not ask the server")
	return c
}

// whoJSON is what --json prints of an account.
type whoJSON struct {
	Server      string       `json:"server"`
	Email       string       `json:"email,omitempty"`
	UserID      uuid.UUID    `json:"user_id,omitzero"`
	DeviceID    uuid.UUID    `json:"device_id,omitzero"`
	DeviceName  string       `json:"device_name,omitempty"`
	KeptIn      client.Place `json:"kept_in"`
	LoggedInAt  time.Time    `json:"logged_in_at,omitzero"`
	AccessUntil time.Time    `json:"access_until,omitzero"`
	Tier        api.Tier     `json:"subscription_tier,omitempty"`
	Asked       bool         `json:"server_asked"`
}

func (a *app) whoami(ctx context.Context, f *serverFlags, offline bool) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	if acc.login.Ended {
		return fmt.Errorf("the session of %s at %s has ended; log in with: forg login", show(acc.login.Email), show(acc.Server()))
	}
	l := &acc.login
	out := whoJSON{Server: l.Server, Email: l.Email, UserID: l.UserID, DeviceID: l.DeviceID, DeviceName: l.DeviceName, KeptIn: l.KeptIn, LoggedInAt: l.At}
	if acc.key {
		out.KeptIn = "environment"
	}
	var unasked error
	if !offline {
		me, err := acc.Me(ctx)
		if client.ThenOf(err) == api.Stop && err != nil || errors.Is(err, context.Canceled) {
			return a.serverTrouble(err)
		}
		if unasked = err; err == nil {
			out.Asked, out.Email, out.UserID, out.Tier = true, me.Email, me.ID, me.SubscriptionTier
		}
	}
	s, err := a.loginStore(false)
	if err != nil {
		return err
	}
	var silent error // of a keyring
	if !acc.key {
		out.AccessUntil, silent = s.Until()
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		a.sayWho(&out, s, silent)
	}
	if unasked != nil {
		a.complain(a.serverTrouble(unasked))
		return &exitError{code: exitPartial}
	}
	return nil
}

func (a *app) sayWho(w *whoJSON, s *client.Store, silent error) {
	line := func(what, value string) {
		if value != "" {
			a.say("%-9s %s", what, value)
		}
	}
	account := show(w.Email)
	if w.Tier != "" {
		account += " (" + show(string(w.Tier)) + ")"
	}
	line("account", account)
	line("server", show(w.Server))
	if w.DeviceName != "" {
		line("device", fmt.Sprintf("%s (%s)", show(w.DeviceName), w.DeviceID))
	}
	switch {
	case w.KeptIn == client.InKeyring && silent != nil:
		line("tokens", "in the keyring of the system, which does not give them: "+showText(silent.Error()))
	case w.KeptIn == client.InKeyring:
		line("tokens", "in the keyring of the system")
	case w.KeptIn == client.InFile:
		line("tokens", "in "+a.tilde(s.Path())+", readable for you only")
	default:
		line("tokens", "an API key of the environment")
	}
	if !w.AccessUntil.IsZero() {
		line("", "good until "+w.AccessUntil.Local().Format("2006-01-02 15:04")+", then renewed by themselves")
	}
}
