package server

import (
	"net/netip"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/route"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

const (
	readBuffer  = 16 << 10 // in each direction; a request body that fits behind its head is collected here before it is sent on
	largeBuffer = 64 << 10 // for bodies that stream
	outBuffer   = 4 << 10  // outgoing heads
	outKeep     = 160 << 10
)

// work is everything a connection needs while it serves requests and nothing that it needs while it is idle. Works are pooled.
type work struct {
	// The client's side. in[start:end] is what was read and not yet served.
	in         []byte
	start, end int
	began      time.Time // when the first byte of the head was seen; zero between requests
	parsed     bool      // req describes what begins at start
	headLen    int
	bodyLen    int // bytes behind the head that belong to the request and are in the buffer
	blocking   bool
	req        http1.Request
	body       http1.Body // of the request, while it streams
	rest       []byte     // what was read beyond a streamed body
	spent      bool       // the buffers were given up: not for the pool

	// The upstream's side. upIn[:upEnd] is what was read.
	up    wire
	upIn  []byte
	upEnd int
	resp  http1.Response
	reply http1.Body

	out   []byte // what is sent next
	text  []byte // error bodies
	path  []byte // canonical path, when it had to be rewritten
	big   *[largeBuffer]byte
	plain filter.Header // of answers before there is an exchange

	state
	facts  filter.Facts
	query  route.Query
	hint   balance.Hint
	origin upstream.Origin // for targets that want to know
	access observe.AccessRecord
	audit  observe.AuditRecord
	sample observe.Sample
	done   filter.Outcome
}

// state is what is known of the exchange that runs; it starts from zero each time.
type state struct {
	next     outcome // what becomes of the connection
	gen      *Generation
	route    *Route
	x        *filter.Exchange
	upload   *upload
	since    time.Time // the first byte of the head
	deadline int64     // of the whole exchange with the upstream, on the server's clock
	idBuf    [observe.MaxIDLen]byte
	id       []byte // within idBuf
	trace    [55]byte
	client   netip.Addr
	trusted  bool // the peer is a trusted proxy
	counted  bool // in the route's metrics
	keep     bool // the client connection may be used again
	unread   bool // part of the request body was not read
	begun    bool // part of an answer was sent
	tunnel   bool // an upgrade is asked for and allowed
	grpc     bool // the request is a call of gRPC
	aborted  bool
	settled  bool // what was wrong with the request body has been answered
	reused   bool
	expect   bool           // Expect: 100-continue was passed on
	chunked  bool           // the answer is chunked towards the client
	pool     *upstream.Pool // the route's or that of its fallback
	timeouts *config.UpstreamTimeouts
	upstream string // id of pool
	tries    int    // on this pool
	patience int64  // until when the head of the answer must be here, on the server's clock
	tried    int64  // when the attempt on target began
	headAt   int64  // when the head was there; 0 = not yet
	pledged  bool   // an answer was dismissed and another attempt was promised
	retries  bool   // it has a place in the retry budget of pool
	replay   []byte // a streamed request body as it was sent, kept to be sent again
	target   *upstream.Target
	using    *upstream.Conn
	holds    holds
	status   int
	received int64 // body bytes from the client
	sent     int64 // body bytes to the client
	attempts int
	address  string // of the target
	refusal  string // code
	action   filter.Action
	by       string // filter that decided
	reason   string
}

func (s *Server) getWork() *work {
	w, _ := s.works.Get().(*work)
	if w == nil {
		w = &work{in: make([]byte, readBuffer), upIn: make([]byte, readBuffer), out: make([]byte, 0, outBuffer), text: make([]byte, 0, 256)}
		w.up.bind()
	}
	return w
}

func (s *Server) putWork(w *work) {
	if w.spent {
		return
	}
	w.start, w.end, w.parsed, w.began = 0, 0, false, time.Time{}
	w.req.Reset()
	w.rest = nil
	w.state = state{} // a pooled work keeps no generation alive
	if cap(w.out) > outKeep {
		w.out = make([]byte, 0, outBuffer)
	}
	s.dropBig(w)
	s.works.Put(w)
}

// bigBuffer returns the work's buffer for streaming.
func (s *Server) bigBuffer(w *work) []byte {
	if w.big == nil {
		w.big = s.large.Get().(*[largeBuffer]byte)
	}
	return w.big[:]
}

func (s *Server) dropBig(w *work) {
	if w.big != nil {
		s.large.Put(w.big)
		w.big = nil
	}
}

// room is where the next bytes from the client go; never empty.
func (w *work) room() []byte {
	if w.end == len(w.in) {
		if w.start > 0 {
			w.compact()
		} else {
			w.in = append(w.in, make([]byte, len(w.in))...) // the parser still wants more, so the limit is larger than the buffer
		}
	}
	return w.in[w.end:]
}

// compact moves what is unserved to the front. A parsed head is forgotten: its views point to the old place.
func (w *work) compact() {
	w.end = copy(w.in, w.in[w.start:w.end])
	w.start = 0
	w.parsed = false
	w.req.Reset()
}

// settle moves on to the next request in the buffer.
func (w *work) settle() {
	if w.rest != nil { // a streamed body was read past its end, into another buffer
		w.start, w.end = 0, copy(w.in, w.rest)
		w.rest = nil
	} else {
		w.start += w.headLen + w.bodyLen
	}
	w.parsed, w.blocking, w.headLen, w.bodyLen, w.began = false, false, 0, 0, time.Time{}
	w.req.Reset()
	if w.start >= w.end {
		w.start, w.end = 0, 0
	}
}

// known is the request body when nothing of it has to be read from the client: collected, or kept from an earlier attempt.
func (w *work) known() []byte {
	if w.replay != nil {
		return w.replay
	}
	return w.collected()
}

// collected is the request body when all of it is in the buffer.
func (w *work) collected() []byte {
	from := w.start + w.headLen
	return w.in[from : from+w.bodyLen]
}
