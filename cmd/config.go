package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"forg/organizer"
)

// Every flag can be given on the command line, in the environment and in the configuration file, which count in this
// order. A flag --on-conflict of organize is the key organize.on-conflict (or on-conflict, for every command that has
// it) and the variable FORG_ORGANIZE_ON_CONFLICT (or FORG_ON_CONFLICT). forg watch, which organizes as well, goes by
// organize.on-conflict too unless there is a watch.on-conflict.

// origin is where a value came from.
type origin struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (a *app) home() (string, error) {
	if runtime.GOOS == "windows" {
		return os.UserHomeDir()
	}
	if h := a.getenv("HOME"); filepath.IsAbs(h) {
		return h, nil
	}
	u, err := user.Current() // cron and some services set no HOME
	if err != nil || u.HomeDir == "" {
		return "", errors.New("no home folder is known: set HOME, or give --journal and --config")
	}
	return u.HomeDir, nil
}

// baseDir is a folder of the XDG Base Directory Specification, or the platform's own.
func (a *app) baseDir(env string, unix, mac, windows string) (string, error) {
	if d := a.getenv(env); filepath.IsAbs(d) { // relative ones must be ignored, says the specification
		return d, nil
	}
	switch runtime.GOOS {
	case "windows":
		if d := a.getenv(windows); d != "" {
			return d, nil
		}
	case "darwin":
		unix = mac
	}
	h, err := a.home()
	if err != nil {
		return "", err
	}
	return filepath.Join(h, unix), nil
}

func (a *app) configDir() (string, error) {
	d, err := a.baseDir("XDG_CONFIG_HOME", ".config", "Library/Application Support", "AppData")
	return filepath.Join(d, "forg"), err
}

func (a *app) cacheDir() (string, error) {
	d, err := a.baseDir("XDG_CACHE_HOME", ".cache", "Library/Caches", "LocalAppData")
	return filepath.Join(d, "forg"), err
}

func (a *app) dataHome() string {
	d, err := a.baseDir("XDG_DATA_HOME", ".local/share", "Library/Application Support", "LocalAppData")
	if err != nil {
		return ""
	}
	return d
}

func (a *app) journalPath() (string, error) {
	if a.journal != "" {
		return a.journal, nil
	}
	d, err := a.stateDir()
	if err != nil {
		return "", fmt.Errorf("find the journal: %w", err)
	}
	return filepath.Join(d, "journal.db"), nil
}

func (a *app) stateDir() (string, error) {
	d, err := a.baseDir("XDG_STATE_HOME", ".local/state", "Library/Application Support", "LocalAppData")
	return filepath.Join(d, "forg"), err
}

// configPath is the configuration file: the one that was asked for, or the first that exists in its usual place.
func (a *app) configPath(c *cobra.Command) (path string, asked bool, err error) {
	if f := c.Root().PersistentFlags().Lookup("config"); f.Changed {
		return a.config, true, nil
	}
	if p := a.getenv("FORG_CONFIG"); p != "" {
		return p, true, nil
	}
	d, err := a.configDir()
	if err != nil {
		return "", false, nil // no home, no configuration
	}
	for _, ext := range []string{"yaml", "yml", "toml", "json"} {
		p := filepath.Join(d, "config."+ext)
		if _, err := os.Stat(p); err == nil {
			return p, false, nil
		}
	}
	return filepath.Join(d, "config.yaml"), false, nil
}

