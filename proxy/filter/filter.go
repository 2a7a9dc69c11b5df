// Package filter is the contract between the request path and the steps a route puts into it.
//
// A filter is an in-process step. It sees one Exchange, may change its header fields, and returns a Decision; it never writes to the client. A Chain is
// the list of filters of one route, sorted by phase when the generation is built, so that a phase nobody asked for costs nothing.
//
// Byte slices handed out by an Exchange are views into the connection's buffers: they are valid until the call returns, and whoever keeps them copies them.
package filter

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Phase is a set of moments in the life of an exchange.
type Phase uint8

const (
	OnRequest      Phase = 1 << iota // the request head is complete; nothing has been sent upstream
	OnRequestBody                    // before each piece of the request body is forwarded
	OnResponse                       // the final response head is known; nothing of it has been sent to the client
	OnResponseBody                   // before each piece of the response body is forwarded
	OnComplete                       // everything is over; observers only
	OnMessage                        // before each message of a WebSocket is passed on
)

// Has reports whether all phases of q are in p.
func (p Phase) Has(q Phase) bool { return p&q == q }

// Filter is one step. It also implements the interfaces below that its Phases name; NewChain refuses one that does not.
// A filter is used by many exchanges at once.
type Filter interface {
	Name() string  // the id the configuration uses
	Phases() Phase // constant for the life of the filter
}

// RequestFilter is a Filter that takes part in OnRequest.
type RequestFilter interface {
	Request(x *Exchange) Decision
}

// RequestBodyFilter is a Filter that takes part in OnRequestBody. It is called with every piece in order, and with last true exactly once, where chunk may be
// empty. It is not called for a request without a body. The piece is not forwarded before the call returns.
type RequestBodyFilter interface {
	RequestBody(x *Exchange, chunk []byte, last bool) Decision
}

// ResponseFilter is a Filter that takes part in OnResponse: answers of upstreams and of builtin handlers, not refusals of the proxy itself.
type ResponseFilter interface {
	Response(x *Exchange) Decision
}

// ResponseBodyFilter is a Filter that takes part in OnResponseBody. The response head is held back until the first piece is decided, so the first call
// may still answer with a status of its own; a later decision other than Continue breaks the connection.
type ResponseBodyFilter interface {
	ResponseBody(x *Exchange, chunk []byte, last bool) Decision
}

// CompleteFilter is a Filter that takes part in OnComplete. It must not wait: the connection serves its next request only when it has returned.
type CompleteFilter interface {
	Complete(x *Exchange, o *Outcome)
}

// Outcome is how an exchange ended.
type Outcome struct {
	Status       int           // sent to the client; 0 = the connection was closed without an answer
	Duration     time.Duration // first byte of the request to last byte of the answer
	RequestBytes int64         // body bytes read from the client
	SentBytes    int64         // body bytes sent to the client
	Attempts     int           // targets tried; 0 = answered by the proxy itself
	Aborted      bool          // the client went away, or the answer could not be finished
}

// Kind is a kind of filter: how a configuration block of that type becomes a Filter.
type Kind struct {
	Type  string // the value of `type` in the configuration
	Build func(c config.Filter) (Filter, error)
}
