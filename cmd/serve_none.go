//go:build noserver

package cmd

import (
	"errors"

	"github.com/spf13/cobra"
)

// serveCmd says that this program is the smaller one.
func (a *app) serveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the hosted API (not in this program)", DisableFlagParsing: true,
		Long:    help("This forg was built without the server (-tags noserver).", exitUsageText),
		Example: "  forg serve",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("this forg was built without the server; build it without -tags noserver, or download the complete one")
		},
	}
}
