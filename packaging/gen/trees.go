package main

import (
	"github.com/spf13/cobra"

	proxycli "github.com/sentinel-stack/sentinel/proxy/cli"
)

// trees returns the command tree of each program that has one.
func trees(version string) []*cobra.Command {
	return []*cobra.Command{proxycli.Root(version)}
}
