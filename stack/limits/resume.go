package limits

import (
	"path/filepath"
	"strings"
)

// Saved is what another Host needs to go on.
type Saved struct {
	V1     map[string]string `json:"v1,omitempty"`
	V1OK   map[string]bool   `json:"v1_ok,omitempty"`
	V2OK   map[string]bool   `json:"v2_ok,omitempty"`
	Self   string            `json:"self,omitempty"`
	Opened []string          `json:"opened,omitempty"`
}

// Save is the state of the host.
func (h *Host) Save() Saved {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Saved{V1: h.v1, V1OK: map[string]bool{}, V2OK: map[string]bool{}, Self: h.self, Opened: h.opened}
	for c, ok := range h.v1OK {
		s.V1OK[c] = ok
	}
	for c, ok := range h.v2OK {
		s.V2OK[c] = ok
	}
	return s
}

// Resume goes on with the groups of the host that s is of; root and name are as they were there.
func Resume(root, name string, s Saved) *Host {
	return &Host{root: root, name: "sentinel-" + name, v1: s.V1, v1OK: s.V1OK, v2OK: s.V2OK, self: s.Self, opened: s.Opened}
}

// Attach is Group for an instance that runs.
func (h *Host) Attach(id, v2 string, s Set, layers []Limit) *Group {
	g := &Group{Limits: layers, set: s, v2: v2, v1: map[string]string{}}
	for _, l := range layers {
		if c := controllers[l.Name].v1; l.Layer == V1 {
			g.v1[c] = filepath.Join(h.v1[c], h.name, strings.ReplaceAll(id, "/", "_"))
		}
	}
	return g
}
