package main

import (
	"github.com/spf13/cobra"

	proxycli "github.com/sentinel-stack/sentinel/proxy/cli"
	stackcli "github.com/sentinel-stack/sentinel/stack/cli"
)

// trees returns the command tree of each program that has one.
func trees(version string) []*cobra.Command {
	return []*cobra.Command{proxycli.Root(version), stackcli.Root(version)}
}
