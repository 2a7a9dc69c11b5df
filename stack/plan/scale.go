package plan

import (
	"fmt"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// MaxInstances bounds the instances of an agent.
const MaxInstances = config.MaxInstances

// Scale are numbers of instances that somebody asked for, by agent.
type Scale = map[string]config.Scaling

// Scaled are the numbers of instances in effect that are not those of the file, by agent.
func (p *Plan) Scaled() Scale { return p.loaded.Scaled }

// UnknownAgentError says that the configuration has no such agent.
type UnknownAgentError struct{ Agent string }

func (e *UnknownAgentError) Error() string { return fmt.Sprintf("no agent is called %q", e.Agent) }

// WithScaling is what LoadScaled needs for an agent to have n instances, 0 = as many as the file says. The error says why it cannot have them.
func (p *Plan) WithScaling(agent string, n int) (Scale, error) {
	i := slices.IndexFunc(p.config.Agents, func(a config.Agent) bool { return a.Name == agent })
	if i < 0 {
		return nil, &UnknownAgentError{agent}
	}
	a := p.config.Agents[i]
	switch {
	case a.External:
		return nil, fmt.Errorf("agent %s is external: whoever runs it has to scale it", agent)
	case len(a.UnixSockets) > 0:
		return nil, fmt.Errorf("agent %s names its sockets with unix-socket: name as many there as it is to have instances, or none", agent)
	case n > MaxInstances || n < 0:
		return nil, fmt.Errorf("agent %s cannot have %d instances: 1 to %d are possible", agent, n, MaxInstances)
	case n == 0:
		n = p.loaded.InstancesWritten(a)
	}
	return p.loaded.WithScaling(a, n), nil
}
