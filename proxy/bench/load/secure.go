package load

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The loads of this file speak TLS: a goroutine and a crypto/tls connection for each client, over every processor there is. That costs more than the epoll
// set of the plain load, so what they say of a server is its CPU time, and requests/s only beside another server under the same client.

// counts are what one client saw.
type counts struct {
	res Result
	err error
}

// RunTLS sends the load of o over TLS. An open loop gives every connection its own moments, spread evenly, so a connection that
// stalls is charged for the requests that were due on it.
func RunTLS(o Options, conf *tls.Config) (*Result, error) {
	return clients(o, func(i int, begin time.Time, c *counts) error {
		conn, err := dialTLS(o.Target, nil, conf)
		if err != nil {
			return err
		}
		defer conn.Close()
		return requests(o, conn, i, begin, &c.res)
	})
}

// RunHandshakes opens a connection for every request: a full handshake (there is no session to resume), a request, its answer, an orderly end. Every
// client has a loopback address of its own, so that ports do not run out.
func RunHandshakes(o Options, conf *tls.Config) (*Result, error) {
	conf = conf.Clone()
	conf.ClientSessionCache = nil
	return clients(o, func(i int, begin time.Time, c *counts) error {
		local := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%250))}
		counted, end := begin.Add(o.Warmup), begin.Add(o.Warmup+o.Duration)
		buf := make([]byte, 64<<10)
		for now := time.Now(); now.Before(end); now = time.Now() {
			if err := handshake(o, local, conf, buf, now, !now.Before(counted), &c.res); err != nil {
				return err
			}
		}
		return nil
	})
}

func handshake(o Options, local net.Addr, conf *tls.Config, buf []byte, due time.Time, count bool, res *Result) error {
	conn, err := dialTLS(o.Target, local, conf)
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.ConnectionState().DidResume {
		return fmt.Errorf("a session was resumed")
	}
	return exchange(o, conn, buf, due, count, res)
}

func dialTLS(target netip.AddrPort, local net.Addr, conf *tls.Config) (*tls.Conn, error) {
	d := net.Dialer{LocalAddr: local, Timeout: 10 * time.Second}
	return tls.DialWithDialer(&d, "tcp", target.String(), conf)
}

// clients runs one for each connection and adds up what they saw. The first error of any ends the run.
func clients(o Options, run func(i int, begin time.Time, c *counts) error) (*Result, error) {
	all := make([]*counts, o.Connections)
	var work sync.WaitGroup
	begin := time.Now()
	for i := range all {
		all[i] = &counts{}
		work.Go(func() { all[i].err = run(i, begin, all[i]) })
	}
	work.Wait()
	sum := &Result{Elapsed: time.Since(begin) - o.Warmup}
	for _, c := range all {
		if c.err != nil {
			return nil, c.err
		}
		sum.Requests += c.res.Requests
		sum.All += c.res.All
		sum.Non2xx += c.res.Non2xx
		sum.Bytes += c.res.Bytes
		sum.Latency.merge(&c.res.Latency)
	}
	return sum, nil
}

func requests(o Options, conn net.Conn, i int, begin time.Time, res *Result) error {
	counted, end := begin.Add(o.Warmup), begin.Add(o.Warmup+o.Duration)
	buf := make([]byte, 64<<10)
	var gap time.Duration
	due := time.Now()
	if o.Rate > 0 {
		gap = time.Duration(float64(time.Second) / o.Rate * float64(o.Connections))
		due = begin.Add(gap * time.Duration(i) / time.Duration(o.Connections))
	}
	for time.Now().Before(end) {
		if gap == 0 {
			due = time.Now()
		} else if wait := time.Until(due); wait > 0 {
			time.Sleep(min(wait, time.Until(end)))
			if !due.Before(end) {
				return nil
			}
		}
		if err := exchange(o, conn, buf, due, !due.Before(counted), res); err != nil {
			return err
		}
		due = due.Add(gap)
	}
	return nil
}

// exchange sends one request and reads its whole answer.
func exchange(o Options, conn net.Conn, buf []byte, due time.Time, count bool, res *Result) error {
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(o.Request); err != nil {
		return fmt.Errorf("cannot send: %v", err)
	}
	a := answer{}
	for !a.whole() {
		n, err := conn.Read(buf[a.kept:])
		if err != nil {
			return fmt.Errorf("cannot read an answer: %v", err)
		}
		if !a.add(buf, n) {
			return fmt.Errorf("the head of an answer has more than %d bytes", len(buf))
		}
	}
	res.All++
	if count {
		res.Requests++
		res.Bytes += uint64(a.got)
		res.Latency.Add(time.Since(due))
		if !a.ok {
			res.Non2xx++
		}
	}
	return nil
}
