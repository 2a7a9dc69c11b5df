package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) inspectCommand() *cobra.Command {
	c := &cobra.Command{Use: "inspect", Short: "Look closely at a part of the running stack"}
	c.AddCommand(a.inspectSandboxCommand())
	return c
}

func (a *app) inspectSandboxCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "sandbox SERVICE", Short: "Show what a service may not do, layer by layer",
		Long: "inspect sandbox looks at the running process of a service and tells for each layer of its sandbox whether it is enforced, and if not, why. Missing is what was\n" +
			"asked for and this host does not have. The name of an agent with several instances means all of them; JSON then has a line for each.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			names, err := a.instances(c.Context(), args[0])
			for _, name := range names {
				if err = a.showSandbox(c.Context(), client, name, asJSON); err != nil {
					break
				}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showSandbox(ctx context.Context, client *api.Client, name string, asJSON bool) error {
	s, err := client.Sandbox(ctx, name)
	switch {
	case err != nil:
		return outcome(err)
	case asJSON:
		return json.NewEncoder(a.out).Encode(s)
	}
	return printSandbox(a.out, s)
}

func printSandbox(w io.Writer, s *api.Sandbox) error {
	if s.PID == 0 {
		_, err := fmt.Fprintf(w, "%s does not run\n", s.Service)
		return err
	}
	fmt.Fprintf(w, "%s, pid %d\n\n", s.Service, s.PID)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "LAYER\tSTATE\tWHAT")
	for _, l := range s.Layers {
		what := l.Detail
		if l.Why != "" {
			if what != "" && l.State != "off" {
				what += "; "
			} else if what != "" {
				what += " — "
			}
			what += l.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.State, harmless(what))
	}
	return t.Flush()
}
