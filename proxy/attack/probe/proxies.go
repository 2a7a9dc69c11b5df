package probe

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// shard is a listener of a proxy with the two backends behind it: one that takes requests and one that sends answers.
type shard struct {
	name     string
	quiet    time.Duration
	requests string // address of the proxy in front of recorder
	answers  string // address of the proxy in front of attacker
	recorder *attack.Recorder
	attacker *attack.Attacker
}

// pair is one listener and the backend it leads to, as a configuration names them.
type pair struct{ listen, backend int }

// The proxies are set up as their manuals say for a reverse proxy with kept upstream connections; nothing is switched off.
var configurations = map[string]func(dir string, pairs []pair) string{
	"nginx": func(dir string, pairs []pair) string {
		var b strings.Builder
		fmt.Fprintf(&b, `worker_processes 1; daemon off; error_log %[1]s/nginx.err; pid %[1]s/nginx.pid;
events { worker_connections 1024; }
http { access_log off;
  client_body_temp_path %[1]s/nt; proxy_temp_path %[1]s/np; fastcgi_temp_path %[1]s/nf; uwsgi_temp_path %[1]s/nu; scgi_temp_path %[1]s/ns;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
`, dir)
		for i, p := range pairs {
			fmt.Fprintf(&b, "  upstream b%d { server 127.0.0.1:%d max_fails=0; keepalive 8; }\n  server { listen 127.0.0.1:%d; location / { proxy_pass http://b%d; } }\n", i, p.backend, p.listen, i)
		}
		return b.String() + "}\n"
	},
	"haproxy": func(_ string, pairs []pair) string {
		var b strings.Builder
		b.WriteString("defaults\n  mode http\n  option forwardfor\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n  timeout http-request 10s\n  http-reuse always\n")
		for i, p := range pairs {
			fmt.Fprintf(&b, "frontend f%d\n  bind 127.0.0.1:%d\n  default_backend b%d\nbackend b%d\n  server s 127.0.0.1:%d\n", i, p.listen, i, i, p.backend)
		}
		return b.String()
	},
	"sentinel": func(_ string, pairs []pair) string {
		var listeners, routes, upstreams strings.Builder
		for i, p := range pairs {
			fmt.Fprintf(&listeners, "  listener \"l%d\" { address \"127.0.0.1:%d\"; default-route \"r%d\" }\n", i, p.listen, i)
			fmt.Fprintf(&routes, "  route \"r%d\" { matches { path \"/never/%d\" }; upstream \"b%d\" }\n", i, i, i)
			fmt.Fprintf(&upstreams, "  upstream \"b%d\" { target \"127.0.0.1:%d\" }\n", i, p.backend)
		}
		return fmt.Sprintf("listeners {\n%s}\nroutes {\n%s}\nupstreams {\n%s}\n", listeners.String(), routes.String(), upstreams.String())
	},
}

func startProxy(o options, dir, name string) (shards []*shard, stop func(), err error) {
	var backends backends
	stop = backends.close
	configuration := configurations[name]
	if configuration == nil {
		return nil, stop, fmt.Errorf("no such proxy")
	}
	var pairs []pair
	var addresses []*string
	for range o.shards {
		s := &shard{name: name, quiet: o.quiet, recorder: &attack.Recorder{}, attacker: &attack.Attacker{}}
		s.attacker.Begin(&attack.Turn{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nk"})
		for _, side := range []struct {
			addr  *string
			serve func(net.Conn)
		}{{&s.requests, s.recorder.Serve}, {&s.answers, s.attacker.Serve}} {
			var p pair
			if p.backend, err = backends.listen(side.serve); err != nil {
				return nil, stop, err
			}
			pairs, addresses = append(pairs, p), append(addresses, side.addr)
		}
		shards = append(shards, s)
	}
	ports, err := peer.FreePorts(len(pairs)) // after the backends have theirs: what is free now is free for anybody
	if err != nil {
		return nil, stop, err
	}
	for i, port := range ports {
		pairs[i].listen = port
		*addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	path, err := peer.WriteConf(dir, name+".conf", "%s", configuration(dir, pairs))
	if err != nil {
		return nil, stop, err
	}
	argv := []string{"nginx", "-c", path}
	switch name {
	case "haproxy":
		argv = []string{"haproxy", "-db", "-f", path}
	case "sentinel":
		program, err := filepath.Abs(o.sentinel)
		if err != nil {
			return nil, stop, err
		}
		argv = []string{program, "--config", path}
	}
	p, err := peer.Start(name, dir, shards[0].requests, "/", argv...)
	if err != nil {
		return nil, stop, err
	}
	return shards, func() { p.Stop(); backends.close() }, nil
}

// backends are listeners of this process.
type backends struct {
	mu        sync.Mutex // guards conns
	conns     []net.Conn
	listeners []net.Listener
	serving   sync.WaitGroup
}

func (b *backends) listen(serve func(net.Conn)) (port int, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	b.listeners = append(b.listeners, ln)
	b.serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, c)
			b.mu.Unlock()
			b.serving.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func (b *backends) close() {
	for _, ln := range b.listeners {
		ln.Close()
	}
	b.mu.Lock()
	for _, c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.serving.Wait()
}
