package main

import (
	"fmt"
	"path/filepath"
	"time"
)

const agentConf = `listeners { listener "http" { address "127.0.0.1:%[3]d" } }
routes {
  route "plain" { matches { path "/0" "/1k" }; upstream "b" }
  route "asked" { matches { path-prefix "/asked" }; upstream "b"; filters "probe" }
}
agents { agent "probe" type="%[4]s" { unix-socket "%[1]s/probe.sock"; external #true; events "request_headers"; %[5]s } }
upstreams { upstream "b" { target "127.0.0.1:%[2]d"; connection-pool { max-connections 256; max-idle 128 } } }
limits { max-connections-per-client 20000 }
observability { logging { access-log { enabled #true; file "%[1]s/agents-access.log"; format "combined" } } }
`

// agentSettings give an agent something to decide.
var agentSettings = map[string]string{"denylist": `config { block-paths "/.git" "/wp-admin"; block-ips "192.0.2.0/24"; block-user-agents "sqlmap" }`}

// measureAgent reports what one agent call (request headers) adds: latency at 1,000 requests/s, and CPU of proxy and agent together.
func measureAgent(o options, dir string, backendPort int, kind string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	conf, err := writeConf(dir, "agents.kdl", agentConf, dir, backendPort, port, kind, agentSettings[kind])
	if err != nil {
		return err
	}
	program, err := filepath.Abs(o.sentinel)
	if err != nil {
		return err
	}
	ag, err := startProcess("agent", dir, filepath.Join(filepath.Dir(program), "sentinel-"+kind), "--socket", filepath.Join(dir, "probe.sock"))
	if err != nil {
		return err
	}
	defer ag.stop()
	p, err := startPeer("sentinel-agents", dir, fmt.Sprintf("127.0.0.1:%d", port), "/asked", program, "--config", conf)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, rate := range o.agentRates {
		if err := compareCalls(o, p, ag, kind, rate); err != nil {
			return err
		}
	}
	return nil
}

// compareCalls measures at one rate. At a low one most of the CPU is the waking of idle processes.
func compareCalls(o options, p, ag *peer, kind string, rate float64) error {
	speed := "full speed"
	if rate > 0 {
		speed = fmt.Sprintf("%.0f requests/s", rate)
	}
	fmt.Printf("\n## one call of the %s agent (request headers), %s, 16 connections\n", kind, speed)
	for r := range o.rounds {
		j := job{Addr: p.addr, Connections: 16, Rate: rate, Duration: o.duration, Warmup: time.Second}
		j.Path = "/0"
		plain, err := measureWith(p, ag, j)
		if err != nil {
			return err
		}
		j.Path = "/asked"
		asked, err := measureWith(p, ag, j)
		if err != nil {
			return err
		}
		fmt.Printf("round %d: p50 %.0f us without, %.0f us with: +%.0f us; p99 %.0f -> %.0f us; cpu per request %.1f -> %.1f us: +%.1f us (proxy and agent)\n", r+1,
			micros(plain.P50), micros(asked.P50), micros(asked.P50-plain.P50), micros(plain.P99), micros(asked.P99),
			micros(plain.cpuPerRequest), micros(asked.cpuPerRequest), micros(asked.cpuPerRequest-plain.cpuPerRequest))
	}
	return nil
}

// measureWith is measure, with the agent's CPU added to the proxy's.
func measureWith(p, ag *peer, j job) (sample, error) {
	before, err := groupCost(ag.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	s, err := measure(p, j)
	if err != nil {
		return sample{}, err
	}
	after, err := groupCost(ag.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	s.cpuPerRequest += (after.cpu - before.cpu) / time.Duration(s.All)
	return s, nil
}
