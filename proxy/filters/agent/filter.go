package agent

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/protocol/wire"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/unpack"
)

// asking is the filter that asks one agent.
type asking struct {
	name    string
	agent   string
	shared  *shared
	pool    *client.Pool
	phase   string // "request", "response", or both
	phases  filter.Phase
	head    bool // the agent judges request heads
	answer  bool // the agent judges response heads
	finish  bool // the agent is told how exchanges ended
	timeout time.Duration
	chunk   time.Duration
	onFail  config.FailureMode // "" = the route's
	maxIn   int64
	maxOut  int64

	decompress config.Decompress
	decoders   *unpack.Decoders
	ids        *atomic.Uint64 // shared by every filter of the process
	visits     sync.Pool
}

// newFilter derives the phases from the events the configuration lists. An agent always takes part in the response and the end: the one carries
// header changes it asked for earlier, the other frees what the exchange held.
func newFilter(name string, m *member, phase string, f config.AgentFilter, s *Set) *asking {
	a := &asking{name: name, agent: m.config.Name, phase: phase, shared: m.shared, pool: m.pool, ids: s.ids, decoders: s.decoders, decompress: decompressOf(m.config, f),
		timeout: m.config.Timeout, chunk: m.config.ChunkTimeout, onFail: m.config.FailureMode,
		maxIn: m.config.MaxRequestBody, maxOut: m.config.MaxResponseBody, phases: filter.OnComplete | filter.OnResponse}
	if f.Timeout > 0 {
		a.timeout = f.Timeout
	}
	if f.FailureMode != "" {
		a.onFail = f.FailureMode
	}
	for _, e := range m.config.Events {
		if !config.EventInPhase(e, phase) {
			continue
		}
		switch e {
		case "request_headers":
			a.phases, a.head = a.phases|filter.OnRequest, true
		case "request_body":
			a.phases |= filter.OnRequestBody
		case "response_headers":
			a.answer = true
		case "response_body":
			a.phases |= filter.OnResponseBody
		case "websocket_frame":
			a.phases |= filter.OnMessage
		case "request_complete":
			a.finish = true
		}
	}
	if a.maxIn > 0 && a.phases.Has(filter.OnRequestBody) {
		a.phases |= filter.OnRequest // a body that is known to be too long is refused before anything is sent
	}
	a.visits.New = func() any { return new(visit) }
	return a
}

// visit is one exchange as this filter sees it.
type visit struct {
	session client.Session
	resp    protocol.Response
	request wire.RequestView
	over    bool                // the agent is not asked any more: it failed, and the failure mode let the exchange go on
	later   []protocol.HeaderOp // for the response head
	in, out flow

	renewals int // sessions that were given up since the WebSocket began
}

// flow is how much of a body the agent has been sent.
type flow struct {
	bytes  int64
	index  uint32
	begun  bool         // its Content-Encoding was looked at
	unpack *unpack.Body // nil = the body is sent as it comes
}

// free gives back what the bodies hold.
func (v *visit) free() {
	for _, f := range []*flow{&v.in, &v.out} {
		if f.unpack != nil {
			f.unpack.Close()
			f.unpack = nil
		}
	}
}

func (a *asking) Name() string { return a.name }

// Phases returns when the filter takes part.
func (a *asking) Phases() filter.Phase { return a.phases }

// visit returns the filter's state of the exchange, made on the first call.
func (a *asking) visit(x *filter.Exchange) *visit {
	if v, ok := x.State(a).(*visit); ok {
		return v
	}
	v := a.visits.Get().(*visit)
	v.session = a.pool.Session(a.correlation(x))
	x.SetState(a, v)
	return v
}

// correlation returns the id under which every agent knows the exchange: the request id, and a number, because request ids may be a client's choice
// and two exchanges under way must not share one.
func (a *asking) correlation(x *filter.Exchange) string {
	if id, ok := x.State(a.ids).(string); ok {
		return id
	}
	var buf [64]byte
	b := append(append(buf[:0], x.RequestID()...), '.')
	id := string(strconv.AppendUint(b, a.ids.Add(1), 36))
	x.SetState(a.ids, id)
	return id
}

// Request asks the agent about the request head, and refuses a body that is known to be longer than the agent is to see.
func (a *asking) Request(x *filter.Exchange) filter.Decision {
	v := a.visit(x)
	if a.phases.Has(filter.OnRequestBody) && a.maxIn > 0 && x.RequestLength() > a.maxIn {
		return a.failed(x, v, "request_body", errTooLong, 413, 0)
	}
	if !a.head {
		return filter.Continue()
	}
	r := &v.request
	client := x.Client()
	*r = wire.RequestView{CorrelationID: v.session.ID(), RequestID: x.RequestID(), Client: client, Protocol: "HTTP/1.1", RouteID: x.Route(), UpstreamID: x.Upstream(),
		Time: x.Start(), Traceparent: x.RequestHeader().Get("traceparent"), Method: x.Method(), URI: x.Target(), Headers: x.RequestHeader()}
	if x.Minor() == 0 {
		r.Protocol = "HTTP/1.0"
	}
	if t := x.TLS(); t != nil {
		r.ServerName, r.TLSVersion, r.TLSCipher = t.ServerName, t.Version, t.Cipher
	}
	return a.ask(x, v, question{event: "request_headers", message: r, timeout: a.timeout, phase: filter.OnRequest})
}

