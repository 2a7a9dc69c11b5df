package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http3"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// quicListener takes connections with HTTP/3 for a listener of the configuration.
type quicListener struct {
	*http3.Listener
	s       *Server
	served  *served
	shaking atomic.Int64 // handshakes that are not done
	running sync.WaitGroup
	stop    context.CancelFunc // ends accepting
}

// ServeQUIC serves HTTP/3 on a UDP socket until a drain is over, and then returns ErrClosed. id names a listener of the generation with TLS.
//
// From the moment of Drain on, connections that begin are refused, which their clients are told; those that are there go on until their requests are answered.
func (s *Server) ServeQUIC(socket net.PacketConn, id string) error {
	settings := s.generation.Load().listener(id)
	if settings == nil || settings.TLS == nil {
		_ = socket.Close()
		return fmt.Errorf("cannot serve HTTP/3 on listener %q: not configured, or without TLS", id)
	}
	settings.Metrics.HTTP3.Store(true)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l := &quicListener{s: s, served: &served{id: id, metrics: settings.Metrics}, stop: stop}
	var err error
	if l.Listener, err = http3.Listen(socket, http3.Policy{TLS: l.tls, Limits: l.limits, Validate: l.validate, Begin: l.begin}); err != nil {
		return fmt.Errorf("cannot serve HTTP/3 on listener %q: %w", id, err)
	}
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		l.Close()
		return ErrClosed
	}
	s.quics[l] = struct{}{}
	s.quicServing.Add(1)
	s.mu.Unlock()
	defer s.quicServing.Done()
	for {
		q, e := l.Accept(ctx)
		if e != nil {
			err = e
			break
		}
		l.admit(q)
	}
	var late sync.WaitGroup
	late.Go(l.dismiss)
	l.running.Wait()
	l.Close()
	late.Wait()
	s.mu.Lock()
	delete(s.quics, l)
	s.mu.Unlock()
	if s.draining.Load() {
		return ErrClosed
	}
	return fmt.Errorf("cannot accept on listener %q: %w", id, err)
}

// dismiss ends connections whose handshake was done too late, until the socket is closed.
func (l *quicListener) dismiss() {
	for {
		q, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		http3.End(q, http3.NoError)
	}
}

// settings are those of now.
func (l *quicListener) settings() *Listener { return l.s.generation.Load().listener(l.served.id) }

func (l *quicListener) tls() *tls.Config {
	if n := l.settings(); n != nil && n.TLS != nil {
		return n.TLS.QUIC()
	}
	return &tls.Config{MinVersion: tls.VersionTLS13} // without a certificate no handshake succeeds
}

func (l *quicListener) limits() http3.Limits {
	n := l.settings()
	if n == nil || n.TLS == nil {
		return http3.Limits{}
	}
	h := &n.HTTP3
	return http3.Limits{Streams: h.MaxConcurrentStreams, StreamWindow: h.StreamWindow, ConnectionWindow: h.ConnectionWindow, Idle: h.IdleTimeout, Handshake: n.TLS.HandshakeTimeout}
}

func (l *quicListener) validate() bool {
	n := l.settings()
	return n == nil || l.shaking.Load() >= int64(n.HTTP3.ValidateAbove)
}

// shaking is a handshake that counts until it is done, or its connection over.
type shaking struct {
	began time.Time
	end   func() bool // reports whether it still counted
}

// begin counts a handshake.
func (l *quicListener) begin(over context.Context, client net.Addr) (note any, ok bool) {
	n := l.settings()
	if n == nil || n.TLS == nil || l.s.draining.Load() {
		return nil, false
	}
	m := &l.served.metrics.TLS
	if l.shaking.Add(1) > int64(n.TLS.MaxHandshakes) {
		l.shaking.Add(-1)
		m.Failures.Add("queue")
		l.s.reached(observe.LimitHandshakes, addrPort(client).Addr())
		return nil, false
	}
	m.Active.Add(1)
	var once atomic.Bool
	h := &shaking{time.Now(), func() bool {
		if once.Swap(true) {
			return false
		}
		l.shaking.Add(-1)
		m.Active.Add(-1)
		return true
	}}
	context.AfterFunc(over, func() {
		if h.end() {
			m.Failures.Add(whyQUIC(context.Cause(over)))
		}
	})
	return h, true
}

// whyQUIC is whyHandshake for HTTP/3.
func whyQUIC(err error) string {
	switch ended := http3.EndedBy(err); ended {
	case http3.EndedByTime:
		return "timeout"
	case http3.EndedByAlert:
		return "alert"
	case http3.EndedByPeer:
		return "gone"
	}
	return whyRefused(err)
}

// admit starts a connection, or ends it when a cap is reached.
func (l *quicListener) admit(q *http3.Conn) {
	s, m := l.s, l.served.metrics
	m.Total.Add(1)
	if h, ok := http3.Note(q).(*shaking); ok && h.end() {
		state := q.ConnectionState().TLS
		m.TLS.Done(state.Version, state.DidResume, time.Since(h.began))
	}
	c := &conn{s: s, ln: l.served, peer: addrPort(q.RemoteAddr()), local: addrPort(q.LocalAddr()), stripe: s.opened.Add(1), quic: true}
	h := &quicSession{c: c, q: q, wake: make(chan struct{}, 1)}
	h.done.L = &h.mu
	c.wire.tcp = h
	c.names.init(c.peer, c.local)
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		http3.End(q, http3.NoError)
		return
	}
	limit, ok := s.registerLocked(c)
	if !ok {
		s.mu.Unlock()
		c.shutOut(limit)
		http3.End(q, http3.ExcessiveLoad)
		return
	}
	l.running.Add(1)
	s.mu.Unlock()
	m.Quic.Add(1)
	s.serving.Go(func() {
		defer l.running.Done()
		defer m.Quic.Add(-1)
		c.serveQUIC(h)
	})
}

// secureQUIC notes what the handshake found out.
func (c *conn) secureQUIC(q *http3.Conn) error {
	c.configure(c.s.generation.Load())
	if c.settings == nil || c.settings.TLS == nil {
		return errors.New("no such listener")
	}
	c.tls = c.settings.TLS
	state := q.ConnectionState().TLS
	c.secured = c.learn(&state)
	return nil
}
