package config

// ProcessSettings are the values that a running proxy cannot change, besides the addresses it listens on: another process takes over with them.
type ProcessSettings struct {
	AdminSocket string
	Metrics     Metrics
	ErrorLog    Log // without its level, which can be changed
}

// ProcessSettings returns those of c.
func (c *Config) ProcessSettings() ProcessSettings {
	p := ProcessSettings{AdminSocket: c.System.AdminSocket, Metrics: c.Observability.Metrics, ErrorLog: c.Observability.Log}
	p.ErrorLog.Level = ""
	return p
}
