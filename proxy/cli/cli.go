// Package cli is the command line of sentinel: one file per subcommand.
package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Exit codes, documented in the manual page.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitInvalid = config.ExitInvalid
)

// Main runs the command line args and returns the exit code.
func Main(version string, args []string, stdout, stderr io.Writer) int {
	root := Root(version)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	return report(err, stderr)
}

// report prints what has not been printed yet and chooses the exit code.
func report(err error, stderr io.Writer) int {
	var exit exitError
	var invalid config.Diagnostics
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(stderr, "sentinel:", exit.err)
		}
		return exit.code
	case errors.As(err, &invalid):
		fmt.Fprintln(stderr, invalid.Error())
		return exitInvalid
	}
	fmt.Fprintln(stderr, "sentinel:", err)
	return exitFailure
}

// exitError carries an exit code; a nil err means that everything has been said.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

// Root is the whole command tree; manual pages and completions are generated from it.
func Root(version string) *cobra.Command {
	root := runCommand(version)
	root.Use = "sentinel [--config FILE]"
	root.Short = "Security-first reverse proxy"
	root.Long = `sentinel serves what one KDL file describes: listeners, routes, upstreams, filters and agents.

Without --config it uses ./sentinel.kdl, then /etc/sentinel/sentinel.kdl, then a built-in status page on 127.0.0.1:8080.

Signals: SIGTERM and SIGINT drain and stop, a second one stops at once, SIGHUP reloads, SIGUSR1 reopens log files, SIGQUIT dumps stacks and aborts.
Exit codes: 0 ended as asked, 1 failure, 2 wrong usage, 3 invalid configuration.`
	root.Version = version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitError{exitUsage, fmt.Errorf("%v (see %s --help)", err, c.CommandPath())}
	})
	root.SetVersionTemplate("sentinel {{.Version}}\n")
	run := runCommand(version)
	run.Use, run.Short = "run [--config FILE]", "Serve (the same as no subcommand)"
	root.AddCommand(run, versionCommand(version))
	root.AddCommand(configCommands(version)...)
	return root
}

func versionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), "sentinel", version) },
	}
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exitError{exitUsage, fmt.Errorf("unknown argument %q (see %s --help)", args[0], c.CommandPath())}
	}
	return nil
}
