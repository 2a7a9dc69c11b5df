package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// schemaCommand prints the grammar of the configuration.
func schemaCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "schema [--config FILE] [--format text|markdown|json]",
		Short: "Print every configuration key with its type and default",
		Long: `Prints the reference page of the configuration: text and markdown are the same. With --config, the file is checked first, like
validate does, so that what is printed is known to be about a file that this program reads.

Exit codes: 0 printed, 3 the file named by --config is invalid.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := oneOf(s.format, "text", "markdown", "json"); err != nil {
				return err
			}
			if c.Flags().Changed("config") {
				if l, err := config.Load(s.path, config.Options{}); err != nil {
					return s.judge(c, l, err)
				}
			}
			page := config.SchemaMarkdown()
			if s.format == "json" {
				var err error
				if page, err = config.SchemaJSON(); err != nil {
					return err
				}
			}
			_, err := c.OutOrStdout().Write(page)
			return err
		},
	}
	s.flags(c)
	c.Flags().Lookup("format").Usage = "text, markdown or json"
	return c
}
