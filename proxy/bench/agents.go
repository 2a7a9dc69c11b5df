package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

const agentConf = `listeners { listener "http" { address "127.0.0.1:%[3]d" } }
routes {
  route "plain" { matches { path "/0" "/1k" }; upstream "b" }
  route "asked" { matches { path-prefix "/asked" }; upstream "b"; filters "probe" }
}
agents { agent "probe" type="%[4]s" { unix-socket "%[1]s/probe.sock"; external #true; events "request_headers"; %[5]s } }
upstreams { upstream "b" { target "127.0.0.1:%[2]d"; connection-pool { max-connections 256; max-idle 128 } } }
limits { max-connections-per-client 20000; max-total-connections 25000 }
observability { logging { access-log { enabled #true; file "%[1]s/agents-access.log"; format "combined" } } }
`

// authConf and askingConf are what comes nearest to an agent call in nginx: a subrequest to another process over a Unix socket, whose answer decides.
const authConf = `worker_processes 1; daemon off; error_log %[1]s/auth.err; pid %[1]s/auth.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path %[1]s/at; proxy_temp_path %[1]s/ap; fastcgi_temp_path %[1]s/af; uwsgi_temp_path %[1]s/au; scgi_temp_path %[1]s/as;
  server { listen unix:%[1]s/auth.sock; listen 127.0.0.1:%[2]d; location / { return 200 ""; } } }
`

const askingConf = `worker_processes auto; daemon off; error_log %[1]s/asking.err; pid %[1]s/asking.pid;
events { worker_connections 8192; }
http { access_log %[1]s/asking-access.log combined; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;
  client_body_temp_path %[1]s/kt; proxy_temp_path %[1]s/kp; fastcgi_temp_path %[1]s/kf; uwsgi_temp_path %[1]s/ku; scgi_temp_path %[1]s/ks;
  upstream b { server 127.0.0.1:%[2]d; keepalive 128; keepalive_requests 100000000; }
  upstream auth { server unix:%[1]s/auth.sock; keepalive 128; keepalive_requests 100000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  server { listen 127.0.0.1:%[3]d backlog=4096;
    location = /0 { proxy_pass http://b; }
    location /asked { auth_request /auth; proxy_pass http://b; }
    location = /auth { internal; proxy_pass http://auth; proxy_pass_request_body off; proxy_set_header Content-Length ""; } } }
`

// agentSettings give an agent something to decide.
var agentSettings = map[string]string{"denylist": `config { block-paths "/.git" "/wp-admin"; block-ips "192.0.2.0/24"; block-user-agents "sqlmap" }`}

// asking is a proxy that asks another process about the requests for /asked, and not about those for /0.
type asking struct {
	name         string
	proxy, asked *peer.Peer
}

func (a *asking) stop() {
	if a.proxy != nil {
		a.proxy.Stop()
	}
	if a.asked != nil {
		a.asked.Stop()
	}
}

// measureAgent reports what one agent call (request headers) adds: latency at low rates and CPU of proxy and agent together. Beside it stands nginx with
// auth_request, because at a low rate most of that is what the machine takes for waking a process.
func measureAgent(o options, dir string, backendPort int, kind string) error {
	sentinel, err := startAsking(o, dir, backendPort, kind)
	defer sentinel.stop()
	if err != nil {
		return err
	}
	nginx, err := startAuthRequest(dir, backendPort)
	defer nginx.stop()
	if err != nil {
		return err
	}
	for _, rate := range o.agentRates {
		if err := compareCalls(o, []*asking{sentinel, nginx}, kind, rate); err != nil {
			return err
		}
	}
	return nil
}

func startAsking(o options, dir string, backendPort int, kind string) (*asking, error) {
	a := &asking{name: "sentinel"}
	port, err := peer.FreePort()
	if err != nil {
		return a, err
	}
	conf, err := peer.WriteConf(dir, "agents.kdl", agentConf, dir, backendPort, port, kind, agentSettings[kind])
	if err != nil {
		return a, err
	}
	program, err := filepath.Abs(o.sentinel)
	if err != nil {
		return a, err
	}
	a.asked, err = peer.StartProcess("agent", dir, filepath.Join(filepath.Dir(program), "sentinel-"+kind), "--socket", filepath.Join(dir, "probe.sock"))
	if err != nil {
		return a, err
	}
	a.proxy, err = peer.Start("sentinel-agents", dir, fmt.Sprintf("127.0.0.1:%d", port), "/asked", program, "--config", conf)
	return a, err
}

