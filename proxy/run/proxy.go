package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/build"
	"github.com/sentinel-stack/sentinel/proxy/builtin"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/discovery"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// Proxy is the running proxy. It is what the admin API and the builtin handlers look at.
type Proxy struct {
	options  Options
	started  time.Time
	instance string
	metrics  *observe.Metrics
	errors   *observe.ErrorLog
	log      *slog.Logger
	server   *server.Server
	deps     build.Deps
	stamps   atomic.Pointer[string] // of the files of what is served, from before it was served: a later change is noticed

	discovery *discovery.Set

	reloading sync.Mutex // one reload at a time; guards the next two
	number    uint64
	base      *config.Loaded // what was loaded last, without the targets that were found

	set             atomic.Pointer[build.Set]
	last            atomic.Pointer[api.Reload]
	loadedAt        atomic.Pointer[time.Time]
	draining        atomic.Bool
	drain           chan struct{} // closed when the admin API asks for a drain
	drainOnce       sync.Once
	listeners       map[string]net.Listener
	quics           []*quicPort
	adminListener   net.Listener
	metricsListener net.Listener
}

// start builds the first generation.
func start(ctx context.Context, o Options, loaded *config.Loaded) (*Proxy, error) {
	p := &Proxy{options: o, started: time.Now(), instance: instanceID(), drain: make(chan struct{}), listeners: map[string]net.Listener{}}
	stamps := fileStamps(loaded)
	p.stamps.Store(&stamps)
	p.metrics = observe.NewMetrics(o.Version, nil)
	var err error
	if p.errors, err = openErrorLog(o, loaded.Config.Observability.Log, p.metrics); err != nil {
		return nil, err
	}
	p.log = slog.New(p.errors.Handler())
	p.deps = build.Deps{
		Metrics: p.metrics, Log: p.log, Source: p, Instance: p.instance, Version: o.Version, Stdout: o.Stdout,
		RuntimeDir: config.RuntimeDir(loaded.Config, os.Getenv),
	}
	p.discovery, p.base = discovery.NewSet(p.log, p.metrics), loaded
	set, err := build.Build(ctx, p.discovered(ctx, loaded), nil, 1, p.deps)
	if err != nil {
		p.discovery.Close()
		p.closeErrors()
		return nil, err
	}
	warn(p.log, loaded.Warnings)
	p.number = 1
	p.adopt(set)
	if p.server, err = server.New(server.Options{Metrics: p.metrics, Logger: p.log}, set.Generation); err != nil {
		p.discovery.Close()
		set.Close()
		return nil, err
	}
	p.metrics.SetReports(func() []observe.Report { return p.current().Reports() })
	return p, nil
}

func (p *Proxy) adopt(set *build.Set) {
	now := time.Now()
	p.set.Store(set)
	p.loadedAt.Store(&now)
	p.metrics.Process.Generation.Store(set.Generation.Number)
}

func (p *Proxy) current() *build.Set { return p.set.Load() }

// instanceID tells this process from its predecessors in logs.
func instanceID() string {
	var b [4]byte
	rand.Read(b[:])
	host, _ := os.Hostname()
	return host + "-" + hex.EncodeToString(b[:])
}

// listen takes over or binds every socket that the configuration names.
func (p *Proxy) listen(in *inherited) error {
	c := p.current().Loaded.Config
	for _, l := range c.Listeners {
		ln, err := openListener(in, l.Address, l.ID)
		if err != nil {
			return fmt.Errorf("cannot open listener %q: %v", l.ID, err)
		}
		p.listeners[l.ID] = ln
		if l.HTTP3.Enabled {
			if err := p.openQUIC(l.ID, ln.Addr()); err != nil {
				return fmt.Errorf("cannot open listener %q for HTTP/3: %v", l.ID, err)
			}
		}
	}
	if m := c.Observability.Metrics; m.Enabled && m.Address.IsValid() {
		ln, err := tcpListener(in, m.Address, metricsSocketName)
		if err != nil {
			return fmt.Errorf("cannot open metrics listener: %v", err)
		}
		p.metricsListener = ln
	}
	p.adminListener = in.named(adminSocketName)
	path := c.System.AdminSocket
	if path == "" && p.deps.RuntimeDir != "" {
		path = filepath.Join(p.deps.RuntimeDir, "proxy.sock")
	}
	if p.adminListener == nil && path != "" {
		ln, err := listenUnix(path, 0o660)
		if err != nil {
			if c.System.AdminSocket == "" { // nobody asked for it
				p.log.Warn("no admin socket", "error", err)
				return nil
			}
			return fmt.Errorf("cannot open admin socket: %v", err)
		}
		p.adminListener = ln
	}
	return nil
}

