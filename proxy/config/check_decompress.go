package config

import (
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// seesBodies reports whether the agent is told of bodies by a filter of that phase.
func (a *Agent) seesBodies(phase string) bool {
	return slices.ContainsFunc(a.Events, func(e string) bool { return strings.HasSuffix(e, "_body") && EventInPhase(e, phase) })
}

// filterDecompress refuses a filter that says how bodies are decompressed for agents that see none.
func (c *checker) filterDecompress(path string, f *Filter) {
	if f.Agent == nil || f.Agent.Decompress == nil {
		return
	}
	for _, name := range f.Agent.Agents {
		i := slices.IndexFunc(c.Agents, func(a Agent) bool { return a.Name == name })
		if i < 0 || c.Agents[i].seesBodies(f.Phase) {
			return
		}
	}
	c.noBodies(c.at(path+".decompress"), "filter", f.ID)
}

func (c *checker) noBodies(at kdl.Span, kind, name string) {
	c.fail(at, "no-effect", "add request_body or response_body to the events of the agent, or remove decompress", "%s %s inspects no bodies", kind, kdl.Quote(name))
}
