package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) statusCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use: "status", Short: "Show the services and sockets of the running stack", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
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
	return c
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
	printLimits(w, s.Services)
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
