package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// peer is one connection of a proxy.
type peer struct {
	s        *Server
	nc       net.Conn
	r        *wire.Reader
	w        *wire.Writer
	encoding protocol.Encoding
	ready    atomic.Bool // handshake done
	sent     atomic.Uint32
	handlers sync.WaitGroup // handlers and reading goroutines
	over     chan error     // why reading ended
	turn     turn

	mu     sync.Mutex        // guards active and the queues in it
	active map[string]*event // by correlation id, the one being handled
}

// event is one event from its arrival to its answer.
type event struct {
	callContext
	p    *peer
	id   string
	kind protocol.FrameType
	msg  any
	size int64
	next *event // of the same correlation id, waiting for this one
}

func newPeer(s *Server, nc net.Conn) *peer {
	nc = wire.Quiet(nc)
	p := &peer{s: s, nc: nc, w: wire.NewWriter(nc), active: map[string]*event{}, over: make(chan error, 1)}
	p.r = wire.NewReader(wire.Source(nc))
	p.turn.init(p)
	return p
}

// serve handles the connection until it ends.
func (p *peer) serve() {
	var running sync.WaitGroup
	running.Go(p.w.Run)
	err := p.handshake()
	if err == nil {
		p.handlers.Add(1)
		go p.read(0)
		err = <-p.over
	}
	p.close()
	p.turn.end()
	p.cancelAll()
	p.handlers.Wait()
	running.Wait()
	p.s.gone(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		p.s.log.Warn("connection ended", "error", err)
	}
}

func (p *peer) close() {
	p.w.Close()
	p.nc.Close()
}

func (p *peer) cancelAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.active {
		for ; e != nil; e = e.next {
			e.cancel()
		}
	}
}

// handshake reads the proxy's hello, applies the configuration it carries and answers.
func (p *peer) handshake() error {
	if err := p.nc.SetReadDeadline(time.Now().Add(protocol.HandshakeTimeout)); err != nil {
		return err
	}
	p.r.Limit = protocol.MaxHandshake
	t, payload, err := p.r.Next()
	if err != nil {
		return err
	}
	if t != protocol.TypeHandshakeRequest {
		return fmt.Errorf("cannot shake hands: first frame has type %#x", byte(t))
	}
	var hello protocol.HandshakeRequest
	if err := wire.Decode(protocol.JSON, payload, &hello); err != nil {
		return err
	}
	p.r.Limit = protocol.MaxFrame
	answer := protocol.HandshakeResponse{Version: protocol.Version, Capabilities: p.s.caps, Success: true, Encoding: protocol.JSON}
	for _, enc := range hello.SupportedEncodings {
		if enc == protocol.MsgPack || enc == protocol.JSON {
			answer.Encoding = enc
			break
		}
	}
	switch {
	case !slices.Contains(hello.SupportedVersions, protocol.Version):
		answer.Success, answer.Error = false, fmt.Sprintf("protocol version %d is needed", protocol.Version)
	case hello.Config != nil:
		if err := p.s.Configure(context.Background(), hello.Config); err != nil {
			p.s.log.Error("configuration refused", "error", err)
			answer.Success, answer.Error = false, err.Error()
		}
	}
	p.encoding = answer.Encoding
	if err := p.w.Send(wire.Format{Grease: true}, &answer); err != nil {
		return err
	}
	if !answer.Success {
		p.drainWriter()
		return errors.New("cannot shake hands: " + answer.Error)
	}
	p.begin(hello.ProxyID)
	return p.nc.SetReadDeadline(time.Time{})
}

// begin makes the connection known to broadcasts and tells the proxy how the agent is, unless it is well.
func (p *peer) begin(proxy string) {
	p.s.mu.Lock()
	p.ready.Store(true)
	health, message := p.s.health, p.s.message
	p.s.mu.Unlock()
	if health != protocol.Healthy {
		p.sendHealth(health, message)
	}
	p.s.log.Debug("proxy connected", "proxy", proxy, "encoding", string(p.encoding))
}

