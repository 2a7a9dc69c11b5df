package tlsconf

import "time"

// Held is what a listener knows of one of its certificates.
type Held struct {
	Name    string   // the first one it is for
	Names   []string // that clients ask for to get it
	Key     string   // what kind of key it is for: ecdsa, ed25519 or rsa; "" = there is no certificate yet
	After   time.Time
	Managed bool   // an ACME server issues it
	Fails   int    // attempts to get a new one, in a row, that failed
	Trouble string // why the last one did
}

// Held lists the certificates of the listener, those that have not been issued yet as well.
func (s *Server) Held() []Held {
	if s == nil {
		return nil
	}
	var out []Held
	now := time.Now()
	for _, e := range s.entries {
		for _, c := range e.certs {
			h := Held{Names: e.names}
			if cert := c.current(now); cert != nil {
				h.Name, h.Key, h.After = subjectOf(cert.Leaf), keyKind(cert.Leaf), cert.Leaf.NotAfter
			}
			if m := c.managed; m != nil { // its issuer may have put the names into another order
				h.Name, h.Managed, h.Fails = m.conf.Domains[0], true, int(m.fails.Load())
				if what := m.trouble.Load(); what != nil {
					h.Trouble = *what
				}
			}
			out = append(out, h)
		}
	}
	return out
}
