package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

var multiplexedColumns = []column{
	{"cpu/request", func(s sample) float64 { return micros(s.cpuPerRequest) }, "us", true},
	{"requests/s", func(s sample) float64 { return s.RPS }, "", true},
	{"peak rss", func(s sample) float64 { return float64(s.peak) / (1 << 20) }, "MiB", true},
}

const (
	multiplexedWarmup   = 4000  // requests
	multiplexedRequests = 60000 // in one measurement
)

// measureMultiplexed is HTTP/2 over TLS 1.3 with h2load as the client: 16 connections with 8 streams each, at full speed.
func measureMultiplexed(o options, peers []*peer.Peer) error {
	if _, err := exec.LookPath("h2load"); err != nil {
		return fmt.Errorf("h2load is needed: install nghttp2-client: %w", err)
	}
	for _, body := range o.secureBodies {
		all := map[string][]sample{}
		for r := range o.rounds {
			for i := range peers {
				p := peers[(i+r)%len(peers)]
				if _, err := loadMultiplexed(p, body, multiplexedWarmup); err != nil {
					return err
				}
				s, err := loadMultiplexed(p, body, multiplexedRequests)
				if err != nil {
					return err
				}
				all[p.Name] = append(all[p.Name], s)
			}
		}
		reportColumns(fmt.Sprintf("HTTP/2 over TLS 1.3, body %s, h2load with 16 connections of 8 streams, full speed", body), peers, all, multiplexedColumns)
	}
	return nil
}

var h2loadResult = regexp.MustCompile(`finished in \S+, ([0-9.]+) req/s[\s\S]*?(\d+) succeeded`)

func loadMultiplexed(p *peer.Peer, body string, requests int) (s sample, err error) {
	before, err := p.Cost()
	if err != nil {
		return s, err
	}
	out, err := exec.Command("h2load", "-n", strconv.Itoa(requests), "-c", "16", "-m", "8", "https://"+p.TLS+"/"+body).CombinedOutput()
	if err != nil {
		return s, fmt.Errorf("h2load on %s: %v\n%s", p.Name, err, out)
	}
	after, err := p.Cost()
	if err != nil {
		return s, err
	}
	m := h2loadResult.FindSubmatch(out)
	if m == nil || string(m[2]) != strconv.Itoa(requests) {
		return s, fmt.Errorf("h2load on %s: not all requests succeeded\n%s", p.Name, out)
	}
	s.RPS, _ = strconv.ParseFloat(string(m[1]), 64)
	s.cpuPerRequest = (after.CPU - before.CPU) / time.Duration(requests)
	s.peak, s.rss = after.Peak, after.RSS
	return s, nil
}
