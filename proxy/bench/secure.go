package main

import (
	"fmt"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

const secureNote = `the client speaks TLS on the same processors ("client cpu", of one processor) and so bounds requests/s; cpu/request counts the proxy alone`

// clientColumn is what the load itself used.
var clientColumn = column{"client cpu", func(s sample) float64 { return 100 * s.ClientCPU }, "%", false}

var handshakeColumns = []column{
	{"cpu/handshake", func(s sample) float64 { return micros(s.cpuPerRequest) }, "us", true},
	{"handshakes/cpu s", func(s sample) float64 { return float64(time.Second) / float64(s.cpuPerRequest) }, "", true},
	{"handshakes/s", func(s sample) float64 { return s.RPS }, "", true},
	{"p50", func(s sample) float64 { return micros(s.P50) }, "us", true},
	{"p99", func(s sample) float64 { return micros(s.P99) }, "us", true},
	clientColumn,
}

// measureSecure is the keep-alive load over TLS 1.3: at full speed, then at half the rate that the slowest reached.
func measureSecure(o options, peers []*peer.Peer) error {
	columns := append(append([]column{}, columns...), clientColumn)
	fmt.Printf("\n%s\n", secureNote)
	for _, body := range o.secureBodies {
		j := job{Path: "/" + body, Load: "tls", Connections: o.connections, Duration: o.duration, Warmup: time.Second}
		full, err := rounds(o, peers, j)
		if err != nil {
			return err
		}
		reportColumns(fmt.Sprintf("TLS 1.3, body %s, keep-alive, closed loop at full speed", body), peers, full, columns)
		if j.Rate = o.rate; j.Rate == 0 {
			j.Rate = slowest(full) / 2
		}
		fixed, err := rounds(o, peers, j)
		if err != nil {
			return err
		}
		reportColumns(fmt.Sprintf("TLS 1.3, body %s, keep-alive, open loop at %.0f requests/s, latency from the intended start", body, j.Rate), peers, fixed, columns)
	}
	return nil
}

// measureHandshakes counts full handshakes, each with one small request.
func measureHandshakes(o options, peers []*peer.Peer) error {
	fmt.Printf("\nthe client verifies and derives keys on the same processors and so bounds handshakes/s: \"handshakes/cpu s\" is what the proxy alone makes of one second of one processor\n")
	all, err := rounds(o, peers, job{Path: "/0", Load: "handshake", Connections: 16, Duration: o.duration, Warmup: time.Second})
	if err != nil {
		return err
	}
	reportColumns("TLS 1.3 full handshakes, ECDSA P-256, one request on each, 16 clients", peers, all, handshakeColumns)
	return nil
}
