package filter

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Facts is everything that is known of a request once it has been matched. All of it is required except where noted.
type Facts struct {
	RequestID []byte         // copied
	Peer      netip.AddrPort // the other end of the connection
	Client    netip.AddrPort // who asked, X-Forwarded-For of trusted proxies considered; port 0 when it is not known
	Local     netip.AddrPort // our end of the connection
	Listener  string         // listener id
	Scheme    string         // as the client sees it: http or https
	TLS       *TLS           // nil when the connection is not encrypted
	Start     time.Time      // when the request's first byte was read
	Deadline  time.Time      // when the exchange is given up
	Request   *http1.Request // parsed head; its views outlive the exchange
	Path      []byte         // canonical path, what was matched and what is sent upstream
	Route     string         // route id
	Upstream  string         // upstream id; "" for a builtin handler
	OnFailure config.FailureMode
}

// TLS is what is known of an encrypted connection.
type TLS struct {
	ServerName string // the client asked for, "" = none
	Version    string // as in "TLSv1.3"
	Cipher     string // IANA name
	Client     string // subject of the verified client certificate, "" = none
}

// Exchange is one request and its response. It is used by one goroutine at a time, except Context and Cancel.
type Exchange struct {
	facts    Facts
	id       [36]byte
	idLen    uint8
	request  Header
	response Header
	status   int
	verdicts []Verdict
	states   []state

	mu     sync.Mutex // guards ctx, cancel and cause
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // releases the deadline's timer
	cause  error
}

type state struct {
	key, value any
}

// Pool hands out exchanges and takes them back, so that a request costs no allocation. The zero Pool is ready.
type Pool struct {
	pool sync.Pool
}

// New returns an exchange for a matched request. Every fact is a constructor argument: there is no half-filled Exchange.
func (p *Pool) New(f *Facts) *Exchange {
	if f.Request == nil || !f.Client.IsValid() && f.Peer.IsValid() || f.Route == "" || f.Listener == "" || len(f.RequestID) == 0 || len(f.Path) == 0 {
		panic("filter: exchange with missing facts")
	}
	x, _ := p.pool.Get().(*Exchange)
	if x == nil {
		x = new(Exchange)
	}
	x.facts = *f
	x.idLen = uint8(copy(x.id[:], f.RequestID))
	x.request.Reset(f.Request.Fields)
	x.response.Reset(nil)
	return x
}

// Put ends the life of x: its context is cancelled and nobody may use it any more.
func (p *Pool) Put(x *Exchange) {
	x.Cancel(context.Canceled)
	x.facts = Facts{}
	x.status = 0
	clear(x.verdicts)
	x.verdicts = x.verdicts[:0]
	clear(x.states)
	x.states = x.states[:0]
	x.ctx, x.cancel, x.stop, x.cause = nil, nil, nil, nil
	x.request.Reset(nil)
	x.response.Reset(nil)
	p.pool.Put(x)
}

// RequestID is the id under which the exchange is logged everywhere.
func (x *Exchange) RequestID() []byte { return x.id[:x.idLen] }

// Peer is the other end of the connection.
func (x *Exchange) Peer() netip.AddrPort { return x.facts.Peer }

// Client is who asked: the peer, or what trusted proxies say. The port is 0 when only the address is known.
func (x *Exchange) Client() netip.AddrPort { return x.facts.Client }

// Local is our end of the connection.
func (x *Exchange) Local() netip.AddrPort { return x.facts.Local }

// Listener is the id of the listener.
func (x *Exchange) Listener() string { return x.facts.Listener }

// Scheme is http or https.
func (x *Exchange) Scheme() string { return x.facts.Scheme }

// TLS describes the client's connection, nil when it is not encrypted.
func (x *Exchange) TLS() *TLS { return x.facts.TLS }

// Start is when the request began.
func (x *Exchange) Start() time.Time { return x.facts.Start }

// Deadline is when the exchange is given up; whoever waits for the exchange's sake waits no longer.
func (x *Exchange) Deadline() time.Time { return x.facts.Deadline }

// Method is the request method, as sent.
func (x *Exchange) Method() []byte { return x.facts.Request.Method }

