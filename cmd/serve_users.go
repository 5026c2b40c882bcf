//go:build !noserver

package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"forg/organizer"
	"forg/sync/api"
	"forg/sync/server"
	"forg/sync/server/auth"
	"forg/sync/server/store"
)

// tiers are what a user can have subscribed to.
var tiers = []string{string(api.TierFree), string(api.TierPro), string(api.TierEnterprise)}

// userJSON is a user as --json prints it.
func userJSON(u store.User) map[string]any {
	var last any
	if !u.LastLoginAt.IsZero() {
		last = u.LastLoginAt
	}
	return map[string]any{"id": u.ID, "email": u.Email, "full_name": u.FullName, "is_active": u.Active, "subscription_tier": u.Tier,
		"operations_this_month": u.OperationsThisMonth, "storage_bytes_managed": u.StorageBytesManaged, "created_at": u.CreatedAt, "last_login_at": last}
}

// userCommand is a command of the operator about one user.
func (a *app) userCommand(use, short, long, example string, more int, do func(ctx context.Context, st *store.Store, u store.User, words []string) (string, error)) *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: use, Short: short, Long: help(long, exitUsageText), Example: example, Args: args(cobra.ExactArgs(1 + more)),
		RunE: func(c *cobra.Command, words []string) error {
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				u, err := findUser(c.Context(), st, words[0])
				if err != nil {
					return err
				}
				said, err := do(c.Context(), st, u, words[1:])
				if err != nil {
					return err
				}
				if err := st.Audit(c.Context(), store.AuditEvent{UserID: u.ID, Actor: "operator", Action: "operator." + c.Name(), Target: u.ID.String()}); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"user": u.Email, "done": c.Name()})
				}
				a.say("%s", said)
				return nil
			})
		},
	}
	f.register(c.Flags())
	return c
}

func findUser(ctx context.Context, st *store.Store, email string) (store.User, error) {
	normal, err := auth.NormalEmail(email)
	if err != nil {
		return store.User{}, usage("%s: %w", show(email), err)
	}
	u, err := st.UserByEmail(ctx, normal)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("there is no user %s; \"forg serve users list\" lists them", normal)
	}
	return u, err
}

func (a *app) serveUsersCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "users", Short: "Manage the accounts of the service",
		Long:    help("Manages accounts, in the database of the service, whether it runs or not.", exitUsageText),
		Example: "  forg serve users add ana@example.org\n  forg serve users list",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.usersAddCmd(), a.usersListCmd(),
		a.userCommand("disable EMAIL", "Shut a user out", "Ends all sessions of the user and lets nobody log in to the account. Nothing is removed.",
			"  forg serve users disable ana@example.org", 0, func(ctx context.Context, st *store.Store, u store.User, _ []string) (string, error) {
				return fmt.Sprintf("%s is shut out.", show(u.Email)), st.SetActive(ctx, u.ID, false)
			}),
		a.userCommand("enable EMAIL", "Let a user in again", "Lets a user in again who was shut out.",
			"  forg serve users enable ana@example.org", 0, func(ctx context.Context, st *store.Store, u store.User, _ []string) (string, error) {
				return fmt.Sprintf("%s may log in.", show(u.Email)), st.SetActive(ctx, u.ID, true)
			}),
		a.userCommand("set-tier EMAIL TIER", "Change a subscription", "Gives the user the tier free, pro or enterprise, which decides about rates and quotas.",
			"  forg serve users set-tier ana@example.org pro", 1, func(ctx context.Context, st *store.Store, u store.User, words []string) (string, error) {
				if !slices.Contains(tiers, words[0]) {
					return "", usage("%q is no tier: there are %s%s", words[0], strings.Join(tiers, ", "), didYouMean(words[0], tiers))
				}
				return fmt.Sprintf("%s is %s now.", show(u.Email), words[0]), st.SetTier(ctx, u.ID, words[0], "active", time.Time{})
			}),
		a.userCommand("set-password EMAIL", "Give a user another password", "Reads the new password from the terminal or from standard input. All sessions of the user end.",
			"  forg serve users set-password ana@example.org", 0, func(ctx context.Context, st *store.Store, u store.User, _ []string) (string, error) {
				hash, err := a.newPassword(ctx, u.Email)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s has a new password.", show(u.Email)), st.SetPassword(ctx, u.ID, hash, uuid.Nil)
			}),
		a.userCommand("delete EMAIL", "Erase a user", "Erases the account and all that is kept of it. Files of storage locations stay where they are. There is no way back.",
			"  forg serve users delete ana@example.org", 0, func(ctx context.Context, st *store.Store, u store.User, _ []string) (string, error) {
				return fmt.Sprintf("%s is erased.", show(u.Email)), st.DeleteUser(ctx, u.ID)
			}),
	)
	return c
}

func (a *app) newPassword(ctx context.Context, email string) (string, error) {
	pool, err := auth.NewPasswords(auth.PasswordOptions{})
	if err != nil {
		return "", err
	}
	password, err := a.readPassword(ctx)
	if err != nil {
		return "", err
	}
	if err := pool.CheckPolicy(password, email); err != nil {
		return "", usage("%w", err)
	}
	return pool.Hash(ctx, password)
}

