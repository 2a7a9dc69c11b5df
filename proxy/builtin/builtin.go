// Package builtin answers routes that have a builtin-handler: status, health, metrics, not-found, config and upstreams.
//
// The answers are made from snapshots when they are asked for. They carry nothing confidential: values of environment variables, secrets and
// what agents are configured with are replaced by "(hidden)" in the config answer.
package builtin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// Source is what the answers are made of. Every method may be called concurrently.
type Source interface {
	Status() api.Status
	Upstreams() []api.Upstream
	Settings() []config.Setting // the configuration in effect, in the names of the file
	MetricsText() (body []byte, contentType string, err error)
}

var names = map[string]func(Source) server.Handler{
	"status":    status,
	"health":    health,
	"metrics":   metrics,
	"not-found": notFound,
	"config":    configuration,
	"upstreams": upstreams,
}

// Names lists the handlers, sorted.
func Names() []string { return slices.Sorted(maps.Keys(names)) }

// Handler returns the handler called name.
func Handler(name string, s Source) (server.Handler, error) {
	make, ok := names[name]
	if !ok {
		return nil, fmt.Errorf("cannot build route: no builtin handler %q", name)
	}
	return make(s), nil
}

func status(s Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		now, st := time.Now(), s.Status()
		up := now.Sub(st.Started)
		return answer(200, struct {
			Status     string `json:"status"`
			Version    string `json:"version"`
			Uptime     string `json:"uptime"`
			UptimeSecs int64  `json:"uptime_secs"`
			InstanceID string `json:"instance_id"`
			Generation uint64 `json:"generation"`
			Timestamp  string `json:"timestamp"`
		}{"ok", st.Version, uptime(up), int64(up.Seconds()), st.InstanceID, st.Generation, stamp(now)})
	}
}

// uptime is "1d 2h 3m 4s", leading zero units left out.
func uptime(d time.Duration) string {
	secs := int64(max(d, 0).Seconds())
	units := []struct {
		size int64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}
	var out string
	for _, u := range units {
		n := secs / u.size
		secs %= u.size
		if n > 0 || out != "" || u.size == 1 {
			out += fmt.Sprintf("%d%s ", n, u.name)
		}
	}
	return out[:len(out)-1]
}

// health is "ok" while the process serves and 503 while it drains, so that a balancer in front takes it out.
func health(s Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		word, code := "healthy", 200
		if s.Status().Draining {
			word, code = "draining", 503
		}
		return answer(code, struct {
			Status    string `json:"status"`
			Timestamp string `json:"timestamp"`
		}{word, stamp(time.Now())})
	}
}

func metrics(s Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		body, contentType, err := s.MetricsText()
		if err != nil {
			return filter.Respond(500, nil).Because("cannot gather metrics: " + err.Error())
		}
		return filter.Respond(200, body, filter.Field{Name: "Content-Type", Value: contentType}, noCache)
	}
}

func notFound(Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		return answer(404, struct {
			Error     string `json:"error"`
			Status    int    `json:"status"`
			Message   string `json:"message"`
			RequestID string `json:"request_id"`
			Timestamp string `json:"timestamp"`
		}{"Not Found", 404, "no such resource", string(x.RequestID()), stamp(time.Now())})
	}
}

func upstreams(s Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		list := s.Upstreams()
		if list == nil {
			list = []api.Upstream{}
		}
		return answer(200, struct {
			Timestamp string         `json:"timestamp"`
			RequestID string         `json:"request_id"`
			Summary   summary        `json:"summary"`
			Upstreams []api.Upstream `json:"upstreams"`
		}{stamp(time.Now()), string(x.RequestID()), summarize(list), list})
	}
}

type summary struct {
	Upstreams int `json:"total_upstreams"`
	Targets   int `json:"total_targets"`
	Healthy   int `json:"healthy"`
	Unhealthy int `json:"unhealthy"`
	Unknown   int `json:"unknown"`
}

func summarize(list []api.Upstream) summary {
	s := summary{Upstreams: len(list)}
	for _, u := range list {
		for _, t := range u.Targets {
			s.Targets++
			switch t.Status {
			case "healthy":
				s.Healthy++
			case "unhealthy", "ejected":
				s.Unhealthy++
			default:
				s.Unknown++
			}
		}
	}
	return s
}

func configuration(s Source) server.Handler {
	return func(x *filter.Exchange) filter.Decision {
		return answer(200, struct {
			Timestamp string           `json:"timestamp"`
			RequestID string           `json:"request_id"`
			Config    []config.Setting `json:"config"`
		}{stamp(time.Now()), string(x.RequestID()), Redact(s.Settings())})
	}
}

const hidden = "(hidden)"

// Redact returns the settings without what was meant for one process only: environments, the configuration of agents, keys.
func Redact(list []config.Setting) []config.Setting {
	list = slices.Clone(list)
	for i := range list {
		last := list[i].Path[strings.LastIndexByte(list[i].Path, '.')+1:]
		if (last == "env" || last == "config" || last == "hmac-key" || last == "credentials") && list[i].Unset == "" {
			list[i].Value = hidden
		}
	}
	return list
}

var noCache = filter.Field{Name: "Cache-Control", Value: "no-cache"}

func answer(status int, body any) filter.Decision {
	raw, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return filter.Respond(500, nil).Because("cannot encode answer: " + err.Error())
	}
	return filter.Respond(status, append(raw, '\n'), filter.Field{Name: "Content-Type", Value: "application/json"}, noCache)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
