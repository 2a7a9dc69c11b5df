package tlsconf

import "strings"

// entry is what clients get that ask for certain names.
type entry struct {
	names []string  // lower case, "*.x" for one label before x
	certs []*served // one, or several with different kinds of keys, the preferred one first
}

// table finds the certificate for a name.
type table struct {
	exact, wild map[string]*entry // wild by what follows "*."
	fallback    *entry
	refuse      bool // names without a certificate are refused
}

func newTable(entries []*entry, fallback *entry, refuse bool) *table {
	t := &table{exact: map[string]*entry{}, wild: map[string]*entry{}, fallback: fallback, refuse: refuse}
	for _, e := range entries {
		for _, name := range e.names {
			into := t.exact
			if rest, ok := strings.CutPrefix(name, "*."); ok {
				into, name = t.wild, rest
			}
			if into[name] == nil { // the first one counts; two that were written down are refused by config
				into[name] = e
			}
		}
	}
	return t
}

// find returns the certificate for a name, nil when the client is to be refused. A wildcard stands for exactly one label, as in certificates.
func (t *table) find(name string) *entry {
	if e := t.look(strings.ToLower(strings.TrimSuffix(name, "."))); e != nil {
		return e
	}
	if t.refuse {
		return nil
	}
	return t.fallback
}

func (t *table) look(name string) *entry {
	if e := t.exact[name]; e != nil {
		return e
	}
	if _, rest, ok := strings.Cut(name, "."); ok {
		return t.wild[rest]
	}
	return nil
}
