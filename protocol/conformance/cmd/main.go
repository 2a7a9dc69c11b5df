// Sentinel-conformance tests an agent, written in whatever language, against SPEC.md: it plays proxies that keep the rules and proxies that break them.
//
//	sentinel-conformance --socket /run/agent.sock          an agent that runs
//	sentinel-conformance -- ./my-agent --socket {socket}   one that it starts, and stops to see it drain
//
// The exit code is 0 when every check passed, 1 when one failed, 2 for wrong usage or an agent that cannot be reached.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/protocol/conformance"
)

var version = "dev" // set by the linker

const (
	exitPassed = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	socket   string
	only     string
	patience time.Duration
	json     bool
	list     bool
	verbose  bool
	version  bool
	command  []string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("sentinel-conformance", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: sentinel-conformance [flags] --socket PATH\n       sentinel-conformance [flags] -- COMMAND ARGS   ({socket} in ARGS is the path to listen on)\n")
		fs.PrintDefaults()
	}
	fs.StringVar(&o.socket, "socket", "", "`path` of the socket of an agent that runs")
	fs.StringVar(&o.only, "only", "", "run the checks whose name contains this `text`")
	fs.DurationVar(&o.patience, "patience", 10*time.Second, "how long to wait for what must come; the handshake's deadline of two seconds is in it")
	fs.BoolVar(&o.json, "json", false, "report as JSON")
	fs.BoolVar(&o.list, "list", false, "list the checks and run none")
	fs.BoolVar(&o.verbose, "verbose", false, "pass the output of a started agent on to standard error")
	fs.BoolVar(&o.version, "version", false, "print the version")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = fs.Args()
	if o.list || o.version {
		return o, nil
	}
	if (o.socket == "") == (len(o.command) == 0) {
		err = errors.New("give either --socket or a command, not both")
	}
	if o.patience < 3*time.Second {
		err = errors.New("--patience: three seconds are the least, because an agent may take two to close")
	}
	return o, err
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitPassed
	case err != nil:
		fmt.Fprintf(stderr, "sentinel-conformance: %v\n", err)
		return exitUsage
	case o.version:
		fmt.Fprintf(stdout, "sentinel-conformance %s\n", version)
		return exitPassed
	}
	checks := chosen(o.only)
	if len(checks) == 0 {
		fmt.Fprintf(stderr, "sentinel-conformance: no check is named %q; --list shows them\n", o.only)
		return exitUsage
	}
	if o.list {
		for _, c := range checks {
			fmt.Fprintf(stdout, "§%-3s %-32s %s\n", c.Section, c.Name, c.About)
		}
		return exitPassed
	}
	report, err := tryAll(checks, o, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "sentinel-conformance: %v\n", err)
		return exitUsage
	}
	write := report.Text
	if o.json {
		write = report.JSON
	}
	if err := write(stdout); err != nil || report.Failed > 0 {
		return exitFailed
	}
	return exitPassed
}

func chosen(only string) (out []conformance.Check) {
	for _, c := range conformance.Checks() {
		if strings.Contains(c.Name, only) {
			out = append(out, c)
		}
	}
	return out
}

// tryAll runs the checks. An agent that ends during one has failed it, and is started again for the next.
func tryAll(checks []conformance.Check, o options, stderr io.Writer) (*conformance.Report, error) {
	report := new(conformance.Report)
	if len(o.command) == 0 {
		for _, c := range checks {
			report.Add(c.Try(&conformance.Agent{Socket: o.socket, Patience: o.patience}))
		}
		return report, nil
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	log := io.Discard
	if o.verbose {
		log = stderr
	}
	var p *conformance.Process
	defer func() {
		if p != nil {
			p.Kill()
		}
	}()
	for _, c := range checks {
		if p == nil {
			var err error
			if p, err = conformance.Start(o.command, log); err != nil {
				return nil, err
			}
		}
		result := c.Try(&conformance.Agent{Socket: p.Socket, Stop: p.Stop, Patience: o.patience})
		if state := p.Ended(); state != "" {
			if !c.Stops {
				result.Outcome, result.Problems = conformance.Failed, append(result.Problems, "the agent ended: "+state)
			}
			p.Kill()
			p = nil
		}
		report.Add(result)
		select {
		case <-interrupted:
			return nil, errors.New("interrupted")
		default:
		}
	}
	return report, nil
}
