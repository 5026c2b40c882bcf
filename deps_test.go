package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// policy is who may import whom: the arrows of docs/architecture.md as data. A package that is not listed fails the
// test, so a new package, a new arrow and a new dependency are each a line here that somebody decided on.
var policy = map[string]struct {
	forg    []string // packages of forg
	outside []string // modules, or folders of modules; what lies below is meant too
	not     []string // packages of the standard library that would break what the package promises
}{
	"forg": {forg: []string{"forg/cmd"}, not: offline},
	"forg/cmd": {
		forg: []string{"forg/journal", "forg/organizer", "forg/organizer/dupes", "forg/organizer/images", "forg/organizer/metadata", "forg/organizer/watch", "forg/rules", "forg/rules/foreign",
			"forg/sync/agent", "forg/sync/api", "forg/sync/client", "forg/sync/replica", "forg/sync/seal",
			"forg/sync/server", "forg/sync/server/auth", "forg/sync/server/store"}, // but with the tag noserver
		outside: []string{
			"github.com/google/uuid",                                                               // ids of the operator's commands
			"charm.land/bubbletea/v2", "charm.land/lipgloss/v2", "github.com/charmbracelet/x/ansi", // the review
			"github.com/dustin/go-humanize", "github.com/schollz/progressbar/v3", "golang.org/x/term", // words
			"github.com/spf13", "go.yaml.in/yaml/v3", // flags and configuration
			"github.com/bmatcuk/doublestar/v4", // its error for a bad glob
			"golang.org/x/sync",                // thumbnails side by side
		},
		not: offline,
	},
	"forg/organizer": {
		forg: []string{"forg/journal", "forg/organizer/archive", "forg/organizer/dupes", "forg/organizer/images", "forg/organizer/metadata", "forg/rules"},
		outside: []string{
			"github.com/gabriel-vasile/mimetype",                    // what a file is
			"github.com/bmatcuk/doublestar/v4", "golang.org/x/text", // names
			"github.com/zeebo/blake3", "golang.org/x/sync", "golang.org/x/sys",
		},
		not: append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...), // never prints, runs nothing
	},
	"forg/organizer/metadata": {
		forg: []string{"forg/organizer/archive", "forg/organizer/cachedb", "forg/organizer/images"},
		outside: []string{
			"github.com/bep/imagemeta", "github.com/zeebo/blake3", "golang.org/x/sys", // pictures, hashes, attributes
			"golang.org/x/text/encoding", // text
		},
		not: append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...),
	},
	"forg/organizer/dupes": {
		forg:    []string{"forg/organizer/cachedb"},
		outside: []string{"github.com/zeebo/blake3", "github.com/zeebo/xxh3", "golang.org/x/sys"}, // hashes, and bare system calls
		not:     append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...),
	},
	"forg/organizer/cachedb": {
		outside: []string{"modernc.org/sqlite"},
		not:     append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...),
	},
	"forg/organizer/images": {
		outside: []string{"github.com/bep/imagemeta", "golang.org/x/image", "golang.org/x/sync"},                        // how a picture is turned, formats, limits
		not:     append([]string{"flag", "log", "log/slog", "os", "os/exec", "os/signal", "path/filepath"}, offline...), // gets an io.ReaderAt
	},
	"forg/organizer/archive": {
		outside: []string{"github.com/klauspost/compress/zstd", "github.com/nwaples/rardecode/v2", "github.com/ulikunitz/xz"},
		not:     append([]string{"flag", "log", "log/slog", "os", "os/exec", "os/signal", "path/filepath"}, offline...), // gets an io.ReaderAt
	},
	"forg/organizer/watch": {
		outside: []string{"github.com/fsnotify/fsnotify", "golang.org/x/sys"},
		not:     append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...), // only tells
	},
	"forg/journal": {
		outside: []string{"github.com/google/uuid", "golang.org/x/sys", "modernc.org/sqlite"},
		not:     append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...),
	},
	"forg/rules": {
		outside: []string{"go.yaml.in/yaml/v3", "golang.org/x/text"},                                                                        // names in one form of Unicode
		not:     append([]string{"flag", "io/fs", "log", "log/slog", "os", "os/exec", "os/signal", "path/filepath", "syscall"}, offline...), // pure
	},

	"forg/rules/foreign": {
		forg:    []string{"forg/rules"},
		outside: []string{"go.yaml.in/yaml/v3"},
		not:     append([]string{"flag", "io/fs", "log", "log/slog", "os", "os/exec", "os/signal", "path/filepath", "syscall"}, offline...), // pure
	},

	"forg/sync/server/store": {
		forg: []string{"forg/sync/api"},
		outside: []string{
			"github.com/jackc/pgx/v5", "modernc.org/sqlite", "github.com/pressly/goose/v3", // the databases
			"github.com/riverqueue/river", // jobs are enqueued in their transactions
			"github.com/google/uuid",
		},
		not: []string{"flag", "net/http", "os/exec", "os/signal"},
	},
	"forg/sync/api": {
		outside: []string{"github.com/google/uuid", "github.com/klauspost/compress/zstd"},
		not:     append([]string{"flag", "io/fs", "log", "log/slog", "math/rand", "os", "os/exec", "os/signal", "path/filepath", "syscall"}, offline...), // pure
	},
	"forg/sync/client": {
		forg: []string{"forg/journal", "forg/sync/api"}, // of the journal its lock of files
		outside: []string{
			"github.com/zalando/go-keyring", // Secret Service, Keychain, Credential Manager
			"github.com/klauspost/compress/zstd", "github.com/google/uuid",
		},
		not: []string{"database/sql", "flag", "log", "log/slog", "os/exec", "os/signal"}, // never prints; speaks to one server
	},
	"forg/sync/agent": {
		forg:    []string{"forg/sync/api", "forg/sync/client"}, // what to do after which error
		outside: []string{"github.com/google/uuid"},
		not:     append([]string{"flag", "io/fs", "log", "log/slog", "os", "os/exec", "os/signal", "path/filepath"}, offline...), // touches nothing itself
	},
	"forg/sync/feed": {
		forg:    []string{"forg/journal", "forg/sync/api"},
		outside: []string{"github.com/google/uuid"},
		not:     append([]string{"flag", "log", "log/slog", "os", "os/exec", "os/signal"}, offline...), // sends nothing
	},
	"forg/sync/replica": {
		forg:    []string{"forg/journal", "forg/sync/api", "forg/sync/client", "forg/sync/feed"},
		outside: []string{"github.com/google/uuid", "modernc.org/sqlite"},
		not:     append([]string{"flag", "log", "log/slog", "os/exec", "os/signal"}, offline...), // the client knows HTTP
	},
	"forg/sync/seal": {
		forg:    []string{"forg/sync/api"},
		outside: []string{"filippo.io/age", "github.com/google/uuid", "golang.org/x/crypto"}, // wraps keys to devices; seals entries
		not:     append([]string{"flag", "log", "log/slog", "math/rand", "os/exec", "os/signal"}, offline...),
	},
	"forg/sync/server/auth": {
		outside: []string{"github.com/golang-jwt/jwt/v5", "github.com/google/uuid", "golang.org/x/crypto"},
		not:     append([]string{"database/sql", "flag", "log", "log/slog", "math/rand", "os/exec", "os/signal"}, offline...),
	},

	"forg/sync/server": {
		forg: []string{"forg/journal", "forg/organizer", "forg/organizer/metadata", "forg/rules", "forg/sync/api", "forg/sync/feed",
			"forg/sync/server/auth", "forg/sync/server/store"},
		outside: []string{
			"github.com/danielgtaylor/huma/v2", "github.com/coder/websocket", "github.com/rs/cors", // HTTP
			"github.com/klauspost/compress", // bodies
			"github.com/gomodule/redigo",    // rate limits that several processes share
			"github.com/riverqueue/river", "github.com/google/uuid",
		},
		not: []string{"flag", "os/exec", "os/signal"},
	},

	// Not in the program.
	"forg/bench": {
		forg:    []string{"forg/sync/server/pgtest", "forg/sync/api"}, // the suite serve
		outside: []string{"github.com/coder/websocket", "github.com/google/uuid", "github.com/tsenart/vegeta/v12", "golang.org/x/crypto/bcrypt"},
	},
	"forg/sync/simnet":        {},                                             // for tests
	"forg/sync/server/pgtest": {outside: []string{"github.com/jackc/pgx/v5"}}, // for tests
	"forg/docs/generate":      {forg: []string{"forg/cmd"}, outside: []string{"github.com/spf13"}},
}

