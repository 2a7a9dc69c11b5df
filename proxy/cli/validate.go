package cli

import "github.com/spf13/cobra"

// validateCommand checks the text of a configuration only.
func validateCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "validate [--config FILE]",
		Short: "Check the text of a configuration",
		Long: `Reads, decodes and checks the configuration and everything it includes. Unlike test it touches no other file, no socket and
no network, so it also works on a machine where the proxy will not run.

Exit codes: 0 valid, 3 invalid.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			return s.judge(c, l, err)
		},
	}
	s.flags(c)
	return c
}
