package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use: "start SERVICE", Short: "Start a stopped service",
		Long: "start starts a service that was stopped or that waits after failures, and returns when it is ready.\nThe name of an agent with several instances means all of them, that of one is like waf/2.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.actOnAll(c.Context(), args[0], (*api.Client).Start)
		},
	}
}
