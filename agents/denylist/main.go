// Sentinel-denylist is the agent that refuses what is on its lists: addresses, countries, methods, hosts, paths, user agents, header fields and query
// parameters. Its manual page is README.md.
//
// This package joins the policy (package policy) to the agent SDK; the matchers, lists and trees are in the packages below it.
package main

import (
	"os"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

var version = "dev" // set by the linker

func main() { os.Exit(agent.Main(newDenylist(version))) }
