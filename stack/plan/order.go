package plan

import "github.com/sentinel-stack/sentinel/proxy/config"

// usedAgents follows routes to their filters and filters to their agents. An agent's name is also a filter.
func usedAgents(c config.Config) map[string]bool {
	used := map[string]bool{}
	filters := map[string]config.Filter{}
	for _, f := range c.Filters {
		filters[f.ID] = f
	}
	for _, r := range c.Routes {
		for _, name := range r.Filters {
			f, ok := filters[name]
			if !ok {
				used[name] = true
				continue
			}
			if f.Agent != nil {
				for _, a := range f.Agent.Agents {
					used[a] = true
				}
			}
		}
	}
	return used
}
