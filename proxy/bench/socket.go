package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// echoSocket takes a WebSocket and sends back every byte, which is more than a WebSocket server may do, and less than one costs.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept(r.Header.Get("Sec-WebSocket-Key")))
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
	message := binaryFrame(size)
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

// accept answers the key of a handshake (RFC 6455 §4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// binaryFrame is a client's frame with a payload of that size (RFC 6455 §5.2).
func binaryFrame(size int) []byte {
	head := []byte{0x82, 0x80}
	switch {
	case size < 126:
		head[1] |= byte(size)
	case size < 1<<16:
		head[1] |= 126
		head = binary.BigEndian.AppendUint16(head, uint16(size))
	default:
		head[1] |= 127
		head = binary.BigEndian.AppendUint64(head, uint64(size))
	}
	return append(append(head, 1, 2, 3, 4), make([]byte, size)...)
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
