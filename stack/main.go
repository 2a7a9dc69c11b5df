// Command sentinel-stack runs the proxy and its agents as one system, and talks to it.
package main

import (
	"os"
	"runtime"

	"github.com/sentinel-stack/sentinel/stack/cli"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover/early"
)

// version is set by the linker for releases.
var version = "dev"

// The first thread forks the services and is the one that goes on when the supervisor replaces its own program; see exec.Thread.
func init() { runtime.LockOSThread() }

func main() {
	thread := exec.FirstThread()
	code := 0
	go func() {
		defer thread.Close()
		code = cli.Main(version, os.Args[1:], os.Stdout, os.Stderr, thread, early.Signals)
	}()
	thread.Serve()
	os.Exit(code)
}
