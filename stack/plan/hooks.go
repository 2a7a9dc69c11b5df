package plan

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Hook is somebody to be told of events: a program, or a server when it has a URL.
type Hook struct {
	Name     string
	On       []string // words, see package hooks
	Services []string // none = any
	Timeout  time.Duration

	Exec []string

	URL       string
	Retries   int
	TokenFile string
	CA        string // certificates, PEM
}

// Key names the hook among those of both kinds.
func (h Hook) Key() string {
	if h.URL != "" {
		return "webhook:" + h.Name
	}
	return "hook:" + h.Name
}

// Wants says whether the hook waits for an event that goes by one of the words.
func (h Hook) Wants(words []string, service string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(h.On, w) }) && (len(h.Services) == 0 || slices.Contains(h.Services, service) || slices.Contains(h.Services, AgentOf(service)))
}

// hooks plans them.
func (p *Plan) hooks() error {
	for _, h := range p.config.Stack.Hooks {
		p.Hooks = append(p.Hooks, Hook{Name: h.Name, On: h.On, Services: h.Services, Timeout: h.Timeout, Exec: h.Exec})
	}
	for _, h := range p.config.Stack.Webhooks {
		out := Hook{Name: h.Name, On: h.On, Services: h.Services, Timeout: h.Timeout, URL: h.URL, Retries: h.Retries, TokenFile: h.BearerTokenFile}
		if h.CAFile != "" {
			pem, err := p.loaded.Material(h.CAFile)
			if err != nil {
				return err
			}
			out.CA = string(pem)
		}
		p.Hooks = append(p.Hooks, out)
	}
	return nil
}

// checkHooks finds hooks that cannot work on this machine. The error is a config.Diagnostics. It is asked about files that somebody wrote, not about what runs already: a
// program that has vanished must not keep a supervisor from taking over.
func (p *Plan) checkHooks() error {
	var found config.Diagnostics
	for _, h := range p.Hooks {
		switch {
		case h.TokenFile != "":
			if _, err := os.Stat(h.TokenFile); err != nil {
				found = append(found, p.loaded.Fault("stack.webhook."+h.Name+".bearer-token-file", unusable, fmt.Sprintf("webhook %s: cannot find the file %s", h.Name, h.TokenFile))...)
			}
		case len(h.Exec) > 0:
			if err := usable(h.Exec[0]); err != nil {
				found = append(found, p.loaded.Fault("stack.hook."+h.Name+".exec", unusable, fmt.Sprintf("hook %s: %v", h.Name, err))...)
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// usable says why a program cannot be run by the supervisor, nil = it can.
func usable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("cannot find the program %s", path)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is no program that can be executed", path)
	case info.Mode()&0o002 != 0:
		return fmt.Errorf("everybody can change the program %s", path)
	}
	return nil
}
