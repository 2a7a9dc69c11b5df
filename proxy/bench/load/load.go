// Package load is a small HTTP/1.1 load generator: one thread, one epoll set, keep-alive connections, no allocation per request.
//
// It knows two loads. Closed loop: every connection sends its next request as soon as the answer is complete. Open loop: requests
// are due at fixed moments, whatever the server does, and a latency is counted from the moment a request was due, not from
// the moment it could be sent; a server that stalls is charged for every request that had to wait (no coordinated omission).
package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to send and how fast.
type Options struct {
	Target      netip.AddrPort
	Request     []byte        // one complete request head (and body)
	Connections int           // kept open
	Rate        float64       // requests/s of the open loop; 0 = closed loop
	Duration    time.Duration // counted time
	Warmup      time.Duration // before it, not counted
}

// Result is what was seen in the counted time.
type Result struct {
	Requests  uint64 // complete answers
	All       uint64 // complete answers, those of the warm-up included
	Non2xx    uint64 // of them, not 2xx
	Failed    uint64 // requests that got no complete answer
	Refused   uint64 // connections that could not be opened
	Bytes     uint64 // received
	Elapsed   time.Duration
	Latency   Histogram
	FirstFail string
}

// RPS is the rate of complete answers.
func (r *Result) RPS() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

type conn struct {
	fd   int
	busy bool
	due  time.Time // of the running request
	buf  []byte
	fill int
	want int // bytes of the whole answer; 0 = head not complete
	ok   bool
}

type generator struct {
	o       Options
	ep      int
	conns   []*conn
	byFD    map[int]*conn
	idle    []*conn
	backlog []time.Time // due moments that found no idle connection, oldest first
	res     *Result
	count   bool
}

const maxBacklog = 1 << 20 // due requests that may wait in the open loop; more fail the run

// closedLoopTick bounds a wait in which no answer comes, so that the end of the run is noticed.
const closedLoopTick = 100 * time.Millisecond

var errBacklog = errors.New("cannot keep the rate: more than 1,048,576 requests wait")

// Run sends the load and returns what it saw. It occupies one OS thread for its whole time.
func Run(o Options) (*Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create epoll: %v", err)
	}
	g := &generator{o: o, ep: ep, byFD: map[int]*conn{}, res: &Result{}}
	defer g.close()
	for range o.Connections {
		c := &conn{fd: -1, buf: make([]byte, 256<<10)}
		if err := g.dial(c); err != nil {
			return nil, err
		}
		g.conns = append(g.conns, c)
		g.idle = append(g.idle, c)
	}
	err = g.loop()
	return g.res, err
}

func (g *generator) close() {
	for _, c := range g.conns {
		if c.fd >= 0 {
			unix.Close(c.fd)
		}
	}
	unix.Close(g.ep)
}

func (g *generator) dial(c *conn) error {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(g.o.Target.Port()), Addr: g.o.Target.Addr().As4()})
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot create socket: %v", err)
	}
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot connect to %s: %v", g.o.Target, err)
	}
	unix.SetNonblock(fd, true)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.EpollCtl(g.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot watch socket: %v", err)
	}
	c.fd, c.fill, c.want, c.busy = fd, 0, 0, false
	g.byFD[fd] = c
	return nil
}

func (g *generator) loop() error {
	begin := time.Now()
	counted := begin.Add(g.o.Warmup)
	end := counted.Add(g.o.Duration)
	events := make([]unix.EpollEvent, 256)
	var gap time.Duration
	if g.o.Rate > 0 {
		gap = time.Duration(float64(time.Second) / g.o.Rate)
	}
	next := begin
	if gap == 0 {
		for len(g.idle) > 0 {
			g.start(g.takeIdle(), begin)
		}
	}
	for {
		now := time.Now()
		if !g.count && !now.Before(counted) {
			g.count = true
		}
		if !now.Before(end) {
			g.res.Elapsed = now.Sub(counted)
			return nil
		}
		timeout := closedLoopTick
		if gap > 0 {
			for !next.After(now) {
				g.arrive(next)
				next = next.Add(gap)
			}
			if len(g.backlog) > maxBacklog {
				return errBacklog
			}
			timeout = max(0, time.Until(next))
		}
		n, err := epollWait(g.ep, events, timeout)
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if c := g.byFD[int(e.Fd)]; c != nil {
				g.ready(c)
			}
		}
	}
}

