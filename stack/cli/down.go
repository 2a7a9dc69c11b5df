package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/daemon"
)

func (a *app) downCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "down", Short: "Stop the stack",
		Long: "down stops every service in reverse start order, each with its own deadline, and waits until the supervisor has ended.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.down(c.Context(), timeout) },
	}
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for the end")
	return c
}

func (a *app) down(ctx context.Context, timeout time.Duration) error {
	dir, err := a.findRuntimeDir()
	if err != nil {
		return err
	}
	client := api.NewClient(daemon.ControlSocket(dir))
	defer client.Close()
	if err := client.Shutdown(ctx); err != nil {
		return outcome(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for daemon.Owned(dir) {
		select {
		case <-ctx.Done():
			return exit(exitFailure, "the supervisor in %s has not ended within %v", dir, timeout)
		case <-time.After(10 * time.Millisecond):
		}
	}
	fmt.Fprintln(a.out, "stopped")
	return nil
}
