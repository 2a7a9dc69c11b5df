package plan

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// LogName is the supervisor's own name in the logs; no service may have it.
const LogName = "stack"

// maxSocketPath is what the kernel takes as the path of a Unix socket.
const maxSocketPath = 107

// NotifyPath is where a service's notification socket is.
func NotifyPath(runtimeDir, service string) string {
	return filepath.Join(runtimeDir, "notify", FileName(service))
}

// unusable is the code of findings about services that cannot run here.
const unusable = "unusable-service"

// path is where the configuration speaks of the service.
func (s *Service) path() string {
	switch s.Kind {
	case KindProxy:
		return "stack.proxy"
	case KindService:
		return "stack.service." + s.Name
	}
	return "agents." + s.Agent
}

// Problems reports the services that cannot run, with their places; "" = none. broken is false when no route misses them.
func (p *Plan) Problems() (report string, broken bool) {
	found := p.problems()
	if len(found) == 0 {
		return "", false
	}
	return found.Error(), slices.ContainsFunc(found, func(d config.Diagnostic) bool { return d.Severity == config.SeverityError })
}

// LimitFault is the error for a limit of s that this host cannot enforce as asked, at the place where it is written.
func (p *Plan) LimitFault(s Service, l limits.Limit) error {
	path := s.path() + ".limits." + l.Name
	if s.Kind == KindAgent && !p.loaded.Written(path) { // it comes from the defaults
		path = "stack.defaults.limits." + l.Name
	}
	return p.loaded.Fault(path, unusable, fmt.Sprintf("%s %s: %s", s.Kind, s.Name, l))
}

func (p *Plan) problems() config.Diagnostics {
	var found config.Diagnostics
	for _, s := range p.Services {
		if s.Problem == "" {
			continue
		}
		d := p.loaded.Fault(s.path(), unusable, fmt.Sprintf("%s %s: %s", s.Kind, s.Name, s.Problem))
		if !s.Used {
			d[0].Severity = config.SeverityWarning
		}
		found = append(found, d...)
	}
	return found
}

// check finds what is a valid configuration and still cannot be run here. The error is a config.Diagnostics.
func check(loaded *config.Loaded, p *Plan) error {
	var found config.Diagnostics
	fault := func(s Service, format string, args ...any) {
		found = append(found, loaded.Fault(s.path(), unusable, fmt.Sprintf(format, args...))...)
	}
	sockets, files := map[string]string{}, map[string]string{}
	for _, s := range p.Services {
		if s.Name == LogName {
			fault(s, "a service cannot be called %q: the supervisor logs under this name", s.Name)
		}
		file := FileName(s.Name)
		if other := files[file]; other != "" {
			fault(s, "%s and %s would use the same files: call one of them otherwise", other, s.Name)
		}
		files[file] = s.Name
		paths := []string{NotifyPath(p.RuntimeDir, s.Name)}
		for _, sock := range s.Sockets {
			if sock.Network != "unix" {
				continue
			}
			paths = append(paths, sock.Address)
			if other := sockets[sock.Address]; other != "" {
				fault(s, "%s and %s share the socket %s", other, s.Name, sock.Address)
			}
			sockets[sock.Address] = s.Name
		}
		for _, path := range paths {
			if len(path) > maxSocketPath {
				fault(s, "the path of the socket %s is longer than %d bytes: choose a shorter name or runtime directory", path, maxSocketPath)
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}
