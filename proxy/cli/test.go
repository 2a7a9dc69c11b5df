package cli

import (
	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// testCommand checks a configuration by everything that starting would do, short of accepting clients. build makes the running
// objects of a configuration and closes them again.
func testCommand(build func(*config.Loaded) error) *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "test [--config FILE]",
		Short: "Check a configuration as starting would",
		Long: `Reads, decodes and checks the configuration, then builds everything that serving needs (files are opened, names resolved,
expressions compiled) and closes it again. Nothing is bound and no client is accepted.

Exit codes: 0 valid, 3 invalid.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := s.load()
			if err == nil {
				err = build(l)
			}
			return s.judge(c, l, err)
		},
	}
	s.flags(c)
	return c
}
