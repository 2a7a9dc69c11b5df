package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) restartCommand() *cobra.Command {
	var rolling bool
	var trial time.Duration
	c := &cobra.Command{
		Use: "restart SERVICE… | --rolling", Short: "Replace services by new processes, one after the other",
		Long: "restart starts a new process, waits until it is ready and only then lets the old one drain. When the new one does not become\nready, it is killed, the old one stays, and the command fails with the reason.\n\n" +
			"With several services, or --rolling for all that run, each begins when the one before is ready and its old process has gone; the first failure ends it.\nAn agent with several instances is several services; waf/2 is one of them.\n\n" +
			"With --canary both processes serve for the given time. When the new one ends meanwhile, hangs, fails a probe or exceeds a limit, it is gone, the old\none stays and the command fails. Extra services, of which only one process may run, cannot be tried.",
		ValidArgsFunction: a.serviceNames,
		Args: func(c *cobra.Command, args []string) error {
			if rolling {
				return cobra.NoArgs(c, args)
			}
			return cobra.MinimumNArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if trial < 0 || trial > 0 && trial < time.Millisecond {
				return exit(exitUsage, "--canary %v is too short", trial)
			}
			if rolling {
				var err error
				if args, err = a.running(c.Context()); err != nil {
					return err
				}
			}
			restart := func(client *api.Client, ctx context.Context, name string) (*api.Service, error) {
				return client.RestartWith(ctx, name, trial)
			}
			args, err := a.allInstances(c.Context(), args)
			if err != nil {
				return err
			}
			if len(args) == 1 && trial == 0 && !rolling {
				restart = (*api.Client).Restart
			}
			for _, name := range args {
				if err := a.act(c.Context(), name, restart); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&rolling, "rolling", false, "all services that run, in start order")
	c.Flags().DurationVar(&trial, "canary", 0, "`time` for which the new process serves beside the old one before it takes over, such as 30s")
	return c
}

// allInstances puts the instances in the place of agents that have several.
func (a *app) allInstances(ctx context.Context, names []string) (all []string, err error) {
	for _, name := range names {
		found, err := a.instances(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// running lists the services that somebody wants to run.
func (a *app) running(ctx context.Context) (names []string, err error) {
	list, err := a.services(ctx)
	for _, s := range list {
		if s.State != "stopped" && s.State != "stopping" {
			names = append(names, s.Name)
		}
	}
	return names, err
}
