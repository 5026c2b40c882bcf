//go:build !linux

package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// treeState is what every system tells of dir and what is below it. Owners, attributes and inodes are compared on Linux.
func treeState(dir string) (string, error) {
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		st, err := os.Lstat(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "%q mode %v mtime %d", rel, st.Mode(), st.ModTime().UnixNano())
		if st.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " size %d sha256 %x", st.Size(), sha256.Sum256(content))
		}
		all.WriteByte('\n')
		return nil
	})
	return all.String(), err
}

func onlyLinux(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("only on Linux: begin the script with [!linux] skip 'NOT TESTED: ...'")
}

var xattrVerb, fifoVerb, socketVerb, mountVerb = onlyLinux, onlyLinux, onlyLinux, onlyLinux

func canMount() bool { return false }

func plainly(f func() error) error { return f() }