// Response asks the agent about the response head and makes the changes to it that the agent asked for earlier.
func (a *asking) Response(x *filter.Exchange) filter.Decision {
	_, ok := x.State(a).(*visit)
	if !ok && !a.answer {
		return filter.Continue()
	}
	v := a.visit(x)
	if ops := v.later; len(ops) > 0 {
		v.later = nil
		apply(x.ResponseHeader(), ops) // they were checked when they came
	}
	if !a.answer || v.over {
		return filter.Continue()
	}
	m := &wire.ResponseView{CorrelationID: v.session.ID(), Status: x.Status(), Headers: x.ResponseHeader()}
	return a.ask(x, v, question{event: "response_headers", message: m, timeout: a.timeout, phase: filter.OnResponse})
}

// RequestBody asks the agent about a piece of the request body.
func (a *asking) RequestBody(x *filter.Exchange, chunk []byte, last bool) filter.Decision {
	v := a.visit(x)
	b := body{flow: &v.in, event: "request_body", limit: a.maxIn, total: x.RequestLength(), tooLong: 413, phase: filter.OnRequestBody,
		message: func(c *protocol.BodyChunk) any { return (*wire.RequestBody)(c) }}
	return a.pieces(x, v, &b, x.RequestHeader(), chunk, last)
}

// ResponseBody asks the agent about a piece of the response body.
func (a *asking) ResponseBody(x *filter.Exchange, chunk []byte, last bool) filter.Decision {
	v := a.visit(x)
	b := body{flow: &v.out, event: "response_body", limit: a.maxOut, total: -1, tooLong: 502, phase: filter.OnResponseBody,
		message: func(c *protocol.BodyChunk) any { return (*wire.ResponseBody)(c) }}
	return a.pieces(x, v, &b, x.ResponseHeader(), chunk, last)
}

// body is what differs between the two directions.
type body struct {
	flow    *flow
	event   string
	limit   int64
	total   int64
	tooLong int // status
	phase   filter.Phase
	message func(*protocol.BodyChunk) any
}

// pieces sends one piece of a body, or what it stands for.
func (a *asking) pieces(x *filter.Exchange, v *visit, b *body, h *filter.Header, data []byte, last bool) filter.Decision {
	if v.over {
		return filter.Continue()
	}
	if err := a.begin(v, b, h.Fields()); err != nil {
		return a.notUnpacked(x, v, b, err)
	}
	if b.flow.unpack != nil {
		return a.unpacked(x, v, b, data, last)
	}
	return a.piece(x, v, b, data, last)
}

// piece sends one piece in chunks of the size the agent prefers.
func (a *asking) piece(x *filter.Exchange, v *visit, b *body, data []byte, last bool) filter.Decision {
	if b.flow.bytes+int64(len(data)) > b.limit && b.limit > 0 {
		return a.failed(x, v, b.event, errTooLong, b.tooLong, 0)
	}
	size := chunkSize(&v.session)
	for {
		n := min(size, len(data))
		b.flow.bytes += int64(n)
		c := &protocol.BodyChunk{CorrelationID: v.session.ID(), Data: data[:n], Last: last && n == len(data), TotalSize: b.total, Index: b.flow.index, Transferred: b.flow.bytes}
		b.flow.index++
		data = data[n:]
		d := a.ask(x, v, question{event: b.event, message: b.message(c), timeout: a.chunk, phase: b.phase, last: c.Last})
		if !d.Continues() || v.over || len(data) == 0 {
			return d
		}
	}
}

// minChunk keeps an agent from asking for a message per byte.
const minChunk = 4 << 10

func chunkSize(s *client.Session) int {
	caps, _ := s.Capabilities()
	if n := caps.Limits.PreferredChunkSize; n > 0 {
		return min(max(n, minChunk), protocol.MaxChunk)
	}
	return protocol.DefaultChunk
}

// Complete tells the agent how the exchange ended and frees what it held.
func (a *asking) Complete(x *filter.Exchange, o *filter.Outcome) {
	v, ok := x.State(a).(*visit)
	if !ok {
		return
	}
	if a.finish && !v.over {
		m := protocol.RequestComplete{CorrelationID: v.session.ID(), Status: o.Status, DurationMillis: o.Duration.Milliseconds(),
			RequestBodySize: o.RequestBytes, ResponseBodySize: o.SentBytes, UpstreamAttempts: o.Attempts}
		if o.Aborted {
			m.Error = "aborted"
		}
		v.session.Tell(&m)
	}
	v.session.End()
	v.free()
	x.SetState(a, nil)
	*v = visit{}
	a.visits.Put(v)
}
