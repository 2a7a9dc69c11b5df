package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

func (a *app) scaleCommand() *cobra.Command {
	var written, asJSON bool
	c := &cobra.Command{
		Use: "scale AGENT N | AGENT --reset", Short: "Run another number of instances of an agent",
		Long: "scale gives an agent N instances, each a process of its own behind the same filter. Those that are new are ready before the proxy uses them, those that go first finish what they have begun,\n" +
			"and no request is lost. When one does not become ready everything is as before, and the exit code is 1.\n\n" +
			"The number holds, over reloads and upgrades, until the number in the file is edited, until --reset, or until the stack ends. It starts from the configuration that runs; an edit of the file that was\n" +
			"not applied yet is not applied by it. An agent that names its sockets with unix-socket, or that is external, cannot be scaled.",
		Args: func(c *cobra.Command, args []string) error {
			if written {
				return cobra.ExactArgs(1)(c, args)
			}
			return cobra.ExactArgs(2)(c, args)
		},
		ValidArgsFunction: a.agentNames,
		RunE: func(c *cobra.Command, args []string) error {
			n := 0
			if !written {
				var err error
				if n, err = strconv.Atoi(args[1]); err != nil || n < 1 || n > plan.MaxInstances {
					return exit(exitUsage, "%q is no number of instances: 1 to %d; sentinel-stack stop %s ends all of them", args[1], plan.MaxInstances, args[0])
				}
			}
			return a.scale(c.Context(), plan.AgentOf(args[0]), n, asJSON)
		},
	}
	c.Flags().BoolVar(&written, "reset", false, "as many as the file says")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func (a *app) scale(ctx context.Context, agent string, n int, asJSON bool) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := client.Scale(ctx, agent, n)
	if err != nil {
		return outcome(err)
	}
	return a.printResult(r, asJSON, exitFailure, "agent "+agent+" was not scaled")
}

// agentNames completes the names of agents, without those of their instances.
func (a *app) agentNames(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, _ := a.services(c.Context())
	var names []string
	for _, s := range list {
		if name := plan.AgentOf(s.Name); s.Kind == plan.KindAgent && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// printScaled says which agents do not have as many instances as the file says.
func printScaled(w io.Writer, list []api.Scaled) {
	for _, s := range list {
		fmt.Fprintf(w, "agent %s is scaled to %d, the file says %d\n", s.Agent, s.Instances, s.Written)
	}
}
