package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	forg "forg/cmd"
)

var update = flag.Bool("update", false, "write what forg prints into the scripts of testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"forg": func() { os.Exit(forg.Main()) }})
}

// TestScript runs testdata/script/*.txtar against the real program: <command>_<case> for what a command promises,
// failure_NN_<what> for a way in which other organizers lose files. Each script has a HOME of its own and no terminal.
//
//	go test -run TestScript/organize_ .     some of them
//	go test -run TestScript -update .       write what forg prints now into them, to be read in the diff
//
// Beyond the verbs of testscript there are those of verbs below. With CI set no script may be skipped.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Cmds:               verbs,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			for _, v := range [][2]string{{"XDG_STATE_HOME", ".local/state"}, {"XDG_CONFIG_HOME", ".config"}, {"XDG_CACHE_HOME", ".cache"},
				{"XDG_DATA_HOME", ".local/share"}} {
				env.Setenv(v[0], filepath.Join(home, v[1]))
			}
			env.Setenv("JOURNAL", filepath.Join(home, ".local/state/forg/journal.db"))
			env.Setenv("TRASH", filepath.Join(home, ".local/share/Trash"))
			env.Setenv("TZ", "UTC")
			cookbook, err := filepath.Abs(filepath.Join("testdata", "rules", "cookbook"))
			if err != nil {
				return err
			}
			env.Setenv("COOKBOOK", cookbook)
			env.Values["snapshots"] = map[string]string{}
			running := map[string]*exec.Cmd{}
			env.Values["running"] = running
			env.Values["env"] = env
			env.Defer(func() {
				for _, c := range running {
					c.Process.Kill()
					c.Wait()
				}
			})
			return os.MkdirAll(home, 0o755)
		},
		Condition: condition,
	})
}

// condition tells what a script can rely on. What the project's own machines have must not be missing in CI.
func condition(name string) (bool, error) {
	var ok bool
	program, isProgram := strings.CutPrefix(name, "has:")
	switch {
	case isProgram:
		_, err := exec.LookPath(program)
		ok = err == nil
	case name == "root":
		ok = os.Geteuid() == 0
	case name == "mounts":
		ok = canMount()
	default:
		return false, fmt.Errorf("unknown condition %q", name)
	}
	if !ok && os.Getenv("CI") != "" {
		return false, fmt.Errorf("in CI every script runs, and this one needs %s", name)
	}
	return ok, nil
}

type verb = func(ts *testscript.TestScript, neg bool, args []string)

var verbs = map[string]verb{
	"age":       ageVerb,
	"authority": authorityVerb,
	"code":      codeVerb,
	"end":       endVerb,
	"fifo":      fifoVerb,
	"hardlink":  hardlinkVerb,
	"json":      jsonVerb,
	"mkfile":    mkfileVerb,
	"mount":     mountVerb,
	"mtime":     mtimeVerb,
	"put":       putVerb,
	"same":      sameVerb,
	"sample":    sampleVerb,
	"scrub":     scrubVerb,
	"sh":        shVerb,
	"snapshot":  snapshotVerb,
	"socket":    socketVerb,
	"start":     startVerb,
	"tree":      treeVerb,
	"until":     untilVerb,
	"xattr":     xattrVerb,
}

// authority DIR: makes a certificate authority of one's own, DIR/ca.pem, and of it a certificate for 127.0.0.1, DIR/cert.pem
// and DIR/key.pem.
func authorityVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "authority DIR")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		k, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		ts.Check(err)
		keys[i] = k
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of my own"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	write := func(name, kind string, der []byte, err error) {
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	der, err := x509.CreateCertificate(crand.Reader, ca, ca, keys[0].Public(), keys[0])
	write("ca.pem", "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(crand.Reader, leaf, ca, keys[1].Public(), keys[0])
	write("cert.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(keys[1])
	write("key.pem", "EC PRIVATE KEY", der, err)
}

func want(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// code N COMMAND ARG...: the exit code is N. "code N plainly COMMAND" runs it without root's right to read and write
// everything.
func codeVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "code N [plainly] COMMAND ARG...")
	run := ts.Exec
	if args[1] == "plainly" {
		args = slices.Delete(args, 1, 2)
		run = func(name string, args ...string) error {
			return plainly(func() error { return ts.Exec(name, args...) })
		}
	}
	err := run(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// sh SCRIPT: for pipes. It must succeed.
func shVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "sh SCRIPT")
	ts.Check(ts.Exec("sh", "-c", args[0]))
}

