package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"forg/sync/client"
)

func (a *app) accountCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "account", Short: "Change, export or erase your account",
		Long:    help(`Changes the account that this device is logged in to. "forg whoami" shows it.`, exitServerText),
		Example: "  forg account password\n  forg account export > account.ndjson\n  forg account erase",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.accountPasswordCmd(), a.accountExportCmd(), a.accountEraseCmd())
	return c
}

func (a *app) accountPasswordCmd() *cobra.Command {
	var f serverFlags
	var stdin bool
	c := &cobra.Command{
		Use: "password", Short: "Change the password", Annotations: ofSync,
		Long: help(`Changes the password of the account. All devices have to log in anew; this one does so at once. The passwords are asked
for on the terminal, or read with --password-stdin: the old one from the first line, the new one from the second.`, exitServerText),
		Example: "  forg account password",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.changePassword(c.Context(), &f, stdin))
		},
	}
	f.register(c.Flags())
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the old and the new password from two lines of standard input")
	return c
}

func (a *app) changePassword(ctx context.Context, f *serverFlags, stdin bool) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	if acc.key {
		return errors.New("an API key cannot change the password: unset FORG_TOKEN, FORG_API_KEY and log in")
	}
	var before, after string
	switch {
	case stdin:
		b, err := io.ReadAll(io.LimitReader(a.in, 4096))
		if err != nil {
			return fmt.Errorf("read the passwords: %w", err)
		}
		lines := strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
		if len(lines) < 2 || lines[0] == "" || lines[1] == "" {
			return usage("standard input is to have two lines: the old password and the new one")
		}
		before, after = lines[0], lines[1]
	case a.inTTY:
		if before, err = a.typedPassword(ctx, fmt.Sprintf("Password of %s: ", show(acc.login.Email))); err != nil {
			return err
		}
		if after, err = a.newTypedPassword(ctx); err != nil {
			return err
		}
	default:
		return usage("there is no terminal to type the passwords on: give --password-stdin")
	}
	if err := acc.ChangePassword(ctx, before, after); err != nil {
		return err
	}
	if !a.json {
		a.say("The password is changed. Your other devices have to log in anew.")
	}
	s, err := a.loginStore(acc.login.KeptIn == client.InKeyring && a.hasKeyring())
	if err != nil {
		return err
	}
	return a.enter(ctx, &entry{client: acc.Client, store: s, email: acc.login.Email, device: acc.login.DeviceName}, after)
}

// newTypedPassword asks for a new password twice.
func (a *app) newTypedPassword(ctx context.Context) (string, error) {
	password, err := a.typedPassword(ctx, "A new password, 8 characters at least: ")
	if err != nil {
		return "", err
	}
	again, err := a.typedPassword(ctx, "Again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was done")
	}
	return password, err
}

func (a *app) accountExportCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "export [FILE]", Short: "Take out everything that the server keeps of you", Annotations: ofSync,
		Long: help(`Writes everything that the server keeps of the account to FILE, or to standard output: lines of JSON, each with a type
and data, the last of type "end". A file that exists is not replaced.`, exitServerText),
		Example: "  forg account export account.ndjson\n  forg account export | zstd > account.ndjson.zst",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.exportAccount(c.Context(), &f, strings.Join(words, "")))
		},
	}
	f.register(c.Flags())
	return c
}

func (a *app) exportAccount(ctx context.Context, f *serverFlags, path string) (err error) {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	if path == "" {
		return acc.Export(ctx, a.out)
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil { // half of it must not pass for all
			to.Close()
			os.Remove(path)
		}
	}()
	if err := acc.Export(ctx, to); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if a.json {
		return a.printJSON(map[string]any{"path": path})
	}
	a.say("All that %s keeps of you is in %s.", show(acc.Server()), a.tilde(path))
	return nil
}

func (a *app) accountEraseCmd() *cobra.Command {
	var f serverFlags
	var sure string
	c := &cobra.Command{
		Use: "erase", Short: "Erase your account and all that the server keeps of it", Annotations: ofSync,
		Long: help(`Erases the account: devices, history, keys, everything that the server keeps of you. There is no way back. Files and the
journals of your devices are not touched. It asks for the e-mail address of the account, or takes it from --sure.`, exitServerText),
		Example: "  forg account export account.ndjson && forg account erase\n  forg account erase --sure ana@example.org",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.serverTrouble(a.eraseAccount(c.Context(), &f, sure))
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&sure, "sure", "", "`email` of the account that is to be erased")
	return c
}

func (a *app) eraseAccount(ctx context.Context, f *serverFlags, sure string) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	me, err := acc.Me(ctx)
	if err != nil {
		return err
	}
	if sure == "" && a.inTTY {
		question := fmt.Sprintf("This erases the account %s at %s for good.\nType its e-mail address to do so: ", show(me.Email), show(acc.Server()))
		if sure, err = a.typedLine(ctx, question); err != nil {
			return err
		}
	}
	if !strings.EqualFold(strings.TrimSpace(sure), me.Email) {
		return usage("nothing was erased: the e-mail address of the account is to be given with --sure, and is not %q", sure)
	}
	if err := acc.Erase(ctx); err != nil {
		return err
	}
	if !acc.key {
		s, err := a.loginStore(false)
		if err == nil {
			err = s.Remove(context.WithoutCancel(ctx))
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"erased": me.Email})
	}
	a.say("The account %s is erased.", show(me.Email))
	return nil
}