func (g *generator) takeIdle() *conn {
	c := g.idle[len(g.idle)-1]
	g.idle = g.idle[:len(g.idle)-1]
	return c
}

func (g *generator) arrive(due time.Time) {
	if len(g.idle) == 0 {
		g.backlog = append(g.backlog, due)
		return
	}
	g.start(g.takeIdle(), due)
}

func (g *generator) start(c *conn, due time.Time) {
	c.busy, c.due, c.fill, c.want = true, due, 0, 0
	n, err := unix.Write(c.fd, g.o.Request)
	if err != nil || n != len(g.o.Request) {
		g.fail(c, fmt.Sprintf("write: %v", err))
	}
}

func (g *generator) ready(c *conn) {
	n, err := unix.Read(c.fd, c.buf[c.fill:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if n <= 0 || err != nil {
		if c.busy {
			g.fail(c, fmt.Sprintf("read: %d %v", n, err))
		} else {
			g.lost(c)
		}
		return
	}
	if g.count {
		g.res.Bytes += uint64(n)
	}
	c.fill += n
	if c.want == 0 && !g.head(c) {
		return
	}
	if c.fill < c.want {
		if c.fill == len(c.buf) { // a large answer: keep only the count
			c.want -= c.fill
			c.fill = 0
		}
		return
	}
	g.finish(c)
}

var headEnd = []byte("\r\n\r\n")

// head looks for the end of the answer's head and reads its status and length; false means "not complete".
func (g *generator) head(c *conn) bool {
	i := bytes.Index(c.buf[:c.fill], headEnd)
	if i < 0 {
		return false
	}
	c.ok = c.buf[9] == '2'
	c.want = i + 4 + contentLength(c.buf[:i+2])
	return true
}

func contentLength(head []byte) int {
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		head = rest
		if len(line) > 16 && (line[0]|0x20) == 'c' && bytes.EqualFold(line[:15], []byte("content-length:")) {
			n := 0
			for _, b := range bytes.TrimSpace(line[15:]) {
				n = n*10 + int(b-'0')
			}
			return n
		}
	}
	return 0
}

func (g *generator) finish(c *conn) {
	g.res.All++
	if g.count {
		g.res.Requests++
		if !c.ok {
			g.res.Non2xx++
		}
		g.res.Latency.Add(time.Since(c.due))
	}
	c.busy = false
	g.next(c)
}

// next gives a free connection its next request.
func (g *generator) next(c *conn) {
	switch {
	case g.o.Rate == 0:
		g.start(c, time.Now())
	case len(g.backlog) > 0:
		due := g.backlog[0]
		g.backlog = g.backlog[1:]
		g.start(c, due)
	default:
		g.idle = append(g.idle, c)
	}
}

func (g *generator) fail(c *conn, why string) {
	g.res.Failed++
	if g.res.FirstFail == "" {
		g.res.FirstFail = why
	}
	c.busy = false
	g.lost(c)
}

// lost closes a connection and opens another in its place.
func (g *generator) lost(c *conn) {
	delete(g.byFD, c.fd)
	unix.Close(c.fd)
	c.fd = -1
	wasIdle := false
	for i, other := range g.idle {
		if other == c {
			g.idle = append(g.idle[:i], g.idle[i+1:]...)
			wasIdle = true
			break
		}
	}
	if err := g.dial(c); err != nil {
		g.res.Refused++
		if g.res.FirstFail == "" {
			g.res.FirstFail = err.Error()
		}
		return
	}
	if wasIdle || g.o.Rate > 0 {
		g.next(c)
		return
	}
	g.start(c, time.Now())
}
