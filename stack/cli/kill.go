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
			"ends of it counts as crashed and is started again as its restart policy says: use stop to end it for good. The name of an agent with several\ninstances means all of them, that of one is like waf/2.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			names, err := a.instances(c.Context(), args[0])
			for _, name := range names {
				if err = a.killed(c.Context(), client, name, signal); err != nil {
					break
				}
			}
			return err
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
