package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Session is the TLS of one connection. During Handshake it uses the connection itself and waits; afterwards it does not touch it: Open reads ciphertext from
// a source that must not wait, and Seal gives ciphertext back.
//
// One goroutine may use Open while another one uses Seal.
type Session struct {
	conn  *tls.Conn
	under under
}

// ErrAgain is what a source returns that has nothing now, and then Open as well. What came so far is kept.
var ErrAgain error = again{}

// again is temporary in the sense of net.Error: crypto/tls does not give the connection up because of it.
type again struct{}

func (again) Error() string   { return "cannot read now without waiting" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// maxUnsent bounds what may wait to be sent: a peer that makes us answer (key updates) while nothing is sent to it does not fill the memory.
const maxUnsent = 1 << 20

var errUnsent = errors.New("too much is waiting to be sent")

// under is the connection as crypto/tls sees it.
type under struct {
	net.Conn
	from io.Reader
	live bool // during the handshake: writes go to the connection

	ended bool // the stream ended, which crypto/tls takes for a farewell where a record ends

	mu  sync.Mutex // guards out
	out []byte     // ciphertext nobody has taken yet
}

// Deadlines are set on the connection by its owner; crypto/tls would set one when it says goodbye.
func (u *under) SetDeadline(time.Time) error      { return nil }
func (u *under) SetReadDeadline(time.Time) error  { return nil }
func (u *under) SetWriteDeadline(time.Time) error { return nil }

func (u *under) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	if err == io.EOF {
		u.ended = true
	}
	return n, err
}

func (u *under) Write(p []byte) (int, error) {
	if u.live {
		return u.Conn.Write(p)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.out)+len(p) > maxUnsent {
		return 0, errUnsent
	}
	u.out = append(u.out, p...)
	return len(p), nil
}

// Accept makes the session of a connection that a client opened.
func Accept(c net.Conn, conf *tls.Config) *Session {
	s := &Session{under: under{Conn: c, from: c, live: true}}
	s.conn = tls.Server(&s.under, conf)
	return s
}

// Connect makes the session of a connection that we opened.
func Connect(c net.Conn, conf *tls.Config) *Session {
	s := &Session{under: under{Conn: c, from: c, live: true}}
	s.conn = tls.Client(&s.under, conf)
	return s
}

// Handshake does what must be done before anything can be sent. It waits on the connection, whose deadlines bound it.
func (s *Session) Handshake() error {
	err := s.conn.HandshakeContext(context.Background())
	s.under.live = false
	return err
}

// From sets where Open reads ciphertext. from must return ErrAgain instead of waiting.
func (s *Session) From(from io.Reader) { s.under.from = from }

// Open reads plaintext. It returns ErrAgain when the source does before there is any, io.EOF when the peer has said that it sends no more, and
// io.ErrUnexpectedEOF when it has left without saying so. After anything but ErrAgain the source may still hold what Open has not looked at.
func (s *Session) Open(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if n > 0 {
		return n, nil // an end behind it is found by the next call
	}
	if err == io.EOF && s.under.ended {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// Seal returns the ciphertext of a followed by b, and before it anything that was to be sent earlier. It is appended to dst, which must be empty.
func (s *Session) Seal(dst, a, b []byte) ([]byte, error) {
	u := &s.under
	u.mu.Lock()
	u.out = append(dst, u.out...)
	u.mu.Unlock()
	var err error
	for _, p := range [2][]byte{a, b} {
		if len(p) > 0 && err == nil {
			_, err = s.conn.Write(p)
		}
	}
	return s.take(), err
}

// Bye returns the ciphertext that ends our side in an orderly way, with anything else that was to be sent. An alert about what went wrong before is part of
// it. Nothing can be sealed afterwards.
func (s *Session) Bye() []byte {
	_ = s.conn.CloseWrite()
	return s.take()
}

func (s *Session) take() []byte {
	u := &s.under
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.out
	u.out = nil
	return out
}

// State describes the session; it is complete after the handshake.
func (s *Session) State() tls.ConnectionState { return s.conn.ConnectionState() }
