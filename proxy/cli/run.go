package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/run"
)

func runCommand(version string) *cobra.Command {
	var path string
	c := &cobra.Command{
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if path == "" {
				path = config.FindFile()
			}
			return run.Run(c.Context(), run.Options{Config: path, Version: version, Stderr: c.ErrOrStderr(), Stdout: c.OutOrStdout()})
		},
	}
	c.Flags().StringVarP(&path, "config", "c", os.Getenv("SENTINEL_CONFIG"), "configuration file (also $SENTINEL_CONFIG)")
	return c
}
