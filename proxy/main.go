// Command sentinel is the proxy. It runs alone (sentinel --config sentinel.kdl), under sentinel-stack, or under any other supervisor.
package main

import (
	"os"

	"github.com/sentinel-stack/sentinel/proxy/cli"
)

var version = "dev"

func main() { os.Exit(cli.Main(version, os.Args[1:], os.Stdout, os.Stderr)) }
