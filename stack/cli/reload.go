package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) reloadCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use: "reload", Short: "Load the configuration again and apply what changed",
		Long: "reload loads the configuration and applies what changed and nothing else. When anything fails, everything is as before, and the exit code is 3.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			r, err := client.Reload(c.Context())
			if err != nil {
				return outcome(err)
			}
			return a.printResult(r, asJSON, exitInvalid, "reload refused")
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// printResult says how a change ended; one that was refused is an error of the given code that begins with refused.
func (a *app) printResult(r *api.ReloadResult, asJSON bool, code int, refused string) error {
	if asJSON {
		if err := writeJSON(a.out, r); err != nil {
			return exit(exitFailure, "%v", err)
		}
	}
	switch {
	case !r.OK:
		return &exitError{code, errors.New(refused + ", nothing changed\n" + harmlessLines(r.Error))}
	case asJSON:
	case !r.Changed:
		fmt.Fprintf(a.out, "nothing to do, generation %d\n", r.Generation)
	default:
		printPlan(a.out, &r.Plan)
		fmt.Fprintf(a.out, "applied in %d ms, generation %d\n", r.TookMillis, r.Generation)
	}
	return nil
}
