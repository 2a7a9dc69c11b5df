package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) restartCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restart SERVICE", Short: "Replace a service by a new process",
		Long: "restart starts a new process, waits until it is ready and only then lets the old one drain. When the new one does not become\nready, it is killed, the old one stays, and the command fails with the reason.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.act(c.Context(), args[0], (*api.Client).Restart)
		},
	}
}
