package filter

import (
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Header is an ordered list of header fields that can be changed without touching the buffer it was parsed from. Names compare without case.
// Framing and connection fields (Content-Length, Transfer-Encoding, Connection, …) belong to the proxy: they can be read but not changed.
type Header struct {
	fields []http1.Field
	arena  []byte // names and values that were set; old views stay good when it grows
}

// arenaKeep bounds what a pooled header keeps for the next exchange.
const arenaKeep = 4 << 10

// Reset makes h hold the fields of a parsed head that may be forwarded; nil for none. The zero Header is empty and ready.
func (h *Header) Reset(fields []http1.Field) {
	h.fields = h.fields[:0]
	for i := range fields {
		if f := &fields[i]; !f.Hop {
			h.fields = append(h.fields, *f)
		} else if f.ID == http1.Trailer { // trailers are passed on, so what announces them is too
			h.fields = append(h.fields, http1.Field{Name: f.Name, Value: f.Value, ID: f.ID})
		}
	}
	if cap(h.arena) > arenaKeep {
		h.arena = nil
	}
	h.arena = h.arena[:0]
}

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At returns the i-th field.
func (h *Header) At(i int) (name, value []byte) { return h.fields[i].Name, h.fields[i].Value }

// Fields returns the list itself, for the server.
func (h *Header) Fields() []http1.Field { return h.fields }

// Get returns the value of the first field of that name, nil when there is none.
func (h *Header) Get(name string) []byte {
	for i := range h.fields {
		if http1.EqualFold(h.fields[i].Name, name) {
			return h.fields[i].Value
		}
	}
	return nil
}

// Has reports whether there is a field of that name.
func (h *Header) Has(name string) bool {
	for i := range h.fields {
		if http1.EqualFold(h.fields[i].Name, name) {
			return true
		}
	}
	return false
}

// Add appends a field. It fails for a name or value that cannot stand in a message and for fields that belong to the proxy.
func (h *Header) Add(name, value string) error {
	if err := CheckField(name, value); err != nil {
		return err
	}
	h.fields = append(h.fields, h.field(name, value))
	return nil
}

// Set gives the first field of that name the value, drops the others, and adds the field when there was none.
func (h *Header) Set(name, value string) error {
	if err := CheckField(name, value); err != nil {
		return err
	}
	f, kept := h.field(name, value), h.fields[:0]
	done := false
	for i := range h.fields {
		switch {
		case !http1.EqualFold(h.fields[i].Name, name):
			kept = append(kept, h.fields[i])
		case !done:
			kept, done = append(kept, f), true
		}
	}
	if !done {
		kept = append(kept, f)
	}
	h.fields = kept
	return nil
}

// Remove drops every field of that name and returns how many there were. Fields that belong to the proxy stay.
func (h *Header) Remove(name string) int {
	if reserved(name) {
		return 0
	}
	kept := h.fields[:0]
	for i := range h.fields {
		if !http1.EqualFold(h.fields[i].Name, name) {
			kept = append(kept, h.fields[i])
		}
	}
	n := len(h.fields) - len(kept)
	h.fields = kept
	return n
}

// Rename gives every field called from the name to. It fails as Add does.
func (h *Header) Rename(from, to string) error {
	if err := CheckField(to, ""); err != nil {
		return err
	}
	if err := CheckField(from, ""); err != nil {
		return err
	}
	for i := range h.fields {
		if http1.EqualFold(h.fields[i].Name, from) {
			h.fields[i].Name = h.hold(to)
			h.fields[i].ID = http1.LookupField(h.fields[i].Name)
		}
	}
	return nil
}

// AddView appends a field whose value is a view that outlives the exchange, such as a field of the same head. The server uses it; it checks nothing.
func (h *Header) AddView(f http1.Field) { h.fields = append(h.fields, f) }

// SetView is AddView after dropping what has the same id, which must be a known one.
func (h *Header) SetView(f http1.Field) {
	for i := range h.fields {
		if h.fields[i].ID == f.ID { // rare, so the others are moved only then
			h.fields = slices.DeleteFunc(h.fields, func(o http1.Field) bool { return o.ID == f.ID })
			break
		}
	}
	h.fields = append(h.fields, f)
}

// Hold copies b into the header's arena and returns the copy, valid until the exchange is over.
func (h *Header) Hold(b []byte) []byte {
	n := len(h.arena)
	h.arena = append(h.arena, b...)
	return h.arena[n:len(h.arena):len(h.arena)]
}

func (h *Header) hold(s string) []byte {
	n := len(h.arena)
	h.arena = append(h.arena, s...)
	return h.arena[n:len(h.arena):len(h.arena)]
}

func (h *Header) field(name, value string) http1.Field {
	n := h.hold(name)
	return http1.Field{Name: n, Value: h.hold(value), ID: http1.LookupField(n)}
}
