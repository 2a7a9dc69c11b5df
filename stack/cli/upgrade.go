package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/handover"
)

func (a *app) upgradeCommand() *cobra.Command {
	var binary string
	var timeout time.Duration
	asJSON := false
	c := &cobra.Command{
		Use: "upgrade", Short: "Replace the running supervisor's program, and nothing else",
		Long: "upgrade has the running supervisor execute its program anew, in the same process: what is on disk by now where it was started from, or --binary. Services,\n" +
			"connections and sockets are not touched; logs, counters and waits go on. The new program first shows in a trial that it can take over. When it cannot, or\n" +
			"gives up while it takes over, the old one stays in charge, and the command fails with the reason. Use 'restart' for the services' own programs.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if binary != "" {
				abs, err := filepath.Abs(binary)
				if err != nil {
					return exit(exitFailure, "%v", err)
				}
				binary = abs
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			u, err := a.upgrade(ctx, binary)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, u)
			}
			fmt.Fprintf(a.out, "upgraded from %s to %s, nobody supervised for %d ms\n", u.From, u.To, u.PauseMillis)
			return nil
		},
	}
	c.Flags().StringVar(&binary, "binary", "", "`program` to execute (default: the path the supervisor was started from)")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for the outcome")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// upgrade asks for it and waits for the outcome, which the next program tells.
func (a *app) upgrade(ctx context.Context, binary string) (*api.Upgrade, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	asked, err := client.Upgrade(ctx, binary)
	if err != nil {
		return nil, outcome(err)
	}
	for {
		s, err := client.Status(ctx)
		switch {
		case err == nil && s.Upgrade != nil && s.Upgrade.ID >= asked.ID:
			if !s.Upgrade.OK {
				return nil, exit(exitFailure, "not upgraded, nothing changed: %s", harmlessLines(s.Upgrade.Error))
			}
			return s.Upgrade, nil
		case ctx.Err() != nil:
			return nil, exit(exitNotReady, "the outcome is not known in time; see 'sentinel-stack status'")
		case errors.Is(err, api.ErrNotRunning):
			return nil, exit(exitFailure, "the supervisor has ended during the upgrade")
		}
		select { // the connection breaks when the program is replaced, and the next one waits in the backlog
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// upgradeCheckCommand is the trial of an upgrade: the running supervisor starts the new program with it.
func (a *app) upgradeCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: handover.TrialCommand, Short: "Say whether this program could take over from a running supervisor", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			in := a.inherited
			if in == nil {
				return exit(exitUsage, "a running supervisor starts this command; see 'sentinel-stack upgrade'")
			}
			if err := a.understands(in.State.Args); err != nil {
				return exit(exitFailure, "this version does not know the command line of the running supervisor: %v", err)
			}
			if err := daemon.CheckState(in.State, host()); err != nil {
				return exit(exitFailure, "%v", err)
			}
			return json.NewEncoder(a.out).Encode(handover.Answer{Format: handover.Format, Version: a.version})
		},
	}
}

// understands parses the command line of a running supervisor.
func (a *app) understands(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("it has no command: %s", strings.Join(args, " "))
	}
	c, flags, err := (&app{version: a.version, out: a.out, err: a.err}).root().Find(args[1:])
	if err != nil {
		return err
	}
	if c.Name() != "up" {
		return fmt.Errorf("%q runs no supervisor", c.Name())
	}
	return c.ParseFlags(flags)
}

// options are those of a supervisor of this program.
func (a *app) options(f upFlags, config, dir string, patience context.Context) daemon.Options {
	exe, _ := os.Executable()
	return daemon.Options{
		Config: config, RuntimeDir: dir, Host: host(), Version: a.version, LogDir: f.logDir, MetricsAddress: f.metrics, Patience: patience,
		Args: os.Args, Binary: exe, Thread: a.thread,
	}
}

// goOn takes over from the program that was here before.
func (a *app) goOn(ctx context.Context, f upFlags) error {
	in := a.inherited
	ctx, patience, stop := attendEnd(ctx)
	defer stop()
	s := in.State
	printed := make(chan struct{})
	close(printed)
	o := a.options(f, s.Config, s.RuntimeDir, patience)
	o.Resume, o.Detached, o.Args = in, s.Detached, s.Args
	o.Started = func(d *daemon.Daemon) {
		if !s.Detached && !f.quiet {
			printed = a.printLogs(d.Logs(), 0)
		}
		go attendSignals(ctx, d, a.early)
	}
	err := daemon.Run(ctx, o)
	var refusal *handover.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	a.tookOver = true
	forget(s.Config)
	<-printed
	return runError(err)
}

// giveBack executes the program that was here before; it returns only when there is none, or when that failed.
func (a *app) giveBack(why error) error {
	in := a.inherited
	if in == nil || in.Trial() || a.thread == nil {
		return why
	}
	if why == nil {
		why = errors.New("it did not take over")
	}
	return exit(exitFailure, "%v", in.GiveBack(a.thread, why))
}
