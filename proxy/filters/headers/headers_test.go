package headers_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filters/headers"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestPhases(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Set")) }))
	for phase, want := range map[string][2]string{"": {"1", ""}, "request": {"1", ""}, "response": {"", "1"}, "both": {"1", "1"}} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			cfg := proxytest.ToBackends(backend)
			cfg.Filters = []config.Filter{{ID: "h", Type: "headers", Phase: phase, Headers: &config.HeadersFilter{Rules: config.HeaderRules{
				Set: []config.NameValue{{Name: "X-Set", Value: "1"}}}}}}
			cfg.Routes[0].Filters = []string{"h"}
			r, body := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t).Get("/")
			if got := [2]string{body, r.Header.Get("X-Set")}; got != want {
				t.Errorf("request and answer have %q, want %q", got, want)
			}
		})
	}
}

func TestBadBlocks(t *testing.T) {
	t.Parallel()
	for _, c := range []config.Filter{
		{ID: "none"},
		{ID: "phase", Phase: "sometimes", Headers: &config.HeadersFilter{}},
		{ID: "framing", Phase: "both", Headers: &config.HeadersFilter{Rules: config.HeaderRules{Remove: []string{"Content-Length"}}}},
	} {
		if _, err := headers.Kind.Build(c); err == nil {
			t.Errorf("%s is accepted", c.ID)
		}
	}
}
