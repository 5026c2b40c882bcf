package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"forg/sync/api"
)

// keyScopes are what an API key may be for.
var keyScopes = []string{"read", "push", "commands", "admin"}

func (a *app) apiKeysCmd() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "api-keys", Short: "List the API keys of your account", Annotations: ofSync,
		Long: help(`Lists the keys by which programs use your account: cron, scripts, another service. A key stands in FORG_TOKEN instead of
a login. "create" makes one, "revoke" ends it.`, exitServerText),
		Example: "  forg api-keys\n  forg api-keys create cron --scopes push,read --expires 365d\n  forg api-keys revoke cron",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.serverTrouble(a.listKeys(c.Context(), &f)) },
	}
	f.register(c.Flags())

	var creating serverFlags
	var scopes []string
	var expires string
	create := &cobra.Command{
		Use: "create NAME", Short: "Make an API key", Annotations: ofSync,
		Long: help(`Makes a key and prints it: this is the only time that anybody can see it. It may be read (see what is kept), push (add
to the history), commands (ask devices to do something, and do what they are asked) and admin (all of it, and the
account itself).`, exitServerText),
		Example: `  forg api-keys create cron --scopes push,read --expires 365d
  FORG_TOKEN=$(forg api-keys create once --scopes read --expires 1d) forg devices --server https://forg.example.org`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.createKey(c.Context(), &creating, words[0], scopes, expires))
		},
	}
	creating.register(create.Flags())
	create.Flags().StringSliceVar(&scopes, "scopes", []string{"read"}, "what the key may do: `words` of read, push, commands, admin")
	create.Flags().StringVar(&expires, "expires", "", "`age` at which the key ends: 90d, 12w, 1y, 36h (default never)")

	var revoking serverFlags
	revoke := &cobra.Command{
		Use: "revoke KEY", Short: "End an API key", Annotations: ofSync,
		Long:    help(`Ends a key at once. KEY is its name, its id or the part of it that the list shows.`, exitServerText),
		Example: "  forg api-keys revoke cron",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.serverTrouble(a.revokeKey(c.Context(), &revoking, words[0]))
		},
	}
	revoking.register(revoke.Flags())
	c.AddCommand(create, revoke)
	return c
}

func (a *app) listKeys(ctx context.Context, f *serverFlags) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	all, err := acc.APIKeys(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"api_keys": append([]api.APIKey{}, all...)})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, k := range all {
		until, used := "never ends", "never used"
		if k.ExpiresAt != nil {
			until = "until " + k.ExpiresAt.Local().Format("2006-01-02 15:04")
			if !a.now().Before(*k.ExpiresAt) {
				until = "ended"
			}
		}
		if k.LastUsedAt != nil {
			used = "used " + humanize.RelTime(*k.LastUsedAt, a.now(), "ago", "from now")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", show(k.Name), show(k.Prefix), show(strings.Join(k.Scopes, ",")), until, used)
	}
	if len(all) == 0 {
		a.say("There are no API keys.")
	}
	return w.Flush()
}

func (a *app) createKey(ctx context.Context, f *serverFlags, name string, scopes []string, expires string) error {
	for _, s := range scopes {
		if !slices.Contains(keyScopes, s) {
			return usage("--scopes: %q is none: there are %s%s", s, strings.Join(keyScopes, ", "), didYouMean(s, keyScopes))
		}
	}
	r := api.APIKeyRequest{Name: name, Scopes: scopes}
	if expires != "" {
		age, err := parseAge(expires)
		if err != nil {
			return usage("--expires: %w", err)
		}
		at := a.now().Add(age).UTC().Truncate(time.Second)
		r.ExpiresAt = &at
	}
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	k, err := acc.CreateAPIKey(ctx, r)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(k)
	}
	fmt.Fprintln(a.out, k.Key) // whatever --quiet says: it is the answer
	if !a.quiet {
		fmt.Fprintf(a.err, "This is the only time that the key is shown. Give it as FORG_TOKEN, with FORG_SERVER=%s.\n", show(acc.Server()))
	}
	return nil
}

func (a *app) revokeKey(ctx context.Context, f *serverFlags, word string) error {
	acc, err := a.account(f)
	if err != nil {
		return err
	}
	all, err := acc.APIKeys(ctx)
	if err != nil {
		return err
	}
	var names []string
	var found []api.APIKey
	for _, k := range all {
		names = append(names, k.Name)
		if k.Name == word || k.ID.String() == word || k.Prefix == word {
			found = append(found, k)
		}
	}
	switch {
	case len(found) == 0:
		return fmt.Errorf("there is no API key %s%s; \"forg api-keys\" lists them", show(word), didYouMean(word, names))
	case len(found) > 1:
		return fmt.Errorf("%d API keys are called %s; give the part of one that \"forg api-keys\" shows", len(found), show(word))
	}
	if err := acc.RevokeAPIKey(ctx, found[0].ID); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"revoked": found[0].ID})
	}
	a.say("%s is no API key any more.", show(found[0].Name))
	return nil
}
