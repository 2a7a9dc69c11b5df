// Package plan turns a configuration into what the supervisor wants to run, and compares two such plans. It is the supervisor's only view of the
// configuration, and apart from Load, which reads files, it is pure.
package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
)

// ProxyName is the name of the proxy among the services.
const ProxyName = "proxy"

// Names of the proxy's inherited sockets that are not listeners.
const (
	AdminSocketName   = "sentinel-admin"
	MetricsSocketName = "sentinel-metrics"
)

// Kinds of services and sockets.
const (
	KindProxy   = "proxy"
	KindAgent   = "agent"
	KindService = "service"
	KindAdmin   = "admin"
	KindMetrics = "metrics"
)

// watchdog is how long our own programs may be silent: long enough for a starved machine, short against a human's patience.
const watchdog = 20 * time.Second

// Plan is everything the supervisor wants, derived from one configuration.
type Plan struct {
	File            string // as it was named, config.EmbeddedStarter for the built-in one
	Hash            string
	Watched         []string // absolute paths of all files that were read
	Globs           []string // absolute include patterns
	Warnings        string   // rendered, "" = none
	Watch           bool
	RuntimeDir      string
	NamedRuntimeDir string // what the configuration itself says, "" = nothing
	ShutdownTimeout time.Duration
	StrictLimits    bool      // a limit that the host cannot enforce is an error
	Keep            bool      // the services are to survive the supervisor
	Services        []Service // in start order; the proxy last but for agents no route uses
	AdminSocket     string
	Hooks           []Hook

	config config.Config
	loaded *config.Loaded
}

// Service is one process to run.
type Service struct {
	Name        string // of an instance of an agent that has several: InstanceName
	Agent       string // whose instance it is, "" = none
	Kind        string
	Path        string // absolute; when the program was not found, what was looked for
	Problem     string // why it cannot run, "" = it can
	Args        []string
	Env         []string
	Sockets     []Socket
	Used        bool // some route uses it: the proxy waits for it
	OurProgram  bool // it knows our conventions: readiness reports and watchdog
	Watchdog    time.Duration
	Ready       Ready
	Restart     config.Restart
	StopSignal  string
	StopTimeout time.Duration
	Limits      limits.Set
	Sandbox     sandbox.Policy
	MakeDirs    []string // that its sandbox names and that it would make itself
	Strict      bool     // a layer of the sandbox that was written down and that this host does not have is an error
	Secrets     []Secret
	Settings    config.ProcessSettings // of the proxy: what only another process can take over
	Survives    bool                   // the supervisor's death does not end it
}

// Ready is how a service becomes ready.
type Ready struct {
	Notify    bool
	Handshake string // agent socket to shake hands on, "" = none
	HTTP, TCP string
	Exec      []string
	Timeout   time.Duration
}

// Socket is one listening socket that a service is given.
type Socket struct {
	Name, Network, Address, Kind string
}

// Host is what the plan needs to know about the machine.
type Host struct {
	Getenv     func(string) string
	Environ    []string // of the supervisor; services inherit it
	ProgramDir string   // of the supervisor's own program: our other programs are looked for there first
	RuntimeDir string   // used when the configuration names none
}

// Load reads the configuration at path and plans it. An invalid one gives a config.Diagnostics error, which says file:line:col.
func Load(path string, h Host) (*Plan, error) { return LoadScaled(path, h, nil) }