func (a *app) usersAddCmd() *cobra.Command {
	var f serveStore
	var name, tier string
	c := &cobra.Command{
		Use: "add EMAIL", Short: "Make an account",
		Long: help(`Makes an account, also where registration is closed. The password is read from the terminal or from the first line of
standard input.`, exitUsageText),
		Example: "  forg serve users add ana@example.org --name 'Ana Example'\n  forg serve users add ana@example.org --tier pro < password.txt",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			email, err := auth.NormalEmail(words[0])
			if err != nil {
				return usage("%s: %w", show(words[0]), err)
			}
			hash, err := a.newPassword(c.Context(), email)
			if err != nil {
				return err
			}
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				u, err := st.CreateUser(c.Context(), store.User{Email: email, PasswordHash: hash, FullName: name, Active: true, Verified: true, Tier: tier})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(userJSON(u))
				}
				a.say("%s may log in.", show(u.Email))
				return nil
			})
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&name, "name", "", "full `name` of the user")
	choiceVar(c.Flags(), &tier, "tier", "free", "subscription of the user", tiers...)
	return c
}

func (a *app) usersListCmd() *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: "list", Short: "List the accounts",
		Long:    help("Lists all accounts by e-mail address.", exitUsageText),
		Example: "  forg serve users list\n  forg serve users list --json | jq '.users[].email'",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				users := []map[string]any{}
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
				for p := (store.Page{Limit: 500}); ; {
					all, next, err := st.Users(c.Context(), p)
					if err != nil {
						return err
					}
					for _, u := range all {
						state := "active"
						if !u.Active {
							state = "disabled"
						}
						if users = append(users, userJSON(u)); !a.json {
							fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", show(u.Email), u.Tier, state, cmp.Or(show(u.FullName), "-"))
						}
					}
					if p.Cursor = next; next == "" {
						break
					}
				}
				if a.json {
					return a.printJSON(map[string]any{"users": users})
				}
				return w.Flush()
			})
		},
	}
	f.register(c.Flags())
	return c
}

func (a *app) serveLocationsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "locations", Short: "Manage the folders that the service organizes",
		Long: help(`A storage location is a folder on this machine that the service may organize for one user, through the API. Workers
change nothing outside of it, and what they do can be rolled back.`, exitUsageText),
		Example: "  forg serve locations add --user ana@example.org /srv/inbox/ana\n  forg serve locations list",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.locationsAddCmd(), a.locationsListCmd(), a.locationsRemoveCmd())
	return c
}

func locationJSON(l store.Location, email string) map[string]any {
	return map[string]any{"id": l.ID, "user": email, "name": l.Name, "root": l.Root, "created_at": l.CreatedAt}
}

func (a *app) locationsAddCmd() *cobra.Command {
	var f serveStore
	var email, name string
	c := &cobra.Command{
		Use: "add DIR", Short: "Let the service organize a folder",
		Long: help(`Registers DIR as a storage location of the user. No other location may lie in it, nor it in another, and the data folder
of the service neither.`, exitUsageText),
		Example: "  forg serve locations add --user ana@example.org /srv/inbox/ana",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			if email == "" {
				return usage("locations add needs --user EMAIL")
			}
			root, err := organizer.ResolveDir(words[0])
			if err != nil {
				return err
			}
			if err := notRepository("register", root); err != nil {
				return err
			}
			return a.withStore(c.Context(), &f, func(st *store.Store, cfg server.Config) error {
				u, err := findUser(c.Context(), st, email)
				if err != nil {
					return err
				}
				taken := map[string]string{}
				if data, err := organizer.ResolveDir(cfg.DataDir); err == nil {
					taken[data] = "the data folder of the service"
				}
				all, err := st.AllLocations(c.Context())
				if err != nil {
					return err
				}
				for _, l := range all {
					taken[l.Root] = "a storage location"
				}
				for dir, what := range taken {
					if organizer.Within(root, dir) || organizer.Within(dir, root) {
						return fmt.Errorf("%s and %s, %s, overlap", show(root), show(dir), what)
					}
				}
				if name == "" {
					name = filepath.Base(root)
				}
				l, err := st.CreateLocation(c.Context(), store.Location{UserID: u.ID, Name: name, Root: root})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(locationJSON(l, u.Email))
				}
				a.say("%s", l.ID)
				return nil
			})
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&email, "user", "", "`email` of the user whose location it is")
	c.Flags().StringVar(&name, "name", "", "`name` to show (default that of the folder)")
	return c
}

func (a *app) locationsListCmd() *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: "list", Short: "List storage locations",
		Long:    help("Lists the storage locations of all users, by name.", exitUsageText),
		Example: "  forg serve locations list",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				all, err := st.AllLocations(c.Context())
				if err != nil {
					return err
				}
				list := []map[string]any{}
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
				for _, l := range all {
					u, err := st.UserByID(c.Context(), l.UserID)
					if err != nil {
						return err
					}
					if list = append(list, locationJSON(l, u.Email)); !a.json {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.ID, show(u.Email), show(l.Name), show(l.Root))
					}
				}
				if a.json {
					return a.printJSON(map[string]any{"locations": list})
				}
				return w.Flush()
			})
		},
	}
	f.register(c.Flags())
	return c
}

func (a *app) locationsRemoveCmd() *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: "remove ID", Short: "Keep the service out of a folder",
		Long:    help("Forgets a storage location. Its files stay as they are; what was done to them cannot be rolled back any more.", exitUsageText),
		Example: "  forg serve locations remove 01980000-0000-7000-8000-000000000000",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			id, err := uuid.Parse(words[0])
			if err != nil {
				return usage("%q is no id; \"forg serve locations list\" lists them", words[0])
			}
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				all, err := st.AllLocations(c.Context())
				if err != nil {
					return err
				}
				i := slices.IndexFunc(all, func(l store.Location) bool { return l.ID == id })
				if i < 0 {
					return fmt.Errorf("there is no storage location %s; \"forg serve locations list\" lists them", id)
				}
				if err := st.DeleteLocation(c.Context(), all[i].UserID, id); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"removed": id})
				}
				a.say("%s is no storage location any more.", show(all[i].Root))
				return nil
			})
		},
	}
	f.register(c.Flags())
	return c
}
