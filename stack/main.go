// Command sentinel-stack runs the proxy and its agents as one system, and talks to it.
package main

import (
	"os"

	"github.com/sentinel-stack/sentinel/stack/cli"
)

// version is set by the linker for releases.
var version = "dev"

func main() { os.Exit(cli.Main(version, os.Args[1:], os.Stdout, os.Stderr)) }
