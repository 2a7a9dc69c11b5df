package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	var every time.Duration
	c := &cobra.Command{
		Use: "status", Short: "Show the services and sockets of the running stack", Args: cobra.NoArgs,
		Long: "status shows the services and sockets of the running stack. With --watch it shows them again and again until it is interrupted or the stack ends (exit code 5): on a terminal in place, elsewhere one\n" +
			"below the other, with --json one line for each.",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			if watch {
				if every < minWatch {
					return exit(exitUsage, "--interval %v is too short: %v or more", every, minWatch)
				}
				ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
				defer stop()
				return a.watchStatus(ctx, client, every, asJSON)
			}
			s, err := client.Status(c.Context())
			if err != nil {
				return outcome(err)
			}
			if asJSON {
				return writeJSON(a.out, s)
			}
			printStatus(a.out, s, time.Now())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "again and again")
	c.Flags().DurationVar(&every, "interval", 2*time.Second, "with --watch: how often")
	return c
}

// minWatch keeps a watcher from being a load.
const minWatch = 100 * time.Millisecond

// clearScreen moves home and clears what is below: nothing flickers.
const clearScreen = "\x1b[H\x1b[J"

// watchStatus shows the status until ctx ends, which is no error, or the supervisor is gone.
func (a *app) watchStatus(ctx context.Context, client *api.Client, every time.Duration, asJSON bool) error {
	inPlace := !asJSON && tui.IsTerminal(a.out)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		s, err := client.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return outcome(err)
		case asJSON:
			err = json.NewEncoder(a.out).Encode(s)
		default:
			var text strings.Builder // at once: no half of a table is ever seen
			switch {
			case inPlace:
				text.WriteString(clearScreen)
			case !first:
				text.WriteByte('\n')
			}
			printStatus(&text, s, time.Now())
			_, err = io.WriteString(a.out, text.String())
		}
		if err != nil {
			return exit(exitFailure, "%v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printStatus(w io.Writer, s *api.Status, now time.Time) {
	file := s.ConfigFile
	if file == "" {
		file = "built-in status page"
	}
	fmt.Fprintf(w, "sentinel-stack %s · pid %d · up %s · generation %d · %s\n", s.Version, s.PID, age(now.Sub(s.Started)), s.Generation, file)
	fmt.Fprintf(w, "runtime directory %s\n", s.RuntimeDir)
	if r := s.LastReload; r != nil && !r.OK {
		fmt.Fprintf(w, "last reload refused %s ago, nothing changed: %s\n", age(now.Sub(r.At)), harmlessLines(r.Error))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tKIND\tSTATE\tPID\tUP\tRESTARTS\tCPU\tMEMORY\tREASON")
	for _, v := range s.Services {
		pid, up, cpu, mem := "-", "-", "-", "-"
		if v.PID != 0 {
			pid, up = fmt.Sprint(v.PID), age(now.Sub(v.Started))
			cpu, mem = fmt.Sprintf("%.1f%%", v.CPUPercent), bytesText(v.RSSBytes)
		}
		reason := v.Reason
		if v.Adopted {
			reason = strings.TrimSuffix("adopted from an earlier supervisor; "+reason, "; ")
		}
		if !v.NextStart.IsZero() {
			reason = fmt.Sprintf("%s (next start in %s)", reason, age(v.NextStart.Sub(now)))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Name, v.Kind, v.State, pid, up, v.Restarts, cpu, mem, harmless(reason))
	}
	t.Flush()
	printScaled(w, s.Scaled)
	printLimits(w, s.Services)
	printHooks(w, s.Hooks)
	if len(s.Listeners) > 0 {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "SOCKET\tKIND\tADDRESS")
		for _, l := range s.Listeners {
			fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.Kind, l.Address)
		}
		t.Flush()
	}
}

func printHooks(w io.Writer, list []api.Hook) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "HOOK\tDONE\tFAILED\tDROPPED\tWAITING\tLAST ERROR")
	for _, h := range list {
		waiting := h.Waiting
		if h.Running {
			waiting++
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", h.Name, h.Done, h.Failed, h.Dropped, waiting, harmless(h.LastError))
	}
	t.Flush()
}

func harmlessLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = harmless(lines[i])
	}
	return strings.Join(lines, "\n")
}

// age is a duration in at most two units.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func bytesText(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%dK", n>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1fG", float64(n)/(1<<30))
}
