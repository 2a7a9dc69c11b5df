package run

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// quicPort is the UDP port beside a listener, for HTTP/3.
//
// It is not shared with the process before us, as the sockets of listeners are: packets of one port cannot be told apart by the kernel, so each of two processes would get
// some of the other's connections. The process that drains keeps the port until its last connection over it is gone, and refuses new ones, which clients then make over TCP.
type quicPort struct {
	id     string
	addr   *net.UDPAddr
	socket *net.UDPConn // nil while somebody else has the port
}

// quicRetry is how often we look whether the port is free.
const quicRetry = 100 * time.Millisecond

// openQUIC binds the port of a listener whose TCP socket is at addr. That another process has it is no error.
func (p *Proxy) openQUIC(id string, addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return errors.New("no UDP port beside " + addr.String())
	}
	q := &quicPort{id: id, addr: net.UDPAddrFromAddrPort(tcp.AddrPort())}
	p.quics = append(p.quics, q)
	err := q.bind()
	if errors.Is(err, syscall.EADDRINUSE) {
		p.log.Warn("the UDP port for HTTP/3 is in use, probably by the process before this one: waiting for it", "listener", id, "address", q.addr.String())
		return nil
	}
	return err
}

func (q *quicPort) bind() (err error) {
	q.socket, err = net.ListenUDP("udp", q.addr)
	if err != nil {
		q.socket = nil
	}
	return err
}

// serveQUIC serves HTTP/3 on a port, as soon as it is ours, until a drain is over; stop ends the wait for the port.
func (p *Proxy) serveQUIC(q *quicPort, stop <-chan struct{}) error {
	for waited := false; q.socket == nil; waited = true {
		select {
		case <-stop:
			return nil
		case <-time.After(quicRetry):
		}
		err := q.bind()
		switch {
		case err == nil:
			p.log.Info("serving HTTP/3", "listener", q.id, "address", q.addr.String())
		case !waited && !errors.Is(err, syscall.EADDRINUSE):
			p.log.Warn("cannot bind the UDP port for HTTP/3, trying again", "listener", q.id, "address", q.addr.String(), "error", err)
		}
	}
	if err := p.server.ServeQUIC(q.socket, q.id); err != nil {
		return fmt.Errorf("cannot serve HTTP/3 on listener %q: %v", q.id, err)
	}
	return nil
}
