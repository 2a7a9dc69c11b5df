package config

// ProxyFiles are the files that a running proxy opens by itself, as they are written, and those it writes to, with the directories in which it keeps certificates it has got. What else belongs to the
// configuration it gets with that.
func (c Config) ProxyFiles() (read, logs, storages []string) {
	add := func(list *[]string, paths ...string) {
		for _, path := range paths {
			if path != "" && path != "-" {
				*list = append(*list, path)
			}
		}
	}
	for _, u := range c.Upstreams {
		add(&read, u.Balancing.Cookie.KeyFile)
		if d := u.Discovery; d != nil {
			add(&read, d.Path, d.TokenFile, d.CAFile)
		}
	}
	o := c.Observability
	add(&logs, o.Log.File, o.AccessLog.File, o.AuditLog.File)
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		if a := l.TLS.ACME; a != nil {
			add(&storages, a.Storage)
		}
		for _, name := range l.TLS.SNI {
			if name.ACME != nil {
				add(&storages, name.ACME.Storage)
			}
		}
	}
	return read, logs, storages
}
