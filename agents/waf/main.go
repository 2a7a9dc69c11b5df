// Sentinel-waf is the web application firewall: the OWASP Core Rule Set, and rules of the operator's, on requests and responses. Its manual page is README.md.
//
// This package joins the rules (package ruleset) and the log of what they found (package audit) to the agent SDK.
package main

import (
	"fmt"
	"os"

	"github.com/sentinel-stack/sentinel/protocol/agent"
)

var version = "dev" // set by the linker

func main() {
	w, err := newWAF(version)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sentinel-waf:", err)
		os.Exit(1)
	}
	os.Exit(agent.Main(w))
}
