// Package cmd is forg's command line: flags, config, terminal, exit codes.
package cmd

// Main runs forg and returns its exit code.
func Main() int { return 0 }
