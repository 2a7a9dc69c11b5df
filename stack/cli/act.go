package cli

import (
	"context"
	"fmt"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// services asks the supervisor for them.
func (a *app) services(ctx context.Context) ([]api.Service, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	list, err := client.Services(ctx)
	return list, outcome(err)
}

// instances are the services that a name means: itself, or the instances of the agent of this name, in order.
func (a *app) instances(ctx context.Context, name string) ([]string, error) {
	list, err := a.services(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, s := range list {
		if s.Name != name && plan.AgentOf(s.Name) == name {
			found = append(found, s.Name)
		}
	}
	if found == nil {
		found = []string{name} // a service, or one that the supervisor does not know either
	}
	return found, nil
}

// actOnAll does one thing to the service, or to one instance of the agent after the other; the first failure ends it.
func (a *app) actOnAll(ctx context.Context, name string, do func(*api.Client, context.Context, string) (*api.Service, error)) error {
	names, err := a.instances(ctx, name)
	for _, n := range names {
		if err = a.act(ctx, n, do); err != nil {
			break
		}
	}
	return err
}

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
