package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) killCommand() *cobra.Command {
	var signal string
	c := &cobra.Command{
		Use: "kill SERVICE", Short: "Send a signal to the processes of a service",
		Long: "kill sends a signal, SIGKILL unless told otherwise, to the process of a service and to those of its predecessors that still drain. What it has started dies with it. A service that\n" +
			"ends of it counts as crashed and is started again as its restart policy says: use stop to end it for good.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			return a.killed(c.Context(), client, args[0], signal)
		},
	}
	c.Flags().StringVarP(&signal, "signal", "s", "KILL", "`name` of the signal, such as HUP or USR1")
	return c
}

func (a *app) killed(ctx context.Context, client *api.Client, name, signal string) error {
	if _, err := client.Kill(ctx, name, signal); err != nil {
		return outcome(err)
	}
	_, err := fmt.Fprintf(a.out, "%s was sent %s\n", name, signal)
	return err
}
