package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

type options struct {
	sentinel     string
	rounds       int
	duration     time.Duration
	connections  int
	what         []string // names of measurements
	bodies       []string
	secureBodies []string
	bulk         float64 // GiB
	only         []string
	rate         float64
	worker       string
	idle         int
	agent        string
	agentRates   []float64 // requests/s
	backend      int       // port of the backend
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "sentinel-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		return err
	}
	peers, stop, err := startAll(&o, dir)
	defer stop()
	if err != nil {
		return err
	}
	fmt.Printf("%d connections, %d rounds of %s each, access log on everywhere, metrics on in sentinel\n", o.connections, o.rounds, o.duration)
	fmt.Printf("load average of the machine before: %s\n", loadAverage())
	idle(peers)
	for _, what := range o.what {
		if err := measurements[what](o, dir, peers); err != nil {
			return err
		}
	}
	fmt.Printf("\nload average of the machine after: %s\n", loadAverage())
	return nil
}

// measurements by the name they have for -what; order in which they are made by default.
var (
	measurements = map[string]func(o options, dir string, peers []*peer.Peer) error{
		"idle":       func(o options, _ string, peers []*peer.Peer) error { return measureIdle(o, peers, o.idle) },
		"plain":      func(o options, _ string, peers []*peer.Peer) error { return measurePlain(o, peers) },
		"tls":        func(o options, _ string, peers []*peer.Peer) error { return measureSecure(o, peers) },
		"handshakes": func(o options, _ string, peers []*peer.Peer) error { return measureHandshakes(o, peers) },
		"http2":      func(o options, _ string, peers []*peer.Peer) error { return measureMultiplexed(o, peers) },
		"bulk":       func(o options, _ string, peers []*peer.Peer) error { return measureBulk(o, peers) },
		"websocket":  func(o options, _ string, peers []*peer.Peer) error { return measureSocket(o, peers) },
		"agent": func(o options, dir string, _ []*peer.Peer) error {
			if o.agent == "" || !slices.Contains(o.only, "sentinel") {
				return nil
			}
			return measureAgent(o, dir, o.backend, o.agent)
		},
	}
	order = []string{"idle", "plain", "tls", "handshakes", "http2", "bulk", "websocket", "agent"}
)

// loadAverage says how noisy the machine was.
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(raw))[:3], " ")
}

func measurePlain(o options, peers []*peer.Peer) error {
	for _, body := range o.bodies {
		full, err := rounds(o, peers, job{Path: "/" + body, Connections: o.connections, Duration: o.duration, Warmup: time.Second})
		if err != nil {
			return err
		}
		report(fmt.Sprintf("body %s, closed loop at full speed", body), peers, full)
		rate := o.rate
		if rate == 0 {
			rate = slowest(full) / 2
		}
		fixed, err := rounds(o, peers, job{Path: "/" + body, Connections: o.connections, Duration: o.duration, Warmup: time.Second, Rate: rate})
		if err != nil {
			return err
		}
		report(fmt.Sprintf("body %s, open loop at %.0f requests/s, latency from the intended start", body, rate), peers, fixed)
	}
	return nil
}

// startAll starts the backend and every proxy; stop ends what was started even when it fails half-way.
func startAll(o *options, dir string) (peers []*peer.Peer, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range slices.Backward(stops) {
			f()
		}
	}
	backendPort, err := peer.FreePort()
	if err != nil {
		return nil, stop, err
	}
	o.backend = backendPort
	conf, err := peer.WriteConf(dir, "backend.conf", backendConf, dir, backendPort)
	if err != nil {
		return nil, stop, err
	}
	backend, err := peer.Start("backend", dir, fmt.Sprintf("127.0.0.1:%d", backendPort), "/0", "nginx", "-c", conf)
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, backend.Stop)
	bulk, bulkPort, err := startBulk(dir)
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, bulk.Stop)
	for _, name := range o.only {
		p, extra, err := startProxy(*o, name, dir, backendPort, bulkPort)
		if extra != nil {
			stops = append(stops, extra)
		}
		if err != nil {
			return nil, stop, err
		}
		stops = append(stops, p.Stop)
		peers = append(peers, p)
	}
	return peers, stop, nil
}

func startProxy(o options, name, dir string, backendPort, bulkPort int) (p *peer.Peer, extra func(), err error) {
	port, err := peer.FreePort()
	if err != nil {
		return nil, nil, err
	}
	securePort, err := peer.FreePort()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if p != nil {
			p.TLS = fmt.Sprintf("127.0.0.1:%d", securePort)
		}
	}()
	text := map[string]string{"sentinel": sentinelConf, "nginx": nginxConf, "haproxy": haproxyConf}[name]
	conf, err := peer.WriteConf(dir, name+".conf", text, dir, backendPort, port, securePort, bulkPort)
	if err != nil {
		return nil, nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	switch name {
	case "haproxy":
		return startHAProxy(dir, addr, conf)
	case "nginx":
		p, err := peer.Start(name, dir, addr, "/0", "nginx", "-c", conf)
		return p, nil, err
	case "sentinel":
		program, err := filepath.Abs(o.sentinel)
		if err != nil {
			return nil, nil, err
		}
		p, err := peer.Start(name, dir, addr, "/0", program, "--config", conf)
		return p, nil, err
	}
	return nil, nil, fmt.Errorf("unknown proxy %q", name)
}

// rounds measures every peer in turn, several times; the order rotates so that none is always first.
func rounds(o options, peers []*peer.Peer, j job) (map[string][]sample, error) {
	out := map[string][]sample{}
	for r := range o.rounds {
		for i := range peers {
			p := peers[(i+r)%len(peers)]
			if j.Addr = p.Addr; j.Load != "" {
				j.Addr = p.TLS
			}
			s, err := measure(p, j)
			if err != nil {
				return nil, err
			}
			out[p.Name] = append(out[p.Name], s)
		}
	}
	return out, nil
}

func slowest(all map[string][]sample) float64 {
	low := 0.0
	for _, samples := range all {
		if rps := median(samples, func(s sample) float64 { return s.RPS }); low == 0 || rps < low {
			low = rps
		}
	}
	return low
}
