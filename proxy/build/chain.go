package build

import (
	"fmt"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/filters"
)

// chain builds the filters of a route in the order it lists them. A name is that of a filter, else of an agent.
func (s *Set) chain(c *config.Config, r *config.Route) (*filter.Chain, error) {
	if len(r.Filters) == 0 {
		return nil, nil
	}
	var list []filter.Filter
	for _, name := range r.Filters {
		more, err := s.filters(c, name)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return filter.NewChain(list...)
}

func (s *Set) filters(c *config.Config, name string) ([]filter.Filter, error) {
	i := slices.IndexFunc(c.Filters, func(f config.Filter) bool { return f.ID == name })
	if i < 0 {
		f, err := s.agents.Filter(name, name, "", config.AgentFilter{Agents: []string{name}})
		if err != nil {
			return nil, fmt.Errorf("no filter or agent %q", name)
		}
		return []filter.Filter{f}, nil
	}
	fc := c.Filters[i]
	if fc.Type != "agent" {
		f, err := filters.Build(fc)
		return []filter.Filter{f}, err
	}
	var list []filter.Filter
	for _, agentName := range fc.Agent.Agents {
		f, err := s.agents.Filter(fc.ID, agentName, fc.Phase, *fc.Agent)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}
