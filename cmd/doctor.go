package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"forg/journal"
	"forg/organizer"
)

// finding is one thing that doctor has looked at.
type finding struct {
	What  string `json:"what"`
	OK    bool   `json:"ok"`
	Fixed bool   `json:"fixed,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

func (a *app) doctorCmd() *cobra.Command {
	var fix bool
	c := &cobra.Command{
		Use: "doctor", Short: "Check that everything can be undone",
		Long: help(`Checks the configuration, the rules file, the journal (SQLite's own check, the numbers and the hash chain of its
events), its permissions, runs that were cut short, leftovers of crashes in the folders forg has worked in, and
damaged journals that were set aside. With --fix it repairs what is safe to repair; it never removes a file of yours.`,
			exitHead+"  3    something is wrong that was not repaired\n  4    another forg is at work"),
		Example: "  forg doctor\n  forg doctor --fix",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := a.examine(c.Context(), fix)
			if err != nil && len(found) == 0 {
				return err
			}
			if a.json {
				if found == nil {
					found = []finding{}
				}
				if err := json.NewEncoder(a.out).Encode(map[string]any{"checks": found}); err != nil {
					return err
				}
			}
			bad := false
			for _, f := range found {
				bad = bad || !f.OK && !f.Fixed
				if a.json || f.OK && a.quiet {
					continue
				}
				mark := a.paint(green, "ok    ")
				switch {
				case f.Fixed:
					mark = a.paint(yellow, "fixed ")
				case !f.OK:
					mark = a.paint(red, "wrong ")
				}
				fmt.Fprintf(a.out, "%s %s\n", mark, showText(f.What))
				if f.Hint != "" && !f.OK && !f.Fixed {
					fmt.Fprintf(a.out, "       %s\n", f.Hint)
				}
			}
			if err != nil {
				return err
			}
			if bad {
				return &exitError{code: exitPartial}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&fix, "fix", false, "repair what is safe to repair")
	return c
}

func (a *app) examine(ctx context.Context, fix bool) ([]finding, error) {
	var found []finding
	ok := func(format string, args ...any) {
		found = append(found, finding{What: fmt.Sprintf(format, args...), OK: true})
	}
	wrong := func(hint, format string, args ...any) {
		found = append(found, finding{What: fmt.Sprintf(format, args...), Hint: hint})
	}
	ok("configuration can be read") // or this command would not have begun
	if f, there := a.rulesFinding(); there {
		found = append(found, f)
	}
	path, err := a.journalPath()
	if err != nil {
		return found, err
	}
	aside, _ := filepath.Glob(globEscape(path) + ".damaged-*")
	for _, p := range aside {
		if !strings.HasSuffix(p, "-wal") && !strings.HasSuffix(p, "-shm") {
			wrong("what it recorded may still be readable with sqlite3; remove it when you no longer need it", "a damaged journal was set aside: %s", a.tilde(p))
		}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		ok("there is no journal yet (%s)", a.tilde(path))
		return found, nil
	}
	if runtime.GOOS != "windows" {
		for _, p := range []string{path, path + "-wal", path + "-shm"} {
			st, err := os.Stat(p)
			if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o077 == 0 {
				continue
			}
			f := finding{What: fmt.Sprintf("%s can be read by others (mode %04o)", a.tilde(p), st.Mode().Perm()), Hint: "forg doctor --fix makes it yours alone"}
			if fix {
				if err := os.Chmod(p, 0o600); err != nil {
					return found, err
				}
				f.Fixed = true
			}
			found = append(found, f)
		}
	}
	j, settled, err := a.openForDoctor(ctx, path, &found)
	if err != nil {
		return found, err
	}
	defer j.Close()
	for _, o := range settled {
		found = append(found, finding{What: fmt.Sprintf("operation %d was cut short and is settled now: forg undo %d takes back what it did", o.ID, o.ID), Fixed: true})
	}
	troubles, err := j.Check(ctx, fix)
	if err != nil {
		return found, err
	}
	for _, t := range troubles {
		found = append(found, finding{What: "journal: " + t.What, Fixed: t.Fixed, Hint: "keep a copy of " + path + "; forg doctor --fix repairs lists, not lost events"})
	}
	if len(troubles) == 0 {
		ok("journal %s is sound", a.tilde(path))
	}
	left, err := organizer.Leftovers(ctx, j)
	if err != nil {
		return found, err
	}
	for _, l := range left {
		f := finding{What: fmt.Sprintf("%s is a leftover of a crash, %s", a.tilde(l.Path), bytesText(l.Bytes)), Hint: "forg doctor --fix moves it to the trash"}
		if fix {
			to, err := organizer.Discard(l, a.findTrash(), a.now())
			if err != nil {
				return found, err
			}
			f.Fixed, f.What = true, f.What+", moved to "+a.tilde(to)
		}
		found = append(found, f)
	}
	if len(left) == 0 {
		ok("no leftovers in the folders forg has worked in")
	}
	return found, nil
}

// openForDoctor settles what a crash has left; with a forg at work, or no right to write, it only looks.
func (a *app) openForDoctor(ctx context.Context, path string, found *[]finding) (*journal.Journal, []journal.Operation, error) {
	j, err := journal.Open(ctx, path, journal.Options{Now: a.now})
	if err == nil {
		settled, err := organizer.Recover(ctx, j)
		if err != nil {
			j.Close()
			return nil, nil, err
		}
		return j, settled, nil
	}
	if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrNewer) || errors.Is(err, journal.ErrLocked) {
		return nil, nil, err
	}
	*found = append(*found, finding{What: err.Error(), Hint: "forg moves nothing while it cannot write its journal"})
	j, err = journal.Open(ctx, path, journal.Options{ReadOnly: true, Now: a.now})
	return j, nil, err
}

func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// release is set by release builds.
var release = ""

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version",
		Long:    help("Prints forg's version, and with what it was built.", exitUsageText),
		Example: "  forg version\n  forg version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return json.NewEncoder(a.out).Encode(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			fmt.Fprintf(a.out, "forg %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

func (a *app) completionCmd() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print a completion script for your shell",
		Long: help(`Prints a script that lets the shell complete forg's commands and flags.`, exitUsageText),
		Example: `  source <(forg completion bash)
  forg completion zsh > "${fpath[1]}/_forg"
  forg completion fish > ~/.config/fish/completions/forg.fish`,
		ValidArgs: shells,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, names []string) error {
			root := c.Root()
			switch names[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
