package config

// processLimits finds limits that contradict each other, of every process.
func (c *checker) processLimits() {
	check := func(path string, l ProcessLimits) {
		if l.Memory > 0 && l.MemoryHigh > l.Memory {
			c.fail(c.at(path+".limits.memory-high"), "invalid-value", "", "memory-high %s is above memory %s", showSize(l.MemoryHigh), showSize(l.Memory))
		}
	}
	check("stack.proxy", c.Stack.Proxy.Limits)
	for _, s := range c.Stack.Services {
		check("stack.service."+s.Name, s.Limits)
	}
	check("stack.defaults", c.Stack.Defaults.Limits)
	for _, a := range c.Agents {
		if a.Limits != c.Stack.Defaults.Limits && !a.External {
			check("agents."+a.Name, a.Limits)
		}
	}
}
