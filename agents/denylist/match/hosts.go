package match

import (
	"fmt"
	"strings"
)

// Hosts matches host names: "example.com" itself, "*.example.com" any number of labels below it.
type Hosts struct {
	names map[string]struct{} // in lower case
	below map[string]struct{} // x of each "*.x"
}

// Add adds a name, without port.
func (h *Hosts) Add(entry []byte) error {
	name := lowerASCII(string(entry))
	rest, wildcard := strings.CutPrefix(name, "*.")
	if rest == "" || strings.ContainsAny(rest, "*/ \t@") || strings.HasPrefix(rest, ".") || hasPort(rest) {
		return fmt.Errorf("not a host name: %q (a name, an address, or *.name; no port)", entry)
	}
	if h.names == nil {
		h.names, h.below = map[string]struct{}{}, map[string]struct{}{}
	}
	if rest = strings.TrimSuffix(rest, "."); wildcard {
		h.below[rest] = struct{}{}
	} else {
		h.names[rest] = struct{}{}
	}
	return nil
}

// Finish makes the matcher ready.
func (h *Hosts) Finish() {}

// Len returns the number of distinct entries.
func (h *Hosts) Len() int { return len(h.names) + len(h.below) }

// Match looks up the value of a Host field: a port and a final dot say nothing, case does not matter.
func (h *Hosts) Match(host string) (string, bool) {
	if h.names == nil {
		return "", false
	}
	host = HostName(host)
	if _, ok := h.names[host]; ok {
		return host, true
	}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return "", false
		}
		rest = rest[i+1:]
		if _, ok := h.below[rest]; ok {
			return "*." + rest, true
		}
	}
}

// HostName cuts port and final dot from the value of a Host field and folds its case.
func HostName(host string) string {
	if hasPort(host) {
		host = host[:strings.LastIndexByte(host, ':')]
	}
	return lowerASCII(strings.TrimSuffix(host, "."))
}

// hasPort reports whether host ends with a port: after the bracket of an IPv6 literal, or after the only colon.
func hasPort(host string) bool {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return false
	}
	if strings.HasPrefix(host, "[") {
		return i > 0 && host[i-1] == ']'
	}
	return strings.IndexByte(host, ':') == i
}
