// Package cli is the command line of sentinel-stack: one file per subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover"
)

// Exit codes. They are part of the interface.
const (
	exitOK         = 0
	exitFailure    = 1
	exitUsage      = 2 // wrong usage, or diff: there are changes
	exitInvalid    = 3 // the configuration is invalid
	exitRunning    = 4 // another supervisor runs
	exitNotRunning = 5
	exitNotReady   = 6 // it runs, but not everything became ready in time
)

const exitHelp = `Exit codes: 0 ok · 1 failure · 2 wrong usage, or there are changes (diff) · 3 configuration invalid · 4 already running ·
5 not running · 6 not ready in time`

// exitError carries the exit code of a command that ran. Errors of any other type come from parsing the command line.
type exitError struct {
	code int
	err  error // nil = nothing to say
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func exit(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// app is what the subcommands share: where output goes, and the global flags.
type app struct {
	version    string
	out, err   io.Writer
	config     string              // --config, "" = search
	runtimeDir string              // --runtime-dir, "" = search
	thread     *exec.Thread        // nil = there is none to give away
	inherited  *handover.Inherited // nil = this program was not executed in place of another
	tookOver   bool                // there is no way back
	early      chan os.Signal      // signals that came before anybody attended to them
}

// Main runs the command line and returns the exit code. A supervisor forks on thread; without one it cannot replace its own program. caught are the signals that came before.
func Main(version string, args []string, stdout, stderr io.Writer, thread *exec.Thread, caught chan os.Signal) int {
	a := &app{version: version, out: stdout, err: stderr, thread: thread, early: caught}
	var err error
	if a.inherited, err = handover.Take(); err != nil {
		fmt.Fprintf(stderr, "sentinel-stack: %v\n", a.giveBack(err))
		return exitFailure
	}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err = root.ExecuteContext(context.Background())
	if a.inherited != nil && !a.tookOver {
		err = a.giveBack(err)
	}
	if err == nil {
		return exitOK
	}
	var e *exitError
	if !errors.As(err, &e) {
		fmt.Fprintf(stderr, "sentinel-stack: %v\nRun 'sentinel-stack --help' for usage.\n", err)
		return exitUsage
	}
	if e.err != nil {
		fmt.Fprintf(stderr, "sentinel-stack: %v\n", e.err)
	}
	return e.code
}

// Root is the command tree, for generated documentation.
func Root(version string) *cobra.Command {
	return (&app{version: version, out: os.Stdout, err: os.Stderr}).root()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sentinel-stack",
		Short: "Run the Sentinel proxy and its agents as one system",
		Long: "sentinel-stack reads one configuration file, runs the proxy and the agents it names, keeps them running, and holds their sockets, so that\n" +
			"no connection is refused while a process restarts.\n\n" + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.Version = a.version
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	f := root.PersistentFlags()
	f.StringVarP(&a.config, "config", "c", os.Getenv("SENTINEL_CONFIG"), "configuration `file` (default ./sentinel.kdl, /etc/sentinel/sentinel.kdl, else a built-in status page)")
	f.StringVar(&a.runtimeDir, "runtime-dir", "", "`directory` of sockets and state (default: stack.runtime-dir, $SENTINEL_RUNTIME_DIR, $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/sentinel, else a private one)")
	root.AddCommand(a.upCommand(), a.downCommand(), a.statusCommand(), a.logsCommand(), a.restartCommand(), a.startCommand(), a.stopCommand(), a.killCommand(), a.scaleCommand(), a.inspectCommand(), a.reloadCommand(),
		a.diffCommand(), a.validateCommand(), a.eventsCommand(), a.topCommand(), a.upgradeCommand(), a.upgradeCheckCommand(), a.initCommand(), a.versionCommand(), a.completionCommand())
	return root
}

// outcome turns an error of the control client into one with an exit code.
func outcome(err error) error {
	var status *api.StatusError
	var e *exitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, api.ErrNotRunning):
		return &exitError{exitNotRunning, err}
	case errors.As(err, &status) && status.Code == 422:
		return &exitError{exitInvalid, err}
	case errors.As(err, &status) && status.Code == 504:
		return &exitError{exitNotReady, err}
	}
	var running *daemon.RunningError
	if errors.As(err, &running) {
		return &exitError{exitRunning, err}
	}
	return &exitError{exitFailure, err}
}

// serviceNames completes the names of running services.
func (a *app) serviceNames(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, _ := a.services(c.Context())
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
