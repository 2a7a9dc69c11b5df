package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/bench/peer"
)

// Both agents may be waited for as long as it takes: on a small machine the load takes every processor, and a late verdict is no fault of the stack.
const stackConf = `listeners {
  listener "web" { address "127.0.0.1:%[1]d" }
  listener "secure" { address "127.0.0.1:%[2]d"; protocol "https"; tls { cert-file "bench.pem"; key-file "bench.key" } }
}
routes {
  route "asked" { priority "high"; matches { path-prefix "/asked" }; upstream "targets"; filters "denylist" "echo"; retry-policy { max-attempts 3; retry-on "connect" "reset" } }
  route "all" { matches { path-prefix "/" }; upstream "targets"; retry-policy { max-attempts 3; retry-on "connect" "reset" } }
  route "generation" { priority "high"; matches { path "/generation-%[4]d" }; builtin-handler "status" }
}
upstreams { upstream "targets" { %[3]s; connection-pool { idle-timeout-secs 2 } } }
agents {
  agent "echo" type="echo" { events "request_headers"; restart { reset-after-secs 1 }; max-concurrent-calls 1000; timeout-ms 10000; queue-length 10000; queue-timeout-ms 10000 }
  agent "denylist" type="denylist" { events "request_headers"; restart { reset-after-secs 1 }; max-concurrent-calls 1000; timeout-ms 10000; queue-length 10000; queue-timeout-ms 10000
    config { block-paths "/asked/secret" } }
}
stack { proxy { restart { reset-after-secs 1 } } }
limits { max-connections-per-client 10000 }
observability { logging { level "warn"; access-log { file "/dev/null" } } }
`

// system is the stack under load.
type system struct {
	program, dir  string
	plain, secure int // ports
	targets       string
	reloads       int
	peer          *peer.Peer
	control       *http.Client
}

func startStack(o options, dir string, targets []*target) (*system, error) {
	s := &system{program: filepath.Join(o.bin, "sentinel-stack"), dir: dir}
	var err error
	if s.plain, err = peer.FreePort(); err != nil {
		return nil, err
	}
	if s.secure, err = peer.FreePort(); err != nil {
		return nil, err
	}
	if err := peer.WriteCertificate(dir); err != nil {
		return nil, err
	}
	for _, t := range targets {
		s.targets += fmt.Sprintf("target %q; ", t.addr)
	}
	s.targets = strings.TrimSuffix(s.targets, "; ")
	if err := s.write(); err != nil {
		return nil, err
	}
	s.control = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "run", "control.sock"))
	}}}
	s.peer, err = peer.Start("stack", dir, fmt.Sprintf("127.0.0.1:%d", s.plain), "/", append(append([]string{s.program}, s.flags()...), "up", "-q")...)
	return s, err
}

func (s *system) flags() []string {
	return []string{"--config", filepath.Join(s.dir, "sentinel.kdl"), "--runtime-dir", filepath.Join(s.dir, "run")}
}

func (s *system) write() error {
	text := fmt.Sprintf(stackConf, s.plain, s.secure, s.targets, s.reloads)
	tmp := filepath.Join(s.dir, "new")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, "sentinel.kdl"))
}

// reload changes a route and applies that; the supervisor may have seen the file by itself already.
func (s *system) reload() error {
	s.reloads++
	if err := s.write(); err != nil {
		return err
	}
	out, err := exec.Command(s.program, append(s.flags(), "reload")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("reload: %v\n%s", err, out)
	}
	return nil
}

func (s *system) stop() {
	_ = exec.Command(s.program, append(s.flags(), "down")...).Run()
	s.peer.Stop()
}

func (s *system) tail() string {
	out, _ := exec.Command(s.program, append(s.flags(), "logs", "-n", "20")...).CombinedOutput()
	return string(out)
}

// service is what the supervisor says of one process.
type service struct {
	Name  string `json:"name"`
	State string `json:"state"`
	PID   int    `json:"pid"`
}

func (s *system) services() (pid int, all []service, err error) {
	res, err := s.control.Get("http://stack/v1/status")
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	var status struct {
		PID      int       `json:"pid"`
		Services []service `json:"services"`
	}
	err = json.NewDecoder(res.Body).Decode(&status)
	return status.PID, status.Services, err
}

// replaced waits until a service is ready with another process than old; 0 means any.
func (s *system) replaced(name string, old int) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, all, err := s.services()
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.Name == name && v.State == "ready" && v.PID != old {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not ready within 20 s", name)
}

// usage is what one process holds.
type usage struct {
	rss        int64
	fds        int
	goroutines int // -1 = it does not say
	pid        int
}

func (s *system) usage() (map[string]usage, error) {
	pid, services, err := s.services()
	if err != nil {
		return nil, err
	}
	goroutines, err := s.goroutines()
	if err != nil {
		return nil, err
	}
	all := map[string]usage{}
	for _, v := range append(services, service{Name: "stack", PID: pid}) {
		u := usage{pid: v.PID, goroutines: -1}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.PID))
		if err != nil {
			return nil, fmt.Errorf("%s: %v", v.Name, err)
		}
		u.fds = len(fds)
		if u.rss, err = peer.RSS(v.PID); err != nil {
			return nil, fmt.Errorf("%s: %v", v.Name, err)
		}
		if n, ok := goroutines[v.Name]; ok {
			u.goroutines = n
		}
		all[v.Name] = u
	}
	return all, nil
}

// goroutines reads them by service from the stack's metrics; what has no service label is the stack itself.
func (s *system) goroutines() (map[string]int, error) {
	res, err := s.control.Get("http://stack/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	all := map[string]int{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		labels, ok := strings.CutPrefix(name, "go_goroutines")
		if !ok {
			continue
		}
		who := "stack"
		if _, after, found := strings.Cut(labels, `service="`); found {
			who, _, _ = strings.Cut(after, `"`)
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q", lines.Text())
		}
		all[who] = int(n)
	}
	if _, ok := all["proxy"]; !ok {
		return nil, fmt.Errorf("the metrics do not tell the proxy's goroutines: %v", all)
	}
	return all, nil
}
