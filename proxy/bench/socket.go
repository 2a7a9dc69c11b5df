package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// echoSocket takes a WebSocket and sends back every byte, which is more than a WebSocket server may do, and less than one costs.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", websocket.AppendAccept(nil, []byte(r.Header.Get("Sec-WebSocket-Key"))))
	_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{buf}, make([]byte, 128<<10))
}

var socketColumns = []column{
	{"cpu/message", func(s sample) float64 { return micros(s.cpuPerRequest) }, "us", true},
	{"messages/s", func(s sample) float64 { return s.RPS }, "", true},
	{"peak rss", func(s sample) float64 { return float64(s.peak) / (1 << 20) }, "MiB", true},
}

// measureSocket is WebSockets that nobody looks into: 32 of them, each with one message on its way, there and back.
func measureSocket(o options, peers []*peer.Peer) error {
	for _, size := range []int{100, 1 << 10, 64 << 10} {
		all := map[string][]sample{}
		for r := range o.rounds {
			for i := range peers {
				p := peers[(i+r)%len(peers)]
				if _, err := talk(p, size, o.duration/4); err != nil {
					return err
				}
				s, err := talk(p, size, o.duration)
				if err != nil {
					return err
				}
				all[p.Name] = append(all[p.Name], s)
			}
		}
		reportColumns(fmt.Sprintf("WebSocket, plain, messages of %d bytes there and back, 32 connections", size), peers, all, socketColumns)
	}
	return nil
}

const sockets = 32

// talk sends messages for a while and counts those that came back.
func talk(p *peer.Peer, size int, d time.Duration) (s sample, err error) {
	message := websocket.AppendFrame(nil, true, websocket.Binary, &[4]byte{1, 2, 3, 4}, make([]byte, size))
	conns := make([]net.Conn, 0, sockets)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range sockets {
		c, err := openSocket(p.Addr)
		if err != nil {
			return s, fmt.Errorf("websocket on %s: %w", p.Name, err)
		}
		conns = append(conns, c)
	}
	before, err := p.Cost()
	if err != nil {
		return s, err
	}
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for _, c := range conns {
		wg.Go(func() {
			back := make([]byte, len(message))
			for time.Now().Before(end) {
				_, err := c.Write(message)
				if err == nil {
					_, err = io.ReadFull(c, back)
				}
				if err == nil && !bytes.Equal(back, message) {
					err = fmt.Errorf("the message came back changed")
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		return s, fmt.Errorf("websocket on %s: %w", p.Name, *e)
	}
	after, err := p.Cost()
	if err != nil {
		return s, err
	}
	s.RPS = float64(n.Load()) / d.Seconds()
	s.cpuPerRequest = (after.CPU - before.CPU) / time.Duration(max(1, n.Load()))
	s.peak, s.rss = after.Peak, after.RSS
	return s, nil
}

// openSocket shakes hands.
func openSocket(addr string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET /bulk/socket HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil && r.StatusCode != 101 {
		err = fmt.Errorf("status %d", r.StatusCode)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