func startAuthRequest(dir string, backendPort int) (*asking, error) {
	a := &asking{name: "nginx"}
	authPort, err := peer.FreePort()
	if err != nil {
		return a, err
	}
	conf, err := peer.WriteConf(dir, "auth.conf", authConf, dir, authPort)
	if err != nil {
		return a, err
	}
	if a.asked, err = peer.Start("auth", dir, fmt.Sprintf("127.0.0.1:%d", authPort), "/", "nginx", "-c", conf); err != nil {
		return a, err
	}
	port, err := peer.FreePort()
	if err != nil {
		return a, err
	}
	if conf, err = peer.WriteConf(dir, "asking.conf", askingConf, dir, backendPort, port); err != nil {
		return a, err
	}
	a.proxy, err = peer.Start("asking", dir, fmt.Sprintf("127.0.0.1:%d", port), "/asked", "nginx", "-c", conf)
	return a, err
}

// compareCalls measures at one rate. At a low one most of the CPU is the waking of idle processes.
func compareCalls(o options, peers []*asking, kind string, rate float64) error {
	speed := "full speed"
	if rate > 0 {
		speed = fmt.Sprintf("%.0f requests/s", rate)
	}
	fmt.Printf("\n## one call of the %s agent (request headers), and one auth_request of nginx, %s, 16 connections\n", kind, speed)
	added := map[string][]call{}
	for r := range o.rounds {
		for i := range peers {
			a := peers[(i+r)%len(peers)]
			c, err := a.measure(job{Addr: a.proxy.Addr, Connections: 16, Rate: rate, Duration: o.duration, Warmup: time.Second})
			if err != nil {
				return err
			}
			fmt.Printf("%-8s round %d: p50 %.0f us without, %.0f us with: %+.0f us; p99 %.0f -> %.0f us; cpu per request %.1f -> %.1f us: %+.1f us (both processes)\n", a.name, r+1,
				micros(c.plain.P50), micros(c.asked.P50), micros(c.latency()), micros(c.plain.P99), micros(c.asked.P99),
				micros(c.plain.cpuPerRequest), micros(c.asked.cpuPerRequest), micros(c.cpu()))
			added[a.name] = append(added[a.name], c)
		}
	}
	latency := func(name string) float64 {
		return median(added[name], func(c call) float64 { return micros(c.latency()) })
	}
	cpu := func(name string) float64 { return median(added[name], func(c call) float64 { return micros(c.cpu()) }) }
	ours, theirs := peers[0].name, peers[1].name
	fmt.Printf("medians: %s adds %.0f us p50 and %.1f us cpu, %s %.0f us and %.1f us: %.2f x and %.2f x\n", ours, latency(ours), cpu(ours), theirs, latency(theirs), cpu(theirs),
		latency(ours)/latency(theirs), cpu(ours)/cpu(theirs))
	return nil
}

// call is what one round saw.
type call struct{ plain, asked sample }

func (c call) latency() time.Duration { return c.asked.P50 - c.plain.P50 }
func (c call) cpu() time.Duration     { return c.asked.cpuPerRequest - c.plain.cpuPerRequest }

func (a *asking) measure(j job) (c call, err error) {
	j.Path = "/0"
	if c.plain, err = measureWith(a.proxy, a.asked, j); err != nil {
		return c, err
	}
	j.Path = "/asked"
	c.asked, err = measureWith(a.proxy, a.asked, j)
	return c, err
}

// measureWith is measure, with the agent's CPU added to the proxy's.
func measureWith(p, ag *peer.Peer, j job) (sample, error) {
	before, err := ag.Cost()
	if err != nil {
		return sample{}, err
	}
	s, err := measure(p, j)
	if err != nil {
		return sample{}, err
	}
	after, err := ag.Cost()
	if err != nil {
		return sample{}, err
	}
	s.cpuPerRequest += (after.CPU - before.CPU) / time.Duration(s.All)
	return s, nil
}
