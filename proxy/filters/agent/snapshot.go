package agent

import (
	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/proxy/api"
)

// Snapshot shows every agent, in the order of the configuration.
func (s *Set) Snapshot() []api.Agent {
	if s == nil {
		return nil
	}
	out := make([]api.Agent, 0, len(s.order))
	for _, m := range s.order {
		a := m.row(m.pool.Snapshot())
		if len(m.instances) > 1 {
			for i, in := range m.instances {
				a.Instances = append(a.Instances, api.AgentInstance{Instance: instanceName(i), Agent: m.row(in.client.Snapshot())})
			}
		}
		out = append(out, a)
	}
	return out
}

func (m *member) row(c client.Snapshot) api.Agent {
	return api.Agent{Name: c.Name, Type: m.config.Type, Address: c.Address, Connected: c.Connected, Circuit: c.Circuit, Health: c.Health.String(),
		Version: c.Version, Encoding: string(c.Encoding), InFlight: c.InFlight, Queued: c.Queued, Calls: c.Calls, Errors: c.Errors, Timeouts: c.Timeouts,
		Blocks: c.Blocks, Opens: c.Opens, P50Micros: c.P50.Microseconds(), P99Micros: c.P99.Microseconds(), LastError: c.LastError}
}

// Report is what one instance of an agent says about itself.
type Report struct {
	Agent    string
	Instance string // "" = the agent has one
	Metrics  *protocol.MetricsReport
}

// Reports returns the metrics that agents reported about themselves, in the order of the configuration.
func (s *Set) Reports() []Report {
	if s == nil {
		return nil
	}
	var out []Report
	for _, m := range s.order {
		for i, in := range m.instances {
			r := Report{Agent: m.config.Name, Metrics: in.client.Report()}
			if len(m.instances) > 1 {
				r.Instance = instanceName(i)
			}
			if r.Metrics != nil {
				out = append(out, r)
			}
		}
	}
	return out
}
