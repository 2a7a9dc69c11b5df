package builtin

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

type fake struct {
	draining bool
	broken   error
}

func (f fake) Status() api.Status {
	return api.Status{Version: "1.2.3", InstanceID: "me", Generation: 4, Draining: f.draining, Started: time.Now().Add(-26*time.Hour - 3*time.Minute - 10*time.Second)}
}

func (f fake) Upstreams() []api.Upstream {
	return []api.Upstream{{ID: "u", Targets: []api.Target{{Status: "healthy"}, {Status: "unhealthy"}, {Status: "unknown"}, {Status: "healthy"}}}}
}

func (f fake) Settings() []config.Setting {
	return []config.Setting{
		{Path: "agents.a.config", Value: `"{\"key\":\"s3cret\"}"`, Origin: "f.kdl:1:1"}, {Path: "agents.a.env", Value: `"TOKEN"="s3cret"`}, {Path: "stack.services.s.env", Value: `"PASSWORD"="s3cret"`},
		{Path: "stack.proxy.env", Value: `"K"="s3cret"`}, {Path: "listeners.l.tls.acme.eab.hmac-key", Value: `"s3cret"`}, {Path: "listeners.l.tls.acme.dns-provider.credentials", Value: `"s3cret"`}, {Path: "agents.b.config", Unset: "none"}, {Path: "system.worker-threads", Value: "4"},
	}
}

func (f fake) MetricsText() ([]byte, string, error) { return []byte("up 1\n"), "text/plain", f.broken }

func ask(t *testing.T, name string, f fake) filter.Decision {
	t.Helper()
	h, err := Handler(name, f)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort("192.0.2.1:1234")
	var pool filter.Pool
	x := pool.New(&filter.Facts{RequestID: []byte("req-1"), Peer: addr, Client: addr, Listener: "l", Request: &http1.Request{}, Path: []byte("/"), Route: "r"})
	return h(x)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		fake fake
		code int
		want string
	}{
		{"status", fake{}, 200, `"uptime": "1d 2h 3m `},
		{"status", fake{}, 200, `"instance_id": "me"`},
		{"health", fake{}, 200, `"status": "healthy"`},
		{"health", fake{draining: true}, 503, `"status": "draining"`},
		{"metrics", fake{}, 200, "up 1\n"},
		{"metrics", fake{broken: errors.New("x")}, 500, ""},
		{"not-found", fake{}, 404, `"request_id": "req-1"`},
		{"upstreams", fake{}, 200, `"healthy": 2`},
		{"config", fake{}, 200, `"(hidden)"`},
	} {
		d := ask(t, c.name, c.fake)
		if d.Status != c.code || !strings.Contains(string(d.Body), c.want) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, d.Status, d.Body, c.code, c.want)
		}
		if c.code != 500 && c.name != "metrics" && !json.Valid(d.Body) {
			t.Errorf("%s: body is not JSON: %s", c.name, d.Body)
		}
	}
}

// The attack: read what was meant for an agent through the config handler.
func TestConfigHidesSecrets(t *testing.T) {
	t.Parallel()
	f := fake{}
	d := ask(t, "config", f)
	if strings.Contains(string(d.Body), "s3cret") {
		t.Errorf("config answer carries a secret: %s", d.Body)
	}
	if !strings.Contains(string(d.Body), `"value": "4"`) || strings.Count(string(d.Body), "(hidden)") != 6 {
		t.Errorf("config answer: %s", d.Body)
	}
	list := f.Settings()
	Redact(list)
	if list[1].Value != `"TOKEN"="s3cret"` {
		t.Error("Redact changed what it was given")
	}
}

func TestUnknownHandler(t *testing.T) {
	t.Parallel()
	if _, err := Handler("statsu", fake{}); err == nil {
		t.Error("unknown handler accepted")
	}
	if n := Names(); !slices.Contains(n, "not-found") || len(n) != 6 {
		t.Errorf("handlers %v", n)
	}
}

func TestUptime(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0s", -time.Second: "0s", 61 * time.Second: "1m 1s", 3600 * time.Second: "1h 0m 0s", 49 * time.Hour: "2d 1h 0m 0s"} {
		if got := uptime(d); got != want {
			t.Errorf("uptime(%v) = %q, want %q", d, got, want)
		}
	}
}
