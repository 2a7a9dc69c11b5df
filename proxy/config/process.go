package config

import (
	"slices"
	"strings"
)

// ProcessSettings are the values that a running proxy cannot change, besides the addresses it listens on: another process takes over with them.
type ProcessSettings struct {
	AdminSocket string
	Metrics     Metrics
	ErrorLog    Log    // without its level, which can be changed
	HTTP3       string // the listeners that speak it
}

// ProcessSettings returns those of c.
func (c *Config) ProcessSettings() ProcessSettings {
	p := ProcessSettings{AdminSocket: c.System.AdminSocket, Metrics: c.Observability.Metrics, ErrorLog: c.Observability.Log}
	p.ErrorLog.Level = ""
	var ids []string
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.HTTP3.Enabled {
			ids = append(ids, l.ID)
		}
	}
	slices.Sort(ids)
	p.HTTP3 = strings.Join(ids, " ")
	return p
}
