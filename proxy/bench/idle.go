package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// settle is how long a proxy gets to give back what a finished burst used.
const settle = 3 * time.Second

// measureIdle opens n keep-alive connections to every proxy, one answered request on each, and reports the memory each one costs; then the same over TLS.
func measureIdle(o options, peers []*peer.Peer, n int) error {
	fmt.Printf("\n## %d open keep-alive connections, one request served on each\n", n)
	if err := compareIdle(peers, n, func(p *peer.Peer) (net.Conn, error) { return net.Dial("tcp", p.Addr) }); err != nil {
		return err
	}
	fmt.Printf("\n## %d open keep-alive connections over TLS 1.3, one request served on each\n", n)
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: "bench.test", MinVersion: tls.VersionTLS13} // the certificate is the bench's own
	return compareIdle(peers, n, func(p *peer.Peer) (net.Conn, error) { return tls.Dial("tcp", p.TLS, conf) })
}

func compareIdle(peers []*peer.Peer, n int, dial func(*peer.Peer) (net.Conn, error)) error {
	for _, p := range peers {
		before, err := p.Cost()
		if err != nil {
			return err
		}
		conns, err := openIdle(n, func() (net.Conn, error) { return dial(p) })
		if err != nil {
			return fmt.Errorf("%s: %v", p.Name, err)
		}
		time.Sleep(settle)
		after, err := p.Cost()
		for _, c := range conns {
			c.Close()
		}
		if err != nil {
			return err
		}
		fmt.Printf("%-10s rss %.1f MiB -> %.1f MiB: %.1f KiB each\n", p.Name, mib(before.RSS), mib(after.RSS), float64(after.RSS-before.RSS)/float64(n)/1024)
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func openIdle(n int, dial func() (net.Conn, error)) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, n)
	for range n {
		c, err := dial()
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "GET /1k HTTP/1.1\r\nHost: bench.test\r\n\r\n"); err != nil {
			return conns, err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return conns, err
		}
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != 200 {
			return conns, fmt.Errorf("answer %d on connection %d", res.StatusCode, len(conns))
		}
	}
	return conns, nil
}
