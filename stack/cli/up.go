package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/tui"
)

type upFlags struct {
	detach  bool
	timeout time.Duration
	logDir  string
	metrics string
	quiet   bool
	tui     bool
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the stack",
		Long: "up starts the proxy and its agents and keeps them running until it is told to stop (Ctrl-C, SIGTERM or 'sentinel-stack down'; a second\n" +
			"signal kills what still runs). The configuration is watched: what is edited is checked and applied, and what is invalid changes nothing. SIGHUP reloads, SIGUSR1 reopens log\n" +
			"files. With --detach it returns when everything is ready; with exit code 6 the stack runs, but not all of it is ready. With --tui it runs in the background as well and the dashboard is shown;\n" +
			"leaving that leaves the stack alone.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.tui {
				return a.upAndWatch(c.Context(), f)
			}
			return a.up(c.Context(), f)
		},
	}
	c.Flags().BoolVarP(&f.detach, "detach", "d", false, "run in the background")
	c.Flags().BoolVar(&f.tui, "tui", false, "run in the background and show the dashboard")
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "with --detach or --tui: how long to wait until everything is ready")
	c.Flags().StringVar(&f.logDir, "log-dir", "", "also write what each service logs to JSON files in this `directory`")
	c.Flags().StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics of the stack and the proxy on this `address`, besides the control socket")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "do not print what the services log")
	return c
}

func (a *app) up(ctx context.Context, f upFlags) error {
	if a.inherited != nil {
		return a.goOn(ctx, f)
	}
	path, embedded := a.config, false
	if path == "" {
		path, embedded = plan.Find()
	}
	dir, err := a.chooseRuntimeDir(path)
	if err != nil {
		return exit(exitFailure, "%v", err)
	}
	child, isChild := detachedChild()
	if f.detach && !isChild {
		if embedded {
			a.sayEmbedded()
		}
		return a.detach(dir, f.timeout)
	}
	if embedded && !isChild {
		a.sayEmbedded()
	}
	ctx, patience, stop := attendEnd(ctx)
	defer stop()

	printed := make(chan struct{})
	close(printed)
	o := a.options(f, path, dir, patience)
	o.Detached = isChild
	o.Ready = func(failed error) {
		if isChild {
			child.ready(failed)
		}
	}
	started := false
	o.Started = func(d *daemon.Daemon) {
		started = true
		remember(dir, path)
		if !isChild && !f.quiet {
			printed = a.printLogs(d.Logs(), -1)
		}
		go attendSignals(ctx, d, nil)
	}
	err = daemon.Run(ctx, o)
	if started { // else the note, if there is one, is another's
		forget(path)
	}
	<-printed
	err = runError(err)
	if isChild {
		child.ended(err)
		var e *exitError
		if errors.As(err, &e) {
			return &exitError{code: e.code} // it was said by the command that started this one
		}
	}
	return err
}

// upAndWatch starts the stack in the background and shows the dashboard, also when not everything is ready: that is where one sees why.
func (a *app) upAndWatch(ctx context.Context, f upFlags) error {
	if _, isChild := os.LookupEnv(detachVar); isChild || a.inherited != nil {
		return a.up(ctx, f)
	}
	if !tui.IsTerminal(a.out) {
		return exit(exitUsage, "--tui needs a terminal; --detach starts the stack without one")
	}
	f.detach = true
	err := a.up(ctx, f)
	var e *exitError
	if err != nil && !(errors.As(err, &e) && e.code == exitNotReady) {
		return err
	}
	if err := a.top(ctx, tui.Options{Refresh: tui.DefaultRefresh}); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "the stack runs on; 'sentinel-stack down' ends it, 'sentinel-stack top' shows it again")
	return err
}

func (a *app) sayEmbedded() {
	fmt.Fprintln(a.err, "sentinel-stack: no sentinel.kdl here or in /etc/sentinel: serving the built-in status page on http://127.0.0.1:8080/ ('sentinel-stack init' writes a file)")
}

func runError(err error) error {
	if err == nil {
		return nil
	}
	if plan.IsInvalid(err) {
		return &exitError{exitInvalid, fmt.Errorf("the configuration is invalid\n%w", err)}
	}
	var running *daemon.RunningError
	if errors.As(err, &running) {
		return &exitError{exitRunning, err}
	}
	return &exitError{exitFailure, err}
}

// printLogs shows the last lines, all when past is negative, and what is logged until the store closes.
func (a *app) printLogs(store *logs.Store, past int) chan struct{} {
	before, sub := store.Follow(&logs.Filter{}, past)
	done := make(chan struct{})
	p := newPrinter(a.out)
	go func() {
		defer close(done)
		for _, l := range before {
			p.line(l)
		}
		for {
			l, ok := sub.Next(context.Background())
			if !ok {
				return
			}
			p.line(l)
		}
	}()
	return done
}