// tree DIR...: names, types and link targets below each DIR, sorted.
func treeVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 0, "tree DIR...")
	for _, dir := range args {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == ts.MkAbs(dir) {
				return err
			}
			rel, _ := filepath.Rel(ts.MkAbs(dir), path)
			line := filepath.ToSlash(filepath.Join(dir, rel))
			if filepath.IsAbs(dir) {
				line = filepath.ToSlash(rel)
			}
			if q := strconv.Quote(line); q != `"`+line+`"` && !regexp.MustCompile(`^[ -~]*$`).MatchString(line) {
				line = strconv.QuoteToASCII(line)
			}
			switch {
			case d.IsDir():
				line += "/"
			case d.Type()&fs.ModeSymlink != 0:
				to, err := os.Readlink(path)
				if err != nil {
					return err
				}
				line += " -> " + to
			case d.Type()&fs.ModeNamedPipe != 0:
				line += " |"
			case d.Type()&fs.ModeSocket != 0:
				line += " ="
			}
			_, err = fmt.Fprintln(ts.Stdout(), line)
			return err
		}))
	}
	ts.Stdout()
}

// old is the time that age gives.
var old = time.Date(2020, 1, 2, 3, 4, 5, 678901234, time.UTC)

// age DIR...: gives everything in DIR a fixed old time, so that nothing in it counts as still being written.
func ageVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 0, "age DIR...")
	for _, dir := range args {
		var all []string
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSymlink == 0 {
				all = append(all, path)
			}
			return err
		}))
		for _, path := range slices.Backward(all) {
			ts.Check(os.Chtimes(path, old, old))
		}
	}
}

// mtime FILE TIME: sets it; TIME is RFC 3339 or "now".
func mtimeVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "mtime FILE TIME")
	at := time.Now()
	if args[1] != "now" {
		var err error
		at, err = time.Parse(time.RFC3339Nano, args[1])
		ts.Check(err)
	}
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), at, at))
}

// mkfile FILE SIZE SEED: equal size and seed give equal content.
func mkfileVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "mkfile FILE SIZE SEED")
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	var seed [32]byte
	copy(seed[:], args[2])
	content := make([]byte, size)
	rand.NewChaCha8(seed).Read(content)
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, content, 0o644))
	ts.Check(os.Chtimes(file, old, old))
}

// put FILE TEXT: both as Go string literals without the quotes, for names and texts that a script cannot hold.
func putVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "put FILE TEXT")
	for i, a := range args {
		s, err := strconv.Unquote(`"` + a + `"`)
		ts.Check(err)
		args[i] = s
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, []byte(args[1]), 0o644))
	ts.Check(os.Chtimes(file, old, old))
}

// hardlink FILE NAME: gives FILE another name.
func hardlinkVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "hardlink FILE NAME")
	ts.Check(os.Link(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}

// snapshot NAME DIR...: keeps the exact state of all DIRs under NAME.
func snapshotVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "snapshot NAME DIR...")
	ts.Value("snapshots").(map[string]string)[args[0]] = stateOf(ts, args[1:])
}

// same [-copied] NAME DIR...: the DIRs are what they were at the snapshot: names, content, mode, owner, times, extended
// attributes, hard links and, unless -copied, inodes.
func sameVerb(ts *testscript.TestScript, neg bool, args []string) {
	copied := len(args) > 0 && args[0] == "-copied"
	if copied {
		args = args[1:]
	}
	want(ts, len(args) > 1, "same [-copied] NAME DIR...")
	was, ok := ts.Value("snapshots").(map[string]string)[args[0]]
	if !ok {
		ts.Fatalf("there is no snapshot %s", args[0])
	}
	now := stateOf(ts, args[1:])
	if copied {
		inode := regexp.MustCompile(`(?m) inode \d+$`)
		was, now = inode.ReplaceAllString(was, ""), inode.ReplaceAllString(now, "")
	}
	if (was == now) == neg {
		ts.Fatalf("the state of %v against snapshot %s:\n%s", args[1:], args[0], cmp.Diff(strings.Split(was, "\n"), strings.Split(now, "\n")))
	}
}

func stateOf(ts *testscript.TestScript, dirs []string) string {
	var all strings.Builder
	for _, dir := range dirs {
		s, err := treeState(ts.MkAbs(dir))
		ts.Check(err)
		all.WriteString(s)
	}
	return all.String()
}

