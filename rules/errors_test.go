package rules

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestErrors compares what Parse says of bad files with testdata/errors: archives of rules files (name.yaml), each with
// what must be said of it (name.err). Names on "-windows" are parsed as on Windows, names on "-bare" without a home folder,
// environment and files.
func TestErrors(t *testing.T) {
	archives, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := &txtar.Archive{Comment: a.Comment}
		wanted := map[string]string{}
		for _, f := range a.Files {
			wanted[f.Name] = string(f.Data)
		}
		for _, f := range a.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			got := ""
			opt := testOptions()
			opt.Windows = strings.HasSuffix(name, "-windows")
			if strings.HasSuffix(name, "-bare") {
				opt = Options{Now: testNow}
			}
			r, err := Parse("r.yaml", f.Data, opt)
			switch {
			case err == nil:
				t.Errorf("%s: no error in %s", path, f.Name)
			case r != nil:
				t.Errorf("%s: rules in spite of an error in %s", path, f.Name)
			default:
				got = err.Error() + "\n"
			}
			if diff := cmp.Diff(wanted[name+".err"], got); diff != "" && !*update {
				t.Errorf("%s, %s:\n%s", path, f.Name, diff)
			}
			out.Files = append(out.Files, f, txtar.File{Name: name + ".err", Data: []byte(got)})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(out), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Every message that the source can make stands in some golden file, so that somebody has read it.
func TestEveryErrorIsTried(t *testing.T) {
	archives, _ := filepath.Glob("testdata/errors/*.txtar")
	var golden strings.Builder
	for _, path := range archives {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden.Write(data)
	}
	for _, message := range []string{
		"the file is larger than 4 MB",   // TestLargeFile
		"a pattern cannot be compiled: ", // a safeguard
	} {
		golden.WriteString(message + "\n")
	}
	sources, _ := filepath.Glob("*.go")
	verb := regexp.MustCompile(`%(%|[a-z])`)
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range messages(file) {
			pattern := verb.ReplaceAllStringFunc(regexp.QuoteMeta(format), func(v string) string {
				if v == "%%" {
					return "%"
				}
				return ".*"
			})
			if !regexp.MustCompile(pattern).MatchString(golden.String()) {
				t.Errorf("%s: no golden file has the message %q", path, format)
			}
		}
	}
}

// messages returns the texts given to fail and its like, and to unitError, with %s for what is put into them.
func messages(file *ast.File) []string {
	var all []string
	add := func(e ast.Expr) {
		if call, ok := e.(*ast.CallExpr); ok && len(call.Args) > 0 { // fmt.Sprintf
			e = call.Args[0]
		}
		if s := strings.ReplaceAll(formatOf(e), "%s%s", "%s"); len(s) > 8 {
			all = append(all, s)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			at := -1
			switch f := n.Fun.(type) {
			case *ast.Ident:
				if f.Name == "fail" { // part, offset, hint, format
					at = 3
				}
			case *ast.SelectorExpr:
				x, _ := f.X.(*ast.Ident)
				switch {
				case f.Sel.Name == "failIn" || f.Sel.Name == "failAt":
					at = 2
				case f.Sel.Name == "fail" && x != nil && x.Name == "p": // of templateParser: offset, hint, format
					at = 2
				case f.Sel.Name == "fail":
					at = 1
				}
			}
			if 0 <= at && at < len(n.Args) {
				add(n.Args[at])
			}
		case *ast.CompositeLit:
			if id, ok := n.Type.(*ast.Ident); ok && id.Name == "unitError" && len(n.Elts) == 3 {
				add(n.Elts[1])
			}
		}
		return true
	})
	return all
}

// formatOf returns the text of e with %s for all that is not written there.
func formatOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.BinaryExpr:
		return formatOf(e.X) + formatOf(e.Y)
	}
	return "%s"
}

func TestLargeFile(t *testing.T) {
	_, err := Parse("r.yaml", []byte("rules:\n"+strings.Repeat("# x\n", maxSource/4)), testOptions())
	if err == nil || !strings.HasPrefix(err.Error(), "r.yaml:1:1: the file is larger than 4 MB\n    1 | rules:\n") {
		t.Error(err)
	}
}
