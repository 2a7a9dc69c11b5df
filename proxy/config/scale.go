package config

import "maps"

// Scaling is a number of instances of an agent that somebody asked for while everything runs. It holds in place of the number that is written, and for as long as that one is written:
// whoever edits the file has the last word.
type Scaling struct {
	Instances int `json:"instances"` // from 1
	Written   int `json:"written"`   // what the file said when it was asked for
}

// scale lets the scalings take effect that still hold and remembers them. One that asks for what is written anyway, or for an agent that is gone, that others run or that names its sockets, holds no longer.
func (l *Loaded) scale(asked map[string]Scaling) {
	for i := range l.Config.Agents {
		a := &l.Config.Agents[i]
		s, ok := asked[a.Name]
		if !ok || s.Written != a.Instances || s.Instances == a.Instances || a.External || len(a.UnixSockets) > 0 {
			continue
		}
		if l.Scaled == nil {
			l.Scaled = map[string]Scaling{}
		}
		l.Scaled[a.Name] = s
		a.Instances = min(max(s.Instances, 1), MaxInstances)
	}
}

// InstancesWritten is how many instances of an agent the files ask for.
func (l *Loaded) InstancesWritten(a Agent) int {
	if s, ok := l.Scaled[a.Name]; ok {
		return s.Written
	}
	return a.Instances
}

// WithScaling is what Options.Scale has to be for an agent to have another number of instances and the others to stay as they are.
func (l *Loaded) WithScaling(a Agent, instances int) map[string]Scaling {
	all := maps.Clone(l.Scaled)
	if all == nil {
		all = map[string]Scaling{}
	}
	all[a.Name] = Scaling{Instances: instances, Written: l.InstancesWritten(a)}
	return all
}
