package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) diffCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use: "diff", Short: "Show what a reload would do",
		Long: "diff compares the configuration as it is now with what runs. Exit code 0: no difference, 2: there are changes, 3: the configuration is invalid.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			p, err := client.Diff(c.Context())
			if err != nil {
				return outcome(err)
			}
			if asJSON {
				if err := writeJSON(a.out, p); err != nil {
					return exit(exitFailure, "%v", err)
				}
			} else if len(p.Changes) == 0 {
				fmt.Fprintln(a.out, "no changes")
			} else {
				printPlan(a.out, p)
			}
			if len(p.Changes) > 0 {
				return &exitError{code: exitUsage}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func printPlan(w io.Writer, p *api.Plan) {
	for _, c := range p.Changes {
		line := fmt.Sprintf("%s %s %s", c.Op, c.Kind, c.Name)
		if c.Name == c.Kind {
			line = c.Op + " " + c.Kind
		}
		line += " (" + c.Action + ")"
		if c.Detail != "" {
			line += ": " + c.Detail
		}
		fmt.Fprintln(w, harmless(line))
	}
}