func openListener(in *inherited, a config.Address, name string) (net.Listener, error) {
	if a.Socket == "" {
		return tcpListener(in, a.AddrPort, name)
	}
	if ln := in.unix(a.Socket, name); ln != nil {
		return ln, nil
	}
	return listenUnix(a.Socket, 0o660)
}

func tcpListener(in *inherited, addr netip.AddrPort, name string) (net.Listener, error) {
	if ln := in.tcp(addr, name); ln != nil {
		return ln, nil
	}
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
}

// close ends everything that outlives the serving: pools, agents, logs.
func (p *Proxy) close() {
	for _, ln := range p.listeners {
		ln.Close()
	}
	for _, q := range p.quics {
		if q.socket != nil {
			q.socket.Close()
		}
	}
	p.discovery.Close()
	p.current().Close()
	p.closeErrors()
}

// closeErrors writes what the error log still holds.
func (p *Proxy) closeErrors() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	p.errors.Close(ctx)
}

// alive is the watchdog's question: does the process still get work done? Counting connections takes the lock without which none begins or ends; when
// that cannot be had, this does not return, which is an answer as well.
func (p *Proxy) alive() bool { return p.server.Connections() >= 0 }

// Drain implements admin.Proxy.
func (p *Proxy) Drain() { p.drainOnce.Do(func() { close(p.drain) }) }

// Status implements admin.Proxy.
func (p *Proxy) Status() api.Status {
	set := p.current()
	s := api.Status{PID: os.Getpid(), InstanceID: p.instance, Generation: set.Generation.Number, ConfigHash: set.Loaded.Hash, LoadedAt: *p.loadedAt.Load(), Draining: p.draining.Load(), LastReload: p.last.Load()}
	p.metrics.FillStatus(&s)
	s.Generation = set.Generation.Number
	for _, l := range set.Loaded.Config.Listeners {
		out := api.Listener{ID: l.ID, Address: l.Address.String(), Protocol: l.Protocol}
		if ln := p.listeners[l.ID]; ln != nil && l.Address.Socket == "" {
			out.Address = ln.Addr().String()
		}
		for i := range set.Generation.Listeners {
			if g := &set.Generation.Listeners[i]; g.ID == l.ID {
				out.Connections = g.Metrics.Open.Load()
			}
		}
		s.Listeners = append(s.Listeners, out)
	}
	return s
}

// Certificates implements admin.Proxy.
func (p *Proxy) Certificates() []api.Certificate { return p.current().Certificates() }

// Routes implements admin.Proxy.
func (p *Proxy) Routes() []api.Route { return p.current().Routes() }

// Upstreams implements admin.Proxy.
func (p *Proxy) Upstreams() []api.Upstream { return p.current().Upstreams() }

// Agents implements admin.Proxy.
func (p *Proxy) Agents() []api.Agent { return p.current().Agents() }

// Settings is the configuration in effect.
func (p *Proxy) Settings() []config.Setting { return p.current().Loaded.Settings() }

// Config implements admin.Proxy: the effective configuration without what is confidential.
func (p *Proxy) Config() (json.RawMessage, error) { return json.Marshal(builtin.Redact(p.Settings())) }

// Metrics implements admin.Proxy.
func (p *Proxy) Metrics() http.Handler { return p.metrics.Handler() }

// MetricsText is what a scrape answers.
func (p *Proxy) MetricsText() (body []byte, contentType string, err error) {
	var out bytes.Buffer
	contentType, err = p.metrics.WriteText(&out)
	return out.Bytes(), contentType, err
}

// Reopen implements admin.Proxy.
func (p *Proxy) Reopen() error {
	if err := p.errors.Reopen(); err != nil {
		return fmt.Errorf("cannot reopen error log: %v", err)
	}
	return p.current().Reopen()
}
