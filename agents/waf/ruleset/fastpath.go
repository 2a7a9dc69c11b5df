package ruleset

import (
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter"
	"github.com/sentinel-stack/sentinel/protocol"
)

// Limits of the engine, here and in the directives.
const (
	maxArguments = 1000
	maxJSONDepth = 64
)

// FastPath tells whether requests may do without the engine. Responses cannot be inspected without what it knows of the request.
func (s *Set) FastPath() bool { return s.filter != nil && !s.Config.InspectResponses }

// Skip tells why the engine has to look at a request, with the body if there is one: prefilter.Clean when it has not, because no rule would fire.
func (s *Set) Skip(r *protocol.RequestHeaders, body []byte) int {
	if !s.FastPath() {
		return prefilter.Unknown
	}
	head := prefilter.Request{Method: r.Method, URI: r.URI, Protocol: versionOf(r), Client: r.Metadata.ClientIP, Headers: func(yield func(name, value string) bool) {
		for i := range r.Headers {
			if !yield(r.Headers[i].Name, r.Headers[i].Value) {
				return
			}
		}
	}}
	return s.filter.Check(&head, body)
}

// versionOf is what rules see as the protocol.
func versionOf(r *protocol.RequestHeaders) string {
	if r.Metadata.Protocol == "" {
		return "HTTP/1.1"
	}
	return r.Metadata.Protocol
}
