package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// schemaCommand prints the grammar of the configuration.
func schemaCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "schema [--format markdown|json]",
		Short: "Print every configuration key with its type and default",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := oneOf(format, "markdown", "json"); err != nil {
				return err
			}
			page := config.SchemaMarkdown()
			if format == "json" {
				var err error
				if page, err = config.SchemaJSON(); err != nil {
					return err
				}
			}
			_, err := c.OutOrStdout().Write(page)
			return err
		},
	}
	c.Flags().StringVar(&format, "format", "markdown", "markdown or json")
	return c
}