// offline is what a program that never uses the network has no use for.
var offline = []string{"net", "net/http", "net/rpc", "net/smtp", "crypto/tls"}

// testsToo may be imported by tests besides what their package may.
var testsToo = []string{"github.com/chromedp", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "github.com/santhosh-tekuri/jsonschema/v6",
	"github.com/prometheus/client_model", "github.com/prometheus/common", // the reader of what /metrics writes
	"go.uber.org/goleak", // goroutines that nobody ended
	"pgregory.net/rapid"}

func TestDependencies(t *testing.T) {
	seen := map[string]bool{}
	// Files for other systems have imports of their own.
	for _, system := range []string{"linux", "windows", "darwin", "freebsd"} {
		for _, p := range listPackages(t, system) {
			seen[p.ImportPath] = true
			allowed, ok := policy[p.ImportPath]
			if !ok {
				t.Errorf("package %s is not in the policy of deps_test.go", p.ImportPath)
				continue
			}
			check := func(imports []string, test bool) {
				for _, path := range imports {
					first, _, _ := strings.Cut(path, "/")
					switch {
					case path == p.ImportPath:
					case first == "forg":
						if !slices.Contains(allowed.forg, path) && !test {
							t.Errorf("%s: %s must not import %s", system, p.ImportPath, path)
						}
					case strings.Contains(first, "."):
						if !below(path, allowed.outside) && !(test && (below(path, testsToo) || used(path))) {
							t.Errorf("%s: %s must not import %s", system, p.ImportPath, path)
						}
					case slices.Contains(allowed.not, path) && !test:
						t.Errorf("%s: %s must not import %s, or it could not keep its promise", system, p.ImportPath, path)
					}
				}
			}
			check(p.Imports, false)
			check(p.TestImports, true)
			check(p.XTestImports, true)
		}
	}
	for path := range policy {
		if !seen[path] {
			t.Errorf("the policy of deps_test.go speaks of %s, which does not exist", path)
		}
	}
}

// TestServerStaysOut keeps the modules of the server out of everything that works without it: the core, and the whole
// program when it is built without a server.
func TestServerStaysOut(t *testing.T) {
	for _, args := range [][]string{{"./organizer/...", "./journal/...", "./rules/..."}, {"-tags", "noserver", "."}} {
		cmd := exec.Command("go", append([]string{"list", "-deps"}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list %s: %v", args, err)
		}
		for _, path := range strings.Fields(string(out)) {
			if below(path, []string{"forg/sync/server", "github.com/danielgtaylor/huma", "github.com/coder/websocket",
				"github.com/rs/cors", "github.com/riverqueue", "github.com/jackc", "github.com/pressly/goose",
				"github.com/golang-jwt", "github.com/gomodule/redigo"}) {
				t.Errorf("%s: %s is linked", strings.Join(args, " "), path)
			}
		}
	}
}

func below(path string, modules []string) bool {
	return slices.ContainsFunc(modules, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
}

// used reports whether some package of the program may import path: then a test adds no dependency.
func used(path string) bool {
	for _, p := range policy {
		if below(path, p.outside) {
			return true
		}
	}
	return false
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T, system string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s", system, err, &complaint)
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