// Target is the request target, as sent.
func (x *Exchange) Target() []byte { return x.facts.Request.Target }

// Path is the canonical path.
func (x *Exchange) Path() []byte { return x.facts.Path }

// Query is the raw query without the question mark.
func (x *Exchange) Query() []byte { return x.facts.Request.Query }

// Host is the authority the request names, as sent.
func (x *Exchange) Host() []byte { return x.facts.Request.Host }

// Minor is the minor version of the request: 0 or 1.
func (x *Exchange) Minor() uint8 { return x.facts.Request.Minor }

// RequestLength is the length of the request body: 0 for none, -1 when only its end will tell.
func (x *Exchange) RequestLength() int64 {
	switch x.facts.Request.Framing {
	case http1.FramingNone:
		return 0
	case http1.FramingLength:
		return x.facts.Request.ContentLength
	}
	return -1
}

// Route is the id of the matched route.
func (x *Exchange) Route() string { return x.facts.Route }

// Upstream is the id of the route's upstream, "" for a builtin handler.
func (x *Exchange) Upstream() string { return x.facts.Upstream }

// OnFailure is the route's failure mode for filters that cannot decide.
func (x *Exchange) OnFailure() config.FailureMode { return x.facts.OnFailure }

// RequestHeader is the request's header, without connection-specific fields; changes reach the upstream.
func (x *Exchange) RequestHeader() *Header { return &x.request }

// ResponseHeader is the response's header from OnResponse on; changes reach the client.
func (x *Exchange) ResponseHeader() *Header { return &x.response }

// Status is the status of the answer from OnResponse on, 0 before.
func (x *Exchange) Status() int { return x.status }

// BeginResponse is called by the server when a final response head is known.
func (x *Exchange) BeginResponse(status int, fields []http1.Field) {
	x.status = status
	x.response.Reset(fields)
}

// Shrink is called by the server when the buffers behind a long-lived exchange go away: the request has been parsed again from a copy. Changes made to the
// request's header are forgotten, and the response's header is empty from then on.
func (x *Exchange) Shrink(path []byte) {
	x.facts.Path = path
	x.request.Reset(x.facts.Request.Fields)
	x.response.Reset(nil)
}

// Prolong gives the exchange another deadline, after its filters have run: it has become a tunnel, and those that look at its messages may wait for them.
func (x *Exchange) Prolong(deadline time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.facts.Deadline = deadline
	if x.cancel != nil {
		x.cancel(context.Canceled)
		x.stop()
		x.ctx, x.cancel, x.stop = nil, nil, nil
	}
}

// AddVerdict records what an agent said.
func (x *Exchange) AddVerdict(v Verdict) { x.verdicts = append(x.verdicts, v) }

// Verdicts returns what was recorded so far.
func (x *Exchange) Verdicts() []Verdict { return x.verdicts }

// State returns what SetState stored under key, or nil. A filter uses itself as the key to carry something from one phase to the next.
func (x *Exchange) State(key any) any {
	for i := range x.states {
		if x.states[i].key == key {
			return x.states[i].value
		}
	}
	return nil
}

// SetState stores value under key until the exchange is over.
func (x *Exchange) SetState(key, value any) {
	for i := range x.states {
		if x.states[i].key == key {
			x.states[i].value = value
			return
		}
	}
	x.states = append(x.states, state{key, value})
}

// Context ends at the deadline, when the client goes away, and when the exchange is over. It is made on the first call: a filter that can work with
// Deadline alone saves its cost.
func (x *Exchange) Context() context.Context {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ctx == nil {
		base, cancel := context.WithCancelCause(context.Background())
		x.cancel = cancel
		x.ctx, x.stop = context.WithDeadline(base, x.facts.Deadline)
		if x.cause != nil {
			x.cancel(x.cause)
		}
	}
	return x.ctx
}

// Cancel ends Context, now or as soon as it is made. Any goroutine may call it.
func (x *Exchange) Cancel(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.cause = cause
	}
	if x.cancel != nil {
		x.cancel(x.cause)
		x.stop()
	}
}
