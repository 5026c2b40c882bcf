// Command plain reads what `go test -json` writes and prints what `go test` would: the closing line of each package,
// and all that failed tests said. It fails when a test failed or was skipped.
//
//	go test -json ./... | go run .ci/plain.go
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct{ Action, Package, Test, Output string }

func main() {
	said := map[[2]string]*strings.Builder{}
	var skipped []string
	bad := false
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil { // of the go command itself
				os.Stdout.Write(line)
			}
			key := [2]string{e.Package, e.Test}
			switch {
			case e.Action == "build-output", e.Action == "output" && e.Test == "" && e.Output != "PASS\n":
				fmt.Print(e.Output)
			case e.Action == "output":
				if said[key] == nil {
					said[key] = &strings.Builder{}
				}
				said[key].WriteString(e.Output)
			case e.Action == "fail" && e.Test != "" && said[key] != nil:
				fmt.Print(said[key])
			case e.Action == "skip" && e.Test != "":
				skipped = append(skipped, e.Package+" "+e.Test)
				fmt.Print(said[key])
			}
			bad = bad || e.Action == "fail" || e.Action == "build-fail"
			if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
				delete(said, key)
			}
		}
		if err != nil {
			break
		}
	}
	for _, s := range skipped {
		fmt.Println("SKIPPED, and in CI that is a failure:", s)
	}
	if bad || len(skipped) > 0 {
		os.Exit(1)
	}
}
