package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// inspection is what inspect prints with --format json.
type inspection struct {
	Config   string           `json:"config"`
	Hash     string           `json:"hash"`
	Files    []string         `json:"files"`
	Settings []config.Setting `json:"settings"`
}

// inspectCommand prints the effective configuration with the origin of each value.
func inspectCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "inspect [--config FILE]",
		Short: "Print the effective configuration and where each value comes from",
		Long: `Prints every value that is in force: its place in a file, or "default". Strings with environment variables are shown as they
are written.

Exit codes: 0 valid, 3 invalid.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			if err != nil {
				return s.judge(c, l, err)
			}
			if s.format == "json" {
				return writeJSON(c.OutOrStdout(), inspection{Config: s.path, Hash: l.Hash, Files: l.Files, Settings: l.Settings()})
			}
			_, err = fmt.Fprint(c.OutOrStdout(), l.Describe())
			return err
		},
	}
	s.flags(c)
	return c
}
