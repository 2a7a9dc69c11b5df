// Sentinel-echo is the agent that writes what it sees into headers. It is the skeleton other agents are copied from: every ability an agent may have is here
// once, in its smallest form. Its manual page is README.md.
package main

import (
	"os"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

var version = "dev" // set by the linker

func main() { os.Exit(agent.Main(newEcho(version))) }
