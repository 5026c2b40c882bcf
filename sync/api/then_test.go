package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// words are what the table of PROTOCOL.md says a client does after a problem.
var words = map[string]Then{
	"a bug: stop, tell":                   Stop,
	"refresh once, then stop and tell":    Stop,
	"stop, tell":                          Stop,
	"stop, tell; of a command: forget it": Stop,
	"again":                               Again,
	"again after `retry_after`":           Again,
	"again much later, tell":              AgainLater,
	"look again":                          LookAgain,
	"tell":                                Tell,
	"a bug: tell":                         Tell,
	"go on after `acked_seq`":             GoOn,
	"begin a new epoch, tell":             NewEpoch,
	"stop, tell, forget the credentials":  Revoked,
	"forget the command; its result is in the log":                      ForgetIt,
	"begin again after 0":                                               FromZero,
	"halve the push; of one entry: a bug, stop, tell":                   Halve,
	"make the push anew, sealed, else stop, tell":                       Reseal,
	"again without compression":                                         Uncompressed,
	"a bug: park the push, tell which field":                            Park,
	"speak one of `protocols`, else stop and say which side is too old": Speak,
}

// TestThen holds the table of errors to what a client does.
func TestThen(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| code | status | then (client) |\n")
	if !ok {
		t.Fatal("PROTOCOL.md has no table of errors")
	}
	rows := 0
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\| (\\d+) \\| (.+) \\|$")
	for line := range strings.SplitSeq(table, "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rows++
		p := NewProblem(Code(m[1]), "")
		want, ok := words[m[3]]
		if !ok {
			t.Errorf("%s: nobody knows what %q means", p.Code, m[3])
			continue
		}
		if got := p.Then(); got != want {
			t.Errorf("%s: %d, want %d: %s", p.Code, got, want, m[3])
		}
		if strings.HasPrefix(m[3], "a bug") != p.Bug() {
			t.Errorf("%s: Bug is %t: %s", p.Code, p.Bug(), m[3])
		}
	}
	if rows != len(problemKinds) || len(thens) != len(problemKinds) {
		t.Errorf("the table has %d codes, the code %d, and what follows is told for %d", rows, len(problemKinds), len(thens))
	}
	for status, want := range map[int]Then{400: Stop, 401: Stop, 404: Stop, 408: Again, 418: Stop, 429: Again, 500: Again, 502: Again, 503: Again, 599: Again} {
		if got := (&Problem{Status: status, Code: "of_a_newer_server"}).Then(); got != want {
			t.Errorf("an unknown code with %d: %d, want %d", status, got, want)
		}
	}
}