// start NAME COMMAND ARG...: runs a program that goes on while the script does. What it prints is in NAME.out and
// NAME.err.
func startVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "start NAME COMMAND ARG...")
	running := ts.Value("running").(map[string]*exec.Cmd)
	if running[args[0]] != nil {
		ts.Fatalf("%s runs already", args[0])
	}
	env := ts.Value("env").(*testscript.Env)
	program := args[1]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, program); !strings.ContainsRune(program, '/') {
			if _, err := os.Stat(path); err == nil {
				program = path
			}
		}
	}
	c := exec.Command(program, args[2:]...)
	c.Args[0], c.Dir = args[1], ts.MkAbs(".")
	for _, v := range env.Vars {
		name, _, _ := strings.Cut(v, "=")
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC"} {
		if v := ts.Getenv(name); v != "" {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	for ext, to := range map[string]*io.Writer{".out": &c.Stdout, ".err": &c.Stderr} {
		f, err := os.Create(filepath.Join(ts.Getenv("WORK"), args[0]+ext))
		ts.Check(err)
		defer f.Close() // the program has its own
		*to = f
	}
	ts.Check(c.Start())
	running[args[0]] = c
}

// end NAME SIGNAL CODE: sends a signal (TERM, INT, HUP, KILL) to what start has started and waits for its end. CODE is
// the exit code, or "killed".
func endVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "end NAME SIGNAL CODE")
	running := ts.Value("running").(map[string]*exec.Cmd)
	c := running[args[0]]
	signal, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[1]]
	if c == nil || !ok {
		ts.Fatalf("no %s runs, or there is no signal %s", args[0], args[1])
	}
	delete(running, args[0])
	ts.Check(c.Process.Signal(signal))
	timer := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	c.Wait()
	if !timer.Stop() {
		ts.Fatalf("%s did not end within 2 minutes of SIG%s", args[0], args[1])
	}
	got := strconv.Itoa(c.ProcessState.ExitCode())
	if got == "-1" {
		got = "killed"
	}
	if got != args[2] {
		errs, _ := os.ReadFile(filepath.Join(ts.Getenv("WORK"), args[0]+".err"))
		ts.Fatalf("exit code %s, want %s\n%s", got, args[2], errs)
	}
}

// until exists FILE..., until gone FILE..., until says REGEXP FILE: waits, as long as a slow machine may need.
func untilVerb(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "until exists FILE..., until gone FILE..., until says REGEXP FILE"
	want(ts, !neg && len(args) > 1, usage)
	var there func(file string) bool
	files := args[1:]
	switch args[0] {
	case "exists", "gone":
		there = func(file string) bool {
			_, err := os.Lstat(ts.MkAbs(file))
			return (err == nil) == (args[0] == "exists")
		}
	case "says":
		want(ts, len(args) == 3, usage)
		re, err := regexp.Compile("(?m)" + args[1])
		ts.Check(err)
		files = args[2:]
		there = func(file string) bool {
			text, err := os.ReadFile(ts.MkAbs(file))
			return err == nil && re.Match(text)
		}
	default:
		want(ts, false, usage)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		missing := slices.IndexFunc(files, func(file string) bool { return !there(file) })
		if missing < 0 {
			return
		}
		if time.Now().After(deadline) {
			for name := range ts.Value("running").(map[string]*exec.Cmd) {
				out, _ := os.ReadFile(filepath.Join(ts.Getenv("WORK"), name+".out"))
				errs, _ := os.ReadFile(filepath.Join(ts.Getenv("WORK"), name+".err"))
				ts.Logf("%s has said:\n%s%s", name, out, errs)
			}
			ts.Fatalf("until %s: it did not come to that with %s", strings.Join(args, " "), files[missing])
		}
	}
}

