package cmd

import "github.com/spf13/cobra"

func (a *app) rulesSuggestCmd() *cobra.Command { return &cobra.Command{Use: "suggest"} }