// configure gives every flag that was not on the command line its value from the environment or the configuration.
func (a *app) configure(c *cobra.Command) error {
	path, asked, err := a.configPath(c)
	if err != nil {
		return err
	}
	v := viper.New()
	lines := map[string]string{}
	switch _, err := os.Stat(path); {
	case path == "":
	case err == nil:
		v.SetConfigFile(path)
		if err := v.ReadInConfig(); err != nil {
			return &exitError{exitUsage, configMistake(path, err)}
		}
		if lines, err = knownKeys(c.Root(), path, v.AllKeys()); err != nil {
			return err
		}
	case asked || !errors.Is(err, fs.ErrNotExist):
		return &exitError{exitUsage, fmt.Errorf("read configuration: %w", err)}
	}
	var failed error
	each := func(f *pflag.Flag) {
		if failed != nil || f.Name == "help" || f.Name == "version" {
			return
		}
		from := "default"
		set := func(value, where string) {
			from = where
			if err := f.Value.Set(value); err != nil {
				failed = usage("%s: %q is no value for --%s: %w", where, value, f.Name, err)
			}
		}
		keys := []string{f.Name}
		if c.LocalNonPersistentFlags().Lookup(f.Name) != nil {
			keys = []string{section(c) + "." + f.Name, f.Name}
			likes := f.Annotations[settingsOf]
			if like := c.Annotations[settingsOf]; like != "" {
				likes = append(slices.Clone(likes), like)
			}
			for i, like := range likes {
				keys = slices.Insert(keys, 1+i, like+"."+f.Name)
			}
		}
		switch env, name := a.fromEnv(keys); {
		case f.Changed:
			from = "command line"
		case name != "":
			set(env, name)
		default:
			for _, k := range keys {
				if !v.IsSet(k) {
					continue
				}
				where := path + lines[k]
				if list, ok := f.Value.(pflag.SliceValue); ok {
					from = where
					if err := list.Replace(v.GetStringSlice(k)); err != nil {
						failed = usage("%s: %w", where, err)
					}
				} else {
					set(v.GetString(k), where)
				}
				break
			}
		}
		a.origins = append(a.origins, origin{keys[0], f.Value.String(), from})
	}
	c.Flags().VisitAll(each)
	if failed != nil {
		return failed
	}
	for _, f := range []struct{ name, value string }{{"color", a.color}, {"progress", a.progress}} {
		if !slices.Contains([]string{"auto", "always", "never"}, f.value) {
			return usage("--%s %q: it is one of auto, always, never", f.name, f.value)
		}
	}
	return nil
}

// settingsOf is the annotation of a command, or of a single flag, that goes by the settings of another command as well.
const settingsOf = "settings of"

func section(c *cobra.Command) string {
	return strings.ReplaceAll(strings.TrimPrefix(c.CommandPath(), "forg "), " ", ".")
}

func (a *app) fromEnv(keys []string) (value, name string) {
	for _, k := range keys {
		name := "FORG_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(k))
		if v := a.getenv(name); v != "" {
			return v, name
		}
	}
	return "", ""
}

var yamlLine = lazily(`^yaml: (?:unmarshal errors:\n  )?line (\d+): `)

// configMistake says where in the file the parser gave up, as file:line:column as far as it tells.
func configMistake(path string, err error) error {
	if e, ok := errors.AsType[viper.ConfigParseError](err); ok {
		err = errors.Unwrap(e)
	}
	var toml interface {
		error
		Position() (row, column int)
	}
	if errors.As(err, &toml) {
		line, column := toml.Position()
		return fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		if text, rerr := os.ReadFile(path); rerr == nil {
			before := text[:min(int(e.Offset), len(text))]
			return fmt.Errorf("%s:%d:%d: %w", path, bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n')-1, err)
		}
	}
	if m := yamlLine().FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: %s", path, m[1], strings.TrimPrefix(err.Error(), m[0]))
	}
	return fmt.Errorf("%s: %w", path, err)
}

// knownKeys refuses keys that mean nothing, with the place and what may have been meant. It returns the lines of the
// keys, where the format tells them.
func knownKeys(root *cobra.Command, path string, keys []string) (map[string]string, error) {
	known := []string{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				known = append(known, section(sub)+"."+f.Name, f.Name)
				if like := sub.Annotations[settingsOf]; like != "" {
					known = append(known, like+"."+f.Name)
				}
			})
			walk(sub)
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	walk(root)
	lines := map[string]string{}
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		if text, err := os.ReadFile(path); err == nil {
			var doc yaml.Node
			if yaml.Unmarshal(text, &doc) == nil && len(doc.Content) > 0 {
				keyLines(doc.Content[0], "", lines)
			}
		}
	} else if text, err := os.ReadFile(path); err == nil {
		findKeys(string(text), keys, lines)
	}
	var all []error
	for _, k := range keys {
		if !slices.Contains(known, k) {
			all = append(all, fmt.Errorf("%s%s: unknown key %q%s", path, lines[k], k, didYouMean(k, known)))
		}
	}
	if len(all) > 0 {
		return nil, &exitError{exitUsage, errors.Join(all...)}
	}
	return lines, nil
}

