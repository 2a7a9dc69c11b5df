package http3

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// What a connection of QUIC is made of.
type (
	Conn          = quic.Conn
	Stream        = quic.Stream
	ReceiveStream = quic.ReceiveStream
	SendStream    = quic.SendStream
)

// Limits are those of the connections that a listener takes.
type Limits struct {
	Streams          int           // requests of a connection that may be open
	StreamWindow     int64         // bytes
	ConnectionWindow int64         // bytes
	Idle             time.Duration // without any packet
	Handshake        time.Duration // for all of it
}

// uniStreams are those a client needs (control, two of QPACK), and some that we do not know.
const uniStreams = 8

// config of QUIC. Early data is never taken: it can be replayed.
func (l *Limits) config() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: max(l.Handshake/2, time.Millisecond), MaxIdleTimeout: l.Idle, KeepAlivePeriod: l.Idle / 2, MaxIncomingStreams: int64(l.Streams), MaxIncomingUniStreams: uniStreams,
		InitialStreamReceiveWindow: uint64(l.StreamWindow), MaxStreamReceiveWindow: uint64(l.StreamWindow),
		InitialConnectionReceiveWindow: uint64(l.ConnectionWindow), MaxConnectionReceiveWindow: uint64(l.ConnectionWindow),
		Allow0RTT: false,
	}
}

// Policy decides about connections that begin. Its functions may be called from several goroutines.
type Policy struct {
	TLS      func() *tls.Config // for each handshake
	Limits   func() Limits      // the same
	Validate func() bool        // whether a client must first show that it receives what is sent to its address (Retry, RFC 9000 §8.1.2)
	// Begin is told of a handshake that begins; over ends with the connection. What it returns can be asked for by Note. Not ok refuses it, and the client is told.
	Begin func(over context.Context, client net.Addr) (note any, ok bool)
}

type noteKey struct{}

// Note is what Policy.Begin said of a connection.
func Note(c *Conn) any { return c.Context().Value(noteKey{}) }

// Listener takes connections on a UDP socket.
type Listener struct {
	transport *quic.Transport
	ln        *quic.Listener
	socket    net.PacketConn
}

var errRefused = errors.New("refused")

// Listen takes over a socket.
func Listen(socket net.PacketConn, p Policy) (*Listener, error) {
	t := &quic.Transport{
		Conn: socket, VerifySourceAddress: func(net.Addr) bool { return p.Validate() },
		ConnContext: func(ctx context.Context, from *quic.ClientInfo) (context.Context, error) {
			note, ok := p.Begin(ctx, from.RemoteAddr)
			if !ok {
				return nil, errRefused
			}
			return context.WithValue(ctx, noteKey{}, note), nil
		},
	}
	first := p.Limits()
	conf := first.config()
	conf.GetConfigForClient = func(*quic.ClientInfo) (*quic.Config, error) {
		l := p.Limits()
		return l.config(), nil
	}
	ln, err := t.Listen(&tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return p.TLS(), nil },
	}, conf)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return &Listener{transport: t, ln: ln, socket: socket}, nil
}

// Accept waits for the next connection whose handshake is done.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) { return l.ln.Accept(ctx) }

// Addr is the socket's.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close ends everything on the socket, and the socket.
func (l *Listener) Close() {
	_ = l.transport.Close()
	_ = l.socket.Close()
}

// End closes a connection and tells the client why.
func End(c *Conn, code Code) { _ = c.CloseWithError(quic.ApplicationErrorCode(code), "") }

// Stop ends the halves of a stream that are still open.
func Stop(s *Stream, read, write bool, code Code) {
	if read {
		s.CancelRead(quic.StreamErrorCode(code))
	}
	if write {
		s.CancelWrite(quic.StreamErrorCode(code))
	}
}

// StopReading ends a stream that is only read.
func StopReading(s *ReceiveStream, code Code) { s.CancelRead(quic.StreamErrorCode(code)) }

// ResetByPeer reports whether an error says that the client ended the stream.
func ResetByPeer(err error) bool {
	var e *quic.StreamError
	return errors.As(err, &e) && e.Remote
}