// drainWriter gives the last message a moment to leave.
func (p *peer) drainWriter() {
	for range 50 {
		if p.w.Idle() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// read handles frames until the connection ends or another goroutine has taken the turn.
func (p *peer) read(turn uint64) {
	defer p.handlers.Done()
	for {
		t, payload, err := p.r.Next()
		var inline *event
		if err == nil {
			inline, err = p.frame(t, payload)
		}
		if err != nil {
			p.over <- err
			return
		}
		if inline == nil {
			continue
		}
		p.turn.start(turn)
		inline.run()
		if !p.turn.finish(turn) {
			return
		}
	}
}

// frame handles one frame. An event that may be handled by the goroutine that reads is returned.
func (p *peer) frame(t protocol.FrameType, payload []byte) (inline *event, err error) {
	switch t {
	case protocol.TypePing:
		return nil, p.w.SendRaw(protocol.TypePong, payload)
	case protocol.TypeCancel:
		var c protocol.Cancel
		if err := wire.Decode(p.encoding, payload, &c); err != nil {
			return nil, err
		}
		p.canceled(&c)
		return nil, nil
	}
	return p.event(t, payload)
}

func (p *peer) canceled(c *protocol.Cancel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.active[c.CorrelationID]; e != nil; e = e.next {
		e.cancel()
	}
}

// event decodes an event and sees to its handler: behind an earlier one of the same request, in a goroutine of its own, or, when it is returned, in the
// caller's.
func (p *peer) event(t protocol.FrameType, payload []byte) (inline *event, err error) {
	e := &event{p: p, kind: t, size: int64(len(payload))}
	if err := e.decode(p.encoding, payload); err != nil {
		return nil, err
	}
	p.s.total.Add(1)
	events, bytes := p.s.events.Add(1), p.s.bytes.Add(e.size)
	p.s.procs.arrived(time.Now(), events)
	if events > int64(cap(p.s.slots)+maxWaiting) || bytes > maxWaitingBytes {
		p.s.done(e)
		p.send(&protocol.Response{CorrelationID: e.id, Error: "agent is overloaded"})
		return nil, nil
	}
	if !p.begins(e) {
		return nil, nil
	}
	if p.turn.quick() && !p.r.Pending() && e.kind != protocol.TypeConfigure {
		select {
		case p.s.slots <- struct{}{}:
			p.handlers.Add(1)
			return e, nil
		default: // every slot is taken; a goroutine may wait for one
		}
	}
	p.handlers.Add(1)
	go func() {
		p.s.slots <- struct{}{}
		e.run()
	}()
	return nil, nil
}

// begins makes e the event being handled for its request, or puts it behind the one that is.
func (p *peer) begins(e *event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	head := p.active[e.id]
	if head == nil {
		p.active[e.id] = e
		return true
	}
	for head.next != nil {
		head = head.next
	}
	head.next = e
	return false
}

func (e *event) decode(enc protocol.Encoding, payload []byte) (err error) {
	switch e.kind {
	case protocol.TypeRequestHeaders:
		m := new(protocol.RequestHeaders)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.Metadata.CorrelationID, m
	case protocol.TypeResponseHeaders:
		m := new(protocol.ResponseHeaders)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.CorrelationID, m
	case protocol.TypeRequestBodyChunk, protocol.TypeResponseBodyChunk:
		m := new(protocol.BodyChunk)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.CorrelationID, m
	case protocol.TypeRequestComplete:
		m := new(protocol.RequestComplete)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.CorrelationID, m
	case protocol.TypeConfigure:
		m := new(protocol.Configure)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.CorrelationID, m
	case protocol.TypeWebSocketFrame:
		m := new(protocol.WebSocketFrame)
		err = wire.Decode(enc, payload, m)
		e.id, e.msg = m.CorrelationID, m
	case protocol.TypeGuardrailInspect: // reserved: known, but nobody here can judge it
		id := wire.EventID(enc, payload)
		if len(id) == 0 {
			return errors.New("event without correlation id")
		}
		e.id = string(id)
	default:
		return fmt.Errorf("unexpected frame type %#x", byte(e.kind))
	}
	return err
}

// run handles e, for which a slot has been taken, and then the events that waited for it.
func (e *event) run() {
	p := e.p
	defer p.handlers.Done()
	for {
		r := responses.Get().(*protocol.Response)
		*r = protocol.Response{CorrelationID: e.id}
		e.handle(r)
		<-p.s.slots
		p.send(r)
		responses.Put(r)
		p.s.done(e)
		if e = p.follows(e); e == nil {
			return
		}
		p.s.slots <- struct{}{}
	}
}

// follows returns the event that waited for e, if any.
func (p *peer) follows(e *event) *event {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.next == nil {
		delete(p.active, e.id)
		return nil
	}
	p.active[e.id] = e.next
	return e.next
}

var responses = sync.Pool{New: func() any { return new(protocol.Response) }}

// done counts an answered event.
func (s *Server) done(e *event) {
	s.bytes.Add(-e.size)
	if s.events.Add(-1) == 0 {
		select {
		case <-s.stop:
			s.mu.Lock()
			s.fell()
			s.mu.Unlock()
		default:
		}
	}
}

// handle asks the agent. Whatever goes wrong becomes an answer that says so, never an allow.
func (e *event) handle(r *protocol.Response) {
	defer func() {
		if v := recover(); v != nil {
			e.p.s.log.Error("handler panicked", "correlation_id", e.id, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			r.Verdict, r.Error = protocol.Verdict{}, "handler panicked"
		}
	}()
	v, err := e.ask()
	if err == nil {
		err = check(&v, e.msg)
	}
	if err != nil {
		e.p.s.log.Warn("cannot decide", "correlation_id", e.id, "error", err)
		r.Error = err.Error()
		return
	}
	r.Verdict = v
}

// ask calls the handler of the event; an agent that has none for it allows.
func (e *event) ask() (protocol.Verdict, error) {
	a := e.p.s.agent
	switch m := e.msg.(type) {
	case *protocol.RequestHeaders:
		return a.Request(e, m)
	case *protocol.ResponseHeaders:
		if h, ok := a.(ResponseHandler); ok {
			return h.Response(e, m)
		}
	case *protocol.BodyChunk:
		if h, ok := a.(RequestBodyHandler); ok && e.kind == protocol.TypeRequestBodyChunk {
			return h.RequestBody(e, m)
		}
		if h, ok := a.(ResponseBodyHandler); ok && e.kind == protocol.TypeResponseBodyChunk {
			return h.ResponseBody(e, m)
		}
	case *protocol.WebSocketFrame:
		if h, ok := a.(WebSocketHandler); ok && !m.Fragment && m.Opcode != protocol.OpContinuation {
			return h.WebSocketFrame(e, m)
		}
		return protocol.Verdict{}, errors.New("this agent cannot judge WebSocket frames, or not in fragments")
	case *protocol.RequestComplete:
		if h, ok := a.(CompleteHandler); ok {
			h.Complete(e, m)
		}
	case *protocol.Configure:
		if err := e.p.s.Configure(e, m.Config); err != nil {
			e.p.s.log.Error("configuration refused", "error", err)
			return protocol.Block(500, nil, []byte(err.Error())), nil
		}
	default:
		return protocol.Verdict{}, fmt.Errorf("event type %#x is not supported", byte(e.kind))
	}
	return protocol.Allow(), nil
}

// check refuses verdicts that the proxy could not carry out.
func check(v *protocol.Verdict, event any) error {
	if v.Socket != nil {
		f, ok := event.(*protocol.WebSocketFrame)
		if !ok {
			return errors.New("verdict on a WebSocket message in answer to something else")
		}
		if err := f.Check(v.Socket); err != nil {
			return err
		}
	}
	switch v.Action {
	case protocol.ActionAllow:
		return nil
	case protocol.ActionBlock:
		if v.Status >= 200 && v.Status <= 599 {
			return nil
		}
		return fmt.Errorf("block with status %d", v.Status)
	case protocol.ActionRedirect:
		switch v.Status {
		case 301, 302, 303, 307, 308:
			if v.URL != "" {
				return nil
			}
		}
		return fmt.Errorf("redirect to %q with status %d", v.URL, v.Status)
	case protocol.ActionChallenge:
		if v.ChallengeType != "" {
			return nil
		}
		return errors.New("challenge without a type")
	}
	return errors.New("handler returned no verdict")
}

// greaseEvery is how many messages go between two that carry an unknown key.
const greaseEvery = 64

// send writes a message. An answer that cannot be expressed becomes an error; a connection that takes nothing is over.
func (p *peer) send(m any) {
	if !p.ready.Load() {
		return
	}
	f := wire.Format{Encoding: p.encoding, Grease: p.sent.Add(1)%greaseEvery == 0}
	err := p.w.Send(f, m)
	if errors.Is(err, wire.ErrTooLong) {
		p.s.log.Warn("cannot send message", "type", fmt.Sprintf("%T", m), "error", err)
		err = nil
		if r, ok := m.(*protocol.Response); ok {
			err = p.w.Send(f, &protocol.Response{CorrelationID: r.CorrelationID, Error: "verdict is beyond a limit of the protocol"})
		}
	}
	if err != nil {
		p.nc.Close()
	}
}

func (p *peer) sendHealth(state protocol.Health, message string) {
	p.send(&protocol.HealthStatus{AgentID: p.s.caps.AgentID, State: state, Message: message, TimeMillis: time.Now().UnixMilli()})
}