func keyLines(n *yaml.Node, prefix string, lines map[string]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := strings.ToLower(prefix + n.Content[i].Value)
		lines[key] = fmt.Sprintf(":%d:%d", n.Content[i].Line, n.Content[i].Column)
		keyLines(n.Content[i+1], key+".", lines)
	}
}

// findKeys finds the places of keys in TOML or JSON: where the last part of each is first given a value.
func findKeys(text string, keys []string, lines map[string]string) {
	for _, k := range keys {
		key := regexp.MustCompile(`(?i)(?:^|[\s{,.])(["']?` + regexp.QuoteMeta(k[strings.LastIndexByte(k, '.')+1:]) + `["']?)\s*[=:]`)
		n := 0
		for line := range strings.Lines(text) {
			n++
			if at := key.FindStringSubmatchIndex(line); at != nil {
				lines[k] = fmt.Sprintf(":%d:%d", n, at[2]+1)
				break
			}
		}
	}
}

func (a *app) configCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Show the configuration and where it comes from",
		Long: help(`Every flag of every command can also be set in the configuration file and in the environment. The command line
counts first, then the environment, then the file, then the default. The flag --on-conflict of "forg organize" is
the key "organize.on-conflict" (or "on-conflict" for every command that has it) and the variable
FORG_ORGANIZE_ON_CONFLICT (or FORG_ON_CONFLICT). "forg watch" goes by the settings of organize, unless it has its own.`, exitUsageText),
		Example: `  forg config path
  forg config show --origin
  mkdir -p "$(dirname "$(forg config path)")"
  echo 'organize: {on-conflict: skip, exclude: ["*.iso"]}' > "$(forg config path)"`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var origins bool
	show := &cobra.Command{
		Use: "show [COMMAND]", Short: "Print every setting of a command (default organize)",
		Long:    help(`Prints key and value of every setting; with --origin also where the value came from.`, exitUsageText),
		Example: "  forg config show --origin\n  forg config show undo",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			target, _, err := c.Root().Find(append([]string{}, append(names, "organize")[0]))
			if err != nil || target == c.Root() {
				return usage("unknown command %q%s", names[0], didYouMean(names[0], commandNames(c.Root())))
			}
			a.origins = nil
			jsonOut := a.json
			if err := a.configure(target); err != nil {
				return err
			}
			for i, o := range a.origins { // flags of this very call
				if f := c.Flags().Lookup(o.Key); f != nil && f.Changed {
					a.origins[i].Origin = "command line"
				}
			}
			if jsonOut {
				return json.NewEncoder(a.out).Encode(map[string]any{"settings": a.origins})
			}
			for _, o := range a.origins {
				if origins {
					fmt.Fprintf(a.out, "%-28s %-20s %s\n", o.Key, o.Value, o.Origin)
				} else {
					fmt.Fprintf(a.out, "%-28s %s\n", o.Key, o.Value)
				}
			}
			return nil
		},
	}
	show.Flags().BoolVar(&origins, "origin", false, "say where each value came from")
	path := &cobra.Command{
		Use: "path", Short: "Print the path of the configuration file",
		Long:    help("Prints the file that is read, or the one that would be if it existed.", exitUsageText),
		Example: "  $EDITOR \"$(forg config path)\"",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			p, _, err := a.configPath(c)
			if err != nil || p == "" {
				return errors.Join(errors.New("no home folder is known, so there is no configuration file"), err)
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(map[string]string{"path": p})
			}
			fmt.Fprintln(a.out, p)
			return nil
		},
	}
	c.AddCommand(show, path)
	return c
}

// findTrash is where files go that must give way.
func (a *app) findTrash() func(*organizer.Dir) (organizer.TrashDir, error) {
	home := a.dataHome()
	if runtime.GOOS == "darwin" { // there the trash lies in the home folder itself
		home, _ = a.home()
	}
	return organizer.FindTrash(home, os.Getuid())
}

// lazily compiles an expression when it is first asked for: most runs of forg ask for none.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
