package upstream

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// Conn is one connection to a target on which HTTP/1.1 is spoken; or a stream of HTTP/2 that behaves like one (see package multiplex). Between Acquire and Release it belongs to one exchange.
type Conn struct {
	TCP Stream // the socket, which may be a Unix one as well

	// Session is the TLS of the connection, nil when it is plain. Between Acquire and Release its source is the driver's to set.
	Session *tlsconf.Session

	// Buf is a place for the driver's read buffer while it holds the connection. The driver takes it back before Release: idle
	// connections hold no buffers.
	Buf []byte

	// ReadDeadline and WriteDeadline are for the driver to remember what deadlines the socket has, in Unix nanoseconds, so that it can leave them
	// alone while they are near enough. 0 = none set. The pool never touches the socket's deadlines.
	ReadDeadline, WriteDeadline int64

	stream   *multiplex.Stream // TCP, when it is one
	target   *Target           // it was last acquired for
	endpoint *endpoint
	remote   netip.AddrPort
	created  int64 // endpoint.now at the dial
	lastUsed int64 // endpoint.now at the last release
	next     *Conn // below it on the idle stack

	raw     syscall.RawConn
	look    func(fd uintptr) // looks at the socket, sets verdict; kept so that looking allocates nothing
	verdict bool
}

func newConn(ctx context.Context, tcp Stream, t *Target) (*Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{TCP: tcp, target: t, endpoint: t.endpoint, created: t.endpoint.now.Load(), raw: raw}
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = a.AddrPort()
	}
	if t.endpoint.tls != nil {
		if c.Session, err = t.endpoint.shake(ctx, tcp); err != nil {
			return nil, err
		}
	}
	c.look = func(fd uintptr) { c.verdict = quiet(fd) }
	return c, nil
}

// Remote is the address the connection leads to; invalid for a Unix socket.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Target is the target the connection was acquired for.
func (c *Conn) Target() *Target { return c.target }

// Raw is the socket for a driver that does its own reading and writing, nil for a stream of HTTP/2, which has none. It is made once per connection.
func (c *Conn) Raw() syscall.RawConn { return c.raw }

// Multiplexed reports whether it is a stream of a connection that other exchanges use, too.
func (c *Conn) Multiplexed() bool { return c.stream != nil }

// alive reports whether an idle connection is open with nothing to read, by one system call that does not block.
func (c *Conn) alive() bool {
	if c.Session != nil {
		return c.settled()
	}
	c.verdict = false
	return c.raw.Control(c.look) == nil && c.verdict
}

// Release gives the connection back. Reusable says that the last answer was read to its end, that nothing else arrived and that both sides want to keep the connection;
// otherwise it is closed. It must be called exactly once.
func (c *Conn) Release(reusable bool) {
	c.Buf = nil
	if c.stream != nil {
		_ = c.stream.Close()
		return
	}
	if !c.endpoint.put(c, reusable) {
		c.close()
	}
}

// close ends the connection, with the farewell that TLS wants when that can be sent at once.
func (c *Conn) close() {
	if c.Session != nil {
		if out := c.Session.Bye(); len(out) > 0 {
			_ = c.raw.Control(func(fd uintptr) { sendNow(fd, out) })
		}
	}
	_ = c.TCP.Close()
}
