package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/tui"
)

func (a *app) topCommand() *cobra.Command {
	var o tui.Options
	c := &cobra.Command{
		Use: "top", Short: "Show routes, upstreams, agents, services and logs live",
		Long: "top shows the running stack on one screen; where there is no terminal it prints one table. Leaving it never touches the stack.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.top(c.Context(), o) },
	}
	f := c.Flags()
	f.BoolVar(&o.Once, "once", false, "print one table and end")
	f.BoolVar(&o.JSON, "json", false, "print one reading as JSON and end")
	f.DurationVar(&o.Refresh, "refresh", tui.DefaultRefresh, "how often to read")
	f.BoolVar(&o.ASCII, "ascii", false, "use plain characters only")
	f.BoolVar(&o.ReadOnly, "read-only", false, "refuse keys that change something")
	return c
}

func (a *app) top(ctx context.Context, o tui.Options) error {
	dir, err := a.findRuntimeDir()
	if err != nil {
		return err
	}
	o.ControlSocket = daemon.ControlSocket(dir)
	err = tui.Run(ctx, o)
	if tui.IsNotRunning(err) {
		return &exitError{exitNotRunning, err}
	}
	return outcome(err)
}
