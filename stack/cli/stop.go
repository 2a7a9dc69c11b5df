package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop SERVICE", Short: "Stop a service until it is started again",
		Long: "stop asks a service to end and returns when none of its processes is left. It stays stopped until start, restart or the next up.\nThe name of an agent with several instances means all of them, that of one is like waf/2.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.actOnAll(c.Context(), args[0], (*api.Client).Stop)
		},
	}
}
