//go:build !noserver

package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
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

// printList prints what there is of something: a row of words each, or with --json all of it under its name.
func (a *app) printList(name string, rows [][]string, all []map[string]any) error {
	if a.json {
		return a.printJSON(map[string]any{name: all})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

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

// userCommand is a command of the operator about one user, and as many words more.
func (a *app) userCommand(use, short, long, example string, more int,
	do func(ctx context.Context, st *store.Store, u store.User, words []string) (string, error)) *cobra.Command {
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
				done := store.AuditEvent{UserID: u.ID, Actor: "operator", Action: "operator." + c.Name(), Target: u.ID.String()}
				if err := st.Audit(c.Context(), done); err != nil && !errors.Is(err, store.ErrNotFound) {
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
		a.userCommand("set-password EMAIL", "Give a user another password",
			"Reads the new password from the terminal or from standard input. All sessions of the user end.",
			"  forg serve users set-password ana@example.org", 0, func(ctx context.Context, st *store.Store, u store.User, _ []string) (string, error) {
				hash, err := a.newPassword(ctx, u.Email)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s has a new password.", show(u.Email)), st.SetPassword(ctx, u.ID, hash, uuid.Nil)
			}),
		a.userCommand("delete EMAIL", "Erase a user",
			"Erases the account and all that is kept of it. Files of storage locations stay where they are. There is no way back.",
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
				var rows [][]string
				err := eachUser(c.Context(), st, func(u store.User) {
					state := "active"
					if !u.Active {
						state = "disabled"
					}
					users = append(users, userJSON(u))
					rows = append(rows, []string{show(u.Email), u.Tier, state, cmp.Or(show(u.FullName), "-")})
				})
				if err != nil {
					return err
				}
				return a.printList("users", rows, users)
			})
		},
	}
	f.register(c.Flags())
	return c
}

func eachUser(ctx context.Context, st *store.Store, do func(store.User)) error {
	for p := (store.Page{Limit: 500}); ; {
		all, next, err := st.Users(ctx, p)
		if err != nil {
			return err
		}
		for _, u := range all {
			do(u)
		}
		if p.Cursor = next; next == "" {
			return nil
		}
	}
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
	c.AddCommand(a.locationsAddCmd(), a.locationsListCmd(), a.locationsRulesCmd(), a.locationsRemoveCmd())
	return c
}

func locationJSON(l store.Location, email string, ruleNames []string) map[string]any {
	if ruleNames == nil {
		ruleNames = []string{}
	}
	return map[string]any{"id": l.ID, "user": email, "name": l.Name, "root": l.Root, "rules": ruleNames, "created_at": l.CreatedAt}
}

// findLocation is the location with that id.
func findLocation(ctx context.Context, st *store.Store, text string) (store.Location, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return store.Location{}, usage("%q is no id; \"forg serve locations list\" lists them", text)
	}
	all, err := st.AllLocations(ctx)
	if err != nil {
		return store.Location{}, err
	}
	for _, l := range all {
		if l.ID == id {
			return l, nil
		}
	}
	return store.Location{}, fmt.Errorf("there is no storage location %s; \"forg serve locations list\" lists them", id)
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
					return a.printJSON(locationJSON(l, u.Email, nil))
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
		Long:    help("Lists the storage locations of all users, by name, and the names of their rules.", exitUsageText),
		Example: "  forg serve locations list",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				all, err := st.AllLocations(c.Context())
				if err != nil {
					return err
				}
				list, rows := []map[string]any{}, [][]string{}
				emails, ruleNames := map[uuid.UUID]string{}, map[uuid.UUID][]string{}
				for _, l := range all {
					if _, ok := emails[l.UserID]; !ok {
						u, err := st.UserByID(c.Context(), l.UserID)
						if err != nil {
							return err
						}
						sets, err := st.RuleSets(c.Context(), l.UserID)
						if err != nil {
							return err
						}
						emails[l.UserID] = u.Email
						for _, r := range sets {
							ruleNames[r.LocationID] = append(ruleNames[r.LocationID], r.Name)
						}
					}
					email, names := emails[l.UserID], ruleNames[l.ID]
					list = append(list, locationJSON(l, email, names))
					row := []string{l.ID.String(), show(email), show(l.Name), show(l.Root)}
					if len(names) > 0 {
						row = append(row, "rules: "+strings.Join(names, ", "))
					}
					rows = append(rows, row)
				}
				return a.printList("locations", rows, list)
			})
		},
	}
	f.register(c.Flags())
	return c
}

func (a *app) locationsRulesCmd() *cobra.Command {
	var f serveStore
	c := &cobra.Command{
		Use: "rules ID NAME [FILE]", Short: "Give a storage location rules",
		Long: help(`Keeps the rules in FILE under NAME for the storage location, in the place of those that had the name; without FILE it
removes them. An operation goes by them when its options say {"rules": NAME}. They hold in the location wherever
that is, so they have no locations of their own; destinations are in it; and they run no programs.`, exitUsageText),
		Example: `  forg serve locations rules 01980000-0000-7000-8000-000000000000 invoices invoices.yaml
  forg serve locations rules 01980000-0000-7000-8000-000000000000 invoices      removes them`,
		Args: args(cobra.RangeArgs(2, 3)),
		RunE: func(c *cobra.Command, words []string) error {
			name := words[1]
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" || name == "" || len(name) > 64 {
				return usage("%q is no name for rules: up to 64 letters, digits and . _ - are", name)
			}
			var source []byte
			if len(words) == 3 {
				var err error
				if source, err = os.ReadFile(words[2]); err != nil {
					return fmt.Errorf("read rules: %w", err)
				}
				if _, err := server.ReadRules(a.tilde(words[2]), source, a.now()); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				l, err := findLocation(c.Context(), st, words[0])
				if err != nil {
					return err
				}
				if source == nil {
					err = st.RemoveRules(c.Context(), l.UserID, l.ID, name)
					if errors.Is(err, store.ErrNotFound) {
						return fmt.Errorf("the storage location %s has no rules %q", l.ID, name)
					}
				} else {
					err = st.SetRules(c.Context(), store.RuleSet{UserID: l.UserID, LocationID: l.ID, Name: name, Source: string(source)})
				}
				switch {
				case err != nil:
					return err
				case a.json:
					return a.printJSON(map[string]any{"id": l.ID, "rules": name, "removed": source == nil})
				case source == nil:
					a.say("%s has no rules %q any more.", show(l.Root), name)
				default:
					a.say("%s has the rules %q now.", show(l.Root), name)
				}
				return nil
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
			return a.withStore(c.Context(), &f, func(st *store.Store, _ server.Config) error {
				l, err := findLocation(c.Context(), st, words[0])
				if err != nil {
					return err
				}
				if err := st.DeleteLocation(c.Context(), l.UserID, l.ID); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"removed": l.ID})
				}
				a.say("%s is no storage location any more.", show(l.Root))
				return nil
			})
		},
	}
	f.register(c.Flags())
	return c
}
