package cli

import (
	"encoding/json"
	"fmt"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

func (a *app) eventsCommand() *cobra.Command {
	live, asJSON := false, false
	var since string
	var services []string
	c := &cobra.Command{
		Use: "events", Short: "Show changes of state and reloads", Args: cobra.NoArgs,
		Long: "events shows what happened to the services: changes of state, reloads, limits, upgrades. Every event has a number; an event 'gap' stands for those\n" +
			"that were forgotten before a slow reader had read them.",
		RunE: func(c *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return exit(exitUsage, "%v", err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			enc := json.NewEncoder(a.out)
			var last, shown api.Event
			stream := func() error {
				shown = last // before an upgrade
				return client.Events(ctx, live, func(e api.Event) error {
					if !newer(e, shown) {
						return nil
					}
					last = e
					if e.Time.Before(from) || len(services) > 0 && e.Kind != "gap" && !slices.Contains(services, e.Service) && !slices.Contains(services, plan.AgentOf(e.Service)) {
						return nil
					}
					if asJSON {
						return enc.Encode(e)
					}
					_, err := fmt.Fprintln(a.out, eventText(e))
					return err
				})
			}
			if !live {
				return outcome(stream())
			}
			return outcome(follow(ctx, client, stream))
		},
	}
	c.Flags().BoolVarP(&live, "follow", "f", false, "go on with new events as they come")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON lines")
	c.Flags().StringVar(&since, "since", "", "only events since then: a `duration` such as 10m, or a time such as 2026-01-02T15:04:05Z")
	c.Flags().StringSliceVar(&services, "service", nil, "only events of this `service`; may be given several times")
	_ = c.RegisterFlagCompletionFunc("service", a.serviceNames)
	return c
}

// newer says whether e came after the event shown last, also across an upgrade to or from a program that does not number them.
func newer(e, shown api.Event) bool {
	if e.Seq == 0 || shown.Seq == 0 {
		return e.Time.After(shown.Time)
	}
	return e.Seq > shown.Seq
}

func eventText(e api.Event) string {
	text := e.Time.Local().Format("15:04:05.000") + " " + e.Kind
	if e.Service != "" {
		text += " " + e.Service
	}
	if e.From != "" {
		text += " " + e.From + " ->"
	}
	text += " " + e.To
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return harmlessLines(text)
}
