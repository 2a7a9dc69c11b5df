package server

import (
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// looksAtMessages reports whether WebSockets of the route are taken apart: some filter or limit wants to see messages.
func (r *Route) looksAtMessages() bool {
	return r.WebSocket.MaxMessage > 0 || r.WebSocket.Rate > 0 || r.Chain.Phases().Has(filter.OnMessage)
}

// defaultMaxMessage is the bound on a message that is looked at when the configuration has none.
const defaultMaxMessage = 1 << 20

// guard looks at the messages of a socket: fragments are put together, limits kept, filters asked. What it passes on it writes anew, so that nothing reaches the other side that
// was not understood.
type guard struct {
	*socket
	inspects bool
	asking   sync.Mutex // the exchange is used by one goroutine at a time
}

// flowing is one direction.
type flowing struct {
	g        *guard
	to, from *side
	reader   *websocket.Reader
	closed   bool // it has sent a close
	who      int  // 0 = the client sends
	index    uint64
	tokens   float64 // messages that may come now
	at       int64   // when tokens was right, on the server's clock
}

func newGuard(s *socket) *guard {
	s.client.parts, s.upstream.parts = true, true
	return &guard{socket: s, inspects: s.w.route.Chain.Phases().Has(filter.OnMessage)}
}

func (g *guard) copyMessages(to, from *side, early []byte) int64 {
	most := g.rules.MaxMessage
	if most == 0 {
		most = defaultMaxMessage
	}
	f := &flowing{g: g, to: to, from: from, at: g.c.s.now(), tokens: float64(g.burst())}
	origin := websocket.FromClient
	if from == &g.upstream {
		origin, f.who = websocket.FromUpstream, 1
	}
	f.reader = websocket.NewReader(origin, websocket.Limits{FrameBytes: most, MessageBytes: most})
	return g.each(to, from, early, f.pass)
}

func (g *guard) burst() int {
	if g.rules.Burst > 0 {
		return g.rules.Burst
	}
	return g.rules.Rate
}

// pass takes bytes of one side and passes on the messages that end in them.
func (f *flowing) pass(p []byte) error {
	for len(p) > 0 {
		n, m, ok, wrong := f.reader.Next(p)
		p = p[n:]
		switch {
		case wrong != nil:
			return f.broken(wrong)
		case ok:
			if err := f.message(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// broken ends the socket because a side breaks the rules. It is told which one; the other only that it is over. After a close of its own, or our goodbye, nobody is told
// anything more.
func (f *flowing) broken(wrong *websocket.Error) error {
	g := f.g
	if g.told.Load() || f.closed {
		return f.silence()
	}
	if wrong.Code == websocket.CloseTooBig {
		g.c.s.reached(observe.LimitSocketMessage, g.c.peer.Addr())
	}
	f.end(wrong.Reason, wrong.Code, "")
	return f.silence()
}

// end says goodbye with a code for the side that sends, and 1001 for the other.
func (f *flowing) end(reason string, code int, text string) {
	if f.who == 0 {
		f.g.leave(reason, code, websocket.CloseGoingAway, text)
	} else {
		f.g.leave(reason, websocket.CloseGoingAway, code, text)
	}
}

// silence takes what comes from a side that is not understood any more, until it ends or the time is over.
func (f *flowing) silence() error {
	for {
		f.g.arm()
		if _, err := f.from.read(&f.g.c.s.large, func([]byte) error { return nil }); err != nil {
			return err
		}
	}
}

// message judges one message and passes on what becomes of it.
func (f *flowing) message(m websocket.Message) error {
	g := f.g
	if m.Opcode == websocket.Close {
		f.closed = true
		defer g.hear(f.from)
	}
	if g.told.Load() {
		return nil
	}
	g.metrics.Messages[f.who][metricKind(m.Opcode)].Add(1)
	if !f.affords() {
		g.c.s.reached(observe.LimitSocketRate, g.c.peer.Addr())
		f.end(endRate, websocket.ClosePolicy, "too many messages")
		return nil
	}
	payload := m.Payload
	if g.inspects {
		x := filter.Message{Opcode: m.Opcode, FromClient: f.who == 0, Data: payload, Index: f.index}
		f.index++
		switch d := g.ask(&x); d.Action {
		case filter.DropMessage:
			return nil
		case filter.CloseSocket:
			g.leave(endFilter, d.Code, d.Code, d.Text)
			return nil
		}
		payload = x.Data
	}
	return f.to.frame(m.Opcode, payload)
}

// ask runs the filters. Messages of both directions wait for each other.
func (g *guard) ask(m *filter.Message) filter.MessageDecision {
	g.asking.Lock()
	defer g.asking.Unlock()
	d := g.w.route.Chain.Message(g.w.x, m, func(v *filter.Verdict) { g.c.auditMessage(g.w, v) })
	decision := "allow"
	switch {
	case d.Action == filter.DropMessage:
		decision = "drop"
	case d.Action == filter.CloseSocket:
		decision = "close"
	case m.Replaced():
		decision = "replace"
	}
	g.metrics.Decisions.Add(decision)
	return d
}

// affords takes a token for a message, when their rate is limited.
func (f *flowing) affords() bool {
	rate := f.g.rules.Rate
	if rate == 0 {
		return true
	}
	now := f.g.c.s.now()
	f.tokens = min(float64(f.g.burst()), f.tokens+float64(rate)*time.Duration(now-f.at).Seconds())
	f.at = now
	if f.tokens < 1 {
		return false
	}
	f.tokens--
	return true
}

func metricKind(o websocket.Opcode) observe.SocketKind {
	switch o {
	case websocket.Text:
		return observe.SocketText
	case websocket.Binary:
		return observe.SocketBinary
	}
	return observe.SocketControl
}
