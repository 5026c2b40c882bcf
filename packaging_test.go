//go:build !noserver

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestPackaging: what packaging/ starts is a forg that takes those flags, and systemd has nothing to say about its unit.
func TestPackaging(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	takes := func(from string, args []string) {
		t.Helper()
		if len(args) == 0 || args[0] != "serve" {
			t.Errorf("%s starts forg %q", from, args)
			return
		}
		if out, err := exec.Command("forg", append(args, "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%s starts forg %q: %v\n%s", from, args, err, out)
		}
	}
	unit := read("forg-serve.service")
	start := regexp.MustCompile(`(?m)^ExecStart=(\S+)(.*)$`).FindStringSubmatch(unit)
	if start == nil || start[1] != "/usr/local/bin/forg" {
		t.Fatalf("the unit starts %q", start)
	}
	takes("the unit", strings.Fields(start[2]))

	command := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(read("Dockerfile"))
	var args []string
	if command == nil || json.Unmarshal([]byte(command[1]), &args) != nil {
		t.Fatalf("the image starts %q", command)
	}
	takes("the image", args)

	var compose struct {
		Services map[string]struct {
			Build   struct{ Dockerfile string }
			Command []string
		}
	}
	if err := yaml.Unmarshal([]byte(read("compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for name, s := range compose.Services {
		if s.Build.Dockerfile == "packaging/Dockerfile" {
			ours++
			takes("the service "+name, s.Command)
		}
	}
	if ours != 2 {
		t.Errorf("%d services are forg's, want an API and a worker", ours)
	}

	forg, err := exec.LookPath("forg")
	if err != nil {
		t.Fatal(err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("NOT TESTED: what systemd says of the unit, there is no systemd-analyze")
	}
	path := filepath.Join(t.TempDir(), "forg-serve.service")
	if err := os.WriteFile(path, []byte(strings.Replace(unit, start[1], forg, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd says of the unit: %v\n%s", err, out)
	}
}