var scrubs = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d\.\d{3} [+-]\d{4})?\b`), "DATE"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`\bin (\d+ ms|\d+\.\d s)\b`), "in TIME"},
	{regexp.MustCompile(`"duration_ms":\d+`), `"duration_ms":0`},
	{regexp.MustCompile(`"(inode|born)":\d+`), `"$1":0`},
}

// scrub [sort]: replaces in stdout and stderr what is different in every run, so that they can be compared with a
// golden; "sort" sorts their lines, for lists in the order of the disk.
func scrubVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && (len(args) == 0 || args[0] == "sort"), "scrub [sort]")
	clean := func(s string) string {
		for _, r := range scrubs {
			s = r.re.ReplaceAllString(s, r.to)
		}
		work := ts.Getenv("WORK")
		s = strings.ReplaceAll(s, work, "$WORK")
		if len(args) > 0 {
			lines := strings.SplitAfter(s, "\n")
			slices.Sort(lines)
			s = strings.Join(lines, "")
		}
		return s
	}
	out, errs := clean(ts.ReadFile("stdout")), clean(ts.ReadFile("stderr"))
	fmt.Fprint(ts.Stdout(), out)
	fmt.Fprint(ts.Stderr(), errs)
}

// json FILE PATH == VALUE (or != VALUE, or =~ REGEXP): FILE is exactly one JSON object, and what PATH leads to has that
// value. A path is ".a.b[0]"; "[from=x]" is the item whose from is x or ends in /x; "@len" is how many there are,
// "@keys" the sorted names.
func jsonVerb(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 4, "json FILE PATH ==|!=|=~ VALUE")
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		ts.Fatalf("%s is no JSON object: %v", args[0], err)
	}
	if dec.More() {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
	v, err := lookUp(doc, args[1])
	if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	got, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		ts.Check(err)
		got = string(b)
	}
	switch args[2] {
	case "==":
		ok = got == args[3]
	case "!=":
		ok = got != args[3]
	case "=~":
		ok, err = regexp.MatchString(args[3], got)
		ts.Check(err)
	default:
		ts.Fatalf("json: unknown comparison %s", args[2])
	}
	if !ok {
		ts.Fatalf("%s is %s, want %s %s", args[1], got, args[2], args[3])
	}
}

var jsonPart = regexp.MustCompile(`^(?:\.([a-z_A-Z 0-9]+)|\[(\d+)\]|\[([a-z_]+)=([^\]]*)\]|\.?(@len)|\.?(@keys))`)

func lookUp(v any, path string) (any, error) {
	for path != "" && path != "." {
		m := jsonPart.FindStringSubmatch(path)
		if m == nil {
			return nil, fmt.Errorf("cannot read %q", path)
		}
		path = path[len(m[0]):]
		object, isObject := v.(map[string]any)
		list, isList := v.([]any)
		switch {
		case m[1] != "" && isObject:
			var ok bool
			if v, ok = object[m[1]]; !ok {
				return nil, fmt.Errorf("there is no %q", m[1])
			}
		case m[2] != "" && isList:
			i, _ := strconv.Atoi(m[2])
			if i >= len(list) {
				return nil, fmt.Errorf("there are only %d", len(list))
			}
			v = list[i]
		case m[3] != "" && isList:
			i := slices.IndexFunc(list, func(item any) bool {
				o, _ := item.(map[string]any)
				s := fmt.Sprint(o[m[3]])
				return s == m[4] || strings.HasSuffix(s, "/"+m[4])
			})
			if i < 0 {
				return nil, fmt.Errorf("none has %s %q", m[3], m[4])
			}
			v = list[i]
		case m[5] != "" && isList:
			v = len(list)
		case m[5] != "" && isObject:
			v = len(object)
		case m[6] != "" && isObject:
			keys := []string{}
			for k := range object {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			v = strings.Join(keys, " ")
		default:
			return nil, fmt.Errorf("%s does not fit a %T", m[0], v)
		}
	}
	return v, nil
}

// TestScriptNames keeps scripts findable: each is named after a command, or after a line of the list of failures.
func TestScriptNames(t *testing.T) {
	root := forg.Root()
	names := []string{"failure", "forg"}
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*"))
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, s := range scripts {
		name, rest, ok := strings.Cut(filepath.Base(s), "_")
		if !ok || !slices.Contains(names, name) || !strings.HasSuffix(rest, ".txtar") || name == "failure" && !regexp.MustCompile(`^\d\d_`).MatchString(rest) {
			t.Errorf("%s: call it <command>_<case>.txtar or failure_NN_<what>.txtar", s)
		}
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "-- ") {
				break
			}
			if regexp.MustCompile(`^(\[.*\] +)?skip\b`).MatchString(line) && !regexp.MustCompile(`^(\[(windows|darwin)\]|\[!(root|mounts|linux|has:[a-z0-9-]+)\]) skip '?NOT TESTED`).MatchString(line) {
				t.Errorf("%s: %q skips without saying loudly what is not tested", s, strings.TrimSpace(line))
			}
		}
	}
}

// TestScriptFlags keeps every flag of every command in some script that calls it.
func TestScriptFlags(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range scripts {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "forg ") {
				lines = append(lines, strings.TrimSpace(line)+" ")
			}
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			said := `--` + f.Name + `[ =]`
			if f.Shorthand != "" {
				said += `|-` + f.Shorthand + ` `
			}
			re := regexp.MustCompile(regexp.QuoteMeta(c.CommandPath()) + ` (.* )?(` + said + `)`)
			if c == c.Root() {
				re = regexp.MustCompile(`forg (.* )?(` + said + `)`)
			}
			if f.Name != "help" && !slices.ContainsFunc(lines, re.MatchString) {
				t.Errorf("no script calls %s with --%s", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(forg.Root())
}