// LoadScaled is Load with the numbers of instances that somebody asked for since.
func LoadScaled(path string, h Host, scale Scale) (*Plan, error) {
	loaded, err := config.Load(path, config.Options{LookupEnv: lookup(h.Environ), Scale: scale})
	if err != nil {
		return nil, err
	}
	p, err := build(loaded, path, h)
	if err == nil && !strings.HasPrefix(path, "bundle:") {
		err = p.checkHooks()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Find is the configuration used when none is named.
func Find() (path string, embedded bool) {
	path = config.FindFile()
	return path, path == config.EmbeddedStarter
}

// RuntimeDirOf is the runtime directory that the configuration at path and the environment name, "" = none or not loadable.
func RuntimeDirOf(path string, getenv func(string) string) string {
	loaded, err := config.Load(path, config.Options{})
	if err != nil {
		return config.RuntimeDir(config.Config{}, getenv)
	}
	return config.RuntimeDir(loaded.Config, getenv)
}

// WriteBundle writes the configuration as one self-contained file, which the proxy loads as "bundle:<path>".
func (p *Plan) WriteBundle(path string) error { return p.loaded.WriteBundle(path) }

func lookup(environ []string) func(string) (string, bool) {
	values := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		values[name] = value
	}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

func build(loaded *config.Loaded, path string, h Host) (*Plan, error) {
	c := loaded.Config
	p := &Plan{
		File: path, Hash: loaded.Hash, Watched: loaded.Files, Globs: loaded.Globs, Watch: c.Stack.Watch,
		ShutdownTimeout: c.Stack.ShutdownTimeout, StrictLimits: c.Stack.StrictLimits, config: c, loaded: loaded,
	}
	if len(loaded.Warnings) > 0 {
		p.Warnings = loaded.Warnings.Error()
	}
	if c.Stack.RuntimeDir != "" {
		p.NamedRuntimeDir, _ = filepath.Abs(c.Stack.RuntimeDir)
	}
	if p.RuntimeDir = config.RuntimeDir(c, h.Getenv); h.RuntimeDir != "" {
		p.RuntimeDir = h.RuntimeDir // decided once, when the supervisor started
	}
	p.AdminSocket = c.System.AdminSocket
	if p.AdminSocket == "" {
		p.AdminSocket = filepath.Join(p.RuntimeDir, "proxy.sock")
	}
	used := usedAgents(c)
	for _, s := range c.Stack.Services {
		svc, err := p.extra(s, h)
		if err != nil {
			return nil, err
		}
		p.Services = append(p.Services, svc)
	}
	var idle []Service
	for _, a := range c.Agents {
		if a.External {
			continue
		}
		for i, socket := range config.AgentSockets(a, p.RuntimeDir) {
			svc, err := p.agent(a, i, socket, h)
			if err != nil {
				return nil, err
			}
			if svc.Used = used[a.Name]; svc.Used {
				p.Services = append(p.Services, svc)
			} else {
				idle = append(idle, svc)
			}
		}
	}
	p.Services = append(append(p.Services, p.proxy(h)), idle...)
	p.Keep = c.Stack.OnSupervisorDeath == "keep"
	for i := range p.Services {
		p.Services[i].Survives = p.Keep
	}
	if err := p.hooks(); err != nil {
		return nil, err
	}
	if err := check(loaded, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plan) proxy(h Host) Service {
	c := p.config
	s := Service{
		Name: ProxyName, Kind: KindProxy, Used: true, OurProgram: true, Watchdog: watchdog,
		Ready: Ready{Notify: true, Timeout: c.Stack.Proxy.Ready}, Restart: c.Stack.Proxy.Restart, StopSignal: c.Stack.Proxy.Stop.Signal,
		// A proxy that drains must not be killed before its own deadline is over.
		StopTimeout: max(c.Stack.Proxy.Stop.Timeout, c.System.GracefulShutdownTimeout+time.Second),
		Env:         environment(h, p.RuntimeDir, c.Stack.Proxy.PassEnv, c.Stack.Proxy.Env),
		Settings:    c.ProcessSettings(),
		Limits:      limits.Set(c.Stack.Proxy.Limits),
	}
	s.Sandbox, s.MakeDirs = p.proxyBox(s.Env)
	s.Strict = p.StrictLimits && c.Stack.Proxy.Sandbox != nil
	s.program(c.Stack.Proxy.Command, "sentinel", h, nil)
	for _, l := range c.Listeners {
		if path := l.Address.Socket; path != "" {
			s.Sockets = append(s.Sockets, Socket{l.ID, "unix", path, KindProxy})
			continue
		}
		s.Sockets = append(s.Sockets, Socket{l.ID, "tcp", l.Address.String(), KindProxy})
	}
	s.Sockets = append(s.Sockets, Socket{AdminSocketName, "unix", p.AdminSocket, KindAdmin})
	if m := c.Observability.Metrics; m.Enabled && m.Address.IsValid() {
		s.Sockets = append(s.Sockets, Socket{MetricsSocketName, "tcp", m.Address.String(), KindMetrics})
	}
	return s
}

// agent is the i-th instance of an agent.
func (p *Plan) agent(a config.Agent, i int, socket string, h Host) (Service, error) {
	vars := []config.NameValue{{Name: "SENTINEL_SOCKET", Value: socket}, {Name: "SENTINEL_AGENT", Value: a.Name}}
	s := Service{
		Name: a.Name, Agent: a.Name, Kind: KindAgent, OurProgram: len(a.Command) == 0, Restart: a.Restart, StopSignal: a.Stop.Signal, StopTimeout: a.Stop.Timeout, Limits: limits.Set(a.Limits),
		Ready: Ready{Notify: true, Timeout: a.Ready}, Watchdog: watchdog,
		Sockets: []Socket{{"agent", "unix", socket, KindAgent}},
	}
	if a.Instances > 1 {
		s.Name = InstanceName(a.Name, i+1)
	}
	if !s.OurProgram {
		s.Ready.Handshake = socket
	}
	extra, err := p.envFile(a.EnvFile)
	if err != nil {
		return s, p.loaded.Fault("agents."+a.Name+".env-file", unusable, fmt.Sprintf("agent %s: %v", a.Name, err))
	}
	s.Env = environment(h, p.RuntimeDir, a.PassEnv, append(append(vars, extra...), a.Env...))
	s.program(a.Command, "sentinel-"+a.Type, h, s.Env)
	if s.Secrets, err = p.secrets(a.Secrets); err != nil {
		return s, p.loaded.Fault("agents."+a.Name+".secret", unusable, fmt.Sprintf("agent %s: %v", a.Name, err))
	}
	s.Strict = p.StrictLimits && a.Sandbox != nil
	s.Sandbox = policy(a.Sandbox, a.User, a.Group, s.Kind, s.OurProgram, json.RawMessage(a.ConfigJSON))
	return s, nil
}

func (p *Plan) extra(x config.Service, h Host) (Service, error) {
	s := Service{
		Name: x.Name, Kind: KindService, Used: true, Restart: x.Restart, StopSignal: x.Stop.Signal, StopTimeout: x.Stop.Timeout, Limits: limits.Set(x.Limits),
		Ready: Ready{Notify: x.Ready.Notify, HTTP: x.Ready.HTTP, TCP: x.Ready.TCP, Exec: x.Ready.Exec, Timeout: x.Ready.Timeout},
	}
	extra, err := p.envFile(x.EnvFile)
	if err != nil {
		return s, p.loaded.Fault("stack.service."+x.Name+".env-file", unusable, fmt.Sprintf("service %s: %v", x.Name, err))
	}
	s.Env = environment(h, p.RuntimeDir, x.PassEnv, append(extra, x.Env...))
	s.program(x.Command, "", h, s.Env)
	if s.Secrets, err = p.secrets(x.Secrets); err != nil {
		return s, p.loaded.Fault("stack.service."+x.Name+".secret", unusable, fmt.Sprintf("service %s: %v", x.Name, err))
	}
	s.Strict = p.StrictLimits && x.Sandbox != nil
	s.Sandbox = policy(x.Sandbox, x.User, x.Group, s.Kind, false, nil)
	return s, nil
}

// Proxy is the service that serves; every plan has it.
func (p *Plan) Proxy() Service {
	return p.Services[slices.IndexFunc(p.Services, func(s Service) bool { return s.Kind == KindProxy })]
}

// Count says a number of services.
func Count(n int) string {
	if n == 1 {
		return "1 service"
	}
	return fmt.Sprintf("%d services", n)
}

// IsInvalid says whether err means that the configuration is invalid, rather than that something around it failed.
func IsInvalid(err error) bool {
	var d config.Diagnostics
	return errors.As(err, &d)
}
