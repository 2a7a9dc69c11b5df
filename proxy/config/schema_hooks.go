package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Hook is a program that the supervisor runs when something happens.
type Hook struct {
	Name     string
	On       []string      // what has to happen
	Services []string      // to which service; none = to any, or to the stack
	Exec     []string      // program and arguments
	Timeout  time.Duration // of one run
}

// Webhook is an HTTP request that the supervisor makes when something happens.
type Webhook struct {
	Name            string
	On              []string
	Services        []string
	URL             string
	Timeout         time.Duration // of one attempt
	Retries         int           // after the first attempt
	BearerTokenFile string        // "" = no token is sent
	CAFile          string        // "" = the system's authorities
}

// maxHooks bounds each of the two kinds.
const maxHooks = 32

func hookSchema() *Key {
	return items("hook", "Hooks", "Name", identifier(),
		"A program to run when something happens. It is given the event as JSON on its standard input and a few variables (SENTINEL_HOOK, SENTINEL_EVENT, SENTINEL_SERVICE); no shell is involved. "+
			"Its processes end with it or after the timeout, and what it writes is in the log of \"hook:NAME\".",
		hookEvents(), hookServices(),
		list("exec", "Exec", nonEmpty("argument"), nil, "Program, by its absolute path, and arguments.").once().required(),
		value("timeout", "Timeout", seconds(100*time.Millisecond, time.Hour), 10*time.Second, "Time of one run; then SIGTERM and two seconds later SIGKILL for everything it started."),
	)
}

func webhookSchema() *Key {
	return items("webhook", "Webhooks", "Name", identifier(),
		"An HTTP POST to make when something happens; its body is the event as JSON. Redirects are not followed.",
		hookEvents(), hookServices(),
		value("url", "URL", hookURL(), nil, "Where to.").required(),
		value("timeout", "Timeout", seconds(100*time.Millisecond, 5*time.Minute), 5*time.Second, "Time of one attempt."),
		value("retries", "Retries", integer(0, 10), 3, "Further attempts when there is no answer or one of 408, 429 or 5xx: after 1, 2, 4, … seconds, at most 30."),
		value("bearer-token-file", "BearerTokenFile", absoluteFile(), "", "File whose content is sent as bearer token, read for every attempt. Needs https, or an address of this machine.").unset("none"),
		value("ca-file", "CAFile", materialFile(fileType), "", "Certificates of those who issue the server's certificate, as PEM.").unset("those of the system"),
	)
}

func hookEvents() *Key {
	return list("on", "On", keyword("crashed", "oom", "ended", "stopped", "starting", "ready", "degraded", "stopping", "backoff", "quarantined", "failed", "limit", "adopted", "scaled", "scale-refused",
		"reloaded", "reload-refused", "upgraded", "upgrade-refused", "logs-failing", "logs-written"), []string{"crashed", "quarantined", "failed"},
		"What has to happen: a process ended though nobody asked (crashed; oom = because of its memory limit; ended = with status 0), a service got into a state, a limit slows it down, "+
			"a new supervisor took it over (adopted), an agent was given another number of instances, or not (scaled, scale-refused), a reload or an upgrade was done or refused, or log files cannot be written (logs-failing) and can again (logs-written).").once()
}

func hookServices() *Key {
	return list("service", "Services", identifier(), nil, "To which services; the proxy's is \"proxy\".").unset("any, and the stack itself")
}

// hookURL is where a webhook may go to.
func hookURL() *Type {
	return text("URL", func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			return fmt.Errorf(`%s is no URL of a webhook: write "https://host/path", without user and fragment`, kdl.Quote(s))
		}
		return nil
	})
}

// ofTheStack are events that concern no service.
var ofTheStack = map[string]bool{"reloaded": true, "reload-refused": true, "upgraded": true, "upgrade-refused": true, "logs-failing": true, "logs-written": true}

// hooks finds what no single key of a hook can tell.
func (c *checker) hooks() {
	services := append([]string{"proxy"}, c.agentNames()...)
	for _, s := range c.Stack.Services {
		services = append(services, s.Name)
	}
	for i, h := range c.Stack.Hooks {
		path := "stack.hook." + h.Name
		c.hook(path, i, h.On, h.Services, services)
		if len(h.Exec) > 0 && !filepath.IsAbs(h.Exec[0]) {
			c.fail(c.element(path+".exec", 0), "invalid-value", "write its absolute path", "%s is no absolute path of a program", kdl.Quote(h.Exec[0]))
		}
	}
	for i, h := range c.Stack.Webhooks {
		path := "stack.webhook." + h.Name
		c.hook(path, i, h.On, h.Services, services)
		if at, written := c.origins[path+".bearer-token-file"]; written && !confidential(h.URL) {
			c.fail(at, "insecure", "write https in the url", "the token of webhook %s would be sent in clear", kdl.Quote(h.Name))
		}
	}
}

func (c *checker) hook(path string, i int, on, of, services []string) {
	if i == maxHooks {
		c.fail(c.at(path), "too-many", "", "there can be %d of them", maxHooks)
	}
	known := set(services)
	for i, s := range of {
		if !known[s] {
			c.dangling(c.element(path+".service", i), "service", s, services)
		}
	}
	for i, word := range on {
		if ofTheStack[word] && len(of) > 0 {
			c.fail(c.element(path+".on", i), "no-effect", "give it a hook without service", "%s concerns no service, so it cannot be one of those of service", kdl.Quote(word))
		}
	}
}

// confidential reports whether nobody else can read what is sent to the URL.
func confidential(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return true // reported elsewhere
	}
	host := u.Hostname()
	return u.Scheme == "https" || host == "localhost" || host == "127.0.0.1" || host == "::1"
}
