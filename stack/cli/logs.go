package cli

import (
	"encoding/json"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
)

func (a *app) logsCommand() *cobra.Command {
	var q api.LogQuery
	var since string
	asJSON := false
	c := &cobra.Command{
		Use: "logs [SERVICE...]", Short: "Show what services wrote",
		Long: "logs shows what the services wrote, merged in order of time; the supervisor's own notes are those of the service 'stack'. With --request it\n" +
			"shows one request across all processes.",
		ValidArgsFunction: a.serviceNames,
		RunE: func(c *cobra.Command, args []string) error {
			q.Services = args
			var err error
			if q.Since, err = parseSince(since, time.Now()); err != nil {
				return exit(exitUsage, "%v", err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			show := newPrinter(a.out).line
			if asJSON {
				enc := json.NewEncoder(a.out)
				show = func(l api.LogLine) { enc.Encode(l) }
			}
			stream := func() error {
				return client.Logs(ctx, q, func(l api.LogLine) error {
					show(l)
					q.Since, q.Lines = l.Time.Add(1), -1 // from where to go on after an upgrade
					return nil
				})
			}
			if !q.Follow {
				return outcome(stream())
			}
			return outcome(follow(ctx, client, stream))
		},
	}
	f := c.Flags()
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with new lines as they come")
	f.StringVar(&since, "since", "", "only lines since then: a `duration` such as 10m, or a time such as 2026-01-02T15:04:05Z")
	f.StringVar(&q.Grep, "grep", "", "only lines that match this regular `expression`")
	f.StringVar(&q.Request, "request", "", "only lines that carry this request `id`")
	f.IntVarP(&q.Lines, "lines", "n", 100, "how many of the past at most; -1 = all in memory")
	f.BoolVar(&asJSON, "json", false, "as JSON lines")
	return c
}

func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, "15:04:05"} {
		t, err := time.ParseInLocation(layout, text, time.Local)
		if err != nil {
			continue
		}
		if t.Year() == 0 { // a time of today
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.Local)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("cannot understand --since %q: neither a duration nor a time", text)
}
