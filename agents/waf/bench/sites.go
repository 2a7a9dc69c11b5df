package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

func sites(bin string) []site {
	return []site{
		{"nginx + libmodsecurity", nginx, 403},
		{"sentinel, engine", sentinel(bin, "fast-path #false"), 403},
		{"sentinel, fast path", sentinel(bin, "fast-path #true"), 403},
	}
}

const kdl = `listeners { listener "http" { address %q; protocol "http" } }
routes { route "app" { matches { path-prefix "/" }; upstream "app"; filters "waf" } }
upstreams { upstream "app" { target %q } }
agents {
    agent "waf" type="waf" {
        unix-socket %q
        events "request_headers" "request_body" "request_complete"
        timeout-ms 10000
        chunk-timeout-ms 10000
        config { %s }
    }
}
`

func sentinel(bin, config string) func(dir, backend string) (*running, error) {
	return func(dir, backend string) (*running, error) {
		bin, err := filepath.Abs(bin)
		if err != nil {
			return nil, err
		}
		r := &running{}
		if r.address, err = freeAddress(); err != nil {
			return nil, err
		}
		socket := filepath.Join(dir, "waf.sock")
		if err := write(dir, "sentinel.kdl", kdl, r.address, backend, socket, config); err != nil {
			return nil, err
		}
		for _, command := range [][]string{{"sentinel-waf", "--socket", socket}, {"sentinel", "--config", filepath.Join(dir, "sentinel.kdl")}} {
			p, err := launch(dir, filepath.Join(bin, command[0]), command[1:]...)
			if err != nil {
				r.stop()
				return nil, err
			}
			r.group = append(r.group, p)
		}
		if err := answers(r); err != nil {
			r.stop()
			return nil, err
		}
		return r, nil
	}
}

const nginxConf = `load_module %s;
worker_processes 1;
daemon off;
error_log stderr error;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream app { server %s; keepalive 16; }
    server {
        listen %s;
        modsecurity on;
        modsecurity_rules_file rules.conf;
        location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
    }
}
`

// engineConf is what the agent sets as well.
const engineConf = `SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 1048576
SecResponseBodyAccess Off
SecAuditEngine Off
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+\+)?json" "id:10000002,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecAction "id:10000005,phase:1,pass,t:none,nolog,setvar:tx.crs_setup_version=4250,setvar:tx.blocking_paranoia_level=1,setvar:tx.detection_paranoia_level=1,setvar:tx.inbound_anomaly_score_threshold=5,setvar:tx.outbound_anomaly_score_threshold=4,setvar:tx.enforce_bodyproc_urlencoded=1"
`

// modules are where distributions put nginx's modules.
var modules = []string{"/usr/lib/nginx/modules/ngx_http_modsecurity_module.so", "/usr/share/nginx/modules/ngx_http_modsecurity_module.so", "/usr/lib64/nginx/modules/ngx_http_modsecurity_module.so"}

// apart puts an empty line behind each directive: without it libmodsecurity takes the next one for the actions of a rule that has none.
func apart(rules string) string {
	var out strings.Builder
	for line := range strings.Lines(rules) {
		out.WriteString(line)
		if !strings.HasSuffix(strings.TrimRight(line, "\n"), `\`) {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// nginx starts nginx with libmodsecurity and the rules of the agent, file by file the same.
func nginx(dir, backend string) (*running, error) {
	module := ""
	for _, m := range modules {
		if _, err := os.Stat(m); err == nil {
			module = m
		}
	}
	if module == "" {
		return nil, fmt.Errorf("the module for libmodsecurity is not installed (Debian: libnginx-mod-http-modsecurity)")
	}
	text := engineConf
	err := fs.WalkDir(coreruleset.FS, "@owasp_crs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(coreruleset.FS, path)
		if err == nil {
			err = write(dir, d.Name(), "%s", apart(string(data)))
		}
		if strings.HasSuffix(path, ".conf") {
			text += "Include " + filepath.Join(dir, d.Name()) + "\n"
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &running{}
	if r.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := write(dir, "rules.conf", "%s", text); err != nil {
		return nil, err
	}
	if err := write(dir, "nginx.conf", nginxConf, module, backend, r.address); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // its worker is another user
		return nil, err
	}
	p, err := launch(dir, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	if err != nil {
		return nil, err
	}
	r.group = []*process{p}
	if err := answers(r); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}
