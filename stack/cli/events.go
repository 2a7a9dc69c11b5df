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

func (a *app) eventsCommand() *cobra.Command {
	live, asJSON := false, false
	c := &cobra.Command{
		Use: "events", Short: "Show changes of state and reloads", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			enc := json.NewEncoder(a.out)
			var last, shown time.Time
			stream := func() error {
				shown = last // before an upgrade
				return client.Events(ctx, live, func(e api.Event) error {
					if !e.Time.After(shown) {
						return nil
					}
					last = e.Time
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
	return c
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
