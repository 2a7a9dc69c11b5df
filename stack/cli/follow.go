package cli

import (
	"context"

	"github.com/sentinel-stack/sentinel/stack/api"
)

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
