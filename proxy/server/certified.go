package server

import "github.com/sentinel-stack/sentinel/proxy/http1"

// assertIdentity replaces the headers that tell who a client is: whatever came under their names goes, on every listener, and what its certificate says comes in
// their place. It happens before routes are matched, because a route may ask for such a header.
func (c *conn) assertIdentity(w *work) {
	if len(w.gen.Identity) == 0 {
		return
	}
	fields := unclaimed(w.req.Fields, w.gen.Identity)
	if c.secured != nil {
		for i := range c.secured.identity {
			f := &c.secured.identity[i]
			fields = append(fields, http1.Field{Name: f.Name, Value: f.Value, ID: http1.LookupField(f.Name)})
		}
	}
	w.req.Fields = fields
}

// unclaimed drops, in place, the fields by which a client claims to be somebody. That goes for trailers too: some servers add them to the headers.
func unclaimed(fields []http1.Field, names []string) []http1.Field {
	if len(names) == 0 {
		return fields
	}
	kept := fields[:0]
	for _, f := range fields {
		if !isLike(f.Name, names) {
			kept = append(kept, f)
		}
	}
	return kept
}

// isLike reports whether a name is one of names, in any case. An underscore counts as a hyphen, because some servers take it for one.
func isLike(name []byte, names []string) bool {
	for _, n := range names {
		if len(n) == len(name) && like(name, n) {
			return true
		}
	}
	return false
}

func like(name []byte, n string) bool {
	for i, c := range name {
		if plainByte(c) != plainByte(n[i]) {
			return false
		}
	}
	return true
}

func plainByte(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}
