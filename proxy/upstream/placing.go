package upstream

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// Request is what placing looks at. Nothing of it is kept.
type Request struct {
	Client netip.Addr // the one who asks, behind trusted proxies
	Path   []byte     // canonical
	Query  []byte
	Fields []http1.Field // as the upstream will get them
	Length int64         // of the body in bytes, -1 = not known
}

// keySource is where the key of a request is taken from.
type keySource uint8

const (
	keyClient keySource = iota
	keyPath
	keyHeader
	keyCookie
	keyQuery
)

// placing is how a pool turns a request into a hint.
type placing struct {
	hashes bool
	source keySource
	name   string
	field  http1.FieldID
	sticky *stickyCookie
	tokens *tokenEstimate // nil = they are not counted
}

func newPlacing(hashKey string) placing {
	source, name, _ := strings.Cut(hashKey, ":")
	p := placing{hashes: true, name: name}
	switch source {
	case "path":
		p.source = keyPath
	case "header":
		p.source, p.field = keyHeader, http1.LookupField([]byte(name))
	case "cookie":
		p.source = keyCookie
	case "query":
		p.source = keyQuery
	}
	return p
}

// Place writes into the hint what the pool's algorithm wants to know of the request.
func (p *Pool) Place(h *balance.Hint, r *Request) {
	if e := p.placing.tokens; e != nil {
		h.SetTokens(e.of(r))
	}
	if !p.placing.hashes {
		return
	}
	if s := p.placing.sticky; s != nil {
		if i := s.find(cookie(r.Fields, s.name)); i >= 0 {
			h.Stick(i)
		}
	}
	if key := p.placing.key(r); len(key) > 0 {
		h.SetKey(balance.Hash(key))
	} else {
		h.SetKey(balance.HashAddr(r.Client))
	}
}

func (p *placing) key(r *Request) []byte {
	switch p.source {
	case keyPath:
		return r.Path
	case keyHeader:
		return fieldValue(r.Fields, p.field, p.name)
	case keyCookie:
		return cookie(r.Fields, p.name)
	case keyQuery:
		return parameter(r.Query, p.name)
	}
	return nil
}

// fieldValue is the value of the first line of that name, whose id is known.
func fieldValue(fields []http1.Field, id http1.FieldID, name string) []byte {
	for i := range fields {
		if f := &fields[i]; f.ID == id && (id != http1.Unknown || http1.EqualFold(f.Name, name)) {
			return f.Value
		}
	}
	return nil
}

// cookie is the value of the first cookie of that name.
func cookie(fields []http1.Field, name string) []byte {
	for i := range fields {
		if fields[i].ID != http1.Cookie {
			continue
		}
		for rest := fields[i].Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, semicolon)
			if k, v, ok := bytes.Cut(pair, equals); ok && string(bytes.Trim(k, " \t")) == name {
				return bytes.Trim(v, " \t")
			}
		}
	}
	return nil
}

// parameter is the value of the first query parameter of that name, as it is written: two spellings of one value are two keys.
func parameter(query []byte, name string) []byte {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, ampersand)
		if k, v, _ := bytes.Cut(pair, equals); string(k) == name {
			return v
		}
	}
	return nil
}

var semicolon, equals, ampersand = []byte{';'}, []byte{'='}, []byte{'&'}
