package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

const backendConf = `worker_processes 1; daemon off; error_log %[1]s/backend.err; pid %[1]s/backend.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on; tcp_nodelay on;
  client_body_temp_path %[1]s/bt; proxy_temp_path %[1]s/bp; fastcgi_temp_path %[1]s/bf; uwsgi_temp_path %[1]s/bu; scgi_temp_path %[1]s/bs;
  server { listen 127.0.0.1:%[2]d backlog=4096; root %[1]s/www;
    location = /0 { return 200 ""; }
    location = /asked { return 200 ""; }
    location / { open_file_cache max=100; } } }
`

const nginxConf = `worker_processes auto; daemon off; error_log %[1]s/nginx.err; pid %[1]s/nginx.pid;
events { worker_connections 8192; }
http { access_log %[1]s/nginx-access.log combined; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;
  client_body_temp_path %[1]s/nt; proxy_temp_path %[1]s/np; fastcgi_temp_path %[1]s/nf; uwsgi_temp_path %[1]s/nu; scgi_temp_path %[1]s/ns;
  upstream b { server 127.0.0.1:%[2]d; keepalive 128; keepalive_requests 100000000; }
  upstream bulk { server 127.0.0.1:%[5]d; keepalive 8; }
  server { listen 127.0.0.1:%[3]d backlog=4096; listen 127.0.0.1:%[4]d ssl http2 backlog=4096;
    ssl_certificate %[1]s/bench.pem; ssl_certificate_key %[1]s/bench.key; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    location /bulk/socket { proxy_pass http://bulk; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }
    location /bulk { proxy_pass http://bulk; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_max_temp_file_size 0; client_max_body_size 0; }
    location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; } } }
`

const haproxyConf = `global
  log %[1]s/haproxy.sock local0
  maxconn 8192
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend f
  bind 127.0.0.1:%[3]d
  bind 127.0.0.1:%[4]d ssl crt %[1]s/bench.both alpn h2,http/1.1
  use_backend bulk if { path_beg /bulk }
  default_backend b
backend b
  server s1 127.0.0.1:%[2]d
backend bulk
  server s1 127.0.0.1:%[5]d
`

const sentinelConf = `system { worker-threads 0 }
listeners {
  listener "http" { address "127.0.0.1:%[3]d" }
  listener "https" { address "127.0.0.1:%[4]d"; protocol "https"; tls { cert-file "%[1]s/bench.pem"; key-file "%[1]s/bench.key" } }
}
routes {
  route "bulk" { priority "high"; matches { path-prefix "/bulk" }; upstream "bulk"; websocket #true; policies { max-body-size "64GB" } }
  route "all" { matches { path-prefix "/" }; upstream "b" }
}
upstreams { upstream "bulk" { target "127.0.0.1:%[5]d" }; upstream "b" { target "127.0.0.1:%[2]d"; connection-pool { max-connections 256; max-idle 128 } } }
limits { max-connections-per-client 20000; max-total-connections 25000 }
observability { logging { access-log { enabled #true; file "%[1]s/sentinel-access.log"; format "combined" } } }
`

// prepare writes the backend's files.
func prepare(dir string) error {
	www := filepath.Join(dir, "www")
	if err := os.Mkdir(www, 0o755); err != nil {
		return err
	}
	for name, size := range map[string]int{"1k": 1 << 10, "64k": 64 << 10} {
		if err := os.WriteFile(filepath.Join(www, name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			return err
		}
	}
	if err := peer.WriteCertificate(dir); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777)
}

// startHAProxy gives it a syslog socket that is read and written to a file, as a log daemon would.
func startHAProxy(dir, addr, conf string) (*peer.Peer, func(), error) {
	sock := filepath.Join(dir, "haproxy.sock")
	pc, err := net.ListenPacket("unixgram", sock)
	if err != nil {
		return nil, nil, err
	}
	os.Chmod(sock, 0o777)
	go func() {
		f, err := os.Create(filepath.Join(dir, "haproxy-access.log"))
		if err != nil {
			return
		}
		defer f.Close()
		buf := make([]byte, 64<<10)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			f.Write(buf[:n])
		}
	}()
	p, err := peer.Start("haproxy", dir, addr, "/0", "haproxy", "-db", "-f", conf)
	return p, func() { pc.Close() }, err
}
