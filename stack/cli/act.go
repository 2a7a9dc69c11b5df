package cli

import (
	"context"
	"fmt"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// act does one thing to one service and says how it is afterwards.
func (a *app) act(ctx context.Context, name string, do func(*api.Client, context.Context, string) (*api.Service, error)) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := do(client, ctx, name)
	if err != nil {
		return outcome(err)
	}
	if s.PID != 0 {
		fmt.Fprintf(a.out, "%s is %s, pid %d\n", s.Name, s.State, s.PID)
	} else {
		fmt.Fprintf(a.out, "%s is %s\n", s.Name, s.State)
	}
	return nil
}
