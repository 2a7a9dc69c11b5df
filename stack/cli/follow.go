package cli

import (
	"context"
	"errors"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// settle bounds the wait for a supervisor that is just being upgraded.
const settle = 2 * time.Second

// follow calls stream again as long as it was an upgrade of the supervisor that ended it: the process is the same, the connection is not.
func follow(ctx context.Context, client *api.Client, stream func() error) error {
	before, err := client.Status(ctx)
	if err != nil {
		return err
	}
	for {
		ended := stream()
		if ctx.Err() != nil {
			return ended
		}
		now, err := client.Status(ctx) // waits in the backlog until the new program answers
		for end := time.Now().Add(settle); err != nil && !errors.Is(err, api.ErrNotRunning) && time.Now().Before(end); now, err = client.Status(ctx) {
			time.Sleep(settle / 100) // a connection that the old program had just accepted breaks
		}
		if err != nil || now.PID != before.PID || upgradeID(now) == upgradeID(before) {
			return ended
		}
		before = now
	}
}

func upgradeID(s *api.Status) uint64 {
	if s.Upgrade == nil {
		return 0
	}
	return s.Upgrade.ID
}
